//! Settings of the servers: the HTTP door and the run engine behind all doors.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use chrono_tz::Tz;

use super::environment::Environment;
use super::error::{ConfigErrors, wrong};
use super::fetch_allow::Allow;
use super::reader::{MOST, Reader, is_on};
use super::secret::Secret;
use super::spelling::lookup;
use super::{name, places, zone};

const DAY: Duration = Duration::from_hours(24);
const DEFAULT_PORT: u16 = 8080;
const MEGABYTE: u64 = 1 << 20;
const LONGEST_DAYS: u64 = 36_500;
const LONGEST_IDLE_SECONDS: u64 = 30 * 86_400;

/// The port of the HTTP door, from an environment that may lack the door's secrets.
pub fn port(env: &impl Environment) -> u16 {
    let named = lookup(env, name::MODE_API_PORT).and_then(|(_, value)| value.to_str()?.parse().ok());
    named.unwrap_or(DEFAULT_PORT)
}

/// All settings of `serve`.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerConfig {
    /// The HTTP door; `None` if it is off.
    pub http: Option<HttpConfig>,
    /// The Telegram door; `None` if it is off.
    pub telegram: Option<TelegramConfig>,
    /// The cron door; `None` if it is off.
    pub cron: Option<CronConfig>,
    /// Whether it is asked for although no other door is on: `claudebox run` is to find servers.
    pub local: bool,
    /// How long nothing may happen before the box ends; `None` is for ever.
    pub idle_exit: Option<Duration>,
    /// The run engine.
    pub engine: EngineConfig,
    /// Hosts whose private addresses may be fetched from, besides all public ones.
    pub fetch_allow: Allow,
    /// Key that webhooks are signed with; `None` leaves them unsigned.
    pub webhook_secret: Option<Secret>,
}

/// The HTTP door.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpConfig {
    /// Address to listen on.
    pub bind: IpAddr,
    /// Port to listen on.
    pub port: u16,
    /// The one token that may do everything.
    pub token: Option<Secret>,
    /// File of tokens that may do some things each.
    pub tokens_file: Option<PathBuf>,
    /// Host names that requests may be addressed to. Empty: see `doors::web::origin`.
    pub hosts: Vec<String>,
    /// Origins of web pages that may call.
    pub origins: Vec<String>,
    /// Names of models for clients of OpenAI's protocol: theirs, and the CLI's for each.
    pub openai_models: Vec<(String, String)>,
    /// Longest JSON body, bytes.
    pub body_limit: u64,
    /// Longest upload, bytes; `None` has no limit.
    pub upload_limit: Option<u64>,
    /// Most connections at once.
    pub connections: usize,
}

/// The Telegram door.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TelegramConfig {
    /// The bot's token.
    pub token: Secret,
    /// File of chats and what each may do; `None`: `telegram.yml` in the CLI's folder.
    pub file: Option<PathBuf>,
    /// Base URL of the Bot API; `None` is Telegram's own.
    pub api_url: Option<String>,
}

/// The cron door.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CronConfig {
    /// File of jobs.
    pub file: PathBuf,
    /// The door's folder; `None`: `cron` in the CLI's folder.
    pub history_dir: Option<PathBuf>,
    /// The box's own time zone.
    pub zone: Tz,
}

/// The run engine.
#[derive(Debug, Clone, PartialEq)]
pub struct EngineConfig {
    /// Most runs at once, over all workspaces.
    pub runs: usize,
    /// Most runs that wait, over all workspaces.
    pub queue: usize,
    /// Longest a run may take; `None` is for ever.
    pub run_timeout: Option<Duration>,
    /// Longest a run's stream may be silent while no tool runs; `None` is for ever.
    pub run_silence: Option<Duration>,
    /// Most a run may cost, US dollars.
    pub cost_per_run: Option<f64>,
    /// Most all runs of a day (UTC) may cost, US dollars.
    pub cost_per_day: Option<f64>,
    /// How long a finished run is kept.
    pub keep: Duration,
    /// How many bytes of event logs are kept.
    pub keep_bytes: u64,
    /// Whether the offline model answers.
    pub offline: bool,
}

/// How a door is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// It is on.
    Clearly,
    /// Its flag is neither on nor off. Its settings are read all the same, so that all that is wrong is said at once.
    Perhaps,
}

impl Asked {
    fn of(reader: &mut Reader<'_, impl Environment>, flag: &str) -> Option<Self> {
        match is_on(reader.env, flag) {
            Some(true) => Some(Self::Clearly),
            Some(false) => None,
            None => {
                // Keeps the error.
                reader.flag(flag);
                Some(Self::Perhaps)
            }
        }
    }

    /// Refuses that a setting is missing which the door cannot be without.
    fn needs(self, reader: &mut Reader<'_, impl Environment>, name: &str, why: &str) {
        if self == Self::Clearly && lookup(reader.env, name).is_none() {
            reader.refuse(wrong(name, "", why));
        }
    }
}

impl ServerConfig {
    /// Reads every setting of the servers from `env`.
    pub fn read(env: &impl Environment) -> Result<Self, ConfigErrors> {
        Reader::all(env, Self::from)
    }

    fn from(reader: &mut Reader<'_, impl Environment>) -> Self {
        let http = Asked::of(reader, name::MODE_API).map(|_| HttpConfig::from(reader));
        let telegram = Asked::of(reader, name::MODE_TELEGRAM).and_then(|asked| TelegramConfig::from(reader, asked));
        let cron = Asked::of(reader, name::MODE_CRON).and_then(|asked| CronConfig::from(reader, asked));
        let mut allow = Allow::default();
        for entry in reader.list(name::FETCH_ALLOW) {
            let added = allow.add(&entry);
            reader.keep(added);
        }
        Self {
            http,
            telegram,
            cron,
            local: reader.flag(name::MODE_LOCAL),
            idle_exit: reader.seconds(name::IDLE_EXIT_SECONDS, LONGEST_IDLE_SECONDS).filter(|limit| !limit.is_zero()),
            engine: EngineConfig::from(reader),
            fetch_allow: allow,
            webhook_secret: reader.text(name::WEBHOOK_SECRET).map(Secret::new),
        }
    }
}

impl HttpConfig {
    fn from(reader: &mut Reader<'_, impl Environment>) -> Self {
        Self {
            bind: reader.address(name::MODE_API_BIND).unwrap_or(IpAddr::from([0, 0, 0, 0])),
            port: reader.port(name::MODE_API_PORT).unwrap_or(DEFAULT_PORT),
            token: reader.text(name::MODE_API_TOKEN).map(Secret::new),
            tokens_file: reader.absolute_path(name::MODE_API_TOKENS_FILE).or_else(|| places::taken(places::TOKENS)),
            hosts: reader.list(name::MODE_API_HOSTS),
            origins: reader.list(name::MODE_API_ORIGINS),
            openai_models: reader.pairs(name::OPENAI_MODELS),
            body_limit: reader.number(name::MODE_API_MAX_BODY_MB, 1, MOST).unwrap_or(16) * MEGABYTE,
            upload_limit: reader.number(name::MODE_API_MAX_UPLOAD_MB, 1, MOST).map(|megabytes| megabytes * MEGABYTE),
            connections: reader.count(name::MODE_API_MAX_CONNECTIONS).unwrap_or(1024),
        }
    }
}

impl TelegramConfig {
    fn from(reader: &mut Reader<'_, impl Environment>, asked: Asked) -> Option<Self> {
        asked.needs(reader, name::TELEGRAM_BOT_TOKEN, "the Telegram door needs the token that @BotFather gave the bot");
        let token = reader.text(name::TELEGRAM_BOT_TOKEN).map(Secret::new);
        let file = reader.absolute_path(name::TELEGRAM_CONFIG).or_else(|| places::taken(places::TELEGRAM));
        let api_url = reader.text(name::TELEGRAM_API_URL);
        Some(Self { token: token?, file, api_url })
    }
}

impl CronConfig {
    fn from(reader: &mut Reader<'_, impl Environment>, asked: Asked) -> Option<Self> {
        let own = places::taken(places::CRON);
        if own.is_none() {
            let why = format!("the cron door needs a file of jobs: {}, or another that is named here", places::CRON);
            asked.needs(reader, name::MODE_CRON_FILE, &why);
        }
        let file = reader.absolute_path(name::MODE_CRON_FILE).or(own);
        let history_dir = reader.absolute_path(name::MODE_CRON_HISTORY_DIR);
        let zone = reader.keep(zone::of_box(reader.env));
        Some(Self { file: file?, history_dir, zone: zone? })
    }
}

impl EngineConfig {
    fn from(reader: &mut Reader<'_, impl Environment>) -> Self {
        let mut limit = |name, default: Duration| -> Option<Duration> {
            let limit = reader.seconds(name, DAY.as_secs() * 30).unwrap_or(default);
            (!limit.is_zero()).then_some(limit)
        };
        let run_timeout = limit(name::RUN_TIMEOUT_SECONDS, Duration::ZERO);
        let run_silence = limit(name::RUN_SILENCE_SECONDS, Duration::from_mins(15));
        Self {
            runs: reader.count(name::MAX_RUNS).unwrap_or(8),
            queue: reader.count(name::MAX_QUEUED).unwrap_or(1000),
            run_timeout,
            run_silence,
            cost_per_run: reader.dollars(name::MAX_COST_PER_RUN),
            cost_per_day: reader.dollars(name::MAX_COST_PER_DAY),
            keep: Duration::from_hours(24 * reader.number(name::RUNS_KEEP_DAYS, 1, LONGEST_DAYS).unwrap_or(30)),
            keep_bytes: reader.number(name::RUNS_KEEP_MB, 1, MOST).unwrap_or(1024) * MEGABYTE,
            offline: reader.flag(name::OFFLINE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use std::collections::HashMap;
    use std::ffi::OsString;

    fn env(pairs: &[(&str, &str)]) -> HashMap<String, OsString> {
        pairs.iter().map(|&(name, value)| (name.to_owned(), value.into())).collect()
    }

    #[test]
    fn nothing_set_is_no_door_and_the_default_limits() {
        let config = ServerConfig::read(&env(&[])).unwrap();
        assert_eq!(config.http, None);
        assert_eq!((config.engine.runs, config.engine.run_timeout), (8, None));
        assert_eq!(config.engine.run_silence, Some(Duration::from_mins(15)));
    }

    #[test]
    fn the_predecessors_names_turn_the_door_on() {
        for prefix in ["CLAUDE_MODE_API", "CLAUDEBOX_MODE_API", "CLAUDEBOX_API_MODE"] {
            let (token, port) = (format!("{prefix}_TOKEN"), format!("{prefix}_PORT"));
            let http = ServerConfig::read(&env(&[(prefix, "1"), (&token, "s3cret"), (&port, "81")])).unwrap().http;
            let http = http.unwrap_or_else(|| panic!("{prefix}"));
            assert_eq!((http.port, http.token.as_ref().map(Secret::reveal)), (81, Some("s3cret")));
            assert!(!format!("{http:?}").contains("s3cret"));
        }
    }

    #[test]
    fn the_cron_door_needs_its_file() {
        for (prefix, folder) in
            [("CLAUDE_MODE_CRON", "/a"), ("CLAUDEBOX_MODE_CRON", "/b"), ("CLAUDEBOX_CRON_MODE", "/c")]
        {
            let (file, history) = (format!("{prefix}_FILE"), format!("{prefix}_HISTORY_DIR"));
            let pairs = [(prefix, "1"), (file.as_str(), "/c.yaml"), (history.as_str(), folder), ("TZ", "Asia/Tokyo")];
            let cron = ServerConfig::read(&env(&pairs)).unwrap().cron;
            let expected =
                CronConfig { file: "/c.yaml".into(), history_dir: Some(folder.into()), zone: Tz::Asia__Tokyo };
            assert_eq!(cron, Some(expected), "{prefix}");
        }
        let pairs = [("CLAUDEBOX_MODE_CRON", "1"), ("CLAUDEBOX_MODE_CRON_FILE", "/c.yaml"), ("TZ", "Europe/Berlni")];
        let error = ServerConfig::read(&env(&pairs)).unwrap_err();
        assert!(error.to_string().ends_with("such as Europe/Berlin"), "{error}");
        // Without jobs, nothing of ours goes by it.
        assert_eq!(ServerConfig::read(&env(&pairs[1..])).unwrap().cron, None);
        let error = ServerConfig::read(&env(&[("CLAUDEBOX_MODE_CRON", "1")])).unwrap_err();
        assert_eq!(error.iter().map(|error| &*error.name).collect::<Vec<_>>(), ["CLAUDEBOX_MODE_CRON_FILE"]);
        assert_eq!(ServerConfig::read(&env(&[("CLAUDEBOX_MODE_CRON_FILE", "/c.yaml")])).unwrap().cron, None);
    }

    #[test]
    fn the_webhook_secret_is_read_and_not_shown() {
        let config = ServerConfig::read(&env(&[("CLAUDEBOX_WEBHOOK_SECRET", "s3cret")])).unwrap();
        assert_eq!(config.webhook_secret.as_ref().map(Secret::reveal), Some("s3cret"));
        assert!(!format!("{config:?}").contains("s3cret"));
    }

    #[rstest]
    #[case("CLAUDEBOX_MODE_API_PORT", "0", "a whole number from 1 to 65535")]
    #[case("CLAUDE_MODE_API_PORT", "http", "a whole number from 1 to 65535")]
    #[case("CLAUDEBOX_MODE_API_BIND", "localhost", "an IP address, such as 127.0.0.1, 0.0.0.0 or ::")]
    #[case("CLAUDEBOX_MODE_API_TOKENS_FILE", "tokens", "it must be an absolute path")]
    #[case("CLAUDEBOX_MAX_RUNS", "0", "a whole number from 1 to 1000000")]
    #[case("CLAUDEBOX_MAX_COST_PER_DAY", "-1", "US dollars, a number above 0, such as 2.50")]
    #[case("CLAUDEBOX_OPENAI_MODELS", "gpt-4o", "pairs with commas, such as gpt-4o=sonnet,*=default")]
    #[case("CLAUDEBOX_RUN_TIMEOUT_SECONDS", "soon", "whole seconds from 0 to 2592000")]
    fn a_bad_value_is_named_with_what_is_allowed(#[case] name: &str, #[case] value: &str, #[case] allowed: &str) {
        let error = ServerConfig::read(&env(&[("CLAUDEBOX_MODE_API", "1"), (name, value)])).unwrap_err();
        assert_eq!(error.to_string(), format!("{name}={value:?} is not usable: {allowed}"));
    }
}
