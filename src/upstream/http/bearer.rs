//! The access token that is sent to an upstream: by client credentials (RFC 6749, section 4.4), or of the credential that
//! somebody connected.
//!
//! One token serves all connections of an upstream that are of one holder. It is fetched again before it ends, and at once
//! where the upstream refuses it; no agent's token, no other upstream's and no other holder's is ever sent in its place.

use crate::{
    clock::Clock,
    config::{OauthConfig, OauthGrant, TokenSource},
    model::ConnectionKey,
    outbound::{Granted, Outbound, TokenRequest},
    upstream::credentials::Credentials,
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use parking_lot::Mutex;
use rmcp::transport::auth::WWWAuthenticateParams;
use secrecy::{ExposeSecret as _, SecretString};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// How long before its end a token is fetched again, so that none ends on its way.
const EARLY: Duration = Duration::from_secs(30);
/// A token that names no end is replaced after so long.
const UNNAMED: Duration = Duration::from_secs(3_600);
/// The longest any token is kept.
const LONGEST: Duration = Duration::from_secs(24 * 3_600);
/// Between two attempts that fail.
const PAUSE: Duration = Duration::from_secs(5);

/// A token as it is sent.
pub(super) struct Token {
    /// `Bearer …`, marked as sensitive.
    pub(super) header: HeaderValue,
    secret: SecretString,
    until: Duration,
    renew: Duration,
    /// Of which credential it is, where it is one that somebody connected.
    generation: Option<u64>,
    /// The upstream took it at least once: refused later, another one may help.
    taken: AtomicBool,
}

impl Token {
    /// The upstream answered to it with something else than 401. Whether that is news.
    fn is_taken(&self) -> bool {
        !self.taken.load(Ordering::Relaxed) && !self.taken.swap(true, Ordering::Relaxed)
    }
}

/// Where tokens come from.
enum Source {
    /// Tollgate's own.
    Client { config: Arc<OauthConfig>, outbound: Box<Outbound> },
    /// Somebody connected it.
    Held { key: ConnectionKey, credentials: Arc<dyn Credentials> },
}

/// Gets tokens for one upstream.
pub(super) struct Bearer {
    source: Source,
    clock: Arc<dyn Clock>,
    held: Mutex<Option<Arc<Token>>>,
    /// The one that the upstream refused.
    refused: Mutex<Option<Arc<Token>>>,
    /// Who gets one, and the last failure.
    turn: tokio::sync::Mutex<Option<(Duration, String)>>,
}

impl Bearer {
    /// The error says what is missing.
    pub(super) fn new(
        config: Arc<OauthConfig>,
        key: ConnectionKey,
        credentials: Option<&Arc<dyn Credentials>>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, String> {
        let source = match &config.grant {
            OauthGrant::ClientCredentials(_) => Source::Client { config, outbound: Box::default() },
            OauthGrant::AuthorizationCode(_) | OauthGrant::TokenExchange(..) => {
                let credentials = credentials.ok_or("nothing here keeps credentials that people connect")?;
                Source::Held { key, credentials: credentials.clone() }
            }
        };
        let (held, refused, turn) = (Mutex::default(), Mutex::default(), tokio::sync::Mutex::default());
        Ok(Self { source, clock, held, refused, turn })
    }

    fn held(&self, now: Duration) -> Option<Arc<Token>> {
        let token = self.held.lock().clone().filter(|token| now < token.until)?;
        match &self.source {
            Source::Client { .. } => Some(token),
            // One that was removed or replaced counts no more, whoever did it.
            Source::Held { key, credentials } => {
                (credentials.generation(key) == token.generation).then_some(token)
            }
        }
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
        let why = match failed.as_ref().filter(|(at, _)| self.waits_after(now, *at)) {
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

    /// Whether a failure is too fresh for another attempt. Whoever keeps credentials knows that of theirs.
    fn waits_after(&self, now: Duration, at: Duration) -> bool {
        match &self.source {
            Source::Client { .. } => now.saturating_sub(at) < PAUSE,
            Source::Held { .. } => false,
        }
    }

    /// The upstream answered 401: whether another token is worth an attempt. Of Tollgate's own, one that was never taken is
    /// not replaced, for the next one would be refused too.
    pub(super) fn refused(&self, token: &Arc<Token>) -> bool {
        if matches!(self.source, Source::Client { .. }) && !token.taken.load(Ordering::Relaxed) {
            return false;
        }
        let mut held = self.held.lock();
        if held.as_ref().is_some_and(|held| Arc::ptr_eq(held, token)) {
            *held = None;
            *self.refused.lock() = Some(token.clone());
        }
        true
    }

    /// Whether a 401 is looked into before another token is had: of those that somebody connected, for whom it is a lot to lose.
    pub(super) fn is_held(&self) -> bool {
        matches!(self.source, Source::Held { .. })
    }

    /// The upstream takes none of what comes with a fresh one, either.
    pub(super) async fn rejected(&self, token: &Arc<Token>) {
        if let Source::Held { key, credentials } = &self.source {
            token.taken.store(false, Ordering::Relaxed);
            credentials.rejected(key, &token.secret).await;
        }
    }

    /// The upstream takes it.
    pub(super) fn taken(&self, token: &Token) {
        if token.is_taken()
            && let Source::Held { key, credentials } = &self.source
        {
            credentials.accepted(key);
        }
    }

    /// What the upstream asks for where it wants more scopes than somebody's token has (RFC 6750, section 3.1).
    pub(super) fn lacks(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        url: &url::Url,
    ) -> Option<WWWAuthenticateParams> {
        if status != StatusCode::FORBIDDEN || matches!(self.source, Source::Client { .. }) {
            return None;
        }
        let all = headers.get_all(header::WWW_AUTHENTICATE).iter();
        let mut all = all.filter_map(|value| Some(WWWAuthenticateParams::parse(value.to_str().ok()?, url)));
        all.find(WWWAuthenticateParams::is_insufficient_scope)
    }

    /// Looks whether that is so, for whoever keeps the token.
    pub(super) async fn look_at(
        &self,
        token: &Token,
        (status, headers): (StatusCode, &HeaderMap),
        url: &url::Url,
    ) {
        if let (Source::Held { key, credentials }, Some(generation)) = (&self.source, token.generation)
            && let Some(challenge) = self.lacks(status, headers, url)
        {
            credentials.insufficient(key, generation, challenge.scope).await;
        }
    }

    /// The token as it was sent, where there is one.
    pub(super) fn sent(&self) -> Option<HeaderValue> {
        self.held.lock().as_ref().map(|token| token.header.clone())
    }

    async fn fetch(&self, now: Duration) -> Result<Arc<Token>, String> {
        match &self.source {
            Source::Client { config, outbound } => {
                let OauthGrant::ClientCredentials(source) = &config.grant else {
                    return Err("another grant is configured".to_owned());
                };
                let granted = client_credentials(config, source, outbound).await?;
                let lasts = granted.lasts.unwrap_or(UNNAMED).min(LONGEST);
                let renew = lasts.saturating_sub(EARLY).max(lasts / 2);
                token_of(granted.access_token, now, (renew, lasts), None)
            }
            Source::Held { key, credentials } => {
                let refused = self.refused.lock().take();
                let refused = refused.as_ref().map(|token| &token.secret);
                let held = credentials.token(key, refused).await?;
                token_of(held.access_token, now, (held.renew, held.lasts), Some(held.generation))
            }
        }
    }
}

fn token_of(
    secret: SecretString,
    now: Duration,
    (renew, lasts): (Duration, Duration),
    generation: Option<u64>,
) -> Result<Arc<Token>, String> {
    let mut header = HeaderValue::try_from(format!("Bearer {}", secret.expose_secret()))
        .map_err(|_| "the token endpoint's answer has a token that cannot be sent".to_owned())?;
    header.set_sensitive(true);
    let (renew, until) = (now + renew, now + lasts);
    Ok(Arc::new(Token { header, secret, until, renew, generation, taken: AtomicBool::new(false) }))
}

async fn client_credentials(
    config: &OauthConfig,
    source: &TokenSource,
    outbound: &Outbound,
) -> Result<Granted, String> {
    let scope = config.scopes.join(" ");
    let mut form = vec![("grant_type", "client_credentials")];
    form.extend(config.resource.as_deref().map(|resource| ("resource", resource)));
    if !scope.is_empty() {
        form.push(("scope", &scope));
    }
    let request = TokenRequest {
        url: source.token_url.as_str(),
        client_id: &source.client.id,
        secret: source.client.secret.as_ref(),
        auth_method: source.client.auth_method,
        form,
    };
    request.token(outbound).await.map_err(|error| format!("the token endpoint: {error}"))
}
