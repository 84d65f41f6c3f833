//! From a booted box to its main child: first what stands between Claude and the API, the offline model or the broker, then the child.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::process::{ChildStdout, Stdio};
use std::time::{Duration, Instant};

use super::broker::{self, Broker, BrokerError};
use super::machine::Machine;
use super::plan::{Changes, Side, child_of_box, plan_of_installer};
use super::sidecar::Sidecar;
use super::supervise::{Supervisor, Waited};
use crate::boot::Booted;
use crate::config::environment::Environment;
use crate::config::{Config, offline};
use crate::exit_code::ExitCode;
use crate::privilege::helper::Group;
use crate::privilege::walls::Walls;
use crate::process::events;
use crate::process::spawn::{Streams, own_executable, spawn};
use crate::process::status::ChildStatus;
use crate::sys;

/// The offline model answers within milliseconds; this is for a machine on its knees.
const OFFLINE_MODEL_DEADLINE: Duration = Duration::from_secs(10);
/// How long an installation that was told to end may take.
const INSTALLER_GRACE: Duration = Duration::from_secs(2);
/// The key the CLI is given when the offline model answers. It opens nothing.
const OFFLINE_KEY: &str = "sk-ant-claudebox-offline-model";

/// What the main child is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MainChild {
    /// claudebox itself in another role, with these arguments, as Claude's user.
    Role(&'static str, Vec<OsString>),
    /// claudebox itself in the role that looks after one prompt, with these arguments.
    Worker(&'static str, Vec<OsString>),
    /// The CLI, as the command names it, with these arguments, and what stands around it.
    Claude(OsString, Vec<OsString>, Box<Walls>),
}

/// Why the box did not get to its main child.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A child could not be started or waited for.
    #[error("cannot supervise: {0}")]
    System(#[from] io::Error),
    /// The box was asked to stop before there was a main child.
    #[error("ended by signal {0} during the start")]
    Stopped(i32),
    /// The offline model did not come up.
    #[error("the offline model did not start: {0}")]
    OfflineModel(String),
    /// There is to be a broker, and there cannot be.
    #[error(transparent)]
    Broker(#[from] BrokerError),
}

/// Starts `main` in the box, and stays until it and everything it left behind have ended.
pub fn start(
    supervisor: &Supervisor,
    main: &MainChild,
    config: &Config,
    booted: &Booted,
    env: &impl Environment,
) -> Result<ExitCode, StartError> {
    let side = if matches!(main, MainChild::Worker(..)) { Side::Worker } else { Side::Claude };
    let Between { sidecars, broker, leading, model } = between(supervisor, config, booted, env, side == Side::Claude)?;
    let of_broker = broker.as_ref().map(|broker| match side {
        Side::Worker => broker.environment_of_worker(model),
        _ => broker.environment_of_cli(model),
    });
    let environment = [booted.environment.clone(), leading, of_broker.unwrap_or_default()].concat();
    let command = match main {
        MainChild::Role(role, args) | MainChild::Worker(role, args) => {
            [own_executable().into_os_string(), (*role).into()].into_iter().chain(args.iter().cloned()).collect()
        }
        MainChild::Claude(program, args, _) => std::iter::once(program).chain(args).cloned().collect(),
    };
    let mut plan = child_of_box(supervisor, config, booted, side, command, environment, Group::Foreground);
    if let MainChild::Claude(_, _, walls) = main {
        plan.walls = Walls::clone(walls);
    }
    let child = spawn(&plan, Streams::inherited())?;
    Ok(supervisor.run(child.id().cast_signed(), Machine::new(config.grace), sidecars)?)
}

/// Has `command` make sure that the CLI is there, and waits for its end; what it says goes to the log. `None`: it is there,
/// otherwise the exit code of a box that does not start.
pub fn see_to_the_cli(
    supervisor: &Supervisor,
    booted: &Booted,
    command: Vec<OsString>,
) -> Result<Option<ExitCode>, StartError> {
    let streams = Streams { stdin: Stdio::null(), stdout: Stdio::null(), stderr: Stdio::inherit() };
    let child = spawn(&plan_of_installer(booted, command), streams)?;
    let pid = child.id().cast_signed();
    match supervisor.wait_for(pid, None)? {
        Waited::Ready(ChildStatus::Exited(0)) => Ok(None),
        Waited::Ready(status) => Ok(Some(status.exit_code().unwrap_or(ExitCode::Unavailable))),
        Waited::Stopped(signal) => {
            // It removes what it has begun.
            let _ = sys::kill(pid, libc::SIGTERM);
            supervisor.wait_for(pid, Some(Instant::now() + INSTALLER_GRACE))?;
            Err(StartError::Stopped(signal))
        }
        Waited::TimedOut => Ok(Some(ExitCode::Unavailable)),
    }
}

/// What stands between Claude and the API.
#[derive(Default)]
pub(super) struct Between {
    /// What is started again when it ends.
    pub(super) sidecars: Vec<Sidecar>,
    /// The place of the broker, where there is one.
    pub(super) broker: Option<Broker>,
    /// What leads the CLI to the offline model, where it was asked for.
    pub(super) leading: Changes,
    /// The port of the offline model.
    pub(super) model: Option<u16>,
}

/// Starts it. `is_standing`: for a CLI whose run nobody opens.
pub(super) fn between(
    supervisor: &Supervisor,
    config: &Config,
    booted: &Booted,
    env: &impl Environment,
    is_standing: bool,
) -> Result<Between, StartError> {
    let mut between =
        if config.offline { with_offline_model(supervisor, config, booted, env)? } else { Between::default() };
    let Some(duties) = broker::duties(config, booted, env)? else { return Ok(between) };
    let Some(guard) = &booted.guard else { return Ok(between) };
    let (broker, sockets) = Broker::prepare(duties, is_standing, config, booted, guard, env)?;
    between.sidecars.push(Sidecar::start(broker::NAME, broker.plan(), sockets));
    between.broker = Some(broker);
    Ok(between)
}

fn with_offline_model(
    supervisor: &Supervisor,
    config: &Config,
    booted: &Booted,
    env: &impl Environment,
) -> Result<Between, StartError> {
    let (url, model) = match start_offline_model(supervisor, config, booted)? {
        Waited::Ready(started) => started,
        Waited::Stopped(signal) => return Err(StartError::Stopped(signal)),
        Waited::TimedOut => return Err(StartError::OfflineModel("it does not answer".into())),
    };
    if let Some(place) = booted.credentials(env) {
        tracing::warn!(
            "CLAUDEBOX_OFFLINE is on: the offline model answers, this box's credentials ({place}) are not used"
        );
    }
    let port = url.rsplit_once(':').and_then(|(_, port)| port.trim_end_matches('/').parse().ok());
    let leading = offline_environment(&url, booted, env);
    Ok(Between { sidecars: vec![model], broker: None, leading, model: port })
}

/// Starts the offline model as the box's user; it prints its URL once it accepts connections.
fn start_offline_model(
    supervisor: &Supervisor,
    config: &Config,
    booted: &Booted,
) -> Result<Waited<(String, Sidecar)>, StartError> {
    let began = Instant::now();
    let command = vec![own_executable().into_os_string(), "offline-model".into()];
    let environment = booted.environment.clone();
    let mut plan = child_of_box(supervisor, config, booted, Side::Claude, command, environment, Group::Session);
    // That the workspace cannot be entered is the main child's to say.
    plan.directory = "/".into();
    let streams = Streams { stdin: Stdio::null(), stdout: Stdio::piped(), stderr: Stdio::inherit() };
    let mut child = spawn(&plan, streams)?;
    let mut output = child.stdout.take().ok_or_else(|| StartError::OfflineModel("it has no output".into()))?;
    let mut printed = Vec::new();
    let watched = output.as_fd().try_clone_to_owned()?;
    let deadline = Instant::now() + OFFLINE_MODEL_DEADLINE;
    match supervisor.wait_until(&watched, deadline, || read_line(&mut output, &mut printed))? {
        Waited::Ready(Announced::Nothing) => Err(StartError::OfflineModel("it ended at once".into())),
        Waited::Ready(Announced::Line(url)) => {
            // Where the first one listened: the environment of those who ask it names that address.
            let address = url.strip_prefix("http://").unwrap_or(&url);
            plan.command.extend(["--listen".into(), address.into()]);
            let model = Sidecar::started("the offline model", child.id().cast_signed(), began, plan);
            Ok(Waited::Ready((url, model)))
        }
        Waited::Stopped(signal) => Ok(Waited::Stopped(signal)),
        Waited::TimedOut => Ok(Waited::TimedOut),
    }
}

/// What a child said on its output before anything else.
enum Announced {
    /// Its first line.
    Line(String),
    /// It closed its output without a word.
    Nothing,
}

/// Reads on, without waiting, until there is a first line.
fn read_line(output: &mut ChildStdout, printed: &mut Vec<u8>) -> io::Result<Option<Announced>> {
    let mut buffer = [0; 256];
    while events::is_readable(output)? {
        match output.read(&mut buffer)? {
            0 => return Ok(Some(Announced::Nothing)),
            count => printed.extend_from_slice(&buffer[..count]),
        }
        if let Some((line, _)) = String::from_utf8_lossy(printed).split_once('\n') {
            return Ok(Some(Announced::Line(line.to_owned())));
        }
    }
    Ok(None)
}

fn offline_environment(url: &str, booted: &Booted, env: &impl Environment) -> Changes {
    let mut changes: Changes = offline::REAL_API.iter().map(|&name| (name.to_owned(), None)).collect();
    for (name, value) in [
        ("ANTHROPIC_BASE_URL", url),
        ("ANTHROPIC_API_KEY", OFFLINE_KEY),
        // Keeps the CLI from calling home: telemetry, updates, remote settings.
        ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
    ] {
        changes.push((name.to_owned(), Some(value.into())));
    }
    // A proxy would get the requests otherwise, and know no such address.
    for name in ["NO_PROXY", "no_proxy"] {
        let mut hosts = OsString::from("127.0.0.1");
        if let Some(others) = booted.variable(name, env) {
            hosts.push(",");
            hosts.push(others);
        }
        changes.push((name.to_owned(), Some(hosts)));
    }
    changes
}
