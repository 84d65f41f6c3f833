//! PID 1: one main child, every orphan reaped, signals forwarded, a bounded shutdown.
//!
//! The decisions are [`machine`], a pure state machine; [`supervise`] feeds it and carries its actions out. No runtime,
//! no network and no output of Claude in this process. With servers the child is `serve`, which is started again when it
//! ends: [`service`] decides and [`serving`] carries out. Where it is not PID 1 (`docker run --init`, `docker exec`, a
//! shell) it becomes a child subreaper and does the same for its own descendants.

pub mod broker;
pub mod hooks;
mod installer;
pub mod leftovers;
pub mod machine;
mod plan;
pub mod pulse;
pub mod restart;
pub mod service;
pub mod serving;
mod sidecar;
pub mod start;
pub mod supervise;
pub mod tty;
