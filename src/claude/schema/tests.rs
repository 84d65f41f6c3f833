use super::*;
use rstest::rstest;

fn told(own: Value) -> Value {
    serde_json::from_str(Schema::new(own).unwrap_or_else(|fault| panic!("{fault}")).told()).unwrap()
}

/// A schema of one property.
fn a(schema: &Value) -> Value {
    json!({"type": "object", "properties": {"a": schema}})
}

/// What the CLI is told of that property.
fn told_of(schema: &Value) -> Value {
    told(a(schema))["properties"]["a"].clone()
}

#[rstest]
#[case::annotations(
    json!({"type": "string", "title": "t", "description": "d", "deprecated": true, "x-order": 1, "example": "e"}),
    json!({"title": "t", "description": "d", "examples": ["e"], "type": "string"})
)]
#[case::discriminator(
    json!({"oneOf": [{"type": "string"}, {"type": "null"}], "discriminator": {"propertyName": "k"}}),
    json!({"oneOf": [{"type": "string"}, {"type": "null"}]})
)]
#[case::tuple(
    json!({"type": "array", "prefixItems": [{"type": "string"}, {"type": "number"}], "items": false}),
    json!({"type": "array", "maxItems": 2, "items": {"anyOf": [{"type": "string"}, {"type": "number"}]}, "description":
        "Its first items follow these schemas in this order: {\"type\":\"string\"}, {\"type\":\"number\"}."})
)]
#[case::tuple_of_draft_7(
    json!({"type": "array", "items": [{"type": "string"}], "additionalItems": {"type": "string"}}),
    json!({"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "string"}]}, "description":
        "Its first items follow these schemas in this order: {\"type\":\"string\"}."})
)]
#[case::pattern(json!({"type": "string", "pattern": r"^\p{L}+$"}), json!({"type": "string", "pattern": r"^\p{L}+$"}))]
#[case::pattern_of_another_language(
    json!({"type": "string", "description": "d", "pattern": "(?i)^x"}),
    json!({"description": "d\nIt matches the regular expression (?i)^x.", "type": "string"})
)]
#[case::draft_4(
    json!({"type": "number", "minimum": 1, "exclusiveMinimum": true}),
    json!({"type": "number", "exclusiveMinimum": 1})
)]
#[case::dependent(
    json!({"type": "object", "dependentRequired": {"x": ["y"]}, "dependentSchemas": {"x": {"minProperties": 2}}}),
    json!({"type": "object", "dependencies": {"x": {"allOf": [{"required": ["y"]}, {"minProperties": 2}]}}})
)]
#[case::unevaluated(
    json!({"type": "object", "properties": {"x": true}, "unevaluatedProperties": false}),
    json!({"type": "object", "properties": {"x": true}, "additionalProperties": false})
)]
#[case::contains(
    json!({"type": "array", "contains": {"const": 1}, "minContains": 2}),
    json!({"type": "array", "contains": {"const": 1}, "description": "At least 2 items follow the schema {\"const\":1}."})
)]
#[case::overlapping_names(
    json!({"type": "object", "properties": {"xa": true}, "patternProperties": {"^x": {"type": "string"}}, "additionalProperties": false}),
    json!({"type": "object", "properties": {"xa": true}, "description":
        "Properties whose names match ^x follow the schema {\"type\":\"string\"}.\nIt has no further properties."})
)]
#[case::same_value_twice(json!({"enum": ["a", "a", null]}), json!({"enum": ["a", null]}))]
#[case::if_alone(json!({"if": {"type": "string"}}), json!({}))]
fn a_keyword_is_left_out_or_said_otherwise(#[case] own: Value, #[case] expected: Value) {
    assert_eq!(told_of(&own), expected);
}

#[rstest]
#[case::draft_2020(json!({"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object"}))]
#[case::unknown_draft(json!({"$schema": "https://e.example/own", "$id": "https://e.example/x", "type": "object"}))]
#[case::no_type(json!({"properties": {}}))]
#[case::pointing(json!({"$ref": "#/$defs/A", "$defs": {"A": {"type": "object"}}}))]
fn an_object_stays_the_root(#[case] own: Value) {
    let told = told(own);
    assert_eq!((&told["type"], told["properties"].get(VALUE)), (&json!("object"), None));
    assert_eq!(told.get("$schema").or(told.get("$id")), None);
}

#[rstest]
#[case(json!({"type": "array", "items": {"type": "string"}}), json!(["a"]), json!([1]))]
#[case(json!({"type": "string"}), json!("a"), json!(1))]
#[case(json!({"enum": ["a", "b"]}), json!("b"), json!("c"))]
#[case(json!({"type": ["object", "null"]}), json!(null), json!(1))]
#[case(json!({"anyOf": [{"type": "object", "required": ["a"]}, {"type": "object", "required": ["b"]}]}), json!({"b": 1}), json!({}))]
#[case(json!({"type": "object", "properties": {"Größe": {"type": "number"}}}), json!({"Größe": 1}), json!({"Größe": "x"}))]
fn another_root_is_wrapped_and_unwrapped(#[case] own: Value, #[case] right: Value, #[case] wrong: Value) {
    let schema = Schema::new(own).unwrap();
    let told: Value = serde_json::from_str(schema.told()).unwrap();
    assert_eq!((&told["type"], &told["required"]), (&json!("object"), &json!([VALUE])));
    let settled = |answer: &Value| {
        let output = json!({VALUE: answer});
        let mut result = json!({"result": output.to_string(), "structured_output": output});
        schema.settle(&mut result);
        result
    };
    let result = settled(&right);
    assert_eq!((&result["structured_output"], &result["result"]), (&right, &json!(right.to_string())));
    let result = settled(&wrong);
    assert_eq!((result.get("structured_output"), &result["rejected_output"]), (None, &wrong));
}

#[test]
fn references_lead_to_definitions_of_the_same_meaning() {
    let told = told(json!({
        "type": "object",
        "properties": {
            "escaped": {"$ref": "#/definitions/A%20B~1C"},
            "anchored": {"$ref": "#here"},
            "property": {"$ref": "#/properties/plain"},
            "plain": {"type": "number"},
            "itself": {"$ref": "#"},
            "tree": {"$dynamicRef": "#node"},
        },
        "definitions": {"A B/C": {"type": "string", "x-1": 1}, "D": {"$anchor": "here", "type": "boolean"}, "unused": {"x-2": 1}},
        "$defs": {"tree": {"$dynamicAnchor": "node", "type": "array", "items": {"$dynamicRef": "#node"}}},
    }));
    let target = |name: &str| {
        let reference = told["properties"][name]["$ref"].as_str().unwrap();
        told.pointer(reference.strip_prefix('#').unwrap()).unwrap_or_else(|| panic!("{reference}: {told}")).clone()
    };
    assert_eq!(target("escaped"), json!({"type": "string"}));
    assert_eq!(target("anchored"), json!({"type": "boolean"}));
    assert_eq!(target("property"), json!({"type": "number"}));
    assert_eq!(target("itself"), told);
    let tree = &told["properties"]["tree"]["$ref"];
    assert_eq!(target("tree"), json!({"type": "array", "items": {"$ref": tree}}));
    assert!(!told.to_string().contains("x-"), "{told}");
}

#[test]
fn a_recursive_root_that_is_wrapped_points_into_its_wrapping() {
    let told = told(json!({"anyOf": [{"type": "string"}, {"type": "array", "items": {"$ref": "#"}}]}));
    assert_eq!(told["properties"][VALUE]["anyOf"][1]["items"], json!({"$ref": "#/properties/value"}));
}

#[rstest]
#[case(json!([1]), "a JSON Schema is a JSON object")]
#[case(json!({"type": "object", "properties": {"a": {"type": "objekt"}}}), "at /properties/a/type: ")]
#[case(a(&json!({"$ref": "https://json.example/x.json"})), "https://json.example/x.json")]
#[case(a(&json!({"$ref": "file:///etc/passwd"})), "file:///etc/passwd")]
#[case(a(&json!({"$ref": "#/$defs/none"})), "/$defs/none")]
#[case(a(&json!({"type": "string", "pattern": "("})), "at /properties/a/pattern: ")]
#[case(a(&json!({"enum": ["x".repeat(LONGEST_ARGUMENT_BYTES)]})), "the CLI takes 131071")]
fn what_is_no_schema_says_where(#[case] own: Value, #[case] said: &str) {
    let Err(fault) = Schema::new(own) else { panic!("it was taken") };
    assert!(fault.to_string().contains(said), "{fault}");
}

#[test]
fn descriptions_go_before_a_schema_is_too_long() {
    let long = a(&json!({"type": "string", "description": "x".repeat(LONGEST_ARGUMENT_BYTES)}));
    assert_eq!(told(long), a(&json!({"type": "string"})));
}

#[rstest]
#[case(json!({"type": "array", "prefixItems": [{"type": "string"}, {"type": "number"}], "items": false}), json!(["x", 1]), json!([1, "x"]))]
#[case(json!({"type": "string", "pattern": "(?i)^abc$"}), json!("ABC"), json!("x"))]
#[case(json!({"type": "array", "contains": {"const": 1}, "minContains": 2}), json!([1, 1]), json!([1]))]
#[case(json!({"type": "array", "items": [{"type": "string"}]}), json!(["x", 2]), json!([2]))]
#[case(json!({"type": "number", "minimum": 1, "exclusiveMinimum": true}), json!(2), json!(1))]
fn an_answer_is_checked_against_the_clients_own_schema(#[case] own: Value, #[case] right: Value, #[case] wrong: Value) {
    let schema = Schema::new(a(&own)).unwrap();
    let settled = |answer: &Value| {
        let mut result = json!({"structured_output": {"a": answer}});
        schema.settle(&mut result);
        result
    };
    assert_eq!(settled(&right), json!({"structured_output": {"a": right}}));
    let result = settled(&wrong);
    assert_eq!((result.get("structured_output"), &result["rejected_output"]["a"]), (None, &wrong));
    assert!(result["errors"][0].as_str().unwrap().starts_with("/a"), "{result}");
}

#[test]
fn an_answer_without_a_form_stays_without_one() {
    let schema = Schema::new(json!({"type": "object"})).unwrap();
    for mut result in [json!({"result": "text"}), json!({"structured_output": null})] {
        schema.settle(&mut result);
        assert_eq!(result.get("structured_output"), None);
    }
    let wrapped = Schema::new(json!({"type": ["string", "null"]})).unwrap();
    let mut result = json!({"structured_output": {}});
    wrapped.settle(&mut result);
    assert_eq!(result.get("structured_output"), None);
}
