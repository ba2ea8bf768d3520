//! From what a front parsed to everything a decision needs: scope, schema, redaction, estimate, facts.

use super::{
    InForce,
    api::Purpose,
    extras,
    fit::{self, Fit, Look, Looks},
    freezes::subject_of,
    measures::Measures,
    placeholders::caller_of,
    prepared::{Extras, Prepared},
    refusal::Refusal,
    repeats::Repeats,
    request::{Request, uri_of, workflow_of},
    target::{LONGEST_NAME, Target},
    valued::{Unvalued, Valued, valued},
};
use crate::{
    admission::{self, FreezeSubject},
    catalog::View,
    clock::Clock,
    cost::{Tokenizer, Unpriceable},
    decision::{AgentFacts, CallFacts, CostFacts, DataFacts, Facts, ToolFacts, WorkflowFacts},
    identity::user_of,
    model::{AgentId, CallKind, CapabilityId, Digest, MicroUsd, PersonId, UriError, text},
    policy::{Agent, CheckAnswer, PolicySet, Workflow},
    redaction::{DataRules, Outbound, Tokenized, display_text},
};
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use std::{borrow::Cow, sync::Arc};

/// A call as the agent made it, or as rules changed it.
pub(crate) struct Version<'v> {
    pub(crate) name: &'v str,
    pub(crate) arguments: Arc<Value>,
    /// A remediation was applied.
    pub(crate) remediated: bool,
    /// What is taken for granted; nothing of a call that is made.
    pub(crate) assumed: Option<&'v Assumed>,
}

/// What is taken for granted of a call that somebody asks about.
#[derive(Clone, Debug, Default)]
pub(crate) struct Assumed {
    pub(crate) now: Option<Timestamp>,
    pub(crate) user: Option<PersonId>,
    pub(crate) repeats: Option<u64>,
    pub(crate) session_labels: Vec<Arc<str>>,
}

/// Why a call went no further than its preparation.
pub(crate) enum Stop {
    /// Not in scope, or not there: the same answer for both.
    Unknown,
    /// Whether the arguments fit has to be found out beside first.
    Unchecked(Box<Look>),
    /// What stands behind these placeholders has to be looked up first.
    Sealed(Vec<Arc<str>>),
    /// Rules wait for what external checks say of it.
    Unasked(Vec<Arc<str>>, Box<Prepared>),
    /// Refused before policy saw it, with what is known of it for the record.
    Refused(Box<Refusal>, Option<Box<Prepared>>),
    /// Its upstream is down; with what of it can be frozen, which goes before that.
    Away(Box<Refusal>, Box<FreezeSubject>),
}

/// Prepares calls to be decided.
pub(crate) struct Preparation {
    pub(super) measures: Arc<Measures>,
    pub(super) repeats: Repeats,
    pub(super) clock: Arc<dyn Clock>,
}

/// What a call names in its agent's scope, and whether its arguments fit that.
struct InScope<'c> {
    agent: &'c Agent,
    workflow: Option<&'c Workflow>,
    /// The name of a workflow that the agent may not use.
    workflow_refused: Option<Arc<str>>,
    target: Target,
    capabilities: Arc<[CapabilityId]>,
    /// As they were given.
    given: Arc<Value>,
    /// As they are decided on and sent: with the values that the upstream may have for placeholders.
    arguments: Arc<Value>,
    revealed: Vec<Tokenized>,
    /// What goes upstream beside them, with such values.
    beside: Option<Value>,
    /// There are some in that.
    reveals_beside: bool,
    tokenizer: Tokenizer,
    argument_tokens: u64,
    /// The length of the arguments as text.
    size: u64,
    fit: Fit,
}

impl Preparation {
    pub(super) fn new(measures: Arc<Measures>, clock: Arc<dyn Clock>) -> Self {
        Self { measures, repeats: Repeats::default(), clock }
    }

    /// One evaluation's preparation: what may be known of a call before it is decided, and what stops it before that.
    pub(crate) fn prepare(
        &self,
        in_force: &Arc<InForce>,
        view: &View,
        request: &Request,
        version: Version<'_>,
        looks: &Looks,
    ) -> Result<Prepared, Stop> {
        let policies = &in_force.policies;
        let given = (version.remediated, version.assumed);
        let found = self.in_scope(in_force, view, request, version, looks)?;
        let InScope { agent, target, arguments, .. } = &found;
        let place = target.place();
        let mut inspected = rules_of(policies, &agent.id).inspect_arguments(arguments, &place);
        policies.data.label_revealed(&found.revealed, &mut inspected);
        let (outbound_extras, blocked_extras) = extras_of(found.outbound_beside(&policies.data));
        let shown = target.shown(&policies.data);
        let kept_as = match target {
            Target::Tool(tool) if Arc::ptr_eq(&tool.full, &shown) => shown.clone(),
            Target::Tool(_) | Target::Item(..) => target.kept_as(&policies.data),
        };
        let ((expected, most), shape) = self.expected(policies, &found, &kept_as);
        let priced = policies.prices.tool_price(target.full(), target.price(), arguments);
        let tool_price = priced.as_ref().copied().unwrap_or_default();
        let model = agent.model.as_deref();
        let estimate = policies.prices.estimate(model, found.argument_tokens, expected, tool_price);
        let extras = Extras::bound(request, &in_force.config.gateway.volatile_meta);
        let digest =
            |extras| self.measures.digest_key.digest(request.word(), target.full(), arguments, extras);
        let call_digest = digest(None);
        let digest = match extras.is_empty() {
            true => call_digest.clone(),
            false => digest(Some(&extras)),
        };
        let answers = looks.answers.about(&call_digest);
        let labels = with_labels(inspected.labels, &answers);
        let data = DataFacts { level: inspected.level, labels, findings: inspected.findings };
        let cost = CostFacts { estimate: estimate.cost, tokens: estimate.tokens() };
        let facts = self.facts(policies, request, &found, (data, cost, answers), &call_digest, given);
        let recorded = found.recorded(policies, inspected.recorded);
        let (redacted, minted) = (inspected.redacted, inspected.minted);
        let (outbound, blocked) = outbound_of(request, arguments, inspected.outbound);
        let outbound = outbound.or_else(|| found.reveals().then(|| Value::clone(arguments)));
        let InScope { agent, workflow, target, given, revealed, tokenizer, fit, .. } = found;
        let prepared = Prepared {
            judged: None,
            redacted,
            level: facts.data.level,
            recorded,
            outbound,
            outbound_extras,
            attended: agent.attended,
            unchecked: fit == Fit::Unchecked,
            shown,
            shown_action: target.shown_action(&policies.data),
            kept_as,
            target,
            arguments: given,
            revealed,
            minted,
            facts,
            estimate,
            most_result_tokens: most,
            tokenizer,
            tool_price,
            digest,
            call_digest,
            shape,
            extras,
            workflow: workflow.map(|w| w.id.clone()),
            operator: agent.operator.clone(),
        };
        let Some((policy, reason, advice)) = unfit(fit, blocked.or(blocked_extras), priced) else {
            return Ok(prepared);
        };
        let mut refusal = Refusal::deny(policy, policies.data.redact_text(&reason).into_owned());
        refusal.advice = advice;
        Err(Stop::Refused(Box::new(refusal), Some(Box::new(prepared))))
    }

    /// What the result will probably take, and at most, and what nearly identical calls have in common, where the bundle looks for them.
    fn expected(
        &self,
        policies: &PolicySet,
        found: &InScope<'_>,
        kept_as: &str,
    ) -> ((u64, u64), Option<Digest>) {
        let InScope { agent, target, arguments, argument_tokens, .. } = found;
        let Measures { learned, digest_key, .. } = &*self.measures;
        let expected =
            learned.expected_and_most(kept_as, *argument_tokens, &agent.id, target.expected_result_tokens());
        let shape = || digest_key.digest("shape", target.full(), &admission::shape(arguments), None);
        (expected, policies.loops.similar.map(|_| shape()))
    }

    /// Finds what the call names, and holds its arguments against the schema.
    fn in_scope<'c>(
        &self,
        in_force: &'c InForce,
        view: &View,
        request: &Request,
        version: Version<'_>,
        looks: &Looks,
    ) -> Result<InScope<'c>, Stop> {
        let policies = &in_force.policies;
        let agent = policies.authority.agents.get(&request.agent).ok_or(Stop::Unknown)?;
        let (workflow, workflow_refused) =
            workflow_of(&policies.authority.workflows, agent, request.workflow.as_deref());
        let narrow = workflow.and_then(|w| w.capabilities.as_deref());
        let (target, capabilities) = find(view, request, version.name, narrow)
            .map_err(|wrong| Stop::Refused(Box::new(unclear(policies, &wrong)), None))?
            .ok_or_else(|| match view.held(request.kind, version.name, narrow) {
                Some(why) => Stop::Refused(Box::new(Refusal::held(why)), None),
                None => {
                    let user = user_of(&request.principal, &policies.authority);
                    away(view, (&agent.id, user), (request.kind, version.name), narrow)
                }
            })?;
        let given = as_matched(&target, version.arguments);
        let known = (&policies.data, &looks.opened);
        let Valued { arguments, capabilities, revealed, beside, reveals_beside } =
            valued(known, (view, narrow), request, (&target, capabilities), &given).map_err(
                |not| match not {
                    Unvalued::Sealed(placeholders) => Stop::Sealed(placeholders),
                    Unvalued::Unknown => Stop::Unknown,
                },
            )?;
        let tokenizer = policies.prices.tokenizer(agent.model.as_deref());
        let (argument_tokens, size) = self.count_arguments(tokenizer, &arguments);
        let fit = match &target {
            Target::Tool(tool) if let Some(why) = &tool.refused => fit::refused_by_output(why),
            Target::Tool(tool) => {
                let setting = in_force.config.gateway.unchecked_arguments;
                looks.fit(&tool.schema, &arguments, size, setting).map_err(Stop::Unchecked)?
            }
            Target::Item(..) => Fit::Fits,
        };
        Ok(InScope {
            agent,
            workflow,
            workflow_refused,
            target,
            capabilities,
            given,
            arguments,
            revealed,
            beside,
            reveals_beside,
            tokenizer,
            argument_tokens,
            size,
            fit,
        })
    }

    /// The facts that the call is decided on.
    fn facts(
        &self,
        policies: &PolicySet,
        request: &Request,
        found: &InScope<'_>,
        (data, cost, checks): (DataFacts, CostFacts, Vec<CheckAnswer>),
        call_digest: &Digest,
        (remediated, assumed): (bool, Option<&Assumed>),
    ) -> Facts {
        let InScope { agent, workflow, workflow_refused, target, .. } = found;
        let user = assumed.and_then(|assumed| assumed.user.as_ref());
        let user = user.or_else(|| user_of(&request.principal, &policies.authority)).cloned();
        let repeats = assumed.and_then(|assumed| assumed.repeats);
        let known = || {
            let own = (request.counted.as_ref(), request.is_retry);
            self.repeats.before(&agent.id, call_digest, own, self.clock.monotonic())
        };
        let item = |kind: CallKind| if request.kind == kind { target.full().clone() } else { Arc::default() };
        let resource = match found.reveals() && request.kind == CallKind::Resource {
            true => uri_of(&found.arguments).unwrap_or_default().into(),
            false => item(CallKind::Resource),
        };
        let required = &policies.bundle.required;
        let missing_metadata = missing(required, request, workflow.is_some(), user.is_some());
        Facts {
            agent: AgentFacts::of(agent),
            user_groups: policies.authority.groups_of(user.as_ref()),
            user,
            workflow: workflow.map(|w| WorkflowFacts { id: w.id.clone(), owner: w.owner.clone() }),
            tool: ToolFacts {
                name: item(CallKind::Tool),
                upstream: target.upstream().clone(),
                action: target.action().clone(),
                labels: target.labels().clone(),
                traits: target.traits(),
                fingerprint: target.fingerprint(),
                pinned: target.is_pinned(),
                unaccepted: target.is_unaccepted(),
            },
            args: found.arguments.clone(),
            call: CallFacts { kind: request.kind, repeats: repeats.unwrap_or_else(known), size: found.size },
            cost,
            data,
            session_labels: match assumed {
                Some(assumed) => assumed.session_labels.clone(),
                None => request.standing.labels.clone(),
            },
            now: assumed.and_then(|assumed| assumed.now).unwrap_or_else(|| self.clock.now()),
            capabilities: found.capabilities.to_vec(),
            missing_metadata,
            workflow_refused: workflow_refused
                .as_deref()
                .map(|named| Arc::from(&*policies.data.redact_text(named))),
            resource,
            prompt: item(CallKind::Prompt),
            remediated,
            share: request.share,
            checks,
        }
    }

    fn count_arguments(&self, tokenizer: Tokenizer, arguments: &Value) -> (u64, u64) {
        let text = text::of(arguments);
        (self.measures.tokens.count_for(tokenizer, &text), text.len() as u64)
    }
}

/// What refuses a call before policies are asked: by which rule, why, and what helps.
fn unfit(
    fit: Fit,
    blocked: Option<String>,
    priced: Result<MicroUsd, Unpriceable>,
) -> Option<(&'static str, String, Option<&'static str>)> {
    match (fit, blocked, priced) {
        (Fit::Refused { reason, advice }, ..) => Some(("schema", reason, advice)),
        (Fit::Fits | Fit::Unchecked, Some(reason), _) => Some(("data", reason, None)),
        // Whoever can call it at no price can call it without end.
        (Fit::Fits | Fit::Unchecked, None, Err(error)) => Some(("price", error.to_string(), None)),
        (Fit::Fits | Fit::Unchecked, None, Ok(_)) => None,
    }
}

impl InScope<'_> {
    /// Whether values stand for placeholders in the arguments.
    fn reveals(&self) -> bool {
        !Arc::ptr_eq(&self.given, &self.arguments)
    }

    /// What data.yaml makes of what goes beside them; what stands there for a placeholder goes as it is.
    fn outbound_beside(&self, data: &DataRules) -> Option<Outbound> {
        let beside = self.beside.as_ref()?;
        let acts = data.acts_on_arguments(&self.target.place());
        match acts.then(|| extras::inspect(data, beside, &self.target)) {
            None | Some(Outbound::Unchanged) => {
                self.reveals_beside.then(|| Outbound::Changed(beside.clone()))
            }
            changed => changed,
        }
    }

    /// The arguments for the record, from what may be recorded of those that are sent. Of a revealed value that is its
    /// placeholder.
    fn recorded(&self, policies: &PolicySet, sent: Cow<'_, Value>) -> Arc<Value> {
        let recorded = match self.reveals() {
            false => sent,
            true => policies.data.inspect_arguments(&self.given, &self.target.place()).recorded,
        };
        match recorded {
            Cow::Borrowed(_) => self.given.clone(),
            Cow::Owned(masked) => Arc::new(masked),
        }
    }
}

/// Why there is no such target in scope: its upstream is down, or it is not there.
fn away(
    view: &View,
    (agent, user): (&AgentId, Option<&PersonId>),
    (kind, name): (CallKind, &str),
    narrow: Option<&[CapabilityId]>,
) -> Stop {
    let found = (kind == CallKind::Tool).then(|| view.away(name, narrow)).flatten();
    found.map_or(Stop::Unknown, |covered| {
        let refusal = Refusal::away(&covered.entry.upstream);
        let target = Target::Tool(covered.entry);
        let called = subject_of(agent, user, &target, &covered.capabilities);
        Stop::Away(Box::new(refusal), Box::new(called))
    })
}

/// The data rules for a call of this agent.
fn rules_of(policies: &PolicySet, agent: &AgentId) -> DataRules {
    match policies.data.tokenizes() {
        true => policies.data.for_caller(caller_of(policies, agent)),
        false => policies.data.clone(),
    }
}

/// The labels of the data with those that external checks put on it.
fn with_labels(mut labels: Vec<Arc<str>>, answers: &[CheckAnswer]) -> Vec<Arc<str>> {
    for label in answers.iter().flat_map(|answer| &answer.labels) {
        if !labels.contains(label) {
            labels.push(label.clone());
        }
    }
    labels
}

/// What goes upstream in place of the arguments, or why they may not go.
fn outbound_of(request: &Request, arguments: &Value, outbound: Outbound) -> (Option<Value>, Option<String>) {
    match outbound {
        Outbound::Unchanged => (None, None),
        // What was decided is one resource, and what is asked for would be another.
        Outbound::Changed(value)
            if request.kind == CallKind::Resource && uri_of(&value) != uri_of(arguments) =>
        {
            (None, Some("its URI holds what data.yaml changes on the way upstream".to_owned()))
        }
        Outbound::Changed(value) => (Some(value), None),
        Outbound::Blocked(reason) => (None, Some(reason)),
    }
}

/// `_meta` and the other members of the params.
type OutboundExtras = (Map<String, Value>, Map<String, Value>);

/// The same of what goes beside the arguments.
fn extras_of(outbound: Option<Outbound>) -> (Option<OutboundExtras>, Option<String>) {
    match outbound {
        None | Some(Outbound::Unchanged) => (None, None),
        Some(Outbound::Changed(mut value)) => {
            let mut part = |name: &str| match value.get_mut(name).map(Value::take) {
                Some(Value::Object(map)) => map,
                Some(_) | None => Map::new(),
            };
            (Some((part("_meta"), part("params"))), None)
        }
        Some(Outbound::Blocked(reason)) => (None, Some(reason)),
    }
}

/// A target in scope, and the capabilities that cover it.
type Found = (Target, Arc<[CapabilityId]>);

fn find(
    view: &View,
    request: &Request,
    name: &str,
    narrow: Option<&[CapabilityId]>,
) -> Result<Option<Found>, UriError> {
    if request.kind == CallKind::Resource
        && matches!(request.purpose, Purpose::Complete { .. })
        && let Some(covered) = view.template(name, narrow)
    {
        let name = covered.entry.name.clone();
        return Ok(Some((Target::Item(covered.entry, name), covered.capabilities)));
    }
    Ok(match request.kind {
        CallKind::Tool => view.tool(name, narrow).map(|c| (Target::Tool(c.entry), c.capabilities)),
        CallKind::Prompt => view
            .prompt(name, narrow)
            .map(|c| (Target::Item(c.entry.clone(), c.entry.name.clone()), c.capabilities)),
        CallKind::Resource => {
            view.resource(name, narrow)?.map(|(c, uri)| (Target::Item(c.entry, uri.into()), c.capabilities))
        }
    })
}

/// A resource's arguments with the URI in which it was matched: conditions see it, it is approved, and it goes upstream.
fn as_matched(target: &Target, mut arguments: Arc<Value>) -> Arc<Value> {
    if let Target::Item(_, name) = target
        && uri_of(&arguments).is_some_and(|written| *written != **name)
        && let Some(map) = Arc::make_mut(&mut arguments).as_object_mut()
    {
        map.insert("uri".to_owned(), json!(name));
    }
    arguments
}

/// The refusal of a URI that two parsers could read differently.
fn unclear(policies: &PolicySet, wrong: &UriError) -> Refusal {
    let reason = wrong.to_string();
    let masked = policies.data.redact_text(&reason);
    Refusal::deny("uri", display_text(&masked, LONGEST_NAME))
}

/// What of the bundle's `required` the call lacks.
fn missing(required: &[Arc<str>], request: &Request, workflow: bool, user: bool) -> Vec<Arc<str>> {
    required
        .iter()
        .filter(|name| match &***name {
            "workflow_id" => !workflow,
            "user" => !user,
            "trace_id" => !request.traced,
            other => request.meta.get(other).is_none_or(Value::is_null),
        })
        .cloned()
        .collect()
}
