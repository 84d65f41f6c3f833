//! The real CLI under the supervisor, with the offline model. Skipped without `CLAUDEBOX_TEST_CLI`.

use std::fs;

use serde_json::Value;

use crate::support::{Launch, TestBox};

/// `claudebox init -- ARGS` with the real CLI and the offline model, in a network of its own.
pub(crate) fn claude<'testbox>(testbox: &'testbox TestBox, args: &[&str]) -> Option<Launch<'testbox>> {
    let Ok(cli) = std::env::var("CLAUDEBOX_TEST_CLI") else {
        eprintln!("skipped: CLAUDEBOX_TEST_CLI does not name a CLI");
        return None;
    };
    let args: Vec<&str> = ["init", "--"].iter().chain(args).copied().collect();
    // The CLI may lie below a folder that the box's user cannot enter.
    let seen = testbox.path("claude");
    fs::write(&seen, "").unwrap();
    let mount = format!("mount --bind '{cli}' '{}'", seen.display());
    let launch = testbox.claudebox(&args).before(&mount).env("CLAUDEBOX_CLAUDE_BIN", seen.to_str().unwrap());
    Some(launch.env("CLAUDEBOX_OFFLINE", "1").env("TERM", "xterm-256color").env("LANG", "C.UTF-8"))
}

pub(crate) fn answer(testbox: &TestBox, args: &[&str], code: i32) -> Option<(Value, String)> {
    let args: Vec<&str> = args.iter().chain(&["--output-format", "json-verbose"]).copied().collect();
    let finished = claude(testbox, &args)?.start().finish().exits(code);
    Some((serde_json::from_str(&finished.out).unwrap(), finished.err))
}

#[test]
fn a_prompt_is_answered_and_the_next_one_goes_on_with_its_session() {
    let Some(testbox) = TestBox::new() else { return };
    let Some((first, _)) = answer(&testbox, &["offline:echo one"], 0) else { return };
    assert_eq!(first["result"], "[claudebox offline model] one");
    let (second, _) = answer(&testbox, &["offline:echo two"], 0).unwrap();
    assert_eq!(second["sessionId"], first["sessionId"]);
    let (fresh, _) = answer(&testbox, &["offline:echo three", "--no-continue"], 0).unwrap();
    assert_ne!(fresh["sessionId"], first["sessionId"]);
    let resumed = first["sessionId"].as_str().unwrap();
    let (named, _) = answer(&testbox, &["offline:echo four", "--resume", resumed], 0).unwrap();
    assert_eq!(named["sessionId"], first["sessionId"]);
}

#[test]
fn a_tool_runs_as_the_boxs_user_and_what_it_leaves_behind_dies() {
    let Some(testbox) = TestBox::new() else { return };
    let command = "offline:tool id -u; setsid nohup sleep 1000 >/dev/null 2>&1 & sleep 1000 &";
    let Some((result, _)) = answer(&testbox, &[command], 0) else { return };
    assert!(result["result"].as_str().unwrap().contains("1000"), "{result}");
    assert_eq!(result["leftoverProcesses"], 2);
    let tool = &result["turns"][1]["content"][0];
    assert_eq!((&tool["type"], &tool["name"]), (&"tool_use".into(), &"Bash".into()));
    assert_eq!(result["turns"][2]["role"], "tool_result");
}

#[test]
fn structured_output_follows_the_schema_or_is_missed() {
    let Some(testbox) = TestBox::new() else { return };
    let schema = r#"{"type":"object","properties":{"user_name":{"type":"string"}},"required":["user_name"]}"#;
    let Some((result, _)) = answer(&testbox, &["who?", "--json-schema", schema], 0) else { return };
    assert!(result["structuredOutput"]["user_name"].is_string(), "{result}");
    let (missed, said) = answer(&testbox, &["offline:no-schema", "--json-schema", schema], 65).unwrap();
    assert_eq!((&missed["outcome"], &missed["isError"]), (&"schema_missed".into(), &true.into()));
    assert!(said.contains("does not follow --json-schema"), "{said}");
}

#[test]
fn errors_of_the_api_have_outcomes_and_exit_codes() {
    let Some(testbox) = TestBox::new() else { return };
    for (status, outcome, code) in [("400", "model_error", 1), ("401", "auth", 77), ("403", "auth", 77)] {
        let Some((result, _)) = answer(&testbox, &[&format!("offline:error {status}")], code) else { return };
        assert_eq!(result["outcome"], outcome);
    }
    let (budget, _) = answer(&testbox, &["hi", "--max-budget-usd", "0.0001"], 3).unwrap();
    assert_eq!(budget["outcome"], "budget");
    let (turns, _) = answer(&testbox, &["offline:tool true", "--max-turns", "1"], 4).unwrap();
    assert_eq!(turns["outcome"], "max_turns");
    let unknown = "99999999-2222-4333-8444-555555555555";
    let (missing, _) = answer(&testbox, &["hi", "--resume", unknown], 66).unwrap();
    assert_eq!(missing["outcome"], "session_not_found");
    let (hung, _) = answer(&testbox, &["offline:silent", "--timeout", "3"], 124).unwrap();
    assert_eq!(hung["outcome"], "hung");
}

#[test]
fn long_prompts_reach_the_model() {
    let Some(testbox) = TestBox::new() else { return };
    for length in [200_000, 2_000_000] {
        let Some(launch) = claude(&testbox, &["-p", "--no-continue"]) else { return };
        let mut running = launch.with_input().start();
        running.write(&"x".repeat(length));
        running.close_input();
        let answer = running.finish().exits(0).out;
        assert!(answer.contains(&format!("({length} characters)")), "{answer}");
    }
}

#[test]
fn a_cancelled_run_leaves_no_process() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = claude(&testbox, &["offline:tool setsid nohup sleep 1000 & sleep 2000"]) else { return };
    let mut running = launch.start();
    let runs = |all: &[crate::support::process::Process], seconds: &str| {
        all.iter().any(|process| process.command() == ["sleep", seconds])
    };
    running.until("the tool runs", |all| runs(all, "1000") && runs(all, "2000"));
    running.signal(libc::SIGTERM);
    running.finish().exits(143);
}

#[test]
fn the_interactive_cli_opens_at_its_prompt_and_answers() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = claude(&testbox, &[]) else { return };
    let mut running = launch.on_terminal().start();
    // The line below the prompt: no onboarding, trust, key or warning was asked about before it.
    running.expect("bypass");
    running.write("offline:echo interactive\r");
    running.expect("model]");
    running.signal(libc::SIGTERM);
    running.finish().exits(143);
}

/// Its options are those of `src/claude/cli_options.rs`: another version has others.
#[test]
fn the_clis_help_is_the_recorded_one() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = claude(&testbox, &["mcp"]) else { return };
    // A command of the CLI's has its help, not ours.
    launch.start().finish();
    let cli = std::env::var("CLAUDEBOX_TEST_CLI").unwrap();
    let help = std::process::Command::new(cli)
        .arg("--help")
        .env_clear()
        .env("HOME", testbox.path("home"))
        .env("PATH", "/usr/bin:/bin")
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    let recorded = include_str!("../fixtures/claude-cli/help.txt");
    assert_eq!(String::from_utf8(help.stdout).unwrap(), recorded, "see src/claude/cli_options.rs");
}

#[test]
fn a_permission_mode_wins_over_skipping_all_permissions() {
    let Some(testbox) = TestBox::new() else { return };
    let touch = |file: &str| format!("offline:tool touch {file} && echo did");
    let file = |name: &str| testbox.path("work").join(name).exists();
    let (work, usual) = (testbox.path("work"), touch("usual"));
    let Some((free, _)) = answer(&testbox, &[&usual], 0) else { return };
    assert!(free["result"].as_str().unwrap().contains("did"), "{free} {work:?}");
    for (mode, options) in [
        ("plan", vec!["--permission-mode", "plan"]),
        ("manual", vec!["--permission-mode=manual"]),
        ("restricted", vec!["--restricted"]),
        ("denied", vec!["--disallowedTools", "Bash"]),
        ("none", vec!["--tools", "Read"]),
    ] {
        let prompt = touch(mode);
        let (result, said) = answer(&testbox, &[&[prompt.as_str()], options.as_slice()].concat(), 0).unwrap();
        assert!(
            !result["result"].as_str().unwrap().ends_with("answered: did") && !file(mode),
            "{mode}: {result} {said}"
        );
    }
    let prompt = touch("allowed");
    let options = ["--permission-mode", "dontAsk", "--allowedTools", "Bash", "Read", "--", &prompt];
    let finished = claude(&testbox, &options).unwrap().start().finish().exits(0);
    assert!(finished.out.contains("did"), "{}", finished.out);
}

#[test]
fn options_of_the_cli_reach_it_and_some_are_refused_with_the_reason() {
    let Some(testbox) = TestBox::new() else { return };
    let Some((first, _)) = answer(&testbox, &["offline:echo one", "--name", "one session"], 0) else { return };
    let (goes_on, _) = answer(&testbox, &["-c", "offline:echo two", "--verbose"], 0).unwrap();
    assert_eq!(goes_on["sessionId"], first["sessionId"]);
    let (by_title, _) = answer(&testbox, &["offline:echo four", "--resume", "one session"], 0).unwrap();
    assert_eq!(by_title["sessionId"], first["sessionId"]);
    let (copy, _) = answer(&testbox, &["-c", "--fork-session", "offline:echo three"], 0).unwrap();
    assert_ne!(copy["sessionId"], first["sessionId"]);
    let settings = r#"{"model":"haiku","crossSessionInbound":"allow"}"#;
    let (by_settings, _) =
        answer(&testbox, &["offline:echo five", "--no-continue", "--settings", settings], 0).unwrap();
    assert!(
        by_settings["modelUsage"].as_object().unwrap().keys().all(|model| model.contains("haiku")),
        "{by_settings}"
    );
    for (args, why) in [
        (vec!["x", "--session-id", "11111111-2222-4333-8444-555555555555"], "--resume ID goes on with it"),
        (vec!["x", "--bg"], "would end with the call"),
        (vec!["x", "--resume"], "--resume needs the id of a session"),
        (vec!["x", "--fork-session"], "--fork-session needs --resume ID or --continue"),
        (vec!["x", "--settings", "/nowhere.json"], "--settings /nowhere.json cannot be used"),
        (vec!["--allowedTools", "Read", "what is this?"], "--allowedTools has taken the last words"),
    ] {
        let refused = claude(&testbox, &args).unwrap().start().finish().exits(64);
        assert!(refused.err.contains(why), "{args:?}: {}", refused.err);
    }
    let refused = claude(&testbox, &["x", "--permission-mode", "nosuch"]).unwrap().start().finish();
    assert!(refused.err.contains("Allowed choices are"), "{}", refused.err);
}

/// The CLI alone goes on with the session's last model.
#[test]
fn a_model_is_for_one_prompt() {
    let Some(testbox) = TestBox::new() else { return };
    let model = |args: &[&str]| {
        let (result, _) = answer(&testbox, &[&["offline:echo x"], args].concat(), 0)?;
        Some(result["system"]["model"].as_str().unwrap().to_owned())
    };
    let Some(usual) = model(&[]) else { return };
    assert!(model(&["--model", "haiku"]).unwrap().contains("haiku"));
    assert_eq!(model(&[]).unwrap(), usual);
    fs::write(testbox.path("home/.claude/settings.json"), r#"{"model":"sonnet"}"#).unwrap();
    assert!(model(&["--model", "haiku"]).unwrap().contains("haiku"));
    assert!(model(&[]).unwrap().contains("sonnet"));
}

/// The CLI alone says what the session has cost.
#[test]
fn a_result_has_the_cost_of_its_run_and_that_of_its_session() {
    let Some(testbox) = TestBox::new() else { return };
    let costs = |result: &Value| {
        ["costUsd", "sessionCostUsd", "totalCostUsd"]
            .map(|name| result[name].as_f64().unwrap_or_else(|| panic!("{result}")))
    };
    let Some((first, _)) = answer(&testbox, &["offline:echo one"], 0) else { return };
    let [own, session, total] = costs(&first);
    assert!(own > 0.0 && (own - session).abs() < 1e-9 && (session - total).abs() < 1e-9, "{first}");
    for prompt in ["offline:echo two", "offline:agents 2 offline:echo x"] {
        let (before, _) = answer(&testbox, &["offline:echo before"], 0).unwrap();
        let (after, _) = answer(&testbox, &[prompt], 0).unwrap();
        let (before, [own, session, total]) = (costs(&before)[1], costs(&after));
        assert!(own > 0.0 && (before + own - session).abs() < 1e-9 && (session - total).abs() < 1e-9, "{after}");
    }
}

#[test]
fn ctrl_z_leaves_no_advice_on_the_screen_that_nobody_can_follow() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = claude(&testbox, &[]) else { return };
    let mut running = launch.on_terminal().start();
    running.expect("bypass");
    running.write("\x1a");
    // Two lines, which are then cleared: where it says something else, what is cleared has to be another.
    running.expect("Claude Code is suspended. Run `fg` to bring it back.");
    running.expect("press ctrl+_.\r\n\x1b[2A\r\x1b[J");
    running.expect("bypass");
    running.write("offline:echo on\r");
    running.expect("model]");
    running.signal(libc::SIGTERM);
    running.finish().exits(143);
}

#[test]
fn a_terminal_is_told_that_the_api_is_asked_again() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = claude(&testbox, &["offline:error 529"]) else { return };
    let mut running = launch.on_terminal().start();
    running.expect("claudebox: the API is overloaded, trying again");
    running.expect(" (2 of 10); Ctrl-C stops");
    running.signal(libc::SIGINT);
    running.finish().exits(130);
}

#[test]
fn a_terminal_can_choose_its_session_and_plan() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = claude(&testbox, &["--permission-mode", "plan"]) else { return };
    let mut running = launch.on_terminal().start();
    running.expect("plan mode on");
    running.write("offline:echo wanted\r");
    running.expect("model]");
    running.signal(libc::SIGTERM);
    running.finish().exits(143);
    let mut running = claude(&testbox, &["--resume"]).unwrap().on_terminal().start();
    running.expect("Resume");
    running.expect("wanted");
    running.signal(libc::SIGTERM);
    running.finish();
}

#[test]
fn a_prompt_that_looks_like_an_option_is_a_prompt() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = claude(&testbox, &["--", "--version please"]) else { return };
    assert!(launch.start().finish().exits(0).out.contains("You said: --version please"));
}

#[test]
fn the_clis_own_commands_reach_it_as_the_boxs_user() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(version) = claude(&testbox, &["--version"]) else { return };
    assert!(version.start().finish().exits(0).out.contains(claudebox::claude::PINNED_VERSION));
    let add = claude(&testbox, &["mcp", "add", "--scope", "user", "echo", "--", "echo", "hi"]).unwrap();
    add.start().finish().exits(0);
    // What a command saves lasts, in the user's own folder and as the user's own file.
    let state = fs::read_to_string(testbox.path("home/.claude/.claude.json")).unwrap();
    assert!(state.contains("\"echo\""), "{state}");
    let list = claude(&testbox, &["mcp", "list"]).unwrap();
    assert!(list.start().finish().out.contains("echo"));
}

/// The CLI prefers what settings files say to its environment.
#[test]
fn no_settings_file_leads_past_the_offline_model() {
    let Some(testbox) = TestBox::new() else { return };
    let elsewhere = serde_json::json!({"env": {
        "ANTHROPIC_BASE_URL": "http://127.0.0.1:9", "ANTHROPIC_AUTH_TOKEN": "sk-real", "CLAUDE_CODE_USE_BEDROCK": "1",
        "HTTPS_PROXY": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9", "NO_PROXY": "",
        "ANTHROPIC_UNIX_SOCKET": "/nowhere", "CLAUDE_CODE_OAUTH_TOKEN": "sk-ant-oat01-real",
    }});
    for folder in ["work/.claude", "home/.claude"] {
        fs::create_dir_all(testbox.path(folder)).unwrap();
        fs::write(testbox.path(folder).join("settings.json"), elsewhere.to_string()).unwrap();
        std::os::unix::fs::chown(testbox.path(folder), Some(crate::support::UID), Some(crate::support::UID)).unwrap();
    }
    let Some((result, _)) = answer(&testbox, &["offline:echo here", "--timeout", "30"], 0) else { return };
    assert_eq!(result["result"], "[claudebox offline model] here");
    assert_eq!(result["system"]["model"].as_str().map(|model| model.contains("bedrock")), Some(false));
}

/// In a shell, slash commands work as in the CLI.
#[test]
fn a_slash_command_of_a_script_is_carried_out() {
    let Some(testbox) = TestBox::new() else { return };
    let Some((first, _)) = answer(&testbox, &["offline:echo one"], 0) else { return };
    let (cleared, _) = answer(&testbox, &["/clear"], 0).unwrap();
    assert!(!cleared["result"].as_str().unwrap_or_default().contains("You said"), "{cleared}");
    assert_ne!(cleared["sessionId"], first["sessionId"]);
}
