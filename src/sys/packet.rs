//! Packets between two processes: a pair of `AF_UNIX` `SOCK_SEQPACKET` sockets. A packet arrives whole or not at all, in
//! order, and the end of the other side is seen.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};

/// No packet brings more descriptors.
pub const DESCRIPTORS: usize = 3;

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

/// Sends one packet, and with it copies of these descriptors, three at most.
pub fn send_with(fd: &impl AsFd, packet: &[u8], descriptors: &[BorrowedFd<'_>], wait: Wait) -> io::Result<()> {
    let raw: Vec<i32> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let rights = if raw.is_empty() { &[][..] } else { &rights };
    let flags = MsgFlags::MSG_NOSIGNAL | wait.flags();
    let sent = || sendmsg::<()>(fd.as_fd().as_raw_fd(), &[IoSlice::new(packet)], rights, flags, None);
    loop {
        match sent() {
            Err(Errno::EINTR) => {}
            other => return other.map(drop).map_err(Into::into),
        }
    }
}

/// Receives one packet into `buffer`, and gives its full length: more than the buffer holds means that the rest is lost.
/// 0 is the end: the other side has gone. The descriptors that came with it too; of more than [`DESCRIPTORS`] the rest is closed.
pub fn receive_with(fd: &impl AsFd, buffer: &mut [u8], wait: Wait) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = nix::cmsg_space!([i32; DESCRIPTORS]);
    let flags = MsgFlags::MSG_TRUNC | MsgFlags::MSG_CMSG_CLOEXEC | wait.flags();
    let (length, raw) = loop {
        let mut parts = [IoSliceMut::new(buffer)];
        match recvmsg::<()>(fd.as_fd().as_raw_fd(), &mut parts, Some(&mut space), flags) {
            Err(Errno::EINTR) => {}
            // It has gone and left packets of ours unread.
            Err(Errno::ECONNRESET) => break (0, Vec::new()),
            Err(error) => return Err(error.into()),
            Ok(message) => {
                let rights = message.cmsgs().into_iter().flatten().flat_map(|part| match part {
                    ControlMessageOwned::ScmRights(raw) => raw,
                    _ => Vec::new(),
                });
                break (message.bytes, rights.collect());
            }
        }
    };
    // SAFETY: the kernel has just made them for this process, and nobody else knows of them.
    Ok((length, raw.into_iter().map(|raw| unsafe { OwnedFd::from_raw_fd(raw) }).collect()))
}

impl Wait {
    const fn flags(self) -> MsgFlags {
        MsgFlags::from_bits_retain(self.flag())
    }

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
