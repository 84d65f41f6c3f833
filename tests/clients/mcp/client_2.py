"""The second version of the Python SDK against a running claudebox: without a session (2026-07-28), and in one.

Usage: client_2.py API TOKEN, with API such as http://127.0.0.1:8083: a box with the real CLI and the offline model.
"""

import asyncio
import sys
from contextlib import asynccontextmanager

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

API, TOKEN = sys.argv[1:]
HEADERS = {"Authorization": f"Bearer {TOKEN}"}
WORKSPACE = {"workspace": "python2", "create_workspace": True}


@asynccontextmanager
async def client(path="/mcp", mode="auto", headers=HEADERS):
    async with httpx2.AsyncClient(headers=headers, timeout=60) as http:
        async with Client(streamable_http_client(API + path, http_client=http), mode=mode) as connected:
            yield connected


async def tools(path, mode, version):
    async with client(path, mode) as box:
        assert (box.protocol_version, box.server_info.name) == (version, "claudebox"), box.server_info
        names = [tool.name for tool in (await box.list_tools()).tools]
        assert "claude_run" in names and len(names) == 8, names
        assert (await box.list_resources()).resources == [] and (await box.list_prompts()).prompts == []
        written = await box.call_tool("write_file", {"path": "python2/a.bin", "content": "AP8=", "encoding": "base64"})
        assert written.structured_content["size"] == 2, written
        binary = await box.call_tool("read_file", {"path": "python2/a.bin"})
        assert binary.structured_content["binary"] is True, binary
        heard = []

        async def on_progress(progress, total, message):
            heard.append(message)

        run = {"prompt": "offline:tool echo one two", **WORKSPACE}
        answer = await box.call_tool("claude_run", run, progress_callback=on_progress)
        assert not answer.is_error and answer.structured_content["outcome"] == "ok", answer
        assert "Bash: echo one two" in heard, heard
        failed = await box.call_tool("claude_run", {"prompt": "offline:error 400", **WORKSPACE})
        assert failed.is_error and failed.structured_content["outcome"] == "model_error", failed
        wrong = await box.call_tool("claude_run", {"prompt": "p", "effort": "huge"})
        assert wrong.is_error and "effort" in wrong.content[0].text, wrong


async def abandoned(mode):
    """A call that is given up ends its run, in a session and without one."""
    async with client(mode=mode) as box:
        silent = {"prompt": "offline:silent 600", **WORKSPACE}
        call = asyncio.create_task(box.call_tool("claude_run", silent))
        runs = []
        while not (runs and runs[0]["state"] == "running"):
            await asyncio.sleep(0.1)
            runs = (await box.call_tool("run_status", {"workspace": "python2"})).structured_content["runs"]
        call.cancel()
        ended = await box.call_tool("run_result", {"run_id": runs[0]["run_id"], "wait_seconds": 30})
        assert ended.structured_content["state"] == "cancelled", ended


async def refused(path, headers):
    try:
        async with client(path, headers=headers):
            pass
    except Exception:  # noqa: BLE001 (each transport has its own)
        return
    raise AssertionError(f"{path} {headers} was let in")


async def main():
    await tools("/mcp", "auto", "2026-07-28")
    await tools("/mcp/", "legacy", "2025-11-25")
    for mode in ["auto", "legacy"]:
        await abandoned(mode)
    await refused("/mcp", {})
    await refused("/mcp/", {"Authorization": "Bearer wrong"})
    await refused("/mcp", {**HEADERS, "Host": "evil.example.com"})
    async with client(f"/mcp?apiToken={TOKEN}", headers={}) as box:
        await box.list_tools()


asyncio.run(main())
print("mcp 2: passed")
