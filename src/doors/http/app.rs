//! What every route works with, and all routes put together.

use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::{Extension, Router};
use prometheus_client::registry::Registry;
use uuid::Uuid;

use super::auth::{self, Authenticator, Caller};
use super::files::{self, PathGuard, UploadLimit};
use super::origin::Origins;
use super::parameters::BodyLimit;
use super::problem::Problem;
use super::runs::{ledger_failed, unknown};
use super::server::Stopping;
use super::{health, openapi, page, runs, stack};
use crate::doors::openai::models::Models;
use crate::doors::{mcp, openai};
use crate::fetch::Fetcher;
use crate::runs::engine::Engine;
use crate::runs::ledger::Sight;
use crate::runs::run::{DoorName, Origin, Requester, Run, State as RunState};
use crate::workspace::{PathError, Workspace, Workspaces};

/// What every route works with. Cheap to clone: each request does, on every core.
#[derive(Clone)]
pub struct App(Arc<Parts>);

/// What an [`App`] holds.
pub struct Parts {
    /// The run engine.
    pub engine: Engine,
    /// The workspaces folder.
    pub workspaces: Workspaces,
    /// For addresses that clients name.
    pub fetcher: Arc<Fetcher>,
    /// Names of models that clients of OpenAI's protocol may give.
    pub models: Arc<Models>,
    /// Figures.
    pub registry: Arc<Registry>,
    /// Whether a run could be started now; if not, why.
    pub readiness: Readiness,
}

impl From<Parts> for App {
    fn from(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }
}

impl Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

/// Says why no run can be started, if none can.
pub type Readiness = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// What stands around the routes.
pub struct Surroundings {
    /// Who may call.
    pub authenticator: Arc<Authenticator>,
    /// From where.
    pub origins: Origins,
    /// Longest JSON body.
    pub body_limit: BodyLimit,
    /// Longest upload.
    pub upload_limit: Option<UploadLimit>,
}

/// All routes of this door.
pub fn router(app: App, around: Surroundings) -> Router {
    let files = files::router::<App>().layer(middleware::from_fn_with_state(app.clone(), lend_workspaces));
    let files = match around.upload_limit {
        Some(limit) => files.layer(Extension(limit)),
        None => files,
    };
    let api = runs::router().merge(health::router());
    let protected = auth::protect(api.merge(files), &around.authenticator, DoorName::Http);
    let openai = auth::protect(openai::router(), &around.authenticator, DoorName::OpenAi);
    let mcp =
        auth::protect_with_query(mcp::router(app.clone(), around.upload_limit), &around.authenticator, DoorName::Mcp);
    let router = protected
        .merge(openai)
        .merge(mcp)
        .merge(health::open_routes())
        .merge(openapi::router())
        .merge(page::router())
        .with_state(app);
    stack::wrap(router, around.origins, around.body_limit)
}

/// Gives the files' routes the workspaces, as their caller may use them.
async fn lend_workspaces(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    mut request: Request,
    next: Next,
) -> Response {
    request.extensions_mut().insert(app.workspaces.clone());
    request.extensions_mut().insert(PathGuard(Arc::new(move |path: &str| caller.may_use_workspace(path))));
    next.run(request).await
}

impl App {
    /// The workspace of this name as `caller` may use it; made if it is missing and `create` says so.
    pub(in crate::doors) async fn workspace(
        &self,
        caller: &Caller,
        name: String,
        create: bool,
    ) -> Result<Workspace, Problem> {
        let caller = caller.clone();
        let workspaces = self.workspaces.guarded(Arc::new(move |path: &str| caller.may_use_workspace(path)));
        let look = move || if create { workspaces.create(&name) } else { workspaces.resolve(&name) };
        let found = tokio::task::spawn_blocking(look).await;
        let found = found.map_err(|error| Problem::internal("looking for a workspace", &error))?;
        found.map_err(|error| match error {
            PathError::NoWorkspace { .. } => {
                let detail = format!("{error}; set createWorkspace to have it made");
                Problem::new(StatusCode::NOT_FOUND, "workspace_not_found", detail)
            }
            error => error.into(),
        })
    }

    /// The run with this id, if `caller` may see it.
    pub(in crate::doors) async fn visible_run(&self, id: &str, caller: &Caller) -> Result<Run, Problem> {
        let Ok(uuid) = Uuid::try_parse(id) else { return Err(unknown(id)) };
        let run = self.engine.get(uuid).await.map_err(|error| ledger_failed(&error))?;
        // Who may not see it is not told that it exists.
        let sees = self.sight(caller);
        run.filter(|run| sees.as_ref().is_none_or(|sees| sees(&run.workspace))).ok_or_else(|| unknown(id))
    }

    /// Which workspaces `caller` may see, by their absolute paths; `None` is all.
    pub(in crate::doors) fn sight(&self, caller: &Caller) -> Option<Sight> {
        caller.workspaces.as_ref()?;
        let (caller, root) = (caller.clone(), self.workspaces.root().to_owned());
        Some(Box::new(move |path| {
            let name = path.strip_prefix(&root).ok().and_then(Path::to_str);
            name.is_some_and(|name| caller.may_use_workspace(name))
        }))
    }

    /// `caller` as who asks for a run through `door`.
    pub(in crate::doors) fn origin(&self, door: DoorName, caller: &Caller) -> Origin {
        let folders = |names: &Vec<String>| names.iter().map(|name| self.workspaces.root().join(name)).collect();
        Origin {
            door,
            requester: Requester::Token(caller.name.clone()),
            cost_per_day: caller.cost_per_day,
            max_runs: caller.max_runs,
            max_queued: caller.max_queued,
            sees: caller.workspaces.as_ref().map(folders),
        }
    }

    /// Waits for the end of a run. One that still waits for its turn when the server stops is the next server's.
    pub(in crate::doors) async fn wait_or_stop(
        &self,
        id: Uuid,
        stopping: Option<Extension<Stopping>>,
    ) -> Result<Run, Problem> {
        let stopped = async {
            match stopping {
                Some(Extension(stopping)) => stopping.wait().await,
                None => std::future::pending().await,
            }
        };
        let run = tokio::select! {
            run = self.engine.wait(id) => run,
            () = stopped => match self.engine.get(id).await {
                Ok(Some(run)) if run.state == RunState::Queued => {
                    let detail = "the server is shutting down; the run waits for the next one";
                    let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "shutting_down", detail);
                    return Err(problem.with("runId", id.to_string()));
                }
                _ => self.engine.wait(id).await,
            },
        };
        run.map_err(|error| ledger_failed(&error))?.ok_or_else(|| unknown(&id.to_string()))
    }
}
