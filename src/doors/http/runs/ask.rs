//! What a client asks for with `POST /run`, checked field by field.

use serde::{Deserialize, Deserializer};
use serde_json::Value;
use utoipa::ToSchema;

use crate::claude::arguments::{Effort, OutputFormat};
use crate::desk::ask::Wish;
use crate::desk::field::Field;
use crate::desk::refusal::Refusal;
use crate::runs::submission::Busy;
use crate::store::record::Request;

/// A run to start. Every field is accepted in `snake_case` too.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_excessive_bools, reason = "the fields are the predecessor's")]
pub(super) struct RunBody {
    /// The prompt.
    #[schema(min_length = 1, pattern = r"\S", example = "what does this repo do")]
    prompt: String,
    /// Folder below the workspaces folder; that folder itself if it is left out.
    #[schema(example = "myproject")]
    pub(super) workspace: Option<String>,
    /// Make the workspace if it is not there.
    #[serde(default, deserialize_with = "null_is_default", alias = "create_workspace")]
    pub(super) create_workspace: bool,
    /// Work in a folder of its own, which is deleted with all in it after the run.
    #[serde(default, deserialize_with = "null_is_default")]
    pub(super) ephemeral: bool,
    /// Model alias (opus, sonnet, haiku, opusplan, sonnet[1m]) or full name.
    model: Option<String>,
    /// Replaces the system prompt.
    #[serde(alias = "system_prompt")]
    system_prompt: Option<String>,
    /// Is added to the system prompt.
    #[serde(alias = "append_system_prompt")]
    append_system_prompt: Option<String>,
    /// JSON Schema the answer must follow: an object, or its text.
    #[serde(alias = "json_schema")]
    #[schema(value_type = Option<Object>)]
    json_schema: Option<Value>,
    /// Reasoning effort.
    effort: Option<EffortName>,
    /// Form of the result.
    #[serde(default, deserialize_with = "null_is_default", alias = "output_format")]
    output_format: Format,
    /// Which events of the run the result has.
    #[serde(default, deserialize_with = "null_is_default", alias = "event_mode")]
    event_mode: EventMode,
    /// Start a fresh session instead of continuing the workspace's last one.
    #[serde(default, deserialize_with = "null_is_default", alias = "no_continue")]
    no_continue: bool,
    /// Session to resume, a UUID.
    #[schema(format = "uuid")]
    resume: Option<String>,
    /// Resume into a new session, and leave the old one as it is.
    #[serde(default, deserialize_with = "null_is_default", alias = "fork_session")]
    fork_session: bool,
    /// Stop the run when it has cost this much, US dollars.
    #[serde(alias = "max_budget_usd")]
    #[schema(exclusive_minimum = 0.0)]
    max_budget_usd: Option<f64>,
    /// Stop the run after this many turns.
    #[serde(alias = "max_turns")]
    #[schema(minimum = 1)]
    max_turns: Option<u32>,
    /// Stop the run after this many seconds.
    #[serde(alias = "timeout_seconds")]
    #[schema(exclusive_minimum = 0.0, maximum = 2_592_000.0)]
    timeout_seconds: Option<f64>,
    /// Let the stream have the pieces of messages as they are written.
    #[serde(default, deserialize_with = "null_is_default", alias = "include_partial_messages")]
    include_partial_messages: bool,
    /// What to do if the workspace is busy.
    #[serde(default, deserialize_with = "null_is_default")]
    pub(super) busy: BusyName,
    /// Answer at once; `GET /run/result` has the result later.
    #[serde(default, deserialize_with = "null_is_default", rename = "async")]
    pub(super) in_background: bool,
    /// Go on with the run when the client goes away.
    #[serde(default, deserialize_with = "null_is_default", alias = "fire_and_forget")]
    pub(super) fire_and_forget: bool,
    /// Answer with the run's events as they come: NDJSON, or server-sent events if the Accept header asks for them.
    #[serde(default, deserialize_with = "null_is_default")]
    pub(super) stream: bool,
    /// Address the result is posted to.
    #[serde(alias = "webhook_url")]
    #[schema(pattern = "^https?://")]
    webhook_url: Option<String>,
}

/// Many clients write `null` for what they leave out.
fn null_is_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(reader: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(reader)?.unwrap_or_default())
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
enum Format {
    #[default]
    Json,
    JsonVerbose,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
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

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum EffortName {
    Low,
    Medium,
    High,
    Xhigh,
    Max,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum BusyName {
    /// Refuse: 409.
    #[default]
    Reject,
    /// Wait for its turn.
    Queue,
    /// Cancel what runs and waits there, and take its place.
    Replace,
}

impl From<BusyName> for Busy {
    fn from(name: BusyName) -> Self {
        match name {
            BusyName::Reject => Self::Reject,
            BusyName::Queue => Self::Queue,
            BusyName::Replace => Self::Replace,
        }
    }
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
            effort: self.effort.map(effort),
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

const fn effort(name: EffortName) -> Effort {
    match name {
        EffortName::Low => Effort::Low,
        EffortName::Medium => Effort::Medium,
        EffortName::High => Effort::High,
        EffortName::Xhigh => Effort::Xhigh,
        EffortName::Max => Effort::Max,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use crate::claude::arguments::Options;
    use crate::claude::limits::LONGEST_PROMPT_BYTES;
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
