//! How much a process in the box can gain: the setting `CLAUDEBOX_HARDENED`.

use serde::{Deserialize, Serialize};

/// How much a process in the box can gain. `privilege` carries it out; it also goes to the re-exec helper, as a part of its plan.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// `sudo` works: the bounding set stays, set-user-id programs gain what they are given.
    #[default]
    Sudo,
    /// Nothing can be gained again: empty bounding set, `no_new_privs`.
    Hardened,
}
