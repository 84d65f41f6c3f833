//! The text of a streamed answer: what counts of it, and what the client was given.
//!
//! A client cannot be told that something does not count any more. So what an attempt that was cut had said is taken
//! for the beginning of the next attempt as long as that says the same.

/// Where an answer begins again, in other words than the client was given.
const AGAIN: &str = "\n\n";

/// The text of an answer in the making.
#[derive(Debug, Default)]
pub(super) struct Spoken {
    /// What counts, up to now.
    text: String,
    /// How much of it the client has, bytes.
    given: usize,
    /// What the client has beyond that and that does not count: where it began, and its text.
    void: Option<(usize, String)>,
    /// Texts that end the answer.
    stops: Vec<String>,
    /// Where the answer was ended.
    cut: Option<usize>,
}

impl Spoken {
    /// An answer that ends before the first of `stops`.
    pub(super) fn new(stops: Vec<String>) -> Self {
        Self { stops, ..Self::default() }
    }

    /// The answer so far.
    pub(super) fn text(&self) -> &str {
        &self.text[..self.cut.unwrap_or(self.text.len())]
    }

    /// Whether `answer` was said, or would have been without a text that ends it.
    pub(super) fn has(&self, answer: &str) -> bool {
        self.cut.is_some() || self.text.contains(answer.trim())
    }

    /// Whether nothing was said yet that counts or that the client has.
    pub(super) fn is_empty(&self) -> bool {
        self.text.is_empty() && self.void.is_none()
    }

    /// Takes a piece of the answer; what the client is to be given now.
    pub(super) fn say(&mut self, piece: &str) -> String {
        let before = self.text.len();
        self.text.push_str(piece);
        let longest = self.stops.iter().map(String::len).max().unwrap_or(0);
        let from = self.text.floor_char_boundary(before.saturating_sub(longest));
        let found = self.stops.iter().filter_map(|stop| self.text[from..].find(stop.as_str())).min();
        self.cut = self.cut.or(found.map(|at| from + at));
        self.give(false)
    }

    /// Takes back what was said last.
    pub(super) fn take_back(&mut self, void: &str) {
        let from = self.text.len().saturating_sub(void.len());
        if self.given > from && self.void.is_none() {
            self.void = Some((from, self.text[from..self.given].to_owned()));
        }
        self.given = self.given.min(from);
        self.cut = self.cut.filter(|cut| *cut <= from);
        self.text.truncate(from);
    }

    /// The answer is whole: what the client is to be given yet.
    pub(super) fn finish(&mut self) -> String {
        self.give(true)
    }

    fn give(&mut self, whole: bool) -> String {
        let end = self.cut.unwrap_or_else(|| self.text.len() - if whole { 0 } else { self.held_back() });
        let mut start = "";
        if let Some((from, void)) = self.void.take() {
            let again = self.text.get(from..end).unwrap_or_default();
            if again.starts_with(&void) {
                self.given = from + void.len();
            } else if void.starts_with(again) {
                self.void = (!whole).then_some((from, void));
                return String::new();
            } else {
                start = AGAIN;
            }
        }
        let piece = self.text.get(self.given..end).unwrap_or_default();
        let piece = if piece.is_empty() { String::new() } else { format!("{start}{piece}") };
        self.given = self.given.max(end);
        piece
    }

    /// How many bytes at the end may be the beginning of a text that ends the answer.
    fn held_back(&self) -> usize {
        let beginning = |stop: &String| {
            let lengths = stop.char_indices().map(|(at, _)| at).skip(1);
            lengths.filter(|&length| self.text.ends_with(&stop[..length])).max()
        };
        self.stops.iter().filter_map(beginning).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[test]
    fn pieces_go_on_as_they_come() {
        let mut spoken = Spoken::default();
        assert_eq!(
            (spoken.say("one "), spoken.say("two"), spoken.finish()),
            ("one ".into(), "two".into(), String::new())
        );
        assert_eq!(spoken.text(), "one two");
    }

    #[rstest]
    #[case(&["a END b"], "a ", "a ")]
    #[case(&["a E", "N", "D b", " END"], "a ", "a ")]
    #[case(&["a E", "NX"], "a ENX", "a ENX")]
    #[case(&["a EN"], "a EN", "a EN")]
    #[case(&["\u{fc}\u{fc}E", "\u{fc}|x"], "\u{fc}\u{fc}E\u{fc}", "\u{fc}\u{fc}E\u{fc}")]
    fn a_stop_ends_the_answer(#[case] pieces: &[&str], #[case] given: &str, #[case] text: &str) {
        let mut spoken = Spoken::new(vec!["END".into(), "|".into()]);
        let mut all: String = pieces.iter().map(|piece| spoken.say(piece)).collect();
        all.push_str(&spoken.finish());
        assert_eq!((all.as_str(), spoken.text()), (given, text));
    }

    #[rstest]
    #[case::the_same_again(&["hel", "lo ", "world"], "hello world")]
    #[case::shorter(&["he"], "hello")]
    #[case::in_other_words(&["he", "y you"], "hello\n\nhey you")]
    fn an_attempt_that_was_cut_does_not_count(#[case] again: &[&str], #[case] given: &str) {
        let mut spoken = Spoken::default();
        let mut all = spoken.say("first ");
        all.push_str(&spoken.say("hello"));
        spoken.take_back("hello");
        for piece in again {
            all.push_str(&spoken.say(piece));
        }
        all.push_str(&spoken.finish());
        assert_eq!(all, format!("first {given}"));
        assert_eq!(spoken.text(), format!("first {}", again.concat()));
    }

    #[test]
    fn two_attempts_that_were_cut_do_not_count() {
        let mut spoken = Spoken::default();
        let mut all = spoken.say("hello w");
        spoken.take_back("hello w");
        all.push_str(&spoken.say("hell"));
        spoken.take_back("hell");
        all.push_str(&spoken.say("hello world"));
        assert_eq!((all.as_str(), spoken.text()), ("hello world", "hello world"));
    }
}
