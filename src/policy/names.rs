//! The names of the authority map, known before anything that refers to them is read.

pub use super::near::did_you_mean;
use super::{
    Approver, KnownNames, KnownUpstream,
    near::{closest, is_near},
    read::{list_of, mismatch, short},
    source::{Kind, Node, Report},
    zones::ZoneTable,
};
use crate::model::{Glob, PersonId, Sensitivity};
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
    /// Of each agent: its operator, and whether that one sits at its client.
    operators: Vec<(Option<String>, bool)>,
    /// What agents have for `role`, `type` and `tenant`.
    pub(super) roles: BTreeSet<String>,
    pub(super) types: BTreeSet<String>,
    pub(super) tenants: BTreeSet<String>,
    /// `default_approvers` of bundle.yaml.
    default_approvers: Option<Vec<String>>,
}

impl Names {
    /// Whether authority.yaml has this person.
    pub fn has_person(&self, name: &str) -> bool {
        self.people.contains_key(name)
    }

    /// The people of authority.yaml.
    pub fn people(&self) -> impl Iterator<Item = &str> {
        self.people.keys().map(String::as_str)
    }

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
        for agent in root.get("agents").map(Node::entries).unwrap_or_default() {
            let word = |key: &str| agent.value.get(key).and_then(Node::as_text).map(str::to_owned);
            let attended = agent.value.get("attended").is_some_and(|node| node.kind == Kind::Bool(true));
            names.operators.push((word("operator"), attended));
            names.roles.extend(word("role"));
            names.types.extend(word("type"));
            names.tenants.extend(word("tenant"));
        }
        names
    }

    /// With those who are asked where a rule names nobody.
    pub(super) fn with_defaults(mut self, bundle: Option<&Node>) -> Self {
        let written = bundle.and_then(|bundle| bundle.get("default_approvers"));
        self.default_approvers = written
            .map(|node| node.items().iter().filter_map(Node::as_text).map(str::to_owned).collect::<Vec<_>>());
        self
    }

    /// How many people may decide a call, for the agent of which most may. Without `approvers`, everyone who decides. Where
    /// only the agent's own client counts, its operator there alone.
    fn most_deciders(&self, approvers: Option<&[Approver]>, by: Deciding) -> usize {
        let Deciding { separate, own_client_only } = by;
        let decides = |person: &str| self.people.get(person) == Some(&true);
        let open = approvers.is_none();
        let mut named: BTreeSet<&str> = BTreeSet::new();
        let mut operator_named = false;
        for approver in approvers.unwrap_or_default() {
            match approver {
                Approver::Operator => operator_named = true,
                Approver::Person(person) if decides(person.as_str()) => {
                    named.insert(person.as_str());
                }
                Approver::Person(_) => {}
                Approver::Group(group) => {
                    named.extend(self.groups.get(&**group).into_iter().flatten().map(String::as_str));
                }
            }
        }
        if open {
            named.extend(self.people.iter().filter(|(_, decides)| **decides).map(|(name, _)| name.as_str()));
        }
        let of = |operator: Option<&str>, attended: bool| {
            let others = named.iter().filter(|person| Some(**person) != operator).count();
            let others = if own_client_only { 0 } else { others };
            let own = operator.is_some_and(|own| {
                !separate
                    && decides(own)
                    && (operator_named || (!open && named.contains(own)))
                    && (attended || !own_client_only)
            });
            others + usize::from(own)
        };
        let agents = self.operators.iter().map(|(operator, attended)| of(operator.as_deref(), *attended));
        agents.max().unwrap_or_else(|| of(None, false))
    }
}

/// How an approval may be given, as far as it says who can.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Deciding {
    /// Never by the agent's operator.
    pub(super) separate: bool,
    /// By elicitation alone: in the agent's own client.
    pub(super) own_client_only: bool,
}

/// A group that somebody is in, or a person.
pub fn group_or_person(
    node: &Node,
    key: &str,
    names: Option<&Names>,
    report: &mut Report<'_>,
) -> Option<Approver> {
    if node.as_text().is_none() {
        mismatch(node, key, "a group or a person", report);
    }
    named(node, names, &[], report)
}

/// The same, where some words stand for something else.
fn named(node: &Node, names: Option<&Names>, words: &[&str], report: &mut Report<'_>) -> Option<Approver> {
    let text = node.as_text()?;
    let Some(names) = names else { return Some(Approver::Group(Arc::from(text))) };
    if names.groups.contains_key(text) {
        return Some(Approver::Group(Arc::from(text)));
    }
    if names.people.contains_key(text) {
        return Some(Approver::Person(PersonId::from(text)));
    }
    let all: BTreeSet<String> = names.groups.keys().chain(names.people.keys()).cloned().collect();
    let near = did_you_mean(text, all.iter().map(String::as_str).chain(words.iter().copied()));
    let word: String = words.iter().map(|word| format!(", or `{word}`")).collect();
    report.error(
        node.start,
        format!("there is no group and no person `{}`{near}", short(text)),
        format!("a group somebody is in, a person{word}{}", some(&all)),
    );
    None
}

/// Everything a file of the bundle may refer to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scope<'s> {
    pub(super) names: Option<&'s Names>,
    pub(super) known: &'s KnownNames,
    /// The gateway's own; empty where servers.toml cannot be read.
    pub(super) environment: &'s str,
    /// `environments` of bundle.yaml.
    pub(super) environments: Option<&'s BTreeSet<String>>,
    /// The classes of data, built in and of data.yaml.
    pub(super) classes: &'s BTreeSet<String>,
    pub(super) zones: &'s ZoneTable,
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
                let near = did_you_mean(text, of(names).iter().map(String::as_str));
                report.error(
                    at,
                    format!("there is no {what} `{}`{near}", short(text)),
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
            let near = did_you_mean(text, people.iter().map(String::as_str));
            report.error(
                node.start,
                format!("there is no person `{}`{near}", short(text)),
                format!("a person of authority.yaml{}", some(&people)),
            );
            return None;
        }
        Some(PersonId::from(text))
    }

    /// Groups, people, or the word `operator`.
    pub(super) fn approvers(self, node: &Node, key: &str, report: &mut Report<'_>) -> Option<Vec<Approver>> {
        let approvers = list_of(node, key, report, |item, key, report| match item.as_text() {
            Some(OPERATOR) => Some(Approver::Operator),
            Some(_) => named(item, self.names, &[OPERATOR], report),
            None => {
                mismatch(item, key, "a group, a person or `operator`", report);
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
            report.doubt(
                at,
                format!("`{glob}` matches no {what}"),
                format!("{} of authority.yaml", one(what)),
            );
        }
    }

    /// A role or type that no agent has. Neither is declared anywhere else, so that this is a slip as a rule.
    pub(super) fn held_by_an_agent(
        self,
        glob: &Glob,
        at: usize,
        what: &str,
        of: impl Fn(&Names) -> &BTreeSet<String>,
        report: &mut Report<'_>,
    ) {
        let Some(names) = self.names.filter(|names| !names.agents.is_empty()) else { return };
        let held = of(names);
        if glob.as_str() != "*" && !held.iter().any(|name| glob.matches(name)) {
            let near = did_you_mean(glob.as_str(), held.iter().map(String::as_str));
            report.doubt(
                at,
                format!("no agent has the {what} `{glob}`{near}"),
                format!("the {what} of an agent of authority.yaml{}", some(held)),
            );
        }
    }

    /// A rule that asks a service which nobody has described could only ever fail.
    pub(super) fn check(self, name: &str, at: usize, report: &mut Report<'_>) {
        let Some(known) = &self.known.checks else { return };
        if !known.contains(name) {
            let near = did_you_mean(name, known.iter().map(String::as_str));
            report.error(
                at,
                format!("`{}` is no external check of servers.toml{near}", short(name)),
                "the NAME of a table [checks.NAME] in servers.toml",
            );
        }
    }

    /// A glob over actions, tools, prompts, labels or upstreams that can match nothing known is a lint: what stands beside
    /// it applies to nothing.
    pub(super) fn known_glob(self, glob: &Glob, at: usize, what: &str, report: &mut Report<'_>) {
        let known = self.known;
        if known.upstreams.is_empty() {
            return;
        }
        let any = |names: &BTreeSet<String>| names.iter().any(|name| glob.matches(name));
        let upstreams: BTreeSet<String> = known.upstreams.keys().cloned().collect();
        let (names, fits) = match what {
            "action" => (&known.actions, any(&known.actions) || self.action_possible(glob)),
            "prompt" => (&known.prompts, any(&known.prompts) || self.name_possible(glob)),
            "label" => (&known.labels, any(&known.labels)),
            "upstream" => (&upstreams, any(&upstreams)),
            _ => (&known.tools, any(&known.tools) || self.name_possible(glob)),
        };
        if !fits {
            // Of a glob, what stands before its first `*`.
            let head = glob.as_str().split('*').next().unwrap_or_default();
            let part = |name: &str| name.chars().take(head.chars().count()).collect::<String>();
            let near = match glob.literal() {
                Some(literal) => did_you_mean(literal, names.iter().map(String::as_str)),
                None => {
                    let near = names.iter().find(|name| is_near(head, &part(name)));
                    near.map(|name| format!("; did you mean `{}`?", short(name))).unwrap_or_default()
                }
            };
            report.doubt(at, format!("`{glob}` matches no {what} that is known{near}"), known_one(what));
        }
    }

    /// Whether a glob over exposed names means all of an upstream, or may match what an upstream lists that is not known to
    /// list.
    fn name_possible(self, glob: &Glob) -> bool {
        let head = glob.as_str().split('*').next().unwrap_or_default();
        matches!(glob.as_str(), "*" | "**")
            || self.known.upstreams.values().any(|KnownUpstream { prefix, is_listed, .. }| match is_listed {
                true => !prefix.is_empty() && glob.matches(prefix),
                false => head.starts_with(prefix.as_str()) || prefix.starts_with(head),
            })
    }

    /// The same for actions, which are `<upstream>:<own name>` where nothing else is stated.
    fn action_possible(self, glob: &Glob) -> bool {
        let head = glob.as_str().split('*').next().unwrap_or_default();
        matches!(glob.as_str(), "*" | "**")
            || self.known.upstreams.iter().any(|(upstream, known)| {
                let prefix = format!("{upstream}:");
                // A resource's own name is its URI.
                let uri = head.strip_prefix(prefix.as_str()).is_some_and(|own| own.contains(':'));
                match known.is_listed {
                    true => glob.matches(&prefix) || (known.has_resources && uri),
                    false => {
                        head.starts_with(&prefix) || prefix.starts_with(head) && glob.literal().is_none()
                    }
                }
            })
    }

    /// An environment that a condition names and that is not this gateway's. A bundle that serves several says which.
    pub(super) fn environment(self, name: &str, at: usize, report: &mut Report<'_>) {
        let own = self.environment;
        if own.is_empty() || name == own {
            return;
        }
        let written = short(name);
        match self.environments {
            Some(declared) if declared.contains(name) => {}
            Some(declared) => {
                let near = closest(name, declared.iter().map(String::as_str), ENVIRONMENTS);
                let near = near.map(|near| format!("; did you mean `{}`?", short(near))).unwrap_or_default();
                report.doubt(
                    at,
                    format!("`{written}` is none of the environments of this bundle{near}"),
                    format!("one of `environments` in bundle.yaml{}", some(declared)),
                );
            }
            None => {
                let near = closest(name, std::iter::once(own), ENVIRONMENTS);
                let near = near.map(|near| format!("; did you mean `{}`?", short(near))).unwrap_or_default();
                report.lint(
                    at,
                    format!("`{written}` is not the environment of this gateway, which is `{}`{near}", short(own)),
                    format!(
                        "`{}`, or in bundle.yaml the environments that it is for: `environments: [{}, {written}]`",
                        short(own),
                        short(own)
                    ),
                );
            }
        }
    }

    /// A level, or with `classes` a class of data as well, that a condition looks for.
    pub(super) fn label(self, name: &str, at: usize, classes: bool, report: &mut Report<'_>) {
        if Sensitivity::from_word(name).is_some() || (classes && self.classes.contains(name)) {
            return;
        }
        let levels = Sensitivity::ALL.map(Sensitivity::as_str);
        let known = self.classes.iter().map(String::as_str).filter(|_| classes);
        let near = did_you_mean(name, levels.into_iter().chain(known));
        let (what, which) = match classes {
            true => (
                "no level and no class of data",
                format!("{}, or a class{}", levels.join(", "), some(self.classes)),
            ),
            false => ("no level of data", levels.join(", ")),
        };
        report.doubt(
            at,
            format!("`{}` is {what}: this is never true{near}", short(name)),
            format!("one of {which}"),
        );
    }

    /// Lints an approval that nobody can give. `approvers` are the rule's own.
    pub(super) fn somebody(
        self,
        approvers: &[Approver],
        quorum: u32,
        by: Deciding,
        at: usize,
        report: &mut Report<'_>,
    ) {
        let Some(names) = self.names else { return };
        let deciders = names.most_deciders(Some(approvers), by);
        too_few(deciders, quorum, at, report);
    }

    /// The same for a rule that names nobody: `default_approvers` are asked, or everyone who decides.
    pub(super) fn somebody_by_default(self, quorum: u32, by: Deciding, at: usize, report: &mut Report<'_>) {
        let Some(names) = self.names else { return };
        let approver = |word: &String| match word.as_str() {
            OPERATOR => Approver::Operator,
            group if names.groups.contains_key(group) => Approver::Group(Arc::from(group)),
            person => Approver::Person(PersonId::from(person)),
        };
        let defaults = names.default_approvers.as_ref();
        let defaults: Option<Vec<Approver>> = defaults.map(|words| words.iter().map(approver).collect());
        let deciders = names.most_deciders(defaults.as_deref(), by);
        // That nobody decides at all is said once, and not of each rule.
        if defaults.is_some() || names.people.values().any(|decides| *decides) {
            too_few(deciders, quorum, at, report);
        }
    }
}

fn too_few(deciders: usize, quorum: u32, at: usize, report: &mut Report<'_>) {
    if deciders < usize::try_from(quorum).unwrap_or(usize::MAX) {
        report.doubt(
            at,
            match (deciders, quorum) {
                (0, 1) => "nobody can approve this: none of those who are asked may decide".to_owned(),
                _ => format!("nobody can approve this: `{deciders}` may decide, and the quorum is `{quorum}`"),
            },
            "as many people with role `approver` as the quorum asks; an agent's operator only where the rule names them, and \
             with `channels: [elicitation]` nobody else",
        );
    }
}

fn known_one(what: &str) -> String {
    match what {
        "tool" | "prompt" => format!("{} that an upstream lists: `tollgate servers inspect NAME`", one(what)),
        "action" => {
            "`action` of a tool's table in servers.toml, or UPSTREAM:TOOL of a tool that is listed".to_owned()
        }
        _ => format!("{} of servers.toml", one(what)),
    }
}

/// Short forms of environments.
const ENVIRONMENTS: &[(&str, &str)] = &[
    ("prod", "production"),
    ("prd", "production"),
    ("live", "production"),
    ("stage", "staging"),
    ("stg", "staging"),
    ("dev", "development"),
    ("testing", "test"),
    ("production", "prod"),
    ("staging", "stage"),
    ("development", "dev"),
];

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
