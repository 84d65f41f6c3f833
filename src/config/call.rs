//! Variables that come with a call of the host command, rather than with its box.
//!
//! A box outlives many calls. A key, a time zone or a `CLAUDEBOX_ENV_X` of a call is that call's: it takes the place of what the box was
//! made with, and what the call does not have is none of its prompt's. Values are never shown, and never kept.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::environment::Environment;
use super::name;
use super::settings::{ALL, HandedOn};
use super::spelling::{self, spellings};

/// Where a process is and who it is, which no call changes.
const FIXED: [&str; 5] = ["HOME", "USER", "LOGNAME", "PWD", name::CONFIG_DIR];

/// Variables by name, `None` for one that is not to be set.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Variables(BTreeMap<String, Option<String>>);

impl Variables {
    /// Those of the call in whose environment `env` this process is; none if the host command has not made it.
    #[must_use]
    pub fn of_call(env: &impl Environment) -> Self {
        let Some(named) = env.get(name::CALL_VARIABLES).and_then(|names| names.into_string().ok()) else {
            return Self::default();
        };
        let given = |found: &str| named.split_ascii_whitespace().any(|name| name == found);
        let value = |found: &str| env.get(found).and_then(|value| value.into_string().ok()).filter(|_| given(found));
        let mut variables = BTreeMap::new();
        let of_call = ALL.iter().filter(|setting| setting.handed_on == HandedOn::WithCall);
        let canonical = of_call.map(|setting| setting.name).filter(|name| *name != name::FORWARD_PREFIX);
        for name in canonical.flat_map(spellings).filter(|name| env.get(name).is_some()) {
            let value = value(&name);
            variables.insert(name, value);
        }
        // The later one wins, and a value wins over none.
        for prefix in spellings(name::FORWARD_PREFIX).iter().rev() {
            for name in env.names() {
                let Some(plain) = name.strip_prefix(prefix.as_str()).filter(|plain| !plain.is_empty()) else {
                    continue;
                };
                if let Some(value) = value(&name) {
                    variables.insert(plain.to_owned(), Some(value));
                } else {
                    variables.entry(plain.to_owned()).or_insert(None);
                }
            }
        }
        let secrets = spelling::door_secrets();
        variables.retain(|name, value| {
            // Without a path there would be no CLI.
            let is_no_path = name == "PATH" && value.as_ref().is_none_or(String::is_empty);
            !FIXED.contains(&name.as_str()) && !secrets.contains(name) && !is_no_path
        });
        Self(variables)
    }

    /// Those that `env` does not have in the same way.
    #[must_use]
    pub fn beside(mut self, env: &impl Environment) -> Self {
        self.0.retain(|name, value| env.get(name) != value.clone().map(OsString::from));
        self
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `env` with these.
    pub fn over<'env, E>(&'env self, env: &'env E) -> Over<'env, E> {
        Over { variables: self, env }
    }

    /// Each name with its value.
    pub fn each(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_deref()))
    }
}

impl fmt::Debug for Variables {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.0.keys()).finish()
    }
}

/// An environment with a call's variables.
#[derive(Debug, Clone, Copy)]
pub struct Over<'env, E> {
    variables: &'env Variables,
    env: &'env E,
}

impl<E: Environment> Environment for Over<'_, E> {
    fn get(&self, name: &str) -> Option<OsString> {
        self.variables.0.get(name).map_or_else(|| self.env.get(name), |value| value.clone().map(OsString::from))
    }

    fn names(&self) -> Vec<String> {
        let mut names = self.env.names();
        names.extend(self.variables.0.keys().cloned());
        names.sort();
        names.dedup();
        names.retain(|name| self.get(name).is_some());
        names
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> HashMap<String, OsString> {
        pairs.iter().map(|&(name, value)| (name.to_owned(), value.into())).collect()
    }

    fn pairs(variables: &Variables) -> Vec<(&str, Option<&str>)> {
        variables.each().collect()
    }

    #[test]
    fn a_call_has_its_own_and_none_of_an_earlier_ones() {
        let env = environment(&[
            (
                "CLAUDEBOX_CALL_VARIABLES",
                "CLAUDEBOX_ENV_A CLAUDE_ENV_C ANTHROPIC_API_KEY CLAUDEBOX_ENV_HOME CLAUDEBOX_GIT_NAME",
            ),
            ("CLAUDEBOX_ENV_A", "a"),
            ("CLAUDE_ENV_A", "stale"),
            ("CLAUDEBOX_ENV_B", "stale"),
            ("CLAUDEBOX_ENV_C", "stale"),
            ("CLAUDE_ENV_C", "c"),
            ("ANTHROPIC_API_KEY", "key"),
            ("CLAUDE_CODE_OAUTH_TOKEN", "stale"),
            ("CLAUDEBOX_ENV_HOME", "/root"),
            ("CLAUDEBOX_GIT_NAME", "Me"),
            ("OTHER", "x"),
        ]);
        let variables = Variables::of_call(&env);
        let expected = [
            ("A", Some("a")),
            ("ANTHROPIC_API_KEY", Some("key")),
            ("B", None),
            ("C", Some("c")),
            ("CLAUDEBOX_GIT_NAME", Some("Me")),
            ("CLAUDE_CODE_OAUTH_TOKEN", None),
        ];
        assert_eq!(pairs(&variables), expected);
        let of_box = environment(&[("A", "a"), ("ANTHROPIC_API_KEY", "other"), ("CLAUDE_CODE_OAUTH_TOKEN", "stale")]);
        let beside = variables.beside(&of_box);
        let expected = [
            ("ANTHROPIC_API_KEY", Some("key")),
            ("C", Some("c")),
            ("CLAUDEBOX_GIT_NAME", Some("Me")),
            ("CLAUDE_CODE_OAUTH_TOKEN", None),
        ];
        assert_eq!(pairs(&beside), expected);
        let over = beside.over(&of_box);
        assert_eq!(over.get("ANTHROPIC_API_KEY"), Some("key".into()));
        assert_eq!(over.names(), ["A", "ANTHROPIC_API_KEY", "C", "CLAUDEBOX_GIT_NAME"]);
        assert!(!format!("{beside:?}").contains("key\""), "{beside:?}");
    }

    #[test]
    fn a_call_of_somebody_elses_has_none() {
        assert!(Variables::of_call(&environment(&[("CLAUDEBOX_ENV_A", "a"), ("ANTHROPIC_API_KEY", "x")])).is_empty());
    }
}
