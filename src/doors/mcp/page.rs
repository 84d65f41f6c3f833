//! Which bytes of a file are a page of text.

/// A page of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Page {
    /// Text, and how many bytes before it belong to a character that began earlier.
    Text {
        /// Bytes at the beginning that are left out.
        skipped: usize,
        /// The text; it may end before the bytes do, so that the next page begins with a whole character.
        text: String,
    },
    /// No text.
    Binary,
}

/// Longest character of UTF-8.
const LONGEST_CHARACTER: usize = 4;

/// What is read of these bytes. `first` and `last`: whether the file begins and ends with them.
pub(super) fn page(bytes: &[u8], first: bool, last: bool) -> Page {
    let skipped =
        if first { 0 } else { bytes.iter().take(LONGEST_CHARACTER - 1).take_while(|b| is_inner(**b)).count() };
    let rest = &bytes[skipped..];
    if rest.contains(&0) {
        return Page::Binary;
    }
    let text = match std::str::from_utf8(rest) {
        Ok(text) => text,
        // A character that the page's end cuts.
        Err(error) if !last && error.error_len().is_none() => {
            // `valid_up_to` is what was found valid.
            std::str::from_utf8(&rest[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return Page::Binary,
    };
    Page::Text { skipped, text: text.to_owned() }
}

const fn is_inner(byte: u8) -> bool {
    byte & 0b1100_0000 == 0b1000_0000
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    #[rstest]
    #[case(b"abc", true, true, 0, "abc")]
    #[case(b"", true, true, 0, "")]
    #[case("aü".as_bytes(), true, true, 0, "aü")]
    #[case(b"a\xc3", true, false, 0, "a")]
    #[case(b"\xbca", false, true, 1, "a")]
    #[case(b"\x98\x80a\xf0\x9f\x98", false, false, 2, "a")]
    fn a_character_is_never_cut(
        #[case] bytes: &[u8],
        #[case] first: bool,
        #[case] last: bool,
        #[case] skipped: usize,
        #[case] text: &str,
    ) {
        assert_eq!(page(bytes, first, last), Page::Text { skipped, text: text.into() });
    }

    #[rstest]
    #[case(b"a\0b", true, true)]
    #[case(b"a\xc3", true, true)]
    #[case(b"\xbca", true, true)]
    #[case(b"a\xffb", true, false)]
    #[case(b"\x80\x80\x80\x80", false, true)]
    fn what_is_no_text_is_binary(#[case] bytes: &[u8], #[case] first: bool, #[case] last: bool) {
        assert_eq!(page(bytes, first, last), Page::Binary);
    }

    proptest! {
        #[test]
        fn pages_put_together_are_the_text(text in "[^\0]{0,40}", size in 4_usize..9) {
            let bytes = text.as_bytes();
            let (mut offset, mut whole) = (0, String::new());
            while offset < bytes.len() {
                let end = (offset + size).min(bytes.len());
                let Page::Text { skipped, text } = page(&bytes[offset..end], offset == 0, end == bytes.len()) else {
                    panic!("binary")
                };
                prop_assert_eq!(skipped, 0);
                prop_assert!(!text.is_empty());
                offset += text.len();
                whole.push_str(&text);
            }
            prop_assert_eq!(whole, text);
        }
    }
}
