//! One request to its answer: what both eras share, and the legacy era's methods.

use super::{
    client::Client,
    conversation::{Conversation, Hello},
    level::Level,
    measured::Measured,
    message::{self, Document, Request},
    service::Service,
    watches::Watches,
};
use crate::{
    gateway::{
        CallReply, ClientPort, IncomingCall, ListKind, Purpose, TaskRequest, TaskVerb, for_models,
        for_sessions, named_workflow,
    },
    identity::Principal,
    model::{
        AgentId, CallKind, RpcError, code,
        weight::{weight, weight_of_list},
    },
    offload::{Busy, LARGE, Offload},
    telemetry::{Incoming, Parent, Telemetry, Tracing, Wire},
    upstream::Era,
};
use bytes::Bytes;
use serde::{Serialize, Serializer, ser::SerializeMap as _};
use serde_json::{Map, Value, value::RawValue};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// How long a first list waits for the upstreams.
const READY_WAIT: Duration = Duration::from_secs(10);

/// What every request needs of the gateway.
pub(crate) struct Core {
    /// The gateway.
    pub(crate) service: Arc<dyn Service>,
    /// `serverInfo`, written once.
    pub(crate) server_info: Arc<RawValue>,
    /// Where requests are measured.
    pub(crate) telemetry: Arc<Telemetry>,
    offload: Arc<Offload>,
    ready: AtomicBool,
}

/// Who sent a request, and what travels beside it.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// Authenticated.
    pub(crate) principal: Principal,
    /// The legacy session's id, or the principal's own for stateless requests.
    pub(crate) session: Arc<str>,
    /// How it came.
    pub(crate) wire: Wire,
    /// The HTTP header `X-Workflow-Id`.
    pub(crate) workflow: Option<String>,
}

/// A method that can be called, in either era.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Governed {
    /// One of the lists.
    List(ListKind),
    /// Goes the whole path.
    Call(CallKind),
    /// `completion/complete`
    Complete,
    /// `skills/get`
    Skill,
    /// Of the tasks extension, which the legacy era does not have.
    Task(TaskVerb),
}

impl Governed {
    /// By its name on the wire.
    pub(crate) fn parse(method: &str) -> Option<Self> {
        Some(match method {
            "tools/call" => Self::Call(CallKind::Tool),
            "tools/list" => Self::List(ListKind::Tools),
            "resources/read" => Self::Call(CallKind::Resource),
            "resources/list" => Self::List(ListKind::Resources),
            "resources/templates/list" => Self::List(ListKind::Templates),
            "prompts/get" => Self::Call(CallKind::Prompt),
            "prompts/list" => Self::List(ListKind::Prompts),
            "completion/complete" => Self::Complete,
            "skills/list" => Self::List(ListKind::Skills),
            "skills/get" => Self::Skill,
            "tasks/get" => Self::Task(TaskVerb::Get),
            "tasks/update" => Self::Task(TaskVerb::Update),
            "tasks/cancel" => Self::Task(TaskVerb::Cancel),
            _ => return None,
        })
    }

    /// The name under which it is measured here; a call is the gateway's to measure.
    pub(crate) fn measured_as(self) -> Option<&'static str> {
        Some(match self {
            Self::Call(_) | Self::Complete => return None,
            Self::List(ListKind::Tools) => "tools/list",
            Self::List(ListKind::Resources) => "resources/list",
            Self::List(ListKind::Templates) => "resources/templates/list",
            Self::List(ListKind::Prompts) => "prompts/list",
            Self::List(ListKind::Skills) => "skills/list",
            Self::Skill => "skills/get",
            Self::Task(TaskVerb::Get) => "tasks/get",
            Self::Task(TaskVerb::Update) => "tasks/update",
            Self::Task(TaskVerb::Cancel) => "tasks/cancel",
        })
    }
}

/// The same of any method, by its name on the wire.
fn measured_as(method: &str) -> Option<&'static str> {
    const OWN: [&str; 3] = ["ping", "logging/setLevel", "resources/unsubscribe"];
    match Governed::parse(method) {
        Some(method) => method.measured_as(),
        // A call like others.
        None if method == "resources/subscribe" => None,
        None => Some(OWN.into_iter().find(|own| *own == method).unwrap_or("_OTHER")),
    }
}

/// The member of `params` that names what is called.
pub(crate) fn name_member(kind: CallKind) -> &'static str {
    match kind {
        CallKind::Tool | CallKind::Prompt => "name",
        CallKind::Resource => "uri",
    }
}

fn invalid(text: impl Into<String>) -> RpcError {
    RpcError::new(code::INVALID_PARAMS, text)
}

/// Why a document could not be read.
#[derive(Debug)]
pub(crate) enum Unread {
    /// It is none.
    Malformed(RpcError),
    /// Too many large ones of this principal wait already.
    Busy,
}

impl Core {
    /// Asks the service for what does not change.
    pub(crate) fn new(service: Arc<dyn Service>) -> Self {
        let server_info = serde_json::value::to_raw_value(&service.server_info())
            .unwrap_or_else(|_| RawValue::NULL.to_owned());
        let (offload, telemetry) = (service.offload(), service.telemetry());
        Self { service, server_info: server_info.into(), telemetry, offload, ready: AtomicBool::new(false) }
    }

    /// Reads a document; a large one where it holds up nobody else.
    pub(crate) async fn read(&self, principal: &Principal, bytes: Bytes) -> Result<Document, Unread> {
        if bytes.len() <= LARGE {
            return message::read(&bytes).map_err(Unread::Malformed);
        }
        let agent = principal.agent().cloned().unwrap_or_else(|| AgentId::from(principal.key()));
        let read = Box::pin(self.offload.run(&agent, move || message::read(&bytes))).await;
        read.map_err(|Busy| Unread::Busy)?.map_err(Unread::Malformed)
    }

    /// Writes an answer, in the same way.
    pub(crate) async fn write(
        &self,
        agent: Option<AgentId>,
        is_large: bool,
        write: impl FnOnce() -> Vec<u8> + Send + 'static,
    ) -> Vec<u8> {
        match agent.filter(|_| is_large) {
            Some(agent) => Box::pin(self.offload.finish(&agent, write)).await,
            None => write(),
        }
    }

    /// A request begins that may be no call.
    pub(crate) fn measure(&self, name: Option<&'static str>, meta: Option<&Value>, wire: &Wire) -> Measured {
        Measured::begin((&*self.service, &self.telemetry), name, meta, wire)
    }

    /// Has the spans of a request know which it is.
    pub(crate) fn name_request(&self, caller: &mut Caller, id: &message::Id) {
        if self.telemetry.traces() {
            caller.wire.request_id = Some(match id {
                message::Id::Number(number) => number.to_string(),
                message::Id::Text(text) => text.clone(),
            });
        }
    }

    /// Waits, at most 10 s and only until it was ready once, so that the first list is complete.
    pub(crate) async fn until_ready(&self) {
        if self.ready.load(Ordering::Relaxed) {
            return;
        }
        if tokio::time::timeout(READY_WAIT, self.service.ready()).await.is_ok() {
            self.ready.store(true, Ordering::Relaxed);
        }
    }

    /// A list, after its params were checked.
    pub(crate) async fn list(
        &self,
        caller: &Caller,
        kind: ListKind,
        params: &Map<String, Value>,
    ) -> Result<Arc<Vec<Value>>, RpcError> {
        match params.get("cursor") {
            None | Some(Value::Null) => {}
            Some(Value::String(cursor)) if cursor.is_empty() => {}
            Some(_) => return Err(invalid("unknown `cursor`: lists come whole, on one page")),
        }
        self.until_ready().await;
        self.service.make_ready(&caller.principal).await;
        let meta = params.get("_meta").and_then(Value::as_object);
        let workflow = named_workflow(meta, caller.workflow.clone());
        Ok(self.service.list(&caller.principal, kind, workflow.as_deref()))
    }

    /// A call.
    pub(crate) async fn call(
        &self,
        kind: CallKind,
        params: Map<String, Value>,
        caller: Caller,
        client: Arc<Client>,
    ) -> CallReply {
        let call = incoming(kind, params, caller, client)?;
        self.until_ready().await;
        self.service.call(call).await
    }

    /// A completion.
    pub(crate) async fn complete(
        &self,
        params: Map<String, Value>,
        caller: Caller,
        client: Arc<Client>,
    ) -> CallReply {
        let call = completion(params, caller, client)?;
        self.until_ready().await;
        self.service.call(call).await
    }

    /// One entry of `skills/list`, by the URI of its `SKILL.md`.
    pub(crate) async fn skill(&self, caller: &Caller, params: &Map<String, Value>) -> CallReply {
        let Some(Value::String(uri)) = params.get("uri") else {
            return Err(invalid("`params.uri` must be a string"));
        };
        self.until_ready().await;
        self.service.make_ready(&caller.principal).await;
        let meta = params.get("_meta").and_then(Value::as_object);
        let workflow = named_workflow(meta, caller.workflow.clone());
        match self.service.skill(&caller.principal, uri, workflow.as_deref()) {
            Some(skill) => Ok(Value::Object(Map::from_iter([("skill".to_owned(), skill)]))),
            None => {
                let shown: String = uri.chars().take(128).collect();
                Err(invalid(format!("no skill is served at `{shown}`")))
            }
        }
    }

    /// A request about a task.
    pub(crate) async fn task(
        &self,
        verb: TaskVerb,
        mut params: Map<String, Value>,
        caller: Caller,
        client: Arc<Client>,
        tracing: Tracing,
    ) -> CallReply {
        let Some(Value::String(task_id)) = params.swap_remove("taskId") else {
            return Err(invalid("`params.taskId` must be a string"));
        };
        let input_responses = match (verb, params.swap_remove("inputResponses")) {
            (TaskVerb::Update, Some(Value::Object(responses))) => Some(responses),
            (TaskVerb::Update, _) => return Err(invalid("`params.inputResponses` must be an object")),
            (TaskVerb::Get | TaskVerb::Cancel, _) => None,
        };
        let Caller { principal, session, wire, .. } = caller;
        let (parent, context) = trace_context(params.swap_remove("_meta"), &wire);
        let tracing = match tracing.span {
            Some(_) => tracing,
            // Nobody here records it: whoever is asked does as the client says.
            None => Tracing { sampled: parent.is_none_or(|parent| parent.sampled), span: None },
        };
        self.until_ready().await;
        self.service.make_ready(&principal).await;
        let request = TaskRequest {
            principal,
            verb,
            task_id,
            input_responses,
            session,
            client,
            tracing,
            parent,
            context,
        };
        self.service.task(request).await
    }

    /// Begins to tell of a resource.
    pub(crate) async fn watch(
        &self,
        watches: &Watches,
        uri: &str,
        meta: Option<Value>,
        caller: Caller,
        client: Arc<Client>,
    ) -> Result<(), RpcError> {
        if watches.is_full() {
            return Err(RpcError::new(code::INVALID_REQUEST, "too many resources are watched at a time"));
        }
        let mut params = Map::new();
        params.insert("uri".to_owned(), uri.into());
        params.extend(meta.map(|meta| ("_meta".to_owned(), meta)));
        let call = incoming(CallKind::Resource, params, caller, client)?;
        self.until_ready().await;
        let news = self.service.watch(call).await?;
        watches.add(uri.to_owned(), news);
        Ok(())
    }

    /// `resources/subscribe` and `resources/unsubscribe` of a legacy conversation.
    async fn subscribe(
        &self,
        on: bool,
        conversation: &Conversation,
        mut params: Map<String, Value>,
        caller: Caller,
        client: Arc<Client>,
    ) -> CallReply {
        let Some(Value::String(uri)) = params.swap_remove("uri") else {
            return Err(invalid("`params.uri` must be a string"));
        };
        if on {
            let meta = params.swap_remove("_meta");
            self.watch(&conversation.watches, &uri, meta, caller, client).await?;
        } else {
            conversation.watches.remove(&uri);
        }
        Ok(Value::Object(Map::new()))
    }

    /// The result of `initialize`.
    pub(crate) fn welcome(&self, principal: &Principal, hello: &Hello) -> Value {
        let mut result = Map::new();
        result.insert("protocolVersion".to_owned(), hello.version.into());
        result.insert("capabilities".to_owned(), self.service.capabilities(principal));
        result.insert("serverInfo".to_owned(), self.service.server_info());
        if let Some(instructions) = self.service.instructions() {
            result.insert("instructions".to_owned(), instructions.into());
        }
        Value::Object(result)
    }

    /// Answers one request of a legacy conversation; all but `initialize`.
    pub(crate) async fn legacy(
        &self,
        conversation: &Conversation,
        caller: Caller,
        client: Arc<Client>,
        request: Request,
    ) -> Vec<u8> {
        let Request { id, method, params } = request;
        let mut caller = caller;
        caller.wire.version = Some(conversation.version);
        self.name_request(&mut caller, &id);
        let agent = caller.principal.agent().cloned();
        let finisher = Arc::clone(&client);
        let measured = self.measure(measured_as(&method), params.get("_meta"), &caller.wire);
        let outcome = match Governed::parse(&method) {
            Some(Governed::Call(kind)) => self.call(kind, params, caller, client).await,
            Some(Governed::Complete) => self.complete(params, caller, client).await,
            Some(Governed::Task(_)) => Err(unknown_method(&method)),
            Some(Governed::Skill) => self.skill(&caller, &params).await,
            None if method == "resources/subscribe" => {
                self.subscribe(true, conversation, params, caller, client).await
            }
            None if method == "resources/unsubscribe" => {
                self.subscribe(false, conversation, params, caller, client).await
            }
            Some(Governed::List(kind)) => match self.list(&caller, kind, &params).await {
                Ok(items) => {
                    let items = match kind {
                        ListKind::Tools => for_sessions(for_models(items, &conversation.capabilities)),
                        ListKind::Resources | ListKind::Templates | ListKind::Prompts | ListKind::Skills => {
                            items
                        }
                    };
                    measured.end(None);
                    let is_large = weight_of_list(&items, LARGE) > LARGE;
                    let write = move || message::success(&id, &List { kind, items: &items });
                    return self.write(agent, is_large, write).await;
                }
                Err(error) => Err(error),
            },
            None => ungoverned(conversation, &method, &params),
        };
        finisher.finish();
        measured.end(outcome.as_ref().err());
        match outcome {
            Ok(result) => {
                let is_large = weight(&result, LARGE) > LARGE;
                self.write(agent, is_large, move || message::success(&id, &result)).await
            }
            Err(error) => message::failure(Some(&id), &error),
        }
    }
}

/// The conversation's own methods.
fn ungoverned(conversation: &Conversation, method: &str, params: &Map<String, Value>) -> CallReply {
    match method {
        "ping" => Ok(Value::Object(Map::new())),
        "logging/setLevel" => {
            let level = params.get("level").and_then(Value::as_str).and_then(Level::parse);
            conversation.set_level(level.ok_or_else(|| invalid("`level` must be one of RFC 5424's words"))?);
            Ok(Value::Object(Map::new()))
        }
        "initialize" => Err(RpcError::new(code::INVALID_REQUEST, "this session is initialized already")),
        _ => Err(unknown_method(method)),
    }
}

/// The span below which a request stands, and what goes with it.
fn trace_context(meta: Option<Value>, wire: &Wire) -> (Option<Parent>, Map<String, Value>) {
    let mut meta = match meta {
        Some(Value::Object(meta)) => meta,
        Some(_) | None => Map::new(),
    };
    let parent = Incoming::take(&mut meta, wire).parent;
    // The state is of the trace that is named.
    meta.retain(|key, value| {
        value.is_string() && (key == "baggage" || key == "tracestate" && parent.is_some())
    });
    (parent, meta)
}

/// No such method.
pub(crate) fn unknown_method(method: &str) -> RpcError {
    let shown: String = method.chars().take(64).collect();
    RpcError::new(code::METHOD_NOT_FOUND, format!("no such method: `{shown}`"))
}

/// Takes the params of a completion apart.
fn completion(
    mut params: Map<String, Value>,
    caller: Caller,
    client: Arc<Client>,
) -> Result<IncomingCall, RpcError> {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let reference = params.swap_remove("ref").unwrap_or_default();
    let (kind, member) = match reference.get("type").and_then(Value::as_str) {
        Some("ref/prompt") => (CallKind::Prompt, "name"),
        Some("ref/resource") => (CallKind::Resource, "uri"),
        Some(_) | None => return Err(invalid("`params.ref.type` must be `ref/prompt` or `ref/resource`")),
    };
    let name = text(reference.get(member))
        .ok_or_else(|| invalid(format!("`params.ref.{member}` must be a string")))?;
    let argument = params.swap_remove("argument").unwrap_or_default();
    let (Some(named), Some(value)) = (text(argument.get("name")), text(argument.get("value"))) else {
        return Err(invalid("`params.argument` must have a `name` and a `value`, both strings"));
    };
    let mut known =
        match params.swap_remove("context").and_then(|mut c| c.get_mut("arguments").map(Value::take)) {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(known)) => known,
            Some(_) => return Err(invalid("`params.context.arguments` must be an object")),
        };
    known.insert(named.clone(), value.into());
    params.insert(name_member(kind).to_owned(), name.into());
    let mut call = incoming(kind, params, caller, client)?;
    call.purpose = Purpose::Complete { argument: named };
    call.arguments = Some(Value::Object(known));
    Ok(call)
}

/// Takes the params of a call apart without copying them.
fn incoming(
    kind: CallKind,
    mut params: Map<String, Value>,
    caller: Caller,
    client: Arc<Client>,
) -> Result<IncomingCall, RpcError> {
    let member = name_member(kind);
    let Some(Value::String(name)) = params.swap_remove(member) else {
        return Err(invalid(format!("`params.{member}` must be a string")));
    };
    let arguments = match (kind, params.get("arguments")) {
        (CallKind::Resource, _) | (CallKind::Tool | CallKind::Prompt, None) => None,
        (CallKind::Tool | CallKind::Prompt, Some(Value::Null)) => {
            params.swap_remove("arguments");
            None
        }
        (CallKind::Tool | CallKind::Prompt, Some(Value::Object(_))) => params.swap_remove("arguments"),
        (CallKind::Tool | CallKind::Prompt, Some(_)) => {
            return Err(invalid("`params.arguments` must be an object"));
        }
    };
    let meta = match params.swap_remove("_meta") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(meta)) => meta,
        Some(_) => return Err(invalid("`params._meta` must be an object")),
    };
    let (input_responses, request_state) = match client.era() {
        Era::Legacy => (None, None),
        Era::Modern => (
            match params.swap_remove("inputResponses") {
                None | Some(Value::Null) => None,
                Some(Value::Object(responses)) => Some(responses),
                Some(_) => return Err(invalid("`params.inputResponses` must be an object")),
            },
            match params.swap_remove("requestState") {
                None | Some(Value::Null) => None,
                Some(Value::String(state)) => Some(state),
                Some(_) => return Err(invalid("`params.requestState` must be a string")),
            },
        ),
    };
    Ok(IncomingCall {
        principal: caller.principal,
        purpose: Purpose::Use,
        kind,
        name,
        arguments,
        meta,
        extra_params: params,
        wire: caller.wire,
        workflow: caller.workflow,
        session: caller.session,
        input_responses,
        request_state,
        client,
    })
}

/// The result of a list, written straight from the catalog's own items.
struct List<'a> {
    kind: ListKind,
    items: &'a [Value],
}

impl Serialize for List<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(self.kind.member(), self.items)?;
        map.end()
    }
}
