//! Working on another user's files without being that user.
//!
//! Whoever has Claude's user may signal a process of Claude's user and look into it. So what looks after Claude has a user of its
//! own, and Claude's ids only where the kernel judges access to files (`setfsuid(2)`): what it makes is Claude's, what Claude
//! may not open it cannot open either. What is to be out of Claude's reach is in a folder that only a supplementary
//! group of these processes can enter.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use caps::CapSet;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::unistd::{AccessFlags, Gid, Uid, faccessat, setfsgid, setfsuid};

use super::apply::hold;
use super::plan::{Credentials, Kept};

static CLAUDE: OnceLock<Credentials> = OnceLock::new();

/// Takes `claude`'s place with files, and goes on with `kept` of what this process was given; nothing it starts has that. Of
/// the calling thread, and of those that it starts: there must be no other.
pub fn take_place_of(claude: Credentials, kept: Kept) -> io::Result<()> {
    setfsgid(Gid::from_raw(claude.gid));
    setfsuid(Uid::from_raw(claude.uid));
    // Nothing else says whether it was done: an id that cannot be is never taken.
    let nobody = u32::MAX;
    let now = (setfsuid(Uid::from_raw(nobody)).as_raw(), setfsgid(Gid::from_raw(nobody)).as_raw());
    if now != (claude.uid, claude.gid) {
        return Err(io::Error::other(format!("the file ids are {now:?} and not {}:{}", claude.uid, claude.gid)));
    }
    let handed_on = [CapSet::Ambient, CapSet::Inheritable];
    hold(&[], &handed_on)
        .and_then(|()| hold(kept.capabilities(), &[CapSet::Effective, CapSet::Permitted]))
        .map_err(io::Error::other)?;
    let _ = CLAUDE.set(claude);
    Ok(())
}

/// The user whose place this process has [taken](take_place_of): programs are to be started as that one. `None`: as this
/// process's own.
#[must_use]
pub fn claude() -> Option<&'static Credentials> {
    CLAUDE.get()
}

/// The user id that files of this process have.
#[must_use]
pub fn uid() -> u32 {
    claude().map_or_else(|| nix::unistd::geteuid().as_raw(), |claude| claude.uid)
}

/// The group id that files of this process have.
#[must_use]
pub fn gid() -> u32 {
    claude().map_or_else(|| nix::unistd::getegid().as_raw(), |claude| claude.gid)
}

/// Whether this process may do that with `path`, by the ids that count for files. `access(2)` asks for the real ones.
#[must_use]
pub fn may(path: &Path, what: AccessFlags) -> bool {
    check(path, what).is_ok()
}

/// The same, and why not.
pub fn check(path: &Path, what: AccessFlags) -> Result<(), Errno> {
    faccessat(AT_FDCWD, path, what, AtFlags::AT_EACCESS)
}

/// Does `work` with the files of this process's own user.
pub fn as_self<T>(work: impl FnOnce() -> T) -> T {
    let Some(claude) = claude() else { return work() };
    setfsuid(nix::unistd::geteuid());
    let done = work();
    setfsuid(Uid::from_raw(claude.uid));
    done
}

/// Lets a program be started as the user whose files it is to work on: `exec` puts a process's own ids in their place.
#[expect(clippy::disallowed_methods, reason = "only root's groups are wiped, and these are Claude's already")]
pub fn as_claude(command: &mut Command) -> &mut Command {
    match claude() {
        Some(claude) => command.gid(claude.gid).uid(claude.uid),
        None => command,
    }
}
