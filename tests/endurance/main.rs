//! What has to hold for as long as a box runs: under load, when `serve` or PID 1 is killed at any moment, with bodies
//! larger than the memory, on a full disk, and out of descriptors.
//!
//! Needs root. `CLAUDEBOX_TEST_KILLS` and `CLAUDEBOX_TEST_TRANSFER_MB` make the longest of these longer.

#![expect(clippy::unwrap_used, reason = "a step that fails is the test's failure")]

mod ends;
mod events;
mod fairness;
mod http;
mod kills;
mod scarcity;
mod stand;
mod streams;
#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "other suites need other parts of it")]
mod support;
mod transfers;
