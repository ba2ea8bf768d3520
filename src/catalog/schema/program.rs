//! A compiled schema: what each subschema asks for, as numbers of other subschemas and rules on the value itself.

use super::{UncheckedKeyword, pattern::Pattern};
use jsonschema::Validator;
use serde_json::Value;
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

/// A subschema's place in the program.
pub(super) type Id = usize;

/// A compiled schema.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) nodes: Vec<Node>,
    pub(super) root: Id,
    /// What is not checked.
    pub(super) unchecked: Vec<UncheckedKeyword>,
    /// What it takes in memory, roughly, in bytes.
    pub(super) weight: usize,
}

impl Program {
    /// Whether the schema is `false`.
    pub(super) fn fits_nothing(&self) -> bool {
        matches!(self.nodes.get(self.root), Some(Node::Always(false)))
    }
}

/// A subschema.
#[derive(Debug)]
pub(super) enum Node {
    /// Everything fits, or nothing.
    Always(bool),
    Rules(Box<Rules>),
}

/// What one subschema asks for.
#[derive(Debug, Default)]
pub(super) struct Rules {
    /// More than one subschema names it, so that it can come to look at one value again and again.
    pub(super) shared: bool,
    pub(super) types: Option<Types>,
    pub(super) required: Vec<Box<str>>,
    pub(super) leaves: Vec<Arc<Leaf>>,
    /// `enum` and `const`.
    pub(super) constants: Vec<Constants>,
    pub(super) pattern: Option<Arc<Pattern>>,
    pub(super) unique: bool,
    pub(super) properties: HashMap<Box<str>, Id>,
    pub(super) pattern_properties: Vec<(Arc<Pattern>, Id)>,
    /// There are patterns of names that cannot be checked.
    pub(super) names_unknown: bool,
    pub(super) additional_properties: Option<Id>,
    pub(super) property_names: Option<Id>,
    pub(super) prefix_items: Vec<Id>,
    pub(super) items: Option<Id>,
    pub(super) contains: Option<Contains>,
    pub(super) dependent: Vec<(Box<str>, Dependency)>,
    pub(super) all_of: Vec<Id>,
    pub(super) any_of: Vec<Id>,
    pub(super) one_of: Vec<Id>,
    pub(super) not: Option<Id>,
    pub(super) condition: Option<Condition>,
    pub(super) references: Vec<Id>,
    pub(super) unevaluated_properties: Option<Id>,
    pub(super) unevaluated_items: Option<Id>,
}

impl Rules {
    /// All subschemas that it names.
    fn named(&self) -> impl Iterator<Item = Id> {
        let patterns = self.pattern_properties.iter().map(|(_, id)| *id);
        let single = [
            self.additional_properties,
            self.property_names,
            self.items,
            self.contains.as_ref().map(|contains| contains.item),
            self.unevaluated_properties,
            self.unevaluated_items,
        ];
        let members = self.properties.values().chain(&self.prefix_items).copied();
        self.applied().chain(patterns).chain(single.into_iter().flatten()).chain(members)
    }

    /// Takes away what applies to the same value.
    pub(super) fn apply_nothing(&mut self) {
        for list in [&mut self.all_of, &mut self.any_of, &mut self.one_of, &mut self.references] {
            list.clear();
        }
        (self.not, self.condition) = (None, None);
        self.dependent.retain(|(_, dependency)| matches!(dependency, Dependency::Names(_)));
        // What they would have looked at is not known.
        (self.unevaluated_properties, self.unevaluated_items) = (None, None);
    }

    /// Takes away what refuses a value because one of these fits it.
    fn loosen(&mut self, loose: &HashSet<Id>) {
        let is_loose = |id: &Id| loose.contains(id);
        self.not = self.not.filter(|id| !is_loose(id));
        if self.one_of.iter().any(is_loose) && self.any_of.is_empty() {
            // One at least has to fit.
            self.any_of = std::mem::take(&mut self.one_of);
        } else if self.one_of.iter().any(is_loose) {
            self.one_of.clear();
        }
        self.condition.take_if(|condition| is_loose(&condition.if_));
        if let Some(contains) = &mut self.contains
            && is_loose(&contains.item)
        {
            contains.most = None;
        }
        if self.names_unknown {
            self.additional_properties = None;
        }
        // Which parts others have looked at is not known for certain.
        (self.unevaluated_properties, self.unevaluated_items) = (None, None);
    }

    /// The subschemas that apply to the same value.
    fn applied(&self) -> impl Iterator<Item = Id> {
        let condition = self.condition.iter().flat_map(|c| [Some(c.if_), c.then, c.otherwise]).flatten();
        let dependent = self.dependent.iter().filter_map(|(_, dependency)| match dependency {
            Dependency::Schema(id) => Some(*id),
            Dependency::Names(_) => None,
        });
        let lists = [&self.all_of, &self.any_of, &self.one_of, &self.references];
        lists.into_iter().flatten().copied().chain(self.not).chain(condition).chain(dependent)
    }
}

/// The values of an `enum` or a `const`, in canonical form.
#[derive(Debug)]
pub(super) struct Constants {
    pub(super) keyword: &'static str,
    pub(super) values: HashSet<Vec<u8>>,
}

#[derive(Debug)]
pub(super) struct Contains {
    pub(super) item: Id,
    pub(super) least: u64,
    pub(super) most: Option<u64>,
}

#[derive(Debug)]
pub(super) enum Dependency {
    Names(Vec<Box<str>>),
    Schema(Id),
}

#[derive(Debug)]
pub(super) struct Condition {
    pub(super) if_: Id,
    pub(super) then: Option<Id>,
    pub(super) otherwise: Option<Id>,
}

/// The types that a value may have; `integer` is left to the library.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Types(u8);

pub(super) const TYPES: [&str; 6] = ["null", "boolean", "number", "string", "array", "object"];

impl Types {
    pub(super) fn of(names: &[&str]) -> Option<Self> {
        let mut types = Self::default();
        for name in names {
            types.0 |= 1 << TYPES.iter().position(|known| known == name)?;
        }
        Some(types)
    }

    pub(super) fn has(self, value: &Value) -> bool {
        let place = match value {
            Value::Null => 0,
            Value::Bool(_) => 1,
            Value::Number(_) => 2,
            Value::String(_) => 3,
            Value::Array(_) => 4,
            Value::Object(_) => 5,
        };
        self.0 & (1 << place) != 0
    }

    pub(super) fn names(self) -> impl Iterator<Item = &'static str> {
        TYPES
            .into_iter()
            .enumerate()
            .filter(move |(place, _)| self.0 & (1 << place) != 0)
            .map(|(_, name)| name)
    }
}

/// Keywords that the library checks: none of them leads to another subschema.
#[derive(Debug)]
pub(super) struct Leaf {
    pub(super) validator: Validator,
    /// What a text means is looked at.
    pub(super) meaning: bool,
    /// A whole meta-schema.
    pub(super) meta: bool,
}

impl Leaf {
    /// Steps that one look at the value takes at most.
    pub(super) fn cost(&self, value: &Value) -> u64 {
        let length = match value {
            Value::String(text) => text.len() as u64,
            Value::Number(number) => number.as_str().len() as u64,
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => 0,
        };
        let mut cost = 1 + length / 64;
        if self.meaning {
            cost = cost.saturating_add(length / 16 + length.saturating_mul(length) / (1 << 16));
        }
        if self.meta {
            cost = cost.saturating_add(nodes_in(value).saturating_mul(64));
        }
        cost
    }
}

fn nodes_in(value: &Value) -> u64 {
    match value {
        Value::Array(items) => 1 + items.iter().map(nodes_in).sum::<u64>(),
        Value::Object(map) => 1 + map.values().map(nodes_in).sum::<u64>(),
        Value::String(text) => 1 + text.len() as u64 / 64,
        Value::Null | Value::Bool(_) | Value::Number(_) => 1,
    }
}

impl Node {
    /// What its constants take, in bytes.
    pub(super) fn weight(&self) -> usize {
        let Self::Rules(rules) = self else { return 0 };
        let values = rules.constants.iter().flat_map(|constants| &constants.values);
        values.map(|value| value.len() + 64).sum()
    }
}

pub(super) fn applied(nodes: &[Node], id: Id) -> Vec<Id> {
    match nodes.get(id) {
        Some(Node::Rules(rules)) => rules.applied().collect(),
        Some(Node::Always(_)) | None => Vec::new(),
    }
}

/// Where a subschema lets through more than it says, whatever refuses a value because that subschema fits would refuse too
/// much: it is not checked either.
pub(super) fn loosen(nodes: &mut [Node], inexact: &HashSet<Id>) {
    if inexact.is_empty() {
        return;
    }
    let mut named_by: HashMap<Id, Vec<Id>> = HashMap::new();
    for (id, node) in nodes.iter().enumerate() {
        if let Node::Rules(rules) = node {
            for child in rules.named() {
                named_by.entry(child).or_default().push(id);
            }
        }
    }
    let mut loose = inexact.clone();
    let mut open: Vec<Id> = inexact.iter().copied().collect();
    while let Some(id) = open.pop() {
        for by in named_by.get(&id).into_iter().flatten() {
            if loose.insert(*by) {
                open.push(*by);
            }
        }
    }
    for (id, node) in nodes.iter_mut().enumerate() {
        if let Node::Rules(rules) = node
            && loose.contains(&id)
        {
            rules.loosen(&loose);
        }
    }
}
