"""The host command beside a Docker client that only records: which words reach the engine, and what does not."""

import os
import pathlib
import re
import shutil
import subprocess
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
COMMAND = ROOT / "scripts" / "claudebox"
# Which shell reads the script; the file says /bin/sh.
SHELL = os.environ.get("CLAUDEBOX_TEST_SHELL", "").split()
IMAGE = "psyb0t/claudebox:latest"
HASH = re.compile(r"[0-9a-f]{64}\Z")


class Call:
    """One run of the host command: what it said, and what it asked the engine."""

    def __init__(self, finished, record, values):
        self.code = finished.returncode
        self.out = finished.stdout.decode(errors="surrogateescape")
        self.err = finished.stderr.decode(errors="surrogateescape")
        self.engine = record
        self.values = values

    def named(self, command):
        """The calls of this command of the engine's."""
        return [words for words in self.engine if words[0] == command]


class Place:
    """A home, a workspace and the double's folder, all new."""

    def __init__(self, workspace="work", user_path=None):
        # Short, so that names made from it are not cut.
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="cb", dir="/tmp")).resolve()
        self.home = self.root / "h"
        self.double = self.root / "d"
        self.workspace = self.root / (workspace if isinstance(workspace, str) else os.fsdecode(workspace))
        (self.double / "containers").mkdir(parents=True)
        (self.double / "image").write_text("sha256:one")
        (self.home / ".claude").mkdir(parents=True)
        self.workspace.mkdir(parents=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.root)

    def environment(self, **more):
        return {
            "PATH": f"{HERE / 'double'}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(self.home),
            "DOUBLE": str(self.double),
            "LANG": "C.UTF-8",
            "CLAUDEBOX_NO_DOCKER_SOCKET": "1",
            # The identity of this machine is no part of the tests.
            "GIT_CONFIG_NOSYSTEM": "1",
            # Nor is its time zone.
            "TZ": "",
            **more,
        }

    def run(self, *words, env=None, stdin=b"", cwd=None, wrap=()):
        calls, values = self.double / "calls", self.double / "values"
        for record in calls, values:
            record.write_bytes(b"")
        finished = subprocess.run(
            [*wrap, *SHELL, str(COMMAND), *words],
            env=self.environment(**(env or {})),
            cwd=cwd or self.workspace,
            **({"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}),
            capture_output=True,
            timeout=60,
            check=False,
        )
        return Call(finished, read_calls(calls), read_values(values))

    def files(self):
        """All there is but the double's own, so that what a call left behind shows."""
        return sorted(
            str(path.relative_to(self.root)) for path in self.root.rglob("*") if self.double not in (path, *path.parents)
        )


def read_calls(path):
    words = path.read_bytes().split(b"\0")[:-1]
    calls = []
    while words:
        count = int(words[0])
        calls.append([os.fsdecode(word) for word in words[1 : count + 1]])
        words = words[count + 1 :]
    return calls


def read_values(path):
    values = {}
    for record in path.read_bytes().split(b"\0")[:-1]:
        name, _, value = os.fsdecode(record).partition("=")
        # printenv's line feed and the point that keeps the value's own.
        values[name] = value[:-2] if value.endswith("\n.") else None
    return values
