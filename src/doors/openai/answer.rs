//! What a run has answered.

use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::message;
use crate::doors::web::RUN_ID;
use crate::doors::web::trace::RunId;
use crate::store::record::Run;

/// The session that an answer was given in.
const SESSION: HeaderName = HeaderName::from_static("x-claude-session");
/// What an answer has cost, US dollars, where clients of a proxy that counts look for it.
const COST: HeaderName = HeaderName::from_static("x-litellm-response-cost");
/// An answer, whole.
pub(super) struct Answer {
    pub(super) run: Run,
    /// Its text; of a call the arguments, JSON.
    pub(super) text: String,
    /// The function that is called, if the answer is a call.
    pub(super) call: Option<String>,
    /// What a client that follows the answer has not been given of its text.
    pub(super) rest: String,
    /// Whether the client's own tools were left out.
    pub(super) ignored_tools: bool,
}

impl Answer {
    /// Of a run that has one: its last message, or what its schema asks for. `call`: the function it is a call of.
    pub(super) fn of(run: Run, call: Option<&str>) -> Self {
        let result = run.end.as_ref().map_or(&Value::Null, |end| &end.result);
        let text = if run.request.options.json_schema.is_some() {
            result["structuredOutput"].to_string()
        } else {
            result["result"].as_str().unwrap_or_default().to_owned()
        };
        Self { run, rest: text.clone(), text, call: call.map(str::to_owned), ignored_tools: false }
    }

    /// The CLI's result.
    pub(super) fn result(&self) -> &Value {
        self.run.end.as_ref().map_or(&Value::Null, |end| &end.result)
    }

    /// What a client sends back of it as the assistant's message.
    pub(super) fn said(&self) -> String {
        match &self.call {
            Some(name) => message::tool_call(&json!(self.call_id()), &json!(name), &json!(self.text)),
            None => self.text.clone(),
        }
    }

    /// The id of the call.
    pub(super) fn call_id(&self) -> String {
        format!("call_{}", self.run.id.simple())
    }

    /// What it cost, US dollars.
    pub(super) fn cost(&self) -> Option<f64> {
        self.run.end.as_ref().and_then(|end| end.cost_usd)
    }

    /// What stands beside the protocol's own fields.
    pub(super) fn about(&self) -> Value {
        let end = self.run.end.as_ref();
        let mut about = json!({
            "run_id": self.run.id, "session_id": end.and_then(|end| end.session_id.clone()), "cost_usd": self.cost(),
        });
        if self.run.terms.offline {
            about["offline"] = true.into();
        }
        if self.ignored_tools {
            about["ignored"] = json!(["tools"]);
        }
        about
    }

    /// The response with this body, and the headers that name the run and its session.
    pub(super) fn respond(&self, body: impl IntoResponse) -> Response {
        let mut response = body.into_response();
        let run = self.run.id.to_string();
        let session = self.run.end.as_ref().and_then(|end| end.session_id.as_deref());
        let cost = self.cost().map(|cost| cost.to_string());
        for (name, value) in [(RUN_ID, Some(run.as_str())), (SESSION, session), (COST, cost.as_deref())] {
            response
                .headers_mut()
                .extend(value.and_then(|value| HeaderValue::from_str(value).ok()).map(|value| (name, value)));
        }
        response.extensions_mut().insert(RunId(run));
        response
    }
}
