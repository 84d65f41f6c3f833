//! Whose a session is, and when it ends.
//!
//! The SDK knows a session by its id alone, and would end one after minutes of silence, with the run that works in it.
//! Here a session belongs to the token that opened it, and ends when its client says so, after a day without use, or
//! when there are too many; never while something goes on in it. Of too many, those of the token that has most of them
//! end, so that one that opens a session for every call does not end those of the others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rmcp::transport::streamable_http_server::session::SessionManager as _;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;

/// The header with a session's id.
pub(super) const HEADER: &str = "mcp-session-id";
/// How long a session is kept that nobody uses.
const LONGEST_IDLE: Duration = Duration::from_hours(24);
/// How many are kept. Clients that never say goodbye open a new one each time.
const MOST: usize = 256;

/// The sessions of this door.
pub(super) struct McpSessions {
    keeper: Arc<LocalSessionManager>,
    known: Mutex<HashMap<String, Known>>,
}

/// What is known of a session.
#[derive(Debug)]
struct Known {
    owner: String,
    used: Instant,
    /// How many calls and streams are open in it.
    open: usize,
}

/// Something goes on in a session.
pub(super) struct InUse {
    sessions: Arc<McpSessions>,
    id: String,
}

impl Default for McpSessions {
    fn default() -> Self {
        let mut keeper = LocalSessionManager::default();
        keeper.session_config.keep_alive = None;
        Self { keeper: Arc::new(keeper), known: Mutex::default() }
    }
}

impl McpSessions {
    /// Where the SDK keeps them.
    pub(super) fn keeper(&self) -> Arc<LocalSessionManager> {
        Arc::clone(&self.keeper)
    }

    /// Whether this session is there and `caller`'s.
    pub(super) fn is_of(&self, id: &str, caller: &str) -> bool {
        let mut known = self.known();
        let Some(session) = known.get_mut(id).filter(|session| session.owner == caller) else { return false };
        session.used = Instant::now();
        true
    }

    /// Takes note of a new session, and ends those that have outlived their use.
    pub(super) fn opened(&self, id: &str, owner: &str) {
        let now = Instant::now();
        let outlived = {
            let mut known = self.known();
            known.insert(id.to_owned(), Known { owner: owner.to_owned(), used: now, open: 0 });
            let outlived = outlived(&known, now);
            for id in &outlived {
                known.remove(id);
            }
            outlived
        };
        for id in outlived {
            let keeper = self.keeper();
            tokio::spawn(async move {
                if let Err(error) = keeper.close_session(&id.into()).await {
                    tracing::debug!("a session of MCP could not be closed: {error}");
                }
            });
        }
    }

    /// Forgets a session that its client has ended.
    pub(super) fn closed(&self, id: &str) {
        self.known().remove(id);
    }

    /// Keeps a session from ending while something goes on in it.
    pub(super) fn in_use(self: &Arc<Self>, id: &str) -> InUse {
        if let Some(session) = self.known().get_mut(id) {
            session.open += 1;
        }
        InUse { sessions: Arc::clone(self), id: id.to_owned() }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        if let Some(session) = self.sessions.known().get_mut(&self.id) {
            session.open = session.open.saturating_sub(1);
            session.used = Instant::now();
        }
    }
}

/// The sessions that end now.
fn outlived(known: &HashMap<String, Known>, now: Instant) -> Vec<String> {
    let mut idle: Vec<(&String, &Known)> = known.iter().filter(|(_, session)| session.open == 0).collect();
    idle.sort_unstable_by_key(|(_, session)| session.used);
    let is_old = |session: &Known| now.saturating_duration_since(session.used) > LONGEST_IDLE;
    let (mut ended, mut idle): (Vec<_>, Vec<_>) = idle.into_iter().partition(|(_, session)| is_old(session));
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for session in known.values() {
        *counts.entry(&session.owner).or_default() += 1;
    }
    for (_, session) in &ended {
        counts.entry(&session.owner).and_modify(|count| *count -= 1);
    }
    while known.len() - ended.len() > MOST {
        let most = counts.values().copied().max().unwrap_or_default();
        // All of those may be in use: then none ends, and as many are there as there are connections.
        let Some(place) = idle.iter().position(|(_, session)| counts[session.owner.as_str()] == most) else { break };
        let one = idle.remove(place);
        counts.entry(&one.1.owner).and_modify(|count| *count -= 1);
        ended.push(one);
    }
    ended.into_iter().map(|(id, _)| id.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(sessions: impl IntoIterator<Item = (String, u64, usize)>, now: Instant) -> HashMap<String, Known> {
        let session = |(id, idle, open)| {
            let used = now.checked_sub(Duration::from_secs(idle)).unwrap();
            (id, Known { owner: "me".into(), used, open })
        };
        sessions.into_iter().map(session).collect()
    }

    #[test]
    fn a_session_ends_after_a_day_unless_something_goes_on_in_it() {
        let now = Instant::now() + LONGEST_IDLE * 3;
        let day = LONGEST_IDLE.as_secs();
        let sessions = [("new".into(), 0, 0), ("used".into(), day, 0), ("old".into(), day + 1, 0)];
        let all = known(sessions.into_iter().chain([("works".into(), day * 2, 1)]), now);
        assert_eq!(outlived(&all, now), ["old"]);
    }

    #[test]
    fn of_too_many_those_end_that_were_not_used_for_longest() {
        let now = Instant::now() + LONGEST_IDLE;
        let idle = (0..MOST as u64).map(|number| (number.to_string(), number, 0));
        let all = known(idle.chain([("works".into(), 9_999, 1), ("waits".into(), 9_998, 2)]), now);
        let last = [(MOST - 1).to_string(), (MOST - 2).to_string()];
        assert_eq!(outlived(&all, now), last);
    }

    #[test]
    fn whoever_opens_too_many_ends_their_own() {
        let now = Instant::now() + LONGEST_IDLE;
        let flood = (0..MOST as u64 + 4).map(|number| (format!("flood {number}"), number, 0));
        let mut all = known(flood, now);
        for (id, idle, open) in [("quiet", 9_999, 0), ("busy", 9_999, 1)] {
            let used = now.checked_sub(Duration::from_secs(idle)).unwrap();
            all.insert(id.into(), Known { owner: "another".into(), used, open });
        }
        let mut ended = outlived(&all, now);
        ended.sort_unstable();
        assert_eq!(ended.len(), 6);
        assert!(ended.iter().all(|id| id.starts_with("flood")), "{ended:?}");
        // The flood in use does not turn the others out either.
        for session in all.values_mut().filter(|session| session.owner == "me") {
            session.open = 1;
        }
        assert_eq!(outlived(&all, now), Vec::<String>::new());
    }

    #[tokio::test]
    async fn a_session_is_its_owners_alone() {
        let sessions = Arc::new(McpSessions::default());
        sessions.opened("one", "me");
        assert!(sessions.is_of("one", "me") && !sessions.is_of("one", "you") && !sessions.is_of("two", "me"));
        let first = sessions.in_use("one");
        let second = sessions.in_use("one");
        drop(first);
        assert_eq!(sessions.known()["one"].open, 1);
        drop(second);
        assert_eq!(sessions.known()["one"].open, 0);
        sessions.closed("one");
        assert!(!sessions.is_of("one", "me"));
    }
}
