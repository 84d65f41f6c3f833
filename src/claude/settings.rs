//! Settings that every CLI gets on its command line: they win over those of the user and of a repository.

use serde_json::{Map, Value};

use crate::config::environment::Environment;
use crate::config::offline;

/// Settings of the user's command line that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("--settings {given} cannot be used: {why}; it takes a file that holds a JSON object, or the object itself")]
pub struct SettingsError {
    given: String,
    why: String,
}

/// The value of `--settings` for a CLI that is started in the environment `env`; `offline`: the offline model answers. `more`
/// is what the user's command line gives, a file or JSON: the CLI takes the option once, so the two become one.
///
/// A session takes no messages of other sessions in the box: each would start a turn of its own, on this one's account.
/// The question whether all permissions may be skipped is answered here and not in the user's settings file, which the
/// CLI on the host may read too.
/// The settings files of the user and of a cloned repository may hold an `env` that the CLI prefers to its own environment. Offline
/// these may lead to no other API, so what leads to the offline model is said here once more.
pub fn of_command_line(offline: bool, env: &impl Environment, more: Option<&str>) -> Result<String, SettingsError> {
    let mut settings = more.map_or_else(|| Ok(Map::new()), read)?;
    settings.insert("crossSessionInbound".into(), "refuse".into());
    settings.insert("skipDangerousModePermissionPrompt".into(), true.into());
    if offline {
        let mut pinned = match settings.remove("env") {
            Some(Value::Object(more)) => more,
            _ => Map::new(),
        };
        for name in offline::pinned() {
            let value = env.get(name).and_then(|value| value.into_string().ok()).unwrap_or_default();
            pinned.insert(name.to_owned(), Value::String(value));
        }
        settings.insert("env".into(), Value::Object(pinned));
    }
    Ok(Value::Object(settings).to_string())
}

fn read(given: &str) -> Result<Map<String, Value>, SettingsError> {
    let is_object = given.trim_start().starts_with('{');
    // Of JSON no more than its form: it may hold a key.
    let unusable = |why: String| SettingsError { given: if is_object { "{...}".into() } else { given.into() }, why };
    let text = if is_object { Ok(given.to_owned()) } else { std::fs::read_to_string(given) };
    let text = text.map_err(|error| unusable(error.to_string()))?;
    serde_json::from_str(&text).map_err(|error| unusable(error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::ffi::OsString;

    use serde_json::json;

    use super::*;

    #[test]
    fn settings_of_the_user_are_beside_ours_and_ours_win() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("settings.json");
        std::fs::write(&file, r#"{"model":"haiku","env":{"A":"1","ANTHROPIC_BASE_URL":"http://other"}}"#).unwrap();
        let env: HashMap<String, OsString> = [("ANTHROPIC_BASE_URL".to_owned(), "http://127.0.0.1:1".into())].into();
        let merged = of_command_line(true, &env, file.to_str()).unwrap();
        let merged: Value = serde_json::from_str(&merged).unwrap();
        assert_eq!((&merged["model"], &merged["env"]["A"]), (&"haiku".into(), &"1".into()));
        assert_eq!(merged["env"]["ANTHROPIC_BASE_URL"], "http://127.0.0.1:1");
        let merged = of_command_line(false, &env, Some(r#" {"crossSessionInbound":"allow","x":1}"#)).unwrap();
        let ours = json!({"crossSessionInbound": "refuse", "skipDangerousModePermissionPrompt": true, "x": 1});
        assert_eq!(serde_json::from_str::<Value>(&merged).unwrap(), ours);
    }

    #[test]
    fn settings_that_cannot_be_read_are_named_and_never_quoted() {
        let error = |given| of_command_line(false, &HashMap::new(), Some(given)).unwrap_err().to_string();
        assert!(
            error("/nowhere/settings.json").contains("/nowhere/settings.json"),
            "{}",
            error("/nowhere/settings.json")
        );
        assert!(!error(r#"{"apiKey":"sk-secret""#).contains("sk-secret"));
    }

    #[test]
    fn offline_pins_every_variable_that_could_lead_elsewhere() {
        let env: HashMap<String, OsString> =
            [("ANTHROPIC_BASE_URL".to_owned(), "http://127.0.0.1:1".into()), ("HTTPS_PROXY".to_owned(), "p".into())]
                .into();
        let settings: Value = serde_json::from_str(&of_command_line(true, &env, None).unwrap()).unwrap();
        assert_eq!(settings["env"]["ANTHROPIC_BASE_URL"], "http://127.0.0.1:1");
        assert_eq!(settings["env"]["ANTHROPIC_AUTH_TOKEN"], "");
        assert_eq!(settings["env"]["CLAUDE_CODE_USE_BEDROCK"], "");
        assert_eq!(settings["crossSessionInbound"], "refuse");
    }

    #[test]
    fn online_the_users_own_environment_stays() {
        let settings: Value = serde_json::from_str(&of_command_line(false, &HashMap::new(), None).unwrap()).unwrap();
        assert_eq!(settings, json!({"crossSessionInbound": "refuse", "skipDangerousModePermissionPrompt": true}));
    }
}
