//! What PID 1 does for `claudebox serve`: `(state, event) -> (state, actions)`, without side effects.
//!
//! It differs from the main child of [`super::machine`] in two things: it is started again when it ends unasked, and it is
//! asked now and then whether it still answers ([`super::pulse`]). The end of the box is the same, so that machine decides it.

mod action;

use std::time::Duration;

pub use self::action::{Action, Notice};
use super::leftovers;
use super::machine::{self, Machine};
use super::pulse::{Beat, Pulse};
use super::restart::{Loudness, Restarts};
use crate::exit_code::ExitCode;
use crate::process::events::asks_to_stop;
use crate::process::status::ChildStatus;

/// How long ending the runs of a `serve` that has ended may take. Who does it gives up earlier by itself.
pub const CLEAR_LIMIT: Duration = Duration::from_secs(5);
const _: () = assert!(
    CLEAR_LIMIT.as_millis() > 2 * (leftovers::TERM_GRACE.as_millis() + leftovers::KILL_GRACE.as_millis()),
    "a sweep must be over before the next serve starts runs"
);

/// Something happened.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Event {
    /// This process got a signal (any but CHLD).
    Signal(i32),
    /// `serve` said that it is ready.
    Ready,
    /// `serve` said that its work is done: it is about to end, and the box with it.
    Done,
    /// `serve` has answered.
    Pong,
    /// A signal stopped `serve`.
    ServeStopped,
    /// `serve` exited or was killed.
    ServeEnded {
        /// How.
        status: ChildStatus,
        /// How long it had run.
        uptime: Duration,
        /// The random part of the delay before the next start, 0.0 to 1.0.
        chance: f64,
        /// Whether this process still has children.
        others: bool,
    },
    /// What the runs had left has been ended.
    RunsEnded {
        /// Whether this process still has children.
        others: bool,
    },
    /// Other children ended; whether any is left.
    OthersEnded {
        /// Whether this process still has children.
        others: bool,
    },
    /// The time asked for with [`Action::SetDeadline`] is over.
    DeadlinePassed,
}

/// The state of a box with servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Service {
    phase: Phase,
    backoff: Restarts,
    restarts: u32,
    grace: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// `serve` runs.
    Up {
        /// How it answers.
        pulse: Pulse,
        /// Whether it said that its work is done.
        done: bool,
    },
    /// It has ended, its runs are being ended, and after this time it is started again.
    Clearing(Duration),
    /// It is started again when the deadline has passed.
    Waiting,
    /// The box ends.
    Ending(Machine),
}

impl Service {
    /// A `serve` to start; it gets `grace` between TERM and KILL. What to do first.
    pub fn begin(grace: Duration) -> (Self, Vec<Action>) {
        let service = Self { phase: STARTED, backoff: Restarts::default(), restarts: 0, grace };
        (service, vec![Action::ShowReady(false), Action::Start(0)])
    }

    /// Whether the box ends.
    pub const fn is_ending(&self) -> bool {
        matches!(self.phase, Phase::Ending(_))
    }

    /// Takes one event and says what to do, in order.
    pub fn on(&mut self, event: Event) -> Vec<Action> {
        match (self.phase, event) {
            (Phase::Ending(machine), event) => self.go_on_ending(machine, event),
            (Phase::Up { .. }, Event::Signal(signal)) if asks_to_stop(signal) => {
                let mut actions = vec![Action::ShowReady(false), Action::AskToStop];
                actions.extend(self.end(machine::Event::Signal(libc::SIGTERM)));
                actions
            }
            (Phase::Clearing(_) | Phase::Waiting, Event::Signal(signal)) if asks_to_stop(signal) => {
                // Whether anybody is left is not known here.
                let code = ExitCode::from_signal(signal);
                let mut actions = self.end(machine::Event::MainEnded { code, others: true });
                actions.push(Action::Look);
                actions
            }
            (Phase::Up { pulse, done }, Event::Ready) => self.beat(pulse, done, Beat::Ready),
            (Phase::Up { pulse, done }, Event::Pong) => self.beat(pulse, done, Beat::Answered),
            (Phase::Up { pulse, done }, Event::ServeStopped) => self.beat(pulse, done, Beat::Stopped),
            (Phase::Up { pulse, done }, Event::DeadlinePassed) => self.beat(pulse, done, Beat::Due),
            (Phase::Up { pulse, .. }, Event::Done) => {
                self.phase = Phase::Up { pulse, done: true };
                vec![]
            }
            (Phase::Up { done, .. }, Event::ServeEnded { status, uptime, chance, others }) => {
                match permanent(status, done) {
                    Some(code) => {
                        let mut actions = vec![Action::ShowReady(false), Action::Tell(Notice::Final(status))];
                        actions.extend(self.end(machine::Event::MainEnded { code, others }));
                        actions
                    }
                    None => self.schedule(status, uptime, chance),
                }
            }
            (Phase::Clearing(delay), Event::RunsEnded { .. }) => self.wait(delay),
            (Phase::Clearing(delay), Event::DeadlinePassed) => {
                let mut actions = vec![Action::AbandonRuns];
                actions.extend(self.wait(delay));
                actions
            }
            (Phase::Waiting, Event::DeadlinePassed) => {
                self.phase = STARTED;
                vec![Action::Start(self.restarts)]
            }
            // Other signals have no meaning for servers, and most would end one that does not expect them.
            _ => vec![],
        }
    }

    fn beat(&mut self, mut pulse: Pulse, done: bool, beat: Beat) -> Vec<Action> {
        let actions = pulse.on(beat);
        self.phase = Phase::Up { pulse, done };
        actions
    }

    fn schedule(&mut self, status: ChildStatus, uptime: Duration, chance: f64) -> Vec<Action> {
        let delay = self.backoff.next_delay(uptime, chance);
        self.restarts = self.restarts.saturating_add(1);
        self.phase = Phase::Clearing(delay);
        let mut actions = vec![Action::ShowReady(false)];
        let restart = Action::Tell(Notice::Restart { status, uptime, restarts: self.restarts, delay });
        match self.backoff.loudness() {
            Loudness::Line => actions.push(restart),
            Loudness::Alarm => actions.extend([restart, Action::Tell(Notice::KeepsFailing(self.backoff.deaths()))]),
            Loudness::Nothing => {}
        }
        actions.extend([Action::EndRuns, Action::SetDeadline(CLEAR_LIMIT)]);
        actions
    }

    fn wait(&mut self, delay: Duration) -> Vec<Action> {
        self.phase = Phase::Waiting;
        vec![Action::SetDeadline(delay)]
    }

    fn end(&mut self, event: machine::Event) -> Vec<Action> {
        let mut machine = Machine::new(self.grace);
        let actions = translate(machine.on(event));
        self.phase = Phase::Ending(machine);
        actions
    }

    fn go_on_ending(&mut self, mut machine: Machine, event: Event) -> Vec<Action> {
        let event = match event {
            Event::Signal(signal) if asks_to_stop(signal) => machine::Event::Signal(libc::SIGTERM),
            Event::ServeEnded { status, others, .. } => machine::main_event(status, others),
            Event::RunsEnded { others } | Event::OthersEnded { others } => machine::Event::OthersEnded { others },
            Event::DeadlinePassed => machine::Event::DeadlinePassed,
            Event::Signal(_) | Event::Ready | Event::Done | Event::Pong | Event::ServeStopped => return vec![],
        };
        let actions = translate(machine.on(event));
        self.phase = Phase::Ending(machine);
        actions
    }
}

/// A `serve` that was just started.
const STARTED: Phase = Phase::Up { pulse: Pulse::STARTED, done: false };

/// The box's exit code, if `serve` ended in a way that a restart does not mend: what it was told is wrong, or it said that
/// its work is done.
fn permanent(status: ChildStatus, done: bool) -> Option<ExitCode> {
    let ChildStatus::Exited(code) = status else { return None };
    let is_final =
        [ExitCode::Usage.code(), ExitCode::Config.code()].contains(&code) || done && code == ExitCode::Ok.code();
    is_final.then_some(ExitCode::Child(code))
}

fn translate(actions: Vec<machine::Action>) -> Vec<Action> {
    let translated = actions.into_iter().filter_map(|action| match action {
        machine::Action::SignalMain(signal) => Some(Action::SignalServe(signal)),
        machine::Action::SignalEveryone(signal) => Some(Action::SignalEveryone(signal)),
        machine::Action::SetDeadline(after) => Some(Action::SetDeadline(after)),
        machine::Action::Finish(code) => Some(Action::Finish(code)),
        // It has no terminal.
        machine::Action::MainSuspended(_) => None,
    });
    translated.collect()
}

#[cfg(test)]
mod tests;
