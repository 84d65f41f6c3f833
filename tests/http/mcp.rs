//! The MCP door: who it says it is, its tools, what they give, and what it answers to what it cannot take.

use serde_json::{Value, json};

use crate::client::Client;
use crate::fixture::{start, with_cli, without_cli};
use crate::mcp_client::{Mcp, all, last, request};
use crate::support::TestBox;

const TOOLS: [&str; 8] =
    ["list_files", "read_file", "write_file", "delete_file", "claude_run", "run_status", "run_result", "run_cancel"];

/// In a session and without.
fn both(http: &Client) -> [Mcp; 2] {
    [Mcp::in_session(http), Mcp::without_session(http)]
}

#[test]
fn who_it_is_and_what_it_has() {
    let Some(testbox) = TestBox::new() else { return };
    let api = start(&testbox, without_cli(&testbox));
    let about = json!({"name": "test", "version": "1"});
    for path in ["/mcp", "/mcp/"] {
        for version in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] {
            let params = json!({"protocolVersion": version, "capabilities": {}, "clientInfo": about});
            let mcp = Mcp { http: api.http.clone(), path, session: None };
            let answer = last(mcp.post(&request(1, "initialize", params)).open());
            let server = &answer["result"];
            assert_eq!(server["protocolVersion"], version, "{path}: {answer}");
            assert_eq!(
                (&server["serverInfo"]["name"], server["serverInfo"]["version"].as_str()),
                (&json!("claudebox"), Some(env!("CARGO_PKG_VERSION")))
            );
            assert!(server["instructions"].as_str().is_some_and(|text| text.contains("claude_run")));
            for capability in ["tools", "resources", "prompts"] {
                assert!(server["capabilities"][capability].is_object(), "{server}");
            }
        }
    }
    let found = Mcp::without_session(&api.http).result("server/discover", json!({}));
    assert!(found["supportedVersions"].as_array().unwrap().contains(&json!("2026-07-28")), "{found}");

    for mcp in both(&api.http) {
        let tools = mcp.result("tools/list", json!({}));
        let tools = tools["tools"].as_array().unwrap();
        let names: Vec<&str> = tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect();
        assert_eq!(names, TOOLS);
        for tool in tools {
            for part in ["title", "description"] {
                assert!(tool[part].as_str().is_some_and(|text| !text.is_empty()), "{tool}");
            }
            for schema in ["inputSchema", "outputSchema"] {
                assert_eq!(tool[schema]["type"], "object", "{tool}");
            }
        }
        assert_eq!(mcp.result("resources/list", json!({}))["resources"], json!([]));
        assert_eq!(mcp.result("resources/templates/list", json!({}))["resourceTemplates"], json!([]));
        assert_eq!(mcp.result("prompts/list", json!({}))["prompts"], json!([]));
        let code = if mcp.session.is_some() { -32002 } else { -32602 };
        assert_eq!(mcp.error("resources/read", json!({"uri": "file:///etc/passwd"})).0, code);
        assert_eq!(mcp.error("prompts/get", json!({"name": "x"})).0, -32602);
    }
    api.stop();
}

#[test]
fn files_from_one_end_to_the_other() {
    let Some(testbox) = TestBox::new() else { return };
    let api = start(&testbox, without_cli(&testbox));
    for mcp in both(&api.http) {
        let text = "grüße\n".repeat(1000);
        let written = mcp.works("write_file", json!({"path": "w/deep/a.txt", "content": text}));
        assert_eq!(written, json!({"status": "ok", "path": api.workspace("w/deep/a.txt"), "size": 8000}));
        let read = mcp.call("read_file", json!({"path": "w/deep/a.txt"}));
        assert_eq!(read["content"][0]["text"], text);
        let expected = json!({
            "path": "w/deep/a.txt", "size": 8000, "offset": 0, "binary": false, "encoding": "utf-8", "content": text,
        });
        assert_eq!(read["structuredContent"], expected);

        // In pages whose ends cut characters.
        let (mut offset, mut whole) = (json!(0), String::new());
        while offset.is_u64() {
            let page = mcp.works("read_file", json!({"path": "w/deep/a.txt", "offset": offset, "limit": 1001}));
            whole.push_str(page["content"].as_str().unwrap());
            offset = page["next_offset"].clone();
        }
        assert_eq!(whole, text);

        mcp.works("write_file", json!({"path": "w/b.bin", "content": "AP8QIA==", "encoding": "base64"}));
        let binary = mcp.call("read_file", json!({"path": "w/b.bin"}));
        assert_eq!((&binary["structuredContent"]["binary"], &binary["isError"]), (&json!(true), &json!(false)));
        let said = binary["content"][0]["text"].as_str().unwrap();
        assert!(said.contains("binary (4 bytes)") && said.contains("base64"), "{said}");
        let binary = mcp.works("read_file", json!({"path": "w/b.bin", "encoding": "base64"}));
        assert_eq!((&binary["content"], &binary["binary"]), (&json!("AP8QIA=="), &json!(false)));

        let listed = mcp.works("list_files", json!({"path": "w"}));
        let entries = listed["entries"].as_array().unwrap();
        let shown: Vec<_> = entries.iter().map(|entry| (entry["name"].clone(), entry["type"].clone())).collect();
        assert_eq!(shown, [(json!("b.bin"), json!("file")), (json!("deep"), json!("dir"))]);
        let first = mcp.works("list_files", json!({"path": "w", "limit": 1}));
        let cursor = &first["next_cursor"];
        let second = mcp.works("list_files", json!({"path": api.workspace("w"), "limit": 1, "cursor": cursor}));
        assert_eq!((&second["entries"][0]["name"], second.get("next_cursor")), (&json!("deep"), None));
        assert_eq!(mcp.works("list_files", json!({}))["entries"][0]["name"], "w");

        assert_eq!(mcp.refused("delete_file", json!({"path": "w"})).0, "is_a_folder");
        assert_eq!(mcp.works("delete_file", json!({"path": "w/b.bin"}))["path"], api.workspace("w/b.bin"));
        mcp.works("delete_file", json!({"path": "w", "recursive": true}));
        for (tool, path, code) in [
            ("read_file", "w/a.txt", "not_found"),
            ("list_files", "w", "not_found"),
            ("delete_file", "w", "not_found"),
            ("read_file", "../x", "path_outside"),
            ("read_file", "/etc/passwd", "not_found"),
            ("read_file", "", "is_a_folder"),
            ("delete_file", "", "root_not_deletable"),
        ] {
            let (found, said) = mcp.refused(tool, json!({"path": path}));
            assert_eq!(found, code, "{tool} {path}: {said}");
            assert!(said.ends_with(&format!("({code})")), "{said}");
        }
    }
    api.stop();
}

#[test]
fn what_clients_write_otherwise_is_taken_and_what_is_not_known_is_named() {
    let Some(testbox) = TestBox::new() else { return };
    let api = start(&testbox, without_cli(&testbox));
    for mcp in both(&api.http) {
        mcp.works("write_file", json!({"path": "a/b.txt", "content": "text", "encoding": null}));
        let read = json!({"path": "a/b.txt", "offset": "1", "limit": "100", "encoding": ""});
        assert_eq!(mcp.works("read_file", read)["content"], "ext");
        assert_eq!(mcp.works("list_files", json!({"path": null, "limit": "10"}))["entries"][0]["name"], "a");
        let more = json!({"path": "a/b.txt", "toolCallId": "call_0BC", "recursve": true});
        let noted = mcp.call("delete_file", more);
        assert_eq!(noted["isError"], false, "{noted}");
        let note = noted["content"][1]["text"].as_str().unwrap();
        assert!(note.contains("toolCallId") && note.contains("recursve (did you mean recursive?)"), "{note}");
        assert_eq!(noted["_meta"]["claudebox/ignoredArguments"], json!(["toolCallId", "recursve"]));
        // Also where the call does not work.
        let noted = mcp.call("delete_file", json!({"path": "a/b.txt", "toolCallId": "call_0BC"}));
        assert_eq!((&noted["isError"], noted["content"].as_array().unwrap().len()), (&json!(true), 2), "{noted}");
        assert_eq!(mcp.works("run_status", json!({"run_id": null, "workspace": null}))["runs"], json!([]));
    }
    api.stop();
}

/// The raw text of a stream, as clients get it.
#[test]
fn every_client_can_read_the_frames() {
    let Some(testbox) = TestBox::new() else { return };
    let api = start(&testbox, without_cli(&testbox));
    let about = json!({"name": "test", "version": "1"});
    for (version, first) in [
        ("2025-03-26", "event: message\ndata: {"),
        ("2025-06-18", "event: message\ndata: {"),
        ("2025-11-25", "data: \nid: 0\nretry: 3000\n\nevent: message\ndata: {"),
    ] {
        let mcp = Mcp { http: api.http.clone(), path: "/mcp", session: None };
        let params = json!({"protocolVersion": version, "capabilities": {}, "clientInfo": about});
        let answer = mcp.post(&request(1, "initialize", params)).open();
        let session = answer.header("mcp-session-id").unwrap().to_owned();
        let text = answer.rest().text();
        assert!(text.starts_with(first), "{version}: {text:?}");
        let ping = request(2, "ping", json!({}));
        let ask = api.http.post("/mcp").json(&ping).header("accept", "application/json, text/event-stream");
        let text = ask.header("mcp-session-id", &session).header("mcp-protocol-version", version).send().text();
        assert_eq!(text.matches("event: message\ndata: {").count(), 1, "{version}: {text:?}");
        assert_eq!(text.contains("data: \n"), version >= "2025-11-25", "{version}: {text:?}");
    }
    api.stop();
}

#[test]
fn a_batch_is_answered_to_the_version_that_has_batches() {
    let Some(testbox) = TestBox::new() else { return };
    let api = start(&testbox, without_cli(&testbox));
    let mcp = Mcp { http: api.http.clone(), path: "/mcp", session: None };
    let about = json!({"name": "test", "version": "1"});
    let params = json!({"protocolVersion": "2025-03-26", "capabilities": {}, "clientInfo": about});
    let opened = mcp.post(&request(1, "initialize", params)).open();
    let session = opened.header("mcp-session-id").unwrap().to_owned();
    let post = |body: &Value| {
        let ask = api.http.post("/mcp").json(body).header("accept", "application/json, text/event-stream");
        ask.header("mcp-session-id", &session)
    };
    let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    assert_eq!(post(&json!([initialized])).send().status, 202);
    let broken = json!({"jsonrpc": "2.0", "id": 5, "method": 7});
    let list = json!({"name": "list_files", "arguments": {}});
    let batch = json!([request(3, "ping", json!({})), initialized, request(4, "tools/call", list), broken]);
    let mut answers = all(post(&batch).open());
    answers.sort_by_key(|answer| answer["id"].as_u64());
    let ids: Vec<_> = answers.iter().map(|answer| answer["id"].as_u64().unwrap()).collect();
    assert_eq!(ids, [3, 4, 5], "{answers:?}");
    assert_eq!(answers[1]["result"]["structuredContent"]["entries"], json!([]));
    assert_eq!(answers[2]["error"]["code"], -32600);
    let other = Mcp::in_session(&api.http);
    let refused = other.post(&json!([request(3, "ping", json!({}))])).send().json(400);
    assert!(refused["error"]["message"].as_str().unwrap().contains("2025-11-25 of the protocol has no batches"));
    api.stop();
}

#[test]
fn what_is_wrong_with_a_call_is_named() {
    let Some(testbox) = TestBox::new() else { return };
    let api = start(&testbox, without_cli(&testbox));
    for mcp in both(&api.http) {
        for (tool, arguments, words) in [
            ("claude_run", json!({}), "prompt: it is missing"),
            ("claude_run", json!({"prompt": ""}), "prompt: "),
            ("claude_run", json!({"prompt": "p", "effort": "huge"}), "effort: \"huge\" is not allowed"),
            ("claude_run", json!({"prompt": "p", "timeout_seconds": 0}), "timeout_seconds: 0 is not allowed"),
            ("claude_run", json!({"prompt": "p", "resume": "--last"}), "resume: "),
            ("read_file", json!({"path": [7]}), "path: "),
            ("read_file", json!({"path": "x", "limit": 0}), "limit: "),
            ("list_files", json!({"limit": 100_000}), "limit: "),
            ("write_file", json!({"path": "x"}), "content: it is missing"),
            ("write_file", json!({"path": "x", "content": "%", "encoding": "base64"}), "content: "),
            ("run_result", json!({}), "run_id: it is missing"),
            ("run_result", json!({"run_id": "x", "wait_seconds": -1}), "wait_seconds: "),
            ("run_cancel", json!({}), "run_id: "),
        ] {
            // A model reads results, and can mend its call; it never sees an error of JSON-RPC.
            let (code, said) = mcp.refused(tool, arguments);
            assert_eq!(code, "invalid_argument", "{tool}: {said}");
            assert!(said.contains(words), "{tool}: {said:?} has no {words:?}");
        }
        let (code, said) = mcp.error("tools/call", json!({"name": "no_tool", "arguments": {}}));
        assert!(code == -32602 && said.contains("claude_run, run_status"), "{code}: {said}");
        assert_eq!(mcp.error("tools/call", json!({"name": "read_file", "arguments": [1]})).0, -32602);
        assert_eq!(mcp.error("no/method", json!({})).0, -32601);
        for (tool, arguments, code) in [
            ("claude_run", json!({"prompt": "p", "workspace": "nowhere"}), "workspace_not_found"),
            ("claude_run", json!({"prompt": "p", "workspace": "../x"}), "path_outside"),
            ("run_result", json!({"run_id": "x"}), "run_not_found"),
            ("run_status", json!({"run_id": "01890000-0000-7000-8000-000000000000"}), "run_not_found"),
            ("run_status", json!({"workspace": "nowhere"}), "workspace_not_found"),
            ("run_cancel", json!({"run_id": "x"}), "run_not_found"),
        ] {
            assert_eq!(mcp.refused(tool, arguments).0, code, "{tool}");
        }
        let (_, said) = mcp.refused("claude_run", json!({"prompt": "p", "workspace": "nowhere"}));
        assert!(said.contains("set create_workspace to have it made"), "{said}");
    }
    api.stop();
}

#[test]
fn what_is_no_message_gets_an_answer_in_json() {
    let Some(testbox) = TestBox::new() else { return };
    let api = start(&testbox, without_cli(&testbox).env("CLAUDEBOX_MODE_API_MAX_BODY_MB", "1"));
    let post = |body: &str| api.http.post("/mcp").header("content-type", "application/json").body(body);
    for (body, code) in [("{", -32700), ("[]", -32600), ("{}", -32600), ("\u{0}", -32700)] {
        assert_eq!(post(body).send().json(400)["error"]["code"], code, "{body:?}");
    }
    // A session is needed by who speaks of none; one that is not there is opened anew.
    let list = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    assert!(post(list).send().json(400)["error"]["message"].as_str().unwrap().contains("Session"));
    for id in ["unknown", "\u{e9}"] {
        let answer = post(list).header("mcp-session-id", id).send().json(404);
        assert!(answer["error"]["message"].as_str().unwrap().contains("initialize"), "{answer}");
    }
    post(&" ".repeat(1 << 21)).send().problem(413, "too_large");
    let form = api.http.post("/mcp").header("content-type", "text/plain").body(list);
    form.send().problem(415, "unsupported_media_type");
    let choosy = post(list).header("accept", "text/html").send();
    assert_eq!(choosy.json(406)["error"]["code"], -32600);
    for method in ["PUT", "PATCH"] {
        assert_eq!(api.http.ask(method, "/mcp").send().status, 405, "{method}");
    }
    // Nothing of it is in the log, and none was a fault.
    let log = api.stop().err;
    assert!(!log.contains("error") && !log.contains("rmcp"), "{log}");
}

#[test]
fn a_prompt_and_its_answer() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = with_cli(&testbox) else { return };
    let api = start(&testbox, launch);
    for (number, mcp) in both(&api.http).into_iter().enumerate() {
        let workspace = format!("w{number}");
        let arguments = json!({
            "prompt": "offline:echo hello there", "workspace": workspace, "create_workspace": true, "model": "haiku",
            "system_prompt": "", "effort": "low",
        });
        let result = mcp.call("claude_run", arguments);
        let answer = &result["structuredContent"];
        assert_eq!((&result["isError"], &answer["state"]), (&json!(false), &json!("succeeded")), "{result}");
        assert_eq!(result["content"][0]["text"], "[claudebox offline model] hello there");
        assert_eq!((&answer["outcome"], &answer["result"]), (&json!("ok"), &result["content"][0]["text"]));
        assert_eq!(answer["workspace"], api.workspace(&workspace));
        assert!(answer["session_id"].is_string() && answer["cost_usd"].is_number(), "{answer}");
        let run = api.http.look(answer["run_id"].as_str().unwrap());
        assert_eq!((&run["door"], &run["options"]["model"]), (&json!("mcp"), &json!("haiku")), "{run}");

        // The workspace's session goes on, unless told otherwise.
        let again = |more: Value| {
            let arguments = crate::client::with(json!({"prompt": "hi", "workspace": workspace}), more);
            mcp.works("claude_run", arguments)["session_id"].clone()
        };
        assert_eq!(again(json!({})), answer["session_id"]);
        assert_ne!(again(json!({"no_continue": true})), answer["session_id"]);
        assert_eq!(again(json!({"resume": answer["session_id"]})), answer["session_id"]);

        let schema = json!({"type": "object", "properties": {"user_name": {"type": "string"}}});
        for schema in [json!(schema.to_string()), schema] {
            let form = mcp.call("claude_run", json!({"prompt": "who", "workspace": workspace, "json_schema": schema}));
            let said: Value = serde_json::from_str(form["content"][0]["text"].as_str().unwrap()).unwrap();
            assert!(said["user_name"].is_string(), "{form}");
            assert_eq!(form["structuredContent"]["structured_output"], said);
        }

        let failed = mcp.call("claude_run", json!({"prompt": "offline:error 400", "workspace": workspace}));
        let answer = &failed["structuredContent"];
        assert_eq!((&failed["isError"], &answer["outcome"]), (&json!(true), &json!("model_error")), "{failed}");
        let said = failed["content"][0]["text"].as_str().unwrap();
        assert!(said.contains("model_error") && said.contains(answer["run_id"].as_str().unwrap()), "{said}");
        assert_eq!(mcp.call("run_result", json!({"run_id": answer["run_id"]})), failed);
    }
    api.assert_settled();
    api.stop();
}
