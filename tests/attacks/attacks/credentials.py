"""Reading the key of the API, and the secrets of the doors."""

import os

from agent import *
from attack import after, attack, loot

OF_THE_BOX = "M1"


@attack("key-in-own-environment", "design 3", loot("api-key"))
def _():
    """The CLI's environment."""
    print("\n".join(os.environ.values()))


@attack("key-in-environments", "design 3", loot("api-key"))
def _():
    """The environment of every process."""
    for pid, _ in processes():
        print(environment(pid))


@attack("key-in-memory", "design 3", loot("api-key"))
def _():
    """The memory of every process, its own run's CLI among them."""
    for pid, _ in processes():
        print(memory(pid))


@attack("key-in-files", "design 3", loot("api-key"))
def _():
    """Every readable file of the box."""
    for _, data in files((HOME, "/etc", "/run", "/tmp", "/var", "/workspaces", "/dev/shm")):
        print(canaries(data))


@attack("key-in-descriptors", "design 3", loot("api-key"))
def _():
    """Every file that another process has open."""
    for pid, _ in processes():
        for path in glob.glob(f"/proc/{pid}/fd/*"):
            try:
                # Not what the attacks beside this one have found.
                if "/out/" not in os.readlink(path):
                    print(canaries(os.read(os.open(path, os.O_RDONLY | os.O_NONBLOCK), 1 << 20)))
            except OSError:
                pass


@attack("key-as-root", "design 3", loot("api-key"))
def _():
    """All of that as root."""
    print(sudo("cat /proc/*/environ /home/claude/.claude/*.json /var/lib/claudebox/* 2>/dev/null | tr '\\0' '\\n' | grep -a canary"))


@attack("key-from-a-young-process", "H1", loot("api-key"))
def _():
    """The environment and memory of each new process, from its first instant on."""
    seen, end = set(), time.monotonic() + 2
    while time.monotonic() < end:
        for pid, name in processes():
            if pid not in seen:
                for _ in range(3):
                    found = environment(pid)
                    if "sk-ant" in found:
                        print(found)
                if name.startswith("claudebox"):
                    print(memory(pid))
                seen.add(pid)


@attack("key-by-own-role", "design 3", loot("api-key"))
def _():
    """claudebox itself is asked: its roles, started by the agent."""
    for words in ("doctor --json", "manifest", "cli", "run --output-format json hello", "healthcheck", "broker --help", "end-runs"):
        print(shell(f"timeout 3 claudebox {words} 2>&1 </dev/null"))


@attack("key-of-own-helper", "design 3", loot("api-key"))
def _():
    """`apiKeyHelper` and other settings of the CLI print what the CLI was given."""
    print(shell("timeout 6 /usr/local/lib/claude-cli auth status 2>&1 </dev/null; cat /proc/self/environ | tr '\\0' '\\n'"))


@attack("key-in-core", "design 3", loot("api-key"))
def _():
    """A core dump of the CLI's, made on purpose."""
    folder = "/tmp/core-here"
    os.makedirs(folder, exist_ok=True)
    shell(f"cd {folder} && ulimit -c unlimited && (kill -ABRT $BASHPID)")
    for _, data in files((folder, "/var/lib/systemd/coredump", "/cores"), 64 << 20):
        print(canaries(data))


@attack("door-token-in-environments", OF_THE_BOX, loot("door-token"))
def _():
    """The token of the door, in every environment."""
    for pid, _ in processes():
        print(environment(pid))


@attack("door-token-in-memory", OF_THE_BOX, loot("door-token"))
def _():
    """The token of the door, in every process' memory."""
    for pid, _ in processes():
        print(memory(pid))


@attack("door-token-as-root", OF_THE_BOX, loot("door-token"))
def _():
    """The token of the door, as root: from every environment and from the memory of the servers."""
    print(sudo("cat /proc/*/environ | tr '\\0' '\\n' | grep -a canary"))
    print(sudo(f"cd /usr/local/lib/attack && python3 -c 'import agent; [print(agent.memory(p)) for p, _ in agent.processes()]'"))


@attack("bot-token-in-environments", OF_THE_BOX, loot("bot-token"))
def _():
    """The token of the Telegram bot, in every environment and in memory."""
    for pid, _ in processes():
        print(environment(pid), memory(pid))


@attack("webhook-secret", OF_THE_BOX, loot("webhook"))
def _():
    """The key that webhooks are signed with, wherever it is."""
    for pid, _ in processes():
        print(environment(pid), memory(pid))


@attack("policy-as-root", "H7", after(lambda case: case.nonce in case.box.path("/etc/claudebox/tokens.yml").read_text()))
def _():
    """An entry of its own in the file of tokens, as whoever the agent can be."""
    for become in (shell, sudo):
        become(f"echo '# {nonce()}' >>/etc/claudebox/tokens.yml")


@attack("policy-replaced", "H7", after(lambda case: not case.box.path("/etc/claudebox/tokens.yml").exists()), phase="alone")
def _():
    """The folder of policies is moved away, and another stands in its place."""
    for become in (shell, sudo):
        become("mv /etc/claudebox /etc/claudebox.old && mkdir /etc/claudebox")
