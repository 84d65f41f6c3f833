//! The supervisor's loop: waits for signals and deadlines, feeds the machine, carries its actions out.

use std::io;
use std::time::{Duration, Instant};

use nix::sys::prctl;

use super::machine::{Action, Event, Machine, main_event};
use super::sidecar::{self, Sidecar};
use super::tty::Tty;
use crate::exit_code::ExitCode;
use crate::process::events::{self, Signals};
use crate::process::reaper::{self, Children};
use crate::process::status::ChildStatus;
use crate::process::table;
use crate::sys;

/// How long what was killed may take to be gone.
const GIVE_UP: Duration = Duration::from_secs(2);

/// A process that looks after all processes below it.
pub struct Supervisor {
    signals: Signals,
    scope: Scope,
    tty: Option<Tty>,
}

/// Which processes end with this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// PID 1: every process of the PID namespace.
    Namespace,
    /// A subreaper: its descendants.
    Descendants,
}

impl Supervisor {
    /// Blocks and collects all signals and makes this process inherit orphans.
    ///
    /// Call it before any thread exists.
    pub fn new() -> io::Result<Self> {
        let signals = Signals::block_all()?;
        let scope = if std::process::id() == 1 {
            Scope::Namespace
        } else {
            prctl::set_child_subreaper(true)?;
            Scope::Descendants
        };
        Ok(Self { signals, scope, tty: Tty::remember() })
    }

    /// Whether this process is PID 1 of its namespace.
    pub fn is_pid1(&self) -> bool {
        self.scope == Scope::Namespace
    }

    /// All signals of this process.
    pub(super) const fn signals(&self) -> &Signals {
        &self.signals
    }

    /// Waits for `ready` to give a value, for as long as it is not asked to stop and `deadline` has not passed.
    ///
    /// For what has to be there before the main child: orphans are reaped meanwhile; a TERM, INT, QUIT or HUP ends it.
    pub fn wait_until<T>(
        &self,
        fd: &impl std::os::fd::AsFd,
        deadline: Instant,
        mut ready: impl FnMut() -> io::Result<Option<T>>,
    ) -> io::Result<Waited<T>> {
        loop {
            if let Some(value) = ready()? {
                return Ok(Waited::Ready(value));
            }
            if let Some(signal) = self.take_signals(|_, _| {})? {
                return Ok(Waited::Stopped(signal));
            }
            if Instant::now() >= deadline {
                return Ok(Waited::TimedOut);
            }
            events::wait(&self.signals, &[events::Interest::readable(fd)], Some(deadline))?;
        }
    }

    /// Waits for the child `pid` to end, for as long as it is not asked to stop and `deadline` has not passed.
    pub fn wait_for(&self, pid: i32, deadline: Option<Instant>) -> io::Result<Waited<ChildStatus>> {
        loop {
            let mut ended = None;
            let stop = self.take_signals(|child, status| {
                if child == pid && status.exit_code().is_some() {
                    ended = Some(status);
                }
            })?;
            if let Some(signal) = stop {
                return Ok(Waited::Stopped(signal));
            }
            if let Some(status) = ended {
                return Ok(Waited::Ready(status));
            }
            if deadline.is_some_and(|at| Instant::now() >= at) {
                return Ok(Waited::TimedOut);
            }
            events::wait(&self.signals, &[], deadline)?;
        }
    }

    /// Reaps for as long as `condition` holds, `deadline` has not passed and nobody asks it to stop (again).
    pub fn wait_while(&self, deadline: Instant, condition: impl Fn() -> bool) -> io::Result<()> {
        while condition() && Instant::now() < deadline {
            events::wait(&self.signals, &[], Some(deadline))?;
            if self.take_signals(|_, _| {})?.is_some() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Takes the signals that are there, before there is a main child to forward them to: reaps, handing each change of
    /// a child to `each`, up to one that asks the box to stop.
    fn take_signals(&self, mut each: impl FnMut(i32, ChildStatus)) -> io::Result<Option<i32>> {
        while let Some(signal) = self.signals.next()? {
            match signal {
                libc::SIGCHLD => {
                    reaper::drain(&mut each);
                }
                signal if events::asks_to_stop(signal) => return Ok(Some(signal)),
                _ => {}
            }
        }
        Ok(None)
    }

    /// Ends everything that was started before a main child: there will be none.
    pub fn give_up(&self) {
        self.signal_everyone(libc::SIGKILL);
        if self.scope == Scope::Descendants {
            let own = std::process::id().cast_signed();
            let deadline = Instant::now() + GIVE_UP;
            // It ends all the same if this fails; the killed ones are dying.
            let _ = self.wait_while(deadline, || !table::descendants(own).is_empty());
        }
        self.end();
    }

    /// Looks after the main child `main` until it and everything below this process has ended.
    /// Until then `sidecars` are there, too.
    pub(super) fn run(&self, main: i32, mut machine: Machine, mut sidecars: Vec<Sidecar>) -> io::Result<ExitCode> {
        let mut deadline: Option<Instant> = None;
        let mut pending: Vec<Event> = Vec::new();
        let mut alive = true;
        // From here on it waits.
        sys::forget_code();
        loop {
            while let Some(signal) = self.signals.next()? {
                if signal == libc::SIGCHLD {
                    // Once it has been reaped, its pid may come back as somebody else's.
                    let event = reap(alive.then_some(main), &mut sidecars);
                    alive &= !matches!(event, Event::MainEnded { .. });
                    pending.push(event);
                } else {
                    pending.push(Event::Signal(signal));
                }
            }
            if deadline.is_some_and(|at| Instant::now() >= at) {
                deadline = None;
                pending.push(Event::DeadlinePassed);
            }
            for event in std::mem::take(&mut pending) {
                for action in machine.on(event) {
                    match action {
                        Action::Finish(code) => {
                            self.end();
                            return Ok(code);
                        }
                        Action::SetDeadline(after) => deadline = Some(Instant::now() + after),
                        // The receiver may have ended in this very moment; its status is already on its way.
                        Action::SignalMain(signal) => drop(sys::kill(main, signal)),
                        Action::SignalEveryone(signal) => self.signal_everyone(signal),
                        Action::MainSuspended(signal) => self.resume(main, signal)?,
                    }
                }
            }
            if !alive {
                sidecars.clear();
            }
            let due = sidecar::see_to(&mut sidecars);
            events::wait(&self.signals, &[], deadline.into_iter().chain(due).min())?;
        }
    }

    /// Sends a signal to every process that is to end with this one.
    pub(super) fn signal_everyone(&self, signal: i32) {
        match self.scope {
            // The kernel sends it to every process but this one, in one pass that no fork can slip through.
            Scope::Namespace => drop(sys::kill(-1, signal)),
            Scope::Descendants => {
                for pid in table::descendants(std::process::id().cast_signed()) {
                    let _ = sys::kill(pid, signal);
                }
            }
        }
    }

    /// The main child suspended itself (Ctrl-Z), or wanted a terminal that it does not have.
    ///
    /// Under a shell this process stops too, and the shell's `fg` or `bg` wakes both. As a session's leader there is no
    /// shell to say `fg` in: the child is woken at once, or the terminal would hang for good.
    fn resume(&self, main: i32, signal: i32) -> io::Result<()> {
        let under_a_shell = nix::unistd::getsid(None)? != nix::unistd::getpid() && !self.is_pid1();
        // The shell's `fg` brings this process to the foreground; a main child that ran on meanwhile asks only now.
        let just_lend = signal != libc::SIGTSTP && self.tty.as_ref().is_some_and(Tty::is_own);
        if under_a_shell && !just_lend {
            if let Some(tty) = self.tty.as_ref().filter(|tty| tty.is_lent_to(main)) {
                tty.take_foreground();
            }
            // STOP cannot be blocked: this line ends when somebody continues this process.
            sys::kill(std::process::id().cast_signed(), libc::SIGSTOP)?;
        }
        if let Some(tty) = self.tty.as_ref().filter(|tty| !under_a_shell || tty.is_own()) {
            if !under_a_shell && signal == libc::SIGTSTP {
                tty.deny_suspension();
            }
            tty.lend(main);
        }
        sys::kill(-main, libc::SIGCONT)
    }

    /// The last thing to do: the terminal is taken back.
    pub(super) fn end(&self) {
        if let Some(tty) = &self.tty {
            tty.take_back();
        }
    }
}

/// Reaps everything there is; the one event it amounts to.
fn reap(main: Option<i32>, sidecars: &mut [Sidecar]) -> Event {
    let mut of_main: Option<ChildStatus> = None;
    let children = reaper::drain(|pid, status| {
        // A stop that was followed by the end is of no interest; the end is.
        if main == Some(pid) {
            of_main = Some(status);
        } else if status.exit_code().is_some() {
            sidecar::one_has_ended(sidecars, pid, status);
        }
    });
    let others = children == Children::Some;
    of_main.map_or(Event::OthersEnded { others }, |status| main_event(status, others))
}

/// How [`Supervisor::wait_until`] ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waited<T> {
    /// The value is there.
    Ready(T),
    /// This signal asked the box to stop.
    Stopped(i32),
    /// The deadline has passed.
    TimedOut,
}
