//! What PID 1 keeps beside its main child or `serve`: started again whenever it ends.

use std::io;
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::restart::{Loudness, Restarts};
use crate::process::spawn::{Spawn, Streams, spawn};
use crate::process::status::ChildStatus;
use crate::sys;

/// A process, and when the next one is due.
pub(super) struct Sidecar {
    /// How it is called in the log.
    name: &'static str,
    plan: Spawn,
    /// What each one gets as standard input and output.
    sockets: [Option<OwnedFd>; 2],
    /// Its pid, while it lives.
    pid: Option<i32>,
    began: Instant,
    backoff: Restarts,
    due: Option<Instant>,
}

impl Sidecar {
    /// One that was started already; the next ones are started with `plan`.
    pub(super) fn started(name: &'static str, pid: i32, began: Instant, plan: Spawn) -> Self {
        Self { name, plan, sockets: [None, None], pid: Some(pid), began, backoff: Restarts::default(), due: None }
    }

    /// Starts one. What keeps the first from starting may pass: it is tried again.
    pub(super) fn start(name: &'static str, plan: Spawn, sockets: [Option<OwnedFd>; 2]) -> Self {
        let now = Instant::now();
        let backoff = Restarts::default();
        let mut sidecar = Self { name, plan, sockets, pid: None, began: now, backoff, due: Some(now) };
        sidecar.start_if_due();
        sidecar
    }

    /// Takes the end of the process `pid`; whether it was this one.
    pub(super) fn has_ended(&mut self, pid: i32, status: ChildStatus) -> bool {
        let is_it = self.pid.take_if(|own| *own == pid).is_some();
        if is_it {
            let delay = self.delay();
            if self.backoff.loudness() != Loudness::Nothing {
                tracing::warn!("{} {status}; it is started again in {:.1} s", self.name, delay.as_secs_f64());
            }
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
        match self.start_now() {
            Ok(pid) => self.pid = Some(pid),
            Err(error) => {
                let delay = self.delay();
                let delay = delay.as_secs_f64();
                tracing::warn!("{} cannot be started: {error}; tried again in {delay:.1} s", self.name);
            }
        }
    }

    fn start_now(&self) -> io::Result<i32> {
        let [stdin, stdout] = &self.sockets;
        let stream = |socket: &Option<OwnedFd>| {
            let socket = socket.as_ref().map(OwnedFd::try_clone).transpose();
            // Nobody waits for its first line any more.
            socket.map(|socket| socket.map_or_else(Stdio::null, Into::into))
        };
        let streams = Streams { stdin: stream(stdin)?, stdout: stream(stdout)?, stderr: Stdio::inherit() };
        Ok(spawn(&self.plan, streams)?.id().cast_signed())
    }

    fn delay(&mut self) -> Duration {
        let delay = self.backoff.next_delay(self.began.elapsed(), sys::chance());
        self.due = Some(Instant::now() + delay);
        delay
    }
}

/// Takes the end of the process `pid`; whether it was one of these.
pub(super) fn one_has_ended(sidecars: &mut [Sidecar], pid: i32, status: ChildStatus) -> bool {
    sidecars.iter_mut().any(|sidecar| sidecar.has_ended(pid, status))
}

/// Starts again what is due; when the next one is.
pub(super) fn see_to(sidecars: &mut [Sidecar]) -> Option<Instant> {
    sidecars.iter_mut().for_each(Sidecar::start_if_due);
    sidecars.iter().filter_map(Sidecar::due).min()
}
