//! Credentials that people connect to upstreams: begun at an issuer, kept encrypted, renewed by one for all, revoked and removed;
//! for every process that shares the store.

mod attempts;
mod clients;
mod exchange;
mod flow;
mod kept;
mod tokens;
mod troubles;

pub use flow::{Answer, Begun, LONGEST_WAIT};
pub use kept::{Connection, Standing};

use crate::{
    clock::{Clock, IdSource},
    config::{CodeGrant, Config, CredentialOf, OauthConfig, UpstreamConfig, UpstreamTransport},
    evidence::ConnectionRecord,
    model::{AgentId, ConnectionKey, EventDraft, Holder, PersonId, UpstreamName},
    outbound::{Outbound, TokenRequest},
    store::{NewCredential, Register, RegisterChange, RegisterEntry, Store, StoreError, Vault},
    upstream::oauth,
};
use arc_swap::{ArcSwap, ArcSwapOption};
use jiff::Timestamp;
use kept::Credential;
use parking_lot::Mutex;
use secrecy::{ExposeSecret as _, SecretString};
use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, Weak},
    time::Duration,
};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;
use url::Url;

/// Why a connection is not made, or not ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// There is nothing to connect there.
    #[error("{0}")]
    Unknown(String),
    /// Somebody else's.
    #[error("{0}")]
    NotYours(String),
    /// What came back from the issuer does not count.
    #[error("the issuer's answer is refused: {0}")]
    Refused(String),
    /// The issuer or the upstream does not do what it takes.
    #[error("`{0}` cannot be connected: {1}")]
    Issuer(UpstreamName, String),
    /// Too many at once.
    #[error("too many people connect at this moment: try again later")]
    Busy,
    /// The store did not do it.
    #[error("the store did not keep it: {0}")]
    Store(String),
}

impl From<StoreError> for ConnectError {
    fn from(error: StoreError) -> Self {
        Self::Store(error.to_string())
    }
}

/// What a disconnect came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disconnected {
    /// The issuer took the tokens back.
    pub revoked: bool,
}

/// How often something is begun anew that others change meanwhile.
const MOST_ATTEMPTS: usize = 16;
/// After a look at the store that failed.
const AGAIN: Duration = Duration::from_millis(500);

/// Everything that is connected, as one process knows it.
type Known = BTreeMap<ConnectionKey, Connection>;

/// The connections of one store.
pub struct Connections {
    me: Weak<Self>,
    store: Arc<dyn Store>,
    vault: Option<Arc<dyn Vault>>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
    config: ArcSwapOption<Config>,
    /// As the store has it.
    written: Mutex<Arc<Known>>,
    /// As it counts under the configuration.
    known: ArcSwap<Known>,
    /// Held while it is read: what was read first must not be taken in last.
    reading: tokio::sync::Mutex<()>,
    changes: watch::Sender<u64>,
    /// Renewals, one at a time for each connection.
    turns: Mutex<HashMap<ConnectionKey, Arc<tokio::sync::Mutex<()>>>>,
    /// Renewals that are under way: whoever waits for one may leave, it goes on.
    renewals: TaskTracker,
    attempts: attempts::Attempts,
    exchanges: exchange::Exchanges,
    troubles: troubles::Troubles,
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").field("known", &self.known.load().len()).finish_non_exhaustive()
    }
}

impl Connections {
    /// On this store; nothing is known before [`Self::read`].
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, ids: Arc<dyn IdSource>) -> Arc<Self> {
        let renewals = TaskTracker::new();
        renewals.close();
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            renewals,
            vault: store.vault(),
            store,
            clock,
            ids,
            config: ArcSwapOption::empty(),
            written: Mutex::default(),
            known: ArcSwap::default(),
            reading: tokio::sync::Mutex::default(),
            changes: watch::Sender::new(0),
            turns: Mutex::default(),
            attempts: attempts::Attempts::default(),
            exchanges: exchange::Exchanges::default(),
            troubles: troubles::Troubles::default(),
        })
    }

    /// Waits for renewals that are under way: what an issuer gives once and nobody keeps is lost.
    pub async fn settled(&self) {
        self.renewals.wait().await;
    }

    /// What servers.toml says from now on.
    pub fn configure(&self, config: &Arc<Config>) {
        let before = self.config.swap(Some(config.clone()));
        if let Some(vault) = &self.vault
            && before.is_none_or(|before| !Arc::ptr_eq(&before, config))
        {
            vault.configure(config.store.vault.clone());
        }
        self.see(None);
    }

    /// Holds what the store has against what is configured. Whether something else counts than before.
    fn see(&self, read: Option<Known>) -> bool {
        let mut written = self.written.lock();
        if let Some(read) = read {
            *written = Arc::new(read);
        }
        let config = self.config.load();
        let counts = |found: &Connection| {
            let upstream = config.as_ref().and_then(|config| config.upstreams.get(&found.key.upstream));
            match upstream.map(|upstream| &upstream.transport) {
                Some(UpstreamTransport::Http { url, .. }) => found.at(url),
                Some(UpstreamTransport::Stdio { .. }) | None => found.clone(),
            }
        };
        let next: Known = written.iter().map(|(key, found)| (key.clone(), counts(found))).collect();
        if **self.known.load() == next {
            return false;
        }
        self.known.store(Arc::new(next));
        self.changes.send_modify(|changes| *changes = changes.wrapping_add(1));
        true
    }

    /// Reads what is connected. Whether it is something else than before.
    pub async fn read(&self) -> Result<bool, StoreError> {
        self.read_by(self.store.register(Register::Connection)).await
    }

    async fn read_by(
        &self,
        entries: impl Future<Output = Result<Vec<RegisterEntry>, StoreError>>,
    ) -> Result<bool, StoreError> {
        let _reading = self.reading.lock().await;
        let entries = entries.await?;
        let next = entries.iter().filter_map(Connection::read).map(|found| (found.key.clone(), found));
        Ok(self.see(Some(next.collect())))
    }

    /// Follows what other processes connect and disconnect, for ever.
    pub async fn follow(self: Arc<Self>) {
        let mut changes = self.store.register_changes();
        loop {
            let mut told = false;
            while let Err(error) = self.read().await {
                if matches!(error, StoreError::Closed) {
                    return;
                }
                if !std::mem::replace(&mut told, true) {
                    tracing::error!(%error, "connections.not_read: it is tried again");
                }
                tokio::time::sleep(AGAIN).await;
            }
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Wakes whenever somebody connects or disconnects, in this process or another.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Everything that is connected, or was until it was lost.
    pub fn list(&self) -> Vec<Connection> {
        self.known.load().values().cloned().collect()
    }

    /// One connection.
    pub fn get(&self, key: &ConnectionKey) -> Option<Connection> {
        self.known.load().get(key).cloned()
    }

    /// Whether somebody is connected, as far as this process knows.
    pub fn is_connected(&self, key: &ConnectionKey) -> bool {
        if let Holder::Token(_) = &key.holder {
            return self.exchanges.has(key, self.clock.now());
        }
        self.known.load().get(key).is_some_and(|found| found.standing == Standing::Connected)
    }

    /// Whose credential a call by this agent, for this person, uses at an upstream; none where nobody connects that one, or
    /// nobody knows for whom the agent acts.
    pub fn holder_of(
        upstream: &UpstreamConfig,
        agent: &AgentId,
        person: Option<&PersonId>,
    ) -> Option<Holder> {
        match code_grant(upstream)?.per {
            CredentialOf::Gateway => Some(Holder::Gateway),
            CredentialOf::Agent => Some(Holder::Agent(agent.clone())),
            CredentialOf::Person => person.cloned().map(Holder::Person),
        }
    }

    /// The connection of whoever sent an access token to an upstream for which it is exchanged; none where none is.
    pub fn of_token(
        &self,
        upstream: &UpstreamConfig,
        whose: [u8; 32],
        brought: (&Arc<SecretString>, Timestamp),
    ) -> Option<ConnectionKey> {
        if !upstream.exchanges_tokens() {
            return None;
        }
        let holder = Holder::Token(hex::encode(whose));
        let key = ConnectionKey { upstream: upstream.name.clone(), holder };
        self.exchanges.bring(&key, brought, self.clock.now());
        Some(key)
    }

    /// What is configured of an upstream that somebody connects.
    fn settings(&self, name: &UpstreamName) -> Result<Settings, ConnectError> {
        let config = self.config.load_full();
        let upstream = config.as_ref().and_then(|config| config.upstreams.get(name));
        let upstream = upstream
            .ok_or_else(|| ConnectError::Unknown(format!("servers.toml has no upstream `{name}`")))?;
        let UpstreamTransport::Http { url, oauth: Some(oauth), .. } = &upstream.transport else {
            let why = format!(
                "upstream `{name}` has no `oauth`: nobody signs in there. For a server that wants it, put \
                 `oauth = {{ grant = \"authorization_code\", per = \"gateway\" }}` (or per = \"person\") under [upstreams.{name}]"
            );
            return Err(ConnectError::Unknown(why));
        };
        if oauth.code_grant().is_none() {
            let why =
                format!("nobody connects `{name}`: its `oauth` has another `grant` than authorization_code");
            return Err(ConnectError::Unknown(why));
        }
        Ok(Settings { url: url.clone(), oauth: oauth.clone() })
    }

    /// The connection that a person means at an upstream: their own, that of an agent they operate, or the gateway's.
    pub fn key_for(
        &self,
        name: &UpstreamName,
        person: Option<&PersonId>,
        agent: Option<&AgentId>,
    ) -> Result<ConnectionKey, ConnectError> {
        let settings = self.settings(name)?;
        let holder = match settings.grant()?.per {
            CredentialOf::Gateway => Holder::Gateway,
            CredentialOf::Person => Holder::Person(person.cloned().ok_or_else(|| {
                ConnectError::Unknown(format!(
                    "`{name}` is connected for each person: say whose (TOLLGATE_KEY of a person, or --for PERSON)"
                ))
            })?),
            CredentialOf::Agent => Holder::Agent(agent.cloned().ok_or_else(|| {
                ConnectError::Unknown(format!("`{name}` is connected for each agent: say which (--for AGENT)"))
            })?),
        };
        Ok(ConnectionKey { upstream: name.clone(), holder })
    }

    /// The same of one that is kept: also of an upstream or a kind of account that servers.toml does not have any more. To end it takes
    /// no configuration.
    pub fn key_of_kept(
        &self,
        name: &UpstreamName,
        person: Option<&PersonId>,
        agent: Option<&AgentId>,
    ) -> Result<ConnectionKey, ConnectError> {
        let configured = self.key_for(name, person, agent);
        let others = agent.cloned().map(Holder::Agent).into_iter();
        let others = others.chain(person.cloned().map(Holder::Person)).chain([Holder::Gateway]);
        let others = others.map(|holder| ConnectionKey { upstream: name.clone(), holder });
        let kept = configured.iter().cloned().chain(others).find(|key| self.get(key).is_some());
        kept.map_or(configured, Ok)
    }

    /// Where the issuer of an upstream sends people back to on the command line, where that is configured.
    pub fn redirect_of(&self, name: &UpstreamName) -> Result<Option<Url>, ConnectError> {
        Ok(self.settings(name)?.grant()?.redirect.clone())
    }

    /// The upstreams that somebody connects, in the order of their names, with whose credentials they take.
    pub fn upstreams(&self) -> Vec<(UpstreamName, CredentialOf)> {
        let config = self.config.load_full();
        let all = config.iter().flat_map(|config| config.upstreams.values());
        all.filter_map(|upstream| Some((upstream.name.clone(), code_grant(upstream)?.per))).collect()
    }

    fn vault(&self) -> Result<&Arc<dyn Vault>, ConnectError> {
        self.vault.as_ref().ok_or_else(|| ConnectError::Store("it has no vault for credentials".to_owned()))
    }

    fn vault_name(key: &ConnectionKey) -> String {
        format!("connection {key}")
    }

    /// The credential of a connection, with its version in the vault.
    async fn credential(&self, key: &ConnectionKey) -> Result<Option<(u64, Credential)>, ConnectError> {
        let kept = self.vault()?.credential(Self::vault_name(key)).await?;
        Ok(kept.and_then(|(version, text)| Some((version, Credential::read(&text)?))))
    }

    /// Keeps a credential; its version, or none where another one than `expected` is there.
    async fn keep(
        &self,
        key: &ConnectionKey,
        expected: Option<u64>,
        credential: &Credential,
    ) -> Result<Option<u64>, ConnectError> {
        let value = credential.write().map_err(ConnectError::Store)?;
        let (now, fresh) = (self.clock.now(), self.ids.random());
        let new = NewCredential { expected, value, until: None };
        Ok(self.vault()?.put_credential(Self::vault_name(key), new, now, fresh).await?)
    }

    /// Says how a connection stands from now on, with the record that tells it.
    async fn tell(&self, stands: &Connection, events: Vec<EventDraft>) -> Result<(), StoreError> {
        let key = stands.key.to_string();
        self.store.set(vec![RegisterChange::set(Register::Connection, key, stands.value())], events).await?;
        self.read().await.map(drop)
    }

    /// Changes how a connection stands, with the record that tells it: that of this credential alone. Whether it was still that
    /// one; where somebody connected it anew or disconnected it meanwhile, in whichever process, that stays.
    async fn change(
        &self,
        key: &ConnectionKey,
        generation: u64,
        next: impl Fn(Connection) -> Option<Connection>,
        events: Vec<EventDraft>,
    ) -> Result<bool, StoreError> {
        for _ in 0..MOST_ATTEMPTS {
            let entry = self.store.register_entry(Register::Connection, key.to_string()).await?;
            let Some(entry) = entry else { return Ok(false) };
            let found = Connection::read(&entry).filter(|found| found.generation == generation);
            let Some(found) = found else { return Ok(false) };
            let change = match next(found) {
                Some(next) => RegisterChange::set(Register::Connection, key.to_string(), next.value()),
                None => RegisterChange::remove(Register::Connection, key.to_string()),
            };
            if self.store.set(vec![change.at(entry.version)], events.clone()).await? {
                self.read().await?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Takes the tokens back at the issuer, as far as it takes them, and removes the connection.
    pub async fn disconnect(
        &self,
        key: &ConnectionKey,
        by: Option<&PersonId>,
    ) -> Result<Disconnected, ConnectError> {
        // Nobody makes or renews it meanwhile; where that is waited for in vain, it is removed all the same.
        let turn = self.turn(key);
        let _one_at_a_time = turn.lock().await;
        let _in_all_processes = self.between_processes(key).await.ok();
        self.read().await?;
        let known = self.get(key);
        let credential = self.removed(key).await?;
        if known.is_none() && credential.is_none() {
            return Err(ConnectError::Unknown(format!(
                "`{}` is not connected for {}",
                key.upstream,
                told(&key.holder)
            )));
        }
        // What is removed here cannot be used, whatever the issuer says.
        let revoked = match &credential {
            Some(credential) => self.revoke(credential).await,
            None => false,
        };
        let told = known.clone().map(|known| (known.issuer, known.scopes));
        let (issuer, scopes) = told.or(credential.map(|kept| (kept.issuer, kept.scopes))).unwrap_or_default();
        let record = ConnectionRecord { key, by, issuer: &issuer, scopes: &scopes };
        let events = vec![record.disconnected(self.clock.now(), revoked)];
        let is_told = match known {
            Some(known) => self.change(key, known.generation, |_| None, events.clone()).await?,
            None => false,
        };
        if !is_told {
            self.store.record(events).await?;
        }
        Ok(Disconnected { revoked })
    }

    /// Takes a credential out of the vault, also one that was renewed while this was done.
    async fn removed(&self, key: &ConnectionKey) -> Result<Option<Credential>, ConnectError> {
        let vault = self.vault()?;
        for _ in 0..MOST_ATTEMPTS {
            let Ok(Some((version, credential))) = self.credential(key).await else { break };
            if vault.remove_credential(Self::vault_name(key), Some(version)).await? {
                return Ok(Some(credential));
            }
        }
        vault.remove_credential(Self::vault_name(key), None).await?;
        Ok(None)
    }

    /// RFC 7009. Whether the issuer took all of them back.
    async fn revoke(&self, credential: &Credential) -> bool {
        let Some(url) = &credential.revocation_url else { return false };
        let outbound = self.outbound(credential);
        let tokens = [
            credential.refresh_token.as_ref().map(|token| (token, "refresh_token")),
            Some((&credential.access_token, "access_token")),
        ];
        let mut all = true;
        for (token, hint) in tokens.into_iter().flatten() {
            let request = TokenRequest {
                url,
                client_id: &credential.client_id,
                secret: credential.client_secret.as_ref(),
                auth_method: credential.auth_method,
                form: vec![("token", token.expose_secret()), ("token_type_hint", hint)],
            };
            match request.done(&outbound).await {
                Ok(()) => {}
                Err(error) => {
                    tracing::warn!(issuer = credential.issuer, %error, "connection.not_revoked");
                    all = false;
                }
            }
        }
        all
    }

    /// Where a credential's issuer may be.
    fn outbound(&self, credential: &Credential) -> Outbound {
        let upstream = Url::parse(&credential.upstream_url).ok();
        let reach = upstream.map(|url| crate::outbound::Reach::of(&url)).unwrap_or_default();
        // An issuer that the configuration named when it was connected may be inside.
        let named = self.config.load_full().and_then(|config| {
            let of = |upstream: &UpstreamConfig| {
                let grant = code_grant(upstream)?;
                grant
                    .issuer
                    .clone()
                    .filter(|issuer| issuer.trim_end_matches('/') == credential.issuer.trim_end_matches('/'))
            };
            Url::parse(&config.upstreams.values().find_map(of)?).ok()
        });
        Outbound::within(reach.and(named.as_ref()))
    }
}

/// What is configured of one upstream.
struct Settings {
    url: Url,
    oauth: Arc<OauthConfig>,
}

impl Settings {
    fn grant(&self) -> Result<&CodeGrant, ConnectError> {
        self.oauth.code_grant().ok_or_else(|| ConnectError::Unknown("its `grant` is another".to_owned()))
    }
}

/// What an upstream says of who connects it.
pub fn code_grant(upstream: &UpstreamConfig) -> Option<&CodeGrant> {
    match &upstream.transport {
        UpstreamTransport::Http { oauth: Some(oauth), .. } => oauth.code_grant(),
        UpstreamTransport::Http { oauth: None, .. } | UpstreamTransport::Stdio { .. } => None,
    }
}

/// A holder in a sentence.
pub fn told(holder: &Holder) -> String {
    match holder {
        Holder::Gateway => "the gateway".to_owned(),
        Holder::Agent(agent) => format!("agent `{agent}`"),
        Holder::Person(person) => format!("`{person}`"),
        Holder::Token(_) => "the caller's own token".to_owned(),
    }
}

/// A client that an issuer has registered, as the vault keeps it.
async fn kept_client(vault: &Arc<dyn Vault>, name: &str) -> Result<Option<oauth::KnownClient>, StoreError> {
    let kept = vault.credential(name.to_owned()).await?;
    Ok(kept.and_then(|(_, text)| clients::read_client(&text)))
}

/// Keeps one.
async fn keep_client(
    connections: &Connections,
    vault: &Arc<dyn Vault>,
    name: String,
    text: SecretString,
) -> Result<(), StoreError> {
    let (now, fresh) = (connections.clock.now(), connections.ids.random());
    let new = NewCredential { expected: None, value: text, until: None };
    vault.put_credential(name, new, now, fresh).await.map(drop)
}

#[cfg(test)]
mod tests;
