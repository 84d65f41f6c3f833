use super::*;
use crate::claude::arguments::{Options, OutputFormat};
use crate::doors::cron::tick::Attempt;
use crate::runs::run::{End, Request, Terms};
use rstest::rstest;
use uuid::Uuid;

fn tick(retries: u32, attempts: &[(&str, &str)]) -> Tick {
    let attempt = |(state, outcome): &(&str, &str)| Attempt {
        run: Uuid::nil(),
        state: (*state).into(),
        outcome: Some((*outcome).into()),
        error: None,
    };
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

fn run(state: State, outcome: &str, resets_at: Option<u64>) -> Run {
    let end = End {
        at: 1,
        outcome: Some(outcome.into()),
        resets_at,
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
        door: "cron".into(),
        requester: "j".into(),
        state,
        request: tick(0, &[]).request,
        terms: Terms::default(),
        created_at: 1,
        started_at: Some(1),
        end: Some(end),
    }
}

const NOW: i64 = 1_000_000;
const FAILED: (&str, &str) = ("failed", "model_error");
const LIMITED: (&str, &str) = ("failed", "rate_limited");

fn again(delay: i64, why: Why) -> Then {
    Then::Again { at: NOW + delay, why }
}

#[rstest]
#[case::done(State::Succeeded, "ok", 3, &[], Then::Over)]
#[case::cancelled(State::Cancelled, "killed", 3, &[], Then::Over)]
#[case::no_retries(State::Failed, "model_error", 0, &[], Then::Over)]
#[case::first(State::Failed, "model_error", 1, &[], again(5_000, Why::Failed))]
#[case::second(State::Failed, "hung", 3, &[FAILED], again(10_000, Why::Failed))]
#[case::used_up(State::Failed, "truncated", 1, &[FAILED], Then::Over)]
#[case::killed(State::Failed, "killed", 1, &[], again(5_000, Why::Failed))]
#[case::interrupted(State::Interrupted, "killed", 1, &[], again(5_000, Why::Failed))]
#[case::interrupted_before(State::Failed, "hung", 1, &[("interrupted", "killed")], Then::Over)]
#[case::limits_do_not_count(State::Failed, "model_error", 1, &[LIMITED, LIMITED], again(5_000, Why::Failed))]
#[case::auth(State::Failed, "auth", 3, &[], Then::Over)]
#[case::budget(State::Failed, "budget", 3, &[], Then::Over)]
#[case::turns(State::Failed, "max_turns", 3, &[], Then::Over)]
#[case::gone_though_none_was_named(State::Failed, "session_not_found", 3, &[], Then::Over)]
fn what_may_pass_is_tried_again(
    #[case] state: State,
    #[case] outcome: &str,
    #[case] retries: u32,
    #[case] attempts: &[(&str, &str)],
    #[case] expected: Then,
) {
    assert_eq!(then(&tick(retries, attempts), &run(state, outcome, None), NOW), expected);
}

#[test]
fn the_delay_doubles_and_has_an_end() {
    let delays: Vec<i64> = (0..12)
        .map(|failures| match then(&tick(20, &vec![FAILED; failures]), &run(State::Failed, "hung", None), NOW) {
            Then::Again { at, .. } => (at - NOW) / 1000,
            Then::Over => panic!("over"),
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
    assert_eq!(then(&tick, &run(State::Failed, "rate_limited", resets_at), NOW), again(delay, Why::RateLimited));
}

#[test]
fn a_limit_is_not_waited_for_for_ever() {
    let tick = tick(3, &vec![LIMITED; MOST_WAITS]);
    assert_eq!(then(&tick, &run(State::Failed, "rate_limited", Some(5_000)), NOW), Then::Over);
}

#[test]
fn a_session_that_is_gone_is_no_failure() {
    let mut gone = run(State::Failed, "session_not_found", None);
    gone.request.options.resume = Some("s".into());
    assert_eq!(then(&tick(0, &[]), &gone, NOW), again(0, Why::SessionGone));
}
