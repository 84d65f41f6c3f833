//! `claudebox cli`: the versions of the Claude CLI in this box's store, and what installs one before the first run.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::future::Future;
use std::io::{self, IsTerminal, Write as _};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process;
use std::time::{Duration, Instant};

use futures_util::future::select_all;
use tokio::signal::unix::{SignalKind, signal};

use super::configure::configure;
use super::failure::Failure;
use crate::claude::binary::{self, CliSource};
use crate::claude::store::pins::Pins;
use crate::claude::store::version::Version;
use crate::claude::store::{CliStore, DEFAULT_FOLDER, EXECUTABLE, LICENCE, Unfit, relink};
use crate::config::environment::Environment;
use crate::config::spelling::lookup;
use crate::config::{Config, NPM_CONFIG_REGISTRY, name};
use crate::exit_code::ExitCode;
use crate::install::{self, InstallError, InstallFault, InstallTerms, Installed, Step, WantedVersion};
use crate::process::events;
use crate::process::link::LONGEST_STATE;
use crate::process::spawn::own_executable;

/// Hidden role: makes sure that the CLI of the store is there and is what it should be.
pub(super) const ENSURE: &str = "ensure-cli";
/// Its argument where PID 1 reads how far it is, a line each, on its standard output.
pub(super) const TO_PID1: &str = "--to-pid1";
/// Between two lines in a log.
const LINE_EVERY: Duration = Duration::from_secs(3);
/// Between two changes of a line on a terminal, or for PID 1.
const CHANGE_EVERY: Duration = Duration::from_millis(200);

/// What says how the network is reached.
const NETWORK: [&str; 12] = [
    "HTTPS_PROXY",
    "https_proxy",
    "HTTP_PROXY",
    "http_proxy",
    "ALL_PROXY",
    "all_proxy",
    "NO_PROXY",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    NPM_CONFIG_REGISTRY[0],
    NPM_CONFIG_REGISTRY[1],
];

/// What is done with the store.
#[derive(Debug, Clone, PartialEq, Eq, clap::Subcommand)]
pub enum Command {
    /// Install a version; without one, the version that this claudebox was tested with
    ///
    /// It comes from npm's registry, or from the one that `CLAUDEBOX_NPM_REGISTRY` names, and is checked before it is put in
    /// its place.
    Install {
        /// A version (2.1.330), or the name of one (latest)
        version: Option<String>,
    },
    /// Use a version from now on: runs that start later have it. It is installed if it is not there
    Use {
        /// A version, the name of one (latest), or `pinned` for the one that this claudebox was tested with
        version: String,
    },
    /// List the versions that are installed, and what they take on the disk
    List,
    /// Remove a version that is not in use
    Remove {
        /// The version
        version: String,
    },
}

/// `cli ...`: what it prints.
pub(super) fn run(command: &Command, env: &impl Environment) -> Result<String, Failure> {
    take_forwarded(env)?;
    let config = configure(env)?;
    let source = CliSource::of_box(&config, env.get("PATH").as_deref(), env);
    let store = store(&config, &source, env)?;
    match command {
        Command::Install { version } => {
            let installed = fetch(&store, &wanted(version.as_deref(), &store)?, &config, Voice::new(false))?;
            tell_of(&installed, &store);
            tell_of_others(&source, &store);
            Ok(String::new())
        }
        Command::Use { version } => {
            let installed = fetch(&store, &wanted(Some(version), &store)?, &config, Voice::new(false))?;
            store.choose(&installed.version).map_err(|error| unusable(&store, &error))?;
            link(&store, &source, env);
            tell_of(&installed, &store);
            tracing::info!("runs that start from now on use the Claude CLI {}", installed.version);
            warn_of_other(&installed.version, &store);
            tell_of_others(&source, &store);
            Ok(String::new())
        }
        Command::List => list(&store, &source).map_err(|error| unusable(&store, &error)),
        Command::Remove { version } => remove(version, &store),
    }
}

/// Becomes this program again with what was forwarded to the box's user of how the network is reached, if something was: the HTTP
/// client reads it from the environment of its process.
fn take_forwarded(env: &impl Environment) -> Result<(), Failure> {
    let new = |name: &'static str| {
        let value = lookup(env, &format!("{}{name}", name::FORWARD_PREFIX))?.1;
        (env.get(name).as_ref() != Some(&value)).then_some((name, value))
    };
    let forwarded: Vec<(&str, OsString)> = NETWORK.into_iter().filter_map(new).collect();
    if forwarded.is_empty() {
        return Ok(());
    }
    let error = process::Command::new(own_executable()).args(std::env::args_os().skip(1)).envs(forwarded).exec();
    Err(Failure::internal(error))
}

/// The store of this box, also where it does not use it.
fn store(config: &Config, source: &CliSource, env: &impl Environment) -> Result<CliStore, Failure> {
    if let CliSource::Store(store) = source {
        return Ok(store.clone());
    }
    let pins = Pins::of_box(env).ok_or_else(|| Failure::internal("this binary has no pinned version"))?;
    Ok(CliStore::new(config.cli_dir.as_deref().unwrap_or(Path::new(DEFAULT_FOLDER)), pins))
}

fn wanted(version: Option<&str>, store: &CliStore) -> Result<WantedVersion, Failure> {
    let Some(text) = version.filter(|text| *text != "pinned") else {
        return Ok(WantedVersion::Version(store.pins().version.clone()));
    };
    if !text.is_empty() && text.len() <= 32 && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-') {
        return Ok(WantedVersion::Named(text.to_owned()));
    }
    text.parse().map(WantedVersion::Version).map_err(|error| Failure::usage(format!("{error}, or a name as latest")))
}

fn list(store: &CliStore, source: &CliSource) -> io::Result<String> {
    let (current, pinned) = (store.current(), &store.pins().version);
    let mut lines: Vec<(Version, Option<u64>)> =
        store.list()?.into_iter().map(|(version, bytes)| (version, Some(bytes))).collect();
    for version in [pinned, &current] {
        if !lines.iter().any(|(listed, _)| listed == version) {
            lines.push((version.clone(), None));
        }
    }
    let uses_store = matches!(source, CliSource::Store(_));
    let mut text = String::new();
    for (version, bytes) in lines {
        let mut notes = Vec::new();
        if version == current && uses_store {
            notes.push("in use");
        }
        if version == *pinned {
            notes.push("pinned");
        }
        let size = bytes.map_or_else(|| "not installed".to_owned(), |bytes| format!("{} MB", bytes / 1_000_000));
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}", format!("{version:<16}  {size:<13}  {}", notes.join(", ")).trim_end());
    }
    if let CliSource::Own(path) = source {
        let _ = writeln!(text, "in use is {}, which is not of the store", path.display());
    }
    Ok(text)
}

fn remove(version: &str, store: &CliStore) -> Result<String, Failure> {
    let version: Version = version.parse().map_err(Failure::usage)?;
    if version == store.current() {
        let detail = format!("{version} is in use: claudebox cli use another version first");
        return Err(Failure::usage(detail));
    }
    match store.remove(&version) {
        Ok(true) => {
            tracing::info!("the Claude CLI {version} is removed");
            Ok(String::new())
        }
        Ok(false) => {
            let detail = format!("the Claude CLI {version} is not installed in {}", store.folder().display());
            Err(Failure::usage(detail))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(Failure::usage(format!("there is no store in {}", store.root().display())))
        }
        Err(error) => Err(unusable(store, &error)),
    }
}

fn unusable(store: &CliStore, error: &io::Error) -> Failure {
    let detail = format!(
        "the store {} cannot be used ({error}): as root it can, or set {}",
        store.root().display(),
        name::CLI_DIR
    );
    Failure::new(ExitCode::Unavailable, detail)
}

fn tell_of(installed: &Installed, store: &CliStore) {
    let how = if installed.new { "is installed in" } else { "was installed already, and is whole, in" };
    let folder = store.folder_of(&installed.version);
    tracing::info!("the Claude CLI {} {how} {}", installed.version, folder.display());
    if installed.new && folder.join(LICENCE).exists() {
        tracing::info!("Anthropic's terms for it are in {}", folder.join(LICENCE).display());
    }
}

/// A box that has its CLI from somewhere else does not use what was installed.
fn tell_of_others(source: &CliSource, store: &CliStore) {
    match source {
        CliSource::Store(_) => {}
        CliSource::Own(path) => tracing::warn!(
            "this box uses {}: set {}={} to have it use the store's",
            path.display(),
            name::CLI_DIR,
            store.root().display()
        ),
        CliSource::Named(program) => {
            tracing::warn!(
                "this box uses {program}, which {} names: leave that out to have it use the store's",
                name::CLAUDE_BIN
            );
        }
    }
}

fn warn_of_other(version: &Version, store: &CliStore) {
    let pinned = &store.pins().version;
    if version != pinned {
        tracing::warn!(
            "the Claude CLI {version} is used; this claudebox was tested with {pinned} (claudebox cli use pinned goes back to it)"
        );
    }
}

/// `ensure-cli`: the current version is there and is what it should be when this has ended with 0.
pub(super) fn ensure(args: &[OsString], env: &impl Environment) -> Result<ExitCode, Failure> {
    take_forwarded(env)?;
    let config = configure(env)?;
    let CliSource::Store(store) = CliSource::of_box(&config, env.get("PATH").as_deref(), env) else {
        return Ok(ExitCode::Ok);
    };
    let voice = Voice::new(args.iter().any(|arg| arg == TO_PID1));
    let version = store.current();
    let began = Instant::now();
    match store.verify(&version) {
        Ok(_) => tracing::debug!("the Claude CLI {version} was checked in {:.2} s", began.elapsed().as_secs_f64()),
        // It says what is wrong with one that is there.
        Err(unfit) => {
            if let (Unfit::Missing, true) = (&unfit, version != store.pins().version) {
                tracing::warn!("the Claude CLI {version}, which was chosen, is not there: it is installed again");
            }
            let installed = fetch(&store, &WantedVersion::Version(version.clone()), &config, voice)?;
            tell_of(&installed, &store);
        }
    }
    link(&store, &CliSource::Store(store.clone()), env);
    warn_of_other(&version, &store);
    Ok(ExitCode::Ok)
}

/// Makes the image's link in the CLI's place lead to the version in use, for who calls `claude` by hand. A box with a read-only
/// root keeps the one it has.
fn link(store: &CliStore, source: &CliSource, env: &impl Environment) {
    if !matches!(source, CliSource::Store(_)) {
        return;
    }
    let path = env.get("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).map(|folder| folder.join(EXECUTABLE));
    let target = store.executable(&store.current());
    let places: Vec<PathBuf> = places.filter(|place| binary::leads_into_store(place)).collect();
    for place in places {
        if std::fs::read_link(&place).is_ok_and(|leads| leads != target)
            && let Err(error) = relink(&place, &target)
        {
            tracing::warn!("{} leads to another version, and cannot be changed: {error}", place.display());
        }
    }
}

/// Installs it, and says how far it is.
fn fetch(store: &CliStore, wanted: &WantedVersion, config: &Config, mut voice: Voice) -> Result<Installed, Failure> {
    let terms = InstallTerms { registry: config.npm_registry.clone(), patience: install::InstallLimits::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(Failure::internal)?;
    let done = runtime.block_on(async {
        let stopped = stopped().map_err(Failure::internal)?;
        let mut tell = |step| voice.say(&step);
        let installed = install::install(store, wanted, &terms, &mut tell);
        let installed: Result<Installed, InstallError> = tokio::select! {
            installed = installed => installed,
            // What was begun falls, and with it what it had written.
            signal = stopped => Err(InstallError { what: String::new(), why: InstallFault::Stopped(signal) }),
        };
        Ok(installed)
    })?;
    voice.end();
    done.map_err(|error| {
        if let InstallFault::Stopped(signal) = error.why {
            return Failure::new(ExitCode::by_signal(signal), "ended while the Claude CLI was being installed");
        }
        voice.fail(&error);
        Failure::new(ExitCode::Unavailable, error)
    })
}

/// The signal that asks for the end.
fn stopped() -> io::Result<impl Future<Output = i32>> {
    let each = events::stop_signals().map(|number| {
        let mut asked = signal(SignalKind::from_raw(number))?;
        Ok(Box::pin(async move { asked.recv().await.map(|()| number) }))
    });
    let each = each.collect::<io::Result<Vec<_>>>()?;
    Ok(async move { select_all(each).await.0.unwrap_or(libc::SIGTERM) })
}

/// Who is told how far it is: a terminal, in one line that changes; a log, every few seconds; and PID 1, if it asked.
struct Voice {
    terminal: bool,
    to_pid1: bool,
    changed: Option<Instant>,
    logged: Option<Instant>,
}

impl Voice {
    fn new(to_pid1: bool) -> Self {
        Self { terminal: io::stderr().is_terminal() && !to_pid1, to_pid1, changed: None, logged: None }
    }

    fn say(&mut self, step: &Step) {
        let now = Instant::now();
        let due = |last: Option<Instant>, every| last.is_none_or(|last| now.duration_since(last) >= every);
        // What comes once is not to be missed.
        let counts = matches!(step, Step::Fetching { .. } | Step::Waiting(_));
        let text = step.to_string();
        if !counts {
            self.end();
            match step {
                Step::Again { .. } | Step::OnTrust(..) => tracing::warn!("{text}"),
                _ => tracing::info!("{text}"),
            }
            self.logged = None;
        } else if self.terminal && due(self.changed, CHANGE_EVERY) {
            // Nobody may be there to read it.
            let _ = write!(io::stderr(), "\r\x1b[Kclaudebox: {text}");
        } else if !self.terminal && due(self.logged, LINE_EVERY) {
            tracing::info!("{text}");
            self.logged = Some(now);
        }
        if !counts || due(self.changed, CHANGE_EVERY) {
            self.changed = Some(now);
            self.tell_pid1(&text);
        }
    }

    /// Ends the line that changes.
    fn end(&mut self) {
        if self.terminal && self.changed.take().is_some() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }

    fn fail(&self, error: &InstallError) {
        self.tell_pid1(&error.to_string());
    }

    fn tell_pid1(&self, text: &str) {
        if self.to_pid1 {
            let mut line: String = text.chars().filter(|char| !char.is_control()).collect();
            while line.len() > LONGEST_STATE {
                line.pop();
            }
            // It has ended, and this is about to.
            let _ = writeln!(io::stdout(), "{line}").and_then(|()| io::stdout().flush());
        }
    }
}
