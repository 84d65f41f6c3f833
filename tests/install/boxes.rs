//! Boxes without a CLI: the first start installs it, and no start runs one that was changed.

use std::fs;
use std::sync::Arc;

use claudebox::claude::store::CliStore;

use crate::registry::{Gate, Manner, PINNED, Package, Registry, assert_holds};
use crate::support::{Launch, TestBox};

/// A box whose CLI comes from the store, and that from `url`.
pub(crate) fn of_store<'testbox>(
    testbox: &'testbox TestBox,
    args: &[&str],
    package: &Package,
    url: &str,
) -> Launch<'testbox> {
    let launch = testbox.claudebox(args).env("CLAUDEBOX_CLAUDE_BIN", "").env("CLAUDEBOX_NPM_REGISTRY", url);
    launch.env("CLAUDEBOX_TEST_PINS", &package.pins_of_box())
}

/// The box's store, as the test sees it.
pub(crate) fn store(testbox: &TestBox, package: &Package) -> CliStore {
    CliStore::new(&testbox.path("var/lib/claudebox/cli"), package.pins())
}

const AUTH: [&str; 3] = ["init", "--", "auth"];
/// Nobody is there.
const NOWHERE: &str = "http://127.0.0.1:1";

#[test]
fn the_first_start_installs_it_and_the_second_asks_nobody() {
    let Some(testbox) = TestBox::new() else { return };
    let package = Package::of("echo \"the CLI has $*\"; id -u");
    let registry = Registry::new(&package, Manner::Good);
    let finished = of_store(&testbox, &AUTH, &package, &registry.url).shared_network().start().finish().exits(0);
    assert_eq!(finished.out, "the CLI has auth\n1000\n");
    assert!(finished.err.contains("claudebox: the Claude CLI 1.2.3 is installed in "), "{}", finished.err);
    assert_holds(&store(&testbox, &package), &[PINNED]);
    // In a network of its own, where nobody is.
    let finished = of_store(&testbox, &AUTH, &package, &registry.url).start().finish().exits(0);
    assert_eq!((finished.out.as_str(), finished.err.as_str()), ("the CLI has auth\n1000\n", ""));
    assert_eq!(registry.asked(), 1);
}

/// What the box's user is told of the network is how the CLI is fetched too.
#[test]
fn a_forwarded_registry_and_proxy_count() {
    let Some(testbox) = TestBox::new() else { return };
    let package = Package::of("echo hello");
    let registry = Registry::new(&package, Manner::Good);
    for args in [&AUTH[..], &["cli", "install"], &["run", "hello"]] {
        let launch = of_store(&testbox, args, &package, "").env("CLAUDEBOX_ENV_NPM_CONFIG_REGISTRY", &registry.url);
        // A proxy that is not there, and is not needed for this address.
        let launch = launch.env("CLAUDEBOX_ENV_http_proxy", NOWHERE).env("CLAUDE_ENV_no_proxy", "127.0.0.1");
        launch.shared_network().start().finish();
        assert_holds(&store(&testbox, &package), &[PINNED]);
        fs::remove_dir_all(testbox.path("var/lib")).unwrap();
    }
    assert_eq!(registry.fetched(), 3);
}

#[test]
fn a_start_that_cannot_have_it_says_why_and_ends_with_69() {
    let Some(testbox) = TestBox::new() else { return };
    let package = Package::of("echo hello");
    let finished = of_store(&testbox, &AUTH, &package, NOWHERE).start().finish().exits(69);
    assert_eq!(finished.out, "");
    let last = finished.err.lines().last().unwrap();
    let expected = "claudebox: the Claude CLI 1.2.3 cannot be installed: http://127.0.0.1:1 cannot be reached (";
    assert!(last.starts_with(expected), "{}", finished.err);
    assert_eq!(finished.err.matches("cannot be installed").count(), 1, "{}", finished.err);
    assert_holds(&store(&testbox, &package), &[]);
}

#[test]
fn one_that_was_changed_is_never_run() {
    let Some(testbox) = TestBox::new() else { return };
    let package = Package::of("echo hello");
    let registry = Registry::new(&package, Manner::Good);
    let start = |url: &str| of_store(&testbox, &AUTH, &package, url).shared_network().start().finish();
    start(&registry.url).exits(0);
    let store = store(&testbox, &package);
    let change = || fs::write(store.executable(&store.current()), "#!/bin/sh\necho evil\n").unwrap();
    change();
    let finished = start(&registry.url).exits(0);
    assert_eq!(finished.out, "hello\n");
    assert!(finished.err.contains("is not what was installed: its checksum is "), "{}", finished.err);
    assert_holds(&store, &[PINNED]);
    change();
    let finished = start(NOWHERE).exits(69);
    assert!(!finished.out.contains("evil"), "{}", finished.out);
}

#[test]
fn a_full_disk_and_one_that_cannot_be_written_to_are_named() {
    let Some(testbox) = TestBox::new() else { return };
    let package = Package::of("echo hello");
    let registry = Registry::new(&package, Manner::Good);
    for (options, what) in [("size=64k", "the disk of /mnt is full: make room"), ("ro", "/mnt cannot be written to (")]
    {
        let launch = of_store(&testbox, &AUTH, &package, &registry.url).env("CLAUDEBOX_CLI_DIR", "/mnt");
        let launch = launch.before(&format!("mount -t tmpfs -o {options} tmpfs /mnt")).shared_network();
        // What is left is seen by who ends the box.
        let launch =
            launch.tail("\"$@\"; code=$?; echo \"left: $(find /mnt -name '.*' -o -name claude | wc -l)\"; exit $code");
        let finished = launch.start().finish().exits(69);
        assert!(finished.err.contains(what) && finished.err.contains("CLAUDEBOX_CLI_DIR"), "{}", finished.err);
        assert_eq!(finished.out, "left: 0\n");
    }
}

#[test]
fn a_box_that_is_told_to_end_while_it_installs_leaves_nothing() {
    let Some(testbox) = TestBox::new() else { return };
    let package = Package::of("echo hello");
    let registry = Registry::new(&package, Manner::Half(Arc::new(Gate::default())));
    let mut running = of_store(&testbox, &AUTH, &package, &registry.url).shared_network().start();
    running.until("a package is being fetched", |_| registry.fetched() > 0);
    running.signal(libc::SIGTERM);
    running.finish().exits(128 + libc::SIGTERM);
    assert_holds(&store(&testbox, &package), &[]);
}

/// As `docker kill`, or a machine that loses power.
#[test]
fn a_box_that_is_killed_while_it_installs_is_no_obstacle() {
    let Some(testbox) = TestBox::new() else { return };
    let package = Package::of("echo hello");
    let registry = Registry::new(&package, Manner::Half(Arc::new(Gate::default())));
    let mut running = of_store(&testbox, &AUTH, &package, &registry.url).shared_network().start();
    running.until("a package is being fetched", |_| registry.fetched() > 0);
    running.kill();
    // One that unpacks has a folder, which nobody who was killed could remove.
    fs::create_dir(store(&testbox, &package).folder().join(".unfinished-x")).unwrap();
    registry.behave(Manner::Good);
    let finished = of_store(&testbox, &AUTH, &package, &registry.url).shared_network().start().finish().exits(0);
    assert_eq!(finished.out, "hello\n");
    assert_holds(&store(&testbox, &package), &[PINNED]);
}

#[test]
fn versions_are_listed_chosen_and_removed() {
    let Some(testbox) = TestBox::new() else { return };
    let package = Package::of("echo pinned");
    let registry = Registry::new(&package, Manner::Good);
    registry.add("2.0.0", &Package::of("echo newer"));
    let cli = |words: &[&str]| {
        let args: Vec<&str> = ["cli"].iter().chain(words).copied().collect();
        of_store(&testbox, &args, &package, &registry.url).shared_network().start().finish()
    };
    let list = || cli(&["list"]).exits(0).out;
    assert_eq!(list(), "1.2.3             not installed  in use, pinned\n");
    cli(&["install"]).exits(0);
    assert_eq!(list(), "1.2.3             0 MB           in use, pinned\n");
    let used = cli(&["use", "latest"]).exits(0);
    assert_eq!(used.out, "");
    assert!(used.err.contains("runs that start from now on use the Claude CLI 2.0.0\n"), "{}", used.err);
    assert!(used.err.contains("alone says what its checksum is"), "{}", used.err);
    assert_eq!(list(), "2.0.0             0 MB           in use\n1.2.3             0 MB           pinned\n");
    // It is remembered, and warned of.
    let finished = of_store(&testbox, &AUTH, &package, NOWHERE).start().finish().exits(0);
    assert_eq!(finished.out, "newer\n");
    assert!(finished.err.contains("2.0.0 is used; this claudebox was tested with 1.2.3"), "{}", finished.err);
    assert!(cli(&["remove", "2.0.0"]).exits(64).err.contains("2.0.0 is in use"));
    cli(&["use", "pinned"]).exits(0);
    cli(&["remove", "2.0.0"]).exits(0);
    assert!(cli(&["remove", "2.0.0"]).exits(64).err.contains("is not installed"));
    assert_eq!(list(), "1.2.3             0 MB           in use, pinned\n");
    for wrong in [["use", "../x"], ["install", "2.1"], ["remove", "latest"]] {
        assert!(cli(&wrong).exits(64).err.contains("is no version of the Claude CLI"), "{wrong:?}");
    }
}

/// The image's link in the CLI's place: what it leads to is what a run has.
#[test]
fn the_link_on_path_follows_the_choice() {
    let Some(testbox) = TestBox::new() else { return };
    let package = Package::of("echo pinned");
    let registry = Registry::new(&package, Manner::Good);
    registry.add("2.0.0", &Package::of("echo newer"));
    let bin = testbox.path("bin");
    fs::create_dir(&bin).unwrap();
    std::os::unix::fs::symlink("/var/lib/claudebox/cli/linux-x64/1.2.3/claude", bin.join("claude")).unwrap();
    let path = format!("{}:/usr/bin:/bin", bin.display());
    let launch = |args: &[&str]| of_store(&testbox, args, &package, &registry.url).env("PATH", &path).shared_network();
    launch(&["cli", "use", "2.0.0"]).start().finish().exits(0);
    let target = fs::read_link(bin.join("claude")).unwrap();
    assert!(target.ends_with("2.0.0/claude") && target.starts_with("/var/lib/claudebox/cli"), "{}", target.display());
    assert_eq!(launch(&AUTH).start().finish().exits(0).out, "newer\n");
    assert_eq!(fs::read_dir(&bin).unwrap().count(), 1);
}

/// An image with the CLI in it, or a person's own: nothing is installed, and `cli use` says what it would take.
#[test]
fn a_cli_of_the_image_is_used_as_it_is() {
    let Some(testbox) = TestBox::new() else { return };
    let package = Package::of("echo pinned");
    let registry = Registry::new(&package, Manner::Good);
    let bin = testbox.path("bin");
    fs::create_dir(&bin).unwrap();
    testbox.script("bin/claude", "#!/bin/sh\necho baked\n");
    let path = format!("{}:/usr/bin:/bin", bin.display());
    let launch = |args: &[&str]| of_store(&testbox, args, &package, &registry.url).env("PATH", &path).shared_network();
    assert_eq!(launch(&AUTH).start().finish().exits(0).out, "baked\n");
    assert_eq!(registry.asked(), 0);
    let used = launch(&["cli", "use", "pinned"]).start().finish().exits(0);
    assert!(
        used.err.contains("set CLAUDEBOX_CLI_DIR=/var/lib/claudebox/cli to have it use the store's"),
        "{}",
        used.err
    );
    assert_eq!(launch(&AUTH).start().finish().exits(0).out, "baked\n");
    let store = launch(&AUTH).env("CLAUDEBOX_CLI_DIR", "/var/lib/claudebox/cli").start().finish().exits(0);
    assert_eq!(store.out, "pinned\n");
}

#[test]
fn the_doctor_says_which_it_is_and_whether_it_is_what_it_should_be() {
    let Some(testbox) = TestBox::new() else { return };
    let package = Package::of("echo '1.2.3 (Claude Code)'");
    let registry = Registry::new(&package, Manner::Good);
    let check = || {
        let launch = of_store(&testbox, &["doctor", "--json"], &package, NOWHERE).env("CLAUDEBOX_OFFLINE", "1");
        let found: serde_json::Value = serde_json::from_str(&launch.start().finish().out).unwrap();
        found["checks"].as_array().unwrap().iter().find(|check| check["name"] == "Claude CLI").unwrap().clone()
    };
    let missing = check();
    assert_eq!(missing["state"], "note");
    assert!(missing["found"].as_str().unwrap().starts_with("1.2.3 is not installed in /var/lib/claudebox/cli/"));
    of_store(&testbox, &["cli", "install"], &package, &registry.url).shared_network().start().finish().exits(0);
    let store = store(&testbox, &package);
    let there = check();
    assert_eq!(there["state"], "ok");
    let found = there["found"].as_str().unwrap();
    assert!(
        found.starts_with("1.2.3 at /var/lib/")
            && found.ends_with("(installed; its checksum is the one that claudebox pins)"),
        "{found}"
    );
    fs::write(store.executable(&store.current()), "#!/bin/sh\necho '1.2.3 (Claude Code)'\n").unwrap();
    let changed = check();
    assert_eq!(changed["state"], "wrong");
    assert!(changed["found"].as_str().unwrap().contains("is not what was installed"), "{changed}");
}
