//! A run's answer as it comes.

use uuid::Uuid;

use super::Turn;
use crate::desk::narrate::{Delta, Reader};
use crate::desk::refusal::left_waiting;
use crate::doors::openai::answer::Answer;
use crate::doors::openai::headers::ProgressStyle;
use crate::doors::openai::spoken::Spoken;
use crate::doors::web::problem::Problem;
use crate::runs::engine::Hold;
use crate::runs::events::Events;

/// A run that is being followed.
pub(in crate::doors::openai) struct Following {
    turn: Turn,
    pub(in crate::doors::openai) run: Uuid,
    hold: Hold,
    events: Events,
    reader: Reader,
    /// What was said of the answer, and what the client was given.
    spoken: Spoken,
}

/// What comes next of a run.
pub(in crate::doors::openai) enum NextEvent {
    /// Pieces of the answer; there may be none in what has happened.
    Deltas(Vec<Delta>),
    /// The whole of it.
    Answer(Box<Answer>),
    /// There will be none.
    Failed(Problem),
}

impl Turn {
    /// The answer as it comes.
    pub(in crate::doors::openai) async fn follow(self) -> Result<Following, Problem> {
        let (run, hold) = self.submit().await?;
        let events = self.desk.events(run, 0).await?;
        let spoken = Spoken::new(self.stops.clone());
        Ok(Following { turn: self, run, hold, events, reader: Reader::default(), spoken })
    }
}

impl Following {
    pub(in crate::doors::openai) fn model(&self) -> &str {
        &self.turn.model
    }

    pub(in crate::doors::openai) fn progress(&self) -> ProgressStyle {
        self.turn.progress
    }

    /// The next step. Can be dropped and called again until the run has ended; after the end nothing comes.
    pub(in crate::doors::openai) async fn next(&mut self) -> NextEvent {
        let stopped = async {
            match &self.turn.stopping {
                Some(stopping) => stopping.wait().await,
                None => std::future::pending().await,
            }
        };
        let waiting = self.events.is_waiting();
        let chunk = tokio::select! {
            biased;
            chunk = self.events.next() => chunk,
            // A run that is ended by the stop says so itself; one that waits goes on waiting without us.
            () = stopped, if waiting => {
                self.hold.release();
                return NextEvent::Failed(left_waiting(self.run).into());
            }
        };
        match chunk {
            Ok(Some(chunk)) => {
                let deltas = self.reader.read(&chunk.lines);
                NextEvent::Deltas(deltas.into_iter().filter_map(|delta| self.pass_on(delta)).collect())
            }
            Ok(None) => self.ended().await,
            Err(error) => NextEvent::Failed(Problem::internal("reading a run's events", &error)),
        }
    }

    /// What the client is given of a piece.
    fn pass_on(&mut self, delta: Delta) -> Option<Delta> {
        // With a schema only the form counts, and that is whole only at the end.
        let given = match &delta {
            Delta::Text(_) | Delta::Void(_) if self.turn.schema => return None,
            Delta::Text(text) => self.spoken.say(text),
            Delta::Void(text) => {
                self.spoken.take_back(text);
                return None;
            }
            Delta::Thinking(thought) if thought.is_empty() => return None,
            Delta::Thinking(_) | Delta::Tool { .. } => return Some(delta),
            Delta::Said(_) | Delta::ToolBegins(_) | Delta::Retry { .. } => return None,
        };
        (!given.is_empty()).then_some(Delta::Text(given))
    }

    async fn ended(&mut self) -> NextEvent {
        let run = match self.turn.desk.wait_or_stop(self.run, None).await {
            Ok(run) => run,
            Err(refusal) => return NextEvent::Failed(refusal.into()),
        };
        self.hold.release();
        if self.spoken.is_empty() && self.turn.again(&run) {
            return match self.start_again().await {
                Ok(()) => NextEvent::Deltas(Vec::new()),
                Err(problem) => NextEvent::Failed(problem),
            };
        }
        match self.turn.conclude(run, Some(&mut self.spoken)).await {
            Ok(answer) => NextEvent::Answer(Box::new(answer)),
            Err(problem) => NextEvent::Failed(problem),
        }
    }

    async fn start_again(&mut self) -> Result<(), Problem> {
        (self.run, self.hold) = self.turn.submit().await?;
        self.events = self.turn.desk.events(self.run, 0).await?;
        self.reader = Reader::default();
        Ok(())
    }
}
