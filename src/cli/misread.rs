//! Arguments that ask for nothing that can be done, and what their caller is told.

use super::failure::Failure;
use crate::claude::cli_options::OptionError;
use crate::exit_code::ExitCode;

/// Why no intent can be read from the arguments.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum Misread {
    /// A wrong flag or value; also `--help`, which is no error to its reader.
    #[error(transparent)]
    Arguments(#[from] clap::Error),
    #[error(transparent)]
    Option(#[from] OptionError),
    #[error("--fork-session needs --resume ID or --continue: it goes on in a copy of that session")]
    NothingToFork,
    #[error("an argument is not UTF-8 text: {0}")]
    NotText(String),
    #[error("unknown command '{word}': did you mean {command}? to send it as a prompt: -p {word}")]
    Typo { word: String, command: String },
}

impl Misread {
    /// Help and version are answers, everything else is a usage error.
    pub(super) fn answer(self) -> Result<ExitCode, Failure> {
        match self {
            Self::Arguments(error) => {
                // Nobody may be there to read it.
                let _ = error.print();
                Ok(if error.use_stderr() { ExitCode::Usage } else { ExitCode::Ok })
            }
            misread => Err(Failure::usage(misread)),
        }
    }
}
