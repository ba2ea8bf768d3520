use super::{entry::MOST_SENTENCES, tool::traits, *};
use crate::{
    config::*,
    model::{AgentId, Autonomy, CapabilityId, Glob, ToolTraits, UpstreamName, UriPattern},
    policy::{Agent, Authority, Capability},
    upstream::{Health, Listing, UpstreamState},
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

pub(super) fn upstream(name: &str, prefix: &str) -> UpstreamConfig {
    UpstreamConfig {
        name: name.into(),
        transport: UpstreamTransport::Stdio {
            command: vec!["true".into()],
            env: BTreeMap::new(),
            cwd: "/".into(),
        },
        prefix: prefix.into(),
        isolation: Isolation::Shared,
        timeout: Duration::from_secs(1),
        max_concurrency: 1,
        max_result_bytes: 1 << 20,
        retry: RetryConfig { attempts: 1, backoff: Duration::from_millis(1) },
        breaker: BreakerConfig { failures: 5, cooldown: Duration::from_secs(1) },
        labels: vec!["internal".into()],
        asks: crate::config::Asks::ALL,
        contain: None,
        apps: None,
        trust_annotations: false,
        trust_cost: false,
        pins: Default::default(),
        output_schema: crate::config::OutputCheck::Lint,
        tools: BTreeMap::new(),
    }
}

pub(super) fn config(upstreams: Vec<UpstreamConfig>) -> Config {
    Config {
        path: "servers.toml".into(),
        gateway: GatewayConfig {
            listen: "127.0.0.1:1".parse().unwrap(),
            environment: "test".into(),
            policies: "policies".into(),
            data_dir: "data".into(),
            separator: "__".into(),
            approval_wait: Duration::ZERO,
            max_pending_approvals: 50,
            rejection_stands: Duration::from_secs(300),
            rejected_asks: Default::default(),
            labels: Default::default(),
            volatile_meta: Vec::new(),
            public_url: None,
            allowed_hosts: vec![],
            allowed_origins: vec![],
            max_body: 1,
            max_sessions: 1,
            drain: Duration::ZERO,
            instructions: None,
            catalog: CatalogMode::Full,
            unchecked_arguments: crate::config::Unchecked::Refuse,
            formats: crate::config::Formats::Annotate,
            tls: None,
            behind_tls_proxy: false,
            trusted_proxies: Vec::new(),
            forwarded_by: Default::default(),
        },
        admin: AdminConfig {
            listen: "127.0.0.1:2".parse().unwrap(),
            public_url: None,
            metrics_key: None,
            oidc: None,
        },
        otel: Default::default(),
        store: StoreConfig {
            path: "db".into(),
            postgres: None,
            durability: Durability::Commit,
            retention: None,
            vault: crate::config::VaultConfig::default(),
        },
        audit: crate::config::AuditConfig::default(),
        deliveries: Vec::new(),
        auth: AuthConfig::default(),
        webhooks: Vec::new(),
        verify: Vec::new(),
        checks: std::collections::BTreeMap::new(),
        upstreams: upstreams.into_iter().map(|u| (u.name.clone(), u)).collect(),
        disabled: std::collections::BTreeMap::new(),
    }
}

pub(super) fn state(name: &str, health: Health, listing: Listing) -> Arc<UpstreamState> {
    Arc::new(UpstreamState {
        name: name.into(),
        health,
        listing: Arc::new(listing),
        missing: Arc::default(),
        era: None,
        capabilities: json!({}),
        server_info: json!({}),
        instructions: None,
        containment: None,
        generation: 1,
    })
}

fn tools(names: &[&str]) -> Listing {
    let tools = names
        .iter()
        .map(|n| json!({"name": n, "title": "T", "icons": [{"src": "x"}], "_meta": {"a": 1}, "inputSchema": {"type": "object"}}))
        .collect();
    Listing { tools, ..Listing::default() }
}

fn names(catalog: &Catalog) -> Vec<&str> {
    catalog.tools.keys().map(|k| &**k).collect()
}

#[test]
fn everything_is_kept_but_the_name() {
    let config = config(vec![upstream("files", "files")]);
    let catalog = CatalogBuilder::default().build(&config, &[state("files", Health::Up, tools(&["b", "a"]))]);
    assert_eq!(names(&catalog), ["files__a", "files__b"]);
    let expected = json!({
        "name": "files__a", "title": "T", "icons": [{"src": "x"}], "_meta": {"a": 1}, "inputSchema": {"type": "object"},
    });
    assert_eq!(catalog.tools["files__a"].item, expected);
    assert_eq!(&*catalog.tools["files__a"].action, "files:a");
}

#[test]
fn a_newcomer_never_replaces_a_name() {
    let config = config(vec![upstream("a", ""), upstream("b", "")]);
    let mut builder = CatalogBuilder::default();
    let b = state("b", Health::Up, tools(&["read"]));
    let only_b = builder.build(&config, std::slice::from_ref(&b));
    assert_eq!(only_b.tools["read"].upstream, "b".into());
    // `a` comes later, and would be first by name.
    let both = builder.build(&config, &[state("a", Health::Up, tools(&["read", "other"])), b]);
    assert_eq!(both.tools["read"].upstream, "b".into());
    assert_eq!(names(&both), ["other", "read"]);
    assert!(both.withheld[0].contains("upstream `b` has that name"), "{:?}", both.withheld);
    // Even while `b` is down its name is not for the taking.
    let down = Health::Down { cause: "x".to_owned().into(), attempts: 1 };
    let only_a = builder
        .build(&config, &[state("a", Health::Up, tools(&["read"])), state("b", down, Listing::default())]);
    assert!(names(&only_a).is_empty());
}

/// What an upstream served last is known while it is down, and forgotten once it lists without it.
#[test]
fn what_is_away_is_known() {
    let config = config(vec![upstream("a", ""), upstream("b", "")]);
    let mut builder = CatalogBuilder::default();
    let b = || state("b", Health::Up, tools(&["write"]));
    let away = |catalog: &Catalog| catalog.away.keys().map(|name| name.to_string()).collect::<Vec<_>>();
    let up = builder.build(&config, &[state("a", Health::Up, tools(&["read", "list"])), b()]);
    assert!(away(&up).is_empty());
    let down = || state("a", Health::Down { cause: "x".to_owned().into(), attempts: 1 }, Listing::default());
    for _ in 0..2 {
        let without = builder.build(&config, &[down(), b()]);
        assert_eq!((names(&without), away(&without)), (vec!["write"], vec!["list".into(), "read".into()]));
        // Only whoever has it in scope knows it, and goes on with a task of it.
        let mut map = Authority::default();
        map.capabilities
            .extend([capability("all", &["*"], &[], &[]), capability("own", &["write"], &[], &[])]);
        let (wide, narrow) =
            (View::new(&without, &map, &agent(&["all"])), View::new(&without, &map, &agent(&["own"])));
        assert!(wide.tool("read", None).is_none() && wide.away("read", None).is_some());
        assert!(wide.away("read", Some(&[])).is_none() && narrow.away("read", None).is_none());
        assert!(wide.tool_in_flight("read").is_some() && narrow.tool_in_flight("read").is_none());
    }
    let back = builder.build(&config, &[state("a", Health::Up, tools(&["read"])), b()]);
    assert!(away(&back).is_empty());
    assert_eq!(away(&builder.build(&config, &[down(), b()])), ["read"]);
    // One that is configured no more is no more.
    let alone = self::config(vec![upstream("b", "")]);
    assert!(away(&builder.build(&alone, &[b()])).is_empty());
}

/// A name that begins with another's prefix is that one's, whoever lists it and however the other is.
#[test]
fn what_begins_with_anothers_prefix_is_withheld() {
    let mut known = config(vec![
        upstream("a", ""),
        upstream("mail", "mail"),
        upstream("m", "m"),
        upstream("x.y", "m__x"),
    ]);
    let off = DisabledUpstream {
        name: "off".into(),
        reason: "r".into(),
        switched_off: true,
        contained: false,
        prefix: "off".into(),
        labels: vec![],
        tools: BTreeMap::new(),
    };
    known.disabled.insert("off".into(), off);
    let down = Health::Down { cause: "x".to_owned().into(), attempts: 1 };
    let mut greedy = tools(&["mail__send", "off__t", "m__x__t", "mail_send", "mail", "free"]);
    greedy.prompts = vec![json!({"name": "mail__p"}), json!({"name": "p"})];
    let states = [
        state("a", Health::Up, greedy),
        state("m", Health::Up, tools(&["x__t", "y"])),
        state("mail", down, Listing::default()),
        state("x.y", Health::Up, tools(&["u"])),
    ];
    let mut builder = CatalogBuilder::default();
    let catalog = builder.build(&known, &states);
    assert_eq!(names(&catalog), ["free", "m__x__u", "m__y", "mail", "mail_send"]);
    assert_eq!(catalog.prompts.keys().map(|name| &**name).collect::<Vec<_>>(), ["p"]);
    assert_eq!(catalog.withheld.len(), 5, "{:?}", catalog.withheld);
    let told =
        "tool `mail__send` of upstream `a` is withheld: its name begins with the prefix of upstream `mail`";
    assert!(catalog.withheld.iter().any(|why| why == told), "{:?}", catalog.withheld);
    // With the same prefix a disabled one takes nothing from the one that runs.
    known.disabled.get_mut("off").unwrap().prefix = "m".into();
    assert!(names(&builder.build(&known, &states)).contains(&"m__y"));
}

/// Who is fast at the start is no owner for that: what no prefix decides goes by the order of the upstreams' names.
#[test]
fn who_lists_first_at_the_start_has_no_advantage() {
    let config = config(vec![upstream("docs", "docs"), upstream("zzz", "zzz")]);
    let evil = || {
        let templates = vec![json!({"uriTemplate": "file:///srv/{+p}", "name": "t"})];
        state("zzz", Health::Up, Listing { templates, ..Listing::default() })
    };
    let honest = || {
        let resources = vec![json!({"uri": "file:///srv/a", "name": "a"})];
        state("docs", Health::Up, Listing { resources, ..Listing::default() })
    };
    let starting = || state("docs", Health::Starting, Listing::default());
    let mut builder = CatalogBuilder::default();
    builder.build(&config, &[starting(), evil()]);
    let catalog = builder.build(&config, &[honest(), evil()]);
    assert_eq!(&*catalog.resources["file:///srv/a"].listed, "file:///srv/a");
    // Once every upstream has listed, the owner keeps the name, also when another upstream restarts.
    let mut builder = CatalogBuilder::default();
    let down = Health::Down { cause: "x".to_owned().into(), attempts: 1 };
    builder.build(&config, &[state("docs", down, Listing::default()), evil()]);
    builder.build(&config, &[starting(), evil()]);
    let catalog = builder.build(&config, &[honest(), evil()]);
    assert_eq!(&*catalog.resources["docs+file:///srv/a"].listed, "docs+file:///srv/a");
}

/// What an upstream lists no more is its own no more: another has it at once, and nothing is remembered without end.
#[test]
fn a_name_that_was_given_up_is_free() {
    let config = config(vec![upstream("a", ""), upstream("z", "")]);
    let listing = |name: &str| Listing {
        tools: vec![json!({"name": name, "inputSchema": {"type": "object"}})],
        prompts: vec![json!({"name": name})],
        resources: vec![json!({"uri": format!("file:///{name}"), "name": name})],
        templates: vec![json!({"uriTemplate": format!("db://{name}/{{id}}"), "name": name})],
        ..Listing::default()
    };
    let up = |upstream: &str, name: &str| state(upstream, Health::Up, listing(name));
    let has = |catalog: &Catalog, name: &str, whose: &str| {
        assert_eq!(catalog.tools[name].upstream, whose.into());
        assert_eq!(catalog.prompts[name].upstream, whose.into());
        assert_eq!(&*catalog.resources[&*format!("file:///{name}")].upstream, whose);
        assert_eq!(&*catalog.templates[&*format!("db://{name}/{{id}}")].upstream, whose);
    };
    let mut builder = CatalogBuilder::default();
    // `z` lists `a`'s name first.
    has(&builder.build(&config, &[up("z", "pay")]), "pay", "z");
    let contested = builder.build(&config, &[up("a", "pay"), up("z", "pay")]);
    has(&contested, "pay", "z");
    assert_eq!(contested.withheld.len(), 2, "{:?}", contested.withheld);
    // Away for a moment it keeps it, though it listed nothing since.
    let down = || state("z", Health::Down { cause: "x".to_owned().into(), attempts: 1 }, Listing::default());
    assert!(builder.build(&config, &[up("a", "pay"), down()]).tools.is_empty());
    // It comes back without it.
    let free = builder.build(&config, &[up("a", "pay"), up("z", "other")]);
    has(&free, "pay", "a");
    has(&free, "other", "z");
    assert!(free.withheld.is_empty(), "{:?}", free.withheld);
    assert!(free.resources.keys().all(|uri| !uri.contains('+')), "{:?}", free.resources.keys());
    // And now it is `a`'s.
    has(&builder.build(&config, &[up("a", "pay"), up("z", "pay")]), "pay", "a");
    for n in 0..1_000 {
        builder.build(&config, &[up("a", "pay"), up("z", &format!("n{n}"))]);
        let remembered = builder.owners.len() + builder.claims.len() + builder.schemas.len();
        assert!(remembered <= 2 * 4 + 2 + 2, "{remembered}");
    }
}

/// However much of an upstream is withheld, what is said of it is short.
#[test]
fn the_sentences_about_one_upstream_are_bounded() {
    let config = config(vec![upstream("a", "a"), upstream("b", "b")]);
    let odd = |count: usize| Listing { tools: vec![json!({"noname": 1}); count], ..Listing::default() };
    let states = [state("a", Health::Up, odd(5_000)), state("b", Health::Up, odd(2))];
    let catalog = CatalogBuilder::default().build(&config, &states);
    assert_eq!(catalog.withheld.len(), MOST_SENTENCES + 1 + 2);
    assert!(catalog.withheld[MOST_SENTENCES].starts_with("4950 more items of upstream `a`"));
    let long = format!("file:///{}", "x".repeat(100_000));
    let listing =
        Listing { resources: vec![json!({"uri": long}), json!({"uri": long})], ..Listing::default() };
    let catalog = CatalogBuilder::default().build(&config, &[state("a", Health::Up, listing)]);
    assert!(catalog.withheld[0].len() < 400, "{}", catalog.withheld[0].len());
}

/// Issue 3: two upstreams with the same URI are told apart, and neither is lost.
#[test]
fn a_uri_that_another_upstream_had_first_gets_its_upstreams_name_in_front() {
    let config = config(vec![upstream("a", "a"), upstream("b_2", "b"), upstream("b-2", "c")]);
    let listing = |uris: &[&str]| Listing {
        resources: uris.iter().map(|uri| json!({"uri": uri, "name": uri})).collect(),
        templates: vec![json!({"uriTemplate": "file:///t/{id}", "name": "t"})],
        ..Listing::default()
    };
    let up = |name: &str, uris: &[&str]| state(name, Health::Up, listing(uris));
    let mut builder = CatalogBuilder::default();
    // The spelling makes no difference.
    let catalog = builder.build(
        &config,
        &[
            up("a", &["file:///x", "file:///y"]),
            up("b_2", &["FILE:///x", "file:///z"]),
            up("b-2", &["file:///x"]),
        ],
    );
    let uris: Vec<&str> = catalog.resources.values().map(|r| r.item["uri"].as_str().unwrap()).collect();
    // Of two aliases that fall together the first by name counts, and the other is told of.
    assert_eq!(uris, ["b-2+file:///x", "file:///x", "file:///y", "file:///z"]);
    assert_eq!(catalog.resources["b-2+file:///x"].upstream, "b-2".into());
    assert!(catalog.withheld[0].contains("`b_2`"), "{:?}", catalog.withheld);
    let b = &catalog.resources["b-2+file:///x"];
    assert_eq!(b.own_uri("b-2+file:///x"), "file:///x");
    assert_eq!(catalog.templates["b-2+file:///t/{id}"].own_uri("b-2+file:///t/7"), "file:///t/7");
    assert_eq!(catalog.resources["file:///x"].own_uri("file:///x"), "file:///x");
    let templates: Vec<&str> = catalog.templates.keys().map(|t| &**t).collect();
    assert_eq!(templates, ["b-2+file:///t/{id}", "file:///t/{id}"]);
    let mut result = json!({"content": [
        {"type": "resource_link", "uri": "file:///x"},
        {"type": "resource", "resource": {"uri": "file:///x", "text": "file:///x"}},
        {"type": "resource_link", "uri": "file:///other"},
        {"type": "text", "text": "file:///x", "uri": "file:///x"},
    ], "contents": [{"uri": "file:///x"}]});
    let plain = result.clone();
    catalog.alias_links(&"a".into(), &mut result);
    assert_eq!(result, plain);
    catalog.alias_links(&"b-2".into(), &mut result);
    let expected = json!({"content": [
        {"type": "resource_link", "uri": "b-2+file:///x"},
        {"type": "resource", "resource": {"uri": "b-2+file:///x", "text": "file:///x"}},
        {"type": "resource_link", "uri": "file:///other"},
        {"type": "text", "text": "file:///x", "uri": "file:///x"},
    ], "contents": [{"uri": "b-2+file:///x"}]});
    assert_eq!(result, expected);
    assert_eq!(&*naming::alias("_Crm.1"), "u-crm.1+");
}

/// A template of a newcomer takes no URI from another's, nor does a resource, nor while the first is away.
#[test]
fn what_a_template_stands_for_stays_with_who_had_it_first() {
    let config = config(vec![upstream("a", "a"), upstream("z", "z")]);
    let listing = |template: &str, uris: &[&str]| Listing {
        resources: uris.iter().map(|uri| json!({"uri": uri, "name": uri})).collect(),
        templates: vec![json!({"uriTemplate": template, "name": "t"})],
        ..Listing::default()
    };
    let z = || state("z", Health::Up, listing("file:///srv/{+path}", &["file:///srv/own"]));
    let a = || state("a", Health::Up, listing("file:///srv/{+other}", &["file:///srv/x", "file:///else"]));
    let mut builder = CatalogBuilder::default();
    builder.build(&config, &[z()]);
    let authority = Authority {
        capabilities: BTreeMap::from([capability("all", &[], &["*"], &[])]),
        ..Authority::default()
    };
    let owners = |catalog: &Catalog| -> Vec<Option<String>> {
        let view = View::new(catalog, &authority, &agent(&["all"]));
        let uris =
            ["file:///srv/x", "file:///srv/own", "file:///srv/any/thing", "file:///else", "a+file:///srv/x"];
        uris.map(|uri| Some(view.resource(uri, None).ok()??.0.entry.upstream.to_string())).to_vec()
    };
    let some = |names: [&str; 5]| -> Vec<Option<String>> {
        names.iter().map(|name| (!name.is_empty()).then(|| (*name).to_owned())).collect()
    };
    assert_eq!(owners(&builder.build(&config, &[z(), a()])), some(["z", "z", "z", "a", "a"]));
    assert_eq!(owners(&builder.build(&config, &[a()])), some(["", "", "", "a", "a"]));
    // Every URI is held against all of them, so there is an end to them; those of before do not count.
    let mut builder = CatalogBuilder::default();
    for round in 0..3 {
        let templates = (0..[600, 1_400, 600][round])
            .map(|n| json!({"uriTemplate": format!("x{round}://{n}/{{id}}"), "name": "t"}))
            .collect();
        let listing = Listing { templates, ..Listing::default() };
        let catalog = builder.build(&config, &[state("a", Health::Up, listing)]);
        assert_eq!(catalog.templates.len(), [600, 1_000, 600][round]);
        assert_eq!(catalog.withheld.len(), [0, 1, 0][round], "{:?}", catalog.withheld);
        assert_eq!(builder.claims.len(), catalog.templates.len());
        assert_eq!(builder.owners.len(), catalog.templates.len());
    }
    // Alone from the beginning it has them.
    let only = CatalogBuilder::default().build(&config, &[a()]);
    assert_eq!(owners(&only), some(["a", "a", "a", "a", ""]));
}

#[test]
fn reserved_nameless_and_doubled_tools_are_withheld_and_the_rest_stays() {
    let config = config(vec![upstream("a", "")]);
    let mut listing = tools(&["tollgate__review", "ok", "ok"]);
    listing.tools.push(json!({"description": "no name"}));
    let catalog = CatalogBuilder::default().build(&config, &[state("a", Health::Up, listing)]);
    assert_eq!(names(&catalog), ["ok"]);
    assert_eq!(catalog.withheld.len(), 3, "{:?}", catalog.withheld);
    // Nor under another separator can an upstream take the names of Tollgate's own tools.
    let mut config = config;
    config.gateway.separator = ".".to_owned();
    let listing = tools(&["tollgate__call_tool", "tollgate__find_tools", "ok"]);
    let catalog = CatalogBuilder::default().build(&config, &[state("a", Health::Up, listing)]);
    assert_eq!(names(&catalog), ["ok"]);
}

#[test]
fn annotations_count_only_where_they_are_trusted() {
    let item = json!({"name": "t", "annotations": {"readOnlyHint": true, "openWorldHint": false}});
    let table = ToolConfig::default();
    let mut upstream = upstream("a", "a");
    assert_eq!(traits(&upstream, &table, &item), ToolTraits::UNTRUSTED);
    upstream.trust_annotations = true;
    let trusted = ToolTraits { read_only: true, destructive: false, idempotent: true, open_world: false };
    assert_eq!(traits(&upstream, &table, &item), trusted);
    let table = ToolConfig { read_only: Some(false), destructive: Some(true), ..ToolConfig::default() };
    assert!(traits(&upstream, &table, &item).destructive);
}

#[test]
fn the_fingerprint_sees_what_a_model_reads() {
    let base = json!({"name": "t", "description": "d", "inputSchema": {"type": "object"}, "title": "x"});
    let same = json!({"title": "x", "inputSchema": {"type": "object"}, "description": "d", "name": "t"});
    let name = UpstreamName::from("a");
    assert_eq!(fingerprint(&name, &base), fingerprint(&name, &same));
    for (key, value) in [
        ("title", json!("y")),
        ("description", json!("e")),
        ("inputSchema", json!({})),
        ("annotations", json!({})),
    ] {
        let mut changed = base.clone();
        changed[key] = value;
        assert_ne!(fingerprint(&name, &base), fingerprint(&name, &changed), "{key}");
    }
    assert_ne!(fingerprint(&name, &base), fingerprint(&"b".into(), &base));
}

pub(super) fn capability(
    id: &str,
    tools: &[&str],
    resources: &[&str],
    prompts: &[&str],
) -> (CapabilityId, Capability) {
    let globs = |texts: &[&str]| texts.iter().map(|t| Glob::parse(t).unwrap()).collect();
    let capability = Capability {
        id: id.into(),
        tools: globs(tools),
        resources: resources.iter().map(|t| UriPattern::parse(t).unwrap()).collect(),
        prompts: globs(prompts),
        condition: None,
        autonomy: None,
    };
    (id.into(), capability)
}

pub(super) fn agent(capabilities: &[&str]) -> Agent {
    Agent {
        id: AgentId::from("x"),
        agent_type: "".into(),
        role: "".into(),
        tenant: "".into(),
        owner: "".into(),
        operator: None,
        attended: false,
        workflow: None,
        workflows: vec![],
        model: None,
        autonomy: Autonomy::Supervised,
        max_catalog_tokens: None,
        capabilities: capabilities.iter().map(|c| CapabilityId::from(*c)).collect(),
        keys: vec![],
        certificates: vec![],
    }
}

/// What a cap leaves out follows the agent's capabilities, then names; it can be called all the same.
#[test]
fn a_cap_on_the_list_leaves_out_what_matters_least() {
    let config = config(vec![upstream("f", "f")]);
    let listing = tools(&["a_big", "a_small", "b", "c", "z_first"]);
    let catalog = CatalogBuilder::default().build(&config, &[state("f", Health::Up, listing)]);
    let capabilities = [capability("first", &["f__z_*"], &[], &[]), capability("rest", &["f__*"], &[], &[])];
    let authority = Authority { capabilities: BTreeMap::from(capabilities), ..Authority::default() };
    let count = |tool: &Value| if tool["name"] == "f__a_big" { 50 } else { 10 };
    let check = |most: u64, listed: &[&str], left_out: &[&str], tokens: u64| {
        let view = View::new(&catalog, &authority, &agent(&["first", "rest"]));
        let capped = view.capped(most, &count).clone();
        let names: Vec<&str> = capped.list.iter().map(|tool| tool["name"].as_str().unwrap()).collect();
        assert_eq!(names, listed, "{most}");
        assert_eq!(capped.left_out.iter().map(|name| &**name).collect::<Vec<_>>(), left_out, "{most}");
        assert_eq!((capped.tokens, capped.full_tokens), (tokens, 90), "{most}");
        for name in left_out {
            assert!(view.tool(name, None).is_some());
        }
    };
    check(90, &["f__a_big", "f__a_small", "f__b", "f__c", "f__z_first"], &[], 90);
    check(89, &["f__a_big", "f__a_small", "f__b", "f__z_first"], &["f__c"], 80);
    check(40, &["f__a_small", "f__b", "f__c", "f__z_first"], &["f__a_big"], 40);
    check(25, &["f__a_small", "f__z_first"], &["f__a_big", "f__b", "f__c"], 20);
    check(10, &["f__z_first"], &["f__a_big", "f__a_small", "f__b", "f__c"], 10);
    check(5, &[], &["f__a_big", "f__a_small", "f__b", "f__c", "f__z_first"], 0);
}

/// I7, R2: list and lookup agree, for tools, resources and prompts alike.
#[test]
fn an_agent_sees_and_finds_only_what_its_capabilities_cover() {
    let config = config(vec![upstream("f", "f")]);
    let listing = Listing {
        tools: tools(&["read_a", "read_b", "write"]).tools,
        resources: vec![json!({"uri": "file:///srv/docs/a"}), json!({"uri": "file:///etc/passwd"})],
        templates: vec![
            json!({"uriTemplate": "file:///srv/docs/{name}"}),
            json!({"uriTemplate": "db://{x}"}),
        ],
        prompts: vec![json!({"name": "p"}), json!({"name": "q"})],
        ..Listing::default()
    };
    let catalog = CatalogBuilder::default().build(&config, &[state("f", Health::Up, listing)]);
    let authority = Authority {
        capabilities: BTreeMap::from([
            capability("read", &["f__read_*"], &["file:///srv/docs/**"], &["f__p"]),
            capability("one", &["f__read_a"], &[], &[]),
        ]),
        ..Authority::default()
    };
    let view = View::new(&catalog, &authority, &agent(&["read", "one"]));
    let listed = |list: &Arc<Vec<Value>>, member: &str| -> Vec<String> {
        list.iter().map(|item| item[member].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(listed(&view.tool_list, "name"), ["f__read_a", "f__read_b"]);
    assert_eq!(listed(&view.resource_list, "uri"), ["file:///srv/docs/a"]);
    assert_eq!(listed(&view.template_list, "uriTemplate"), ["file:///srv/docs/{name}"]);
    assert_eq!(listed(&view.prompt_list, "name"), ["f__p"]);
    assert!(view.tool("f__write", None).is_none());
    assert!(view.prompt("f__q", None).is_none());
    let found = |uri: &str| Some(view.resource(uri, None).ok()??.1);
    assert_eq!(found("file:///srv/docs/a"), Some("file:///srv/docs/a".into()));
    assert_eq!(found("file:///srv/docs/new"), Some("file:///srv/docs/new".into()));
    assert_eq!(found("file:///srv/docs/../../etc/passwd"), None);
    assert_eq!(found("file:///srv/docs/%2e%2e/%2e%2e/etc/passwd"), None);
    assert_eq!(found("file:///etc/passwd"), None);
    let caps: Vec<String> =
        view.tool("f__read_a", None).unwrap().capabilities.iter().map(|c| c.to_string()).collect();
    assert_eq!(caps, ["read", "one"]);
    // A workflow narrows.
    let narrow = [CapabilityId::from("one")];
    assert!(view.tool("f__read_a", Some(&narrow)).is_some());
    assert!(view.tool("f__read_b", Some(&narrow)).is_none());
    assert!(view.resource("file:///srv/docs/a", Some(&narrow)).unwrap().is_none());
}

/// MCP Apps: two upstreams with one page; each tool's link leads to its own upstream's, in both spellings of the
/// link, where the page is listed and where a template stands for it; and nowhere where it has none, or the agent may not
/// read it.
#[test]
fn a_page_is_its_own_upstreams() {
    let config = config(vec![upstream("a", "a"), upstream("b", "b"), upstream("c", "c")]);
    let shows = |name: &str, page: &str| {
        let mut item = json!({"name": name, "inputSchema": {"type": "object"}});
        item["_meta"] = json!({"ui": {"resourceUri": page, "visibility": ["model"]}, "ui/resourceUri": page});
        item
    };
    let page = |uri: &str| json!({"uri": uri, "name": uri, "mimeType": "text/html;profile=mcp-app"});
    let template = |text: &str| json!({"uriTemplate": text, "name": text});
    let tool = |name: &str| json!({"name": name, "inputSchema": {"type": "object"}});
    let tools = vec![shows("board", "ui://app/board"), shows("item", "UI://app/items/7"), tool("plain")];
    let listing = |resources: Vec<Value>, templates: Vec<Value>| Listing {
        tools: tools.clone(),
        resources,
        templates,
        ..Listing::default()
    };
    let full = || listing(vec![page("ui://app/board")], vec![template("ui://app/items/{id}")]);
    let catalog = CatalogBuilder::default().build(
        &config,
        &[
            state("a", Health::Up, full()),
            state("b", Health::Up, full()),
            state("c", Health::Up, listing(vec![], vec![])),
        ],
    );
    let links = |resources: &str| -> Vec<(String, Value, Value)> {
        let capabilities = BTreeMap::from([capability("all", &["*"], &[resources], &[])]);
        let authority = Authority { capabilities, ..Authority::default() };
        let view = View::new(&catalog, &authority, &agent(&["all"]));
        let list = view.tool_list.iter().filter(|tool| tool.get("_meta").is_some());
        list.map(|tool| {
            let meta = &tool["_meta"];
            assert_eq!(meta["ui"]["visibility"], json!(["model"]));
            assert_eq!(meta["ui"]["resourceUri"], meta["ui/resourceUri"]);
            let link = meta["ui"]["resourceUri"].clone();
            let owner = link.as_str().map_or(Value::Null, |link| {
                let (covered, uri) = view.resource(link, None).unwrap().unwrap();
                json!([covered.entry.upstream, covered.entry.own_uri(&uri)])
            });
            (tool["name"].as_str().unwrap().to_owned(), link, owner)
        })
        .collect()
    };
    let row = |name: &str, link: Value, owner: Value| (name.to_owned(), link, owner);
    let of_a = [
        row("a__board", json!("ui://app/board"), json!(["a", "ui://app/board"])),
        row("a__item", json!("ui://app/items/7"), json!(["a", "ui://app/items/7"])),
    ];
    let of_b = [
        row("b__board", json!("ui://b+app/board"), json!(["b", "ui://app/board"])),
        row("b__item", json!("ui://b+app/items/7"), json!(["b", "ui://app/items/7"])),
    ];
    let none = |name: &str| row(name, Value::Null, Value::Null);
    let of_c = [none("c__board"), none("c__item")];
    assert_eq!(links("ui://**"), [&of_a[..], &of_b, &of_c].concat());
    // The link is withheld with its page.
    let without_a = [none("a__board"), none("a__item")];
    assert_eq!(links("ui://b+app/**"), [&without_a[..], &of_b, &of_c].concat());
    assert_eq!(links("file:///**"), [&without_a[..], &[none("b__board"), none("b__item")], &of_c].concat());
    let told: Vec<&String> =
        catalog.withheld.iter().filter(|told| told.contains("without its page")).collect();
    assert_eq!(told.len(), 2, "{:?}", catalog.withheld);
    assert!(told[0].contains("`c__board`") && told[0].contains("`ui://app/board`"), "{told:?}");
    // What a result names is its upstream's too.
    let result = || {
        json!({
            "content": [{"type": "resource", "resource": {"uri": "ui://app/board"}},
                {"type": "resource_link", "uri": "ui://app/items/9"}],
            "contents": [{"uri": "ui://app/items/9"}],
            "messages": [{"role": "user", "content": {"type": "resource_link", "uri": "ui://app/board"}}],
            "_meta": {"ui": {"resourceUri": "ui://app/board"}, "ui/resourceUri": "ui://app/items/9"},
        })
    };
    let mut of_b = result();
    catalog.alias_links(&"b".into(), &mut of_b);
    let expected = json!({
        "content": [{"type": "resource", "resource": {"uri": "ui://b+app/board"}},
            {"type": "resource_link", "uri": "ui://b+app/items/9"}],
        "contents": [{"uri": "ui://b+app/items/9"}],
        "messages": [{"role": "user", "content": {"type": "resource_link", "uri": "ui://b+app/board"}}],
        "_meta": {"ui": {"resourceUri": "ui://b+app/board"}, "ui/resourceUri": "ui://b+app/items/9"},
    });
    assert_eq!(of_b, expected);
    let mut of_a = result();
    catalog.alias_links(&"a".into(), &mut of_a);
    assert_eq!(of_a, result());
    let mut of_c = result();
    catalog.alias_links(&"c".into(), &mut of_c);
    assert_eq!(of_c["_meta"]["ui"], json!({}), "another's page is no page of this one");
}

/// What is pinned of the items that a catalog has seen.
pub(super) fn pinned(catalog: &Catalog) -> Arc<crate::pinning::Book> {
    let now = "2026-01-01T00:00:00Z".parse().unwrap();
    let observed: Vec<_> = catalog.seen.iter().map(|seen| seen.item.clone()).collect();
    let form = |item: &crate::pinning::Observed| {
        let seen = catalog.seen.iter().find(|seen| seen.item == *item).unwrap();
        seen.form()
    };
    let settings = |_: &UpstreamName| crate::pinning::PinSettings::default();
    let empty = crate::pinning::Book::default();
    let writes = crate::pinning::reconcile(&empty, &settings, &observed, &form, &str::to_owned, now);
    let entries: Vec<(String, Value)> = writes
        .into_iter()
        .flat_map(|writes| writes.entries)
        .filter_map(|write| Some((write.key, write.value?)))
        .collect();
    Arc::new(crate::pinning::Book::read(entries.iter().map(|(key, value)| (key.as_str(), 1, value))))
}

/// What is not as it was pinned is no part of what agents see, and is told apart from what is not there only in their scope.
#[test]
fn what_is_held_is_not_served_and_known_in_scope_alone() {
    use crate::{model::CallKind, pinning::HeldWhy};
    let config = config(vec![upstream("u", "u")]);
    let listing = |text: &str| Listing {
        tools: vec![json!({"name": "a", "description": text}), json!({"name": "b"})],
        prompts: vec![json!({"name": "p", "description": text})],
        templates: vec![json!({"uriTemplate": "doc:///{id}", "name": "d", "description": text})],
        resources: vec![json!({"uri": "file:///r", "name": "r", "description": text})],
        skills: Vec::new(),
    };
    let mut builder = CatalogBuilder::default();
    builder.pins = Some(Arc::default());
    let first = builder.build(&config, &[state("u", Health::Up, listing("A"))]);
    assert!(first.tools.is_empty() && first.held.tools["u__a"].1.is_none(), "not before the store has it");
    assert_eq!((first.resources.len(), first.held.resources.len()), (0, 1));
    builder.pins = Some(pinned(&first));
    let known = builder.build(&config, &[state("u", Health::Up, listing("A"))]);
    assert_eq!((names(&known), known.prompts.len(), known.templates.len()), (vec!["u__a", "u__b"], 1, 1));
    assert_eq!(known.resources.len(), 1);
    let changed = builder.build(&config, &[state("u", Health::Up, listing("B"))]);
    assert_eq!((names(&changed), changed.prompts.len(), changed.templates.len()), (vec!["u__b"], 0, 0));
    assert!(changed.resources.is_empty());
    assert!(changed.withheld.iter().any(|told| told.contains("tool `u__a` of upstream `u` is quarantined")));

    let mut map = Authority::default();
    map.capabilities.extend([
        capability("all", &["u__*"], &["**"], &["*"]),
        capability("b", &["u__b"], &["file:///**"], &[]),
    ]);
    let wide = View::new(&changed, &map, &agent(&["all"]));
    let narrow = View::new(&changed, &map, &agent(&["b"]));
    for (kind, name) in [
        (CallKind::Tool, "u__a"),
        (CallKind::Prompt, "u__p"),
        (CallKind::Resource, "doc:///7"),
        (CallKind::Resource, "file:///r"),
    ] {
        assert_eq!(wide.held(kind, name, None), Some(Some(HeldWhy::Changed)), "{name}");
        assert_eq!(wide.held(kind, name, Some(&[])), None, "a workflow without it");
        let in_scope = (name == "file:///r").then_some(Some(HeldWhy::Changed));
        assert_eq!(narrow.held(kind, name, None), in_scope, "{name}");
    }
    assert_eq!((wide.tool_list.len(), wide.prompt_list.len(), wide.template_list.len()), (1, 0, 0));
    assert_eq!(wide.resource("doc:///7", None).unwrap().map(|found| found.1), None);
    assert_eq!(wide.held(CallKind::Tool, "u__b", None), None);
    // A call under way goes on with its tool; nobody else's does.
    assert!(wide.tool_in_flight("u__a").is_some() && narrow.tool_in_flight("u__a").is_none());
    // Who starts nothing takes everything as pinned.
    let plain = CatalogBuilder::default().build(&config, &[state("u", Health::Up, listing("B"))]);
    assert_eq!(names(&plain), ["u__a", "u__b"]);
}

/// A newcomer that asks is kept as what it is, so that its decisions can be replayed.
#[test]
fn a_newcomer_that_asks_is_kept_so() {
    let mut asking = upstream("u", "u");
    asking.pins.new_items = crate::pinning::NewItems::Ask;
    let config = config(vec![asking]);
    let mut builder = CatalogBuilder::default();
    builder.pins = Some(Arc::default());
    let first = builder.build(&config, &[state("u", Health::Up, tools(&["a"]))]);
    builder.pins = Some(pinned(&first));
    let catalog = builder.build(&config, &[state("u", Health::Up, tools(&["a", "late"]))]);
    let facts = |name: &str| crate::evidence::ResolvedTool::read(&catalog.tools[name].resolved.body).unwrap();
    assert_eq!((facts("u__a").pinned, facts("u__a").unaccepted), (true, false));
    assert_eq!((facts("u__late").pinned, facts("u__late").unaccepted), (false, true));
    assert!(catalog.tools["u__late"].unaccepted);
    assert!(!catalog.tools["u__a"].resolved.body.contains("unaccepted"), "the others are written as before");
}
