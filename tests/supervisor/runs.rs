//! Prompts, with a stub in the CLI's place for what the real one cannot be made to do.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use crate::support::{Launch, TestBox};

const SESSION: &str = "11111111-2222-4333-8444-555555555555";
const INIT: &str = r#"{"type":"system","subtype":"init","session_id":"11111111-2222-4333-8444-555555555555","model":"stub","cwd":"/","tools":["Bash"]}"#;
const RESULT: &str = r#"{"type":"result","subtype":"success","is_error":false,"result":"done","session_id":"11111111-2222-4333-8444-555555555555","total_cost_usd":0.10,"structured_output":{"user_name":1.0}}"#;

/// `claudebox init -- ARGS` with this shell script as the CLI. `$INIT` and `$RESULT` are events it can print.
fn prompt<'testbox>(testbox: &'testbox TestBox, stub: &str, args: &[&str]) -> Launch<'testbox> {
    let path = testbox.script("claude", &format!("#!/bin/sh\nINIT='{INIT}'\nRESULT='{RESULT}'\n{stub}\n"));
    let args: Vec<&str> = ["init", "--"].iter().chain(args).copied().collect();
    testbox.claudebox(&args).env("CLAUDEBOX_CLAUDE_BIN", &path)
}

const ANSWER: &str = r#"cat >/dev/null; echo "$INIT"; echo "$RESULT""#;

fn json(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

#[test]
fn each_format_has_the_answer() {
    let Some(testbox) = TestBox::new() else { return };
    let output =
        |format: &str| prompt(&testbox, ANSWER, &["hi", "--output-format", format]).start().finish().exits(0).out;
    assert_eq!(output("text"), "done\n");
    let result = json(&output("json"));
    assert_eq!((&result["outcome"], &result["sessionId"]), (&"ok".into(), &SESSION.into()));
    assert_eq!(result["structuredOutput"].to_string(), r#"{"user_name":1.0}"#);
    assert_eq!(result["totalCostUsd"].to_string(), "0.10");
    let verbose = json(&output("json-verbose"));
    assert_eq!((&verbose["turns"], &verbose["system"]["tools"][0]), (&Value::Array(vec![]), &"Bash".into()));
    let events = output("stream-json");
    let types: Vec<Value> = events.lines().map(|line| json(line)["type"].clone()).collect();
    assert_eq!(types, ["system", "result"]);
}

/// An engine makes a folder that is to be mounted and is not there, as root.
#[test]
fn a_workspace_that_an_engine_has_made_is_given_and_another_that_is_roots_is_named() {
    let Some(testbox) = TestBox::new() else { return };
    let stub = format!("touch made || :; {ANSWER}");
    let (new, full) = (testbox.path("new"), testbox.path("full"));
    for folder in [&new, &full, &full.join("sub")] {
        fs::create_dir(folder).unwrap();
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let answer = |folder: &std::path::Path| {
        prompt(&testbox, &stub, &["hi"]).env("CLAUDEBOX_WORKSPACE", folder.to_str().unwrap()).start().finish().exits(0)
    };
    let given = answer(&new);
    assert!(new.join("made").exists() && given.err.contains("was empty and root's: it is "), "{}", given.err);
    let refused = answer(&full);
    assert!(!full.join("made").exists());
    let why = format!("warning: {} belongs to 0:0 and ", full.display());
    assert!(refused.err.contains(&why) && refused.err.contains("chown -R "), "{}", refused.err);
    // It has an owner now, and nothing to say.
    assert_eq!(answer(&new).err, "");
}

#[test]
fn a_name_that_is_no_setting_is_said_once_with_what_is_meant() {
    let Some(testbox) = TestBox::new() else { return };
    let finished = prompt(&testbox, ANSWER, &["hi"]).env("CLAUDEBOX_OFLINE", "1").start().finish().exits(0);
    let said = "claudebox: warning: CLAUDEBOX_OFLINE is no setting and does nothing: is CLAUDEBOX_OFFLINE meant?\n";
    assert_eq!(finished.err, said);
}

#[test]
fn a_line_that_is_no_event_is_logged_and_counted_and_not_fatal() {
    let Some(testbox) = TestBox::new() else { return };
    let stub = r#"cat >/dev/null; echo "$INIT"; echo 'oops {'; echo '[1]'; echo "$RESULT""#;
    let finished = prompt(&testbox, stub, &["hi", "--output-format", "json"]).start().finish().exits(0);
    assert_eq!(json(&finished.out)["malformedLines"], 2);
    assert!(finished.err.contains("oops {"), "{}", finished.err);
}

#[test]
fn long_prompts_arrive_whole() {
    let Some(testbox) = TestBox::new() else { return };
    let stub = r#"echo "$INIT"; echo "{\"type\":\"result\",\"is_error\":false,\"result\":\"$(tr -dc Z | wc -c)\"}""#;
    for length in [200_000, 2_000_000] {
        let mut running = prompt(&testbox, stub, &[]).with_input().start();
        running.write(&"Z".repeat(length));
        running.close_input();
        assert_eq!(running.finish().exits(0).out, format!("{length}\n"));
    }
}

#[test]
fn a_prompt_over_ten_megabytes_is_refused_before_anything_starts() {
    let Some(testbox) = TestBox::new() else { return };
    let started = testbox.path("work/started");
    let mut running = prompt(&testbox, &format!("touch {}", started.display()), &[]).with_input().start();
    running.write_until_refused(&"x".repeat(10_000_001));
    running.close_input();
    let finished = running.finish().exits(64);
    assert!(finished.err.contains("longer than 10000000 bytes"), "{}", finished.err);
    assert!(!started.exists());
}

#[test]
fn words_and_standard_input_are_both_sent() {
    let Some(testbox) = TestBox::new() else { return };
    let stub = r#"cat >prompt; echo "$INIT"; echo "$RESULT""#;
    let mut running = prompt(&testbox, stub, &["review", "this"]).with_input().start();
    running.write("+ a line\n");
    running.close_input();
    running.finish().exits(0);
    let message = json(&fs::read_to_string(testbox.path("work/prompt")).unwrap());
    assert_eq!(message["message"]["content"][0]["text"], "review this\n\n+ a line\n");
}

/// A job runner may leave standard input open and never write to it.
#[test]
fn a_silent_standard_input_does_not_hold_a_run_that_has_its_prompt() {
    let Some(testbox) = TestBox::new() else { return };
    let finished = prompt(&testbox, ANSWER, &["hi"]).with_input().start().finish().exits(0);
    assert!(finished.err.contains("standard input stayed silent"), "{}", finished.err);
}

#[test]
fn no_prompt_at_all_is_a_usage_error() {
    let Some(testbox) = TestBox::new() else { return };
    let finished = prompt(&testbox, ANSWER, &[]).start().finish().exits(64);
    assert!(finished.err.contains("there is no prompt"), "{}", finished.err);
}

/// A process that changed its session and ignores hang-ups, holding the CLI's output open.
const ESCAPEE: &str = "setsid nohup sh -c 'exec sleep 1000' & setsid sh -c '(exec sleep 1000) & exit' &";

/// Checklist 27.
#[test]
fn a_finished_runs_leftovers_die_and_another_run_lives() {
    let Some(testbox) = TestBox::new() else { return };
    testbox.script("quick", &format!("#!/bin/sh\n{ESCAPEE}\ncat >/dev/null; echo '{INIT}'; echo '{RESULT}'\n"));
    testbox.script(
        "slow",
        &format!("#!/bin/sh\ncat >/dev/null; echo '{INIT}'; sleep 2000 & read line <gate; echo '{RESULT}'\n"),
    );
    let script = r#"#!/bin/sh
        mkfifo gate
        CLAUDEBOX_CLAUDE_BIN=$BOX/slow $BOX/claudebox run slow </dev/null >slow.out &
        CLAUDEBOX_CLAUDE_BIN=$BOX/quick $BOX/claudebox run quick --output-format json </dev/null
        echo "the quick run has ended"
        read go
        echo go >gate
        wait
        cat slow.out"#;
    let launch = testbox.main_child(script).env("BOX", testbox.path("").to_str().unwrap()).with_input();
    let mut running = launch.start();
    let quick = running.expect("the quick run has ended");
    assert!(json(quick.trim())["leftoverProcesses"].as_u64().unwrap() >= 2, "{quick}");
    running.until("the slow run's tool runs on", |all| sleeps(all, "2000") == 1);
    running.until("the quick run's leftovers are gone", |all| sleeps(all, "1000") == 0);
    running.write("go\n");
    assert_eq!(running.expect("done\n"), "\n");
    running.finish().exits(0);
}

/// How many processes are `sleep SECONDS`.
fn sleeps(processes: &[crate::support::process::Process], seconds: &str) -> usize {
    processes.iter().filter(|process| process.command() == ["sleep", seconds]).count()
}

#[test]
fn a_killed_cli_leaves_nothing_behind() {
    let Some(testbox) = TestBox::new() else { return };
    let stub = format!("{ESCAPEE} cat >/dev/null; echo \"$INIT\"; kill -KILL $$");
    let finished = prompt(&testbox, &stub, &["hi", "--output-format", "json"]).start().finish().exits(137);
    let result = json(&finished.out);
    assert_eq!((&result["outcome"], &result["isError"]), (&"killed".into(), &true.into()));
    assert!(result["leftoverProcesses"].as_u64().unwrap() >= 2, "{result}");
}

/// Whichever process of a run is killed: what is left of the run ends too.
#[test]
fn a_killed_supervisor_of_a_run_leaves_nothing_behind() {
    let Some(testbox) = TestBox::new() else { return };
    testbox.script("stub", &format!("#!/bin/sh\n{ESCAPEE}\ncat >/dev/null; echo '{INIT}'; sleep 1000 & wait\n"));
    let script = r#"#!/bin/sh
        CLAUDEBOX_CLAUDE_BIN=$BOX/stub $BOX/claudebox run hi </dev/null &
        echo "run: $!"
        wait
        read go"#;
    for victim in ["run", "worker"] {
        let launch = testbox.main_child(script).env("BOX", testbox.path("").to_str().unwrap()).with_input();
        let mut running = launch.start();
        running.until("the run's tools run", |all| sleeps(all, "1000") == 3);
        let is_victim = |process: &&crate::support::process::Process| {
            let command = process.command();
            command.get(1).is_some_and(|role| role == victim) && command[0].ends_with("claudebox")
        };
        let pid = running.processes().iter().find(is_victim).unwrap().pid;
        claudebox::sys::kill(pid, libc::SIGKILL).unwrap();
        running.until("everything of the run is gone", |all| sleeps(all, "1000") == 0);
        running.write("go\n");
        running.finish();
    }
}

#[test]
fn a_session_that_is_not_there_is_named_before_a_terminal_opens() {
    let Some(testbox) = TestBox::new() else { return };
    let mut running =
        prompt(&testbox, "touch started", &["--resume", "99999999-2222-4333-8444-555555555555"]).on_terminal().start();
    running.expect(
        r#"there is no session "99999999-2222-4333-8444-555555555555": leave --resume out to go on with the last one"#,
    );
    running.finish().exits(66);
    assert!(!testbox.path("work/started").exists());
}

#[test]
fn a_cancelled_run_leaves_nothing_behind_and_is_not_started_again() {
    let Some(testbox) = TestBox::new() else { return };
    let stub = format!("echo started >>starts; {ESCAPEE} cat >/dev/null; echo \"$INIT\"; sleep 1000 & wait");
    let mut running = prompt(&testbox, &stub, &["hi", "--output-format", "stream-json"]).start();
    running.expect("init");
    running.signal(libc::SIGINT);
    let finished = running.finish().exits(130);
    assert!(finished.err.ends_with("claudebox: stopped\n"), "{}", finished.err);
    assert_eq!(json(finished.out.lines().last().unwrap())["outcome"], "killed");
    assert_eq!(fs::read_to_string(testbox.path("work/starts")).unwrap(), "started\n");
}

#[test]
fn a_cli_that_ignores_term_is_killed_in_bounded_time() {
    let Some(testbox) = TestBox::new() else { return };
    let stub = "trap '' TERM INT HUP; cat >/dev/null; echo \"$INIT\"; while :; do sleep 1000; done";
    let mut running = prompt(&testbox, stub, &["hi", "--output-format", "stream-json"]).start();
    running.expect("init");
    running.signal(libc::SIGTERM);
    running.finish().exits(143);
}

#[test]
fn a_run_past_its_timeout_is_hung() {
    let Some(testbox) = TestBox::new() else { return };
    let stub = "cat >/dev/null; echo \"$INIT\"; sleep 1000";
    let args = ["hi", "--timeout", "0.2", "--output-format", "json"];
    let finished = prompt(&testbox, stub, &args).start().finish().exits(124);
    assert_eq!(json(&finished.out)["outcome"], "hung");
}

#[test]
fn a_cli_that_stays_after_its_result_is_a_success_whose_leftovers_are_ended() {
    let Some(testbox) = TestBox::new() else { return };
    let stub = "cat >/dev/null; echo \"$INIT\"; echo \"$RESULT\"; sleep 1000";
    let finished = prompt(&testbox, stub, &["hi", "--output-format", "json"]).start().finish().exits(0);
    assert_eq!(json(&finished.out)["outcome"], "ok");
}

#[test]
fn refused_credentials_do_not_hold_a_run() {
    let Some(testbox) = TestBox::new() else { return };
    let retry = r#"{"type":"system","subtype":"api_retry","attempt":'$n',"max_retries":10,"error_status":401}"#;
    let stub = format!("cat >/dev/null; echo \"$INIT\"; for n in 1 2; do echo '{retry}'; done; sleep 1000");
    let finished = prompt(&testbox, &stub, &["hi"]).start().finish().exits(77);
    assert!(finished.err.contains("ANTHROPIC_API_KEY"), "{}", finished.err);
}

#[test]
fn a_cli_without_a_result_is_no_success_whatever_its_exit_code() {
    let Some(testbox) = TestBox::new() else { return };
    let finished = prompt(&testbox, "cat >/dev/null; echo \"$INIT\"", &["hi"]).start().finish().exits(74);
    assert!(finished.err.contains("without a result"), "{}", finished.err);
}

#[test]
fn a_reader_that_goes_away_ends_the_run_silently() {
    let Some(testbox) = TestBox::new() else { return };
    let stub = "cat >/dev/null; echo \"$INIT\"; while echo '{\"type\":\"x\"}'; do :; done; sleep 1000";
    let tail = r#"{ "$@"; echo "code: $?" >&2; } | head -n 1"#;
    let launch = prompt(&testbox, stub, &["hi", "--output-format", "stream-json"]).tail(tail);
    let finished = launch.start().finish().exits(0);
    assert_eq!(finished.out.lines().count(), 1);
    assert!(finished.err.contains("code: 141"), "{}", finished.err);
}

#[test]
fn the_last_session_goes_on_by_its_id() {
    let Some(testbox) = TestBox::new() else { return };
    let stub = r#"cat >/dev/null; echo "$*" >>args; echo "$INIT"; echo "$RESULT""#;
    let run = |args: &[&str]| {
        prompt(&testbox, stub, args).start().finish().exits(0);
        fs::read_to_string(testbox.path("work/args")).unwrap().lines().last().unwrap().to_owned()
    };
    let resumes = format!("--resume {SESSION}");
    // The ledger alone is not enough: the CLI has no file of that session.
    assert!(!run(&["hi"]).contains("--resume"));
    assert!(!run(&["hi"]).contains("--resume"));
    have_a_last_session(&testbox);
    assert!(run(&["hi"]).contains(&resumes));
    assert!(!run(&["hi", "--no-continue"]).contains("--resume"));
    assert!(run(&["hi", "--resume", "other"]).contains("--resume other"));
}

/// A run, and the file that the CLI would have written for its session.
fn have_a_last_session(testbox: &TestBox) {
    prompt(testbox, ANSWER, &["hi"]).start().finish().exits(0);
    have_a_session_file(testbox, "sdk-cli");
}

/// The file of a session whose CLI was started like that.
fn have_a_session_file(testbox: &TestBox, entrypoint: &str) {
    let workspace = fs::canonicalize(testbox.path("work")).unwrap();
    let slug = workspace.to_str().unwrap().replace(|one: char| !one.is_ascii_alphanumeric(), "-");
    let folder = testbox.path("home/.claude/projects").join(slug);
    fs::create_dir_all(&folder).unwrap();
    let line = serde_json::json!({"type": "user", "cwd": workspace, "entrypoint": entrypoint});
    fs::write(folder.join(format!("{SESSION}.jsonl")), format!("{line}\n")).unwrap();
}

/// The predecessor started a cancelled prompt again, because it took any failure for a missing session.
#[test]
fn a_last_session_that_has_gone_is_replaced_and_a_named_one_is_not() {
    let Some(testbox) = TestBox::new() else { return };
    have_a_last_session(&testbox);
    let gone = r#"{"type":"result","subtype":"error_during_execution","is_error":true,"errors":["No conversation found with session ID: x"]}"#;
    let stub = format!(
        "cat >/dev/null; echo $* >>args; case $* in *--resume*) echo '{gone}'; exit 1;; esac; echo \"$INIT\"; echo \"$RESULT\""
    );
    let finished = prompt(&testbox, &stub, &["hi", "--output-format", "stream-json"]).start().finish().exits(0);
    assert_eq!(json(finished.out.lines().next().unwrap())["subtype"], "init", "{}", finished.out);
    let attempts = fs::read_to_string(testbox.path("work/args")).unwrap();
    assert_eq!(attempts.lines().map(|args| args.contains("--resume")).collect::<Vec<_>>(), [true, false]);
    let named = prompt(&testbox, &stub, &["hi", "--resume", SESSION]).start().finish().exits(66);
    assert!(named.err.contains("No conversation found"), "{}", named.err);
}

#[test]
fn the_cli_carries_the_runs_id_and_never_the_doors_secrets() {
    let Some(testbox) = TestBox::new() else { return };
    let stub = r#"cat >/dev/null; env >environment; echo "$INIT"; echo "$RESULT""#;
    let launch = prompt(&testbox, stub, &["hi", "--output-format", "json"])
        .env("CLAUDE_MODE_API_TOKEN", "door-secret")
        .env("CLAUDEBOX_TELEGRAM_BOT_TOKEN", "door-secret")
        .env("GITHUB_TOKEN", "the user's own");
    let result = json(&launch.start().finish().exits(0).out);
    let environment = fs::read_to_string(testbox.path("work/environment")).unwrap();
    assert!(environment.contains(&format!("CLAUDEBOX_RUN_ID={}\n", result["runId"].as_str().unwrap())));
    assert!(environment.contains("GITHUB_TOKEN=the user's own\n") && !environment.contains("door-secret"));
}

#[test]
fn the_interactive_cli_goes_on_with_the_last_session_and_keeps_its_exit_code() {
    let Some(testbox) = TestBox::new() else { return };
    have_a_last_session(&testbox);
    have_a_session_file(&testbox, "cli");
    let stub = r#"echo "args: $*"; exit 42"#;
    let mut running = prompt(&testbox, stub, &["--model", "opus"]).on_terminal().start();
    let args = running.value("args: ");
    let settings = r#"--settings {"crossSessionInbound":"refuse","skipDangerousModePermissionPrompt":true}"#;
    assert_eq!(args, format!("--dangerously-skip-permissions {settings} --model opus --resume {SESSION}"));
    running.finish().exits(42);
    let state = fs::read_to_string(testbox.path("home/.claude/.claude.json")).unwrap();
    assert!(json(&state)["hasCompletedOnboarding"] == true, "{state}");
}

/// In every mode, and read again for each run.
#[test]
fn the_standing_instructions_reach_the_cli_in_a_private_file() {
    let Some(testbox) = TestBox::new() else { return };
    let stub = r#"cat >/dev/null
        while [ "$1" != --append-system-prompt-file ]; do shift || exit 9; done
        { stat -c %a "$2"; cat "$2"; } >note
        echo "$INIT"; echo "$RESULT""#;
    let skill = testbox.path("home/.claude/.always-skills/rules");
    fs::create_dir_all(&skill).unwrap();
    let give =
        std::process::Command::new("chown").args(["-R", "1000:1000"]).arg(testbox.path("home")).status().unwrap();
    assert!(give.success());
    for text in ["be brief", "be kind"] {
        fs::write(skill.join("SKILL.md"), text).unwrap();
        for interactive in [false, true] {
            let args: &[&str] = if interactive { &[] } else { &["hi"] };
            let launch = prompt(&testbox, stub, args).env("CLAUDEBOX_SYSTEM_HINT", "you are in a box");
            let launch = if interactive { launch.on_terminal() } else { launch };
            let mut running = launch.start();
            if interactive {
                running.write("\x04");
            }
            running.finish().exits(0);
            let note = testbox.note();
            assert!(note.starts_with("600\nyou are in a box\n\n[Skill file: "), "{note}");
            assert!(note.ends_with(&format!("/rules/SKILL.md]\n\n{text}")), "{note}");
            fs::remove_file(testbox.path("work/note")).unwrap();
        }
    }
}

#[test]
fn git_knows_the_person_in_every_mode() {
    let Some(testbox) = TestBox::new() else { return };
    let stub =
        r#"cat >/dev/null; git config user.name >note; git config user.email >>note; echo "$INIT"; echo "$RESULT""#;
    let launch =
        prompt(&testbox, stub, &["hi"]).env("CLAUDE_GIT_NAME", "Ada L").env("CLAUDEBOX_GIT_EMAIL", "a@b.example");
    launch.start().finish().exits(0);
    assert_eq!(testbox.note(), "Ada L\na@b.example\n");
}

#[test]
fn the_offline_model_is_told_of_and_no_credential_reaches_the_cli() {
    let Some(testbox) = TestBox::new() else { return };
    let stub = r#"cat >/dev/null; env >note; echo "$INIT"; echo "$RESULT""#;
    for name in ["ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN", "CLAUDEBOX_ENV_ANTHROPIC_API_KEY"] {
        let launch = prompt(&testbox, stub, &["hi"]).env(name, "sk-real").env("CLAUDEBOX_OFFLINE", "1");
        let finished =
            launch.env("HTTP_PROXY", "http://proxy.example").env("no_proxy", "a.example").start().finish().exits(0);
        assert!(finished.err.contains("credentials") && !finished.err.contains("sk-real"), "{}", finished.err);
        let note = testbox.note();
        assert!(!note.contains("sk-real") && note.contains("ANTHROPIC_BASE_URL=http://127.0.0.1:"), "{note}");
        assert!(note.contains("no_proxy=127.0.0.1,a.example\n"), "{note}");
    }
}

#[test]
fn a_run_that_takes_more_memory_than_it_may_is_ended_and_says_so() {
    let Some(testbox) = TestBox::new() else { return };
    let greedy =
        format!("#!/bin/sh\ncat >/dev/null; echo '{INIT}'\nperl -e '$x = \"x\" x (400 << 20); sleep 1000' &\nwait\n");
    let cli = testbox.script("claude", &greedy);
    let launch = testbox.claudebox(&["init", "--", "hi", "--output-format", "json"]);
    let launch = launch.env("CLAUDEBOX_CLAUDE_BIN", &cli).env("CLAUDEBOX_MAX_MEM", "256m");
    let finished = launch.start().finish().exits(137);
    let result: Value = serde_json::from_str(&finished.out).unwrap();
    assert_eq!((&result["outcome"], &result["isError"]), (&"oom".into(), &true.into()), "{result}");
    assert!(finished.err.contains("CLAUDEBOX_MAX_MEM"), "{}", finished.err);
}

/// The kernel counts what it ends in the box's control group.
#[test]
fn a_cli_that_the_kernel_ended_for_its_memory_is_told_from_one_that_somebody_killed() {
    let Some(testbox) = TestBox::new() else { return };
    let events = testbox.path("work/memory.events");
    for (kills, outcome) in [(1, "oom"), (0, "killed")] {
        fs::write(&events, "oom 0\noom_kill 0\n").unwrap();
        let killed = format!(
            "#!/bin/sh\ncat >/dev/null; echo '{INIT}'\nprintf 'oom 0\\noom_kill {kills}\\n' >{}\nkill -9 $$\n",
            events.display()
        );
        let cli = testbox.script("claude", &killed);
        let launch = testbox.claudebox(&["init", "--", "hi", "--output-format", "json"]).before(&format!(
            "mount -t tmpfs none /sys/fs/cgroup && touch /sys/fs/cgroup/memory.events && chmod 666 '{0}' && \
             mount --bind '{0}' /sys/fs/cgroup/memory.events",
            events.display()
        ));
        let finished = launch.env("CLAUDEBOX_CLAUDE_BIN", &cli).start().finish().exits(137);
        let result: Value = serde_json::from_str(&finished.out).unwrap();
        assert_eq!(result["outcome"], outcome, "{result}");
    }
}

#[test]
fn a_prompt_whose_cli_cannot_be_started_ends_as_in_a_shell() {
    let Some(testbox) = TestBox::new() else { return };
    for (text, code, named) in
        [("#!/no/such/interpreter\n", 127, "/no/such/interpreter"), ("no program at all\n", 126, "claude")]
    {
        let cli = testbox.script("claude", text);
        let launch = testbox.claudebox(&["init", "--", "hi"]).env("CLAUDEBOX_CLAUDE_BIN", &cli);
        let finished = launch.start().finish().exits(code);
        assert!(finished.err.contains(named), "{}", finished.err);
    }
}
