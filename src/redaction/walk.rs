//! Walks arguments, results and texts with the rules of one call: what was found, the masked copy for
//! records, and what goes on its way.

mod mark;
mod text;

pub(super) use text::written_like;

use super::{
    claims::Claims,
    code::holds,
    decode::MAX_LAYERS,
    detector::{Kind, Span},
    entry::Entry,
    escape::decoded_once,
    field::numbers_count,
    inspected::{Inspected, Outbound, Place},
    mask::{binary, mask},
    rules::{Allow, Allowed, DataRules, Rule, labels},
    spec::{Action, Direction},
    token::Tokenized,
};
use crate::model::{Sensitivity, pointer::Pointer};
use mark::{Active, Mark, Token, below};
use serde_json::{Map, Value};
use std::{borrow::Cow, collections::BTreeSet, sync::Arc};
use text::{SHORTEST_CONTENT, is_base64, is_content, strictness};

/// Deeper values are masked whole. What is parsed from outside is never that deep.
const MAX_DEPTH: usize = 160;

/// Masking a text may bring to light what overlapped; each time less is left.
const MAX_ROUNDS: usize = 8;

/// For a pointer, JSON in a text in JSON in a text is looked into this often.
const MAX_NESTED_JSON: usize = MAX_LAYERS as usize;

/// What becomes of a value on its way.
enum To {
    Value(Value),
    Dropped,
}

/// What becomes of a value; `None`: it stays.
#[derive(Default)]
struct Change {
    recorded: Option<Value>,
    outbound: Option<To>,
}

/// What becomes of a text.
enum Text {
    Same,
    Changed(String),
    Dropped,
}

struct Walk<'r> {
    rules: &'r DataRules,
    place: Place<'r>,
    direction: Direction,
    /// The rules that concern this call and say something in this direction.
    selected: Vec<&'r Rule>,
    /// Allowed values.
    allowed: Vec<&'r Allow>,
    /// The pointers, to begin again in structured content and in JSON texts.
    pointers: Vec<Active<'r>>,
    kinds: BTreeSet<Kind>,
    /// Those of which something stays in what goes on.
    passing: BTreeSet<Kind>,
    blocked: Option<String>,
    binary: u64,
    nested: usize,
    spans: Vec<Span>,
    /// Structured content is declared.
    declared: bool,
    /// Inside such content: masks keep the type.
    typed: bool,
    /// The structured content of a result, where something may happen to it: a text that says the same is handled with it.
    structured: Option<&'r Value>,
    /// The value under way is JSON that is no text.
    as_json: bool,
    minted: Vec<Tokenized>,
}

impl DataRules {
    /// Arguments on their way to an upstream.
    pub fn inspect_arguments<'v>(&self, arguments: &'v Value, place: &Place<'_>) -> Inspected<'v> {
        self.inspect(arguments, place, Direction::Arguments, &[])
    }

    /// Whether a rule would change or stop what goes upstream in such a call.
    pub fn acts_on_arguments(&self, place: &Place<'_>) -> bool {
        let acts = |rule: &Rule| rule.action(Direction::Arguments).is_some();
        let concerned = |rule: &Rule| rule.on.has(place.upstream, place.tool, place.labels);
        self.inner.rules.iter().any(|rule| acts(rule) && concerned(rule))
    }

    /// A result on its way to an agent. `redact` holds the pointers of a constraint: what they name, in
    /// the result, in its structured content, and in texts that are JSON, is masked for the agent too.
    pub fn inspect_result<'v>(
        &self,
        result: &'v Value,
        place: &Place<'_>,
        redact: &[Pointer],
    ) -> Inspected<'v> {
        self.inspect(result, place, Direction::Results, redact)
    }

    /// The same of a tool that declares its structured content: what is masked there keeps its type, so that a number is a
    /// number. A masked list or object is an empty one.
    pub fn inspect_declared_result<'v>(
        &self,
        result: &'v Value,
        place: &Place<'_>,
        redact: &[Pointer],
    ) -> Inspected<'v> {
        let mut walk = Walk::new(self, *place, Direction::Results, redact).with_structured(result);
        walk.declared = true;
        let active = walk.pointers.clone();
        let change = walk.node(result, &active, 0, true);
        walk.finish(result, change)
    }

    /// Any value as it may be recorded and shown.
    pub fn redact_value<'v>(&self, value: &'v Value) -> Cow<'v, Value> {
        self.inspect(value, &Place::NOWHERE, Direction::Shown, &[]).recorded
    }

    /// Any text as it may be logged and shown.
    pub fn redact_text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut walk = Walk::new(self, Place::NOWHERE, Direction::Shown, &[]);
        match walk.text(text, &[]).recorded {
            Some(Value::String(masked)) => Cow::Owned(masked),
            Some(_) | None => Cow::Borrowed(text),
        }
    }

    /// Under what something is kept for a name that an upstream chose: the name itself where nothing in it is sensitive;
    /// else what may be shown of it with a keyed hash, so that two names do not become one.
    pub fn kept_name(&self, name: &Arc<str>) -> Arc<str> {
        match self.redact_text(name) {
            Cow::Borrowed(_) => name.clone(),
            Cow::Owned(masked) => match &self.key {
                Some(key) => format!("{masked} {}", key.hash("sensitive", name)).into(),
                None => masked.into(),
            },
        }
    }

    /// What a result is labelled with as it comes in.
    pub fn entry(
        &self,
        inspected: &Inspected<'_>,
        place: &Place<'_>,
        claims: &Claims,
        trusted: bool,
    ) -> Entry {
        self.inner.entry(inspected, place, claims, trusted)
    }

    fn inspect<'v>(
        &self,
        value: &'v Value,
        place: &Place<'_>,
        direction: Direction,
        redact: &[Pointer],
    ) -> Inspected<'v> {
        let mut walk = Walk::new(self, *place, direction, redact);
        if direction == Direction::Results {
            walk = walk.with_structured(value);
        }
        let active = walk.pointers.clone();
        let change = walk.node(value, &active, 0, direction == Direction::Results);
        walk.finish(value, change)
    }
}

impl<'r> Walk<'r> {
    fn new(rules: &'r DataRules, place: Place<'r>, direction: Direction, redact: &'r [Pointer]) -> Self {
        let inner = &*rules.inner;
        let concerns = |on: &super::rules::Calls| match direction {
            Direction::Shown => on.is_everywhere(),
            Direction::Arguments | Direction::Results => on.has(place.upstream, place.tool, place.labels),
        };
        let mut pointers = Vec::new();
        let mut selected = Vec::new();
        for rule in inner.rules.iter().filter(|rule| concerns(&rule.on)) {
            pointers.extend(
                rule.pointers.iter().map(|at| Active { tokens: at.tokens(), mark: Mark::Rule(rule) }),
            );
            if rule.action(direction).is_some() {
                selected.push(rule);
            }
        }
        if direction == Direction::Arguments {
            let mark = Mark::Place(Kind::SENSITIVE);
            pointers.extend(place.sensitive.iter().map(|at| Active { tokens: at.tokens(), mark }));
        }
        let mark = Mark::Place(Kind::CONSTRAINT);
        pointers.extend(redact.iter().map(|at| Active { tokens: at.tokens(), mark }));
        let mut allowed = Vec::new();
        for allow in inner.allow.iter().filter(|allow| concerns(&allow.on)) {
            match &allow.what {
                Allowed::At(at) => pointers.push(Active { tokens: at.tokens(), mark: Mark::Allow(allow) }),
                Allowed::Digest(_) | Allowed::Pattern(_) => allowed.push(allow),
            }
        }
        Self {
            rules,
            place,
            direction,
            selected,
            allowed,
            pointers,
            kinds: BTreeSet::new(),
            passing: BTreeSet::new(),
            blocked: None,
            binary: 0,
            nested: 0,
            spans: Vec::new(),
            declared: false,
            typed: false,
            structured: None,
            as_json: false,
            minted: Vec::new(),
        }
    }

    /// Remembers the structured content of a result that is looked through, where rules may change it.
    fn with_structured(mut self, result: &'r Value) -> Self {
        let may_change = !self.selected.is_empty() || !self.pointers.is_empty();
        self.structured = result.get("structuredContent").filter(|_| may_change);
        self
    }

    fn finish<'v>(self, value: &'v Value, change: Change) -> Inspected<'v> {
        let inner = &*self.rules.inner;
        let found = labels(inner, self.kinds.iter().copied());
        // Without rules nothing is taken out but what a constraint masks.
        let passing = match self.selected.is_empty() {
            true => labels(inner, self.kinds.iter().copied().filter(|kind| *kind != Kind::CONSTRAINT)),
            false => labels(inner, self.passing.iter().copied()),
        };
        let least = self.place.labels.iter().filter_map(|label| Sensitivity::from_word(label)).max();
        let level = found.values().copied().chain([least.unwrap_or_default()]).max().unwrap_or_default();
        let mut labels: Vec<Arc<str>> = found.keys().cloned().collect();
        if let Err(place) = labels.binary_search_by(|label| (**label).cmp(level.as_str())) {
            labels.insert(place, level.shared());
        }
        let findings: BTreeSet<Arc<str>> = self
            .kinds
            .iter()
            .filter_map(|kind| inner.detectors.get(usize::from(kind.0)))
            .map(|detector| detector.name.clone())
            .collect();
        let outbound = match (self.blocked, change.outbound) {
            (Some(reason), _) => Outbound::Blocked(reason),
            (None, None) => Outbound::Unchanged,
            (None, Some(To::Value(changed))) => Outbound::Changed(changed),
            (None, Some(To::Dropped)) if value.is_object() => Outbound::Changed(Value::Object(Map::new())),
            (None, Some(To::Dropped)) => Outbound::Changed(Value::Null),
        };
        Inspected {
            level,
            labels,
            redacted: !findings.is_empty(),
            findings: findings.into_iter().collect(),
            recorded: change.recorded.map_or(Cow::Borrowed(value), Cow::Owned),
            outbound,
            classes: found,
            passing,
            minted: self.minted,
            binary_bytes: self.binary,
        }
    }

    fn name(&self, kind: Kind) -> &'r str {
        self.rules.inner.detectors.get(usize::from(kind.0)).map_or("sensitive", |detector| &*detector.name)
    }

    /// What the rules say of a finding, and which one; the first that concerns it counts.
    fn action(&self, mark: Mark<'r>) -> (Action, Option<&'r Rule>) {
        let kind = match mark {
            Mark::Rule(rule) => return (self.said(rule).unwrap_or(Action::Keep), Some(rule)),
            Mark::Place(Kind::CONSTRAINT) => return (Action::Mask, None),
            // What could not be looked into may be anything.
            Mark::Place(Kind::TOO_DEEP) => {
                let says = |rule: &'r Rule| (self.said(rule).unwrap_or(Action::Keep), Some(rule));
                let strictest =
                    self.selected.iter().map(|rule| says(rule)).max_by_key(|(action, _)| strictness(*action));
                return strictest.unwrap_or((Action::Keep, None));
            }
            Mark::Place(kind) | Mark::Field(kind) => kind,
            Mark::Allow(_) => return (Action::Keep, None),
        };
        let rule = self.selected.iter().copied().find(|rule| rule.concerns(kind));
        (rule.and_then(|rule| self.said(rule)).unwrap_or(Action::Keep), rule)
    }

    /// What a rule says in this direction: what it tokenizes goes as it is to an upstream that may have it.
    fn said(&self, rule: &Rule) -> Option<Action> {
        let passes = |rule: &Rule| {
            rule.token.as_ref().is_some_and(|token| token.passes(&rule.on, &self.place, self.direction))
        };
        match rule.action(self.direction) {
            Some(Action::Tokenize) if passes(rule) => Some(Action::Keep),
            action => action,
        }
    }

    fn block(&mut self, kind: Kind, rule: Option<&Rule>) {
        if self.blocked.is_some() {
            return;
        }
        let id = rule.map_or("", |rule| &*rule.id);
        let (what, upstream) = (self.name(kind), self.place.upstream);
        self.blocked = Some(match self.direction {
            Direction::Arguments | Direction::Shown => {
                format!(
                    "the arguments hold what `{what}` finds, which may not go to `{upstream}` (data rule `{id}`)"
                )
            }
            Direction::Results => {
                format!(
                    "the result holds what `{what}` finds, which may not leave `{upstream}` (data rule `{id}`)"
                )
            }
        });
    }

    /// Whether this finding is allowed: by its place or by its value.
    fn is_allowed(&self, kind: Kind, value: &str, active: &[Active<'r>]) -> bool {
        let here = active.iter().any(|one| match one.mark {
            Mark::Allow(allow) => one.tokens.is_empty() && allow.concerns(kind),
            Mark::Place(_) | Mark::Rule(_) | Mark::Field(_) => false,
        });
        here || self.allowed.iter().any(|allow| allow.concerns(kind) && allow.has_value(value))
    }

    fn node(&mut self, value: &Value, active: &[Active<'r>], depth: usize, root: bool) -> Change {
        if depth > MAX_DEPTH {
            self.kinds.insert(Kind::TOO_DEEP);
            self.passing.insert(Kind::TOO_DEEP);
            return Change {
                recorded: Some(Value::String(mask(self.name(Kind::TOO_DEEP), 0))),
                outbound: None,
            };
        }
        let inside = match value {
            Value::Null => return Change::default(),
            Value::Bool(_) => Change::default(),
            Value::Number(number) => self.number(number, active),
            Value::String(text) => self.text(text, active),
            Value::Array(items) => self.array(items, active, depth),
            Value::Object(map) => self.object(map, active, depth, root),
        };
        if active.iter().all(|one| !one.tokens.is_empty()) {
            inside
        } else {
            self.marked(value, active, inside)
        }
    }

    /// A value whose place is marked.
    fn marked(&mut self, value: &Value, active: &[Active<'r>], inside: Change) -> Change {
        let text: Cow<'_, str> = match value {
            Value::String(text) => Cow::Borrowed(text),
            Value::Null => return inside,
            Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                Cow::Owned(value.to_string())
            }
        };
        if text.is_empty() || self.rules.inner.scanner.is_mask(&text) {
            return inside;
        }
        let mut first: Option<Kind> = None;
        let mut marks = Vec::new();
        let mut strictest = (Action::Keep, Kind::SENSITIVE, None);
        for one in active.iter().filter(|one| one.tokens.is_empty()) {
            let Some(kind) = one.mark.kind() else { continue };
            let counts = match (one.mark, value) {
                (Mark::Field(kind), Value::String(text)) => holds(kind, text),
                (Mark::Field(_), Value::Number(_)) => numbers_count(kind),
                (Mark::Field(_), _) => false,
                (Mark::Place(_) | Mark::Rule(_), _) => true,
                (Mark::Allow(_), _) => false,
            };
            if !counts || self.is_allowed(kind, &text, active) {
                continue;
            }
            self.kinds.insert(kind);
            marks.push(kind);
            first = first.or(Some(kind));
            let (action, rule) = self.action(one.mark);
            if strictness(action) > strictness(strictest.0) {
                strictest = (action, kind, rule);
            }
        }
        let Some(kind) = first else { return inside };
        let masked = || Value::String(mask(self.name(kind), text.chars().count()));
        let recorded = Some(masked());
        let outbound = match strictest {
            (Action::Keep, _, _) => {
                self.passing.extend(marks);
                inside.outbound
            }
            (Action::Hash, kind, _) => Some(To::Value(self.instead_of(value, self.hash(kind, &text)))),
            (Action::Tokenize, kind, Some(rule)) if value.is_string() || !self.typed => {
                self.as_json = !value.is_string();
                let token = self.token(kind, rule, &text);
                self.as_json = false;
                Some(To::Value(Value::String(token)))
            }
            (Action::Mask | Action::Tokenize, kind, _) => {
                let masked = mask(self.name(kind), text.chars().count());
                Some(To::Value(self.instead_of(value, masked)))
            }
            (Action::Drop, _, _) => Some(To::Dropped),
            (Action::Block, kind, rule) => {
                self.block(kind, rule);
                None
            }
        };
        Change { recorded, outbound }
    }

    /// What stands for a masked value.
    fn instead_of(&self, value: &Value, mask: String) -> Value {
        match value {
            Value::Number(_) if self.typed => Value::from(0),
            Value::Bool(_) if self.typed => Value::Bool(false),
            Value::Array(_) if self.typed => Value::Array(Vec::new()),
            Value::Object(_) if self.typed => Value::Object(Map::new()),
            _ => Value::String(mask),
        }
    }

    fn number(&mut self, number: &serde_json::Number, active: &[Active<'r>]) -> Change {
        let text = number.as_str();
        if text.len() < 9 {
            return Change::default();
        }
        self.as_json = true;
        let mut change = self.plain_text(text, active);
        self.as_json = false;
        if self.typed && matches!(change.outbound, Some(To::Value(_))) {
            change.outbound = Some(To::Value(Value::from(0)));
        }
        change
    }

    fn array(&mut self, items: &[Value], active: &[Active<'r>], depth: usize) -> Change {
        let mut recorded: Option<Vec<Value>> = None;
        let mut outbound: Option<Vec<Value>> = None;
        for (at, item) in items.iter().enumerate() {
            let inner = if active.is_empty() { Vec::new() } else { below(active, Token::Index(at)) };
            let change = self.node(item, &inner, depth + 1, false);
            let before = || items.iter().take(at).cloned().collect::<Vec<Value>>();
            if change.recorded.is_some() && recorded.is_none() {
                recorded = Some(before());
            }
            if let Some(recorded) = &mut recorded {
                recorded.push(change.recorded.unwrap_or_else(|| item.clone()));
            }
            if change.outbound.is_some() && outbound.is_none() {
                outbound = Some(before());
            }
            if let Some(outbound) = &mut outbound {
                match change.outbound {
                    Some(To::Value(value)) => outbound.push(value),
                    Some(To::Dropped) => {}
                    None => outbound.push(item.clone()),
                }
            }
        }
        Change {
            recorded: recorded.map(Value::Array),
            outbound: outbound.map(|items| To::Value(Value::Array(items))),
        }
    }

    fn object(
        &mut self,
        map: &Map<String, Value>,
        active: &[Active<'r>],
        depth: usize,
        root: bool,
    ) -> Change {
        let mut recorded: Option<Map<String, Value>> = None;
        let mut outbound: Option<Map<String, Value>> = None;
        for (at, (key, value)) in map.iter().enumerate() {
            let (key_recorded, key_towards) = self.key(key, active);
            let change = self.member(map, key, value, active, depth, root);
            let before =
                || map.iter().take(at).map(|(k, v)| (k.clone(), v.clone())).collect::<Map<String, Value>>();
            if recorded.is_none() && (change.recorded.is_some() || key_recorded.is_some()) {
                recorded = Some(before());
            }
            if let Some(recorded) = &mut recorded {
                let key = key_recorded.unwrap_or_else(|| key.clone());
                insert(recorded, key, at, change.recorded.unwrap_or_else(|| value.clone()));
            }
            let key_same = matches!(key_towards, Text::Same);
            if outbound.is_none() && (change.outbound.is_some() || !key_same) {
                outbound = Some(before());
            }
            if let Some(outbound) = &mut outbound {
                let key = match key_towards {
                    Text::Same => Some(key.clone()),
                    Text::Changed(key) => Some(key),
                    Text::Dropped => None,
                };
                let value = match change.outbound {
                    Some(To::Value(value)) => Some(value),
                    Some(To::Dropped) => None,
                    None => Some(value.clone()),
                };
                if let (Some(key), Some(value)) = (key, value) {
                    insert(outbound, key, at, value);
                }
            }
        }
        Change {
            recorded: recorded.map(Value::Object),
            outbound: outbound.map(|map| To::Value(Value::Object(map))),
        }
    }

    fn member(
        &mut self,
        map: &Map<String, Value>,
        key: &str,
        value: &Value,
        active: &[Active<'r>],
        depth: usize,
        root: bool,
    ) -> Change {
        let mut inner = if active.is_empty() { Vec::new() } else { below(active, Token::Name(key)) };
        let marked = inner.iter().any(|one| one.tokens.is_empty() && !matches!(one.mark, Mark::Allow(_)));
        if matches!(key, "data" | "blob")
            && let Value::String(text) = value
            && !marked
            && is_content(map)
            && is_base64(text)
            // An agent says itself what is content: what is as short as a secret is looked at.
            && (self.direction != Direction::Arguments || text.len() >= SHORTEST_CONTENT)
        {
            self.binary = self.binary.saturating_add(text.len() as u64);
            let mime = map.get("mimeType").and_then(Value::as_str).unwrap_or_default();
            let outbound = self.bytes(text, mime);
            return Change { recorded: Some(Value::String(binary(text.len()))), outbound };
        }
        let scanner = &self.rules.inner.scanner;
        let named = match key {
            // `{"name": "Authorization", "value": …}`
            "value" => ["name", "key"]
                .into_iter()
                .filter_map(|name| map.get(name).and_then(Value::as_str))
                .find_map(|name| scanner.field(name)),
            _ => None,
        };
        let named = named.or_else(|| {
            let readings = std::iter::successors(decoded_once(key), |key| decoded_once(key));
            readings.take(MAX_LAYERS.into()).find_map(|key| scanner.field(&key))
        });
        if let Some(kind) = scanner.field(key).or(named) {
            inner.push(Active { tokens: &[], mark: Mark::Field(kind) });
        }
        if root && key == "structuredContent" {
            inner.extend(self.pointers.iter().copied());
            self.typed = self.declared;
            let change = self.node(value, &inner, depth + 1, false);
            self.typed = false;
            return change;
        }
        self.node(value, &inner, depth + 1, false)
    }
}

/// Two names may get the same mask; both members stay.
pub(super) fn insert(map: &mut Map<String, Value>, mut key: String, at: usize, value: Value) {
    while map.contains_key(&key) {
        key = format!("{key} #{at}");
    }
    map.insert(key, value);
}
