//! Upstreams that want an access token: of Tollgate's own (client credentials), or of an account that somebody connected.

use super::{
    support::*,
    web::{self, Web, status},
};
use axum::{Json, Router, extract::State, http::HeaderMap, response::IntoResponse as _, routing::post};
use futures::{FutureExt as _, future::BoxFuture};
use parking_lot::Mutex;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tollgate::{
    config::{
        ClientAuth, CodeGrant, CredentialOf, HttpWire, Isolation, OauthClient, OauthConfig, OauthGrant,
        TokenSource, UpstreamConfig, UpstreamTransport,
    },
    model::ConnectionKey,
    upstream::{Credentials, Health, HeldToken, UpstreamError, UpstreamSet},
};

const LIFE: u64 = 600;

/// What the token endpoint was asked.
#[derive(Clone, Debug)]
struct Asked {
    authorization: Option<String>,
    form: BTreeMap<String, String>,
}

/// A token endpoint that numbers its tokens, and the upstream that takes the newest.
#[derive(Clone, Default)]
struct World {
    asked: Arc<Mutex<Vec<Asked>>>,
    /// Answers in place of a token.
    instead: Arc<Mutex<Option<(u16, Value)>>>,
    /// What the upstream saw, and what it takes.
    sent: Arc<Mutex<Vec<Option<String>>>>,
    takes: Arc<Mutex<Option<String>>>,
}

impl World {
    fn issued(&self) -> usize {
        self.asked.lock().len()
    }

    async fn start(&self) -> (Web, Web) {
        let endpoint = Router::new().route("/token", post(issue)).with_state(self.clone());
        let issuer = web::serve(endpoint, None).await;
        let world = self.clone();
        let (upstream, _) = web::scripted(true, None, move |seen| {
            let sent = seen.header("authorization").map(str::to_owned);
            let good = sent.is_some() && sent == *world.takes.lock();
            world.sent.lock().push(sent);
            (!good).then(|| -> futures::future::BoxFuture<'static, _> { Box::pin(async { status(401) }) })
        })
        .await;
        (issuer, upstream)
    }

    fn config(&self, issuer: &Web, upstream: &Web, auth_method: ClientAuth) -> UpstreamConfig {
        let mut config = http("crm", upstream.url());
        let oauth = OauthConfig {
            grant: OauthGrant::ClientCredentials(TokenSource {
                token_url: format!("http://{}/token", issuer.address).parse().unwrap(),
                client: OauthClient {
                    id: "toll gate".to_owned(),
                    secret: Some("s3cret&+".to_owned().into()),
                    auth_method,
                },
            }),
            scopes: vec!["read".to_owned(), "write".to_owned()],
            resource: Some("https://crm.example/mcp".to_owned()),
        };
        config.transport = UpstreamTransport::Http {
            url: upstream.url(),
            headers: BTreeMap::new(),
            wire: HttpWire::Auto,
            oauth: Some(Arc::new(oauth)),
        };
        config
    }
}

async fn issue(State(world): State<World>, headers: HeaderMap, body: String) -> axum::response::Response {
    let form = url::form_urlencoded::parse(body.as_bytes()).into_owned().collect();
    let authorization = headers.get("authorization").map(|value| value.to_str().unwrap().to_owned());
    let number = {
        let mut asked = world.asked.lock();
        asked.push(Asked { authorization, form });
        asked.len()
    };
    if let Some((code, body)) = world.instead.lock().clone() {
        return (axum::http::StatusCode::from_u16(code).unwrap(), Json(body)).into_response();
    }
    *world.takes.lock() = Some(format!("Bearer token-{number}"));
    Json(json!({"access_token": format!("token-{number}"), "token_type": "bearer", "expires_in": LIFE}))
        .into_response()
}

/// One token for many calls, had anew shortly before it ends, and at once where it is refused.
#[tokio::test]
async fn one_token_serves_until_it_ends_or_is_refused() {
    for method in [ClientAuth::Basic, ClientAuth::Post] {
        let world = World::default();
        let (issuer, server) = world.start().await;
        let (deps, clock) = deps();
        let config = world.config(&issuer, &server, method);
        let set = UpstreamSet::start([config.clone()], deps);
        let upstream = set.get(&config.name).unwrap();
        soon(set.settled()).await;
        assert_eq!(upstream.state().borrow().health, Health::Up);
        call(&upstream, "t").await.unwrap();
        call(&upstream, "t").await.unwrap();
        assert_eq!(world.issued(), 1);
        let asked = world.asked.lock()[0].clone();
        let form = |name: &str| asked.form.get(name).map(String::as_str);
        assert_eq!(form("grant_type"), Some("client_credentials"));
        assert_eq!((form("scope"), form("resource")), (Some("read write"), Some("https://crm.example/mcp")));
        match method {
            ClientAuth::Basic => {
                // base64 of `toll+gate:s3cret%26%2B`
                let basic = "Basic dG9sbCtnYXRlOnMzY3JldCUyNiUyQg==";
                assert_eq!((asked.authorization.as_deref(), form("client_id")), (Some(basic), None));
            }
            ClientAuth::Post => {
                assert_eq!(asked.authorization, None);
                let sent = (form("client_id"), form("client_secret"));
                assert_eq!(sent, (Some("toll gate"), Some("s3cret&+")));
            }
        }
        clock.advance(Duration::from_secs(LIFE - 31));
        call(&upstream, "t").await.unwrap();
        assert_eq!(world.issued(), 1);
        clock.advance(Duration::from_secs(1));
        call(&upstream, "t").await.unwrap();
        assert_eq!(world.issued(), 2);

        // Withdrawn over there: the call goes through all the same, and once.
        *world.takes.lock() = None;
        let before = world.sent.lock().len();
        call(&upstream, "t").await.unwrap();
        assert_eq!(world.issued(), 3);
        let sent = world.sent.lock()[before..].to_vec();
        assert_eq!(sent, [Some("Bearer token-2".to_owned()), Some("Bearer token-3".to_owned())]);
        soon(set.shutdown(Duration::ZERO)).await;
    }
}

/// Where no new token can be had the old one serves to its end; then nothing is sent, and the reason has no secret.
#[tokio::test]
async fn without_a_token_nothing_is_sent() {
    let world = World::default();
    let (issuer, server) = world.start().await;
    let (deps, clock) = deps();
    let config = world.config(&issuer, &server, ClientAuth::Post);
    let set = UpstreamSet::start([config.clone()], deps);
    let upstream = set.get(&config.name).unwrap();
    soon(set.settled()).await;
    *world.instead.lock() = Some((400, json!({"error": "invalid_client", "error_description": "s3cret&+"})));
    clock.advance(Duration::from_secs(LIFE - 1));
    call(&upstream, "t").await.unwrap();
    call(&upstream, "t").await.unwrap();
    // A failure is not repeated for each call.
    assert_eq!(world.issued(), 2);
    clock.advance(Duration::from_secs(1));
    let before = world.sent.lock().len();
    let error = call(&upstream, "t").await.unwrap_err();
    assert!(matches!(error, UpstreamError::NotSent(_)), "{error:?}");
    // Why is for those who run it.
    let state = until(&upstream, |state| matches!(state.health, Health::Down { .. })).await;
    let Health::Down { cause, .. } = &state.health else { unreachable!() };
    let reason = cause.whole();
    assert!(reason.contains("no access token") && reason.contains("`invalid_client`"), "{reason}");
    assert!(!reason.contains("s3cret"), "{reason}");
    assert_eq!(world.sent.lock().len(), before);
    *world.instead.lock() = None;
    clock.advance(Duration::from_secs(5));
    until(&upstream, |state| state.health == Health::Up).await;
    call(&upstream, "t").await.unwrap();
}

/// An upstream that refuses every token is down, and does not make the issuer work without end.
#[tokio::test]
async fn a_token_that_was_never_taken_is_not_replaced() {
    let world = World::default();
    let (issuer, _) = world.start().await;
    let (server, _requests) = web::scripted(true, None, |_| Some(Box::pin(async { status(401) }))).await;
    let config = world.config(&issuer, &server, ClientAuth::Basic);
    let set = UpstreamSet::start([config.clone()], deps().0);
    let upstream = set.get(&config.name).unwrap();
    let down = |state: &Arc<tollgate::upstream::UpstreamState>| matches!(&state.health, Health::Down { attempts, .. } if *attempts > 3);
    until(&upstream, down).await;
    assert_eq!(world.issued(), 1);
}

#[tokio::test]
async fn rubbish_from_the_token_endpoint_is_told() {
    let answers = [
        (200, json!({}), "has no `access_token`"),
        (200, json!({"access_token": "", "token_type": "Bearer"}), "has no `access_token`"),
        (200, json!({"access_token": "a", "token_type": "mac"}), "not a token of the type `Bearer`"),
        (200, json!({"access_token": "a\nb", "token_type": "Bearer"}), "cannot be sent"),
        (200, json!({"access_token": "a", "token_type": "Bearer", "expires_in": "soon"}), "`expires_in`"),
        (302, json!({}), "302"),
        (401, json!({"error": "Bad Words s3cret"}), "HTTP status 401 Unauthorized"),
        (200, json!("x".repeat(270_000)), "larger than 262144 bytes"),
    ];
    for (code, body, expected) in answers {
        let world = World::default();
        *world.instead.lock() = Some((code, body));
        let (issuer, server) = world.start().await;
        let config = world.config(&issuer, &server, ClientAuth::Basic);
        let set = UpstreamSet::start([config.clone()], deps().0);
        soon(set.settled()).await;
        let upstream = set.get(&config.name).unwrap();
        let state = until(&upstream, |state| matches!(state.health, Health::Down { .. })).await;
        let Health::Down { cause, .. } = &state.health else { unreachable!() };
        let reason = cause.whole();
        assert!(reason.contains(expected) && !reason.contains("s3cret"), "{reason}");
        assert!(world.sent.lock().is_empty());
    }
}

/// An account that is connected: its number, how often a token was asked for again, and what was said of its tokens.
#[derive(Debug, Default)]
struct Account {
    generation: AtomicU64,
    renewed: AtomicU64,
    rejected: Mutex<Vec<String>>,
    accepted: AtomicU64,
    wants: Mutex<Vec<Option<String>>>,
}

impl Credentials for Account {
    fn generation(&self, _: &ConnectionKey) -> Option<u64> {
        Some(self.generation.load(Ordering::SeqCst))
    }

    fn token<'a>(
        &'a self,
        _: &'a ConnectionKey,
        refused: Option<&'a SecretString>,
    ) -> BoxFuture<'a, Result<HeldToken, String>> {
        if refused.is_some() {
            self.renewed.fetch_add(1, Ordering::SeqCst);
        }
        let generation = self.generation.load(Ordering::SeqCst);
        let renewed = self.renewed.load(Ordering::SeqCst);
        let access_token = format!("account-{generation}-{renewed}").into();
        let lasts = Duration::from_secs(3_600);
        std::future::ready(Ok(HeldToken { access_token, generation, renew: lasts, lasts })).boxed()
    }

    fn rejected<'a>(&'a self, _: &'a ConnectionKey, token: &'a SecretString) -> BoxFuture<'a, ()> {
        self.rejected.lock().push(token.expose_secret().to_owned());
        std::future::ready(()).boxed()
    }

    fn accepted(&self, _: &ConnectionKey) {
        self.accepted.fetch_add(1, Ordering::SeqCst);
    }

    fn insufficient<'a>(&'a self, _: &'a ConnectionKey, _: u64, scopes: Option<String>) -> BoxFuture<'a, ()> {
        self.wants.lock().push(scopes);
        std::future::ready(()).boxed()
    }
}

fn with_account(url: url::Url) -> UpstreamConfig {
    let mut config = http("crm", url.clone());
    let grant = CodeGrant {
        per: CredentialOf::Gateway,
        client: None,
        client_metadata_url: None,
        issuer: None,
        redirect: None,
    };
    let oauth = OauthConfig {
        grant: OauthGrant::AuthorizationCode(Box::new(grant)),
        scopes: Vec::new(),
        resource: None,
    };
    let oauth = Some(Arc::new(oauth));
    config.transport = UpstreamTransport::Http { url, headers: BTreeMap::new(), wire: HttpWire::Auto, oauth };
    config
}

/// An upstream that answers 401 to one request says nothing of the account: it is neither renewed nor given up. One that answers so to
/// all is given a fresh token once, and then it is said.
#[tokio::test]
async fn a_401_counts_as_one_for_the_account_where_a_ping_gets_it_too() {
    let denies_all = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let denying = denies_all.clone();
    let (server, _requests) = web::scripted(true, None, move |seen| {
        let denied = denying.load(Ordering::SeqCst) || seen.tool() == "secret";
        denied.then(|| -> BoxFuture<'static, _> { Box::pin(async { status(401) }) })
    })
    .await;
    let account = Arc::new(Account::default());
    let mut deps = deps().0;
    deps.credentials = Some(account.clone());
    let config = with_account(server.url());
    let set = UpstreamSet::start([config.clone()], deps);
    let upstream = set.get(&config.name).unwrap();
    soon(set.settled()).await;
    for _ in 0..3 {
        let error = call(&upstream, "secret").await.unwrap_err();
        assert!(matches!(&error, UpstreamError::Refused(refusal) if refusal.status == 401), "{error:?}");
        call(&upstream, "t").await.unwrap();
    }
    assert_eq!(account.renewed.load(Ordering::SeqCst), 0);
    assert_eq!(account.accepted.load(Ordering::SeqCst), 1);
    denies_all.store(true, Ordering::SeqCst);
    call(&upstream, "t").await.unwrap_err();
    assert_eq!(*account.rejected.lock(), ["account-0-1"]);
    denies_all.store(false, Ordering::SeqCst);
    call(&upstream, "t").await.unwrap();
    assert_eq!(account.accepted.load(Ordering::SeqCst), 2);
    soon(set.shutdown(Duration::ZERO)).await;
}

/// Whoever has connections of their own goes on with the new account too: those of the old one are closed.
#[tokio::test]
async fn another_account_leaves_no_connection_of_the_one_before() {
    // Each session is named after the token that opened it.
    let opened = Arc::new(Mutex::new(Vec::new()));
    let mixed = Arc::new(Mutex::new(Vec::new()));
    let (opening, mixing) = (opened.clone(), mixed.clone());
    let (server, _requests) = web::scripted(false, None, move |seen| {
        let token = seen.header("authorization").unwrap_or_default().replace("Bearer ", "");
        if seen.rpc() == "initialize" {
            opening.lock().push(token.clone());
            let result = json!({"protocolVersion": "2025-06-18", "capabilities": {"tools": {}},
                "serverInfo": {"name": "l", "version": "1"}});
            let mut answer = web::json_answer(seen, result);
            answer.headers_mut().insert("mcp-session-id", token.parse().unwrap());
            return Some(Box::pin(async { answer }));
        }
        if seen.rpc() == "tools/call" {
            mixing.lock().push((seen.header("mcp-session-id").map(str::to_owned), token));
        }
        None
    })
    .await;
    let account = Arc::new(Account::default());
    let mut deps = deps().0;
    deps.credentials = Some(account.clone());
    let config = UpstreamConfig { isolation: Isolation::Agent, ..with_account(server.url()) };
    let set = UpstreamSet::start([config.clone()], deps);
    let upstream = set.get(&config.name).unwrap();
    soon(set.settled()).await;
    call(&upstream, "t").await.unwrap();
    account.generation.store(1, Ordering::SeqCst);
    set.reconnect(&config.name);
    until(&upstream, |_| opened.lock().iter().any(|token| token == "account-1-0")).await;
    until(&upstream, |state| state.health == Health::Up).await;
    call(&upstream, "t").await.unwrap();
    let calls = mixed.lock().clone();
    let by = |token: &str| (Some(token.to_owned()), token.to_owned());
    assert_eq!(calls, [by("account-0-0"), by("account-1-0")]);
    soon(set.shutdown(Duration::ZERO)).await;
}
