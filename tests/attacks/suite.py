"""One set-up: starts its boxes, has the attacks carried out, and judges them from outside."""

import json
import os
import pathlib
import re
import secrets
import shutil
import socket
import subprocess
import threading
import time

import stand
import world
from world import wait_for

HERE = pathlib.Path(__file__).parent
HELD, SUCCEEDED, REFUSED = "held", "succeeds", "refused"


def status_of(pid, label):
    try:
        return re.search(rf"^{label}:\s+(\S+)", open(f"/proc/{pid}/status").read(), re.M)[1]
    except (OSError, TypeError):
        return ""


class Case:
    """What a judge may ask about: one attack, its box, and the world."""

    def __init__(self, suite, attack):
        self.suite, self.box, self.world, self.attack = suite, suite.box, suite.world, attack
        self.secrets, self.neighbour = suite.home.secrets, suite.neighbour_home
        self.nonce = secrets.token_hex(16)
        suite.marks.add(self.nonce[:8])
        self.output, self.pid, self.workspace = "", None, attack.kind
        self.guards_before = self.box.all()
        self.before = {role: self.box.role(role) for role in ("serve", "broker")}
        self.slowest, self.largest, self.victim_run, self.session = 0.0, 0, "", suite.session

    # of a process

    def differs(self, kind):
        return os.readlink(f"/proc/{self.pid}/ns/{kind}") != os.readlink(f"/proc/{self.box.pid}/ns/{kind}")

    def limit(self, label, pid=None):
        line = re.search(rf"^{label}\s+\S+\s+(\S+)", open(f"/proc/{pid or self.pid}/limits").read(), re.M)
        return float("inf") if line[1] == "unlimited" else int(line[1])

    def _stat(self, at, pid=None):
        return int(open(f"/proc/{pid or self.pid}/stat").read().rpartition(")")[2].split()[at])

    def nice(self, pid=None):
        return self._stat(16, pid)

    def policy(self, pid=None):
        return self._stat(38, pid)

    def oom(self, pid):
        return int(open(f"/proc/{pid}/oom_score_adj").read())

    def group(self, pid=None):
        return open(f"/proc/{pid or self.pid}/cgroup").read()

    def state(self, pid):
        return status_of(pid, "State").upper()

    def is_traced(self, pid):
        return status_of(pid, "TracerPid") not in ("", "0")

    def _open(self):
        for entry in pathlib.Path(f"/proc/{self.pid}/fd").iterdir():
            yield os.readlink(entry)

    def has_open(self, text):
        return any(text in target for target in self._open())

    def has_socket(self):
        return any(target.startswith("socket:") for target in self._open())

    # of the box

    def is_device(self, path):
        return stand.is_device(self.box.path(path))

    def inner(self, known):
        return [inner for inner, name, *_ in known.values() if name.startswith("claudebox")]

    def says_a_guard(self):
        known = self.inner(self.guards_before) + self.inner(self.box.all())
        return any(int(pid) in known for pid in re.findall(r"peer (\d+)", self.output))

    def in_state(self):
        """What the box keeps of itself. Without root that is in ~/.claude; with root only the CLI's notes are there."""
        for top in ["/var/lib/claudebox", "/run/claudebox"] + ["/home/claude/.claude/claudebox"] * self.box.user:
            yield from self.box.path(top).rglob("*")

    def open_to_all(self, path):
        root = self.box.path("")
        return all(folder == root or not folder.is_relative_to(root) or folder.stat().st_mode & 1 for folder in path.parents)

    def has_ended(self):
        return self.box.code() is not None

    def has_job(self):
        return self.suite.policy_taken

    def lives_on(self):
        """After the run, and after the one that came next."""
        command = ["sleep", "31" + str(int(self.nonce[:4], 16))]
        self.suite.small_run()
        alive = [pid for pid, (_, _, _, words) in self.box.all().items() if words[-2:] == command or words[-1:] == command[1:]]
        for pid in alive:
            os.kill(pid, 9)
        return bool(alive)

    def doctor_ran_it(self):
        self.output += self.box.execute("claudebox", "doctor").stdout
        return (self.box.home.folder / f"root/{self.nonce}").exists()

    @staticmethod
    def later(seconds):
        time.sleep(seconds)
        return True

    def fetched(self, port):
        try:
            with socket.create_connection((world.BOX, port), 2) as peer:
                peer.settimeout(2)
                return self.nonce in peer.recv(100).decode()
        except OSError:
            return False

    def engine_has_seen(self, text):
        return any(text in said for said in self.suite.engine_heard)

    # of another run

    def victim_ended(self):
        return self.box.result(self.victim_run) is not None

    def victim_result(self):
        if not hasattr(self, "_victim"):
            self._victim = self.suite.end_victim(self.victim_run)
        return json.dumps(self._victim)

    def victim_events(self):
        return self.box.ask("GET", f"/runs/{self.victim_run}/events")[1]

    def victim_outcome(self):
        self.victim_result()
        return self._victim.get("outcome") if self._victim else None


class Suite:
    """All attacks in one set-up."""

    def __init__(self, attacks, setup, folder, binary, has_cli, chosen, verbose):
        self.attacks, self.setup, self.folder, self.has_cli, self.verbose = attacks, setup, folder, has_cli, verbose
        self.user, self.hardened = setup.who.startswith("user"), setup.who.endswith("hardened")
        self.outcomes, self.skipped, self.notes = {}, {}, []
        self.chosen = chosen
        self.session = "11111111-2222-4333-8444-555555555555"
        self.policy_taken = False
        self.engine_heard, self.marks = [], set()
        own = folder / setup.name
        own.mkdir()
        self.home = stand.Home(own)
        self.neighbour_home = stand.Home(folder / f"{setup.name}-neighbour", shared=own)
        self.world = world.World(binary)
        self.network = stand.Network(setup.engine, folder / "image")
        self.box = self.neighbour = None

    def of(self, phase):
        return [attack for attack in self.attacks.values() if attack.phase == phase and attack.name in self.chosen]

    def start(self, **options):
        """The box of this set-up; Refused if it does not start."""
        options = {"user": self.user, "hardened": self.hardened, "engine": self.setup.engine, "home": self.home, **options}
        box = stand.Box(network=self.network, tools=self.folder / "tools", image=self.folder / "image", **options)
        try:
            return box.until_ready()
        except BaseException:
            box.kill()
            raise

    def run(self):
        try:
            self.world.attach(self.network.pid)
            try:
                self.box = self.start()
            except stand.Refused as refusal:
                code, said = refusal.args
                if not (self.hardened and code == 78):
                    raise
                self.notes.append("does not start: " + said.strip().splitlines()[-1])
                return dict.fromkeys(self.chosen, REFUSED)
            for phase in (self.talk, self.together, self.by_callers, self.alone, self.plant_for_the_cli, self.plant_for_a_start, self.with_engines):
                began = time.monotonic()
                phase()
                if self.verbose:
                    print(f"{self.setup.name}: {phase.__name__} {time.monotonic() - began:.1f} s", flush=True)
        finally:
            self.close()
        return self.outcomes

    def close(self):
        for box in (self.box, self.neighbour):
            if box:
                box.kill()
        self.network.close()
        self.world.close()
        # What the attack on control groups has made where it could.
        groups = self.folder / self.setup.name / "groups"
        groups.mkdir()
        # This process has mounts of its own.
        subprocess.run(["mount", "-t", "cgroup2", "none", groups], capture_output=True, check=False)
        for group in groups.glob("x-*"):
            if group.name[2:] in self.marks:
                group.rmdir()
        subprocess.run(["umount", groups], capture_output=True, check=False)

    # --- pieces ---------------------------------------------------------------------------------------------------------

    def carry_out(self, cases, workspace):
        """One run that carries these attacks out; each case gets what its attack has printed."""
        folder = self.home.folder / "workspaces" / workspace
        shutil.rmtree(folder / "out", ignore_errors=True)
        # What is planted goes into files that others are planted in too.
        at_once = {"at_once": 1} if workspace == "planter" else {}
        job = json.dumps({"attacks": {case.attack.name: case.nonce for case in cases}, **at_once})
        if self.setup.who == "control":
            ended = self._as_control(workspace, job)
        else:
            run = self.box.begin(workspace, job)
            ended = lambda: self.has_run_ended(run, folder, cases)  # noqa: E731
        waiting = {case.attack.name: case for case in cases if case.attack.judge.held}
        deadline, ask_again, is_over = time.monotonic() + 40, 0.0, False
        while not is_over:
            for name, case in list(waiting.items()):
                hold = folder / f"out/{name}.hold"
                if hold.exists() and (inner := hold.read_text().strip()):
                    case.pid = self.box.outside(int(inner))
                    self.judge(case)
                    (folder / f"out/{name}.seen").touch()
                    del waiting[name]
            if time.monotonic() > ask_again:
                is_over = ended()
                ask_again = time.monotonic() + 0.1
            if time.monotonic() > deadline:
                self.notes.append(f"the run of {', '.join(case.attack.name for case in cases)} did not end: {self.box.ask('GET', '/runs?limit=2')}")
                break
            time.sleep(0.01)
        for case in cases:
            try:
                case.output = (folder / "out" / case.attack.name).read_text(errors="replace")
            except FileNotFoundError:
                # A run that no attack came out of proves nothing.
                self.skipped[case.attack.name] = "it did not run"
        for name in waiting:
            # It was not let through to where it would have waited.
            self.outcomes[name] = HELD

    def has_run_ended(self, run, folder, cases):
        if self.box.code() is not None:
            return True
        if self.box.result(run, timeout=0.5) is not None:
            return True
        # Without servers there is no result, but the attack's process is done.
        return not self.box.role("turn") and all((folder / f"out/{case.attack.name}.ended").exists() for case in cases)

    def _as_control(self, workspace, job):
        """Root with all capabilities, straight in the box: what must be seen to succeed, if it can be seen at all."""
        environment = [f"{name}={value}" for name, value in (
            ("PATH", stand.PATH), ("HOME", "/home/claude"), ("ANTHROPIC_API_KEY", self.home.secrets["api-key"]))]
        folder = f"/workspaces/{workspace}"
        child = subprocess.Popen(
            ["nsenter", "--target", str(self.box.pid), "--pid", "--mount", "--net", "--ipc", "--uts", "--", "env", "-i", *environment,
             "sh", "-c", 'mkdir -p "$1" && cd "$1" && exec python3 /usr/local/lib/attack/agent.py "$2"', "sh", folder, job],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return lambda: child.poll() is not None

    def judge(self, case):
        try:
            succeeded = bool(case.attack.judge.ask(case))
        except (OSError, ValueError) as error:
            # What a judge looks at may have ended, or never have been made.
            succeeded = False
            case.output += f"\njudge: {error}"
        self.outcomes[case.attack.name] = SUCCEEDED if succeeded else HELD
        if self.verbose:
            print(f"{self.setup.name}: {case.attack.name} {self.outcomes[case.attack.name]}\n    "
                  + case.output[:400].replace("\n", "\n    "), flush=True)
        return succeeded

    def judge_all(self, cases):
        for case in cases:
            if case.attack.name not in self.outcomes and case.attack.name not in self.skipped:
                self.judge(case)

    def begin_victim(self, workspace="victim"):
        """Another run, which waits for `end_victim`."""
        folder = self.home.folder / f"workspaces/{workspace}"
        for name in ("started", "stop"):
            (folder / name).unlink(missing_ok=True)
        run = self.box.begin(workspace, json.dumps({"victim": self.home.secrets["victim"]}))
        wait_for("another run", (folder / "started").exists)
        return run

    def end_victim(self, run, workspace="victim"):
        (self.home.folder / f"workspaces/{workspace}/stop").touch()
        return wait_for("the end of the other run", lambda: self.box.result(run) or (self.box.code() is not None and {"outcome": "none"}))

    def small_run(self):
        if self.box.code() is None and self.setup.who != "control":
            run = self.box.begin("small", '{"attacks": {}}')
            wait_for("a small run", lambda: self.box.result(run) or self.box.code() is not None)

    def cli_run(self, prompt):
        """A run of the true CLI in the other workspace; its result."""
        run = self.box.begin("neighbour", prompt)
        return wait_for("a run of the true CLI", lambda: self.box.result(run), 60)

    def restart(self, **options):
        self.box.stop()
        self.home.set_right()
        self.box = self.start(**options)

    # --- phases ---------------------------------------------------------------------------------------------------------

    def talk(self):
        """A run of the true CLI has a session with a secret; another box shares ~/.claude."""
        if self.has_cli:
            answer = self.cli_run(f"offline:echo {self.home.secrets['session']}")
            self.session = answer.get("sessionId", self.session)
            if answer.get("outcome") != "ok":
                self.notes.append(f"the true CLI: {answer}")
        (self.home.folder / "home/claude/.claude/.credentials.json").write_text('{"sign-in": "canary-sign-in"}')
        os.chown(self.home.folder / "home/claude/.claude/.credentials.json", stand.UID, stand.UID)

    def together(self):
        cases = [Case(self, attack) for attack in self.of("together")]
        victim = self.begin_victim()
        if any(case.attack.options.get("neighbour") for case in cases):
            self.neighbour = stand.Box(self.neighbour_home, self.network, self.folder / "tools", self.folder / "image", user=True, hardened=False,
                                       engine=self.setup.engine, name="neighbour", env={"CLAUDEBOX_MODE_API": "0", "CLAUDEBOX_MODE_LOCAL": "1",
                                                                                        "ANTHROPIC_API_KEY": "another"})
            wait_for("the other box", lambda: self.neighbour.processes("claudebox ready"))
        for kind in dict.fromkeys(case.attack.kind for case in cases):
            group = [case for case in cases if case.attack.kind == kind]
            self.carry_out(group, kind)
            self.judge_all(group)
        self.end_victim(victim)
        if self.neighbour:
            self.neighbour.kill()
            self.neighbour = None
        credentials = self.home.folder / "home/claude/.claude/.credentials.json"
        credentials.unlink(missing_ok=True)

    def by_callers(self):
        if self.setup.who == "control":
            return
        for attack in self.of("operator"):
            case = Case(self, attack)
            case.victim_run = self.begin_victim()
            case.output = attack.body(case)
            self.judge(case)
            self.end_victim(case.victim_run)
            for folder in (self.home.folder / "workspaces").glob("poor-*"):
                (folder / "stop").touch()

    def alone(self):
        for attack in self.of("alone"):
            began = time.monotonic()
            self.mend()
            case = Case(self, attack)
            if attack.options.get("victim"):
                case.victim_run = self.begin_victim()
                case.guards_before = self.box.all()
            watch = threading.Event()
            watcher = threading.Thread(target=self._watch, args=(case, watch), daemon=True)
            if attack.options.get("asks") or attack.options.get("calls"):
                watcher.start()
            self.carry_out([case], f"alone-{attack.name}"[:60])
            watch.set()
            if watcher.is_alive():
                watcher.join()
            self.judge_all([case])
            if case.victim_run:
                case.victim_result()
            harmed = self.outcomes.get(attack.name) == SUCCEEDED or (self.setup.who == "control" and case.victim_run)
            if harmed and self.box.code() is None:
                self.restart()
            if self.verbose:
                print(f"{self.setup.name}: {attack.name} took {time.monotonic() - began:.1f} s", flush=True)

    def _watch(self, case, end):
        """An operator's questions while the attack goes on: how long they take, and how much the guards need."""
        while not end.is_set():
            began = time.monotonic()
            self.box.ask("GET", "/runs?limit=1", timeout=6)
            if not case.attack.options.get("calls"):
                case.slowest = max(case.slowest, time.monotonic() - began)
            for pid in self.box.guards():
                case.largest = max(case.largest, int(status_of(pid, "VmRSS") or 0) << 10)
            time.sleep(0.05)

    def mend(self):
        """A box at work: the same, or another where an attack has ended it."""
        try:
            if self.box.code() is None:
                self.box.until_ready()
                return
        except (stand.Refused, TimeoutError):
            pass
        self.restart()

    def plant_for_the_cli(self):
        attacks = self.of("cli")
        if not attacks or self.setup.who == "control":
            return
        if not self.has_cli:
            self.skipped |= {attack.name: "no CLI" for attack in attacks}
            return
        self.restart()
        cases = [Case(self, attack) for attack in attacks]
        self.carry_out(cases, "planter")
        answer = self.cli_run("offline:tool cd /workspaces/neighbour; sleep 1.5; git status >/dev/null; git st; "
                              "git -c user.name=x -c user.email=x@x commit --quiet --allow-empty --message x; true")
        if answer.get("outcome") != "ok":
            self.notes.append(f"the true CLI in the other workspace: {answer.get('outcome')} {str(answer.get('result'))[:200]}")
        self.judge_all(cases)

    def plant_for_a_start(self):
        attacks = self.of("restart")
        if not attacks or self.setup.who == "control":
            return
        self.restart()
        cases = [Case(self, attack) for attack in attacks]
        self.carry_out(cases, "planter")
        plain = [case for case in cases if not case.attack.options.get("policy")]
        if plain:
            self._start_on(plain, {})
        for case in cases:
            if case not in plain:
                place = f"/home/claude/.claude/{case.attack.options['policy']}"
                name = {"tokens.yml": "CLAUDEBOX_MODE_API_TOKENS_FILE", "cron.yaml": "CLAUDEBOX_MODE_CRON_FILE"}[case.attack.options["policy"]]
                self._start_on([case], {name: place, "CLAUDEBOX_MODE_CRON": str(int("CRON" in name)), "CLAUDEBOX_WORKSPACE": "/workspaces"})

    def _start_on(self, cases, env):
        """Starts the box again, on what was planted."""
        self.box.stop()
        # What root has done at the agent's bidding before the start proves nothing about the start.
        for case in cases:
            (self.home.folder / f"root/{case.nonce}").unlink(missing_ok=True)
        try:
            self.box = self.start(env=env)
        except stand.Refused as refusal:
            if not (self.hardened and refusal.args[0] == 78):
                self.notes.append(f"the box does not start again: {refusal.args}")
            self.outcomes |= {case.attack.name: HELD for case in cases}
            return
        self.policy_taken = bool(env)
        read = self.home.folder / "root/secret"
        for case in cases:
            case.box = self.box
            # What the start has given to the agent, the agent can read now.
            if read.stat().st_uid == stand.UID:
                case.output += read.read_text()
            self.judge(case)

    def with_engines(self):
        if self.setup.who == "control":
            return
        for attack in self.of("sockets"):
            if self.box.code() is None:
                self.box.stop()
            path = self.home.folder / "engine.sock"
            path.unlink(missing_ok=True)
            engine = socket.socket(socket.AF_UNIX)
            engine.bind(str(path))
            path.chmod(0o666)
            engine.listen()
            threading.Thread(target=self._answer, args=(engine,), daemon=True).start()
            try:
                self.box = self.start(sockets=[(path, attack.options["socket"])], env=attack.options.get("env"))
            except stand.Refused as refusal:
                if refusal.args[0] != 78:
                    raise
                self.outcomes[attack.name] = REFUSED
                continue
            case = Case(self, attack)
            self.carry_out([case], "engines")
            self.judge(case)
            engine.close()

    def _answer(self, engine):
        while True:
            try:
                peer, _ = engine.accept()
                self.engine_heard.append(peer.recv(4096).decode(errors="replace"))
                peer.sendall(b"HTTP/1.0 200 OK\r\n\r\n")
                peer.close()
            except OSError:
                return
