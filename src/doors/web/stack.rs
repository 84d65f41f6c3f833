//! What stands around every route, in the one order that is right.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Router};

use super::Shape;
use super::normal::check_coding;
use super::origin::{Origins, check_origin};
use super::parameters::{BodyLimit, method_not_allowed, not_found};
use super::trace::trace;

/// Wraps all routes of all doors. Tokens are asked for before it, per door (`auth::protect`).
///
/// From the outside in: the log sees everything; then problems get their door's shape; then what cannot be read is
/// refused, and Host and Origin are looked at, so that a browser's questions need no token and it can read refusals;
/// then tokens; then the routes.
pub fn wrap(router: Router, origins: Origins, limit: BodyLimit, shape: Shape) -> Router {
    router
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(Extension(limit))
        .layer(from_fn_with_state(Arc::new(origins), check))
        .layer(from_fn_with_state(shape, shaped))
        .layer(from_fn(trace))
}

/// One layer for both checks: each layer is paid for by every request.
async fn check(origins: State<Arc<Origins>>, request: Request, next: Next) -> Response {
    match check_coding(&request) {
        Ok(()) => check_origin(origins, request, next).await,
        Err(problem) => problem.into_response(),
    }
}

async fn shaped(State(shape): State<Shape>, request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    shape(&path, next.run(request).await)
}

#[cfg(test)]
mod tests;
