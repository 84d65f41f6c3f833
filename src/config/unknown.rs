//! Names in the environment that look like settings and are none: most of them are slips of the pen.

use super::environment::{Environment, spellings};
use super::name;

const PREFIX: &str = "CLAUDEBOX_";
/// Every setting, as `name` has them; a test compares the two.
const SETTINGS: [&str; 61] = [
    name::USER,
    name::USER_IDS,
    name::CLAUDE_BIN,
    name::CLI_DIR,
    name::NPM_REGISTRY,
    name::WORKSPACE,
    name::WORKSPACES_DIR,
    name::STATE_DIR,
    name::CONTAINER_NAME,
    name::GRACE_SECONDS,
    name::HARDENED,
    name::HOOKS_ON_ERROR,
    name::HOOK_TIMEOUT,
    name::MANIFEST,
    name::IMAGE_VARIANT,
    name::GIT_NAME,
    name::GIT_EMAIL,
    name::FORWARD_PREFIX,
    name::SYSTEM_HINT,
    name::OFFLINE,
    name::DEBUG,
    name::MODES[0],
    name::MODES[1],
    name::MODES[2],
    name::MODE_LOCAL,
    name::IDLE_EXIT_SECONDS,
    name::HOST_SETTINGS,
    name::TELEGRAM_BOT_TOKEN,
    name::TELEGRAM_CONFIG,
    name::TELEGRAM_API_URL,
    name::MODE_CRON_FILE,
    name::MODE_CRON_HISTORY_DIR,
    name::MODE_API_PORT,
    name::MODE_API_BIND,
    name::MODE_API_TOKEN,
    name::MODE_API_TOKENS_FILE,
    name::MODE_API_HOSTS,
    name::MODE_API_ORIGINS,
    name::MODE_API_MAX_BODY_MB,
    name::MODE_API_MAX_UPLOAD_MB,
    name::MODE_API_MAX_CONNECTIONS,
    name::OPENAI_MODELS,
    name::MAX_RUNS,
    name::MAX_QUEUED,
    name::RUN_TIMEOUT_SECONDS,
    name::RUN_SILENCE_SECONDS,
    name::BACKGROUND_SECONDS,
    name::MAX_MEM,
    name::MAX_COST_PER_RUN,
    name::MAX_COST_PER_DAY,
    name::RUNS_KEEP_DAYS,
    name::RUNS_KEEP_MB,
    name::FETCH_ALLOW,
    name::WEBHOOK_SECRET,
    name::LOG_FORMAT,
    name::LOG_TIME,
    name::CLAUDE_MD,
    name::RUN_ID,
    name::WATCHED,
    name::CALL_VARIABLES,
    name::RESTARTS,
];
/// What an orchestrator sets for a service that is called claudebox, and what the tests of this project set.
const OTHERS: [&str; 3] = ["SERVICE_", "PORT", "TEST_"];

/// What to say of each name that is no setting.
#[must_use]
pub fn complaints(env: &impl Environment) -> Vec<String> {
    let names = env.names();
    let ours = names.iter().filter(|name| name.strip_prefix(PREFIX).is_some_and(|rest| !is_others(rest)));
    let accepted: Vec<String> = SETTINGS.iter().flat_map(|setting| spellings(setting)).collect();
    let is_setting = |found: &str| accepted.iter().any(|name| name == found) || found.starts_with(name::FORWARD_PREFIX);
    ours.filter(|found| !is_setting(found)).map(|found| complaint(found)).collect()
}

fn is_others(rest: &str) -> bool {
    OTHERS.iter().any(|other| rest.starts_with(other))
}

fn complaint(found: &str) -> String {
    let distance = |setting: &&str| strsim::damerau_levenshtein(found, setting);
    match SETTINGS.into_iter().min_by_key(distance).filter(|near| distance(near) <= found.len() / 5) {
        Some(near) => format!("{found} is no setting and does nothing: is {near} meant?"),
        None => format!("{found} is no setting and does nothing (docs/settings.md lists them)"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashMap};
    use std::ffi::OsString;

    use super::*;

    fn said_of(names: &[&str]) -> Vec<String> {
        let env: HashMap<String, OsString> = names.iter().map(|&name| (name.to_owned(), "1".into())).collect();
        complaints(&env)
    }

    #[test]
    fn every_setting_is_known() {
        let source = include_str!("mod.rs");
        let (_, names) = source.split_once("pub mod name {").unwrap();
        let (names, _) = names.split_once("\n}\n").unwrap();
        let in_source: BTreeSet<&str> = names.split('"').filter(|text| text.starts_with(PREFIX)).collect();
        assert_eq!(in_source, SETTINGS.into_iter().collect());
        assert_eq!(said_of(&SETTINGS), [""; 0]);
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
