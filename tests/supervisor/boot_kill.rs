//! A box that is killed in the middle of its boot.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use serde_json::{Map, Value, json};

use crate::stubs::cli;
use crate::support::{Running, TestBox};

const KILLS: u32 = 200;

/// PID 1 of the outer box. For each line of its standard input, `WORKSPACE DELAY`, it boots a box in that workspace, in a
/// PID namespace of its own, and kills it after so many microseconds (0: never). `booted MICROSECONDS` tells that
/// everything has ended.
const KILLER: &str = r#"#!/usr/bin/perl
use strict; use Time::HiRes qw(time usleep); $| = 1;
while (my $line = <STDIN>) {
    my ($workspace, $delay) = split ' ', $line;
    my $began = time;
    my $pid = fork;
    if (!$pid) {
        open STDIN, "<", "/dev/null"; open STDOUT, ">", "/dev/null";
        my @box = map { /^CLAUDEBOX_WORKSPACE=/ ? "CLAUDEBOX_WORKSPACE=$workspace" : $_ } @ARGV;
        exec "unshare", "--pid", "--fork", "--kill-child", "--", @box;
    }
    if ($delay) { usleep $delay; kill 9, $pid; }
    1 while wait != -1;
    printf "booted %d\n", (time - $began) * 1e6;
}
"#;

/// Boots in workspace `number` and kills it after `delay`; how long that took. All in microseconds.
fn boot(running: &mut Running, testbox: &TestBox, number: u32, delay: u64) -> u64 {
    let workspace = testbox.path(&format!("spaces/{number}"));
    fs::create_dir_all(&workspace).unwrap();
    let (uid, gid) = ids(number);
    std::os::unix::fs::chown(&workspace, Some(uid), Some(gid)).unwrap();
    running.write(&format!("{} {delay}\n", workspace.display()));
    running.value("booted ").parse().unwrap()
}

/// Another owner every time, so that every boot writes the user database and gives the home away.
fn ids(number: u32) -> (u32, u32) {
    if number.is_multiple_of(2) { (1234, 2345) } else { (1300, 2400) }
}

fn names(text: &str) -> Vec<&str> {
    text.lines().map(|line| line.split(':').next().unwrap()).collect()
}

fn object(testbox: &TestBox, name: &str) -> Map<String, Value> {
    let text = fs::read(testbox.path("home/.claude").join(name)).unwrap();
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{name}: {error}: {}", String::from_utf8_lossy(&text)))
}

/// Checklist 38, and the CLI's own files.
#[test]
fn a_boot_that_is_killed_leaves_every_file_whole() {
    let Some(testbox) = TestBox::new() else { return };
    let killer = testbox.script("killer", KILLER);
    let path = testbox.script("cli", &cli("id -u"));
    fs::create_dir(testbox.path("home/.claude")).unwrap();
    for name in [".claude.json", "settings.json"] {
        fs::write(testbox.path("home/.claude").join(name), r#"{"mine":1}"#).unwrap();
    }
    let (passwd, group) = (testbox.path("etc/passwd"), testbox.path("etc/group"));
    let (users, groups) = (fs::read_to_string(&passwd).unwrap(), fs::read_to_string(&group).unwrap());
    let launch = testbox.claudebox(&["init", "--", "hello"]).env("CLAUDEBOX_CLAUDE_BIN", &path);
    let mut running = launch.tail(&format!("exec {killer} \"$@\"")).with_input().start();

    let longest = (0..5).map(|number| boot(&mut running, &testbox, number, 0)).max().unwrap();
    let mut random = u64::from(std::process::id());
    let mut known = 0;
    for number in 5..5 + KILLS {
        // Knuth's multiplier; the high bits are the random ones.
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        boot(&mut running, &testbox, number, 1 + (random >> 33) % longest);
        let text = fs::read_to_string(&passwd).unwrap();
        assert_eq!(names(&text), names(&users), "{text}");
        let text = fs::read_to_string(&group).unwrap();
        assert_eq!(names(&text), names(&groups), "{text}");
        assert!(text.ends_with('\n') && text.contains("video:x:44:root,claude\n"), "{text}");
        let state = object(&testbox, ".claude.json");
        let projects = state["projects"].as_object().unwrap().len();
        assert!(state["mine"] == 1 && projects >= known, "{projects} of {known} projects in {state:?}");
        known = projects;
        // The CLI on the host may read it too.
        assert_eq!(Value::Object(object(&testbox, "settings.json")), json!({"mine": 1}));
    }
    assert!((20..KILLS as usize).contains(&known), "only some were killed after their files were written: {known}");

    // What was left half-way is finished by the next boot.
    boot(&mut running, &testbox, 1000, 0);
    let text = fs::read_to_string(&passwd).unwrap();
    assert!(text.contains("claude:x:1234:2345:"), "{text}");
    for name in ["home", "home/.claude", "home/.claude/.claude.json", "home/.claude/settings.json"] {
        let found = fs::symlink_metadata(testbox.path(name)).unwrap();
        assert_eq!((found.uid(), found.gid()), ids(1000), "{name}");
    }
    assert_eq!(fs::read_to_string(testbox.path("spaces/1000/note")).unwrap(), "1234\n");
    running.close_input();
    running.finish().exits(0);
}
