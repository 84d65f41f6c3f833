//! `claudebox` as a supervisor, from outside: PID 1 of namespaces of its own, and an ordinary process with a shell as
//! PID 1. Number 1 to 40 in the documentation of a test is its point in docs/pid1-checklist.md.
//!
//! Needs root. `scripts/mutants` breaks the code in one place at a time and checks that these tests notice.

#![expect(clippy::unwrap_used, reason = "a step that fails is the test's failure")]

#[path = "../support/mod.rs"]
mod support;

mod background;
mod boot_kill;
mod broker;
mod doctor;
mod hardening;
mod hooks;
mod identity;
mod local;
mod local_edges;
mod log;
mod manifest;
mod policy;
mod privilege;
mod ready_worker;
mod real_cli;
mod real_sessions;
mod reaping;
mod runs;
mod sealed;
mod serve;
mod serve_runs;
mod settings;
mod shutdown;
mod signals;
mod stubs;
mod terminal;
mod walls;
