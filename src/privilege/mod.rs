//! Dropping from root to the user Claude runs as.
//!
//! It happens in a fresh, single-threaded process between `fork` and the real program ([`helper`]), never in
//! `pre_exec`: `Command::uid` and `gid` wipe the supplementary groups (the docker socket's among them), a `pre_exec`
//! hook runs after `setuid`, when the bounding set can no longer be changed, and nothing it does can be checked
//! afterwards. [`plan`] says what to do and in which order, [`apply`] does it and then proves it.

pub mod apply;
pub mod exec;
pub mod files;
pub mod helper;
pub mod keep;
pub mod plan;
pub mod walls;
