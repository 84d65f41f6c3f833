//! What a run has spent, and whether it may spend more.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;

use super::protocol::{FromBroker, Usage};
use super::usage::Message;

/// Messages that wait for the run's owner. One more is left out: the next says the whole cost again.
pub(super) const MOST_WAITING: usize = 1024;

/// A run's account. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Account {
    book: Arc<Mutex<Book>>,
    owner: mpsc::Sender<FromBroker>,
}

#[derive(Debug, Default)]
struct Book {
    budget: Option<f64>,
    /// What requests have cost that are over.
    settled: f64,
    /// What those have cost so far that are not.
    running: HashMap<u64, f64>,
    next: u64,
    /// The owner knows that the budget is used up.
    is_told: bool,
}

/// The budget is used up.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("this run's budget of {budget_usd:.2} USD is used up")]
pub(super) struct OverBudget {
    pub(super) cost_usd: f64,
    pub(super) budget_usd: f64,
}

impl Account {
    pub(super) fn new(budget: Option<f64>, owner: mpsc::Sender<FromBroker>) -> Self {
        Self { book: Arc::new(Mutex::new(Book { budget, ..Book::default() })), owner }
    }

    pub(super) fn set_budget(&self, budget: Option<f64>) {
        let mut book = self.book();
        (book.budget, book.is_told) = (budget, false);
        let over = book.check().err();
        drop(book);
        self.tell_over(over);
    }

    /// Begins a request, if what this run has spent, with the requests that are running, leaves anything.
    pub(super) fn begin(&self) -> Result<Spending, OverBudget> {
        let mut book = self.book();
        let checked = book.check();
        let id = book.next;
        if checked.is_ok() {
            book.next += 1;
            book.running.insert(id, 0.0);
        }
        drop(book);
        self.tell_over(checked.err());
        checked.map(|()| Spending { account: self.clone(), id, message: Message::default() })
    }

    pub(super) fn tell(&self, message: FromBroker) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.owner.try_send(message) {
            tracing::debug!("a run's owner does not read what the broker says: a message was left out");
        }
    }

    fn tell_over(&self, over: Option<OverBudget>) {
        let Some(OverBudget { cost_usd, budget_usd }) = over else { return };
        if !std::mem::replace(&mut self.book().is_told, true) {
            self.tell(FromBroker::OverBudget { cost_usd, budget_usd });
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn cost(&self) -> f64 {
        self.settled + self.running.values().sum::<f64>()
    }

    fn check(&self) -> Result<(), OverBudget> {
        match self.budget {
            Some(budget_usd) if self.cost() >= budget_usd => Err(OverBudget { cost_usd: self.cost(), budget_usd }),
            _ => Ok(()),
        }
    }
}

/// A request that is running. Dropped, it is settled, and the owner hears what it has used.
#[derive(Debug)]
pub(super) struct Spending {
    account: Account,
    id: u64,
    /// What its message has used so far.
    pub(super) message: Message,
}

impl Spending {
    /// Enters what the message has used by now. `Err`: that was the rest of the budget.
    pub(super) fn enter(&self) -> Result<(), OverBudget> {
        let mut book = self.account.book();
        book.running.insert(self.id, self.message.usd());
        let checked = book.check();
        drop(book);
        self.account.tell_over(checked.err());
        checked
    }

    /// Tells the owner what the message has used.
    pub(super) fn tell(&self, is_final: bool) {
        if !self.message.has_begun() {
            return;
        }
        let (tokens, cost_usd) = (self.message.tokens(), self.account.book().cost());
        self.account.tell(FromBroker::Usage(Usage {
            model: self.message.model.clone(),
            input_tokens: tokens.read,
            output_tokens: tokens.written,
            cache_read_input_tokens: tokens.from_cache,
            cache_creation_input_tokens: tokens.to_cache,
            cost_usd,
            is_final,
        }));
    }
}

impl Drop for Spending {
    fn drop(&mut self) {
        // Before it is settled: the last figure may be newer than what was entered.
        let _ = self.enter();
        self.tell(true);
        let mut book = self.account.book();
        if let Some(cost) = book.running.remove(&self.id) {
            book.settled += cost;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::usage::Reader;
    use super::*;

    fn account(budget: Option<f64>) -> (Account, mpsc::Receiver<FromBroker>) {
        let (owner, told) = mpsc::channel(MOST_WAITING);
        (Account::new(budget, owner), told)
    }

    /// A message of an unknown model that has written this much: 75 USD a million tokens.
    fn write(spending: &mut Spending, tokens: u64) {
        let body = format!(r#"{{"model":"m","usage":{{"input_tokens":0,"output_tokens":{tokens}}}}}"#);
        let mut reader = Reader::of(Some("application/json"));
        reader.take(body.as_bytes(), &mut spending.message);
        reader.end(&mut spending.message);
    }

    fn over(message: Option<&FromBroker>) -> bool {
        matches!(message, Some(FromBroker::OverBudget { .. }))
    }

    #[test]
    fn a_run_without_a_budget_spends_what_it_likes() {
        let (account, mut told) = account(None);
        let mut spending = account.begin().unwrap();
        write(&mut spending, 1_000_000);
        assert_eq!(spending.enter(), Ok(()));
        drop(spending);
        assert!(account.begin().is_ok());
        let Some(FromBroker::Usage(usage)) = told.try_recv().ok() else { panic!() };
        assert!(usage.is_final && (usage.cost_usd - 75.0).abs() < 1e-9, "{usage:?}");
    }

    #[test]
    fn what_other_requests_are_spending_counts() {
        let (account, mut told) = account(Some(1.0));
        let mut first = account.begin().unwrap();
        write(&mut first, 10_000);
        assert_eq!(first.enter(), Ok(()));
        let mut second = account.begin().unwrap();
        write(&mut second, 4000);
        assert!(second.enter().is_err(), "0.75 and 0.30 USD are more than 1");
        assert!(over(told.try_recv().ok().as_ref()));
        assert_eq!(account.begin().unwrap_err().to_string(), "this run's budget of 1.00 USD is used up");
        assert!(told.try_recv().is_err(), "it is told once");
        drop((first, second));
        assert!(account.begin().is_err());
        account.set_budget(Some(2.0));
        assert!(account.begin().is_ok());
    }

    #[test]
    fn what_was_used_and_not_yet_entered_is_settled() {
        let (account, _told) = account(Some(1.0));
        let mut spending = account.begin().unwrap();
        write(&mut spending, 1_000_000);
        drop(spending);
        assert!(account.begin().is_err());
    }

    #[test]
    fn a_budget_of_nothing_lets_nothing_through() {
        let (account, mut told) = account(Some(0.0));
        assert!(account.begin().is_err());
        assert!(over(told.try_recv().ok().as_ref()));
    }

    #[test]
    fn a_smaller_budget_is_told_at_once() {
        let (account, mut told) = account(None);
        let mut spending = account.begin().unwrap();
        write(&mut spending, 10_000);
        spending.enter().unwrap();
        account.set_budget(Some(0.5));
        assert!(over(told.try_recv().ok().as_ref()));
        assert!(account.begin().is_err());
    }
}
