//! What is told of each call that was decided: one line of the log, and counts. A call leaves a few words here and goes on: writing
//! them as text, and waiting for whoever reads the log, is nothing that a call should pay for.
//!
//! Refusals that repeat each other have a few lines in a minute, and one that says how many more there were.

use crate::{
    clock::Clock,
    decision::Verdict,
    model::{
        AgentId, Decision, EventDecision, EventDraft, MicroUsd, Outcome, PolicyId, RuleId, TraceId,
        UpstreamName, without_query,
    },
    telemetry::{Label, SpanId, Telemetry},
};
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::{sync::Notify, time::Instant};
use tracing::level_filters::LevelFilter;

/// Lines that wait; what is beyond is counted.
const MOST: usize = 8_192;
/// How long lines are gathered, so that not each of them wakes a thread.
const GATHER: Duration = Duration::from_millis(10);
/// Lines that are written before others may run.
const AT_ONCE: usize = 64;
/// Lines of refusals like each other that are written in one [`MINUTE`].
const MOST_ALIKE: u64 = 10;
const MINUTE: Duration = Duration::from_secs(60);
/// Kinds of refusals that are told apart in it; those beyond are told apart by their agent only.
const MOST_KINDS: usize = 1_024;
/// How soon the count of those that were left out can follow.
const TICK: Duration = Duration::from_secs(1);

/// What is said of one call beside its event.
pub(crate) struct Told {
    /// See `Request::word`.
    pub(crate) kind: &'static str,
    /// Where the event has none.
    pub(crate) decision: Option<EventDecision>,
    /// From its arrival.
    pub(crate) took: Duration,
    /// What of that was neither its upstream's nor a person's.
    pub(crate) own: Duration,
    /// Its span, where it has one.
    pub(crate) span: Option<SpanId>,
}

/// What is said of one call. No argument is among it.
pub(crate) struct Line {
    kind: &'static str,
    trace: Option<TraceId>,
    agent: Option<AgentId>,
    tool: Option<Arc<str>>,
    upstream: Option<UpstreamName>,
    decision: Option<EventDecision>,
    policy: Option<PolicyId>,
    rule: Option<RuleId>,
    outcome: Option<Outcome>,
    cost: Option<MicroUsd>,
    took: Duration,
    span: Option<SpanId>,
}

/// In what refusals are alike.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Alike {
    agent: Option<AgentId>,
    tool: Option<Arc<str>>,
    decision: Option<EventDecision>,
    policy: Option<PolicyId>,
    rule: Option<RuleId>,
}

/// Those of a minute.
struct Flood {
    since: Instant,
    lines: u64,
}

impl Line {
    fn write(&self) {
        let Self { kind, trace, agent, tool, upstream, decision, policy, rule, outcome, cost, took, span } =
            self;
        tracing::info!(
            trace.id = trace.map(tracing::field::display),
            span.id = span.map(hex::encode),
            agent.id = agent.as_ref().map(|agent| agent.as_str()),
            kind,
            tool = tool.as_deref().map(crate::redaction::visible).as_deref(),
            upstream = upstream.as_ref().map(|upstream| upstream.as_str()),
            decision = decision.map(EventDecision::as_str),
            policy.id = policy.as_ref().map(|policy| policy.as_str()),
            rule.id = rule.as_ref().map(|rule| rule.as_str()),
            outcome = outcome.map(Outcome::as_str),
            duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            cost_usd = cost.map(tracing::field::display),
            "call.decided"
        );
    }

    /// Of a refusal: in what others are like it.
    fn alike(&self) -> Option<Alike> {
        let Self { agent, tool, decision, policy, rule, .. } = self;
        self.outcome.is_none().then(|| Alike {
            agent: agent.clone(),
            tool: tool.clone(),
            decision: *decision,
            policy: policy.clone(),
            rule: rule.clone(),
        })
    }
}

impl Alike {
    fn write(&self, more: u64) {
        let Self { agent, tool, decision, policy, rule } = self;
        tracing::info!(
            agent.id = agent.as_ref().map(|agent| agent.as_str()),
            tool = tool.as_deref().map(crate::redaction::visible).as_deref(),
            decision = decision.map(EventDecision::as_str),
            policy.id = policy.as_ref().map(|policy| policy.as_str()),
            rule.id = rule.as_ref().map(|rule| rule.as_str()),
            more,
            "call.repeated"
        );
    }
}

#[derive(Default)]
struct Waiting {
    lines: Vec<Line>,
    left_out: u64,
}

/// The line about a call that waits for a person. It is left where the call ends so, and not where it has another: a call goes on
/// without whoever made it, so several may know of the one line.
#[derive(Clone, Default)]
pub(crate) struct PendingLine(Arc<Mutex<Option<Ask>>>);

struct Ask {
    log: Arc<CallLog>,
    clock: Arc<dyn Clock>,
    began: Duration,
    line: Option<Line>,
}

impl PendingLine {
    /// The call waits now.
    pub(crate) fn put(
        &self,
        log: &Arc<CallLog>,
        clock: &Arc<dyn Clock>,
        began: Duration,
        line: Option<Line>,
    ) {
        self.discard();
        *self.0.lock() = Some(Ask { log: log.clone(), clock: clock.clone(), began, line });
    }

    /// The call has another line.
    pub(crate) fn discard(&self) {
        if let Some(mut ask) = self.0.lock().take() {
            ask.line = None;
        }
    }
}

impl Drop for Ask {
    fn drop(&mut self) {
        if let Some(line) = self.line.take() {
            self.log.leave(Line { took: self.clock.monotonic().saturating_sub(self.began), ..line });
        }
    }
}

/// The lines on their way.
pub(crate) struct CallLog {
    telemetry: Arc<Telemetry>,
    waiting: Mutex<Waiting>,
    floods: Mutex<HashMap<Alike, Flood>>,
    wake: Notify,
}

impl CallLog {
    /// With where calls are counted.
    pub(crate) fn new(telemetry: &Arc<Telemetry>) -> Self {
        let telemetry = telemetry.clone();
        Self { telemetry, waiting: Mutex::default(), floods: Mutex::default(), wake: Notify::new() }
    }

    fn count(&self, event: &EventDraft, told: &Told, decision: Option<EventDecision>) {
        let metrics = &self.telemetry.metrics;
        let upstream = event.upstream.as_ref().map_or(Label::NONE, |upstream| Label::from(upstream.shared()));
        let decision = decision.map_or(Label::NONE, |decision| Label::from(decision.as_str()));
        let labels = [Label::from(told.kind), upstream, decision];
        metrics.call_duration.observe(labels.clone(), told.took, event.trace_id);
        metrics.calls.add(labels, 1);
        metrics.overhead.observe([Label::from(told.kind)], told.own, event.trace_id);
    }

    /// Counts a call, and leaves a line about it, by its event.
    pub(crate) fn note(&self, event: &EventDraft, told: &Told) {
        if let Some(line) = self.note_silently(event, told) {
            self.leave(line);
        }
    }

    /// Counts a call; the line about it, for whoever leaves it once it is known that nothing more comes of the call.
    pub(crate) fn note_silently(&self, event: &EventDraft, told: &Told) -> Option<Line> {
        let decision = told.decision.or(event.decision);
        self.count(event, told, decision);
        if LevelFilter::current() < LevelFilter::INFO {
            return None;
        }
        Some(Line {
            kind: told.kind,
            trace: event.trace_id,
            agent: event.agent_id.clone(),
            // A log is read by many, and what was asked at a URI is an argument.
            tool: event.tool.as_deref().map(|tool| without_query(tool).into()),
            upstream: event.upstream.clone(),
            decision,
            policy: event.policy_id.clone(),
            rule: event.rule_id.clone(),
            outcome: event.outcome,
            cost: event.cost_usd,
            took: told.took,
            span: told.span,
        })
    }

    fn leave(&self, line: Line) {
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
            let has_floods = !self.floods.lock().is_empty();
            tokio::select! {
                () = self.wake.notified() => tokio::time::sleep(GATHER).await,
                () = tokio::time::sleep(TICK), if has_floods => {}
            }
            self.write_due(false).await;
        }
    }

    /// Writes what waits, and how many were left out.
    pub(crate) async fn write(&self) {
        self.write_due(true).await;
    }

    async fn write_due(&self, all: bool) {
        let Waiting { lines, left_out } = std::mem::take(&mut *self.waiting.lock());
        for some in lines.chunks(AT_ONCE) {
            some.iter().filter(|line| self.admits(line, Instant::now())).for_each(Line::write);
            tokio::task::yield_now().await;
        }
        if left_out > 0 {
            tracing::warn!(left_out, "calls came faster than they could be logged");
        }
        self.tell_floods(all, Instant::now());
    }

    /// Whether a line is written. Of refusals that are alike the first of a minute are.
    fn admits(&self, line: &Line, now: Instant) -> bool {
        let Some(mut alike) = line.alike() else { return true };
        let mut floods = self.floods.lock();
        if floods.len() >= MOST_KINDS && !floods.contains_key(&alike) {
            alike = Alike { tool: None, decision: None, policy: None, rule: None, ..alike };
        }
        let flood = floods.entry(alike).or_insert(Flood { since: now, lines: 0 });
        flood.lines += 1;
        flood.lines <= MOST_ALIKE
    }

    /// Tells how many more there were in the minutes that are over, or in all.
    fn tell_floods(&self, all: bool, now: Instant) {
        let over = |flood: &Flood| all || now.saturating_duration_since(flood.since) >= MINUTE;
        let ended: Vec<_> = self.floods.lock().extract_if(|_, flood| over(flood)).collect();
        for (alike, flood) in ended {
            let more = flood.lines.saturating_sub(MOST_ALIKE);
            if more > 0 {
                alike.write(more);
            }
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

    const TOLD: Told =
        Told { kind: "tool", decision: None, took: Duration::ZERO, own: Duration::ZERO, span: None };

    /// However fast calls come and however slow the log is, what waits is bounded, and what is left out is counted.
    #[tokio::test]
    async fn lines_that_wait_are_bounded() {
        let subscriber =
            tracing_subscriber::fmt().with_max_level(tracing::Level::INFO).with_writer(std::io::sink);
        let _guard = tracing::subscriber::set_default(subscriber.finish());
        let log = CallLog::new(&Arc::default());
        let mut event = EventDraft::system(EventType::AgentDecision, jiff::Timestamp::UNIX_EPOCH);
        event.outcome = Some(Outcome::Succeeded);
        for _ in 0..MOST + 7 {
            log.note(&event, &TOLD);
        }
        let waiting = |log: &CallLog| {
            let waiting = log.waiting.lock();
            (waiting.lines.len(), waiting.left_out)
        };
        assert_eq!(waiting(&log), (MOST, 7));
        log.write().await;
        assert_eq!(waiting(&log), (0, 0));
        log.note(&event, &TOLD);
        assert_eq!(waiting(&log), (1, 0));
    }

    /// A flood of refusals has a few lines, and one that says how many more there were; what was dispatched has a line each.
    #[tokio::test]
    async fn a_flood_that_repeats_itself_has_few_lines() {
        let lines = Lines::default();
        let to = lines.clone();
        let subscriber = tracing_subscriber::fmt().json().flatten_event(true).with_writer(move || to.clone());
        let _guard = tracing::subscriber::set_default(subscriber.finish());
        let log = CallLog::new(&Arc::default());
        let mut event = EventDraft::system(EventType::AgentDecision, jiff::Timestamp::UNIX_EPOCH);
        event.agent_id = Some("a".into());
        event.policy_id = Some("burst".into());
        for _ in 0..1_000 {
            log.note(&event, &TOLD);
        }
        event.policy_id = Some("other".into());
        log.note(&event, &TOLD);
        event.outcome = Some(Outcome::Succeeded);
        event.cost_usd = Some(MicroUsd(1_500));
        for _ in 0..100 {
            log.note(&event, &TOLD);
        }
        log.write().await;
        let told = lines.told();
        let count = |message: &str, policy: &str| {
            let like = |line: &&serde_json::Value| line["message"] == message && line["policy.id"] == policy;
            told.iter().filter(like).count()
        };
        assert_eq!(count("call.decided", "burst"), 10);
        assert_eq!(count("call.decided", "other"), 101);
        let repeated: Vec<_> = told.iter().filter(|line| line["message"] == "call.repeated").collect();
        assert_eq!(repeated.len(), 1, "{repeated:?}");
        assert_eq!((&repeated[0]["more"], &repeated[0]["policy.id"]), (&990.into(), &"burst".into()));
        assert!(told.iter().any(|line| line["cost_usd"] == "0.0015" && line["kind"] == "tool"), "{told:?}");
        assert!(log.floods.lock().is_empty());
    }

    /// Lines as they were written.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Lines {
        fn told(&self) -> Vec<serde_json::Value> {
            let text = String::from_utf8(self.0.lock().clone()).unwrap();
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
        }
    }

    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
}
