//! The names that a setting is accepted under: its own, the predecessor's, and those of the predecessor's later versions.

use std::ffi::OsString;

use super::environment::Environment;
use super::settings::{self, Secrecy, Setting};

/// What the names of most settings begin with.
pub(super) const PREFIX: &str = "CLAUDEBOX_";
const OLD_PREFIX: &str = "CLAUDE_";
/// What the predecessor's later versions are built on has the same names under this prefix.
const LATER_PREFIX: &str = "AICODEBOX_";

/// The spellings under which the setting `canonical` is accepted, the one that wins first.
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

/// The setting that has this spelling.
pub fn find_spelt(name: &str) -> Option<&'static Setting> {
    settings::ALL.iter().find(|setting| spellings(setting.name).iter().any(|spelling| spelling == name))
}

/// Every spelling of the doors' secrets: Claude and its tools never see them.
pub fn door_secrets() -> Vec<String> {
    let secrets = settings::ALL.iter().filter(|setting| setting.secret == Secrecy::Door);
    secrets.flat_map(|setting| spellings(setting.name)).collect()
}

/// Two spellings of `canonical` that are set to different things, if there are two. The predecessor's first prefix is left
/// out: what is set under it has always given way.
pub fn conflict(env: &impl Environment, canonical: &str) -> Option<(String, String)> {
    let set = |name: String| env.get(&name).filter(|value| !value.is_empty()).map(|value| (name, value));
    let first = format!("{OLD_PREFIX}{}", canonical.strip_prefix(PREFIX).unwrap_or_default());
    let mut found = spellings(canonical).into_iter().filter(|name| *name != first).filter_map(set);
    let (name, value) = found.next()?;
    found.find(|(_, other)| *other != value).map(|(other, _)| (name, other))
}

/// The spelling of `canonical` that is set to something, and its value.
pub fn lookup(env: &impl Environment, canonical: &str) -> Option<(String, OsString)> {
    spellings(canonical).into_iter().find_map(|name| {
        let value = env.get(&name).filter(|value| !value.is_empty())?;
        Some((name, value))
    })
}
