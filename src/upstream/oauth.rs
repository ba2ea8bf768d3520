//! Sending a person to the issuer of an upstream, as the authorization specification of MCP says: what is discovered
//! (RFC 9728, RFC 8414, OpenID Connect) and registered is rmcp's; PKCE with S256, the state, the resource (RFC 8707) and the
//! issuer's name in the answer (RFC 9207) are demanded here.
//!
//! The code is exchanged by whoever keeps credentials: what begins here may end in another process.

use super::wire::LEGACY;
use crate::{
    config::CodeGrant,
    model::ClientAuth,
    outbound::{Outbound, Reach},
};
use async_trait::async_trait;
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::Full;
use parking_lot::Mutex;
use rmcp::transport::auth::{
    AuthError, AuthorizationManager, AuthorizationMetadata, OAuthClientConfig, OAuthHttpClient,
    OAuthHttpClientFuture, OAuthHttpRequest, StateStore, StoredAuthorizationState,
};
use secrecy::SecretString;
use serde_json::{Value, json};
use std::{fmt, sync::Arc, time::Duration};
use url::Url;

/// How long one request to an issuer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The largest document of an issuer.
const MOST_BYTES: usize = 256 * 1024;
/// The longest sentence about a failure, in characters.
const LONGEST: usize = 300;

/// Why nobody can be sent to an issuer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct OauthError(pub String);

fn failed(what: &str, error: &AuthError) -> OauthError {
    // The words of a server may be in it.
    let text = crate::redaction::display_text(&error.to_string(), LONGEST);
    OauthError(format!("{what}: {text}"))
}

/// A client as an issuer knows it.
#[derive(Clone)]
pub struct KnownClient {
    /// Its name there.
    pub id: String,
    /// Its secret, where it has one.
    pub secret: Option<SecretString>,
    /// How the secret travels.
    pub auth_method: ClientAuth,
    /// From when on it does not count there any more, in seconds since 1970 (RFC 7591); none: nobody has said so.
    pub expires: Option<i64>,
}

impl fmt::Debug for KnownClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KnownClient").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The issuer of an upstream, as it was discovered.
pub struct Discovered {
    manager: AuthorizationManager,
    metadata: AuthorizationMetadata,
    issuer: String,
    reach: Reach,
    states: Arc<Captured>,
}

/// What it takes to make a credential of the answer of whoever was sent to an issuer.
pub struct Begun {
    /// `state`
    pub state: String,
    /// PKCE's.
    pub verifier: SecretString,
    /// The issuer.
    pub issuer: String,
    /// It names itself in its answers.
    pub names_itself: bool,
    /// Where the code is exchanged.
    pub token_url: String,
    /// Where tokens are revoked.
    pub revocation_url: Option<String>,
    /// What the token is for.
    pub resource: String,
    /// What is asked for.
    pub scopes: Vec<String>,
}

/// Which addresses the issuer of an upstream may have; `issuer`: the one that the configuration names.
pub fn reach(upstream: &Url, issuer: Option<&str>) -> Reach {
    let issuer = issuer.and_then(|issuer| Url::parse(issuer).ok());
    Reach::of(upstream).and(issuer.as_ref())
}

/// rmcp's requests, by our client: bounded, and without redirects.
struct Guarded(Outbound, Arc<Captured>);

impl OAuthHttpClient for Guarded {
    fn execute(&self, request: OAuthHttpRequest) -> OAuthHttpClientFuture<'_> {
        Box::pin(async move {
            let request = request.request.map(|body| Full::new(Bytes::from(body)));
            let registers = request.method() == Method::POST;
            let reply = self.0.send(request, MOST_BYTES, PATIENCE).await?;
            if registers && reply.status.is_success() {
                *self.1.expires.lock() = expiry_of(&reply.body);
            }
            let mut response = http::Response::new(reply.body.to_vec());
            *response.status_mut() = reply.status;
            *response.headers_mut() = reply.headers;
            Ok(response)
        })
    }
}

/// When a registered client ends, as the answer to its registration says.
fn expiry_of(body: &[u8]) -> Option<i64> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    answer.get("client_secret_expires_at").and_then(Value::as_i64).filter(|at| *at > 0)
}

/// Takes what rmcp keeps of an attempt, and what it drops of a registration.
#[derive(Default)]
struct Captured {
    state: Mutex<Option<StoredAuthorizationState>>,
    expires: Mutex<Option<i64>>,
}

struct Capturing(Arc<Captured>);

#[async_trait]
impl StateStore for Capturing {
    async fn save(&self, _csrf: &str, state: StoredAuthorizationState) -> Result<(), AuthError> {
        *self.0.state.lock() = Some(state);
        Ok(())
    }

    async fn load(&self, _csrf: &str) -> Result<Option<StoredAuthorizationState>, AuthError> {
        Ok(None)
    }

    async fn delete(&self, _csrf: &str) -> Result<(), AuthError> {
        Ok(())
    }
}

/// What an upstream answers to whoever comes without a token: the `WWW-Authenticate` of a 401. What it says goes before what is
/// found at well-known places.
async fn challenge(upstream: &Url, outbound: &Outbound) -> Option<String> {
    let opening = json!({
        "jsonrpc": "2.0",
        "id": 0,
        "method": "initialize",
        "params": {
            "protocolVersion": LEGACY,
            "capabilities": {},
            "clientInfo": {"name": "tollgate", "version": env!("CARGO_PKG_VERSION")},
        },
    });
    let request = Request::post(upstream.as_str())
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/json, text/event-stream")
        .body(Full::new(Bytes::from(opening.to_string())))
        .ok()?;
    let reply = outbound.send(request, MOST_BYTES, PATIENCE).await.ok()?;
    if reply.status != StatusCode::UNAUTHORIZED {
        return None;
    }
    let all = reply.headers.get_all(header::WWW_AUTHENTICATE).iter();
    let all: Vec<&str> = all.filter_map(|value| value.to_str().ok()).collect();
    let named = all.iter().find(|text| text.to_ascii_lowercase().contains("resource_metadata"));
    named.or(all.first()).map(|text| (*text).to_owned())
}

/// Finds the issuer of an upstream.
pub async fn discover(upstream: &Url, grant: &CodeGrant) -> Result<Discovered, OauthError> {
    let mut url = upstream.clone();
    url.set_fragment(None);
    let reach = reach(&url, grant.issuer.as_deref());
    let challenge = challenge(&url, &Outbound::within(reach.clone())).await;
    let states = Arc::new(Captured::default());
    let client = Arc::new(Guarded(Outbound::within(reach.clone()), states.clone()));
    let manager = AuthorizationManager::new_with_oauth_http_client(url.as_str(), client).await;
    let mut manager = manager.map_err(|error| failed("its URL cannot be asked", &error))?;
    manager.set_state_store(Capturing(states.clone()));
    let found = manager.resolve_metadata_from_challenge(challenge.as_deref()).await;
    let found = found.map_err(|error| failed("its authorization server cannot be found", &error))?;
    if !found.source.is_discovered() {
        let why = "it names no authorization server: neither it nor its host publishes metadata (RFC 9728, RFC 8414)";
        return Err(OauthError(why.to_owned()));
    }
    let metadata = found.metadata;
    let issuer = metadata.issuer.clone();
    let issuer = issuer.ok_or_else(|| OauthError("its authorization server names no `issuer`".to_owned()))?;
    if let Some(wanted) = grant.issuer.as_deref()
        && wanted.trim_end_matches('/') != issuer.trim_end_matches('/')
    {
        let why = "its authorization server is another one than `issuer` in servers.toml names";
        return Err(OauthError(why.to_owned()));
    }
    let methods = metadata.code_challenge_methods_supported.as_deref().unwrap_or_default();
    if !methods.iter().any(|method| method == "S256") {
        let why =
            "its authorization server does not say that it checks PKCE with S256, so no code is sent there";
        return Err(OauthError(why.to_owned()));
    }
    let endpoints = [&metadata.authorization_endpoint, &metadata.token_endpoint];
    if !endpoints.iter().all(|url| Url::parse(url).is_ok_and(|url| reach.allows_url(&url))) {
        let why =
            "an endpoint of its authorization server may not be used: https is needed, and no address inside";
        return Err(OauthError(why.to_owned()));
    }
    manager.set_metadata(metadata.clone());
    Ok(Discovered { manager, metadata, issuer, reach, states })
}

impl Discovered {
    /// Its `issuer`.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    fn more(&self, name: &str) -> Option<&Value> {
        self.metadata.additional_fields.get(name)
    }

    fn says(&self, name: &str) -> bool {
        self.more(name) == Some(&Value::Bool(true))
    }

    /// Whether a client may be known by the URL of its metadata document.
    pub fn takes_metadata_document(&self) -> bool {
        self.says("client_id_metadata_document_supported")
    }

    /// How a client with a secret shows it, where nobody has said how.
    fn auth_method(&self) -> ClientAuth {
        let methods = self.more("token_endpoint_auth_methods_supported").and_then(Value::as_array);
        let has = |name: &str| methods.is_some_and(|all| all.iter().any(|method| method == name));
        match has("client_secret_post") && !has("client_secret_basic") {
            true => ClientAuth::Post,
            false => ClientAuth::Basic,
        }
    }

    /// Registers a client (RFC 7591).
    pub async fn register(&mut self, name: &str, redirect: &str) -> Result<KnownClient, OauthError> {
        let auth_method = self.auth_method();
        let registered = self.manager.register_client(name, redirect, &[]).await;
        let registered = registered.map_err(|error| {
            failed("its authorization server registers no client: name one with `client_id`", &error)
        })?;
        Ok(KnownClient {
            id: registered.client_id,
            secret: registered.client_secret.map(SecretString::from),
            auth_method,
            expires: self.states.expires.lock().take(),
        })
    }

    /// Where a person is sent, and what is kept until the answer comes.
    pub async fn begin(
        mut self,
        client: &KnownClient,
        redirect: &str,
        (scopes, resource): (&[String], Option<&str>),
    ) -> Result<(Url, Begun), OauthError> {
        let config = OAuthClientConfig::new(client.id.clone(), redirect);
        self.manager
            .configure_client(config)
            .map_err(|error| failed("its authorization server cannot be used", &error))?;
        let scopes = match scopes {
            [] => self.manager.select_initial_scopes(&[]).await,
            asked => self.with_offline_access(asked),
        };
        let asked: Vec<&str> = scopes.iter().map(String::as_str).collect();
        let url = self.manager.get_authorization_url(&asked).await;
        let url = url.map_err(|error| failed("its authorization server cannot be used", &error))?;
        let mut url = Url::parse(&url).map_err(|_| OauthError("its authorization URL is none".to_owned()))?;
        let found =
            url.query_pairs().find(|(name, _)| name == "resource").map(|(_, value)| value.into_owned());
        let resource = resource.map(str::to_owned).or(found).unwrap_or_default();
        set_query(&mut url, "resource", &resource);
        // OpenID Connect gives no lasting access without it.
        if scopes.iter().any(|scope| scope == "offline_access") {
            set_query(&mut url, "prompt", "consent");
        }
        let state = self.states.state.lock().take();
        let state = state.ok_or_else(|| OauthError("the attempt could not be kept".to_owned()))?;
        let revocation = self.more("revocation_endpoint").and_then(Value::as_str);
        let revocation =
            revocation.filter(|url| Url::parse(url).is_ok_and(|url| self.reach.allows_url(&url)));
        let begun = Begun {
            state: state.csrf_token,
            verifier: state.pkce_verifier.into(),
            names_itself: self.says("authorization_response_iss_parameter_supported"),
            token_url: self.metadata.token_endpoint.clone(),
            revocation_url: revocation.map(str::to_owned),
            resource,
            scopes,
            issuer: self.issuer,
        };
        Ok((url, begun))
    }

    fn with_offline_access(&self, scopes: &[String]) -> Vec<String> {
        let offered = self.metadata.scopes_supported.as_deref().unwrap_or_default();
        let mut scopes = scopes.to_vec();
        let lasting = "offline_access".to_owned();
        if offered.contains(&lasting) && !scopes.contains(&lasting) {
            scopes.push(lasting);
        }
        scopes
    }
}

/// Whether an issuer says of a client that it does not know it: as long as it knows whom it could send back, it sends the browser
/// somewhere, or shows a page.
pub async fn is_unknown(authorize: &Url, reach: &Reach) -> bool {
    let request = Request::get(authorize.as_str()).body(Full::default());
    let Ok(request) = request else { return false };
    let reply = Outbound::within(reach.clone()).send(request, MOST_BYTES, PATIENCE).await;
    reply.is_ok_and(|reply| matches!(reply.status, StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED))
}

/// Sets one pair of a query, and leaves the others.
fn set_query(url: &mut Url, name: &str, value: &str) {
    let mut pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    pairs.retain(|(known, _)| known != name);
    pairs.push((name.to_owned(), value.to_owned()));
    url.query_pairs_mut().clear().extend_pairs(pairs);
}
