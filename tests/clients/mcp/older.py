"""An older release of the Python SDK against a running claudebox: each message has to be one that it can read.

Usage: older.py API TOKEN, with API such as http://127.0.0.1:8083: a box with the real CLI and the offline model.
"""

import asyncio
import logging
import sys

from mcp import ClientSession
from mcp.client.streamable_http import streamablehttp_client

API, TOKEN = sys.argv[1:]
HEADERS = {"Authorization": f"Bearer {TOKEN}"}


class Complaints(logging.Handler):
    """What the SDK complains about: it logs what it cannot read, and goes on."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.texts = []

    def emit(self, record):
        self.texts.append(self.format(record))


async def main():
    complaints = Complaints()
    logging.getLogger().addHandler(complaints)
    errors = []

    async def on_message(message):
        if isinstance(message, Exception):
            errors.append(message)

    async with streamablehttp_client(API + "/mcp", headers=HEADERS) as (read, write, _):
        async with ClientSession(read, write, message_handler=on_message) as client:
            assert (await client.initialize()).protocolVersion == "2025-06-18"
            assert len((await client.list_tools()).tools) == 8
            prompt = {"prompt": "offline:tool echo one two", "workspace": "older", "create_workspace": "true"}
            answer = await client.call_tool("claude_run", prompt)
            assert not answer.isError and answer.structuredContent["outcome"] == "ok", answer
            wrong = await client.call_tool("claude_run", {"prompt": "p", "effort": "huge"})
            assert wrong.isError and wrong.content[0].text.startswith("effort: "), wrong
    assert not errors and not complaints.texts, (errors, complaints.texts)
    print("ok - an older release of the Python SDK reads every message")


asyncio.run(main())
