//! Every setting of claudebox, defined once: its name, what it means, its default, and who hands it on.
//!
//! The constants in `name`, the names that a box knows (`unknown`), the secrets that Claude must not see, the variables of a call,
//! the doctor's remedies, the tables of docs/settings.md and docs/host-command.md, and the host command's lists of what it hands on
//! all follow from the table below. `tests/docs/settings --write` writes the last two; a test fails where they differ.
//!
//! A comment on an entry is its meaning: the first paragraph for everybody, a second one for the page alone.

/// A setting: what is known of it, apart from how its value is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// Its canonical name. One that ends in `_` is a prefix, followed by a name of the user's choice.
    pub name: &'static str,
    /// What it means, in a sentence.
    pub meaning: &'static str,
    /// What holds where it is not set; empty if there is nothing to say.
    pub default: &'static str,
    /// Where it belongs.
    pub part: Part,
    /// Whether the predecessor's `CLAUDE_X` is accepted for `CLAUDEBOX_X`.
    pub has_old_name: bool,
    /// What later versions of the predecessor call it, without the prefix, where that does not follow from its name.
    pub later_names: &'static [&'static str],
    /// Whose secret its value is.
    pub secret: Secrecy,
    /// Whether the host command hands it on to the boxes that it makes.
    pub handed_on: HandedOn,
    /// What the page has to say besides.
    #[cfg(test)]
    more: &'static str,
}

/// The part of claudebox that a setting belongs to: a section of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Claude and its credentials.
    Claude,
    /// User, folders, git.
    User,
    /// Start and stop.
    Start,
    /// Runs: limits, costs, what is kept.
    Runs,
    /// The HTTP API.
    Http,
    /// OpenAI clients.
    OpenAi,
    /// Telegram.
    Telegram,
    /// Cron.
    Cron,
    /// Webhooks and addresses that are fetched.
    Requests,
    /// Logs.
    Logs,
    /// The host command, on the user's machine. A box does not know it.
    HostCommand,
    /// Set by claudebox itself for its own processes: nobody sets it by hand, so no page has it.
    Internal,
}

/// Whose secret a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrecy {
    /// Nobody's.
    Public,
    /// Claude's own: it needs it.
    Claude,
    /// A door's: Claude and its tools never see it.
    Door,
}

/// Which boxes get a setting from the environment of the host command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandedOn {
    /// None: it describes the inside of a box.
    No,
    /// None: the host command sets it itself, or makes an option of the engine's of it.
    ByHost,
    /// Every box.
    Always,
    /// Every box, and each call brings its own: a change needs no other box.
    WithCall,
    /// The boxes of `claudebox up` alone.
    ToServices,
}

impl Setting {
    /// What most settings have in common.
    const BLANK: Self = Self {
        name: "",
        meaning: "",
        default: "",
        part: Part::Internal,
        has_old_name: true,
        later_names: &[],
        secret: Secrecy::Public,
        handed_on: HandedOn::No,
        #[cfg(test)]
        more: "",
    };
}

/// Declares the settings: a constant for each name, and the table.
macro_rules! settings {
    ($($part:ident {
        $(
            #[doc = $meaning:literal] $(#[doc = $more:literal])*
            $constant:ident = $name:literal { $($field:ident: $value:expr),* }
        )+
    })+) => {
        /// Names of the settings.
        pub mod name {
            $($(
                #[doc = $meaning]
                pub const $constant: &str = $name;
            )+)+
        }

        /// Every setting, in the order of the pages.
        pub const ALL: &[Setting] = {
            use self::{HandedOn::*, Secrecy::*};
            &[$($(
                Setting {
                    name: $name,
                    meaning: $meaning.trim_ascii(),
                    part: Part::$part,
                    $($field: $value,)*
                    #[cfg(test)]
                    more: concat!($($more),*),
                    ..Setting::BLANK
                },
            )+)+]
        };
    };
}

settings! {
    Claude {
        /// API key of Claude itself.
        ///
        /// See [login.md](login.md).
        ANTHROPIC_API_KEY = "ANTHROPIC_API_KEY" { secret: Claude, handed_on: WithCall }
        /// Bearer token of Claude's API, or of a gateway in front of it.
        ///
        /// See [login.md](login.md).
        ANTHROPIC_AUTH_TOKEN = "ANTHROPIC_AUTH_TOKEN" { secret: Claude, handed_on: WithCall }
        /// Token of a Claude subscription, as `claude setup-token` makes one.
        ///
        /// See [login.md](login.md).
        CLAUDE_CODE_OAUTH_TOKEN = "CLAUDE_CODE_OAUTH_TOKEN" { secret: Claude, handed_on: WithCall }
        /// The claude executable: a path, or a name on PATH.
        ///
        /// It is yours to provide then, and to update.
        CLAUDE_BIN = "CLAUDEBOX_CLAUDE_BIN"
            { default: "the `claude` on PATH, or the one that is installed", has_old_name: false }
        /// Folder of the Claude CLIs that are installed.
        ///
        /// See [images.md](images.md#the-claude-cli). Set, the box uses those even where its image has one of its own.
        CLI_DIR = "CLAUDEBOX_CLI_DIR" { default: "`/var/lib/claudebox/cli`", has_old_name: false }
        /// The npm registry that the CLIs come from.
        ///
        /// npm's own `NPM_CONFIG_REGISTRY` is accepted too. `HTTPS_PROXY`, `NO_PROXY` and `SSL_CERT_FILE` count.
        NPM_REGISTRY = "CLAUDEBOX_NPM_REGISTRY"
            { default: "`https://registry.npmjs.org`", has_old_name: false, handed_on: Always }
        /// The CLI's own folder; its name is the CLI's.
        CONFIG_DIR = "CLAUDE_CONFIG_DIR" { default: "`.claude` in the user's home" }
        /// Text that goes into the system prompt of every run.
        SYSTEM_HINT = "CLAUDEBOX_SYSTEM_HINT" { handed_on: WithCall }
        /// Variables with this prefix reach Claude without it.
        ///
        /// `CLAUDEBOX_ENV_GITHUB_TOKEN` is `GITHUB_TOKEN` inside the box.
        FORWARD_PREFIX = "CLAUDEBOX_ENV_" { handed_on: WithCall }
        /// The image's list of tools.
        ///
        /// A path where nothing is: no `CLAUDE.md` is written.
        MANIFEST = "CLAUDEBOX_MANIFEST" { default: "`/usr/share/claudebox/manifest.json`", has_old_name: false }
        /// Whether the workspace's `CLAUDE.md` tells Claude what is in the box; `0` writes none.
        ///
        /// See [box.md](box.md).
        CLAUDE_MD = "CLAUDEBOX_CLAUDE_MD" { default: "on", handed_on: Always }
        /// Which image this is, for its list of tools.
        IMAGE_VARIANT = "CLAUDEBOX_IMAGE_VARIANT" { default: "the image sets it", has_old_name: false }
        /// Whether the built-in offline model answers; no account is used then.
        OFFLINE = "CLAUDEBOX_OFFLINE" { default: "off", has_old_name: false, handed_on: Always }
    }

    User {
        /// User that Claude runs as.
        USER = "CLAUDEBOX_USER" { default: "`claude`", has_old_name: false }
        /// The user and group id that this user has, such as `1000:1000`.
        USER_IDS = "CLAUDEBOX_USER_IDS" { default: "those of the workspace's owner", has_old_name: false }
        /// Folder that Claude works in.
        WORKSPACE = "CLAUDEBOX_WORKSPACE" { default: "`/workspace`", handed_on: ByHost }
        /// Root of the workspaces that server modes work in.
        WORKSPACES_DIR = "CLAUDEBOX_WORKSPACES_DIR" {
            default: "`/workspaces`; `/workspace` where that is mounted and `/workspaces` is not",
            handed_on: ByHost
        }
        /// This box's name, part of the default state folder.
        CONTAINER_NAME = "CLAUDEBOX_CONTAINER_NAME" { default: "`default`", handed_on: ByHost }
        /// Folder for claudebox's own state.
        STATE_DIR = "CLAUDEBOX_STATE_DIR" { default: "`/var/lib/claudebox/boxes/NAME`, or `claudebox/NAME` in the CLI's folder without root", has_old_name: false }
        /// Git's `user.name`.
        GIT_NAME = "CLAUDEBOX_GIT_NAME" { handed_on: WithCall }
        /// Git's `user.email`.
        GIT_EMAIL = "CLAUDEBOX_GIT_EMAIL" { handed_on: WithCall }
    }

    Start {
        /// Whether nothing in the box can gain privileges.
        ///
        /// See [security.md](security.md#hardened-mode).
        HARDENED = "CLAUDEBOX_HARDENED" { default: "off", has_old_name: false, handed_on: Always }
        /// Whether the API's credential is kept from Claude, by a process that asks the API in its place.
        ///
        /// See [security.md](security.md#the-broker).
        BROKER = "CLAUDEBOX_BROKER" { default: "on where PID 1 is root and the credential is in the environment", has_old_name: false, handed_on: Always }
        /// Whether a container engine's socket may be in a hardened box.
        ///
        /// Whoever reaches it is root on the host. The host command mounts it in a hardened box only with this.
        DOCKER_SOCKET = "CLAUDEBOX_DOCKER_SOCKET" { default: "off", has_old_name: false, handed_on: Always }
        /// Whether Claude, and all that it starts, reaches its own workspace and no other (Landlock); `sudo` does not work then.
        ///
        /// See [security.md](security.md#the-walls).
        LANDLOCK = "CLAUDEBOX_LANDLOCK" { default: "on in a hardened box", has_old_name: false, handed_on: Always }
        /// Whether the system calls of Claude, and of all that it starts, are filtered (seccomp); `sudo` does not work then.
        ///
        /// See [security.md](security.md#the-walls).
        SECCOMP = "CLAUDEBOX_SECCOMP" { default: "on in a hardened box", has_old_name: false, handed_on: Always }
        /// Which hosts Claude reaches: `open` for every one, `list` for those of an allow-list.
        ///
        /// See [security.md](security.md#the-way-out).
        EGRESS = "CLAUDEBOX_EGRESS" { default: "`list` in a hardened box and with an allow-list, else `open`", has_old_name: false, handed_on: Always }
        /// The allow-list: `NAME[:PORT]`, `*.NAME[:PORT]`, addresses and networks, with commas or blanks between them.
        ///
        /// Without it the file `/etc/claudebox/egress` is the list, a line for each, if it is there.
        EGRESS_ALLOW = "CLAUDEBOX_EGRESS_ALLOW" { has_old_name: false, handed_on: Always }
        /// What a failing init hook does to the start: `stop` or `continue`.
        HOOKS_ON_ERROR = "CLAUDEBOX_HOOKS_ON_ERROR" { default: "`stop`", has_old_name: false, handed_on: Always }
        /// Seconds that an init hook may take; 0 is for ever.
        HOOK_TIMEOUT = "CLAUDEBOX_HOOK_TIMEOUT" { default: "600", has_old_name: false, handed_on: Always }
        /// Seconds between TERM and KILL at shutdown.
        GRACE_SECONDS = "CLAUDEBOX_GRACE_SECONDS" { default: "7", has_old_name: false, handed_on: Always }
        /// Whether there are servers for `claudebox run` alone, which is what the host command uses.
        MODE_LOCAL = "CLAUDEBOX_MODE_LOCAL" { default: "off", handed_on: ByHost }
        /// Seconds without anything happening after which servers end, and the box with them; 0 is never.
        IDLE_EXIT_SECONDS = "CLAUDEBOX_IDLE_EXIT_SECONDS" { default: "0", handed_on: ByHost }
    }

    Runs {
        /// Most runs at once, over all workspaces.
        MAX_RUNS = "CLAUDEBOX_MAX_RUNS" { default: "8", handed_on: Always }
        /// Most runs that wait, over all workspaces.
        MAX_QUEUED = "CLAUDEBOX_MAX_QUEUED" { default: "1000", handed_on: Always }
        /// Longest that a run may take, seconds; 0 is for ever.
        RUN_TIMEOUT_SECONDS = "CLAUDEBOX_RUN_TIMEOUT_SECONDS" { default: "0", handed_on: Always }
        /// Longest that a run may be silent while no tool runs, seconds; 0 is for ever.
        RUN_SILENCE_SECONDS = "CLAUDEBOX_RUN_SILENCE_SECONDS" { default: "900", handed_on: Always }
        /// How long background shells and wake-ups of a run may go on after its answer, seconds.
        ///
        /// See [answers.md](answers.md).
        BACKGROUND_SECONDS = "CLAUDEBOX_BACKGROUND_SECONDS" { default: "10", handed_on: Always }
        /// Most memory that a run's processes may take together: `4g`, at least `256m`.
        ///
        /// Over it the run ends with `oom`.
        MAX_MEM = "CLAUDEBOX_MAX_MEM" { default: "no limit", handed_on: ByHost }
        /// Most that a run may cost, US dollars.
        MAX_COST_PER_RUN = "CLAUDEBOX_MAX_COST_PER_RUN" { default: "no limit", handed_on: Always }
        /// Most that all runs of a day (UTC) may cost, US dollars.
        MAX_COST_PER_DAY = "CLAUDEBOX_MAX_COST_PER_DAY" { default: "no limit", handed_on: Always }
        /// How long finished runs are kept, days.
        RUNS_KEEP_DAYS = "CLAUDEBOX_RUNS_KEEP_DAYS" { default: "30", handed_on: Always }
        /// How much of finished runs' events is kept, megabytes.
        RUNS_KEEP_MB = "CLAUDEBOX_RUNS_KEEP_MB" { default: "1024", handed_on: Always }
    }

    Http {
        /// Whether there is the HTTP API.
        ///
        /// See [http.md](http.md).
        MODE_API = "CLAUDEBOX_MODE_API" { default: "off", handed_on: ByHost }
        /// Port that the HTTP API listens on.
        MODE_API_PORT = "CLAUDEBOX_MODE_API_PORT" { default: "8080", later_names: &["API_PORT"], handed_on: ByHost }
        /// Address that the HTTP API listens on.
        MODE_API_BIND = "CLAUDEBOX_MODE_API_BIND" { default: "`0.0.0.0`", handed_on: ByHost }
        /// The token that may do everything.
        ///
        /// See [Tokens](http.md#tokens). Without a token and a file of tokens everybody may call.
        MODE_API_TOKEN = "CLAUDEBOX_MODE_API_TOKEN"
            { default: "everybody may call", later_names: &["API_TOKEN"], secret: Door, handed_on: ToServices }
        /// File of tokens, each with what it may do.
        MODE_API_TOKENS_FILE = "CLAUDEBOX_MODE_API_TOKENS_FILE"
            { default: "`/etc/claudebox/tokens.yml` if it is there", handed_on: ByHost }
        /// Host names that requests may be addressed to, with commas.
        MODE_API_HOSTS = "CLAUDEBOX_MODE_API_HOSTS"
            { default: "any with a token, else local ones", handed_on: ToServices }
        /// Origins of web pages that may call, with commas.
        MODE_API_ORIGINS = "CLAUDEBOX_MODE_API_ORIGINS" { default: "its own page", handed_on: ToServices }
        /// Longest JSON body, megabytes.
        MODE_API_MAX_BODY_MB = "CLAUDEBOX_MODE_API_MAX_BODY_MB" { default: "16", handed_on: ToServices }
        /// Longest upload, megabytes.
        MODE_API_MAX_UPLOAD_MB = "CLAUDEBOX_MODE_API_MAX_UPLOAD_MB" { default: "no limit", handed_on: ToServices }
        /// Most connections at once.
        MODE_API_MAX_CONNECTIONS = "CLAUDEBOX_MODE_API_MAX_CONNECTIONS" { default: "1024", handed_on: ToServices }
    }

    OpenAi {
        /// Names of models for clients of OpenAI's protocol: `gpt-4o=sonnet,*=default`.
        ///
        /// See [openai.md](openai.md).
        OPENAI_MODELS = "CLAUDEBOX_OPENAI_MODELS" { default: "none", handed_on: ToServices }
    }

    Telegram {
        /// Whether there is the Telegram bot.
        ///
        /// See [telegram.md](telegram.md).
        MODE_TELEGRAM = "CLAUDEBOX_MODE_TELEGRAM" { default: "off", handed_on: ByHost }
        /// The bot's token, from `@BotFather`; the bot needs it.
        TELEGRAM_BOT_TOKEN = "CLAUDEBOX_TELEGRAM_BOT_TOKEN"
            { later_names: &["TELEGRAM_MODE_TOKEN", "TELEGRAM_TOKEN"], secret: Door, handed_on: ToServices }
        /// The bot's own settings and its chats, a YAML file.
        TELEGRAM_CONFIG = "CLAUDEBOX_TELEGRAM_CONFIG"
            {
            default: "`/etc/claudebox/telegram.yml`, or `telegram.yml` in the CLI's folder",
            later_names: &["TELEGRAM_MODE_CONFIG"],
            handed_on: ByHost
        }
        /// Base URL of the Bot API, for a Bot API server of your own.
        TELEGRAM_API_URL = "CLAUDEBOX_TELEGRAM_API_URL" { default: "Telegram's own", handed_on: ToServices }
    }

    Cron {
        /// Whether there are jobs by the clock.
        ///
        /// See [cron.md](cron.md).
        MODE_CRON = "CLAUDEBOX_MODE_CRON" { default: "off", handed_on: ByHost }
        /// The jobs, a YAML file; jobs by the clock need it.
        MODE_CRON_FILE = "CLAUDEBOX_MODE_CRON_FILE"
            { default: "`/etc/claudebox/cron.yaml`", later_names: &["CRON_FILE"], handed_on: ByHost }
        /// Folder of the jobs' history.
        MODE_CRON_HISTORY_DIR = "CLAUDEBOX_MODE_CRON_HISTORY_DIR"
            { default: "`cron` in the CLI's folder", later_names: &["CRON_HISTORY_DIR"], handed_on: ToServices }
        /// The box's time zone, by its name in the time zone database.
        TZ = "TZ" { default: "UTC", handed_on: WithCall }
    }

    Requests {
        /// Key that webhooks are signed with.
        ///
        /// See [Webhooks](http.md#webhooks).
        WEBHOOK_SECRET = "CLAUDEBOX_WEBHOOK_SECRET" { default: "unsigned", secret: Door, handed_on: ToServices }
        /// Hosts with private addresses that may be fetched from, with commas.
        FETCH_ALLOW = "CLAUDEBOX_FETCH_ALLOW" { default: "none", handed_on: ToServices }
    }

    Logs {
        /// How logs are written: `text` or `json`.
        LOG_FORMAT = "CLAUDEBOX_LOG_FORMAT" { default: "`text`", handed_on: Always }
        /// Whether a line of text begins with its time (RFC 3339, UTC): `auto`, `always` or `never`.
        ///
        /// `auto`: in the log of a box with servers, unless it is a terminal. `never` is for whoever has
        /// `docker logs --timestamps`. JSON always has the time.
        LOG_TIME = "CLAUDEBOX_LOG_TIME" { default: "`auto`", handed_on: Always }
        /// Whether debug logs are written to standard error.
        DEBUG = "CLAUDEBOX_DEBUG" { default: "off", handed_on: Always }
        /// The same; the name is the predecessor's.
        PLAIN_DEBUG = "DEBUG" { default: "off", handed_on: ByHost }
    }

    HostCommand {
        /// The image that boxes are made of.
        IMAGE = "CLAUDEBOX_IMAGE" { default: "what the installer chose, else `psyb0t/claudebox:latest`" }
        /// `1`: the image is `psyb0t/claudebox:latest-minimal`.
        MINIMAL = "CLAUDEBOX_MINIMAL" { default: "off" }
        /// `~/.claude` of the box, on this machine.
        DATA_DIR = "CLAUDEBOX_DATA_DIR" { default: "`~/.claude`, of a hardened box `~/.claude-hardened`" }
        /// `~/.ssh` of the box, on this machine.
        SSH_DIR = "CLAUDEBOX_SSH_DIR" { default: "`~/.ssh/claudebox`" }
        /// Folder of what decides, `/etc/claudebox` in the box and read-only there.
        ///
        /// It holds `tokens.yml`, `cron.yaml`, `telegram.yml`, and hooks in `init.d`, as far as there are some.
        POLICY_DIR = "CLAUDEBOX_POLICY_DIR" { default: "`~/.config/claudebox/policy` if it is there", has_old_name: false }
        /// A mount: `PATH` or `SOURCE:TARGET`, each with `:ro`.
        ///
        /// A source that is no path is a volume. A missing source is an error.
        MOUNT_PREFIX = "CLAUDEBOX_MOUNT_" { }
        /// `1`: below a repository's root, in a work tree or a submodule, the whole repository is in the box.
        ///
        /// Without it git does not work there, and that is said when the box is made.
        GIT_ROOT = "CLAUDEBOX_GIT_ROOT" { default: "off", has_old_name: false }
        /// `1`: your home folder, or one above it, may be the workspace.
        ///
        /// Without it a terminal asks and a script is refused.
        HOME_WORKSPACE = "CLAUDEBOX_HOME_WORKSPACE" { default: "off", has_old_name: false }
        /// Ports of the session's box: `3000`, `8080:3000`, `0.0.0.0:3000:3000`, several with commas.
        ///
        /// Without an address for this machine alone. The server in the box has to listen on `0.0.0.0`.
        PUBLISH = "CLAUDEBOX_PUBLISH" { has_old_name: false }
        /// The network of the box, as the engine takes it, such as `host`.
        NETWORK = "CLAUDEBOX_NETWORK" { default: "the engine's" }
        /// Processors of the box, as the engine takes them, such as `1.5`.
        CPUS = "CLAUDEBOX_CPUS" { default: "the engine's" }
        /// Memory of the box, as the engine takes it, such as `2g`.
        MEMORY = "CLAUDEBOX_MEMORY" { default: "the engine's" }
        /// `1`: the engine's socket stays outside. Whoever reaches it is root on this machine.
        NO_DOCKER_SOCKET = "CLAUDEBOX_NO_DOCKER_SOCKET" { default: "off" }
        /// The engine: `docker`, `podman`, or a path.
        ENGINE = "CLAUDEBOX_ENGINE" { default: "what is installed", has_old_name: false }
        /// `1`: prints the engine's commands, secrets masked, and runs nothing.
        DRY_RUN = "CLAUDEBOX_DRY_RUN" { default: "off", has_old_name: false }
    }

    Internal {
        /// What the box was made with, as the host command knows it again.
        HOST_SETTINGS = "CLAUDEBOX_HOST_SETTINGS" { handed_on: ByHost }
        /// The run that a process belongs to; set on Claude and so on everything it starts.
        RUN_ID = "CLAUDEBOX_RUN_ID" { }
        /// Whether a person reads standard error on a terminal that this process does not see; each call says so.
        WATCHED = "CLAUDEBOX_STDERR_IS_TERMINAL" { handed_on: ByHost }
        /// Names of the variables that a call of the host command brings along.
        CALL_VARIABLES = "CLAUDEBOX_CALL_VARIABLES" { handed_on: ByHost }
        /// The ids of the user whose files a process works on and whose programs it starts, `UID:GID:GROUPS`; PID 1 tells it.
        CLAUDE_IDS = "CLAUDEBOX_CLAUDE_IDS" { }
        /// The socket at which a process opens its run at the broker; PID 1 tells it.
        BROKER_CONTROL = "CLAUDEBOX_BROKER_CONTROL" { }
        /// How a CLI comes to the broker whose run nobody opens, `SOCKET:STAND-IN`; PID 1 tells the broker.
        BROKER_STANDING = "CLAUDEBOX_BROKER_STANDING" { }
        /// The ports that Claude may connect to, where it reaches a list of hosts; PID 1 tells them.
        EGRESS_PORTS = "CLAUDEBOX_EGRESS_PORTS" { }
        /// How often `serve` was started again since the box's start; PID 1 tells it.
        RESTARTS = "CLAUDEBOX_RESTARTS" { }
    }
}

/// The setting with this canonical name.
pub fn find(canonical: &str) -> Option<&'static Setting> {
    ALL.iter().find(|setting| setting.name == canonical)
}

#[cfg(test)]
mod pages;
