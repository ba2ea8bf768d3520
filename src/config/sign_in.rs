//! How people sign in, and how Tollgate shows an issuer who it is.

use crate::{
    model::{ClientAuth, PersonId},
    policy::Role,
};
use secrecy::{ExposeSecret as _, SecretString};
use std::{collections::BTreeMap, fmt, time::Duration};

/// `[admin.oidc]`: sign-in by OpenID Connect. `Debug` shows no secret.
#[derive(Clone)]
pub struct OidcConfig {
    /// `iss`, compared byte by byte.
    pub issuer: String,
    /// Tollgate's name there.
    pub client_id: String,
    /// Its secret; none: a public client, which has PKCE alone.
    pub client_secret: Option<SecretString>,
    /// How the secret is sent.
    pub auth_method: ClientAuth,
    /// The page's address as people reach it, without a path.
    pub public_url: String,
    /// Asked for beside `openid`.
    pub scopes: Vec<String>,
    /// The claim that lists a person's groups there.
    pub groups_claim: String,
    /// What each of those groups gives; none: roles are those of authority.yaml.
    pub groups: Option<BTreeMap<String, Vec<Role>>>,
    /// The claim that names the person.
    pub person_claim: String,
    /// Who that is in authority.yaml; none: the claim says it.
    pub people: Option<BTreeMap<String, PersonId>>,
    /// One of these must be what the issuer asked for.
    pub acr_values: Vec<String>,
    /// All of these must be ways in which the person has shown who they are.
    pub amr: Vec<String>,
    /// How long a session lasts in which nobody does anything.
    pub idle: Duration,
    /// How long it lasts at all.
    pub lifetime: Duration,
}

impl OidcConfig {
    fn parts(&self) -> impl PartialEq + fmt::Debug + '_ {
        let first = (&self.issuer, &self.client_id, self.auth_method, &self.public_url, &self.scopes);
        let people = (&self.groups_claim, &self.groups, &self.person_claim, &self.people);
        (first, people, &self.acr_values, &self.amr, self.idle, self.lifetime)
    }
}

impl PartialEq for OidcConfig {
    fn eq(&self, other: &Self) -> bool {
        let secret = |one: &Self| one.client_secret.as_ref().map(|secret| secret.expose_secret().to_owned());
        self.parts() == other.parts() && secret(self) == secret(other)
    }
}

impl fmt::Debug for OidcConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OidcConfig").field(&self.parts()).finish()
    }
}
