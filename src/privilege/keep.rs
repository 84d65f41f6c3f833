//! What PID 1 keeps of root once the box is up.
//!
//! It only waits, signals and starts children from then on. Whatever it does not hold, a fault in it cannot use. What it
//! starts is another matter: a program that root starts gets the bounding set again, which stays as it is because `sudo`
//! in the box lives on it. Under `no_new_privs` a program gets no more than PID 1 has, so what the drop of a child needs
//! is kept.

use caps::{CapSet, Capability, CapsHashSet};

/// Signals to other users' processes, and the drop of a child.
const KEPT: [Capability; 4] =
    [Capability::CAP_KILL, Capability::CAP_SETUID, Capability::CAP_SETGID, Capability::CAP_SETPCAP];

/// Gives every capability up that PID 1 does not need after the boot. Of the calling thread: there must be no other.
pub fn drop_the_rest() -> Result<(), caps::errors::CapsError> {
    let held = caps::read(None, CapSet::Permitted)?;
    let kept: CapsHashSet = KEPT.into_iter().filter(|capability| held.contains(capability)).collect();
    // The effective set lies within the permitted one at every moment.
    caps::set(None, CapSet::Effective, &kept)?;
    caps::set(None, CapSet::Permitted, &kept)
}
