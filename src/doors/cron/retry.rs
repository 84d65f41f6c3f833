//! What follows the end of a tick's run: nothing, or another try, and when.

use super::tick::Tick;
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
    let outcome = run.end.as_ref().and_then(|end| end.outcome.as_deref()).unwrap_or_default();
    let earlier = |wanted: &dyn Fn(&str, &str) -> bool| {
        let tried = tick.attempts.iter();
        tried.filter(|try_| wanted(&try_.state, try_.outcome.as_deref().unwrap_or_default())).count()
    };
    match run.state {
        State::Failed if outcome == "rate_limited" => {
            let waits = earlier(&|_, outcome| outcome == "rate_limited");
            if waits >= MOST_WAITS {
                return Then::Over;
            }
            let reset = run.end.as_ref().and_then(|end| end.resets_at).and_then(|at| i64::try_from(at).ok());
            let at = match reset {
                // One that is past already did not do it.
                Some(at) => (at.saturating_mul(1000).saturating_add(MARGIN))
                    .max(now + doubled(FIRST_DELAY, waits, LONGEST_WAIT)),
                None => now + doubled(FIRST_WAIT, waits, LONGEST_WAIT),
            };
            Then::Again { at, why: Why::RateLimited }
        }
        State::Failed if outcome == "session_not_found" && run.request.options.resume.is_some() => {
            Then::Again { at: now, why: Why::SessionGone }
        }
        State::Failed | State::Interrupted if may_pass(run.state.name(), outcome) => {
            let failures = earlier(&may_pass);
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
fn may_pass(state: &str, outcome: &str) -> bool {
    match state {
        "failed" => matches!(outcome, "model_error" | "truncated" | "hung" | "oom" | "killed"),
        state => state == "interrupted",
    }
}

fn doubled(first: i64, times: usize, most: i64) -> i64 {
    first.saturating_mul(1 << times.min(20)).min(most)
}

#[cfg(test)]
mod tests;
