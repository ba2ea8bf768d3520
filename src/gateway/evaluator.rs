//! What preparing and deciding a call takes: the same for a call that is made and for one that somebody asks about.

use super::{Inner, digest::DigestKey, repeats::Repeats};
use crate::{
    catalog::View,
    clock::Clock,
    config::Config,
    cost::{LearnedSizes, TokenCounter},
    model::{Digest, PersonId},
    policy::PolicySet,
};
use jiff::Timestamp;
use std::sync::Arc;

/// What a call is prepared and decided on.
#[derive(Clone, Copy)]
pub(crate) struct Grounds<'g> {
    pub(crate) policies: &'g PolicySet,
    pub(crate) config: &'g Config,
    /// What the agent sees.
    pub(crate) view: &'g View,
}

/// What is taken for granted of a call that is not made.
#[derive(Clone, Debug, Default)]
pub(crate) struct Assumed {
    pub(crate) now: Option<Timestamp>,
    pub(crate) user: Option<PersonId>,
    pub(crate) repeats: Option<u64>,
    pub(crate) session_labels: Vec<Arc<str>>,
}

/// What is known beside the call and what it is decided on. Nothing in it is changed by deciding.
#[derive(Clone, Copy)]
pub(crate) struct Evaluator<'e> {
    pub(crate) tokens: &'e TokenCounter,
    pub(crate) learned: &'e LearnedSizes,
    pub(crate) digest_key: &'e DigestKey,
    pub(crate) repeats: &'e Repeats,
    pub(crate) clock: &'e dyn Clock,
    /// None of a call that is made.
    pub(crate) assumed: Option<&'e Assumed>,
}

impl Inner {
    /// Of calls that are made.
    pub(crate) fn evaluator(&self) -> Evaluator<'_> {
        Evaluator {
            tokens: &self.tokens,
            learned: &self.learned,
            digest_key: &self.digest_key,
            repeats: &self.repeats,
            clock: &*self.clock,
            assumed: None,
        }
    }
}

impl Evaluator<'_> {
    pub(super) fn now(&self) -> Timestamp {
        self.assumed.and_then(|assumed| assumed.now).unwrap_or_else(|| self.clock.now())
    }

    pub(super) fn user(&self, operator: Option<&PersonId>) -> Option<PersonId> {
        self.assumed.and_then(|assumed| assumed.user.as_ref()).or(operator).cloned()
    }

    pub(super) fn repeats_of(&self, agent: &str, digest: &Digest) -> u64 {
        let assumed = self.assumed.and_then(|assumed| assumed.repeats);
        assumed.unwrap_or_else(|| self.repeats.before(agent, digest, self.clock.monotonic()))
    }

    pub(super) fn session_labels(&self) -> Vec<Arc<str>> {
        self.assumed.map(|assumed| assumed.session_labels.clone()).unwrap_or_default()
    }
}
