//! From what a front parsed to everything a decision needs: scope, schema, redaction, estimate, facts.

use super::{
    InForce, Inner,
    api::Purpose,
    call::uri_of,
    extras::{self, Extras},
    fit::{Fit, Look, Looks},
    refusal::Refusal,
    request::Request,
};
use crate::{
    catalog::{ItemEntry, ToolEntry, ToolSchema, View},
    cost::{Estimate, Tokenizer},
    decision::{AgentFacts, CallFacts, CostFacts, DataFacts, Facts, ToolFacts, WorkflowFacts},
    evidence::{CallSubject, Evaluated, ITEM_TRAITS, Judged, ResolvedTool, TargetSubject},
    model::{
        CallKind, CapabilityId, Digest, Fingerprint, MicroUsd, PersonId, PolicyId, Sensitivity, ToolTraits,
        UpstreamName, UriError, WorkflowId, pointer::Pointer, text,
    },
    policy::{Agent, PolicySet, Workflow},
    redaction::{DataRules, Outbound, Place, display_text},
};
use serde_json::{Map, Value, json};
use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

/// A target in scope.
#[derive(Clone)]
pub(crate) enum Target {
    Tool(Arc<ToolEntry>),
    /// A prompt, or a resource with its canonical URI.
    Item(Arc<ItemEntry>, Arc<str>),
}

impl Target {
    /// What selectors and digests call it. Of a resource it may hold a secret that the agent wrote: records take
    /// [`Prepared::shown`].
    pub(crate) fn full(&self) -> &Arc<str> {
        match self {
            Self::Tool(tool) => &tool.full,
            Self::Item(_, name) => name,
        }
    }
    /// Under what its result sizes are learned and its calls counted: of a resource the template, of which there are only
    /// so many. In the form in which the store may have it.
    pub(crate) fn kept_as(&self, data: &DataRules) -> Arc<str> {
        data.kept_name(match self {
            Self::Tool(tool) => &tool.full,
            Self::Item(item, _) => &item.name,
        })
    }
    /// Its name for records, prompts and pages: masked, and of bounded length.
    pub(crate) fn shown(&self, data: &DataRules) -> Arc<str> {
        shown(self.full(), &data.redact_text(self.full()))
    }
    /// Its action for the same. What is configured says nothing secret; the default one of a tool has its own name, that of a
    /// resource its URI.
    pub(crate) fn shown_action(&self, data: &DataRules) -> Arc<str> {
        let (action, upstream) = (self.action(), self.upstream().as_str());
        match action.strip_prefix(upstream).and_then(|rest| rest.strip_prefix(':')) {
            None => action.clone(),
            Some(own) => match data.redact_text(own) {
                Cow::Borrowed(_) if own.len() <= LONGEST_NAME => action.clone(),
                own => shown(action, &format!("{upstream}:{own}")),
            },
        }
    }
    pub(crate) fn upstream(&self) -> &UpstreamName {
        match self {
            Self::Tool(tool) => &tool.upstream,
            Self::Item(item, _) => &item.upstream,
        }
    }
    /// What its results are declared to be.
    pub(crate) fn declared(&self) -> Option<&Arc<ToolSchema>> {
        match self {
            Self::Tool(tool) => tool.output.as_ref(),
            Self::Item(..) => None,
        }
    }
    pub(crate) fn own_name(&self) -> &Arc<str> {
        match self {
            Self::Tool(tool) => &tool.own_name,
            Self::Item(item, _) => &item.own_name,
        }
    }
    /// The name in lists.
    pub(crate) fn listed(&self) -> &Arc<str> {
        match self {
            Self::Tool(tool) => &tool.exposed,
            Self::Item(item, _) => &item.listed,
        }
    }
    /// What the upstream is asked for where the canonical URI was matched.
    pub(crate) fn own_uri<'u>(&'u self, uri: &'u str) -> Cow<'u, str> {
        match self {
            Self::Tool(_) => Cow::Borrowed(uri),
            Self::Item(item, _) => item.own_uri(uri),
        }
    }
    /// As its upstream listed it.
    pub(crate) fn item(&self) -> &Value {
        match self {
            Self::Tool(tool) => &tool.item,
            Self::Item(item, _) => &item.item,
        }
    }
    pub(crate) fn action(&self) -> &Arc<str> {
        match self {
            Self::Tool(tool) => &tool.action,
            Self::Item(item, _) => &item.action,
        }
    }
    pub(crate) fn labels(&self) -> &Arc<[Arc<str>]> {
        match self {
            Self::Tool(tool) => &tool.labels,
            Self::Item(item, _) => &item.labels,
        }
    }
    pub(crate) fn sensitive(&self) -> &[Pointer] {
        match self {
            Self::Tool(tool) => &tool.sensitive,
            Self::Item(..) => &[],
        }
    }
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        match self {
            Self::Tool(tool) => tool.fingerprint.clone(),
            Self::Item(..) => Fingerprint::from(""),
        }
    }
    pub(crate) fn traits(&self) -> ToolTraits {
        match self {
            Self::Tool(tool) => tool.traits,
            Self::Item(..) => ITEM_TRAITS,
        }
    }
    fn cost(&self) -> MicroUsd {
        match self {
            Self::Tool(tool) => tool.cost,
            Self::Item(..) => MicroUsd::ZERO,
        }
    }
    pub(crate) fn expected_result_tokens(&self) -> Option<u64> {
        match self {
            Self::Tool(tool) => tool.expected_result_tokens,
            Self::Item(..) => None,
        }
    }
}

/// A call as the agent made it, or as rules changed it.
pub(crate) struct Version<'v> {
    pub(crate) name: &'v str,
    pub(crate) arguments: Arc<Value>,
    /// A remediation was applied.
    pub(crate) remediated: bool,
}

/// Everything known of a call before it is decided.
pub(crate) struct Prepared {
    pub(crate) target: Target,
    /// Its name for records, prompts and pages: masked, and of bounded length.
    pub(crate) shown: Arc<str>,
    /// Its action for the same.
    pub(crate) shown_action: Arc<str>,
    /// See [`Target::kept_as`].
    pub(crate) kept_as: Arc<str>,
    pub(crate) arguments: Arc<Value>,
    pub(crate) facts: Facts,
    /// Masked, for records and prompts.
    pub(crate) recorded: Arc<Value>,
    pub(crate) redacted: bool,
    pub(crate) level: Sensitivity,
    /// Changed arguments towards the upstream, where data.yaml says so.
    pub(crate) outbound: Option<Value>,
    /// The same of what goes beside them: `_meta` and other members of the params.
    pub(crate) beside: Option<(Map<String, Value>, Map<String, Value>)>,
    pub(crate) estimate: Estimate,
    pub(crate) tokenizer: Tokenizer,
    pub(crate) tool_price: MicroUsd,
    /// Of all that is sent.
    pub(crate) digest: Digest,
    /// Of target and arguments alone: by this a call is known that is made again.
    pub(crate) call_digest: Digest,
    /// What is bound beside the arguments.
    pub(crate) extras: Extras,
    pub(crate) workflow: Option<WorkflowId>,
    pub(crate) operator: Option<PersonId>,
    pub(crate) attended: bool,
    /// Nobody knows whether the arguments fit their schema.
    pub(crate) unchecked: bool,
    /// What policies said of it, and on what; none before they are asked.
    pub(crate) judged: Option<Judged>,
}

impl Prepared {
    /// What is kept of its tool; none for resources and prompts.
    pub(crate) fn resolved(&self) -> Option<&Arc<ResolvedTool>> {
        match &self.target {
            Target::Tool(tool) => Some(&tool.resolved),
            Target::Item(..) => None,
        }
    }

    /// For the record of what is decided on it.
    pub(crate) fn evaluated(&self) -> Evaluated<'_> {
        Evaluated {
            facts: &self.facts,
            recorded: &self.recorded,
            names: (self.target.full(), &self.shown),
            actions: (self.target.action(), &self.shown_action),
            tool: self.resolved().map(|tool| &*tool.hash),
        }
    }
}

/// Why a call went no further than its preparation.
pub(crate) enum Stop {
    /// Not in scope, or not there: the same answer for both (I7).
    Unknown,
    /// Whether the arguments fit has to be found out beside first.
    Unchecked(Box<Look>),
    /// Refused before policy saw it, with what is known of it for the record.
    Refused(Box<Refusal>, Option<Box<Prepared>>),
}

impl Inner {
    /// One evaluation's preparation.
    // Long: what may be known of a call before it is decided, each look in its order and what stops the call there.
    pub(crate) fn prepare(
        &self,
        in_force: &Arc<InForce>,
        view: &View,
        request: &Request,
        version: Version<'_>,
        looks: &Looks,
    ) -> Result<Prepared, Stop> {
        let Version { name, arguments, remediated } = version;
        let policies = &in_force.policies;
        let agent = policies.authority.agents.get(&request.agent).ok_or(Stop::Unknown)?;
        let (workflow, workflow_refused) =
            workflow_of(&policies.authority.workflows, agent, request.workflow.as_deref());
        let narrow = workflow.and_then(|w| w.capabilities.as_deref());
        let (target, capabilities) = find(view, request, name, narrow)
            .map_err(|wrong| Stop::Refused(Box::new(unclear(policies, &wrong)), None))?
            .ok_or(Stop::Unknown)?;
        let arguments = as_matched(&target, arguments);
        let model = agent.model.as_deref();
        let tokenizer = policies.prices.tokenizer(model);
        let (argument_tokens, size) = self.count_arguments(tokenizer, &arguments);
        let fit = match &target {
            Target::Tool(tool) => {
                let setting = in_force.config.gateway.unchecked_arguments;
                looks.fit(&tool.schema, &arguments, size, setting).map_err(Stop::Unchecked)?
            }
            Target::Item(..) => Fit::Fits,
        };
        let place = Place {
            upstream: target.upstream(),
            tool: target.full(),
            labels: target.labels(),
            sensitive: target.sensitive(),
        };
        let inspected = policies.data.inspect_arguments(&arguments, &place);
        let beside =
            policies.data.acts_on_arguments(&place).then(|| extras::inspect(policies, request, &target));
        let shown = target.shown(&policies.data);
        let kept_as = match &target {
            Target::Tool(tool) if Arc::ptr_eq(&tool.full, &shown) => shown.clone(),
            Target::Tool(_) | Target::Item(..) => target.kept_as(&policies.data),
        };
        let expected = self.learned.expected(&kept_as, target.expected_result_tokens());
        let tool_price = policies.prices.tool_price(target.full(), target.cost());
        let estimate = policies.prices.estimate(model, argument_tokens, expected, tool_price);
        let extras = Extras::bound(request, &in_force.config.gateway.volatile_meta);
        let call_digest = self.digest_key.digest(request.word(), target.full(), &arguments, None);
        let digest = match extras.is_empty() {
            true => call_digest.clone(),
            false => self.digest_key.digest(request.word(), target.full(), &arguments, Some(&extras)),
        };
        let now = self.clock.now();
        let operator = agent.operator.clone();
        let item = |kind: CallKind| if request.kind == kind { target.full().clone() } else { Arc::default() };
        let facts = Facts {
            agent: AgentFacts::of(agent),
            user: operator.clone(),
            workflow: workflow.map(|w| WorkflowFacts { id: w.id.clone(), owner: w.owner.clone() }),
            tool: ToolFacts {
                name: item(CallKind::Tool),
                upstream: target.upstream().clone(),
                action: target.action().clone(),
                labels: target.labels().clone(),
                traits: target.traits(),
                fingerprint: target.fingerprint(),
                pinned: false,
            },
            args: arguments.clone(),
            call: CallFacts {
                kind: request.kind,
                repeats: self.repeats.before(&agent.id, &call_digest, self.clock.monotonic()),
                size,
            },
            cost: CostFacts { estimate: estimate.cost, tokens: estimate.tokens() },
            data: DataFacts {
                level: inspected.level,
                labels: inspected.labels,
                findings: inspected.findings,
            },
            session_labels: Vec::new(),
            now,
            capabilities: capabilities.to_vec(),
            missing_metadata: missing(
                &policies.bundle.required,
                request,
                workflow.is_some(),
                operator.is_some(),
            ),
            workflow_refused: workflow_refused.map(|named| Arc::from(&*policies.data.redact_text(&named))),
            resource: item(CallKind::Resource),
            prompt: item(CallKind::Prompt),
            remediated,
            share: request.share,
        };
        let recorded = match inspected.recorded {
            Cow::Borrowed(_) => arguments.clone(),
            Cow::Owned(masked) => Arc::new(masked),
        };
        let workflow = workflow.map(|w| w.id.clone());
        let (outbound, blocked) = match inspected.outbound {
            Outbound::Unchanged => (None, None),
            // What was decided is one resource, and what is asked for would be another.
            Outbound::Changed(value)
                if request.kind == CallKind::Resource && uri_of(&value) != uri_of(&arguments) =>
            {
                (None, Some("its URI holds what data.yaml changes on the way upstream".to_owned()))
            }
            Outbound::Changed(value) => (Some(value), None),
            Outbound::Blocked(reason) => (None, Some(reason)),
        };
        let (beside, blocked_beside) = match beside {
            None | Some(Outbound::Unchanged) => (None, None),
            Some(Outbound::Changed(mut value)) => {
                let mut part = |name: &str| match value.get_mut(name).map(Value::take) {
                    Some(Value::Object(map)) => map,
                    Some(_) | None => Map::new(),
                };
                (Some((part("_meta"), part("params"))), None)
            }
            Some(Outbound::Blocked(reason)) => (None, Some(reason)),
        };
        let blocked = blocked.or(blocked_beside);
        let prepared = Prepared {
            judged: None,
            redacted: inspected.redacted,
            level: facts.data.level,
            recorded,
            outbound,
            beside,
            attended: agent.attended,
            unchecked: fit == Fit::Unchecked,
            shown,
            shown_action: target.shown_action(&policies.data),
            kept_as,
            target,
            arguments,
            facts,
            estimate,
            tokenizer,
            tool_price,
            digest,
            call_digest,
            extras,
            workflow,
            operator,
        };
        let (policy, reason, advice) = match (fit, blocked) {
            (Fit::Refused { reason, advice }, _) => ("schema", reason, advice),
            (Fit::Fits | Fit::Unchecked, Some(reason)) => ("data", reason, None),
            (Fit::Fits | Fit::Unchecked, None) => return Ok(prepared),
        };
        let mut refusal = Refusal::deny(policy, policies.data.redact_text(&reason).into_owned());
        refusal.advice = advice;
        Err(Stop::Refused(Box::new(refusal), Some(Box::new(prepared))))
    }

    fn count_arguments(&self, tokenizer: Tokenizer, arguments: &Value) -> (u64, u64) {
        let text = text::of(arguments);
        (self.tokens.count_for(tokenizer, &text), text.len() as u64)
    }
}

/// The workflow that a request names: in `_meta`, else in its header. What is no text is a name that nobody has.
pub(crate) fn named_workflow(meta: Option<&Map<String, Value>>, header: Option<String>) -> Option<String> {
    match meta.and_then(|meta| meta.get("tollgate/workflow_id")) {
        None | Some(Value::Null) => header,
        Some(Value::String(name)) => Some(name.clone()),
        Some(other) => Some(other.to_string()),
    }
}

/// The workflow a request of this agent runs in, or the name it may not use. A name that is allowed but unknown cannot
/// be: the bundle was checked.
pub(super) fn workflow_of<'w>(
    known: &'w BTreeMap<WorkflowId, Workflow>,
    agent: &Agent,
    named: Option<&str>,
) -> (Option<&'w Workflow>, Option<Arc<str>>) {
    let wanted = match named {
        Some(named) => {
            let allowed = agent.workflows.iter().chain(&agent.workflow).any(|w| w.as_str() == named);
            if !allowed {
                return (None, Some(cut(named, LONGEST_NAME).into()));
            }
            named
        }
        None => match &agent.workflow {
            Some(default) => default.as_str(),
            None => return (None, None),
        },
    };
    (known.get(wanted), None)
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

/// The longest name of a target in a record, in characters; the digest is over all of it.
const LONGEST_NAME: usize = 1024;

fn shown(full: &Arc<str>, masked: &str) -> Arc<str> {
    match masked.chars().nth(LONGEST_NAME) {
        None if masked == &**full => full.clone(),
        None => masked.into(),
        Some(_) => masked.chars().take(LONGEST_NAME).chain(['…']).collect::<String>().into(),
    }
}

/// At most so many bytes of a text.
fn cut(text: &str, most: usize) -> &str {
    let mut end = most.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

/// What of the bundle's `required` the call lacks (R1).
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

/// A call as its records name it, with everything that is known of it.
pub(crate) fn subject<'c>(
    request: &'c Request,
    prepared: Option<&'c Prepared>,
    in_force: &'c InForce,
) -> CallSubject<'c> {
    let agent = in_force.policies.authority.agents.get(&request.agent);
    let role = match prepared {
        Some(prepared) => Some(&prepared.facts.agent.role),
        None => agent.map(|agent| &agent.role),
    };
    let tool = match prepared {
        Some(prepared) => prepared.shown.clone(),
        None => {
            // Masked before it is cut: half a secret is one no detector knows.
            let masked = in_force.policies.data.redact_text(cut(&request.name, 8 * LONGEST_NAME));
            masked.chars().take(128).collect::<String>().into()
        }
    };
    CallSubject {
        trace_id: request.trace_id,
        call_id: &request.call_id,
        agent: &request.agent,
        role,
        tenant: agent.map(|agent| &agent.tenant),
        operator: agent.and_then(|agent| agent.operator.as_ref()),
        user: match prepared {
            Some(prepared) => prepared.facts.user.as_ref(),
            None => agent.and_then(|agent| agent.operator.as_ref()),
        },
        environment: &in_force.policies.environment,
        snapshot: &in_force.policies.snapshot,
        tool,
        target: prepared.map(|prepared| TargetSubject {
            workflow: prepared.workflow.as_ref(),
            action: &prepared.shown_action,
            cost: prepared.estimate.cost,
            level: prepared.level,
            redacted: prepared.redacted,
            upstream: prepared.target.upstream(),
            capability: prepared.facts.capabilities.first(),
            labels: &prepared.facts.data.labels,
        }),
    }
}

/// The policy id under which a refusal for an unknown target is recorded.
pub(crate) fn unknown_policy() -> PolicyId {
    PolicyId::from("scope")
}

/// The arguments of a call as policies see them.
pub(crate) fn arguments_of(kind: CallKind, name: &str, given: Option<Value>) -> Value {
    match (kind, given) {
        (CallKind::Tool | CallKind::Prompt, given) => given.unwrap_or_else(|| json!({})),
        (CallKind::Resource, None) => json!({"uri": name}),
        // A template's variables, while they are being completed.
        (CallKind::Resource, Some(given)) => json!({"uri": name, "arguments": given}),
    }
}
