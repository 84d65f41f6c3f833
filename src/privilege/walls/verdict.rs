//! Whether a box may start with the walls that its kernel has: pure.

use super::Kernel;
use crate::config::mode::Mode;
use crate::config::{Config, name};

/// The first version of Landlock with all that the fence is made of: files whole, ports, devices, signals and sockets.
pub const WHOLE: u32 = 6;
/// What each version adds, and what goes without in one that is older.
const ADDED: [(u32, &str); 5] = [
    (2, "moves between folders"),
    (3, "the cutting of files"),
    (4, "ports"),
    (5, "what devices are told"),
    (6, "signals and abstract sockets"),
];
const WITHOUT_FENCE: &str = "users and modes of files alone decide what Claude reads, writes and signals";
const WITHOUT_FILTER: &str = "the container engine's filter of system calls is the only one";

/// Why a box does not start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("CLAUDEBOX_HARDENED is on and {missing}: {remedy}, or set {setting}=0, and {instead}")]
pub struct Lack {
    missing: String,
    remedy: &'static str,
    setting: &'static str,
    instead: &'static str,
}

/// What is to be said of the walls of a box with these settings; an error where it was to have more than there is.
pub fn of(config: &Config, kernel: Kernel) -> Result<Vec<String>, Lack> {
    let hardened = config.mode == Mode::Hardened;
    let mut said = Vec::new();
    let landlock = match kernel.landlock {
        WHOLE.. => None,
        0 => Some("this kernel has no Landlock".to_owned()),
        old => {
            let lacks: Vec<&str> =
                ADDED.into_iter().filter(|&(version, _)| old < version).map(|(_, what)| what).collect();
            Some(format!("this kernel's Landlock (version {old}) does not cover {}", lacks.join(", ")))
        }
    };
    let seccomp = (!kernel.has_seccomp).then(|| "this kernel filters no system calls".to_owned());
    let walls = [
        (name::LANDLOCK, config.landlock, landlock, "use Linux 6.12 or later with Landlock on (lsm=)", WITHOUT_FENCE),
        (name::SECCOMP, config.seccomp, seccomp, "use a kernel with CONFIG_SECCOMP_FILTER", WITHOUT_FILTER),
    ];
    for (setting, wanted, missing, remedy, instead) in walls {
        match (wanted, missing) {
            (Some(false), _) if hardened => said.push(format!("{setting} is off in a hardened box: {instead}")),
            (Some(false), _) => {}
            (_, Some(missing)) if hardened => return Err(Lack { missing, remedy, setting, instead }),
            (Some(true), Some(missing)) if setting == name::LANDLOCK && kernel.landlock > 0 => {
                said.push(format!("{setting} is on and {missing}: the rest is enforced"));
            }
            (Some(true), Some(missing)) => said.push(format!("{setting} is on and {missing}: {instead}")),
            _ => {}
        }
    }
    Ok(said)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::ffi::OsString;

    use super::*;
    use rstest::rstest;

    const NEW: Kernel = Kernel { landlock: 7, has_seccomp: true };
    const OLD: Kernel = Kernel { landlock: 4, has_seccomp: true };
    const NONE: Kernel = Kernel { landlock: 0, has_seccomp: false };

    fn said(settings: &[(&str, &str)], kernel: Kernel) -> Result<Vec<String>, String> {
        let env: HashMap<String, OsString> =
            settings.iter().map(|&(name, value)| (format!("CLAUDEBOX_{name}"), value.into())).collect();
        of(&Config::read(&env).unwrap(), kernel).map_err(|lack| lack.to_string())
    }

    #[rstest]
    #[case::default(&[], NONE)]
    #[case::hardened(&[("HARDENED", "1")], NEW)]
    #[case::each(&[("LANDLOCK", "1"), ("SECCOMP", "1")], NEW)]
    #[case::off(&[("LANDLOCK", "0"), ("SECCOMP", "0")], NONE)]
    fn nothing_is_said_of_what_is_as_it_should_be(#[case] settings: &[(&str, &str)], #[case] kernel: Kernel) {
        assert_eq!(said(settings, kernel), Ok(vec![]));
    }

    #[rstest]
    #[case(&[("HARDENED", "1")], NONE, "CLAUDEBOX_HARDENED is on and this kernel has no Landlock: use Linux 6.12")]
    #[case(&[("HARDENED", "1"), ("LANDLOCK", "1")], OLD, "(version 4) does not cover what devices are told, signals and abstract sockets: use")]
    #[case(&[("HARDENED", "1"), ("LANDLOCK", "0")], NONE, "filters no system calls: use a kernel with CONFIG_SECCOMP_FILTER, or set CLAUDEBOX_SECCOMP=0, and the")]
    fn hardened_never_steps_down_by_itself(
        #[case] settings: &[(&str, &str)],
        #[case] kernel: Kernel,
        #[case] why: &str,
    ) {
        let lack = said(settings, kernel).unwrap_err();
        assert!(lack.contains(why) && !lack.contains('\n'), "{lack}");
    }

    #[rstest]
    #[case(&[("HARDENED", "1"), ("LANDLOCK", "0")], NEW, "CLAUDEBOX_LANDLOCK is off in a hardened box: users and modes")]
    #[case(&[("HARDENED", "1"), ("SECCOMP", "0")], NEW, "CLAUDEBOX_SECCOMP is off in a hardened box: the container engine's")]
    #[case(&[("LANDLOCK", "1")], NONE, "CLAUDEBOX_LANDLOCK is on and this kernel has no Landlock: users and modes")]
    #[case(&[("LANDLOCK", "1")], OLD, "does not cover what devices are told, signals and abstract sockets: the rest is enforced")]
    #[case(&[("SECCOMP", "1")], NONE, "CLAUDEBOX_SECCOMP is on and this kernel filters no system calls: the container")]
    fn what_is_enforced_instead_is_said(
        #[case] settings: &[(&str, &str)],
        #[case] kernel: Kernel,
        #[case] expected: &str,
    ) {
        let said = said(settings, kernel).unwrap();
        assert!(said.len() == 1 && said[0].contains(expected), "{said:?}");
    }
}
