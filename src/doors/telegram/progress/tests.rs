use serde_json::json;

use super::*;

#[test]
fn what_a_helper_says_is_not_shown_and_an_interim_result_ends_nothing() {
    let text = |text: &str| json!({"type": "assistant", "message": {"content": [{"type": "text", "text": text}]}});
    let mut of_helper = text("I am the helper");
    of_helper["parentToolUseId"] = "toolu_1".into();
    let piece = json!({"type": "stream_event", "parentToolUseId": "toolu_1", "event": {"type": "content_block_delta",
        "delta": {"type": "text_delta", "text": "I am the helper"}}});
    let mut progress = Progress::default();
    assert!(progress.take(&text("I started a helper")));
    for event in [&of_helper, &piece, &json!({"type": "result", "subtype": "success", "result": "I started a helper"})]
    {
        assert!(!progress.take(event), "{event}");
    }
    assert!(progress.take(&text("The helper said so")));
    assert_eq!(progress.text(), "I started a helper\n\nThe helper said so");
}
