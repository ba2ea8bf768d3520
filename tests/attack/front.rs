//! The listener, as a page in a browser and a neighbour behind the same address try it.

use crate::world::{World, plain};
use serde_json::{Value, json};
use std::{net::SocketAddr, sync::Arc};
use tokio_util::sync::CancellationToken;
use tollgate::{
    clock::System,
    config,
    front::{
        admin,
        http::{Endpoint, HttpOptions, serve},
    },
    gateway::{CheckedFiles, Origin},
};

/// The key is `open sesame`.
const AUTHORITY: &str = r#"
capabilities:
  all: { tools: ["**"], resources: ["**"], prompts: ["**"] }
agents:
  robot:
    type: worker
    role: worker
    tenant: acme
    owner: team
    model: gpt-4o
    capabilities: [all]
    keys: ["sha256:41ef4bb0b23661e66301aac36066912dac037827b4ae63a7b1165a5aa93ed4eb"]
people:
  alice: { keys: ["sha256:2222222222222222222222222222222222222222222222222222222222222222"], groups: [leads], roles: [approver] }
"#;

struct Gate {
    _world: World,
    mcp: SocketAddr,
    admin: SocketAddr,
    http: reqwest::Client,
}

/// Both listeners, with these lines at the end of servers.toml.
async fn gate(lines: &str) -> Gate {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| drop(rustls::crypto::aws_lc_rs::default_provider().install_default()));
    let world = World::new(&[("authority.yaml", AUTHORITY)], plain).await;
    let path = world.folder.path().join("servers.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{text}\n{lines}")).unwrap();
    let config::Loaded { config, policies, .. } =
        config::load(&path, &|_| None).unwrap_or_else(|problems| panic!("{problems}"));
    world.gateway.reload(CheckedFiles { config, policies, origin: Origin::default() }).await.unwrap();
    let system = Arc::new(System::default());
    let stop = CancellationToken::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mcp = listener.local_addr().unwrap();
    let in_force = world.gateway.in_force();
    let mut options =
        HttpOptions::new(&in_force.config.gateway, system.clone(), system.clone(), stop.clone());
    options.listen = mcp;
    tokio::spawn(serve(listener, None, Endpoint::new(world.gateway.clone(), options), stop.clone()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let admin = listener.local_addr().unwrap();
    let desk = admin::Desk::new(world.gateway.clone(), system);
    tokio::spawn(serve(listener, None, admin::router(Arc::new(desk)), stop));
    Gate { _world: world, mcp, admin, http: reqwest::Client::builder().no_proxy().build().unwrap() }
}

impl Gate {
    fn hello(&self) -> reqwest::RequestBuilder {
        let params = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {} });
        let body: Value = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params });
        self.http
            .post(format!("http://{}/mcp", self.mcp))
            .header("accept", "application/json, text/event-stream")
            .json(&body)
    }
}

async fn status(request: reqwest::RequestBuilder) -> u16 {
    request.send().await.unwrap().status().as_u16()
}

/// With an agent for callers without a key, whoever can send a request is that agent: no page may.
#[tokio::test(flavor = "multi_thread")]
async fn no_page_of_another_server_on_this_machine_is_the_anonymous_agent() {
    let gate = gate("[auth]\nanonymous_agent = \"robot\"\n").await;
    let own = format!("http://{}", gate.mcp);
    let neighbour = format!("http://{}", gate.admin);
    assert_eq!(status(gate.hello()).await, 200);
    assert_eq!(status(gate.hello().header("origin", &own)).await, 200);
    for origin in [
        "http://localhost:5173",
        "http://127.0.0.1:8888",
        "http://[::1]:3000",
        "https://localhost",
        "http://localhost",
        "http://evil.example",
        "null",
        "file://",
        "chrome-extension://abcdef",
        "vscode-webview://1234",
        neighbour.as_str(),
    ] {
        assert_eq!(status(gate.hello().header("origin", origin)).await, 403, "{origin}");
        let preflight = gate.http.request(reqwest::Method::OPTIONS, format!("{own}/mcp"));
        assert_eq!(status(preflight.header("origin", origin)).await, 403, "{origin}");
    }
    for site in ["cross-site", "same-site"] {
        assert_eq!(status(gate.hello().header("sec-fetch-site", site)).await, 403, "{site}");
    }
    // A name that was rebound to this machine.
    for host in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example"] {
        assert_eq!(status(gate.hello().header("host", host)).await, 403, "{host}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_page_of_another_server_reaches_the_admin_listener() {
    let gate = gate("").await;
    let get = |path: &str| gate.http.get(format!("http://{}{path}", gate.admin));
    assert_eq!(status(get("/healthz")).await, 200);
    assert_eq!(status(get("/healthz").header("origin", format!("http://{}", gate.admin))).await, 200);
    assert_eq!(status(get("/healthz").header("sec-fetch-site", "same-origin")).await, 200);
    // A link to the page is followed; nothing is loaded from it, and it is in no frame.
    let link = || {
        let request = get("/").header("sec-fetch-site", "cross-site");
        request.header("sec-fetch-mode", "navigate")
    };
    assert_eq!(status(link().header("sec-fetch-dest", "document")).await, 200);
    assert_eq!(status(link().header("sec-fetch-dest", "iframe")).await, 403);
    for origin in ["http://localhost:5173", "null", "http://evil.example"] {
        assert_eq!(status(get("/healthz").header("origin", origin)).await, 403, "{origin}");
    }
    for site in ["cross-site", "same-site"] {
        assert_eq!(status(get("/page/main.js").header("sec-fetch-site", site)).await, 403, "{site}");
    }
    // A name that was rebound to this machine: it gets what probes of load balancers get, and that says nothing but how it stands.
    let rebound = |path: &str| get(path).header("host", "evil.example");
    for path in ["/", "/page/main.js", "/api/v1/events", "/metrics"] {
        assert_eq!(status(rebound(path)).await, 403, "{path}");
    }
    assert_eq!(status(rebound("/healthz").bearer_auth("open sesame")).await, 403);
    assert_eq!(status(rebound("/healthz")).await, 200);
}

/// Whoever guesses is slowed down, and nobody else behind the same address is.
#[tokio::test(flavor = "multi_thread")]
async fn wrong_keys_of_one_address_keep_no_right_key_out() {
    let gate = gate("").await;
    let right = || gate.hello().bearer_auth("open sesame");
    assert_eq!(status(right()).await, 200);
    let mut seen = Vec::new();
    for guess in 0..200 {
        let attempt = gate.hello().bearer_auth(format!("tg_{guess}"));
        seen.push(status(attempt).await);
        if guess % 20 == 0 {
            assert_eq!(status(right()).await, 200);
        }
    }
    assert!(seen[..20].iter().all(|status| *status == 401) && seen[20..].iter().all(|status| *status == 429));
    let refused = gate.hello().bearer_auth("tg_no").send().await.unwrap();
    assert!(refused.headers()["retry-after"].to_str().unwrap().parse::<u64>().unwrap() <= 60);
    assert_eq!(status(right()).await, 200);
}
