//! What is wrong in a YAML file, and where: for a person who has it open.
//!
//! The parser knows the place of what it cannot read; for what is only wrong by meaning, the place of a key is looked
//! up in the text.

use std::fmt;

use serde::de::{self, Deserializer, Visitor};

/// The text of a file without the byte order mark that some editors put in front.
pub(crate) fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// A switch as people write it: YAML 1.2 has `true` and `false`, YAML 1.1 `yes`, `no`, `on` and `off` as well. `None`:
/// null.
pub(crate) fn switch<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<bool>, D::Error> {
    struct Switch;
    impl Visitor<'_> for Switch {
        type Value = Option<bool>;

        fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
            out.write_str("a boolean: true or false")
        }

        fn visit_bool<E>(self, on: bool) -> Result<Self::Value, E> {
            Ok(Some(on))
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_str<E: de::Error>(self, word: &str) -> Result<Self::Value, E> {
            match word.to_ascii_lowercase().as_str() {
                "yes" | "on" => Ok(Some(true)),
                "no" | "off" => Ok(Some(false)),
                _ => Err(E::invalid_type(de::Unexpected::Str(word), &self)),
            }
        }
    }
    deserializer.deserialize_any(Switch)
}

/// Where an error about `text` is (`:LINE:COLUMN`, empty if unknown), and what it says, with the nearest known name for
/// a key or a word that is not known.
pub(crate) fn explain(error: &serde_yaml::Error, text: &str) -> (String, String) {
    let place = error.location();
    let at = place.map_or_else(String::new, |place| shown(place.line(), place.column()));
    let said = error.to_string();
    // The place is said already.
    let said = said.split(" at line ").next().unwrap_or(&said).replace('`', "'");
    // YAML takes an asterisk for the name of something.
    if said.contains("alphabetic or numeric character") {
        return (at, format!("{said}; text that begins with * or & needs quotes, as in \"* * * * *\""));
    }
    // The parser means the whole of what has it twice.
    let again = duplicate(&said).map(|(path, key)| find(text, &path, &key)).and_then(|all| all.get(1).cloned());
    // In place of all that it could be.
    let said = nearest(&said).map_or(said.clone(), |(before, near)| format!("{before}; did you mean '{near}'?"));
    (again.unwrap_or(at), said)
}

/// What has a key twice, and the key: `chats.5: duplicate field 'model'`, `jobs[0]: …`.
fn duplicate(said: &str) -> Option<(Vec<String>, String)> {
    let (path, rest) = said.split_once("duplicate field '")?;
    let parts = path.trim_end_matches([':', ' ']).split(['.', '[', ']']).filter(|part| !part.is_empty());
    Some((parts.map(str::to_owned).collect(), rest.split('\'').next()?.to_owned()))
}

/// A message up to the name that it calls unknown, and the known one that is nearest to it.
fn nearest(said: &str) -> Option<(&str, &str)> {
    let (_, rest) = said.split_once("unknown field '").or_else(|| said.split_once("unknown variant '"))?;
    let (unknown, rest) = rest.split_once('\'')?;
    let known = rest.split('\'').skip(1).step_by(2);
    let (distance, near) = known.map(|name| (strsim::damerau_levenshtein(unknown, name), name)).min()?;
    let upto = &said[..said.len() - rest.len()];
    (distance <= 2.max(unknown.chars().count() / 3)).then_some((upto, near))
}

/// Where a key is in the text, as `:LINE:COLUMN`. `path`: the keys around it, outermost first, an entry of a list by
/// its number from 0, and the key itself. Of what stands in braces or brackets, it is the place of the key before them.
/// Empty: nothing of the path is there.
pub(crate) fn position(text: &str, path: &[impl AsRef<str>]) -> String {
    let marks = marks(text);
    let mut inside = marks.as_slice();
    let mut found = String::new();
    for wanted in path {
        let Some(&at) = own(inside, wanted.as_ref()).first() else { break };
        found = inside[at].shown();
        inside = below(inside, at);
    }
    found
}

/// Every place of a key that belongs to what `path` names.
fn find(text: &str, path: &[String], key: &str) -> Vec<String> {
    let marks = marks(text);
    let mut inside = marks.as_slice();
    for wanted in path {
        let Some(&at) = own(inside, wanted).first() else { return Vec::new() };
        inside = below(inside, at);
    }
    own(inside, key).into_iter().map(|at| inside[at].shown()).collect()
}

/// A dash, or the first key of a line or after a dash.
#[derive(Debug)]
struct Mark<'text> {
    line: usize,
    column: usize,
    /// What stands there; `None`: a dash.
    text: Option<&'text str>,
}

impl Mark<'_> {
    fn shown(&self) -> String {
        shown(self.line, self.column)
    }

    fn is_key(&self, name: &str) -> bool {
        let Some(text) = self.text else { return false };
        let quoted = |quote: char| text.strip_prefix(quote).and_then(|rest| rest.split_once(quote));
        let plain = || text.split_once(':').map(|(key, _)| (key, ":"));
        let (key, after) = quoted('"').or_else(|| quoted('\'')).or_else(plain).unwrap_or_default();
        key.trim_end() == name && after.trim_start().starts_with(':')
    }
}

fn marks(text: &str) -> Vec<Mark<'_>> {
    let mut marks = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let mut rest = line.trim_start();
        if rest.starts_with('#') {
            continue;
        }
        while !rest.is_empty() {
            // Of these, there are only spaces and dashes before it: bytes are columns.
            let (line, column) = (number + 1, line.len() - rest.len() + 1);
            let after = if rest == "-" { Some("") } else { rest.strip_prefix("- ") };
            marks.push(Mark { line, column, text: after.is_none().then_some(rest) });
            rest = after.map_or("", str::trim_start);
        }
    }
    marks
}

/// Which marks are what is wanted, of those that belong to one thing: its own stand at the first one's column.
fn own(marks: &[Mark<'_>], wanted: &str) -> Vec<usize> {
    let Some(first) = marks.first() else { return Vec::new() };
    let all = marks.iter().enumerate().filter(|(_, mark)| mark.column == first.column);
    if first.text.is_none() {
        let entry = wanted.parse().ok().and_then(|number| all.filter(|(_, mark)| mark.text.is_none()).nth(number));
        return entry.map(|(at, _)| at).into_iter().collect();
    }
    all.filter(|(_, mark)| mark.is_key(wanted)).map(|(at, _)| at).collect()
}

/// The marks of what belongs to one of them: those after it that stand further in. A list may stand right below its key.
fn below<'marks, 'text>(marks: &'marks [Mark<'text>], at: usize) -> &'marks [Mark<'text>] {
    let parent = &marks[at];
    let is_key = parent.text.is_some();
    let inside = &marks[at + 1..];
    let belongs = |mark: &Mark<'_>| {
        mark.column > parent.column || (mark.column == parent.column && is_key && mark.text.is_none())
    };
    &inside[..inside.iter().position(|mark| !belongs(mark)).unwrap_or(inside.len())]
}

fn shown(line: usize, column: usize) -> String {
    format!(":{line}:{column}")
}

#[cfg(test)]
mod tests;
