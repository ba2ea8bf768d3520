//! The load: keep-alive HTTP/1.1 connections, each with one call in flight, each in a session of its own where
//! the era has sessions.

use crate::{Fallible, upstream::MARK};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::{
    borrow::Cow,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{net::TcpStream, task::JoinSet};

/// Wide enough for any count, so that a body is made by writing digits over digits.
const DIGITS: usize = 10;
pub(crate) const PLACE: &str = "0000000000";

/// How a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Era {
    Legacy,
    Modern,
}

impl Era {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Legacy => "2025-11-25",
            Self::Modern => "2026-07-28",
        }
    }
}

/// An MCP endpoint.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    port: u16,
    path: Cow<'static, str>,
    tool: Cow<'static, str>,
    key: Option<&'static str>,
}

impl Target {
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn direct(port: u16) -> Self {
        Self { port, path: "/mcp".into(), tool: "echo".into(), key: None }
    }

    /// Another gateway, in which the tool is called so.
    pub(crate) fn other(port: u16, path: String, tool: String) -> Self {
        Self { port, path: path.into(), tool: tool.into(), key: None }
    }

    pub(crate) fn through(port: u16, key: &'static str) -> Self {
        Self { port, path: "/mcp".into(), tool: "bench__echo".into(), key: Some(key) }
    }

    /// The same endpoint, another tool, another agent.
    pub(crate) fn with(&self, tool: String, key: &'static str) -> Self {
        Self { port: self.port, path: self.path.clone(), tool: tool.into(), key: Some(key) }
    }
}

/// One measurement.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) calls_per_second: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) calls: usize,
    /// CPU time that the measured process took for each call.
    pub(crate) cpu_us: Option<f64>,
}

impl Sample {
    fn of(mut nanos: Vec<u64>, took: Duration) -> Self {
        nanos.sort_unstable();
        let at = |share: f64| {
            let place = ((nanos.len() as f64 - 1.0) * share).round() as usize;
            nanos.get(place).copied().unwrap_or_default() as f64 / 1000.0
        };
        Self {
            calls_per_second: nanos.len() as f64 / took.as_secs_f64(),
            p50_us: at(0.5),
            p99_us: at(0.99),
            calls: nanos.len(),
            cpu_us: None,
        }
    }

    /// The measurement in the middle by calls per second.
    pub(crate) fn median(mut samples: Vec<Self>) -> Option<Self> {
        samples.sort_by(|a, b| a.calls_per_second.total_cmp(&b.calls_per_second));
        let middle = samples.len() / 2;
        samples.into_iter().nth(middle)
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "calls_per_second": self.calls_per_second, "p50_us": self.p50_us, "p99_us": self.p99_us,
            "cpu_us_per_call": self.cpu_us,
        })
    }
}

/// Calls over so many connections for so long.
pub(crate) async fn run(target: &Target, era: Era, connections: usize, span: Duration) -> Fallible<Sample> {
    let mut open = Vec::new();
    for number in 0..connections {
        let mut connection = Connection::open(target, era, usual()).await?;
        // Calls of all connections differ: identical ones would be a loop.
        connection.count = (number as u64) * 10_000_000;
        open.push(connection);
    }
    let started = Instant::now();
    let until = started + span;
    let mut running = JoinSet::new();
    for connection in open {
        running.spawn(connection.call_until(until));
    }
    let mut nanos = Vec::new();
    while let Some(done) = running.join_next().await {
        nanos.extend(done??);
    }
    Ok(Sample::of(nanos, started.elapsed()))
}

/// The arguments of the measured call.
fn usual() -> Value {
    json!({ "text": format!("note {PLACE}"), "count": 3 })
}

/// Calls over so many connections until the returned set is dropped, whatever they are answered; how many were answered.
pub(crate) async fn press(
    target: &Target,
    connections: usize,
    arguments: Value,
    answered: Arc<AtomicU64>,
) -> Fallible<JoinSet<()>> {
    let mut running = JoinSet::new();
    for number in 0..connections {
        let mut connection = Connection::open(target, Era::Modern, arguments.clone()).await?;
        connection.count = (number as u64) * 10_000_000;
        let answered = answered.clone();
        running.spawn(async move {
            loop {
                let body = connection.next_body();
                if connection.post(body).await.is_err() {
                    return;
                }
                answered.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    Ok(running)
}

/// So many legacy sessions, open and idle.
pub(crate) async fn sessions(target: &Target, count: u32) -> Fallible<Vec<Connection>> {
    let mut open = Vec::new();
    for _ in 0..count {
        open.push(Connection::open(target, Era::Legacy, usual()).await?);
    }
    Ok(open)
}

/// One connection, in its session where there is one.
pub(crate) struct Connection {
    path: Cow<'static, str>,
    sender: SendRequest<Full<Bytes>>,
    headers: HeaderMap,
    body: Vec<u8>,
    places: Vec<usize>,
    count: u64,
}

impl Connection {
    /// Each call has another number where the arguments say [`PLACE`].
    async fn open(target: &Target, era: Era, arguments: Value) -> Fallible<Self> {
        let stream = TcpStream::connect(("127.0.0.1", target.port)).await?;
        stream.set_nodelay(true)?;
        let (sender, driver) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(driver);
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_str(&format!("127.0.0.1:{}", target.port))?);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        if let Some(key) = target.key {
            headers.insert(header::AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {key}"))?);
        }
        let mut params = json!({ "name": target.tool, "arguments": arguments });
        let path = target.path.clone();
        let mut connection = Self { sender, path, headers, body: Vec::new(), places: Vec::new(), count: 0 };
        match era {
            Era::Legacy => connection.initialize().await?,
            Era::Modern => {
                connection.headers.insert("mcp-method", HeaderValue::from_static("tools/call"));
                connection.headers.insert("mcp-name", HeaderValue::from_str(&target.tool)?);
                if let Some(params) = params.as_object_mut() {
                    let meta = json!({
                        "io.modelcontextprotocol/protocolVersion": era.name(),
                        "io.modelcontextprotocol/clientInfo": { "name": "bench", "version": "1" },
                        "io.modelcontextprotocol/clientCapabilities": {},
                    });
                    params.insert("_meta".to_owned(), meta);
                }
            }
        }
        connection.headers.insert("mcp-protocol-version", HeaderValue::from_static(era.name()));
        let call =
            json!({ "jsonrpc": "2.0", "id": PLACE, "method": "tools/call", "params": params }).to_string();
        connection.places = call.match_indices(PLACE).map(|(at, _)| at).collect();
        connection.body = call.into_bytes();
        Ok(connection)
    }

    async fn initialize(&mut self) -> Fallible<()> {
        let hello = json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
            "protocolVersion": Era::Legacy.name(), "capabilities": {},
            "clientInfo": { "name": "bench", "version": "1" },
        } });
        let (session, text) = self.post(Bytes::from(hello.to_string())).await?;
        if !text.contains("protocolVersion") {
            return Err(format!("initialize was answered with: {text}").into());
        }
        if let Some(session) = session {
            self.headers.insert("mcp-session-id", session);
        }
        self.headers.insert("mcp-protocol-version", HeaderValue::from_static(Era::Legacy.name()));
        let ready = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        self.post(Bytes::from(ready.to_string())).await?;
        Ok(())
    }

    async fn post(&mut self, body: Bytes) -> Fallible<(Option<HeaderValue>, String)> {
        let mut request = Request::post(self.path.as_ref()).body(Full::new(body))?;
        *request.headers_mut() = self.headers.clone();
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        let session = response.headers().get("mcp-session-id").cloned();
        let body = response.into_body().collect().await?.to_bytes();
        Ok((session, String::from_utf8_lossy(&body).into_owned()))
    }

    /// Calls one after the other; how long each took.
    async fn call_until(mut self, until: Instant) -> Result<Vec<u64>, String> {
        let mut nanos = Vec::new();
        loop {
            let started = Instant::now();
            if started >= until {
                return Ok(nanos);
            }
            let body = self.next_body();
            let (_, text) = self.post(body).await.map_err(|e| e.to_string())?;
            nanos.push(u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX));
            if !text.contains(MARK) {
                return Err(format!("a call was answered with: {text}"));
            }
        }
    }

    fn next_body(&mut self) -> Bytes {
        self.count += 1;
        let digits = format!("{:0DIGITS$}", self.count);
        for &at in &self.places {
            if let Some(place) = self.body.get_mut(at..at + DIGITS) {
                place.copy_from_slice(digits.as_bytes());
            }
        }
        Bytes::copy_from_slice(&self.body)
    }
}
