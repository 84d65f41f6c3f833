//! One run in a process of its own, from the CLI's start to the end of everything it started.
//!
//! The process is synchronous, single-threaded and a child subreaper: whatever the CLI's tools start stays below it.

pub mod finished;
pub mod job;
mod memory;
pub mod one_shot;
pub mod output;
pub mod peer;
mod pipe;
pub mod process;
pub mod prompt;
pub mod shell;
