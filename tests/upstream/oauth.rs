//! Upstreams that want an access token of Tollgate's own: client credentials.

use super::{
    support::*,
    web::{self, Web, status},
};
use axum::{Json, Router, extract::State, http::HeaderMap, response::IntoResponse as _, routing::post};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tollgate::{
    config::{
        ClientAuth, HttpWire, OauthClient, OauthConfig, OauthGrant, TokenSource, UpstreamConfig,
        UpstreamTransport,
    },
    upstream::{Health, UpstreamError, UpstreamSet},
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
