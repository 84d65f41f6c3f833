"""The exact words that reach the engine, for every setting and command and for names and values made to do harm."""

import contextlib
import hashlib
import os
import pathlib
import re
import unittest

from double_engine import COMMAND, HASH, IMAGE, SHELL, Place, read_calls, read_values

# What a shell might do something with.
HOSTILE = [
    "two words", "  edges  ", "tab\there", "line\nfeed", "\nfirst", "last\n", "two\n\nfeeds", "'", "''", '"', "it's", 'say "hi"',
    "$(touch PWNED)", "`touch PWNED`", "${HOME}", "$HOME", "$$", "; touch PWNED", "& touch PWNED", "| touch PWNED",
    "> PWNED", "$(touch PWNED)\n$(touch PWNED)", "*", "?", "[a-z]*", "~", "~root", "\\", "\\n", "a\\'b", "%s%n", "!!", "#x",
    "{a,b}", "a=b", "-x", "--", "-n", "--env", "--privileged", "-e X=y", "日本語", "ä ö", "\u202eevil", "🙂", "\x01\x7f", "\x1b[31m",
    "'; touch PWNED; '", '"; touch PWNED; "', "$'\\n'", "a,b", 'a,"b",c', "(x)", "x;y", "<y", "^", "a:b", "CLAUDEBOX_ENV_X=1",
    "x" * 5000, "\udcff\udcfe",
]
CLI_VOLUME = "type=volume,source=claudebox-cli,target=/var/lib/claudebox/cli"
# A path cannot hold everything.
PATHS = [text for text in HOSTILE if "/" not in text and len(os.fsencode(text)) < 200 and text not in ("--", "~")]
# What goes with a call, and needs no other box.
OF_CALL = re.compile("ANTHROPIC_API_KEY|ANTHROPIC_AUTH_TOKEN|CLAUDE_CODE_OAUTH_TOKEN|TZ|(CLAUDEBOX|CLAUDE)_(ENV_.*|GIT_NAME|GIT_EMAIL|SYSTEM_HINT)")
# What a hardened box has of root's capabilities, and where it may write.
HARDENED = (
    ["--security-opt", "no-new-privileges", "--cap-drop", "ALL"]
    + [word for capability in "SETUID SETGID SETPCAP KILL CHOWN DAC_OVERRIDE".split() for word in ("--cap-add", capability)]
    + ["--pids-limit", "4096", "--read-only", "--tmpfs", "/tmp:exec", "--tmpfs", "/var/tmp:exec", "--tmpfs", "/run:mode=755"]
    + ["--tmpfs", "/home/claude:exec,mode=755,uid=1000,gid=1000", "--tmpfs", "/var/lib/claudebox:mode=755"]
)
OPTIONS = ["--model", "--system-prompt", "--append-system-prompt", "--json-schema", "--effort", "--resume", "--output-format"]


def without_variables(vector):
    """The engine's call, without what goes into its environment."""
    first = vector.index("claudebox")
    kept = [word for at, word in enumerate(vector[:first]) if at == 0 or "--env" not in (word, vector[at - 1])]
    return kept + vector[first:]


def csv(field):
    """A field of --mount, as encoding/csv reads it."""
    return '"' + field.replace('"', '""') + '"' if any(mark in field for mark in ',"\n') else field


def bind(source, target=None, read_only=False):
    fields = ["type=bind", csv(f"source={source}"), csv(f"target={target or source}")] + ["readonly"] * read_only
    return ["--mount", ",".join(fields)]


def readable(path):
    """The name's readable part: every run of other bytes is a dash; the last 32 characters."""
    text = "".join(chr(byte) if chr(byte).isascii() and (chr(byte).isalnum() or byte in b"_.") else "\0" for byte in os.fsencode(str(path)))
    while "\0\0" in text:
        text = text.replace("\0\0", "\0")
    text = text.replace("\0", "-")
    if len(text) > 33:
        text = "-" + text[-32:].lstrip("-")
    return text.rstrip("-")


def container(path):
    return f"claudebox{readable(path)}-{hashlib.sha256(os.fsencode(str(path))).hexdigest()[:8]}"


class Case(unittest.TestCase):
    """What every case checks, whatever it is about."""

    maxDiff = None

    def place(self, *args):
        place = Place(*args)
        self.addCleanup(place.__exit__)
        return place

    def created(self, place, call, kind="prog", name=None, mounts=(), env=(), more=(), image=IMAGE, data=None, service=(), of_call=()):
        """The whole vector of the one container that was made. Gives its hash."""
        (words,) = call.named("run")
        name = name or container(place.workspace)
        name = name if kind == "session" else f"{name}_{kind}"
        data = data or place.home / ".claude"
        hash_ = words[words.index("--env") + 1].removeprefix("CLAUDEBOX_HOST_SETTINGS=")
        self.assertRegex(hash_, HASH)
        local = ["--env", "CLAUDEBOX_MODE_LOCAL=1", "--env", "CLAUDEBOX_IDLE_EXIT_SECONDS=900"]
        if kind in ("session", "prog"):
            # Given as all that the box gets, whichever way.
            of_call = sorted([*of_call, *(variable for variable in env if OF_CALL.fullmatch(variable))])
            env = [variable for variable in env if not OF_CALL.fullmatch(variable)]
            label = ["--label", f"claudebox.variables={' '.join(of_call)}"]
            first = label + [word for variable in reversed(of_call) for word in ("--env", variable)]
        else:
            first = []
        volume = f"type=volume,source={name},target=/var/lib/claudebox/boxes"
        state = [] if kind in ("session", "prog") else ["--mount", volume]
        self.assertEqual(
            words,
            ["run", "--detach", "--name", name, "--label", f"claudebox.workspace={place.workspace}"]
            + ["--label", f"claudebox.kind={kind}", "--label", f"claudebox.data={data}"]
            + ["--label", f"claudebox.user={os.getuid()}", "--label", f"claudebox.settings={hash_}"]
            + ["--env", f"CLAUDEBOX_HOST_SETTINGS={hash_}"] + first
            + bind(place.workspace) + bind(data, "/home/claude/.claude") + ["--mount", CLI_VOLUME] + state + list(mounts)
            + ["--env", f"CLAUDEBOX_WORKSPACE={place.workspace}", "--env", f"CLAUDEBOX_WORKSPACES_DIR={place.workspace}"]
            + ["--env", f"CLAUDEBOX_CONTAINER_NAME={name}"]
            + [word for variable in env for word in ("--env", variable)]
            + (list(service) or local) + list(more) + [image],
        )
        return hash_

    def asked(self, call, name, hash_, *words):
        """The last exec is this prompt."""
        vector = call.named("exec")[-1]
        variables = [vector[at + 1] for at, word in enumerate(vector[:vector.index(name)]) if word == "--env"]
        self.assertEqual(variables[0], f"CLAUDEBOX_CALL_VARIABLES={' '.join(reversed(variables[1:]))}")
        vector = without_variables(vector)
        self.assertEqual(vector[:6], ["exec", "--interactive", name, "claudebox", "call", "run"])
        self.assertEqual(vector[6], hash_)
        self.assertTrue(vector[7].isdigit(), vector[7])
        self.assertEqual(vector[8:], list(words))

    def nothing_evaluated(self, place, before):
        """Nothing was made anywhere, and nothing of the kind the hostile values try to make."""
        self.assertEqual(place.files(), before)
        self.assertFalse(list(place.root.rglob("PWNED")) + list(pathlib.Path.cwd().glob("PWNED")))


class Prompts(Case):
    """What a person asks reaches the box as it was typed."""


class Workspaces(Case):
    """Any folder is a workspace, whatever its name."""


class Values(Case):
    """A value reaches the box through the environment, never as an argument."""


class Mounts(Case):
    """More mounts."""


class Settings(Case):
    """Each setting and what it becomes."""


class Wrong(Case):
    """What is refused, with what is allowed; the engine makes nothing."""


class Commands(Case):
    """Each command's own vectors."""


def case(group, name):
    def add(test):
        setattr(group, f"test_{name}", test)
        return test

    return add


def prompt_case(number, words, title):
    @case(Prompts, f"{title}_{number}")
    def test(self):
        place = self.place()
        before = place.files()
        call = place.run(*words)
        self.assertEqual((call.code, call.out, call.err), (0, "", ""))
        hash_ = self.created(place, call)
        self.asked(call, container(place.workspace) + "_prog", hash_, *words)
        # The box is warm now: one call of the engine, and the same words.
        warm = place.run(*words)
        self.assertEqual([vector[0] for vector in warm.engine], ["exec"])
        self.asked(warm, container(place.workspace) + "_prog", hash_, *words)
        self.nothing_evaluated(place, before)


for number, text in enumerate(HOSTILE):
    # A prompt that starts with a dash comes after --, as everywhere.
    prompt_case(number, ["--", text] if text.startswith("-") else [text], "a_prompt")
    prompt_case(number, ["-p", "x", OPTIONS[number % len(OPTIONS)], text], "a_value_of_an_option")
for number, words in enumerate(
    [["two", "words"], ["x", ""], ["-p", "doctor"], ["-p", "stop"], ["x", "--no-continue"], ["--model", "opus", "x"], ["x", "--busy", "replace"]]
):
    prompt_case(number, words, "a_form")


def workspace_case(number, text):
    @case(Workspaces, f"hostile_{number}")
    def test(self):
        place = self.place(text)
        before = place.files()
        call = place.run("a prompt")
        self.assertEqual((call.code, call.err), (0, ""))
        hash_ = self.created(place, call)
        name = container(place.workspace) + "_prog"
        self.assertRegex(name, r"\A[A-Za-z0-9][A-Za-z0-9_.-]{1,62}\Z")
        self.asked(call, name, hash_, "a prompt")
        self.nothing_evaluated(place, before)


for number, text in enumerate(PATHS):
    workspace_case(number, text)


def value_case(number, text, variable):
    @case(Values, f"{variable}_{number}")
    def test(self):
        place = self.place()
        before = place.files()
        # An argument with the value in it would show; one that is only a letter proves nothing.
        value = f"s3cret{text}s3cret"
        call = place.run("a prompt", env={variable: value})
        self.assertEqual((call.code, call.err), (0, ""))
        self.created(place, call, env=[variable])
        self.assertEqual(call.values[variable], value)
        self.assertNotIn("s3cret", repr(call.engine))
        self.nothing_evaluated(place, before)


for number, text in enumerate(HOSTILE):
    value_case(number, text, ["CLAUDEBOX_ENV_X", "CLAUDE_ENV_SOME_TOKEN", "ANTHROPIC_API_KEY", "CLAUDEBOX_SYSTEM_HINT"][number % 4])


@case(Values, "no_argument_of_any_program_has_a_secret")
def _(self):
    """Not the engine's alone: of everything that the script starts, from the first start on."""
    place = self.place()
    log = place.double / "strace"
    secrets = {"ANTHROPIC_API_KEY": "s3cret-one", "CLAUDEBOX_ENV_TOKEN": "s3cret\ntwo", "CLAUDEBOX_MODE_API_TOKEN": "s3cret-three"}
    for words in (["a prompt"], ["up", "api"], ["ps"], ["stop"]):
        place.run(*words, env=secrets, wrap=["strace", "-f", "-qq", "-s", "100000", "-e", "trace=execve", "-o", str(log)])
        text = log.read_text(errors="replace")
        self.assertIn("docker", text)
        self.assertNotIn("s3cret", text)


@case(Values, "what_only_looks_like_a_variable_is_none")
def _(self):
    place = self.place()
    call = place.run("a prompt", env={"CLAUDEBOX_ENV_X": "one\nCLAUDEBOX_ENV_Y=two\nANTHROPIC_API_KEY=three"})
    self.created(place, call, env=["CLAUDEBOX_ENV_X"])


@case(Values, "names_that_are_no_names_stay_outside")
def _(self):
    place = self.place()
    bad = {"CLAUDEBOX_ENV_A B": "1", "CLAUDEBOX_ENV_$(touch PWNED)": "1", "CLAUDEBOX_ENV_": "1", "CLAUDEBOX_MOUNT_$(touch PWNED)": "/tmp"}
    before = place.files()
    call = place.run("a prompt", env=bad)
    self.created(place, call)
    self.nothing_evaluated(place, before)


@case(Values, "a_changed_value_makes_the_box_again")
def _(self):
    place = self.place()
    one = self.created(place, place.run("x", env={"CLAUDEBOX_MAX_RUNS": "1"}), env=["CLAUDEBOX_MAX_RUNS"])
    # The double takes any hash; the box compares. So it is stopped, to have the host command look.
    place.run("stop")
    name = container(place.workspace) + "_prog"
    (place.double / "containers" / name).write_text(f"exited id-{name} 0 sha256:one {one}\n")
    call = place.run("x", env={"CLAUDEBOX_MAX_RUNS": "2"})
    two = self.created(place, call, env=["CLAUDEBOX_MAX_RUNS"])
    self.assertNotEqual(one, two)
    self.assertIn(f"claudebox: the settings have changed: the box {name} is made again; sessions stay, what was installed in it goes\n", call.err)


@case(Values, "a_changed_variable_goes_with_the_call_and_leaves_the_box")
def _(self):
    place = self.place()
    one = self.created(place, place.run("x", env={"CLAUDEBOX_ENV_X": "one"}), env=["CLAUDEBOX_ENV_X"])
    for env in {"CLAUDEBOX_ENV_X": "two"}, {"CLAUDE_ENV_Y": "three", "ANTHROPIC_API_KEY": "k"}, {}:
        call = place.run("x", env=env)
        self.asked(call, container(place.workspace) + "_prog", one, "x")
        self.assertEqual([words[0] for words in call.engine], ["exec"])
        (told,) = [word for word in call.named("exec")[-1] if word.startswith("CLAUDEBOX_CALL_VARIABLES=")]
        self.assertEqual(told, f"CLAUDEBOX_CALL_VARIABLES={' '.join(sorted(env))}")
        for name, value in env.items():
            self.assertEqual(call.values[name], value)
            self.assertFalse([word for word in call.named("exec")[-1] if value == word], "a value is no argument")


def mount_case(number, value, expected):
    @case(Mounts, f"as_asked_{number}")
    def test(self):
        place = self.place()
        for folder in "data", "a,b", 'q"q', "with space", "$(touch PWNED)":
            (place.root / folder).mkdir()
        before = place.files()
        resolve = lambda text: text.replace("ROOT", str(place.root)).replace("@WORK", str(place.workspace)).replace("HOME", str(place.home))
        variable = ["CLAUDEBOX_MOUNT_X", "CLAUDE_MOUNT_X"][number % 2]
        call = place.run("a prompt", env={variable: resolve(value)})
        self.assertEqual((call.code, call.err), (0, ""))
        self.created(place, call, mounts=["--mount", resolve(expected)])
        self.nothing_evaluated(place, before)


for number, (value, expected) in enumerate(
    [
        ("ROOT/data", "type=bind,source=ROOT/data,target=ROOT/data"),
        ("ROOT/data:/x", "type=bind,source=ROOT/data,target=/x"),
        ("ROOT/data:/x:ro", "type=bind,source=ROOT/data,target=/x,readonly"),
        ("ROOT/data:/x:rw", "type=bind,source=ROOT/data,target=/x"),
        ("ROOT/data:ro", "type=bind,source=ROOT/data,target=ROOT/data,readonly"),
        ("ROOT/a,b", 'type=bind,"source=ROOT/a,b","target=ROOT/a,b"'),
        ("ROOT/a,b:/c,readonly", 'type=bind,"source=ROOT/a,b","target=/c,readonly"'),
        ('ROOT/q"q:/x', 'type=bind,"source=ROOT/q""q",target=/x'),
        ("ROOT/with space:/a b", "type=bind,source=ROOT/with space,target=/a b"),
        ("ROOT/$(touch PWNED):/x", "type=bind,source=ROOT/$(touch PWNED),target=/x"),
        ("../data:/x", "type=bind,source=@WORK/../data,target=/x"),
        (".:/x", "type=bind,source=@WORK/.,target=/x"),
        ("~/.claude:/x", "type=bind,source=HOME/.claude,target=/x"),
        ("cache:/var/cache/x", "type=volume,source=cache,target=/var/cache/x"),
        ("cache:/x:ro", "type=volume,source=cache,target=/x,readonly"),
    ]
):
    mount_case(number, value, expected)


@case(Mounts, "several_in_the_order_of_their_names")
def _(self):
    place = self.place()
    call = place.run("x", env={"CLAUDEBOX_MOUNT_B": "v1:/b", "CLAUDEBOX_MOUNT_A": "v2:/a", "CLAUDE_MOUNT_C": "v3:/c"})
    # CLAUDEBOX_MOUNT_A, CLAUDEBOX_MOUNT_B, CLAUDE_MOUNT_C
    mounts = [word for name, target in (("v1", "/b"), ("v2", "/a"), ("v3", "/c")) for word in ("--mount", f"type=volume,source={name},target={target}")]
    self.created(place, call, mounts=mounts[2:4] + mounts[:2] + mounts[4:])


def setting_case(title, given, **expected):
    @case(Settings, title)
    def test(self):
        place = self.place()
        for folder in "ssh", "data":
            (place.root / folder).mkdir()
        resolve = lambda text: text.replace("ROOT", str(place.root))
        call = place.run("x", env={name: resolve(value) for name, value in given.items()})
        self.assertEqual(call.code, 0, call.err)
        settled = {key: resolve(value) if isinstance(value, str) else [resolve(word) for word in value] for key, value in expected.items()}
        self.created(place, call, **settled)


# The keys of root are copied for the user of the box.
SSH_COPY = "ROOT/h/.local/share/claudebox/ssh-1000"
setting_case("image", {"CLAUDEBOX_IMAGE": "my.registry:5000/box@sha256:0123"}, image="my.registry:5000/box@sha256:0123")
setting_case("image_by_its_old_name", {"CLAUDE_IMAGE": "box:old"}, image="box:old")
setting_case("the_canonical_name_wins", {"CLAUDE_IMAGE": "box:old", "CLAUDEBOX_IMAGE": "box:new"}, image="box:new")
setting_case("minimal", {"CLAUDEBOX_MINIMAL": "1"}, image=f"{IMAGE}-minimal")
setting_case("minimal_by_its_old_name", {"CLAUDE_MINIMAL": "1"}, image=f"{IMAGE}-minimal")
setting_case("minimal_off", {"CLAUDEBOX_MINIMAL": "0"})
setting_case("data_dir", {"CLAUDEBOX_DATA_DIR": "ROOT/data"}, data="ROOT/data")
setting_case("data_dir_by_its_old_name", {"CLAUDE_DATA_DIR": "ROOT/data"}, data="ROOT/data")
setting_case("ssh_dir", {"CLAUDEBOX_SSH_DIR": "ROOT/ssh"}, mounts=["--mount", f"type=bind,source={SSH_COPY if os.getuid() == 0 else 'ROOT/ssh'},target=/home/claude/.ssh"])
setting_case("ssh_dir_by_its_old_name", {"CLAUDE_SSH_DIR": "ROOT/ssh"}, mounts=["--mount", f"type=bind,source={SSH_COPY if os.getuid() == 0 else 'ROOT/ssh'},target=/home/claude/.ssh"])
setting_case("container_name", {"CLAUDEBOX_CONTAINER_NAME": "claude-mine"}, name="claude-mine")
setting_case("container_name_by_its_old_name", {"CLAUDE_CONTAINER_NAME": "claude-mine"}, name="claude-mine")
setting_case("git", {"CLAUDEBOX_GIT_NAME": "Me", "CLAUDE_GIT_EMAIL": "me@x"}, env=["CLAUDEBOX_GIT_NAME", "CLAUDE_GIT_EMAIL"])
setting_case("network", {"CLAUDEBOX_NETWORK": "host"}, more=["--network", "host"])
setting_case("network_by_the_other_name", {"CLAUDE_NETWORK": "none"}, more=["--network", "none"])
setting_case("cpus", {"CLAUDEBOX_CPUS": "1.5"}, more=["--cpus", "1.5"])
setting_case("memory", {"CLAUDEBOX_MEMORY": "2g"}, more=["--memory", "2g"])
setting_case("all_limits", {"CLAUDEBOX_MEMORY": "2g", "CLAUDEBOX_CPUS": "2", "CLAUDEBOX_NETWORK": "x"}, more=["--network", "x", "--cpus", "2", "--memory", "2g"])
setting_case("a_limit_that_looks_like_an_option", {"CLAUDEBOX_MEMORY": "--privileged"}, more=["--memory", "--privileged"])
setting_case("hardened", {"CLAUDEBOX_HARDENED": "1"}, env=["CLAUDEBOX_HARDENED"], more=HARDENED, data="ROOT/h/.claude-hardened")
setting_case("hardened_with_a_folder_of_its_own", {"CLAUDEBOX_HARDENED": "1", "CLAUDEBOX_DATA_DIR": "ROOT/data"}, env=["CLAUDEBOX_HARDENED"], more=HARDENED, data="ROOT/data")
setting_case("idle", {"CLAUDEBOX_IDLE_EXIT_SECONDS": "5"}, service=["--env", "CLAUDEBOX_MODE_LOCAL=1", "--env", "CLAUDEBOX_IDLE_EXIT_SECONDS=5"])
setting_case("debug", {"DEBUG": "true"}, env=["DEBUG"])
setting_case("somebody_elses_debug", {"DEBUG": "express:*"})
setting_case("credentials", {"ANTHROPIC_API_KEY": "a", "CLAUDE_CODE_OAUTH_TOKEN": "b"}, env=["ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN"])
setting_case("an_empty_credential_is_none", {"ANTHROPIC_API_KEY": ""})
setting_case("an_empty_forwarded_variable_is_one", {"CLAUDEBOX_ENV_X": ""}, env=["CLAUDEBOX_ENV_X"])
setting_case("what_claude_code_itself_sets_stays_outside", {"CLAUDECODE": "1", "CLAUDE_CODE_ENTRYPOINT": "cli", "CLAUDE_CONFIG_DIR": "/x"})
setting_case("the_token_of_a_server_is_none_of_a_prompts", {"CLAUDEBOX_MODE_API_TOKEN": "x", "CLAUDEBOX_TELEGRAM_BOT_TOKEN": "y"})
for setting in (
    "HOOKS_ON_ERROR HOOK_TIMEOUT GRACE_SECONDS OFFLINE DEBUG LOG_FORMAT MAX_RUNS MAX_QUEUED RUN_TIMEOUT_SECONDS RUN_SILENCE_SECONDS BACKGROUND_SECONDS "
    "MAX_COST_PER_RUN MAX_COST_PER_DAY RUNS_KEEP_DAYS RUNS_KEEP_MB NPM_REGISTRY"
).split():
    setting_case(f"the_box_gets_{setting.lower()}", {f"CLAUDEBOX_{setting}": "1"}, env=[f"CLAUDEBOX_{setting}"])


@case(Settings, "the_docker_socket")
def _(self):
    import socket

    place = self.place()
    path = place.root / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        env = {"CLAUDEBOX_NO_DOCKER_SOCKET": "", "DOCKER_HOST": f"unix://{path}"}
        self.created(place, place.run("x", env=env), mounts=bind(path, "/var/run/docker.sock"))
        for off in {"CLAUDEBOX_NO_DOCKER_SOCKET": "1"}, {"CLAUDEBOX_HARDENED": "1"}, {"DOCKER_HOST": "tcp://127.0.0.1:1"}:
            shell = place.run("x", env={**env, **off, "CLAUDEBOX_DRY_RUN": "1"})
            self.assertNotIn("docker.sock", shell.out)
        asked = {**env, "CLAUDEBOX_HARDENED": "1", "CLAUDEBOX_DOCKER_SOCKET": "1"}
        shell = place.run("x", env={**asked, "CLAUDEBOX_DRY_RUN": "1"})
        self.assertIn("target=/var/run/docker.sock --", shell.out)
        self.assertIn("--env CLAUDEBOX_DOCKER_SOCKET", shell.out)
        call = place.run("x", env={**asked, "CLAUDEBOX_NO_DOCKER_SOCKET": "1"})
        self.assertEqual((call.code, call.err), (78, "claudebox: error: CLAUDEBOX_DOCKER_SOCKET and CLAUDEBOX_NO_DOCKER_SOCKET are both on: leave one of them out\n"))


@case(Settings, "hardened_is_an_option_of_every_command")
def _(self):
    for words, kind in (["--hardened", "x"], "prog"), (["x", "--hardened"], "prog"), (["x", "--hardened", "--model", "opus"], "prog"):
        place = self.place()
        call = place.run(*words)
        self.assertEqual(call.code, 0, call.err)
        self.created(place, call, kind=kind, env=["CLAUDEBOX_HARDENED"], more=HARDENED, data=place.home / ".claude-hardened")
        self.assertNotIn("--hardened", [word for vector in call.engine for word in vector])
    place = self.place()
    call = place.run("up", "api", "--hardened", env={"CLAUDEBOX_MODE_API_TOKEN": "x"})
    self.created(place, call, kind="api", env=["CLAUDEBOX_HARDENED", "CLAUDEBOX_MODE_API_TOKEN"], data=place.home / ".claude-hardened",
                 service=["--restart", "unless-stopped", "--env", "CLAUDEBOX_MODE_API=1", "--publish", "127.0.0.1:8080:8080"], more=HARDENED)
    # After -- it is a word.
    place = self.place()
    self.created(place, place.run("--", "x", "--hardened"))


@case(Settings, "what_decides_is_in_a_folder_of_its_own")
def _(self):
    place = self.place()
    folder = place.home / ".config" / "claudebox" / "policy"
    folder.mkdir(parents=True)
    self.created(place, place.run("x"), mounts=bind(folder, "/etc/claudebox", read_only=True))
    # A file of tokens there makes up for one that is made up, and a file of jobs for the setting.
    (folder / "tokens.yml").touch()
    (folder / "cron.yaml").touch()
    service = ["--restart", "unless-stopped", "--env", "CLAUDEBOX_MODE_API=1", "--publish", "127.0.0.1:8080:8080"]
    self.created(place, place.run("up", "api"), kind="api", mounts=bind(folder, "/etc/claudebox", read_only=True), service=service)
    self.created(place, place.run("up", "cron"), kind="cron", mounts=bind(folder, "/etc/claudebox", read_only=True), service=["--restart", "unless-stopped", "--env", "CLAUDEBOX_MODE_CRON=1"])
    place = self.place()
    (place.root / "p").mkdir()
    self.created(place, place.run("x", env={"CLAUDEBOX_POLICY_DIR": str(place.root / "p")}), mounts=bind(place.root / "p", "/etc/claudebox", read_only=True))
    for value, why in ("p", "it must be an absolute path"), ("/no/where", "there is no such folder"):
        call = place.run("x", env={"CLAUDEBOX_POLICY_DIR": value})
        self.assertEqual((call.code, call.err), (78, f"claudebox: error: CLAUDEBOX_POLICY_DIR={value} is not usable: {why}\n"))


def secret_mounts(path, name):
    return bind(path, f"/run/secrets/{name}", read_only=True) + ["--env", f"{name}_FILE=/run/secrets/{name}"]


@case(Settings, "secrets_are_mounted_as_files")
def _(self):
    for text in "{}/h/key", "~/key", "../h/key":
        place = self.place()
        key = place.home / "key"
        key.write_text("s3cret-of-a-file")
        given = text.format(place.root)
        call = place.run("x", env={"ANTHROPIC_API_KEY_FILE": given, "CLAUDEBOX_MODE_API_TOKEN_FILE": str(key)})
        path = place.workspace / given if given.startswith("..") else key
        self.assertEqual(call.code, 0, call.err)
        # The token is the services', and nothing beside the file is in the box.
        self.created(place, call, mounts=[word.replace(str(path), os.path.join(str(place.workspace), given)) if given.startswith("..") else word for word in secret_mounts(path, "ANTHROPIC_API_KEY")])
        self.assertNotIn("s3cret-of-a-file", repr(call.engine) + call.err)


@case(Settings, "services_have_their_own_secrets_as_files")
def _(self):
    place = self.place()
    for name in "token", "hook":
        (place.home / name).write_text("x")
    env = {"CLAUDE_MODE_API_TOKEN_FILE": str(place.home / "token"), "CLAUDEBOX_WEBHOOK_SECRET_FILE": str(place.home / "hook")}
    call = place.run("up", "api", env=env)
    service = ["--restart", "unless-stopped", "--env", "CLAUDEBOX_MODE_API=1", "--publish", "127.0.0.1:8080:8080"]
    mounts = secret_mounts(place.home / "token", "CLAUDEBOX_MODE_API_TOKEN") + secret_mounts(place.home / "hook", "CLAUDEBOX_WEBHOOK_SECRET")
    self.created(place, call, kind="api", mounts=mounts, service=service)
    self.assertNotIn("its token", call.out)
    bot = place.run("up", "telegram", env={"CLAUDEBOX_TELEGRAM_BOT_TOKEN_FILE": str(place.home / "token")})
    self.assertEqual(bot.code, 0, bot.err)


for title, given, why in (
    ("twice", {"ANTHROPIC_API_KEY": "a", "ANTHROPIC_API_KEY_FILE": "/etc/hostname"}, "ANTHROPIC_API_KEY and ANTHROPIC_API_KEY_FILE are both set, and are one secret: leave one of them out"),
    ("missing", {"ANTHROPIC_AUTH_TOKEN_FILE": "/no/where"}, "ANTHROPIC_AUTH_TOKEN_FILE: there is no file /no/where"),
    ("folder", {"CLAUDE_CODE_OAUTH_TOKEN_FILE": "/"}, "CLAUDE_CODE_OAUTH_TOKEN_FILE: there is no file /"),
):
    def _secret(self, given=given, why=why):
        call = self.place().run("x", env=given)
        self.assertEqual((call.code, call.err, call.engine), (78, f"claudebox: error: {why}\n", []))

    case(Settings, f"a_secret_{title}")(_secret)


@case(Settings, "keys_of_root_are_copied_for_the_boxs_user")
def _(self):
    if os.getuid() != 0:
        self.skipTest("needs root")
    for owner, user in (0, 1000), (4321, 4321):
        place = self.place()
        os.chown(place.workspace, owner, owner)
        keys = place.home / ".ssh" / "claudebox"
        keys.mkdir(parents=True, mode=0o700)
        secret = place.root / "secret"
        secret.write_text("of this machine")
        for name, mode in ("id_ed25519", 0o600), ("id_ed25519.pub", 0o644), (".hidden", 0o600):
            (keys / name).write_text(name)
            (keys / name).chmod(mode)
        look = lambda: [(path.name, path.read_text(), path.stat().st_uid, path.stat().st_mode) for path in sorted(keys.iterdir())] + [keys.stat().st_uid]
        before = look()
        call = place.run("x")
        self.assertEqual((call.code, call.err), (0, ""))
        copy = place.home / ".local" / "share" / "claudebox" / f"ssh-{user}"
        (words,) = call.named("run")
        self.assertIn(bind(copy, "/home/claude/.ssh")[1], words)
        self.assertNotIn(str(keys), repr(words))
        self.assertEqual(look(), before)
        found = {path.name: (path.read_text(), path.stat().st_uid, path.stat().st_mode & 0o777) for path in copy.iterdir()}
        self.assertEqual(found, {"id_ed25519": ("id_ed25519", user, 0o600), "id_ed25519.pub": ("id_ed25519.pub", user, 0o644), ".hidden": (".hidden", user, 0o600)})
        self.assertEqual((copy.stat().st_uid, copy.stat().st_mode & 0o777), (user, 0o700))
        self.assertEqual(copy.parent.stat().st_mode & 0o777, 0o700)
        # What the box writes there stays, and links that it makes lead to nothing.
        (copy / "known_hosts").write_text("github")
        place.run("x", env={"CLAUDEBOX_CONTAINER_NAME": "claude-other"})
        self.assertEqual((copy / "known_hosts").read_text(), "github")
        for link in "id_ed25519", "id_ed25519.pub":
            (copy / link).unlink()
            (copy / link).symlink_to(secret)
        (keys / "id_ed25519.pub").write_text("newer")
        os.utime(keys / "id_ed25519.pub", (2**31, 2**31))
        place.run("x", env={"CLAUDEBOX_CONTAINER_NAME": "claude-third"})
        self.assertEqual({path.name: path.read_text() for path in copy.iterdir() if not path.is_symlink()}, {"id_ed25519": "id_ed25519", "id_ed25519.pub": "newer", ".hidden": ".hidden"})
        self.assertEqual((secret.read_text(), secret.stat().st_uid), ("of this machine", 0))
        place.run("uninstall", "--yes")
        self.assertEqual((copy.exists(), look()[0][:2]), (False, before[0][:2]))


@case(Settings, "podman_maps_the_person_to_the_boxs_user")
def _(self):
    place = self.place()
    (place.double / "podman").symlink_to(pathlib.Path(__file__).parent / "double" / "docker")
    call = place.run("x", env={"CLAUDEBOX_ENGINE": str(place.double / "podman")})
    more = [] if os.getuid() == 0 else ["--userns", "keep-id:uid=1000,gid=1000", "--user", "0:0"]
    self.created(place, call, more=more)


@case(Settings, "links_to_one_folder_are_one_workspace")
def _(self):
    place = self.place()
    link = place.root / "link"
    link.symlink_to(place.workspace)
    call = place.run("x", cwd=link, env={"PWD": str(link)})
    self.created(place, call)


@case(Settings, "neighbours_that_a_simple_rule_confuses_have_names_of_their_own")
def _(self):
    names = set()
    pairs = ["a/b_c", "a_b/c", "a-b/c", "a.b/c", "a b/c", "a/b/c", "A/b_c"]
    place = self.place()
    for path in pairs:
        folder = place.root / path
        folder.mkdir(parents=True, exist_ok=True)
        call = place.run("x", cwd=folder)
        names.add(without_variables(call.named("exec")[-1])[2])
    self.assertEqual(len(names), len(pairs))


def wrong_case(title, words, env, message, code=78):
    @case(Wrong, title)
    def test(self):
        place = self.place()
        before = place.files()
        call = place.run(*words, env=env)
        self.assertEqual(call.code, code, call.err)
        self.assertEqual(call.err, f"claudebox: error: {message}\n".replace("@WORK", str(place.workspace)))
        self.assertEqual((call.out, call.named("run"), call.named("rm"), call.named("stop")), ("", [], [], []))
        self.nothing_evaluated(place, before)


wrong_case("an_image_that_is_an_option", ["x"], {"CLAUDEBOX_IMAGE": "--privileged"}, "CLAUDEBOX_IMAGE=--privileged is not usable: the name of an image, such as claudebox:minimal")
wrong_case("an_image_with_a_space", ["x"], {"CLAUDEBOX_IMAGE": "a b"}, "CLAUDEBOX_IMAGE=a b is not usable: the name of an image, such as claudebox:minimal")
wrong_case("a_name_that_is_an_option", ["x"], {"CLAUDEBOX_CONTAINER_NAME": "-x"}, "CLAUDEBOX_CONTAINER_NAME=-x is not usable: letters, digits, and . _ - after the first")
wrong_case("a_name_with_a_slash", ["x"], {"CLAUDEBOX_CONTAINER_NAME": "a/b"}, "CLAUDEBOX_CONTAINER_NAME=a/b is not usable: letters, digits, and . _ - after the first")
wrong_case("a_name_too_long", ["x"], {"CLAUDEBOX_CONTAINER_NAME": "a" * 61}, f"CLAUDEBOX_CONTAINER_NAME={'a' * 61} is not usable: at most 60 characters")
wrong_case("a_flag", ["x"], {"CLAUDEBOX_HARDENED": "maybe"}, "CLAUDEBOX_HARDENED=maybe is not usable: allowed are 1, true, yes, on and 0, false, no, off")
wrong_case("a_mount_that_is_not_there", ["x"], {"CLAUDEBOX_MOUNT_X": "/no/such"}, "CLAUDEBOX_MOUNT_X: there is no /no/such")
wrong_case("a_mount_to_nowhere", ["x"], {"CLAUDEBOX_MOUNT_X": "/tmp:x"}, "CLAUDEBOX_MOUNT_X=/tmp:x is not usable: the target must be an absolute path")
wrong_case("a_mount_with_three_parts", ["x"], {"CLAUDEBOX_MOUNT_X": "/tmp:/x:z"}, "CLAUDEBOX_MOUNT_X=/tmp:/x:z is not usable: PATH, SOURCE:TARGET or SOURCE:TARGET:ro, without another colon")
wrong_case("a_volume_without_a_target", ["x"], {"CLAUDEBOX_MOUNT_X": "cache"}, "CLAUDEBOX_MOUNT_X=cache is not usable: a volume needs a target, cache:/PATH")
wrong_case("a_mount_that_is_empty_text", ["x"], {"CLAUDEBOX_MOUNT_X": ":/x"}, "CLAUDEBOX_MOUNT_X=:/x is not usable: the source must be a path")
wrong_case("a_data_dir_that_is_relative", ["x"], {"CLAUDEBOX_DATA_DIR": "x"}, "x is not usable: CLAUDEBOX_DATA_DIR and CLAUDEBOX_SSH_DIR must be absolute paths")
wrong_case("a_typo", ["dcotor"], {}, "unknown command 'dcotor': did you mean doctor? to send it as a prompt: claudebox -p dcotor", 64)
wrong_case("another_typo", ["clear-sesion"], {}, "unknown command 'clear-sesion': did you mean clear-session? to send it as a prompt: claudebox -p clear-sesion", 64)
wrong_case("stop_with_words", ["stop", "the", "server"], {}, "stop takes no words but --all; to send them as a prompt: claudebox -p stop ...", 64)
wrong_case("ps_with_words", ["ps", "the", "server"], {}, "ps takes no words; to send them as a prompt: claudebox -p ps ...", 64)
wrong_case("prune_of_what", ["prune", "the"], {}, "prune: the is neither a number of days nor --yes; to send it as a prompt: claudebox -p prune ...", 64)
wrong_case("a_typo_of_a_newer_command", ["prume"], {}, "unknown command 'prume': did you mean prune? to send it as a prompt: claudebox -p prume", 64)
wrong_case("up_of_what", ["up"], {}, "which service? api, telegram, cron", 64)
wrong_case("up_of_something_else", ["up", "nginx"], {}, "nginx is not a service: api, telegram, cron", 64)
wrong_case("telegram_without_a_token", ["up", "telegram"], {}, "telegram needs the bot's token: set CLAUDEBOX_TELEGRAM_BOT_TOKEN")
wrong_case("cron_without_a_file", ["up", "cron"], {}, "cron needs its file of jobs: set CLAUDEBOX_MODE_CRON_FILE")
wrong_case("cron_with_a_file_that_is_not_there", ["up", "cron"], {"CLAUDEBOX_MODE_CRON_FILE": "jobs.yml"}, "CLAUDEBOX_MODE_CRON_FILE: there is no file @WORK/jobs.yml")
wrong_case("a_port", ["up", "api"], {"CLAUDEBOX_MODE_API_PORT": "80x"}, "CLAUDEBOX_MODE_API_PORT=80x is not usable: a port, such as 8080")
wrong_case("an_address", ["up", "api"], {"CLAUDEBOX_MODE_API_BIND": "$(x)"}, "CLAUDEBOX_MODE_API_BIND=$(x) is not usable: an IP address, such as 127.0.0.1")
wrong_case("logs_of_what", ["logs", "nginx"], {}, "logs: nginx is neither session, prog, api, telegram or cron nor -f", 64)
wrong_case("shell_of_what", ["shell", "id"], {}, "shell: id is neither --root nor -c COMMAND nor -- COMMAND...", 64)
wrong_case("shell_without_a_command", ["shell", "-c"], {}, "shell: -c needs a command", 64)
wrong_case("completions_for_what", ["completions", "tcsh"], {}, "completions: for which shell? bash, zsh, fish", 64)
wrong_case("uninstall_that_cannot_ask", ["uninstall"], {}, "uninstall asks before it removes anything: use --yes where nobody can answer", 64)
wrong_case("no_engine", ["x"], {"CLAUDEBOX_ENGINE": "no-such-engine"}, "no-such-engine is not installed: install Docker (https://docs.docker.com/engine/install/) or Podman", 69)


@case(Wrong, "a_socket_of_an_engine_in_a_hardened_box")
def _(self):
    import socket

    place = self.place()
    (place.root / "run").mkdir()
    path = place.root / "run" / "s"
    link = place.root / "link"
    link.symlink_to(path)
    (place.root / "podman.sock").touch()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        for source in path, link, place.root / "run", place.root / "podman.sock":
            value = f"{source}:/x"
            env = {"CLAUDEBOX_MOUNT_X": value, "DOCKER_HOST": f"unix://{path}"}
            call = place.run("x", env={**env, "CLAUDEBOX_HARDENED": "1"})
            self.assertEqual((call.code, call.engine), (78, []), source)
            self.assertEqual(call.err, f"claudebox: error: CLAUDEBOX_MOUNT_X={value} would bring an engine's socket into a hardened box: leave it out, or leave CLAUDEBOX_HARDENED out\n")
            self.assertEqual(place.run("x", env={**env, "CLAUDEBOX_DRY_RUN": "1"}).code, 0)


@case(Wrong, "the_systems_own_folders_are_no_workspaces")
def _(self):
    place = self.place()
    for folder in "/", "/etc", "/usr", "/proc", "/home", "/usr/bin":
        call = place.run("x", cwd=folder)
        real = os.path.realpath(folder)
        self.assertEqual((call.code, call.engine), (78, []))
        self.assertEqual(call.err, f"claudebox: error: {real} cannot be a workspace, the box has its own: go to a project's folder\n")


class Streams(Case):
    """What comes out is the answer."""

    def answered(self, script, *words, **more):
        place = self.place()
        place.run("x")
        (place.double / "exec").write_text(script)
        return place, place.run(*words, **more)

    def test_the_exit_code_is_the_runs(self):
        for code in 0, 1, 3, 4, 64, 65, 66, 74, 75, 77, 78, 124, 126, 127, 213, 214, 249:
            _, call = self.answered(f"exit {code}", "x")
            self.assertEqual((call.code, [words[0] for words in call.engine]), (code, ["exec"]))

    def test_out_and_err_stay_apart_and_whole(self):
        script = "printf 'answer\\n\\nwithout an end'; printf 'said\\nclaudebox: taken\\nwithout an end' >&2"
        _, call = self.answered(script, "x")
        self.assertEqual((call.out, call.err), ("answer\n\nwithout an end", "said\nclaudebox: taken\nwithout an end"))

    def test_bytes_pass_through(self):
        _, call = self.answered("cat", "x", stdin=bytes(range(256)) * 4096)
        self.assertEqual(call.out.encode(errors="surrogateescape"), bytes(range(256)) * 4096)

    def test_no_input_is_not_handed_on(self):
        _, call = self.answered("cat", "x", stdin=None)
        self.assertEqual(call.code, 0)
        self.assertNotIn("--interactive", call.named("exec")[-1])

    def test_whoever_waits_on_a_terminal_is_told_what_for(self):
        place = self.place()
        watched = ["--env", "CLAUDEBOX_STDERR_IS_TERMINAL=1"]
        _, _, calls = on_terminal(place, "x", out=False)
        call = [vector for vector in calls if vector[0] == "exec"][-1]
        self.assertEqual(call[1:3], watched)
        self.assertNotIn(watched[1], place.run("x").named("exec")[-1])

    def test_what_was_taken_is_not_asked_twice(self):
        # The engine is gone in the middle of the answer: who has begun may not begin again.
        script = "echo half; rm -f \"$DOUBLE\"/containers/*; echo 'error during connect' >&2; exit 1"
        _, call = self.answered(script, "x")
        self.assertEqual((call.code, call.out, call.err), (1, "half\n", "error during connect\n"))
        self.assertEqual([words[0] for words in call.engine], ["exec"])

    def test_what_the_engine_says_on_standard_output_is_not_the_answer(self):
        # A box that is ending: the engine starts the call, and writes where the answer goes that it could not.
        place, _ = self.answered("echo answer", "x")
        (place.double / "broken").write_text("")
        call = place.run("x")
        self.assertEqual((call.code, call.out, call.err), (0, "answer\n", ""))
        self.assertEqual([words[0] for words in call.engine], ["exec", "inspect", "image", "exec"])

    def test_what_was_not_taken_is_asked_again(self):
        place = self.place()
        first = place.run("x")
        self.assertEqual([words[0] for words in first.engine], ["exec", "inspect", "image", "inspect", "run", "exec"])
        self.assertEqual((first.code, first.out, first.err), (0, "", ""))


class Git(Case):
    """The person's own git: who they are, and where the repository is."""

    def git(self, place, *words, cwd=None):
        import subprocess

        env = {**place.environment(), "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@x", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@x"}
        subprocess.run(["git", *words], cwd=cwd or place.workspace, env=env, check=True, capture_output=True)

    def test_the_name_and_the_address_of_the_host_are_handed_on(self):
        name, email = "CLAUDEBOX_GIT_NAME", "CLAUDEBOX_GIT_EMAIL"
        config = '[user]\n\tname = Old\n\temail = me@x\n\tsigningkey = K\n[user]\n\tname = \"Ä $(touch PWNED) # B\"\n'.replace('\\"', '"')
        for given, env, values in (
            ({}, [email, name], {name: "Ä $(touch PWNED) # B", email: "me@x"}),
            ({name: "Me"}, [email, name], {name: "Me", email: "me@x"}),
            ({"CLAUDE_GIT_EMAIL": "other@x"}, [name, "CLAUDE_GIT_EMAIL"], {name: "Ä $(touch PWNED) # B"}),
            # Set to nothing, it is nothing.
            ({name: "", email: ""}, [], {}),
        ):
            place = self.place()
            (place.home / ".gitconfig").write_text(config)
            before = place.files()
            call = place.run("x", env=given)
            self.assertEqual((call.code, call.err), (0, ""))
            self.created(place, call, env=env)
            self.assertLessEqual(values.items(), call.values.items())
            self.nothing_evaluated(place, before)

    def test_one_of_the_two_is_better_than_none(self):
        place = self.place()
        (place.home / ".gitconfig").write_text("[user]\n\tname = Me\n")
        self.created(place, place.run("x"), env=["CLAUDEBOX_GIT_NAME"])

    def test_a_folder_of_a_repository_says_why_git_does_not_work_or_gets_all_of_it(self):
        place = self.place("repo/a b")
        root = place.root / "repo"
        self.git(place, "init", "-q", cwd=root)
        call = place.run("x")
        self.assertEqual((call.code, call.err), (0, f"claudebox: git does not work in this box, because the repository is in {root}: CLAUDEBOX_GIT_ROOT=1 brings that into the box as well\n"))
        self.created(place, call)
        # Said where a box is made, not at each prompt.
        self.assertEqual(place.run("x").err, "")
        place.run("stop")
        (words,) = place.run("x", env={"CLAUDEBOX_CONTAINER_NAME": "claude-other", "CLAUDEBOX_GIT_ROOT": "1"}).named("run")
        mounts = [word for flag, word in zip(words, words[1:]) if flag == "--mount"]
        self.assertEqual(mounts[:2], [bind(root)[1], bind(place.workspace)[1]])
        # At the root itself there is nothing to say.
        self.assertEqual(place.run("x", cwd=root).err, "")

    def test_a_work_tree_is_known_by_its_file(self):
        place = self.place("main")
        self.git(place, "init", "-q")
        self.git(place, "commit", "-q", "--allow-empty", "-m", "x")
        tree = place.root / "tree"
        self.git(place, "worktree", "add", "-q", str(tree))
        store = place.workspace / ".git"
        call = place.run("x", cwd=tree)
        self.assertEqual(call.err, f"claudebox: git does not work in this box, because the repository is in {store}: CLAUDEBOX_GIT_ROOT=1 brings that into the box as well\n")
        (words,) = place.run("x", cwd=tree, env={"CLAUDEBOX_CONTAINER_NAME": "claude-other", "CLAUDEBOX_GIT_ROOT": "1"}).named("run")
        mounts = [word for flag, word in zip(words, words[1:]) if flag == "--mount"]
        self.assertEqual(mounts[:2], [bind(store)[1], bind(tree)[1]])

    def test_a_repository_that_holds_the_home_stays_outside(self):
        place = self.place("h/project")
        self.git(place, "init", "-q", cwd=place.home)
        call = place.run("x", env={"CLAUDEBOX_GIT_ROOT": "1"})
        self.assertEqual((call.code, call.engine), (78, []))
        self.assertEqual(call.err, "claudebox: error: CLAUDEBOX_GIT_ROOT=1 would bring your whole home folder into the box, where this repository begins: leave it out, or set CLAUDEBOX_HOME_WORKSPACE=1 as well\n")
        self.assertEqual(place.run("x").err, "")


class Ports(Case):
    """CLAUDEBOX_PUBLISH: ports of the session's box."""

    def published(self, value, **more):
        place = self.place()
        call = place.run("shell", env={"CLAUDEBOX_PUBLISH": value, **more})
        self.assertEqual((call.code, call.err), (0, ""), value)
        (words,) = call.named("run")
        return [word for flag, word in zip(words, words[1:]) if flag == "--publish"]

    def test_a_port_is_published_for_this_machine_alone_unless_asked_otherwise(self):
        for value, expected in (
            ("3000", ["127.0.0.1:3000:3000"]), ("8080:3000", ["127.0.0.1:8080:3000"]), ("0.0.0.0:3000:3000", ["0.0.0.0:3000:3000"]),
            ("[::1]:3000:3000", ["[::1]:3000:3000"]), ("53/udp", ["127.0.0.1:53:53/udp"]), ("5353:53/udp", ["127.0.0.1:5353:53/udp"]),
            ("3000, 8080:80\n0.0.0.0:1:2", ["127.0.0.1:3000:3000", "127.0.0.1:8080:80", "0.0.0.0:1:2"]), ("", []), (" , ", []),
        ):
            self.assertEqual(self.published(value), expected)
        # The network of the host has its ports already.
        self.assertEqual(self.published("3000", CLAUDEBOX_NETWORK="host"), [])

    def test_the_prompts_box_does_not_take_the_ports_away(self):
        place = self.place()
        self.created(place, place.run("x", env={"CLAUDEBOX_PUBLISH": "3000"}))

    def test_what_is_no_port_is_refused(self):
        for value in "x", "3000:", ":3000", "a:1:2", "1:2:3:4", "300000", "$(x)", "*", "-p", "[x]:1:2", "127.0.0.1:3000", "::1:1:2", "1/xxp":
            call = self.place().run("x", env={"CLAUDEBOX_PUBLISH": value})
            self.assertEqual((call.code, call.engine), (78, []), value)
            self.assertEqual(call.err, f"claudebox: error: CLAUDEBOX_PUBLISH={value} is not usable: PORT, PORT:PORT or ADDRESS:PORT:PORT, several with commas\n")
        call = self.place().run("x", env={"CLAUDEBOX_PUBLISH": "1", "CLAUDEBOX_NETWORK": "none"})
        self.assertEqual((call.code, call.err), (78, "claudebox: error: CLAUDEBOX_PUBLISH needs a network: leave CLAUDEBOX_NETWORK=none out\n"))


class Zones(Case):
    """The box has the time zone of the host."""

    def zone(self, timezone, link):
        """The zone that a box gets on a machine with these two; None: none."""
        import shutil
        import subprocess

        place = self.place()
        etc = place.double / "etc"
        etc.mkdir()
        shutil.copytree("/etc/alternatives", etc / "alternatives", symlinks=True)
        shutil.copy("/etc/passwd", etc)
        if timezone is not None:
            (etc / "timezone").write_text(timezone)
        if link:
            (etc / "localtime").symlink_to(link)
        private = ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc && exec "$@"', str(etc)]
        if subprocess.run([*private, "true"], capture_output=True, check=False).returncode:
            self.skipTest("needs a mount namespace")
        call = place.run("x", wrap=[*private, "env", "-u", "TZ"])
        self.assertEqual((call.code, call.err), (0, ""))
        self.created(place, call, env=["TZ"] if "TZ" in call.values else [])
        return call.values.get("TZ")

    def test_it_is_what_the_machine_has(self):
        for timezone, link, expected in (
            ("Europe/Berlin\n", "/usr/share/zoneinfo/Asia/Tokyo", "Europe/Berlin"), ("Etc/GMT+3", None, "Etc/GMT+3"),
            (None, "/usr/share/zoneinfo/America/Port-au-Prince", "America/Port-au-Prince"), (None, "../usr/share/zoneinfo/UTC", "UTC"),
            (None, "/var/db/timezone/zoneinfo/Europe/Paris", "Europe/Paris"), ("", "/usr/share/zoneinfo/posix/Asia/Tokyo", "Asia/Tokyo"),
            (None, None, None), ("$(touch PWNED)\n", None, None), (None, "/somewhere/else", None),
        ):
            with self.subTest(timezone=timezone, link=link):
                self.assertEqual(self.zone(timezone, link), expected)

    def test_one_that_is_set_counts(self):
        place = self.place()
        call = place.run("x", env={"TZ": "Asia/Tokyo"})
        self.created(place, call, env=["TZ"])
        self.assertEqual(call.values["TZ"], "Asia/Tokyo")


class SignIn(Case):
    """`claudebox setup-token`, then `claudebox`: as the README has it."""

    TOKEN = "sk-ant-oat01-abc_DEF-" + "x" * 90

    def file(self, place):
        return place.home / f".local/share/claudebox/tokens{place.home}/.claude/token"

    def keep(self, place):
        self.file(place).parent.mkdir(parents=True)
        self.file(place).write_text(f"{self.TOKEN}\n")

    def kept(self, place):
        file = self.file(place)
        return file.read_text() if file.exists() else None

    def test_what_a_box_writes_into_its_data_folder_is_no_token(self):
        place = self.place()
        secret = place.home / "secret"
        secret.write_text("https://me:password@example.com\n")
        (place.home / ".claude" / ".claudebox-token").symlink_to(secret)
        call = place.run("x")
        self.created(place, call)
        self.assertNotIn("CLAUDE_CODE_OAUTH_TOKEN", call.values)

    def test_the_token_is_kept_and_used(self):
        for answer in f"{self.TOKEN}\n", f"  {self.TOKEN[:70]}\n{self.TOKEN[70:]} \n":
            place = self.place()
            code, said, calls = on_terminal(place, "setup-token", answer=answer, at="Paste the token here")
            self.assertEqual(code, 0, said)
            self.assertEqual(calls[-1][-1], "setup-token")
            self.assertNotIn("sk-ant-oat01", said)
            self.assertEqual(self.kept(place), f"{self.TOKEN}\n")
            self.assertEqual(self.file(place).stat().st_mode & 0o777, 0o600)
            self.assertNotIn(self.TOKEN, repr(calls))
            place.run("stop")
            call = place.run("x", env={"CLAUDEBOX_CONTAINER_NAME": "claude-other"})
            self.created(place, call, name="claude-other", env=["CLAUDE_CODE_OAUTH_TOKEN"])
            self.assertEqual(call.values["CLAUDE_CODE_OAUTH_TOKEN"], self.TOKEN)
            self.assertNotIn(self.TOKEN, repr(call.engine))
            self.assertIn(f"credentials   the token in {self.file(place)}\n", place.run("doctor").out)

    def test_what_is_no_token_is_not_kept(self):
        for answer, code, text in (
            ("\n", 0, "no token was kept"), ("hello\n", 64, "that is not a token"), ("sk-ant-oat01-$(x)\n", 64, "that is not a token"),
            ("sk-ant-api03-abc\n", 64, "that is an API key, nothing was kept: set ANTHROPIC_API_KEY to it"),
        ):
            place = self.place()
            ended, said, _ = on_terminal(place, "setup-token", answer=answer, at="Paste the token here")
            self.assertEqual((ended, self.kept(place)), (code, None), said)
            self.assertIn(text, said)

    def test_other_credentials_go_before_it_and_signing_in_or_out_forgets_it(self):
        for variable in "ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN", "CLAUDE_ENV_ANTHROPIC_API_KEY", "CLAUDEBOX_ENV_ANTHROPIC_AUTH_TOKEN":
            place = self.place()
            self.keep(place)
            call = place.run("x", env={variable: "mine"})
            self.created(place, call, env=[variable])
            self.assertEqual(call.values[variable], "mine")
        for words in ["auth", "login"], ["auth", "logout"]:
            place = self.place()
            self.keep(place)
            call = place.run(*words)
            self.assertEqual((call.code, call.err), (0, "claudebox: the token of claudebox setup-token is forgotten\n"))
            self.created(place, call)
            self.assertIsNone(self.kept(place))
        place = self.place()
        self.keep(place)
        place.run("auth", "status")
        self.assertEqual(self.kept(place), f"{self.TOKEN}\n")

    def test_the_first_session_says_how_to_sign_in(self):
        hint = "claudebox: nobody is signed in: type /login in the session, or leave it and use claudebox setup-token, or set ANTHROPIC_API_KEY\n"
        for env, stored, told in ({}, False, True), ({"ANTHROPIC_API_KEY": "x"}, False, False), ({"CLAUDEBOX_OFFLINE": "1"}, False, False), ({}, True, False):
            place = self.place()
            if stored:
                (place.home / ".claude" / ".credentials.json").write_text("{}")
            # A box that is on its way is asked again.
            (place.double / "session").write_text('[ -e "$DOUBLE/again" ] || { touch "$DOUBLE/again"; exit 213; }\n')
            code, said, calls = on_terminal(place, env=env)
            self.assertEqual((code, said.count(hint)), (0, int(told)), said)
            self.assertEqual(len([words for words in calls if "session" in words]), 2)


class Engines(Case):
    """An engine that is not there, or does not do what it should, leads to the next step in one sentence."""

    WORDS = ["x"], ["up", "api"], ["shell"], ["stop"], ["list"], ["status"], ["logs"], ["prune"], ["--update"], ["setup-token"], ["clear-session"]

    def engine(self, place, script):
        path = place.double / "bad-docker"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return {"CLAUDEBOX_ENGINE": str(path)}

    def test_one_that_is_stopped(self):
        place = self.place()
        env = self.engine(place, "echo 'Client: x' >&2; echo 'Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?' >&2; exit 1")
        path = env["CLAUDEBOX_ENGINE"]
        for words in self.WORDS:
            with self.subTest(words):
                call = place.run(*words, env=env)
                self.assertEqual((call.code, call.out), (69, ""))
                self.assertEqual(call.err, f"claudebox: error: {path} does not answer: start it (sudo systemctl start bad-docker, or Docker Desktop) and try again; it says: Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?\n")

    def test_one_that_is_not_installed(self):
        for words in self.WORDS:
            with self.subTest(words):
                call = self.place().run(*words, env={"CLAUDEBOX_ENGINE": "no-such-engine"})
                self.assertEqual((call.code, call.out), (69, ""))
                self.assertEqual(call.err, "claudebox: error: no-such-engine is not installed: install Docker (https://docs.docker.com/engine/install/) or Podman\n")
        # At the first session of all, nothing else is said before.
        for words in [], ["setup-token"]:
            code, said, _ = on_terminal(self.place(), *words, env={"CLAUDEBOX_ENGINE": "no-such-engine"})
            self.assertEqual((code, said), (69, "claudebox: error: no-such-engine is not installed: install Docker (https://docs.docker.com/engine/install/) or Podman\n"))
        self.assertIn("no-such-engine is not installed", self.place().run("--version", env={"CLAUDEBOX_ENGINE": "no-such-engine"}).out)


class Hooks(Case):
    """What init hooks say is seen as it comes, where a person waits for the box."""

    def place_with_hook(self):
        place = self.place()
        (place.home / ".claude" / "init.d").mkdir()
        (place.home / ".claude" / "init.d" / "10-slow.sh").write_text("sleep 60")
        (place.double / "log").write_text("installing things\n")
        return place

    def test_on_a_terminal(self):
        for words, kind in ([], ""), (["x"], "_prog"), (["shell"], ""), (["doctor"], "_prog"):
            with self.subTest(words):
                place = self.place_with_hook()
                name = container(place.workspace) + kind
                code, said, calls = on_terminal(place, *words)
                self.assertEqual((code, said.count("installing things\n")), (0, 1), said)
                self.assertEqual([vector for vector in calls if vector[0] == "logs"], [["logs", "--follow", name]])
                # The box is up: there is nothing to show.
                _, said, calls = on_terminal(place, *words)
                self.assertEqual((said.count("installing"), [vector for vector in calls if vector[0] == "logs"]), (0, []))

    def test_a_box_that_a_hook_has_ended_shows_its_log_once(self):
        place = self.place_with_hook()
        (place.double / "ends-at").write_text("78")
        code, said, _ = on_terminal(place)
        self.assertEqual((code, said.count("installing things\n"), said.count("does not start; its log is above\n")), (78, 1, 1), said)

    def test_a_script_gets_its_answer_alone_and_without_hooks_there_is_nothing(self):
        call = self.place_with_hook().run("x")
        self.assertEqual((call.err, call.named("logs")), ("", []))
        _, said, calls = on_terminal(self.place(), "x")
        self.assertEqual([vector for vector in calls if vector[0] == "logs"], [], said)


class Options(Case):
    """Words that are values of options are no prompt."""

    def test_on_a_terminal(self):
        sessions = (
            ["-c"], ["--continue"], ["--resume"], ["-r", "title"], ["--resume", "--verbose"], ["--permission-mode", "plan"],
            ["--allowedTools", "Bash(git *)", "Edit"], ["--mcp-config", "a.json", "b.json", "--add-dir", "../x", "../y"],
            ["--debug", "hooks"], ["--debug-file", "-x"], ["--name", "n", "--settings={}"], ["-w", "tree"], ["--tools", "", "--strict-mcp-config"],
        )
        prompts = (
            ["--permission-mode", "plan", "x"], ["--debug", "hooks", "x"], ["--allowedTools", "Edit", "--", "x"], ["x", "--add-dir", "a", "b"],
            ["-c", "x"], ["-r", "id", "x"], ["--resume", "-p"],
        )
        place = self.place()
        for kind, lines in ("session", sessions), ("run", prompts):
            for words in lines:
                with self.subTest(words):
                    _, said, calls = on_terminal(place, *words)
                    call = [vector for vector in calls if vector[0] == "exec" and "call" in vector and vector[vector.index("call") + 1] == kind]
                    self.assertEqual(len(call) > 0, True, (said, calls))
                    self.assertEqual(call[-1][-len(words):], words)


class Ends(Case):
    """A session that has ended says how to come back to it, after what the CLI says."""

    def test_by_the_host_command(self):
        place = self.place()
        told = f"claudebox: to go on with this session, type claudebox in {place.workspace}\n"
        _, said, _ = on_terminal(place)
        self.assertTrue(said.endswith(told), said)
        for words in ["auth", "login"], ["x"]:
            self.assertNotIn("to go on with this session", on_terminal(place, *words)[1])

    def test_not_after_a_failure(self):
        place = self.place()
        (place.double / "session").write_text("exit 3\n")
        code, said, _ = on_terminal(place)
        self.assertEqual((code, "to go on" in said), (3, False))


class OfCall(Case):
    """A session's variables and git's identity go with its call: no other box is needed, and nothing in it is lost."""

    ONE = {"CLAUDEBOX_ENV_A": "one", "CLAUDE_ENV_B": "s3cret", "CLAUDEBOX_GIT_NAME": "Me", "TZ": "UTC", "ANTHROPIC_API_KEY": "k1", "CLAUDEBOX_SYSTEM_HINT": "x"}
    TWO = {"CLAUDEBOX_ENV_A": "two", "CLAUDEBOX_ENV_C": "s3cret\nnew", "CLAUDEBOX_GIT_EMAIL": "me@x", "CLAUDE_CODE_OAUTH_TOKEN": "t", "CLAUDEBOX_SYSTEM_HINT": "y"}

    def entered(self, place, calls, hash_, names, gone=()):
        """The call of the session, with these variables and without those that its box was made with."""
        (words,) = [words for words in calls if words[-4:-2] == ["call", "session"] and words[0] == "exec"]
        unset = ["env", *(word for name in reversed(gone) for word in ("-u", name))] if gone else []
        self.assertEqual(
            words[:-1],
            ["exec", "--interactive", "--tty", "--detach-keys", "ctrl-],ctrl-]", "--env", "TERM", "--env", "COLORTERM"]
            + [word for name in reversed(names) for word in ("--env", name)]
            + [container(place.workspace), *unset, "claudebox", "call", "session", hash_],
        )

    def test_other_values_and_names_need_no_other_box(self):
        place = self.place()
        code, said, calls = on_terminal(place, env=self.ONE)
        self.assertEqual(code, 0, said)
        one = sorted(self.ONE)
        call = type("", (), {"named": lambda self, word: [words for words in calls if words[0] == word]})()
        hash_ = self.created(place, call, kind="session", of_call=one)
        self.entered(place, calls, hash_, one)
        # The box was made with the identity of this call.
        self.assertFalse([words for words in calls if "NAME" in words])

        code, said, calls = on_terminal(place, env=self.TWO)
        self.assertEqual((code, [words for words in calls if words[0] in ("run", "rm", "stop")]), (0, []), said)
        two = sorted(self.TWO)
        self.entered(place, calls, hash_, two, gone=[name for name in one if name not in two])
        self.assertNotIn("s3cret", repr(calls))
        (git,) = [words for words in calls if "NAME" in words]
        self.assertEqual(git[:-1], ["exec", "--user", "claude", "--env", "NAME", "--env", "EMAIL", container(place.workspace), "sh", "-c"])

        # While somebody is at work in it, too.
        (place.double / "at-work").write_text("session 1@x\n")
        code, said, calls = on_terminal(place, env={"CLAUDEBOX_ENV_A": "three", "ANTHROPIC_API_KEY": "k"})
        self.assertEqual((code, [words for words in calls if words[0] in ("run", "rm", "stop")]), (0, []), said)

    def test_git_gets_what_it_is_given(self):
        import subprocess

        place = self.place()
        on_terminal(place, env={"CLAUDEBOX_GIT_NAME": "Old"})
        _, said, calls = on_terminal(place, env={"CLAUDE_GIT_NAME": "New $(touch PWNED) 'x", "CLAUDEBOX_GIT_EMAIL": "n@x"})
        (words,) = [words for words in calls if "NAME" in words]
        values = read_values(place.double / "values")
        inner = words[words.index("sh") :]
        env = {**place.environment(), "NAME": values["NAME"], "EMAIL": values["EMAIL"]}
        subprocess.run(inner, env=env, check=True, cwd=place.workspace)
        shown = subprocess.run(["git", "config", "--global", "--list"], env=env, check=True, capture_output=True, text=True).stdout
        self.assertEqual(shown, "user.name=New $(touch PWNED) 'x\nuser.email=n@x\n", said)

    def test_a_shell_has_them_too(self):
        place = self.place()
        place.run("shell", env=self.ONE)
        call = place.run("shell", env=self.TWO)
        self.assertEqual((call.named("run"), call.named("rm")), ([], []))
        given = call.named("exec")[-1]
        self.assertEqual([word for flag, word in zip(given, given[1:]) if flag == "--env"], sorted(self.TWO, reverse=True))

    def test_what_needs_another_box_is_asked_about(self):
        image = lambda place: (place.double / "image").write_text("sha256:two")
        for env, change, answer, code, again in (
            ({"CLAUDEBOX_MEMORY": "1g"}, None, "n\n", 75, False), ({"CLAUDEBOX_HARDENED": "1"}, None, "y\n", 0, True),
            ({}, image, "n\n", 0, False), ({}, image, "y\n", 0, True),
        ):
            with self.subTest(env=env, answer=answer):
                place = self.place()
                on_terminal(place)
                if change:
                    change(place)
                ended, said, calls = on_terminal(place, env=env, answer=answer, at="Make it again?")
                why = "there is a newer image" if change else "the settings have changed"
                self.assertIn(f"claudebox: {why}, so the box {container(place.workspace)} is to be made again: what was installed in it goes, sessions stay\n", said)
                self.assertEqual((ended, bool([words for words in calls if words[0] == "rm"])), (code, again), said)
                self.assertEqual(said.count("Make it again?"), 1)


class Recreation(Case):
    """What happens to a box that is there already."""

    def box(self, place, state, image="sha256:one", settings=None):
        place.run("x")
        name = container(place.workspace) + "_prog"
        file = place.double / "containers" / name
        words = file.read_text().split()
        file.write_text(f"{state} id-{name} 0 {image} {words[4] if settings is None else settings}\n")
        return name

    def test_a_stopped_one_is_started(self):
        place = self.place()
        name = self.box(place, "exited")
        call = place.run("x")
        self.assertEqual([words[0] for words in call.engine], ["exec", "inspect", "image", "start", "exec"])
        self.assertEqual(call.named("start"), [["start", f"id-{name}"]])
        self.assertEqual((call.code, call.err), (0, ""))

    def test_one_that_is_being_made_is_waited_for(self):
        """Two commands make the box; the other one has its name, and has yet to start it."""
        for state in "created", "configured", "initialized":
            with self.subTest(state):
                place = self.place()
                name = self.box(place, state)
                there = place.double / "containers" / name
                there.rename(place.double / "another")
                call = place.run("x")
                self.assertEqual((call.code, call.err), (0, ""))
                self.assertEqual([words[0] for words in call.engine], ["exec", "inspect", "image", "inspect", "run", "exec", "inspect", "image", "start", "exec"])
                self.assertEqual((call.named("start"), call.named("rm")), ([["start", f"id-{name}"]], []))

    def test_one_that_cannot_be_started_is_not_left_behind(self):
        for words, kind, what in (["x"], "prog", "the box"), (["up", "api"], "api", None):
            with self.subTest(kind):
                place = self.place()
                name = f"{container(place.workspace)}_{kind}"
                (place.double / "unstartable").touch()
                call = place.run(*words)
                self.assertEqual((call.code, call.out, call.err), (69, "", f"claudebox: error: {what or name} cannot be made: no such network\n"))
                self.assertEqual(call.named("rm"), [["rm", "--force", f"id-{name}"]])

    def test_a_service_that_somebody_else_makes_is_left_alone(self):
        place = self.place()
        name = f"{container(place.workspace)}_api"
        (place.double / "another").write_text(f"created id-{name} 0 sha256:one 0abc\n")
        call = place.run("up", "api")
        self.assertEqual(call.code, 69)
        self.assertIn(f"claudebox: error: {name} cannot be made: Conflict.", call.err)
        self.assertEqual(call.named("rm"), [])

    def test_one_of_another_image_is_made_again(self):
        place = self.place()
        name = self.box(place, "exited", image="sha256:old")
        call = place.run("x")
        self.assertEqual(call.err, f"claudebox: there is a newer image: the box {name} is made again; sessions stay, what was installed in it goes\n")
        self.assertEqual(call.named("rm"), [["rm", "--force", f"id-{name}"]])
        self.assertEqual(len(call.named("run")), 1)

    def test_a_paused_one_goes_on(self):
        place = self.place()
        name = self.box(place, "paused")
        self.assertEqual(place.run("x").named("unpause"), [["unpause", f"id-{name}"]])

    def test_one_that_somebody_else_made_is_kept_under_another_name(self):
        for settings in "", "<no value>":
            with self.subTest(settings):
                self.kept(settings)

    def kept(self, settings):
        place = self.place()
        name = self.box(place, "exited", settings=settings)
        call = place.run("x")
        (rename,) = call.named("rename")
        self.assertEqual(rename[:2], ["rename", f"id-{name}"])
        self.assertRegex(rename[2], rf"\A{name}\.before-\d{{14}}\Z")
        self.assertEqual((call.code, call.named("rm"), call.named("stop")), (0, [], []))

    def in_use(self, place, kind, given, settings="0abc", image="sha256:one"):
        """A call, while another is at work in a box of other settings, which says so (not taken)."""
        name = container(place.workspace) + ("" if kind == "session" else f"_{kind}")
        (place.double / "containers" / name).write_text(f"running id-{name} 0 {image} {settings}\n")
        (place.double / "at-work").write_text(f"{kind} 1\n")
        refusing = place.double.parent / "refusing"
        refusing.mkdir(exist_ok=True)
        script = (pathlib.Path(__file__).parent / "double" / "docker").read_text()
        (refusing / "docker").write_text(script.replace('*" call run "*)', f'*" call run "[!-]*) [ -e "$DOUBLE/takes" ] || exit 213 ;;\n            *" call run "*)'))
        (refusing / "docker").chmod(0o755)
        env = {"CLAUDEBOX_ENGINE": str(refusing / "docker"), **given}
        return name, place.run("x", env=env) if kind == "prog" else place.run("shell", env=env)

    def test_one_in_use_is_not_taken_away_and_does_nothing_otherwise_than_asked(self):
        place = self.place()
        (place.root / "data").mkdir()
        for given in {"CLAUDEBOX_HARDENED": "1"}, {"CLAUDEBOX_ENV_X": "1"}, {"CLAUDEBOX_MOUNT_X": str(place.root / "data")}, {"CLAUDEBOX_MEMORY": "1g"}, {}:
            for kind in "prog", "session":
                with self.subTest(given=given, kind=kind):
                    name, call = self.in_use(place, kind, given)
                    self.assertEqual((call.code, call.out), (75, ""), call.err)
                    self.assertEqual(call.err, f"claudebox: error: other settings are asked for than {name} has, and it is in use: wait until that has ended, end it (claudebox stop), or use a box beside it (CLAUDEBOX_CONTAINER_NAME=NAME)\n")
                    self.assertEqual([words for words in call.engine if words[0] in ("run", "stop", "rm") or "-" in words[-3:]], [])
                    # A box beside it is made as asked.
                    beside = place.run("x", env={**given, "CLAUDEBOX_CONTAINER_NAME": f"claude-{kind}-{'-'.join(given)}"})
                    self.assertEqual((beside.code, len(beside.named("run"))), (0, 1), beside.err)

    def test_one_in_use_with_the_same_settings_goes_on_with_its_image(self):
        place = self.place()
        place.run("x")
        name = container(place.workspace) + "_prog"
        settings = (place.double / "containers" / name).read_text().split(None, 4)[4].split("|")[0]
        # The box refuses once, as one does that has lost its servers.
        (place.double / "broken").touch()
        (place.double / "containers" / name).write_text(f"running id-{name} 0 sha256:old {settings}|{os.getuid()}|{place.home}/.claude\n")
        (place.double / "at-work").write_text("run 1\n")
        call = place.run("x")
        self.assertEqual((call.code, call.named("run"), call.named("rm")), (0, [], []), call.err)
        self.assertIn(f"claudebox: there is a newer image, but {name} is in use", call.err)
        self.assertEqual(without_variables(call.named("exec")[-1])[6], settings)

    def test_one_that_does_not_start_shows_its_log_once_and_is_not_left_behind(self):
        place = self.place()
        name = container(place.workspace) + "_prog"
        (place.double / "ends").write_text("78")
        (place.double / "log").write_text("init hook x failed\n")
        for _ in range(2):
            call = place.run("x")
            self.assertEqual((call.code, call.out, call.err), (78, "", f"init hook x failed\nclaudebox: error: the box {name} does not start; its log is above\n"))
            self.assertEqual(call.named("rm"), [["rm", "--force", f"id-{name}"]])
            self.assertEqual(call.named("logs"), [["logs", "--tail", "20", f"id-{name}"]])

    def test_one_that_was_up_before_stays_and_shows_the_log_of_this_start(self):
        import time

        place = self.place()
        name = self.box(place, "exited")
        (place.double / "ends").write_text("78")
        before = int(time.time())
        call = place.run("x")
        self.assertEqual((call.code, call.named("rm")), (78, []))
        (words,) = call.named("logs")
        self.assertEqual(words[:2] + words[3:], ["logs", "--since", "--tail", "20", f"id-{name}"])
        self.assertIn(int(words[2]) - before, range(60))

    @unittest.skipUnless(os.getuid() == 0, "needs root")
    def test_a_folder_of_somebody_else_whose_ids_cannot_use_the_data_is_one_sentence(self):
        place = self.place()
        os.chown(place.workspace, 4321, 4321)
        (place.double / "ends").write_text("78")
        (place.double / "log").write_text("claudebox: error: cannot use the state folder /x: Permission denied\n")
        call = place.run("x")
        self.assertEqual((call.code, call.out), (78, ""))
        self.assertEqual(call.err, f"claudebox: error: {place.workspace} belongs to the user 4321, and a box works with the ids of its folder's owner, who may not write to your {place.home}/.claude: work in a folder of your own, or set CLAUDEBOX_DATA_DIR to a folder that 4321 may write to\n")
        # In one's own it is something else.
        os.chown(place.workspace, 0, 0)
        self.assertIn("does not start; its log is above", place.run("x").err)

    def test_a_missing_image_is_pulled(self):
        place = self.place()
        (place.double / "image").write_text("")
        call = place.run("x")
        self.assertEqual(call.named("pull"), [["pull", "--quiet", IMAGE]])
        self.assertEqual((call.code, call.out, call.err), (0, "", ""))

    def test_a_missing_image_that_cannot_be_pulled_leads_on(self):
        place = self.place()
        (place.double / "image").write_text("")
        (place.double / "no-registry").touch()
        for words in ["x"], ["--update"], ["up", "api"], ["doctor"]:
            with self.subTest(words):
                call = place.run(*words)
                self.assertEqual(call.code, 69)
                self.assertEqual(call.err, f"claudebox: error: the image {IMAGE} is not on this machine and cannot be pulled (Get https://registry: no such host): see to the network and try again, or set CLAUDEBOX_IMAGE to an image of this machine\n")

    def test_an_update_without_a_registry_says_so_and_nothing_else(self):
        place = self.place()
        (place.double / "no-registry").touch()
        call = place.run("--update")
        self.assertEqual((call.code, call.err), (0, ""))
        self.assertEqual(call.out, f"{IMAGE} stays as it is on this machine, it cannot be pulled: claudebox double (Get https://registry: no such host)\n")
        (place.double / "no-registry").unlink()
        self.assertEqual(place.run("--update").out, f"{IMAGE} is up to date: claudebox double\n")

    def test_an_update_asks_before_a_sessions_box_goes(self):
        for answer, gone in ("n\n", False), ("y\n", True):
            with self.subTest(answer):
                place = self.place()
                people(place, [("one", os.getuid(), "exited", "session", "-"), ("two", os.getuid(), "exited", "prog", "-")])
                (place.double / "image").write_text("sha256:new")
                for name, kind in ("one", "session"), ("two", "prog"):
                    (place.double / "about" / f"id-{name}").write_text(f"/{name} {kind}\n")
                code, said, calls = on_terminal(place, "--update", answer=answer, at="sessions stay. [y/N]")
                self.assertEqual(code, 0, said)
                self.assertIn("two is made again at its next use; sessions stay, what was installed in it goes\n", said)
                self.assertEqual("one is made again at its next use" in said, gone)
                self.assertEqual([words[-1] for words in calls if words[0] == "rm"], ["id-one"] * gone + ["id-two"])

    def test_versions_of_the_cli_are_looked_after_without_a_box(self):
        for words in ["list"], ["install"], ["install", "2.1.330"], ["use", "latest"], ["remove", "2.1.330"]:
            place = self.place()
            call = place.run("cli", *words)
            self.assertEqual((call.code, call.err), (0, ""))
            self.assertEqual(call.named("run"), [["run", "--rm", "--mount", CLI_VOLUME, IMAGE, "cli", *words]])
            self.assertEqual(call.named("exec"), [])
        settings = {"CLAUDEBOX_NPM_REGISTRY": "https://npm.example", "CLAUDEBOX_ENV_HTTPS_PROXY": "http://proxy", "CLAUDE_ENV_no_proxy": "x",
                    "CLAUDEBOX_ENV_OTHER": "x", "CLAUDEBOX_ENV_SSL_CERT_FILE": "/ca", "ANTHROPIC_API_KEY": "secret", "CLAUDEBOX_NETWORK": "host"}
        (words,) = self.place().run("cli", "install", env=settings).named("run")
        given = [word for flag, word in zip(words, words[1:]) if flag == "--env"]
        self.assertEqual(sorted(given), ["CLAUDEBOX_ENV_HTTPS_PROXY", "CLAUDEBOX_ENV_SSL_CERT_FILE", "CLAUDEBOX_NPM_REGISTRY", "CLAUDE_ENV_no_proxy"])
        self.assertEqual(words[4:6], ["--network", "host"])
        for words in ["cli"], ["cli", "use"], ["cli", "tools", "are", "nice"], ["cli", "list", "x"]:
            call = self.place().run(*words)
            self.assertEqual((call.code, call.engine), (64, []))
            self.assertIn("to send the words as a prompt: claudebox -p cli ...", call.err)

    def test_what_deletes_sessions_does_not_say_that_they_stay(self):
        place = self.place()
        name = self.box(place, "exited", image="sha256:old")
        call = place.run("clear-session")
        self.assertEqual((call.code, call.err), (0, f"claudebox: there is a newer image: the box {name} is made again\n"))
        self.assertEqual(call.named("exec")[-1], ["exec", "--user", "claude", name, "claudebox", "clear-session"])


class Users(Case):
    """People who share an engine and a folder have boxes of their own."""

    def theirs(self, place, kind, labels):
        name = f"{container(place.workspace)}_{kind}"
        (place.double / "containers" / name).write_text(f"running id-{name} 0 sha256:one 0abc|{labels}\n")
        (place.double / "exec").write_text('case " $* " in *" call run "*) exit 213 ;; esac\n')
        return name

    def test_the_box_of_somebody_else_is_left_alone(self):
        other = pathlib.Path("/var/lib")
        for labels in f"{os.getuid() + 1}|{other}", f"{os.getuid() + 1}|HOME/.claude":
            with self.subTest(labels):
                place = self.place()
                name = f"{container(place.workspace)}_prog"
                labels = labels.replace("HOME", str(place.home))
                (place.double / "containers" / name).write_text(f"exited id-{name} 0 sha256:one 0abc|{labels}\n")
                call = place.run("x")
                self.assertEqual((call.code, call.err), (0, ""))
                self.assertEqual((call.named("start"), call.named("rm"), call.named("stop")), ([], [], []))
                own = f"{container(place.workspace)}-u{os.getuid()}_prog"
                (words,) = call.named("run")
                self.assertEqual(words[words.index("--name") + 1], own)
                self.assertIn(f"CLAUDEBOX_CONTAINER_NAME={own}", words)
                self.assertEqual(without_variables(call.named("exec")[-1])[2], own)

    def test_a_service_of_somebody_else_is_left_alone(self):
        place = self.place()
        name = f"{container(place.workspace)}_api"
        (place.double / "containers" / name).write_text(f"running id-{name} 0 sha256:one 0abc|{os.getuid() + 1}|/x\n")
        call = place.run("up", "api")
        self.assertEqual((call.code, call.named("rm"), call.named("stop")), (0, [], []), call.err)
        self.assertIn(f"{container(place.workspace)}-u{os.getuid()}_api is up", call.out)
        down = place.run("down", "api")
        self.assertEqual(down.named("rm"), [["rm", "--force", f"id-{container(place.workspace)}-u{os.getuid()}_api"]])

    def test_stop_stops_no_box_of_somebody_else(self):
        place = self.place()
        for name, user in ("mine", os.getuid()), ("theirs", os.getuid() + 1):
            (place.double / "containers" / f"id-{name}").write_text(f"running id-{name} 0 sha256:one 0abc|{user}|/x\n")
            (place.double / "containers" / name).write_text("running x\n")
        (place.double / "ps").write_text("id-mine\nid-theirs\n")
        self.assertEqual(place.run("stop").named("stop"), [["stop", "id-mine"]])

    def test_one_that_was_made_before_users_were_noted_is_still_ones_own(self):
        place = self.place()
        name = f"{container(place.workspace)}_prog"
        (place.double / "containers" / name).write_text(f"exited id-{name} 0 sha256:one 0abc||{place.home}/.claude\n")
        call = place.run("x")
        self.assertEqual(call.named("rm"), [["rm", "--force", f"id-{name}"]])
        self.created(place, call)

    def test_a_name_that_was_asked_for_and_is_somebody_elses_is_refused(self):
        place = self.place()
        (place.double / "containers" / "claude-it_prog").write_text(f"exited id-m 0 sha256:one 0abc|{os.getuid() + 1}|/x\n")
        call = place.run("x", env={"CLAUDEBOX_CONTAINER_NAME": "claude-it"})
        self.assertEqual((call.code, call.named("run")), (78, []))
        self.assertEqual(call.err, "claudebox: error: the container claude-it_prog is another user's: set CLAUDEBOX_CONTAINER_NAME to another name\n")

    @unittest.skipUnless(os.getuid() == 0, "needs root")
    def test_whoever_may_write_in_anothers_folder_works_there_under_its_own_ids(self):
        for owner, group, mode, groups, ids in (
            (4001, 4001, 0o755, "4001", None),
            (4002, 4002, 0o755, "4001", None),
            (4002, 4002, 0o777, "4001", "4001:4001"),
            (4002, 4005, 0o775, "4001,4005", "4001:4005"),
            (0, 0, 0o777, "0", "4001:4001"),
        ):
            with self.subTest(owner=owner, group=group, mode=mode, groups=groups):
                place = self.place()
                place.root.chmod(0o755)
                os.chown(place.workspace, owner, group)
                place.workspace.chmod(mode)
                for record in "calls", "values":
                    (place.double / record).touch()
                for path in [place.home, *place.home.rglob("*"), place.double, *place.double.rglob("*")]:
                    os.chown(path, 4001, 4001)
                call = place.run("x", wrap=["setpriv", "--reuid", "4001", "--regid", groups.split(",")[0], "--groups", groups])
                self.assertEqual((call.code, call.err), (0, ""))
                (words,) = call.named("run")
                found = [word for word in words if word.startswith("CLAUDEBOX_USER_IDS=")]
                self.assertEqual(found, [f"CLAUDEBOX_USER_IDS={ids}"] if ids else [])

    @unittest.skipUnless(os.getuid() == 0, "needs root")
    def test_roots_data_folder_stays_with_the_user_who_has_it(self):
        place = self.place()
        data = place.home / ".claude"
        own = place.home / ".local" / "share" / "claudebox"
        # (its owner, the workspace's owner, the folder that is mounted)
        for owner, workspace, expected in (
            (0, 0, data), (0, 4001, data), (4001, 4001, data), (1000, 0, data),
            (4001, 4002, own / "claude-4002"), (4001, 4002, own / "claude-4002"), (4001, 0, own / "claude-1000"),
        ):
            with self.subTest(owner=owner, workspace=workspace):
                os.chown(data, owner, owner)
                os.chown(place.workspace, workspace, workspace)
                is_new = not expected.exists()
                call = place.run("x", env={"CLAUDEBOX_CONTAINER_NAME": f"claude-{owner}-{workspace}-{is_new}"})
                (words,) = call.named("run")
                self.assertIn(bind(expected, "/home/claude/.claude")[1], words)
                self.assertEqual(call.err.count("with a sign-in of its own"), int(is_new), call.err)
                self.assertEqual(data.stat().st_uid, owner)
                named = place.run("x", env={"CLAUDEBOX_CONTAINER_NAME": f"claude-named-{owner}-{workspace}-{is_new}", "CLAUDEBOX_DATA_DIR": str(data)})
                (words,) = named.named("run")
                self.assertIn(bind(data, "/home/claude/.claude")[1], words)

    @unittest.skipUnless(os.getuid() == 0, "needs root")
    def test_people_in_one_folder_do_not_take_turns_in_making_one_box(self):
        for owner, had_state, shared in (0, False, False), (4002, False, False), (4003, True, False), (4001, False, True), (4003, True, True):
            with self.subTest(owner=owner, had_state=had_state, shared=shared):
                place = self.place()
                place.root.chmod(0o755)
                os.chown(place.workspace, owner, owner)
                place.double.chmod(0o777)
                for record in "calls", "values":
                    (place.double / record).touch()
                for path in place.double.rglob("*"):
                    path.chmod(0o777)
                boxes = {}
                for turn in range(3):
                    for user in 4001, 4002, 0:
                        home = place.root / f"home{user}"
                        if shared:
                            # One data folder for all of them: the same settings.
                            home = place.home
                            for path in [home, *home.rglob("*")]:
                                path.chmod(0o777)
                            if had_state:
                                (home / ".claude" / "claudebox" / f"{container(place.workspace)}_prog").mkdir(parents=True, exist_ok=True)
                        elif turn == 0:
                            (home / ".claude").mkdir(parents=True)
                            if had_state:
                                (home / ".claude" / "claudebox" / f"{container(place.workspace)}_prog").mkdir(parents=True)
                            for path in [home, *home.rglob("*")]:
                                os.chown(path, user, user)
                        drop = ["setpriv", "--reuid", str(user), "--regid", str(user), "--clear-groups", "env", f"HOME={home}"]
                        call = place.run("x", wrap=drop, env={"CLAUDEBOX_ENGINE": str(self.strict(place))})
                        self.assertEqual((call.code, call.err, call.named("rm"), call.named("stop"), call.named("rename")), (0, "", [], [], []), (user, turn))
                        self.assertEqual(len(call.named("run")), int(turn == 0), (user, turn))
                        boxes.setdefault(user, set()).add(without_variables(call.named("exec")[-1])[2])
                names = [name for found in boxes.values() for name in found]
                self.assertEqual((len(names), len(set(names))), (3, 3))

    def strict(self, place):
        """An engine whose boxes refuse settings that are not their own, as boxes do."""
        path = place.double / "strict-docker"
        if not path.exists():
            script = (pathlib.Path(__file__).parent / "double" / "docker").read_text()
            check = """
case "$1 $*" in exec*" call run "*)
    name= ; hash= ; last=
    for word; do
        case $word in claudebox-*) name=$word ;; esac
        [ "$last" != run ] || hash=$word
        last=$word
    done
    grep -q " $hash|" "$DOUBLE/containers/$name" 2>/dev/null || { printf '%s\\0' "$#" "$@" >>"$DOUBLE/calls"; exit 213; } ;;
esac
"""
            path.write_text(script.replace("\n\n", check + "\n", 1))
            path.chmod(0o755)
        return path

    @unittest.skipUnless(os.getuid() == 0, "needs root")
    def test_whoever_does_not_own_the_folder_has_a_name_with_a_number(self):
        place = self.place()
        os.chown(place.workspace, 4321, 4321)
        own = f"{container(place.workspace)}-u0"
        call = place.run("x")
        self.created(place, call, name=own)
        # Who has had a box of the plain name keeps it, and its history.
        (place.home / ".claude" / "claudebox" / f"{container(place.workspace)}_api").mkdir(parents=True)
        self.created(place, place.run("x"))


def on_terminal(place, *words, answer="", at="", env=None, out=True):
    """The command on a terminal: its exit code, what the terminal shows, what the engine was asked. The answer is typed when `at` is shown."""
    import pty
    import subprocess
    import threading
    import time

    (place.double / "calls").write_bytes(b"")
    (place.double / "values").write_bytes(b"")
    master, slave = pty.openpty()
    shown = []

    def read():
        with contextlib.suppress(OSError):
            while block := os.read(master, 10000):
                shown.append(block)

    reader = threading.Thread(target=read)
    reader.start()
    child = subprocess.Popen(
        [*SHELL, str(COMMAND), *words], cwd=place.workspace, env=place.environment(**(env or {})), stdin=slave,
        stdout=slave if out else subprocess.DEVNULL, stderr=slave,
    )
    deadline = time.monotonic() + 60
    while at.encode() not in b"".join(shown) and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    os.write(master, answer.encode())
    code = child.wait(timeout=60)
    os.close(slave)
    reader.join(timeout=60)
    os.close(master)
    return code, b"".join(shown).decode(errors="replace").replace("\r\n", "\n"), read_calls(place.double / "calls")


class Homes(Case):
    """The whole home is asked for on purpose."""

    WORDS = ["x"], ["up", "api"], ["doctor"], ["shell"], ["auth", "login"], []

    def test_a_script_says_so(self):
        place = self.place()
        message = "holds your whole home folder: Claude could read and change everything in it, keys and passwords too; go to a project's folder, or set CLAUDEBOX_HOME_WORKSPACE=1"
        link = place.root / "link"
        link.symlink_to(place.home)
        for cwd in place.home, place.root, link:
            for words in self.WORDS:
                call = place.run(*words, cwd=cwd)
                self.assertEqual((call.code, call.engine, call.out), (78, [], ""), words)
                self.assertEqual(call.err, f"claudebox: error: {cwd.resolve()} {message}\n")
        self.assertEqual(place.run("x", cwd=place.home, env={"HOME": str(link)}).code, 78)
        call = place.run("x", cwd=place.home, env={"CLAUDEBOX_HOME_WORKSPACE": "1"})
        self.assertEqual((call.code, len(call.named("run"))), (0, 1), call.err)

    def test_what_starts_nothing_needs_no_word(self):
        place = self.place()
        for words in ["stop"], ["ps"], ["down", "api"]:
            self.assertEqual(place.run(*words, cwd=place.home).code, 0)

    def test_a_folder_in_it_is_a_workspace(self):
        place = self.place()
        for folder in "hh", "h/project":
            (place.root / folder).mkdir()
            self.assertEqual(place.run("x", cwd=place.root / folder).code, 0)

    def test_a_person_is_asked(self):
        import pty
        import subprocess

        place = self.place()
        for answer, made in ("n\n", 0), ("\n", 0), ("y\n", 1):
            (place.double / "calls").write_bytes(b"")
            master, slave = pty.openpty()
            child = subprocess.Popen(
                [*SHELL, str(COMMAND), "x"], cwd=place.home, env=place.environment(), stdin=slave, stdout=subprocess.PIPE, stderr=slave
            )
            os.write(master, answer.encode())
            child.communicate(timeout=60)
            os.close(slave)
            said = b""
            with contextlib.suppress(OSError):
                while block := os.read(master, 10000):
                    said += block
            os.close(master)
            said = said.decode()
            self.assertIn("Use it as the workspace all the same? [y/N]", said)
            self.assertEqual(child.returncode, 0 if made else 78, said)
            self.assertEqual(len([words for words in read_calls(place.double / "calls") if words[0] == "run"]), made)


def old_name(path):
    return "claude-" + str(path).replace("/", "_")


class Old(Case):
    """Containers of the predecessor."""

    def test_one_of_this_folder_is_told_of_and_left_alone(self):
        place = self.place()
        old = old_name(place.workspace) + "_prog"
        (place.double / "containers" / old).write_text(f"exited [{place.workspace}] id-{old} 0 sha256:x \n")
        call = place.run("x")
        self.assertEqual(call.err, f"claudebox: {old}, of an older version, stays as it is (docker rm {old} removes it); its sessions go on in {container(place.workspace)}_prog\n")
        self.assertEqual((call.code, call.named("rm"), call.named("rename")), (0, [], []))

    def test_one_of_a_folder_with_the_same_old_name_is_somebody_elses(self):
        place = self.place()
        old = old_name(place.workspace) + "_prog"
        (place.double / "containers" / old).write_text("exited [/somewhere/else] id-x 0 sha256:x \n")
        self.assertEqual(place.run("x").err, "")


def command_case(title, words, expected, env=None):
    """What a dry run prints is what would be called, so that is compared with it; here, the vectors."""

    @case(Commands, title)
    def test(self):
        place = self.place()
        place.run("x", env=env)
        name = container(place.workspace)
        call = place.run(*words, env=env)
        resolve = lambda text: text.replace("NAME", name).replace("@WORK", str(place.workspace)).replace("DATA", str(place.home / ".claude"))
        self.assertEqual([[resolve(word) for word in vector] for vector in expected], call.engine)


STATE = '{{.State.Status}} {{.Id}} {{.State.ExitCode}} {{.Image}} {{with .Config.Labels}}{{index . "claudebox.settings"}}|{{index . "claudebox.user"}}|{{index . "claudebox.data"}}|variables={{index . "claudebox.variables"}}{{end}}'
LOOK = ["inspect", "--type", "container", "--format", STATE]
command_case("logs_of_one", ["logs", "prog"], [LOOK + ["NAME_prog"], ["logs", "NAME_prog"]])
command_case("logs_follow", ["logs", "prog", "-f"], [LOOK + ["NAME_prog"], ["logs", "--follow", "NAME_prog"]])
command_case("logs_of_all", ["logs"], [LOOK + [f"NAME{kind}"] for kind in ("", "_prog", "_api", "_telegram", "_cron")] + [["logs", "NAME_prog"]])
command_case("down", ["down", "api"], [LOOK + ["NAME_api"], ["version"]])
LIST = '{{.Names}}\\t{{.Label "claudebox.kind"}}\\t{{.Status}}\\t{{.Label "claudebox.workspace"}}'
MINE = [["ps", "--all", "--quiet", "--no-trunc", "--filter", "label=claudebox.data=DATA"]]
command_case("list", ["list"], [["ps", "--all", "--filter", "label=claudebox.workspace", "--format", LIST]])
command_case("status", ["status"], [["ps", "--all", "--filter", "label=claudebox.workspace=@WORK", "--format", LIST]])
command_case("stop_all", ["stop", "--all"], MINE)
command_case("prune_of_nothing", ["prune"], MINE)
command_case("ps", ["ps"], [["ps", "--all", "--filter", "label=claudebox.workspace", "--format", '{{.Names}}\t{{.Label "claudebox.kind"}}\t{{.Status}}\t{{.Label "claudebox.workspace"}}'.replace("\t", "\\t")]])
command_case("uninstall", ["uninstall", "--yes"], MINE)
command_case("version", ["--version"], [["image", "inspect", IMAGE], ["run", "--rm", "--network", "none", "--entrypoint", "claudebox", IMAGE, "--version"]])
command_case("help", ["help"], [])
command_case("help_too", ["--help"], [])
for shell in "bash", "zsh", "fish":
    command_case(f"completions_{shell}", ["completions", shell], [])


@case(Commands, "a_word_of_a_list_is_a_command_alone_and_a_prompt_with_others")
def _(self):
    for word in "list", "status":
        place = self.place()
        call = place.run(word, "the", "files")
        self.asked(call, container(place.workspace) + "_prog", self.created(place, call), word, "the", "files")


@case(Commands, "a_word_that_other_programs_have_as_a_command_is_asked_about")
def _(self):
    for word, instead in ("config", "claudebox help, which lists the settings"), ("login", "claudebox auth login"), ("upgrade", "claudebox --update"):
        for answer, sent in ("n\n", False), ("y\n", True):
            place = self.place()
            code, said, calls = on_terminal(place, word, answer=answer, out=False)
            self.assertIn(f"claudebox: {word} is no command; there is {instead}", said)
            self.assertEqual((code, any(words[words.index("call") + 1] == "run" for words in calls if "call" in words)), (0, True) if sent else (64, False), said)
        # Nobody is there to answer.
        self.assertEqual(self.place().run(word).code, 0)


def people(place, boxes):
    """Containers by id: name, user, state, kind, when it ended."""
    lines = []
    for name, user, state, kind, ended in boxes:
        (place.double / "containers" / f"id-{name}").write_text(f"{state} id-{name} 0 sha256:one 0abc|{user}|/x\n")
        (place.double / "containers" / name).write_text(f"{state} x\n")
        (place.double / "about").mkdir(exist_ok=True)
        (place.double / "about" / f"id-{name}").write_text(f"/{name} {kind} {ended}\n")
        lines.append(f"id-{name}\n")
    (place.double / "ps").write_text("".join(lines))


@case(Commands, "prune_removes_what_has_ended_and_is_ones_own")
def _(self):
    import datetime

    today = datetime.datetime.now(datetime.UTC)
    ago = lambda days: (today - datetime.timedelta(days=days)).isoformat()
    me, other = os.getuid(), os.getuid() + 1
    boxes = [
        ("fresh", me, "exited", "session", ago(1)), ("old", me, "exited", "prog", ago(20)), ("never", me, "created", "prog", "0001-01-01T00:00:00Z"),
        ("runs", me, "running", "session", "0001-01-01T00:00:00Z"), ("api", me, "exited", "api", ago(20)), ("theirs", other, "exited", "prog", ago(20)),
    ]
    for words, gone in (["--yes"], ["fresh", "old", "never"]), (["10", "--yes"], ["old", "never"]), (["-y", "90"], ["never"]):
        place = self.place()
        people(place, boxes)
        call = place.run("prune", *words)
        self.assertEqual((call.code, call.err), (0, ""))
        self.assertEqual(call.named("rm"), [["rm", "--force", *(f"id-{name}" for name in gone)]])
        self.assertEqual(call.out, "".join(f"removed {name}\n" for name in gone))
    place = self.place()
    people(place, boxes)
    self.assertEqual((place.run("prune").code, place.run("prune").named("rm")), (64, []))
    people(place, boxes[3:])
    self.assertEqual(place.run("prune").out, "no box of yours has ended\n")
    self.assertEqual(place.run("prune", "7").out, "no box of yours ended 7 days ago or earlier\n")


@case(Commands, "stop_all_and_uninstall_are_about_ones_own")
def _(self):
    me = os.getuid()
    boxes = [("one", me, "running", "prog", "-"), ("two", me, "exited", "api", "-"), ("theirs", me + 1, "running", "prog", "-")]
    place = self.place()
    people(place, boxes)
    self.assertEqual(place.run("stop", "--all").named("stop"), [["stop", "id-one"]])
    people(place, boxes)
    call = place.run("uninstall", "--yes")
    self.assertEqual(call.named("rm"), [["rm", "--force", "id-one"], ["rm", "--force", "id-two"]])
    self.assertIn(f"removed 2 containers\nleft as they are:\n  {place.home}/.claude (sessions, sign-in, settings)\n", call.out)


@case(Commands, "doctor_shows_what_is_mounted")
def _(self):
    place = self.place()
    said = place.run("doctor", env={"CLAUDEBOX_MOUNT_MORE": "/usr:/more:ro"}).out
    self.assertIn(f"ok     mount         {place.workspace}\n", said)
    self.assertIn("ok     mount         /usr:/more:ro (CLAUDEBOX_MOUNT_MORE)\n", said)


@case(Commands, "doctor_tells_of_ended_boxes")
def _(self):
    place = self.place()
    for count, told in (9, False), (10, True):
        people(place, [(f"b{number}", os.getuid(), "exited", "prog", "-") for number in range(count)])
        self.assertEqual(f"note   boxes         {count} of your boxes have ended" in place.run("doctor").out, told)


@case(Commands, "shell")
def _(self):
    for number, (words, user, inner) in enumerate((
        ([], "claude", []), (["--root"], "root", []), (["-c", "id; $(x)"], "claude", ["-c", "id; $(x)"]),
        (["--root", "-c", 'echo "$1"', "x", "two words"], "root", ["-c", 'echo "$1"', "x", "two words"]),
        (["--", "ls", "a b"], "claude", ["-c", 'exec "$0" "$@"', "ls", "a b"]),
    )):
        place = self.place()
        call = place.run("shell", *words)
        name = container(place.workspace)
        self.assertEqual((call.code, call.err), (0, ""), number)
        self.assertEqual(call.named("exec")[-1], ["exec", "--interactive", "--user", user, "--workdir", str(place.workspace), name, "bash", "-l", *inner])


class Services(Case):
    """up and down."""

    def up(self, name, env, service, mounts=()):
        place = self.place()
        (place.workspace / "jobs.yml").write_text("jobs")
        (place.workspace / "tokens.yml").write_text("tokens")
        env = {key: value.replace("@WORK", str(place.workspace)) for key, value in env.items()}
        call = place.run("up", name, env=env)
        self.assertEqual(call.code, 0, call.err)
        hash_ = [word for word in call.named("run")[0] if word.startswith("CLAUDEBOX_HOST_SETTINGS=")]
        self.assertEqual(len(hash_), 1)
        tail = call.named("run")[0]
        start = tail.index(f"CLAUDEBOX_CONTAINER_NAME={container(place.workspace)}_{name}") + 1
        resolve = lambda text: text.replace("@WORK", str(place.workspace))
        self.assertEqual(tail[start:], [resolve(word) for word in service] + [IMAGE])
        self.assertEqual(call.named("exec")[-1], ["exec", f"{container(place.workspace)}_{name}", "claudebox", "healthcheck"])
        return place, call

    STAYS = ["--restart", "unless-stopped"]

    def test_api(self):
        env = {"CLAUDEBOX_MODE_API_TOKEN": "s3cret", "CLAUDEBOX_MODE_API_HOSTS": "a,b"}
        named = ["--env", "CLAUDEBOX_MODE_API_HOSTS", "--env", "CLAUDEBOX_MODE_API_TOKEN"]
        _, call = self.up("api", env, named + self.STAYS + ["--env", "CLAUDEBOX_MODE_API=1", "--publish", "127.0.0.1:8080:8080"])
        self.assertRegex(call.out, r"\Aclaudebox\S+_api is up: http://127.0.0.1:8080/\n\Z")
        self.assertNotIn("s3cret", repr(call.engine))

    def test_api_elsewhere(self):
        env = {"CLAUDE_MODE_API_TOKEN": "x", "CLAUDE_MODE_API_PORT": "9000", "CLAUDEBOX_MODE_API_BIND": "::1"}
        self.up("api", env, ["--env", "CLAUDE_MODE_API_TOKEN"] + self.STAYS + ["--env", "CLAUDEBOX_MODE_API=1", "--publish", "[::1]:9000:8080"])

    def test_api_in_the_hosts_network(self):
        env = {"CLAUDEBOX_MODE_API_TOKEN": "x", "CLAUDEBOX_NETWORK": "host"}
        listen = ["--env", "CLAUDEBOX_MODE_API_BIND=127.0.0.1", "--env", "CLAUDEBOX_MODE_API_PORT=8080"]
        self.up("api", env, ["--env", "CLAUDEBOX_MODE_API_TOKEN"] + self.STAYS + ["--env", "CLAUDEBOX_MODE_API=1"] + listen + ["--network", "host"])

    def test_api_with_a_file_of_tokens(self):
        env = {"CLAUDEBOX_MODE_API_TOKENS_FILE": "tokens.yml"}
        file = bind("@WORK", "/run/claudebox/api", True) + ["--env", "CLAUDEBOX_MODE_API_TOKENS_FILE=/run/claudebox/api/tokens.yml"]
        self.up("api", env, self.STAYS + ["--env", "CLAUDEBOX_MODE_API=1"] + file + ["--publish", "127.0.0.1:8080:8080"])

    def test_a_file_goes_into_the_box_without_the_rest_of_a_home(self):
        for variable, kind, given in (
            ("CLAUDEBOX_MODE_API_TOKENS_FILE", "api", {}), ("CLAUDEBOX_MODE_CRON_FILE", "cron", {}),
            ("CLAUDEBOX_TELEGRAM_CONFIG", "telegram", {"CLAUDEBOX_TELEGRAM_BOT_TOKEN": "x"}),
        ):
            place = self.place()
            own = place.home / "policy"
            own.mkdir()
            (place.home / ".config").mkdir()
            (place.root / "link").symlink_to(place.home)
            alone = [place.home / "f.yml", place.home / ".config" / "f.yml", place.root / "f.yml", place.root / "link" / "f.yml"]
            for path, folder in [(path, False) for path in alone] + [(own / "f.yml", True)]:
                with self.subTest(variable, path=path):
                    path.write_text("a")
                    call = place.run("up", kind, env={variable: str(path), **given})
                    self.assertEqual(call.code, 0, call.err)
                    (words,) = call.named("run")
                    mounted = [word for word in words if f"/run/claudebox/{kind}" in word and word.startswith("type=")]
                    inside = f"/run/claudebox/{kind}/f.yml"
                    self.assertEqual(mounted, [bind(own, f"/run/claudebox/{kind}", True)[1] if folder else bind(path, inside, True)[1]])
                    self.assertIn(f"{variable}={inside}", words)
                    self.assertEqual(f"{path} is mounted without its folder" in call.err, not folder)

    def test_api_without_a_token_gets_one_and_keeps_it(self):
        place = self.place()
        call = place.run("up", "api")
        token = call.out.splitlines()[1].removeprefix("its token, shown this once: ")
        self.assertRegex(token, r"\A[0-9a-f]{48}\Z")
        self.assertEqual(call.values["CLAUDEBOX_MODE_API_TOKEN"], token)
        self.assertNotIn(token, repr(call.engine))
        again = place.run("up", "api")
        self.assertEqual((again.named("run"), again.named("rm"), again.code), ([], [], 0))
        self.assertNotIn("token", again.out)

    def test_telegram(self):
        env = {"CLAUDE_TELEGRAM_BOT_TOKEN": "s3cret"}
        self.up("telegram", env, ["--env", "CLAUDE_TELEGRAM_BOT_TOKEN"] + self.STAYS + ["--env", "CLAUDEBOX_MODE_TELEGRAM=1"])

    def test_cron(self):
        file = bind("@WORK", "/run/claudebox/cron", True) + ["--env", "CLAUDEBOX_MODE_CRON_FILE=/run/claudebox/cron/jobs.yml"]
        for value in "jobs.yml", "@WORK/jobs.yml":
            self.up("cron", {"CLAUDEBOX_MODE_CRON_FILE": value}, self.STAYS + ["--env", "CLAUDEBOX_MODE_CRON=1"] + file)

    def test_the_predecessors_way(self):
        place = self.place()
        call = place.run(env={"CLAUDE_MODE_API": "1", "CLAUDE_MODE_API_TOKEN": "x", "CLAUDEBOX_MODE_TELEGRAM": "1", "CLAUDEBOX_TELEGRAM_BOT_TOKEN": "y"})
        self.assertEqual([words[3] for words in call.named("run")], [container(place.workspace) + kind for kind in ("_api", "_telegram")])

    def test_one_that_does_not_start_is_not_left_behind(self):
        place = self.place()
        name = container(place.workspace) + "_api"
        (place.double / "ends").write_text("78")
        call = place.run("up", "api")
        self.assertEqual((call.code, call.err), (1, f"a log\nclaudebox: error: {name} does not start; its log is above\n"))
        self.assertEqual([words[0] for words in call.engine][-2:], ["stop", "rm"])
        # One that was up before keeps what is in it.
        (place.double / "ends").unlink()
        place.run("up", "api")
        (place.double / "ends").write_text("78")
        place.run("stop")
        (place.double / "containers" / name).write_text((place.double / "containers" / name).read_text().replace("running", "exited", 1))
        call = place.run("up", "api")
        self.assertEqual((call.code, call.named("rm")), (1, []))

    def test_down(self):
        place = self.place()
        place.run("up", "api")
        name = container(place.workspace) + "_api"
        call = place.run("down", "api")
        self.assertEqual([words for words in call.engine if words[0] != "inspect"], [["stop", f"id-{name}"], ["rm", "--force", f"id-{name}"]])
        self.assertEqual(call.out, f"{name} is down\n")


class DryRuns(Case):
    """CLAUDEBOX_DRY_RUN=1 prints what would be called and calls nothing."""

    def test_the_line_is_what_would_be_called(self):
        import shlex

        for text in HOSTILE:
            if "\udcff" in text:
                continue
            place = self.place()
            words = ["-p", text] if not text.startswith("-") else ["--", text]
            dry = place.run(*words, env={"CLAUDEBOX_DRY_RUN": "1"})
            self.assertEqual((dry.code, dry.engine, dry.err), (0, [], ""))
            real = place.run(*words)
            # A shell reads it as the very words; two commands, of which a prompt may hold line feeds.
            last = real.named("exec")[-1]
            id_ = last.index("call") + 3
            expected = ["docker"] + real.named("run")[0] + ["docker"] + last[:id_] + ["ID"] + last[id_ + 1:]
            self.assertEqual(shlex.split(dry.out), expected)

    def test_secrets_are_masked(self):
        place = self.place()
        env = {"CLAUDEBOX_DRY_RUN": "1", "ANTHROPIC_API_KEY": "s3cret-key", "CLAUDE_ENV_PASSWORD": "hunter22 $(x)"}
        call = place.run("use s3cret-key and hunter22 $(x)", env=env)
        self.assertIn("'use *** and ***'", call.out)
        self.assertNotIn("s3cret", call.out)

    def test_every_command(self):
        place = self.place()
        (place.workspace / "jobs.yml").write_text("jobs")
        env = {"CLAUDEBOX_DRY_RUN": "1", "CLAUDEBOX_MODE_CRON_FILE": "jobs.yml", "CLAUDEBOX_TELEGRAM_BOT_TOKEN": "s3cret"}
        for words in (
            ["doctor"], ["auth", "login"], ["mcp", "list"], ["setup-token"], ["stop"], ["clear-session"], ["--update"], ["logs"], ["ps"], ["shell"],
            ["up", "api", "telegram", "cron"], ["down", "api"], ["uninstall", "--yes"], ["--version"], ["x"],
        ):
            call = place.run(*words, env=env)
            self.assertEqual((call.code, call.engine, call.err), (0, [], ""), words)
            self.assertIn("docker ", call.out)
            self.assertNotIn("s3cret", call.out)


class Script(Case):
    """The script itself."""

    def test_its_version_is_the_crates(self):
        root = pathlib.Path(__file__).resolve().parents[2]
        (version,) = [line for line in (root / "Cargo.toml").read_text().splitlines() if line.startswith("version = ")]
        self.assertIn(f"\nversion={version.split(chr(34))[1]}\n", (root / "scripts" / "claudebox").read_text())


if __name__ == "__main__":
    unittest.main()
