//! Names of files that are being uploaded.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use uuid::Uuid;

/// How they begin. They are in no listing, and no client can name them.
const PREFIX: &str = ".claudebox-upload-";

/// A name that nothing has.
pub(super) fn new_name() -> OsString {
    format!("{PREFIX}{}", Uuid::now_v7().simple()).into()
}

/// Whether this is such a name.
pub(super) fn is_unfinished(name: &OsStr) -> bool {
    name.as_bytes().starts_with(PREFIX.as_bytes())
}
