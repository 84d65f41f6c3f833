//! `turn`: one run, for `serve`.

use std::fmt::Display;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Instant;

use uuid::Uuid;

use super::super::configure::configure_box;
use super::super::failure::Failure;
use super::scratch::Scratch;
use super::surroundings::{Surroundings, time_left};
use super::take_place;
use super::walls::{Enclosure, around_claude, around_command};
use crate::claude::outcome::Outcome;
use crate::claude::reach::For;
use crate::claude::sessions::OpenError;
use crate::claude::{binary, settings};
use crate::config::Config;
use crate::config::environment::Environment;
use crate::exit_code::ExitCode;
use crate::privilege::plan::Kept;
use crate::process::events::Signals;
use crate::process::mark;
use crate::turn::protocol::{Prompt, ToWorker};
use crate::worker::one_shot::OneShot;
use crate::worker::peer::Inbox;
use crate::worker::{job, shell};

/// `turn`: a run for `serve`, already the box's user.
pub(in super::super) fn run(env: &impl Environment) -> Result<ExitCode, Failure> {
    // Nobody of Claude's user is to look into this process.
    nix::sys::prctl::set_dumpable(false).map_err(Failure::internal)?;
    take_place(Kept::Warden, env)?;
    let config = configure_box(env)?;
    let signals = Signals::block_all().map_err(Failure::internal)?;
    nix::sys::prctl::set_child_subreaper(true).map_err(Failure::internal)?;
    let mut inbox = Inbox::new(File::from(io::stdin().as_fd().try_clone_to_owned().map_err(Failure::internal)?));
    let Some(job) = inbox.first(&signals).map_err(Failure::internal)? else { return Ok(ExitCode::Ok) };
    let (run_id, workspace) = match &job {
        ToWorker::Prompt(prompt) => (prompt.run_id, prompt.workspace.clone()),
        ToWorker::Shell(shell) => (shell.run_id, shell.workspace.clone()),
        ToWorker::Cancel => return Ok(ExitCode::Ok),
    };
    own(run_id);
    let out = io::stdout();
    let refuse = |refusal: Unstarted| {
        job::refuse(run_id, &workspace, refusal.outcome, &refusal.why, out.lock()).map_err(Failure::internal)?;
        Ok(ExitCode::Ok)
    };
    if inbox.is_cancelled() {
        let outcome = Outcome::Killed { signal: Some(libc::SIGTERM) };
        return refuse(Unstarted { outcome, why: "cancelled before it began".into() });
    }
    if !is_real(&workspace) {
        let why = format!("the workspace {} is gone, or has become a link", workspace.display());
        return refuse(Unstarted::of(why));
    }
    match job {
        ToWorker::Prompt(prompt) => {
            let verbose = prompt.verbose;
            let request = match prepare(*prompt, config, env) {
                Ok(request) => request,
                Err(NotBegun::Refused(refusal)) => return refuse(refusal),
                Err(NotBegun::Failed(failure)) => return Err(failure),
            };
            let (request, _scratch) = request;
            let finished = job::run(&request, verbose, &signals, &mut inbox, out.lock()).map_err(Failure::internal)?;
            if let Some(notice) = finished.notice() {
                tracing::warn!("run {run_id}: {notice}");
            }
        }
        ToWorker::Shell(shell) => {
            let place = Surroundings::of_child(&config)?;
            let around = match around_command(&config, &place.sessions, &shell.workspace, env) {
                Ok(around) => around,
                Err(why) => return Err(Failure::config(why)),
            };
            let Enclosure { walls, environment, scratch: _scratch } = around;
            shell::carry_out(&shell, &signals, &mut inbox, out.lock(), walls, &environment)
                .map_err(Failure::internal)?;
        }
        ToWorker::Cancel => {}
    }
    Ok(ExitCode::Ok)
}

/// Why nothing is begun for a run.
struct Unstarted {
    outcome: Outcome,
    why: String,
}

impl Unstarted {
    fn of(why: impl Display) -> Self {
        Self { outcome: Outcome::Truncated, why: why.to_string() }
    }
}

impl From<OpenError> for Unstarted {
    fn from(error: OpenError) -> Self {
        Self { outcome: error.outcome(), why: error.to_string() }
    }
}

/// Why there is nothing to start.
enum NotBegun {
    /// The engine is told.
    Refused(Unstarted),
    /// This is no worker of an engine's.
    Failed(Failure),
}

impl<R: Into<Unstarted>> From<R> for NotBegun {
    fn from(refusal: R) -> Self {
        Self::Refused(refusal.into())
    }
}

/// Marks this process as the run's before its CLI is there: from here on everything below it belongs to the run, whatever
/// becomes of this process.
fn own(run_id: Uuid) {
    let marked = run_id.to_string().parse().map_err(io::Error::other).and_then(|run| mark::put(&run));
    if let Err(error) = marked {
        tracing::warn!("the run's processes cannot be marked: {error}; some may outlive it if its worker is killed");
    }
}

/// Whether the folder is where it was when the run was accepted. A link may have taken its place since.
fn is_real(workspace: &Path) -> bool {
    std::fs::canonicalize(workspace).is_ok_and(|real| real == workspace)
}

/// What the CLI is started with to answer `prompt`.
fn prepare(prompt: Prompt, config: Config, env: &impl Environment) -> Result<(OneShot, Option<Scratch>), NotBegun> {
    // What its call has brought along is part of its settings, too.
    let variables = prompt.variables.clone();
    let env = &variables.over(env);
    let config = if variables.is_empty() {
        config
    } else {
        let of_call = Config::read(env).map_err(Unstarted::of)?;
        Config { git: of_call.git, system_hint: of_call.system_hint, ..config }
    };
    let program = binary::of_box(&config, env).map_err(Unstarted::of)?;
    let settings = prompt.options.settings.as_deref();
    let settings = settings::of_command_line(config.offline, env, settings).map_err(Unstarted::of)?;
    let place = Surroundings::of_child(&Config { workspace: prompt.workspace, ..config.clone() });
    let place = place.map_err(NotBegun::Failed)?;
    let began = Instant::now();
    let standing = place.settle(&config, env);
    let opened = place.take(prompt.session)?;
    let options = place.with_model(time_left(prompt.options, began), &opened, &settings, env);
    let session = &opened.choice.session;
    let Enclosure { walls, environment, scratch } =
        around_claude(&config, &place.sessions, &place.workspace, session, For::APrompt, env).map_err(Unstarted::of)?;
    let request = OneShot {
        run_id: prompt.run_id,
        claude_bin: program.to_string_lossy().into_owned(),
        prompt: prompt.text,
        from_door: prompt.from_door,
        options,
        workspace: place.workspace,
        opened,
        sessions: place.sessions,
        standing,
        silence: prompt.silence,
        background: config.background,
        memory: config.max_memory,
        settings,
        broker: config.broker_control,
        offline: config.offline,
        variables: prompt.variables,
        walls,
        behind_walls: environment,
    };
    Ok((request, scratch))
}
