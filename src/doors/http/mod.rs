//! The HTTP door: the API, its files, its page.

pub mod auth;
pub mod body;
mod connection;
pub mod files;
pub mod origin;
pub mod page;
pub mod parameters;
pub mod problem;
mod rate;
pub mod server;
pub mod stack;
pub mod tokens;
pub mod trace;
