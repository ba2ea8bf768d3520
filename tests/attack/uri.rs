//! Ways round rules about resources: one resource, spelled in every way that some parser takes for it.

use crate::world::{World, decision, plain};
use serde_json::{Value, json};
use tollgate::{
    gateway::Purpose,
    model::{CallKind, Uri},
};

/// An upstream that lists some resources as it likes to spell them, and has a template for everything.
fn upstream(method: &str, params: &Value) -> Result<Value, Value> {
    let uris = |member: &str, uris: &[&str]| -> Value {
        uris.iter().map(|uri| json!({member: uri, "name": uri})).collect()
    };
    Ok(match method {
        "resources/list" => json!({"resources": uris("uri", &[
            "FILE:///srv/pub/Listed One.md",
            "file:///srv/pub//odd%2Fname.md",
            "file:///srv/pub/what%3F.md",
            "file:///srv/pub/a%2520b.md",
            "file:///srv/dir/",
            "https://h.example/page?id=1#top",
            "postgres://reader@db.example:5432/t/schema",
            "memo:insights",
            "ui://widget/index.html",
            "file:///srv/pub/b;v=1.md",
        ])}),
        "resources/templates/list" => json!({"resourceTemplates": uris("uriTemplate", &[
            "https://h.example/find{?term,page}",
            "memo:note/{+name}",
            "note://{name}",
            "file:///{+path}",
            "https://{+rest}",
        ])}),
        "completion/complete" => json!({"completion": {"total": 9, "values": [
            "srv/pub/a.md", "srv/pub/b.env?.md", "srv/pub/b.env#.md", "srv/pub/../secret.md", "srv/pub/%2e%2e/x.md",
            "srv/pub//a.md", "srv/pub/x/a.md", "srv/pub/b%2Fa.md", "srv/pub/My Notes.md",
        ]}}),
        "resources/subscribe" | "resources/unsubscribe" => json!({}),
        _ => return plain(method, params),
    })
}

fn authority(resources: &str) -> String {
    format!(
        "capabilities:\n  some: {{ tools: [\"**\"], prompts: [\"**\"], resources: [{resources}] }}\nagents:\n  robot:\n    \
         type: worker\n    role: worker\n    tenant: acme\n    owner: team\n    operator: alice\n    workflow: wf-1\n    \
         capabilities: [some]\n    keys: [\"sha256:{}\"]\npeople:\n  alice: {{ keys: [\"sha256:{}\"], groups: [leads], \
         roles: [approver] }}\nworkflows:\n  wf-1: {{ owner: team, approval_sla: 15m }}\n",
        "1".repeat(64),
        "2".repeat(64)
    )
}

/// Everything, with any query and fragment.
const ALL: &str = "\"**\", \"**?**\", \"**#**\", \"**?**#**\"";

async fn world(resources: &str, policies: &[(&str, &str)]) -> World {
    let authority = authority(resources);
    let mut files = vec![("authority.yaml", authority.as_str())];
    files.extend(policies);
    World::new(&files, upstream).await
}

fn heard(world: &World) -> Vec<String> {
    let heard = std::mem::take(&mut *world.heard.lock());
    heard.iter().map(|(_, params)| params["uri"].as_str().unwrap_or_default().to_owned()).collect()
}

async fn read(world: &World, uri: &str) -> Result<Value, tollgate::model::RpcError> {
    world.call(world.incoming(CallKind::Resource, uri, None)).await
}

/// `file:///srv/secret.env`, as some parser or server reads it.
const SECRET: &[&str] = &[
    "file:///srv/secret.env",
    "FILE:///srv/secret.env",
    "File:///srv/secret.env",
    "file:/srv/secret.env",
    "file://localhost/srv/secret.env",
    "file://LocalHost/srv/secret.env",
    "file://127.0.0.1/srv/secret.env",
    "file://h.example/srv/secret.env",
    "file://user@localhost/srv/secret.env",
    "file://localhost:80/srv/secret.env",
    "file:////srv/secret.env",
    "file://///srv/secret.env",
    "file:///srv//secret.env",
    "file:///srv///secret.env",
    "file:///srv/./secret.env",
    "file:///srv/x/../secret.env",
    "file:///srv/pub/../secret.env",
    "file:///srv/x/y/../../secret.env",
    "file:///srv/%2e/secret.env",
    "file:///srv/x/%2e%2e/secret.env",
    "file:///srv/x/%2E./secret.env",
    "file:///srv/x/.%2e/secret.env",
    "file:///srv/x/%252e%252e/secret.env",
    "file:///srv/x/%25252525252e%25252525252e/secret.env",
    "file:///srv/x%2f..%2fsecret.env",
    "file:///srv%2fsecret.env",
    "file:///srv%252fsecret.env",
    "file:///srv%5csecret.env",
    "file:///srv\\secret.env",
    "file:\\\\\\srv\\secret.env",
    "file:///srv/x\\..\\secret.env",
    "file:///srv/%73ecret.env",
    "file:///srv/secret%2eenv",
    "file:///srv/secret%2Eenv",
    "file:///srv/secret.%65nv",
    "file:///%73%72%76/%73%65%63%72%65%74%2e%65%6e%76",
    "file:///srv/%2573ecret.env",
    "file:///srv/%252573ecret.env",
    "file:///srv/%%37%33ecret.env",
    "file:///srv/%u0073ecret.env",
    "file:///srv/%c1%b3ecret.env",
    "file:///srv/secret.env/",
    "file:///srv/secret.env/.",
    "file:///srv/secret.env//",
    "file:///srv/secret.env/x/..",
    "file:///srv/secret.env?",
    "file:///srv/secret.env#",
    "file:///srv/secret.env?#",
    "file:///srv/secret.env?a=b",
    "file:///srv/secret.env?.md",
    "file:///srv/secret.env#.md",
    "file:///srv/secret.env?x#y.md",
    "file:///srv/secret.env#x?y.md",
    "file:///srv/secret.env?/pub/a.md",
    "file:///srv/secret.env%3F.md",
    "file:///srv/secret.env%23.md",
    "file:///srv/secret.env%3f",
    "file:///srv/secret.env%00.md",
    "file:///srv/secret.env%0a",
    "file:///srv/secret.env%2500",
    "file:///srv/secret.env;x",
    "file:///srv/secret.env;.md",
    "file:///srv/secret.env%3b.md",
    "file:///srv/pub/..;/secret.env",
    "file:///srv/pub/..;x=y/secret.env",
    "file:///srv/sec\tret.env",
    "file:///srv/secret.env\n",
    "fi\nle:///srv/secret.env",
    " file:///srv/secret.env",
    "file:///srv/secret.env ",
    "\u{a0}file:///srv/secret.env",
    "file:///srv/../srv/secret.env",
    "file:///../srv/secret.env",
    "file:///pub/../../srv/secret.env",
    "file:srv/secret.env",
    "file:///srv/secret.env?/../secret.env",
    "file:///srv/pub/../secret.env?.md",
    "file:///srv/pub/../secret.env#.md",
    "FILE:///srv/%70ub/%2e%2e/secret.env?.md",
];

/// Whether the upstream was asked for something that is not plainly one of these, or a call got through.
async fn gets_nowhere(world: &World, uri: &str, words: &[&str]) {
    let reply = read(world, uri).await;
    assert_eq!(heard(world), [""; 0], "{uri:?}");
    assert!(reply.is_err(), "{uri:?}: {reply:?}");
    assert!(words.contains(&decision(&reply).as_str()), "{uri:?}: {reply:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_widens_a_capability() {
    assert!(SECRET.len() >= 60);
    let world = world("\"file:///srv/pub/*.md\"", &[]).await;
    for uri in SECRET {
        gets_nowhere(&world, uri, &["error -32002", "deny"]).await;
        // The same below the folder that is granted.
        let below = uri.replace("secret.env", "pub/secret.env");
        gets_nowhere(&world, &below, &["error -32002", "deny"]).await;
    }
    // What is granted goes through, and with nothing behind it.
    assert!(read(&world, "file:///srv/pub/a.md").await.is_ok());
    assert_eq!(heard(&world), ["file:///srv/pub/a.md"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_passes_a_rule_on_a_path() {
    let gate = "name: no-env\ndescription: d\non: [{ resource: \"**/*.env\" }]\nrules: [{ id: never, decision: DENY }]\n";
    let world = world(ALL, &[("a.yaml", gate)]).await;
    for uri in SECRET {
        gets_nowhere(&world, uri, &["deny"]).await;
    }
    assert_eq!(decision(&read(&world, "file:///srv/secret.envy").await), "allow");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_passes_a_condition_on_the_uri() {
    let gate = "name: no-env\ndescription: d\non: [{ resource: \"**\" }]\nrules:\n  - id: never\n    condition: \
                \"args.uri == 'file:///srv/secret.env' || args.uri.startsWith('file:///srv/secret.env?') || \
                args.uri.startsWith('file:///srv/secret.env#')\"\n    \
                decision: DENY\n";
    let world = world(ALL, &[("a.yaml", gate)]).await;
    for uri in SECRET {
        gets_nowhere(&world, uri, &["deny"]).await;
    }
}

/// Servers that drop the parameters of segments read what lies in the folder.
#[tokio::test(flavor = "multi_thread")]
async fn no_parameter_passes_a_condition_on_a_folder() {
    let gate = "name: no-keys\ndescription: d\non: [{ resource: \"**\" }]\nrules:\n  - id: never\n    condition: \
                \"args.uri.startsWith('file:///srv/keys/') || args.uri.startsWith('note://keys/')\"\n    \
                decision: DENY\n";
    let world = world(ALL, &[("a.yaml", gate)]).await;
    for uri in [
        "file:///srv/keys/k.pem",
        "file:///srv/keys;v=1/k.pem",
        "file:///srv;a/keys;b/k.pem;c",
        "file:///srv/keys%3bv=1/k.pem",
        "file:///srv/keys%253b/k.pem",
        "file:///srv/x;y/../keys;/k.pem?q#f",
        "note://keys;v=1/k",
    ] {
        gets_nowhere(&world, uri, &["deny"]).await;
    }
    assert!(read(&world, "file:///srv/keyless/k.pem").await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_about_a_query_holds_for_every_spelling_of_it() {
    let gate = "name: no-admins\ndescription: d\non: [{ resource: \"https://h.example/find?term=admin**\" }]\nrules: [{ id: \
                never, decision: DENY }]\n";
    let world = world("\"https://h.example/find?term=**\"", &[("a.yaml", gate)]).await;
    for uri in [
        "https://h.example/find?term=admin",
        "HTTPS://H.EXAMPLE:443/find?term=admin",
        "https://h.example/x/../find?term=%61dmin",
        "https://h.example/find?term=%61%64%6D%69n&page=2",
        "https://h.example/find?term=%2561dmin",
        "https://h.example./find?term=admin",
        "https://h.example/find/?term=admin",
    ] {
        gets_nowhere(&world, uri, &["deny"]).await;
    }
    for (uri, sent) in [
        ("https://h.example/find?term=x", "https://h.example/find?term=x"),
        ("https://h.example/find?term=a%20b", "https://h.example/find?term=a%20b"),
        (
            "https://h.example/find?term=C%2B%2B%26more&page=2",
            "https://h.example/find?term=C%2B%2B%26more&page=2",
        ),
        ("https://h.example/find?term=ä b", "https://h.example/find?term=%C3%A4%20b"),
        ("https://h.example/find?term=a%2fb", "https://h.example/find?term=a/b"),
    ] {
        let reply = read(&world, uri).await;
        assert!(reply.is_ok(), "{uri}: {reply:?}");
        assert_eq!(heard(&world), [sent]);
    }
    for uri in ["https://h.example/find", "https://h.example/find?page=2", "https://h.example/find?term=x#y"]
    {
        gets_nowhere(&world, uri, &["error -32002"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn honest_uris_go_upstream_listed_as_written_and_others_in_their_canonical_form() {
    let world = world("\"**\"", &[]).await;
    for (written, sent) in [
        // Listed: found by the canonical form, sent as the upstream wrote it.
        ("FILE:///srv/pub/Listed One.md", "FILE:///srv/pub/Listed One.md"),
        ("file:///srv/pub/Listed%20One.md", "FILE:///srv/pub/Listed One.md"),
        ("file:///srv/x/../pub/%4cisted%20One.md", "FILE:///srv/pub/Listed One.md"),
        ("file:///srv/pub//odd%2Fname.md", "file:///srv/pub//odd%2Fname.md"),
        ("file:///srv/pub/odd/name.md", "file:///srv/pub//odd%2Fname.md"),
        ("file:///srv/pub/what%3f.md", "file:///srv/pub/what%3F.md"),
        ("file:///srv/pub/a%2520b.md", "file:///srv/pub/a%2520b.md"),
        ("file:///srv/dir/", "file:///srv/dir/"),
        ("file:///srv/dir", "file:///srv/dir/"),
        ("https://h.example/page?id=1#top", "https://h.example/page?id=1#top"),
        ("HTTPS://h.example:443/page?id=%31#top", "https://h.example/page?id=1#top"),
        ("postgres://reader@db.example:5432/t/schema", "postgres://reader@db.example:5432/t/schema"),
        ("postgres://reader@DB.example:5432/t/schema", "postgres://reader@db.example:5432/t/schema"),
        ("memo:insights", "memo:insights"),
        ("MEMO:insights", "memo:insights"),
        ("ui://widget/index.html", "ui://widget/index.html"),
        ("file:///srv/pub/b%3Bv=1.md", "file:///srv/pub/b;v=1.md"),
        // What a template stands for.
        ("file:///srv/a b/ä.md", "file:///srv/a%20b/%C3%A4.md"),
        ("file:///srv/a%20b/%c3%a4.md", "file:///srv/a%20b/%C3%A4.md"),
        ("file:///srv/100%25.md", "file:///srv/100%25.md"),
        ("file:///srv/a@b+c,d.md", "file:///srv/a@b+c,d.md"),
        ("file:///srv/a%40b%2Bc.md", "file:///srv/a@b+c.md"),
        ("memo:note/x", "memo:note/x"),
        ("note://today", "note://today"),
        ("https://h.example", "https://h.example/"),
        ("https://h.example/a/./b/", "https://h.example/a/b"),
    ] {
        let reply = read(&world, written).await;
        let sent_now = heard(&world);
        assert_eq!(sent_now, [sent], "{written}: {reply:?}");
        // What comes back is the upstream's own.
        assert_eq!(reply.unwrap()["contents"][0]["uri"], sent, "{written}");
    }
    // Nobody listed these queries, and `**` grants none.
    for uri in ["https://h.example/page?id=2", "https://h.example/page?id=1", "https://h.example/find?term=x"]
    {
        gets_nowhere(&world, uri, &["error -32002"]).await;
    }
    // Where one form is plainly meant, the refusal names it.
    for (uri, form) in [
        ("file:///srv//a.md", "file:///srv/a.md"),
        ("file:///srv/a%2Fb.md", "file:///srv/a/b.md"),
        ("file:///srv/%2561.md", "file:///srv/a.md"),
        ("file:///srv/private;v=1/k.pem", "file:///srv/private/k.pem"),
        ("https://alice:secret@h.example/a", "https://h.example/a"),
    ] {
        let error = read(&world, uri).await.unwrap_err();
        assert!(error.message.contains(&format!("its canonical form is `{form}`")), "{error:?}");
        assert_eq!(error.data.unwrap()["tollgate/decision"]["policy_id"], "uri");
    }
    assert_eq!(world.reached(), 0);
    let written = world.written().await;
    assert!(
        written.contains("file:///srv/a%20b/%C3%A4.md") && !written.contains("file:///srv/a b"),
        "{written}"
    );
}

/// Two spellings are one call, and what is dispatched is what was approved.
#[tokio::test(flavor = "multi_thread")]
async fn an_approval_is_of_the_canonical_uri() {
    let gate = "name: ask\ndescription: d\non: [{ resource: \"file:///srv/**\" }]\nrules:\n  - id: r\n    decision: \
                REQUIRE_APPROVAL\n    approvers: [leads]\n";
    let world = world(ALL, &[("a.yaml", gate)]).await;
    for uri in ["FILE:///srv/x/../%61 b.md", "file:///srv/a%20b.md", "file:///srv/./a b.md/"] {
        assert_eq!(decision(&read(&world, uri).await), "pending_approval", "{uri}");
    }
    let records = world.approvals().await;
    assert_eq!(records.len(), 1, "{records:?}");
    let shown = serde_json::to_string(&records).unwrap();
    assert!(shown.contains("file:///srv/a%20b.md") && !shown.contains(".."), "{shown}");
    world.approve(&records[0].id, "alice").await;
    // Another query or path is another call.
    assert_eq!(decision(&read(&world, "file:///srv/a%20b.md?x").await), "pending_approval");
    assert!(heard(&world).is_empty());
    assert_eq!(decision(&read(&world, "file:///srv/%61%20b.md").await), "allow");
    assert_eq!(heard(&world), ["file:///srv/a%20b.md"]);
    assert_eq!(decision(&read(&world, "file:///srv/a%20b.md").await), "pending_approval");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_uri_is_read_in_its_canonical_form_and_judged_again() {
    let gate = |name: &str, to: &str| {
        format!(
            "name: {name}\ndescription: d\non: [{{ resource: \"file:///srv/{name}\" }}]\nrules:\n  - id: r\n    decision: \
             ALLOW_WITH_CONSTRAINTS\n    constraints: {{ arguments: {{ set: {{ uri: \"{to}\" }} }} }}\n"
        )
    };
    let remedy = "name: m\ndescription: d\non: [{ resource: \"file:///srv/m\" }]\nrules:\n  - id: r\n    decision: REMEDIATE\n    \
                  remediation: { mode: apply, set: { uri: \"FILE:///srv/safe/../Other One\" }, reason: r }\n";
    let never = "name: never\ndescription: d\non: [{ resource: \"**/*.env\" }]\nrules: [{ id: never, decision: DENY }]\n";
    let (same, other, secret, unclear) = (
        gate("same", "FILE:///srv/./same"),
        gate("other", "FILE:///srv/x/../Other One"),
        gate("secret", "file:///srv/x/%2e%2e/secret.env?x"),
        gate("unclear", "file:///srv//secret.env"),
    );
    let world = world(
        ALL,
        &[
            ("a.yaml", &same),
            ("b.yaml", &other),
            ("c.yaml", &secret),
            ("d.yaml", &unclear),
            ("e.yaml", remedy),
            ("f.yaml", never),
        ],
    )
    .await;
    for (uri, sent) in [
        ("file:///srv/same", "file:///srv/same"),
        ("file:///srv/other", "file:///srv/Other%20One"),
        ("file:///srv/m", "file:///srv/Other%20One"),
    ] {
        let reply = read(&world, uri).await;
        assert_eq!(heard(&world), [sent], "{reply:?}");
    }
    for uri in ["file:///srv/secret", "file:///srv/unclear"] {
        gets_nowhere(&world, uri, &["deny"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_watched_is_what_was_matched() {
    let gate = "name: no-env\ndescription: d\non: [{ resource: \"**/*.env\" }]\nrules: [{ id: never, decision: DENY }]\n";
    let world = world("\"file:///srv/**\", \"https://**\"", &[("a.yaml", gate)]).await;
    let mut open = Vec::new();
    for (uri, sent) in [
        ("FILE:///srv/x/../%61 b.md", "file:///srv/a%20b.md"),
        ("file:///srv/pub/Listed%20One.md", "FILE:///srv/pub/Listed One.md"),
    ] {
        let news = world.gateway.watch(world.incoming(CallKind::Resource, uri, None)).await;
        open.push(news.unwrap_or_else(|error| panic!("{uri}: {error:?}")));
        assert_eq!(heard(&world), [sent]);
    }
    for uri in SECRET {
        let news = world.gateway.watch(world.incoming(CallKind::Resource, uri, None)).await;
        assert!(news.is_err(), "{uri:?}");
        assert_eq!(heard(&world), [""; 0], "{uri:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_completion_leads_to_nothing_that_cannot_be_read() {
    let world = world("\"file:///srv/pub/*.md\"", &[]).await;
    let mut call = world.incoming(CallKind::Resource, "file:///{+path}", Some(json!({"path": "srv/"})));
    call.purpose = Purpose::Complete { argument: "path".to_owned() };
    let result = world.call(call).await.unwrap();
    assert_eq!(result, json!({"completion": {"values": ["srv/pub/a.md", "srv/pub/My Notes.md"]}}));
}

/// A masked URI would be another resource than the one that was decided.
#[tokio::test(flavor = "multi_thread")]
async fn data_rules_do_not_turn_one_resource_into_another() {
    let data = "rules:\n  - { id: secrets, detectors: [\"*\"], arguments: drop }\n";
    let world = world("\"**\"", &[("data.yaml", data)]).await;
    let reply = read(&world, "file:///srv/AKIAIOSFODNN7EXAMPLQ../secret").await;
    assert_eq!(heard(&world), [""; 0]);
    assert_eq!(decision(&reply), "deny", "{reply:?}");
    assert_eq!(decision(&read(&world, "file:///srv/plain").await), "allow");
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_refuse_urls_and_paths_that_two_parsers_read_differently() {
    let hosts = "name: hosts\ndescription: d\non: [{ tool: up__act }]\nrules:\n  - id: evil\n    condition: \"has(args.url) && \
                 host(args.url) != 'good.example'\"\n    decision: DENY\n";
    let paths = "name: paths\ndescription: d\non: [{ tool: up__act }]\nrules:\n  - id: secret\n    condition: \"has(args.path) \
                 && within(args.path, '/srv/secret')\"\n    decision: DENY\n";
    let world = world(ALL, &[("a.yaml", hosts), ("b.yaml", paths)]).await;
    for url in [
        "http://good.example\\@evil.example/",
        "http://evil.example\\@good.example/",
        "http://good.example%40evil.example/",
        "http://evil.example%00.good.example/",
        "http://evil.example%2f@good.example/",
        "http://a@evil.example@good.example/",
        "http:good.example",
        "http:///good.example/",
        "http:\\\\good.example",
        "//good.example/",
        "http://ｇood.example/",
        "http://good。example/",
        "http://good.example../",
        "http://go\tod.example/",
        "http://good.example\n",
        " http://good.example",
        "http://good.example:80:443/",
        "http://evil.example?@good.example/",
        "http://evil.example#@good.example/",
    ] {
        assert_eq!(decision(&world.tool("up__act", json!({"url": url})).await), "deny", "{url:?}");
    }
    for url in [
        "http://good.example/",
        "HTTPS://GOOD.example.:443/a?u=http://evil.example/#x",
        "https://me@good.example/",
    ] {
        assert_eq!(decision(&world.tool("up__act", json!({"url": url})).await), "allow", "{url:?}");
    }
    for path in [
        "/srv/secret",
        "/srv//secret/x",
        "/srv/x/../secret/x",
        "/../srv/secret/x",
        "/srv/%73ecret/x",
        "/srv/%2573ecret/x",
        "/srv/x/%252525252e%252525252e/secret",
        "/srv/%2525252525252525252573ecret",
        "/srv/x\\..\\secret",
        "/srv/x%5c..%5csecret",
        "/srv%2fsecret/x",
        "/srv/secret%00",
    ] {
        assert_eq!(decision(&world.tool("up__act", json!({"path": path})).await), "deny", "{path:?}");
    }
    for path in ["/srv/public/a b%20c", "/srv/secretary", "/srv/100%"] {
        assert_eq!(decision(&world.tool("up__act", json!({"path": path})).await), "allow", "{path:?}");
    }
}

/// Names are no URIs: they are there as they are written, or not at all.
#[tokio::test(flavor = "multi_thread")]
async fn names_have_one_spelling() {
    let gate =
        "name: no-act\ndescription: d\non: [{ tool: up__act }]\nrules: [{ id: never, decision: DENY }]\n";
    let world = world(ALL, &[("a.yaml", gate)]).await;
    for name in [
        "up__act ",
        " up__act",
        "UP__act",
        "up__Act",
        "up__%61ct",
        "up__act\u{200b}",
        "ｕp__act",
        "up__act\0",
        "up__./act",
    ] {
        assert_eq!(decision(&world.tool(name, json!({})).await), "error -32602", "{name:?}");
    }
    assert_eq!(decision(&world.tool("up__act", json!({})).await), "deny");
    assert_eq!(world.reached(), 0);
}

/// Whatever an agent writes: what the upstream is asked for is listed so, or is its own canonical form.
#[tokio::test(flavor = "multi_thread")]
async fn what_goes_upstream_is_read_as_what_was_matched() {
    let world = world(ALL, &[]).await;
    for uri in SECRET {
        let reply = read(&world, uri).await;
        for sent in heard(&world) {
            let again = Uri::parse(&sent).unwrap();
            assert!(again.doubt().is_none() && again.as_str() == sent, "{uri:?} was sent as {sent:?}");
            assert!(sent.starts_with("file:///srv/secret.env"), "{uri:?} was sent as {sent:?}: {reply:?}");
        }
    }
}
