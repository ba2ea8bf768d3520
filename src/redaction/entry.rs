//! What data is labelled with when it comes in: by what is found in it, by where it comes from, and by what is claimed of it.

use super::{
    claims::Claims,
    inspected::{Inspected, Outbound, Place},
    rules::{Class, Inner, Source},
};
use crate::model::Sensitivity;
use std::{collections::BTreeMap, sync::Arc};

/// The labels of data that came from an upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// How sensitive it is.
    pub level: Sensitivity,
    /// The level's word and the names of its classes, in order, each once.
    pub labels: Vec<Arc<str>>,
    /// Those of what goes on to the agent: a class whose every finding is taken out does not reach it. Empty where nothing
    /// goes on.
    pub reached: Vec<Arc<str>>,
}

impl Entry {
    /// Takes in what else came with the same answer.
    pub fn join(&mut self, other: Self) {
        fn levels(labels: &mut Vec<Arc<str>>) {
            let highest = labels.iter().filter_map(|label| Sensitivity::from_word(label)).max();
            labels.retain(|label| Sensitivity::from_word(label).is_none_or(|level| Some(level) == highest));
        }
        self.level = match self.labels.is_empty() {
            true => other.level,
            false => self.level.max(other.level),
        };
        for (to, from) in [(&mut self.labels, other.labels), (&mut self.reached, other.reached)] {
            to.extend(from);
            to.sort();
            to.dedup();
            levels(to);
        }
    }
}

impl Inner {
    /// The labels of what came from a place. Who is `trusted` may say that its data is public where nothing else says what it
    /// is; what anybody claims only adds.
    pub(super) fn entry(
        &self,
        inspected: &Inspected<'_>,
        place: &Place<'_>,
        claims: &Claims,
        trusted: bool,
    ) -> Entry {
        let mut least = claims.level;
        let mut given: BTreeMap<Arc<str>, Sensitivity> = BTreeMap::new();
        let mut configured = false;
        for label in place.labels {
            if let Some(level) = Sensitivity::from_word(label) {
                configured = true;
                least = least.max(Some(level));
            } else if let Some(class) = self.class(label) {
                given.insert(class.name.clone(), class.level);
            }
        }
        let concerned = |source: &&Source| source.on.has(place.upstream, place.tool, place.labels);
        for source in self.sources.iter().filter(concerned) {
            configured |= source.level.is_some();
            least = least.max(source.level);
            let classes = source.classes.iter().filter_map(|at| self.classes.get(*at));
            given.extend(classes.map(|class| (class.name.clone(), class.level)));
        }
        let classes = claims.classes.iter().filter_map(|name| self.class(name));
        given.extend(classes.map(|class| (class.name.clone(), class.level)));
        let is_public = trusted && claims.public && !configured;
        let least = least.unwrap_or(if is_public { Sensitivity::Public } else { Sensitivity::Internal });
        let together = |found: &BTreeMap<Arc<str>, Sensitivity>| {
            let level = given.values().chain(found.values()).copied().max().unwrap_or(least).max(least);
            let mut labels: Vec<Arc<str>> = given.keys().chain(found.keys()).cloned().collect();
            labels.push(level.shared());
            labels.sort();
            labels.dedup();
            (level, labels)
        };
        let (level, labels) = together(&inspected.classes);
        let reached = match inspected.outbound {
            Outbound::Blocked(_) => Vec::new(),
            Outbound::Unchanged | Outbound::Changed(_) => together(&inspected.passing).1,
        };
        Entry { level, labels, reached }
    }

    fn class(&self, name: &str) -> Option<&Class> {
        self.classes.iter().find(|class| *class.name == *name)
    }
}
