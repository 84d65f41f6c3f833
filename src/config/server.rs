//! Settings of the servers: the HTTP door and the run engine behind all doors.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use chrono_tz::Tz;

use super::environment::Environment;
use super::{ConfigError, Settings, name, wrong, zone};

const DAY: Duration = Duration::from_hours(24);
const MEGABYTE: u64 = 1 << 20;
const LONGEST_DAYS: u64 = 36_500;
const MOST: u64 = 1_000_000;
const LONGEST_IDLE_SECONDS: u64 = 30 * 86_400;

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
    pub fetch_allow: Vec<String>,
    /// Key that webhooks are signed with; `None` leaves them unsigned.
    pub webhook_secret: Option<Secret>,
    /// How logs are written.
    pub log_format: LogFormat,
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

/// How logs are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// One line of text for people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

impl LogFormat {
    /// Reads this setting alone, for the roles that have no other setting of a server.
    pub fn read(env: &impl Environment) -> Result<Self, ConfigError> {
        Settings { env }.log_format()
    }
}

/// When lines of text in logs begin with their time. Objects always have theirs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogTime {
    /// In the log of a box with servers, unless it is a terminal. What a prompt says on standard error has none.
    #[default]
    Auto,
    /// In every line.
    Always,
    /// In none.
    Never,
}

impl LogTime {
    /// Reads this setting alone.
    pub fn read(env: &impl Environment) -> Result<Self, ConfigError> {
        Settings { env }.log_time()
    }
}

/// A value that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides `value`.
    #[must_use]
    pub const fn new(value: String) -> Self {
        Self(value)
    }

    /// The value itself.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(..)")
    }
}

impl ServerConfig {
    /// Reads every setting from `env`.
    pub fn read(env: &impl Environment) -> Result<Self, ConfigError> {
        let settings = Settings { env };
        let http = if settings.flag(name::MODES[0])? { Some(HttpConfig::read(&settings)?) } else { None };
        let telegram = if settings.flag(name::MODES[1])? { Some(TelegramConfig::read(&settings)?) } else { None };
        let cron = if settings.flag(name::MODES[2])? { Some(CronConfig::read(&settings)?) } else { None };
        Ok(Self {
            http,
            telegram,
            cron,
            local: settings.flag(name::MODE_LOCAL)?,
            idle_exit: settings
                .seconds(name::IDLE_EXIT_SECONDS, LONGEST_IDLE_SECONDS)?
                .filter(|limit| !limit.is_zero()),
            engine: EngineConfig::read(&settings)?,
            fetch_allow: settings.list(name::FETCH_ALLOW)?,
            webhook_secret: settings.text(name::WEBHOOK_SECRET)?.map(Secret::new),
            log_format: settings.log_format()?,
        })
    }
}

impl HttpConfig {
    fn read(settings: &Settings<'_, impl Environment>) -> Result<Self, ConfigError> {
        Ok(Self {
            bind: settings.address(name::MODE_API_BIND)?.unwrap_or(IpAddr::from([0, 0, 0, 0])),
            port: settings.port(name::MODE_API_PORT)?.unwrap_or(8080),
            token: settings.text(name::MODE_API_TOKEN)?.map(Secret::new),
            tokens_file: settings.absolute_path(name::MODE_API_TOKENS_FILE)?,
            hosts: settings.list(name::MODE_API_HOSTS)?,
            origins: settings.list(name::MODE_API_ORIGINS)?,
            openai_models: settings.pairs(name::OPENAI_MODELS)?,
            body_limit: settings.number(name::MODE_API_MAX_BODY_MB, 1, MOST)?.unwrap_or(16) * MEGABYTE,
            upload_limit: settings.number(name::MODE_API_MAX_UPLOAD_MB, 1, MOST)?.map(|megabytes| megabytes * MEGABYTE),
            connections: settings.count(name::MODE_API_MAX_CONNECTIONS)?.unwrap_or(1024),
        })
    }
}

impl TelegramConfig {
    fn read(settings: &Settings<'_, impl Environment>) -> Result<Self, ConfigError> {
        let token = settings.text(name::TELEGRAM_BOT_TOKEN)?;
        Ok(Self {
            token: token.map(Secret::new).ok_or_else(|| {
                wrong(name::TELEGRAM_BOT_TOKEN, "", "the Telegram door needs the token that @BotFather gave the bot")
            })?,
            file: settings.absolute_path(name::TELEGRAM_CONFIG)?,
            api_url: settings.text(name::TELEGRAM_API_URL)?,
        })
    }
}

impl CronConfig {
    fn read(settings: &Settings<'_, impl Environment>) -> Result<Self, ConfigError> {
        let file = settings.absolute_path(name::MODE_CRON_FILE)?;
        let missing = || wrong(name::MODE_CRON_FILE, "", "the cron door needs the path of a file of jobs");
        Ok(Self {
            file: file.ok_or_else(missing)?,
            history_dir: settings.absolute_path(name::MODE_CRON_HISTORY_DIR)?,
            zone: zone::of_box(settings.env)?,
        })
    }
}

impl EngineConfig {
    fn read(settings: &Settings<'_, impl Environment>) -> Result<Self, ConfigError> {
        let limit = |name, default: Duration| -> Result<Option<Duration>, ConfigError> {
            let limit = settings.seconds(name, DAY.as_secs() * 30)?.unwrap_or(default);
            Ok((!limit.is_zero()).then_some(limit))
        };
        let days = settings.number(name::RUNS_KEEP_DAYS, 1, LONGEST_DAYS)?.unwrap_or(30);
        Ok(Self {
            runs: settings.count(name::MAX_RUNS)?.unwrap_or(8),
            queue: settings.count(name::MAX_QUEUED)?.unwrap_or(1000),
            run_timeout: limit(name::RUN_TIMEOUT_SECONDS, Duration::ZERO)?,
            run_silence: limit(name::RUN_SILENCE_SECONDS, Duration::from_mins(15))?,
            cost_per_run: settings.dollars(name::MAX_COST_PER_RUN)?,
            cost_per_day: settings.dollars(name::MAX_COST_PER_DAY)?,
            keep: Duration::from_hours(24 * days),
            keep_bytes: settings.number(name::RUNS_KEEP_MB, 1, MOST)?.unwrap_or(1024) * MEGABYTE,
            offline: settings.flag(name::OFFLINE)?,
        })
    }
}

impl<E: Environment> Settings<'_, E> {
    fn number(&self, name: &str, least: u64, most: u64) -> Result<Option<u64>, ConfigError> {
        let Some((name, value)) = self.find(name)? else { return Ok(None) };
        match value.parse() {
            Ok(number) if (least..=most).contains(&number) => Ok(Some(number)),
            _ => Err(wrong(&name, &value, &format!("a whole number from {least} to {most}"))),
        }
    }

    fn count(&self, name: &str) -> Result<Option<usize>, ConfigError> {
        Ok(self.number(name, 1, MOST)?.and_then(|number| usize::try_from(number).ok()))
    }

    fn port(&self, name: &str) -> Result<Option<u16>, ConfigError> {
        // Port 0 would be a free one that nobody knows.
        Ok(self.number(name, 1, u16::MAX.into())?.and_then(|number| u16::try_from(number).ok()))
    }

    fn address(&self, name: &str) -> Result<Option<IpAddr>, ConfigError> {
        let Some((name, value)) = self.find(name)? else { return Ok(None) };
        match value.parse() {
            Ok(address) => Ok(Some(address)),
            Err(_) => Err(wrong(&name, &value, "an IP address, such as 127.0.0.1, 0.0.0.0 or ::")),
        }
    }

    fn dollars(&self, name: &str) -> Result<Option<f64>, ConfigError> {
        let Some((name, value)) = self.find(name)? else { return Ok(None) };
        match value.parse::<f64>() {
            Ok(dollars) if dollars.is_finite() && dollars > 0.0 => Ok(Some(dollars)),
            _ => Err(wrong(&name, &value, "US dollars, a number above 0, such as 2.50")),
        }
    }

    /// Comma-separated values.
    fn list(&self, name: &str) -> Result<Vec<String>, ConfigError> {
        let value = self.text(name)?.unwrap_or_default();
        Ok(value.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect())
    }

    /// Comma-separated pairs of names, `a=b`.
    fn pairs(&self, name: &str) -> Result<Vec<(String, String)>, ConfigError> {
        let pair = |part: String| match part.split_once('=') {
            Some((theirs, ours)) if !theirs.trim().is_empty() && !ours.trim().is_empty() => {
                Ok((theirs.trim().to_owned(), ours.trim().to_owned()))
            }
            _ => Err(wrong(name, &part, "pairs with commas, such as gpt-4o=sonnet,*=default")),
        };
        self.list(name)?.into_iter().map(pair).collect()
    }

    fn log_time(&self) -> Result<LogTime, ConfigError> {
        let Some((name, value)) = self.find(name::LOG_TIME)? else { return Ok(LogTime::default()) };
        match value.as_str() {
            "auto" => Ok(LogTime::Auto),
            "always" => Ok(LogTime::Always),
            "never" => Ok(LogTime::Never),
            _ => Err(wrong(&name, &value, "allowed are auto, always and never")),
        }
    }

    fn log_format(&self) -> Result<LogFormat, ConfigError> {
        let Some((name, value)) = self.find(name::LOG_FORMAT)? else { return Ok(LogFormat::default()) };
        match value.as_str() {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err(wrong(&name, &value, "allowed are text and json")),
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
        assert_eq!((config.http, config.log_format), (None, LogFormat::Text));
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
        assert_eq!(error.name, "CLAUDEBOX_MODE_CRON_FILE");
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
    #[case("CLAUDEBOX_LOG_FORMAT", "xml", "allowed are text and json")]
    #[case("CLAUDEBOX_RUN_TIMEOUT_SECONDS", "soon", "whole seconds from 0 to 2592000")]
    fn a_bad_value_is_named_with_what_is_allowed(#[case] name: &str, #[case] value: &str, #[case] allowed: &str) {
        let error = ServerConfig::read(&env(&[("CLAUDEBOX_MODE_API", "1"), (name, value)])).unwrap_err();
        assert_eq!(error.to_string(), format!("{name}={value:?} is not usable: {allowed}"));
    }
}
