//! Workspaces as a caller may use them.

use chrono::{DateTime, Datelike as _, SecondsFormat};

use super::Desk;
use super::caller::Caller;
use super::refusal::{Kind, Refusal, Remedy};
use crate::workspace::{PathError, Stat, Workspace};

/// Most bytes a file may have that is put.
#[derive(Debug, Clone, Copy)]
pub struct UploadLimit(pub u64);

/// File work waits for disks; it does so on a thread of its own.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Refusal::internal("a file operation", &error))
}

/// When a file was changed last, RFC 3339. A time no calendar has is shown as the beginning of all.
pub fn rfc3339(stat: &Stat) -> String {
    let (seconds, nanoseconds) = stat.mtime;
    let time = DateTime::from_timestamp(seconds, nanoseconds).filter(|time| (0..10_000).contains(&time.year()));
    time.unwrap_or_default().to_rfc3339_opts(SecondsFormat::AutoSi, true)
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
