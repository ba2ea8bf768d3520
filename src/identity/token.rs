//! Access tokens: JWTs of one issuer (RFC 9068), verified against its published keys.
//!
//! Only asymmetric signatures count: with a shared secret, whoever can check a token could make one. A token that was
//! verified is remembered by its SHA-256 until it expires or the keys change, so that the next request costs a look-up.

use super::{
    AgentPrincipal, AuthError, Delegation, MAX_TOKEN_BYTES, Principal, Proof,
    delegation::{actors, text_claim},
    keys::Keys,
    still_valid,
};
use crate::{
    clock::Clock,
    config::{AuthConfig, JwtConfig},
    model::{AgentId, CapabilityId, PersonId, json},
    policy::Authority,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use dashmap::DashMap;
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey};
use secrecy::SecretString;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use std::{
    collections::BTreeSet,
    hash::{Hash, Hasher},
    sync::Arc,
};

/// How far the issuer's clock and ours may be apart.
pub(super) const LEEWAY_SECONDS: i64 = 30;
/// Keys that are tried for one token: an issuer with more of them says in `kid` which it is.
pub(super) const MOST_TRIED: usize = 8;
/// Tokens that are remembered at most; more are verified each time.
const MOST_REMEMBERED: usize = 10_000;

/// What a verified token said. Two of the same bytes are the same.
#[derive(Clone)]
pub struct Token {
    digest: [u8; 32],
    /// The same of all tokens that say the same of who asks, through whom and for what.
    whose: [u8; 32],
    /// As it was sent: to be exchanged at the issuer, and for nothing else.
    text: Option<Arc<SecretString>>,
    expires: Timestamp,
    /// Under which rules it was verified: others do not know it.
    by: Arc<JwtConfig>,
    /// What its scopes grant of what the agent has; none: all of it.
    pub grants: Option<Arc<[CapabilityId]>>,
    /// The thumbprint of the key that it is bound to (RFC 9449).
    pub(super) thumbprint: Option<Arc<str>>,
    /// The SHA-256 of the certificate that it is bound to (RFC 8705).
    pub(super) certificate: Option<[u8; 32]>,
}

impl PartialEq for Token {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for Token {}

impl Hash for Token {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.digest.hash(state);
    }
}

impl Token {
    /// Whose it is: the same of the token that its client gets next.
    pub fn whose(&self) -> [u8; 32] {
        self.whose
    }

    /// When it ends.
    pub fn expires(&self) -> Timestamp {
        self.expires
    }

    /// As it was sent, where tokens are exchanged. It goes to its issuer, and nowhere else.
    pub fn text(&self) -> Option<&Arc<SecretString>> {
        self.text.as_ref()
    }

    /// Whether it still counts under these rules at this time.
    pub(super) fn is_valid(&self, rules: Option<&Arc<JwtConfig>>, now: Timestamp) -> bool {
        rules.is_some_and(|rules| Arc::ptr_eq(rules, &self.by) || **rules == *self.by)
            && !is_over(self.expires, now)
    }
}

pub(super) fn is_over(expires: Timestamp, now: Timestamp) -> bool {
    now.as_second() >= expires.as_second().saturating_add(LEEWAY_SECONDS)
}

/// A token that was verified, and with which generation of the keys.
struct Known {
    agent: AgentPrincipal,
    expires: Timestamp,
    generation: u64,
}

/// Verifies tokens and remembers them.
pub(super) struct Tokens {
    clock: Arc<dyn Clock>,
    keys: Keys,
    known: DashMap<[u8; 32], Known>,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tokens")
    }
}

/// Whether a bearer has the form of a signed token: three parts, of which the first is a JSON object.
pub(super) fn has_form(bearer: &[u8]) -> bool {
    bearer.len() <= MAX_TOKEN_BYTES
        && bearer.starts_with(b"ey")
        && bearer.iter().filter(|b| **b == b'.').count() == 2
}

impl Tokens {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { keys: Keys::new(clock.clone()), clock, known: DashMap::new() }
    }

    /// Who sent a token that was verified before, if it still counts and the keys are not due to be looked at again.
    pub(super) fn remembered(
        &self,
        digest: &[u8; 32],
        auth: &AuthConfig,
        authority: &Authority,
    ) -> Option<Principal> {
        let known = self.known.get(digest)?;
        let fresh = self.keys.is_fresh(auth.jwt.as_ref()?, known.generation);
        // There may be a person of the agent's name by now: see `user_of`.
        let named = known.agent.delegation.as_ref().is_some_and(|delegation| delegation.user.is_some());
        let same = named || !has_person(authority, &known.agent.id);
        let principal = Principal::Agent(known.agent.clone());
        (fresh && same && still_valid(authority, auth, self.clock.now(), &principal)).then_some(principal)
    }

    /// Verifies a token. The error says no more than that it is not one of ours, or that nobody can tell now.
    pub(super) async fn verify(
        &self,
        bearer: &[u8],
        digest: [u8; 32],
        rules: &Arc<JwtConfig>,
        authority: &Authority,
    ) -> Result<Principal, AuthError> {
        let refused = |why: &'static str| {
            tracing::info!(reason = why, "a token was refused");
            AuthError::Unknown
        };
        let text = std::str::from_utf8(bearer).map_err(|_| refused("it is no text"))?;
        let head = Head::read(text).map_err(refused)?;
        let keys = self.keys.for_token(rules, head.kid.as_deref()).await;
        let (set, generation) = keys.ok_or(AuthError::Unavailable)?;
        let mut keys = set.candidates(head.kid.as_deref(), head.algorithm).take(MOST_TRIED).peekable();
        if keys.peek().is_none() {
            return Err(refused("the issuer's keys have none with its `kid` for its `alg`"));
        }
        if !keys.any(|key| is_signed(text, key, head.algorithm)) {
            return Err(refused("its signature is not by the issuer's key"));
        }
        let claims =
            claims(text).ok_or_else(|| refused("its claims are no JSON object, or name one twice"))?;
        let now = self.clock.now();
        let judged = judge(&claims, (text, digest), rules, now);
        let judged = judged.and_then(|(id, token)| {
            if !authority.agents.contains_key(&id) {
                return Err("it names no agent of authority.yaml");
            }
            let delegation = delegation(&claims, rules, &id, authority)?;
            Ok((AgentPrincipal { id, proof: Proof::Token(token.clone()), delegation }, token.expires))
        });
        let (agent, expires) = judged.map_err(refused)?;
        self.remember(digest, Known { agent: agent.clone(), expires, generation }, now);
        Ok(Principal::Agent(agent))
    }

    fn remember(&self, digest: [u8; 32], known: Known, now: Timestamp) {
        if self.known.len() >= MOST_REMEMBERED {
            self.known.retain(|_, known| !is_over(known.expires, now));
        }
        if self.known.len() < MOST_REMEMBERED {
            self.known.insert(digest, known);
        }
    }
}

fn has_person(authority: &Authority, agent: &AgentId) -> bool {
    authority.people.contains_key(&PersonId::from(agent.shared()))
}

/// For whom the agent of a token acts. A token that the agent got for itself names it as its subject too (RFC 9068,
/// section 2.2), and then means no person; somebody whom authority.yaml does not have is refused.
fn delegation(
    claims: &Map<String, Value>,
    rules: &JwtConfig,
    agent: &AgentId,
    authority: &Authority,
) -> Result<Option<Arc<Delegation>>, &'static str> {
    let actors = actors(claims)?;
    let named = match rules.user_claim.as_deref() {
        Some(claim) => text_claim(claims, claim)?,
        None => None,
    };
    let user = match named {
        Some(name) if name == agent.as_str() && !has_person(authority, agent) => None,
        Some(name) => Some(PersonId::from(name)),
        None => None,
    };
    if user.as_ref().is_some_and(|user| !authority.people.contains_key(user)) {
        return Err("the person it names is not in authority.yaml");
    }
    Ok((user.is_some() || !actors.is_empty()).then(|| Arc::new(Delegation { user, actors })))
}

/// What is looked at before a signature is.
pub(super) struct Head {
    pub(super) algorithm: Algorithm,
    pub(super) kid: Option<String>,
    /// It says of itself that it is an access token (RFC 9068), and is no other.
    pub(super) is_access_token: bool,
}

impl Head {
    /// The error says why it is none of an access token or id_token.
    pub(super) fn read(token: &str) -> Result<Self, &'static str> {
        let head = token.split('.').next().and_then(object);
        let head = head.ok_or("its head is no JSON object, or names a member twice")?;
        // RFC 7515, section 4.1.11: what is critical and not understood makes a token invalid.
        if head.contains_key("crit") {
            return Err("its head has `crit`, and none of that is understood here");
        }
        // RFC 8725, section 3.11: tokens made for something else are not access tokens.
        let kind =
            head.get("typ").map_or(Some("jwt"), Value::as_str).unwrap_or_default().to_ascii_lowercase();
        if !["jwt", "at+jwt", "application/at+jwt"].contains(&kind.as_str()) {
            return Err("its `typ` is not that of an access token");
        }
        let algorithm = algorithm(&head).ok_or("its `alg` is none that is taken")?;
        let kid = match head.get("kid") {
            None => None,
            Some(Value::String(kid)) => Some(kid.clone()),
            Some(_) => return Err("its `kid` is no text"),
        };
        Ok(Self { algorithm, kid, is_access_token: kind != "jwt" })
    }
}

/// The algorithm that a head names, where it is an asymmetric one.
pub(super) fn algorithm(head: &Map<String, Value>) -> Option<Algorithm> {
    Some(match head.get("alg")?.as_str()? {
        "RS256" => Algorithm::RS256,
        "RS384" => Algorithm::RS384,
        "RS512" => Algorithm::RS512,
        "PS256" => Algorithm::PS256,
        "PS384" => Algorithm::PS384,
        "PS512" => Algorithm::PS512,
        "ES256" => Algorithm::ES256,
        "ES384" => Algorithm::ES384,
        "EdDSA" => Algorithm::EdDSA,
        _ => return None,
    })
}

/// Read strictly: what two readers could take for two things is nothing.
pub(super) fn object(part: &str) -> Option<Map<String, Value>> {
    match json::parse(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()? {
        Value::Object(object) => Some(object),
        _ => None,
    }
}

pub(super) fn is_signed(token: &str, key: &DecodingKey, algorithm: Algorithm) -> bool {
    token.rsplit_once('.').is_some_and(|(message, signature)| {
        jsonwebtoken::crypto::verify(signature, message.as_bytes(), key, algorithm).unwrap_or(false)
    })
}

/// What a signed token says. Times and names are judged by [`judge`], with our own clock.
pub(super) fn claims(token: &str) -> Option<Map<String, Value>> {
    object(token.split('.').nth(1)?)
}

pub(super) fn seconds(claims: &Map<String, Value>, name: &str) -> Result<Option<Timestamp>, &'static str> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let whole = value.as_i64().or_else(|| {
        // RFC 7519 allows fractions; the second that has begun is what counts. What has an exponent is not cut short.
        let text = value.as_number()?.to_string();
        if text.contains(['e', 'E']) { None } else { text.split('.').next()?.parse().ok() }
    });
    let time = whole.and_then(|seconds| Timestamp::from_second(seconds).ok());
    time.map(Some).ok_or("a time in it is not a number of seconds")
}

/// RFC 9068, section 4, and RFC 7519: issuer, audience, times, and the agent it is for.
fn judge(
    claims: &Map<String, Value>,
    (sent, digest): (&str, [u8; 32]),
    rules: &Arc<JwtConfig>,
    now: Timestamp,
) -> Result<(AgentId, Token), &'static str> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    if text("iss") != Some(rules.issuer.as_str()) {
        return Err("another issuer");
    }
    let meant =
        |name: &Value| name.as_str().is_some_and(|name| rules.audience.iter().any(|known| known == name));
    let for_us = match claims.get("aud") {
        Some(Value::Array(names)) => names.iter().any(meant),
        Some(name) => meant(name),
        None => false,
    };
    if !for_us {
        return Err("another audience");
    }
    let expires = seconds(claims, "exp")?.ok_or("it never expires")?;
    if is_over(expires, now) {
        return Err("it has expired");
    }
    let begins = seconds(claims, "nbf")?;
    if begins.is_some_and(|begins| begins.as_second() > now.as_second().saturating_add(LEEWAY_SECONDS)) {
        return Err("it is not valid yet");
    }
    let agent = text_claim(claims, &rules.agent_claim)?
        .filter(|agent| !agent.is_empty())
        .ok_or("the claim that names the agent is missing")?;
    let grants = (!rules.scope_map.is_empty()).then(|| {
        let granted: BTreeSet<&CapabilityId> =
            scopes(claims).iter().filter_map(|scope| rules.scope_map.get(*scope)).flatten().collect();
        granted.into_iter().cloned().collect::<Arc<[_]>>()
    });
    let (thumbprint, certificate) = bound(claims)?;
    let text = rules.exchanged.then(|| Arc::new(sent.to_owned().into()));
    let whose = whose(claims, rules, digest);
    let token = Token { digest, whose, text, expires, by: rules.clone(), grants, thumbprint, certificate };
    Ok((AgentId::from(agent), token))
}

/// What tokens have in common that one client gets one after the other: all that an issuer gives another token for. One that names
/// nobody has nothing in common with any other.
fn whose(claims: &Map<String, Value>, rules: &JwtConfig, digest: [u8; 32]) -> [u8; 32] {
    if !claims.contains_key("sub") {
        return digest;
    }
    let mut scopes = scopes(claims);
    scopes.sort_unstable();
    let names = ["iss", "sub", "act", "azp", "client_id", &rules.agent_claim];
    let named: Vec<Option<&Value>> =
        names.into_iter().chain(rules.user_claim.as_deref()).map(|name| claims.get(name)).collect();
    Sha256::digest(json!([named, scopes]).to_string()).into()
}

/// The thumbprint of a key, and the hash of a certificate.
type Bonds = (Option<Arc<str>>, Option<[u8; 32]>);

/// The key and the certificate that a token is bound to, where it is: `cnf` (RFC 7800). What cannot be checked is no less of a
/// bond.
fn bound(claims: &Map<String, Value>) -> Result<Bonds, &'static str> {
    let Some(cnf) = claims.get("cnf") else { return Ok((None, None)) };
    let wrong = "it is bound to what cannot be checked here";
    let cnf = cnf.as_object().filter(|cnf| !cnf.is_empty()).ok_or(wrong)?;
    let (mut thumbprint, mut certificate) = (None, None);
    for (name, value) in cnf {
        let text = value.as_str().ok_or(wrong)?;
        let hash = URL_SAFE_NO_PAD.decode(text).ok().and_then(|hash| <[u8; 32]>::try_from(hash).ok());
        let hash = hash.ok_or(wrong)?;
        match name.as_str() {
            "jkt" => thumbprint = Some(Arc::from(text)),
            "x5t#S256" => certificate = Some(hash),
            _ => return Err(wrong),
        }
    }
    Ok((thumbprint, certificate))
}

/// `scope` (RFC 9068), or `scp` as some issuers write it.
fn scopes(claims: &Map<String, Value>) -> Vec<&str> {
    let claim = claims.get("scope").or_else(|| claims.get("scp"));
    match claim {
        Some(Value::String(text)) => text.split(' ').filter(|scope| !scope.is_empty()).collect(),
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
        Some(_) | None => Vec::new(),
    }
}
