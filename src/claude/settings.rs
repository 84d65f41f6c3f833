//! Settings that every CLI gets on its command line: they win over those of the user and of a repository.

use serde_json::{Map, Value, json};

use crate::config::environment::Environment;
use crate::config::offline;

/// The value of `--settings` for a CLI that is started in the environment `env`; `offline`: the offline model answers.
///
/// A session takes no messages of other sessions in the box: each would start a turn of its own, on this one's account.
/// The question whether all permissions may be skipped is answered here and not in the user's settings file, which the
/// CLI on the host may read too.
/// The settings files of the user and of a cloned repository may hold an `env` that the CLI prefers to its own environment. Offline
/// these may lead to no other API, so what leads to the offline model is said here once more.
#[must_use]
pub fn of_command_line(offline: bool, env: &impl Environment) -> String {
    let mut settings = json!({"crossSessionInbound": "refuse", "skipDangerousModePermissionPrompt": true});
    if offline {
        let mut pinned = Map::new();
        for name in offline::pinned() {
            let value = env.get(name).and_then(|value| value.into_string().ok()).unwrap_or_default();
            pinned.insert(name.to_owned(), Value::String(value));
        }
        settings["env"] = Value::Object(pinned);
    }
    settings.to_string()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::ffi::OsString;

    use super::*;

    #[test]
    fn offline_pins_every_variable_that_could_lead_elsewhere() {
        let env: HashMap<String, OsString> =
            [("ANTHROPIC_BASE_URL".to_owned(), "http://127.0.0.1:1".into()), ("HTTPS_PROXY".to_owned(), "p".into())]
                .into();
        let settings: Value = serde_json::from_str(&of_command_line(true, &env)).unwrap();
        assert_eq!(settings["env"]["ANTHROPIC_BASE_URL"], "http://127.0.0.1:1");
        assert_eq!(settings["env"]["ANTHROPIC_AUTH_TOKEN"], "");
        assert_eq!(settings["env"]["CLAUDE_CODE_USE_BEDROCK"], "");
        assert_eq!(settings["crossSessionInbound"], "refuse");
    }

    #[test]
    fn online_the_users_own_environment_stays() {
        let settings: Value = serde_json::from_str(&of_command_line(false, &HashMap::new())).unwrap();
        assert_eq!(settings, json!({"crossSessionInbound": "refuse", "skipDangerousModePermissionPrompt": true}));
    }
}
