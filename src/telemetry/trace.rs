//! The spans of a call: one SERVER span from its arrival to its reply, and below it what was decided, who was waited for, and what
//! was asked of an upstream (CLIENT). They are gathered while the call is under way and go to the queue together when it ends.
//!
//! Names and attributes are those of OpenTelemetry's conventions for MCP. No value of an argument is among them.

use super::{Label, Telemetry, Transport, Wire, queue::Queue};
use crate::model::{EventDecision, EventDraft, PolicyId, RuleId, TraceId, without_query};
use jiff::Timestamp;
use opentelemetry::{
    InstrumentationScope, KeyValue, SpanId as OtelSpanId, TraceFlags, TraceId as OtelTraceId,
    trace::{Link, SpanContext, SpanKind, Status, TraceState},
};
use opentelemetry_sdk::trace::{
    Sampler, SamplingDecision, ShouldSample as _, SpanData, SpanEvents, SpanLinks,
};
use parking_lot::Mutex;
use serde_json::{Map, Value};
use std::{
    borrow::Cow,
    fmt,
    str::FromStr as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};
use tokio::time::Instant;

/// What W3C lets a `tracestate` and a `baggage` be long.
const LONGEST_STATE: usize = 512;
const LONGEST_BAGGAGE: usize = 8_192;
/// Spans below one call; a call that is decided again and again has no more.
const MOST_CHILDREN: usize = 64;

/// A span's id, never all zero.
pub type SpanId = [u8; 8];

/// The span that a `traceparent` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    /// Its trace.
    pub trace: TraceId,
    /// Its own id.
    pub span: SpanId,
    /// Whether whoever made it records it.
    pub sampled: bool,
}

impl Parent {
    /// Reads a `traceparent` as strictly as [`TraceId::from_traceparent`].
    pub fn read(text: &str) -> Option<Self> {
        let trace = TraceId::from_traceparent(text)?;
        let mut parts = text.trim().split('-').skip(2);
        let (mut span, mut flags) = (SpanId::default(), [0u8; 1]);
        hex::decode_to_slice(parts.next()?, &mut span).ok()?;
        hex::decode_to_slice(parts.next()?, &mut flags).ok()?;
        Some(Self { trace, span, sampled: flags.first().is_some_and(|flags| flags & 1 == 1) })
    }

    fn context(&self, state: TraceState) -> SpanContext {
        context(self.trace, self.span, self.sampled, true, state)
    }
}

fn context(trace: TraceId, span: SpanId, sampled: bool, remote: bool, state: TraceState) -> SpanContext {
    let flags = if sampled { TraceFlags::SAMPLED } else { TraceFlags::default() };
    let (trace, span) = (OtelTraceId::from_bytes(trace.bytes()), OtelSpanId::from_bytes(span));
    SpanContext::new(trace, span, flags, remote, state)
}

/// What a request says of the traces that it belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Incoming {
    /// The span below which the call stands: that of its `_meta`, else that of its transport.
    pub parent: Option<Parent>,
    /// The transport's own span, where `_meta` names another.
    pub link: Option<Parent>,
}

impl Incoming {
    /// Reads `_meta` and headers. What of the headers belongs upstream too is put into `_meta`, where it is looked through like
    /// everything else that goes there.
    pub fn take(meta: &mut Map<String, Value>, wire: &Wire) -> Self {
        let incoming = Self::of(Some(meta), wire);
        let from_header = incoming.parent.is_some() && named(meta).is_none();
        let mut put = |key: &str, value: Option<&String>, longest: usize| {
            if let Some(value) = value.filter(|value| value.len() <= longest && !meta.contains_key(key)) {
                meta.insert(key.to_owned(), Value::String(value.clone()));
            }
        };
        // The state of one trace says nothing of another.
        if from_header {
            put("tracestate", wire.tracestate.as_ref(), LONGEST_STATE);
        }
        put("baggage", wire.baggage.as_ref(), LONGEST_BAGGAGE);
        incoming
    }

    /// The spans that `_meta` and headers name.
    pub fn of(meta: Option<&Map<String, Value>>, wire: &Wire) -> Self {
        let named = meta.and_then(named);
        let header = wire.traceparent.as_deref().and_then(Parent::read);
        Self { parent: named.or(header), link: header.filter(|_| named.is_some()) }
    }
}

/// The span that `_meta` names.
fn named(meta: &Map<String, Value>) -> Option<Parent> {
    meta.get("traceparent").and_then(Value::as_str).and_then(Parent::read)
}

/// Makes spans, where there is a collector for them.
pub(super) struct Tracer {
    sampler: Sampler,
    pub(super) spans: Arc<Queue<SpanData>>,
    scope: InstrumentationScope,
}

impl Tracer {
    pub(super) fn new(sampler: Sampler, spans: Arc<Queue<SpanData>>, scope: InstrumentationScope) -> Self {
        Self { sampler, spans, scope }
    }

    /// Whether a call that stands below `parent` is recorded.
    fn samples(&self, parent: Option<&Parent>, trace: TraceId, name: &str) -> bool {
        let sampler = match (&self.sampler, parent) {
            (Sampler::ParentBased(_), Some(parent)) => return parent.sampled,
            (sampler, _) => sampler,
        };
        let trace = OtelTraceId::from_bytes(trace.bytes());
        let sampled = sampler.should_sample(None, trace, name, &SpanKind::Server, &[], &[]);
        sampled.decision == SamplingDecision::RecordAndSample
    }
}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tracer")
    }
}

/// How a call is traced.
#[derive(Clone, Debug)]
pub struct Tracing {
    /// Whether those behind it are asked to record it.
    pub sampled: bool,
    /// Its span, where there is a collector and it is sampled.
    pub span: Option<Arc<CallSpan>>,
}

impl Default for Tracing {
    fn default() -> Self {
        Self { sampled: true, span: None }
    }
}

impl Tracing {
    /// Begins a span below that of the call, where there is one.
    pub fn child(&self) -> Option<Child> {
        self.span.as_ref().map(|span| span.child())
    }

    /// Ends one of Tollgate's own.
    pub fn end(&self, child: Option<Child>, name: &'static str, attributes: Vec<(&'static str, Attribute)>) {
        if let (Some(span), Some(child)) = (&self.span, child) {
            span.end_child(child, ChildKind::Internal, name, attributes, None);
        }
    }

    /// What is told to whom is asked below it.
    pub fn below(&self, child: Option<Child>) -> Below {
        Below { span: child.map(|child| child.id), sampled: self.sampled }
    }
}

/// The span below which an upstream's work stands.
#[derive(Clone, Copy, Debug)]
pub struct Below {
    /// Its id; none: nobody records it.
    pub span: Option<SpanId>,
    /// Whether the upstream is asked to record its work.
    pub sampled: bool,
}

impl Default for Below {
    fn default() -> Self {
        Self { span: None, sampled: true }
    }
}

impl Telemetry {
    /// A call arrives. `random`: from where its span gets ids.
    pub fn arrive(
        &self,
        (method, transport): (&'static str, Transport),
        incoming: &Incoming,
        (trace, state): (TraceId, Option<&str>),
        now: Timestamp,
        random: impl FnOnce() -> [u8; 32],
    ) -> Tracing {
        let sampled = incoming.parent.is_none_or(|parent| parent.sampled);
        let Some(tracer) = self.tracer() else { return Tracing { sampled, span: None } };
        if !tracer.samples(incoming.parent.as_ref(), trace, method) {
            return Tracing { sampled: false, span: None };
        }
        let random = random();
        let mut halves =
            random.chunks_exact(8).map(|some| u64::from_be_bytes(some.try_into().unwrap_or_default()));
        let mut half = || halves.next().unwrap_or_default();
        let span = CallSpan {
            tracer: tracer.clone(),
            id: half().max(1).to_be_bytes(),
            next: AtomicU64::new(half()),
            began: now.into(),
            started: Instant::now(),
            open: Mutex::new(Some(Open {
                trace,
                incoming: incoming.clone(),
                state: state.and_then(|state| TraceState::from_str(state).ok()).unwrap_or_default(),
                method,
                transport,
                target: None,
                attributes: Vec::new(),
                said: Said::default(),
                children: Vec::new(),
            })),
        };
        Tracing { sampled: true, span: Some(Arc::new(span)) }
    }
}

/// The value of an attribute.
#[derive(Clone, Debug)]
pub enum Attribute {
    /// One of our words.
    Word(&'static str),
    /// A name.
    Text(Arc<str>),
    /// A number.
    Number(i64),
}

impl From<&'static str> for Attribute {
    fn from(word: &'static str) -> Self {
        Self::Word(word)
    }
}

impl From<Arc<str>> for Attribute {
    fn from(text: Arc<str>) -> Self {
        Self::Text(text)
    }
}

impl From<&Label> for Attribute {
    fn from(label: &Label) -> Self {
        match label {
            Label::Word(word) => Self::Word(word),
            Label::Name(name) => Self::Text(name.clone()),
        }
    }
}

fn key_value(key: &'static str, value: Attribute) -> KeyValue {
    match value {
        Attribute::Word(word) => KeyValue::new(key, word),
        Attribute::Text(text) => KeyValue::new(key, text),
        Attribute::Number(number) => KeyValue::new(key, number),
    }
}

/// What was said of a call last.
#[derive(Debug, Default)]
struct Said {
    decision: Option<EventDecision>,
    policy: Option<PolicyId>,
    rule: Option<RuleId>,
    /// What it is aimed at, as it is recorded: masked, and of bounded length.
    shown: Option<Arc<str>>,
}

struct Open {
    trace: TraceId,
    incoming: Incoming,
    state: TraceState,
    method: &'static str,
    transport: Transport,
    target: Option<Arc<str>>,
    attributes: Vec<KeyValue>,
    said: Said,
    children: Vec<SpanData>,
}

/// The SERVER span of a call under way. Where it is dropped before its reply, its client has gone.
pub struct CallSpan {
    tracer: Arc<Tracer>,
    id: SpanId,
    next: AtomicU64,
    began: SystemTime,
    started: Instant,
    open: Mutex<Option<Open>>,
}

impl fmt::Debug for CallSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CallSpan")
    }
}

/// A span below that of a call, begun.
#[derive(Clone, Copy, Debug)]
pub struct Child {
    /// Its id.
    pub id: SpanId,
    began: SystemTime,
}

/// What kind of work a span below a call's is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChildKind {
    /// Of Tollgate's own.
    Internal,
    /// A request to an upstream.
    Client,
}

impl CallSpan {
    /// Its id.
    pub fn id(&self) -> SpanId {
        self.id
    }

    fn now(&self) -> SystemTime {
        self.began + self.started.elapsed()
    }

    fn with(&self, change: impl FnOnce(&mut Open)) {
        if let Some(open) = &mut *self.open.lock() {
            change(open);
        }
    }

    /// The call belongs to another trace than it seemed: that of the one in which its approval was asked for.
    pub fn joins(&self, trace: TraceId) {
        self.with(|open| open.trace = trace);
    }

    /// What it is aimed at, as lists name it.
    pub fn aims_at(&self, target: Arc<str>) {
        self.with(|open| open.target = Some(target));
    }

    /// Says something of it.
    pub fn say(&self, key: &'static str, value: impl Into<Attribute>) {
        let value = key_value(key, value.into());
        self.with(|open| {
            open.attributes.retain(|known| known.key != value.key);
            open.attributes.push(value);
        });
    }

    /// What was decided, by its record; what is said later counts.
    pub fn decided(&self, decision: Option<EventDecision>, event: &EventDraft) {
        self.with(|open| {
            open.said = Said {
                decision,
                policy: event.policy_id.clone(),
                rule: event.rule_id.clone(),
                shown: event.tool.clone(),
            };
        });
    }

    /// Begins a span below it.
    pub fn child(&self) -> Child {
        let id = self.next.fetch_add(1, Ordering::Relaxed).max(1).to_be_bytes();
        Child { id, began: self.now() }
    }

    /// Ends one.
    pub fn end_child(
        &self,
        child: Child,
        kind: ChildKind,
        name: impl Into<Cow<'static, str>>,
        attributes: Vec<(&'static str, Attribute)>,
        error: Option<Label>,
    ) {
        let kind = match kind {
            ChildKind::Internal => SpanKind::Internal,
            ChildKind::Client => SpanKind::Client,
        };
        let mut attributes: Vec<KeyValue> =
            attributes.into_iter().map(|(key, value)| key_value(key, value)).collect();
        let status = failed(&mut attributes, error.as_ref());
        let (name, ended) = (name.into(), self.now());
        self.with(|open| {
            if open.children.len() < MOST_CHILDREN {
                open.children.push(SpanData {
                    // The trace is known when the call ends.
                    span_context: context(open.trace, child.id, true, false, open.state.clone()),
                    parent_span_id: OtelSpanId::from_bytes(self.id),
                    parent_span_is_remote: false,
                    span_kind: kind,
                    name,
                    start_time: child.began,
                    end_time: ended,
                    attributes,
                    dropped_attributes_count: 0,
                    events: SpanEvents::default(),
                    links: SpanLinks::default(),
                    status,
                    instrumentation_scope: self.tracer.scope.clone(),
                });
            }
        });
    }

    /// The call is answered. `error`: how it failed, where it did; and whether that is a code.
    pub fn end(&self, error: Option<&Label>) {
        let Some(open) = self.open.lock().take() else { return };
        let ended = self.now();
        let Open { trace, incoming, state, method, transport, target, mut attributes, said, children } = open;
        attributes.push(KeyValue::new("mcp.method.name", method));
        let named = target.clone().or(said.shown);
        let about = target_attributes(method, named, transport);
        attributes.extend(about.into_iter().map(|(key, value)| key_value(key, value)));
        for (key, value) in [
            ("tollgate.decision", said.decision.map(|decision| Attribute::from(decision.as_str()))),
            ("tollgate.policy.id", said.policy.map(|policy| Attribute::from(policy.shared()))),
            ("tollgate.rule.id", said.rule.map(|rule| Attribute::from(rule.shared()))),
        ] {
            attributes.extend(value.map(|value| key_value(key, value)));
        }
        let status = failed(&mut attributes, error);
        let mut links = SpanLinks::default();
        links
            .links
            .extend(incoming.link.map(|link| Link::new(link.context(TraceState::default()), Vec::new(), 0)));
        // A call that joined another trace stands there without a parent, and is linked to where it came from.
        let (parent, left) = match incoming.parent {
            Some(parent) if parent.trace == trace => (Some(parent), None),
            other => (None, other),
        };
        links.links.extend(left.map(|left| Link::new(left.context(TraceState::default()), Vec::new(), 0)));
        let server = SpanData {
            span_context: context(trace, self.id, true, false, state),
            parent_span_id: parent.map_or(OtelSpanId::INVALID, |parent| OtelSpanId::from_bytes(parent.span)),
            parent_span_is_remote: parent.is_some(),
            span_kind: SpanKind::Server,
            name: span_name(method, target.as_deref()),
            start_time: self.began,
            end_time: ended,
            attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links,
            status,
            instrumentation_scope: self.tracer.scope.clone(),
        };
        let joined = children.into_iter().map(|mut child| {
            let known = &child.span_context;
            let (id, state) = (known.span_id().to_bytes(), known.trace_state().clone());
            child.span_context = context(trace, id, true, false, state);
            child
        });
        self.tracer.spans.put(joined.chain([server]));
    }
}

impl Drop for CallSpan {
    fn drop(&mut self) {
        self.end(Some(&Label::Word("cancelled")));
    }
}

/// `{mcp.method.name} {target}`.
pub fn span_name(method: &'static str, target: Option<&str>) -> Cow<'static, str> {
    match target {
        Some(target) => format!("{method} {target}").into(),
        None => method.into(),
    }
}

/// What stands on every span about a target, by its method.
pub fn target_attributes(
    method: &'static str,
    name: Option<Arc<str>>,
    transport: Transport,
) -> Vec<(&'static str, Attribute)> {
    let mut attributes = vec![("network.transport", Attribute::from(transport.as_str()))];
    if transport == Transport::Tcp {
        attributes.push(("network.protocol.name", Attribute::from("http")));
    }
    if method == "tools/call" {
        attributes.push(("gen_ai.operation.name", Attribute::from("execute_tool")));
    }
    if let Some(name) = name {
        let key = match method {
            "tools/call" => "gen_ai.tool.name",
            "prompts/get" => "gen_ai.prompt.name",
            _ => "mcp.resource.uri",
        };
        // What was asked at a URI is an argument.
        let name =
            if key == "mcp.resource.uri" && name.contains('?') { without_query(&name).into() } else { name };
        attributes.push((key, Attribute::from(name)));
    }
    attributes
}

fn failed(attributes: &mut Vec<KeyValue>, error: Option<&Label>) -> Status {
    let Some(error) = error else { return Status::Unset };
    attributes.push(key_value("error.type", Attribute::from(error)));
    if error.as_str().parse::<i64>().is_ok() {
        attributes.push(key_value("rpc.response.status_code", Attribute::from(error)));
    }
    // What was said of it may repeat what was sent: it stands on record, masked.
    Status::error("")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_span_tells_no_query() {
        let told = target_attributes("resources/read", Some("https://h/a?q=4711".into()), Transport::Tcp);
        let told = format!("{:?}", told.into_iter().find(|(name, _)| *name == "mcp.resource.uri"));
        assert!(told.contains("https://h/a?[withheld:string:6]") && !told.contains("4711"), "{told}");
    }

    #[test]
    fn a_parent_is_read_strictly() {
        let check = |text: &str, expect: Option<bool>| {
            assert_eq!(Parent::read(text).map(|parent| parent.sampled), expect, "{text}");
        };
        check("00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01", Some(true));
        check("00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-00", Some(false));
        check("00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-03", Some(true));
        check("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", None);
        check("ff-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01", None);
        check("", None);
    }

    /// `_meta` is the parent and the transport is linked; without `_meta` the transport is the parent, and its state goes on.
    #[test]
    fn the_call_stands_below_what_its_meta_names() {
        let (a, b) = (
            "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01",
            "00-1af7651916cd43dd8448eb211c80319c-10f067aa0ba902b7-00",
        );
        let wire = Wire {
            traceparent: Some(b.to_owned()),
            tracestate: Some("x=1".to_owned()),
            baggage: Some("k=v".to_owned()),
            ..Wire::default()
        };
        let map = |value: Value| value.as_object().cloned().unwrap();
        let mut meta = map(json!({"traceparent": a, "tracestate": "own=1", "baggage": "own=v"}));
        let incoming = Incoming::take(&mut meta, &wire);
        assert_eq!((incoming.parent, incoming.link), (Parent::read(a), Parent::read(b)));
        assert_eq!(meta, map(json!({"traceparent": a, "tracestate": "own=1", "baggage": "own=v"})));
        let mut meta = map(json!({"traceparent": a}));
        Incoming::take(&mut meta, &wire);
        assert_eq!(meta, map(json!({"traceparent": a, "baggage": "k=v"})), "another trace's state");
        let mut meta = Map::new();
        let incoming = Incoming::take(&mut meta, &wire);
        assert_eq!((incoming.parent, incoming.link), (Parent::read(b), None));
        assert_eq!(meta, map(json!({"tracestate": "x=1", "baggage": "k=v"})));
        let long = Wire { baggage: Some("x".repeat(8_193)), ..Wire::default() };
        let mut meta = Map::new();
        assert_eq!(Incoming::take(&mut meta, &long), Incoming::default());
        assert!(meta.is_empty());
    }
}
