//! Rules for objects and arrays, in the words that the CLI knows.

use serde_json::{Map, Value, json};

use super::translate::{APPLICATORS, Translator, Writing, ecma};

impl<'own> Translator<'own> {
    pub(super) fn object(&mut self, writing: &mut Writing<'own>) {
        let own = writing.own;
        writing.copy_if("required", Value::is_array);
        let properties = own.get("properties").and_then(Value::as_object);
        if let Some(properties) = properties {
            let translated: Map<String, Value> =
                properties.iter().map(|(name, schema)| (name.clone(), self.schema(schema))).collect();
            writing.out.insert("properties".into(), translated.into());
        }
        let mut all_patterns = true;
        if let Some(patterns) = own.get("patternProperties").and_then(Value::as_object) {
            let mut translated = Map::new();
            for (pattern, schema) in patterns {
                let regex = ecma(pattern);
                // The CLI refuses a pattern that a property's name matches too.
                let meets = |regex: &regress::Regex| {
                    properties.into_iter().flat_map(Map::keys).any(|name| regex.find(name).is_some())
                };
                let schema = self.schema(schema);
                if regex.is_some_and(|regex| !meets(&regex)) {
                    translated.insert(pattern.clone(), schema);
                } else {
                    all_patterns = false;
                    writing.notes.push(format!("Properties whose names match {pattern} follow the schema {schema}"));
                }
            }
            if !translated.is_empty() {
                writing.out.insert("patternProperties".into(), translated.into());
            }
        }
        let evaluated = own.keys().any(|key| APPLICATORS.contains(&key.as_str()));
        let rest = match (own.get("additionalProperties"), own.get("unevaluatedProperties")) {
            (Some(rest), _) => Some(rest),
            (None, Some(rest)) if !evaluated => Some(rest),
            (None, Some(Value::Bool(false))) => {
                writing.notes.push("It has no properties but those that are described".into());
                None
            }
            _ => None,
        };
        match rest {
            Some(rest) if all_patterns => {
                let rest = self.schema(rest);
                writing.out.insert("additionalProperties".into(), rest);
            }
            Some(Value::Bool(false)) => writing.notes.push("It has no further properties".into()),
            _ => {}
        }
        if let Some(names) = own.get("propertyNames") {
            let names = self.schema(names);
            writing.out.insert("propertyNames".into(), names);
        }
        self.dependencies(writing);
    }

    fn dependencies(&mut self, writing: &mut Writing<'own>) {
        let mut translated = Map::new();
        for key in ["dependencies", "dependentRequired", "dependentSchemas"] {
            for (name, needed) in writing.own.get(key).and_then(Value::as_object).into_iter().flatten() {
                let needed = if needed.is_array() { needed.clone() } else { self.schema(needed) };
                if let Some(other) = translated.remove(name) {
                    let as_schema =
                        |needed: Value| if needed.is_array() { json!({"required": needed}) } else { needed };
                    translated.insert(name.clone(), json!({"allOf": [as_schema(other), as_schema(needed)]}));
                } else {
                    translated.insert(name.clone(), needed);
                }
            }
        }
        if !translated.is_empty() {
            writing.out.insert("dependencies".into(), translated.into());
        }
    }

    pub(super) fn array(&mut self, writing: &mut Writing<'own>) {
        let own = writing.own;
        let (tuple, rest) = match (own.get("prefixItems"), own.get("items")) {
            (Some(Value::Array(tuple)), rest) => (Some(tuple), rest),
            (_, Some(Value::Array(tuple))) => (Some(tuple), own.get("additionalItems")),
            (_, rest) => (None, rest),
        };
        match (tuple, rest) {
            (Some(tuple), rest) => self.tuple(tuple, rest, writing),
            (None, Some(items)) => {
                let items = self.schema(items);
                writing.out.insert("items".into(), items);
            }
            (None, None) => {}
        }
        let count = |key: &str| own.get(key).and_then(Value::as_u64);
        if let Some(contained) = own.get("contains") {
            let contained = self.schema(contained);
            if let Some(least) = count("minContains").filter(|least| *least > 1) {
                writing.notes.push(format!("At least {least} items follow the schema {contained}"));
            }
            if let Some(most) = count("maxContains") {
                writing.notes.push(format!("At most {most} items follow the schema {contained}"));
            }
            if count("minContains") != Some(0) {
                writing.out.insert("contains".into(), contained);
            }
        }
    }

    /// Items by their places. Neither form of it is one that both the CLI and the API know.
    fn tuple(&mut self, tuple: &'own [Value], rest: Option<&'own Value>, writing: &mut Writing<'own>) {
        let mut kinds: Vec<Value> = Vec::new();
        let mut places = Vec::new();
        for schema in tuple {
            let schema = self.schema(schema);
            places.push(schema.to_string());
            if !kinds.contains(&schema) {
                kinds.push(schema);
            }
        }
        let least = writing.own.get("minItems").and_then(Value::as_u64).unwrap_or(0);
        match rest {
            Some(Value::Bool(false)) => {
                let most = writing.out.get("maxItems").and_then(Value::as_u64).unwrap_or(u64::MAX);
                writing.out.insert("maxItems".into(), most.min(tuple.len() as u64).into());
            }
            Some(rest) => kinds.push(self.schema(rest)),
            None if least > tuple.len() as u64 => kinds.push(json!({})),
            None => {}
        }
        if kinds.len() == 1 {
            writing.out.insert("items".into(), kinds.remove(0));
        } else if !kinds.is_empty() {
            writing.out.insert("items".into(), json!({"anyOf": kinds}));
            writing.notes.push(format!("Its first items follow these schemas in this order: {}", places.join(", ")));
        }
    }
}
