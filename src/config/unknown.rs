//! Names in the environment that look like settings and are none: most of them are slips of the pen.

use super::environment::Environment;
use super::settings::{ALL, Part};
use super::spelling::{PREFIX, spellings};
use super::{name, secret_files};

/// What an orchestrator sets for a service that is called claudebox, and what the tests of this project set.
const OTHERS: [&str; 3] = ["SERVICE_", "PORT", "TEST_"];

/// What to say of each name that is no setting.
pub fn complaints(env: &impl Environment) -> Vec<String> {
    let names = env.names();
    let ours = names.iter().filter(|name| name.strip_prefix(PREFIX).is_some_and(|rest| !is_others(rest)));
    let accepted: Vec<String> = known().flat_map(spellings).chain(secret_files::all_names()).collect();
    let is_setting = |found: &str| accepted.iter().any(|name| name == found) || found.starts_with(name::FORWARD_PREFIX);
    ours.filter(|found| !is_setting(found)).map(|found| complaint(found)).collect()
}

/// The names of the settings that a box has.
fn known() -> impl Iterator<Item = &'static str> {
    let of_box = ALL.iter().filter(|setting| setting.part != Part::HostCommand);
    of_box.map(|setting| setting.name).filter(|name| name.starts_with(PREFIX))
}

fn is_others(rest: &str) -> bool {
    OTHERS.iter().any(|other| rest.starts_with(other))
}

fn complaint(found: &str) -> String {
    let distance = |setting: &&str| strsim::damerau_levenshtein(found, setting);
    match known().min_by_key(distance).filter(|near| distance(near) <= found.len() / 5) {
        Some(near) => format!("{found} is no setting and does nothing: is {near} meant?"),
        None => format!("{found} is no setting and does nothing (docs/settings.md lists them)"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::ffi::OsString;

    use super::*;

    fn said_of(names: &[&str]) -> Vec<String> {
        let env: HashMap<String, OsString> = names.iter().map(|&name| (name.to_owned(), "1".into())).collect();
        complaints(&env)
    }

    #[test]
    fn every_setting_of_a_box_is_known_and_none_of_the_host_command_is() {
        let known: Vec<&str> = known().collect();
        assert_eq!(said_of(&known), [""; 0]);
        assert!(known.contains(&name::RESTARTS) && !known.contains(&name::TZ) && !known.contains(&name::IMAGE));
        assert_eq!(said_of(&[name::IMAGE]).len(), 1);
    }

    #[test]
    fn a_slip_is_named_with_what_is_meant() {
        assert_eq!(
            said_of(&["CLAUDEBOX_OFLINE", "CLAUDEBOX_MODE_APi_PORT", "CLAUDEBOX_COLOUR_OF_THE_BOX"]),
            [
                "CLAUDEBOX_COLOUR_OF_THE_BOX is no setting and does nothing (docs/settings.md lists them)",
                "CLAUDEBOX_MODE_APi_PORT is no setting and does nothing: is CLAUDEBOX_MODE_API_PORT meant?",
                "CLAUDEBOX_OFLINE is no setting and does nothing: is CLAUDEBOX_OFFLINE meant?",
            ]
        );
    }

    #[test]
    fn other_spellings_forwarded_variables_and_those_of_others_are_left_alone() {
        let fine = [
            "CLAUDEBOX_API_MODE_PORT",
            "CLAUDEBOX_TELEGRAM_TOKEN",
            "CLAUDEBOX_ENV_ANYTHING",
            "CLAUDEBOX_SERVICE_HOST",
            "CLAUDEBOX_SERVICE_PORT_HTTP",
            "CLAUDEBOX_PORT_8080_TCP_ADDR",
            "CLAUDE_CODE_ANYTHING",
            "PATH",
        ];
        assert_eq!(said_of(&fine), [""; 0]);
    }
}
