//! `worker`: one prompt, for whoever reads its standard output.

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::time::Instant;

use uuid::Uuid;

use super::super::configure::configure;
use super::super::failure::Failure;
use super::super::run_args::RunArgs;
use super::surroundings::{Surroundings, run_of, say_unwritable, settings_of, time_left};
use super::take_place;
use super::walls::{Enclosure, around_claude};
use crate::claude::arguments::FromDoor;
use crate::claude::reach::For;
use crate::claude::sessions::Side;
use crate::claude::{binary, cli_options};
use crate::config::call::Variables;
use crate::config::environment::Environment;
use crate::config::{Config, name};
use crate::exit_code::ExitCode;
use crate::privilege::plan::Kept;
use crate::process::events::Signals;
use crate::worker::one_shot::{self, OneShot};
use crate::worker::output;
use crate::worker::prompt::{self, PromptError};

/// Hidden role: carries out one run.
pub(in super::super) const ROLE: &str = "worker";

/// `worker`: already the box's user, in the workspace.
pub(in super::super) fn run(args: &[OsString], env: &impl Environment) -> Result<ExitCode, Failure> {
    nix::sys::prctl::set_dumpable(false).map_err(Failure::internal)?;
    take_place(Kept::Warden, env)?;
    let config = configure(env)?;
    let run = run_of(args)?;
    let signals = Signals::block_all().map_err(Failure::internal)?;
    nix::sys::prctl::set_child_subreaper(true).map_err(Failure::internal)?;
    let place = Surroundings::of_child(&config)?;
    let program = binary::of_box(&config, env).map_err(|error| Failure::new(error.exit_code(), error))?;
    let RunArgs { output_format, .. } = run;
    let prompt = collect_prompt(&run, &signals)?;
    let settings = settings_of(&run.options, &config, env)?;
    let began = Instant::now();
    let standing = place.settle(&config, env);
    say_unwritable(&place.workspace);
    let opened = place.open(&run.options, Side::Prompt).map_err(|error| Failure::of_session(&error))?;
    let options = place.with_model(time_left(run.options, began), &opened, &settings, env);
    let session = &opened.choice.session;
    let Enclosure { walls, environment, scratch: _scratch } =
        around_claude(&config, &place.sessions, &place.workspace, session, For::APrompt, env)
            .map_err(Failure::config)?;
    let request = OneShot {
        run_id: Uuid::now_v7(),
        claude_bin: program.to_string_lossy().into_owned(),
        prompt,
        options,
        from_door: FromDoor::default(),
        workspace: place.workspace,
        opened,
        sessions: place.sessions,
        standing,
        silence: None,
        background: config.background,
        memory: config.max_memory,
        settings,
        broker: config.broker_control.clone(),
        offline: config.offline,
        variables: Variables::default(),
        walls,
        behind_walls: environment,
    };
    let is_watched = is_watched(&config, env);
    let finished = one_shot::print(&request, output_format, is_watched, &signals, io::stdout().lock())
        .map_err(Failure::internal)?;
    if let Some(complaint) = finished.complaint() {
        output::tell(&complaint, finished.outcome);
    }
    if let Some(notice) = finished.notice() {
        tracing::warn!("{notice}");
    }
    Ok(finished.exit_code())
}

/// Whether a person reads standard error while a prompt is answered. The host command says so of a terminal that the engine hides.
pub(in super::super) fn is_watched(config: &Config, env: &impl Environment) -> bool {
    config.debug || io::stderr().is_terminal() || env.get(name::WATCHED).is_some_and(|value| value == "1")
}

/// The prompt, from the command line and standard input.
pub(in super::super) fn collect_prompt(run: &RunArgs, signals: &Signals) -> Result<String, Failure> {
    prompt::collect(&run.prompt_words(), signals).map_err(|error| match error {
        PromptError::Missing if let Some(option) = cli_options::greedy(&run.options.cli) => {
            let hint = format!("{option} has taken the last words: put the prompt before it, or after --");
            Failure::usage(format!("{error}; {hint}"))
        }
        PromptError::Stopped(signal) => Failure::new(ExitCode::from_signal(signal), error),
        PromptError::Io(_) => Failure::internal(error),
        PromptError::Missing | PromptError::TooLong | PromptError::NotText => Failure::usage(error),
    })
}
