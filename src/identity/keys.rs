//! An issuer's public keys (RFC 7517): read when they are first needed, again from time to time, and at once where a token
//! names a key that is not among them (rotation), but never more often than the issuer can bear.

use crate::{
    clock::Clock,
    config::{JwksSource, JwtConfig, io_reason},
    outbound::Outbound,
};
use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::{Request, header};
use http_body_util::Full;
use jsonwebtoken::{
    Algorithm, AlgorithmFamily, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse},
};
use serde::Deserialize as _;
use serde_json::Value;
use std::{io, sync::Arc, time::Duration};
use tokio::{io::AsyncReadExt as _, sync::Semaphore};

/// When keys from a URL are looked at again.
const FRESH: Duration = Duration::from_secs(300);
/// The same of a file.
const FRESH_FILE: Duration = Duration::from_secs(5);
/// How long keys are used where no newer ones can be fetched; after that nobody is let in by them.
const USABLE: Duration = Duration::from_secs(3_600);
/// Between two attempts.
const PAUSE: Duration = Duration::from_secs(5);
/// How long one attempt may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Tokens that wait for one attempt. Nobody is authenticated yet, so this is for all together.
const MOST_WAITING: usize = 256;
/// The largest set.
const MOST_BYTES: usize = 256 * 1024;
const MOST_KEYS: usize = 100;

/// One key that can check signatures.
struct Key {
    id: Option<String>,
    /// Where it is for one algorithm only.
    algorithm: Option<String>,
    key: DecodingKey,
}

/// The keys as they were read once.
pub(super) struct KeySet {
    keys: Vec<Key>,
}

impl KeySet {
    fn read(bytes: &[u8]) -> Result<Self, String> {
        let set: Value = serde_json::from_slice(bytes).map_err(|_| "what came back is no JSON".to_owned())?;
        let Some(Value::Array(list)) = set.get("keys") else {
            return Err("what came back is no JWK set: it has no list `keys`".to_owned());
        };
        // A key that cannot be read is somebody else's (RFC 7517, section 5).
        let keys = list.iter().take(MOST_KEYS).filter_map(usable).collect();
        Ok(Self { keys })
    }

    fn has(&self, id: Option<&str>) -> bool {
        match id {
            Some(id) => self.keys.iter().any(|key| key.id.as_deref() == Some(id)),
            None => !self.keys.is_empty(),
        }
    }

    /// Keys that may have made such a signature.
    pub(super) fn candidates(
        &self,
        id: Option<&str>,
        algorithm: Algorithm,
    ) -> impl Iterator<Item = &DecodingKey> {
        let named = move |key: &&Key| id.is_none() || key.id.as_deref() == id;
        let fits = move |key: &&Key| {
            key.key.family() == algorithm.family()
                && key.algorithm.as_deref().is_none_or(|only| only == name(algorithm))
        };
        self.keys.iter().filter(named).filter(fits).map(|key| &key.key)
    }
}

fn name(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::RS256 => "RS256",
        Algorithm::RS384 => "RS384",
        Algorithm::RS512 => "RS512",
        Algorithm::PS256 => "PS256",
        Algorithm::PS384 => "PS384",
        Algorithm::PS512 => "PS512",
        Algorithm::ES256 => "ES256",
        Algorithm::ES384 => "ES384",
        Algorithm::EdDSA => "EdDSA",
        _ => "",
    }
}

/// A key for signatures that whoever reads it can only check.
fn usable(value: &Value) -> Option<Key> {
    let jwk = Jwk::deserialize(value).ok()?;
    if jwk.common.public_key_use.as_ref().is_some_and(|u| *u != PublicKeyUse::Signature) {
        return None;
    }
    if jwk.common.key_operations.as_ref().is_some_and(|ops| !ops.contains(&KeyOperations::Verify)) {
        return None;
    }
    let key = DecodingKey::from_jwk(&jwk).ok()?;
    if key.family() == AlgorithmFamily::Hmac {
        return None;
    }
    // A curve is for one algorithm (RFC 7518, section 3.4), whatever the point would do for.
    let own = match &jwk.algorithm {
        AlgorithmParameters::EllipticCurve(of) => match of.curve {
            EllipticCurve::P256 => Some("ES256"),
            EllipticCurve::P384 => Some("ES384"),
            _ => return None,
        },
        AlgorithmParameters::OctetKeyPair(of) if of.curve == EllipticCurve::Ed25519 => Some("EdDSA"),
        AlgorithmParameters::RSA(_) => None,
        _ => return None,
    };
    let named = value.get("alg").and_then(Value::as_str);
    if own.zip(named).is_some_and(|(own, named)| own != named) {
        return None;
    }
    let algorithm = named.or(own).map(str::to_owned);
    Some(Key { id: jwk.common.key_id, algorithm, key })
}

/// A set with when it was read, and for whom.
struct Held {
    of: Arc<JwtConfig>,
    set: Arc<KeySet>,
    read: Duration,
    /// Grows where another set came back.
    generation: u64,
    bytes: Vec<u8>,
}

impl Held {
    fn is_for(&self, rules: &Arc<JwtConfig>) -> bool {
        Arc::ptr_eq(&self.of, rules) || *self.of == **rules
    }
}

/// The keys of the issuer in force.
pub(super) struct Keys {
    clock: Arc<dyn Clock>,
    outbound: Outbound,
    held: ArcSwapOption<Held>,
    /// Who reads them, and when the last attempt ended.
    turn: tokio::sync::Mutex<Option<(Arc<JwtConfig>, Duration)>>,
    waiting: Semaphore,
}

impl Keys {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            outbound: Outbound::default(),
            held: ArcSwapOption::empty(),
            turn: tokio::sync::Mutex::default(),
            waiting: Semaphore::new(MOST_WAITING),
        }
    }

    fn age(&self, held: &Held) -> Duration {
        self.clock.monotonic().saturating_sub(held.read)
    }

    fn fresh_for(rules: &JwtConfig) -> Duration {
        match rules.keys {
            JwksSource::Url(_) => FRESH,
            JwksSource::File(_) => FRESH_FILE,
        }
    }

    /// Whether what was verified with this generation needs no second look.
    pub(super) fn is_fresh(&self, rules: &Arc<JwtConfig>, generation: u64) -> bool {
        self.held.load().as_ref().is_some_and(|held| {
            held.is_for(rules) && held.generation == generation && self.age(held) < Self::fresh_for(rules)
        })
    }

    /// The keys for a token with this `kid`, read again where they are old or it is not among them. None where nobody can
    /// have them now.
    pub(super) async fn for_token(
        &self,
        rules: &Arc<JwtConfig>,
        kid: Option<&str>,
    ) -> Option<(Arc<KeySet>, u64)> {
        if let Some(found) = self.good(rules, kid) {
            return Some(found);
        }
        // Where the issuer is slow, only one waits for it: the others go on with what is known.
        let mut turn = match (self.turn.try_lock(), self.usable(rules).filter(|held| held.set.has(kid))) {
            (Ok(turn), _) => turn,
            (Err(_), Some(held)) => return Some((held.set.clone(), held.generation)),
            (Err(_), None) => {
                let _waiting = self.waiting.try_acquire().ok()?;
                self.turn.lock().await
            }
        };
        // Somebody else may have read them meanwhile.
        if let Some(found) = self.good(rules, kid) {
            return Some(found);
        }
        let now = self.clock.monotonic();
        let tried = turn.as_ref().is_some_and(|(of, at)| **of == **rules && now.saturating_sub(*at) < PAUSE);
        if !tried {
            if let Err(why) = self.read(rules).await {
                tracing::error!(reason = %why, "an issuer's keys cannot be fetched");
            }
            // The pause begins when the attempt ends, or those who waited for it would each make another.
            *turn = Some((rules.clone(), self.clock.monotonic()));
        }
        // An unknown key among good ones is a bad token and not a failure; so are old keys, for a while.
        self.usable(rules).map(|held| (held.set.clone(), held.generation))
    }

    /// What is held, where it still counts.
    fn usable(&self, rules: &Arc<JwtConfig>) -> Option<Arc<Held>> {
        self.held.load_full().filter(|held| held.is_for(rules) && self.age(held) < USABLE)
    }

    fn good(&self, rules: &Arc<JwtConfig>, kid: Option<&str>) -> Option<(Arc<KeySet>, u64)> {
        let held = self.held.load();
        let held = held.as_ref().filter(|held| {
            held.is_for(rules) && held.set.has(kid) && self.age(held) < Self::fresh_for(rules)
        })?;
        Some((held.set.clone(), held.generation))
    }

    async fn read(&self, rules: &Arc<JwtConfig>) -> Result<(), String> {
        let read = self.clock.monotonic();
        let bytes = match &rules.keys {
            JwksSource::Url(url) => self.fetch(url).await?,
            JwksSource::File(path) => {
                let failed =
                    |error: io::Error| format!("`{}` cannot be read: {}", path.display(), io_reason(&error));
                let mut bytes = Vec::new();
                let file = tokio::fs::File::open(path).await.map_err(failed)?;
                file.take(MOST_BYTES as u64 + 1).read_to_end(&mut bytes).await.map_err(failed)?;
                if bytes.len() > MOST_BYTES {
                    return Err(format!("`{}` is larger than {MOST_BYTES} bytes", path.display()));
                }
                bytes
            }
        };
        let before = self.held.load_full();
        let generation = before.as_ref().map_or(0, |held| held.generation);
        let held = match before.filter(|held| held.is_for(rules) && held.bytes == bytes) {
            Some(same) => Held { of: rules.clone(), set: same.set.clone(), read, generation, bytes },
            None => {
                let set = Arc::new(KeySet::read(&bytes)?);
                Held { of: rules.clone(), set, read, generation: generation + 1, bytes }
            }
        };
        self.held.store(Some(Arc::new(held)));
        Ok(())
    }

    async fn fetch(&self, url: &url::Url) -> Result<Vec<u8>, String> {
        let request = Request::get(url.as_str())
            .header(header::ACCEPT, "application/jwk-set+json, application/json")
            .body(Full::new(Bytes::new()))
            .map_err(|_| "`jwks_url` cannot be requested".to_owned())?;
        let reply = self.outbound.send(request, MOST_BYTES, PATIENCE).await;
        let reply = reply.map_err(|error| error.to_string())?;
        if !reply.status.is_success() {
            return Err(format!("HTTP status {}", reply.status));
        }
        Ok(reply.body.to_vec())
    }
}
