//! The JSON forms that the admin API and the command line share. No key and no digest of a key leaves
//! through here.

use crate::{
    approval::{DecideError, answer_form, bounds_form, eligible, standing},
    audit::ApprovalReport,
    catalog::{Catalog, Seen, ToolEntry},
    config::{Config, DisabledUpstream, Isolation, UpstreamConfig, UpstreamTransport},
    connections::{self, Connection, code_grant},
    model::{ApprovalStatus, Glob, PersonId, UpstreamName, UriPattern},
    pinning::{ItemKind, Standing},
    policy::{Agent, Approver, Authority, Capability, ChannelKind, Person, Policy, PolicyBody, PolicySet},
    redaction::DataRules,
    store::{ApprovalAnswer, ApprovalRecord, Requirement, StandingGrant},
    upstream::{Era, Health, UpstreamState, is_personal},
};
use serde_json::{Map, Value, json};
use std::{collections::HashMap, sync::Arc};

fn approvers(list: &[Approver]) -> Vec<&str> {
    list.iter().map(Approver::name).collect()
}

/// Everybody who may decide any requirement of a record, each once.
pub fn all_approvers(record: &ApprovalRecord) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for name in record.requirements.iter().flat_map(|r| &r.approvers).map(Approver::name) {
        if !all.iter().any(|known| known == name) {
            all.push(name.to_owned());
        }
    }
    all
}

/// An approval in the contract's words.
pub fn approval(record: &ApprovalRecord, policies: &PolicySet) -> Value {
    let context = &record.context;
    let members = |value: &Value| if value.is_null() { json!({}) } else { value.clone() };
    let decisions: Vec<Value> = record.answers.iter().map(decision).collect();
    let met = standing(&policies.authority, record, &record.answers).met;
    let requirements: Vec<Value> = record
        .requirements
        .iter()
        .zip(met)
        .map(|(requirement, (have, _))| requirement_form(requirement, have))
        .collect();
    json!({
        "id": record.id,
        "status": record.status,
        "trace_id": record.trace_id,
        "workflow_id": record.workflow_id,
        "workflow": record.workflow_id,
        "user": record.binding.user,
        "call_id": record.call_id,
        "agent_id": record.binding.agent,
        "operator": record.operator,
        "attended": record.attended,
        "tool": record.binding.tool,
        "fingerprint": record.binding.fingerprint,
        "upstream": record.upstream,
        "action": record.action,
        "description": context.description,
        "traits": context.traits,
        "labels": context.labels,
        "arguments": record.arguments,
        "meta": members(&context.meta),
        "params": members(&context.params),
        "arguments_complete": context.complete,
        "redacted": record.redacted,
        "digest": record.binding.digest,
        "policy_id": record.policy_id,
        "rule_id": record.rule_id,
        "policy_snapshot": record.binding.snapshot,
        "reason": record.reason,
        "approvers": all_approvers(record),
        "quorum": record.requirements.iter().map(|r| r.quorum).max(),
        "evidence_required": record.requirements.iter().any(|r| r.evidence_required),
        "cost_estimate_usd": record.cost_estimate_usd,
        "created_at": record.created_at,
        "expires_at": record.expires_at,
        "grants": record.grant_limits(),
        "proposed_grant": null,
        "covered_by": record.covered_by,
        "requirements": requirements,
        "decisions": decisions,
    })
}

/// The same for one person: whether they may decide it now, and if not, why.
pub fn approval_for(
    record: &ApprovalRecord,
    policies: &PolicySet,
    person: &PersonId,
    now: jiff::Timestamp,
) -> Value {
    let mut form = approval(record, policies);
    let why_not = match policies.authority.people.get(person) {
        _ if record.covered_by.is_some() => {
            Some("a standing grant has let its call through: nobody has to answer any more".to_owned())
        }
        _ if record.status == ApprovalStatus::Cancelled => Some(DecideError::SnapshotMismatch.to_string()),
        _ if record.status != ApprovalStatus::Pending => Some(format!("it is {}", record.status)),
        _ if record.binding.snapshot != policies.snapshot => Some(DecideError::SnapshotMismatch.to_string()),
        _ if record.answers.iter().any(|answer| answer.person == *person) => {
            Some("you have answered already, and others must".to_owned())
        }
        None => Some("you are not in authority.yaml".to_owned()),
        Some(known) => {
            let channels = [ChannelKind::Inbox, ChannelKind::Api];
            let mut refused = None;
            let may = record.requirements.iter().any(|requirement| {
                channels.iter().any(|channel| match eligible(record, requirement, known, *channel, now) {
                    Ok(()) => true,
                    Err(why) => {
                        refused.get_or_insert(why);
                        false
                    }
                })
            });
            if may {
                None
            } else {
                refused.or_else(|| Some("it has no requirement that you could meet".to_owned()))
            }
        }
    };
    if let Some(map) = form.as_object_mut() {
        let in_force = record.binding.snapshot == policies.snapshot;
        map.insert("policies_in_force".to_owned(), in_force.into());
        map.insert("may_decide".to_owned(), why_not.is_none().into());
        map.insert("why_not".to_owned(), why_not.into());
    }
    form
}

/// One person's answer. Its texts were redacted when it was written.
fn decision(answer: &ApprovalAnswer) -> Value {
    json!({
        "person": answer.person,
        "decision": if answer.approve { "approve" } else { "reject" },
        "at": answer.at,
        "channel": answer.channel,
        "comment": answer.comment,
        "evidence": answer.evidence,
        "policy_snapshot": answer.snapshot,
        "grant": answer.grant.as_ref().map(answer_form),
        "grant_id": answer.grant_id,
    })
}

/// A standing grant in the contract's words.
pub fn grant(grant: &StandingGrant) -> Value {
    let terms = &grant.terms;
    let rules: Vec<Value> =
        terms.rules.iter().map(|(policy, rule)| json!({"policy_id": policy, "rule_id": rule})).collect();
    json!({
        "id": grant.id,
        "status": grant.ended.as_ref().map_or("live", |end| end.why.as_str()),
        "agent": terms.agent,
        "user": terms.user,
        "workflow": terms.workflow,
        "tool": terms.tool,
        "fingerprint": terms.fingerprint,
        "upstream": terms.upstream,
        "capability": terms.capability,
        "policy_snapshot": terms.snapshot,
        "rules": rules,
        "arguments": bounds_form(&terms.arguments),
        "as_asked": terms.as_asked(),
        "uses": terms.uses,
        "used": grant.used,
        "uses_left": grant.uses_left(),
        "made_at": terms.made_at,
        "expires_at": terms.expires_at,
        "approver": terms.approvers.last(),
        "approvers": terms.approvers,
        "approval_id": terms.approval,
        "trace_id": terms.trace_id,
        "call_id": terms.call_id,
        "ended": grant.ended.as_ref().map(|end| json!({
            "why": end.why.as_str(),
            "at": end.at,
            "by": end.by,
            "reason": end.reason,
        })),
    })
}

/// An approval as the report of a trace tells it.
pub(super) fn asked(report: &ApprovalReport) -> Value {
    json!({
        "id": report.id,
        "status": report.status,
        "reason": report.reason,
        "created_at": report.created_at,
        "expires_at": report.expires_at,
        "approvers": report.approvers,
        "quorum": report.quorum,
        "evidence_required": report.evidence_required,
        "ended": report.ended,
        "decisions": report.answers.iter().map(decision).collect::<Vec<_>>(),
        "asked_by": report.asked_by,
        "used_by": report.used_by,
    })
}

fn requirement_form(requirement: &Requirement, approved_by: u32) -> Value {
    json!({
        "policy_id": requirement.policy_id,
        "rule_id": requirement.rule_id,
        "reason": requirement.reason,
        "approvers": approvers(&requirement.approvers),
        "quorum": requirement.quorum,
        "approved_by": approved_by,
        "evidence_required": requirement.evidence_required,
        "separate": requirement.separate,
        "channels": requirement.channels,
        "escalate": requirement.escalation.as_ref().map(|(at, to)| json!({"at": at, "to": approvers(to)})),
    })
}

fn globs(list: &[Glob]) -> Vec<&str> {
    list.iter().map(Glob::as_str).collect()
}

/// An agent as the authority map publishes it: how many keys, and none of them.
pub fn agent(agent: &Agent) -> Value {
    json!({
        "id": agent.id,
        "type": &*agent.agent_type,
        "role": &*agent.role,
        "tenant": &*agent.tenant,
        "owner": &*agent.owner,
        "operator": agent.operator,
        "attended": agent.attended,
        "workflow": agent.workflow,
        "workflows": agent.workflows,
        "model": agent.model,
        "autonomy": agent.autonomy,
        "max_catalog_tokens": agent.max_catalog_tokens,
        "capabilities": agent.capabilities,
        "keys": agent.keys.len(),
        "certificates": agent.certificates,
    })
}

/// A person as the authority map has them, with the agents that they operate.
pub fn person(authority: &Authority, person: &Person) -> Value {
    json!({
        "id": person.id,
        "roles": person.roles.iter().map(|role| role.as_str()).collect::<Vec<_>>(),
        "groups": person.groups,
        "operates": operated(authority, person),
        "capabilities": person.capabilities,
        "keys": person.keys.len(),
    })
}

/// The agents at whose client a person is.
pub fn operated<'a>(authority: &'a Authority, person: &Person) -> Vec<&'a str> {
    let theirs = authority.agents.values().filter(|agent| agent.operator.as_ref() == Some(&person.id));
    theirs.map(|agent| agent.id.as_str()).collect()
}

/// A capability as the authority map publishes it.
pub fn capability(capability: &Capability) -> Value {
    json!({
        "id": capability.id,
        "tools": globs(&capability.tools),
        "resources": capability.resources.iter().map(UriPattern::as_str).collect::<Vec<_>>(),
        "prompts": globs(&capability.prompts),
        "conditional": capability.condition.is_some(),
        "autonomy": capability.autonomy,
    })
}

/// The published authority map.
pub fn people(policies: &PolicySet) -> Vec<Value> {
    let form = |person: &crate::policy::Person| {
        json!({
            "id": person.id,
            "roles": person.roles.iter().map(|role| role.as_str()).collect::<Vec<_>>(),
            "groups": person.groups,
            "capabilities": person.capabilities,
            "keys": person.keys.len(),
        })
    };
    policies.authority.people.values().map(form).collect()
}

/// The published authority map.
pub fn authority(policies: &PolicySet) -> Value {
    let map = &policies.authority;
    let workflow = |w: &crate::policy::Workflow| {
        json!({
            "id": w.id,
            "owner": w.owner,
            "approval_sla": w.approval_sla.map(|sla| humantime::format_duration(sla).to_string()),
            "capabilities": w.capabilities,
        })
    };
    json!({
        "agents": map.agents.values().map(agent).collect::<Vec<_>>(),
        "capabilities": map.capabilities.values().map(capability).collect::<Vec<_>>(),
        "workflows": map.workflows.values().map(workflow).collect::<Vec<_>>(),
        "policy_snapshot": policies.snapshot,
    })
}

/// The bundle in force.
pub fn policies(set: &PolicySet) -> Value {
    json!({
        "snapshot": set.snapshot,
        "version": &*set.bundle.version,
        "owner": set.bundle.owner,
        "environment": &*set.environment,
        "default_decision": set.bundle.default_decision,
        "default_approvers": set.bundle.default_approvers.as_deref().map(approvers),
        "required": set.bundle.required,
        "policies": set.policies.iter().map(policy).collect::<Vec<_>>(),
    })
}

fn policy(policy: &Policy) -> Value {
    let (kind, rules) = match &policy.body {
        PolicyBody::Gate(rules) => {
            let rule = |rule: &crate::policy::Rule| {
                json!({
                    "id": rule.id,
                    "decision": rule.outcome.decision(),
                    "conditional": rule.condition.is_some(),
                    "reason": rule.reason,
                })
            };
            ("gate", rules.iter().map(rule).collect::<Vec<_>>())
        }
        PolicyBody::Rulebook(_) => ("rulebook", Vec::new()),
    };
    json!({
        "id": policy.id,
        "file": &*policy.file,
        "kind": kind,
        "mode": policy.mode.as_str(),
        "share": policy.mode.share().map(|share| share.to_string()),
        "description": policy.description,
        "owner": policy.owner,
        "rules": rules,
    })
}

/// Every upstream of servers.toml; those that are not started come last.
pub fn upstreams(
    config: &Config,
    (states, connections): (&[Arc<UpstreamState>], &[Connection]),
    data: &DataRules,
) -> Vec<Value> {
    let shared = |state: &&Arc<UpstreamState>| !config.upstreams.get(&state.name).is_some_and(is_personal);
    let started =
        states.iter().filter(shared).map(|state| upstream(config.upstreams.get(&state.name), state, data));
    let health = |name: &UpstreamName| {
        states.iter().find(|state| state.name == *name).map_or(Health::Starting, |state| state.health.clone())
    };
    let personal = config.upstreams.values().filter(|upstream| is_personal(upstream));
    let personal = personal.map(|upstream| personal_upstream(upstream, health(&upstream.name)));
    let mut all: Vec<Value> = started.chain(personal).collect();
    count_connected(&mut all, config, connections);
    let name = |form: &Value| form.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    all.sort_by_key(name);
    all.extend(config.disabled.values().map(disabled_upstream));
    all
}

/// Says of each upstream how many are connected to it, where somebody connects it. Who that is they are told who may connect.
pub fn count_connected(all: &mut [Value], config: &Config, connections: &[Connection]) {
    for form in all {
        let name = form.get("name").and_then(Value::as_str);
        let known = name.and_then(|name| config.upstreams.get(name));
        let of = |one: &&Connection| {
            known.is_some_and(|known| known.name == one.key.upstream)
                && one.standing == connections::Standing::Connected
        };
        let count = known.and_then(code_grant).map(|_| connections.iter().filter(of).count());
        if let Some(form) = form.as_object_mut() {
            form.insert("connected".to_owned(), json!(count));
        }
    }
}

/// An upstream that whoever uses it reaches with a credential of their own: it has no state that is everybody's. Why it is down for
/// somebody is told.
fn personal_upstream(config: &UpstreamConfig, health: Health) -> Value {
    let per = code_grant(config).map_or("caller", |grant| grant.per.as_str());
    let state = UpstreamState {
        name: config.name.clone(),
        health,
        listing: Arc::default(),
        missing: Arc::default(),
        era: None,
        capabilities: Value::Null,
        server_info: Value::Null,
        instructions: None,
        containment: None,
        generation: 0,
    };
    let mut form = upstream(Some(config), &state, &DataRules::default());
    if let Some(form) = form.as_object_mut() {
        let word = json!(format!("per {per}"));
        form.insert("health".to_owned(), word.clone());
        form.insert("state".to_owned(), word);
    }
    form
}

/// An upstream that is not started.
fn disabled_upstream(upstream: &DisabledUpstream) -> Value {
    json!({
        "name": upstream.name,
        "transport": null,
        "isolation": null,
        "connected": null,
        "labels": upstream.labels,
        "health": "disabled",
        "state": "disabled",
        "reason": upstream.reason,
        "said": null,
        "failed_attempts": 0,
        "missing": [],
        "contained": upstream.contained,
        "containment": null,
        "era": null,
        "server_info": null,
        "tools": 0,
        "resources": 0,
        "resource_templates": 0,
        "prompts": 0,
        "skills": 0,
    })
}

/// An upstream: how it is configured, without anything secret, and how it stands.
pub fn upstream(config: Option<&UpstreamConfig>, state: &UpstreamState, data: &DataRules) -> Value {
    let (health, reason, said, attempts) = match &state.health {
        Health::Starting => ("starting", None, None, 0),
        // The first of what is missing, for those who look at one line.
        Health::Up => ("up", state.missing.first().map(String::as_str), None, 0),
        Health::Down { cause, attempts } => {
            let said = Some(cause.said.as_str()).filter(|said| !said.is_empty());
            ("down", Some(cause.reason.as_str()), said, *attempts)
        }
    };
    json!({
        "name": state.name,
        "transport": config.map(|c| match &c.transport {
            UpstreamTransport::Stdio { .. } => "stdio",
            UpstreamTransport::Http { .. } => "http",
        }),
        "isolation": config.map(|c| match c.isolation {
            Isolation::Shared => "shared",
            Isolation::Agent => "agent",
            Isolation::Session => "session",
        }),
        "labels": config.map(|c| &c.labels),
        "health": health,
        "state": health,
        "reason": reason,
        "said": said,
        "failed_attempts": attempts,
        "missing": *state.missing,
        "contained": config.is_some_and(|c| c.contain.is_some()),
        "containment": state.containment,
        "era": state.era.map(|era| match era {
            Era::Legacy => "legacy",
            Era::Modern => "modern",
        }),
        "server_info": data.redact_value(&state.server_info),
        "tools": state.listing.tools.len(),
        "resources": state.listing.resources.len(),
        "resource_templates": state.listing.templates.len(),
        "prompts": state.listing.prompts.len(),
        "skills": state.listing.skills.len(),
    })
}

/// Every tool of the catalog, with what Tollgate takes it to be and whose capabilities cover it.
pub fn tools(catalog: &Catalog, policies: &PolicySet) -> Vec<Value> {
    let seen: HashMap<(&UpstreamName, &str), &Seen> = catalog
        .seen
        .iter()
        .filter(|seen| seen.item.kind == ItemKind::Tool)
        .map(|seen| ((&seen.item.upstream, &*seen.item.name), seen))
        .collect();
    let held = catalog.held.tools.values().map(|(tool, _)| tool);
    let mut all: Vec<&Arc<ToolEntry>> = catalog.tools.values().chain(held).collect();
    all.sort_by(|one, other| one.exposed.cmp(&other.exposed));
    all.into_iter()
        .map(|tool| tool_form(tool, policies, seen.get(&(&tool.upstream, &*tool.own_name)).copied()))
        .collect()
}

/// How an item stands by its pin, as a word.
fn pin_state(standing: Standing) -> &'static str {
    match standing {
        Standing::Pinned => "pinned",
        Standing::Unpinned => "unpinned",
        Standing::Asks => "asks",
        Standing::Held(why) => why.as_str(),
    }
}

fn tool_form(tool: &ToolEntry, policies: &PolicySet, seen: Option<&Seen>) -> Value {
    let map = &policies.authority;
    let covers = |agent: &&Agent| {
        let own = agent.capabilities.iter().filter_map(|id| map.capabilities.get(id));
        own.flat_map(|capability| &capability.tools).any(|glob| glob.matches(&tool.full))
    };
    // What the upstream wrote is shown like everything else that is not ours.
    let data = &policies.data;
    let shown = |text: &str| data.redact_text(text).into_owned();
    let said = |member: &str| tool.item.get(member).map(|value| data.redact_value(value).into_owned());
    let action = match tool.action.strip_suffix(&*tool.own_name) {
        Some(upstream) => format!("{upstream}{}", shown(&tool.own_name)),
        None => tool.action.to_string(),
    };
    let agents: Vec<&str> = map.agents.values().filter(covers).map(|agent| agent.id.as_str()).collect();
    // Nothing is compiled for a listing: what is not known yet is not told.
    let compiled = tool.schema.compiled();
    let known = compiled.as_deref().and_then(|compiled| compiled.as_ref().ok());
    let unchecked: Vec<Value> = known
        .into_iter()
        .flat_map(|schema| schema.unchecked())
        .map(|keyword| json!({"at": shown(&keyword.at), "why": shown(&keyword.why)}))
        .collect();
    json!({
        "name": shown(&tool.exposed),
        "full_name": shown(&tool.full),
        "upstream": tool.upstream,
        "upstream_tool": shown(&tool.own_name),
        "title": said("title"),
        "description": said("description"),
        "action": action,
        "labels": tool.labels,
        "read_only": tool.traits.read_only,
        "idempotent": tool.traits.idempotent,
        "destructive": tool.traits.destructive,
        "open_world": tool.traits.open_world,
        "cost_usd": tool.price.base,
        "cost": tool.price.form(),
        "fingerprint": tool.fingerprint,
        "state": seen.map(|seen| pin_state(seen.standing)),
        "findings": seen.map(|seen| &seen.item.findings),
        "usable": tool.schema.is_usable(),
        "unchecked": unchecked,
        "agents": agents,
    })
}

/// One member of a listing's object form.
pub fn listing(member: &str, items: Vec<Value>) -> Value {
    Value::Object(Map::from_iter([(member.to_owned(), Value::Array(items))]))
}
