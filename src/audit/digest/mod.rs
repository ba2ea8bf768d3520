//! A digest of a time, as a rule a week: what was called, decided, spent, refused, approved, changed, alerted, what failed, how the
//! figures moved against the time before, and what to do next. One value; Markdown, HTML and JSON are made of it.

mod html;
mod markdown;
mod sections;

use super::{
    DeadLetter, DeadLetterPage, Looked, Maturity, dead_letters, maturity,
    recorded::{Pace, Referred, Stop, walk},
};
use crate::{
    config::Config,
    model::{AgentId, CallId, Event, Outcome, SnapshotId, TraceId, path_of},
    policy::PolicySet,
    redaction::{without_queries, without_said},
    replay::{
        AdviceStep, AgentDrift, ApprovalIntegrity, CostlyWorkflow, DigestSeen, Digesting, Distribution,
        EstimateError, Happened, Moved, Named, Noted, Scorecard, Seen, Spend, SpendLine, SpendSeen, Tallying,
        Traffic, advise, digest_seen, note, see, spent,
    },
    store::{EventQuery, Store, StoreError},
};
use jiff::Timestamp;
use serde::Serialize;
use std::{collections::BTreeMap, sync::Arc};

/// Lines of one table.
const TOP: usize = 10;
/// Open dead letters that are told.
const MOST_LETTERS: usize = 100;

/// What a time was like, and what to do next.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Digest {
    /// From then on.
    pub since: Timestamp,
    /// Until before then.
    pub until: Timestamp,
    /// Only a part of the record was looked at: there was no time for all of it.
    pub partial: bool,
    /// How the calls were decided.
    pub decisions: Distribution,
    /// What they cost.
    pub spend: DigestSpend,
    /// What people were asked, and what they answered.
    pub approvals: ApprovalIntegrity,
    /// What was refused, changed and alerted, and what failed.
    #[serde(flatten)]
    pub happened: Happened,
    /// Side effects that failed or whose outcome is unknown, and about which nobody has done anything yet.
    pub dead_letters: OpenLetters,
    /// The figures of the scorecard, held against the same time before.
    pub scorecard: Vec<Figure>,
    /// Agents whose share of refusals or failures differs as much.
    pub drifting: BTreeMap<String, AgentDrift>,
    /// How far governance has come, and what is missing.
    pub maturity: Maturity,
    /// What to do next with the policies, from the traffic of the last month.
    pub advice: Vec<AdviceStep>,
}

/// What calls cost.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DigestSpend {
    /// All of it.
    pub total: SpendLine,
    /// By day of UTC.
    pub day: Vec<Named>,
    /// The workflows that cost most.
    pub workflow: Vec<Named>,
    /// The agents that cost most.
    pub agent: Vec<Named>,
    /// The tools that cost most.
    pub tool: Vec<Named>,
    /// A throttle for each of the workflows that cost most.
    pub throttles: Vec<CostlyWorkflow>,
    /// How far estimates of results were off; null: no result was measured.
    pub estimates: Option<EstimateError>,
}

/// Dead letters that wait for somebody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OpenLetters {
    /// How many.
    pub open: usize,
    /// There are more than were looked for.
    pub truncated: bool,
    /// The newest.
    pub newest: Vec<OpenLetter>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OpenLetter {
    /// When its outcome was recorded.
    pub at: Timestamp,
    /// Its call.
    pub call_id: Option<CallId>,
    /// Its trace.
    pub trace_id: Option<TraceId>,
    /// The tool.
    pub tool: Option<Arc<str>>,
    /// `failed` or `unknown`.
    pub outcome: Option<Outcome>,
    /// What was said.
    pub reason: Option<Arc<str>>,
}

/// A figure now and in the same time before.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figure {
    /// Its name.
    pub figure: &'static str,
    /// `count`, `rate` (0 to 1) or `ms`.
    pub unit: &'static str,
    /// In the time before; null: there was nothing to measure.
    pub before: Option<f64>,
    /// In this time.
    pub now: Option<f64>,
    /// It differs by a tenth or more, over fifty calls or more in each time.
    pub drifts: bool,
}

/// What one record says to the parts of a digest.
struct Said {
    at: Timestamp,
    noted: Option<Noted>,
    spent: Option<SpendSeen>,
    seen: Option<Seen>,
    digested: Option<DigestSeen>,
}

/// What the files say, for the part about maturity.
#[derive(Clone, Copy, Debug)]
pub struct DigestFiles<'f> {
    /// servers.toml.
    pub config: &'f Config,
    /// The bundle in force.
    pub policies: &'f PolicySet,
    /// Files of tests in the bundle's folder.
    pub tests: usize,
}

/// Makes the digest from `since` until before `until`, as far as it comes before it is stopped; `progress` is told how many records
/// were looked at. The record is walked once, from where the part that looks furthest back needs it.
pub async fn digest(
    store: &dyn Store,
    (since, until): (Timestamp, Timestamp),
    files: DigestFiles<'_>,
    (pace, stop): (Pace, &Stop),
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<Digest, StoreError> {
    let week = until.duration_since(since);
    let before = since.checked_sub(week).unwrap_or(Timestamp::MIN);
    let needed = Traffic::needed_since(since).min(Tallying::needed_since(before, since));
    let query = EventQuery { since: Some(needed), until: Some(until), ..EventQuery::default() };
    let judge = move |event: &Event, referred: &Referred| {
        let draft = &event.draft;
        let model = |snapshot: &SnapshotId, agent: &AgentId| {
            referred.bundle(snapshot)?.authority.agents.get(agent)?.model.clone()
        };
        let is_now = draft.timestamp >= since;
        let tool = |hash: &str| referred.tool(hash);
        Said {
            at: draft.timestamp,
            noted: note(draft, &tool),
            spent: if is_now { spent(draft, &model) } else { None },
            seen: see(draft, &tool),
            digested: if is_now { digest_seen(draft) } else { None },
        }
    };
    let (mut now, mut then) = (Tallying::new(since, until), Tallying::new(before, since));
    let (mut spend, mut traffic) = (Spend::new(since, until), Traffic::new(since, until));
    let (mut happened, mut looked_at) = (Digesting::default(), 0);
    walk(store, query, (pace, stop), judge, &mut |looked| {
        for Said { at, noted, spent, seen, digested } in looked {
            looked_at += 1;
            if let Some(noted) = noted {
                if at >= before {
                    now.take(noted.clone());
                }
                if at < since {
                    then.take(noted);
                }
            }
            spent.into_iter().for_each(|spent| spend.take(at, spent));
            seen.into_iter().for_each(|seen| traffic.take(at, seen));
            digested.into_iter().for_each(|digested| happened.take(at, digested));
        }
        progress(looked_at);
    })
    .await?;
    let partial = stop.is_stopped();
    let (card, earlier) = (now.finish(), then.finish());
    let mut spend = spend.report();
    for lines in [&mut spend.workflow, &mut spend.agent, &mut spend.tool] {
        lines.truncate(TOP);
    }
    let DigestFiles { config, policies, tests } = files;
    Ok(Digest {
        since,
        until,
        partial,
        decisions: total(&card),
        spend: DigestSpend {
            total: spend.total,
            day: spend.day,
            workflow: spend.workflow,
            agent: spend.agent,
            tool: spend.tool,
            throttles: spend.throttles,
            estimates: spend.estimates.into_iter().find(|one| one.tool.is_none()),
        },
        approvals: card.approval_integrity,
        happened: happened.finish(),
        dead_letters: letters(store, until).await?,
        scorecard: figures(&earlier, &card),
        drifting: card.drift_indicators.agents.clone(),
        maturity: maturity(Looked { config, policies, tests, card: &card }),
        advice: advise(&traffic).steps,
    })
}

async fn letters(store: &dyn Store, until: Timestamp) -> Result<OpenLetters, StoreError> {
    let DeadLetterPage { found, next } = dead_letters(store, false, (MOST_LETTERS, None), until).await?;
    let found: Vec<DeadLetter> =
        found.into_iter().filter(|letter| letter.side_effect.timestamp < until).collect();
    let newest = found.iter().take(TOP).map(|letter| {
        let draft = &letter.side_effect;
        OpenLetter {
            at: draft.timestamp,
            call_id: draft.call_id.clone(),
            trace_id: draft.trace_id,
            tool: draft.tool.as_deref().map(|tool| path_of(tool).into()),
            outcome: draft.outcome,
            reason: draft.reason.clone(),
        }
    });
    Ok(OpenLetters { open: found.len(), truncated: next.is_some(), newest: newest.collect() })
}

/// The decisions of all workflows.
fn total(card: &Scorecard) -> Distribution {
    let mut all = Distribution::default();
    for one in card.decision_distribution.values() {
        all.calls += one.calls;
        all.allow += one.allow;
        all.allow_with_constraints += one.allow_with_constraints;
        all.pending_approval += one.pending_approval;
        all.approved += one.approved;
        all.remediate += one.remediate;
        all.suggest += one.suggest;
        all.throttle += one.throttle;
        all.deny += one.deny;
    }
    all.rated()
}

fn count(count: u64) -> Option<f64> {
    Some(f64::from(u32::try_from(count).unwrap_or(u32::MAX)))
}

/// A share of so many; none of none.
fn rate(rate: f64, of: u64) -> Option<f64> {
    (of > 0).then_some(rate)
}

fn figures(before: &Scorecard, now: &Scorecard) -> Vec<Figure> {
    let figure = |figure, unit, of: &dyn Fn(&Scorecard, &Distribution) -> Option<f64>| Figure {
        figure,
        unit,
        before: of(before, &total(before)),
        now: of(now, &total(now)),
        drifts: false,
    };
    let drift = &now.drift_indicators;
    let drifts = |moved: &Moved, figure: Figure| Figure { drifts: moved.drifts, ..figure };
    let ms = |ms: Option<i64>| ms.map(|ms| f64::from(i32::try_from(ms).unwrap_or(i32::MAX)));
    vec![
        figure("calls", "count", &|_, all| count(all.calls)),
        figure("let through by policy alone", "rate", &|_, all| rate(all.allow_rate, all.calls)),
        drifts(&drift.deny_rate, figure("refused", "rate", &|_, all| rate(all.deny_rate, all.calls))),
        figure("changed", "rate", &|_, all| rate(all.remediate_rate, all.calls)),
        figure("approvals asked for", "count", &|card, _| count(card.approval_integrity.asked)),
        figure("answered in (half)", "ms", &|card, _| ms(card.approval_integrity.latency.p50_ms)),
        figure("answered in (nine of ten)", "ms", &|card, _| ms(card.approval_integrity.latency.p90_ms)),
        figure("approvals expired", "count", &|card, _| count(card.approval_integrity.expirations)),
        figure("asked under other policies", "count", &|card, _| count(card.approval_integrity.mismatches)),
        figure("risky calls held back or limited", "rate", &|card, _| {
            rate(card.constraint_usage.mitigated_rate, card.constraint_usage.high_risk)
        }),
        figure("dispatched calls with their end on record", "rate", &|card, _| {
            rate(card.audit_completeness.complete_rate, card.audit_completeness.dispatched)
        }),
        drifts(
            &drift.missing_metadata,
            figure("lacked metadata", "rate", &|card, all| {
                rate(card.drift_indicators.missing_metadata.now, all.calls)
            }),
        ),
        drifts(
            &drift.failures,
            figure("failed", "rate", &|card, _| {
                rate(card.drift_indicators.failures.now, card.audit_completeness.dispatched)
            }),
        ),
    ]
}

impl Digest {
    /// The same for those who read records without the values of arguments: no words of an upstream, and no query of a URI.
    #[must_use]
    pub fn without_values(mut self) -> Self {
        let sentence = |reason: Option<Arc<str>>| {
            reason.map(|reason| Arc::from(without_queries(&without_said(&reason))))
        };
        for one in &mut self.happened.refusals {
            one.reason = sentence(one.reason.take());
        }
        for one in &mut self.happened.alerts {
            one.reason = sentence(one.reason.take());
        }
        for one in &mut self.happened.changes {
            one.what = one.what.take().map(|what| without_queries(&what));
        }
        for one in &mut self.happened.failures {
            one.reason = None;
        }
        for one in &mut self.dead_letters.newest {
            one.reason = None;
        }
        self
    }

    /// The same for those who read no records: counts alone.
    #[must_use]
    pub fn without_records(self) -> Self {
        let mut counts = self.without_values();
        let happened = &mut counts.happened;
        for one in &mut happened.refusals {
            (one.reason, one.trace_id) = (None, None);
        }
        for one in &mut happened.alerts {
            one.reason = None;
        }
        let changes = std::mem::take(&mut happened.changes);
        happened.changes_before += u64::try_from(changes.len()).unwrap_or(u64::MAX);
        counts.dead_letters.newest.clear();
        counts
    }

    /// As Markdown.
    pub fn markdown(&self) -> String {
        markdown::document(&self.title(), &sections::sections(self))
    }

    /// As one HTML page that loads nothing.
    pub fn html(&self) -> String {
        html::document(&self.title(), &sections::sections(self))
    }

    fn title(&self) -> String {
        let day = |at: Timestamp| at.strftime("%Y-%m-%d %H:%M").to_string();
        format!("Tollgate from {} to {} UTC", day(self.since), day(self.until))
    }
}
