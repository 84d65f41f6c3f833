//! A shell command in a workspace. It is no run: it waits for nothing, and no ledger has it. It ends as one does.

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use uuid::Uuid;

use super::child::Ended;
use super::engine::Engine;
use crate::claude::arguments::{FromDoor, Options};
use crate::config::call::Variables;
use crate::worker::job::Job;
use crate::worker::shell::Shell;

/// How a command ended. None of its processes is left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShellEnd {
    /// Its exit code, 128+n for signal n; `None` if that is unknown.
    pub exit_code: Option<i64>,
    /// Whether it was ended because its time was over.
    pub timed_out: bool,
    /// Whether it was ended because somebody wanted that.
    pub cancelled: bool,
}

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
        let job = Job {
            run_id: Uuid::now_v7(),
            prompt: String::new(),
            options: Options { timeout: Some(limit), ..Options::default() },
            from_door: FromDoor::default(),
            workspace,
            silence: None,
            verbose: false,
            shell: Some(Shell { command, output }),
            variables: Variables::default(),
        };
        let (ended, leaving) = workers.carry_out(worker, &job, cancel, &mut |_| {}).await;
        leaving.wait().await;
        match ended {
            Ended::Reported(report) if !report.envelope["exitCode"].is_null() => Ok(ShellEnd {
                exit_code: report.envelope["exitCode"].as_i64(),
                timed_out: report.envelope["timedOut"] == true,
                cancelled: report.envelope["cancelled"] == true,
            }),
            Ended::Reported(report) => Err(report.complaint.unwrap_or_else(|| "it did not start".into())),
            Ended::Lost(_, why) => Err(why),
        }
    }
}
