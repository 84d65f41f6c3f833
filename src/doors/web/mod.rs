//! The HTTP ground of every door that speaks it: connections, limits, tokens, origins, bodies, refusals.
//!
//! | module | what it is for |
//! |---|---|
//! | `server` | connections, their limits and their end |
//! | `connection`, `body`, `crowd` | clients that send or read slowly, or that are too many |
//! | `stack` | what stands around every route |
//! | `trace` | a line in the log for each request |
//! | `normal`, `origin` | which requests are looked at at all |
//! | `auth`, `tokens`, `rate` | who calls |
//! | `parameters` | what a request carries -> types |
//! | `problem` | a refusal in HTTP |
//! | `openapi` | the description of what the doors serve |

pub mod auth;
pub mod body;
mod connection;
mod crowd;
mod normal;
pub mod openapi;
pub mod origin;
pub mod parameters;
pub mod problem;
mod rate;
pub mod server;
pub mod stack;
pub mod tokens;
pub mod trace;

use axum::Router;
use axum::http::HeaderName;
use axum::response::Response;

use self::openapi::Described;
use crate::store::record::DoorName;

/// The header that names the run that an answer is about.
pub const RUN_ID: HeaderName = HeaderName::from_static("x-run-id");

/// What a door serves.
pub struct Routes {
    /// The door.
    pub name: DoorName,
    /// Routes that need a token.
    pub protected: Router,
    /// Routes that need none.
    pub open: Router,
    /// Whether a token in the query is as good as one in the header.
    pub token_in_query: bool,
    /// What is served, described; `None` where the protocol has its own way to say so.
    pub described: Option<Described>,
}

/// Gives an answer to a request for this path the shape that its door's clients know.
pub type Shape = fn(&str, Response) -> Response;
