//! The caller of a door: a name, and the rights that come with it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::runs::submission::Origin;
use crate::store::Sight;
use crate::store::record::{DoorName, Requester};
use crate::workspace::Workspaces;

/// Name of whoever presents the one token of the settings.
pub const DEFAULT: &str = "default";
/// Name of everybody at an open server.
pub const ANONYMOUS: &str = "anonymous";

/// The caller of a request, and what the caller may do.
#[derive(Debug, Clone, PartialEq)]
pub struct Caller {
    /// Their name, for logs and the ledger.
    pub name: String,
    /// Workspaces they may use; `None` is all.
    pub workspaces: Option<Vec<String>>,
    /// Doors they may use; `None` is all.
    pub doors: Option<Vec<DoorName>>,
    /// Most their runs of a day (UTC) may cost, US dollars.
    pub cost_per_day: Option<f64>,
    /// Most of their runs at once.
    pub max_runs: Option<usize>,
    /// Most of their runs that wait.
    pub max_queued: Option<usize>,
}

impl Caller {
    /// Somebody who may do everything.
    #[must_use]
    pub fn unrestricted(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            workspaces: None,
            doors: None,
            cost_per_day: None,
            max_runs: None,
            max_queued: None,
        }
    }

    /// Whether they may use this workspace: one of theirs, or a folder below one. The root of all workspaces (`""`) is
    /// only for who is not restricted.
    pub fn may_use_workspace(&self, name: &str) -> bool {
        let Some(allowed) = &self.workspaces else { return true };
        // `team/../other` is below `team` only to the eye.
        if name.split('/').any(|part| ["", ".", ".."].contains(&part)) {
            return false;
        }
        allowed.iter().any(|allowed| {
            name.strip_prefix(allowed.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }

    /// Whether they may use this door.
    pub fn may_use_door(&self, door: DoorName) -> bool {
        self.doors.as_ref().is_none_or(|doors| doors.contains(&door))
    }

    /// The workspaces, with those refused that they may not use.
    pub fn guarded(&self, workspaces: &Workspaces) -> Workspaces {
        let caller = self.clone();
        workspaces.guarded(Arc::new(move |path: &str| caller.may_use_workspace(path)))
    }

    /// Which workspaces they may see, by absolute paths below `root`; `None` is all.
    pub fn sight(&self, root: &Path) -> Option<Sight> {
        self.workspaces.as_ref()?;
        let (caller, root) = (self.clone(), root.to_owned());
        Some(Box::new(move |path| {
            let name = path.strip_prefix(&root).ok().and_then(Path::to_str);
            name.is_some_and(|name| caller.may_use_workspace(name))
        }))
    }

    /// They as who asks for a run through `door`. `root`: the folder of all workspaces.
    pub fn origin(&self, door: DoorName, root: &Path) -> Origin {
        let folders = |names: &Vec<String>| names.iter().map(|name| root.join(name)).collect::<Vec<PathBuf>>();
        Origin {
            door,
            requester: Requester::Token(self.name.clone()),
            cost_per_day: self.cost_per_day,
            max_runs: self.max_runs,
            max_queued: self.max_queued,
            sees: self.workspaces.as_ref().map(folders),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("team", true)]
    #[case("team/site", true)]
    #[case("team/site/deep", true)]
    #[case("shared/docs", true)]
    #[case("shared", false)]
    #[case("teams", false)]
    #[case("team-x", false)]
    #[case("", false)]
    #[case("team/../other", false)]
    #[case("team/.", false)]
    #[case("team//site", false)]
    #[case("/team", false)]
    #[case("other", false)]
    fn a_restricted_caller_stays_in_its_workspaces(#[case] name: &str, #[case] allowed: bool) {
        let workspaces = Some(vec!["team".to_owned(), "shared/docs".to_owned()]);
        let caller = Caller { workspaces, ..Caller::unrestricted("ci") };
        assert_eq!(caller.may_use_workspace(name), allowed);
    }
}
