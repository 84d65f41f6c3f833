#!/usr/bin/env python3
"""The HTTP libraries that clients use, against a running claudebox with the offline model.

    library.py URL TOKEN

requests, httpx, and both usual readers of server-sent events. Each step prints a line; the first that fails ends the
script with status 1.
"""

import sys
import uuid

import httpx
import requests
import sseclient
from httpx_sse import connect_sse

LABEL = "[claudebox offline model]"
# More than enough for anything here; a client that waits for ever tells nobody anything.
PATIENCE = 60


def step(text):
    print(f"ok - {text}", flush=True)


def workspace():
    return f"library-{uuid.uuid4().hex[:8]}"


def synchronous(session, url):
    body = {"prompt": "say hello", "workspace": workspace(), "createWorkspace": True}
    answer = session.post(f"{url}/run", json=body, timeout=PATIENCE)
    result = answer.json()
    assert answer.status_code == 200 and not result["isError"] and LABEL in result["result"], result
    assert result["runId"] == answer.headers["X-Run-Id"], answer.headers
    step("requests: a run is answered")
    return result


def polled(session, url):
    """As the predecessor's clients do it: snake_case, `async`, and a loop for as long as it is "running"."""
    body = {"prompt": "say hello", "workspace": workspace(), "create_workspace": True, "no_continue": True, "async": True}
    started = session.post(f"{url}/run", json=body, timeout=PATIENCE).json()
    assert started["status"] == "running", started
    polls = 0
    while True:
        result = session.get(f"{url}/run/result", params={"runId": started["runId"]}, timeout=PATIENCE).json()
        polls += 1
        if result["status"] != "running":
            break
    assert result["status"] == "completed" and LABEL in result["result"], result
    again = session.get(f"{url}/run/result", params={"runId": started["runId"]}, timeout=PATIENCE).json()
    assert again == result, again
    step(f"requests: a run in the background is polled for ({polls} times), and its result can be read twice")


def cancelled(session, url):
    body = {"prompt": "offline:slow 600", "workspace": workspace(), "createWorkspace": True, "async": True}
    started = session.post(f"{url}/run", json=body, timeout=PATIENCE).json()
    busy = session.post(f"{url}/run", json={**body, "async": False}, timeout=PATIENCE)
    assert busy.status_code == 409 and busy.json()["runId"] == started["runId"], busy.text
    done = session.post(f"{url}/run/cancel", params={"runId": started["runId"]}, timeout=PATIENCE)
    assert done.json()["status"] == "ok" and done.json()["state"] == "cancelled", done.text
    step("requests: a busy workspace is told, and its run is cancelled")


def files(session, url):
    folder, content = workspace(), bytes(range(256)) * 4096
    path = f"{url}/files/{folder}/deep/n%C3%B6tes%20%231.bin"
    put = session.put(path, data=content, timeout=PATIENCE)
    assert put.status_code == 200, put.text
    with httpx.Client(headers=session.headers) as client, client.stream("GET", path) as answer:
        got = b"".join(answer.iter_bytes())
        assert got == content and answer.headers["ETag"] == put.headers["ETag"], answer.headers
    part = session.get(path, headers={"Range": "bytes=256-259"}, timeout=PATIENCE)
    assert (part.status_code, part.content) == (206, b"\x00\x01\x02\x03"), part.status_code
    cached = session.get(path, headers={"If-None-Match": put.headers["ETag"]}, timeout=PATIENCE)
    assert cached.status_code == 304, cached.status_code
    stale = session.put(path, data=b"x", headers={"If-Match": '"other"'}, timeout=PATIENCE)
    assert stale.status_code == 412, stale.text
    entries = session.get(f"{url}/files/{folder}/deep", timeout=PATIENCE).json()["entries"]
    assert [(entry["name"], entry["size"]) for entry in entries] == [("nötes #1.bin", len(content))], entries
    assert session.delete(path, timeout=PATIENCE).status_code == 200
    step("requests and httpx: a file is written, read, read in part, listed and deleted")


def reconnects(url, token):
    """A client that loses the connection in the middle goes on after the last event it has, as browsers do."""
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(headers=headers, timeout=PATIENCE) as client:
        body = {"prompt": "offline:slow 1", "workspace": workspace(), "createWorkspace": True, "async": True}
        run = client.post(f"{url}/run", json=body).json()["runId"]
        address, seen = f"{url}/runs/{run}/events", []
        with connect_sse(client, "GET", address) as source:
            for event in source.iter_sse():
                seen.append(event)
                break
        with connect_sse(client, "GET", address, headers={"Last-Event-ID": seen[-1].id}) as source:
            seen += source.iter_sse()
        assert seen[-1].event == "end" and seen[-1].json()["state"] == "succeeded", seen[-1]
        with connect_sse(client, "GET", address) as source:
            whole = list(source.iter_sse())
    assert [(event.id, event.data) for event in seen] == [(event.id, event.data) for event in whole]
    assert len(seen) > 2, seen
    step(f"httpx-sse: a broken stream goes on where it broke ({len(seen)} events, none twice, none lost)")
    answer = requests.get(address, headers=headers, stream=True, timeout=PATIENCE)
    events = list(sseclient.SSEClient(answer).events())
    assert [event.data for event in events] == [event.data for event in whole], events
    step("sseclient: reads the same events")


def streamed(url, token):
    body = {"prompt": "hello", "workspace": workspace(), "createWorkspace": True, "stream": True}
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(headers=headers, timeout=PATIENCE) as client, client.stream("POST", f"{url}/run", json=body) as answer:
        assert answer.headers["Content-Type"] == "application/x-ndjson", answer.headers
        lines = [line for line in answer.iter_lines() if line]
    assert '"type":"run"' in lines[0] and '"type":"end"' in lines[-1], lines
    step("httpx: a run is streamed, one JSON object per line")


def refused(url):
    answer = requests.post(f"{url}/run", json={"prompt": "hello"}, timeout=PATIENCE)
    assert answer.status_code == 401 and answer.json()["code"] == "unauthorized", answer.text
    assert answer.headers["WWW-Authenticate"] == "Bearer", answer.headers
    step("requests: nobody without the token")


def main():
    url, token = sys.argv[1:]
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {token}"
    refused(url)
    synchronous(session, url)
    polled(session, url)
    cancelled(session, url)
    files(session, url)
    reconnects(url, token)
    streamed(url, token)


if __name__ == "__main__":
    try:
        main()
    except AssertionError as error:
        print(f"not ok - {error}", file=sys.stderr)
        raise
