//! The HTTP door: the API, its files, its page.

pub mod app;
pub mod auth;
pub mod body;
mod connection;
mod crowd;
pub mod ephemeral;
mod figures;
pub mod files;
mod health;
mod normal;
mod openapi;
pub mod origin;
pub mod page;
pub mod parameters;
pub mod problem;
mod rate;
pub(super) mod runs;
pub mod server;
pub mod stack;
pub mod tokens;
pub mod trace;

pub use self::runs::webhook_body;
