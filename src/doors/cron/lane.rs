//! What is going on in one job: at most one tick is carried out at a time, others wait or are left out.

use std::collections::VecDeque;

use tokio_util::sync::CancellationToken;

use super::file::OnOverlap;
use super::tick::Tick;

/// Most ticks of a job that wait; a job that never catches up must not fill the ledger.
pub const MOST_WAITING: usize = 100;

/// One job's ticks that are not over.
#[derive(Debug, Default)]
pub struct Lane {
    /// Cancelled: the tick that is carried out is to give up its place.
    pub give_up: CancellationToken,
    /// Those after it.
    pub waiting: VecDeque<Tick>,
}

/// What becomes of a new tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It is carried out: nothing else is.
    Start,
    /// It waits for its turn.
    Wait,
    /// It takes the place of everything before it.
    Replace,
    /// It is left out: the job is still busy with an earlier one.
    LeaveOut,
    /// It is left out: too many wait.
    Full,
}

/// Decides about a new tick of a job; `lane`: what is going on in it.
#[must_use]
pub fn admit(lane: Option<&Lane>, on_overlap: OnOverlap) -> Admission {
    match (lane, on_overlap) {
        (None, _) => Admission::Start,
        (Some(_), OnOverlap::Skip) => Admission::LeaveOut,
        (Some(_), OnOverlap::Replace) => Admission::Replace,
        (Some(lane), OnOverlap::Queue) if lane.waiting.len() >= MOST_WAITING => Admission::Full,
        (Some(_), OnOverlap::Queue) => Admission::Wait,
    }
}
