//! How children of the box are started: as whom, where, and with which environment.

use std::ffi::OsString;

use super::supervise::Supervisor;
use crate::boot::Booted;
use crate::config::mode::Mode;
use crate::config::spelling::spellings;
use crate::config::{Config, name};
use crate::privilege::helper::Group;
use crate::privilege::plan::{Credentials, Kept};
use crate::privilege::walls::Walls;
use crate::process::spawn::Spawn;

/// Changes of an environment: a value sets, `None` removes.
pub(super) type Changes = Vec<(String, Option<OsString>)>;

/// Which side of the box a child is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// Claude's: the CLI and what it starts.
    Claude,
    /// The servers: they look after the state.
    Servers,
    /// What starts one prompt and looks after it.
    Worker,
}

/// A child of the box on this side.
pub(super) fn child_of_box(
    supervisor: &Supervisor,
    config: &Config,
    booted: &Booted,
    side: Side,
    command: Vec<OsString>,
    mut environment: Changes,
    group: Group,
) -> Spawn {
    let (credentials, kept) = user_of(booted, side);
    if let Some(guard) = &booted.guard {
        let claude = booted.identity.credentials.to_string();
        let state_dir = (side == Side::Servers).then(|| guard.state_dir.clone().into_os_string());
        environment.push((name::CLAUDE_IDS.into(), (side != Side::Claude).then(|| claude.into())));
        environment.push((name::STATE_DIR.into(), state_dir));
    }
    Spawn {
        command,
        environment,
        directory: booted.workspace.clone(),
        credentials,
        kept,
        mode: config.mode,
        group,
        // PID 1 takes its whole namespace with it; anybody else leaves the child to itself unless it asks for this.
        parent_death_signal: (!supervisor.is_pid1()).then_some(libc::SIGTERM),
        walls: Walls::default(),
    }
}

/// Who a child on this side runs as; `None`: as this process does.
fn user_of(booted: &Booted, side: Side) -> (Option<Credentials>, Kept) {
    let claude = &booted.identity.credentials;
    match (&booted.guard, side) {
        (Some(guard), Side::Servers) => (Some(guard.servers(claude)), Kept::Files),
        (Some(guard), Side::Worker) => (Some(guard.worker(claude)), Kept::Warden),
        _ => (booted.identity.drop.then(|| claude.clone()), Kept::Nothing),
    }
}

/// A child as the user of this process: as root, where this is root. What was forwarded into the box (`LD_PRELOAD` may be among
/// it) is for the box's user, not for a program of root's.
pub(super) fn plan_of_roots(booted: &Booted, command: Vec<OsString>) -> Spawn {
    Spawn {
        command,
        environment: booted.environment.iter().filter(|(_, value)| value.is_none()).cloned().collect(),
        directory: "/".into(),
        credentials: None,
        kept: Kept::Nothing,
        mode: Mode::Sudo,
        group: Group::Session,
        parent_death_signal: None,
        walls: Walls::default(),
    }
}

/// The same for what installs the CLI: how the box's user reaches the network it is told too, and takes it over by itself.
pub(super) fn plan_of_installer(booted: &Booted, command: Vec<OsString>) -> Spawn {
    let mut plan = plan_of_roots(booted, command);
    let forwarded = spellings(name::FORWARD_PREFIX);
    plan.environment.retain(|(name, _)| !forwarded.iter().any(|prefix| name.starts_with(prefix.as_str())));
    plan
}
