//! The yardstick: a pass-through that does nothing but pass on, of the parts that everybody would take (axum in front,
//! reqwest behind). What the gateway costs beside it holds where the rig's own speed does not.

use crate::{Fallible, process};
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::any,
};
use std::sync::Arc;
use tokio::net::TcpListener;

struct Onward {
    client: reqwest::Client,
    url: String,
}

/// Passes on to the upstream at `port` until it is killed. On as many threads as the machine has cores, as the gateway.
pub(crate) async fn serve(port: u16) -> Fallible<()> {
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    let onward = Onward {
        client: reqwest::Client::builder().tcp_nodelay(true).build()?,
        url: format!("http://127.0.0.1:{port}/mcp"),
    };
    let router = Router::new().route("/mcp", any(pass)).with_state(Arc::new(onward));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    process::tell(listener.local_addr()?.port());
    let listener = axum::serve::ListenerExt::tap_io(listener, |stream| {
        // Without it the yardstick would wait for acknowledgements.
        stream.set_nodelay(true).ok();
    });
    axum::serve(listener, router).await?;
    Ok(())
}

async fn pass(State(onward): State<Arc<Onward>>, mut headers: HeaderMap, body: Bytes) -> Response {
    headers.remove("host");
    headers.remove("content-length");
    let sent = onward.client.post(&onward.url).headers(headers).body(body).send().await;
    let Ok(answer) = sent else { return StatusCode::BAD_GATEWAY.into_response() };
    let (status, mut headers) = (answer.status(), answer.headers().clone());
    headers.remove("content-length");
    match answer.bytes().await {
        Ok(body) => (status, headers, body).into_response(),
        Err(_) => StatusCode::BAD_GATEWAY.into_response(),
    }
}
