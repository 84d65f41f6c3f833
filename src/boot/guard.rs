//! The user of what looks after Claude, and the folder that is out of Claude's reach.
//!
//! Where PID 1 is root, the servers and the workers have a user of their own and only Claude's ids with files
//! (`privilege::files`). Their state is in a folder of root's that a group of theirs can enter.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, lchown};
use std::path::{Path, PathBuf};

use caps::CapSet;
use nix::unistd::{Gid, Uid, fchown};

use super::accounts::Accounts;
use super::remap::is_mapped;
use crate::config::Config;
use crate::privilege::plan::{Credentials, Kept};
use crate::sys;

/// The user's name in an image.
const USER: &str = "claudebox";
/// Its ids in a box without such a user. Neither Debian nor Docker gives them away.
const DEFAULT_ID: u32 = 64_198;
/// What the names of our files in the state folder begin with. Somebody may have named a folder with more in it.
const OURS: [&str; 2] = ["runs", "serve."];
/// Of the state folder: what is made in it has its group.
const MODE: u32 = 0o2770;

/// Who looks after Claude in this box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guard {
    /// The user's id.
    pub uid: u32,
    /// The id of the group that can enter the state folder.
    pub gid: u32,
    /// The state folder.
    pub state_dir: PathBuf,
}

impl Guard {
    /// The guard of a box in which this process is root. Otherwise: why there is none.
    pub fn of_box(config: &Config, accounts: &Accounts, claude: &Credentials) -> Result<Self, String> {
        for &capability in Kept::Warden.capabilities() {
            if !caps::has_cap(None, CapSet::Effective, capability).unwrap_or(true) {
                return Err(format!("this box has no {capability}"));
            }
        }
        // Without such descriptors nobody could tell a worker of PID 1's from whoever gets its pid next.
        sys::process_descriptor(std::process::id().cast_signed())
            .map_err(|error| format!("this system has no descriptors of processes: {error}"))?;
        let named = accounts.user(USER).map(|user| (user.uid, user.gid));
        let is_anothers =
            |&(uid, gid): &(u32, u32)| uid != 0 && gid != 0 && uid != claude.uid && !claude.groups.contains(&gid);
        let ids = named.filter(is_anothers).or_else(|| Some((DEFAULT_ID, DEFAULT_ID)).filter(is_anothers));
        let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        let Some((uid, gid)) = ids.filter(|&(uid, _)| is_mapped(&map, uid)) else {
            return Err("this box has no user id to spare".to_owned());
        };
        let state_dir = config.state_dir.clone().unwrap_or_else(|| config.sealed_folder());
        Ok(Self { uid, gid, state_dir })
    }

    /// Makes the state folder, and gives it to root and the guard's group, what is in it to `claude`, who may have had other ids.
    /// Otherwise: why that cannot be.
    pub fn settle(&self, claude: &Credentials) -> Result<(), String> {
        let is_ours = |name: &str| OURS.iter().any(|begin| name.starts_with(begin));
        let give = || give(&self.state_dir, claude.uid, self.gid, &is_ours);
        self.make_folder().and_then(|()| give()).map_err(|error| format!("{}: {error}", self.state_dir.display()))
    }

    fn make_folder(&self) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o755).create(&self.state_dir)?;
        let real = fs::canonicalize(&self.state_dir)?;
        for above in real.ancestors().skip(1) {
            let found = fs::metadata(above)?;
            if found.mode() & 0o001 == 0 && (found.gid() != self.gid || found.mode() & 0o010 == 0) {
                return Err(io::Error::other(format!("the user {USER} cannot get past {}", above.display())));
            }
        }
        let folder =
            fs::OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW).open(&real)?;
        let found = folder.metadata()?;
        if (found.uid(), found.gid(), found.mode() & 0o7777) == (0, self.gid, MODE) {
            return Ok(());
        }
        fchown(&folder, Some(Uid::from_raw(0)), Some(Gid::from_raw(self.gid)))?;
        folder.set_permissions(Permissions::from_mode(MODE))
    }

    /// The user of the servers: whose files they work on, with the group that enters the state folder.
    #[must_use]
    pub fn servers(&self, claude: &Credentials) -> Credentials {
        let mut groups = claude.groups.clone();
        groups.push(self.gid);
        Credentials { uid: self.uid, gid: self.gid, groups }
    }

    /// The user of a worker, which reads and writes Claude's files and nothing else.
    #[must_use]
    pub fn worker(&self, claude: &Credentials) -> Credentials {
        Credentials { uid: self.uid, gid: self.gid, groups: claude.groups.clone() }
    }
}

/// Gives away what is in `folder` by a name that `is_ours`. Nobody but root and the servers can put something there.
fn give(folder: &Path, uid: u32, gid: u32, is_ours: &dyn Fn(&str) -> bool) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if !entry.file_name().to_str().is_some_and(is_ours) {
            continue;
        }
        let found = entry.metadata()?;
        if (found.uid(), found.gid()) != (uid, gid) {
            lchown(entry.path(), Some(uid), Some(gid))?;
        }
        if found.is_dir() {
            give(&entry.path(), uid, gid, &|_| true)?;
        }
    }
    Ok(())
}

/// Copies the ledger and the event logs of an older box, which had them in a folder that Claude can write, if there are none in
/// `state_dir` yet. Whether there was something.
///
/// What is there stays: it is all that is left should this box's folder go with its container.
pub fn take_over(old: &Path, state_dir: &Path, ledger: &str, logs: &str) -> io::Result<bool> {
    let (from, to) = (old.join(ledger), state_dir.join(ledger));
    if to.try_exists()? || !is_plain(&from) {
        return Ok(false);
    }
    let copied = state_dir.join(".taking-over");
    let _ = fs::remove_dir_all(&copied);
    DirBuilder::new().mode(0o770).create(&copied)?;
    fs::create_dir_all(state_dir.join(logs))?;
    for entry in fs::read_dir(old.join(logs)).into_iter().flatten().flatten() {
        if is_plain(&entry.path()) {
            fs::copy(entry.path(), state_dir.join(logs).join(entry.file_name()))?;
        }
    }
    let journal = format!("{ledger}-wal");
    for name in [journal.as_str(), ledger] {
        if is_plain(&old.join(name)) {
            fs::copy(old.join(name), copied.join(name))?;
            fs::File::open(copied.join(name))?.sync_all()?;
        }
    }
    // The ledger last: until it is there, all of this is done again.
    for name in [journal.as_str(), ledger] {
        if copied.join(name).exists() {
            fs::rename(copied.join(name), state_dir.join(name))?;
        }
    }
    fs::remove_dir_all(&copied)?;
    fs::File::open(state_dir)?.sync_all()?;
    Ok(true)
}

/// Whether it is a file and no link to one: who can write there could have any file read.
fn is_plain(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_file())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn old_box() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (folder.path().join("old"), folder.path().join("new"));
        fs::create_dir_all(old.join("runs")).unwrap();
        fs::create_dir(&new).unwrap();
        for (name, text) in [("ledger", "rows"), ("ledger-wal", "more rows"), ("runs/1.ndjson", "events")] {
            fs::write(old.join(name), text).unwrap();
        }
        (folder, old, new)
    }

    fn text(path: &Path) -> String {
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn an_older_boxs_runs_are_taken_over_once_and_stay_where_they_were() {
        let (_folder, old, new) = old_box();
        assert!(take_over(&old, &new, "ledger", "runs").unwrap());
        for (name, was) in [("ledger", "rows"), ("ledger-wal", "more rows"), ("runs/1.ndjson", "events")] {
            assert_eq!((text(&old.join(name)), text(&new.join(name))), (was.to_owned(), was.to_owned()));
        }
        fs::write(old.join("ledger"), "other rows").unwrap();
        assert!(!take_over(&old, &new, "ledger", "runs").unwrap());
        assert_eq!(text(&new.join("ledger")), "rows");
    }

    #[test]
    fn what_was_cut_short_is_done_again() {
        let (_folder, old, new) = old_box();
        fs::create_dir(new.join(".taking-over")).unwrap();
        fs::write(new.join(".taking-over/ledger"), "half").unwrap();
        fs::write(new.join("ledger-wal"), "half").unwrap();
        assert!(take_over(&old, &new, "ledger", "runs").unwrap());
        assert_eq!((text(&new.join("ledger")), text(&new.join("ledger-wal"))), ("rows".into(), "more rows".into()));
        assert!(!new.join(".taking-over").exists());
    }

    /// Claude can write there.
    #[test]
    fn no_link_is_followed() {
        let (folder, old, new) = old_box();
        let secret = folder.path().join("secret");
        fs::write(&secret, "secret").unwrap();
        symlink(&secret, old.join("runs/2.ndjson")).unwrap();
        assert!(take_over(&old, &new, "ledger", "runs").unwrap());
        assert!(!new.join("runs/2.ndjson").exists());
        fs::remove_file(old.join("ledger")).unwrap();
        fs::remove_file(new.join("ledger")).unwrap();
        symlink(&secret, old.join("ledger")).unwrap();
        assert!(!take_over(&old, &new, "ledger", "runs").unwrap());
    }

    #[test]
    fn what_is_in_the_state_folder_follows_claudes_ids() {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: needs root");
            return;
        }
        let (folder, old, _) = old_box();
        symlink("/", old.join("link")).unwrap();
        give(&old, 4242, 4343, &|name| name != "ledger-wal").unwrap();
        assert_eq!(fs::metadata(old.join("ledger-wal")).unwrap().uid(), 0);
        for name in ["ledger", "runs", "runs/1.ndjson", "link"] {
            let found = fs::symlink_metadata(old.join(name)).unwrap();
            assert_eq!((found.uid(), found.gid()), (4242, 4343), "{name}");
        }
        assert_eq!(fs::metadata("/").unwrap().uid(), 0);
        drop(folder);
    }

    #[test]
    fn servers_enter_the_state_folder_and_workers_do_not() {
        let claude = Credentials { uid: 1000, gid: 1001, groups: vec![998, 1001] };
        let guard = Guard { uid: 7, gid: 8, state_dir: "/s".into() };
        assert_eq!(guard.servers(&claude), Credentials { uid: 7, gid: 8, groups: vec![998, 1001, 8] });
        assert_eq!(guard.worker(&claude), Credentials { uid: 7, gid: 8, groups: vec![998, 1001] });
    }
}
