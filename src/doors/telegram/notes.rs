//! What this door remembers over a restart, in the ledger's notes.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::api::Place;
use super::incoming::Incoming;
use crate::store::record::{self as run, DoorName};
use crate::store::{Note, Notes as StoredNotes, StoreError};

const OFFSET: &str = "offset";
const DAY: i64 = 24 * 3600 * 1000;
/// How long a message that belongs to a run is known as such.
const REPORT_DAYS: i64 = 60;
/// Sessions of a chat that are listed.
const MOST_SESSIONS: usize = 12;
/// Reports of a chat that are remembered.
const MOST_REPORTS: usize = 5;

/// Files without a word that the next prompt tells of.
const MOST_UPLOADS: usize = 20;

/// An answer that is owed: written before the run can end, removed when the answer has gone out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Owed {
    pub(super) chat: i64,
    pub(super) thread: Option<i32>,
    /// The message that asked.
    pub(super) asked: i32,
    /// Whether others read along.
    pub(super) group: bool,
    /// The message that grows, once it has been sent.
    pub(super) growing: Option<i32>,
    /// How many parts of the answer have gone out.
    pub(super) sent: usize,
    /// The report that this is a conversation about, and what that conversation is called.
    pub(super) about: Option<(Uuid, String)>,
}

impl Owed {
    /// Where the answer goes.
    pub(super) const fn place(&self) -> Place {
        Place { chat: self.chat, thread: self.thread, reply_to: Some(self.asked) }
    }
}

/// The sessions of a chat or a topic.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ChatSessions {
    /// The one that prompts go to; the first of `known`.
    pub(super) current: String,
    /// The latest, with what each began with.
    pub(super) known: Vec<KnownSession>,
}

/// A session as a list shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KnownSession {
    pub(super) name: String,
    /// The beginning of its first prompt; empty before there is one.
    pub(super) title: String,
    pub(super) used_at: i64,
}

/// Which run a sent message reports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ReportLink {
    pub(super) run: Uuid,
    pub(super) job: String,
    /// The conversation about it.
    pub(super) conversation: String,
    /// Whether this is the report itself, and no answer in the conversation about it.
    pub(super) report: bool,
}

/// A report that a chat got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Recent {
    pub(super) run: Uuid,
    pub(super) job: String,
    pub(super) at: i64,
    /// The beginning of what it said.
    pub(super) beginning: String,
    /// Whether Claude has been told of it in this chat.
    pub(super) known: bool,
}

/// A file that is in the workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Saved {
    pub(super) path: String,
    /// What it is, for Claude.
    pub(super) about: String,
}

/// The notes.
#[derive(Clone)]
pub(super) struct Notes {
    ledger: Arc<dyn StoredNotes>,
    /// Held while a chat's sessions are read and written: buttons change them while prompts are taken.
    sessions: Arc<tokio::sync::Mutex<()>>,
}

impl Notes {
    pub(super) fn new(ledger: Arc<dyn StoredNotes>) -> Self {
        Self { ledger, sessions: Arc::default() }
    }

    /// The number of the next update to ask for.
    pub(super) async fn offset(&self) -> Result<i64, StoreError> {
        Ok(self.get(OFFSET).await?.unwrap_or(0))
    }

    pub(super) async fn set_offset(&self, offset: i64) -> Result<(), StoreError> {
        self.put(OFFSET, &offset, None).await
    }

    /// Keeps an update until it is dealt with.
    pub(super) async fn keep(&self, incoming: &Incoming) -> Result<(), StoreError> {
        self.put(&update_key(incoming.update), incoming, None).await
    }

    /// The updates that were kept, in order.
    pub(super) async fn kept(&self) -> Result<Vec<Incoming>, StoreError> {
        Ok(self.all("update:").await?.into_iter().map(|(_, incoming)| incoming).collect())
    }

    /// Crosses updates off, the last first: after a kill in between, what is left begins with the message that its run is
    /// known by.
    pub(super) async fn cross_off(&self, updates: &[i64]) {
        for &update in updates.iter().rev() {
            if let Err(error) = self.ledger.remove_note(DoorName::Telegram, &update_key(update)).await {
                // The next server deals with it again, and finds its run by its key.
                tracing::error!("a message is not crossed off: {error}");
            }
        }
    }

    /// Says that the shell command of an update begins. `false`: it has begun before, whatever became of it.
    pub(super) async fn begin(&self, update: i64) -> Result<bool, StoreError> {
        let key = format!("begun:{update}");
        if self.get::<bool>(&key).await?.is_some() {
            return Ok(false);
        }
        self.put(&key, &true, Some(run::now() + DAY)).await?;
        Ok(true)
    }

    pub(super) async fn owe(&self, run: Uuid, owed: &Owed) -> Result<(), StoreError> {
        self.put(&format!("owed:{run}"), owed, None).await
    }

    pub(super) async fn owed(&self) -> Result<Vec<(Uuid, Owed)>, StoreError> {
        let all = self.all("owed:").await?.into_iter();
        Ok(all.filter_map(|(key, owed)| Some((Uuid::try_parse(key.strip_prefix("owed:")?).ok()?, owed))).collect())
    }

    pub(super) async fn paid(&self, run: Uuid) -> Result<(), StoreError> {
        self.ledger.remove_note(DoorName::Telegram, &format!("owed:{run}")).await
    }

    /// The sessions of a chat; the first is made if there is none.
    pub(super) async fn sessions(&self, chat: i64, thread: Option<i32>) -> Result<ChatSessions, StoreError> {
        let _held = self.sessions.lock().await;
        self.sessions_now(chat, thread).await
    }

    async fn sessions_now(&self, chat: i64, thread: Option<i32>) -> Result<ChatSessions, StoreError> {
        if let Some(sessions) = self.get(&sessions_key(chat, thread)).await? {
            return Ok(sessions);
        }
        self.begin_session_now(chat, thread).await
    }

    pub(super) async fn begin_session(&self, chat: i64, thread: Option<i32>) -> Result<ChatSessions, StoreError> {
        let _held = self.sessions.lock().await;
        self.begin_session_now(chat, thread).await
    }

    async fn begin_session_now(&self, chat: i64, thread: Option<i32>) -> Result<ChatSessions, StoreError> {
        let mut sessions: ChatSessions = self.get(&sessions_key(chat, thread)).await?.unwrap_or_default();
        let name = Uuid::now_v7().to_string();
        // One that was never used is not worth listing.
        sessions.known.retain(|session| !session.title.is_empty());
        sessions.known.insert(0, KnownSession { name: name.clone(), title: String::new(), used_at: run::now() });
        sessions.known.truncate(MOST_SESSIONS);
        sessions.current = name;
        self.put(&sessions_key(chat, thread), &sessions, None).await?;
        Ok(sessions)
    }

    /// Goes back to a session. `false`: there is no such one.
    pub(super) async fn switch(&self, chat: i64, thread: Option<i32>, name: &str) -> Result<bool, StoreError> {
        let _held = self.sessions.lock().await;
        let mut sessions = self.sessions_now(chat, thread).await?;
        if !sessions.known.iter().any(|session| session.name == name) {
            return Ok(false);
        }
        name.clone_into(&mut sessions.current);
        self.put(&sessions_key(chat, thread), &sessions, None).await?;
        Ok(true)
    }

    /// Notes that the current session got a prompt.
    pub(super) async fn used(&self, chat: i64, thread: Option<i32>, prompt: &str) -> Result<(), StoreError> {
        let _held = self.sessions.lock().await;
        let mut sessions = self.sessions_now(chat, thread).await?;
        let current = sessions.current.clone();
        if let Some(session) = sessions.known.iter_mut().find(|session| session.name == current) {
            session.used_at = run::now();
            if session.title.is_empty() {
                session.title = super::text::cut(prompt.trim().lines().next().unwrap_or_default(), 48);
            }
        }
        sessions.known.sort_by_key(|session| std::cmp::Reverse(session.used_at));
        self.put(&sessions_key(chat, thread), &sessions, None).await
    }

    /// Notes that a message tells of a run.
    pub(super) async fn tell(&self, chat: i64, message: i32, told: &ReportLink) -> Result<(), StoreError> {
        let key = format!("told:{chat}:{message}");
        self.put(&key, told, Some(run::now() + REPORT_DAYS * DAY)).await
    }

    pub(super) async fn told(&self, chat: i64, message: i32) -> Result<Option<ReportLink>, StoreError> {
        self.get(&format!("told:{chat}:{message}")).await
    }

    /// How many parts of a report have gone out.
    pub(super) async fn reported(&self, report: &str) -> Result<usize, StoreError> {
        Ok(self.get(&format!("reported:{report}")).await?.unwrap_or(0))
    }

    pub(super) async fn set_reported(&self, report: &str, parts: usize) -> Result<(), StoreError> {
        self.put(&format!("reported:{report}"), &parts, Some(run::now() + REPORT_DAYS * DAY)).await
    }

    pub(super) async fn forget_reported(&self, report: &str) -> Result<(), StoreError> {
        self.ledger.remove_note(DoorName::Telegram, &format!("reported:{report}")).await
    }

    pub(super) async fn recent(&self, chat: i64) -> Result<Vec<Recent>, StoreError> {
        Ok(self.get(&format!("recent:{chat}")).await?.unwrap_or_default())
    }

    pub(super) async fn add_recent(&self, chat: i64, recent: Recent) -> Result<(), StoreError> {
        let mut all = self.recent(chat).await?;
        all.retain(|earlier| earlier.run != recent.run);
        all.push(recent);
        let surplus = all.len().saturating_sub(MOST_REPORTS);
        all.drain(..surplus);
        self.set_recent(chat, &all).await
    }

    /// Claude knows of these reports of a chat now.
    pub(super) async fn mark_known(&self, chat: i64, told: &[Recent]) -> Result<(), StoreError> {
        let mut all = self.recent(chat).await?;
        for report in &mut all {
            report.known |= told.iter().any(|told| told.run == report.run);
        }
        self.set_recent(chat, &all).await
    }

    async fn set_recent(&self, chat: i64, all: &[Recent]) -> Result<(), StoreError> {
        self.put(&format!("recent:{chat}"), &all, Some(run::now() + REPORT_DAYS * DAY)).await
    }

    /// Files that have come without a word: the next prompt is about them.
    pub(super) async fn uploads(&self, chat: i64, thread: Option<i32>) -> Result<Vec<Saved>, StoreError> {
        Ok(self.get(&uploads_key(chat, thread)).await?.unwrap_or_default())
    }

    pub(super) async fn set_uploads(&self, chat: i64, thread: Option<i32>, files: &[Saved]) -> Result<(), StoreError> {
        let key = uploads_key(chat, thread);
        if files.is_empty() {
            return self.ledger.remove_note(DoorName::Telegram, &key).await;
        }
        let surplus = files.len().saturating_sub(MOST_UPLOADS);
        self.put(&key, &&files[surplus..], Some(run::now() + DAY)).await
    }

    async fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, StoreError> {
        let found = self.ledger.note(DoorName::Telegram, key).await?;
        // One that another version has written is as good as none.
        Ok(found.and_then(|value| serde_json::from_value(value).ok()))
    }

    async fn all<T: DeserializeOwned>(&self, prefix: &str) -> Result<Vec<(String, T)>, StoreError> {
        let notes = self.ledger.notes(DoorName::Telegram, prefix).await?.into_iter();
        Ok(notes.filter_map(|note| Some((note.key, serde_json::from_value(note.value).ok()?))).collect())
    }

    async fn put(&self, key: &str, value: &impl Serialize, expires_at: Option<i64>) -> Result<(), StoreError> {
        let value = serde_json::to_value(value).unwrap_or_default();
        self.ledger.put_note(DoorName::Telegram, Note { key: key.to_owned(), value }, expires_at).await
    }
}

/// Keys sort as their numbers do.
fn update_key(update: i64) -> String {
    format!("update:{update:012}")
}

fn sessions_key(chat: i64, thread: Option<i32>) -> String {
    format!("sessions:{chat}:{}", thread.unwrap_or(0))
}

fn uploads_key(chat: i64, thread: Option<i32>) -> String {
    format!("uploads:{chat}:{}", thread.unwrap_or(0))
}
