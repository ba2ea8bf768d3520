//! What an upstream tells a client on the way, in its order: what brings labels that do not stand yet waits until they do, and
//! whatever comes behind it waits too.

use super::later::DecidedOn;
use crate::{
    model::{RpcError, code},
    policy::PolicySet,
    upstream::CallRelay,
};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use serde_json::Value;
use std::{
    collections::VecDeque,
    pin::pin,
    sync::{Arc, OnceLock},
};
use tokio::sync::Notify;

/// Notifications that wait at a time; what comes beyond is not told.
const MOST_WAITING: usize = 256;

/// One notification on its way.
pub(super) struct Notice {
    pub(super) method: String,
    pub(super) params: Value,
    /// What it was labelled with as it came in.
    pub(super) labels: Vec<Arc<str>>,
}

/// The notifications of one call.
#[derive(Default)]
pub(super) struct Notices {
    waiting: Mutex<Waiting>,
    idle: Notify,
}

#[derive(Default)]
struct Waiting {
    notices: VecDeque<Notice>,
    /// Somebody raises the labels of the first.
    working: bool,
}

impl Notices {
    /// Takes a notification: it is told at once where it may be. True where the caller is to see to those that wait, with
    /// [`Self::work`].
    pub(super) fn take(&self, notice: Notice, by: &DecidedOn, tell: impl FnOnce(Notice)) -> bool {
        let mut waiting = self.waiting.lock();
        if !waiting.working && by.labels.hold(&by.reach, &notice.labels) {
            tell(notice);
            return false;
        }
        if waiting.notices.len() < MOST_WAITING {
            waiting.notices.push_back(notice);
        }
        let begins = !waiting.working && !waiting.notices.is_empty();
        waiting.working |= begins;
        begins
    }

    /// Raises the labels of what waits, and tells it: what cannot be raised is not told.
    pub(super) async fn work(&self, (policies, by): (&PolicySet, &DecidedOn), tell: impl Fn(Notice)) {
        loop {
            let next = {
                let mut waiting = self.waiting.lock();
                let next = waiting.notices.pop_front();
                waiting.working = next.is_some();
                if next.is_none() {
                    self.idle.notify_waiters();
                }
                next
            };
            let Some(notice) = next else { return };
            if by.labels.let_through(policies, &by.reach, &notice.labels).await.is_ok() {
                tell(notice);
            }
        }
    }

    /// Waits until nothing waits.
    pub(super) async fn told(&self) {
        loop {
            // It listens before it looks.
            let mut idle = pin!(self.idle.notified());
            idle.as_mut().enable();
            if !self.waiting.lock().working {
                return;
            }
            idle.await;
        }
    }
}

/// Nobody: a request about a task has nothing to be told on the way, and nobody is asked. As what it was sent is kept.
#[derive(Default)]
pub(super) struct Mute(pub(super) OnceLock<(u64, Arc<str>)>);

impl CallRelay for Mute {
    fn sent_as(&self, id: u64, version: &Arc<str>) {
        self.0.get_or_init(|| (id, version.clone()));
    }

    fn notify(&self, _method: &str, _params: Value) {}

    fn ask(&self, method: String, _params: Value) -> BoxFuture<'static, Result<Value, RpcError>> {
        let shown: String = method.chars().take(64).collect();
        Box::pin(async move {
            Err(RpcError::new(code::METHOD_NOT_FOUND, format!("nobody is there to answer `{shown}`")))
        })
    }
}
