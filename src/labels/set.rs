//! The labels that have reached one holder, each until a time.

use crate::model::TraceId;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// One label of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// When it first reached the holder, of the while that it stands.
    pub since: Timestamp,
    /// Until when it stands.
    pub until: Timestamp,
    /// The call that brought it first.
    pub trace: TraceId,
}

/// What has reached one holder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelSet {
    /// By name.
    #[serde(default)]
    labels: BTreeMap<Arc<str>, Mark>,
    /// When a person last took all labels away: what had reached the holder's sessions until then counts no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cleared: Option<Timestamp>,
}

impl LabelSet {
    /// What a person leaves of a set.
    pub fn cleared_at(now: Timestamp) -> Self {
        Self { labels: BTreeMap::new(), cleared: Some(now) }
    }

    /// When a person last took all labels away.
    pub fn cleared(&self) -> Option<Timestamp> {
        self.cleared
    }

    /// Whether no label is in it, one that is over neither.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// What stands at a time, in the order of the names.
    pub fn standing(&self, now: Timestamp) -> impl Iterator<Item = (&Arc<str>, &Mark)> {
        self.labels.iter().filter(move |(_, mark)| mark.until > now)
    }

    /// Whether all of them stand for so long at least.
    pub fn holds<'l>(
        &self,
        mut labels: impl Iterator<Item = &'l Arc<str>>,
        now: Timestamp,
        least: Duration,
    ) -> bool {
        let least = later(now, least);
        labels.all(|label| self.labels.get(label).is_some_and(|mark| mark.until >= least))
    }

    /// The set once data with these labels has reached its holder, which then stand for `keep` at least. With `all`, whatever
    /// stands already does so too. `None`: nothing is to be written.
    ///
    /// A time is moved by a quarter more than is needed, so that a label that comes again and again is written now and then
    /// only.
    pub fn raised<'l>(
        &self,
        labels: impl Iterator<Item = &'l Arc<str>> + Clone,
        (now, keep): (Timestamp, Duration),
        all: bool,
        trace: TraceId,
    ) -> Option<Self> {
        let held = self.holds(labels.clone(), now, keep)
            && (!all || self.holds(self.standing(now).map(|(label, _)| label), now, keep));
        if held || keep.is_zero() {
            return None;
        }
        let until = later(now, keep.saturating_add(keep / 4));
        let mut raised = Self { labels: BTreeMap::new(), cleared: self.cleared };
        for (label, mark) in self.standing(now) {
            let until = if all { mark.until.max(until) } else { mark.until };
            raised.labels.insert(label.clone(), Mark { until, ..*mark });
        }
        for label in labels {
            let mark = raised.labels.entry(label.clone()).or_insert(Mark { since: now, until, trace });
            mark.until = mark.until.max(until);
        }
        Some(raised)
    }

    /// Whether nothing of it matters any more; what a person cleared is remembered for as long as a session may be older.
    pub fn is_over(&self, now: Timestamp, keep: Duration) -> bool {
        self.standing(now).next().is_none() && self.cleared.is_none_or(|cleared| later(cleared, keep) <= now)
    }
}

/// A time so much later, or the last there is.
fn later(now: Timestamp, by: Duration) -> Timestamp {
    let by = SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX);
    now.checked_add(by).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn names(all: &[&str]) -> Vec<Arc<str>> {
        all.iter().map(|name| Arc::from(*name)).collect()
    }

    fn trace() -> TraceId {
        TraceId::parse("0123456789abcdef0123456789abcdef").unwrap()
    }

    fn shown(set: &LabelSet, now: i64) -> Vec<&str> {
        set.standing(at(now)).map(|(label, _)| &**label).collect()
    }

    fn raise(set: &mut LabelSet, labels: &[&str], now: i64, all: bool) -> bool {
        match set.raised(names(labels).iter(), (at(now), HOUR), all, trace()) {
            Some(next) => {
                *set = next;
                true
            }
            None => false,
        }
    }

    #[test]
    fn a_label_stands_for_its_while_after_it_last_came() {
        let mut set = LabelSet::default();
        assert!(raise(&mut set, &["restricted", "secret"], 0, false));
        assert!(!raise(&mut set, &["restricted"], 600, false), "it stands long enough");
        assert!(raise(&mut set, &["secret"], 1000, false));
        assert_eq!(shown(&set, 4499), ["restricted", "secret"]);
        assert_eq!(shown(&set, 4500), ["secret"]);
        assert_eq!(shown(&set, 5500), Vec::<&str>::new());
        // It starts again, with another first time.
        assert!(raise(&mut set, &["restricted"], 9000, false));
        let (_, mark) = set.standing(at(9000)).next().unwrap();
        assert_eq!((mark.since, mark.until), (at(9000), at(9000 + 4500)));
    }

    #[test]
    fn use_keeps_all_of_a_workflows_labels() {
        let mut set = LabelSet::default();
        assert!(raise(&mut set, &["restricted"], 0, true));
        for now in (1000..20_000).step_by(1000) {
            raise(&mut set, &["internal"], now, true);
            assert_eq!(shown(&set, now), ["internal", "restricted"]);
        }
        assert_eq!(shown(&set, 25_000), Vec::<&str>::new());
    }

    #[test]
    fn a_set_is_written_and_read() {
        let mut set = LabelSet::cleared_at(at(1));
        raise(&mut set, &["a"], 2, false);
        let text = serde_json::to_string(&set).unwrap();
        assert_eq!(serde_json::from_str::<LabelSet>(&text).unwrap(), set);
        assert_eq!(serde_json::from_str::<LabelSet>("{}").unwrap(), LabelSet::default());
        assert!(!set.is_over(at(3), HOUR) && set.is_over(at(5000), HOUR));
        assert!(LabelSet::default().is_over(at(0), HOUR));
    }

    proptest! {
        /// Whatever comes in whatever order: what stands is what came within its while, and nothing goes before.
        #[test]
        fn labels_never_go_before_their_time(
            steps in proptest::collection::vec((0_i64..4000, 0_usize..4, any::<bool>()), 1..40),
        ) {
            let words = names(&["internal", "confidential", "restricted", "untrusted"]);
            let mut set = LabelSet::default();
            let mut last: BTreeMap<&Arc<str>, i64> = BTreeMap::new();
            let mut now = 0;
            for (pause, word, all) in steps {
                now += pause;
                let label = &words[word];
                if let Some(next) = set.raised([label].into_iter(), (at(now), HOUR), all, trace()) {
                    set = next;
                }
                last.insert(label, now);
                for (label, came) in &last {
                    let stands = set.standing(at(now)).any(|(held, _)| held == *label);
                    prop_assert!(stands || now - came >= 3600, "{label} went {} s after it came", now - came);
                }
                prop_assert!(set.standing(at(now)).all(|(label, _)| last.contains_key(label)));
                prop_assert!(set.holds([label].into_iter(), at(now), HOUR));
            }
        }
    }
}
