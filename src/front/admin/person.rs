//! Who asks. The admin listener is for people: an agent's key opens nothing here (I8).

use super::{AdminPort, error::ApiError};
use crate::{
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

/// A person who may read: approver, auditor or admin.
pub(super) struct Reader;

/// The same, by name.
pub(super) struct Viewer(pub(super) PersonId);

/// What a request was authenticated by, to be looked at again while its answer goes on.
pub(super) struct Credential {
    header: Vec<u8>,
    peer: IpAddr,
}

impl Credential {
    /// Whether it still names a person.
    pub(super) fn still_counts(&self, port: &dyn AdminPort) -> bool {
        matches!(port.authenticate(self.peer, &self.header), Ok(Principal::Person(_)))
    }
}

impl FromRequestParts<Arc<dyn AdminPort>> for Credential {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<dyn AdminPort>) -> Result<Self, ApiError> {
        let header = parts.headers.get(header::AUTHORIZATION).ok_or(AuthError::Missing)?;
        Ok(Self { header: header.as_bytes().to_vec(), peer: peer(parts) })
    }
}

/// A person who may decide approvals at all; whether this one is for the record and its rule to say.
pub(super) struct Decider(pub(super) PersonId);

impl FromRequestParts<Arc<dyn AdminPort>> for Reader {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, port: &Arc<dyn AdminPort>) -> Result<Self, ApiError> {
        Viewer::from_request_parts(parts, port).await.map(|_| Self)
    }
}

impl FromRequestParts<Arc<dyn AdminPort>> for Viewer {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, port: &Arc<dyn AdminPort>) -> Result<Self, ApiError> {
        let (id, roles) = person(parts, &**port)?;
        // Every role reads; the match makes a new role say whether it does.
        let reads = |role: &Role| match role {
            Role::Approver | Role::Admin | Role::Auditor => true,
        };
        if roles.iter().any(reads) {
            Ok(Self(id))
        } else {
            Err(ApiError::Forbidden(
                "this takes one of the roles `approver`, `auditor` and `admin`".to_owned(),
            ))
        }
    }
}

impl FromRequestParts<Arc<dyn AdminPort>> for Decider {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, port: &Arc<dyn AdminPort>) -> Result<Self, ApiError> {
        let (id, roles) = person(parts, &**port)?;
        if roles.contains(&Role::Approver) {
            Ok(Self(id))
        } else {
            Err(ApiError::Forbidden("deciding takes the role `approver`".to_owned()))
        }
    }
}

/// Whether the request carries any credential.
pub(super) fn has_credential(parts: &Parts) -> bool {
    parts.headers.contains_key(header::AUTHORIZATION)
}

fn person(parts: &Parts, port: &dyn AdminPort) -> Result<(PersonId, Vec<Role>), ApiError> {
    let mut given = parts.headers.get_all(header::AUTHORIZATION).iter();
    // Without a header nobody is asked: `[auth] anonymous_agent` is for agents.
    let credential = match (given.next(), given.next()) {
        (None, _) => return Err(AuthError::Missing.into()),
        (Some(value), None) => value.as_bytes(),
        (Some(_), Some(_)) => return Err(AuthError::Unknown.into()),
    };
    match port.authenticate(peer(parts), credential)? {
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

/// Requests whose peer is not known share one count of failures.
fn peer(parts: &Parts) -> IpAddr {
    let known = parts.extensions.get::<ConnectInfo<SocketAddr>>();
    known.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ConnectInfo(address)| address.ip())
}
