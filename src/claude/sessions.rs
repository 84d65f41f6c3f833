//! Which session a run or a terminal goes on with.
//!
//! `--continue` with nothing to continue silently starts a new session, and two workspaces can share one folder of
//! session files. So the last session is found here and resumed by its id.
//!
//! Prompts and the terminal of a workspace each have their own last session. That of prompts is noted by us, that
//! of the terminal is the newest session file in which a person has spoken. Each can go on with the other's where that is
//! asked for. Whoever cannot have a session for itself goes on in a copy of it: a session has one writer (see [`open`]).

mod choice;
mod file;
mod files;
mod look;
mod notes;
pub mod open;
#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use uuid::Uuid;

pub use self::choice::{Choice, OpenError, Opened, Was};
use self::file::recorded_cwd;
pub use self::files::Sessions;
use self::look::Look;
pub use self::open::Side;
use self::open::{Holder, Registry};
use super::arguments::{Options, Session};

/// The folder of the locks.
const OPEN: &str = "open";

impl Sessions {
    /// The session that a prompt with these options goes on with, in its workspace or in its conversation, by a door's name
    /// for it. Its choice is [noted](Self::note), whoever starts the CLI [takes](Self::take) it, and its end is
    /// [settled](Self::settle).
    pub fn choose(&self, options: &Options, conversation: Option<&str>, workspace: &Path) -> Result<Choice, OpenError> {
        let workspace = real(workspace);
        let registry = self.registry();
        let look = Look { sessions: self, workspace: &workspace, registry: registry.as_ref() };
        let choice = forked(look.for_prompt(options, conversation)?, options);
        Ok(choice.counting_for(conversation, &workspace))
    }

    /// Takes a session for a prompt, for which it was chosen: it is the caller's until what is returned is dropped. Who
    /// has come to write in it meanwhile keeps it, and this goes on in a copy, or fails where it was asked for by its id.
    pub fn take(&self, session: Session, workspace: &Path) -> Result<Opened, OpenError> {
        let workspace = real(workspace);
        let registry = self.registry();
        let choice = Look { sessions: self, workspace: &workspace, registry: registry.as_ref() }.again(session)?;
        Ok(lock(registry, choice, &workspace, Side::Prompt))
    }

    /// Chooses and takes at once the session that whoever starts the CLI with these options goes on with. It is theirs until
    /// what is returned is dropped, or until the CLI ends where it has been handed over.
    pub fn open(&self, options: &Options, workspace: &Path, side: Side) -> Result<Opened, OpenError> {
        let workspace = real(workspace);
        let registry = self.registry();
        let look = Look { sessions: self, workspace: &workspace, registry: registry.as_ref() };
        let choice = match side {
            Side::Prompt => look.for_prompt(options, None),
            Side::Terminal => look.for_terminal(options),
        }?;
        let mut opened = lock(registry, forked(choice, options), &workspace, side);
        if side == Side::Prompt {
            opened.choice = self.note(opened.choice.counting_for(None, &workspace));
        }
        Ok(opened)
    }

    /// Notes which session a prompt was in after all: another than was chosen, where that had gone, or none, and then what
    /// was noted before it counts again.
    pub fn settle(&self, choice: &Choice, was: &Was) {
        let settled = match (was, choice.session.writes()) {
            (Was::In(id), _) => self.confirm(&choice.keys, id),
            (Was::Nowhere, Some(id)) => self.put_back(choice.replaced.clone(), id),
            (Was::Nowhere, None) | (Was::Unknown, _) => Ok(()),
        };
        if let Err(error) = settled {
            tracing::warn!("{error}; the next run may not continue this session");
        }
    }

    fn registry(&self) -> Option<Registry> {
        Registry::lock(self.locks())
            .inspect_err(|error| tracing::warn!("sessions cannot be kept to one writer: {error}"))
            .ok()
    }

    /// Notes the choice as the last session of its workspace and of its conversation.
    pub fn note(&self, choice: Choice) -> Choice {
        let Some(id) = choice.session.writes() else { return choice };
        let replaced = self.intend(&choice.keys, id).unwrap_or_else(|error| {
            tracing::warn!("{error}; the next run may not continue this session");
            Vec::new()
        });
        Choice { replaced, ..choice }
    }

    /// Why session `id` cannot be resumed at the moment, if it cannot. [`Sessions::open`] has the last word.
    pub fn check_free(&self, id: &str) -> Result<(), OpenError> {
        Uuid::try_parse(id)
            .ok()
            .and_then(|id| Registry::peek(&self.locks(), &id.to_string()))
            .map_or(Ok(()), |by| Err(OpenError::InUse { id: id.to_owned(), by }))
    }

    fn locks(&self) -> PathBuf {
        self.config_dir.join("claudebox").join(OPEN)
    }

    /// Deletes every session that was begun in `workspace`, and forgets, for all boxes, which it was last in. How many
    /// sessions there were.
    ///
    /// Two workspaces can share one folder of session files, so each file is looked into.
    pub fn clear(&self, workspace: &Path) -> io::Result<usize> {
        let workspace = real(workspace);
        let boxes = fs::read_dir(self.config_dir.join("claudebox")).into_iter().flatten().flatten();
        for state_dir in boxes.map(|folder| folder.path()).chain([self.state_dir.clone()]) {
            Self::forget(&state_dir, &workspace).map_err(io::Error::other)?;
        }
        let mut count = 0;
        for (_, _, path) in self.files(&workspace) {
            if recorded_cwd(&path).as_deref() == Some(workspace.as_path()) {
                fs::remove_file(&path)?;
                count += 1;
                // What its subagents and tools left: a folder of the same name, if there is one.
                match fs::remove_dir_all(path.with_extension("")) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
        }
        Ok(count)
    }
}

/// The choice, in a copy of the session where the options ask for one.
fn forked(mut choice: Choice, options: &Options) -> Choice {
    if options.fork_session
        && let Session::Continue(id) = &choice.session
    {
        choice.session = Session::fork(id.clone(), false);
    }
    choice
}

/// The workspace without links.
fn real(workspace: &Path) -> PathBuf {
    fs::canonicalize(workspace).unwrap_or_else(|_| workspace.to_owned())
}

/// Holds the session that was chosen, as far as its id is known.
fn lock(registry: Option<Registry>, choice: Choice, workspace: &Path, side: Side) -> Opened {
    let writes = match &choice.session {
        // Which one, nobody knows before it is chosen. That a terminal is open here is known all the same.
        Session::Picked(_) => Some(Uuid::now_v7().to_string()),
        session => session.writes().filter(|id| Uuid::try_parse(id).is_ok()).map(str::to_ascii_lowercase),
    };
    let lock = writes.zip(registry).and_then(|(id, registry)| {
        let taken = registry.take(&id, &Holder { side, workspace: workspace.to_owned() });
        taken.inspect_err(|error| tracing::warn!("the session {id} cannot be kept to one writer: {error}")).ok()
    });
    Opened { choice, lock }
}
