//! A run's end as messages.

use super::markdown;
use super::text::{LONGEST_MESSAGE, Text, cut};
use crate::claude::background;
use crate::store::record::{Run, State};

/// Answers of more messages than this come as their beginning and a file.
const MOST_MESSAGES: usize = 5;
const MOST_FILES: usize = 20;
const MARKER: &str = "[SEND_FILE:";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    Text(Text),
    /// The whole answer, as a file.
    Whole(String),
    File(String),
}

/// The messages of a run that has ended, the first always text. `so_far`: what was written of an unfinished answer.
pub(super) fn parts(run: &Run, so_far: &str) -> Vec<Part> {
    let end = run.end.as_ref();
    let result = end.and_then(|end| end.result["result"].as_str()).unwrap_or_default();
    let error = end.and_then(|end| end.error.as_deref()).unwrap_or("it ended without a result");
    // The CLI says an API's error as if it were an answer.
    let so_far = if error.contains(so_far.trim()) { "" } else { so_far };
    let partial = |note: &str| {
        let mut text = markdown::to_text(so_far).tail(LONGEST_MESSAGE - 400);
        if !text.text.is_empty() {
            text.append(&Text::plain("\n\n"));
        }
        text.append(&Text::italic(note));
        vec![Part::Text(text)]
    };
    match run.state {
        State::Succeeded => {
            let ended = end.and_then(|end| background::notice(&end.result["backgroundEnded"]));
            let note = ended.map(|ended| Part::Text(Text::italic(cut(&format!("⏹ Note: {ended}."), 1000))));
            said(result).into_iter().chain(note).collect()
        }
        State::Cancelled => partial("✋ Cancelled."),
        State::Interrupted => partial("⚠️ Interrupted: the server was stopped. Send it again to go on."),
        _ => {
            let limit = end
                .and_then(|end| end.outcome?.resets_at())
                .and_then(|at| chrono::DateTime::from_timestamp(at.cast_signed(), 0));
            let until =
                limit.map_or_else(String::new, |at| format!(" It resets at {}.", at.format("%Y-%m-%d %H:%M UTC")));
            partial(&format!("❌ {}{until}", cut(error, 300)))
        }
    }
}

pub(super) fn said(markdown: &str) -> Vec<Part> {
    said_below(Text::default(), markdown)
}

/// The messages of an answer that stands below `head`.
pub(super) fn said_below(head: Text, markdown: &str) -> Vec<Part> {
    let (rest, files) = without_files(markdown);
    let mut text = head;
    text.append(&markdown::to_text(&rest));
    let mut messages = text.split(LONGEST_MESSAGE);
    let mut parts = Vec::new();
    if messages.is_empty() {
        let nothing = if files.is_empty() { "Done. There was nothing to say." } else { "📎" };
        parts.push(Part::Text(Text::plain(nothing)));
    } else if messages.len() > MOST_MESSAGES {
        let mut head = messages.swap_remove(0);
        let room = LONGEST_MESSAGE - 64;
        if head.units() > room {
            head = head.split(room).swap_remove(0);
        }
        head.append(&Text::plain("\n\n"));
        head.append(&Text::italic("… the whole answer is in the file below."));
        parts.extend([Part::Text(head), Part::Whole(rest)]);
    } else {
        parts.extend(messages.into_iter().map(Part::Text));
    }
    let surplus = files.len().saturating_sub(MOST_FILES);
    parts.extend(files.into_iter().take(MOST_FILES).map(Part::File));
    if surplus > 0 {
        let text = format!("{surplus} more files were named; one answer sends {MOST_FILES}. /fetch PATH sends any.");
        parts.push(Part::Text(Text::plain(text)));
    }
    parts
}

/// The answer without its marks for files, and the files. A mark in code or in bold is one that is talked about.
fn without_files(markdown: &str) -> (String, Vec<String>) {
    let shown = markdown::shown_parts(markdown);
    let (mut text, mut files) = (String::with_capacity(markdown.len()), Vec::new());
    let mut from = 0;
    while let Some(at) = markdown[from..].find(MARKER).map(|at| from + at) {
        let inside = at + MARKER.len();
        let path = markdown[inside..].split_once(']').map(|(path, _)| path);
        let path = path.filter(|path| !path.contains('\n') && !path.trim().is_empty());
        let end = inside + path.map_or(0, |path| path.len() + 1);
        let is_shown = shown.iter().any(|part| part.start <= at && end <= part.end);
        let Some(path) = path.filter(|_| !is_shown) else {
            text.push_str(&markdown[from..end]);
            from = end;
            continue;
        };
        text.push_str(&markdown[from..at]);
        let path = path.trim().trim_matches('`').to_owned();
        if !files.contains(&path) {
            files.push(path);
        }
        from = after_mark(&mut text, markdown, end);
    }
    text.push_str(&markdown[from..]);
    (text, files)
}

/// Where the answer goes on after a mark that ends at `end`. A list's or quote's sign alone before it goes with it.
fn after_mark(text: &mut String, markdown: &str, end: usize) -> usize {
    let rest = &markdown[end..];
    let line_end = rest.find('\n').map_or(rest.len(), |at| at + 1);
    let begin = text.rfind('\n').map_or(0, |at| at + 1);
    let mut before = text[begin..].split_whitespace().peekable();
    if before.peek().is_none() || !before.all(is_sign) || !rest[..line_end].trim().is_empty() {
        return end;
    }
    text.truncate(begin);
    end + line_end
}

/// Whether a word is the sign of a list's item, a quote or a heading.
fn is_sign(word: &str) -> bool {
    let number = word.strip_suffix(['.', ')']).unwrap_or_default();
    let numbered = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    numbered || word.bytes().all(|byte| b">-*+#".contains(&byte))
}

#[cfg(test)]
mod tests;
