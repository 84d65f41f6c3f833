//! Processes as PID 1 and a run's supervisor see them: reaping, signals, the process table, ending a tree.
//!
//! Synchronous and single-threaded on purpose: a `waitpid(-1)` reaper next to an async runtime takes the statuses the
//! runtime is waiting for. From a tokio process only [`link`] is used, which belongs to no runtime either.

pub mod events;
pub mod link;
pub mod mark;
pub mod reaper;
pub mod spawn;
pub mod status;
pub mod table;
