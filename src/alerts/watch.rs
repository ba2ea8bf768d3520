//! The fold: records in the order of the chain, and how servers stand, to what is to be raised.

use super::{
    baseline::{Odd, float},
    observe::{About, Decided, Seen, observe},
    track::{Found, SLICES, Tally, Track, WINDOWS},
};
use crate::{
    model::{AgentId, AlertKind, EventDraft, TraceId, UpstreamName, WorkflowId},
    policy::AlertRules,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// Agents, workflows and servers that are told apart, of each; what is beyond is one.
const MOST_TRACKS: usize = 300;
/// What nothing was counted of for so long may be forgotten where there is no room.
const IDLE_MS: i64 = 86_400_000;
/// Subjects of alerts that others raise, as far as they are counted in a window.
const MOST_COUNTED: usize = 1_000;
/// Servers whose state is followed.
const MOST_SERVERS: usize = 1_000;
pub(super) const OTHERS: &str = "(others)";

/// How a server stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Level {
    /// Which.
    pub upstream: UpstreamName,
    /// Why it does not answer; none: it does.
    pub down: Option<String>,
}

/// Something that somebody should look at.
#[derive(Clone, Debug, PartialEq)]
pub struct Raised {
    /// What it is about.
    pub kind: AlertKind,
    /// Of what, like `agent:NAME`.
    pub subject: String,
    /// When.
    pub at: Timestamp,
    /// How odd it is; 1 is just enough.
    pub score: f64,
    /// In a sentence.
    pub reason: Arc<str>,
    /// The numbers behind it.
    pub figures: Value,
    /// The agent.
    pub agent: Option<AgentId>,
    /// The workflow.
    pub workflow: Option<WorkflowId>,
    /// The server.
    pub upstream: Option<UpstreamName>,
    /// The tool.
    pub tool: Option<Arc<str>>,
    /// The trace.
    pub trace: Option<TraceId>,
    /// The record that tells it already; none: nobody has told it.
    pub record: Option<i64>,
}

/// What was odd is so no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Over {
    /// What it was about.
    pub kind: AlertKind,
    /// Of what.
    pub subject: String,
    /// Since when.
    pub at: Timestamp,
}

/// What the fold says.
#[derive(Clone, Debug, PartialEq)]
pub enum Signal {
    /// Somebody should look.
    Raised(Box<Raised>),
    /// It is over.
    Over(Over),
}

/// The state of all detectors, as of a record.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Watch {
    /// The newest record that is taken in.
    pub seq: i64,
    slice_ms: i64,
    slice: i64,
    agents: BTreeMap<String, Track>,
    workflows: BTreeMap<String, Track>,
    upstreams: BTreeMap<String, Track>,
    /// How often others have told the same in the window that goes on.
    told: BTreeMap<String, u64>,
    /// Since when servers do not answer, and whether that was told.
    down: BTreeMap<String, (i64, bool)>,
    /// Whether a record has said anything since this was kept.
    #[serde(skip)]
    heard: bool,
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl Watch {
    /// Behind a record, with nothing known.
    pub fn behind(seq: i64) -> Self {
        Self { seq, ..Self::default() }
    }

    /// Takes in the next record, as of `now`.
    pub fn take(&mut self, seq: i64, event: &EventDraft, rules: &AlertRules, now: Timestamp) -> Vec<Signal> {
        self.seq = seq;
        let Some((about, seen)) = observe(event) else { return Vec::new() };
        self.heard = true;
        // A record of another machine's tomorrow ends no window here.
        let mut signals = self.advance(event.timestamp.min(now), rules);
        match seen {
            Seen::Decided(decided) => {
                let (slice, slice_ms) = (self.slice, self.slice_ms);
                for (ago, tally) in tallies(&decided, slice, slice_ms) {
                    if let Some(agent) = &about.agent {
                        track(&mut self.agents, agent, slice, slice_ms).add(slice, ago, tally);
                    }
                    if let Some(workflow) = &about.workflow {
                        track(&mut self.workflows, workflow, slice, slice_ms).add(slice, ago, tally);
                    }
                }
            }
            Seen::Ended { failed } => {
                if let Some(upstream) = &about.upstream {
                    let tally =
                        track(&mut self.upstreams, upstream, self.slice, self.slice_ms).now(self.slice);
                    tally.ended += 1;
                    tally.failed += u64::from(failed);
                }
            }
            Seen::Told { kind, subject, reason } => {
                if rules.of(kind).enabled {
                    signals.push(self.adopt(kind, subject, reason, about, (seq, event.timestamp)));
                }
            }
        }
        signals
    }

    /// What somebody else has told already.
    fn adopt(
        &mut self,
        kind: AlertKind,
        subject: String,
        reason: Arc<str>,
        about: About,
        (seq, at): (i64, Timestamp),
    ) -> Signal {
        let key = format!("{kind} {subject}");
        let many = match self.told.get_mut(&key) {
            Some(many) => {
                *many += 1;
                *many
            }
            None => {
                if self.told.len() < MOST_COUNTED {
                    self.told.insert(key, 1);
                }
                1
            }
        };
        let About { agent, workflow, upstream, tool, trace } = about;
        let figures = json!({"in_window": many});
        let (score, record) = (float(many), Some(seq));
        Signal::Raised(Box::new(Raised {
            kind,
            subject,
            at,
            score,
            reason,
            figures,
            agent,
            workflow,
            upstream,
            tool,
            trace,
            record,
        }))
    }

    /// Goes on to a time: ends slices that are over, and looks at servers.
    pub fn tick(&mut self, now: Timestamp, rules: &AlertRules, levels: &[Level]) -> Vec<Signal> {
        let mut signals = self.advance(now, rules);
        let rule = rules.of(AlertKind::UpstreamDown);
        let after = millis(rule.after.unwrap_or(rules.window / 5));
        let ms = now.as_millisecond();
        for Level { upstream, down } in levels {
            let known = self.down.get_mut(upstream.as_str());
            match (down, known) {
                (Some(_), None) => {
                    if self.down.len() < MOST_SERVERS {
                        self.down.insert(upstream.to_string(), (ms, false));
                    }
                }
                (Some(why), Some((since, told))) => {
                    if !*told && rule.enabled && ms.saturating_sub(*since) >= after {
                        *told = true;
                        let seconds = ms.saturating_sub(*since) / 1_000;
                        signals.push(is_down(upstream, why, seconds, now));
                    }
                }
                (None, Some((_, told))) => {
                    if *told {
                        signals.push(over(AlertKind::UpstreamDown, format!("upstream:{upstream}"), now));
                    }
                    self.down.remove(upstream.as_str());
                }
                (None, None) => {}
            }
        }
        // One that is configured no more is down no more.
        let gone: Vec<String> = self
            .down
            .keys()
            .filter(|name| !levels.iter().any(|level| level.upstream.as_str() == name.as_str()))
            .cloned()
            .collect();
        for name in gone {
            if self.down.remove(&name).is_some_and(|(_, told)| told) {
                signals.push(over(AlertKind::UpstreamDown, format!("upstream:{name}"), now));
            }
        }
        signals
    }

    /// The window that goes on, where a record has said anything since the state was kept last.
    pub fn window(&self) -> Option<i64> {
        self.heard.then(|| self.slice.div_euclid(i64::try_from(SLICES).unwrap_or(1)))
    }

    /// It is kept as it is now.
    pub fn kept(&mut self) {
        self.heard = false;
    }

    fn advance(&mut self, to: Timestamp, rules: &AlertRules) -> Vec<Signal> {
        let slices = i64::try_from(SLICES).unwrap_or(1);
        let slice_ms = (millis(rules.window) / slices).max(1);
        if slice_ms != self.slice_ms {
            self.slice_ms = slice_ms;
            self.slice = to.as_millisecond().div_euclid(slice_ms);
            for track in self.tracks_mut() {
                track.recut();
            }
            self.told.clear();
        }
        let beyond = slices * i64::try_from(WINDOWS + 2).unwrap_or(1);
        let target = to.as_millisecond().div_euclid(slice_ms);
        let mut signals = Vec::new();
        let windows = rules.window.as_secs_f64() / rules.baseline.as_secs_f64();
        let keep = 0.5_f64.powf(windows);
        while self.slice < target {
            // After so many empty ones nothing is left to end.
            if target - self.slice > beyond && self.tracks_mut().all(|track| track.is_idle()) {
                self.slice = target;
                self.told.clear();
                break;
            }
            let begins = self.slice.rem_euclid(slices) == 0;
            let ends = (self.slice + 1).rem_euclid(slices) == 0;
            let at = Timestamp::from_millisecond((self.slice + 1).saturating_mul(slice_ms)).unwrap_or(to);
            for (group, tracks) in [
                ("agent", &mut self.agents),
                ("workflow", &mut self.workflows),
                ("upstream", &mut self.upstreams),
            ] {
                for (name, track) in tracks.iter_mut() {
                    for found in track.end_slice((begins, ends), rules, keep) {
                        signals.push(match found {
                            Found::Over(kind) => over(kind, format!("{group}:{name}"), at),
                            Found::Odd { kind, odd, tally, windows } => {
                                let span = rules.window * u32::try_from(windows).unwrap_or(1);
                                odd_one(kind, (group, name), odd, &tally, (at, span))
                            }
                        });
                    }
                }
            }
            if ends {
                self.told.clear();
            }
            self.slice += 1;
        }
        signals
    }

    fn tracks_mut(&mut self) -> impl Iterator<Item = &mut Track> {
        self.agents.values_mut().chain(self.workflows.values_mut()).chain(self.upstreams.values_mut())
    }
}

/// The track of a name, where there is room for one.
fn track<'t>(
    tracks: &'t mut BTreeMap<String, Track>,
    name: &str,
    slice: i64,
    slice_ms: i64,
) -> &'t mut Track {
    if !tracks.contains_key(name) && tracks.len() >= MOST_TRACKS {
        let idle = tracks.iter().filter(|(name, _)| *name != OTHERS).min_by_key(|(_, track)| track.last);
        let old = idle
            .filter(|(_, track)| (slice - track.last).saturating_mul(slice_ms) > IDLE_MS)
            .map(|(name, _)| name.clone());
        match old {
            Some(old) => drop(tracks.remove(&old)),
            None => return tracks.entry(OTHERS.to_owned()).or_default(),
        }
    }
    tracks.entry(name.to_owned()).or_default()
}

/// What calls add to slices, each by how many it is before the one that goes on: those of one record that stands for many are spread
/// evenly over the time in which they were refused, which is when others of their time were let through.
fn tallies(decided: &Decided, slice: i64, slice_ms: i64) -> Vec<(i64, Tally)> {
    let one = |share: &dyn Fn(u64) -> u64| {
        let mut tally = Tally {
            calls: share(decided.calls),
            denied: share(decided.denied),
            lacking: share(decided.lacking),
            ruled: share(decided.ruled),
            barred: share(decided.barred),
            ..Tally::default()
        };
        decided.cost.into_iter().for_each(|cost| tally.cost(cost));
        tally
    };
    let Some((since, until)) = decided.span else { return vec![(0, one(&|all| all))] };
    let oldest = slice.saturating_sub(i64::try_from(SLICES).unwrap_or(1) - 1);
    let of = |at: Timestamp| at.as_millisecond().div_euclid(slice_ms.max(1)).clamp(oldest, slice);
    let (first, last) = (of(since), of(until.max(since)));
    let many = u64::try_from(last - first + 1).unwrap_or(1);
    (first..=last)
        .zip(0..)
        .map(|(at, n)| {
            (slice - at, one(&|all: u64| all.saturating_mul(n + 1) / many - all.saturating_mul(n) / many))
        })
        .collect()
}

fn over(kind: AlertKind, subject: String, at: Timestamp) -> Signal {
    Signal::Over(Over { kind, subject, at })
}

fn is_down(upstream: &UpstreamName, why: &str, seconds: i64, at: Timestamp) -> Signal {
    let why: String = why.chars().take(400).collect();
    Signal::Raised(Box::new(Raised {
        kind: AlertKind::UpstreamDown,
        subject: format!("upstream:{upstream}"),
        at,
        score: 1.0,
        reason: format!("server `{upstream}` has not answered for {seconds} s: {why}").into(),
        figures: json!({"down_for_s": seconds}),
        agent: None,
        workflow: None,
        upstream: Some(upstream.clone()),
        tool: None,
        trace: None,
        record: None,
    }))
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

fn rounded(value: f64) -> f64 {
    (value * 10_000.0).round() / 10_000.0
}

fn odd_one(
    kind: AlertKind,
    (group, name): (&str, &str),
    Odd { score, usual, seen }: Odd,
    tally: &Tally,
    (at, span): (Timestamp, Duration),
) -> Signal {
    let window = humantime::format_duration(span);
    let of = format!("{group} `{name}`");
    let (shown, normal) = (percent(seen), percent(usual));
    let reason = match kind {
        AlertKind::DenyRate => {
            format!("{of}: {shown} of {} calls were refused in {window}; {normal} are usual", tally.calls)
        }
        AlertKind::DenyDrop => format!(
            "{of}: rules refused {shown} of {} calls in {window}, where {normal} are usual: a control may be off",
            tally.ruled
        ),
        AlertKind::MissingMetadata => format!(
            "{of}: {shown} of {} calls lacked what the bundle requires in {window}; {normal} are usual",
            tally.calls
        ),
        AlertKind::Failures => format!(
            "{of}: {shown} of {} dispatched calls failed in {window}; {normal} are usual",
            tally.ended
        ),
        _ => format!(
            "{of}: {} calls of {window} are estimated at {} USD, {:.1} times what is usual",
            tally.priced,
            crate::model::MicroUsd(i64::try_from(tally.micros).unwrap_or(i64::MAX)),
            (seen / usual.max(1.0)).max(1.0)
        ),
    };
    let figures = match kind {
        AlertKind::CostSpike => json!({
            "calls": tally.priced,
            "cost_usd": crate::model::MicroUsd(i64::try_from(tally.micros).unwrap_or(i64::MAX)),
            "times_usual": rounded(seen / usual.max(1.0)),
            "window_s": span.as_secs(),
        }),
        AlertKind::Failures => json!({
            "calls": tally.ended, "count": tally.failed, "share": rounded(seen), "usual": rounded(usual),
            "window_s": span.as_secs(),
        }),
        AlertKind::DenyDrop => json!({
            "calls": tally.ruled, "count": tally.barred, "share": rounded(seen), "usual": rounded(usual),
            "window_s": span.as_secs(),
        }),
        _ => json!({
            "calls": tally.calls,
            "count": if kind == AlertKind::MissingMetadata { tally.lacking } else { tally.denied },
            "share": rounded(seen),
            "usual": rounded(usual),
            "window_s": span.as_secs(),
        }),
    };
    let is = |wanted: &str| (group == wanted && name != OTHERS).then_some(name);
    Signal::Raised(Box::new(Raised {
        kind,
        subject: format!("{group}:{name}"),
        at,
        score: rounded(score),
        reason: reason.into(),
        figures,
        agent: is("agent").map(AgentId::from),
        workflow: is("workflow").map(WorkflowId::from),
        upstream: is("upstream").map(UpstreamName::from),
        tool: None,
        trace: None,
        record: None,
    }))
}
