"""The measuring half of scripts/bench. Runs as root, in a PID and mount namespace of its own."""

import argparse
import contextlib
import os
import pathlib
import platform
import pty
import random
import shutil
import signal
import statistics
import subprocess
import sys
import time

import server
from tables import over, percentile, print_table, print_target

USER = "claude"
TARGET_OVERHEAD_MS = 5.0
TARGET_RSS_KB = 4096
NONE, TINI = "none", "tini"
CLAUDEBOX, TERMINAL = "claudebox", "claudebox, terminal"
# The same with a home full of files, half as many again of them in the CLI's folder.
FULL = {f"{name}, full home": name for name in (CLAUDEBOX, TERMINAL)}
FULL_USER = "claude-full"
TARGET_FULL_HOME_MS = 1.0

MEMORY_ROUNDS = 7
REAPING_ROUNDS = 10
IDLE_SECONDS = 10
# What hangs is a fault: nothing that is run to its end takes more than a second or two.
DEADLINE_SECONDS = 60

# The main child where there is no compiler. A bare `sleep` would not do: claudebox passes arguments on.
SHELL_CHILD = """#!/bin/sh
[ "$BENCH_CHILD" = idle ] || exit 0
echo ready
exec sleep 1000
"""


class Bench:
    """The contestants, and how to start them so that their set-up costs the same."""

    def __init__(self, options):
        self.exact = bool(options.child)
        self.orphans = options.orphans
        self.child = options.child or str(shell_child(options.work))
        self.terminal = pty.openpty()[1]
        self.environment = {
            "PATH": os.environ["PATH"],
            "CLAUDEBOX_CLAUDE_BIN": self.child,
            "CLAUDEBOX_WORKSPACE": str(options.work / "workspace"),
            "CLAUDE_CONFIG_DIR": str(options.work / "home/.claude"),
        }
        self.commands = {NONE: [self.child]}
        for name in (TINI, "dumb-init", "catatonit"):
            if shutil.which(name):
                self.commands[name] = [name, "--", self.child]
        # One of the CLI's own commands; then the interactive CLI, which claudebox prepares in one more process image.
        self.commands[CLAUDEBOX] = [options.claudebox, "init", "--", "--version"]
        self.commands[TERMINAL] = [options.claudebox, "init", "--"]
        self.commands |= {full: self.commands[name] for full, name in FULL.items()}
        self.full_home = {"CLAUDEBOX_USER": FULL_USER, "CLAUDE_CONFIG_DIR": str(options.work / FULL_USER / ".claude")}

    def inits(self):
        return [name for name in self.commands if name != NONE and name not in FULL]

    def start(self, name, role):
        """Starts one contestant as PID 1 of a fresh namespace."""
        stamp = [self.child, "start"] if self.exact else []
        return subprocess.Popen(
            ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", *stamp, *self.commands[name]],
            stdin=self.terminal if FULL.get(name, name) == TERMINAL else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.environment | (self.full_home if name in FULL else {}) | {"BENCH_CHILD": role, "BENCH_ORPHANS": str(self.orphans)},
            text=True,
            close_fds=False,
        )

    def finish(self, name, role):
        """Runs one contestant to its end: what was printed, as {word: number}."""
        process = self.start(name, role)
        output, errors = process.communicate(timeout=DEADLINE_SECONDS)
        if process.returncode != 0 or errors:
            sys.exit(f"bench: {name} failed as PID 1 ({process.returncode}): {errors.strip()}")
        return {word: int(number) for word, number in map(str.split, output.splitlines())}

    @contextlib.contextmanager
    def idling(self, name):
        """A contestant whose main child sleeps: the pid of PID 1, seen from out here."""
        process = self.start(name, "idle")
        try:
            while (line := process.stdout.readline()) != "ready\n":
                if not line:
                    sys.exit(f"bench: {name} failed as PID 1: {process.stderr.read().strip()}")
            time.sleep(0.05)  # by then PID 1 has gone to sleep
            yield int(pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text())
        finally:
            process.send_signal(signal.SIGKILL)  # unshare --kill-child: the whole namespace goes with it
            process.communicate()


def shell_child(work):
    child = work / "child"
    child.write_text(SHELL_CHILD)
    child.chmod(0o755)
    return child


def prepare_users(work, files):
    """Puts two users into passwd and group, in an /etc that is seen in this mount namespace only: one with an empty home
    and one with `files` files in the home and half as many in the CLI's folder, all rightly owned."""
    layers = work / "etc"
    layers.mkdir()
    # In a container /tmp is an overlay itself, which no second one can write to.
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", layers], check=True)
    for folder in ("upper", "work"):
        (layers / folder).mkdir()
    options = f"lowerdir=/etc,upperdir={layers / 'upper'},workdir={layers / 'work'}"
    subprocess.run(["mount", "-t", "overlay", "-o", options, "overlay", "/etc"], check=True)
    # The machine's Docker socket is not the box's.
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run"], check=True)
    taken = {int(line.split(":")[2]) for file in ("passwd", "group") for line in lines(f"/etc/{file}")}
    number = next(candidate for candidate in range(1000, 60000) if candidate not in taken)
    homes = {USER: work / "home", FULL_USER: work / FULL_USER}
    entries = {
        "passwd": [f"{user}:x:{number}:{number}::{home}:/bin/sh" for user, home in homes.items()],
        "group": [f"{USER}:x:{number}:"],
    }
    for file, added in entries.items():
        others = [line for line in lines(f"/etc/{file}") if not line.startswith(f"{USER}:")]
        pathlib.Path("/etc", file).write_text("\n".join([*others, *added, ""]))
    for folder in (*homes.values(), work / "workspace"):
        folder.mkdir()
        os.chown(folder, number, number)
    # Like the sessions of a long time: a few folders with many files.
    fill(homes[FULL_USER] / "files", files, number)
    fill(homes[FULL_USER] / ".claude/projects", files // 2, number)


def fill(folder, count, owner):
    for index in range(count):
        place = folder / str(index % 50)
        if index < 50:
            place.mkdir(parents=True)
            for made in (place, folder, folder.parent):
                os.chown(made, owner, owner)
        file = os.open(place / f"{index}.jsonl", os.O_CREAT | os.O_WRONLY, 0o644)
        os.fchown(file, owner, owner)
        os.close(file)


def lines(path):
    return pathlib.Path(path).read_text().splitlines()


def shuffled(names):
    """A round: everybody once, in a new order, because what ran before leaves its traces in the caches."""
    return random.sample(list(names), len(names))


def measure_starts(bench, rounds):
    """Milliseconds per contestant and round: from the init's exec to the main child's first line, and of the whole run."""
    exact, whole = {name: [] for name in bench.commands}, {name: [] for name in bench.commands}
    for _ in range(rounds):
        for name in shuffled(bench.commands):
            begin = time.monotonic_ns()
            stamps = bench.finish(name, "stamp")
            whole[name].append((time.monotonic_ns() - begin) / 1e6)
            if bench.exact:
                exact[name].append((stamps["main"] - stamps["start"]) / 1e6)
    return exact, whole


def measure_memory(bench):
    """Kilobytes per contestant and figure, medians."""
    seen = {name: {"VmRSS": [], "Pss": [], "RssAnon": []} for name in bench.inits()}
    for _ in range(MEMORY_ROUNDS):
        for name, figures in seen.items():
            # One at a time: two of the same would share, and so halve, their PSS.
            with bench.idling(name) as pid:
                found = dict(
                    line.split(":", 1)
                    for file in ("status", "smaps_rollup")
                    for line in lines(f"/proc/{pid}/{file}")
                    if line.startswith(tuple(f"{figure}:" for figure in figures))
                )
            for figure, values in figures.items():
                values.append(int(found[figure].split()[0]))
    return {
        name: {figure: statistics.median(values) for figure, values in figures.items()}
        for name, figures in seen.items()
    }


def measure_wakeups(bench, work):
    """Per contestant: system calls (None where they cannot be traced) and context switches while idle, all at once."""
    with contextlib.ExitStack() as stack:
        pids = {name: stack.enter_context(bench.idling(name)) for name in bench.inits()}
        traces = {name: work / f"trace.{pid}" for name, pid in pids.items()} if shutil.which("strace") else {}
        for name, trace in traces.items():
            stack.enter_context(tracing(pids[name], trace))
        time.sleep(1)  # attaching interrupts the call that a process sleeps in
        begin, before = time.time(), {name: context_switches(pid) for name, pid in pids.items()}
        time.sleep(IDLE_SECONDS)
        end, after = time.time(), {name: context_switches(pid) for name, pid in pids.items()}
    calls = {name: calls_between(trace, begin, end) for name, trace in traces.items()}
    return {name: (calls.get(name), after[name] - before[name]) for name in pids}


@contextlib.contextmanager
def tracing(pid, trace):
    process = subprocess.Popen(["strace", "-qq", "-ttt", "-o", trace, "-p", str(pid)], stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def context_switches(pid):
    return sum(int(line.split()[1]) for line in lines(f"/proc/{pid}/status") if "ctxt_switches" in line)


def calls_between(trace, begin, end):
    """System calls that began in that time; None where tracing is not allowed, which leaves an empty trace."""
    begun = [float(line.split()[0]) for line in lines(trace)] if trace.exists() else []
    return sum(begin <= at <= end for at in begun) if begun else None


def measure_reaping(bench):
    """Milliseconds per contestant and round, for orphans that end at once and for orphans that end together."""
    contestants = [name for name in bench.inits() if name != TERMINAL]
    storm, burst = {name: [] for name in contestants}, {name: [] for name in contestants}
    for _ in range(REAPING_ROUNDS):
        for name in shuffled(contestants):
            times = bench.finish(name, "orphans")
            storm[name].append(times["storm"] / 1e6)
            burst[name].append(times["burst"] / 1e6)
    return storm, burst


def print_times(title, samples, references):
    """A row per contestant: median, p95, what it adds to each reference, and its ratio to tini."""
    head = ["", "median", "p95", *(f"over {reference}" for reference in references), "x tini"]
    tini = statistics.median(samples[TINI])
    rows = [
        [
            name,
            f"{statistics.median(values):.2f} ms",
            f"{percentile(values, 95):.2f} ms",
            *(f"{over(samples, name, reference):+.2f} ms" for reference in references),
            f"{statistics.median(values) / tini:.2f}",
        ]
        for name, values in samples.items()
    ]
    print_table(title, head, rows)


def print_memory(memory):
    head = ["", "RSS", "PSS", "anonymous", "RSS x tini"]
    tini = memory[TINI]["VmRSS"]
    rows = [
        [name, *(f"{kilobytes:.0f} KB" for kilobytes in found.values()), f"{found['VmRSS'] / tini:.2f}"]
        for name, found in memory.items()
    ]
    print_table("Memory of PID 1 while the main child idles (RSS has the shared pages in full, PSS its part of them)", head, rows)


def print_wakeups(wakeups):
    rows = [
        [name, "not traced" if calls is None else str(calls), str(switches)]
        for name, (calls, switches) in wakeups.items()
    ]
    # Each traced call is a few switches more than it would be without the tracer.
    print_table(f"Wake-ups in {IDLE_SECONDS} idle seconds", ["", "system calls", "context switches, traced"], rows)


def print_targets(starts, memory, wakeups):
    print("\nTargets\n")
    for name in (CLAUDEBOX, TERMINAL):
        overhead = over(starts, name, TINI)
        print_target(overhead <= TARGET_OVERHEAD_MS, name, f"{overhead:.2f} ms over tini", f"{TARGET_OVERHEAD_MS:.0f} ms")
    for name in (CLAUDEBOX, TERMINAL):
        rss = memory[name]["VmRSS"]
        print_target(rss <= TARGET_RSS_KB, name, f"{rss:.0f} KB resident as PID 1", f"{TARGET_RSS_KB} KB")
    for name in (CLAUDEBOX, TERMINAL):
        calls, switches = wakeups[name]
        traced = "" if calls is None else f"{calls} system calls and "
        print_target(not calls and not switches, name, f"{traced}{switches} context switches while idle", "0")


def print_full_home_target(starts):
    for full, name in FULL.items():
        more = over(starts, full, name)
        print_target(more <= TARGET_FULL_HOME_MS, full, f"{more:+.2f} ms over an empty home", f"{TARGET_FULL_HOME_MS:.0f} ms")


def print_machine(options):
    model = next((line.split(":")[1].strip() for line in lines("/proc/cpuinfo") if line.startswith("model name")), "CPU")
    size = os.path.getsize(options.claudebox) / 1e6
    print(f"{model}, {os.cpu_count()} cores, Linux {platform.release()}, load {os.getloadavg()[0]:.2f}")
    print(f"{options.rounds} starts of each, in turns; the claudebox binary has {size:.2f} MB", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--claudebox", required=True)
    parser.add_argument("--child", required=True, help="child.c, compiled; empty without a compiler")
    parser.add_argument("--work", required=True, type=pathlib.Path)
    parser.add_argument("--rounds", required=True, type=int)
    parser.add_argument("--orphans", required=True, type=int)
    parser.add_argument("--files", required=True, type=int)
    parser.add_argument("--seconds", required=True, type=int)
    parser.add_argument("--only-server", action="store_true")
    options = parser.parse_args()
    # The first process of a namespace ignores the signals it has no handler for.
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, lambda number, _frame: sys.exit(128 + number))

    prepare_users(options.work, options.files)
    bench = Bench(options)
    print_machine(options)
    if options.only_server:
        server.measure(bench, options, USER)()
        return
    for name in bench.commands:
        bench.finish(name, "stamp")  # fills the page cache, and settles the CLI's files

    exact, whole = measure_starts(bench, options.rounds)
    if bench.exact:
        print_times("From the start of the init to the start of the main child", exact, [NONE, TINI])
    print_times("A whole run, from its namespaces to its end", whole, [NONE, TINI])
    memory = measure_memory(bench)
    print_memory(memory)
    wakeups = measure_wakeups(bench, options.work)
    print_wakeups(wakeups)
    if bench.exact:
        storm, burst = measure_reaping(bench)
        print_times(f"{options.orphans} orphans made one after another, until all are reaped", storm, [TINI])
        print_times(f"{options.orphans} orphans that end together, until all are reaped", burst, [TINI])
    print_server_targets = server.measure(bench, options, USER) if bench.exact else None
    starts = exact if bench.exact else whole
    print_targets(starts, memory, wakeups)
    print_full_home_target(starts)
    if print_server_targets:
        print_server_targets()


if __name__ == "__main__":
    main()
