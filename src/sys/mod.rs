//! System calls that no safe wrapper covers; the only `unsafe` of the crate.
//!
//! Signals are plain numbers here (1 to 64): `nix::sys::signal::Signal` has no real-time signals, and its `waitpid`
//! reaps a child that one of those ended and then fails, which loses the child's status.
#![expect(unsafe_code, reason = "the one module that talks to the C library directly; each use says why it is sound")]

pub mod packet;

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// Connects to the socket at `path` without waiting, and lets go at once. [`io::ErrorKind::WouldBlock`]: somebody listens,
/// whose queue is full.
pub fn try_connect(path: &Path) -> io::Result<()> {
    // SAFETY: all zeros are a valid address of no family.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = libc::sa_family_t::try_from(libc::AF_UNIX).map_err(io::Error::other)?;
    let path = path.as_os_str().as_bytes();
    // The last byte stays the zero that ends the path.
    if path.len() >= address.sun_path.len() || path.contains(&0) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in address.sun_path.iter_mut().zip(path) {
        *to = from.cast_signed() as libc::c_char;
    }
    // SAFETY: no pointers.
    let fd = unsafe { libc::socket(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is new, open, and nobody else's.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let length = libc::socklen_t::try_from(size_of::<libc::sockaddr_un>()).map_err(io::Error::other)?;
    // SAFETY: `address` is valid for reading `length` bytes.
    let connected = unsafe { libc::connect(fd.as_raw_fd(), (&raw const address).cast(), length) };
    if connected == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Signal numbers the kernel knows: 1 to 64.
pub const SIGNALS: std::ops::RangeInclusive<i32> = 1..=64;

/// The signal mask and the ignored signals of a process; bit n-1 stands for signal n.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SignalState {
    /// Blocked signals.
    pub blocked: u64,
    /// Signals whose disposition is "ignore".
    pub ignored: u64,
}

impl SignalState {
    /// Whether `signal` is ignored.
    pub const fn ignores(self, signal: i32) -> bool {
        self.ignored & bit(signal) != 0
    }
}

/// What this process was started with, before the Rust runtime set SIGPIPE to "ignore".
///
/// A child must get exactly this back (docs/pid1-checklist.md, 15).
pub fn inherited_signals() -> SignalState {
    SignalState {
        blocked: INHERITED_BLOCKED.load(Ordering::Relaxed),
        ignored: INHERITED_IGNORED.load(Ordering::Relaxed),
    }
}

static INHERITED_BLOCKED: AtomicU64 = AtomicU64::new(0);
static INHERITED_IGNORED: AtomicU64 = AtomicU64::new(0);

/// Runs before `main`, because the runtime changes SIGPIPE before any of our code.
#[used]
#[unsafe(link_section = ".init_array")]
static CAPTURE_INHERITED_SIGNALS: extern "C" fn() = {
    extern "C" fn capture() {
        INHERITED_BLOCKED.store(current_mask(), Ordering::Relaxed);
        let ignored = SIGNALS.filter(|&signal| is_ignored(signal)).fold(0, |set, signal| set | bit(signal));
        INHERITED_IGNORED.store(ignored, Ordering::Relaxed);
    }
    capture
};

const fn bit(signal: i32) -> u64 {
    1 << (signal - 1)
}

fn current_mask() -> u64 {
    let mut set = empty_set();
    // SAFETY: `set` is a valid sigset_t; a null `set` argument only queries.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, std::ptr::null(), &raw mut set) };
    // SAFETY: `set` is initialised and the signal number is in range.
    SIGNALS
        .filter(|&signal| unsafe { libc::sigismember(&raw const set, signal) } == 1)
        .fold(0, |all, signal| all | bit(signal))
}

fn is_ignored(signal: i32) -> bool {
    // SAFETY: sigaction is plain data, all-zero is a valid value of it.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: a null new action only queries; `action` is valid for writing.
    let known = unsafe { libc::sigaction(signal, std::ptr::null(), &raw mut action) } == 0;
    known && action.sa_sigaction == libc::SIG_IGN
}

fn empty_set() -> libc::sigset_t {
    // SAFETY: sigset_t is plain data; sigemptyset initialises it.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is valid for writing.
    unsafe { libc::sigemptyset(&raw mut set) };
    set
}

/// Sets this thread's signal mask to exactly `blocked`.
pub fn set_mask(blocked: u64) {
    let mut set = empty_set();
    for signal in SIGNALS.filter(|&signal| blocked & bit(signal) != 0) {
        // SAFETY: `set` is initialised; a number the C library reserves is refused, not undefined.
        unsafe { libc::sigaddset(&raw mut set, signal) };
    }
    // SAFETY: `set` is initialised.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut()) };
}

/// Sets `signal` to "ignore" or to its default action. Numbers the kernel refuses (KILL, STOP) are left alone.
pub fn set_disposition(signal: i32, ignore: bool) {
    // SAFETY: only SIG_IGN and SIG_DFL are installed, never a handler.
    unsafe { libc::signal(signal, if ignore { libc::SIG_IGN } else { libc::SIG_DFL }) };
}

/// Reaps one child of this process, if one has exited or stopped: its pid and raw wait status.
///
/// `Ok(None)`: children exist, none has changed. Error `ECHILD`: there are no children left.
pub fn wait_any() -> io::Result<Option<(i32, i32)>> {
    let mut status = 0;
    // SAFETY: `status` is valid for writing.
    match unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG | libc::WUNTRACED) } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        pid => Ok(Some((pid, status))),
    }
}

/// `kill(2)` with a plain signal number, so that real-time signals can be forwarded.
pub fn kill(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: kill takes plain numbers.
    if unsafe { libc::kill(pid, signal) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A descriptor of the process `pid` that becomes readable when it ends, even if it is not this process's child.
pub fn process_descriptor(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: pidfd_open takes plain numbers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = i32::try_from(fd).ok().filter(|&fd| fd >= 0).ok_or_else(io::Error::last_os_error)?;
    // SAFETY: it is new, open, and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sends a signal to the process of this descriptor. Nobody else can get it, whoever has its pid now.
pub fn signal_process(process: &OwnedFd, signal: i32) -> io::Result<()> {
    // SAFETY: plain numbers, and a null pointer that stands for the usual details.
    let sent = unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, process.as_raw_fd(), signal, std::ptr::null::<libc::siginfo_t>(), 0)
    };
    if sent == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Marks every descriptor from `first` on close-on-exec: a child gets its standard streams and nothing else.
pub fn close_on_exec_from(first: u32) -> io::Result<()> {
    // SAFETY: close_range with CLOEXEC only sets a flag on descriptors of this process.
    let done = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The version of the kernel's Landlock; 0: it has none, or it is off.
pub fn landlock_version() -> u32 {
    const VERSION: u32 = 1;
    // SAFETY: no attributes are read where the version is asked for.
    let version =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<libc::c_void>(), 0_usize, VERSION) };
    u32::try_from(version).unwrap_or(0)
}

/// Whether the kernel filters system calls.
pub fn has_seccomp() -> bool {
    // SAFETY: a filter that is not there is refused, and nothing is changed: with EFAULT where there are filters.
    let refused =
        unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, std::ptr::null::<libc::c_void>()) };
    refused == -1 && io::Error::last_os_error().raw_os_error() == Some(libc::EFAULT)
}

/// `fork(2)`: the child's pid, or `None` in the child.
///
/// Only for a process with one thread, which is checked: in the child of any other, a lock that another thread held at
/// that moment is held for good.
pub fn fork() -> io::Result<Option<i32>> {
    if std::fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::other("a process with several threads is not forked"));
    }
    // SAFETY: this is the only thread, so the child is a whole copy of this process.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        pid => Ok(Some(pid)),
    }
}

/// Ends a forked child at once: what its parent has in its buffers is not written a second time.
pub fn exit_forked(code: u8) -> ! {
    // SAFETY: _exit takes a plain number.
    unsafe { libc::_exit(code.into()) }
}

/// Gives back the memory that holds this process's code and constants. What is used again comes back, from the files: of
/// a process that waits for the rest of its life after a busy start, that is little.
pub fn forget_code() {
    extern "C" fn forget(object: *mut libc::dl_phdr_info, _size: usize, _data: *mut libc::c_void) -> i32 {
        // SAFETY: the C library hands out a valid object for the time of the call, with so many headers.
        let (base, headers) = unsafe {
            let object = &*object;
            (object.dlpi_addr, std::slice::from_raw_parts(object.dlpi_phdr, object.dlpi_phnum.into()))
        };
        // SAFETY: sysconf takes a plain number.
        let page = u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
        for header in headers.iter().filter(|header| header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W == 0)
        {
            let start = (base + header.p_vaddr) & !(page - 1);
            let length = (base + header.p_vaddr + header.p_memsz - start).next_multiple_of(page);
            let (start, Ok(length)) = (start as *mut libc::c_void, usize::try_from(length)) else { continue };
            // SAFETY: these pages are of a segment that nobody may write to, so the file has all that is in them. What is
            // relocated at the start is in a segment that was writable then, and is not among these.
            unsafe { libc::madvise(start, length, libc::MADV_DONTNEED) };
        }
        0
    }
    // SAFETY: the function keeps nothing of what it is given.
    unsafe { libc::dl_iterate_phdr(Some(forget), std::ptr::null_mut()) };
}

/// Whether what is open, by its path alone perhaps, has a list of who may access it beside its mode.
pub fn has_access_list(fd: BorrowedFd<'_>) -> bool {
    let Ok(path) = CString::new(format!("/proc/self/fd/{}", fd.as_raw_fd())) else { return false };
    let name = c"system.posix_acl_access";
    // SAFETY: both are strings with their ends; nothing is written to a buffer without a length.
    unsafe { libc::getxattr(path.as_ptr(), name.as_ptr(), std::ptr::null_mut(), 0) > 0 }
}

/// A random number, 0.0 to 1.0; 0.5 where the kernel has none yet (a machine that is just starting).
pub fn chance() -> f64 {
    let mut bytes = [0; 4];
    // SAFETY: `bytes` is valid for writing its length.
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), libc::GRND_NONBLOCK) };
    if got == 4 { f64::from(u32::from_ne_bytes(bytes)) / f64::from(u32::MAX) } else { 0.5 }
}

/// Random bytes that nobody can guess; waits for them on a machine that is just starting.
pub fn random_bytes<const LENGTH: usize>() -> io::Result<[u8; LENGTH]> {
    let mut bytes = [0; LENGTH];
    // SAFETY: `bytes` is valid for writing its length.
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), LENGTH, 0) };
    // The kernel gives up to 256 bytes whole, or none.
    if usize::try_from(got) == Ok(LENGTH) { Ok(bytes) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mask_round_trips_through_the_kernel() {
        let before = current_mask();
        let wanted = bit(libc::SIGUSR1) | bit(libc::SIGRTMIN() + 3);
        set_mask(wanted);
        let seen = current_mask();
        set_mask(before);
        assert_eq!(seen, wanted);
    }

    #[test]
    fn disposition_is_seen_as_ignored() {
        set_disposition(libc::SIGURG, true);
        assert!(is_ignored(libc::SIGURG));
        set_disposition(libc::SIGURG, false);
        assert!(!is_ignored(libc::SIGURG));
    }

    #[test]
    fn a_process_with_threads_is_not_forked() {
        // The test runner's own thread is there besides this one.
        assert!(fork().is_err());
    }

    #[test]
    fn forgotten_code_comes_back() {
        let constant = "what a constant says".to_owned();
        forget_code();
        assert_eq!(constant, "what a constant says");
        assert!(kill(i32::MAX, 0).is_err());
    }

    #[test]
    fn kill_reports_a_missing_process() {
        let error = kill(i32::MAX, 0).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ESRCH));
    }
}
