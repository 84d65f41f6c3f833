//! A shell command in a workspace. It is no run: it waits for nothing, and no ledger has it. It ends as one does.

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use uuid::Uuid;

use super::child::WorkerEnd;
use super::engine::Engine;
pub use crate::turn::protocol::ShellEnd;
use crate::turn::protocol::{Shell, ToWorker};

impl Engine {
    /// Carries `command` out in `workspace`, its output in the file `output`, whose name is removed; ends it after `limit`, or
    /// once `cancel` is ready.
    pub async fn shell(
        &self,
        workspace: PathBuf,
        command: String,
        output: PathBuf,
        limit: Duration,
        cancel: impl Future<Output = ()>,
    ) -> Result<ShellEnd, String> {
        let workers = &self.shared.workers;
        let worker = workers.start().map_err(|error| format!("no worker can be started: {error}"))?;
        let run_id = Uuid::now_v7();
        let job = ToWorker::Shell(Shell { run_id, command, output, workspace, limit });
        let (ended, leaving) = workers.carry_out(worker, run_id, job, cancel, &mut |_| {}).await;
        leaving.wait().await;
        match ended {
            WorkerEnd::ShellEnded(end) if end.exit_code.is_some() => Ok(end),
            WorkerEnd::ShellEnded(end) => Err(end.complaint.unwrap_or_else(|| "it did not start".into())),
            WorkerEnd::Reported(report) => Err(report.complaint.unwrap_or_else(|| "it did not start".into())),
            WorkerEnd::Lost(_, why) => Err(why),
        }
    }
}
