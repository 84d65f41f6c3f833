use super::*;
use crate::doors::mcp::tools;
use crate::doors::mcp::words::WORDS;
use proptest::prelude::*;
use proptest::sample::select;
use rstest::rstest;
use serde_json::json;

/// What may be told about one argument: the plain value, and the same as clients write it.
type Told = Option<(Value, Value)>;

fn object(value: Value) -> JsonObject {
    let Value::Object(object) = value else { panic!("{value} is no object") };
    object
}

fn of(tool: &str, arguments: Value) -> Result<Fitted, Refusal> {
    fit(&tools::described(tool).unwrap().input_schema, &object(arguments))
}

/// A value that the schema allows, and a spelling of it.
fn told(schema: &Value) -> BoxedStrategy<(Value, Value)> {
    let spelled = |plain: Value| {
        let text = plain.to_string();
        select(vec![plain.clone(), json!(text), json!(format!(" {text}\n"))]).prop_map(move |s| (plain.clone(), s))
    };
    let least = schema["minimum"].as_u64().unwrap_or(1).max(1);
    let most = schema["maximum"].as_u64().unwrap_or(1_000_000).min(1_000_000);
    match (schema["type"].as_str(), &schema["enum"]) {
        (Some("integer"), _) => (least..=most).prop_map(|n| json!(n)).prop_flat_map(spelled).boxed(),
        (Some("number"), _) => (1_u32..3_000).prop_map(|n| json!(f64::from(n) / 4.0)).prop_flat_map(spelled).boxed(),
        (Some("boolean"), _) => (any::<bool>(), select(vec![0, 1, 2]))
            .prop_map(|(plain, spelling)| {
                let spelled = match spelling {
                    0 => json!(plain),
                    1 => json!(plain.to_string()),
                    _ => json!(if plain { "True" } else { "FALSE" }),
                };
                (json!(plain), spelled)
            })
            .boxed(),
        (Some("string"), Value::Array(allowed)) => {
            let upper = |plain: Value| (plain.clone(), json!(plain.as_str().unwrap().to_ascii_uppercase()));
            select(allowed.clone()).prop_map(upper).boxed()
        }
        (Some("string"), _) => "[a-z]{1,8}".prop_map(|text| (json!(text), json!(text))).boxed(),
        _ => Just((json!({"type": "object"}), json!({"type": "object"}))).boxed(),
    }
}

/// A tool, its arguments plainly, and the same call as a careless client makes it.
fn calls() -> impl Strategy<Value = (String, JsonObject, JsonObject)> {
    select(tools::all()).prop_flat_map(|tool| {
        let required = tool.input_schema.get("required").cloned().unwrap_or_default();
        let needed = |name: &String| required.as_array().is_some_and(|names| names.contains(&json!(name)));
        let properties = tool.input_schema["properties"].as_object().unwrap().clone();
        let each: Vec<BoxedStrategy<(String, Told, Value)>> = properties
            .iter()
            .map(|(name, schema)| {
                let left_out = select(vec![Value::Null, json!("")]);
                let told: BoxedStrategy<Told> = if needed(name) {
                    told(schema).prop_map(Some).boxed()
                } else {
                    proptest::option::of(told(schema)).boxed()
                };
                (Just(name.clone()), told, left_out).boxed()
            })
            .collect();
        (Just(tool.name.to_string()), each, proptest::collection::vec("x[A-Z0-9]{3,9}", 0..4)).prop_map(
            |(tool, arguments, strange)| {
                let (mut plain, mut careless) = (JsonObject::new(), JsonObject::new());
                for (name, told, left_out) in arguments {
                    match told {
                        Some((value, spelled)) => {
                            plain.insert(name.clone(), value);
                            careless.insert(name, spelled);
                        }
                        None => {
                            careless.insert(name, left_out);
                        }
                    }
                }
                for name in strange {
                    careless.insert(name, json!({"any": 1}));
                }
                (tool, plain, careless)
            },
        )
    })
}

proptest! {
    #[test]
    fn however_it_is_written_it_is_the_same_call((tool, plain, careless) in calls()) {
        let schema = tools::described(&tool).unwrap().input_schema;
        let strange = careless.keys().filter(|name| name.starts_with('x')).count();
        let as_meant = fit(&schema, &plain).unwrap();
        let as_sent = fit(&schema, &careless).unwrap();
        prop_assert_eq!(as_sent.ignored.len(), strange);
        prop_assert!(as_meant.ignored.is_empty());
        prop_assert_eq!(&as_meant.arguments, &plain);
        prop_assert_eq!(as_sent.arguments, as_meant.arguments);
    }
}

#[rstest]
#[case::n8n("claude_run", json!({"prompt": "hi", "sessionId": "1", "action": "sendMessage", "chatInput": "hi", "toolCallId": "call_0BC"}), &["action", "chatInput", "sessionId", "toolCallId"])]
#[case::a_slip("claude_run", json!({"prompt": "hi", "max_budget": 1}), &["max_budget"])]
#[case::no_arguments_at_all("list_files", json!({"random_string": "x"}), &["random_string"])]
fn what_no_tool_knows_is_ignored_and_named(#[case] tool: &str, #[case] call: Value, #[case] names: &[&str]) {
    let fitted = of(tool, call).unwrap();
    let mut ignored: Vec<&str> = fitted.ignored.iter().map(|ignored| ignored.name.as_str()).collect();
    ignored.sort_unstable();
    assert_eq!(ignored, names);
}

#[test]
fn a_slip_is_told_the_name_it_is_like() {
    let fitted = of("claude_run", json!({"prompt": "hi", "max_budget": 1, "toolCallId": "c"})).unwrap();
    let like: Vec<Option<&str>> = fitted.ignored.iter().map(|ignored| ignored.like.as_deref()).collect();
    assert_eq!(like, [Some("max_budget_usd"), None]);
    let problem = of("claude_run", json!({"promt": "hi"})).unwrap_err();
    assert!(
        problem.detail(&WORDS).contains("promt") && problem.json(&WORDS)["field"] == "prompt",
        "{}",
        problem.detail(&WORDS)
    );
}

#[test]
fn another_way_to_write_a_name_is_that_name() {
    let call = json!({"prompt": "p", "maxBudgetUsd": "0.5", "timeout-seconds": 3, "noContinue": "true"});
    let fitted = of("claude_run", call).unwrap();
    assert!(fitted.ignored.is_empty());
    let same = json!({"prompt": "p", "max_budget_usd": 0.5, "timeout_seconds": 3, "no_continue": true});
    assert_eq!(Value::Object(fitted.arguments), same);
    // Both at once: the tool's own name counts.
    let both = of("claude_run", json!({"prompt": "p", "maxTurns": 1, "max_turns": 2})).unwrap();
    assert_eq!((both.arguments["max_turns"].as_u64(), both.ignored.len()), (Some(2), 1));
}

#[rstest]
#[case("60.0", json!(60))]
#[case("6e1", json!(60))]
#[case("+3", json!(3))]
fn a_whole_number_may_be_written_otherwise(#[case] given: &str, #[case] number: Value) {
    assert_eq!(of("read_file", json!({"path": "p", "offset": given})).unwrap().arguments["offset"], number);
}

#[rstest]
#[case("claude_run", json!({}), "prompt", "it is missing", "a text")]
#[case("claude_run", json!({"prompt": null}), "prompt", "it is missing", "a text")]
#[case("claude_run", json!({"prompt": ["p"]}), "prompt", r#"["p"]"#, "a text")]
#[case("claude_run", json!({"prompt": "p", "timeout_seconds": "soon"}), "timeout_seconds", "\"soon\"", "a number above 0")]
#[case("claude_run", json!({"prompt": "p", "timeout_seconds": "inf"}), "timeout_seconds", "\"inf\"", "a number above 0")]
#[case("claude_run", json!({"prompt": "p", "timeout_seconds": -1}), "timeout_seconds", "-1", "above 0")]
#[case("claude_run", json!({"prompt": "p", "max_turns": "2.5"}), "max_turns", "\"2.5\"", "an integer of at least 1")]
#[case("claude_run", json!({"prompt": "p", "max_turns": 5e12}), "max_turns", "5000000000000", "at most 4294967295")]
#[case("claude_run", json!({"prompt": "p", "background": "maybe"}), "background", "\"maybe\"", "true or false")]
#[case("claude_run", json!({"prompt": "p", "effort": "huge"}), "effort", "\"huge\"", "low, medium, high, xhigh, max")]
#[case("run_result", json!({"run_id": "r", "wait_seconds": 3601}), "wait_seconds", "3601", "of at least 0, at most 3600")]
#[case("read_file", json!({"path": "p", "offset": -1}), "offset", "-1", "an integer of at least 0")]
#[case("read_file", json!({"path": "p", "encoding": "latin1"}), "encoding", "latin1", "utf-8, base64")]
#[case("list_files", json!({"limit": 0}), "limit", "0", "of at least 1, at most 10000")]
fn what_cannot_be_is_told_with_its_value_and_what_is_allowed(
    #[case] tool: &str,
    #[case] call: Value,
    #[case] field: &str,
    #[case] value: &str,
    #[case] allowed: &str,
) {
    let problem = of(tool, call).unwrap_err();
    assert_eq!((problem.code(), &problem.json(&WORDS)["field"]), ("invalid_argument", &json!(field)));
    let said = problem.detail(&WORDS);
    assert!(said.starts_with(&format!("{field}: ")) && said.contains(value) && said.contains(allowed), "{said}");
}
