//! What every request to the admin listener passes first: a page in a browser must not reach it by DNS
//! rebinding, and no answer may be kept, framed or interpreted.

use super::{AdminPort, error::ApiError};
use crate::{config::Config, front::http::is_of_another_site};
use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Uri, header, uri::Authority},
    middleware::Next,
    response::{IntoResponse, Response},
};
use std::{net::IpAddr, sync::Arc};

/// Checks `Host` and `Origin`, and sets the security headers on every answer, refusals included.
pub(super) async fn guard(State(port): State<Arc<dyn AdminPort>>, request: Request, next: Next) -> Response {
    let checked = check(&port.in_force().config, request.headers(), request.uri());
    let mut response = match checked {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    };
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        // A page that opened ours holds no handle to it: it cannot send it elsewhere while somebody decides.
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        // The pages have a policy of their own.
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

fn check(config: &Config, headers: &HeaderMap, uri: &Uri) -> Result<(), ApiError> {
    let named = single(headers, header::HOST)?;
    // HTTP/2 names it in the target; where both are there, both count.
    let target = uri.authority().map(Authority::as_str);
    let host = named.or(target).unwrap_or_default();
    let is_known = host_allowed(config, host) && target.is_none_or(|target| host_allowed(config, target));
    if !is_known && !is_probe(headers, uri) {
        return Err(ApiError::Forbidden(
            "this `Host` is not accepted: reach the listener by its own address, or add the name to [gateway] \
             allowed_hosts"
                .to_owned(),
        ));
    }
    match single(headers, header::ORIGIN)? {
        Some(origin) if !origin_allowed(config, origin, host) => {
            Err(ApiError::Forbidden("this `Origin` is not accepted".to_owned()))
        }
        // A link on another site's page may lead to a page here; a script or a frame there may load nothing.
        None if is_of_another_site(headers) && !is_navigation(headers) => {
            Err(ApiError::Forbidden("this request comes from a page of another origin".to_owned()))
        }
        Some(_) | None => Ok(()),
    }
}

/// A probe of a load balancer names what host it likes, or none, and brings nothing by which anybody could be known. The answer is
/// one word about this process.
fn is_probe(headers: &HeaderMap, uri: &Uri) -> bool {
    matches!(uri.path(), "/healthz" | "/readyz")
        && ![header::AUTHORIZATION, header::COOKIE, header::ORIGIN]
            .iter()
            .any(|name| headers.contains_key(name))
}

/// Whether a request names this machine itself, by all that it says of whom it is for.
pub(super) fn is_to_loopback(headers: &HeaderMap, uri: &Uri) -> bool {
    let is_here = |host: &str| {
        let Ok(authority) = host.parse::<Authority>() else { return false };
        let name = authority.host();
        let ip = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        name.eq_ignore_ascii_case("localhost") || ip.is_ok_and(|ip| ip.is_loopback())
    };
    let Ok(named) = single(headers, header::HOST) else { return false };
    let target = uri.authority().map(Authority::as_str);
    named.or(target).is_some_and(is_here) && target.is_none_or(is_here)
}

fn is_navigation(headers: &HeaderMap) -> bool {
    let is = |name: &str, word: &[u8]| headers.get(name).is_some_and(|value| value.as_bytes() == word);
    is("sec-fetch-mode", b"navigate") && is("sec-fetch-dest", b"document")
}

fn single(headers: &HeaderMap, name: header::HeaderName) -> Result<Option<&str>, ApiError> {
    let bad = || ApiError::BadRequest(format!("the header `{name}` is given twice, or is not text"));
    let mut values = headers.get_all(&name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| bad()),
        (Some(_), Some(_)) => Err(bad()),
    }
}

/// The listener's own address, this machine's own names, and what the admin allows. Rebinding needs a name that
/// somebody else controls, so an address is enough where the listener takes any.
fn host_allowed(config: &Config, host: &str) -> bool {
    if config.gateway.allowed_hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(host)) {
        return true;
    }
    let Ok(authority) = host.parse::<Authority>() else { return false };
    if host.contains('@') {
        return false;
    }
    let name = authority.host();
    if config.gateway.allowed_hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(name)) {
        return true;
    }
    if name.eq_ignore_ascii_case("localhost") {
        return true;
    }
    // Where people open the page, and where the issuer sends them back to.
    let oidc = config.admin.oidc.as_ref().map(|oidc| &oidc.public_url);
    let mut public = oidc.into_iter().chain(&config.admin.public_url).filter_map(|url| url.split_once("://"));
    if public.any(|(_, public)| public.eq_ignore_ascii_case(host)) {
        return true;
    }
    let own = config.admin.listen.ip();
    match name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        Ok(ip) => ip.is_loopback() || ip == own || own.is_unspecified(),
        Err(_) => false,
    }
}

/// The listener's own pages, and what the admin allows.
fn origin_allowed(config: &Config, origin: &str, host: &str) -> bool {
    let same = origin
        .strip_prefix("http://")
        .or_else(|| origin.strip_prefix("https://"))
        .is_some_and(|rest| rest.eq_ignore_ascii_case(host));
    same || config.gateway.allowed_origins.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin))
}
