//! The page: a few files in the binary, which speak to the API as anybody would.
//!
//! There are no cookies: the person's key stays in the tab and goes with each request as a header, so that no other page
//! can make one in their name. No markup is ever made from text, and the policy forbids it.

use super::{error::ApiError, params::Segment};
use axum::{
    http::{HeaderValue, header},
    response::{IntoResponse as _, Response},
};

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
                      trusted-types 'none'";

fn file(kind: &'static str, text: &'static str) -> Response {
    let mut response = text.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    response
}

/// `/`
pub(super) async fn index() -> Result<Response, ApiError> {
    Ok(file("text/html; charset=utf-8", include_str!("page/index.html")))
}

/// The modules of the page by name, under `/page/`.
const MODULES: &[(&str, &str)] = &[
    ("alerts.js", include_str!("page/alerts.js")),
    ("api.js", include_str!("page/api.js")),
    ("budgets.js", include_str!("page/budgets.js")),
    ("detail.js", include_str!("page/detail.js")),
    ("diff.js", include_str!("page/diff.js")),
    ("dom.js", include_str!("page/dom.js")),
    ("exact.js", include_str!("page/exact.js")),
    ("explain.js", include_str!("page/explain.js")),
    ("deadletters.js", include_str!("page/deadletters.js")),
    ("freeze.js", include_str!("page/freeze.js")),
    ("giving.js", include_str!("page/giving.js")),
    ("grants.js", include_str!("page/grants.js")),
    ("headline.js", include_str!("page/headline.js")),
    ("inbox.js", include_str!("page/inbox.js")),
    ("main.js", include_str!("page/main.js")),
    ("pins.js", include_str!("page/pins.js")),
    ("policies.js", include_str!("page/policies.js")),
    ("sent.js", include_str!("page/sent.js")),
    ("spend.js", include_str!("page/spend.js")),
    ("state.js", include_str!("page/state.js")),
];

/// `/page/{name}`
pub(super) async fn module(Segment(name): Segment) -> Result<Response, ApiError> {
    let found = MODULES.iter().find(|(known, _)| *known == name);
    let (_, text) = found.ok_or_else(|| ApiError::NotFound("the page has no such file".to_owned()))?;
    Ok(file("text/javascript; charset=utf-8", text))
}

/// `/page.css`
pub(super) async fn style() -> Result<Response, ApiError> {
    Ok(file("text/css; charset=utf-8", include_str!("page/page.css")))
}

/// `/icon.svg`
pub(super) async fn icon() -> Result<Response, ApiError> {
    Ok(file("image/svg+xml", include_str!("page/icon.svg")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every module that another one imports is served, and the page loads the first of them.
    #[test]
    fn the_modules_are_complete() {
        let known = |name: &str| MODULES.iter().any(|(other, _)| *other == name);
        let mut imported = 0;
        for (module, text) in MODULES {
            for line in text.lines().filter(|line| line.starts_with("import ")) {
                let from = line.split("from \"./").nth(1).and_then(|rest| rest.split('"').next());
                let from = from.unwrap_or_else(|| panic!("{module}: {line}"));
                assert!(known(from), "{module} imports {from}");
                imported += 1;
            }
        }
        assert!(imported > 10);
        assert!(include_str!("page/index.html").contains("src=\"/page/main.js\"") && known("main.js"));
    }
}
