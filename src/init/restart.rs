//! When to start a server again after it has ended: backoff with jitter.
//!
//! Pure; [`super::service`] follows it. 0.5 s, doubling, at most 30 s, a random part of it (so that boxes that fell
//! together do not rise together), and from the start again after a minute of health.

use std::time::Duration;

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

/// The delay after so many failures before this one: `first`, doubling, at most `longest`, and between half of that and all of it
/// by `chance`, 0.0 to 1.0.
#[must_use]
pub fn delay_after(failures: u32, first: Duration, longest: Duration, chance: f64) -> Duration {
    first.saturating_mul(1 << failures.min(16)).min(longest).mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0)
}

/// Counts a server's deaths and says how long to wait before the next start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backoff {
    deaths: u32,
}

impl Backoff {
    /// The delay before the next start of a server that ran for `uptime`.
    ///
    /// `chance`, 0.0 to 1.0, is the random part: the delay lies between half of the nominal one and all of it.
    pub fn next_delay(&mut self, uptime: Duration, chance: f64) -> Duration {
        if uptime >= HEALTHY_AFTER {
            self.deaths = 0;
        }
        let delay = delay_after(self.deaths, FIRST_DELAY, LONGEST_DELAY, chance);
        self.deaths = self.deaths.saturating_add(1);
        delay
    }

    /// How loud the last death is.
    #[must_use]
    pub const fn loudness(self) -> Loudness {
        match self.deaths {
            PATIENCE => Loudness::Alarm,
            deaths if deaths < PATIENCE || deaths.is_multiple_of(EVERY) => Loudness::Line,
            _ => Loudness::Nothing,
        }
    }

    /// Deaths in a row, without a minute of health between them.
    #[must_use]
    pub const fn deaths(self) -> u32 {
        self.deaths
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SHORT: Duration = Duration::from_secs(1);

    #[test]
    fn doubles_up_to_the_cap() {
        let mut backoff = Backoff::default();
        let delays: Vec<u128> = (0..8).map(|_| backoff.next_delay(SHORT, 1.0).as_millis()).collect();
        assert_eq!(delays, [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]);
    }

    #[test]
    fn a_minute_of_health_resets_it() {
        let mut backoff = Backoff::default();
        for _ in 0..5 {
            backoff.next_delay(SHORT, 1.0);
        }
        assert_eq!(backoff.next_delay(HEALTHY_AFTER, 1.0), FIRST_DELAY);
        assert_eq!(backoff.deaths(), 1);
    }

    proptest! {
        #[test]
        fn jitter_stays_between_half_and_all(deaths in 0..100_u32, chance in 0.0..=1.0_f64) {
            let mut backoff = Backoff { deaths };
            let delay = backoff.next_delay(SHORT, chance);
            prop_assert!(delay >= FIRST_DELAY / 2 && delay <= LONGEST_DELAY);
        }
    }
}
