//! Why a CLI could not be installed: what failed, where it was looked for, and what to set or do.

use std::fmt;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// Room for a package, what is in it, and what it may replace.
const ROOM: &str = "1 GB";

/// An installation that failed. Nothing is left of it.
#[derive(Debug, thiserror::Error)]
#[error("the Claude CLI {what} cannot be installed: {why}")]
pub struct InstallError {
    /// The version, or the name of one.
    pub what: String,
    /// Why.
    pub why: InstallFault,
}

/// Why an installation failed.
#[derive(Debug)]
pub enum InstallFault {
    /// Nobody answers there.
    Unreachable {
        /// The registry.
        registry: String,
        /// What the system said.
        said: String,
    },
    /// It answers, and the answer does not come through.
    Broken {
        /// What was asked for.
        url: String,
        /// What happened.
        said: String,
    },
    /// It does not have it.
    Absent {
        /// What was asked for.
        url: String,
    },
    /// It answers with an error.
    Refused {
        /// What was asked for.
        url: String,
        /// The status.
        status: u16,
    },
    /// The registry has no such version.
    Unknown {
        /// The registry.
        registry: String,
    },
    /// What was sent is something else.
    Wrong {
        /// What was asked for.
        url: String,
        /// What is wrong with it.
        said: String,
    },
    /// The store cannot be written to.
    Storage {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another box has the lock and does not let it go.
    Held {
        /// The lock.
        lock: PathBuf,
    },
    /// Somebody asked for the end.
    Stopped(i32),
}

impl fmt::Display for InstallFault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable { registry, said } => write!(
                out,
                "{registry} cannot be reached ({said}): see to the network or set a proxy (HTTPS_PROXY), set CLAUDEBOX_NPM_REGISTRY to a \
                 registry that can be reached, or use an image with the CLI in it (scripts/image --with-cli)"
            ),
            Self::Broken { url, said } => write!(
                out,
                "{url} did not come through ({said}): try again, or set CLAUDEBOX_NPM_REGISTRY to another registry"
            ),
            Self::Absent { url } => write!(
                out,
                "{url} is not there (404): that registry does not have this version, set CLAUDEBOX_NPM_REGISTRY to one that has"
            ),
            Self::Refused { url, status } => write!(
                out,
                "{url} was refused ({status}): see to what the registry or the proxy asks for, or set CLAUDEBOX_NPM_REGISTRY to another"
            ),
            Self::Unknown { registry } => write!(
                out,
                "{registry} has no such version: name another one, or set CLAUDEBOX_NPM_REGISTRY to a registry that has it"
            ),
            Self::Wrong { url, said } => write!(
                out,
                "what {url} sent is not what it should be ({said}), so it was thrown away: look at what stands between this box and the \
                 registry, or set CLAUDEBOX_NPM_REGISTRY to another"
            ),
            Self::Storage { folder, source } => {
                let folder = folder.display();
                match source.kind() {
                    ErrorKind::StorageFull | ErrorKind::QuotaExceeded => write!(
                        out,
                        "the disk of {folder} is full: make room for {ROOM}, or set CLAUDEBOX_CLI_DIR to a folder that has it"
                    ),
                    ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => write!(
                        out,
                        "{folder} cannot be written to ({source}): start the box as root with a volume there (-v claudebox-cli:{folder}), \
                         or set CLAUDEBOX_CLI_DIR to a folder that can be"
                    ),
                    _ => write!(
                        out,
                        "{folder} cannot be used ({source}): mend it, or set CLAUDEBOX_CLI_DIR to another folder"
                    ),
                }
            }
            Self::Held { lock } => write!(
                out,
                "another box has held {} for too long: end the box that installs (it may be paused), or set CLAUDEBOX_CLI_DIR to a folder \
                 of this box's own",
                lock.display()
            ),
            Self::Stopped(signal) => write!(out, "ended by signal {signal}"),
        }
    }
}

impl InstallFault {
    /// A fault of the store, in this folder.
    pub(super) fn storage(folder: &Path) -> impl Fn(io::Error) -> Self {
        move |source| Self::Storage { folder: folder.to_owned(), source }
    }
}
