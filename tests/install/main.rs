//! Installing the Claude CLI: from registries that are slow, silent, cut off, wrong or not there, by many at once, and in boxes.
//!
//! The registry is a double on loopback, and the package is made up. Those about boxes need root.

#![expect(clippy::unwrap_used, reason = "a step that fails is the test's failure")]

mod boxes;
mod faults;
mod registry;
mod servers;
#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "other suites need other parts of it")]
mod support;
