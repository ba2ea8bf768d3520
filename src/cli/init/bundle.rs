//! The first policies/: reads are not asked about, writes are, and what destroys something needs a second person where there
//! is one.

use super::{gather::Upstream, look::Looked};
use std::fmt::Write as _;

/// The first budgets.yaml.
const BUDGETS: &str = "\
# What an agent may cost before somebody is asked. `tollgate budget status` shows what is used.
budgets:
  - id: agent-day
    scope: agent
    window: day
    max_cost_usd: 100.00
    on_exceed: require_approval
    alert_at: 80
";

const BUNDLE: &str = "\
version: \"1\"
owner: platform-team             # who answers for this bundle
default_decision: DENY           # what no policy speaks of is not done
default_approvers: [leads]
loop:                            # beside more than 20 identical calls in 60 s
  errors: { count: 20 }          # failures of one tool in a row, within 60 s
  alternating: { count: 15 }     # rounds of two or three calls that take turns
  similar: { count: 240 }        # calls of one tool that differ in a number only
";

/// Somebody with a key: a name, and the key's digest.
pub(super) type Holder<'h> = (&'h str, &'h str);

/// The capability of an upstream.
pub(in crate::cli) fn capability_of(upstream: &str) -> String {
    // Resources of all of them have a capability of that name.
    let all = if upstream == "resources" { "tools" } else { "all" };
    format!("{upstream}.{all}")
}

/// The members of that capability, one a line: tools and prompts as agents see them, `indent` before each.
pub(super) fn granted(upstream: &Upstream, looked: Option<&Looked>, separator: &str, indent: &str) -> String {
    let name = &upstream.name;
    let all = format!("\"{name}{separator}**\"");
    let tools = match &upstream.switches.only {
        None => all.clone(),
        Some(only) => {
            let there = |tool: &&String| looked.is_none_or(|looked| looked.has(tool));
            let only: Vec<String> =
                only.iter().filter(there).map(|tool| quoted(&format!("{name}{separator}{tool}"))).collect();
            only.join(", ")
        }
    };
    let mut out = String::new();
    let has = |what: fn(&Looked) -> bool| looked.is_none_or(what);
    if has(|looked| !looked.tools.is_empty()) && !tools.is_empty() {
        let _written = writeln!(out, "{indent}tools: [{tools}]");
    }
    if has(|looked| looked.prompts) {
        let _written = writeln!(out, "{indent}prompts: [{all}]");
    }
    if out.is_empty() {
        let _written = writeln!(out, "{indent}tools: []");
    }
    out
}

/// A text of YAML on one line. A name in a client's file, or of a tool, is somebody else's text.
fn quoted(text: &str) -> String {
    serde_json::Value::String(text.to_owned()).to_string()
}

/// The files of policies/, by name.
pub(super) fn policies(
    upstreams: &[Upstream],
    looked: &[Option<Looked>],
    agent: Holder<'_>,
    people: &[Holder<'_>],
) -> Vec<(&'static str, String)> {
    let mut files = vec![
        ("bundle.yaml", BUNDLE.to_owned()),
        ("authority.yaml", authority(upstreams, looked, agent, people)),
        ("ask-before-acting.yaml", gate(people.len() > 1)),
        ("budgets.yaml", BUDGETS.to_owned()),
        ("tests/ask-before-acting.yaml", tests(upstreams.first(), agent.0)),
    ];
    let off: Vec<String> =
        upstreams.iter().zip(looked).flat_map(|(one, looked)| left_out(one, looked.as_ref(), "__")).collect();
    files.extend(off_gate("switched-off", &off).map(|text| ("switched-off.yaml", text)));
    files
}

/// Tools that a client leaves out, by the names that agents would see.
pub(super) fn left_out(upstream: &Upstream, looked: Option<&Looked>, separator: &str) -> Vec<String> {
    let there = |tool: &&String| looked.is_none_or(|looked| looked.has(tool));
    let named = |tool: &String| format!("{}{separator}{tool}", upstream.name);
    upstream.switches.without.iter().filter(there).map(named).collect()
}

/// The gate that keeps them off; none where there is none.
pub(super) fn off_gate(name: &str, off: &[String]) -> Option<String> {
    let on: String = off.iter().map(|tool| format!("  - tool: {}\n", quoted(tool))).collect();
    (!off.is_empty()).then(|| {
        format!(
            "\
name: {name}
description: Tools that were switched off in the MCP client stay off
owner: platform-team
on:
{on}rules:
  - id: off
    decision: DENY
"
        )
    })
}

fn authority(
    upstreams: &[Upstream],
    looked: &[Option<Looked>],
    (agent, agent_digest): Holder<'_>,
    people: &[Holder<'_>],
) -> String {
    let mut capabilities = String::new();
    let mut all = Vec::new();
    for (upstream, looked) in upstreams.iter().zip(looked) {
        let name = capability_of(&upstream.name);
        let _written =
            write!(capabilities, "  {name}:\n{}", granted(upstream, looked.as_ref(), "__", "    "));
        all.push(name);
    }
    let _written = write!(capabilities, "  resources.all:\n    resources: [\"*\"]\n");
    all.push("resources.all".to_owned());
    let all = all.join(", ");
    let operator = people.first().map_or("", |(name, _)| name);
    let mut persons = String::new();
    for (place, (name, digest)) in people.iter().enumerate() {
        let roles = if place == 0 { "approver, admin, auditor" } else { "approver" };
        let _written = write!(
            persons,
            "  {name}:\n    groups: [leads]\n    roles: [{roles}]\n    keys: [\"{digest}\"]\n"
        );
    }
    format!(
        "\
# Who may do what. Keys are kept as their SHA-256; `tollgate agents add NAME` makes more, and for one that is lost
# `tollgate agents rotate NAME` or `tollgate people rotate NAME` makes another.
# A capability names tools as the agent sees them, and resources by URI: tools: [\"files__read_*\"],
# resources: [\"file:///srv/docs/**\"].
capabilities:
{capabilities}
agents:
  {agent}:
    type: assistant
    role: assistant
    owner: platform-team
    operator: {operator}
    attended: true               # the operator sits at its client and may answer there
    workflow: everyday
    autonomy: supervised         # suggest_only: proposals, never a call
    capabilities: [{all}]
    keys: [\"{agent_digest}\"]

people:
{persons}
workflows:
  everyday: {{ owner: platform-team, approval_sla: 15m }}
"
    )
}

fn gate(second: bool) -> String {
    let destructive = match second {
        true => {
            "    # A second person: the operator's own answer does not do.\n    approvers: [leads]\n    separate: true\n"
        }
        false => {
            "    # With a second person in authority.yaml: `separate: true`, so that the operator's own answer does not do.\n    \
             approvers: [operator, leads]\n"
        }
    };
    format!(
        "\
name: ask-before-acting
description: What may change something is agreed to by a person first
owner: platform-team
on:
  - tool: \"*\"
  - resource: \"*\"
  - prompt: \"*\"
rules:
  - id: destructive              # as its table in servers.toml says, or its server where `trust_annotations` is true
    condition: \"call.kind == 'tool' && tool.destructive && !tool.read_only\"
    decision: REQUIRE_APPROVAL
{destructive}  - id: secrets                  # the arguments hold a key, a password or the like
    condition: \"data.level == 'restricted'\"
    decision: REQUIRE_APPROVAL
    approvers: [operator, leads]
  - id: reads                    # resources and prompts are read; a tool where its table in servers.toml has `read_only = true`,
                                 # or its server says that it only reads and `trust_annotations` is true
    condition: \"tool.read_only || call.kind != 'tool'\"
    decision: ALLOW
  - id: ask
    decision: REQUIRE_APPROVAL
    approvers: [operator, leads]
"
    )
}

/// The first tests of the bundle.
fn tests(upstream: Option<&Upstream>, agent: &str) -> String {
    let (capability, tool) = match upstream {
        Some(Upstream { name, .. }) => (capability_of(name), format!("{name}__some_tool")),
        None => ("resources.all".to_owned(), "some_tool".to_owned()),
    };
    format!(
        "\
# `tollgate policy test` runs these. `tollgate audit show TRACE --as-test` prints one of a recorded call.
tests:
  - name: a tool that only reads needs nobody
    facts: {{ agent: {agent}, capability: {capability}, tool: {{ name: {tool}, read_only: true }} }}
    expect: {{ decision: ALLOW, policy_id: ask-before-acting, rule_id: reads }}
  - name: a tool that may change something is agreed to first
    facts: {{ agent: {agent}, capability: {capability}, tool: {{ name: {tool}, read_only: false, destructive: false }} }}
    expect: {{ decision: REQUIRE_APPROVAL, policy_id: ask-before-acting, rule_id: ask, approvers: [operator, leads] }}
  - name: a tool that may destroy something is agreed to first
    facts: {{ agent: {agent}, capability: {capability}, tool: {{ name: {tool}, read_only: false, destructive: true }} }}
    expect: {{ decision: REQUIRE_APPROVAL, policy_id: ask-before-acting, rule_id: destructive }}
  - name: a call whose arguments hold a secret is agreed to first
    facts: {{ agent: {agent}, capability: {capability}, tool: {{ name: {tool}, read_only: true }}, data: {{ level: restricted }} }}
    expect: {{ decision: REQUIRE_APPROVAL, policy_id: ask-before-acting, rule_id: secrets }}
  - name: a resource is read
    facts: {{ agent: {agent}, capability: resources.all, resource: \"file:///srv/docs/a.md\" }}
    expect: {{ decision: ALLOW, policy_id: ask-before-acting, rule_id: reads }}
"
    )
}
