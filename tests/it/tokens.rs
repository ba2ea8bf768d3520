//! Access tokens in place of keys: whose count, what they grant, and how a client learns of them.

use crate::harness::*;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};
use tollgate::{
    clock::{Clock, Fake},
    config::{AuthConfig, JwksSource, JwtConfig},
    identity::{AuthError, Doorkeeper, Keyring, Presented, Principal, still_valid},
    model::AgentId,
    policy::Authority,
};

pub(crate) const ISSUER: &str = "https://login.example";
pub(crate) const AUDIENCE: &str = "https://gate.example/mcp";
const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A door that knows the agents of the default bundle.
pub(crate) struct Door {
    door: Doorkeeper,
    pub(crate) clock: Arc<Fake>,
    pub(crate) authority: Authority,
    pub(crate) auth: AuthConfig,
}

impl Door {
    pub(crate) fn new(keys: JwksSource, scopes: &[(&str, &[&str])]) -> Self {
        let clock = Fake::at("2026-01-01T00:00:00Z".parse().unwrap());
        let scope_map: BTreeMap<_, Vec<_>> = scopes
            .iter()
            .map(|(scope, granted)| ((*scope).to_owned(), granted.iter().map(|c| (*c).into()).collect()))
            .collect();
        let jwt = JwtConfig {
            issuer: ISSUER.to_owned(),
            audience: vec!["other".to_owned(), AUDIENCE.to_owned()],
            keys,
            agent_claim: "client_id".to_owned(),
            user_claim: None,
            dpop_required: false,
            exchanged: false,
            scope_map,
        };
        let auth = AuthConfig { anonymous_agent: None, jwt: Some(Arc::new(jwt)) };
        Self { door: Doorkeeper::new(clock.clone()), clock, authority: agents(), auth }
    }

    /// Changes what tokens are held against.
    pub(crate) fn rules(&mut self, change: impl FnOnce(&mut JwtConfig)) {
        let mut rules = JwtConfig::clone(self.auth.jwt.as_ref().unwrap());
        change(&mut rules);
        self.auth.jwt = Some(Arc::new(rules));
    }

    pub(crate) async fn enter(&self, token: &str) -> Result<Principal, AuthError> {
        let header = format!("Bearer {token}");
        self.present(&Presented::header(Some(header.as_bytes()))).await
    }

    /// The same with what else a request brings.
    pub(crate) async fn present(&self, presented: &Presented<'_>) -> Result<Principal, AuthError> {
        let keyring = Keyring::of(&self.authority);
        match self.door.authenticate(&keyring, &self.authority, &self.auth, PEER, presented) {
            Err(AuthError::Unverified) => {
                self.door.verify(&keyring, &self.authority, &self.auth, PEER, presented).await
            }
            known => known,
        }
    }

    /// Who entered, or why nobody did.
    pub(crate) async fn name(&self, token: &str) -> Result<String, AuthError> {
        self.enter(token).await.map(|principal| principal.key())
    }

    pub(crate) fn claims(&self) -> Value {
        let now = self.clock.now().as_second();
        json!({"iss": ISSUER, "aud": AUDIENCE, "client_id": "ada", "sub": "x", "iat": now, "exp": now + 600})
    }

    pub(crate) fn with(&self, change: impl FnOnce(&mut Value)) -> Value {
        let mut claims = self.claims();
        change(&mut claims);
        claims
    }
}

fn agents() -> Authority {
    let file = tollgate::policy::SourceFile { name: "authority.yaml".to_owned(), text: authority() };
    let bundle = tollgate::policy::SourceFile {
        name: "bundle.yaml".to_owned(),
        text: "version: \"1\"\nowner: tests\ndefault_decision: ALLOW\ndefault_approvers: [leads]\n"
            .to_owned(),
    };
    let input = tollgate::policy::CompileInput {
        environment: "test".into(),
        servers_digest_material: Vec::new(),
        known: tollgate::policy::KnownNames::default(),
    };
    let (set, problems) = tollgate::policy::compile(&[bundle, file], &input);
    set.unwrap_or_else(|| panic!("{problems:?}")).authority
}

pub(crate) fn file_of(keys: &[&SigningKey]) -> (tempfile::TempDir, JwksSource) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jwks.json");
    std::fs::write(&path, set(keys).to_string()).unwrap();
    (folder, JwksSource::File(path))
}

/// Every way in which a token can be somebody else's, forged, or over.
#[tokio::test]
async fn only_a_token_of_this_issuer_for_this_gateway_counts() {
    let (key, other) = (SigningKey::new("k1"), SigningKey::new("k1"));
    let (_folder, source) = file_of(&[&key]);
    let door = Door::new(source, &[]);
    assert_eq!(door.name(&key.token(&door.claims())).await, Ok("agent:ada".to_owned()));
    let head = |name: &str, value: Value| {
        let mut head = json!({"alg": "ES256", "typ": "JWT", "kid": "k1"});
        head[name] = value;
        head
    };
    let good = door.claims();
    let now = door.clock.now().as_second();
    let whole = key.token(&good);
    let (signed, _) = whole.rsplit_once('.').unwrap();
    let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
    // The public key as a shared secret: the oldest trick.
    let public = key.jwk().to_string();
    let refused = [
        ("another key", other.token(&good)),
        ("no signature", format!("{signed}.")),
        ("alg none", format!("{none}.{}.", signed.split('.').nth(1).unwrap())),
        ("alg HS256", hmac(&public, &head("alg", json!("HS256")), &good)),
        ("alg ES384", key.sign(&head("alg", json!("ES384")), &good)),
        ("alg of another kind", key.sign(&head("alg", json!("RS256")), &good)),
        ("alg is no text", key.sign(&head("alg", json!(1)), &good)),
        ("an id token's type", key.sign(&head("typ", json!("id+jwt")), &good)),
        ("something critical", key.sign(&head("crit", json!(["exp"])), &good)),
        ("an unknown kid", key.sign(&head("kid", json!("k2")), &good)),
        ("a kid that is no text", key.sign(&head("kid", json!(7)), &good)),
        ("another issuer", key.token(&door.with(|c| c["iss"] = json!("https://login.example/")))),
        ("no issuer", key.token(&door.with(|c| c["iss"] = Value::Null))),
        ("another audience", key.token(&door.with(|c| c["aud"] = json!("https://gate.example")))),
        ("no audience", key.token(&door.with(|c| drop(c.as_object_mut().unwrap().remove("aud"))))),
        ("an empty audience", key.token(&door.with(|c| c["aud"] = json!([])))),
        ("no end", key.token(&door.with(|c| drop(c.as_object_mut().unwrap().remove("exp"))))),
        ("an end that is no number", key.token(&door.with(|c| c["exp"] = json!("9999999999")))),
        ("over", key.token(&door.with(|c| c["exp"] = json!(now - 31)))),
        ("not yet", key.token(&door.with(|c| c["nbf"] = json!(now + 31)))),
        (
            "not yet, in another form",
            key.token(&door.with(|c| c["nbf"] = serde_json::from_str("9e9").unwrap())),
        ),
        ("no agent", key.token(&door.with(|c| c["client_id"] = json!("")))),
        ("an agent that is not known", key.token(&door.with(|c| c["client_id"] = json!("mallory")))),
        ("a person", key.token(&door.with(|c| c["client_id"] = json!("alice")))),
        ("claims that are not an object", key.token(&json!([1]))),
        ("no JSON", format!("eyJ.{}.x", "A".repeat(9))),
        (
            "changed claims",
            format!("{}.{}", swapped(signed, &door.with(|c| c["client_id"] = json!("eve"))), "x"),
        ),
    ];
    for (what, token) in refused {
        // A door of its own each time: failures are counted.
        let (_folder, source) = file_of(&[&key]);
        let door = Door::new(source, &[]);
        assert_eq!(door.name(&token).await, Err(AuthError::Unknown), "{what}");
    }
    let accepted = [
        key.sign(&json!({"alg": "ES256"}), &good),
        key.token(&door.with(|c| c["aud"] = json!(["x", AUDIENCE]))),
        key.token(&door.with(|c| c["exp"] = json!(now - 29))),
        key.token(&door.with(|c| c["nbf"] = json!(now + 29))),
        key.token(&door.with(|c| c["exp"] = json!(now as f64 + 5.5))),
    ];
    for (number, token) in accepted.iter().enumerate() {
        assert_eq!(door.name(token).await, Ok("agent:ada".to_owned()), "{number}");
    }
}

fn swapped(signed: &str, claims: &Value) -> String {
    format!("{}.{}", signed.split('.').next().unwrap(), URL_SAFE_NO_PAD.encode(claims.to_string()))
}

fn hmac(secret: &str, head: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(head), part(claims));
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret.as_bytes());
    let signature = aws_lc_rs::hmac::sign(&key, signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
}

/// A token that is remembered stops counting at its end, at a change of the rules, and where its agent is gone.
#[tokio::test]
async fn a_remembered_token_still_ends() {
    let key = SigningKey::new("k1");
    let (_folder, source) = file_of(&[&key]);
    let mut door = Door::new(source, &[]);
    let token = key.token(&door.claims());
    let principal = door.enter(&token).await.unwrap();
    let valid = |door: &Door| still_valid(&door.authority, &door.auth, door.clock.now(), &principal);
    assert!(valid(&door));
    door.clock.advance(Duration::from_secs(629));
    assert!(valid(&door));
    assert!(door.enter(&token).await.is_ok());
    door.clock.advance(Duration::from_secs(1));
    assert!(!valid(&door));
    assert_eq!(door.enter(&token).await, Err(AuthError::Unknown));

    let token = key.token(&door.claims());
    let principal = door.enter(&token).await.unwrap();
    let gone = door.authority.agents.remove(&AgentId::from("ada")).unwrap();
    assert!(!still_valid(&door.authority, &door.auth, door.clock.now(), &principal));
    assert_eq!(door.enter(&token).await, Err(AuthError::Unknown));
    door.authority.agents.insert(gone.id.clone(), gone);
    assert!(door.enter(&token).await.is_ok());
    let mut stricter = JwtConfig::clone(door.auth.jwt.as_ref().unwrap());
    stricter.audience = vec!["other".to_owned()];
    door.auth.jwt = Some(Arc::new(stricter));
    assert!(!still_valid(&door.authority, &door.auth, door.clock.now(), &principal));
    assert_eq!(door.enter(&token).await, Err(AuthError::Unknown));
    door.auth.jwt = None;
    assert!(!still_valid(&door.authority, &door.auth, door.clock.now(), &principal));
    assert_eq!(door.enter(&token).await, Err(AuthError::Unknown));
}

/// Keys are read once and kept; a new one is read when a token names it, and no flood of unknown names makes it more.
#[tokio::test]
async fn keys_rotate_without_being_asked_for_all_the_time() {
    let (old, new, forged) = (SigningKey::new("old"), SigningKey::new("new"), SigningKey::new("forged"));
    let issuer = Issuer::start(&[&old]).await;
    let url = format!("{}/jwks", issuer.url).parse().unwrap();
    let door = Door::new(JwksSource::Url(url), &[]);
    for number in 0..3 {
        let token = old.token(&door.with(|c| c["jti"] = json!(number)));
        assert!(door.enter(&token).await.is_ok());
    }
    assert_eq!(issuer.reads(), 1);
    issuer.publish(&[&old, &new]);
    // Within the pause an unknown name is refused without another look.
    let token = new.token(&door.claims());
    assert_eq!(door.enter(&token).await, Err(AuthError::Unknown));
    assert_eq!(issuer.reads(), 1);
    door.clock.advance(Duration::from_secs(5));
    assert!(door.enter(&token).await.is_ok());
    assert_eq!(issuer.reads(), 2);
    for number in 0..5 {
        let token = forged.token(&door.with(|c| c["jti"] = json!(number)));
        assert_eq!(door.enter(&token).await, Err(AuthError::Unknown));
    }
    assert_eq!(issuer.reads(), 2);

    // A key that is withdrawn counts no longer, also for tokens that are remembered.
    let token = old.token(&door.with(|c| c["exp"] = json!(door.clock.now().as_second() + 10_000)));
    assert!(door.enter(&token).await.is_ok());
    issuer.publish(&[&new]);
    door.clock.advance(Duration::from_secs(301));
    assert_eq!(door.enter(&token).await, Err(AuthError::Unknown));
    assert_eq!(issuer.reads(), 3);
    assert!(door.enter(&new.token(&door.claims())).await.is_ok());
}

/// An issuer that is away: known keys serve for an hour, then nobody enters; that is our failure and not the caller's.
#[tokio::test]
async fn an_issuer_that_is_away_is_not_the_callers_fault() {
    let key = SigningKey::new("k1");
    let issuer = Issuer::start(&[&key]).await;
    let url = format!("{}/jwks", issuer.url).parse().unwrap();
    let door = Door::new(JwksSource::Url(url), &[]);
    issuer.fail();
    assert_eq!(door.name(&key.token(&door.claims())).await, Err(AuthError::Unavailable));
    issuer.publish(&[&key]);
    // Not asked again at once.
    assert_eq!(door.name(&key.token(&door.claims())).await, Err(AuthError::Unavailable));
    door.clock.advance(Duration::from_secs(5));
    assert!(door.enter(&key.token(&door.claims())).await.is_ok());
    issuer.fail();
    door.clock.advance(Duration::from_secs(3_500));
    assert!(door.enter(&key.token(&door.claims())).await.is_ok());
    door.clock.advance(Duration::from_secs(101));
    assert_eq!(door.name(&key.token(&door.claims())).await, Err(AuthError::Unavailable));
}

/// An issuer that does not answer holds up one caller at most where its keys are known, and nobody asks it again for what
/// others have waited for.
#[tokio::test]
async fn an_issuer_that_hangs_holds_up_one_caller() {
    let key = SigningKey::new("k1");
    let issuer = Issuer::start(&[&key]).await;
    let url = format!("{}/jwks", issuer.url).parse().unwrap();
    let door = Door::new(JwksSource::Url(url), &[]);
    let token = |number: u32| key.token(&door.with(|c| c["jti"] = json!(number)));
    let asked = async |reads: usize| {
        while issuer.reads() < reads {
            tokio::task::yield_now().await;
        }
    };

    // Nothing is known yet: everybody waits, for one answer.
    issuer.fail();
    issuer.hold();
    let tokens: Vec<String> = (0..5).map(token).collect();
    let all = futures::future::join_all(tokens.iter().map(|token| door.enter(token)));
    let later = async {
        soon(asked(1)).await;
        // Longer than the pause between two attempts, before the first one has ended.
        door.clock.advance(Duration::from_secs(6));
        issuer.let_go();
    };
    let (entered, ()) = tokio::join!(all, later);
    assert!(entered.iter().all(|entered| *entered == Err(AuthError::Unavailable)), "{entered:?}");
    assert_eq!(issuer.reads(), 1);
    issuer.publish(&[&key]);
    door.clock.advance(Duration::from_secs(5));
    assert!(door.enter(&token(6)).await.is_ok());

    // The keys are old, and the issuer hangs: one waits, the others go on with what is known.
    issuer.fail();
    issuer.hold();
    door.clock.advance(Duration::from_secs(301));
    let (first, second, third) = (token(10), token(11), token(12));
    let mut waiting = std::pin::pin!(door.enter(&first));
    tokio::select! {
        biased;
        ended = &mut waiting => panic!("{ended:?}"),
        () = soon(asked(3)) => {}
    }
    for token in [&second, &third] {
        assert!(soon(door.enter(token)).await.is_ok());
    }
    issuer.let_go();
    assert!(soon(waiting).await.is_ok());
    assert_eq!(issuer.reads(), 3);
    // It failed: until the pause is over nobody waits for it again.
    issuer.hold();
    assert!(soon(door.enter(&token(13))).await.is_ok());
    assert_eq!(issuer.reads(), 3);
}

#[tokio::test]
async fn a_file_of_keys_is_read_again_and_may_be_no_rubbish() {
    let (key, next) = (SigningKey::new("k1"), SigningKey::new("k2"));
    let (folder, source) = file_of(&[&key]);
    let path = folder.path().join("jwks.json");
    let door = Door::new(source, &[]);
    assert!(door.enter(&key.token(&door.claims())).await.is_ok());
    std::fs::write(&path, set(&[&next]).to_string()).unwrap();
    door.clock.advance(Duration::from_secs(5));
    assert!(door.enter(&next.token(&door.claims())).await.is_ok());
    assert_eq!(door.enter(&key.token(&door.claims())).await, Err(AuthError::Unknown));
    // Shared secrets and keys for encryption are none of ours.
    let mut foreign = set(&[&key]);
    foreign["keys"][0]["use"] = json!("enc");
    foreign["keys"].as_array_mut().unwrap().push(json!({"kty": "oct", "k": "c2VjcmV0", "kid": "k1"}));
    std::fs::write(&path, foreign.to_string()).unwrap();
    door.clock.advance(Duration::from_secs(5));
    assert_eq!(door.enter(&key.token(&door.claims())).await, Err(AuthError::Unknown));
    for rubbish in ["{}", "nothing", &"x".repeat(300_000)] {
        std::fs::write(&path, rubbish).unwrap();
        door.clock.advance(Duration::from_secs(3_700));
        assert_eq!(door.name(&key.token(&door.claims())).await, Err(AuthError::Unavailable), "{rubbish:.9}");
    }
}

/// A world whose issuer signs with this key.
async fn world(key: &SigningKey, scopes: &str) -> (World, Issuer) {
    let issuer = Issuer::start(&[key]).await;
    let servers = format!(
        "[auth]\njwt = {{ issuer = \"{ISSUER}\", audience = \"{AUDIENCE}\", jwks_url = \"{}/jwks\"{scopes} }}\n",
        issuer.url
    );
    let gateway = "approval_wait = \"200ms\"\npublic_url = \"https://gate.example\"".to_owned();
    (World::start(Setup { servers, gateway, ..Setup::default() }).await, issuer)
}

fn claims(agent: &str, scope: &str) -> Value {
    let now = tollgate::clock::System::default().now().as_second();
    json!({"iss": ISSUER, "aud": AUDIENCE, "sub": agent, "iat": now, "exp": now + 600, "scope": scope})
}

/// Both eras with a token: the same as with a key, recorded as the agent; and no upstream ever sees a token.
#[tokio::test]
async fn an_agent_works_with_a_token_that_goes_no_further() {
    let key = SigningKey::new("k1");
    let (world, _issuer) = world(&key, "").await;
    let token = key.token(&claims("ada", "anything"));
    let mut modern = world.modern("ada");
    modern.key = token.clone();
    let reply = modern.call("up__read", json!({"path": "/a"})).await;
    assert_eq!(reply.echoed(), json!({"path": "/a"}));
    let decision = world.last_decision().await.draft;
    assert_eq!(decision.agent_id.as_deref(), Some("ada"));
    let bearer = token.as_str();
    modern.session().await.call("up__read", json!({"path": "/b"})).await.ok();
    assert_eq!(world.up.count(), 2);
    for seen in world.up.calls() {
        let shown = format!("{seen:?}");
        assert!(!shown.contains(bearer) && !shown.to_lowercase().contains("bearer"), "{shown}");
    }
    let events = serde_json::to_string(&world.events().await).unwrap();
    assert!(!events.contains(bearer));
}

/// Scopes grant a part of what the agent has, never more; in list and call alike (I7), both eras.
#[tokio::test]
async fn scopes_narrow_and_never_widen() {
    let key = SigningKey::new("k1");
    let scopes = ", scope_map = { \"mcp:read\" = \"reading\", \"mcp:all\" = [\"all\", \"reading\"] }";
    let (world, _issuer) = world(&key, scopes).await;
    let with = |agent: &str, scope: &str| {
        let mut client = world.modern(agent);
        client.key = key.token(&claims(agent, scope));
        client
    };
    let whole = world.modern("ada").tools().await;
    assert!(whole.len() > 1, "{whole:?}");
    assert_eq!(with("ada", "mcp:all").tools().await, whole);
    // The agent `ada` has `all` alone: `reading` is not hers to be granted.
    assert_eq!(with("ada", "mcp:read").tools().await, Vec::<String>::new());
    assert_eq!(with("ada", "").tools().await, Vec::<String>::new());
    let narrow = with("narrow", "mcp:all openid").tools().await;
    assert_eq!(narrow, world.modern("narrow").tools().await);
    let before = world.up.count();
    let client = with("ada", "mcp:read");
    let hidden = client.call("up__read", json!({"path": "/a"})).await;
    let absent = client.call("up__nothing", json!({"path": "/a"})).await;
    assert_eq!(hidden.error()["code"], absent.error()["code"]);
    assert_eq!(world.up.count(), before);
    let read = with("narrow", "mcp:read").call("up__read", json!({"path": "/a"})).await;
    assert_eq!(read.echoed(), json!({"path": "/a"}));
}

/// A call that one token of an agent made and that waits is nothing to another token that does not grant its tool.
#[tokio::test]
async fn a_narrower_token_reads_no_held_call() {
    let key = SigningKey::new("k1");
    let issuer = Issuer::start(&[&key]).await;
    let world = World::start(Setup {
        files: "=== ask.yaml
name: writes
description: A person agrees
on: [{ tool: up__write }]
rules: [{ id: ask, decision: REQUIRE_APPROVAL, approvers: [leads], expires_in: 10m }]
"
        .to_owned(),
        servers: format!(
            "[auth]\njwt = {{ issuer = \"{ISSUER}\", audience = \"{AUDIENCE}\", jwks_url = \"{}/jwks\", \
             scope_map = {{ \"mcp:all\" = \"all\" }} }}\n",
            issuer.url
        ),
        ..Setup::default()
    })
    .await;
    let with = |scope: &str| {
        let tasks = json!({"extensions": {"io.modelcontextprotocol/tasks": {}}});
        let mut client = Client::modern(&world.http, &world.gate.mcp, "ada", tasks);
        client.key = key.token(&claims("ada", scope));
        client
    };
    let held = with("mcp:all").call("up__write", json!({"path": "/a"})).await;
    let id = held.ok()["taskId"].as_str().unwrap().to_owned();
    let get = async |client: Client| {
        client.header("mcp-name", &id).request("tasks/get", json!({"taskId": id})).await
    };
    assert_eq!(get(with("")).await.error()["code"], -32602);
    assert_eq!(get(with("mcp:all")).await.ok()["status"], "working");
}

/// RFC 9728: who comes without a token is told where to get one; the document needs no credential.
#[tokio::test]
async fn a_client_without_a_token_learns_where_to_get_one() {
    let key = SigningKey::new("k1");
    let scopes = ", scope_map = { \"mcp:read\" = \"reading\", \"mcp:all\" = \"all\" }";
    let (world, _issuer) = world(&key, scopes).await;
    let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"});
    let post = |token: Option<&str>| {
        let request = world.http.post(&world.gate.mcp).json(&ping);
        match token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    };
    let where_ = "resource_metadata=\"https://gate.example/.well-known/oauth-protected-resource/mcp\", \
                  scope=\"mcp:all mcp:read\"";
    let missing = soon(post(None).send()).await.unwrap();
    assert_eq!(missing.status(), 401);
    assert_eq!(missing.headers()["www-authenticate"], format!("Bearer {where_}"));
    let wrong = soon(post(Some("eyJ.e.x")).send()).await.unwrap();
    assert_eq!(wrong.status(), 401);
    assert_eq!(wrong.headers()["www-authenticate"], format!("Bearer error=\"invalid_token\", {where_}"));

    let root = world.gate.mcp.trim_end_matches("/mcp");
    for path in ["", "/mcp"] {
        let url = format!("{root}/.well-known/oauth-protected-resource{path}");
        let reply = soon(world.http.get(url).header("origin", "https://page.example").send()).await.unwrap();
        assert_eq!(reply.status(), 200);
        assert_eq!(reply.headers()["access-control-allow-origin"], "*");
        let expected = json!({
            "resource": AUDIENCE,
            "resource_name": "Tollgate",
            "authorization_servers": [ISSUER],
            "bearer_methods_supported": ["header"],
            "dpop_signing_alg_values_supported": tollgate::identity::DPOP_ALGORITHMS,
            "dpop_bound_access_tokens_required": false,
            "scopes_supported": ["mcp:all", "mcp:read"],
        });
        assert_eq!(reply.json::<Value>().await.unwrap(), expected);
    }
    let status =
        async |request: reqwest::RequestBuilder| soon(request.send()).await.unwrap().status().as_u16();
    let url = format!("{root}/.well-known/oauth-protected-resource");
    assert_eq!(status(world.http.get(format!("{url}/other"))).await, 404);
    assert_eq!(status(world.http.post(&url)).await, 405);
    assert_eq!(status(world.http.get(&url).header("host", "evil.example")).await, 403);
    // The whole MCP endpoint stays closed to pages of other origins.
    assert_eq!(status(post(None).header("origin", "https://page.example")).await, 403);

    let plain = World::of("").await;
    let root = plain.gate.mcp.trim_end_matches("/mcp");
    assert_eq!(status(plain.http.get(format!("{root}/.well-known/oauth-protected-resource"))).await, 404);
}

/// Our failure, and not the caller's: it may come again.
#[tokio::test]
async fn keys_that_cannot_be_had_are_a_503() {
    let key = SigningKey::new("k1");
    let (world, issuer) = world(&key, "").await;
    issuer.fail();
    let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"});
    let request = world.http.post(&world.gate.mcp).json(&ping).bearer_auth(key.token(&claims("ada", "")));
    let reply = soon(request.send()).await.unwrap();
    assert_eq!(reply.status(), 503);
    assert_eq!(reply.headers()["retry-after"], "5");
    // Who has a key is not concerned.
    world.modern("ada").call("up__read", json!({"path": "/a"})).await.ok();
}
