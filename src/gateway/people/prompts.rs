//! How many questions an agent's own client was shown that its operator has not decided: an agent that asks again and
//! again must not wear a person down. Beyond the bound its calls wait for an answer given elsewhere, and one for which an account is
//! to be connected is refused.

use crate::{
    config::RejectedAsks,
    model::{AgentId, ApprovalId, ConnectionKey},
};
use parking_lot::Mutex;
use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

/// What a question is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::gateway) enum About {
    /// Whether a call may be made.
    Approval(ApprovalId),
    /// An account that is to be connected, in place of this credential where there is one.
    Connection(ConnectionKey, Option<u64>),
}

/// Of this process; each agent of the bundle has at most `rejected_asks.count` entries.
#[derive(Debug, Default)]
pub(crate) struct Prompts(Mutex<HashMap<AgentId, VecDeque<(Duration, About)>>>);

impl Prompts {
    /// Whether one more may be shown; where it may, it counts from now on.
    pub(in crate::gateway) fn show(
        &self,
        agent: &AgentId,
        about: &About,
        most: RejectedAsks,
        now: Duration,
    ) -> bool {
        let mut all = self.0.lock();
        let open = all.entry(agent.clone()).or_default();
        while open.front().is_some_and(|(at, _)| now.saturating_sub(*at) >= most.window) {
            open.pop_front();
        }
        let room = open.len() < most.count;
        if room {
            open.push_back((now, about.clone()));
        }
        room
    }

    /// The operator has decided this one: its questions count no more.
    pub(in crate::gateway) fn decided(&self, agent: &AgentId, approval: &ApprovalId) {
        let mut all = self.0.lock();
        if let Some(open) = all.get_mut(agent) {
            open.retain(|(_, asked)| !matches!(asked, About::Approval(id) if id == approval));
            if open.is_empty() {
                all.remove(agent);
            }
        }
    }

    /// What was asked for and is connected by now counts no more; `is_there` says whether it is, in place of what was there.
    pub(in crate::gateway) fn connected(&self, is_there: impl Fn(&ConnectionKey, Option<u64>) -> bool) {
        self.0.lock().retain(|_, open| {
            open.retain(|(_, asked)| match asked {
                About::Approval(_) => true,
                About::Connection(key, instead_of) => !is_there(key, *instead_of),
            });
            !open.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn undecided_questions_are_counted_per_agent_and_window() {
        let prompts = Prompts::default();
        let most = RejectedAsks { count: 3, window: Duration::from_secs(60) };
        let show = |agent: &str, id: &str, at: u64| {
            prompts.show(&agent.into(), &About::Approval(id.into()), most, Duration::from_secs(at))
        };
        assert!(show("a", "1", 0) && show("a", "1", 1) && show("a", "2", 2));
        assert!(!show("a", "3", 3), "a fourth");
        assert!(show("b", "4", 3), "another agent's own");
        prompts.decided(&"a".into(), &"1".into());
        assert!(show("a", "3", 4) && show("a", "3", 4) && !show("a", "3", 5));
        assert!(show("a", "3", 62), "the oldest has left");
        prompts.decided(&"nobody".into(), &"1".into());
    }
}
