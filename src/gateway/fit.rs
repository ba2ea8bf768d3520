//! Arguments against their tool's schema: at once where that is cheap, else on a thread beside, so that no connection waits
//! for another agent's arguments.

use super::{checks::Answers, placeholders::KnownValues, refusal::Refusal};
use crate::{
    catalog::{ArgumentSchema, Budget, Misfit, SchemaError, ToolSchema},
    config::Unchecked,
    model::{AgentId, EventDecision, PolicyId},
    offload::{Busy, MOST_WAITING, Offload},
};
use serde_json::Value;
use std::sync::Arc;

/// A schema whose text is longer is compiled beside.
const COMPILED_AT_ONCE: usize = 4 << 10;
/// Looks that one call may need: its own arguments, and what constraints and remediation make of them.
const MOST_LOOKS: usize = 8;

/// What is known of arguments and schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fit {
    /// They fit.
    Fits,
    /// They are let through, although nobody knows whether they fit.
    Unchecked,
    /// They are refused.
    Refused {
        reason: String,
        /// What would work instead, where it is not better arguments.
        advice: Option<&'static str>,
    },
}

impl Fit {
    fn of(found: &Result<(), Fault>, setting: Unchecked) -> Self {
        match found {
            Ok(()) => Self::Fits,
            Err(Fault::Never) => Self::Refused {
                reason: "the tool's schema is `false`: it takes no arguments at all".to_owned(),
                advice: Some(AT_FAULT),
            },
            Err(Fault::Schema(_) | Fault::Arguments(Misfit::Exceeded)) if setting == Unchecked::Pass => {
                Self::Unchecked
            }
            Err(Fault::Schema(error)) => Self::Refused { reason: error.to_string(), advice: Some(AT_FAULT) },
            Err(Fault::Arguments(Misfit::Exceeded)) => Self::Refused {
                reason:
                    "whether the arguments fit the tool's schema could not be found out within its budget"
                        .to_owned(),
                advice: Some(
                    "Smaller arguments may pass. The tool's schema takes too many steps to check: tell whoever \
                         runs the upstream.",
                ),
            },
            Err(Fault::Arguments(Misfit::Breaks(found))) => {
                let told: Vec<String> = found
                    .iter()
                    .map(|v| match v.path.as_str() {
                        "" => format!("the arguments break `{}`: {}", v.rule, v.message),
                        path => format!("{path} breaks `{}`: {}", v.rule, v.message),
                    })
                    .collect();
                let reason = format!("the arguments do not fit the tool's schema: {}", told.join("; "));
                Self::Refused { reason, advice: None }
            }
        }
    }
}

/// The refusal of a call whose result could not be held to what its tool declares.
pub(super) fn refused_by_output(why: &str) -> Fit {
    Fit::Refused {
        reason: why.to_owned(),
        advice: Some(
            "The tool's outputSchema is at fault, not the arguments: tell whoever runs the upstream.",
        ),
    }
}

/// What is told where better arguments would not help.
const AT_FAULT: &str = "The tool's schema is at fault, not the arguments: tell whoever runs the upstream.";

/// Why arguments were not found to fit.
#[derive(Clone, Debug)]
enum Fault {
    /// No arguments do.
    Never,
    Schema(SchemaError),
    Arguments(Misfit),
}

/// A look that a connection's thread cannot spare the time for.
pub(crate) struct Look {
    schema: Arc<ToolSchema>,
    arguments: Arc<Value>,
    bytes: u64,
}

/// The looks that one call needed.
#[derive(Default)]
pub(crate) struct Looks {
    fits: Vec<(Look, Result<(), Fault>)>,
    /// What external checks have said.
    pub(crate) answers: Answers,
    /// What stands behind the placeholders in the arguments.
    pub(crate) opened: KnownValues,
}

/// The refusal where too many of an agent's arguments wait to be checked.
pub(crate) fn too_many() -> Refusal {
    let mut refusal = Refusal::new(
        EventDecision::Throttle,
        PolicyId::from("schema"),
        None,
        format!(
            "the arguments cannot be looked at now: {MOST_WAITING} of this agent's calls wait for that, or the gateway has \
             no thread to spare"
        ),
    );
    refusal.retry_after_ms = Some(1_000);
    refusal
}

impl Looks {
    /// What is known, or the look that is needed to know it. `bytes`: the length of the arguments as text.
    pub(crate) fn fit(
        &self,
        schema: &Arc<ToolSchema>,
        arguments: &Arc<Value>,
        bytes: u64,
        setting: Unchecked,
    ) -> Result<Fit, Box<Look>> {
        let known = self.fits.iter().find(|(look, _)| {
            Arc::ptr_eq(&look.schema, schema)
                && (Arc::ptr_eq(&look.arguments, arguments) || look.arguments == *arguments)
        });
        if let Some((_, found)) = known {
            return Ok(Fit::of(found, setting));
        }
        let beside = || Box::new(Look { schema: schema.clone(), arguments: arguments.clone(), bytes });
        let compiled = match schema.compiled() {
            Some(compiled) => compiled,
            None if schema.bytes() <= COMPILED_AT_ONCE => schema.compile(),
            None => return Err(beside()),
        };
        match held_against(&compiled, arguments, Budget::SMALL) {
            Err(Fault::Arguments(Misfit::Exceeded)) => Err(beside()),
            found => Ok(Fit::of(&found, setting)),
        }
    }

    /// Takes a look beside, and keeps what it found.
    pub(crate) async fn take(&mut self, offload: &Offload, agent: &AgentId, look: Look) -> Result<(), Busy> {
        if self.fits.len() >= MOST_LOOKS {
            return Err(Busy);
        }
        let (schema, arguments) = (look.schema.clone(), look.arguments.clone());
        let budget = Budget::whole(look.bytes);
        let found = offload.run(agent, move || held_against(&schema.compile(), &arguments, budget)).await?;
        if matches!(found, Err(Fault::Arguments(Misfit::Exceeded))) {
            tracing::warn!(
                agent.id = %agent,
                arguments.bytes = look.bytes,
                schema.bytes = look.schema.bytes(),
                "arguments could not be checked against their tool's schema within the budget"
            );
        }
        self.fits.push((look, found));
        Ok(())
    }

    /// The same at once, for whoever has the time. Whether there was room for it.
    pub(crate) fn take_here(&mut self, look: Look) -> bool {
        if self.fits.len() >= MOST_LOOKS {
            return false;
        }
        let found = held_against(&look.schema.compile(), &look.arguments, Budget::whole(look.bytes));
        self.fits.push((look, found));
        true
    }
}

fn held_against(
    schema: &Result<ArgumentSchema, SchemaError>,
    arguments: &Value,
    budget: Budget,
) -> Result<(), Fault> {
    let schema = schema.as_ref().map_err(|error| Fault::Schema(error.clone()))?;
    if schema.fits_nothing() {
        return Err(Fault::Never);
    }
    schema.check(arguments, budget).map_err(Fault::Arguments)
}
