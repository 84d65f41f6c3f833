//! Reading JSON as the Claude CLI, which is a JavaScript program, reads and writes it.
//!
//! JavaScript takes text that `serde_json` refuses: a byte order mark, a surrogate without its pair (`"\ud83d"`, half of
//! an emoji that was cut), bytes that are not UTF-8, and more than 128 levels. A person's file or a run's answer must
//! not be lost for that.

use std::borrow::Cow;

use serde::de::DeserializeOwned;
use serde_json::Deserializer;

/// Deeper text is refused. Values are read, cloned, compared, written and dropped by recursion, on stacks of 2 MiB.
pub const MOST_LEVELS: usize = 500;

/// Reads one JSON document: what `serde_json` takes, and what only JavaScript takes.
///
/// A surrogate without its pair, and a byte that is not UTF-8, is read as U+FFFD. The error is `serde_json`'s.
pub fn parse<T: DeserializeOwned>(text: &[u8]) -> serde_json::Result<T> {
    serde_json::from_slice(text).or_else(|_| read(&mend(text, |_| '\u{fffd}'.into())))
}

/// JSON whose surrogates without a pair are read in such a way that [`Kept::restore`] gives them back.
#[derive(Default)]
pub(crate) struct Kept<T> {
    /// What was read. In it, such a surrogate is a private mark and its four digits.
    pub(crate) value: T,
    mark: Option<char>,
}

impl<T: DeserializeOwned> Kept<T> {
    /// Reads one JSON document, as [`parse`] does.
    pub(crate) fn parse(text: &[u8]) -> serde_json::Result<Self> {
        if let Ok(value) = serde_json::from_slice(text) {
            return Ok(Self { value, mark: None });
        }
        // Characters that no text uses; JSON may have one raw or by its number.
        let lossy = String::from_utf8_lossy(text);
        let unused = |mark: &char| !lossy.contains(*mark) && !lossy.to_lowercase().contains(&escape(*mark));
        let mark = ('\u{fdd0}'..='\u{fdef}').find(unused);
        let stand_in = |digits: &str| mark.map_or_else(|| '\u{fffd}'.into(), |mark| format!("{mark}{digits}"));
        Ok(Self { value: read(&mend(text, stand_in))?, mark })
    }
}

impl<T> Kept<T> {
    /// `text`, which was written from the value, with the surrogates that it was read with.
    pub(crate) fn restore(&self, text: String) -> String {
        match self.mark {
            Some(mark) => text.replace(mark, "\\u"),
            None => text,
        }
    }
}

fn escape(mark: char) -> String {
    format!("\\u{:04x}", u32::from(mark))
}

fn read<T: DeserializeOwned>(text: &str) -> serde_json::Result<T> {
    let mut reader = Deserializer::from_str(text);
    if levels(text) <= MOST_LEVELS {
        reader.disable_recursion_limit();
    }
    let value = T::deserialize(&mut reader)?;
    reader.end()?;
    Ok(value)
}

/// How deep the brackets of `text` are nested.
fn levels(text: &str) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// `text` as UTF-8 without a byte order mark, with `stand_in` of the four digits in place of each surrogate without its
/// pair.
fn mend(text: &[u8], stand_in: impl Fn(&str) -> String) -> String {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let text: Cow<'_, str> = String::from_utf8_lossy(text);
    let mut mended = String::with_capacity(text.len());
    let mut rest = text.as_ref();
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        mended.push_str(before);
        let taken = match unit(escape) {
            Some(0xd800..=0xdbff) if unit(&escape[6..]).is_some_and(|next| (0xdc00..=0xdfff).contains(&next)) => 12,
            Some(0xd800..=0xdfff) => {
                mended.push_str(&stand_in(&escape[2..6]));
                rest = &escape[6..];
                continue;
            }
            // The backslash and what it escapes, of which an escaped backslash begins nothing.
            _ => escape.chars().take(2).map(char::len_utf8).sum(),
        };
        mended.push_str(&escape[..taken]);
        rest = &escape[taken..];
    }
    mended.push_str(rest);
    mended
}

/// The UTF-16 unit that an escape at the beginning of `text` stands for.
fn unit(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u16::from_str_radix(digits, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;
    use serde_json::{Value, json};

    #[rstest]
    #[case(br#""\ud83d""#, "\u{fffd}")]
    #[case(br#""a\uD83Db""#, "a\u{fffd}b")]
    #[case(br#""\ude00""#, "\u{fffd}")]
    #[case(br#""\ud83d\ud83d\ude00""#, "\u{fffd}\u{1f600}")]
    #[case(br#""\ud83d\n\ude00""#, "\u{fffd}\n\u{fffd}")]
    #[case(br#""\ud83d\u0041""#, "\u{fffd}A")]
    // An escaped backslash, and then text.
    #[case(br#""\\ud83d \ud83d""#, "\\ud83d \u{fffd}")]
    #[case(b"\"\xff\"", "\u{fffd}")]
    #[case(b"\xef\xbb\xbf\"x\"", "x")]
    #[case(br#""\ud83d\ude00""#, "\u{1f600}")]
    fn reads_what_javascript_reads(#[case] text: &[u8], #[case] expected: &str) {
        assert_eq!(parse::<Value>(text).unwrap(), json!(expected));
    }

    #[rstest]
    #[case(b"")]
    #[case(b"{")]
    #[case(br#"{"a":"\ud83d""#)]
    #[case(br#""\ud83"#)]
    #[case(br#""\ud83d\u"#)]
    #[case("\"\\\u{e9}\"".as_bytes())]
    #[case(b"\"\\")]
    #[case(br#""\ud83d" x"#)]
    fn what_is_no_json_stays_none(#[case] text: &[u8]) {
        assert!(parse::<Value>(text).is_err());
    }

    fn nested(levels: usize) -> String {
        format!("{}{}", r#"{"a":["#.repeat(levels / 2), "]}".repeat(levels / 2))
    }

    #[test]
    fn a_value_of_the_deepest_kind_can_be_used_on_a_small_stack() {
        let use_it = || {
            let value: Value = parse(nested(MOST_LEVELS).as_bytes()).unwrap();
            let copy = value.clone();
            assert_eq!(copy, value);
            assert_eq!(copy.to_string(), nested(MOST_LEVELS));
        };
        std::thread::Builder::new().stack_size(2 << 20).spawn(use_it).unwrap().join().unwrap();
    }

    #[test]
    fn a_deeper_one_is_refused_and_brackets_in_text_do_not_count() {
        assert!(parse::<Value>(nested(MOST_LEVELS + 2).as_bytes()).is_err());
        let flat = format!(r#"["\"{}",{}]"#, "[".repeat(MOST_LEVELS), nested(200));
        assert!(parse::<Value>(flat.as_bytes()).is_ok());
    }

    #[rstest]
    #[case(r#"{"a\ud83d":1,"a\ud83e":"\uDE00 \u0041"}"#, r#"{"a\ud83d":1,"a\ud83e":"\uDE00 A"}"#)]
    // The first mark is taken, raw and by its number.
    #[case("{\"\u{fdd0}d83d\":\"\\uFDD1\\ud83d\"}", "{\"\u{fdd0}d83d\":\"\u{fdd1}\\ud83d\"}")]
    fn surrogates_come_back_as_they_were(#[case] text: &str, #[case] expected: &str) {
        let kept = Kept::<Value>::parse(text.as_bytes()).unwrap();
        assert_eq!(kept.restore(kept.value.to_string()), expected);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = parse::<Value>(&text);
        }

        #[test]
        fn any_units_are_read(units in prop::collection::vec(prop_oneof![any::<u16>(), 0xd7ff..0xe001_u16], 0..20)) {
            let escaped: String = units.iter().map(|unit| format!("\\u{unit:04x}")).collect::<Vec<_>>().concat();
            let expected = String::from_utf16_lossy(&units);
            prop_assert_eq!(parse::<String>(format!("\"{escaped}\"").as_bytes()).unwrap(), expected);
        }
    }
}
