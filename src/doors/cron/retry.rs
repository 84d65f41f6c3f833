//! What follows the end of a tick's run: nothing, or another try, and when.

use std::time::Duration;

use super::tick::Tick;
use crate::backoff::Backoff;
use crate::claude::outcome::Outcome;
use crate::store::record::{Run, State};

/// How long after a failure it is tried again.
const AFTER_FAILURE: Backoff = Backoff::new(Duration::from_secs(5), Duration::from_mins(10));
/// How long after a rate limit that does not say when it is over.
const AFTER_LIMIT: Backoff = Backoff::new(Duration::from_mins(5), Duration::from_hours(1));
/// How long, at least, after one whose time is over already: that did not do it.
const AFTER_PAST_LIMIT: Backoff = Backoff::new(Duration::from_secs(5), Duration::from_hours(1));
/// What is added to the time a limit resets at: clocks differ.
const MARGIN: i64 = 2_000;
/// How often a tick waits for a limit.
const MOST_WAITS: usize = 20;

/// What is next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// Nothing: it is over.
    Over,
    /// Another try.
    Again {
        /// When, milliseconds since 1970.
        at: i64,
        /// Why.
        why: Why,
    },
}

/// Why it is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It failed in a way that may not come again.
    Failed,
    /// A rate limit.
    RateLimited,
    /// The job's session is no more.
    SessionGone,
}

/// Decides what follows `run`, the last try of `tick`.
pub fn then(tick: &Tick, run: &Run, now: i64) -> Then {
    let outcome = run.end.as_ref().and_then(|end| end.outcome);
    let earlier = |wanted: fn(State, Option<Outcome>) -> bool| {
        tick.attempts.iter().filter(|attempt| wanted(attempt.state, attempt.outcome)).count()
    };
    match run.state {
        State::Failed if let Some(Outcome::RateLimited { resets_at }) = outcome => {
            let waits = earlier(|_, outcome| matches!(outcome, Some(Outcome::RateLimited { .. })));
            if waits >= MOST_WAITS {
                return Then::Over;
            }
            let at = match resets_at.and_then(|at| i64::try_from(at).ok()) {
                Some(at) => at.saturating_mul(1000).saturating_add(MARGIN).max(now + after(waits, AFTER_PAST_LIMIT)),
                None => now + after(waits, AFTER_LIMIT),
            };
            Then::Again { at, why: Why::RateLimited }
        }
        State::Failed if outcome == Some(Outcome::SessionNotFound) && run.request.options.resume.is_some() => {
            Then::Again { at: now, why: Why::SessionGone }
        }
        State::Failed | State::Interrupted if may_pass(run.state, outcome) => {
            let failures = earlier(may_pass);
            if failures >= tick.retries as usize {
                return Then::Over;
            }
            Then::Again { at: now + after(failures, AFTER_FAILURE), why: Why::Failed }
        }
        _ => Then::Over,
    }
}

/// Whether another try could end differently. A cancel is somebody's will; wrong credentials, a spent budget and a schema
/// that was missed stay what they are.
const fn may_pass(state: State, outcome: Option<Outcome>) -> bool {
    use Outcome::{Hung, Killed, ModelError, Oom, Truncated};
    match state {
        State::Failed => matches!(outcome, Some(ModelError | Truncated | Hung { .. } | Oom | Killed { .. })),
        state => matches!(state, State::Interrupted),
    }
}

/// Milliseconds from now, after so many failures before this one.
fn after(failures: usize, backoff: Backoff) -> i64 {
    let delay = backoff.delay_after(u32::try_from(failures).unwrap_or(u32::MAX));
    i64::try_from(delay.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
