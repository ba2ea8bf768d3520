//! Where an agent without a token learns whose to bring: the challenge of a 401, and the protected-resource metadata
//! it points at (RFC 9728).

use super::{Front, reply};
use crate::{config::Config, identity::DPOP_ALGORITHMS, model::code};
use axum::response::Response;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use serde_json::json;

/// RFC 9728, section 3.
pub(super) const PATH: &str = "/.well-known/oauth-protected-resource";
/// The resource, where nothing says under which path agents reach it.
const RESOURCE: &str = super::PATH;

/// What the metadata says.
pub(super) struct Protected {
    issuer: String,
    scopes: Vec<String>,
    dpop_required: bool,
    /// Where `public_url` says it.
    public: Option<url::Url>,
    scheme: &'static str,
}

impl Protected {
    /// None where no access tokens are taken.
    pub(super) fn of(config: &Config) -> Option<Self> {
        let jwt = config.auth.jwt.as_ref()?;
        let gateway = &config.gateway;
        let secure = gateway.tls.is_some() || gateway.behind_tls_proxy;
        Some(Self {
            issuer: jwt.issuer.clone(),
            scopes: jwt.scope_map.keys().cloned().collect(),
            dpop_required: jwt.dpop_required,
            public: gateway.public_url.as_ref().and_then(|_| url::Url::parse(&gateway.endpoint()).ok()),
            scheme: if secure { "https" } else { "http" },
        })
    }

    /// Origin and path of the resource; `host` is one that was let in.
    fn resource(&self, host: Option<&str>) -> Option<(String, String)> {
        match &self.public {
            Some(url) => Some((url.origin().ascii_serialization(), url.path().to_owned())),
            None => Some((format!("{}://{}", self.scheme, host?), RESOURCE.to_owned())),
        }
    }

    /// Where agents send requests to.
    pub(super) fn url(&self, host: Option<&str>) -> Option<url::Url> {
        let (origin, path) = self.resource(host)?;
        url::Url::parse(&format!("{origin}{path}")).ok()
    }

    fn document(&self, host: Option<&str>) -> Option<serde_json::Value> {
        let (origin, path) = self.resource(host)?;
        let mut document = json!({
            "resource": format!("{origin}{path}"),
            "resource_name": "Tollgate",
            "authorization_servers": [self.issuer],
            "bearer_methods_supported": ["header"],
            "dpop_signing_alg_values_supported": DPOP_ALGORITHMS,
            "dpop_bound_access_tokens_required": self.dpop_required,
        });
        if let Some(document) = document.as_object_mut().filter(|_| !self.scopes.is_empty()) {
            document.insert("scopes_supported".to_owned(), json!(self.scopes));
        }
        Some(document)
    }
}

/// The `Host` of a request that was let in, or the authority of its target.
pub(super) fn host_of<B>(request: &Request<B>) -> Option<String> {
    let named = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    named.or_else(|| request.uri().authority().map(http::uri::Authority::as_str)).map(str::to_owned)
}

/// What a 401 says of the credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// There was none.
    Missing,
    /// It opens nothing.
    Invalid,
    /// That the token's key is its sender's is not proven.
    Unproven,
}

/// RFC 6750, section 3, with `resource_metadata` (RFC 9728, section 5.1) and `scope`, where tokens are taken; RFC 9449, section
/// 7.1, where they must be bound to a key.
pub(super) fn challenge(protected: Option<&Protected>, host: Option<&str>, of: Challenge) -> HeaderValue {
    let dpop = of == Challenge::Unproven || protected.is_some_and(|protected| protected.dpop_required);
    let mut text = if dpop { "DPoP" } else { "Bearer" }.to_owned();
    let mut separator = " ";
    let mut add = |name: &str, value: &str| {
        text.extend([separator, name, "=\"", value, "\""]);
        separator = ", ";
    };
    match of {
        Challenge::Missing => {}
        Challenge::Invalid => add("error", "invalid_token"),
        Challenge::Unproven => add("error", "invalid_dpop_proof"),
    }
    if dpop {
        add("algs", &DPOP_ALGORITHMS.join(" "));
    }
    if let Some(protected) = protected {
        if let Some((origin, path)) = protected.resource(host) {
            add("resource_metadata", &format!("{origin}{PATH}{path}"));
        }
        if !protected.scopes.is_empty() {
            add("scope", &protected.scopes.join(" "));
        }
    }
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("Bearer"))
}

/// Whether a path is that of the metadata, alone or followed by the path of a resource (section 3.1).
pub(super) fn is_at(path: &str) -> bool {
    path.strip_prefix(PATH).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Serves the metadata. It is public: a page of any origin may read it, and no credential is looked at.
pub(super) fn show<B>(front: &Front, request: &Request<B>) -> Response {
    let settings = front.settings();
    // Only whose the request is for matters here, not which page sent it.
    let mut of_whom = HeaderMap::new();
    for host in request.headers().get_all(header::HOST) {
        of_whom.append(header::HOST, host.clone());
    }
    if let Err(turned) = settings.allow_list.check(request.uri(), &of_whom) {
        return reply::error(StatusCode::FORBIDDEN, code::INVALID_REQUEST, turned.to_string());
    }
    let mut response = match *request.method() {
        Method::GET | Method::HEAD => {
            let host = host_of(request);
            let asked = request.uri().path().strip_prefix(PATH).unwrap_or_default();
            let found = settings.protected.as_ref().and_then(|protected| {
                let (_, own) = protected.resource(host.as_deref())?;
                let known = asked.is_empty() || asked == RESOURCE || asked == own;
                known.then(|| protected.document(host.as_deref())).flatten()
            });
            match found {
                Some(document) => reply::json(StatusCode::OK, document.to_string().into_bytes()),
                None => reply::error(StatusCode::NOT_FOUND, code::INVALID_REQUEST, "nothing is here"),
            }
        }
        Method::OPTIONS => {
            let mut response = reply::empty(StatusCode::NO_CONTENT);
            let methods = HeaderValue::from_static("GET");
            response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
            // MCP clients in a browser name their version here too.
            let names = HeaderValue::from_static("*");
            response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names);
            response
        }
        _ => super::not_allowed("GET"),
    };
    let any = HeaderValue::from_static("*");
    response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, any);
    response
}
