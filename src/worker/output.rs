//! What is printed of a run, in each format.

use std::io::{self, Write};

use serde_json::Value;
use signal_hook::low_level::signal_name;

use crate::claude::arguments::OutputFormat;
use crate::claude::envelope;
use crate::claude::event::{Event, Kind};
use crate::claude::outcome::Outcome;

/// Who hears of a run's events as they come.
pub trait Audience {
    /// Takes an event. An error means that nobody listens any more.
    fn event(&mut self, event: &Event) -> io::Result<()>;
    /// Forgets the attempt whose session did not exist.
    fn forget(&mut self);
    /// Processes are left that somebody with more rights has to end.
    fn stuck(&mut self) {}
}

/// What is printed of a run's end.
#[derive(Debug)]
pub struct Ending {
    /// How it ended.
    pub outcome: Outcome,
    /// The run as one JSON object.
    pub envelope: Value,
    /// Whether the CLI's own result was among the events.
    pub has_result: bool,
}

/// Prints a run as it goes.
pub struct Printer<W> {
    out: W,
    format: OutputFormat,
    /// Events before the session is known to exist: if it does not, a fresh one is tried and these are dropped.
    held: Vec<Value>,
    begun: bool,
    /// Whether a person watches standard error.
    is_watched: bool,
}

impl<W: Write> Printer<W> {
    /// A printer of `format` to `out`. `is_watched`: a person reads standard error meanwhile.
    pub const fn new(out: W, format: OutputFormat, is_watched: bool) -> Self {
        Self { out, format, held: Vec::new(), begun: false, is_watched }
    }

    /// Prints what is left to print: the answer, or the result as one object. Errors go to standard error, in words.
    pub fn finish(&mut self, ending: &Ending) -> io::Result<()> {
        self.flush()?;
        match self.format {
            OutputFormat::Text => {
                if matches!(ending.outcome, Outcome::Ok | Outcome::SchemaMissed) {
                    writeln!(self.out, "{}", ending.envelope["result"].as_str().unwrap_or_default())?;
                }
            }
            OutputFormat::Json | OutputFormat::JsonVerbose => writeln!(self.out, "{}", ending.envelope)?,
            // A consumer must not have to guess why the stream ended.
            OutputFormat::StreamJson if !ending.has_result => writeln!(self.out, "{}", ending.envelope)?,
            OutputFormat::StreamJson => {}
        }
        self.out.flush()
    }

    /// Prints an event of a run that somebody else carries out, if the format is a stream of events.
    pub fn relay(&mut self, event: &Value) -> io::Result<()> {
        if let (true, Some(notice)) = (self.is_watched, retry_notice(event)) {
            tracing::info!("{notice}");
        }
        if self.format != OutputFormat::StreamJson {
            return Ok(());
        }
        writeln!(self.out, "{event}")?;
        self.out.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        for event in self.held.drain(..) {
            writeln!(self.out, "{event}")?;
        }
        self.out.flush()
    }
}

impl<W: Write> Audience for Printer<W> {
    /// Prints it, if the format is a stream of events.
    fn event(&mut self, event: &Event) -> io::Result<()> {
        if self.is_watched
            && matches!(event.kind(), Kind::ApiRetry { .. })
            && let Some(notice) = retry_notice(&envelope::camel_case(event.json()))
        {
            tracing::info!("{notice}");
        }
        if self.format != OutputFormat::StreamJson {
            return Ok(());
        }
        self.held.push(envelope::camel_case(event.json()));
        self.begun |= event.kind() == Kind::Init;
        if self.begun { self.flush() } else { Ok(()) }
    }

    fn forget(&mut self) {
        self.held.clear();
        self.begun = false;
    }
}

/// What a person who waits is told when the API has failed and the CLI is about to ask it again; it does so for minutes.
fn retry_notice(event: &Value) -> Option<String> {
    if event["type"] != "system" || event["subtype"] != "api_retry" {
        return None;
    }
    let number = |name: &str| event[name].as_u64();
    let what = match number("errorStatus") {
        Some(401 | 403) => "the API refuses the credentials".to_owned(),
        Some(429) => "rate limited".to_owned(),
        Some(529) => "the API is overloaded".to_owned(),
        Some(status) => format!("the API answers with error {status}"),
        None => "the API cannot be reached".to_owned(),
    };
    let pause = number("retryDelayMs").map(|delay| delay.div_ceil(1000)).unwrap_or_default();
    let pause = if pause > 1 { format!(" in {pause} s") } else { String::new() };
    let count = match (number("attempt"), number("maxRetries")) {
        (Some(attempt), Some(most)) => format!(" ({attempt} of {most})"),
        _ => String::new(),
    };
    Some(format!("{what}, trying again{pause}{count}; Ctrl-C stops"))
}

/// The complaint about a run that this signal ended.
pub fn ended_by(signal: Option<i32>) -> String {
    format!("ended by {}", signal.and_then(signal_name).unwrap_or("a signal"))
}

/// Tells a person what went wrong. Whoever has pressed Ctrl-C knows it, and is told that it was heard.
pub fn tell(complaint: &str, outcome: Outcome) {
    if outcome == (Outcome::Killed { signal: Some(libc::SIGINT) }) {
        tracing::info!("stopped");
    } else {
        tracing::error!("{complaint}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    #[rstest]
    #[case(json!({"errorStatus": 429, "attempt": 3, "maxRetries": 10, "retryDelayMs": 4100}), "rate limited, trying again in 5 s (3 of 10); Ctrl-C stops")]
    #[case(json!({"errorStatus": 529, "attempt": 1, "maxRetries": 10, "retryDelayMs": 500}), "the API is overloaded, trying again (1 of 10); Ctrl-C stops")]
    #[case(json!({"errorStatus": 500, "attempt": 1}), "the API answers with error 500, trying again; Ctrl-C stops")]
    #[case(json!({"errorStatus": null}), "the API cannot be reached, trying again; Ctrl-C stops")]
    fn a_retry_is_told(#[case] mut event: Value, #[case] told: &str) {
        assert_eq!(retry_notice(&event), None);
        event["type"] = "system".into();
        event["subtype"] = "api_retry".into();
        assert_eq!(retry_notice(&event).as_deref(), Some(told));
    }
}
