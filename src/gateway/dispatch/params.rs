//! What a call looks like to its upstream: its params, the client's capabilities as far as they are relayed, and on whose
//! connection it goes.

use super::{asked::transport_of, complete};
use crate::gateway::{
    InForce,
    account::AccountTrouble,
    api::{ClientPort, Purpose},
    decided::Decided,
    extras::goes_on,
    people::{client_questions::ClientQuestions, connect::of_more_scopes},
    reach::Reach,
    request::{Request, uri_of},
    request_state::{Continuing, bound_to},
    subject::subject,
    suspend::handle::EXTENSION,
    target::Target,
};
use crate::{
    catalog::View,
    config::Asks,
    evidence::budget_detail,
    identity::Principal,
    model::{CallId, CallKind, Decision, EventDraft, RetryPlan, TraceId, WorkflowId},
    telemetry::{Below, Label, Operation, Tracing},
    upstream::{CallerKey, Era},
};
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use std::{sync::Arc, time::Duration};

/// What dispatch needs beside the permit, taken from the request before its task starts.
pub(crate) struct Outgoing {
    pub(super) kind: CallKind,
    pub(super) purpose: Purpose,
    pub(super) principal: Principal,
    pub(super) meta: Map<String, Value>,
    pub(super) extra_params: Map<String, Value>,
    pub(super) caller: CallerKey,
    pub(super) trace_id: TraceId,
    pub(super) side_effect: EventDraft,
    /// What an upstream that asked gets back.
    pub(super) continuation: Continuation,
    /// Answers that came before anybody asked.
    pub(super) unasked: Option<Map<String, Value>>,
    pub(crate) bound: Arc<[u8]>,
    pub(super) began: Duration,
    /// See [`Request::waited`].
    pub(super) waited: Duration,
    /// See [`Request::tracing`].
    pub(super) tracing: Tracing,
    /// See [`Request::word`].
    pub(super) word: &'static str,
    /// See [`Request::replay_of`].
    pub(super) replay_of: Option<CallId>,
    /// Whom its data reaches.
    pub(super) reach: Reach,
    /// On which budgets it counts, as its settlement tells it.
    pub(super) budgets: String,
    /// What has to do with the account that it uses.
    pub(crate) account: Arc<AccountTrouble>,
}

/// An upstream's own state, and the answers to what it asked.
pub(super) type Continuation = Option<(Continuing, Map<String, Value>)>;

impl Outgoing {
    /// Takes what dispatch needs out of the request.
    pub(crate) fn of(
        now: Timestamp,
        in_force: &InForce,
        request: &Request,
        decided: &Decided,
        asking: &mut ClientQuestions,
    ) -> Box<Self> {
        let (policy, rule, _) = decided.attribution();
        let capability = decided.verdict.capability.as_ref();
        let side_effect =
            subject(request, Some(&decided.prepared), in_force).side_effect(now, policy, rule, capability);
        let (meta, extra_params) = match &decided.prepared.outbound_extras {
            Some(changed) => changed.clone(),
            None => (request.meta.clone(), request.extra_params.clone()),
        };
        let approved = decided.verdict.decision == Decision::RequireApproval;
        Box::new(Self {
            account: Arc::default(),
            kind: request.kind,
            purpose: request.purpose.clone(),
            principal: request.principal.clone(),
            meta,
            extra_params,
            caller: CallerKey {
                agent: request.agent.clone(),
                user: decided.prepared.facts.user.clone(),
                session: session_named(&request.session, asking.client.as_ref()),
            },
            trace_id: request.trace_id,
            side_effect,
            continuation: asking.upstream_continuation(approved),
            unasked: asking.unasked(approved),
            bound: bound_to(request, decided),
            began: request.began,
            waited: request.waited,
            tracing: request.tracing.clone(),
            word: request.word(),
            replay_of: request.replay_of.clone(),
            reach: Reach::of(in_force, request),
            budgets: budget_detail(
                &decided.verdict.limits.budgets,
                decided.prepared.target.full(),
                &decided.prepared.shown,
            ),
        })
    }

    /// A plain use, and no completion or subscription.
    pub(super) fn is_use(&self) -> bool {
        matches!(self.purpose, Purpose::Use)
    }

    /// The argument that is completed, with all of them.
    pub(super) fn completing(&self, arguments: &Value) -> Option<(String, Value)> {
        match &self.purpose {
            Purpose::Complete { argument } => Some((argument.clone(), arguments.clone())),
            Purpose::Use | Purpose::Watch(_) => None,
        }
    }

    /// What the agent sees, where a resource's template is completed: no value may lead out of it.
    pub(super) fn view_of_resources(
        &self,
        in_force: &InForce,
        workflow: Option<&WorkflowId>,
    ) -> Option<Arc<View>> {
        let view = || in_force.view_in(&self.principal, workflow.map(|id| id.as_str()));
        (self.kind == CallKind::Resource).then(view).flatten()
    }

    /// The upstream's own name of the target, as metrics and spans may have it; of a resource its URI.
    pub(super) fn own_name(&self, target: &Target) -> Option<Arc<str>> {
        let shown = self.side_effect.tool.as_ref()?;
        Some(match self.kind {
            CallKind::Tool | CallKind::Prompt => target.told(target.own_name(), shown),
            CallKind::Resource => shown.clone(),
        })
    }

    /// What is asked of the upstream, as metrics have it.
    pub(super) fn operation(&self, method: &'static str, target: &Target, in_force: &InForce) -> Operation {
        let transport = transport_of(in_force, target.upstream());
        let method = if matches!(self.purpose, Purpose::Watch(_)) { "resources/subscribe" } else { method };
        let mut operation = Operation::of(method, transport);
        let Some(name) = self.own_name(target) else { return operation };
        match self.kind {
            CallKind::Tool => operation.tool = Label::from(name),
            CallKind::Prompt => operation.prompt = Label::from(name),
            CallKind::Resource => {}
        }
        operation
    }

    /// The call as its upstream gets it; takes the members of the params.
    pub(super) fn call(
        &mut self,
        target: &Target,
        arguments: Value,
        completing: Option<&(String, Value)>,
        timeout: Duration,
        (approved, tasks): (bool, bool),
        in_force: &InForce,
    ) -> Call {
        let traits = target.traits();
        let headers = param_headers(target, &arguments);
        let (method, own) = match (completing, self.kind) {
            (Some((argument, known)), kind) => {
                ("completion/complete", complete::params(kind, target.own_name(), argument, known))
            }
            (None, CallKind::Tool) => ("tools/call", named(target.own_name(), arguments)),
            (None, CallKind::Prompt) => ("prompts/get", named(target.own_name(), arguments)),
            // As it was matched and decided.
            (None, CallKind::Resource) => {
                let uri = uri_of(&arguments).unwrap_or_default();
                ("resources/read", Map::from_iter([("uri".into(), json!(target.own_uri(uri)))]))
            }
        };
        Call {
            method,
            params: Arc::new(params(
                own,
                std::mem::take(&mut self.meta),
                std::mem::take(&mut self.extra_params),
            )),
            retry: if traits.read_only || traits.idempotent { RetryPlan::Safe } else { RetryPlan::Never },
            timeout,
            trace_id: self.trace_id,
            below: Below { sampled: self.tracing.sampled, ..Below::default() },
            caller: self.caller.clone(),
            headers,
            approved,
            tasks,
            of_more_scopes: of_more_scopes(in_force, target.upstream(), &self.caller.agent),
            account: self.account.clone(),
        }
    }
}

/// One call as every round of it needs it.
pub(super) struct Call {
    pub(super) method: &'static str,
    pub(super) params: Arc<Map<String, Value>>,
    pub(super) retry: RetryPlan,
    pub(super) timeout: Duration,
    pub(super) trace_id: TraceId,
    /// The span below which the upstream's work stands.
    pub(super) below: Below,
    pub(super) caller: CallerKey,
    pub(super) headers: Vec<(String, String)>,
    /// A second round is not a second call: where a person approved this one, the rounds stay in it.
    pub(super) approved: bool,
    /// It may become a task.
    pub(super) tasks: bool,
    /// What is said where the account that somebody connected has too few scopes for it.
    pub(super) of_more_scopes: Option<String>,
    pub(super) account: Arc<AccountTrouble>,
}

fn named(own_name: &str, arguments: Value) -> Map<String, Value> {
    Map::from_iter([("name".into(), json!(own_name)), ("arguments".into(), arguments)])
}

fn params(
    own: Map<String, Value>,
    meta: Map<String, Value>,
    extra_params: Map<String, Value>,
) -> Map<String, Value> {
    let mut params = extra_params;
    params.extend(own);
    let mut meta = meta;
    meta.retain(|key, _| goes_on(key));
    if !meta.is_empty() {
        params.insert("_meta".into(), Value::Object(meta));
    }
    params
}

/// The extension under which a server shows an app in place of text, and the one kind of app that there is.
const APPS: &str = "io.modelcontextprotocol/ui";
const APP: &str = "text/html;profile=mcp-app";

/// The client capabilities that an upstream gets: only those that both sides know by name. An upstream must not answer with a task
/// that nobody can follow.
pub(super) fn relayed(capabilities: &Value, asks: Asks, tasks: bool) -> Value {
    let mut relayed = asks.relayed(capabilities);
    let declared = |name: &str| capabilities.get("extensions").and_then(|extensions| extensions.get(name));
    let mut extensions = Map::new();
    if tasks && declared(EXTENSION).is_some() {
        extensions.insert(EXTENSION.to_owned(), json!({}));
    }
    if let Some(apps) = declared(APPS) {
        let kinds = apps.get("mimeTypes").and_then(Value::as_array);
        let shows = kinds.is_some_and(|kinds| kinds.iter().any(|kind| kind == APP));
        let told = if shows { json!({"mimeTypes": [APP]}) } else { json!({}) };
        extensions.insert(APPS.to_owned(), told);
    }
    if !extensions.is_empty() {
        relayed.insert("extensions".to_owned(), Value::Object(extensions));
    }
    Value::Object(relayed)
}

/// The session that upstream isolation sees. Stateless requests have none: those of one agent share a connection where
/// they can be asked the same things, since a legacy upstream is told that once per connection.
pub(super) fn session_named(session: &Arc<str>, client: &dyn ClientPort) -> Arc<str> {
    if client.era() == Era::Legacy {
        return session.clone();
    }
    let has = |pointer: &str| client.capabilities().pointer(pointer).is_some();
    let mut session = session.to_string();
    for pointer in
        ["/elicitation", "/elicitation/form", "/elicitation/url", "/sampling", "/sampling/tools", "/roots"]
    {
        session.push(if has(pointer) { '+' } else { '-' });
    }
    session.into()
}

fn param_headers(target: &Target, arguments: &Value) -> Vec<(String, String)> {
    let Target::Tool(tool) = target else { return Vec::new() };
    tool.param_headers
        .iter()
        .filter_map(|(name, at)| {
            let text = match at.get(arguments)? {
                Value::String(text) => text.clone(),
                Value::Number(number) => number.to_string(),
                Value::Bool(flag) => flag.to_string(),
                Value::Null | Value::Array(_) | Value::Object(_) => return None,
            };
            Some((name.clone(), text))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_client_wrote_is_relayed() {
        let check = |declared: Value, asks: Asks, tasks: bool, expect: Value| {
            assert_eq!(relayed(&declared, asks, tasks), expect, "{declared}");
        };
        let full = json!({
            "experimental": {"x": "s"},
            "elicitation": {"form": {"s": 1}, "url": {}, "s": "s"},
            "sampling": {"tools": {"s": 1}, "context": {}, "s": 1},
            "roots": {"listChanged": true, "s": 1},
            "s": "s",
            "extensions": {EXTENSION: {"s": 1}, APPS: {"mimeTypes": ["s", APP], "s": 1}, "vendor/s": {}},
        });
        let modes = json!({"elicitation": {"form": {}, "url": {}}, "sampling": {"tools": {}}, "roots": {}});
        let mut whole = modes.clone();
        whole["extensions"] = json!({EXTENSION: {}, APPS: {"mimeTypes": [APP]}});
        check(full.clone(), Asks::ALL, true, whole);
        let none = Asks { elicitation: false, sampling: false, roots: false };
        check(full, none, false, json!({"extensions": {APPS: {"mimeTypes": [APP]}}}));
        check(
            json!({"elicitation": {}, "sampling": "s", "roots": null}),
            Asks::ALL,
            true,
            json!({"elicitation": {}}),
        );
        check(Value::Null, Asks::ALL, true, json!({}));
    }
}
