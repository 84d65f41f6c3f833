//! The broker of a box: Claude has nothing of the credential, and its requests arrive with it. The real CLI, skipped without
//! `CLAUDEBOX_TEST_CLI`, and an API of this machine's that the test listens in on.

use std::fs;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use rstest::rstest;
use serde_json::Value;

use crate::real_cli::claude;
use crate::support::{Launch, TestBox};

/// The credential. Nothing else in a box says this.
const TRUE_KEY: &str = "sk-ant-the-true-credential-0123456789";
const STAND_IN: &str = "-claudebox-stand-in";

/// The offline model as the API of a box, and what it was asked.
pub(crate) struct Api {
    model: Child,
    pub(crate) url: String,
    asked: Arc<Mutex<Vec<u8>>>,
}

impl Api {
    pub(crate) fn start() -> Self {
        let mut model = Command::new(env!("CARGO_BIN_EXE_claudebox"));
        model.args(["offline-model", "--listen", "127.0.0.1:0"]).env_clear().stdout(Stdio::piped());
        let mut model = model.spawn().unwrap();
        let mut url = String::new();
        BufReader::new(model.stdout.take().unwrap()).read_line(&mut url).unwrap();
        let address = url.trim().strip_prefix("http://").unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked: Arc<Mutex<Vec<u8>>> = Arc::default();
        let seen = Arc::clone(&asked);
        thread::spawn(move || {
            for client in listener.incoming() {
                let (client, seen) = (client.unwrap(), Arc::clone(&seen));
                let server = TcpStream::connect(&address).unwrap();
                let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                thread::spawn(move || copy(from, to, &|bytes| seen.lock().unwrap().extend_from_slice(bytes)));
                thread::spawn(move || copy(server, client, &|_| {}));
            }
        });
        Self { model, url, asked }
    }

    /// All that was sent to it.
    pub(crate) fn asked(&self) -> String {
        String::from_utf8_lossy(&self.asked.lock().unwrap()).into_owned()
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        let _ = self.model.kill();
        let _ = self.model.wait();
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream, each: &dyn Fn(&[u8])) {
    let mut bytes = [0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut bytes) {
        each(&bytes[..length]);
        if to.write_all(&bytes[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

/// A box that has `variable` as its credential for `api`.
fn with_credential<'testbox>(
    testbox: &'testbox TestBox,
    api: &Api,
    variable: &str,
    args: &[&str],
) -> Option<Launch<'testbox>> {
    let launch = claude(testbox, args)?.shared_network().env("CLAUDEBOX_OFFLINE", "0");
    Some(launch.env(variable, TRUE_KEY).env("ANTHROPIC_BASE_URL", &api.url))
}

/// Looks for the credential wherever an agent can: its environment, processes, every file that it can read. The name is put
/// together here: the search must not find itself.
const SEARCH: &str = r#"
word=the-true-; word=${word}credential
env | grep -q "$word" && echo "HIT environment"
for file in /proc/[0-9]*/environ /proc/[0-9]*/cmdline /proc/[0-9]*/fd/*; do
    [ -f "$file" ] && timeout 1 head -c 100000 "$file" 2>/dev/null | grep -qa "$word" && echo "HIT $file"
done
find "$HOME" "$PWD" /run /etc /var/lib/claudebox /var/tmp -type f 2>/dev/null | xargs -d '\n' grep -las "$word" | sed 's/^/HIT /'
echo "socket $ANTHROPIC_UNIX_SOCKET searched"
"#;

#[rstest]
#[case("ANTHROPIC_API_KEY", "x-api-key: ")]
#[case("ANTHROPIC_AUTH_TOKEN", "authorization: Bearer ")]
#[case("CLAUDE_CODE_OAUTH_TOKEN", "authorization: Bearer ")]
fn an_agent_finds_nothing_of_the_credential_and_the_api_sees_it(#[case] variable: &str, #[case] header: &str) {
    let Some(testbox) = TestBox::new() else { return };
    let api = Api::start();
    fs::write(testbox.path("work/search"), SEARCH).unwrap();
    let args = ["offline:tool exec bash search", "--output-format", "json-verbose"];
    let Some(launch) = with_credential(&testbox, &api, variable, &args) else { return };
    let finished = launch.start().finish().exits(0);
    let answer: Value = serde_json::from_str(&finished.out).unwrap();
    let found = answer["result"].as_str().unwrap();
    assert!(found.contains("searched") && !found.contains("HIT"), "{found}\n{}", finished.err);
    assert!(found.contains("socket /run/claudebox-"), "{found}");
    let asked = api.asked();
    let requests = asked.matches("POST /v1/messages").count();
    let credentials = asked.matches(&format!("{header}{TRUE_KEY}")).count();
    assert!(requests >= 2 && credentials == requests, "{requests} requests, {credentials} with it: {asked}");
    assert!(!asked.contains(STAND_IN), "{asked}");
    assert_eq!(asked.contains("oauth-2025-04-20"), variable == "CLAUDE_CODE_OAUTH_TOKEN");
}

/// A box without a CLI of its own, whose main child shows what it is given.
fn shown<'testbox>(testbox: &'testbox TestBox, settings: &[(&str, &str)]) -> Launch<'testbox> {
    let launch = testbox.main_child("#!/bin/sh\nenv | sort\ntest -S \"$ANTHROPIC_UNIX_SOCKET\" || sleep 1\ntest -S \"$ANTHROPIC_UNIX_SOCKET\" && echo there\n");
    settings.iter().fold(launch, |launch, (name, value)| launch.env(name, value))
}

#[test]
fn the_interactive_cli_has_a_socket_and_a_stand_in() {
    let Some(testbox) = TestBox::new() else { return };
    let settings = [("ANTHROPIC_API_KEY", TRUE_KEY), ("ANTHROPIC_CUSTOM_HEADERS", "x-secret: 1")];
    let finished = shown(&testbox, &settings).start().finish().exits(0);
    let seen = &finished.out;
    let is_one = |line: &str, name| line.starts_with(name) && line.ends_with(STAND_IN);
    assert!(seen.lines().any(|line| is_one(line, "ANTHROPIC_API_KEY=sk-ant-")) && seen.contains("\nthere\n"), "{seen}");
    assert!(!seen.contains(TRUE_KEY) && !seen.contains("x-secret"), "{seen}");
    // Its variable for the CLI alone.
    let forwarded = [("CLAUDEBOX_ENV_ANTHROPIC_AUTH_TOKEN", TRUE_KEY)];
    let finished = shown(&testbox, &forwarded).start().finish().exits(0);
    assert!(finished.out.lines().any(|line| is_one(line, "ANTHROPIC_AUTH_TOKEN=sk-ant-")), "{}", finished.out);
    assert!(!finished.out.contains(TRUE_KEY), "{}", finished.out);
}

/// Where there is no broker Claude has the credential, as ever.
#[rstest]
#[case(&[("CLAUDEBOX_BROKER", "0")])]
#[case(&[("CLAUDE_CODE_USE_BEDROCK", "1")])]
fn it_stays_out_of_the_way(#[case] settings: &[(&str, &str)]) {
    let Some(testbox) = TestBox::new() else { return };
    let settings = [settings, &[("ANTHROPIC_API_KEY", TRUE_KEY)]].concat();
    let seen = shown(&testbox, &settings).start().finish().out;
    assert!(seen.contains(TRUE_KEY) && !seen.contains("ANTHROPIC_UNIX_SOCKET"), "{seen}");
}

#[rstest]
#[case(&[("CLAUDEBOX_BROKER", "1")], "CLAUDEBOX_BROKER is on, and the box has no credential")]
#[case(&[("CLAUDEBOX_HARDENED", "1"), ("CLAUDE_CODE_USE_VERTEX", "1")], "CLAUDEBOX_HARDENED is on, and CLAUDE_CODE_USE_VERTEX is set")]
#[case(&[("ANTHROPIC_API_KEY", "k"), ("ANTHROPIC_BASE_URL", "ftp://x")], "ANTHROPIC_BASE_URL is not usable")]
fn one_that_cannot_be_is_said(#[case] settings: &[(&str, &str)], #[case] message: &str) {
    let Some(testbox) = TestBox::new() else { return };
    let finished = shown(&testbox, settings).start().finish().exits(78);
    assert!(finished.err.contains(message), "{}", finished.err);
}

/// What a proxy says first to whoever wants to go to this place.
const CONNECT: &str = r#"#!/bin/bash
exec 3<>/dev/tcp/127.0.0.1/${HTTPS_PROXY##*:}
printf 'CONNECT not.listed:443 HTTP/1.1\r\nHost: not.listed:443\r\n\r\n' >&3
head -1 <&3
echo "$https_proxy $NO_PROXY $NODE_USE_ENV_PROXY $CLAUDEBOX_EGRESS_PORTS ${ANTHROPIC_UNIX_SOCKET-no socket}"
"#;

#[test]
fn with_an_allow_list_there_is_one_way_out() {
    let Some(testbox) = TestBox::new() else { return };
    let launch = testbox.main_child(CONNECT).env("CLAUDEBOX_EGRESS_ALLOW", "example.com, *.example.org:8443");
    let finished = launch.start().finish().exits(0);
    assert!(finished.out.starts_with("HTTP/1.1 403 "), "{}{}", finished.out, finished.err);
    assert!(finished.out.contains(" 127.0.0.1,localhost 1 ") && finished.out.contains("no socket"), "{}", finished.out);
    let open = testbox.main_child("#!/bin/sh\nenv").start().finish().exits(0);
    assert!(!open.out.contains("PROXY"), "{}", open.out);
}

#[rstest]
#[case(&[("CLAUDEBOX_EGRESS_ALLOW", "*.com")], "*.com")]
#[case(&[("CLAUDEBOX_EGRESS_ALLOW", "not a name!")], "allowed")]
#[case(&[("CLAUDEBOX_EGRESS", "closed")], "allowed are open and list")]
fn a_list_that_cannot_be_is_said(#[case] settings: &[(&str, &str)], #[case] message: &str) {
    let Some(testbox) = TestBox::new() else { return };
    let finished = shown(&testbox, settings).start().finish().exits(78);
    assert!(finished.err.contains(message), "{}", finished.err);
}

#[test]
fn a_hardened_box_refuses_a_login_that_claude_can_read() {
    let Some(testbox) = TestBox::new() else { return };
    fs::create_dir_all(testbox.path("home/.claude")).unwrap();
    fs::write(testbox.path("home/.claude/.credentials.json"), "{}").unwrap();
    let finished = shown(&testbox, &[("CLAUDEBOX_HARDENED", "1")]).start().finish().exits(78);
    assert!(finished.err.contains("signed in by") && finished.err.contains("ANTHROPIC_API_KEY"), "{}", finished.err);
}

#[test]
fn a_broker_that_is_killed_comes_back_and_the_run_goes_on() {
    let Some(testbox) = TestBox::new() else { return };
    let api = Api::start();
    let args = ["offline:tool bash -c 'exec sleep 3' && echo went on"];
    let Some(launch) = with_credential(&testbox, &api, "ANTHROPIC_API_KEY", &args) else { return };
    let mut running = launch.start();
    running.until("the tool runs", |processes| processes.iter().any(|process| process.name == "sleep"));
    let brokers = |processes: &[crate::support::process::Process]| -> Vec<i32> {
        let is_one =
            |process: &&crate::support::process::Process| process.command().get(1).is_some_and(|role| role == "broker");
        processes.iter().filter(is_one).map(|process| process.pid).collect()
    };
    let first = brokers(&running.processes());
    assert_eq!(first.len(), 1);
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(first[0]), nix::sys::signal::Signal::SIGKILL).unwrap();
    running.until("another one is there", |processes| {
        let now = brokers(processes);
        now.len() == 1 && now != first
    });
    let finished = running.finish().exits(0);
    assert!(finished.out.contains("went on"), "{}", finished.out);
    assert!(finished.err.contains("the broker was ended by SIGKILL; it is started again in"), "{}", finished.err);
}

#[test]
fn a_run_ends_at_its_budget() {
    let Some(testbox) = TestBox::new() else { return };
    let api = Api::start();
    let args = ["offline:echo much", "--max-budget-usd", "0.000001", "--output-format", "json"];
    let Some(launch) = with_credential(&testbox, &api, "ANTHROPIC_API_KEY", &args) else { return };
    let finished = launch.start().finish().exits(3);
    let answer: Value = serde_json::from_str(&finished.out).unwrap();
    assert_eq!(answer["outcome"], "budget", "{answer}");
    assert!(answer["totalCostUsd"].as_f64().is_some_and(|cost| cost > 0.0), "{answer}");
}
