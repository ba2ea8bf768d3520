//! From a record to what people are told of it: who may decide, where the ask stands, and where it is decided.

use crate::{
    approval::eligible,
    chat::{About, Alert, Ask, Notice, Risk, Stage},
    config::{Config, WebhookConfig},
    evidence::without_values,
    gateway::{StateSeal, ask_link::ask_token},
    model::{AlertSeverity, ApprovalStatus, Event, EventType, MicroUsd},
    policy::{Approver, Authority, ChannelKind, Person},
    store::ApprovalRecord,
};
use jiff::Timestamp;
use lettre::Address;
use std::collections::BTreeSet;

/// People that a message names.
const MOST_NAMED: usize = 12;

/// Where an ask stands by a record of it; none: nobody is told of that one.
pub(super) fn stage(event: &Event, record: &ApprovalRecord, now: Timestamp) -> Option<Stage> {
    let draft = &event.draft;
    let detail = |name: &str| draft.detail.as_ref().and_then(|detail| detail.get(name));
    let waits = record.status == ApprovalStatus::Pending && now < record.expires_at;
    match draft.event_type {
        EventType::ApprovalRequested => waits.then_some(Stage::Asked),
        EventType::Alert => {
            let why = without_values(draft.clone()).reason.as_deref().unwrap_or_default().to_owned();
            waits.then_some(Stage::Escalated { why })
        }
        EventType::ApprovalDecided => {
            let by = detail("person").and_then(|person| person.as_str()).unwrap_or("somebody").to_owned();
            match detail("status").and_then(|status| status.as_str()) {
                Some("pending") => Some(Stage::Answered { by }),
                Some("rejected") => Some(Stage::Rejected { by }),
                _ => Some(Stage::Approved { by }),
            }
        }
        EventType::ApprovalExpired => Some(Stage::Expired),
        EventType::ApprovalCancelled => Some(Stage::Withdrawn {
            why: match (draft.reason.as_deref(), &record.covered_by) {
                (_, Some(_)) => "a standing grant lets the call through".to_owned(),
                (Some("snapshot_mismatch"), None) => {
                    "other policies are in force now, and the call has to be made again".to_owned()
                }
                (_, None) => "the call is not waiting any more".to_owned(),
            },
        }),
        _ => None,
    }
}

/// Those who may decide, by now and through whatever channel.
pub(super) fn deciders<'a>(
    record: &ApprovalRecord,
    authority: &'a Authority,
    now: Timestamp,
) -> Vec<&'a Person> {
    let may = |person: &&Person| {
        record.requirements.iter().any(|requirement| {
            ChannelKind::ALL.iter().any(|way| eligible(record, requirement, person, *way, now).is_ok())
        })
    };
    authority.people.values().filter(may).collect()
}

/// Whether one of these is meant.
pub(super) fn is_among(one: &Approver, people: &[&Person]) -> bool {
    match one {
        Approver::Person(id) => people.iter().any(|person| person.id == *id),
        Approver::Group(group) => people.iter().any(|person| person.groups.contains(group)),
        Approver::Operator => false,
    }
}

/// To whom mail about an ask goes, each once.
pub(super) fn recipients(
    to: &[Address],
    addresses: &[(Approver, Address)],
    people: &[&Person],
) -> Vec<Address> {
    let mut all: Vec<Address> = to.to_vec();
    for (one, address) in addresses {
        if is_among(one, people) && !all.contains(address) {
            all.push(address.clone());
        }
    }
    all
}

/// The page's address, for the messages of this webhook.
fn page<'a>(config: &'a Config, webhook: &'a WebhookConfig) -> Option<&'a str> {
    webhook.link.as_deref().or(config.public_page()).map(|page| page.trim_end_matches('/'))
}

/// What is told of an ask.
pub(super) fn of_ask(
    (config, webhook): (&Config, &WebhookConfig),
    record: ApprovalRecord,
    stage: Stage,
    seal: &dyn StateSeal,
    now: Timestamp,
) -> Notice {
    let link = match page(config, webhook) {
        None => None,
        // Without one the message says how the ask is found.
        Some(page) if stage.is_open() => ask_token(seal, &record.id, record.expires_at, now)
            .inspect_err(|why| tracing::error!(why, "webhook.no_link"))
            .ok()
            .map(|token| format!("{page}/ask/{token}")),
        Some(page) => Some(format!("{page}/#{}", record.id)),
    };
    let arguments = webhook.arguments.then(|| record.arguments.clone()).filter(|value| !value.is_null());
    let masked = record.redacted;
    // Its reasons may repeat values, its arguments are shown as they were recorded.
    let record = record.without_values();
    let traits = record.context.traits;
    let mut approvers: BTreeSet<String> = BTreeSet::new();
    for requirement in &record.requirements {
        let later = requirement.escalation.iter().filter(|(from, _)| now >= *from).flat_map(|(_, to)| to);
        let named = requirement.approvers.iter().chain(later);
        approvers.extend(named.map(|one| one.name().to_owned()));
    }
    let about = Ask {
        stage,
        id: record.id.to_string(),
        agent: record.binding.agent.to_string(),
        user: record.binding.user.as_ref().map(ToString::to_string),
        workflow: record.workflow_id.as_ref().map(ToString::to_string),
        tool: record.binding.tool.clone(),
        upstream: record.upstream.to_string(),
        risk: Risk {
            changes: traits.is_none_or(|traits| !traits.read_only),
            destructive: traits.is_some_and(|traits| traits.destructive),
            open_world: traits.is_some_and(|traits| traits.open_world),
        },
        masked,
        policy: record.policy_id.to_string(),
        rule: record.rule_id.as_ref().map(ToString::to_string),
        reason: record.reason.clone(),
        arguments,
        cost: (record.cost_estimate_usd > MicroUsd(0)).then(|| record.cost_estimate_usd.to_string()),
        approvers: approvers.into_iter().take(MOST_NAMED).collect(),
        expires_at: record.expires_at,
    };
    let environment = config.gateway.environment.to_string();
    Notice { environment, link, about: About::Ask(Box::new(about)) }
}

/// The same without what the agent wrote.
pub(super) fn plainer(mut notice: Notice) -> Notice {
    if let About::Ask(ask) = &mut notice.about {
        ask.arguments = None;
    }
    notice
}

/// What is told of an alert that is about no ask.
pub(super) fn of_alert(
    config: &Config,
    webhook: &WebhookConfig,
    event: &Event,
    known: Option<&(String, AlertSeverity)>,
) -> Notice {
    let draft = without_values(event.draft.clone());
    let detail = |name: &str| {
        let found = event.draft.detail.as_ref().and_then(|detail| detail.get(name));
        found.and_then(|value| value.as_str()).map(str::to_owned)
    };
    let mut about = Vec::new();
    let mut add = |label, value: Option<String>| about.extend(value.map(|value| (label, value)));
    add("Agent", draft.agent_id.as_ref().map(ToString::to_string));
    add("Workflow", draft.workflow_id.as_ref().map(ToString::to_string));
    add("Server", draft.upstream.as_ref().map(ToString::to_string));
    add("Tool", draft.tool.as_deref().map(str::to_owned));
    add("Policy", draft.policy_id.as_ref().map(ToString::to_string));
    let alert = Alert {
        id: detail("alert_id")
            .or_else(|| known.map(|(id, _)| id.clone()))
            .unwrap_or_else(|| format!("record {}", event.seq)),
        kind: detail("alert").unwrap_or_else(|| "alert".to_owned()),
        severity: detail("severity")
            .or_else(|| known.map(|(_, severity)| severity.as_str().to_owned()))
            .unwrap_or_else(|| "medium".to_owned()),
        reason: draft.reason.as_deref().unwrap_or_default().to_owned(),
        about,
    };
    Notice {
        environment: config.gateway.environment.to_string(),
        link: page(config, webhook).map(|page| format!("{page}/#/alerts")),
        about: About::Alert(alert),
    }
}

/// What somebody sends who tries whether it arrives.
pub(super) fn sample(config: &Config, webhook: &WebhookConfig) -> Notice {
    Notice {
        environment: config.gateway.environment.to_string(),
        link: page(config, webhook).map(|page| format!("{page}/")),
        about: About::Sample { webhook: webhook.name.to_string() },
    }
}
