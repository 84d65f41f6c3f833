//! The end of a box that nobody uses.

use std::convert::Infallible;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::process::table::{self, Process};
use crate::runs::engine::Engine;

/// Stops the servers once no run has ended for `limit`, none is there, and nobody has come into the box from outside.
pub(super) async fn watch(engine: &Engine, limit: Option<Duration>, stop: &CancellationToken) -> Infallible {
    if let Some(limit) = limit {
        let mut endings = engine.endings();
        loop {
            endings.borrow_and_update();
            let quiet = tokio::time::timeout(limit, endings.changed()).await.is_err();
            if quiet && engine.status().live.is_empty() && !has_guests(&table::snapshot()) {
                tracing::info!("nothing has happened for {} s: the box ends", limit.as_secs());
                stop.cancel();
                break;
            }
        }
    }
    std::future::pending().await
}

/// Whether a process has come in from outside (`docker exec`): its parent is not in this box.
fn has_guests(table: &[Process]) -> bool {
    table.iter().any(|process| process.parent == 0 && process.pid != 1 && !process.is_zombie())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: i32, parent: i32, state: char) -> Process {
        Process { pid, parent, session: pid, state, started: 1 }
    }

    #[test]
    fn who_comes_from_outside_is_a_guest() {
        let own = [process(1, 0, 'S'), process(7, 1, 'S'), process(9, 0, 'Z')];
        assert!(!has_guests(&own));
        assert!(has_guests(&[own.as_slice(), &[process(12, 0, 'S')]].concat()));
    }
}
