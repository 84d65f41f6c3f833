//! The names in a folder, in order, a page at a time.
//!
//! A page costs memory for its own names only, however many there are: of all names after the cursor the smallest are
//! kept. Names need not be text; their encoded form is.

use std::collections::BinaryHeap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

use cap_std::fs::Dir;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};

use super::unfinished::is_unfinished;
use super::{ClientPath, PathError, Stat, Workspaces};

/// Characters of a name that need no encoding in a URL.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// An upload nobody has written to for this long is left over from a crash.
const STALE: Duration = Duration::from_hours(24);

/// A page of a folder.
#[derive(Debug)]
pub struct Listing {
    /// What is in the folder, ordered by the names' bytes.
    pub entries: Vec<Entry>,
    /// The name after which the next page begins, if there is one.
    pub next: Option<OsString>,
}

/// One name in a folder.
#[derive(Debug)]
pub struct Entry {
    /// The name.
    pub name: OsString,
    /// Its kind; a link is not followed.
    pub stat: Stat,
}

impl Workspaces {
    /// At most `limit` names of a folder, those after `after`. A caller who may not use the workspaces folder as a
    /// whole sees of it what it may use.
    pub fn list(&self, path: &ClientPath, after: Option<&OsStr>, limit: usize) -> Result<Listing, PathError> {
        let asked = path.as_path();
        if !path.is_root() {
            self.check(asked, asked)?;
        }
        let failed = |error| PathError::from_io(asked, error);
        let folder = self.folder(asked).map_err(failed)?;
        let place = if self.guard.is_some() { self.place(asked, &folder)? } else { asked.to_owned() };
        let filtered = !self.allows(&place);
        if filtered && !place.as_os_str().is_empty() {
            return Err(PathError::not_allowed(asked));
        }
        let wanted =
            |name: &OsStr| after.is_none_or(|after| name > after) && (!filtered || self.allows(Path::new(name)));
        let mut names = smallest_names(&folder, wanted, limit.saturating_add(1)).map_err(failed)?;
        let next = if names.len() > limit {
            names.truncate(limit);
            names.last().cloned()
        } else {
            None
        };
        let mut entries = Vec::with_capacity(names.len());
        for name in names {
            match folder.symlink_metadata(&name) {
                Ok(metadata) => entries.push(Entry { stat: Stat::from(&metadata), name }),
                // Deleted since.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(Listing { entries, next })
    }
}

fn smallest_names(folder: &Dir, wanted: impl Fn(&OsStr) -> bool, count: usize) -> io::Result<Vec<OsString>> {
    let mut smallest = BinaryHeap::new();
    for entry in folder.entries()? {
        let name = entry?.file_name();
        if is_unfinished(&name) {
            remove_if_stale(folder, &name);
        } else if wanted(&name) && (smallest.len() < count || smallest.peek().is_some_and(|largest| name < *largest)) {
            smallest.push(name);
            if smallest.len() > count {
                smallest.pop();
            }
        }
    }
    Ok(smallest.into_sorted_vec())
}

/// Runs in the background. Files that cannot be removed stay, hidden.
fn remove_if_stale(folder: &Dir, name: &OsStr) {
    let Ok(metadata) = folder.symlink_metadata(name) else { return };
    let age = Stat::from(&metadata).modified().and_then(|at| SystemTime::now().duration_since(at).ok());
    if metadata.is_file() && age.is_some_and(|age| age > STALE) {
        let _ = folder.remove_file(name);
    }
}

/// A name as text that any URL takes, whatever its bytes are. An ordinary name stays as it is.
pub fn encode_name(name: &OsStr) -> String {
    percent_encode(name.as_bytes(), UNRESERVED).to_string()
}

/// The name [`encode_name`] made this text of.
pub fn decode_name(encoded: &str) -> OsString {
    OsString::from_vec(percent_decode_str(encoded).collect())
}
