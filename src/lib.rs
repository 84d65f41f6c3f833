//! claudebox: PID 1 of a container that runs Claude Code for people and programs.
//!
//! ARCHITECTURE.md has the bird's-eye view; each module says what it is for.

// `eprintln!` panics where standard error cannot be written, on a full disk for one. The log does not.
#![warn(clippy::print_stderr)]

pub mod atomic_file;
pub mod backoff;
pub mod boot;
pub mod broker;
pub mod claude;
pub mod cli;
pub mod config;
pub mod desk;
pub mod doors;
pub mod exit_code;
pub mod fetch;
pub mod init;
pub mod install;
pub mod json_file;
pub mod json_text;
pub mod manifest;
pub mod offline_model;
pub mod plain_file;
pub mod policy;
pub mod privilege;
pub mod process;
pub mod runs;
pub mod store;
pub mod sys;
pub mod turn;
pub mod worker;
pub mod workspace;
