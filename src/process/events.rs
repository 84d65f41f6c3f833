//! Waiting: signals arrive as readable data, next to other descriptors, with an optional deadline.
//!
//! All signals are blocked and read from a `signalfd`, so none interrupts anything and none is lost between two
//! checks; with no deadline the process sleeps in `poll` and never wakes up by itself.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::SigSet;
use nix::sys::signalfd::{SfdFlags, SignalFd};
use signal_hook::consts::TERM_SIGNALS;

use crate::sys;

/// All signals of this process, blocked and readable.
pub struct Signals {
    fd: SignalFd,
}

impl Signals {
    /// Blocks every signal of the calling thread (call it before any other thread exists) and starts collecting them.
    ///
    /// SIGCHLD gets its default disposition: had the parent set it to "ignore", the kernel would reap our children
    /// itself and every exit status would be lost.
    pub fn block_all() -> io::Result<Self> {
        sys::set_disposition(libc::SIGCHLD, false);
        let all = SigSet::all();
        all.thread_block()?;
        let fd = SignalFd::with_flags(&all, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Self { fd })
    }

    /// The next pending signal's number, if there is one.
    ///
    /// A write of this process that fails (nobody reads the pipe, the file is at its limit) raises a signal too, which
    /// the kernel keeps because it is blocked, even where it is ignored. The error of the write says the same: that signal
    /// is dropped, or it would be forwarded to a child that has nothing to do with it.
    pub fn next(&self) -> io::Result<Option<i32>> {
        loop {
            let Some(info) = self.fd.read_signal()? else { return Ok(None) };
            let Ok(signal) = i32::try_from(info.ssi_signo) else { continue };
            let is_of_a_write = matches!(signal, libc::SIGPIPE | libc::SIGXFSZ) && info.ssi_pid == std::process::id();
            if !is_of_a_write {
                return Ok(Some(signal));
            }
        }
    }
}

/// The signals that ask their receiver to end, as a person, a terminal that closes or a container engine does.
pub fn stop_signals() -> impl Iterator<Item = i32> {
    TERM_SIGNALS.iter().copied().chain([libc::SIGHUP])
}

/// Whether `signal` is one of them.
pub fn asks_to_stop(signal: i32) -> bool {
    stop_signals().any(|known| known == signal)
}

/// One descriptor to wait for.
#[derive(Clone, Copy)]
pub struct Interest<'fd> {
    fd: BorrowedFd<'fd>,
    flags: PollFlags,
}

impl<'fd> Interest<'fd> {
    /// Wake up when `fd` has data or has been closed on the other side.
    pub fn readable(fd: &'fd impl AsFd) -> Self {
        Self { fd: fd.as_fd(), flags: PollFlags::POLLIN }
    }

    /// Wake up when `fd` takes data or has been closed on the other side.
    pub fn writable(fd: &'fd impl AsFd) -> Self {
        Self { fd: fd.as_fd(), flags: PollFlags::POLLOUT }
    }
}

/// Waits until a signal is pending, one of `interests` is ready, or `deadline` has passed.
pub fn wait(signals: &Signals, interests: &[Interest<'_>], deadline: Option<Instant>) -> io::Result<()> {
    let mut fds = vec![PollFd::new(signals.fd.as_fd(), PollFlags::POLLIN)];
    fds.extend(interests.iter().map(|interest| PollFd::new(interest.fd, interest.flags)));
    let timeout = deadline.map_or(PollTimeout::NONE, |at| {
        // Rounded up: waking up a fraction of a millisecond early would spin until the deadline.
        let left = at.saturating_duration_since(Instant::now()).as_micros().div_ceil(1000);
        PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
    });
    match poll(&mut fds, timeout) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Whether reading `fd` would return at once: data, the end, or an error.
pub fn is_readable(fd: &impl AsFd) -> io::Result<bool> {
    let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
    Ok(poll(&mut fds, PollTimeout::ZERO)? > 0)
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write as _};

    use super::Signals;

    #[test]
    fn a_write_that_nobody_reads_is_no_signal_to_this_process() {
        let signals = Signals::block_all().unwrap();
        let (reader, mut writer) = io::pipe().unwrap();
        drop(reader);
        assert_eq!(writer.write(b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(signals.next().unwrap(), None);
    }

    #[test]
    fn a_file_at_its_limit_is_no_signal_to_this_process() {
        let signals = Signals::block_all().unwrap();
        let mut file = tempfile::tempfile().unwrap();
        nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_FSIZE, 1, 1).unwrap();
        assert!(file.write_all(b"two").is_err());
        assert_eq!(signals.next().unwrap(), None);
    }
}
