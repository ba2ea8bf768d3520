//! What people freeze, and let go on again: on the store itself, for every process that shares it.

use crate::{
    admission::{Freeze, FreezeKind, FreezeTarget},
    clock::Clock,
    evidence::FreezeRecord,
    model::{ApprovalStatus, PersonId},
    policy::{PolicySet, names::did_you_mean},
    redaction::{DataRules, Said},
    store::{ApprovalRecord, Register, RegisterChange, RegisterEntry, Store, StoreError},
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::sync::Arc;

/// The longest reason, in characters.
const LONGEST_REASON: usize = 2_000;

/// Why nothing was frozen or lifted.
#[derive(Debug, thiserror::Error)]
pub enum FreezeError {
    /// There is no such freeze.
    #[error("nothing is frozen under that name or id: `tollgate freeze list` shows what is")]
    NotFound,
    /// Nobody said why.
    #[error("say why (--reason on the command line, `reason` in the API): it is kept in the record")]
    NoReason,
    /// It is too long.
    #[error("the reason is longer than {LONGEST_REASON} characters")]
    LongReason,
    /// So much is frozen that nothing more can be.
    #[error("too much is frozen one by one: freeze everything instead, or lift what is over")]
    TooMany,
    /// The store did not do it; nothing was changed.
    #[error(transparent)]
    Store(StoreError),
}

impl From<StoreError> for FreezeError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::RegisterFull(_) => Self::TooMany,
            other => Self::Store(other),
        }
    }
}

/// Something that is frozen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frozen {
    /// What.
    pub target: FreezeTarget,
    /// Since when, by whom, and why.
    pub freeze: Freeze,
}

impl Frozen {
    /// As the API and the command line show it.
    pub fn form(&self) -> Value {
        let Self { target, freeze } = self;
        let mut form = json!({
            "id": freeze.id,
            "by": freeze.by,
            "reason": freeze.reason,
            "since": freeze.since,
        });
        let value = match target.kind {
            FreezeKind::All => Value::Bool(true),
            _ => Value::String(target.name.clone()),
        };
        if let Some(members) = form.as_object_mut() {
            members.insert(target.kind.as_str().to_owned(), value);
        }
        form
    }
}

/// What freezes the call that an approval is about, in words: while it does, the approval does nothing. Those that an answer
/// could still matter to alone are told of.
pub fn frozen_by(record: &ApprovalRecord, frozen: &[Frozen]) -> Vec<String> {
    if !matches!(record.status, ApprovalStatus::Pending | ApprovalStatus::Approved) {
        return Vec::new();
    }
    let binding = &record.binding;
    let is_of = |target: &FreezeTarget| {
        let name = target.name.as_str();
        match target.kind {
            FreezeKind::All => true,
            FreezeKind::Agent => *binding.agent == *name,
            FreezeKind::User => binding.user.as_ref().is_some_and(|user| **user == *name),
            FreezeKind::Tool => binding.tool == name,
            FreezeKind::Upstream => *record.upstream == *name,
            FreezeKind::Capability => record.capability_id.as_ref().is_some_and(|id| **id == *name),
        }
    };
    frozen.iter().filter(|one| is_of(&one.target)).map(|one| one.target.words()).collect()
}

/// What came of a freeze.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Froze {
    /// As it stands.
    pub frozen: Frozen,
    /// It was frozen before, and that stands as it was.
    pub already: bool,
}

/// What is odd about the name of what is frozen: nothing of that name is known. It is frozen all the same, since who is about
/// to come must be stopped, too. `tools`: the tools that are known, where all are.
pub fn freeze_doubt<'n>(
    target: &FreezeTarget,
    policies: &PolicySet,
    upstreams: impl Iterator<Item = &'n str>,
    tools: Option<impl Iterator<Item = &'n str>>,
) -> Option<String> {
    let authority = &policies.authority;
    let known: Vec<&str> = match target.kind {
        FreezeKind::Agent => authority.agents.keys().map(|name| name.as_str()).collect(),
        FreezeKind::User => authority.people.keys().map(|name| name.as_str()).collect(),
        FreezeKind::Capability => authority.capabilities.keys().map(|name| name.as_str()).collect(),
        FreezeKind::Upstream => upstreams.collect(),
        FreezeKind::Tool => tools?.collect(),
        FreezeKind::All => return None,
    };
    if known.contains(&target.name.as_str()) {
        return None;
    }
    let hint = did_you_mean(&target.name, known.into_iter());
    let (kind, name) = (target.kind.as_str(), &target.name);
    let hint = match hint.as_str() {
        "" => ": ".to_owned(),
        hint => format!("{hint} "),
    };
    Some(format!(
        "no {kind} `{name}` is known{hint}what comes under that name is stopped, and nothing else is"
    ))
}

/// What is frozen, on a store.
#[derive(Clone, Debug)]
pub struct Freezes {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
}

/// What the register says; an entry that cannot be read freezes all the same, and is lifted by its key.
fn read(entry: &RegisterEntry) -> Option<Frozen> {
    let target = FreezeTarget::of_key(&entry.key)?;
    let unreadable = || Freeze {
        id: entry.key.as_ref().to_owned(),
        by: None,
        reason: "what was said of it cannot be read".to_owned(),
        since: jiff::Timestamp::UNIX_EPOCH,
    };
    let freeze = serde_json::from_str(&entry.value.to_string()).unwrap_or_else(|_| unreadable());
    Some(Frozen { target, freeze })
}

fn said(data: &DataRules, reason: &str) -> Result<Said, FreezeError> {
    match reason.trim().chars().count() > LONGEST_REASON {
        true => Err(FreezeError::LongReason),
        false => Ok(data.said(reason, LONGEST_REASON)),
    }
}

impl Freezes {
    /// On this store.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock }
    }

    /// What is frozen now, the newest first.
    pub async fn list(&self) -> Result<Vec<Frozen>, StoreError> {
        let mut found: Vec<Frozen> =
            self.store.register(Register::Freeze).await?.iter().filter_map(read).collect();
        found.sort_by(|a, b| (b.freeze.since, &a.target).cmp(&(a.freeze.since, &b.target)));
        Ok(found)
    }

    /// Freezes: in force for the next message in every process, and for every call in flight. What is frozen already stays as
    /// it is.
    pub async fn freeze(
        &self,
        data: &DataRules,
        target: FreezeTarget,
        by: Option<&PersonId>,
        reason: &str,
    ) -> Result<Froze, FreezeError> {
        let reason = &said(data, reason)?;
        if reason.is_empty() {
            return Err(FreezeError::NoReason);
        }
        let key = target.key();
        loop {
            if let Some(known) = self.store.register_entry(Register::Freeze, key.clone()).await?
                && let Some(frozen) = read(&known)
            {
                return Ok(Froze { frozen, already: true });
            }
            let since = self.clock.now();
            let digest = Sha256::digest(format!("{key} {} {reason}", since.as_nanosecond()));
            let id = format!("freeze-{}", hex::encode(digest.first_chunk::<8>().unwrap_or(&[0; 8])));
            let freeze = Freeze { id, by: by.cloned(), reason: reason.to_string(), since };
            let told =
                FreezeRecord { id: &freeze.id, kind: target.kind.as_str(), name: &target.name, by, reason };
            let change = RegisterChange::set(Register::Freeze, key.as_str(), json!(freeze)).at(0);
            if self.store.set(vec![change], vec![told.frozen(since)]).await? {
                return Ok(Froze { frozen: Frozen { target, freeze }, already: false });
            }
        }
    }

    /// Lifts one freeze.
    pub async fn unfreeze(
        &self,
        data: &DataRules,
        wanted: impl Fn(&Frozen) -> bool,
        (by, reason): (&PersonId, &str),
    ) -> Result<Frozen, FreezeError> {
        let reason = &said(data, reason)?;
        loop {
            let entries = self.store.register(Register::Freeze).await?;
            let mut found = entries.iter().filter_map(|entry| Some((entry, read(entry)?)));
            let Some((entry, frozen)) = found.find(|(_, frozen)| wanted(frozen)) else {
                return Err(FreezeError::NotFound);
            };
            let told = FreezeRecord {
                id: &frozen.freeze.id,
                kind: frozen.target.kind.as_str(),
                name: &frozen.target.name,
                by: Some(by),
                reason,
            };
            let change = RegisterChange::remove(Register::Freeze, entry.key.as_ref()).at(entry.version);
            if self.store.set(vec![change], vec![told.unfrozen(self.clock.now())]).await? {
                return Ok(frozen);
            }
        }
    }
}
