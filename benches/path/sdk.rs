//! The second yardstick: a plain server of the official Rust SDK in front of a plain client of it, which passes calls on
//! and controls nothing. Gateways that are made of an SDK cost about this.

use crate::{Fallible, process};
use axum::Router;
use rmcp::{
    ErrorData, RoleClient, RoleServer, ServerHandler, ServiceExt as _,
    model::{
        CallToolRequestParams, CallToolResponse, ListToolsResult, PaginatedRequestParams, ServerCapabilities,
        ServerConfig,
    },
    service::{Peer, RequestContext},
    transport::{
        StreamableHttpClientTransport, StreamableHttpServerConfig, StreamableHttpService,
        streamable_http_server::session::local::LocalSessionManager,
    },
};
use std::sync::Arc;
use tokio::net::TcpListener;

#[derive(Clone)]
struct Onward(Peer<RoleClient>);

fn failed(error: impl std::fmt::Display) -> ErrorData {
    ErrorData::internal_error(error.to_string(), None)
}

impl ServerHandler for Onward {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn list_tools(
        &self,
        params: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        self.0.list_tools(params).await.map_err(failed)
    }

    async fn call_tool(
        &self,
        mut params: CallToolRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        // What it says of its sender is not the upstream's matter.
        params.meta = None;
        self.0.call_tool_once(params).await.map_err(failed)
    }
}

/// Passes on to the upstream at `port` until it is killed. On as many threads as the machine has cores, as the gateway.
pub(crate) async fn serve(port: u16) -> Fallible<()> {
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    let transport = StreamableHttpClientTransport::from_uri(format!("http://127.0.0.1:{port}/mcp"));
    let upstream = ().serve(transport).await?;
    let onward = Onward(upstream.peer().clone());
    let service = StreamableHttpService::new(
        move || Ok(onward.clone()),
        Arc::new(LocalSessionManager::default()),
        StreamableHttpServerConfig::default().with_json_response(true),
    );
    let router = Router::new().route_service("/mcp", service);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    process::tell(listener.local_addr()?.port());
    let listener = axum::serve::ListenerExt::tap_io(listener, |stream| {
        // Without it the yardstick would wait for acknowledgements.
        stream.set_nodelay(true).ok();
    });
    axum::serve(listener, router).await?;
    drop(upstream);
    Ok(())
}
