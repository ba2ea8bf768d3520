//! What a decision was made on, as its record holds it, and back.
//!
//! A decision's `facts` hold what rules could read and what neither another field of the event, nor the snapshot, nor the
//! resolved tool tells: agent, user, workflow, estimate and level are fields; the agent's role, tenant and the like are in
//! the snapshot's authority map; the arguments stand in `detail`, masked, and `masked` names the places that are not what
//! was decided on.

use super::{cut::CUT_ARGUMENTS, masked::differing};
use crate::{
    decision::{AgentFacts, CallFacts, CostFacts, DataFacts, Facts, ToolFacts, WorkflowFacts},
    model::{
        CallKind, CapabilityId, EventDraft, Fingerprint, MicroUsd, Sensitivity, SharePlace, ToolTraits,
        UpstreamName, pointer::Pointer, text, text::Object,
    },
    policy::{CheckAnswer, PolicySet},
};
use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;

/// The version of what is written here.
pub const VERSION: u64 = 1;

/// In place of the facts of a refused call whose earlier evaluations were too large to be recorded.
pub(super) const CUT_FACTS: &str = r#"{"version":1,"cut":true}"#;

/// What is taken of resources and prompts: reading one is a read by the protocol's own words.
pub const ITEM_TRAITS: ToolTraits =
    ToolTraits { read_only: true, destructive: false, idempotent: true, open_world: true };

/// One evaluation of a call, for its record.
#[derive(Clone, Copy, Debug)]
pub struct Evaluated<'e> {
    /// What was decided on.
    pub facts: &'e Facts,
    /// The arguments as they may be recorded.
    pub recorded: &'e Arc<Value>,
    /// The name of the target, and how it may be recorded.
    pub names: (&'e str, &'e str),
    /// The action, and how it may be recorded.
    pub actions: (&'e str, &'e str),
    /// The hash of the resolved tool; none for resources and prompts.
    pub tool: Option<&'e str>,
    /// What the estimate was made of beside the tokens of the arguments and the prices of the bundle: the tokens that the
    /// result was expected to have, and the tool's own price.
    pub priced: (u64, MicroUsd),
}

impl Evaluated<'_> {
    /// The facts of a decision; `earlier` are the evaluations that changed the call, in order, as [`Self::earlier`] wrote
    /// them.
    pub fn text(&self, earlier: &[Box<str>]) -> Box<str> {
        let mut out = Vec::with_capacity(384);
        let mut told = Object::new(&mut out);
        told.natural("version", Some(VERSION));
        self.members(&mut told);
        if !earlier.is_empty() {
            let list = told.member("earlier");
            list.push(b'[');
            list.extend_from_slice(earlier.join(",").as_bytes());
            list.push(b']');
        }
        told.end();
        text::finished(out)
    }

    /// An evaluation after which rules changed the call, for the facts of the one that followed. The arguments of the
    /// `first` one stand in the record already.
    pub fn earlier(&self, first: bool) -> Box<str> {
        let facts = self.facts;
        let mut out = Vec::with_capacity(512);
        let mut told = Object::new(&mut out);
        self.members(&mut told);
        told.money("estimate_usd", Some(facts.cost.estimate));
        told.text("level", Some(facts.data.level.as_str()));
        told.strings("labels", &facts.data.labels);
        if self.tool.is_none() {
            told.text("name", Some(self.names.1));
            told.text("action", Some(self.actions.1));
            told.text("upstream", Some(&facts.tool.upstream));
        }
        if !first {
            told.value("arguments", Some(self.recorded));
        }
        told.end();
        text::finished(out)
    }

    fn members(&self, told: &mut Object<'_>) {
        let facts = self.facts;
        told.text("kind", Some(facts.call.kind.as_str()));
        match self.tool {
            Some(hash) => told.text("tool", Some(hash)),
            None => {
                told.strings("item_labels", &facts.tool.labels);
                if facts.tool.unaccepted {
                    told.flag("unaccepted", true);
                }
            }
        }
        told.strings("capabilities", &facts.capabilities);
        told.shown("now", Some(&facts.now));
        told.natural("repeats", Some(facts.call.repeats));
        told.natural("size", Some(facts.call.size));
        told.natural("tokens", Some(facts.cost.tokens));
        let (result_tokens, tool_price) = self.priced;
        told.natural("result_tokens", Some(result_tokens));
        if tool_price > MicroUsd::ZERO {
            told.money("tool_usd", Some(tool_price));
        }
        told.natural("share", Some(facts.share.number().into()));
        for (name, list) in [
            ("findings", &facts.data.findings),
            ("session_labels", &facts.session_labels),
            ("missing", &facts.missing_metadata),
        ] {
            if !list.is_empty() {
                told.strings(name, list);
            }
        }
        if let Some(named) = &facts.workflow_refused {
            told.text("workflow_refused", Some(named));
        }
        if facts.remediated {
            told.flag("remediated", true);
        }
        // What a service answered long ago cannot be asked again.
        if !facts.checks.is_empty()
            && let Ok(answers) = serde_json::to_value(&facts.checks)
        {
            told.value("checks", Some(&answers));
        }
        let masked = self.masked();
        if !masked.is_empty() {
            told.strings("masked", &masked);
        }
    }

    fn masked(&self) -> Vec<String> {
        let mut masked = match Arc::ptr_eq(&self.facts.args, self.recorded) {
            true => Vec::new(),
            false => differing(&self.facts.args, self.recorded, "/args"),
        };
        for (place, (full, shown)) in [("/tool/name", self.names), ("/tool/action", self.actions)] {
            if full != shown {
                masked.push(place.to_owned());
            }
        }
        masked
    }
}

/// Why the facts of a record cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It has none.
    #[error("it was recorded without facts, by a version before they were")]
    None,
    /// The call was refused, and they were too large.
    #[error("its facts were too large for the record of a refusal")]
    Cut,
    /// Another version wrote them.
    #[error("its facts are of version {0}, which this one does not know")]
    Version(u64),
    /// They are not as this version writes them.
    #[error("its facts cannot be read: {0}")]
    Damaged(String),
    /// The tool is not kept.
    #[error("the resolved tool `{0}` is not kept")]
    NoTool(String),
    /// The bundle does not have the agent.
    #[error("the bundle has no agent `{0}`")]
    NoAgent(String),
    /// The bundle does not have the workflow.
    #[error("the bundle has no workflow `{0}`")]
    NoWorkflow(String),
}

/// One evaluation as it was recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct Recalled {
    /// What was decided on, with masks in place of what was masked.
    pub facts: Facts,
    /// The masked places of the arguments.
    pub masked: Vec<Pointer>,
    /// The name or the action of the target is masked, so that no selector can be held against it.
    pub target_masked: bool,
}

#[derive(Deserialize)]
struct Recorded {
    kind: CallKind,
    tool: Option<String>,
    item_labels: Option<Vec<Arc<str>>>,
    /// Of resources and prompts: a tool's own record has it.
    #[serde(default)]
    unaccepted: bool,
    capabilities: Vec<CapabilityId>,
    now: jiff::Timestamp,
    repeats: u64,
    size: u64,
    tokens: u64,
    #[serde(default)]
    findings: Vec<Arc<str>>,
    #[serde(default)]
    session_labels: Vec<Arc<str>>,
    #[serde(default)]
    missing: Vec<Arc<str>>,
    workflow_refused: Option<Arc<str>>,
    #[serde(default)]
    remediated: bool,
    /// Records of before there were shares do not have it, and no policy of theirs reads it.
    #[serde(default)]
    share: u64,
    #[serde(default)]
    checks: Vec<CheckAnswer>,
    #[serde(default)]
    masked: Vec<String>,
    #[serde(default)]
    earlier: Vec<Value>,
    // Of earlier evaluations only.
    estimate_usd: Option<MicroUsd>,
    level: Option<Sensitivity>,
    labels: Option<Vec<Arc<str>>>,
    name: Option<Arc<str>>,
    action: Option<Arc<str>>,
    upstream: Option<UpstreamName>,
}

fn read(value: &Value) -> Result<Recorded, Unreadable> {
    Recorded::deserialize(value).map_err(|error| Unreadable::Damaged(error.to_string()))
}

/// The hashes of the resolved tools that a decision's facts name.
pub fn tools_named(event: &EventDraft) -> Vec<&str> {
    let Some(facts) = &event.facts else { return Vec::new() };
    let earlier = facts.get("earlier").and_then(Value::as_array).into_iter().flatten();
    std::iter::once(facts)
        .chain(earlier)
        .filter_map(|facts| facts.get("tool").and_then(Value::as_str))
        .collect()
}

/// Every evaluation of a recorded decision, in order, under a bundle: what the record does not hold is read from that
/// bundle's authority map. `tool` gives a resolved tool by its hash.
pub fn recall(
    event: &EventDraft,
    set: &PolicySet,
    tool: &dyn Fn(&str) -> Option<ToolFacts>,
) -> Result<Vec<Recalled>, Unreadable> {
    let value = event.facts.as_ref().ok_or(Unreadable::None)?;
    match value.get("version").and_then(Value::as_u64) {
        Some(VERSION) => {}
        Some(other) => return Err(Unreadable::Version(other)),
        None => return Err(Unreadable::Damaged("they name no version".to_owned())),
    }
    if value.get("cut").is_some() {
        return Err(Unreadable::Cut);
    }
    let last = read(value)?;
    let detail = |name: &str| event.detail.as_ref().and_then(|detail| detail.get(name));
    let arguments = |value: Option<&Value>| {
        value.cloned().map(Arc::new).ok_or_else(|| Unreadable::Damaged("arguments are missing".to_owned()))
    };
    let mut all = Vec::with_capacity(1 + last.earlier.len());
    for (index, value) in last.earlier.iter().enumerate() {
        let args = match index {
            0 => arguments(detail("original_arguments"))?,
            _ => arguments(value.get("arguments"))?,
        };
        all.push(Recall { event, set, tool, args }.one(read(value)?, false)?);
    }
    // Of arguments that are cut nothing is known: they count as masked.
    let is_cut = detail(CUT_ARGUMENTS).is_some();
    let args = match is_cut {
        true => Arc::new(Value::Object(serde_json::Map::new())),
        false => arguments(detail("arguments"))?,
    };
    let mut last = Recall { event, set, tool, args }.one(last, true)?;
    if is_cut {
        let all = Pointer::parse("").map_err(|error| Unreadable::Damaged(error.to_string()))?;
        last.masked = vec![all];
    }
    all.push(last);
    Ok(all)
}

struct Recall<'r> {
    event: &'r EventDraft,
    set: &'r PolicySet,
    tool: &'r dyn Fn(&str) -> Option<ToolFacts>,
    args: Arc<Value>,
}

impl Recall<'_> {
    /// `last`: what is not in the facts stands in the event's own fields.
    fn one(self, recorded: Recorded, last: bool) -> Result<Recalled, Unreadable> {
        let missing = |what: &str| Unreadable::Damaged(format!("{what} is missing"));
        let event = self.event;
        let (name, action, upstream, estimate, level, labels) = match last {
            true => (
                event.tool.clone(),
                event.action.clone(),
                event.upstream.clone(),
                event.cost_estimate_usd,
                Some(event.sensitivity_level),
                event.labels.clone(),
            ),
            false => (
                recorded.name,
                recorded.action,
                recorded.upstream,
                recorded.estimate_usd,
                recorded.level,
                recorded.labels,
            ),
        };
        let tool = match &recorded.tool {
            Some(hash) => (self.tool)(hash).ok_or_else(|| Unreadable::NoTool(hash.clone()))?,
            None => ToolFacts {
                name: name.clone().ok_or_else(|| missing("the target"))?,
                upstream: upstream.ok_or_else(|| missing("the upstream"))?,
                action: action.ok_or_else(|| missing("the action"))?,
                labels: recorded.item_labels.ok_or_else(|| missing("`item_labels`"))?.into(),
                traits: ITEM_TRAITS,
                fingerprint: Fingerprint::from(""),
                pinned: false,
                unaccepted: recorded.unaccepted,
            },
        };
        let item = |kind| if recorded.kind == kind { tool.name.clone() } else { Arc::default() };
        let (resource, prompt) = (item(CallKind::Resource), item(CallKind::Prompt));
        let tool = ToolFacts { name: item(CallKind::Tool), ..tool };
        let mut masked = Vec::new();
        let mut target_masked = false;
        for place in &recorded.masked {
            match place.strip_prefix("/args").map(Pointer::parse) {
                Some(Ok(pointer)) => masked.push(pointer),
                Some(Err(error)) => return Err(Unreadable::Damaged(error.to_string())),
                None => target_masked = true,
            }
        }
        let facts = Facts {
            agent: self.agent()?,
            user: event.user.clone(),
            user_groups: self.set.authority.groups_of(event.user.as_ref()),
            workflow: self.workflow()?,
            tool,
            args: self.args,
            call: CallFacts { kind: recorded.kind, repeats: recorded.repeats, size: recorded.size },
            cost: CostFacts {
                estimate: estimate.ok_or_else(|| missing("the estimate"))?,
                tokens: recorded.tokens,
            },
            data: DataFacts {
                level: level.ok_or_else(|| missing("the level"))?,
                labels: labels.ok_or_else(|| missing("`labels`"))?,
                findings: recorded.findings,
            },
            session_labels: recorded.session_labels,
            now: recorded.now,
            capabilities: recorded.capabilities,
            missing_metadata: recorded.missing,
            workflow_refused: recorded.workflow_refused,
            resource,
            prompt,
            remediated: recorded.remediated,
            share: SharePlace::from_number(recorded.share),
            checks: recorded.checks,
        };
        Ok(Recalled { facts, masked, target_masked })
    }

    fn agent(&self) -> Result<AgentFacts, Unreadable> {
        let id = self.event.agent_id.as_ref().ok_or_else(|| Unreadable::Damaged("no agent".to_owned()))?;
        let known = self.set.authority.agents.get(id);
        let agent = known.ok_or_else(|| Unreadable::NoAgent(id.to_string()))?;
        Ok(AgentFacts::of(agent))
    }

    fn workflow(&self) -> Result<Option<WorkflowFacts>, Unreadable> {
        let Some(id) = &self.event.workflow_id else { return Ok(None) };
        let known = self.set.authority.workflows.get(id);
        let workflow = known.ok_or_else(|| Unreadable::NoWorkflow(id.to_string()))?;
        Ok(Some(WorkflowFacts { id: workflow.id.clone(), owner: workflow.owner.clone() }))
    }
}
