//! Attempts that wait for their answer. They lie in the vault, encrypted, until the answer comes or is too late: the issuer sends
//! the browser back to whichever process it reaches, and what began there may have ended meanwhile.

use super::{
    ConnectError, Connections,
    clients::WrittenClient,
    flow::{Answer, Begun, LONGEST, LONGEST_WAIT, refused},
};
use crate::{
    model::{ConnectionKey, PersonId},
    store::{NewCredential, StoreError},
    upstream::oauth,
};
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::{collections::VecDeque, time::Duration};

/// Attempts of one process that are under way at most, and those of one person.
const MOST: usize = 500;
const MOST_OF_ONE: usize = 5;

/// What this process has begun, in that order: so nobody fills the vault.
#[derive(Default)]
pub(super) struct Attempts(Mutex<VecDeque<Waiting>>);

struct Waiting {
    name: String,
    by: Option<PersonId>,
    since: Duration,
}

impl Attempts {
    /// Makes room for one more, and says which one was given up for it: whoever begins without end gives up what they began first.
    fn enter(
        &self,
        name: &str,
        by: Option<&PersonId>,
        now: Duration,
    ) -> Result<Option<String>, ConnectError> {
        let mut waiting = self.0.lock();
        waiting.retain(|one| now.saturating_sub(one.since) < LONGEST_WAIT);
        let mut own = waiting.iter().enumerate().filter(|(_, one)| one.by.as_ref() == by).map(|(at, _)| at);
        let first = own.next().filter(|_| own.count() + 1 >= MOST_OF_ONE);
        let given_up = first.and_then(|at| waiting.remove(at)).map(|one| one.name);
        if waiting.len() >= MOST {
            return Err(ConnectError::Busy);
        }
        waiting.push_back(Waiting { name: name.to_owned(), by: by.cloned(), since: now });
        Ok(given_up)
    }

    fn leave(&self, name: &str) {
        self.0.lock().retain(|one| one.name != name);
    }
}

/// Under which name the vault has an attempt: it is found by whoever has both, and tells nothing of either.
pub(super) fn name_of(browser: &[u8; 32], state: &str) -> String {
    let digest = Sha256::new().chain_update(browser).chain_update(state).finalize();
    format!("sign-in {}", hex::encode(digest))
}

impl Connections {
    /// Keeps an attempt until its answer comes, to whichever process, from the browser that has `browser`.
    pub async fn await_answer(&self, begun: &Begun, browser: &[u8; 32]) -> Result<(), ConnectError> {
        let name = name_of(browser, &begun.asked.state);
        let value = write_attempt(begun);
        let value = value.ok_or_else(|| ConnectError::Store("the attempt cannot be written".to_owned()))?;
        let given_up = self.attempts.enter(&name, begun.by.as_ref(), self.clock.monotonic())?;
        let kept = async {
            let vault = self.vault()?;
            if let Some(given_up) = given_up {
                vault.remove_credential(given_up, None).await?;
            }
            let until = begun.at.checked_add(LONGEST_WAIT).unwrap_or(begun.at);
            let new = NewCredential { expected: None, value, until: Some(until) };
            vault.put_credential(name.clone(), new, self.clock.now(), self.ids.random()).await?;
            Ok(())
        };
        kept.await.inspect_err(|_| self.attempts.leave(&name))
    }

    /// The answer that a browser brings: connected, and by whom. An answer counts once.
    pub async fn answered(
        &self,
        answer: &Answer,
        browser: &[u8; 32],
    ) -> Result<(ConnectionKey, Option<PersonId>), ConnectError> {
        let begun = self.taken(answer, browser).await?.ok_or_else(|| {
            refused("it is not of an attempt that this browser began here, or it comes too late: begin again")
        })?;
        let (key, by) = (begun.key.clone(), begun.by.clone());
        self.finish(begun, answer, "page").await?;
        Ok((key, by))
    }

    /// The attempt that an answer is of, which nobody else gets from then on.
    async fn taken(&self, answer: &Answer, browser: &[u8; 32]) -> Result<Option<Begun>, ConnectError> {
        let state = answer.state.as_deref().filter(|state| state.len() <= LONGEST).unwrap_or_default();
        let name = name_of(browser, state);
        self.attempts.leave(&name);
        let vault = self.vault()?;
        let (version, text) = match vault.credential(name.clone()).await {
            Ok(Some(found)) => found,
            Ok(None) | Err(StoreError::Damaged(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if !vault.remove_credential(name, Some(version)).await? {
            return Ok(None);
        }
        let in_time = |begun: &Begun| {
            let age = self.clock.now().duration_since(begun.at).max(SignedDuration::ZERO);
            age.unsigned_abs() < LONGEST_WAIT
        };
        Ok(read_attempt(&text).filter(in_time))
    }
}

/// An attempt as the vault keeps it.
#[derive(Serialize, Deserialize)]
struct WrittenAttempt {
    key: String,
    by: Option<PersonId>,
    redirect: String,
    upstream_url: String,
    named_issuer: Option<String>,
    client: WrittenClient,
    kept_as: Option<String>,
    state: String,
    verifier: String,
    issuer: String,
    names_itself: bool,
    token_url: String,
    revocation_url: Option<String>,
    resource: String,
    scopes: Vec<String>,
    at: Timestamp,
}

fn write_attempt(begun: &Begun) -> Option<SecretString> {
    let Begun { key, by, redirect, upstream_url, issuer, client, kept_as, asked, at } = begun;
    let written = WrittenAttempt {
        key: key.to_string(),
        by: by.clone(),
        redirect: redirect.clone(),
        upstream_url: upstream_url.to_string(),
        named_issuer: issuer.clone(),
        client: WrittenClient::of(client),
        kept_as: kept_as.clone(),
        state: asked.state.clone(),
        verifier: asked.verifier.expose_secret().to_owned(),
        issuer: asked.issuer.clone(),
        names_itself: asked.names_itself,
        token_url: asked.token_url.clone(),
        revocation_url: asked.revocation_url.clone(),
        resource: asked.resource.clone(),
        scopes: asked.scopes.clone(),
        at: *at,
    };
    serde_json::to_string(&written).ok().map(SecretString::from)
}

/// None: it is not what was written.
fn read_attempt(text: &SecretString) -> Option<Begun> {
    let written: WrittenAttempt = serde_json::from_str(text.expose_secret()).ok()?;
    let asked = oauth::Begun {
        state: written.state,
        verifier: written.verifier.into(),
        issuer: written.issuer,
        names_itself: written.names_itself,
        token_url: written.token_url,
        revocation_url: written.revocation_url,
        resource: written.resource,
        scopes: written.scopes,
    };
    Some(Begun {
        key: ConnectionKey::parse(&written.key)?,
        by: written.by,
        redirect: written.redirect,
        upstream_url: written.upstream_url.parse().ok()?,
        issuer: written.named_issuer,
        client: written.client.read(),
        kept_as: written.kept_as,
        asked,
        at: written.at,
    })
}
