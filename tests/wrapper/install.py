"""The installer, as an ordinary user with a home of their own: it cannot write to the machine's own folders."""

import hashlib
import http.server
import os
import pathlib
import shutil
import stat
import subprocess
import tempfile
import threading
import unittest

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
# nobody: ssh-keygen wants a user that the machine knows.
USER = 65534


TOOLS = (
    "sh bash env awk cat chmod cmp cp curl cut date dirname grep head id ln ls mkdir mktemp mv od printenv ps readlink rm sed sha256sum sleep "
    "ssh-keygen tail tr uname"
)


class Account:
    """A user: a home, and a folder with the double of the Docker client."""

    def __init__(self, engine=True):
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="cb", dir="/tmp")).resolve()
        self.root.chmod(0o755)
        self.home, self.double, self.checkout = self.root / "home", self.root / "double", self.root / "checkout"
        for folder in self.home, self.double, self.double / "containers", self.checkout / "scripts":
            folder.mkdir(parents=True)
        (self.double / "image").write_text("sha256:one")
        (self.double / "calls").write_text("")
        shutil.copy(ROOT / "install.sh", self.checkout)
        for script in "claudebox", "install.sh":
            shutil.copy(ROOT / "scripts" / script, self.checkout / "scripts")
        # What a clean machine has, without the engine it may have.
        self.tools = self.root / "tools"
        self.tools.mkdir()
        for tool in TOOLS.split():
            (self.tools / tool).symlink_to(shutil.which(tool, path="/usr/bin:/bin"))
        if engine:
            (self.tools / "docker").symlink_to(HERE / "double" / "docker")
        self.bin = self.home / ".local" / "bin"
        self.own(self.root)

    def own(self, folder):
        if os.getuid() == 0:
            for path in [folder, *folder.rglob("*")]:
                os.chown(path, USER, USER, follow_symlinks=False)

    def run(self, *words, script="scripts/install.sh", env=None, stdin=b"", check=0, shell=()):
        drop = ["setpriv", "--reuid", str(USER), "--regid", str(USER), "--clear-groups", "--no-new-privs"] if os.getuid() == 0 else []
        path = shutil.which("setpriv")
        environment = {"PATH": f"{self.bin}:{self.tools}", "HOME": str(self.home), "DOUBLE": str(self.double), "LANG": "C.UTF-8", **(env or {})}
        finished = subprocess.run(
            [*([path] + drop[1:] if drop else []), *shell, *([str(self.checkout / script)] if script else []), *words],
            env={name: value for name, value in environment.items() if value is not None}, cwd=self.home, input=stdin, capture_output=True, timeout=60, check=False,
        )
        finished.stdout, finished.stderr = finished.stdout.decode(), finished.stderr.decode()
        if check is not None and finished.returncode != check:
            raise AssertionError(f"exit code {finished.returncode}\n{finished.stdout}\n{finished.stderr}")
        return finished

    def files(self):
        return sorted(str(path.relative_to(self.home)) for path in self.home.rglob("*") if not path.is_dir())

    def engine_calls(self):
        return (self.double / "calls").read_bytes().decode(errors="replace")


INSTALLED = [".local/bin/claudebox", ".local/share/bash-completion/completions/claudebox", ".ssh/claudebox/id_ed25519", ".ssh/claudebox/id_ed25519.pub"]
# The rough form of the predecessor's command: what it is known by.
PREDECESSOR = '#!/usr/bin/env bash\nCLAUDE_IMAGE="${CLAUDE_IMAGE:-psyb0t/claude-code:latest}"\necho old\n'


class Installer(unittest.TestCase):
    maxDiff = None

    def account(self, **more):
        account = Account(**more)
        self.addCleanup(shutil.rmtree, account.root)
        return account

    def test_a_clean_account(self):
        account = self.account()
        done = account.run()
        self.assertEqual(account.files(), INSTALLED)
        self.assertEqual(done.stderr, "")
        self.assertIn(f"ready: go to a project's folder and type claudebox\n", done.stdout)
        self.assertIn("pull\0--quiet\0psyb0t/claudebox:latest", account.engine_calls())
        self.assertIn("\ndefault_image='psyb0t/claudebox:latest'\n", (account.bin / "claudebox").read_text())
        mode = lambda path: stat.S_IMODE((account.home / path).stat().st_mode)
        self.assertEqual((mode(".local/bin/claudebox"), mode(".ssh/claudebox"), mode(".ssh/claudebox/id_ed25519"), mode(".claude")), (0o755, 0o700, 0o600, 0o700))
        # The command works, from there.
        version = account.run("--version", script=None, shell=[str(account.bin / "claudebox")])
        self.assertIn("(host command)", version.stdout)

    def test_completions_are_where_each_shell_looks(self):
        fish, local, oh_my = ".config/fish/completions/claudebox.fish", ".local/share/zsh/site-functions/_claudebox", ".oh-my-zsh/completions/_claudebox"
        hint = "(zsh finds it with this line in .zshrc, before compinit: fpath=({}/.local/share/zsh/site-functions $fpath))"
        for shells, folders, zshrc, there, hinted in (
            ([], [], "", [], False), (["zsh"], [], "", [local], True), (["zsh", "fish"], [], "fpath=(@/.local/share/zsh/site-functions $fpath)\n", [fish, local], False),
            (["zsh"], [".oh-my-zsh/completions"], "", [oh_my], False),
            # Shells that are not on the installer's PATH.
            ([], [".config/fish", ".oh-my-zsh/completions"], "", [fish, oh_my], False),
        ):
            with self.subTest(shells=shells, folders=folders):
                account = self.account()
                for shell in shells:
                    (account.tools / shell).symlink_to("/bin/sh")
                for folder in folders:
                    (account.home / folder).mkdir(parents=True)
                if zshrc:
                    (account.home / ".zshrc").write_text(zshrc.replace("@", str(account.home)))
                account.own(account.home)
                done = account.run()
                self.assertEqual([path for path in account.files() if path not in INSTALLED and path != ".zshrc"], there)
                self.assertEqual((hint.format(account.home) in done.stdout, done.stderr), (hinted, ""))
                for path in there:
                    self.assertIn("claudebox completions", (account.home / path).read_text())
                account.run("--uninstall")
                self.assertEqual([path for path in account.files() if not path.startswith(".ssh") and path != ".zshrc"], [])

    def test_again_changes_nothing(self):
        account = self.account()
        account.run()
        before = {path: (account.home / path).read_bytes() for path in account.files()}
        again = account.run()
        self.assertIn("(up to date)", again.stdout)
        self.assertIn("(kept)", again.stdout)
        self.assertEqual({path: (account.home / path).read_bytes() for path in account.files()}, before)

    def test_an_update_keeps_the_image_that_was_chosen(self):
        account = self.account()
        account.run("--image", "my/box:1")
        command = account.bin / "claudebox"
        command.write_text(command.read_text() + "\n# appended\n")
        account.run()
        self.assertIn("\ndefault_image='my/box:1'\n", command.read_text())
        self.assertNotIn("# appended", command.read_text())
        # It was of this kind, so it is replaced, not kept.
        self.assertEqual(account.files(), INSTALLED)

    def test_which_image(self):
        for words, env, image in (
            (["--minimal"], {}, "psyb0t/claudebox:latest-minimal"),
            ([], {"CLAUDE_MINIMAL": "1"}, "psyb0t/claudebox:latest-minimal"),
            ([], {"CLAUDEBOX_IMAGE": "a:b"}, "a:b"),
            (["--image", "c:d"], {"CLAUDEBOX_IMAGE": "a:b"}, "c:d"),
        ):
            account = self.account()
            account.run(*words, env=env)
            self.assertIn(f"pull\0--quiet\0{image}\0", account.engine_calls())
            self.assertIn(f"\ndefault_image='{image}'\n", (account.bin / "claudebox").read_text())

    def test_another_name_and_folder(self):
        account = self.account()
        account.run("claude", "--dir", str(account.home / "my bin"))
        self.assertIn("my bin/claude", account.files())
        account = self.account()
        account.run(env={"CLAUDE_BIN_NAME": "cb", "CLAUDE_INSTALL_DIR": str(account.home / "b")})
        self.assertIn("b/cb", account.files())

    def test_a_key_is_never_replaced(self):
        account = self.account()
        keys = account.home / ".ssh" / "claudebox"
        keys.mkdir(parents=True)
        (keys / "id_ed25519").write_text("mine")
        account.own(account.home)
        account.run()
        self.assertEqual((keys / "id_ed25519").read_text(), "mine")

    def test_migration(self):
        account = self.account()
        old = account.home / ".ssh" / "claude-code"
        old.mkdir(parents=True)
        for name, text in ("id_ed25519", "old key"), ("id_ed25519.pub", "old half"), ("known_hosts", "hosts"), (".hidden", "x"):
            (old / name).write_text(text)
        account.bin.mkdir(parents=True)
        (account.bin / "claude").write_text(PREDECESSOR)
        (account.bin / "claudebox").write_text(PREDECESSOR.replace("claude-code", "claudebox"))
        (account.home / ".claude").mkdir()
        (account.home / ".claude" / "settings.json").write_text("{}")
        account.own(account.home)
        done = account.run()
        replaced = ".local/share/claudebox/replaced"
        kept = [f".ssh/claude-code/{name}" for name in (".hidden", "id_ed25519", "id_ed25519.pub", "known_hosts")]
        copied = [f".ssh/claudebox/{name}" for name in (".hidden", "known_hosts")]
        self.assertEqual(account.files(), sorted(INSTALLED + kept + copied + [".claude/settings.json", f"{replaced}/claude", f"{replaced}/claudebox"]))
        self.assertEqual((account.home / replaced / "claude").read_text(), PREDECESSOR)
        self.assertEqual((account.home / ".ssh/claudebox/id_ed25519").read_text(), "old key")
        self.assertIn("of docker-claude-code, is kept as", done.stdout)

    def test_the_real_cli_is_nobodys_to_move(self):
        account = self.account()
        account.bin.mkdir(parents=True)
        (account.bin / "claude").write_text("#!/usr/bin/env node\n// Claude Code\n")
        account.own(account.home)
        account.run()
        self.assertIn("Claude Code", (account.bin / "claude").read_text())

    def test_somebody_elses_command_of_that_name(self):
        account = self.account()
        account.bin.mkdir(parents=True)
        (account.bin / "claudebox").write_text("#!/bin/sh\necho mine\n")
        account.own(account.home)
        refused = account.run("--dir", str(account.bin), check=73)
        self.assertIn("is there and is not claudebox", refused.stderr)
        self.assertEqual((account.bin / "claudebox").read_text(), "#!/bin/sh\necho mine\n")

    def test_uninstall_leaves_what_is_documented(self):
        account = self.account()
        account.run()
        done = account.run("--uninstall")
        self.assertEqual(account.files(), [".ssh/claudebox/id_ed25519", ".ssh/claudebox/id_ed25519.pub"])
        self.assertTrue((account.home / ".claude").is_dir())
        self.assertIn("left as they are:", done.stdout)
        self.assertIn("is not installed", account.run("--uninstall").stdout)

    def test_no_engine_changes_nothing(self):
        account = self.account(engine=False)
        refused = account.run(check=69)
        self.assertEqual(refused.stderr, "install: error: docker is not installed: install Docker (https://docs.docker.com/engine/install/) or Podman first\n")
        self.assertEqual(account.files(), [])

    def test_no_place_to_write_to(self):
        account = self.account()
        refused = account.run(env={"PATH": str(account.tools)}, check=77)
        self.assertIn("there is no sudo: use --dir", refused.stderr)

    def test_wrong_words(self):
        account = self.account()
        for words in ["--wrong"], ["--dir"], ["--dir", "relative"], ["--image", "a b"], ["a/b"]:
            account.run(*words, check=64)
        self.assertEqual(account.files(), [])

    def test_the_checksum_is_the_commands(self):
        checksum = [line for line in (ROOT / "scripts" / "install.sh").read_text().splitlines() if line.startswith("checksum=")]
        actual = hashlib.sha256((ROOT / "scripts" / "claudebox").read_bytes()).hexdigest()
        self.assertEqual(checksum, [f"checksum={actual}"], "run: tests/wrapper/run seal")

    def test_a_checkout_with_changes_says_so(self):
        account = self.account()
        with (account.checkout / "scripts" / "claudebox").open("a") as file:
            file.write("# changed\n")
        self.assertIn("has been changed since", account.run().stderr)

    def test_piped_from_an_address(self):
        """As it is written everywhere: curl ... | sh. The address is a server of ours."""
        account = self.account()
        served = account.checkout

        class Quiet(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *args, **more):
                super().__init__(*args, directory=str(served), **more)

            def log_message(self, *_):
                pass

        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            address = {"CLAUDEBOX_SOURCE_URL": f"http://127.0.0.1:{server.server_port}/scripts"}
            script = (ROOT / "install.sh").read_bytes()
            # A file of the command's name where one stands is not what is installed.
            (account.home / "claudebox").write_text("not this one")
            account.own(account.home)
            account.run(script=None, shell=["sh"], stdin=script, env=address)
            self.assertEqual([path for path in account.files() if path != "claudebox"], INSTALLED)
            account.run("-s", "--", "--uninstall", script=None, shell=["bash"], stdin=script, env=address)
            self.assertNotIn(".local/bin/claudebox", account.files())
            # What is not what the installer belongs to is not installed.
            with (served / "scripts" / "claudebox").open("a") as file:
                file.write("# tampered with\n")
            refused = account.run(script=None, shell=["sh"], stdin=script, env=address, check=65)
            self.assertIn("is not what this installer belongs to", refused.stderr)
            self.assertNotIn(".local/bin/claudebox", account.files())
            server.shutdown()


if __name__ == "__main__":
    unittest.main()
