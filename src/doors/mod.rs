//! Doors: the ways in. Each is thin: it turns what its clients say into what the desk takes, and the desk's answers into its
//! protocol. No door knows another.

pub mod cron;
pub mod http;
pub mod local;
pub mod mcp;
pub mod openai;
pub mod telegram;
pub mod web;

use std::pin::Pin;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// A way in, opened and not yet at work.
pub trait Door: Send {
    /// Whether the settings ask for it. A server whose last such door has closed by itself has nothing left to serve.
    fn is_asked_for(&self) -> bool {
        true
    }

    /// Serves until `stop`, then for `grace` those who are there. An error: it has closed by itself.
    fn serve(self: Box<Self>, stop: CancellationToken, grace: Duration) -> Serving;
}

/// A door at work.
pub type Serving = Pin<Box<dyn Future<Output = Result<(), Closed>> + Send>>;

/// Why a door has closed by itself.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub struct Closed {
    /// For a person: what is wrong, and what to do.
    pub why: String,
    /// Whether another start would end the same way: a setting is wrong.
    pub for_good: bool,
}
