//! Who asks. The admin listener is for people: an agent's key opens nothing here. What a role may do stands in the table of
//! routes ([`super::routes`]), is asked before a handler runs, and again by those that wait or change something.

use super::{AdminPort, cookies::Cookie, error::ApiError, view};
use crate::{
    approval::sees_values,
    audit::NamedApprovals,
    evidence::{event_without_values, without_hashes},
    front::{forwarded, http::Visit},
    identity::{AuthError, Live, Principal, person_of},
    model::{ApprovalId, Event, PersonId},
    policy::{PolicySet, Role},
    store::{ApprovalRecord, StandingGrant},
};
use axum::{
    extract::{ConnectInfo, FromRequestParts, OptionalFromRequestParts},
    http::{Method, header, request::Parts},
};
use jiff::Timestamp;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    convert::Infallible,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};
use subtle::ConstantTimeEq as _;

/// What a request is authenticated by, kept so that it can be looked at again: a key, a session, a role or a person may go while
/// a body comes in or an answer goes out, and that counts at once.
#[derive(Clone)]
enum Credential {
    /// An `Authorization` header.
    Key { header: Vec<u8>, peer: IpAddr },
    /// The token of a session.
    Session(String),
}

/// A person, what they may do, and who they are at the issuer where they signed in there.
struct Known {
    id: PersonId,
    roles: Vec<Role>,
    session: Option<Live>,
}

impl Credential {
    /// A header goes before a cookie: whoever sends a key means it.
    fn of(parts: &Parts, port: &dyn AdminPort) -> Result<Self, ApiError> {
        let mut given = parts.headers.get_all(header::AUTHORIZATION).iter();
        // Without a header nobody is asked: `[auth] anonymous_agent` is for agents.
        match (given.next(), given.next()) {
            (None, _) => {
                let in_force = port.in_force();
                let rules = in_force.config.admin.oidc.as_ref();
                let token = rules.and_then(|rules| Cookie::Session.of(rules, &parts.headers));
                token.map(Self::Session).ok_or_else(|| AuthError::Missing.into())
            }
            (Some(value), None) => {
                Ok(Self::Key { header: value.as_bytes().to_vec(), peer: peer(parts, port) })
            }
            (Some(_), Some(_)) => Err(AuthError::Unknown.into()),
        }
    }

    /// The person as they are now; `used`: they have just done something.
    fn person(&self, port: &dyn AdminPort, used: bool) -> Result<Known, ApiError> {
        let in_force = port.in_force();
        let authority = &in_force.policies.authority;
        match self {
            Self::Key { header, peer } => match port.authenticate(*peer, header)? {
                Principal::Agent(_) => {
                    Err(ApiError::Forbidden("an agent's key opens nothing here: use a person's".to_owned()))
                }
                Principal::Person(person) => {
                    let known = authority.people.get(&person.id);
                    let known = known.ok_or(ApiError::Unauthenticated(AuthError::Unknown))?;
                    Ok(Known { id: person.id, roles: known.roles.clone(), session: None })
                }
            },
            Self::Session(token) => {
                let rules = in_force.config.admin.oidc.as_ref();
                let live =
                    port.sign_in().session(token.as_bytes(), rules, used).ok_or(ApiError::SessionOver)?;
                let (id, roles) = person_of(&live.rules, &live.identity, authority);
                Ok(Known { id, roles, session: Some(live) })
            }
        }
    }
}

/// Approvals that are looked up for one answer: events of others are told without values.
const MOST_LOOKED_UP: usize = 100;

/// A person who may use the route that they ask.
#[derive(Clone)]
pub(super) struct Caller {
    /// Who.
    pub(super) id: PersonId,
    roles: Vec<Role>,
    allowed: &'static [Role],
    credential: Credential,
    session: Option<Live>,
}

impl Caller {
    /// Whose request it is, where they have one of these roles. The connection is theirs from here on.
    pub(super) fn of(
        parts: &Parts,
        port: &dyn AdminPort,
        allowed: &'static [Role],
    ) -> Result<Self, ApiError> {
        // A page that nobody looks at asks again and again: that keeps no session alive.
        let used = !parts.headers.contains_key(IDLE);
        let caller = Self::with(Credential::of(parts, port)?, port, allowed, used)?;
        if let Some(session) = &caller.session {
            own_page(parts, session)?;
        }
        if let Some(visit) = parts.extensions.get::<Visit>() {
            visit.is_of(&Arc::from(format!("person:{}", caller.id)), None);
        }
        Ok(caller)
    }

    fn with(
        credential: Credential,
        port: &dyn AdminPort,
        allowed: &'static [Role],
        used: bool,
    ) -> Result<Self, ApiError> {
        let Known { id, roles, session } = credential.person(port, used)?;
        if roles.iter().any(|role| allowed.contains(role)) {
            return Ok(Self { id, roles, allowed, credential, session });
        }
        Err(ApiError::Forbidden(format!("this takes the role {}", Role::any_of(allowed))))
    }

    /// The same person as they are now: asked once more after a body has come in, or before more of an answer goes out.
    pub(super) fn again(&self, port: &dyn AdminPort) -> Result<Self, ApiError> {
        let now = Self::with(self.credential.clone(), port, self.allowed, false)?;
        match now.id == self.id {
            true => Ok(now),
            false => Err(AuthError::Unknown.into()),
        }
    }

    /// Who it is, asked once more.
    pub(super) fn person(&self, port: &dyn AdminPort) -> Result<PersonId, ApiError> {
        self.again(port).map(|now| now.id)
    }

    /// Who they are at the issuer that they signed in by; none: they gave a key.
    pub(super) fn subject(&self) -> Option<String> {
        self.session.as_ref().map(|session| session.identity.name())
    }

    /// What the page of a session says with everything that changes something.
    pub(super) fn csrf(&self) -> Option<&str> {
        self.session.as_ref().map(|session| &*session.csrf)
    }

    /// What they may do.
    pub(super) fn roles(&self) -> &[Role] {
        &self.roles
    }

    /// Whether they see the values of arguments in all records.
    pub(super) fn sees_values(&self) -> bool {
        self.roles.iter().any(|role| role.sees_values())
    }

    /// Whether they read records at all.
    pub(super) fn reads_records(&self) -> bool {
        self.roles.iter().any(|role| role.reads_records())
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

    /// Events as they may see them: an approver sees whole what is of approvals that they may decide.
    pub(super) async fn events(
        &self,
        found: Vec<Event>,
        port: &dyn AdminPort,
    ) -> Result<Vec<Event>, ApiError> {
        if self.sees_values() {
            return Ok(found);
        }
        let mut whole: BTreeMap<ApprovalId, bool> = BTreeMap::new();
        let ids = found.iter().filter_map(|event| event.draft.approval_id.as_ref());
        for id in ids.filter(|_| self.roles.contains(&Role::Approver)) {
            if whole.len() < MOST_LOOKED_UP && !whole.contains_key(id) {
                let record = port.store().approval(id.clone()).await?;
                let policies = &port.in_force().policies;
                whole.insert(id.clone(), record.is_some_and(|record| self.sees(&record, policies)));
            }
        }
        let is_whole = |event: &Event| {
            event.draft.approval_id.as_ref().and_then(|id| whole.get(id)).copied().unwrap_or_default()
        };
        let shown = |event: Event| if is_whole(&event) { without_hashes(event) } else { self.event(event) };
        Ok(found.into_iter().map(shown).collect())
    }

    /// The approvals that events name, as they may see them.
    pub(super) fn named(&self, named: NamedApprovals, policies: &PolicySet) -> NamedApprovals {
        if self.sees_values() {
            return named;
        }
        let (records, other_records) =
            named.records.into_iter().partition(|record| self.sees(record, policies));
        let (grants, other_grants) = named.grants.into_iter().partition(|grant| self.sees_grant(grant));
        let rest = NamedApprovals { records: other_records, uses: named.uses, grants: other_grants };
        let mut shown = rest.without_values();
        let (records, grants): (Vec<ApprovalRecord>, Vec<StandingGrant>) = (records, grants);
        shown.records.extend(records);
        shown.grants.extend(grants);
        shown
    }

    /// An event as they may see it, whatever they may decide.
    pub(super) fn event(&self, event: Event) -> Event {
        match self.sees_values() {
            true => event,
            false => event_without_values(event),
        }
    }

    /// Whether they see the values of a standing grant and of the calls that it let through: their own they do.
    pub(super) fn sees_grant(&self, grant: &StandingGrant) -> bool {
        self.sees_values() || grant.terms.approvers.contains(&self.id)
    }

    /// A standing grant as they may see it.
    pub(super) fn grant(&self, grant: StandingGrant) -> StandingGrant {
        if self.sees_grant(&grant) { grant } else { grant.without_values() }
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
pub(super) fn has_credential(parts: &Parts, port: &dyn AdminPort) -> bool {
    parts.headers.contains_key(header::AUTHORIZATION) || Credential::of(parts, port).is_ok()
}

/// A page says with it that nobody has touched it for a while.
const IDLE: &str = "tollgate-idle";
/// What the page of a session says with everything that changes something.
const CSRF: &str = "tollgate-csrf";

/// A cookie comes with a request whoever made the browser send it. What changes something must come from our own page, by all
/// that the browser says of it, and know what only that page can read; what only looks must not come from another site.
fn own_page(parts: &Parts, session: &Live) -> Result<(), ApiError> {
    let forged =
        |why: &str| Err(ApiError::Forbidden(format!("this request is not of the page itself: {why}")));
    let text = |name: &str| parts.headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let safe = parts.method == Method::GET || parts.method == Method::HEAD;
    match text("sec-fetch-site") {
        None | Some("same-origin") => {}
        Some("none") if safe => {}
        Some(_) => return forged("it comes from another page"),
    }
    match text("origin") {
        Some(origin) if !origin.eq_ignore_ascii_case(&session.rules.public_url) => {
            return forged("its `Origin` is another");
        }
        None if !safe => return forged("it has no `Origin`"),
        Some(_) | None => {}
    }
    let told = text(CSRF).unwrap_or_default();
    if !safe && !bool::from(told.as_bytes().ct_eq(session.csrf.as_bytes())) {
        return forged("its `Tollgate-Csrf` is missing or wrong");
    }
    Ok(())
}

/// Whose request it is. Those whose peer is not known share one count of failures.
pub(super) fn peer(parts: &Parts, port: &dyn AdminPort) -> IpAddr {
    let known = parts.extensions.get::<ConnectInfo<SocketAddr>>();
    let Some(ConnectInfo(address)) = known else { return IpAddr::V4(Ipv4Addr::UNSPECIFIED) };
    forwarded::client(&port.in_force().config.gateway, address.ip(), &parts.headers)
}
