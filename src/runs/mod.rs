//! The run engine: accepts runs, lets one at a time work in each workspace, keeps what they say, and never loses one.

pub mod ledger;
pub mod run;
pub mod schedule;
