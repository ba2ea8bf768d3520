//! Tokens of callers, exchanged at the issuer for ones that an upstream takes (RFC 8693). What a client sent goes to the issuer alone.
//! Nothing of it is kept beyond this process.

use super::{Connections, told};
use crate::{
    config::{OauthConfig, OauthGrant, UpstreamConfig, UpstreamTransport},
    model::ConnectionKey,
    outbound::{Outbound, TokenRequest},
    upstream::HeldToken,
};
use jiff::Timestamp;
use parking_lot::Mutex;
use secrecy::{ExposeSecret as _, SecretString};
use std::{collections::HashMap, sync::Arc, time::Duration};

const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
/// Tokens of callers that are known at most; the one that ends first makes room, and whoever has it comes again.
const MOST: usize = 10_000;
/// A token that names no end is taken to last so long, and none is used for longer without another look.
const UNNAMED: Duration = Duration::from_secs(600);
const LONGEST: Duration = Duration::from_secs(3_600);

/// Callers' tokens, by whose connection they are.
#[derive(Default)]
pub(super) struct Exchanges(Mutex<HashMap<ConnectionKey, Brought>>);

/// The last token of a caller's that came.
struct Brought {
    text: Arc<SecretString>,
    expires: Timestamp,
}

/// What is configured of an upstream for which callers' tokens are exchanged.
pub(super) fn settings(upstream: &UpstreamConfig) -> Option<&Arc<OauthConfig>> {
    match &upstream.transport {
        UpstreamTransport::Http { oauth: Some(oauth), .. } => {
            matches!(oauth.grant, OauthGrant::TokenExchange(..)).then_some(oauth)
        }
        UpstreamTransport::Http { oauth: None, .. } | UpstreamTransport::Stdio { .. } => None,
    }
}

impl Exchanges {
    pub(super) fn bring(
        &self,
        key: &ConnectionKey,
        (text, expires): (&Arc<SecretString>, Timestamp),
        now: Timestamp,
    ) {
        let mut known = self.0.lock();
        if let Some(brought) = known.get_mut(key) {
            if brought.expires < expires {
                (brought.text, brought.expires) = (text.clone(), expires);
            }
            return;
        }
        if known.len() >= MOST {
            known.retain(|_, brought| now < brought.expires);
        }
        if known.len() >= MOST
            && let Some(first) =
                known.iter().min_by_key(|(_, brought)| brought.expires).map(|(key, _)| key.clone())
        {
            known.remove(&first);
        }
        known.insert(key.clone(), Brought { text: text.clone(), expires });
    }

    /// Whether somebody has brought one that has not ended.
    pub(super) fn has(&self, key: &ConnectionKey, now: Timestamp) -> bool {
        self.0.lock().get(key).is_some_and(|brought| now < brought.expires)
    }

    pub(super) fn forget(&self, key: &ConnectionKey) {
        self.0.lock().remove(key);
    }
}

impl Connections {
    /// A caller's token at the issuer, for one that the upstream takes.
    pub(super) async fn exchanged(&self, key: &ConnectionKey) -> Result<HeldToken, String> {
        let subject = self.exchanges.0.lock().get(key).map(|brought| brought.text.clone());
        let subject = subject.ok_or_else(|| format!("nobody has brought {}", told(&key.holder)))?;
        let config = self.config.load_full();
        let upstream = config.as_ref().and_then(|config| config.upstreams.get(&key.upstream));
        let oauth = upstream.and_then(settings).ok_or("no token is exchanged for it any more")?;
        let OauthGrant::TokenExchange(source, audience) = &oauth.grant else {
            return Err("no token is exchanged for it any more".to_owned());
        };
        let scope = oauth.scopes.join(" ");
        let mut form = vec![
            ("grant_type", GRANT),
            ("subject_token", subject.expose_secret()),
            ("subject_token_type", ACCESS_TOKEN),
            ("requested_token_type", ACCESS_TOKEN),
        ];
        form.extend(audience.as_deref().map(|audience| ("audience", audience)));
        form.extend(oauth.resource.as_deref().map(|resource| ("resource", resource)));
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
        let granted = request.token(&Outbound::default()).await;
        let granted = granted.map_err(|error| format!("the caller's token is not exchanged: {error}"))?;
        if granted.access_token.expose_secret() == subject.expose_secret() {
            return Err("the issuer gave back the caller's own token, which goes to no upstream".to_owned());
        }
        let lasts = granted.lasts.unwrap_or(UNNAMED).min(LONGEST);
        let renew = lasts.saturating_sub(lasts / 4);
        Ok(HeldToken { access_token: granted.access_token, generation: 1, renew, lasts })
    }
}
