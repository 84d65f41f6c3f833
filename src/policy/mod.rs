//! Files that decide: who may call, what runs by the clock, which chats are let in, which hooks run as root.
//!
//! Their place is `/etc/claudebox`, which is root's. A file anywhere else is read too, unless Claude could change it and the box is
//! hardened: that is judged on what is open ([`hold`]), and what was judged is what is read.

pub mod hold;

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use self::hold::{Agent, Hold};
use crate::config::mode::Mode;
use crate::config::name;
pub use crate::config::places::{CRON, HOOKS, TELEGRAM, TOKENS};
use crate::plain_file;

/// A longer one is no file of settings.
const LONGEST: u64 = 16 << 20;

static RULE: OnceLock<Rule> = OnceLock::new();
/// What was warned of.
static SAID: Mutex<Option<HashSet<PathBuf>>> = Mutex::new(None);

/// Whose hands such files must be out of, and what becomes of one that is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Who must not be able to change them.
    pub agent: Agent,
    /// Hardened: the file is refused. Otherwise it is warned of.
    pub mode: Mode,
}

/// A file that decides, and that Claude could change.
#[derive(Debug, thiserror::Error)]
#[error(
    "Claude could change it ({hold}), and {hardened} is on: put it where it is root's alone ({place}), or mount it read-only there",
    hardened = name::HARDENED
)]
pub struct Refused {
    hold: Hold,
    place: &'static str,
}

/// Has [`read`] judge what it reads, in this process.
pub fn judge_by(rule: Rule) {
    let _ = RULE.set(rule);
}

/// Reads a file that decides. `place`: where it belongs.
pub fn read(path: &Path, place: &'static str) -> io::Result<String> {
    let file = match RULE.get() {
        None => plain_file::open(path, 0)?,
        Some(rule) => judged(rule, path, place)?,
    };
    let mut text = String::new();
    file.take(LONGEST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LONGEST {
        return Err(io::Error::other(format!("it is longer than {} megabytes", LONGEST >> 20)));
    }
    Ok(text)
}

/// Opens the file, if the rule lets it count.
fn judged(rule: &Rule, path: &Path, place: &'static str) -> io::Result<File> {
    let (file, hold) = hold::open(path, &rule.agent)?;
    match hold {
        None => {}
        Some(hold) if rule.mode == Mode::Hardened => return Err(io::Error::other(Refused { hold, place })),
        Some(hold) => {
            let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
            if said.get_or_insert_default().insert(path.to_owned()) {
                tracing::warn!(
                    "{} decides what Claude may do, and Claude could change it ({hold}): it is safe as {place}, or mounted \
                     read-only there",
                    path.display()
                );
            }
        }
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn open_file() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::Builder::new().permissions(Permissions::from_mode(0o755)).tempdir().unwrap();
        let path = folder.path().join("tokens.yml");
        fs::write(&path, "text").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
        (folder, path)
    }

    #[test]
    fn a_file_that_claude_could_change_is_refused_in_a_hardened_box_alone() {
        let (_folder, path) = open_file();
        let rule = |mode| Rule { agent: Agent { uids: vec![54_321], gids: vec![54_321] }, mode };
        let refused = judged(&rule(Mode::Hardened), &path, TOKENS).unwrap_err().to_string();
        assert!(refused.starts_with("Claude could change it (") && refused.contains(TOKENS), "{refused}");
        assert!(judged(&rule(Mode::Sudo), &path, TOKENS).is_ok());
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        assert!(judged(&rule(Mode::Hardened), &path, TOKENS).is_ok());
    }

    #[test]
    fn a_file_without_an_end_is_none() {
        assert!(read(Path::new("/dev/zero"), TOKENS).is_err());
        let (_folder, path) = open_file();
        assert_eq!(read(&path, TOKENS).unwrap(), "text");
    }
}
