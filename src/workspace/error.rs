//! Why a path a client named is refused: a sentence, a code that never changes, and a kind for the door.

use std::io;
use std::path::Path;

/// Characters of a path a message shows.
const SHOWN: usize = 200;

/// A refusal. Paths are as the client gave them, cut when long.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's sentence says it all")]
pub enum PathError {
    #[error("{path:?} leads out of the workspaces folder; give a path inside it, without '..'")]
    Outside { path: String },
    #[error("{path:?} cannot be a path: {why}")]
    Invalid { path: String, why: &'static str },
    #[error("{path:?} is not in a workspace this caller may use")]
    NotAllowed { path: String },
    #[error("the workspaces folder itself cannot be deleted")]
    Root,
    #[error("there is no {path:?}")]
    Missing { path: String },
    #[error("there is no workspace {path:?}")]
    NoWorkspace { path: String },
    #[error("{path:?} is not a folder, or a name before its last is not one")]
    NotAFolder { path: String },
    #[error("{path:?} is not a regular file; pipes, sockets and devices are neither read nor written")]
    NotAFile { path: String },
    #[error("{path:?} is a folder; {allowed}")]
    IsAFolder { path: String, allowed: &'static str },
    #[error("the folder {path:?} got new files while it was being deleted; try again")]
    NotEmpty { path: String },
    #[error("{path:?} goes through too many links, or a link to itself")]
    TooManyLinks { path: String },
    #[error("the system does not let claudebox's user do that with {path:?}, or it is read-only")]
    Denied { path: String },
    #[error("{path:?} is not as the request demands: it was changed, made or deleted")]
    Changed { path: String },
    #[error("{path:?} is in use or changing at this moment; try again")]
    Busy { path: String },
    #[error("{path:?} would be larger than the file system allows")]
    TooLarge { path: String },
    #[error("no space is left for {path:?}")]
    Full { path: String },
    #[error("too many files are open to open {path:?}; try again")]
    TooManyOpen { path: String },
    #[error("{path:?}: {source}")]
    Fault { path: String, source: io::Error },
}

/// Classes of refusals, as doors tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The caller may not; asking again changes nothing.
    Forbidden,
    /// The request cannot be meant.
    Unprocessable,
    /// There is nothing there.
    Missing,
    /// What is there stands against it.
    Conflict,
    /// The request's own condition does not hold.
    Precondition,
    /// Larger than is possible.
    TooLarge,
    /// No space left.
    Full,
    /// Too much at once.
    Overloaded,
    /// A fault of the system: its text is for the log.
    Fault,
}

impl PathError {
    /// The code for programs. Codes never change.
    pub const fn code(&self) -> &'static str {
        self.classified().0
    }

    /// Its class.
    pub const fn kind(&self) -> ErrorKind {
        self.classified().1
    }

    const fn classified(&self) -> (&'static str, ErrorKind) {
        match self {
            Self::Outside { .. } => ("path_outside", ErrorKind::Forbidden),
            Self::Invalid { .. } => ("path_invalid", ErrorKind::Unprocessable),
            Self::NotAllowed { .. } => ("workspace_not_allowed", ErrorKind::Forbidden),
            Self::Root => ("root_not_deletable", ErrorKind::Forbidden),
            Self::Missing { .. } => ("not_found", ErrorKind::Missing),
            Self::NoWorkspace { .. } => ("workspace_not_found", ErrorKind::Missing),
            Self::NotAFolder { .. } => ("not_a_folder", ErrorKind::Unprocessable),
            Self::NotAFile { .. } => ("not_a_file", ErrorKind::Unprocessable),
            Self::IsAFolder { .. } => ("is_a_folder", ErrorKind::Conflict),
            Self::NotEmpty { .. } => ("folder_not_empty", ErrorKind::Conflict),
            Self::TooManyLinks { .. } => ("too_many_links", ErrorKind::Unprocessable),
            Self::Denied { .. } => ("access_denied", ErrorKind::Forbidden),
            Self::Changed { .. } => ("precondition_failed", ErrorKind::Precondition),
            Self::Busy { .. } => ("busy", ErrorKind::Conflict),
            Self::TooLarge { .. } => ("too_large", ErrorKind::TooLarge),
            Self::Full { .. } => ("no_space", ErrorKind::Full),
            Self::TooManyOpen { .. } => ("too_many_open_files", ErrorKind::Overloaded),
            Self::Fault { .. } => ("internal", ErrorKind::Fault),
        }
    }

    pub(super) fn outside(path: &Path) -> Self {
        Self::Outside { path: shown(path) }
    }

    pub(super) fn invalid(path: &Path, why: &'static str) -> Self {
        Self::Invalid { path: shown(path), why }
    }

    pub(super) fn not_allowed(path: &Path) -> Self {
        Self::NotAllowed { path: shown(path) }
    }

    pub(super) fn not_a_file(path: &Path) -> Self {
        Self::NotAFile { path: shown(path) }
    }

    pub(super) fn is_a_folder(path: &Path, allowed: &'static str) -> Self {
        Self::IsAFolder { path: shown(path), allowed }
    }

    pub(super) fn changed(path: &Path) -> Self {
        Self::Changed { path: shown(path) }
    }

    pub(super) fn busy(path: &Path) -> Self {
        Self::Busy { path: shown(path) }
    }

    pub(super) fn fault(path: &Path, source: io::Error) -> Self {
        Self::Fault { path: shown(path), source }
    }

    /// What the system's refusal means for the client. Nothing a client can bring about is a fault.
    #[must_use]
    pub fn from_io(path: &Path, error: io::Error) -> Self {
        if is_escape(&error) {
            return Self::outside(path);
        }
        if error.kind() == io::ErrorKind::UnexpectedEof {
            return Self::busy(path);
        }
        let shown = shown(path);
        match error.raw_os_error() {
            Some(libc::ENOENT) => Self::Missing { path: shown },
            Some(libc::ENOTDIR) => Self::NotAFolder { path: shown },
            Some(libc::EISDIR) => Self::is_a_folder(path, "a file is needed here"),
            Some(libc::ENXIO | libc::ENODEV) => Self::NotAFile { path: shown },
            Some(libc::ENOTEMPTY) => Self::NotEmpty { path: shown },
            Some(libc::ELOOP) => Self::TooManyLinks { path: shown },
            Some(libc::EACCES | libc::EPERM | libc::EROFS) => Self::Denied { path: shown },
            Some(libc::ENAMETOOLONG) => Self::invalid(path, "the file system takes no name this long"),
            Some(libc::EINVAL | libc::EILSEQ) => Self::invalid(path, "the file system does not take this name"),
            Some(libc::EEXIST | libc::EBUSY | libc::ETXTBSY | libc::EAGAIN | libc::ESTALE) => {
                Self::Busy { path: shown }
            }
            Some(libc::EFBIG | libc::EOVERFLOW) => Self::TooLarge { path: shown },
            Some(libc::ENOSPC | libc::EDQUOT) => Self::Full { path: shown },
            Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM) => Self::TooManyOpen { path: shown },
            _ => Self::Fault { path: shown, source: error },
        }
    }
}

/// Whether a lookup was refused because it leads out. cap-std's own refusal carries no number of the system's.
pub(super) fn is_escape(error: &io::Error) -> bool {
    match error.raw_os_error() {
        Some(number) => number == libc::EXDEV,
        None => error.kind() == io::ErrorKind::PermissionDenied,
    }
}

fn shown(path: &Path) -> String {
    let text = path.to_string_lossy();
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into_owned(),
    }
}
