//! The image with its HTTP API: runs, their results over every kind of end, and the stop.
//!
//! The client is the image's own curl, in the container: so no port of the machine is used, and no network.

use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::docker::{Container, docker, image, inspect, text, wait_for};

const API: &str = "http://127.0.0.1:8080";

/// A box that serves; its results are in the container itself.
struct Served {
    container: Container,
}

impl Served {
    fn start(image: &str, purpose: &str) -> Self {
        let container = Container::new(purpose);
        let settings = ["--detach", "-e", "CLAUDEBOX_OFFLINE=1", "-e", "CLAUDEBOX_MODE_API=1"];
        let started = container.run(image, &settings, &[]);
        assert!(started.status.success(), "{started:?}");
        let served = Self { container };
        served.wait_until_ready();
        served
    }

    fn wait_until_ready(&self) {
        wait_for("an answer of /ready", || self.get("/ready").filter(|answer| answer["status"] == "ok"));
    }

    /// The JSON answer to a GET; `None` while nothing answers.
    fn get(&self, path: &str) -> Option<Value> {
        let output = self.container.exec(&["curl", "--silent", &format!("{API}{path}")]);
        serde_json::from_slice(&output.stdout).ok()
    }

    fn run(&self, body: &Value) -> Value {
        let output = self.container.exec(&["curl", "--silent", "--json", &body.to_string(), &format!("{API}/run")]);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
    }

    /// A run that takes longer than any test looks at it, and a client that follows its events.
    fn start_slow_run(&self) -> (String, Follower) {
        let answer = self.run(&json!({"prompt": "offline:slow 600", "async": true}));
        let id = answer["runId"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
        let events = format!("{API}/runs/{id}/events");
        let follower = Command::new("docker")
            .args(["exec", self.container.name(), "curl", "--silent", "--no-buffer", &events])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the docker client can be started");
        wait_for("a running run", || self.get(&format!("/runs/{id}")).filter(|run| run["state"] == "running"));
        self.container.wait_for_claude();
        (id, Follower(follower))
    }

    /// The run, once the box answers again.
    fn after_a_start(&self, id: &str) -> Value {
        self.wait_until_ready();
        self.get(&format!("/runs/{id}")).expect("it answers")
    }
}

/// A client of a stream; ended with the test.
struct Follower(Child);

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn succeeds(arguments: &[&str]) {
    let output = docker(arguments);
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn a_run_is_answered_and_outlives_a_restart() {
    let Some(image) = image() else { return };
    let served = Served::start(&image, "api");
    let answer = served.run(&json!({"prompt": "hello", "workspace": "one", "createWorkspace": true}));
    assert_eq!((&answer["status"], &answer["workspace"]), (&json!("completed"), &json!("/workspaces/one")), "{answer}");
    assert!(answer["result"].as_str().is_some_and(|result| result.contains("offline model")), "{answer}");
    let owner = served.container.exec(&["stat", "--format", "%U", "/workspaces/one"]);
    assert_eq!(text(&owner.stdout), "claude\n");

    let health = served.container.exec(&["claudebox", "healthcheck"]);
    assert!(health.status.success() && text(&health.stdout).contains("servers are ready"), "{health:?}");

    let id = answer["runId"].as_str().expect("a run has an id");
    succeeds(&["restart", "--time", "10", served.container.name()]);
    assert_eq!(served.after_a_start(id)["result"]["result"], answer["result"]);
    assert_eq!(served.get(&format!("/run/result?runId={id}")).as_ref(), Some(&answer));
}

#[test]
fn docker_stop_ends_a_run_and_its_open_stream_in_time() {
    let Some(image) = image() else { return };
    let served = Served::start(&image, "api-stop");
    let (id, _follower) = served.start_slow_run();
    served.container.stop_and_assert_not_killed();
    assert_eq!(inspect(served.container.name(), "{{.State.ExitCode}}").trim(), "0");
    succeeds(&["start", served.container.name()]);
    assert_eq!(served.after_a_start(&id)["state"], "interrupted");
}

#[test]
fn a_box_that_was_killed_says_so_of_its_run_and_goes_on() {
    let Some(image) = image() else { return };
    let served = Served::start(&image, "api-kill");
    let (id, _follower) = served.start_slow_run();
    succeeds(&["kill", "--signal", "KILL", served.container.name()]);
    succeeds(&["start", served.container.name()]);
    assert_eq!(served.after_a_start(&id)["state"], "interrupted");
    // The workspace is free again.
    assert_eq!(served.run(&json!({"prompt": "hello"}))["status"], "completed");
}
