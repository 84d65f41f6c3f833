//! The boot stage under a real engine: identity, restricted containers, shared folders, hooks.
//!
//! Needs root: what is mounted belongs to other users than the one who runs this.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;
use std::process::Output;

use rstest::rstest;
use serde_json::{Map, Value};

use crate::docker::{Container, docker, image, text};

/// Folders of the machine to mount. They are gone with the test.
struct Folders(tempfile::TempDir);

impl Folders {
    fn new() -> Self {
        Self(tempfile::Builder::new().permissions(Permissions::from_mode(0o755)).tempdir().expect("a folder"))
    }

    /// A new folder of `owner`'s.
    fn folder(&self, name: &str, (uid, gid): (u32, u32)) -> String {
        let path = self.0.path().join(name);
        fs::create_dir(&path).expect("a folder");
        chown(&path, Some(uid), Some(gid)).expect("root may give folders away");
        path.to_str().expect("a path is text").to_owned()
    }

    /// A stub in the CLI's place: these shell commands, and an answer.
    fn stub(&self, commands: &str) -> [String; 4] {
        let path = self.0.path().join("stub");
        let answer = r#"{"type":"result","subtype":"success","is_error":false,"result":"done","session_id":"s"}"#;
        fs::write(&path, format!("#!/bin/bash\n[ -t 0 ] || cat >/dev/null\n{{ {commands}\n}} >&2\necho '{answer}'\n"))
            .expect("a stub can be written");
        fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("a stub can be made executable");
        let mount = format!("{}:/usr/local/bin/stub:ro", path.display());
        ["-v".into(), mount, "-e".into(), "CLAUDEBOX_CLAUDE_BIN=/usr/local/bin/stub".into()]
    }
}

fn owner(path: impl AsRef<Path>) -> (u32, u32) {
    let found = fs::symlink_metadata(path).expect("it is there");
    (found.uid(), found.gid())
}

fn run(container: &Container, image: &str, options: &[&[String]], arguments: &[&str]) -> Output {
    let options = options.concat();
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    container.run(image, &options, arguments)
}

fn words(line: &str) -> Vec<String> {
    line.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// Through the real CLI: what Claude writes belongs to the person outside, wherever the workspace is mounted.
#[rstest]
#[case::nobody_in_the_image((1234, 2345), (1234, 2345), "/workspace")]
#[case::a_directory_services((1_885_580_785, 1_885_580_785), (1_885_580_785, 1_885_580_785), "/workspace")]
#[case::another_user_of_the_image((33, 33), (33, 33), "/workspace")]
#[case::workspaces_root((1234, 2345), (1234, 2345), "/workspaces")]
#[case::root((0, 0), (1000, 1000), "/workspace")]
fn what_claude_writes_belongs_to_the_workspaces_owner(
    #[case] given: (u32, u32),
    #[case] expected: (u32, u32),
    #[case] place: &str,
) {
    let Some(image) = image() else { return };
    let folders = Folders::new();
    let workspace = folders.folder("workspace", given);
    fs::set_permissions(&workspace, Permissions::from_mode(0o777)).expect("a folder's mode can be set");
    let options = words(&format!("-v {workspace}:{place} -e CLAUDEBOX_OFFLINE=1"));
    let prompt = format!("offline:tool cd {place}; echo hi > written; sudo -n id -u > sudo; stat -c %u:%g ~ > home");
    let answer = run(&Container::new("owner"), &image, &[&options], &[&prompt]);
    assert!(answer.status.success(), "{answer:?}");
    let read = |name: &str| fs::read_to_string(Path::new(&workspace).join(name)).expect("it was written");
    assert_eq!((owner(format!("{workspace}/written")), owner(&workspace)), (expected, given));
    assert_eq!((read("sudo"), read("home")), ("0\n".into(), format!("{}:{}\n", expected.0, expected.1)));
}

/// The image's own folders say nothing about who is outside.
#[test]
fn an_unmounted_workspace_changes_nothing() {
    let Some(image) = image() else { return };
    let folders = Folders::new();
    let options = [&folders.stub("id -u; exit 1")[..], &words("--entrypoint sh")].concat();
    let start = "chown 1234:2345 /workspace && exec claudebox init -- auth";
    let answer = run(&Container::new("unmounted"), &image, &[&options], &["-c", start]);
    assert_eq!((text(&answer.stderr).as_str(), answer.status.code()), ("1000\n", Some(1)));
}

/// Checklist 37: it boots, or says in one line why it does not.
#[rstest]
#[case::a_user_of_the_image("--user 1000:1000", None)]
#[case::a_user_without_an_entry("--user 1234", Some("user id 1234 has no entry in /etc/passwd and HOME is not set"))]
#[case::a_user_with_a_home("--user 1234 -e HOME=/tmp/home", None)]
#[case::read_only(
    "--read-only",
    Some("the file system of /tmp is read-only, and the CLI has to write there: add --tmpfs")
)]
#[case::read_only_with_places_to_write("--read-only --tmpfs /tmp --tmpfs /home/claude", None)]
#[case::no_capabilities("--cap-drop ALL", Some("this box runs as root without the capability CAP_SETUID"))]
#[case::no_capabilities_and_a_user("--cap-drop ALL --user 1000", None)]
#[case::what_the_message_says("--cap-drop ALL --cap-add SETUID --cap-add SETGID --cap-add KILL", None)]
#[case::no_new_privileges("--security-opt no-new-privileges", None)]
#[case::everything(
    "--read-only --cap-drop ALL --security-opt no-new-privileges --user 1000 --tmpfs /tmp --tmpfs /home/claude:uid=1000",
    None
)]
#[case::hardened("-e CLAUDEBOX_HARDENED=1", None)]
#[case::hardened_without_setpcap(
    "-e CLAUDEBOX_HARDENED=1 --cap-drop SETPCAP",
    Some("CLAUDEBOX_HARDENED is on, and this box has no CAP_SETPCAP")
)]
fn a_restricted_container_boots_or_says_why_not(#[case] options: &str, #[case] refusal: Option<&str>) {
    let Some(image) = image() else { return };
    let folders = Folders::new();
    let stub = folders.stub("true");
    let answer = run(&Container::new("restricted"), &image, &[&words(options), &stub], &["hello"]);
    let said = text(&answer.stderr);
    match refusal {
        Some(why) => {
            assert_eq!(answer.status.code(), Some(78), "{answer:?}");
            assert!(said.starts_with(&format!("claudebox: {why}")) && said.lines().count() == 1, "{said}");
        }
        None => assert_eq!((answer.status.code(), text(&answer.stdout).as_str()), (Some(0), "done\n"), "{said}"),
    }
}

/// They change the same files at once; each leaves its own project in them.
#[test]
fn many_containers_that_share_a_folder_lose_nothing_of_it() {
    const BOXES: usize = 50;
    let Some(image) = image() else { return };
    let folders = Folders::new();
    let shared = folders.folder("shared", (1234, 2345));
    let spaces = folders.folder("spaces", (1234, 2345));
    let stub = folders.stub("true");
    fs::write(Path::new(&shared).join(".claude.json"), r#"{"mine":1.10,"projects":{"/old":{"history":[1]}}}"#)
        .expect("the folder can be written");
    chown(Path::new(&shared).join(".claude.json"), Some(1234), Some(2345)).expect("root may give files away");
    let boot = |number: usize| {
        let space = format!("/spaces/{number}");
        let folder = format!("{spaces}/{number}");
        fs::create_dir(&folder).expect("a folder");
        chown(&folder, Some(1234), Some(2345)).expect("root may give folders away");
        let mounts = format!("-v {shared}:/home/claude/.claude -v {folder}:{space} -e CLAUDEBOX_WORKSPACE={space}");
        // With a broker Claude has no key to approve.
        let key = format!("-e CLAUDEBOX_BROKER=0 -e ANTHROPIC_API_KEY=sk-ant-of-the-container-{number:06}");
        run(&Container::new("shared"), &image, &[&words(&mounts), &words(&key), &stub], &["hello"])
    };
    std::thread::scope(|scope| {
        for number in 0..BOXES {
            let boot = &boot;
            scope.spawn(move || {
                let answer = boot(number);
                assert!(answer.status.success() && answer.stderr.is_empty(), "{answer:?}");
            });
        }
    });
    let object = |name: &str| -> Map<String, Value> {
        let content = fs::read(Path::new(&shared).join(name)).expect("it is there");
        serde_json::from_slice(&content).expect("it is whole")
    };
    let state = object(".claude.json");
    let projects: BTreeSet<&str> =
        state["projects"].as_object().expect("an object").keys().map(String::as_str).collect();
    let booted: Vec<String> = (0..BOXES).map(|number| format!("/spaces/{number}")).collect();
    assert_eq!(projects, booted.iter().map(String::as_str).chain(["/", "/old"]).collect());
    assert_eq!(state["projects"]["/old"]["history"][0], 1);
    assert_eq!(state["mine"].to_string(), "1.10");
    assert_eq!(state["customApiKeyResponses"]["approved"].as_array().map(Vec::len), Some(BOXES));
    let names: Vec<_> = fs::read_dir(&shared).expect("a folder").flatten().map(|entry| entry.file_name()).collect();
    let temporary = names
        .iter()
        .filter(|name| name.to_string_lossy().contains("corrupt") || name.to_string_lossy().starts_with(".claudebox-"));
    assert_eq!(temporary.count(), 0, "{names:?}");
}

/// Checklist 39: `docker start` is a restart, another `docker run` is not.
#[test]
fn hooks_run_once_per_container_and_not_at_its_restart() {
    let Some(image) = image() else { return };
    let folders = Folders::new();
    let claude = folders.folder("claude", (1234, 2345));
    let workspace = folders.folder("workspace", (1234, 2345));
    fs::create_dir(format!("{claude}/init.d")).expect("a folder");
    let hook = "echo \"$(id -u) in $(hostname)\" >>/workspace/hooked; apt-get --version >/dev/null";
    fs::write(format!("{claude}/init.d/one.sh"), hook).expect("a hook can be written");
    let mounts = words(&format!("-v {claude}:/home/claude/.claude -v {workspace}:/workspace"));
    let hooked = || fs::read_to_string(format!("{workspace}/hooked")).expect("a hook has run");
    let stub = folders.stub("true");

    let first = Container::new("hooks");
    let answer = run(&first, &image, &[&mounts, &stub, &words("--hostname first")], &["hello"]);
    assert!(answer.status.success(), "{answer:?}");
    let again = docker(&["start", "--attach", first.name()]);
    assert_eq!((again.status.code(), text(&again.stdout).as_str()), (Some(0), "done\n"), "{again:?}");
    assert_eq!(hooked(), "0 in first\n");
    let answer = run(&Container::new("hooks"), &image, &[&mounts, &stub, &words("--hostname second")], &["hello"]);
    assert!(answer.status.success(), "{answer:?}");
    assert_eq!(hooked(), "0 in first\n0 in second\n");
    // Not the hook, which root ran, but what the CLI's own files became.
    assert_eq!(owner(format!("{claude}/.claude.json")), (1234, 2345));
}
