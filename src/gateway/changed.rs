//! Which lists differ between two catalogs.

use crate::catalog::Catalog;
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc};

/// Which lists differ between two catalogs.
#[derive(Clone, Copy)]
pub(super) struct Changed {
    pub(super) tools: bool,
    pub(super) prompts: bool,
    pub(super) resources: bool,
}

impl Changed {
    pub(super) fn between(old: &Catalog, new: &Catalog) -> Self {
        fn items<K: Ord, T>(map: &BTreeMap<K, Arc<T>>, item: fn(&T) -> &Value) -> Vec<&Value> {
            map.values().map(|entry| item(entry)).collect()
        }
        Self {
            tools: items(&old.tools, |t| &t.item) != items(&new.tools, |t| &t.item),
            prompts: items(&old.prompts, |t| &t.item) != items(&new.prompts, |t| &t.item),
            resources: items(&old.resources, |t| &t.item) != items(&new.resources, |t| &t.item)
                || items(&old.templates, |t| &t.item) != items(&new.templates, |t| &t.item),
        }
    }

    pub(super) fn any(self) -> bool {
        self.tools || self.prompts || self.resources
    }
}
