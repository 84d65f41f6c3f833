//! What is remembered of a run that has been answered: its conversation, and what later requests may name.
//!
//! | note | value |
//! |---|---|
//! | `conversation/DIGEST` | the session that this conversation is at the end of |
//! | `session/SESSION` | what it ended with: the conversation's digest and the run |
//! | `response/RUN` | a response that may be named later, and what it was asked with |
//! | `asked/RUN` | digest of what was asked under an `Idempotency-Key` |

use serde_json::{Value, json};
use uuid::Uuid;

use super::answer::Answer;
use super::conversation::Digest;
use super::message::{Message, Part, Role, invalid};
use crate::desk::Desk;
use crate::desk::caller::Caller;
use crate::doors::web::problem::Problem;
use crate::store::record::{DoorName, Run, State, now};
use crate::store::{Note, StoreError};

/// How long a conversation is recognised.
const REMEMBERED_MS: i64 = 30 * 86_400_000;
/// How long a response is known; its run may be kept for a shorter time.
const KNOWN_MS: i64 = 366 * 86_400_000;
/// Most responses before one that are told again.
const MOST_BEFORE: usize = 200;

/// What a finished run is remembered by.
pub(super) struct Memory {
    /// The conversation up to the answer, if it is to be recognised.
    pub(super) conversation: Option<Digest>,
    /// What a response was asked with, if it may be named later.
    pub(super) response: Option<Value>,
    /// Digest of what was asked, if a key makes it the same run again.
    pub(super) asked: Option<String>,
}

/// How a request goes on with the response that it names.
pub(super) enum Previous {
    /// In its session.
    Session(String),
    /// In a session of its own that is told this: the other one has gone on meanwhile.
    Told(Vec<Message>),
}

impl Memory {
    /// A run has begun.
    pub(super) async fn begun(&self, desk: &Desk, run: Uuid) -> Result<(), StoreError> {
        let ledger = desk.engine.ledger();
        if let Some(response) = &self.response {
            let note = Note { key: format!("response/{run}"), value: response.clone() };
            ledger.put_note(DoorName::OpenAi, note, Some(now() + KNOWN_MS)).await?;
        }
        if let Some(asked) = &self.asked {
            let note = Note { key: format!("asked/{run}"), value: json!(asked) };
            ledger.put_note(DoorName::OpenAi, note, Some(now() + KNOWN_MS)).await?;
        }
        Ok(())
    }

    /// A run has an answer.
    pub(super) async fn answered(&self, desk: &Desk, answer: &Answer) -> Result<(), StoreError> {
        let session = answer.run.end.as_ref().and_then(|end| end.session_id.as_deref());
        let (Some(session), ledger) = (session, desk.engine.ledger()) else { return Ok(()) };
        let expires = Some(now() + REMEMBERED_MS);
        let digest = self.conversation.clone().map(|digest| digest.answered(&answer.said()).text());
        if let Some(digest) = &digest {
            let note = Note { key: format!("conversation/{digest}"), value: json!(session) };
            ledger.put_note(DoorName::OpenAi, note, expires).await?;
        }
        if digest.is_some() || self.response.is_some() {
            // The session's end: a conversation that is not there any more cannot be gone on with.
            let end = json!({"conversation": digest, "run": answer.run.id});
            ledger.put_note(DoorName::OpenAi, Note { key: format!("session/{session}"), value: end }, expires).await?;
        }
        Ok(())
    }

    /// Whether `run` was asked for the same as this.
    pub(super) async fn is_of(&self, desk: &Desk, run: Uuid) -> Result<bool, StoreError> {
        let Some(asked) = &self.asked else { return Ok(false) };
        Ok(note(desk, &format!("asked/{run}")).await?.is_some_and(|before| before == *asked))
    }
}

async fn note(desk: &Desk, key: &str) -> Result<Option<Value>, StoreError> {
    desk.engine.ledger().note(DoorName::OpenAi, key).await
}

/// The session that a conversation is at the end of.
pub(super) async fn recognised(desk: &Desk, digest: &str) -> Result<Option<String>, StoreError> {
    let session = note(desk, &format!("conversation/{digest}")).await?;
    let Some(session) = session.as_ref().and_then(Value::as_str) else { return Ok(None) };
    let end = note(desk, &format!("session/{session}")).await?;
    Ok(end.filter(|end| end["conversation"] == digest).map(|_| session.to_owned()))
}

/// The run of a response that may be named, and what it was asked with. `id` begins with `prefix`.
pub(super) async fn response(
    desk: &Desk,
    caller: &Caller,
    id: &str,
    prefix: &str,
) -> Result<Option<(Run, Value)>, StoreError> {
    let Some(run) = id.strip_prefix(prefix) else { return Ok(None) };
    let Some(run) = desk.visible_run(run, caller).await.ok().filter(|run| run.door == DoorName::OpenAi) else {
        return Ok(None);
    };
    Ok(note(desk, &format!("response/{}", run.id)).await?.map(|asked| (run, asked)))
}

/// How a request goes on after `run`.
pub(super) async fn previous(desk: &Desk, caller: &Caller, run: &Run) -> Result<Previous, Problem> {
    let session = run.end.as_ref().and_then(|end| end.session_id.clone()).filter(|_| run.state == State::Succeeded);
    let Some(session) = session else {
        return Err(invalid("previous_response_id", "that response has not come to its end, or failed"));
    };
    let end = note(desk, &format!("session/{session}")).await?;
    if end.is_some_and(|end| end["run"] == run.id.to_string()) {
        return Ok(Previous::Session(session));
    }
    let mut told: Vec<Vec<Message>> = Vec::new();
    let mut next = Some(run.clone());
    while let Some(run) = next.take().filter(|_| told.len() < MOST_BEFORE) {
        let asked = note(desk, &format!("response/{}", run.id)).await?.unwrap_or_default();
        if let Some(before) = asked["previous"].as_str() {
            next = response(desk, caller, before, "resp_").await?.map(|(run, _)| run);
        }
        told.push(turn_of(run, &asked));
    }
    Ok(Previous::Told(told.into_iter().rev().flatten().collect()))
}

/// What was asked and answered in a run.
fn turn_of(run: Run, asked: &Value) -> Vec<Message> {
    let at = "previous_response_id";
    let blocks = run.request.from_door.attachments.iter().cloned().map(Part::Block);
    let prompt = Part::Text(run.request.prompt.clone());
    let parts = blocks.chain([prompt]).collect();
    let question = Message { role: Role::User, name: None, parts, at: at.to_owned() };
    let answer = Answer::of(run, asked["call"].as_str());
    vec![question, Message::text(Role::Assistant, answer.said(), at)]
}
