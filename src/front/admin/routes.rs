//! Every route with who may use it: one table, of which the listener is made. What does not stand here is not served, and what
//! stands here is asked of whoever comes before its handler runs.

use super::{
    AdminPort, MAX_BODY, Routes, alerts, asks, budgets, connections, dead_letters, decide,
    error::ApiError,
    explain, freezes, grants, guard, holds, labels, page,
    person::{Caller, has_credential},
    pins, policies, read,
    reports::{self, Reports},
    series, sign_in, simulate, stream, verify,
};
use crate::policy::Role;
use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State as Given},
    http::{HeaderMap, header, request::Parts},
    middleware::{self, Next},
    response::Response,
    routing::{delete, get, post},
};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use std::sync::Arc;
use subtle::ConstantTimeEq as _;

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Whoever reaches the listener.
    Anybody,
    /// Whoever reaches the listener; who gives a key must be a person with one of these roles, and the handler tells them more.
    Details(&'static [Role]),
    /// On loopback whoever reaches the listener by its own name and gives no key, unless a proxy in front brings others there or there
    /// is a key: who is there can read much more. Elsewhere, and with a key: whoever has `[admin] metrics_key`, which opens nothing
    /// else, and people with one of these roles.
    Scrapers(&'static [Role]),
    /// People with one of these roles.
    People(&'static [Role]),
}

use Access::{Anybody, Details, People, Scrapers};

/// Every role there is: counts.
const ALL: &[Role] = &[Role::Approver, Role::Admin, Role::Auditor, Role::AuditorFull, Role::Viewer];
/// Those who read records. With which values, each answer decides: [`Caller::sees_values`].
pub(crate) const RECORDS: &[Role] = &[Role::Approver, Role::Admin, Role::Auditor, Role::AuditorFull];
pub(crate) const ADMIN: &[Role] = &[Role::Admin];
/// Those who see the values of arguments in all records: [`Role::sees_values`].
pub(crate) const VALUES: &[Role] = &[Role::AuditorFull, Role::Admin];
/// Those who look at calls afterwards.
const REVIEW: &[Role] = &[Role::Auditor, Role::AuditorFull, Role::Admin];
const DECIDE: &[Role] = &[Role::Approver];
/// An approver revokes a grant that they made, an admin any.
const REVOKE: &[Role] = &[Role::Approver, Role::Admin];

/// A route: its method, its path, who may use it, and what serves it.
type Row = (&'static str, &'static str, Access, Routes);

/// What is served, and what the OpenAPI document must list.
// Long: a row for each route
pub(super) fn table() -> Vec<Row> {
    let reports = Reports::new();
    vec![
        ("get", "/healthz", Anybody, get(read::health)),
        ("get", "/readyz", Details(ALL), get(read::ready)),
        ("get", "/metrics", Scrapers(ALL), get(read::metrics)),
        ("get", "/signin", Anybody, get(sign_in::begin)),
        ("get", "/signin/callback", Anybody, get(sign_in::callback)),
        ("get", "/api/v1/signin", Anybody, get(sign_in::ways)),
        ("delete", "/api/v1/session", People(ALL), delete(sign_in::leave)),
        ("get", "/api/v1/me", People(ALL), get(read::me)),
        ("get", "/api/v1/openapi.json", People(ALL), get(read::openapi)),
        // Counts.
        ("get", "/api/v1/report/spend", People(ALL), reports.spend()),
        ("get", "/api/v1/report/scorecard", People(ALL), reports.scorecard()),
        ("get", "/api/v1/report/maturity", People(ALL), reports.maturity()),
        ("get", "/api/v1/report/advice", People(ALL), reports.advice()),
        ("get", "/api/v1/report/drift", People(ALL), reports.drift()),
        ("get", "/api/v1/report/digest", People(ALL), reports.digest()),
        ("get", "/api/v1/report/compliance", People(ALL), get(reports::compliance)),
        ("get", "/api/v1/series", People(ALL), get(series::series)),
        ("get", "/api/v1/matrix", People(ALL), get(series::matrix)),
        ("get", "/api/v1/upstreams", People(ALL), get(read::upstreams)),
        // What each of them connects for themselves.
        ("get", "/api/v1/connections", People(ALL), get(connections::list)),
        ("post", "/api/v1/connections/{upstream}", People(ALL), post(connections::connect)),
        ("delete", "/api/v1/connections/{upstream}", People(ALL), delete(connections::disconnect)),
        ("get", "/connections/callback", Anybody, get(connections::callback)),
        // Records, and what they are made by.
        ("get", "/api/v1/labels", People(RECORDS), get(labels::labels)),
        ("get", "/api/v1/alerts", People(RECORDS), get(alerts::list)),
        ("get", "/api/v1/incidents", People(RECORDS), get(alerts::incidents)),
        ("get", "/api/v1/incidents/{id}", People(RECORDS), get(alerts::incident)),
        ("get", "/api/v1/duties", People(RECORDS), get(alerts::duties)),
        ("get", "/api/v1/samples", People(REVIEW), get(alerts::samples)),
        ("get", "/api/v1/holds", People(RECORDS), get(holds::holds)),
        ("get", "/api/v1/stream", People(RECORDS), get(stream::stream)),
        ("get", "/api/v1/approvals", People(RECORDS), get(read::approvals)),
        ("get", "/api/v1/approvals/{id}", People(RECORDS), get(read::approval)),
        ("get", "/api/v1/asks/{token}", People(RECORDS), get(asks::ask)),
        ("get", "/api/v1/grants", People(RECORDS), get(grants::grants)),
        ("get", "/api/v1/grants/{id}", People(RECORDS), get(grants::grant)),
        ("get", "/api/v1/freeze", People(RECORDS), get(freezes::freezes)),
        ("get", "/api/v1/events", People(RECORDS), get(read::events)),
        ("get", "/api/v1/audit/verify", People(RECORDS), verify::route()),
        ("get", "/api/v1/traces/{trace_id}", People(RECORDS), get(read::trace)),
        ("get", "/api/v1/agents", People(RECORDS), get(read::agents)),
        ("get", "/api/v1/people", People(RECORDS), get(read::people)),
        ("get", "/api/v1/tools", People(RECORDS), get(read::tools)),
        ("get", "/api/v1/policies", People(RECORDS), get(read::policies)),
        ("get", "/api/v1/policies/history", People(RECORDS), get(policies::history)),
        ("get", "/api/v1/policies/{snapshot}", People(RECORDS), get(policies::snapshot)),
        ("get", "/api/v1/policies/rollout", People(RECORDS), get(policies::rollout)),
        ("get", "/api/v1/budgets", People(RECORDS), get(budgets::budgets)),
        ("get", "/api/v1/budgets/{id}/burn", People(RECORDS), get(budgets::burn)),
        ("get", "/api/v1/pins", People(RECORDS), get(pins::changes)),
        ("post", "/api/v1/explain", People(RECORDS), post(explain::explain)),
        // What people do.
        ("post", "/api/v1/approvals/{id}/decision", People(DECIDE), post(decide::decide)),
        ("delete", "/api/v1/grants/{id}", People(REVOKE), delete(grants::revoke)),
        ("post", "/api/v1/freeze", People(ADMIN), post(freezes::freeze)),
        ("delete", "/api/v1/freeze/{id}", People(ADMIN), delete(freezes::unfreeze)),
        ("post", "/api/v1/samples/{call_id}", People(REVIEW), post(alerts::review)),
        ("post", "/api/v1/alerts/{id}", People(ADMIN), post(alerts::say)),
        ("post", "/api/v1/incidents/{id}", People(ADMIN), post(alerts::close)),
        ("post", "/api/v1/duties/{name}", People(ADMIN), post(alerts::duty)),
        ("post", "/api/v1/holds", People(ADMIN), post(holds::place)),
        ("delete", "/api/v1/holds/{id}", People(ADMIN), delete(holds::release)),
        ("post", "/api/v1/labels/clear", People(ADMIN), post(labels::clear)),
        ("get", "/api/v1/deadletters", People(ADMIN), get(dead_letters::list)),
        ("get", "/api/v1/deadletters/{id}", People(ADMIN), get(dead_letters::show)),
        ("post", "/api/v1/deadletters/{id}", People(ADMIN), post(dead_letters::act)),
        ("post", "/api/v1/policies/activate", People(ADMIN), post(policies::activate)),
        ("post", "/api/v1/policies/rollback", People(ADMIN), post(policies::rollback)),
        ("post", "/api/v1/policies/rollout/start", People(ADMIN), post(policies::start)),
        ("post", "/api/v1/policies/rollout/advance", People(ADMIN), post(policies::advance)),
        ("post", "/api/v1/policies/rollout/abort", People(ADMIN), post(policies::abort)),
        ("post", "/api/v1/budgets/{id}/reset", People(ADMIN), post(budgets::reset)),
        ("post", "/api/v1/pins/accept", People(ADMIN), post(pins::accept)),
        ("post", "/api/v1/pins/pin", People(ADMIN), post(pins::pin)),
        ("post", "/api/v1/simulate", People(ADMIN), simulate::route()),
    ]
}

/// The roles that may use a route; none where it is not for people, or not there. The command line asks for its commands.
pub(crate) fn roles_of(method: &str, path: &str) -> Option<&'static [Role]> {
    table().into_iter().find(|row| (row.0, row.1) == (method, path)).and_then(
        |(_, _, access, _)| match access {
            People(roles) => Some(roles),
            Anybody | Details(_) | Scrapers(_) => None,
        },
    )
}

/// The page: the same for everybody, and it knows nothing before somebody has signed in.
fn pages() -> [Row; 5] {
    [
        ("get", "/", Anybody, get(page::index)),
        ("get", "/ask/{token}", Anybody, get(asks::open)),
        ("get", "/page/main.js", Anybody, get(page::script)),
        ("get", "/page.css", Anybody, get(page::style)),
        ("get", "/icon.svg", Anybody, get(page::icon)),
    ]
}

/// The whole listener. It wants the peer's address as [`axum::extract::ConnectInfo`].
pub fn router(port: Arc<dyn AdminPort>) -> Router {
    let mut router = Router::new();
    let mut served: Vec<(&str, Routes)> = Vec::new();
    for (_, path, access, routes) in table().into_iter().chain(pages()) {
        let routes = routes.layer(middleware::from_fn_with_state((Arc::clone(&port), access), admitted));
        match served.iter_mut().find(|(known, _)| *known == path) {
            Some((_, known)) => *known = std::mem::take(known).merge(routes),
            None => served.push((path, routes)),
        }
    }
    for (path, routes) in served {
        router = router.route(path, routes.fallback(|| async { ApiError::MethodNotAllowed }));
    }
    router
        .fallback(|| async { ApiError::NotFound("there is nothing at this path".to_owned()) })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn_with_state(Arc::clone(&port), guard::guard))
        .with_state(port)
}

/// Asks whether whoever comes may use the route, before anything else of it runs.
async fn admitted(
    Given((port, access)): Given<(Arc<dyn AdminPort>, Access)>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let (mut parts, body) = request.into_parts();
    let roles = match access {
        Anybody => None,
        Details(roles) => Some(roles).filter(|_| has_credential(&parts, &*port)),
        Scrapers(roles) => Some(roles).filter(|_| !may_scrape(&parts, &*port)),
        People(roles) => Some(roles),
    };
    if let Some(roles) = roles {
        let caller = Caller::of(&parts, &*port, roles)?;
        parts.extensions.insert(caller);
    }
    Ok(next.run(Request::from_parts(parts, body)).await)
}

/// Whether what is measured is read without a person.
fn may_scrape(parts: &Parts, port: &dyn AdminPort) -> bool {
    let in_force = port.in_force();
    let admin = &in_force.config.admin;
    let is_open = admin.listen.ip().is_loopback()
        && !in_force.config.gateway.behind_tls_proxy
        && admin.metrics_key.is_none()
        && guard::is_to_loopback(&parts.headers, &parts.uri)
        && !has_credential(parts, port);
    is_open || admin.metrics_key.as_ref().is_some_and(|key| is_bearer(&parts.headers, key))
}

/// Whether a request's one credential is this key, found out in a time that says nothing of it.
fn is_bearer(headers: &HeaderMap, key: &SecretString) -> bool {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(one), None) = (given.next(), given.next()) else { return false };
    let Some((scheme, token)) = one.to_str().ok().and_then(|text| text.split_once(' ')) else { return false };
    let digest = |text: &str| Sha256::digest(text.as_bytes());
    scheme.eq_ignore_ascii_case("bearer") && digest(token.trim()).ct_eq(&digest(key.expose_secret())).into()
}
