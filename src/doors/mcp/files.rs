//! The files' tools: the same files, under the same rules, as `/files` has.

use std::io::{Read as _, Seek as _, SeekFrom};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rmcp::model::CallToolResult;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::answer::{Fault, structured, with_text};
use super::call::Call;
use super::page::{Page, page};
use super::words::invalid;
use crate::desk::files::{UploadLimit, blocking, rfc3339};
use crate::desk::refusal::{Kind as Refused, Refusal};
use crate::workspace::{self, ClientPath, Kind, PathError, Precondition, Stat, Workspaces};

const USUAL_ENTRIES: u64 = 1000;
const MOST_ENTRIES: u64 = 10_000;
const USUAL_BYTES: u64 = 256 << 10;
const MOST_BYTES: u64 = 4 << 20;
/// Fewer could hold no whole character.
const FEWEST_BYTES: u64 = 4;

/// Arguments of `list_files`.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct ListArguments {
    /// Folder below the workspaces folder, such as "myproject/src". The workspaces folder itself if left out.
    #[serde(default)]
    path: String,
    /// Entries of one page, 1 to 10000; 1000 if left out.
    #[schemars(range(min = 1, max = 10_000))]
    limit: Option<u64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Arguments of `read_file`.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct ReadArguments {
    /// Path of the file below the workspaces folder, such as "myproject/README.md".
    path: String,
    /// Byte to begin at: `next_offset` of the page before.
    #[serde(default)]
    offset: u64,
    /// Most bytes to read, 4 to 4194304; 262144 if left out.
    #[schemars(range(min = 4, max = 4_194_304))]
    limit: Option<u64>,
    /// How content is written: text (utf-8), or base64 for files that are no text.
    #[serde(default)]
    encoding: Encoding,
}

/// Arguments of `write_file`.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct WriteArguments {
    /// Path of the file below the workspaces folder. Folders above it are made.
    path: String,
    /// What the file holds from then on, all of it.
    content: String,
    /// How content is written: text (utf-8) or base64.
    #[serde(default)]
    encoding: Encoding,
}

/// Arguments of `delete_file`.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct DeleteArguments {
    /// Path of the file below the workspaces folder. A link is deleted itself, not what it leads to.
    path: String,
    /// Delete a folder with all that is in it.
    #[serde(default)]
    recursive: bool,
}

/// How bytes are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub(super) enum Encoding {
    #[default]
    #[serde(rename = "utf-8")]
    Text,
    #[serde(rename = "base64")]
    Base64,
}

/// A page of a folder.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ListAnswer {
    /// The folder, relative to the workspaces folder.
    path: String,
    entries: Vec<EntryAnswer>,
    /// Where the next page begins; not there on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

/// One name in a folder.
#[derive(Debug, Serialize, JsonSchema)]
struct EntryAnswer {
    name: String,
    /// file, dir, symlink or other; links are not followed.
    #[serde(rename = "type")]
    kind: &'static str,
    /// Bytes.
    size: u64,
    /// Last change, RFC 3339.
    mtime: String,
}

/// A page of a file.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ReadAnswer {
    /// The file, relative to the workspaces folder.
    path: String,
    /// Bytes of the whole file.
    size: u64,
    /// Byte at which content begins.
    offset: u64,
    /// Byte at which the next page begins; not there on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_offset: Option<u64>,
    /// The file is no text, and base64 was not asked for: there is no content.
    binary: bool,
    /// How content is written.
    encoding: Encoding,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<String>,
}

/// A file that was written.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct WriteAnswer {
    /// Always ok.
    status: &'static str,
    /// The file's absolute path in the box.
    path: String,
    /// Bytes.
    size: u64,
}

/// A file that was deleted.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct DeleteAnswer {
    /// Always ok.
    status: &'static str,
    /// The absolute path in the box.
    path: String,
}

/// The workspaces as the caller may use them, and the path in them.
fn place(call: &Call<'_>, path: &str) -> Result<(Workspaces, ClientPath), PathError> {
    let workspaces = workspaces(call);
    let path = workspaces.client_path(path.as_bytes())?;
    Ok((workspaces, path))
}

fn workspaces(call: &Call<'_>) -> Workspaces {
    call.caller.guarded(&call.desk.workspaces)
}

fn bounded(name: &str, given: Option<u64>, usual: u64, fewest: u64, most: u64) -> Result<usize, Fault> {
    let number = given.unwrap_or(usual);
    if !(fewest..=most).contains(&number) {
        return Err(invalid(name, &format!("a whole number from {fewest} to {most} is allowed")).into());
    }
    Ok(usize::try_from(number).unwrap_or(usize::MAX))
}

/// The tool.
pub(super) async fn list_files(call: Call<'_>, arguments: ListArguments) -> Result<CallToolResult, Fault> {
    let limit = bounded("limit", arguments.limit, USUAL_ENTRIES, 1, MOST_ENTRIES)?;
    let after = arguments.cursor.filter(|cursor| !cursor.is_empty()).map(|cursor| workspace::decode_name(&cursor));
    let (workspaces, path) = place(&call, &arguments.path)?;
    let folder = path.to_string();
    let listing = blocking(move || workspaces.list(&path, after.as_deref(), limit)).await??;
    let entries = listing.entries.iter().map(|entry| EntryAnswer {
        name: entry.name.to_string_lossy().into_owned(),
        kind: match entry.stat.kind {
            Kind::File => "file",
            Kind::Folder => "dir",
            Kind::Link => "symlink",
            Kind::Other => "other",
        },
        size: entry.stat.size,
        mtime: rfc3339(&entry.stat),
    });
    let next_cursor = listing.next.as_deref().map(workspace::encode_name);
    structured(&ListAnswer { path: folder, entries: entries.collect(), next_cursor })
}

/// The tool.
pub(super) async fn read_file(call: Call<'_>, arguments: ReadArguments) -> Result<CallToolResult, Fault> {
    let limit = bounded("limit", arguments.limit, USUAL_BYTES, FEWEST_BYTES, MOST_BYTES)?;
    let (workspaces, path) = place(&call, &arguments.path)?;
    let (name, offset) = (path.to_string(), arguments.offset);
    let (bytes, size) = blocking(move || part(&workspaces, &path, offset, limit)).await??;
    if offset > size {
        return Err(invalid("offset", &format!("{offset} is beyond the file's end; it has {size} bytes")).into());
    }
    let end = offset + bytes.len() as u64;
    let answer = |offset: u64, end: u64, content: Option<String>| ReadAnswer {
        path: name.clone(),
        size,
        offset,
        next_offset: (end < size && content.is_some()).then_some(end),
        binary: content.is_none(),
        encoding: arguments.encoding,
        content,
    };
    if arguments.encoding == Encoding::Base64 {
        let content = STANDARD.encode(&bytes);
        return with_text(&answer(offset, end, Some(content.clone())), content, false);
    }
    match page(&bytes, offset == 0, end >= size) {
        Page::Text { skipped, text } => {
            let begin = offset + skipped as u64;
            with_text(&answer(begin, begin + text.len() as u64, Some(text.clone())), text, false)
        }
        Page::Binary => {
            let said = format!("{name} is binary ({size} bytes). Read it with encoding base64.");
            with_text(&answer(offset, end, None), said, false)
        }
    }
}

/// At most `limit` bytes of a file from `offset` on, and the size of all of it.
fn part(workspaces: &Workspaces, path: &ClientPath, offset: u64, limit: usize) -> Result<(Vec<u8>, u64), PathError> {
    let failed = |error| PathError::from_io(path.as_path(), error);
    let (mut file, stat) = workspaces.open_read(path)?;
    let mut bytes = Vec::new();
    if offset < stat.size {
        file.seek(SeekFrom::Start(offset)).map_err(failed)?;
        file.take(limit as u64).read_to_end(&mut bytes).map_err(failed)?;
    }
    // It may have grown or shrunk since.
    let whole = if bytes.len() < limit { offset.min(stat.size) + bytes.len() as u64 } else { stat.size };
    Ok((bytes, whole))
}

/// The tool.
pub(super) async fn write_file(
    call: Call<'_>,
    arguments: WriteArguments,
    limit: Option<UploadLimit>,
) -> Result<CallToolResult, Fault> {
    let bytes = match arguments.encoding {
        Encoding::Text => arguments.content.into_bytes(),
        Encoding::Base64 => {
            let decoded = STANDARD.decode(arguments.content.trim_end());
            decoded.map_err(|error| invalid("content", &format!("it is no base64: {error}")))?
        }
    };
    if let Some(UploadLimit(limit)) = limit.filter(|UploadLimit(limit)| bytes.len() as u64 > *limit) {
        let detail = format!("the file has {} bytes; at most {limit} are allowed", bytes.len());
        return Err(Refusal::new(Refused::TooLarge, "too_large", detail).into());
    }
    let workspaces = workspaces(&call);
    let path = workspaces.file_path(arguments.path.as_bytes())?;
    let absolute = workspaces.absolute(&path).to_string_lossy().into_owned();
    let stat: Stat = blocking(move || {
        let mut upload = workspaces.begin_write(&path)?;
        upload.write(&bytes)?;
        upload.commit(&Precondition::default())
    })
    .await??;
    structured(&WriteAnswer { status: "ok", path: absolute, size: stat.size })
}

/// The tool.
pub(super) async fn delete_file(call: Call<'_>, arguments: DeleteArguments) -> Result<CallToolResult, Fault> {
    let (workspaces, path) = place(&call, &arguments.path)?;
    let absolute = workspaces.absolute(&path).to_string_lossy().into_owned();
    blocking(move || workspaces.delete(&path, arguments.recursive, &Precondition::default())).await??;
    structured(&DeleteAnswer { status: "ok", path: absolute })
}
