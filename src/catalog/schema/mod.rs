//! Argument schemas: compiled once per tool fingerprint, bounded, and never fetched from anywhere.

mod backtrack;
mod check;
mod compile;
mod documents;
mod ecma;
mod exceeded;
mod explain;
mod kept;
mod part;
mod pattern;
mod program;

pub use kept::{SchemaCache, ToolSchema};

use crate::model::pointer::escape;
use check::Run;
use compile::MAX_DEPTH;
use exceeded::Exceeded;
use explain::Explanation;
use program::Program;
use serde_json::Value;

/// How many violations are told at once.
const MAX_VIOLATIONS: usize = 5;
/// Steps to find out which rules are broken, once it is known that some are.
const EXPLAIN_STEPS: u64 = 20_000;

/// What one look at arguments may cost. A step takes about 50 ns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    steps: u64,
    depth: u32,
}

impl Budget {
    /// What a connection's thread can spare: well under a millisecond.
    pub const SMALL: Self = Self { steps: 5_000, depth: 100 };

    /// So many steps on a connection's thread.
    pub fn of(steps: u64) -> Self {
        Self { steps, ..Self::SMALL }
    }

    /// All that arguments of so many bytes may take, on a thread with [`Self::STACK`].
    pub fn whole(bytes: u64) -> Self {
        Self { steps: bytes.saturating_mul(2).saturating_add(250_000), depth: u32::MAX }
    }

    /// The stack that the whole budget may need.
    pub const STACK: usize = 8 << 20;

    /// The most steps that a look takes with it.
    pub fn most_steps(self) -> u64 {
        self.steps + EXPLAIN_STEPS
    }
}

/// A compiled argument schema.
#[derive(Debug)]
pub struct ArgumentSchema {
    program: Program,
}

/// Why a schema cannot be used at all. What is wrong with single keywords is no reason ([`UncheckedKeyword`]).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// Too large or too deep.
    #[error("it is larger than 20000 nodes or deeper than 64 levels, and cannot be checked")]
    TooLarge,
}

/// A keyword that is not checked, because it is wrong or more than can be checked: the upstream has to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UncheckedKeyword {
    /// The way to it, as keywords name it; empty for the whole, and for those that are counted only.
    pub at: String,
    /// One sentence.
    pub why: String,
}

/// Why arguments were not found to fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Misfit {
    /// They break these rules.
    Breaks(Vec<Violation>),
    /// Whether they fit could not be found out within the budget.
    Exceeded,
}

/// One violation: where in the arguments, and which rule. Values are never told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// A JSON pointer into the arguments; empty for the whole.
    pub path: String,
    /// The schema keyword.
    pub rule: String,
    /// What it asks for, without the value.
    pub message: String,
}

impl ArgumentSchema {
    /// Compiles one. The dialect is `$schema`'s, else 2020-12; `asserts_formats` says whether `format` is more than an
    /// annotation.
    pub fn compile(schema: &Value, asserts_formats: bool) -> Result<Self, SchemaError> {
        compile::compile(schema, asserts_formats).map(|program| Self { program })
    }

    /// What of it is not checked.
    pub fn unchecked(&self) -> &[UncheckedKeyword] {
        &self.program.unchecked
    }

    /// No arguments can fit, whatever they are.
    pub fn fits_nothing(&self) -> bool {
        self.program.fits_nothing()
    }

    /// What it takes in memory, roughly, in bytes.
    pub fn weight(&self) -> usize {
        self.program.weight
    }

    /// Holds arguments against it.
    pub fn check(&self, arguments: &Value, budget: Budget) -> Result<(), Misfit> {
        self.measured(arguments, budget).0
    }

    /// The same, with the steps it took.
    pub fn measured(&self, arguments: &Value, budget: Budget) -> (Result<(), Misfit>, u64) {
        let mut run = Run::new(&self.program, budget.steps, budget.depth);
        let found = match run.fits(self.program.root, arguments) {
            Ok(true) => Ok(()),
            Err(Exceeded) => Err(Misfit::Exceeded),
            Ok(false) => {
                run.extend(EXPLAIN_STEPS);
                let mut explanation = Explanation::new(&mut run);
                // What was found until the steps are used up is told.
                let ended = explanation.of(self.program.root, arguments);
                let mut found = explanation.found;
                if found.is_empty() {
                    let message = match ended {
                        Ok(()) => "does not fit",
                        Err(Exceeded) => "does not fit; which rule is broken takes too long to find out",
                    };
                    found.push(Violation {
                        path: String::new(),
                        rule: "schema".to_owned(),
                        message: message.to_owned(),
                    });
                }
                Err(Misfit::Breaks(found))
            }
        };
        (found, run.steps())
    }
}

/// Which arguments are mirrored into headers: `(name, path of property names)` per `x-mcp-header`
/// (2026-07-28, Streamable HTTP, custom headers).
pub fn param_headers(schema: &Value) -> Vec<(String, String)> {
    fn walk(schema: &Value, path: &str, depth: usize, found: &mut Vec<(String, String)>) {
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
        if depth > MAX_DEPTH {
            return;
        }
        for (name, property) in properties {
            let here = format!("{path}/{}", escape(name));
            if let Some(header) = property.get("x-mcp-header").and_then(Value::as_str) {
                found.push((header.to_owned(), here.clone()));
            }
            walk(property, &here, depth + 1, found);
        }
    }
    let mut found = Vec::new();
    walk(schema, "", 0, &mut found);
    found
}

#[cfg(test)]
mod tests;
