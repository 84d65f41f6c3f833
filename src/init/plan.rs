//! How children of the box are started: as whom, where, and with which environment.

use std::ffi::OsString;

use super::supervise::Supervisor;
use crate::boot::Booted;
use crate::config::mode::Mode;
use crate::config::spelling::spellings;
use crate::config::{Config, name};
use crate::privilege::helper::Group;
use crate::process::spawn::Spawn;

/// Changes of an environment: a value sets, `None` removes.
pub(super) type Changes = Vec<(String, Option<OsString>)>;

/// A child that runs as the box's user.
pub(super) fn child_of_box(
    supervisor: &Supervisor,
    config: &Config,
    booted: &Booted,
    command: Vec<OsString>,
    environment: Changes,
    group: Group,
) -> Spawn {
    Spawn {
        command,
        environment,
        directory: booted.workspace.clone(),
        credentials: booted.identity.drop.then(|| booted.identity.credentials.clone()),
        mode: config.mode,
        group,
        // PID 1 takes its whole namespace with it; anybody else leaves the child to itself unless it asks for this.
        parent_death_signal: (!supervisor.is_pid1()).then_some(libc::SIGTERM),
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
        mode: Mode::Sudo,
        group: Group::Session,
        parent_death_signal: None,
    }
}

/// The same for what installs the CLI: how the box's user reaches the network it is told too, and takes it over by itself.
pub(super) fn plan_of_installer(booted: &Booted, command: Vec<OsString>) -> Spawn {
    let mut plan = plan_of_roots(booted, command);
    let forwarded = spellings(name::FORWARD_PREFIX);
    plan.environment.retain(|(name, _)| !forwarded.iter().any(|prefix| name.starts_with(prefix.as_str())));
    plan
}
