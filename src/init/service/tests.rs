use super::super::machine::{KILL_GRACE, SWEEP_GRACE};
use super::super::pulse::{HEARTBEAT, STOPPED_LIMIT};
use super::super::restart::{FIRST_DELAY, HEALTHY_AFTER};
use super::*;
use proptest::prelude::*;
use rstest::rstest;

const GRACE: Duration = Duration::from_secs(7);
const TERM: Event = Event::Signal(libc::SIGTERM);
const KILLED: ChildStatus = ChildStatus::Signaled(libc::SIGKILL);
const SHORT: Duration = Duration::from_secs(1);

const fn ended(status: ChildStatus, others: bool) -> Event {
    Event::ServeEnded { status, uptime: SHORT, chance: 1.0, others }
}

const DIED: Event = ended(KILLED, true);
const CLEARED: Event = Event::RunsEnded { others: false };
const ROUND: [Event; 3] = [DIED, CLEARED, Event::DeadlinePassed];

fn after(events: &[Event]) -> Service {
    let (mut service, _) = Service::begin(GRACE);
    for &event in events {
        service.on(event);
    }
    service
}

#[test]
fn it_starts_not_ready_and_says_when_it_is() {
    let (mut service, actions) = Service::begin(GRACE);
    assert_eq!(actions, [Action::ShowReady(false), Action::Start(0)]);
    assert_eq!(service.on(Event::Ready), [Action::ShowReady(true), Action::SetDeadline(HEARTBEAT)]);
}

#[test]
fn a_death_ends_the_runs_waits_and_starts_it_again() {
    let mut service = after(&[]);
    let restart = Notice::Restart { status: KILLED, uptime: SHORT, restarts: 1, delay: FIRST_DELAY };
    let expected = [Action::ShowReady(false), Action::Tell(restart), Action::EndRuns, Action::SetDeadline(CLEAR_LIMIT)];
    assert_eq!(service.on(DIED), expected);
    assert_eq!(service.on(Event::OthersEnded { others: true }), []);
    assert_eq!(service.on(CLEARED), [Action::SetDeadline(FIRST_DELAY)]);
    assert_eq!(service.on(Event::DeadlinePassed), [Action::Start(1)]);
    assert_eq!(
        service.on(DIED)[1],
        Action::Tell(Notice::Restart { status: KILLED, uptime: SHORT, restarts: 2, delay: 2 * FIRST_DELAY })
    );
}

#[test]
fn a_sweep_that_hangs_is_given_up_before_the_next_start() {
    let mut service = after(&[DIED]);
    assert_eq!(service.on(Event::DeadlinePassed), [Action::AbandonRuns, Action::SetDeadline(FIRST_DELAY)]);
    assert_eq!(service.on(CLEARED), []);
    assert_eq!(service.on(Event::DeadlinePassed), [Action::Start(1)]);
}

#[rstest]
#[case::done(0, &[Event::Done])]
#[case::done_after_a_while(0, &[Event::Ready, Event::DeadlinePassed, Event::Pong, Event::Done, Event::Pong])]
#[case::usage(64, &[])]
#[case::config(78, &[])]
fn an_end_that_a_restart_does_not_mend_ends_the_box(#[case] code: u8, #[case] before: &[Event]) {
    let status = ChildStatus::Exited(code);
    let alone = [Action::ShowReady(false), Action::Tell(Notice::Final(status)), Action::Finish(ExitCode::Child(code))];
    assert_eq!(after(before).on(ended(status, false)), alone);
    let mut service = after(before);
    assert_eq!(service.on(ended(status, true))[2..], sweep());
    assert_eq!(service.on(Event::OthersEnded { others: false }), [Action::Finish(ExitCode::Child(code))]);
}

fn sweep() -> [Action; 3] {
    [Action::SignalEveryone(libc::SIGTERM), Action::SignalEveryone(libc::SIGCONT), Action::SetDeadline(SWEEP_GRACE)]
}

#[rstest]
#[case::in_order_after_a_signal_of_anybody(ChildStatus::Exited(0))]
#[case::fault(ChildStatus::Exited(70))]
#[case::panic(ChildStatus::Exited(101))]
#[case::term_by_a_stranger(ChildStatus::Signaled(libc::SIGTERM))]
#[case::death_by_signal_64(ChildStatus::Signaled(64))]
#[case::death_by_signal_78(ChildStatus::Signaled(78))]
fn any_other_end_does_not(#[case] status: ChildStatus) {
    for before in [&[][..], &[Event::Ready]] {
        assert!(after(before).on(ended(status, false)).contains(&Action::EndRuns));
    }
}

/// That its work is done holds for the `serve` that said so, and for an end in order.
#[test]
fn that_it_is_done_is_no_word_of_another() {
    for before in [&[Event::Done][..], &[Event::Done, DIED, CLEARED, Event::DeadlinePassed]] {
        assert!(after(before).on(DIED).contains(&Action::EndRuns));
    }
    let another = after(&[Event::Done, DIED, CLEARED, Event::DeadlinePassed]).on(ended(ChildStatus::Exited(0), false));
    assert!(another.contains(&Action::EndRuns));
}

#[test]
fn one_that_hangs_is_killed_and_started_again() {
    let mut service = after(&[Event::Ready]);
    assert_eq!(service.on(Event::DeadlinePassed), [Action::Ping, Action::SetDeadline(HEARTBEAT)]);
    assert!(service.on(Event::DeadlinePassed).starts_with(&[Action::ShowReady(false)]));
    let kill = Action::SignalServe(libc::SIGKILL);
    assert!((0..10).any(|_| service.on(Event::DeadlinePassed).contains(&kill)));
    assert!(service.on(DIED).contains(&Action::EndRuns));
    let mut service = after(&[Event::Ready]);
    assert_eq!(service.on(Event::ServeStopped).last(), Some(&Action::SetDeadline(STOPPED_LIMIT)));
    assert!(service.on(Event::DeadlinePassed).contains(&kill));
    // Another one begins anew.
    for event in [DIED, CLEARED, Event::DeadlinePassed, Event::Ready] {
        service.on(event);
    }
    assert_eq!(service.on(Event::DeadlinePassed), [Action::Ping, Action::SetDeadline(HEARTBEAT)]);
}

#[rstest]
#[case(libc::SIGTERM)]
#[case(libc::SIGINT)]
#[case(libc::SIGHUP)]
#[case(libc::SIGQUIT)]
fn a_stop_goes_over_the_link_and_as_term(#[case] signal: i32) {
    let expected = [
        Action::ShowReady(false),
        Action::AskToStop,
        Action::SignalServe(libc::SIGTERM),
        Action::SignalServe(libc::SIGCONT),
        Action::SetDeadline(GRACE),
    ];
    let mut service = after(&[Event::Ready]);
    assert_eq!(service.on(Event::Signal(signal)), expected);
    let kill = [Action::SignalEveryone(libc::SIGKILL), Action::SetDeadline(KILL_GRACE)];
    assert_eq!(service.on(Event::Signal(signal)), kill);
}

#[test]
fn after_a_stop_its_code_is_the_boxs_and_nothing_is_started() {
    for code in [0, 1, 78] {
        let end = ended(ChildStatus::Exited(code), false);
        assert_eq!(after(&[TERM]).on(end), [Action::Finish(ExitCode::Child(code))]);
    }
    for late in [Event::Ready, Event::Done, Event::Pong, Event::ServeStopped] {
        assert_eq!(after(&[TERM]).on(late), []);
    }
}

/// Checklist 13.
#[rstest]
#[case::clearing(&[DIED])]
#[case::waiting(&[DIED, CLEARED])]
fn a_stop_in_backoff_ends_the_box_at_once(#[case] events: &[Event]) {
    let mut service = after(events);
    let mut expected = sweep().to_vec();
    expected.push(Action::Look);
    assert_eq!(service.on(TERM), expected);
    let code = ExitCode::from_signal(libc::SIGTERM);
    assert_eq!(service.on(Event::OthersEnded { others: false }), [Action::Finish(code)]);
}

#[rstest]
#[case(libc::SIGUSR1)]
#[case(libc::SIGWINCH)]
#[case(34)]
fn other_signals_are_none_of_its_business(#[case] signal: i32) {
    for events in [&[][..], &[DIED], &[DIED, CLEARED], &[TERM]] {
        assert_eq!(after(events).on(Event::Signal(signal)), []);
    }
}

/// Checklist 29.
#[test]
fn a_crash_loop_is_not_told_for_ever() {
    let (mut service, _) = Service::begin(GRACE);
    let mut told = Vec::new();
    for death in 1..=30 {
        for event in ROUND {
            told.extend(service.on(event).into_iter().filter_map(|action| match action {
                Action::Tell(Notice::Restart { restarts, .. }) => Some((death, restarts, "restart")),
                Action::Tell(Notice::KeepsFailing(deaths)) => Some((death, deaths, "alarm")),
                _ => None,
            }));
        }
    }
    let lines: Vec<u32> = told.iter().filter(|(.., what)| *what == "restart").map(|told| told.0).collect();
    assert_eq!(lines, [1, 2, 3, 4, 5, 10, 20, 30]);
    assert_eq!(told.iter().filter(|(.., what)| *what == "alarm").collect::<Vec<_>>(), [&(5, 5, "alarm")]);
    let healthy = Event::ServeEnded { status: KILLED, uptime: HEALTHY_AFTER, chance: 1.0, others: false };
    let restart = Notice::Restart { status: KILLED, uptime: HEALTHY_AFTER, restarts: 31, delay: FIRST_DELAY };
    assert_eq!(service.on(healthy)[1], Action::Tell(restart));
}

fn any_event() -> impl Strategy<Value = Event> {
    let status = prop_oneof![any::<u8>().prop_map(ChildStatus::Exited), (1..=64_i32).prop_map(ChildStatus::Signaled),];
    prop_oneof![
        (1..=64_i32).prop_map(Event::Signal),
        prop_oneof![Just(Event::Ready), Just(Event::Done), Just(Event::Pong), Just(Event::ServeStopped)],
        (status, 0..100_u64, 0.0..=1.0_f64, any::<bool>()).prop_map(|(status, seconds, chance, others)| {
            Event::ServeEnded { status, uptime: Duration::from_secs(seconds), chance, others }
        }),
        any::<bool>().prop_map(|others| Event::RunsEnded { others }),
        any::<bool>().prop_map(|others| Event::OthersEnded { others }),
        Just(Event::DeadlinePassed),
    ]
}

proptest! {
    /// Whatever happened before: two terminations and two deadlines end the box, and nothing is started meanwhile.
    #[test]
    fn it_always_ends(events in prop::collection::vec(any_event(), 0..60)) {
        let mut service = after(&events);
        let closing = [TERM, TERM, Event::DeadlinePassed, Event::DeadlinePassed];
        let actions: Vec<Action> = closing.iter().flat_map(|&event| service.on(event)).collect();
        prop_assert!(actions.iter().any(|action| matches!(action, Action::Finish(_))));
        prop_assert!(!actions.iter().any(|action| matches!(action, Action::Start(_))));
    }

    /// Two of it never run at once, and its runs are ended between two starts.
    #[test]
    fn it_is_started_only_after_it_ended(events in prop::collection::vec(any_event(), 0..60)) {
        let (mut service, _) = Service::begin(GRACE);
        let mut cleared = false;
        for event in events {
            // What is impossible is left out: the end of one that does not run.
            if matches!(event, Event::ServeEnded { .. }) && !matches!(service.phase, Phase::Up { .. } | Phase::Ending(_)) {
                continue;
            }
            for action in service.on(event) {
                match action {
                    Action::EndRuns => cleared = true,
                    Action::Start(_) => prop_assert!(std::mem::take(&mut cleared)),
                    _ => {}
                }
            }
        }
    }
}
