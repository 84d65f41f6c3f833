//! Which session a run goes on in. It is chosen before the run's worker has its job, noted while that
//! starts the CLI, and settled at its end.
//!
//! Files are looked up for that, so each step is on a thread that may wait, beside what the run waits for anyway.

use std::path::PathBuf;

use tokio::task::{JoinHandle, spawn_blocking};

use super::live::Live;
use super::shared::Shared;
use super::submission::NewRun;
use crate::claude::arguments::Options;
use crate::claude::outcome::Outcome;
use crate::claude::sessions::{Choice, OpenError, Was};
use crate::store::StoreError;

/// A choice that is being made. It is nobody's loss if nothing comes of it.
pub(super) struct Choosing(JoinHandle<Result<Choice, OpenError>>);

impl Choosing {
    /// Waits for it. Otherwise: how the run ends for want of a session, and what its requester is told.
    async fn chosen(self) -> Result<Choice, (Outcome, String)> {
        match self.0.await {
            Ok(Ok(choice)) => Ok(choice),
            Ok(Err(error)) => Err((error.outcome(), error.to_string())),
            Err(error) => Err((Outcome::Truncated, format!("no session can be chosen: {error}"))),
        }
    }
}

/// A choice that is being noted. The CLI needs longer until there is a conversation in its session than a disk for the note.
pub(super) struct Noting(JoinHandle<Choice>);

impl Shared {
    /// Begins to choose the session of a run whose turn it is: runs that waited behind each other go on with each other's.
    pub(super) fn choose_session(&self, live: &Live) -> Choosing {
        let (sessions, workspace) = (self.sessions.clone(), live.workspace.clone());
        let (options, conversation) =
            live.read(|run| (what_decides(&run.request.options), run.request.from_door.conversation.clone()));
        Choosing(spawn_blocking(move || sessions.choose(&options, conversation.as_deref(), &workspace)))
    }

    /// Waits for the session of `live`. `None`: the run was cancelled first.
    pub(super) async fn chosen_session(
        &self,
        live: &Live,
        choosing: Choosing,
    ) -> Option<Result<Choice, (Outcome, String)>> {
        tokio::select! {
            chosen = choosing.chosen() => {
                if let Ok(Choice { note: Some(note), .. }) = &chosen {
                    tracing::warn!("run {}: {note}", live.id);
                }
                Some(chosen)
            }
            () = live.wait_for_cancel() => None,
        }
    }

    /// Begins to note that a run is to be in this session.
    pub(super) fn note_session(&self, choice: Choice) -> Noting {
        let sessions = self.sessions.clone();
        Noting(spawn_blocking(move || sessions.note(choice)))
    }

    /// Notes which session the run was in after all.
    pub(super) async fn settle_session(&self, noting: Noting, was: Was) {
        let sessions = self.sessions.clone();
        let settled = match noting.0.await {
            Ok(choice) => spawn_blocking(move || sessions.settle(&choice, &was)).await,
            Err(error) => Err(error),
        };
        if let Err(error) = settled {
            tracing::error!("the session of a run is not settled: {error}");
        }
    }

    /// Whether the session that `new` is to resume is none that its requester may see.
    ///
    /// A session that was used in several workspaces holds what was said in each, so all of them have to be visible.
    pub(super) async fn hides_session(&self, new: &NewRun) -> Result<bool, StoreError> {
        let (Some(folders), Some(id)) = (&new.origin.sees, &new.request.options.resume) else { return Ok(false) };
        let (sessions, session) = (self.sessions.clone(), id.clone());
        let look = move || (sessions.exists(&session), sessions.begun_in(&session));
        let (exists, mut places) = spawn_blocking(look).await.unwrap_or_default();
        places.extend(self.store.session_workspace(id).await?);
        let seen = |place: &PathBuf| folders.iter().any(|folder| place.starts_with(folder));
        Ok(!exists || places.is_empty() || !places.iter().all(seen))
    }
}

/// The options that a session is chosen by. A system prompt may be megabytes, and is none of them.
fn what_decides(options: &Options) -> Options {
    Options {
        resume: options.resume.clone(),
        fork_session: options.fork_session,
        no_continue: options.no_continue,
        continue_interactive: options.continue_interactive,
        ..Options::default()
    }
}
