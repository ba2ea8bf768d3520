//! The stateless era, 2026-07-28: what every request must carry, and what every result must.

use super::{
    MODERN_VERSION,
    answer::{Caller, Core, Governed, unknown_method},
    client::{Client, Outbox, Wishes, progress_token},
    level::Level,
    message::{self, Id, Request},
    supported_versions,
};
use crate::{
    gateway::{CallReply, ClientPort as _, ListKind, for_models},
    model::{
        CallKind, RpcError, code,
        weight::{weight_of, weight_of_list},
    },
    offload::LARGE,
};
use http::StatusCode;
use serde::{Serialize, Serializer, ser::SerializeMap as _};
use serde_json::{Map, Value, json, value::RawValue};
use std::sync::Arc;

/// In `_meta`: the version of this request.
pub(crate) const VERSION_KEY: &str = "io.modelcontextprotocol/protocolVersion";
const CAPABILITIES_KEY: &str = "io.modelcontextprotocol/clientCapabilities";
const CLIENT_INFO_KEY: &str = "io.modelcontextprotocol/clientInfo";
const LOG_LEVEL_KEY: &str = "io.modelcontextprotocol/logLevel";
const SERVER_INFO_KEY: &str = "io.modelcontextprotocol/serverInfo";
/// In `_meta`: the id of the listen request that a message belongs to.
pub(crate) const SUBSCRIPTION_KEY: &str = "io.modelcontextprotocol/subscriptionId";

/// A request is answered with an error, and over HTTP with this status.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// Over HTTP.
    pub(crate) status: StatusCode,
    /// In the body.
    pub(crate) error: RpcError,
}

impl Refusal {
    /// 400.
    pub(crate) fn bad(code: i64, text: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, error: RpcError::new(code, text) }
    }
}

/// Whether params name the version of a stateless request.
pub(crate) fn is_modern(params: &Map<String, Value>) -> bool {
    params.get("_meta").and_then(Value::as_object).is_some_and(|meta| meta.contains_key(VERSION_KEY))
}

/// What `_meta` must hold, taken out of a request.
#[derive(Debug)]
pub(crate) struct Declared {
    /// The client's capabilities.
    pub(crate) capabilities: Value,
    /// Progress and log level.
    pub(crate) wishes: Wishes,
    /// Its name and version, where given.
    pub(crate) client_info: Value,
}

/// The version a request declares.
pub(crate) fn declared_version(params: &Map<String, Value>) -> Result<&str, Refusal> {
    let missing = |key| Refusal::bad(code::INVALID_PARAMS, format!("`params._meta` lacks `{key}`"));
    let Some(Value::Object(meta)) = params.get("_meta") else { return Err(missing(VERSION_KEY)) };
    let Some(Value::String(version)) = meta.get(VERSION_KEY) else { return Err(missing(VERSION_KEY)) };
    match meta.get(CAPABILITIES_KEY) {
        Some(Value::Object(_)) => Ok(version),
        Some(_) | None => Err(missing(CAPABILITIES_KEY)),
    }
}

/// Refuses every version but the one there is.
pub(crate) fn check_version(version: &str) -> Result<(), Refusal> {
    if version == MODERN_VERSION {
        return Ok(());
    }
    let requested: String = version.chars().take(64).collect();
    let supported: Vec<&str> = supported_versions().collect();
    let error = RpcError::new(code::UNSUPPORTED_VERSION, "unsupported protocol version")
        .with_data(json!({ "supported": supported, "requested": requested }));
    Err(Refusal { status: StatusCode::BAD_REQUEST, error })
}

impl Declared {
    /// Takes what a request declares; the capabilities are moved out of `_meta`. Call [`declared_version`] and
    /// [`check_version`] first.
    pub(crate) fn take(params: &mut Map<String, Value>) -> Result<Self, Refusal> {
        let mut declared =
            Self { capabilities: Value::Null, wishes: Wishes::default(), client_info: Value::Null };
        let Some(Value::Object(meta)) = params.get_mut("_meta") else { return Ok(declared) };
        declared.capabilities =
            meta.swap_remove(CAPABILITIES_KEY).unwrap_or_else(|| Value::Object(Map::new()));
        declared.client_info = meta.get(CLIENT_INFO_KEY).cloned().unwrap_or(Value::Null);
        declared.wishes.progress_token = progress_token(meta);
        declared.wishes.level = match meta.get(LOG_LEVEL_KEY) {
            None | Some(Value::Null) => None,
            Some(word) => match word.as_str().and_then(Level::parse) {
                Some(level) => Some(level),
                None => {
                    let text = format!("`{LOG_LEVEL_KEY}` must be one of RFC 5424's words");
                    return Err(Refusal::bad(code::INVALID_PARAMS, text));
                }
            },
        };
        Ok(declared)
    }
}

/// A request that passed the checks of its transport.
#[derive(Debug)]
pub(crate) enum Method {
    /// `server/discover`
    Discover,
    /// `subscriptions/listen`
    Listen,
    /// Everything else there is.
    Governed(Governed),
}

impl Method {
    /// By its name; an unknown one is 404.
    pub(crate) fn parse(method: &str) -> Result<Self, Refusal> {
        match method {
            "server/discover" => Ok(Self::Discover),
            "subscriptions/listen" => Ok(Self::Listen),
            _ => Governed::parse(method)
                .map(Self::Governed)
                .ok_or_else(|| Refusal { status: StatusCode::NOT_FOUND, error: unknown_method(method) }),
        }
    }
}

/// The HTTP status of a JSON-RPC error on a stateless request.
pub(crate) fn status_of(error: &RpcError) -> StatusCode {
    match error.code {
        code::METHOD_NOT_FOUND => StatusCode::NOT_FOUND,
        code::HEADER_MISMATCH | code::MISSING_CLIENT_CAPABILITY | code::UNSUPPORTED_VERSION => {
            StatusCode::BAD_REQUEST
        }
        _ => StatusCode::OK,
    }
}

/// A written answer.
#[derive(Debug)]
pub(crate) struct ClientResponse {
    /// Over HTTP.
    pub(crate) status: StatusCode,
    /// The JSON-RPC response.
    pub(crate) body: Vec<u8>,
}

impl ClientResponse {
    /// With status 200.
    pub(crate) fn ok(body: Vec<u8>) -> Self {
        Self { status: StatusCode::OK, body }
    }
}

impl Core {
    /// Makes the client of a stateless request.
    pub(crate) fn modern_client(declared: Declared, outbox: Arc<Outbox>) -> Arc<Client> {
        Client::modern(declared.capabilities, declared.wishes, outbox)
    }

    /// Answers one stateless request; all but `subscriptions/listen`.
    pub(crate) async fn modern(
        &self,
        method: Governed,
        caller: Caller,
        client: Arc<Client>,
        id: Id,
        params: Map<String, Value>,
    ) -> ClientResponse {
        let mut caller = caller;
        caller.wire.version = Some(MODERN_VERSION);
        self.name_request(&mut caller, &id);
        let agent = caller.principal.agent().cloned();
        let server_info = Arc::clone(&self.server_info);
        let finisher = Arc::clone(&client);
        let measured = self.measure(method.measured_as(), params.get("_meta"), &caller.wire);
        let (outcome, read): (CallReply, Option<bool>) = match method {
            Governed::Call(kind) => {
                let retried = params.contains_key("inputResponses") || params.contains_key("requestState");
                let read = match kind {
                    CallKind::Resource => Some(retried),
                    CallKind::Tool | CallKind::Prompt => None,
                };
                (self.call(kind, params, caller, client).await, read)
            }
            Governed::Complete => (self.complete(params, caller, client).await, None),
            Governed::Skill => (self.skill(&caller, &params).await, Some(true)),
            Governed::Task(verb) => {
                let tracing = measured.tracing();
                (self.task(verb, params, caller, client, tracing).await, None)
            }
            Governed::List(kind) => match self.list(&caller, kind, &params).await {
                Ok(items) => {
                    let items = match kind {
                        ListKind::Tools => for_models(items, finisher.capabilities()),
                        ListKind::Resources | ListKind::Templates | ListKind::Prompts | ListKind::Skills => {
                            items
                        }
                    };
                    measured.end(None);
                    let is_large = weight_of_list(&items, LARGE) > LARGE;
                    let write = move || {
                        message::success(&id, &ModernList { kind, items: &items, server_info: &server_info })
                    };
                    return ClientResponse::ok(self.write(agent, is_large, write).await);
                }
                Err(error) => (Err(error), None),
            },
        };
        finisher.finish();
        let outcome = outcome.map_err(RpcError::modernized);
        measured.end(outcome.as_ref().err());
        match outcome {
            Ok(Value::Object(result)) => {
                let cache = read.and_then(|retried| Cache::of_read(&result, retried));
                let is_large = weight_of(&result, LARGE) > LARGE;
                let write = move || {
                    let result = ModernResult { result: &result, cache, server_info: &server_info };
                    message::success(&id, &result)
                };
                ClientResponse::ok(self.write(agent, is_large, write).await)
            }
            Ok(_) => {
                let error = RpcError::new(code::INTERNAL_ERROR, "the result is not an object");
                ClientResponse::ok(message::failure(Some(&id), &error))
            }
            Err(error) => {
                ClientResponse { status: status_of(&error), body: message::failure(Some(&id), &error) }
            }
        }
    }

    /// `server/discover`.
    pub(crate) fn discover(&self, caller: &Caller, id: &Id) -> Vec<u8> {
        let measured = self.measure(Some("server/discover"), None, &caller.wire);
        let mut result = Map::new();
        result.insert("supportedVersions".to_owned(), supported_versions().collect());
        result.insert("capabilities".to_owned(), self.service.capabilities(&caller.principal));
        if let Some(instructions) = self.service.instructions() {
            result.insert("instructions".to_owned(), instructions.into());
        }
        let cache = Some(Cache { ttl_ms: 0 });
        measured.end(None);
        message::success(id, &ModernResult { result: &result, cache, server_info: &self.server_info })
    }
}

/// The caching hints of a complete result. The scope is always private: what an agent sees depends on the agent.
#[derive(Clone, Copy, Debug)]
struct Cache {
    ttl_ms: u64,
}

impl Cache {
    /// Of a resource: as long as its upstream says, and not at all where the client's own answers are in it.
    fn of_read(result: &Map<String, Value>, retried: bool) -> Option<Self> {
        match result.get("resultType").and_then(Value::as_str) {
            None | Some("complete") => {}
            Some(_) => return None,
        }
        let ttl_ms = if retried { 0 } else { result.get("ttlMs").and_then(Value::as_u64).unwrap_or(0) };
        Some(Self { ttl_ms })
    }
}

const PRIVATE: &str = "private";

/// A result with what this era adds. Nothing is copied: its members are written as they stand.
struct ModernResult<'a> {
    result: &'a Map<String, Value>,
    cache: Option<Cache>,
    server_info: &'a RawValue,
}

impl Serialize for ModernResult<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if !matches!(self.result.get("resultType"), Some(Value::String(_))) {
            map.serialize_entry("resultType", "complete")?;
        }
        let mut meta = None;
        for (key, value) in self.result {
            match key.as_str() {
                "_meta" => meta = value.as_object(),
                "ttlMs" | "cacheScope" if self.cache.is_some() => {}
                "resultType" if !value.is_string() => {}
                _ => map.serialize_entry(key, value)?,
            }
        }
        if let Some(cache) = self.cache {
            map.serialize_entry("ttlMs", &cache.ttl_ms)?;
            map.serialize_entry("cacheScope", PRIVATE)?;
        }
        map.serialize_entry("_meta", &ResultMeta { meta, server_info: self.server_info })?;
        map.end()
    }
}

/// A result's `_meta`, in which Tollgate stands as the server.
struct ResultMeta<'a> {
    meta: Option<&'a Map<String, Value>>,
    server_info: &'a RawValue,
}

impl Serialize for ResultMeta<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (key, value) in self.meta.into_iter().flatten().filter(|(key, _)| *key != SERVER_INFO_KEY) {
            map.serialize_entry(key, value)?;
        }
        map.serialize_entry(SERVER_INFO_KEY, self.server_info)?;
        map.end()
    }
}

/// A list with what this era adds.
struct ModernList<'a> {
    kind: ListKind,
    items: &'a [Value],
    server_info: &'a RawValue,
}

impl Serialize for ModernList<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("resultType", "complete")?;
        map.serialize_entry(self.kind.member(), self.items)?;
        map.serialize_entry("ttlMs", &0)?;
        map.serialize_entry("cacheScope", PRIVATE)?;
        map.serialize_entry("_meta", &ResultMeta { meta: None, server_info: self.server_info })?;
        map.end()
    }
}

/// Whether a request may be answered at all on a transport without headers.
pub(crate) fn accept(request: &mut Request) -> Result<(Method, Declared), Refusal> {
    check_version(declared_version(&request.params)?)?;
    let method = Method::parse(&request.method)?;
    let declared = Declared::take(&mut request.params)?;
    Ok((method, declared))
}
