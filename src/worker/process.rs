//! One process of the CLI: fed its prompt, read to its end, and everything it started ended with it.
//!
//! This process is a child subreaper, so whatever the CLI's tools started stays below it, however often it forked or
//! changed its session; nothing of another run ever is.

use std::collections::HashSet;
use std::ffi::OsString;
use std::io::{self, PipeReader, PipeWriter, Write};
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::memory;
use super::pipe::{Line, Source, set_nonblocking};
use crate::broker::protocol::{FromBroker, Lease, LeaseError};
use crate::claude::outcome::Intervention;
use crate::claude::transcript::Rest;
use crate::config::mode::Mode;
use crate::config::name;
use crate::privilege::files;
use crate::privilege::helper::Group;
use crate::privilege::plan::Kept;
use crate::privilege::walls::Walls;
use crate::process::events::{self, Interest, Signals};
use crate::process::reaper::{self, Children};
use crate::process::spawn::{self, Spawn};
use crate::process::status::ChildStatus;
use crate::process::table;
use crate::sys;

/// How long the CLI has between TERM and KILL. It ends its own children in 0.2 s.
const CANCEL_GRACE: Duration = Duration::from_secs(2);
/// How long the CLI may stay when it has nothing left to do.
const AFTER_RESULT: Duration = Duration::from_secs(3);
/// How long what the CLI left behind has between TERM and KILL.
const LEFTOVER_GRACE: Duration = Duration::from_millis(500);
/// How long the kernel has to end what was killed.
const KILL_GRACE: Duration = Duration::from_secs(1);
/// How long somebody with more rights has to end what is left.
const STUCK_GRACE: Duration = Duration::from_secs(2);
/// How many times a pipe is emptied after the CLI has gone. What it wrote fits into one pipe; who holds it open still may
/// write for ever.
const LAST_GULPS: usize = 4;
/// How much of standard error is kept, its end.
const STDERR_BYTES: usize = 64 * 1024;

/// What to start.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The CLI and its arguments.
    pub command: Vec<OsString>,
    /// Its working directory.
    pub workspace: PathBuf,
    /// Environment on top of this process's.
    pub environment: Vec<(String, Option<OsString>)>,
    /// Written to its standard input, which is then closed.
    pub input: String,
    /// When to give up.
    pub deadline: Option<Instant>,
    /// Longest it may say nothing while no tool of it runs.
    pub silence: Option<Duration>,
    /// How long its background work may go on after the answer.
    pub background: Duration,
    /// Most memory that it and everything it started may take, bytes.
    pub memory: Option<u64>,
    /// What stands around it.
    pub walls: Walls,
}

/// Who reads what the CLI prints.
pub trait LineReader {
    /// Takes one line of its output.
    fn line(&mut self, line: &[u8]) -> Verdict;
    /// A line of this many bytes was dropped: it was too long.
    fn dropped(&mut self, _bytes: usize) {}
    /// Whether it is a tool's turn to say something.
    fn waits_for_a_tool(&self) -> bool;
    /// What the CLI has left to do, after the lines so far.
    fn rest(&self) -> Rest {
        Rest::Work
    }
    /// The CLI is about to be ended.
    fn cut(&mut self) {}
    /// Processes are left that this one may not end: somebody with the right to has to.
    fn stuck(&mut self) {}
}

/// Who can end the run besides a signal: a peer that cancels it (a second cancel kills at once), or goes away.
pub trait Control {
    /// Readable when there is an order.
    fn descriptor(&self) -> BorrowedFd<'_>;
    /// The next order that is there, without waiting.
    fn order(&mut self) -> io::Result<Order>;
}

/// The peer of a run, if it has one.
pub type Peer<'run> = Option<&'run mut (dyn Control + 'static)>;

/// What a peer wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Nothing new.
    None,
    /// The run's end.
    Cancel,
    /// Nothing any more: it is not there, and nobody hears of the run.
    Gone,
}

/// What the reader of a line makes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Continue,
    /// End the CLI.
    Stop(Intervention),
}

/// The run's hold on the broker, if the CLI asks that in the API's place.
pub type Broker<'run> = Option<&'run mut Lease>;

/// How the process ended.
#[derive(Debug)]
pub struct CliEnd {
    /// Wait status of the CLI.
    pub status: ChildStatus,
    /// The end of what it wrote to standard error.
    pub stderr: String,
    /// Why it was ended, if it did not end by itself.
    pub intervention: Option<Intervention>,
    /// How many processes it had left behind; all of them are gone.
    pub leftovers: usize,
}

/// Runs the CLI, handing each line of its output to `reader`.
pub fn run(
    signals: &Signals,
    control: Peer<'_>,
    broker: Broker<'_>,
    launch: &Launch,
    reader: &mut dyn LineReader,
) -> io::Result<CliEnd> {
    let mut running = Running::start(launch, control, broker)?;
    while running.status.is_none() {
        running.wait(signals, reader)?;
        running.pump(reader)?;
        running.take_rest(reader.rest());
        running.take_signals(signals, reader)?;
        running.take_control(reader)?;
        running.take_broker(reader);
        running.take_deadlines(reader);
    }
    // It is gone, so what it wrote is in the pipes already; a process it left behind may hold them open for ever.
    for _ in 0..LAST_GULPS {
        running.pump(reader)?;
    }
    running.finish_line(reader);
    if running.intervention.is_none()
        && running.status == Some(ChildStatus::Signaled(libc::SIGKILL))
        && running.memory.saw_a_kill()
    {
        running.intervention = Some(Intervention::OutOfMemory);
    }
    let leftovers = end_leftovers(signals, reader)?;
    Ok(CliEnd {
        status: running.status.unwrap_or(ChildStatus::Exited(u8::MAX)),
        stderr: running.stderr.text(),
        intervention: running.intervention,
        leftovers,
    })
}

struct Running<'run> {
    pid: i32,
    control: Peer<'run>,
    broker: Broker<'run>,
    silence: Option<Duration>,
    background: Duration,
    memory: memory::Watch,
    rest: Rest,
    /// When it last said something.
    heard_at: Instant,
    stdin: Option<PipeWriter>,
    unsent: &'run [u8],
    stdout: Source<PipeReader>,
    stderr: Source<PipeReader>,
    status: Option<ChildStatus>,
    intervention: Option<Intervention>,
    /// When the run's time is over.
    give_up_at: Option<Instant>,
    /// When the CLI gets TERM although nobody wants it ended early: its result is there.
    end_at: Option<Instant>,
    /// When the CLI gets KILL.
    kill_at: Option<Instant>,
}

impl<'run> Running<'run> {
    fn start(launch: &'run Launch, control: Peer<'run>, broker: Broker<'run>) -> io::Result<Self> {
        let mut environment = launch.environment.clone();
        // Its own affair.
        environment.extend([name::CLAUDE_IDS, name::BROKER_CONTROL].map(|name| (name.to_owned(), None)));
        let plan = Spawn {
            command: launch.command.clone(),
            environment,
            directory: launch.workspace.clone(),
            credentials: files::claude().cloned(),
            kept: Kept::Nothing,
            mode: Mode::Sudo,
            group: Group::Session,
            parent_death_signal: Some(libc::SIGTERM),
            walls: launch.walls.clone(),
        };
        let child = spawn::fork(&plan)?;
        set_nonblocking(&child.stdin)?;
        Ok(Self {
            pid: child.pid,
            control,
            broker,
            silence: launch.silence,
            background: launch.background,
            memory: memory::Watch::start(launch.memory),
            rest: Rest::Work,
            heard_at: Instant::now(),
            stdin: Some(child.stdin),
            unsent: launch.input.as_bytes(),
            stdout: Source::new(child.stdout)?,
            stderr: Source::new(child.stderr)?,
            status: None,
            intervention: None,
            give_up_at: launch.deadline,
            end_at: None,
            kill_at: None,
        })
    }

    fn wait(&self, signals: &Signals, reader: &dyn LineReader) -> io::Result<()> {
        let deadlines = [self.give_up_at, self.silent_at(reader), self.end_at, self.kill_at, self.memory.due()];
        let deadline = deadlines.into_iter().flatten().min();
        let mut interests: Vec<Interest<'_>> = Vec::new();
        let control = self.control.as_ref().map(|control| control.descriptor());
        interests.extend(control.as_ref().map(Interest::readable));
        interests.extend(self.broker.as_deref().map(Interest::readable));
        interests.extend(self.stdin.as_ref().map(Interest::writable));
        interests.extend(self.stdout.pipe.as_ref().map(Interest::readable));
        interests.extend(self.stderr.pipe.as_ref().map(Interest::readable));
        events::wait(signals, &interests, deadline)
    }

    /// Moves what the pipes take and give, without waiting.
    fn pump(&mut self, reader: &mut dyn LineReader) -> io::Result<()> {
        self.feed()?;
        if self.stdout.fill()? > 0 {
            self.heard_at = Instant::now();
        }
        while let Some(line) = self.stdout.take_line() {
            let verdict = match line {
                Line::Whole(line) => reader.line(&line),
                Line::Dropped(bytes) => {
                    reader.dropped(bytes);
                    Verdict::Continue
                }
            };
            if let Verdict::Stop(why) = verdict {
                self.stop(why, reader);
            }
        }
        self.stderr.fill()?;
        self.stderr.keep_end(STDERR_BYTES);
        Ok(())
    }

    fn feed(&mut self) -> io::Result<()> {
        let Some(pipe) = &mut self.stdin else { return Ok(()) };
        while !self.unsent.is_empty() {
            match pipe.write(self.unsent) {
                Ok(count) => self.unsent = &self.unsent[count..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                // It does not want the rest; why, it says in its output.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
                Err(error) => return Err(error),
            }
        }
        self.stdin = None;
        Ok(())
    }

    /// A last line without its line feed, from a CLI that was cut off.
    fn finish_line(&mut self, reader: &mut dyn LineReader) {
        match self.stdout.take_rest() {
            Some(Line::Whole(line)) => {
                reader.line(&line);
            }
            Some(Line::Dropped(bytes)) => reader.dropped(bytes),
            None => {}
        }
    }

    /// When the CLI will have been silent for too long. A tool may take its time, and so may a CLI that has its answer.
    fn silent_at(&self, reader: &dyn LineReader) -> Option<Instant> {
        let may_be_silent = self.end_at.is_some() || self.intervention.is_some() || reader.waits_for_a_tool();
        self.silence.filter(|_| !may_be_silent).map(|longest| self.heard_at + longest)
    }

    /// Plans the end of a CLI that has its answer. One that begins another turn stays.
    fn take_rest(&mut self, rest: Rest) {
        if rest == std::mem::replace(&mut self.rest, rest) {
            return;
        }
        self.end_at = match rest {
            Rest::Work => None,
            Rest::Background => Some(Instant::now() + self.background),
            Rest::Nothing => Some(Instant::now() + AFTER_RESULT),
        };
    }

    fn take_signals(&mut self, signals: &Signals, reader: &mut dyn LineReader) -> io::Result<()> {
        while let Some(signal) = signals.next()? {
            match signal {
                libc::SIGCHLD => {
                    let pid = self.pid;
                    let status = &mut self.status;
                    reaper::drain(|child, seen| {
                        if child == pid && seen.exit_code().is_some() {
                            *status = Some(seen);
                        }
                    });
                }
                signal if events::asks_to_stop(signal) => self.cancel(signal, reader),
                _ => {}
            }
        }
        Ok(())
    }

    fn take_control(&mut self, reader: &mut dyn LineReader) -> io::Result<()> {
        while let Some(control) = &mut self.control {
            match control.order()? {
                Order::None => break,
                Order::Cancel => self.cancel(libc::SIGTERM, reader),
                Order::Gone => {
                    self.control = None;
                    self.stop(Intervention::Cancelled(libc::SIGTERM), reader);
                }
            }
        }
        Ok(())
    }

    /// Hears the broker. One that has gone comes back, and the CLI's requests with it.
    fn take_broker(&mut self, reader: &mut dyn LineReader) {
        while let Some(lease) = &mut self.broker {
            match lease.next_message() {
                Ok(None) => break,
                Ok(Some(FromBroker::OverBudget { .. })) => self.stop(Intervention::OverBudget, reader),
                Ok(Some(_)) => {}
                Err(error) => {
                    tracing::debug!("the run's broker is lost: {error}");
                    let renewed = matches!(error, LeaseError::Closed | LeaseError::Io(_))
                        && files::as_self(|| lease.renew())
                            .inspect_err(|error| tracing::warn!("{error}: the run's requests fail from here on"))
                            .is_ok();
                    if !renewed {
                        self.broker = None;
                    }
                }
            }
        }
    }

    fn cancel(&mut self, signal: i32, reader: &mut dyn LineReader) {
        if self.intervention.is_some() {
            // Asked twice: no more patience.
            self.kill_at = Some(Instant::now());
        } else {
            self.stop(Intervention::Cancelled(signal), reader);
        }
    }

    fn take_deadlines(&mut self, reader: &mut dyn LineReader) {
        let now = Instant::now();
        if self.silent_at(reader).is_some_and(|at| at <= now) {
            self.stop(Intervention::Silent, reader);
        }
        if self.memory.is_over(now) {
            self.stop(Intervention::OutOfMemory, reader);
            // What takes memory this fast gets no time to take more.
            self.kill_at = Some(now);
        }
        if self.give_up_at.take_if(|at| *at <= now).is_some() {
            self.stop(Intervention::TimedOut, reader);
        }
        if self.end_at.take_if(|at| *at <= now).is_some() {
            tracing::debug!("the answer is there and the CLI stays: ending it");
            self.terminate(reader);
        }
        if self.kill_at.take_if(|at| *at <= now).is_some() {
            self.signal(libc::SIGKILL);
        }
    }

    /// Ends the CLI early; the first reason counts.
    fn stop(&mut self, why: Intervention, reader: &mut dyn LineReader) {
        if self.intervention.is_none() {
            self.intervention = Some(why);
            self.terminate(reader);
        }
    }

    fn terminate(&mut self, reader: &mut dyn LineReader) {
        reader.cut();
        self.signal(libc::SIGTERM);
        self.signal(libc::SIGCONT);
        self.kill_at = Some(Instant::now() + CANCEL_GRACE);
    }

    fn signal(&self, signal: i32) {
        // Not yet reaped, so the pid is still its own; that it may have ended already is fine.
        if self.status.is_none() {
            let _ = sys::kill(self.pid, signal);
        }
    }
}

/// Ends every process below this one, TERM first, and says how many there were.
///
/// Those of another user, root's after a `sudo`, take no signal from here: the reader is told, and asks PID 1.
fn end_leftovers(signals: &Signals, reader: &mut dyn LineReader) -> io::Result<usize> {
    let own = std::process::id().cast_signed();
    let mut seen: HashSet<i32> = HashSet::new();
    let rounds = [(libc::SIGTERM, LEFTOVER_GRACE), (libc::SIGKILL, KILL_GRACE), (libc::SIGKILL, STUCK_GRACE)];
    for (round, (signal, grace)) in rounds.into_iter().enumerate() {
        if round == rounds.len() - 1 {
            reader.stuck();
        }
        let deadline = Instant::now() + grace;
        let mut first = true;
        loop {
            if reaper::drain(|_, _| {}) == Children::None {
                return Ok(seen.len());
            }
            // After the first round this finds who was forked, or inherited from the dead, in the meantime.
            for pid in table::descendants(own) {
                if seen.insert(pid) || first {
                    let _ = sys::kill(pid, signal);
                    let _ = sys::kill(pid, libc::SIGCONT);
                }
            }
            first = false;
            if Instant::now() >= deadline {
                break;
            }
            events::wait(signals, &[], Some(deadline))?;
            while signals.next()?.is_some() {}
        }
    }
    tracing::warn!("processes of the run are left that even SIGKILL does not end");
    Ok(seen.len())
}
