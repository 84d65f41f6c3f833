//! Boxes with the Telegram door.

use std::fs;
use std::os::unix::fs::chown;
use std::path::PathBuf;

use rusqlite::{Connection, OpenFlags};

use crate::bot_api::{BotApi, TOKEN};
use crate::support::process::Process;
use crate::support::{Finished, Launch, Running, TestBox, UID};

/// Somebody who may use the bot.
pub(crate) const ANN: i64 = 111;
/// Somebody else who may.
pub(crate) const BOB: i64 = 222;
/// A group that may.
pub(crate) const TEAM: i64 = -1_001_234_567_890;

/// A box whose bot is told of by `settings`, and no CLI that could run.
pub(crate) fn without_cli<'box_>(testbox: &'box_ TestBox, api: &BotApi, settings: &str) -> Launch<'box_> {
    let config = testbox.path("home/.claude");
    fs::create_dir_all(&config).unwrap();
    fs::write(config.join("telegram.yml"), settings).unwrap();
    chown(&config, Some(UID), Some(UID)).unwrap();
    let workspaces = testbox.path("workspaces");
    fs::create_dir_all(&workspaces).unwrap();
    chown(&workspaces, Some(UID), Some(UID)).unwrap();
    let launch = testbox.claudebox(&["init", "--"]).shared_network();
    let launch = launch.env("CLAUDEBOX_MODE_TELEGRAM", "1").env("CLAUDEBOX_TELEGRAM_BOT_TOKEN", TOKEN);
    let launch = launch.env("CLAUDEBOX_TELEGRAM_API_URL", &api.url).env("CLAUDEBOX_CONTAINER_NAME", "box");
    // Everything that is said is looked at for the token.
    let launch = launch.env("CLAUDEBOX_DEBUG", "1").env("CLAUDEBOX_WORKSPACE", "/no/such/folder");
    // Not in /var: SQLite's locks on a file do not count on the layer below it, where a test reads the ledger.
    let launch = launch.env("CLAUDEBOX_STATE_DIR", testbox.path("state").to_str().unwrap());
    launch.env("CLAUDEBOX_WORKSPACES_DIR", workspaces.to_str().unwrap())
}

/// The same with the real CLI and the offline model.
pub(crate) fn with_cli<'box_>(testbox: &'box_ TestBox, api: &BotApi, settings: &str) -> Option<Launch<'box_>> {
    let Ok(cli) = std::env::var("CLAUDEBOX_TEST_CLI") else {
        eprintln!("skipped: CLAUDEBOX_TEST_CLI does not name a CLI");
        return None;
    };
    let seen = testbox.path("claude");
    fs::write(&seen, "").unwrap();
    let mount = format!("mount --bind '{cli}' '{}'", seen.display());
    let launch = without_cli(testbox, api, settings).before(&mount).env("CLAUDEBOX_CLAUDE_BIN", seen.to_str().unwrap());
    Some(launch.env("CLAUDEBOX_OFFLINE", "1").env("LANG", "C.UTF-8"))
}

/// A running box.
pub(crate) struct Bot {
    pub(crate) api: BotApi,
    running: Running,
    folder: PathBuf,
}

/// What lets Ann, Bob and the team in.
pub(crate) const USUAL: &str = "allowed_chats: [111, 222, -1001234567890]\n";

/// A bot with the real CLI; `None`, with a line on stderr, where there can be none.
pub(crate) fn start(testbox: &TestBox, settings: &str) -> Option<Bot> {
    let api = BotApi::start();
    for chat in [ANN, BOB, TEAM] {
        api.chat(chat);
    }
    let launch = with_cli(testbox, &api, settings)?;
    Some(start_with(testbox, api, launch))
}

pub(crate) fn start_with(testbox: &TestBox, api: BotApi, launch: Launch<'_>) -> Bot {
    let mut running = launch.start();
    running.until("serve is ready", ready);
    api.wait("the bot asks for updates", |api| !api.calls("getUpdates").is_empty());
    Bot { api, running, folder: testbox.path("") }
}

impl Bot {
    /// A path in a chat's workspace.
    pub(crate) fn file(&self, path: &str) -> PathBuf {
        self.folder.join("workspaces").join(path)
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }

    pub(crate) fn until(&mut self, what: &str, condition: impl FnMut(&[Process]) -> bool) {
        self.running.until(what, condition);
    }

    /// Waits until nothing is open in the ledger: an answer is seen here before the server can note that it was given,
    /// and one that is killed in between gives it again.
    pub(crate) fn settle(&mut self) {
        let ledger = self.path("state/runs.sqlite3");
        let ledger = Connection::open_with_flags(ledger, OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap();
        let open = "SELECT count(*) FROM notes WHERE door = 'telegram' AND (key LIKE 'update:%' OR key LIKE 'owed:%')";
        self.until("nothing is open", |_| ledger.query_row(open, [], |row| row.get::<_, i64>(0)).unwrap() == 0);
    }

    /// Kills the server, and waits for the next one.
    pub(crate) fn kill_serve(&mut self) {
        let old = serve_of(&self.running.processes()).unwrap().pid;
        claudebox::sys::kill(old, libc::SIGKILL).unwrap();
        let another = |all: &[Process]| ready(all) && serve_of(all).is_some_and(|new| new.pid != old);
        self.running.until("another serve is ready", another);
    }

    /// Stops the box, and checks what has to be true of every test.
    pub(crate) fn stop(self) -> Finished {
        self.running.signal(libc::SIGTERM);
        let rejected = self.api.rejected();
        let finished = self.running.finish().exits(0);
        assert!(rejected.is_empty(), "Telegram rejected: {rejected:#?}");
        let secret = TOKEN.split(':').nth(1).unwrap();
        assert!(!finished.err.contains(secret) && !finished.out.contains(secret), "the token is in the log");
        finished
    }
}

/// Whether a tool runs `sleep SECONDS`.
pub(crate) fn sleeps(processes: &[Process], seconds: &str) -> bool {
    processes.iter().any(|process| process.state != 'Z' && process.command() == ["sleep", seconds])
}

fn ready(processes: &[Process]) -> bool {
    processes.iter().any(|process| process.name == "claudebox ready")
}

fn serve_of(processes: &[Process]) -> Option<&Process> {
    processes
        .iter()
        .find(|process| process.state != 'Z' && process.command().last().is_some_and(|last| last == "serve"))
}
