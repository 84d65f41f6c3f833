//! The JSON of the files door.

use std::path::Path;

use axum::Json;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::desk::files::rfc3339;
use crate::workspace::{self, ClientPath, Kind, Listing, Stat};

/// A page of a folder.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = FileListing)]
pub(super) struct ListingBody {
    /// The folder, relative to the workspaces folder.
    path: String,
    entries: Vec<EntryBody>,
    /// Where the next page begins; null on the last.
    next_cursor: Option<String>,
}

/// One name in a folder.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = FileEntry)]
struct EntryBody {
    name: String,
    /// The name for use in a URL, given only where `name` cannot show it: it is no UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    encoded_name: Option<String>,
    #[serde(rename = "type")]
    kind: EntryType,
    /// Bytes.
    size: u64,
    /// Last change, RFC 3339.
    #[schema(format = DateTime)]
    mtime: String,
}

/// What a name stands for; links are not followed.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = FileEntryType)]
enum EntryType {
    File,
    Dir,
    Symlink,
    Other,
}

/// The answer to a file written.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FileWritten)]
pub(super) struct Written {
    /// Always `ok`.
    status: &'static str,
    /// The file's absolute path in the box.
    path: String,
    /// Bytes.
    size: u64,
    /// The tag for `If-Match`, quotes and all.
    etag: String,
}

/// The answer to something deleted.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FileDeleted)]
pub(super) struct Deleted {
    /// Always `ok`.
    pub(super) status: &'static str,
    /// The absolute path in the box.
    pub(super) path: String,
}

/// A file's content.
#[derive(Debug, ToSchema)]
#[schema(as = FileBytes, value_type = String, format = Binary)]
#[expect(dead_code, reason = "only the API's description needs it")]
pub(super) struct FileBytes(Vec<u8>);

impl ListingBody {
    pub(super) fn new(path: &ClientPath, listing: &Listing) -> Self {
        let entries = listing.entries.iter().map(|entry| EntryBody {
            name: entry.name.to_string_lossy().into_owned(),
            encoded_name: entry.name.to_str().is_none().then(|| workspace::encode_name(&entry.name)),
            kind: EntryType::from(entry.stat.kind),
            size: entry.stat.size,
            mtime: rfc3339(&entry.stat),
        });
        let next_cursor = listing.next.as_deref().map(workspace::encode_name);
        Self { path: path.to_string(), entries: entries.collect(), next_cursor }
    }
}

impl From<Kind> for EntryType {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::File => Self::File,
            Kind::Folder => Self::Dir,
            Kind::Link => Self::Symlink,
            Kind::Other => Self::Other,
        }
    }
}

impl Written {
    pub(super) fn answer(path: &Path, stat: &Stat) -> Response {
        let path = path.to_string_lossy().into_owned();
        let body = Self { status: "ok", path, size: stat.size, etag: stat.tag() };
        ([(header::ETAG, stat.tag())], Json(body)).into_response()
    }
}
