//! What a client asks for with `POST /run`, checked field by field.

use serde::{Deserialize, Deserializer};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa::openapi::schema::Object;
use utoipa::openapi::{OpenApi, RefOr, Schema};

use crate::claude::arguments::{Effort, OutputFormat};
use crate::desk::ask::Wish;
use crate::desk::options::form::Bounds;
use crate::desk::options::{self, Field, Place, RunOption};
use crate::desk::refusal::Refusal;
use crate::runs::submission::Busy;
use crate::store::record::Request;

/// A run to start. Every field is accepted in `snake_case` too.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_excessive_bools, reason = "the fields are the predecessor's")]
pub(super) struct RunBody {
    #[schema(min_length = 1, pattern = r"\S", example = "what does this repo do")]
    prompt: String,
    #[schema(example = "myproject")]
    pub(super) workspace: Option<String>,
    #[serde(default, deserialize_with = "null_is_default", alias = "create_workspace")]
    pub(super) create_workspace: bool,
    #[serde(default, deserialize_with = "null_is_default")]
    pub(super) ephemeral: bool,
    model: Option<String>,
    #[serde(alias = "system_prompt")]
    system_prompt: Option<String>,
    #[serde(alias = "append_system_prompt")]
    append_system_prompt: Option<String>,
    #[serde(alias = "json_schema")]
    #[schema(value_type = Option<Object>)]
    json_schema: Option<Value>,
    #[schema(value_type = Option<String>)]
    effort: Option<Effort>,
    #[serde(default, deserialize_with = "null_is_default", alias = "output_format")]
    #[schema(value_type = String, default = "json")]
    output_format: Format,
    #[serde(default, deserialize_with = "null_is_default", alias = "event_mode")]
    #[schema(value_type = String, default = "auto")]
    event_mode: EventMode,
    #[serde(default, deserialize_with = "null_is_default", alias = "no_continue")]
    no_continue: bool,
    #[schema(format = "uuid")]
    resume: Option<String>,
    #[serde(default, deserialize_with = "null_is_default", alias = "fork_session")]
    fork_session: bool,
    #[serde(alias = "max_budget_usd")]
    max_budget_usd: Option<f64>,
    #[serde(alias = "max_turns")]
    max_turns: Option<u32>,
    #[serde(alias = "timeout_seconds")]
    timeout_seconds: Option<f64>,
    #[serde(default, deserialize_with = "null_is_default", alias = "include_partial_messages")]
    include_partial_messages: bool,
    #[serde(default, deserialize_with = "null_is_default")]
    #[schema(value_type = String, default = "reject")]
    pub(super) busy: Busy,
    #[serde(default, deserialize_with = "null_is_default", rename = "async")]
    pub(super) in_background: bool,
    #[serde(default, deserialize_with = "null_is_default", alias = "fire_and_forget")]
    pub(super) fire_and_forget: bool,
    #[serde(default, deserialize_with = "null_is_default")]
    pub(super) stream: bool,
    #[serde(alias = "webhook_url")]
    #[schema(pattern = "^https?://")]
    webhook_url: Option<String>,
}

/// Gives the fields of [`RunBody`] in the API's description their meanings and what they may be, from the table of options.
pub(super) fn describe(described: &mut OpenApi) {
    let schemas = described.components.as_mut().map(|components| &mut components.schemas);
    let Some(RefOr::T(Schema::Object(body))) = schemas.and_then(|schemas| schemas.get_mut("RunBody")) else { return };
    for (name, option) in options::at(Place::Http) {
        if let Some(RefOr::T(Schema::Object(field))) = body.properties.get_mut(name) {
            describe_field(field, option);
        }
    }
}

fn describe_field(field: &mut Object, option: &RunOption) {
    field.description = Some(option.meaning_at(Place::Http));
    let Bounds { least, above, most } = option.form.bounds();
    field.minimum = least.map(Into::into);
    field.exclusive_minimum = above.map(Into::into);
    field.maximum = most.map(Into::into);
    let names = option.form.names().into_iter().filter(|name| allowed_in_body(option.field, name));
    let names: Vec<Value> = names.map(Into::into).collect();
    field.enum_values = (!names.is_empty()).then_some(names);
}

/// Of the forms of a result, those that an answer can have.
fn allowed_in_body(field: Field, name: &str) -> bool {
    field != Field::OutputFormat || options::named::<Format>(name).is_some()
}

/// Many clients write `null` for what they leave out.
fn null_is_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(reader: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(reader)?.unwrap_or_default())
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Format {
    #[default]
    Json,
    JsonVerbose,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum EventMode {
    /// What `outputFormat` says.
    #[default]
    Auto,
    /// None: the last result alone.
    None,
    /// All, pieces of messages too, as `events` of the result.
    Full,
}

impl RunBody {
    /// What is asked for, if every field of it can be carried out.
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
            include_partial_messages: self.include_partial_messages,
            all_events: self.event_mode == EventMode::Full,
            format: match (self.event_mode, self.output_format) {
                (EventMode::None, _) | (_, Format::Json) => OutputFormat::Json,
                (_, Format::JsonVerbose) => OutputFormat::JsonVerbose,
            },
        };
        let request = wish.check()?;
        if self.in_background && self.stream {
            let allowed = "a run is answered at once (async) or streamed (stream), not both";
            return Err(Refusal::of_field(Field::Stream, allowed));
        }
        if self.ephemeral && self.workspace.as_deref().is_some_and(|name| !name.is_empty()) {
            let allowed = "a workspace of its own has no name: leave workspace out";
            return Err(Refusal::of_field(Field::Ephemeral, allowed));
        }
        Ok(request)
    }

    /// Where the result is to be posted to.
    pub(super) fn webhook_url(&self) -> Option<&str> {
        self.webhook_url.as_deref().filter(|url| !url.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::time::Duration;

    use crate::claude::arguments::Options;
    use crate::claude::limits::LONGEST_PROMPT_BYTES;
    use crate::desk::options::form::Form;
    use crate::desk::refusal::Kind;
    use crate::doors::web::problem::WORDS;
    use rstest::rstest;
    use serde_json::json;

    fn ask(body: Value) -> Result<Request, Refusal> {
        serde_json::from_value::<RunBody>(body).unwrap().request()
    }

    #[test]
    fn both_spellings_are_one() {
        let snake = json!({
            "prompt": "p", "system_prompt": "s", "append_system_prompt": "a", "json_schema": "{}", "no_continue": true,
            "max_turns": 2, "timeout_seconds": 1.5, "output_format": "json-verbose", "max_budget_usd": 0.5,
        });
        let camel = json!({
            "prompt": "p", "systemPrompt": "s", "appendSystemPrompt": "a", "jsonSchema": {}, "noContinue": true,
            "maxTurns": 2, "timeoutSeconds": 1.5, "outputFormat": "json-verbose", "maxBudgetUsd": 0.5,
        });
        let request = ask(snake).unwrap();
        assert_eq!(request, ask(camel).unwrap());
        assert_eq!(request.options.json_schema.as_deref(), Some("{}"));
        assert_eq!(
            (request.format, request.options.timeout),
            (OutputFormat::JsonVerbose, Some(Duration::from_millis(1500)))
        );
    }

    /// A value that a field may have and that is not its default.
    fn example(option: &RunOption) -> Value {
        match option.form {
            Form::Switch => true.into(),
            Form::Dollars | Form::Count | Form::Seconds => 2.into(),
            Form::Schema => json!({}),
            Form::Session => "0192d0ea-0000-7000-8000-000000000000".into(),
            form => form.names().into_iter().rfind(|name| allowed_in_body(option.field, name)).unwrap_or("x").into(),
        }
    }

    #[test]
    fn every_field_of_the_table_is_read_in_both_spellings() {
        let read = |name: &str, value: Value| {
            let mut body = json!({"prompt": "p"});
            body[name] = value;
            format!("{:?}", serde_json::from_value::<RunBody>(body).unwrap())
        };
        let nothing = read("prompt", "p".into());
        for (name, option) in options::at(Place::Http) {
            let camel = read(name, example(option));
            assert_ne!(camel, nothing, "{name}");
            assert_eq!(camel, read(option.name, example(option)), "{name}");
        }
    }

    #[test]
    fn the_description_has_the_fields_of_the_table() {
        let mut described = utoipa::openapi::OpenApiBuilder::new().build();
        let components = utoipa::openapi::ComponentsBuilder::new().schema_from::<RunBody>();
        described.components = Some(components.build());
        describe(&mut described);
        let body = serde_json::to_value(&described).unwrap()["components"]["schemas"]["RunBody"]["properties"].take();
        let names: BTreeSet<&str> = body.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(names, options::at(Place::Http).map(|(name, _)| name).collect());
        for (name, option) in options::at(Place::Http) {
            assert_eq!(body[name]["description"], option.meaning_at(Place::Http), "{name}");
        }
        assert_eq!((&body["maxTurns"]["minimum"], &body["timeoutSeconds"]["maximum"]), (&json!(1), &json!(2_592_000)));
        assert_eq!(body["maxBudgetUsd"]["exclusiveMinimum"], json!(0));
        assert_eq!(body["outputFormat"]["enum"], json!(["json", "json-verbose"]));
        assert_eq!(body["effort"]["enum"], json!(["low", "medium", "high", "xhigh", "max"]));
    }

    #[test]
    fn empty_texts_and_null_count_as_left_out() {
        let body = json!({"prompt": "p", "model": "", "async": null, "busy": null, "outputFormat": null, "systemPrompt": null, "resume": "", "jsonSchema": "", "webhookUrl": ""});
        assert_eq!(serde_json::from_value::<RunBody>(body.clone()).unwrap().webhook_url(), None);
        assert_eq!(ask(body).unwrap().options, Options::default());
    }

    #[rstest]
    #[case(json!({"prompt": " \n"}), "prompt")]
    #[case(json!({"prompt": "p", "model": "--help"}), "model")]
    #[case(json!({"prompt": "p", "model": "a\nb"}), "model")]
    #[case(json!({"prompt": "p", "model": "a\u{0}b"}), "model")]
    #[case(json!({"prompt": "p", "jsonSchema": "{"}), "jsonSchema")]
    #[case(json!({"prompt": "p", "jsonSchema": [1]}), "jsonSchema")]
    #[case(json!({"prompt": "p", "jsonSchema": {"type": "objekt"}}), "jsonSchema")]
    #[case(json!({"prompt": "p", "resume": "--last"}), "resume")]
    #[case(json!({"prompt": "p", "forkSession": true}), "forkSession")]
    #[case(json!({"prompt": "p", "maxTurns": 0}), "maxTurns")]
    #[case(json!({"prompt": "p", "maxBudgetUsd": -1}), "maxBudgetUsd")]
    #[case(json!({"prompt": "p", "timeoutSeconds": 0}), "timeoutSeconds")]
    #[case(json!({"prompt": "p", "timeoutSeconds": 1e300}), "timeoutSeconds")]
    #[case(json!({"prompt": "p", "async": true, "stream": true}), "stream")]
    #[case(json!({"prompt": "p", "ephemeral": true, "workspace": "w"}), "ephemeral")]
    #[case(json!({"prompt": "p", "systemPrompt": "a\u{0}b"}), "systemPrompt")]
    #[case(json!({"prompt": "p", "appendSystemPrompt": "a\u{0}b"}), "appendSystemPrompt")]
    fn a_field_that_cannot_be_is_named(#[case] body: Value, #[case] field: &str) {
        let problem = ask(body).unwrap_err();
        assert_eq!((problem.kind(), problem.json(&WORDS)["field"].as_str()), (Kind::Invalid, Some(field)));
        let detail = problem.detail(&WORDS);
        assert!(detail.starts_with(&format!("{field}: ")), "{detail}");
    }

    #[test]
    fn a_text_that_is_too_long_is_too_large() {
        let long = "x".repeat(LONGEST_PROMPT_BYTES + 1);
        for body in [json!({"prompt": long}), json!({"prompt": "p", "appendSystemPrompt": long})] {
            assert_eq!(ask(body).unwrap_err().kind(), Kind::TooLarge);
        }
        // No argument's limit, which is 131,071 bytes.
        let body = json!({"prompt": "p", "systemPrompt": "x".repeat(131_072)});
        assert_eq!(ask(body).unwrap().options.system_prompt.map(|text| text.len()), Some(131_072));
    }
}
