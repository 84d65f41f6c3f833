//! The process table, read from `/proc`.

use std::collections::{HashMap, HashSet};
use std::fs;

/// One process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: i32,
    /// Its parent's id; 0 when the parent is outside this PID namespace.
    pub parent: i32,
    /// Its session's id.
    pub session: i32,
    /// The kernel's state letter: R, S, D, T, Z...
    pub state: char,
    /// When it started, in clock ticks since the machine did. With the id it names one process for good.
    pub started: u64,
}

impl Process {
    /// Whether it is the same process as `other`, which was seen before.
    pub fn is(&self, other: &Self) -> bool {
        (self.pid, self.started) == (other.pid, other.started)
    }

    /// Whether it has exited and only waits to be reaped.
    pub const fn is_zombie(&self) -> bool {
        matches!(self.state, 'Z' | 'X')
    }
}

/// Every process this one can see. Processes that end while the table is read are left out.
pub fn snapshot() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok()).filter_map(find).collect()
}

/// The process with this id, if there is one.
pub fn find(pid: i32) -> Option<Process> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// What is left of `known`, of what they started and of session `leader`, zombies left out.
pub fn family(leader: i32, known: &[Process]) -> Vec<Process> {
    family_in(&snapshot(), leader, known)
}

fn family_in(table: &[Process], leader: i32, known: &[Process]) -> Vec<Process> {
    let is_root = |process: &&Process| process.session == leader || known.iter().any(|other| process.is(other));
    let roots: Vec<i32> = table.iter().filter(is_root).map(|process| process.pid).collect();
    let mut pids: HashSet<i32> = roots.iter().flat_map(|&root| descendants_in(table, root)).collect();
    pids.extend(roots);
    table.iter().filter(|process| pids.contains(&process.pid) && !process.is_zombie()).cloned().collect()
}

/// The descendants of `root`, nearest first, zombies left out, `root` itself too.
pub fn descendants(root: i32) -> Vec<i32> {
    descendants_in(&snapshot(), root)
}

/// The same in a table that was read before.
pub fn descendants_in(table: &[Process], root: i32) -> Vec<i32> {
    let mut children: HashMap<i32, Vec<&Process>> = HashMap::new();
    for process in table {
        children.entry(process.parent).or_default().push(process);
    }
    let mut found = Vec::new();
    let mut seen = HashSet::from([root]);
    let mut next = vec![root];
    while let Some(parent) = next.pop() {
        for child in children.get(&parent).into_iter().flatten() {
            // A table read while processes come and go may hold a reused pid, and so a cycle.
            if seen.insert(child.pid) {
                next.push(child.pid);
                if !child.is_zombie() {
                    found.push(child.pid);
                }
            }
        }
    }
    found
}

/// Parses `/proc/PID/stat`. The name in parentheses may itself hold blanks and parentheses: the last one ends it.
fn parse_stat(stat: &str) -> Option<Process> {
    let (head, tail) = stat.rsplit_once(") ")?;
    let pid = head.split_once(" (")?.0.parse().ok()?;
    let mut fields = tail.split(' ');
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    let session = fields.nth(1)?.parse().ok()?;
    let started = fields.nth(15).and_then(|ticks| ticks.parse().ok()).unwrap_or(0);
    Some(Process { pid, parent, session, state, started })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: i32, parent: i32, state: char) -> Process {
        Process { pid, parent, session: 42, state, started: 0 }
    }

    #[test]
    fn a_family_outlives_its_head() {
        let member = |pid, parent, session, started| Process { session, started, ..process(pid, parent, 'S') };
        // 10 led the session and has ended; 12 left the session and is known; 13 is its child; 14 is somebody else now.
        let table = [member(11, 1, 10, 5), member(12, 1, 12, 5), member(13, 12, 13, 5), member(14, 1, 14, 9)];
        let known = [member(10, 1, 10, 4), member(12, 10, 12, 5), member(14, 10, 14, 5)];
        let found: Vec<i32> = family_in(&table, 10, &known).iter().map(|process| process.pid).collect();
        assert_eq!(found, [11, 12, 13]);
    }

    #[test]
    fn parses_a_name_that_looks_like_fields() {
        let parsed = parse_stat("42 (evil) S 1 (x) R 7 42 42 0 -1").unwrap();
        assert_eq!(parsed, process(42, 7, 'R'));
    }

    #[test]
    fn refuses_what_is_no_stat_line() {
        for line in ["", "1", "1 (a)", "x (a) S 1 1 1", "1 (a) S x 1 1", "1 (a) S 1"] {
            assert_eq!(parse_stat(line), None, "{line}");
        }
    }

    #[test]
    fn finds_the_whole_tree_and_nothing_beside_it() {
        let table =
            [process(1, 0, 'S'), process(2, 1, 'S'), process(3, 2, 'Z'), process(4, 3, 'S'), process(9, 8, 'S')];
        let mut found = descendants_in(&table, 1);
        found.sort_unstable();
        assert_eq!(found, [2, 4]);
    }

    #[test]
    fn survives_a_cycle() {
        let table = [process(2, 3, 'S'), process(3, 2, 'S')];
        assert_eq!(descendants_in(&table, 2), [3]);
    }

    #[test]
    fn sees_this_very_process() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(snapshot().iter().any(|process| process.pid == own && process.started > 0));
    }
}
