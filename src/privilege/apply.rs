//! Carrying a drop out, and proving that it took.

use std::io;

use caps::errors::CapsError;
use caps::{CapSet, Capability, CapsHashSet};
use nix::unistd::{Gid, Uid, getgroups, setgroups, setresgid, setresuid};

use super::plan::{Credentials, Kept, Step, steps, steps_without_root};
use crate::config::mode::Mode;

/// Why a drop failed. The process must end: it may be half-way.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum DropError {
    #[error(
        "cannot drop privileges: {step:?} was refused ({source}); start the container as root, or with --user and no drop"
    )]
    Refused { step: Step, source: io::Error },
    /// Every step succeeded and the result is still wrong.
    #[error("privileges are not what they should be after the drop: {0}")]
    NotDropped(String),
    #[error(
        "CLAUDEBOX_HARDENED is on, and what Claude starts could still gain privileges ({0}): start the container as root, or leave \
         CLAUDEBOX_HARDENED out"
    )]
    NotHardened(String),
}

/// The system calls of a drop, so that tests can record or refuse them.
pub trait Syscalls {
    /// Carries out one step.
    fn run(&mut self, step: &Step) -> io::Result<()>;
    /// What the process may do now. Whether it can become root again is tried if it is `to_be_powerless`.
    fn observe(&mut self, to_be_powerless: bool) -> io::Result<Observed>;
}

/// What a process is after a drop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// Real, effective and saved user id.
    pub uids: [u32; 3],
    /// Real, effective and saved group id.
    pub gids: [u32; 3],
    /// Supplementary groups, sorted.
    pub groups: Vec<u32>,
    /// Capabilities left in the effective, permitted, inheritable and ambient sets together.
    pub capabilities: usize,
    /// Capabilities left in the bounding set.
    pub bounding: usize,
    /// Whether `no_new_privs` is set.
    pub no_new_privileges: bool,
    /// Whether becoming root again was possible.
    pub root_again: bool,
}

/// Drops to `credentials` and verifies the result.
pub fn drop_to(system: &mut impl Syscalls, credentials: &Credentials, kept: Kept, mode: Mode) -> Result<(), DropError> {
    for step in steps(credentials, kept, mode) {
        system.run(&step).map_err(|source| DropError::Refused { step, source })?;
    }
    let observed = system.observe(kept == Kept::Nothing).map_err(|error| DropError::NotDropped(error.to_string()))?;
    verify(&observed, credentials, kept, mode).map_err(DropError::NotDropped)
}

/// Hardens this process, which is not root and stays who it is, and verifies the result.
pub fn harden(system: &mut impl Syscalls) -> Result<(), DropError> {
    for step in steps_without_root() {
        match system.run(&step) {
            // It takes a capability that few have without root. Nothing draws on the set under `no_new_privs`.
            Err(_) if step == Step::EmptyBoundingSet => {}
            done => done.map_err(|error| DropError::NotHardened(format!("{step:?} was refused: {error}")))?,
        }
    }
    let observed = system.observe(true).map_err(|error| DropError::NotHardened(error.to_string()))?;
    let is_hardened = observed.capabilities == 0 && observed.no_new_privileges && !observed.root_again;
    if is_hardened { Ok(()) } else { Err(DropError::NotHardened(format!("{observed:?}"))) }
}

/// The sets of capabilities that a process holds or hands on.
const SETS: [CapSet; 4] = [CapSet::Permitted, CapSet::Effective, CapSet::Inheritable, CapSet::Ambient];

fn verify(observed: &Observed, credentials: &Credentials, kept: Kept, mode: Mode) -> Result<(), String> {
    let mut groups = credentials.groups.clone();
    groups.sort_unstable();
    groups.dedup();
    let check = |right: bool, what: &str| if right { Ok(()) } else { Err(format!("{what}: {observed:?}")) };
    check(observed.uids == [credentials.uid; 3], "user id")?;
    check(observed.gids == [credentials.gid; 3], "group id")?;
    check(observed.groups == groups, "supplementary groups")?;
    check(observed.capabilities == SETS.len() * kept.capabilities().len(), "capabilities")?;
    check(!observed.root_again, "root can be regained")?;
    if mode == Mode::Hardened {
        check(observed.bounding == 0, "bounding set")?;
        check(observed.no_new_privileges, "no_new_privs")?;
    }
    Ok(())
}

/// Puts exactly these capabilities into each of `sets`, of which the permitted one is first.
pub(super) fn hold(capabilities: &[Capability], sets: &[CapSet]) -> Result<(), CapsError> {
    let capabilities: CapsHashSet = capabilities.iter().copied().collect();
    sets.iter().try_for_each(|&set| caps::set(None, set, &capabilities))
}

/// The real system. Affects the calling thread only where the kernel does: call it in a single-threaded process.
pub struct Kernel;

impl Syscalls for Kernel {
    fn run(&mut self, step: &Step) -> io::Result<()> {
        match step {
            Step::EmptyBoundingSet => caps::clear(None, CapSet::Bounding).map_err(io::Error::other),
            Step::SetGroups(groups) => {
                let groups: Vec<Gid> = groups.iter().copied().map(Gid::from_raw).collect();
                Ok(setgroups(&groups)?)
            }
            Step::SetGid(gid) => Ok(setresgid(Gid::from_raw(*gid), Gid::from_raw(*gid), Gid::from_raw(*gid))?),
            Step::SetUid(uid) => Ok(setresuid(Uid::from_raw(*uid), Uid::from_raw(*uid), Uid::from_raw(*uid))?),
            Step::ClearInherited => {
                caps::clear(None, CapSet::Ambient).map_err(io::Error::other)?;
                caps::set(None, CapSet::Inheritable, &CapsHashSet::new()).map_err(io::Error::other)
            }
            Step::DropCapabilities => {
                caps::clear(None, CapSet::Effective).map_err(io::Error::other)?;
                caps::clear(None, CapSet::Permitted).map_err(io::Error::other)
            }
            Step::MakeInheritable(kept) => hold(kept.capabilities(), &[CapSet::Inheritable]).map_err(io::Error::other),
            Step::KeepPermitted => Ok(nix::sys::prctl::set_keepcaps(true)?),
            Step::Keep(kept) => hold(kept.capabilities(), &SETS).map_err(io::Error::other),
            Step::NoNewPrivileges => Ok(nix::sys::prctl::set_no_new_privs()?),
        }
    }

    fn observe(&mut self, to_be_powerless: bool) -> io::Result<Observed> {
        let uids = nix::unistd::getresuid()?;
        let gids = nix::unistd::getresgid()?;
        let mut groups: Vec<u32> = getgroups()?.into_iter().map(Gid::as_raw).collect();
        groups.sort_unstable();
        groups.dedup();
        let count = |set| caps::read(None, set).map(|caps| caps.len()).map_err(io::Error::other);
        Ok(Observed {
            uids: [uids.real.as_raw(), uids.effective.as_raw(), uids.saved.as_raw()],
            gids: [gids.real.as_raw(), gids.effective.as_raw(), gids.saved.as_raw()],
            groups,
            capabilities: SETS.into_iter().map(count).sum::<io::Result<usize>>()?,
            bounding: count(CapSet::Bounding)?,
            no_new_privileges: nix::sys::prctl::get_no_new_privs()?,
            root_again: to_be_powerless && nix::unistd::setuid(Uid::from_raw(0)).is_ok(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn credentials() -> Credentials {
        Credentials { uid: 1000, gid: 1000, groups: vec![999, 1000] }
    }

    fn dropped() -> Observed {
        Observed {
            uids: [1000; 3],
            gids: [1000; 3],
            groups: vec![999, 1000],
            capabilities: 0,
            bounding: 14,
            no_new_privileges: false,
            root_again: false,
        }
    }

    struct Recording {
        refuse: Option<Step>,
        done: Vec<Step>,
        observed: Observed,
    }

    impl Syscalls for Recording {
        fn run(&mut self, step: &Step) -> io::Result<()> {
            if self.refuse.as_ref() == Some(step) {
                return Err(io::Error::from_raw_os_error(libc::EPERM));
            }
            self.done.push(step.clone());
            Ok(())
        }

        fn observe(&mut self, _: bool) -> io::Result<Observed> {
            Ok(self.observed.clone())
        }
    }

    fn system(observed: Observed) -> Recording {
        Recording { refuse: None, done: Vec::new(), observed }
    }

    #[test]
    fn a_drop_that_took_is_accepted() {
        let mut system = system(dropped());
        drop_to(&mut system, &credentials(), Kept::Nothing, Mode::Sudo).unwrap();
        assert_eq!(system.done, steps(&credentials(), Kept::Nothing, Mode::Sudo));
    }

    #[rstest]
    #[case::uid(Observed { uids: [1000, 1000, 0], ..dropped() })]
    #[case::gid(Observed { gids: [0, 1000, 1000], ..dropped() })]
    #[case::groups(Observed { groups: vec![0, 999, 1000], ..dropped() })]
    #[case::capabilities(Observed { capabilities: 1, ..dropped() })]
    #[case::root(Observed { root_again: true, ..dropped() })]
    fn a_drop_that_did_not_take_is_an_error(#[case] observed: Observed) {
        let error = drop_to(&mut system(observed), &credentials(), Kept::Nothing, Mode::Sudo).unwrap_err();
        assert!(matches!(error, DropError::NotDropped(_)), "{error}");
    }

    #[test]
    fn hardened_needs_an_empty_bounding_set_and_no_new_privileges() {
        let half = Observed { bounding: 0, ..dropped() };
        assert!(drop_to(&mut system(half.clone()), &credentials(), Kept::Nothing, Mode::Hardened).is_err());
        let whole = Observed { no_new_privileges: true, ..half };
        drop_to(&mut system(whole), &credentials(), Kept::Nothing, Mode::Hardened).unwrap();
    }

    #[test]
    fn without_root_the_bounding_set_may_stay() {
        let hardened = Observed { no_new_privileges: true, ..dropped() };
        let mut system = Recording { refuse: Some(Step::EmptyBoundingSet), ..system(hardened) };
        harden(&mut system).unwrap();
        assert_eq!(system.done, [Step::ClearInherited, Step::DropCapabilities, Step::NoNewPrivileges]);
    }

    #[rstest]
    #[case::privileges(dropped(), None)]
    #[case::capabilities(Observed { capabilities: 1, no_new_privileges: true, ..dropped() }, None)]
    #[case::root(Observed { root_again: true, no_new_privileges: true, ..dropped() }, None)]
    #[case::refused(Observed { no_new_privileges: true, ..dropped() }, Some(Step::NoNewPrivileges))]
    fn without_root_the_rest_must_be_had(#[case] observed: Observed, #[case] refuse: Option<Step>) {
        let error = harden(&mut Recording { refuse, ..system(observed) }).unwrap_err();
        assert!(matches!(error, DropError::NotHardened(_)), "{error}");
    }

    #[test]
    fn a_refused_step_ends_the_drop_before_the_next_one() {
        let mut system = Recording { refuse: Some(Step::SetGid(1000)), ..system(dropped()) };
        let error = drop_to(&mut system, &credentials(), Kept::Nothing, Mode::Sudo).unwrap_err();
        assert!(matches!(error, DropError::Refused { step: Step::SetGid(1000), .. }), "{error}");
        assert_eq!(system.done, [Step::SetGroups(vec![999, 1000])]);
    }
}
