//! `serve`, and the role that ends what belongs to a run for it.

use std::collections::HashMap;
use std::ffi::OsString;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Failure, log, roles};
use crate::claude::binary;
use crate::config::environment::{Environment, ProcessEnvironment, spellings};
use crate::config::server::{HttpConfig, LogFormat, ServerConfig};
use crate::config::{Config, name};
use crate::doors::http::app::{self, App, Surroundings};
use crate::doors::http::auth::Authenticator;
use crate::doors::http::files::UploadLimit;
use crate::doors::http::origin::Origins;
use crate::doors::http::parameters::BodyLimit;
use crate::doors::http::server::{self, Limits};
use crate::doors::http::webhook_body;
use crate::doors::local::Door;
use crate::exit_code::ExitCode;
use crate::fetch::Fetcher;
use crate::init::leftovers::{self, Scope};
use crate::process::link::{Link, Message};
use crate::process::spawn::own_executable;
use crate::runs::child::{EndTree, Workers};
use crate::runs::deliver::Deliverer;
use crate::runs::engine::Engine;
use crate::runs::metrics::Metrics;
use crate::runs::recover::{Lock, StartError};
use crate::runs::webhook::SigningKey;
use crate::workspace::Workspaces;

/// Threads that may wait for a disk or a lookup at once.
const BLOCKING_THREADS: usize = 64;
/// How long such a thread stays when it has nothing to do.
const BLOCKING_IDLE: Duration = Duration::from_secs(5);
/// How long PID 1 may take to end what belongs to a run.
const END_TREE: Duration = Duration::from_secs(5);
/// How often it is looked for runs that are older than they may get.
const PRUNE_EVERY: Duration = Duration::from_hours(1);
/// Descriptors that are open whatever happens: the ledger, the runtime, a listener, lookups and webhooks.
const OWN_DESCRIPTORS: usize = 64;
/// Of a run: its worker's pipes, also while it starts, and its event log.
const RUN_DESCRIPTORS: usize = 8;
/// Of a connection: itself and a file that goes over it.
const CONNECTION_DESCRIPTORS: usize = 2;
/// Part of the grace that is left for what comes after the runs.
const CLOSING: Duration = Duration::from_secs(1);

/// `serve`: the servers, until it is told to stop.
pub(super) fn run(env: &impl Environment) -> Result<ExitCode, Failure> {
    let config = roles::configure(env)?;
    let server = ServerConfig::read(env).map_err(unusable)?;
    if let Some(mode) = config.server_modes.iter().find(|mode| **mode != name::MODES[0]) {
        let detail = format!("{mode} is on, and this version has no such server: turn it off");
        return Err(Failure::new(ExitCode::Config, detail));
    }
    let Some(http) = server.http.clone() else {
        let detail = format!("there is nothing to serve: set {}=1", name::MODES[0]);
        return Err(Failure::new(ExitCode::Config, detail));
    };
    let internal = |error: io::Error| Failure::new(ExitCode::Internal, error);
    // What Claude runs has the same user: it must not find the doors' secrets in this process's environment or memory.
    nix::sys::prctl::set_dumpable(false).map_err(|error| internal(error.into()))?;
    let link = Link::from_stdin().map_err(internal)?.map(Arc::new);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(std::thread::available_parallelism().map_or(2, |cores| cores.get().clamp(2, 4)))
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_keep_alive(BLOCKING_IDLE)
        .enable_all()
        .build()
        .map_err(internal)?;
    let result = runtime.block_on(serve(&config, &server, &http, link));
    // A lookup that hangs must not hold the end up.
    runtime.shutdown_background();
    result
}

async fn serve(
    config: &Config,
    server: &ServerConfig,
    http: &HttpConfig,
    link: Option<Arc<Link>>,
) -> Result<ExitCode, Failure> {
    // First: a signal that comes while this starts is not to be lost.
    let stop = CancellationToken::new();
    stop_at_signals(&stop).map_err(|error| Failure::new(ExitCode::Internal, error))?;
    let deaf = Arc::new(OnceLock::new());
    let helper = link.clone().map(|link| Helper::listen(link, stop.clone(), Arc::clone(&deaf)));
    let helper = helper.transpose().map_err(|error| Failure::new(ExitCode::Internal, error))?;

    let state_dir = state_folder(config)?;
    let _lock = Lock::take(&state_dir).map_err(not_started)?;
    let authenticator = Arc::new(Authenticator::from_config(http).map_err(unusable)?);
    let origins = Origins::from_config(http).map_err(unusable)?;
    let fetcher = Arc::new(Fetcher::new(&server.fetch_allow).map_err(unusable)?);
    let key = server.webhook_secret.as_ref().map(SigningKey::new).transpose().map_err(unusable)?;
    let workspaces = Workspaces::open(&config.workspaces_dir).map_err(|error| {
        let folder = config.workspaces_dir.display();
        unusable(format!("cannot use the workspaces folder {folder} ({}): {error}", name::WORKSPACES_DIR))
    })?;
    let address = SocketAddr::new(http.bind, http.port);
    let restarts: i64 = std::env::var(name::RESTARTS).ok().and_then(|count| count.parse().ok()).unwrap_or(0);
    // A port that an earlier server had is about to be free; one that it never had is taken.
    let code = if restarts == 0 { ExitCode::Config } else { ExitCode::Internal };
    let listener = server::bind(address).map_err(|error| Failure::new(code, error))?;

    let mut registry = Registry::with_prefix("claudebox");
    let metrics = Metrics::register(&mut registry);
    registry.register("serve_restarts", "How often the server was started again", ConstGauge::<i64>::new(restarts));
    let end_tree = helper.map_or_else(end_tree_alone, Helper::end_tree);
    let workers = Workers::new(own_executable(), hidden_variables(), end_tree);
    let engine = Engine::start(server.engine.clone(), &state_dir, workers.clone(), metrics).await;
    let engine = engine.map_err(not_started)?;

    let claude_bin = config.claude_bin.clone();
    let app = App {
        engine: engine.clone(),
        workspaces,
        fetcher: Arc::clone(&fetcher),
        registry: Arc::new(registry),
        readiness: Arc::new(move || {
            binary::locate(&claude_bin, &ProcessEnvironment).map(drop).map_err(|error| error.to_string())
        }),
    };
    let around = Surroundings {
        authenticator,
        origins,
        body_limit: BodyLimit(http.body_limit),
        upload_limit: http.upload_limit.map(UploadLimit),
    };
    let local = Door::open(&state_dir).inspect_err(|error| {
        let place = state_dir.display();
        tracing::warn!(
            "there is no local door, `claudebox run` runs the CLI itself: no socket can be made in {place}: {error}"
        );
    });
    // Before it is ready: who waits for that finds it in the log.
    tracing::info!("the HTTP API listens on {address}");
    if let Some(link) = &link {
        link.send(&Message::Ready).map_err(|error| Failure::new(ExitCode::Internal, error))?;
    }
    workers.keep_ready();
    let deliverer = Deliverer { fetcher, key, body: webhook_body };
    let grace = config.grace.saturating_sub(CLOSING);
    let connections = room_for_connections(http.connections, server.engine.runs);
    let limits = Limits { drain: grace, ..Limits::new(connections) };
    let door = server::serve(listener, app::router(app, around), limits, stop.clone().cancelled_owned());
    let local = async {
        match local {
            Ok(local) => local.serve(engine.clone(), stop.clone(), grace).await,
            Err(_) => stop.cancelled().await,
        }
    };
    let end = async {
        stop.cancelled().await;
        tracing::info!("stopping: the doors are closed, runs are ended");
        engine.shut_down(grace).await;
    };
    let result = tokio::select! {
        (result, (), ()) = async { tokio::join!(door, local, end) } => result,
        never = async { tokio::join!(deliverer.work(&engine), prune(&engine)) } => match never {},
    };
    result.map_err(|error| Failure::new(ExitCode::Internal, error))?;
    deaf.get().map_or(Ok(ExitCode::Ok), |why| Err(Failure::new(ExitCode::Internal, why)))
}

/// How many connections there are descriptors for, besides those that runs take. The soft limit for descriptors is
/// raised as far as that takes and the hard one allows.
fn room_for_connections(wanted: usize, runs: usize) -> usize {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return wanted };
    let needed = (OWN_DESCRIPTORS + RUN_DESCRIPTORS * runs + CONNECTION_DESCRIPTORS * wanted) as u64;
    let raised = needed.min(hard).max(soft);
    let limit = setrlimit(Resource::RLIMIT_NOFILE, raised, hard).map_or(soft, |()| raised);
    let room = connections_within(limit, runs).min(wanted);
    if room < wanted {
        let name = name::MODE_API_MAX_CONNECTIONS;
        tracing::warn!(
            "{limit} descriptors are for {room} connections at once, not {wanted} ({name}): raise ulimit -n"
        );
    }
    room
}

fn connections_within(descriptors: u64, runs: usize) -> usize {
    let descriptors = usize::try_from(descriptors).unwrap_or(usize::MAX);
    let left = descriptors.saturating_sub(OWN_DESCRIPTORS + RUN_DESCRIPTORS * runs);
    (left / CONNECTION_DESCRIPTORS).max(1)
}

/// Where the ledger is: one folder for each container, because it has one writer.
fn state_folder(config: &Config) -> Result<PathBuf, Failure> {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".claude"));
    let default = || config.config_dir.clone().or_else(home).map(|config_dir| config.state_folder(&config_dir));
    config
        .state_dir
        .clone()
        .or_else(default)
        .ok_or_else(|| unusable(format!("there is no place for the state: set {} or HOME", name::STATE_DIR)))
}

/// What a run must not see of this process's environment.
fn hidden_variables() -> Vec<String> {
    let secrets = name::DOOR_SECRETS.iter().flat_map(|secret| spellings(secret));
    secrets.chain([name::RESTARTS.to_owned(), "PWD".to_owned()]).collect()
}

fn unusable(error: impl std::fmt::Display) -> Failure {
    Failure::new(ExitCode::Config, error)
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

async fn prune(engine: &Engine) -> std::convert::Infallible {
    loop {
        if let Err(error) = engine.prune().await {
            tracing::warn!("retention: {error}");
        }
        tokio::time::sleep(PRUNE_EVERY).await;
    }
}

/// PID 1, which ends what this process may not.
#[derive(Clone)]
struct Helper {
    link: Arc<Link>,
    waiting: Waiting,
}

/// Who waits for which run's end.
type Waiting = Arc<Mutex<HashMap<String, Vec<oneshot::Sender<u64>>>>>;

impl Helper {
    /// Listens to PID 1 on a thread: a message is rare, and a blocking read the simplest way to wait for one.
    fn listen(link: Arc<Link>, stop: CancellationToken, why: Arc<OnceLock<String>>) -> io::Result<Self> {
        let waiting = Waiting::default();
        let (socket, listeners) = (Arc::clone(&link), Arc::clone(&waiting));
        std::thread::Builder::new().name("link".into()).spawn(move || {
            let deaf = |what: String| {
                let _ = why.set(what);
                stop.cancel();
            };
            loop {
                match socket.receive() {
                    Ok(Some(Message::Ended { run, count })) => {
                        let mut waiting = listeners.lock().unwrap_or_else(PoisonError::into_inner);
                        for listener in waiting.remove(run.as_str()).into_iter().flatten() {
                            // It has stopped waiting.
                            let _ = listener.send(count as u64);
                        }
                    }
                    Ok(Some(Message::Ready | Message::End { .. })) => {}
                    Ok(Some(Message::Stop)) => break stop.cancel(),
                    // Not asked to end: should PID 1 live, it starts another.
                    Ok(None) => break deaf("PID 1 does not hear this server any more".into()),
                    Err(error) => break deaf(format!("the link to PID 1: {error}")),
                }
            }
        })?;
        Ok(Self { link, waiting })
    }

    fn end_tree(self) -> EndTree {
        Arc::new(move |run, worker| {
            let helper = self.clone();
            Box::pin(async move { helper.end(run, worker).await })
        })
    }

    fn wait_for(&self, run: Uuid, sender: oneshot::Sender<u64>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.entry(run.to_string()).or_default().push(sender);
    }

    async fn end(&self, run: Uuid, worker: Option<u32>) -> u64 {
        let Ok(id) = run.to_string().parse() else { return 0 };
        let (sender, receiver) = oneshot::channel();
        self.wait_for(run, sender);
        let worker = worker.and_then(|pid| i32::try_from(pid).ok());
        if let Err(error) = self.link.try_send(&Message::End { run: id, worker }) {
            tracing::error!("run {run}: PID 1 cannot be asked to end what it left: {error}");
            return 0;
        }
        if let Ok(Ok(count)) = tokio::time::timeout(END_TREE, receiver).await {
            count
        } else {
            tracing::error!("run {run}: PID 1 does not say whether it ended what it left");
            0
        }
    }
}

/// Without PID 1's help: what belongs to this user is found and ended all the same.
fn end_tree_alone() -> EndTree {
    Arc::new(|run, worker| {
        let end: Pin<Box<dyn Future<Output = u64> + Send>> = Box::pin(async move {
            let Ok(id) = run.to_string().parse() else { return 0 };
            let own = i32::try_from(std::process::id()).ok();
            let worker = worker.and_then(|pid| i32::try_from(pid).ok());
            // Orphans belong to whoever is process 1, so that is where it is looked.
            let scope = Scope { supervisor: 1, serve: own, run: Some(id), worker };
            match tokio::task::spawn_blocking(move || leftovers::end(&scope)).await {
                Ok(Ok(count)) => count as u64,
                Ok(Err(error)) => {
                    tracing::error!("run {run}: what it left cannot be ended: {error}");
                    0
                }
                Err(_) => 0,
            }
        });
        end
    })
}

/// `end-runs`: ends what belongs to a run, or to all of them, and tells `serve` if PID 1 handed its end of the link on.
pub(super) fn end_runs(arguments: &[OsString]) -> Result<ExitCode, Failure> {
    log::start(false, LogFormat::default());
    let internal = |error: io::Error| Failure::new(ExitCode::Internal, error);
    let scope = Scope::from_arguments(arguments)
        .ok_or_else(|| Failure::new(ExitCode::Usage, "the `end-runs` role is internal"))?;
    let link = Link::from_stdin().map_err(internal)?;
    let count = leftovers::end(&scope).map_err(internal)?;
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
    use rstest::rstest;

    #[rstest]
    #[case::few(256, 8, 64)]
    #[case::usual(1024, 8, 448)]
    #[case::no_room(100, 8, 1)]
    #[case::unlimited(u64::MAX, 8, (usize::MAX - 128) / 2)]
    fn runs_come_before_connections(#[case] descriptors: u64, #[case] runs: usize, #[case] connections: usize) {
        assert_eq!(connections_within(descriptors, runs), connections);
    }
}
