//! A run's own process: `claudebox turn`, fed its job, read to its report.
//!
//! `serve` waits for this child only, and never for "any": a `waitpid(-1)` beside the runtime takes the statuses the
//! runtime waits for. The worker ends the run's tree itself, as its subreaper; what it cannot end, and the tree of a
//! worker that was killed, PID 1 ends.
//!
//! This is the seam for warm processes: the engine asks for somebody to run a turn, and does not know who starts when.

mod process;

use std::future::Future;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::time::timeout;
use uuid::Uuid;

use self::process::Process;
pub use self::process::{ROLE, StartWorker};
use crate::turn::protocol::{FromWorker, LONGEST_FROM_WORKER, Lines, ProtocolError, RunReport, ShellEnd, ToWorker};

/// How long a worker that was told to end its run has for that: TERM and KILL for the CLI, then for what it left.
const LONGEST_CANCEL: Duration = Duration::from_secs(7);
/// How long a worker has to exit after its report. It has nothing left to do.
const LONGEST_EXIT: Duration = Duration::from_secs(2);
/// How much of a worker's output is taken at once.
const BUFFER: usize = 64 * 1024;

/// How workers are started. Clones share the one that is kept ready.
#[derive(Clone)]
pub struct Workers {
    /// This program.
    program: PathBuf,
    /// Variables of this process that a worker does not get: the doors' secrets, and what is about this process alone.
    hidden: Vec<String>,
    /// Who starts them in this process's place.
    starter: Option<StartWorker>,
    /// Ends every process of a run, those below the worker with this pid too; how many there were.
    pub(super) end_tree: EndTree,
    ready: Arc<Mutex<Ready>>,
}

/// A worker that was started before there is a run for it: starting one takes as long as the rest of a short run.
#[derive(Debug, Default)]
enum Ready {
    #[default]
    None,
    Starting,
    Waiting(Box<Worker>),
}

/// Ends every process of a run.
pub type EndTree = Arc<dyn Fn(Uuid, Option<u32>) -> Pin<Box<dyn Future<Output = u64> + Send>> + Send + Sync>;

/// A worker that waits for its job. Dropped, it ends by itself: its standard input closes.
#[derive(Debug)]
pub struct Worker {
    process: Process,
    input: Sender,
    output: BufReader<Receiver>,
}

/// A worker that has nothing left to do but to exit.
#[derive(Debug)]
pub struct Leaving {
    run: Uuid,
    process: Process,
}

impl Leaving {
    /// Waits until it is gone.
    pub async fn wait(mut self) {
        if timeout(LONGEST_EXIT, self.process.wait()).await.is_err() {
            tracing::warn!("run {}: its worker did not exit after its report: killed", self.run);
            self.process.kill();
            self.process.wait().await;
        }
    }
}

/// What a worker says, and how it ended.
#[derive(Debug)]
pub enum WorkerEnd {
    /// With a report: how the prompt was answered, or why nothing was begun.
    Reported(Box<RunReport>),
    /// With the end of its shell command.
    ShellEnded(ShellEnd),
    /// Without: it was killed, or could not be talked to. How many processes of the run were ended after it, and why.
    Lost(u64, String),
}

impl Workers {
    /// Workers of `program`, which is this one.
    #[must_use]
    pub fn new(program: PathBuf, hidden: Vec<String>, end_tree: EndTree) -> Self {
        Self { program, hidden, starter: None, end_tree, ready: Arc::default() }
    }

    /// The same, started by PID 1 if there is a `starter`: this process has not the rights that they need.
    #[must_use]
    pub fn started_by(self, starter: Option<StartWorker>) -> Self {
        Self { starter, ..self }
    }

    /// The worker that is kept ready, or a new one.
    pub fn start(&self) -> io::Result<Worker> {
        let mut ready = self.ready();
        let waiting = match std::mem::take(&mut *ready) {
            Ready::Waiting(worker) => Some(*worker),
            other => {
                *ready = other;
                None
            }
        };
        drop(ready);
        // Somebody may have killed it.
        let alive = |worker: &mut Worker| worker.process.is_alive();
        waiting.and_then(|mut worker| alive(&mut worker).then_some(worker)).map_or_else(|| self.spawn(), Ok)
    }

    /// Has a worker ready for the next run, if there is none yet. It ends with this process, as any without a job.
    pub fn keep_ready(&self) {
        {
            let mut ready = self.ready();
            if !matches!(*ready, Ready::None) {
                return;
            }
            *ready = Ready::Starting;
        }
        let workers = self.clone();
        // Until the new process image is there, a start blocks its thread.
        drop(tokio::task::spawn_blocking(move || {
            let started = workers.spawn();
            *workers.ready() = started.map_or_else(
                |error| {
                    tracing::debug!("no worker can be kept ready: {error}");
                    Ready::None
                },
                |worker| Ready::Waiting(Box::new(worker)),
            );
        }));
    }

    fn ready(&self) -> MutexGuard<'_, Ready> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spawn(&self) -> io::Result<Worker> {
        let ((stdin, input), (output, stdout)) = (io::pipe()?, io::pipe()?);
        let (stdin, stdout) = (OwnedFd::from(stdin), OwnedFd::from(stdout));
        let process = match &self.starter {
            Some(starter) => Process::ask(starter, stdin.as_fd(), stdout.as_fd())?,
            None => Process::start(&self.program, &self.hidden, stdin, stdout)?,
        };
        let (input, output) = (Sender::from_owned_fd(input.into())?, Receiver::from_owned_fd(output.into())?);
        Ok(Worker { process, input, output: BufReader::with_capacity(BUFFER, output) })
    }

    /// Lets `worker` carry out `job`, which belongs to `run`. `on_events` gets whole lines of events; once `cancel` is ready,
    /// the run is ended.
    pub async fn carry_out(
        &self,
        mut worker: Worker,
        run: Uuid,
        job: ToWorker,
        cancel: impl Future<Output = ()>,
        on_events: &mut (dyn FnMut(&[u8]) + Send),
    ) -> (WorkerEnd, Leaving) {
        let ended = self.converse(&mut worker, run, job, cancel, on_events).await;
        drop(worker.input);
        let ended = match ended {
            Ok(ended) => ended,
            Err(why) => {
                // Its end goes first: what is below it belongs to PID 1 then, and can be told by the cookie alone.
                worker.process.kill();
                let reaped = (self.end_tree)(run, worker.process.id()).await;
                let status = worker.process.wait().await;
                WorkerEnd::Lost(reaped, format!("{why} ({status})"))
            }
        };
        (ended, Leaving { run, process: worker.process })
    }

    async fn converse(
        &self,
        worker: &mut Worker,
        run: Uuid,
        job: ToWorker,
        cancel: impl Future<Output = ()>,
        on_events: &mut (dyn FnMut(&[u8]) + Send),
    ) -> Result<WorkerEnd, String> {
        let text = job.encode().map_err(|error| format!("its worker cannot be told what to do: {error}"))?;
        drop(job);
        let lines = Lines::new(LONGEST_FROM_WORKER);
        let mut listener =
            Listener { workers: self, run, pid: worker.process.id(), lines, ended: None, stuck: false, on_events };
        let Worker { input, output, .. } = worker;
        // A prompt is longer than a pipe; the worker answers only once it has all of it.
        if let Err(error) = input.write_all(&text).await {
            return Err(format!("its worker does not take the job: {error}"));
        }
        drop(text);
        let mut cancel = std::pin::pin!(cancel);
        tokio::select! {
            ended = listener.listen(output) => return ended,
            () = &mut cancel => {}
        }
        // It may have ended in this moment: then its report is on the way.
        if let Ok(cancel) = ToWorker::Cancel.encode() {
            let _ = input.write_all(&cancel).await;
        }
        match timeout(LONGEST_CANCEL, listener.listen(output)).await {
            Ok(ended) => ended,
            Err(_) => Err("its worker did not end the run in time and was killed".into()),
        }
    }
}

struct Listener<'run> {
    workers: &'run Workers,
    run: Uuid,
    pid: Option<u32>,
    lines: Lines,
    ended: Option<WorkerEnd>,
    stuck: bool,
    on_events: &'run mut (dyn FnMut(&[u8]) + Send),
}

impl Listener<'_> {
    /// Listens until the worker has said how it ended. Can be dropped and called again: nothing that was read is lost.
    async fn listen(&mut self, output: &mut BufReader<Receiver>) -> Result<WorkerEnd, String> {
        loop {
            if let Some(ended) = self.ended.take() {
                return Ok(ended);
            }
            if std::mem::take(&mut self.stuck) {
                let ended = (self.workers.end_tree)(self.run, self.pid).await;
                tracing::info!("run {}: {ended} processes ended that belonged to somebody else", self.run);
            }
            let block = match output.fill_buf().await {
                Ok([]) => return Err("its worker ended without a report".into()),
                Ok(block) => block,
                Err(error) => return Err(format!("its worker cannot be read: {error}")),
            };
            self.lines.push(block);
            let count = block.len();
            output.consume(count);
            self.take_lines().map_err(|error| format!("what its worker says is not understood: {error}"))?;
        }
    }

    fn take_lines(&mut self) -> Result<(), ProtocolError> {
        let mut events = Vec::new();
        while let Some(line) = self.lines.take_line()? {
            match FromWorker::decode(line)? {
                FromWorker::Event(json) => {
                    events.extend_from_slice(json);
                    events.push(b'\n');
                }
                FromWorker::Stuck => self.stuck = true,
                FromWorker::Report(report) => self.ended = Some(WorkerEnd::Reported(report)),
                FromWorker::ShellEnd(end) => self.ended = Some(WorkerEnd::ShellEnded(end)),
            }
        }
        if !events.is_empty() {
            // The CLI has started: from now on another start is in nobody's way.
            self.workers.keep_ready();
            (self.on_events)(&events);
        }
        Ok(())
    }
}
