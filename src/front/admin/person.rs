//! Who asks. The admin listener is for people: an agent's key opens nothing here. What a role may do stands in the table of
//! routes ([`super::routes`]), is asked before a handler runs, and again by those that wait or change something.

use super::{AdminPort, error::ApiError, view};
use crate::{
    approval::sees_values,
    evidence::without_values,
    front::http::Visit,
    identity::{AuthError, Principal},
    model::{Event, PersonId},
    policy::{PolicySet, Role},
    store::{ApprovalRecord, StandingGrant},
};
use axum::{
    extract::{ConnectInfo, FromRequestParts, OptionalFromRequestParts},
    http::{header, request::Parts},
};
use jiff::Timestamp;
use serde_json::Value;
use std::{
    convert::Infallible,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

/// What a request is authenticated by, kept so that it can be looked at again: a key, a role or a person may go while a
/// body comes in or an answer goes out, and that counts at once.
#[derive(Clone)]
struct Credential {
    header: Vec<u8>,
    peer: IpAddr,
}

impl Credential {
    fn of(parts: &Parts) -> Result<Self, ApiError> {
        let mut given = parts.headers.get_all(header::AUTHORIZATION).iter();
        // Without a header nobody is asked: `[auth] anonymous_agent` is for agents.
        match (given.next(), given.next()) {
            (None, _) => Err(AuthError::Missing.into()),
            (Some(value), None) => Ok(Self { header: value.as_bytes().to_vec(), peer: peer(parts) }),
            (Some(_), Some(_)) => Err(AuthError::Unknown.into()),
        }
    }

    /// The person and their roles as they are now.
    fn person(&self, port: &dyn AdminPort) -> Result<(PersonId, Vec<Role>), ApiError> {
        match port.authenticate(self.peer, &self.header)? {
            Principal::Agent(_) => {
                Err(ApiError::Forbidden("an agent's key opens nothing here: use a person's".to_owned()))
            }
            Principal::Person(person) => {
                let in_force = port.in_force();
                let known = in_force.policies.authority.people.get(&person.id);
                let known = known.ok_or(ApiError::Unauthenticated(AuthError::Unknown))?;
                Ok((person.id, known.roles.clone()))
            }
        }
    }
}

/// A person who may use the route that they ask.
#[derive(Clone)]
pub(super) struct Caller {
    /// Who.
    pub(super) id: PersonId,
    roles: Vec<Role>,
    allowed: &'static [Role],
    credential: Credential,
}

impl Caller {
    /// Whose request it is, where they have one of these roles. The connection is theirs from here on.
    pub(super) fn of(
        parts: &Parts,
        port: &dyn AdminPort,
        allowed: &'static [Role],
    ) -> Result<Self, ApiError> {
        let caller = Self::with(Credential::of(parts)?, port, allowed)?;
        if let Some(visit) = parts.extensions.get::<Visit>() {
            visit.is_of(&Arc::from(format!("person:{}", caller.id)), None);
        }
        Ok(caller)
    }

    fn with(
        credential: Credential,
        port: &dyn AdminPort,
        allowed: &'static [Role],
    ) -> Result<Self, ApiError> {
        let (id, roles) = credential.person(port)?;
        if roles.iter().any(|role| allowed.contains(role)) {
            return Ok(Self { id, roles, allowed, credential });
        }
        let words: Vec<String> = allowed.iter().map(|role| format!("`{}`", role.as_str())).collect();
        Err(ApiError::Forbidden(match words.as_slice() {
            [one] => format!("this takes the role {one}"),
            _ => format!("this takes one of the roles {}", words.join(", ")),
        }))
    }

    /// The same person as they are now: asked once more after a body has come in, or before more of an answer goes out.
    pub(super) fn again(&self, port: &dyn AdminPort) -> Result<Self, ApiError> {
        let now = Self::with(self.credential.clone(), port, self.allowed)?;
        match now.id == self.id {
            true => Ok(now),
            false => Err(AuthError::Unknown.into()),
        }
    }

    /// Who it is, asked once more.
    pub(super) fn person(&self, port: &dyn AdminPort) -> Result<PersonId, ApiError> {
        self.again(port).map(|now| now.id)
    }

    /// What they may do.
    pub(super) fn roles(&self) -> &[Role] {
        &self.roles
    }

    /// Whether they see the values of arguments in all records.
    pub(super) fn sees_values(&self) -> bool {
        self.roles.iter().any(|role| role.sees_values())
    }

    /// Whether they see those of an approval.
    pub(super) fn sees(&self, record: &ApprovalRecord, policies: &PolicySet) -> bool {
        let known = policies.authority.people.get(&self.id);
        self.sees_values() || known.is_some_and(|person| sees_values(record, person, &self.roles))
    }

    /// An approval as they may see it.
    pub(super) fn approval(&self, record: ApprovalRecord, policies: &PolicySet, now: Timestamp) -> Value {
        let record = if self.sees(&record, policies) { record } else { record.without_values() };
        view::approval_for(&record, policies, &self.id, now)
    }

    /// An event as they may see it.
    pub(super) fn event(&self, event: Event) -> Event {
        match self.sees_values() {
            true => event,
            false => Event { draft: without_values(event.draft), ..event },
        }
    }

    /// A standing grant as they may see it: whole where they made it.
    pub(super) fn grant(&self, grant: StandingGrant) -> StandingGrant {
        let whole = self.sees_values() || grant.terms.approvers.contains(&self.id);
        if whole { grant } else { grant.without_values() }
    }
}

impl FromRequestParts<Arc<dyn AdminPort>> for Caller {
    type Rejection = ApiError;

    /// The table of routes has let somebody in, or the handler is not for this route.
    async fn from_request_parts(parts: &mut Parts, _: &Arc<dyn AdminPort>) -> Result<Self, ApiError> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| AuthError::Missing.into())
    }
}

impl OptionalFromRequestParts<Arc<dyn AdminPort>> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(
        parts: &mut Parts,
        _: &Arc<dyn AdminPort>,
    ) -> Result<Option<Self>, Infallible> {
        Ok(parts.extensions.get::<Self>().cloned())
    }
}

/// Whether the request carries any credential.
pub(super) fn has_credential(parts: &Parts) -> bool {
    parts.headers.contains_key(header::AUTHORIZATION)
}

/// Requests whose peer is not known share one count of failures.
fn peer(parts: &Parts) -> IpAddr {
    let known = parts.extensions.get::<ConnectInfo<SocketAddr>>();
    known.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ConnectInfo(address)| address.ip())
}
