//! Where the CLI is installed from, and how long what may take.

use std::time::Duration;

/// Limits of an installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstallLimits {
    /// Until somebody answers.
    pub connect: Duration,
    /// Without a byte.
    pub stall: Duration,
    /// Tries before it is given up.
    pub tries: u32,
    /// Before the second try; it doubles.
    pub delay: Duration,
    /// While another box installs.
    pub lock: Duration,
}

/// What is installed from where.
#[derive(Debug, Clone)]
pub struct InstallTerms {
    /// The registry's address, without a slash at its end.
    pub registry: String,
    /// How long what may take.
    pub patience: InstallLimits,
}

impl Default for InstallLimits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(15),
            stall: Duration::from_secs(30),
            tries: 4,
            delay: Duration::from_secs(1),
            lock: Duration::from_mins(20),
        }
    }
}
