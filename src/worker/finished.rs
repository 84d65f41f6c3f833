//! A run that has ended: what it comes to, for a program, a person and the shell.

use std::path::PathBuf;

use serde_json::{Value, json};
use uuid::Uuid;

use super::output::{Ending, ended_by};
use super::process::CliEnd;
use crate::claude::arguments::OutputFormat;
use crate::claude::background;
use crate::claude::outcome::{Intervention, Outcome};
use crate::claude::sessions::Was;
use crate::claude::transcript::{ProcessEnd, Transcript};
use crate::exit_code::ExitCode;
use crate::process::status::ChildStatus;

/// A run that has ended, and every process of it.
#[derive(Debug)]
pub struct Finished {
    /// Its id, which its processes carried in their environment.
    pub run_id: Uuid,
    /// Where it worked.
    pub workspace: PathBuf,
    /// What it said.
    pub transcript: Transcript,
    /// How its process ended.
    pub ended: CliEnd,
    /// How it ended.
    pub outcome: Outcome,
    /// Whether the offline model answered.
    pub offline: bool,
    /// What the broker has seen it cost, US dollars.
    pub cost_usd: Option<f64>,
    pub(super) schema: bool,
}

impl Finished {
    /// The exit code of a process that carried it out. A CLI that could not be started is 126 or 127, as in a shell.
    pub fn exit_code(&self) -> ExitCode {
        match (&self.outcome, self.ended.status) {
            (Outcome::Truncated, ChildStatus::Exited(code @ (126 | 127))) => ExitCode::Child(code),
            (outcome, _) => outcome.exit_code(),
        }
    }

    /// The facts about its end.
    pub fn end(&self) -> ProcessEnd<'_> {
        end_of(&self.ended, self.schema)
    }

    /// What is printed of it in `format`.
    pub(super) fn ending(&self, format: OutputFormat) -> Ending {
        let mut envelope = self.envelope();
        if format == OutputFormat::JsonVerbose {
            self.transcript.add_details(&mut envelope);
        }
        Ending { outcome: self.outcome, envelope, has_result: self.transcript.settled() }
    }

    /// The session that it was in.
    pub fn was(&self) -> Was {
        let said = self.transcript.session_id().filter(|_| self.outcome != Outcome::SessionNotFound);
        said.map_or(Was::Nowhere, |id| Was::In(id.to_owned()))
    }

    /// The run as one JSON object.
    pub(super) fn envelope(&self) -> Value {
        let mut envelope = self.transcript.envelope(&self.outcome, &self.end());
        // The CLI said nothing of it.
        if says_nothing(&envelope["errors"]) {
            envelope["errors"] = self.complaint().into_iter().collect();
        }
        envelope["runId"] = self.run_id.to_string().into();
        envelope["workspace"] = json!(self.workspace);
        // A CLI that was cut has not said it.
        if let Some(cost) = self.cost_usd.filter(|cost| *cost > 0.0 && envelope["totalCostUsd"].is_null()) {
            envelope["totalCostUsd"] = cost.into();
        }
        if self.offline {
            envelope["offline"] = true.into();
        }
        envelope["leftoverProcesses"] = self.ended.leftovers.into();
        envelope
    }

    /// One line for a person about background work that was ended with the run. `None`: there was none.
    pub fn notice(&self) -> Option<String> {
        background::notice(self.transcript.background_ended()?)
    }

    /// One line for a person: what went wrong and what to do. `None` if nothing did.
    pub fn complaint(&self) -> Option<String> {
        let said = self.transcript.error_text(&self.ended.stderr);
        let line = match &self.outcome {
            Outcome::Ok => return None,
            Outcome::ModelError => format!("the model or its API reported an error: {said}"),
            Outcome::RateLimited { resets_at: Some(at) } => {
                format!("rate limited until {at} (seconds since 1970; `date -d @{at}` shows it): {said}")
            }
            Outcome::RateLimited { resets_at: None } => format!("rate limited, try again later: {said}"),
            Outcome::Auth => {
                let said = if said.is_empty() { "the API refused them" } else { &said };
                format!(
                    "no usable credentials ({said}): set ANTHROPIC_API_KEY or CLAUDE_CODE_OAUTH_TOKEN, or sign in \
                     with `claudebox auth login`"
                )
            }
            Outcome::Budget if self.ended.intervention == Some(Intervention::OverBudget) => {
                "stopped: what it may cost (--max-budget-usd, or what is left of a day's limit) is used up".to_owned()
            }
            Outcome::Budget => format!("stopped at --max-budget-usd: {said}"),
            Outcome::MaxTurns => format!("stopped at --max-turns: {said}"),
            Outcome::SchemaMissed => {
                let why = self.transcript.schema_errors();
                let why = if why.is_empty() { why } else { format!(": {why}") };
                format!("the answer does not follow --json-schema{why}")
            }
            Outcome::SessionNotFound => {
                format!("{said}; leave --resume out to continue this workspace's last session")
            }
            Outcome::Killed { signal } => ended_by(*signal),
            Outcome::Hung { silent: false } => "no result in the time --timeout allows; the run was ended".to_owned(),
            Outcome::Hung { silent: true } => {
                "no sign of life for too long while no tool ran; the run was ended".to_owned()
            }
            Outcome::Oom => {
                "out of memory: the run took more than CLAUDEBOX_MAX_MEM or the container allows; raise the limit, \
                             or ask for less at once"
                    .to_owned()
            }
            Outcome::Truncated => format!("the CLI {} without a result: {said}", self.ended.status),
        };
        // It may quote a page of standard error.
        Some(line.lines().map(str::trim).filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" | "))
    }
}

/// The facts about the end of a CLI that was asked for an answer by a schema, or not.
pub(super) fn end_of(ended: &CliEnd, schema: bool) -> ProcessEnd<'_> {
    ProcessEnd { status: ended.status, stderr: &ended.stderr, intervention: ended.intervention, schema }
}

/// Whether errors are there and all of them are empty.
fn says_nothing(errors: &Value) -> bool {
    let is_empty = |error: &Value| error.as_str().is_some_and(|text| text.trim().is_empty());
    errors.as_array().is_some_and(|errors| !errors.is_empty() && errors.iter().all(is_empty))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(json!([""]), true)]
    #[case(json!(["", " \n"]), true)]
    #[case(json!(["", "why"]), false)]
    #[case(json!([]), false)]
    #[case(Value::Null, false)]
    fn errors_without_words_say_nothing(#[case] errors: Value, #[case] nothing: bool) {
        assert_eq!(says_nothing(&errors), nothing);
    }
}
