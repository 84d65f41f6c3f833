//! The end of a box that nobody uses.

use std::convert::Infallible;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::process::link::{Link, Message};
use crate::process::table::{self, Process};
use crate::runs::engine::Engine;

/// Stops the servers once no run has ended for `limit`, none is there, and nobody has come into the box from outside.
///
/// PID 1 hears over `link` that this is on purpose; otherwise it would start them again.
pub(super) async fn watch(
    engine: &Engine,
    limit: Option<Duration>,
    link: Option<&Link>,
    stop: &CancellationToken,
) -> Infallible {
    if let Some(limit) = limit {
        let mut endings = engine.endings();
        loop {
            endings.borrow_and_update();
            let quiet = tokio::time::timeout(limit, endings.changed()).await.is_err();
            if quiet && engine.status().live.is_empty() && !has_guests(&table::snapshot()) {
                if let Some(Err(error)) = link.map(|link| link.try_send(&Message::Done)) {
                    tracing::warn!("PID 1 is not told that nothing has happened for {} s: {error}", limit.as_secs());
                    continue;
                }
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
