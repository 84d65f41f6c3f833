//! Waiting for a store that cannot be written to. Its disk may be full, and have room again.

use std::time::Duration;

use uuid::Uuid;

use crate::backoff::Backoff;
use crate::store::StoreError;

const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(2);

/// How long it is until the next attempt to write.
#[derive(Debug)]
pub(super) struct Patience(Backoff);

impl Default for Patience {
    fn default() -> Self {
        Self(Backoff::new(FIRST, LONGEST))
    }
}

impl Patience {
    /// Waits after an attempt for `run` that failed with `error`, longer each time.
    pub(super) async fn wait(&mut self, run: Uuid, error: &StoreError) {
        let delay = self.0.next_delay();
        if delay < LONGEST {
            tracing::error!("run {run} waits for the ledger: {error}");
        }
        tokio::time::sleep(delay).await;
    }
}
