//! The real CLI against a server of its own, with nothing of the machine's in its environment.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::server::{DEADLINE, Server};

/// Any ordinary user: the CLI is never run as root.
const USER: u32 = 12345;

pub(crate) struct Cli {
    path: PathBuf,
    home: tempfile::TempDir,
    server: Server,
}

impl Cli {
    /// `None`, with a line on stderr, when no CLI is given.
    pub(crate) fn start() -> Option<Self> {
        let Some(path) = std::env::var_os("CLAUDEBOX_TEST_CLI") else {
            eprintln!("skipped: CLAUDEBOX_TEST_CLI does not name a CLI");
            return None;
        };
        if let Some(route) = route_out() {
            panic!("CLAUDEBOX_TEST_CLI is set but there is a route out, over {route}: use unshare --net");
        }
        let home = tempfile::tempdir().unwrap();
        let workspace = home.path().join("workspace");
        fs::create_dir(&workspace).unwrap();
        if is_root() {
            for folder in [home.path(), &workspace] {
                chown(folder, Some(USER), Some(USER)).unwrap();
            }
        }
        Some(Self { path: path.into(), home, server: Server::start() })
    }

    pub(crate) fn workspace(&self) -> PathBuf {
        self.home.path().join("workspace")
    }

    /// The events of one `claude -p` with these arguments.
    pub(crate) fn run(&self, arguments: &[&str]) -> Vec<Value> {
        self.run_with_stdin(arguments, "")
    }

    pub(crate) fn run_with_stdin(&self, arguments: &[&str], stdin: &str) -> Vec<Value> {
        let output = self
            .command()
            .args(["-p", "--output-format", "stream-json", "--verbose"])
            .args(arguments)
            .current_dir(self.workspace())
            .env_clear()
            .env("HOME", self.home.path())
            .env("PATH", "/usr/bin:/bin")
            .env("LANG", "C.UTF-8")
            .env("ANTHROPIC_API_KEY", "sk-ant-test-dummy")
            .env("ANTHROPIC_BASE_URL", self.server.url())
            .env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1")
            .env("CLAUDE_CODE_MAX_RETRIES", "1")
            .timeout(DEADLINE)
            .write_stdin(stdin)
            .output()
            .unwrap();
        let stdout = String::from_utf8(output.stdout).unwrap();
        let events: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(!events.is_empty(), "no events: {}", String::from_utf8_lossy(&output.stderr));
        events
    }

    fn command(&self) -> assert_cmd::Command {
        if !is_root() {
            return assert_cmd::Command::new(&self.path);
        }
        let mut command = assert_cmd::Command::new("setpriv");
        command.arg(format!("--reuid={USER}")).arg(format!("--regid={USER}"));
        command.args(["--clear-groups", "--"]).arg(&self.path);
        command
    }
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// The name of a network device with a route, other than loopback.
fn route_out() -> Option<String> {
    let first = |path: &str, column: usize| {
        let table = fs::read_to_string(Path::new(path)).unwrap_or_default();
        let devices = table.lines().filter_map(|line| line.split_whitespace().nth(column).map(str::to_owned));
        devices.into_iter().find(|device| !["lo", "Iface"].contains(&device.as_str()))
    };
    first("/proc/net/route", 0).or_else(|| first("/proc/net/ipv6_route", 9))
}

pub(crate) fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().filter_map(|event| event["type"].as_str()).collect()
}

/// The last event, which is the result.
pub(crate) fn result(events: &[Value]) -> &Value {
    let last = events.last().unwrap();
    assert_eq!(last["type"], "result", "{events:#?}");
    last
}

pub(crate) fn assistant_texts(events: &[Value]) -> String {
    let messages = events.iter().filter(|event| event["type"] == "assistant");
    let texts = messages.filter_map(|event| event["message"]["content"][0]["text"].as_str());
    texts.collect::<Vec<_>>().join("\n")
}
