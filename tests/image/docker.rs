//! The Docker client.

use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::poll::{PollTimeout, poll};

/// How long anything here may take before its test fails. Generous: a busy machine is not a fault of the image.
const DEADLINE: Duration = Duration::from_mins(4);

/// What `docker stop` gives a container between TERM and KILL, in seconds (Docker's own default).
const GRACE: u32 = 10;

/// What Docker reports for a container that had to be killed: 128 + SIGKILL.
const KILLED: i32 = 137;

/// The image under test, or `None` (said on stderr) where there is none.
pub(crate) fn image() -> Option<String> {
    let image = std::env::var("CLAUDEBOX_TEST_IMAGE").ok().filter(|image| !image.is_empty());
    if image.is_none() {
        skipped("CLAUDEBOX_TEST_IMAGE is not set");
    }
    image
}

/// Says that a test did not run, and why.
pub(crate) fn skipped(why: &str) {
    // Not `eprintln!`, which the test harness swallows for a test that passes.
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
}

/// One command of the Docker client, ended when its time is up (exit code 124).
pub(crate) fn docker(arguments: &[&str]) -> Output {
    Command::new("timeout")
        .arg(DEADLINE.as_secs().to_string())
        .arg("docker")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("the docker client can be started")
}

pub(crate) fn inspect(object: &str, format: &str) -> String {
    let output = docker(&["inspect", "--format", format, object]);
    assert!(output.status.success(), "{output:?}");
    text(&output.stdout)
}

/// The version of the engine's API: major and minor.
pub(crate) fn api_version() -> (u32, u32) {
    let output = docker(&["version", "--format", "{{.Server.APIVersion}}"]);
    assert!(output.status.success(), "{output:?}");
    let text = text(&output.stdout);
    let (major, minor) = text.trim().split_once('.').expect("two numbers");
    (major.parse().expect("a number"), minor.parse().expect("a number"))
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Asks again and again, a tenth of a second apart, until there is an answer or the time is up.
pub(crate) fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "not within {DEADLINE:?}: {what}");
        poll(&mut [], PollTimeout::from(100_u8)).expect("poll of nothing, with a time limit");
    }
}

/// A line of `ps` in a container.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) user: String,
    pub(crate) command: String,
}

impl Process {
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        Some(Self {
            pid: words.next()?.parse().ok()?,
            user: words.next()?.to_owned(),
            command: words.next()?.to_owned(),
        })
    }
}

/// A name for one container, which is removed, running or not, when the test ends in whatever way.
pub(crate) struct Container {
    name: String,
}

impl Container {
    pub(crate) fn new(purpose: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        Self { name: format!("claudebox-test-{purpose}-{}-{count}", std::process::id()) }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn arguments<'a>(&'a self, image: &'a str, options: &[&'a str], arguments: &[&'a str]) -> Vec<&'a str> {
        let fixed = ["run", "--name", &self.name, "--network", "none"];
        [&fixed, options, &[image], arguments].concat()
    }

    pub(crate) fn run(&self, image: &str, options: &[&str], arguments: &[&str]) -> Output {
        docker(&self.arguments(image, options, arguments))
    }

    /// The standard output of a shell script in the image, run without claudebox.
    pub(crate) fn shell(&self, image: &str, user: &str, script: &str) -> String {
        let output = self.run(image, &["--user", user, "--entrypoint", "sh"], &["-c", script]);
        assert!(output.status.success(), "{output:?}");
        text(&output.stdout)
    }

    /// Starts, in the background, a prompt that takes longer than any test looks at it.
    pub(crate) fn start_slow_prompt(&self, image: &str) {
        let started = self.run(image, &["--detach", "-e", "CLAUDEBOX_OFFLINE=1"], &["offline:slow 30"]);
        assert!(started.status.success(), "{started:?}");
        self.wait_for_claude();
    }

    pub(crate) fn wait_for_claude(&self) {
        wait_for("a process named claude", || {
            self.processes().iter().any(|process| process.command == "claude").then_some(())
        });
    }

    pub(crate) fn exec(&self, arguments: &[&str]) -> Output {
        docker(&[&["exec", &self.name], arguments].concat())
    }

    /// What runs in the container; nothing while it is not up.
    pub(crate) fn processes(&self) -> Vec<Process> {
        let output = self.exec(&["ps", "-eo", "pid=,user=,comm="]);
        text(&output.stdout).lines().filter_map(Process::parse).collect()
    }

    pub(crate) fn stop_and_assert_not_killed(&self) {
        let began = Instant::now();
        let stopped = docker(&["stop", "--time", &GRACE.to_string(), &self.name]);
        assert!(stopped.status.success(), "{stopped:?}");
        let took = began.elapsed();
        let code: i32 = inspect(&self.name, "{{.State.ExitCode}}").trim().parse().expect("an exit code is a number");
        assert_ne!(code, KILLED, "killed after {took:?}");
        assert!(took < Duration::from_secs(GRACE.into()), "stopped only after {took:?}");
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        docker(&["rm", "--force", "--volumes", &self.name]);
    }
}
