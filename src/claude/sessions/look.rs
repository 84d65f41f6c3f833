//! The rules by which a session is chosen.

use std::path::Path;

use uuid::Uuid;

use super::choice::{Choice, OpenError};
use super::file::{has_person, modified, recorded_cwd};
use super::files::Sessions;
use super::notes::of_conversation;
use super::open::{Registry, Side};
use crate::claude::arguments::{Options, Session};

/// The CLI's arguments that have a person choose the session: without an id the CLI shows a list, for a title or a part of one it
/// looks in that list.
fn picked(options: &Options) -> Option<Vec<String>> {
    let title = options.resume.as_ref().filter(|id| Uuid::try_parse(id).is_err());
    let title = title.map(|title| vec![format!("--resume={title}")]);
    let mut arguments = options.picks.clone().or(title)?;
    if options.fork_session {
        arguments.push("--fork-session".into());
    }
    Some(arguments)
}

/// One search for a session.
pub(super) struct Look<'search> {
    pub(super) sessions: &'search Sessions,
    pub(super) workspace: &'search Path,
    pub(super) registry: Option<&'search Registry>,
}

impl Look<'_> {
    pub(super) fn for_prompt(&self, options: &Options, conversation: Option<&str>) -> Result<Choice, OpenError> {
        let first_time = self.sessions.first_separation(self.workspace);
        if let Some(resumed) = self.named(options) {
            return resumed;
        }
        if options.no_continue {
            return Ok(Choice::new(Session::begin()));
        }
        if options.continue_interactive {
            let id = self.of_person().ok_or_else(|| self.none("the terminal"))?;
            return Ok(Choice { is_own: false, ..self.go_on(id) });
        }
        if let Some(conversation) = conversation {
            let last = self.sessions.remembered(&of_conversation(conversation));
            return Ok(last.map_or_else(|| Choice::new(Session::begin()), |id| self.go_on(id)));
        }
        let own = self.workspace.to_str().and_then(|key| self.sessions.remembered(key));
        // Before the two were separate, the newest was that of both.
        let last = own.or_else(|| self.sessions.newest(self.workspace, |path| first_time || !has_person(path)));
        Ok(match last {
            Some(id) if self.sessions.find(&id).is_some_and(|path| has_person(&path)) => {
                Choice::new(Session::fork(id, false))
            }
            Some(id) => self.go_on(id),
            None => self.afresh(),
        })
    }

    pub(super) fn for_terminal(&self, options: &Options) -> Result<Choice, OpenError> {
        let first_time = self.sessions.first_separation(self.workspace);
        if let Some(arguments) = picked(options) {
            return Ok(Choice::new(Session::Picked(arguments)));
        }
        // The CLI would leave the terminal with a line that goes by.
        if let Some(id) = options.resume.as_ref().filter(|id| !self.sessions.exists(id)) {
            return Err(OpenError::Unknown(id.clone()));
        }
        if let Some(resumed) = self.named(options) {
            return resumed;
        }
        if options.no_continue {
            return Ok(Choice::new(Session::begin()));
        }
        if options.continue_scripts {
            let id = self.of_prompts().ok_or_else(|| self.none("scripts"))?;
            return Ok(self.go_on(id));
        }
        if self.registry.is_some_and(|registry| registry.terminals(self.workspace).next().is_some()) {
            let note = "another terminal has the session of this workspace: this one starts its own".to_owned();
            return Ok(Choice::noting(Session::begin(), note));
        }
        if let Some(id) = self.of_person() {
            return Ok(self.with_loss(self.go_on(id), "the session before it goes on"));
        }
        let shared = first_time.then(|| self.sessions.newest(self.workspace, |_| true)).flatten();
        Ok(shared.map_or_else(|| self.afresh(), |id| Choice::new(Session::fork(id, false))))
    }

    /// The session that was chosen before, as it can be had now.
    pub(super) fn again(&self, session: Session) -> Result<Choice, OpenError> {
        match session {
            Session::Resume(id) if let Some(by) = self.writer(&id) => Err(OpenError::InUse { id, by }),
            Session::Continue(id) => Ok(self.go_on(id)),
            session => Ok(Choice::new(session)),
        }
    }

    /// The session that was asked for by its id.
    fn named(&self, options: &Options) -> Option<Result<Choice, OpenError>> {
        let id = options.resume.as_ref()?;
        Some(match self.writer(id) {
            _ if options.fork_session => Ok(Choice::new(Session::fork(id.clone(), true))),
            Some(by) => Err(OpenError::InUse { id: id.clone(), by }),
            None => Ok(Choice::new(Session::Resume(id.clone()))),
        })
    }

    /// Goes on with the session, or with a copy of it while somebody else has it.
    fn go_on(&self, id: String) -> Choice {
        match self.writer(&id) {
            None => Choice::new(Session::Continue(id)),
            Some(by) => {
                let note = format!("the session {id} is in use, {}: this goes on in a copy of it", by.that_writes());
                Choice::noting(Session::fork(id, false), note)
            }
        }
    }

    /// A new one, as there is none to go on with.
    fn afresh(&self) -> Choice {
        self.with_loss(Choice::new(Session::begin()), "a new session begins")
    }

    /// Says that the last session's file is damaged, if it is, and what happens in its place.
    fn with_loss(&self, opened: Choice, instead: &str) -> Choice {
        let Some(path) = self.sessions.damaged(self.workspace) else { return opened };
        let note = format!(
            "the session file {} is damaged, nothing in it can be read: it is left as it is; {instead}",
            path.display()
        );
        Choice { note: Some(note), tells_of_loss: true, ..opened }
    }

    fn of_person(&self) -> Option<String> {
        self.sessions.newest(self.workspace, has_person)
    }

    fn of_prompts(&self) -> Option<String> {
        self.sessions.newest(self.workspace, |path| !has_person(path))
    }

    fn none(&self, of: &'static str) -> OpenError {
        OpenError::None { of, workspace: self.workspace.to_owned() }
    }

    /// Who writes in session `id`.
    fn writer(&self, id: &str) -> Option<Side> {
        let id = Uuid::try_parse(id).ok()?.to_string();
        let registry = self.registry?;
        registry.holder(&id).or_else(|| {
            // A terminal may have gone over to it since it was started.
            let path = self.sessions.find(&id)?;
            let written = modified(&path)?;
            let workspace = recorded_cwd(&path)?;
            let is_open = registry.terminals(&workspace).any(|since| since <= written) && has_person(&path);
            is_open.then_some(Side::Terminal)
        })
    }
}
