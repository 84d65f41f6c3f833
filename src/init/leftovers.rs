//! Ending what belongs to a run, as root: a process of its own that PID 1 starts, so that PID 1 never waits for it.
//!
//! A run's processes carry its id in their environment, and are below its worker. We follow both, because a process can
//! escape either: a program may clear its environment, and a daemon's parent is PID 1. A daemon that did both is found by
//! its [`mark`]. One that changed its mark is a stray: of a run, no telling which, and not below a worker that lives, so it
//! ends with the next run that does. What belongs to root (`sudo`) is out of `serve`'s reach in any way.
//!
//! The kernel shows a process's environment to its own user, if that one has all of its capabilities, and to nobody
//! else without `CAP_SYS_PTRACE`. Docker gives root no such capability, so another user's processes are looked at as that
//! user. PID 1 itself gave most capabilities up; a program that it starts as root has them again.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{Gid, Uid, getegid, geteuid, setegid, seteuid};

use crate::config::name;
use crate::process::link::RunId;
use crate::process::mark;
use crate::process::table::{self, Process};
use crate::sys;

/// How long the processes of a run have between TERM and KILL.
pub const TERM_GRACE: Duration = Duration::from_millis(500);
/// How long the kernel has to end what was killed.
pub const KILL_GRACE: Duration = Duration::from_secs(1);
/// How often to poll for processes without a pidfd.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Stands for no process.
const NOBODY: i32 = 0;

/// Which processes are to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// PID 1, or the subreaper in its place. What is not below it is none of its business: `docker exec` starts runs that
    /// `serve` knows nothing of.
    pub supervisor: i32,
    /// `serve`, which stays; `None` if it has ended.
    pub serve: Option<i32>,
    /// The workers that PID 1 has started for `serve`.
    pub workers: Vec<i32>,
    /// The run; `None` stands for all of them.
    pub run: Option<RunId>,
    /// The run's worker, which stays. It counts only if it is a child of `serve` or one of `workers`.
    pub worker: Option<i32>,
}

impl Scope {
    /// As arguments of the role that ends them.
    pub fn arguments(&self) -> Vec<String> {
        let workers: Vec<String> = self.workers.iter().map(i32::to_string).collect();
        let workers = if workers.is_empty() { NOBODY.to_string() } else { workers.join(",") };
        let mut arguments = vec![self.supervisor.to_string(), self.serve.unwrap_or(NOBODY).to_string(), workers];
        arguments.extend(self.run.as_ref().map(RunId::to_string));
        arguments.extend(self.worker.filter(|_| self.run.is_some()).map(|pid| pid.to_string()));
        arguments
    }

    /// Reads such arguments; `None` if they are others.
    pub fn from_arguments(arguments: &[impl AsRef<OsStr>]) -> Option<Self> {
        let words: Option<Vec<&str>> = arguments.iter().map(|argument| argument.as_ref().to_str()).collect();
        let words = words?;
        let (supervisor, serve, workers, rest) = match words[..] {
            [supervisor, serve, workers, ref rest @ ..] if rest.len() <= 2 => (supervisor, serve, workers, rest),
            _ => return None,
        };
        Some(Self {
            supervisor: supervisor.parse().ok()?,
            serve: Some(serve.parse().ok()?).filter(|&serve| serve != NOBODY),
            workers: workers_of(workers)?,
            run: rest.first().map(|run| run.parse()).transpose().ok()?,
            worker: rest.get(1).map(|pid| pid.parse()).transpose().ok()?,
        })
    }
}

fn workers_of(words: &str) -> Option<Vec<i32>> {
    let pids: Result<Vec<i32>, _> = words.split(',').map(str::parse).collect();
    Some(pids.ok()?.into_iter().filter(|&pid| pid != NOBODY).collect())
}

/// Ends them, TERM first, and says how many there were.
pub fn end(scope: &Scope) -> io::Result<usize> {
    let mut met: HashSet<Name> = HashSet::new();
    for (signal, grace) in [(libc::SIGTERM, TERM_GRACE), (libc::SIGKILL, KILL_GRACE)] {
        let deadline = Instant::now() + grace;
        let mut sent: HashSet<Name> = HashSet::new();
        loop {
            // Looked for anew each time: they go on forking.
            let found = find(scope, &met)?;
            if found.is_empty() {
                return Ok(met.len());
            }
            if Instant::now() >= deadline {
                break;
            }
            for process in &found {
                met.insert(name_of(process));
                if sent.insert(name_of(process)) {
                    send(process, signal)?;
                }
            }
            await_an_end(&found, deadline)?;
        }
    }
    tracing::warn!("processes of a run are left that cannot be ended");
    Ok(met.len())
}

/// Waits until one of `processes` has ended. They are not this process's children, so no signal tells.
fn await_an_end(processes: &[Process], deadline: Instant) -> io::Result<()> {
    let ends: Vec<OwnedFd> = processes.iter().filter_map(|process| sys::process_descriptor(process.pid).ok()).collect();
    let mut fds: Vec<PollFd<'_>> = ends.iter().map(|end| PollFd::new(end.as_fd(), PollFlags::POLLIN)).collect();
    let left = deadline.saturating_duration_since(Instant::now());
    // One that has gone, or that a sandbox does not let this process watch, is looked for again soon.
    let left = if fds.len() == processes.len() { left } else { left.min(POLL_INTERVAL) };
    match poll(&mut fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// What names one process for good: its id and its start.
type Name = (i32, u64);

const fn name_of(process: &Process) -> Name {
    (process.pid, process.started)
}

fn find(scope: &Scope, met: &HashSet<Name>) -> io::Result<Vec<Process>> {
    let table = table::snapshot();
    let mut carriers = HashSet::new();
    // Without PID 1's help it is the machine that is looked at, where anybody may have lowered that limit.
    let is_alone = scope.serve == Some(std::process::id().cast_signed());
    let at_work: HashSet<i32> = scope
        .serve
        .into_iter()
        .flat_map(|serve| scope.workers.iter().copied().chain([serve]))
        .flat_map(|root| table::descendants_in(&table, root).into_iter().chain([root]))
        .collect();
    for pid in table::descendants_in(&table, scope.supervisor) {
        let is_stray = || !is_alone && !at_work.contains(&pid) && mark::is_lowered(pid, scope.supervisor);
        if is_stray() || mark::is_on(pid, scope.run.as_ref()) || carries(&environment(pid)?, scope.run.as_ref()) {
            carriers.insert(pid);
        }
    }
    // Those without the cookie were known by their parent, which may have ended meanwhile.
    carriers.extend(table.iter().filter(|process| met.contains(&name_of(process))).map(|process| process.pid));
    Ok(belonging(&table, scope, &carriers, std::process::id().cast_signed()))
}

/// The processes in `table` that are to end, when `carriers` are known to belong to the run and `own` is this process.
fn belonging(table: &[Process], scope: &Scope, carriers: &HashSet<i32>, own: i32) -> Vec<Process> {
    let is_worker = |process: &&Process| {
        let is_known = Some(process.parent) == scope.serve || scope.workers.contains(&process.pid);
        Some(process.pid) == scope.worker && is_known
    };
    let worker = scope.serve.and_then(|_| table.iter().find(is_worker)).map(|process| process.pid);
    let mut stay: HashSet<i32> = [own, scope.supervisor, 1].into_iter().collect();
    stay.extend(scope.serve.into_iter().chain(worker));
    let roots = carriers.iter().copied().filter(|pid| !stay.contains(pid));
    let mut pids: HashSet<i32> = roots.clone().collect();
    pids.extend(roots.chain(worker).flat_map(|root| table::descendants_in(table, root)));
    table
        .iter()
        .filter(|process| pids.contains(&process.pid) && !stay.contains(&process.pid) && !process.is_zombie())
        .cloned()
        .collect()
}

/// Whether an environment block holds the cookie of `run`, or that of any run.
fn carries(environment: &[u8], run: Option<&RunId>) -> bool {
    environment.split(|&byte| byte == 0).any(|variable| {
        let value = variable.strip_prefix(name::RUN_ID.as_bytes()).and_then(|rest| rest.strip_prefix(b"="));
        value.is_some_and(|value| run.is_none_or(|run| value == run.as_str().as_bytes()))
    })
}

/// A process's environment; empty where nobody may look, and of one that has ended.
fn environment(pid: i32) -> io::Result<Vec<u8>> {
    let path = format!("/proc/{pid}/environ");
    match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            as_user_of(pid, || fs::read(&path)).map(|read| read.and_then(Result::ok).unwrap_or_default())
        }
        read => Ok(read.unwrap_or_default()),
    }
}

fn send(process: &Process, signal: i32) -> io::Result<()> {
    // Another process may have got its id.
    if !table::find(process.pid).is_some_and(|now| now.is(process)) {
        return Ok(());
    }
    let signals = || [signal, libc::SIGCONT].into_iter().try_for_each(|signal| sys::kill(process.pid, signal));
    match signals() {
        // No CAP_KILL.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => as_user_of(process.pid, signals).map(drop),
        // It may have ended in this very moment.
        _ => Ok(()),
    }
}

/// Does `what` under the effective ids of the process `pid`; `None` if this process cannot, or it has ended.
///
/// The real user stays root, so nobody can touch this process meanwhile. An error means that it did not become root again.
fn as_user_of<T>(pid: i32, what: impl Fn() -> T) -> io::Result<Option<T>> {
    let Ok(owner) = fs::metadata(format!("/proc/{pid}")) else { return Ok(None) };
    let (own_user, own_group) = (geteuid(), getegid());
    if !own_user.is_root() || owner.uid() == 0 {
        return Ok(None);
    }
    let became = setegid(Gid::from_raw(owner.gid())).and_then(|()| seteuid(Uid::from_raw(owner.uid())));
    let done = became.ok().map(|()| what());
    seteuid(own_user)?;
    setegid(own_group)?;
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn process(pid: i32, parent: i32) -> Process {
        Process { pid, parent, session: pid, state: 'S', started: 1 }
    }

    /// 1 init, 5 serve, 6 its worker with the CLI 7 and the tool 8, 9 another worker with the CLI 10, 11 a daemon of 8,
    /// 12 its child, 13 a hook's daemon, 14 the sweeper, 20 a run of `docker exec` with the CLI 21.
    fn table() -> Vec<Process> {
        [
            (1, 0),
            (5, 1),
            (6, 5),
            (7, 6),
            (8, 7),
            (9, 5),
            (10, 9),
            (11, 1),
            (12, 11),
            (13, 1),
            (14, 1),
            (20, 0),
            (21, 20),
        ]
        .map(|(pid, parent)| process(pid, parent))
        .to_vec()
    }

    fn scope(serve: Option<i32>, workers: &[i32], run: Option<&str>) -> Scope {
        let run = run.map(|run| run.parse().unwrap());
        Scope { supervisor: 1, serve, workers: workers.to_vec(), run, worker: None }
    }

    #[test]
    fn a_worker_of_pid_1s_stays_and_what_is_below_it_ends() {
        let of_pid1 = Scope { worker: Some(13), ..scope(Some(5), &[13], None) };
        let table = [table(), vec![process(15, 13)]].concat();
        let found = belonging(&table, &of_pid1, &HashSet::new(), 14);
        assert_eq!(found.iter().map(|process| process.pid).collect::<Vec<_>>(), [15]);
    }

    #[rstest]
    #[case::carriers_and_what_is_below_them(Some(5), None, &[11], &[11, 12])]
    #[case::the_workers_tree(Some(5), Some(6), &[], &[7, 8])]
    #[case::both(Some(5), Some(6), &[7, 11], &[7, 8, 11, 12])]
    #[case::a_worker_that_carries_it_stays(Some(5), Some(6), &[6, 7], &[7, 8])]
    #[case::no_child_of_serve_is_no_worker(Some(5), Some(13), &[], &[])]
    #[case::a_grandchild_is_no_worker(Some(5), Some(7), &[], &[])]
    #[case::there_is_no_worker_without_serve(None, Some(6), &[], &[])]
    #[case::nobody_ends_serve_or_itself_or_pid_1(Some(5), None, &[1, 5, 14, 10], &[10])]
    #[case::after_serve_its_workers_too(None, None, &[6, 10], &[6, 7, 8, 10])]
    fn finds(
        #[case] serve: Option<i32>,
        #[case] worker: Option<i32>,
        #[case] carriers: &[i32],
        #[case] expected: &[i32],
    ) {
        let scope = Scope { supervisor: 1, serve, workers: vec![], run: None, worker };
        let found = belonging(&table(), &scope, &carriers.iter().copied().collect(), 14);
        let pids: Vec<i32> = found.iter().map(|process| process.pid).collect();
        assert_eq!(pids, expected);
    }

    #[rstest]
    #[case(&["1", "5", "0", "r1", "6"], Some(Scope { worker: Some(6), ..scope(Some(5), &[], Some("r1")) }))]
    #[case(&["1", "5", "6,9", "r1"], Some(scope(Some(5), &[6, 9], Some("r1"))))]
    #[case(&["1", "0", "0"], Some(scope(None, &[], None)))]
    #[case(&["1"], None)]
    #[case(&["1", "0"], None)]
    #[case(&["1", "x", "0"], None)]
    #[case(&["1", "5", "x"], None)]
    #[case(&["1", "5", "0", "a/b"], None)]
    #[case(&["1", "5", "0", "r1", "6", "7"], None)]
    fn a_scope_travels_as_arguments(#[case] arguments: &[&str], #[case] scope: Option<Scope>) {
        assert_eq!(Scope::from_arguments(arguments), scope);
        assert!(scope.is_none_or(|scope| scope.arguments() == arguments));
    }

    #[test]
    fn zombies_are_left_to_their_parents() {
        let mut table = table();
        table[7].state = 'Z';
        let scope = Scope { supervisor: 1, serve: Some(5), workers: vec![], run: None, worker: None };
        let found = belonging(&table, &scope, &HashSet::from([11]), 14);
        assert_eq!(found.iter().map(|process| process.pid).collect::<Vec<_>>(), [12]);
    }

    #[rstest]
    #[case(b"A=1\0CLAUDEBOX_RUN_ID=r1\0B=2\0", true, true)]
    #[case(b"CLAUDEBOX_RUN_ID=r1", true, true)]
    #[case(b"CLAUDEBOX_RUN_ID=r12\0", false, true)]
    #[case(b"X_CLAUDEBOX_RUN_ID=r1\0", false, false)]
    #[case(b"A=CLAUDEBOX_RUN_ID=r1\0", false, false)]
    #[case(b"", false, false)]
    fn the_cookie_is_one_whole_variable(#[case] environment: &[u8], #[case] of_run: bool, #[case] of_any: bool) {
        let run: RunId = "r1".parse().unwrap();
        assert_eq!(carries(environment, Some(&run)), of_run);
        assert_eq!(carries(environment, None), of_any);
    }
}
