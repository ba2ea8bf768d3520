//! The access token that Tollgate itself gets for an upstream: client credentials (RFC 6749, section 4.4).
//!
//! One token serves all connections of an upstream. It is fetched again shortly before it ends, and at once where the upstream
//! refuses it; no agent's token and no other upstream's is ever sent in its place.

use crate::{
    clock::Clock,
    config::{ClientAuth, OauthConfig},
    outbound::Outbound,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::Full;
use parking_lot::Mutex;
use secrecy::ExposeSecret as _;
use serde_json::Value;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use url::form_urlencoded::{Serializer, byte_serialize};

/// How long before its end a token is fetched again, so that none ends on its way.
const EARLY: Duration = Duration::from_secs(30);
/// A token that names no end is replaced after so long.
const UNNAMED: Duration = Duration::from_secs(3_600);
/// The longest any token is kept.
const LONGEST: Duration = Duration::from_secs(24 * 3_600);
/// Between two attempts that fail.
const PAUSE: Duration = Duration::from_secs(5);
/// How long one attempt may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The largest answer of a token endpoint.
const MOST_BYTES: usize = 64 * 1024;

/// A token as it is sent.
pub(super) struct Token {
    /// `Bearer …`, marked as sensitive.
    pub(super) header: HeaderValue,
    until: Duration,
    renew: Duration,
    /// The upstream took it at least once: refused later, another one may help.
    taken: AtomicBool,
}

impl Token {
    /// The upstream answered to it with something else than 401.
    pub(super) fn taken(&self) {
        if !self.taken.load(Ordering::Relaxed) {
            self.taken.store(true, Ordering::Relaxed);
        }
    }
}

/// Gets tokens for one upstream.
pub(super) struct Bearer {
    config: Arc<OauthConfig>,
    clock: Arc<dyn Clock>,
    outbound: Outbound,
    held: Mutex<Option<Arc<Token>>>,
    /// Who gets one, and the last failure.
    turn: tokio::sync::Mutex<Option<(Duration, String)>>,
}

impl Bearer {
    pub(super) fn new(config: Arc<OauthConfig>, clock: Arc<dyn Clock>) -> Self {
        let (outbound, held, turn) = (Outbound::default(), Mutex::default(), tokio::sync::Mutex::default());
        Self { config, clock, outbound, held, turn }
    }

    fn held(&self, now: Duration) -> Option<Arc<Token>> {
        self.held.lock().clone().filter(|token| now < token.until)
    }

    /// The token in force, or a new one. The error has no secret in it.
    pub(super) async fn token(&self) -> Result<Arc<Token>, String> {
        let fresh = |token: &Arc<Token>| self.clock.monotonic() < token.renew;
        if let Some(token) = self.held(self.clock.monotonic()).filter(fresh) {
            return Ok(token);
        }
        let mut failed = self.turn.lock().await;
        let now = self.clock.monotonic();
        // Somebody else may have got one meanwhile.
        if let Some(token) = self.held(now).filter(fresh) {
            return Ok(token);
        }
        let why = match failed.as_ref().filter(|(at, _)| now.saturating_sub(*at) < PAUSE) {
            Some((_, why)) => why.clone(),
            None => match self.fetch(now).await {
                Ok(token) => {
                    *failed = None;
                    *self.held.lock() = Some(token.clone());
                    return Ok(token);
                }
                Err(why) => {
                    *failed = Some((now, why.clone()));
                    why
                }
            },
        };
        // The old one serves to its end.
        self.held(now).ok_or_else(|| format!("no access token: {why}"))
    }

    /// The upstream answered 401: whether another token is worth an attempt. One that was never taken is not replaced,
    /// for the next one would be refused too.
    pub(super) fn refused(&self, token: &Arc<Token>) -> bool {
        if !token.taken.load(Ordering::Relaxed) {
            return false;
        }
        let mut held = self.held.lock();
        if held.as_ref().is_some_and(|held| Arc::ptr_eq(held, token)) {
            *held = None;
        }
        true
    }

    /// The token as it was sent, where there is one.
    pub(super) fn sent(&self) -> Option<HeaderValue> {
        self.held.lock().as_ref().map(|token| token.header.clone())
    }

    fn request(&self) -> Result<Request<Full<Bytes>>, String> {
        let config = &*self.config;
        let mut form = Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials");
        form.append_pair("resource", &config.resource);
        if !config.scopes.is_empty() {
            form.append_pair("scope", &config.scopes.join(" "));
        }
        let mut request = Request::post(config.token_url.as_str())
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::ACCEPT, "application/json");
        match config.auth_method {
            ClientAuth::Basic => {
                // RFC 6749, section 2.3.1: both are form-encoded first.
                let encode = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
                let secret = config.client_secret.expose_secret();
                let pair = format!("{}:{}", encode(&config.client_id), encode(secret));
                let mut value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair)))
                    .map_err(|_| "the client's name cannot be sent".to_owned())?;
                value.set_sensitive(true);
                request = request.header(header::AUTHORIZATION, value);
            }
            ClientAuth::Post => {
                form.append_pair("client_id", &config.client_id);
                form.append_pair("client_secret", config.client_secret.expose_secret());
            }
        }
        let body = Full::new(Bytes::from(form.finish()));
        request.body(body).map_err(|_| "`token_url` cannot be requested".to_owned())
    }

    async fn fetch(&self, now: Duration) -> Result<Arc<Token>, String> {
        let reply = self.outbound.send(self.request()?, MOST_BYTES, PATIENCE).await;
        let reply = reply.map_err(|error| format!("the token endpoint: {error}"))?;
        let answer: Option<Value> = serde_json::from_slice(&reply.body).ok();
        if reply.status != StatusCode::OK {
            let code = answer.as_ref().and_then(|answer| answer.get("error")).and_then(Value::as_str);
            let code = code.filter(|code| is_error_code(code)).map(|code| format!(", `{code}`"));
            let code = code.unwrap_or_default();
            return Err(format!("the token endpoint answered HTTP status {}{code}", reply.status));
        }
        let answer = answer.ok_or("the token endpoint's answer is no JSON")?;
        read(&answer, now).map(Arc::new).map_err(|why| format!("the token endpoint's answer {why}"))
    }
}

/// RFC 6749, section 5.2: what may be shown of an error.
fn is_error_code(code: &str) -> bool {
    (1..=40).contains(&code.len()) && code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
}

/// RFC 6749, section 5.1.
fn read(answer: &Value, now: Duration) -> Result<Token, &'static str> {
    let text = |name: &str| answer.get(name).and_then(Value::as_str);
    let token = text("access_token").filter(|token| !token.is_empty()).ok_or("has no `access_token`")?;
    if !text("token_type").is_some_and(|kind| kind.eq_ignore_ascii_case("bearer")) {
        return Err("is not a token of the type `Bearer`");
    }
    let mut header =
        HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| "has a token that cannot be sent")?;
    header.set_sensitive(true);
    let lasts = match answer.get("expires_in") {
        None | Some(Value::Null) => UNNAMED,
        // Some servers write the number as a text.
        Some(written) => {
            let seconds = written.as_u64().or_else(|| written.as_str()?.parse().ok());
            Duration::from_secs(seconds.ok_or("has an `expires_in` that is not a number of seconds")?)
        }
    };
    let lasts = lasts.min(LONGEST);
    let renew = now + lasts.saturating_sub(EARLY).max(lasts / 2);
    Ok(Token { header, until: now + lasts, renew, taken: AtomicBool::new(false) })
}
