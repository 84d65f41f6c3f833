//! What may be spent on a day (UTC), over all and by each requester. Pure.

use std::collections::HashMap;

use super::run::Origin;

const DAY_MILLISECONDS: i64 = 86_400_000;

/// What was spent today.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Budget {
    day: i64,
    spent: HashMap<String, f64>,
}

/// Too much was spent today.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{whose} limit of {limit} USD a day is used up ({spent:.4} USD since 00:00 UTC)")]
pub struct OverBudget {
    whose: &'static str,
    limit: f64,
    spent: f64,
    /// Seconds until the next day.
    pub retry_after: u64,
}

impl Budget {
    /// Adds what a run of `requester` cost that ended at `now` (milliseconds since 1970).
    pub fn add(&mut self, now: i64, requester: &str, cost: f64) {
        self.turn_to(now);
        *self.spent.entry(requester.to_owned()).or_default() += cost;
    }

    /// Whether a run may start at `now`: under `limit` over all, and under its requester's own.
    pub fn check(&mut self, now: i64, limit: Option<f64>, origin: &Origin) -> Result<(), OverBudget> {
        self.turn_to(now);
        let all = self.spent.values().sum();
        let own = self.spent.get(&origin.requester).copied().unwrap_or_default();
        for (whose, limit, spent) in [("this box's", limit, all), ("your", origin.cost_per_day, own)] {
            if let Some(limit) = limit.filter(|&limit| spent >= limit) {
                let left = DAY_MILLISECONDS - now.rem_euclid(DAY_MILLISECONDS);
                return Err(OverBudget { whose, limit, spent, retry_after: left.unsigned_abs().div_ceil(1000) });
            }
        }
        Ok(())
    }

    /// When the day of `now` began.
    #[must_use]
    pub const fn day_start(now: i64) -> i64 {
        now - now.rem_euclid(DAY_MILLISECONDS)
    }

    fn turn_to(&mut self, now: i64) {
        if self.day != Self::day_start(now) {
            self.day = Self::day_start(now);
            self.spent.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(limit: Option<f64>) -> Origin {
        Origin { cost_per_day: limit, ..Origin::unlimited("http", "me") }
    }

    const NOON: i64 = 20_000 * DAY_MILLISECONDS + DAY_MILLISECONDS / 2;

    #[test]
    fn a_limit_ends_the_day_for_all_or_for_one() {
        let mut budget = Budget::default();
        budget.add(NOON, "me", 1.0);
        budget.add(NOON, "you", 2.0);
        assert_eq!(budget.check(NOON, Some(3.5), &origin(Some(1.5))), Ok(()));
        let all = budget.check(NOON, Some(3.0), &origin(None)).unwrap_err();
        assert_eq!((all.whose, all.retry_after), ("this box's", 43_200));
        let own = budget.check(NOON, None, &origin(Some(1.0))).unwrap_err();
        assert_eq!(own.to_string(), "your limit of 1 USD a day is used up (1.0000 USD since 00:00 UTC)");
    }

    #[test]
    fn a_new_day_begins_with_nothing_spent() {
        let mut budget = Budget::default();
        budget.add(NOON, "me", 1.0);
        assert_eq!(budget.check(NOON + DAY_MILLISECONDS / 2, Some(1.0), &origin(None)), Ok(()));
    }
}
