//! Whose key it is, found by the digest of the key.

use super::{AgentPrincipal, PersonPrincipal, Principal, Proof};
use crate::{
    model::{AgentId, PersonId},
    policy::{ApiKey, Authority},
};
use std::{
    collections::HashMap,
    hash::{Hash, Hasher},
    sync::Arc,
};
use subtle::ConstantTimeEq as _;

/// The keys of all agents and people of one authority map, and the URIs by which certificates name agents: one look-up, however many there are. It belongs to that map, and
/// is replaced with it.
#[derive(Debug, Default)]
pub struct Keyring {
    keys: HashMap<KeyDigest, (Owner, ApiKey)>,
    uris: HashMap<Arc<str>, AgentId>,
}

/// The SHA-256 of a key. Equality takes the same time wherever two differ; what the hash table does before depends on a
/// random key of the process, and tells nothing of where a digest lies.
struct KeyDigest([u8; 32]);

impl std::fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyDigest")
    }
}

impl PartialEq for KeyDigest {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for KeyDigest {}

impl Hash for KeyDigest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

#[derive(Clone, Debug)]
enum Owner {
    Agent(AgentId),
    Person(PersonId),
}

impl Keyring {
    /// Of an authority map. Two owners of one key are an error when the map is read.
    pub fn of(authority: &Authority) -> Self {
        let agents = authority.agents.values().flat_map(|agent| {
            let owned = |key: &ApiKey| (KeyDigest(key.digest), (Owner::Agent(agent.id.clone()), key.clone()));
            agent.keys.iter().map(owned)
        });
        let people = authority.people.values().flat_map(|person| {
            let owned =
                |key: &ApiKey| (KeyDigest(key.digest), (Owner::Person(person.id.clone()), key.clone()));
            person.keys.iter().map(owned)
        });
        let uris = authority
            .agents
            .values()
            .flat_map(|agent| agent.certificates.iter().map(|uri| (uri.clone(), agent.id.clone())));
        Self { keys: agents.chain(people).collect(), uris: uris.collect() }
    }

    /// Whose key has this digest, and the key, which may have expired.
    pub(super) fn find(&self, digest: [u8; 32]) -> Option<(Principal, &ApiKey)> {
        let proof = Proof::Key(digest);
        let (owner, key) = self.keys.get(&KeyDigest(digest))?;
        let principal = match owner.clone() {
            Owner::Agent(id) => Principal::Agent(AgentPrincipal::new(id, proof)),
            Owner::Person(id) => Principal::Person(PersonPrincipal { id, proof }),
        };
        Some((principal, key))
    }

    /// The agent that certificates with this URI name.
    pub(super) fn named_by(&self, uri: &str) -> Option<&AgentId> {
        self.uris.get(uri)
    }
}
