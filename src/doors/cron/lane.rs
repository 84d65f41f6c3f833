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
pub enum TickAdmission {
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
pub fn admit(lane: Option<&Lane>, on_overlap: OnOverlap) -> TickAdmission {
    match (lane, on_overlap) {
        (None, _) => TickAdmission::Start,
        (Some(_), OnOverlap::Skip) => TickAdmission::LeaveOut,
        (Some(_), OnOverlap::Replace) => TickAdmission::Replace,
        (Some(lane), OnOverlap::Queue) if lane.waiting.len() >= MOST_WAITING => TickAdmission::Full,
        (Some(_), OnOverlap::Queue) => TickAdmission::Wait,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doors::cron::file;
    use chrono::{DateTime, Utc};
    use chrono_tz::Tz;
    use rstest::rstest;

    fn lane(waiting: usize) -> Lane {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cron.yaml");
        std::fs::write(&path, "jobs: [{name: j, schedule: '* * * * *', instruction: x}]").unwrap();
        let job = file::read(&path, Tz::UTC).unwrap().remove(0);
        let tick = Tick::new(&job, DateTime::<Utc>::UNIX_EPOCH, DateTime::<Utc>::UNIX_EPOCH);
        Lane { waiting: std::iter::repeat_n(tick, waiting).collect(), ..Lane::default() }
    }

    #[rstest]
    #[case(None, OnOverlap::Skip, TickAdmission::Start)]
    #[case(None, OnOverlap::Queue, TickAdmission::Start)]
    #[case(None, OnOverlap::Replace, TickAdmission::Start)]
    #[case(Some(0), OnOverlap::Skip, TickAdmission::LeaveOut)]
    #[case(Some(0), OnOverlap::Queue, TickAdmission::Wait)]
    #[case(Some(0), OnOverlap::Replace, TickAdmission::Replace)]
    #[case(Some(MOST_WAITING - 1), OnOverlap::Queue, TickAdmission::Wait)]
    #[case(Some(MOST_WAITING), OnOverlap::Queue, TickAdmission::Full)]
    #[case(Some(MOST_WAITING), OnOverlap::Replace, TickAdmission::Replace)]
    fn a_busy_job_does_what_its_file_says(
        #[case] waiting: Option<usize>,
        #[case] on_overlap: OnOverlap,
        #[case] expected: TickAdmission,
    ) {
        assert_eq!(admit(waiting.map(lane).as_ref(), on_overlap), expected);
    }
}
