//! What is kept of a connection: the credential itself, encrypted in the vault, and beside it what may be told of it.

use crate::{
    model::{ClientAuth, ConnectionKey, PersonId, UpstreamName},
    outbound::Granted,
    store::RegisterEntry,
};
use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::{fmt, time::Duration};
use url::Url;

/// A token that names no end is taken to last so long.
const UNNAMED: Duration = Duration::from_secs(3_600);
/// The longest any token is used without another look.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3_600);
/// How long another machine may take to renew a credential: longer than its mark, the token endpoint and the keeping of what that
/// gives are waited for in sum.
const LEASE: Duration = Duration::from_secs(45);
/// Scopes that are kept, and characters of each.
const MOST_SCOPES: usize = 100;
const LONGEST_SCOPE: usize = 200;

/// A credential. It is written into the vault as JSON, and nowhere else.
#[derive(Clone)]
pub(super) struct Credential {
    /// The connection was made with this number.
    pub(super) generation: u64,
    /// The upstream's URL at that time: it goes nowhere else.
    pub(super) upstream_url: String,
    pub(super) issuer: String,
    pub(super) token_url: String,
    pub(super) revocation_url: Option<String>,
    pub(super) client_id: String,
    /// Under which name the vault has the client, where Tollgate registered it.
    pub(super) client: Option<String>,
    pub(super) client_secret: Option<SecretString>,
    pub(super) auth_method: ClientAuth,
    pub(super) resource: String,
    pub(super) scopes: Vec<String>,
    pub(super) access_token: SecretString,
    pub(super) refresh_token: Option<SecretString>,
    pub(super) had_at: Timestamp,
    pub(super) lasts: Duration,
    /// A renewal that has begun, and that nobody has ended.
    pub(super) renewing: Option<Renewing>,
}

/// Who renews a credential: nobody else does meanwhile. One that stays when its process is gone says what has become of the
/// refresh token.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Renewing {
    pub(super) since: Timestamp,
    /// Processes with the same one take turns by a lock that dies with them; none: whoever it was has given up.
    pub(super) by: Option<String>,
}

impl Renewing {
    /// Whether somebody who shares no lock with us may still be at it.
    pub(super) fn is_elsewhere(&self, here: &str, now: Timestamp) -> bool {
        let age = now.duration_since(self.since).max(SignedDuration::ZERO).unsigned_abs();
        self.by.as_deref().is_some_and(|by| by != here) && age < LEASE
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

#[derive(Serialize, Deserialize)]
struct Written {
    generation: u64,
    upstream_url: String,
    issuer: String,
    token_url: String,
    #[serde(default)]
    revocation_url: Option<String>,
    client_id: String,
    #[serde(default)]
    client: Option<String>,
    #[serde(default)]
    client_secret: Option<String>,
    post: bool,
    resource: String,
    scopes: Vec<String>,
    access_token: String,
    #[serde(default)]
    refresh_token: Option<String>,
    had_at: Timestamp,
    lasts: u64,
    #[serde(default)]
    renewing: Option<Renewing>,
}

impl Credential {
    pub(super) fn write(&self) -> Result<SecretString, String> {
        let plain = |secret: &SecretString| secret.expose_secret().to_owned();
        let written = Written {
            generation: self.generation,
            upstream_url: self.upstream_url.clone(),
            issuer: self.issuer.clone(),
            token_url: self.token_url.clone(),
            revocation_url: self.revocation_url.clone(),
            client_id: self.client_id.clone(),
            client: self.client.clone(),
            client_secret: self.client_secret.as_ref().map(plain),
            post: self.auth_method == ClientAuth::Post,
            resource: self.resource.clone(),
            scopes: self.scopes.clone(),
            access_token: plain(&self.access_token),
            refresh_token: self.refresh_token.as_ref().map(plain),
            had_at: self.had_at,
            lasts: self.lasts.as_secs(),
            renewing: self.renewing.clone(),
        };
        serde_json::to_string(&written).map(SecretString::from).map_err(|_| "it cannot be written".to_owned())
    }

    pub(super) fn read(text: &SecretString) -> Option<Self> {
        let written: Written = serde_json::from_str(text.expose_secret()).ok()?;
        Some(Self {
            generation: written.generation,
            upstream_url: written.upstream_url,
            issuer: written.issuer,
            token_url: written.token_url,
            revocation_url: written.revocation_url,
            client_id: written.client_id,
            client: written.client,
            client_secret: written.client_secret.map(SecretString::from),
            auth_method: if written.post { ClientAuth::Post } else { ClientAuth::Basic },
            resource: written.resource,
            scopes: written.scopes,
            access_token: written.access_token.into(),
            refresh_token: written.refresh_token.map(SecretString::from),
            had_at: written.had_at,
            lasts: Duration::from_secs(written.lasts),
            renewing: written.renewing,
        })
    }

    /// What the token endpoint gave takes the place of what was there; what it does not say stays.
    pub(super) fn renew(&mut self, granted: Granted, now: Timestamp) {
        self.access_token = granted.access_token;
        if granted.refresh_token.is_some() {
            self.refresh_token = granted.refresh_token;
        }
        if let Some(scopes) = granted.scopes {
            self.scopes = bounded(scopes);
        }
        (self.had_at, self.lasts, self.renewing) = (now, lasts(granted.lasts), None);
    }

    /// What is left of its token's life, and of that until it is renewed: when less than a quarter is left.
    pub(super) fn left(&self, now: Timestamp) -> (Duration, Duration) {
        let age = now.duration_since(self.had_at).max(SignedDuration::ZERO).unsigned_abs();
        let renew = self.lasts.saturating_sub(self.lasts / 4);
        (renew.saturating_sub(age), self.lasts.saturating_sub(age))
    }
}

/// How long a token is used.
pub(super) fn lasts(said: Option<Duration>) -> Duration {
    said.unwrap_or(UNNAMED).min(LONGEST)
}

/// Scopes as they are kept: an issuer may say anything, and an upstream too. What is no scope (RFC 6749, section 3.3) is none.
pub(super) fn bounded(scopes: Vec<String>) -> Vec<String> {
    let mut kept: Vec<String> = Vec::new();
    for scope in scopes {
        let fits = scope.len() <= LONGEST_SCOPE && scope.bytes().all(is_of_scope);
        if fits && kept.len() < MOST_SCOPES && !kept.contains(&scope) {
            kept.push(scope);
        }
    }
    kept
}

/// Of a URL, which may have a secret in it.
pub(super) fn digest_of(url: &Url) -> String {
    hex::encode(Sha256::digest(url.as_str()))
}

/// Why a connection does not count that was made while its upstream had another URL.
pub(super) fn elsewhere(upstream: &UpstreamName) -> String {
    format!("`{upstream}` has another URL than the one that was connected: connect it again")
}

/// A sentence quotes with the grave accent.
fn is_of_scope(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'`')
}

/// How a connection stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It can be used.
    Connected,
    /// It cannot be used any more, and why.
    Lost(String),
}

/// What may be told of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Where, and whose.
    pub key: ConnectionKey,
    /// How it stands.
    pub standing: Standing,
    /// Since when.
    pub since: Timestamp,
    /// Who connected it; none: the local admin.
    pub by: Option<PersonId>,
    /// The issuer.
    pub issuer: String,
    /// What its tokens may be used for.
    pub scopes: Vec<String>,
    /// What the upstream wanted beyond that.
    pub wants: Vec<String>,
    pub(super) generation: u64,
    /// A digest of the URL that the upstream had: at another one it does not count.
    pub(super) url: Option<String>,
}

impl Connection {
    pub(super) fn value(&self) -> Value {
        let Self { standing, since, by, issuer, scopes, wants, generation, url, key: _ } = self;
        let lost = match standing {
            Standing::Connected => None,
            Standing::Lost(why) => Some(why),
        };
        json!({
            "lost": lost, "since": since, "by": by, "issuer": issuer, "scopes": scopes, "wants": wants,
            "generation": generation, "url": url,
        })
    }

    /// The same as it counts at an upstream that has this URL.
    pub(super) fn at(&self, url: &Url) -> Self {
        let is_elsewhere = self.url.as_ref().is_some_and(|known| *known != digest_of(url));
        let standing = match &self.standing {
            Standing::Connected if is_elsewhere => Standing::Lost(elsewhere(&self.key.upstream)),
            standing => standing.clone(),
        };
        Self { standing, ..self.clone() }
    }

    /// As the API and the command line show it.
    pub fn form(&self) -> Value {
        let Self { standing, since, by, issuer, scopes, wants, key, generation: _, url: _ } = self;
        let (state, reason) = match standing {
            Standing::Connected => ("connected", None),
            Standing::Lost(why) => ("lost", Some(why)),
        };
        json!({
            "upstream": key.upstream, "holder": key.holder.to_string(), "state": state, "reason": reason,
            "since": since, "by": by, "issuer": issuer, "scopes": scopes, "wants": wants,
        })
    }

    /// One that cannot be read is none: somebody connects it again.
    pub(super) fn read(entry: &RegisterEntry) -> Option<Self> {
        let value = &*entry.value;
        let texts = |name: &str| {
            let all = value.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            all.iter().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>()
        };
        let text = |name: &str| value.get(name).and_then(Value::as_str);
        Some(Self {
            key: ConnectionKey::parse(&entry.key)?,
            standing: text("lost").map_or(Standing::Connected, |why| Standing::Lost(why.to_owned())),
            since: text("since")?.parse().ok()?,
            by: text("by").map(PersonId::from),
            issuer: text("issuer").unwrap_or_default().to_owned(),
            scopes: texts("scopes"),
            wants: texts("wants"),
            generation: value.get("generation").and_then(Value::as_u64)?,
            url: text("url").map(str::to_owned),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credential() -> Credential {
        Credential {
            generation: 7,
            upstream_url: "https://crm.example/mcp".to_owned(),
            issuer: "https://login.example".to_owned(),
            token_url: "https://login.example/token".to_owned(),
            revocation_url: None,
            client_id: "c".to_owned(),
            client: None,
            client_secret: Some("s3cret-client".to_owned().into()),
            auth_method: ClientAuth::Post,
            resource: "https://crm.example/mcp".to_owned(),
            scopes: vec!["read".to_owned()],
            access_token: "s3cret-access".to_owned().into(),
            refresh_token: Some("s3cret-refresh".to_owned().into()),
            had_at: Timestamp::from_second(1_000).unwrap(),
            lasts: Duration::from_secs(400),
            renewing: Some(Renewing {
                since: Timestamp::from_second(1_000).unwrap(),
                by: Some("here".to_owned()),
            }),
        }
    }

    #[test]
    fn it_is_read_as_it_was_written_and_shows_no_secret() {
        let written = credential().write().unwrap();
        let read = Credential::read(&written).unwrap();
        assert_eq!(read.write().unwrap().expose_secret(), written.expose_secret());
        assert!(!format!("{read:?} {written:?}").contains("s3cret"));
    }

    #[test]
    fn it_is_renewed_when_less_than_a_quarter_is_left() {
        let check = |at: i64, renew: u64, lasts: u64| {
            let left = credential().left(Timestamp::from_second(at).unwrap());
            assert_eq!(left, (Duration::from_secs(renew), Duration::from_secs(lasts)), "{at}");
        };
        check(1_000, 300, 400);
        check(1_299, 1, 101);
        check(1_300, 0, 100);
        check(1_400, 0, 0);
        // A clock that goes back makes it no older, and no younger than it was.
        check(900, 300, 400);
    }

    #[test]
    fn a_renewal_that_others_have_begun_is_waited_for_and_not_for_ever() {
        let check = |here: &str, at: i64, expect: bool| {
            let renewing = credential().renewing.unwrap();
            let now = Timestamp::from_second(at).unwrap();
            assert_eq!(renewing.is_elsewhere(here, now), expect, "{here} {at}");
        };
        check("there", 1_044, true);
        check("there", 1_045, false);
        // A clock that goes back makes it no older.
        check("there", 900, true);
        // Whoever has the lock of its machine knows that it is over.
        check("here", 1_001, false);
        let given_up = Renewing { by: None, ..credential().renewing.unwrap() };
        assert!(!given_up.is_elsewhere("there", given_up.since));
    }

    #[test]
    fn what_the_endpoint_does_not_say_stays() {
        let mut credential = credential();
        let granted = Granted {
            access_token: "new".to_owned().into(),
            refresh_token: None,
            lasts: None,
            scopes: Some(["a", "a", "\u{202e}", "c\"", "c\\", "`c`", "c d", "b"].map(str::to_owned).into()),
        };
        credential.renew(granted, Timestamp::from_second(2_000).unwrap());
        assert_eq!(credential.refresh_token.as_ref().unwrap().expose_secret(), "s3cret-refresh");
        assert!(credential.renewing.is_none());
        assert_eq!((credential.scopes, credential.lasts), (vec!["a".to_owned(), "b".to_owned()], UNNAMED));
    }
}
