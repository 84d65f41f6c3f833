//! Posting results to who asked for them: from the ledger, so that none is forgotten by a restart.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::time::timeout;

use super::engine::Engine;
use super::ledger::{Due, LedgerError};
use super::run::{self, Run};
use super::webhook::{self, Delivery, SigningKey};
use crate::fetch::Fetcher;

/// Most attempts at once.
const AT_ONCE: usize = 8;
/// How long nothing is looked at while nothing happens, and after the ledger has failed.
const LONGEST_SLEEP: Duration = Duration::from_mins(5);
const AFTER_FAILURE: Duration = Duration::from_secs(5);

/// Posts results.
pub struct Deliverer {
    /// Sends.
    pub fetcher: std::sync::Arc<Fetcher>,
    /// Signs, if there is a secret.
    pub key: Option<SigningKey>,
    /// What is posted of a run.
    pub body: fn(&Run) -> Bytes,
}

impl Deliverer {
    /// Posts what is due, for ever. Dropped in the middle of an attempt, it is made again at the next start.
    pub async fn work(&self, engine: &Engine) {
        let mut ended = engine.shared.ended.subscribe();
        loop {
            ended.mark_unchanged();
            let sleep = match self.post_due(engine).await {
                Ok(sleep) => sleep,
                Err(error) => {
                    tracing::error!("webhooks: {error}");
                    AFTER_FAILURE
                }
            };
            // Either: somebody's result is there, or the next attempt is due.
            let _ = timeout(sleep, ended.changed()).await;
        }
    }

    /// Posts what is due now; how long until more is.
    async fn post_due(&self, engine: &Engine) -> Result<Duration, LedgerError> {
        loop {
            let waiting = engine.shared.ledger.due_webhooks(AT_ONCE).await?;
            let now = run::now();
            let due: Vec<&Due> = waiting.iter().filter(|due| due.due_at <= now).collect();
            if due.is_empty() {
                let next = waiting.first().map(|due| due.due_at - now);
                let next = next.and_then(|wait| u64::try_from(wait).ok()).map(Duration::from_millis);
                return Ok(next.unwrap_or(LONGEST_SLEEP).min(LONGEST_SLEEP));
            }
            for done in join_all(due.into_iter().map(|due| self.post(engine, due))).await {
                done?;
            }
        }
    }

    async fn post(&self, engine: &Engine, due: &Due) -> Result<(), LedgerError> {
        let ledger = &engine.shared.ledger;
        let Some(run) = ledger.get(due.run_id).await? else {
            return ledger.webhook_tried(due.run_id, None, Some("its run is gone".into())).await;
        };
        let delivery = Delivery { id: due.run_id.to_string(), url: due.url.clone(), body: (self.body)(&run) };
        let outcome = webhook::deliver(&self.fetcher, self.key.as_ref(), &delivery).await;
        let attempts = due.attempts.saturating_add(1);
        if outcome.is_delivered() {
            tracing::debug!("run {}: its result was posted", due.run_id);
            return ledger.webhook_tried(due.run_id, None, None).await;
        }
        let next = webhook::next_attempt(usize::try_from(attempts).unwrap_or(usize::MAX), &outcome, chance());
        if next.is_some() {
            tracing::info!("run {}: attempt {attempts} to post its result: {outcome}", due.run_id);
        } else {
            tracing::warn!("run {}: its result is not posted any more: {outcome}", due.run_id);
        }
        let next = next.map(|delay| run::now().saturating_add(i64::try_from(delay.as_millis()).unwrap_or(i64::MAX)));
        ledger.webhook_tried(due.run_id, next, Some(outcome.to_string())).await
    }
}

/// A number from 0.0 to 1.0 by chance. A hasher's keys are random enough to spread attempts.
fn chance() -> f64 {
    let random = u32::try_from(RandomState::new().build_hasher().finish() >> 32).unwrap_or_default();
    f64::from(random) / f64::from(u32::MAX)
}
