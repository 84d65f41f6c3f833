// Node's clients of the OpenAI protocol against a running claudebox: openai, Vercel's ai with @ai-sdk/openai-compatible
// and @ai-sdk/openai, LangChain.
//
// Usage: node clients.mjs API TOKEN, with API such as http://127.0.0.1:8082: a box with the real CLI and the offline
// model.

import assert from "node:assert/strict";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { ChatOpenAI } from "@langchain/openai";
import { APICallError, generateObject, generateText, jsonSchema, streamText, tool } from "ai";
import OpenAI from "openai";

const [api, token] = process.argv.slice(2);
const baseURL = `${api}/openai/v1`;
const label = "[claudebox offline model] ";
const png =
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
const image = `data:image/png;base64,${png}`;
const headers = { "X-Claude-Workspace": "node", "X-Claude-Create-Workspace": "1", "X-Claude-Busy": "queue" };
const book = {
  type: "object",
  properties: { author: { type: "string" }, title: { type: "string" } },
  required: ["author", "title"],
  additionalProperties: false,
};
const user = (content) => [{ role: "user", content }];

// The usage a client has is the CLI's own.
async function sameUsage(usage, runId) {
  const answer = await fetch(`${api}/runs/${runId}`, { headers: { Authorization: `Bearer ${token}` } });
  const used = (await answer.json()).result.usage;
  assert.equal(usage.prompt_tokens, used.inputTokens + used.cacheReadInputTokens + used.cacheCreationInputTokens);
  assert.equal(usage.completion_tokens, used.outputTokens);
}

async function openai() {
  const client = new OpenAI({ baseURL, apiKey: token, defaultHeaders: headers, maxRetries: 0 });
  const ask = (content, more) => client.chat.completions.create({ model: "haiku", messages: user(content), ...more });
  assert.equal((await client.models.list()).data[0].id, "haiku");

  const { data, response } = await ask("offline:echo hi").withResponse();
  assert.equal(data.choices[0].message.content, `${label}hi`);
  await sameUsage(data.usage, response.headers.get("x-run-id"));

  const streamed = await ask("offline:slow 1", { stream: true, stream_options: { include_usage: true } }).withResponse();
  const chunks = [];
  for await (const chunk of streamed.data) chunks.push(chunk);
  assert.ok(chunks.length > 20, `${chunks.length} chunks`);
  await sameUsage(chunks.at(-1).usage, streamed.response.headers.get("x-run-id"));

  const conversation = [...user("offline:echo one"), { role: "assistant", content: `${label}one` }, ...user("offline:echo two")];
  const second = await client.chat.completions.create({ model: "haiku", messages: conversation });
  assert.equal(second.choices[0].message.content, `${label}two`);

  const seen = await ask([{ type: "text", text: "look" }, { type: "image_url", image_url: { url: image } }]);
  assert.match(seen.choices[0].message.content, /Images received: 1/);

  const first = await client.responses.create({ model: "haiku", input: "offline:echo one" });
  assert.equal(first.output_text, `${label}one`);
  const next = await client.responses.create({ model: "haiku", input: "offline:echo two", previous_response_id: first.id });
  assert.equal(next.output_text, `${label}two`);
  const kinds = [];
  for await (const event of await client.responses.create({ model: "haiku", input: "offline:slow 1", stream: true })) {
    kinds.push(event.type);
  }
  assert.equal(kinds.at(-1), "response.completed");

  const wrong = new OpenAI({ baseURL, apiKey: "wrong", maxRetries: 0 });
  await assert.rejects(wrong.models.list(), OpenAI.AuthenticationError);
  await assert.rejects(ask("hi", { model: "gpt-4o" }), OpenAI.NotFoundError);
  await assert.rejects(ask("x", { n: 2 }), OpenAI.BadRequestError);
  await assert.rejects(ask("offline:error 400"), OpenAI.BadRequestError);
  await assert.rejects(ask("offline:error 429 60", { stream: true }), OpenAI.RateLimitError);
  await assert.rejects(ask("offline:error 500"), OpenAI.BadRequestError);
  const held = await ask("offline:slow 60", { stream: true });
  for await (const _ of held) break;
  const rejecting = { headers: { "X-Claude-Busy": "reject" } };
  const other = await ask("offline:slow 60", { stream: true });
  const busy = client.chat.completions.create({ model: "haiku", messages: user("x") }, rejecting);
  await assert.rejects(busy, OpenAI.ConflictError);
  other.controller.abort();
}

async function vercel() {
  const provider = createOpenAICompatible({
    name: "claudebox", baseURL, apiKey: token, headers, includeUsage: true, supportsStructuredOutputs: true,
  });
  const model = provider("haiku");
  const base = { model, maxRetries: 0 };
  const answer = await generateText({ ...base, prompt: "offline:echo hi" });
  assert.equal(answer.text, `${label}hi`);
  assert.equal(answer.finishReason, "stop");
  assert.ok(answer.usage.outputTokens > 0);

  const streaming = streamText({ ...base, prompt: "offline:slow 1" });
  const pieces = [];
  for await (const piece of streaming.textStream) pieces.push(piece);
  assert.ok(pieces.length > 20, `${pieces.length} pieces`);
  assert.ok((await streaming.usage).outputTokens > 0);

  const messages = [...user("offline:echo one"), { role: "assistant", content: `${label}one` }, ...user("offline:echo two")];
  assert.equal((await generateText({ ...base, messages })).text, `${label}two`);

  const parts = [{ type: "text", text: "look" }, { type: "image", image: Buffer.from(png, "base64"), mediaType: "image/png" }];
  assert.match((await generateText({ ...base, messages: user(parts) })).text, /Images received: 1/);

  const { object } = await generateObject({ ...base, schema: jsonSchema(book), prompt: "a book" });
  assert.equal(typeof object.author, "string");

  const status = (code) => (error) => APICallError.isInstance(error) && error.statusCode === code;
  await assert.rejects(generateText({ ...base, model: provider("gpt-4o"), prompt: "hi" }), status(404));
  await assert.rejects(generateText({ ...base, prompt: "offline:error 429 60" }), status(429));
  await assert.rejects(generateText({ ...base, prompt: "offline:error 500" }), status(400));
}

// Vercel's own provider of OpenAI: Responses, whose later turns name the items of earlier ones.
async function responses() {
  let requests = 0;
  const counting = (...args) => (requests++, fetch(...args));
  const model = createOpenAI({ baseURL, apiKey: token, headers, fetch: counting })("haiku");
  const messages = user("offline:echo one");
  const first = await generateText({ model, messages });
  messages.push(...first.response.messages, ...user("offline:echo two"));
  const second = await generateText({ model, messages });
  assert.equal(second.text, `${label}two`);
  messages.push(...second.response.messages, ...user("offline:slow 1"));
  const streaming = streamText({ model, messages });
  assert.ok((await streaming.text).length > 20);
  const { object } = await generateObject({ model, schema: jsonSchema({ $schema: "https://json-schema.org/draft/2020-12/schema", ...book }), prompt: "a book" });
  assert.equal(typeof object.author, "string");
  const weather = tool({ description: "The weather", inputSchema: jsonSchema({ type: "object", properties: { city: { type: "string" } }, required: ["city"], additionalProperties: false }) });
  const called = await generateText({ model, prompt: "Paris?", tools: { weather }, toolChoice: "required" });
  assert.equal(called.toolCalls[0].toolName, "weather");
  assert.equal(typeof called.toolCalls[0].input.city, "string");
  // A run that has begun and failed is not done again, with the retries that everybody has.
  requests = 0;
  await assert.rejects(generateText({ model, prompt: "offline:error 500" }));
  assert.equal(requests, 1);
}

// LangChain, which asks again at everything but 400 to 409, six times by default.
async function langchain() {
  let requests = 0;
  const counting = (...args) => (requests++, fetch(...args));
  const model = (more) => new ChatOpenAI({ model: "haiku", apiKey: token, configuration: { baseURL, defaultHeaders: headers, fetch: counting }, ...more });
  assert.equal((await model().invoke("offline:echo hi")).content, `${label}hi`);
  const structured = model().withStructuredOutput({ $schema: "https://json-schema.org/draft/2020-12/schema", title: "book", ...book }, { method: "jsonSchema" });
  assert.equal(typeof (await structured.invoke("a book")).author, "string");
  const called = model().withStructuredOutput({ title: "book", ...book }, { method: "functionCalling" });
  assert.equal(typeof (await called.invoke("a book")).author, "string");
  const answers = await model().batch(["offline:echo 1", "offline:echo 2", "offline:echo 3"]);
  assert.deepEqual(answers.map((answer) => answer.content), [1, 2, 3].map((n) => `${label}${n}`));
  requests = 0;
  await assert.rejects(model().invoke("offline:error 500"));
  assert.equal(requests, 1);
}

for (const test of [openai, vercel, responses, langchain]) {
  const began = performance.now();
  await test();
  console.log(`${test.name}: passed (${((performance.now() - began) / 1000).toFixed(1)} s)`);
}
