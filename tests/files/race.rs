//! A folder that turns into a link to the outside and back, as fast as the kernel can, while it is used.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use claudebox::workspace::{ErrorKind, PathError, Precondition, Workspaces};
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

use crate::fixture::{Fixture, SECRET};

const ROUNDS: usize = 3000;

#[test]
fn a_folder_that_becomes_a_link_leads_nowhere() {
    let fixture = Fixture::new();
    let (folder, link) = (fixture.at("a/swapped"), fixture.at("a/swapping"));
    fs::create_dir(&folder).unwrap();
    symlink("../../workspaces-secret", &link).unwrap();
    let done = AtomicBool::new(false);
    let mut seen = BTreeSet::new();
    thread::scope(|scope| {
        scope.spawn(|| swap_until(&done, &folder, &link));
        // The swapping thread ends whatever happens here.
        let _stop = Stop(&done);
        let deadline = Instant::now() + Duration::from_mins(1);
        let mut rounds = 0;
        // Both have to have been met, or nothing was tried.
        while rounds < ROUNDS || !(seen.contains("ok") && seen.contains("path_outside")) {
            assert!(Instant::now() < deadline, "after {rounds} rounds only {seen:?}");
            seen.extend(one_round(&fixture.workspaces));
            rounds += 1;
        }
    });
    fixture.assert_untouched("the race");
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn swap_until(done: &AtomicBool, folder: &Path, link: &Path) {
    while !done.load(Ordering::Relaxed) {
        renameat2(AT_FDCWD, folder, AT_FDCWD, link, RenameFlags::RENAME_EXCHANGE).unwrap();
    }
}

/// Every operation once, on the names that are outside as well.
fn one_round(workspaces: &Workspaces) -> Vec<&'static str> {
    let path = |path: &str| workspaces.client_path(path.as_bytes()).unwrap();
    let condition = Precondition::default();
    let write = |target: &str| {
        let mut upload = workspaces.begin_write(&path(target))?;
        upload.write(b"inside")?;
        upload.commit(&condition)
    };
    let read = || {
        let (mut file, _) = workspaces.open_read(&path("a/swapped/canary.txt"))?;
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_ne!(text, SECRET);
        Ok(())
    };
    let place =
        |name: &str| workspaces.create(name).map(|workspace| assert!(workspace.path.starts_with(workspaces.root())));
    vec![
        code(write("a/swapped/canary.txt")),
        code(read()),
        code(write("a/swapped/new/er.txt")),
        code(place("a/swapped/x/y")),
        code(workspaces.resolve("a/swapped").map(|found| assert!(found.path.starts_with(workspaces.root())))),
        code(workspaces.list(&path("a/swapped"), None, 10)),
        code(workspaces.delete(&path("a/swapped/x"), true, &condition)),
        code(workspaces.delete(&path("a/swapped/new"), true, &condition)),
        code(workspaces.delete(&path("a/swapped/canary.txt"), false, &condition)),
    ]
}

fn code<T>(result: Result<T, PathError>) -> &'static str {
    match result {
        Ok(_) => "ok",
        Err(error) => {
            assert_ne!(error.kind(), ErrorKind::Fault, "{error}");
            error.code()
        }
    }
}
