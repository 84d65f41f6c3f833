//! How much memory a run takes, and whether the kernel has ended something for taking too much.

use std::fs;
use std::time::{Duration, Instant};

use crate::process::table;

/// What happened to the box's control group (cgroup v2), as it sees itself.
const EVENTS: &str = "/sys/fs/cgroup/memory.events";
/// How often a run with a limit is looked at.
const INTERVAL: Duration = Duration::from_millis(250);

/// Looks after the memory of everything below this process.
#[derive(Debug)]
pub(super) struct Watch {
    /// Most of it, bytes.
    limit: Option<u64>,
    next: Option<Instant>,
    /// Kills by the kernel before the run, if they are counted.
    kills: Option<u64>,
}

impl Watch {
    /// `limit`: most that all processes of the run may take together, bytes.
    pub(super) fn start(limit: Option<u64>) -> Self {
        let next = limit.map(|_| Instant::now() + INTERVAL);
        Self { limit, next, kills: kills() }
    }

    /// When to look again.
    pub(super) const fn due(&self) -> Option<Instant> {
        self.next
    }

    /// Whether the run takes more than it may, looked at if it is time for that.
    pub(super) fn is_over(&mut self, now: Instant) -> bool {
        let (Some(limit), true) = (self.limit, self.next.is_some_and(|next| next <= now)) else { return false };
        self.next = Some(now + INTERVAL);
        resident(std::process::id().cast_signed()) > limit
    }

    /// Whether the kernel has ended a process of the box since the start, because memory ran out.
    pub(super) fn saw_a_kill(&self) -> bool {
        self.kills.zip(kills()).is_some_and(|(before, now)| now > before)
    }
}

/// Memory of all processes below `root`, bytes. What they share counts for each.
fn resident(root: i32) -> u64 {
    let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten().unwrap_or(4096);
    let pages = |pid: i32| -> Option<u64> {
        let statm = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
        statm.split(' ').nth(1)?.parse().ok()
    };
    let total: u64 = table::descendants(root).into_iter().filter_map(pages).sum();
    total.saturating_mul(page.unsigned_abs())
}

fn kills() -> Option<u64> {
    kills_in(&fs::read_to_string(EVENTS).ok()?)
}

fn kills_in(events: &str) -> Option<u64> {
    events.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_are_read_from_what_the_kernel_counts() {
        let events = "low 0\nhigh 3\nmax 12\noom 2\noom_kill 5\noom_group_kill 0\n";
        assert_eq!(kills_in(events), Some(5));
        assert_eq!(kills_in("oom 2\n"), None);
    }

    #[test]
    fn a_run_without_a_limit_is_never_looked_at() {
        let mut watch = Watch::start(None);
        assert_eq!((watch.due(), watch.is_over(Instant::now() + INTERVAL)), (None, false));
    }
}
