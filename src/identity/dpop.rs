//! Proof that whoever sends a token holds the key it is bound to (DPoP, RFC 9449): a small JWT for this one request, signed
//! with that key.

use super::token::{algorithm, claims, is_signed, object, seconds};
use crate::{clock::Clock, model::AgentId};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use dashmap::DashMap;
use jsonwebtoken::{
    DecodingKey,
    jwk::{Jwk, ThumbprintHash},
};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::{collections::HashMap, sync::Arc};
use url::Url;

/// The algorithms that proofs may be signed with, as metadata and challenges name them.
pub const DPOP_ALGORITHMS: [&str; 9] =
    ["ES256", "ES384", "EdDSA", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512"];
/// How old a proof may be, and how far the client's clock may be ahead.
const OLDEST: i64 = 60;
const AHEAD: i64 = 30;
/// The longest proof, and the longest id of one.
const MOST_BYTES: usize = 8 * 1024;
const LONGEST_ID: usize = 256;
/// Proofs of one agent that are remembered at a time: with more of them within a minute and a half it has to wait.
const MOST_REMEMBERED: usize = 50_000;
/// Members of a key that belong to its private half, or to a shared secret.
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// What a request says of the key that its token is bound to.
#[derive(Clone, Copy, Debug)]
pub struct Possession<'p> {
    /// The value of its `DPoP` header; of several, which may not be, an empty one.
    pub proof: &'p [u8],
    /// The method.
    pub method: &'p str,
    /// Where it went, as its client knows that place; none: nobody here knows it.
    pub url: Option<&'p Url>,
}

/// Why a proof is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unproven {
    /// This is wrong with it.
    Bad(&'static str),
    /// There were too many.
    TooMany,
}

/// The proofs that were taken lately: each counts once.
#[derive(Debug)]
pub(super) struct Proofs {
    clock: Arc<dyn Clock>,
    taken: DashMap<AgentId, HashMap<[u8; 32], i64>>,
}

impl Proofs {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, taken: DashMap::new() }
    }

    /// Takes the proof that an agent sends with a token that is bound to the key of this thumbprint.
    pub(super) fn take(
        &self,
        agent: &AgentId,
        (token, thumbprint): (&[u8], &str),
        sent: Possession<'_>,
    ) -> Result<(), Unproven> {
        let now = self.clock.now().as_second();
        let Proof { id, made } = read(token, thumbprint, sent, now).map_err(Unproven::Bad)?;
        let id: [u8; 32] = Sha256::digest([thumbprint, "\n", &id].concat()).into();
        let mut taken = self.taken.entry(agent.clone()).or_default();
        if taken.len() >= MOST_REMEMBERED {
            taken.retain(|_, made| is_fresh(*made, now));
            if taken.len() >= MOST_REMEMBERED {
                return Err(Unproven::TooMany);
            }
        }
        match taken.insert(id, made) {
            None => Ok(()),
            Some(_) => Err(Unproven::Bad("it was used before")),
        }
    }
}

fn is_fresh(made: i64, now: i64) -> bool {
    made >= now.saturating_sub(OLDEST) && made <= now.saturating_add(AHEAD)
}

struct Proof {
    id: String,
    made: i64,
}

/// RFC 9449, section 4.3. Which of these is wrong is told to its sender, who made it.
fn read(token: &[u8], thumbprint: &str, sent: Possession<'_>, now: i64) -> Result<Proof, &'static str> {
    let text = std::str::from_utf8(sent.proof).ok().filter(|text| text.len() <= MOST_BYTES);
    let text = text.filter(|text| text.split('.').count() == 3).ok_or("it is no JWT")?;
    let head = text.split('.').next().and_then(object).ok_or("its head cannot be read")?;
    if head.get("typ").and_then(Value::as_str) != Some("dpop+jwt") {
        return Err("its `typ` is not `dpop+jwt`");
    }
    if head.contains_key("crit") {
        return Err("its head has `crit`");
    }
    let algorithm = algorithm(&head).ok_or("its `alg` is not one of those that count")?;
    let jwk = head.get("jwk").and_then(Value::as_object).ok_or("its head has no `jwk`")?;
    if PRIVATE.iter().any(|member| jwk.contains_key(*member)) {
        return Err("its `jwk` is no public key");
    }
    let jwk: Jwk = serde_json::from_value(Value::Object(jwk.clone())).map_err(|_| "its `jwk` is no key")?;
    let key = DecodingKey::from_jwk(&jwk).map_err(|_| "its `jwk` is no key")?;
    if !is_signed(text, &key, algorithm) {
        return Err("it is not signed with its `jwk`");
    }
    if jwk.thumbprint(ThumbprintHash::SHA256).ok().as_deref() != Some(thumbprint) {
        return Err("the token is bound to another key");
    }
    let claims = claims(text).ok_or("its claims cannot be read")?;
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    if text("htm") != Some(sent.method) {
        return Err("its `htm` is another method");
    }
    let meant = text("htu").and_then(|htu| Url::parse(htu).ok()).ok_or("its `htu` is no URL")?;
    let here = sent.url.ok_or(
        "this gateway does not know under which address it was reached: whoever runs it sets `[gateway] public_url`",
    )?;
    if !is_same_place(&meant, here) {
        return Err("its `htu` is another place");
    }
    let hash = URL_SAFE_NO_PAD.encode(Sha256::digest(token));
    if text("ath") != Some(&hash) {
        return Err("its `ath` is of another token");
    }
    let made = seconds(&claims, "iat")?.ok_or("it has no `iat`")?.as_second();
    if !is_fresh(made, now) {
        return Err("its `iat` is too long ago, or to come");
    }
    let id = text("jti").filter(|id| !id.is_empty() && id.len() <= LONGEST_ID).ok_or("it has no `jti`")?;
    Ok(Proof { id: id.to_owned(), made })
}

/// Whether two URLs name one place, whatever their query, and whether or not a slash stands behind.
fn is_same_place(one: &Url, other: &Url) -> bool {
    let path = |url: &Url| url.path().trim_end_matches('/').to_owned();
    one.scheme() == other.scheme()
        && one.host() == other.host()
        && one.port_or_known_default() == other.port_or_known_default()
        && path(one) == path(other)
}
