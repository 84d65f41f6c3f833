#!/usr/bin/env python3
"""Screenshots of the console page: page.py FOLDER, within scripts/sealed.

The runs are made through the page's own server; what the clock or chance decides (times, ids) is replaced on its way to
the browser, so the same code gives the same pictures.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import urllib.request

import surroundings
from playwright.sync_api import expect, sync_playwright

ORIGIN, TOKEN = "http://127.0.0.1:8080", "a-token-of-the-pictures"
# The last one that ends is the one that is shown.
RUNS = [
    {"workspace": "site", "prompt": "explain this codebase"},
    {"workspace": "import", "prompt": "offline:error 400"},
    {"workspace": "shop", "prompt": "offline:agent offline:tool printf 'orders\\nreturns\\n' | tee topics.txt", "model": "sonnet"},
]
RUNNING = {"workspace": "report", "prompt": "offline:slow 600", "async": True}
BEGIN, MINUTES_BETWEEN = (2026, 3, 2, 9, 30), 4
TIME = re.compile(r"^\d{4}-\d\d-\d\dT[\d:.]+(Z|\+00:00)$")


def ask(method, path, body=None):
    request = urllib.request.Request(ORIGIN + path, method=method, data=json.dumps(body).encode() if body else None)
    request.add_header("Authorization", f"Bearer {TOKEN}")
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=surroundings.DEADLINE_S) as answer:
        return json.load(answer)


def runs():
    ids = [ask("POST", "/run", {"createWorkspace": True, **run})["runId"] for run in RUNS]
    ids.append(ask("POST", "/run", {"createWorkspace": True, **RUNNING})["runId"])
    surroundings.until("a run that works", lambda: ask("GET", f"/runs/{ids[-1]}")["state"] == "running")
    return ids


def fixed(value, ids, minute=0):
    """The same answer with times and ids that are always the same."""
    if isinstance(value, dict):
        if value.get("runId") in ids:
            minute = ids.index(value["runId"]) * MINUTES_BETWEEN
        return {name: fixed(part, ids, minute) for name, part in value.items()}
    if isinstance(value, list):
        return [fixed(part, ids, minute) for part in value]
    if isinstance(value, str) and TIME.match(value):
        year, month, day, hour, first = BEGIN
        return f"{year}-{month:02}-{day:02}T{hour:02}:{first + minute:02}:00Z"
    if value in ids:
        return f"01982f6a-4c00-7{ids.index(value):03}-8a5e-0c1d2e3f4a5b"
    return value


def answer(route, ids):
    request = route.request
    back = {f"01982f6a-4c00-7{at:03}-8a5e-0c1d2e3f4a5b": one for at, one in enumerate(ids)}
    url = request.url
    for shown, real in back.items():
        url = url.replace(shown, real)
    response = route.fetch(url=url)
    if "json" in response.headers.get("content-type", ""):
        route.fulfill(response=response, body=json.dumps(fixed(response.json(), ids)))
    elif "event-stream" in response.headers.get("content-type", ""):
        # Of a run that has ended, so it ends, too.
        said = re.sub(r"^data: (.*)$", lambda line: "data: " + json.dumps(fixed(json.loads(line[1]), ids)), response.text(), flags=re.M)
        route.fulfill(response=response, body=said)
    else:
        route.fulfill(response=response)


def pictures(folder, ids):
    browser_path = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox", "--font-render-hinting=none"])
        for scheme in "light", "dark":
            context = browser.new_context(
                viewport={"width": 1180, "height": 800}, color_scheme=scheme, locale="en-GB", timezone_id="UTC", reduced_motion="reduce"
            )
            page = context.new_page()
            page.route("**/*", lambda route: answer(route, ids))
            page.goto(f"{ORIGIN}/#token={TOKEN}")
            page.locator("#runs button", has_text="shop").click()
            expect(page.locator("#run-facts .state.good")).to_be_visible(timeout=surroundings.DEADLINE_S * 1000)
            page.locator("#files").get_by_role("button", name="shop/").click()
            expect(page.locator("#files")).to_contain_text("topics.txt")
            expect(page.locator("#status")).to_contain_text("1 run is active")
            page.evaluate("window.scrollTo(0, 0); document.activeElement.blur()")
            page.screenshot(path=folder / f"console-{scheme}.png", full_page=True, animations="disabled", caret="hide")
            context.close()
        browser.close()


def main():
    surroundings.make()
    subprocess.run(
        ["claudebox", "up", "api"], cwd=surroundings.HOME / "projects", check=True, stdout=sys.stderr,
        env={**os.environ, "CLAUDEBOX_MODE_API_TOKEN": TOKEN},
    )
    surroundings.until("the API", ready)
    pictures(pathlib.Path(sys.argv[1]), runs())


def ready():
    try:
        return ask("GET", "/ready")
    except OSError:
        return None


main()
