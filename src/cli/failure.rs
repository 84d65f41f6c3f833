//! An error on its way to `main`: what to say, and with which code to exit.

use std::error::Error;
use std::fmt;

use crate::claude::sessions::OpenError;
use crate::config::error::ConfigErrors;
use crate::exit_code::ExitCode;

/// Why this process ends without having done what it was started for.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub code: ExitCode,
    /// At least one; several where several things have to be mended.
    reasons: Vec<String>,
}

impl Failure {
    /// A failure with this code.
    pub fn new(code: ExitCode, message: impl fmt::Display) -> Self {
        Self { code, reasons: vec![format!("{message}")] }
    }

    /// The command line is wrong.
    pub fn usage(message: impl fmt::Display) -> Self {
        Self::new(ExitCode::Usage, message)
    }

    /// A setting is wrong, or something that was set up around the box.
    pub fn config(message: impl fmt::Display) -> Self {
        Self::new(ExitCode::Config, message)
    }

    /// Something is wrong that neither the command line nor a setting can mend.
    pub fn internal(message: impl fmt::Display) -> Self {
        Self::new(ExitCode::Internal, message)
    }

    /// A role that claudebox starts itself was started by somebody else.
    #[must_use]
    pub fn of_hidden_role() -> Self {
        Self::usage("this role is internal")
    }

    /// Settings that cannot be used, each of them a reason.
    #[must_use]
    pub fn of_settings(errors: &ConfigErrors) -> Self {
        Self { code: ExitCode::Config, reasons: errors.iter().map(ToString::to_string).collect() }
    }

    /// A session that cannot be had.
    #[must_use]
    pub fn of_session(error: &OpenError) -> Self {
        let code = match error {
            OpenError::InUse { .. } => ExitCode::RateLimited,
            OpenError::Unknown(_) | OpenError::None { .. } => ExitCode::SessionNotFound,
        };
        Self::new(code, error)
    }

    /// Each reason, for a line of its own.
    pub fn reasons(&self) -> impl Iterator<Item = &str> {
        self.reasons.iter().map(String::as_str)
    }
}

impl Error for Failure {}

/// In one line.
impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.reasons.join("; "))
    }
}
