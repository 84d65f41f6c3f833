//! The values of a file of jobs. Each is parsed where it stands, so that an error has its line and column.

use std::fmt;
use std::time::Duration;

use chrono_tz::Tz;
use serde::de::{self, Deserialize, Deserializer};

use super::schedule::CronExpression;
use crate::claude::arguments::Effort;
use crate::config::zone;
use crate::desk::options::form::{self, LONGEST_TIMEOUT, Wrong};

const LONGEST_NAME: usize = 100;
const MOST_RETRIES: u32 = 20;

/// What is wrong, for a reader of YAML.
fn said<T>(checked: Result<T, Wrong>) -> Result<T, String> {
    checked.map_err(|wrong| wrong.said)
}

/// A value that is parsed from a scalar's text. What its visitor refuses is refused where it stands.
macro_rules! parsed {
    ($(#[$meta:meta])* $name:ident($inner:ty) from $expecting:literal, $parse:expr) => {
        $(#[$meta])*
        #[derive(Debug, Clone)]
        pub(super) struct $name(pub(super) $inner);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Visitor;
                impl de::Visitor<'_> for Visitor {
                    type Value = $name;

                    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                        out.write_str($expecting)
                    }

                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$name, E> {
                        let parse: fn(&str) -> Result<$inner, String> = $parse;
                        parse(text).map($name).map_err(E::custom)
                    }
                }
                deserializer.deserialize_str(Visitor)
            }
        }
    };
}

parsed!(
    /// A cron expression.
    When(CronExpression) from "a cron expression, in quotes", str::parse
);
parsed!(
    /// A job's name.
    Name(String) from "a name", |name| {
        let plain = !name.contains('/') && !name.chars().any(char::is_control) && !name.starts_with('.');
        if (1..=LONGEST_NAME).contains(&name.len()) && plain && name.trim() == name {
            Ok(name.to_owned())
        } else {
            Err(format!(
                "{name:?} cannot be a job's name: it names folders, so 1 to {LONGEST_NAME} bytes are allowed without \
                 slashes, control characters, a dot in front or spaces around it"
            ))
        }
    }
);
parsed!(
    /// What Claude is to do.
    Prompt(String) from "text", |text| said(form::prompt(text).map(|()| text.to_owned()))
);
parsed!(
    /// A model's name.
    Model(String) from "text", |name| said(form::model(name).map(|()| name.to_owned()))
);
parsed!(
    /// A text of the system prompt.
    SystemPrompt(String) from "text", |text| said(form::text(text).map(|()| text.to_owned()))
);
parsed!(
    /// A folder below the workspace folder; empty: that folder itself.
    Folder(String) from "a folder below the workspace folder", |name| {
        if ["", ".", "./"].contains(&name) {
            Ok(String::new())
        } else if !name.starts_with('/') && name.split('/').all(|part| !["", ".", ".."].contains(&part)) {
            Ok(name.to_owned())
        } else {
            Err(format!("{name:?} cannot be a job's workspace: a folder below the workspace folder is allowed, such as reports/daily"))
        }
    }
);
parsed!(
    /// A time zone.
    #[derive(Copy)]
    Zone(Tz) from "a time zone, such as Europe/Berlin", zone::parse
);
parsed!(
    /// Most a run may cost.
    #[derive(Copy)]
    Dollars(f64) from "a number above 0, such as 2.50", |text| said(form::dollars_of(text))
);
parsed!(
    /// How often it is tried again.
    #[derive(Copy)]
    Retries(u32) from "a whole number", |text| match text.parse() {
        Ok(retries) if retries <= MOST_RETRIES => Ok(retries),
        _ => Err(format!("{text:?}: a whole number from 0 to {MOST_RETRIES} is allowed")),
    }
);
parsed!(
    /// Where a result is posted to.
    Address(String) from "an address, http://... or https://...", |url| match reqwest::Url::parse(url) {
        Ok(parsed) if ["http", "https"].contains(&parsed.scheme()) && parsed.has_host() => Ok(url.to_owned()),
        _ => Err(format!("{url:?} is no address: http://... and https://... are allowed")),
    }
);
parsed!(
    /// A chat's id; 0 is none.
    #[derive(Copy)]
    Chat(i64) from "a chat's id", |text| {
        let id = text.trim().parse();
        id.map_err(|_| format!("{text:?} is no chat's id: a whole number is, such as -1001234567890; 0 is none"))
    }
);
parsed!(
    /// Longest a run may take: seconds, or a number with s, m, h or d.
    #[derive(Copy)]
    Timeout(Duration) from "seconds, or a number with s, m, h or d", |text| {
        let units = [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400), ("", 1)];
        let found = units.iter().find_map(|(unit, seconds)| {
            text.trim().strip_suffix(unit)?.trim_end().parse::<u64>().ok()?.checked_mul(*seconds)
        });
        match found.map(Duration::from_secs) {
            Some(timeout) if !timeout.is_zero() && timeout <= LONGEST_TIMEOUT => Ok(timeout),
            _ => Err("must be seconds, or a number with s, m, h or d, such as 90, 30m or 2h, at most 30d".to_owned()),
        }
    }
);

/// One of the CLI's levels; `none` and the like are nothing that the CLI knows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Level(pub(super) Option<Effort>);

impl<'de> Deserialize<'de> for Level {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let level = serde_yaml::Value::deserialize(deserializer)?;
        Ok(Self(serde_yaml::from_value(level).ok()))
    }
}
