//! What is kept: every run that was accepted, the results that are still to be posted, and the doors' notes.
//!
//! These are the traits that the engine knows. [`sqlite`] is the implementation of one box: one file in its state folder.
//! Each method says what holds when it returns, and what a kill in the middle of it leaves; an implementation that keeps
//! these promises may stand in its place (`contract` is the test of that).
//!
//! Three promises hold for every method that writes. **When it returns `Ok`, the change is on the disk.** **It is all or
//! nothing**: killed in the middle, the next process finds the whole change or none of it. **It may be repeated**: the
//! caller of a method that failed, or that was killed before it heard the answer, may call it again, and finds what one
//! call would have left. A call whose future is dropped is carried out all the same, or not at all.
//!
//! A method that reads sees every write that returned before it was called.

#[cfg(test)]
#[macro_use]
mod contract;
pub mod record;
pub mod sqlite;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use serde_json::Value;
use uuid::Uuid;

use record::{DoorName, End, Requester, Run, State};

/// What a method of a store comes to. Boxed, so that the engine and the doors need no type parameter for the store.
pub type Answer<'call, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'call>>;

/// What the store could not do.
#[derive(Debug, Clone, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum StoreError {
    /// It refused, or cannot be reached. Another attempt may end differently.
    #[error("cannot {operation} the ledger of runs: {why}")]
    Failed { operation: &'static str, why: String },
    /// The disk under it is full. Another attempt ends differently once there is room.
    #[error("cannot {operation} the ledger of runs: no space is left in the state folder")]
    Full { operation: &'static str },
}

/// Everything that is kept, with its upkeep.
pub trait Store: Runs + Outbox + Notes {
    /// Removes runs that ended before `before` (milliseconds since 1970) and have nothing left to post; their ids. What
    /// their sessions have cost in all is forgotten with them.
    ///
    /// The ids are of runs that this very call has removed: after a kill nobody hears of those again, so whoever keeps
    /// something beside the store looks for what has lost its run.
    fn prune(&self, before: i64) -> Answer<'_, Vec<Uuid>>;

    /// Removes the notes that have expired at `now` (milliseconds since 1970).
    fn prune_notes(&self, now: i64) -> Answer<'_, ()>;
}

/// Runs, from their acceptance to their end.
///
/// A run is accepted, may be started, and is finished: three writes, each of which stays when the process is killed right
/// after it. So after any kill a finished run has its result, one that was started is known to have been, and one that
/// was accepted is there.
pub trait Runs: Send + Sync {
    /// Puts a run in, unless its requester has used its key before. Its webhook is put in with it, to wait for its end.
    ///
    /// Of two entries with one key, at whatever moment, exactly one is [`Accepted::New`]; the other one is told of it. A run
    /// whose id is in already stays as it is, and the entry fails.
    fn accept(&self, entry: LedgerEntry) -> Answer<'_, Accepted>;

    /// Notes that a queued run runs since `at` (milliseconds since 1970). One that does not wait stays as it is.
    ///
    /// When this returns, the run is never taken for one that waits again: the CLI may be started.
    fn start(&self, id: Uuid, at: i64) -> Answer<'_, ()>;

    /// Notes how a run ended, what its session has cost by that, and that its result is due to be posted; what the run
    /// alone has cost. A run that has ended stays as it is, and so do its session and its webhook.
    fn finish(&self, finish: Arc<Finish>) -> Answer<'_, Option<f64>>;

    /// One run. `None`: there is none of this id, or not any more.
    fn get(&self, id: Uuid) -> Answer<'_, Option<Run>>;

    /// The run that `requester` has used `key` for, and the digest of what it asked.
    fn by_key<'call>(
        &'call self,
        requester: &'call Requester,
        key: &'call str,
    ) -> Answer<'call, Option<(Uuid, String)>>;

    /// The workspace that a session was last used in by a run that has ended.
    fn session_workspace<'call>(&'call self, session: &'call str) -> Answer<'call, Option<PathBuf>>;

    /// Runs, the newest first: of each the beginning of its prompt, no options and no result.
    fn list(&self, filter: Filter) -> Answer<'_, Vec<Run>>;

    /// Runs that have not ended, the oldest first: what a new server takes up, or marks as interrupted.
    fn unfinished(&self) -> Answer<'_, Vec<Run>>;

    /// What each requester's runs cost that ended at or after `since` (milliseconds since 1970).
    fn cost_since(&self, since: i64) -> Answer<'_, Vec<(Requester, f64)>>;
}

/// Results that are to be posted to who asked for them.
///
/// A result is due from the very write that ends its run, so no kill can come between the two. It stays due until an
/// attempt was noted, so a kill between an attempt and its note has the result posted twice, and never not at all.
pub trait Outbox: Send + Sync {
    /// Results to post, soonest due first, `most` of them at most, those that are due later too. `after`: only what comes
    /// after this one in that order.
    fn due(&self, after: Option<(i64, Uuid)>, most: usize) -> Answer<'_, Vec<Due>>;

    /// Notes an attempt to post the result of `run`: when the next one is due (milliseconds since 1970; `None`: there is
    /// none), and what went wrong, if something did. Repeated, it counts as another attempt.
    fn tried(&self, run: Uuid, next: Option<i64>, error: Option<String>) -> Answer<'_, ()>;
}

/// What doors have to remember over a restart: a conversation's session, a message that belongs to a run.
///
/// Each note is a write of its own; what a kill must not tear apart belongs into one note.
pub trait Notes: Send + Sync {
    /// Writes a note, in place of one with the same key. It goes at `expires_at` (milliseconds since 1970), if given.
    fn put_note(&self, door: DoorName, note: Note, expires_at: Option<i64>) -> Answer<'_, ()>;

    /// The note with this key. `None`: there is none, or it is no JSON any more.
    fn note<'call>(&'call self, door: DoorName, key: &'call str) -> Answer<'call, Option<Value>>;

    /// The notes whose keys begin with `prefix`, by their keys' bytes. A prefix is text, and no pattern.
    fn notes<'call>(&'call self, door: DoorName, prefix: &'call str) -> Answer<'call, Vec<Note>>;

    /// Removes the note with this key, if there is one.
    fn remove_note<'call>(&'call self, door: DoorName, key: &'call str) -> Answer<'call, ()>;
}

/// A run to be put in.
#[derive(Debug, Clone)]
pub struct LedgerEntry {
    /// The run: queued or running.
    pub run: Run,
    /// The client's key for it, and a digest of what was asked under that key.
    pub idempotency: Option<(String, String)>,
    /// Where its result is to be posted.
    pub webhook_url: Option<String>,
}

/// What became of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accepted {
    /// It is in.
    New,
    /// The requester has used the key before, for this run and this digest.
    Before(Uuid, String),
}

/// How a run ended, as far as the store does not work it out itself.
#[derive(Debug, Clone)]
pub struct Finish {
    /// Which run.
    pub id: Uuid,
    /// Its state now.
    pub state: State,
    /// How it ended. `cost_usd` is what the CLI said, the whole session so far.
    pub end: End,
}

/// Says whether a workspace may be seen.
pub type Sight = Box<dyn Fn(&Path) -> bool + Send>;

/// Which runs to list.
#[derive(Default)]
pub struct Filter {
    /// Only those of this workspace.
    pub workspace: Option<PathBuf>,
    /// Only those that this requester asked for.
    pub requester: Option<Requester>,
    /// Only those in this state.
    pub state: Option<State>,
    /// Only those accepted before this one.
    pub before: Option<Uuid>,
    /// No more than this.
    pub limit: usize,
    /// Only those whose workspace passes.
    pub visible: Option<Sight>,
}

/// A result to post.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// Whose result.
    pub run_id: Uuid,
    /// Where to.
    pub url: String,
    /// How often it was tried.
    pub attempts: u32,
    /// When it is due, milliseconds since 1970.
    pub due_at: i64,
    /// Whose run it was; `None` if the run is gone.
    pub requester: Option<Requester>,
}

/// A door's note.
#[derive(Debug, Clone, PartialEq)]
pub struct Note {
    /// What the door calls it; of its own making, unique within the door.
    pub key: String,
    /// What it says.
    pub value: Value,
}
