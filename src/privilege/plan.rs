//! What a drop consists of: pure data, decided before anything is changed.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

use caps::Capability;
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

impl fmt::Display for Credentials {
    /// `UID:GID:GROUP,GROUP`.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let groups: Vec<String> = self.groups.iter().map(u32::to_string).collect();
        write!(out, "{}:{}:{}", self.uid, self.gid, groups.join(","))
    }
}

impl FromStr for Credentials {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        let mut parts = text.splitn(3, ':').map(str::trim);
        let mut next = || parts.next().unwrap_or_default();
        let (uid, gid, groups) = (next().parse()?, next().parse()?, next());
        let groups = groups.split(',').filter(|group| !group.is_empty()).map(str::parse).collect::<Result<_, _>>()?;
        Ok(Self { uid, gid, groups })
    }
}

/// Capabilities that a process has beyond its change of user.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kept {
    /// None.
    #[default]
    Nothing,
    /// To take another user's place with files (`privilege::files`).
    Files,
    /// The same, and to start programs as another user and to end them.
    Warden,
}

impl Kept {
    /// They are.
    pub const fn capabilities(self) -> &'static [Capability] {
        const WARDEN: [Capability; 4] =
            [Capability::CAP_SETUID, Capability::CAP_SETGID, Capability::CAP_KILL, Capability::CAP_SETPCAP];
        match self {
            Self::Nothing => &[],
            Self::Files => WARDEN.split_at(2).0,
            Self::Warden => &WARDEN,
        }
    }
}

/// One step of the drop, in the order the kernel demands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Into the inheritable set, which takes nothing more once the bounding set is empty.
    MakeInheritable(Kept),
    /// Needs `CAP_SETPCAP`, so it precedes the change of user.
    EmptyBoundingSet,
    /// Needs `CAP_SETGID`.
    SetGroups(Vec<u32>),
    /// Needs `CAP_SETGID`.
    SetGid(u32),
    /// The change of root's user leaves the permitted set as it is.
    KeepPermitted,
    /// Takes every capability of root's away with it, unless they are to be kept.
    SetUid(u32),
    /// Ambient and inheritable sets survive a change of user.
    ClearInherited,
    /// What a container that does not start as root was given all the same, and what a change from one user to another keeps.
    DropCapabilities,
    /// In every set, so that the next program has them too.
    Keep(Kept),
    /// For good: no later program gains privileges.
    NoNewPrivileges,
}

/// The steps that turn root, or who has been [kept](Kept) the capabilities for that, into `credentials`.
pub fn steps(credentials: &Credentials, kept: Kept, mode: Mode) -> Vec<Step> {
    let hardened = mode == Mode::Hardened;
    let keeps = kept != Kept::Nothing;
    let mut steps = Vec::new();
    steps.extend(keeps.then_some(Step::MakeInheritable(kept)));
    steps.extend(hardened.then_some(Step::EmptyBoundingSet));
    steps.push(Step::SetGroups(credentials.groups.clone()));
    steps.push(Step::SetGid(credentials.gid));
    steps.extend(keeps.then_some(Step::KeepPermitted));
    steps.push(Step::SetUid(credentials.uid));
    if keeps {
        steps.push(Step::Keep(kept));
    } else {
        steps.extend([Step::ClearInherited, Step::DropCapabilities]);
    }
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
        let groups = Step::SetGroups(vec![1001, 999]);
        let expected = [groups, Step::SetGid(1001), Step::SetUid(1000), Step::ClearInherited, Step::DropCapabilities];
        assert_eq!(steps(&credentials(), Kept::Nothing, Mode::Sudo), expected);
    }

    #[test]
    fn what_is_kept_is_kept_over_the_change_of_user() {
        let steps = steps(&credentials(), Kept::Warden, Mode::Hardened);
        let at = |step: &Step| steps.iter().position(|found| found == step).unwrap();
        assert!(at(&Step::MakeInheritable(Kept::Warden)) < at(&Step::EmptyBoundingSet));
        assert!(at(&Step::KeepPermitted) < at(&Step::SetUid(1000)));
        assert!(at(&Step::SetUid(1000)) < at(&Step::Keep(Kept::Warden)));
        assert!(!steps.contains(&Step::DropCapabilities) && !steps.contains(&Step::ClearInherited));
    }

    #[test]
    fn credentials_are_one_word() {
        for one in [credentials(), Credentials { uid: 1, gid: 2, groups: vec![] }] {
            assert_eq!(one.to_string().parse(), Ok(one));
        }
        for wrong in ["", "1", "1:", "a:1:", "1:1:x", "-1:1:"] {
            assert!(wrong.parse::<Credentials>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn hardened_empties_the_bounding_set_first_and_forbids_new_privileges_last() {
        let steps = steps(&credentials(), Kept::Nothing, Mode::Hardened);
        assert_eq!(steps.first(), Some(&Step::EmptyBoundingSet));
        assert_eq!(steps.last(), Some(&Step::NoNewPrivileges));
    }
}
