"""What both kinds of pictures begin with: a person's folders, and the host command in them."""

import os
import pathlib
import subprocess
import time

HOME = pathlib.Path("/home/ada")
DEADLINE_S = 60
# What claudebox is told, beside what scripts/sealed gives to everybody in it.
SETTINGS = {
    "CLAUDEBOX_OFFLINE": "1",
    "CLAUDEBOX_NO_DOCKER_SOCKET": "1",
    "TZ": "UTC",
    "LANG": "C.UTF-8",
}
# Files of the folders below ~/projects; a change that is not committed, so that there is something to review.
FILES = {
    "site/README.md": "# Site\n",
    "site/index.html": "<h1>Hello</h1>\n",
    "site/style.css": "h1 { color: teal }\n",
}


def make():
    for name, text in FILES.items():
        path = HOME / "projects" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    site = HOME / "projects/site"
    identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com"]
    for words in ["init", "-q"], ["add", "."], [*identity, "commit", "-qm", "Begin"]:
        subprocess.run(["git", *words], cwd=site, check=True)
    (site / "style.css").write_text("h1 { color: navy }\n", encoding="utf-8")
    (HOME / ".local/bin").mkdir(parents=True)
    (HOME / ".local/bin/claudebox").symlink_to("/mnt/scripts/claudebox")
    os.environ.update(SETTINGS)


def until(what, ask, seen=lambda: ""):
    """What `ask` gives once that is something; `seen` is said where it does not come."""
    deadline = time.monotonic() + DEADLINE_S
    while not (found := ask()):
        if time.monotonic() > deadline:
            raise SystemExit(f"pictures: not within {DEADLINE_S} s: {what}\n{seen()}")
        time.sleep(0.1)
    return found
