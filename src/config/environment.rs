//! Where settings come from: the process environment, behind a trait so that parsing is tested without it.

use std::collections::HashMap;
use std::ffi::OsString;
use std::hash::BuildHasher;

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

const PREFIX: &str = "CLAUDEBOX_";
const OLD_PREFIX: &str = "CLAUDE_";
/// Settings that did not exist under the predecessor's prefix, or would mean something else there.
const NEW_NAMES: [&str; 10] = [
    super::name::HARDENED,
    super::name::IMAGE_VARIANT,
    super::name::MANIFEST,
    super::name::HOOKS_ON_ERROR,
    super::name::HOOK_TIMEOUT,
    super::name::USER,
    super::name::CLAUDE_BIN,
    super::name::STATE_DIR,
    super::name::GRACE_SECONDS,
    super::name::OFFLINE,
];

/// The spellings under which the setting `canonical` is accepted, the one that wins first.
#[must_use]
pub fn spellings(canonical: &str) -> Vec<String> {
    let mut names = vec![canonical.to_owned()];
    if let Some(rest) = canonical.strip_prefix(PREFIX)
        && !NEW_NAMES.contains(&canonical)
    {
        names.push(format!("{OLD_PREFIX}{rest}"));
        names.extend(mode_first(rest).map(|rest| format!("{PREFIX}{rest}")));
    }
    names
}

/// `MODE_API_PORT` as the predecessor's later versions spell it: `API_MODE_PORT`.
fn mode_first(rest: &str) -> Option<String> {
    let rest = rest.strip_prefix("MODE_")?;
    let (door, tail) = rest.split_once('_').map_or((rest, String::new()), |(door, tail)| (door, format!("_{tail}")));
    Some(format!("{door}_MODE{tail}"))
}

/// The spelling of `canonical` that is set to something, and its value.
#[must_use]
pub fn lookup(env: &impl Environment, canonical: &str) -> Option<(String, OsString)> {
    spellings(canonical).into_iter().find_map(|name| {
        let value = env.get(&name).filter(|value| !value.is_empty())?;
        Some((name, value))
    })
}
