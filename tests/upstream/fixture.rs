//! A real rmcp server: two pages of tools, no prompts, progress, questions, cancellation, list changes.

use parking_lot::Mutex;
use rmcp::{
    ErrorData, RoleServer, ServerHandler, ServiceExt as _,
    model::*,
    service::{RequestContext, SubscriptionContext, SubscriptionSink},
};
use serde_json::{Value, json};
use std::{borrow::Cow, sync::Arc};
use tokio::sync::watch;

/// Which versions the server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaks {
    Both,
    Legacy,
}

#[derive(Clone)]
pub(crate) struct Fixture {
    speaks: Speaks,
    pub(crate) cancelled: Arc<watch::Sender<u64>>,
    pub(crate) grown: Arc<watch::Sender<bool>>,
    sinks: Arc<Mutex<Vec<SubscriptionSink>>>,
}

fn result<T: serde::de::DeserializeOwned>(value: Value) -> Result<T, ErrorData> {
    serde_json::from_value(value).map_err(|e| ErrorData::internal_error(e.to_string(), None))
}

fn text(text: impl Into<String>) -> Result<CallToolResponse, ErrorData> {
    Ok(CallToolResult::success(vec![ContentBlock::text(text.into())]).into())
}

fn question() -> ElicitRequestParams {
    let params = json!({ "mode": "form", "message": "Name?", "requestedSchema": {
        "type": "object", "properties": { "name": { "type": "string" } } } });
    serde_json::from_value(params).unwrap()
}

impl Fixture {
    pub(crate) fn new(speaks: Speaks) -> Self {
        Self {
            speaks,
            cancelled: Arc::new(watch::Sender::new(0)),
            grown: Arc::new(watch::Sender::new(false)),
            sinks: Arc::default(),
        }
    }

    pub(crate) async fn serve_stdio(speaks: Speaks) {
        let service = Self::new(speaks).serve(rmcp::transport::stdio()).await;
        if let Ok(service) = service {
            drop(service.waiting().await);
        }
    }

    async fn ask(
        &self,
        request: &CallToolRequestParams,
        cx: &RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let modern = cx.protocol_version() >= Some(ProtocolVersion::V_2026_07_28);
        if !modern {
            let answer = cx.peer.create_elicitation(question()).await;
            let answer = answer.map_err(|e| ErrorData::internal_error(e.to_string(), None))?;
            return text(serde_json::to_value(answer).unwrap()["content"]["name"].to_string());
        }
        match (&request.request_state, &request.input_responses) {
            (Some(state), Some(answers)) if state == "st ate" => {
                let answers = serde_json::to_value(answers).unwrap();
                text(answers["who"]["content"]["name"].to_string())
            }
            _ => {
                let mut requests = InputRequests::new();
                requests.insert("who".to_owned(), InputRequest::Elicitation(ElicitRequest::new(question())));
                Ok(InputRequiredResult::new(Some(requests), Some("st ate".into())).into())
            }
        }
    }
}

impl ServerHandler for Fixture {
    fn get_info(&self) -> ServerConfig {
        let capabilities =
            ServerCapabilities::builder().enable_tools().enable_tool_list_changed().enable_resources().build();
        ServerConfig::new(capabilities).with_instructions("be kind")
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        match self.speaks {
            Speaks::Both => Cow::Borrowed(ProtocolVersion::KNOWN_VERSIONS),
            Speaks::Legacy => Cow::Owned(vec![ProtocolVersion::V_2025_06_18, ProtocolVersion::V_2025_11_25]),
        }
    }

    async fn list_tools(
        &self,
        request: Option<PaginatedRequestParams>,
        _cx: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let tool = |name: &str| json!({ "name": name, "inputSchema": { "type": "object" } });
        if request.and_then(|r| r.cursor).as_deref() == Some("two") {
            let mut tools = vec![tool("wait"), tool("env")];
            if *self.grown.borrow() {
                tools.push(tool("extra"));
            }
            return result(json!({ "tools": tools, "resultType": "complete", "ttlMs": 0, "cacheScope": "private" }));
        }
        let tools = [tool("echo"), tool("progress"), tool("ask")];
        result(json!({ "tools": tools, "nextCursor": "two", "resultType": "complete", "ttlMs": 0, "cacheScope": "private" }))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        cx: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        match &*request.name {
            "echo" => text(serde_json::to_string(&request.arguments).unwrap()),
            "progress" => {
                let token = cx.meta.get_progress_token();
                for step in 1..=3_u8 {
                    if let Some(token) = token.clone() {
                        let params = ProgressNotificationParam::new(token, f64::from(step));
                        cx.peer.notify_progress(params).await.unwrap();
                    }
                }
                text("done")
            }
            "ask" => self.ask(&request, &cx).await,
            "wait" => {
                if let Some(token) = cx.meta.get_progress_token() {
                    cx.peer.notify_progress(ProgressNotificationParam::new(token, 1.0)).await.unwrap();
                }
                cx.ct.cancelled().await;
                self.cancelled.send_modify(|n| *n += 1);
                text("cancelled")
            }
            "await_cancelled" => {
                self.cancelled.subscribe().wait_for(|n| *n > 0).await.unwrap();
                text("seen")
            }
            "cancelled" => text(self.cancelled.borrow().to_string()),
            "env" => {
                let names: Vec<String> = std::env::vars().map(|(name, _)| name).collect();
                text(serde_json::to_string(&names).unwrap())
            }
            "grow" => {
                self.grown.send_replace(true);
                let sinks: Vec<SubscriptionSink> = self.sinks.lock().clone();
                for sink in sinks {
                    drop(sink.notify_tool_list_changed().await);
                }
                drop(cx.peer.notify_tool_list_changed().await);
                text("grown")
            }
            "big" => text("x".repeat(100_000)),
            other => Err(ErrorData::invalid_params(format!("no tool `{other}`"), None)),
        }
    }

    async fn list_resources(
        &self,
        _request: Option<PaginatedRequestParams>,
        _cx: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        let resources = [json!({ "uri": "file:///a", "name": "a" })];
        result(json!({ "resources": resources, "resultType": "complete", "ttlMs": 0, "cacheScope": "private" }))
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        self.sinks.lock().push(context.sink().clone());
        context.cancelled().await;
        Ok(())
    }
}
