//! How each agent differs from its own past: which tools it calls, what is refused, what its calls cost, and how large they are. One pass
//! over a time and the time before of the same length, with bounded memory.

use crate::{
    evidence::Counted,
    model::{AgentId, EventDecision, EventDraft, EventType, path_of},
};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc};

/// Agents, and tools of one agent, that are told apart; further ones count as one.
const MOST_AGENTS: usize = 1_000;
const MOST_TOOLS: usize = 200;
const BEYOND: &str = "(others)";
/// Calls in each of both times before anything is drift.
const ENOUGH: u64 = 50;
/// A mix that is so far from the one before is drift, where that is no chance.
const FAR: f64 = 0.1;
/// A share of refusals that differs by so much is.
const SHARE: f64 = 0.1;
/// What costs so many times as much, or so little, and what is so much larger or smaller.
const TIMES: f64 = 1.5;
/// Tools that are named whose share moved most.
const NAMED: usize = 5;

/// What a record says of how an agent works.
#[derive(Clone, Debug, PartialEq)]
pub struct Drifted {
    at: Timestamp,
    agent: AgentId,
    what: What,
}

#[derive(Clone, Debug, PartialEq)]
enum What {
    Called { tool: Arc<str>, calls: u64, denied: bool, cost: Option<u64> },
    Took { tokens: u64 },
}

/// What a record says, if anything.
pub fn drifted(event: &EventDraft) -> Option<Drifted> {
    let what = match event.event_type {
        EventType::AgentDecision => {
            let decision = event.decision?;
            // Asked about, and counted then.
            if matches!(decision, EventDecision::Approved | EventDecision::Rejected | EventDecision::Expired)
            {
                return None;
            }
            let counted = Counted::of(event).map(|counted| counted.count);
            let cost = event.cost_estimate_usd.and_then(|cost| u64::try_from(cost.0).ok());
            What::Called {
                tool: path_of(event.tool.as_deref().unwrap_or("(none)")).into(),
                calls: counted.unwrap_or(1),
                denied: decision == EventDecision::Deny,
                cost: cost.filter(|_| counted.is_none() && decision != EventDecision::Deny),
            }
        }
        EventType::AgentSideEffect => {
            let detail = event.detail.as_ref()?;
            let number = |name: &str| detail.get(name).and_then(Value::as_u64);
            What::Took { tokens: number("argument_tokens").unwrap_or(0) + number("result_tokens")? }
        }
        _ => return None,
    };
    Some(Drifted { at: event.timestamp, agent: event.agent_id.clone()?, what })
}

#[derive(Clone, Debug, Default)]
struct Past {
    calls: u64,
    denied: u64,
    tools: BTreeMap<Arc<str>, u64>,
    priced: u64,
    micros: u64,
    sized: u64,
    tokens: u64,
}

/// One figure now and before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Figure {
    /// In the time before, of the same length.
    pub before: f64,
    /// In the time of the report.
    pub now: f64,
    /// It differs by more than the report's measure, over enough calls.
    pub drifts: bool,
}

/// A tool whose share of an agent's calls has moved.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MovedTool {
    /// Its exposed name.
    pub tool: Arc<str>,
    /// Its share before.
    pub before: f64,
    /// Its share now.
    pub now: f64,
}

/// How far the mix of tools is from the one before.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct MixDrift {
    /// The Jensen-Shannon divergence of both, in bits: 0 is the same mix, 1 is no tool in common.
    pub distance: f64,
    /// It is a tenth of a bit or more, and more than chance explains.
    pub drifts: bool,
    /// Those whose share moved most.
    pub moved: Vec<MovedTool>,
}

/// How one agent differs from its own past.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AgentOwnDrift {
    /// Which.
    pub agent: String,
    /// Its calls before and now.
    pub calls_before: u64,
    /// Its calls in the time of the report.
    pub calls: u64,
    /// Which tools it calls.
    pub tools: MixDrift,
    /// The share of its calls that is refused.
    pub deny_rate: Figure,
    /// What one of its calls is estimated to cost, in USD.
    pub cost_usd: Figure,
    /// What one of its calls takes: tokens of arguments and result.
    pub size_tokens: Figure,
    /// Whether any of these drifts.
    pub drifts: bool,
}

/// How agents differ from their own past.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DriftReport {
    /// From then on.
    pub since: Timestamp,
    /// Until then.
    pub until: Timestamp,
    /// The measure of the mix.
    pub measure: &'static str,
    /// Those that drift first, then by the distance of their mix.
    pub agents: Vec<AgentOwnDrift>,
}

/// Takes in what records say.
#[derive(Debug)]
pub struct Drifting {
    since: Timestamp,
    until: Timestamp,
    agents: BTreeMap<AgentId, [Past; 2]>,
}

fn float(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { float(part) / float(whole) }
}

fn rounded(value: f64) -> f64 {
    (value * 10_000.0).round() / 10_000.0
}

impl Drifting {
    /// Records from this time on are needed for a report from `since` on.
    pub fn needed_since(since: Timestamp, until: Timestamp) -> Timestamp {
        since.checked_sub(until.duration_since(since)).unwrap_or(Timestamp::MIN)
    }

    /// Begins.
    pub fn new(since: Timestamp, until: Timestamp) -> Self {
        Self { since, until, agents: BTreeMap::new() }
    }

    /// Takes in the next record.
    pub fn take(&mut self, seen: Drifted) {
        let Drifted { at, agent, what } = seen;
        if at > self.until {
            return;
        }
        let known = self.agents.contains_key(&agent) || self.agents.len() < MOST_AGENTS;
        let agent = if known { agent } else { AgentId::from(BEYOND) };
        let [before, now] = self.agents.entry(agent).or_default();
        let past = if at >= self.since { now } else { before };
        match what {
            What::Called { tool, calls, denied, cost } => {
                past.calls += calls;
                past.denied += if denied { calls } else { 0 };
                let known = past.tools.contains_key(&tool) || past.tools.len() < MOST_TOOLS;
                *past.tools.entry(if known { tool } else { BEYOND.into() }).or_default() += calls;
                if let Some(cost) = cost {
                    past.priced += 1;
                    past.micros = past.micros.saturating_add(cost);
                }
            }
            What::Took { tokens } => {
                past.sized += 1;
                past.tokens = past.tokens.saturating_add(tokens);
            }
        }
    }

    /// How each agent differs.
    pub fn report(self) -> DriftReport {
        let mut agents: Vec<AgentOwnDrift> = self
            .agents
            .into_iter()
            .map(|(agent, [before, now])| row(agent.to_string(), &before, &now))
            .collect();
        agents.sort_by(|a, b| {
            let by_distance = b.tools.distance.total_cmp(&a.tools.distance);
            b.drifts.cmp(&a.drifts).then(by_distance).then_with(|| a.agent.cmp(&b.agent))
        });
        DriftReport {
            since: self.since,
            until: self.until,
            measure: "Jensen-Shannon divergence of the mix of tools, in bits",
            agents,
        }
    }
}

fn row(agent: String, before: &Past, now: &Past) -> AgentOwnDrift {
    let enough = |a: u64, b: u64| a.min(b) >= ENOUGH;
    let tools = mix(before, now);
    let (denied_before, denied) = (share(before.denied, before.calls), share(now.denied, now.calls));
    let deny_rate = Figure {
        before: rounded(denied_before),
        now: rounded(denied),
        drifts: enough(before.calls, now.calls) && (denied - denied_before).abs() >= SHARE,
    };
    let times = |(sum_before, of_before): (u64, u64), (sum, of): (u64, u64), unit: f64| {
        let (was, is) = (share(sum_before, of_before) / unit, share(sum, of) / unit);
        let (least, most) = (was.min(is), was.max(is));
        // From nothing to next to nothing is no step.
        let differs = most >= TIMES * least && most > 0.0 && (least > 0.0 || most * unit >= 1.0);
        Figure { before: was, now: is, drifts: enough(of_before, of) && differs }
    };
    let cost_usd = times((before.micros, before.priced), (now.micros, now.priced), 1e6);
    let size_tokens = times((before.tokens, before.sized), (now.tokens, now.sized), 1.0);
    let drifts = tools.drifts || deny_rate.drifts || cost_usd.drifts || size_tokens.drifts;
    AgentOwnDrift {
        agent,
        calls_before: before.calls,
        calls: now.calls,
        tools,
        deny_rate,
        cost_usd,
        size_tokens,
        drifts,
    }
}

fn mix(before: &Past, now: &Past) -> MixDrift {
    if before.calls == 0 || now.calls == 0 {
        return MixDrift::default();
    }
    let mut names: Vec<&Arc<str>> = before.tools.keys().chain(now.tools.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let of = |past: &Past, name: &Arc<str>| share(past.tools.get(name).copied().unwrap_or(0), past.calls);
    let part = |a: f64, middle: f64| if a > 0.0 { a * (a / middle).ln() } else { 0.0 };
    let (m, n) = (float(before.calls), float(now.calls));
    let (mut halves, mut weighted) = (0.0, 0.0);
    let mut moved = Vec::new();
    for name in &names {
        let (p, q) = (of(before, name), of(now, name));
        let middle = p.midpoint(q);
        halves += part(p, middle).midpoint(part(q, middle));
        let both = (p * m + q * n) / (m + n);
        weighted += m * part(p, both) + n * part(q, both);
        moved.push(MovedTool { tool: Arc::clone(name), before: rounded(p), now: rounded(q) });
    }
    moved.sort_by(|a, b| (b.now - b.before).abs().total_cmp(&(a.now - a.before).abs()));
    moved.truncate(NAMED);
    moved.retain(|tool| (tool.now - tool.before).abs() >= 0.01);
    // Twice the log-likelihood ratio of two mixes against one is a chi-square of so many degrees, where they are one: six of its
    // standard deviations above its mean is no chance.
    let degrees = float(u64::try_from(names.len()).unwrap_or(u64::MAX).saturating_sub(1)).max(1.0);
    let by_chance = degrees + 6.0 * (2.0 * degrees).sqrt();
    let distance = (halves / std::f64::consts::LN_2).clamp(0.0, 1.0);
    let is_enough = before.calls.min(now.calls) >= ENOUGH;
    let drifts = is_enough && distance >= FAR && 2.0 * weighted > by_chance;
    MixDrift { distance: rounded(distance), drifts, moved }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(at: &str, tool: &str, denied: bool, cost: u64) -> Drifted {
        let what = What::Called { tool: tool.into(), calls: 1, denied, cost: Some(cost) };
        Drifted { at: at.parse().unwrap(), agent: "ada".into(), what }
    }

    #[test]
    fn an_agent_is_held_against_its_own_past() {
        const BEFORE: &str = "2026-11-02T10:00:00Z";
        const NOW: &str = "2026-11-09T10:00:00Z";
        let check = |now: &dyn Fn(u64) -> (&'static str, bool, u64), expect: (bool, bool, bool, f64)| {
            let mut drifting = Drifting::new(
                "2026-11-08T00:00:00Z".parse().unwrap(),
                "2026-11-15T00:00:00Z".parse().unwrap(),
            );
            for n in 0..100 {
                drifting.take(seen(BEFORE, if n % 2 == 0 { "read" } else { "list" }, n % 20 == 0, 100));
                let (tool, denied, cost) = now(n);
                drifting.take(seen(NOW, tool, denied, cost));
            }
            let report = drifting.report();
            let row = &report.agents[0];
            let found = (row.tools.drifts, row.deny_rate.drifts, row.cost_usd.drifts, row.tools.distance);
            assert_eq!(found, expect, "{row:?}");
            assert_eq!(row.drifts, expect.0 || expect.1 || expect.2);
        };
        let usual = |n: u64| if n.is_multiple_of(2) { "read" } else { "list" };
        check(&|n| (usual(n), n.is_multiple_of(20), 100), (false, false, false, 0.0));
        // No tool in common is a whole bit.
        check(&|_| ("write", false, 100), (true, false, false, 1.0));
        check(&|n| (usual(n), n.is_multiple_of(4), 100), (false, true, false, 0.0));
        check(&|n| (usual(n), false, 200), (false, false, true, 0.0));
        // A few calls more or less of a tool are chance.
        check(&|n| (if n < 60 { "read" } else { "list" }, false, 100), (false, false, false, 0.0073));
    }

    #[test]
    fn few_calls_are_no_drift() {
        let mut drifting =
            Drifting::new("2026-11-08T00:00:00Z".parse().unwrap(), "2026-11-15T00:00:00Z".parse().unwrap());
        for _ in 0..ENOUGH - 1 {
            drifting.take(seen("2026-11-02T10:00:00Z", "read", false, 100));
            drifting.take(seen("2026-11-09T10:00:00Z", "write", true, 900));
        }
        let report = drifting.report();
        assert_eq!((report.agents[0].drifts, report.agents[0].tools.distance), (false, 1.0));
    }
}
