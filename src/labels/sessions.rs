//! What has reached the sessions of a process. A session lives in one process and ends with it, and so does what is known of it
//! here: what must outlast it is in the sets of its agent and workflow.

use crate::model::AgentId;
use jiff::Timestamp;
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

/// Sessions of one agent that are known apart.
const MOST: usize = 2_048;

/// Labels by name, each with when it last came.
type Reached = BTreeMap<Arc<str>, Timestamp>;

/// The labels of every session. Bounded: an agent that opens more sessions than are known apart has those that nobody used for
/// longest taken together, and what reached them counts for all of its sessions from then on.
#[derive(Debug, Default)]
pub struct Sessions {
    of: HashMap<AgentId, OfAgent>,
}

#[derive(Debug, Default)]
struct OfAgent {
    apart: HashMap<Arc<str>, (Reached, Timestamp)>,
    together: Reached,
}

impl Sessions {
    /// Notes what has reached a session.
    pub fn raise<'l>(
        &mut self,
        agent: &AgentId,
        session: &Arc<str>,
        labels: impl Iterator<Item = &'l Arc<str>>,
        now: Timestamp,
    ) {
        self.raise_within(agent, session, labels, now, MOST);
    }

    fn raise_within<'l>(
        &mut self,
        agent: &AgentId,
        session: &Arc<str>,
        labels: impl Iterator<Item = &'l Arc<str>>,
        now: Timestamp,
        most: usize,
    ) {
        if !self.of.contains_key(agent) {
            self.of.insert(agent.clone(), OfAgent::default());
        }
        let Some(known) = self.of.get_mut(agent) else { return };
        if !known.apart.contains_key(session) && known.apart.len() >= most {
            known.fold(most - most / 4);
        }
        let (reached, used) = known.apart.entry(session.clone()).or_default();
        *used = now;
        for label in labels {
            match reached.get_mut(label) {
                Some(last) => *last = now,
                None => drop(reached.insert(label.clone(), now)),
            }
        }
    }

    /// What has reached a session; only what came after `cleared`.
    pub fn of(
        &self,
        agent: &AgentId,
        session: &Arc<str>,
        cleared: Option<Timestamp>,
    ) -> impl Iterator<Item = &Arc<str>> {
        let known = self.of.get(agent);
        let own = known.and_then(|known| known.apart.get(session)).map(|(reached, _)| reached);
        let together = known.map(|known| &known.together);
        let counts = move |last: &Timestamp| cleared.is_none_or(|cleared| *last > cleared);
        own.into_iter()
            .chain(together)
            .flatten()
            .filter(move |(_, last)| counts(last))
            .map(|(label, _)| label)
    }
}

impl OfAgent {
    /// Takes those that were idle for longest together, until so many are left.
    fn fold(&mut self, most: usize) {
        let mut by_age: Vec<(Timestamp, Arc<str>)> =
            self.apart.iter().map(|(session, (_, used))| (*used, session.clone())).collect();
        by_age.sort();
        let over = by_age.len().saturating_sub(most);
        for (_, session) in by_age.into_iter().take(over) {
            let Some((reached, _)) = self.apart.remove(&session) else { continue };
            for (label, last) in reached {
                let known = self.together.entry(label).or_insert(last);
                *known = last.max(*known);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn shown<'s>(sessions: &'s Sessions, agent: &AgentId, session: &str) -> Vec<&'s str> {
        let mut all: Vec<&str> = sessions.of(agent, &session.into(), None).map(|label| &**label).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    #[test]
    fn sessions_are_known_apart() {
        let mut sessions = Sessions::default();
        let (ann, bob): (AgentId, AgentId) = ("ann".into(), "bob".into());
        let labels: Vec<Arc<str>> = vec!["restricted".into(), "secret".into()];
        sessions.raise(&ann, &"1".into(), labels.iter(), at(1));
        sessions.raise(&ann, &"2".into(), labels.iter().take(0), at(1));
        assert_eq!(shown(&sessions, &ann, "1"), ["restricted", "secret"]);
        assert!(shown(&sessions, &ann, "2").is_empty() && shown(&sessions, &bob, "1").is_empty());
        // What a person took away counts again once it comes again.
        let after = |second| sessions.of(&ann, &"1".into(), Some(at(second))).count();
        assert_eq!((after(0), after(1)), (2, 0));
        sessions.raise(&ann, &"1".into(), labels.iter().take(1), at(2));
        assert_eq!(sessions.of(&ann, &"1".into(), Some(at(1))).collect::<Vec<_>>(), [&labels[0]]);
    }

    /// An agent that opens session after session costs bounded memory and loses nothing by it; others are left alone.
    #[test]
    fn labels_of_too_many_sessions_are_taken_together() {
        let mut sessions = Sessions::default();
        let (ann, bob): (AgentId, AgentId) = ("ann".into(), "bob".into());
        let (restricted, internal): (Arc<str>, Arc<str>) = ("restricted".into(), "internal".into());
        sessions.raise(&bob, &"b".into(), [&internal].into_iter(), at(0));
        sessions.raise(&ann, &"first".into(), [&restricted].into_iter(), at(0));
        for n in 0..1000 {
            let name: Arc<str> = format!("s{n}").into();
            sessions.raise_within(&ann, &name, [&internal].into_iter(), at(n), 8);
            let known = &sessions.of[&ann];
            assert!(known.apart.len() <= 8 && known.together.len() <= 2);
            assert!(shown(&sessions, &ann, &name).contains(&"internal"));
        }
        assert_eq!(shown(&sessions, &ann, "first"), ["internal", "restricted"]);
        assert_eq!(shown(&sessions, &ann, "another"), ["internal", "restricted"]);
        assert_eq!(shown(&sessions, &bob, "b"), ["internal"]);
    }
}
