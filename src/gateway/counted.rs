//! Refusals that repeat one that is recorded: counted here, and recorded as one when their minute is over.
//!
//! Of each agent, so many refusals stand on record one by one within a minute; what is refused beyond that is counted by
//! what refused it. Nothing here decides: the agent's answer is the same either way.

use crate::{
    evidence::Counted,
    model::{
        AgentId, EventDecision, EventDraft, PersonId, PolicyId, RuleId, Sensitivity, SnapshotId, WorkflowId,
    },
    store::Unrecorded,
};
use dashmap::DashMap;
use jiff::Timestamp;
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    hash::Hash,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

/// How long refusals count as repeats of the first of them.
const MINUTE: Duration = Duration::from_secs(60);
/// Refusals of one agent that are recorded one by one within a minute.
pub(super) const MOST_OF_AGENT: usize = 60;
/// The same of all agents together.
const MOST: usize = 8_192;
/// What each agent has of them, however many others there are.
const ALWAYS: usize = 4;
/// What of one agent is counted by what refused it. Whatever is beyond is counted together.
const MOST_CLASSES: usize = 16;
/// Records that wait for a store that does not take them.
const MOST_UNWRITTEN: usize = 4_096;

const MIXED: &str = "more of this agent's calls were refused in a minute than are recorded one by one: those that this policy \
                     refused are counted together";
const MIXED_POLICIES: &str = "more of this agent's calls were refused in a minute than are recorded one by one: those of several \
                              policies are counted together";

/// What makes one refusal a repeat of another, beside the agent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// What kind of request.
    pub(super) word: &'static str,
    pub(super) tool: Arc<str>,
    /// Whom the agent acted for.
    pub(super) user: Option<PersonId>,
    /// The workflow it ran in.
    pub(super) workflow: Option<WorkflowId>,
    pub(super) by: By,
    /// None where it has figures that differ from call to call.
    pub(super) reason: Option<Arc<str>>,
    /// What else tells them apart: the approval that was rejected, or the call that a proposal is for.
    pub(super) of: Option<Arc<str>>,
    pub(super) snapshot: SnapshotId,
}

impl Key {
    /// A limit has refused it: what it stands at differs from call to call.
    fn is_limit(&self) -> bool {
        self.reason.is_none()
    }
}

/// What refused a call.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct By {
    pub(super) decision: EventDecision,
    pub(super) policy: PolicyId,
    pub(super) rule: Option<RuleId>,
}

/// What is to be done about a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Noted {
    /// It is the first of its kind: it is recorded.
    First,
    /// It is counted.
    Counted,
}

/// Refusals of one kind within a minute.
#[derive(Debug)]
struct Entry {
    since: Duration,
    /// When what was counted was recorded last.
    told: Duration,
    /// The first of them is on record, or about to be.
    recorded: bool,
    /// Those that are not recorded one by one.
    counted: Option<Counted>,
    /// A limit has refused them.
    by_limit: bool,
    level: Sensitivity,
    /// What is said of one of them.
    like: Box<EventDraft>,
}

#[derive(Debug, Default)]
struct OfAgent {
    single: HashMap<Key, Entry>,
    classes: HashMap<By, Entry>,
    rest: Option<Entry>,
}

/// The refusals of the last minute.
#[derive(Debug, Default)]
pub(super) struct CountedRefusals {
    agents: DashMap<AgentId, OfAgent>,
    /// Entries of single refusals of all agents.
    single: AtomicUsize,
    unwritten: Mutex<Vec<EventDraft>>,
}

impl Entry {
    fn new(event: &EventDraft, by_limit: bool, now: Duration) -> Self {
        Self {
            since: now,
            told: now,
            recorded: true,
            counted: None,
            by_limit,
            level: event.sensitivity_level,
            like: Box::new(event.clone()),
        }
    }

    fn is_over(&self, now: Duration) -> bool {
        now.saturating_sub(self.since) >= MINUTE
    }

    fn count(&mut self, event: &EventDraft) {
        let (at, by_limit) = (event.timestamp, self.by_limit);
        let counted = self.counted.get_or_insert(Counted { count: 0, since: at, until: at, by_limit });
        counted.count += 1;
        counted.until = counted.until.max(at);
        self.level = self.level.max(event.sensitivity_level);
        if self.like.user != event.user {
            self.like.user = None;
        }
        if self.like.workflow_id != event.workflow_id {
            self.like.workflow_id = None;
        }
    }

    /// The record of those that were counted so far, where nothing was recorded of them for so long.
    fn so_far(
        &mut self,
        mixed: Option<&'static str>,
        (every, now): (Duration, Duration),
        at: Timestamp,
    ) -> Option<EventDraft> {
        if now.saturating_sub(self.told) < every {
            return None;
        }
        let counted = self.counted.take()?;
        self.told = now;
        let mut event = counted.record((*self.like).clone(), mixed.map(Arc::from), at);
        event.sensitivity_level = self.level;
        Some(event)
    }

    /// The record of those that are counted, where there are any.
    fn record(self, mixed: Option<&'static str>, now: Timestamp) -> Option<EventDraft> {
        let mut event = self.counted?.record(*self.like, mixed.map(Arc::from), now);
        event.sensitivity_level = self.level;
        Some(event)
    }
}

/// Takes out what is over, and gives its records.
fn take<K: Eq + Hash>(
    entries: &mut HashMap<K, Entry>,
    is_over: impl Fn(&Entry) -> bool,
    mixed: Option<&'static str>,
    now: Timestamp,
    ended: &mut Vec<EventDraft>,
) {
    ended.extend(
        entries.extract_if(|_, entry| is_over(entry)).filter_map(|(_, entry)| entry.record(mixed, now)),
    );
}

/// Of several policies: none of them is named.
fn of_several(mut event: EventDraft) -> EventDraft {
    (event.policy_id, event.rule_id) = (None, None);
    event
}

impl OfAgent {
    fn take(&mut self, is_over: impl Fn(&Entry) -> bool, now: Timestamp, ended: &mut Vec<EventDraft>) {
        take(&mut self.single, &is_over, None, now, ended);
        take(&mut self.classes, &is_over, Some(MIXED), now, ended);
        let rest = self.rest.take_if(|rest| is_over(rest));
        ended.extend(rest.and_then(|rest| rest.record(Some(MIXED_POLICIES), now)).map(of_several));
    }

    /// Records of what was counted so far.
    fn so_far(&mut self, times: (Duration, Duration), at: Timestamp, ended: &mut Vec<EventDraft>) {
        ended.extend(self.single.values_mut().filter_map(|entry| entry.so_far(None, times, at)));
        ended.extend(self.classes.values_mut().filter_map(|entry| entry.so_far(Some(MIXED), times, at)));
        let rest = self.rest.as_mut().and_then(|rest| rest.so_far(Some(MIXED_POLICIES), times, at));
        ended.extend(rest.map(of_several));
    }

    fn is_empty(&self) -> bool {
        self.single.is_empty() && self.classes.is_empty() && self.rest.is_none()
    }

    /// One that is not recorded one by one.
    fn count(&mut self, key: &Key, event: &EventDraft, now: Duration) {
        let by = key.by.clone();
        let has_room = self.classes.len() < MOST_CLASSES || self.classes.contains_key(&by);
        let new = || Entry::new(event, key.is_limit(), now);
        let entry = match has_room {
            true => self.classes.entry(by).or_insert_with(new),
            false => self.rest.get_or_insert_with(new),
        };
        entry.count(event);
    }
}

impl CountedRefusals {
    /// Takes note of a refusal; `event` is what [`crate::evidence::CallSubject::refused`] says of it. `recorded`: it stands on
    /// record already, whatever is found here. What is over by now comes as records in `ended`.
    pub(super) fn note(
        &self,
        agent: &AgentId,
        key: &Key,
        event: &EventDraft,
        recorded: bool,
        now: Duration,
        ended: &mut Vec<EventDraft>,
    ) -> Noted {
        let mut of_agent = self.agents.entry(agent.clone()).or_default();
        if let Some(entry) = of_agent.single.get_mut(key)
            && !entry.is_over(now)
        {
            if !std::mem::replace(&mut entry.recorded, true) {
                return Noted::First;
            }
            if !recorded {
                entry.count(event);
            }
            return Noted::Counted;
        }
        let before = of_agent.single.len();
        of_agent.take(|entry| entry.is_over(now), event.timestamp, ended);
        self.single.fetch_sub(before - of_agent.single.len(), Ordering::Relaxed);
        if self.has_room(&of_agent) {
            of_agent.single.insert(key.clone(), Entry::new(event, key.is_limit(), now));
            self.single.fetch_add(1, Ordering::Relaxed);
            return Noted::First;
        }
        if !recorded {
            of_agent.count(key, event, now);
        }
        Noted::Counted
    }

    fn has_room(&self, of_agent: &OfAgent) -> bool {
        let own = of_agent.single.len();
        own < ALWAYS || (own < MOST_OF_AGENT && self.single.load(Ordering::Relaxed) < MOST)
    }

    /// A first one that could not be recorded is one of those that are counted, and the next one is tried in its place.
    pub(super) fn unrecorded(&self, agent: &AgentId, key: &Key, event: &EventDraft) {
        if let Some(entry) = self.agents.get_mut(agent).as_mut().and_then(|of| of.single.get_mut(key)) {
            entry.recorded = false;
            entry.count(event);
        }
    }

    /// Which refusals by limits of a call of this tool would be repeats.
    pub(super) fn repeats(&self, agent: &AgentId, word: &str, tool: &str, now: Duration) -> Unrecorded {
        // For nearly all calls there is nothing to look for.
        if self.single.load(Ordering::Relaxed) == 0 {
            return Unrecorded::None;
        }
        let Some(of_agent) = self.agents.get(agent) else { return Unrecorded::None };
        if !self.has_room(&of_agent) {
            return Unrecorded::All;
        }
        let repeats = of_agent.single.iter().filter(|(key, entry)| {
            key.is_limit() && key.word == word && *key.tool == *tool && !entry.is_over(now)
        });
        let by: Vec<_> = repeats.map(|(key, _)| (key.by.policy.clone(), key.by.decision)).collect();
        match by.is_empty() {
            true => Unrecorded::None,
            false => Unrecorded::Of(by),
        }
    }

    /// The records of what is over, of what was counted for as long as `every`, and of what could not be written before; of `all` at a
    /// reload and at the end.
    pub(super) fn ended(&self, all: bool, every: Duration, now: Duration, at: Timestamp) -> Vec<EventDraft> {
        let mut ended = std::mem::take(&mut *self.unwritten.lock());
        self.agents.retain(|_, of_agent| {
            let before = of_agent.single.len();
            of_agent.take(|entry| all || entry.is_over(now), at, &mut ended);
            of_agent.so_far((every, now), at, &mut ended);
            self.single.fetch_sub(before - of_agent.single.len(), Ordering::Relaxed);
            !of_agent.is_empty()
        });
        ended
    }

    /// Takes records back that could not be written; they come again with [`Self::ended`].
    pub(super) fn keep(&self, events: Vec<EventDraft>) {
        let mut unwritten = self.unwritten.lock();
        unwritten.extend(events);
        let over = unwritten.len().saturating_sub(MOST_UNWRITTEN);
        if over > 0 {
            unwritten.drain(..over);
            tracing::error!(records = over, "records of counted refusals are lost: the store takes none");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::EventType;

    fn key(tool: &str, policy: &str) -> Key {
        Key {
            word: "tool",
            tool: tool.into(),
            user: None,
            workflow: None,
            by: By { decision: EventDecision::Deny, policy: policy.into(), rule: None },
            reason: Some("because".into()),
            of: None,
            snapshot: "s".into(),
        }
    }

    struct Agents {
        counted: CountedRefusals,
        ended: Vec<EventDraft>,
    }

    impl Agents {
        fn new() -> Self {
            Self { counted: CountedRefusals::default(), ended: Vec::new() }
        }

        fn at(second: u64) -> Timestamp {
            Timestamp::from_second(i64::try_from(second).unwrap()).unwrap()
        }

        fn note(&mut self, agent: &str, key: &Key, second: u64) -> Noted {
            let mut event = EventDraft::system(EventType::AgentDecision, Self::at(second));
            event.tool = Some(key.tool.clone());
            event.policy_id = Some(key.by.policy.clone());
            let now = Duration::from_secs(second);
            self.counted.note(&agent.into(), key, &event, false, now, &mut self.ended)
        }

        /// Tool, policy, count and span of what is written.
        fn told(&mut self) -> Vec<(String, String, u64, i64, i64)> {
            let told = std::mem::take(&mut self.ended).into_iter().map(|event| {
                let event = EventDraft::from_body(&event.body()).unwrap();
                let counted = Counted::of(&event).unwrap();
                let text = |value: Option<&str>| value.unwrap_or("-").to_owned();
                let (tool, policy) = (text(event.tool.as_deref()), text(event.policy_id.as_deref()));
                (tool, policy, counted.count, counted.since.as_second(), counted.until.as_second())
            });
            let mut told: Vec<_> = told.collect();
            told.sort();
            told
        }

        fn sweep(&mut self, all: bool, second: u64) {
            self.sweep_every(all, MINUTE, second);
        }

        fn sweep_every(&mut self, all: bool, every: Duration, second: u64) {
            self.ended = self.counted.ended(all, every, Duration::from_secs(second), Self::at(second));
        }
    }

    fn row(tool: &str, policy: &str, count: u64, since: i64, until: i64) -> (String, String, u64, i64, i64) {
        (tool.to_owned(), policy.to_owned(), count, since, until)
    }

    /// Whoever watches for refusals does not wait for the minute: what was counted is recorded as often as is said, and the next first
    /// one is still that of the next minute.
    #[test]
    fn counts_are_recorded_as_often_as_somebody_looks() {
        let mut agents = Agents::new();
        let read = key("read", "gate");
        assert_eq!(agents.note("ada", &read, 0), Noted::First);
        for second in 1..9 {
            assert_eq!(agents.note("ada", &read, second), Noted::Counted);
            agents.sweep_every(false, Duration::from_secs(4), second);
            let expect = match second {
                4 => vec![row("read", "gate", 4, 1, 4)],
                8 => vec![row("read", "gate", 4, 5, 8)],
                _ => Vec::new(),
            };
            assert_eq!(agents.told(), expect, "{second}");
        }
        agents.sweep_every(false, Duration::from_secs(4), 20);
        assert_eq!(agents.told(), []);
        assert_eq!(agents.note("ada", &read, 59), Noted::Counted);
        agents.sweep(false, 60);
        assert_eq!(agents.told(), [row("read", "gate", 1, 59, 59)]);
        assert_eq!(agents.note("ada", &read, 60), Noted::First);
    }

    /// I12: the first stands for itself, the rest of the minute for a count; then it begins again.
    #[test]
    fn repeats_of_a_minute_are_one_record() {
        let mut agents = Agents::new();
        let once = key("t", "p");
        assert_eq!(agents.note("a", &once, 100), Noted::First);
        for second in [100, 130, 159] {
            assert_eq!(agents.note("a", &once, second), Noted::Counted);
        }
        // Another agent, tool, policy, reason or workflow is another refusal.
        assert_eq!(agents.note("a", &Key { workflow: Some("w".into()), ..once.clone() }, 101), Noted::First);
        assert_eq!(agents.note("b", &once, 101), Noted::First);
        assert_eq!(agents.note("a", &key("u", "p"), 101), Noted::First);
        assert_eq!(agents.note("a", &key("t", "q"), 101), Noted::First);
        assert_eq!(agents.note("a", &Key { reason: Some("else".into()), ..once.clone() }, 101), Noted::First);
        assert_eq!(agents.told(), []);
        assert_eq!(agents.note("a", &once, 160), Noted::First);
        assert_eq!(agents.told(), [row("t", "p", 3, 100, 159)]);
        assert_eq!(agents.note("a", &once, 161), Noted::Counted);
        agents.sweep(false, 219);
        assert_eq!(agents.told(), []);
        agents.sweep(false, 220);
        assert_eq!(agents.told(), [row("t", "p", 1, 161, 161)]);
        // One that nothing repeated leaves nothing.
        assert_eq!(agents.note("a", &once, 300), Noted::First);
        agents.sweep(true, 301);
        assert_eq!(agents.told(), []);
        assert_eq!(agents.counted.single.load(Ordering::Relaxed), 0);
        assert!(agents.counted.agents.is_empty());
    }

    /// I12: an agent that thinks of something new each time has a bound too, and what is beyond is counted by what refused it.
    #[test]
    fn what_is_new_each_time_is_bounded() {
        let mut agents = Agents::new();
        let mut firsts = 0;
        for number in 0..1_000 {
            firsts += usize::from(agents.note("a", &key(&format!("t{number}"), "scope"), 5) == Noted::First);
        }
        assert_eq!(firsts, MOST_OF_AGENT);
        for number in 0..100 {
            assert_eq!(agents.note("a", &key("t", &format!("p{number:02}")), 6), Noted::Counted);
        }
        // Others have their own.
        assert_eq!(agents.note("b", &key("t", "scope"), 6), Noted::First);
        agents.sweep(true, 7);
        let mut expect: Vec<_> =
            (0..MOST_CLASSES - 1).map(|number| row("-", &format!("p{number:02}"), 1, 6, 6)).collect();
        expect.insert(0, row("-", "-", 100 - (MOST_CLASSES as u64 - 1), 6, 6));
        expect.push(row("-", "scope", 1_000 - MOST_OF_AGENT as u64, 5, 5));
        assert_eq!(agents.told(), expect);
    }

    /// However many agents there are, what is held is bounded, and each of them has some.
    #[test]
    fn all_agents_together_are_bounded() {
        let mut agents = Agents::new();
        let many = MOST / MOST_OF_AGENT + 10;
        for agent in 0..many {
            for number in 0..MOST_OF_AGENT {
                agents.note(&agent.to_string(), &key(&format!("t{number}"), "scope"), 1);
            }
        }
        let held = || agents.counted.single.load(Ordering::Relaxed);
        assert!(held() <= MOST + 10 * ALWAYS, "{}", held());
        assert_eq!(agents.note("quiet", &key("t", "scope"), 1), Noted::First);
    }

    /// A refusal that the store records is one like it, and is not counted once more.
    #[test]
    fn what_the_store_records_is_not_counted() {
        let mut agents = Agents::new();
        let limit = Key { reason: None, ..key("t", "burst") };
        let event = EventDraft::system(EventType::AgentDecision, Agents::at(1));
        let now = Duration::from_secs(1);
        let repeats = |agents: &Agents, tool: &str| agents.counted.repeats(&"a".into(), "tool", tool, now);
        assert_eq!(repeats(&agents, "t"), Unrecorded::None);
        for expect in [Noted::First, Noted::Counted] {
            let noted = agents.counted.note(&"a".into(), &limit, &event, true, now, &mut agents.ended);
            assert_eq!(noted, expect);
        }
        assert_eq!(repeats(&agents, "t"), Unrecorded::Of(vec![("burst".into(), EventDecision::Deny)]));
        assert_eq!(repeats(&agents, "u"), Unrecorded::None);
        agents.sweep(true, 2);
        assert_eq!(agents.told(), []);
        for number in 0..MOST_OF_AGENT {
            agents.note("a", &key(&format!("t{number}"), "scope"), 1);
        }
        assert_eq!(repeats(&agents, "u"), Unrecorded::All);
    }

    /// What cannot be written comes again, within a bound.
    #[test]
    fn unwritten_records_come_again() {
        let mut agents = Agents::new();
        for _ in 0..3 {
            agents.note("a", &key("t", "p"), 1);
        }
        agents.sweep(true, 2);
        agents.counted.keep(std::mem::take(&mut agents.ended));
        agents.sweep(false, 3);
        assert_eq!(agents.told(), [row("t", "p", 2, 1, 1)]);
        let event = EventDraft::system(EventType::AgentDecision, Agents::at(1));
        for _ in 0..3 {
            agents.counted.keep(vec![event.clone(); MOST_UNWRITTEN / 2 + 1]);
        }
        assert_eq!(agents.counted.ended(false, MINUTE, Duration::ZERO, Agents::at(1)).len(), MOST_UNWRITTEN);
        // A first one that could not be recorded is counted.
        let once = key("u", "p");
        agents.note("a", &once, 1);
        agents.counted.unrecorded(&"a".into(), &once, &event);
        // The next one is recorded in its place, and those after it are repeats.
        assert_eq!(agents.note("a", &once, 1), Noted::First);
        assert_eq!(agents.note("a", &once, 1), Noted::Counted);
        agents.sweep(true, 2);
        assert_eq!(agents.told(), [row("u", "p", 2, 1, 1)]);
    }
}
