"""claudebox as a server: requests beside nginx, what a run costs over the bare CLI, the start, and memory."""

import contextlib
import http.server
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time

from tables import over, percentile, print_table, print_target

CLAUDEBOX, NGINX = "claudebox", "nginx"
THE_DOOR = "chat/completions"
CONNECTIONS = 16
FILE_BYTES = 64 * 1024
STREAMS = 100
LOAD_ROUNDS = 3
STREAM_ROUNDS = 20
TARGET_RUN_MS = 3.0
TARGET_FIRST_MS = 10.0
TARGET_LATER_MS = 20.0
TARGET_READY_MS = 100.0
TARGET_IDLE_KB = 25 * 1024
TARGET_EVERY_DOOR_KB = 30 * 1024
# One machine, 16 connections, as its own users would start it.
PREDECESSOR = {"/health": "2800/s", "/files": "495/s", "ready": "3.6 s", "memory": "64-70 MB"}
DEADLINE_SECONDS = 30

PROMPT = "a prompt"
HEALTH = b"GET /health HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"
# Debian's settings where they matter (sendfile, tcp_nopush), and a log line for what claudebox writes one for.
NGINX_CONF = """
user {user};
worker_processes auto;
pid {work}/nginx.pid;
error_log {work}/nginx.err;
events {{ worker_connections 768; }}
http {{
  sendfile on; tcp_nopush on; default_type application/octet-stream;
  keepalive_requests 100000000;
  access_log {work}/nginx.log;
  server {{
    listen 127.0.0.1:{port};
    location = /health {{ access_log off; default_type application/json; return 200 '{{"status":"ok"}}'; }}
    location /files/ {{ alias {workspaces}/; }}
  }}
}}
"""


def measure(bench, options, user):
    """Prints everything about the server; what is returned prints its targets."""
    folder = Folder(options.work, user)
    ready = measure_ready(bench, folder, max(5, options.rounds // 10))
    memory = {}
    with Box(bench, folder) as box:
        time.sleep(1)
        memory["idle"] = box.memory()
        runs = measure_runs(bench, box, options.rounds)
        pieces = measure_pieces(bench, box)
        loads = measure_loads(box, folder, options.seconds)
        memory["after all that load"] = box.memory()
    with every_door(bench, folder) as box:
        memory["idle, every door"] = box.memory()
    with Box(bench, folder) as box, box.streams(STREAMS):
        memory[f"{STREAMS} event streams"] = box.memory()
    print_ready(ready)
    print_runs(runs)
    print_pieces(pieces)
    print_loads(loads)
    print_memory(memory)

    def print_targets():
        added, serve = over(runs, "POST /run", "the CLI alone"), memory["idle"]["serve"]["VmRSS"]
        print_target(added <= TARGET_RUN_MS, "POST /run", f"{added:.2f} ms over the CLI alone", f"{TARGET_RUN_MS:.0f} ms")
        first = over({name: kinds["first"] for name, kinds in pieces.items()}, THE_DOOR, "the CLI alone")
        latest = percentile(pieces[THE_DOOR]["later"], 99)
        print_target(first <= TARGET_FIRST_MS, "first token", f"{first:.2f} ms over the CLI alone", f"{TARGET_FIRST_MS:.0f} ms")
        print_target(latest <= TARGET_LATER_MS, "later tokens", f"{latest:.2f} ms after the CLI, p99", f"{TARGET_LATER_MS:.0f} ms")
        median = statistics.median(ready)
        print_target(median <= TARGET_READY_MS, "/health", f"{median:.1f} ms after the start", f"{TARGET_READY_MS:.0f} ms")
        print_target(serve <= TARGET_IDLE_KB, "serve", f"{serve} KB resident, idle", f"{TARGET_IDLE_KB} KB")
        doors = sum(found["Pss"] for found in memory["idle, every door"].values())
        print_target(doors <= TARGET_EVERY_DOOR_KB, "every door", f"{doors} KB (PSS of all), idle", f"{TARGET_EVERY_DOOR_KB} KB")

    return print_targets


class Folder:
    """Where the box's files are, and what is served."""

    def __init__(self, work, user):
        self.work, self.user = work, user
        self.workspaces, self.state = work / "workspaces", work / "state"
        owner = (work / "home").stat().st_uid
        for made in (self.workspaces, self.workspaces / "bench", self.state):
            made.mkdir()
            os.chown(made, owner, owner)
        (self.workspaces / "bench/file.bin").write_bytes(os.urandom(FILE_BYTES))
        (self.workspaces / "bench/file.bin").chmod(0o644)
        self.owner = owner

    def forget_state(self):
        shutil.rmtree(self.state)
        self.state.mkdir()
        os.chown(self.state, self.owner, self.owner)


class Box:
    """A box with the HTTP API on loopback, as PID 1 of a fresh namespace."""

    def __init__(self, bench, folder, settings=None):
        self.port = free_port()
        self.log = folder.work / "serve.log"
        self.began = None
        self.environment = bench.environment | {
            "BENCH_CHILD": "answer",
            "CLAUDEBOX_MODE_API": "1",
            "CLAUDEBOX_MODE_API_BIND": "127.0.0.1",
            "CLAUDEBOX_MODE_API_PORT": str(self.port),
            "CLAUDEBOX_WORKSPACES_DIR": str(folder.workspaces),
            "CLAUDEBOX_STATE_DIR": str(folder.state),
        } | (settings or {})
        self.command = [bench.child, "start", *bench.commands[CLAUDEBOX][:2]]

    def __enter__(self):
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", *self.command],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, env=self.environment, text=True,
            )
        self.began = int(self.process.stdout.readline().split()[1])
        self.ready = (self.wait_for_health() - self.began) / 1e6
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGKILL)  # unshare --kill-child: the whole namespace goes with it
        self.process.communicate()

    def wait_for_health(self):
        while self.process.poll() is None and time.monotonic_ns() - self.began < DEADLINE_SECONDS * 1e9:
            with contextlib.suppress(ConnectionError), self.connection() as connection:
                if exchange(connection, HEALTH)[0] == 200:
                    return time.monotonic_ns()
            time.sleep(0.0002)
        sys.exit(f"bench: the server does not answer: {self.log.read_text()}")

    def connection(self):
        connection = socket.create_connection(("127.0.0.1", self.port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def memory(self):
        """Kilobytes by process and figure; the first worker is the one that is kept ready, or carries a run out."""
        init = children(self.process.pid)[0]
        serve = children(init)[0]
        return {"serve": memory_of(serve), "PID 1": memory_of(init)} | {"worker": memory_of(pid) for pid in children(serve)[:1]}

    @contextlib.contextmanager
    def streams(self, count):
        """That many clients that follow the events of one running run."""
        with contextlib.ExitStack() as stack:
            connection = stack.enter_context(self.connection())
            status, body = exchange(connection, run_request("wait", background=True))
            if status != 200:
                sys.exit(f"bench: POST /run says {status}: {body}")
            run = json.loads(body)["runId"]
            for _ in range(count):
                stream = stack.enter_context(self.connection())
                stream.sendall(f"GET /runs/{run}/events HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".encode())
                seen = b""
                while b"init" not in seen:
                    seen += received(stream)
            time.sleep(0.5)
            yield


@contextlib.contextmanager
def every_door(bench, folder):
    """A box with the API, a Telegram bot that nobody writes to, and a job that is not due."""
    telegram, cron = folder.work / "telegram.yml", folder.work / "cron.yml"
    telegram.write_text("allowed_chats: [1]\n")
    cron.write_text("jobs: [{name: never, schedule: '0 0 1 1 *', instruction: nothing}]\n")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), SilentBotApi) as api:
        threading.Thread(target=api.serve_forever, daemon=True).start()
        settings = {
            "CLAUDEBOX_MODE_TELEGRAM": "1",
            "CLAUDEBOX_TELEGRAM_BOT_TOKEN": "1:bench",
            "CLAUDEBOX_TELEGRAM_API_URL": f"http://127.0.0.1:{api.server_port}",
            "CLAUDEBOX_TELEGRAM_CONFIG": str(telegram),
            "CLAUDEBOX_MODE_CRON": "1",
            "CLAUDEBOX_MODE_CRON_FILE": str(cron),
            "CLAUDEBOX_MODE_CRON_HISTORY_DIR": str(folder.state / "cron"),
            "CLAUDEBOX_WORKSPACE": str(folder.workspaces),
        }
        with Box(bench, folder, settings) as box:
            if not SilentBotApi.polled.wait(DEADLINE_SECONDS):
                sys.exit(f"bench: the Telegram door asks for nothing: {box.log.read_text()}")
            time.sleep(5)
            yield box
        SilentBotApi.over.set()
        api.shutdown()


class SilentBotApi(http.server.BaseHTTPRequestHandler):
    """A Bot API on which nothing happens."""

    polled, over = threading.Event(), threading.Event()

    def do_POST(self):
        self.rfile.read(int(self.headers.get("content-length", 0)))
        result = True
        if self.path.lower().endswith("getme"):
            result = {"id": 1, "is_bot": True, "first_name": "bench", "username": "bench_bot", "can_join_groups": True,
                      "can_read_all_group_messages": False, "supports_inline_queries": False,
                      "can_connect_to_business": False, "has_main_web_app": False}
        elif self.path.lower().endswith("getupdates"):
            self.polled.set()
            self.over.wait(30)
            result = []
        body = json.dumps({"ok": True, "result": result}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(body)

    do_GET = do_POST

    def log_message(self, *_):
        pass


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def children(pid):
    # A child belongs to the thread that started it.
    tasks = pathlib.Path(f"/proc/{pid}/task").glob("*/children")
    return sorted(int(child) for task in tasks for child in task.read_text().split())


def memory_of(pid):
    found = {}
    for file in ("status", "smaps_rollup"):
        for line in pathlib.Path(f"/proc/{pid}/{file}").read_text().splitlines():
            if line.endswith(" kB"):
                figure, kilobytes = line.split(":")
                found[figure] = int(kilobytes.split()[0])
    found["Private"] = found["Private_Clean"] + found["Private_Dirty"]
    return found


def run_request(prompt, background=False):
    body = json.dumps({"prompt": prompt, "workspace": "bench", "async": background})
    head = f"POST /run HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return (head + body).encode()


def received(connection):
    piece = connection.recv(65536)
    if not piece:
        sys.exit("bench: the server has closed a connection")
    return piece


def exchange(connection, request):
    """One request on a connection that is kept: status and body."""
    connection.sendall(request)
    answer = b""
    while (end := answer.find(b"\r\n\r\n")) < 0:
        answer += received(connection)
    length = int(re.search(rb"content-length: (\d+)", answer[:end], re.I)[1])
    while len(answer) < end + 4 + length:
        answer += received(connection)
    return int(answer.split(b" ", 2)[1]), answer[end + 4 :]


def measure_ready(bench, folder, rounds):
    """Milliseconds from the exec of PID 1 to the first 200 of /health, each with a new ledger."""
    times = []
    for _ in range(rounds):
        folder.forget_state()
        with Box(bench, folder) as box:
            times.append(box.ready)
    return times


def of_the_cli_alone(bench, box):
    """The environment of the CLI without a box: as root, it keeps its sessions where no box does."""
    folder = box.log.parent / "alone"
    folder.mkdir(exist_ok=True)
    return bench.environment | {"BENCH_CHILD": "answer", "CLAUDE_CONFIG_DIR": str(folder)}


def measure_runs(bench, box, rounds):
    """Milliseconds of a prompt, by turns straight to the CLI and through POST /run."""
    times = {"the CLI alone": [], "POST /run": []}
    environment = of_the_cli_alone(bench, box)
    with box.connection() as connection:
        for number in range(rounds + 5):
            begin = time.monotonic_ns()
            call_cli(bench.child, environment)
            between = time.monotonic_ns()
            status, body = exchange(connection, run_request(PROMPT))
            end = time.monotonic_ns()
            if status != 200 or json.loads(body)["result"] != "done":
                sys.exit(f"bench: POST /run says {status}: {body}")
            if number >= 5:  # the first ones settle files
                times["the CLI alone"].append((between - begin) / 1e6)
                times["POST /run"].append((end - between) / 1e6)
    return times


def measure_pieces(bench, box):
    """Milliseconds from a piece's print by the CLI to its arrival, by turns over a pipe and through the OpenAI door."""
    times = {name: {"first": [], "later": []} for name in ("the CLI alone", THE_DOOR)}
    environment = of_the_cli_alone(bench, box)
    for _ in range(STREAM_ROUNDS):
        cli = subprocess.Popen([bench.child], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, bufsize=0)
        cli.stdin.write(b"stream")
        cli.stdin.close()
        note_pieces(cli.stdout.fileno(), times["the CLI alone"])
        cli.wait()
        with box.connection() as connection:
            body = json.dumps({"stream": True, "messages": [{"role": "user", "content": "stream"}]})
            head = (
                "POST /openai/v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\nx-claude-workspace: bench\r\n"
                f"connection: close\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
            )
            connection.sendall((head + body).encode())
            note_pieces(connection.fileno(), times[THE_DOOR])
    return times


def note_pieces(source, times):
    """Reads to the end; every text that is a time is one of this machine's clock."""
    seen, count = b"", 0
    while piece := os.read(source, 65536):
        arrived = time.monotonic_ns()
        *lines, seen = (seen + piece).split(b"\n")
        for stamp in re.findall(rb'"(?:text|content)":"(\d{6,}) "', b"\n".join(lines)):
            times["first" if count == 0 else "later"].append((arrived - int(stamp)) / 1e6)
            count += 1
    if count < 2:
        sys.exit(f"bench: a stream of {count} pieces")


def call_cli(cli, environment):
    """As short a way as there is: vfork, prompt through a pipe, output to its end, wait."""
    (prompt, to_prompt), (from_answer, answer) = os.pipe(), os.pipe()
    actions = [(os.POSIX_SPAWN_DUP2, prompt, 0), (os.POSIX_SPAWN_DUP2, answer, 1)]
    pid = os.posix_spawn(cli, [cli], environment, file_actions=actions)
    os.close(prompt)
    os.close(answer)
    os.write(to_prompt, PROMPT.encode())
    os.close(to_prompt)
    output = b""
    while piece := os.read(from_answer, 65536):
        output += piece
    os.close(from_answer)
    os.waitpid(pid, 0)
    if b'"result":"done"' not in output:
        sys.exit(f"bench: the CLI says {output}")


def measure_loads(box, folder, seconds):
    """Requests per second and p99 in milliseconds, per path and server, by turns."""
    if not shutil.which("wrk") or not shutil.which("nginx"):
        print("\nwithout wrk and nginx no requests are counted")
        return {}
    found = {}
    with nginx(folder) as port:
        for path in ("/health", "/files/bench/file.bin"):
            rounds = {CLAUDEBOX: [], NGINX: []}
            for _ in range(LOAD_ROUNDS):
                for name, at in ((CLAUDEBOX, box.port), (NGINX, port)):
                    rounds[name].append(load(f"http://127.0.0.1:{at}{path}", seconds))
            found[path] = rounds
    return found


@contextlib.contextmanager
def nginx(folder):
    port = free_port()
    conf = folder.work / "nginx.conf"
    conf.write_text(NGINX_CONF.format(user=folder.user, work=folder.work, port=port, workspaces=folder.workspaces))
    process = subprocess.Popen(["nginx", "-c", conf, "-g", "daemon off;"], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                if process.poll() is not None or time.monotonic() > deadline:
                    sys.exit(f"bench: nginx does not start: {(folder.work / 'nginx.err').read_text()}")
                time.sleep(0.01)
        yield port
    finally:
        process.terminate()
        process.wait()


def load(url, seconds):
    command = ["wrk", "--threads", "1", "--connections", str(CONNECTIONS), "--duration", f"{seconds}s", "--latency", url]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in output or "Socket errors" in output:
        sys.exit(f"bench: {url}: {output}")
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", output)[1])
    slow, unit = re.search(r"99%\s+([\d.]+)(us|ms|s)", output).groups()
    return rate, float(slow) * {"us": 0.001, "ms": 1, "s": 1000}[unit]


def print_ready(times):
    head = ["", "median", "p95", "predecessor"]
    row = ["/health answers", f"{statistics.median(times):.1f} ms", f"{percentile(times, 95):.1f} ms", PREDECESSOR["ready"]]
    print_table(f"From the start of PID 1 with a new ledger to the first answer ({len(times)} starts)", head, [row])


def print_runs(times):
    added = [through - alone for alone, through in zip(*times.values())]
    rows = [
        [name, *(f"{percentile(values, percent):.2f} ms" for percent in (10, 50, 99))]
        for name, values in (times | {"added": added}).items()
    ]
    print_table(f"One prompt, a CLI that answers at once ({len(added)} each, by turns)", ["", "p10", "median", "p99"], rows)


def print_pieces(times):
    rows = [
        [f"{name}, {kind}", *(f"{percentile(values, percent):.2f} ms" for percent in (50, 99)), f"{max(values):.2f} ms"]
        for name, kinds in times.items()
        for kind, values in kinds.items()
    ]
    print_table(f"From the CLI's print of a token to its arrival ({STREAM_ROUNDS} streams each)", ["", "median", "p99", "most"], rows)


def print_loads(loads):
    rows = []
    for path, rounds in loads.items():
        rates = {name: statistics.median(rate for rate, _ in values) for name, values in rounds.items()}
        for name, values in rounds.items():
            slow = statistics.median(slow for _, slow in values)
            rows.append([f"{path}, {name}", f"{rates[name]:.0f}/s", f"{slow:.2f} ms", f"{rates[name] / rates[NGINX]:.2f}"])
        old = next(rate for start, rate in PREDECESSOR.items() if path.startswith(start))
        rows.append([f"{path}, predecessor", old, "", ""])
    if rows:
        title = f"Requests, {CONNECTIONS} kept connections, wrk on the same machine (medians of {LOAD_ROUNDS})"
        print_table(title, ["", "requests", "p99", "x nginx"], rows)


def print_memory(memory):
    rows = [
        [f"{process}, {state}", *(f"{found[figure]} KB" for figure in ("VmRSS", "Pss", "Private", "RssAnon"))]
        for state, processes in memory.items()
        for process, found in processes.items()
    ]
    rows.append(["predecessor, idle", PREDECESSOR["memory"], "", "", ""])
    print_table("Memory of a box with the API", ["", "RSS", "PSS", "private", "anonymous"], rows)
