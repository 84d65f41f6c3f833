//! Who has which session open: one writer for each session id.
//!
//! Two processes that go on with one session both append to its file. Nothing fails, and at the next start one of the two
//! branches is gone. So whoever starts the CLI holds a lock on the session's id, in a file beside the session files, which
//! every box that shares those sees. The kernel gives the lock back when its holder dies.
//!
//! The CLI on a terminal can change its session without a word to anybody (`/clear`, `/resume`). What it may have open
//! besides the session that it was started with is found by [`Registry::terminals`].

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::atomic_file;

/// Longest text that is written over, bytes. One of ours is a path and a few words.
const LONGEST: usize = 64 << 10;
/// The file that is locked while the others are looked at.
const GUARD: &str = ".lock";

/// Who goes on with a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// A prompt: of a script, or of a door.
    Prompt,
    /// A person on a terminal.
    Terminal,
}

impl Side {
    pub(super) const fn that_writes(self) -> &'static str {
        match self {
            Self::Prompt => "another run is writing in it",
            Self::Terminal => "it is open on a terminal",
        }
    }
}

/// Somebody who has a session open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Holder {
    /// A terminal, or a prompt.
    pub(super) side: Side,
    /// Where its CLI works.
    pub(super) workspace: PathBuf,
}

/// Keeps a session to one writer for as long as it, or a process that has inherited it, is there.
#[derive(Debug, Clone)]
pub struct Lock(Arc<File>);

impl Lock {
    /// Gives the session back before this process ends.
    pub(super) fn release(&self) {
        // It is given back at the end of this process otherwise.
        let _ = self.0.unlock();
    }

    /// Has the program that this process becomes go on holding it.
    pub fn outlive_exec(&self) -> io::Result<()> {
        use nix::fcntl::{FcntlArg, FdFlag, fcntl};

        fcntl(&*self.0, FcntlArg::F_SETFD(FdFlag::empty()))?;
        Ok(())
    }
}

/// The folder of the locks, itself locked: what was found in it stays true meanwhile.
#[derive(Debug)]
pub(super) struct Registry {
    folder: PathBuf,
    holders: Vec<(String, Holder, SystemTime)>,
    /// The file of a holder that is gone.
    spare: Option<PathBuf>,
    _guard: File,
}

impl Registry {
    /// Waits for whoever looks at it now, and forgets holders that are gone.
    pub(super) fn lock(folder: PathBuf) -> io::Result<Self> {
        atomic_file::private_folder(&folder)?;
        let guard = open(&folder.join(GUARD))?;
        guard.lock()?;
        let (mut holders, mut spare) = (Vec::new(), None);
        for file in fs::read_dir(&folder)?.flatten() {
            let Some(id) = file.file_name().into_string().ok().filter(|name| name != GUARD) else { continue };
            match held(&file.path()) {
                Some((holder, since)) => holders.push((id, holder, since)),
                None if spare.is_none() => spare = Some(file.path()),
                None => drop(fs::remove_file(file.path())),
            }
        }
        Ok(Self { folder, holders, spare, _guard: guard })
    }

    /// Who has session `id`, without waiting and without the right to write in the folder.
    pub(super) fn peek(folder: &Path, id: &str) -> Option<Side> {
        held(&folder.join(id)).map(|(holder, _)| holder.side)
    }

    /// Takes session `id`, which nobody has.
    pub(super) fn take(self, id: &str, holder: &Holder) -> io::Result<Lock> {
        let path = self.folder.join(id);
        // To delete the one and create the other takes a disk four times as long, and every prompt waits for it.
        let nobody_has_it = self.holder(id).is_none();
        if let Some(spare) = self.spare.filter(|spare| nobody_has_it && *spare != path) {
            fs::rename(spare, &path)?;
        }
        let mut file = open(&path)?;
        file.try_lock()?;
        let mut text = serde_json::to_vec(holder)?;
        // Blanks take the place of what a longer one had left: cutting a file costs a disk a millisecond, and a write alone
        // nothing.
        match usize::try_from(file.metadata()?.len()) {
            Ok(before) if before <= LONGEST => text.resize(text.len().max(before), b' '),
            _ => file.set_len(0)?,
        }
        file.write_all(&text)?;
        Ok(Lock(Arc::new(file)))
    }

    /// Who has session `id`.
    pub(super) fn holder(&self, id: &str) -> Option<Side> {
        self.holders.iter().find(|(other, ..)| other == id).map(|(_, holder, _)| holder.side)
    }

    /// Since when terminals are open in `workspace`.
    pub(super) fn terminals(&self, workspace: &Path) -> impl Iterator<Item = SystemTime> {
        let here = move |holder: &Holder| holder.side == Side::Terminal && holder.workspace == workspace;
        self.holders.iter().filter(move |(_, holder, _)| here(holder)).map(|(.., since)| *since)
    }
}

/// Who holds the lock on this file, and since when.
fn held(path: &Path) -> Option<(Holder, SystemTime)> {
    let mut file = File::open(path).ok()?;
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => {
            let about = file.metadata().ok()?;
            // Another session's by now, if it was taken as a spare in this moment.
            let is_still_there = fs::metadata(path).is_ok_and(|there| there.ino() == about.ino());
            is_still_there.then_some((read(&mut file)?, about.modified().ok()?))
        }
        _ => None,
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).truncate(false).read(true).write(true).mode(0o600).open(path)
}

fn read(file: &mut File) -> Option<Holder> {
    let mut text = Vec::new();
    file.read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}
