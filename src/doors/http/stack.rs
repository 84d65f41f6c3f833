//! What stands around every route, in the one order that is right.

use std::sync::Arc;

use axum::extract::Request;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Router};
use tower::ServiceExt as _;

use super::normal::{addressed, check_coding};
use super::origin::{Origins, check_origin};
use super::parameters::{BodyLimit, method_not_allowed, not_found};
use super::trace::trace;
use crate::doors::openai::error;

/// Wraps all routes of all doors. Tokens are asked for before it, per door (`auth::protect`).
///
/// From the outside in: the address is put as the routes know it; the log sees everything; then problems get their
/// door's shape; then what cannot be read is refused; then Host and Origin, so that a browser's questions need no token
/// and it can read refusals; then tokens; then the routes.
pub fn wrap(router: Router, origins: Origins, limit: BodyLimit) -> Router {
    let router = router
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(Extension(limit))
        .layer(from_fn_with_state(Arc::new(origins), check_origin))
        .layer(from_fn(readable))
        .layer(from_fn(error::shape))
        .layer(from_fn(trace));
    // Around the router, not a layer of it: layers come after a route was chosen.
    Router::new().fallback_service(router.map_request(addressed as fn(Request) -> Request))
}

async fn readable(request: Request, next: Next) -> Response {
    match check_coding(&request) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

#[cfg(test)]
mod tests;
