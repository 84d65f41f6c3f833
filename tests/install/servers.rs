//! Boxes with servers: they answer at once, say that the CLI is on its way, and take runs when it is there.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::boxes::{of_store, store};
use crate::registry::{Gate, Manner, PINNED, Package, Registry, assert_holds, pause};
use crate::support::{DEADLINE, Finished, Running, TestBox};

/// A box with the API, and where that listens: in the network of the test, which reaches it and is reached.
struct Api {
    running: Running,
    port: u16,
}

fn api(testbox: &TestBox, package: &Package, url: &str) -> Api {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let workspaces = testbox.path("workspaces");
    let launch = of_store(testbox, &["init", "--"], package, url).env("CLAUDEBOX_MODE_API", "1");
    let launch = launch.env("CLAUDEBOX_MODE_API_BIND", "127.0.0.1").env("CLAUDEBOX_MODE_API_PORT", &port.to_string());
    let launch = launch.env("CLAUDEBOX_WORKSPACES_DIR", workspaces.to_str().unwrap());
    let running = launch.env("CLAUDEBOX_WORKSPACE", "/no/such/folder").shared_network().start();
    Api { running, port }
}

impl Api {
    /// Status and body; 0 where nobody listens yet.
    fn ask(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) else { return (0, Value::Null) };
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), serde_json::from_str(body).unwrap_or_default())
    }

    /// Asks until the answer is as wanted.
    fn until(&mut self, what: &str, path: &str, wanted: impl Fn(&(u16, Value)) -> bool) -> (u16, Value) {
        let deadline = Instant::now() + *DEADLINE;
        loop {
            let answer = self.ask("GET", path, "");
            if wanted(&answer) {
                return answer;
            }
            assert!(Instant::now() < deadline, "never: {what}: {answer:?}");
            self.running.until("the box runs", |_| true);
            pause(Duration::from_millis(20));
        }
    }

    /// Stops the box.
    fn stop(self) -> Finished {
        self.running.signal(libc::SIGTERM);
        self.running.finish().exits(0)
    }
}

fn detail(answer: &(u16, Value)) -> &str {
    answer.1["detail"].as_str().unwrap_or_default()
}

#[test]
fn servers_answer_while_it_is_installed_and_take_runs_when_it_is_there() {
    let Some(testbox) = TestBox::new() else { return };
    let package = Package::of("cat >/dev/null; exit 3");
    let gate = Arc::new(Gate::default());
    let registry = Registry::new(&package, Manner::Half(Arc::clone(&gate)));
    let mut api = api(&testbox, &package, &registry.url);
    api.until("it is alive", "/health", |answer| answer.0 == 200);
    let says = |answer: &(u16, Value)| {
        detail(answer).starts_with("installing the Claude CLI 1.2.3: ") && detail(answer).contains(" of ")
    };
    let ready = api.until("it says how far it is", "/ready", says);
    assert_eq!((ready.0, ready.1["code"].as_str()), (503, Some("not_ready")));
    let refused = api.ask("POST", "/run", r#"{"prompt": "hello"}"#);
    assert_eq!((refused.0, refused.1["code"].as_str()), (503, Some("not_ready")), "{refused:?}");
    assert!(detail(&refused).contains("installing the Claude CLI 1.2.3: "), "{refused:?}");
    gate.open();
    api.until("it is ready", "/ready", |answer| answer.0 == 200);
    assert_holds(&store(&testbox, &package), &[PINNED]);
    // It is carried out; that the made-up CLI is none is another matter.
    let run = api.ask("POST", "/run", r#"{"prompt": "hello"}"#);
    assert_eq!(run.1["outcome"].as_str(), Some("truncated"), "{run:?}");
    api.stop();
}

#[test]
fn an_installation_that_fails_is_told_and_tried_again() {
    let Some(testbox) = TestBox::new() else { return };
    let package = Package::of("exit 3");
    let registry = Registry::new(&package, Manner::Status(404));
    let mut api = api(&testbox, &package, &registry.url);
    let fails = |answer: &(u16, Value)| detail(answer).contains("is not there (404)");
    let ready = api.until("it says why", "/ready", fails);
    assert_eq!(ready.0, 503);
    assert!(detail(&ready).contains("set CLAUDEBOX_NPM_REGISTRY"), "{ready:?}");
    assert_eq!(api.ask("GET", "/health", "").0, 200);
    registry.behave(Manner::Good);
    api.until("it is ready", "/ready", |answer| answer.0 == 200);
    let finished = api.stop();
    let told = "no run can be started; the Claude CLI is tried again in ";
    assert!(finished.err.contains(told) && finished.err.contains("is not there (404)"), "{}", finished.err);
}

#[test]
fn a_box_with_servers_ends_while_it_installs() {
    let Some(testbox) = TestBox::new() else { return };
    let package = Package::of("exit 3");
    let registry = Registry::new(&package, Manner::Half(Arc::new(Gate::default())));
    let mut api = api(&testbox, &package, &registry.url);
    api.running.until("a package is being fetched", |_| registry.fetched() > 0);
    api.until("it is alive", "/health", |answer| answer.0 == 200);
    api.stop();
    assert_holds(&store(&testbox, &package), &[]);
}

/// A `serve` that was killed meanwhile is told anew.
#[test]
fn a_serve_that_is_started_again_knows_that_it_is_there() {
    let Some(testbox) = TestBox::new() else { return };
    let package = Package::of("exit 3");
    let registry = Registry::new(&package, Manner::Good);
    let mut api = api(&testbox, &package, &registry.url);
    api.until("it is ready", "/ready", |answer| answer.0 == 200);
    let is_serve = |command: Vec<String>| command.last().is_some_and(|last| last == "serve");
    let serve = api.running.processes().into_iter().find(|process| is_serve(process.command())).unwrap();
    claudebox::sys::kill(serve.pid, libc::SIGKILL).unwrap();
    api.running.until("another is there", |all| {
        all.iter().any(|process| process.pid != serve.pid && is_serve(process.command()))
    });
    api.until("it is ready again", "/ready", |answer| answer.0 == 200);
    assert_eq!(registry.asked(), 1);
    api.stop();
}

/// `claudebox run` in a box that installs waits for that.
#[test]
fn a_prompt_from_inside_waits_for_it() {
    let Some(testbox) = TestBox::new() else { return };
    let package = Package::of("cat >/dev/null; exit 3");
    let gate = Arc::new(Gate::default());
    let registry = Registry::new(&package, Manner::Half(Arc::clone(&gate)));
    let mut api = api(&testbox, &package, &registry.url);
    api.running.until("a package is being fetched", |_| registry.fetched() > 0);
    api.until("it is alive", "/health", |answer| answer.0 == 200);
    let target = api.running.pid1().to_string();
    let mut command = std::process::Command::new("nsenter");
    command.args(["--target", &target, "--pid", "--mount", "env", "-i"]);
    command.arg(format!("CLAUDEBOX_TEST_PINS={}", package.pins_of_box()));
    command.arg(format!("CLAUDEBOX_WORKSPACES_DIR={}", testbox.path("workspaces").display()));
    command.arg("PATH=/usr/bin:/bin").arg("CLAUDEBOX_MODE_API=1").arg(testbox.program()).args(["run", "hello"]);
    command
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let child = command.spawn().unwrap();
    api.until("it waits", "/ready", |answer| answer.0 == 503);
    gate.open();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(74), "{said}");
    assert!(
        said.contains("claudebox: waiting for another start, which is installing the Claude CLI 1.2.3: "),
        "{said}"
    );
    api.stop();
}
