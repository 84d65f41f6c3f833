//! Every command, and the buttons.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::bot_api::Sent;
use crate::fixture::{ANN, BOB, USUAL, sleeps, start};
use crate::support::TestBox;

/// The arguments the CLI was started with, one after the other.
const ARGUMENTS: &str = r"offline:tool tr '\0' '|' </proc/$PPID/cmdline";

fn data(sent: &Sent, label: &str) -> String {
    let rows = sent.buttons["inline_keyboard"].as_array().unwrap();
    let button = rows.iter().flat_map(|row| row.as_array().unwrap()).find(|button| button["text"] == label);
    button.unwrap_or_else(|| panic!("no button {label:?}: {rows:?}"))["callback_data"].as_str().unwrap().to_owned()
}

#[test]
fn the_menu_and_what_needs_no_run() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(bot) = start(&testbox, USUAL) else { return };
    let menu = bot.api.calls("setMyCommands").remove(0);
    let names: Vec<&str> =
        menu["commands"].as_array().unwrap().iter().map(|command| command["command"].as_str().unwrap()).collect();
    for name in [
        "start",
        "help",
        "status",
        "cancel",
        "config",
        "reload",
        "model",
        "effort",
        "system_prompt",
        "append_system_prompt",
        "bash",
        "fetch",
        "new",
        "sessions",
        "cost",
        "runs",
        "id",
    ] {
        assert!(names.contains(&name), "{name}: {names:?}");
    }
    let cases = [
        ("/start", "Hello, this is Claude Code."),
        ("/help", "/append_system_prompt"),
        ("/HELP@Claude_Test_Bot", "[SEND_FILE: path]"),
        ("/id", "This chat: 111\nYou: 111"),
        ("/status", "Nothing is running here."),
        ("/cancel", "Nothing is running here."),
        ("/cost", "All that is remembered: $0.0000 (0 runs)"),
        ("/runs", "There were no runs in this chat yet."),
        ("/config", "Workspace: chat_111"),
        ("/sessions", "Sessions of this chat."),
        ("/modle", "There is no command /modle. Did you mean /model? /help lists them."),
        ("/bash", "/bash needs a command: /bash git status"),
        ("/fetch", "/fetch needs the path of a file"),
        ("/model two words", "A model's name is one word"),
        ("/effort extreme", "\"extreme\" is no effort. There are: low, medium, high, xhigh, max, reset."),
        ("/reload", "The settings were read again: 3 chats"),
    ];
    for (text, said) in cases {
        let asked = bot.api.says(ANN, text);
        bot.api.answer(ANN, asked, said);
    }
    assert_eq!(bot.api.sent(ANN).len(), cases.len());
    assert!(bot.api.calls("sendChatAction").is_empty(), "nothing of that is a run");
    // A path is no command.
    let asked = bot.api.says(ANN, "/etc/hosts is what?");
    bot.api.answer(ANN, asked, "/etc/hosts is what?");
    let runs = bot.api.says(ANN, "/runs");
    let shown = bot.api.answer(ANN, runs, "/etc/hosts is what?").text;
    assert!(shown.starts_with("✅ ") && shown.contains("done, $"), "{shown}");
    let cost = bot.api.says(ANN, "/cost");
    let shown = bot.api.answer(ANN, cost, "(1 run)").text;
    assert!(shown.contains("Today (UTC): $") && !shown.contains("Today (UTC): $0.0000"), "{shown}");
    assert!(shown.contains("is made up"), "{shown}");
    // What one chat has asked and spent is nobody else's business.
    for (command, nothing) in [("/runs", "no runs in this chat"), ("/cost", "(0 runs)"), ("/status", "Nothing")] {
        let asked = bot.api.says(BOB, command);
        bot.api.answer(BOB, asked, nothing);
    }
    bot.stop();
}

#[test]
fn choices_are_made_by_word_and_by_button_and_last() {
    let Some(testbox) = TestBox::new() else { return };
    let settings = "allowed_chats: [111, 222]\ndefault: {model: haiku, append_system_prompt: be kind}\n";
    let Some(mut bot) = start(&testbox, settings) else { return };
    let asked = bot.api.says(ANN, "/model");
    let choice = bot.api.answer(ANN, asked, "Model: haiku");
    assert_eq!(data(&choice, "✓ haiku"), "model:haiku");
    bot.api.press(ANN, 111, choice.id, &data(&choice, "opus"));
    bot.api.until("the choice is shown", ANN, |sent| {
        sent.iter().find(|sent| sent.id == choice.id && sent.text == "Model: opus").map(|sent| data(sent, "✓ opus"))
    });
    let asked = bot.api.says(ANN, "/effort");
    let choice = bot.api.answer(ANN, asked, "Effort: the CLI's default");
    bot.api.press(ANN, 111, choice.id, &data(&choice, "max"));
    bot.api.until("the choice is shown", ANN, |sent| {
        sent.iter().find(|sent| sent.id == choice.id && sent.text == "Effort: max").map(drop)
    });
    for (command, said) in [
        ("/system_prompt", "There is no system prompt."),
        ("/system_prompt Answer in\nrhymes.", "The system prompt is now:\n\nAnswer in\nrhymes."),
        ("/append_system_prompt", "The added system prompt is:\n\nbe kind"),
        ("/append_system_prompt be brief", "The added system prompt is now:\n\nbe brief"),
    ] {
        let asked = bot.api.says(ANN, command);
        bot.api.answer(ANN, asked, said);
    }
    // A changed client can send what no button says.
    let presses = bot.api.calls("answerCallbackQuery").len();
    for forged in ["model:--version", "model:a b", "effort:extreme", "effort:", "session:x", "cancel:x", "what:", ""] {
        bot.api.press(ANN, 111, choice.id, forged);
    }
    bot.api.wait("all are answered", |api| api.calls("answerCallbackQuery").len() == presses + 8);
    let file = bot.path("home/.claude/telegram_overrides.json");
    let kept: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let expected = json!({"111": {
        "model": "opus", "effort": "max", "system_prompt": "Answer in\nrhymes.", "append_system_prompt": "be brief",
    }});
    assert_eq!(kept, expected);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    bot.kill_serve();
    let asked = bot.api.says(ANN, ARGUMENTS);
    let shown = bot.api.answer(ANN, asked, "|--").text;
    for part in ["--model|opus|", "--effort|max|", "--system-prompt|Answer in\nrhymes.|", "be brief"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(!shown.contains("be kind"), "{shown}");
    let asked = bot.api.says(ANN, "/config");
    let shown = bot.api.answer(ANN, asked, "Model: opus (set here)").text;
    assert!(shown.contains("Effort: max (set here)") && shown.contains("Added: be brief (set here)"), "{shown}");
    // Another chat has its own.
    let asked = bot.api.says(BOB, "/config");
    bot.api.answer(BOB, asked, "Model: haiku\n");
    for (command, said) in [
        ("/model reset", "Model: haiku"),
        ("/effort reset", "Effort: the CLI's default"),
        ("/system_prompt clear", "There is now no system prompt."),
        ("/append_system_prompt reset", "The added system prompt is now:\n\nbe kind"),
    ] {
        let asked = bot.api.says(ANN, command);
        bot.api.answer(ANN, asked, said);
    }
    assert_eq!(fs::read_to_string(&file).unwrap().trim(), "{}");
    bot.stop();
}

#[test]
fn bad_settings_are_named_and_the_old_ones_stay() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(bot) = start(&testbox, "allowed_chats: [111]\n") else { return };
    let file = bot.path("home/.claude/telegram.yml");
    fs::write(&file, "allowed_chats: [111, 222]\ndefault:\n  modle: opus\n").unwrap();
    let asked = bot.api.says(ANN, "/reload");
    let said = bot.api.answer(ANN, asked, "The old settings stay").text;
    assert!(said.contains("telegram.yml:3:3: ") && said.contains("did you mean 'model'?"), "{said}");
    bot.api.says(BOB, "/id");
    fs::write(&file, "allowed_chats: [111, 222]\n").unwrap();
    let asked = bot.api.says(ANN, "/reload");
    bot.api.answer(ANN, asked, "read again: 2 chats");
    assert!(bot.api.sent(BOB).is_empty(), "he was not let in at that time");
    let asked = bot.api.says(BOB, "/id");
    bot.api.answer(BOB, asked, "This chat: 222");
    // Nobody is in the list: not even who reloads.
    fs::write(&file, "allowed_chats: []\n").unwrap();
    let asked = bot.api.says(ANN, "/reload");
    bot.api.answer(ANN, asked, "0 chats");
    let before = bot.api.sent(ANN).len();
    let polls = bot.api.calls("getUpdates").len();
    bot.api.says(ANN, "/id");
    bot.api.wait("it has been seen", |api| api.calls("getUpdates").len() >= polls + 2);
    assert_eq!(bot.api.sent(ANN).len(), before);
    let finished = bot.stop();
    assert!(finished.err.contains("chat 111 is not in allowed_chats"), "{}", finished.err);
}

#[test]
fn bash_runs_in_the_workspace_and_ends_as_a_tree() {
    let Some(testbox) = TestBox::new() else { return };
    let settings = "allowed_chats: [111, 222]\ndefault: {bash_timeout: 600}\nchats:\n  111: {bash_timeout: 2}\n";
    let Some(mut bot) = start(&testbox, settings) else { return };
    let says = |text: &str, said: &str| {
        let asked = bot.api.says(ANN, text);
        bot.api.answer(ANN, asked, said)
    };
    let shown = says("/bash pwd; id -un; echo é >&2", "chat_111");
    assert!(shown.text.ends_with("chat_111\nclaude\né"), "{shown:?}");
    assert_eq!(shown.entities[0]["type"], "pre");
    says("/bash true", "✅ No output.");
    // The file that it prints into has no name by then, so no kill leaves one.
    let printed_to = says("/bash readlink /proc/self/fd/1", "claudebox-shell-").text;
    assert!(printed_to.ends_with(" (deleted)"), "{printed_to}");
    assert_eq!(says("/bash echo no; exit 3", "❌ Exit code 3.").text, "no\n❌ Exit code 3.");
    says("/bash kill -9 $$", "❌ Exit code 137.");
    says("/bash echo 'a\nb' | tac", "b\na");
    let environment = says("/bash env", "HOME=").text;
    assert!(!environment.contains("AAfake") && !environment.contains("TELEGRAM_BOT_TOKEN"), "{environment}");
    let long = says("/bash seq 100000", "✅ The output is in the file.");
    let (kind, name, content) = long.file.unwrap();
    assert_eq!((kind.as_str(), name.as_str()), ("document", "output.txt"));
    assert!(content.starts_with(b"1\n2\n3\n") && content.ends_with(b"99999\n100000\n"));
    // Commands wait for nothing: one that hangs does not hold up the next.
    let hanging = bot.api.says(
        ANN,
        "/bash echo started; setsid nohup sleep 1011 >/dev/null 2>&1 & (trap '' TERM; sleep 1012; sleep 1012) & wait",
    );
    bot.until("both sleep", |all| sleeps(all, "1011") && sleeps(all, "1012"));
    let next = bot.api.says(ANN, "/bash echo meanwhile");
    bot.api.answer(ANN, next, "meanwhile");
    let end = bot.api.answer(ANN, hanging, "⏱ Ended after 2 s");
    assert!(end.text.starts_with("started\n"), "{end:?}");
    bot.until("none of it is left", |all| !sleeps(all, "1011") && !sleeps(all, "1012"));
    // Too much output ends it as well.
    let asked = bot.api.says(BOB, "/bash yes; sleep 1013");
    bot.api.answer(BOB, asked, "❌ Ended: it printed more than 200.0 MB.");
    let asked = bot.api.says(BOB, "/bash exec sleep 1014");
    bot.until("it sleeps", |all| sleeps(all, "1014"));
    let status = bot.api.says(BOB, "/status");
    bot.api.answer(BOB, status, "💻 1 shell command running");
    bot.api.says(BOB, "/cancel");
    bot.api.answer(BOB, asked, "✋ Cancelled.");
    bot.until("it is gone", |all| !sleeps(all, "1014"));
    fs::write(bot.path("home/.claude/telegram.yml"), "allowed_chats: [111]\ndefault: {bash: false}\n").unwrap();
    let asked = bot.api.says(ANN, "/reload");
    bot.api.answer(ANN, asked, "read again");
    let asked = bot.api.says(ANN, "/bash touch ran");
    bot.api.answer(ANN, asked, "/bash is switched off for this chat.");
    assert!(!bot.file("chat_111/ran").exists());
    bot.stop();
}

#[test]
fn files_are_sent_by_their_kind_and_refused_with_a_reason() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(bot) = start(&testbox, USUAL) else { return };
    let asked = bot.api.says(ANN, "/bash mkdir -p out; echo made");
    bot.api.answer(ANN, asked, "made");
    let own = bot.file("chat_111/out");
    for (name, content) in [
        ("a.png", "pixels"),
        ("b.JPG", "pixels"),
        ("c.mp4", "frames"),
        ("d.pdf", "pages"),
        ("e ü.txt", "words"),
        ("empty", ""),
        ("f.webp", "no picture at all"),
    ] {
        fs::write(own.join(name), content).unwrap();
    }
    fs::File::create(own.join("huge.bin")).unwrap().set_len((50 << 20) + 1).unwrap();
    fs::File::create(own.join("large.png")).unwrap().set_len(11 << 20).unwrap();
    let absolute = own.join("d.pdf").to_str().unwrap().to_owned();
    for (path, kind) in [
        ("out/a.png", "photo"),
        ("./out/b.JPG", "photo"),
        ("out/c.mp4", "video"),
        ("out/d.pdf", "document"),
        ("out/e ü.txt", "document"),
        (absolute.as_str(), "document"),
        // What Telegram cannot scale, and what is too large for it.
        ("out/f.webp", "document"),
        ("out/large.png", "document"),
    ] {
        let asked = bot.api.says(ANN, &format!("/fetch {path}"));
        let file = bot.api.until(path, ANN, |sent| {
            sent.iter().find(|sent| sent.reply_to == Some(asked)).map(|sent| sent.file.clone().unwrap())
        });
        let name = path.rsplit('/').next().unwrap();
        assert_eq!((file.0.as_str(), file.1.as_str()), (kind, name));
        assert_eq!(file.2, fs::read(own.join(name)).unwrap());
    }
    for (path, why) in [
        ("out/huge.bin", "it has 50.0 MB, and Telegram takes at most 50 MB from a bot"),
        ("out/empty", "it is empty"),
        ("out/none.txt", "❌ out/none.txt: "),
        ("out", "❌ out: "),
    ] {
        let asked = bot.api.says(ANN, &format!("/fetch {path}"));
        bot.api.answer(ANN, asked, why);
    }
    // The same from an answer, with what stands around it, each once.
    let text = "offline:echo Here: [SEND_FILE: out/a.png]\n\n[SEND_FILE:out/d.pdf] [SEND_FILE: out/a.png] [SEND_FILE: out/none.txt] end";
    let asked = bot.api.says(ANN, text);
    bot.api.answer(ANN, asked, "out/none.txt was not sent: ");
    let sent: Vec<Sent> = bot.api.sent(ANN).into_iter().filter(|sent| sent.reply_to == Some(asked)).collect();
    let kinds: Vec<Option<&str>> = sent.iter().map(|sent| sent.file.as_ref().map(|(kind, ..)| kind.as_str())).collect();
    assert_eq!(kinds, [None, Some("photo"), Some("document"), None], "{sent:#?}");
    assert!(sent[0].text.contains("Here:") && sent[0].text.ends_with("end") && !sent[0].text.contains("SEND_FILE"));
    bot.stop();
}
