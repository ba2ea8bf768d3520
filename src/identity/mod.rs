//! Credential → [`Principal`]. Keys are found by their SHA-256 digest and compared in constant time, failed attempts
//! are rate-limited per address, and a principal can be held against a later bundle (revocation).

mod certificate;
mod delegation;
mod dpop;
mod key_use;
mod keyring;
mod keys;
mod sign_in;
mod token;

pub use certificate::ClientCertificate;
pub use delegation::{Delegation, granted, user_of};
pub use dpop::{DPOP_ALGORITHMS, Possession};
pub use key_use::{KeyUse, Used};
pub use keyring::Keyring;
pub use sign_in::{
    Answer as SignInAnswer, CALLBACK, Identity, Live, SIGN_IN_TIME, SignIn, SignInError, Ticket, person_of,
};
pub use token::Token;

use self::{
    dpop::{Proofs, Unproven},
    token::Tokens,
};
use crate::{
    clock::Clock,
    config::AuthConfig,
    model::{AgentId, PersonId},
    policy::{ApiKey, Authority, Person, Role},
};
use dashmap::DashMap;
use jiff::Timestamp;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

/// Who is authenticated.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Principal {
    /// An agent.
    Agent(AgentPrincipal),
    /// A person; on `/mcp` one sees Tollgate's own approver tools only.
    Person(PersonPrincipal),
}

/// An authenticated agent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AgentPrincipal {
    /// Which.
    pub id: AgentId,
    /// By what.
    pub proof: Proof,
    /// For whom it acts, as something says that is not the agent; none: nobody was named.
    pub delegation: Option<Arc<Delegation>>,
}

impl AgentPrincipal {
    /// An agent that acts for nobody in particular.
    pub fn new(id: AgentId, proof: Proof) -> Self {
        Self { id, proof, delegation: None }
    }
}

/// An authenticated person.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PersonPrincipal {
    /// Who.
    pub id: PersonId,
    /// By what.
    pub proof: Proof,
}

/// What a principal was authenticated by, kept so that a revocation is seen.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Proof {
    /// A key with this SHA-256.
    Key([u8; 32]),
    /// An access token of the configured issuer.
    Token(Token),
    /// The process that started a stdio front named it.
    Stdio,
    /// The certificate of its connection, and the URI in it that names it.
    Certificate(Arc<ClientCertificate>, Arc<str>),
    /// `[auth] anonymous_agent`.
    Anonymous,
}

/// What a request brings by which its sender may be known.
#[derive(Clone, Copy, Debug, Default)]
pub struct Presented<'p> {
    /// The `Authorization` header.
    pub authorization: Option<&'p [u8]>,
    /// The certificate of its connection.
    pub certificate: Option<&'p Arc<ClientCertificate>>,
    /// Its `DPoP` header.
    pub possession: Option<Possession<'p>>,
}

impl<'p> Presented<'p> {
    /// A header alone.
    pub fn header(authorization: Option<&'p [u8]>) -> Self {
        Self { authorization, ..Self::default() }
    }
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Key(_) => "Key",
            Self::Token(_) => "Token",
            Self::Stdio => "Stdio",
            Self::Certificate(..) => "Certificate",
            Self::Anonymous => "Anonymous",
        })
    }
}

impl Principal {
    /// One text per principal, for session binding and caps: `agent:NAME`, `agent:NAME for PERSON` or `person:NAME`.
    pub fn key(&self) -> String {
        self.key_parts().concat()
    }

    /// Whether a text is its [`Principal::key`].
    pub fn has_key(&self, text: &str) -> bool {
        let rest = self.key_parts().into_iter().try_fold(text, |rest, part| rest.strip_prefix(part));
        rest == Some("")
    }

    /// The parts of [`Principal::key`]. No name has a colon or a space.
    fn key_parts(&self) -> [&str; 4] {
        match self {
            Self::Agent(agent) => match self.user() {
                Some(user) => ["agent:", &agent.id, " for ", user],
                None => ["agent:", &agent.id, "", ""],
            },
            Self::Person(person) => ["person:", &person.id, "", ""],
        }
    }

    /// The person that something other than the agent says it acts for.
    pub fn user(&self) -> Option<&PersonId> {
        self.delegation().and_then(|delegation| delegation.user.as_ref())
    }

    /// For whom the agent acts.
    pub fn delegation(&self) -> Option<&Arc<Delegation>> {
        match self {
            Self::Agent(agent) => agent.delegation.as_ref(),
            Self::Person(_) => None,
        }
    }

    /// The agent, where it is one.
    pub fn agent(&self) -> Option<&AgentId> {
        match self {
            Self::Agent(agent) => Some(&agent.id),
            Self::Person(_) => None,
        }
    }
}

/// Why nobody is authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// No key was given, and no anonymous agent is configured.
    #[error("no credential: send `Authorization: Bearer <key>`")]
    Missing,
    /// The header is not `Bearer <key>`, or nobody has this key.
    #[error(
        "unknown credential: nobody here has this key or token. Is it whole, and of this gateway? `tollgate agents rotate NAME` and \
         `tollgate people rotate NAME` make new keys"
    )]
    Unknown,
    /// It is a key that somebody had.
    #[error("this key has expired: ask whoever gave it to you for a new one")]
    Expired,
    /// The token is bound to a key, and that its sender has this key is not proven.
    #[error("no proof that this token's key is yours: {0}")]
    Unproven(&'static str),
    /// Too many failures from this address.
    #[error("too many failed attempts: try again in {} s", .0.as_secs().max(1))]
    RateLimited(Duration),
    /// It has the form of an access token, and is not remembered: [`Doorkeeper::verify`] can tell.
    #[error("a token that is yet to be verified")]
    Unverified,
    /// The issuer's keys cannot be fetched, so no token can be verified.
    #[error("tokens cannot be verified now: the issuer's keys cannot be fetched")]
    Unavailable,
}

/// How many failures an address may make in [`FAILURE_WINDOW`].
const MAX_FAILURES: u32 = 20;
/// The window of [`MAX_FAILURES`].
const FAILURE_WINDOW: Duration = Duration::from_secs(60);
/// How many networks are remembered at most, and how often those whose window is over are forgotten.
const MAX_ADDRESSES: usize = 10_000;
const SWEEP: Duration = Duration::from_secs(1);
/// Longer keys are refused unread.
const MAX_KEY_BYTES: usize = 4096;
/// The same of access tokens.
const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// Counts failed attempts per address, and remembers tokens that were verified.
#[derive(Debug)]
pub struct Doorkeeper {
    clock: Arc<dyn Clock>,
    tokens: Tokens,
    proofs: Proofs,
    used: KeyUse,
    failures: DashMap<IpAddr, (Duration, u32)>,
    swept: Mutex<Duration>,
}

impl Doorkeeper {
    /// With no failures yet.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            tokens: Tokens::new(clock.clone()),
            proofs: Proofs::new(clock.clone()),
            used: KeyUse::default(),
            clock,
            failures: DashMap::new(),
            swept: Mutex::default(),
        }
    }

    /// Authenticates whoever sends a request. A right key is let in even while its address is limited,
    /// so that a noisy neighbour behind one NAT cannot lock an agent out; a wrong one is told nothing. `keyring` is that of
    /// the authority map.
    pub fn authenticate(
        &self,
        keyring: &Keyring,
        authority: &Authority,
        auth: &AuthConfig,
        peer: IpAddr,
        presented: &Presented<'_>,
    ) -> Result<Principal, AuthError> {
        let by_certificate = self.by_certificate(keyring, peer, presented)?;
        let Some(header) = presented.authorization else {
            if let Some(principal) = by_certificate {
                return Ok(principal);
            }
            return match auth.anonymous_agent.as_ref().filter(|id| authority.agents.contains_key(*id)) {
                Some(id) => Ok(Principal::Agent(AgentPrincipal::new(id.clone(), Proof::Anonymous))),
                None => Err(AuthError::Missing),
            };
        };
        let Some((scheme, credential)) = credential(header) else { return Err(self.failed(peer)) };
        let digest = key_digest(credential);
        let now = self.clock.now();
        let known = match keyring
            .find(digest)
            .filter(|_| scheme == Scheme::Bearer && credential.len() <= MAX_KEY_BYTES)
        {
            Some((_, key)) if key.is_over(now) => {
                // It counts as a failure like any other, and its holder may know what is wrong.
                return Err(match self.failed(peer) {
                    AuthError::Unknown => AuthError::Expired,
                    limited => limited,
                });
            }
            Some((principal, _)) => {
                self.used.note(&digest, now);
                principal
            }
            None if auth.jwt.is_some() && token::has_form(credential) => {
                let known = self.tokens.remembered(&digest, auth, authority).ok_or(AuthError::Unverified)?;
                self.prove(peer, known, auth, (scheme, credential), presented)?
            }
            None => return Err(self.failed(peer)),
        };
        self.agree(peer, known, by_certificate)
    }

    /// Verifies the access token in an `Authorization` header for which [`Doorkeeper::authenticate`] gave
    /// [`AuthError::Unverified`].
    pub async fn verify(
        &self,
        keyring: &Keyring,
        authority: &Authority,
        auth: &AuthConfig,
        peer: IpAddr,
        presented: &Presented<'_>,
    ) -> Result<Principal, AuthError> {
        let by_certificate = self.by_certificate(keyring, peer, presented)?;
        let credential = presented.authorization.and_then(credential);
        let (Some((scheme, token)), Some(rules)) = (credential, &auth.jwt) else {
            return Err(self.failed(peer));
        };
        let known = match self.tokens.verify(token, key_digest(token), rules, authority).await {
            Err(AuthError::Unknown) => return Err(self.failed(peer)),
            other => other?,
        };
        let known = self.prove(peer, known, auth, (scheme, token), presented)?;
        self.agree(peer, known, by_certificate)
    }

    /// The keys that were used lately.
    pub fn key_use(&self) -> &KeyUse {
        &self.used
    }

    /// Whom the certificate of a connection names. One that counts no longer is a wrong credential; one that names nobody
    /// here is no credential.
    fn by_certificate(
        &self,
        keyring: &Keyring,
        peer: IpAddr,
        presented: &Presented<'_>,
    ) -> Result<Option<Principal>, AuthError> {
        let Some(certificate) = presented.certificate else { return Ok(None) };
        if !certificate.is_valid(self.clock.now()) {
            tracing::info!(
                "a credential was refused: the connection's certificate is not valid at this time"
            );
            return Err(self.failed(peer));
        }
        let mut named = certificate.uris.iter().filter_map(|uri| Some((keyring.named_by(uri)?, uri)));
        match (named.next(), named.next()) {
            (None, _) => Ok(None),
            (Some((id, uri)), None) => {
                let proof = Proof::Certificate(certificate.clone(), uri.clone());
                Ok(Some(Principal::Agent(AgentPrincipal::new(id.clone(), proof))))
            }
            // Which of them it is nobody can tell.
            (Some((one, _)), Some((other, _))) => {
                tracing::info!(%one, %other, "a credential was refused: the connection's certificate names two agents");
                Err(self.failed(peer))
            }
        }
    }

    /// Who a header says it is must be who the certificate of the connection says it is, where that names somebody.
    fn agree(
        &self,
        peer: IpAddr,
        known: Principal,
        by_certificate: Option<Principal>,
    ) -> Result<Principal, AuthError> {
        match by_certificate {
            Some(certified) if certified.agent() != known.agent() => {
                tracing::info!("a credential was refused: the connection's certificate is another agent's");
                Err(self.failed(peer))
            }
            Some(_) | None => Ok(known),
        }
    }

    /// Holds a verified token against what it is bound to.
    fn prove(
        &self,
        peer: IpAddr,
        known: Principal,
        auth: &AuthConfig,
        (scheme, token): (Scheme, &[u8]),
        presented: &Presented<'_>,
    ) -> Result<Principal, AuthError> {
        let Principal::Agent(AgentPrincipal { id, proof: Proof::Token(said), .. }) = &known else {
            return Err(self.failed(peer));
        };
        let wrong = |why: &'static str| match self.failed(peer) {
            AuthError::Unknown => AuthError::Unproven(why),
            limited => limited,
        };
        if let Some(wanted) = &said.certificate
            && presented.certificate.is_none_or(|certificate| certificate.thumbprint != *wanted)
        {
            return Err(wrong("it is bound to the certificate of another connection"));
        }
        match (&said.thumbprint, scheme, presented.possession) {
            (None, Scheme::Bearer, _) if auth.jwt.as_ref().is_some_and(|rules| rules.dpop_required) => {
                Err(wrong("tokens must be bound to a key here (DPoP, RFC 9449)"))
            }
            (None, Scheme::Bearer, _) => Ok(known),
            (None, Scheme::Dpop, _) => Err(wrong("it is bound to no key: send it as `Bearer`")),
            (Some(_), Scheme::Bearer, _) => {
                Err(wrong("it is bound to a key: send it as `DPoP`, with a `DPoP` header"))
            }
            (Some(_), Scheme::Dpop, None) => Err(wrong("the `DPoP` header is missing")),
            (Some(thumbprint), Scheme::Dpop, Some(possession)) => {
                match self.proofs.take(id, (token, thumbprint), possession) {
                    Ok(()) => Ok(known),
                    Err(Unproven::Bad(why)) => Err(wrong(why)),
                    Err(Unproven::TooMany) => Err(AuthError::RateLimited(FAILURE_WINDOW)),
                }
            }
        }
    }

    /// A wrong attempt is counted, and slowed down where there were too many. What makes guessing hopeless is the length
    /// of a key: 256 random bits.
    fn failed(&self, peer: IpAddr) -> AuthError {
        let (peer, now) = (network(peer), self.clock.monotonic());
        if self.failures.len() >= MAX_ADDRESSES && self.is_sweep_due(now) {
            self.failures.retain(|_, (since, _)| now.saturating_sub(*since) < FAILURE_WINDOW);
        }
        if self.failures.len() >= MAX_ADDRESSES && !self.failures.contains_key(&peer) {
            return AuthError::RateLimited(FAILURE_WINDOW);
        }
        let mut entry = self.failures.entry(peer).or_insert((now, 0));
        let (since, count) = *entry;
        let age = now.saturating_sub(since);
        *entry = if age >= FAILURE_WINDOW { (now, 1) } else { (since, count.saturating_add(1)) };
        if entry.1 > MAX_FAILURES {
            AuthError::RateLimited(FAILURE_WINDOW.saturating_sub(age))
        } else {
            AuthError::Unknown
        }
    }

    fn is_sweep_due(&self, now: Duration) -> bool {
        let mut swept = self.swept.lock();
        let due = now.saturating_sub(*swept) >= SWEEP;
        if due {
            *swept = now;
        }
        due
    }
}

/// Whose an address is: of IPv6 one customer has a whole /64, and an IPv4 address may come in the form of one.
pub fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))),
    }
}

/// How a credential is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    Bearer,
    /// A token with a proof that its key is the sender's (RFC 9449).
    Dpop,
}

/// The credential in an `Authorization` value.
fn credential(header: &[u8]) -> Option<(Scheme, &[u8])> {
    let at = header.iter().position(|byte| *byte == b' ')?;
    let (name, rest) = header.split_at_checked(at)?;
    let scheme = match name {
        name if name.eq_ignore_ascii_case(b"bearer") => Scheme::Bearer,
        name if name.eq_ignore_ascii_case(b"dpop") => Scheme::Dpop,
        _ => return None,
    };
    let credential = rest.trim_ascii();
    (!credential.is_empty() && credential.len() <= MAX_TOKEN_BYTES).then_some((scheme, credential))
}

/// The SHA-256 of an API key, as `authority.yaml` holds it.
pub fn key_digest(key: &[u8]) -> [u8; 32] {
    Sha256::digest(key).into()
}

/// A person by key, for the command line, with the use of the key. [`AuthError::Expired`] or [`AuthError::Unknown`]: it is nobody's.
pub fn person_by_key<'a>(
    authority: &'a Authority,
    key: &[u8],
    now: Timestamp,
) -> Result<(&'a Person, Used), AuthError> {
    let digest = key_digest(key.trim_ascii());
    match Keyring::of(authority).find(digest).ok_or(AuthError::Unknown)? {
        (Principal::Person(_), key) if key.is_over(now) => Err(AuthError::Expired),
        (Principal::Person(person), _) => {
            let person = authority.people.get(&person.id).ok_or(AuthError::Unknown)?;
            Ok((person, Used::of(digest, now)))
        }
        (Principal::Agent(_), _) => Err(AuthError::Unknown),
    }
}

/// Whether a key is one of these, and counts.
fn holds(keys: &[ApiKey], digest: &[u8; 32], now: Timestamp) -> bool {
    keys.iter().any(|key| key.digest == *digest && !key.is_over(now))
}

/// Whether a principal is still one under this bundle and at this time: a removed key, agent or person is not, nor is
/// a token that has expired, nor an agent for a person who is gone.
pub fn still_valid(authority: &Authority, auth: &AuthConfig, now: Timestamp, principal: &Principal) -> bool {
    match principal {
        Principal::Agent(agent) => {
            principal.user().is_none_or(|user| authority.people.contains_key(user))
                && authority.agents.get(&agent.id).is_some_and(|known| match &agent.proof {
                    Proof::Key(digest) => holds(&known.keys, digest, now),
                    Proof::Certificate(certificate, uri) => {
                        known.certificates.contains(uri) && certificate.is_valid(now)
                    }
                    Proof::Token(token) => token.is_valid(auth.jwt.as_ref(), now),
                    Proof::Stdio => true,
                    Proof::Anonymous => auth.anonymous_agent.as_ref() == Some(&agent.id),
                })
        }
        Principal::Person(person) => {
            authority.people.get(&person.id).is_some_and(|known| match &person.proof {
                Proof::Key(digest) => holds(&known.keys, digest, now),
                Proof::Token(_) | Proof::Stdio | Proof::Certificate(..) | Proof::Anonymous => false,
            })
        }
    }
}

/// Whether a person has a role.
pub fn has_role(person: &Person, role: Role) -> bool {
    person.roles.contains(&role)
}

#[cfg(test)]
mod tests;
