//! Placeholders of `tokenize` on the path of a call: looked up before the call is decided, and kept before anybody sees them.

use super::refusal::Refusal;
use crate::{
    clock::{Clock, IdSource},
    config::Config,
    model::AgentId,
    policy::PolicySet,
    redaction::{Caller, DataRules, MAX_REVEALED, Place, Tokenized, placeholders, reveal, reveal_uri},
    store::{StoreError, Vault},
};
use parking_lot::Mutex;
use serde_json::Value;
use std::sync::Arc;

/// The vault, as the configuration in force has it.
pub(crate) struct Placeholders {
    vault: Option<Arc<dyn Vault>>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
    /// The configuration that the vault was told of.
    told: Mutex<Option<Arc<Config>>>,
}

impl Placeholders {
    pub(super) fn new(vault: Option<Arc<dyn Vault>>, clock: Arc<dyn Clock>, ids: Arc<dyn IdSource>) -> Self {
        Self { vault, clock, ids, told: Mutex::default() }
    }

    /// Without a vault: placeholders stay what they are.
    pub(super) fn none(clock: Arc<dyn Clock>, ids: Arc<dyn IdSource>) -> Self {
        Self::new(None, clock, ids)
    }

    fn vault(&self, config: &Arc<Config>) -> Option<&Arc<dyn Vault>> {
        let vault = self.vault.as_ref()?;
        let mut told = self.told.lock();
        if told.as_ref().is_none_or(|known| !Arc::ptr_eq(known, config)) {
            vault.configure(config.store.vault.clone());
            *told = Some(config.clone());
        }
        Some(vault)
    }

    /// Those that this caller may use, with their values.
    pub(super) async fn look_up(
        &self,
        config: &Arc<Config>,
        wanted: Vec<Arc<str>>,
        caller: &Caller,
    ) -> Result<Vec<Tokenized>, StoreError> {
        match self.vault(config) {
            Some(vault) if !wanted.is_empty() => vault.get(wanted, caller.scopes(), self.clock.now()).await,
            Some(_) | None => Ok(Vec::new()),
        }
    }

    /// Keeps new ones. Where that fails nobody may see them.
    pub(super) async fn keep(&self, config: &Arc<Config>, minted: Vec<Tokenized>) -> Result<(), StoreError> {
        if minted.is_empty() {
            return Ok(());
        }
        let kept = match self.vault(config) {
            Some(vault) => vault.put(minted, self.clock.now(), self.ids.random()).await,
            None => Err(StoreError::Failed("this store has no vault".to_owned())),
        };
        kept.inspect_err(|error| tracing::error!(%error, "values could not be kept for their placeholders"))
    }

    /// The same where nobody can wait for it: a placeholder that was not kept stays one.
    pub(super) fn keep_aside(self: &Arc<Self>, config: &Arc<Config>, minted: Vec<Tokenized>) {
        if !minted.is_empty() {
            let (this, config) = (self.clone(), config.clone());
            tokio::spawn(async move { drop(this.keep(&config, minted).await) });
        }
    }

    /// Removes what is too old.
    pub(super) async fn retire(&self, config: &Arc<Config>) {
        let Some(vault) = self.vault(config) else { return };
        match vault.retire(self.clock.now()).await {
            Ok(0) => {}
            Ok(values) => tracing::info!(values, "vault.values_retired"),
            Err(error) => tracing::error!(%error, "vault.values_not_retired"),
        }
    }
}

/// The refusal where nobody can tell what stands behind a placeholder, or keep a value for one.
pub(super) fn vault_failed(error: &StoreError) -> Refusal {
    tracing::error!(%error, "the vault of placeholders does not answer");
    Refusal::deny(
        "data",
        "the vault of `tokenize` does not answer: whoever runs the gateway finds the cause in its log",
    )
}

/// For whom a call of this agent is made.
pub(super) fn caller_of(policies: &PolicySet, agent: &AgentId) -> Caller {
    let known = policies.authority.agents.get(agent);
    Caller::new(agent.as_str(), known.map(|agent| &*agent.tenant))
}

/// What an agent may use of the placeholders in its arguments.
#[derive(Clone, Default)]
pub(crate) struct KnownValues(Option<Arc<[Tokenized]>>);

impl KnownValues {
    /// What was found in the vault.
    pub(super) fn of(found: Vec<Tokenized>) -> Self {
        Self(Some(found.into()))
    }

    /// The placeholders that are still to be looked up; none where that was done, or no rule tokenizes. `beside`: what goes
    /// upstream beside the arguments.
    pub(super) fn missing(
        &self,
        data: &DataRules,
        arguments: &Value,
        beside: Option<&Value>,
    ) -> Option<Vec<Arc<str>>> {
        if self.0.is_some() || !data.tokenizes() {
            return None;
        }
        let mut found = placeholders(arguments);
        for token in beside.map(placeholders).unwrap_or_default() {
            if found.len() < MAX_REVEALED && !found.contains(&token) {
                found.push(token);
            }
        }
        Some(found).filter(|found| !found.is_empty())
    }

    /// Those in a value whose values this place may have.
    fn permitted(&self, data: &DataRules, place: &Place<'_>, value: &Value) -> Option<Vec<Tokenized>> {
        let known = self.0.as_ref()?;
        let here: Vec<Arc<str>> = placeholders(value);
        let permitted =
            known.iter().filter(|token| here.contains(&token.placeholder) && data.may_reveal(token, place));
        Some(permitted.cloned().collect())
    }

    /// A URI as it goes to this place, with the values that it may have; none where it gets none.
    pub(super) fn revealed_uri(
        &self,
        data: &DataRules,
        place: &Place<'_>,
        uri: &str,
    ) -> Option<(String, Vec<Tokenized>)> {
        let tokens = self.permitted(data, place, &Value::from(uri))?;
        Some((reveal_uri(uri, &tokens)?, tokens))
    }

    /// The arguments as they go to this place, with the values that it may have; none where it gets none.
    pub(super) fn revealed(
        &self,
        data: &DataRules,
        place: &Place<'_>,
        arguments: &Value,
    ) -> Option<Revealed> {
        let tokens = self.permitted(data, place, arguments)?;
        let arguments = reveal(arguments, &tokens)?;
        Some(Revealed { arguments: Arc::new(arguments), tokens })
    }
}

/// Arguments in which values stand for placeholders.
pub(crate) struct Revealed {
    pub(crate) arguments: Arc<Value>,
    pub(crate) tokens: Vec<Tokenized>,
}
