//! `init` and `run`: the processes that look after a box, or after one prompt in it.

use std::ffi::OsString;
use std::io::{self, IsTerminal};

use super::super::configure::{configure, configure_box, configure_servers};
use super::super::failure::Failure;
use super::super::intent::{self, Intent, classify};
use super::super::{claude_cli, doctor, local};
use super::walls::around_settings;
use super::{launch, worker};
use crate::boot::identity::IdentityError;
use crate::boot::{self, BootError, Booted, WorkingFolder, mounts};
use crate::claude::binary::CliSource;
use crate::config::environment::Environment;
use crate::config::secret_files::{Both, WithFiles};
use crate::config::{Config, unknown};
use crate::exit_code::ExitCode;
use crate::init::broker::BrokerError;
use crate::init::start::{MainChild, StartError, see_to_the_cli, start};
use crate::init::supervise::Supervisor;
use crate::init::{hooks, serving};
use crate::privilege::walls::{Kernel, verdict};
use crate::process::spawn::own_executable;
use crate::runs::child;

/// `init`: PID 1.
pub(in super::super) fn init(args: &[OsString], env: &impl Environment) -> Result<ExitCode, Failure> {
    // The doors' secrets are in its environment, and Claude's tools may have its user, or root in a box with `sudo`.
    nix::sys::prctl::set_dumpable(false).map_err(Failure::internal)?;
    if let Some(json) = intent::asks_for_doctor(args) {
        return check_up(json, env);
    }
    let env = &WithFiles::read(env, Both::Refused).map_err(|errors| Failure::of_settings(&errors))?;
    // What is wrong with the servers' settings is said before the box is booted for them.
    let config = if args.is_empty() { configure_servers(env)?.0 } else { configure_box(env)? };
    for complaint in unknown::complaints(env) {
        tracing::warn!("{complaint}");
    }
    say_other_homes();
    for said in verdict::of(&config, Kernel::of_machine()).map_err(Failure::config)? {
        tracing::warn!("{said}");
    }
    if args.is_empty() && !config.server_modes.is_empty() {
        return supervise_servers(&config, env);
    }
    supervise(args, &config, env, Stage::Boot)
}

/// `init doctor`: the box is prepared as for a run, without its hooks, and then looked at. What keeps it from being prepared
/// is among what is found.
fn check_up(json: bool, env: &impl Environment) -> Result<ExitCode, Failure> {
    if let Ok(with_files) = WithFiles::read(env, Both::Refused)
        && let Ok(config) = configure(&with_files)
        && let Err(error) = boot::prepare(&config, &with_files, WorkingFolder::of(&config))
    {
        tracing::debug!("{error}");
    }
    doctor::run(json, env, &mut io::stdout())
}

/// `run`: the same for one prompt, in a box that is already up. Where its servers run, the prompt is theirs.
pub(in super::super) fn run(args: &[OsString], env: &impl Environment) -> Result<ExitCode, Failure> {
    // They were the box's to read; whoever calls may have brought a value along.
    let env = &WithFiles::read(env, Both::ValueWins).map_err(|errors| Failure::of_settings(&errors))?;
    run_with(args, env)
}

fn run_with(args: &[OsString], env: &impl Environment) -> Result<ExitCode, Failure> {
    let config = configure(env)?;
    match classify(args, io::stdin().is_terminal()) {
        Ok(Intent::Prompt(_)) if !is_installed(&config, env) => {
            // Where the box is installing it, this waits for that.
            claude_cli::ensure(&[], env)?;
            run_with(args, env)
        }
        Ok(Intent::Prompt(run)) if let Some(servers) = local::connect(&config, env) => {
            local::run(run, servers, &config, env)
        }
        _ => supervise(args, &config, env, Stage::Up),
    }
}

/// Whether the box still has to be prepared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// This process boots it.
    Boot,
    /// It is up.
    Up,
}

fn supervise(args: &[OsString], config: &Config, env: &impl Environment, stage: Stage) -> Result<ExitCode, Failure> {
    let intent = match classify(args, io::stdin().is_terminal()) {
        Err(misread) => return misread.answer(),
        Ok(intent) => intent,
    };
    let supervisor = supervisor()?;
    let booted = match stage {
        Stage::Boot => boot(&supervisor, config, env, WorkingFolder::Workspace)?,
        Stage::Up => boot::resolve(config, env, WorkingFolder::Workspace).map_err(Failure::config)?,
    };
    let source = source(config, &booted, env);
    if let CliSource::Store(store) = &source
        // In a box that is up, whoever has started it has seen to it.
        && (stage == Stage::Boot || !store.has(&store.current()))
    {
        match see_to_the_cli(&supervisor, &booted, ensure_command(false)) {
            Ok(None) => {}
            Ok(Some(code)) => {
                // It has said why.
                supervisor.give_up();
                return Ok(code);
            }
            Err(error) => return ended(&supervisor, Err(error)),
        }
    }
    let main = match intent {
        Intent::Passthrough(args) => {
            let walls = around_settings(config, &booted.workspace, &booted.config_dir, env);
            MainChild::Claude(program(&source), args, Box::new(walls))
        }
        Intent::Interactive(_) => MainChild::Role(launch::ROLE, args.to_vec()),
        Intent::Prompt(_) => MainChild::Worker(worker::ROLE, args.to_vec()),
    };
    ended(&supervisor, start(&supervisor, &main, config, &booted, env))
}

/// Whether the box has its CLI, or has it from somewhere else than the store.
fn is_installed(config: &Config, env: &impl Environment) -> bool {
    let Ok(booted) = boot::resolve(config, env, WorkingFolder::of(config)) else { return true };
    match source(config, &booted, env) {
        CliSource::Store(store) => store.has(&store.current()),
        CliSource::Own(_) | CliSource::Named(_) => true,
    }
}

/// Where the CLI of a booted box is from.
fn source(config: &Config, booted: &Booted, env: &impl Environment) -> CliSource {
    CliSource::of_box(config, booted.variable("PATH", env).as_deref(), env)
}

/// What the box's user is to start: that it cannot be is said by who tries.
fn program(source: &CliSource) -> OsString {
    match source {
        CliSource::Named(program) => program.into(),
        CliSource::Own(path) => path.into(),
        CliSource::Store(store) => store.executable(&store.current()).into(),
    }
}

/// What makes sure that the CLI of the store is there.
fn ensure_command(to_pid1: bool) -> Vec<OsString> {
    let mut command = vec![own_executable().into_os_string(), claude_cli::ENSURE.into()];
    command.extend(to_pid1.then(|| claude_cli::TO_PID1.into()));
    command
}

/// `init` with a server mode: the same with `serve` in the main child's place.
fn supervise_servers(config: &Config, env: &impl Environment) -> Result<ExitCode, Failure> {
    let supervisor = supervisor()?;
    serving::show_ready(false);
    let booted = boot(&supervisor, config, env, WorkingFolder::Workspaces)?;
    let installer = matches!(source(config, &booted, env), CliSource::Store(_)).then(|| ensure_command(true));
    let worker = vec![own_executable().into_os_string(), child::ROLE.into()];
    ended(&supervisor, serving::serve(&supervisor, config, &booted, env, installer, worker))
}

/// Before the boot: the kernel throws away every signal that PID 1 neither blocks nor handles.
fn supervisor() -> Result<Supervisor, Failure> {
    Supervisor::new().map_err(Failure::internal)
}

/// Prepares the box and runs its hooks. They may change who the box's user is, its groups and its home, and even make it: it
/// is looked up again after them.
fn boot(
    supervisor: &Supervisor,
    config: &Config,
    env: &impl Environment,
    place: WorkingFolder,
) -> Result<Booted, Failure> {
    let unusable = Failure::config;
    let prepared = boot::prepare(config, env, place);
    let booted = match &prepared {
        Ok(booted) if !booted.identity.drop => {
            hooks::skip(booted);
            return prepared.map_err(unusable);
        }
        Ok(booted) => booted.clone(),
        // Without hooks the first error stays.
        Err(BootError::Identity(IdentityError::NoSuchUser(_))) => match boot::before_its_user(config, env, place) {
            Ok(booted) => booted,
            Err(_) => return prepared.map_err(unusable),
        },
        Err(_) => return prepared.map_err(unusable),
    };
    let any = hooks::run(supervisor, config, &booted, config.log_format).map_err(|error| {
        // Hooks before it may have left daemons.
        supervisor.give_up();
        Failure::new(error.exit_code(), error)
    })?;
    let booted = if any { boot::prepare(config, env, place) } else { prepared };
    booted.map_err(|error| {
        supervisor.give_up();
        unusable(error)
    })
}

fn ended(supervisor: &Supervisor, ended: Result<ExitCode, StartError>) -> Result<ExitCode, Failure> {
    ended.or_else(|error| {
        supervisor.give_up();
        match error {
            StartError::Stopped(signal) => Ok(ExitCode::from_signal(signal)),
            StartError::Broker(error) if !matches!(error, BrokerError::Folder { .. }) => Err(Failure::config(error)),
            error => Err(Failure::internal(error)),
        }
    })
}

/// Says what is mounted where the predecessor's later versions had their user's home: nothing here looks there.
fn say_other_homes() {
    for mount in mounts::from_outside().iter().filter(|mount| mount.path.starts_with("/home/aicode")) {
        tracing::warn!(
            "{} is mounted and not used: the CLI's folder is /home/claude/.claude here, mount it there",
            mount.path.display()
        );
    }
}
