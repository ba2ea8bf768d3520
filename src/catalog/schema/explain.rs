//! Which rules arguments break, and where. Values are never told.

use super::{
    MAX_VIOLATIONS, Violation,
    check::Run,
    exceeded::Exceeded,
    program::{Dependency, Id, Rules},
};
use crate::model::pointer::escape;
use serde_json::{Map, Value};

/// Names of members told at once, and how much of each.
const MOST_NAMES: usize = 3;
const LONGEST_NAME: usize = 64;

/// Finds the violations of a value that does not fit.
pub(super) struct Explanation<'r, 'p> {
    pub(super) run: &'r mut Run<'p>,
    pub(super) found: Vec<Violation>,
    path: String,
}

impl<'r, 'p> Explanation<'r, 'p> {
    pub(super) fn new(run: &'r mut Run<'p>) -> Self {
        Self { run, found: Vec::new(), path: String::new() }
    }

    fn tell(&mut self, rule: &str, message: impl Into<String>) {
        if self.found.len() < MAX_VIOLATIONS {
            let message = message.into().chars().take(300).collect();
            self.found.push(Violation { path: self.path.clone(), rule: rule.to_owned(), message });
        }
    }

    /// Of a value that does not fit: what it breaks there or below.
    pub(super) fn of(&mut self, id: Id, value: &Value) -> Result<(), Exceeded> {
        self.run.charge(1)?;
        if self.found.len() >= MAX_VIOLATIONS {
            return Ok(());
        }
        let Ok(rules) = self.run.rules(id) else {
            self.tell("falseSchema", "nothing is allowed here");
            return Ok(());
        };
        self.run.enter()?;
        self.of_itself(rules, value)?;
        match value {
            Value::Object(map) => self.of_members(rules, map)?,
            Value::Array(items) => self.of_items(rules, items)?,
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
        self.of_others(rules, value)?;
        self.run.leave();
        Ok(())
    }

    fn below(&mut self, step: &str, id: Id, value: &Value) -> Result<(), Exceeded> {
        if self.found.len() >= MAX_VIOLATIONS || self.run.fits(id, value)? {
            return Ok(());
        }
        let length = self.path.len();
        self.path.push('/');
        self.path.push_str(&escape(step));
        self.of(id, value)?;
        self.path.truncate(length);
        Ok(())
    }

    fn of_itself(&mut self, rules: &'p Rules, value: &Value) -> Result<(), Exceeded> {
        if let Some(types) = rules.types.filter(|types| !types.has(value)) {
            let names: Vec<String> = types.names().map(|name| format!("\"{name}\"")).collect();
            let word = if names.len() == 1 { "type" } else { "types" };
            self.tell("type", format!("value is not of {word} {}", names.join(", ")));
        }
        for leaf in &rules.leaves {
            self.run.charge(leaf.cost(value))?;
            // One is enough of a whole meta-schema; of plain keywords there is one each.
            if let Err(error) = leaf.validator.validate(value) {
                self.tell(error.kind().keyword(), error.masked().to_string());
            }
        }
        if let Some(keyword) = self.run.other_constants(rules, value)? {
            self.tell(keyword, "value is none of those that are allowed");
        }
        if let Value::Object(map) = value {
            let missing: Vec<&str> =
                rules.required.iter().map(|name| &**name).filter(|name| !map.contains_key(*name)).collect();
            for name in missing.into_iter().take(MAX_VIOLATIONS) {
                self.tell("required", format!("\"{}\" is a required property", short(name)));
            }
        }
        if !self.run.pattern_fits(rules, value)? {
            self.tell("pattern", "value does not match the pattern of the schema");
        }
        if !self.run.is_unique(rules, value)? {
            self.tell("uniqueItems", "value has items that are equal");
        }
        Ok(())
    }

    fn of_members(&mut self, rules: &'p Rules, map: &Map<String, Value>) -> Result<(), Exceeded> {
        let closed = rules.additional_properties.filter(|id| matches!(self.run.rules(*id), Err(false)));
        let mut unexpected = Vec::new();
        for (name, value) in map {
            for id in self.run.subschemas_of(rules, name)? {
                if Some(id) == closed && !rules.properties.contains_key(name.as_str()) {
                    unexpected.push(name.as_str());
                } else {
                    self.below(name, id, value)?;
                }
            }
            if let Some(id) = rules.property_names
                && !self.run.name_fits(id, name)?
            {
                self.tell("propertyNames", format!("the name \"{}\" is not allowed", short(name)));
            }
        }
        self.unexpected("additionalProperties", &unexpected);
        for (name, needs) in &rules.dependent {
            if let Dependency::Names(needed) = needs
                && map.contains_key(&**name)
                && let Some(missing) = needed.iter().find(|name| !map.contains_key(&***name))
            {
                let message = format!("\"{}\" is a required property", short(missing));
                self.tell("dependentRequired", message);
            }
        }
        Ok(())
    }

    fn unexpected(&mut self, rule: &str, names: &[&str]) {
        if names.is_empty() {
            return;
        }
        let told: Vec<String> =
            names.iter().take(MOST_NAMES).map(|name| format!("'{}'", short(name))).collect();
        let more = if names.len() > MOST_NAMES { " and others" } else { "" };
        self.tell(rule, format!("properties that are not allowed: {}{more}", told.join(", ")));
    }

    fn of_items(&mut self, rules: &'p Rules, items: &[Value]) -> Result<(), Exceeded> {
        for (place, item) in items.iter().enumerate() {
            if let Some(id) = rules.prefix_items.get(place).copied().or(rules.items) {
                self.below(&place.to_string(), id, item)?;
            }
        }
        if !self.run.has_contained(rules, items)? {
            self.tell("contains", "value has too few or too many of the items that `contains` asks for");
        }
        Ok(())
    }

    fn of_others(&mut self, rules: &'p Rules, value: &Value) -> Result<(), Exceeded> {
        let branch = self.run.branch(rules, value)?;
        let dependent = rules.dependent.iter().filter_map(|(name, needs)| match (needs, value) {
            (Dependency::Schema(id), Value::Object(map)) if map.contains_key(&**name) => Some(*id),
            _ => None,
        });
        let all = rules.references.iter().chain(&rules.all_of).copied();
        for id in all.chain(branch).chain(dependent) {
            if !self.run.fits(id, value)? {
                self.of(id, value)?;
            }
        }
        if !self.run.any_fits(&rules.any_of, value)? {
            self.alternatives("anyOf", &rules.any_of, value)?;
        }
        if !rules.one_of.is_empty() {
            match self.run.how_many(&rules.one_of, value)? {
                0 => self.alternatives("oneOf", &rules.one_of, value)?,
                1 => {}
                _ => {
                    self.tell("oneOf", "value is valid under more than one of the schemas listed in 'oneOf'")
                }
            }
        }
        if let Some(not) = rules.not
            && self.run.fits(not, value)?
        {
            self.tell("not", "value is what `not` excludes");
        }
        self.of_unevaluated(rules, value)
    }

    /// Where all but one of the alternatives are refused by the value itself (its type, or a constant such as `kind`), the
    /// one that is left is meant.
    fn alternatives(&mut self, rule: &str, ids: &[Id], value: &Value) -> Result<(), Exceeded> {
        let mut meant = None;
        let mut candidates = 0;
        for id in ids {
            if self.run.may_be_meant(*id, value)? {
                candidates += 1;
                meant = Some(*id);
            }
        }
        let before = self.found.len();
        if let (Some(id), 1) = (meant, candidates) {
            self.of(id, value)?;
        }
        if self.found.len() == before {
            self.tell(rule, format!("value is not valid under any of the schemas listed in '{rule}'"));
        }
        Ok(())
    }

    fn of_unevaluated(&mut self, rules: &'p Rules, value: &Value) -> Result<(), Exceeded> {
        match value {
            Value::Object(map) => {
                let Some(id) = rules.unevaluated_properties else { return Ok(()) };
                let seen = self.run.evaluated(rules, value, map.len())?;
                let mut unexpected = Vec::new();
                for ((name, member), _) in map.iter().zip(seen).filter(|(_, seen)| !seen) {
                    if !self.run.fits(id, member)? {
                        unexpected.push(name.as_str());
                    }
                }
                self.unexpected("unevaluatedProperties", &unexpected);
            }
            Value::Array(items) => {
                let Some(id) = rules.unevaluated_items else { return Ok(()) };
                let seen = self.run.evaluated(rules, value, items.len())?;
                for (item, _) in items.iter().zip(seen).filter(|(_, seen)| !seen) {
                    if !self.run.fits(id, item)? {
                        self.tell("unevaluatedItems", "value has items that are not allowed");
                        break;
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
        Ok(())
    }
}

fn short(name: &str) -> String {
    name.chars().take(LONGEST_NAME).collect()
}
