"""The first version of the Python SDK against a running claudebox, in sessions.

Usage: client_1.py API TOKEN, with API such as http://127.0.0.1:8083: a box with the real CLI and the offline model.
"""

import asyncio
import sys
from contextlib import asynccontextmanager
from datetime import timedelta

import httpx
from mcp import ClientSession, McpError
from mcp.client.streamable_http import streamablehttp_client
from mcp.types import CallToolRequest, CallToolRequestParams, CallToolResult, CancelledNotification
from mcp.types import CancelledNotificationParams, ClientNotification, ClientRequest

API, TOKEN = sys.argv[1:]
HEADERS = {"Authorization": f"Bearer {TOKEN}"}
LABEL = "[claudebox offline model] "
WORKSPACE = {"workspace": "python1", "create_workspace": True}


@asynccontextmanager
async def session(path="/mcp", headers=HEADERS):
    async with streamablehttp_client(API + path, headers=headers) as (read, write, _):
        async with ClientSession(read, write) as client:
            yield client, await client.initialize()


async def tools(path, headers):
    async with session(path, headers) as (client, server):
        assert server.serverInfo.name == "claudebox", server
        assert server.protocolVersion == "2025-11-25", server
        names = [tool.name for tool in (await client.list_tools()).tools]
        assert "claude_run" in names and len(names) == 8, names
        assert (await client.list_resources()).resources == []
        assert (await client.list_prompts()).prompts == []
        await client.send_ping()

        # The client checks every result against the tool's output schema.
        written = await client.call_tool("write_file", {"path": "python1/a.txt", "content": "grüße\n" * 9})
        assert written.structuredContent["size"] == 72, written
        pages, offset = "", 0
        while offset is not None:
            page = await client.call_tool("read_file", {"path": "python1/a.txt", "offset": offset, "limit": 10})
            pages += page.content[0].text
            offset = page.structuredContent.get("next_offset")
        assert pages == "grüße\n" * 9, pages
        listed = await client.call_tool("list_files", {"path": "python1"})
        assert [entry["name"] for entry in listed.structuredContent["entries"]] == ["a.txt"], listed
        await client.call_tool("delete_file", {"path": "python1/a.txt"})
        gone = await client.call_tool("read_file", {"path": "python1/a.txt"})
        assert gone.isError and "not_found" in gone.content[0].text, gone

        heard = []

        async def on_progress(progress, total, message):
            heard.append((progress, total, message))

        answer = await client.call_tool(
            "claude_run", {"prompt": "offline:tool echo one two", **WORKSPACE}, progress_callback=on_progress
        )
        assert not answer.isError and answer.structuredContent["outcome"] == "ok", answer
        assert [count for count, _, _ in heard] == list(range(1, len(heard) + 1)), heard
        assert "Bash: echo one two" in [message for _, _, message in heard], heard
        failed = await client.call_tool("claude_run", {"prompt": "offline:error 400", **WORKSPACE})
        assert failed.isError and failed.structuredContent["outcome"] == "model_error", failed
        form = {"type": "object", "properties": {"author": {"type": "string"}}, "required": ["author"]}
        answer = await client.call_tool("claude_run", {"prompt": "a book", "json_schema": form, **WORKSPACE})
        assert answer.structuredContent["structured_output"]["author"], answer
        for arguments, field in [({}, "prompt"), ({"prompt": "p", "effort": "huge"}, "effort")]:
            wrong = await client.call_tool("claude_run", arguments)
            assert wrong.isError and wrong.content[0].text.startswith(field), wrong


async def cancelled():
    async with session() as (client, _):
        # What the client's own timeout does: it gives up, and says so.
        name = {"name": "claude_run", "arguments": {"prompt": "offline:silent 600", **WORKSPACE}}
        request = ClientRequest(CallToolRequest(method="tools/call", params=CallToolRequestParams(**name)))
        number = client._request_id
        try:
            await client.send_request(request, CallToolResult, request_read_timeout_seconds=timedelta(seconds=2))
            raise AssertionError("it was answered")
        except McpError:
            pass
        runs = (await client.call_tool("run_status", {"workspace": "python1"})).structuredContent["runs"]
        assert runs[0]["state"] == "running", runs
        params = CancelledNotificationParams(requestId=number, reason="enough")
        await client.send_notification(
            ClientNotification(CancelledNotification(method="notifications/cancelled", params=params))
        )
        ended = await client.call_tool("run_result", {"run_id": runs[0]["run_id"], "wait_seconds": 30})
        assert ended.structuredContent["state"] == "cancelled", ended


async def background():
    async with session() as (client, _):
        begun = await client.call_tool("claude_run", {"prompt": "offline:slow 2", "background": True, **WORKSPACE})
        run = begun.structuredContent["run_id"]
    # The session is over, and the run is not.
    async with session() as (client, _):
        answer = await client.call_tool("run_result", {"run_id": run, "wait_seconds": 30})
        assert answer.structuredContent["state"] == "succeeded" and answer.content[0].text.startswith(LABEL), answer


async def refused(path, headers, status):
    try:
        async with session(path, headers):
            raise AssertionError(f"{path} {headers} was let in")
    except* httpx.HTTPStatusError as group:
        error = group.exceptions[0]
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        assert error.response.status_code == status, error


async def main():
    for path, headers in [("/mcp", HEADERS), ("/mcp/", HEADERS), (f"/mcp/?apiToken={TOKEN}", {})]:
        await tools(path, headers)
    await cancelled()
    await background()
    await refused("/mcp", {}, 401)
    await refused("/mcp/", {"Authorization": "Bearer wrong"}, 401)
    await refused("/mcp?apiToken=wrong", {}, 401)
    await refused("/mcp", {**HEADERS, "Host": "evil.example.com"}, 403)
    await refused("/mcp", {**HEADERS, "Origin": "https://evil.example.com"}, 403)
    async with session(headers={**HEADERS, "Host": "box.example.com"}) as (client, _):
        await client.list_tools()


asyncio.run(main())
print("mcp 1: passed")
