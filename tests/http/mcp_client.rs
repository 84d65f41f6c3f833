//! A client of the MCP door, by hand: in a session (2025-11-25) or without one (2026-07-28).

use serde_json::{Value, json};

use crate::client::{Answering, Ask, Client, with};

const IN_SESSION: &str = "2025-11-25";
const WITHOUT: &str = "2026-07-28";

/// A client of this door.
#[derive(Clone)]
pub(crate) struct Mcp {
    pub(crate) http: Client,
    pub(crate) path: &'static str,
    pub(crate) session: Option<String>,
}

/// A message that has come.
pub(crate) struct Message {
    pub(crate) id: Option<String>,
    pub(crate) data: Value,
}

impl Mcp {
    /// One that opens a session.
    #[track_caller]
    pub(crate) fn in_session(http: &Client) -> Self {
        let mut mcp = Self { http: http.clone(), path: "/mcp", session: None };
        let about = json!({"name": "test", "version": "1"});
        let params = json!({"protocolVersion": IN_SESSION, "capabilities": {}, "clientInfo": about});
        let answering = mcp.post(&request(1, "initialize", params)).open();
        assert_eq!(answering.status, 200);
        mcp.session = Some(answering.header("mcp-session-id").unwrap().to_owned());
        let server = last(answering);
        assert_eq!(server["result"]["protocolVersion"], IN_SESSION, "{server}");
        let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        assert_eq!(mcp.post(&initialized).send().status, 202);
        mcp
    }

    /// One that needs none.
    pub(crate) fn without_session(http: &Client) -> Self {
        Self { http: http.clone(), path: "/mcp/", session: None }
    }

    /// Posts a message with the headers that every one has.
    pub(crate) fn post(&self, message: &Value) -> Ask<'_> {
        let ask = self.http.post(self.path).json(message).header("accept", "application/json, text/event-stream");
        match &self.session {
            Some(id) => ask.header("mcp-session-id", id).header("mcp-protocol-version", IN_SESSION),
            None => ask,
        }
    }

    /// A request that is not sent yet.
    pub(crate) fn ask(&self, id: u32, method: &str, mut params: Value) -> Ask<'_> {
        if self.session.is_some() {
            return self.post(&request(id, method, params));
        }
        let meta = json!({
            "io.modelcontextprotocol/protocolVersion": WITHOUT,
            "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": {},
        });
        let given = params["_meta"].take();
        params["_meta"] = if given.is_object() { with(meta, given) } else { meta };
        let name = params["name"].as_str().or(params["uri"].as_str()).map(str::to_owned);
        let ask = self.post(&request(id, method, params)).header("mcp-protocol-version", WITHOUT);
        let ask = ask.header("mcp-method", method);
        match name {
            Some(name) => ask.header("mcp-name", &name),
            None => ask,
        }
    }

    /// The answer to a request: what stands in `result`.
    #[track_caller]
    pub(crate) fn result(&self, method: &str, params: Value) -> Value {
        let answer = last(self.ask(7, method, params).open());
        assert_eq!((&answer["jsonrpc"], &answer["id"]), (&json!("2.0"), &json!(7)), "{answer}");
        assert!(answer["result"].is_object(), "{answer}");
        answer["result"].clone()
    }

    /// The code and the words of the error that a request has.
    #[track_caller]
    pub(crate) fn error(&self, method: &str, params: Value) -> (i64, String) {
        let answer = last(self.ask(7, method, params).open());
        let error = &answer["error"];
        let code = error["code"].as_i64().unwrap_or_else(|| panic!("{answer}"));
        (code, error["message"].as_str().unwrap().to_owned())
    }

    /// What a tool gives.
    #[track_caller]
    #[expect(clippy::needless_pass_by_value, reason = "it is written where it is used")]
    pub(crate) fn call(&self, tool: &str, arguments: Value) -> Value {
        self.result("tools/call", json!({"name": tool, "arguments": arguments}))
    }

    /// What a tool gives that works: its structured part.
    #[track_caller]
    pub(crate) fn works(&self, tool: &str, arguments: Value) -> Value {
        let result = self.call(tool, arguments);
        assert_ne!(result["isError"], true, "{result}");
        assert!(result["content"][0]["text"].is_string(), "{result}");
        result["structuredContent"].clone()
    }

    /// What a tool refuses: the code, and the words.
    #[track_caller]
    pub(crate) fn refused(&self, tool: &str, arguments: Value) -> (String, String) {
        let result = self.call(tool, arguments);
        assert_eq!(result["isError"], true, "{result}");
        let code = &result["_meta"]["claudebox/problem"]["code"];
        (code.as_str().unwrap().to_owned(), result["content"][0]["text"].as_str().unwrap().to_owned())
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is written where it is used")]
pub(crate) fn request(id: u32, method: &str, params: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
}

/// The next message of a stream.
pub(crate) fn next(answering: &mut Answering) -> Option<Message> {
    let mut id = None;
    loop {
        let line = answering.line()?;
        let (name, value) = line.split_once(':').unwrap_or((line.as_str(), ""));
        match (name, value.trim()) {
            ("id", value) => id = Some(value.to_owned()),
            ("data", "") | ("" | "retry", _) | ("event", "message") => {}
            ("data", data) => return Some(Message { id, data: serde_json::from_str(data).unwrap() }),
            _ => panic!("{line:?} is no part of an event"),
        }
    }
}

/// The messages of an answer, whichever of the two forms it has.
#[track_caller]
pub(crate) fn all(mut answering: Answering) -> Vec<Value> {
    if answering.header("content-type") == Some("application/json") {
        return vec![serde_json::from_str(&answering.rest().text()).unwrap()];
    }
    assert_eq!(answering.header("content-type"), Some("text/event-stream"));
    std::iter::from_fn(|| next(&mut answering).map(|message| message.data)).collect()
}

/// The last of them.
#[track_caller]
pub(crate) fn last(answering: Answering) -> Value {
    all(answering).pop().unwrap()
}
