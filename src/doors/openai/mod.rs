//! The OpenAI-compatible door: `/openai/v1`, for every client that speaks Chat Completions or Responses.
//!
//! A request becomes a run like any other: the CLI with its tools in a workspace, not a bare model. What the protocol
//! says and the CLI cannot do is ignored where that is harmless and refused where an answer would be a wrong one;
//! `docs/openai.md` has the list.
//!
//! | module | what it decides |
//! |---|---|
//! | `models` | the names of models |
//! | `headers` | what a client says outside the protocol |
//! | `message` | JSON of messages -> messages |
//! | `material` | images and files of messages -> content blocks |
//! | `conversation` | messages -> what the CLI is told, and which session it goes on with |
//! | `memory` | what is remembered of a run: its conversation, its ids |
//! | `tools` | the client's tools, and the call of one that it forces |
//! | `turn` | the run |
//! | `spoken` | the text of an answer: where it ends, what counts of it |
//! | `deltas` | the CLI's events -> pieces of an answer |
//! | `stream` | pieces -> server-sent events, in the words of a protocol |
//! | `chat`, `responses` | the two protocols |
//! | `error` | OpenAI's shape of errors |

mod chat;
mod conversation;
mod deltas;
pub mod error;
mod headers;
mod material;
mod memory;
mod message;
pub mod models;
mod responses;
mod spoken;
mod stream;
mod tools;
mod turn;
mod usage;

use axum::Router;
use axum::routing::{get, post};
use utoipa::OpenApi;

#[cfg(test)]
pub(in crate::doors) use self::deltas::LONGEST_LINE_CHARS;
pub(in crate::doors) use self::deltas::{one_line, tool_line};
use super::http::app::App;

/// Where everything of this door is.
pub(super) const PREFIX: &str = "/openai/";
/// Where its routes are.
pub(super) const BASE: &str = "/openai/v1";

/// The routes of this door.
pub(super) fn router() -> Router<App> {
    let routes = Router::new()
        .route("/models", get(models::list))
        .route("/models/{id}", get(models::one))
        // The same with the provider that routers put before a name.
        .route("/models/{provider}/{id}", get(models::of_provider))
        .route("/chat/completions", post(chat::create))
        .route("/responses", post(responses::create))
        .route("/responses/{id}", get(responses::one));
    Router::new().nest(BASE, routes)
}

/// What is served here, below [`BASE`].
#[derive(OpenApi)]
#[openapi(paths(models::list, models::one, chat::create, responses::create, responses::one))]
pub(super) struct Described;
