//! What a supervisor does next: `(state, event) -> (state, actions)`, without side effects.

use std::time::Duration;

use crate::exit_code::ExitCode;
use crate::process::status::ChildStatus;

/// How long processes that outlive the main child have after TERM, before KILL.
pub const SWEEP_GRACE: Duration = Duration::from_secs(1);
/// How long the kernel has to end processes after KILL. Only one stuck in the kernel needs it.
pub const KILL_GRACE: Duration = Duration::from_secs(1);

/// Something happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// This process got a signal (any but CHLD).
    Signal(i32),
    /// The main child exited or was killed; whether other children are left.
    MainEnded {
        /// Its exit code.
        code: ExitCode,
        /// Whether this process still has children.
        others: bool,
    },
    /// A signal stopped the main child.
    MainStopped(i32),
    /// Other children ended; whether any is left.
    OthersEnded {
        /// Whether this process still has children.
        others: bool,
    },
    /// The time asked for with [`Action::SetDeadline`] is over.
    DeadlinePassed,
}

/// Something to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Send a signal to the main child.
    SignalMain(i32),
    /// Send a signal to every process that is to end with this one.
    SignalEveryone(i32),
    /// Send [`Event::DeadlinePassed`] after this time; replaces an earlier deadline.
    SetDeadline(Duration),
    /// This signal of the terminal suspended the main child: bring it back, or suspend with it.
    MainSuspended(i32),
    /// End with this code.
    Finish(ExitCode),
}

/// The supervisor's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    phase: Phase,
    grace: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The main child runs.
    Running,
    /// It was asked to end.
    Stopping,
    /// It has ended with this code; the processes it left behind were asked to end.
    Sweeping(ExitCode),
    /// Everything was killed; the code, once the main child has ended.
    Killing(Option<ExitCode>),
}

impl Machine {
    /// A running main child; it gets `grace` between TERM and KILL.
    #[must_use]
    pub const fn new(grace: Duration) -> Self {
        Self { phase: Phase::Running, grace }
    }

    /// Takes one event and says what to do, in order.
    pub fn on(&mut self, event: Event) -> Vec<Action> {
        let (phase, actions) = self.decide(event);
        self.phase = phase;
        actions
    }

    fn decide(&self, event: Event) -> (Phase, Vec<Action>) {
        use Phase::{Killing, Running, Stopping, Sweeping};
        match (self.phase, event) {
            // A stopped process acts on TERM only once it is continued.
            (Running, Event::Signal(libc::SIGTERM)) => (
                Stopping,
                vec![
                    Action::SignalMain(libc::SIGTERM),
                    Action::SignalMain(libc::SIGCONT),
                    Action::SetDeadline(self.grace),
                ],
            ),
            (Running | Stopping, Event::Signal(signal)) if signal != libc::SIGTERM => {
                (self.phase, vec![Action::SignalMain(signal)])
            }
            (Stopping, Event::Signal(_) | Event::DeadlinePassed) => kill_everyone(None),
            (Running | Stopping, Event::MainEnded { code, others: false }) => {
                (Sweeping(code), vec![Action::Finish(code)])
            }
            (Running | Stopping, Event::MainEnded { code, others: true }) => (
                Sweeping(code),
                vec![
                    Action::SignalEveryone(libc::SIGTERM),
                    Action::SignalEveryone(libc::SIGCONT),
                    Action::SetDeadline(SWEEP_GRACE),
                ],
            ),
            (Running, Event::MainStopped(signal @ (libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU))) => {
                (Running, vec![Action::MainSuspended(signal)])
            }
            (Sweeping(code), Event::OthersEnded { others: false })
            | (Killing(_), Event::MainEnded { code, others: false }) => (self.phase, vec![Action::Finish(code)]),
            (Sweeping(code), Event::DeadlinePassed | Event::Signal(libc::SIGTERM)) => kill_everyone(Some(code)),
            (Killing(_), Event::MainEnded { code, others: true }) => {
                (Killing(Some(code)), vec![Action::SignalEveryone(libc::SIGKILL)])
            }
            // A kill makes orphans of the killed one's children: they are ours now and die next.
            (Killing(_), Event::OthersEnded { others: true }) => {
                (self.phase, vec![Action::SignalEveryone(libc::SIGKILL)])
            }
            (Killing(code), Event::OthersEnded { others: false } | Event::DeadlinePassed) => {
                (self.phase, vec![Action::Finish(code.unwrap_or(KILLED))])
            }
            _ => (self.phase, vec![]),
        }
    }
}

const KILLED: ExitCode = ExitCode::Child(128 + 9);

fn kill_everyone(code: Option<ExitCode>) -> (Phase, Vec<Action>) {
    (Phase::Killing(code), vec![Action::SignalEveryone(libc::SIGKILL), Action::SetDeadline(KILL_GRACE)])
}

/// The event a status of the main child is, if it is one.
pub fn main_event(status: ChildStatus, others: bool) -> Event {
    match (status.exit_code(), status) {
        (Some(code), _) => Event::MainEnded { code, others },
        (None, ChildStatus::Stopped(signal)) => Event::MainStopped(signal),
        (None, _) => Event::OthersEnded { others },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    const GRACE: Duration = Duration::from_secs(7);
    const OK: ExitCode = ExitCode::Child(0);

    fn after(events: &[Event]) -> Machine {
        let mut machine = Machine::new(GRACE);
        for &event in events {
            machine.on(event);
        }
        machine
    }

    const TERM: Event = Event::Signal(libc::SIGTERM);
    const MAIN_LEFT_OTHERS: Event = Event::MainEnded { code: OK, others: true };

    #[rstest]
    #[case::hup(libc::SIGHUP)]
    #[case::int(libc::SIGINT)]
    #[case::quit(libc::SIGQUIT)]
    #[case::usr1(libc::SIGUSR1)]
    #[case::usr2(libc::SIGUSR2)]
    #[case::winch(libc::SIGWINCH)]
    #[case::cont(libc::SIGCONT)]
    #[case::realtime(34)]
    fn other_signals_reach_the_main_child_and_change_nothing(#[case] signal: i32) {
        let mut machine = after(&[]);
        assert_eq!(machine.on(Event::Signal(signal)), [Action::SignalMain(signal)]);
        assert_eq!(machine, after(&[]));
    }

    #[test]
    fn term_starts_the_grace_and_wakes_a_stopped_child() {
        let expected =
            [Action::SignalMain(libc::SIGTERM), Action::SignalMain(libc::SIGCONT), Action::SetDeadline(GRACE)];
        assert_eq!(after(&[]).on(TERM), expected);
    }

    #[rstest]
    #[case::second_term(TERM)]
    #[case::grace_over(Event::DeadlinePassed)]
    fn stopping_escalates_to_kill(#[case] event: Event) {
        let expected = [Action::SignalEveryone(libc::SIGKILL), Action::SetDeadline(KILL_GRACE)];
        assert_eq!(after(&[TERM]).on(event), expected);
    }

    #[test]
    fn the_last_process_ends_the_box_with_its_own_code() {
        let code = ExitCode::Child(42);
        assert_eq!(after(&[]).on(Event::MainEnded { code, others: false }), [Action::Finish(code)]);
    }

    #[test]
    fn what_the_main_child_left_behind_gets_term_then_kill_and_its_code_is_kept() {
        let mut machine = after(&[]);
        let code = ExitCode::Child(3);
        let asked = machine.on(Event::MainEnded { code, others: true });
        assert_eq!(asked[0], Action::SignalEveryone(libc::SIGTERM));
        assert_eq!(machine.on(Event::DeadlinePassed)[0], Action::SignalEveryone(libc::SIGKILL));
        assert_eq!(machine.on(Event::OthersEnded { others: true }), [Action::SignalEveryone(libc::SIGKILL)]);
        assert_eq!(machine.on(Event::OthersEnded { others: false }), [Action::Finish(code)]);
    }

    #[test]
    fn a_process_stuck_in_the_kernel_does_not_hold_the_box() {
        let mut machine = after(&[MAIN_LEFT_OTHERS, Event::DeadlinePassed]);
        assert_eq!(machine.on(Event::DeadlinePassed), [Action::Finish(OK)]);
    }

    #[test]
    fn a_stopped_child_is_not_a_dead_child() {
        assert_eq!(after(&[]).on(Event::MainStopped(libc::SIGSTOP)), []);
        assert_eq!(after(&[]).on(Event::MainStopped(libc::SIGTSTP)), [Action::MainSuspended(libc::SIGTSTP)]);
    }

    #[test]
    fn an_orphan_reaped_in_passing_changes_nothing() {
        assert_eq!(after(&[]).on(Event::OthersEnded { others: true }), []);
        assert_eq!(after(&[]).on(Event::OthersEnded { others: false }), []);
    }

    #[test]
    fn the_whole_stop_stays_under_dockers_ten_seconds() {
        assert!(crate::config::DEFAULT_GRACE + SWEEP_GRACE + KILL_GRACE < Duration::from_secs(10));
    }

    fn any_event() -> impl Strategy<Value = Event> {
        prop_oneof![
            (1..=64_i32).prop_map(Event::Signal),
            (any::<u8>(), any::<bool>())
                .prop_map(|(code, others)| Event::MainEnded { code: ExitCode::Child(code), others }),
            (19..=22_i32).prop_map(Event::MainStopped),
            any::<bool>().prop_map(|others| Event::OthersEnded { others }),
            Just(Event::DeadlinePassed),
        ]
    }

    proptest! {
        /// Whatever happened before: two terminations and two deadlines end the box.
        #[test]
        fn it_always_ends(events in prop::collection::vec(any_event(), 0..40)) {
            let mut machine = after(&events);
            let closing = [TERM, TERM, Event::DeadlinePassed, Event::DeadlinePassed];
            let finished = closing.iter().any(|&event| {
                machine.on(event).iter().any(|action| matches!(action, Action::Finish(_)))
            });
            prop_assert!(finished);
        }
    }
}
