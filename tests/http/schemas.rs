//! JSON Schemas as clients' libraries write them: the real CLI takes what it is told of each, at every door.

use serde_json::{Value, json};

use crate::fixture::{start, with_cli, without_cli};
use crate::openai::{chat, user};
use crate::support::TestBox;

/// Schemas that the CLI itself refuses, or its API: `LangChain`'s, pydantic's, zod's, `OpenAPI`'s.
fn schemas() -> Vec<(&'static str, Value)> {
    let draft = "https://json-schema.org/draft/2020-12/schema";
    vec![
        (
            "draft",
            json!({"$schema": draft, "type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}),
        ),
        (
            "annotations",
            json!({"type": "object", "x-ui": 1, "properties": {"a": {"type": "string", "example": "b", "deprecated": true}}}),
        ),
        (
            "discriminator",
            json!({
                "type": "object", "required": ["pet"],
                "$defs": {"Cat": {"type": "object", "properties": {"kind": {"const": "cat"}}, "required": ["kind"]}},
                "properties": {"pet": {"oneOf": [{"$ref": "#/$defs/Cat"}],
                    "discriminator": {"propertyName": "kind", "mapping": {"cat": "#/$defs/Cat"}}}},
            }),
        ),
        (
            "tuple",
            json!({"type": "object", "required": ["at"], "properties": {"at": {
                "type": "array", "prefixItems": [{"type": "number"}, {"type": "number"}], "minItems": 2, "maxItems": 2,
            }}}),
        ),
        (
            "unevaluated",
            json!({"type": "object", "properties": {"a": {"type": "number"}}, "required": ["a"], "unevaluatedProperties": false}),
        ),
        (
            "dependent",
            json!({"type": "object", "properties": {"a": {"type": "number"}, "b": {"type": "number"}}, "dependentRequired": {"a": ["b"]}}),
        ),
        (
            "anchor",
            json!({"type": "object", "properties": {"a": {"$ref": "#A"}}, "required": ["a"],
            "$defs": {"A": {"$anchor": "A", "type": "string"}}}),
        ),
        ("array", json!({"type": "array", "items": {"type": "string"}, "minItems": 1})),
        ("text", json!({"type": "string"})),
        ("choice", json!({"enum": ["red", "green"]})),
        (
            "union",
            json!({"anyOf": [{"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}, {"type": "null"}]}),
        ),
        (
            "pointing",
            json!({"$ref": "#/$defs/A", "$defs": {"A": {"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#/$defs/A"}, {"type": "null"}]}}}}}),
        ),
    ]
}

#[test]
fn what_libraries_write_is_answered() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = with_cli(&testbox) else { return };
    let api = start(&testbox, launch);
    for (name, schema) in schemas() {
        let body = json!({"prompt": "fill it in", "workspace": "a", "createWorkspace": true, "jsonSchema": schema});
        let result = api.http.post("/run").json(&body).send().json(200);
        assert_eq!(result["outcome"], "ok", "{name}: {result}");
        let output = &result["structuredOutput"];
        let validator = jsonschema::options().offline().build(&schema).unwrap();
        assert!(validator.is_valid(output), "{name}: {output}");
        // The text is the same answer.
        let text: Value = serde_json::from_str(result["result"].as_str().unwrap()).unwrap();
        assert_eq!(text, *output, "{name}");
    }
    let format = |schema: Value| json!({"type": "json_schema", "json_schema": {"name": "x", "schema": schema}});
    let list = json!({"type": "array", "items": {"type": "string"}, "minItems": 1});
    let answer = chat(&api.http, "a", user("fill it in"), json!({"response_format": format(list)})).send().json(200);
    let content: Value = serde_json::from_str(answer["choices"][0]["message"]["content"].as_str().unwrap()).unwrap();
    assert!(content[0].is_string(), "{content}");
    api.stop();
}

#[test]
fn an_answer_that_the_cli_lets_through_can_miss_the_clients_schema() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = with_cli(&testbox) else { return };
    let api = start(&testbox, launch);
    // No pattern of the CLI's language: it is told in words, and the model here does not read.
    let schema = json!({"type": "object", "properties": {"code": {"type": "string", "pattern": "(?i)^zz-[0-9]{9}$"}}, "required": ["code"]});
    let body = json!({"prompt": "x", "workspace": "a", "createWorkspace": true, "jsonSchema": schema});
    let result = api.http.post("/run").json(&body).send().json(200);
    assert_eq!((&result["outcome"], &result["isError"]), (&json!("schema_missed"), &json!(true)), "{result}");
    assert!(result["errors"][0].as_str().is_some_and(|why| why.starts_with("/code: ")), "{result}");
    assert!(result["rejectedOutput"]["code"].is_string() && result.get("structuredOutput").is_none(), "{result}");
    api.stop();
}

#[test]
fn what_is_no_schema_says_where() {
    let Some(testbox) = TestBox::new() else { return };
    let api = start(&testbox, without_cli(&testbox));
    let wrong = json!({"type": "object", "properties": {"a": {"type": "objekt"}}});
    let body = json!({"prompt": "x", "jsonSchema": wrong});
    let problem = api.http.post("/run").json(&body).send().json(422);
    assert_eq!((&problem["code"], &problem["field"]), (&json!("invalid_field"), &json!("jsonSchema")));
    assert!(problem["detail"].as_str().unwrap().contains("at /properties/a/type: "), "{problem}");
    // Nothing is fetched for a schema.
    let remote = json!({"prompt": "x", "jsonSchema": {"$ref": "http://127.0.0.1:8080/openapi.json"}});
    api.http.post("/run").json(&remote).send().json(422);
    api.stop();
}
