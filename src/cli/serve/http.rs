//! The HTTP door, made ready before anything else is: whoever cannot listen takes no lock for long.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::unusable;
use crate::boot::workspaces::why_none_is_writable;
use crate::claude::binary;
use crate::cli::Failure;
use crate::config::environment::ProcessEnvironment;
use crate::config::server::HttpConfig;
use crate::config::{Config, name};
use crate::doors::http::app::{self, App, Parts, Surroundings};
use crate::doors::http::auth::Authenticator;
use crate::doors::http::ephemeral;
use crate::doors::http::files::UploadLimit;
use crate::doors::http::origin::Origins;
use crate::doors::http::parameters::BodyLimit;
use crate::doors::http::server::{self, Limits};
use crate::doors::openai::models::Models;
use crate::exit_code::ExitCode;
use crate::fetch::Fetcher;
use crate::runs::engine::Engine;
use crate::workspace::Workspaces;

/// Descriptors that are open whatever happens: the ledger, the runtime, a listener, lookups and webhooks.
const OWN_DESCRIPTORS: usize = 64;
/// Of a run: its worker's pipes, also while it starts, and its event log.
const RUN_DESCRIPTORS: usize = 8;
/// Of a connection: itself and a file that goes over it.
const CONNECTION_DESCRIPTORS: usize = 2;

/// The door, listening and not yet answering.
pub(super) struct HttpDoor<'config> {
    config: &'config HttpConfig,
    address: SocketAddr,
    listener: TcpListener,
    around: Surroundings,
}

/// What its routes work with.
pub(super) struct Inside {
    pub(super) engine: Engine,
    pub(super) workspaces: Workspaces,
    pub(super) fetcher: Arc<Fetcher>,
    pub(super) registry: Arc<Registry>,
    pub(super) config: Config,
    /// The workspaces folder.
    pub(super) root: PathBuf,
}

impl<'config> HttpDoor<'config> {
    /// `restarts`: how often `serve` was started again in this box.
    pub(super) fn listen(config: &'config HttpConfig, restarts: i64) -> Result<Self, Failure> {
        let around = Surroundings {
            authenticator: Arc::new(Authenticator::from_config(config).map_err(unusable)?),
            origins: Origins::from_config(config).map_err(unusable)?,
            body_limit: BodyLimit(config.body_limit),
            upload_limit: config.upload_limit.map(UploadLimit),
        };
        let address = SocketAddr::new(config.bind, config.port);
        // A port that an earlier server had is about to be free; one that it never had is taken.
        let code = if restarts == 0 { ExitCode::Config } else { ExitCode::Internal };
        let listener = server::bind(address).map_err(|error| Failure::new(code, error))?;
        Ok(Self { config, address, listener, around })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `stop`, then for `grace` those that are there. `runs`: most runs at once, which need descriptors.
    pub(super) async fn serve(
        self,
        inside: Inside,
        runs: usize,
        grace: Duration,
        stop: CancellationToken,
    ) -> std::io::Result<()> {
        let Inside { engine, workspaces, fetcher, registry, config, root } = inside;
        let held = engine.clone();
        let readiness = Arc::new(move || {
            held.held().map_or(Ok(()), Err)?;
            binary::of_box(&config, &ProcessEnvironment).map_err(|error| error.to_string())?;
            why_none_is_writable(&root).map_or(Ok(()), Err)
        });
        let models = Arc::new(Models::new(self.config.openai_models.clone()));
        let app = App::from(Parts { engine, workspaces, fetcher, models, registry, readiness });
        ephemeral::take_up(&app).await;
        let connections = room_for_connections(self.config.connections, runs);
        let limits = Limits { drain: grace, ..Limits::new(connections) };
        server::serve(self.listener, app::router(app, self.around), limits, stop.cancelled_owned()).await
    }
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
