//! Packets between two processes: a pair of `AF_UNIX` `SOCK_SEQPACKET` sockets. A packet arrives whole or not at all, in
//! order, and the end of the other side is seen.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// Whether a call may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Until it can be done.
    Yes,
    /// Not at all: [`io::ErrorKind::WouldBlock`] instead. Of this call alone, whatever the descriptor is set to.
    No,
}

/// Two connected ends, closed when a child becomes another program.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [-1; 2];
    // SAFETY: `ends` is valid for writing two descriptors.
    let made =
        unsafe { libc::socketpair(libc::AF_UNIX, libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC, 0, ends.as_mut_ptr()) };
    if made != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: both are new, open, and nobody else's.
    Ok(unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) })
}

/// Whether `fd` is a socket of this kind.
pub fn is_packet_socket(fd: &impl AsFd) -> bool {
    let is = |option, wanted| option_of(fd, option).is_ok_and(|value| value == wanted);
    is(libc::SO_DOMAIN, libc::AF_UNIX) && is(libc::SO_TYPE, libc::SOCK_SEQPACKET)
}

fn option_of(fd: &impl AsFd, option: i32) -> io::Result<i32> {
    let mut value = 0_i32;
    let mut length: libc::socklen_t = 4;
    let fd = fd.as_fd().as_raw_fd();
    // SAFETY: `value` is valid for writing `length` bytes, `length` for writing.
    let got = unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, option, (&raw mut value).cast(), &raw mut length) };
    if got == 0 { Ok(value) } else { Err(io::Error::last_os_error()) }
}

/// Sends one packet. It raises no SIGPIPE when the other side has gone.
pub fn send(fd: &impl AsFd, packet: &[u8], wait: Wait) -> io::Result<()> {
    let flags = libc::MSG_NOSIGNAL | wait.flag();
    // SAFETY: `packet` is valid for reading its length.
    again(|| unsafe { libc::send(fd.as_fd().as_raw_fd(), packet.as_ptr().cast(), packet.len(), flags) }).map(drop)
}

/// Receives one packet into `buffer`, and gives its full length: more than the buffer holds means that the rest is lost.
/// 0 is the end: the other side has gone.
pub fn receive(fd: &impl AsFd, buffer: &mut [u8], wait: Wait) -> io::Result<usize> {
    let flags = libc::MSG_TRUNC | wait.flag();
    let received = again(|| {
        // SAFETY: `buffer` is valid for writing its length.
        unsafe { libc::recv(fd.as_fd().as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), flags) }
    });
    match received {
        // It has gone and left packets of ours unread.
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(0),
        other => other,
    }
}

impl Wait {
    const fn flag(self) -> i32 {
        match self {
            Self::Yes => 0,
            Self::No => libc::MSG_DONTWAIT,
        }
    }
}

fn again(mut call: impl FnMut() -> isize) -> io::Result<usize> {
    loop {
        if let Ok(count) = usize::try_from(call()) {
            return Ok(count);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}
