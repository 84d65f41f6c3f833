"""Boxes to attack: the same folders under `unshare` and under `docker run`."""

import hashlib
import json
import os
import pathlib
import secrets
import shutil
import signal
import stat
import subprocess
import urllib.error
import urllib.request

import world
from world import wait_for

HERE = pathlib.Path(__file__).parent
UID = 1000
# What Docker gives a container.
CAPABILITIES = "-all,+chown,+dac_override,+fowner,+fsetid,+kill,+setgid,+setuid,+setpcap,+net_bind_service,+net_raw," \
    "+sys_chroot,+mknod,+audit_write,+setfcap"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Folders of a box that stay when its container goes.
KEPT = ("etc", "home", "root", "var", "workspaces")
IMAGE = "claudebox-attacks"


def make_tools(folder, claudebox, cli):
    """`/usr/local` of all boxes: what the image has, and the attacker's program."""
    (folder / "bin").mkdir(parents=True)
    (folder / "lib").mkdir()
    shutil.copy(claudebox, folder / "bin/claudebox")
    # As in the images: everybody may run it, root alone may read it.
    (folder / "bin/claudebox").chmod(0o711)
    # What `sudo` is in the image: a set-user-id program, and nobody asks for a password.
    shutil.copy("/usr/bin/setpriv", folder / "lib/root")
    (folder / "lib/root").chmod(0o4755)
    script(folder / "bin/sudo", '#!/bin/sh\nexec /usr/local/lib/root --reuid 0 --regid 0 --clear-groups -- "$@"\n')
    shutil.copy("/usr/bin/cat", folder / "lib/reader")
    # cap_dac_read_search, permitted and effective.
    os.setxattr(folder / "lib/reader", "security.capability", bytes.fromhex("0100000204000000000000000000000000000000"))
    shutil.copytree(HERE / "attacks", folder / "lib/attack/attacks", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("agent.py", "attack.py"):
        shutil.copy(HERE / name, folder / "lib/attack")
    shutil.copy(HERE / "claude", folder / "bin/claude")
    (folder / "bin/claude").chmod(0o755)
    if cli:
        shutil.copy(cli, folder / "lib/claude-cli")
        (folder / "lib/claude-cli").chmod(0o755)


def make_image(folder):
    """A root of empty folders: all that is in it is mounted. A container's image too, if an engine answers."""
    for name in ("dev", "proc", "sys", "run", "tmp", "usr", *KEPT):
        (folder / name).mkdir(parents=True)
    (folder / "tmp").chmod(0o1777)
    for name in ("bin", "sbin", "lib", "lib64"):
        if os.path.islink("/" + name):
            (folder / name).symlink_to("usr/" + name)
    (folder / "var/run").symlink_to("/run")


def script(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def docker(*words, **options):
    return subprocess.run(["docker", *words], capture_output=True, text=True, timeout=60, **options)


class Refused(Exception):
    """The box did not start: its exit code, and what it said."""


class Home:
    """What is kept of a box: its folders, and the secrets in them and in its environment."""

    def __init__(self, folder, shared=None):
        # Another box's folder, whose home this one has too.
        self.folder, self.shared = folder, shared
        names = ("api-key", "door-token", "webhook", "bot-token", "root", "neighbour", "session", "victim", "limited-token", "poor-token")
        self.secrets = {name: f"canary-{secrets.token_hex(12)}" for name in names}
        self.secrets["api-key"] = "sk-ant-api03-" + self.secrets["api-key"]
        for name in KEPT:
            (folder / name).mkdir(parents=True)
        etc = folder / "etc"
        (etc / "passwd").write_text(
            "root:x:0:0:root:/root:/bin/sh\n"
            f"claude:x:{UID}:{UID}::/home/claude:/bin/bash\n"
            "claudebox:x:64198:64198::/nonexistent:/usr/sbin/nologin\n"
        )
        (etc / "group").write_text(f"root:x:0:\nclaude:x:{UID}:\nclaudebox:x:64198:\n")
        (etc / "resolv.conf").write_text(f"nameserver {world.GATEWAY}\noptions timeout:1 attempts:1\n")
        (etc / "hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")
        (etc / "nsswitch.conf").write_text("hosts: files dns\n")
        shutil.copy("/etc/ld.so.cache", etc)
        self._set_policy()
        (folder / "root").chmod(0o700)
        (folder / "root/secret").write_text(self.secrets["root"])
        (folder / "root/secret").chmod(0o600)
        for name in ("lib", "tmp"):
            (folder / "var" / name).mkdir()
        (folder / "var/tmp").chmod(0o1777)
        (folder / "var/run").symlink_to("/run")
        home = folder / "home/claude"
        for path in (home, home / ".claude", home / ".claude/init.d", folder / "workspaces/neighbour", folder / "workspaces/theirs"):
            path.mkdir()
        subprocess.run(["git", "init", "--quiet", folder / "workspaces/neighbour"], check=True, env={"PATH": PATH, "HOME": "/nonexistent"})
        (folder / "workspaces/neighbour/secret").write_text(self.secrets["neighbour"])
        for top in ("home/claude", "workspaces"):
            for path in (folder / top, *(folder / top).rglob("*")):
                os.chown(path, UID, UID)

    def set_right(self):
        """What an attack has moved or made is as the owner wants it."""
        for boxes in ("home/claude/.claude/claudebox", "var/lib/claudebox/boxes"):
            for moved in (self.folder / boxes).glob("default-*"):
                state = self.folder / boxes / "default"
                if state.is_symlink():
                    state.unlink()
                if not state.exists():
                    moved.rename(state)
        for programs in (".claude/bin", ".local/bin", "bin"):
            shutil.rmtree(self.folder / "home/claude" / programs, ignore_errors=True)
        self._set_policy()

    def _set_policy(self):
        policy = self.folder / "etc/claudebox"
        shutil.rmtree(policy, ignore_errors=True)
        policy.mkdir()
        tokens = [self._entry("limited", workspaces=["limited"]), self._entry("poor", cost_per_day_usd=1)]
        (policy / "tokens.yml").write_text("".join(f"- {json.dumps(token)}\n" for token in tokens))

    def kept(self, name):
        """Where the box's /NAME lies outside."""
        return self.shared / name if self.shared and name == "home" else self.folder / name

    def _entry(self, name, **rights):
        return {"name": name, "sha256": hashlib.sha256(self.secrets[f"{name}-token"].encode()).hexdigest(), **rights}


class Box:
    """A box that runs."""

    def __init__(self, home, network, tools, image, *, user, hardened, engine, name="default", env=None, sockets=()):
        self.home, self.name, self.hardened, self.engine, self.user = home, name, hardened, engine, user
        self.container = f"claudebox-attacks-{os.getpid()}-{secrets.token_hex(4)}"
        self.log = home.folder / f"log-{self.container}"
        environment = {
            "PATH": PATH, "HOME": "/home/claude", "LANG": "C.UTF-8",
            "ANTHROPIC_API_KEY": home.secrets["api-key"], "ANTHROPIC_BASE_URL": "http://api.example",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "DISABLE_AUTOUPDATER": "1",
            "CLAUDEBOX_CLAUDE_BIN": "claude", "CLAUDEBOX_CONTAINER_NAME": name, "CLAUDEBOX_MODE_API": "1",
            "CLAUDEBOX_MODE_API_TOKEN": home.secrets["door-token"],
            "CLAUDEBOX_MODE_API_TOKENS_FILE": "/etc/claudebox/tokens.yml",
            "CLAUDEBOX_WEBHOOK_SECRET": home.secrets["webhook"], "CLAUDEBOX_USER_IDS": f"{UID}:{UID}",
            "CLAUDEBOX_TELEGRAM_BOT_TOKEN": home.secrets["bot-token"], "CLAUDEBOX_HARDENED": str(int(hardened)),
            **({} if user or not hardened else {"CLAUDEBOX_EGRESS_ALLOW": world.ALLOWED}), "CLAUDEBOX_MODE_API_HOSTS": f"localhost,{world.BOX}", "CLAUDEBOX_MAX_RUNS": "16", "CLAUDEBOX_LOG_TIME": "never",
            **(env or {}),
        }
        start = self._docker if engine == "docker" else self._unshare
        self.pid = start(environment, network, tools, image, sockets)

    def _docker(self, environment, network, tools, image, sockets):
        words = ["run", "--detach", "--name", self.container, "--network", f"container:{network.container}",
                 "--pids-limit", "512", "--memory", "2g", "--workdir", "/workspaces"]
        for place, inside, mode in [("/usr", "/usr", "ro"), (tools, "/usr/local", "ro")] + [
            (self.home.kept(kept), "/" + kept, "rw") for kept in KEPT
        ] + [(self.home.folder / "etc/resolv.conf", "/etc/resolv.conf", "ro")] + [(*socket, "rw") for socket in sockets]:
            words += ["-v", f"{place}:{inside}:{mode}"]
        for name, value in environment.items():
            words += ["-e", f"{name}={value}"]
        if self.user:
            words += ["--user", f"{UID}:{UID}"]
        started = docker(*words, IMAGE, "/usr/local/bin/claudebox", "init")
        if started.returncode:
            raise RuntimeError(started.stderr)
        return int(docker("inspect", "--format", "{{.State.Pid}}", self.container).stdout)

    def _unshare(self, environment, network, tools, image, sockets):
        root = self.home.folder / f"root-{self.container}"
        root.mkdir()
        lines = [f"mount -t tmpfs -o mode=755 none {root}", f"cp -a {image}/. {root}/", f"cd {root}",
                 "mount --bind -o ro /usr usr && mount -o remount,bind,ro usr",
                 f"mount --bind {tools} usr/local && mount -o remount,bind,ro usr/local"]
        lines += [f"mount --bind {self.home.kept(kept)} {kept}" for kept in KEPT]
        lines += ["mount -t tmpfs -o mode=1777 none tmp", "mount -t tmpfs -o mode=755 none run", "mount -t proc proc proc",
                  "mount -t sysfs -o ro none sys", "mount -t tmpfs -o mode=755 none dev", "mkdir dev/pts dev/shm dev/mqueue",
                  "mount -t devpts -o newinstance,ptmxmode=666 none dev/pts", "ln -s pts/ptmx dev/ptmx", "chmod 1777 dev/shm",
                  "ln -s /proc/self/fd dev/fd",
                  "for name in null zero full random urandom tty; do touch dev/$name; mount --bind /dev/$name dev/$name; done"]
        for place, inside in sockets:
            lines += [f"mkdir -p .{os.path.dirname(inside)}", f"touch .{inside}", f"mount --bind {place} .{inside}"]
        user = f"--reuid {UID} --regid {UID} --clear-groups" if self.user else ""
        # Docker's init is not the one of a session of somebody's either.
        lines += ["mkdir old", "pivot_root . old", "umount -l old", "rmdir old", "ulimit -c 0", "cd /workspaces",
                  f'exec setsid setpriv {user} --bounding-set {CAPABILITIES} "$@"']
        words = ["nsenter", f"--net=/proc/{network.pid}/ns/net", "unshare", "--pid", "--fork", "--kill-child", "--mount", "--ipc",
                 "--uts", "--", "sh", "-ec", "\n".join(lines), "sh", "env", "-i"]
        words += [f"{name}={value}" for name, value in environment.items()] + ["/usr/local/bin/claudebox", "init"]
        with open(self.log, "wb") as log:
            self._child = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        children = pathlib.Path(f"/proc/{self._child.pid}/task/{self._child.pid}/children")
        return int(wait_for("PID 1 of the box", lambda: self._child.poll() is not None or children.read_text().split(), 10)[0]
                   if self._child.poll() is None else 0)

    # --- from outside ---------------------------------------------------------------------------------------------

    def said(self):
        """The box's log."""
        if self.engine == "docker":
            logs = docker("logs", self.container)
            return logs.stdout + logs.stderr
        return self.log.read_text(errors="replace")

    def code(self):
        """The exit code, or None while it runs."""
        if self.engine == "docker":
            state = docker("inspect", "--format", "{{.State.Running}} {{.State.ExitCode}}", self.container).stdout.split()
            # One that was removed has ended.
            return None if state[:1] == ["true"] else int((state or ["", "137"])[1])
        return self._child.poll()

    def until_ready(self):
        """Waits until the servers answer. Refused, if the box ends instead."""

        def look():
            if self.processes("claudebox ready") and self.ask("GET", "/ready")[0] == 200:
                return True
            code = self.code()
            if code is not None:
                raise Refused(code, self.said())
            return False

        wait_for("the box is ready", look)
        return self

    def all(self):
        """Its processes: {id outside: (id inside, name, uid, command)}."""
        try:
            own = os.readlink(f"/proc/{self.pid}/ns/pid")
        except OSError:
            return {}
        found = {}
        for entry in os.listdir("/proc"):
            try:
                if entry.isdigit() and os.readlink(f"/proc/{entry}/ns/pid") == own:
                    lines = dict(line.split(":\t", 1) for line in open(f"/proc/{entry}/status").read().splitlines() if ":\t" in line)
                    command = open(f"/proc/{entry}/cmdline").read().split("\0")[:-1]
                    if not lines["State"].startswith("Z"):
                        found[int(entry)] = (int(lines["NSpid"].split()[-1]), lines["Name"], int(lines["Uid"].split()[0]), command)
            except (OSError, ValueError):
                pass
        return found

    def processes(self, *names):
        return [pid for pid, (_, name, _, _) in self.all().items() if name in names]

    def role(self, role):
        """The processes that play this role of claudebox."""
        return sorted(pid for pid, (_, _, _, command) in self.all().items() if command[1:2] == [role] or command[-1:] == [role])

    def guards(self):
        """The processes that look after the CLI."""
        return sorted(pid for pid, (_, name, _, _) in self.all().items() if name.startswith("claudebox"))

    def outside(self, inner):
        """The id that we know process `inner` by."""
        return next((pid for pid, (known, *_) in self.all().items() if known == inner), None)

    def path(self, inside):
        """A path of the box as it lies outside."""
        return pathlib.Path(f"/proc/{self.pid}/root{inside}")

    def ask(self, method, path, body=None, token=None, timeout=30):
        """A request of the operator's: status, and the answer's text."""
        token = token or self.home.secrets["door-token"]
        request = urllib.request.Request(f"http://{world.BOX}:8080{path}", method=method)
        request.add_header("authorization", f"Bearer {token}")
        if body is not None:
            request.add_header("content-type", "application/json")
        data = None if body is None else json.dumps(body).encode()
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, data, timeout) as answer:
                return answer.status, answer.read().decode(errors="replace")
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode(errors="replace")
        except OSError as error:
            return 0, str(error)

    def begin(self, workspace, prompt, **fields):
        """Starts a run; its id."""
        body = {"prompt": prompt, "workspace": workspace, "createWorkspace": True, "async": True, "noContinue": True, **fields}
        status, text = self.ask("POST", "/run", body)
        if status not in (200, 202):
            raise RuntimeError(f"{status} {text}")
        return json.loads(text)["runId"]

    def result(self, run, timeout=30):
        """What the run has ended with, or None while it works."""
        status, text = self.ask("GET", f"/run/result?runId={run}", timeout=timeout)
        answer = json.loads(text) if status == 200 else {}
        return None if status != 200 or answer.get("status") in ("running", "queued") else answer

    def execute(self, *words):
        """What `docker exec` does, as the box's first user."""
        user = ["--setuid", str(UID), "--setgid", str(UID)] if self.user else []
        command = ["nsenter", "--target", str(self.pid), "--pid", "--mount", "--net", "--ipc", "--uts", *user, "--",
                   "env", "-i", f"PATH={PATH}", "HOME=/home/claude", *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    def stop(self):
        """Ends it as `docker stop` does."""
        if self.engine == "docker":
            docker("stop", "--time", "10", self.container)
            docker("rm", "--force", self.container)
            return
        if self._child.poll() is None:
            try:
                os.kill(self.pid, signal.SIGTERM)
                self._child.wait(15)
            except (subprocess.TimeoutExpired, ProcessLookupError):
                pass
        self.kill()

    def kill(self):
        if self.engine == "docker":
            docker("rm", "--force", self.container)
        elif self._child.poll() is None:
            # With another user it has lost the signal that it was to get when `unshare` ends.
            if self.pid:
                os.kill(self.pid, signal.SIGKILL)
            self._child.kill()
            self._child.wait()


class Network:
    """A box's network, made before the box and kept over its restarts."""

    def __init__(self, engine, image):
        self.engine = engine
        self.container = f"claudebox-attacks-net-{os.getpid()}-{secrets.token_hex(4)}"
        if engine == "docker":
            started = docker("run", "--detach", "--name", self.container, "--network", "none", "-v", "/usr:/usr:ro", IMAGE,
                             "/usr/bin/sleep", "infinity")
            if started.returncode:
                raise RuntimeError(started.stderr)
            self.pid = int(docker("inspect", "--format", "{{.State.Pid}}", self.container).stdout)
        else:
            self._child = subprocess.Popen(["unshare", "--net", "--", "sleep", "infinity"])
            self.pid = self._child.pid
            own = os.readlink("/proc/self/ns/net")
            wait_for("a network", lambda: os.readlink(f"/proc/{self.pid}/ns/net") != own)

    def close(self):
        if self.engine == "docker":
            docker("rm", "--force", self.container)
        else:
            self._child.kill()
            self._child.wait()


def is_device(path):
    try:
        return stat.S_ISBLK(os.lstat(path).st_mode) or stat.S_ISCHR(os.lstat(path).st_mode)
    except OSError:
        return False
