//! The files of the workspaces, over HTTP: list, read, write, delete.
//!
//! What a path may reach is decided in `workspace`; here is what HTTP adds: ranges, conditions, types, and bodies of
//! any size in little memory. A body is user content on the API's own origin, so browsers get it sandboxed.

mod address;
mod conditions;
mod download;
mod range;
mod schema;
mod upload;

use axum::body::Body;
use axum::extract::Extension;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use utoipa::OpenApi;

use self::address::{CallerWorkspaces, Parameters};
use self::conditions::Conditions;
use self::download::Wanted;
use self::schema::{Deleted, FileBytes, ListingBody, Written};
use crate::doors::web::problem::{Problem, ProblemBody};

pub use self::address::PathGuard;
use crate::desk::files::{UploadLimit, blocking};

/// The routes below `/files`.
///
/// Each request carries, as extensions, the [`Workspaces`](crate::workspace::Workspaces) and a [`PathGuard`]; without
/// either it fails. An [`UploadLimit`] is optional.
pub fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let below = get(read).put(write).delete(delete);
    // OpenAPI has no word for a parameter with slashes in it, so its paths are not the router's.
    Router::new().route("/files", get(read)).route("/files/", get(read)).route("/files/{*path}", below)
}

/// What is served here.
#[derive(OpenApi)]
#[openapi(paths(list, read, write, delete), tags((name = "files", description = "The files of the workspaces")))]
pub struct Described;

/// List the workspaces folder.
///
/// A caller restricted to some workspaces sees those.
#[utoipa::path(
    get,
    operation_id = "listWorkspaces",
    path = "/files",
    tag = "files",
    params(
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 10_000, description = "Entries of one page, 1000 if not given"),
        ("cursor" = Option<String>, Query, description = "`nextCursor` of the page before"),
    ),
    responses(
        (status = 200, description = "The names in the folder, ordered by their bytes", body = ListingBody),
        (status = 422, description = "A parameter is not allowed: `invalid_parameter`", body = ProblemBody),
    ),
)]
#[expect(dead_code, reason = "`read` answers it; this is what the API's description says of it")]
fn list() {}

/// Read a file, or list a folder.
///
/// A file comes as it is, with a strong `ETag`. A folder comes as JSON, a page at a time.
#[utoipa::path(
    get,
    operation_id = "readFile",
    path = "/files/{path}",
    tag = "files",
    params(
        ("path" = String, Path, description = "Path below the workspaces folder; may contain slashes"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 10_000, description = "Folder: entries of one page, 1000 if not given"),
        ("cursor" = Option<String>, Query, description = "Folder: `nextCursor` of the page before"),
        ("download" = Option<bool>, Query, description = "File: have browsers save it"),
        ("Range" = Option<String>, Header, description = "One range of bytes; several are answered with the whole file"),
        ("If-Range" = Option<String>, Header, description = "The range counts only for this `ETag` or date"),
        ("If-Match" = Option<String>, Header, min_length = 1, description = "Only if the file has one of these tags"),
        ("If-None-Match" = Option<String>, Header, description = "Only if the file has none of these tags"),
        ("If-Modified-Since" = Option<String>, Header, description = "Only if the file is newer"),
        ("If-Unmodified-Since" = Option<String>, Header, description = "Only if the file is not newer"),
    ),
    responses(
        (status = 200, description = "The file's bytes, or a page of the folder", content(
            (ListingBody = "application/json"),
            (FileBytes = "application/octet-stream"),
            (FileBytes = "*/*"),
        )),
        (status = 206, description = "The range", content(
            (FileBytes = "application/octet-stream"),
            (FileBytes = "*/*"),
        )),
        (status = 304, description = "The client has it already"),
        (status = 403, description = "Outside, not allowed, or not readable: `path_outside`, `workspace_not_allowed`, `access_denied`", body = ProblemBody),
        (status = 404, description = "There is nothing: `not_found`", body = ProblemBody),
        (status = 409, description = "Changed while it was read: `busy`", body = ProblemBody),
        (status = 412, description = "A condition does not hold: `precondition_failed`", body = ProblemBody),
        (status = 416, description = "No byte of the range is in the file: `range_not_satisfiable`", body = ProblemBody),
        (status = 422, description = "No possible path, no regular file, or a parameter that is not allowed: `path_invalid`, `not_a_file`, `not_a_folder`, `too_many_links`, `invalid_parameter`", body = ProblemBody),
        (status = 503, description = "Too many files are open: `too_many_open_files`", body = ProblemBody),
    ),
)]
async fn read(scope: CallerWorkspaces, method: Method, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    let path = scope.path(&uri)?;
    let wanted = Wanted::new(&Parameters::of(&uri)?, &headers, method == Method::HEAD)?;
    let found = blocking(move || download::find(&scope.workspaces, &path, &wanted)).await??;
    Ok(found.into_response())
}

/// Write a file.
///
/// The body replaces the file when all of it has arrived, or not at all. Folders above it are made.
#[utoipa::path(
    put,
    operation_id = "writeFile",
    path = "/files/{path}",
    tag = "files",
    params(
        ("path" = String, Path, description = "Path below the workspaces folder; may contain slashes"),
        ("If-Match" = Option<String>, Header, min_length = 1, description = "Only if the file has one of these tags"),
        ("If-None-Match" = Option<String>, Header, description = "`*`: only if there is no such file"),
    ),
    request_body(content = Option<FileBytes>, content_type = "application/octet-stream", description = "The file, of any type"),
    responses(
        (status = 200, description = "Written", body = Written, headers(("ETag" = String, description = "Tag of the file"))),
        (status = 400, description = "Part of a file, or a body that broke off: `content_range_not_supported`, `body_incomplete`", body = ProblemBody),
        (status = 403, description = "Outside, not allowed, or not writable: `path_outside`, `workspace_not_allowed`, `access_denied`", body = ProblemBody),
        (status = 404, description = "A link that leads nowhere: `not_found`", body = ProblemBody),
        (status = 409, description = "A folder is there, or it is in use: `is_a_folder`, `busy`", body = ProblemBody),
        (status = 412, description = "A condition does not hold: `precondition_failed`", body = ProblemBody),
        (status = 413, description = "Larger than is allowed: `too_large`", body = ProblemBody),
        (status = 422, description = "No possible path, or no regular file: `path_invalid`, `not_a_file`, `not_a_folder`, `too_many_links`", body = ProblemBody),
        (status = 503, description = "Too many files are open: `too_many_open_files`", body = ProblemBody),
        (status = 507, description = "No space is left: `no_space`", body = ProblemBody),
    ),
)]
async fn write(
    scope: CallerWorkspaces,
    limit: Option<Extension<UploadLimit>>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let path = scope.file_path(&uri)?;
    let absolute = scope.workspaces.absolute(&path);
    let limit = limit.map(|Extension(limit)| limit);
    let stat = upload::receive(scope.workspaces, path, limit, &headers, body).await?;
    Ok(Written::answer(&absolute, &stat))
}

/// Delete a file, a link or a folder.
///
/// A link is deleted itself, not what it leads to. A folder goes only with `recursive=true`, and with all in it.
#[utoipa::path(
    delete,
    operation_id = "deleteFile",
    path = "/files/{path}",
    tag = "files",
    params(
        ("path" = String, Path, description = "Path below the workspaces folder; may contain slashes"),
        ("recursive" = Option<bool>, Query, description = "Delete a folder with all that is in it"),
        ("If-Match" = Option<String>, Header, min_length = 1, description = "Only if the file has one of these tags"),
        ("If-None-Match" = Option<String>, Header, description = "Only if the file has none of these tags"),
    ),
    responses(
        (status = 200, description = "Deleted", body = Deleted),
        (status = 403, description = "Outside, not allowed, not writable, or the workspaces folder itself: `path_outside`, `workspace_not_allowed`, `access_denied`, `root_not_deletable`", body = ProblemBody),
        (status = 404, description = "There is nothing: `not_found`", body = ProblemBody),
        (status = 409, description = "A folder, without `recursive=true`, or one others write to: `is_a_folder`, `folder_not_empty`, `busy`", body = ProblemBody),
        (status = 412, description = "A condition does not hold: `precondition_failed`", body = ProblemBody),
        (status = 422, description = "No possible path, or a parameter that is not allowed: `path_invalid`, `not_a_folder`, `too_many_links`, `invalid_parameter`", body = ProblemBody),
        (status = 503, description = "Too many files are open: `too_many_open_files`", body = ProblemBody),
    ),
)]
async fn delete(scope: CallerWorkspaces, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    let path = scope.path(&uri)?;
    let recursive = Parameters::of(&uri)?.switch("recursive")?;
    let condition = Conditions::of(&headers).of_a_change();
    let absolute = scope.workspaces.absolute(&path);
    blocking(move || scope.workspaces.delete(&path, recursive, &condition)).await??;
    let answer = Deleted { status: "ok", path: absolute.to_string_lossy().into_owned() };
    Ok((StatusCode::OK, Json(answer)).into_response())
}
