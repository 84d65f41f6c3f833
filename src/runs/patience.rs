//! Waiting for a store that cannot be written to. Its disk may be full, and have room again.

use std::time::Duration;

use uuid::Uuid;

use crate::store::StoreError;

const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(2);

/// How long it is until the next attempt to write.
#[derive(Debug)]
pub(super) struct Patience(Duration);

impl Default for Patience {
    fn default() -> Self {
        Self(FIRST)
    }
}

impl Patience {
    /// Waits after an attempt for `run` that failed with `error`, longer each time.
    pub(super) async fn wait(&mut self, run: Uuid, error: &StoreError) {
        if self.0 < LONGEST {
            tracing::error!("run {run} waits for the ledger: {error}");
        }
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 * 2).min(LONGEST);
    }
}
