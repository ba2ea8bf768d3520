//! Whose calls a connection has carried. What an upstream says on a shared connection without naming a call can be about
//! any of them, also about one that is over: it goes to a caller only where it can be about nobody else.

use crate::model::AgentId;
use std::time::Duration;
use tokio::time::Instant;

/// How long after the end of a call an upstream may still speak about it.
pub(super) const AFTERMATH: Duration = Duration::from_secs(5 * 60);

/// For whom this connection has carried calls.
#[derive(Debug, Default)]
pub(super) struct Company {
    agents: Several<AgentId>,
    /// The same since the session over there began.
    carried: Several<AgentId>,
    /// Whose calls were given up before their answer: the upstream may speak about them at any time.
    given_up: Several<AgentId>,
    /// The caller whose call ended last, and when.
    last: Option<(AgentId, Instant)>,
    /// When a call of another caller than that ended last.
    before: Option<Instant>,
}

/// None, one and the same, or more than one.
#[derive(Clone, Debug, Default)]
enum Several<T> {
    #[default]
    Nobody,
    Only(T),
    Many,
}

impl<T: Clone + PartialEq> Several<T> {
    fn add(&mut self, one: &T) {
        match self {
            Self::Nobody => *self = Self::Only(one.clone()),
            Self::Only(known) if known == one => {}
            Self::Only(_) => *self = Self::Many,
            Self::Many => {}
        }
    }

    fn join(&mut self, others: &Self) {
        match others {
            Self::Nobody => {}
            Self::Only(one) => self.add(one),
            Self::Many => *self = Self::Many,
        }
    }

    fn has_another_than(&self, one: &T) -> bool {
        match self {
            Self::Nobody => false,
            Self::Only(known) => known != one,
            Self::Many => true,
        }
    }
}

impl Company {
    /// A call begins.
    pub(super) fn began(&mut self, caller: &AgentId) {
        self.agents.add(caller);
        self.carried.add(caller);
    }

    /// A call was answered, or never sent.
    pub(super) fn ended(&mut self, caller: &AgentId, now: Instant) {
        match &mut self.last {
            Some((last, at)) if last == caller => *at = now,
            Some((_, at)) => {
                self.before = Some(*at);
                self.last = Some((caller.clone(), now));
            }
            None => self.last = Some((caller.clone(), now)),
        }
    }

    /// A call is over without an answer.
    pub(super) fn gave_up(&mut self, caller: &AgentId) {
        self.given_up.add(caller);
    }

    /// The upstream asked while no call was in flight: it speaks about calls that are over, whenever it likes.
    pub(super) fn asked_late(&mut self) {
        self.given_up.join(&self.carried);
    }

    /// A new session begins over there: what it says is about none of the calls before.
    pub(super) fn renewed(&mut self) {
        *self = Self { agents: std::mem::take(&mut self.agents), ..Self::default() };
    }

    /// Whether what comes without a name, while only this caller has a call in flight, may be about another caller's call.
    pub(super) fn is_doubtful(&self, caller: &AgentId, now: Instant) -> bool {
        let recent = |at: Instant| now.saturating_duration_since(at) < AFTERMATH;
        let ended = match &self.last {
            Some((last, at)) if last != caller => recent(*at),
            Some(_) => self.before.is_some_and(recent),
            None => false,
        };
        ended || self.given_up.has_another_than(caller)
    }

    /// Whether it has carried calls of several agents.
    pub(super) fn has_several_agents(&self) -> bool {
        matches!(self.agents, Several::Many)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_of_another_that_ended_lately_or_was_given_up_leaves_doubt() {
        let (a, b) = (AgentId::from("a"), AgentId::from("b"));
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut company = Company::default();
        for one in [&a, &a] {
            company.began(one);
            company.ended(one, at(0));
        }
        assert!(!company.is_doubtful(&a, at(1)), "its own calls leave no doubt");
        assert!(company.is_doubtful(&b, at(1)));
        assert!(!company.has_several_agents());
        company.began(&b);
        company.ended(&b, at(10));
        company.ended(&b, at(20));
        assert!(company.has_several_agents());
        // Of `a` the last ended at 0, of `b` at 20.
        assert!(company.is_doubtful(&b, at(299)) && !company.is_doubtful(&b, at(300)));
        assert!(company.is_doubtful(&a, at(319)) && !company.is_doubtful(&a, at(320)));
        company.gave_up(&a);
        assert!(company.is_doubtful(&b, at(9_000)) && !company.is_doubtful(&a, at(9_000)));
        company.renewed();
        assert!(!company.is_doubtful(&b, at(9_000)) && company.has_several_agents());
    }

    #[test]
    fn an_upstream_that_asks_late_is_in_doubt_where_there_are_others() {
        let (a, b) = (AgentId::from("a"), AgentId::from("b"));
        let (mut company, later) = (Company::default(), Instant::now());
        // Before the first call it asks about none.
        company.asked_late();
        assert!(!company.is_doubtful(&a, later));
        company.began(&a);
        company.asked_late();
        assert!(!company.is_doubtful(&a, later) && company.is_doubtful(&b, later));
        company.began(&b);
        company.asked_late();
        assert!(company.is_doubtful(&a, later) && company.is_doubtful(&b, later));
    }
}
