//! The run engine: accepts runs, lets one at a time work in each workspace, keeps what they say, and never loses one.

pub mod budget;
pub mod child;
mod cost;
pub mod deliver;
pub mod engine;
pub mod events;
mod live;
pub mod log;
pub mod metrics;
mod patience;
pub mod recover;
pub mod schedule;
mod session;
mod shared;
pub mod shell;
pub mod submission;
mod table;
mod turn;
pub mod webhook;
