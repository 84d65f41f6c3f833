//! Sending, at the pace that Telegram bears: one thing at a time for each chat, pauses honoured, the network outlasted.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::api::{Answer, ApiError, BotApi, Buttons, Place};
use super::text::Text;
use crate::backoff;

/// Between two messages to one chat.
const PAUSE: Duration = Duration::from_millis(250);
const FIRST_BACKOFF: Duration = Duration::from_millis(500);
const LONGEST_BACKOFF: Duration = Duration::from_mins(1);

#[derive(Debug)]
pub(super) struct Backoff(backoff::Backoff);

impl Default for Backoff {
    fn default() -> Self {
        Self(backoff::Backoff::new(FIRST_BACKOFF, LONGEST_BACKOFF))
    }
}

impl Backoff {
    pub(super) async fn wait(&mut self) {
        sleep(self.0.next_delay()).await;
    }
}

/// How often a call is repeated that the network has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// Until it works: what is owed.
    Endless,
    /// A few times: what somebody waits for.
    Some(u32),
}

/// Sends for one bot. Clones are the same one.
#[derive(Clone)]
pub(super) struct Sender {
    pub(super) api: Arc<dyn BotApi>,
    /// When each chat may be written to again; held while it is.
    gates: Arc<Mutex<HashMap<i64, Arc<tokio::sync::Mutex<Instant>>>>>,
}

impl Sender {
    pub(super) fn new(api: Arc<dyn BotApi>) -> Self {
        Self { api, gates: Arc::default() }
    }

    /// Makes a call about a chat until it works, or never will.
    pub(super) async fn call<'a, T>(
        &self,
        chat: i64,
        patience: Patience,
        call: impl FnMut() -> Answer<'a, T>,
    ) -> Result<T, ApiError> {
        self.insist(chat, patience, true, call).await
    }

    /// The same for a file, which may be minutes on its way: what else is said in the chat does not wait for it.
    pub(super) async fn transfer<'a, T>(
        &self,
        chat: i64,
        patience: Patience,
        call: impl FnMut() -> Answer<'a, T>,
    ) -> Result<T, ApiError> {
        self.insist(chat, patience, false, call).await
    }

    /// `held`: the chat's gate stays shut until the call is done.
    async fn insist<'a, T>(
        &self,
        chat: i64,
        patience: Patience,
        held: bool,
        mut call: impl FnMut() -> Answer<'a, T>,
    ) -> Result<T, ApiError> {
        let mut backoff = Backoff::default();
        let mut failures = 0;
        loop {
            let gate = self.gate(chat);
            let mut free_at = gate.lock().await;
            sleep_until(*free_at).await;
            let answer = if held {
                call().await
            } else {
                *free_at = Instant::now() + PAUSE;
                drop(free_at);
                let answer = call().await;
                free_at = gate.lock().await;
                answer
            };
            *free_at = (*free_at).max(Instant::now() + PAUSE);
            match answer {
                Err(ApiError::Wait(pause)) => {
                    tracing::debug!(
                        "Telegram asks to wait {} s before chat {chat} is written to again",
                        pause.as_secs()
                    );
                    *free_at = Instant::now() + pause;
                }
                Err(ApiError::Network(why)) => {
                    drop(free_at);
                    failures += 1;
                    if matches!(patience, Patience::Some(most) if failures >= most) {
                        return Err(ApiError::Network(why));
                    }
                    tracing::warn!("Telegram cannot be reached: {why}; trying again");
                    backoff.wait().await;
                }
                done => return done,
            }
        }
    }

    /// Sends a message; its id.
    pub(super) async fn send(
        &self,
        place: Place,
        text: &Text,
        buttons: &Buttons,
        patience: Patience,
    ) -> Result<i32, ApiError> {
        let first = self.call(place.chat, patience, || self.api.send(place, text, buttons)).await;
        match first {
            Err(ApiError::Moved(chat)) => {
                tracing::warn!("the group {} is chat {chat} now: put that into the settings file", place.chat);
                // What is answered is in the old one.
                let place = Place { chat, reply_to: None, ..place };
                self.call(chat, patience, || self.api.send(place, text, buttons)).await
            }
            done => done,
        }
    }

    /// Changes a message. One that is like that already is fine.
    pub(super) async fn edit(
        &self,
        chat: i64,
        message: i32,
        text: &Text,
        buttons: &Buttons,
        patience: Patience,
    ) -> Result<(), ApiError> {
        match self.call(chat, patience, || self.api.edit(chat, message, text, buttons)).await {
            Err(ApiError::Unchanged) => Ok(()),
            done => done,
        }
    }

    /// Changes a message if that is possible at this moment. `false`: it is worth another attempt.
    pub(super) async fn try_edit(&self, chat: i64, message: i32, text: &Text, buttons: &Buttons) -> bool {
        let gate = self.gate(chat);
        let Ok(mut free_at) = gate.try_lock() else { return false };
        if *free_at > Instant::now() {
            return false;
        }
        let answer = self.api.edit(chat, message, text, buttons).await;
        *free_at = Instant::now() + PAUSE;
        match answer {
            Err(ApiError::Wait(pause)) => {
                *free_at = Instant::now() + pause;
                false
            }
            Ok(()) | Err(ApiError::Unchanged) => true,
            Err(error) => {
                tracing::debug!("a message of chat {chat}: {error}");
                error.is_final()
            }
        }
    }

    /// Shows for some seconds that the bot is at work; a failure is not worth a word.
    pub(super) async fn typing(&self, place: Place) {
        let _ = self.api.typing(place).await;
    }

    fn gate(&self, chat: i64) -> Arc<tokio::sync::Mutex<Instant>> {
        let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        if gates.len() > 1000 {
            gates.retain(|_, gate| Arc::strong_count(gate) > 1 || gate.try_lock().is_ok_and(|at| *at > Instant::now()));
        }
        Arc::clone(gates.entry(chat).or_insert_with(|| Arc::new(tokio::sync::Mutex::new(Instant::now()))))
    }
}
