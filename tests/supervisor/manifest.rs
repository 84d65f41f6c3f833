//! CLAUDE.md: made from the image's tool manifest and the truth about the box, and never at the user's cost.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::PathBuf;

use rstest::rstest;

use crate::stubs::cli;
use crate::support::{Finished, Launch, TestBox, UID};

const MANIFEST: &str = r#"{"schemaVersion":1,"variant":"test","tools":[
    {"name":"frobnicate","version":"1.2.3","path":"/opt/frobnicate","group":"languages","purpose":"frobnicates"}]}"#;
const OLD: &str = "<!-- claudebox:begin v0 -->\nold\n<!-- claudebox:end -->";

/// A box with a manifest that answers one prompt; what `look` prints is in its note.
fn prompt<'testbox>(testbox: &'testbox TestBox, look: &str) -> Launch<'testbox> {
    let manifest = testbox.path("manifest.json");
    fs::write(&manifest, MANIFEST).unwrap();
    let path = testbox.script("cli", &cli(look));
    testbox
        .claudebox(&["init", "--", "hello", "there"])
        .env("CLAUDEBOX_CLAUDE_BIN", &path)
        .env("CLAUDEBOX_MANIFEST", manifest.to_str().unwrap())
}

fn run(testbox: &TestBox) -> Finished {
    prompt(testbox, "true").env("CLAUDEBOX_DEBUG", "1").start().finish().exits(0)
}

fn claude_md(testbox: &TestBox) -> PathBuf {
    testbox.path("work/CLAUDE.md")
}

fn text(testbox: &TestBox) -> String {
    fs::read_to_string(claude_md(testbox)).unwrap()
}

#[test]
fn claude_finds_it_in_a_workspace_without_one() {
    let Some(testbox) = TestBox::new() else { return };
    let scripts = testbox.path("home/.claude/bin");
    fs::create_dir_all(&scripts).unwrap();
    fs::write(scripts.join("my-deploy"), "").unwrap();
    fs::set_permissions(scripts.join("my-deploy"), fs::Permissions::from_mode(0o755)).unwrap();
    prompt(&testbox, "cat CLAUDE.md").start().finish().exits(0);
    let text = text(&testbox);
    assert_eq!(testbox.note(), text);
    let workspace = format!("- Workspace: `{}`", testbox.path("work").display());
    for part in ["- Languages: frobnicate 1.2.3", "image `test`", "`my-deploy`", "user `claude`", &workspace] {
        assert!(text.contains(part), "{part} is missing in:\n{text}");
    }
    // A box has loopback and nothing else.
    assert!(text.contains("- Network: none"), "{text}");
    let file = fs::metadata(claude_md(&testbox)).unwrap();
    assert_eq!((file.uid(), file.gid(), file.mode() & 0o777), (UID, UID, 0o644));
    let inode = file.ino();
    run(&testbox);
    assert_eq!(fs::metadata(claude_md(&testbox)).unwrap().ino(), inode, "written again, with nothing new to say");
}

#[test]
fn a_hardened_box_says_so() {
    let Some(testbox) = TestBox::new() else { return };
    prompt(&testbox, "true").env("CLAUDEBOX_HARDENED", "1").start().finish().exits(0);
    assert!(text(&testbox).contains("hardened)") && text(&testbox).contains("- sudo: does not work"));
}

#[test]
fn the_interactive_cli_finds_it_too() {
    let Some(testbox) = TestBox::new() else { return };
    let manifest = testbox.path("manifest.json");
    fs::write(&manifest, MANIFEST).unwrap();
    let path = testbox.script("cli", "#!/bin/sh\ngrep -c frobnicate CLAUDE.md\n");
    let launch = testbox.claudebox(&["init", "--"]).env("CLAUDEBOX_CLAUDE_BIN", &path);
    let mut running = launch.env("CLAUDEBOX_MANIFEST", manifest.to_str().unwrap()).on_terminal().start();
    running.expect("1\r\n");
    running.finish().exits(0);
}

#[rstest]
#[case::without_a_block("# Mine\n", "NotOurs")]
#[case::empty("", "NotOurs")]
#[case::half_a_block("<!-- claudebox:begin v0 -->\nmine\n", "not as one pair")]
fn the_users_own_is_never_touched(#[case] mine: &str, #[case] log: &str) {
    let Some(testbox) = TestBox::new() else { return };
    fs::write(claude_md(&testbox), mine).unwrap();
    let finished = run(&testbox);
    assert_eq!(text(&testbox), mine);
    assert!(finished.err.contains(log), "{}", finished.err);
}

#[test]
fn an_old_block_is_renewed_and_nothing_around_it() {
    let Some(testbox) = TestBox::new() else { return };
    fs::write(claude_md(&testbox), format!("\u{feff}# Mine\r\n\n{OLD}\n\tmine, \u{e9}, no line feed")).unwrap();
    chown(claude_md(&testbox), Some(UID), Some(UID)).unwrap();
    run(&testbox);
    let text = text(&testbox);
    assert!(text.starts_with("\u{feff}# Mine\r\n\n<!-- claudebox:begin "), "{text}");
    assert!(text.ends_with("<!-- claudebox:end -->\n\tmine, \u{e9}, no line feed"), "{text}");
    assert!(text.contains("frobnicate 1.2.3") && !text.contains("old"), "{text}");
}

#[test]
fn a_link_stays_and_so_does_what_it_leads_to() {
    let Some(testbox) = TestBox::new() else { return };
    let target = testbox.path("work/AGENTS.md");
    fs::write(&target, OLD).unwrap();
    chown(&target, Some(UID), Some(UID)).unwrap();
    symlink("AGENTS.md", claude_md(&testbox)).unwrap();
    run(&testbox);
    assert!(fs::symlink_metadata(claude_md(&testbox)).unwrap().is_symlink());
    assert_eq!(fs::read_to_string(target).unwrap(), OLD);
}

/// The folder would let the box's user put another file in the place of one it may not write to.
#[test]
fn a_file_that_the_user_may_not_write_to_stays() {
    let Some(testbox) = TestBox::new() else { return };
    fs::write(claude_md(&testbox), OLD).unwrap();
    fs::set_permissions(claude_md(&testbox), fs::Permissions::from_mode(0o644)).unwrap();
    run(&testbox);
    assert_eq!((text(&testbox).as_str(), fs::metadata(claude_md(&testbox)).unwrap().uid()), (OLD, 0));
}

#[test]
fn a_read_only_workspace_is_no_fault() {
    let Some(testbox) = TestBox::new() else { return };
    let note = testbox.path("home");
    let read_only = r#"mount -o bind "$BOX/work" "$BOX/work"; mount -o remount,bind,ro "$BOX/work""#;
    let stub = "#!/bin/sh\ncat >/dev/null\n\
                echo '{\"type\":\"result\",\"is_error\":false,\"result\":\"done\",\"session_id\":\"s\"}'\n";
    let launch = prompt(&testbox, "true").env("CLAUDEBOX_CLAUDE_BIN", &testbox.script("answers", stub));
    let finished = launch.env("HOME", note.to_str().unwrap()).before(read_only).start().finish().exits(0);
    assert_eq!((finished.out.as_str(), finished.err.as_str()), ("done\n", ""));
    assert!(!claude_md(&testbox).exists());
}

#[test]
fn without_a_manifest_nothing_is_written() {
    let Some(testbox) = TestBox::new() else { return };
    let launch = prompt(&testbox, "true").env("CLAUDEBOX_MANIFEST", "/nonexistent/manifest.json");
    let finished = launch.env("CLAUDEBOX_DEBUG", "1").start().finish().exits(0);
    assert!(!claude_md(&testbox).exists());
    assert!(finished.err.contains("debug: no tool manifest at /nonexistent/manifest.json"), "{}", finished.err);
}

#[test]
fn a_broken_manifest_is_a_warning() {
    let Some(testbox) = TestBox::new() else { return };
    let launch = prompt(&testbox, "true");
    fs::write(testbox.path("manifest.json"), "{").unwrap();
    let finished = launch.start().finish().exits(0);
    assert!(finished.err.contains("warning: the tool manifest"), "{}", finished.err);
    assert!(!claude_md(&testbox).exists());
}
