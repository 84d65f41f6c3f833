//! What a client says outside the protocol: headers, each also under the project's own name.

use axum::http::HeaderMap;

use crate::desk::options::form;
use crate::desk::refusal::Refusal;
use crate::runs::submission::Busy;

/// Both beginnings of every name: the predecessor's, and ours.
const PREFIXES: [&str; 2] = ["x-claude-", "x-claudebox-"];

/// Everything that headers can say.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Headers {
    /// `X-Claude-Workspace`: the folder to work in.
    pub(super) workspace: String,
    /// `X-Claude-Create-Workspace`: make that folder if it is missing.
    pub(super) create_workspace: bool,
    /// `X-Claude-Continue`: go on with the workspace's last session.
    pub(super) go_on: bool,
    /// `X-Claude-Append-System-Prompt`: added to the system prompt.
    pub(super) append_system_prompt: Option<String>,
    /// `X-Claude-Session`: the session to go on with.
    pub(super) session: Option<String>,
    /// `X-Claude-Busy`: what to do if the workspace is busy, if the client says so.
    pub(super) busy: Option<Busy>,
    /// `X-Claude-Progress`: how thinking and tools show in a stream.
    pub(super) progress: ProgressStyle,
}

/// How thinking and the use of tools show in a stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum ProgressStyle {
    /// They do not.
    #[default]
    Off,
    /// As `reasoning_content`, which clients show apart from the answer.
    Reasoning,
    /// As comments of the event stream, which clients drop.
    Comments,
}

impl Headers {
    pub(super) fn read(headers: &HeaderMap) -> Result<Self, Refusal> {
        let append = text(headers, "append-system-prompt")?;
        let session = match text(headers, "session")? {
            None => None,
            Some(id) => Some(form::session(&id).map_err(|wrong| invalid("session", &wrong.said, &[]))?),
        };
        Ok(Self {
            workspace: text(headers, "workspace")?.unwrap_or_default(),
            create_workspace: flag(headers, "create-workspace")?,
            go_on: flag(headers, "continue")?,
            append_system_prompt: append,
            session,
            busy: choice(
                headers,
                "busy",
                &[("reject", Some(Busy::Reject)), ("queue", Some(Busy::Queue)), ("replace", Some(Busy::Replace))],
            )?,
            progress: choice(
                headers,
                "progress",
                &[
                    ("off", ProgressStyle::Off),
                    ("reasoning", ProgressStyle::Reasoning),
                    ("comments", ProgressStyle::Comments),
                ],
            )?,
        })
    }
}

fn text(headers: &HeaderMap, name: &str) -> Result<Option<String>, Refusal> {
    let Some(value) = PREFIXES.iter().find_map(|prefix| headers.get(format!("{prefix}{name}"))) else {
        return Ok(None);
    };
    let text = std::str::from_utf8(value.as_bytes()).map_err(|_| invalid(name, "UTF-8 text is allowed", &[]))?.trim();
    Ok((!text.is_empty()).then(|| text.to_owned()))
}

fn flag(headers: &HeaderMap, name: &str) -> Result<bool, Refusal> {
    let words = [("1", true), ("true", true), ("yes", true), ("0", false), ("false", false), ("no", false)];
    choice(headers, name, &words)
}

fn choice<T: Copy + Default>(headers: &HeaderMap, name: &str, words: &[(&str, T)]) -> Result<T, Refusal> {
    let Some(said) = text(headers, name)? else { return Ok(T::default()) };
    let found = words.iter().find(|(word, _)| said.eq_ignore_ascii_case(word));
    found.map(|(_, value)| *value).ok_or_else(|| {
        let allowed: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        invalid(name, &format!("{said:?} is not allowed, only {}", allowed.join(", ")), &allowed)
    })
}

fn invalid(name: &str, why: &str, allowed: &[&str]) -> Refusal {
    let header: Vec<String> = ["x", "claude"].into_iter().chain(name.split('-')).map(capitalised).collect();
    let header = header.join("-");
    let refusal = Refusal::of_named("parameter", "invalid_header", &header, why);
    if allowed.is_empty() { refusal } else { refusal.with("allowed", allowed.to_vec()) }
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desk::options::form::Form;
    use crate::desk::options::{self, Place};
    use crate::doors::openai::error::WORDS;
    use axum::http::HeaderName;
    use rstest::rstest;

    fn read(pairs: &[(&str, &str)]) -> Result<Headers, Refusal> {
        let pairs = pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap()));
        Headers::read(&pairs.collect())
    }

    #[test]
    fn both_beginnings_are_one() {
        let ours =
            read(&[("X-Claudebox-Workspace", "a/b"), ("x-claudebox-continue", "Yes"), ("x-claudebox-busy", "queue")]);
        let theirs = read(&[("X-Claude-Workspace", "a/b"), ("x-claude-continue", "1"), ("x-claude-busy", "QUEUE")]);
        assert_eq!(ours, theirs);
        assert!(theirs.unwrap().go_on);
        assert_eq!(read(&[]).unwrap(), Headers::default());
        assert_eq!(read(&[("x-claude-continue", ""), ("x-claude-workspace", " ")]).unwrap(), Headers::default());
    }

    #[test]
    fn the_headers_of_the_table_of_options_are_read() {
        let nothing = read(&[]).unwrap();
        for (name, option) in options::at(Place::OpenAi).filter(|(name, _)| name.starts_with("X-")) {
            let value = match option.form {
                Form::Switch => "1",
                Form::Session => "0192d0ea-0000-7000-8000-000000000000",
                form => form.names().pop().unwrap_or("x"),
            };
            assert_ne!(read(&[(name, value)]).unwrap(), nothing, "{name}");
            for each in option.form.names() {
                assert!(read(&[(name, each)]).is_ok(), "{name}: {each}");
            }
        }
    }

    #[rstest]
    #[case(
        "x-claude-continue",
        "maybe",
        "X-Claude-Continue: \"maybe\" is not allowed, only 1, true, yes, 0, false, no"
    )]
    #[case("x-claude-session", "last", "X-Claude-Session: must be a session's id, the UUID that a result has")]
    #[case("x-claudebox-progress", "all", "X-Claude-Progress: \"all\" is not allowed, only off, reasoning, comments")]
    fn a_fault_is_named(#[case] name: &str, #[case] value: &str, #[case] detail: &str) {
        assert_eq!(read(&[(name, value)]).unwrap_err().detail(&WORDS), detail);
    }
}
