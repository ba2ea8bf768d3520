//! `[upstreams.*] oauth`: where Tollgate gets an access token of its own for an upstream, and whose it is.

use super::{
    ClientAuth,
    expand::{Env, expand},
};
use crate::policy::{
    read::{Fields, fields, text, texts, word},
    source::{Node, Report},
};
use secrecy::{ExposeSecret as _, SecretString};
use std::fmt;
use url::Url;

/// `oauth`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OauthConfig {
    /// How a token is had.
    pub grant: OauthGrant,
    /// What is asked for.
    pub scopes: Vec<String>,
    /// For whom the token is (RFC 8707): the upstream's URL unless it says otherwise. Where a person is sent to an issuer, an
    /// absent one is what the upstream says of itself.
    pub resource: Option<String>,
}

/// `grant`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OauthGrant {
    /// `client_credentials` (RFC 6749, section 4.4).
    ClientCredentials(TokenSource),
    /// `authorization_code`: somebody connects it, as the authorization specification of MCP says.
    AuthorizationCode(Box<CodeGrant>),
    /// `token_exchange` (RFC 8693): the caller's own token is exchanged.
    TokenExchange(TokenSource, Option<String>),
}

/// A token endpoint, and who Tollgate is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenSource {
    /// The token endpoint.
    pub token_url: Url,
    /// Who Tollgate is there.
    pub client: OauthClient,
}

/// `client_id` and `client_secret`
#[derive(Clone)]
pub struct OauthClient {
    /// Tollgate's name at the issuer.
    pub id: String,
    /// Its password; none: a public client.
    pub secret: Option<SecretString>,
    /// How the password travels.
    pub auth_method: ClientAuth,
}

impl fmt::Debug for OauthClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OauthClient").field("id", &self.id).finish_non_exhaustive()
    }
}

impl PartialEq for OauthClient {
    fn eq(&self, other: &Self) -> bool {
        let secret = |one: &Self| one.secret.as_ref().map(|secret| secret.expose_secret().to_owned());
        self.id == other.id && self.auth_method == other.auth_method && secret(self) == secret(other)
    }
}

impl Eq for OauthClient {}

/// What `authorization_code` takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodeGrant {
    /// Who has a credential of their own.
    pub per: CredentialOf,
    /// A client that the issuer knows already; none: its metadata document or dynamic registration.
    pub client: Option<OauthClient>,
    /// Where the client's metadata document is found (Client ID Metadata Documents).
    pub client_metadata_url: Option<Url>,
    /// The only issuer that may be asked; none: the one that the upstream names.
    pub issuer: Option<String>,
    /// Where the issuer sends people back to on the command line; none: a free port of this machine.
    pub redirect: Option<Url>,
}

/// `per`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CredentialOf {
    /// One for everybody.
    #[default]
    Gateway,
    /// One for each agent.
    Agent,
    /// One for each person that an agent acts for.
    Person,
}

impl CredentialOf {
    /// Its word in the files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Agent => "agent",
            Self::Person => "person",
        }
    }
}

impl OauthConfig {
    /// Where somebody connects it.
    pub fn code_grant(&self) -> Option<&CodeGrant> {
        match &self.grant {
            OauthGrant::AuthorizationCode(grant) => Some(grant),
            OauthGrant::ClientCredentials(_) | OauthGrant::TokenExchange(..) => None,
        }
    }
}

/// The keys that each grant takes beside `grant`.
const COMMON: &[&str] = &["scopes", "resource", "client_id", "client_secret", "auth_method"];
const KEYS: &[&str] = &[
    "grant",
    "per",
    "token_url",
    "client_id",
    "client_secret",
    "scopes",
    "resource",
    "auth_method",
    "audience",
    "client_metadata_url",
    "issuer",
    "redirect",
];
const CODE_KEYS: &[&str] = &["per", "client_metadata_url", "issuer", "redirect"];
const METHODS: &[(&str, ClientAuth)] =
    &[("client_secret_basic", ClientAuth::Basic), ("client_secret_post", ClientAuth::Post)];
const PER: &[(&str, CredentialOf)] =
    &[("gateway", CredentialOf::Gateway), ("person", CredentialOf::Person), ("agent", CredentialOf::Agent)];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    Client,
    Code,
    Exchange,
}
const GRANTS: &[(&str, Word)] = &[
    ("authorization_code", Word::Code),
    ("client_credentials", Word::Client),
    ("token_exchange", Word::Exchange),
];

/// Reads the table; what is wrong is in `report`. No message shows a value: each may hold a secret.
pub(super) fn read(
    node: &Node,
    upstream: Option<&Url>,
    env: Env<'_>,
    report: &mut Report<'_>,
) -> Option<OauthConfig> {
    let map = fields(node, "oauth", KEYS, report)?;
    let grant = match map.get("grant") {
        // As it was before there were others.
        None => Word::Client,
        Some(_) => map.read("grant", report, word(GRANTS))?,
    };
    let (name, own): (_, &[&str]) = match grant {
        Word::Client => ("client_credentials", &["token_url"]),
        Word::Code => ("authorization_code", CODE_KEYS),
        Word::Exchange => ("token_exchange", &["token_url", "audience"]),
    };
    for key in KEYS.iter().filter(|key| **key != "grant" && !COMMON.contains(*key) && !own.contains(*key)) {
        if let Some(entry) = map.entry(key) {
            let why = format!("`{key}` does nothing with `grant = \"{name}\"`");
            report.error(entry.at, why, format!("no `{key}`, or another `grant`"));
        }
    }
    let scopes = map.read("scopes", report, texts).unwrap_or_default();
    let scopes = scopes.iter().map(|scope| scope.to_string()).collect();
    let resource = resource(&map, env, report)?;
    let grant = match grant {
        Word::Code => OauthGrant::AuthorizationCode(Box::new(code_grant(&map, env, report)?)),
        Word::Client => OauthGrant::ClientCredentials(source(&map, env, report)?),
        Word::Exchange => {
            let source = source(&map, env, report)?;
            let audience = match map.get("audience") {
                None => None,
                Some(_) => Some(needed(&map, "audience", "a name of the issuer's", env, report)?.1),
            };
            OauthGrant::TokenExchange(source, audience)
        }
    };
    let of_upstream = || {
        let mut url = upstream?.clone();
        url.set_fragment(None);
        Some(url.to_string())
    };
    let resource = match &grant {
        OauthGrant::AuthorizationCode(_) => resource,
        OauthGrant::ClientCredentials(_) | OauthGrant::TokenExchange(..) => {
            Some(resource.or_else(of_upstream)?)
        }
    };
    Some(OauthConfig { grant, scopes, resource })
}

/// `resource`; the outer none is a fault.
fn resource(map: &Fields<'_>, env: Env<'_>, report: &mut Report<'_>) -> Option<Option<String>> {
    if map.get("resource").is_none() {
        return Some(None);
    }
    let (node, written) = needed(map, "resource", "a URL", env, report)?;
    if Url::parse(&written).is_ok_and(|url| url.fragment().is_none()) {
        return Some(Some(written));
    }
    let why = "`resource` names no resource (not shown: it may hold a secret)";
    report.error(node.start, why, "an absolute URI without a fragment (RFC 8707)");
    None
}

/// `token_url` and the client there.
fn source(map: &Fields<'_>, env: Env<'_>, report: &mut Report<'_>) -> Option<TokenSource> {
    let token_url = needed(map, "token_url", "the token endpoint", env, report);
    let token_url = token_url.and_then(|(node, written)| {
        let why = "`token_url` cannot be sent a password (not shown: it may hold one)";
        safe(node, &written, why, report)
    });
    let id = needed(map, "client_id", "Tollgate's name there", env, report).map(|(_, text)| text);
    let secret = needed(map, "client_secret", "\"${NAME}\" of the environment", env, report)
        .map(|(_, text)| SecretString::from(text));
    let auth_method = map.read("auth_method", report, word(METHODS)).unwrap_or(ClientAuth::Basic);
    Some(TokenSource {
        token_url: token_url?,
        client: OauthClient { id: id?, secret: Some(secret?), auth_method },
    })
}

fn code_grant(map: &Fields<'_>, env: Env<'_>, report: &mut Report<'_>) -> Option<CodeGrant> {
    let per = map.read("per", report, word(PER)).unwrap_or_default();
    for (key, needs) in [("client_secret", "client_id"), ("auth_method", "client_secret")] {
        if let Some(entry) = map.entry(key)
            && map.get(needs).is_none()
        {
            report.error(entry.at, format!("`{key}` without `{needs}`"), format!("`{needs}` beside it"));
        }
    }
    if let Some(entry) = map.entry("client_metadata_url")
        && map.get("client_id").is_some()
    {
        report.error(entry.at, "both `client_id` and `client_metadata_url`", "one of the two");
    }
    let optional = |key: &str, expected: &str, report: &mut Report<'_>| match map.get(key) {
        None => Some(None),
        Some(_) => needed(map, key, expected, env, report).map(Some),
    };
    let id = optional("client_id", "Tollgate's name at the issuer", report);
    let secret = optional("client_secret", "\"${NAME}\" of the environment", report);
    let auth_method = map.read("auth_method", report, word(METHODS)).unwrap_or(ClientAuth::Basic);
    let issuer = match optional("issuer", "the issuer's URL, as its metadata has it", report)? {
        None => None,
        Some((node, written)) => {
            let why = "`issuer` cannot be trusted with a sign-in (not shown: it may hold a secret)";
            safe(node, &written, why, report)?;
            Some(written)
        }
    };
    let metadata = match optional("client_metadata_url", "an https URL with a path", report)? {
        None => None,
        Some((node, written)) => {
            let parsed = Url::parse(&written).ok();
            let good = parsed.filter(|url| url.scheme() == "https" && url.has_host() && url.path() != "/");
            if good.is_none() {
                let why = "`client_metadata_url` is no Client ID Metadata Document's";
                report.error(node.start, why, "an https URL with a path, from which the issuer can fetch it");
                return None;
            }
            good
        }
    };
    let redirect = match optional("redirect", "an http URL of this machine", report)? {
        None => None,
        Some((node, written)) => {
            let parsed = Url::parse(&written).ok();
            let good = parsed.filter(|url| {
                let bare = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
                url.scheme() == "http" && super::is_loopback(url) && url.port().is_some() && bare
            });
            if good.is_none() {
                let why = "`redirect` is nothing that `servers login` can listen on";
                report.error(
                    node.start,
                    why,
                    "an address of this machine, like \"http://127.0.0.1:8789/callback\"",
                );
                return None;
            }
            good
        }
    };
    let (id, secret) = (id?, secret?.map(|(_, text)| SecretString::from(text)));
    let client = id.map(|(_, id)| OauthClient { id, secret, auth_method });
    Some(CodeGrant { per, client, client_metadata_url: metadata, issuer, redirect })
}

/// A URL to which secrets may go.
fn safe(node: &Node, written: &str, why: &str, report: &mut Report<'_>) -> Option<Url> {
    let parsed = Url::parse(written).ok().filter(Url::has_host);
    let safe = parsed.filter(|url| {
        let plain = url.username().is_empty() && url.password().is_none();
        plain && (url.scheme() == "https" || (url.scheme() == "http" && super::is_loopback(url)))
    });
    if safe.is_none() {
        report.error(node.start, why, "an https URL without a user, or http on this machine");
    }
    safe
}

fn needed<'n>(
    map: &Fields<'n>,
    key: &str,
    expected: &str,
    env: Env<'_>,
    report: &mut Report<'_>,
) -> Option<(&'n Node, String)> {
    let node = map.required(key, expected, report)?;
    let written = text(node, key, report)?;
    expand(node, &written, env, report).map(|text| (node, text))
}
