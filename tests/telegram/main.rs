//! The Telegram door from outside: the built binary as PID 1, the real CLI, the offline model, and a Bot API that
//! rejects what Telegram rejects (`bot_api`).
//!
//! All of it is skipped without root, what needs a run also without `CLAUDEBOX_TEST_CLI`. The boxes share this process's
//! network, because the Bot API is served by it.

#![expect(clippy::unwrap_used, reason = "a step that fails is the test's failure")]
#![expect(clippy::needless_pass_by_value, reason = "values are written where they are used: json!({..})")]

#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "not every binary of tests needs all of it")]
mod support;

mod access;
mod bot_api;
#[path = "../http/client.rs"]
#[expect(dead_code, reason = "not every binary of tests needs all of it")]
mod client;
mod commands;
mod fixture;
mod media;
mod prompts;
mod restarts;
mod rules;
mod stopping;
mod thoughts;
mod together;
mod whose;
