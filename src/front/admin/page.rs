//! The page: a few files in the binary, which speak to the API as anybody would. `page/build.mjs` makes them of `page/src`.
//!
//! A person's key stays in the tab and goes with each request as a header, so that no other page can make one in their name; who
//! signed in by an issuer has a session in a cookie, and what the page then says beside it is in `person.rs`. No markup is ever made
//! from text, and the policy forbids it.

use super::error::ApiError;
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
    Ok(file("text/html; charset=utf-8", include_str!("assets/index.html")))
}

/// `/page/main.js`
pub(super) async fn script() -> Result<Response, ApiError> {
    Ok(file("text/javascript; charset=utf-8", include_str!("assets/main.js")))
}

/// `/page.css`
pub(super) async fn style() -> Result<Response, ApiError> {
    Ok(file("text/css; charset=utf-8", include_str!("assets/page.css")))
}

/// `/icon.svg`
pub(super) async fn icon() -> Result<Response, ApiError> {
    Ok(file("image/svg+xml", include_str!("assets/icon.svg")))
}

#[cfg(test)]
mod tests {
    /// The page loads its script from here and nothing from elsewhere, and the script imports nothing more.
    #[test]
    fn the_page_is_complete() {
        let (page, script) = (include_str!("assets/index.html"), include_str!("assets/main.js"));
        let style = include_str!("assets/page.css");
        assert!(page.contains("<script src=\"/page/main.js\" type=\"module\"></script>"));
        assert!(page.contains("href=\"/page.css\""));
        let imports = |line: &&str| line.starts_with("import ") || line.contains("import(");
        assert_eq!(script.lines().find(imports), None);
        for (name, text) in [("index.html", page), ("page.css", style)] {
            assert!(!text.contains("//") && !text.contains("url("), "{name} loads something from elsewhere");
        }
    }
}
