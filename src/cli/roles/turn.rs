//! `turn`: one run, for `serve`.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::time::Instant;

use super::super::configure::configure_box;
use super::super::failure::Failure;
use super::surroundings::{Surroundings, time_left};
use crate::claude::binary;
use crate::claude::outcome::Outcome;
use crate::claude::sessions::{OpenError, Side};
use crate::claude::settings;
use crate::config::Config;
use crate::config::environment::Environment;
use crate::exit_code::ExitCode;
use crate::process::events::Signals;
use crate::process::mark;
use crate::turn::protocol::ToWorker;
use crate::worker::job;
use crate::worker::one_shot::Request;
use crate::worker::peer::Inbox;
use crate::worker::shell;

/// `turn`: a run for `serve`, already the box's user.
pub(in super::super) fn run(env: &impl Environment) -> Result<ExitCode, Failure> {
    let config = configure_box(env)?;
    let signals = Signals::block_all().map_err(Failure::internal)?;
    nix::sys::prctl::set_child_subreaper(true).map_err(Failure::internal)?;
    let mut inbox = Inbox::new(File::from(io::stdin().as_fd().try_clone_to_owned().map_err(Failure::internal)?));
    let job = inbox.first(&signals).map_err(Failure::internal)?;
    let (run_id, workspace) = match &job {
        Some(ToWorker::Prompt(prompt)) => (prompt.run_id, prompt.workspace.clone()),
        Some(ToWorker::Shell(shell)) => (shell.run_id, shell.workspace.clone()),
        Some(ToWorker::Cancel) | None => return Ok(ExitCode::Ok),
    };
    // Before the CLI is there: from here on everything belongs to the run, whatever becomes of this process.
    let marked = run_id.to_string().parse().map_err(io::Error::other).and_then(|run| mark::put(&run));
    if let Err(error) = marked {
        tracing::warn!("the run's processes cannot be marked: {error}; some may outlive it if its worker is killed");
    }
    let out = io::stdout();
    let refuse_as = |outcome: Outcome, why: &dyn std::fmt::Display| {
        job::refuse(run_id, &workspace, outcome, &why.to_string(), out.lock()).map_err(Failure::internal)
    };
    let refuse = |why: &dyn std::fmt::Display| refuse_as(Outcome::Truncated, why);
    if inbox.is_cancelled() {
        refuse_as(Outcome::Killed { signal: Some(libc::SIGTERM) }, &"cancelled before it began")?;
        return Ok(ExitCode::Ok);
    }
    // A link may have taken the folder's place since the run was accepted.
    if !std::fs::canonicalize(&workspace).is_ok_and(|real| real == workspace) {
        refuse(&format!("the workspace {} is gone, or has become a link", workspace.display()))?;
        return Ok(ExitCode::Ok);
    }
    let job = match job {
        Some(ToWorker::Prompt(prompt)) => prompt,
        Some(ToWorker::Shell(shell)) => {
            shell::carry_out(&shell, &signals, &mut inbox, out.lock()).map_err(Failure::internal)?;
            return Ok(ExitCode::Ok);
        }
        Some(ToWorker::Cancel) | None => return Ok(ExitCode::Ok),
    };
    // What its call has brought along is part of its settings, too.
    let env = &job.variables.over(env);
    let config = if job.variables.is_empty() {
        config
    } else {
        match Config::read(env) {
            Ok(of_call) => Config { git: of_call.git, system_hint: of_call.system_hint, ..config },
            Err(error) => {
                refuse(&error)?;
                return Ok(ExitCode::Ok);
            }
        }
    };
    let program = match binary::of_box(&config, env) {
        Ok(program) => program,
        Err(error) => {
            refuse(&error)?;
            return Ok(ExitCode::Ok);
        }
    };
    let settings = match settings::of_command_line(config.offline, env, job.options.settings.as_deref()) {
        Ok(settings) => settings,
        Err(error) => {
            refuse(&error)?;
            return Ok(ExitCode::Ok);
        }
    };
    let place = Surroundings::of_child(&Config { workspace: workspace.clone(), ..config.clone() })?;
    let began = Instant::now();
    let standing = place.settle(&config, env);
    let opened = match place.open(&job.options, Side::Prompt) {
        Ok(opened) => opened,
        Err(error) => {
            let outcome = match error {
                OpenError::InUse { .. } => Outcome::Truncated,
                OpenError::Unknown(_) | OpenError::None { .. } => Outcome::SessionNotFound,
            };
            refuse_as(outcome, &error)?;
            return Ok(ExitCode::Ok);
        }
    };
    let options = place.with_model(time_left(job.options.clone(), began), &opened, &settings, env);
    let request = Request {
        run_id: job.run_id,
        claude_bin: program.to_string_lossy().into_owned(),
        prompt: job.text.clone(),
        options,
        workspace: place.workspace,
        opened,
        sessions: place.sessions,
        standing,
        silence: job.silence,
        background: config.background,
        memory: config.max_memory,
        settings,
        offline: config.offline,
        variables: job.variables.clone(),
    };
    let finished = job::run(&request, job.verbose, &signals, &mut inbox, out.lock()).map_err(Failure::internal)?;
    if let Some(notice) = finished.notice() {
        tracing::warn!("run {}: {notice}", job.run_id);
    }
    Ok(ExitCode::Ok)
}
