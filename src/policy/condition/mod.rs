//! Conditions: CEL, parsed, type-checked against the declared facts and compiled once at load.
//!
//! The parser is the `cel` crate's; checking and evaluating are our own, because there a field
//! that is missing or of another type than the rule expects makes a deny rule pass over the call,
//! and here it is an error, hence a deny. What differs from plain CEL follows from that:
//!
//! - `==`, `!=` and `in` between unlike types are errors: at load for declared facts, at run time
//!   for `args`. Numbers are one type and compare exactly. `x == null` has an answer for every `args.x`.
//! - Declared facts that a call may lack (`user`, `workflow`, `agent.operator`, `workflow.owner`)
//!   may be compared with null and with their type; absent, they equal null only. The fields of an
//!   absent `workflow` are missing; `has(workflow.id)` asks.
//! - `matches` takes a literal pattern; loops (`all`, `exists`, …) are not nested; there are no map
//!   and message literals; a time zone is a literal.

mod call;
mod compile;
mod error;
mod eval;
mod examine;
mod fact;
mod function;
mod hidden;
mod kind;
mod looks;
mod loops;
mod node;
mod number;
mod phrase;
#[cfg(test)]
pub(crate) mod reference;
mod syntax;
mod time;
mod token;
mod types;
mod value;
mod vary;

pub(super) use time::offset;

#[cfg(test)]
mod tests;

use super::{Facts, zones::ZoneTable};
use crate::model::CapabilityId;
pub use error::{ConditionError, EvalError};
pub use examine::{Came, Examined, Part, ReadValue};
pub use hidden::Hidden;
use std::{fmt, sync::Arc};
pub use vary::Variation;

/// What a condition reads beside the facts of the call.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    /// `env`
    pub environment: &'a str,
    /// `capability`: the one that lets the call through, as far as that is known.
    pub capability: Option<&'a CapabilityId>,
}

impl<'a> From<&'a str> for Surroundings<'a> {
    fn from(environment: &'a str) -> Self {
        Self { environment, capability: None }
    }
}

/// A compiled condition.
#[derive(Clone)]
pub struct Condition(Arc<Compiled>);

struct Compiled {
    source: Box<str>,
    root: node::Node,
    phrase: Box<str>,
}

impl Condition {
    /// Parses, checks and compiles. It may name no time zones but offsets.
    pub fn compile(source: &str) -> Result<Self, ConditionError> {
        Self::compile_in(source, &ZoneTable::default())
    }

    /// The same with time zones.
    pub(super) fn compile_in(source: &str, zones: &ZoneTable) -> Result<Self, ConditionError> {
        let root = compile::compile(source, zones)?;
        let phrase = phrase::phrase(&root, source).into();
        Ok(Self(Arc::new(Compiled { source: source.into(), root, phrase })))
    }

    /// As written.
    pub fn source(&self) -> &str {
        &self.0.source
    }

    /// Whether it is true of the call. The error says what was missing or did not fit.
    pub fn evaluate<'f>(
        &self,
        facts: &'f Facts,
        around: impl Into<Surroundings<'f>>,
    ) -> Result<bool, EvalError> {
        eval::Evaluation::new(facts, around.into())
            .truth(&self.0.root, None)
            .map_err(|fault| fault.told(&self.0.source))
    }

    /// The same of recorded facts, some of whose arguments are masked. `None`: the answer may depend on what is masked.
    pub fn evaluate_hidden<'f>(
        &self,
        facts: &Facts,
        around: impl Into<Surroundings<'f>>,
        hidden: &Hidden<'_>,
    ) -> Option<Result<bool, EvalError>> {
        hidden.begin();
        let evaluation = eval::Evaluation::of_recorded(facts, around.into(), hidden);
        let truth = evaluation.truth(&self.0.root, None);
        let open =
            matches!(&truth, Err(fault) if matches!(fault.what, kind::What::Masked | kind::What::TooCostly));
        (!open && hidden.knows(facts.call.size)).then(|| truth.map_err(|fault| fault.told(&self.0.source)))
    }

    /// What it says in a sentence: "env is production" for `env == 'production'`.
    pub fn phrase(&self) -> &str {
        &self.0.phrase
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Condition({:?})", self.source())
    }
}

impl PartialEq for Condition {
    fn eq(&self, other: &Self) -> bool {
        self.source() == other.source()
    }
}
