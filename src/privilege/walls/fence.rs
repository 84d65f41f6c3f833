//! What a fence lets through: decided before anything is changed, looked up in the file system where it is put up.
//!
//! Landlock knows permissions alone, each for a folder and all below it. So "everything but this folder" is said by naming all
//! that stands beside it, on every step of the way down to it.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Devices that programs cannot do without.
const DEVICES: [&str; 9] = [
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
    "/dev/tty",
    "/dev/console",
    "/dev/ptmx",
    "/dev/pts",
];
/// Where shared memory and semaphores are. Nothing in it outlives the box.
const SHARED_MEMORY: &str = "/dev/shm";
/// Ports that what is tried out in a box may listen on, where a port of the box's own is to be kept free of them. Each is a rule,
/// and all of them would take longer than the start of a run. 0: one that the kernel chooses.
const LISTENING: [(u16, u16); 10] = [
    (0, 0),
    (1234, 1234),
    (3000, 3999),
    (4000, 4000),
    (4173, 4200),
    (4321, 4321),
    (5000, 5999),
    (6006, 6006),
    (8000, 8999),
    (9000, 9099),
];

/// A fence around one child.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fence {
    /// What it may change: folders with all in them, or files. Links are not followed.
    pub write: Vec<PathBuf>,
    /// What it does not see, apart from what is [shown](Self::shown) or may be written.
    pub hidden: Vec<PathBuf>,
    /// What it sees all the same.
    pub shown: Vec<PathBuf>,
    /// Ports of the box's own, which it may not listen on.
    pub closed_ports: Vec<u16>,
    /// The only ports that it may connect to; `None`: any.
    pub connect_ports: Option<Vec<u16>>,
}

/// What the kernel is told of a fence.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// What may be read and run.
    pub read: Vec<PathBuf>,
    /// What may be changed, too.
    pub write: Vec<PathBuf>,
    /// The only ports that may be listened on; `None`: any.
    pub listen: Option<Vec<u16>>,
    /// The only ports that may be connected to; `None`: any.
    pub connect: Option<Vec<u16>>,
}

impl Fence {
    /// The rules in this file system, as it is now.
    pub fn rules(&self) -> Rules {
        let mut read = Vec::new();
        let hidden: Vec<&Path> = self.hidden.iter().map(PathBuf::as_path).collect();
        let shown: Vec<&Path> = self.shown.iter().chain(&self.write).map(PathBuf::as_path).collect();
        see(Path::new("/"), false, &hidden, &shown, &mut read);
        let devices = DEVICES.into_iter().chain([SHARED_MEMORY]).map(PathBuf::from);
        let write = self.write.iter().cloned().chain(devices).collect();
        Rules { read, write, listen: listening(&self.closed_ports), connect: self.connect_ports.clone() }
    }
}

/// Collects what is to be seen at and below `path`; `in_hidden`: only what is shown.
fn see(path: &Path, in_hidden: bool, hidden: &[&Path], shown: &[&Path], seen: &mut Vec<PathBuf>) {
    let closed = !shown.contains(&path) && (in_hidden || hidden.contains(&path));
    let below = |all: &[&Path]| all.iter().any(|one| *one != path && one.starts_with(path));
    if !closed && !below(hidden) {
        seen.push(path.to_owned());
    } else if closed {
        // Whoever may not list a folder can still name what is in it.
        let next: std::collections::BTreeSet<PathBuf> = shown.iter().filter_map(|one| step(path, one)).collect();
        for next in &next {
            see(next, true, hidden, shown, seen);
        }
    } else {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        for entry in entries {
            see(&entry.path(), false, hidden, shown, seen);
        }
    }
}

/// The next step from `path` towards `aim`, which is below it.
fn step(path: &Path, aim: &Path) -> Option<PathBuf> {
    aim.strip_prefix(path).ok()?.components().next().map(|name| path.join(name))
}

/// What is left of [`LISTENING`] without these ports; `None` if there are none.
fn listening(closed: &[u16]) -> Option<Vec<u16>> {
    let open = |port: &u16| !closed.contains(port);
    (!closed.is_empty()).then(|| LISTENING.into_iter().flat_map(|(first, last)| first..=last).filter(open).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    /// `/`, `*` in a case, is the folder of the test.
    fn seen(made: &[&str], hidden: &[&str], shown: &[&str]) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for path in made {
            match path.strip_suffix('/') {
                Some(path) => fs::create_dir_all(root.join(path)).unwrap(),
                None => fs::write(root.join(path), "").unwrap(),
            }
        }
        let paths = |names: &[&str]| names.iter().map(|name| root.join(name)).collect::<Vec<_>>();
        let (hidden, shown) = (paths(hidden), paths(shown));
        let refs = |paths: &'static [PathBuf]| paths.iter().map(PathBuf::as_path).collect::<Vec<_>>();
        let (hidden, shown) = (refs(hidden.leak()), refs(shown.leak()));
        let mut seen = Vec::new();
        see(root, false, &hidden, &shown, &mut seen);
        let mut names: Vec<String> =
            seen.iter().map(|path| path.strip_prefix(root).unwrap().display().to_string()).collect();
        names.sort();
        names
    }

    const BOX: &[&str] = &["etc/", "etc/policy/", "etc/passwd", "w/", "w/a/", "w/a/in/", "w/b/", "w/note", "usr/"];

    #[rstest]
    #[case::nothing_hidden(&[], &[], &[""])]
    #[case::not_there(&["x"], &[], &["etc", "usr", "w"])]
    #[case::policy(&["etc/policy"], &[], &["etc/passwd", "usr", "w"])]
    #[case::neighbours(&["w"], &["w/a"], &["etc", "usr", "w/a"])]
    #[case::deep(&["w"], &["w/a/in"], &["etc", "usr", "w/a/in"])]
    #[case::all_of_it(&["w"], &["w"], &["etc", "usr", "w"])]
    #[case::hidden_again(&["w", "w/a/in"], &["w/a"], &["etc", "usr"])]
    #[case::two(&["w", "etc/policy"], &["w/b", "w/a"], &["etc/passwd", "usr", "w/a", "w/b"])]
    fn what_is_seen_stands_beside_what_is_hidden(
        #[case] hidden: &[&str],
        #[case] shown: &[&str],
        #[case] expected: &[&str],
    ) {
        assert_eq!(seen(BOX, hidden, shown), expected);
    }

    #[test]
    fn ports_of_the_box_are_not_listened_on() {
        assert_eq!(listening(&[]), None);
        let ports = listening(&[8080, 3000]).unwrap();
        assert!(!ports.contains(&8080) && !ports.contains(&3000));
        assert!([0, 3001, 5173, 8000, 8081].iter().all(|port| ports.contains(port)));
    }

    #[test]
    fn what_may_be_written_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(folder.path()).unwrap();
        fs::create_dir_all(root.join("w/a")).unwrap();
        let fence = Fence { write: vec![root.join("w/a")], hidden: vec![root.join("w")], ..Fence::default() };
        let rules = fence.rules();
        assert!(rules.read.contains(&root.join("w/a")) && rules.write.contains(&root.join("w/a")));
        assert!(rules.read.contains(&"/usr".into()) && !rules.read.iter().any(|path| root.starts_with(path)));
        assert_eq!((rules.listen, rules.connect), (None, None));
    }
}
