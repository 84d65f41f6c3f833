"""Python clients of the OpenAI protocol against a running claudebox: openai, litellm, langchain-openai, pydantic-ai.

Usage: clients.py API TOKEN, with API such as http://127.0.0.1:8082: a box with the real CLI and the offline model.
"""

import asyncio
import base64
import os
import sys
import time

# Before the imports: litellm would ask the network for its price list, pydantic-ai and langchain report to nobody.
os.environ.update(LITELLM_LOCAL_MODEL_COST_MAP="True", LANGSMITH_TRACING="false", OPENAI_API_KEY="unused")

import httpx  # noqa: E402
import litellm  # noqa: E402
import openai  # noqa: E402
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage  # noqa: E402
from langchain_openai import ChatOpenAI  # noqa: E402
from pydantic import BaseModel  # noqa: E402
from pydantic_ai import Agent, BinaryContent, NativeOutput  # noqa: E402
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel  # noqa: E402
from pydantic_ai.providers.openai import OpenAIProvider  # noqa: E402

API, TOKEN = sys.argv[1:]
litellm.suppress_debug_info = True
BASE = f"{API}/openai/v1"
LABEL = "[claudebox offline model] "
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
IMAGE = "data:image/png;base64," + base64.b64encode(PNG).decode()
HEADERS = {"X-Claude-Workspace": "python", "X-Claude-Create-Workspace": "1", "X-Claude-Busy": "queue"}


class Book(BaseModel):
    """What an answer in a form has."""

    author: str
    title: str


def user(text):
    return [{"role": "user", "content": text}]


def run(run_id):
    """A run, from the API beside the door."""
    return httpx.get(f"{API}/runs/{run_id}", headers={"Authorization": f"Bearer {TOKEN}"}).raise_for_status().json()


def runs():
    answer = httpx.get(f"{API}/runs?limit=500", headers={"Authorization": f"Bearer {TOKEN}"})
    return len(answer.raise_for_status().json()["runs"])


def same_usage(usage, run_id):
    """The usage a client has is the CLI's own."""
    used = run(run_id)["result"]["usage"]
    cached = used["cacheReadInputTokens"]
    assert usage.prompt_tokens == used["inputTokens"] + cached + used["cacheCreationInputTokens"], (usage, used)
    assert usage.completion_tokens == used["outputTokens"], (usage, used)
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert usage.prompt_tokens_details.cached_tokens == cached


def expect(error, status, call, code=None):
    """The call raises this exception, with this status and code."""
    try:
        call()
    except error as raised:
        assert raised.status_code == status, (raised.status_code, raised)
        assert code is None or raised.code == code, (raised.code, raised)
        return raised
    raise AssertionError(f"{error.__name__} was not raised")


def test_openai():
    client = openai.OpenAI(base_url=BASE, api_key=TOKEN, default_headers=HEADERS, max_retries=0)
    assert [model.id for model in client.models.list()][:3] == ["haiku", "sonnet", "opus"]
    assert client.models.retrieve("opus").id == "opus"

    raw = client.chat.completions.with_raw_response.create(model="haiku", messages=user("offline:echo hi"), seed=1)
    answer = raw.parse()
    assert answer.choices[0].message.content == LABEL + "hi"
    assert (answer.model, answer.choices[0].finish_reason) == ("haiku", "stop")
    same_usage(answer.usage, raw.headers["x-run-id"])

    raw = client.chat.completions.with_raw_response.create(
        model="openai/haiku", messages=user("offline:slow 1"), stream=True, stream_options={"include_usage": True}
    )
    chunks = list(raw.parse())
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == run(raw.headers["x-run-id"])["result"]["result"]
    assert {chunk.model for chunk in chunks} == {"openai/haiku"} and len(chunks) > 20
    same_usage(chunks[-1].usage, raw.headers["x-run-id"])

    messages = [{"role": "system", "content": "be brief"}, *user("offline:echo one")]
    for turn in ["two", "three"]:
        answer = client.chat.completions.create(model="haiku", messages=messages)
        messages += [answer.choices[0].message, *user(f"offline:echo {turn}")]
    answer = client.chat.completions.create(model="haiku", messages=messages)
    assert answer.choices[0].message.content == LABEL + "three"

    parts = [{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": IMAGE}}]
    answer = client.chat.completions.create(model="haiku", messages=user(parts))
    assert "Images received: 1. You said: look" in answer.choices[0].message.content

    parsed = client.chat.completions.parse(model="haiku", messages=user("a book"), response_format=Book)
    assert isinstance(parsed.choices[0].message.parsed, Book)


def test_openai_responses():
    client = openai.OpenAI(base_url=BASE, api_key=TOKEN, default_headers=HEADERS, max_retries=0)
    first = client.responses.create(model="haiku", input="offline:echo one", instructions="be brief")
    assert (first.output_text, first.status) == (LABEL + "one", "completed")
    assert first.usage.total_tokens == first.usage.input_tokens + first.usage.output_tokens
    second = client.responses.create(model="haiku", input="offline:echo two", previous_response_id=first.id)
    assert second.output_text == LABEL + "two"
    assert client.responses.retrieve(second.id).output_text == second.output_text
    with client.responses.stream(model="haiku", input="offline:slow 1") as stream:
        deltas = [event.delta for event in stream if event.type == "response.output_text.delta"]
        final = stream.get_final_response()
    assert "".join(deltas) == final.output_text and len(deltas) > 20
    parts = [{"type": "input_text", "text": "look"}, {"type": "input_image", "image_url": IMAGE, "detail": "auto"}]
    answer = client.responses.create(model="haiku", input=[{"role": "user", "content": parts}])
    assert "Images received: 1" in answer.output_text
    assert isinstance(client.responses.parse(model="haiku", input="a book", text_format=Book).output_parsed, Book)
    failed = client.responses.create(model="haiku", input="offline:cut", stream=True)
    assert [event.type for event in failed][-1] == "response.failed"


def test_openai_async():
    async def ask():
        client = openai.AsyncOpenAI(base_url=BASE, api_key=TOKEN, default_headers=HEADERS, max_retries=0)
        stream = await client.chat.completions.create(model="haiku", messages=user("offline:echo hi"), stream=True)
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    assert asyncio.run(ask()) == LABEL + "hi"


def test_openai_errors():
    def client(headers=None, **more):
        return openai.OpenAI(base_url=BASE, default_headers=HEADERS | (headers or {}), **{"api_key": TOKEN, "max_retries": 0} | more)

    def ask(prompt, model="haiku", headers=None, client=client(), **more):
        return lambda: client.chat.completions.create(model=model, messages=user(prompt), extra_headers=headers, **more)

    expect(openai.AuthenticationError, 401, ask("x", client=client(api_key="wrong")), "unauthorized")
    expect(openai.PermissionDeniedError, 403, ask("x", headers={"X-Claude-Workspace": "../up"}), "path_outside")
    missing = {"X-Claude-Workspace": "missing", "X-Claude-Create-Workspace": "0"}
    expect(openai.NotFoundError, 404, ask("x", headers=missing), "workspace_not_found")
    expect(openai.BadRequestError, 400, ask("x", n=2), "invalid_field")
    too_large = openai.APIStatusError
    expect(too_large, 413, ask("x" * (17 << 20)), "too_large")
    for streamed in [False, True]:
        expect(openai.NotFoundError, 404, ask("hi", model="gpt-4o", stream=streamed), "model_not_found")
        expect(openai.BadRequestError, 400, ask("offline:error 400", stream=streamed), "model_refused")
        expect(openai.BadRequestError, 400, ask("offline:error 500", stream=streamed), "run_failed")
        expect(openai.BadRequestError, 400, ask("offline:silent 60", stream=streamed), "run_hung")
        limited = expect(openai.RateLimitError, 429, ask("offline:error 429 60", stream=streamed), "run_rate_limited")
        assert int(limited.response.headers["retry-after"]) > 0
    # In the middle of a stream.
    try:
        list(ask("offline:cut", stream=True)())
        raise AssertionError("a cut stream is no answer")
    except openai.APIError as error:
        assert "run" in str(error.code), error

    with client().chat.completions.create(model="haiku", messages=user("offline:slow 60"), stream=True) as held:
        next(iter(held))
        busy = expect(openai.ConflictError, 409, ask("x", headers={"X-Claude-Busy": "reject"}), "workspace_busy")
        assert busy.body["runId"]
    # What a run has done is not done again because a library asks again by itself.
    before = runs()
    expect(openai.BadRequestError, 400, ask("offline:error 500", client=client(max_retries=2)))
    assert runs() == before + 1


def test_litellm():
    def ask(messages, **more):
        settings = {"model": "openai/haiku", "api_base": BASE, "api_key": TOKEN, "num_retries": 0, "max_retries": 0}
        return litellm.completion(messages=messages, extra_headers=HEADERS, **settings | more)

    answer = ask(user("offline:echo hi"))
    assert answer.choices[0].message.content == LABEL + "hi"
    assert answer.usage.completion_tokens > 0
    chunks = list(ask(user("offline:slow 1"), stream=True, stream_options={"include_usage": True}))
    assert len(chunks) > 20
    whole = litellm.stream_chunk_builder(chunks)
    assert whole.choices[0].message.content.startswith(LABEL + "Counting slowly"), whole
    assert whole.usage.completion_tokens > 0
    conversation = [*user("offline:echo one"), {"role": "assistant", "content": LABEL + "one"}, *user("offline:echo two")]
    assert ask(conversation).choices[0].message.content == LABEL + "two"
    parts = [{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": IMAGE}}]
    assert "Images received: 1" in ask(user(parts)).choices[0].message.content
    expect(litellm.AuthenticationError, 401, lambda: ask(user("x"), api_key="wrong"))
    expect(litellm.NotFoundError, 404, lambda: ask(user("x"), model="openai/gpt-4o"))
    expect(litellm.RateLimitError, 429, lambda: ask(user("offline:error 429 60")))
    expect(litellm.BadRequestError, 400, lambda: ask(user("offline:error 400")))


def test_langchain():
    model = ChatOpenAI(model="haiku", base_url=BASE, api_key=TOKEN, default_headers=HEADERS, max_retries=0)
    conversation = [SystemMessage("be brief"), HumanMessage("offline:echo one")]
    answer = model.invoke(conversation)
    assert answer.content == LABEL + "one" and answer.usage_metadata["output_tokens"] > 0
    conversation += [AIMessage(answer.content), HumanMessage("offline:echo two")]
    assert model.invoke(conversation).content == LABEL + "two"
    chunks = list(model.stream("offline:slow 1", stream_usage=True))
    assert "Counting slowly" in "".join(chunk.content for chunk in chunks) and len(chunks) > 20
    assert sum((chunk.usage_metadata or {}).get("output_tokens", 0) for chunk in chunks) > 0
    parts = [{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": IMAGE}}]
    assert "Images received: 1" in model.invoke([HumanMessage(parts)]).content
    assert isinstance(model.with_structured_output(Book, method="json_schema").invoke("a book"), Book)
    expect(openai.NotFoundError, 404, lambda: model.bind(model="gpt-4o").invoke("x"))
    responses = ChatOpenAI(
        model="haiku", base_url=BASE, api_key=TOKEN, default_headers=HEADERS, max_retries=0, use_responses_api=True
    )
    assert responses.invoke("offline:echo hi").text == LABEL + "hi"


def test_pydantic_ai():
    client = openai.AsyncOpenAI(base_url=BASE, api_key=TOKEN, default_headers=HEADERS, max_retries=0)
    provider = OpenAIProvider(openai_client=client)

    async def ask(model):
        agent = Agent(model, instructions="be brief")
        first = await agent.run("offline:echo one")
        assert first.output == LABEL + "one" and first.usage.output_tokens > 0
        second = await agent.run("offline:echo two", message_history=first.all_messages())
        assert second.output == LABEL + "two"
        async with agent.run_stream("offline:slow 1") as streamed:
            pieces = [piece async for piece in streamed.stream_text(delta=True, debounce_by=None)]
        assert "Counting slowly" in "".join(pieces) and len(pieces) > 10, pieces
        image = await agent.run(["look", BinaryContent(PNG, media_type="image/png")])
        assert "Images received: 1" in image.output
        form = await Agent(model, output_type=NativeOutput(Book)).run("a book")
        assert isinstance(form.output, Book)

    async def both():
        await ask(OpenAIChatModel("haiku", provider=provider))
        await ask(OpenAIResponsesModel("haiku", provider=provider))

    asyncio.run(both())


if __name__ == "__main__":
    for name, test in list(globals().items()):
        if name.startswith("test_"):
            began = time.monotonic()
            test()
            print(f"{name[5:]}: passed ({time.monotonic() - began:.1f} s)", flush=True)
