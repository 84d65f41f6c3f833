//! How far an installation is, and how that is said.

use std::fmt;
use std::time::Duration;

use crate::claude::store::version::Version;

/// How far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Another box installs, or this one in another process, and this is what it says.
    Waiting(Option<String>),
    /// Its package is being fetched.
    Fetching {
        /// The version.
        version: Version,
        /// Bytes that are here.
        done: u64,
        /// All of them, if that is known.
        total: Option<u64>,
    },
    /// What was fetched is unpacked.
    Unpacking(Version),
    /// A try has failed.
    Again {
        /// Why.
        said: String,
        /// How long until the next one.
        delay: Duration,
    },
    /// The checksum of this version is the registry's word alone.
    OnTrust(Version, String),
}

impl fmt::Display for Step {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MEGABYTE: u64 = 1_000_000;
        match self {
            Self::Waiting(None) => out.write_str("waiting for another start, which is installing the Claude CLI"),
            Self::Waiting(Some(said)) => write!(out, "waiting for another start, which is {said}"),
            Self::Fetching { version, done, total: None } => {
                write!(out, "installing the Claude CLI {version}: {} MB", done / MEGABYTE)
            }
            Self::Fetching { version, done, total: Some(total) } => write!(
                out,
                "installing the Claude CLI {version}: {} of {} MB ({} %)",
                done / MEGABYTE,
                total.div_ceil(MEGABYTE),
                done.saturating_mul(100).checked_div(*total).unwrap_or(100)
            ),
            Self::Unpacking(version) => write!(out, "installing the Claude CLI {version}: unpacking it"),
            Self::Again { said, delay } => {
                write!(out, "the Claude CLI did not come ({said}): trying again in {:.0} s", delay.as_secs_f64().ceil())
            }
            Self::OnTrust(version, registry) => write!(
                out,
                "{version} is not the version that this claudebox pins: {registry} alone says what its checksum is"
            ),
        }
    }
}
