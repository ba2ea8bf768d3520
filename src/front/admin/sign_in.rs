//! Signing in by OpenID Connect: `GET /signin`, `GET /signin/callback`, what a page may know of it, and signing out.
//!
//! Nothing in a request says where a browser goes next, but for the link of a message: then it goes back to that.

use super::{
    AdminPort, State, asks,
    cookies::Cookie,
    error::ApiError,
    params,
    person::{Caller, peer},
};
use crate::{
    config::OidcConfig,
    identity::{self, AuthError, SIGN_IN_TIME, SignInAnswer, SignInError, Ticket},
};
use axum::{
    Json,
    extract::{RawQuery, State as Given},
    http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse as _, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;

/// What the ticket is sealed for.
const PURPOSE: &[u8] = b"tollgate sign-in 2";
/// The longest query that an issuer's answer is read from.
const LONGEST: usize = 16 * 1024;

/// What the browser that began keeps, sealed.
#[derive(Serialize, Deserialize)]
struct Attempt {
    ticket: Ticket,
    /// The link that led here.
    ask: Option<String>,
}

fn rules(port: &dyn AdminPort) -> Result<Arc<OidcConfig>, ApiError> {
    let rules = port.in_force().config.admin.oidc.clone();
    rules.ok_or_else(|| {
        ApiError::NotFound("nobody signs in by OpenID Connect here: [admin.oidc] is missing".to_owned())
    })
}

impl From<SignInError> for ApiError {
    fn from(error: SignInError) -> Self {
        match error {
            SignInError::Unavailable(_) | SignInError::Busy => Self::IssuerUnavailable(error.to_string()),
            SignInError::Refused(_) => Self::Forbidden(error.to_string()),
        }
    }
}

/// Whether there is such a sign-in: what a page has to know before anybody is signed in.
pub(super) async fn ways(Given(port): State, RawQuery(query): RawQuery) -> Result<Json<Value>, ApiError> {
    params::none(query.as_deref())?;
    let oidc = port.in_force().config.admin.oidc.is_some();
    Ok(Json(json!({"keys": true, "oidc": oidc})))
}

pub(super) fn to(
    location: &str,
    cookies: impl IntoIterator<Item = Option<HeaderValue>>,
) -> Result<Response, ApiError> {
    let location = HeaderValue::try_from(location).map_err(|_| ApiError::Unavailable)?;
    let mut response = (StatusCode::SEE_OTHER, [(header::LOCATION, location)]).into_response();
    for cookie in cookies.into_iter().flatten() {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    Ok(response)
}

/// Whether a request came to this host, as far as it says.
pub(super) fn is_at(headers: &HeaderMap, host: &str) -> bool {
    let here = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    here.is_none_or(|here| here.eq_ignore_ascii_case(host))
}

/// Sends a person to the issuer.
pub(super) async fn begin(
    Given(port): State,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let ask = asks::of_query(query.as_deref())?.map(str::to_owned);
    let rules = rules(&*port)?;
    // Cookies are of one host, and the issuer sends people back to that one.
    let host = rules.public_url.split_once("://").map(|(_, host)| host).unwrap_or_default();
    if !is_at(&headers, host) {
        // Sent there, a browser would come back to here where a proxy in front writes another `Host`.
        return Err(ApiError::BadRequest(format!(
            "people sign in at {}/signin, and this request came to another `Host`: open that address; where it leads here, the \
             proxy in front must pass `Host` on as it came",
            rules.public_url
        )));
    }
    let (location, ticket) = port.sign_in().start(&rules).await?;
    let text = serde_json::to_string(&Attempt { ticket, ask }).map_err(|_| ApiError::Unavailable)?;
    let sealed = port.seal().seal(&text, PURPOSE, SIGN_IN_TIME).map_err(|_| ApiError::Unavailable)?;
    to(&location, [Cookie::Ticket.set(&rules, &sealed, SIGN_IN_TIME.as_secs())])
}

/// Takes a person back from the issuer.
pub(super) async fn callback(
    Given(port): State,
    parts: Parts,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let headers = &parts.headers;
    let rules = rules(&*port)?;
    let forget = Cookie::Ticket.set(&rules, "", 0);
    let finished = finish(&port, &rules, &parts, query.as_deref()).await;
    match finished {
        Ok((token, ask)) => to(
            &ask.unwrap_or_else(|| "/".to_owned()),
            [forget, Cookie::Session.set(&rules, &token, rules.lifetime.as_secs())],
        ),
        Err(error) => {
            tracing::info!(reason = %error, "sign_in.refused");
            let mut response = failed_page(error, headers, "Not signed in");
            if let Some(forget) = forget {
                response.headers_mut().append(header::SET_COOKIE, forget);
            }
            Ok(response)
        }
    }
}

/// An error as a person's browser shows it, who came here by a link and not by the page's script.
pub(super) fn failed_page(error: ApiError, headers: &HeaderMap, title: &str) -> Response {
    let wants = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    if !wants.is_some_and(|accept| accept.contains("text/html")) {
        return error.into_response();
    }
    let text = error.to_string().replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let status = error.into_response().status();
    let page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <meta name=\"color-scheme\" content=\"light dark\"><title>Tollgate: {title}</title></head>\
         <body><main><h1>{title}</h1><p>{text}.</p><p><a href=\"/\">Back to the page</a></p></main></body></html>\n"
    );
    (status, [(header::CONTENT_TYPE, "text/html; charset=utf-8")], page).into_response()
}

async fn finish(
    port: &Arc<dyn AdminPort>,
    rules: &Arc<OidcConfig>,
    parts: &Parts,
    query: Option<&str>,
) -> Result<(String, Option<String>), ApiError> {
    let headers = &parts.headers;
    let query = query.unwrap_or_default();
    if query.len() > LONGEST {
        return Err(ApiError::BadRequest("the issuer's answer is too long".to_owned()));
    }
    let sealed = Cookie::Ticket.of(rules, headers);
    let ticket = sealed.and_then(|sealed| port.seal().open(&sealed, PURPOSE));
    let attempt: Option<Attempt> = ticket.and_then(|text| serde_json::from_str(&text).ok());
    let Attempt { ticket, ask } = attempt.ok_or_else(|| {
        ApiError::Forbidden(
            "this browser has begun no sign-in, or too long ago: open the page and begin again".to_owned(),
        )
    })?;
    let mut answer = SignInAnswer::default();
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        let place = match &*name {
            "code" => &mut answer.code,
            "state" => &mut answer.state,
            "iss" => &mut answer.iss,
            "error" => &mut answer.error,
            // Issuers add others: `session_state`, `error_description`.
            _ => continue,
        };
        if place.replace(value.into_owned()).is_some() {
            return Err(ApiError::BadRequest("the issuer's answer says something twice".to_owned()));
        }
    }
    let identity = port.sign_in().finish(rules, &ticket, &answer).await.map_err(|error| match error {
        // It counts as a wrong key does: no key is empty.
        SignInError::Refused(_) => match port.authenticate(peer(parts, &**port), b"") {
            Err(limited @ AuthError::RateLimited(_)) => ApiError::from(limited),
            Ok(_) | Err(_) => error.into(),
        },
        SignInError::Unavailable(_) | SignInError::Busy => error.into(),
    })?;
    let in_force = port.in_force();
    let (person, roles) = identity::person_of(rules, &identity, &in_force.policies.authority);
    if roles.is_empty() {
        tracing::info!(subject = %identity.name(), "sign_in.nobody");
        return Err(ApiError::Forbidden(
            "you are signed in at the issuer, and have no role here: an admin gives one in authority.yaml or [admin.oidc]".to_owned(),
        ));
    }
    let words: Vec<&str> = roles.iter().map(|role| role.as_str()).collect();
    let event = crate::evidence::signed_in(port.now(), &person, &identity.name(), &words);
    port.store().record(vec![event]).await?;
    tracing::info!(person = %person, "sign_in.done");
    Ok((port.sign_in().open(rules, identity), ask.as_deref().and_then(asks::path_of)))
}

/// Ends the session that the request came with.
pub(super) async fn leave(
    Given(port): State,
    caller: Caller,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    params::none(query.as_deref())?;
    let rules = rules(&*port)?;
    if let Some(token) = Cookie::Session.of(&rules, &headers) {
        port.sign_in().end(token.as_bytes());
        tracing::info!(person = %caller.id, "sign_in.ended");
    }
    let mut response = Json(json!({"signed_out": true})).into_response();
    if let Some(forget) = Cookie::Session.set(&rules, "", 0) {
        response.headers_mut().append(header::SET_COOKIE, forget);
    }
    Ok(response)
}
