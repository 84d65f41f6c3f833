//! A client's schema -> one that means the same and that the CLI and its API take.
//!
//! Only keywords that both know are written. A rule that has no such keyword is told in words, in the description: the
//! model reads it, and the check against the client's own schema holds it.

use std::collections::{BTreeSet, HashMap};

use serde_json::{Map, Value, json};

/// The property that holds an answer whose schema is no plain object.
pub(super) const VALUE: &str = "value";

/// Keywords of a root that only points to another schema.
const BESIDE_A_REF: [&str; 9] =
    ["$ref", "$id", "$defs", "definitions", "title", "description", "default", "examples", "$comment"];
/// Keywords that the API refuses at the root of a tool's input.
const NOT_AT_THE_ROOT: [&str; 8] = ["anyOf", "oneOf", "allOf", "enum", "const", "$ref", "$dynamicRef", "$recursiveRef"];
/// Keywords that are the same in every draft, their values no schemas.
const PLAIN: [&str; 12] = [
    "type",
    "const",
    "multipleOf",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "uniqueItems",
];
/// Keywords that say of more properties than those beside them.
pub(super) const APPLICATORS: [&str; 8] =
    ["allOf", "anyOf", "oneOf", "if", "$ref", "$dynamicRef", "dependentSchemas", "patternProperties"];
/// References from schema to schema that are followed to find the root.
const MOST_HOPS: usize = 16;

/// What the CLI is told.
pub(super) struct Told {
    pub(super) schema: Value,
    /// Whether the answer is in the property [`VALUE`] of an object.
    pub(super) wrapped: bool,
}

/// Translates `own`; `bare` leaves out what is only there for a reader.
pub(super) fn translate(own: &Value, bare: bool) -> Told {
    let mut named = HashMap::new();
    collect_names(own, &mut named);
    let mut translator = Translator { own, core: own, wrapped: false, bare, named, definitions: Vec::new() };
    translator.core = translator.core_of(own);
    translator.wrapped = !is_plain_object(translator.core);
    let mut schema = translator.schema(translator.core);
    for key in ["title", "description"].into_iter().filter(|_| !bare) {
        if let (Some(text), Some(object)) = (own[key].as_str(), schema.as_object_mut()) {
            object.entry(key).or_insert_with(|| text.into());
        }
    }
    if translator.wrapped {
        let properties = json!({VALUE: schema});
        schema =
            json!({"type": "object", "properties": properties, "required": [VALUE], "additionalProperties": false});
    } else {
        schema["type"] = "object".into();
    }
    let definitions = translator.finish();
    if !definitions.is_empty() {
        schema["$defs"] = definitions.into();
    }
    Told { schema, wrapped: translator.wrapped }
}

/// Whether a schema can be the root of a tool's input as it is.
fn is_plain_object(schema: &Value) -> bool {
    let Some(object) = schema.as_object() else { return false };
    let object_by_type = match object.get("type") {
        Some(kind) => kind == "object",
        // Without a type an object may be meant all the same.
        None => object.contains_key("properties") || !object.keys().any(|key| PLAIN.contains(&key.as_str())),
    };
    let names = object.get("properties").and_then(Value::as_object).into_iter().flat_map(Map::keys);
    let may_be_a_name = |name: &String| {
        let plain = |letter: char| letter.is_ascii_alphanumeric() || "_.-".contains(letter);
        (1..=64).contains(&name.len()) && name.chars().all(plain)
    };
    let only_objects = ["items", "prefixItems", "contains", "pattern", "format", "not", "if"];
    let open = object.contains_key("type") || object.contains_key("properties");
    object_by_type
        && (open || !object.keys().any(|key| only_objects.contains(&key.as_str())))
        && !object.keys().any(|key| NOT_AT_THE_ROOT.contains(&key.as_str()))
        && names.into_iter().all(may_be_a_name)
}

/// Finds what references can name: identifiers and anchors.
fn collect_names<'own>(value: &'own Value, named: &mut HashMap<String, &'own Value>) {
    match value {
        Value::Object(object) => {
            for key in ["$id", "id"] {
                if let Some(id) = object.get(key).and_then(Value::as_str) {
                    named.entry(id.trim_end_matches('#').to_owned()).or_insert(value);
                }
            }
            for key in ["$anchor", "$dynamicAnchor"] {
                if let Some(anchor) = object.get(key).and_then(Value::as_str) {
                    named.entry(format!("#{anchor}")).or_insert(value);
                }
            }
            object.values().for_each(|value| collect_names(value, named));
        }
        Value::Array(items) => items.iter().for_each(|value| collect_names(value, named)),
        _ => {}
    }
}

pub(super) struct Translator<'own> {
    own: &'own Value,
    /// The schema of the answer: `own`, or what it points to.
    core: &'own Value,
    wrapped: bool,
    bare: bool,
    named: HashMap<String, &'own Value>,
    /// What is referred to, by what name, in the order it was met.
    definitions: Vec<(String, &'own Value)>,
}

impl<'own> Translator<'own> {
    /// Follows a root that only points elsewhere.
    fn core_of(&self, own: &'own Value) -> &'own Value {
        let mut core = own;
        for _ in 0..MOST_HOPS {
            let only_points =
                core.as_object().is_some_and(|object| object.keys().all(|key| BESIDE_A_REF.contains(&key.as_str())));
            let target = core["$ref"].as_str().filter(|_| only_points).and_then(|reference| self.resolve(reference));
            match target {
                Some(target) if !std::ptr::eq(target, core) => core = target,
                _ => break,
            }
        }
        core
    }

    /// What a reference points to, inside this schema.
    fn resolve(&self, reference: &str) -> Option<&'own Value> {
        let (document, fragment) = reference.split_once('#').unwrap_or((reference, ""));
        let base = if document.is_empty() { self.own } else { self.named.get(document).copied()? };
        let fragment = percent_encoding::percent_decode_str(fragment).decode_utf8().ok()?;
        if fragment.is_empty() || fragment.starts_with('/') {
            return base.pointer(&fragment).filter(|target| target.is_object() || target.is_boolean());
        }
        self.named.get(&format!("#{fragment}")).copied()
    }

    /// The reference to write for `target`, which becomes a definition if it is none yet.
    fn reference(&mut self, target: &'own Value, reference: &str) -> String {
        if std::ptr::eq(target, self.core) || std::ptr::eq(target, self.own) {
            return if self.wrapped { format!("#/properties/{VALUE}") } else { "#".into() };
        }
        if let Some((name, _)) = self.definitions.iter().find(|(_, known)| std::ptr::eq(*known, target)) {
            return format!("#/$defs/{name}");
        }
        let last = reference.rsplit(['/', '#']).next().unwrap_or_default();
        let plain: String = last.chars().filter(|letter| letter.is_ascii_alphanumeric() || *letter == '_').collect();
        let plain = if plain.is_empty() { "definition".to_owned() } else { plain };
        let taken = |name: &str| self.definitions.iter().any(|(known, _)| known == name);
        let mut name = plain.clone();
        let mut count = 1;
        while taken(&name) {
            count += 1;
            name = format!("{plain}_{count}");
        }
        let written = format!("#/$defs/{name}");
        self.definitions.push((name, target));
        written
    }

    /// All definitions. Those that are met on the way are among them.
    fn finish(&mut self) -> Map<String, Value> {
        let mut done = Map::new();
        while let Some((name, target)) = self.definitions.get(done.len()).cloned() {
            done.insert(name, self.schema(target));
        }
        done
    }

    pub(super) fn schema(&mut self, own: &'own Value) -> Value {
        match own {
            Value::Bool(_) => own.clone(),
            Value::Object(object) => {
                let mut writing = Writing { own: object, out: Map::new(), notes: Vec::new() };
                self.reader(&mut writing);
                Self::values(&mut writing);
                self.object(&mut writing);
                self.array(&mut writing);
                self.combined(&mut writing);
                writing.done()
            }
            _ => json!(true),
        }
    }

    fn schemas(&mut self, own: &'own Value) -> Vec<Value> {
        own.as_array().into_iter().flatten().map(|schema| self.schema(schema)).collect()
    }

    /// What is there for the reader: the model.
    fn reader(&self, writing: &mut Writing<'own>) {
        if self.bare {
            return;
        }
        for key in ["title", "description"] {
            writing.copy_if(key, Value::is_string);
        }
        writing.copy_if("default", |_| true);
        writing.copy_if("examples", Value::is_array);
        if let Some(example) = writing.own.get("example").filter(|_| !writing.out.contains_key("examples")) {
            writing.out.insert("examples".into(), json!([example]));
        }
    }

    /// Rules for a value by itself.
    fn values(writing: &mut Writing<'own>) {
        for key in PLAIN {
            writing.copy_if(key, |_| true);
        }
        writing.copy_if("format", Value::is_string);
        for (exclusive, inclusive) in [("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")] {
            match writing.own.get(exclusive) {
                // Draft 4 says whether the other limit is one of them.
                Some(Value::Bool(true)) => {
                    if let Some(limit) = writing.out.remove(inclusive) {
                        writing.out.insert(exclusive.into(), limit);
                    }
                }
                Some(Value::Number(_)) => writing.copy_if(exclusive, |_| true),
                _ => {}
            }
        }
        if let Some(values) = writing.own.get("enum").and_then(Value::as_array) {
            let mut distinct: Vec<&Value> = Vec::new();
            for value in values {
                if !distinct.contains(&value) {
                    distinct.push(value);
                }
            }
            let (key, value) = if distinct.is_empty() { ("not", json!({})) } else { ("enum", json!(distinct)) };
            writing.out.insert(key.into(), value);
        }
        if let Some(pattern) = writing.own.get("pattern").and_then(Value::as_str) {
            if ecma(pattern).is_some() {
                writing.out.insert("pattern".into(), pattern.into());
            } else {
                writing.notes.push(format!("It matches the regular expression {pattern}"));
            }
        }
    }

    /// Schemas of schemas.
    fn combined(&mut self, writing: &mut Writing<'own>) {
        let own = writing.own;
        for key in ["allOf", "anyOf", "oneOf"] {
            if let Some(list) = own.get(key).filter(|list| list.as_array().is_some_and(|list| !list.is_empty())) {
                let list = self.schemas(list);
                writing.out.insert(key.into(), list.into());
            }
        }
        if let Some(not) = own.get("not") {
            let not = self.schema(not);
            writing.out.insert("not".into(), not);
        }
        if own.contains_key("if") && (own.contains_key("then") || own.contains_key("else")) {
            for key in ["if", "then", "else"] {
                if let Some(schema) = own.get(key) {
                    let schema = self.schema(schema);
                    writing.out.insert(key.into(), schema);
                }
            }
        }
        let references: BTreeSet<&str> = ["$ref", "$dynamicRef", "$recursiveRef"]
            .into_iter()
            .filter_map(|key| own.get(key).and_then(Value::as_str))
            .collect();
        for reference in references {
            if let Some(target) = self.resolve(reference) {
                let reference = self.reference(target, reference);
                writing.out.insert("$ref".into(), reference.into());
            }
        }
    }
}

/// One schema in the making.
pub(super) struct Writing<'own> {
    pub(super) own: &'own Map<String, Value>,
    pub(super) out: Map<String, Value>,
    /// Rules in words.
    pub(super) notes: Vec<String>,
}

impl Writing<'_> {
    pub(super) fn copy_if(&mut self, key: &str, fits: impl Fn(&Value) -> bool) {
        if let Some(value) = self.own.get(key).filter(|value| fits(value)) {
            self.out.insert(key.into(), value.clone());
        }
    }

    fn done(mut self) -> Value {
        if !self.notes.is_empty() {
            let said = self.out.get("description").and_then(Value::as_str).map(str::to_owned);
            let notes = self.notes.iter().map(|note| format!("{note}."));
            let lines: Vec<String> = said.into_iter().chain(notes).collect();
            self.out.insert("description".into(), lines.join("\n").into());
        }
        self.out.into()
    }
}

/// A pattern as the CLI reads it; `None` if it cannot.
pub(super) fn ecma(pattern: &str) -> Option<regress::Regex> {
    regress::Regex::with_flags(pattern, "u").ok()
}
