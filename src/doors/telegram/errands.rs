//! What a conversation has under way beside its runs, and what ends it: shell commands, files that are sent, and prompts
//! that are not runs yet.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::handled::Handled;
use super::incoming::{Key, Message};
use super::notes::Notes;

#[derive(Debug, Clone)]
pub(super) struct Errand {
    kind: Kind,
    about: String,
    cancel: CancellationToken,
}

/// What is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A command of `/bash`.
    Shell,
    /// A file of `/fetch`.
    Sending,
    /// A prompt whose parts or files are still coming.
    Prompt,
}

/// All of it, by the messages that asked for it. Clones are the same one.
#[derive(Clone)]
pub(super) struct Errands {
    pub(super) all: Arc<Mutex<BTreeMap<(Key, i32), Errand>>>,
    pub(super) notes: Notes,
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
}

impl Errands {
    /// Does what a message asks for in a task of its own. The message stays until `work`, which is given what cancels it
    /// and what stops the door, says that it is dealt with.
    pub(super) fn spawn<W: Future<Output = Handled> + Send + 'static>(
        &self,
        update: i64,
        message: &Message,
        kind: Kind,
        about: String,
        work: impl FnOnce(CancellationToken, CancellationToken) -> W,
    ) -> Handled {
        let (errands, key, id) = (self.clone(), message.key(), message.id);
        let work = work(self.begin(key, id, kind, about), self.stop.clone());
        self.tasks.spawn(async move {
            if work.await == Handled::Done {
                errands.notes.cross_off(&[update]).await;
                errands.end(key, id);
            }
        });
        Handled::Kept
    }

    /// Notes what a message has begun; what ends it.
    pub(super) fn begin(&self, key: Key, message: i32, kind: Kind, about: String) -> CancellationToken {
        let cancel = CancellationToken::new();
        self.all().insert((key, message), Errand { kind, about, cancel: cancel.clone() });
        cancel
    }

    /// What ends what a message has begun.
    pub(super) fn token(&self, key: Key, message: i32) -> Option<CancellationToken> {
        self.all().get(&(key, message)).map(|errand| errand.cancel.clone())
    }

    pub(super) fn end(&self, key: Key, message: i32) {
        self.all().remove(&(key, message));
    }

    /// Cancels up to `most` of a kind, the oldest first; how many.
    pub(super) fn cancel(&self, key: Key, kind: Kind, most: usize) -> usize {
        let all = self.all();
        let found = all.iter().filter(|((of, _), errand)| *of == key && errand.kind == kind);
        found.take(most).inspect(|(_, errand)| errand.cancel.cancel()).count()
    }

    pub(super) fn count(&self, key: Key, kind: Kind) -> usize {
        self.all().iter().filter(|((of, _), errand)| *of == key && errand.kind == kind).count()
    }

    pub(super) fn listed(&self, key: Key) -> String {
        let mut text = String::new();
        let shells = self.count(key, Kind::Shell);
        if shells > 0 {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "💻 {shells} shell command{} running", if shells == 1 { "" } else { "s" });
        }
        for (_, errand) in self.all().iter().filter(|((of, _), _)| *of == key) {
            let _ = match errand.kind {
                Kind::Shell => Ok(()),
                Kind::Sending => writeln!(text, "📤 sending {}", errand.about),
                Kind::Prompt => writeln!(text, "📥 taking in: {}", errand.about),
            };
        }
        text
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<(Key, i32), Errand>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
