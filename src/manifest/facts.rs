//! The truth about this box, as the user Claude runs as finds it: looked up at each start, with nothing executed.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::poll::{PollTimeout, poll};
use nix::unistd::AccessFlags;

use super::probe::executable;
use crate::boot::mounts::{self, FromOutside};
use crate::boot::remap::DOCKER_SOCKET;
use crate::config::Config;
use crate::config::environment::Environment;
use crate::config::mode::Mode;
use crate::privilege::files;
use crate::sys;

/// What this box is and allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The user's login name; its id where it has no name.
    pub user: String,
    /// Its id.
    pub uid: u32,
    /// Whether the box is hardened.
    pub is_hardened: bool,
    /// The folder Claude works in.
    pub workspace: PathBuf,
    /// What is mounted from outside.
    pub mounts: Vec<FromOutside>,
    /// Whether `sudo` works.
    pub sudo: Sudo,
    /// Whether a Docker engine can be reached.
    pub docker: Docker,
    /// Which network there is; `None` if that cannot be told.
    pub network: Option<Network>,
    /// The user's own folder of scripts, first on PATH.
    pub scripts_dir: PathBuf,
    /// The executables in it, sorted.
    pub scripts: Vec<String>,
}

/// Whether `sudo` works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sudo {
    /// Without a password.
    Works,
    /// It may; the image's rule is for another user.
    OtherUser,
    /// There is none.
    NotInstalled,
    /// The box is hardened.
    Hardened,
    /// The container was started with `no-new-privileges`.
    NoNewPrivileges,
    /// The container was started without the capabilities that a change of user takes.
    NoCapabilities,
    /// The user id has no name, and `sudo` insists on one.
    NoName,
}

/// Whether a Docker engine can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Docker {
    /// Through the socket.
    Socket,
    /// `DOCKER_HOST` names one.
    Host,
    /// There is no socket.
    Absent,
    /// There is one, for others.
    Forbidden,
    /// There is one, and nobody answers.
    Dead,
}

/// Which network there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Network {
    /// Loopback only.
    None,
    /// Routes to neighbours only.
    Neighbours,
    /// A default route.
    Default,
}

/// The user of the image's sudoers rule.
const SUDOER: &str = "claude";
/// An engine accepts at once, or it hangs.
const ENGINE_LIMIT: Duration = Duration::from_millis(250);
/// Between two looks at an engine with a full queue.
const PAUSE_MILLISECONDS: u16 = 10;

/// Looks at this box, from a process of the user Claude runs as.
pub fn gather(config: &Config, env: &impl Environment, workspace: &Path, config_dir: &Path) -> Facts {
    let uid = files::uid();
    let name = users::get_user_by_uid(uid).map(|user| user.name().to_string_lossy().into_owned());
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let is_installed = has_sudo(&env.get("PATH").unwrap_or_default());
    let is_set = |name| env.get(name).is_some_and(|value| !value.is_empty());
    let table = |name: &str| fs::read_to_string(format!("/proc/net/{name}")).ok();
    let scripts_dir = config_dir.join("bin");
    // The socket has a line of its own.
    let socket = fs::canonicalize(DOCKER_SOCKET).ok();
    let mounts = mounts::from_outside().into_iter().filter(|mount| Some(&mount.path) != socket.as_ref()).collect();
    Facts {
        sudo: match sudo(config.mode, &status, is_installed, name.as_deref()) {
            // This process is on the other side of the walls.
            Sudo::Works if config.has_fence() || config.has_filter() => Sudo::NoNewPrivileges,
            sudo => sudo,
        },
        user: name.unwrap_or_else(|| uid.to_string()),
        uid,
        is_hardened: config.mode == Mode::Hardened,
        workspace: workspace.into(),
        mounts,
        docker: if is_set("DOCKER_HOST") { Docker::Host } else { docker(Path::new(DOCKER_SOCKET)) },
        network: network(table("route").as_deref(), table("ipv6_route").as_deref()),
        scripts: scripts(&scripts_dir),
        scripts_dir,
    }
}

fn has_sudo(search: &OsStr) -> bool {
    let found = executable("sudo", search).and_then(|path| fs::metadata(path).ok());
    found.is_some_and(|file| file.uid() == 0 && file.mode() & 0o4000 != 0)
}

fn sudo(mode: Mode, status: &str, is_installed: bool, name: Option<&str>) -> Sudo {
    const CAP_SETGID_AND_SETUID: u64 = 1 << 6 | 1 << 7;
    let field = |label: &str| Some(status.lines().find_map(|line| line.strip_prefix(label))?.trim());
    let bounding = field("CapBnd:").and_then(|set| u64::from_str_radix(set, 16).ok()).unwrap_or(u64::MAX);
    if mode == Mode::Hardened {
        Sudo::Hardened
    } else if !is_installed {
        Sudo::NotInstalled
    } else if field("NoNewPrivs:") == Some("1") {
        Sudo::NoNewPrivileges
    } else if bounding & CAP_SETGID_AND_SETUID != CAP_SETGID_AND_SETUID {
        Sudo::NoCapabilities
    } else {
        match name {
            None => Sudo::NoName,
            Some(SUDOER) => Sudo::Works,
            Some(_) => Sudo::OtherUser,
        }
    }
}

fn docker(socket: &Path) -> Docker {
    if !fs::metadata(socket).is_ok_and(|file| file.file_type().is_socket()) {
        return Docker::Absent;
    }
    if !files::may(socket, AccessFlags::R_OK | AccessFlags::W_OK) {
        return Docker::Forbidden;
    }
    if is_listening(socket) { Docker::Socket } else { Docker::Dead }
}

/// Whether somebody takes connections. One who hangs, with a full queue, must not hold up the start; and not in a thread,
/// which the kernel still counts for a moment after its end, and a worker with two threads does not fork.
fn is_listening(path: &Path) -> bool {
    let deadline = Instant::now() + ENGINE_LIMIT;
    loop {
        match sys::try_connect(path) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < deadline => {
                // Of nothing, with a time limit. A signal only makes the next look an earlier one.
                let _ = poll(&mut [], PollTimeout::from(PAUSE_MILLISECONDS));
            }
            connected => return connected.is_ok(),
        }
    }
}

/// From `/proc/net/route` and `/proc/net/ipv6_route`.
fn network(ipv4: Option<&str>, ipv6: Option<&str>) -> Option<Network> {
    if ipv4.is_none() && ipv6.is_none() {
        return None;
    }
    let ipv4 = ipv4.unwrap_or_default().lines().skip(1).filter_map(ipv4_route);
    let ipv6 = ipv6.unwrap_or_default().lines().filter_map(ipv6_route);
    Some(ipv4.chain(ipv6).max().unwrap_or(Network::None))
}

const UP: u32 = 0x1;
const REJECT: u32 = 0x200;
const LOOPBACK: &str = "lo";

/// Interface, destination, gateway, flags, reference count, use, metric, mask.
fn ipv4_route(line: &str) -> Option<Network> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (interface, destination, flags, mask) = (fields.first()?, fields.get(1)?, fields.get(3)?, fields.get(7)?);
    let is_default = is_zero(destination) && is_zero(mask);
    leads_somewhere(interface, flags).then_some(if is_default { Network::Default } else { Network::Neighbours })
}

/// Destination, its prefix length, source, its prefix length, gateway, metric, reference count, use, flags, interface.
fn ipv6_route(line: &str) -> Option<Network> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (destination, length, flags, interface) = (fields.first()?, fields.get(1)?, fields.get(8)?, fields.get(9)?);
    // Every interface has link-local and multicast routes, whether or not anybody is there.
    let is_automatic = destination.starts_with("fe80") || destination.starts_with("ff");
    let is_default = is_zero(destination) && is_zero(length);
    (leads_somewhere(interface, flags) && !is_automatic).then_some(if is_default {
        Network::Default
    } else {
        Network::Neighbours
    })
}

fn leads_somewhere(interface: &str, flags: &str) -> bool {
    let flags = u32::from_str_radix(flags, 16).unwrap_or_default();
    interface != LOOPBACK && flags & UP != 0 && flags & REJECT == 0
}

fn is_zero(hex: &str) -> bool {
    hex.bytes().all(|digit| digit == b'0')
}

fn scripts(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let executable = entries.filter(|entry| entry.path().is_file() && files::may(&entry.path(), AccessFlags::X_OK));
    let mut names: Vec<String> = executable.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixListener;

    const ORDINARY: &str = "Name:\tx\nCapBnd:\t00000000a80425fb\nNoNewPrivs:\t0\n";

    #[rstest]
    #[case(Mode::Sudo, ORDINARY, true, Some("claude"), Sudo::Works)]
    #[case(Mode::Sudo, ORDINARY, true, Some("dev"), Sudo::OtherUser)]
    #[case(Mode::Sudo, ORDINARY, true, None, Sudo::NoName)]
    #[case(Mode::Sudo, ORDINARY, false, Some("claude"), Sudo::NotInstalled)]
    #[case(Mode::Hardened, ORDINARY, true, Some("claude"), Sudo::Hardened)]
    #[case(Mode::Sudo, "CapBnd:\t00000000a80425fb\nNoNewPrivs:\t1\n", true, Some("claude"), Sudo::NoNewPrivileges)]
    #[case(Mode::Sudo, "CapBnd:\t0000000000000000\nNoNewPrivs:\t0\n", true, Some("claude"), Sudo::NoCapabilities)]
    #[case(Mode::Sudo, "CapBnd:\t0000000000000040\nNoNewPrivs:\t0\n", true, Some("claude"), Sudo::NoCapabilities)]
    fn sudo_works_only_if_nothing_is_in_its_way(
        #[case] mode: Mode,
        #[case] status: &str,
        #[case] is_installed: bool,
        #[case] name: Option<&str>,
        #[case] expected: Sudo,
    ) {
        assert_eq!(sudo(mode, status, is_installed, name), expected);
    }

    const HEAD: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\n";
    const DEFAULT_4: &str = "eth0\t00000000\t010011AC\t0003\t0\t0\t0\t00000000\t0\t0\t0\n";
    const SUBNET_4: &str = "eth0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n";
    const LOOPBACK_6: &str = "00000000000000000000000000000000 00 00000000000000000000000000000000 00 \
         00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo\n";
    const LINK_6: &str = "fe800000000000000000000000000000 40 00000000000000000000000000000000 00 \
         00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0\n";
    const DEFAULT_6: &str = "00000000000000000000000000000000 00 00000000000000000000000000000000 00 \
         fe800000000000000000000000000001 00000400 00000001 00000000 00000003     eth0\n";

    #[rstest]
    #[case(&[], &[LOOPBACK_6], Network::None)]
    #[case(&[], &[LOOPBACK_6, LINK_6], Network::None)]
    #[case(&[SUBNET_4], &[LOOPBACK_6], Network::Neighbours)]
    #[case(&[DEFAULT_4, SUBNET_4], &[], Network::Default)]
    #[case(&[SUBNET_4], &[DEFAULT_6], Network::Default)]
    fn a_network_is_a_route_that_leads_somewhere(
        #[case] ipv4: &[&str],
        #[case] ipv6: &[&str],
        #[case] expected: Network,
    ) {
        let ipv4 = format!("{HEAD}{}", ipv4.concat());
        assert_eq!(network(Some(&ipv4), Some(&ipv6.concat())), Some(expected));
    }

    #[test]
    fn without_route_tables_nothing_is_said_about_the_network() {
        assert_eq!(network(None, None), None);
    }

    #[test]
    fn a_socket_counts_only_if_somebody_listens() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        assert_eq!(docker(&path), Docker::Absent);
        let listener = UnixListener::bind(&path).unwrap();
        assert_eq!(docker(&path), Docker::Socket);
        drop(listener);
        assert_eq!(docker(&path), Docker::Dead);
        fs::write(folder.path().join("file"), "").unwrap();
        assert_eq!(docker(&folder.path().join("file")), Docker::Absent);
    }

    #[test]
    fn an_engine_that_hangs_is_dead() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("docker.sock");
        let listener = UnixListener::bind(&path).unwrap();
        // Until its queue is full.
        assert!((0..100_000).any(|_| sys::try_connect(&path).is_err()));
        let began = Instant::now();
        assert_eq!(docker(&path), Docker::Dead);
        assert!(began.elapsed() >= ENGINE_LIMIT);
        drop(listener);
        assert_eq!(docker(&path), Docker::Dead);
    }

    #[test]
    fn scripts_are_the_executables_in_order() {
        let folder = tempfile::tempdir().unwrap();
        for (name, mode) in [("b", 0o755), ("a.sh", 0o755), ("notes", 0o644)] {
            fs::write(folder.path().join(name), "").unwrap();
            fs::set_permissions(folder.path().join(name), Permissions::from_mode(mode)).unwrap();
        }
        fs::create_dir(folder.path().join("c")).unwrap();
        assert_eq!(scripts(folder.path()), ["a.sh", "b"]);
        assert!(scripts(&folder.path().join("none")).is_empty());
    }
}
