//! The Claude Code CLI as a typed thing: its arguments, its event stream, how a run of it ended, its files.
//!
//! Facts about the CLI were measured with the version in `claude-cli.version`; `tests/fixtures/claude-cli` holds what
//! it printed.

pub mod arguments;
pub mod background;
pub mod binary;
pub mod cli_options;
pub mod envelope;
pub mod event;
pub mod first_run;
pub mod limits;
pub mod model;
pub mod outcome;
pub mod price;
pub mod prompt_files;
pub mod reach;
pub mod schema;
pub mod sessions;
pub mod settings;
pub mod standing;
pub mod store;
pub mod stored;
pub mod transcript;

/// The CLI version everything here was measured with, and the one the image installs.
pub const PINNED_VERSION: &str = include_str!("../../claude-cli.version").trim_ascii();
