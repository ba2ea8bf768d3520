//! The server that the official MCP conformance suite expects to find, over Streamable HTTP in both eras.
//! The suite runs against it directly and through a gateway; what differs is the gateway's doing.
//!
//! `cargo run --example conformance_server -- 3000` serves `http://127.0.0.1:3000/mcp`; a second argument, `legacy` or
//! `modern`, makes it refuse the other era.

#![expect(deprecated, reason = "the older revisions under test log and sample this way")]

mod content;
mod handler;
mod jobs;
mod questions;

use axum::{extract::Request, http::StatusCode, middleware::Next, response::IntoResponse as _};
use handler::Fixture;
use rmcp::transport::streamable_http_server::{
    StreamableHttpServerConfig, StreamableHttpService, session::local::LocalSessionManager,
};
use std::{error::Error, sync::Arc, time::Duration};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let port: u16 = std::env::args().nth(1).unwrap_or_else(|| "3000".to_owned()).parse()?;
    let only = std::env::args().nth(2);
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
    let router = router.layer(axum::middleware::from_fn(move |request: Request, next: Next| {
        // Every stateless request repeats its method in a header, and no other does.
        let era = if request.headers().contains_key("mcp-method") { "modern" } else { "legacy" };
        let refused = only.as_deref().is_some_and(|only| only != era);
        async move {
            if refused {
                let text =
                    r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"not spoken here"}}"#;
                return (StatusCode::BAD_REQUEST, [("content-type", "application/json")], text)
                    .into_response();
            }
            next.run(request).await
        }
    }));
    // Without this, small SSE events wait for the peer's delayed acknowledgement.
    let listener = axum::serve::ListenerExt::tap_io(listener, |stream| {
        if let Err(error) = stream.set_nodelay(true) {
            eprintln!("TCP_NODELAY: {error}");
        }
    });
    axum::serve(listener, router).await?;
    Ok(())
}
