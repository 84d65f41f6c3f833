//! Processes as PID 1 and a run's supervisor see them: reaping, signals, the process table, ending a tree.
//!
//! Synchronous and single-threaded on purpose: a `waitpid(-1)` reaper next to an async runtime takes the statuses the
//! runtime is waiting for. Nothing in here is used from a tokio process.

pub mod events;
pub mod reaper;
pub mod spawn;
pub mod status;
pub mod table;
