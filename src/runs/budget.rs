//! What may be spent on a day (UTC), over all and by each requester. Pure.
//!
//! A run reserves what it may cost when it is admitted, so that runs that wait or run count before they have cost
//! anything. It is looked at again when it starts, and settled when it ends.

use std::collections::HashMap;
use std::fmt;

use uuid::Uuid;

use crate::store::record::Requester;

const DAY_MILLISECONDS: i64 = 86_400_000;
/// A run without a limit of its own reserves this part of the day's limit.
const SHARE: f64 = 0.1;
/// Less than this is nothing: sums of fractions are not exact. US dollars.
const NOTHING: f64 = 0.000_001;

/// What was spent today, and what is reserved.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Budget {
    day: i64,
    spent: HashMap<Requester, f64>,
    reserved: HashMap<Uuid, (Requester, f64)>,
}

/// A run that is to be paid for. Amounts are US dollars.
#[derive(Debug, Clone, PartialEq)]
pub struct Claim {
    /// The run.
    pub run: Uuid,
    /// Who pays.
    pub requester: Requester,
    /// Most it may cost.
    pub most: Option<f64>,
    /// Most all runs of a day may cost.
    pub limit: Option<f64>,
    /// Most the requester's runs of a day may cost.
    pub own_limit: Option<f64>,
}

/// Too much was spent today, or is reserved.
#[derive(Debug, Clone, PartialEq)]
pub struct OverBudget {
    whose: &'static str,
    limit: f64,
    spent: f64,
    reserved: f64,
    /// Seconds until the next day.
    pub retry_after: u64,
}

impl std::error::Error for OverBudget {}

impl fmt::Display for OverBudget {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { whose, limit, spent, reserved, .. } = self;
        write!(formatter, "{whose} limit of {limit} USD a day is used up ({spent:.4} USD since 00:00 UTC")?;
        if *reserved > NOTHING {
            write!(formatter, ", {reserved:.4} USD reserved for runs that have not ended")?;
        }
        formatter.write_str(")")
    }
}

impl Budget {
    /// Adds what an earlier run of `requester` cost that ended at `now` (milliseconds since 1970).
    pub fn add(&mut self, now: i64, requester: &Requester, cost: f64) {
        self.turn_to(now);
        *self.spent.entry(requester.clone()).or_default() += cost;
    }

    /// Reserves what a run may cost: what it asks for, or what is left of that.
    pub fn reserve(&mut self, now: i64, claim: &Claim) -> Result<(), OverBudget> {
        let free = self.free(now, claim)?;
        let limit = [claim.limit, claim.own_limit].into_iter().flatten().min_by(f64::total_cmp);
        let amount = claim.most.or(limit.map(|limit| SHARE * limit)).unwrap_or_default();
        self.hold(claim, free.map_or(amount, |free| amount.min(free)));
        Ok(())
    }

    /// What a run that starts now may cost at most; what it has reserved is its own to spend. `None`: there is no limit.
    pub fn start(&mut self, now: i64, claim: &Claim) -> Result<Option<f64>, OverBudget> {
        let free = self.free(now, claim)?;
        let most = [claim.most, free].into_iter().flatten().min_by(f64::total_cmp);
        if let (Some(_), Some(most)) = (claim.most, most) {
            self.hold(claim, most);
        }
        Ok(most)
    }

    /// Notes what a run has cost so far.
    pub fn cost_so_far(&mut self, run: Uuid, cost: f64) {
        if let Some((_, reserved)) = self.reserved.get_mut(&run) {
            *reserved = reserved.max(cost);
        }
    }

    /// Gives back what a run has reserved.
    pub fn release(&mut self, run: Uuid) {
        self.reserved.remove(&run);
    }

    /// When the day of `now` began.
    pub const fn day_start(now: i64) -> i64 {
        now - now.rem_euclid(DAY_MILLISECONDS)
    }

    /// What nobody has spent and no other run has reserved. `None`: there is no limit.
    fn free(&mut self, now: i64, claim: &Claim) -> Result<Option<f64>, OverBudget> {
        self.turn_to(now);
        let everybody = |_: &Requester| true;
        let oneself = |requester: &Requester| *requester == claim.requester;
        let all = self.left("this box's", claim.limit, claim.run, everybody);
        let own = self.left("your", claim.own_limit, claim.run, oneself);
        let mut free: Option<f64> = None;
        for (left, over) in [all, own].into_iter().flatten() {
            if left < NOTHING {
                let until_midnight = DAY_MILLISECONDS - now.rem_euclid(DAY_MILLISECONDS);
                return Err(OverBudget { retry_after: until_midnight.unsigned_abs().div_ceil(1000), ..over });
            }
            free = Some(free.map_or(left, |free| free.min(left)));
        }
        Ok(free)
    }

    fn left(
        &self,
        whose: &'static str,
        limit: Option<f64>,
        run: Uuid,
        of: impl Fn(&Requester) -> bool,
    ) -> Option<(f64, OverBudget)> {
        let limit = limit?;
        // An empty sum is -0.0, which would be shown as such.
        let spent = self.spent.iter().filter(|(requester, _)| of(requester)).map(|(_, cost)| cost).sum::<f64>() + 0.0;
        let others = self.reserved.iter().filter(|(other, (requester, _))| **other != run && of(requester));
        let reserved = others.map(|(_, (_, amount))| amount).sum();
        Some((limit - spent - reserved, OverBudget { whose, limit, spent, reserved, retry_after: 0 }))
    }

    fn hold(&mut self, claim: &Claim, amount: f64) {
        self.reserved.insert(claim.run, (claim.requester.clone(), amount));
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
    use proptest::prelude::*;

    const NOON: i64 = 20_000 * DAY_MILLISECONDS + DAY_MILLISECONDS / 2;

    fn claim(run: u128, most: Option<f64>) -> Claim {
        let requester = Requester::Token("me".into());
        Claim { run: Uuid::from_u128(run), requester, most, limit: None, own_limit: Some(1.0) }
    }

    #[test]
    fn a_limit_ends_the_day_for_all_or_for_one() {
        let mut budget = Budget::default();
        budget.add(NOON, &Requester::Token("me".into()), 1.0);
        budget.add(NOON, &Requester::Token("you".into()), 2.0);
        let ask = |limit, own_limit| Claim { limit, own_limit, ..claim(1, None) };
        assert_eq!(budget.reserve(NOON, &ask(Some(3.5), Some(1.5))), Ok(()));
        budget.release(Uuid::from_u128(1));
        let all = budget.reserve(NOON, &ask(Some(3.0), None)).unwrap_err();
        assert_eq!((all.whose, all.retry_after), ("this box's", 43_200));
        let own = budget.reserve(NOON, &ask(None, Some(1.0))).unwrap_err();
        assert_eq!(own.to_string(), "your limit of 1 USD a day is used up (1.0000 USD since 00:00 UTC)");
    }

    #[test]
    fn a_new_day_begins_with_nothing_spent() {
        let mut budget = Budget::default();
        budget.add(NOON, &Requester::Token("me".into()), 1.0);
        assert!(budget.reserve(NOON, &claim(1, None)).is_err());
        assert_eq!(budget.reserve(NOON + DAY_MILLISECONDS / 2, &claim(1, None)), Ok(()));
    }

    #[test]
    fn runs_that_wait_have_reserved_what_they_may_cost() {
        let mut budget = Budget::default();
        let admitted = (0..30).filter(|&run| budget.reserve(NOON, &claim(run, Some(0.5))).is_ok()).count();
        assert_eq!(admitted, 2);
        let over = budget.reserve(NOON, &claim(99, Some(0.5))).unwrap_err().to_string();
        assert!(
            over.ends_with("(0.0000 USD since 00:00 UTC, 1.0000 USD reserved for runs that have not ended)"),
            "{over}"
        );
        // One has cost less than it might have.
        budget.release(Uuid::from_u128(0));
        budget.add(NOON, &claim(0, None).requester, 0.1);
        assert_eq!(budget.reserve(NOON, &claim(30, Some(0.5))), Ok(()));
        assert!((budget.start(NOON, &claim(30, Some(0.5))).unwrap().unwrap() - 0.4).abs() < 1e-9);
    }

    #[test]
    fn a_run_without_a_limit_of_its_own_reserves_a_share_and_may_cost_what_is_free() {
        let mut budget = Budget::default();
        let admitted = (0..30).filter(|&run| budget.reserve(NOON, &claim(run, None)).is_ok()).count();
        assert_eq!(admitted, 10);
        let mut budget = Budget::default();
        budget.reserve(NOON, &claim(1, Some(0.6))).unwrap();
        budget.reserve(NOON, &claim(2, None)).unwrap();
        assert!((budget.start(NOON, &claim(2, None)).unwrap().unwrap() - 0.4).abs() < 1e-9);
        // What it has cost beyond its share is no longer free.
        budget.cost_so_far(Uuid::from_u128(2), 0.4);
        assert!(budget.reserve(NOON, &claim(3, None)).is_err());
    }

    #[test]
    fn a_run_that_waited_while_others_spent_the_rest_does_not_start() {
        let mut budget = Budget::default();
        budget.reserve(NOON, &claim(1, Some(0.5))).unwrap();
        budget.add(NOON, &claim(1, None).requester, 1.0);
        assert!(budget.start(NOON, &claim(1, Some(0.5))).is_err());
    }

    #[test]
    fn a_job_and_a_token_of_one_name_have_budgets_of_their_own() {
        let mut budget = Budget::default();
        budget.add(NOON, &Requester::Job("me".into()), 5.0);
        assert_eq!(budget.reserve(NOON, &claim(1, None)), Ok(()));
        budget.add(NOON, &Requester::Token("me".into()), 5.0);
        assert!(budget.reserve(NOON, &claim(2, None)).is_err());
    }

    proptest! {
        /// Runs that cost no more than they may never cost more than the limit together.
        #[test]
        fn the_limit_holds(steps in prop::collection::vec((0..4_u8, 0..20_u128, 0.01..1.0_f64), 0..200)) {
            let mut budget = Budget::default();
            let mut running: HashMap<u128, f64> = HashMap::new();
            let mut total = 0.0;
            for (what, run, amount) in steps {
                match what {
                    0 | 1 if !budget.reserved.contains_key(&Uuid::from_u128(run)) => {
                        let _ = budget.reserve(NOON, &claim(run, Some(amount)));
                    }
                    2 if budget.reserved.contains_key(&Uuid::from_u128(run)) => {
                        if let Ok(most) = budget.start(NOON, &claim(run, Some(amount))) {
                            running.insert(run, most.unwrap());
                        } else {
                            running.remove(&run);
                            budget.release(Uuid::from_u128(run));
                        }
                    }
                    3 => if let Some(most) = running.remove(&run) {
                        budget.release(Uuid::from_u128(run));
                        budget.add(NOON, &claim(run, None).requester, most);
                        total += most;
                    },
                    _ => {}
                }
                prop_assert!(total + running.values().sum::<f64>() <= 1.0 + 1e-6);
            }
        }
    }
}
