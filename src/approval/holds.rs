//! Legal holds: what people keep `[store] retention` from removing, on the store itself, for every process that shares it.

use crate::{
    evidence::HoldRecord,
    model::PersonId,
    redaction::{DataRules, Said},
    store::{EventQuery, Held, Hold, Pattern, Register, RegisterChange, Store, StoreError},
};
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::sync::Arc;

/// The longest reason, in characters.
const LONGEST_REASON: usize = 2_000;
/// The longest name of an agent, in bytes.
const LONGEST_NAME: usize = 512;

/// Why nothing was held or released.
#[derive(Debug, thiserror::Error)]
pub enum HoldError {
    /// There is no such hold.
    #[error("there is no such hold: `tollgate audit hold list` shows what is held")]
    NotFound,
    /// Nobody said why.
    #[error("say why (`reason`): it is kept in the record")]
    NoReason,
    /// It is too long.
    #[error("the reason is longer than {LONGEST_REASON} characters")]
    LongReason,
    /// It names nobody.
    #[error("an agent's name is some text of at most {LONGEST_NAME} bytes without control characters")]
    BadName,
    /// There are so many that no more can be.
    #[error("there are too many holds: release those that are over")]
    TooMany,
    /// The store did not do it; nothing was changed.
    #[error(transparent)]
    Store(StoreError),
}

impl From<StoreError> for HoldError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::RegisterFull(_) => Self::TooMany,
            other => Self::Store(other),
        }
    }
}

/// A hold, and where what it holds begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownHold {
    /// The hold.
    pub hold: Hold,
    /// The `seq` and the time of the first record of the trace or agent; none: there is no record of it.
    pub first: Option<(i64, Timestamp)>,
}

impl ShownHold {
    /// As the API and the command line show it.
    pub fn form(&self) -> Value {
        let mut form = self.hold.form();
        if let Some(members) = form.as_object_mut() {
            members.insert("first_seq".to_owned(), json!(self.first.map(|(seq, _)| seq)));
            members.insert("first_at".to_owned(), json!(self.first.map(|(_, at)| at)));
        }
        form
    }
}

/// The legal holds on a store.
#[derive(Clone, Debug)]
pub struct Holds {
    store: Arc<dyn Store>,
}

fn said(data: &DataRules, reason: &str) -> Result<Said, HoldError> {
    match reason.trim() {
        "" => Err(HoldError::NoReason),
        reason if reason.chars().count() > LONGEST_REASON => Err(HoldError::LongReason),
        reason => Ok(data.said(reason, LONGEST_REASON)),
    }
}

fn record<'h>(hold: &'h Hold, by: Option<&'h PersonId>, reason: &'h Said) -> HoldRecord<'h> {
    HoldRecord { id: &hold.id, trace: hold.held.trace(), agent: hold.held.agent(), by, reason }
}

impl Holds {
    /// On this store.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    /// The holds there are, the newest first. One that cannot be read is an error: it holds everything.
    pub async fn list(&self) -> Result<Vec<ShownHold>, StoreError> {
        let mut found = Vec::new();
        for entry in self.store.register(Register::Hold).await? {
            let hold = Hold::read(&entry).ok_or_else(|| {
                StoreError::Damaged(format!(
                    "the legal hold `{}` cannot be read: all records stay",
                    entry.key
                ))
            })?;
            found.push(self.shown(hold).await?);
        }
        found.sort_by(|a, b| (b.hold.since, &a.hold.id).cmp(&(a.hold.since, &b.hold.id)));
        Ok(found)
    }

    async fn shown(&self, hold: Hold) -> Result<ShownHold, StoreError> {
        let query = EventQuery {
            trace_id: hold.held.trace(),
            agent_id: hold.held.agent().map(|agent| Pattern::from(agent.as_str())),
            until: Some(hold.since),
            limit: 1,
            ..EventQuery::default()
        };
        let first = self.store.events(query).await?.pop();
        Ok(ShownHold { hold, first: first.map(|event| (event.seq, event.draft.timestamp)) })
    }

    /// Holds records from now on. Several holds on one trace or agent stand beside each other, each with its reason.
    pub async fn place(
        &self,
        data: &DataRules,
        held: Held,
        (by, reason): (Option<&PersonId>, &str),
        now: Timestamp,
    ) -> Result<ShownHold, HoldError> {
        let reason = &said(data, reason)?;
        if let Some(agent) = held.agent().map(|agent| agent.as_str())
            && (agent.is_empty() || agent.len() > LONGEST_NAME || agent.chars().any(char::is_control))
        {
            return Err(HoldError::BadName);
        }
        let mut salt = 0_u32;
        loop {
            let text = format!("{} {} {reason} {salt}", held.words(), now.as_nanosecond());
            let digest = Sha256::digest(text);
            let id = format!("hold-{}", hex::encode(digest.first_chunk::<8>().unwrap_or(&[0; 8])));
            let hold =
                Hold { id, held: held.clone(), reason: reason.to_string(), by: by.cloned(), since: now };
            let change = RegisterChange::set(Register::Hold, hold.id.as_str(), json!(hold)).at(0);
            let told = record(&hold, by, reason).placed(now);
            if self.store.set(vec![change], vec![told]).await? {
                return Ok(self.shown(hold).await?);
            }
            salt = salt.wrapping_add(1);
        }
    }

    /// Releases one hold: `[store] retention` counts for its records again, where no other hold is on them.
    pub async fn release(
        &self,
        data: &DataRules,
        id: &str,
        (by, reason): (&PersonId, &str),
        now: Timestamp,
    ) -> Result<Hold, HoldError> {
        let reason = &said(data, reason)?;
        // No other text is a key of the register.
        if !id.starts_with("hold-") || id.len() > 64 || id.chars().any(char::is_control) {
            return Err(HoldError::NotFound);
        }
        loop {
            let entry = self.store.register_entry(Register::Hold, id.to_owned()).await?;
            let Some(entry) = entry else { return Err(HoldError::NotFound) };
            let Some(hold) = Hold::read(&entry) else {
                return Err(HoldError::Store(StoreError::Damaged(format!(
                    "the legal hold `{id}` cannot be read"
                ))));
            };
            let change = RegisterChange::remove(Register::Hold, id).at(entry.version);
            if self.store.set(vec![change], vec![record(&hold, Some(by), reason).released(now)]).await? {
                return Ok(hold);
            }
        }
    }
}
