// The TypeScript SDK, in its first and its second version, against a running claudebox.
//
// Usage: node clients.mjs API TOKEN, with API such as http://127.0.0.1:8083: a box with the real CLI and the offline
// model.

import assert from "node:assert/strict";
import * as second from "@modelcontextprotocol/client";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

const [api, token] = process.argv.slice(2);
const label = "[claudebox offline model] ";
const workspace = { workspace: "node", create_workspace: true };
const bearer = { Authorization: `Bearer ${token}` };

async function connect(path = "/mcp", headers = bearer) {
  const client = new Client({ name: "test", version: "1" });
  await client.connect(new StreamableHTTPClientTransport(new URL(api + path), { requestInit: { headers } }));
  return client;
}

async function connectSecond(mode, path = "/mcp", headers = bearer) {
  const client = new second.Client({ name: "test", version: "1" }, { versionNegotiation: { mode } });
  await client.connect(new second.StreamableHTTPClientTransport(new URL(api + path), { requestInit: { headers } }));
  return client;
}

async function tools(client, call) {
  assert.equal(client.getServerVersion().name, "claudebox");
  // From here on the client checks every result against the tool's output schema.
  const listed = await client.listTools();
  assert.ok(listed.tools.some(({ name }) => name === "claude_run"));
  assert.equal(listed.tools.length, 8);
  assert.deepEqual((await client.listResources()).resources, []);
  assert.deepEqual((await client.listPrompts()).prompts, []);
  const text = "grüße\n".repeat(50_000);
  const written = await call("write_file", { path: "node/a.txt", content: text });
  assert.equal(written.structuredContent.size, 400_000);
  let [read, offset] = ["", 0];
  while (offset !== undefined) {
    const page = await call("read_file", { path: "node/a.txt", offset });
    read += page.content[0].text;
    offset = page.structuredContent.next_offset;
  }
  assert.ok(read === text);
  assert.equal((await call("list_files", { path: "node" })).structuredContent.entries[0].type, "file");
  assert.equal((await call("delete_file", { path: "node/a.txt" })).isError, false);
  assert.equal((await call("delete_file", { path: "node/a.txt" })).isError, true);

  const heard = [];
  const onprogress = ({ message }) => heard.push(message);
  const answer = await call("claude_run", { prompt: "offline:tool echo one two", ...workspace }, { onprogress });
  assert.equal(answer.structuredContent.outcome, "ok");
  assert.ok(heard.includes("Bash: echo one two"), heard.join("; "));
  const failed = await call("claude_run", { prompt: "offline:error 400", ...workspace });
  assert.equal(failed.isError, true);
  assert.equal(failed.structuredContent.outcome, "model_error");
  const wrong = await call("claude_run", { prompt: "p", effort: "huge" });
  assert.ok(wrong.isError && wrong.content[0].text.startsWith("effort: "), wrong.content[0].text);

  // A call that is given up ends its run.
  const giveUp = new AbortController();
  const given = call("claude_run", { prompt: "offline:silent 600", ...workspace }, { signal: giveUp.signal });
  given.catch(() => {});
  let run;
  do {
    await new Promise((resolve) => setTimeout(resolve, 100));
    [run] = (await call("run_status", { workspace: "node" })).structuredContent.runs;
  } while (run.state !== "running");
  giveUp.abort("enough");
  await assert.rejects(given);
  const ended = await call("run_result", { run_id: run.run_id, wait_seconds: 30 });
  assert.equal(ended.structuredContent.state, "cancelled");

  const begun = await call("claude_run", { prompt: "offline:slow 2", background: true, ...workspace });
  const later = await call("run_result", { run_id: begun.structuredContent.run_id, wait_seconds: 30 });
  assert.ok(later.content[0].text.startsWith(label));
}

for (const [path, headers] of [
  ["/mcp", bearer],
  ["/mcp/", bearer],
  [`/mcp/?apiToken=${token}`, {}],
]) {
  const client = await connect(path, headers);
  await tools(client, (name, args, options) => client.callTool({ name, arguments: args }, undefined, options));
  await client.close();
}
for (const mode of ["auto", "legacy"]) {
  const client = await connectSecond(mode, "/mcp/");
  assert.equal(client.getNegotiatedProtocolVersion(), mode === "auto" ? "2026-07-28" : "2025-11-25");
  await tools(client, (name, args, options) => client.callTool({ name, arguments: args }, options));
  await client.close();
}
for (const headers of [{}, { Authorization: "Bearer wrong" }]) {
  await assert.rejects(connect("/mcp", headers));
  await assert.rejects(connectSecond("auto", "/mcp", headers));
}
await assert.rejects(connect("/mcp?apiToken=wrong", {}));
console.log("typescript sdk 1 and 2: passed");
