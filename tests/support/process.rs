//! The processes of a box, as seen from outside of it.

use std::fs;

use claudebox::process::mark;

/// One process of a box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    /// Its id outside the box.
    pub(crate) pid: i32,
    /// Its parent's id outside the box.
    pub(crate) parent: i32,
    /// Its id in the box.
    pub(crate) inner: i32,
    /// The kernel's state letter.
    pub(crate) state: char,
    /// Its name, cut to 15 bytes.
    pub(crate) name: String,
}

impl Process {
    fn read(pid: i32) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = |label: &str| Some(status.lines().find_map(|line| line.strip_prefix(label))?.trim().to_owned());
        Some(Self {
            pid,
            parent: line("PPid:")?.parse().ok()?,
            inner: line("NSpid:")?.split_whitespace().last()?.parse().ok()?,
            state: line("State:")?.chars().next()?,
            name: line("Name:")?,
        })
    }

    /// Its command line; empty once it has ended.
    pub(crate) fn command(&self) -> Vec<String> {
        let line = fs::read_to_string(format!("/proc/{}/cmdline", self.pid)).unwrap_or_default();
        line.split_terminator('\0').map(str::to_owned).collect()
    }

    /// Whether it is the worker of a run, or the one that waits for the next run.
    pub(crate) fn is_worker(&self) -> bool {
        self.command().last().is_some_and(|role| role == "turn")
    }

    /// Whether it belongs to a run.
    pub(crate) fn is_marked(&self) -> bool {
        mark::is_on(self.pid, None)
    }

    /// A number out of its status file.
    pub(crate) fn status(&self, label: &str) -> String {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap();
        let value = status.lines().find_map(|line| line.strip_prefix(label)?.strip_prefix(':'));
        value.unwrap().trim().to_owned()
    }
}

/// The processes of PID namespace that `pid1` is PID 1 of, by their ids in it.
pub(crate) fn in_namespace_of(pid1: i32) -> Vec<Process> {
    let namespace = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let Some(own) = namespace(pid1) else { return Vec::new() };
    let mut found: Vec<Process> = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|&pid| namespace(pid).as_ref() == Some(&own))
        .filter_map(Process::read)
        .collect();
    found.sort_unstable_by_key(|process| process.inner);
    found
}

/// How many of them have ended and were not reaped.
pub(crate) fn zombies(processes: &[Process]) -> usize {
    processes.iter().filter(|process| process.state == 'Z').count()
}
