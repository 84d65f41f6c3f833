//! When to start a server again after it has ended: backoff with jitter.
//!
//! Pure; [`super::service`] follows it. 0.5 s, doubling, at most 30 s, a random part of it, and from the start again
//! after a minute of health.

use std::time::Duration;

use crate::backoff::{self, Backoff};

/// Delay before the first restart.
pub const FIRST_DELAY: Duration = Duration::from_millis(500);
/// No delay is longer than this.
pub const LONGEST_DELAY: Duration = Duration::from_secs(30);
/// A server that ran this long was healthy: the next delay is the first one again.
pub const HEALTHY_AFTER: Duration = Duration::from_mins(1);

/// Deaths in a row that are told one by one; then it is a crash loop.
const PATIENCE: u32 = 5;
/// In a crash loop each death with a number that this divides is told.
const EVERY: u32 = 10;

/// How loud a death is in the log, which a server that never comes up must not fill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loudness {
    /// One line.
    Line,
    /// One line, and that it keeps failing.
    Alarm,
    /// Not a word.
    Nothing,
}

/// The delay between half of the nominal one and all of it, so that boxes that fell together do not rise together.
pub(super) fn spread(nominal: Duration, chance: f64) -> Duration {
    backoff::spread(nominal, 0.5, 1.0, chance)
}

/// Counts a server's deaths and says how long to wait before the next start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restarts(Backoff);

impl Default for Restarts {
    fn default() -> Self {
        Self(Backoff::new(FIRST_DELAY, LONGEST_DELAY))
    }
}

impl Restarts {
    /// The delay before the next start of a server that ran for `uptime`, with a random part by `chance` (0.0 to 1.0).
    pub fn next_delay(&mut self, uptime: Duration, chance: f64) -> Duration {
        if uptime >= HEALTHY_AFTER {
            self.0.reset();
        }
        spread(self.0.next_delay(), chance)
    }

    /// How loud the last death is.
    pub const fn loudness(self) -> Loudness {
        match self.deaths() {
            PATIENCE => Loudness::Alarm,
            deaths if deaths < PATIENCE || deaths.is_multiple_of(EVERY) => Loudness::Line,
            _ => Loudness::Nothing,
        }
    }

    /// Deaths in a row, without a minute of health between them.
    pub const fn deaths(self) -> u32 {
        self.0.failures()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_secs(1);

    #[test]
    fn delays_grow_up_to_the_longest() {
        let mut restarts = Restarts::default();
        let delays: Vec<u128> = (0..8).map(|_| restarts.next_delay(SHORT, 1.0).as_millis()).collect();
        assert_eq!(delays, [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]);
        assert_eq!(restarts.next_delay(SHORT, 0.0), LONGEST_DELAY / 2);
    }

    #[test]
    fn a_minute_of_health_resets_it() {
        let mut restarts = Restarts::default();
        for _ in 0..5 {
            restarts.next_delay(SHORT, 1.0);
        }
        assert_eq!(restarts.next_delay(HEALTHY_AFTER, 1.0), FIRST_DELAY);
        assert_eq!(restarts.deaths(), 1);
    }
}
