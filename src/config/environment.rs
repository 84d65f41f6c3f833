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
const NEW_NAMES: [&str; 13] = [
    super::name::HARDENED,
    super::name::IMAGE_VARIANT,
    super::name::MANIFEST,
    super::name::HOOKS_ON_ERROR,
    super::name::HOOK_TIMEOUT,
    super::name::USER,
    super::name::USER_IDS,
    super::name::CLAUDE_BIN,
    super::name::CLI_DIR,
    super::name::NPM_REGISTRY,
    super::name::STATE_DIR,
    super::name::GRACE_SECONDS,
    super::name::OFFLINE,
];

/// Names that later versions of the predecessor have for settings that are not found by their form.
const LATER_NAMES: [(&str, &[&str]); 6] = [
    (super::name::MODE_API_TOKEN, &["API_TOKEN"]),
    (super::name::MODE_API_PORT, &["API_PORT"]),
    (super::name::TELEGRAM_BOT_TOKEN, &["TELEGRAM_MODE_TOKEN", "TELEGRAM_TOKEN"]),
    (super::name::TELEGRAM_CONFIG, &["TELEGRAM_MODE_CONFIG"]),
    (super::name::MODE_CRON_FILE, &["CRON_FILE"]),
    (super::name::MODE_CRON_HISTORY_DIR, &["CRON_HISTORY_DIR"]),
];
/// What the predecessor's later versions are built on has the same names under this prefix.
const LATER_PREFIX: &str = "AICODEBOX_";

/// The spellings under which the setting `canonical` is accepted, the one that wins first.
#[must_use]
pub fn spellings(canonical: &str) -> Vec<String> {
    let mut names = vec![canonical.to_owned()];
    if let Some(rest) = canonical.strip_prefix(PREFIX)
        && !NEW_NAMES.contains(&canonical)
    {
        names.push(format!("{OLD_PREFIX}{rest}"));
        let later = LATER_NAMES.iter().filter(|(name, _)| *name == canonical).flat_map(|(_, later)| *later);
        let later: Vec<String> = mode_first(rest).into_iter().chain(later.map(|&name| name.to_owned())).collect();
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
