//! A dead letter made again: as a new call of the same agent, the whole path. Nothing is ever made again by itself.

use super::{
    Gateway,
    api::{CallReply, ClientPort, IncomingCall, Purpose},
    placeholders::caller_of,
};
use crate::{
    audit::{DeadLetterError, Handled, dead_letter, handle, was_let_through},
    identity::{AgentPrincipal, Delegation, Principal, Proof},
    model::{AgentId, CallId, CallKind, EventType, PersonId, RpcError, code},
    store::{EventQuery, Register, RegisterChange, StoreError},
    upstream::Era,
};
use futures::future::BoxFuture;
use serde_json::{Map, Value, json};
use std::sync::{Arc, LazyLock};

/// The new call of a dead letter.
#[derive(Clone, Debug)]
pub(crate) struct Replay {
    pub(crate) call_id: CallId,
    /// The call that it makes again.
    pub(crate) of: CallId,
}

/// Nobody is there to be asked.
struct Nobody;

impl ClientPort for Nobody {
    fn era(&self) -> Era {
        Era::Modern
    }
    fn capabilities(&self) -> &Value {
        static NONE: LazyLock<Value> = LazyLock::new(|| json!({}));
        &NONE
    }
    fn wants_progress(&self) -> bool {
        false
    }
    fn log_level(&self) -> Option<String> {
        None
    }
    fn notify(&self, _: &str, _: Value) {}
    fn ask(&self, _: String, _: Value) -> BoxFuture<'static, Result<Value, RpcError>> {
        Box::pin(async { Err(RpcError::new(code::METHOD_NOT_FOUND, "nobody is there to answer")) })
    }
}

impl Gateway {
    /// Makes the call of a dead letter again for a person. Of two who do it at once one does. It stays open where the new call
    /// is refused, or waits for an approval.
    pub async fn replay_dead_letter(&self, by: &PersonId, of: &CallId) -> Result<Value, DeadLetterError> {
        let store = &**self.store();
        let found = dead_letter(store, of, self.0.clock.now()).await?.ok_or(DeadLetterError::NotFound)?;
        if found.status() != "open" {
            return Err(found.is_handled());
        }
        let (name, arguments) = found.call().map_err(|why| DeadLetterError::NotReplayable(why.to_owned()))?;
        let agent = found.side_effect.agent_id.clone();
        let agent = agent.filter(|agent| self.in_force().policies.authority.agents.contains_key(agent));
        let agent = agent.ok_or_else(|| {
            DeadLetterError::NotReplayable("its agent is not in authority.yaml any more".to_owned())
        })?;
        self.has_values(&agent, found.revealed()).await?;
        let call_id = self.0.ids.call_id();
        let claim = Handled {
            status: "replaying".to_owned(),
            by: by.clone(),
            reason: None,
            at: self.0.clock.now(),
            replay: Some(call_id.clone()),
        };
        if !handle(store, &found, (&claim, None), of).await? {
            let told = "is being made again by somebody else at this moment".to_owned();
            return Err(DeadLetterError::Handled(told));
        }
        let call = IncomingCall {
            // It is made for whom it was made the first time.
            principal: Principal::Agent(AgentPrincipal {
                id: agent,
                proof: Proof::Stdio,
                delegation: found.side_effect.user.clone().map(Delegation::for_user),
            }),
            purpose: Purpose::Use,
            kind: CallKind::Tool,
            name,
            arguments: Some(arguments),
            meta: Map::new(),
            extra_params: Map::new(),
            wire: Default::default(),
            workflow: found.side_effect.workflow_id.as_ref().map(ToString::to_string),
            session: format!("replay:{call_id}").into(),
            input_responses: None,
            request_state: None,
            client: Arc::new(Nobody),
        };
        let replay = Replay { call_id: call_id.clone(), of: of.clone() };
        let (gateway, of) = (self.clone(), of.clone());
        // Whoever asked for it may leave: the call goes on, and what came of it is noted.
        let made = self.0.in_flight.spawn(async move {
            let reply = gateway.call_through(call, None, Some(replay)).await;
            gateway.replayed(claim, &of).await.map(|dispatched| form(&call_id, &reply, dispatched))
        });
        let failed = || StoreError::Failed("the replay was broken off".to_owned());
        Ok(made.await.map_err(|_| failed())??)
    }

    /// Whether the vault still has what the placeholders of a call stand for: without that the upstream would get them instead.
    async fn has_values(&self, agent: &AgentId, wanted: Vec<Arc<str>>) -> Result<(), DeadLetterError> {
        if wanted.is_empty() {
            return Ok(());
        }
        let in_force = self.in_force();
        let caller = caller_of(&in_force.policies, agent);
        let kept = &self.0.tasks.measures.placeholders;
        let found = kept.look_up(&in_force.config, wanted.clone(), &caller).await?;
        let lost =
            wanted.iter().filter(|token| !found.iter().any(|known| known.placeholder == **token)).count();
        match lost {
            0 => Ok(()),
            lost => Err(DeadLetterError::NotReplayable(format!(
                "the vault does not have the values any more for {lost} of its {} placeholders, so it cannot be sent again: the \
                 agent has to make the call",
                wanted.len()
            ))),
        }
    }

    /// Notes what came of it: whether the call was let through.
    async fn replayed(&self, claim: Handled, of: &CallId) -> Result<bool, StoreError> {
        let store = self.store();
        let query = EventQuery {
            event_type: Some(EventType::AgentDecision),
            call_id: claim.replay.clone(),
            newest_first: true,
            limit: 1,
            ..EventQuery::default()
        };
        let decided = store.events(query).await?.pop();
        let dispatched = decided.is_some_and(|event| was_let_through(&event.draft));
        let key = of.as_str();
        let change = match dispatched {
            true => {
                let done = Handled { status: "replayed".to_owned(), ..claim };
                RegisterChange::set(Register::DeadLetter, key, json!(done))
            }
            false => RegisterChange::remove(Register::DeadLetter, key),
        };
        store.set(vec![change], Vec::new()).await?;
        Ok(dispatched)
    }
}

/// What is told of the new call.
fn form(call_id: &CallId, reply: &CallReply, dispatched: bool) -> Value {
    let decision = match reply {
        Ok(result) => result.pointer("/_meta/tollgate~1decision").cloned(),
        Err(error) => Some(json!({"reason": error.message})),
    };
    json!({"call_id": call_id, "status": if dispatched { "replayed" } else { "open" }, "decision": decision})
}
