//! The HTTP door: the API, its files, its page.

pub mod files;
pub mod problem;
