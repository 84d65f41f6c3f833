//! What becomes of a run whose workspace is busy, at doors whose clients know no busy workspace.
//!
//! Clients of OpenAI's API and of MCP send several requests at once as a matter of course: a batch, the title of a chat
//! beside its first message. So their runs wait for each other, unless the client says otherwise. The wait has a bound:
//! a client that waits behind many runs gives up before its turn comes, and had better be told at once.

use std::path::Path;

use axum::http::StatusCode;

use super::http::problem::Problem;
use crate::runs::engine::Engine;
use crate::runs::run::Busy;

/// Runs that may be before one in its workspace, the running one counted, if its client did not ask to wait.
pub(super) const MOST_AHEAD: usize = 16;
/// When to try again, seconds.
const RETRY: u64 = 30;

/// What to do if `workspace` is busy. `asked`: what the client wants, if it says so.
pub(super) fn busy(engine: &Engine, workspace: &Path, asked: Option<Busy>) -> Result<Busy, Problem> {
    match asked {
        Some(busy) => Ok(busy),
        None => room(engine, workspace).map(|()| Busy::Queue),
    }
}

/// Whether a run may wait in `workspace` whose client has not asked to wait; else when to try again.
pub(super) fn room(engine: &Engine, workspace: &Path) -> Result<(), Problem> {
    if engine.holding(workspace) <= MOST_AHEAD {
        return Ok(());
    }
    let detail = format!(
        "{MOST_AHEAD} runs wait in this workspace already: try again in {RETRY} s, use another workspace, or set busy to \
         queue to wait all the same"
    );
    Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, "queue_full", detail).retry_after(RETRY))
}
