//! The listener of every door that speaks HTTP, made ready before anything else is, so that a taken port fails fast.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::super::failure::Failure;
use super::routes::{self, Around};
use crate::boot::workspaces::why_none_is_writable;
use crate::claude::binary;
use crate::config::environment::ProcessEnvironment;
use crate::config::server::HttpConfig;
use crate::config::{Config, name};
use crate::desk::Desk;
use crate::desk::files::UploadLimit;
use crate::doors::openai::models::Models;
use crate::doors::web::auth::Authenticator;
use crate::doors::web::origin::Origins;
use crate::doors::web::parameters::BodyLimit;
use crate::doors::web::server::{self, Limits};
use crate::doors::{Closed, Door, Serving, http, mcp, openai};
use crate::exit_code::ExitCode;

/// Descriptors that are open whatever happens: the ledger, the runtime, a listener, lookups and webhooks.
const OWN_DESCRIPTORS: usize = 64;
/// Of a run: its worker's pipes, also while it starts, and its event log.
const RUN_DESCRIPTORS: usize = 8;
/// Of a connection: itself and a file that goes over it.
const CONNECTION_DESCRIPTORS: usize = 2;

/// The listener, which does not answer yet.
pub(super) struct Listening<'config> {
    config: &'config HttpConfig,
    address: SocketAddr,
    listener: TcpListener,
    authenticator: Authenticator,
    origins: Origins,
}

/// The doors behind a listener.
struct WebDoor {
    desk: Desk,
    router: Router,
    listener: TcpListener,
    limits: Limits,
}

impl<'config> Listening<'config> {
    /// `restarts`: how often `serve` was started again in this box.
    pub(super) fn on(config: &'config HttpConfig, restarts: i64) -> Result<Self, Failure> {
        let authenticator = Authenticator::from_config(config).map_err(Failure::config)?;
        let origins = Origins::from_config(config).map_err(Failure::config)?;
        let address = SocketAddr::new(config.bind, config.port);
        // A port that an earlier server had is about to be free; one that it never had is taken.
        let code = if restarts == 0 { ExitCode::Config } else { ExitCode::Internal };
        let listener = server::bind(address).map_err(|error| Failure::new(code, error))?;
        Ok(Self { config, address, listener, authenticator, origins })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The doors. `runs`: most runs at once, which need descriptors. `root`: the workspaces folder.
    pub(super) fn door(
        self,
        desk: Desk,
        registry: Registry,
        config: Config,
        root: PathBuf,
        runs: usize,
    ) -> Box<dyn Door> {
        let engine = desk.engine.clone();
        let readiness = Arc::new(move || {
            engine.held().map_or(Ok(()), Err)?;
            binary::of_box(&config, &ProcessEnvironment).map_err(|error| error.to_string())?;
            why_none_is_writable(&root).map_or(Ok(()), Err)
        });
        let upload = self.config.upload_limit.map(UploadLimit);
        let doors = vec![
            http::routes(desk.clone(), Arc::new(registry), readiness, upload),
            openai::routes(desk.clone(), Models::new(self.config.openai_models.clone())),
            mcp::routes(desk.clone(), upload),
        ];
        let around = Around {
            authenticator: Arc::new(self.authenticator),
            origins: self.origins,
            body_limit: BodyLimit(self.config.body_limit),
            shape: openai::error::shape,
        };
        let limits = Limits::new(room_for_connections(self.config.connections, runs));
        Box::new(WebDoor { desk, router: routes::router(doors, around), listener: self.listener, limits })
    }
}

impl Door for WebDoor {
    fn serve(self: Box<Self>, stop: CancellationToken, grace: Duration) -> Serving {
        Box::pin(async move {
            http::ephemeral::take_up(&self.desk).await;
            let limits = Limits { drain: grace, ..self.limits };
            let shape = openai::error::shape;
            let served = server::serve(self.listener, self.router, limits, shape, stop.cancelled_owned()).await;
            served.map_err(|error| Closed { why: error.to_string(), for_good: false })
        })
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
