//! Tokens for upstream connections: renewed by one for all who wait, in all processes on one store.

use super::{Connection, Connections, Credential, Standing, kept::bounded, told};
use crate::{
    evidence::ConnectionRecord,
    model::{ConnectionKey, Holder},
    outbound::{Granted, TokenError, TokenRequest},
    upstream::{Credentials, HeldToken},
};
use futures::{FutureExt as _, future::BoxFuture};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use std::{fs::File, path::PathBuf, sync::Arc, time::Duration};

/// How long a token that could not be renewed is used before the next attempt.
const AGAIN: Duration = Duration::from_secs(30);
/// Files by which processes take turns.
const LOCKS: u8 = 64;
/// How long another process is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// Connections whose turns are remembered.
const MOST_TURNS: usize = 10_000;

impl Connections {
    fn turn(&self, key: &ConnectionKey) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock();
        if turns.len() >= MOST_TURNS {
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        }
        turns.entry(key.clone()).or_default().clone()
    }

    /// A lock that processes share, and that dies with its process.
    async fn between_processes(&self, key: &ConnectionKey) -> Result<File, String> {
        let digest = Sha256::digest(key.to_string());
        let place = digest.first().map_or(0, |byte| byte % LOCKS);
        let config = self.config.load_full().ok_or("no configuration is in force")?;
        let path: PathBuf = config.gateway.data_dir.join(format!("connection-{place:02}.lock"));
        let locked = tokio::task::spawn_blocking(move || {
            let file = File::options().write(true).create(true).truncate(false).open(path)?;
            file.lock()?;
            std::io::Result::Ok(file)
        });
        let locked = tokio::time::timeout(PATIENCE, locked).await;
        let locked = locked.map_err(|_| "another process renews it without end")?;
        let locked = locked.map_err(|_| "its lock cannot be taken")?;
        locked.map_err(|error| format!("its lock cannot be taken: {}", error.kind()))
    }

    /// The credential of a connection that can be used at its upstream as that is configured now.
    async fn usable(&self, key: &ConnectionKey) -> Result<(u64, Credential), String> {
        let not_connected = || format!("nobody has connected `{}` for {}", key.upstream, told(&key.holder));
        let settings = self.settings(&key.upstream).map_err(|error| error.to_string())?;
        let found = self.credential(key).await.map_err(|error| error.to_string())?;
        let (version, credential) = found.ok_or_else(not_connected)?;
        if credential.upstream_url != settings.url.as_str() {
            return Err(format!(
                "`{}` has another URL than the one that was connected: connect it again",
                key.upstream
            ));
        }
        Ok((version, credential))
    }

    async fn token_of(
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
            None => return Err(format!("nobody has connected `{}` for {}", key.upstream, told(&key.holder))),
        }
        let (_, credential) = self.usable(key).await?;
        if let Some(token) = self.fresh(&credential, refused) {
            return Ok(token);
        }
        let turn = self.turn(key);
        let _one_at_a_time = turn.lock().await;
        let _in_all_processes = self.between_processes(key).await?;
        // Whoever had the turn before has done it.
        let (version, credential) = self.usable(key).await?;
        if let Some(token) = self.fresh(&credential, refused) {
            return Ok(token);
        }
        self.renewed(key, (version, credential), refused).await
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

    /// Renews it; whoever calls has the turn.
    async fn renewed(
        &self,
        key: &ConnectionKey,
        (version, mut credential): (u64, Credential),
        refused: Option<&SecretString>,
    ) -> Result<HeldToken, String> {
        let Some(refresh) = credential.refresh_token.clone() else {
            let why = match refused {
                Some(_) => "the upstream does not take its token, and nothing renews it",
                None => "its token has ended, and nothing renews it",
            };
            return Err(self.lost(key, &credential, why).await);
        };
        let granted = self.refresh(&credential, &refresh).await;
        let now = self.clock.now();
        match granted {
            Ok(granted) => {
                credential.renew(granted, now);
                match self.keep(key, Some(version), &credential).await {
                    Ok(true) => {
                        let (renew, lasts) = credential.left(now);
                        let renew = if credential.refresh_token.is_some() { renew } else { lasts };
                        tracing::info!(upstream = %key.upstream, holder = %key.holder, "connection.renewed");
                        Ok(held(&credential, renew, lasts))
                    }
                    Ok(false) => Err(format!("`{}` was disconnected meanwhile", key.upstream)),
                    Err(error) => Err(error.to_string()),
                }
            }
            Err(error) if error.is_rejection() => {
                let why = format!("the issuer does not renew its token: {error}");
                Err(self.lost(key, &credential, &why).await)
            }
            Err(error) => {
                let why = format!("its token cannot be renewed now: {error}");
                self.record_not_renewed(key, &credential, &why).await;
                let (_, lasts) = credential.left(now);
                match refused.is_none() && !lasts.is_zero() {
                    true => Ok(held(&credential, AGAIN.min(lasts), lasts)),
                    false => Err(why),
                }
            }
        }
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

    /// Nothing of it counts any more: it is removed, told and recorded. What is told of it comes back.
    async fn lost(&self, key: &ConnectionKey, credential: &Credential, why: &str) -> String {
        tracing::warn!(upstream = %key.upstream, holder = %key.holder, why, "connection.lost");
        if let Ok(vault) = self.vault()
            && let Err(error) = vault.remove_credential(Self::vault_name(key)).await
        {
            tracing::error!(%error, "a credential that does not count could not be removed");
        }
        let now = self.clock.now();
        let record =
            ConnectionRecord { key, by: None, issuer: &credential.issuer, scopes: &credential.scopes };
        let known = self.get(key);
        let stands = Connection {
            key: key.clone(),
            standing: Standing::Lost(why.to_owned()),
            since: now,
            by: known.as_ref().and_then(|known| known.by.clone()),
            issuer: credential.issuer.clone(),
            scopes: credential.scopes.clone(),
            wants: known.map(|known| known.wants).unwrap_or_default(),
            generation: credential.generation,
        };
        if let Err(error) = self.tell(key, Some(&stands), vec![record.lost(now, why)]).await {
            tracing::error!(%error, "a lost connection could not be recorded");
        }
        why.to_owned()
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
            return self.exchanges.has(key).then_some(1);
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

    fn rejected<'a>(&'a self, key: &'a ConnectionKey, generation: u64) -> BoxFuture<'a, ()> {
        async move {
            if let Holder::Token(_) = &key.holder {
                return self.exchanges.forget(key);
            }
            let turn = self.turn(key);
            let _one_at_a_time = turn.lock().await;
            if let Ok(Some((_, credential))) = self.credential(key).await
                && credential.generation == generation
            {
                drop(self.lost(key, &credential, "the upstream does not take its tokens").await);
            }
        }
        .boxed()
    }

    fn insufficient<'a>(&'a self, key: &'a ConnectionKey, scopes: Option<String>) -> BoxFuture<'a, ()> {
        async move {
            let Some(mut known) = self.get(key) else { return };
            let asked = scopes.unwrap_or_default();
            let asked = asked.split_whitespace().map(str::to_owned);
            let wants = bounded(known.wants.iter().cloned().chain(asked).collect());
            if wants == known.wants {
                return;
            }
            tracing::info!(upstream = %key.upstream, holder = %key.holder, ?wants, "connection.wants_more");
            known.wants = wants;
            if let Err(error) = self.tell(key, Some(&known), Vec::new()).await {
                tracing::error!(%error, "what a connection lacks could not be kept");
            }
        }
        .boxed()
    }
}
