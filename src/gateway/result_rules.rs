//! The data rules for what the upstream of one call says: its agent gets placeholders of its own, and a value that went
//! upstream for one comes back as that.

use super::{InForce, placeholders::caller_of};
use crate::{
    config::Config,
    model::{AgentId, pointer::Pointer},
    redaction::{Claims, DataRules, Entry, Outbound, Place, Tokenized},
};
use serde_json::Value;
use std::sync::Arc;

/// The rules, and the values that are known.
pub(crate) struct ResultRules {
    pub(super) data: DataRules,
    /// The values that the upstream got for placeholders.
    revealed: Vec<Tokenized>,
    config: Arc<Config>,
    /// The values for which the agent is about to get placeholders.
    pub(super) minted: Vec<Tokenized>,
}

impl ResultRules {
    /// For a call of this agent, whose upstream got these values.
    pub(super) fn of(in_force: &InForce, agent: &AgentId, revealed: Vec<Tokenized>) -> Self {
        let policies = &in_force.policies;
        let data = match policies.data.tokenizes() {
            true => policies.data.for_caller(caller_of(policies, agent)),
            false => policies.data.clone(),
        };
        Self { data, revealed, config: in_force.config.clone(), minted: Vec::new() }
    }

    /// Puts placeholders back where the upstream repeats the values that it got for them. What stood there before, where
    /// that changed anything.
    pub(super) fn conceal(&self, value: &mut Value) -> Option<Value> {
        if self.revealed.is_empty() {
            return None;
        }
        let before = value.clone();
        self.data.conceal(value, &self.revealed).then_some(before)
    }

    /// What of it goes to the agent, and what it is labelled with as it comes in; `claims` is what the upstream says of it.
    /// `declared`: masks keep the type in structured content.
    pub(super) fn inspect(
        &mut self,
        value: &Value,
        (place, claims): (&Place<'_>, &Claims),
        redact: &[Pointer],
        declared: bool,
    ) -> (Outbound, Entry) {
        let inspected = match declared {
            true => self.data.inspect_declared_result(value, place, redact),
            false => self.data.inspect_result(value, place, redact),
        };
        let upstream = self.config.upstreams.get(place.upstream);
        let trusted = upstream.is_some_and(|upstream| upstream.trust_annotations);
        let entry = self.data.entry(&inspected, place, claims, trusted);
        self.minted.extend(inspected.minted);
        (inspected.outbound, entry)
    }

    /// Both, of a value of which nothing is declared. The error says why nothing of it may pass.
    pub(super) fn limit(
        &mut self,
        mut value: Value,
        place: (&Place<'_>, &Claims),
        redact: &[Pointer],
    ) -> (Result<Value, String>, Entry) {
        drop(self.conceal(&mut value));
        let (outbound, entry) = self.inspect(&value, place, redact, false);
        let limited = match outbound {
            Outbound::Unchanged => Ok(value),
            Outbound::Changed(changed) => Ok(changed),
            Outbound::Blocked(reason) => Err(reason),
        };
        (limited, entry)
    }
}
