//! What `claudebox run` and the local door say to each other: one line of JSON asks, one line of JSON for each [`Answer`].
//!
//! Anything the client writes after its question cancels the run, and so does going away; a client that is through with
//! writing has gone.
//!
//! The answers are tagged from outside, `{"event": {...}}`: with a tag among the fields, serde would copy every number of
//! an event and lose its digits.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::claude::arguments::{Options, OutputFormat};
use crate::claude::limits::LONGEST_PROMPT_BYTES;
use crate::claude::outcome::Outcome;
use crate::config::call::Variables;
use crate::runs::submission::Busy;

/// The socket's name in the state folder.
pub const SOCKET: &str = "serve.sock";
/// Longest question, bytes: a prompt of nothing but escaped characters, and room for the rest.
pub const LONGEST_ASK: usize = LONGEST_PROMPT_BYTES * 6 + (1 << 20);
/// Written after the question to cancel its run.
pub const CANCEL: &[u8] = b"cancel\n";

/// A run to carry out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Question {
    /// The prompt.
    pub prompt: String,
    /// Options.
    pub options: Options,
    /// Form of the result.
    pub format: OutputFormat,
    /// The folder to work in, absolute. It need not be below the workspaces folder: who may use this door may do
    /// everything as its user anyway.
    pub workspace: PathBuf,
    /// What to do if the workspace is busy.
    pub busy: Busy,
    /// Variables that come with the call.
    #[serde(default, skip_serializing_if = "Variables::is_empty")]
    pub variables: Variables,
}

/// What becomes of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Answer {
    /// It is in the ledger and will run.
    Accepted {
        /// The run.
        #[serde(rename = "runId")]
        run_id: Uuid,
    },
    /// It waits for its turn. Comes again when the number has changed.
    Waiting {
        /// How many runs are before it in its workspace; with none it waits for one of another workspace to end.
        ahead: usize,
        /// The one of them that runs.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        running: Option<Uuid>,
    },
    /// The CLI said something; an event, its keys in camelCase.
    Event(Value),
    /// It has ended; the last answer.
    End(LocalRunEnd),
    /// There is no run; the last answer.
    Refused {
        /// Why, and what to do; one line.
        detail: String,
        /// What kind of refusal.
        because: RefusalKind,
    },
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LocalRunEnd {
    /// The outcome; `None` for a run that never started.
    pub outcome: Option<Outcome>,
    /// What went wrong, one line.
    pub complaint: Option<String>,
    /// The result as one JSON object.
    pub result: Value,
}

/// Kinds of refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RefusalKind {
    /// The question cannot be understood or carried out.
    Wrong,
    /// The workspace cannot be used.
    Workspace,
    /// Not now: the workspace is busy, too many wait, the budget is spent, or the server stops.
    NotNow,
    /// There is nothing to carry it out with yet.
    NotReady,
    /// Whoever asks may not.
    Forbidden,
    /// The server has a fault.
    Fault,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_keeps_its_digits_and_its_order() {
        let line = r#"{"event":{"type":"result","b":0.10,"a":[1e+5,12345678901234567890123],"text":"ä\n"}}"#;
        let answer: Answer = serde_json::from_str(line).unwrap();
        assert_eq!(serde_json::to_string(&answer).unwrap(), line);
    }

    #[test]
    fn the_longest_prompt_fits_however_it_is_escaped() {
        let ask = Question {
            prompt: "\u{1}".repeat(LONGEST_PROMPT_BYTES),
            options: Options::default(),
            format: OutputFormat::Text,
            workspace: "/w".into(),
            busy: Busy::Queue,
            variables: Variables::default(),
        };
        let text = serde_json::to_vec(&ask).unwrap();
        assert!(text.len() < LONGEST_ASK);
        assert_eq!(serde_json::from_slice::<Question>(&text).unwrap(), ask);
    }
}
