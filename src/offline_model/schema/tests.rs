use super::*;
use proptest::prelude::*;
use rstest::rstest;
use serde_json::json;

#[rstest]
#[case::string(json!({"type": "string"}), json!(LABEL))]
#[case::nothing_said(json!({}), json!(LABEL))]
#[case::anything(json!(true), json!(LABEL))]
#[case::short(json!({"type": "string", "maxLength": 5}), json!("[clau"))]
#[case::email(json!({"type": "string", "format": "email"}), json!("offline@example.com"))]
#[case::choice(json!({"enum": ["a", "b"]}), json!("a"))]
#[case::choice_of_type(json!({"type": "string", "enum": [1, "b"]}), json!("b"))]
#[case::constant(json!({"const": {"a": 1}}), json!({"a": 1}))]
#[case::default(json!({"type": "string", "pattern": "^x", "default": "x1"}), json!("x1"))]
#[case::default_of_another_type(json!({"type": "integer", "default": null}), json!(0))]
#[case::example(json!({"type": "string", "examples": ["e"]}), json!("e"))]
#[case::integer(json!({"type": "integer", "minimum": 3}), json!(3))]
#[case::below_zero(json!({"type": "integer", "maximum": -3}), json!(-3))]
#[case::above(json!({"type": "integer", "exclusiveMinimum": 3}), json!(4))]
#[case::multiple(json!({"type": "integer", "minimum": 10, "multipleOf": 7}), json!(14))]
#[case::nullable(json!({"type": ["null", "integer"]}), json!(0))]
#[case::null(json!({"type": "null"}), json!(null))]
#[case::array(json!({"type": "array", "items": {"type": "boolean"}}), json!([true]))]
#[case::many_items(json!({"type": "array", "items": {"type": "integer"}, "minItems": 3, "uniqueItems": true}), json!([0, 1, 2]))]
#[case::no_items(json!({"type": "array", "items": {}, "maxItems": 0}), json!([]))]
#[case::tuple(json!({"prefixItems": [{"const": 1}, {"type": "null"}]}), json!([1, null]))]
#[case::object(json!({"properties": {"a": {"type": "integer"}}}), json!({"a": 0}))]
#[case::required_only(json!({"type": "object", "required": ["b"], "additionalProperties": {"type": "null"}}), json!({"b": null}))]
#[case::first_choice(json!({"anyOf": [{"type": "integer"}, {"type": "null"}]}), json!(0))]
#[case::all(json!({"allOf": [
    {"properties": {"a": {"const": 1}}}, {"properties": {"b": {"const": 2}}, "required": ["b"]}]}), json!({"a": 1, "b": 2}))]
#[case::reference(json!({"$ref": "#/$defs/x", "$defs": {"x": {"const": 7}}}), json!(7))]
#[case::dangling(json!({"$ref": "#/$defs/x"}), json!(LABEL))]
#[case::itself(json!({"$ref": "#"}), json!(LABEL))]
fn an_instance_follows_the_keywords(#[case] schema: Value, #[case] expected: Value) {
    assert_eq!(instance(&schema), expected);
}

#[rstest]
#[case::optional(json!({"type": "object", "properties": {"next": {"$ref": "#"}, "name": {"type": "string"}}, "required": ["name"]}))]
#[case::list(json!({"type": "object", "properties": {"all": {"type": "array", "items": {"$ref": "#"}}}, "required": ["all"]}))]
fn a_recursive_schema_has_a_finite_valid_instance(#[case] schema: Value) {
    let made = instance(&schema);
    assert!(satisfies(&schema, &schema, &made), "{made}");
}

#[rstest]
#[case::deep(json!({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}))]
#[case::broad(json!({"allOf": [{"$ref": "#"}, {"$ref": "#"}], "properties": {"a": {"$ref": "#"}, "b": {"$ref": "#"}}, "required": ["a", "b"]}))]
#[case::huge_array(json!({"type": "array", "items": {}, "minItems": u64::MAX}))]
fn an_endless_schema_still_ends(#[case] schema: Value) {
    instance(&schema);
}

/// As much of a validator as the generator's keywords need; written on its own, to disagree with it.
fn satisfies(root: &Value, schema: &Value, value: &Value) -> bool {
    let Value::Object(keywords) = schema else {
        return *schema == Value::Bool(true);
    };
    keywords.iter().all(|(keyword, rule)| keyword_holds(root, keywords, keyword, rule, value))
}

fn keyword_holds(root: &Value, all: &Map<String, Value>, keyword: &str, rule: &Value, value: &Value) -> bool {
    let size = || usize::try_from(rule.as_u64().unwrap()).unwrap();
    let bound = |holds: fn(f64, f64) -> bool| value.as_f64().is_none_or(|number| holds(number, rule.as_f64().unwrap()));
    match keyword {
        "type" => has_type(rule.as_str().unwrap(), value),
        "const" => rule == value,
        "enum" => rule.as_array().unwrap().contains(value),
        "minimum" => bound(|number, rule| number >= rule),
        "maximum" => bound(|number, rule| number <= rule),
        "exclusiveMinimum" => bound(|number, rule| number > rule),
        "exclusiveMaximum" => bound(|number, rule| number < rule),
        "minLength" => value.as_str().is_none_or(|text| text.chars().count() >= size()),
        "maxLength" => value.as_str().is_none_or(|text| text.chars().count() <= size()),
        "minItems" => value.as_array().is_none_or(|items| items.len() >= size()),
        "maxItems" => value.as_array().is_none_or(|items| items.len() <= size()),
        "uniqueItems" => {
            value.as_array().is_none_or(|items| (1..items.len()).all(|index| !items[..index].contains(&items[index])))
        }
        "items" => value.as_array().is_none_or(|items| items.iter().all(|item| satisfies(root, rule, item))),
        "required" => value.as_object().is_none_or(|object| {
            rule.as_array().unwrap().iter().all(|name| object.contains_key(name.as_str().unwrap()))
        }),
        "properties" => value.as_object().is_none_or(|object| {
            object.iter().all(|(name, value)| rule.get(name).is_none_or(|rule| satisfies(root, rule, value)))
        }),
        "additionalProperties" => value.as_object().is_none_or(|object| {
            object.iter().all(|(name, value)| all["properties"].get(name).is_some() || satisfies(root, rule, value))
        }),
        "anyOf" => rule.as_array().unwrap().iter().any(|rule| satisfies(root, rule, value)),
        "allOf" => rule.as_array().unwrap().iter().all(|rule| satisfies(root, rule, value)),
        "$ref" => satisfies(root, root.pointer(&rule.as_str().unwrap()[1..]).unwrap(), value),
        "$defs" => true,
        other => panic!("the test's validator does not know {other}"),
    }
}

fn has_type(name: &str, value: &Value) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("no such type: {other}"),
    }
}

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!({"type": "boolean"})),
        Just(json!({"type": "null"})),
        Just(json!({"$ref": "#/$defs/shared"})),
        prop::collection::vec("[a-z]{0,4}", 1..4).prop_map(|choices| json!({"enum": choices})),
        any::<i32>().prop_map(|constant| json!({"const": constant})),
        (0_usize..40, 0_usize..40)
            .prop_map(|(low, more)| json!({"type": "string", "minLength": low, "maxLength": low + more})),
        (any::<i32>(), 0_u16..500).prop_map(|(low, more)| {
            json!({"type": "integer", "minimum": low, "maximum": i64::from(low) + i64::from(more)})
        }),
        (any::<i32>(), 1_u16..500).prop_map(|(low, more)| {
            json!({"type": "number", "exclusiveMinimum": low, "exclusiveMaximum": i64::from(low) + i64::from(more)})
        }),
        any::<i32>().prop_map(|high| json!({"type": "integer", "exclusiveMaximum": high})),
    ]
}

fn any_schema() -> impl Strategy<Value = Value> {
    leaf().prop_recursive(5, 40, 4, |inner| {
        prop_oneof![
            prop::collection::btree_map("[a-z]{1,3}", (inner.clone(), any::<bool>()), 0..4)
                .prop_map(|properties| object_schema(&properties)),
            (inner.clone(), 0_usize..4, 0_usize..3).prop_map(|(items, low, more)| {
                json!({"type": "array", "items": items, "minItems": low, "maxItems": low + more})
            }),
            (2_usize..5).prop_map(
                |low| json!({"type": "array", "items": {"type": "string"}, "minItems": low, "uniqueItems": true})
            ),
            prop::collection::vec(inner.clone(), 1..3).prop_map(|choices| json!({"anyOf": choices})),
            inner.prop_map(|one| json!({"allOf": [one]})),
        ]
    })
}

fn object_schema(properties: &std::collections::BTreeMap<String, (Value, bool)>) -> Value {
    let required: Vec<&String> =
        properties.iter().filter(|(_, (_, required))| *required).map(|(name, _)| name).collect();
    let schemas: Map<String, Value> =
        properties.iter().map(|(name, (schema, _))| (name.clone(), schema.clone())).collect();
    json!({"type": "object", "properties": schemas, "required": required, "additionalProperties": false})
}

proptest! {
    #[test]
    fn an_instance_satisfies_its_schema(mut schema in any_schema()) {
        schema["$defs"] = json!({"shared": {"type": "string", "minLength": 1}});
        let made = instance(&schema);
        prop_assert!(satisfies(&schema, &schema, &made), "{made} for {schema}");
    }

    #[test]
    fn numbers_stay_within_odd_bounds(low in any::<f64>(), high in any::<f64>(), step in any::<f64>(), whole: bool) {
        let kind = if whole { "integer" } else { "number" };
        let made = instance(&json!({"type": kind, "minimum": low, "maximum": high, "multipleOf": step}));
        prop_assert!(made.is_number());
    }
}
