//! The client's side of one request: what may be told and asked before the answer, in order and within bounds.

use super::{
    conversation::{Cancel, Conversation},
    level::Level,
    message,
};
use crate::{
    gateway::ClientPort,
    model::{RpcError, code},
    upstream::Era,
};
use futures::{future::BoxFuture, task::AtomicWaker};
use parking_lot::Mutex;
use serde_json::{Map, Value};
use std::{
    collections::VecDeque,
    fmt,
    future::poll_fn,
    pin::pin,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
};
use tokio::sync::Notify;

/// Notifications beyond these are dropped: a client that reads too slowly loses progress, not the result.
const MAX_QUEUED: usize = 256;
const MAX_QUEUED_BYTES: usize = 1 << 20;

static NOTHING: LazyLock<Arc<Value>> = LazyLock::new(|| Arc::new(Value::Object(Map::new())));

/// What goes to a client before the answer. One reader, any number of writers.
#[derive(Debug)]
pub(crate) struct Outbox {
    state: Mutex<Queue>,
    /// Nobody reads the request's stream just now; who did can come back.
    away: AtomicBool,
    moved: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    messages: VecDeque<Vec<u8>>,
    bytes: usize,
    waker: Option<Waker>,
    closed: bool,
}

impl Outbox {
    /// Open, or closed from the start where the client takes nothing but the answer.
    pub(crate) fn new(open: bool) -> Arc<Self> {
        let state = Mutex::new(Queue { closed: !open, ..Queue::default() });
        Arc::new(Self { state, away: AtomicBool::new(false), moved: Notify::new() })
    }

    /// The reader of the request's stream has gone, or is back.
    pub(crate) fn set_away(&self, away: bool) {
        self.away.store(away, Ordering::Release);
        self.moved.notify_waiters();
    }

    fn is_away(&self) -> bool {
        self.away.load(Ordering::Acquire)
    }

    /// Waits until the reader has gone, or is back.
    pub(crate) async fn until_away(&self, away: bool) {
        let mut moved = pin!(self.moved.notified());
        loop {
            moved.as_mut().enable();
            if self.is_away() == away {
                return;
            }
            moved.as_mut().await;
            moved.set(self.moved.notified());
        }
    }

    fn is_open(&self) -> bool {
        !self.state.lock().closed
    }

    /// Whether it was taken; not where it is closed or full.
    fn push(&self, message: Vec<u8>) -> bool {
        let mut state = self.state.lock();
        if state.closed || state.messages.len() >= MAX_QUEUED || state.bytes >= MAX_QUEUED_BYTES {
            return false;
        }
        state.bytes += message.len();
        state.messages.push_back(message);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        true
    }

    /// The next message, if there is one now.
    pub(crate) fn take(&self) -> Option<Vec<u8>> {
        let mut state = self.state.lock();
        let message = state.messages.pop_front()?;
        state.bytes = state.bytes.saturating_sub(message.len());
        Some(message)
    }

    /// The next message; never ends by itself.
    pub(crate) fn poll_take(&self, cx: &mut Context<'_>) -> Poll<Vec<u8>> {
        let mut state = self.state.lock();
        match state.messages.pop_front() {
            Some(message) => {
                state.bytes = state.bytes.saturating_sub(message.len());
                Poll::Ready(message)
            }
            None => {
                state.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// What a request says about how it wants to be kept informed.
#[derive(Debug, Default)]
pub(crate) struct Wishes {
    /// `_meta.progressToken`.
    pub(crate) progress_token: Option<Value>,
    /// Modern era: `_meta["io.modelcontextprotocol/logLevel"]`.
    pub(crate) level: Option<Level>,
}

/// The token in a request's `_meta`; what is neither a string nor an integer is no token.
pub(crate) fn progress_token(meta: &Map<String, Value>) -> Option<Value> {
    meta.get("progressToken").filter(|token| token.is_string() || token.is_i64() || token.is_u64()).cloned()
}

/// One request's client.
pub(crate) struct Client {
    capabilities: Arc<Value>,
    wishes: Wishes,
    /// The last progress that was sent.
    progress: Mutex<f64>,
    outbox: Arc<Outbox>,
    /// Legacy era only.
    conversation: Option<Arc<Conversation>>,
    done: AtomicBool,
    cancelled: AtomicBool,
    canceller: AtomicWaker,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

impl Cancel for Client {
    fn cancel(&self) {
        self.finish();
        self.cancelled.store(true, Ordering::Release);
        self.canceller.wake();
    }
}

impl Client {
    /// Of a stateless request.
    pub(crate) fn modern(capabilities: Value, wishes: Wishes, outbox: Arc<Outbox>) -> Arc<Self> {
        Arc::new(Self::new(Arc::new(capabilities), wishes, outbox, None))
    }

    /// Of a request in a conversation. A client that takes no stream here cannot be asked anything, so nothing it
    /// declared counts.
    pub(crate) fn legacy(
        conversation: Arc<Conversation>,
        params: &Map<String, Value>,
        outbox: Arc<Outbox>,
    ) -> Arc<Self> {
        let capabilities =
            if outbox.is_open() { Arc::clone(&conversation.capabilities) } else { Arc::clone(&NOTHING) };
        let meta = params.get("_meta").and_then(Value::as_object);
        let wishes = Wishes { progress_token: meta.and_then(progress_token), level: None };
        Arc::new(Self::new(capabilities, wishes, outbox, Some(conversation)))
    }

    fn new(
        capabilities: Arc<Value>,
        wishes: Wishes,
        outbox: Arc<Outbox>,
        conversation: Option<Arc<Conversation>>,
    ) -> Self {
        Self {
            capabilities,
            wishes,
            progress: Mutex::new(f64::NEG_INFINITY),
            outbox,
            conversation,
            done: AtomicBool::new(false),
            cancelled: AtomicBool::new(false),
            canceller: AtomicWaker::new(),
        }
    }

    /// Waits for [`Cancel::cancel`].
    pub(crate) async fn until_cancelled(&self) {
        poll_fn(|cx| {
            self.canceller.register(cx.waker());
            if self.cancelled.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// The answer is there: nothing may come after it.
    pub(crate) fn finish(&self) {
        // Taken so that a notification that is being queued right now stands before the answer or not at all.
        let _ordering = self.progress.lock();
        self.done.store(true, Ordering::Release);
    }

    fn level(&self) -> Option<Level> {
        match &self.conversation {
            Some(conversation) => Some(conversation.level()),
            None => self.wishes.level,
        }
    }
}

/// The capability that a question needs.
fn needed_capability(method: &str) -> Option<&'static str> {
    match method {
        "elicitation/create" => Some("elicitation"),
        "sampling/createMessage" => Some("sampling"),
        "roots/list" => Some("roots"),
        _ => None,
    }
}

impl ClientPort for Client {
    fn era(&self) -> Era {
        if self.conversation.is_some() { Era::Legacy } else { Era::Modern }
    }

    fn capabilities(&self) -> &Value {
        &self.capabilities
    }

    fn wants_progress(&self) -> bool {
        self.wishes.progress_token.is_some() && self.outbox.is_open()
    }

    fn log_level(&self) -> Option<String> {
        self.level().map(|level| level.as_str().to_owned())
    }

    fn until_present(&self) -> Option<BoxFuture<'static, ()>> {
        let outbox = Arc::clone(&self.outbox);
        self.outbox
            .is_away()
            .then(|| -> BoxFuture<'static, ()> { Box::pin(async move { outbox.until_away(false).await }) })
    }

    fn notify(&self, method: &str, params: Value) {
        let mut last = self.progress.lock();
        if self.done.load(Ordering::Acquire) {
            return;
        }
        match method {
            "notifications/progress" => {
                let (Some(token), Value::Object(mut params)) = (&self.wishes.progress_token, params) else {
                    return;
                };
                let Some(progress) = params.get("progress").and_then(Value::as_f64) else { return };
                if progress.is_nan() || progress <= *last {
                    return;
                }
                params.insert("progressToken".to_owned(), token.clone());
                if self.outbox.push(message::notification(method, &params)) {
                    *last = progress;
                }
            }
            "notifications/message" => {
                let level = params.get("level").and_then(Value::as_str).and_then(Level::parse);
                let wanted = level.zip(self.level()).is_some_and(|(level, least)| level >= least);
                if wanted {
                    self.outbox.push(message::notification(method, &params));
                }
            }
            _ if self.conversation.is_some() => {
                self.outbox.push(message::notification(method, &params));
            }
            // A modern stream carries nothing else.
            _ => {}
        }
    }

    fn ask(&self, method: String, params: Value) -> BoxFuture<'static, Result<Value, RpcError>> {
        let refuse = |text: String| -> BoxFuture<'static, Result<Value, RpcError>> {
            let error = RpcError::new(code::METHOD_NOT_FOUND, text);
            Box::pin(async move { Err(error) })
        };
        let Some(conversation) = self.conversation.clone() else {
            return refuse("a client of 2026-07-28 is asked in the result, not by a request".to_owned());
        };
        if let Some(needed) = needed_capability(&method)
            && self.capabilities.get(needed).is_none_or(Value::is_null)
        {
            return refuse(format!("the client did not declare `{needed}`"));
        }
        let outbox = Arc::clone(&self.outbox);
        Box::pin(async move {
            let Some((id, answer)) = conversation.expect_answer() else {
                return Err(RpcError::new(code::INTERNAL_ERROR, "too many questions wait for this client"));
            };
            let question = Question { conversation, outbox, id };
            if !question.outbox.push(message::request(&message::Id::from_u64(id), &method, &params)) {
                return Err(RpcError::new(
                    code::INTERNAL_ERROR,
                    "the client's stream of this request is closed or full",
                ));
            }
            match answer.await {
                Ok(outcome) => {
                    // What is answered while nobody reads the request's stream counts once somebody does.
                    question.outbox.until_away(false).await;
                    outcome
                }
                Err(_) => Err(RpcError::new(code::INTERNAL_ERROR, "the client went away before it answered")),
            }
        })
    }
}

/// A question the client has not yet answered. Dropped before that, the client is told to take it off the screen.
struct Question {
    conversation: Arc<Conversation>,
    outbox: Arc<Outbox>,
    id: u64,
}

impl Drop for Question {
    fn drop(&mut self) {
        if self.conversation.forget_answer(self.id) {
            let params = serde_json::json!({ "requestId": self.id, "reason": "no longer needed" });
            self.outbox.push(message::notification("notifications/cancelled", &params));
        }
    }
}
