//! `serve`, and the role that ends what belongs to a run for it.

use std::ffi::OsString;
use std::io;

use super::{Failure, log, roles};
use crate::config::environment::Environment;
use crate::exit_code::ExitCode;
use crate::init::leftovers::{self, Scope};
use crate::process::events::{self, Interest, Signals};
use crate::process::link::{Link, Message};

/// `serve`: the servers. None is built in yet, so it only says that it is ready and waits for its end.
pub(super) fn run(env: &impl Environment) -> Result<ExitCode, Failure> {
    roles::configure(env)?;
    let internal = |error: io::Error| Failure::new(ExitCode::Internal, error);
    let signals = Signals::block_all().map_err(internal)?;
    let link = Link::from_stdin().map_err(internal)?;
    if let Some(link) = &link {
        link.send(&Message::Ready).map_err(internal)?;
    }
    wait_for_the_end(&signals, link.as_ref()).map_err(internal)?;
    Ok(ExitCode::Ok)
}

fn wait_for_the_end(signals: &Signals, link: Option<&Link>) -> io::Result<()> {
    loop {
        while let Some(signal) = signals.next()? {
            if events::asks_to_stop(signal) {
                return Ok(());
            }
        }
        match link.map(Link::try_receive) {
            None => {}
            // PID 1 asks, or has gone.
            Some(Ok(Some(Message::Stop) | None)) => return Ok(()),
            Some(Ok(Some(_))) => continue,
            Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
            Some(Err(error)) => return Err(error),
        }
        let interests: Vec<Interest<'_>> = link.into_iter().map(Interest::readable).collect();
        events::wait(signals, &interests, None)?;
    }
}

/// `end-runs`: ends what belongs to a run, or to all of them, and tells `serve` if PID 1 handed its end of the link on.
pub(super) fn end_runs(arguments: &[OsString]) -> Result<ExitCode, Failure> {
    log::start(false);
    let internal = |error: io::Error| Failure::new(ExitCode::Internal, error);
    let scope = Scope::from_arguments(arguments)
        .ok_or_else(|| Failure::new(ExitCode::Usage, "the `end-runs` role is internal"))?;
    let link = Link::from_stdin().map_err(internal)?;
    let count = leftovers::end(&scope).map_err(internal)?;
    match (link, scope.run) {
        (Some(link), Some(run)) => {
            // A `serve` that does not read any more is about to end.
            if let Err(error) = link.try_send(&Message::Ended { run, count }) {
                tracing::warn!("serve is not told that {count} processes of a run were ended: {error}");
            }
        }
        _ if count > 0 => tracing::warn!("{count} processes that runs had left were ended"),
        _ => {}
    }
    Ok(ExitCode::Ok)
}
