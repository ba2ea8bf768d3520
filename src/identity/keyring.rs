//! Whose key it is, found by the digest of the key.

use super::{AgentPrincipal, PersonPrincipal, Principal, Proof};
use crate::{
    model::{AgentId, PersonId},
    policy::Authority,
};
use std::{
    collections::HashMap,
    hash::{Hash, Hasher},
};
use subtle::ConstantTimeEq as _;

/// The keys of all agents and people of one authority map: one look-up, however many there are. It belongs to that map, and
/// is replaced with it.
#[derive(Debug, Default)]
pub struct Keyring(HashMap<KeyDigest, Owner>);

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
            agent.keys.iter().map(|digest| (KeyDigest(*digest), Owner::Agent(agent.id.clone())))
        });
        let people = authority.people.values().flat_map(|person| {
            person.keys.iter().map(|digest| (KeyDigest(*digest), Owner::Person(person.id.clone())))
        });
        Self(agents.chain(people).collect())
    }

    /// Whose key has this digest.
    pub(super) fn find(&self, digest: [u8; 32]) -> Option<Principal> {
        let proof = Proof::Key(digest);
        Some(match self.0.get(&KeyDigest(digest))?.clone() {
            Owner::Agent(id) => Principal::Agent(AgentPrincipal::new(id, proof)),
            Owner::Person(id) => Principal::Person(PersonPrincipal { id, proof }),
        })
    }
}
