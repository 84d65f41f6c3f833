//! How often something may happen: a token bucket that is told the time, so that it is tested without waiting.

use std::time::{Duration, Instant};

/// What one request costs. A nanosecond earns as much as requests per minute are allowed, so that all is whole numbers.
const COST: u64 = 60_000_000_000;

/// Admits `per_minute` at once and refills evenly, so that over a long time no more than that get through per minute.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bucket {
    credit: u64,
    at: Instant,
}

impl Bucket {
    /// A full bucket.
    pub(super) fn full(per_minute: u32, now: Instant) -> Self {
        Self { credit: COST * u64::from(per_minute), at: now }
    }

    /// Takes one, or says how long it is until there is one.
    pub(super) fn take(&mut self, per_minute: u32, now: Instant) -> Result<(), Duration> {
        let rate = u64::from(per_minute);
        let passed = u64::try_from(now.saturating_duration_since(self.at).as_nanos()).unwrap_or(u64::MAX);
        self.credit = self.credit.saturating_add(passed.saturating_mul(rate)).min(COST * rate);
        self.at = self.at.max(now);
        if let Some(rest) = self.credit.checked_sub(COST) {
            self.credit = rest;
            return Ok(());
        }
        Err(Duration::from_nanos((COST - self.credit).div_ceil(rate)))
    }
}

/// Whole seconds for `Retry-After`: rounded up, so that who waits that long gets through.
pub(super) fn seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_full_bucket_gives_a_minutes_worth_and_then_says_when() {
        let start = Instant::now();
        let mut bucket = Bucket::full(6, start);
        for _ in 0..6 {
            bucket.take(6, start).unwrap();
        }
        let wait = bucket.take(6, start).unwrap_err();
        assert_eq!(seconds(wait), 10);
        assert!(bucket.take(6, start + Duration::from_secs(9)).is_err());
        bucket.take(6, start + Duration::from_secs(10)).unwrap();
        assert!(bucket.take(6, start + Duration::from_secs(10)).is_err());
    }

    #[test]
    fn a_bucket_does_not_fill_beyond_a_minutes_worth() {
        let start = Instant::now();
        let mut bucket = Bucket::full(2, start);
        let later = start + Duration::from_hours(1);
        bucket.take(2, later).unwrap();
        bucket.take(2, later).unwrap();
        assert!(bucket.take(2, later).is_err());
    }

    #[test]
    fn seconds_are_rounded_up() {
        assert_eq!(seconds(Duration::from_millis(1)), 1);
        assert_eq!(seconds(Duration::from_secs(3)), 3);
        assert_eq!(seconds(Duration::from_millis(3001)), 4);
    }

    proptest! {
        /// A client that waits as long as the header says is let in.
        #[test]
        fn the_wait_is_long_enough(per_minute in 1u32..10_000, steps in prop::collection::vec(0u64..90_000, 1..40)) {
            let mut now = Instant::now();
            let mut bucket = Bucket::full(per_minute, now);
            for step in steps {
                now += Duration::from_millis(step);
                while bucket.take(per_minute, now).is_ok() {}
                let wait = bucket.take(per_minute, now).unwrap_err();
                now += Duration::from_secs(seconds(wait));
                prop_assert!(bucket.take(per_minute, now).is_ok());
            }
        }
    }
}
