#!/usr/bin/env python3
"""Requests made up from the API's description, by schemathesis, and whether every operation has answered one of them.

    made_up.py URL SECONDS

The token is in the environment, as TOKEN. What is found is printed with a curl command that shows it again. Status 1 if
anything is found, or an operation has never been carried out: refusals alone would prove little.
"""

import json
import os
import subprocess
import sys
import tempfile

METHODS = ("get", "put", "post", "delete")


def carried_out(report):
    """The operations that were answered with success, as "METHOD path"."""
    found = set()
    for line in report:
        recorder = json.loads(line).get("ScenarioFinished", {}).get("recorder") or {}
        for case, interaction in recorder.get("interactions", {}).items():
            answer = interaction.get("response")
            if answer and 200 <= answer["status_code"] < 300:
                request = recorder["cases"][case]["value"]
                found.add(f"{request['method']} {request['path']}")
    return found


def described(document):
    return {
        f"{method.upper()} {path}" for path, item in document["paths"].items() for method in METHODS if method in item
    }


def main():
    url, seconds = sys.argv[1:]
    config = os.path.join(os.path.dirname(os.path.abspath(__file__)), "schemathesis.toml")
    # It leaves its database of examples in the current folder.
    with tempfile.TemporaryDirectory() as folder:
        report, document = os.path.join(folder, "report"), os.path.join(folder, "openapi.json")
        command = ["schemathesis", "--config-file", config, "run", f"{url}/openapi.json", "--max-time", seconds]
        command += ["--no-color", "--report", "ndjson", "--report-ndjson-path", report]
        status = subprocess.run(command, cwd=folder, check=False).returncode
        subprocess.run(["curl", "--silent", "--fail", "--output", document, f"{url}/openapi.json"], check=True)
        with open(report, encoding="utf-8") as lines, open(document, encoding="utf-8") as text:
            wanted = described(json.load(text))
            missing = wanted - carried_out(lines)
    if missing:
        print(f"not ok - never carried out: {', '.join(sorted(missing))}", file=sys.stderr)
    if status == 0 and not missing:
        print(f"ok - all {len(wanted)} operations were carried out, and nothing was found")
    return 1 if status or missing else 0


if __name__ == "__main__":
    sys.exit(main())
