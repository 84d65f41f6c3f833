//! Arguments of a call -> types. Whatever is wrong is told by the name the client knows.

use rmcp::model::JsonObject;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::answer::Fault;
use super::words::CODE;
use crate::claude::arguments::Effort;
use crate::desk::ask::Wish;
use crate::desk::options::{self, Place};
use crate::desk::refusal::{Kind, Refusal};
use crate::doors::web::parameters;
use crate::runs::submission::Busy;
use crate::store::record::Request;

/// Reads the arguments of a call, which fit the tool's schema.
pub(super) fn read<T: DeserializeOwned>(arguments: JsonObject) -> Result<T, Fault> {
    Ok(from_value(Value::Object(arguments))?)
}

/// Arguments of `run_prompt` as those of `claude_run`: the effort is called `thinking`, and each call is a session of its
/// own unless it says otherwise.
pub(super) fn of_run_prompt(mut given: JsonObject) -> JsonObject {
    match given.shift_remove("thinking") {
        Some(Value::String(level)) if ["off", "none"].contains(&level.as_str()) => {}
        Some(level) if !given.contains_key("effort") => {
            given.insert("effort".into(), level);
        }
        _ => {}
    }
    let absent = |name: &str| given.get(name).is_none_or(|value| value.is_null() || value == "");
    if absent("resume") && absent("no_continue") {
        given.insert("no_continue".into(), true.into());
    }
    given
}

fn from_value<T: DeserializeOwned>(value: Value) -> Result<T, Refusal> {
    serde_path_to_error::deserialize(value)
        .map_err(|error| parameters::invalid(CODE, &error.path().to_string(), &error.inner().to_string()))
}

/// Arguments of `claude_run`. An empty text counts as left out. What each may be is described from the table of options.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[schemars(transform = describe)]
#[expect(clippy::struct_excessive_bools, reason = "the arguments are the predecessor's")]
pub(super) struct RunArguments {
    prompt: String,
    model: Option<String>,
    system_prompt: Option<String>,
    append_system_prompt: Option<String>,
    #[serde(default)]
    json_schema: Option<Value>,
    pub(super) workspace: Option<String>,
    #[serde(default)]
    pub(super) create_workspace: bool,
    #[serde(default)]
    no_continue: bool,
    resume: Option<String>,
    #[serde(default)]
    fork_session: bool,
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    effort: Option<Effort>,
    max_budget_usd: Option<f64>,
    max_turns: Option<u32>,
    timeout_seconds: Option<f64>,
    #[serde(default)]
    #[schemars(with = "Option<String>", extend("default" = "queue"))]
    pub(super) busy: Option<Busy>,
    #[serde(default)]
    pub(super) background: bool,
}

/// Replaces what is known of the arguments by what the table of options says; a default stays.
fn describe(schema: &mut schemars::Schema) {
    let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
    for (name, property) in properties.into_iter().flatten() {
        let Some((_, option)) = options::at(Place::Mcp).find(|(known, _)| known == name) else { continue };
        let mut described = json!({"description": option.meaning_at(Place::Mcp)});
        for more in [option.form.json_schema(), json!({"default": property["default"]})] {
            let more = more.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
            more.for_each(|(key, value)| described[key] = value.clone());
        }
        *property = described;
    }
}

impl RunArguments {
    /// What is asked for, if every argument of it can be carried out.
    pub(super) fn request(&self) -> Result<Request, Refusal> {
        let wish = Wish {
            prompt: self.prompt.clone(),
            model: self.model.clone(),
            system_prompt: self.system_prompt.clone(),
            append_system_prompt: self.append_system_prompt.clone(),
            json_schema: self.json_schema.clone(),
            effort: self.effort,
            resume: self.resume.clone(),
            fork_session: self.fork_session,
            no_continue: self.no_continue,
            max_budget_usd: self.max_budget_usd,
            max_turns: self.max_turns,
            timeout_seconds: self.timeout_seconds,
            ..Wish::default()
        };
        // Here a wrong argument has this door's code.
        wish.check().map_err(|refusal| if refusal.kind() == Kind::Invalid { refusal.coded(CODE) } else { refusal })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doors::mcp::words::WORDS;
    use crate::doors::mcp::{lenient, tools};
    use rstest::rstest;
    use std::collections::BTreeSet;

    #[test]
    fn the_arguments_are_those_of_the_table() {
        let schema = tools::described("claude_run").unwrap().input_schema;
        let properties = schema["properties"].as_object().unwrap();
        let names: BTreeSet<&str> = properties.keys().map(String::as_str).collect();
        assert_eq!(names, options::at(Place::Mcp).map(|(name, _)| name).collect());
        assert_eq!(properties["timeout_seconds"]["maximum"], 2_592_000);
        assert_eq!(properties["max_turns"]["minimum"], 1);
        assert_eq!(
            (&properties["busy"]["default"], &properties["busy"]["enum"][0]),
            (&json!("queue"), &json!("reject"))
        );
    }

    fn request(arguments: Value) -> Result<Request, Fault> {
        let Value::Object(arguments) = arguments else { panic!("no object") };
        let fitted = lenient::fit(&tools::described("claude_run").unwrap().input_schema, &arguments)?;
        Ok(read::<RunArguments>(fitted.arguments)?.request()?)
    }

    #[test]
    fn every_argument_gets_where_it_belongs() {
        let all = json!({
            "prompt": "p", "model": "haiku", "system_prompt": "s", "append_system_prompt": "a", "workspace": "w",
            "json_schema": {"type": "object"}, "create_workspace": true, "no_continue": true, "fork_session": true,
            "resume": "0192d0ea-0000-7000-8000-000000000000", "effort": "xhigh", "max_budget_usd": 0.5, "max_turns": 3,
            "timeout_seconds": 2.5, "busy": "queue", "background": true,
        });
        let options = request(all).unwrap().options;
        assert_eq!((options.model.as_deref(), options.max_turns), (Some("haiku"), Some(3)));
        assert_eq!((options.system_prompt.as_deref(), options.append_system_prompt.as_deref()), (Some("s"), Some("a")));
        assert!(options.no_continue && options.fork_session && options.resume.is_some() && options.effort.is_some());
        assert_eq!((options.max_budget_usd, options.timeout.unwrap().as_millis()), (Some(0.5), 2500));
        assert_eq!(options.json_schema.as_deref(), Some(r#"{"type":"object"}"#));
    }

    #[rstest]
    #[case(json!({"prompt": "p"}), json!({"prompt": "p", "no_continue": true}))]
    #[case(json!({"prompt": "p", "thinking": "high"}), json!({"prompt": "p", "effort": "high", "no_continue": true}))]
    #[case(json!({"prompt": "p", "thinking": "off"}), json!({"prompt": "p", "no_continue": true}))]
    #[case(json!({"prompt": "p", "thinking": null}), json!({"prompt": "p", "no_continue": true}))]
    #[case(json!({"prompt": "p", "no_continue": false}), json!({"prompt": "p"}))]
    #[case(
        json!({"prompt": "p", "resume": "0192d0ea-0000-7000-8000-000000000000"}),
        json!({"prompt": "p", "resume": "0192d0ea-0000-7000-8000-000000000000"})
    )]
    fn run_prompt_is_claude_run(#[case] given: Value, #[case] same: Value) {
        let Value::Object(given) = given else { panic!("no object") };
        assert_eq!(request(Value::Object(of_run_prompt(given))).unwrap(), request(same).unwrap());
    }

    #[test]
    fn what_is_empty_or_null_is_left_out() {
        let arguments = json!({
            "prompt": "p", "model": "", "effort": "", "busy": "", "json_schema": "", "resume": null, "max_turns": null,
        });
        assert_eq!(request(arguments).unwrap(), request(json!({"prompt": "p"})).unwrap());
    }

    #[rstest]
    #[case(json!({}), "prompt")]
    #[case(json!({"prompt": " "}), "prompt")]
    #[case(json!({"prompt": [7]}), "prompt")]
    #[case(json!({"prompt": "p", "effort": "huge"}), "effort")]
    #[case(json!({"prompt": "p", "busy": "wait"}), "busy")]
    #[case(json!({"prompt": "p", "timeout_seconds": -1}), "timeout_seconds")]
    #[case(json!({"prompt": "p", "timeout_seconds": "soon"}), "timeout_seconds")]
    #[case(json!({"prompt": "p", "max_budget_usd": 0}), "max_budget_usd")]
    #[case(json!({"prompt": "p", "max_turns": 0}), "max_turns")]
    #[case(json!({"prompt": "p", "json_schema": [1]}), "json_schema")]
    #[case(json!({"prompt": "p", "resume": "--last"}), "resume")]
    #[case(json!({"prompt": "p", "fork_session": true}), "fork_session")]
    #[case(json!({"prompt": "p", "model": "--help"}), "model")]
    fn an_argument_that_cannot_be_is_named(#[case] arguments: Value, #[case] name: &str) {
        let Err(Fault::Refused(problem)) = request(arguments) else { panic!("it was taken") };
        let detail = problem.detail(&WORDS);
        assert!(detail.starts_with(&format!("{name}: ")), "{detail}");
        assert_eq!((problem.code(), &problem.json(&WORDS)["field"]), (CODE, &json!(name)));
    }
}
