//! What a job's texts say of the moment they are used in.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;

/// What is put in.
#[derive(Debug, Clone)]
pub struct Values<'job> {
    /// When the job was started.
    pub fired: DateTime<Utc>,
    /// By the clocks of which zone that is told.
    pub zone: Tz,
    /// The job's name.
    pub job: &'job str,
}

impl Values<'_> {
    /// `text` with `{system_datetime}` and `{job_name}` replaced. Other braces stay: prompts hold JSON and code.
    pub fn expand(&self, text: &str) -> String {
        let time = self.fired.with_timezone(&self.zone).format("%Y-%m-%d %H:%M:%S %Z").to_string();
        let values = [("{system_datetime}", time.as_str()), ("{job_name}", self.job)];
        let mut expanded = String::with_capacity(text.len());
        let mut rest = text;
        // In one go: what was put in is not looked at again.
        while let Some(at) = rest.find('{') {
            let (before, here) = rest.split_at(at);
            expanded.push_str(before);
            let found = values.iter().find(|(name, _)| here.starts_with(name));
            let (value, length) = found.map_or(("{", 1), |(name, value)| (*value, name.len()));
            expanded.push_str(value);
            rest = &here[length..];
        }
        expanded + rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("now {system_datetime}.", "now 2026-03-29 03:30:00 CEST.")]
    #[case("{job_name}{job_name}", "{system_datetime}{system_datetime}")]
    #[case("{ {other} {{job_name}} }", "{ {other} {{system_datetime}} }")]
    #[case("{job_name", "{job_name")]
    #[case("äöü {", "äöü {")]
    #[case("", "")]
    fn names_in_braces_are_replaced_once(#[case] text: &str, #[case] expected: &str) {
        let fired = "2026-03-29T01:30:00Z".parse().unwrap();
        let values = Values { fired, zone: Tz::Europe__Berlin, job: "{system_datetime}" };
        assert_eq!(values.expand(text), expected);
    }

    #[rstest]
    #[case("UTC", "2026-03-29 01:30:00 UTC")]
    #[case("Asia/Kolkata", "2026-03-29 07:00:00 IST")]
    #[case("America/Sao_Paulo", "2026-03-28 22:30:00 -03")]
    fn a_time_says_by_whose_clocks_it_is(#[case] zone: &str, #[case] expected: &str) {
        let values = Values { fired: "2026-03-29T01:30:00Z".parse().unwrap(), zone: zone.parse().unwrap(), job: "j" };
        assert_eq!(values.expand("{system_datetime}"), expected);
    }
}
