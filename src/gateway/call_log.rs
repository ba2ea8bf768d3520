//! One line of the log for each call that was decided. A call leaves a few words here and goes on: writing them as text, and
//! waiting for whoever reads the log, is nothing that a call should pay for.

use crate::{
    decision::Verdict,
    model::{AgentId, Decision, EventDecision, EventDraft, Outcome, PolicyId, RuleId, TraceId},
};
use parking_lot::Mutex;
use std::{sync::Arc, time::Duration};
use tokio::sync::Notify;
use tracing::level_filters::LevelFilter;

/// Lines that wait; what is beyond is counted.
const MOST: usize = 8_192;
/// How long lines are gathered, so that not each of them wakes a thread.
const GATHER: Duration = Duration::from_millis(10);
/// Lines that are written before others may run.
const AT_ONCE: usize = 64;

/// What is said of one call. No argument is among it.
struct Line {
    trace: Option<TraceId>,
    agent: Option<AgentId>,
    tool: Option<Arc<str>>,
    decision: Option<EventDecision>,
    policy: Option<PolicyId>,
    rule: Option<RuleId>,
    outcome: Option<Outcome>,
    took: Duration,
}

impl Line {
    fn write(&self) {
        let Self { trace, agent, tool, decision, policy, rule, outcome, took } = self;
        tracing::info!(
            trace.id = trace.map(tracing::field::display),
            agent.id = agent.as_ref().map(|agent| agent.as_str()),
            tool = tool.as_deref().map(crate::redaction::visible).as_deref(),
            decision = decision.map(EventDecision::as_str),
            policy.id = policy.as_ref().map(|policy| policy.as_str()),
            rule.id = rule.as_ref().map(|rule| rule.as_str()),
            outcome = outcome.map(Outcome::as_str),
            duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            "call.decided"
        );
    }
}

#[derive(Default)]
struct Waiting {
    lines: Vec<Line>,
    left_out: u64,
}

/// The lines on their way.
#[derive(Default)]
pub(crate) struct CallLog {
    waiting: Mutex<Waiting>,
    wake: Notify,
}

impl CallLog {
    /// Leaves a line about a call, by its event.
    pub(crate) fn note(&self, event: &EventDraft, decision: Option<EventDecision>, took: Duration) {
        if LevelFilter::current() < LevelFilter::INFO {
            return;
        }
        let line = Line {
            trace: event.trace_id,
            agent: event.agent_id.clone(),
            tool: event.tool.clone(),
            decision: decision.or(event.decision),
            policy: event.policy_id.clone(),
            rule: event.rule_id.clone(),
            outcome: event.outcome,
            took,
        };
        let mut waiting = self.waiting.lock();
        if waiting.lines.len() >= MOST {
            waiting.left_out += 1;
            return;
        }
        waiting.lines.push(line);
        let first = waiting.lines.len() == 1;
        drop(waiting);
        if first {
            self.wake.notify_one();
        }
    }

    /// Writes lines as they come, for ever.
    pub(crate) async fn run(&self) {
        loop {
            self.wake.notified().await;
            tokio::time::sleep(GATHER).await;
            self.write().await;
        }
    }

    /// Writes what waits.
    pub(crate) async fn write(&self) {
        let Waiting { lines, left_out } = std::mem::take(&mut *self.waiting.lock());
        for some in lines.chunks(AT_ONCE) {
            some.iter().for_each(Line::write);
            tokio::task::yield_now().await;
        }
        if left_out > 0 {
            tracing::warn!(left_out, "calls came faster than they could be logged");
        }
    }
}

/// The word for a call that is dispatched.
pub(crate) fn granted(verdict: &Verdict, approved: bool, remediated: bool) -> EventDecision {
    match (approved, remediated, verdict.decision) {
        (true, _, _) => EventDecision::Approved,
        (false, true, _) => EventDecision::Remediate,
        (false, false, Decision::AllowWithConstraints) => EventDecision::AllowWithConstraints,
        (
            false,
            false,
            Decision::Allow
            | Decision::RequireApproval
            | Decision::Remediate
            | Decision::Suggest
            | Decision::Throttle
            | Decision::Deny,
        ) => EventDecision::Allow,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::EventType;

    /// However fast calls come and however slow the log is, what waits is bounded, and what is left out is counted.
    #[tokio::test]
    async fn lines_that_wait_are_bounded() {
        let subscriber =
            tracing_subscriber::fmt().with_max_level(tracing::Level::INFO).with_writer(std::io::sink);
        let _guard = tracing::subscriber::set_default(subscriber.finish());
        let log = CallLog::default();
        let event = EventDraft::system(EventType::AgentDecision, jiff::Timestamp::UNIX_EPOCH);
        for _ in 0..MOST + 7 {
            log.note(&event, None, Duration::ZERO);
        }
        let waiting = |log: &CallLog| {
            let waiting = log.waiting.lock();
            (waiting.lines.len(), waiting.left_out)
        };
        assert_eq!(waiting(&log), (MOST, 7));
        log.write().await;
        assert_eq!(waiting(&log), (0, 0));
        log.note(&event, None, Duration::ZERO);
        assert_eq!(waiting(&log), (1, 0));
    }
}
