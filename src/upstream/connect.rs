//! From a configuration to a connection: which era the other side speaks is found out once.
//!
//! `server/discover` is asked first. A discovery means modern; so does the modern error that lists other versions,
//! of which a legacy one may be taken. Anything else, silence included, means `initialize`.

use super::{
    call::Call,
    contain::Containment,
    dialect::Dialect,
    http::{Fault, Http, TwoUrls, listen_filter},
    inbox::{ServerResponse, Signals},
    measured::OwnRequests,
    refusal::{Cause, Failure},
    stdio::Stdio,
    types::{Era, UpstreamError},
    wire,
    wiring::Wiring,
};
use crate::{
    config::{Asks, HttpWire, UpstreamTransport},
    model::{RpcError, code},
    telemetry::{Label, Session, Transport},
};
use secrecy::SecretString;
use serde_json::{Map, Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::sync::{oneshot, watch};

/// The extension of clients that show pages (MCP Apps), and the one kind of page that there is.
const APPS: &str = "io.modelcontextprotocol/ui";
const APP: &str = "text/html;profile=mcp-app";

/// What the other side said of itself.
#[derive(Clone, Debug)]
pub(super) struct Hello {
    pub(super) era: Era,
    /// A modern one that would answer `initialize` too.
    pub(super) speaks_both: bool,
    pub(super) capabilities: Value,
    pub(super) server_info: Value,
    pub(super) instructions: Option<String>,
    /// What keeps its process within its limits.
    pub(super) containment: Option<Arc<Containment>>,
}

/// One connection over which requests can be made.
pub(super) enum Connection {
    Stdio(Arc<Stdio>, Dialect),
    Http(Arc<Http>),
    /// HTTP+SSE of 2024-11-05.
    TwoUrls(Arc<TwoUrls>),
}

/// What Tollgate declares in `initialize` where one connection serves many callers: whatever a caller may be able
/// to answer, of what the upstream may ask. A question to a caller that cannot is answered with an error.
pub(super) fn declared_to_all(asks: Asks) -> Value {
    let all = json!({ "elicitation": { "form": {}, "url": {} }, "sampling": {}, "roots": {} });
    let mut declared = asks.relayed(&all);
    // A result with a page has a text too, for clients that show none.
    declared.insert("extensions".to_owned(), json!({ APPS: { "mimeTypes": [APP] } }));
    Value::Object(declared)
}

/// Where one caller has a connection of its own, that caller's capabilities, of those that can be relayed.
pub(super) fn declared_for(asks: Asks, caller: &Value) -> Value {
    let mut declared = asks.relayed(caller);
    if caller.get("extensions").and_then(|extensions| extensions.get(APPS)).is_some() {
        declared.insert("extensions".to_owned(), json!({ APPS: { "mimeTypes": [APP] } }));
    }
    Value::Object(declared)
}

enum Probe {
    Modern(Value),
    Legacy,
    Neither(String),
}

fn judge(answer: ServerResponse) -> Probe {
    let listed = |versions: &Value| -> Vec<String> {
        let versions = versions.as_array().into_iter().flatten();
        versions.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let choose = |versions: Vec<String>, result: Option<Value>| {
        if let Some(result) = result
            && versions.iter().any(|v| v == wire::MODERN)
        {
            return Probe::Modern(result);
        }
        if versions.iter().any(|v| wire::LEGACY_ACCEPTED.contains(&v.as_str())) {
            return Probe::Legacy;
        }
        Probe::Neither(format!("it speaks none of {} and {}", wire::MODERN, wire::LEGACY_ACCEPTED.join(", ")))
    };
    match answer {
        Ok(result) => match result.get("supportedVersions").map(listed) {
            Some(versions) => choose(versions, Some(result)),
            None => Probe::Legacy,
        },
        Err(UpstreamError::Rpc(RpcError { code: code::UNSUPPORTED_VERSION, data: Some(data), .. })) => {
            choose(data.get("supported").map(listed).unwrap_or_default(), None)
        }
        Err(
            UpstreamError::Rpc(_)
            | UpstreamError::NotSent(_)
            | UpstreamError::Lost(_)
            | UpstreamError::TimedOut(_)
            | UpstreamError::TooLarge(_)
            | UpstreamError::Refused(_)
            | UpstreamError::Malformed(_),
        ) => Probe::Legacy,
    }
}

fn hello(era: Era, mut result: Value) -> Hello {
    let mut take = |key: &str| result.get_mut(key).map(Value::take).unwrap_or_default();
    let versions = take("supportedVersions");
    let speaks_both = era == Era::Modern
        && versions
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .any(|v| wire::LEGACY_ACCEPTED.contains(&v));
    let server_info = match era {
        Era::Legacy => take("serverInfo"),
        Era::Modern => take("_meta").get_mut(wire::KEY_SERVER).map(Value::take).unwrap_or_default(),
    };
    let capabilities = take("capabilities");
    let instructions = match take("instructions") {
        Value::String(text) => Some(text),
        _ => None,
    };
    Hello { era, speaks_both, capabilities, server_info, instructions, containment: None }
}

fn discover_call(timeout: Duration) -> Arc<Call> {
    Arc::new(Call::internal("server/discover", Map::new(), timeout))
}

/// Connects and shakes hands. `hint` is what was found out before. The error is redacted.
pub(super) async fn connect(wiring: &Wiring<'_>, hint: Option<Era>) -> Result<(Connection, Hello), Failure> {
    let connected = match &wiring.config.transport {
        UpstreamTransport::Stdio { .. } => match connect_stdio(wiring, hint == Some(Era::Legacy)).await {
            Err(Refusal::DiedOfProbe) => connect_stdio(wiring, true).await,
            other => other,
        },
        UpstreamTransport::Http { .. } => connect_http(wiring, hint).await,
    };
    if let Ok((connection, _)) = &connected
        && let Some((transport, version)) = connection.session()
    {
        let about = (Label::from(wiring.config.name.shared()), Label::from(version));
        let telemetry = wiring.deps.telemetry.clone();
        connection.signals().measure(Session::at_upstream(telemetry, transport, about));
    }
    connected.map_err(|refusal| match refusal {
        Refusal::DiedOfProbe => "the process ended".to_owned().into(),
        Refusal::Because(failure) => failure,
    })
}

enum Refusal {
    /// The child ended when it was probed, as some legacy servers do.
    DiedOfProbe,
    Because(Failure),
}

impl<T: Into<Failure>> From<T> for Refusal {
    fn from(reason: T) -> Self {
        Self::Because(reason.into())
    }
}

fn signals(wiring: &Wiring<'_>) -> Signals {
    Signals::new(wiring.updates.clone(), OwnRequests::of(wiring))
}

async fn connect_stdio(wiring: &Wiring<'_>, legacy: bool) -> Result<(Connection, Hello), Refusal> {
    let UpstreamTransport::Stdio { command, env, cwd } = &wiring.config.transport else {
        return Err("no command".to_owned().into());
    };
    let max = wiring.config.max_result_bytes;
    let stdio = Stdio::spawn(wiring, command, (env, cwd), max, signals(wiring))?;
    // What it said last often says why it went.
    shake_hands(wiring, &stdio, legacy).await.map_err(|refusal| {
        match (refusal, stdio.signals().closed_reason()) {
            (Refusal::Because(failure), Some(cause)) => {
                Refusal::Because(Failure { cause: Cause::clone(&cause), ..failure })
            }
            (refusal, _) => refusal,
        }
    })
}

async fn shake_hands(
    wiring: &Wiring<'_>,
    stdio: &Arc<Stdio>,
    legacy: bool,
) -> Result<(Connection, Hello), Refusal> {
    let deps = wiring.deps;
    let dialect = |era, version: &str| Dialect::new(era, version, &deps.client_name, &deps.client_version);
    let modern = dialect(Era::Modern, wire::MODERN);
    let as_modern = |result: Value| {
        stdio.set_modern();
        (Connection::Stdio(stdio.clone(), modern.clone()), hello(Era::Modern, result))
    };
    let as_legacy = |result: Value| -> Result<_, Refusal> {
        let version = wire::legacy_version(&result)?;
        let connection = Connection::Stdio(stdio.clone(), dialect(Era::Legacy, version));
        Ok((connection, hello(Era::Legacy, result)))
    };
    if legacy {
        return as_legacy(initialize_stdio(wiring, stdio).await?);
    }
    let call = discover_call(deps.timing.handshake);
    let discover = stdio.request(&call, &modern);
    tokio::pin!(discover);
    match tokio::time::timeout(deps.timing.probe, &mut discover).await {
        Ok(Err(UpstreamError::Lost(_) | UpstreamError::NotSent(_))) => Err(Refusal::DiedOfProbe),
        Ok(answer) => match judge(answer) {
            Probe::Modern(result) => Ok(as_modern(result)),
            Probe::Neither(reason) => Err(reason.into()),
            Probe::Legacy => as_legacy(initialize_stdio(wiring, stdio).await?),
        },
        // Silent, or only slow to start: whichever of the two it answers well, that it speaks.
        Err(_) => {
            let initialize = initialize_stdio(wiring, stdio);
            tokio::pin!(initialize);
            tokio::select! {
                answer = &mut discover => match judge(answer) {
                    Probe::Modern(result) => Ok(as_modern(result)),
                    Probe::Neither(reason) => Err(reason.into()),
                    Probe::Legacy => as_legacy(initialize.await?),
                },
                answer = &mut initialize => match answer {
                    Ok(result) => as_legacy(result),
                    Err(UpstreamError::Rpc(error)) => match judge(discover.await) {
                        Probe::Modern(result) => Ok(as_modern(result)),
                        Probe::Neither(reason) => Err(reason.into()),
                        Probe::Legacy => Err(UpstreamError::Rpc(error).into()),
                    },
                    Err(error) => Err(error.into()),
                },
            }
        }
    }
}

async fn initialize_stdio(wiring: &Wiring<'_>, stdio: &Arc<Stdio>) -> ServerResponse {
    let deps = wiring.deps;
    let dialect = Dialect::new(Era::Legacy, wire::LEGACY, &deps.client_name, &deps.client_version);
    let offer = async |dialect: &Dialect| {
        let call = Arc::new(Call::initialize(&wiring.declared, dialect, deps.timing.handshake));
        stdio.request(&call, dialect).await
    };
    let result = match offer(&dialect).await {
        Err(UpstreamError::Rpc(error)) => match wire::version_instead(&error) {
            Some(version) => offer(&Dialect { version: version.into(), ..dialect.clone() }).await?,
            None => return Err(UpstreamError::Rpc(error)),
        },
        answered => answered?,
    };
    stdio.notify(wire::notification("notifications/initialized", &json!({}))).await;
    Ok(result)
}

async fn connect_http(wiring: &Wiring<'_>, hint: Option<Era>) -> Result<(Connection, Hello), Refusal> {
    let UpstreamTransport::Http { url, headers, wire, .. } = &wiring.config.transport else {
        return Err("no URL".to_owned().into());
    };
    if *wire == HttpWire::Sse {
        return Ok(connect_two_urls(wiring, url, headers).await?);
    }
    let timing = &wiring.deps.timing;
    let http = Http::new(wiring, url, headers, signals(wiring))?;
    if hint != Some(Era::Legacy) {
        let call = discover_call(timing.handshake);
        // A silent server is a legacy one; the longer wait is for the network.
        let answer = tokio::time::timeout(timing.probe.saturating_mul(3), http.discover(&call)).await;
        match answer {
            // It says itself what it is.
            Ok(Err(fault @ Fault::OlderTransport)) => return older(wiring, fault).await,
            Ok(Err(Fault::Failed(UpstreamError::NotSent(reason)))) => return Err(reason.into()),
            // Another request would only be one too many.
            Ok(Err(Fault::Failed(UpstreamError::Refused(refusal)))) if refusal.retry_after.is_some() => {
                return Err(UpstreamError::Refused(refusal).into());
            }
            Ok(answer) => match judge(answer.map_err(Fault::plain)) {
                Probe::Modern(result) => return Ok((Connection::Http(http), hello(Era::Modern, result))),
                Probe::Neither(reason) => return Err(reason.into()),
                Probe::Legacy => {}
            },
            Err(_) => {}
        }
    }
    match http.initialize(timing.handshake).await {
        Ok(result) => Ok((Connection::Http(http), hello(Era::Legacy, result))),
        Err(fault) => older(wiring, fault).await,
    }
}

/// The transport of 2024-11-05, where a server that does not know the POST may speak that (2025-03-26, "Backwards
/// Compatibility"). Whether it does, its event stream says: it begins with an endpoint, as no other does.
async fn older(wiring: &Wiring<'_>, fault: Fault) -> Result<(Connection, Hello), Refusal> {
    let UpstreamTransport::Http { url, headers, wire, .. } = &wiring.config.transport else {
        return Err("no URL".to_owned().into());
    };
    if *wire != HttpWire::Auto || !fault.may_be_older() {
        return Err(fault.failure().into());
    }
    let first = fault.failure().cause;
    let connected = connect_two_urls(wiring, url, headers).await;
    Ok(connected.map_err(|Failure { cause, retry_after }| {
        let reason = format!("{} (to a POST); and not HTTP+SSE either: {}", first.reason, cause.reason);
        let said = Cause { reason: first.said, said: cause.said }.whole();
        Failure { cause: Cause { reason, said }, retry_after }
    })?)
}

async fn connect_two_urls(
    wiring: &Wiring<'_>,
    url: &url::Url,
    headers: &BTreeMap<String, SecretString>,
) -> Result<(Connection, Hello), Failure> {
    let (connection, result) = TwoUrls::open(wiring, url, headers, signals(wiring)).await?;
    Ok((Connection::TwoUrls(connection), hello(Era::Legacy, result)))
}

impl Connection {
    pub(super) fn signals(&self) -> &Signals {
        match self {
            Self::Stdio(stdio, _) => stdio.signals(),
            Self::Http(http) => http.signals(),
            Self::TwoUrls(two) => two.signals(),
        }
    }

    /// Over what its session goes, in which version of the protocol; HTTP of 2026-07-28 has none.
    fn session(&self) -> Option<(Transport, Arc<str>)> {
        match self {
            Self::Stdio(_, dialect) => Some((Transport::Pipe, dialect.version.clone())),
            Self::Http(http) => http.version_of_session().map(|version| (Transport::Tcp, version)),
            Self::TwoUrls(two) => two.version().map(|version| (Transport::Tcp, version)),
        }
    }

    /// What is spoken on it.
    pub(super) fn era(&self) -> Option<Era> {
        match self {
            Self::Stdio(_, dialect) => Some(dialect.era),
            Self::Http(http) => http.era(),
            Self::TwoUrls(_) => Some(Era::Legacy),
        }
    }

    /// Whether it still speaks the modern era, as far as it says.
    pub(super) async fn is_still_modern(&self, limit: Duration) -> bool {
        match tokio::time::timeout(limit, self.request(&discover_call(limit))).await {
            Ok(answer @ (Ok(_) | Err(UpstreamError::Rpc(_)))) => matches!(judge(answer), Probe::Modern(_)),
            Ok(Err(_)) | Err(_) => true,
        }
    }

    /// Sends one request and waits for its answer. Dropping it cancels it over there.
    pub(super) async fn request(&self, call: &Arc<Call>) -> ServerResponse {
        match self {
            Self::Stdio(stdio, dialect) => stdio.request(call, dialect).await,
            Self::Http(http) => http.request(call).await,
            Self::TwoUrls(two) => two.request(call).await,
        }
    }

    /// An orderly end.
    pub(super) async fn close(&self) {
        match self {
            Self::Stdio(stdio, _) => stdio.close().await,
            Self::Http(http) => http.close().await,
            Self::TwoUrls(two) => two.close(),
        }
    }

    /// Hears what the upstream says by itself, as long as the connection lives.
    /// What comes back is dropped when it is heard.
    pub(super) fn listen(
        &self,
        hello: &Hello,
        watched: watch::Receiver<BTreeSet<String>>,
    ) -> Option<oneshot::Receiver<()>> {
        match self {
            Self::Http(http) => Some(http.listen(hello.capabilities.clone(), watched)),
            // All it says comes on the one stream.
            Self::TwoUrls(_) => None,
            Self::Stdio(stdio, dialect) => match dialect.era {
                // A legacy child tells without being asked.
                Era::Legacy => None,
                Era::Modern => {
                    let subscription = subscribe(
                        Arc::downgrade(stdio),
                        dialect.clone(),
                        hello.capabilities.clone(),
                        watched,
                    );
                    tokio::spawn(subscription);
                    None
                }
            },
        }
    }
}

/// Keeps one `subscriptions/listen` open on a modern child, with the filter that is wanted now.
async fn subscribe(
    weak: std::sync::Weak<Stdio>,
    dialect: Dialect,
    capabilities: Value,
    mut watched: watch::Receiver<BTreeSet<String>>,
) {
    let mut open: Option<u64> = None;
    loop {
        let filter = listen_filter(&capabilities, &watched.borrow_and_update());
        let Some(stdio) = weak.upgrade() else { return };
        let fresh = match filter {
            Some(filter) => {
                let call = Arc::new(Call::internal("subscriptions/listen", filter, Duration::MAX));
                Some(stdio.open(&call, &dialect).await)
            }
            None => None,
        };
        if let Some(old) = std::mem::replace(&mut open, fresh) {
            stdio.notify(wire::cancelled(old)).await;
        }
        drop(stdio);
        if watched.changed().await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_era_is_judged_by_the_answer_and_never_by_one_error_code() {
        let check = |answer: ServerResponse, expect: &str| {
            let found = match judge(answer) {
                Probe::Modern(_) => "modern",
                Probe::Legacy => "legacy",
                Probe::Neither(_) => "neither",
            };
            assert_eq!(found, expect);
        };
        let versions = |list: Value| Ok(json!({ "supportedVersions": list }));
        let unsupported = |list: Value| {
            Err(UpstreamError::Rpc(RpcError::new(-32022, "x").with_data(json!({ "supported": list }))))
        };
        check(versions(json!(["2026-07-28", "2025-11-25"])), "modern");
        check(versions(json!(["2025-06-18"])), "legacy");
        check(versions(json!(["2099-01-01"])), "neither");
        check(unsupported(json!(["2025-11-25"])), "legacy");
        check(unsupported(json!(["2099-01-01"])), "neither");
        check(Ok(json!({})), "legacy");
        check(Err(UpstreamError::Rpc(RpcError::new(-32601, "x"))), "legacy");
        check(Err(UpstreamError::Rpc(RpcError::new(-32602, "x"))), "legacy");
        check(Err(UpstreamError::Malformed("HTTP status 400".into())), "legacy");
    }

    #[test]
    fn a_caller_of_its_own_declares_what_it_can_do() {
        let caller = json!({ "elicitation": { "form": { "a": "b" }, "c": 1 }, "roots": { "listChanged": true }, "x": 1 });
        assert_eq!(declared_for(Asks::ALL, &caller), json!({ "elicitation": { "form": {} }, "roots": {} }));
        assert_eq!(declared_for(Asks::ALL, &Value::Null), json!({}));
    }
}
