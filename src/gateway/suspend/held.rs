//! Calls that wait for an approval while their client asks for them as tasks.
//!
//! Such a call stays in flight in this process: what was admitted is settled, and what was not is not sent. Its client polls;
//! where the upstream asks something after the approval, the question stands in the task and the answer makes the retry.
//! Who cancels, or whose process ends, has made no call, unless it was sent already.

use crate::gateway::{
    api::{CallReply, ClientPort, IncomingCall, Purpose, StateSeal},
    people::waiter::{Again, Waited, Waiter},
    suspend::{
        handle::{held_handle, is_task, takes_tasks},
        parked::PATIENCE,
        spawn_until,
    },
};
use crate::{
    clock::{Clock, IdSource},
    identity::{Principal, Proof},
    model::{AgentId, CallKind, RpcError, code},
};
use futures::future::BoxFuture;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

/// Calls held at a time.
const MOST: usize = 1024;
const MOST_PER_AGENT: usize = 64;
/// How long what came of a call can be asked for.
const KEPT: Duration = Duration::from_secs(15 * 60);
/// How often a client should ask.
const POLL_MS: u64 = 1000;
/// Questions one call may ask.
const MOST_ROUNDS: usize = 8;

enum State {
    Working(&'static str),
    Asked {
        questions: Value,
        state: Option<String>,
        answers: Option<Map<String, Value>>,
    },
    Done(Value),
    Failed(RpcError),
    Cancelled,
    /// Its upstream made a task of it: our handle for that.
    Became(String),
}

/// One call.
pub(crate) struct Held {
    pub(crate) agent: AgentId,
    /// The tool's exposed name: who does not see the tool does not see what came of the call.
    pub(crate) tool: String,
    created: Timestamp,
    /// How long it can be asked for, from when it was made.
    ttl: Duration,
    state: Mutex<(State, Timestamp, Arc<dyn ClientPort>)>,
    answered: Notify,
    stop: CancellationToken,
    clock: Arc<dyn Clock>,
}

impl Held {
    fn set(&self, state: State) {
        let now = self.clock.now();
        let mut place = self.state.lock();
        (place.0, place.1) = (state, now);
    }

    /// Our handle for the upstream's task that it became.
    pub(in crate::gateway) fn became(&self) -> Option<String> {
        match &self.state.lock().0 {
            State::Became(handle) => Some(handle.clone()),
            _ => None,
        }
    }

    /// The task as `tasks/get` shows it, without its id.
    pub(in crate::gateway) fn shown(&self) -> Value {
        let place = self.state.lock();
        let (status, more) = match &place.0 {
            State::Working(message) => ("working", json!({"statusMessage": message})),
            State::Asked { answers: Some(_), .. } => ("working", json!({})),
            State::Asked { questions, .. } => ("input_required", json!({"inputRequests": questions})),
            State::Done(result) => ("completed", json!({"result": result})),
            State::Failed(error) => ("failed", json!({"statusMessage": error.message, "error": error})),
            State::Cancelled | State::Became(_) => ("cancelled", json!({})),
        };
        let mut task = self.task(status, place.1);
        if let (Value::Object(task), Value::Object(more)) = (&mut task, more) {
            task.extend(more);
        }
        task
    }

    fn task(&self, status: &str, updated: Timestamp) -> Value {
        json!({
            "status": status,
            "createdAt": self.created.to_string(),
            "lastUpdatedAt": updated.to_string(),
            "ttlMs": u64::try_from(self.ttl.as_millis()).unwrap_or(u64::MAX),
            "pollIntervalMs": POLL_MS,
        })
    }

    /// The client's answers to questions that stand; whatever else it answers is nothing.
    pub(in crate::gateway) fn answer(&self, responses: Map<String, Value>, client: Arc<dyn ClientPort>) {
        let mut place = self.state.lock();
        let State::Asked { questions, answers, .. } = &mut place.0 else { return };
        let asked = |name: &str| questions.get(name).is_some();
        let fitting: Map<_, _> = responses.into_iter().filter(|(name, _)| asked(name)).collect();
        if fitting.is_empty() {
            return;
        }
        *answers = Some(fitting);
        place.2 = client;
        self.answered.notify_one();
    }

    /// The client wants it no more.
    pub(in crate::gateway) fn cancel(&self) {
        self.stop.cancel();
    }
}

/// The calls that are held in this process.
pub(crate) struct HeldCalls {
    calls: Mutex<HashMap<String, Arc<Held>>>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
    seal: Arc<dyn StateSeal>,
    stop: CancellationToken,
}

/// The path of a call, which a held call goes again with each answer.
pub(crate) trait CallPath: Clone + Send + Sync + 'static {
    /// Goes it; the waiter is told where the call begins to wait for a person elsewhere.
    fn go(&self, call: IncomingCall, waiter: Option<Waiter>) -> BoxFuture<'static, CallReply>;
}

impl HeldCalls {
    pub(crate) fn new(
        clock: &Arc<dyn Clock>,
        ids: &Arc<dyn IdSource>,
        seal: &Arc<dyn StateSeal>,
        stop: &CancellationToken,
    ) -> Self {
        let (clock, ids) = (clock.clone(), ids.clone());
        Self { calls: Mutex::default(), clock, ids, seal: seal.clone(), stop: stop.clone() }
    }

    pub(in crate::gateway) fn get(&self, id: &str) -> Option<Arc<Held>> {
        self.calls.lock().get(id).cloned()
    }

    fn put(&self, id: &str, held: &Arc<Held>) -> bool {
        let mut calls = self.calls.lock();
        let room = calls.len() < MOST
            && calls.values().filter(|other| other.agent == held.agent).count() < MOST_PER_AGENT;
        if room {
            calls.insert(id.to_owned(), held.clone());
        }
        room
    }

    fn remove(&self, id: &str) {
        self.calls.lock().remove(id);
    }

    /// Gives up all of them.
    pub(crate) fn clear(&self) {
        for held in std::mem::take(&mut *self.calls.lock()).into_values() {
            held.cancel();
        }
    }
}

/// Whether a call may be answered as a task where it has to wait. `is_shared`: other machines answer for this one, and know
/// nothing of its tasks; only over stdio its client comes back to this process for sure.
pub(in crate::gateway) fn may_hold(call: &IncomingCall, is_shared: bool) -> bool {
    let comes_back = match &call.principal {
        Principal::Agent(agent) => !is_shared || matches!(agent.proof, Proof::Stdio),
        Principal::Person(_) => !is_shared,
    };
    call.kind == CallKind::Tool
        && matches!(call.purpose, Purpose::Use)
        && comes_back
        && takes_tasks(call.client.as_ref())
}

impl HeldCalls {
    /// A call that is answered as a task where it has to wait for a person.
    pub(in crate::gateway) async fn call_or_hold(
        self: &Arc<Self>,
        call: IncomingCall,
        path: impl CallPath,
    ) -> CallReply {
        let (waiter, waited) = oneshot::channel();
        let client = call.client.clone();
        let mut work = path.go(call, Some(Waiter::new(waiter)));
        let waited = tokio::select! {
            biased;
            reply = &mut work => return reply,
            Ok(waited) = waited => waited,
        };
        let Waited { again, decision, left, held: told } = waited;
        match self.hold(&again, client, decision, left) {
            Some((id, held, task)) => {
                told.send(true).ok();
                let calls = self.clone();
                spawn_until(&self.stop, async move {
                    see_to_its_end(&path, &held, again, work).await;
                    tokio::time::sleep(KEPT).await;
                    calls.remove(&id);
                });
                Ok(task)
            }
            // There are too many: it waits as if its client took no tasks.
            None => {
                told.send(false).ok();
                work.await
            }
        }
    }

    fn hold(
        &self,
        again: &Again,
        client: Arc<dyn ClientPort>,
        decision: Value,
        left: Duration,
    ) -> Option<(String, Arc<Held>, Value)> {
        let agent = again.principal.agent()?.clone();
        let id = self.ids.uuid();
        let handle = held_handle(&*self.seal, &again.principal, &id).ok()?;
        let now = self.clock.now();
        let held = Arc::new(Held {
            agent,
            tool: again.name.clone(),
            created: now,
            ttl: left.saturating_add(KEPT),
            state: Mutex::new((State::Working("It waits for a person's approval."), now, client)),
            answered: Notify::new(),
            stop: CancellationToken::new(),
            clock: self.clock.clone(),
        });
        if self.stop.is_cancelled() || !self.put(&id, &held) {
            return None;
        }
        let mut task = held.shown();
        let map = task.as_object_mut()?;
        map.insert("resultType".to_owned(), "task".into());
        map.insert("taskId".to_owned(), handle.into());
        map.insert("_meta".to_owned(), json!({"tollgate/decision": decision}));
        Some((id, held, task))
    }
}

/// Sees a held call to its end.
async fn see_to_its_end(
    path: &impl CallPath,
    held: &Held,
    again: Again,
    mut work: BoxFuture<'static, CallReply>,
) {
    for _ in 0..MOST_ROUNDS {
        let reply = tokio::select! {
            biased;
            reply = &mut work => reply,
            // Dropped, the call is cancelled; what was sent is settled all the same.
            () = held.stop.cancelled() => {
                held.set(State::Cancelled);
                break;
            }
        };
        let asks = |reply: &Value| reply.get("resultType").and_then(Value::as_str) == Some("input_required");
        match reply {
            Ok(mut reply) if asks(&reply) => {
                let questions = reply.get_mut("inputRequests").map(Value::take).unwrap_or_default();
                let state = reply.get("requestState").and_then(Value::as_str).map(str::to_owned);
                held.set(State::Asked { questions, state, answers: None });
                let Some(next) = answers_of(path, held, &again).await else { break };
                work = next;
            }
            Ok(reply) if is_task(&reply) => {
                let handle = reply.get("taskId").and_then(Value::as_str).unwrap_or_default();
                held.set(State::Became(handle.to_owned()));
                break;
            }
            Ok(mut reply) => {
                if let Some(map) = reply.as_object_mut() {
                    map.shift_remove("resultType");
                }
                held.set(State::Done(reply));
                break;
            }
            Err(error) => {
                held.set(State::Failed(error));
                break;
            }
        }
    }
    if !held.is_over() {
        held.set(State::Failed(RpcError::new(code::INTERNAL_ERROR, "it asked too often")));
    }
    drop(work);
}

/// Waits for the client's answers, and makes the call again with them.
async fn answers_of(
    path: &impl CallPath,
    held: &Held,
    again: &Again,
) -> Option<BoxFuture<'static, CallReply>> {
    tokio::select! {
        () = held.answered.notified() => {}
        () = held.stop.cancelled() => {
            held.set(State::Cancelled);
            return None;
        }
        () = tokio::time::sleep(PATIENCE) => {
            let text = "the client did not answer the upstream's question in time";
            held.set(State::Failed(RpcError::new(code::INTERNAL_ERROR, text)));
            return None;
        }
    }
    let call = {
        let mut place = held.state.lock();
        let client = place.2.clone();
        let State::Asked { state, answers, .. } = &mut place.0 else { return None };
        again.call(client, answers.take().unwrap_or_default(), state.take())
    };
    held.set(State::Working("The upstream has the answer."));
    Some(path.go(call, None))
}

impl Held {
    fn is_over(&self) -> bool {
        match &self.state.lock().0 {
            State::Working(_) | State::Asked { .. } => false,
            State::Done(_) | State::Failed(_) | State::Cancelled | State::Became(_) => true,
        }
    }
}
