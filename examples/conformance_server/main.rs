//! The server that the official MCP conformance suite expects to find, over Streamable HTTP in both eras.
//! The suite runs against it directly and through a gateway; what differs is the gateway's doing.
//!
//! `cargo run --example conformance_server -- 3000` serves `http://127.0.0.1:3000/mcp`.

#![expect(deprecated, reason = "the older revisions under test log and sample this way")]

mod content;
mod handler;
mod jobs;
mod questions;

use handler::Fixture;
use rmcp::transport::streamable_http_server::{
    StreamableHttpServerConfig, StreamableHttpService, session::local::LocalSessionManager,
};
use std::{error::Error, sync::Arc, time::Duration};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let port: u16 = std::env::args().nth(1).unwrap_or_else(|| "3000".to_owned()).parse()?;
    let fixture = Fixture::new()?;
    let config = StreamableHttpServerConfig::default()
        .with_allowed_origins([
            "http://localhost:*".to_owned(),
            "http://127.0.0.1:*".to_owned(),
            "http://[::1]:*".to_owned(),
        ])
        .with_sse_retry(Some(Duration::from_millis(500)));
    let service = StreamableHttpService::new(
        move || Ok(fixture.clone()),
        Arc::new(LocalSessionManager::default()),
        config,
    );
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    println!("http://{}/mcp", listener.local_addr()?);
    let router = axum::Router::new().nest_service("/mcp", service);
    // Without this, small SSE events wait for the peer's delayed acknowledgement.
    let listener = axum::serve::ListenerExt::tap_io(listener, |stream| {
        if let Err(error) = stream.set_nodelay(true) {
            eprintln!("TCP_NODELAY: {error}");
        }
    });
    axum::serve(listener, router).await?;
    Ok(())
}
