//! For whom an agent acts. A person behind an agent is a second principal: what an agent does for somebody is bounded by what
//! both may do, and so is what was handed on from agent to agent (the `act` claim of RFC 8693). Nothing of it comes from what
//! an agent sends beside its credential.

use super::{AgentPrincipal, Principal, Proof};
use crate::{
    model::{AgentId, CapabilityId, PersonId},
    policy::Authority,
};
use serde_json::{Map, Value};
use std::sync::Arc;

/// How many actors a token may name: whoever handed the work on, one within the other.
pub(super) const MOST_ACTORS: usize = 8;
/// The longest name of one.
const LONGEST_ACTOR: usize = 256;

/// For whom an agent acts, as a verified token or the process that started a stdio front says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Delegation {
    /// The person.
    pub user: Option<PersonId>,
    /// Who handed the work on, the newest first, as the issuer names them.
    pub actors: Box<[Arc<str>]>,
}

impl Delegation {
    /// For a person, by nobody else.
    pub fn for_user(user: PersonId) -> Arc<Self> {
        Arc::new(Self { user: Some(user), actors: Box::default() })
    }
}

/// The person an agent acts for: whom its credential names, else its operator.
pub fn user_of<'p>(principal: &'p Principal, authority: &'p Authority) -> Option<&'p PersonId> {
    let operator = || authority.agents.get(principal.agent()?)?.operator.as_ref();
    principal.user().or_else(operator)
}

/// What a principal has of its agent's capabilities, where its token, the person it acts for or an actor before it bounds
/// them; none: all of them.
pub fn granted(principal: &Principal, authority: &Authority) -> Option<Arc<[CapabilityId]>> {
    let Principal::Agent(AgentPrincipal { id, proof, delegation }) = principal else { return None };
    let token = match proof {
        Proof::Token(token) => token.grants.as_ref(),
        Proof::Key(_) | Proof::Stdio | Proof::Certificate(..) | Proof::Anonymous => None,
    };
    let person = user_of(principal, authority).and_then(|user| capabilities_of(authority, user));
    let mut bound = meet(token.cloned(), person);
    let Some(delegation) = delegation else { return bound };
    for actor in delegation.actors.iter().filter(|actor| ***actor != **id) {
        // An actor may hand on no more than it has itself, as an agent or as a person.
        let agent = authority.agents.get(&AgentId::from(actor.clone()));
        bound = meet(bound, agent.map(|agent| agent.capabilities.clone().into()).as_ref());
        bound = meet(bound, capabilities_of(authority, &PersonId::from(actor.clone())));
    }
    bound
}

/// What bounds whoever acts for a person; somebody unknown has nothing.
fn capabilities_of<'a>(authority: &'a Authority, person: &PersonId) -> Option<&'a Arc<[CapabilityId]>> {
    authority.people.get(person).and_then(|person| person.capabilities.as_ref())
}

/// What both grant.
fn meet(
    one: Option<Arc<[CapabilityId]>>,
    other: Option<&Arc<[CapabilityId]>>,
) -> Option<Arc<[CapabilityId]>> {
    match (one, other) {
        (one, None) => one,
        (None, Some(other)) => Some(other.clone()),
        (Some(one), Some(other)) => Some(one.iter().filter(|id| other.contains(id)).cloned().collect()),
    }
}

/// The actors in the claims of a token: `act`, and the `act` in that.
pub(super) fn actors(claims: &Map<String, Value>) -> Result<Box<[Arc<str>]>, &'static str> {
    let mut actors = Vec::new();
    let mut inner = claims.get("act");
    while let Some(act) = inner {
        let name = act.get("sub").and_then(Value::as_str);
        let name = name.filter(|name| !name.is_empty() && name.len() <= LONGEST_ACTOR);
        let name = name.ok_or("an `act` in it names nobody in `sub`")?;
        if actors.len() == MOST_ACTORS {
            return Err("it was handed on too often: its `act` chain is too long");
        }
        actors.push(Arc::from(name));
        inner = act.get("act");
    }
    Ok(actors.into())
}

/// The text of a claim: of that name, or at that path of names with dots between them.
pub(super) fn text_claim<'c>(
    claims: &'c Map<String, Value>,
    name: &str,
) -> Result<Option<&'c str>, &'static str> {
    let nested = || {
        let (first, rest) = name.split_once('.')?;
        rest.split('.').try_fold(claims.get(first)?, |inner, name| inner.get(name))
    };
    match claims.get(name).or_else(nested) {
        None => Ok(None),
        Some(claim) => claim.as_str().map(Some).ok_or("a claim that names somebody is no text"),
    }
}
