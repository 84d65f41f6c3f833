//! A version of the CLI, as it may stand in a path and in an address.

use std::fmt;
use std::str::FromStr;

/// No version is longer, bytes.
const LONGEST: usize = 64;

/// A version: `2.1.330`, or `2.1.330-beta.1`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version(String);

/// A text that is no version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no version of the Claude CLI: three numbers with dots between them, as in 2.1.330")]
pub struct NotAVersion(String);

impl Version {
    /// The version as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What versions are sorted by: as numbers, and a version before its own pre-releases is the later one.
    pub fn rank(&self) -> (Vec<u64>, bool, &str) {
        let (numbers, extra) = self.0.split_once('-').unwrap_or((&self.0, ""));
        (numbers.split('.').map(|number| number.parse().unwrap_or(u64::MAX)).collect(), extra.is_empty(), extra)
    }
}

impl FromStr for Version {
    type Err = NotAVersion;

    fn from_str(text: &str) -> Result<Self, NotAVersion> {
        let (numbers, extra) = text.split_once('-').unwrap_or((text, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let word = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let is_one = text.len() <= LONGEST
            && numbers.split('.').count() == 3
            && numbers.split('.').all(digits)
            && extra.split(['.', '-']).all(word);
        if is_one { Ok(Self(text.to_owned())) } else { Err(NotAVersion(text.chars().take(LONGEST).collect())) }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_safe_in_a_path_is_a_version() {
        for version in ["2.1.330", "0.0.1", "2.1.330-beta.1", "10.20.30-rc-2"] {
            assert_eq!(version.parse::<Version>().unwrap().as_str(), version);
        }
        let long = format!("1.1.{}", "1".repeat(LONGEST));
        for other in [
            "",
            ".",
            "..",
            "2.1",
            "2.1.330.4",
            "v2.1.330",
            "2.1.x",
            "2.1.330-",
            "2.1.330-..",
            "2.1.330-a/b",
            "2..3",
            "+1.2.3",
            &long,
        ] {
            assert!(other.parse::<Version>().is_err(), "{other}");
        }
    }

    #[test]
    fn versions_are_sorted_as_numbers() {
        let mut versions: Vec<Version> =
            ["2.1.330", "2.1.9", "10.0.0", "2.1.330-beta.1"].iter().map(|text| text.parse().unwrap()).collect();
        versions.sort_by(|one, other| one.rank().cmp(&other.rank()));
        assert_eq!(
            versions.iter().map(Version::as_str).collect::<Vec<_>>(),
            ["2.1.9", "2.1.330-beta.1", "2.1.330", "10.0.0"]
        );
    }
}
