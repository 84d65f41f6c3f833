//! Sending a file or a page of a folder.
//!
//! A small file takes one hop to a blocking thread, for looking, deciding and reading. A large one is read a piece at
//! a time as the client takes it: a client that is slow or gone costs one piece.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::http::header::{self, HeaderValue};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use cap_std::fs::{File, FileExt};
use futures_util::stream;

use super::address::Parameters;
use super::conditions::{Conditions, ReadDecision, if_range_holds, last_modified};
use super::range::{Part, part};
use super::schema::ListingBody;
use crate::doors::web::problem::Problem;
use crate::workspace::{self, ClientPath, PathError, Stat, Workspaces};

/// Bytes of a piece of a large file.
const PIECE: usize = 64 * 1024;
/// Up to this size a file is read at once.
const SMALL: u64 = 256 * 1024;
/// Bytes at the beginning of a text that tell its encoding.
const SAMPLE: usize = 1024;

/// What a request wants to see.
pub(super) struct Wanted {
    limit: usize,
    cursor: Option<std::ffi::OsString>,
    download: bool,
    head: bool,
    conditions: Conditions,
    headers: HeaderMap,
}

/// What is sent.
pub(super) enum Found {
    Folder(ListingBody),
    NotModified(Stat),
    Unsatisfiable(Stat),
    File(Sent),
}

/// A file or a part of one, with what its headers tell.
pub(super) struct Sent {
    stat: Stat,
    status: StatusCode,
    span: Range<u64>,
    content: Content,
    kind: String,
    disposition: Option<String>,
}

pub(super) enum Content {
    Unread,
    Small(Bytes),
    Large(File, Range<u64>),
}

impl Wanted {
    pub(super) fn new(parameters: &Parameters, headers: &HeaderMap, head: bool) -> Result<Self, Problem> {
        Ok(Self {
            limit: parameters.limit()?,
            cursor: parameters.text("cursor").map(workspace::decode_name),
            download: parameters.switch("download")?,
            head,
            conditions: Conditions::of(headers),
            headers: headers.clone(),
        })
    }

    fn part(&self, stat: &Stat) -> Part {
        match self.headers.get(header::RANGE).map(HeaderValue::to_str) {
            // HEAD tells of the whole file: ranges are defined for GET only.
            Some(Ok(range)) if !self.head && if_range_holds(&self.headers, stat) => part(range, stat.size),
            _ => Part::Whole,
        }
    }
}

/// Looks at a path and reads what can be read at once.
pub(super) fn find(workspaces: &Workspaces, path: &ClientPath, wanted: &Wanted) -> Result<Found, Problem> {
    let (file, stat) = match workspaces.open_read(path) {
        Ok(opened) => opened,
        // The workspaces folder itself is listed even for those who may use only part of it.
        Err(PathError::IsAFolder { .. }) => return list(workspaces, path, wanted),
        Err(PathError::NotAllowed { .. }) if path.is_root() => return list(workspaces, path, wanted),
        Err(error) => return Err(error.into()),
    };
    match wanted.conditions.decide(&stat) {
        ReadDecision::Send => {}
        ReadDecision::NotModified => return Ok(Found::NotModified(stat)),
        ReadDecision::Failed => {
            let detail = "the file is not as the request demands";
            return Err(Problem::new(StatusCode::PRECONDITION_FAILED, "precondition_failed", detail));
        }
    }
    let (status, span) = match wanted.part(&stat) {
        Part::Nothing => return Ok(Found::Unsatisfiable(stat)),
        Part::Whole => (StatusCode::OK, 0..stat.size),
        Part::Span { start, end } => (StatusCode::PARTIAL_CONTENT, start..end),
    };
    let read = |error| Problem::from(PathError::from_io(path.as_path(), error));
    let kind = content_type(path, &file, &stat).map_err(read)?;
    let disposition = wanted.download.then(|| attachment(path));
    let content = if wanted.head {
        Content::Unread
    } else if span.end - span.start <= SMALL {
        Content::Small(piece(&file, span.clone(), usize::MAX).map_err(read)?)
    } else {
        Content::Large(file, span.clone())
    };
    Ok(Found::File(Sent { stat, status, span, content, kind, disposition }))
}

fn list(workspaces: &Workspaces, path: &ClientPath, wanted: &Wanted) -> Result<Found, Problem> {
    let listing = workspaces.list(path, wanted.cursor.as_deref(), wanted.limit)?;
    Ok(Found::Folder(ListingBody::new(path, &listing)))
}

impl IntoResponse for Found {
    fn into_response(self) -> Response {
        let mut response = match self {
            Self::Folder(listing) => Json(listing).into_response(),
            Self::NotModified(stat) => with_validators(StatusCode::NOT_MODIFIED.into_response(), &stat),
            Self::Unsatisfiable(stat) => {
                let problem = Problem::new(
                    StatusCode::RANGE_NOT_SATISFIABLE,
                    "range_not_satisfiable",
                    format!("no byte of that range is in the file; it has {} bytes", stat.size),
                );
                with_header(problem.into_response(), header::CONTENT_RANGE, &format!("bytes */{}", stat.size))
            }
            Self::File(sent) => sent.into_response(),
        };
        // No browser guesses that something is a page after all.
        response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        response
    }
}

impl IntoResponse for Sent {
    fn into_response(self) -> Response {
        let Self { stat, status, span, content, kind, disposition } = self;
        let mut response = with_validators((status, content.into_body()).into_response(), &stat);
        if status == StatusCode::PARTIAL_CONTENT {
            let range = format!("bytes {}-{}/{}", span.start, span.end - 1, stat.size);
            response = with_header(response, header::CONTENT_RANGE, &range);
        }
        if let Some(disposition) = disposition {
            response = with_header(response, header::CONTENT_DISPOSITION, &disposition);
        }
        response = with_header(response, header::CONTENT_TYPE, &kind);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(span.end - span.start));
        headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        // A page among the files must not act as the API's own.
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
        response
    }
}

/// What a cache compares. Files change at any moment, so it asks each time.
fn with_validators(mut response: Response, stat: &Stat) -> Response {
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    if let Some(changed) = last_modified(stat) {
        response = with_header(response, header::LAST_MODIFIED, &httpdate::fmt_http_date(changed));
    }
    with_header(response, header::ETAG, &stat.tag())
}

fn with_header(mut response: Response, name: header::HeaderName, value: &str) -> Response {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
    response
}

impl Content {
    fn into_body(self) -> Body {
        match self {
            Self::Unread => Body::empty(),
            Self::Small(bytes) => Body::from(bytes),
            Self::Large(file, span) => Body::from_stream(stream::unfold((Arc::new(file), span), next_piece)),
        }
    }
}

type Reading = (Arc<File>, Range<u64>);

/// The next piece of a large file and what is left of it then.
async fn next_piece((file, left): Reading) -> Option<(io::Result<Bytes>, Reading)> {
    if left.is_empty() {
        return None;
    }
    let (read, wanted) = (Arc::clone(&file), left.clone());
    let bytes = tokio::task::spawn_blocking(move || piece(&read, wanted, PIECE)).await;
    let bytes = bytes.map_err(io::Error::other).flatten();
    // After an error comes nothing: the body is cut off, and its length tells.
    let next = bytes.as_ref().map_or(left.end, |bytes| left.start + bytes.len() as u64);
    Some((bytes, (file, next..left.end)))
}

/// A part of a file, at most `most` bytes of it. A file that got shorter meanwhile is an error.
fn piece(file: &File, span: Range<u64>, most: usize) -> io::Result<Bytes> {
    let length = usize::try_from(span.end - span.start).unwrap_or(usize::MAX).min(most);
    let mut buffer = vec![0; length];
    file.read_exact_at(&mut buffer, span.start)?;
    Ok(Bytes::from(buffer))
}

/// The type the name says. A text is said to be UTF-8 if it begins like it.
fn content_type(path: &ClientPath, file: &File, stat: &Stat) -> io::Result<String> {
    let guess = mime_guess::from_path(path.as_path()).first_or_octet_stream();
    if guess.type_() != mime_guess::mime::TEXT {
        return Ok(guess.essence_str().to_owned());
    }
    let sample = piece(file, 0..stat.size, SAMPLE)?;
    let whole = sample.len() as u64 == stat.size;
    let utf8 = match str::from_utf8(&sample) {
        Ok(_) => true,
        // Cut in the middle of a character.
        Err(error) => error.error_len().is_none() && !whole,
    };
    let essence = guess.essence_str();
    Ok(if utf8 { format!("{essence}; charset=utf-8") } else { essence.to_owned() })
}

/// The name a browser saves under, for old ones in ASCII and for others as it is (RFC 6266, RFC 8187).
fn attachment(path: &ClientPath) -> String {
    let name = path.name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let plain = |character: char| character.is_ascii_graphic() && !matches!(character, '"' | '\\' | '%' | '/');
    let ascii: String = name.chars().map(|c| if plain(c) || c == ' ' { c } else { '_' }).collect();
    let encoded = workspace::encode_name(name.as_ref());
    format!("attachment; filename=\"{ascii}\"; filename*=UTF-8''{encoded}")
}
