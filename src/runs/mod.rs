//! Runs: one prompt in one workspace, from the CLI's start to the end of everything it started.

pub mod one_shot;
pub mod output;
pub mod process;
pub mod prompt;
