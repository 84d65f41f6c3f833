//! The figures as a scraper wants them: Prometheus's text, or `OpenMetrics` where it is asked for.
//!
//! The library writes `OpenMetrics` alone. The older text has the same samples; what differs is what stands around them:
//! a counter's description bears the name of its samples (`..._total`), a constant information is a gauge, there are no
//! units, and no mark at the end.

use std::fmt::Write as _;

use axum::http::{HeaderMap, header};

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// Prometheus's text, version 0.0.4: for whoever does not say otherwise.
    Text,
    OpenMetrics,
}

impl Format {
    /// What the client prefers.
    pub(super) fn accepted(headers: &HeaderMap) -> Self {
        let accepts = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let (mut open, mut text) = (0.0_f64, 0.0_f64);
        for range in accepts.flat_map(|value| value.split(',')) {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
            let quality = parts.find_map(|part| part.strip_prefix("q=")?.parse().ok()).unwrap_or(1.0);
            match kind.as_str() {
                "application/openmetrics-text" => open = open.max(quality),
                "text/plain" | "text/*" | "*/*" => text = text.max(quality),
                _ => {}
            }
        }
        if open > 0.0 && open >= text { Self::OpenMetrics } else { Self::Text }
    }

    /// Its media type.
    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// The figures, which came as `OpenMetrics`, in this form.
    pub(super) fn written(self, open: String) -> String {
        match self {
            Self::Text => text(&open),
            Self::OpenMetrics => open,
        }
    }
}

/// `OpenMetrics` as Prometheus's text.
fn text(open: &str) -> String {
    let mut text = String::new();
    // It stands before the line that says what kind it is, on which the name depends.
    let mut help: Option<&str> = None;
    for line in open.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ').map(|(_, words)| words);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap_or((rest, "untyped"));
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                "unknown" => ("", "untyped"),
                kind => ("", kind),
            };
            if let Some(words) = help.take() {
                let _ = writeln!(text, "# HELP {name}{suffix} {words}");
            }
            let _ = writeln!(text, "# TYPE {name}{suffix} {kind}");
        } else if !line.starts_with("# ") {
            let _ = writeln!(text, "{line}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use rstest::rstest;

    #[rstest]
    #[case::says_nothing(None, Format::Text)]
    #[case::anything(Some("*/*"), Format::Text)]
    #[case::a_browser(Some("text/html,application/xhtml+xml,*/*;q=0.8"), Format::Text)]
    #[case::open_metrics(Some("application/openmetrics-text"), Format::OpenMetrics)]
    #[case::prometheus(
        Some(
            "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
        ),
        Format::OpenMetrics
    )]
    #[case::prefers_text(Some("application/openmetrics-text;q=0.3,text/plain;version=0.0.4;q=0.9"), Format::Text)]
    #[case::refuses_it(Some("application/openmetrics-text;q=0"), Format::Text)]
    fn whoever_asks_for_openmetrics_gets_it(#[case] accept: Option<&'static str>, #[case] format: Format) {
        let mut headers = HeaderMap::new();
        headers.extend(accept.map(|accept| (header::ACCEPT, HeaderValue::from_static(accept))));
        assert_eq!(Format::accepted(&headers), format);
    }

    #[test]
    fn the_samples_are_the_same_and_every_one_is_described() {
        let open = "# HELP box_runs Runs, by door.\n# TYPE box_runs counter\nbox_runs_total{door=\"http\"} 2\n\
                    # HELP box_wait_seconds Waits.\n# TYPE box_wait_seconds histogram\n# UNIT box_wait_seconds seconds\n\
                    box_wait_seconds_bucket{le=\"+Inf\"} 0\n# HELP box_build What it is.\n# TYPE box_build info\n\
                    box_build_info{version=\"1\"} 1\n# EOF\n";
        let expected = "# HELP box_runs_total Runs, by door.\n# TYPE box_runs_total counter\n\
                        box_runs_total{door=\"http\"} 2\n# HELP box_wait_seconds Waits.\n\
                        # TYPE box_wait_seconds histogram\nbox_wait_seconds_bucket{le=\"+Inf\"} 0\n\
                        # HELP box_build_info What it is.\n# TYPE box_build_info gauge\n\
                        box_build_info{version=\"1\"} 1\n";
        assert_eq!(text(open), expected);
    }
}
