//! The offline model of a box with servers: started again, at the same address, whenever it ends.

use std::io;
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::restart::Restarts;
use crate::process::spawn::{Spawn, Streams, spawn};
use crate::process::status::ChildStatus;
use crate::sys;

/// The offline model's process, and when the next one is due.
pub(super) struct OfflineModel {
    /// How to start it where the first one listened: the environment of `serve` names that address.
    plan: Spawn,
    /// Its pid, while it lives.
    pid: Option<i32>,
    began: Instant,
    backoff: Restarts,
    due: Option<Instant>,
}

impl OfflineModel {
    /// One that was started with `plan`, and said that it listens at `url`.
    pub(super) fn started(pid: i32, began: Instant, mut plan: Spawn, url: &str) -> Self {
        let address = url.strip_prefix("http://").unwrap_or(url);
        plan.command.extend(["--listen".into(), address.into()]);
        Self { plan, pid: Some(pid), began, backoff: Restarts::default(), due: None }
    }

    /// Takes the end of the process `pid`; whether it was the model.
    pub(super) fn has_ended(&mut self, pid: i32, status: ChildStatus) -> bool {
        let is_it = self.pid.take_if(|model| *model == pid).is_some();
        if is_it {
            let delay = self.delay();
            tracing::warn!("the offline model {status}; it is started again in {:.1} s", delay.as_secs_f64());
        }
        is_it
    }

    /// When it is to be started again; `None` while it runs.
    pub(super) const fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Starts it again if that is due.
    pub(super) fn start_if_due(&mut self) {
        if self.due.take_if(|at| *at <= Instant::now()).is_none() {
            return;
        }
        self.began = Instant::now();
        match self.start() {
            Ok(pid) => self.pid = Some(pid),
            Err(error) => {
                let delay = self.delay();
                tracing::warn!(
                    "the offline model cannot be started: {error}; tried again in {:.1} s",
                    delay.as_secs_f64()
                );
            }
        }
    }

    fn start(&self) -> io::Result<i32> {
        // Nobody waits for its address any more.
        let streams = Streams { stdin: Stdio::null(), stdout: Stdio::null(), stderr: Stdio::inherit() };
        Ok(spawn(&self.plan, streams)?.id().cast_signed())
    }

    fn delay(&mut self) -> Duration {
        let delay = self.backoff.next_delay(self.began.elapsed(), sys::chance());
        self.due = Some(Instant::now() + delay);
        delay
    }
}
