//! Which connections an upstream gets: our own over plain HTTP/1.1, hyper's pool where there is TLS.

use super::http1_pool::Http1Pool;
use crate::upstream::deps::Timing;
use bytes::Bytes;
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use std::time::Duration;

/// The connections of one upstream.
#[derive(Clone)]
pub(in crate::upstream) enum Pool {
    /// HTTP/1.1 without TLS.
    Http1Pool(Http1Pool),
    /// TLS, over which HTTP/2 may be spoken.
    Secure(Box<Client<HttpsConnector<HttpConnector>, Full<Bytes>>>),
}

impl Pool {
    /// Closes what has rested too long.
    pub(in crate::upstream) fn sweep(&self) {
        match self {
            Self::Http1Pool(pool) => pool.sweep(),
            // It has a timer of its own.
            Self::Secure(_) => {}
        }
    }
}

/// A pool for one upstream; the error says why TLS cannot be set up.
pub(super) fn pool(url: &url::Url, timing: &Timing) -> Result<Pool, String> {
    let mut tcp = HttpConnector::new();
    tcp.set_nodelay(true);
    tcp.enforce_http(false);
    tcp.set_connect_timeout(Some(timing.tcp_connect));
    tcp.set_keepalive(Some(Duration::from_secs(60)));
    if url.scheme() == "http" {
        return Ok(Pool::Http1Pool(Http1Pool::new(tcp)));
    }
    let https = HttpsConnectorBuilder::new()
        .with_provider_and_native_roots(rustls::crypto::aws_lc_rs::default_provider())
        .map_err(|error| format!("no TLS: {error}"))?
        .https_or_http()
        .enable_all_versions()
        .wrap_connector(tcp);
    Ok(Pool::Secure(Box::new(
        Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .build(https),
    )))
}
