#!/usr/bin/env python3
"""The figures of a running claudebox, read by Prometheus's own library.

    metrics.py URL TOKEN

The box must answer with the offline model. Status 1 if the text is not OpenMetrics, or a run does not show in it.
"""

import sys
import uuid

import requests
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.parser import text_string_to_metric_families as classic_text


def read(session, url):
    text = session.get(f"{url}/metrics", timeout=60)
    assert text.headers["Content-Type"].startswith("text/plain; version=0.0.4"), text.headers
    counters = [family for family in classic_text(text.text) if family.type == "counter"]
    assert counters and all(family.documentation for family in counters), text.text
    answer = session.get(f"{url}/metrics", headers={"Accept": "application/openmetrics-text"}, timeout=60)
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text"), answer.headers
    return {family.name: family for family in text_string_to_metric_families(answer.text)}


def succeeded(families):
    # Before the first run has ended there is no such family.
    samples = families["claudebox_runs_finished"].samples if "claudebox_runs_finished" in families else []
    return sum(sample.value for sample in samples if sample.labels.get("state") == "succeeded")


def main():
    url, token = sys.argv[1:]
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {token}"
    before = read(session, url)
    body = {"prompt": "hello", "workspace": f"metrics-{uuid.uuid4().hex[:8]}", "createWorkspace": True}
    assert session.post(f"{url}/run", json=body, timeout=60).status_code == 200
    after = read(session, url)
    assert succeeded(after) == succeeded(before) + 1, (before, after)
    print(f"ok - {len(after)} families of figures, and a run is counted: {', '.join(sorted(after))}")


if __name__ == "__main__":
    sys.exit(main())
