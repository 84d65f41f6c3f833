//! Which model a session goes on with, where nobody names one.
//!
//! The CLI goes on with the model that the session was last answered by, so one prompt with `--model haiku` would decide for all
//! later ones. A prompt gets the default again, as a fresh session does: by the CLI's own order, except that `--model default` alone
//! would pass over what the settings say.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::config::environment::Environment;
use crate::plain_file;

const VARIABLE: &str = "ANTHROPIC_MODEL";
/// The CLI's word for what the account has without a choice.
const DEFAULT: &str = "default";
/// No settings are longer.
const LONGEST_BYTES: u64 = 1024 * 1024;
const OF_THE_ORGANIZATION: &str = "/etc/claude-code/managed-settings.json";

/// The model to name for a session that goes on. `None`: the CLI finds it, in the environment. `of_command_line` is the value of its
/// `--settings`.
pub fn of_resumed(
    of_command_line: &str,
    workspace: &Path,
    config_dir: &Path,
    env: &impl Environment,
) -> Option<String> {
    if env.get(VARIABLE).is_some_and(|model| !model.is_empty()) {
        return None;
    }
    let project = workspace.join(".claude");
    // Those of the project are Claude's to write.
    let file = |path: PathBuf| String::from_utf8(plain_file::read(&path, LONGEST_BYTES).ok()?).ok();
    let texts = [
        file(OF_THE_ORGANIZATION.into()),
        Some(of_command_line.to_owned()),
        file(project.join("settings.local.json")),
        file(project.join("settings.json")),
        file(config_dir.join("settings.json")),
    ];
    let texts = texts.into_iter().flatten();
    let settings: Vec<Value> = texts.filter_map(|text| serde_json::from_str(&text).ok()).collect();
    if settings.iter().any(|settings| settings["env"][VARIABLE].as_str().is_some_and(|model| !model.is_empty())) {
        return None;
    }
    let named = settings.iter().find_map(|settings| settings["model"].as_str().filter(|model| !model.is_empty()));
    Some(named.unwrap_or(DEFAULT).to_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::ffi::OsString;
    use std::fs;

    use super::*;

    #[test]
    fn a_session_goes_on_with_what_a_fresh_one_would_have() {
        let folder = tempfile::tempdir().unwrap();
        let (workspace, config_dir) = (folder.path().join("work"), folder.path().join("home"));
        fs::create_dir_all(workspace.join(".claude")).unwrap();
        fs::create_dir(&config_dir).unwrap();
        let none: HashMap<String, OsString> = HashMap::new();
        let model = |given: &str| of_resumed(given, &workspace, &config_dir, &none);
        assert_eq!(model("{}").as_deref(), Some("default"));
        fs::write(config_dir.join("settings.json"), r#"{"model":"sonnet"}"#).unwrap();
        assert_eq!(model("{}").as_deref(), Some("sonnet"));
        fs::write(workspace.join(".claude/settings.json"), r#"{"model":"opus"}"#).unwrap();
        assert_eq!(model("{}").as_deref(), Some("opus"));
        assert_eq!(model(r#"{"model":"haiku"}"#).as_deref(), Some("haiku"));
        // Not the CLI's business, and not ours.
        fs::write(workspace.join(".claude/settings.local.json"), "{").unwrap();
        assert_eq!(model("{}").as_deref(), Some("opus"));
        assert_eq!(model(r#"{"env":{"ANTHROPIC_MODEL":"x"}}"#), None);
        // A pipe of an agent's must not hold up the next run.
        let local = workspace.join(".claude/settings.local.json");
        fs::remove_file(&local).unwrap();
        nix::unistd::mkfifo(&local, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(model("{}").as_deref(), Some("opus"));
        let env: HashMap<String, OsString> = [("ANTHROPIC_MODEL".to_owned(), "x".into())].into();
        assert_eq!(of_resumed("{}", &workspace, &config_dir, &env), None);
    }
}
