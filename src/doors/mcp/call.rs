//! A call of a tool: who asks, and who wants to hear how it goes.

use std::sync::Arc;

use axum::http::request::Parts;
use rmcp::model::ProgressToken;
use rmcp::service::{Peer, RequestContext, RoleServer};
use tokio_util::sync::CancellationToken;

use super::sessions::{self, InUse, McpSessions};
use crate::desk::Desk;
use crate::desk::caller::Caller;
use crate::desk::refusal::Refusal;
use crate::doors::web::server::Stopping;

/// A call of a tool.
pub(super) struct Call<'server> {
    pub(super) desk: &'server Desk,
    pub(super) caller: &'server Caller,
    pub(super) stopping: Option<Stopping>,
    pub(super) peer: &'server Peer<RoleServer>,
    /// Where the client wants to hear how it goes.
    pub(super) progress: Option<ProgressToken>,
    /// Whether it came in a session: a connection that breaks is no goodbye then.
    pub(super) in_session: bool,
    ended: CancellationToken,
    _in_use: Option<InUse>,
}

impl<'server> Call<'server> {
    /// The call that came with this request.
    pub(super) fn of(
        desk: &'server Desk,
        sessions: &Arc<McpSessions>,
        context: &'server RequestContext<RoleServer>,
    ) -> Result<Self, Refusal> {
        let parts = context.extensions.get::<Parts>();
        let caller = parts.and_then(|parts| parts.extensions.get::<Caller>());
        // Without one nobody gets in: a route that was wired up wrongly must not be an open one.
        let (Some(parts), Some(caller)) = (parts, caller) else {
            return Err(Refusal::internal("calling a tool", &"the request came without its caller"));
        };
        let session = parts.headers.get(sessions::HEADER).and_then(|id| id.to_str().ok());
        Ok(Self {
            desk,
            caller,
            stopping: parts.extensions.get().cloned(),
            peer: &context.peer,
            progress: context.meta.get_progress_token(),
            in_session: session.is_some(),
            ended: context.ct.clone(),
            _in_use: session.map(|id| sessions.in_use(id)),
        })
    }

    /// Comes when the client does not want the answer any more.
    pub(super) async fn cancelled(&self) {
        self.ended.cancelled().await;
    }
}
