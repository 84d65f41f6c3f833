#!/usr/bin/env python3
"""The page of a running claudebox, in a real browser.

    page.py URL TOKEN [--browser /usr/bin/chromium] [--screenshots FOLDER]

The box must answer with the offline model (CLAUDEBOX_OFFLINE=1). Needs playwright from PyPI and a Chromium. Each step
prints a line; the first that fails ends the script with status 1.
"""

import argparse
import json
import os
import re
import sys
import tempfile
import uuid

from playwright.sync_api import expect, sync_playwright

LABEL = "[claudebox offline model]"
# The model takes ten minutes to say its answer, so that there is something to cancel.
SLOW = "offline:slow 600"


class Watch:
    """What the browser complains of, and where it sends requests."""

    def __init__(self, page, origin):
        self.origin = origin
        self.complaints = []
        self.abroad = []
        page.on("console", self.console)
        page.on("pageerror", lambda error: self.complaints.append(f"uncaught: {error}"))
        page.on("request", self.request)
        # A violation is in the console as well; the event says which directive.
        page.expose_function("reportViolation", lambda text: self.complaints.append(f"policy: {text}"))
        page.add_init_script(
            "document.addEventListener('securitypolicyviolation',"
            " (event) => window.reportViolation(`${event.violatedDirective} ${event.blockedURI}`));"
        )

    def console(self, message):
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.type}: {message.text}")

    def request(self, request):
        if not request.url.startswith((self.origin + "/", "data:", f"blob:{self.origin}/")):
            self.abroad.append(request.url)

    def forget(self):
        self.complaints.clear()

    def assert_clean(self):
        assert not self.complaints, self.complaints
        assert not self.abroad, self.abroad


def step(text):
    print(f"ok - {text}", flush=True)


def shot(page, folder, name):
    if folder:
        page.screenshot(path=os.path.join(folder, f"{name}.png"), full_page=True)


def enter_token(page, watch, token):
    page.goto(watch.origin + "/")
    if token:
        # Before the token, one call is refused, and the browser writes that down.
        expect(page.locator("#status")).to_contain_text("enter the token")
        page.get_by_label("Token").fill("another")
        page.get_by_role("button", name="Use").click()
        expect(page.locator("#problem")).to_contain_text("enter another token above")
        watch.forget()
        page.get_by_label("Token").fill(token)
        page.get_by_role("button", name="Use").click()
        expect(page.locator("#problem")).to_be_hidden()
    expect(page.locator("#status")).to_contain_text("active")
    step("a wrong token is refused aloud, the right one opens the console")


def follows_a_link(browser, origin, token):
    page = browser.new_context().new_page()
    page.goto(f"{origin}/#token={token}")
    expect(page.locator("#status")).to_contain_text("active")
    assert page.url == f"{origin}/", page.url
    page.context.close()
    step("a link with the token signs in, and the address keeps nothing of it")


def run_prompt(page, workspace, prompt):
    page.get_by_label("Workspace").fill(workspace)
    page.get_by_label("Prompt").fill(prompt)
    # By keyboard: it must do without a mouse.
    page.get_by_label("Prompt").press("Control+Enter")


def answers(page, workspace):
    run_prompt(page, workspace, "say <b>hello</b>")
    expect(page.locator("#events .answer").last).to_contain_text(LABEL)
    expect(page.locator("#offline")).to_be_visible()
    expect(page.locator("#cancel")).to_be_hidden()
    expect(page.locator("#run-facts .state.good")).to_be_visible()
    page.reload()
    expect(page.locator("#status")).to_contain_text("no runs are active")
    page.locator("#runs button").first.click()
    # The prompt comes back as text. As markup, there would be an element of it.
    expect(page.locator("#run-prompt")).to_have_text("say <b>hello</b>")
    assert page.locator("#run-panel b").count() == 0
    step("a prompt is answered, and the answer says that the offline model gave it")


def cancels(page, workspace):
    run_prompt(page, workspace, SLOW)
    expect(page.locator("#cancel")).to_be_visible()
    page.locator("#cancel").click()
    expect(page.locator("#cancel")).to_be_hidden()
    expect(page.locator("#run-facts .state")).to_contain_text("cancel")
    step("a run is cancelled")


def recent(page, workspace):
    entry = page.locator("#runs button", has_text=workspace).last
    entry.click()
    expect(page.locator("#run-facts")).to_contain_text(workspace)
    expect(page.locator("#events .answer").last).to_contain_text(LABEL)
    step("an earlier run is opened from the list")


def files(page, workspace):
    content = f"made at {uuid.uuid4()}\n"
    name = "nötes & <i>#1?.txt"
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(content)
        page.locator("#crumbs").get_by_role("button", name="workspaces").click()
        page.locator("#files").get_by_role("button", name=f"{workspace}/").click()
        page.locator("#upload").set_input_files(path)
        expect(page.locator("#upload-state")).to_contain_text("is uploaded")
        entry = page.locator("#files button", has_text=name)
        expect(entry).to_be_visible()
        with page.expect_download() as download:
            entry.click()
        with open(download.value.path(), encoding="utf-8") as file:
            assert file.read() == content
    step("files are listed, uploaded and downloaded, whatever their name")


def sub_agent(page, workspace):
    run_prompt(page, workspace, "offline:agent offline:tool echo from within")
    expect(page.locator("#run-facts .state.good")).to_be_visible()
    # Claude may say something between two passages of a sub-agent: each of them has one heading.
    heading = re.compile("^Sub-agent$")
    first = page.locator("#events > li:not(.agent) + li.agent")
    expect(first.first).to_have_text(heading)
    expect(first.filter(has_not_text=heading)).to_have_count(0)
    expect(page.locator("#events > li.agent + li.agent").filter(has_text=heading)).to_have_count(0)
    expect(page.locator("#events .answer.agent").last).to_contain_text("from within")
    # The answer is not the sub-agent's, and a session that goes on with its report has begun once.
    expect(page.locator("#events > li").last).not_to_have_class("answer agent")
    expect(page.locator("#events > li", has_text="Session started")).to_have_count(1)
    step("what a sub-agent says is set apart")


def problem(page):
    page.get_by_label("Workspace").fill("../outside")
    page.get_by_label("Prompt").fill("hello")
    with page.expect_response(lambda response: response.url.endswith("/run")) as answer:
        page.get_by_role("button", name="Run", exact=True).click()
    body = answer.value.json()
    assert answer.value.status >= 400, body
    expect(page.locator("#problem")).to_have_text(f"{body['detail']} ({body['code']})")
    step("what the API refuses is shown as it says it")


def api(page, watch):
    document = json.loads(page.request.get(watch.origin + "/openapi.json", headers=authorization).text())
    page.goto(watch.origin + "/docs")
    expect(page.locator(".operation").first).to_be_visible()
    methods = ("get", "head", "post", "put", "patch", "delete", "options")
    operations = sum(1 for item in document["paths"].values() for method in methods if method in item)
    expect(page.locator(".operation")).to_have_count(operations)
    for entry in page.locator(".operation").all():
        entry.locator("summary").first.click()
        expect(entry.locator(".copy pre")).to_contain_text("curl -X ")
    page.get_by_label("Filter").fill("post /run")
    expect(page.locator(".operation:visible").first).to_contain_text("/run")
    assert page.locator(".operation:visible").count() < operations
    step(f"all {operations} operations of the API are described, each with an example")


def fits_a_phone(browser, watch, token, folder):
    phone = browser.new_context(viewport={"width": 360, "height": 740}, color_scheme="dark")
    page = phone.new_page()
    page.add_init_script(f"sessionStorage.setItem('claudebox-token', {json.dumps(token)})")
    for view in ("#console", "#api"):
        page.goto(f"{watch.origin}/{view}")
        if view == "#api":
            expect(page.locator(".operation").first).to_be_visible()
            for entry in page.locator(".operation").all():
                entry.locator("summary").first.click()
        else:
            page.locator("#runs button").first.click()
            expect(page.locator("#events li").first).to_be_visible()
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 360, f"{view} is {wide} pixels wide"
        shot(page, folder, f"phone-{view[1:]}")
    phone.close()
    step("both views fit 360 pixels")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("token")
    parser.add_argument("--browser", default="/usr/bin/chromium")
    parser.add_argument("--screenshots")
    given = parser.parse_args()
    origin = given.url.rstrip("/")
    workspace = f"page-{uuid.uuid4().hex[:8]}"
    global authorization
    authorization = {"Authorization": f"Bearer {given.token}"} if given.token else {}
    with sync_playwright() as playwright:
        # Chromium's sandbox needs a user that is not root.
        browser = playwright.chromium.launch(
            executable_path=given.browser, args=["--no-sandbox"] if os.geteuid() == 0 else []
        )
        page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
        page.set_default_timeout(30_000)
        expect.set_options(timeout=30_000)
        watch = Watch(page, origin)
        enter_token(page, watch, given.token)
        follows_a_link(browser, origin, given.token)
        answers(page, workspace)
        shot(page, given.screenshots, "console")
        cancels(page, workspace)
        recent(page, workspace)
        files(page, workspace)
        shot(page, given.screenshots, "files")
        sub_agent(page, workspace)
        watch.assert_clean()
        problem(page)
        # The call that was refused is in the console, and nothing else may be.
        assert all("status of 4" in text for text in watch.complaints), watch.complaints
        watch.forget()
        api(page, watch)
        shot(page, given.screenshots, "api")
        watch.assert_clean()
        step("no request left the origin, no policy was violated, the console is empty")
        fits_a_phone(browser, watch, given.token, given.screenshots)
        browser.close()


if __name__ == "__main__":
    try:
        main()
    except AssertionError as error:
        print(f"not ok - {error}", file=sys.stderr)
        sys.exit(1)
