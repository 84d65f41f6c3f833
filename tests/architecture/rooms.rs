//! The rooms of the house: what each is for, what it may use, and which crates are named where.
//!
//! A room is a module with everything below it, as far as that is no room of its own. To make one, add a `Room`, and
//! its name to `may_use` of the rooms that need it. A permission is for one room: `doors` is not `doors::http`.

/// A row of ARCHITECTURE.md's table.
pub(crate) struct Room {
    pub(crate) path: &'static str,
    pub(crate) what: &'static str,
    pub(crate) may_use: &'static [&'static str],
}

/// A crate, or something of one (`axum::http::StatusCode`), that only some rooms may name.
pub(crate) struct CrateRule {
    pub(crate) name: &'static str,
    pub(crate) rooms: &'static [&'static str],
    pub(crate) why: &'static str,
}

/// From the top down, as ARCHITECTURE.md has them.
pub(crate) const ROOMS: &[Room] = &[
    Room { path: "main", what: "one Result to one exit code", may_use: &["cli", "config"] },
    Room {
        path: "cli",
        what: "roles, arguments, logs; puts the layers together",
        may_use: &[
            "atomic_file",
            "boot",
            "broker",
            "broker::protocol",
            "claude",
            "config",
            "desk",
            "doors",
            "doors::cron",
            "doors::http",
            "doors::local",
            "doors::mcp",
            "doors::openai",
            "doors::telegram",
            "doors::web",
            "exit_code",
            "fetch",
            "init",
            "install",
            "manifest",
            "offline_model",
            "policy",
            "privilege",
            "privilege::files",
            "process",
            "runs",
            "store",
            "store::sqlite",
            "sys",
            "turn",
            "worker",
            "workspace",
        ],
    },
    Room { path: "doors", what: "the ways in, each thin: what a door is", may_use: &[] },
    Room {
        path: "doors::web",
        what: "the HTTP ground of the doors that speak it: connections, tokens, origins, limits, bodies, the log",
        may_use: &["backoff", "config", "desk", "policy", "store", "workspace"],
    },
    Room {
        path: "doors::http",
        what: "runs, files, health, the page",
        may_use: &["claude", "desk", "doors::web", "runs", "store", "workspace"],
    },
    Room {
        path: "doors::openai",
        what: "Chat Completions, Responses",
        may_use: &["claude", "config", "desk", "doors::web", "fetch", "runs", "store"],
    },
    Room {
        path: "doors::mcp",
        what: "tools for other agents",
        may_use: &["claude", "desk", "doors::web", "runs", "store", "workspace"],
    },
    Room {
        path: "doors::telegram",
        what: "a bot; the Bot API behind the trait `api`",
        may_use: &[
            "atomic_file",
            "backoff",
            "claude",
            "config",
            "desk",
            "doors",
            "policy",
            "runs",
            "store",
            "workspace",
        ],
    },
    Room {
        path: "doors::cron",
        what: "jobs by the clock",
        may_use: &[
            "atomic_file",
            "backoff",
            "claude",
            "config",
            "desk",
            "doors",
            "fetch",
            "policy",
            "runs",
            "store",
            "workspace",
        ],
    },
    Room {
        path: "doors::local",
        what: "the socket of `claudebox run`",
        may_use: &["claude", "config", "desk", "doors", "runs", "store"],
    },
    Room {
        path: "desk",
        what: "what every door asks for, without a protocol: callers, what may be asked, refusals, runs, files, \
               the one reader of the CLI's events",
        may_use: &["claude", "config", "fetch", "runs", "store", "workspace"],
    },
    Room {
        path: "runs",
        what: "the run engine: schedule, event logs, workers, budgets, webhooks, metrics, recovery",
        may_use: &["atomic_file", "backoff", "claude", "config", "fetch", "store", "sys", "turn"],
    },
    Room {
        path: "store",
        what: "what is kept: runs, results to post, doors' notes; the traits, and each method's promise over a kill",
        may_use: &["claude"],
    },
    Room { path: "store::sqlite", what: "the store of one box: one file (SQLite)", may_use: &["claude", "store"] },
    Room {
        path: "turn",
        what: "one turn of Claude's as engine and worker both see it: the messages between them",
        may_use: &["claude", "config", "json_text"],
    },
    Room {
        path: "worker",
        what: "one prompt from start to the end of its process tree, in a process of its own; output formats",
        may_use: &[
            "broker::protocol",
            "claude",
            "config",
            "exit_code",
            "privilege",
            "privilege::files",
            "process",
            "sys",
            "turn",
        ],
    },
    Room {
        path: "workspace",
        what: "every path a client names: looked up below an open folder (cap-std)",
        may_use: &[],
    },
    Room {
        path: "broker",
        what: "holds the API's credential: a socket for each run, budgets, the egress proxy, the audit log",
        may_use: &["broker::protocol", "claude", "config", "fetch"],
    },
    Room {
        path: "broker::protocol",
        what: "the messages between the broker and a run's owner, and the owner's side, without a runtime",
        may_use: &["sys"],
    },
    Room { path: "fetch", what: "requests to addresses that clients name: public ones only", may_use: &["config"] },
    Room {
        path: "claude",
        what: "the CLI as a typed thing: where it is (`store`: the versions that are installed), arguments, events, \
               transcript, outcome, sessions, its files, standing instructions, JSON Schemas",
        may_use: &[
            "atomic_file",
            "config",
            "exit_code",
            "json_file",
            "json_text",
            "plain_file",
            "privilege::files",
            "process",
        ],
    },
    Room {
        path: "init",
        what: "PID 1: the state machine, its loop, the terminal, running hooks, restart backoff",
        may_use: &[
            "backoff",
            "boot",
            "broker",
            "broker::protocol",
            "config",
            "exit_code",
            "policy",
            "privilege",
            "process",
            "sys",
        ],
    },
    Room {
        path: "install",
        what: "installing the CLI from an npm registry into the store: fetch, compare, unpack one file, \
               one box at a time",
        may_use: &["claude"],
    },
    Room {
        path: "manifest",
        what: "what is in the box: tools probed at image build, facts at start, the block in CLAUDE.md",
        may_use: &["atomic_file", "boot", "config", "plain_file", "privilege::files", "sys"],
    },
    Room {
        path: "boot",
        what: "the box before Claude: accounts, ids, ownership, hooks, environment, git and SSH",
        may_use: &["atomic_file", "config", "privilege", "privilege::files", "sys", "policy"],
    },
    Room {
        path: "process",
        what: "reaping, signals as data, the process table, a run's mark, the link between PID 1 and `serve`, \
               starting a child",
        may_use: &["config", "exit_code", "privilege", "sys"],
    },
    Room {
        path: "privilege::files",
        what: "working on another user's files without being that user",
        may_use: &["privilege"],
    },
    Room {
        path: "privilege",
        what: "the drop: plan (pure), apply and verify, the helper; the walls around the CLI",
        may_use: &["config", "exit_code", "sys"],
    },
    Room {
        path: "config",
        what: "settings: defined once (`settings`), and read into types once, before any side effect",
        may_use: &["plain_file"],
    },
    Room { path: "offline_model", what: "the scripted Messages API", may_use: &[] },
    Room { path: "json_file", what: "JSON files shared between processes", may_use: &["atomic_file", "json_text"] },
    Room { path: "json_text", what: "reading JSON as the CLI writes it", may_use: &[] },
    Room {
        path: "policy",
        what: "files that decide, and who could change them",
        may_use: &["config", "plain_file", "sys"],
    },
    Room { path: "plain_file", what: "reading a file that may be none, to a limit", may_use: &[] },
    Room { path: "backoff", what: "how long to wait before another try: one rule for everybody", may_use: &[] },
    Room { path: "atomic_file", what: "replacing a file whole, or in place where that cannot be", may_use: &[] },
    Room { path: "exit_code", what: "every exit code", may_use: &[] },
    Room { path: "sys", what: "system calls without a safe wrapper", may_use: &[] },
];

/// A room that is not named here may not have the crate: a new one has none of them.
pub(crate) const CRATES: &[CrateRule] = &[
    CrateRule {
        name: "tokio",
        rooms: &[
            "broker",
            "cli",
            "desk",
            "doors::cron",
            "doors::http",
            "doors::local",
            "doors::mcp",
            "doors::openai",
            "doors::telegram",
            "doors::web",
            "fetch",
            "install",
            "offline_model",
            "runs",
            "store::sqlite",
        ],
        why: "PID 1 and the workers have one thread: a runtime's would keep privileges and take statuses away",
    },
    CrateRule {
        name: "axum",
        rooms: &["cli", "doors::http", "doors::mcp", "doors::openai", "doors::web", "offline_model"],
        why: "HTTP is a door's business",
    },
    CrateRule {
        name: "axum::http::StatusCode",
        rooms: &["doors::http", "doors::mcp", "doors::openai", "doors::web", "offline_model"],
        why: "an error says what is wrong; the door that answers chooses the status",
    },
    CrateRule { name: "hyper", rooms: &["broker", "doors::web"], why: "connections are the server's" },
    CrateRule {
        name: "utoipa",
        rooms: &["doors::http", "doors::openai", "doors::web"],
        why: "the API's description is a door's",
    },
    CrateRule { name: "teloxide", rooms: &["doors::telegram"], why: "the Bot API stays in its door" },
    CrateRule { name: "rmcp", rooms: &["doors::mcp"], why: "the SDK of MCP stays in its door" },
    CrateRule { name: "clap", rooms: &["cli"], why: "a command line is read where there is one" },
    CrateRule {
        name: "users",
        rooms: &["cli", "manifest"],
        why: "the C library loads name-service plugins, which PID 1 would keep for good",
    },
    CrateRule { name: "rusqlite", rooms: &["store::sqlite"], why: "another database can stand in the ledger's place" },
    CrateRule { name: "unsafe", rooms: &["sys"], why: "unsafe code has one home" },
];
