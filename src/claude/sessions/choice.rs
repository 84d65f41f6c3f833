//! A session that was chosen, and one that was taken; why there may be none.

use std::io;
use std::path::{Path, PathBuf};

use super::notes::{Replaced, keys};
use super::open::{Lock, Side};
use crate::claude::arguments::Session;
use crate::claude::outcome::Outcome;

/// Why there is no session to go on with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum OpenError {
    #[error(
        "the session {id} cannot be resumed now: {}; wait for the end of that, or add --fork-session (forkSession) to go \
         on in a copy of it", .by.that_writes()
    )]
    InUse { id: String, by: Side },
    #[error(
        "there is no session {0:?}: leave --resume out to go on with the last one of this workspace; /resume in it lists the \
         others"
    )]
    Unknown(String),
    #[error("there is no session of {} in {} to go on with", .of, .workspace.display())]
    None { of: &'static str, workspace: PathBuf },
}

impl OpenError {
    /// How a run ends for want of it.
    pub const fn outcome(&self) -> Outcome {
        match self {
            Self::InUse { .. } => Outcome::Truncated,
            Self::Unknown(_) | Self::None { .. } => Outcome::SessionNotFound,
        }
    }
}

/// A session to go on with, before anybody has it.
#[derive(Debug, Clone)]
pub struct Choice {
    /// Which.
    pub session: Session,
    /// What a person should know about the choice.
    pub note: Option<String>,
    /// Whether the note tells of a loss: a session that was to go on cannot.
    pub tells_of_loss: bool,
    /// Whether the workspace's next prompt goes on with it.
    pub(super) is_own: bool,
    /// Whose last session it is, and what was noted there before.
    pub(super) keys: Vec<String>,
    pub(super) replaced: Replaced,
}

impl Choice {
    pub(super) fn new(session: Session) -> Self {
        let (keys, replaced) = (Vec::new(), Vec::new());
        Self { session, note: None, tells_of_loss: false, is_own: true, keys, replaced }
    }

    /// The choice of a prompt, which the next one in its workspace and in its conversation goes on with.
    pub(super) fn counting_for(self, conversation: Option<&str>, workspace: &Path) -> Self {
        let counts = self.is_own && self.session.writes().is_some();
        Self { keys: if counts { keys(workspace, conversation) } else { Vec::new() }, ..self }
    }

    pub(super) fn noting(session: Session, note: String) -> Self {
        Self { note: Some(note), ..Self::new(session) }
    }
}

/// What is known at the end of a run of the session that it was in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Was {
    /// In this one: the CLI has said so.
    In(String),
    /// In none: the CLI was not started, or found no session.
    Nowhere,
    /// In the chosen one, if in any: nobody is left who could say.
    Unknown,
}

/// A session to start the CLI with, which nobody else writes in.
#[derive(Debug, Clone)]
pub struct Opened {
    /// Which, and why.
    pub choice: Choice,
    pub(super) lock: Option<Lock>,
}

impl Opened {
    /// Gives the session back: the CLI has ended.
    pub fn release(&self) {
        if let Some(lock) = &self.lock {
            lock.release();
        }
    }

    /// Keeps the session for the program that this process becomes.
    pub fn outlive_exec(&self) -> io::Result<()> {
        self.lock.as_ref().map_or(Ok(()), Lock::outlive_exec)
    }
}
