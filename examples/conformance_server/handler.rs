//! The MCP methods.

use crate::{
    content, jobs,
    questions::{self, Next, Round},
};
use rmcp::{
    ErrorData, Peer, RoleServer, ServerHandler,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, CancelTaskParams, ClientCapabilities,
        CompleteRequestParams, CompleteResult, CompletionInfo, GetPromptRequestParams, GetPromptResponse,
        GetPromptResult, GetTaskParams, GetTaskResult, Implementation, InitializeRequestParams,
        InitializeResult, ListPromptsResult, ListResourceTemplatesResult, ListResourcesResult,
        ListToolsResult, LoggingLevel, LoggingMessageNotificationParam, PaginatedRequestParams,
        ProgressNotificationParam, PromptMessage, ReadResourceRequestParams, ReadResourceResponse,
        RequestStateCodec, Role, ServerCapabilities, ServerConfig, SetLevelRequestMethod,
        SetLevelRequestParams, SubscribeRequestParams, SubscriptionFilter, Tool, UnsubscribeRequestParams,
        UpdateTaskParams,
    },
    service::{RequestContext, SubscriptionContext},
    task_manager::TaskManager,
};
use serde_json::{Value, json};
use std::{
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::sync::broadcast;

/// Sealed state protects this fixture's own test, nothing else.
const STATE_KEY: &[u8] = b"conformance fixture: no secret is kept under this key";
const STEP: Duration = Duration::from_millis(50);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Tools,
    Prompts,
}

/// What every session and request shares.
struct Shared {
    codec: RequestStateCodec,
    tasks: TaskManager,
    changes: broadcast::Sender<Change>,
    extra_tool: AtomicBool,
    extra_prompt: AtomicBool,
}

/// The server; clones are the same server.
#[derive(Clone)]
pub(crate) struct Fixture {
    shared: Arc<Shared>,
}

impl Fixture {
    pub(crate) fn new() -> Result<Self, Box<dyn Error>> {
        let shared = Shared {
            codec: RequestStateCodec::try_new(STATE_KEY)?,
            tasks: TaskManager::new(),
            changes: broadcast::channel(16).0,
            extra_tool: AtomicBool::new(false),
            extra_prompt: AtomicBool::new(false),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    fn tools(&self) -> Result<Vec<Tool>, ErrorData> {
        content::tools(self.shared.extra_tool.load(Ordering::SeqCst))
    }

    async fn change(&self, change: Change, peer: &Peer<RoleServer>, legacy: bool) -> Result<(), ErrorData> {
        let flag = match change {
            Change::Tools => &self.shared.extra_tool,
            Change::Prompts => &self.shared.extra_prompt,
        };
        flag.fetch_not(Ordering::SeqCst);
        // Nobody listening is fine.
        self.shared.changes.send(change).ok();
        if legacy {
            let told = match change {
                Change::Tools => peer.notify_tool_list_changed().await,
                Change::Prompts => peer.notify_prompt_list_changed().await,
            };
            told.map_err(|e| ErrorData::internal_error(e.to_string(), None))?;
        }
        Ok(())
    }
}

fn is_legacy(context: &RequestContext<RoleServer>) -> bool {
    context.protocol_version().is_none_or(|version| version.as_str() < "2026-07-28")
}

async fn log(context: &RequestContext<RoleServer>, message: &str) -> Result<(), ErrorData> {
    let wanted = is_legacy(context) || context.meta.log_level().is_some();
    if wanted {
        let said = LoggingMessageNotificationParam::new(LoggingLevel::Info, json!(message));
        let sent = context.peer.notify_logging_message(said).await;
        sent.map_err(|e| ErrorData::internal_error(e.to_string(), None))?;
    }
    Ok(())
}

async fn progress(context: &RequestContext<RoleServer>) -> Result<(), ErrorData> {
    for done in [0.0, 50.0, 100.0] {
        if let Some(token) = context.meta.get_progress_token() {
            let said = ProgressNotificationParam::new(token, done).with_total(100.0);
            let sent = context.peer.notify_progress(said).await;
            sent.map_err(|e| ErrorData::internal_error(e.to_string(), None))?;
        }
        if done < 100.0 {
            tokio::time::sleep(STEP).await;
        }
    }
    Ok(())
}

impl ServerHandler for Fixture {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_logging()
            .enable_completions()
            .enable_prompts()
            .enable_prompts_list_changed()
            .enable_resources()
            .enable_resources_subscribe()
            .enable_tools()
            .enable_tool_list_changed()
            .enable_tasks()
            .build();
        ServerConfig::new(capabilities)
            .with_server_info(Implementation::new("tollgate-conformance-fixture", env!("CARGO_PKG_VERSION")))
    }

    async fn initialize(
        &self,
        request: InitializeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<InitializeResult, ErrorData> {
        context.peer.set_peer_info(request.clone());
        self.negotiate_initialize(&request)
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.tools().ok()?.into_iter().find(|tool| tool.name == name)
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(self.tools()?))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let name = request.name.as_ref();
        let arguments = request.arguments.unwrap_or_default();
        let capabilities = context.client_capabilities().unwrap_or_default();
        if let Some(answer) = content::fixed(name) {
            return content::complete::<CallToolResult>(answer).map(Into::into);
        }
        let round = Round {
            answers: request.input_responses.as_ref(),
            state: request.request_state.as_deref(),
            capabilities: &capabilities,
            codec: &self.shared.codec,
        };
        if let Some(next) = questions::modern(name, &round)? {
            return match next {
                Next::Ask(asked) => Ok(asked.into()),
                Next::Done(said) => content::text(&said).map(Into::into),
            };
        }
        if let Some(result) = jobs::start(&self.shared.tasks, name, &arguments, &capabilities).await {
            return result;
        }
        if let Some(result) = questions::legacy(name, &arguments, &capabilities, &context.peer).await {
            return result.map(Into::into);
        }
        let said = match name {
            "greet" => {
                let name = arguments.get("name").and_then(Value::as_str).unwrap_or("World");
                format!("Hello, {name}!")
            }
            "test_tool_with_task" => {
                return match questions::name_for_task(&round)? {
                    Next::Ask(asked) => Ok(asked.into()),
                    Next::Done(name) => {
                        jobs::greeting(&self.shared.tasks, name, capabilities.supports_tasks())
                    }
                };
            }
            "test_tool_with_logging" | "test_logging_tool" => {
                log(&context, "Tool execution started").await?;
                tokio::time::sleep(STEP).await;
                log(&context, "Tool processing data").await?;
                tokio::time::sleep(STEP).await;
                log(&context, "Tool execution completed").await?;
                "logged".to_owned()
            }
            "test_tool_with_progress" => {
                progress(&context).await?;
                "done".to_owned()
            }
            "test_reconnection" => {
                tokio::time::sleep(4 * STEP).await;
                "still here".to_owned()
            }
            "test_missing_capability" => {
                if capabilities.sampling.is_none() {
                    let needed = ClientCapabilities::builder().enable_sampling().build();
                    return Err(ErrorData::missing_required_client_capability(needed));
                }
                "the client can sample".to_owned()
            }
            "test_trigger_tool_change" => {
                self.change(Change::Tools, &context.peer, is_legacy(&context)).await?;
                "tools changed".to_owned()
            }
            "test_trigger_prompt_change" => {
                self.change(Change::Prompts, &context.peer, is_legacy(&context)).await?;
                "prompts changed".to_owned()
            }
            _ => return Err(ErrorData::invalid_params(format!("Unknown tool: {name}"), None)),
        };
        content::text(&said).map(Into::into)
    }

    async fn list_resources(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        Ok(ListResourcesResult::with_all_items(content::resources()?))
    }

    async fn list_resource_templates(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        Ok(ListResourceTemplatesResult::with_all_items(content::templates()?))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        content::read(&request.uri).map(Into::into)
    }

    async fn list_prompts(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        let extra = self.shared.extra_prompt.load(Ordering::SeqCst);
        Ok(ListPromptsResult::with_all_items(content::prompts(extra)?))
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        if request.name != "test_input_required_result_prompt" {
            return content::prompt(&request.name, &request.arguments.unwrap_or_default()).map(Into::into);
        }
        let capabilities = context.client_capabilities().unwrap_or_default();
        let round = Round {
            answers: request.input_responses.as_ref(),
            state: request.request_state.as_deref(),
            capabilities: &capabilities,
            codec: &self.shared.codec,
        };
        if let Some(context) = questions::prompt_context(&round) {
            let message = PromptMessage::new_text(Role::User, format!("Use this context: {context}"));
            return Ok(GetPromptResult::new(vec![message]).into());
        }
        match questions::ask_prompt_context()? {
            Next::Ask(asked) => Ok(asked.into()),
            Next::Done(_) => Err(ErrorData::internal_error("a question cannot be an answer", None)),
        }
    }

    async fn complete(
        &self,
        request: CompleteRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        let typed = request.argument.value.as_str();
        let values = ["paris", "park", "party"].iter().filter(|word| word.starts_with(typed));
        let values = CompletionInfo::with_all_values(values.map(|word| (*word).to_owned()).collect())
            .map_err(|e| ErrorData::internal_error(e, None))?;
        Ok(CompleteResult::new(values))
    }

    async fn set_level(
        &self,
        _request: SetLevelRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        if is_legacy(&context) {
            return Ok(());
        }
        Err(ErrorData::method_not_found::<SetLevelRequestMethod>())
    }

    async fn subscribe(
        &self,
        request: SubscribeRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        content::read(&request.uri).map(drop)
    }

    async fn unsubscribe(
        &self,
        request: UnsubscribeRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        content::read(&request.uri).map(drop)
    }

    fn accepted_subscription_filter(&self, requested: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        Some(requested.supported_by(&self.get_info().capabilities))
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let mut changes = self.shared.changes.subscribe();
        loop {
            let change = tokio::select! {
                () = context.cancelled() => return Ok(()),
                change = changes.recv() => change,
            };
            let wanted = context.accepted();
            let sent = match change {
                Ok(Change::Tools) if wanted.tools_list_changed == Some(true) => {
                    context.sink().notify_tool_list_changed().await
                }
                Ok(Change::Prompts) if wanted.prompts_list_changed == Some(true) => {
                    context.sink().notify_prompt_list_changed().await
                }
                Ok(Change::Tools | Change::Prompts) | Err(broadcast::error::RecvError::Lagged(_)) => Ok(()),
                Err(broadcast::error::RecvError::Closed) => return Ok(()),
            };
            if sent.is_err() {
                return Ok(());
            }
        }
    }

    async fn get_task(
        &self,
        request: GetTaskParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<GetTaskResult, ErrorData> {
        self.shared.tasks.get_task(&request.task_id).map(GetTaskResult::new)
    }

    async fn update_task(
        &self,
        request: UpdateTaskParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.shared.tasks.update_task(&request.task_id, request.input_responses)
    }

    async fn cancel_task(
        &self,
        request: CancelTaskParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.shared.tasks.cancel_task(&request.task_id)
    }
}
