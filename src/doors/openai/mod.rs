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
//! | `wish` | what a request asks for |
//! | `turn` | the run |
//! | `answer` | what a run has answered |
//! | `spoken` | the text of an answer: where it ends, what counts of it |
//! | `stream` | pieces -> server-sent events, in the words of a protocol |
//! | `chat`, `responses` | the two protocols |
//! | `error` | OpenAI's shape of errors |

mod answer;
mod chat;
mod conversation;
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
mod wish;

use std::sync::Arc;

use axum::Router;
use axum::extract::FromRef;
use axum::routing::{get, post};
use utoipa::OpenApi;
use utoipa::openapi::OpenApi as Description;

use self::models::Models;
use crate::desk::Desk;
use crate::doors::web::Routes;
use crate::doors::web::openapi::Described;
use crate::store::record::DoorName;

/// Where its routes are.
const BASE: &str = "/openai/v1";

/// What this door serves, described.
pub const DESCRIBED: Described = Described { make: described, error: "OpenAiError" };

/// What the routes of this door work with.
#[derive(Clone)]
struct Inside {
    desk: Desk,
    models: Arc<Models>,
}

impl FromRef<Inside> for Desk {
    fn from_ref(inside: &Inside) -> Self {
        inside.desk.clone()
    }
}

impl FromRef<Inside> for Arc<Models> {
    fn from_ref(inside: &Inside) -> Self {
        Self::clone(&inside.models)
    }
}

/// What this door serves.
pub fn routes(desk: Desk, models: Models) -> Routes {
    let routes = Router::new()
        .route("/models", get(models::list))
        .route("/models/{id}", get(models::one))
        // The same with the provider that routers put before a name.
        .route("/models/{provider}/{id}", get(models::of_provider))
        .route("/chat/completions", post(chat::create))
        .route("/responses", post(responses::create))
        .route("/responses/{id}", get(responses::one));
    let inside = Inside { desk, models: Arc::new(models) };
    Routes {
        name: DoorName::OpenAi,
        protected: Router::new().nest(BASE, routes).with_state(inside),
        open: Router::new(),
        token_in_query: false,
        described: Some(DESCRIBED),
    }
}

/// What is served here, below [`BASE`].
#[derive(OpenApi)]
#[openapi(paths(models::list, models::one, chat::create, responses::create, responses::one))]
struct Operations;

fn described() -> Description {
    Description::default().nest(BASE, Operations::openapi())
}
