//! The cron door from outside: the built binary as PID 1 with jobs that are due every second or two, the HTTP API beside
//! it; the real CLI with the offline model, and a stub where faults are to be had.
//!
//! Needs root; what needs the real CLI is skipped without `CLAUDEBOX_TEST_CLI`.

#![expect(clippy::unwrap_used, reason = "a step that fails is the test's failure")]

#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "not every binary of tests needs all of it")]
mod support;

#[path = "../http/client.rs"]
#[expect(dead_code, reason = "not every binary of tests needs all of it")]
mod client;
#[path = "../http/fixture.rs"]
#[expect(dead_code, reason = "not every binary of tests needs all of it")]
mod fixture;

mod croniter;
mod doors;
mod failures;
mod file;
mod kills;
mod missed;
mod overlap;
mod real;
mod stand;
