"""The host command with a real engine, the real Claude CLI and the offline model.

`CLAUDEBOX_TEST_IMAGE` names the image. No container has a network. Terminals are played by a tmux of our own.
"""

import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
COMMAND = ROOT / "scripts" / "claudebox"
IMAGE = os.environ.get("CLAUDEBOX_TEST_IMAGE") or "claudebox:minimal"
# Generous: a busy machine is no fault.
DEADLINE = 60
OFFLINE = "[claudebox offline model] "


def docker(*words, check=True):
    return subprocess.run(["docker", *words], capture_output=True, text=True, timeout=DEADLINE, check=check, stdin=subprocess.DEVNULL).stdout.strip()


def until(what, ask):
    deadline = time.monotonic() + DEADLINE
    while True:
        answer = ask()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {DEADLINE} s: {what}")
        time.sleep(0.05)


class Person:
    """Somebody with a home and a folder to work in."""

    def __init__(self, workspace="my work"):
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="cb", dir="/var/tmp")).resolve()
        self.root.chmod(0o755)
        self.home, self.workspace = self.root / "home", self.root / workspace
        for folder in self.home, self.workspace:
            folder.mkdir()
            # As root owns it, the box's user would be nobody's.
            os.chown(folder, 1234, 1234) if os.getuid() == 0 else None
        (self.home / ".claude").mkdir()
        os.chown(self.home / ".claude", 1234, 1234) if os.getuid() == 0 else None
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "CLAUDEBOX_IMAGE": IMAGE,
            "CLAUDEBOX_NETWORK": "none",
            "CLAUDEBOX_OFFLINE": "1",
            "CLAUDEBOX_NO_DOCKER_SOCKET": "1",
        }
        if "DOCKER_HOST" in os.environ:
            self.env["DOCKER_HOST"] = os.environ["DOCKER_HOST"]

    def environment(self, env):
        return {name: value for name, value in {**self.env, **(env or {})}.items() if value is not None}

    def run(self, *words, env=None, cwd=None, stdin="", check=0, wrap=()):
        finished = subprocess.run(
            [*wrap, str(COMMAND), *words], env=self.environment(env), cwd=cwd or self.workspace, input=stdin, capture_output=True, text=True,
            timeout=DEADLINE * 2, check=False,
        )
        if check is not None and finished.returncode != check:
            raise AssertionError(f"{words}: exit code {finished.returncode}\n{finished.stdout}\n{finished.stderr}")
        return finished

    def start(self, *words, env=None):
        """In the background, without a terminal."""
        return subprocess.Popen(
            [str(COMMAND), *words], env=self.environment(env), cwd=self.workspace, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
            # Where these tests run in the background or below nohup they are ignored, and a shell cannot trap what it found ignored.
            preexec_fn=lambda: [signal.signal(number, signal.SIG_DFL) for number in (signal.SIGINT, signal.SIGHUP)] and None,
        )

    def name(self, kind="", env=None, cwd=None):
        line = self.run("logs", kind or "session", env={**(env or {}), "CLAUDEBOX_DRY_RUN": "1"}, cwd=cwd).stdout.split()
        return line[-1]

    def say(self, prompt, **more):
        """The offline model's answer without its label."""
        answer = self.run(prompt, **more)
        assert answer.stdout.startswith(OFFLINE), answer
        return answer.stdout.removeprefix(OFFLINE).rstrip("\n")

    def sessions(self):
        return sorted(path.stem for path in (self.home / ".claude" / "projects").glob("*/*.jsonl"))

    def clean(self):
        for filter_ in f"label=claudebox.data={self.home}/.claude", f"label=claudebox.test={self.root.name}":
            for box in docker("ps", "-aq", "--filter", filter_).split():
                docker("rm", "--force", box, check=False)
        shutil.rmtree(self.root)


class Terminal:
    """A terminal with the host command on it."""

    server = f"claudebox-test-{os.getpid()}"
    count = 0

    def __init__(self, person, *words, env=None, cwd=None, command=COMMAND):
        Terminal.count += 1
        self.name = f"t{Terminal.count}"
        # The person's own shell goes on after a Ctrl-C.
        script = f"trap : INT; cd {shlex.quote(str(cwd or person.workspace))} && exec 9>{shlex.quote(str(person.root / self.name))}; "
        script += f"{shlex.join([str(command), *words])}; echo $? >&9; printf 'ended'; read x"
        variables = [word for name, value in person.environment(env).items() for word in ("-e", f"{name}={value}")]
        self.result = person.root / self.name
        self.tmux("new-session", "-d", "-s", self.name, "-x", "160", "-y", "40", *variables, "sh", "-c", script)

    def tmux(self, *words, check=True):
        return subprocess.run(["tmux", "-L", self.server, "-f", "/dev/null", *words], capture_output=True, text=True, check=check).stdout

    def screen(self):
        return self.tmux("capture-pane", "-p", "-J", "-S", "-300", "-t", self.name)

    def shows(self, text):
        try:
            until(text, lambda: re.search(text, self.screen()))
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.screen()}") from None

    def type(self, text):
        self.tmux("send-keys", "-t", self.name, "-l", text)

    def press(self, *keys):
        for key in keys:
            self.tmux("send-keys", "-t", self.name, key)

    def ask(self, text):
        """Types a prompt, sees it on the screen, and sends it."""
        self.type(text)
        self.shows(rf"❯\s+{re.escape(text)}")
        self.press("Enter")

    def leave(self):
        """Ctrl-C twice, as a person would. The exit code."""
        deadline = time.monotonic() + DEADLINE
        while not self.result.read_text():
            self.press("C-c")
            time.sleep(0.3)
            if time.monotonic() > deadline:
                raise AssertionError(f"it does not end:\n{self.screen()}")
        return self.code()

    def code(self):
        return int(until("the end", self.result.read_text))

    def close(self):
        self.tmux("kill-session", "-t", self.name, check=False)


READY = "bypass permissions on"


class Case(unittest.TestCase):
    maxDiff = None

    def person(self, *args):
        person = Person(*args)
        self.addCleanup(person.clean)
        return person

    def terminal(self, *args, **more):
        terminal = Terminal(*args, **more)
        self.addCleanup(terminal.close)
        return terminal

    def state(self, name):
        return docker("inspect", "--format", "{{.State.Status}}", name, check=False)

    @classmethod
    def tearDownClass(cls):
        subprocess.run(["tmux", "-L", Terminal.server, "kill-server"], capture_output=True, check=False)


class Prompts(Case):
    def test_the_answer_alone_and_the_runs_exit_code(self):
        person = self.person()
        first = person.run("offline:echo one two")
        self.assertEqual((first.stdout, first.stderr), (f"{OFFLINE}one two\n", ""))
        box = docker("inspect", "--format", "{{.Id}}", person.name("prog"))
        # Standard input is added, whatever is in it.
        piped = person.say("offline:echo and", stdin="$(x) 'ä'\n\n\"b\"")
        self.assertEqual(piped, "and\n\n$(x) 'ä'\n\n\"b\"")
        self.assertEqual(person.run(stdin="offline:echo alone").stdout, f"{OFFLINE}alone\n")
        for words, code in ((["offline:error 400"], 1), (["x", "--effort", "hihg"], 64), (["x", "--resume", "01234567-89ab-4cde-8f01-23456789abcd"], 66), (["offline:silent 60", "--timeout", "1"], 124)):
            failed = person.run(*words, check=code)
            self.assertEqual(failed.stdout, "")
            self.assertIn("error: ", failed.stderr)
        # All of that was one box.
        self.assertEqual(docker("inspect", "--format", "{{.Id}}", person.name("prog")), box)

    def test_every_form_of_the_announcement(self):
        """The examples of how prompts are asked, as they are written there."""
        person = self.person()
        self.assertIn("explain this codebase", person.say("explain this codebase"))
        for model in "sonnet", "opus":
            person.run("explain this codebase", "--model", model)
        one = json.loads(person.run("list all TODOs", "--output-format", "json").stdout)
        self.assertEqual((one["type"], one["isError"], one["outcome"]), ("result", False, "ok"))
        verbose = json.loads(person.run("list all TODOs", "--output-format", "json-verbose").stdout)
        self.assertTrue(verbose["turns"])
        events = [json.loads(line) for line in person.run("list all TODOs", "--output-format", "stream-json").stdout.splitlines()]
        self.assertEqual((events[0]["type"], events[-1]["type"]), ("system", "result"))
        for words in (["--effort", "high"], ["--effort", "low"], ["--system-prompt", "You are a security auditor"], ["--append-system-prompt", "Focus on SQL injection"]):
            person.run("review this", *words)
        schema = '{"type":"object","properties":{"author":{"type":"string"},"title":{"type":"string"}}}'
        answer = json.loads(person.run("extract author and title", "--output-format", "json", "--json-schema", schema).stdout)
        self.assertIsInstance(answer["structuredOutput"], dict)
        fresh = json.loads(person.run("start over", "--no-continue", "--output-format", "json").stdout)
        self.assertNotEqual(fresh["sessionId"], one["sessionId"])
        again = json.loads(person.run("keep going", "--resume", one["sessionId"], "--output-format", "json").stdout)
        self.assertEqual(again["sessionId"], one["sessionId"])

    def test_ten_at_once_are_ten_answers_and_ten_exit_codes(self):
        person = self.person()
        # From the cold: who comes first makes the box, the others use it.
        runs = [(number, person.start(f"offline:echo number {number}" if number % 3 else f"offline:error 40{number // 3 % 2}")) for number in range(10)]
        for number, run in runs:
            out, err = run.communicate(timeout=DEADLINE * 2)
            if number % 3:
                self.assertEqual((run.returncode, out, err), (0, f"{OFFLINE}number {number}\n", ""))
            else:
                self.assertEqual((run.returncode, out), (1 if number // 3 % 2 == 0 else 77, ""), err)
        self.assertEqual(len(docker("ps", "-aq", "--filter", f"label=claudebox.data={person.home}/.claude").split()), 1)

    def test_ending_the_command_ends_the_run(self):
        person = self.person()
        person.run("warm")
        box = person.name("prog")
        for number in signal.SIGTERM, signal.SIGINT, signal.SIGHUP:
            run = person.start("offline:slow 60", "--output-format", "json")
            until("the run", lambda: docker("exec", box, "claudebox", "call", "list"))
            run.send_signal(number)
            out, err = run.communicate(timeout=DEADLINE)
            # It has the last word.
            self.assertEqual((run.returncode, json.loads(out)["outcome"]), (128 + number, "killed"), err)
            self.assertEqual(docker("exec", box, "claudebox", "call", "list"), "")
        # And nothing of it is left.
        run = person.start("offline:tool sleep 4242")
        until("the tool runs", lambda: "sleep 4242" in docker("top", box))
        run.send_signal(signal.SIGTERM)
        run.communicate(timeout=DEADLINE)
        self.assertNotIn("sleep 4242", docker("top", box))

    def test_ctrl_c_on_a_terminal(self):
        person = self.person()
        person.run("warm")
        terminal = self.terminal(person, "offline:slow 60", "--output-format", "json")
        until("the run", lambda: docker("exec", person.name("prog"), "claudebox", "call", "list"))
        terminal.press("C-c")
        self.assertEqual(terminal.code(), 130)
        terminal.shows('"outcome":"killed"')
        self.assertEqual(docker("exec", person.name("prog"), "claudebox", "call", "list"), "")


class Sessions(Case):
    def test_a_session_goes_on_whatever_happens(self):
        """Created; its terminal closed; the box killed in mid-answer; another image: the same session."""
        person = self.person()
        terminal = self.terminal(person)
        terminal.shows(READY)
        terminal.ask("remember the number 4711")
        terminal.shows("said: remember the number 4711")
        (session,) = until("its file", person.sessions)
        box = person.name()

        # The terminal is closed: what it ran ends.
        terminal.close()
        until("the session has ended", lambda: not docker("exec", box, "claudebox", "call", "list"))

        terminal = self.terminal(person)
        terminal.shows("remember the number 4711")
        terminal.shows(READY)
        terminal.ask("offline:slow 60")
        until("it answers", lambda: len(list((person.home / ".claude" / "projects").glob("*/*.jsonl"))) and "offline:slow 60" in next((person.home / ".claude" / "projects").glob("*/*.jsonl")).read_text())
        docker("kill", box)
        self.assertEqual(terminal.code(), 137)

        terminal = self.terminal(person)
        terminal.shows("remember the number 4711")
        terminal.shows(READY)
        self.assertEqual(terminal.leave(), 0)

        # Another image under the same name.
        tag = f"claudebox-test:{person.root.name.lower()}"
        docker("tag", IMAGE, tag)
        self.addCleanup(docker, "rmi", "--force", tag, check=False)
        moved = {"CLAUDEBOX_IMAGE": tag}
        person.run("warm", env=moved)
        made = docker("create", IMAGE)
        docker("commit", "--change", "LABEL newer=1", made, tag)
        docker("rm", made)
        old = docker("inspect", "--format", "{{.Image}}", person.name("prog"))
        updated = person.run("--update", env=moved)
        self.assertIn(f"{tag} stays as it is on this machine, it cannot be pulled: claudebox ", updated.stdout)
        self.assertIn(f"{person.name('prog')} is made again at its next use; sessions stay", updated.stdout)
        terminal = self.terminal(person, env=moved)
        terminal.shows("remember the number 4711")
        self.assertEqual(terminal.leave(), 0)
        person.run("warm", env=moved)
        self.assertNotEqual(docker("inspect", "--format", "{{.Image}}", person.name("prog")), old)
        # The prompts have one of their own.
        self.assertEqual(len(person.sessions()), 2)
        self.assertIn(session, person.sessions())

    def test_scripts_and_the_terminal_go_on_with_their_own(self):
        person = self.person()
        session = lambda *words, **more: json.loads(person.run(*words, "--output-format", "json", **more).stdout)["sessionId"]
        prompts = session("from a script")
        terminal = self.terminal(person)
        terminal.shows(READY)
        self.assertNotIn("from a script", terminal.screen())
        terminal.ask("from a person")
        terminal.shows("said: from a person")
        self.assertEqual(session("while it is open"), prompts)
        (own,) = [one for one in person.sessions() if one != prompts]
        refused = person.run("x", "--resume", own, check=75)
        self.assertIn(f"the session {own} cannot be resumed now: it is open on a terminal", refused.stderr)
        self.assertNotIn(session("in a copy", "--continue-interactive"), (own, prompts))
        self.assertEqual(terminal.leave(), 0)
        self.assertEqual(session("now in it", "--continue-interactive"), own)
        self.assertEqual(session("and again its own"), prompts)
        terminal = self.terminal(person)
        terminal.shows("now in it")
        self.assertEqual(terminal.leave(), 0)

    def test_a_second_terminal_with_other_settings_is_refused(self):
        person = self.person()
        one = self.terminal(person)
        one.shows(READY)
        two = self.terminal(person, env={"CLAUDEBOX_HARDENED": "1"})
        self.assertEqual(two.code(), 75)
        self.assertIn("other settings are asked for", two.screen())
        self.assertEqual(one.leave(), 0)

    def test_a_sessions_variables_and_gits_identity_need_no_other_box(self):
        person = self.person()
        boxes = set()
        for value, other in ("one", "two"), ("two", "one"):
            terminal = self.terminal(person, env={"CLAUDEBOX_ENV_VALUE": value, f"CLAUDEBOX_ENV_ONLY_{value}": "x", "CLAUDEBOX_GIT_NAME": f"Some {value}"})
            terminal.shows(READY)
            box = person.name("session")
            boxes.add(docker("inspect", "--format", "{{.Id}}", box))
            # Of everything in the box, what the session has started.
            script = f"for file in /proc/[0-9]*/environ; do tr '\\0' '\\n' <$file | grep -qx VALUE={value} && tr '\\0' '\\n' <$file; done 2>/dev/null; true"
            found = until("its value", lambda: docker("exec", "--user", "claude", box, "sh", "-c", script)).splitlines()
            self.assertIn(f"ONLY_{value}=x", found)
            self.assertNotIn(f"ONLY_{other}=x", found)
            self.assertEqual(docker("exec", "--user", "claude", box, "git", "config", "--global", "user.name"), f"Some {value}")
            self.assertEqual(terminal.leave(), 0)
        self.assertEqual(len(boxes), 1)

    def test_a_second_terminal_has_its_own_session(self):
        person = self.person()
        one = self.terminal(person)
        one.shows(READY)
        one.ask("I am the first")
        one.shows("said: I am the first")
        two = self.terminal(person)
        two.shows(READY)
        two.ask("I am the second")
        two.shows("said: I am the second")
        self.assertNotIn("I am the first", two.screen())
        until("both files", lambda: len(person.sessions()) == 2)
        # The first one's end is not the second one's.
        self.assertEqual(one.leave(), 0)
        two.ask("still here")
        two.shows("said: still here")
        self.assertEqual(two.leave(), 0)

    def test_a_session_whose_command_was_killed_is_ended_by_the_next(self):
        person = self.person()
        one = self.terminal(person)
        one.shows(READY)
        box = person.name()
        call = docker("exec", box, "claudebox", "call", "list")
        pid = int(call.split()[1].split("@")[0])
        children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for process in pid, *map(int, children):
            os.kill(process, signal.SIGKILL)
        self.assertEqual(docker("exec", box, "claudebox", "call", "list"), call)
        two = self.terminal(person)
        two.shows(READY)
        self.assertNotIn(call, docker("exec", box, "claudebox", "call", "list"))
        self.assertEqual(two.leave(), 0)

    def test_options_of_a_session(self):
        person = self.person()
        terminal = self.terminal(person, "--model", "haiku", "--no-continue")
        terminal.shows("Haiku")
        self.assertEqual(terminal.leave(), 0)

    def test_clear_session_forgets_this_folder_only(self):
        person = self.person("a.b")
        neighbour = person.root / "a_b"
        neighbour.mkdir()
        if os.getuid() == 0:
            os.chown(neighbour, 1234, 1234)
        one = json.loads(person.run("x", "--output-format", "json").stdout)["sessionId"]
        other = json.loads(person.run("x", "--output-format", "json", cwd=neighbour).stdout)["sessionId"]
        self.assertEqual(person.run("clear-session").stdout, "1 session of this workspace deleted\n")
        self.assertEqual(person.sessions(), [other])
        self.assertEqual(person.run("clear-session").stdout, "there was no session of this workspace\n")
        self.assertNotEqual(json.loads(person.run("x", "--output-format", "json").stdout)["sessionId"], one)
        self.assertEqual(json.loads(person.run("x", "--output-format", "json", cwd=neighbour).stdout)["sessionId"], other)
        # Not under the feet of one that is at work.
        run = person.start("offline:slow 60")
        until("the run", lambda: docker("exec", person.name("prog"), "claudebox", "call", "list"))
        self.assertIn("is at work", person.run("clear-session", check=75).stderr)
        run.send_signal(signal.SIGTERM)
        run.communicate()


class Settings(Case):
    def test_what_is_asked_for_is_in_the_box(self):
        person = self.person()
        mounts = person.root / "more data"
        mounts.mkdir()
        (mounts / "file").write_text("material")
        keys = person.root / "keys"
        keys.mkdir()
        (keys / "id_ed25519.pub").write_text("a key")
        if os.getuid() == 0:
            for path in mounts, keys:
                os.chown(path, 1234, 1234)
        value = "two\nlines = 'and' \"quotes\" $(touch /tmp/x) `x`\n"
        env = {
            "CLAUDEBOX_ENV_VALUE": value, "CLAUDE_ENV_OTHER": "x=y", "CLAUDEBOX_MOUNT_A": f"{mounts}:/more:ro", "CLAUDE_MOUNT_B": str(mounts),
            "CLAUDEBOX_SSH_DIR": str(keys), "CLAUDEBOX_GIT_NAME": "Some Body", "CLAUDE_GIT_EMAIL": "body@example.org",
            "CLAUDEBOX_CPUS": "1", "CLAUDEBOX_MEMORY": "2g", "CLAUDEBOX_CONTAINER_NAME": f"test-{person.root.name}",
        }
        script = "printenv VALUE OTHER; cat /more/file; touch /more/x; git config user.name; git config user.email; ls ~/.ssh; id -u; pwd; touch made"
        answer = person.say(f"offline:tool {script}", env=env)
        for text in value.rstrip("\n"), "x=y", "material", "Read-only file system", "Some Body", "body@example.org", "id_ed25519.pub", str(person.workspace):
            self.assertIn(text, answer)
        # What the box makes is the person's.
        if os.getuid() == 0:
            self.assertEqual((person.workspace / "made").stat().st_uid, 1234)
        box = f"test-{person.root.name}_prog"
        self.assertEqual(docker("inspect", "--format", "{{.HostConfig.NanoCpus}} {{.HostConfig.Memory}} {{.HostConfig.NetworkMode}}", box), f"1000000000 {2 << 30} none")

    def test_secrets_are_in_their_own_box_alone(self):
        person = self.person()
        env = {"ANTHROPIC_API_KEY": "sk-ant-s3cret", "CLAUDEBOX_ENV_TOKEN": "t0ken-s3cret"}
        person.run("x", env=env)
        person.run("up", "api", env={**env, "CLAUDEBOX_MODE_API_TOKEN": "d00r-s3cret"})
        prog = docker("inspect", person.name("prog"))
        # Its own box has what it was given, in its environment; no label, argument or mount does.
        self.assertEqual(prog.count("s3cret"), 2)
        self.assertNotIn("d00r", prog)
        found = subprocess.run(["grep", "-rl", "s3cret", str(person.root)], capture_output=True, text=True, check=False).stdout
        # The CLI itself keeps the last 20 characters of a key that was approved, and copies of the file that has them.
        self.assertEqual([line for line in found.splitlines() if "/.claude.json" not in line], [])

    def test_changed_settings_make_the_box_again_and_say_so(self):
        person = self.person()
        session = json.loads(person.run("x", "--output-format", "json").stdout)["sessionId"]
        box = docker("inspect", "--format", "{{.Id}}", person.name("prog"))
        # A variable goes with the call.
        self.assertIn("a value", person.say("offline:tool printenv VALUE", env={"CLAUDEBOX_ENV_VALUE": "a value"}))
        self.assertEqual(docker("inspect", "--format", "{{.Id}}", person.name("prog")), box)
        env = {"CLAUDEBOX_ENV_VALUE": "new value", "CLAUDEBOX_MEMORY": "2g"}
        changed = person.run("offline:tool printenv VALUE", "--output-format", "json", env=env)
        self.assertEqual(changed.stderr, f"claudebox: the settings have changed: the box {person.name('prog')} is made again; sessions stay, what was installed in it goes\n")
        answer = json.loads(changed.stdout)
        self.assertIn("new value", answer["result"])
        self.assertEqual(answer["sessionId"], session)
        self.assertNotEqual(docker("inspect", "--format", "{{.Id}}", person.name("prog")), box)

        # Not under the feet of a run that is at work.
        run = person.start("offline:slow 6", env=env)
        until("the run", lambda: docker("exec", person.name("prog"), "claudebox", "call", "list"))
        for other in {}, {"CLAUDEBOX_HARDENED": "1"}, {"CLAUDEBOX_MOUNT_X": "/usr:/more:ro"}:
            second = person.run("offline:echo too", env=other, check=75)
            self.assertIn("other settings are asked for", second.stderr)
            self.assertEqual(second.stdout, "")
        out, err = run.communicate(timeout=DEADLINE)
        self.assertEqual(run.returncode, 0, err)

    def test_hardened(self):
        person = self.person()
        answer = person.say("offline:tool sudo -n id; grep NoNewPrivs /proc/self/status", env={"CLAUDEBOX_HARDENED": "1"})
        self.assertRegex(answer, r"NoNewPrivs:\s+1")
        self.assertNotIn("uid=0", answer)

    def test_the_docker_socket(self):
        person = self.person()
        host = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
        env = {"CLAUDEBOX_NO_DOCKER_SOCKET": None, "DOCKER_HOST": host}
        self.assertIn(docker("version", "--format", "{{.Server.Version}}"), person.say("offline:tool docker version --format '{{.Server.Version}}'", env=env))

    def test_a_box_that_cannot_start_says_why_once(self):
        person = self.person()
        failed = person.run("x", env={"CLAUDEBOX_GRACE_SECONDS": "soon"}, check=78)
        self.assertIn("CLAUDEBOX_GRACE_SECONDS=\"soon\" is not usable: whole seconds", failed.stderr)
        self.assertEqual(failed.stderr.count("does not start"), 1)
        # And mended, it starts.
        self.assertEqual(person.run("offline:echo mended").stdout, f"{OFFLINE}mended\n")
        failed = person.run("x", env={"CLAUDEBOX_NETWORK": "no-such-network"}, check=69)
        self.assertIn("the box cannot be made: ", failed.stderr)
        failed = person.run("x", env={"CLAUDEBOX_IMAGE": "claudebox-no-such-image:x"}, check=69)
        self.assertIn("the image claudebox-no-such-image:x is not on this machine and cannot be pulled", failed.stderr)

    def test_an_idle_box_ends_and_is_started_again(self):
        person = self.person()
        env = {"CLAUDEBOX_IDLE_EXIT_SECONDS": "1"}
        person.run("x", env=env)
        box = person.name("prog")
        until("it has ended", lambda: self.state(box) == "exited")
        self.assertEqual(docker("inspect", "--format", "{{.State.ExitCode}}", box), "0")
        began = docker("inspect", "--format", "{{.Id}}", box)
        # Prompts that fall into its end, again and again: none is lost, none is answered twice.
        for number in range(4):
            answer = person.run(f"offline:echo {number}", env=env)
            self.assertEqual((answer.stdout, answer.stderr), (f"{OFFLINE}{number}\n", ""))
            time.sleep(0.9 + number * 0.08)
        self.assertEqual(docker("inspect", "--format", "{{.Id}}", box), began)

    def test_one_of_another_maker_is_kept(self):
        person = self.person()
        name = f"test-{person.root.name}"
        label = f"claudebox.test={person.root.name}"
        docker("run", "-d", "--name", name, "--label", label, "--network", "none", "-v", f"{person.workspace}:{person.workspace}", "--entrypoint", "sleep", IMAGE, "1000")
        docker("kill", name)
        terminal = self.terminal(person, env={"CLAUDEBOX_CONTAINER_NAME": name})
        terminal.shows(READY)
        self.assertEqual(terminal.leave(), 0)
        kept = [line for line in docker("ps", "-a", "--format", "{{.Names}}", "--filter", f"label={label}").split() if line.startswith(f"{name}.before-")]
        self.assertEqual(len(kept), 1)

    def test_the_predecessors_containers_are_found(self):
        person = self.person("plain")
        old = "claude-" + str(person.workspace).replace("/", "_")
        label = f"claudebox.test={person.root.name}"
        for suffix, folder in (("", person.workspace), ("_cron", person.workspace), ("_prog", person.home)):
            docker("run", "-d", "--name", old + suffix, "--label", label, "--network", "none", "-v", f"{folder}:{folder}", "--init", "--entrypoint", "sleep", IMAGE, "1000")
        stopped = person.run("stop").stdout.splitlines()
        # The last one has the name, but is of another folder.
        self.assertEqual(sorted(stopped), [f"stopped {old}", f"stopped {old}_cron"])
        self.assertEqual([self.state(old + suffix) for suffix in ("", "_cron", "_prog")], ["exited", "exited", "running"])


class Commands(Case):
    def test_the_clis_own_commands_last(self):
        person = self.person()
        self.assertIn("Added", person.run("mcp", "add", "--scope", "user", "thing", "--", "true").stdout)
        # In another box, of another folder.
        other = person.root / "other"
        other.mkdir()
        if os.getuid() == 0:
            os.chown(other, 1234, 1234)
        self.assertIn("thing", person.run("mcp", "list", cwd=other).stdout)
        status = person.run("auth", "status", check=None)
        self.assertIn("loggedIn", status.stdout)
        self.assertIn("nothing", person.run("mcp", "remove", "nothing", check=1).stderr)
        terminal = self.terminal(person, "setup-token")
        terminal.shows("long-lived .* token")
        terminal.close()
        until("it has ended", lambda: not docker("exec", person.name("prog"), "claudebox", "call", "list"))

    def test_stop_ps_logs_down(self):
        person = self.person()
        self.assertEqual(person.run("stop").stdout, f"nothing runs for {person.workspace}\n")
        self.assertIn("there is no container of this workspace", person.run("logs", check=1).stderr)
        person.run("x")
        up = person.run("up", "api")
        api, prog = person.name("api"), person.name("prog")
        self.assertRegex(up.stdout, rf"\A{api} is up, without a network\nits token, shown this once: [0-9a-f]{{48}}\n\Z")
        token = up.stdout.split()[-1]
        self.assertIn("401", docker("exec", api, "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "http://127.0.0.1:8080/status"))
        answer = docker("exec", api, "curl", "-s", "http://127.0.0.1:8080/run", "-H", f"Authorization: Bearer {token}", "--json", '{"prompt": "offline:echo by HTTP", "workspace": "sub", "createWorkspace": true}')
        self.assertEqual(json.loads(answer)["result"], f"{OFFLINE}by HTTP")
        # Its workspaces are the folders of this one, where they are on the host.
        self.assertTrue((person.workspace / "sub").is_dir())
        self.assertEqual(docker("inspect", "--format", "{{.HostConfig.RestartPolicy.Name}}", api), "unless-stopped")
        rows = [re.split(r"  +", line) for line in person.run("ps").stdout.splitlines()]
        self.assertEqual(rows[0], ["NAME", "KIND", "STATUS", "WORKSPACE"])
        self.assertLessEqual({(api, "api", str(person.workspace)), (prog, "prog", str(person.workspace))}, {(row[0], row[1], row[3]) for row in rows[1:]})
        self.assertIn("the HTTP API listens", person.run("logs", "api").stderr)
        self.assertIn("run in", person.run("logs").stderr)
        stopped = sorted(person.run("stop").stdout.splitlines())
        self.assertEqual(stopped, sorted([f"stopped {api}", f"stopped {prog}"]))
        self.assertEqual((self.state(api), self.state(prog)), ("exited", "exited"))
        again = person.run("up", "api").stdout
        self.assertEqual(again, f"{api} is up, without a network\n")
        self.assertEqual(person.run("down", "api").stdout, f"{api} is down\n")
        self.assertEqual(self.state(api), "")
        self.assertEqual(person.run("down", "api").stdout, f"{api} is not up\n")

    def test_a_service_that_cannot_start_is_not_left_restarting(self):
        person = self.person()
        failed = person.run("up", "api", env={"CLAUDEBOX_MODE_API_HOSTS": "", "CLAUDEBOX_LOG_FORMAT": "loud"}, check=1)
        self.assertIn("does not start; its log is above", failed.stderr)
        self.assertIn("CLAUDEBOX_LOG_FORMAT", failed.stderr)
        self.assertNotIn(self.state(person.name("api")), ("running", "restarting"))

    def test_doctor(self):
        person = self.person()
        found = person.run("doctor").stdout
        for line in (
            r"^ok     command       \d", r"^ok     engine        \S*docker \d", rf"^(ok|note) +image         {re.escape(IMAGE)}, \d+ days old",
            r"^ok     socket        no engine's socket", rf"^ok     data          {re.escape(str(person.home))}/.claude$", r"^note   credentials   none: the offline model",
            r"^note   keys          ", r"^(ok|note)  +disk          ", r"^The box:$", r"^This box is healthy\.$",
        ):
            self.assertRegex(found, re.compile(line, re.MULTILINE))
        for env, line in (
            ({"CLAUDEBOX_ENGINE": "no-such"}, "WRONG  engine        no-such is not installed"),
            ({"DOCKER_HOST": "unix:///no/such.sock"}, "WRONG  engine        docker does not answer"),
        ):
            failed = person.run("doctor", env=env, check=1)
            self.assertIn(line, failed.stdout)
            self.assertIn("                     -> ", failed.stdout)

    def test_no_engine_is_one_clear_line(self):
        person = self.person()
        gone = {"DOCKER_HOST": "unix:///no/such.sock"}
        for words in ["x"], ["stop"], ["ps"], ["clear-session"], ["up", "api"], ["logs"], ["--update"]:
            failed = person.run(*words, env=gone, check=69)
            self.assertEqual(len(failed.stderr.splitlines()), 1, failed.stderr)
            start = "claudebox: error: docker does not answer: start it (sudo systemctl start docker, or Docker Desktop) and try again; it says: "
            self.assertTrue(failed.stderr.startswith(start), failed.stderr)

    def test_version_and_help(self):
        person = self.person()
        version = person.run("--version").stdout.splitlines()
        self.assertRegex(version[0], r"\Aclaudebox \d+\.\d+\.\d+ \(host command\)\Z")
        self.assertRegex(version[1], r"\Aclaudebox \d+\.\d+\.\d+ \(for Claude Code CLI \d+\.\d+\.\d+\)\Z")
        self.assertIn("claudebox clear-session", person.run("help").stdout)
        # What the image brings is what is tested here.
        brought = subprocess.run(["docker", "run", "--rm", "--network", "none", "--entrypoint", "claudebox", IMAGE, "host-command"], capture_output=True, check=True).stdout
        self.assertEqual(brought, COMMAND.read_bytes())

    def test_shell(self):
        person = self.person()
        shell = person.run("shell", stdin="id -un; pwd; echo $HOME\n").stdout
        self.assertEqual(shell, f"claude\n{person.workspace}\n/home/claude\n")
        self.assertEqual(person.run("shell", "--root", stdin="id -un\n").stdout, "root\n")
        self.assertEqual(person.run("shell", "-c", "id -un; exit 7", check=7).stdout, "claude\n")
        self.assertEqual(person.run("shell", "--root", "--", "printf", "%s|", "a b", "$(x)").stdout, "a b|$(x)|")
        terminal = self.terminal(person, "shell")
        terminal.type("test -t 0 && echo a-$((40 + 2))")
        terminal.press("Enter")
        terminal.shows("a-42")
        terminal.type("exit 7")
        terminal.press("Enter")
        self.assertEqual(terminal.code(), 7)

    def test_progress_is_for_terminals(self):
        person = self.person()
        terminal = self.terminal(person, "offline:echo hello")
        terminal.shows(re.escape(f"claudebox: making the box of {person.workspace}"))
        self.assertEqual(terminal.code(), 0)
        person.run("stop")
        quiet = person.run("offline:echo hello")
        self.assertEqual((quiet.stdout, quiet.stderr), (f"{OFFLINE}hello\n", ""))

    def test_completions_are_what_their_shells_read(self):
        person = self.person()
        for shell in "bash", "zsh", "fish":
            script = person.run("completions", shell).stdout
            if shutil.which(shell):
                subprocess.run([shell, "-n"], input=script, text=True, check=True)
        ask = 'COMP_WORDS=(claudebox "$@"); COMP_CWORD=$#; _claudebox; printf "%s\\n" "${COMPREPLY[@]}"'
        bash = person.run("completions", "bash").stdout

        def complete(*words):
            return subprocess.run(["bash", "-c", f"{bash}\n{ask}", "x", *words], capture_output=True, text=True, check=True).stdout.split()

        self.assertEqual(complete("cl"), ["cli", "clear-session"])
        self.assertEqual(complete("up", ""), ["api", "telegram", "cron"])
        self.assertEqual(complete("x", "--effort", "x"), ["xhigh"])
        self.assertEqual(complete("x", "--model", "sonnet["), ["sonnet[1m]"])
        self.assertEqual(complete("--no"), ["--no-continue"])

    def test_installed_updated_and_uninstalled(self):
        person = self.person()
        folder = person.root / "bin"
        env = {"CLAUDEBOX_IMAGE": None, "PATH": f"{folder}:{os.environ['PATH']}"}

        def run(*words):
            return subprocess.run(words, env=person.environment(env), cwd=person.workspace, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=DEADLINE * 2, check=True).stdout

        installed = run(str(ROOT / "install.sh"), "--dir", str(folder), "--image", IMAGE)
        self.assertIn("ready: go to a project's folder and type claudebox", installed)
        self.assertEqual(run("claudebox", "offline:echo installed"), f"{OFFLINE}installed\n")
        # The image brings the host command of its own version.
        command = folder / "claudebox"
        command.write_text(command.read_text() + "# an older version\n")
        self.assertIn(f"{command} is the one of this image now", run("claudebox", "--update"))
        self.assertEqual(command.read_text(), COMMAND.read_text().replace("\ndefault_image=''\n", f"\ndefault_image='{IMAGE}'\n"))
        self.assertEqual(run("claudebox", "offline:echo updated"), f"{OFFLINE}updated\n")
        box = run("claudebox", "ps")
        self.assertIn(str(person.workspace), box)
        run(str(ROOT / "scripts" / "install.sh"), "--dir", str(folder), "--uninstall")
        self.assertEqual(list(folder.iterdir()), [])
        self.assertEqual(docker("ps", "-aq", "--filter", f"label=claudebox.data={person.home}/.claude"), "")
        left = {str(path.relative_to(person.home)).split("/")[0] for path in person.home.rglob("*") if path.is_file()}
        self.assertLessEqual(left, {".claude", ".ssh"})

    def test_uninstall_takes_this_persons_boxes_alone(self):
        person, other = self.person(), self.person()
        person.run("x")
        other.run("x")
        data = person.home / ".claude"
        removed = person.run("uninstall", "--yes").stdout
        self.assertTrue(removed.startswith("removed 1 containers\n"), removed)
        self.assertIn(str(data), removed)
        self.assertEqual((self.state(person.name("prog")), self.state(other.name("prog"))), ("", "running"))
        self.assertTrue(data.is_dir())


class Reboot(Case):
    """The engine is restarted: only one that scripts/engine has started, and nobody else's."""

    def test_a_session_goes_on(self):
        folder = os.environ.get("CLAUDEBOX_ENGINE_DIR", "/var/lib/claudebox-engine")
        if not pathlib.Path(folder, "dockerd.pid").exists() or os.environ.get("CLAUDEBOX_TEST_ENGINE_RESTART") == "0":
            self.skipTest("the engine is not ours to restart")
        person = self.person()
        terminal = self.terminal(person)
        terminal.shows(READY)
        terminal.ask("before the restart")
        terminal.shows("said: before the restart")
        asked = json.loads(person.run("a prompt", "--output-format", "json").stdout)["sessionId"]
        run = person.start("offline:slow 60")
        until("the run", lambda: docker("exec", person.name("prog"), "claudebox", "call", "list"))
        for command in "stop", "start":
            subprocess.run([ROOT / "scripts" / "engine", command, "--dir", folder], check=True, capture_output=True, timeout=DEADLINE * 2)
        run.communicate(timeout=DEADLINE)
        self.assertNotEqual(run.returncode, 0)
        self.assertNotEqual(terminal.code(), 0)
        terminal = self.terminal(person)
        terminal.shows("before the restart")
        self.assertEqual(terminal.leave(), 0)
        self.assertEqual(json.loads(person.run("a prompt", "--output-format", "json").stdout)["sessionId"], asked)


if __name__ == "__main__":
    sys.exit(unittest.main())
