//! Posting results to who asked for them: from the store, so that none is forgotten by a restart.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use reqwest::Url;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::engine::Engine;
use super::webhook::{self, Delivery, SigningKey};
use crate::fetch::Fetcher;
use crate::store::record::{self, Requester, Run};
use crate::store::{Due, StoreError};
use crate::sys;

/// Most attempts at once: over all, for one requester's runs, and to one receiver. A receiver that hangs holds up its own
/// results, and a requester with many of them those of its own runs.
const AT_ONCE: usize = 64;
const AT_ONCE_FOR_REQUESTER: usize = 16;
const AT_ONCE_TO_RECEIVER: usize = 4;
/// How many results are read at once to find those that have a place.
const PAGE: usize = 256;
/// How long nothing is looked at while nothing happens, and after the store has failed.
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
        let (mut lanes, mut posting) = (Lanes::default(), FuturesUnordered::new());
        loop {
            ended.mark_unchanged();
            let sleep = match self.find_due(engine, &mut lanes).await {
                Ok((due, sleep)) => {
                    posting.extend(due.into_iter().map(|due| self.post_or_wait(engine, due)));
                    sleep
                }
                Err(error) => {
                    tracing::error!("webhooks: {error}");
                    AFTER_FAILURE
                }
            };
            // An attempt is over, somebody's result is there, or the next attempt is due.
            tokio::select! {
                Some(run) = posting.next() => lanes.leave(run),
                _ = timeout(sleep, ended.changed()) => {}
            }
        }
    }

    /// What is due now and has a place in the lanes, which it takes; how long until more is due.
    async fn find_due(&self, engine: &Engine, lanes: &mut Lanes) -> Result<(Vec<Due>, Duration), StoreError> {
        let now = record::now();
        let (mut taken, mut due, mut after) = (lanes.clone(), Vec::new(), None);
        let next = 'pages: loop {
            let page = engine.shared.store.due(after, PAGE).await?;
            let is_last = page.len() < PAGE;
            after = page.last().map(|last| (last.due_at, last.run_id));
            for one in page {
                if one.due_at > now {
                    break 'pages Some(one.due_at - now);
                }
                if taken.enter(&one) {
                    due.push(one);
                }
            }
            if is_last {
                break None;
            }
        };
        *lanes = taken;
        let next = next.and_then(|wait| u64::try_from(wait).ok()).map_or(LONGEST_SLEEP, Duration::from_millis);
        Ok((due, next.min(LONGEST_SLEEP)))
    }

    /// Posts; where the store cannot note that, the receiver is left alone for a while before it is posted again.
    async fn post_or_wait(&self, engine: &Engine, due: Due) -> Uuid {
        if let Err(error) = self.post(engine, &due).await {
            tracing::error!("webhooks: {error}");
            sleep(AFTER_FAILURE).await;
        }
        due.run_id
    }

    async fn post(&self, engine: &Engine, due: &Due) -> Result<(), StoreError> {
        let store = &engine.shared.store;
        let Some(run) = store.get(due.run_id).await? else {
            return store.tried(due.run_id, None, Some("its run is gone".into())).await;
        };
        let delivery = Delivery { id: due.run_id.to_string(), url: due.url.clone(), body: (self.body)(&run) };
        let outcome = webhook::deliver(&self.fetcher, self.key.as_ref(), &delivery).await;
        let attempts = due.attempts.saturating_add(1);
        if outcome.is_delivered() {
            tracing::debug!("run {}: its result was posted", due.run_id);
            return store.tried(due.run_id, None, None).await;
        }
        let next = webhook::next_attempt(usize::try_from(attempts).unwrap_or(usize::MAX), &outcome, sys::chance());
        if next.is_some() {
            tracing::info!("run {}: attempt {attempts} to post its result: {outcome}", due.run_id);
        } else {
            tracing::warn!("run {}: its result is not posted any more: {outcome}", due.run_id);
        }
        let next = next.map(|delay| record::now().saturating_add(i64::try_from(delay.as_millis()).unwrap_or(i64::MAX)));
        store.tried(due.run_id, next, Some(outcome.to_string())).await
    }
}

/// Who is being posted to, and for whom.
#[derive(Debug, Clone, Default)]
struct Lanes(HashMap<Uuid, Place>);

#[derive(Debug, Clone)]
struct Place {
    receiver: String,
    requester: Option<Requester>,
}

impl Lanes {
    /// Takes a place, if there is one and the result is not on its way already.
    fn enter(&mut self, due: &Due) -> bool {
        let place = Place { receiver: receiver(&due.url), requester: due.requester.clone() };
        let count = |same: fn(&Place, &Place) -> bool| self.0.values().filter(|other| same(other, &place)).count();
        let free = self.0.len() < AT_ONCE
            && !self.0.contains_key(&due.run_id)
            && count(|one, other| one.receiver == other.receiver) < AT_ONCE_TO_RECEIVER
            && count(|one, other| one.requester == other.requester) < AT_ONCE_FOR_REQUESTER;
        if free {
            self.0.insert(due.run_id, place);
        }
        free
    }

    fn leave(&mut self, run: Uuid) {
        self.0.remove(&run);
    }
}

/// The host and port that an address leads to, or the address where it is none.
fn receiver(url: &str) -> String {
    let host = |url: Url| Some(format!("{}:{}", url.host_str()?, url.port_or_known_default()?));
    Url::parse(url).ok().and_then(host).unwrap_or_else(|| url.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(url: &str, requester: &str) -> Due {
        Due {
            run_id: Uuid::now_v7(),
            url: url.into(),
            attempts: 0,
            due_at: 0,
            requester: Some(Requester::Token(requester.into())),
        }
    }

    #[test]
    fn a_receiver_and_a_requester_have_their_share() {
        let mut lanes = Lanes::default();
        let hanging: Vec<Due> = (0..10).map(|number| due(&format!("http://a:80/{number}"), "one")).collect();
        let entered: Vec<bool> = hanging.iter().map(|due| lanes.enter(due)).collect();
        assert_eq!(entered.iter().filter(|entered| **entered).count(), AT_ONCE_TO_RECEIVER);
        assert!(!lanes.enter(&hanging[0]), "on its way already");
        assert!(!lanes.enter(&due("http://a/", "two")), "the same port");
        assert!(lanes.enter(&due("http://a:81/", "one")) && lanes.enter(&due("https://a/", "one")));
        lanes.leave(hanging[0].run_id);
        assert!(lanes.enter(&due("http://a/", "two")));
        let many = (0..100).filter(|number| lanes.enter(&due(&format!("http://h{number}/"), "one"))).count();
        assert_eq!(many, AT_ONCE_FOR_REQUESTER - (AT_ONCE_TO_RECEIVER - 1) - 2);
        let others = (0..200).filter(|number| lanes.enter(&due(&format!("http://h/{number}"), &number.to_string())));
        assert_eq!(others.count(), AT_ONCE_TO_RECEIVER);
        let all = (0..200).filter(|number| lanes.enter(&due(&format!("http://x{number}/"), &number.to_string())));
        assert_eq!((all.count() > 0, lanes.0.len()), (true, AT_ONCE));
    }

    #[test]
    fn what_is_no_address_is_its_own_receiver() {
        assert_eq!(
            (receiver("nonsense"), receiver("https://A.example/x")),
            ("nonsense".into(), "a.example:443".into())
        );
    }
}
