//! How long to wait before the next attempt: longer after each failure, up to a limit, and spread by chance. Pure.
//!
//! What is waited for, and whether another attempt makes sense, is its callers' to know.

use std::time::Duration;

/// Counts failures in a row and says how long to wait after each: `first`, doubling, at most `longest`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    failures: u32,
}

impl Backoff {
    /// Nothing has failed yet.
    #[must_use]
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, failures: 0 }
    }

    /// Takes note of a failure; how long to wait before the next attempt.
    pub fn next_delay(&mut self) -> Duration {
        let delay = self.delay_after(self.failures);
        self.failures = self.failures.saturating_add(1);
        delay
    }

    /// The delay after a failure that so many came before, whatever was counted.
    pub fn delay_after(&self, failures: u32) -> Duration {
        // Beyond that the product is saturated for any delay of a millisecond or more.
        self.first.saturating_mul(1 << failures.min(31)).min(self.longest)
    }

    /// Takes note of a success: the next delay is the first one again.
    pub const fn reset(&mut self) {
        self.failures = 0;
    }

    /// Failures since the last success.
    pub const fn failures(&self) -> u32 {
        self.failures
    }
}

/// A delay between `least` and `most` times the nominal one. `chance`, 0.0 to 1.0, is the random part: those that failed
/// together do not all come again together.
pub fn spread(nominal: Duration, least: f64, most: f64, chance: f64) -> Duration {
    nominal.mul_f64(least + (most - least) * chance.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FIRST: Duration = Duration::from_millis(500);
    const LONGEST: Duration = Duration::from_secs(30);

    #[test]
    fn doubles_up_to_the_longest_and_begins_again() {
        let mut backoff = Backoff::new(FIRST, LONGEST);
        let delays: Vec<u128> = (0..8).map(|_| backoff.next_delay().as_millis()).collect();
        assert_eq!(delays, [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]);
        assert_eq!((backoff.failures(), backoff.delay_after(u32::MAX)), (8, LONGEST));
        backoff.reset();
        assert_eq!(backoff.next_delay(), FIRST);
    }

    proptest! {
        #[test]
        fn chance_spreads_between_its_bounds(failures in 0..100_u32, chance in -1.0..2.0_f64) {
            let nominal = Backoff::new(FIRST, LONGEST).delay_after(failures);
            let delay = spread(nominal, 0.5, 1.0, chance);
            prop_assert!(delay >= nominal / 2 && delay <= nominal);
        }
    }
}
