//! Following a run: from the start, from the middle, afterwards, by many.

use serde_json::json;

use crate::client::{Client, Event, prompt, with};
use crate::fixture::{start, with_cli};
use crate::support::TestBox;

fn follow(http: &Client, id: &str) -> Vec<Event> {
    http.get(&format!("/runs/{id}/events")).open().events()
}

#[test]
fn a_run_can_be_streamed_as_lines_and_as_events() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = with_cli(&testbox) else { return };
    let api = start(&testbox, launch);
    let ask = || api.http.asks(with(prompt("a", "offline:echo streamed"), json!({"stream": true})));
    let mut lines = ask().open();
    let id = lines.header("x-run-id").unwrap().to_owned();
    assert_eq!((lines.status, lines.header("content-type")), (200, Some("application/x-ndjson")));
    assert_eq!(lines.header("location"), Some(format!("/runs/{id}").as_str()));
    let lines: Vec<_> = std::iter::from_fn(|| lines.value()).collect();
    assert_eq!(lines[0], json!({"type": "run", "runId": id, "workspace": "a"}));
    let last = lines.last().unwrap();
    assert_eq!((&last["type"], &last["run"]["state"]), (&json!("end"), &json!("succeeded")), "{last}");
    assert_eq!(last["run"], api.http.look(&id));
    let types: Vec<&str> = lines.iter().map(|line| line["type"].as_str().unwrap()).collect();
    assert!(types.contains(&"system") && types.contains(&"assistant") && types.contains(&"result"), "{types:?}");

    let mut events = ask().header("accept", "text/event-stream").open();
    assert_eq!((events.status, events.header("content-type")), (200, Some("text/event-stream")));
    let id = events.header("x-run-id").unwrap().to_owned();
    let events = events.events();
    assert_eq!((events[0].name.as_str(), &events[0].data["runId"]), ("run", &json!(id)));
    // The same as who follows it gets, but for the first.
    assert_eq!(events[1..], follow(&api.http, &id));

    // A tool's input is the model's own.
    let more = json!({"stream": true});
    let mut tool = api.http.asks(with(prompt("a", "offline:background true"), more)).open();
    let tool: Vec<_> = std::iter::from_fn(|| tool.line()).collect();
    assert!(tool.iter().any(|line| line.contains(r#""run_in_background":true"#)), "{tool:?}");
    let partial = json!({"stream": true, "includePartialMessages": true, "noContinue": true});
    let mut pieces = api.http.asks(with(prompt("a", "offline:slow 0.3"), partial)).open();
    let pieces: Vec<_> = std::iter::from_fn(|| pieces.value()).collect();
    assert!(pieces.iter().filter(|line| line["type"] == "stream_event").count() > 3, "{pieces:?}");
    api.stop();
}

#[test]
fn a_reader_that_comes_back_gets_exactly_the_rest() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = with_cli(&testbox) else { return };
    let api = start(&testbox, launch);
    let id = api.http.begin(with(prompt("a", "offline:slow 2"), json!({"includePartialMessages": true})));
    let events = format!("/runs/{id}/events");
    // Many readers of a run that goes on, one of whom leaves in the middle and comes back.
    let (all, rest, before) = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..10).map(|_| scope.spawn(|| follow(&api.http, &id))).collect();
        let mut leaves = api.http.get(&events).open();
        let before: Vec<Event> = (0..4).map(|_| leaves.event().unwrap()).collect();
        drop(leaves);
        let seen = before[3].id.unwrap().to_string();
        let rest = api.http.get(&events).header("last-event-id", &seen).open().events();
        let all: Vec<_> = readers.into_iter().map(|reader| reader.join().unwrap()).collect();
        (all, rest, before)
    });
    let whole = &all[0];
    assert!(all.iter().all(|one| one == whole), "readers differ");
    assert_eq!(whole.last().map(|event| event.name.as_str()), Some("end"));
    assert_eq!([before, rest].concat(), *whole);
    // Of a finished run from every event on, by the header and by the parameter.
    assert_eq!(follow(&api.http, &id), *whole);
    for (index, event) in whole.iter().enumerate().filter(|(_, event)| event.id.is_some()) {
        let id = event.id.unwrap().to_string();
        assert_eq!(api.http.get(&events).header("last-event-id", &id).open().events(), whole[index + 1..]);
    }
    let second = whole[1].id.unwrap();
    let path = format!("{events}?lastEventId={second}");
    assert_eq!(api.http.get(&path).open().events(), whole[2..]);
    let mut lines = api.http.get(&events).header("accept", "application/x-ndjson").open();
    let lines: Vec<_> = std::iter::from_fn(|| lines.value()).collect();
    let data: Vec<_> = whole[..whole.len() - 1].iter().map(|event| event.data.clone()).collect();
    assert_eq!(lines[..lines.len() - 1], data);
    assert_eq!(lines.last().unwrap()["run"], whole.last().unwrap().data);

    api.http.get(&events).header("last-event-id", "soon").send().problem(422, "invalid_parameter");
    api.http.get(&format!("{events}?lastEventId=-1")).send().problem(422, "invalid_parameter");
    // Beyond the end there is the end.
    for beyond in ["99999999", "18446744073709551615"] {
        let beyond = api.http.get(&events).header("last-event-id", beyond).open().events();
        assert_eq!(beyond, whole[whole.len() - 1..]);
    }
    // In the middle of an event the next one begins.
    let within = (whole[0].id.unwrap() + 1).to_string();
    assert_eq!(api.http.get(&events).header("last-event-id", &within).open().events(), whole[2..]);
    api.http.get("/runs/01890000-0000-7000-8000-000000000000/events").send().problem(404, "run_not_found");
    api.stop();
}
