//! Where what decides is, in a box: `/etc/claudebox` is root's, and out of reach for Claude and the servers.

use std::path::{Path, PathBuf};

/// Tokens, each with what it may do.
pub const TOKENS: &str = "/etc/claudebox/tokens.yml";
/// Jobs by the clock.
pub const CRON: &str = "/etc/claudebox/cron.yaml";
/// Chats, and what each may do.
pub const TELEGRAM: &str = "/etc/claudebox/telegram.yml";
/// Hooks that run as root at the start.
pub const HOOKS: &str = "/etc/claudebox/init.d";

/// This place, if something is there.
pub(super) fn taken(place: &str) -> Option<PathBuf> {
    Path::new(place).exists().then(|| place.into())
}
