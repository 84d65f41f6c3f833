//! Which connection makes room for another when all are in use.
//!
//! A connection that asks for nothing costs its owner nothing: a source that opens many and sends half a head on each
//! would hold all places until the heads are late, and everybody else would wait. So when a connection comes and there
//! is no place, one that is not being answered ends: of the source that has most of those, the one that has waited
//! longest, and before all those that were used and wait for their next request.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Connections that wait for their clients. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Crowd(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    members: Mutex<Members>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Members {
    next: u64,
    waiting: HashMap<u64, Waiting>,
}

#[derive(Debug)]
struct Waiting {
    source: IpAddr,
    since: Instant,
    /// It has had an answer, and waits for the next request.
    used: bool,
    end: CancellationToken,
}

/// A connection's place among them. It is left when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    crowd: Crowd,
    number: u64,
    source: IpAddr,
    end: CancellationToken,
}

impl Crowd {
    /// A place for a connection from `source`, whose first request is waited for.
    pub(super) fn enter(&self, source: IpAddr) -> Place {
        let number = {
            let mut members = self.members();
            members.next += 1;
            members.next
        };
        let place = Place { crowd: self.clone(), number, source: network(source), end: CancellationToken::new() };
        place.waits(false);
        place
    }

    /// Ends one of those that wait. `false`: none does.
    pub(super) fn make_room(&self) -> bool {
        let mut members = self.members();
        let Some(number) = chosen(&members.waiting) else { return false };
        if let Some(waiting) = members.waiting.remove(&number) {
            waiting.end.cancel();
        }
        true
    }

    /// Comes when a connection has begun to wait since this was last asked.
    pub(super) async fn changed(&self) {
        self.0.changed.notified().await;
    }

    fn members(&self) -> MutexGuard<'_, Members> {
        self.0.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// The client is waited for. `used`: it has been answered before.
    pub(super) fn waits(&self, used: bool) {
        let waiting = Waiting { source: self.source, since: Instant::now(), used, end: self.end.clone() };
        self.crowd.members().waiting.insert(self.number, waiting);
        self.crowd.0.changed.notify_one();
    }

    /// A request is there.
    pub(super) fn is_answered(&self) {
        self.crowd.members().waiting.remove(&self.number);
    }

    /// Comes when the connection has to make room.
    pub(super) fn ends(&self) -> CancellationToken {
        self.end.clone()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.crowd.members().waiting.remove(&self.number);
    }
}

/// Whose it is: an address, or with IPv6 the network that one machine has to itself.
fn network(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V6(six) => Ipv6Addr::from_bits(six.to_bits() >> 64 << 64).into(),
        four @ IpAddr::V4(_) => four,
    }
}

/// The one that ends.
fn chosen(waiting: &HashMap<u64, Waiting>) -> Option<u64> {
    // Who is in the middle of a conversation stays as long as there is somebody who has not begun one.
    let used = waiting.values().all(|waiting| waiting.used);
    let candidates = || waiting.iter().filter(|(_, waiting)| waiting.used == used);
    let mut counts: HashMap<IpAddr, usize> = HashMap::new();
    for (_, waiting) in candidates() {
        *counts.entry(waiting.source).or_default() += 1;
    }
    let most = counts.values().copied().max()?;
    let of_the_greatest = candidates().filter(|(_, waiting)| counts[&waiting.source] == most);
    of_the_greatest.min_by_key(|(number, waiting)| (waiting.since, **number)).map(|(number, _)| *number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    #[tokio::test]
    async fn the_source_with_most_of_them_makes_room_first_and_its_oldest_before_the_others() {
        let crowd = Crowd::default();
        let lone = crowd.enter(source(1));
        let flood: Vec<Place> = (0..3).map(|_| crowd.enter(source(2))).collect();
        assert!(crowd.make_room() && crowd.make_room());
        let ended: Vec<bool> = flood.iter().map(|place| place.ends().is_cancelled()).collect();
        assert_eq!((ended, lone.ends().is_cancelled()), (vec![true, true, false], false));
        // One each: now it is the one that waits longest.
        assert!(crowd.make_room());
        assert!(lone.ends().is_cancelled() && !flood[2].ends().is_cancelled());
        assert!(crowd.make_room());
        assert!(!crowd.make_room(), "nobody waits any more");
    }

    #[tokio::test]
    async fn who_is_answered_stays_and_who_was_answered_goes_last() {
        let crowd = Crowd::default();
        let (busy, used, fresh) = (crowd.enter(source(1)), crowd.enter(source(1)), crowd.enter(source(2)));
        busy.is_answered();
        used.is_answered();
        used.waits(true);
        assert!(crowd.make_room() && fresh.ends().is_cancelled() && !used.ends().is_cancelled());
        assert!(crowd.make_room() && used.ends().is_cancelled());
        assert!(!crowd.make_room() && !busy.ends().is_cancelled());
        drop(busy);
        assert!(!crowd.make_room());
    }

    #[tokio::test]
    async fn one_machine_is_one_source_however_its_address_is_written() {
        let crowd = Crowd::default();
        let other = crowd.enter(source(9));
        let mapped = crowd.enter("::ffff:192.0.2.1".parse().unwrap());
        let plain = crowd.enter(source(1));
        assert!(crowd.make_room() && mapped.ends().is_cancelled());
        drop((other, plain));
    }
}
