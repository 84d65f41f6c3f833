//! `claudebox broker` from outside: a scripted API on loopback, runs' sockets, the way out.
//!
//! Needs no network but loopback: `unshare --net -- sh -c 'ip link set lo up && exec "$@"' sh cargo nextest run --test broker`.

#![expect(clippy::unwrap_used, reason = "a step that fails is the test's failure")]

mod api;
mod budgets;
mod egress;
mod figures;
mod lifetimes;
mod requests;
mod stand;
