//! The filter of system calls: refused is what gives a view into other processes, a kernel's rarer doors, new namespaces, and
//! every socket that a proxy could not see.
//!
//! The engine's own filter stands before it. This one lets through what it does not name, so that no program is surprised by
//! it; but not what is younger than it is, which it cannot name. Calls of another architecture end the process.

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{
    BpfProgram, Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter, sock_filter,
};

/// The first system call that this filter does not know. Those of x32, which have a bit of their own, are beyond it.
const UNKNOWN: u32 = 470;
/// `open_tree_attr`, younger than the C library's list.
const OPEN_TREE_ATTR: c_long = 467;

/// Refused whatever is asked.
const REFUSED: &[c_long] = &[
    // Other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_perf_event_open,
    // Namespaces and mounts.
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    OPEN_TREE_ATTR,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    // Files by other ways than their paths.
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_fanotify_init,
    libc::SYS_fanotify_mark,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    // Parts of the kernel that faults come from.
    libc::SYS_bpf,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    // The machine.
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_acct,
    libc::SYS_syslog,
    libc::SYS_vhangup,
    libc::SYS_nfsservctl,
];

/// The same, where there is such a call.
#[cfg(target_arch = "x86_64")]
const REFUSED_HERE: &[c_long] = &[
    libc::SYS_lookup_dcookie,
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_modify_ldt,
    libc::SYS_uselib,
    libc::SYS_ustat,
    libc::SYS_sysfs,
    libc::SYS__sysctl,
];
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_HERE: &[c_long] = &[libc::SYS_lookup_dcookie];

/// Each kind of namespace, as a flag of `clone` and `unshare`.
const NAMESPACES: [i32; 7] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
];
/// The kind that `unshare` alone has a flag for: in `clone` it is a part of a signal's number.
const TIME_NAMESPACE: i32 = 0x80;
/// What is put into a terminal as if it was typed there: it would be read by who has the terminal next.
const TYPING: [u32; 2] = [0x5412, 0x541c]; // TIOCSTI, TIOCLINUX
/// The personalities of ordinary programs, and the question for the present one.
const PERSONALITIES: [u64; 5] = [0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];
/// The kind of a socket, without its flags.
const KIND: u64 = 0xf;

/// Puts the filter around the calling thread.
pub(super) fn put_up() -> Result<(), String> {
    // The first one decides over unknown numbers, so what a later one says of them does not matter.
    [Ok(known_alone()), without_clone3(), refusals()]
        .into_iter()
        .try_for_each(|program| apply_filter(&program?))
        .map_err(|error| error.to_string())
}

/// Calls that nobody knew when this was written are not there. By hand: the library compares no numbers of calls.
fn known_alone() -> BpfProgram {
    let statement = |code, jt, jf, k| sock_filter { code, jt, jf, k };
    let (load, at_least, end) = (0x20, 0x35, 0x06); // BPF_LD | BPF_W | BPF_ABS, BPF_JMP | BPF_JGE, BPF_RET
    vec![
        statement(load, 0, 0, 0),
        statement(at_least, 0, 1, UNKNOWN),
        statement(end, 0, 0, u32::from(not_there())),
        statement(end, 0, 0, u32::from(SeccompAction::Allow)),
    ]
}

/// The flags of `clone3` are out of a filter's sight. The C library falls back to `clone` where it is not there.
fn without_clone3() -> Result<BpfProgram, Error> {
    program(BTreeMap::from([(libc::SYS_clone3, Vec::new())]), not_there())
}

fn refusals() -> Result<BpfProgram, Error> {
    let mut rules: BTreeMap<c_long, Vec<SeccompRule>> =
        REFUSED.iter().chain(REFUSED_HERE).map(|&call| (call, Vec::new())).collect();
    let flag = |flag: i32| all([masked(0, u64::from(flag.unsigned_abs()))]);
    let namespaces: Vec<SeccompRule> = NAMESPACES.into_iter().map(flag).collect::<Result<_, _>>()?;
    rules.insert(libc::SYS_clone, namespaces);
    let namespaces = NAMESPACES.into_iter().chain([TIME_NAMESPACE]).map(flag);
    rules.insert(libc::SYS_unshare, namespaces.collect::<Result<_, _>>()?);
    let typing = TYPING.into_iter().map(|request| all([is(1, request.into())]));
    rules.insert(libc::SYS_ioctl, typing.collect::<Result<_, _>>()?);
    rules.insert(libc::SYS_personality, vec![all(PERSONALITIES.map(|one| is_not(0, one)))?]);
    rules.insert(libc::SYS_socket, sockets()?);
    rules.insert(libc::SYS_socketpair, vec![all([is_not(0, family(libc::AF_UNIX))])?]);
    // Landlock does not see a connection that is made with the first bytes.
    let fast = u64::from(libc::MSG_FASTOPEN.unsigned_abs());
    for (call, flags) in [(libc::SYS_sendto, 3), (libc::SYS_sendmsg, 2), (libc::SYS_sendmmsg, 3)] {
        rules.insert(call, vec![all([masked(flags, fast)])?]);
    }
    program(rules, SeccompAction::Errno(libc::EPERM.unsigned_abs()))
}

/// Which sockets are refused: all but Unix ones, TCP, and the kernel's answers about addresses.
fn sockets() -> Result<Vec<SeccompRule>, Error> {
    let kernel = family(libc::AF_NETLINK);
    let internet = [family(libc::AF_INET), family(libc::AF_INET6)];
    let known = [family(libc::AF_UNIX), internet[0], internet[1], kernel];
    let mut refused = vec![all(known.map(|family| is_not(0, family)))?, all([is(0, kernel), is_not(2, 0)])?];
    for family in internet {
        let stream = u64::from(libc::SOCK_STREAM.unsigned_abs());
        for kind in (0..=KIND).filter(|&kind| kind != stream) {
            refused.push(all([is(0, family), condition(1, SeccompCmpOp::MaskedEq(KIND), kind)])?);
        }
        let tcp = u64::from(libc::IPPROTO_TCP.unsigned_abs());
        refused.push(all([is(0, family), is_not(2, 0), is_not(2, tcp)])?);
    }
    Ok(refused)
}

fn family(family: i32) -> u64 {
    family.unsigned_abs().into()
}

fn not_there() -> SeccompAction {
    SeccompAction::Errno(libc::ENOSYS.unsigned_abs())
}

fn program(rules: BTreeMap<c_long, Vec<SeccompRule>>, action: SeccompAction) -> Result<BpfProgram, Error> {
    let architecture = if cfg!(target_arch = "x86_64") { TargetArch::x86_64 } else { TargetArch::aarch64 };
    Ok(SeccompFilter::new(rules, SeccompAction::Allow, action, architecture)?.try_into()?)
}

fn all(conditions: impl IntoIterator<Item = Result<SeccompCondition, Error>>) -> Result<SeccompRule, Error> {
    Ok(SeccompRule::new(conditions.into_iter().collect::<Result<_, _>>()?)?)
}

fn is(argument: u8, value: u64) -> Result<SeccompCondition, Error> {
    condition(argument, SeccompCmpOp::Eq, value)
}

fn is_not(argument: u8, value: u64) -> Result<SeccompCondition, Error> {
    condition(argument, SeccompCmpOp::Ne, value)
}

/// All bits of `value` are set.
fn masked(argument: u8, value: u64) -> Result<SeccompCondition, Error> {
    condition(argument, SeccompCmpOp::MaskedEq(value), value)
}

/// The kernel takes each of these arguments for an `int`, whatever else is in the register.
fn condition(argument: u8, operator: SeccompCmpOp, value: u64) -> Result<SeccompCondition, Error> {
    Ok(SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)?)
}

#[cfg(test)]
mod tests {
    use nix::errno::Errno;
    use nix::sched::{CloneFlags, setns, unshare};
    use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};

    use super::*;

    /// Around a thread of its own: a filter is for good.
    fn behind<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
        std::thread::spawn(move || {
            put_up().unwrap();
            act()
        })
        .join()
        .unwrap()
    }

    fn open(family: AddressFamily, kind: SockType, protocol: Option<SockProtocol>) -> Result<(), Errno> {
        socket(family, kind, SockFlag::SOCK_CLOEXEC, protocol).map(drop)
    }

    #[test]
    fn tcp_and_unix_sockets_can_be_had_and_no_others() {
        use AddressFamily::{Inet, Inet6, Netlink, Packet, Unix, Vsock};
        use SockType::{Datagram, Raw, SeqPacket, Stream};
        let kinds = move || {
            let yes = [
                (Unix, Stream, None),
                (Unix, Datagram, None),
                (Inet, Stream, None),
                (Inet, Stream, Some(SockProtocol::Tcp)),
                (Inet6, Stream, None),
                (Netlink, Raw, Some(SockProtocol::NetlinkRoute)),
            ];
            let no = [
                (Inet, Datagram, None),
                (Inet6, Datagram, Some(SockProtocol::Udp)),
                (Inet, Raw, Some(SockProtocol::Icmp)),
                (Inet, SeqPacket, None),
                (Inet, Stream, Some(SockProtocol::Icmp)),
                (Packet, Raw, None),
                (Packet, Datagram, None),
                (Vsock, Stream, None),
                (Netlink, Raw, Some(SockProtocol::NetlinkKObjectUEvent)),
            ];
            let open = |(family, kind, protocol)| open(family, kind, protocol);
            (yes.map(open), no.map(open))
        };
        let (yes, no) = behind(kinds);
        assert_eq!(yes, [Ok(()); 6]);
        assert_eq!(no, [Err(Errno::EPERM); 9]);
        // Some need root; UDP does not.
        assert_eq!(kinds().1[0], Ok(()));
    }

    #[test]
    fn namespaces_are_out_of_reach() {
        let own = std::fs::File::open("/proc/self/ns/uts").unwrap();
        let enter = move || setns(own, CloneFlags::CLONE_NEWUTS);
        let act = || (unshare(CloneFlags::CLONE_NEWUSER), enter(), unshare(CloneFlags::CLONE_FS));
        assert_eq!(behind(act), (Err(Errno::EPERM), Err(Errno::EPERM), Ok(())));
    }

    #[test]
    fn threads_and_programs_can_be_started() {
        let code = behind(|| {
            std::thread::spawn(|| std::process::Command::new("true").status().unwrap().code()).join().unwrap()
        });
        assert_eq!(code, Some(0));
    }
}
