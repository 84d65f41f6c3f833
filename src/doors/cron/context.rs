//! What every tick is carried out with.

use tokio_util::sync::CancellationToken;

use super::history::History;
use super::report::Reports;
use crate::runs::engine::Engine;
use crate::workspace::Workspaces;

/// What ticks are carried out with.
pub(super) struct Context {
    /// The run engine.
    pub(super) engine: Engine,
    /// The folder that jobs' workspaces are in.
    pub(super) workspaces: Workspaces,
    /// Where history is kept.
    pub(super) history: History,
    /// Who tells chats, if there are any.
    pub(super) reports: Option<Reports>,
    /// Cancelled: this server ends, and leaves what is not over to the next.
    pub(super) stop: CancellationToken,
}
