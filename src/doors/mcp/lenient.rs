//! What clients send -> what a tool's schema asks for.
//!
//! Models write numbers and booleans as text and `null` for what they leave out, and some clients add arguments of
//! their own to every call. None of that changes what was meant, so none of it is an error. The schema that clients
//! see decides, for every argument of every tool alike.

use rmcp::model::JsonObject;
use serde_json::{Map, Number, Value};

use super::words::invalid;
use crate::desk::options::form::Bounds;
use crate::desk::refusal::Refusal;

/// Characters of a value or a name that a message shows.
const SHOWN_CHARS: usize = 80;
/// How alike two names are, from 0 to 1, for one to be taken for a slip of the other.
const ALIKE: f64 = 0.75;

/// Arguments as the schema wants them.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Fitted {
    pub(super) arguments: Map<String, Value>,
    /// What the schema does not know.
    pub(super) ignored: Vec<Ignored>,
}

/// An argument that nothing was done with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ignored {
    pub(super) name: String,
    /// The argument whose name is much like it.
    pub(super) like: Option<String>,
}

/// Reads `given` by the schema of a tool's arguments.
pub(super) fn fit(schema: &JsonObject, given: &JsonObject) -> Result<Fitted, Refusal> {
    let none = Map::new();
    let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&none);
    let required: Vec<&str> =
        schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let mut fitted = Fitted::default();
    for (name, value) in given {
        let Some(known) = known(properties, given, name) else {
            fitted.ignored.push(Ignored { name: cut(name), like: like(properties, name) });
            continue;
        };
        if is_left_out(value, required.contains(&known.as_str())) {
            continue;
        }
        let fit = of_kind(&properties[&known], value).map_err(|why| wrong(&known, &properties[&known], &why))?;
        fitted.arguments.insert(known, fit);
    }
    match required.iter().find(|name| !fitted.arguments.contains_key(**name)) {
        Some(name) => Err(missing(name, &properties[*name], &fitted.ignored)),
        None => Ok(fitted),
    }
}

/// The argument that a name means: its own, or the one it is in `camelCase` or with dashes.
fn known(properties: &Map<String, Value>, given: &JsonObject, name: &str) -> Option<String> {
    if properties.contains_key(name) {
        return Some(name.to_owned());
    }
    let mut snake = String::new();
    for letter in name.chars() {
        match letter {
            '-' => snake.push('_'),
            _ if letter.is_ascii_uppercase() => snake.extend(['_', letter.to_ascii_lowercase()]),
            _ => snake.push(letter),
        }
    }
    (properties.contains_key(&snake) && !given.contains_key(&snake)).then_some(snake)
}

fn like(properties: &Map<String, Value>, name: &str) -> Option<String> {
    let likeness = |known: &String| strsim::jaro_winkler(known, name);
    let nearest = properties.keys().max_by(|one, other| likeness(one).total_cmp(&likeness(other)))?;
    (likeness(nearest) >= ALIKE).then(|| nearest.clone())
}

/// An empty text says nothing either, unless a text has to be there.
fn is_left_out(value: &Value, required: bool) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty() && !required,
        _ => false,
    }
}

/// The value as the schema of its argument wants it, or what is wrong with it.
fn of_kind(schema: &Value, value: &Value) -> Result<Value, String> {
    let fit = match schema["type"].as_str() {
        Some("integer") => number(value).and_then(|number| whole(&number)).map(Value::Number),
        Some("number") => number(value).map(Value::Number),
        Some("boolean") => boolean(value).map(Value::Bool),
        Some("string") => match &schema["enum"] {
            Value::Array(allowed) => one_of(allowed, value),
            _ => text(value),
        },
        // More than one kind: whoever reads it says what is wrong.
        _ => Some(value.clone()),
    };
    fit.filter(|fit| is_within(schema, fit)).ok_or_else(|| cut(&value.to_string()))
}

fn number(value: &Value) -> Option<Number> {
    match value {
        Value::Number(number) => Some(number.clone()),
        Value::String(text) => {
            let text = text.trim();
            // As JSON writes it, or as people do: `.5`, `+3`.
            let number = text.parse().ok().or_else(|| Number::from_f64(text.parse().ok()?));
            number.filter(|number| number.as_f64().is_some_and(f64::is_finite))
        }
        _ => None,
    }
}

/// A number without a fraction: `60`, and `60.0` as well.
fn whole(number: &Number) -> Option<Number> {
    if number.is_u64() || number.is_i64() {
        return Some(number.clone());
    }
    let exact = number.as_f64().filter(|number| number.fract() == 0.0 && (0.0..=9e15).contains(number))?;
    format!("{exact:.0}").parse().ok()
}

fn boolean(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(boolean) => Some(*boolean),
        Value::Number(number) => match number.as_u64()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        },
        Value::String(text) => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

fn one_of(allowed: &[Value], value: &Value) -> Option<Value> {
    let given = value.as_str()?.trim();
    allowed.iter().find(|allowed| allowed.as_str().is_some_and(|text| text.eq_ignore_ascii_case(given))).cloned()
}

fn text(value: &Value) -> Option<Value> {
    match value {
        Value::String(_) => Some(value.clone()),
        Value::Number(number) => Some(number.to_string().into()),
        Value::Bool(boolean) => Some(boolean.to_string().into()),
        _ => None,
    }
}

fn is_within(schema: &Value, value: &Value) -> bool {
    let Some(number) = value.as_f64() else { return true };
    let bound = |name: &str| schema[name].as_f64();
    bound("minimum").is_none_or(|least| number >= least)
        && bound("maximum").is_none_or(|most| number <= most)
        && bound("exclusiveMinimum").is_none_or(|below| number > below)
}

fn wrong(name: &str, schema: &Value, shown: &str) -> Refusal {
    let problem = invalid(name, &format!("{shown} is not allowed: it must be {}", allowed(schema)));
    match &schema["enum"] {
        Value::Array(allowed) => problem.with("allowed", allowed.clone()),
        _ => problem,
    }
}

fn missing(name: &str, schema: &Value, ignored: &[Ignored]) -> Refusal {
    let slip = ignored.iter().find(|ignored| ignored.like.as_deref() == Some(name));
    let slip = slip.map(|slip| format!(" ({:?} is not its name)", slip.name)).unwrap_or_default();
    invalid(name, &format!("it is missing{slip}; needed is {}", allowed(schema)))
}

/// What a schema allows, in words.
fn allowed(schema: &Value) -> String {
    let bound = |name: &str| schema[name].as_f64();
    let bounds = Bounds { least: bound("minimum"), above: bound("exclusiveMinimum"), most: bound("maximum") };
    match (schema["type"].as_str(), &schema["enum"]) {
        (Some("integer"), _) => bounds.in_words("an integer"),
        (Some("number"), _) => bounds.in_words("a number"),
        (Some("boolean"), _) => "true or false".into(),
        (_, Value::Array(values)) => {
            let values: Vec<&str> = values.iter().filter_map(Value::as_str).collect();
            format!("one of {}", values.join(", "))
        }
        (Some("string"), _) => "a text".into(),
        _ => "what the tool's schema says".into(),
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
