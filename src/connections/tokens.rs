//! Tokens for upstream connections: renewed by one for all who wait, in all processes on one store.

use super::{
    Connection, Connections, Credential, Standing,
    kept::{Renewing, bounded, elsewhere},
    told,
};
use crate::{
    evidence::ConnectionRecord,
    journal::open_private,
    model::{ConnectionKey, Holder},
    outbound::{Granted, TokenError, TokenRequest},
    store::StoreError,
    upstream::{Credentials, HeldToken},
};
use futures::{FutureExt as _, future::BoxFuture};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use std::{
    fs::File,
    io::{Read as _, Write as _},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

/// How long a token that could not be renewed is used before the next attempt.
const AGAIN: Duration = Duration::from_secs(30);
/// Files by which processes take turns.
const LOCKS: u16 = 4_096;
/// How long another process is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// The longest name of a data folder that a lock has.
const LONGEST_NAME: u64 = 100;
/// How often it is looked whether another machine has renewed a credential, and how often at most.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
const MOST_ROUNDS: usize = 200;
/// How long it is tried to keep what an issuer gave.
const KEPT_WITHIN: Duration = Duration::from_secs(15);
/// Connections whose turns are remembered.
const MOST_TURNS: usize = 10_000;

/// Why a credential cannot be used.
enum Unusable {
    /// It is not there any more, or nobody can read it: somebody has to connect anew.
    Gone,
    Not(String),
}

impl Connections {
    pub(super) fn turn(&self, key: &ConnectionKey) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock();
        if turns.len() >= MOST_TURNS {
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        }
        turns.entry(key.clone()).or_default().clone()
    }

    /// A lock that processes of one data folder share, and that dies with its process; with the name of that folder.
    pub(super) async fn between_processes(&self, key: &ConnectionKey) -> Result<(File, String), String> {
        let digest = Sha256::digest(key.to_string());
        let place = digest.first_chunk().map_or(0, |bytes| u16::from_be_bytes(*bytes) % LOCKS);
        let config = self.config.load_full().ok_or("no configuration is in force")?;
        let folder: PathBuf = config.gateway.data_dir.join("connections");
        let fresh = self.ids.uuid();
        let locked = tokio::task::spawn_blocking(move || {
            std::fs::create_dir_all(&folder)?;
            let mut file = open_private(&folder.join(format!("{place:04}.lock")))?;
            file.lock()?;
            let mut name = String::new();
            (&file).take(LONGEST_NAME).read_to_string(&mut name)?;
            if name.is_empty() {
                file.write_all(fresh.as_bytes())?;
                name = fresh;
            }
            std::io::Result::Ok((file, name))
        });
        let locked = tokio::time::timeout(PATIENCE, locked).await;
        let locked = locked.map_err(|_| "another process renews it without end")?;
        let locked = locked.map_err(|_| "its lock cannot be taken")?;
        locked.map_err(|error| format!("its lock cannot be taken: {}", error.kind()))
    }

    /// The credential of a connection that can be used at its upstream as that is configured now.
    async fn usable(&self, key: &ConnectionKey) -> Result<(u64, Credential), Unusable> {
        let settings = self.settings(&key.upstream).map_err(|error| Unusable::Not(error.to_string()))?;
        let vault = self.vault().map_err(|error| Unusable::Not(error.to_string()))?;
        let (version, text) = match vault.credential(Self::vault_name(key)).await {
            Ok(Some(found)) => found,
            Ok(None) | Err(StoreError::Damaged(_)) => return Err(Unusable::Gone),
            Err(error) => return Err(Unusable::Not(error.to_string())),
        };
        let credential = Credential::read(&text).ok_or(Unusable::Gone)?;
        if credential.upstream_url != settings.url.as_str() {
            return Err(Unusable::Not(elsewhere(&key.upstream)));
        }
        Ok((version, credential))
    }

    fn not_connected(key: &ConnectionKey) -> String {
        format!("nobody has connected `{}` for {}", key.upstream, told(&key.holder))
    }

    /// A credential is not there that should be: where that is still so, somebody is asked to connect anew. Whoever calls has the
    /// turn.
    async fn gone(&self, key: &ConnectionKey) -> String {
        if let Err(error) = self.read().await {
            return error.to_string();
        }
        match self.get(key) {
            Some(Connection { standing: Standing::Lost(why), .. }) => why,
            None => Self::not_connected(key),
            Some(known) => {
                let why = "its credential is not in the vault any more, or cannot be read there";
                self.tell_lost(&known, why).await;
                why.to_owned()
            }
        }
    }

    pub(super) async fn token_of(
        &self,
        key: &ConnectionKey,
        refused: Option<&SecretString>,
    ) -> Result<HeldToken, String> {
        if let Holder::Token(_) = &key.holder {
            return self.exchanged(key).await;
        }
        // What other processes did meanwhile is told by the register; what it does not name is not used.
        if !self.is_connected(key) {
            self.read().await.map_err(|error| error.to_string())?;
        }
        match self.get(key).map(|known| known.standing) {
            Some(Standing::Connected) => {}
            Some(Standing::Lost(why)) => return Err(why),
            None => return Err(Self::not_connected(key)),
        }
        match self.usable(key).await {
            Ok((_, credential)) => {
                if let Some(found) = self.at_hand(key, &credential, refused) {
                    return found;
                }
            }
            // Another process may be at it: that is looked at in turn.
            Err(Unusable::Gone) => {}
            Err(Unusable::Not(why)) => return Err(why),
        }
        // Whoever waits for it may leave. What the issuer gives is given once, and has to be kept.
        let me = self.me.upgrade().ok_or("the gateway ends")?;
        let (key, refused) = (key.clone(), refused.cloned());
        let renewal = self.renewals.spawn(async move { me.renewed_in_turn(&key, refused.as_ref()).await });
        renewal.await.map_err(|_| "its renewal was cut off".to_owned())?
    }

    async fn renewed_in_turn(
        &self,
        key: &ConnectionKey,
        refused: Option<&SecretString>,
    ) -> Result<HeldToken, String> {
        let turn = self.turn(key);
        let _one_at_a_time = turn.lock().await;
        let (_in_all_processes, here) = self.between_processes(key).await?;
        for _ in 0..MOST_ROUNDS {
            // Whoever had the turn before has done it.
            let (version, mut credential) = match self.usable(key).await {
                Ok(found) => found,
                Err(Unusable::Gone) => return Err(self.gone(key).await),
                Err(Unusable::Not(why)) => return Err(why),
            };
            if let Some(found) = self.at_hand(key, &credential, refused) {
                return found;
            }
            let now = self.clock.now();
            let before = credential.renewing.take();
            if before.as_ref().is_some_and(|before| before.is_elsewhere(&here, now)) {
                tokio::time::sleep(LOOK_AGAIN).await;
                continue;
            }
            // Told before it is done: whoever finds this finds out what the refresh token is still worth.
            credential.renewing = Some(Renewing { since: now, by: Some(here.clone()) });
            let Some(version) = self.kept(key, version, &credential).await? else { continue };
            credential.renewing = before;
            if let Some(done) = self.renewed(key, (version, credential), refused).await {
                return done;
            }
        }
        Err("others renew it again and again".to_owned())
    }

    async fn kept(
        &self,
        key: &ConnectionKey,
        version: u64,
        credential: &Credential,
    ) -> Result<Option<u64>, String> {
        self.keep(key, Some(version), credential).await.map_err(|error| error.to_string())
    }

    /// Keeps what the issuer gave, which it gives once: a store that is away is asked again for a while, as long as nobody else
    /// takes the renewal for broken off. None: somebody has connected or disconnected it meanwhile.
    async fn kept_for_sure(
        &self,
        key: &ConnectionKey,
        version: u64,
        credential: &Credential,
    ) -> Result<Option<u64>, String> {
        let mut why = String::new();
        let keeping = async {
            loop {
                match self.keep(key, Some(version), credential).await {
                    Ok(Some(version)) => return Some(version),
                    // It may be this one, whose commit was not heard of.
                    Ok(None) => match self.credential(key).await {
                        Ok(Some((version, there))) => {
                            let (there, ours) = (&there.access_token, &credential.access_token);
                            return (there.expose_secret() == ours.expose_secret()).then_some(version);
                        }
                        Ok(None) => return None,
                        Err(error) => why = error.to_string(),
                    },
                    Err(error) => why = error.to_string(),
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        let kept = tokio::time::timeout(KEPT_WITHIN, keeping).await;
        kept.map_err(|_| why)
    }

    /// What needs no renewal: the token as it is, or why there is none for the moment.
    fn at_hand(
        &self,
        key: &ConnectionKey,
        credential: &Credential,
        refused: Option<&SecretString>,
    ) -> Option<Result<HeldToken, String>> {
        let (generation, now) = (credential.generation, self.clock.monotonic());
        if self.troubles.is_refused(key, generation, now) {
            let why = format!("`{}` does not take the tokens of {}", key.upstream, told(&key.holder));
            return Some(Err(why));
        }
        if let Some(token) = self.fresh(credential, refused) {
            return Some(Ok(token));
        }
        // Whoever came first has tried.
        let why = self.troubles.is_paused(key, generation, now)?;
        Some(self.to_its_end(credential, refused).ok_or(why))
    }

    /// One that cannot be renewed now, where it is still of use.
    fn to_its_end(&self, credential: &Credential, refused: Option<&SecretString>) -> Option<HeldToken> {
        let (_, lasts) = credential.left(self.clock.now());
        (refused.is_none() && !lasts.is_zero()).then(|| held(credential, AGAIN.min(lasts), lasts))
    }

    /// The token as it is, where it needs not be renewed.
    fn fresh(&self, credential: &Credential, refused: Option<&SecretString>) -> Option<HeldToken> {
        let (renew, lasts) = credential.left(self.clock.now());
        let is_refused =
            refused.is_some_and(|refused| refused.expose_secret() == credential.access_token.expose_secret());
        // One that nothing renews is used to its end.
        let renew = if credential.refresh_token.is_some() { renew } else { lasts };
        (!is_refused && !renew.is_zero()).then(|| held(credential, renew, lasts))
    }

    /// Renews it; whoever calls has the turn. None: somebody has connected it anew meanwhile, or disconnected it.
    async fn renewed(
        &self,
        key: &ConnectionKey,
        (version, mut credential): (u64, Credential),
        refused: Option<&SecretString>,
    ) -> Option<Result<HeldToken, String>> {
        let Some(refresh) = credential.refresh_token.clone() else {
            let why = match refused {
                Some(_) => "the upstream does not take its token, and nothing renews it",
                None => "its token has ended, and nothing renews it",
            };
            return self.lost(key, (version, &credential), why).await.map(Err);
        };
        let begun = self.clock.now();
        let granted = self.refresh(&credential, &refresh).await;
        let now = self.clock.now();
        let error = match granted {
            Ok(granted) => {
                credential.renew(granted, now);
                return match self.kept_for_sure(key, version, &credential).await {
                    Ok(Some(_)) => {
                        let (renew, lasts) = credential.left(now);
                        let renew = if credential.refresh_token.is_some() { renew } else { lasts };
                        tracing::info!(upstream = %key.upstream, holder = %key.holder, "connection.renewed");
                        self.troubles.renewed(key, credential.generation);
                        Some(Ok(held(&credential, renew, lasts)))
                    }
                    // Nobody has what was given here: it shall not count either.
                    Ok(None) => {
                        self.revoke(&credential).await;
                        None
                    }
                    Err(error) => Some(Err(error)),
                };
            }
            Err(error) => error,
        };
        if error.is_rejection() {
            let why = match &credential.renewing {
                None => format!("the issuer does not renew its token: {error}: connect it again"),
                Some(cut) => format!(
                    "a renewal that began at {} was cut off (a process ended while it renewed, or the issuer's answer did not \
                     arrive), and the issuer does not take the token for renewals that is left: {error}: connect it again",
                    cut.since.strftime("%Y-%m-%dT%H:%M:%SZ")
                ),
            };
            if error.is_about_the_client() {
                self.forget_client(credential.client.as_ref(), &credential.client_id).await;
            }
            return self.lost(key, (version, &credential), &why).await.map(Err);
        }
        let why = format!("its token cannot be renewed now: {error}");
        if self.troubles.failed(key, credential.generation, &why, self.clock.monotonic()) {
            self.record_not_renewed(key, &credential, &why).await;
        }
        // Whether the issuer has given one that did not arrive, its next answer says.
        let since = credential.renewing.take().map_or(begun, |cut| cut.since);
        credential.renewing = error.may_have_been_done().then_some(Renewing { since, by: None });
        if let Err(error) = self.kept(key, version, &credential).await {
            tracing::error!(%error, "a failed renewal could not be noted");
        }
        Some(self.to_its_end(&credential, refused).ok_or(why))
    }

    async fn refresh(&self, credential: &Credential, refresh: &SecretString) -> Result<Granted, TokenError> {
        let scope = credential.scopes.join(" ");
        let mut form = vec![("grant_type", "refresh_token"), ("refresh_token", refresh.expose_secret())];
        if !credential.resource.is_empty() {
            form.push(("resource", &credential.resource));
        }
        if !scope.is_empty() {
            form.push(("scope", &scope));
        }
        let request = TokenRequest {
            url: &credential.token_url,
            client_id: &credential.client_id,
            secret: credential.client_secret.as_ref(),
            auth_method: credential.auth_method,
            form,
        };
        request.token(&self.outbound(credential)).await
    }

    async fn record_not_renewed(&self, key: &ConnectionKey, credential: &Credential, why: &str) {
        tracing::warn!(upstream = %key.upstream, holder = %key.holder, why, "connection.not_renewed");
        let record =
            ConnectionRecord { key, by: None, issuer: &credential.issuer, scopes: &credential.scopes };
        if let Err(error) = self.store.record(vec![record.not_renewed(self.clock.now(), why)]).await {
            tracing::error!(%error, "a failed renewal could not be recorded");
        }
    }

    /// Nothing of it counts any more: it is removed, told and recorded. What is told of it comes back; none: there is another one by
    /// now, which stays.
    async fn lost(
        &self,
        key: &ConnectionKey,
        (version, credential): (u64, &Credential),
        why: &str,
    ) -> Option<String> {
        let removed = match self.vault() {
            Ok(vault) => vault.remove_credential(Self::vault_name(key), Some(version)).await,
            Err(_) => Ok(true),
        };
        match removed {
            Ok(true) => {}
            Ok(false) => return None,
            Err(error) => tracing::error!(%error, "a credential that does not count could not be removed"),
        }
        if let Some(known) = self.get(key).filter(|known| known.generation == credential.generation) {
            self.tell_lost(&known, why).await;
        }
        Some(why.to_owned())
    }

    async fn tell_lost(&self, known: &Connection, why: &str) {
        let Connection { key, issuer, scopes, generation, .. } = known;
        tracing::warn!(upstream = %key.upstream, holder = %key.holder, why, "connection.lost");
        let now = self.clock.now();
        let record = ConnectionRecord { key, by: None, issuer, scopes };
        let stands =
            |found| Some(Connection { standing: Standing::Lost(why.to_owned()), since: now, ..found });
        if let Err(error) = self.change(key, *generation, stands, vec![record.lost(now, why)]).await {
            tracing::error!(%error, "a lost connection could not be recorded");
        }
    }
}

fn held(credential: &Credential, renew: Duration, lasts: Duration) -> HeldToken {
    HeldToken {
        access_token: credential.access_token.clone(),
        generation: credential.generation,
        renew,
        lasts,
    }
}

impl Credentials for Connections {
    fn generation(&self, key: &ConnectionKey) -> Option<u64> {
        if let Holder::Token(_) = &key.holder {
            return self.exchanges.has(key, self.clock.now()).then_some(1);
        }
        let known = self.known.load();
        known.get(key).filter(|found| found.standing == Standing::Connected).map(|found| found.generation)
    }

    fn token<'a>(
        &'a self,
        key: &'a ConnectionKey,
        refused: Option<&'a SecretString>,
    ) -> BoxFuture<'a, Result<HeldToken, String>> {
        self.token_of(key, refused).boxed()
    }

    fn rejected<'a>(&'a self, key: &'a ConnectionKey, token: &'a SecretString) -> BoxFuture<'a, ()> {
        async move {
            if let Holder::Token(_) = &key.holder {
                return self.exchanges.forget(key);
            }
            let turn = self.turn(key);
            let _one_at_a_time = turn.lock().await;
            if let Ok(Some((version, credential))) = self.credential(key).await
                && credential.access_token.expose_secret() == token.expose_secret()
                && self.troubles.refused(key, credential.generation, self.clock.monotonic())
            {
                let why = "the upstream has taken none of its tokens for minutes";
                drop(self.lost(key, (version, &credential), why).await);
            }
        }
        .boxed()
    }

    fn accepted(&self, key: &ConnectionKey) {
        self.troubles.accepted(key);
    }

    fn insufficient<'a>(
        &'a self,
        key: &'a ConnectionKey,
        generation: u64,
        scopes: Option<String>,
    ) -> BoxFuture<'a, ()> {
        async move {
            let asked = scopes.unwrap_or_default();
            let wants = |known: &Connection| {
                let asked = asked.split_whitespace().map(str::to_owned);
                bounded(known.wants.iter().cloned().chain(asked).collect())
            };
            let Some(known) = self.get(key) else { return };
            let more = wants(&known);
            if more == known.wants {
                return;
            }
            tracing::info!(upstream = %key.upstream, holder = %key.holder, wants = ?more, "connection.wants_more");
            let next = |found: Connection| Some(Connection { wants: wants(&found), ..found });
            if let Err(error) = self.change(key, generation, next, Vec::new()).await {
                tracing::error!(%error, "what a connection lacks could not be kept");
            }
        }
        .boxed()
    }
}
