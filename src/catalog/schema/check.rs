//! Holds a value against a compiled schema, within a budget of steps. What a subschema said of a value is remembered where
//! it can be asked again, so that recursive alternatives take time in proportion to schema times value.

use super::exceeded::Exceeded;
use super::program::{Dependency, Id, Node, Program, Rules};
use crate::model::json::canonical;
use serde_json::{Map, Value};
use std::collections::{HashMap, HashSet};

/// The deepest that subschemas are followed, counted over the value and over what applies to one place of it.
const MAX_DEPTH: u32 = 600;
/// Steps before results are remembered: most arguments need fewer.
const REMEMBER_AFTER: u64 = 256;
/// Results that are remembered at once.
const MOST_REMEMBERED: usize = 200_000;

/// One look at one value.
pub(super) struct Run<'p> {
    program: &'p Program,
    steps: u64,
    most: u64,
    depth: u32,
    deepest: u32,
    /// What was said, by subschema and by the address of the value.
    said: HashMap<(Id, usize), bool>,
    /// Inside a value that does not outlive the look at it: its address says nothing.
    passing: u32,
}

impl<'p> Run<'p> {
    pub(super) fn new(program: &'p Program, most: u64, deepest: u32) -> Self {
        Self {
            program,
            steps: 0,
            most,
            depth: 0,
            deepest: deepest.min(MAX_DEPTH),
            said: HashMap::new(),
            passing: 0,
        }
    }

    pub(super) fn steps(&self) -> u64 {
        self.steps
    }

    /// Allows more steps.
    pub(super) fn extend(&mut self, by: u64) {
        self.most = self.steps.saturating_add(by);
        self.depth = 0;
        self.passing = 0;
    }

    pub(super) fn charge(&mut self, steps: u64) -> Result<(), Exceeded> {
        match self.steps.checked_add(steps).filter(|steps| *steps <= self.most) {
            Some(steps) => {
                self.steps = steps;
                Ok(())
            }
            // What asked for them does not run.
            None => {
                self.steps = self.most;
                Err(Exceeded)
            }
        }
    }

    /// Goes one level deeper. After an error nobody goes on.
    pub(super) fn enter(&mut self) -> Result<(), Exceeded> {
        if self.depth >= self.deepest {
            self.steps = self.most;
            return Err(Exceeded);
        }
        self.depth += 1;
        Ok(())
    }

    pub(super) fn leave(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }

    pub(super) fn rules(&self, id: Id) -> Result<&'p Rules, bool> {
        match self.program.nodes.get(id) {
            Some(Node::Rules(rules)) => Ok(rules),
            Some(Node::Always(fits)) => Err(*fits),
            None => Err(false),
        }
    }

    /// Whether the value fits.
    pub(super) fn fits(&mut self, id: Id, value: &Value) -> Result<bool, Exceeded> {
        self.charge(1)?;
        let rules = match self.rules(id) {
            Ok(rules) => rules,
            Err(fits) => return Ok(fits),
        };
        let place = (id, std::ptr::from_ref(value).addr());
        let remembers = rules.shared && self.passing == 0 && self.steps > REMEMBER_AFTER;
        if remembers && let Some(said) = self.said.get(&place) {
            return Ok(*said);
        }
        self.enter()?;
        let fits =
            self.by_itself(rules, value)? && self.by_parts(rules, value)? && self.by_others(rules, value)?;
        self.leave();
        if remembers && self.said.len() < MOST_REMEMBERED {
            self.said.insert(place, fits);
        }
        Ok(fits)
    }

    fn all(&mut self, ids: &[Id], value: &Value) -> Result<bool, Exceeded> {
        for id in ids {
            if !self.fits(*id, value)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What needs no other subschema.
    fn by_itself(&mut self, rules: &Rules, value: &Value) -> Result<bool, Exceeded> {
        Ok(rules.types.is_none_or(|types| types.has(value))
            && self.leaves_fit(rules, value)?
            && self.other_constants(rules, value)?.is_none()
            && self.has_required(rules, value)?
            && self.pattern_fits(rules, value)?
            && self.is_unique(rules, value)?)
    }

    fn leaves_fit(&mut self, rules: &Rules, value: &Value) -> Result<bool, Exceeded> {
        for leaf in &rules.leaves {
            self.charge(leaf.cost(value))?;
            if !leaf.validator.is_valid(value) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The keyword that names other values only.
    pub(super) fn other_constants(
        &mut self,
        rules: &Rules,
        value: &Value,
    ) -> Result<Option<&'static str>, Exceeded> {
        if rules.constants.is_empty() {
            return Ok(None);
        }
        let mut form = Vec::new();
        canonical(value, &mut form);
        self.charge(1 + form.len() as u64 / 16)?;
        let others = rules.constants.iter().find(|constants| !constants.values.contains(&form));
        Ok(others.map(|constants| constants.keyword))
    }

    fn has_required(&mut self, rules: &Rules, value: &Value) -> Result<bool, Exceeded> {
        let Value::Object(map) = value else { return Ok(true) };
        self.charge(rules.required.len() as u64 / 8)?;
        Ok(rules.required.iter().all(|name| map.contains_key(&**name)))
    }

    pub(super) fn pattern_fits(&mut self, rules: &Rules, value: &Value) -> Result<bool, Exceeded> {
        match (&rules.pattern, value) {
            (Some(pattern), Value::String(text)) => pattern.is_match(text, |steps| self.charge(steps)),
            _ => Ok(true),
        }
    }

    pub(super) fn is_unique(&mut self, rules: &Rules, value: &Value) -> Result<bool, Exceeded> {
        let (true, Value::Array(items)) = (rules.unique, value) else { return Ok(true) };
        let mut seen = HashSet::new();
        for item in items {
            let mut text = Vec::new();
            canonical(item, &mut text);
            self.charge(1 + text.len() as u64 / 16)?;
            if !seen.insert(text) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Members and items.
    fn by_parts(&mut self, rules: &Rules, value: &Value) -> Result<bool, Exceeded> {
        match value {
            Value::Object(map) => self.members_fit(rules, map),
            Value::Array(items) => {
                for (place, item) in items.iter().enumerate() {
                    if let Some(id) = rules.prefix_items.get(place).copied().or(rules.items)
                        && !self.fits(id, item)?
                    {
                        return Ok(false);
                    }
                }
                self.has_contained(rules, items)
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(true),
        }
    }

    fn members_fit(&mut self, rules: &Rules, map: &Map<String, Value>) -> Result<bool, Exceeded> {
        let rest = rules.additional_properties;
        if rules.pattern_properties.is_empty() && rest.is_none() {
            // The smaller of the two decides how long it takes.
            if rules.properties.len() <= map.len() {
                for (name, id) in &rules.properties {
                    if let Some(value) = map.get(&**name)
                        && !self.fits(*id, value)?
                    {
                        return Ok(false);
                    }
                }
            } else {
                for (name, value) in map {
                    if let Some(id) = rules.properties.get(name.as_str())
                        && !self.fits(*id, value)?
                    {
                        return Ok(false);
                    }
                }
            }
            self.charge(map.len().min(rules.properties.len()) as u64 / 4)?;
        } else {
            for (name, value) in map {
                if rules.pattern_properties.is_empty() {
                    let id = rules.properties.get(name.as_str()).copied().or(rest);
                    if !id.map_or(Ok(true), |id| self.fits(id, value))? {
                        return Ok(false);
                    }
                    continue;
                }
                for id in self.subschemas_of(rules, name)? {
                    if !self.fits(id, value)? {
                        return Ok(false);
                    }
                }
            }
        }
        for name in map.keys() {
            let Some(id) = rules.property_names else { break };
            if !self.name_fits(id, name)? {
                return Ok(false);
            }
        }
        for (name, needs) in &rules.dependent {
            self.charge(1)?;
            if let Dependency::Names(needed) = needs
                && map.contains_key(&**name)
            {
                self.charge(needed.len() as u64 / 8)?;
                if !needed.iter().all(|name| map.contains_key(&**name)) {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    pub(super) fn name_fits(&mut self, id: Id, name: &str) -> Result<bool, Exceeded> {
        self.charge(name.len() as u64 / 64)?;
        self.passing += 1;
        let fits = self.fits(id, &Value::String(name.to_owned()))?;
        self.passing -= 1;
        Ok(fits)
    }

    /// The subschemas that a member's name selects.
    pub(super) fn subschemas_of(&mut self, rules: &Rules, name: &str) -> Result<Vec<Id>, Exceeded> {
        let mut ids: Vec<Id> = rules.properties.get(name).copied().into_iter().collect();
        for (pattern, id) in &rules.pattern_properties {
            if pattern.is_match(name, |steps| self.charge(steps))? {
                ids.push(*id);
            }
        }
        if ids.is_empty() {
            ids.extend(rules.additional_properties);
        }
        Ok(ids)
    }

    pub(super) fn has_contained(&mut self, rules: &Rules, items: &[Value]) -> Result<bool, Exceeded> {
        let Some(contains) = &rules.contains else { return Ok(true) };
        let mut found = 0;
        for item in items {
            found += u64::from(self.fits(contains.item, item)?);
            // Without a highest count nothing changes once there are enough.
            if contains.most.is_none() && found >= contains.least {
                return Ok(true);
            }
        }
        Ok(found >= contains.least && contains.most.is_none_or(|most| found <= most))
    }

    /// Subschemas that apply to the same value.
    fn by_others(&mut self, rules: &Rules, value: &Value) -> Result<bool, Exceeded> {
        Ok(self.all(&rules.references, value)?
            && self.all(&rules.all_of, value)?
            && self.any_fits(&rules.any_of, value)?
            && (rules.one_of.is_empty() || self.how_many(&rules.one_of, value)? == 1)
            && rules.not.map_or(Ok(true), |not| self.fits(not, value).map(|fits| !fits))?
            && self.condition_fits(rules, value)?
            && self.dependent_fit(rules, value)?
            && self.evaluated_fit(rules, value)?)
    }

    pub(super) fn any_fits(&mut self, ids: &[Id], value: &Value) -> Result<bool, Exceeded> {
        for id in ids {
            if self.fits(*id, value)? {
                return Ok(true);
            }
        }
        Ok(ids.is_empty())
    }

    /// How many fit; not counted beyond two.
    pub(super) fn how_many(&mut self, ids: &[Id], value: &Value) -> Result<usize, Exceeded> {
        let mut found = 0;
        for id in ids {
            found += usize::from(self.fits(*id, value)?);
            if found > 1 {
                break;
            }
        }
        Ok(found)
    }

    /// The branch of a condition that applies.
    pub(super) fn branch(&mut self, rules: &Rules, value: &Value) -> Result<Option<Id>, Exceeded> {
        let Some(condition) = &rules.condition else { return Ok(None) };
        Ok(if self.fits(condition.if_, value)? { condition.then } else { condition.otherwise })
    }

    fn condition_fits(&mut self, rules: &Rules, value: &Value) -> Result<bool, Exceeded> {
        let branch = self.branch(rules, value)?;
        branch.map_or(Ok(true), |id| self.fits(id, value))
    }

    fn dependent_fit(&mut self, rules: &Rules, value: &Value) -> Result<bool, Exceeded> {
        for (name, needs) in &rules.dependent {
            if let (Dependency::Schema(id), Value::Object(map)) = (needs, value)
                && map.contains_key(&**name)
                && !self.fits(*id, value)?
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn evaluated_fit(&mut self, rules: &Rules, value: &Value) -> Result<bool, Exceeded> {
        let (id, parts) = match value {
            Value::Object(map) => (rules.unevaluated_properties, map.len()),
            Value::Array(items) => (rules.unevaluated_items, items.len()),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => (None, 0),
        };
        let Some(id) = id else { return Ok(true) };
        let seen = self.evaluated(rules, value, parts)?;
        let parts: Box<dyn Iterator<Item = &Value>> = match value {
            Value::Object(map) => Box::new(map.values()),
            other => Box::new(other.as_array().into_iter().flatten()),
        };
        for (part, _) in parts.zip(seen).filter(|(_, seen)| !seen) {
            if !self.fits(id, part)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Which members or items other subschemas have looked at.
    pub(super) fn evaluated(
        &mut self,
        rules: &Rules,
        value: &Value,
        parts: usize,
    ) -> Result<Vec<bool>, Exceeded> {
        let mut seen = vec![false; parts];
        self.look_through(rules, value, true, &mut seen)?;
        Ok(seen)
    }

    /// Marks what a subschema that fits has looked at.
    fn look_through(
        &mut self,
        rules: &Rules,
        value: &Value,
        outermost: bool,
        seen: &mut [bool],
    ) -> Result<(), Exceeded> {
        self.charge(1 + seen.len() as u64 / 4)?;
        self.enter()?;
        match value {
            Value::Object(map) => {
                let whole = rules.additional_properties.is_some()
                    || !outermost && rules.unevaluated_properties.is_some();
                for (slot, name) in seen.iter_mut().zip(map.keys()) {
                    *slot = *slot || whole || !self.subschemas_of(rules, name)?.is_empty();
                }
            }
            Value::Array(items) => {
                let whole = rules.items.is_some() || !outermost && rules.unevaluated_items.is_some();
                for (place, (slot, item)) in seen.iter_mut().zip(items).enumerate() {
                    *slot = *slot || whole || place < rules.prefix_items.len();
                    if let Some(contains) = &rules.contains
                        && !*slot
                    {
                        *slot = self.fits(contains.item, item)?;
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
        let mut through: Vec<Id> = rules.references.iter().chain(&rules.all_of).copied().collect();
        let condition = rules.condition.as_ref().map(|condition| condition.if_);
        for id in rules.any_of.iter().chain(&rules.one_of).copied().chain(condition) {
            if self.fits(id, value)? {
                through.push(id);
            }
        }
        through.extend(self.branch(rules, value)?);
        for (name, needs) in &rules.dependent {
            if let (Dependency::Schema(id), Value::Object(map)) = (needs, value)
                && map.contains_key(&**name)
            {
                through.push(*id);
            }
        }
        for id in through {
            if let Ok(rules) = self.rules(id) {
                self.look_through(rules, value, false, seen)?;
            }
        }
        self.leave();
        Ok(())
    }

    /// Whether nothing speaks against an alternative but what lies deeper: the value's type and its constants fit.
    pub(super) fn may_be_meant(&mut self, id: Id, value: &Value) -> Result<bool, Exceeded> {
        self.charge(1)?;
        let Ok(rules) = self.rules(id) else { return Ok(false) };
        if !self.by_itself(rules, value)? {
            return Ok(false);
        }
        for (name, id) in &rules.properties {
            if let (Some(member), Ok(rules)) = (value.get(&**name), self.rules(*id))
                && self.other_constants(rules, member)?.is_some()
            {
                return Ok(false);
            }
        }
        self.enter()?;
        for id in rules.references.iter().chain(&rules.all_of) {
            if !self.may_be_meant(*id, value)? {
                self.leave();
                return Ok(false);
            }
        }
        self.leave();
        Ok(true)
    }
}
