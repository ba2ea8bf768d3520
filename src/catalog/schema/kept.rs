//! Compiled schemas, kept as long as there is room for all of them: a schema is compiled when it is first needed, and
//! those that were compiled longest ago go first.

use super::{ArgumentSchema, SchemaError, UncheckedKeyword};
use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use serde_json::Value;
use std::{
    collections::VecDeque,
    sync::{Arc, Weak},
};

/// All compiled schemas together, in bytes as they are estimated.
const MOST_WEIGHT: usize = 64 << 20;
/// What one takes at least.
const LEAST_WEIGHT: usize = 1 << 10;
/// What a pattern adds to the price of its schema: few bytes can take long to build, or to be found too large.
const PATTERN_PRICE: usize = 4 << 10;

type Compiled = Result<ArgumentSchema, SchemaError>;

/// A tool's argument schema.
#[derive(Debug)]
pub struct ToolSchema {
    schema: Value,
    asserts_formats: bool,
    bytes: usize,
    price: usize,
    compiled: ArcSwapOption<Compiled>,
    cache: SchemaCache,
}

impl ToolSchema {
    /// Compiled, if it is.
    pub fn compiled(&self) -> Option<Arc<Compiled>> {
        self.compiled.load_full()
    }

    /// Compiled, now if it was not.
    pub fn compile(self: &Arc<Self>) -> Arc<Compiled> {
        if let Some(compiled) = self.compiled() {
            return compiled;
        }
        let compiled = Arc::new(ArgumentSchema::compile(&self.schema, self.asserts_formats));
        self.compiled.store(Some(compiled.clone()));
        // What is wrong with a schema is one sentence, and stays known: finding it again would take the same time.
        if let Ok(usable) = compiled.as_ref() {
            self.cache.keep(self, usable.weight());
        }
        compiled
    }

    /// The length of its text.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What compiling takes at most, also where it fails, in bytes of plain text.
    pub fn price(&self) -> usize {
        self.price
    }

    /// What of it is not checked, compiled now if it was not.
    pub fn unchecked(self: &Arc<Self>) -> Vec<UncheckedKeyword> {
        match self.compile().as_ref() {
            Ok(compiled) => compiled.unchecked().to_vec(),
            Err(error) => vec![UncheckedKeyword { at: String::new(), why: error.to_string() }],
        }
    }

    /// Whether it asserts formats.
    pub fn asserts_formats(&self) -> bool {
        self.asserts_formats
    }

    /// As it is written.
    pub fn written(&self) -> &Value {
        &self.schema
    }

    /// Whether nothing is known against it.
    pub fn is_usable(&self) -> bool {
        self.compiled().is_none_or(|compiled| compiled.is_ok())
    }
}

/// What keeps compiled schemas.
#[derive(Clone, Debug)]
pub struct SchemaCache(Arc<Mutex<Kept>>);

#[derive(Debug)]
struct Kept {
    schemas: VecDeque<(Weak<ToolSchema>, usize)>,
    weight: usize,
    most: usize,
}

impl Default for SchemaCache {
    fn default() -> Self {
        Self::of(MOST_WEIGHT)
    }
}

impl SchemaCache {
    fn of(most: usize) -> Self {
        Self(Arc::new(Mutex::new(Kept { schemas: VecDeque::new(), weight: 0, most })))
    }

    /// A schema that is not compiled yet.
    pub fn schema(&self, schema: Value, asserts_formats: bool) -> Arc<ToolSchema> {
        let bytes = serde_json::to_string(&schema).map_or(0, |text| text.len());
        let price = bytes.saturating_add(expensive_parts(&schema).saturating_mul(PATTERN_PRICE));
        Arc::new(ToolSchema {
            schema,
            asserts_formats,
            bytes,
            price,
            compiled: ArcSwapOption::empty(),
            cache: self.clone(),
        })
    }

    /// What all that are kept take.
    pub fn weight(&self) -> usize {
        self.0.lock().weight
    }

    fn keep(&self, schema: &Arc<ToolSchema>, weight: usize) {
        let weight = weight.max(LEAST_WEIGHT);
        let mut kept = self.0.lock();
        kept.weight += weight;
        kept.schemas.push_back((Arc::downgrade(schema), weight));
        while kept.weight > kept.most
            && let Some((oldest, weight)) = kept.schemas.pop_front()
        {
            kept.weight -= weight;
            if let Some(oldest) = oldest.upgrade() {
                oldest.compiled.store(None);
            }
        }
    }
}

/// Patterns, and references to whole meta-schemas.
fn expensive_parts(schema: &Value) -> usize {
    match schema {
        Value::Array(items) => items.iter().map(expensive_parts).sum(),
        Value::Object(map) => map
            .iter()
            .map(|(keyword, value)| {
                let own = match (keyword.as_str(), value) {
                    ("pattern", _) => 1,
                    ("patternProperties", Value::Object(patterns)) => patterns.len(),
                    ("$ref" | "$dynamicRef", Value::String(target)) => usize::from(!target.starts_with('#')),
                    _ => 0,
                };
                own + expensive_parts(value)
            })
            .sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_price_counts_what_takes_long() {
        let cache = SchemaCache::default();
        let parts = |schema: Value| {
            let schema = cache.schema(schema, false);
            (schema.price() - schema.bytes()) / PATTERN_PRICE
        };
        assert_eq!(parts(json!({"type": "object", "properties": {"a": {"$ref": "#/$defs/b"}}})), 0);
        assert_eq!(parts(json!({"anyOf": [{"pattern": "a"}, {"items": {"pattern": "b"}}]})), 2);
        assert_eq!(parts(json!({"patternProperties": {"a": {}, "b": {"pattern": "c"}}})), 3);
        assert_eq!(parts(json!({"$ref": "http://json-schema.org/draft-07/schema"})), 1);
    }

    #[test]
    fn what_is_wrong_stays_known() {
        let cache = SchemaCache::of(LEAST_WEIGHT);
        let deep = (0..100).fold(json!({}), |inner, _| json!({"not": inner}));
        let wrong = cache.schema(deep, false);
        assert!(wrong.compile().is_err());
        for n in 0..4 {
            assert!(cache.schema(json!({"minimum": n}), false).compile().is_ok());
        }
        assert!(!wrong.is_usable());
        assert_eq!(wrong.compiled().map(|found| found.is_err()), Some(true));
    }

    #[test]
    fn what_was_compiled_longest_ago_makes_room() {
        let most = 256 << 10;
        let cache = SchemaCache::of(most);
        let large = |n: usize| {
            let patterns: serde_json::Map<String, Value> =
                (0..4).map(|m| (format!("^{n}x{m}.{{1,20}}$"), json!({}))).collect();
            cache.schema(json!({"patternProperties": patterns}), false)
        };
        let first = large(0);
        assert!(first.is_usable() && first.compiled().is_none(), "nothing is compiled before it is needed");
        assert!(first.compile().is_ok());
        let others: Vec<_> = (1..12).map(large).collect();
        for other in &others {
            assert!(other.compile().is_ok());
            assert!(cache.weight() <= most);
        }
        assert!(first.compiled().is_none(), "the first made room");
        assert!(others.last().unwrap().compiled().is_some());
        assert!(first.compile().is_ok(), "and is compiled again where it is needed");
    }
}
