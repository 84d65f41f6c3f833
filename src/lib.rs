//! claudebox: PID 1 of a container that runs Claude Code for people and programs.
//!
//! ARCHITECTURE.md has the bird's-eye view; each module says what it is for.

pub mod offline_model;
