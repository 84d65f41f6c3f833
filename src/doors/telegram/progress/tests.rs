use serde_json::json;

use super::*;
use crate::desk::narrate::Reader;

fn shown(events: &[Value]) -> Progress {
    let (mut reader, mut progress) = (Reader::default(), Progress::default());
    for event in events {
        for delta in reader.read(format!("{event}\n").as_bytes()) {
            progress.take(delta);
        }
    }
    progress
}

#[test]
fn what_a_helper_says_is_not_shown_and_an_interim_result_ends_nothing() {
    let text = |text: &str| json!({"type": "assistant", "message": {"content": [{"type": "text", "text": text}]}});
    let mut of_helper = text("I am the helper");
    of_helper["parentToolUseId"] = "toolu_1".into();
    let piece = json!({"type": "stream_event", "parentToolUseId": "toolu_1", "event": {"type": "content_block_delta",
        "delta": {"type": "text_delta", "text": "I am the helper"}}});
    let interim = json!({"type": "result", "subtype": "success", "result": "I started a helper"});
    let events = [text("I started a helper"), of_helper, piece, interim, text("The helper said so")];
    assert_eq!(shown(&events).text(), "I started a helper\n\nThe helper said so");
}

#[test]
fn what_an_attempt_that_was_cut_has_said_goes() {
    let mut progress = Progress::default();
    for delta in [Delta::Text("First.".into()), Delta::Text("\n\nHälf".into()), Delta::Void("\n\nHälf".into())] {
        assert!(progress.take(delta));
    }
    assert_eq!(progress.text(), "First.");
    assert!(progress.take(Delta::Tool { name: "Bash".into(), input: json!({"command": "ls"}) }));
    assert!(progress.message_text().text.ends_with("Bash: ls"));
}
