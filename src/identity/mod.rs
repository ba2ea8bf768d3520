//! Credential → [`Principal`]. Keys are found by their SHA-256 digest and compared in constant time, failed attempts
//! are rate-limited per address, and a principal can be held against a later bundle (revocation).

mod delegation;
mod keyring;
mod keys;
mod sign_in;
mod token;

pub use delegation::{Delegation, granted, user_of};
pub use keyring::Keyring;
pub use sign_in::{
    Answer as SignInAnswer, CALLBACK, Identity, Live, SIGN_IN_TIME, SignIn, SignInError, Ticket, person_of,
};
pub use token::Token;

use self::token::Tokens;
use crate::{
    clock::Clock,
    config::AuthConfig,
    model::{AgentId, PersonId},
    policy::{Authority, Person, Role},
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
    /// `[auth] anonymous_agent`.
    Anonymous,
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Key(_) => "Key",
            Self::Token(_) => "Token",
            Self::Stdio => "Stdio",
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
    #[error("unknown credential")]
    Unknown,
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
    failures: DashMap<IpAddr, (Duration, u32)>,
    swept: Mutex<Duration>,
}

impl Doorkeeper {
    /// With no failures yet.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { tokens: Tokens::new(clock.clone()), clock, failures: DashMap::new(), swept: Mutex::default() }
    }

    /// Authenticates an `Authorization` header. A right key is let in even while its address is limited,
    /// so that a noisy neighbour behind one NAT cannot lock an agent out; a wrong one is told nothing. `keyring` is that of
    /// the authority map.
    pub fn authenticate(
        &self,
        keyring: &Keyring,
        authority: &Authority,
        auth: &AuthConfig,
        peer: IpAddr,
        authorization: Option<&[u8]>,
    ) -> Result<Principal, AuthError> {
        let Some(header) = authorization else {
            return match auth.anonymous_agent.as_ref().filter(|id| authority.agents.contains_key(*id)) {
                Some(id) => Ok(Principal::Agent(AgentPrincipal::new(id.clone(), Proof::Anonymous))),
                None => Err(AuthError::Missing),
            };
        };
        let Some(bearer) = bearer(header) else { return Err(self.failed(peer)) };
        let digest = key_digest(bearer);
        if bearer.len() <= MAX_KEY_BYTES
            && let Some(principal) = keyring.find(digest)
        {
            return Ok(principal);
        }
        match &auth.jwt {
            Some(_) if token::has_form(bearer) => {
                self.tokens.remembered(&digest, auth, authority).ok_or(AuthError::Unverified)
            }
            Some(_) | None => Err(self.failed(peer)),
        }
    }

    /// Verifies the access token in an `Authorization` header for which [`Doorkeeper::authenticate`] gave
    /// [`AuthError::Unverified`].
    pub async fn verify(
        &self,
        authority: &Authority,
        auth: &AuthConfig,
        peer: IpAddr,
        authorization: &[u8],
    ) -> Result<Principal, AuthError> {
        let (Some(bearer), Some(rules)) = (bearer(authorization), &auth.jwt) else {
            return Err(self.failed(peer));
        };
        match self.tokens.verify(bearer, key_digest(bearer), rules, authority).await {
            Err(AuthError::Unknown) => Err(self.failed(peer)),
            other => other,
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

/// The key in an `Authorization: Bearer <key>` value.
fn bearer(header: &[u8]) -> Option<&[u8]> {
    let (scheme, key) = header.split_at_checked(7)?;
    let key = key.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"bearer ") && !key.is_empty() && key.len() <= MAX_TOKEN_BYTES)
        .then_some(key)
}

/// The SHA-256 of an API key, as `authority.yaml` holds it.
pub fn key_digest(key: &[u8]) -> [u8; 32] {
    Sha256::digest(key).into()
}

/// A person by key, for the admin listener and the command line.
pub fn person_by_key<'a>(authority: &'a Authority, key: &[u8]) -> Option<&'a Person> {
    match Keyring::of(authority).find(key_digest(key.trim_ascii()))? {
        Principal::Person(person) => authority.people.get(&person.id),
        Principal::Agent(_) => None,
    }
}

/// Whether a principal is still one under this bundle and at this time: a removed key, agent or person is not, nor is
/// a token that has expired, nor an agent for a person who is gone.
pub fn still_valid(authority: &Authority, auth: &AuthConfig, now: Timestamp, principal: &Principal) -> bool {
    match principal {
        Principal::Agent(agent) => {
            principal.user().is_none_or(|user| authority.people.contains_key(user))
                && authority.agents.get(&agent.id).is_some_and(|known| match &agent.proof {
                    Proof::Key(digest) => known.keys.contains(digest),
                    Proof::Token(token) => token.is_valid(auth.jwt.as_ref(), now),
                    Proof::Stdio => true,
                    Proof::Anonymous => auth.anonymous_agent.as_ref() == Some(&agent.id),
                })
        }
        Principal::Person(person) => {
            authority.people.get(&person.id).is_some_and(|known| match &person.proof {
                Proof::Key(digest) => known.keys.contains(digest),
                Proof::Token(_) | Proof::Stdio | Proof::Anonymous => false,
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
