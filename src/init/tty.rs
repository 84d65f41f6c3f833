//! Lending the terminal to the main child, and getting it back clean.
//!
//! Only a foreground process has a terminal to lend. A box that a shell started in the background, or sent there with
//! `bg`, leaves it alone: the shell reads from it, and ends when somebody takes it away.

use std::io::{self, IsTerminal, Stdin};

use nix::sys::termios::{FlushArg, SetArg, Termios, tcflush, tcgetattr, tcsetattr};
use nix::unistd::{Pid, getpgrp, tcgetpgrp, tcsetpgrp};

use crate::sys;

/// Two lines up, to the line's beginning, and clear from there on.
const CLEAR_TWO_LINES: &[u8] = b"\x1b[2A\r\x1b[J";

/// The terminal on standard input, as it was before the main child got it.
pub struct Tty {
    stdin: Stdin,
    settings: Termios,
}

impl Tty {
    /// Remembers the terminal's settings; `None` when standard input is no terminal.
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

    /// Takes off the screen what the CLI has just said in two lines: that it is suspended, and to come back with `fg`, which nobody
    /// can type here. It goes on, on a screen of its own, and they would be read after its end.
    pub fn deny_suspension(&self) {
        // One that is open for reading alone stays as it is.
        let _ = nix::unistd::write(&self.stdin, CLEAR_TWO_LINES);
    }

    /// Whether this process's own group is in the foreground.
    pub fn is_own(&self) -> bool {
        self.is_lent_to(getpgrp().as_raw())
    }

    /// Whether `group` is in the foreground.
    pub fn is_lent_to(&self, group: i32) -> bool {
        self.foreground() == Some(group)
    }

    fn foreground(&self) -> Option<i32> {
        tcgetpgrp(&self.stdin).ok().map(Pid::as_raw)
    }

    /// Takes the terminal back from a main child that has ended with everything it started: foreground, settings, and
    /// an empty input queue. A living group in the foreground is somebody else's.
    ///
    /// Input that nobody has read is thrown away because user code can put it there (TIOCSTI): the next reader may
    /// be a root shell.
    pub fn take_back(&self) {
        if self.is_somebody_elses() {
            return;
        }
        self.take_foreground();
        let _ = tcsetattr(&self.stdin, SetArg::TCSANOW, &self.settings);
        let _ = tcflush(&self.stdin, FlushArg::TCIFLUSH);
    }

    fn is_somebody_elses(&self) -> bool {
        match self.foreground() {
            None => false,
            Some(group) if group == getpgrp().as_raw() => false,
            // `kill` takes -1 for everybody but PID 1; its group lives as long as this PID namespace.
            Some(1) => true,
            Some(group) => {
                let asked = sys::kill(-group, 0);
                !asked.is_err_and(|error| error.raw_os_error() == Some(libc::ESRCH))
            }
        }
    }

    /// Puts this process's own group in the foreground.
    pub fn take_foreground(&self) {
        self.lend(getpgrp().as_raw());
    }
}
