//! The person behind an agent: a second principal in scope, decision, budget and record.

use crate::{
    harness::*,
    tokens::{AUDIENCE, Door, ISSUER, file_of},
};
use serde_json::{Value, json};
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tollgate::{
    clock::Clock as _,
    identity::{AuthError, Principal, still_valid},
    model::PersonId,
};

/// `ada` may read and write, `scout` and `carol` may read; `dan` may nothing, and nothing bounds `bob`.
fn authority() -> String {
    let text = crate::harness::authority()
        .replace("  all: {", "  writing: { tools: [\"up__write\", \"up__pay\"] }\n  all: {")
        .replace("  alice: {", "  alice: { capabilities: [reading, writing],")
        .replace("  carol: {", "  carol: { capabilities: [reading],")
        .replace("  dan:   {", "  dan:   { capabilities: [],");
    let lines = text.lines().map(|line| match line.trim_start().split(':').next() {
        Some("ada") => line.replace("[all]", "[reading, writing]"),
        Some("scout") => line.replace("[all]", "[reading]").replace("autonomy: suggest_only, ", ""),
        _ => line.to_owned(),
    });
    format!("=== authority.yaml\n{}\n", lines.collect::<Vec<_>>().join("\n"))
}

/// A gateway that takes the tokens of one issuer, with more bundle files.
struct Behind {
    world: World,
    key: SigningKey,
    _folder: tempfile::TempDir,
}

impl Behind {
    async fn start(files: &str) -> Self {
        let key = SigningKey::new("k1");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jwks.json");
        std::fs::write(&path, set(&[&key]).to_string()).unwrap();
        let servers = format!(
            "[auth]\njwt = {{ issuer = \"{ISSUER}\", audience = \"{AUDIENCE}\", jwks_file = \"{}\", \
             agent_claim = \"client_id\", user_claim = \"sub\" }}\n",
            path.display()
        );
        let files = format!("{}{files}", authority());
        let world = World::start(Setup { files, servers, ..Setup::default() }).await;
        Self { world, key, _folder: folder }
    }

    fn token(&self, agent: &str, user: &str, more: &Value) -> String {
        let now = tollgate::clock::System::default().now().as_second();
        let mut claims =
            json!({"iss": ISSUER, "aud": AUDIENCE, "sub": user, "client_id": agent, "exp": now + 600});
        claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.key.token(&claims)
    }

    /// A client of an agent that acts for somebody.
    fn for_user(&self, agent: &str, user: &str) -> Client {
        self.with(agent, user, &json!({}))
    }

    fn with(&self, agent: &str, user: &str, more: &Value) -> Client {
        let mut client = self.world.bare(agent);
        client.key = self.token(agent, user, more);
        client
    }
}

const PATH: fn() -> Value = || json!({"path": "/a"});

/// R84: an agent may for somebody what both may, in lists and in calls; what is left out is not there (I7). Records name both.
#[tokio::test]
async fn scope_is_what_agent_and_person_share() {
    let behind = Behind::start("").await;
    let (reading, both) = (["up__read"], ["up__pay", "up__read", "up__write"]);
    for (agent, user, expect) in [
        ("ada", "bob", &both[..]),
        ("ada", "alice", &both),
        ("ada", "carol", &reading),
        ("ada", "dan", &[]),
        ("scout", "bob", &reading),
        ("scout", "alice", &reading),
        // A person's capabilities add nothing.
        ("narrow", "alice", &reading),
        // A token that the agent got for itself: nobody but its operator, alice.
        ("ada", "ada", &both),
    ] {
        for client in [behind.for_user(agent, user), behind.for_user(agent, user).session().await] {
            let mut tools = client.tools().await;
            tools.sort();
            assert_eq!(tools, expect, "{agent} for {user}");
        }
    }
    let carols = behind.for_user("ada", "carol");
    let before = behind.world.up.count();
    let hidden = carols.call("up__write", PATH()).await;
    let absent = carols.call("up__nothing", PATH()).await;
    assert_eq!(hidden.error()["code"], absent.error()["code"]);
    assert_eq!(behind.world.up.count(), before);
    let refused = behind.world.last_decision().await.draft;
    assert_eq!((refused.agent_id.as_deref(), refused.user.as_deref()), (Some("ada"), Some("carol")));

    carols.call("up__read", PATH()).await.ok();
    let settled = behind.world.last_settled().await;
    let decided = behind.world.last_decision().await.draft;
    for record in [&settled, &decided] {
        assert_eq!(record.user.as_deref(), Some("carol"));
        assert_eq!(record.operator.as_deref(), Some("alice"), "the operator is another matter");
    }
    // The page and the API say so too.
    let (_, found) = behind.world.api("bob", "events?user=carol&limit=50", None).await;
    let users: Vec<_> =
        found["events"].as_array().unwrap().iter().map(|event| event["user"].clone()).collect();
    assert!(users.len() >= 3 && users.iter().all(|user| *user == json!("carol")), "{users:?}");
    // With a key, the operator is who it is for, and bounds it.
    assert_eq!(behind.world.modern("ada").tools().await.len(), 3);
}

/// What an agent says of its user counts for nothing, wherever it says it.
#[tokio::test]
async fn an_agent_cannot_say_for_whom_it_acts() {
    let behind = Behind::start("").await;
    let claimed = behind
        .for_user("ada", "carol")
        .header("x-user", "bob")
        .header("x-forwarded-user", "bob")
        .header("tollgate-user", "bob");
    let meta = json!({"user": "bob", "tollgate/user": "bob", "tollgate/user_id": "bob"});
    for tool in ["up__write", "up__read"] {
        let params =
            json!({"name": tool, "arguments": {"path": "/a", "user": "bob"}, "user": "bob", "_meta": meta});
        let reply = claimed.request("tools/call", params).await;
        assert_eq!(reply.body["result"].is_object(), tool == "up__read", "{:#}", reply.body);
        assert_eq!(behind.world.last_decision().await.draft.user.as_deref(), Some("carol"));
    }
}

/// Budgets of scope `user` count across agents, and for each person by itself.
#[tokio::test]
async fn a_budget_is_the_persons() {
    let files = "=== budgets.yaml\nbudgets:\n  - { id: cap, scope: user, window: day, max_calls: 1, on_exceed: deny }\n";
    let behind = Behind::start(files).await;
    let call = async |agent: &str, user: &str| behind.for_user(agent, user).call("up__read", PATH()).await;
    call("ada", "bob").await.ok();
    call("ada", "carol").await.ok();
    assert_eq!(call("scout", "bob").await.decision()["policy_id"], "cap");
    assert_eq!(call("ada", "carol").await.decision()["policy_id"], "cap");
    call("scout", "alice").await.ok();
}

/// Rules read the person and their groups, and what they decided is decided again from the record.
#[tokio::test]
async fn rules_know_the_person() {
    let files = "=== people.yaml
name: people
description: Whose calls they are
on: [{ tool: up__* }]
rules:
  - { id: nobody, condition: \"user == null\", decision: DENY, reason: nobody }
  - { id: security, condition: \"'security' in user.groups\", decision: DENY, reason: security }
  - { id: carol, condition: \"user.id == 'carol' && has(user.id)\", decision: DENY, reason: carol }
";
    let behind = Behind::start(files).await;
    for (agent, user, rule) in [
        ("ada", "bob", Some("security")),
        ("ada", "carol", Some("carol")),
        ("ada", "alice", None),
        ("scout", "scout", Some("nobody")),
    ] {
        let reply = behind.for_user(agent, user).call("up__read", PATH()).await;
        match rule {
            Some(rule) => assert_eq!(reply.decision()["rule_id"], rule),
            None => drop(reply.ok()),
        }
    }
}

/// An approval is for the person whose call was asked about, and so is a session.
#[tokio::test]
async fn what_is_one_persons_is_nobody_elses() {
    let files = "=== ask.yaml
name: writes
description: A person agrees
on: [{ tool: up__write }]
rules: [{ id: ask, decision: REQUIRE_APPROVAL, approvers: [leads], expires_in: 10m }]
";
    let behind = Behind::start(files).await;
    let asked = pending(&behind.for_user("ada", "bob").call("up__write", PATH()).await);
    assert_eq!(behind.world.decide("carol", &asked, "approve").await, 200);
    let other = pending(&behind.for_user("ada", "alice").call("up__write", PATH()).await);
    assert_ne!(other, asked);
    behind.for_user("ada", "bob").call("up__write", PATH()).await.ok();
    let (_, shown) = behind.world.api("carol", &format!("approvals/{asked}"), None).await;
    assert_eq!(shown["user"], "bob");

    let session = behind.for_user("ada", "bob").session().await;
    let mut stolen = session.clone();
    stolen.key = behind.token("ada", "alice", &json!({}));
    let body = stolen.body("tools/list", json!({}));
    assert_eq!(soon(stolen.post(&body).send()).await.unwrap().status(), 404);
    assert_eq!(soon(session.post(&body).send()).await.unwrap().status(), 200);
}

/// Somebody who is taken out of the authority map takes the agent's sessions for them along, at the next message.
#[tokio::test]
async fn somebody_who_is_gone_ends_what_is_done_for_them() {
    let behind = Behind::start("").await;
    let session = behind.for_user("ada", "carol").session().await;
    session.call("up__read", PATH()).await.ok();
    let without =
        authority().lines().filter(|line| !line.starts_with("  carol:")).collect::<Vec<_>>().join("\n");
    behind.world.reload(&without).await;
    let body = session.body("tools/call", json!({"name": "up__read", "arguments": PATH()}));
    assert_eq!(soon(session.post(&body).send()).await.unwrap().status(), 401);
    behind.for_user("ada", "bob").call("up__read", PATH()).await.ok();
}

/// R84: work that was handed on from agent to agent gets no more than each of them has; the chain is on record.
#[tokio::test]
async fn a_chain_of_actors_is_recorded_and_never_widens() {
    let behind = Behind::start("").await;
    let chain = |actors: &[&str]| {
        let inner = actors.iter().rev().fold(Value::Null, |inner, actor| match inner {
            Value::Null => json!({"sub": actor}),
            inner => json!({"sub": actor, "act": inner, "iss": ISSUER}),
        });
        json!({"act": inner})
    };
    let tools = async |actors: &[&str]| behind.with("ada", "bob", &chain(actors)).tools().await.len();
    assert_eq!(tools(&["ada"]).await, 3, "itself");
    assert_eq!(tools(&["ada", "https://elsewhere.example"]).await, 3, "whom nobody here knows");
    assert_eq!(tools(&["ada", "scout"]).await, 1, "handed on by one that may only read");
    assert_eq!(tools(&["scout", "ada"]).await, 1);
    assert_eq!(tools(&["ada", "carol"]).await, 1, "a person is bounded by their own");
    assert_eq!(tools(&["ada", "dan"]).await, 0);

    let handed = behind.with("ada", "bob", &chain(&["ada", "scout"]));
    handed.call("up__write", PATH()).await.error();
    handed.call("up__read", PATH()).await.ok();
    let decided = behind.world.last_decision().await.draft;
    assert_eq!(decided.detail.unwrap()["actors"], json!(["ada", "scout"]));
    let events = behind.world.events().await;
    let refused = events.iter().filter_map(|e| e.draft.detail.as_ref()?.get("actors")).count();
    assert!(refused >= 3, "{refused}: start, refusal and decision name them");

    let deepest: Vec<&str> = ["ada"; 8].to_vec();
    assert_eq!(tools(&deepest).await, 3);
    for act in [
        chain(&["ada"; 9]),
        json!({"act": "ada"}),
        json!({"act": {"sub": ["ada"]}}),
        json!({"act": {"iss": ISSUER}}),
        json!({"act": {"sub": "ada", "act": null}}),
        json!({"act": {"sub": "a".repeat(257)}}),
    ] {
        let client = behind.with("ada", "bob", &act);
        let body = client.body("tools/list", json!({}));
        assert_eq!(soon(client.post(&body).send()).await.unwrap().status(), 401, "{act}");
    }
}

/// A token that names somebody unknown, or nobody in words, opens nothing; claims may lie deeper.
#[tokio::test]
async fn somebody_unknown_opens_nothing() {
    let key = SigningKey::new("k1");
    let door = || {
        let (folder, source) = file_of(&[&key]);
        let mut door = Door::new(source, &[]);
        door.rules(|rules| {
            rules.agent_claim = "act.sub".to_owned();
            rules.user_claim = Some("sub".to_owned());
        });
        (folder, door)
    };
    let check = async |change: &dyn Fn(&mut Value), expect: Result<&str, AuthError>| {
        let (_folder, door) = door();
        let token = key.token(&door.with(|claims| {
            claims["act"] = json!({"sub": "ada"});
            claims["sub"] = json!("alice");
            change(claims);
        }));
        assert_eq!(door.name(&token).await, expect.map(str::to_owned));
        // Remembered, it is the same.
        if expect.is_ok() {
            assert_eq!(door.name(&token).await, expect.map(str::to_owned));
        }
    };
    check(&|_| {}, Ok("agent:ada for alice")).await;
    check(&|c| drop(c.as_object_mut().unwrap().remove("sub")), Ok("agent:ada")).await;
    check(&|c| c["sub"] = json!("ada"), Ok("agent:ada")).await;
    check(&|c| c["sub"] = json!("mallory"), Err(AuthError::Unknown)).await;
    check(&|c| c["sub"] = json!("eve"), Err(AuthError::Unknown)).await;
    check(&|c| c["sub"] = json!(""), Err(AuthError::Unknown)).await;
    check(&|c| c["sub"] = json!(["alice"]), Err(AuthError::Unknown)).await;
    check(&|c| c["sub"] = Value::Null, Err(AuthError::Unknown)).await;
    check(&|c| c["act"] = json!({"sub": 7}), Err(AuthError::Unknown)).await;
    check(&|c| drop(c.as_object_mut().unwrap().remove("act")), Err(AuthError::Unknown)).await;
    // A claim of the very name comes before a path.
    check(&|c| c["act.sub"] = json!("eve"), Ok("agent:eve for alice")).await;

    // Where a person comes to have the agent's name, a token that is remembered says so.
    let (_folder, mut door) = door();
    let token = key.token(&door.with(|claims| {
        claims["act"] = json!({"sub": "ada"});
        claims["sub"] = json!("ada");
    }));
    assert_eq!(door.name(&token).await.as_deref(), Ok("agent:ada"));
    let mut person = door.authority.people[&PersonId::from("alice")].clone();
    person.id = "ada".into();
    door.authority.people.insert(person.id.clone(), person);
    assert_eq!(door.name(&token).await.as_deref(), Ok("agent:ada for ada"));
    let principal = door.enter(&token).await.unwrap();
    assert!(matches!(&principal, Principal::Agent(agent) if agent.delegation.is_some()));
    door.authority.people.remove(&PersonId::from("ada"));
    assert!(!still_valid(&door.authority, &door.auth, door.clock.now(), &principal));
}

/// Over stdio the process that starts the front says for whom: `--user`.
#[tokio::test]
async fn stdio_takes_the_user_from_who_starts_it() {
    let files = Files::of(Setup { files: authority(), ..Setup::default() }).await;
    let path = files.dir.join("servers.toml");
    let start = |user: &str| {
        tokio::process::Command::new(env!("CARGO_BIN_EXE_tollgate"))
            .args(["stdio", "--agent", "ada", "--user", user, "--config"])
            .arg(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    };
    let mut child = start("carol");
    let (mut input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut output = BufReader::new(output).lines();
    let mut ask = async |id: u32, method: &str, mut params: Value| {
        params["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
        });
        let line = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string() + "\n";
        input.write_all(line.as_bytes()).await.unwrap();
        let reply = soon(output.next_line()).await.unwrap().expect("it ended");
        serde_json::from_str::<Value>(&reply).unwrap()
    };
    let listed = ask(1, "tools/list", json!({})).await;
    let names: Vec<_> =
        listed["result"]["tools"].as_array().unwrap().iter().map(|t| t["name"].clone()).collect();
    assert_eq!(names, ["up__read"]);
    let called = ask(2, "tools/call", json!({"name": "up__read", "arguments": PATH()})).await;
    assert!(called["result"].is_object(), "{called:#}");
    drop(input);
    assert!(soon(child.wait()).await.unwrap().success());
    let (_child, said) = files.command(&["audit", "query", "--user", "carol", "--json"]);
    said.until_end().await;
    assert!(said.text().contains("\"carol\""), "{}", said.text());

    let ended = soon(start("mallory").wait_with_output()).await.unwrap();
    assert!(!ended.status.success());
    let told = String::from_utf8(ended.stderr).unwrap();
    assert!(told.contains("no person `mallory`") || told.contains("person `mallory`"), "{told}");
}
