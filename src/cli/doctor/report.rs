//! What the doctor found, and how it is printed.

use serde::Serialize;

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    /// What was looked at; stable, for programs.
    name: &'static str,
    /// How it is.
    pub(super) state: CheckState,
    /// What was found.
    found: String,
    /// What to do about it, if something is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

/// How a thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum CheckState {
    /// As it should be.
    Ok,
    /// It works, and may surprise.
    Note,
    /// It does not work.
    Wrong,
}

impl Check {
    pub(super) fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, state: CheckState::Ok, found: found.into(), remedy: None }
    }

    pub(super) fn note(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, state: CheckState::Note, found: found.into(), remedy: None }
    }

    pub(super) fn wrong(name: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name, state: CheckState::Wrong, found: found.into(), remedy: Some(remedy.into()) }
    }
}

pub(super) fn as_json(checks: &[Check], healthy: bool) -> String {
    format!("{}\n", serde_json::json!({"healthy": healthy, "checks": checks}))
}

pub(super) fn as_lines(checks: &[Check], colours: bool) -> String {
    let paint = |code: &str, text: &str| if colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() };
    let mut lines = Vec::new();
    for Check { name, state, found, remedy } in checks {
        let mark = match state {
            CheckState::Ok => paint("32", "ok   "),
            CheckState::Note => paint("33", "note "),
            CheckState::Wrong => paint("1;31", "WRONG"),
        };
        lines.push(format!("{mark}  {name:<12}  {found}"));
        lines.extend(remedy.iter().map(|remedy| format!("                     -> {remedy}")));
    }
    lines.push(match checks.iter().filter(|check| check.state == CheckState::Wrong).count() {
        0 => "This box is healthy.".to_owned(),
        1 => "One thing is wrong with this box.".to_owned(),
        count => format!("{count} things are wrong with this box."),
    });
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checks() -> Vec<Check> {
        vec![Check::ok("user", "claude"), Check::note("docker", "not mounted"), Check::wrong("disk", "full", "tidy up")]
    }

    #[test]
    fn lines_name_the_fault_and_the_way_out() {
        let expected = "ok     user          claude\nnote   docker        not mounted\nWRONG  disk          full\n                     \
                        -> tidy up\nOne thing is wrong with this box.\n";
        assert_eq!(as_lines(&checks(), false), expected);
    }

    #[test]
    fn json_has_stable_names() {
        let json: serde_json::Value = serde_json::from_str(&as_json(&checks(), false)).unwrap();
        assert_eq!(json["healthy"], false);
        assert_eq!(
            json["checks"][2],
            serde_json::json!({"name": "disk", "state": "wrong", "found": "full", "remedy": "tidy up"})
        );
    }
}
