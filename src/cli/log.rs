//! Logs on standard error: lines for people (`claudebox: warning: ...`), or one JSON object per line for programs.
//!
//! What is logged may come from anybody, a path or a name in it: control characters are escaped in both formats, so
//! that no text can forge a line or reach the terminal behind it.
//!
//! A line is written at once. Whoever stops reading standard error stops the process that logs, as with any program. A line
//! that cannot be written (a full disk, a reader that has gone) is lost, and nothing else: no log ends a box.

use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal, Write as _};

use chrono::{SecondsFormat, Utc};
use serde_json::{Map, Number, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::{FmtContext, MakeWriter};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;

use super::failure::Failure;
use crate::config::Config;
use crate::config::environment::Environment;
use crate::config::logs::{LogFormat, LogTime};

/// How a line looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Style {
    /// Text or objects.
    pub format: LogFormat,
    /// Whether a line of text begins with its time.
    pub times: bool,
}

impl Style {
    /// The style of this process; `of_box`: what it says is the log of a box, rather than an answer's standard error.
    #[must_use]
    pub fn of(config: &Config, of_box: bool) -> Self {
        let times = match config.log_time {
            LogTime::Auto => of_box && !config.server_modes.is_empty() && !io::stderr().is_terminal(),
            LogTime::Always => true,
            LogTime::Never => false,
        };
        Self { format: config.log_format, times }
    }

    /// The style of a small process of the box, which has no settings of its own. Its lines are text.
    pub fn of_box(env: &impl Environment) -> Self {
        let style = Config::read(env).map(|config| Self::of(&config, true));
        Self { format: LogFormat::Text, ..style.unwrap_or_default() }
    }
}

/// Starts logging. `debug` adds what only matters when something is wrong.
pub fn start(debug: bool, style: Style) {
    // Already started, by an earlier role of the same process: that one stays.
    let _ = tracing::subscriber::set_global_default(subscriber(debug, style, io::stderr));
}

/// Says why this process fails, as the last thing that it says: in the format of the logs, whether or not they were started.
/// Each reason is a line.
pub fn failed(failure: &Failure, env: &impl Environment) {
    match LogFormat::read(env).unwrap_or_default() {
        LogFormat::Json => {
            let style = Style { format: LogFormat::Json, times: false };
            tracing::subscriber::with_default(subscriber(false, style, io::stderr), || {
                failure.reasons().for_each(|reason| tracing::error!("{reason}"));
            });
        }
        // A log that takes nothing more (a full disk, a reader that has gone) changes no exit code.
        LogFormat::Text => {
            failure.reasons().for_each(|reason| drop(writeln!(io::stderr(), "claudebox: {reason}")));
        }
    }
}

fn subscriber<W>(debug: bool, style: Style, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let level = if debug { Level::DEBUG } else { Level::INFO };
    // It would tell standard error, which is what failed, with a macro that panics where that fails too.
    let lines = tracing_subscriber::fmt().log_internal_errors(false);
    let lines = lines.with_max_level(level).with_writer(writer).event_format(Lines(style)).finish();
    lines.with(filter_fn(is_told))
}

/// Whether a line is for the log at all. The SDK of MCP logs whole requests, with their prompts and the token in their
/// headers; what goes wrong in a call is told to its client.
fn is_told(about: &Metadata<'_>) -> bool {
    let of_sdk = about.target() == "rmcp" || about.target().starts_with("rmcp::");
    !of_sdk || *about.level() == Level::ERROR
}

struct Lines(Style);

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let level = *event.metadata().level();
        match self.0.format {
            LogFormat::Text => {
                let mut line = Text::default();
                event.record(&mut line);
                if self.0.times {
                    write!(writer, "{} ", now())?;
                }
                writeln!(writer, "claudebox: {}{}{}", prefix(level), line.message, line.fields)
            }
            LogFormat::Json => {
                let mut fields = Object::default();
                event.record(&mut fields);
                writeln!(writer, "{}", Value::Object(fields.line(level)))
            }
        }
    }
}

/// RFC 3339, UTC.
fn now() -> String {
    Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true)
}

const fn prefix(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error: ",
        Level::WARN => "warning: ",
        Level::INFO => "",
        _ => "debug: ",
    }
}

/// A line for people: the message, then ` name=value` of each field.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.record_debug(field, &format_args!("{value}"));
        } else {
            // Quoted, because it may hold spaces.
            self.record_debug(field, &value);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            let _ = write!(OneLine(&mut self.message), "{value:?}");
        } else {
            let _ = write!(OneLine(&mut self.fields), " {}={value:?}", name(field));
        }
    }
}

/// An object for programs. What is given as a number or a truth value stays one.
#[derive(Default)]
struct Object(Map<String, Value>);

impl Object {
    /// `timestamp`, `level` and `message` first; no field takes their place.
    fn line(mut self, level: Level) -> Map<String, Value> {
        let message = self.0.shift_remove("message").unwrap_or_default();
        let mut line = Map::new();
        line.insert("timestamp".into(), now().into());
        line.insert("level".into(), level.as_str().to_ascii_lowercase().into());
        line.insert("message".into(), message);
        for (name, value) in self.0 {
            line.entry(name).or_insert(value);
        }
        line
    }

    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(name(field).to_owned(), value.into());
    }
}

impl Visit for Object {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, Number::from_f64(value).map_or_else(|| value.to_string().into(), Value::Number));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }
}

/// A field's name without the mark of a Rust keyword.
fn name(field: &Field) -> &'static str {
    field.name().strip_prefix("r#").unwrap_or_else(|| field.name())
}

/// Escapes whatever would end the line, or be a command to a terminal.
struct OneLine<'a>(&'a mut String);

impl fmt::Write for OneLine<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            if character.is_control() || matches!(character, '\u{2028}' | '\u{2029}') {
                self.0.extend(character.escape_debug());
            } else {
                self.0.push(character);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(debug: bool, format: LogFormat, log: impl FnOnce()) -> String {
        logged_as(debug, Style { format, times: false }, log)
    }

    fn logged_as(debug: bool, style: Style, log: impl FnOnce()) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        tracing::subscriber::with_default(subscriber(debug, style, move || writer.clone()), log);
        let text = lines.0.lock().unwrap().clone();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn text_is_for_people() {
        let text = logged(false, LogFormat::Text, || {
            tracing::info!("started");
            tracing::warn!(path = "/a b", error = %"gone", count = 3_u64, none = None::<u64>, "it {}", "broke");
            tracing::error!("bad");
            tracing::debug!("not shown");
        });
        let expected = "claudebox: started\nclaudebox: warning: it broke path=\"/a b\" error=gone count=3\n\
                        claudebox: error: bad\n";
        assert_eq!(text, expected);
        assert_eq!(logged(true, LogFormat::Text, || tracing::debug!("shown")), "claudebox: debug: shown\n");
    }

    #[test]
    fn a_line_has_its_time_once_where_that_is_wanted() {
        let style = |format| Style { format, times: true };
        let text = logged_as(false, style(LogFormat::Text), || tracing::warn!("it broke"));
        let (time, rest) = text.split_once(' ').unwrap();
        assert_eq!(rest, "claudebox: warning: it broke\n");
        assert!(
            time.len() == 24 && time.ends_with('Z') && chrono::DateTime::parse_from_rfc3339(time).is_ok(),
            "{time}"
        );
        let text = logged_as(false, style(LogFormat::Json), || tracing::warn!("it broke"));
        assert!(text.starts_with('{'), "{text}");
    }

    #[test]
    fn of_the_sdk_of_mcp_only_errors_are_told() {
        let text = logged(true, LogFormat::Text, || {
            tracing::debug!(target: "rmcp::service", request = "a prompt", "received request");
            tracing::warn!(target: "rmcp", "response error");
            tracing::error!(target: "rmcp::transport", "bad");
            tracing::info!(target: "rmcpx", "another");
        });
        assert_eq!(text, "claudebox: error: bad\nclaudebox: another\n");
    }

    #[test]
    fn json_is_one_object_per_line() {
        let text = logged(false, LogFormat::Json, || {
            tracing::warn!(
                path = "/a",
                ms = 3_u64,
                cut = true,
                cost = 0.5,
                r#type = "x",
                level = "mine",
                "it \"broke\""
            );
            tracing::info!("again");
        });
        let lines: Vec<Map<String, Value>> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        let names: Vec<&str> = lines[0].keys().map(String::as_str).collect();
        assert_eq!(names, ["timestamp", "level", "message", "path", "ms", "cut", "cost", "type"]);
        assert_eq!((&lines[0]["level"], &lines[0]["message"]), (&"warn".into(), &"it \"broke\"".into()));
        assert_eq!((&lines[0]["ms"], &lines[0]["cut"]), (&3.into(), &true.into()));
        let time = lines[0]["timestamp"].as_str().unwrap();
        assert!(
            time.len() == 24 && time.ends_with('Z') && chrono::DateTime::parse_from_rfc3339(time).is_ok(),
            "{time}"
        );
    }

    #[test]
    fn no_text_forges_a_line_or_reaches_a_terminal() {
        let forged = "x\nclaudebox: error: forged\r\u{1b}[2J\u{9b}\u{2028}\u{0}";
        for format in [LogFormat::Text, LogFormat::Json] {
            let text = logged(false, format, || {
                tracing::info!(text = forged, shown = %forged, debug = ?forged, "{forged}");
            });
            assert_eq!(text.lines().count(), 1, "{text:?}");
            assert!(!text.trim_end_matches('\n').contains(['\n', '\r', '\u{1b}', '\0']), "{text:?}");
        }
    }
}
