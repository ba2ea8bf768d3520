//! From a schema's JSON to the rules that arguments are held against. Every subschema becomes one node, and every
//! reference the node that it names, so that a schema takes as much room as its text does.

use super::{
    SchemaError,
    documents::{Documents, Target, address, draft_of},
    pattern::{LONGEST, MOST_PATTERNS, MOST_STATES, Pattern},
};
use jsonschema::{Draft, Validator};
use serde_json::{Map, Value, json};
use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
};

/// The largest schema in nodes of JSON.
const MAX_NODES: usize = 20_000;
/// The deepest schema.
pub(super) const MAX_DEPTH: usize = 64;
/// How many subschemas may apply to one value because one names the next (`$ref`, `allOf` and the like).
const MAX_APPLIED: usize = 128;
/// Keywords that look at the value itself and need no other subschema.
const LEAVES: [&str; 16] = [
    "enum",
    "const",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "format",
    "contentEncoding",
    "contentMediaType",
];

/// A subschema's place in the program.
pub(super) type Id = usize;

/// A compiled schema.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) nodes: Vec<Node>,
    pub(super) root: Id,
    /// What it takes in memory, roughly, in bytes.
    pub(super) weight: usize,
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
    pub(super) pattern: Option<Arc<Pattern>>,
    pub(super) unique: bool,
    pub(super) properties: HashMap<Box<str>, Id>,
    pub(super) pattern_properties: Vec<(Arc<Pattern>, Id)>,
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

const TYPES: [&str; 6] = ["null", "boolean", "number", "string", "array", "object"];

impl Types {
    fn of(names: &Value) -> Option<Self> {
        let mut types = Self::default();
        for name in names.as_array().map_or(std::slice::from_ref(names), Vec::as_slice) {
            types.0 |= 1 << TYPES.iter().position(|known| name == *known)?;
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
    /// Nodes of JSON that a value may be compared with.
    compared: u64,
    format: bool,
    /// A whole meta-schema.
    meta: bool,
}

impl Leaf {
    /// It names the values that fit.
    pub(super) fn is_constant(&self) -> bool {
        self.compared > 0
    }

    /// Steps that one look at the value takes at most.
    pub(super) fn cost(&self, value: &Value) -> u64 {
        let length = match value {
            Value::String(text) => text.len() as u64,
            Value::Number(number) => number.as_str().len() as u64,
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => 0,
        };
        let mut cost = 1 + self.compared / 8 + length / 64;
        if self.format {
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

/// Compiles a schema.
pub(super) fn compile(schema: &Value) -> Result<Program, SchemaError> {
    let mut nodes = 0;
    measure(schema, 0, &mut nodes)?;
    let draft = draft_of(schema)?;
    let checked = match draft {
        Draft::Draft4 => jsonschema::draft4::meta::validate(schema),
        Draft::Draft6 => jsonschema::draft6::meta::validate(schema),
        Draft::Draft7 => jsonschema::draft7::meta::validate(schema),
        Draft::Draft201909 => jsonschema::draft201909::meta::validate(schema),
        _ => jsonschema::draft202012::meta::validate(schema),
    };
    checked.map_err(|error| invalid(error.masked().to_string()))?;
    let documents = Documents::of(schema, draft)?;
    let mut compiler = Compiler {
        draft,
        documents,
        ids: HashMap::new(),
        queue: VecDeque::new(),
        named: Vec::new(),
        patterns: HashMap::new(),
        states: 0,
        leaves: HashMap::new(),
        evaluates: false,
    };
    let root = compiler.id(schema)?;
    let mut compiled = Vec::new();
    while let Some(next) = compiler.queue.pop_front() {
        compiled.push(compiler.node(next)?);
    }
    for (node, named) in compiled.iter_mut().zip(&compiler.named) {
        if let Node::Rules(rules) = node {
            // Looking at what others have looked at repeats their work.
            rules.shared = *named > 1 || compiler.evaluates;
        }
    }
    applied_levels(&compiled)?;
    let weight = compiled.len() * 512 + compiler.leaves.len() * 2_048 + compiler.states * 64 + nodes * 16;
    Ok(Program { nodes: compiled, root, weight })
}

pub(super) fn invalid(why: impl AsRef<str>) -> SchemaError {
    SchemaError::Invalid(why.as_ref().chars().take(300).collect())
}

fn measure(value: &Value, depth: usize, nodes: &mut usize) -> Result<(), SchemaError> {
    *nodes += 1;
    if depth > MAX_DEPTH || *nodes > MAX_NODES {
        return Err(SchemaError::TooLarge);
    }
    match value {
        Value::Array(items) => items.iter().try_for_each(|item| measure(item, depth + 1, nodes)),
        Value::Object(map) => map.iter().try_for_each(|(key, item)| {
            // Before anything reads it.
            let long = |text: &str| text.len() > LONGEST;
            let patterns = item.as_object().filter(|_| key == "patternProperties");
            if key == "pattern" && item.as_str().is_some_and(long)
                || patterns.is_some_and(|patterns| patterns.keys().any(|text| long(text)))
            {
                return Err(invalid(format!("a pattern has more than {LONGEST} bytes")));
            }
            measure(item, depth + 1, nodes)
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}

struct Compiler<'s> {
    draft: Draft,
    documents: Documents<'s>,
    ids: HashMap<usize, Id>,
    queue: VecDeque<&'s Value>,
    /// How many subschemas name each.
    named: Vec<u32>,
    patterns: HashMap<&'s str, Arc<Pattern>>,
    states: usize,
    leaves: HashMap<String, Arc<Leaf>>,
    evaluates: bool,
}

impl<'s> Compiler<'s> {
    /// The place of a subschema; it is compiled when its turn comes.
    fn id(&mut self, schema: &'s Value) -> Result<Id, SchemaError> {
        if let Some(id) = self.ids.get(&address(schema)) {
            if let Some(named) = self.named.get_mut(*id) {
                *named += 1;
            }
            return Ok(*id);
        }
        if !schema.is_object() && !schema.is_boolean() {
            return Err(invalid("a subschema is neither an object nor a boolean"));
        }
        let id = self.named.len();
        self.ids.insert(address(schema), id);
        self.named.push(1);
        self.queue.push_back(schema);
        Ok(id)
    }

    fn node(&mut self, schema: &'s Value) -> Result<Node, SchemaError> {
        let Value::Object(map) = schema else { return Ok(Node::Always(schema == &Value::Bool(true))) };
        let mut rules = Rules::default();
        let reference = map.get("$ref").and_then(Value::as_str);
        if let Some(reference) = reference {
            self.refer(schema, reference, &mut rules)?;
            if self.draft <= Draft::Draft7 {
                return Ok(Node::Rules(Box::new(rules)));
            }
        }
        for (keyword, value) in map {
            self.keyword(schema, map, keyword, value, &mut rules)?;
        }
        rules.leaves.extend(self.leaf(map, rules.types.is_none())?);
        Ok(Node::Rules(Box::new(rules)))
    }

    fn keyword(
        &mut self,
        schema: &'s Value,
        map: &'s Map<String, Value>,
        keyword: &str,
        value: &'s Value,
        rules: &mut Rules,
    ) -> Result<(), SchemaError> {
        let draft = self.draft;
        let since = |first: Draft| draft >= first;
        match keyword {
            "type" => rules.types = Types::of(value),
            "required" => rules.required = names(value),
            "pattern" => rules.pattern = value.as_str().map(|text| self.pattern(text)).transpose()?,
            "uniqueItems" => rules.unique = value == &Value::Bool(true),
            "properties" => {
                for (name, schema) in value.as_object().into_iter().flatten() {
                    let id = self.id(schema)?;
                    rules.properties.insert(name.as_str().into(), id);
                }
            }
            "patternProperties" => {
                for (text, schema) in value.as_object().into_iter().flatten() {
                    let pattern = self.pattern(text)?;
                    rules.pattern_properties.push((pattern, self.id(schema)?));
                }
            }
            "additionalProperties" => rules.additional_properties = Some(self.id(value)?),
            "propertyNames" if since(Draft::Draft6) => rules.property_names = Some(self.id(value)?),
            "prefixItems" if since(Draft::Draft202012) => rules.prefix_items = self.list(value)?,
            "items" => match value {
                Value::Array(_) if !since(Draft::Draft202012) => {
                    rules.prefix_items = self.list(value)?;
                    rules.items = map.get("additionalItems").map(|rest| self.id(rest)).transpose()?;
                }
                schema => rules.items = Some(self.id(schema)?),
            },
            "contains" if since(Draft::Draft6) => {
                let bound = |name: &str| {
                    map.get(name)
                        .filter(|_| since(Draft::Draft201909))
                        .and_then(Value::as_f64)
                        .map(|n| n as u64)
                };
                let (least, most) = (bound("minContains").unwrap_or(1), bound("maxContains"));
                rules.contains = Some(Contains { item: self.id(value)?, least, most });
            }
            "dependencies" | "dependentRequired" | "dependentSchemas"
                if keyword == "dependencies" || since(Draft::Draft201909) =>
            {
                for (name, needs) in value.as_object().into_iter().flatten() {
                    let needs = match needs {
                        Value::Array(_) => Dependency::Names(names(needs)),
                        schema => Dependency::Schema(self.id(schema)?),
                    };
                    rules.dependent.push((name.as_str().into(), needs));
                }
            }
            "allOf" => rules.all_of = self.list(value)?,
            "anyOf" => rules.any_of = self.list(value)?,
            "oneOf" => rules.one_of = self.list(value)?,
            "not" => rules.not = Some(self.id(value)?),
            "if" if since(Draft::Draft7) => {
                rules.condition = Some(Condition {
                    if_: self.id(value)?,
                    then: map.get("then").map(|then| self.id(then)).transpose()?,
                    otherwise: map.get("else").map(|otherwise| self.id(otherwise)).transpose()?,
                });
            }
            "unevaluatedProperties" if since(Draft::Draft201909) => {
                self.evaluates = true;
                rules.unevaluated_properties = Some(self.id(value)?);
            }
            "unevaluatedItems" if since(Draft::Draft201909) => {
                self.evaluates = true;
                rules.unevaluated_items = Some(self.id(value)?);
            }
            "$dynamicRef" if since(Draft::Draft202012) => {
                if let Some(reference) = value.as_str() {
                    let name = reference.rsplit_once('#').map_or("", |(_, name)| name);
                    self.documents.dynamic(name)?;
                    self.refer(schema, reference, rules)?;
                }
            }
            "$recursiveRef" if draft == Draft::Draft201909 => {
                self.documents.dynamic("")?;
                self.refer(schema, "#", rules)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn refer(&mut self, from: &Value, reference: &str, rules: &mut Rules) -> Result<(), SchemaError> {
        match self.documents.resolve(from, reference)? {
            Target::Schema(schema) => {
                let id = self.id(schema)?;
                rules.references.push(id);
            }
            Target::Meta(draft) => {
                let uri = match draft {
                    Draft::Draft4 => "http://json-schema.org/draft-04/schema",
                    Draft::Draft6 => "http://json-schema.org/draft-06/schema",
                    Draft::Draft7 => "http://json-schema.org/draft-07/schema",
                    Draft::Draft201909 => "https://json-schema.org/draft/2019-09/schema",
                    _ => "https://json-schema.org/draft/2020-12/schema",
                };
                let leaf = Leaf {
                    validator: library(&json!({"$ref": uri}), draft)?,
                    compared: 0,
                    format: false,
                    meta: true,
                };
                rules.leaves.push(Arc::new(leaf));
            }
        }
        Ok(())
    }

    fn list(&mut self, value: &'s Value) -> Result<Vec<Id>, SchemaError> {
        value.as_array().into_iter().flatten().map(|schema| self.id(schema)).collect()
    }

    fn pattern(&mut self, text: &'s str) -> Result<Arc<Pattern>, SchemaError> {
        if let Some(known) = self.patterns.get(text) {
            return Ok(known.clone());
        }
        let too_much = || {
            invalid(format!(
                "its patterns are more than {MOST_PATTERNS}, or need more than {MOST_STATES} states"
            ))
        };
        if self.patterns.len() >= MOST_PATTERNS {
            return Err(too_much());
        }
        let pattern = Arc::new(Pattern::compile(text).map_err(invalid)?);
        self.states += pattern.states();
        if self.states > MOST_STATES {
            return Err(too_much());
        }
        self.patterns.insert(text, pattern.clone());
        Ok(pattern)
    }

    /// What the library checks of a subschema.
    fn leaf(&mut self, map: &Map<String, Value>, with_type: bool) -> Result<Option<Arc<Leaf>>, SchemaError> {
        let mut own = Map::new();
        for (keyword, value) in map {
            if LEAVES.contains(&keyword.as_str()) || keyword == "type" && with_type {
                own.insert(keyword.clone(), value.clone());
            }
        }
        if own.is_empty() {
            return Ok(None);
        }
        let compared = ["enum", "const"].iter().filter_map(|keyword| own.get(*keyword)).map(nodes_in).sum();
        let format = ["format", "contentMediaType"].iter().any(|keyword| own.contains_key(*keyword));
        let own = Value::Object(own);
        if let Some(known) = self.leaves.get(&own.to_string()) {
            return Ok(Some(known.clone()));
        }
        let leaf = Leaf { validator: library(&own, self.draft)?, compared, format, meta: false };
        let leaf = Arc::new(leaf);
        self.leaves.insert(own.to_string(), leaf.clone());
        Ok(Some(leaf))
    }
}

fn names(value: &Value) -> Vec<Box<str>> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(Box::from).collect()
}

fn library(schema: &Value, draft: Draft) -> Result<Validator, SchemaError> {
    let built = jsonschema::options().with_draft(draft).offline().build(schema);
    built.map_err(|error| invalid(error.masked().to_string()))
}

/// Subschemas that apply to one value must come to an end: a circle never would, and a long way takes stack.
fn applied_levels(nodes: &[Node]) -> Result<(), SchemaError> {
    let children = |id: Id| match nodes.get(id) {
        Some(Node::Rules(rules)) => rules.applied().collect(),
        Some(Node::Always(_)) | None => Vec::new(),
    };
    // 0 for those that are being looked at.
    let mut levels: HashMap<Id, usize> = HashMap::new();
    for start in 0..nodes.len() {
        let mut open = vec![(start, children(start))];
        let mut on_the_way = HashSet::from([start]);
        if levels.contains_key(&start) {
            continue;
        }
        while let Some((id, below)) = open.last_mut() {
            let id = *id;
            match below.pop() {
                Some(next) if on_the_way.contains(&next) => {
                    return Err(invalid("a subschema refers to itself without end"));
                }
                Some(next) if levels.contains_key(&next) => {}
                Some(next) => {
                    on_the_way.insert(next);
                    open.push((next, children(next)));
                }
                None => {
                    let deepest = children(id).iter().filter_map(|child| levels.get(child)).max();
                    let level = deepest.map_or(0, |level| level + 1);
                    if level > MAX_APPLIED {
                        return Err(invalid(format!(
                            "more than {MAX_APPLIED} subschemas refer to each other"
                        )));
                    }
                    levels.insert(id, level);
                    on_the_way.remove(&id);
                    open.pop();
                }
            }
        }
    }
    Ok(())
}
