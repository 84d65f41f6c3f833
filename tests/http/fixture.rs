//! Boxes with the HTTP API.

use std::fs;
use std::path::PathBuf;

use crate::client::{Client, Network};
use crate::support::process::Process;
use crate::support::{Finished, Launch, Running, TestBox};

pub(crate) const PORT: u16 = 8080;

/// A box with the API and no CLI that could run.
pub(crate) fn without_cli(testbox: &TestBox) -> Launch<'_> {
    let workspaces = testbox.path("workspaces");
    let launch = testbox.claudebox(&["init", "--"]).env("CLAUDEBOX_MODE_API", "1");
    let launch = launch.env("CLAUDEBOX_WORKSPACES_DIR", workspaces.to_str().unwrap());
    // One workspace has no meaning for servers.
    launch.env("CLAUDEBOX_WORKSPACE", "/no/such/folder").env("CLAUDEBOX_CONTAINER_NAME", "box")
}

/// A box with the API, the real CLI and the offline model.
pub(crate) fn with_cli(testbox: &TestBox) -> Option<Launch<'_>> {
    let Ok(cli) = std::env::var("CLAUDEBOX_TEST_CLI") else {
        eprintln!("skipped: CLAUDEBOX_TEST_CLI does not name a CLI");
        return None;
    };
    // The CLI may lie below a folder that the box's user cannot enter.
    let seen = testbox.path("claude");
    fs::write(&seen, "").unwrap();
    let mount = format!("mount --bind '{cli}' '{}'", seen.display());
    let launch = without_cli(testbox).before(&mount).env("CLAUDEBOX_CLAUDE_BIN", seen.to_str().unwrap());
    Some(launch.env("CLAUDEBOX_OFFLINE", "1").env("LANG", "C.UTF-8"))
}

/// A running box.
pub(crate) struct Api {
    pub(crate) http: Client,
    pub(crate) network: Network,
    pub(crate) running: Running,
    /// Its processes when nothing runs.
    settled: Vec<i32>,
    workspaces: PathBuf,
}

/// Starts a box, and waits until its server is ready.
pub(crate) fn start(testbox: &TestBox, launch: Launch<'_>) -> Api {
    start_on(PORT, testbox, launch)
}

pub(crate) fn start_on(port: u16, testbox: &TestBox, launch: Launch<'_>) -> Api {
    let mut running = launch.start();
    running.until("serve is ready", ready);
    let network = Network::of(running.pid1());
    let settled = ids(&running.processes());
    let http = Client::new(network.clone(), port);
    Api { http, network, running, settled, workspaces: testbox.path("workspaces") }
}

impl Api {
    /// The absolute path of a workspace.
    pub(crate) fn workspace(&self, name: &str) -> String {
        self.workspaces.join(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn processes(&self) -> Vec<Process> {
        self.running.processes()
    }

    /// Waits for something that can be seen in the box's processes.
    pub(crate) fn until(&mut self, what: &str, condition: impl FnMut(&[Process]) -> bool) {
        self.running.until(what, condition);
    }

    /// Waits until a tool runs `sleep SECONDS`.
    pub(crate) fn until_sleeps(&mut self, seconds: &str) {
        self.until(&format!("sleep {seconds} runs"), |all| sleeps(all, seconds));
    }

    /// Checks that no process of a run is left at this moment. A worker that waits for the next run may be there.
    #[track_caller]
    pub(crate) fn assert_settled(&self) {
        let processes = self.processes();
        let left: Vec<(Vec<String>, &Process)> = processes
            .iter()
            .filter(|process| process.state != 'Z' && !self.settled.contains(&process.pid))
            .filter(|process| !process.is_worker() || process.is_marked())
            .map(|process| (process.command(), process))
            .collect();
        assert!(left.is_empty(), "left: {left:?}");
    }

    /// The server.
    pub(crate) fn serve(&self) -> Process {
        serve_of(&self.processes()).unwrap().clone()
    }

    /// Kills the server, and waits for the next one.
    pub(crate) fn kill_serve(&mut self) {
        let old = self.serve().pid;
        claudebox::sys::kill(old, libc::SIGKILL).unwrap();
        let another = |all: &[Process]| ready(all) && serve_of(all).is_some_and(|new| new.pid != old);
        self.until("another serve is ready", another);
    }

    /// Asks PID 1 to stop.
    pub(crate) fn ask_to_stop(&self) {
        self.running.signal(libc::SIGTERM);
    }

    /// Waits for the end of the box.
    pub(crate) fn finish(self) -> Finished {
        self.running.finish()
    }

    /// Stops the box.
    pub(crate) fn stop(self) -> Finished {
        self.ask_to_stop();
        self.finish().exits(0)
    }
}

/// Whether a tool runs `sleep SECONDS`.
pub(crate) fn sleeps(processes: &[Process], seconds: &str) -> bool {
    processes.iter().any(|process| process.state != 'Z' && process.command() == ["sleep", seconds])
}

fn ids(processes: &[Process]) -> Vec<i32> {
    processes.iter().map(|process| process.pid).collect()
}

fn ready(processes: &[Process]) -> bool {
    processes.iter().any(|process| process.name == "claudebox ready")
}

fn serve_of(processes: &[Process]) -> Option<&Process> {
    processes
        .iter()
        .find(|process| process.state != 'Z' && process.command().last().is_some_and(|last| last == "serve"))
}
