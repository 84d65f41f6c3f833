"""Callers from outside, with a token for one workspace or with none. Their bodies run outside and get the case."""

import json

from attack import after, attack


def ask(case, method, path, body=None, token="limited-token", **options):
    status, text = case.box.ask(method, path, body, token=case.secrets[token] if token else "none", **options)
    return f"{status} {text}"


@attack("files-of-others", "H5b", after(lambda case: case.secrets["neighbour"] in case.output), phase="operator")
def _(case):
    """A file of another workspace, by the API, in several spellings."""
    return "".join(ask(case, "GET", f"/files/{path}") for path in (
        "neighbour/secret", "limited/../neighbour/secret", "limited/%2e%2e/neighbour/secret", "limited//../neighbour/secret", "./neighbour/secret"))


@attack("hooks-by-upload", "H5b", after(lambda case: case.box.path("/workspaces/neighbour/.claude/uploaded.json").exists()), phase="operator")
def _(case):
    """Settings put into another workspace."""
    return ask(case, "PUT", "/files/neighbour/.claude/uploaded.json", {}) + ask(case, "PUT", "/files/limited/../neighbour/.claude/uploaded.json", {})


@attack("run-elsewhere", "H5b", after(lambda case: case.output.startswith("2")), phase="operator")
def _(case):
    """A run in another workspace."""
    return ask(case, "POST", "/run", {"prompt": '{"attacks": {}}', "workspace": "neighbour", "async": True})


@attack("session-of-others", "H5a", after(lambda case: not any(refusal in case.output for refusal in ("session_not_found", "404 ", "403 "))), phase="operator")
def _(case):
    """Another workspace's session, resumed by its id."""
    return ask(case, "POST", "/run", {"prompt": '{"attacks": {}}', "workspace": "limited", "createWorkspace": True, "resume": case.session})


@attack("fork-of-others", "H5a", after(lambda case: not any(refusal in case.output for refusal in ("session_not_found", "404 ", "403 "))), phase="operator")
def _(case):
    """A copy of another workspace's session."""
    return ask(case, "POST", "/run", {"prompt": '{"attacks": {}}', "workspace": "limited", "createWorkspace": True, "resume": case.session, "forkSession": True})


@attack("runs-of-others", "H5a", after(lambda case: case.secrets["victim"] in case.output or '"workspace":"/workspaces/victim"' in case.output), phase="operator")
def _(case):
    """Another token's runs: their list, results, events."""
    return "".join(ask(case, "GET", path) for path in ("/runs?limit=100", f"/runs/{case.victim_run}", f"/run/result?runId={case.victim_run}",
                                                       f"/runs/{case.victim_run}/events", "/status", "/metrics"))


@attack("cancel-others", "H5a", after(lambda case: case.victim_ended()), phase="operator")
def _(case):
    """Another token's run, cancelled."""
    return ask(case, "DELETE", f"/runs/{case.victim_run}") + ask(case, "POST", f"/run/cancel?runId={case.victim_run}") \
        + ask(case, "POST", "/run/cancel?workspace=victim")


@attack("no-token", "H1", after(lambda case: case.output.startswith("2")), phase="operator")
def _(case):
    """A run for nobody."""
    return ask(case, "POST", "/run", {"prompt": "{}", "workspace": "limited"}, token=None)


@attack("budget-by-queue", "H6", after(lambda case: case.accepted > 2), phase="operator")
def _(case):
    """Many runs of 0.50 under a limit of 1 USD a day, of a token with that limit."""
    case.accepted = 0
    for number in range(10):
        answer = ask(case, "POST", "/run", {"prompt": '{"victim": ""}', "workspace": f"poor-{number}", "createWorkspace": True, "async": True, "maxBudgetUsd": 0.5},
                     token="poor-token")
        case.accepted += answer.startswith("2")
    return str(case.accepted)


@attack("others-on-the-machine", "M2", after(lambda case: bool(case.output)), phase="operator")
def _(case):
    """What other users of the machine can read of the state: a ledger, a log, a history."""
    found = [str(path) for path in case.in_state() if path.is_file() and path.stat().st_mode & 0o004 and case.open_to_all(path)]
    return "\n".join(found)


@attack("host-in-brackets", "L", after(lambda case: case.output.startswith("2")), phase="operator")
def _(case):
    """A Host of `[::1]x`, which is no local name, where there is no token."""
    import http.client

    import world

    peer = http.client.HTTPConnection(world.BOX, 8080, timeout=5)
    peer.putrequest("GET", "/status", skip_host=True)
    peer.putheader("Host", "[::1]x")
    peer.putheader("Authorization", f"Bearer {case.secrets['door-token']}")
    peer.endheaders()
    answer = peer.getresponse()
    return f"{answer.status} {answer.read()[:200]!r}"
