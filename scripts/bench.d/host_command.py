"""What the host command adds to the `docker exec` it makes: both, in turns, with a warm box and the offline model."""

import argparse
import os
import pathlib
import shutil
import subprocess
import tempfile
import time

from tables import over, percentile, print_table, print_target

COMMAND = pathlib.Path(__file__).resolve().parents[1] / "claudebox"
# Most that it may add, milliseconds.
MOST = 60


def timed(words, env, cwd):
    began = time.monotonic()
    subprocess.run(words, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    return (time.monotonic() - began) * 1000


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--image", required=True)
    parser.add_argument("--rounds", type=int, required=True)
    options = parser.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="claudebox-bench.", dir="/var/tmp"))
    # The box's user has to get in.
    folder.chmod(0o755)
    (folder / "home" / ".claude").mkdir(parents=True)
    (folder / "work").mkdir()
    env = {
        **{name: os.environ[name] for name in ("PATH", "DOCKER_HOST") if name in os.environ},
        "HOME": str(folder / "home"),
        "CLAUDEBOX_IMAGE": options.image,
        "CLAUDEBOX_NETWORK": "none",
        "CLAUDEBOX_OFFLINE": "1",
    }
    box = subprocess.run(
        [COMMAND, "logs", "prog"], env={**env, "CLAUDEBOX_DRY_RUN": "1"}, cwd=folder / "work", capture_output=True, text=True, check=True
    ).stdout.split()[-1]
    try:
        subprocess.run([COMMAND, "warm"], env=env, cwd=folder / "work", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
        # A prompt is what people wait for; a call that is refused at once costs little itself, so it shows what is added.
        for title, words in (("A prompt", ["hello", "--no-continue"]), ("A call that is refused at once", ["hello", "--effort", "wrong"])):
            ways = {
                "docker exec": ["docker", "exec", "--interactive", box, "claudebox", "run", *words],
                "claudebox": [COMMAND, *words],
            }
            samples = {way: [] for way in ways}
            for _ in range(options.rounds):
                for way, line in ways.items():
                    samples[way].append(timed(line, env, folder / "work"))
            rows = [[way, *(f"{percentile(times, percent):.0f} ms" for percent in (50, 90))] for way, times in samples.items()]
            print_table(f"{title}, warm box", ["", "median", "90 %"], rows)
            added = over(samples, "claudebox", "docker exec")
            print_target(added <= MOST, "the host command adds", f"{added:.0f} ms", f"{MOST} ms")
    finally:
        subprocess.run(["docker", "rm", "--force", box], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        shutil.rmtree(folder)


main()
