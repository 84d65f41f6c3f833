//! Workspaces as a caller may use them.

use super::Desk;
use super::caller::Caller;
use super::refusal::{Kind, Refusal, Remedy};
use crate::workspace::{PathError, Workspace};

/// File work waits for disks; it does so on a thread of its own.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Refusal::internal("a file operation", &error))
}

impl Desk {
    /// The workspace of this name as `caller` may use it; made if it is missing and `create` says so.
    pub async fn workspace(&self, caller: &Caller, name: String, create: bool) -> Result<Workspace, Refusal> {
        let workspaces = caller.guarded(&self.workspaces);
        let look = move || if create { workspaces.create(&name) } else { workspaces.resolve(&name) };
        blocking(look).await?.map_err(|error| match error {
            PathError::NoWorkspace { .. } => {
                let refusal = Refusal::new(Kind::Missing, "workspace_not_found", format!("{error}; "));
                refusal.remedy(Remedy::CreateWorkspace)
            }
            error => error.into(),
        })
    }
}
