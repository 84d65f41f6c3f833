//! Where the doors find what is kept of a run, until they name `store::record` themselves.

pub use super::submission::{Busy, NewRun, Origin};
pub use crate::store::record::{Cancel, DoorName, End, Request, Requester, Run, State, Terms, now};
