//! The files door on its router, without a network: what HTTP promises, and what nobody gets out of it.

#![expect(clippy::unwrap_used, reason = "a step that fails is the test's failure")]

mod delete;
mod fixture;
mod hostile;
mod mcp;
mod race;
mod read;
mod write;
