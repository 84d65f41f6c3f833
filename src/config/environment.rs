//! Where settings come from: the process environment, behind a trait so that parsing is tested without it.

use std::collections::HashMap;
use std::ffi::OsString;
use std::hash::BuildHasher;

use super::settings;

/// Named values.
pub trait Environment {
    /// The value of `name`, if it is set.
    fn get(&self, name: &str) -> Option<OsString>;
    /// Every name that is set, sorted; names that are no UTF-8 are left out.
    fn names(&self) -> Vec<String>;
}

/// This process's environment.
#[derive(Debug, Clone, Copy)]
pub struct ProcessEnvironment;

impl Environment for ProcessEnvironment {
    fn get(&self, name: &str) -> Option<OsString> {
        std::env::var_os(name)
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).collect();
        names.sort();
        names
    }
}

impl<S: BuildHasher> Environment for HashMap<String, OsString, S> {
    fn get(&self, name: &str) -> Option<OsString> {
        Self::get(self, name).cloned()
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.keys().cloned().collect();
        names.sort();
        names
    }
}

/// What the names of most settings begin with.
pub(super) const PREFIX: &str = "CLAUDEBOX_";
const OLD_PREFIX: &str = "CLAUDE_";
/// What the predecessor's later versions are built on has the same names under this prefix.
const LATER_PREFIX: &str = "AICODEBOX_";

/// The spellings under which the setting `canonical` is accepted, the one that wins first.
#[must_use]
pub fn spellings(canonical: &str) -> Vec<String> {
    let setting = settings::find(canonical);
    let mut names = vec![canonical.to_owned()];
    if let Some(rest) = canonical.strip_prefix(PREFIX)
        // A variable that is forwarded is no setting of its own, and has both prefixes.
        && setting.is_none_or(|setting| setting.has_old_name)
    {
        names.push(format!("{OLD_PREFIX}{rest}"));
        let later = setting.map_or(&[][..], |setting| setting.later_names);
        let later: Vec<String> = mode_first(rest).into_iter().chain(later.iter().map(|&name| name.into())).collect();
        names.extend(
            [PREFIX, LATER_PREFIX].iter().flat_map(|prefix| later.iter().map(move |name| format!("{prefix}{name}"))),
        );
    }
    names
}

/// `MODE_API_PORT` as the predecessor's later versions spell it: `API_MODE_PORT`.
fn mode_first(rest: &str) -> Option<String> {
    let rest = rest.strip_prefix("MODE_")?;
    let (door, tail) = rest.split_once('_').map_or((rest, String::new()), |(door, tail)| (door, format!("_{tail}")));
    Some(format!("{door}_MODE{tail}"))
}

/// Two spellings of `canonical` that are set to different things, if there are two. The predecessor's first prefix is left
/// out: what is set under it has always given way.
#[must_use]
pub fn conflict(env: &impl Environment, canonical: &str) -> Option<(String, String)> {
    let set = |name: String| env.get(&name).filter(|value| !value.is_empty()).map(|value| (name, value));
    let first = format!("{OLD_PREFIX}{}", canonical.strip_prefix(PREFIX).unwrap_or_default());
    let mut found = spellings(canonical).into_iter().filter(|name| *name != first).filter_map(set);
    let (name, value) = found.next()?;
    found.find(|(_, other)| *other != value).map(|(other, _)| (name, other))
}

/// The spelling of `canonical` that is set to something, and its value.
#[must_use]
pub fn lookup(env: &impl Environment, canonical: &str) -> Option<(String, OsString)> {
    spellings(canonical).into_iter().find_map(|name| {
        let value = env.get(&name).filter(|value| !value.is_empty())?;
        Some((name, value))
    })
}
