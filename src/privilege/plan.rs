//! What a drop consists of: pure data, decided before anything is changed.

use serde::{Deserialize, Serialize};

use crate::config::mode::Mode;

/// The user a process is to run as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    /// User id, never 0.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Supplementary group ids, the primary one included or not.
    pub groups: Vec<u32>,
}

/// One step of the drop, in the order the kernel demands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Needs `CAP_SETPCAP`, so it precedes the change of user.
    EmptyBoundingSet,
    /// Needs `CAP_SETGID`.
    SetGroups(Vec<u32>),
    /// Needs `CAP_SETGID`.
    SetGid(u32),
    /// Takes every capability away with it.
    SetUid(u32),
    /// Ambient and inheritable sets survive a change of user.
    ClearInherited,
    /// What a container that does not start as root was given all the same.
    DropCapabilities,
    /// For good: no later program gains privileges.
    NoNewPrivileges,
}

/// The steps that turn root into `credentials`.
pub fn steps(credentials: &Credentials, mode: Mode) -> Vec<Step> {
    let hardened = mode == Mode::Hardened;
    let mut steps = Vec::new();
    steps.extend(hardened.then_some(Step::EmptyBoundingSet));
    steps.push(Step::SetGroups(credentials.groups.clone()));
    steps.push(Step::SetGid(credentials.gid));
    steps.push(Step::SetUid(credentials.uid));
    steps.push(Step::ClearInherited);
    steps.extend(hardened.then_some(Step::NoNewPrivileges));
    steps
}

/// The steps that harden a process that is not root, and stays who it is.
pub const fn steps_without_root() -> [Step; 4] {
    [Step::EmptyBoundingSet, Step::ClearInherited, Step::DropCapabilities, Step::NoNewPrivileges]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials() -> Credentials {
        Credentials { uid: 1000, gid: 1001, groups: vec![1001, 999] }
    }

    #[test]
    fn groups_come_before_the_user() {
        let expected = [Step::SetGroups(vec![1001, 999]), Step::SetGid(1001), Step::SetUid(1000), Step::ClearInherited];
        assert_eq!(steps(&credentials(), Mode::Sudo), expected);
    }

    #[test]
    fn hardened_empties_the_bounding_set_first_and_forbids_new_privileges_last() {
        let steps = steps(&credentials(), Mode::Hardened);
        assert_eq!(steps.first(), Some(&Step::EmptyBoundingSet));
        assert_eq!(steps.last(), Some(&Step::NoNewPrivileges));
    }
}
