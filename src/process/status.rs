//! How a child changed state, decoded from the raw wait status.

use std::fmt;

use signal_hook::low_level::signal_name;

use crate::exit_code::ExitCode;

/// What `waitpid` said of a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChildStatus {
    /// It exited with this code (0 to 255).
    Exited(u8),
    /// This signal (1 to 64) ended it.
    Signaled(i32),
    /// This signal stopped it; it is not dead.
    Stopped(i32),
}

impl ChildStatus {
    /// Decodes a raw wait status.
    #[must_use]
    pub fn from_raw(raw: i32) -> Self {
        if libc::WIFSTOPPED(raw) {
            Self::Stopped(libc::WSTOPSIG(raw))
        } else if libc::WIFSIGNALED(raw) {
            Self::Signaled(libc::WTERMSIG(raw))
        } else {
            Self::Exited(u8::try_from(libc::WEXITSTATUS(raw) & 0xff).unwrap_or(u8::MAX))
        }
    }

    /// The exit code to pass on: the child's own, or 128+n for death by signal n. `None` while it lives.
    pub fn exit_code(self) -> Option<ExitCode> {
        match self {
            Self::Exited(code) => Some(ExitCode::Child(code)),
            Self::Signaled(signal) => Some(ExitCode::from_signal(signal)),
            Self::Stopped(_) => None,
        }
    }
}

/// What happened to the process, as the end of a sentence about it.
impl fmt::Display for ChildStatus {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Exited(code) => write!(out, "ended with exit code {code}"),
            Self::Signaled(signal) => write!(out, "was ended by {}", name(signal)),
            Self::Stopped(signal) => write!(out, "was stopped by {}", name(signal)),
        }
    }
}

fn name(signal: i32) -> String {
    // Real-time signals have none.
    signal_name(signal).map_or_else(|| format!("signal {signal}"), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(ChildStatus::Exited(3), "ended with exit code 3")]
    #[case(ChildStatus::Signaled(9), "was ended by SIGKILL")]
    #[case(ChildStatus::Signaled(40), "was ended by signal 40")]
    fn says_what_happened(#[case] status: ChildStatus, #[case] text: &str) {
        assert_eq!(status.to_string(), text);
    }

    #[rstest]
    #[case(0, ChildStatus::Exited(0), Some(0))]
    #[case(3 << 8, ChildStatus::Exited(3), Some(3))]
    #[case(255 << 8, ChildStatus::Exited(255), Some(255))]
    #[case(libc::SIGKILL, ChildStatus::Signaled(9), Some(137))]
    #[case(libc::SIGSEGV | 0x80, ChildStatus::Signaled(11), Some(139))]
    #[case(64, ChildStatus::Signaled(64), Some(192))]
    #[case((libc::SIGSTOP << 8) | 0x7f, ChildStatus::Stopped(19), None)]
    fn decodes(#[case] raw: i32, #[case] status: ChildStatus, #[case] code: Option<u8>) {
        assert_eq!(ChildStatus::from_raw(raw), status);
        assert_eq!(status.exit_code().map(ExitCode::code), code);
    }
}
