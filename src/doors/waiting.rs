//! Doors whose clients know no busy workspace: their runs wait for their turn, up to a bound.
//!
//! The HTTP door refuses instead, unless it is told otherwise: its clients read the status.

use std::path::Path;

use axum::http::StatusCode;

use super::http::problem::Problem;
use crate::runs::engine::Engine;
use crate::runs::run::{Busy, State};

/// What happens to a run of these doors whose workspace is busy, unless the client says otherwise.
pub(super) const BUSY: Busy = Busy::Queue;
/// Most runs that wait in one workspace for clients that have not said that they want to wait.
const MOST_WAITING: usize = 8;
/// When to try again, seconds.
const RETRY_SECONDS: u64 = 30;

/// Whether a run may wait in this workspace; else when to try again.
pub(super) fn room(engine: &Engine, workspace: &Path) -> Result<(), Problem> {
    let live = engine.status().live;
    let waiting = live.iter().filter(|(_, place, state)| place == workspace && *state == State::Queued);
    if waiting.count() < MOST_WAITING {
        return Ok(());
    }
    let detail =
        format!("{MOST_WAITING} runs wait in this workspace already: try again later, or use another workspace");
    Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, "queue_full", detail).retry_after(RETRY_SECONDS))
}
