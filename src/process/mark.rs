//! A mark that every process of a run carries and cannot wash off.
//!
//! A run's processes are found by their parent and by their environment. A daemon has neither once it has cleared its
//! environment and its parent, the run's worker, has been killed. So the worker also marks itself, and everything it
//! starts inherits that: with the resource limit for file locks. The kernel keeps that limit and has not looked at it
//! since Linux 2.4; everybody may read it in `/proc`, without the rights that an environment takes; and nobody can put
//! a lowered one up again but root, who has no reason to. A process can lower it further (`ulimit -x 0`), and then it is
//! no run's mark any more; but no process of the box outside of runs has a lower limit than PID 1 ([`is_lowered`]).

use std::fs;
use std::io;

use nix::sys::resource::{Resource, setrlimit};

use super::link::RunId;

/// Top bits of every mark, so that a limit somebody has set is not taken for one.
const KIND: u64 = 0x636c << 48;
const OF_RUN: u64 = (1 << 48) - 1;
const LINE: &str = "Max file locks";

/// Marks this process, and so everything that it starts from now on.
pub fn put(run: &RunId) -> io::Result<()> {
    let mark = of(run);
    setrlimit(Resource::RLIMIT_LOCKS, mark, mark).map_err(Into::into)
}

/// Whether the process `pid` has the mark of `run`, or that of any run.
pub fn is_on(pid: i32, run: Option<&RunId>) -> bool {
    limit(pid).is_some_and(|limit| run.map_or(limit & !OF_RUN == KIND, |run| limit == of(run)))
}

/// Whether the process `pid` has a lower limit than `supervisor`: it belongs to a run, or did before that mark was changed.
pub fn is_lowered(pid: i32, supervisor: i32) -> bool {
    limit(pid).is_some_and(|its| limit(supervisor).is_none_or(|own| its < own))
}

/// The hard limit of the process `pid`; `None` if it has none, or has ended.
fn limit(pid: i32) -> Option<u64> {
    parse(&fs::read_to_string(format!("/proc/{pid}/limits")).unwrap_or_default())
}

/// FNV-1a: the ids are random enough, and nobody gains by two runs of the same mark.
fn of(run: &RunId) -> u64 {
    let hash = run
        .as_str()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    KIND | (hash & OF_RUN)
}

/// The hard limit for file locks; `None` if there is none.
fn parse(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix(LINE))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("Max pending signals  94 94 signals\nMax file locks            77   5         locks     \n", Some(5))]
    #[case("Max file locks            unlimited            unlimited            locks     \n", None)]
    #[case("", None)]
    fn the_hard_limit_is_read(#[case] limits: &str, #[case] expected: Option<u64>) {
        assert_eq!(parse(limits), expected);
    }

    #[test]
    fn each_run_has_a_mark_of_its_own_kind() {
        let marks = ["0198-a", "0198-b"].map(|run| of(&run.parse().unwrap()));
        assert_ne!(marks[0], marks[1]);
        assert!(marks.iter().all(|mark| mark & !OF_RUN == KIND && *mark < u64::MAX >> 1));
    }

    #[test]
    fn who_has_none_is_of_no_run() {
        let own = std::process::id().cast_signed();
        assert!(!is_on(own, None) && !is_on(own, Some(&"r1".parse().unwrap())));
    }
}
