//! Texts: what is found in them, in the JSON that they hold and in content that is base64, and what they become.

use super::{Active, Change, MAX_NESTED_JSON, MAX_ROUNDS, Mark, Text, To, Token, Walk, below};
use crate::{
    model::json,
    redaction::{
        detector::{Kind, Span},
        escape::as_text,
        lanes,
        mask::mask,
        random::{is_media, is_of_type},
        rules::Rule,
        spec::{Action, Direction},
        token::{MAX_MINTED, MAX_VALUE, Tokenized},
    },
};
use serde_json::{Map, Value};
use std::borrow::Cow;

impl<'r> Walk<'r> {
    pub(super) fn hash(&self, kind: Kind, value: &str) -> String {
        let name = self.name(kind);
        match &self.rules.key {
            Some(key) => key.hash(name, value),
            None => mask(name, value.chars().count()),
        }
    }

    /// The placeholder of a value, which is minted; its mask where it cannot have one.
    pub(super) fn token(&mut self, kind: Kind, rule: &Rule, value: &str) -> String {
        let name = self.name(kind);
        let masked = || mask(name, value.chars().count());
        let (Some(key), Some(caller), Some(made)) = (&self.rules.key, &self.rules.caller, &rule.token) else {
            return masked();
        };
        let scope = caller.scope(made.scope);
        let Some(token) = key.token(name, (scope, &made.id), value) else { return masked() };
        if self.minted.iter().any(|known| *known.placeholder == *token) {
            return token;
        }
        if value.len() > MAX_VALUE || self.minted.len() >= MAX_MINTED || (self.typed && self.as_json) {
            return masked();
        }
        self.minted.push(Tokenized {
            placeholder: token.as_str().into(),
            scope: scope.clone(),
            rule: made.id.clone(),
            detector: name.into(),
            value: value.to_owned().into(),
            is_json: self.as_json,
        });
        token
    }

    /// Base64 content. What begins as files of its declared type do is one; what does not is none, and may say anything.
    pub(super) fn bytes(&mut self, text: &str, mime: &str) -> Option<To> {
        let mut bytes = Vec::new();
        lanes::decode(text.as_bytes(), 0, &mut bytes);
        match is_of_type(&bytes, mime) {
            Some(true) => None,
            None if is_media(text) => None,
            None => self.content(text),
            Some(false) => {
                let mut spans = Vec::new();
                let plain = as_text(bytes);
                let walk = &*self;
                let allowed =
                    |kind, value: &str| kind == Kind::HIGH_ENTROPY || walk.is_allowed(kind, value, &[]);
                walk.rules.inner.scanner.look(&plain, &mut spans, &allowed);
                let whole = spans.iter().map(|span| Span { start: 0, end: text.len(), kind: span.kind });
                let whole: Vec<Span> = whole.collect();
                self.kinds.extend(whole.iter().map(|span| span.kind));
                self.replaced(text, &whole).or_else(|| self.content(text))
            }
        }
    }

    /// Base64 content that is no image: what it decodes to may be a text with a secret.
    fn content(&mut self, text: &str) -> Option<To> {
        let rules = self.rules;
        let mut spans = Vec::new();
        let walk = &*self;
        // All content looks drawn at random.
        let allowed = |kind, value: &str| kind == Kind::HIGH_ENTROPY || walk.is_allowed(kind, value, &[]);
        rules.inner.scanner.look(text, &mut spans, &allowed);
        self.kinds.extend(spans.iter().map(|span| span.kind));
        self.replaced(text, &spans)
    }

    fn replaced(&mut self, text: &str, spans: &[Span]) -> Option<To> {
        match self.replace(text, spans, false) {
            Text::Same => None,
            Text::Changed(text) => Some(To::Value(Value::String(text))),
            Text::Dropped => Some(To::Dropped),
        }
    }

    pub(super) fn key(&mut self, key: &str, active: &[Active<'r>]) -> (Option<String>, Text) {
        if key.len() < 20 && key.bytes().all(|b| b.is_ascii_alphabetic() || b == b'_') {
            return (None, Text::Same);
        }
        let recorded = match self.rewrite(key, active, true) {
            Text::Same => return (None, Text::Same),
            Text::Changed(masked) => Some(masked),
            Text::Dropped => Some(String::new()),
        };
        let outbound = if self.selected.is_empty() { Text::Same } else { self.rewrite(key, active, false) };
        (recorded, outbound)
    }

    pub(super) fn text(&mut self, text: &str, active: &[Active<'r>]) -> Change {
        if let Some(change) = self.copy_of_structured(text) {
            return change;
        }
        match self.json_text(text) {
            None => self.plain_text(text, active),
            Some(inside) => {
                let string = |value: Value| value.to_string();
                let recorded = inside.recorded.map(string);
                let outbound = match inside.outbound {
                    Some(To::Value(value)) => Some(value.to_string()),
                    Some(To::Dropped) => {
                        return Change { recorded: recorded.map(Value::String), outbound: Some(To::Dropped) };
                    }
                    None => None,
                };
                let as_recorded = match self.rewrite(recorded.as_deref().unwrap_or(text), active, true) {
                    Text::Same => recorded,
                    Text::Changed(masked) => Some(masked),
                    Text::Dropped => Some(String::new()),
                };
                let as_sent = if self.selected.is_empty() {
                    outbound.map(|text| To::Value(Value::String(text)))
                } else {
                    match self.rewrite(outbound.as_deref().unwrap_or(text), active, false) {
                        Text::Same => outbound.map(|text| To::Value(Value::String(text))),
                        Text::Changed(text) => Some(To::Value(Value::String(text))),
                        Text::Dropped => Some(To::Dropped),
                    }
                };
                Change { recorded: as_recorded.map(Value::String), outbound: as_sent }
            }
        }
    }

    /// A text that says in JSON what the structured content says: the same happens to both, and it stays a copy.
    fn copy_of_structured(&mut self, text: &str) -> Option<Change> {
        let structured = self.structured.filter(|_| self.nested == 0)?;
        if !is_framed(text.trim()) || json::parse_inner(text.trim().as_bytes()).ok()? != *structured {
            return None;
        }
        let mut active = below(&self.pointers, Token::Name("structuredContent"));
        active.extend(self.pointers.iter().copied());
        self.nested += 1;
        let was_typed = std::mem::replace(&mut self.typed, self.declared);
        let change = self.node(structured, &active, 1, false);
        self.typed = was_typed;
        self.nested -= 1;
        let written = |value: Value| Value::String(written_like(text, &value));
        Some(Change {
            recorded: change.recorded.map(written),
            outbound: change.outbound.map(|to| match to {
                To::Value(value) => To::Value(written(value)),
                To::Dropped => To::Dropped,
            }),
        })
    }

    /// A text that is JSON is read where something may happen to what is in it, so that it stays JSON.
    fn json_text(&mut self, text: &str) -> Option<Change> {
        let concerned = !self.pointers.is_empty() || !self.selected.is_empty();
        if self.direction != Direction::Results || !concerned || self.nested >= MAX_NESTED_JSON {
            return None;
        }
        let trimmed = text.trim();
        if !is_framed(trimmed) {
            return None;
        }
        let value = match json::parse_inner(trimmed.as_bytes()) {
            Ok(value) => value,
            Err(error) if error.is_data() && !self.pointers.is_empty() => return Some(self.unclear(text)),
            // No JSON.
            Err(_) => return None,
        };
        self.nested += 1;
        let active = self.pointers.clone();
        let change = self.node(&value, &active, 0, false);
        self.nested -= 1;
        Some(change)
    }

    /// JSON that different readers read differently (a name twice, nested too deep), where a pointer may name something
    /// in it: what is there cannot be told, so that the strictest of what the pointers say counts for all of it.
    fn unclear(&mut self, text: &str) -> Change {
        self.kinds.insert(Kind::SENSITIVE);
        if !self.selected.is_empty() {
            // What is found in it by its value may say more: it is blocked.
            drop(self.rewrite(text, &[], false));
        }
        let masked = Value::String(mask(self.name(Kind::SENSITIVE), text.chars().count()));
        let strictest = self
            .pointers
            .iter()
            .map(|one| self.action(one.mark))
            .max_by_key(|(action, _)| strictness(*action));
        let outbound = match strictest {
            None | Some((Action::Keep, _)) => {
                self.passing.insert(Kind::SENSITIVE);
                None
            }
            Some((Action::Hash | Action::Mask | Action::Tokenize, _)) => Some(To::Value(masked.clone())),
            Some((Action::Drop, _)) => Some(To::Dropped),
            Some((Action::Block, rule)) => {
                self.block(Kind::SENSITIVE, rule);
                None
            }
        };
        Change { recorded: Some(masked), outbound }
    }

    pub(super) fn plain_text(&mut self, text: &str, active: &[Active<'r>]) -> Change {
        let recorded = match self.rewrite(text, active, true) {
            Text::Same => return Change::default(),
            Text::Changed(masked) => Some(Value::String(masked)),
            Text::Dropped => Some(Value::String(String::new())),
        };
        let outbound = if self.selected.is_empty() {
            None
        } else {
            match self.rewrite(text, active, false) {
                Text::Same => None,
                Text::Changed(text) => Some(To::Value(Value::String(text))),
                Text::Dropped => Some(To::Dropped),
            }
        };
        Change { recorded, outbound }
    }

    /// Masks what is found in a text (`record`), or does with it what the rules say.
    fn rewrite(&mut self, text: &str, active: &[Active<'r>], record: bool) -> Text {
        let rules = self.rules;
        let mut current: Cow<'_, str> = Cow::Borrowed(text);
        let mut spans = std::mem::take(&mut self.spans);
        for round in 0..=MAX_ROUNDS {
            let walk = &*self;
            let allowed = |kind, value: &str| walk.is_allowed(kind, value, active);
            rules.inner.scanner.look(&current, &mut spans, &allowed);
            if spans.is_empty() {
                break;
            }
            if round == MAX_ROUNDS {
                current = Cow::Owned(mask(self.name(Kind::SENSITIVE), text.chars().count()));
                break;
            }
            self.kinds.extend(spans.iter().map(|span| span.kind));
            match self.replace(&current, &spans, record) {
                Text::Same => break,
                Text::Changed(next) => current = Cow::Owned(next),
                Text::Dropped => {
                    self.spans = spans;
                    return Text::Dropped;
                }
            }
        }
        self.spans = spans;
        match current {
            Cow::Borrowed(_) => Text::Same,
            Cow::Owned(changed) => Text::Changed(changed),
        }
    }

    /// Replaces each cluster of overlapping findings; the strictest action of a cluster counts.
    fn replace(&mut self, text: &str, spans: &[Span], record: bool) -> Text {
        let mut out = String::with_capacity(text.len());
        let mut done = 0;
        let mut changed = false;
        let mut rest = spans;
        while let Some((first, mut more)) = rest.split_first() {
            let (mut end, mut widest) = (first.end, *first);
            let mut strictest = (Action::Keep, first.kind, None);
            let mut weigh = |kind: Kind, walk: &Self| {
                let (action, rule) =
                    if record { (Action::Mask, None) } else { walk.action(Mark::Place(kind)) };
                if strictness(action) > strictness(strictest.0) {
                    strictest = (action, kind, rule);
                }
            };
            weigh(first.kind, self);
            while let Some((next, after)) = more.split_first().filter(|(next, _)| next.start < end) {
                end = end.max(next.end);
                weigh(next.kind, self);
                // What is known by its form names the mask, before what is known by its place, and both before what only
                // looks like something.
                if names_better(*next, widest) {
                    widest = *next;
                }
                more = after;
            }
            let cluster = rest.get(..rest.len() - more.len()).unwrap_or_default();
            rest = more;
            let value = text.get(first.start..end).unwrap_or_default();
            let instead = match strictest {
                (Action::Keep, _, _) => {
                    self.passing.extend(cluster.iter().map(|span| span.kind));
                    continue;
                }
                (Action::Tokenize, kind, Some(rule)) => Some(self.token(kind, rule, value)),
                (Action::Mask | Action::Tokenize, kind, _) => {
                    let kind = if record { widest.kind } else { kind };
                    Some(mask(self.name(kind), value.chars().count()))
                }
                (Action::Hash, kind, _) => Some(self.hash(kind, value)),
                (Action::Drop, _, _) if value.len() == text.len() => return Text::Dropped,
                (Action::Drop, _, _) => None,
                (Action::Block, kind, rule) => {
                    self.block(kind, rule);
                    Some(mask(self.name(kind), value.chars().count()))
                }
            };
            changed = true;
            out.push_str(text.get(done..first.start).unwrap_or_default());
            out.push_str(instead.as_deref().unwrap_or_default());
            done = end;
        }
        if !changed {
            return Text::Same;
        }
        out.push_str(text.get(done..).unwrap_or_default());
        Text::Changed(out)
    }
}

/// Whether a text may be JSON that has parts.
fn is_framed(trimmed: &str) -> bool {
    let ends = (trimmed.bytes().next(), trimmed.bytes().next_back());
    matches!(ends, (Some(b'{'), Some(b'}')) | (Some(b'['), Some(b']')) | (Some(b'"'), Some(b'"')))
}

/// JSON in lines where the text before was.
pub(in crate::redaction) fn written_like(before: &str, value: &Value) -> String {
    match before.trim().contains('\n') {
        true => serde_json::to_string_pretty(value).unwrap_or_else(|_| value.to_string()),
        false => value.to_string(),
    }
}

/// Whether the first of two findings in one place says more of what it is.
fn names_better(one: Span, other: Span) -> bool {
    let known = |span: Span| !matches!(span.kind, Kind::HIGH_ENTROPY | Kind::TOO_DEEP);
    (known(one), one.end - one.start) > (known(other), other.end - other.start)
}

pub(super) fn strictness(action: Action) -> u8 {
    match action {
        Action::Keep => 0,
        Action::Hash => 1,
        Action::Mask | Action::Tokenize => 2,
        Action::Drop => 3,
        Action::Block => 4,
    }
}

/// The least that is passed over of an argument that is said to be content, in bytes.
pub(super) const SHORTEST_CONTENT: usize = 512;

/// A content block or resource of the protocol, whose `data` or `blob` is base64.
pub(super) fn is_content(map: &Map<String, Value>) -> bool {
    let kind = map.get("type").and_then(Value::as_str);
    map.get("mimeType").is_some_and(Value::is_string) || matches!(kind, Some("image" | "audio"))
}

pub(super) fn is_base64(text: &str) -> bool {
    text.len() >= 64
        && text.bytes().all(|b| {
            b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=' | b'\n' | b'\r' | b'-' | b'_')
        })
}
