//! A box with the HTTP API and a stub in the CLI's place, that clients of this process reach over the loopback.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::http::Server;
use crate::support::process::Process;
use crate::support::{DEADLINE, Launch, Running, TestBox, UID};

/// How often something that raises no event is looked at.
const GLANCE: Duration = Duration::from_millis(5);

/// What every stub begins with. The prompt, the text of a message of stream-json, is words on one line: the first names the run, the second is a number of
/// seconds. `starts/NAME` gets a line for every start of that run, and `starts/order` one with its name.
const STUB: &str = r#"#!/bin/sh
read -r message
text=${message#*'"type":"text","text":"'}
read -r name seconds rest <<END
${text%%'"}]}'*}
END
echo start >>"$STARTS/$name"
echo "$name" >>"$STARTS/order"
init() { echo '{"type":"system","subtype":"init","session_id":"11111111-2222-4333-8444-555555555555","tools":[]}'; }
result() { echo "{\"type\":\"result\",\"subtype\":\"success\",\"is_error\":false,\"result\":\"answer to $1\",\"session_id\":\"11111111-2222-4333-8444-555555555555\"}"; }
"#;

/// A stub that takes its time, leaves a process behind now and then, and answers.
pub(crate) const PLAIN: &str = r#"init
case $name in *7) setsid sleep 1000 & ;; esac
sleep "$seconds"
result "$name"
"#;

/// A folder with all that a box needs, kept over the box's restarts.
pub(crate) struct Stand {
    pub(crate) testbox: TestBox,
    pub(crate) server: Server,
    stub: String,
}

impl Stand {
    /// With this shell code as the CLI, after [`STUB`].
    pub(crate) fn new(stub: &str) -> Option<Self> {
        let testbox = TestBox::new()?;
        for name in ["workspaces", "starts"] {
            fs::create_dir(testbox.path(name)).unwrap();
            chown(testbox.path(name), Some(UID), Some(UID)).unwrap();
        }
        let starts = testbox.path("starts");
        let head =
            STUB.replacen('\n', &format!("\nSTARTS={}\nBOX={}\n", starts.display(), testbox.path("").display()), 1);
        let stub = testbox.script("stub", &format!("{head}{stub}"));
        // Free a moment ago, and nobody else's in a network of the tests' own.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Some(Self { testbox, server: Server(port), stub })
    }

    /// How to start the box.
    pub(crate) fn launch(&self) -> Launch<'_> {
        let path = |name: &str| self.testbox.path(name).to_str().unwrap().to_owned();
        self.testbox
            .claudebox(&["init", "--"])
            .shared_network()
            .env("CLAUDEBOX_MODE_API", "1")
            .env("CLAUDEBOX_MODE_API_BIND", "127.0.0.1")
            .env("CLAUDEBOX_MODE_API_PORT", &self.server.0.to_string())
            .env("CLAUDEBOX_WORKSPACES_DIR", &path("workspaces"))
            .env("CLAUDEBOX_CLAUDE_BIN", &self.stub)
            .env("CLAUDEBOX_MANIFEST", "/no/such/file")
    }

    /// Makes a workspace.
    pub(crate) fn workspace(&self, name: &str) -> PathBuf {
        let folder = self.testbox.path("workspaces").join(name);
        fs::create_dir(&folder).unwrap();
        chown(&folder, Some(UID), Some(UID)).unwrap();
        folder
    }

    /// How often this run's CLI was started.
    pub(crate) fn starts(&self, name: &str) -> usize {
        fs::read_to_string(self.testbox.path("starts").join(name)).unwrap_or_default().lines().count()
    }

    /// The names of all runs in the order their CLIs were started in.
    pub(crate) fn order(&self) -> Vec<String> {
        let order = fs::read_to_string(self.testbox.path("starts/order")).unwrap_or_default();
        order.lines().map(str::to_owned).collect()
    }

    /// Waits until the server answers.
    pub(crate) fn wait_for_health(&self) {
        eventually("the server answers", || self.server.is_healthy());
    }

    /// Waits for the end of a run; how it stands then.
    pub(crate) fn wait_for_end(&self, run: &str) -> Value {
        let mut view = Value::Null;
        eventually(&format!("run {run} ends"), || {
            view = self.server.view(run);
            !view["finishedAt"].is_null()
        });
        view
    }

    /// A copy of this program that runs as root, whoever starts it.
    pub(crate) fn setuid(&self, program: &str, name: &str) {
        let path = self.testbox.path(name);
        fs::copy(program, &path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o4755)).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().uid(), 0);
    }
}

/// Waits until `condition` holds.
#[track_caller]
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + *DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "never: {what}");
        pause(GLANCE);
    }
}

/// Lets time pass: it is the moment that is random, or the time itself that is measured.
#[expect(clippy::disallowed_methods, reason = "nothing else is waited for")]
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// The box's `serve`, if it runs.
pub(crate) fn serve_of(running: &Running) -> Option<Process> {
    let is_serve = |process: &Process| process.command().last().is_some_and(|last| last == "serve");
    running.processes().into_iter().find(|process| process.state != 'Z' && is_serve(process))
}

/// Kilobytes out of a process's status file.
pub(crate) fn kilobytes(process: &Process, label: &str) -> u64 {
    process.status(label).trim_end_matches(" kB").trim().parse().unwrap()
}

/// Whether this process lives.
pub(crate) fn lives(process: &Process) -> bool {
    let status = fs::read_to_string(format!("/proc/{}/stat", process.pid)).unwrap_or_default();
    status.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// A number from an environment variable.
pub(crate) fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Numbers that look random, the same for the same seed.
#[derive(Debug, Clone)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % limit
    }
    /// An index below `limit`.
    pub(crate) fn index(&mut self, limit: usize) -> usize {
        usize::try_from(self.below(limit as u64)).unwrap()
    }
}
