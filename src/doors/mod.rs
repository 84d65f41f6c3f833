//! Doors: the ways in. Each is thin, and all ask `runs` for the same thing.

pub mod chats;
pub mod cron;
pub mod http;
pub mod local;
pub mod mcp;
pub mod openai;
mod queueing;
pub mod telegram;
