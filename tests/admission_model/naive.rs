//! A naive account of admission: every call and question ever made, added up from scratch at each step. It shares no code
//! with the rules.
//!
//! Where the clock has gone back, two processes may differ in what time a counter has reached, and both are right: times
//! are then kept as the earliest and the latest that they can be, and what was decided has to be right for one of them.

use crate::{Counters, call_id};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use tollgate::{
    cost::{BudgetAction, BudgetWindow},
    model::{ApprovalId, CallId, EventDecision, GrantId, MicroUsd},
    policy::Violation,
    store::{Admission, AdmitRequest, ApprovalRecord, Asked, LimitRefusal, StandingGrant},
};

const MINUTE: i64 = 60_000_000;

/// The earliest and the latest that something can be, in microseconds.
type Span = (i64, i64);

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Sum {
    calls: u64,
    tokens: u64,
    cost: i64,
}

/// A granted call.
struct Given {
    call: CallId,
    owner: u32,
    open: bool,
    now: Timestamp,
    at: Span,
    /// Policy, key and window of each counter.
    counters: Vec<(String, String, BudgetWindow)>,
    tokens: u64,
    cost: i64,
    repeat: Option<(String, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Stands {
    Pending,
    Approved,
    Rejected(i64),
    Used,
}

struct Question {
    record: ApprovalRecord,
    stands: Stands,
}

#[derive(Default)]
pub(crate) struct Naive {
    given: Vec<Given>,
    questions: Vec<Question>,
    /// Agent and call of each ask, which counts as a repeat.
    asked: Vec<(String, String, Span)>,
    /// Which incarnation of each process lives, and which are dead with calls to settle.
    living: [u32; 2],
    dead: BTreeSet<(usize, u32)>,
    used: BTreeSet<ApprovalId>,
    /// Each grant as it was made, how many calls it has let through, and whether a person has taken it back.
    grants: BTreeMap<GrantId, (StandingGrant, u64, bool)>,
    newest: i64,
}

/// One limit of a request with what it may stand at.
struct Look {
    id: String,
    key: String,
    window: BudgetWindow,
    caps: (Option<u64>, Option<u64>, Option<MicroUsd>),
    decision: EventDecision,
    least: Sum,
    most: Sum,
}

impl Look {
    fn full(&self, used: Sum, request: &AdmitRequest) -> bool {
        let (calls, tokens, cost) = self.caps;
        calls.is_some_and(|cap| used.calls + 1 > cap)
            || tokens.is_some_and(|cap| used.tokens + request.tokens > cap)
            || cost.is_some_and(|cap| used.cost + request.cost.0 > cap.0)
    }

    fn must(&self, request: &AdmitRequest) -> bool {
        self.full(self.least, request)
    }

    fn may(&self, request: &AdmitRequest) -> bool {
        self.full(self.most, request)
    }
}

fn rank(decision: EventDecision) -> u8 {
    match decision {
        EventDecision::Deny => 0,
        EventDecision::Throttle => 1,
        EventDecision::PendingApproval => 2,
        other => panic!("no limit says {other:?}"),
    }
}

/// Two times are in the same calendar window where their texts begin alike.
fn begin(window: BudgetWindow, at: Timestamp) -> String {
    let length = match window {
        BudgetWindow::Minute => panic!("it rolls"),
        BudgetWindow::Hour => 13,
        BudgetWindow::Day => 10,
        BudgetWindow::Month => 7,
        BudgetWindow::Ever => 0,
    };
    at.to_string().chars().take(length).collect()
}

/// When the calendar window that holds a time ends.
fn end(window: BudgetWindow, at: Timestamp) -> Option<Timestamp> {
    let begin = begin(window, at);
    let hours =
        |text: String, hours| text.parse::<Timestamp>().unwrap() + jiff::SignedDuration::from_hours(hours);
    match window {
        BudgetWindow::Minute | BudgetWindow::Ever => None,
        BudgetWindow::Hour => Some(hours(format!("{begin}:00:00Z"), 1)),
        BudgetWindow::Day => Some(hours(format!("{begin}T00:00:00Z"), 24)),
        BudgetWindow::Month => (28..32)
            .map(|days| hours(format!("{begin}-01T00:00:00Z"), 24 * days))
            .find(|next| !next.to_string().starts_with(&begin)),
    }
}

impl Naive {
    /// The latest time that anybody can have named.
    pub(crate) fn saw(&mut self, newest: Timestamp) {
        self.newest = newest.as_microsecond();
    }

    fn span(&self, now: Timestamp) -> Span {
        (now.as_microsecond(), self.newest.max(now.as_microsecond()))
    }

    /// What a counter stands at, at least and at most.
    fn sums(&self, id: &str, key: &str, window: BudgetWindow, now: Timestamp) -> (Sum, Sum) {
        let of = (id.to_owned(), key.to_owned(), window);
        let (mut least, mut most) = (Sum::default(), Sum::default());
        let (early, late) = self.span(now);
        for given in self.given.iter().filter(|given| given.counters.contains(&of)) {
            let (surely, perhaps) = match window {
                BudgetWindow::Minute => (given.at.0 + MINUTE > late, given.at.1 + MINUTE > early),
                _ => [begin(window, given.now) == begin(window, now); 2].into(),
            };
            for (sum, _) in
                [(&mut least, surely), (&mut most, perhaps)].into_iter().filter(|(_, counts)| *counts)
            {
                sum.calls += 1;
                sum.tokens += given.tokens;
                sum.cost += given.cost;
            }
        }
        (least, most)
    }

    fn looks(&self, request: &AdmitRequest, agent: &str) -> Vec<Look> {
        let look = |id: &str, key: &str, window, caps, decision| {
            let (least, most) = self.sums(id, key, window, request.now);
            Look { id: id.to_owned(), key: key.to_owned(), window, caps, decision, least, most }
        };
        let rates = request.rates.iter().map(|rate| {
            let decision = match rate.on_violation {
                Violation::Throttle => EventDecision::Throttle,
                Violation::Deny => EventDecision::Deny,
            };
            let caps = (rate.max_calls, None, rate.max_cost);
            look(&rate.policy_id, agent, BudgetWindow::Minute, caps, decision)
        });
        let budgets = request.budgets.iter().map(|budget| {
            let decision = match budget.on_exceed {
                BudgetAction::Throttle => EventDecision::Throttle,
                BudgetAction::Deny => EventDecision::Deny,
                BudgetAction::RequireApproval => EventDecision::PendingApproval,
            };
            let caps = (budget.max_calls, budget.max_tokens, budget.max_cost);
            look(&budget.id, &budget.key, budget.window, caps, decision)
        });
        rates.chain(budgets).collect()
    }

    /// When the repeats of a call that still count, or may, were made.
    fn repeats(&self, agent: &str, digest: &str, now: Timestamp) -> (usize, Vec<Span>) {
        let (early, late) = self.span(now);
        let calls = self.given.iter().filter_map(|given| Some((given.repeat.as_ref()?, given.at)));
        let own = (agent.to_owned(), digest.to_owned());
        let calls = calls.filter(|(repeat, _)| **repeat == own).map(|(_, at)| at);
        let asks = self.asked.iter().filter(|(a, d, _)| a == agent && d == digest).map(|(_, _, at)| *at);
        let mut most: Vec<Span> = calls.chain(asks).filter(|at| at.1 + MINUTE > early).collect();
        most.sort_unstable();
        (most.iter().filter(|at| at.0 + MINUTE > late).count(), most)
    }

    /// Holds what was decided against the account, and takes it in.
    pub(crate) fn admit(&mut self, process: usize, request: &AdmitRequest, admission: &Admission) {
        let agent = request.event.agent_id.as_deref().unwrap().to_owned();
        let asked = request.approval.as_ref().map(|(id, binding)| {
            let found = self.questions.iter().find(|question| question.record.id == *id).unwrap();
            let usable = found.stands == Stands::Approved
                && found.record.binding == *binding
                && found.record.expires_at > request.now;
            (id.clone(), usable)
        });
        if asked.as_ref().is_some_and(|(_, usable)| !usable) {
            assert!(matches!(admission, Admission::ApprovalUnusable(_)), "{admission:?}");
            return;
        }
        let by_grant = request.grant.as_ref().map(|(id, terms)| {
            let (grant, used, revoked) = &self.grants[id];
            let usable = **terms == grant.terms
                && !revoked
                && *used < grant.terms.uses
                && request.now < grant.terms.expires_at;
            (id.clone(), usable)
        });
        if by_grant.as_ref().is_some_and(|(_, usable)| !usable) {
            assert!(matches!(admission, Admission::ApprovalUnusable(_)), "{admission:?}");
            return;
        }
        let excuses = |look: &&Look| {
            !(asked.is_some() && look.id == "gate" && look.decision == EventDecision::PendingApproval)
        };
        let looks = self.looks(request, &agent);
        let looks: Vec<&Look> = looks.iter().filter(excuses).collect();
        let (least, most) = self.repeats(&agent, &request.digest, request.now);
        let max = request.max_repeats.filter(|_| asked.is_none());
        let loops = |count: usize| max.is_some_and(|max| count >= max as usize);
        match admission {
            Admission::ApprovalUnusable(reason) => panic!("it was usable: {reason}"),
            Admission::Outdated(read) => panic!("nothing was read: {read:?}"),
            Admission::Refused(refusal) => {
                let exact = least == most.len()
                    && most.iter().all(|at| at.0 == at.1)
                    && self.given.iter().all(|given| given.at.0 == given.at.1)
                    && self.newest <= request.now.as_microsecond();
                if &*refusal.policy_id == "loop" {
                    assert!(loops(most.len()), "{refusal:?}");
                    assert_eq!(refusal.decision, EventDecision::Throttle);
                    let stricter = |look: &&&Look| look.decision == EventDecision::Deny && look.must(request);
                    assert!(!looks.iter().any(|look| stricter(&look)), "{refusal:?}");
                    if exact {
                        let leaving = most[most.len() - max.unwrap() as usize].0 + MINUTE;
                        assert_eq!(refusal.retry_after_ms, Some(wait(request.now, leaving)));
                    }
                } else {
                    self.refused(request, refusal, &looks, loops(least), exact);
                }
            }
            Admission::Granted | Admission::GrantedUpTo(_) => {
                let full: Vec<_> =
                    looks.iter().filter(|look| look.must(request)).map(|look| &look.id).collect();
                assert!(full.is_empty() && !loops(least), "granted over {full:?}, {least} repeats");
                if let Some((id, _)) = &asked {
                    assert!(self.used.insert(id.clone()), "approval `{id}` was used twice");
                    let own = self.questions.iter_mut().find(|question| question.record.id == *id).unwrap();
                    own.stands = Stands::Used;
                }
                if let Some((id, _)) = &by_grant {
                    self.grants.get_mut(id).unwrap().1 += 1;
                }
                let all = self.looks(request, &agent);
                self.given.push(Given {
                    call: call_id(request),
                    owner: self.living[process] * 2 + u32::try_from(process).unwrap(),
                    open: true,
                    now: request.now,
                    at: self.span(request.now),
                    counters: all.into_iter().map(|look| (look.id, look.key, look.window)).collect(),
                    tokens: request.tokens,
                    cost: request.cost.0,
                    repeat: request
                        .max_repeats
                        .filter(|_| asked.is_none())
                        .map(|_| (agent, request.digest.to_string())),
                });
            }
        }
    }

    /// A limit refused: it can be full, it is the first of the strictest that are, and it says when it has room.
    fn refused(
        &self,
        request: &AdmitRequest,
        refusal: &LimitRefusal,
        looks: &[&Look],
        looping: bool,
        exact: bool,
    ) {
        let place = looks.iter().position(|look| look.id == *refusal.policy_id).unwrap();
        let own = looks[place];
        assert!(own.may(request), "{refusal:?}");
        assert_eq!(own.decision, refusal.decision);
        assert!(own.decision == EventDecision::Deny || !looping, "the loop comes first: {refusal:?}");
        for (other, look) in looks.iter().enumerate() {
            let before = (rank(look.decision), other) < (rank(own.decision), place);
            assert!(!before || !look.must(request), "`{}` comes before {refusal:?}", look.id);
        }
        if exact {
            let room = self.room_at(own, request);
            assert_eq!(refusal.retry_after_ms, room.map(|at| wait(request.now, at)), "{refusal:?}");
        }
    }

    fn room_at(&self, look: &Look, request: &AdmitRequest) -> Option<i64> {
        if look.decision != EventDecision::Throttle || look.full(Sum::default(), request) {
            return None;
        }
        if look.window != BudgetWindow::Minute {
            return end(look.window, request.now).map(Timestamp::as_microsecond);
        }
        // As time goes on and nothing else happens.
        let mut times: Vec<i64> = self.given.iter().map(|given| given.at.0 + MINUTE).collect();
        times.sort_unstable();
        times.into_iter().filter(|at| *at > request.now.as_microsecond()).find(|at| {
            let then = Timestamp::from_microsecond(*at).unwrap();
            let (_, left) = self.sums(&look.id, &look.key, look.window, then);
            !look.full(left, request)
        })
    }

    /// What a call really took, where it is open still.
    pub(crate) fn settle(&mut self, request: &AdmitRequest, took: Option<(u64, i64)>) {
        let id = call_id(request);
        if let Some(given) = self.given.iter_mut().find(|given| given.call == id && given.open) {
            given.open = false;
            (given.tokens, given.cost) = took.unwrap_or((given.tokens, given.cost));
        }
    }

    /// What has ended counts no more; what is open does, and as what it will have taken.
    pub(crate) fn reset(&mut self, (id, key, window): (&str, &str, BudgetWindow), now: Timestamp) {
        let of = (id.to_owned(), key.to_owned(), window);
        for given in self.given.iter_mut().filter(|given| !given.open) {
            if window == BudgetWindow::Minute || begin(window, given.now) == begin(window, now) {
                given.counters.retain(|counter| *counter != of);
            }
        }
    }

    pub(crate) fn is_open(&self, request: &AdmitRequest) -> bool {
        let id = call_id(request);
        self.given.iter().any(|given| given.call == id && given.open)
    }

    pub(crate) fn crash(&mut self, process: usize) {
        self.dead.insert((process, self.living[process]));
        self.living[process] += 1;
    }

    /// Calls of the dead keep what they reserved.
    pub(crate) fn settle_dead(&mut self) -> u64 {
        let mut settled = 0;
        for (process, incarnation) in std::mem::take(&mut self.dead) {
            let owner = incarnation * 2 + u32::try_from(process).unwrap();
            for given in self.given.iter_mut().filter(|given| given.owner == owner && given.open) {
                given.open = false;
                settled += 1;
            }
        }
        settled
    }

    /// Holds what came of a question against the account, and takes it in.
    pub(crate) fn ask(&mut self, record: &ApprovalRecord, asked: &Asked) {
        let (agent, now) = (record.binding.agent.to_string(), record.created_at);
        self.asked.push((agent, record.binding.call.to_string(), self.span(now)));
        let pending =
            |question: &&Question| question.stands == Stands::Pending && question.record.expires_at > now;
        let same = |question: &&Question| question.record.binding == record.binding;
        let waiting = self.questions.iter().filter(pending).filter(same).max_by_key(|q| q.record.created_at);
        if let Some(waiting) = waiting {
            assert!(matches!(asked, Asked::Reused(found) if found.id == waiting.record.id), "{asked:?}");
            return;
        }
        let own: Vec<&Question> =
            self.questions.iter().filter(|q| q.record.binding.agent == record.binding.agent).collect();
        let window = 600_000_000;
        let since = now.as_microsecond() - window;
        // When there will be fewer than `most` of these in the window.
        let leaves = |mut times: Vec<i64>, most: usize| {
            times.retain(|at| *at > since);
            times.sort_unstable();
            let at = *times.get(times.len().checked_sub(most)?)?;
            Some(wait(now, at + window))
        };
        let rejected = own.iter().filter_map(|question| match question.stands {
            Stands::Rejected(at) => Some(at),
            _ => None,
        });
        let unapproved = own.iter().filter(|q| matches!(q.stands, Stands::Pending | Stands::Rejected(_)));
        let unapproved = unapproved.map(|question| question.record.created_at.as_microsecond());
        let expect = if own.iter().copied().filter(pending).count() >= 3 {
            Some(60_000)
        } else {
            leaves(rejected.collect(), 2).or_else(|| leaves(unapproved.collect(), 5))
        };
        match (asked, expect) {
            (Asked::Made(made), None) => {
                self.questions.push(Question { record: made.clone(), stands: Stands::Pending });
            }
            (Asked::Refused(refusal), Some(wait)) => {
                assert_eq!((&*refusal.policy_id, refusal.retry_after_ms), ("approvals", Some(wait)));
            }
            (other, expect) => panic!("{other:?}, expected {expect:?}"),
        }
    }

    pub(crate) fn make_grant(&mut self, grant: &StandingGrant) {
        assert!(self.grants.insert(grant.id.clone(), (grant.clone(), 0, false)).is_none());
    }

    /// Whether there is something to take back.
    pub(crate) fn revoke(&mut self, grant: &StandingGrant) -> bool {
        let (grant, used, revoked) = self.grants.get_mut(&grant.id).unwrap();
        *used < grant.terms.uses && !std::mem::replace(revoked, true)
    }

    /// Whether it can be decided, and takes it in.
    pub(crate) fn decide(&mut self, record: &ApprovalRecord, approve: bool, now: Timestamp) -> bool {
        let own = self.questions.iter_mut().find(|question| question.record.id == record.id).unwrap();
        if own.stands != Stands::Pending {
            return false;
        }
        own.stands = if approve { Stands::Approved } else { Stands::Rejected(now.as_microsecond()) };
        true
    }

    /// Where the counters stand, as somebody whose clock is the newest says it, is what was counted.
    pub(crate) fn agrees(&self, counters: &Counters, now: Timestamp) {
        let known: BTreeMap<_, _> = self
            .given
            .iter()
            .flat_map(|given| &given.counters)
            .map(|(id, key, window)| {
                let word = format!("{window:?}").to_lowercase();
                ((id.clone(), key.clone(), word), self.sums(id, key, *window, now))
            })
            .collect();
        assert!(counters.keys().all(|place| known.contains_key(place)), "{counters:?}");
        for (place, (least, most)) in known {
            let (calls, tokens, cost) = counters.get(&place).copied().unwrap_or_default();
            let within = (least.calls..=most.calls).contains(&calls)
                && (least.tokens..=most.tokens).contains(&tokens)
                && (least.cost..=most.cost).contains(&cost);
            assert!(within, "{place:?}: {calls}, {tokens}, {cost}; {least:?} to {most:?}");
        }
    }

    /// Never more calls than a cap, in any day and in any 60 s.
    pub(crate) fn holds(&self) {
        let mut days: BTreeMap<String, usize> = BTreeMap::new();
        for given in &self.given {
            let of = |id: &str| given.counters.iter().find(|(own, ..)| own == id);
            if of("b-day").is_some() {
                *days.entry(begin(BudgetWindow::Day, given.now)).or_default() += 1;
            }
            for (id, cap) in [("r-calls", 4), ("b-minute", 5)] {
                let Some(place) = of(id) else { continue };
                let others = self.given.iter().filter(|other| other.counters.contains(place));
                let together =
                    others.filter(|o| o.at.0 > given.at.1 - MINUTE && o.at.1 <= given.at.0).count();
                assert!(together <= cap, "{together} calls in a minute under `{id}`");
            }
        }
        assert!(days.values().all(|calls| *calls <= 9), "{days:?}");
    }
}

/// Whole milliseconds from `now` until `at`, rounded up.
fn wait(now: Timestamp, at: i64) -> u64 {
    let micros = u64::try_from((at - now.as_microsecond()).max(0)).unwrap();
    micros.div_ceil(1_000)
}
