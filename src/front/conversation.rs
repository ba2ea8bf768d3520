//! What a legacy connection remembers from initialize to its end: a session over HTTP, or the stdio process.

use super::{
    level::Level,
    message::{Id, Response},
    watches::Watches,
};
use crate::{
    model::{RpcError, code, weight::weight},
    telemetry::Session,
};
use parking_lot::Mutex;
use serde_json::{Map, Value};
use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
};
use tokio::sync::{Notify, oneshot};

/// The most questions that may wait for one client at a time.
const MAX_ASKS: usize = 64;
/// What a client's own description may cost in memory; a session is meant to stay below 30 kB.
const MAX_DESCRIPTION: usize = 16 * 1024;
/// What is told before the client sets a level.
const DEFAULT_LEVEL: Level = Level::Info;

/// The state of one legacy conversation.
#[derive(Debug)]
pub(crate) struct Conversation {
    /// The session's id.
    pub(crate) id: Arc<str>,
    /// The negotiated version.
    pub(crate) version: &'static str,
    /// What the client declared.
    pub(crate) capabilities: Arc<Value>,
    /// Requests that are not yet answered.
    pub(crate) in_flight: Arc<InFlight>,
    /// Resources it is told about.
    pub(crate) watches: Watches,
    level: AtomicU8,
    asks: Mutex<Asks>,
    asked: Notify,
    /// Measures how long it lasts.
    lasts: Mutex<Option<Session>>,
}

#[derive(Debug, Default)]
struct Asks {
    next: u64,
    waiting: HashMap<u64, oneshot::Sender<Result<Value, RpcError>>>,
}

/// What `initialize` says.
#[derive(Debug)]
pub(crate) struct Hello {
    /// The version that will be spoken.
    pub(crate) version: &'static str,
    /// `capabilities`.
    pub(crate) capabilities: Arc<Value>,
    /// `clientInfo`.
    pub(crate) client_info: Value,
}

impl Hello {
    /// Reads the params of `initialize`. A version that is not spoken here is answered with the newest that is.
    pub(crate) fn read(mut params: Map<String, Value>) -> Result<Self, RpcError> {
        let wrong = |text: &str| RpcError::new(code::INVALID_PARAMS, text);
        let Some(Value::String(asked)) = params.get("protocolVersion") else {
            return Err(wrong("initialize needs `protocolVersion`, a string"));
        };
        let [newest, ..] = super::LEGACY_VERSIONS;
        let version = super::LEGACY_VERSIONS.into_iter().find(|known| known == asked).unwrap_or(newest);
        let capabilities = match params.swap_remove("capabilities") {
            None | Some(Value::Null) => Value::Object(Map::new()),
            Some(capabilities) => capabilities,
        };
        let client_info = params.swap_remove("clientInfo").unwrap_or(Value::Null);
        if !capabilities.is_object() {
            return Err(wrong("`capabilities` must be an object"));
        }
        if weight(&capabilities, MAX_DESCRIPTION) + weight(&client_info, MAX_DESCRIPTION) > MAX_DESCRIPTION {
            return Err(wrong("`capabilities` and `clientInfo` are larger than a session may keep"));
        }
        Ok(Self { version, capabilities: Arc::new(capabilities), client_info })
    }
}

impl Conversation {
    /// Begins after initialize.
    pub(crate) fn new(id: Arc<str>, hello: &Hello, lasts: Option<Session>) -> Self {
        Self {
            id,
            version: hello.version,
            capabilities: Arc::clone(&hello.capabilities),
            in_flight: Arc::new(InFlight::default()),
            watches: Watches::default(),
            level: AtomicU8::new(DEFAULT_LEVEL as u8),
            asks: Mutex::new(Asks::default()),
            asked: Notify::new(),
            lasts: Mutex::new(lasts),
        }
    }

    /// The level the client set, or the default.
    pub(crate) fn level(&self) -> Level {
        Level::from_u8(self.level.load(Ordering::Relaxed)).unwrap_or(DEFAULT_LEVEL)
    }

    /// `logging/setLevel`.
    pub(crate) fn set_level(&self, level: Level) {
        self.level.store(level as u8, Ordering::Relaxed);
    }

    /// Makes room for an answer. None where too many wait already.
    pub(crate) fn expect_answer(&self) -> Option<(u64, oneshot::Receiver<Result<Value, RpcError>>)> {
        let mut asks = self.asks.lock();
        if asks.waiting.len() >= MAX_ASKS {
            return None;
        }
        asks.next += 1;
        let id = asks.next;
        let (tell, told) = oneshot::channel();
        asks.waiting.insert(id, tell);
        self.asked.notify_one();
        Some((id, told))
    }

    /// Whether a question waits for its answer.
    pub(crate) fn waits_for_answers(&self) -> bool {
        !self.asks.lock().waiting.is_empty()
    }

    /// Waits until another question is asked.
    pub(crate) async fn until_asked(&self) {
        self.asked.notified().await;
    }

    /// Nobody waits for this answer any more. Whether somebody did.
    pub(crate) fn forget_answer(&self, id: u64) -> bool {
        self.asks.lock().waiting.remove(&id).is_some()
    }

    /// Hands a client's answer to whoever asked in this conversation. An answer to nothing is dropped.
    pub(crate) fn answered(&self, response: Response) {
        let Id::Number(number) = &response.id else { return };
        let Some(id) = number.as_u64() else { return };
        let waiting = self.asks.lock().waiting.remove(&id);
        if let Some(tell) = waiting {
            // Whoever asked may have gone away in between, and then nobody needs the answer.
            drop(tell.send(response.outcome));
        }
    }

    /// Ends everything: requests are cancelled and questions fail.
    pub(crate) fn end(&self) {
        self.in_flight.cancel_all();
        self.asks.lock().waiting.clear();
        self.watches.clear();
        // A stream of it may be held for a while yet.
        drop(self.lasts.lock().take());
    }
}

/// Requests that are being answered, by id, so that exactly the named one can be cancelled.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    clients: Mutex<HashMap<Id, Arc<dyn Cancel>>>,
}

/// Whoever waits for the answer to a request.
pub(crate) trait Cancel: std::fmt::Debug + Send + Sync {
    /// The request was cancelled: nothing more may be told.
    fn cancel(&self);
}

impl InFlight {
    /// Notes a request until the returned value is dropped. An id that is in flight already is refused.
    pub(crate) fn enter(self: &Arc<Self>, id: &Id, client: Arc<dyn Cancel>) -> Result<Flying, RpcError> {
        match self.clients.lock().entry(id.clone()) {
            Entry::Occupied(_) => {
                Err(RpcError::new(code::INVALID_REQUEST, "a request with this `id` is still being answered"))
            }
            Entry::Vacant(slot) => {
                slot.insert(client);
                Ok(Flying { among: Arc::clone(self), id: id.clone() })
            }
        }
    }

    /// `notifications/cancelled`: only what the params name, if it is here.
    pub(crate) fn cancel(&self, mut params: Map<String, Value>) {
        let id = params.swap_remove("requestId").and_then(Id::read);
        let client = id.and_then(|id| self.clients.lock().get(&id).cloned());
        if let Some(client) = client {
            client.cancel();
        }
    }

    /// Cancels everything.
    pub(crate) fn cancel_all(&self) {
        for client in self.clients.lock().values() {
            client.cancel();
        }
    }
}

/// One request in flight.
#[derive(Debug)]
pub(crate) struct Flying {
    among: Arc<InFlight>,
    id: Id,
}

impl Drop for Flying {
    fn drop(&mut self) {
        self.among.clients.lock().remove(&self.id);
    }
}
