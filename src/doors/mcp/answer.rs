//! Results and refusals, as clients see them.
//!
//! A model reads results and not the errors of JSON-RPC. So arguments that are wrong and what did not work are results
//! with `isError`, and a run that ended badly is one with its outcome; an error of JSON-RPC is only what no model can
//! mend: a tool that is not there, a request that was cancelled.

use rmcp::model::{CallToolResult, ContentBlock, ErrorCode, ErrorData, JsonObject, MetaObject};
use serde::Serialize;
use serde_json::Value;

use super::lenient::Ignored;
use super::words::WORDS;
use crate::desk::refusal::{Kind, Refusal};

/// Where a refusal has what is for programs.
const PROBLEM: &str = "claudebox/problem";
/// Where a result names the arguments that the tool does not know.
const IGNORED: &str = "claudebox/ignoredArguments";
/// So many of them are named.
const NAMED: usize = 20;

/// Why there is no result.
#[derive(Debug)]
pub(super) enum Fault {
    /// The call itself is wrong.
    Call(ErrorData),
    /// It did not work.
    Refused(Refusal),
}

impl<E: Into<Refusal>> From<E> for Fault {
    fn from(error: E) -> Self {
        Self::Refused(error.into())
    }
}

impl Fault {
    /// The client does not want the answer any more. It is not sent.
    pub(super) fn cancelled() -> Self {
        Self::Call(ErrorData::new(ErrorCode(-32800), "the request was cancelled", None))
    }
}

/// A refusal as a result. It has no structured part: that would have to follow the schema of a success.
pub(super) fn refused(refusal: &Refusal) -> CallToolResult {
    let detail = refusal.detail(&WORDS);
    let said = match refusal.kind() {
        Kind::Fault => detail,
        _ => format!("{detail} ({})", refusal.code()),
    };
    let mut result = CallToolResult::error(vec![ContentBlock::text(said)]);
    let mut meta = JsonObject::new();
    meta.insert(PROBLEM.into(), refusal.json(&WORDS));
    result.meta = Some(MetaObject(meta));
    result
}

/// Says in a result which arguments nothing was done with: a slip must not go unseen.
pub(super) fn note_ignored(result: &mut CallToolResult, ignored: &[Ignored]) {
    if ignored.is_empty() {
        return;
    }
    let named = ignored.iter().take(NAMED).map(|Ignored { name, like }| match like {
        Some(like) => format!("{name} (did you mean {like}?)"),
        None => name.clone(),
    });
    let more = if ignored.len() > NAMED { format!(" and {} more", ignored.len() - NAMED) } else { String::new() };
    let said = format!("Note: this tool has no such arguments, they were ignored: {}{more}", join(named));
    result.content.push(ContentBlock::text(said));
    let meta = result.meta.get_or_insert_with(|| MetaObject(JsonObject::new()));
    let list: Vec<&str> = ignored.iter().take(NAMED).map(|ignored| ignored.name.as_str()).collect();
    meta.0.insert(IGNORED.into(), list.into());
}

fn join(words: impl Iterator<Item = String>) -> String {
    words.collect::<Vec<_>>().join(", ")
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
    serde_json::to_value(answer).map_err(|error| Refusal::internal("writing a tool's result", &error).into())
}
