//! `launch`: becomes the interactive CLI.

use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::super::configure::configure;
use super::super::failure::Failure;
use super::scratch::Scratch;
use super::surroundings::{Surroundings, run_of, say_unwritable, settings_of};
use super::walls::{Enclosure, around_claude};
use crate::claude::reach::For;
use crate::claude::sessions::Side;
use crate::claude::{arguments, binary};
use crate::config::environment::Environment;
use crate::exit_code::ExitCode;
use crate::privilege::helper;
use crate::process::spawn;
use crate::sys;

/// Hidden role: prepares the CLI's files and becomes the interactive CLI.
pub(in super::super) const ROLE: &str = "launch";
/// How long a warning stays on the terminal before the CLI takes it, unless it has been read before.
const READING_TIME: Duration = Duration::from_secs(15);

/// `launch`: already the box's user, in the workspace, on the terminal.
pub(in super::super) fn run(args: &[OsString], env: &impl Environment) -> Result<ExitCode, Failure> {
    let config = configure(env)?;
    let run = run_of(args)?;
    let place = Surroundings::of_child(&config)?;
    let program = binary::of_box(&config, env).map_err(|error| Failure::new(error.exit_code(), error))?;
    let settings = settings_of(&run.options, &config, env)?;
    let standing = place.settle(&config, env);
    let unwritable = say_unwritable(&place.workspace);
    let opened = place.open(&run.options, Side::Terminal).map_err(|error| Failure::of_session(&error))?;
    if unwritable || opened.choice.tells_of_loss {
        await_reader();
    }
    let session = &opened.choice.session;
    let Enclosure { mut walls, environment, scratch } =
        around_claude(&config, &place.sessions, &place.workspace, session, For::APerson, env)
            .map_err(Failure::config)?;
    if let Some(fence) = &mut walls.fence {
        fence.shown.extend(standing.clone());
    }
    opened.outlive_exec().map_err(Failure::internal)?;
    scratch.map_or(Ok(()), Scratch::outlive_exec).map_err(Failure::internal)?;
    let mut command = vec![program.into_os_string()];
    command.extend(arguments::interactive(&run.options, &opened.choice.session, standing.as_deref(), &settings));
    let command: Result<Vec<CString>, _> = command.into_iter().map(|arg| CString::new(arg.into_vec())).collect();
    let command = command.map_err(Failure::usage)?;
    let environment = spawn::environment(&environment).map_err(Failure::internal)?;
    walls.put_up().map_err(Failure::config)?;
    match helper::execute(&command, Some(&environment), sys::inherited_signals()) {
        Ok(never) => match never {},
        Err(error) => Err(Failure::new(error.exit_code(), error)),
    }
}

/// Gives a person time to read what was said: the CLI is about to take the whole screen.
fn await_reader() {
    tracing::warn!("Enter opens it, or {} seconds", READING_TIME.as_secs());
    let limit = PollTimeout::try_from(READING_TIME).unwrap_or(PollTimeout::ZERO);
    let typed = poll(&mut [PollFd::new(io::stdin().as_fd(), PollFlags::POLLIN)], limit);
    if typed.is_ok_and(|count| count > 0) {
        // One line at most, as the terminal is in its line mode.
        let _ = nix::unistd::read(io::stdin(), &mut [0; 4096]);
    }
}
