//! What a request carries, read into types: every fault is answered as a [`Problem`] that names what is wrong.
//!
//! Duplicate keys: in an object of ours they are refused, because nobody can know which one was meant. In JSON that is
//! only passed on (a schema, metadata) the last one wins.

use axum::body::Bytes;
use axum::extract::{self, FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use serde_json::error::Category;

use super::body::SlowClient;
use super::problem::Problem;
use crate::config::name::MODE_API_MAX_BODY_MB;
use crate::desk::refusal::{Kind, Refusal};

const MEGABYTE: u64 = 1 << 20;
const IDEMPOTENCY_KEY: &str = "idempotency-key";
const LONGEST_KEY: usize = 255;
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Longest JSON body, bytes: an extension of every request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyLimit(pub u64);

impl Default for BodyLimit {
    fn default() -> Self {
        Self(16 * MEGABYTE)
    }
}

/// A JSON object in a request's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Body<T>(pub T);

impl<T: DeserializeOwned, S: Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        object(&json_bytes(request).await?).map(Self)
    }
}

/// The parameters of a request's query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        query(parts.uri.query().unwrap_or_default()).map(Self)
    }
}

/// The parts of a request's path that a route names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match extract::Path::from_request_parts(parts, state).await {
            Ok(extract::Path(found)) => Ok(Self(found)),
            Err(fault) => Err(Problem::new(fault.status(), "invalid_path", fault.body_text())),
        }
    }
}

/// The answer to a path that is not served.
pub async fn not_found(uri: Uri) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not_found", format!("{} is not served here", uri.path()))
}

/// The answer to a method that a path does not have; axum adds the header that says which it has.
pub async fn method_not_allowed(method: Method, uri: Uri) -> Problem {
    let detail = format!("{} has no {method}; the Allow header says what it has", uri.path());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
}

/// The key that a client gives for "this very run", in the header of that name.
pub(in crate::doors) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    match value.to_str() {
        Ok(key) if (1..=LONGEST_KEY).contains(&key.len()) => Ok(Some(key.to_owned())),
        _ => {
            let allowed = format!("it must have 1 to {LONGEST_KEY} visible ASCII characters");
            Err(Refusal::of_named("parameter", "invalid_parameter", "Idempotency-Key", allowed))
        }
    }
}

/// JSON or nothing said. A form is refused although it may hold JSON (`curl -d`): it is also what a page of another
/// site can send without asking.
fn is_json(headers: &HeaderMap) -> Result<(), Problem> {
    let unsupported =
        |detail: String| Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail);
    if let Some(coding) = headers.get(header::CONTENT_ENCODING)
        && !coding.as_bytes().eq_ignore_ascii_case(b"identity")
    {
        return Err(unsupported("the body has a Content-Encoding: send it as it is".into()));
    }
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(()) };
    let text = value.to_str().unwrap_or_default();
    let kind = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if kind == "application/json" || (kind.contains('/') && kind.ends_with("+json")) {
        return Ok(());
    }
    Err(unsupported(format!(
        "the Content-Type is {text:?}: send the header Content-Type: application/json (curl: --json, or -H with -d)"
    )))
}

/// The body of a request that says JSON, or nothing, of what it is.
pub(in crate::doors) async fn json_bytes(request: Request) -> Result<Bytes, Problem> {
    is_json(request.headers())?;
    let limit = request.extensions().get().copied().unwrap_or_default();
    let body = collect(request, limit).await?;
    // Editors and shells of Windows put it before the text of a file.
    Ok(if body.starts_with(BYTE_ORDER_MARK) { body.slice(BYTE_ORDER_MARK.len()..) } else { body })
}

/// The whole body, if it is not longer than allowed.
async fn collect(request: Request, limit: BodyLimit) -> Result<Bytes, Problem> {
    let declared = request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    // Refused before it is sent, where the client waits for our word.
    if declared.is_some_and(|length: u64| length > limit.0) {
        return Err(too_large(limit));
    }
    let most = usize::try_from(limit.0).unwrap_or(usize::MAX);
    match Limited::new(request.into_body(), most).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large(limit)),
        Err(error) => Err(SlowClient::within(&*error).map_or_else(
            || Problem::new(StatusCode::BAD_REQUEST, "body_cut", "the body did not come whole"),
            |slow| slow.problem(),
        )),
    }
}

fn too_large(BodyLimit(limit): BodyLimit) -> Problem {
    let size =
        if limit.is_multiple_of(MEGABYTE) { format!("{} MB", limit / MEGABYTE) } else { format!("{limit} bytes") };
    let detail = format!("the body is longer than {size}; {MODE_API_MAX_BODY_MB} sets how long it may be");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail).with("limitBytes", limit)
}

/// Reads a JSON object.
fn object<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let malformed = |detail: String| Problem::new(StatusCode::BAD_REQUEST, "malformed_json", detail);
    let start = body.trim_ascii_start().first();
    if start.is_none() {
        return Err(malformed("the body is empty: a JSON object is needed".into()));
    }
    let mut reader = serde_json::Deserializer::from_slice(body);
    if start != Some(&b'{') {
        // serde takes a list for a struct. What is no JSON at all is told first.
        return Err(match serde_json::from_slice::<serde::de::IgnoredAny>(body) {
            Ok(_) => invalid("invalid_field", "", "a JSON object is needed").into(),
            Err(error) => malformed(format!("the body is not JSON: {error}")),
        });
    }
    let value = serde_path_to_error::deserialize(&mut reader);
    let value = value.map_err(|error| match error.inner().classify() {
        Category::Data => invalid("invalid_field", &error.path().to_string(), &error.inner().to_string()).into(),
        Category::Syntax | Category::Eof | Category::Io => {
            malformed(format!("the body is not JSON: {}", error.inner()))
        }
    })?;
    reader.end().map_err(|error| malformed(format!("the body is not JSON: {error}")))?;
    Ok(value)
}

/// Reads a query.
fn query<T: DeserializeOwned>(text: &str) -> Result<T, Problem> {
    let reader = serde_urlencoded::Deserializer::new(form_urlencoded::parse(text.as_bytes()));
    serde_path_to_error::deserialize(reader)
        .map_err(|error| invalid("invalid_parameter", &error.path().to_string(), &error.inner().to_string()).into())
}

/// What serde says of a value, told to a client: which field, what is wrong with it, what is allowed.
pub(in crate::doors) fn invalid(code: &'static str, path: &str, message: &str) -> Refusal {
    // Where it was in the text; the field says it better.
    let message = message.rfind(" at line ").map_or(message, |end| &message[..end]);
    let path = if path == "." { "" } else { path };
    // The path of a missing field is that of what should hold it.
    let named = ["missing field `", "duplicate field `", "unknown field `"]
        .iter()
        .find_map(|start| message.strip_prefix(start)?.split('`').next());
    let field = match named {
        Some(name) if path.is_empty() => name.to_owned(),
        Some(name) if path != name && !path.ends_with(&format!(".{name}")) => format!("{path}.{name}"),
        _ => path.to_owned(),
    };
    let refusal = match field.as_str() {
        "" => Refusal::new(Kind::Invalid, code, message),
        field => Refusal::of_named("field", code, field, message),
    };
    match allowed(message) {
        allowed if allowed.is_empty() => refusal,
        allowed => refusal.with("allowed", allowed),
    }
}

/// The values of an enum or the fields of an object, out of serde's sentence about one that is neither.
fn allowed(message: &str) -> Vec<String> {
    if !message.starts_with("unknown ") {
        return Vec::new();
    }
    // The client's own value stands before it, and may hold anything.
    let Some((_, list)) = message.rsplit_once(", expected ") else { return Vec::new() };
    list.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests;
