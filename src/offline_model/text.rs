//! What all texts of the offline model have in common: a label, and a limit to what they repeat.

/// Starts every text the offline model writes, error messages too: nobody may take one for a model's answer.
pub const LABEL: &str = "[claudebox offline model]";

/// At most `longest` characters of `text`; a longer one says how many there were.
pub(super) fn capped(text: &str, longest: usize) -> String {
    match text.char_indices().nth(longest) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}\u{2026} ({} characters)", &text[..end], text.chars().count()),
    }
}
