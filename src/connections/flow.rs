//! From the wish to connect to the credential: a person is sent to the issuer, and what comes back is exchanged.

use super::{
    ConnectError, Connection, Connections, Standing,
    clients::write_client,
    keep_client,
    kept::{Credential, bounded, digest_of, lasts},
    kept_client, told,
};
use crate::{
    config::CodeGrant,
    evidence::ConnectionRecord,
    model::{ClientAuth, ConnectionKey, PersonId},
    outbound::{Outbound, TokenError, TokenRequest, is_error_code},
    upstream::oauth::{self, Discovered, KnownClient},
};
use jiff::Timestamp;
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use std::{fmt, time::Duration};
use subtle::ConstantTimeEq as _;
use url::Url;

/// How long somebody may take at the issuer.
pub const LONGEST_WAIT: Duration = Duration::from_secs(10 * 60);
/// The longest code or state that is looked at.
pub(super) const LONGEST: usize = 4_096;
/// What a client calls itself where it registers.
const CLIENT_NAME: &str = "Tollgate";

/// What an issuer sends back with a browser.
#[derive(Clone, Default, Deserialize)]
pub struct Answer {
    /// What is exchanged for tokens.
    #[serde(default)]
    pub code: Option<String>,
    /// Of which attempt.
    #[serde(default)]
    pub state: Option<String>,
    /// Who sends it (RFC 9207).
    #[serde(default)]
    pub iss: Option<String>,
    /// Why there is no code.
    #[serde(default)]
    pub error: Option<String>,
}

impl Answer {
    /// Of the URL to which a browser was sent back.
    pub fn of(url: &Url) -> Self {
        let find =
            |name: &str| url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
        Self { code: find("code"), state: find("state"), iss: find("iss"), error: find("error") }
    }
}

/// An attempt: what was begun, by whom, and for whom.
pub struct Begun {
    /// What becomes connected.
    pub key: ConnectionKey,
    pub(super) by: Option<PersonId>,
    pub(super) redirect: String,
    pub(super) upstream_url: Url,
    /// The issuer that the configuration names.
    pub(super) issuer: Option<String>,
    pub(super) client: KnownClient,
    /// See [`Credential::client`].
    pub(super) kept_as: Option<String>,
    pub(super) asked: oauth::Begun,
    pub(super) at: Timestamp,
}

impl fmt::Debug for Begun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Begun").field("key", &self.key).field("by", &self.by).finish_non_exhaustive()
    }
}

impl Begun {
    #[cfg(test)]
    pub(super) fn for_tests(
        key: ConnectionKey,
        person: &str,
        client: KnownClient,
        asked: oauth::Begun,
        at: Timestamp,
    ) -> Self {
        let redirect = "http://127.0.0.1:1/callback".to_owned();
        let upstream_url = asked.resource.parse().unwrap();
        let by = Some(person.into());
        Self { key, by, redirect, upstream_url, issuer: None, client, kept_as: None, asked, at }
    }

    /// Whether an answer is of this attempt.
    pub fn is_answered_by(&self, answer: &Answer) -> bool {
        let state = answer.state.as_deref().unwrap_or_default();
        state.len() <= LONGEST && bool::from(state.as_bytes().ct_eq(self.asked.state.as_bytes()))
    }

    /// Whether a code counts that comes alone: an issuer that names itself in its answers (RFC 9207) has to be heard.
    pub fn takes_code_alone(&self) -> bool {
        !self.asked.names_itself
    }

    /// The answer of which a person brings the code alone.
    pub fn answer_with(&self, code: &str) -> Answer {
        Answer { code: Some(code.to_owned()), state: Some(self.asked.state.clone()), ..Answer::default() }
    }
}

/// Who Tollgate is at an issuer.
struct OurClient {
    known: KnownClient,
    /// See [`Credential::client`].
    kept_as: Option<String>,
}

pub(super) fn refused(why: impl Into<String>) -> ConnectError {
    ConnectError::Refused(why.into())
}

impl Connections {
    /// Begins to connect: where the person is to be sent, and the attempt. `redirect` is where the issuer sends them back to; `stays`: attempts to come
    /// have the same.
    pub async fn begin(
        &self,
        key: ConnectionKey,
        by: Option<PersonId>,
        (redirect, stays): (&str, bool),
    ) -> Result<(Url, Begun), ConnectError> {
        let settings = self.settings(&key.upstream)?;
        let grant = settings.grant()?.clone();
        let failed = |error: oauth::OauthError| ConnectError::Issuer(key.upstream.clone(), error.to_string());
        self.read().await?;
        // More than before is asked for together with what there was.
        let known = self.get(&key);
        let wanted = known.filter(|known| !known.wants.is_empty()).map(|known| {
            let all = settings.oauth.scopes.iter().chain(&known.scopes).chain(&known.wants);
            bounded(all.cloned().collect())
        });
        let scopes = wanted.as_deref().unwrap_or(&settings.oauth.scopes);
        let what = (scopes, settings.oauth.resource.as_deref());
        let mut is_new = false;
        loop {
            let mut discovered = oauth::discover(&settings.url, &grant).await.map_err(failed)?;
            let kept_as = stays.then(|| format!("client {} {redirect}", discovered.issuer()));
            let client = self.client(&mut discovered, &grant, (&key, redirect), kept_as).await?;
            let (url, asked) = discovered.begin(&client.known, redirect, what).await.map_err(failed)?;
            // An issuer that has forgotten it says so to the browser alone.
            if let Some(kept_as) = &client.kept_as
                && !std::mem::replace(&mut is_new, true)
                && oauth::is_unknown(&url, &oauth::reach(&settings.url, grant.issuer.as_deref())).await
            {
                tracing::info!(upstream = %key.upstream, "connection.client_forgotten");
                self.vault()?.remove_credential(kept_as.clone(), None).await?;
                continue;
            }
            let begun = Begun {
                by,
                redirect: redirect.to_owned(),
                upstream_url: settings.url,
                issuer: grant.issuer,
                client: client.known,
                kept_as: client.kept_as,
                asked,
                at: self.clock.now(),
                key,
            };
            return Ok((url, begun));
        }
    }

    /// Who Tollgate is at an issuer: what the configuration says, its metadata document, or what was registered there.
    async fn client(
        &self,
        discovered: &mut Discovered,
        grant: &CodeGrant,
        (key, redirect): (&ConnectionKey, &str),
        kept_as: Option<String>,
    ) -> Result<OurClient, ConnectError> {
        if let Some(known) = &grant.client {
            let (id, secret, auth_method) = (known.id.clone(), known.secret.clone(), known.auth_method);
            let known = KnownClient { id, secret, auth_method, expires: None };
            return Ok(OurClient { known, kept_as: None });
        }
        if let Some(url) = grant.client_metadata_url.as_ref().filter(|_| discovered.takes_metadata_document())
        {
            let auth_method = ClientAuth::Basic;
            let known = KnownClient { id: url.to_string(), secret: None, auth_method, expires: None };
            return Ok(OurClient { known, kept_as: None });
        }
        let vault = self.vault()?;
        if let Some(name) = &kept_as
            && let Some(known) = kept_client(vault, name).await?
            && !self.ends_soon(&known)
        {
            return Ok(OurClient { known, kept_as });
        }
        let known = discovered.register(CLIENT_NAME, redirect).await;
        let known = known.map_err(|error| ConnectError::Issuer(key.upstream.clone(), error.to_string()))?;
        if let Some(name) = &kept_as
            && let Some(text) = write_client(&known)
        {
            keep_client(self, vault, name.clone(), text).await?;
        }
        Ok(OurClient { known, kept_as })
    }

    /// Whether a client may have ended before whoever is sent to its issuer is back.
    fn ends_soon(&self, client: &KnownClient) -> bool {
        let back = self.clock.now().as_second().saturating_add_unsigned(LONGEST_WAIT.as_secs());
        client.expires.is_some_and(|at| at <= back)
    }

    /// An issuer does not know a client that Tollgate registered there: whoever connects next registers another one.
    pub(super) async fn forget_client(&self, name: Option<&String>, id: &str) {
        let (Some(name), Ok(vault)) = (name, self.vault()) else { return };
        let is_that_one = |known: Option<KnownClient>| known.is_some_and(|known| known.id == id);
        let removed = match kept_client(vault, name).await.map(is_that_one) {
            Ok(true) => vault.remove_credential(name.clone(), None).await.map(drop),
            Ok(false) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = removed {
            tracing::error!(%error, "a client that its issuer does not know could not be removed");
        }
    }

    /// Makes a connection of the issuer's answer; `through` is where it was made, for the record.
    pub async fn finish(&self, begun: Begun, answer: &Answer, through: &str) -> Result<(), ConnectError> {
        if !begun.is_answered_by(answer) {
            return Err(refused("it is not of this attempt"));
        }
        let asked = &begun.asked;
        match &answer.iss {
            Some(iss) if *iss != asked.issuer => return Err(refused("it is of another issuer")),
            None if asked.names_itself => {
                return Err(refused("it does not say of which issuer it is"));
            }
            Some(_) | None => {}
        }
        if let Some(error) = &answer.error {
            let code = if is_error_code(error) { error.as_str() } else { "an error" };
            return Err(refused(format!("the issuer answered `{code}`")));
        }
        let code = answer.code.clone().filter(|code| !code.is_empty() && code.len() <= LONGEST);
        let code = code.ok_or_else(|| refused("it has no code"))?;
        // A browser that goes away takes nothing with it: what the issuer gives is given once.
        let cut = || ConnectError::Store("it was cut off".to_owned());
        let (me, through) = (self.me.upgrade().ok_or_else(cut)?, through.to_owned());
        let made = self.renewals.spawn(async move { me.make(begun, code, &through).await });
        made.await.map_err(|_| cut())?
    }

    /// Exchanges a code, and keeps what comes of it.
    async fn make(&self, begun: Begun, code: String, through: &str) -> Result<(), ConnectError> {
        let Begun { key, by, redirect, upstream_url, issuer, client, kept_as, asked, .. } = begun;
        let request = TokenRequest {
            url: &asked.token_url,
            client_id: &client.id,
            secret: client.secret.as_ref(),
            auth_method: client.auth_method,
            form: vec![
                ("grant_type", "authorization_code"),
                ("code", &code),
                ("redirect_uri", &redirect),
                ("code_verifier", asked.verifier.expose_secret()),
                ("resource", &asked.resource),
            ],
        };
        let outbound = Outbound::within(oauth::reach(&upstream_url, issuer.as_deref()));
        let granted = match request.token(&outbound).await {
            Ok(granted) => granted,
            Err(error) => {
                if error.is_about_the_client() {
                    self.forget_client(kept_as.as_ref(), &client.id).await;
                }
                return Err(self.not_exchanged(&key, &error));
            }
        };
        // Whoever renews or removes what was there before has done it, or leaves this alone.
        let turn = self.turn(&key);
        let _one_at_a_time = turn.lock().await;
        let _in_all_processes = self.between_processes(&key).await.ok();
        let now = self.clock.now();
        // No two have the same, also where one was removed in between.
        let generation = u64::try_from(now.as_microsecond()).unwrap_or(1).max(1);
        let scopes = bounded(granted.scopes.clone().unwrap_or(asked.scopes));
        let credential = Credential {
            generation,
            upstream_url: upstream_url.to_string(),
            issuer: asked.issuer.clone(),
            token_url: asked.token_url,
            revocation_url: asked.revocation_url,
            client_id: client.id,
            client: kept_as,
            client_secret: client.secret,
            auth_method: client.auth_method,
            resource: asked.resource,
            scopes: scopes.clone(),
            lasts: lasts(granted.lasts),
            access_token: granted.access_token,
            refresh_token: granted.refresh_token,
            had_at: now,
            renewing: None,
        };
        self.keep(&key, None, &credential).await?;
        let record = ConnectionRecord { key: &key, by: by.as_ref(), issuer: &asked.issuer, scopes: &scopes };
        let events = vec![record.connected(now, through)];
        let connection = Connection {
            standing: Standing::Connected,
            since: now,
            issuer: asked.issuer.clone(),
            scopes: scopes.clone(),
            wants: Vec::new(),
            by: by.clone(),
            generation,
            url: Some(digest_of(&upstream_url)),
            key: key.clone(),
        };
        self.tell(&connection, events).await?;
        tracing::info!(upstream = %key.upstream, holder = %key.holder, "connection.made");
        Ok(())
    }

    fn not_exchanged(&self, key: &ConnectionKey, error: &TokenError) -> ConnectError {
        tracing::warn!(upstream = %key.upstream, %error, "connection.not_made");
        match error {
            TokenError::Status { status, .. } if !status.is_server_error() => {
                refused(format!("the token endpoint does not take it for {}: {error}", told(&key.holder)))
            }
            other => ConnectError::Issuer(key.upstream.clone(), format!("the token endpoint: {other}")),
        }
    }
}
