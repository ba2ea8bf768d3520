//! What an issuer says of itself (OpenID Connect Discovery).

use super::{MOST_BYTES, PATIENCE, SignInError};
use crate::{
    clock::Clock,
    config::{JwksSource, JwtConfig, OidcConfig, is_loopback},
    outbound::Outbound,
};
use bytes::Bytes;
use http::{Request, header};
use http_body_util::Full;
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// How long what it said is used.
const FRESH: Duration = Duration::from_secs(3_600);
/// Between two attempts that fail.
const PAUSE: Duration = Duration::from_secs(5);

/// An issuer's endpoints.
pub(super) struct Provider {
    pub(super) authorization: url::Url,
    pub(super) token: url::Url,
    pub(super) userinfo: Option<url::Url>,
    /// Whose keys sign its tokens, and for whom they are.
    pub(super) keys: Arc<JwtConfig>,
    /// Its answers name it (RFC 9207).
    pub(super) names_itself: bool,
}

/// What came of the newest attempt.
struct Held {
    of: Arc<OidcConfig>,
    at: Duration,
    read: Result<Arc<Provider>, String>,
}

/// The issuer in force, as it was read last.
pub(super) struct Providers {
    clock: Arc<dyn Clock>,
    held: tokio::sync::Mutex<Option<Held>>,
}

impl Providers {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, held: tokio::sync::Mutex::default() }
    }

    pub(super) async fn of(
        &self,
        rules: &Arc<OidcConfig>,
        outbound: &Outbound,
    ) -> Result<Arc<Provider>, SignInError> {
        // One asks, whoever else comes waits for it.
        let mut held = self.held.lock().await;
        let now = self.clock.monotonic();
        let known = held.as_ref().filter(|held| Arc::ptr_eq(&held.of, rules) || *held.of == **rules);
        if let Some(known) = known {
            let lasts = if known.read.is_ok() { FRESH } else { PAUSE };
            if now.saturating_sub(known.at) < lasts {
                return known.read.clone().map_err(SignInError::Unavailable);
            }
        }
        let read = read(rules, outbound).await.map(Arc::new);
        if let Err(why) = &read {
            tracing::error!(reason = %why, "an issuer's configuration cannot be used");
        }
        *held = Some(Held { of: rules.clone(), at: self.clock.monotonic(), read: read.clone() });
        read.map_err(SignInError::Unavailable)
    }
}

async fn read(rules: &OidcConfig, outbound: &Outbound) -> Result<Provider, String> {
    let url = format!("{}/.well-known/openid-configuration", rules.issuer.trim_end_matches('/'));
    let request = Request::get(url)
        .header(header::ACCEPT, "application/json")
        .body(Full::new(Bytes::new()))
        .map_err(|_| "its configuration cannot be requested".to_owned())?;
    let reply = outbound.send(request, MOST_BYTES, PATIENCE).await;
    let reply = reply.map_err(|error| format!("its configuration: {error}"))?;
    if !reply.status.is_success() {
        return Err(format!("its configuration: HTTP status {}", reply.status));
    }
    let told: Value =
        serde_json::from_slice(&reply.body).map_err(|_| "its configuration is no JSON".to_owned())?;
    if told.get("issuer").and_then(Value::as_str) != Some(rules.issuer.as_str()) {
        return Err("its configuration is of another issuer".to_owned());
    }
    if let Some(Value::Array(methods)) = told.get("code_challenge_methods_supported")
        && !methods.iter().any(|method| method == "S256")
    {
        return Err("it does not take PKCE with S256".to_owned());
    }
    let endpoint = |name: &str| -> Result<Option<url::Url>, String> {
        let Some(written) = told.get(name).and_then(Value::as_str) else { return Ok(None) };
        let url = url::Url::parse(written).ok().filter(url::Url::has_host);
        let safe = url.filter(|url| url.scheme() == "https" || (url.scheme() == "http" && is_loopback(url)));
        safe.map(Some).ok_or_else(|| format!("its `{name}` is neither https nor on this machine"))
    };
    let needed = |name: &str| endpoint(name)?.ok_or_else(|| format!("it has no `{name}`"));
    let keys = JwtConfig {
        issuer: rules.issuer.clone(),
        audience: vec![rules.client_id.clone()],
        keys: JwksSource::Url(needed("jwks_uri")?),
        agent_claim: "sub".to_owned(),
        user_claim: None,
        dpop_required: false,
        exchanged: false,
        scope_map: BTreeMap::new(),
    };
    Ok(Provider {
        authorization: needed("authorization_endpoint")?,
        token: needed("token_endpoint")?,
        userinfo: endpoint("userinfo_endpoint")?,
        keys: Arc::new(keys),
        names_itself: told.get("authorization_response_iss_parameter_supported") == Some(&Value::Bool(true)),
    })
}
