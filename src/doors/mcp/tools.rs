//! Names, descriptions and schemas of the tools.
//!
//! Schemas are what models and strict clients read: no titles, no number formats that JSON Schema does not know, and
//! nothing that is optional asks for `null`.

use std::sync::{Arc, LazyLock};

use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::arguments::RunArguments;
use super::files::{
    DeleteAnswer, DeleteArguments, ListAnswer, ListArguments, ReadAnswer, ReadArguments, WriteAnswer, WriteArguments,
};
use super::run::RunAnswer;
use super::runs::{CancelAnswer, CancelArguments, ResultArguments, StatusAnswer, StatusArguments};

/// A tool that does something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Name {
    Run,
    Status,
    Result,
    Cancel,
    List,
    Read,
    Write,
    Delete,
}

/// Every tool, in the order in which clients see them.
const NAMES: [(&str, Name); 8] = [
    ("list_files", Name::List),
    ("read_file", Name::Read),
    ("write_file", Name::Write),
    ("delete_file", Name::Delete),
    ("claude_run", Name::Run),
    ("run_status", Name::Status),
    ("run_result", Name::Result),
    ("run_cancel", Name::Cancel),
];

/// What later versions of the predecessor call `claude_run`.
pub(super) const RUN_PROMPT: &str = "run_prompt";

static TOOLS: LazyLock<Vec<Tool>> = LazyLock::new(|| NAMES.iter().map(|(text, name)| name.tool(text)).collect());

/// All tools.
pub(super) fn all() -> Vec<Tool> {
    TOOLS.clone()
}

/// The tool of this name, as clients see it.
pub(super) fn described(name: &str) -> Option<Tool> {
    named(name).map(|name| name.described().clone())
}

/// The tool of this name.
pub(super) fn named(name: &str) -> Option<Name> {
    // It is not listed: a model that sees two tools for one thing has to choose.
    if name == RUN_PROMPT {
        return Some(Name::Run);
    }
    NAMES.iter().find(|(text, _)| *text == name).map(|(_, name)| *name)
}

/// All names, for who used another one.
pub(super) fn names() -> Vec<&'static str> {
    NAMES.iter().map(|(text, _)| *text).collect()
}

impl Name {
    /// The tool, as clients see it.
    pub(super) fn described(self) -> &'static Tool {
        let place = NAMES.iter().position(|(_, name)| *name == self).unwrap_or_default();
        &TOOLS[place]
    }

    fn tool(self, name: &'static str) -> Tool {
        let reads = ToolAnnotations::new().read_only(true).open_world(false);
        let changes = ToolAnnotations::new().read_only(false).destructive(true).idempotent(true).open_world(false);
        let (title, description, annotations) = match self {
            Self::Run => (
                "Run Claude Code",
                "Give Claude Code a task. It works in a workspace with all of its tools: it reads and writes files, runs \
                 commands, searches the web. The answer comes when it is done, which can take many minutes; ask for \
                 progress, or set background and fetch the answer with run_result.",
                ToolAnnotations::new().read_only(false).destructive(true).idempotent(false).open_world(true),
            ),
            Self::Status => (
                "See runs",
                "Where a run stands; without run_id, the latest runs. Also of runs of other clients.",
                reads,
            ),
            Self::Result => (
                "Get a run's answer",
                "The answer of a run, as claude_run would have given it. While it is not there, where the run stands. \
                 Can be asked again, also after a restart.",
                reads,
            ),
            Self::Cancel => {
                ("Cancel a run", "End a run and all of its processes. One that has ended stays as it is.", changes)
            }
            Self::List => (
                "List files",
                "The names in a folder of the workspaces, a page at a time, with type, size and time of last change.",
                reads,
            ),
            Self::Read => (
                "Read a file",
                "The content of a file in the workspaces. Of a large one a page: next_offset is where the next begins.",
                reads,
            ),
            Self::Write => (
                "Write a file",
                "Write a file in the workspaces, replacing what was there. Folders above it are made. It is there whole \
                 or not at all.",
                changes,
            ),
            Self::Delete => (
                "Delete a file",
                "Delete a file in the workspaces, or with recursive a folder and all in it.",
                ToolAnnotations::new().read_only(false).destructive(true).idempotent(false).open_world(false),
            ),
        };
        let (input, output) = self.schemas();
        Tool::new(name, description, input)
            .with_title(title)
            .with_raw_output_schema(output)
            .with_annotations(annotations)
    }

    fn schemas(self) -> (Arc<JsonObject>, Arc<JsonObject>) {
        match self {
            Self::Run => schemas::<RunArguments, RunAnswer>(),
            Self::Status => schemas::<StatusArguments, StatusAnswer>(),
            Self::Result => schemas::<ResultArguments, RunAnswer>(),
            Self::Cancel => schemas::<CancelArguments, CancelAnswer>(),
            Self::List => schemas::<ListArguments, ListAnswer>(),
            Self::Read => schemas::<ReadArguments, ReadAnswer>(),
            Self::Write => schemas::<WriteArguments, WriteAnswer>(),
            Self::Delete => schemas::<DeleteArguments, DeleteAnswer>(),
        }
    }
}

fn schemas<I: JsonSchema, O: JsonSchema>() -> (Arc<JsonObject>, Arc<JsonObject>) {
    let mut settings = SchemaSettings::draft2020_12();
    settings.inline_subschemas = true;
    (
        schema(settings.clone().into_generator().into_root_schema_for::<I>()),
        schema(settings.for_serialize().into_generator().into_root_schema_for::<O>()),
    )
}

fn schema(schema: schemars::Schema) -> Arc<JsonObject> {
    let mut schema = Value::from(schema);
    plain(&mut schema, true);
    match schema {
        Value::Object(mut object) => {
            object.remove("$schema");
            object.remove("description");
            Arc::new(object)
        }
        // No type here has another one.
        _ => Arc::default(),
    }
}

/// Takes out what says nothing to a client. `is_schema`: not where names of properties stand.
fn plain(value: &mut Value, is_schema: bool) {
    match value {
        Value::Object(object) => {
            if is_schema {
                object.remove("title");
                object.remove("format");
                if object.get("default").is_some_and(Value::is_null) {
                    object.remove("default");
                }
                if let Some(Value::Array(types)) = object.get_mut("type") {
                    types.retain(|kind| kind != "null");
                    if let [one] = types.as_slice() {
                        let one = one.clone();
                        object.insert("type".into(), one);
                    }
                }
            }
            for (key, inner) in object.iter_mut() {
                if let (true, "description", Value::String(text)) = (is_schema, key.as_str(), &mut *inner) {
                    // A doc comment's lines end where the source's do.
                    *text = text.split_whitespace().collect::<Vec<_>>().join(" ");
                }
                plain(inner, !(is_schema && key == "properties"));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| plain(item, is_schema)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tool_is_described() {
        for tool in all() {
            let name = &tool.name;
            assert!(named(name).is_some() && described(name).is_some());
            let input = Value::Object((*tool.input_schema).clone());
            // What is not known is ignored, and no client is told otherwise.
            assert_eq!((&input["type"], input.get("additionalProperties")), (&"object".into(), None), "{name}");
            for (argument, schema) in input["properties"].as_object().unwrap() {
                assert!(schema["description"].is_string(), "{name}: {argument}");
            }
            let output = Value::Object((*tool.output_schema.clone().unwrap()).clone());
            assert_eq!(output["type"], "object", "{name}");
            for text in [input.to_string(), output.to_string()] {
                for word in ["$ref", "\"title\":\"", "uint", "\"null\"", "\\n"] {
                    assert!(!text.contains(word), "{name}: {word} in {text}");
                }
            }
        }
        assert_eq!(all().len(), 8);
    }

    #[test]
    fn arguments_are_the_predecessors() {
        let tool = described("claude_run").unwrap();
        let properties = tool.input_schema["properties"].as_object().unwrap();
        for name in [
            "prompt",
            "model",
            "system_prompt",
            "append_system_prompt",
            "json_schema",
            "workspace",
            "no_continue",
            "resume",
            "effort",
        ] {
            assert!(properties.contains_key(name), "{name}");
        }
        assert_eq!(tool.input_schema["required"], serde_json::json!(["prompt"]));
    }
}
