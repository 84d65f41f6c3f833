use super::*;
use crate::claude::arguments::{Options, OutputFormat};
use crate::doors::cron::tick::Attempt;
use crate::store::record::{DoorName, End, Request, Requester, Terms};
use rstest::rstest;
use uuid::Uuid;

fn tick(retries: u32, attempts: &[(State, Outcome)]) -> Tick {
    let attempt = |&(state, outcome)| Attempt { run: Uuid::nil(), state, outcome: Some(outcome), error: None };
    let request = Request { prompt: "p".into(), options: Options::default(), format: OutputFormat::Json };
    Tick {
        job: "j".into(),
        schedule: "* * * * *".into(),
        zone: "UTC".into(),
        scheduled: 0,
        fired: 0,
        workspace: String::new(),
        request,
        continues: true,
        chat: None,
        webhook: None,
        retries,
        attempts: attempts.iter().map(attempt).collect(),
        not_before: None,
    }
}

fn run(state: State, outcome: Outcome) -> Run {
    let end = End {
        at: 1,
        outcome: Some(outcome),
        error: None,
        result: serde_json::Value::Null,
        cost_usd: None,
        cost_estimated: false,
        session_id: None,
        reaped: 0,
    };
    Run {
        id: Uuid::nil(),
        workspace: "/w".into(),
        door: DoorName::Cron,
        requester: Requester::Job("j".into()),
        state,
        request: tick(0, &[]).request,
        terms: Terms::default(),
        created_at: 1,
        started_at: Some(1),
        end: Some(end),
    }
}

const HUNG: Outcome = Outcome::Hung { silent: false };
const KILLED: Outcome = Outcome::Killed { signal: None };
const NOW: i64 = 1_000_000;
const FAILED: (State, Outcome) = (State::Failed, Outcome::ModelError);
const LIMITED: (State, Outcome) = (State::Failed, Outcome::RateLimited { resets_at: None });

fn again(delay: i64, why: Why) -> Then {
    Then::Again { at: NOW + delay, why }
}

#[rstest]
#[case::done(State::Succeeded, Outcome::Ok, 3, &[], Then::Over)]
#[case::cancelled(State::Cancelled, KILLED, 3, &[], Then::Over)]
#[case::no_retries(State::Failed, Outcome::ModelError, 0, &[], Then::Over)]
#[case::first(State::Failed, Outcome::ModelError, 1, &[], again(5_000, Why::Failed))]
#[case::second(State::Failed, HUNG, 3, &[FAILED], again(10_000, Why::Failed))]
#[case::used_up(State::Failed, Outcome::Truncated, 1, &[FAILED], Then::Over)]
#[case::killed(State::Failed, KILLED, 1, &[], again(5_000, Why::Failed))]
#[case::interrupted(State::Interrupted, KILLED, 1, &[], again(5_000, Why::Failed))]
#[case::interrupted_before(State::Failed, HUNG, 1, &[(State::Interrupted, KILLED)], Then::Over)]
#[case::limits_do_not_count(State::Failed, Outcome::ModelError, 1, &[LIMITED, LIMITED], again(5_000, Why::Failed))]
#[case::auth(State::Failed, Outcome::Auth, 3, &[], Then::Over)]
#[case::budget(State::Failed, Outcome::Budget, 3, &[], Then::Over)]
#[case::turns(State::Failed, Outcome::MaxTurns, 3, &[], Then::Over)]
#[case::gone_though_none_was_named(State::Failed, Outcome::SessionNotFound, 3, &[], Then::Over)]
fn what_may_pass_is_tried_again(
    #[case] state: State,
    #[case] outcome: Outcome,
    #[case] retries: u32,
    #[case] attempts: &[(State, Outcome)],
    #[case] expected: Then,
) {
    assert_eq!(then(&tick(retries, attempts), &run(state, outcome), NOW), expected);
}

#[test]
fn the_delay_doubles_and_has_an_end() {
    let delays: Vec<i64> = (0..12)
        .map(|failures| {
            match then(&tick(20, &vec![FAILED; failures]), &run(State::Failed, Outcome::Hung { silent: false }), NOW) {
                Then::Again { at, .. } => (at - NOW) / 1000,
                Then::Over => panic!("over"),
            }
        })
        .collect();
    assert_eq!(delays, [5, 10, 20, 40, 80, 160, 320, 600, 600, 600, 600, 600]);
}

#[rstest]
#[case::said(Some(2_000), 0, 1_002_000)]
#[case::past_already(Some(10), 0, 5_000)]
#[case::past_already_again(Some(10), 2, 20_000)]
#[case::not_said(None, 0, 300_000)]
#[case::not_said_again(None, 9, 3_600_000)]
fn a_limit_is_waited_for(#[case] resets_at: Option<u64>, #[case] waits: usize, #[case] delay: i64) {
    let tick = tick(0, &vec![LIMITED; waits]);
    assert_eq!(
        then(&tick, &run(State::Failed, Outcome::RateLimited { resets_at }), NOW),
        again(delay, Why::RateLimited)
    );
}

#[test]
fn a_limit_is_not_waited_for_for_ever() {
    let tick = tick(3, &vec![LIMITED; MOST_WAITS]);
    assert_eq!(then(&tick, &run(State::Failed, Outcome::RateLimited { resets_at: Some(5_000) }), NOW), Then::Over);
}

#[test]
fn a_session_that_is_gone_is_no_failure() {
    let mut gone = run(State::Failed, Outcome::SessionNotFound);
    gone.request.options.resume = Some("s".into());
    assert_eq!(then(&tick(0, &[]), &gone, NOW), again(0, Why::SessionGone));
}
