//! What the database says, as errors of the store.

use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

use crate::store::StoreError;

/// Why a store cannot be opened.
#[derive(Debug, Clone, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum OpenError {
    #[error(
        "cannot use the ledger of runs {}: {why}. Move that file away to begin a new one (runs, results and webhooks of \
         the old one are not known to it), or set CLAUDEBOX_STATE_DIR to another folder", .path.display()
    )]
    Unusable { path: PathBuf, why: String },
    #[error("cannot open the ledger of runs: no space is left in the state folder")]
    Full,
    #[error(
        "the ledger of runs {} has version {found}, and this claudebox knows up to {known}: start the newer image again, \
         or set CLAUDEBOX_STATE_DIR to another folder",
        .path.display()
    )]
    TooNew { path: PathBuf, found: i64, known: i64 },
}

/// An error of this operation.
pub(super) fn failed(operation: &'static str) -> impl Fn(rusqlite::Error) -> StoreError {
    move |error| match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreError::Full { operation },
        _ => StoreError::Failed { operation, why: error.to_string() },
    }
}

/// An error that keeps the file `path` from being opened.
pub(super) fn unusable(path: &Path) -> impl Fn(rusqlite::Error) -> OpenError {
    move |error| match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => OpenError::Full,
        _ => OpenError::Unusable { path: path.to_owned(), why: error.to_string() },
    }
}
