//! Where a child of the box works, and what it prepares there for the CLI.

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::super::failure::Failure;
use super::super::intent::{Intent, classify};
use super::super::run_args::RunArgs;
use crate::boot::{person, workspaces};
use crate::claude::arguments::{Options, Session};
use crate::claude::sessions::{OpenError, Opened, Sessions, Side};
use crate::claude::{first_run, model, settings, standing};
use crate::config::Config;
use crate::config::environment::Environment;
use crate::manifest;

/// Where a child of the box works, from the environment that the box gave it.
pub(super) struct Surroundings {
    pub(super) workspace: PathBuf,
    config_dir: PathBuf,
    pub(super) sessions: Sessions,
}

impl Surroundings {
    pub(super) fn of_child(config: &Config) -> Result<Self, Failure> {
        let Some(config_dir) = config.config_dir.clone() else { return Err(Failure::of_hidden_role()) };
        let state_dir = config.notes_folder(&config_dir);
        let sessions = Sessions { config_dir: config_dir.clone(), state_dir };
        Ok(Self { workspace: config.workspace.clone(), config_dir, sessions })
    }

    /// The session to start the CLI with; what is worth knowing about the choice is said.
    pub(super) fn open(&self, options: &Options, side: Side) -> Result<Opened, OpenError> {
        self.sessions.open(options, &self.workspace, side).inspect(say_note)
    }

    /// The same for a session that `serve` has chosen.
    pub(super) fn take(&self, session: Session) -> Result<Opened, OpenError> {
        self.sessions.take(session, &self.workspace).inspect(say_note)
    }

    /// The options of a prompt, with the model that is meant where none is named.
    pub(super) fn with_model(
        &self,
        options: Options,
        opened: &Opened,
        settings: &str,
        env: &impl Environment,
    ) -> Options {
        let begins = matches!(opened.choice.session, Session::Fresh | Session::Begin(_));
        // An agent may have a model of its own.
        let is_agent = options.cli.iter().any(|word| word == "--agent" || word.starts_with("--agent="));
        if options.model.is_some() || begins || is_agent {
            return options;
        }
        Options { model: model::of_resumed(settings, &self.workspace, &self.config_dir, env), ..options }
    }

    /// Prepares what the CLI finds as its user: its own files, what it is told of the box, git's identity, and the
    /// standing instructions, whose file is returned.
    ///
    /// What fails is said and does not stop the start: the CLI asks its questions itself, or fails with its own message.
    pub(super) fn settle(&self, config: &Config, env: &impl Environment) -> Option<PathBuf> {
        let key = env.get("ANTHROPIC_API_KEY").and_then(|key| key.into_string().ok());
        if let Err(error) = first_run::settle(&self.config_dir, &self.workspace, key.as_deref()) {
            tracing::warn!("{error}");
        }
        manifest::tell_claude(config, env, &self.workspace, &self.config_dir);
        if let Some(home) = env.get("HOME").map(PathBuf::from) {
            person::settle(&home, &self.workspace, &config.git);
        }
        standing::write(&self.config_dir, &self.sessions.state_dir, config.system_hint.as_deref()).unwrap_or_else(
            |error| {
                tracing::warn!("the always-active skills and the system hint are left out: {error}");
                None
            },
        )
    }
}

/// What a child of the box was started to answer.
pub(super) fn run_of(args: &[OsString]) -> Result<RunArgs, Failure> {
    match classify(args, io::stdin().is_terminal()).map_err(Failure::usage)? {
        Intent::Interactive(run) | Intent::Prompt(run) => Ok(run),
        Intent::Passthrough(_) => Err(Failure::of_hidden_role()),
    }
}

/// What `--settings` of the CLI gets.
pub(super) fn settings_of(options: &Options, config: &Config, env: &impl Environment) -> Result<String, Failure> {
    settings::of_command_line(config.offline, env, options.settings.as_deref()).map_err(Failure::usage)
}

/// The options of a run that began then: the time of its preparation counts as its own.
pub(super) fn time_left(options: Options, began: Instant) -> Options {
    Options { timeout: options.timeout.map(|timeout| timeout.saturating_sub(began.elapsed())), ..options }
}

fn say_note(opened: &Opened) {
    if let Some(note) = &opened.choice.note {
        tracing::warn!("{note}");
    }
}

/// Says so if Claude cannot write where it is to work. It can still answer, so nothing is refused.
pub(super) fn say_unwritable(workspace: &Path) -> bool {
    let why = workspaces::why_not_writable(workspace);
    why.inspect(|why| tracing::warn!("{why}")).is_some()
}
