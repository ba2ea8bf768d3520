//! How far governance has come, in five levels: which controls stand by the bundle, by servers.toml and by the record, and which
//! are missing for the next level. Each control is looked at, none is taken on somebody's word.

use crate::{
    config::Config,
    model::Glob,
    policy::{Mode, Policy, PolicyBody, PolicySet, Role, RuleOutcome},
    replay::Scorecard,
};
use serde::Serialize;
use std::{collections::BTreeSet, ffi::OsStr, path::Path};

/// What each level is about.
const TITLES: [&str; 5] = [
    "nothing is governed",
    "calls are seen, and somebody answers for each agent",
    "policy decides what is let through",
    "people decide what is risky, and spend and data have limits",
    "it is tested, tried before it counts, and can be proved to others",
];

/// The report.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Maturity {
    /// From 0 to 4: all controls of it and of those below stand.
    pub level: u8,
    /// What that means.
    pub title: &'static str,
    /// What is missing for the next level.
    pub missing: Vec<Control>,
    /// Every control, by level.
    pub controls: Vec<Control>,
}

/// One control.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Control {
    /// The level that it is needed for.
    pub level: u8,
    /// What has to be.
    pub control: &'static str,
    /// Whether it is.
    pub met: bool,
    /// What was found.
    pub found: String,
    /// What to do.
    pub advice: &'static str,
}

/// What was looked at.
#[derive(Clone, Copy, Debug)]
pub struct Looked<'l> {
    /// servers.toml.
    pub config: &'l Config,
    /// The bundle in force.
    pub policies: &'l PolicySet,
    /// Files of tests in the bundle's folder.
    pub tests: usize,
    /// What is recorded of the last days.
    pub card: &'l Scorecard,
}

/// How many files of tests are in a bundle's folder; none where they cannot be listed.
pub fn test_files(bundle: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(bundle.join("tests")) else { return 0 };
    let is_test =
        |name: &OsStr| matches!(Path::new(name).extension(), Some(kind) if kind == "yaml" || kind == "yml");
    entries.flatten().filter(|entry| is_test(&entry.file_name())).count()
}

/// Looks at all controls.
pub fn maturity(looked: Looked<'_>) -> Maturity {
    let controls: Vec<Control> = [seen(looked), decided(looked), limited(looked), proved(looked)].concat();
    let reached = |level: &u8| controls.iter().all(|one| one.met || one.level > *level);
    let level = (0..=4).rev().find(reached).unwrap_or(0);
    let missing = controls.iter().filter(|one| !one.met && one.level == level + 1).cloned().collect();
    let title = TITLES.get(usize::from(level)).copied().unwrap_or_default();
    Maturity { level, title, missing, controls }
}

fn control(level: u8, control: &'static str, (met, found): (bool, String), advice: &'static str) -> Control {
    Control { level, control, met, found, advice }
}

/// All of them, or which not.
fn all<'n>(names: impl Iterator<Item = (&'n str, bool)>, what: &str) -> (bool, String) {
    let (mut count, mut lacking) = (0, Vec::new());
    for (name, good) in names {
        count += 1;
        if !good {
            lacking.push(format!("`{name}`"));
        }
    }
    let shown = 5.min(lacking.len());
    match lacking.len() {
        0 => (count > 0, format!("{count} {what}")),
        more if more > shown => {
            lacking.truncate(shown);
            (false, format!("not {} and {} more", lacking.join(", "), more - shown))
        }
        _ => (false, format!("not {}", lacking.join(", "))),
    }
}

fn calls(card: &Scorecard) -> u64 {
    card.decision_distribution.values().map(|one| one.calls).sum()
}

fn seen(Looked { config, policies, card, .. }: Looked<'_>) -> Vec<Control> {
    let authority = &policies.authority;
    let agents = authority.agents.values().map(|agent| (agent.id.as_str(), !agent.owner.is_empty()));
    let workflows = authority.workflows.values().map(|one| (one.id.as_str(), one.owner.is_some()));
    let workflows = all(workflows, "workflows have an owner");
    let count = calls(card);
    vec![
        control(
            1,
            "calls go through the gateway and are recorded",
            (count > 0, format!("{count} calls in the time of the report")),
            "connect a client: `tollgate client-config CLIENT --agent NAME`",
        ),
        control(
            1,
            "every agent has an owner",
            all(agents, "agents have an owner"),
            "name `owner` of each agent in authority.yaml",
        ),
        control(
            1,
            "every workflow has an owner",
            if authority.workflows.is_empty() {
                (true, "there are no workflows".to_owned())
            } else {
                workflows
            },
            "name `owner` of each workflow in authority.yaml",
        ),
        control(
            1,
            "callers are known",
            (
                config.auth.anonymous_agent.is_none(),
                match &config.auth.anonymous_agent {
                    None => "every caller needs a key or a token".to_owned(),
                    Some(agent) => format!("callers without a key act as `{agent}`"),
                },
            ),
            "remove `anonymous_agent` from `[auth]`, and give each agent a key",
        ),
    ]
}

/// The rules of policies that count.
fn enforced(policies: &PolicySet) -> impl Iterator<Item = &Policy> {
    policies.policies.iter().filter(|policy| policy.mode == Mode::Enforce)
}

fn asks(policy: &Policy) -> bool {
    match &policy.body {
        PolicyBody::Gate(rules) => rules
            .iter()
            .any(|rule| matches!(rule.outcome, RuleOutcome::RequireApproval(_) | RuleOutcome::Check(_))),
        PolicyBody::Rulebook(book) => book.requires_approval.is_some(),
    }
}

fn stops(policy: &Policy) -> bool {
    asks(policy)
        || match &policy.body {
            PolicyBody::Gate(rules) => rules.iter().any(|rule| matches!(rule.outcome, RuleOutcome::Deny)),
            PolicyBody::Rulebook(_) => true,
        }
}

/// Whether an entry speaks of what changes something or reaches outside.
fn is_about_risk(policy: &Policy) -> bool {
    let words = ["write", "destructive", "external", "delete", "admin"];
    let names = |glob: &Option<Glob>| {
        glob.as_ref().is_some_and(|glob| words.iter().any(|word| glob.as_str().contains(word)))
    };
    policy.on.is_empty()
        || policy.on.iter().any(|on| names(&on.label) || names(&on.action) || names(&on.tool))
}

fn decided(Looked { policies, .. }: Looked<'_>) -> Vec<Control> {
    let default = policies.bundle.default_decision.as_str();
    let capabilities = policies.authority.capabilities.values();
    let narrow = capabilities
        .map(|one| (one.id.as_str(), !one.tools.iter().any(|glob| matches!(glob.as_str(), "*" | "**"))));
    let stopping: Vec<&str> = enforced(policies)
        .filter(|one| stops(one) && is_about_risk(one))
        .map(|one| one.id.as_str())
        .collect();
    vec![
        control(
            2,
            "what no policy speaks of is refused",
            (default == "DENY", format!("`default_decision` is {default}")),
            "`default_decision: DENY` in bundle.yaml, and rules that allow what is needed",
        ),
        control(
            2,
            "capabilities name what they are for",
            all(narrow, "capabilities name their tools"),
            "replace `tools: [\"*\"]` by the tools that the work needs",
        ),
        control(
            2,
            "a policy stops what changes something or reaches outside",
            (!stopping.is_empty(), format!("{} policies in force ask or refuse", stopping.len())),
            "a gate on `label: write` with REQUIRE_APPROVAL: `tollgate report advice` writes one",
        ),
    ]
}

fn limited(Looked { policies, card, .. }: Looked<'_>) -> Vec<Control> {
    let asking = enforced(policies).filter(|policy| asks(policy)).count();
    let approvers =
        policies.authority.people.values().filter(|one| one.roles.contains(&Role::Approver)).count();
    let workflows = policies.authority.workflows.values();
    let slas = all(workflows.map(|one| (one.id.as_str(), one.approval_sla.is_some())), "workflows have one");
    let capped = policies.budgets.iter().filter(|budget| budget.max_cost.is_some()).count();
    let has_data = policies.files.iter().any(|file| file.name == "data.yaml");
    let risky = card.constraint_usage;
    vec![
        control(
            3,
            "people are asked, and there are two who may answer",
            (asking > 0 && approvers >= 2, format!("{asking} policies ask, {approvers} people may approve")),
            "a rule with REQUIRE_APPROVAL, and two people with role `approver`",
        ),
        control(
            3,
            "an ask that waits too long is told",
            if policies.authority.workflows.is_empty() {
                (false, "there are no workflows".to_owned())
            } else {
                slas
            },
            "`approval_sla` of each workflow in authority.yaml",
        ),
        control(
            3,
            "spend has a cap",
            (capped > 0, format!("{capped} budgets cap money")),
            "a budget with `max_cost_usd` in budgets.yaml: `tollgate report advice` proposes throttles",
        ),
        control(
            3,
            "data is classified by rules of its own",
            (
                has_data,
                if has_data { "data.yaml is there" } else { "only the built-in detectors look" }.to_owned(),
            ),
            "data.yaml with the classes and fields of your data",
        ),
        control(
            3,
            "what is risky is held back or limited",
            (
                risky.mitigated_rate >= 0.5 || risky.high_risk == 0,
                format!(
                    "{} of {} risky calls were not let through as they were",
                    risky.high_risk - risky.plain,
                    risky.high_risk
                ),
            ),
            "constraints or approvals for writes and confidential data",
        ),
    ]
}

fn proved(Looked { config, policies, tests, card }: Looked<'_>) -> Vec<Control> {
    let described =
        enforced(policies).map(|one| (one.id.as_str(), one.description.is_some() && one.owner.is_some()));
    let outside = config.audit.checkpoints.len();
    let witnesses = config.audit.witnesses.len();
    let complete = card.audit_completeness;
    let approvals = card.approval_integrity;
    let names: BTreeSet<&String> = card.drift_indicators.agents.keys().collect();
    vec![
        control(
            4,
            "policies are tested",
            (tests > 0, format!("{tests} files of tests in the bundle")),
            "policies/tests/*.yaml: `tollgate audit show TRACE --as-test` writes tests of recorded calls",
        ),
        control(
            4,
            "every policy says why, and who answers for it",
            all(described, "policies have a description and an owner"),
            "`description` and `owner` of each policy",
        ),
        control(
            4,
            "a bundle counts only when it is signed",
            (!config.verify.is_empty(), format!("{} keys are trusted", config.verify.len())),
            "`[policies] verify` in servers.toml, and a signature over `tollgate policy manifest`",
        ),
        control(
            4,
            "the record can be proved to others",
            (outside + witnesses > 0, format!("{outside} folders elsewhere and {witnesses} witnesses")),
            "`[audit] checkpoints` with a folder on another disk, or a witness",
        ),
        control(
            4,
            "the record is complete",
            (
                complete.complete_rate >= 0.99,
                format!("{} of {} dispatched calls have their end", complete.complete, complete.dispatched),
            ),
            "`tollgate audit query --event-type agent_side_effect` shows calls whose end is unknown",
        ),
        control(
            4,
            "people answer in time",
            (
                approvals.expirations * 10 <= approvals.asked,
                format!("{} of {} asks expired", approvals.expirations, approvals.asked),
            ),
            "more approvers, `escalate`, or fewer asks: `tollgate report advice` names gates that may go",
        ),
        control(
            4,
            "nothing drifts unnoticed",
            (
                names.is_empty(),
                if names.is_empty() {
                    "no agent drifts".to_owned()
                } else {
                    format!("{} agents drift", names.len())
                },
            ),
            "look at them: `tollgate report scorecard` names each with its figures",
        ),
    ]
}
