//! How logs are written.

use super::environment::Environment;
use super::{ConfigError, Settings, name, wrong};

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

impl<E: Environment> Settings<'_, E> {
    fn log_time(&self) -> Result<LogTime, ConfigError> {
        let Some((name, value)) = self.find(name::LOG_TIME)? else { return Ok(LogTime::default()) };
        match value.as_str() {
            "auto" => Ok(LogTime::Auto),
            "always" => Ok(LogTime::Always),
            "never" => Ok(LogTime::Never),
            _ => Err(wrong(&name, &value, "allowed are auto, always and never")),
        }
    }

    pub(super) fn log_format(&self) -> Result<LogFormat, ConfigError> {
        let Some((name, value)) = self.find(name::LOG_FORMAT)? else { return Ok(LogFormat::default()) };
        match value.as_str() {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err(wrong(&name, &value, "allowed are text and json")),
        }
    }
}
