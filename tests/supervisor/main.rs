//! temporary
#![expect(clippy::unwrap_used, reason = "a step that fails is the test's failure")]
mod real_cli;
mod runs;
#[path = "../support/mod.rs"]
mod support;
