//! A run for `serve`: what happens goes to the engine as it comes, and last how it ended.

use std::io::{self, Write};
use std::path::Path;

use serde_json::Value;
use uuid::Uuid;

use super::finished::Finished;
use super::one_shot::{self, OneShot};
use super::output::Audience;
use super::peer::ToEngine;
use super::process::Control;
use crate::claude::envelope;
use crate::claude::event::{Event, Kind};
use crate::claude::outcome::Outcome;
use crate::process::events::Signals;
use crate::turn::protocol::{FromWorker, RunReport};

/// Carries `request` out, telling the engine of it on `out`.
pub fn run(
    request: &OneShot,
    verbose: bool,
    signals: &Signals,
    control: &mut (dyn Control + 'static),
    out: impl Write,
) -> io::Result<Finished> {
    let mut relay = Relay { engine: ToEngine::new(out), held: Vec::new(), begun: false };
    let finished = one_shot::run(request, signals, Some(control), &mut relay)?;
    // Whoever learns that the run has ended may go on with its session.
    request.opened.release();
    relay.flush()?;
    relay.engine.send(&FromWorker::Report(Box::new(finished.report(verbose))))?;
    Ok(finished)
}

/// Reports that nothing was begun for the run, and why.
pub fn refuse(run: Uuid, workspace: &Path, outcome: Outcome, why: &str, out: impl Write) -> io::Result<()> {
    let report = RunReport {
        outcome,
        complaint: Some(why.to_owned()),
        envelope: envelope::without_result(run, workspace, outcome.name(), why),
        session_id: None,
        reaped: 0,
    };
    ToEngine::new(out).send(&FromWorker::Report(Box::new(report)))
}

impl Finished {
    fn report(&self, verbose: bool) -> RunReport {
        let mut envelope = self.envelope();
        if verbose {
            self.transcript.add_details(&mut envelope);
        }
        RunReport {
            outcome: self.outcome,
            complaint: self.complaint(),
            envelope,
            session_id: self.transcript.session_id().map(str::to_owned),
            reaped: self.ended.leftovers.try_into().unwrap_or(u64::MAX),
        }
    }
}

/// Hands events on.
struct Relay<W> {
    engine: ToEngine<W>,
    /// Events before the session is known to exist: if it does not, a fresh one is tried and these are dropped.
    held: Vec<Value>,
    begun: bool,
}

impl<W: Write> Relay<W> {
    fn flush(&mut self) -> io::Result<()> {
        for event in std::mem::take(&mut self.held) {
            self.engine.send(&FromWorker::Event(&serde_json::to_vec(&event)?))?;
        }
        Ok(())
    }
}

impl<W: Write> Audience for Relay<W> {
    fn event(&mut self, event: &Event) -> io::Result<()> {
        self.held.push(envelope::camel_case(event.json()));
        self.begun |= event.kind() == Kind::Init;
        if self.begun { self.flush() } else { Ok(()) }
    }

    fn forget(&mut self) {
        self.held.clear();
        self.begun = false;
    }

    fn stuck(&mut self) {
        // Nobody there to help: what can be ended has been.
        let _ = self.engine.send(&FromWorker::Stuck);
    }
}
