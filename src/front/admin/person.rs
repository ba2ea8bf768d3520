//! Who asks. The admin listener is for people: an agent's key opens nothing here.

use super::{AdminPort, error::ApiError};
use crate::{
    front::http::Visit,
    identity::{AuthError, Principal},
    model::PersonId,
    policy::Role,
};
use axum::{
    extract::{ConnectInfo, FromRequestParts},
    http::{header, request::Parts},
};
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

/// What a request is authenticated by, kept so that it can be looked at again: a key, a role or a person may go while a
/// body comes in or an answer goes out, and that counts at once.
#[derive(Clone)]
pub(super) struct Credential {
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

    /// The person, where they may read now.
    fn reader(&self, port: &dyn AdminPort) -> Result<PersonId, ApiError> {
        let (id, roles) = self.person(port)?;
        // Every role reads; the match makes a new role say whether it does.
        let reads = |role: &Role| match role {
            Role::Approver | Role::Admin | Role::Auditor => true,
        };
        if roles.iter().any(reads) {
            Ok(id)
        } else {
            Err(ApiError::Forbidden(
                "this takes one of the roles `approver`, `auditor` and `admin`".to_owned(),
            ))
        }
    }

    /// The person, where they may administer now.
    fn admin(&self, port: &dyn AdminPort) -> Result<PersonId, ApiError> {
        let (id, roles) = self.person(port)?;
        if roles.contains(&Role::Admin) {
            Ok(id)
        } else {
            Err(ApiError::Forbidden("this takes the role `admin`".to_owned()))
        }
    }

    /// The person, where they may look at calls afterwards now.
    fn reviewer(&self, port: &dyn AdminPort) -> Result<PersonId, ApiError> {
        let (id, roles) = self.person(port)?;
        if roles.iter().any(|role| matches!(role, Role::Auditor | Role::Admin)) {
            Ok(id)
        } else {
            Err(ApiError::Forbidden("this takes the role `auditor` or `admin`".to_owned()))
        }
    }

    /// The person, where they may decide now.
    fn decider(&self, port: &dyn AdminPort) -> Result<PersonId, ApiError> {
        let (id, roles) = self.person(port)?;
        if roles.contains(&Role::Approver) {
            Ok(id)
        } else {
            Err(ApiError::Forbidden("deciding takes the role `approver`".to_owned()))
        }
    }

    /// The person, where they may revoke a grant now, if it is one of theirs.
    fn revoker(&self, port: &dyn AdminPort) -> Result<PersonId, ApiError> {
        let (id, roles) = self.person(port)?;
        if roles.iter().any(|role| matches!(role, Role::Approver | Role::Admin)) {
            Ok(id)
        } else {
            Err(ApiError::Forbidden("revoking takes the role `approver` or `admin`".to_owned()))
        }
    }
}

/// A person who may read: approver, auditor or admin.
pub(super) struct Reader;

/// The same, by name.
pub(super) struct Viewer {
    pub(super) id: PersonId,
    credential: Credential,
}

impl Viewer {
    /// Whether the credential still is this person's, and they still may read.
    pub(super) fn still_reads(&self, port: &dyn AdminPort) -> bool {
        self.credential.reader(port).is_ok_and(|id| id == self.id)
    }
}

/// A person who may decide approvals at all; whether this one is for the record and its rule to say.
pub(super) struct Decider(Credential);

impl Decider {
    /// Who it is, asked once more after the body has come in: that may take its time.
    pub(super) fn person(&self, port: &dyn AdminPort) -> Result<PersonId, ApiError> {
        self.0.decider(port)
    }
}

/// A person who may administer.
pub(super) struct Admin(Credential);

impl Admin {
    /// Who it is, asked once more after the body has come in: that may take its time.
    pub(super) fn person(&self, port: &dyn AdminPort) -> Result<PersonId, ApiError> {
        self.0.admin(port)
    }
}

/// A person who may look at calls afterwards: auditor or admin.
pub(super) struct Reviewer(Credential);

impl Reviewer {
    /// Who it is, asked once more after the body has come in: that may take its time.
    pub(super) fn person(&self, port: &dyn AdminPort) -> Result<PersonId, ApiError> {
        self.0.reviewer(port)
    }
}

/// A person who may revoke some grant: their own as an approver, or any as an admin.
pub(super) struct Revoker(Credential);

impl Revoker {
    /// Who it is.
    pub(super) fn person(&self, port: &dyn AdminPort) -> Result<PersonId, ApiError> {
        self.0.revoker(port)
    }
}

/// Whose request it is: the connection is theirs from here on.
fn welcome(parts: &Parts, id: &PersonId) {
    if let Some(visit) = parts.extensions.get::<Visit>() {
        visit.is_of(&Arc::from(format!("person:{id}")), None);
    }
}

impl FromRequestParts<Arc<dyn AdminPort>> for Reader {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, port: &Arc<dyn AdminPort>) -> Result<Self, ApiError> {
        let id = Credential::of(parts)?.reader(&**port)?;
        welcome(parts, &id);
        Ok(Self)
    }
}

impl FromRequestParts<Arc<dyn AdminPort>> for Viewer {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, port: &Arc<dyn AdminPort>) -> Result<Self, ApiError> {
        let credential = Credential::of(parts)?;
        let id = credential.reader(&**port)?;
        welcome(parts, &id);
        Ok(Self { id, credential })
    }
}

impl FromRequestParts<Arc<dyn AdminPort>> for Decider {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, port: &Arc<dyn AdminPort>) -> Result<Self, ApiError> {
        let credential = Credential::of(parts)?;
        let id = credential.decider(&**port)?;
        welcome(parts, &id);
        Ok(Self(credential))
    }
}

impl FromRequestParts<Arc<dyn AdminPort>> for Admin {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, port: &Arc<dyn AdminPort>) -> Result<Self, ApiError> {
        let credential = Credential::of(parts)?;
        let id = credential.admin(&**port)?;
        welcome(parts, &id);
        Ok(Self(credential))
    }
}

impl FromRequestParts<Arc<dyn AdminPort>> for Reviewer {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, port: &Arc<dyn AdminPort>) -> Result<Self, ApiError> {
        let credential = Credential::of(parts)?;
        let id = credential.reviewer(&**port)?;
        welcome(parts, &id);
        Ok(Self(credential))
    }
}

impl FromRequestParts<Arc<dyn AdminPort>> for Revoker {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, port: &Arc<dyn AdminPort>) -> Result<Self, ApiError> {
        let credential = Credential::of(parts)?;
        let id = credential.revoker(&**port)?;
        welcome(parts, &id);
        Ok(Self(credential))
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
