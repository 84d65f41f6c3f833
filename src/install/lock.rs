//! The lock of a store: one box installs, the others wait and say how far it is.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::time::{Duration, Instant};

use super::error::InstallFault;
use super::step::Step;
use crate::claude::store::CliStore;

/// Its name in the store.
const NAME: &str = "lock";
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(200);
/// What its holder says of itself is not longer, bytes.
const LONGEST: usize = 200;

/// The lock. The kernel gives it back when its holder dies.
pub(super) struct Lock(File);

impl Lock {
    /// Takes it, however long somebody else has it, up to `limit`.
    pub(super) async fn take(
        store: &CliStore,
        limit: Duration,
        tell: &mut impl FnMut(Step),
    ) -> Result<Self, InstallFault> {
        let path = store.root().join(NAME);
        let mut options = OpenOptions::new();
        options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).mode(0o644);
        // Who may not write here can still wait for who may.
        let opened = options.clone().create(true).truncate(false).read(true).write(true).open(&path);
        let file = opened.or_else(|error| options.read(true).open(&path).map_err(|_| error));
        let file = file.map_err(InstallFault::storage(store.root()))?;
        let began = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self(file)),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(InstallFault::storage(store.root())(error)),
            }
            if began.elapsed() > limit {
                return Err(InstallFault::Held { lock: path });
            }
            tell(Step::Waiting(heard(&file)));
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Says to who waits how far this is. It is a courtesy: a full disk, on which it cannot be written, is told by what fails.
    pub(super) fn say(&self, text: &str) {
        let line: String = text.chars().take(LONGEST / 4).collect();
        let _ = self.0.set_len(0).and_then(|()| self.0.write_all_at(line.as_bytes(), 0));
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = self.0.set_len(0);
    }
}

/// What the holder says: one line of text without anything that moves a terminal's cursor, since another box may write it.
fn heard(file: &File) -> Option<String> {
    let mut text = [0; LONGEST];
    let count = file.read_at(&mut text, 0).ok()?;
    let text: String = String::from_utf8_lossy(&text[..count]).chars().filter(|char| !char.is_control()).collect();
    (!text.is_empty()).then_some(text)
}
