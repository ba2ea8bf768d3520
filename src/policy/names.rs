//! The names of the authority map, known before anything that refers to them is read.

use super::{
    Approver, KnownNames,
    read::{list_of, mismatch, short},
    source::{Kind, Node, Report},
};
use crate::model::{Glob, PersonId};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Words that stand for something else where an approver or a policy is named.
pub(super) const OPERATOR: &str = "operator";

/// What there is to refer to. `None` where authority.yaml cannot be read: then nothing
/// can be called dangling.
#[derive(Debug, Default)]
pub struct Names {
    /// Of `agents`.
    pub agents: BTreeSet<String>,
    /// Of `capabilities`.
    pub capabilities: BTreeSet<String>,
    pub(super) workflows: BTreeSet<String>,
    /// Each person: whether they may decide.
    pub(super) people: BTreeMap<String, bool>,
    /// Each group: the people in it who may decide.
    pub(super) groups: BTreeMap<String, BTreeSet<String>>,
}

impl Names {
    /// Collects the names, right or wrong as the rest of the file may be.
    pub(super) fn collect(root: &Node) -> Self {
        let keys = |section: &str| -> BTreeSet<String> {
            root.get(section).map(|node| node.keys().map(str::to_owned).collect()).unwrap_or_default()
        };
        let mut names = Self {
            agents: keys("agents"),
            capabilities: keys("capabilities"),
            workflows: keys("workflows"),
            ..Self::default()
        };
        if let Some(Node { kind: Kind::Map(people), .. }) = root.get("people") {
            for person in people {
                let words = |key: &str| -> Vec<&str> {
                    person
                        .value
                        .get(key)
                        .map_or(&[][..], Node::items)
                        .iter()
                        .filter_map(Node::as_text)
                        .collect()
                };
                let decides = words("roles").contains(&"approver");
                names.people.insert(person.key.clone(), decides);
                for group in words("groups") {
                    let members = names.groups.entry(group.to_owned()).or_default();
                    if decides {
                        members.insert(person.key.clone());
                    }
                }
            }
        }
        names
    }

    /// The people among these who may decide; `None` where the calling agent's operator counts too.
    pub(super) fn deciders(&self, approvers: &[Approver]) -> Option<BTreeSet<&str>> {
        let mut found = BTreeSet::new();
        for approver in approvers {
            match approver {
                Approver::Operator => return None,
                Approver::Person(person) => {
                    found.extend(
                        self.people.get_key_value(person.as_str()).filter(|p| *p.1).map(|p| p.0.as_str()),
                    );
                }
                Approver::Group(group) => {
                    found.extend(self.groups.get(&**group).into_iter().flatten().map(String::as_str));
                }
            }
        }
        Some(found)
    }
}

/// Everything a file of the bundle may refer to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scope<'s> {
    pub(super) names: Option<&'s Names>,
    pub(super) known: &'s KnownNames,
}

impl Scope<'_> {
    /// A reference into one of the sections of authority.yaml.
    pub(super) fn refer(
        self,
        node: &Node,
        key: &str,
        what: &str,
        of: impl Fn(&Names) -> &BTreeSet<String>,
        report: &mut Report<'_>,
    ) -> Option<Arc<str>> {
        let Some(text) = node.as_text() else {
            mismatch(node, key, &format!("the name of a {what}"), report);
            return None;
        };
        self.known_name(text, node.start, what, of, report)
    }

    fn known_name(
        self,
        text: &str,
        at: usize,
        what: &str,
        of: impl Fn(&Names) -> &BTreeSet<String>,
        report: &mut Report<'_>,
    ) -> Option<Arc<str>> {
        match self.names {
            Some(names) if !of(names).contains(text) => {
                report.error(
                    at,
                    format!("there is no {what} `{}`", short(text)),
                    format!("{} of authority.yaml{}", one(what), some(of(names))),
                );
                None
            }
            Some(_) | None => Some(Arc::from(text)),
        }
    }

    /// The name of a person.
    pub(super) fn person(self, node: &Node, key: &str, report: &mut Report<'_>) -> Option<PersonId> {
        let Some(text) = node.as_text() else {
            mismatch(node, key, "the name of a person", report);
            return None;
        };
        if let Some(names) = self.names
            && !names.people.contains_key(text)
        {
            let people: BTreeSet<String> = names.people.keys().cloned().collect();
            report.error(
                node.start,
                format!("there is no person `{}`", short(text)),
                format!("a person of authority.yaml{}", some(&people)),
            );
            return None;
        }
        Some(PersonId::from(text))
    }

    /// Groups, people, or the word `operator`.
    pub(super) fn approvers(self, node: &Node, key: &str, report: &mut Report<'_>) -> Option<Vec<Approver>> {
        let approvers = list_of(node, key, report, |item, key, report| {
            let Some(text) = item.as_text() else {
                mismatch(item, key, "a group, a person or `operator`", report);
                return None;
            };
            if text == OPERATOR {
                return Some(Approver::Operator);
            }
            let Some(names) = self.names else { return Some(Approver::Group(Arc::from(text))) };
            if names.groups.contains_key(text) {
                Some(Approver::Group(Arc::from(text)))
            } else if names.people.contains_key(text) {
                Some(Approver::Person(PersonId::from(text)))
            } else {
                let all: BTreeSet<String> = names.groups.keys().chain(names.people.keys()).cloned().collect();
                report.error(
                    item.start,
                    format!("there is no group and no person `{}`", short(text)),
                    format!("a group somebody is in, a person, or `operator`{}", some(&all)),
                );
                None
            }
        })?;
        if node.items().is_empty() {
            report.error(node.start, format!("`{key}` is empty"), "at least one group, person or `operator`");
        }
        Some(approvers)
    }

    /// An agent or workflow in a selector: a dangling literal is an error, a glob that matches none a lint.
    pub(super) fn authority_glob(
        self,
        glob: &Glob,
        at: usize,
        what: &str,
        of: impl Fn(&Names) -> &BTreeSet<String>,
        report: &mut Report<'_>,
    ) {
        if let Some(text) = glob.literal() {
            self.known_name(text, at, what, of, report);
        } else if let Some(names) = self.names
            && !of(names).iter().any(|name| glob.matches(name))
        {
            report.lint(
                at,
                format!("`{glob}` matches no {what}"),
                format!("{} of authority.yaml", one(what)),
            );
        }
    }

    /// A glob over actions, tools, labels or upstreams that can match nothing servers.toml tells of is a lint.
    pub(super) fn known_glob(self, glob: &Glob, at: usize, what: &str, known: bool, report: &mut Report<'_>) {
        if !known && !self.known.upstreams.is_empty() {
            report.lint(
                at,
                format!("`{glob}` matches no {what} known from servers.toml"),
                format!("a known {what}"),
            );
        }
    }

    /// Whether a glob over exposed tool names can match anything.
    pub(super) fn tool_possible(self, glob: &Glob) -> bool {
        let head = glob.as_str().split('*').next().unwrap_or_default();
        self.known.tools.iter().any(|tool| glob.matches(tool))
            || self.known.tool_prefixes.iter().any(|p| head.starts_with(p.as_str()) || p.starts_with(head))
            || glob.as_str() == "*"
    }

    /// Whether a glob over actions can match anything: those stated, and `<upstream>:<tool>`.
    pub(super) fn action_possible(self, glob: &Glob) -> bool {
        let head = glob.as_str().split('*').next().unwrap_or_default();
        self.known.actions.iter().any(|action| glob.matches(action))
            || self.known.upstreams.iter().any(|upstream| {
                let prefix = format!("{upstream}:");
                head.starts_with(&prefix) || prefix.starts_with(head) && glob.literal().is_none()
            })
    }
}

/// A word with its article.
fn one(what: &str) -> String {
    let article = if what.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {what}")
}

/// A few of the names that would have been right.
fn some(names: &BTreeSet<String>) -> String {
    if names.is_empty() {
        return String::new();
    }
    let mut shown: Vec<String> = names.iter().take(8).map(|n| format!("`{}`", short(n))).collect();
    if names.len() > 8 {
        shown.push("…".to_owned());
    }
    format!(": {}", shown.join(", "))
}
