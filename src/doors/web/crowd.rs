//! Which connection makes room for another when all are in use.
//!
//! A connection that asks for nothing costs its owner nothing: a source that opens many and sends half a head on each
//! would hold all places until the heads are late, and everybody else would wait. So when a connection comes and there
//! is no place, one that is not being answered ends: of the source that has most of those, the one that has waited
//! longest, and before all those that were used and wait for their next request.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Connections and what they do. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Crowd(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    members: Mutex<Members>,
    began: Instant,
    /// Somebody has found no place, and is to be told when a connection begins to wait.
    is_full: AtomicBool,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Members {
    next: u64,
    seats: HashMap<u64, Arc<Seat>>,
}

/// What a connection does. Each request changes it twice, so it takes no lock that others take.
#[derive(Debug)]
struct Seat {
    source: IpAddr,
    doing: AtomicU64,
    end: CancellationToken,
}

/// A connection's place among them. It is left when this is dropped.
#[derive(Debug)]
pub(super) struct ConnectionSlot {
    crowd: Crowd,
    number: u64,
    seat: Arc<Seat>,
}

/// A request of it is being answered, or it has been told to end.
const BUSY: u64 = u64::MAX;
/// Set in the time since which a connection waits that has had an answer, and waits for the next request.
const USED: u64 = 1 << 63;

impl Crowd {
    pub(super) fn new() -> Self {
        let (members, is_full, changed) = (Mutex::default(), AtomicBool::new(false), Notify::new());
        Self(Arc::new(Shared { members, began: Instant::now(), is_full, changed }))
    }

    /// A place for a connection from `source`, whose first request is waited for.
    pub(super) fn enter(&self, source: IpAddr) -> ConnectionSlot {
        let (source, doing, end) = (network(source), AtomicU64::new(BUSY), CancellationToken::new());
        let seat = Arc::new(Seat { source, doing, end });
        let number = {
            let mut members = self.members();
            members.next += 1;
            let number = members.next;
            members.seats.insert(number, Arc::clone(&seat));
            number
        };
        let place = ConnectionSlot { crowd: self.clone(), number, seat };
        place.waits(false);
        place
    }

    /// Ends one of those that wait. `false`: none does, and [`Self::changed`] comes when one begins to.
    pub(super) fn make_room(&self) -> bool {
        // Before looking: whoever begins to wait later sees it.
        self.0.is_full.store(true, Ordering::SeqCst);
        let members = self.members();
        loop {
            let waiting = members.seats.iter().filter_map(|(number, seat)| seat.waiting(*number)).collect::<Vec<_>>();
            let Some(chosen) = chosen(&waiting) else { return false };
            let Some(seat) = members.seats.get(&chosen.number) else { return false };
            // Otherwise a request of it has come in this moment.
            if seat.doing.compare_exchange(chosen.doing, BUSY, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
                self.has_room();
                seat.end.cancel();
                return true;
            }
        }
    }

    /// A place was found: nobody has to be told.
    pub(super) fn has_room(&self) {
        self.0.is_full.store(false, Ordering::SeqCst);
    }

    /// Comes when a connection has begun to wait since there was no room.
    pub(super) async fn changed(&self) {
        self.0.changed.notified().await;
    }

    fn members(&self) -> MutexGuard<'_, Members> {
        self.0.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ConnectionSlot {
    /// The client is waited for. `used`: it has been answered before.
    pub(super) fn waits(&self, used: bool) {
        let shared = &self.crowd.0;
        let since = u64::try_from(shared.began.elapsed().as_nanos()).unwrap_or(u64::MAX) & !USED;
        self.seat.doing.store(if used { since | USED } else { since }, Ordering::SeqCst);
        if shared.is_full.load(Ordering::SeqCst) {
            shared.changed.notify_one();
        }
    }

    /// A request is there.
    pub(super) fn is_answered(&self) {
        self.seat.doing.store(BUSY, Ordering::SeqCst);
    }

    /// Comes when the connection has to make room.
    pub(super) fn ends(&self) -> CancellationToken {
        self.seat.end.clone()
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.crowd.members().seats.remove(&self.number);
    }
}

/// A connection that waits for its client, as it was seen.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    number: u64,
    source: IpAddr,
    doing: u64,
}

impl Seat {
    fn waiting(&self, number: u64) -> Option<Waiting> {
        let doing = self.doing.load(Ordering::SeqCst);
        (doing != BUSY).then_some(Waiting { number, source: self.source, doing })
    }
}

impl Waiting {
    fn is_used(self) -> bool {
        self.doing & USED != 0
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
fn chosen(waiting: &[Waiting]) -> Option<Waiting> {
    // A connection in the middle of a conversation stays while there is one that has not begun.
    let used = waiting.iter().all(|waiting| waiting.is_used());
    let candidates = || waiting.iter().filter(|waiting| waiting.is_used() == used);
    let mut counts: HashMap<IpAddr, usize> = HashMap::new();
    for waiting in candidates() {
        *counts.entry(waiting.source).or_default() += 1;
    }
    let most = counts.values().copied().max()?;
    let of_the_greatest = candidates().filter(|waiting| counts[&waiting.source] == most);
    of_the_greatest.min_by_key(|waiting| (waiting.doing, waiting.number)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    #[tokio::test]
    async fn the_source_with_most_of_them_makes_room_first_and_its_oldest_before_the_others() {
        let crowd = Crowd::new();
        let lone = crowd.enter(source(1));
        let flood: Vec<ConnectionSlot> = (0..3).map(|_| crowd.enter(source(2))).collect();
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
        let crowd = Crowd::new();
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
        let crowd = Crowd::new();
        let other = crowd.enter(source(9));
        let mapped = crowd.enter("::ffff:192.0.2.1".parse().unwrap());
        let plain = crowd.enter(source(1));
        assert!(crowd.make_room() && mapped.ends().is_cancelled());
        drop((other, plain));
    }
}
