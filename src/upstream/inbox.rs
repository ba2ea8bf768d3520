//! What an upstream says of itself: to which call it belongs, and who answers it.

use super::{
    call::Call,
    company::Company,
    deps::Redact,
    limits::{Limits, Noise},
    measured::OwnRequests,
    refusal::Cause,
    types::{ResourceUpdate, UpstreamError},
    wire::{self, Message},
};
use crate::{
    model::{RpcError, UpstreamName, code},
    telemetry::Session,
};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use serde_json::{Map, Value};
use std::{collections::HashMap, sync::Arc};
use tokio::{
    sync::{Notify, Semaphore, broadcast, oneshot, watch},
    task::AbortHandle,
    time::Instant,
};

pub(super) type ServerResponse = Result<Value, UpstreamError>;

/// Answers to what an upstream asks of this client itself that may wait to be taken at a time.
const MOST_REPLIES: usize = 64;
/// Cancellations that may be under way at a time.
const MOST_SENDING: usize = 256;
/// Questions about one call that may be open at a time.
const MOST_ASKS: usize = 32;
/// Questions about one call in all.
const MOST_ASKED: usize = 1024;
/// The longest URI of a resource that is said to have changed.
const LONGEST_URI: usize = 8 << 10;
/// The longest id that a question may have; it stands in our answer.
const LONGEST_ID: usize = 1024;

/// What a line of the log about an upstream is taken to be long.
const LOG_LINE: usize = 300;

/// Takes our messages to one upstream.
pub(super) trait Link: Send + Sync {
    /// Sends one message that is not a request; failures show elsewhere.
    fn post(self: Arc<Self>, message: Vec<u8>) -> BoxFuture<'static, ()>;
}

/// What a connection tells the task that watches it.
#[derive(Debug)]
pub(super) struct Signals {
    /// A list changed.
    pub(super) changed: Notify,
    /// There is a new session: what the old one was asked to tell must be asked again, and its lists may have changed.
    pub(super) renewed: Notify,
    /// Why the connection ended, once it has.
    closed: watch::Sender<Option<Arc<Cause>>>,
    /// Resources that changed.
    pub(super) updates: broadcast::Sender<ResourceUpdate>,
    /// Measures how long its session lasts, where it has one.
    lasts: Mutex<Option<Session>>,
    /// Measures what is asked of it that no agent asked.
    pub(super) own: OwnRequests,
}

impl Signals {
    pub(super) fn new(updates: broadcast::Sender<ResourceUpdate>, own: OwnRequests) -> Self {
        Self {
            changed: Notify::new(),
            renewed: Notify::new(),
            closed: watch::Sender::new(None),
            updates,
            lasts: Mutex::default(),
            own,
        }
    }

    /// Its session stands from now on, where it has not ended meanwhile.
    pub(super) fn measure(&self, session: Session) {
        let mut lasts = self.lasts.lock();
        if self.closed_reason().is_none() {
            *lasts = Some(session);
        }
    }

    /// Another session stands in the place of one that is gone over there.
    pub(super) fn renew(&self) {
        let mut lasts = self.lasts.lock();
        if let Some(gone) = lasts.take() {
            *lasts = Some(gone.next());
            gone.lost();
        }
        drop(lasts);
        self.renewed.notify_one();
    }

    /// It ends as it should. The first reason stays.
    pub(super) fn end(&self) {
        self.set_closed("shut down".to_owned().into());
        drop(self.lasts.lock().take());
    }

    /// It is of no use any more. The first reason stays.
    pub(super) fn close(&self, cause: impl Into<Cause>) {
        self.set_closed(cause.into());
        if let Some(lost) = self.lasts.lock().take() {
            lost.lost();
        }
    }

    fn set_closed(&self, cause: Cause) {
        self.closed.send_if_modified(|closed| {
            let first = closed.is_none();
            if first {
                *closed = Some(cause.into());
            }
            first
        });
    }

    pub(super) fn closed_reason(&self) -> Option<Arc<Cause>> {
        self.closed.borrow().clone()
    }

    pub(super) async fn closed(&self) -> Arc<Cause> {
        let mut closed = self.closed.subscribe();
        let cause = closed.wait_for(Option::is_some).await.ok().and_then(|cause| cause.clone());
        cause.unwrap_or_else(|| Arc::new("the connection is gone".to_owned().into()))
    }
}

struct Entry {
    call: Arc<Call>,
    reply: Option<oneshot::Sender<ServerResponse>>,
    asks: Vec<(Value, AbortHandle)>,
    /// How many questions there have been.
    asked: usize,
}

impl Entry {
    fn new(call: &Arc<Call>, reply: Option<oneshot::Sender<ServerResponse>>) -> Self {
        Self { call: call.clone(), reply, asks: Vec::new(), asked: 0 }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        for (_, ask) in &self.asks {
            ask.abort();
        }
    }
}

/// The requests in flight on one connection, and the handling of all that is no answer.
pub(super) struct Inbox {
    pub(super) upstream: UpstreamName,
    pub(super) signals: Signals,
    pub(super) redact: Redact,
    entries: Mutex<HashMap<u64, Entry>>,
    company: Mutex<Company>,
    replies: Arc<Semaphore>,
    sending: Arc<Semaphore>,
    pub(super) limits: Arc<Limits>,
    /// What comes and answers nothing.
    pub(super) noise: Arc<Noise>,
}

impl Inbox {
    pub(super) fn new(upstream: UpstreamName, signals: Signals, redact: Redact, limits: Arc<Limits>) -> Self {
        let (entries, company) = (Mutex::new(HashMap::new()), Mutex::default());
        let (replies, sending) =
            (Arc::new(Semaphore::new(MOST_REPLIES)), Arc::new(Semaphore::new(MOST_SENDING)));
        let noise = Arc::new(Noise::new(limits.clone()));
        Self { upstream, signals, redact, entries, company, replies, sending, limits, noise }
    }

    /// A new session begins over there: what it says is about none of the calls before. To be said before it is used.
    pub(super) fn new_session(&self) {
        self.company.lock().renewed();
    }

    /// Whether a line about this upstream may be written to the log, and how many lines before it were left out.
    pub(super) fn may_log(&self) -> Option<u64> {
        self.limits.log.admits(LOG_LINE)
    }

    /// So many bytes came that are no message. An upstream that sends nothing else is given up.
    pub(super) fn junk(&self, bytes: usize) {
        self.bear(bytes, || "it keeps sending what is not a message".to_owned());
    }

    /// The same of what comes behind the bound of one message: it may be one, and would be too large.
    pub(super) fn endless(&self, bytes: usize, bound: usize) {
        self.bear(bytes, || {
            format!(
                "it sends a message that is larger than the {} KiB that are read of one, and does not end",
                bound >> 10
            )
        });
    }

    fn bear(&self, bytes: usize, reason: impl Fn() -> String) {
        if !self.noise.bears(bytes) {
            let reason = reason();
            self.signals.close(reason.clone());
            self.fail_all(&UpstreamError::Lost(reason));
        }
    }

    fn note(&self, call: &Call) {
        if call.from_agent {
            self.company.lock().began(&call.request.caller.agent);
        }
    }

    fn ended(&self, entry: Option<&Entry>) {
        if let Some(entry) = entry.filter(|entry| entry.call.from_agent) {
            self.company.lock().ended(&entry.call.request.caller.agent, Instant::now());
        }
    }

    /// Registers a request whose answer comes through the shared channel.
    pub(super) fn expect(&self, id: u64, call: &Arc<Call>) -> oneshot::Receiver<ServerResponse> {
        let (reply, answer) = oneshot::channel();
        self.note(call);
        self.entries.lock().insert(id, Entry::new(call, Some(reply)));
        answer
    }

    /// Registers a request whose answer comes on its own stream.
    pub(super) fn register(&self, id: u64, call: &Arc<Call>) {
        self.note(call);
        self.entries.lock().insert(id, Entry::new(call, None));
    }

    /// A request that is over without an answer to it: the upstream may still speak about it. Whether it was still there.
    pub(super) fn forget(&self, id: u64) -> bool {
        let entry = self.entries.lock().remove(&id);
        if let Some(entry) = entry.as_ref().filter(|entry| entry.call.from_agent) {
            self.company.lock().gave_up(&entry.call.request.caller.agent);
        }
        entry.is_some()
    }

    /// A request that was answered, or never came to be one.
    pub(super) fn done(&self, id: u64) {
        let entry = self.entries.lock().remove(&id);
        self.ended(entry.as_ref());
    }

    /// Hands an answer to its waiting call; an answer that nobody waits for any more is dropped. Whether somebody waited.
    pub(super) fn deliver(&self, id: u64, answer: ServerResponse) -> bool {
        let entry = self.entries.lock().remove(&id);
        self.ended(entry.as_ref());
        let reply = entry.and_then(|mut entry| entry.reply.take());
        let answers = reply.is_some_and(|reply| reply.send(answer).is_ok());
        if answers {
            self.noise.answered();
        }
        answers
    }

    /// The largest answer that the request in flight takes.
    pub(super) fn largest_answer(&self, id: u64, max_result: u64) -> Option<u64> {
        self.entries.lock().get(&id).map(|entry| entry.call.largest_answer(max_result))
    }

    /// The same where it may not be known which request it would have answered.
    pub(super) fn largest_of(&self, id: Option<u64>, max_result: u64) -> u64 {
        id.and_then(|id| self.largest_answer(id, max_result)).unwrap_or(max_result)
    }

    /// An event came that is no message.
    pub(super) fn unread(&self, reason: &str, bytes: usize) {
        if let Some(left_out) = self.may_log() {
            tracing::warn!(upstream = %self.upstream, reason, left_out, "an event that is not a message");
        }
        self.junk(bytes);
    }

    /// So many bytes came that cannot be read. The call that they answer, where there is one, ends at once instead of
    /// waiting for more. Whether there was one.
    pub(super) fn unreadable(&self, answers: Option<u64>, reason: String, bytes: usize) -> bool {
        let answered = answers.is_some_and(|id| self.deliver(id, Err(UpstreamError::Malformed(reason))));
        if !answered {
            self.junk(bytes);
        }
        answered
    }

    pub(super) fn fail_all(&self, error: &UpstreamError) {
        let ids: Vec<u64> = self.entries.lock().keys().copied().collect();
        for id in ids {
            self.deliver(id, Err(error.clone()));
        }
    }

    /// Everything but answers. `stream`: the request on whose own stream it came.
    pub(super) fn take(&self, link: &Arc<impl Link + 'static>, message: Message, stream: Option<u64>) {
        match message {
            Message::Response { .. } | Message::Unreadable { .. } => {}
            Message::Request { id, method, params } => {
                self.asked(link, id, method, params, stream);
            }
            Message::Notification { method, params } => self.notified(&method, params, stream),
        }
    }

    fn notified(&self, method: &str, mut params: Value, stream: Option<u64>) {
        match method {
            "notifications/tools/list_changed"
            | "notifications/prompts/list_changed"
            | "notifications/resources/list_changed" => self.signals.changed.notify_one(),
            "notifications/resources/updated" => {
                if let Some(Value::String(uri)) = params.get("uri")
                    && uri.len() <= LONGEST_URI
                {
                    let update = ResourceUpdate { upstream: self.upstream.clone(), uri: uri.as_str().into() };
                    // Nobody may be listening.
                    drop(self.signals.updates.send(update));
                }
            }
            "notifications/cancelled" => {
                if let Some(request) = params.get("requestId") {
                    self.abort_ask(request);
                }
            }
            "notifications/subscriptions/acknowledged" => {}
            "notifications/progress" => {
                let token = params.as_object_mut().and_then(|p| p.remove("progressToken"));
                let owner = wire::own_id(token.as_ref()).filter(|id| stream.is_none_or(|s| s == *id));
                let call = owner.and_then(|id| self.entries.lock().get(&id).map(|e| e.call.clone()));
                if let Some(call) = call.filter(|c| c.request.wants_progress) {
                    call.relay.notify(method, params);
                }
            }
            // One without a name that comes where several agents share may be about another's call that is over.
            _ if stream.is_none() && self.company.lock().has_several_agents() => {
                tracing::debug!(upstream = %self.upstream, "a notification belongs to no call that can be told");
            }
            _ => match self.owner(stream) {
                Ok((_, call)) if !self.is_doubtful(&call, stream) => call.relay.notify(method, params),
                Ok(_) | Err(_) => {}
            },
        }
    }

    /// Whether what came without a name, where this is the only call in flight, may be about another caller's call.
    fn is_doubtful(&self, call: &Call, stream: Option<u64>) -> bool {
        stream.is_none() && self.company.lock().is_doubtful(&call.request.caller.agent, Instant::now())
    }

    /// The call to which something without a name on it belongs: the one on whose stream it came, else the only
    /// one that is in flight. The error counts the candidates.
    fn owner(&self, stream: Option<u64>) -> Result<(u64, Arc<Call>), usize> {
        let entries = self.entries.lock();
        let found = |id: &u64, entry: &Entry| (*id, entry.call.clone());
        if let Some(id) = stream {
            let entry = entries.get(&id).filter(|entry| entry.call.from_agent);
            return entry.map(|entry| found(&id, entry)).ok_or(0);
        }
        let mut candidates = entries.iter().filter(|(_, entry)| entry.call.from_agent);
        match (candidates.next(), candidates.next()) {
            (Some((id, entry)), None) => Ok(found(id, entry)),
            (None, _) => Err(0),
            (Some(_), Some(_)) => Err(2 + candidates.count()),
        }
    }

    fn asked(
        &self,
        link: &Arc<impl Link + 'static>,
        id: Value,
        method: String,
        params: Value,
        stream: Option<u64>,
    ) {
        let length = match &id {
            Value::String(text) => text.len(),
            Value::Number(number) => number.as_str().len(),
            // No id of JSON-RPC.
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => usize::MAX,
        };
        if length > LONGEST_ID {
            tracing::debug!(upstream = %self.upstream, "a request without an id that can be answered");
            return;
        }
        let reply = |outcome: Result<Value, RpcError>| self.reply(link, wire::reply(&id, &outcome));
        let refuse = |error: RpcError| reply(Err(error));
        match method.as_str() {
            "ping" => reply(Ok(Value::Object(Map::new()))),
            "elicitation/create" | "sampling/createMessage" | "roots/list" => match self.owner(stream) {
                Ok((_, call)) if self.is_doubtful(&call, stream) => {
                    let text = "calls of several agents were made on this connection, and one that ended lately or was given \
                                up is not this one's: whose question this is cannot be told (isolation = \"agent\" keeps \
                                them apart)";
                    refuse(RpcError::new(code::INTERNAL_ERROR, text));
                }
                Ok((call_id, call)) => self.ask(link, call_id, &call, id, method, params),
                Err(0) => {
                    if stream.is_none() && method != "roots/list" {
                        self.company.lock().asked_late();
                    }
                    let text = "no call is in flight that this question could belong to";
                    refuse(RpcError::new(code::INTERNAL_ERROR, text));
                }
                Err(count) => refuse(RpcError::new(
                    code::INTERNAL_ERROR,
                    format!(
                        "{count} calls are in flight on this connection: whose question this is cannot be told"
                    ),
                )),
            },
            _ => refuse(RpcError::new(code::METHOD_NOT_FOUND, "this client does not know that method")),
        }
    }

    /// Sends what nobody waits for and what may be lost. Where too much of that is under way, it is.
    pub(super) fn spawn_sending(&self, sending: impl Future<Output = ()> + Send + 'static) {
        match self.sending.clone().try_acquire_owned() {
            Ok(place) => {
                tokio::spawn(async move {
                    sending.await;
                    drop(place);
                });
            }
            Err(_) => {
                tracing::debug!(upstream = %self.upstream, "a message is not sent: too many are under way")
            }
        }
    }

    /// Sends what nobody waits for. An upstream that asks and does not take the answers is given up.
    fn reply(&self, link: &Arc<impl Link + 'static>, message: Vec<u8>) {
        match self.replies.clone().try_acquire_owned() {
            Ok(place) => {
                let link = link.clone();
                tokio::spawn(async move {
                    link.post(message).await;
                    drop(place);
                });
            }
            Err(_) => self.signals.close("too many unanswered requests from this server".to_owned()),
        }
    }

    fn ask(
        &self,
        link: &Arc<impl Link + 'static>,
        call_id: u64,
        call: &Arc<Call>,
        id: Value,
        method: String,
        params: Value,
    ) {
        let open = self.entries.lock().get_mut(&call_id).map(|entry| {
            entry.asks.retain(|(_, ask)| !ask.is_finished());
            entry.asked += 1;
            (entry.asks.len(), entry.asked)
        });
        let too_many = match open {
            Some((open, _)) if open >= MOST_ASKS => {
                Some(format!("{MOST_ASKS} questions about this call are open"))
            }
            Some((_, asked)) if asked > MOST_ASKED => {
                Some(format!("more than {MOST_ASKED} questions about one call"))
            }
            Some(_) | None => None,
        };
        if let Some(text) = too_many {
            let error = RpcError::new(code::INTERNAL_ERROR, text);
            return self.reply(link, wire::reply(&id, &Err(error)));
        }
        // A person takes their time. What a model or the client itself answers takes the call's.
        let asking = (method == "elicitation/create").then(|| call.asking());
        let answer = call.relay.ask(method, params);
        let task = tokio::spawn({
            let (link, id, call) = (link.clone(), id.clone(), call.clone());
            async move {
                let outcome = answer.await;
                drop(asking);
                call.may_go_on().await;
                link.post(wire::reply(&id, &outcome)).await;
            }
        });
        let mut entries = self.entries.lock();
        match entries.get_mut(&call_id) {
            Some(entry) => entry.asks.push((id, task.abort_handle())),
            None => task.abort(),
        }
    }

    /// The upstream withdraws a question.
    fn abort_ask(&self, request: &Value) {
        for entry in self.entries.lock().values() {
            for (_, ask) in entry.asks.iter().filter(|(id, _)| id == request) {
                ask.abort();
            }
        }
    }
}
