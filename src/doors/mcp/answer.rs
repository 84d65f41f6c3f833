//! Results and refusals, as clients see them.
//!
//! Three kinds of "no": arguments that cannot be meant are errors of JSON-RPC (`-32602`); what was understood and did
//! not work is a result with `isError`, which the model reads; a run that ended badly is a result with its outcome.

use axum::http::StatusCode;
use rmcp::model::{CallToolResult, ContentBlock, ErrorCode, ErrorData, JsonObject, MetaObject};
use serde::Serialize;
use serde_json::Value;

use crate::doors::http::problem::Problem;

/// Where a refusal has what is for programs.
const PROBLEM: &str = "claudebox/problem";

/// Why there is no result.
#[derive(Debug)]
pub(super) enum Fault {
    /// The call itself is wrong.
    Call(ErrorData),
    /// It did not work.
    Refused(Problem),
}

impl From<Problem> for Fault {
    fn from(problem: Problem) -> Self {
        Self::Refused(problem)
    }
}

impl Fault {
    /// An argument that cannot be.
    pub(super) fn argument(problem: &Problem) -> Self {
        Self::Call(ErrorData::invalid_params(problem.detail().to_owned(), Some(problem.json())))
    }

    /// The client does not want the answer any more. It is not sent.
    pub(super) fn cancelled() -> Self {
        Self::Call(ErrorData::new(ErrorCode(-32800), "the request was cancelled", None))
    }
}

/// A refusal as a result. It has no structured part: that would have to follow the schema of a success.
pub(super) fn refused(problem: &Problem) -> CallToolResult {
    let status = problem.status();
    let said = match status {
        StatusCode::INTERNAL_SERVER_ERROR => problem.detail().to_owned(),
        _ => format!("{} ({})", problem.detail(), problem.code()),
    };
    let mut result = CallToolResult::error(vec![ContentBlock::text(said)]);
    let mut meta = JsonObject::new();
    meta.insert(PROBLEM.into(), problem.json());
    result.meta = Some(MetaObject(meta));
    result
}

/// A result whose text is its structured part.
pub(super) fn structured(answer: &impl Serialize) -> Result<CallToolResult, Fault> {
    Ok(CallToolResult::structured(json_of(answer)?))
}

/// A result with a text of its own.
pub(super) fn with_text(
    answer: &impl Serialize,
    text: impl Into<String>,
    failed: bool,
) -> Result<CallToolResult, Fault> {
    let mut result = CallToolResult::structured(json_of(answer)?);
    result.content = vec![ContentBlock::text(text)];
    result.is_error = Some(failed);
    Ok(result)
}

fn json_of(answer: &impl Serialize) -> Result<Value, Fault> {
    serde_json::to_value(answer).map_err(|error| Problem::internal("writing a tool's result", &error).into())
}
