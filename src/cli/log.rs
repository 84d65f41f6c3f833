//! Logs on standard error, for people: `claudebox: warning: ...`.

use std::fmt;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::registry::LookupSpan;

/// Starts logging. `debug` adds what only matters when something is wrong.
pub fn start(debug: bool) {
    let level = if debug { Level::DEBUG } else { Level::INFO };
    let subscriber =
        tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr).event_format(Plain).finish();
    // Already started, by an earlier role of the same process: that one stays.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

struct Plain;

impl<S, N> FormatEvent<S, N> for Plain
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let level = match *event.metadata().level() {
            Level::ERROR => "error: ",
            Level::WARN => "warning: ",
            Level::INFO => "",
            _ => "debug: ",
        };
        write!(writer, "claudebox: {level}")?;
        context.format_fields(Writer::new(&mut writer), event)?;
        writeln!(writer)
    }
}
