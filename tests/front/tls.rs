//! TLS on a real socket, and what a wrong file is answered with. The key in `fixtures/` is for these tests alone.

use crate::{
    script::{Script, modern_meta},
    wire::{Server, provider, rpc},
};
use bytes::Bytes;
use http_body_util::Full;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use serde_json::json;
use std::{path::PathBuf, sync::Arc};
use tokio_util::sync::CancellationToken;
use tollgate::{
    clock::System,
    config::TlsConfig,
    front::{
        http::{Endpoint, HttpOptions, Limits, serve},
        tls::{Tls, server_config},
    },
};

fn fixture(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "front", "fixtures", name].iter().collect()
}

/// The server's side, with the key for these tests.
pub(crate) fn server() -> Tls {
    server_config(&config("cert.pem", "key.pem")).unwrap()
}

/// A client's side that trusts it.
pub(crate) fn trusting() -> rustls::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(fixture("cert.pem")).unwrap()).unwrap();
    rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()
}

fn config(cert: &str, key: &str) -> TlsConfig {
    TlsConfig { cert: fixture(cert), key: fixture(key), client_ca: None, crl: None }
}

#[test]
fn wrong_files_are_named() {
    let check = |cert: &str, key: &str, expect: &str| {
        let error = server_config(&config(cert, key)).unwrap_err();
        assert!(error.contains(expect), "{error}");
        assert!(!error.contains("BEGIN"));
    };
    check("missing.pem", "key.pem", "missing.pem");
    check("cert.pem", "missing.pem", "missing.pem");
    check("key.pem", "key.pem", "holds no PEM certificate");
    check("cert.pem", "cert.pem", "cannot read the private key");
    check("cert.pem", "other-key.pem", "do not go together");
}

#[tokio::test]
async fn both_http_versions_are_spoken_over_tls() {
    provider();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let system = Arc::new(System::default());
    let shutdown = CancellationToken::new();
    let options = HttpOptions {
        listen: address,
        public_url: None,
        allowed_hosts: Vec::new(),
        allowed_origins: Vec::new(),
        limits: Limits::default(),
        clock: system.clone(),
        ids: system,
        shutdown: shutdown.clone(),
    };
    let script = Script::new();
    let served = tokio::spawn(serve(
        listener,
        Some(self::server()),
        Endpoint::new(script.clone(), options),
        shutdown.clone(),
    ));
    // Whoever speaks no TLS is hung up on, and holds up nobody.
    let plain = reqwest::Client::builder().no_proxy().build().unwrap();
    assert!(plain.get(format!("http://{address}/mcp")).send().await.is_err());
    let https = || HttpsConnectorBuilder::new().with_tls_config(trusting()).https_only();
    let clients = [
        (http::Version::HTTP_11, Client::builder(TokioExecutor::new()).build(https().enable_http1().build())),
        (http::Version::HTTP_2, Client::builder(TokioExecutor::new()).build(https().enable_http2().build())),
    ];
    for (turn, (version, client)) in clients.into_iter().enumerate() {
        let post = |method: &str, name: &str, body: serde_json::Value| {
            http::Request::post(format!("https://localhost:{}/mcp", address.port()))
                .header("authorization", "Bearer key-a")
                .header("content-type", "application/json")
                .header("accept", "application/json, text/event-stream")
                .header("mcp-protocol-version", "2026-07-28")
                .header("mcp-method", method)
                .header("mcp-name", name)
                .body(Full::new(Bytes::from(body.to_string())))
                .unwrap()
        };
        let meta = modern_meta(json!({}));
        let list = client
            .request(post("tools/list", "", rpc(1, "tools/list", json!({ "_meta": meta }))))
            .await
            .unwrap();
        assert_eq!((list.status().as_u16(), list.version()), (200, version));
        // I3: a reset stream or a closed connection cancels, in either version.
        let call = rpc(2, "tools/call", json!({ "name": "wait", "_meta": meta }));
        let waiting = tokio::spawn(client.request(post("tools/call", "wait", call)));
        script.entered.reaches(turn + 1).await;
        waiting.abort();
        script.dropped.reaches(turn + 1).await;
    }
    shutdown.cancel();
    served.await.unwrap().unwrap();
}

/// What is in flight at a shutdown may finish; new connections are refused.
#[tokio::test]
async fn a_shutdown_lets_calls_finish() {
    let server = Server::start().await;
    let http = server.as_agent("a");
    let call = tokio::spawn({
        let http = http.clone();
        async move { http.modern("tools/call", json!({ "name": "wait" })).await }
    });
    server.script.entered.reaches(1).await;
    server.shutdown.cancel();
    assert!(!server.served.is_finished());
    server.script.release.send_replace(true);
    assert_eq!(call.await.unwrap().status, 200);
    server.served.await.unwrap().unwrap();
    assert!(http.request(String::new()).send().await.is_err());
}
