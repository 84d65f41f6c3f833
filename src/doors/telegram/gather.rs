//! One thought in more than one message: albums, texts that Telegram cut in two, a comment and what it is about.
//!
//! No message says that another one belongs to it, nor that none does. So each waits a moment for the next.

use std::time::Duration;

use tokio::time::Instant;

use super::incoming::Message;
use super::text::LONGEST_MESSAGE;

/// How long the next part of an album may take, or the next of many forwards.
const SERIES: Duration = Duration::from_millis(1200);
/// How long the rest of a long text may take.
const REST: Duration = Duration::from_millis(1500);
/// How long a forward may take that follows its comment.
const COMMENT: Duration = Duration::from_millis(700);
/// Texts from this length on may have been cut, units: programs cut at the end of a sentence where they can.
const MAY_BE_CUT: usize = LONGEST_MESSAGE / 2;
/// How far apart the parts of a thought are sent, seconds: nobody writes two messages as fast as that.
const APART: i64 = 2;

/// A message, and what its update is known by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) update: i64,
    /// Whether an earlier server took it as the last one of its thought.
    pub(super) closed: bool,
    pub(super) sort: Sort,
    pub(super) message: Message,
}

/// Messages that are dealt with as one. There is at least one.
pub(super) type Thought = Vec<Part>;

/// What a message is: a command is not waited for, unless its text may have been cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    Command,
    Prompt,
}

/// Thoughts of a conversation that may go on.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    open: Vec<(Instant, Thought)>,
}

impl Gathering {
    /// When the first of them is taken as it is.
    pub(super) fn due(&self) -> Option<Instant> {
        self.open.iter().map(|(due, _)| *due).min()
    }

    /// Those that are taken as they are.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<Thought> {
        self.take(|(due, _)| *due <= now)
    }

    /// Whether a message goes on with one of them.
    pub(super) fn is_continued_by(&self, part: &Part) -> bool {
        self.open.iter().any(|(_, thought)| thought.last().is_some_and(|last| follows(last, part)))
    }

    /// Adds a message; the thoughts that are complete with it, in order.
    pub(super) fn add(&mut self, part: Part, now: Instant) -> Vec<Thought> {
        let wait = if part.closed { Duration::ZERO } else { wait(&part) };
        let belongs = |thought: &Thought| thought.last().is_some_and(|last| follows(last, &part));
        if let Some((due, thought)) = self.open.iter_mut().find(|(_, thought)| belongs(thought)) {
            *due = now + wait;
            thought.push(part);
            return self.take_due(now);
        }
        let (user, sort) = (part.message.user, part.sort);
        // A command holds for what is said after it, not for what was said before.
        let mut complete = self.take(|(_, thought)| {
            sort == Sort::Command || thought.first().is_none_or(|first| first.message.user == user)
        });
        if wait.is_zero() {
            complete.push(vec![part]);
        } else {
            self.open.push((now + wait, vec![part]));
        }
        complete
    }

    fn take(&mut self, which: impl Fn(&(Instant, Thought)) -> bool) -> Vec<Thought> {
        let (taken, open) = std::mem::take(&mut self.open).into_iter().partition(which);
        self.open = open;
        taken.into_iter().map(|(_, thought): (Instant, Thought)| thought).collect()
    }
}

/// Whether a message goes on with the thought that another one is part of.
pub(super) fn follows(before: &Part, next: &Part) -> bool {
    let (earlier, later) = (&before.message, &next.message);
    if earlier.album.is_some() && earlier.album == later.album {
        return true;
    }
    let same = earlier.user.is_some() && earlier.user == later.user;
    let at_once = (0..=APART).contains(&(later.date - earlier.date));
    if !same || !at_once || next.sort == Sort::Command {
        return false;
    }
    let rest = may_be_cut(earlier) && later.file.is_none() && earlier.forwarded == later.forwarded;
    rest || (before.sort == Sort::Prompt && later.forwarded.is_some())
}

/// How a text goes on after its part `before`.
pub(super) const fn seam(before: &Message) -> &'static str {
    // One that is full was cut anywhere, and any other where there was space.
    if before.length >= LONGEST_MESSAGE { "" } else { "\n" }
}

const fn may_be_cut(message: &Message) -> bool {
    message.length >= MAY_BE_CUT && message.file.is_none()
}

fn wait(part: &Part) -> Duration {
    let message = &part.message;
    if may_be_cut(message) {
        REST
    } else if part.sort == Sort::Command {
        Duration::ZERO
    } else if message.album.is_some() || message.forwarded.is_some() {
        SERIES
    } else {
        COMMENT
    }
}

#[cfg(test)]
mod tests;
