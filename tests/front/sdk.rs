//! The Rust SDK's own client, in both eras, over HTTP and over pipes.

use crate::{
    script::{Counter, Script, agent},
    wire::{Server, provider},
};
use rmcp::{
    ClientHandler, RoleClient,
    model::{
        CallToolRequestParams, ClientConfig, ClientRequest, ElicitRequestParams, ElicitResult,
        ElicitationAction, ErrorData, ProgressNotificationParam, ProtocolVersion, Request,
        ServerNotification, SubscriptionFilter,
    },
    service::{
        ClientLifecycleMode, ClientServiceExt as _, NotificationContext, PeerRequestOptions, RequestContext,
        RunningService, SubscriptionEnd,
    },
    transport::{StreamableHttpClientTransport, streamable_http_client::StreamableHttpClientTransportConfig},
};
use serde_json::json;
use std::sync::{Arc, Mutex};
use tokio_util::sync::CancellationToken;
use tollgate::{clock::System, front::stdio};

#[derive(Clone)]
struct Person {
    progress: Arc<Mutex<Vec<f64>>>,
    progressed: Arc<Counter>,
    elicited: Arc<Counter>,
    told: Arc<Counter>,
}

impl ClientHandler for Person {
    async fn create_elicitation(
        &self,
        _: ElicitRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        self.elicited.add();
        Ok(ElicitResult::new(ElicitationAction::Accept).with_content(json!({ "decision": "approve" })))
    }
    async fn on_progress(&self, params: ProgressNotificationParam, _: NotificationContext<RoleClient>) {
        self.progress.lock().unwrap().push(params.progress);
        self.progressed.add();
    }
    async fn on_tool_list_changed(&self, _: NotificationContext<RoleClient>) {
        self.told.add();
    }
    fn get_info(&self) -> ClientConfig {
        serde_json::from_value(json!({
            "protocolVersion": "2025-11-25",
            "capabilities": { "elicitation": { "form": {} } },
            "clientInfo": { "name": "sdk", "version": "1" },
        }))
        .unwrap()
    }
}

fn person() -> Person {
    let counter = || Arc::new(Counter::new());
    Person { progress: Arc::default(), progressed: counter(), elicited: counter(), told: counter() }
}

fn modern() -> ClientLifecycleMode {
    ClientLifecycleMode::Discover { preferred_versions: vec![ProtocolVersion::V_2026_07_28] }
}

type Client = RunningService<RoleClient, Person>;

async fn over_http(server: &Server, mode: ClientLifecycleMode) -> Client {
    provider();
    let config = StreamableHttpClientTransportConfig::with_uri(server.url.clone()).auth_header("key-a");
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let transport = StreamableHttpClientTransport::with_client(client, config);
    person().serve_with_lifecycle(transport, mode).await.unwrap()
}

async fn over_pipes(script: &Arc<Script>, mode: ClientLifecycleMode) -> Client {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let (stdin, stdout) = tokio::io::split(theirs);
    let options = stdio::StdioOptions {
        max_message: 4 << 20,
        ids: Arc::new(System::default()),
        shutdown: CancellationToken::new(),
    };
    tokio::spawn(stdio::run(script.clone(), agent("a"), options, stdin, stdout));
    person().serve_with_lifecycle(ours, mode).await.unwrap()
}

fn call(name: &'static str) -> CallToolRequestParams {
    CallToolRequestParams::new(name)
}

/// List, call, progress and cancel: the same in every pairing.
async fn exercise(script: &Script, client: &Client) {
    let tools = client.list_all_tools().await.unwrap();
    assert_eq!(tools.len(), 6);
    let failed = client.call_tool(call("none")).await.unwrap_err();
    assert!(failed.to_string().contains("unknown tool"), "{failed}");
    let done = client.call_tool(call("progress")).await.unwrap();
    assert_eq!(done.is_error, Some(false));
    client.service().progressed.reaches(3).await;
    // Handlers run beside each other, so only the set is certain.
    let mut progress = client.service().progress.lock().unwrap().clone();
    progress.sort_by(f64::total_cmp);
    assert_eq!(progress, [1.0, 2.0, 3.0]);
    let request = ClientRequest::CallToolRequest(Request::new(call("wait")));
    let handle = client.send_cancellable_request(request, PeerRequestOptions::no_options()).await.unwrap();
    let entered = script.entered.get();
    script.entered.reaches(entered.max(1)).await;
    handle.cancel(Some("enough".to_owned())).await.unwrap();
    script.dropped.reaches(1).await;
}

fn text(result: &rmcp::model::CallToolResult) -> String {
    serde_json::to_value(result).unwrap()["content"][0]["text"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_legacy_client_over_http() {
    let server = Server::start().await;
    let client = over_http(&server, ClientLifecycleMode::Initialize).await;
    exercise(&server.script, &client).await;
    let answer = client.call_tool(call("ask")).await.unwrap();
    assert!(text(&answer).contains("approve"));
    assert_eq!(client.service().elicited.get(), 1);
    server.script.tools_changed();
    client.service().told.reaches(1).await;
    client.cancel().await.unwrap();
}

#[tokio::test]
async fn a_modern_client_over_http() {
    let server = Server::start().await;
    let client = over_http(&server, modern()).await;
    exercise(&server.script, &client).await;
    let answer = client.call_tool(call("input")).await.unwrap();
    assert!(text(&answer).contains("approve") && text(&answer).contains("sealed"), "{}", text(&answer));
    assert_eq!(client.service().elicited.get(), 1);
    listens(&server.script, &client).await;
    client.cancel().await.unwrap();
}

async fn listens(script: &Script, client: &Client) {
    let filter: SubscriptionFilter = serde_json::from_value(json!({ "toolsListChanged": true })).unwrap();
    let mut subscription = client.listen(filter).await.unwrap();
    assert_eq!(subscription.acknowledged().tools_list_changed, Some(true));
    script.tools_changed();
    let news = subscription.next().await.unwrap();
    assert!(matches!(news, Some(ServerNotification::ToolListChangedNotification(_))), "{news:?}");
    script.revoke("a");
    assert!(subscription.next().await.unwrap().is_none());
    assert!(matches!(subscription.end(), Some(SubscriptionEnd::Cancelled | SubscriptionEnd::Graceful(_))));
}

#[tokio::test]
async fn a_client_that_probes_finds_the_modern_era() {
    let server = Server::start().await;
    let mode = ClientLifecycleMode::Auto {
        preferred_versions: vec![ProtocolVersion::V_2026_07_28],
        legacy_version: None,
    };
    let client = over_http(&server, mode).await;
    assert_eq!(client.peer().peer_info().unwrap().protocol_version, ProtocolVersion::V_2026_07_28);
    client.cancel().await.unwrap();
}

#[tokio::test]
async fn a_legacy_client_over_pipes() {
    let script = Script::new();
    let client = over_pipes(&script, ClientLifecycleMode::Initialize).await;
    exercise(&script, &client).await;
    assert!(text(&client.call_tool(call("ask")).await.unwrap()).contains("approve"));
    script.tools_changed();
    client.service().told.reaches(1).await;
    client.cancel().await.unwrap();
}

#[tokio::test]
async fn a_modern_client_over_pipes() {
    let script = Script::new();
    let client = over_pipes(&script, modern()).await;
    exercise(&script, &client).await;
    assert!(text(&client.call_tool(call("input")).await.unwrap()).contains("approve"));
    listens(&script, &client).await;
}
