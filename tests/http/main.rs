//! The HTTP API from outside: the built binary as PID 1, the real CLI and the offline model.
//!
//! What needs a run is skipped without `CLAUDEBOX_TEST_CLI`, all of it without root. Each box has a network of its own;
//! clients and receivers of these tests stand inside it (`client`).

#![expect(clippy::unwrap_used, reason = "a step that fails is the test's failure")]

#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "not every binary of tests needs all of it")]
mod support;

mod access;
mod answers;
mod bad_input;
mod busy;
mod cancel;
mod client;
mod ephemeral;
mod events;
mod failures;
mod files;
mod fixture;
mod health;
mod limits;
mod listing;
mod mcp;
mod mcp_access;
mod mcp_client;
mod mcp_runs;
mod openai;
mod openai_clients;
mod openai_errors;
mod openai_fetch;
mod openai_sessions;
mod restart;
mod results;
mod schemas;
mod sessions;
mod shutdown;
mod webhooks;
