//! How one URL of an upstream is reached: its connections, its headers, and failures in words without the URL.

use super::{
    ASIDE, BOTH, JSON, LAST_EVENT, METHOD, NAME,
    bearer::{Bearer, Token},
    http1_pool::{self, SendError},
    means::Means,
    pool::Pool,
};
use crate::{
    clock::Clock,
    outbound::because,
    upstream::{
        call::Call,
        deps::Redact,
        own::OwnSecrets,
        refusal::{self, HttpRefusal, Showing},
        types::UpstreamError,
        wiring::Wiring,
    },
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header, response,
};
use http_body_util::Full;
use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret, SecretString};
use std::{borrow::Cow, collections::BTreeMap, sync::Arc, time::Duration};

/// One URL.
pub(super) struct Target {
    pool: Pool,
    /// Without user and fragment.
    url: url::Url,
    uri: Uri,
    /// Of a request in origin form.
    path: Uri,
    /// What the configuration adds to every request, and `Host`.
    pub(super) headers: HeaderMap,
    /// Where it wants an access token.
    bearer: Option<Arc<Bearer>>,
    own: OwnSecrets,
    redact: Redact,
    clock: Arc<dyn Clock>,
}

impl Target {
    /// The error says what cannot be sent, without showing it.
    pub(super) fn new(
        wiring: &Wiring<'_>,
        url: &url::Url,
        configured: &BTreeMap<String, SecretString>,
    ) -> Result<Self, String> {
        let Means { pool, bearer } =
            wiring.means.ok_or_else(|| "there is no HTTP client".to_owned())?.clone();
        let mut headers = HeaderMap::new();
        let mut bare = url.clone();
        if !url.username().is_empty() || url.password().is_some() {
            let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
            let pair = format!("{}:{}", decode(url.username()), decode(url.password().unwrap_or_default()));
            let mut value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair)))
                .map_err(|_| "the user in the URL cannot be sent".to_owned())?;
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
            if bare.set_username("").is_err() || bare.set_password(None).is_err() {
                return Err("the URL cannot carry a user".to_owned());
            }
        }
        bare.set_fragment(None);
        let (uri, path) = parts(&bare)?;
        for (key, value) in configured {
            let key =
                HeaderName::try_from(key.as_str()).map_err(|_| format!("`{key}` is not a header name"))?;
            let mut value = HeaderValue::try_from(value.expose_secret())
                .map_err(|_| format!("the value of the header `{key}` cannot be sent"))?;
            value.set_sensitive(true);
            headers.insert(key, value);
        }
        let authority = uri.authority().map(http::uri::Authority::as_str).unwrap_or_default();
        let host =
            HeaderValue::try_from(authority).map_err(|_| "the URL's host cannot be sent".to_owned())?;
        headers.entry(header::HOST).or_insert(host);
        let (redact, clock) = (wiring.deps.redact.clone(), wiring.deps.clock.clone());
        let named = headers.iter().filter(|(_, value)| value.is_sensitive());
        let named =
            named.filter_map(|(name, value)| Some((name.as_str().into(), value.to_str().ok()?.into())));
        // In a query `key` is an API key.
        let in_url = bare.query_pairs().map(|(name, value)| match &*name {
            "key" => (Cow::Borrowed("api_key"), value),
            _ => (name, value),
        });
        let own = OwnSecrets::among(named.chain(in_url));
        Ok(Self { pool, url: bare, uri, path, headers, bearer, own, redact, clock })
    }

    /// Our own credentials, as they are sent now.
    pub(super) fn own(&self) -> Cow<'_, OwnSecrets> {
        let sent = self.bearer.as_ref().and_then(|bearer| bearer.sent());
        match sent.as_ref().and_then(|value| value.to_str().ok()) {
            None => Cow::Borrowed(&self.own),
            Some(token) => {
                let mut own = self.own.clone();
                own.add(token);
                Cow::Owned(own)
            }
        }
    }

    /// Another URL of the same origin, reached in the same way.
    pub(super) fn beside(&self, url: &url::Url) -> Result<Self, String> {
        let mut bare = url.clone();
        // `headers` has who is named in the configured one.
        if bare.set_username("").is_err() || bare.set_password(None).is_err() {
            return Err("the URL cannot be used".to_owned());
        }
        bare.set_fragment(None);
        let (uri, path) = parts(&bare)?;
        let Self { pool, headers, bearer, own, redact, clock, .. } = self;
        let own = own.clone();
        let (pool, headers, bearer) = (pool.clone(), headers.clone(), bearer.clone());
        let (redact, clock) = (redact.clone(), clock.clone());
        Ok(Self { pool, url: bare, uri, path, headers, bearer, own, redact, clock })
    }

    /// What a status that is no success says, with as much of its body as was read.
    pub(super) fn refusal(&self, head: &response::Parts, body: &[u8]) -> HttpRefusal {
        let sent = self.bearer.as_ref().and_then(|bearer| bearer.sent());
        let secret = self.headers.values().filter(|value| value.is_sensitive()).chain(&sent);
        let mut own: Vec<String> = secret
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| [value, value.split_once(' ').map_or("", |(_, credentials)| credentials)])
            .map(str::to_owned)
            .collect();
        // The whole before its part.
        own.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        let showing = Showing { redact: &self.redact, own, url: &self.url, now: self.clock.now() };
        let mut refusal = refusal::read(head.status, &head.headers, body, &showing);
        refusal.lacks_scope = self
            .bearer
            .as_ref()
            .is_some_and(|bearer| bearer.lacks(head.status, &head.headers, &self.url).is_some());
        refusal
    }

    /// How long the upstream asks to be left alone.
    pub(super) fn retry_after(&self, headers: &HeaderMap) -> Option<Duration> {
        refusal::retry_after(headers, self.clock.now())
    }

    /// Sends one request and waits for the head of its answer. The reason of an error is redacted. A call is told when the
    /// upstream may have seen it.
    pub(super) async fn send(
        &self,
        method: Method,
        mut headers: HeaderMap,
        body: Vec<u8>,
        call: Option<&Call>,
    ) -> Result<Response<http1_pool::ResponseBody>, UpstreamError> {
        let body = Bytes::from(body);
        let Some(bearer) = &self.bearer else { return self.send_as_is(method, headers, body, call).await };
        let token = bearer.token().await.map_err(UpstreamError::NotSent)?;
        headers.insert(header::AUTHORIZATION, token.header.clone());
        let answer = self.send_as_is(method.clone(), headers.clone(), body.clone(), call).await?;
        if !self.is_refused(bearer, &token, &answer, &headers).await || !bearer.refused(&token) {
            return Ok(answer);
        }
        // What was refused was not looked at, so it may be sent again.
        if let Some(call) = call {
            call.set_sent(false);
        }
        let token = bearer.token().await.map_err(UpstreamError::NotSent)?;
        headers.insert(header::AUTHORIZATION, token.header.clone());
        let answer = self.send_as_is(method, headers.clone(), body, call).await?;
        if self.is_refused(bearer, &token, &answer, &headers).await {
            bearer.rejected(&token).await;
        }
        Ok(answer)
    }

    /// Whether the upstream does not take a token, as far as its answer says. A 401 may be about one request, as if it were a 403;
    /// of a token that somebody connected a `ping` tells whether all the others are taken.
    async fn is_refused<T>(
        &self,
        bearer: &Bearer,
        token: &Token,
        answer: &Response<T>,
        headers: &HeaderMap,
    ) -> bool {
        let is_refused = match answer.status() == StatusCode::UNAUTHORIZED {
            false => Some(false),
            true if bearer.is_held() => self.is_ping_refused(headers).await,
            true => Some(true),
        };
        if is_refused == Some(false) {
            bearer.taken(token);
            bearer.look_at(token, (answer.status(), answer.headers()), &self.url).await;
        }
        is_refused == Some(true)
    }

    /// None: it did not come through.
    async fn is_ping_refused(&self, headers: &HeaderMap) -> Option<bool> {
        let mut headers = headers.clone();
        // What is about the request that was refused.
        let of_request: Vec<HeaderName> = headers
            .keys()
            .filter(|name| {
                [METHOD, NAME, LAST_EVENT].contains(name) || name.as_str().starts_with("mcp-param-")
            })
            .cloned()
            .collect();
        of_request.iter().for_each(|name| drop(headers.remove(name)));
        headers.insert(header::CONTENT_TYPE, JSON);
        headers.insert(header::ACCEPT, BOTH);
        let ping = Bytes::from_static(br#"{"jsonrpc":"2.0","id":"tollgate-ping","method":"ping"}"#);
        let asked = self.send_as_is(Method::POST, headers, ping, None);
        let status = tokio::time::timeout(ASIDE, asked).await.ok()?.ok()?.status();
        // Where nothing is posted, the request that was refused stands for all.
        Some(matches!(status, StatusCode::UNAUTHORIZED | StatusCode::METHOD_NOT_ALLOWED))
    }

    async fn send_as_is(
        &self,
        method: Method,
        headers: HeaderMap,
        body: Bytes,
        call: Option<&Call>,
    ) -> Result<Response<http1_pool::ResponseBody>, UpstreamError> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.headers_mut() = headers;
        let not_reachable = |error: &dyn std::error::Error| {
            UpstreamError::NotSent(format!("not reachable: {}", (self.redact)(&because(error))))
        };
        let broken = |error: &dyn std::error::Error| {
            UpstreamError::Lost(format!("the connection broke: {}", (self.redact)(&because(error))))
        };
        let sending = || {
            if let Some(call) = call {
                call.set_sent(true);
            }
        };
        match &self.pool {
            Pool::Http1Pool(pool) => {
                *request.uri_mut() = self.path.clone();
                pool.send(&self.uri, request, sending).await.map_err(|error| match error {
                    SendError::NotSent(error) => not_reachable(&*error),
                    SendError::Broken(error) => broken(&error),
                })
            }
            Pool::Secure(pool) => {
                *request.uri_mut() = self.uri.clone();
                // Whether it connects first is not to be seen from here.
                sending();
                let sent = pool.request(request).await.map_err(|error| match error.is_connect() {
                    true => not_reachable(&error),
                    false => broken(&error),
                })?;
                Ok(sent.map(http1_pool::ResponseBody::Pooled))
            }
        }
    }
}

/// A URL as a request names it: whole, and in origin form.
fn parts(url: &url::Url) -> Result<(Uri, Uri), String> {
    let uri: Uri = url.as_str().parse().map_err(|_| "the URL cannot be used".to_owned())?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let path: Uri = path.parse().map_err(|_| "the URL's path cannot be sent".to_owned())?;
    Ok((uri, path))
}
