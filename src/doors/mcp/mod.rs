//! The MCP door: `/mcp`, for every agent that takes tools from a Model Context Protocol server.
//!
//! Streamable HTTP as the official SDK speaks it: sessions for the protocol's versions up to 2025-11-25, single requests
//! without a session from 2026-07-28 on. What the SDK leaves to a server is here: whose a session is, how long it
//! lives, and what a client that goes away means for its run. `docs/mcp.md` has it for users.
//!
//! | module | what it decides |
//! |---|---|
//! | `gate` | what gets to the SDK at all |
//! | `message` | what is a message at all |
//! | `batch` | several messages in one request |
//! | `frames` | how an event stream is written |
//! | `sessions` | whose a session is, and when it ends |
//! | `server` | who the server is, which tool is called |
//! | `call` | who calls a tool, and whether they still want the answer |
//! | `tools` | names, descriptions and schemas of the tools |
//! | `lenient` | what clients send -> what a tool's schema asks for |
//! | `arguments` | arguments of a call -> types |
//! | `answer` | results and refusals, as clients see them |
//! | `words` | how refusals are worded |
//! | `run` | `claude_run` |
//! | `runs` | `run_status`, `run_result`, `run_cancel` |
//! | `files` | the files' tools |
//! | `page` | which bytes of a file are a page of text |

mod answer;
mod arguments;
mod batch;
mod call;
mod files;
mod frames;
mod gate;
mod lenient;
mod message;
mod page;
mod run;
mod runs;
mod server;
mod sessions;
mod tools;
mod words;

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};

use self::server::Server;
use self::sessions::McpSessions;
use crate::desk::Desk;
use crate::desk::files::UploadLimit;
use crate::doors::web::Routes;
use crate::store::record::DoorName;

/// Where it is. With a slash at its end it is the same: clients of the predecessor have one there.
const PATHS: [&str; 2] = ["/mcp", "/mcp/"];

/// What this door serves. `upload_limit`: longest file that may be written.
pub fn routes(desk: Desk, upload_limit: Option<UploadLimit>) -> Routes {
    let sessions = Arc::new(McpSessions::default());
    let server = Server { desk, sessions: Arc::clone(&sessions), upload_limit };
    let mut config = StreamableHttpServerConfig::default();
    // Host and Origin were judged around all doors, and the body's length by the gate.
    config.allowed_hosts.clear();
    config.max_request_body_bytes = usize::MAX;
    // Where there is no session and nothing is said in between, an answer is one JSON object.
    config.json_response = true;
    let service = StreamableHttpService::new(move || Ok(server.clone()), sessions.keeper(), config);
    let router = PATHS.into_iter().fold(Router::new(), |router, path| router.route_service(path, service.clone()));
    Routes {
        name: DoorName::Mcp,
        protected: router.layer(from_fn_with_state(sessions, gate::pass)),
        open: Router::new(),
        // There are clients that are configured by a URL alone.
        token_in_query: true,
        described: None,
    }
}
