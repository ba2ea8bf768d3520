//! `GET connections`, `POST|DELETE connections/{upstream}` and the way back from an issuer: people connect their own accounts.
//!
//! What becomes connected is that of whoever is signed in here, in the browser that began: a link that somebody else sends
//! connects nothing of theirs.

use super::{
    AdminPort, State,
    cookies::Cookie,
    error::ApiError,
    paging::{self, Page},
    params::{self, Segment},
    person::Caller,
    policies::{Bytes, Members},
    sign_in::{failed_page, is_at, to},
};
use crate::{
    clock::{IdSource as _, System},
    config::CredentialOf,
    connections::{Answer, ConnectError, Connection, Connections, LONGEST_WAIT},
    gateway::InForce,
    model::{AgentId, ConnectionKey, Holder, PersonId, UpstreamName},
    policy::Role,
};
use axum::{
    Json,
    extract::{RawQuery, State as Given},
    http::{HeaderMap, header},
    response::{IntoResponse as _, Response},
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::sync::Arc;

/// Where issuers send people back to, below the page's address.
const CALLBACK: &str = "/connections/callback";
/// The longest query that an issuer's answer is read from.
const LONGEST: usize = 16 * 1024;

impl From<ConnectError> for ApiError {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Unknown(why) => Self::NotFound(why),
            ConnectError::NotYours(why) => Self::Forbidden(why),
            ConnectError::Refused(_) => Self::Forbidden(error.to_string()),
            ConnectError::Issuer(..) | ConnectError::Busy => Self::IssuerUnavailable(error.to_string()),
            ConnectError::Store(why) => {
                tracing::error!(error = %why, "admin.store_failed");
                Self::Unavailable
            }
        }
    }
}

fn connections(port: &dyn AdminPort) -> Result<&Arc<Connections>, ApiError> {
    port.connections().ok_or_else(|| ApiError::NotFound("nobody connects anything here".to_owned()))
}

/// Whose own lists are wanted, where the caller may see them: their own, those of an agent that they operate, and an admin
/// anybody's.
pub(super) fn holder_seen(
    in_force: &InForce,
    caller: &Caller,
    name: &str,
    value: &str,
) -> Result<Holder, ApiError> {
    let authority = &in_force.policies.authority;
    let is_admin = caller.roles().contains(&Role::Admin);
    let agent = authority.agents.get(value);
    let (holder, known, own) = match name {
        "person" => {
            let known = authority.people.contains_key(value);
            (Holder::Person(value.into()), known, caller.id.as_str() == value)
        }
        _ => {
            let own = agent.is_some_and(|agent| agent.operator.as_ref() == Some(&caller.id));
            (Holder::Agent(value.into()), agent.is_some(), own)
        }
    };
    if !own && !is_admin {
        let why = "what somebody's own accounts list is shown to them, to the operator of the agent, and to an admin";
        return Err(ApiError::Forbidden(why.to_owned()));
    }
    match known {
        true => Ok(holder),
        false => Err(ApiError::NotFound(format!("authority.yaml has no such {name}"))),
    }
}

/// The agents that somebody may connect something for.
fn agents_of(in_force: &InForce, caller: &Caller) -> Vec<AgentId> {
    let is_admin = caller.roles().contains(&Role::Admin);
    let agents = in_force.policies.authority.agents.values();
    let own = agents.filter(|agent| is_admin || agent.operator.as_ref() == Some(&caller.id));
    own.map(|agent| agent.id.clone()).collect()
}

/// What the caller may connect, and how each of it stands; an admin sees whose else is connected.
pub(super) async fn list(
    Given(port): State,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, ApiError> {
    let page = Page::read(query.as_deref())?;
    let Some(connections) = port.connections() else {
        return Ok(Json(page.listing("connections", Vec::new())));
    };
    connections.read().await?;
    let in_force = port.in_force();
    let is_admin = caller.roles().contains(&Role::Admin);
    let known = connections.list();
    let mut forms = Vec::new();
    let configured = connections.upstreams();
    for (upstream, per) in configured.clone() {
        let mut holders: Vec<Holder> = match per {
            CredentialOf::Gateway => vec![Holder::Gateway],
            CredentialOf::Person => vec![Holder::Person(caller.id.clone())],
            CredentialOf::Agent => agents_of(&in_force, &caller).into_iter().map(Holder::Agent).collect(),
        };
        if is_admin {
            let others = known.iter().filter(|one| one.key.upstream == upstream).map(|one| &one.key.holder);
            let others: Vec<Holder> = others.filter(|holder| !holders.contains(holder)).cloned().collect();
            holders.extend(others);
        }
        for holder in holders {
            let key = ConnectionKey { upstream: upstream.clone(), holder };
            let found = known.iter().find(|one| one.key == key);
            forms.push(form(&key, found, per, may(&in_force, &caller, &key)));
        }
    }
    // What servers.toml does not have any more, or not for the caller, is kept until somebody ends it.
    for one in &known {
        let key = &one.key;
        let is_shown = |form: &Value| {
            form.get("upstream") == Some(&json!(key.upstream))
                && form.get("holder") == Some(&json!(key.holder.to_string()))
        };
        if !forms.iter().any(is_shown) && (is_admin || may(&in_force, &caller, key)) {
            let per = match &key.holder {
                Holder::Gateway => CredentialOf::Gateway,
                Holder::Agent(_) => CredentialOf::Agent,
                Holder::Person(_) | Holder::Token(_) => CredentialOf::Person,
            };
            let fits = configured.contains(&(key.upstream.clone(), per));
            forms.push(form(key, Some(one), per, fits && may(&in_force, &caller, key)));
        }
    }
    let name =
        |form: &Value, member: &str| form.get(member).and_then(Value::as_str).unwrap_or_default().to_owned();
    let cursor =
        |form: &Value| paging::at(0, &format!("{} {}", name(form, "upstream"), name(form, "holder")));
    forms.sort_by_key(|form| cursor(form));
    Ok(Json(page.listing("connections", forms.into_iter().map(|form| (cursor(&form), form)))))
}

fn form(key: &ConnectionKey, found: Option<&Connection>, per: CredentialOf, may: bool) -> Value {
    let nothing = || {
        json!({
            "upstream": key.upstream, "holder": key.holder.to_string(), "state": "not connected",
            "reason": null, "since": null, "by": null, "issuer": null, "scopes": [], "wants": [],
        })
    };
    let mut form = found.map_or_else(nothing, Connection::form);
    if let Some(form) = form.as_object_mut() {
        form.insert("per".to_owned(), json!(per.as_str()));
        form.insert("may_connect".to_owned(), json!(may));
    }
    form
}

/// Whether somebody may connect this: what is their own, what an agent of theirs has, and an admin what is everybody's.
fn may(in_force: &InForce, caller: &Caller, key: &ConnectionKey) -> bool {
    match &key.holder {
        Holder::Gateway => caller.roles().contains(&Role::Admin),
        // An admin's own account would become somebody else's.
        Holder::Person(id) => *id == caller.id,
        Holder::Agent(id) => agents_of(in_force, caller).contains(id),
        Holder::Token(_) => false,
    }
}

/// Begins to connect: where the browser is to go.
pub(super) async fn connect(
    Given(port): State,
    caller: Caller,
    Segment(upstream): Segment,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
    Bytes(bytes): Bytes,
) -> Result<Response, ApiError> {
    params::none(query.as_deref())?;
    let members = Members::read(&bytes, &["agent"])?;
    let agent = members.text("agent")?.map(AgentId::from);
    let person = caller.person(&*port)?;
    let connections = connections(&*port)?;
    let in_force = port.in_force();
    let key = connections.key_for(&UpstreamName::from(upstream), Some(&person), agent.as_ref())?;
    if !may(&in_force, &caller, &key) {
        let why = "you may connect what is your own and what agents that you operate have; an admin also what is everybody's";
        return Err(ApiError::Forbidden(why.to_owned()));
    }
    let page = in_force.config.page_link();
    let host = page.split_once("://").map(|(_, host)| host).unwrap_or_default();
    if !is_at(&headers, host) {
        // The issuer sends the browser back there, and cookies are of one host.
        return Err(ApiError::BadRequest(format!(
            "open the page at {page} and connect there: issuers send people back to that address"
        )));
    }
    let (url, begun) =
        connections.begin(key.clone(), Some(person), (&format!("{page}{CALLBACK}"), true)).await?;
    let browser = hex::encode(System::default().random());
    connections.await_answer(&begun, &Sha256::digest(&browser).into()).await?;
    let mut response = Json(json!({
        "upstream": key.upstream, "holder": key.holder.to_string(), "url": url.as_str(),
    }))
    .into_response();
    let secure = page.starts_with("https://");
    if let Some(cookie) = Cookie::Connect.set_as(secure, &browser, LONGEST_WAIT.as_secs()) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    Ok(response)
}

/// Takes a person back from an issuer.
pub(super) async fn callback(
    Given(port): State,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let secure = port.in_force().config.page_link().starts_with("https://");
    let forget = Cookie::Connect.set_as(secure, "", 0);
    match answered(&port, &headers, secure, query.as_deref().unwrap_or_default()).await {
        Ok(()) => to("/#/connections", [forget]),
        Err(error) => {
            tracing::info!(reason = %error, "connection.refused");
            let mut response = failed_page(error, &headers, "Not connected");
            if let Some(forget) = forget {
                response.headers_mut().append(header::SET_COOKIE, forget);
            }
            Ok(response)
        }
    }
}

async fn answered(
    port: &Arc<dyn AdminPort>,
    headers: &HeaderMap,
    secure: bool,
    query: &str,
) -> Result<(), ApiError> {
    if query.len() > LONGEST {
        return Err(ApiError::BadRequest("the issuer's answer is too long".to_owned()));
    }
    let connections = connections(&**port)?;
    let browser = Cookie::Connect.of_as(secure, headers).ok_or_else(|| {
        ApiError::BadRequest(
            "this browser has begun to connect nothing, or too long ago: open the page and begin again"
                .to_owned(),
        )
    })?;
    let mut answer = Answer::default();
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        let place = match &*name {
            "code" => &mut answer.code,
            "state" => &mut answer.state,
            "iss" => &mut answer.iss,
            "error" => &mut answer.error,
            _ => continue,
        };
        if place.replace(value.into_owned()).is_some() {
            return Err(ApiError::BadRequest("the issuer's answer says something twice".to_owned()));
        }
    }
    connections.answered(&answer, &Sha256::digest(&browser).into()).await?;
    Ok(())
}

/// Disconnects: what is one's own, and an admin anybody's.
pub(super) async fn disconnect(
    Given(port): State,
    caller: Caller,
    Segment(upstream): Segment,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, ApiError> {
    let (mut agent, mut of) = (None, None);
    for (name, value) in params::pairs(query.as_deref(), &["agent", "person"])? {
        match name.as_str() {
            "agent" => agent = Some(AgentId::from(value)),
            _ => of = Some(PersonId::from(value)),
        }
    }
    let person = caller.person(&*port)?;
    let connections = connections(&*port)?;
    let in_force = port.in_force();
    let whose = of.as_ref().unwrap_or(&person);
    connections.read().await?;
    let key = connections.key_of_kept(&UpstreamName::from(upstream), Some(whose), agent.as_ref())?;
    if !may(&in_force, &caller, &key) && !caller.roles().contains(&Role::Admin) {
        return Err(ApiError::Forbidden("this is somebody else's: it takes the role `admin`".to_owned()));
    }
    let ended = connections.disconnect(&key, Some(&person)).await?;
    Ok(Json(json!({
        "upstream": key.upstream, "holder": key.holder.to_string(), "revoked": ended.revoked,
    })))
}
