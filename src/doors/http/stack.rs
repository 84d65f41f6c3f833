//! What stands around every route, in the one order that is right.

use std::sync::Arc;

use axum::middleware::{from_fn, from_fn_with_state};
use axum::{Extension, Router};

use super::origin::{Origins, check_origin};
use super::parameters::{BodyLimit, method_not_allowed, not_found};
use super::trace::trace;
use crate::doors::openai::error;

/// Wraps all routes of all doors. Tokens are asked for before it, per door (`auth::protect`).
///
/// From the outside in: the log sees everything; then problems get their door's shape; then Host and Origin, so that a browser's questions need no token and
/// it can read refusals; then tokens; then the routes.
pub fn wrap(router: Router, origins: Origins, limit: BodyLimit) -> Router {
    router
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(Extension(limit))
        .layer(from_fn_with_state(Arc::new(origins), check_origin))
        .layer(from_fn(error::shape))
        .layer(from_fn(trace))
}

#[cfg(test)]
mod tests;
