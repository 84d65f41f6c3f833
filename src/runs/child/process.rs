//! The process of a worker: this one's child, or PID 1's.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::process::{Child, Command};
use tokio::task::spawn_blocking;

use crate::config::name;
use crate::sys;

/// The hidden role's name on the command line.
pub const ROLE: &str = "turn";
/// A thread waits no longer for a process to end. Who has asked for that gives up earlier.
const LONGEST_WAIT: u16 = 10_000;

/// Has PID 1 start a worker with this standard input and output; its pid, and a descriptor of the process.
pub type StartWorker = Arc<dyn Fn(BorrowedFd<'_>, BorrowedFd<'_>) -> io::Result<(i32, OwnedFd)> + Send + Sync>;

/// A worker's process.
#[derive(Debug)]
pub(super) enum Process {
    /// A child of this process.
    Own(Child),
    /// A child of PID 1, told by its descriptor: the pid may become somebody else's.
    Pid1s(u32, OwnedFd),
}

impl Process {
    /// Starts `program` as a worker, without the variables `hidden`.
    pub(super) fn start(program: &Path, hidden: &[String], stdin: OwnedFd, stdout: OwnedFd) -> io::Result<Self> {
        let mut command = Command::new(program);
        command.arg(ROLE).stdin(Stdio::from(stdin)).stdout(Stdio::from(stdout));
        // A signal from a terminal is for `serve`, which ends its runs in order.
        command.process_group(0);
        for name in hidden.iter().map(String::as_str).chain([name::RUN_ID]) {
            command.env_remove(name);
        }
        command.spawn().map(Self::Own)
    }

    /// Lets PID 1 start it.
    pub(super) fn ask(start: &StartWorker, stdin: BorrowedFd<'_>, stdout: BorrowedFd<'_>) -> io::Result<Self> {
        let (pid, process) = start(stdin, stdout)?;
        Ok(Self::Pid1s(pid.cast_unsigned(), process))
    }

    /// Its pid; `None` once its end has been seen.
    pub(super) fn id(&self) -> Option<u32> {
        match self {
            Self::Own(child) => child.id(),
            Self::Pid1s(pid, _) => Some(*pid),
        }
    }

    pub(super) fn is_alive(&mut self) -> bool {
        match self {
            Self::Own(child) => matches!(child.try_wait(), Ok(None)),
            Self::Pid1s(_, process) => !has_ended(process, PollTimeout::ZERO),
        }
    }

    /// Kills it, if it is there.
    pub(super) fn kill(&mut self) {
        let _ = match self {
            Self::Own(child) => child.start_kill(),
            Self::Pid1s(_, process) => sys::signal_process(process, libc::SIGKILL),
        };
    }

    /// Waits for its end, and says how that was.
    pub(super) async fn wait(&mut self) -> String {
        match self {
            Self::Own(child) => {
                let status = child.wait().await;
                status.map_or_else(|error| error.to_string(), |status| status.to_string())
            }
            Self::Pid1s(_, process) => match process.try_clone() {
                Ok(process) => {
                    let waited = spawn_blocking(move || has_ended(&process, LONGEST_WAIT.into())).await;
                    if waited.is_ok_and(|ended| ended) { "it has ended" } else { "it does not end" }.to_owned()
                }
                Err(error) => error.to_string(),
            },
        }
    }
}

/// Whether the process of this descriptor ends within `limit`.
fn has_ended(process: &OwnedFd, limit: PollTimeout) -> bool {
    let mut ended = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
    poll(&mut ended, limit).is_ok_and(|count| count > 0)
}
