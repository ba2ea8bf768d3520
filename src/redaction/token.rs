//! Placeholders of `tokenize`: an agent sees one in a value's place, and an upstream that the rule permits gets the value for it.
//!
//! A placeholder is the keyed hash of the value with who may use it, the rule and the detector: the same value is the same
//! placeholder for the same caller, and nobody else's placeholder, nor a guessed one, is worth anything.

use super::mask::mask;
use serde::Deserialize;
use std::{fmt, sync::Arc};
use zeroize::Zeroizing;

/// A longer value is masked: nothing is kept of it.
pub(super) const MAX_VALUE: usize = 64 << 10;

/// Values of one result or of one call's arguments that get a placeholder; what is beyond is masked.
pub(super) const MAX_MINTED: usize = 1_000;

/// Who may use a placeholder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenScope {
    /// The agent that got it.
    #[default]
    Agent,
    /// Every agent of its tenant; where it has none, the agent itself.
    Tenant,
}

/// For whom a call is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    agent: Arc<str>,
    tenant: Option<Arc<str>>,
}

impl Caller {
    /// An agent, and its tenant where it has one.
    pub fn new(agent: &str, tenant: Option<&str>) -> Self {
        let tenant = tenant.filter(|tenant| !tenant.is_empty());
        Self {
            agent: format!("agent:{agent}").into(),
            tenant: tenant.map(|name| format!("tenant:{name}").into()),
        }
    }

    /// What its new placeholders are bound to.
    pub(super) fn scope(&self, scope: TokenScope) -> &Arc<str> {
        match scope {
            TokenScope::Agent => &self.agent,
            TokenScope::Tenant => self.tenant.as_ref().unwrap_or(&self.agent),
        }
    }

    /// Whose placeholders it may use.
    pub fn scopes(&self) -> Vec<Arc<str>> {
        std::iter::once(&self.agent).chain(&self.tenant).cloned().collect()
    }
}

/// A placeholder with the value that it stands for.
#[derive(Clone, PartialEq)]
pub struct Tokenized {
    /// `[token:<detector>:<hex>]`
    pub placeholder: Arc<str>,
    /// Who may use it: `agent:NAME` or `tenant:NAME`.
    pub scope: Arc<str>,
    /// The rule that made it, which says who may have the value.
    pub rule: Arc<str>,
    /// What found the value.
    pub detector: Arc<str>,
    /// The value, raw: only an encrypted vault keeps it, and only a permitted upstream gets it.
    pub value: Zeroizing<String>,
    /// The value is JSON that is no text: a number, a list and the like.
    pub is_json: bool,
}

impl fmt::Debug for Tokenized {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokenized")
            .field("placeholder", &self.placeholder)
            .field("scope", &self.scope)
            .field("rule", &self.rule)
            .finish_non_exhaustive()
    }
}

impl Tokenized {
    /// The mask of the same value, where it cannot be kept.
    pub(super) fn masked(&self) -> Self {
        let value = mask(&self.detector, self.value.chars().count());
        Self { value: value.into(), is_json: false, ..self.clone() }
    }
}
