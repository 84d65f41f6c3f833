//! Reaping: every child that has changed state, in one go.
//!
//! SIGCHLD coalesces: five hundred deaths may raise one signal, so each signal empties the whole queue.

use super::status::ChildStatus;
use crate::sys;

/// Whether this process still has children after a [`drain`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Children {
    /// At least one child is alive.
    Some,
    /// There is none, so no descendant either: a subreaper and PID 1 inherit every orphan.
    None,
}

/// Reaps until nothing is left to reap and hands each change to `each`.
pub fn drain(mut each: impl FnMut(i32, ChildStatus)) -> Children {
    loop {
        match sys::wait_any() {
            Ok(Some((pid, raw))) => each(pid, ChildStatus::from_raw(raw)),
            Ok(None) => return Children::Some,
            Err(error) if error.raw_os_error() == Some(libc::EINTR) => {}
            Err(_) => return Children::None,
        }
    }
}
