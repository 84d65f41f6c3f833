use super::*;
use proptest::prelude::*;
use rstest::rstest;

fn answer(body: &Value) -> Message {
    let request = MessagesRequest::from_value(body).unwrap();
    match reply(&request, &Scenario::of_prompt(&request.prompt), true) {
        Reply::Message(message) => message,
        Reply::Error(failure) => panic!("{failure:?}"),
    }
}

fn user(prompt: &str) -> Value {
    json!({"role": "user", "content": prompt})
}

fn to_prompt(prompt: &str) -> Message {
    answer(&json!({"messages": [user(prompt)], "tools": [{"name": "Bash"}]}))
}

fn texts(message: &Message) -> String {
    let texts = message.blocks.iter().filter_map(|block| match block {
        Block::Text(text) => Some(text.as_str()),
        _ => None,
    });
    texts.collect::<Vec<_>>().join("|")
}

fn call(message: &Message) -> Option<(&str, &Value)> {
    message.blocks.iter().find_map(|block| match block {
        Block::ToolUse { name, input } => Some((*name, input)),
        _ => None,
    })
}

#[rstest]
#[case("hello", "No account is in use; this answer is made up by claudebox itself. You said: hello")]
#[case("offline:echo a  b", "a  b")]
#[case("offline:slow 1", "Counting slowly, for 1 seconds: 1 2 3 4")]
#[case("offline:silent 1", "Sent nothing for 1 seconds, as asked.")]
#[case("offline:help", "offline:cut-once - cuts it the first time only")]
#[case("offline:nope", "There is no scenario 'offline:nope'.")]
#[case("offline:error 999", "it was given '999'.")]
#[case("offline:no-schema x", "You said: offline:no-schema x")]
fn the_answer_says(#[case] prompt: &str, #[case] words: &str) {
    let message = to_prompt(prompt);
    let said = texts(&message);
    assert!(said.starts_with(LABEL) && said.contains(words), "{said}");
    assert_eq!(message.stop_reason(), "end_turn");
}

#[test]
fn a_long_prompt_gets_a_short_answer_with_its_length() {
    let said = texts(&to_prompt(&"\u{e9}".repeat(2_000_000)));
    assert!(said.ends_with("\u{e9}\u{2026} (2000000 characters)"), "{}", &said[said.len() - 60..]);
    assert!(said.chars().count() < 400);
}

#[rstest]
#[case("offline:tool echo hi", None)]
#[case("offline:background echo hi", Some(true))]
fn the_tool_scenarios_call_bash(#[case] prompt: &str, #[case] background: Option<bool>) {
    let message = to_prompt(prompt);
    let (name, input) = call(&message).unwrap();
    assert_eq!((name, input["command"].as_str()), ("Bash", Some("echo hi")));
    assert_eq!(input.get("run_in_background").and_then(Value::as_bool), background);
    assert_eq!(message.stop_reason(), "tool_use");
}

#[test]
fn without_a_bash_tool_none_is_called() {
    let message = answer(&json!({"messages": [user("offline:tool echo hi")]}));
    assert!(texts(&message).contains("not offered"));
    assert_eq!(call(&message), None);
}

fn second_turn(failed: bool, tools: &Value) -> Message {
    answer(&json!({"tools": tools, "messages": [
        user("offline:tool echo hi"),
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "Bash", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "hi", "is_error": failed}]},
    ]}))
}

#[rstest]
#[case(false, "The Bash tool answered: hi")]
#[case(true, "The Bash tool failed: hi")]
fn the_second_turn_quotes_the_tool(#[case] failed: bool, #[case] words: &str) {
    let message = second_turn(failed, &json!([{"name": "Bash"}]));
    assert_eq!(texts(&message), format!("{LABEL} {words}"));
}

#[test]
fn what_the_agent_tool_says_to_the_model_alone_is_not_quoted() {
    let message = answer(&json!({"tools": [{"name": "Agent"}], "messages": [
        user("offline:agent hello"),
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "Agent", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "Launched. (This is metadata.)\nagentId: 1"}]},
    ]}));
    assert_eq!(texts(&message), format!("{LABEL} The Agent tool answered: Launched."));
}

fn schema_tool() -> Value {
    json!({"name": SCHEMA_TOOL, "input_schema": {"type": "object", "properties": {"a": {"type": "string"}}}})
}

#[rstest]
#[case::by_itself(answer(&json!({"messages": [user("hello")], "tools": [schema_tool()]})))]
#[case::after_a_tool(second_turn(false, &json!([{"name": "Bash"}, schema_tool()])))]
#[case::when_nudged(answer(&json!({"tools": [schema_tool()], "messages": [
    user("hello"), {"role": "assistant", "content": "no"}, user("[structured-output-enforce] Call it now.")]})))]
fn a_schema_gets_its_instance(#[case] message: Message) {
    assert_eq!(call(&message), Some((SCHEMA_TOOL, &json!({"a": LABEL}))));
}

#[test]
fn a_command_runs_before_the_schema_is_served() {
    let tools = json!([{"name": "Bash"}, schema_tool()]);
    let message = answer(&json!({"messages": [user("offline:tool echo hi")], "tools": tools}));
    assert_eq!(call(&message).unwrap().0, "Bash");
    assert_eq!(message.blocks.len(), 2);
}

#[rstest]
#[case(json!([user("offline:no-schema hi")]))]
#[case(json!([user("offline:no-schema hi"), {"role": "assistant", "content": "no"}, user("[structured-output-enforce] x")]))]
fn no_schema_stays_plain_text_every_time(#[case] messages: Value) {
    let message = answer(&json!({"messages": messages, "tools": [schema_tool()]}));
    assert_eq!(call(&message), None);
}

#[test]
fn a_json_format_is_answered_with_json_alone() {
    let schema = json!({"type": "object", "properties": {"title": {"type": "string"}}});
    let format = json!({"format": {"type": "json_schema", "schema": schema}});
    let message = answer(&json!({"messages": [user("make a title")], "output_config": format}));
    let title: Value = serde_json::from_str(&texts(&message)).unwrap();
    assert_eq!(title, json!({"title": LABEL}));
}

#[rstest]
#[case("offline:cut", true, Pace::CutHalfway)]
#[case("offline:cut", false, Pace::CutHalfway)]
#[case("offline:cut-once", true, Pace::CutHalfway)]
#[case("offline:cut-once", false, Pace::AtOnce)]
fn a_cut_comes_when_it_should(#[case] prompt: &str, #[case] first: bool, #[case] pace: Pace) {
    let request = MessagesRequest::from_value(&json!({"messages": [user(prompt)]})).unwrap();
    let Reply::Message(message) = reply(&request, &Scenario::of_prompt(prompt), first) else { panic!("an error") };
    assert_eq!(message.pace, pace);
}

fn any_json() -> impl Strategy<Value = Value> {
    let word = prop_oneof![
        Just("user"),
        Just("role"),
        Just("content"),
        Just("text"),
        Just("type"),
        Just("tool_result"),
        Just("messages"),
        Just("tools"),
        Just("name"),
        Just("StructuredOutput"),
        Just("input_schema"),
        Just("<system-reminder>"),
        Just("offline:tool x"),
        Just("offline:slow 1e400"),
        Just("\u{1f600}"),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 60, 5, move |inner| {
        let object = prop::collection::vec((word.clone(), inner.clone()), 0..5)
            .prop_map(|fields| fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect());
        prop_oneof![prop::collection::vec(inner, 0..4).prop_map(Value::Array), object]
    })
}

proptest! {
    #[test]
    fn no_request_causes_a_panic(body in any_json(), blocks in any_json(), tools in any_json()) {
        let wrapped = json!({"messages": [{"role": "user", "content": blocks}], "tools": tools});
        for body in [body, wrapped] {
            if let Ok(request) = MessagesRequest::from_value(&body) {
                reply(&request, &Scenario::of_prompt(&request.prompt), true);
            }
        }
    }

    #[test]
    fn every_text_carries_the_label(prompt in "(offline:(echo|tool|think|slow|cut|help|xyz)? ?)?.{0,20}") {
        let message = to_prompt(&prompt);
        for block in &message.blocks {
            let words = match block {
                Block::Text(text) | Block::Thinking(text) => text.clone(),
                Block::ToolUse { input, .. } => input["description"].as_str().unwrap_or_default().to_owned(),
            };
            prop_assert!(words.starts_with(LABEL), "{words}");
        }
    }

    #[test]
    fn capping_keeps_the_start(text in ".{0,30}", longest in 0_usize..30) {
        let short = capped(&text, longest);
        let count = text.chars().count();
        if count <= longest {
            prop_assert_eq!(short, text);
        } else {
            let kept: String = text.chars().take(longest).collect();
            prop_assert_eq!(short, format!("{kept}\u{2026} ({count} characters)"));
        }
    }
}
