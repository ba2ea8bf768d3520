//! `alerts` and `audit` of bundle.yaml: from when on people are told of something, what they have to do regularly, what opens an
//! incident, and which share of calls they look at afterwards.

use super::{
    read::{boolean, count, fields, list_of, mismatch, money, name, number, text, word},
    source::{Node, Report},
    units::duration,
};
use crate::model::{AlertKind, AlertSeverity, MicroUsd, Share};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);
const YEAR: Duration = Duration::from_secs(366 * 86_400);
/// Duties of a bundle.
const MOST_DUTIES: usize = 100;

/// What people are told of, have to do, and look at afterwards.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Oversight {
    /// From when on they are told.
    pub alerts: AlertRules,
    /// What they have to do regularly.
    pub duties: Vec<DutyRule>,
    /// Which alerts open an incident; none: no alert does.
    pub incidents: Option<IncidentRule>,
    /// The share of calls that were let through which they look at afterwards; none: no call.
    pub sample: Option<Share>,
}

/// When alerts are raised.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertRules {
    /// What is counted together. It is looked at five times in each.
    pub window: Duration,
    /// The half-life of what is taken for usual.
    pub baseline: Duration,
    /// After a person has seen an alert, its repeats are not told for so long.
    pub ack_for: Duration,
    /// After a person has said that an alert was none, it takes more to raise the next one for so long.
    pub false_for: Duration,
    kinds: BTreeMap<AlertKind, AlertRule>,
}

/// When an alert of one kind is raised. What a kind does not use has no meaning for it.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertRule {
    /// Whether it is looked for.
    pub enabled: bool,
    /// How bad it can be.
    pub severity: AlertSeverity,
    /// Calls in the window, at least.
    pub min_calls: u64,
    /// Of what is counted (refusals, failures, calls that lack something), at least; of a drop, how many were to be expected.
    pub min_count: u64,
    /// By how much a share has risen, at least; of a drop, which part of the share is gone.
    pub min_change: f64,
    /// How many times as much calls cost, at least.
    pub ratio: f64,
    /// How sure it is: what is seen is less likely by chance than e to the minus this.
    pub evidence: f64,
    /// What calls of the window cost together, at least.
    pub min_cost: MicroUsd,
    /// How long a server does not answer; none: a fifth of the window.
    pub after: Option<Duration>,
}

/// Something that people have to do regularly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DutyRule {
    /// Its name.
    pub name: Arc<str>,
    /// How often.
    pub every: Duration,
    /// Who answers for it.
    pub owner: Option<Arc<str>>,
}

/// Which alerts open an incident.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IncidentRule {
    /// Of these kinds; empty: of all.
    pub kinds: Vec<AlertKind>,
    /// At least as bad as this.
    pub min_severity: AlertSeverity,
    /// An incident that is open for longer is overdue.
    pub sla: Duration,
}

impl IncidentRule {
    /// Whether an alert opens one.
    pub fn is_met(&self, kind: AlertKind, severity: AlertSeverity) -> bool {
        (self.kinds.is_empty() || self.kinds.contains(&kind)) && severity >= self.min_severity
    }
}

impl Default for AlertRules {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(300),
            baseline: DAY,
            ack_for: Duration::from_secs(4 * 3_600),
            false_for: 7 * DAY,
            kinds: AlertKind::ALL.iter().map(|kind| (*kind, usual(*kind))).collect(),
        }
    }
}

impl AlertRules {
    /// The rule of a kind.
    pub fn of(&self, kind: AlertKind) -> AlertRule {
        self.kinds.get(&kind).cloned().unwrap_or_else(|| usual(kind))
    }
}

/// The rule of a kind for which the bundle says nothing.
fn usual(kind: AlertKind) -> AlertRule {
    let (severity, min_calls, min_count, min_change) = match kind {
        AlertKind::DenyRate => (AlertSeverity::Medium, 10, 5, 0.2),
        AlertKind::MissingMetadata => (AlertSeverity::Low, 10, 5, 0.05),
        AlertKind::Failures => (AlertSeverity::Medium, 10, 5, 0.2),
        AlertKind::DenyDrop => (AlertSeverity::High, 20, 8, 0.75),
        AlertKind::CostSpike => (AlertSeverity::Medium, 3, 0, 0.0),
        AlertKind::UpstreamDown | AlertKind::Quarantine | AlertKind::Loop => {
            (AlertSeverity::Medium, 0, 0, 0.0)
        }
        AlertKind::Integrity => (AlertSeverity::High, 0, 0, 0.0),
        AlertKind::ApprovalSla | AlertKind::Budget | AlertKind::Duty => (AlertSeverity::Low, 0, 0, 0.0),
    };
    AlertRule {
        enabled: true,
        severity,
        min_calls,
        min_count,
        min_change,
        ratio: 2.0,
        evidence: 10.0,
        min_cost: MicroUsd(1_000),
        after: None,
    }
}

const KEYS: &[&str] = &[
    "window",
    "baseline",
    "ack_for",
    "false_for",
    "deny_rate",
    "cost_spike",
    "approval_sla",
    "budget",
    "upstream_down",
    "quarantine",
    "loop",
    "integrity",
    "missing_metadata",
    "deny_drop",
    "failures",
    "duty",
    "duties",
    "incidents",
];

/// What may be said of a kind.
fn keys(kind: AlertKind) -> &'static [&'static str] {
    match kind {
        AlertKind::DenyRate | AlertKind::MissingMetadata | AlertKind::Failures => {
            &["enabled", "severity", "min_calls", "min_count", "min_change", "evidence"]
        }
        AlertKind::DenyDrop => &["enabled", "severity", "min_calls", "min_count", "min_change", "evidence"],
        AlertKind::CostSpike => &["enabled", "severity", "min_calls", "ratio", "min_cost_usd", "evidence"],
        AlertKind::UpstreamDown => &["enabled", "severity", "after"],
        AlertKind::ApprovalSla
        | AlertKind::Budget
        | AlertKind::Quarantine
        | AlertKind::Loop
        | AlertKind::Integrity
        | AlertKind::Duty => &["enabled", "severity"],
    }
}

/// Reads `alerts` and `audit`.
pub(super) fn read(alerts: Option<&Node>, audit: Option<&Node>, report: &mut Report<'_>) -> Oversight {
    let mut read = Oversight::default();
    if let Some(map) = audit.and_then(|node| fields(node, "audit", &["sample"], report)) {
        read.sample = map.read("sample", report, share);
    }
    let Some(map) = alerts.and_then(|node| fields(node, "alerts", KEYS, report)) else { return read };
    let usual = AlertRules::default();
    let window = map.read("window", report, duration(SECOND, DAY)).unwrap_or(usual.window);
    let baseline = map.read("baseline", report, duration(SECOND, YEAR));
    if let (Some(given), Some(node)) = (baseline, map.get("baseline"))
        && given < window
    {
        mismatch(node, "baseline", "a duration that is no shorter than `window`", report);
    }
    let long = duration(SECOND, YEAR);
    read.alerts = AlertRules {
        window,
        baseline: baseline.unwrap_or(usual.baseline).max(window),
        ack_for: map.read("ack_for", report, long).unwrap_or(usual.ack_for),
        false_for: map.read("false_for", report, long).unwrap_or(usual.false_for),
        kinds: BTreeMap::new(),
    };
    for kind in AlertKind::ALL {
        let rule = map.read(kind.as_str(), report, |node, key, report| rule(*kind, node, key, report));
        read.alerts.kinds.extend(rule.map(|rule| (*kind, rule)));
    }
    read.duties = map.read("duties", report, duties).unwrap_or_default();
    read.incidents = map.read("incidents", report, incidents);
    read
}

fn rule(kind: AlertKind, node: &Node, key: &str, report: &mut Report<'_>) -> Option<AlertRule> {
    let map = fields(node, key, keys(kind), report)?;
    let usual = usual(kind);
    let evidence = map.read("evidence", report, within(2.0, 100.0));
    Some(AlertRule {
        enabled: map.read("enabled", report, boolean).unwrap_or(usual.enabled),
        severity: map.read("severity", report, word(SEVERITIES)).unwrap_or(usual.severity),
        min_calls: map.read("min_calls", report, count(1, 1_000_000)).unwrap_or(usual.min_calls),
        min_count: map.read("min_count", report, count(1, 1_000_000)).unwrap_or(usual.min_count),
        min_change: map.read("min_change", report, share).map_or(usual.min_change, Share::fraction),
        ratio: map.read("ratio", report, within(1.1, 1_000.0)).unwrap_or(usual.ratio),
        evidence: evidence.unwrap_or(usual.evidence),
        min_cost: map.read("min_cost_usd", report, money).unwrap_or(usual.min_cost),
        after: map.read("after", report, duration(SECOND, DAY)),
    })
}

const SEVERITIES: &[(&str, AlertSeverity)] =
    &[("low", AlertSeverity::Low), ("medium", AlertSeverity::Medium), ("high", AlertSeverity::High)];

fn share(node: &Node, key: &str, report: &mut Report<'_>) -> Option<Share> {
    let read = node.as_text().and_then(Share::parse);
    if read.is_none() {
        mismatch(node, key, "a share from 0.01% to 100%, like 10%", report);
    }
    read
}

fn within(min: f64, max: f64) -> impl Fn(&Node, &str, &mut Report<'_>) -> Option<f64> {
    move |node, key, report| {
        let read = number(node, key, report)?.as_f64().filter(|read| (min..=max).contains(read));
        if read.is_none() {
            mismatch(node, key, &format!("a number from {min} to {max}"), report);
        }
        read
    }
}

fn duties(node: &Node, key: &str, report: &mut Report<'_>) -> Option<Vec<DutyRule>> {
    let mut seen: Vec<Arc<str>> = Vec::new();
    let read = list_of(node, key, report, |item, _, report| {
        let map = fields(item, "a duty", &["name", "every", "owner"], report)?;
        let named = map.required("name", "what it is called", report)?;
        let id = name(named.as_text().unwrap_or_default(), named.start, report)?;
        if seen.contains(&id) {
            report.error(named.start, format!("`{id}` is named twice"), "each duty once");
            return None;
        }
        seen.push(id.clone());
        let every = map.required("every", "how often, like 7d", report)?;
        Some(DutyRule {
            name: id,
            every: duration(SECOND, YEAR)(every, "every", report)?,
            owner: map.read("owner", report, text),
        })
    })?;
    if read.len() > MOST_DUTIES {
        report.error(node.start, format!("there are {} duties", read.len()), "at most 100");
    }
    Some(read)
}

fn incidents(node: &Node, key: &str, report: &mut Report<'_>) -> Option<IncidentRule> {
    let map = fields(node, key, &["kinds", "min_severity", "sla"], report)?;
    let kinds = map.read("kinds", report, |node, key, report| {
        list_of(node, key, report, |item, key, report| word(KINDS)(item, key, report))
    });
    Some(IncidentRule {
        kinds: kinds.unwrap_or_default(),
        min_severity: map.read("min_severity", report, word(SEVERITIES)).unwrap_or(AlertSeverity::Low),
        sla: map.read("sla", report, duration(SECOND, YEAR)).unwrap_or(Duration::from_secs(4 * 3_600)),
    })
}

const KINDS: &[(&str, AlertKind)] = &[
    ("deny_rate", AlertKind::DenyRate),
    ("cost_spike", AlertKind::CostSpike),
    ("approval_sla", AlertKind::ApprovalSla),
    ("budget", AlertKind::Budget),
    ("upstream_down", AlertKind::UpstreamDown),
    ("quarantine", AlertKind::Quarantine),
    ("loop", AlertKind::Loop),
    ("integrity", AlertKind::Integrity),
    ("missing_metadata", AlertKind::MissingMetadata),
    ("deny_drop", AlertKind::DenyDrop),
    ("failures", AlertKind::Failures),
    ("duty", AlertKind::Duty),
];
