//! The HTTP door: the API, its files, its page.

pub mod auth;
pub mod body;
mod connection;
pub mod files;
pub mod problem;
mod rate;
pub mod server;
pub mod tokens;
