//! The HTTP door: the API, its files, its page.

pub mod problem;
