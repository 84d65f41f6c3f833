//! What the refusals of `workspace` are in HTTP.

use axum::http::StatusCode;

use super::super::problem::Problem;
use crate::workspace::{ErrorKind, PathError};

impl From<PathError> for Problem {
    fn from(error: PathError) -> Self {
        let status = match error.kind() {
            ErrorKind::Forbidden => StatusCode::FORBIDDEN,
            ErrorKind::Unprocessable => StatusCode::UNPROCESSABLE_ENTITY,
            ErrorKind::Missing => StatusCode::NOT_FOUND,
            ErrorKind::Conflict => StatusCode::CONFLICT,
            ErrorKind::Precondition => StatusCode::PRECONDITION_FAILED,
            ErrorKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            ErrorKind::Full => StatusCode::INSUFFICIENT_STORAGE,
            ErrorKind::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
            ErrorKind::Fault => return Self::internal("a file operation", &error),
        };
        let problem = Self::new(status, error.code(), error.to_string());
        if error.kind() == ErrorKind::Overloaded { problem.retry_after(1) } else { problem }
    }
}
