//! Lending the terminal to the main child, and getting it back clean.

use std::io::{self, IsTerminal, Stdin};

use nix::sys::termios::{FlushArg, SetArg, Termios, tcflush, tcgetattr, tcsetattr};
use nix::unistd::{Pid, getpgrp, tcsetpgrp};

/// The terminal on standard input, as it was before the main child got it.
pub struct Tty {
    stdin: Stdin,
    settings: Termios,
}

impl Tty {
    /// Remembers the terminal's settings; `None` when standard input is no terminal.
    #[must_use]
    pub fn remember() -> Option<Self> {
        let stdin = io::stdin();
        let settings = stdin.is_terminal().then(|| tcgetattr(&stdin).ok()).flatten()?;
        Some(Self { stdin, settings })
    }

    /// Puts `group` in the foreground.
    pub fn lend(&self, group: i32) {
        // Refused when the terminal is not this session's own; then there is no job control to hand over.
        let _ = tcsetpgrp(&self.stdin, Pid::from_raw(group));
    }

    /// Takes the terminal back: foreground, settings, and an empty input queue.
    ///
    /// Input that nobody has read is thrown away because user code can put it there (TIOCSTI): the next reader may
    /// be a root shell.
    pub fn take_back(&self) {
        self.take_foreground();
        let _ = tcsetattr(&self.stdin, SetArg::TCSANOW, &self.settings);
        let _ = tcflush(&self.stdin, FlushArg::TCIFLUSH);
    }

    /// Puts this process's own group in the foreground.
    pub fn take_foreground(&self) {
        self.lend(getpgrp().as_raw());
    }
}
