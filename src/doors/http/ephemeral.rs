//! Workspaces that are there for one run: made for it, and deleted with all in them once it has ended.

use std::fs;
use std::path::Path;

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::desk::Desk;
use crate::runs::engine::Submitted;
use crate::runs::submission::SubmitError;
use crate::workspace::{Precondition, Workspaces};

/// The folder of these workspaces, below the workspaces folder.
const FOLDER: &str = "ephemeral";

/// A name for one. The same `key` of the same caller has the same name, so that what is asked again is the same run.
pub(super) fn name(caller: &str, key: Option<&str>) -> String {
    let id = key.map_or_else(
        || Uuid::now_v7().to_string(),
        |key| {
            let digest = Sha256::digest(format!("{caller}\0{key}"));
            Uuid::from_slice(&digest[..16]).unwrap_or_default().to_string()
        },
    );
    format!("{FOLDER}/{id}")
}

/// Has the workspace `name` deleted when what was asked for in it has ended.
pub(super) async fn settle(desk: &Desk, submitted: &Result<Submitted, SubmitError>, name: String) {
    use SubmitError::{NotReady, OverBudget, OverShare, QueueFull};
    match submitted {
        Ok(run) => delete_after(desk, run.id, name),
        Err(QueueFull { .. } | OverShare { .. } | OverBudget(_) | NotReady(_)) => {
            delete(desk.workspaces.clone(), name).await;
        }
        // One that has a run already is that run's.
        Err(_) => {}
    }
}

/// Deletes the workspace `name` once `run` has ended.
fn delete_after(desk: &Desk, run: Uuid, name: String) {
    let (engine, workspaces) = (desk.engine.clone(), desk.workspaces.clone());
    tokio::spawn(async move {
        // What this server does not see the end of, the next one does.
        if engine.wait(run).await.is_ok_and(|run| run.is_none_or(|run| run.state.is_final())) {
            delete(workspaces, name).await;
        }
    });
}

/// Deletes the workspace `name`.
async fn delete(workspaces: Workspaces, name: String) {
    let deleted = tokio::task::spawn_blocking(move || {
        let path = workspaces.client_path(name.as_bytes())?;
        workspaces.delete(&path, true, &Precondition::default())
    });
    if let Ok(Err(error)) = deleted.await {
        tracing::warn!("a workspace of one run cannot be deleted: {error}");
    }
}

/// Deletes those whose runs have ended while no server looked, and the others when they end.
pub async fn take_up(desk: &Desk) {
    let folder = desk.workspaces.root().join(FOLDER);
    let live = desk.engine.status().live;
    for name in names(&folder) {
        let path = folder.join(&name);
        let workspace = format!("{FOLDER}/{name}");
        match live.iter().find(|(_, workspace, _)| *workspace == path) {
            Some((run, ..)) => delete_after(desk, *run, workspace),
            None => delete(desk.workspaces.clone(), workspace).await,
        }
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    // Something else there is somebody's own.
    names.filter(|name| Uuid::try_parse(name).is_ok()).collect()
}
