//! JSON schema -> an instance of it, for structured output without a model.
//!
//! Known: `type`, `const`, `enum`, `default`, `examples`, `properties`, `required`, `additionalProperties` (for
//! required names without a property), `items`, `prefixItems`, `minItems`, `maxItems`, `uniqueItems`, `minLength`,
//! `maxLength`, common `format`s, the bounds and `multipleOf` of numbers, local `$ref`, `allOf`, and the first choice
//! of `anyOf` and `oneOf`. Not known: `pattern`, `not`, `if`, `contains`, `minProperties`, references to elsewhere;
//! give such a schema a `default` or `examples`. Optional parts are filled in near the top, so that an answer has
//! something to look at, and left out further down, so that a recursive schema ends.

use serde_json::{Map, Value};

use super::text::LABEL;

/// Below this depth only what is required is generated.
const OPTIONAL_DEPTH: usize = 4;
/// Below this depth nothing is: a schema whose required part is recursive has no finite instance.
const DEEPEST: usize = 24;
/// Steps one instance may take; bounds schemas that grow in breadth.
const STEPS: usize = 10_000;
/// References and compositions followed at one place, against `{"$ref": "#"}`.
const HOPS: usize = 8;

/// An instance of `schema`, as far as the module's documentation goes; always finite.
pub(super) fn instance(schema: &Value) -> Value {
    let mut generator = Generator { root: schema, steps: STEPS };
    generator.value(schema, 0, 0)
}

struct Generator<'a> {
    root: &'a Value,
    steps: usize,
}

impl Generator<'_> {
    /// `nth` tells the items of an array apart, for `uniqueItems`.
    fn value(&mut self, schema: &Value, depth: usize, nth: usize) -> Value {
        if depth > DEEPEST || !self.step() {
            return Value::Null;
        }
        let schema = self.flattened(schema, HOPS);
        if let Some(given) = given(&schema, nth) {
            return given;
        }
        match kind(&schema) {
            "object" => self.object(&schema, depth),
            "array" => self.array(&schema, depth),
            "number" => number(&schema, nth, false),
            "integer" => number(&schema, nth, true),
            "boolean" => Value::Bool(nth.is_multiple_of(2)),
            "null" => Value::Null,
            _ => Value::String(string(&schema, nth)),
        }
    }

    fn step(&mut self) -> bool {
        self.steps = self.steps.saturating_sub(1);
        self.steps > 0
    }

    /// The schema with its references and compositions folded in.
    fn flattened(&mut self, schema: &Value, hops: usize) -> Map<String, Value> {
        let Value::Object(own) = schema else {
            return Map::new();
        };
        let mut flat = Map::new();
        let folded = ["$ref", "$defs", "definitions", "allOf", "anyOf", "oneOf"];
        merge(&mut flat, own.iter().filter(|(key, _)| !folded.contains(&key.as_str())));
        if hops == 0 || !self.step() {
            return flat;
        }
        let target = own.get("$ref").and_then(Value::as_str).and_then(|name| target(self.root, name));
        let every = own.get("allOf").and_then(Value::as_array).into_iter().flatten();
        let choices = ["anyOf", "oneOf"].into_iter();
        let first = choices.filter_map(|key| own.get(key).and_then(|choices| choices.get(0)));
        for part in target.into_iter().chain(every).chain(first) {
            let part = self.flattened(part, hops - 1);
            merge(&mut flat, part.iter());
        }
        flat
    }

    fn object(&mut self, schema: &Map<String, Value>, depth: usize) -> Value {
        let none = Map::new();
        let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&none);
        let listed = schema.get("required").and_then(Value::as_array).into_iter().flatten();
        let required: Vec<&str> = listed.filter_map(Value::as_str).collect();
        let mut object = Map::new();
        for (name, property) in properties {
            let optional = depth < OPTIONAL_DEPTH && *property != Value::Bool(false) && self.steps > STEPS / 2;
            if required.contains(&name.as_str()) || optional {
                object.insert(name.clone(), self.value(property, depth + 1, 0));
            }
        }
        let others = schema.get("additionalProperties").unwrap_or(&Value::Bool(true));
        for name in required {
            if !object.contains_key(name) {
                object.insert(name.to_owned(), self.value(others, depth + 1, 0));
            }
        }
        Value::Object(object)
    }

    fn array(&mut self, schema: &Map<String, Value>, depth: usize) -> Value {
        let older = schema.get("items").and_then(Value::as_array);
        let first = schema.get("prefixItems").and_then(Value::as_array).or(older);
        let first = first.map_or(&[][..], Vec::as_slice);
        let rest = schema.get("items").unwrap_or(&Value::Bool(true));
        let shown = usize::from(depth < OPTIONAL_DEPTH && schema.contains_key("items") && *rest != Value::Bool(false));
        let fewest = limit(schema, "minItems").unwrap_or(0).max(shown).max(first.len());
        let count = fewest.min(limit(schema, "maxItems").unwrap_or(usize::MAX)).min(STEPS);
        let items = (0..count).map(|nth| self.value(first.get(nth).unwrap_or(rest), depth + 1, nth));
        Value::Array(items.collect())
    }
}

/// What a local reference points at: `#` or `#/a/json/pointer`.
fn target<'a>(root: &'a Value, reference: &str) -> Option<&'a Value> {
    root.pointer(reference.strip_prefix('#')?)
}

/// Adds what is not there yet; properties and required names are united.
fn merge<'a>(into: &mut Map<String, Value>, from: impl Iterator<Item = (&'a String, &'a Value)>) {
    for (key, value) in from {
        match (into.get_mut(key), value) {
            (None, _) => {
                into.insert(key.clone(), value.clone());
            }
            (Some(Value::Object(into)), Value::Object(from)) if key == "properties" => {
                merge(into, from.iter());
            }
            (Some(Value::Array(into)), Value::Array(from)) if key == "required" => {
                into.extend(from.iter().cloned());
            }
            _ => {}
        }
    }
}

/// A value the schema spells out.
fn given(schema: &Map<String, Value>, nth: usize) -> Option<Value> {
    if let Some(constant) = schema.get("const") {
        return Some(constant.clone());
    }
    let typed = |value: &&Value| is_of_type(value, schema.get("type"));
    if let Some(choices) = schema.get("enum").and_then(Value::as_array) {
        let choices: Vec<&Value> = choices.iter().filter(typed).collect();
        return choices.get(nth % choices.len().max(1)).map(|choice| (*choice).clone());
    }
    let default = schema.get("default").into_iter();
    let examples = schema.get("examples").and_then(Value::as_array).into_iter().flatten();
    default.chain(examples).filter(typed).nth(nth).cloned()
}

fn is_of_type(value: &Value, types: Option<&Value>) -> bool {
    let is = |name: &str| match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "integer" => value.is_i64() || value.is_u64(),
        _ => value.is_number(),
    };
    match types {
        Some(Value::String(name)) => is(name),
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).any(is),
        _ => true,
    }
}

/// The type to generate: the first that is not null, or the one the other keywords speak of.
fn kind(schema: &Map<String, Value>) -> &str {
    let types = match schema.get("type") {
        Some(Value::Array(names)) => names.as_slice(),
        Some(name) => std::slice::from_ref(name),
        None => &[],
    };
    let mut names = types.iter().filter_map(Value::as_str);
    let chosen = names.clone().find(|name| *name != "null").or_else(|| names.next());
    let speaks_of = |keywords: &[&str]| keywords.iter().any(|keyword| schema.contains_key(*keyword));
    match chosen {
        Some(name) => name,
        None if speaks_of(&["properties", "required", "additionalProperties"]) => "object",
        None if speaks_of(&["items", "prefixItems", "minItems"]) => "array",
        None if speaks_of(&["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"]) => "number",
        None => "string",
    }
}

fn limit(schema: &Map<String, Value>, keyword: &str) -> Option<usize> {
    schema.get(keyword)?.as_u64().and_then(|limit| usize::try_from(limit).ok())
}

fn string(schema: &Map<String, Value>, nth: usize) -> String {
    let format = schema.get("format").and_then(Value::as_str).unwrap_or_default();
    let formatted = match format {
        "date-time" => "2026-01-01T00:00:00Z",
        "date" => "2026-01-01",
        "time" => "00:00:00Z",
        "duration" => "PT1S",
        "email" => "offline@example.com",
        "hostname" => "example.com",
        "ipv4" => "127.0.0.1",
        "ipv6" => "::1",
        "uri" | "iri" | "uri-reference" => "https://example.com/offline",
        "uuid" => "00000000-0000-4000-8000-000000000000",
        "regex" => ".*",
        _ => return label(schema, nth),
    };
    formatted.to_owned()
}

/// The number comes first, so that a short `maxLength` does not make two items alike.
fn label(schema: &Map<String, Value>, nth: usize) -> String {
    let text = if nth == 0 { LABEL.to_owned() } else { format!("{} {LABEL}", nth + 1) };
    let longest = limit(schema, "maxLength").unwrap_or(usize::MAX);
    // A schema may ask for more than there is memory; a million characters is a large answer already.
    let shortest = limit(schema, "minLength").unwrap_or(0).min(1_000_000);
    let padding = shortest.saturating_sub(text.chars().count());
    text.chars().chain(std::iter::repeat_n('.', padding)).take(longest).collect()
}

/// The allowed number nearest to zero, and the `nth` one on from there.
fn number(schema: &Map<String, Value>, nth: usize, whole: bool) -> Value {
    let bound = |keyword| schema.get(keyword).and_then(Value::as_f64).filter(|bound| bound.is_finite());
    let multiple = bound("multipleOf").filter(|step| *step > 0.0);
    let step = multiple.unwrap_or(1.0).max(if whole { 1.0 } else { 0.0 });
    let (above, below) = (bound("exclusiveMinimum"), bound("exclusiveMaximum"));
    let lowest = larger(bound("minimum"), above).unwrap_or(f64::NEG_INFINITY);
    let highest = smaller(bound("maximum"), below).unwrap_or(f64::INFINITY);
    let allowed = |value: f64| {
        (lowest..=highest).contains(&value)
            && above.is_none_or(|above| value > above)
            && below.is_none_or(|below| value < below)
    };
    let start = 0.0_f64.max(lowest).min(highest);
    let rounded = if start < 0.0 { (start / step).floor() } else { (start / step).ceil() } * step;
    let toward = if start < 0.0 { -step } else { step };
    let index = f64::from(u32::try_from(nth).unwrap_or(u32::MAX));
    let candidates = [rounded, rounded + toward, rounded - toward, f64::midpoint(lowest, highest)];
    let free = multiple.is_none() && !whole;
    let fits = |value: &f64| allowed(*value) && (free || (value / step).fract() == 0.0);
    let base = candidates.into_iter().filter(|value| value.is_finite()).find(fits).unwrap_or(start);
    let moved = [base + index * toward, base - index * toward].into_iter().find(|value| allowed(*value));
    json_number(moved.unwrap_or(base))
}

fn larger(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    [one, other].into_iter().flatten().reduce(f64::max)
}

fn smaller(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    [one, other].into_iter().flatten().reduce(f64::min)
}

/// Whole numbers without a fraction: `1.0` is no integer to some readers.
fn json_number(value: f64) -> Value {
    let value = value + 0.0; // -0.0 becomes 0.0
    let text = if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value}") };
    serde_json::from_str(&text).unwrap_or(Value::from(0))
}

#[cfg(test)]
mod tests;
