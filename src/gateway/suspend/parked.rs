//! A call in flight whose upstream asks the client something, where the client is asked in results (2026-07-28).
//!
//! The call stays in flight. Its client gets an `input_required` result with a sealed handle, and the retry that brings
//! the handle back brings the answers, and waits for the next question or the end. Permit, record and settlement stay
//! the one call's. Who does not come back in time has gone away: the call is cancelled and settled as unknown. A handle
//! works once, for the principal and call it was made for, and in the process that holds the call.

use crate::gateway::{
    api::{CallReply, ClientPort, StateSeal},
    decided::AdmitError,
    refusal::Refusal,
    request_state::Opened,
    suspend::{
        client_handle::{ClientHandle, Question, Questions},
        spawn_until,
    },
};
use crate::{
    clock::{Clock, IdSource},
    evidence::lost,
    model::{AgentId, CallId, Outcome, RpcError, code},
    store::{Settlement, Store},
};
use futures::{FutureExt as _, future::BoxFuture};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use std::{
    collections::HashMap,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{runtime::Handle, task::JoinHandle};
use tokio_util::sync::{CancellationToken, DropGuard};

/// How long a client may take to come back.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5 * 60);
/// Parked calls at a time. They hold no slot of their upstreams.
const MOST: usize = 1024;
const MOST_PER_AGENT: usize = 64;

/// What comes of a call's work; none where it panicked.
type Ended = Option<Result<CallReply, AdmitError>>;

/// The work of a call, from admission to settlement. Whoever waits for it drives it, without a task of its own; where
/// nobody waits any more it becomes a task, so that whatever was admitted is settled.
pub(crate) struct Work(Place);

enum Place {
    Here(BoxFuture<'static, Ended>),
    Elsewhere(JoinHandle<Ended>),
    Over,
}

impl Work {
    /// Begins when it is polled.
    pub(crate) fn new(work: impl Future<Output = Result<CallReply, AdmitError>> + Send + 'static) -> Self {
        // What a panic leaves half done is this call's alone.
        Self(Place::Here(Box::pin(AssertUnwindSafe(work).catch_unwind().map(Result::ok))))
    }

    /// Goes on whether or not anybody looks.
    fn let_go(&mut self) {
        self.0 = match std::mem::replace(&mut self.0, Place::Over) {
            // Without a runtime the process is ending, and the call is settled as unknown by the next.
            Place::Here(work) => {
                Handle::try_current().map_or(Place::Over, |on| Place::Elsewhere(on.spawn(work)))
            }
            other => other,
        };
    }
}

impl Future for Work {
    type Output = Ended;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Ended> {
        let polled = match &mut self.0 {
            Place::Here(work) => work.as_mut().poll(cx),
            Place::Elsewhere(task) => Pin::new(task).poll(cx).map(|ended| ended.ok().flatten()),
            Place::Over => Poll::Ready(None),
        };
        if polled.is_ready() {
            self.0 = Place::Over;
        }
        polled
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.let_go();
    }
}

/// A dispatched call, and whoever waits for it.
pub(crate) struct Waiting {
    pub(crate) agent: AgentId,
    pub(crate) call_id: CallId,
    /// What its handles are bound to.
    pub(crate) bound: Arc<[u8]>,
    pub(crate) work: Work,
    pub(crate) questions: Questions,
    pub(crate) client_handle: Arc<ClientHandle>,
    /// Cancels the call where nobody waits for it any more.
    _present: DropGuard,
    asked: Vec<(String, Question)>,
    numbered: usize,
}

impl Waiting {
    pub(crate) fn new(
        agent: AgentId,
        call_id: CallId,
        bound: Arc<[u8]>,
        work: Work,
        (client_handle, questions): (Arc<ClientHandle>, Questions),
        present: DropGuard,
    ) -> Self {
        Self {
            agent,
            call_id,
            bound,
            work,
            questions,
            client_handle,
            _present: present,
            asked: Vec::new(),
            numbered: 0,
        }
    }

    fn take_in(&mut self, questions: Vec<Question>) {
        for question in questions {
            self.numbered += 1;
            let free = |name: &String| !self.asked.iter().any(|(other, _)| other == name);
            let name = question.name.clone().filter(free);
            self.asked
                .push((name.unwrap_or_else(|| format!("upstream_question_{}", self.numbered)), question));
        }
    }

    /// Hands over the answers; what was not answered stays asked.
    fn answer(&mut self, mut responses: Map<String, Value>) {
        for (name, question) in std::mem::take(&mut self.asked) {
            match responses.shift_remove(&name) {
                // Whoever asked may have given up meanwhile.
                Some(answer) => drop(question.answer.send(Ok(answer))),
                None => self.asked.push((name, question)),
            }
        }
    }

    fn requests(&self) -> Value {
        let requests = self.asked.iter().map(|(name, question)| {
            (name.clone(), json!({"method": question.method, "params": question.params}))
        });
        Value::Object(requests.collect())
    }
}

/// The calls whose clients have been asked and are not back yet.
pub(crate) struct Parking {
    calls: Calls,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
    seal: Arc<dyn StateSeal>,
    stop: CancellationToken,
}

/// Their places.
#[derive(Default)]
struct Calls(Mutex<HashMap<String, Waiting>>);

impl Calls {
    /// Keeps a call, unless its agent has too many. Where all places are taken, the agent with the most of them gives up the
    /// call that has waited longest. Ids grow with time.
    fn put(&self, id: String, waiting: Waiting) -> Result<(), &'static str> {
        let mut calls = self.0.lock();
        let own = calls.values().filter(|w| w.agent == waiting.agent).count();
        if own >= MOST_PER_AGENT {
            return Err("too many calls of this agent wait for its clients");
        }
        let mut gone = None;
        if calls.len() >= MOST {
            let mut of_agents: HashMap<&AgentId, (usize, &String)> = HashMap::new();
            for (id, other) in &*calls {
                let (count, oldest) = of_agents.entry(&other.agent).or_insert((0, id));
                *count += 1;
                *oldest = (*oldest).min(id);
            }
            let most = of_agents.into_values().max_by_key(|(count, _)| *count);
            let Some((_, oldest)) = most.filter(|(count, _)| *count > own + 1) else {
                return Err("too many calls wait for their clients");
            };
            let oldest = oldest.clone();
            gone = calls.remove(&oldest);
        }
        calls.insert(id, waiting);
        drop(calls);
        // It is cancelled.
        drop(gone);
        Ok(())
    }

    fn take(&self, id: &str) -> Option<Waiting> {
        self.0.lock().remove(id)
    }

    fn clear(&self) {
        let all = std::mem::take(&mut *self.0.lock());
        drop(all);
    }
}

impl Parking {
    pub(crate) fn new(
        store: &Arc<dyn Store>,
        clock: &Arc<dyn Clock>,
        ids: &Arc<dyn IdSource>,
        seal: &Arc<dyn StateSeal>,
        stop: &CancellationToken,
    ) -> Self {
        let (store, clock, ids) = (store.clone(), clock.clone(), ids.clone());
        Self { calls: Calls::default(), store, clock, ids, seal: seal.clone(), stop: stop.clone() }
    }

    /// Gives up all calls that wait.
    pub(crate) fn clear(&self) {
        self.calls.clear();
    }

    /// Waits for a dispatched call: for its end, or for a question that its client must be asked.
    pub(crate) async fn attend(self: &Arc<Self>, mut waiting: Waiting) -> Result<CallReply, AdmitError> {
        loop {
            waiting.asked.retain(|(_, question)| !question.answer.is_closed());
            if !waiting.asked.is_empty() {
                return Ok(self.park(waiting));
            }
            tokio::select! {
                biased;
                ended = &mut waiting.work => return match ended {
                    Some(ended) => ended,
                    None => {
                        // A panic's own text may quote what it was given: it is not told.
                        tracing::error!("a call's work failed");
                        let (agent, call_id) = (waiting.agent.clone(), waiting.call_id.clone());
                        self.settle_lost(agent, call_id).await;
                        let reason = "the gateway failed inside; the call's outcome is unknown";
                        Err(AdmitError::Refused(Box::new(Refusal::deny("internal", reason))))
                    }
                },
                questions = waiting.questions.next() => waiting.take_in(questions),
            }
        }
    }

    /// Settles a call whose work failed; where it was never admitted there is nothing to settle, and the store says so.
    async fn settle_lost(&self, agent: AgentId, call_id: CallId) {
        let event = lost(&agent, &call_id, self.clock.now());
        let outcome = Outcome::Unknown;
        let settlement = Settlement { call_id, event, tokens: None, cost: None, outcome, learned: None };
        // Queued at once; where the database fails it is tried again, and the agent does not wait for that.
        drop(self.store.settle(settlement));
    }

    fn park(self: &Arc<Self>, mut waiting: Waiting) -> CallReply {
        waiting.work.let_go();
        let id = self.ids.uuid();
        let requests = waiting.requests();
        let failed = |why: &str| Err(RpcError::new(code::INTERNAL_ERROR, why));
        let Ok(sealed) = Opened::Parked(id.clone()).seal(&*self.seal, &waiting.bound, PATIENCE) else {
            return failed("the question could not be sealed");
        };
        if self.stop.is_cancelled() {
            return failed("the gateway is shutting down");
        }
        if let Err(why) = self.calls.put(id.clone(), waiting) {
            return failed(why);
        }
        let parking = self.clone();
        spawn_until(&self.stop, async move {
            tokio::time::sleep(PATIENCE).await;
            drop(parking.calls.take(&id));
        });
        Ok(json!({"resultType": "input_required", "inputRequests": requests, "requestState": sealed}))
    }

    /// The retry: hands over the answers and waits on.
    pub(crate) async fn resume(
        self: &Arc<Self>,
        id: &str,
        bound: &[u8],
        client: Arc<dyn ClientPort>,
        responses: Option<Map<String, Value>>,
    ) -> CallReply {
        let mut waiting = self.calls.take(id).filter(|waiting| *waiting.bound == *bound).ok_or_else(|| {
            let text = "requestState belongs to a call that has ended, was answered already, or is held by another \
                        gateway process: make the call again without it";
            RpcError::new(code::INVALID_PARAMS, text)
        })?;
        *waiting.client_handle.client.lock() = client;
        waiting.answer(responses.unwrap_or_default());
        self.attend(waiting).await.unwrap_or_else(|_| {
            // Admission is behind it: only a task that failed is left.
            Err(RpcError::new(
                code::INTERNAL_ERROR,
                "the gateway failed inside; the call's outcome is unknown",
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{gateway::suspend::client_handle::Answering, upstream::Era};

    struct Client;

    impl ClientPort for Client {
        fn era(&self) -> Era {
            Era::Modern
        }
        fn capabilities(&self) -> &Value {
            &Value::Null
        }
        fn wants_progress(&self) -> bool {
            false
        }
        fn log_level(&self) -> Option<String> {
            None
        }
        fn notify(&self, _: &str, _: Value) {}
        fn ask(&self, _: String, _: Value) -> Answering {
            unreachable!("a modern client is asked in results")
        }
    }

    fn waiting(agent: &str) -> (Waiting, CancellationToken) {
        let gone = CancellationToken::new();
        let work = Work::new(std::future::pending());
        let handles = ClientHandle::new(Arc::new(Client));
        (
            Waiting::new(
                agent.into(),
                "call".into(),
                b"bound".as_slice().into(),
                work,
                handles,
                gone.clone().drop_guard(),
            ),
            gone,
        )
    }

    fn question(name: Option<&str>) -> (Option<String>, String, Value) {
        (name.map(str::to_owned), "elicitation/create".to_owned(), json!({"message": "?"}))
    }

    #[tokio::test]
    async fn what_is_not_answered_stays_asked() {
        let (mut waiting, _gone) = waiting("a");
        let mut answers = waiting.client_handle.ask(vec![question(Some("name")), question(None)]);
        let asked = waiting.questions.next().await;
        waiting.take_in(asked);
        let same_name = waiting.client_handle.ask(vec![question(Some("name"))]);
        let asked = waiting.questions.next().await;
        waiting.take_in(asked);
        let names: Vec<String> = waiting.asked.iter().map(|(name, _)| name.clone()).collect();
        assert_eq!(names, ["name", "upstream_question_2", "upstream_question_3"]);
        waiting.answer(Map::from_iter([
            ("name".to_owned(), json!({"action": "accept"})),
            ("x".to_owned(), json!(1)),
        ]));
        assert_eq!(waiting.requests().as_object().unwrap().len(), 2);
        assert_eq!(answers.remove(0).await, Ok(json!({"action": "accept"})));
        drop(same_name);
        drop(waiting);
        assert!(answers.remove(0).await.is_err(), "silence is no answer");
    }

    /// Who does not come back has gone away.
    #[tokio::test]
    async fn giving_up_a_parked_call_cancels_it() {
        let calls = Calls::default();
        let (one, gone) = waiting("a");
        calls.put("1".to_owned(), one).unwrap();
        assert!(!gone.is_cancelled());
        drop(calls.take("1"));
        assert!(gone.is_cancelled());
        assert!(calls.take("1").is_none(), "a handle works once");
        let (two, gone) = waiting("a");
        calls.put("2".to_owned(), two).unwrap();
        calls.clear();
        assert!(gone.is_cancelled());
    }

    #[tokio::test]
    async fn one_agent_cannot_take_all_places() {
        let calls = Calls::default();
        for id in 0..MOST_PER_AGENT {
            calls.put(id.to_string(), waiting("a").0).unwrap();
        }
        let (over, gone) = waiting("a");
        assert!(calls.put("over".to_owned(), over).is_err());
        assert!(gone.is_cancelled());
        assert!(calls.put("other".to_owned(), waiting("b").0).is_ok());
    }

    /// I12: however many agents park their calls, another one has a place, and those with the most pay for it.
    #[tokio::test]
    async fn all_places_taken_are_shared() {
        let calls = Calls::default();
        let mut gone = Vec::new();
        for number in 0..MOST {
            let agent = number / MOST_PER_AGENT;
            let (one, token) = waiting(&format!("a{agent}"));
            calls.put(format!("{number:05}"), one).unwrap();
            gone.push(token);
        }
        calls.put("90000".to_owned(), waiting("quiet").0).unwrap();
        let cancelled: Vec<usize> = (0..MOST).filter(|number| gone[*number].is_cancelled()).collect();
        assert_eq!(cancelled.len(), 1);
        assert_eq!(cancelled[0] % MOST_PER_AGENT, 0, "the one that has waited longest");
        assert_eq!(calls.0.lock().len(), MOST);
        assert!(calls.take("90000").is_some());
    }
}
