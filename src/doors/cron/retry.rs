//! What follows the end of a tick's run: nothing, or another try, and when.

use super::tick::Tick;
use crate::claude::outcome::Outcome;
use crate::runs::run::{Run, State};

/// How long after the first failure it is tried again, milliseconds; each time twice as long.
const FIRST_DELAY: i64 = 5_000;
const LONGEST_DELAY: i64 = 10 * 60_000;
/// The same where a rate limit does not say when it is over.
const FIRST_WAIT: i64 = 5 * 60_000;
const LONGEST_WAIT: i64 = 60 * 60_000;
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
#[must_use]
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
                // One that is past already did not do it.
                Some(at) => (at.saturating_mul(1000).saturating_add(MARGIN))
                    .max(now + doubled(FIRST_DELAY, waits, LONGEST_WAIT)),
                None => now + doubled(FIRST_WAIT, waits, LONGEST_WAIT),
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
            Then::Again { at: now + doubled(FIRST_DELAY, failures, LONGEST_DELAY), why: Why::Failed }
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

fn doubled(first: i64, times: usize, most: i64) -> i64 {
    first.saturating_mul(1 << times.min(20)).min(most)
}

#[cfg(test)]
mod tests;
