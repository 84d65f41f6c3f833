//! The files that secrets came from: Claude must not be able to read them there.
//!
//! Engines mount a secret so that everybody may read it, or as its owner's, who has Claude's ids in the box. Its mode is not
//! ours to change then, but the folder that the engine has made for it is.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;

use crate::config::environment::FromFile;
use crate::policy::hold::Agent;
use crate::privilege::plan::Credentials;

/// Below it, folders of root's are closed. They hold what lasts as long as the box.
const RUN: &str = "/run";
/// Root, and the servers, which may have a file of tokens there.
const CLOSED: u32 = 0o710;

/// Closes the folders of these files to Claude, for all but root and `group`; those files that it can read all the same.
pub(super) fn close<'file>(files: &'file [FromFile], claude: &Credentials, group: Option<u32>) -> Vec<&'file FromFile> {
    let agent = Agent { uids: vec![claude.uid], gids: claude.groups.iter().copied().chain([claude.gid]).collect() };
    let is_open = |file: &&FromFile| {
        let Ok(path) = fs::canonicalize(&file.path) else { return false };
        if !may_read(&path, &agent) {
            return false;
        }
        for folder in closable(&path) {
            let closed =
                chown(folder, None, group).and_then(|()| fs::set_permissions(folder, Permissions::from_mode(CLOSED)));
            if closed.is_ok() {
                tracing::debug!("{} is closed to Claude: {} is there", folder.display(), file.name);
                break;
            }
        }
        may_read(&path, &agent)
    };
    files.iter().filter(is_open).collect()
}

/// The folders above a file that are root's and no system's, nearest first.
fn closable(path: &Path) -> impl Iterator<Item = &Path> {
    let above = path.ancestors().skip(1).take_while(|folder| *folder != Path::new(RUN));
    above.filter(|folder| folder.starts_with(RUN) && fs::metadata(folder).is_ok_and(|found| found.uid() == 0))
}

/// Whether the agent may read this file, and get to it.
fn may_read(path: &Path, agent: &Agent) -> bool {
    let may = |path: &Path, bit: u32| {
        let Ok(found) = fs::metadata(path) else { return false };
        let shift = if agent.uids.contains(&found.uid()) {
            6
        } else if agent.gids.contains(&found.gid()) {
            3
        } else {
            0
        };
        found.mode() >> shift & bit != 0
    };
    may(path, 4) && path.ancestors().skip(1).all(|folder| may(folder, 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_claude_may_read_follows_the_modes_of_the_whole_way() {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: needs root");
            return;
        }
        let agent = Agent { uids: vec![54_321], gids: vec![54_322] };
        let top = tempfile::Builder::new().permissions(Permissions::from_mode(0o755)).tempdir().unwrap();
        let (folder, file) = (top.path().join("secrets"), top.path().join("secrets/key"));
        fs::create_dir(&folder).unwrap();
        fs::write(&file, "key").unwrap();
        let is = |folder_mode: u32, mode: u32, owner: u32, group: u32| {
            fs::set_permissions(&folder, Permissions::from_mode(folder_mode)).unwrap();
            fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            chown(&file, Some(owner), Some(group)).unwrap();
            may_read(&file, &agent)
        };
        assert!(is(0o755, 0o444, 0, 0) && is(0o755, 0o400, 54_321, 0) && is(0o755, 0o440, 0, 54_322));
        assert!(!is(0o755, 0o400, 0, 0) && !is(0o755, 0o440, 0, 0) && !is(0o755, 0o044, 54_321, 0));
        assert!(!is(0o710, 0o444, 0, 0));
    }

    #[test]
    fn only_what_is_made_for_the_box_is_closed() {
        assert_eq!(closable(Path::new("/home/claude/key")).count(), 0);
        assert_eq!(closable(Path::new("/run/key")).count(), 0);
    }
}
