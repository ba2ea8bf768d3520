//! Arguments against their tool's schema: at once where that is cheap, else on a thread beside, so that no connection waits
//! for another agent's arguments.

use super::refusal::Refusal;
use crate::{
    catalog::{ArgumentSchema, Budget, Misfit, SchemaError, ToolSchema},
    config::Unchecked,
    model::{AgentId, EventDecision, PolicyId},
};
use dashmap::DashMap;
use serde_json::Value;
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use tokio::sync::{Semaphore, oneshot};

/// A schema whose text is longer is compiled beside.
const COMPILED_AT_ONCE: usize = 4 << 10;
/// Pieces of one agent's work that run or wait for their turn.
const MOST_WAITING: usize = 64;
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
pub(crate) struct Looks(Vec<(Look, Result<(), Fault>)>);

/// Too many looks wait, or no thread can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Busy;

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
        let known = self.0.iter().find(|(look, _)| {
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
    pub(crate) async fn take(&mut self, beside: &Beside, agent: &AgentId, look: Look) -> Result<(), Busy> {
        if self.0.len() >= MOST_LOOKS {
            return Err(Busy);
        }
        let (schema, arguments) = (look.schema.clone(), look.arguments.clone());
        let budget = Budget::whole(look.bytes);
        let found = beside.run(agent, move || held_against(&schema.compile(), &arguments, budget)).await?;
        if matches!(found, Err(Fault::Arguments(Misfit::Exceeded))) {
            tracing::warn!(
                agent.id = %agent,
                arguments.bytes = look.bytes,
                schema.bytes = look.schema.bytes(),
                "arguments could not be checked against their tool's schema within the budget"
            );
        }
        self.0.push((look, found));
        Ok(())
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

/// Work that takes longer than a connection's thread can spare. One agent has one of the threads at a time, so that others
/// find one free.
pub(crate) struct Beside {
    threads: Arc<Semaphore>,
    agents: DashMap<AgentId, Arc<Turn>>,
}

struct Turn {
    one: Arc<Semaphore>,
    waiting: AtomicUsize,
}

/// One that waits; no longer when it is dropped.
struct Waiting(Arc<Turn>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Default for Beside {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self { threads: Arc::new(Semaphore::new((cores / 2).clamp(2, 8))), agents: DashMap::new() }
    }
}

impl Beside {
    /// Runs it on a thread of its own, when it is this agent's turn. What began goes on where nobody waits for it any more,
    /// and counts until its end.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        agent: &AgentId,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Busy> {
        let new = || Turn { one: Arc::new(Semaphore::new(1)), waiting: AtomicUsize::new(0) };
        // The map is locked no longer than this line.
        let turn = self.agents.entry(agent.clone()).or_insert_with(|| Arc::new(new())).value().clone();
        let before = turn.waiting.fetch_add(1, Ordering::Relaxed);
        let waiting = Waiting(turn);
        if before >= MOST_WAITING {
            return Err(Busy);
        }
        let own = waiting.0.one.clone().acquire_owned().await.map_err(|_| Busy)?;
        let thread = self.threads.clone().acquire_owned().await.map_err(|_| Busy)?;
        let (done, result) = oneshot::channel();
        let started = std::thread::Builder::new().name("beside".to_owned()).stack_size(Budget::STACK).spawn(
            move || {
                let found = work();
                drop((own, thread));
                // Nobody waits for it any more where this fails.
                drop(done.send(found));
            },
        );
        if let Err(error) = started {
            tracing::error!(error = %error, "no thread can be had to check arguments");
            return Err(Busy);
        }
        result.await.map_err(|_| Busy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[tokio::test]
    async fn one_agent_never_has_all_threads() {
        let beside = Arc::new(Beside::default());
        let (release, held) = mpsc::channel::<()>();
        let held = Arc::new(parking_lot::Mutex::new(held));
        let (began, mut begun) = tokio::sync::mpsc::unbounded_channel();
        let hostile = AgentId::from("hostile");
        let mut waiting = Vec::new();
        for _ in 0..MOST_WAITING {
            let (beside, hostile, held, began) =
                (beside.clone(), hostile.clone(), held.clone(), began.clone());
            waiting.push(tokio::spawn(async move {
                let work = move || {
                    began.send(()).unwrap();
                    held.lock().recv().unwrap();
                };
                beside.run(&hostile, work).await
            }));
        }
        begun.recv().await.unwrap();
        // The others wait; this one comes at once.
        let other = beside.run(&AgentId::from("other"), || 7).await;
        assert_eq!(other, Ok(7));
        assert!(begun.try_recv().is_err(), "the hostile agent's second began beside its first");
        for _ in 0..MOST_WAITING {
            release.send(()).unwrap();
        }
        for task in waiting {
            assert_eq!(task.await.unwrap(), Ok(()));
        }
    }

    #[tokio::test]
    async fn what_waits_is_bounded() {
        let beside = Arc::new(Beside::default());
        let (release, held) = mpsc::channel::<()>();
        let (began, begun) = oneshot::channel();
        let agent = AgentId::from("a");
        let first = tokio::spawn({
            let (beside, agent) = (beside.clone(), agent.clone());
            async move {
                let work = move || {
                    began.send(()).unwrap();
                    held.recv().unwrap();
                };
                beside.run(&agent, work).await
            }
        });
        begun.await.unwrap();
        let mut all: Vec<_> = (0..MOST_WAITING - 1).map(|_| Box::pin(beside.run(&agent, || ()))).collect();
        for one in &mut all {
            assert!(futures::poll!(one).is_pending());
        }
        assert_eq!(beside.run(&agent, || ()).await, Err(Busy));
        // Whoever goes makes room.
        drop(all.pop());
        let mut another = Box::pin(beside.run(&agent, || ()));
        assert!(futures::poll!(&mut another).is_pending());
        release.send(()).unwrap();
        assert_eq!(first.await.unwrap(), Ok(()));
        for one in all {
            assert_eq!(one.await, Ok(()));
        }
        assert_eq!(another.await, Ok(()));
    }
}
