//! How logs are written.

use super::environment::Environment;
use super::error::ConfigErrors;
use super::name;
use super::reader::Reader;

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
    const ALLOWED: &[(&str, Self)] = &[("text", Self::Text), ("json", Self::Json)];

    /// Reads this setting alone, for what is said before the others are read, or because they cannot be.
    pub fn read(env: &impl Environment) -> Result<Self, ConfigErrors> {
        Reader::all(env, Self::from)
    }

    pub(super) fn from(reader: &mut Reader<'_, impl Environment>) -> Self {
        reader.choice(name::LOG_FORMAT, Self::ALLOWED).unwrap_or_default()
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
    const ALLOWED: &[(&str, Self)] = &[("auto", Self::Auto), ("always", Self::Always), ("never", Self::Never)];

    pub(super) fn from(reader: &mut Reader<'_, impl Environment>) -> Self {
        reader.choice(name::LOG_TIME, Self::ALLOWED).unwrap_or_default()
    }
}
