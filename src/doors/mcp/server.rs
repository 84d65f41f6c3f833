//! Who the server is, and which tool is called.

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, CustomRequest, CustomResult, ErrorCode, ErrorData,
    GetPromptRequestParams, GetPromptResponse, Implementation, JsonObject, ListToolsResult, PaginatedRequestParams,
    ReadResourceRequestParams, ReadResourceResponse, ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::{RequestContext, RoleServer};
use rmcp::{ErrorData as McpError, ServerHandler};
use serde_json::json;

use super::answer::{Fault, note_ignored, refused};
use super::arguments::{of_run_prompt, read};
use super::call::Call;
use super::lenient::{Fitted, fit};
use super::sessions::McpSessions;
use super::tools::{self, Name};
use super::{files, run, runs};
use crate::desk::Desk;
use crate::desk::files::UploadLimit;

const INSTRUCTIONS: &str = "claudebox runs Claude Code in a box. claude_run gives it a task in a workspace, a folder below \
                            the workspaces folder; by default it continues the workspace's last session. The file tools \
                            read and write the same folders: put large inputs into files and name them in the prompt.";

/// What the SDK asks. Cheap to clone.
#[derive(Clone)]
pub(super) struct Server {
    pub(super) desk: Desk,
    pub(super) sessions: std::sync::Arc<McpSessions>,
    pub(super) upload_limit: Option<UploadLimit>,
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder().enable_tools().enable_resources().enable_prompts().build();
        let about = Implementation::new("claudebox", env!("CARGO_PKG_VERSION")).with_title("claudebox");
        ServerConfig::new(capabilities).with_server_info(about).with_instructions(INSTRUCTIONS)
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, McpError> {
        Ok(ListToolsResult::with_all_items(tools::all()))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        tools::described(name)
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, McpError> {
        let Some(name) = tools::named(&request.name) else {
            let shown: String = request.name.chars().take(80).collect();
            let said = format!("there is no tool {shown:?}; there are: {}", tools::names().join(", "));
            return Err(ErrorData::invalid_params(said, None));
        };
        let arguments = request.arguments.unwrap_or_default();
        let arguments = if request.name == tools::RUN_PROMPT { of_run_prompt(arguments) } else { arguments };
        let (done, ignored) = match fit(&name.described().input_schema, &arguments) {
            Ok(Fitted { arguments, ignored }) => (self.carry_out(name, arguments, &context).await, ignored),
            Err(problem) => (Err(problem.into()), Vec::new()),
        };
        let mut result = match done {
            Ok(result) => result,
            Err(Fault::Refused(problem)) => refused(&problem),
            Err(Fault::Call(error)) => return Err(error),
        };
        note_ignored(&mut result, &ignored);
        Ok(result.into())
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, McpError> {
        let said = "there are no resources here; read_file reads files";
        Err(ErrorData::resource_not_found(said, Some(json!({"uri": request.uri}))))
    }

    async fn get_prompt(
        &self,
        _: GetPromptRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, McpError> {
        Err(ErrorData::invalid_params("there are no prompts here", None))
    }

    /// What is no request of the protocol as the SDK reads it: an unknown method, or parameters of the wrong kind.
    async fn on_custom_request(
        &self,
        request: CustomRequest,
        _: RequestContext<RoleServer>,
    ) -> Result<CustomResult, McpError> {
        let known = ["tools/call", "tools/list", "resources/read", "prompts/get"];
        if known.contains(&request.method.as_str()) {
            let said = format!("the parameters of {} are not those of the protocol", request.method);
            return Err(ErrorData::invalid_params(said, None));
        }
        Err(ErrorData::new(ErrorCode::METHOD_NOT_FOUND, "there is no such method", Some(request.method.into())))
    }
}

impl Server {
    async fn carry_out(
        &self,
        name: Name,
        arguments: JsonObject,
        context: &RequestContext<RoleServer>,
    ) -> Result<CallToolResult, Fault> {
        let call = Call::of(&self.desk, &self.sessions, context)?;
        match name {
            Name::Run => run::claude_run(call, read(arguments)?).await,
            Name::Status => runs::run_status(call, read(arguments)?).await,
            Name::Result => runs::run_result(call, read(arguments)?).await,
            Name::Cancel => runs::run_cancel(call, read(arguments)?).await,
            Name::List => files::list_files(call, read(arguments)?).await,
            Name::Read => files::read_file(call, read(arguments)?).await,
            Name::Write => files::write_file(call, read(arguments)?, self.upload_limit).await,
            Name::Delete => files::delete_file(call, read(arguments)?).await,
        }
    }
}
