//! People sign in by OpenID Connect: the code flow with PKCE, and the session that comes of it. Nothing of it is kept beyond this
//! process, and no token: what an issuer said of a person is read once.

mod id_token;
mod provider;
mod sessions;

pub use sessions::Live;

use super::keys::Keys;
use crate::{
    clock::{Clock, IdSource as _, System},
    config::OidcConfig,
    model::PersonId,
    outbound::{Outbound, TokenError, TokenRequest, is_error_code},
    policy::{Authority, Role},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::Full;
use parking_lot::Mutex;
use provider::{Provider, Providers};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sessions::Sessions;
use sha2::{Digest as _, Sha256};
use std::{
    collections::{HashSet, VecDeque},
    fmt,
    sync::Arc,
    time::Duration,
};
use subtle::ConstantTimeEq as _;
use tokio::sync::Semaphore;

/// How long somebody may take at the issuer.
pub const SIGN_IN_TIME: Duration = Duration::from_secs(10 * 60);
/// How long a request to the issuer may take, and what it may answer.
const PATIENCE: Duration = Duration::from_secs(10);
const MOST_BYTES: usize = 256 * 1024;
/// Answers of an issuer that are remembered, so that none is used twice; the oldest is forgotten for one more.
const MOST_USED: usize = 10_000;
/// Answers that are exchanged at a time: whoever makes up codes makes the issuer no more work than this.
const MOST_EXCHANGED: usize = 16;
/// The longest code, state or error that is looked at.
const LONGEST: usize = 4_096;

/// Where the issuer sends people back to, below the page's address.
pub const CALLBACK: &str = "/signin/callback";

/// What the browser that began keeps, sealed: an answer is for that one alone.
#[derive(Clone, Serialize, Deserialize)]
pub struct Ticket {
    state: String,
    nonce: String,
    verifier: String,
    issuer: String,
}

/// What an issuer sends back with a browser.
#[derive(Clone, Default)]
pub struct Answer {
    /// What is exchanged for tokens.
    pub code: Option<String>,
    /// Of which attempt.
    pub state: Option<String>,
    /// Who sends it (RFC 9207).
    pub iss: Option<String>,
    /// Why there is no code.
    pub error: Option<String>,
}

/// What an issuer said of a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// `iss`
    pub issuer: String,
    /// `sub`
    pub subject: String,
    /// What the claim says that names the person.
    pub person: Option<String>,
    /// Their groups there.
    pub groups: Vec<String>,
}

impl Identity {
    /// As records name it: whole, for two that begin alike are two. An issuer's subject has 255 bytes at most.
    pub fn name(&self) -> String {
        format!("oidc:{}#{}", self.issuer, self.subject)
    }
}

/// Why nobody is signed in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignInError {
    /// The issuer cannot be asked, or answers with what is none of its business.
    #[error("the issuer cannot be asked now: {0}")]
    Unavailable(String),
    /// What came back does not make anybody known.
    #[error("the sign-in is refused: {0}")]
    Refused(String),
    /// Too many at once.
    #[error("too many people sign in at this moment: try again later")]
    Busy,
}

fn refused(why: &str) -> SignInError {
    SignInError::Refused(why.to_owned())
}

/// Answers that were used: by the digest of their state, and in the order in which they came.
#[derive(Default)]
struct Used {
    known: HashSet<[u8; 32]>,
    order: VecDeque<([u8; 32], Duration)>,
}

/// Sign-ins of one process and the sessions that came of them.
pub struct SignIn {
    clock: Arc<dyn Clock>,
    system: System,
    outbound: Outbound,
    providers: Providers,
    keys: Keys,
    used: Mutex<Used>,
    exchanging: Semaphore,
    sessions: Sessions,
}

impl fmt::Debug for SignIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SignIn")
    }
}

impl SignIn {
    /// With no session yet.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            system: System::default(),
            outbound: Outbound::default(),
            providers: Providers::new(clock.clone()),
            keys: Keys::new(clock.clone()),
            used: Mutex::default(),
            exchanging: Semaphore::new(MOST_EXCHANGED),
            sessions: Sessions::new(clock.clone()),
            clock,
        }
    }

    fn random(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.system.random())
    }

    /// Where a person is sent to, and what their browser keeps meanwhile.
    pub async fn start(&self, rules: &Arc<OidcConfig>) -> Result<(String, Ticket), SignInError> {
        let provider = self.providers.of(rules, &self.outbound).await?;
        let ticket = Ticket {
            state: self.random(),
            nonce: self.random(),
            verifier: self.random(),
            issuer: rules.issuer.clone(),
        };
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(&ticket.verifier));
        let mut scope = vec!["openid"];
        scope.extend(rules.scopes.iter().map(String::as_str));
        let mut url = provider.authorization.clone();
        {
            let mut query = url.query_pairs_mut();
            query
                .append_pair("response_type", "code")
                .append_pair("client_id", &rules.client_id)
                .append_pair("redirect_uri", &redirect_uri(rules))
                .append_pair("scope", &scope.join(" "))
                .append_pair("state", &ticket.state)
                .append_pair("nonce", &ticket.nonce)
                .append_pair("code_challenge", &challenge)
                .append_pair("code_challenge_method", "S256");
            if !rules.acr_values.is_empty() {
                query.append_pair("acr_values", &rules.acr_values.join(" "));
            }
        }
        Ok((url.into(), ticket))
    }

    /// Who it is that comes back from the issuer.
    pub async fn finish(
        &self,
        rules: &Arc<OidcConfig>,
        ticket: &Ticket,
        answer: &Answer,
    ) -> Result<Identity, SignInError> {
        let state = answer.state.as_deref().unwrap_or_default();
        if state.len() > LONGEST || !bool::from(state.as_bytes().ct_eq(ticket.state.as_bytes())) {
            return Err(refused("this answer is not of the sign-in that this browser began; begin again"));
        }
        if ticket.issuer != rules.issuer {
            return Err(refused("another issuer has been configured meanwhile; begin again"));
        }
        let provider = self.providers.of(rules, &self.outbound).await?;
        match &answer.iss {
            Some(iss) if *iss != rules.issuer => return Err(refused("the answer is of another issuer")),
            None if provider.names_itself => {
                return Err(refused("the answer does not say of which issuer it is"));
            }
            Some(_) | None => {}
        }
        if let Some(error) = &answer.error {
            let code = if is_error_code(error) { error.as_str() } else { "an error" };
            return Err(SignInError::Refused(format!("the issuer answered `{code}`")));
        }
        let code = answer.code.as_deref().filter(|code| !code.is_empty() && code.len() <= LONGEST);
        let code = code.ok_or_else(|| refused("the issuer sent no code"))?;
        let _turn = self.exchanging.try_acquire().map_err(|_| SignInError::Busy)?;
        self.use_once(state)?;
        let tokens = self.exchange(rules, &provider, ticket, code).await?;
        let text = |name: &str| tokens.get(name).and_then(Value::as_str);
        let id_token = text("id_token").ok_or_else(|| refused("the issuer sent no id_token"))?;
        let mut claims =
            id_token::verify(&self.keys, rules, &provider, id_token, &ticket.nonce, self.clock.now()).await?;
        let missing =
            [&rules.groups_claim, &rules.person_claim].iter().any(|name| !claims.contains_key(*name));
        if missing && let (Some(url), Some(token)) = (&provider.userinfo, text("access_token")) {
            self.add_user_info(&mut claims, url, token).await?;
        }
        Ok(identity(rules, &claims))
    }

    /// An answer counts once, whatever the issuer thinks of it.
    fn use_once(&self, state: &str) -> Result<(), SignInError> {
        let now = self.clock.monotonic();
        let mut used = self.used.lock();
        let Used { known, order } = &mut *used;
        // Whoever makes up answers keeps nobody out: an issuer takes a code once, too.
        while let Some((oldest, at)) = order.front().copied()
            && (order.len() >= MOST_USED || now.saturating_sub(at) >= 2 * SIGN_IN_TIME)
        {
            order.pop_front();
            known.remove(&oldest);
        }
        let state: [u8; 32] = Sha256::digest(state).into();
        if !known.insert(state) {
            return Err(refused("this answer was used already; begin again"));
        }
        order.push_back((state, now));
        Ok(())
    }

    /// Exchanges a code, with the proof that this browser's sign-in asked for it.
    async fn exchange(
        &self,
        rules: &OidcConfig,
        provider: &Provider,
        ticket: &Ticket,
        code: &str,
    ) -> Result<Map<String, Value>, SignInError> {
        let redirect = redirect_uri(rules);
        let request = TokenRequest {
            url: provider.token.as_str(),
            client_id: &rules.client_id,
            secret: rules.client_secret.as_ref(),
            auth_method: rules.auth_method,
            form: vec![
                ("grant_type", "authorization_code"),
                ("code", code),
                ("redirect_uri", &redirect),
                ("code_verifier", &ticket.verifier),
            ],
        };
        request.ask(&self.outbound).await.map_err(|error| match error {
            TokenError::Status { status, code } if !status.is_server_error() => {
                let code = code.map(|code| format!(", `{code}`")).unwrap_or_default();
                SignInError::Refused(format!(
                    "the issuer does not take the code (HTTP status {status}{code})"
                ))
            }
            TokenError::Malformed(_) => {
                SignInError::Refused("the issuer does not take the code: its answer is no JSON".to_owned())
            }
            other => SignInError::Unavailable(format!("its token endpoint: {other}")),
        })
    }

    /// What the issuer says only there. It must be of the same person.
    async fn add_user_info(
        &self,
        claims: &mut Map<String, Value>,
        url: &url::Url,
        token: &str,
    ) -> Result<(), SignInError> {
        let unavailable = |why: String| SignInError::Unavailable(format!("its userinfo endpoint: {why}"));
        let mut value = HeaderValue::try_from(format!("Bearer {token}"))
            .map_err(|_| refused("the issuer sent a token that cannot be sent back"))?;
        value.set_sensitive(true);
        let request = Request::get(url.as_str())
            .header(header::AUTHORIZATION, value)
            .header(header::ACCEPT, "application/json")
            .body(Full::new(Bytes::new()))
            .map_err(|_| unavailable("it cannot be requested".to_owned()))?;
        let reply = self.outbound.send(request, MOST_BYTES, PATIENCE).await;
        let reply = reply.map_err(|error| unavailable(error.to_string()))?;
        // An issuer that does not tell more there has told all.
        let (StatusCode::OK, Ok(Value::Object(more))) = (reply.status, serde_json::from_slice(&reply.body))
        else {
            return Ok(());
        };
        if more.get("sub") != claims.get("sub") {
            return Err(refused("the issuer's userinfo is of somebody else"));
        }
        for (name, value) in more {
            claims.entry(name).or_insert(value);
        }
        Ok(())
    }

    /// Opens a session; what comes back is what the browser keeps.
    pub fn open(&self, rules: &Arc<OidcConfig>, identity: Identity) -> String {
        let (token, csrf) = (self.random(), self.random());
        self.sessions.open(&token, csrf, rules, identity);
        token
    }

    /// The session of a token, where it still counts; `used` says that its person has done something now.
    pub fn session(&self, token: &[u8], rules: Option<&Arc<OidcConfig>>, used: bool) -> Option<Live> {
        self.sessions.find(token, rules?, used)
    }

    /// Ends a session.
    pub fn end(&self, token: &[u8]) {
        self.sessions.end(token);
    }
}

/// Where the issuer sends people back to: always the same.
fn redirect_uri(rules: &OidcConfig) -> String {
    format!("{}{CALLBACK}", rules.public_url)
}

fn identity(rules: &OidcConfig, claims: &Map<String, Value>) -> Identity {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    // An address that nobody has checked is what its holder wrote.
    let trusted = rules.person_claim != "email" || claims.get("email_verified") == Some(&Value::Bool(true));
    let mut groups: Vec<String> = match claims.get(&rules.groups_claim) {
        Some(Value::Array(list)) => {
            list.iter().filter_map(Value::as_str).map(str::to_owned).take(1_000).collect()
        }
        Some(Value::String(one)) => vec![one.clone()],
        Some(_) | None => Vec::new(),
    };
    groups.sort_unstable();
    Identity {
        issuer: rules.issuer.clone(),
        subject: text("sub").unwrap_or_default().to_owned(),
        person: text(&rules.person_claim).filter(|_| trusted).map(str::to_owned),
        groups,
    }
}

/// The person that somebody is here, and what they may do: looked at anew with each request.
///
/// Roles are those of authority.yaml; where groups are mapped, those of them that a group gives too. Reading needs no entry in
/// authority.yaml: a group that gives `viewer`, `auditor` or `auditor-full` is enough. `approver` and `admin` are for people whom
/// the bundle names.
pub fn person_of(rules: &OidcConfig, identity: &Identity, authority: &Authority) -> (PersonId, Vec<Role>) {
    let claimed = identity.person.as_deref();
    let name = match &rules.people {
        Some(people) => claimed.and_then(|claimed| people.get(claimed)).cloned(),
        None => claimed.map(PersonId::from),
    };
    let known = name.and_then(|name| authority.people.get(&name));
    let own = known.map(|person| person.roles.as_slice()).unwrap_or_default();
    let roles = match &rules.groups {
        None => own.to_vec(),
        Some(groups) => {
            let given = |role: &Role| {
                identity.groups.iter().filter_map(|group| groups.get(group)).any(|roles| roles.contains(role))
            };
            let may = |role: &Role| match role {
                Role::Approver | Role::Admin => own.contains(role),
                Role::Auditor | Role::AuditorFull | Role::Viewer => true,
            };
            Role::ALL.into_iter().filter(|role| given(role) && may(role)).collect()
        }
    };
    let id = match known {
        Some(person) => person.id.clone(),
        // No name of authority.yaml has a colon.
        None => PersonId::from(format!("oidc:{}", identity.subject.escape_debug())),
    };
    (id, roles)
}

#[cfg(test)]
mod tests;
