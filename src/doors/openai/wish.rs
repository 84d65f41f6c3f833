//! What a request asks for, whichever protocol it came in.

use serde_json::{Value, json};

use super::message::{Message, invalid};
use super::tools::Tools;
use crate::claude::arguments::Effort;
use crate::claude::schema::Schema;
use crate::doors::web::problem::Problem;
use crate::store::record::Run;

/// A request, read.
pub(super) struct AnswerRequest {
    pub(super) model: String,
    pub(super) messages: Vec<Message>,
    /// What the messages are called in the protocol.
    pub(super) field: &'static str,
    /// JSON Schema of the answer.
    pub(super) schema: Option<String>,
    pub(super) tools: Tools,
    /// Texts that end the answer.
    pub(super) stops: Vec<String>,
    pub(super) effort: Option<Effort>,
    pub(super) stream: bool,
    /// The run whose session this one goes on with.
    pub(super) previous: Option<Run>,
    /// What a response was asked with, if a later request may name it.
    pub(super) response: Option<Value>,
    /// `Idempotency-Key`: the same key again is the same run.
    pub(super) key: Option<String>,
}

/// The schema that a `response_format` (or `text.format`) asks for.
pub(super) fn schema(format: &Value, field: &str) -> Result<Option<String>, Problem> {
    match format["type"].as_str() {
        None if format.is_null() => Ok(None),
        Some("text") => Ok(None),
        Some("json_object") => Ok(Some(json!({"type": "object"}).to_string())),
        Some("json_schema") => {
            // Chat Completions has it one level deeper than Responses.
            let (schema, place) = if format["json_schema"].is_object() {
                (&format["json_schema"]["schema"], ".json_schema.schema")
            } else {
                (&format["schema"], ".schema")
            };
            match Schema::new(schema.clone()) {
                Ok(_) => Ok(Some(schema.to_string())),
                Err(fault) => Err(invalid(&format!("{field}{place}"), &fault.to_string())),
            }
        }
        _ => {
            let allowed = ["text", "json_object", "json_schema"];
            let why = format!("only {} are allowed", allowed.join(", "));
            Err(invalid(&format!("{field}.type"), &why).with("allowed", allowed.to_vec()))
        }
    }
}

/// OpenAI's word for an effort, and the CLI's own.
pub(super) fn effort(word: &str, field: &str) -> Result<Effort, Problem> {
    match word {
        "none" | "minimal" | "low" => Ok(Effort::Low),
        "medium" => Ok(Effort::Medium),
        "high" => Ok(Effort::High),
        "xhigh" => Ok(Effort::Xhigh),
        "max" => Ok(Effort::Max),
        _ => {
            let allowed = ["none", "minimal", "low", "medium", "high", "xhigh", "max"];
            let why = format!("{word:?} is not allowed, only {}", allowed.join(", "));
            Err(invalid(field, &why).with("allowed", allowed.to_vec()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(json!(null), None)]
    #[case(json!({"type": "text"}), None)]
    #[case(json!({"type": "json_object"}), Some(r#"{"type":"object"}"#))]
    #[case(json!({"type": "json_schema", "json_schema": {"name": "x", "schema": {"a": 1}}}), Some(r#"{"a":1}"#))]
    #[case(json!({"type": "json_schema", "name": "x", "schema": {"a": 1}}), Some(r#"{"a":1}"#))]
    fn a_format_is_a_schema(#[case] format: Value, #[case] expected: Option<&str>) {
        assert_eq!(schema(&format, "response_format").unwrap().as_deref(), expected);
    }

    #[rstest]
    #[case(json!({"type": "xml"}))]
    #[case(json!({"type": "json_schema"}))]
    #[case(json!({"type": "json_schema", "json_schema": {"schema": "x"}}))]
    #[case(json!("text"))]
    fn another_format_is_refused(#[case] format: Value) {
        assert!(schema(&format, "response_format").unwrap_err().detail().starts_with("response_format."));
    }

    #[test]
    fn an_effort_has_openais_names_and_the_clis() {
        assert_eq!(effort("minimal", "f").unwrap(), Effort::Low);
        assert!(effort("huge", "f").is_err());
    }
}
