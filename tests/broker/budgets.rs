//! What a run may cost.

use claudebox::broker::protocol::{FromBroker, Lease};

use crate::api::Api;
use crate::stand::{Broker, answer, delta, event, eventually, final_usage, post, read_until, send, start, text, told};

fn over_budget(lease: &mut Lease) -> (f64, f64) {
    told(lease, |message| match message {
        FromBroker::OverBudget { cost_usd, budget_usd } => Some((cost_usd, budget_usd)),
        _ => None,
    })
}

#[test]
fn a_stream_is_cut_after_the_event_that_used_the_budget_up() {
    let api = Api::start();
    let broker = Broker::start(&api.url());
    let mut lease = broker.open(Some(0.5));
    let stream = post(&lease);
    let mut asked = api.asked();
    asked.begin_events();
    // 40,000 tokens read are 0.60 USD. What is sent in the same piece after that does not come back.
    let (before, after) = ([event("ping", ""), start(40_000)].concat(), text(10));
    asked.send([before.as_str(), &after].concat().as_bytes());
    let cut = answer(stream);
    assert!(!cut.is_whole);
    assert_eq!(String::from_utf8(cut.body).unwrap(), before);
    assert!(asked.is_hung_up());
    let (cost, budget) = over_budget(&mut lease);
    assert!((cost - 0.6).abs() < 0.001 && (budget - 0.5).abs() < f64::EPSILON, "{cost} {budget}");
    assert!(final_usage(&mut lease).cost_usd > 0.5);

    let refused = answer(post(&lease));
    assert_eq!(refused.status(), "400");
    let why = refused.error("invalid_request_error");
    assert_eq!(why, "claudebox: this run's budget of 0.50 USD is used up");
    assert!(api.is_unasked());
    assert_eq!(broker.audit("refused").len(), 1);

    lease.set_budget(Some(2.0)).unwrap();
    eventually("a larger budget counts", || {
        let stream = post(&lease);
        // The message may still be on its way.
        let first = api.asked_within(std::time::Duration::from_millis(100));
        if let Some(mut asked) = first {
            asked.answer("200 OK", "", "let in");
            assert_eq!(answer(stream).body, b"let in");
            return true;
        }
        false
    });
}

#[test]
fn text_that_streams_is_estimated_and_then_known() {
    let api = Api::start();
    let broker = Broker::start(&api.url());
    let mut lease = broker.open(Some(1.0));
    let mut stream = post(&lease);
    let mut asked = api.asked();
    asked.begin_events();
    asked.send(start(0).as_bytes());
    // 10,000 tokens, 0.75 USD, which turn out to be 100.
    asked.send(text(40_000).as_bytes());
    asked.send(delta(100).as_bytes());
    read_until(&mut stream, delta(100).as_bytes());
    asked.end();
    let usage = final_usage(&mut lease);
    assert_eq!(usage.output_tokens, 100);
    assert!((usage.cost_usd - 0.0075).abs() < 1e-9, "{usage:?}");

    let stream = post(&lease);
    let mut asked = api.asked();
    asked.begin_events();
    asked.send(start(0).as_bytes());
    // No figure comes: the length of the text is what there is. 14,000 tokens are 1.05 USD.
    let pieces: Vec<String> = (0..14).map(|_| text(4000)).collect();
    asked.send(pieces.concat().as_bytes());
    let cut = answer(stream);
    assert!(!cut.is_whole);
    assert_eq!(cut.body.len(), start(0).len() + 14 * text(4000).len());
    over_budget(&mut lease);
}

#[test]
fn requests_that_run_at_once_share_a_budget() {
    let api = Api::start();
    let broker = Broker::start(&api.url());
    let mut lease = broker.open(Some(1.0));
    let mut first = post(&lease);
    let mut first_asked = api.asked();
    first_asked.begin_events();
    first_asked.send(start(40_000).as_bytes());
    read_until(&mut first, start(40_000).as_bytes());
    let second = post(&lease);
    let mut second_asked = api.asked();
    second_asked.begin_events();
    second_asked.send(start(40_000).as_bytes());
    // 0.60 and 0.60 USD.
    assert!(!answer(second).is_whole);
    over_budget(&mut lease);
    assert_eq!(answer(post(&lease)).status(), "400");
    // The first is cut with its next event.
    first_asked.send([text(4), text(4)].concat().as_bytes());
    let mut rest = Vec::new();
    let _ = std::io::Read::read_to_end(&mut first, &mut rest);
    let rest = String::from_utf8(rest).unwrap();
    assert_eq!(rest.matches("content_block_delta").count(), 2, "one event, which names it twice: {rest}");
}

#[test]
fn who_hangs_up_pays_for_what_was_asked() {
    let api = Api::start();
    let broker = Broker::start(&api.url());
    let mut lease = broker.open(Some(0.5));
    let stream = post(&lease);
    let mut asked = api.asked();
    drop(stream);
    asked.begin_events();
    // More than the broker keeps for a client that does not read: it knows by then that there is none.
    for _ in 0..50 {
        asked.send(event("ping", "").as_bytes());
    }
    asked.send(start(40_000).as_bytes());
    over_budget(&mut lease);
    assert_eq!(answer(post(&lease)).status(), "400");
}

#[test]
fn a_refusal_reaches_a_client_that_is_still_sending() {
    let broker = Broker::start("http://127.0.0.1:9");
    let lease = broker.open(Some(0.0));
    let body = "x".repeat(4 << 20);
    for (request, status) in [("POST /v1/messages", "400"), ("POST /v1/files", "403")] {
        assert_eq!(answer(send(&lease, request, "", &body)).status(), status);
    }
}

#[test]
fn a_request_that_failed_costs_nothing() {
    let api = Api::start();
    let broker = Broker::start(&api.url());
    let lease = broker.open(Some(0.000_001));
    for _ in 0..3 {
        let stream = post(&lease);
        let error = r#"{"type":"error","error":{"type":"overloaded_error","message":"later"}}"#;
        api.asked().answer("529 Overloaded", "Content-Type: application/json\r\n", error);
        assert_eq!(answer(stream).status(), "529");
    }
}
