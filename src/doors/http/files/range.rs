//! Which part of a file a `Range` header asks for (RFC 9110 section 14).

/// What is sent of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// All of it: nothing else was asked for, or nothing that makes sense.
    Whole,
    /// From `start` up to but without `end`; never empty.
    Span { start: u64, end: u64 },
    /// No byte that was asked for exists.
    Nothing,
}

/// The part of a file of `size` bytes that this header asks for. Several ranges are answered with the whole file.
pub(super) fn part(header: &str, size: u64) -> Part {
    let Some((unit, ranges)) = header.split_once('=') else { return Part::Whole };
    let Some((first, last)) = ranges.trim().split_once('-') else { return Part::Whole };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Part::Whole;
    }
    match (number(first), number(last)) {
        (None, Some(length)) if first.trim().is_empty() => match length.min(size) {
            0 => Part::Nothing,
            length => Part::Span { start: size - length, end: size },
        },
        (Some(start), None) if last.trim().is_empty() => span(start, size, size),
        (Some(start), Some(last)) if start <= last => span(start, last.saturating_add(1).min(size), size),
        _ => Part::Whole,
    }
}

fn span(start: u64, end: u64, size: u64) -> Part {
    if start < size { Part::Span { start, end } } else { Part::Nothing }
}

/// Digits. A number larger than any file is as good as the largest.
fn number(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    const fn from(start: u64, end: u64) -> Part {
        Part::Span { start, end }
    }

    #[rstest]
    #[case("bytes=0-0", from(0, 1))]
    #[case("bytes=0-9", from(0, 10))]
    #[case("bytes=2-5", from(2, 6))]
    #[case("bytes=2-", from(2, 10))]
    #[case("bytes=9-", from(9, 10))]
    #[case("bytes=-3", from(7, 10))]
    #[case("bytes=-10", from(0, 10))]
    #[case("bytes=-99", from(0, 10))]
    #[case("bytes=5-99", from(5, 10))]
    #[case("Bytes = 2-5", from(2, 6))]
    #[case("bytes=0-99999999999999999999999999", from(0, 10))]
    #[case("bytes=0-18446744073709551615", from(0, 10))]
    #[case("bytes=10-", Part::Nothing)]
    #[case("bytes=10-11", Part::Nothing)]
    #[case("bytes=99999999999999999999999999-", Part::Nothing)]
    #[case("bytes=-0", Part::Nothing)]
    #[case("bytes=5-2", Part::Whole)]
    #[case("bytes=-", Part::Whole)]
    #[case("bytes=", Part::Whole)]
    #[case("bytes", Part::Whole)]
    #[case("", Part::Whole)]
    #[case("lines=0-1", Part::Whole)]
    #[case("bytes=0-1,3-4", Part::Whole)]
    #[case("bytes=a-b", Part::Whole)]
    #[case("bytes=+1-2", Part::Whole)]
    #[case("bytes=--1", Part::Whole)]
    fn ranges_of_ten_bytes(#[case] header: &str, #[case] expected: Part) {
        assert_eq!(part(header, 10), expected);
    }

    #[rstest]
    #[case("bytes=0-")]
    #[case("bytes=0-0")]
    #[case("bytes=-1")]
    fn an_empty_file_has_no_range(#[case] header: &str) {
        assert_eq!(part(header, 0), Part::Nothing);
    }

    proptest! {
        #[test]
        fn a_span_lies_in_the_file(header in "bytes=[0-9]{0,22}-[0-9]{0,22}", size in 0_u64..100) {
            if let Part::Span { start, end } = part(&header, size) {
                prop_assert!(start < end && end <= size);
            }
        }
    }
}
