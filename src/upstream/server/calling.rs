//! One call: its slot, its time limit, its attempts, and the connection on which it is made.

use super::{LONGEST_REASON, Server};
use crate::{
    config::{Isolation, UpstreamTransport},
    model::{AgentId, RetryPlan, RpcError, code},
    upstream::{
        breaker::{self, Leave},
        call::Call,
        connect::{self, Connection},
        inbox::ServerResponse,
        pool,
        refusal::{Cause, Failure},
        slots::{NoSlot, Slot},
        types::{Era, UpstreamError},
    },
};
use std::{
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

/// How long a fresh session's own stream is waited for.
const STREAM_WAIT: Duration = Duration::from_secs(1);
/// The longest `Retry-After` that is waited for within a call.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(10);

impl Server {
    /// The whole of one call. Its time limit begins when it has a slot.
    pub(super) async fn timed(&self, call: &Arc<Call>) -> ServerResponse {
        let _under_way = self.calls.token();
        let limit = call.request.timeout.min(self.config.timeout);
        let slot = self.slot(&call.request.caller.agent).await?;
        let expired = call.expired(limit, slot);
        tokio::pin!(expired);
        let mut attempt = 1;
        // What an earlier attempt left open: something was sent, and nobody knows what came of it.
        let mut lost: Option<UpstreamError> = None;
        loop {
            let leave = match self.breaker.enter(&call.request.caller.agent) {
                Ok(leave) => leave,
                Err(left) => return Err(lost.unwrap_or_else(|| self.keeps_failing(left))),
            };
            let outcome = self.try_once(call, leave, limit, expired.as_mut()).await?;
            let again = match &outcome {
                Err(UpstreamError::NotSent(_)) => true,
                Err(UpstreamError::Lost(_)) => call.request.retry == RetryPlan::Safe,
                Err(UpstreamError::Refused(refusal)) => {
                    call.request.retry == RetryPlan::Safe && refusal.is_for_now()
                }
                Ok(_)
                | Err(
                    UpstreamError::Rpc(_)
                    | UpstreamError::TimedOut(_)
                    | UpstreamError::TooLarge(_)
                    | UpstreamError::Malformed(_),
                ) => false,
            };
            let asked = match &outcome {
                Err(UpstreamError::Refused(refusal)) => refusal.retry_after.unwrap_or_default(),
                Ok(_) | Err(_) => Duration::ZERO,
            };
            let outcome = match (outcome, lost.take()) {
                (Err(UpstreamError::NotSent(_)), Some(before)) => Err(before),
                (outcome, _) => outcome,
            };
            // Longer than that the caller does not wait here with its slot: it is told.
            let again = again && asked <= LONGEST_RETRY_AFTER;
            if !again || attempt >= self.config.retry.attempts || self.stop.is_cancelled() {
                return outcome;
            }
            if let Err(error @ (UpstreamError::Lost(_) | UpstreamError::Refused(_))) = &outcome {
                call.lose();
                lost = Some(error.clone());
            }
            let backoff = self.config.retry.backoff.saturating_mul(1 << (attempt - 1).min(16));
            tokio::select! {
                () = tokio::time::sleep(backoff.max(asked)) => {}
                () = &mut expired => return outcome,
            }
            attempt += 1;
        }
    }

    /// One attempt, and what it says to the breaker. The error ends the call, whatever else could be tried.
    async fn try_once(
        &self,
        call: &Arc<Call>,
        leave: Leave<'_>,
        limit: Duration,
        mut expired: Pin<&mut (impl Future<Output = ()> + Send)>,
    ) -> Result<ServerResponse, UpstreamError> {
        let name = &self.config.name;
        let mut leave = Some(leave);
        let once = self.once(call);
        tokio::pin!(once);
        loop {
            let tries = leave.as_ref().is_some_and(Leave::tries);
            let (answer, verdict) = tokio::select! {
                biased;
                (outcome, verdict) = &mut once => (Ok(outcome), verdict),
                () = &mut expired => {
                    // A caller whose own limit is shorter says nothing of the upstream to others.
                    let verdict = (limit >= self.config.timeout).then_some(breaker::Health::Failed);
                    let error = match call.sent() {
                        true => UpstreamError::TimedOut(limit),
                        false => UpstreamError::NotSent(format!("no connection to `{name}` in time")),
                    };
                    (Err(error), verdict)
                }
                () = self.stop.cancelled() => {
                    let reason = format!("`{name}` was shut down");
                    let error = match call.sent() {
                        true => UpstreamError::Lost(reason),
                        false => UpstreamError::NotSent(reason),
                    };
                    (Err(error), None)
                }
                // A question is a sign of life, and others do not wait until a person has answered it.
                () = call.somebody_is_asked(), if tries => {
                    if let Some(leave) = leave.take() {
                        leave.report(breaker::Health::Answered);
                    }
                    continue;
                }
            };
            if let (Some(leave), Some(verdict)) = (leave, verdict) {
                leave.report(verdict);
            }
            return answer;
        }
    }

    /// Waits for this agent's turn. The wait is no time of the upstream's, and says nothing of it.
    async fn slot(&self, agent: &AgentId) -> Result<Slot, UpstreamError> {
        let name = &self.config.name;
        let busy = |why: String| UpstreamError::NotSent(format!("`{name}` is busy: {why}; try again later"));
        let most = self.deps.timing.slot_wait;
        match tokio::time::timeout(most, self.slots.acquire(agent)).await {
            Ok(Ok(slot)) => Ok(slot),
            Ok(Err(NoSlot::Full)) => Err(busy("too many calls wait for a slot".to_owned())),
            Ok(Err(NoSlot::Closed)) => Err(self.not_connected()),
            Err(_) => Err(busy(format!("no slot within {}", humantime::format_duration(most)))),
        }
    }

    fn keeps_failing(&self, left: Duration) -> UpstreamError {
        let left = humantime::format_duration(Duration::from_secs(left.as_secs()));
        UpstreamError::NotSent(format!("`{}` keeps failing: not asked for another {left}", self.config.name))
    }

    /// One attempt, and what it says of the upstream, where it says something.
    async fn once(&self, call: &Arc<Call>) -> (ServerResponse, Option<breaker::Health>) {
        call.set_sent(false);
        let era = self.era_for(call);
        let outcome = match (self.config.isolation, era) {
            (Isolation::Shared, None) => match self.main.load_full() {
                Some(connection) => self.request(&connection, call).await,
                None => return (Err(self.not_connected()), None),
            },
            (Isolation::Shared | Isolation::Agent | Isolation::Session, _) => {
                let key = era.unwrap_or(Era::Modern);
                let Some((lease, evicted)) = self.own.lease(self.config.isolation, &call.request.caller, key)
                else {
                    let reason = format!(
                        "all connections to `{}` that this agent may have are in use",
                        self.config.name
                    );
                    return (Err(UpstreamError::NotSent(reason)), None);
                };
                if let Some(slot) = evicted {
                    tokio::spawn(async move { slot.close().await });
                }
                match Box::pin(self.own_connection(&lease.slot, call)).await {
                    Ok(connection) => self.request(&connection, call).await,
                    // It lists versions that it does not speak after all: bridged from now on, until it connects again.
                    Err(failure) if era.is_some() => {
                        self.warn(&failure.cause, "the other era is refused");
                        self.speaks_both.store(false, Ordering::Relaxed);
                        drop(lease);
                        return Box::pin(self.once(call)).await;
                    }
                    Err(failure) => {
                        self.warn(&failure.cause, "a connection of a caller's own cannot be made");
                        let reason = format!("`{}` cannot be connected", self.config.name);
                        return (Err(UpstreamError::NotSent(reason)), Some(breaker::Health::Failed));
                    }
                }
            }
        };
        let verdict = breaker::Health::of(&outcome);
        (outcome, Some(verdict))
    }

    fn warn(&self, cause: &Cause, what: &str) {
        let Cause { reason, said } = cause.shown(&self.deps.redact, LONGEST_REASON);
        if let Some(left_out) = self.limits.log.admits(reason.len() + said.len()) {
            tracing::warn!(upstream = %self.config.name, reason, left_out, "{what}");
            tracing::debug!(upstream = %self.config.name, said, "what it said");
        }
    }

    /// The era to be spoken where it is not the one that was found out: a caller of the legacy era meets an upstream
    /// that speaks both in its own, so that nothing needs a bridge. One child that all share keeps its one era: on its
    /// single stream nobody could tell whose question a question is.
    fn era_for(&self, call: &Call) -> Option<Era> {
        let alone = match (&self.config.transport, self.config.isolation) {
            (UpstreamTransport::Stdio { .. }, Isolation::Shared) => false,
            (UpstreamTransport::Stdio { .. }, Isolation::Agent | Isolation::Session)
            | (UpstreamTransport::Http { .. }, Isolation::Shared | Isolation::Agent | Isolation::Session) => {
                true
            }
        };
        let mirrored = alone && call.request.era == Era::Legacy && self.speaks_both.load(Ordering::Relaxed);
        mirrored.then_some(Era::Legacy)
    }

    async fn own_connection(&self, slot: &pool::Slot, call: &Call) -> Result<Arc<Connection>, Failure> {
        let mut place = slot.connection.lock().await;
        if let Some(connection) = place.as_ref().filter(|c| c.signals().closed_reason().is_none()) {
            return Ok(connection.clone());
        }
        let declared = match self.config.isolation {
            Isolation::Session => connect::declared_for(self.config.asks, &call.request.client_capabilities),
            Isolation::Agent | Isolation::Shared => connect::declared_to_all(self.config.asks),
        };
        let hint = self.era_for(call).or(*self.era.lock());
        let (connection, hello) = connect::connect(&self.wiring(declared)?, hint).await?;
        let connection = Arc::new(connection);
        if hello.era == Era::Legacy {
            // A modern upstream tells its changes on the shared connection.
            // The first call may be answered with logs and questions on that stream.
            if let Some(stands) = connection.listen(&hello, self.watching.uris()) {
                drop(tokio::time::timeout(STREAM_WAIT, stands).await);
            }
        }
        *place = Some(connection.clone());
        Ok(connection)
    }

    /// Makes the request on a connection; an error may be about the connection as a whole.
    async fn request(&self, connection: &Connection, call: &Arc<Call>) -> ServerResponse {
        match connection.request(call).await {
            Ok(result) if result.is_object() => Ok(result),
            Ok(_) => Err(UpstreamError::Malformed("a result that is not an object".to_owned())),
            Err(error) => {
                Box::pin(self.react_to(connection, &error)).await;
                Err(error)
            }
        }
    }

    /// What an error may say of the connection as a whole. It came for one call, so others do not pay for it: what it
    /// says is looked into first.
    async fn react_to(&self, connection: &Connection, error: &UpstreamError) {
        let UpstreamError::Rpc(RpcError { code, .. }) = error else { return };
        match *code {
            // The tool's header annotations changed.
            code::HEADER_MISMATCH if connection.era() == Some(Era::Modern) => {
                connection.signals().changed.notify_one();
            }
            code::UNSUPPORTED_VERSION
                if connection.era() == Some(Era::Modern)
                    && !connection.is_still_modern(self.deps.timing.probe).await =>
            {
                *self.era.lock() = None;
                connection.signals().close("it no longer speaks the version it spoke".to_owned());
            }
            _ => {}
        }
    }
}
