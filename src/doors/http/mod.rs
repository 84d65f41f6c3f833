//! The HTTP door: runs, files, the page, and the server's own health.
//!
//! | module | what it is for |
//! |---|---|
//! | `runs` | starting, following, reading and cancelling runs |
//! | `files` | the files of the workspaces |
//! | `ephemeral` | workspaces that are there for one run |
//! | `health`, `figures` | is it alive, can it take a run, its figures |
//! | `inside` | what the routes work with |
//! | `page` | the console |

pub mod ephemeral;
mod figures;
pub mod files;
mod health;
mod inside;
pub mod page;
mod runs;

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use prometheus_client::registry::Registry;
use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;

use self::files::PathGuard;
use self::inside::Inside;
pub use self::inside::Readiness;
pub use self::runs::webhook_body;
use crate::desk::Desk;
use crate::desk::caller::Caller;
use crate::desk::files::UploadLimit;
use crate::doors::web::Routes;
use crate::doors::web::openapi::Described;
use crate::store::record::DoorName;
use crate::workspace::Workspaces;

/// What this door serves, described.
pub const DESCRIBED: Described = Described { make: described, error: "Problem" };

/// What this door serves. `registry`: the figures. `upload`: longest file that may be put.
pub fn routes(desk: Desk, registry: Arc<Registry>, readiness: Readiness, upload: Option<UploadLimit>) -> Routes {
    let files = files::router::<Inside>().layer(from_fn_with_state(desk.workspaces.clone(), lend_workspaces));
    let files = match upload {
        Some(limit) => files.layer(Extension(limit)),
        None => files,
    };
    let inside = Inside { desk, registry, readiness };
    Routes {
        name: DoorName::Http,
        protected: runs::router().merge(health::router()).merge(files).with_state(inside.clone()),
        open: health::open_routes().with_state(inside).merge(page::router()),
        token_in_query: false,
        described: Some(DESCRIBED),
    }
}

/// Gives the files' routes the workspaces, as their caller may use them.
async fn lend_workspaces(
    State(workspaces): State<Workspaces>,
    Extension(caller): Extension<Caller>,
    mut request: Request,
    next: Next,
) -> Response {
    request.extensions_mut().insert(workspaces);
    request.extensions_mut().insert(PathGuard(Arc::new(move |path: &str| caller.may_use_workspace(path))));
    next.run(request).await
}

fn described() -> OpenApi {
    let mut described = health::Described::openapi();
    described.merge(runs::described());
    described.merge(files::Described::openapi());
    described
}
