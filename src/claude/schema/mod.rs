//! The JSON Schema of a structured answer: the client's own, and the one that the CLI is told.
//!
//! The CLI takes draft-07 without any keyword it does not know, and the API behind it takes only an object without
//! `anyOf` and its like at the root. What a client's library writes is rarely that. So the CLI is told an equivalent
//! (`translate`), and the answer is checked here against the schema that the client sent.

mod containers;
mod translate;

use jsonschema::{Draft, Validator};
use serde_json::{Value, json};

use self::translate::{Told, VALUE, translate};
use super::limits::LONGEST_ARGUMENT_BYTES;

/// Drafts to try for a schema that names none, the one that its keywords most likely mean first.
const DRAFTS: [Draft; 3] = [Draft::Draft202012, Draft::Draft7, Draft::Draft4];
/// Most characters of an error that are shown: it can quote the whole answer.
const LONGEST_ERROR_CHARS: usize = 300;
/// Most violations that are shown.
const MOST_ERRORS: usize = 3;

/// A schema that can be used.
pub struct Schema {
    own: Validator,
    told: String,
    wrapped: bool,
}

/// Why a text is no usable JSON Schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{why}", .at.as_ref().map(|at| format!("at {at}: ")).unwrap_or_default())]
pub struct SchemaFault {
    /// JSON Pointer to the place in the schema; `None` is the whole of it.
    pub at: Option<String>,
    /// What is wrong there.
    pub why: String,
}

impl SchemaFault {
    fn whole(why: impl Into<String>) -> Self {
        Self { at: None, why: why.into() }
    }
}

impl Schema {
    /// Reads a schema from its text.
    pub fn parse(text: &str) -> Result<Self, SchemaFault> {
        let own: Value =
            serde_json::from_str(text).map_err(|error| SchemaFault::whole(format!("not JSON: {error}")))?;
        Self::new(own)
    }

    /// Takes a schema.
    pub fn new(mut own: Value) -> Result<Self, SchemaFault> {
        let Some(object) = own.as_object_mut() else {
            return Err(SchemaFault::whole("a JSON Schema is a JSON object"));
        };
        // Named to the validator by its draft: an address that it does not know would be an error.
        let named = object.remove("$schema");
        let own_draft = named.as_ref().and_then(Value::as_str).and_then(draft);
        let validator = compile(&own, own_draft)?;
        let Told { schema, wrapped } = translate(&own, false);
        let mut told = schema.to_string();
        if told.len() > LONGEST_ARGUMENT_BYTES {
            told = translate(&own, true).schema.to_string();
        }
        if told.len() > LONGEST_ARGUMENT_BYTES {
            let length = told.len();
            let why = format!(
                "the schema has {length} bytes without its descriptions, the CLI takes {LONGEST_ARGUMENT_BYTES}"
            );
            return Err(SchemaFault::whole(why));
        }
        Ok(Self { own: validator, told, wrapped })
    }

    /// What the CLI is told: JSON on one line.
    pub fn told(&self) -> &str {
        &self.told
    }

    /// Brings the CLI's `result` event into the form that the client asked for. An answer that does not follow the
    /// client's schema moves to `rejected_output`, and `errors` says why.
    pub fn settle(&self, result: &mut Value) {
        let Some(fields) = result.as_object_mut() else { return };
        let Some(told) = fields.remove("structured_output") else { return };
        let output = if self.wrapped { told.get(VALUE).cloned().unwrap_or_default() } else { told.clone() };
        if let Some(text) = fields.get_mut("result")
            && text.as_str().and_then(|text| serde_json::from_str::<Value>(text).ok()).is_some_and(|said| said == told)
        {
            *text = output.to_string().into();
        }
        let missing = self.wrapped && told.get(VALUE).is_none();
        match self.check(&output) {
            Ok(()) if !missing => drop(fields.insert("structured_output".into(), output)),
            checked => {
                let why = checked.err().unwrap_or_else(|| "there is no answer in it".into());
                if !told.is_null() {
                    fields.insert("rejected_output".into(), output);
                }
                let errors = fields.entry("errors").or_insert_with(|| json!([]));
                if let Some(errors) = errors.as_array_mut() {
                    errors.push(why.into());
                }
            }
        }
    }

    /// Checks an answer against the client's schema; else what is wrong with it.
    fn check(&self, output: &Value) -> Result<(), String> {
        let errors = self.own.iter_errors(output).take(MOST_ERRORS);
        let errors: Vec<String> = errors
            .map(|error| {
                let at = error.instance_path().to_string();
                let at = if at.is_empty() { "the answer".to_owned() } else { at };
                shortened(&format!("{at}: {error}"))
            })
            .collect();
        if errors.is_empty() { Ok(()) } else { Err(errors.join("; ")) }
    }
}

/// What the CLI is told for a schema in text. One that is none goes as it is: the CLI says what is wrong.
pub fn for_cli(text: &str) -> String {
    Schema::parse(text).map_or_else(|_| text.to_owned(), |schema| schema.told)
}

fn compile(own: &Value, draft: Option<Draft>) -> Result<Validator, SchemaFault> {
    let drafts = draft.as_ref().map_or(&DRAFTS[..], std::slice::from_ref);
    let mut first = None;
    for draft in drafts {
        // Nothing that a schema names is fetched or read.
        match jsonschema::options().with_draft(*draft).offline().build(own) {
            Ok(validator) => return Ok(validator),
            Err(error) => {
                let at = error.instance_path().to_string();
                let fault = SchemaFault { at: (!at.is_empty()).then_some(at), why: shortened(&error.to_string()) };
                first.get_or_insert(fault);
            }
        }
    }
    Err(first.unwrap_or_else(|| SchemaFault::whole("not a JSON Schema")))
}

/// The draft of this address.
fn draft(address: &str) -> Option<Draft> {
    let name = address.trim_end_matches('#').trim_end_matches('/');
    let name = name.strip_prefix("https://").or_else(|| name.strip_prefix("http://")).unwrap_or(name);
    match name {
        "json-schema.org/draft/2020-12/schema" => Some(Draft::Draft202012),
        "json-schema.org/draft/2019-09/schema" => Some(Draft::Draft201909),
        "json-schema.org/draft-07/schema" => Some(Draft::Draft7),
        "json-schema.org/draft-06/schema" => Some(Draft::Draft6),
        "json-schema.org/draft-04/schema" => Some(Draft::Draft4),
        _ => None,
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(LONGEST_ERROR_CHARS) {
        Some((end, _)) => format!("{}\u{2026}", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
