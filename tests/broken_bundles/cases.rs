//! The base bundle, and how it is broken.

/// One broken bundle.
pub(crate) struct Case {
    /// What somebody did.
    pub(crate) name: &'static str,
    /// The file that is changed. Without changes it is left out; one that the base does not have is added.
    pub(crate) file: &'static str,
    /// What is put in place of what; the whole file where the first is empty.
    pub(crate) changes: &'static [(&'static str, &'static str)],
}

const fn case(
    name: &'static str,
    file: &'static str,
    changes: &'static [(&'static str, &'static str)],
) -> Case {
    Case { name, file, changes }
}

const GATE: &str = "policies/production.yaml";
const BOOK: &str = "policies/rates.yaml";
const AUTHORITY: &str = "policies/authority.yaml";
const BUNDLE: &str = "policies/bundle.yaml";
const BUDGETS: &str = "policies/budgets.yaml";
const PRICES: &str = "policies/prices.yaml";
const SERVERS: &str = "servers.toml";
const DATA: &str = "policies/data.yaml";

/// A small bundle of which nothing is wrong.
pub(crate) const BASE: &[(&str, &str)] = &[
    (
        SERVERS,
        r#"[gateway]
environment = "staging"

[upstreams.filesystem]
command = ["files-mcp", "/srv"]
timeout = "30s"
labels = ["internal"]

[upstreams.filesystem.tools.write_file]
action = "files:write"
labels = ["write"]
"#,
    ),
    (
        BUNDLE,
        "version: \"1\"\nowner: platform-team\nenvironments: [staging, production]\ndefault_decision: DENY\n",
    ),
    (
        AUTHORITY,
        r#"capabilities:
  docs.write:
    tools: ["filesystem__*"]
    resources: ["file:///srv/**"]
agents:
  planner:
    role: writer
    owner: data-team
    workflow: reports
    model: gpt-4o
    capabilities: [docs.write]
    keys: ["sha256:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"]
people:
  alice:
    groups: [leads]
    roles: [approver]
    keys: ["sha256:10112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"]
workflows:
  reports: { owner: data-team, approval_sla: 15m }
"#,
    ),
    (
        BUDGETS,
        "budgets:\n  - id: agent-day\n    scope: agent\n    window: day\n    max_cost_usd: 5.00\n    on_exceed: deny\n",
    ),
    (
        GATE,
        r#"name: production
description: Changes in production need a person
owner: platform-team
on:
  - upstream: filesystem
    label: write
rules:
  - id: ask
    condition: "env == 'production' && agent.role == 'writer'"
    decision: REQUIRE_APPROVAL
    approvers: [leads]
    expires_in: 15m
  - id: scratch
    condition: "within(args.path, '/scratch')"
    decision: ALLOW
"#,
    ),
    (
        BOOK,
        r#"version: "1"
policies:
  - id: rates
    description: Nobody calls faster than a person can follow
    on:
      - upstream: filesystem
    conditions:
      max_calls_per_minute: 60
    actions:
      on_violation: throttle
"#,
    ),
];

const CONDITION: &str = "\"env == 'production' && agent.role == 'writer'\"";
const SCRATCH: &str = "\"within(args.path, '/scratch')\"";

/// What cannot be used.
pub(crate) const ERRORS: &[Case] = &[
    // YAML.
    case("a condition that begins with `!` and has no quotes", GATE, &[(SCRATCH, "!args.dry_run")]),
    case("the same with a space", GATE, &[(SCRATCH, "! has(args.dry_run)")]),
    case(
        "a colon in a text without quotes",
        GATE,
        &[("Changes in production need a person", "Note: changes need a person")],
    ),
    case("a colon in a condition without quotes", GATE, &[(SCRATCH, "args.mode == 'a: b'")]),
    case("a lone star without quotes", GATE, &[("    label: write\n", "    tool: *\n")]),
    case("a star in a list without quotes", AUTHORITY, &[("[\"filesystem__*\"]", "[*]")]),
    case(
        "a glob that begins with a star and has no quotes",
        GATE,
        &[("    label: write\n", "    tool: *_write\n")],
    ),
    case("a text that begins with `@`", GATE, &[("owner: platform-team", "owner: @platform-team")]),
    case("a text that begins with a backquote", GATE, &[(SCRATCH, "`args.path`")]),
    case("a text that begins with `%`", GATE, &[("owner: platform-team", "owner: %team")]),
    case("a text that begins with `&`", GATE, &[("owner: platform-team", "owner: &")]),
    case(
        "a list item less indented than the others",
        GATE,
        &[("  - id: scratch\n    condition", " - id: scratch\n   condition")],
    ),
    case(
        "a list item more indented than the others",
        GATE,
        &[("  - id: scratch\n    condition", "    - id: scratch\n      condition")],
    ),
    case("a list on the line of its key", GATE, &[("    approvers: [leads]", "    approvers: - leads")]),
    case("a long dash before an item", GATE, &[("  - id: scratch", "  – id: scratch")]),
    case("spaces that are none", GATE, &[("    decision: ALLOW", "\u{a0}\u{a0}\u{a0}\u{a0}decision: ALLOW")]),
    case(
        "a text below its key that is not indented",
        GATE,
        &[(SCRATCH, ">\n  within(args.path, '/scratch')")],
    ),
    case("braces of a template", GATE, &[(SCRATCH, "{{ env }} == 'x'")]),
    case(
        "no comma between two entries in braces",
        AUTHORITY,
        &[("owner: data-team, approval", "owner: data-team approval")],
    ),
    case("two colons", GATE, &[("owner: platform-team", "owner:: platform-team")]),
    case(
        "a list item without its dash",
        GATE,
        &[("    approvers: [leads]", "    approvers:\n      leads\n      alice")],
    ),
    case(
        "a list item without the space after its dash",
        GATE,
        &[("    approvers: [leads]", "    approvers:\n      -leads")],
    ),
    case(
        "a double quote that is not closed",
        GATE,
        &[("agent.role == 'writer'\"", "agent.role == 'writer'")],
    ),
    case(
        "a double quote that is not closed, and one that is later",
        GATE,
        &[
            ("need a person", "need a person\""),
            ("description: ", "description: \""),
            ("'writer'\"", "'writer'"),
        ],
    ),
    case("a single quote that is not closed", GATE, &[("owner: platform-team", "owner: 'platform-team")]),
    case(
        "a quote that is not closed at the end of the file",
        GATE,
        &[("    decision: ALLOW\n", "    decision: \"ALLOW\n")],
    ),
    case(
        "single quotes around a condition with single quotes",
        GATE,
        &[(SCRATCH, "'within(args.path, '/scratch')'")],
    ),
    case(
        "a text that goes on after its quotes",
        GATE,
        &[("Changes in production need a person", "\"Changes\" need a person")],
    ),
    case("a backslash in double quotes", GATE, &[(SCRATCH, "\"args.path.matches('\\d+')\"")]),
    case("a bracket that is not closed", GATE, &[("[leads]", "[leads")]),
    case("a brace that is not closed", AUTHORITY, &[("approval_sla: 15m }", "approval_sla: 15m")]),
    case("a bracket that closes nothing", GATE, &[("approvers: [leads]", "approvers: [leads]]")]),
    case("a tab as indentation", GATE, &[("    decision: ALLOW", "\tdecision: ALLOW")]),
    case("a tab after spaces", GATE, &[("    label: write", "  \tlabel: write")]),
    case("no space after a colon", GATE, &[("    decision: ALLOW", "    decision:ALLOW")]),
    case(
        "no space after a colon in the first key of an item",
        GATE,
        &[("  - upstream: filesystem\n    label: write", "  - upstream:filesystem")],
    ),
    case(
        "no space after a colon in braces",
        AUTHORITY,
        &[("owner: data-team, approval", "owner:data-team, approval")],
    ),
    case("an equals sign for a colon", GATE, &[("    decision: ALLOW", "    decision = ALLOW")]),
    case("a key indented under a value", GATE, &[("owner: platform-team", "  owner: platform-team")]),
    case("a key less indented than its siblings", GATE, &[("    decision: ALLOW", "   decision: ALLOW")]),
    case("two documents in one file", GATE, &[("rules:", "---\nrules:")]),
    case("a key twice", GATE, &[("    decision: ALLOW", "    decision: ALLOW\n    decision: DENY")]),
    case("a name twice", AUTHORITY, &[("people:\n", "people:\n  alice: { roles: [approver] }\n")]),
    case("an alias without its anchor", GATE, &[("[leads]", "*approvers")]),
    case("a merge key", GATE, &[("  - id: scratch\n", "  - <<: { decision: ALLOW }\n    id: scratch\n")]),
    case("a value that is a comment", GATE, &[("description: Changes", "description: #1 Changes")]),
    case("a file of plain text", GATE, &[("", "deny everything in production\n")]),
    case("an empty policy file", GATE, &[("", "")]),
    // Keys.
    case("`server` for `upstream`", GATE, &[("- upstream: filesystem", "- server: filesystem")]),
    case("`tools` for `tool`", GATE, &[("    label: write", "    tools: filesystem__write_file")]),
    case("`decison` for `decision`", GATE, &[("    decision: ALLOW", "    decison: ALLOW")]),
    case("`effect` for `decision`", GATE, &[("    decision: ALLOW", "    effect: ALLOW")]),
    case("`when` for `condition`", GATE, &[("    condition: \"within", "    when: \"within")]),
    case("`rule` for `rules`", GATE, &[("rules:", "rule:")]),
    case("`polices` for `policies`", BOOK, &[("policies:", "polices:")]),
    case("`approver` for `approvers`", GATE, &[("    approvers: [leads]", "    approver: [leads]")]),
    case("`expires` for `expires_in`", GATE, &[("expires_in", "expires")]),
    case("`max_cost` for `max_cost_usd`", BUDGETS, &[("max_cost_usd", "max_cost")]),
    case("`period` for `window`", BUDGETS, &[("window", "period")]),
    case("`timezone` for `zone`", BUDGETS, &[("window: day", "window: day\n    timezone: Europe/Berlin")]),
    case("a zone that there is not", BUDGETS, &[("window: day", "window: day\n    zone: Europe/Berln")]),
    case("a zone for a minute", BUDGETS, &[("window: day", "window: minute\n    zone: Europe/Berlin")]),
    case("a scope that is a slip", BUDGETS, &[("scope: agent", "scope: capabilty")]),
    case("a share of more than all", BUDGETS, &[("on_exceed: deny", "alert_at: [50, 120]")]),
    case("shares that stand twice", BUDGETS, &[("on_exceed: deny", "alert_at: [50, 80, 50]")]),
    case("a share in percent signs", BUDGETS, &[("on_exceed: deny", "alert_at: 80%")]),
    case(
        "a price without an argument",
        PRICES,
        &[("", "tools:\n  filesystem__write_file: { per: [{ usd: 0.01 }] }\n")],
    ),
    case(
        "a price per megabyte in a word of its own",
        PRICES,
        &[(
            "",
            "tools:\n  filesystem__write_file: { per: [{ argument: /content, unit: megabyte, usd: 0.01 }] }\n",
        )],
    ),
    case("a price in quotes", PRICES, &[("", "tools:\n  filesystem__write_file: \"0.01\"\n")]),
    case(
        "a price that is at most less than it is",
        PRICES,
        &[("", "tools:\n  filesystem__write_file: { base_usd: 2, max_usd: 1 }\n")],
    ),
    case(
        "`max` for `max_usd`",
        PRICES,
        &[("", "tools:\n  filesystem__write_file: { base_usd: 2, max: 3 }\n")],
    ),
    case("`capability` for `capabilities`", AUTHORITY, &[("    capabilities: [", "    capability: [")]),
    case("`agent` for `agents`", AUTHORITY, &[("agents:", "agent:")]),
    case("a key in capitals", GATE, &[("    decision: ALLOW", "    Decision: ALLOW")]),
    case(
        "a key of another decision",
        GATE,
        &[("    decision: ALLOW\n", "    decision: ALLOW\n    quorum: 2\n")],
    ),
    case("no decision", GATE, &[("    decision: ALLOW\n", "")]),
    case("no version", BUNDLE, &[("version: \"1\"\n", "")]),
    case("no name", GATE, &[("name: production\n", "")]),
    case("no bundle.yaml", BUNDLE, &[]),
    case(
        "a kind of loop misspelled",
        BUNDLE,
        &[("default_decision: DENY\n", "default_decision: DENY\nloop: { similiar: { count: 5 } }\n")],
    ),
    case(
        "a loop without a count",
        BUNDLE,
        &[("default_decision: DENY\n", "default_decision: DENY\nloop: { errors: { window: 60s } }\n")],
    ),
    case(
        "a loop of one call",
        BUNDLE,
        &[("default_decision: DENY\n", "default_decision: DENY\nloop: { alternating: { count: 1 } }\n")],
    ),
    case(
        "a loop over two hours",
        BUNDLE,
        &[(
            "default_decision: DENY\n",
            "default_decision: DENY\nloop: { fan_out: { count: 500, window: 2h } }\n",
        )],
    ),
    case(
        "caps on lists of tools that are none",
        AUTHORITY,
        &[("    model: gpt-4o\n", "    model: gpt-4o\n    max_catalog_tokens: 0\n")],
    ),
    case(
        "the same for all agents",
        BUNDLE,
        &[("default_decision: DENY\n", "default_decision: DENY\nmax_catalog_tokens: lots\n")],
    ),
    case(
        "a kind of alert misspelled",
        BUNDLE,
        &[(
            "default_decision: DENY\n",
            "default_decision: DENY\nalerts: { denied_rate: { min_calls: 5 } }\n",
        )],
    ),
    case(
        "a threshold that the kind does not have",
        BUNDLE,
        &[("default_decision: DENY\n", "default_decision: DENY\nalerts: { loop: { min_calls: 5 } }\n")],
    ),
    case(
        "an incident without an end",
        BUNDLE,
        &[("default_decision: DENY\n", "default_decision: DENY\nalerts: { incidents: { sla: never } }\n")],
    ),
    case(
        "a sample that is no share",
        BUNDLE,
        &[("default_decision: DENY\n", "default_decision: DENY\naudit: { sample: 0.01 }\n")],
    ),
    case("no authority.yaml", AUTHORITY, &[]),
    case("a file that ends with .yml", "policies/more.yml", &[("", "name: more\n")]),
    // Values.
    case("`REQUIRE_APROVAL`", GATE, &[("REQUIRE_APPROVAL", "REQUIRE_APROVAL")]),
    case("`require_approval`", GATE, &[("REQUIRE_APPROVAL", "require_approval")]),
    case("`BLOCK`", GATE, &[("decision: ALLOW", "decision: BLOCK")]),
    case("a decision in typographic quotes", GATE, &[("decision: ALLOW", "decision: “ALLOW”")]),
    case("a name in typographic quotes", GATE, &[("- id: scratch", "- id: ‘scratch’")]),
    case(
        "`yes` for `true`",
        AUTHORITY,
        &[("    role: writer", "    attended: yes\n    operator: alice\n    role: writer")],
    ),
    case("a duration without a unit", GATE, &[("expires_in: 15m", "expires_in: 15")]),
    case("a duration in words", GATE, &[("expires_in: 15m", "expires_in: 15 minutes")]),
    case("an amount with its currency", BUDGETS, &[("5.00", "$5.00")]),
    case("a number in quotes", BOOK, &[("60", "\"60\"")]),
    case("a number that is too large", GATE, &[("    expires_in: 15m", "    quorum: 99999999999999999999")]),
    case("a list where a text belongs", GATE, &[("label: write", "label: [write]")]),
    case("a text where a list belongs", AUTHORITY, &[("tools: [\"filesystem__*\"]", "tools: filesystem__*")]),
    case(
        "a map where a list belongs",
        GATE,
        &[("  - upstream: filesystem\n    label: write", "  upstream: filesystem\n  label: write")],
    ),
    case(
        "a tool where an entry of `on` belongs",
        GATE,
        &[("  - upstream: filesystem\n    label: write", "  - filesystem__write_file")],
    ),
    case("a chat as a channel", GATE, &[("    expires_in: 15m", "    channels: [slack]")]),
    case("a wildcard of another language", AUTHORITY, &[("filesystem__*", "filesystem__?ead")]),
    case("a key where its digest belongs", AUTHORITY, &[("sha256:0011", "tg_0011")]),
    // Names.
    case("an unknown group", GATE, &[("[leads]", "[leeds]")]),
    case("an unknown capability", AUTHORITY, &[("capabilities: [docs.write]", "capabilities: [doc.write]")]),
    case("an unknown agent", GATE, &[("    label: write", "    agent: planer")]),
    case("an unknown workflow", AUTHORITY, &[("workflow: reports", "workflow: report")]),
    case("an unknown operator", AUTHORITY, &[("    role: writer", "    operator: alise\n    role: writer")]),
    case("an id that another policy has", BOOK, &[("id: rates", "id: production")]),
    // Conditions.
    case("`=~` for `matches`", GATE, &[(CONDITION, "\"args.path =~ 'x'\"")]),
    case("`=` for `==`", GATE, &[(CONDITION, "\"env = 'production'\"")]),
    case("`===` for `==`", GATE, &[(CONDITION, "\"env === 'production'\"")]),
    case("`<>` for `!=`", GATE, &[(CONDITION, "\"env <> 'production'\"")]),
    case("`=>` for `>=`", GATE, &[(CONDITION, "\"cost.estimate_usd => 1.0\"")]),
    case("`and` for `&&`", GATE, &[(CONDITION, "\"env == 'production' and agent.role == 'writer'\"")]),
    case("`OR` for `||`", GATE, &[(CONDITION, "\"env == 'production' OR agent.role == 'writer'\"")]),
    case("`not` for `!`", GATE, &[(CONDITION, "\"not tool.read_only\"")]),
    case("`not in`", GATE, &[(CONDITION, "\"'write' not in tool.labels\"")]),
    case("a single `&`", GATE, &[(CONDITION, "\"tool.read_only & tool.pinned\"")]),
    case("a single `|`", GATE, &[(CONDITION, "\"tool.read_only | tool.pinned\"")]),
    case("`contains` between two values", GATE, &[(CONDITION, "\"args.path contains 'x'\"")]),
    case("`if`", GATE, &[(CONDITION, "\"if env == 'production'\"")]),
    case("a text without quotes", GATE, &[(CONDITION, "\"env == production\"")]),
    case("typographic quotes in a condition", GATE, &[(CONDITION, "env == ‘production’")]),
    case("a quote in a condition that is not closed", GATE, &[(CONDITION, "\"env == 'production\"")]),
    case(
        "a parenthesis that is not closed",
        GATE,
        &[(CONDITION, "\"(env == 'production' && agent.role == 'writer'\"")],
    ),
    case(
        "a parenthesis too many",
        GATE,
        &[(CONDITION, "\"env == 'production') && agent.role == 'writer'\"")],
    ),
    case("a condition that ends with its operator", GATE, &[(CONDITION, "\"env == 'production' &&\"")]),
    case(
        "two comparisons without an operator",
        GATE,
        &[(CONDITION, "\"env == 'production' agent.role == 'writer'\"")],
    ),
    case("an empty condition", GATE, &[(CONDITION, "\"\"")]),
    case("`environment` for `env`", GATE, &[(CONDITION, "\"environment == 'production'\"")]),
    case("`arguments.` for `args.`", GATE, &[(CONDITION, "\"arguments.path == '/etc'\"")]),
    case("an argument without `args.`", GATE, &[(CONDITION, "\"path == '/etc'\"")]),
    case("a role without its agent", GATE, &[(CONDITION, "\"role == 'writer'\"")]),
    case("an unknown field", GATE, &[(CONDITION, "\"agent.rolle == 'writer'\"")]),
    case("a fact without its field", GATE, &[(CONDITION, "\"agent == 'planner'\"")]),
    case("`inside()` for `within()`", GATE, &[(SCRATCH, "\"inside(args.path, '/scratch')\"")]),
    case("`startswith` for `startsWith`", GATE, &[(SCRATCH, "\"args.path.startswith('/scratch')\"")]),
    case("`len` for `size`", GATE, &[(SCRATCH, "\"len(args.path) > 5\"")]),
    case("an unknown function", GATE, &[(SCRATCH, "\"args.path.frobnicate()\"")]),
    case("a function with too few arguments", GATE, &[(SCRATCH, "\"within(args.path)\"")]),
    case("a number in quotes in a comparison", GATE, &[(CONDITION, "\"cost.estimate_usd > '1.0'\"")]),
    case("a list compared with a text", GATE, &[(CONDITION, "\"tool.labels == 'write'\"")]),
    case("`contains` of a list", GATE, &[(CONDITION, "\"tool.labels.contains('write')\"")]),
    case("true in quotes", GATE, &[(CONDITION, "\"tool.read_only == 'true'\"")]),
    case("a day in quotes", GATE, &[(CONDITION, "\"now > '2027-12-24'\"")]),
    case("a duration as a number", GATE, &[(CONDITION, "\"now - timestamp('2027-12-24T00:00:00Z') > 5m\"")]),
    case("a condition that is a number", GATE, &[(CONDITION, "\"size(args.path)\"")]),
    case("a condition that is a text", GATE, &[(CONDITION, "\"'production'\"")]),
    case("a condition that is a list", GATE, &[(CONDITION, "[env, production]")]),
    case("`has` without a field", GATE, &[(CONDITION, "\"has(args)\"")]),
    case("`True`", GATE, &[(CONDITION, "\"tool.read_only == True\"")]),
    case("a regular expression that is none", GATE, &[(CONDITION, "\"args.path.matches('[a-')\"")]),
    case("a zone that there is not", GATE, &[(CONDITION, "\"now.getHours('Europe/Berln') >= 18\"")]),
    case("a city for its zone", GATE, &[(CONDITION, "\"now.getHours('Berlin') >= 18\"")]),
    case("a zone that the call chooses", GATE, &[(CONDITION, "\"now.getHours(args.zone) >= 18\"")]),
    case(
        "a capability in its own condition",
        AUTHORITY,
        &[("    tools:", "    condition: \"capability == 'docs.write'\"\n    tools:")],
    ),
    // servers.toml.
    case(
        "a delivery to nowhere",
        SERVERS,
        &[("[upstreams.filesystem]", "[delivery.siem]\n\n[upstreams.filesystem]")],
    ),
    case(
        "a delivery to two places",
        SERVERS,
        &[(
            "[upstreams.filesystem]",
            "[delivery.siem]\nfile = \"a\"\nsyslog = \"tcp://h:1\"\n\n[upstreams.filesystem]",
        )],
    ),
    case(
        "syslog without a scheme",
        SERVERS,
        &[(
            "[upstreams.filesystem]",
            "[delivery.siem]\nsyslog = \"127.0.0.1:514\"\n\n[upstreams.filesystem]",
        )],
    ),
    case(
        "a delivery's slip",
        SERVERS,
        &[(
            "[upstreams.filesystem]",
            "[delivery.siem]\nfile = \"a\"\nformat = \"ocfs\"\n\n[upstreams.filesystem]",
        )],
    ),
    case(
        "a slip in the format of a webhook",
        SERVERS,
        &[(
            "[upstreams.filesystem]",
            "[webhooks.leads]\nformat = \"slak\"\nurl = \"https://hooks.slack.com/services/x\"\n\n[upstreams.filesystem]",
        )],
    ),
    case(
        "a pager without its key",
        SERVERS,
        &[("[upstreams.filesystem]", "[webhooks.oncall]\nformat = \"pagerduty\"\n\n[upstreams.filesystem]")],
    ),
    case(
        "a chat for somebody who is not there",
        SERVERS,
        &[(
            "[upstreams.filesystem]",
            "[webhooks.leads]\nformat = \"slack\"\nurl = \"https://hooks.slack.com/services/x\"\nlink = \"https://tollgate.example\"\nfor = [\"nobody-at-all\"]\n\n[upstreams.filesystem]",
        )],
    ),
    case(
        "a chat over plain HTTP",
        SERVERS,
        &[(
            "[upstreams.filesystem]",
            "[webhooks.leads]\nformat = \"slack\"\nurl = \"http://hooks.slack.com/services/x\"\n\n[upstreams.filesystem]",
        )],
    ),
    case(
        "mail that goes to nobody",
        SERVERS,
        &[(
            "[upstreams.filesystem]",
            "[webhooks.mail]\nformat = \"email\"\nurl = \"smtps://mail.acme.example\"\nfrom = \"t@acme.example\"\n\n[upstreams.filesystem]",
        )],
    ),
    case(
        "rotation of a webhook",
        SERVERS,
        &[(
            "[upstreams.filesystem]",
            "[delivery.siem]\nurl = \"https://siem.example\"\nsecret = \"0123456789abcdef01234567\"\nkeep = 3\n\n[upstreams.filesystem]",
        )],
    ),
    case(
        "a slip in [audit]",
        SERVERS,
        &[("[upstreams.filesystem]", "[audit]\ncheckpoint = \"/mnt/worm\"\n\n[upstreams.filesystem]")],
    ),
    case(
        "checkpoints that are no path",
        SERVERS,
        &[("[upstreams.filesystem]", "[audit]\ncheckpoints = \"\"\n\n[upstreams.filesystem]")],
    ),
    case(
        "checkpoints all the time",
        SERVERS,
        &[("[upstreams.filesystem]", "[audit]\nevery = \"0s\"\n\n[upstreams.filesystem]")],
    ),
    case(
        "a witness in plain text",
        SERVERS,
        &[(
            "[upstreams.filesystem]",
            "[audit]\nwitnesses = [{ url = \"http://witness.example\", key = \"witness.example/w1+7e136b5c+BAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f\" }]\n\n[upstreams.filesystem]",
        )],
    ),
    case(
        "a witness's key that is a log's",
        SERVERS,
        &[(
            "[upstreams.filesystem]",
            "[audit]\nwitnesses = [{ url = \"https://witness.example\", key = \"PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW\" }]\n\n[upstreams.filesystem]",
        )],
    ),
    case("YAML in servers.toml", SERVERS, &[("environment = \"staging\"", "environment: staging")]),
    case("a text without quotes in servers.toml", SERVERS, &[("\"staging\"", "staging")]),
    case("a quote in servers.toml that is not closed", SERVERS, &[("timeout = \"30s\"", "timeout = \"30s")]),
    case("a table that is not closed", SERVERS, &[("[upstreams.filesystem]", "[upstreams.filesystem")]),
    case("no comma between two arguments", SERVERS, &[("\"files-mcp\", \"/srv\"", "\"files-mcp\" \"/srv\"")]),
    case("`True` in servers.toml", SERVERS, &[("timeout = \"30s\"", "enabled = True")]),
    case(
        "a tool with two prices",
        SERVERS,
        &[("labels = [\"write\"]", "cost_usd = 0.1\ncost = { base_usd = 0.1 }")],
    ),
    case(
        "a price over all members",
        SERVERS,
        &[("labels = [\"write\"]", "cost = { per = [{ argument = \"/a/*\", usd = 0.1 }] }")],
    ),
    case(
        "a price by a unit that is none",
        SERVERS,
        &[("labels = [\"write\"]", "cost = { per = [{ argument = \"/a\", unit = \"rows\", usd = 0.1 }] }")],
    ),
    case(
        "a price in words",
        SERVERS,
        &[("labels = [\"write\"]", "cost = { per = [{ argument = \"/a\", usd = \"much\" }] }")],
    ),
    case("a list in servers.toml that is not closed", SERVERS, &[("\"/srv\"]", "\"/srv\"")]),
    case(
        "a table twice",
        SERVERS,
        &[(
            "[upstreams.filesystem.tools",
            "[upstreams.filesystem.tools.write_file]\naction = \"files:write\"\nlabels = [\"write\"]\n\n[upstreams.filesystem.tools",
        )],
    ),
    case("a backslash in servers.toml", SERVERS, &[("environment", "data_dir = \"C:\\Users\"\nenvironment")]),
    case("true in quotes in servers.toml", SERVERS, &[("timeout = \"30s\"", "trust_annotations = \"true\"")]),
    case(
        "a word that `new_tools` does not know",
        SERVERS,
        &[("timeout = \"30s\"", "new_tools = \"quarantine\"")],
    ),
    case("a word that `findings` does not know", SERVERS, &[("timeout = \"30s\"", "findings = \"block\"")]),
    case("a command as one text", SERVERS, &[("[\"files-mcp\", \"/srv\"]", "\"files-mcp /srv\"")]),
    case("`args` beside `command`", SERVERS, &[("timeout = \"30s\"", "args = [\"/srv\"]")]),
    case("a key of servers.toml that is a slip", SERVERS, &[("timeout", "time_out")]),
    case("a variable of the gateway that is not set", SERVERS, &[("\"staging\"", "\"${ENVIRONMENT}\"")]),
    case(
        "a key of `contain` that is a slip",
        SERVERS,
        &[("timeout = \"30s\"", "contain = { netwrok = false }")],
    ),
    case(
        "a limit of `contain` without a unit",
        SERVERS,
        &[("timeout = \"30s\"", "contain = { memory = 512 }")],
    ),
    case(
        "`cpu` of `contain` that is neither",
        SERVERS,
        &[("timeout = \"30s\"", "contain = { cpu = \"half\" }")],
    ),
    case("no core in `contain`", SERVERS, &[("timeout = \"30s\"", "contain = { cpu = 0 }")]),
    case("a glob in `contain`", SERVERS, &[("timeout = \"30s\"", "contain = { read = [\"/usr/share/*\"] }")]),
    case(
        "`contain` that opens Tollgate's own files",
        SERVERS,
        &[("timeout = \"30s\"", "contain = { read = [\".\"] }")],
    ),
    case(
        "a home of somebody else in `contain`",
        SERVERS,
        &[("timeout = \"30s\"", "contain = { write = [\"~bob/x\"] }")],
    ),
    case("`contain` as a word", SERVERS, &[("timeout = \"30s\"", "contain = true")]),
    case(
        "`contain` of a server that is reached by HTTP",
        SERVERS,
        &[("command = [\"files-mcp\", \"/srv\"]\n", "url = \"https://files.example/mcp\"\ncontain = {}\n")],
    ),
    case(
        "an origin of `apps` that is none",
        SERVERS,
        &[("timeout = \"30s\"", "apps = { connect_domains = [\"example.com\"] }")],
    ),
    case(
        "a permission of `apps` that there is not",
        SERVERS,
        &[("timeout = \"30s\"", "apps = { permissions = [\"usb\"] }")],
    ),
    // data.yaml.
    case("an unknown key of data.yaml", DATA, &[("", "detector:\n  phone: { enabled: false }\n")]),
    case("a source without labels", DATA, &[("", "sources: [{ on: [{ upstream: filesystem }] }]\n")]),
    case("a source with an unknown label", DATA, &[("", "sources: [{ labels: [restriced, personal] }]\n")]),
    case(
        "a source whose resource is no pattern",
        DATA,
        &[("", "sources: [{ on: [{ resource: \"FILE:///srv/**\" }], labels: [personal] }]\n")],
    ),
    case("an unknown key of a source", DATA, &[("", "sources: [{ when: [], labels: [personal] }]\n")]),
    case(
        "labels for longer than they are kept",
        SERVERS,
        &[(
            "environment = \"staging\"",
            "environment = \"staging\"\nlabels = { window = \"2d\", keep = \"1d\" }",
        )],
    ),
    case("an unknown level of data.yaml", DATA, &[("", "classes: { health: secret }\n")]),
    case(
        "two rules of data.yaml with the id of one vault entry",
        DATA,
        &[(
            "",
            "rules:\n  - { id: mails, detectors: [email], results: tokenize }\n  - { id: mails, detectors: [phone], results: tokenize }\n",
        )],
    ),
    case(
        "`permitted` where nothing is tokenized",
        DATA,
        &[("", "rules: [{ results: mask, permitted: [{ upstream: filesystem }] }]\n")],
    ),
    case("`scope` where nothing is tokenized", DATA, &[("", "rules: [{ results: mask, scope: tenant }]\n")]),
    case("a `scope` that is none", DATA, &[("", "rules: [{ results: tokenize, scope: workflow }]\n")]),
    case("an `output_schema` that is a slip", SERVERS, &[("timeout = \"30s\"", "output_schema = \"error\"")]),
    case(
        "an `output_schema` of a tool that is a slip",
        SERVERS,
        &[("labels = [\"write\"]", "output_schema = true")],
    ),
    case(
        "a `vault_key` that is too short",
        SERVERS,
        &[("[upstreams.filesystem]", "[store]\nvault_key = \"hunter2hunter2\"\n\n[upstreams.filesystem]")],
    ),
    case(
        "a `vault_retention` that is too short",
        SERVERS,
        &[("[upstreams.filesystem]", "[store]\nvault_retention = \"5m\"\n\n[upstreams.filesystem]")],
    ),
    case(
        "a key that expires on no day",
        AUTHORITY,
        &[(
            "[\"sha256:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\"]",
            "[{ sha256: 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff, expires: next year }]",
        )],
    ),
    case(
        "a key with another member",
        AUTHORITY,
        &[(
            "[\"sha256:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\"]",
            "[{ sha256: 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff, until: 2027-01-31 }]",
        )],
    ),
    case(
        "a key without its digest",
        AUTHORITY,
        &[(
            "[\"sha256:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\"]",
            "[{ expires: 2027-01-31 }]",
        )],
    ),
    case(
        "a certificate name that is no URI",
        AUTHORITY,
        &[("    model: gpt-4o", "model: gpt-4o\n    certificates: [planner]")],
    ),
    case(
        "a person with a capability that is none",
        AUTHORITY,
        &[("groups: [leads]", "groups: [leads]\n    capabilities: [docs.wrote]")],
    ),
    case(
        "a proxy that is no address",
        SERVERS,
        &[("environment = \"staging\"", "environment = \"staging\"\ntrusted_proxies = [\"10.0.0.0/33\"]")],
    ),
    case(
        "a network with bits behind its prefix",
        SERVERS,
        &[("environment = \"staging\"", "environment = \"staging\"\ntrusted_proxies = [\"10.0.0.7/8\"]")],
    ),
    case(
        "another header of proxies",
        SERVERS,
        &[(
            "environment = \"staging\"",
            "environment = \"staging\"\ntrusted_proxies = [\"10.0.0.7\"]\nforwarded_by = \"x-real-ip\"",
        )],
    ),
    case(
        "one claim for agent and person",
        SERVERS,
        &[(
            "[upstreams.filesystem]",
            "[auth.jwt]\nissuer = \"https://login.example\"\naudience = \"x\"\njwks_url = \"https://login.example/jwks\"\nuser_claim = \"sub\"\n\n[upstreams.filesystem]",
        )],
    ),
    case(
        "another word for DPoP",
        SERVERS,
        &[(
            "[upstreams.filesystem]",
            "[auth.jwt]\nissuer = \"https://login.example\"\naudience = \"x\"\njwks_url = \"https://login.example/jwks\"\ndpop = \"yes\"\n\n[upstreams.filesystem]",
        )],
    ),
    case("a secret in no file", SERVERS, &[("timeout = \"30s\"", "env = { TOKEN = \"${file:}\" }")]),
    case(
        "a command with an open quote",
        SERVERS,
        &[("timeout = \"30s\"", "env = { TOKEN = \"${cmd:vault read 'crm}\" }")],
    ),
    case(
        "a secret of the gateway that is not there",
        SERVERS,
        &[(
            "[upstreams.filesystem]",
            "[webhook]\nurl = \"https://hook.example/x\"\nsecret = \"${cmd:no-such-vault-client read hook}\"\n\n[upstreams.filesystem]",
        )],
    ),
];

/// What can be used and should not.
pub(crate) const LINTS: &[Case] = &[
    case("no rationale", GATE, &[("description: Changes in production need a person\n", "")]),
    case("a policy about everything", GATE, &[("on:\n  - upstream: filesystem\n    label: write\n", "")]),
    case("no policy looks at role or sensitivity", GATE, &[(" && agent.role == 'writer'", "")]),
    case("no budget", BUDGETS, &[]),
    case("no owner of the bundle", BUNDLE, &[("owner: platform-team\n", "")]),
    case("everything that nobody speaks of is allowed", BUNDLE, &[("DENY", "ALLOW")]),
    case("an ownerless workflow", AUTHORITY, &[("owner: data-team, approval", "approval")]),
    case("no SLA", AUTHORITY, &[(", approval_sla: 15m", "")]),
    case(
        "an agent that can use nothing",
        AUTHORITY,
        &[
            ("    keys: [\"sha256:10", "    keys: [\"sha256:10"),
            (
                "people:\n",
                "  idle: { keys: [\"sha256:20112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\"] }\npeople:\n",
            ),
        ],
    ),
    case(
        "a rule behind one that always applies",
        GATE,
        &[
            ("    condition: \"env == 'production' && agent.role == 'writer'\"\n", ""),
            ("within(args.path, '/scratch')", "agent.role == 'writer'"),
        ],
    ),
    case(
        "a rule behind a wider one",
        GATE,
        &[(SCRATCH, "\"within(args.path, '/scratch') && agent.role == 'writer' && env == 'production'\"")],
    ),
    case("a rule that never applies", GATE, &[(SCRATCH, "\"false\"")]),
    case("a rule that nobody can approve", GATE, &[("    expires_in: 15m", "    quorum: 2")]),
    case(
        "an approval in the agent's own chat",
        GATE,
        &[
            (
                "    approvers: [leads]\n    expires_in: 15m",
                "    approvers: [operator]\n    channels: [elicitation]",
            ),
            ("    role: writer\n", "    role: writer\n    operator: alice\n    attended: true\n"),
        ],
    ),
    case("`prod` for `production`", GATE, &[("env == 'production'", "env == 'prod'")]),
    case("an environment of which nothing is said", BUNDLE, &[("environments: [staging, production]\n", "")]),
    case("an environment that the bundle is not for", BUNDLE, &[("[staging, production]", "[production]")]),
    case("an upstream that is a slip", GATE, &[("upstream: filesystem", "upstream: filesytem")]),
    case("a label that is a slip", GATE, &[("label: write", "label: wirte")]),
    case("a role that no agent has", GATE, &[("    label: write", "    role: writr")]),
    case("a tenant that no agent has", GATE, &[("    label: write", "    tenant: acme")]),
    case(
        "an account for each person, and agents that act for nobody",
        SERVERS,
        &[(
            "[upstreams.filesystem]\ncommand = [\"files-mcp\", \"/srv\"]",
            "[upstreams.filesystem]\nurl = \"https://files.example/mcp\"\noauth = { grant = \"authorization_code\", per = \"person\" }",
        )],
    ),
    case(
        "an account for each agent, and names of which nothing says whose they are",
        SERVERS,
        &[(
            "[upstreams.filesystem.tools.write_file]",
            "[upstreams.mail]\nprefix = \"\"\nurl = \"https://mail.example/mcp\"\noauth = { grant = \"authorization_code\", per = \"agent\" }\n\n[upstreams.filesystem.tools.write_file]",
        )],
    ),
    case(
        "tokens that are exchanged, and nobody comes with one",
        SERVERS,
        &[(
            "[upstreams.filesystem]\ncommand = [\"files-mcp\", \"/srv\"]",
            "[upstreams.filesystem]\nurl = \"https://files.example/mcp\"\noauth = { grant = \"token_exchange\", token_url = \"https://login.example/token\", client_id = \"tollgate\", client_secret = \"${HOOK_SECRET}\" }",
        )],
    ),
    case(
        "an upstream that no capability grants",
        SERVERS,
        &[(
            "[upstreams.filesystem.tools",
            "[upstreams.crm]\ncommand = [\"crm-mcp\"]\n\n[upstreams.filesystem.tools",
        )],
    ),
    case(
        "a secret in `headers`",
        SERVERS,
        &[(
            "command = [\"files-mcp\", \"/srv\"]",
            "url = \"https://files.example/mcp\"\nheaders = { Authorization = \"Bearer a1B2c3D4e5F6g7H8i9J0\" }",
        )],
    ),
    case(
        "a secret in `env`",
        SERVERS,
        &[("timeout = \"30s\"", "env = { API_KEY = \"a1B2c3D4e5F6g7H8i9J0\" }")],
    ),
    case("a secret in `command`", SERVERS, &[("\"/srv\"", "\"--token\", \"a1B2c3D4e5F6g7H8i9J0\"")]),
    case(
        "a secret in `url`",
        SERVERS,
        &[(
            "command = [\"files-mcp\", \"/srv\"]",
            "url = \"https://files.example/mcp?api_key=a1B2c3D4e5F6g7H8i9J0\"",
        )],
    ),
    case(
        "a secret as a default",
        SERVERS,
        &[("timeout = \"30s\"", "env = { API_KEY = \"${CRM_TOKEN:-a1B2c3D4e5F6g7H8i9J0}\" }")],
    ),
    case(
        "a credential that opens everything",
        SERVERS,
        &[("timeout = \"30s\"", "env = { CRM_ADMIN_TOKEN = \"${CRM_ADMIN_TOKEN}\" }")],
    ),
    case(
        "a user who may do everything",
        SERVERS,
        &[("timeout = \"30s\"", "env = { DATABASE = \"postgres://postgres:${CRM_TOKEN}@db/crm\" }")],
    ),
    case(
        "one credential for two upstreams",
        SERVERS,
        &[
            ("tools: [\"filesystem__*\"]", "tools: [\"filesystem__*\", \"archive__*\"]"),
            ("timeout = \"30s\"", "env = { CRM_TOKEN = \"${CRM_TOKEN}\" }"),
            (
                "[upstreams.filesystem.tools",
                "[upstreams.archive]\ncommand = [\"files-mcp\"]\nenv = { CRM_TOKEN = \"${CRM_TOKEN}\" }\n\n[upstreams.filesystem.tools",
            ),
        ],
    ),
    case(
        "an upstream that logs what it is sent",
        SERVERS,
        &[("timeout = \"30s\"", "env = { LOG_LEVEL = \"debug\" }")],
    ),
    case("a command that logs what it is sent", SERVERS, &[("\"/srv\"", "\"--verbose\"")]),
    case(
        "a chat that says not where to decide",
        SERVERS,
        &[(
            "[upstreams.filesystem]",
            "[webhooks.leads]\nformat = \"slack\"\nurl = \"https://hooks.slack.com/services/x\"\n\n[upstreams.filesystem]",
        )],
    ),
    case(
        "a chat that gets what it does not show",
        SERVERS,
        &[(
            "[upstreams.filesystem]",
            "[webhook]\nurl = \"https://hooks.slack.com/services/x\"\nsecret = \"${HOOK_SECRET}\"\n\n[upstreams.filesystem]",
        )],
    ),
    case(
        "a connector that Microsoft has retired",
        SERVERS,
        &[(
            "[upstreams.filesystem]",
            "[admin]\npublic_url = \"https://tollgate.example\"\n\n[webhooks.room]\nformat = \"teams\"\nurl = \"https://acme.webhook.office.com/webhookb2/x\"\n\n[upstreams.filesystem]",
        )],
    ),
    case(
        "a detector of secrets that is off",
        DATA,
        &[("", "detectors: { github_token: { enabled: false } }\n")],
    ),
    case(
        "a label that no data has",
        GATE,
        &[(" && agent.role == 'writer'", " && 'restrictd' in session.labels")],
    ),
    case("a level that there is not", GATE, &[(" && agent.role == 'writer'", " && data.level == 'secret'")]),
    case(
        "a value for an upstream that is none",
        DATA,
        &[("", "rules: [{ results: tokenize, detectors: [email], permitted: [{ upstream: filesytem }] }]\n")],
    ),
    case("an exception for everything", DATA, &[("", "allow: [{ pattern: '.*' }]\n")]),
    case(
        "a `vault_key` that is written out",
        SERVERS,
        &[(
            "[upstreams.filesystem]",
            "[store]\nvault_key = \"0123456789abcdef0123456789abcdef\"\n\n[upstreams.filesystem]",
        )],
    ),
    case(
        "a delivery into a folder that is not there",
        SERVERS,
        &[("[upstreams.filesystem]", "[delivery.siem]\nfile = \"no/such/a\"\n\n[upstreams.filesystem]")],
    ),
    case(
        "a file of one machine beside a database",
        SERVERS,
        &[(
            "[upstreams.filesystem]",
            "[store]\nurl = \"postgres://db/gate\"\n\n[delivery.archive]\nfile = \"events.jsonl\"\n\n[delivery.siem]\nsyslog = \"tcp://siem.example:601\"\n\n[upstreams.filesystem]",
        )],
    ),
    case(
        "a syslog of one machine beside a database",
        SERVERS,
        &[(
            "[upstreams.filesystem]",
            "[store]\nurl = \"postgres://db/gate\"\n\n[delivery.log]\nsyslog = \"tcp://[::1]:601\"\n\n[upstreams.filesystem]",
        )],
    ),
    case(
        "a service of one machine beside a database",
        SERVERS,
        &[(
            "[upstreams.filesystem]",
            "[store]\nurl = \"postgres://db/gate\"\n\n[delivery.local]\nurl = \"http://127.0.0.1:9/a\"\nsecret = \"${HOOK_SECRET}\"\n\n[upstreams.filesystem]",
        )],
    ),
    case(
        "a missing variable of an upstream",
        SERVERS,
        &[("timeout = \"30s\"", "env = { LEVEL = \"${MISSING}\" }")],
    ),
    case(
        "a proxy that is everybody",
        SERVERS,
        &[("environment = \"staging\"", "environment = \"staging\"\ntrusted_proxies = [\"0.0.0.0/0\"]")],
    ),
    case(
        "a header of proxies without proxies",
        SERVERS,
        &[("environment = \"staging\"", "environment = \"staging\"\nforwarded_by = \"forwarded\"")],
    ),
    case(
        "a secret of an upstream that cannot be had",
        SERVERS,
        &[("timeout = \"30s\"", "env = { TOKEN = \"${cmd:no-such-vault-client read crm}\" }")],
    ),
];
