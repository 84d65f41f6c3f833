//! Reads one kind of value each, under all spellings of a setting's name.
//!
//! A value that cannot be used is kept as an error and read as not set, so that the settings after it are read too. Nobody
//! gets a configuration that was read in this way: `all` gives the errors in its place.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::environment::Environment;
use super::error::{ConfigError, ConfigErrors, wrong};
use super::spelling::{conflict, lookup};

/// Counts and sizes beyond this are slips of the pen.
pub(super) const MOST: u64 = 1_000_000;
/// The CLI alone takes 200 MB.
const SMALLEST_MEMORY: u64 = 256 << 20;

/// Reads settings, and keeps what is wrong with them.
pub(super) struct Reader<'env, E> {
    /// Where they are.
    pub(super) env: &'env E,
    errors: Vec<ConfigError>,
}

impl<'env, E: Environment> Reader<'env, E> {
    /// What `read` makes of the settings in `env`, or everything that is wrong with them.
    pub(super) fn all<T>(env: &'env E, read: impl FnOnce(&mut Self) -> T) -> Result<T, ConfigErrors> {
        let mut reader = Self { env, errors: Vec::new() };
        let value = read(&mut reader);
        ConfigErrors::unless(reader.errors, value)
    }

    /// Keeps an error.
    pub(super) fn refuse(&mut self, error: ConfigError) {
        self.errors.push(error);
    }

    /// The value of an outcome; keeps its error.
    pub(super) fn keep<T>(&mut self, outcome: Result<T, ConfigError>) -> Option<T> {
        outcome.map_err(|error| self.refuse(error)).ok()
    }

    /// The spelling that is set, and its value.
    pub(super) fn find(&mut self, canonical: &str) -> Option<(String, String)> {
        if let Some((name, other)) = conflict(self.env, canonical) {
            let why = format!("{other} is the same setting and has another value; set one of the two");
            self.refuse(wrong(&name, "(not shown)", &why));
            return None;
        }
        let (name, value) = lookup(self.env, canonical)?;
        let text = value.into_string().map_err(|value| wrong(&name, &value.to_string_lossy(), "it must be UTF-8 text"));
        Some((name, self.keep(text)?))
    }

    /// What `parse` makes of the value, which says nothing but whether it can; `allowed` says what can be used.
    fn parsed<T>(&mut self, canonical: &str, allowed: &str, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let (name, value) = self.find(canonical)?;
        self.keep(parse(&value).ok_or_else(|| wrong(&name, &value, allowed)))
    }

    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        Some(self.find(name)?.1)
    }

    pub(super) fn flag(&mut self, name: &str) -> bool {
        self.switch(name).unwrap_or(false)
    }

    /// A flag that may be unset.
    pub(super) fn switch(&mut self, name: &str) -> Option<bool> {
        self.parsed(name, "allowed are 1, true, yes, on and 0, false, no, off", |value| {
            match value.to_ascii_lowercase().as_str() {
                "1" | "true" | "yes" | "on" => Some(true),
                "0" | "false" | "no" | "off" => Some(false),
                _ => None,
            }
        })
    }

    /// One of these words.
    pub(super) fn choice<T: Copy>(&mut self, name: &str, allowed: &[(&str, T)]) -> Option<T> {
        let (last, others) = allowed.split_last()?;
        let others: Vec<&str> = others.iter().map(|(word, _)| *word).collect();
        let listed = ["allowed are ", &others.join(", "), " and ", last.0].concat();
        self.parsed(name, &listed, |value| allowed.iter().find(|(word, _)| *word == value).map(|(_, choice)| *choice))
    }

    /// A user and a group, neither of them root's.
    pub(super) fn ids(&mut self, name: &str) -> Option<(u32, u32)> {
        // The largest number stands for "leave it as it is" where owners are changed.
        let id = |text: &str| text.parse().ok().filter(|id| (1..u32::MAX).contains(id));
        self.parsed(name, "a user id and a group id, such as 1000:1000, neither of them 0", |value| {
            let (uid, gid) = value.split_once(':')?;
            id(uid).zip(id(gid))
        })
    }

    /// Bytes, as container engines take them: a whole number, and b, k, m or g.
    pub(super) fn size(&mut self, name: &str) -> Option<u64> {
        self.parsed(name, "a size of at least 256m, such as 512m or 4g", |value| {
            let lower = value.trim().to_ascii_lowercase();
            let digits = lower.trim_end_matches(|unit: char| unit.is_ascii_alphabetic());
            let unit = match &lower[digits.len()..] {
                "" | "b" => 1,
                "k" | "kb" => 1 << 10,
                "m" | "mb" => 1 << 20,
                "g" | "gb" => 1_u64 << 30,
                _ => return None,
            };
            digits.parse::<u64>().ok()?.checked_mul(unit).filter(|size| *size >= SMALLEST_MEMORY)
        })
    }

    pub(super) fn absolute_path(&mut self, name: &str) -> Option<PathBuf> {
        self.parsed(name, "it must be an absolute path", |value| value.starts_with('/').then(|| value.into()))
    }

    pub(super) fn file_name(&mut self, name: &str) -> Option<String> {
        self.parsed(name, "it names a folder, so it may not hold a slash", |value| {
            (value != "." && value != ".." && !value.contains('/')).then(|| value.into())
        })
    }

    pub(super) fn seconds(&mut self, name: &str, longest: u64) -> Option<Duration> {
        self.parsed(name, &format!("whole seconds from 0 to {longest}"), |value| {
            value.parse().ok().filter(|seconds| *seconds <= longest).map(Duration::from_secs)
        })
    }

    pub(super) fn number(&mut self, name: &str, least: u64, most: u64) -> Option<u64> {
        self.parsed(name, &format!("a whole number from {least} to {most}"), |value| {
            value.parse().ok().filter(|number| (least..=most).contains(number))
        })
    }

    pub(super) fn count(&mut self, name: &str) -> Option<usize> {
        self.number(name, 1, MOST).and_then(|number| usize::try_from(number).ok())
    }

    pub(super) fn port(&mut self, name: &str) -> Option<u16> {
        // Port 0 would be a free one that nobody knows.
        self.number(name, 1, u16::MAX.into()).and_then(|number| u16::try_from(number).ok())
    }

    pub(super) fn address(&mut self, name: &str) -> Option<IpAddr> {
        self.parsed(name, "an IP address, such as 127.0.0.1, 0.0.0.0 or ::", |value| value.parse().ok())
    }

    pub(super) fn dollars(&mut self, name: &str) -> Option<f64> {
        self.parsed(name, "US dollars, a number above 0, such as 2.50", |value| {
            value.parse::<f64>().ok().filter(|dollars| dollars.is_finite() && *dollars > 0.0)
        })
    }

    /// Comma-separated values.
    pub(super) fn list(&mut self, name: &str) -> Vec<String> {
        let value = self.text(name).unwrap_or_default();
        value.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
    }

    /// Comma-separated pairs of names, `a=b`.
    pub(super) fn pairs(&mut self, name: &str) -> Vec<(String, String)> {
        let pair = |part: String| match part.split_once('=') {
            Some((theirs, ours)) if !theirs.trim().is_empty() && !ours.trim().is_empty() => {
                Ok((theirs.trim().to_owned(), ours.trim().to_owned()))
            }
            _ => Err(wrong(name, &part, "pairs with commas, such as gpt-4o=sonnet,*=default")),
        };
        self.list(name).into_iter().filter_map(|part| self.keep(pair(part))).collect()
    }
}

/// Whether a flag is on; `None` where its value is neither.
pub(super) fn is_on(env: &impl Environment, flag: &str) -> Option<bool> {
    Reader::all(env, |reader| reader.flag(flag)).ok()
}
