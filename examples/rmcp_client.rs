//! An agent on rmcp, over Streamable HTTP: lists its tools and calls one.
//!
//! `cargo run --example rmcp_client -- [URL] [KEY] [TOOL] [JSON ARGUMENTS]`, by default the shipped
//! configuration's demo agent reading a note.

use rmcp::{
    ServiceExt,
    model::{CallToolRequestParams, ClientCapabilities, ClientConfig, Implementation},
    transport::{StreamableHttpClientTransport, streamable_http_client::StreamableHttpClientTransportConfig},
};
use std::error::Error;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let url = args.next().unwrap_or_else(|| "http://127.0.0.1:8787/mcp".to_owned());
    // Published in policies/authority.yaml, for a gateway on this machine only.
    let key = args.next().unwrap_or_else(|| "demo-agent-key".to_owned());
    let tool = args.next().unwrap_or_else(|| "demo__notes_read".to_owned());
    let arguments = args.next().unwrap_or_else(|| r#"{"path": "/notes/welcome.md"}"#.to_owned());

    // The HTTP client wants a TLS provider even for a plain URL.
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| "another TLS provider is installed already")?;
    let config = StreamableHttpClientTransportConfig::with_uri(url).auth_header(key);
    let transport = StreamableHttpClientTransport::from_config(config);
    let info = ClientConfig::new(
        ClientCapabilities::default(),
        Implementation::new("rmcp-client-example", env!("CARGO_PKG_VERSION")),
    );
    let client = info.serve(transport).await?;

    for tool in client.list_all_tools().await? {
        println!("{}: {}", tool.name, tool.description.unwrap_or_default());
    }
    let call = CallToolRequestParams::new(tool).with_arguments(serde_json::from_str(&arguments)?);
    let result = client.call_tool(call).await?;
    println!("{}", serde_json::to_string_pretty(&result)?);
    client.cancel().await?;
    Ok(())
}
