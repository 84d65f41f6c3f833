//! What is wrong with the settings: every mistake, so that a box is started twice and not five times.

use std::fmt;

/// A setting with a value that cannot be used. Values shown here are never secrets: no secret is parsed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}={value:?} is not usable: {allowed}")]
pub struct ConfigError {
    /// The setting, as it was spelled.
    pub name: String,
    /// Its value.
    pub value: String,
    /// What is allowed.
    pub allowed: String,
}

/// Every setting that cannot be used: at least one, each once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    /// Each of them, in the order in which they were found.
    pub fn iter(&self) -> std::slice::Iter<'_, ConfigError> {
        self.0.iter()
    }

    /// These and what another reader has found. Two readers may read the same setting.
    #[must_use]
    pub fn and(mut self, others: Self) -> Self {
        for error in others.0 {
            if !self.0.contains(&error) {
                self.0.push(error);
            }
        }
        self
    }

    /// `value`, unless errors were found.
    pub(super) fn unless<T>(errors: Vec<ConfigError>, value: T) -> Result<T, Self> {
        if errors.is_empty() { Ok(value) } else { Err(Self(Vec::new()).and(Self(errors))) }
    }
}

/// Both, or what is wrong with either.
pub fn both<A, B>(a: Result<A, ConfigErrors>, b: Result<B, ConfigErrors>) -> Result<(A, B), ConfigErrors> {
    match (a, b) {
        (Ok(a), Ok(b)) => Ok((a, b)),
        (Err(errors), Err(others)) => Err(errors.and(others)),
        (Err(errors), Ok(_)) | (Ok(_), Err(errors)) => Err(errors),
    }
}

impl<'errors> IntoIterator for &'errors ConfigErrors {
    type Item = &'errors ConfigError;
    type IntoIter = std::slice::Iter<'errors, ConfigError>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl From<ConfigError> for ConfigErrors {
    fn from(error: ConfigError) -> Self {
        Self(vec![error])
    }
}

impl std::error::Error for ConfigErrors {}

/// In one line, for where there is room for one alone.
impl fmt::Display for ConfigErrors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, error) in self.0.iter().enumerate() {
            write!(formatter, "{}{error}", if at == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

pub(super) fn wrong(name: &str, value: &str, allowed: &str) -> ConfigError {
    ConfigError { name: name.into(), value: value.into(), allowed: allowed.into() }
}
