//! Every exit code claudebox itself gives, in one place.
//!
//! Codes 64 to 78 follow `sysexits.h`, 124 to 128+n follow the shell and `timeout(1)`, so that scripts which know
//! those need to learn nothing new. Whatever a child process returned is passed on unchanged as [`ExitCode::Child`].

/// The exit code of a claudebox process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitCode {
    /// 0: done.
    Ok,
    /// 1: a check failed (`doctor`, `healthcheck`), or the model or its API reported an error.
    Failure,
    /// 3: the run stopped at `--max-budget-usd`.
    Budget,
    /// 4: the run stopped at `--max-turns`.
    MaxTurns,
    /// 64: the command line is wrong (`EX_USAGE`).
    Usage,
    /// 65: the answer does not follow `--json-schema` (`EX_DATAERR`).
    SchemaMissed,
    /// 66: the session to resume does not exist (`EX_NOINPUT`).
    SessionNotFound,
    /// 69: what is needed cannot be reached: the Claude CLI is not here and cannot be installed (`EX_UNAVAILABLE`).
    Unavailable,
    /// 70: a fault of claudebox itself or of the system under it (`EX_SOFTWARE`).
    Internal,
    /// 74: the CLI ended without a result (`EX_IOERR`).
    Truncated,
    /// 75: rate limited, try again later (`EX_TEMPFAIL`).
    RateLimited,
    /// 77: no credentials, or refused ones (`EX_NOPERM`).
    Auth,
    /// 78: a setting, user or folder is missing or wrong (`EX_CONFIG`).
    Config,
    /// 124: no result in the time allowed, as `timeout(1)`.
    Hung,
    /// 126: the program to run is not executable.
    NotExecutable,
    /// 127: the program to run was not found.
    NotFound,
    /// 213: to the host command alone: this box was made with other settings.
    BoxDiffers,
    /// 214: to the host command alone: this box takes no calls, it ends or has no servers.
    BoxClosed,
    /// The main child's own exit code, or 128+n when signal n ended it.
    Child(u8),
    /// 128+n: signal n ended this process itself, which ends by it (`cli::end`): a shell stops a loop for that, and for no code.
    Signal(u8),
}

impl ExitCode {
    /// The number the operating system sees.
    pub const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Failure => 1,
            Self::Budget => 3,
            Self::MaxTurns => 4,
            Self::Usage => 64,
            Self::SchemaMissed => 65,
            Self::SessionNotFound => 66,
            Self::Unavailable => 69,
            Self::Internal => 70,
            Self::Truncated => 74,
            Self::RateLimited => 75,
            Self::Auth => 77,
            Self::Config => 78,
            Self::Hung => 124,
            Self::NotExecutable => 126,
            Self::NotFound => 127,
            Self::BoxDiffers => 213,
            Self::BoxClosed => 214,
            Self::Child(code) => code,
            Self::Signal(signal) => 128_u8.saturating_add(signal),
        }
    }

    /// The code of a process that signal `signal` (1 to 64) ended: 128+n.
    #[must_use]
    pub fn from_signal(signal: i32) -> Self {
        Self::Child(u8::try_from(signal).map_or(u8::MAX, |n| 128_u8.saturating_add(n)))
    }

    /// The code of this process, which signal `signal` has ended.
    #[must_use]
    pub fn by_signal(signal: i32) -> Self {
        u8::try_from(signal).map_or_else(|_| Self::from_signal(signal), Self::Signal)
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code.code())
    }
}
