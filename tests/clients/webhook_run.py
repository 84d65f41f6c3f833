#!/usr/bin/env python3
"""A run whose end is posted to a webhook, and verified there by the specification's own library.

    webhook_run.py URL TOKEN SECRET

The box must have CLAUDEBOX_WEBHOOK_SECRET=SECRET and CLAUDEBOX_FETCH_ALLOW=127.0.0.1. The receiver (webhook.py) refuses the
first delivery, so the second is one that was tried again.
"""

import json
import os
import subprocess
import sys
import uuid

import requests

PORT = 9000
PATIENCE = 60


def main():
    url, token, secret = sys.argv[1:]
    receiver = [sys.executable, "-B", os.path.join(os.path.dirname(os.path.abspath(__file__)), "webhook.py"), secret]
    receiver += ["--port", str(PORT), "--count", "2", "--answers", "503,204"]
    with subprocess.Popen(receiver, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert json.loads(process.stdout.readline())["listening"] == PORT
            body = {
                "prompt": "hello",
                "workspace": f"webhook-{uuid.uuid4().hex[:8]}",
                "createWorkspace": True,
                "webhookUrl": f"http://127.0.0.1:{PORT}/hook",
            }
            headers = {"Authorization": f"Bearer {token}"}
            result = requests.post(f"{url}/run", json=body, headers=headers, timeout=PATIENCE).json()
            out, _ = process.communicate(timeout=PATIENCE)
        except BaseException:
            process.kill()
            raise
    deliveries = [json.loads(line) for line in out.splitlines()]
    assert process.returncode == 0 and len(deliveries) == 2, deliveries
    assert all(delivery["verified"] for delivery in deliveries), deliveries
    # The same id: who has it already may ignore it.
    assert deliveries[0]["id"] == deliveries[1]["id"], deliveries
    run = deliveries[1]["body"]["data"]
    assert (run["runId"], run["state"]) == (result["runId"], "succeeded"), run
    print("ok - a webhook is signed, and delivered again after a refusal")


if __name__ == "__main__":
    sys.exit(main())
