//! What an option may be: one check for each form, and one wording of what is allowed.

use std::borrow::Cow;
use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::claude::limits::LONGEST_PROMPT_BYTES;
use crate::claude::schema::Schema;

/// The CLI's aliases of models. Full names work too, but which there are only its API knows.
pub const MODELS: [&str; 5] = ["haiku", "sonnet", "opus", "opusplan", "sonnet[1m]"];
/// Longest name of a model, bytes.
const LONGEST_MODEL_BYTES: usize = 200;
/// Longest that a run may take that says how long: thirty days.
pub const LONGEST_TIMEOUT: Duration = Duration::from_hours(30 * 24);

/// One of several names, and what it means where that is not plain.
pub type Named = (&'static str, &'static str);

/// The CLI's levels of effort.
pub const EFFORTS: &[Named] = &[("low", ""), ("medium", ""), ("high", ""), ("xhigh", ""), ("max", "")];
/// What can become of a run whose workspace is busy.
pub const BUSY: &[Named] = &[
    ("reject", "It is refused"),
    ("queue", "It waits for its turn"),
    ("replace", "It takes the place: what runs and waits in the workspace is cancelled"),
];
/// Forms of a result. The doors have those that are one JSON object.
pub const FORMATS: &[Named] = &[
    ("text", "The answer's text"),
    ("json", "One JSON object: the result with its cost, usage and session"),
    ("json-verbose", "The same with every turn: tool calls, tool results, messages"),
    ("stream-json", "One JSON event per line, as they come"),
];
/// Which events a result has.
pub const EVENT_MODES: &[Named] = &[
    ("auto", "What the form of the result says"),
    ("none", "None: the last result alone"),
    ("full", "All, pieces of messages too"),
];

/// What the value of an option is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A text that says something.
    Prompt,
    /// Any text.
    Text,
    /// A model's alias or name.
    Model,
    /// Dollars, a number above 0.
    Dollars,
    /// How often, an integer of at least 1.
    Count,
    /// Seconds, above 0 and with a most.
    Seconds,
    /// One of these names.
    Name(&'static [Named]),
    /// On or off.
    Switch,
    /// A JSON Schema.
    Schema,
    /// A session's id.
    Session,
    /// An address, http or https.
    Address,
    /// The name of a file, or JSON.
    FileOrJson,
}

/// What numbers are allowed.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Bounds {
    /// Not below this.
    pub least: Option<f64>,
    /// Above this.
    pub above: Option<f64>,
    /// Not above this.
    pub most: Option<f64>,
}

impl Bounds {
    /// What is allowed, in words. `kind`: `a number`, `an integer`.
    pub fn in_words(self, kind: &str) -> String {
        let part = |bound: Option<f64>, words: &str| bound.map(|bound| format!("{words} {bound}"));
        let least = part(self.least, "of at least").or_else(|| part(self.above, "above"));
        match (least, part(self.most, "at most")) {
            (Some(least), Some(most)) => format!("{kind} {least}, {most}"),
            (Some(one), None) | (None, Some(one)) => format!("{kind} {one}"),
            (None, None) => kind.to_owned(),
        }
    }
}

/// Why a value cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{said}")]
pub struct Wrong {
    /// What is allowed, or what is wrong: `must be ...`.
    pub said: String,
    /// Whether it is only too long.
    pub is_too_long: bool,
}

impl Wrong {
    fn new(said: impl Into<String>) -> Self {
        Self { said: said.into(), is_too_long: false }
    }

    fn too_long(bytes: usize, remedy: &str) -> Self {
        let said = format!("has {bytes} bytes, {LONGEST_PROMPT_BYTES} are allowed{remedy}");
        Self { said, is_too_long: true }
    }
}

impl Form {
    /// What is allowed, in words.
    pub fn allowed(self) -> Cow<'static, str> {
        match self {
            Self::Prompt | Self::Text => "a text".into(),
            Self::Model => format!("an alias ({}) or a full model name", MODELS.join(", ")).into(),
            Self::Dollars | Self::Seconds => self.bounds().in_words("a number").into(),
            // The most is that of the type.
            Self::Count => Bounds { most: None, ..self.bounds() }.in_words("an integer").into(),
            Self::Name(names) => format!("one of {}", names_of(names).join(", ")).into(),
            Self::Switch => "true or false".into(),
            Self::Schema => "a JSON object or its text".into(),
            Self::Session => "a session's id, the UUID that a result has".into(),
            Self::Address => "an address, http://... or https://...".into(),
            Self::FileOrJson => "a file or JSON".into(),
        }
    }

    /// What numbers are allowed.
    pub fn bounds(self) -> Bounds {
        match self {
            Self::Dollars => Bounds { above: Some(0.0), ..Bounds::default() },
            Self::Seconds => {
                Bounds { above: Some(0.0), most: Some(LONGEST_TIMEOUT.as_secs_f64()), ..Bounds::default() }
            }
            Self::Count => Bounds { least: Some(1.0), most: Some(u32::MAX.into()), ..Bounds::default() },
            _ => Bounds::default(),
        }
    }

    /// The names, if it is one of some.
    pub fn names(self) -> Vec<&'static str> {
        if let Self::Name(names) = self { names_of(names) } else { Vec::new() }
    }

    /// The same as a JSON Schema.
    pub fn json_schema(self) -> Value {
        match self {
            Self::Prompt | Self::Text | Self::Model | Self::Session | Self::Address | Self::FileOrJson => {
                json!({"type": "string"})
            }
            Self::Dollars => json!({"type": "number", "exclusiveMinimum": 0}),
            Self::Seconds => {
                json!({"type": "number", "exclusiveMinimum": 0, "maximum": LONGEST_TIMEOUT.as_secs()})
            }
            Self::Count => json!({"type": "integer", "minimum": 1, "maximum": u32::MAX}),
            Self::Name(names) => json!({"type": "string", "enum": names_of(names)}),
            Self::Switch => json!({"type": "boolean"}),
            Self::Schema => json!({"anyOf": [{"type": "object"}, {"type": "string"}]}),
        }
    }

    fn wrong(self) -> Wrong {
        Wrong::new(format!("must be {}", self.allowed()))
    }
}

fn names_of(names: &'static [Named]) -> Vec<&'static str> {
    names.iter().map(|(name, _)| *name).collect()
}

/// A prompt that can be asked.
pub fn prompt(text: &str) -> Result<(), Wrong> {
    if text.trim().is_empty() {
        return Err(Wrong::new("must not be empty"));
    }
    if text.len() > LONGEST_PROMPT_BYTES {
        let remedy = ": put the material into a file of the workspace and name it in the prompt";
        return Err(Wrong::too_long(text.len(), remedy));
    }
    Ok(())
}

/// A text of the system prompt.
pub fn text(text: &str) -> Result<(), Wrong> {
    if text.len() > LONGEST_PROMPT_BYTES {
        return Err(Wrong::too_long(text.len(), ""));
    }
    if text.contains('\0') {
        return Err(Wrong::new("must not hold a NUL character"));
    }
    Ok(())
}

/// A model's name: a word that is no option.
pub fn model(name: &str) -> Result<(), Wrong> {
    let is_word = !name.is_empty() && !name.contains(|letter: char| letter.is_control() || letter.is_whitespace());
    if is_word && !name.starts_with('-') && name.len() <= LONGEST_MODEL_BYTES {
        Ok(())
    } else {
        Err(Form::Model.wrong())
    }
}

/// The text of a JSON Schema.
pub fn schema(text: &str) -> Result<(), Wrong> {
    let wrong = |fault| Wrong::new(format!("must be {}; this is no JSON Schema: {fault}", Form::Schema.allowed()));
    Schema::parse(text).map(drop).map_err(wrong)
}

/// A session's id, as the CLI writes it.
pub fn session(id: &str) -> Result<String, Wrong> {
    Uuid::try_parse(id).map(|id| id.to_string()).map_err(|_| Form::Session.wrong())
}

/// Dollars.
pub fn dollars(number: f64) -> Result<f64, Wrong> {
    if number.is_finite() && number > 0.0 { Ok(number) } else { Err(Form::Dollars.wrong()) }
}

/// A count.
pub fn count(number: u32) -> Result<u32, Wrong> {
    if number > 0 { Ok(number) } else { Err(Form::Count.wrong()) }
}

/// Seconds.
pub fn seconds(number: f64) -> Result<Duration, Wrong> {
    let is_allowed = number > 0.0 && number <= LONGEST_TIMEOUT.as_secs_f64();
    // So little is nothing: a nanosecond is the least that there is.
    let duration = is_allowed.then(|| Duration::from_secs_f64(number)).filter(|duration| !duration.is_zero());
    duration.ok_or_else(|| Form::Seconds.wrong())
}

/// Dollars, as a word.
pub fn dollars_of(word: &str) -> Result<f64, Wrong> {
    dollars(word.trim().parse().unwrap_or(f64::NAN))
}

/// A count, as a word.
pub fn count_of(word: &str) -> Result<u32, Wrong> {
    count(word.trim().parse().unwrap_or(0))
}

/// Seconds, as a word.
pub fn seconds_of(word: &str) -> Result<Duration, Wrong> {
    seconds(word.trim().parse().unwrap_or(f64::NAN))
}
