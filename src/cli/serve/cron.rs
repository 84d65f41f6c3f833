//! The cron door, with its file read before anything else is: a mistake in it is said at the start.

use std::sync::Arc;

use super::super::failure::Failure;
use super::state::config_folder;
use crate::atomic_file;
use crate::config::server::{CronConfig, ServerConfig};
use crate::config::{Config, name};
use crate::desk::Desk;
use crate::desk::chats::Chats;
use crate::doors::Door;
use crate::doors::cron::{Cron, CronFiles};
use crate::exit_code::ExitCode;
use crate::workspace::Workspaces;

/// The door, loaded and not yet at work.
pub(super) struct CronDoor {
    cron: Cron,
    workspaces: Workspaces,
}

impl CronDoor {
    /// `restarts`: how often `serve` was started again in this box.
    pub(super) fn load(
        cron: &CronConfig,
        config: &Config,
        server: &ServerConfig,
        restarts: i64,
    ) -> Result<Self, Failure> {
        let own = || {
            let folder = config_folder(config).ok()?.join("cron");
            // What cannot be made shows when it is written to.
            let _ = atomic_file::private_folder(&folder);
            Some(folder)
        };
        let folder = cron.history_dir.clone().or_else(own).ok_or_else(|| {
            Failure::config(format!(
                "there is no place for the jobs' history: set {} or HOME",
                name::MODE_CRON_HISTORY_DIR
            ))
        })?;
        let settings = CronFiles { file: cron.file.clone(), zone: cron.zone, folder, keep: server.engine.keep };
        // A file that was fine when the box was started may be so again.
        let code = if restarts == 0 { ExitCode::Config } else { ExitCode::Internal };
        let cron = Cron::load(settings).map_err(|error| Failure::new(code, error))?;
        let workspaces = Workspaces::open(&config.workspace).map_err(|error| {
            let folder = config.workspace.display();
            Failure::config(format!("the jobs cannot use the workspace {folder} ({}): {error}", name::WORKSPACE))
        })?;
        Ok(Self { cron, workspaces })
    }

    /// The door. `chats`: who tells chats, if there are any.
    pub(super) fn door(self, desk: &Desk, chats: Option<Arc<dyn Chats>>) -> Box<dyn Door> {
        self.cron.open(Desk { workspaces: self.workspaces, ..desk.clone() }, chats)
    }
}
