// Older releases of the TypeScript SDK, against a running claudebox: each message has to be one that they can read.
//
// Usage: node older.mjs API TOKEN, with API such as http://127.0.0.1:8083: a box with the real CLI and the offline model.

import assert from "node:assert/strict";

const [api, token] = process.argv.slice(2);

for (const [release, version] of [
  ["sdk-1.11", "2025-03-26"],
  ["sdk-1.22", "2025-06-18"],
]) {
  const { Client } = await import(`${release}/client/index.js`);
  const { StreamableHTTPClientTransport } = await import(`${release}/client/streamableHttp.js`);
  const requestInit = { headers: { Authorization: `Bearer ${token}` } };
  const transport = new StreamableHTTPClientTransport(new URL(`${api}/mcp`), { requestInit });
  const client = new Client({ name: "older", version: "1" });
  // What cannot be read is told here, and the client goes on.
  const errors = [];
  client.onerror = (error) => errors.push(error);
  let asked;
  const send = transport.send.bind(transport);
  transport.send = (message, options) => {
    asked ??= message.params?.protocolVersion;
    return send(message, options);
  };
  await client.connect(transport);
  assert.equal(asked, version);
  assert.equal((await client.listTools()).tools.length, 8);
  const prompt = { prompt: "offline:tool echo one two", workspace: release, create_workspace: "true" };
  const heard = [];
  const onprogress = ({ message }) => heard.push(message);
  const call = (name, args, options) => client.callTool({ name, arguments: args }, undefined, options);
  const answer = await call("claude_run", prompt, { onprogress });
  assert.equal(answer.structuredContent.outcome, "ok");
  assert.equal((await call("list_files", { path: null, toolCallId: "call_1" })).isError, false);
  await client.close();
  assert.deepEqual(errors, [], release);
}
console.log("ok - older releases of the TypeScript SDK read every message");
