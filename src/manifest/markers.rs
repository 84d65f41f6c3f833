//! Our block in somebody's file: found by its two marker lines and exchanged, with every byte around it left alone.

/// How the first line of the block begins; it ends with `-->`.
pub const BEGIN: &str = "<!-- claudebox:begin";
/// How its last line begins.
pub const END: &str = "<!-- claudebox:end";
const CLOSE: &str = "-->";

/// What becomes of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Renewed {
    /// It has no block of ours.
    NotOurs,
    /// Its markers are no pair: somebody edited them.
    Broken,
    /// Its block is this one already.
    Same,
    /// Its new text.
    Changed(Vec<u8>),
}

/// Exchanges the block in `text` for `block`, which has no line feed at its end.
pub fn renew(text: &[u8], block: &str) -> Renewed {
    let mut begins = Vec::new();
    let mut ends = Vec::new();
    let mut at = 0;
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let content = line.trim_ascii_end();
        if is_marker(content, BEGIN) {
            begins.push((at, line.ends_with(b"\r\n")));
        } else if is_marker(content, END) {
            // The end of its line belongs to what is around.
            ends.push(at + content.len());
        }
        at += line.len();
    }
    match (begins.as_slice(), ends.as_slice()) {
        ([], []) => Renewed::NotOurs,
        ([(begin, has_carriage_returns)], [end]) if begin < end => {
            let block = if *has_carriage_returns { block.replace('\n', "\r\n") } else { block.to_owned() };
            if &text[*begin..*end] == block.as_bytes() {
                return Renewed::Same;
            }
            Renewed::Changed([&text[..*begin], block.as_bytes(), &text[*end..]].concat())
        }
        _ => Renewed::Broken,
    }
}

/// Whether `text` is a block of ours and nothing else.
pub(super) fn is_block_alone(text: &[u8]) -> bool {
    let lines: Vec<&[u8]> = text.trim_ascii().split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end).collect();
    let marks = |start| lines.iter().filter(|line| is_marker(line, start)).count();
    let ends = |at: Option<&&[u8]>, start| at.is_some_and(|line| is_marker(line, start));
    ends(lines.first(), BEGIN) && ends(lines.last(), END) && marks(BEGIN) == 1 && marks(END) == 1
}

fn is_marker(line: &[u8], start: &str) -> bool {
    let rest = line.strip_prefix(start.as_bytes());
    rest.is_some_and(|rest| rest.starts_with(b" ") && rest.ends_with(CLOSE.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    const BLOCK: &str = "<!-- claudebox:begin v2 -->\nnew\n<!-- claudebox:end -->";
    const OLD: &str = "<!-- claudebox:begin v1 -->\nold\nlines\n<!-- claudebox:end -->";

    fn changed(text: &str) -> Renewed {
        Renewed::Changed(text.as_bytes().to_vec())
    }

    #[rstest]
    #[case::alone(OLD.into(), changed(BLOCK))]
    #[case::between(format!("a\n\n{OLD}\n\nb"), changed(&format!("a\n\n{BLOCK}\n\nb")))]
    #[case::same(format!("a\n{BLOCK}\nb"), Renewed::Same)]
    #[case::carriage_returns(
        format!("a\r\n{OLD}\r\nb\r\n").replace("v1 -->\n", "v1 -->\r\n"),
        changed(&format!("a\r\n{}\r\nb\r\n", BLOCK.replace('\n', "\r\n")))
    )]
    #[case::same_with_carriage_returns(format!("{BLOCK}\n").replace('\n', "\r\n"), Renewed::Same)]
    #[case::blanks_after_the_end(format!("{OLD}  \t\nb"), changed(&format!("{BLOCK}  \t\nb")))]
    #[case::empty(String::new(), Renewed::NotOurs)]
    #[case::without(("# mine\n").into(), Renewed::NotOurs)]
    #[case::mentioned("The line `<!-- claudebox:begin -->` starts it.\n".into(), Renewed::NotOurs)]
    #[case::another_word("<!-- claudebox:beginning -->\n".into(), Renewed::NotOurs)]
    #[case::no_end("a\n<!-- claudebox:begin v1 -->\nmine now\n".into(), Renewed::Broken)]
    #[case::no_begin("mine now\n<!-- claudebox:end -->\n".into(), Renewed::Broken)]
    #[case::turned_round("<!-- claudebox:end -->\n<!-- claudebox:begin v1 -->\n".into(), Renewed::Broken)]
    #[case::two_blocks(format!("{OLD}\n{OLD}\n"), Renewed::Broken)]
    #[case::two_begins(format!("<!-- claudebox:begin v0 -->\n{OLD}\n"), Renewed::Broken)]
    fn only_a_whole_block_of_ours_is_exchanged(#[case] text: String, #[case] expected: Renewed) {
        assert_eq!(renew(text.as_bytes(), BLOCK), expected);
    }

    proptest! {
        #[test]
        fn text_around_the_block_is_untouched(before in any::<Vec<u8>>(), after in any::<Vec<u8>>()) {
            let around = |block: &str| {
                let (start, end) = (b"\n".as_slice(), b"\n".as_slice());
                [&before, start, block.as_bytes(), end, &after].concat()
            };
            prop_assert_eq!(renew(&around(OLD), BLOCK), Renewed::Changed(around(BLOCK)));
            prop_assert_eq!(renew(&around(BLOCK), BLOCK), Renewed::Same);
            prop_assert_eq!(renew(&before, BLOCK), Renewed::NotOurs);
        }
    }
}
