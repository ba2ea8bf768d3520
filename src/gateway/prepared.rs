//! Everything known of a call before it is decided.

use super::target::Target;
use crate::{
    cost::{Estimate, Tokenizer},
    decision::Facts,
    evidence::{Evaluated, Judged, ResolvedTool},
    model::{Digest, MicroUsd, PersonId, Sensitivity, SnapshotId, WorkflowId},
    redaction::Tokenized,
    store::ApprovalBinding,
};
use serde_json::{Map, Value};
use std::sync::Arc;

/// Everything known of a call before it is decided.
pub(crate) struct Prepared {
    pub(crate) target: Target,
    /// Its name for records, prompts and pages: masked, and of bounded length.
    pub(crate) shown: Arc<str>,
    /// Its action for the same.
    pub(crate) shown_action: Arc<str>,
    /// See [`Target::kept_as`].
    pub(crate) kept_as: Arc<str>,
    /// As they were given, with placeholders where the agent wrote some.
    pub(crate) arguments: Arc<Value>,
    pub(crate) facts: Facts,
    /// Masked, for records and prompts.
    pub(crate) recorded: Arc<Value>,
    pub(crate) redacted: bool,
    pub(crate) level: Sensitivity,
    /// Changed arguments as they go to the upstream, where data.yaml says so.
    pub(crate) outbound: Option<Value>,
    /// The values that go upstream for placeholders.
    pub(crate) revealed: Vec<Tokenized>,
    /// The values for which placeholders go upstream: they are kept before that.
    pub(crate) minted: Vec<Tokenized>,
    /// The same of what goes beside them: `_meta` and other members of the params.
    pub(crate) outbound_extras: Option<(Map<String, Value>, Map<String, Value>)>,
    pub(crate) estimate: Estimate,
    /// What its result probably takes at most.
    pub(crate) most_result_tokens: u64,
    pub(crate) tokenizer: Tokenizer,
    pub(crate) tool_price: MicroUsd,
    /// Of all that is sent.
    pub(crate) digest: Digest,
    /// Of target and arguments alone: by this a call is known that is made again.
    pub(crate) call_digest: Digest,
    /// What nearly identical calls have in common, where the bundle looks for them.
    pub(crate) shape: Option<Digest>,
    /// What is bound beside the arguments.
    pub(crate) extras: Extras,
    pub(crate) workflow: Option<WorkflowId>,
    pub(crate) operator: Option<PersonId>,
    pub(crate) attended: bool,
    /// Nobody knows whether the arguments fit their schema.
    pub(crate) unchecked: bool,
    /// What policies said of it, and on what; none before they are asked.
    pub(crate) judged: Option<Judged>,
}

impl Prepared {
    /// Its name in lists, as metrics and spans may have it.
    pub(crate) fn listed(&self) -> Arc<str> {
        self.target.told(self.target.listed(), &self.shown)
    }

    /// What is kept of its tool; none for resources and prompts.
    pub(crate) fn resolved(&self) -> Option<&Arc<ResolvedTool>> {
        match &self.target {
            Target::Tool(tool) => Some(&tool.resolved),
            Target::Item(..) => None,
        }
    }

    /// By what name it was decided: of a resource with a value for a placeholder that is another than records have.
    fn decided_name(&self) -> &Arc<str> {
        match self.facts.resource.is_empty() {
            true => self.target.full(),
            false => &self.facts.resource,
        }
    }

    /// What an approval of it is bound to.
    pub(crate) fn binding(&self, snapshot: &SnapshotId) -> ApprovalBinding {
        ApprovalBinding {
            agent: self.facts.agent.id.clone(),
            user: self.facts.user.clone(),
            workflow: self.workflow.clone(),
            tool: self.shown.to_string(),
            fingerprint: self.target.fingerprint(),
            digest: self.digest.clone(),
            call: self.call_digest.clone(),
            snapshot: snapshot.clone(),
        }
    }

    /// For the record of what is decided on it.
    pub(crate) fn evaluated(&self) -> Evaluated<'_> {
        Evaluated {
            facts: &self.facts,
            recorded: &self.recorded,
            names: (self.decided_name(), &self.shown),
            actions: (self.target.action(), &self.shown_action),
            tool: self.resolved().map(|tool| &*tool.hash),
            priced: (self.estimate.result_tokens, self.tool_price),
        }
    }
}

/// What an approval binds beside the arguments.
#[derive(Clone, Debug, Default)]
pub(crate) struct Extras {
    pub(crate) meta: Map<String, Value>,
    pub(crate) params: Map<String, Value>,
}
