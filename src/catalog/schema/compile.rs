//! From a schema's JSON to the rules that arguments are held against. Every subschema becomes one node, and every
//! reference the node that it names, so that a schema takes as much room as its text does.

use super::{
    SchemaError, UncheckedKeyword,
    documents::{Documents, Target, address, dialect},
    pattern::{MOST_PATTERNS, MOST_STATES, Pattern},
    program::{
        Condition, Constants, Contains, Dependency, Id, Leaf, Node, Program, Rules, TYPES, Types, applied,
        loosen,
    },
};
use crate::model::{json::canonical, pointer::escape};
use jsonschema::{Draft, Validator};
use serde_json::{Map, Value, json};
use std::{
    borrow::Cow,
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
};

/// The largest schema in nodes of JSON.
const MAX_NODES: usize = 20_000;
/// The deepest schema.
pub(super) const MAX_DEPTH: usize = 64;
/// How many subschemas may apply to one value because one names the next (`$ref`, `allOf` and the like).
const MAX_APPLIED: usize = 128;
/// Keywords that look at the value itself and need no other subschema, as the library checks them.
const LEAVES: [&str; 11] = [
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
];
/// Keywords that say what a text means: annotations, unless they are to be asserted.
const MEANINGS: [&str; 3] = ["format", "contentEncoding", "contentMediaType"];
/// So many keywords that are not checked are told; the others are counted.
const MOST_TOLD: usize = 20;

/// Compiles a schema. What is wrong with a keyword, or more than can be checked, costs that keyword; `asserts` says whether
/// `format` and the like are more than annotations.
pub(super) fn compile(schema: &Value, asserts: bool) -> Result<Program, SchemaError> {
    let mut nodes = 0;
    measure(schema, 0, &mut nodes)?;
    let mut compiler = Compiler {
        documents: Documents::of(schema),
        asserts,
        ids: HashMap::new(),
        queue: VecDeque::new(),
        named: Vec::new(),
        origins: Vec::new(),
        current: 0,
        patterns: HashMap::new(),
        states: 0,
        leaves: HashMap::new(),
        evaluates: false,
        unchecked: Vec::new(),
        inexact: HashSet::new(),
    };
    compiler.look_at_dialect(schema);
    let root = compiler.id(schema, "", None);
    let mut compiled = Vec::new();
    while let Some(next) = compiler.queue.pop_front() {
        compiler.current = compiled.len();
        compiled.push(compiler.node(next));
    }
    for (node, named) in compiled.iter_mut().zip(&compiler.named) {
        if let Node::Rules(rules) = node {
            // Looking at what others have looked at repeats their work.
            rules.shared = *named > 1 || compiler.evaluates;
        }
    }
    compiler.end_circles(&mut compiled);
    loosen(&mut compiled, &compiler.inexact);
    let constants: usize = compiled.iter().map(Node::weight).sum();
    let weight =
        compiled.len() * 512 + compiler.leaves.len() * 2_048 + compiler.states * 64 + constants + nodes * 16;
    Ok(Program { nodes: compiled, root, unchecked: compiler.unchecked, weight })
}

fn measure(value: &Value, depth: usize, nodes: &mut usize) -> Result<(), SchemaError> {
    *nodes += 1;
    if depth > MAX_DEPTH || *nodes > MAX_NODES {
        return Err(SchemaError::TooLarge);
    }
    match value {
        Value::Array(items) => items.iter().try_for_each(|item| measure(item, depth + 1, nodes)),
        Value::Object(map) => map.values().try_for_each(|item| measure(item, depth + 1, nodes)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}

/// Where a subschema was first named: by which other one, and where in that.
struct Origin<'s> {
    by: Id,
    keyword: &'s str,
    part: Option<Cow<'s, str>>,
}

struct Compiler<'s> {
    documents: Documents<'s>,
    asserts: bool,
    ids: HashMap<usize, Id>,
    queue: VecDeque<&'s Value>,
    /// How many subschemas name each.
    named: Vec<u32>,
    origins: Vec<Origin<'s>>,
    /// The subschema that is being compiled.
    current: Id,
    patterns: HashMap<&'s str, Result<Arc<Pattern>, String>>,
    states: usize,
    leaves: HashMap<(Draft, String), Option<Arc<Leaf>>>,
    evaluates: bool,
    unchecked: Vec<UncheckedKeyword>,
    /// Subschemas with a keyword that is not checked.
    inexact: HashSet<Id>,
}

impl<'s> Compiler<'s> {
    /// The place of a subschema; it is compiled when its turn comes.
    fn id(&mut self, schema: &'s Value, keyword: &'s str, part: Option<Cow<'s, str>>) -> Id {
        if let Some(id) = self.ids.get(&address(schema)) {
            if let Some(named) = self.named.get_mut(*id) {
                *named += 1;
            }
            return *id;
        }
        let id = self.named.len();
        self.ids.insert(address(schema), id);
        self.named.push(1);
        self.origins.push(Origin { by: self.current, keyword, part });
        self.queue.push_back(schema);
        id
    }

    /// The way to a subschema, as the keywords name it: a JSON pointer where no reference lies on it.
    fn way(&self, mut id: Id) -> String {
        let mut steps = Vec::new();
        while let Some(origin) = self.origins.get(id).filter(|_| id > 0 && steps.len() < 2 * MAX_DEPTH) {
            steps.extend(origin.part.as_deref().map(escape));
            steps.push(escape(origin.keyword));
            id = origin.by;
        }
        steps.iter().rev().fold(String::new(), |way, step| way + "/" + step)
    }

    /// A keyword of the subschema that is being compiled is not checked.
    fn skip(&mut self, keyword: &str, why: impl Into<String>) {
        self.inexact.insert(self.current);
        self.tell(self.current, keyword, why);
    }

    fn tell(&mut self, id: Id, keyword: &str, why: impl Into<String>) {
        if self.unchecked.len() < MOST_TOLD {
            let mut at = self.way(id);
            if !keyword.is_empty() {
                at = at + "/" + &escape(keyword);
            }
            let short = |text: &str, most| text.chars().take(most).collect();
            self.unchecked.push(UncheckedKeyword { at: short(&at, 400), why: short(&why.into(), 300) });
        } else if self.unchecked.len() == MOST_TOLD {
            self.unchecked.push(UncheckedKeyword { at: String::new(), why: "and more keywords".to_owned() });
        }
    }

    fn look_at_dialect(&mut self, schema: &Value) {
        let Some(named) = schema.get("$schema") else { return };
        if named.as_str().and_then(dialect).is_none() {
            let shown: String = named.to_string().chars().take(120).collect();
            self.tell(0, "$schema", format!("{shown} is not a known dialect: it is read as 2020-12"));
        }
    }

    fn node(&mut self, schema: &'s Value) -> Node {
        let map = match schema {
            Value::Object(map) => map,
            Value::Bool(fits) => return Node::Always(*fits),
            Value::Null | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                self.skip("", "a subschema is an object or a boolean");
                return Node::Always(true);
            }
        };
        let draft = self.documents.draft(schema);
        let mut rules = Rules::default();
        if let Some(reference) = map.get("$ref") {
            match reference.as_str() {
                Some(reference) => self.refer(schema, "$ref", reference, &mut rules),
                None => self.skip("$ref", "a reference is a text"),
            }
            if draft <= Draft::Draft7 {
                return Node::Rules(Box::new(rules));
            }
        }
        for (keyword, value) in map {
            self.keyword(schema, map, keyword, value, &mut rules);
        }
        self.leaves(map, draft, &mut rules);
        Node::Rules(Box::new(rules))
    }

    // Long: one arm for each keyword, so that a reader finds what becomes of it in one place.
    fn keyword(
        &mut self,
        schema: &'s Value,
        map: &'s Map<String, Value>,
        keyword: &'s str,
        value: &'s Value,
        rules: &mut Rules,
    ) {
        let draft = self.documents.draft(schema);
        let since = |first: Draft| draft >= first;
        match keyword {
            "type" => self.types(map, value, draft, rules),
            "required" => rules.required = self.names(keyword, value),
            "enum" | "const" if keyword == "enum" || since(Draft::Draft6) => {
                self.constants(keyword, value, rules);
            }
            "pattern" => match value.as_str() {
                Some(text) => rules.pattern = self.pattern(keyword, text),
                None => self.skip(keyword, "a pattern is a text"),
            },
            "uniqueItems" => rules.unique = value == &Value::Bool(true),
            "properties" => {
                for (name, schema) in self.members(keyword, value) {
                    let id = self.id(schema, keyword, Some(name.into()));
                    rules.properties.insert(name.as_str().into(), id);
                }
            }
            "patternProperties" => self.pattern_properties(keyword, value, rules),
            "additionalProperties" => rules.additional_properties = Some(self.id(value, keyword, None)),
            "propertyNames" if since(Draft::Draft6) => {
                rules.property_names = Some(self.id(value, keyword, None));
            }
            "prefixItems" if since(Draft::Draft202012) => rules.prefix_items = self.list(keyword, value),
            "items" => match value {
                // What the older dialects say so is said so in the newer one, too.
                Value::Array(_) if !since(Draft::Draft202012) || !map.contains_key("prefixItems") => {
                    rules.prefix_items = self.list(keyword, value);
                    rules.items =
                        map.get("additionalItems").map(|rest| self.id(rest, "additionalItems", None));
                }
                schema => rules.items = Some(self.id(schema, keyword, None)),
            },
            "contains" if since(Draft::Draft6) => {
                let bound = |name: &str| {
                    map.get(name)
                        .filter(|_| since(Draft::Draft201909))
                        .and_then(Value::as_f64)
                        .map(|n| n as u64)
                };
                let (least, most) = (bound("minContains").unwrap_or(1), bound("maxContains"));
                rules.contains = Some(Contains { item: self.id(value, keyword, None), least, most });
            }
            "dependencies" | "dependentRequired" | "dependentSchemas"
                if keyword == "dependencies" || since(Draft::Draft201909) =>
            {
                self.dependencies(keyword, value, rules);
            }
            "allOf" => rules.all_of = self.list(keyword, value),
            "anyOf" => rules.any_of = self.list(keyword, value),
            "oneOf" => rules.one_of = self.list(keyword, value),
            "not" => rules.not = Some(self.id(value, keyword, None)),
            "if" if since(Draft::Draft7) => {
                let mut branch = |name: &'static str| map.get(name).map(|branch| self.id(branch, name, None));
                let (then, otherwise) = (branch("then"), branch("else"));
                rules.condition = Some(Condition { if_: self.id(value, keyword, None), then, otherwise });
            }
            "unevaluatedProperties" if since(Draft::Draft201909) => {
                self.evaluates = true;
                rules.unevaluated_properties = Some(self.id(value, keyword, None));
            }
            "unevaluatedItems" if since(Draft::Draft201909) => {
                self.evaluates = true;
                rules.unevaluated_items = Some(self.id(value, keyword, None));
            }
            "$dynamicRef" if since(Draft::Draft202012) => {
                let reference = value.as_str().unwrap_or("#");
                let name = reference.rsplit_once('#').map_or("", |(_, name)| name);
                self.dynamic(schema, keyword, name, reference, rules);
            }
            "$recursiveRef" if draft == Draft::Draft201909 => self.dynamic(schema, keyword, "", "#", rules),
            _ => {}
        }
    }

    fn types(&mut self, map: &Map<String, Value>, value: &Value, draft: Draft, rules: &mut Rules) {
        let written = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
        let mut names: Vec<&str> = written.iter().filter_map(Value::as_str).collect();
        let known = |name: &&str| TYPES.contains(name) || *name == "integer";
        if names.is_empty() || names.len() < written.len() || !names.iter().all(known) {
            let shown: String = value.to_string().chars().take(80).collect();
            self.skip("type", format!("{shown} is not a type"));
            return;
        }
        // As OpenAPI 3.0 says it.
        if map.get("nullable") == Some(&Value::Bool(true)) {
            names.push("null");
        }
        match Types::of(&names) {
            Some(types) => rules.types = Some(types),
            // What an integer is, the library knows.
            None => {
                let leaf = self.leaf(draft, json!({"type": names}));
                rules.leaves.extend(leaf);
            }
        }
    }

    fn names(&mut self, keyword: &str, value: &Value) -> Vec<Box<str>> {
        let names = value.as_array().map(Vec::as_slice);
        let read: Vec<Box<str>> =
            names.into_iter().flatten().filter_map(Value::as_str).map(Box::from).collect();
        if names.is_none_or(|names| names.len() > read.len()) {
            self.skip(keyword, "it is a list of names");
        }
        read
    }

    fn constants(&mut self, keyword: &str, value: &Value, rules: &mut Rules) {
        let (keyword, values) = match (keyword, value) {
            ("const", value) => ("const", std::slice::from_ref(value)),
            (_, Value::Array(values)) => ("enum", values.as_slice()),
            (_, _) => return self.skip(keyword, "it is a list of values"),
        };
        let canonical_form = |value| {
            let mut form = Vec::new();
            canonical(value, &mut form);
            form
        };
        let values = values.iter().map(canonical_form).collect();
        rules.constants.push(Constants { keyword, values });
    }

    fn members(
        &mut self,
        keyword: &str,
        value: &'s Value,
    ) -> impl Iterator<Item = (&'s String, &'s Value)> + use<'s> {
        if !value.is_object() {
            self.skip(keyword, "it is an object");
        }
        value.as_object().into_iter().flatten()
    }

    fn pattern_properties(&mut self, keyword: &'s str, value: &'s Value, rules: &mut Rules) {
        for (text, schema) in self.members(keyword, value) {
            match self.pattern(keyword, text) {
                Some(pattern) => {
                    let id = self.id(schema, keyword, Some(text.into()));
                    rules.pattern_properties.push((pattern, id));
                }
                None => rules.names_unknown = true,
            }
        }
    }

    fn dependencies(&mut self, keyword: &'s str, value: &'s Value, rules: &mut Rules) {
        for (name, needs) in self.members(keyword, value) {
            let needs = match needs {
                Value::Array(_) => Dependency::Names(self.names(keyword, needs)),
                schema => Dependency::Schema(self.id(schema, keyword, Some(name.into()))),
            };
            rules.dependent.push((name.as_str().into(), needs));
        }
    }

    fn dynamic(&mut self, from: &Value, keyword: &'s str, name: &str, reference: &str, rules: &mut Rules) {
        match self.documents.dynamic(name) {
            Ok(()) => self.refer(from, keyword, reference, rules),
            Err(why) => self.skip(keyword, why),
        }
    }

    fn refer(&mut self, from: &Value, keyword: &'s str, reference: &str, rules: &mut Rules) {
        match self.documents.resolve(from, reference) {
            Err(why) => self.skip(keyword, why),
            Ok(Target::Schema(schema)) => {
                let id = self.id(schema, keyword, None);
                rules.references.push(id);
            }
            Ok(Target::Meta(draft)) => {
                let uri = match draft {
                    Draft::Draft4 => "http://json-schema.org/draft-04/schema",
                    Draft::Draft6 => "http://json-schema.org/draft-06/schema",
                    Draft::Draft7 => "http://json-schema.org/draft-07/schema",
                    Draft::Draft201909 => "https://json-schema.org/draft/2019-09/schema",
                    _ => "https://json-schema.org/draft/2020-12/schema",
                };
                match library(&json!({"$ref": uri}), draft, self.asserts) {
                    Some(validator) => {
                        rules.leaves.push(Arc::new(Leaf { validator, meaning: false, meta: true }));
                    }
                    None => self.skip(keyword, "this meta-schema is not at hand"),
                }
            }
        }
    }

    fn list(&mut self, keyword: &'s str, value: &'s Value) -> Vec<Id> {
        if !value.is_array() {
            self.skip(keyword, "it is a list of subschemas");
        }
        let schemas = value.as_array().into_iter().flatten().enumerate();
        schemas.map(|(at, schema)| self.id(schema, keyword, Some(at.to_string().into()))).collect()
    }

    fn pattern(&mut self, keyword: &str, text: &'s str) -> Option<Arc<Pattern>> {
        if !self.patterns.contains_key(text) {
            let full = self.patterns.len() >= MOST_PATTERNS || self.states >= MOST_STATES;
            let compiled = match full {
                true => Err(format!(
                    "the schema's patterns are more than {MOST_PATTERNS}, or need more than {MOST_STATES} states"
                )),
                false => Pattern::compile(text).map(Arc::new),
            };
            if full {
                self.skip(keyword, compiled.err().unwrap_or_default());
                return None;
            }
            self.states += compiled.as_ref().map_or(0, |pattern| pattern.states());
            self.patterns.insert(text, compiled);
        }
        match self.patterns.get(text).cloned()? {
            Ok(pattern) => Some(pattern),
            Err(why) => {
                let shown: String = text.chars().take(80).collect();
                self.skip(keyword, format!("the pattern `{shown}` cannot be checked: {why}"));
                None
            }
        }
    }

    /// What the library checks of a subschema.
    fn leaves(&mut self, map: &Map<String, Value>, draft: Draft, rules: &mut Rules) {
        let asserted = |keyword: &str| self.asserts && MEANINGS.contains(&keyword);
        let own: Map<String, Value> = map
            .iter()
            .filter(|(keyword, _)| LEAVES.contains(&keyword.as_str()) || asserted(keyword))
            .map(|(keyword, value)| (keyword.clone(), value.clone()))
            .collect();
        if own.is_empty() {
            return;
        }
        if let Some(leaf) = self.leaf(draft, Value::Object(own.clone())) {
            rules.leaves.push(leaf);
            return;
        }
        for (keyword, value) in own {
            match self.leaf(draft, json!({&keyword: &value})) {
                Some(leaf) => rules.leaves.push(leaf),
                None => {
                    let shown: String = value.to_string().chars().take(80).collect();
                    self.skip(&keyword, format!("{shown} is not a value of it"));
                }
            }
        }
    }

    fn leaf(&mut self, draft: Draft, own: Value) -> Option<Arc<Leaf>> {
        let meaning = MEANINGS.iter().any(|keyword| own.get(keyword).is_some());
        let (asserts, text) = (self.asserts, own.to_string());
        let leaf = self.leaves.entry((draft, text)).or_insert_with(|| {
            let validator = library(&own, draft, asserts)?;
            Some(Arc::new(Leaf { validator, meaning, meta: false }))
        });
        leaf.clone()
    }

    /// Subschemas that apply to one value must come to an end: a circle never would, and a long way takes stack. What
    /// closes the circle is not checked.
    fn end_circles(&mut self, nodes: &mut [Node]) {
        // 0 for those that are being looked at.
        let mut levels: HashMap<Id, usize> = HashMap::new();
        for start in 0..nodes.len() {
            if levels.contains_key(&start) {
                continue;
            }
            let mut open = vec![(start, applied(nodes, start))];
            let mut on_the_way = HashSet::from([start]);
            while let Some((id, below)) = open.last_mut() {
                let id = *id;
                match below.pop() {
                    Some(next) if on_the_way.contains(&next) => {
                        self.cut_off(nodes, id, "it refers to itself without end");
                        below.clear();
                    }
                    Some(next) if levels.contains_key(&next) => {}
                    Some(next) => {
                        on_the_way.insert(next);
                        open.push((next, applied(nodes, next)));
                    }
                    None => {
                        let children = applied(nodes, id);
                        let deepest = children.iter().filter_map(|child| levels.get(child)).max();
                        let mut level = deepest.map_or(0, |level| level + 1);
                        if level > MAX_APPLIED {
                            let why = format!("more than {MAX_APPLIED} subschemas refer to each other");
                            self.cut_off(nodes, id, why);
                            level = 0;
                        }
                        levels.insert(id, level);
                        on_the_way.remove(&id);
                        open.pop();
                    }
                }
            }
        }
    }

    fn cut_off(&mut self, nodes: &mut [Node], id: Id, why: impl Into<String>) {
        if let Some(Node::Rules(rules)) = nodes.get_mut(id) {
            rules.apply_nothing();
        }
        self.inexact.insert(id);
        self.tell(id, "", why);
    }
}

fn library(schema: &Value, draft: Draft, asserts: bool) -> Option<Validator> {
    let options = jsonschema::options().with_draft(draft).should_validate_formats(asserts);
    options.offline().build(schema).ok()
}
