//! A version out of whatever a tool says about itself.

/// The first dotted number (`9.2p1`, `3.40.1`); without one the first number at all.
///
/// A dotted one first, because names and years hold numbers too, and hardly a version is without a dot.
pub fn parse(output: &str) -> Option<String> {
    let numbers = || output.lines().flat_map(numbers);
    numbers().find(|number| number.contains('.')).or_else(|| numbers().next()).map(str::to_owned)
}

/// The numbers of a line, each with what belongs to it: dots and digits, then perhaps a letter and digits (`p1`, `a`).
fn numbers(line: &str) -> impl Iterator<Item = &str> {
    let mut rest = line;
    std::iter::from_fn(move || {
        let start = rest.find(|c: char| c.is_ascii_digit())?;
        let from = &rest[start..];
        let end = from.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(from.len());
        let number = from[..end].trim_end_matches('.');
        let length = number.len() + suffix(&from[number.len()..]);
        rest = &from[length.max(end)..];
        Some(&from[..length])
    })
}

/// The length of `p1` or `a` at the start of `text`, if nothing else of a word follows.
fn suffix(text: &str) -> usize {
    let Some(rest) = text.strip_prefix(|c: char| c.is_ascii_lowercase()) else { return 0 };
    let after = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    if after.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '.') { 0 } else { text.len() - after.len() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    #[rstest]
    #[case("git version 2.39.5\n", "2.39.5")]
    #[case("v24.21.0\n", "24.21.0")]
    #[case("jq-1.6\n", "1.6")]
    #[case("OpenSSH_9.2p1 Debian-2, OpenSSL 3.0.15 3 Sep 2024\n", "9.2p1")]
    #[case("Sudo version 1.9.13p3\nSudoers policy plugin version 1.9.13p3\n", "1.9.13p3")]
    #[case("tmux 3.3a\n", "3.3a")]
    #[case("go version go1.22.1 linux/amd64\n", "1.22.1")]
    #[case("less 590 (GNU regular expressions)\nCopyright (C) 1984-2021  Mark Nudelman\n", "590")]
    #[case("Docker version 20.10.24+dfsg1, build 297e128\n", "20.10.24")]
    #[case("GNU bash, version 5.2.15(1)-release (x86_64-pc-linux-gnu)\n", "5.2.15")]
    #[case(" GNU nano, version 7.2\n (C) 1999-2011, 2013-2023\n", "7.2")]
    #[case("pip 23.0.1 from /usr/lib/python3/dist-packages/pip (python 3.11)\n", "23.0.1")]
    #[case("\nThis is perl 5, version 36, subversion 0 (v5.36.0) built for x86_64\n", "5.36.0")]
    #[case("openjdk version \"17.0.9\" 2023-10-17\n", "17.0.9")]
    #[case("openjdk version \"21\" 2023-09-19\n", "21")]
    #[case("GNU gdb (Debian 13.1-3) 13.1\n", "13.1")]
    #[case("ShellCheck - shell script analysis tool\nversion: 0.9.0\n", "0.9.0")]
    #[case("2.1.205 (Claude Code)\n", "2.1.205")]
    #[case("apt 2.6.1 (amd64)\n", "2.6.1")]
    #[case("release 4.\n", "4")]
    fn finds_the_version(#[case] output: &str, #[case] version: &str) {
        assert_eq!(parse(output).as_deref(), Some(version));
    }

    #[test]
    fn no_number_is_no_version() {
        assert_eq!(parse("usage: impl [-dir directory]\n"), None);
    }

    proptest! {
        #[test]
        fn a_version_is_part_of_the_text_and_short_of_surprises(text in "\\PC*") {
            if let Some(version) = parse(&text) {
                prop_assert!(text.contains(&version));
                prop_assert!(version.chars().all(|c| c.is_ascii_digit() || c == '.' || c.is_ascii_lowercase()));
            }
        }
    }
}
