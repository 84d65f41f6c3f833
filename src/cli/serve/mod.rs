//! `serve`, and the role that ends what belongs to a run for it.

mod cron;
mod ending;
mod idle;
pub mod routes;
mod state;
mod web;

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use nix::unistd::{Gid, getgid, getgroups, getuid};
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::cron::CronDoor;
use self::ending::Helper;
use self::state::{config_folder, state_folder, take_over_state};
use self::web::Listening;
use super::configure::configure_servers;
use super::failure::Failure;
use super::log;
use super::roles::take_place;
use crate::boot::workspaces::why_none_is_writable;
use crate::claude::binary::CliSource;
use crate::claude::sessions::Sessions;
use crate::config::environment::{Environment, ProcessEnvironment};
use crate::config::secret_files::{Both, WithFiles};
use crate::config::server::{EngineConfig, ServerConfig};
use crate::config::spelling::door_secrets;
use crate::config::{Config, DOOR_MODES, name};
use crate::desk::Desk;
use crate::desk::chats::Chats;
use crate::doors::http::webhook_body;
use crate::doors::local::Socket;
use crate::doors::telegram::Telegram;
use crate::doors::{Closed, Door};
use crate::exit_code::ExitCode;
use crate::fetch::Fetcher;
use crate::init::leftovers::{self, Scope};
use crate::policy::{self, hold::Agent};
use crate::privilege::files;
use crate::privilege::plan::Kept;
use crate::process::link::{Link, Message};
use crate::process::spawn::own_executable;
use crate::runs::child::Workers;
use crate::runs::deliver::Deliverer;
use crate::runs::engine::Engine;
use crate::runs::log::Logs;
use crate::runs::metrics::Metrics;
use crate::runs::recover::{StartError, StateLock};
use crate::runs::webhook::SigningKey;
use crate::store::Store;
use crate::store::sqlite::{OpenError, Sqlite};
use crate::workspace::Workspaces;

/// Threads that may wait for a disk or a lookup at once.
const BLOCKING_THREADS: usize = 64;
/// How long such a thread stays when it has nothing to do.
const BLOCKING_IDLE: Duration = Duration::from_secs(5);
/// Interval between prunings of expired runs.
const PRUNE_EVERY: Duration = Duration::from_hours(1);
/// Part of the grace that is left for what comes after the runs.
const CLOSING: Duration = Duration::from_secs(1);

/// `serve`: the servers, until it is told to stop.
pub(super) fn run(env: &impl Environment) -> Result<ExitCode, Failure> {
    take_place(Kept::Nothing, env)?;
    // PID 1 has read them already, where there is one.
    let env = &WithFiles::read(env, Both::Refused).map_err(|errors| Failure::of_settings(&errors))?;
    let (config, server) = configure_servers(env)?;
    let Some(server) = server else {
        let detail = format!("there is nothing to serve: set {} or {} to 1", DOOR_MODES.join(", "), name::MODE_LOCAL);
        return Err(Failure::config(detail));
    };
    if let Some(agent) = agent() {
        policy::judge_by(policy::Rule { agent, mode: config.mode });
    }
    // What Claude runs may have the same user: it must not find the doors' secrets in this process's environment or memory.
    nix::sys::prctl::set_dumpable(false).map_err(Failure::internal)?;
    let link = Link::from_stdin().map_err(Failure::internal)?.map(Arc::new);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(std::thread::available_parallelism().map_or(2, |cores| cores.get().clamp(2, 4)))
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_keep_alive(BLOCKING_IDLE)
        .enable_all()
        .build()
        .map_err(Failure::internal)?;
    let result = runtime.block_on(serve(&config, &server, link));
    // A lookup that hangs must not hold the end up.
    runtime.shutdown_background();
    result
}

/// Whose hands the files that decide are to be out of: Claude, and this process. `None` where this is root without a Claude,
/// which no box has.
fn agent() -> Option<Agent> {
    let (uid, gid) = (getuid().as_raw(), getgid().as_raw());
    let claude = files::claude();
    if claude.is_none() && uid == 0 {
        return None;
    }
    let own = getgroups().unwrap_or_default().into_iter().map(Gid::as_raw).chain([gid]);
    let groups = claude.into_iter().flat_map(|claude| claude.groups.iter().copied().chain([claude.gid]));
    Some(Agent {
        uids: claude.map(|claude| claude.uid).into_iter().chain([uid]).collect(),
        gids: groups.chain(own).collect(),
    })
}

fn open_workspaces(config: &Config) -> Result<Workspaces, Failure> {
    let workspaces = Workspaces::open(&config.workspaces_dir).map_err(|error| {
        let folder = config.workspaces_dir.display();
        Failure::config(format!("cannot use the workspaces folder {folder} ({}): {error}", name::WORKSPACES_DIR))
    })?;
    if let Some(why) = why_none_is_writable(&config.workspaces_dir) {
        tracing::warn!("{why}");
    }
    Ok(workspaces)
}

async fn serve(config: &Config, server: &ServerConfig, link: Option<Arc<Link>>) -> Result<ExitCode, Failure> {
    // First: a signal that comes while this starts is not to be lost.
    let stop = CancellationToken::new();
    stop_at_signals(&stop).map_err(Failure::internal)?;
    let deaf = Arc::new(OnceLock::new());
    let (cli, its_state) = watch::channel(not_checked(config, link.is_some()));
    let helper = link.clone().map(|link| Helper::listen(link, stop.clone(), Arc::clone(&deaf), cli));
    let helper = helper.transpose().map_err(Failure::internal)?;

    let state_dir = state_folder(config)?;
    let _lock = StateLock::take(&state_dir).map_err(not_started)?;
    take_over_state(config, &state_dir)?;
    let fetcher = Arc::new(Fetcher::new(server.fetch_allow.clone()));
    let key = server.webhook_secret.as_ref().map(SigningKey::new).transpose().map_err(Failure::config)?;
    let workspaces = open_workspaces(config)?;
    let restarts: i64 = std::env::var(name::RESTARTS).ok().and_then(|count| count.parse().ok()).unwrap_or(0);
    let http = server.http.as_ref().map(|http| Listening::on(http, restarts)).transpose()?;
    let cron = server.cron.as_ref().map(|cron| CronDoor::load(cron, config, server, restarts)).transpose()?;

    let mut registry = Registry::with_prefix("claudebox");
    let metrics = Metrics::register(&mut registry);
    registry.register("build", "What claudebox this is", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
    registry.register("serve_restarts", "How often the server was started again", ConstGauge::<i64>::new(restarts));
    let starter = helper.clone().filter(|_| files::claude().is_some()).map(Helper::start_worker);
    let end_tree = helper.map_or_else(ending::alone, Helper::end_tree);
    let workers = Workers::new(own_executable(), hidden_variables(), end_tree).started_by(starter);
    let config_dir = config_folder(config)?;
    let notes_dir = if files::claude().is_some() { config.shared_folder(&config_dir) } else { state_dir.clone() };
    let sessions = Sessions { config_dir, state_dir: notes_dir };
    let held = its_state.borrow().clone();
    let (store, logs) = (open_store(&state_dir)?, open_logs(&state_dir, &server.engine)?);
    let engine = Engine::start(store, logs, server.engine.clone(), sessions, workers.clone(), metrics, held).await;
    let engine = engine.map_err(not_started)?;
    let telegram = server.telegram.as_ref().map(|telegram| {
        let folder = config_folder(config)?;
        Telegram::open(telegram, &folder, engine.clone(), workspaces.clone()).map_err(Failure::config)
    });
    let telegram = telegram.transpose()?;

    let socket = Socket::open(&state_dir).inspect_err(|error| {
        let place = state_dir.display();
        tracing::warn!(
            "there is no local door, `claudebox run` runs the CLI itself: no socket can be made in {place}: {error}"
        );
    });
    // Before it is ready: who waits for that finds it in the log.
    if let Some(http) = &http {
        tracing::info!("the HTTP API listens on {}", http.address());
    }
    if let Some(link) = &link {
        link.send(&Message::Ready).map_err(Failure::internal)?;
    }
    workers.keep_ready();
    let desk = Desk { engine: engine.clone(), workspaces, fetcher: Arc::clone(&fetcher) };
    let chats = telegram.clone().map(|telegram| Arc::new(telegram) as Arc<dyn Chats>);
    let runs = server.engine.runs;
    let doors: Vec<Box<dyn Door>> = [
        http.map(|http| http.door(desk.clone(), registry, config.clone(), config.workspaces_dir.clone(), runs)),
        telegram.map(|telegram| Box::new(telegram) as Box<dyn Door>),
        cron.map(|cron| cron.door(&desk, chats)),
        socket.ok().map(|socket| socket.door(engine.clone(), server.local)),
    ]
    .into_iter()
    .flatten()
    .collect();
    let grace = config.grace.saturating_sub(CLOSING);
    let end = async {
        stop.cancelled().await;
        tracing::info!("stopping: the doors are closed, runs are ended");
        engine.shut_down(grace).await;
    };
    let deliverer = Deliverer { fetcher, key, body: webhook_body };
    let ended = tokio::select! {
        (ended, ()) = async { tokio::join!(serve_doors(doors, &stop, grace), end) } => ended,
        never = async {
            tokio::join!(deliverer.work(&engine), prune(&engine), follow_cli(&engine, its_state), idle::watch(&engine, server.idle_exit, link.as_deref(), &stop))
        } => match never {},
    };
    ended
        .map_err(|closed| Failure::new(if closed.for_good { ExitCode::Config } else { ExitCode::Internal }, closed))?;
    deaf.get().map_or(Ok(ExitCode::Ok), |why| Err(Failure::internal(why)))
}

/// Serves these doors until `stop`. One that closes by itself leaves the others alone; with the last of those that were asked
/// for there is nothing left to serve, and why is the error.
async fn serve_doors(doors: Vec<Box<dyn Door>>, stop: &CancellationToken, grace: Duration) -> Result<(), Closed> {
    let mut asked_for = doors.iter().filter(|door| door.is_asked_for()).count();
    let serving = doors.into_iter().map(|door| {
        let counts = door.is_asked_for();
        let serving = door.serve(stop.clone(), grace);
        async move { (counts, serving.await) }
    });
    let mut at_work: FuturesUnordered<_> = serving.collect();
    let mut last = Ok(());
    while let Some((counts, ended)) = at_work.next().await {
        let Err(closed) = ended else { continue };
        asked_for -= usize::from(counts);
        if asked_for == 0 {
            last = Err(closed);
            stop.cancel();
        } else {
            tracing::error!("{closed}; the other doors stay open");
        }
    }
    last
}

/// What a run must not see of this process's environment.
fn hidden_variables() -> Vec<String> {
    door_secrets().into_iter().chain([name::RESTARTS.to_owned(), "PWD".to_owned()]).collect()
}

/// The only place that chooses a store.
fn open_store(state_dir: &Path) -> Result<Arc<dyn Store>, Failure> {
    match Sqlite::open(state_dir) {
        Ok(store) => Ok(Arc::new(store)),
        Err(error @ OpenError::Full) => Err(Failure::internal(error)),
        Err(error) => Err(Failure::config(error)),
    }
}

fn open_logs(state_dir: &Path, config: &EngineConfig) -> Result<Logs, Failure> {
    let path = state_dir.join(Logs::FOLDER);
    Logs::open(path.clone(), config.keep_bytes).map_err(|source| not_started(StartError::StateDir { path, source }))
}

/// A full disk may have room again soon, so PID 1 tries again; any other fault stays.
fn not_started(error: StartError) -> Failure {
    Failure::new(if error.is_full() { ExitCode::Internal } else { ExitCode::Config }, error)
}

fn stop_at_signals(stop: &CancellationToken) -> io::Result<()> {
    for kind in [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup(), SignalKind::quit()] {
        let mut signals = signal(kind)?;
        let stop = stop.clone();
        tokio::spawn(async move {
            signals.recv().await;
            stop.cancel();
        });
    }
    Ok(())
}

/// Why no run may start until PID 1 says that the CLI is what it should be, if it is PID 1 that looks after it.
fn not_checked(config: &Config, pid1_speaks: bool) -> Option<String> {
    let path = std::env::var_os("PATH");
    let source = CliSource::of_box(config, path.as_deref(), &ProcessEnvironment);
    (pid1_speaks && matches!(source, CliSource::Store(_))).then(|| "the Claude CLI is being checked".to_owned())
}

/// Lets runs in when the CLI is there, and none while it is not.
async fn follow_cli(engine: &Engine, mut state: watch::Receiver<Option<String>>) -> std::convert::Infallible {
    loop {
        let why = state.borrow_and_update().clone();
        engine.hold(why);
        if state.changed().await.is_err() {
            // There is no PID 1, or it has gone: this server ends.
            std::future::pending::<()>().await;
        }
    }
}

async fn prune(engine: &Engine) -> std::convert::Infallible {
    loop {
        if let Err(error) = engine.prune().await {
            tracing::warn!("retention: {error}");
        }
        tokio::time::sleep(PRUNE_EVERY).await;
    }
}

/// `end-runs`: ends what belongs to a run, or to all of them, and tells `serve` if PID 1 handed its end of the link on.
pub(super) fn end_runs(arguments: &[OsString]) -> Result<ExitCode, Failure> {
    log::start(false, log::Style::of_box(&ProcessEnvironment));
    let scope = Scope::from_arguments(arguments).ok_or_else(Failure::of_hidden_role)?;
    let link = Link::from_stdin().map_err(Failure::internal)?;
    let count = leftovers::end(&scope).map_err(Failure::internal)?;
    match (link, scope.run) {
        (Some(link), Some(run)) => {
            // A `serve` that does not read any more is about to end.
            if let Err(error) = link.try_send(&Message::Ended { run, count }) {
                tracing::warn!("serve is not told that {count} processes of a run were ended: {error}");
            }
        }
        _ if count > 0 => tracing::warn!("{count} processes that runs had left were ended"),
        _ => {}
    }
    Ok(ExitCode::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doors::Serving;

    /// A door that closes by itself at once, or serves until it is stopped.
    struct Fake {
        asked_for: bool,
        closes: bool,
    }

    impl Door for Fake {
        fn is_asked_for(&self) -> bool {
            self.asked_for
        }

        fn serve(self: Box<Self>, stop: CancellationToken, _: Duration) -> Serving {
            Box::pin(async move {
                if self.closes {
                    return Err(Closed { why: "the token is wrong".into(), for_good: true });
                }
                stop.cancelled().await;
                Ok(())
            })
        }
    }

    const CLOSES: Fake = Fake { asked_for: true, closes: true };
    const STAYS: Fake = Fake { asked_for: true, closes: false };
    const OPEN_ANYWAY: Fake = Fake { asked_for: false, closes: false };

    async fn served(doors: Vec<Fake>) -> (Result<(), Closed>, bool) {
        let stop = CancellationToken::new();
        let doors = doors.into_iter().map(|door| Box::new(door) as Box<dyn Door>).collect();
        tokio::select! {
            ended = serve_doors(doors, &stop, Duration::ZERO) => (ended, stop.is_cancelled()),
            () = async { for _ in 0..100 { tokio::task::yield_now().await } } => (Ok(()), stop.is_cancelled()),
        }
    }

    /// A server that was asked for locally stays although the bot's token is wrong.
    #[tokio::test]
    async fn a_door_that_closes_leaves_those_alone_that_were_asked_for() {
        let (ended, stopped) = served(vec![CLOSES, STAYS]).await;
        assert!(ended.is_ok() && !stopped);
    }

    #[tokio::test]
    async fn with_the_last_door_that_was_asked_for_the_server_ends() {
        for doors in [vec![CLOSES], vec![CLOSES, OPEN_ANYWAY], vec![CLOSES, CLOSES, OPEN_ANYWAY]] {
            let (ended, stopped) = served(doors).await;
            assert!(ended.is_err_and(|closed| closed.for_good) && stopped);
        }
    }
}
