//! Compiled schemas, kept as long as there is room for all of them: a schema is compiled when it is first needed, and
//! those that were compiled longest ago go first.

use super::{ArgumentSchema, SchemaError};
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

type Compiled = Result<ArgumentSchema, SchemaError>;

/// A tool's argument schema.
#[derive(Debug)]
pub struct ToolSchema {
    schema: Value,
    bytes: usize,
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
        let compiled = Arc::new(ArgumentSchema::compile(&self.schema));
        self.compiled.store(Some(compiled.clone()));
        self.cache.keep(self, compiled.as_ref().as_ref().map_or(0, ArgumentSchema::weight));
        compiled
    }

    /// The length of its text: compiling takes time in proportion.
    pub fn bytes(&self) -> usize {
        self.bytes
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
    pub fn schema(&self, schema: Value) -> Arc<ToolSchema> {
        let bytes = serde_json::to_string(&schema).map_or(0, |text| text.len());
        Arc::new(ToolSchema { schema, bytes, compiled: ArcSwapOption::empty(), cache: self.clone() })
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_was_compiled_longest_ago_makes_room() {
        let most = 256 << 10;
        let cache = SchemaCache::of(most);
        let large = |n: usize| {
            let patterns: serde_json::Map<String, Value> =
                (0..4).map(|m| (format!("^{n}x{m}.{{1,20}}$"), json!({}))).collect();
            cache.schema(json!({"patternProperties": patterns}))
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
