//! How a run ended.
//!
//! Success is a last `result` event with `is_error: false`, and with a schema also `structured_output`. Never the exit
//! code of the CLI, which is 0 after an interrupt, and never `subtype`, which is "success" next to an API error.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::exit_code::ExitCode;
use crate::process::status::ChildStatus;

/// How a run ended.
///
/// As JSON it is what two processes of the same claudebox say to each other. Everybody else gets its [`name`](Self::name).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The answer is there.
    Ok,
    /// The model or its API reported an error.
    ModelError,
    /// Over a rate limit; when it resets, in seconds since 1970, if the API said so.
    RateLimited {
        /// Seconds since 1970.
        resets_at: Option<u64>,
    },
    /// No credentials, or refused ones.
    Auth,
    /// Stopped at the budget.
    Budget,
    /// Stopped at the turn limit.
    MaxTurns,
    /// The answer does not follow the schema.
    SchemaMissed,
    /// There is no such session.
    SessionNotFound,
    /// Ended by a signal: a cancel, a shutdown, or somebody's kill. The signal, if it is known.
    Killed {
        /// Signal number.
        signal: Option<i32>,
    },
    /// No result in the time allowed, or no sign of life for too long.
    Hung {
        /// Whether it was the silence.
        silent: bool,
    },
    /// It took more memory than it may, or than there is.
    Oom,
    /// The CLI ended by itself without a result.
    Truncated,
}

/// Why claudebox itself ended the CLI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intervention {
    /// It was told to, with this signal.
    Cancelled(i32),
    /// The time allowed was over.
    TimedOut,
    /// It said nothing for too long, and no tool was running.
    Silent,
    /// What it may cost was used up.
    OverBudget,
    /// The API kept refusing the credentials.
    AuthRefused,
    /// It took too much memory: over its limit, or the kernel ended it.
    OutOfMemory,
}

/// A rate limit that refused a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimitHit {
    /// When the limit resets, in seconds since 1970, if the API said so.
    pub resets_at: Option<u64>,
}

/// Everything that decides an outcome.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'run> {
    /// The last `result` event, if nothing that was to change the answer was left.
    pub result: Option<&'run Value>,
    /// Whether the run had to follow a JSON Schema.
    pub schema: bool,
    /// The `error` of the last assistant event that had one.
    pub error: Option<&'run str>,
    /// The last rate limit that refused a request.
    pub refusal: Option<RateLimitHit>,
    /// Whether the CLI noted that it was interrupted.
    pub interrupted: bool,
    /// How its process ended.
    pub status: ChildStatus,
    /// What it wrote to standard error.
    pub stderr: &'run str,
    /// Why claudebox ended it, if it did.
    pub intervention: Option<Intervention>,
}

impl Outcome {
    /// Decides how a run ended.
    #[must_use]
    pub fn decide(evidence: &Evidence<'_>) -> Self {
        match evidence.result {
            // A turn that was cut for another message says no error, and has no answer.
            Some(result) if result["is_error"] == false && !was_aborted(result) => {
                Self::of_answer(result, evidence.schema)
            }
            Some(result) => Self::of_error(result, evidence),
            None => Self::without_result(evidence),
        }
    }

    fn of_answer(result: &Value, schema: bool) -> Self {
        // Null can be what a schema asks for: an answer that missed it has no such field (`Schema::settle`).
        if schema && result.get("structured_output").is_none() { Self::SchemaMissed } else { Self::Ok }
    }

    fn of_error(result: &Value, evidence: &Evidence<'_>) -> Self {
        match result["subtype"].as_str().unwrap_or_default() {
            "error_max_budget_usd" => return Self::Budget,
            "error_max_turns" => return Self::MaxTurns,
            "error_max_structured_output_retries" => return Self::SchemaMissed,
            _ => {}
        }
        if let Some(outcome) = evidence.intervention.map(Self::of_intervention) {
            return outcome;
        }
        if was_aborted(result) {
            return Self::Killed { signal: None };
        }
        match (result["api_error_status"].as_u64(), evidence.error) {
            (Some(401 | 403), _) | (_, Some("authentication_failed" | "oauth_org_not_allowed")) => Self::Auth,
            (Some(429), _) | (_, Some("rate_limit")) => {
                Self::RateLimited { resets_at: evidence.refusal.and_then(|refusal| refusal.resets_at) }
            }
            _ if let Some(RateLimitHit { resets_at }) = evidence.refusal => Self::RateLimited { resets_at },
            _ if error_texts(result).any(is_session_not_found) => Self::SessionNotFound,
            _ => Self::ModelError,
        }
    }

    fn without_result(evidence: &Evidence<'_>) -> Self {
        if let Some(outcome) = evidence.intervention.map(Self::of_intervention) {
            return outcome;
        }
        match evidence.status {
            ChildStatus::Signaled(signal) => Self::Killed { signal: Some(signal) },
            // The CLI handles these signals and exits with the shell's code for them.
            ChildStatus::Exited(code @ (129 | 130 | 143)) => Self::Killed { signal: Some(i32::from(code) - 128) },
            _ if evidence.interrupted => Self::Killed { signal: Some(libc::SIGINT) },
            _ if is_session_not_found(evidence.stderr) => Self::SessionNotFound,
            _ => Self::Truncated,
        }
    }

    const fn of_intervention(intervention: Intervention) -> Self {
        match intervention {
            Intervention::Cancelled(signal) => Self::Killed { signal: Some(signal) },
            Intervention::TimedOut => Self::Hung { silent: false },
            Intervention::Silent => Self::Hung { silent: true },
            Intervention::OverBudget => Self::Budget,
            Intervention::AuthRefused => Self::Auth,
            Intervention::OutOfMemory => Self::Oom,
        }
    }

    /// The outcome of this name, with what only some have as an envelope has it: `resetsAt`, `signal`, `hungBecause`.
    pub fn from_envelope(name: &str, envelope: &Value) -> Option<Self> {
        let signal = envelope["signal"].as_i64().and_then(|signal| i32::try_from(signal).ok());
        let all = [
            Self::Ok,
            Self::ModelError,
            Self::RateLimited { resets_at: envelope["resetsAt"].as_u64() },
            Self::Auth,
            Self::Budget,
            Self::MaxTurns,
            Self::SchemaMissed,
            Self::SessionNotFound,
            Self::Killed { signal },
            Self::Hung { silent: envelope["hungBecause"] == "silence" },
            Self::Oom,
            Self::Truncated,
        ];
        all.into_iter().find(|outcome| outcome.name() == name)
    }

    /// When the rate limit resets that ended the run, in seconds since 1970.
    pub const fn resets_at(self) -> Option<u64> {
        match self {
            Self::RateLimited { resets_at } => resets_at,
            _ => None,
        }
    }

    /// Its stable name in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::ModelError => "model_error",
            Self::RateLimited { .. } => "rate_limited",
            Self::Auth => "auth",
            Self::Budget => "budget",
            Self::MaxTurns => "max_turns",
            Self::SchemaMissed => "schema_missed",
            Self::SessionNotFound => "session_not_found",
            Self::Killed { .. } => "killed",
            Self::Hung { .. } => "hung",
            Self::Oom => "oom",
            Self::Truncated => "truncated",
        }
    }

    /// The exit code of a process whose run ended so.
    pub fn exit_code(self) -> ExitCode {
        match self {
            Self::Ok => ExitCode::Ok,
            Self::ModelError => ExitCode::Failure,
            Self::RateLimited { .. } => ExitCode::RateLimited,
            Self::Auth => ExitCode::Auth,
            Self::Budget => ExitCode::Budget,
            Self::MaxTurns => ExitCode::MaxTurns,
            Self::SchemaMissed => ExitCode::SchemaMissed,
            Self::SessionNotFound => ExitCode::SessionNotFound,
            Self::Killed { signal } => ExitCode::from_signal(signal.unwrap_or(libc::SIGTERM)),
            Self::Hung { .. } => ExitCode::Hung,
            Self::Oom => ExitCode::from_signal(libc::SIGKILL),
            Self::Truncated => ExitCode::Truncated,
        }
    }
}

/// An outcome in a note of a door: its name, and nothing of what only some have.
pub mod by_name {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use serde_json::Value;

    use super::Outcome;

    /// Writes the name.
    pub fn serialize<S: Serializer>(outcome: &Option<Outcome>, serializer: S) -> Result<S::Ok, S::Error> {
        outcome.map(Outcome::name).serialize(serializer)
    }

    /// Reads a name. One that is not known is a later version's: it is no outcome here.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Outcome>, D::Error> {
        let name = Option::<String>::deserialize(deserializer)?;
        Ok(name.and_then(|name| Outcome::from_envelope(&name, &Value::Null)))
    }
}

fn was_aborted(result: &Value) -> bool {
    result["terminal_reason"].as_str().is_some_and(|reason| reason.starts_with("aborted"))
}

/// The texts in which a result says what went wrong.
pub fn error_texts(result: &Value) -> impl Iterator<Item = &str> {
    let errors = result["errors"].as_array().into_iter().flatten();
    errors.chain(std::iter::once(&result["result"])).filter_map(Value::as_str)
}

fn is_session_not_found(text: &str) -> bool {
    text.contains("No conversation found with session ID")
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    fn evidence(result: Option<&Value>) -> Evidence<'_> {
        Evidence {
            result,
            schema: false,
            error: None,
            refusal: None,
            interrupted: false,
            status: ChildStatus::Exited(0),
            stderr: "",
            intervention: None,
        }
    }

    #[test]
    fn subtype_success_next_to_an_error_is_no_success() {
        let result = json!({"subtype": "success", "is_error": true, "api_error_status": 500});
        assert_eq!(Outcome::decide(&evidence(Some(&result))), Outcome::ModelError);
    }

    #[test]
    fn exit_code_zero_without_a_result_is_no_success() {
        assert_eq!(Outcome::decide(&evidence(None)), Outcome::Truncated);
    }

    #[test]
    fn a_result_that_does_not_say_it_is_no_error_is_one() {
        let result = json!({"subtype": "success"});
        assert_eq!(Outcome::decide(&evidence(Some(&result))), Outcome::ModelError);
    }

    #[rstest]
    #[case(json!({"is_error": true, "api_error_status": 401}), Outcome::Auth)]
    #[case(json!({"is_error": true, "api_error_status": 403}), Outcome::Auth)]
    #[case(json!({"is_error": true, "api_error_status": 429}), Outcome::RateLimited { resets_at: None })]
    #[case(json!({"is_error": true, "api_error_status": 529}), Outcome::ModelError)]
    #[case(json!({"is_error": true, "terminal_reason": "aborted_tools"}), Outcome::Killed { signal: None })]
    #[case(json!({"is_error": false, "terminal_reason": "aborted_streaming"}), Outcome::Killed { signal: None })]
    #[case(json!({"is_error": true, "errors": ["No conversation found with session ID: x"]}), Outcome::SessionNotFound)]
    fn errors_are_told_apart(#[case] result: Value, #[case] expected: Outcome) {
        assert_eq!(Outcome::decide(&evidence(Some(&result))), expected);
    }

    #[test]
    fn a_refused_rate_limit_gives_its_reset_time() {
        let result = json!({"is_error": true, "api_error_status": 429});
        let evidence =
            Evidence { refusal: Some(RateLimitHit { resets_at: Some(1_795_479_487) }), ..evidence(Some(&result)) };
        assert_eq!(Outcome::decide(&evidence), Outcome::RateLimited { resets_at: Some(1_795_479_487) });
    }

    #[test]
    fn an_answer_stands_even_if_the_run_was_cancelled_right_after_it() {
        let result = json!({"is_error": false});
        let evidence =
            Evidence { intervention: Some(Intervention::Cancelled(libc::SIGTERM)), ..evidence(Some(&result)) };
        assert_eq!(Outcome::decide(&evidence), Outcome::Ok);
    }

    #[rstest]
    #[case::killed(ChildStatus::Signaled(9), Outcome::Killed { signal: Some(9) }, 137)]
    #[case::term(ChildStatus::Exited(143), Outcome::Killed { signal: Some(15) }, 143)]
    #[case::crash(ChildStatus::Exited(1), Outcome::Truncated, 74)]
    fn without_a_result_the_process_tells(#[case] status: ChildStatus, #[case] outcome: Outcome, #[case] code: u8) {
        let decided = Outcome::decide(&Evidence { status, ..evidence(None) });
        assert_eq!(decided, outcome);
        assert_eq!(decided.exit_code().code(), code);
    }

    #[test]
    fn each_outcome_has_its_own_name_and_code() {
        let all = [
            Outcome::Ok,
            Outcome::ModelError,
            Outcome::RateLimited { resets_at: None },
            Outcome::Auth,
            Outcome::Budget,
            Outcome::MaxTurns,
            Outcome::SchemaMissed,
            Outcome::SessionNotFound,
            Outcome::Killed { signal: None },
            Outcome::Hung { silent: false },
            Outcome::Oom,
            Outcome::Truncated,
        ];
        let mut codes: Vec<u8> = all.iter().map(|outcome| outcome.exit_code().code()).collect();
        let mut names: Vec<&str> = all.iter().copied().map(Outcome::name).collect();
        codes.sort_unstable();
        codes.dedup();
        names.sort_unstable();
        names.dedup();
        assert_eq!((codes.len(), names.len()), (all.len(), all.len()));
    }

    #[rstest]
    #[case(Outcome::RateLimited { resets_at: Some(7) }, json!({"resetsAt": 7}))]
    #[case(Outcome::Killed { signal: Some(9) }, json!({"signal": 9}))]
    #[case(Outcome::Killed { signal: None }, json!({}))]
    #[case(Outcome::Hung { silent: true }, json!({"hungBecause": "silence"}))]
    #[case(Outcome::Hung { silent: false }, json!({"hungBecause": "timeout"}))]
    #[case(Outcome::Ok, json!({}))]
    fn an_outcome_is_told_from_its_name_and_envelope(#[case] outcome: Outcome, #[case] envelope: Value) {
        assert_eq!(Outcome::from_envelope(outcome.name(), &envelope), Some(outcome));
        assert_eq!(Outcome::from_envelope("cancelled", &envelope), None);
    }

    #[test]
    fn a_note_has_the_name_alone_and_one_of_a_later_version_is_none() {
        #[derive(Serialize, Deserialize)]
        struct Note(#[serde(with = "by_name")] Option<Outcome>);
        let note = serde_json::to_value(Note(Some(Outcome::RateLimited { resets_at: Some(7) }))).unwrap();
        assert_eq!(note, json!("rate_limited"));
        assert_eq!(serde_json::from_value::<Note>(note).unwrap().0, Some(Outcome::RateLimited { resets_at: None }));
        for other in [json!(null), json!("melted")] {
            assert_eq!(serde_json::from_value::<Note>(other).unwrap().0, None);
        }
    }
}
