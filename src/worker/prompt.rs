//! The prompt: words from the command line, text from standard input, or both.

use std::io::{self, IsTerminal, Read};
use std::time::{Duration, Instant};

use crate::claude::limits::LONGEST_PROMPT_BYTES;
use crate::process::events::{self, Interest, Signals};

/// How long a silent standard input is waited for when the command line has a prompt already. The CLI waits as long:
/// a job runner's never-closed pipe must not hold the run for good.
const SILENT_STDIN: Duration = Duration::from_secs(3);

/// Why there is no prompt to send.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum PromptError {
    #[error("there is no prompt: give one as an argument (claudebox \"explain this codebase\") or on standard input")]
    Missing,
    #[error(
        "the prompt is longer than {LONGEST_PROMPT_BYTES} bytes, the most the CLI takes: put the material into a file \
         in the workspace and name it in the prompt"
    )]
    TooLong,
    #[error(
        "the prompt on standard input is not UTF-8 text: put the file into the workspace and name it in the prompt"
    )]
    NotText,
    /// Asked to end meanwhile.
    #[error("ended by signal {0} while waiting for standard input")]
    Stopped(i32),
    #[error("cannot read standard input: {0}")]
    Io(#[from] io::Error),
}

/// Puts the prompt together. Reads standard input to its end, unless it is a terminal.
pub fn collect(words: &str, signals: &Signals) -> Result<String, PromptError> {
    let stdin = io::stdin();
    let input = if stdin.is_terminal() { Vec::new() } else { read_to_end(signals, !words.is_empty())? };
    let input = String::from_utf8(input).map_err(|_| PromptError::NotText)?;
    join(words, &input)
}

/// Command line first, then a blank line, then the input.
fn join(words: &str, input: &str) -> Result<String, PromptError> {
    let parts: Vec<&str> = [words, input].into_iter().filter(|part| !part.trim().is_empty()).collect();
    let prompt = parts.join("\n\n");
    match prompt.len() {
        0 => Err(PromptError::Missing),
        length if length > LONGEST_PROMPT_BYTES => Err(PromptError::TooLong),
        _ => Ok(prompt),
    }
}

fn read_to_end(signals: &Signals, may_be_silent: bool) -> Result<Vec<u8>, PromptError> {
    let mut stdin = io::stdin().lock();
    let mut input = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    let mut deadline = may_be_silent.then(|| Instant::now() + SILENT_STDIN);
    loop {
        events::wait(signals, &[Interest::readable(&io::stdin())], deadline)?;
        while let Some(signal) = signals.next()? {
            if events::asks_to_stop(signal) {
                return Err(PromptError::Stopped(signal));
            }
        }
        if events::is_readable(&io::stdin())? {
            match stdin.read(&mut buffer)? {
                0 => return Ok(input),
                count => input.extend_from_slice(&buffer[..count]),
            }
            deadline = None;
            if input.len() > LONGEST_PROMPT_BYTES {
                return Err(PromptError::TooLong);
            }
        } else if deadline.is_some_and(|at| Instant::now() >= at) {
            tracing::warn!("standard input stayed silent for {} s and is left out", SILENT_STDIN.as_secs());
            return Ok(input);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_parts_are_sent_the_command_line_first() {
        assert_eq!(join("review", "+ a line\n").unwrap(), "review\n\n+ a line\n");
        assert_eq!(join("", "only input").unwrap(), "only input");
        assert_eq!(join("only words", " \n").unwrap(), "only words");
    }

    #[test]
    fn nothing_is_no_prompt() {
        assert!(matches!(join(" ", "\n"), Err(PromptError::Missing)));
    }

    #[test]
    fn the_limit_holds_for_both_together() {
        let half = "x".repeat(LONGEST_PROMPT_BYTES / 2);
        assert!(matches!(join(&half, &half), Err(PromptError::TooLong)));
        assert!(join(&half, "y").is_ok());
    }
}
