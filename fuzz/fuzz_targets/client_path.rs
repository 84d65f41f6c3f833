//! Any bytes as a path: nothing outside the workspaces folder is reached, and nothing is a fault of the system's.
//!
//! Only what reads is fuzzed: a door that leaked here could destroy the machine it is fuzzed on.
//!
//! `scripts/fuzz` builds and runs it; `cargo +nightly fuzz run client_path` works too.

#![no_main]

use std::fs;
use std::io::Read;
use std::os::unix::fs::symlink;
use std::sync::LazyLock;

use claudebox::workspace::{ClientPath, ErrorKind, PathError, Workspaces};
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

static PLACE: LazyLock<(TempDir, Workspaces)> = LazyLock::new(place);

fuzz_target!(|given: &[u8]| {
    let (_, workspaces) = &*PLACE;
    if let Ok(path) = ClientPath::from_bytes(given) {
        assert!(path.as_path().is_relative() && !path.as_path().iter().any(|name| name == ".."), "{path:?}");
    }
    let Ok(path) = workspaces.client_path(given) else { return };
    match workspaces.open_read(&path) {
        Ok((mut file, _)) => {
            let mut text = String::new();
            let read = file.read_to_string(&mut text);
            assert!(read.is_ok() && text == "inside", "{path:?} read {text:?}");
        }
        Err(error) => harmless(&error),
    }
    if let Err(error) = workspaces.list(&path, None, 10) {
        harmless(&error);
    }
    let Ok(name) = std::str::from_utf8(given) else { return };
    match workspaces.resolve(name) {
        Ok(workspace) => assert!(workspace.path.starts_with(workspaces.root()), "{workspace:?}"),
        Err(error) => harmless(&error),
    }
});

fn harmless(error: &PathError) {
    assert_ne!(error.kind(), ErrorKind::Fault, "{error}");
}

/// A folder of links, those that stay inside and those that do not, and a secret beside it.
fn place() -> (TempDir, Workspaces) {
    let top = tempfile::tempdir().expect("a temporary folder");
    let root = top.path().join("w");
    fs::create_dir_all(root.join("a/b")).expect("the workspaces folder");
    fs::create_dir_all(top.path().join("w-secret")).expect("the folder outside");
    fs::write(top.path().join("w-secret/f"), "secret").expect("the secret");
    fs::write(root.join("a/f"), "inside").expect("a file inside");
    let links = [
        ("u", ".."),
        ("o", "../../w-secret"),
        ("m", "/proc/self/root"),
        ("l", "l"),
        ("n", "f"),
        ("d", "x"),
        ("t", "o"),
    ];
    for (name, target) in links {
        symlink(target, root.join("a").join(name)).expect("a link");
    }
    let workspaces = Workspaces::open(&root).expect("the workspaces folder opens");
    (top, workspaces)
}
