//! Taking a body in: of any size, in little memory, whole or not at all.

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use futures_util::StreamExt;
use http_body_util::LengthLimitError;

use super::conditions::Conditions;
use crate::desk::files::{UploadLimit, blocking};
use crate::doors::web::problem::Problem;
use crate::workspace::{ClientPath, PathError, Stat, Upload, Workspaces};

/// Bytes gathered before they are written: a hop to a blocking thread costs more than a small write.
const GATHERED: usize = 256 * 1024;

/// Writes the body to the file. The target is opened first, so that a request that cannot succeed fails before its
/// body is sent. A client that goes away drops this future, and with it the upload.
pub(super) async fn receive(
    workspaces: Workspaces,
    path: ClientPath,
    limit: Option<UploadLimit>,
    headers: &HeaderMap,
    body: Body,
) -> Result<Stat, Problem> {
    if headers.contains_key(header::CONTENT_RANGE) {
        return Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "content_range_not_supported",
            "part of a file cannot be written; send the whole file, without Content-Range",
        ));
    }
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    within(limit, declared.unwrap_or(0))?;
    let condition = Conditions::of(headers).of_a_change();
    let early = condition.clone();
    let mut upload = blocking(move || {
        let upload = workspaces.begin_write(&path)?;
        upload.check(&early)?;
        Ok::<_, PathError>(upload)
    })
    .await??;

    let mut frames = body.into_data_stream();
    let mut gathered = Vec::new();
    let mut received: u64 = 0;
    while let Some(frame) = frames.next().await {
        let frame = frame.map_err(|error| broken(&error))?;
        received = received.saturating_add(frame.len() as u64);
        within(limit, received)?;
        gathered.extend_from_slice(&frame);
        if gathered.len() >= GATHERED {
            (upload, gathered) = blocking(move || written(upload, gathered)).await??;
        }
    }
    Ok(blocking(move || written(upload, gathered)?.0.commit(&condition)).await??)
}

/// Writes what was gathered and gives both back, the buffer empty.
fn written(mut upload: Upload, mut gathered: Vec<u8>) -> Result<(Upload, Vec<u8>), PathError> {
    upload.write(&gathered)?;
    gathered.clear();
    Ok((upload, gathered))
}

fn within(limit: Option<UploadLimit>, size: u64) -> Result<(), Problem> {
    match limit {
        Some(UploadLimit(limit)) if size > limit => Err(too_large(&format!("at most {limit} bytes"))),
        _ => Ok(()),
    }
}

fn too_large(allowed: &str) -> Problem {
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", format!("the body is too large; allowed is {allowed}"))
}

/// Mostly nobody is there to read this. A limit set around the whole door shows here as well.
fn broken(error: &axum::Error) -> Problem {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<LengthLimitError>() {
            return too_large("less");
        }
        cause = error.source();
    }
    Problem::new(StatusCode::BAD_REQUEST, "body_incomplete", "the body broke off; nothing was written")
}
