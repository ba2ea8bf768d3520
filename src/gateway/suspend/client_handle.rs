//! The client's side of a call in flight, and the questions that wait for it.

use crate::gateway::api::ClientPort;
use crate::model::{RpcError, code};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use serde_json::Value;
use std::sync::Arc;
use tokio::sync::{Notify, oneshot};

/// Batches of questions that may wait for one client.
const BACKLOG: usize = 16;

/// The client's side of a call in flight: the client whose request waits for it now, or waited last.
pub(crate) struct ClientHandle {
    pub(super) client: Mutex<Arc<dyn ClientPort>>,
    backlog: Mutex<Backlog>,
    asked: Notify,
}

/// What has been asked and not yet been looked at.
#[derive(Default)]
struct Backlog {
    batches: Vec<Vec<Question>>,
    /// Nobody looks any more.
    closed: bool,
}

/// Where the questions come out; dropped, nobody can be asked.
pub(crate) struct Questions(Arc<ClientHandle>);

impl Questions {
    /// All that wait, as soon as any does.
    pub(super) async fn next(&self) -> Vec<Question> {
        loop {
            let batches = std::mem::take(&mut self.0.backlog.lock().batches);
            if !batches.is_empty() {
                return batches.into_iter().flatten().collect();
            }
            self.0.asked.notified().await;
        }
    }
}

impl Drop for Questions {
    fn drop(&mut self) {
        let mut backlog = self.0.backlog.lock();
        let dropped = std::mem::replace(&mut *backlog, Backlog { batches: Vec::new(), closed: true });
        drop(backlog);
        drop(dropped);
    }
}

/// One question of an upstream.
pub(crate) struct Question {
    /// Its name among `inputRequests`, where the upstream gave one.
    pub(super) name: Option<String>,
    pub(super) method: String,
    pub(super) params: Value,
    pub(super) answer: oneshot::Sender<Result<Value, RpcError>>,
}

/// The future answer to a question.
pub(crate) type Answering = BoxFuture<'static, Result<Value, RpcError>>;

impl ClientHandle {
    /// With the client that made the call.
    pub(crate) fn new(client: Arc<dyn ClientPort>) -> (Arc<Self>, Questions) {
        let client_handle =
            Self { client: Mutex::new(client), backlog: Mutex::default(), asked: Notify::new() };
        let client_handle = Arc::new(client_handle);
        (client_handle.clone(), Questions(client_handle))
    }

    /// Whose request waits now.
    pub(crate) fn client(&self) -> Arc<dyn ClientPort> {
        self.client.lock().clone()
    }

    /// Puts questions, which then stand in one result together.
    pub(crate) fn ask(&self, questions: Vec<(Option<String>, String, Value)>) -> Vec<Answering> {
        let mut answers: Vec<Answering> = Vec::with_capacity(questions.len());
        let mut asked = Vec::with_capacity(questions.len());
        for (name, method, params) in questions {
            let (answer, answered) = oneshot::channel();
            asked.push(Question { name, method, params, answer });
            answers.push(Box::pin(async move {
                answered.await.unwrap_or_else(|_| {
                    Err(RpcError::new(code::INTERNAL_ERROR, "the client went away before it answered"))
                })
            }));
        }
        // Where it is full or nobody listens, the senders are dropped and every answer is that error.
        let mut backlog = self.backlog.lock();
        if !backlog.closed && backlog.batches.len() < BACKLOG {
            backlog.batches.push(asked);
            drop(backlog);
            self.asked.notify_one();
        }
        answers
    }
}
