//! What is at a path: its kind, size and times, and the tag that changes when its content does.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cap_std::fs::{Metadata, MetadataExt};

/// What is at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// Its kind.
    pub kind: Kind,
    /// Bytes.
    pub size: u64,
    /// Seconds since 1970 of its last change, and the nanoseconds on top.
    pub mtime: (i64, u32),
    pub(super) inode: u64,
    pub(super) mode: u32,
}

/// What something is. A link is a link, whatever it leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link.
    Link,
    /// A pipe, a socket, a device.
    Other,
}

impl Stat {
    /// The entity tag, quotes and all. It changes when the file is replaced, and when it is written to.
    pub fn tag(&self) -> String {
        format!("\"{:x}-{:x}-{:x}.{:x}\"", self.inode, self.size, self.mtime.0, self.mtime.1)
    }

    /// When it was last changed.
    pub fn modified(&self) -> Option<SystemTime> {
        let (seconds, nanoseconds) = self.mtime;
        let whole = Duration::from_secs(seconds.unsigned_abs());
        let at = if seconds < 0 { UNIX_EPOCH.checked_sub(whole) } else { UNIX_EPOCH.checked_add(whole) };
        at?.checked_add(Duration::from_nanos(nanoseconds.into()))
    }
}

impl From<&Metadata> for Stat {
    fn from(metadata: &Metadata) -> Self {
        let kind = metadata.file_type();
        let kind = if kind.is_file() {
            Kind::File
        } else if kind.is_dir() {
            Kind::Folder
        } else if kind.is_symlink() {
            Kind::Link
        } else {
            Kind::Other
        };
        Self {
            kind,
            size: metadata.len(),
            mtime: (metadata.mtime(), u32::try_from(metadata.mtime_nsec()).unwrap_or(0)),
            inode: metadata.ino(),
            mode: metadata.mode(),
        }
    }
}

/// What has to be true of a file for a change to happen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Precondition {
    /// It has one of these tags.
    pub matches: Option<Tags>,
    /// It has none of these.
    pub matches_none: Option<Tags>,
}

/// Tags a client knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tags {
    /// Whatever is there.
    Any,
    /// Tags of files.
    These(Vec<String>),
}

impl Precondition {
    /// Whether it holds for what is there now.
    pub fn holds(&self, there: Option<&Stat>) -> bool {
        self.matches.as_ref().is_none_or(|tags| tags.fit(there))
            && !self.matches_none.as_ref().is_some_and(|tags| tags.fit(there))
    }

    /// Whether it demands that nothing is there.
    pub(super) fn demands_absence(&self) -> bool {
        self.matches_none == Some(Tags::Any)
    }
}

impl Tags {
    fn fit(&self, there: Option<&Stat>) -> bool {
        match (self, there) {
            (_, None) => false,
            (Self::Any, Some(_)) => true,
            // Only a file's content has a tag.
            (Self::These(tags), Some(there)) => there.kind == Kind::File && tags.contains(&there.tag()),
        }
    }
}
