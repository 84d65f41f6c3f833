//! PID 1 of a box with servers: starts `serve`, hears it over the link, and carries out what [`super::service`] decides.
//!
//! Like the loop of a main child it has one thread, and sleeps in `poll` without a time-out as long as nothing happens.
//! What takes time, ending the processes of a run, is done by a process of its own ([`super::leftovers`]).

use std::ffi::{CStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::installer::Installer;
use super::leftovers::Scope;
use super::plan::{Changes, Side, child_of_box, plan_of_installer, plan_of_roots};
use super::pulse::STOPPED_LIMIT;
use super::service::{Action, Event, Notice, Service};
use super::sidecar::{self, Sidecar};
use super::start::{Between, StartError, between};
use super::supervise::Supervisor;
use crate::boot::Booted;
use crate::config::environment::Environment;
use crate::config::{Config, name};
use crate::exit_code::ExitCode;
use crate::privilege::helper::Group;
use crate::privilege::keep;
use crate::process::events::{self, Interest};
use crate::process::link::{Link, Message};
use crate::process::reaper::{self, Children};
use crate::process::spawn::{Spawn, Streams, own_executable, spawn};
use crate::process::status::ChildStatus;
use crate::sys;

/// The servers' role.
pub const SERVE: &str = "serve";
/// Hidden role: ends what belongs to a run.
pub const END_RUNS: &str = "end-runs";
/// The name of the supervisor's process in a box with servers, as `ps` shows it: they are not ready.
///
/// Readiness is told this way because it works in every box: whoever PID 1 is, and with no file system to write to.
pub const NAME_STARTING: &CStr = c"claudebox start";
/// The same: they are.
pub const NAME_READY: &CStr = c"claudebox ready";
/// The same: the box ends.
pub const NAME_STOPPING: &CStr = c"claudebox stop";
/// Runs that are ended at the same time. More wait in the link.
const MOST_SWEEPS: usize = 8;
/// Messages that are taken before the next look at the signals.
const MOST_MESSAGES: usize = 16;

/// Shows in the name of this process whether the servers are ready.
pub fn show_ready(ready: bool) {
    show(if ready { NAME_READY } else { NAME_STARTING });
}

fn show(name: &CStr) {
    // It cannot fail with a valid pointer.
    let _ = nix::sys::prctl::set_name(name);
}

/// Starts `serve` in the box, again whenever it ends unasked, and stays until the box ends. `installer`: the command that makes
/// sure that the CLI is there, where that is this box's business. `worker`: the one that carries out a run for `serve`.
pub fn serve(
    supervisor: &Supervisor,
    config: &Config,
    booted: &Booted,
    env: &impl Environment,
    installer: Option<Vec<OsString>>,
    worker: Vec<OsString>,
) -> Result<ExitCode, StartError> {
    let Between { sidecars, broker, leading, model } = between(supervisor, config, booted, env, false)?;
    let with = |environment: Changes| [environment, leading.clone()].concat();
    keep::drop_the_rest().map_err(io::Error::other)?;
    let command = vec![own_executable().into_os_string(), SERVE.into()];
    let mut plan = child_of_box(
        supervisor,
        config,
        booted,
        Side::Servers,
        command,
        with(booted.server_environment()),
        Group::Session,
    );
    plan.directory = "/".into();
    let mut worker = child_of_box(
        supervisor,
        config,
        booted,
        Side::Worker,
        worker,
        with(booted.environment.clone()),
        Group::Session,
    );
    worker.environment.push(("PWD".into(), None));
    worker.environment.extend(broker.iter().flat_map(|broker| broker.environment_of_worker(model)));
    worker.directory = "/".into();
    let (service, first) = Service::begin(config.grace);
    let mut serving = Serving {
        supervisor,
        plan,
        worker,
        workers: Vec::new(),
        booted,
        service,
        serve: None,
        began: Instant::now(),
        link: None,
        sidecars,
        installer: installer.map(|command| Installer::new(plan_of_installer(booted, command))),
        told: None,
        clearing: None,
        sweeps: Vec::new(),
        deadline: None,
        pending: Vec::new(),
    };
    Ok(serving.run(first)?)
}

struct Serving<'box_> {
    supervisor: &'box_ Supervisor,
    booted: &'box_ Booted,
    /// How to start `serve`.
    plan: Spawn,
    /// How to start a worker, where it has a user whose programs `serve` may not start.
    worker: Spawn,
    /// The pids of those that live.
    workers: Vec<i32>,
    service: Service,
    /// Its pid, while it lives.
    serve: Option<i32>,
    /// When it was started.
    began: Instant,
    link: Option<Link>,
    /// What is started again besides.
    sidecars: Vec<Sidecar>,
    /// Who installs the CLI.
    installer: Option<Installer>,
    /// What this `serve` was told of the CLI last.
    told: Option<Message>,
    /// Who ends all runs after its death.
    clearing: Option<i32>,
    /// Who ends one run each, for `serve`.
    sweeps: Vec<i32>,
    deadline: Option<Instant>,
    pending: Vec<Event>,
}

impl Serving<'_> {
    fn run(&mut self, first: Vec<Action>) -> io::Result<ExitCode> {
        if let Some(code) = self.carry_out(first) {
            return Ok(code);
        }
        loop {
            while let Some(signal) = self.supervisor.signals().next()? {
                match signal {
                    libc::SIGCHLD => self.reap(),
                    signal => self.pending.push(Event::Signal(signal)),
                }
            }
            self.listen();
            if self.deadline.take_if(|at| *at <= Instant::now()).is_some() {
                self.pending.push(Event::DeadlinePassed);
            }
            while !self.pending.is_empty() {
                let event = self.pending.remove(0);
                let actions = self.service.on(event);
                if let Some(code) = self.carry_out(actions) {
                    return Ok(code);
                }
            }
            let sidecar_due = if self.service.is_ending() { None } else { sidecar::see_to(&mut self.sidecars) };
            let install_due = self.see_to_the_cli();
            let link = self.link.as_ref().filter(|_| self.sweeps.len() < MOST_SWEEPS);
            let output = self.installer.as_ref().and_then(Installer::output);
            let mut interests: Vec<Interest<'_>> = link.into_iter().map(Interest::readable).collect();
            interests.extend(output.map(Interest::readable));
            let deadline = self.deadline.into_iter().chain(sidecar_due).chain(install_due).min();
            events::wait(self.supervisor.signals(), &interests, deadline)?;
        }
    }

    /// Has the CLI installed, and tells `serve` how far that is; when there is something to do next.
    fn see_to_the_cli(&mut self) -> Option<Instant> {
        let installer = self.installer.as_mut().filter(|_| !self.service.is_ending())?;
        installer.start_if_due();
        installer.listen();
        let due = installer.due();
        let state = Message::Cli(installer.state().cloned());
        if let Some(link) = self.link.as_ref().filter(|_| self.told.as_ref() != Some(&state))
            // One that does not read hears it with the next change, or it is killed.
            && link.try_send(&state).is_ok()
        {
            self.told = Some(state);
        }
        due
    }

    /// Reaps everything there is.
    fn reap(&mut self) {
        let mut ended: Vec<(i32, ChildStatus)> = Vec::new();
        let serve = self.serve;
        let mut is_stopped = false;
        let children = reaper::drain(|pid, status| {
            // A stopped process has not ended.
            if status.exit_code().is_some() {
                ended.push((pid, status));
            } else {
                is_stopped |= serve == Some(pid);
            }
        });
        if is_stopped {
            self.pending.push(Event::ServeStopped);
        }
        let others = children == Children::Some;
        let mut event = Event::OthersEnded { others };
        for (pid, status) in ended {
            // Once it has been reaped, its pid may come back as somebody else's.
            if self.serve.take_if(|serve| *serve == pid).is_some() {
                self.hear_last_words();
                let (uptime, chance) = (self.began.elapsed(), sys::chance());
                self.pending.push(Event::ServeEnded { status, uptime, chance, others });
                continue;
            }
            let is_sidecar = !self.service.is_ending() && sidecar::one_has_ended(&mut self.sidecars, pid, status);
            let is_installer = self.installer.as_mut().is_some_and(|installer| installer.has_ended(pid, status));
            if is_sidecar || is_installer {
                continue;
            }
            if self.clearing.take_if(|sweep| *sweep == pid).is_some() {
                event = Event::RunsEnded { others };
            }
            self.sweeps.retain(|sweep| *sweep != pid);
            self.workers.retain(|worker| *worker != pid);
        }
        self.pending.push(event);
    }

    /// Takes what a `serve` that has ended said before: its end may be known first.
    fn hear_last_words(&mut self) {
        let Some(link) = self.link.take() else { return };
        while let Ok(Some((message, _))) = link.try_receive() {
            if message == Message::Done {
                self.pending.push(Event::Done);
            }
        }
    }

    /// Takes what `serve` says.
    fn listen(&mut self) {
        for _ in 0..MOST_MESSAGES {
            let Some(link) = self.link.as_ref().filter(|_| self.sweeps.len() < MOST_SWEEPS) else { return };
            match link.try_receive() {
                Ok(Some((Message::Ready, _))) => self.pending.push(Event::Ready),
                Ok(Some((Message::Done, _))) => self.pending.push(Event::Done),
                Ok(Some((Message::Pong, _))) => self.pending.push(Event::Pong),
                Ok(Some((Message::Start { number }, descriptors))) => self.start_worker(number, descriptors),
                Ok(Some((Message::End { run, worker }, _))) => {
                    let mut scope = self.scope();
                    (scope.run, scope.worker) = (Some(run), worker);
                    match link.as_fd().try_clone_to_owned().and_then(|link| self.sweep(&scope, link.into())) {
                        Ok(sweep) => self.sweeps.push(sweep),
                        Err(error) => tracing::warn!("what a run has left cannot be ended: {error}"),
                    }
                }
                Ok(Some((other, _))) => tracing::warn!("serve says {other:?}, which is not its to say"),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Ok(None) => {
                    tracing::debug!("serve has closed its link");
                    self.link = None;
                }
                Err(error) => {
                    tracing::warn!("serve is not heard any more: {error}");
                    self.link = None;
                }
            }
        }
    }

    /// Carries actions out; the exit code, if that was the end.
    fn carry_out(&mut self, actions: Vec<Action>) -> Option<ExitCode> {
        for action in actions {
            match action {
                Action::Start(restarts) => self.start(restarts),
                Action::ShowReady(ready) => {
                    if self.service.is_ending() {
                        show(NAME_STOPPING);
                    } else {
                        show_ready(ready);
                    }
                    // From here on it waits.
                    sys::forget_code();
                }
                Action::AskToStop => {
                    // It gets TERM as well.
                    let _ = self.link.as_ref().map(|link| link.try_send(&Message::Stop));
                }
                Action::Ping => {
                    // Whether it is heard is told by the answer.
                    let _ = self.link.as_ref().map(|link| link.try_send(&Message::Ping));
                }
                Action::SignalServe(signal) => {
                    // It may have ended in this very moment; its status is already on its way.
                    let _ = self.serve.map(|serve| sys::kill(serve, signal));
                }
                Action::EndRuns => self.end_runs(),
                Action::AbandonRuns => {
                    tracing::warn!("ending what the runs have left takes too long: giving up");
                    let _ = self.clearing.take().map(|sweep| sys::kill(sweep, libc::SIGKILL));
                }
                Action::SignalEveryone(signal) => self.supervisor.signal_everyone(signal),
                Action::Look => self.reap(),
                Action::SetDeadline(after) => self.deadline = Some(Instant::now() + after),
                Action::Tell(notice) => tell(notice),
                Action::Finish(code) => {
                    self.supervisor.end();
                    return Some(code);
                }
            }
        }
        None
    }

    fn start(&mut self, restarts: u32) {
        self.began = Instant::now();
        match self.try_start(restarts) {
            Ok(pid) => self.serve = Some(pid),
            Err(error) => {
                tracing::warn!("serve cannot be started: {error}");
                let status = ChildStatus::Exited(ExitCode::Internal.code());
                // Other children may be there; saying so costs a look at most.
                let (uptime, chance) = (Duration::ZERO, sys::chance());
                self.pending.push(Event::ServeEnded { status, uptime, chance, others: true });
            }
        }
    }

    fn try_start(&mut self, restarts: u32) -> io::Result<i32> {
        let (own, its) = Link::pair()?;
        let mut plan = self.plan.clone();
        plan.environment.push((name::RESTARTS.into(), Some(restarts.to_string().into())));
        let streams = Streams { stdin: OwnedFd::from(its).into(), stdout: Stdio::inherit(), stderr: Stdio::inherit() };
        let child = spawn(&plan, streams)?;
        self.link = Some(own);
        self.told = None;
        Ok(child.id().cast_signed())
    }

    /// Starts a worker for `serve`, which hears of it.
    fn start_worker(&mut self, number: u64, descriptors: Vec<OwnedFd>) {
        let Some(link) = &self.link else { return };
        let told = match launch(&self.worker, descriptors) {
            Ok((pid, process)) => {
                self.workers.push(pid);
                link.try_send_with(&Message::Started { number, worker: pid }, &[process.as_fd()])
            }
            Err(error) => {
                tracing::warn!("a worker cannot be started: {error}");
                link.try_send_with(&Message::NotStarted { number }, &[])
            }
        };
        match told {
            Ok(()) => {}
            // It has ended meanwhile, and its worker does with the pipes.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => tracing::debug!("a worker for nobody: {error}"),
            Err(error) => tracing::warn!("serve is not told of its worker: {error}"),
        }
    }

    fn end_runs(&mut self) {
        match self.sweep(&self.scope(), Stdio::null()) {
            Ok(sweep) => self.clearing = Some(sweep),
            Err(error) => {
                tracing::warn!("what the runs have left cannot be ended: {error}");
                self.pending.push(Event::RunsEnded { others: true });
            }
        }
    }

    fn scope(&self) -> Scope {
        Scope {
            supervisor: std::process::id().cast_signed(),
            serve: self.serve,
            workers: self.workers.clone(),
            run: None,
            worker: None,
        }
    }

    /// Starts ending what is in `scope`, as the user of this process.
    fn sweep(&self, scope: &Scope, stdin: Stdio) -> io::Result<i32> {
        let mut command = vec![own_executable().into_os_string(), END_RUNS.into()];
        command.extend(scope.arguments().into_iter().map(OsString::from));
        let plan = plan_of_roots(self.booted, command);
        let streams = Streams { stdin, stdout: Stdio::null(), stderr: Stdio::inherit() };
        Ok(spawn(&plan, streams)?.id().cast_signed())
    }
}

/// Starts a worker with these as standard input and output; its pid, and a descriptor of the process.
fn launch(plan: &Spawn, descriptors: Vec<OwnedFd>) -> io::Result<(i32, OwnedFd)> {
    let [stdin, stdout] =
        <[OwnedFd; 2]>::try_from(descriptors).map_err(|_| io::Error::other("it came without its pipes"))?;
    let streams = Streams { stdin: stdin.into(), stdout: stdout.into(), stderr: Stdio::inherit() };
    let pid = spawn(plan, streams)?.id().cast_signed();
    // It is this process's child and not reaped yet: nobody else has its pid.
    Ok((pid, sys::process_descriptor(pid)?))
}

fn tell(notice: Notice) {
    match notice {
        Notice::Restart { status, uptime, restarts, delay } => {
            // In order, as after a TERM, which anybody of its user can send.
            let unasked = if status == ChildStatus::Exited(0) { ", though the box does not end," } else { "" };
            let (uptime, delay) = (uptime.as_secs_f64(), delay.as_secs_f64());
            tracing::warn!("serve {status}{unasked} after {uptime:.1} s; restart {restarts} in {delay:.1} s");
        }
        Notice::KeepsFailing(deaths) => tracing::error!(
            "serve keeps failing: {deaths} times in a row without a minute of health; it is started again and again, and \
             only every tenth time is told from here on"
        ),
        // It has said why.
        Notice::Final(status @ ChildStatus::Exited(0)) => tracing::info!("serve {status}, its work done: the box ends"),
        Notice::Final(status) => tracing::error!("serve {status}: restarting cannot fix this, stopping the box"),
        Notice::Stopped => tracing::warn!(
            "serve was stopped by a signal: it is not ready, and is killed unless somebody continues it within {} s",
            STOPPED_LIMIT.as_secs()
        ),
        Notice::Silent => tracing::warn!("serve does not answer: it is not ready"),
        Notice::Answers => tracing::info!("serve answers again"),
        Notice::GivenUp => tracing::error!("serve does not answer: it is killed"),
    }
}
