//! Whether `serve` still answers: `(state, beat) -> (state, actions)`, without side effects.
//!
//! Once it is ready it is asked every [`HEARTBEAT`]. A question counts as missed when the next one is due, and that takes
//! this process to run: a box that was paused, or a machine that slept, has missed one question at most when it goes on,
//! however long that was. A `serve` that a signal has stopped is noticed at once.

use std::time::Duration;

use super::service::{Action, Notice};

/// Time between two questions.
pub const HEARTBEAT: Duration = Duration::from_secs(10);
/// So many questions in a row that are missed end it. It is not ready from the first one on.
pub const MOST_MISSED: u32 = 6;
/// How long it may stay stopped.
pub const STOPPED_LIMIT: Duration = Duration::from_secs(5);

/// Something that says how `serve` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beat {
    /// It said that it is ready.
    Ready,
    /// It answered.
    Answered,
    /// A signal stopped it.
    Stopped,
    /// The time asked for is over.
    Due,
}

/// What is known of `serve`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pulse {
    /// Whether it said that it is ready.
    ready: bool,
    /// Questions in a row without an answer, the one just asked included.
    open: u32,
    /// Whether somebody was told that it does not answer.
    told: bool,
}

impl Pulse {
    /// Just started: it is asked nothing before it is ready.
    pub const STARTED: Self = Self { ready: false, open: 0, told: false };

    /// Takes one beat and says what to do, in order.
    pub fn on(&mut self, beat: Beat) -> Vec<Action> {
        match beat {
            Beat::Ready => {
                *self = Self { ready: true, ..Self::STARTED };
                vec![Action::ShowReady(true), Action::SetDeadline(HEARTBEAT)]
            }
            Beat::Answered => {
                let answers_again = self.told;
                (self.open, self.told) = (0, false);
                if !answers_again {
                    return vec![];
                }
                vec![Action::ShowReady(self.ready), Action::Tell(Notice::Answers), Action::SetDeadline(HEARTBEAT)]
            }
            Beat::Stopped => {
                (self.open, self.told) = (MOST_MISSED, true);
                // Whoever continues it finds the question.
                let asked = [Action::Tell(Notice::Stopped), Action::Ping, Action::SetDeadline(STOPPED_LIMIT)];
                [Action::ShowReady(false)].into_iter().chain(asked).collect()
            }
            Beat::Due => self.due(),
        }
    }

    fn due(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        match self.open {
            0 if !self.ready => return actions,
            0 => {}
            // It cannot be killed without the capability; then this comes again.
            missed if missed >= MOST_MISSED => {
                let kill = [Action::Tell(Notice::GivenUp), Action::SignalServe(libc::SIGKILL)];
                return kill.into_iter().chain([Action::SetDeadline(HEARTBEAT)]).collect();
            }
            _ if !self.told => {
                self.told = true;
                actions.extend([Action::ShowReady(false), Action::Tell(Notice::Silent)]);
            }
            _ => {}
        }
        self.open += 1;
        actions.extend([Action::Ping, Action::SetDeadline(HEARTBEAT)]);
        actions
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn after(beats: &[Beat]) -> Pulse {
        let mut pulse = Pulse::STARTED;
        for &beat in beats {
            pulse.on(beat);
        }
        pulse
    }

    const NEXT: [Action; 2] = [Action::Ping, Action::SetDeadline(HEARTBEAT)];
    const KILL: [Action; 3] =
        [Action::Tell(Notice::GivenUp), Action::SignalServe(libc::SIGKILL), Action::SetDeadline(HEARTBEAT)];

    #[test]
    fn one_that_answers_is_asked_again_and_nothing_is_said() {
        let mut pulse = after(&[]);
        assert_eq!(pulse.on(Beat::Ready), [Action::ShowReady(true), Action::SetDeadline(HEARTBEAT)]);
        for _ in 0..20 {
            assert_eq!(pulse.on(Beat::Due), NEXT);
            assert_eq!(pulse.on(Beat::Answered), []);
        }
    }

    #[test]
    fn one_that_is_not_ready_yet_is_not_asked() {
        assert_eq!(after(&[]).on(Beat::Due), []);
        assert_eq!(after(&[Beat::Stopped, Beat::Answered]).on(Beat::Due), []);
    }

    #[test]
    fn one_that_is_silent_is_not_ready_and_then_killed() {
        let mut pulse = after(&[Beat::Ready, Beat::Due]);
        let silent = [[Action::ShowReady(false), Action::Tell(Notice::Silent)], NEXT].concat();
        assert_eq!(pulse.on(Beat::Due), silent);
        for _ in 2..MOST_MISSED {
            assert_eq!(pulse.on(Beat::Due), NEXT);
        }
        assert_eq!(pulse.on(Beat::Due), KILL);
        // Without the capability to kill it goes on.
        assert_eq!(pulse.on(Beat::Due), KILL);
    }

    /// `docker pause`, a laptop that slept: a deadline that passed long ago is one deadline.
    #[test]
    fn a_box_that_was_paused_goes_on() {
        let mut pulse = after(&[Beat::Ready, Beat::Due, Beat::Due]);
        let again = [Action::ShowReady(true), Action::Tell(Notice::Answers), Action::SetDeadline(HEARTBEAT)];
        assert_eq!(pulse.on(Beat::Answered), again);
        assert_eq!(pulse, after(&[Beat::Ready]));
    }

    #[rstest]
    #[case::before_it_is_ready(&[], false)]
    #[case::afterwards(&[Beat::Ready], true)]
    #[case::while_it_is_asked(&[Beat::Ready, Beat::Due], true)]
    fn one_that_is_stopped_is_killed_unless_it_is_continued(#[case] before: &[Beat], #[case] ready: bool) {
        let mut pulse = after(before);
        let stopped =
            [Action::ShowReady(false), Action::Tell(Notice::Stopped), Action::Ping, Action::SetDeadline(STOPPED_LIMIT)];
        assert_eq!(pulse.on(Beat::Stopped), stopped);
        let mut continued = pulse;
        assert_eq!(pulse.on(Beat::Due), KILL);
        let again = [Action::ShowReady(ready), Action::Tell(Notice::Answers), Action::SetDeadline(HEARTBEAT)];
        assert_eq!(continued.on(Beat::Answered), again);
    }
}
