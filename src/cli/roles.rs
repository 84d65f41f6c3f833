//! The roles that run something: what each puts together from the layers below.

use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use uuid::Uuid;

use super::intent::{self, Intent, RunArgs, classify};
use super::{Failure, claude_cli, doctor, local, log, report};
use crate::atomic_file;
use crate::boot::identity::IdentityError;
use crate::boot::{self, BootError, Booted, Place, mounts, person, workspaces};
use crate::claude::arguments::{self, Options, Session};
use crate::claude::binary::{self, Source};
use crate::claude::outcome::Outcome;
use crate::claude::sessions::{OpenError, Opened, Sessions, Side};
use crate::claude::{cli_options, first_run, model, settings, standing};
use crate::config::call::Variables;
use crate::config::environment::{Environment, ProcessEnvironment};
use crate::config::server::LogFormat;
use crate::config::{Config, name, unknown};
use crate::exit_code::ExitCode;
use crate::init::hooks;
use crate::init::serving;
use crate::init::start::{MainChild, StartError, see_to_the_cli, start};
use crate::init::supervise::Supervisor;
use crate::manifest;
use crate::offline_model;
use crate::privilege::helper;
use crate::process::events::Signals;
use crate::process::mark;
use crate::process::spawn::own_executable;
use crate::sys;
use crate::turn::protocol::ToWorker;
use crate::worker::job;
use crate::worker::one_shot::{self, Request};
use crate::worker::output;
use crate::worker::peer::Inbox;
use crate::worker::prompt::{self, PromptError};
use crate::worker::shell;

/// Hidden role: prepares the CLI's files and becomes the interactive CLI.
pub(super) const LAUNCH: &str = "launch";
/// Hidden role: carries out one run.
pub(super) const WORKER: &str = "worker";
/// How long a warning stays on the terminal before the CLI takes it, unless it has been read before.
const READING_TIME: Duration = Duration::from_secs(15);

/// `init`: PID 1.
pub(super) fn init(args: &[OsString], env: &impl Environment) -> Result<ExitCode, Failure> {
    // The doors' secrets are in its environment, and Claude's tools may have its user, or root in a box with `sudo`.
    nix::sys::prctl::set_dumpable(false).map_err(|error| Failure::new(ExitCode::Internal, error))?;
    if let Some(json) = intent::asks_for_doctor(args) {
        return check_up(json, env);
    }
    let config = configure_box(env)?;
    for complaint in unknown::complaints(env) {
        tracing::warn!("{complaint}");
    }
    say_other_homes();
    if args.is_empty() && !config.server_modes.is_empty() {
        return supervise_servers(&config, env);
    }
    supervise(args, &config, env, Stage::Boot)
}

/// `init doctor`: the box is prepared as for a run, without its hooks, and then looked at. What keeps it from being prepared
/// is among what is found.
fn check_up(json: bool, env: &impl Environment) -> Result<ExitCode, Failure> {
    if let Ok(config) = configure(env)
        && let Err(error) = boot::prepare(&config, env, Place::of(&config))
    {
        tracing::debug!("{error}");
    }
    doctor::run(json, env, &mut io::stdout())
}

/// `run`: the same for one prompt, in a box that is already up. Where its servers run, the prompt is theirs.
pub(super) fn supervised_run(args: &[OsString], env: &impl Environment) -> Result<ExitCode, Failure> {
    let config = configure(env)?;
    match classify(args, io::stdin().is_terminal()) {
        Ok(Intent::Prompt(_)) if !is_installed(&config, env) => {
            // Where the box is installing it, this waits for that.
            claude_cli::ensure(&[], env)?;
            supervised_run(args, env)
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
        Err(misread) => return report(misread),
        Ok(intent) => intent,
    };
    let supervisor = supervisor()?;
    let booted = match stage {
        Stage::Boot => boot(&supervisor, config, env, Place::Workspace)?,
        Stage::Up => {
            boot::resolve(config, env, Place::Workspace).map_err(|error| Failure::new(ExitCode::Config, error))?
        }
    };
    let source = source(config, &booted, env);
    if let Source::Store(store) = &source
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
        Intent::Passthrough(args) => MainChild::Claude(program(&source), args),
        Intent::Interactive(_) => MainChild::Role(LAUNCH, args.to_vec()),
        Intent::Prompt(_) => MainChild::Role(WORKER, args.to_vec()),
    };
    ended(&supervisor, start(&supervisor, &main, config, &booted, env))
}

/// Whether the box has its CLI, or has it from somewhere else than the store.
fn is_installed(config: &Config, env: &impl Environment) -> bool {
    let Ok(booted) = boot::resolve(config, env, Place::of(config)) else { return true };
    match source(config, &booted, env) {
        Source::Store(store) => store.has(&store.current()),
        Source::Own(_) | Source::Named(_) => true,
    }
}

/// Where the CLI of a booted box is from.
fn source(config: &Config, booted: &Booted, env: &impl Environment) -> Source {
    Source::of_box(config, booted.variable("PATH", env).as_deref(), env)
}

/// What the box's user is to start: that it cannot be is said by who tries.
fn program(source: &Source) -> OsString {
    match source {
        Source::Named(program) => program.into(),
        Source::Own(path) => path.into(),
        Source::Store(store) => store.executable(&store.current()).into(),
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
    let booted = boot(&supervisor, config, env, Place::Workspaces)?;
    let installer = matches!(source(config, &booted, env), Source::Store(_)).then(|| ensure_command(true));
    ended(&supervisor, serving::serve(&supervisor, config, &booted, env, installer))
}

/// Before the boot: the kernel throws away every signal that PID 1 neither blocks nor handles.
fn supervisor() -> Result<Supervisor, Failure> {
    Supervisor::new().map_err(|error| Failure::new(ExitCode::Internal, error))
}

/// Prepares the box and runs its hooks. They may change who the box's user is, its groups and its home, and even make it: it
/// is looked up again after them.
fn boot(supervisor: &Supervisor, config: &Config, env: &impl Environment, place: Place) -> Result<Booted, Failure> {
    let unusable = |error: BootError| Failure::new(ExitCode::Config, error);
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
    let any = hooks::run(supervisor, config, &booted, LogFormat::read(env).unwrap_or_default()).map_err(|error| {
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
            error => Err(Failure::new(ExitCode::Internal, error)),
        }
    })
}

/// `launch`: already the box's user, in the workspace, on the terminal.
pub(super) fn launch(args: &[OsString], env: &impl Environment) -> Result<ExitCode, Failure> {
    let config = configure(env)?;
    let (Intent::Interactive(run) | Intent::Prompt(run)) = parse(args)? else { return Err(not_a_run()) };
    let place = Surroundings::of_child(&config)?;
    let program = binary::of_box(&config, env).map_err(|error| Failure::new(error.exit_code(), error))?;
    let settings = settings_of(&run.options, &config, env)?;
    let standing = place.settle(&config, env);
    let unwritable = say_unwritable(&place.workspace);
    let opened = place.open(&run.options, Side::Terminal).map_err(not_opened)?;
    if unwritable || opened.tells_of_loss {
        await_reader();
    }
    opened.outlive_exec().map_err(|error| Failure::new(ExitCode::Internal, error))?;
    let mut command = vec![program.into_os_string()];
    command.extend(arguments::interactive(&run.options, &opened.session, standing.as_deref(), &settings));
    let command: Result<Vec<CString>, _> = command.into_iter().map(|arg| CString::new(arg.into_vec())).collect();
    let command = command.map_err(|error| Failure::new(ExitCode::Usage, error))?;
    match helper::execute(&command, None, sys::inherited_signals()) {
        Ok(never) => match never {},
        Err(error) => Err(Failure::new(error.exit_code(), error)),
    }
}

/// Says so if Claude cannot write where it is to work. It can still answer, so nothing is refused.
fn say_unwritable(workspace: &Path) -> bool {
    let why = workspaces::why_not_writable(workspace);
    why.inspect(|why| tracing::warn!("{why}")).is_some()
}

/// Gives a person time to read what was said: the CLI is about to take the whole screen.
fn await_reader() {
    tracing::warn!("Enter opens it, or {} seconds", READING_TIME.as_secs());
    let limit = PollTimeout::try_from(READING_TIME).unwrap_or(PollTimeout::ZERO);
    let typed = poll(&mut [PollFd::new(io::stdin().as_fd(), PollFlags::POLLIN)], limit);
    if typed.is_ok_and(|count| count > 0) {
        // One line at most, as the terminal is in its line mode.
        let _ = nix::unistd::read(io::stdin(), &mut [0; 4096]);
    }
}

/// `worker`: already the box's user, in the workspace.
pub(super) fn worker(args: &[OsString], env: &impl Environment) -> Result<ExitCode, Failure> {
    let config = configure(env)?;
    let (Intent::Interactive(run) | Intent::Prompt(run)) = parse(args)? else { return Err(not_a_run()) };
    let internal = |error: io::Error| Failure::new(ExitCode::Internal, error);
    let signals = Signals::block_all().map_err(internal)?;
    nix::sys::prctl::set_child_subreaper(true).map_err(|error| internal(error.into()))?;
    let place = Surroundings::of_child(&config)?;
    let program = binary::of_box(&config, env).map_err(|error| Failure::new(error.exit_code(), error))?;
    let RunArgs { output_format, .. } = run;
    let prompt = collect_prompt(&run, &signals)?;
    let settings = settings_of(&run.options, &config, env)?;
    let began = Instant::now();
    let standing = place.settle(&config, env);
    say_unwritable(&place.workspace);
    let opened = place.open(&run.options, Side::Prompt).map_err(not_opened)?;
    let options = place.with_model(time_left(run.options, began), &opened, &settings, env);
    let request = Request {
        run_id: Uuid::now_v7(),
        claude_bin: program.to_string_lossy().into_owned(),
        prompt,
        options,
        workspace: place.workspace,
        opened,
        sessions: place.sessions,
        standing,
        silence: None,
        background: config.background,
        memory: config.max_memory,
        settings,
        offline: config.offline,
        variables: Variables::default(),
    };
    let is_watched = is_watched(&config, env);
    let finished =
        one_shot::print(&request, output_format, is_watched, &signals, io::stdout().lock()).map_err(internal)?;
    if let Some(complaint) = finished.complaint() {
        output::tell(&complaint, finished.outcome);
    }
    if let Some(notice) = finished.notice() {
        tracing::warn!("{notice}");
    }
    Ok(finished.exit_code())
}

/// Whether a person reads standard error while a prompt is answered. The host command says so of a terminal that the engine hides.
pub(super) fn is_watched(config: &Config, env: &impl Environment) -> bool {
    config.debug || io::stderr().is_terminal() || env.get(name::WATCHED).is_some_and(|value| value == "1")
}

/// What `--settings` of the CLI gets.
fn settings_of(options: &Options, config: &Config, env: &impl Environment) -> Result<String, Failure> {
    settings::of_command_line(config.offline, env, options.settings.as_deref())
        .map_err(|error| Failure::new(ExitCode::Usage, error))
}

/// The prompt, from the command line and standard input.
pub(super) fn collect_prompt(run: &RunArgs, signals: &Signals) -> Result<String, Failure> {
    prompt::collect(&run.prompt_words(), signals).map_err(|error| match error {
        PromptError::Missing if let Some(option) = cli_options::greedy(&run.options.cli) => {
            let hint = format!("{option} has taken the last words: put the prompt before it, or after --");
            Failure::new(ExitCode::Usage, format!("{error}; {hint}"))
        }
        PromptError::Stopped(signal) => Failure::new(ExitCode::from_signal(signal), error),
        PromptError::Io(_) => Failure::new(ExitCode::Internal, error),
        PromptError::Missing | PromptError::TooLong | PromptError::NotText => Failure::new(ExitCode::Usage, error),
    })
}

/// `turn`: a run for `serve`, already the box's user.
pub(super) fn turn(env: &impl Environment) -> Result<ExitCode, Failure> {
    let config = configure_box(env)?;
    let internal = |error: io::Error| Failure::new(ExitCode::Internal, error);
    let signals = Signals::block_all().map_err(internal)?;
    nix::sys::prctl::set_child_subreaper(true).map_err(|error| internal(error.into()))?;
    let mut inbox = Inbox::new(File::from(io::stdin().as_fd().try_clone_to_owned().map_err(internal)?));
    let job = inbox.first(&signals).map_err(internal)?;
    let (run_id, workspace) = match &job {
        Some(ToWorker::Prompt(prompt)) => (prompt.run_id, prompt.workspace.clone()),
        Some(ToWorker::Shell(shell)) => (shell.run_id, shell.workspace.clone()),
        Some(ToWorker::Cancel) | None => return Ok(ExitCode::Ok),
    };
    // Before the CLI is there: from here on everything belongs to the run, whatever becomes of this process.
    let marked = run_id.to_string().parse().map_err(io::Error::other).and_then(|run| mark::put(&run));
    if let Err(error) = marked {
        tracing::warn!("the run's processes cannot be marked: {error}; some may outlive it if its worker is killed");
    }
    let out = io::stdout();
    let refuse_as = |outcome: Outcome, why: &dyn std::fmt::Display| {
        job::refuse(run_id, &workspace, outcome, &why.to_string(), out.lock()).map_err(internal)
    };
    let refuse = |why: &dyn std::fmt::Display| refuse_as(Outcome::Truncated, why);
    if inbox.is_cancelled() {
        refuse_as(Outcome::Killed { signal: Some(libc::SIGTERM) }, &"cancelled before it began")?;
        return Ok(ExitCode::Ok);
    }
    // A link may have taken the folder's place since the run was accepted.
    if !std::fs::canonicalize(&workspace).is_ok_and(|real| real == workspace) {
        refuse(&format!("the workspace {} is gone, or has become a link", workspace.display()))?;
        return Ok(ExitCode::Ok);
    }
    let job = match job {
        Some(ToWorker::Prompt(prompt)) => prompt,
        Some(ToWorker::Shell(shell)) => {
            shell::carry_out(&shell, &signals, &mut inbox, out.lock()).map_err(internal)?;
            return Ok(ExitCode::Ok);
        }
        Some(ToWorker::Cancel) | None => return Ok(ExitCode::Ok),
    };
    // What its call has brought along is part of its settings, too.
    let env = &job.variables.over(env);
    let config = if job.variables.is_empty() {
        config
    } else {
        match Config::read(env) {
            Ok(of_call) => Config { git: of_call.git, system_hint: of_call.system_hint, ..config },
            Err(error) => {
                refuse(&error)?;
                return Ok(ExitCode::Ok);
            }
        }
    };
    let program = match binary::of_box(&config, env) {
        Ok(program) => program,
        Err(error) => {
            refuse(&error)?;
            return Ok(ExitCode::Ok);
        }
    };
    let settings = match settings::of_command_line(config.offline, env, job.options.settings.as_deref()) {
        Ok(settings) => settings,
        Err(error) => {
            refuse(&error)?;
            return Ok(ExitCode::Ok);
        }
    };
    let place = Surroundings::of_child(&Config { workspace: workspace.clone(), ..config.clone() })?;
    let began = Instant::now();
    let standing = place.settle(&config, env);
    let opened = match place.open(&job.options, Side::Prompt) {
        Ok(opened) => opened,
        Err(error) => {
            let outcome = match error {
                OpenError::InUse { .. } => Outcome::Truncated,
                OpenError::Unknown(_) | OpenError::None { .. } => Outcome::SessionNotFound,
            };
            refuse_as(outcome, &error)?;
            return Ok(ExitCode::Ok);
        }
    };
    let options = place.with_model(time_left(job.options.clone(), began), &opened, &settings, env);
    let request = Request {
        run_id: job.run_id,
        claude_bin: program.to_string_lossy().into_owned(),
        prompt: job.text.clone(),
        options,
        workspace: place.workspace,
        opened,
        sessions: place.sessions,
        standing,
        silence: job.silence,
        background: config.background,
        memory: config.max_memory,
        settings,
        offline: config.offline,
        variables: job.variables.clone(),
    };
    let finished = job::run(&request, job.verbose, &signals, &mut inbox, out.lock()).map_err(internal)?;
    if let Some(notice) = finished.notice() {
        tracing::warn!("run {}: {notice}", job.run_id);
    }
    Ok(ExitCode::Ok)
}

/// The options of a run that began then: what it has taken to prepare counts as its time.
fn time_left(options: Options, began: Instant) -> Options {
    Options { timeout: options.timeout.map(|timeout| timeout.saturating_sub(began.elapsed())), ..options }
}

/// `clear-session`: deletes what the workspace would go on with, as the user that this is called as.
pub(super) fn clear_session(env: &impl Environment) -> Result<usize, Failure> {
    let config = configure(env)?;
    let config_dir = boot::config_dir(&config, env).map_err(|error| Failure::new(ExitCode::Config, error))?;
    let sessions = Sessions { state_dir: config.state_folder(&config_dir), config_dir };
    sessions.clear(&config.workspace).map_err(|error| Failure::new(ExitCode::Internal, error))
}

/// `manifest`: its JSON.
pub(super) fn manifest(env: &(impl Environment + Sync)) -> Result<Vec<u8>, Failure> {
    let config = configure(env)?;
    let manifest = manifest::survey(&config, env).map_err(|error| Failure::new(ExitCode::Internal, error))?;
    tracing::info!("{} tools found", manifest.tools.len());
    manifest.to_json().map_err(|error| Failure::new(ExitCode::Internal, error))
}

/// Writes what `manifest` found to a file that everybody may read.
pub(super) fn save(file: &Path, text: &[u8]) -> Result<ExitCode, Failure> {
    let failed = |error| Failure::new(ExitCode::Config, format!("cannot write {}: {error}", file.display()));
    // A bare name is one of this folder.
    let file = std::path::absolute(file).map_err(failed)?;
    atomic_file::replace(&file, text, 0o644).map_err(failed)?;
    Ok(ExitCode::Ok)
}

/// `offline-model`.
pub(super) fn offline_model(listen: SocketAddr) -> Result<ExitCode, Failure> {
    log::start(false, log::Style::of_box(&ProcessEnvironment));
    match offline_model::serve(&offline_model::Options { listen }) {
        Ok(()) => Ok(ExitCode::Ok),
        Err(error) => Err(Failure::new(ExitCode::Config, error)),
    }
}

/// Reads the settings of a process that somebody has called for an answer.
pub(super) fn configure(env: &impl Environment) -> Result<Config, Failure> {
    configure_as(env, false)
}

/// Reads the settings of a process whose standard error is the box's log.
pub(super) fn configure_box(env: &impl Environment) -> Result<Config, Failure> {
    configure_as(env, true)
}

fn configure_as(env: &impl Environment, of_box: bool) -> Result<Config, Failure> {
    let unusable = |error| Failure::new(ExitCode::Config, error);
    let mut config = Config::read(env).map_err(unusable)?;
    find_root(&mut config);
    log::start(config.debug, log::Style::read(env, &config, of_box).map_err(unusable)?);
    Ok(config)
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

/// Lets the servers work in what is mounted.
pub(super) fn find_root(config: &mut Config) {
    let mounts = mounts::from_outside();
    config.find_root(|folder| mounts.iter().any(|mount| mount.path.starts_with(folder)));
}

fn parse(args: &[OsString]) -> Result<Intent, Failure> {
    classify(args, io::stdin().is_terminal()).map_err(|error| Failure::new(ExitCode::Usage, error))
}

/// The exit code of a session that cannot be had.
pub(super) fn not_opened(error: OpenError) -> Failure {
    let code = match error {
        OpenError::InUse { .. } => ExitCode::RateLimited,
        OpenError::Unknown(_) | OpenError::None { .. } => ExitCode::SessionNotFound,
    };
    Failure::new(code, error)
}

fn not_a_run() -> Failure {
    Failure::new(ExitCode::Usage, "this role is internal")
}

/// Where a child of the box works, from the environment that the box gave it.
struct Surroundings {
    workspace: PathBuf,
    config_dir: PathBuf,
    sessions: Sessions,
}

impl Surroundings {
    fn of_child(config: &Config) -> Result<Self, Failure> {
        let Some(config_dir) = config.config_dir.clone() else { return Err(not_a_run()) };
        let state_dir = config.state_folder(&config_dir);
        let sessions = Sessions { config_dir: config_dir.clone(), state_dir };
        Ok(Self { workspace: config.workspace.clone(), config_dir, sessions })
    }

    /// The session to start the CLI with; what is worth knowing about the choice is said.
    fn open(&self, options: &Options, side: Side) -> Result<Opened, OpenError> {
        let opened = self.sessions.open(options, &self.workspace, side)?;
        if let Some(note) = &opened.note {
            tracing::warn!("{note}");
        }
        Ok(opened)
    }

    /// The options of a prompt, with the model that is meant where none is named.
    fn with_model(&self, options: Options, opened: &Opened, settings: &str, env: &impl Environment) -> Options {
        let begins = matches!(opened.session, Session::Fresh | Session::Begin(_));
        // An agent may have a model of its own.
        let is_agent = options.cli.iter().any(|word| word == "--agent" || word.starts_with("--agent="));
        if options.model.is_some() || begins || is_agent {
            return options;
        }
        Options { model: model::of_resumed(settings, &self.workspace, &self.config_dir, env), ..options }
    }

    /// Prepares what the CLI finds as its user: its own files, what it is told of the box, git's identity, and the
    /// standing instructions, whose file is returned.
    ///
    /// What fails is said and does not stop the start: the CLI asks its questions itself, or fails with its own message.
    fn settle(&self, config: &Config, env: &impl Environment) -> Option<PathBuf> {
        let key = env.get("ANTHROPIC_API_KEY").and_then(|key| key.into_string().ok());
        if let Err(error) = first_run::settle(&self.config_dir, &self.workspace, key.as_deref()) {
            tracing::warn!("{error}");
        }
        manifest::tell_claude(config, env, &self.workspace, &self.config_dir);
        if let Some(home) = env.get("HOME").map(PathBuf::from) {
            person::settle(&home, &self.workspace, &config.git);
        }
        standing::write(&self.config_dir, &self.sessions.state_dir, config.system_hint.as_deref()).unwrap_or_else(
            |error| {
                tracing::warn!("the always-active skills and the system hint are left out: {error}");
                None
            },
        )
    }
}
