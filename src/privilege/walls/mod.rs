//! The walls around the CLI and everything below it: what of the box's files, ports and processes it reaches (Landlock), and
//! which system calls it has (seccomp).
//!
//! Who starts the CLI says what stands where ([`fence`], pure); the helper puts it up in the child, after the drop and right
//! before the program. The kernel hands both on to every later process, and nothing takes them down again. Neither needs a
//! capability, but `no_new_privs`: a program that gains privileges would be no match for them.

pub mod fence;
mod landlock;
mod seccomp;
pub mod verdict;

use serde::{Deserialize, Serialize};

use self::fence::Fence;
use crate::sys;

/// The walls of one child. None by default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Walls {
    /// What it reaches of files, ports and processes.
    pub fence: Option<Fence>,
    /// Whether its system calls are filtered.
    pub filter: bool,
    /// Whether there is no child without all of this. Otherwise the kernel gives what it has.
    pub strict: bool,
}

/// Why a wall does not stand. The process must end.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum WallError {
    #[error("cannot fence Claude in with Landlock: {0}; set CLAUDEBOX_LANDLOCK=0 to go without")]
    Landlock(String),
    #[error("cannot filter Claude's system calls: {0}; set CLAUDEBOX_SECCOMP=0 to go without")]
    Seccomp(String),
}

impl Walls {
    /// Puts them up around the calling thread, and so around the program that it becomes. Either sets `no_new_privs` first.
    pub fn put_up(&self) -> Result<(), WallError> {
        if let Some(fence) = &self.fence {
            landlock::put_up(fence, self.strict).map_err(WallError::Landlock)?;
        }
        if self.filter && (self.strict || Kernel::of_machine().has_seccomp) {
            seccomp::put_up().map_err(WallError::Seccomp)?;
        }
        Ok(())
    }
}

/// What this kernel has for walls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kernel {
    /// The version of its Landlock; 0 is none.
    pub landlock: u32,
    /// Whether it filters system calls.
    pub has_seccomp: bool,
}

impl Kernel {
    /// Asks it. Nothing is changed.
    #[must_use]
    pub fn of_machine() -> Self {
        Self { landlock: sys::landlock_version(), has_seccomp: sys::has_seccomp() }
    }
}
