//! What the relay of a call is made for: whose call it is, and what pays for what its upstream asks.

use super::{
    InForce, later::DecidedOn, measures::Measures, spending::Spending, suspend::client_handle::ClientHandle,
    target::Target,
};
use crate::{
    model::{AgentId, pointer::Pointer},
    redaction::Tokenized,
};
use std::{sync::Arc, time::Duration};

/// What a relay is for.
pub(crate) struct Relaying {
    pub(crate) agent: AgentId,
    /// The values that the upstream got for placeholders.
    pub(crate) revealed: Vec<Tokenized>,
    pub(crate) measures: Arc<Measures>,
    pub(crate) client_handle: Arc<ClientHandle>,
    pub(crate) target: Target,
    pub(crate) in_force: Arc<InForce>,
    /// What policy masks in results.
    pub(crate) redact: Vec<Pointer>,
    /// Not every method's result may ask.
    pub(crate) may_ask: bool,
    /// How long the client's model may take.
    pub(crate) timeout: Duration,
    /// What pays for sampling. Nothing does where a strict budget binds the call, since nothing was reserved for it.
    pub(crate) sampling: Sampling,
    /// Whom its data reaches.
    pub(crate) decided_on: DecidedOn,
}

impl Relaying {
    /// For a client and a target, of which anything may be asked, and nothing of it is paid for.
    pub(crate) fn of(
        (agent, measures): (&AgentId, &Arc<Measures>),
        client_handle: &Arc<ClientHandle>,
        target: &Target,
        in_force: &Arc<InForce>,
        timeout: Duration,
        decided_on: DecidedOn,
    ) -> Self {
        Self {
            agent: agent.clone(),
            revealed: Vec::new(),
            measures: measures.clone(),
            client_handle: client_handle.clone(),
            target: target.clone(),
            in_force: in_force.clone(),
            redact: Vec::new(),
            may_ask: true,
            timeout,
            sampling: Sampling::Free,
            decided_on,
        }
    }
}

/// What pays for sampling.
#[derive(Clone)]
pub(crate) enum Sampling {
    /// Nothing; why.
    Refused(&'static str),
    /// The call, within what its limits leave.
    Paid(Arc<Spending>),
    /// Nothing limits it.
    Free,
}
