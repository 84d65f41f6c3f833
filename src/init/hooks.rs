//! Running the init hooks: as root, one after another, once per container.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::supervise::{Supervisor, Waited};
use crate::boot::Booted;
use crate::boot::hooks::{self, Done, Hook};
use crate::config::logs::LogFormat;
use crate::config::mode::Mode;
use crate::config::{Config, OnError, name};
use crate::exit_code::ExitCode;
use crate::policy;
use crate::policy::hold::{self, Agent, Hold};
use crate::privilege::helper::Group;
use crate::privilege::plan::Kept;
use crate::privilege::walls::Walls;
use crate::process::spawn::{Spawn, Streams, spawn};
use crate::process::status::ChildStatus;
use crate::process::table;
use crate::sys;

/// The record of the hooks that have succeeded, in the container's own layer.
const RECORD: &str = "/var/lib/claudebox/hooks-done";
/// How long a hook that took too long has between TERM and KILL.
const GRACE: Duration = Duration::from_secs(2);

/// Why the box does not start.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum HookError {
    #[error(
        "init hook {hook} {how}; mend or remove {path}, or set {var}=continue to start all the same",
        var = name::HOOKS_ON_ERROR
    )]
    Failed { hook: String, path: String, how: String },
    /// The box was asked to stop meanwhile.
    #[error("ended by signal {0} during the init hooks")]
    Stopped(i32),
    #[error(
        "init hook {path} was not run: it runs as root, and Claude could change it ({hold}); make it root's alone, or mount {place} \
         read-only",
        place = policy::HOOKS
    )]
    Open { path: String, hold: Hold },
    #[error("cannot run the init hooks: {0}")]
    System(#[from] io::Error),
}

impl HookError {
    /// The exit code of a box that did not start.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Failed { .. } | Self::Open { .. } => ExitCode::Config,
            Self::Stopped(signal) => ExitCode::from_signal(*signal),
            Self::System(_) => ExitCode::Internal,
        }
    }
}

/// Runs the hooks that have not succeeded in this container yet; whether there were some.
pub fn run(supervisor: &Supervisor, config: &Config, booted: &Booted, format: LogFormat) -> Result<bool, HookError> {
    let mut any = false;
    let mut done = Done::read(Path::new(RECORD));
    for hook in of_box(config, booted)? {
        if done.has(&hook) {
            tracing::debug!("init hook {} has run in this container", hook.name);
            continue;
        }
        any = true;
        match run_one(supervisor, config, booted, &hook, format)? {
            None => {
                if let Err(error) = done.add(&hook) {
                    tracing::warn!("{RECORD} cannot be written ({error}): the next start runs {} again", hook.name);
                }
            }
            Some(how) => {
                let path = hook.path.display().to_string();
                let failed = HookError::Failed { hook: hook.name, path, how };
                match config.hooks_on_error {
                    OnError::Stop => return Err(failed),
                    OnError::Continue => tracing::warn!("{failed}"),
                }
            }
        }
    }
    Ok(any)
}

/// The hooks of this box: those in its own place, then those in the CLI's folder, unless Claude could change them and the box is
/// hardened. Of two with one name the first one counts.
fn of_box(config: &Config, booted: &Booted) -> Result<Vec<Hook>, HookError> {
    let (place, old) = (Path::new(policy::HOOKS), old_place(booted));
    let agent = booted.agent();
    let mut found = hooks::find(place);
    let held = changeable(place, &found, &agent);
    if let Some((path, hold)) = if config.mode == Mode::Hardened { held? } else { held.unwrap_or_default() } {
        if config.mode == Mode::Hardened {
            return Err(HookError::Open { path, hold });
        }
        tracing::warn!(
            "init hook {path} runs as root, and Claude could change it ({hold}): make it root's alone, or mount {} read-only",
            policy::HOOKS
        );
    }
    let of_old = hooks::find(&old);
    if of_old.is_empty() {
        return Ok(found);
    }
    if config.mode == Mode::Hardened {
        tracing::warn!(
            "the init hooks in {} were not run, because {} is on: move them to {}",
            old.display(),
            name::HARDENED,
            policy::HOOKS
        );
        return Ok(found);
    }
    if let Ok(Some((path, hold))) = changeable(&old, &of_old, &agent) {
        tracing::warn!(
            "init hook {path} runs as root, and Claude could change it ({hold}): it is safe in {}, mounted read-only",
            policy::HOOKS
        );
    }
    let is_new = |hook: &Hook| !found.iter().any(|known| known.name == hook.name);
    let of_old: Vec<Hook> = of_old.into_iter().filter(is_new).collect();
    found.extend(of_old);
    Ok(found)
}

/// The first of these hooks that Claude could change, by itself or by their folder, and how.
fn changeable(folder: &Path, found: &[Hook], agent: &Agent) -> io::Result<Option<(String, Hold)>> {
    let Some(first) = found.first() else { return Ok(None) };
    let named = |hook: &Hook, hold| Some((hook.path.display().to_string(), hold));
    if let Some(hold) = hold::of_folder(folder, agent)? {
        return Ok(named(first, hold));
    }
    for hook in found {
        if let Some(hold) = hold::open(&hook.path, agent)?.1 {
            return Ok(named(hook, hold));
        }
    }
    Ok(None)
}

/// Where older boxes have them.
fn old_place(booted: &Booted) -> PathBuf {
    booted.config_dir.join("init.d")
}

/// Says that there are hooks that cannot run, in a box that was not started as root.
pub fn skip(booted: &Booted) {
    if [Path::new(policy::HOOKS), &old_place(booted)].iter().any(|place| !hooks::find(place).is_empty()) {
        tracing::warn!("init hooks run as root, and this box was started as {}: none runs", booted.identity.name);
    }
}

/// Runs one hook; how it failed, if it did.
fn run_one(
    supervisor: &Supervisor,
    config: &Config,
    booted: &Booted,
    hook: &Hook,
    format: LogFormat,
) -> Result<Option<String>, HookError> {
    let began = Instant::now();
    tracing::info!("init hook {} begins", hook.name);
    let path: OsString = hook.path.clone().into();
    let mut environment = booted.environment.clone();
    let path_of_root = hooks::path_of_root(booted);
    environment.extend(
        [("HOME", "/root".into()), ("USER", "root".into()), ("LOGNAME", "root".into()), ("PATH", path_of_root)]
            .map(|(name, value)| (name.to_owned(), Some(value))),
    );
    let plan = Spawn {
        command: if hook.is_executable { vec![path] } else { vec!["bash".into(), path] },
        environment,
        directory: booted.workspace.clone(),
        // Root, whatever Claude may become.
        credentials: None,
        kept: Kept::Nothing,
        mode: Mode::Sudo,
        group: Group::Session,
        parent_death_signal: None,
        walls: Walls::default(),
    };
    // Standard output belongs to the main child's answer; what a hook prints is log. A hook may leave a daemon behind
    // that goes on writing, so it gets the log itself rather than a pipe that ends with it.
    let log = || io::stderr().as_fd().try_clone_to_owned().map(Stdio::from);
    let child = spawn(&plan, Streams { stdin: Stdio::null(), stdout: log()?, stderr: log()? })?;
    let pid = child.id().cast_signed();
    let ended = supervisor.wait_for(pid, config.hook_timeout.map(|limit| began + limit))?;
    if format == LogFormat::Json {
        // A last line without an end would take the next object in. Readers pass over an empty line.
        let _ = writeln!(io::stderr());
    }
    let took = began.elapsed().as_secs_f64();
    let how = match ended {
        Waited::Ready(ChildStatus::Exited(0)) => {
            tracing::info!("init hook {} is done: exit code 0, {took:.1} s", hook.name);
            return Ok(None);
        }
        Waited::Ready(ChildStatus::Signaled(signal)) => format!("was ended by signal {signal}"),
        Waited::Ready(status) => format!("failed with exit code {}", status.exit_code().map_or(0, ExitCode::code)),
        Waited::TimedOut => {
            end(supervisor, pid)?;
            format!("took longer than {}", name::HOOK_TIMEOUT)
        }
        Waited::Stopped(signal) => {
            end(supervisor, pid)?;
            return Err(HookError::Stopped(signal));
        }
    };
    tracing::info!("init hook {} {how}, {took:.1} s", hook.name);
    Ok(Some(how))
}

/// Ends a hook and what it started: TERM, and KILL for what is still there after a while.
fn end(supervisor: &Supervisor, pid: i32) -> io::Result<()> {
    // Just started, it is not the leader of its session yet.
    let hook: Vec<_> = table::snapshot().into_iter().filter(|process| process.pid == pid).collect();
    let mut known = table::family(pid, &hook);
    for signal in [libc::SIGTERM, libc::SIGKILL] {
        for process in &known {
            // It may have ended in this very moment.
            let _ = sys::kill(process.pid, signal);
        }
        supervisor.wait_while(Instant::now() + GRACE, || !table::family(pid, &known).is_empty())?;
        known = table::family(pid, &known);
    }
    Ok(())
}
