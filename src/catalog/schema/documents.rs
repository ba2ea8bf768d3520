//! What a schema's references name: its parts by pointer, identifier and anchor, and the dialects' own schemas. Nothing is
//! ever fetched.

use super::{SchemaError, compile::invalid};
use jsonschema::Draft;
use serde_json::Value;
use std::collections::{HashMap, hash_map::Entry};
use url::Url;

/// Where a schema without `$id` lies.
const BASE: &str = "https://schema.invalid/";
/// Keywords whose values are data.
const DATA: [&str; 4] = ["enum", "const", "default", "examples"];

/// The dialect that a schema names, else 2020-12.
pub(super) fn draft_of(schema: &Value) -> Result<Draft, SchemaError> {
    match schema.get("$schema").and_then(Value::as_str) {
        None => Ok(Draft::Draft202012),
        Some(name) => dialect(name).ok_or_else(|| {
            let shown: String = name.chars().take(120).collect();
            invalid(format!("`$schema` names `{shown}`, which is no known dialect"))
        }),
    }
}

pub(super) fn dialect(name: &str) -> Option<Draft> {
    Some(match name.strip_suffix('#').unwrap_or(name).split_once("://json-schema.org/")?.1 {
        "draft-04/schema" => Draft::Draft4,
        "draft-06/schema" => Draft::Draft6,
        "draft-07/schema" => Draft::Draft7,
        "draft/2019-09/schema" => Draft::Draft201909,
        "draft/2020-12/schema" => Draft::Draft202012,
        _ => return None,
    })
}

pub(super) fn address(value: &Value) -> usize {
    std::ptr::from_ref(value).addr()
}

/// What can be named: subschemas with an `$id`, and anchors.
pub(super) struct Documents<'s> {
    bases: Vec<Url>,
    /// The base of each object, by its address.
    base_of: HashMap<usize, usize>,
    resources: HashMap<String, &'s Value>,
    anchors: HashMap<(usize, &'s str), &'s Value>,
    /// Dynamic anchors; `None` for a name that more than one has.
    dynamic: HashMap<&'s str, Option<&'s Value>>,
}

impl<'s> Documents<'s> {
    pub(super) fn of(schema: &'s Value, draft: Draft) -> Result<Self, SchemaError> {
        let base = Url::parse(BASE).map_err(|_| invalid("it has no base"))?;
        let mut documents = Self {
            resources: HashMap::from([(BASE.to_owned(), schema)]),
            bases: vec![base],
            base_of: HashMap::new(),
            anchors: HashMap::new(),
            dynamic: HashMap::new(),
        };
        let id_keyword = if draft == Draft::Draft4 { "id" } else { "$id" };
        let mut open = vec![(schema, 0)];
        while let Some((value, mut base)) = open.pop() {
            let map = match value {
                Value::Array(items) => {
                    open.extend(items.iter().map(|item| (item, base)));
                    continue;
                }
                Value::Object(map) => map,
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => continue,
            };
            let text = |key: &str| map.get(key).and_then(Value::as_str);
            if text("$schema").is_some_and(|name| dialect(name) != Some(draft)) {
                return Err(invalid("a subschema is of another dialect than the whole"));
            }
            // The older dialects ignore everything beside `$ref`.
            let ignored = draft <= Draft::Draft7 && map.contains_key("$ref");
            match text(id_keyword).filter(|_| !ignored) {
                Some(id) if draft <= Draft::Draft7 && id.starts_with('#') => {
                    documents.anchors.insert((base, id.trim_start_matches('#')), value);
                }
                Some(id) => base = documents.resource(base, id, value)?,
                None => {}
            }
            for keyword in ["$anchor", "$dynamicAnchor"] {
                if let Some(name) = text(keyword) {
                    documents.anchors.insert((base, name), value);
                }
            }
            let recursive = map.get("$recursiveAnchor") == Some(&Value::Bool(true));
            for name in text("$dynamicAnchor").into_iter().chain(recursive.then_some("")) {
                match documents.dynamic.entry(name) {
                    Entry::Vacant(entry) => drop(entry.insert(Some(value))),
                    Entry::Occupied(mut entry) => drop(entry.insert(None)),
                }
            }
            documents.base_of.insert(address(value), base);
            let below = map.iter().filter(|(key, _)| !DATA.contains(&key.as_str()));
            open.extend(below.map(|(_, item)| (item, base)));
        }
        Ok(documents)
    }

    fn resource(&mut self, base: usize, id: &str, value: &'s Value) -> Result<usize, SchemaError> {
        let shown = || id.chars().take(120).collect::<String>();
        let joined = self.bases.get(base).and_then(|base| base.join(id).ok());
        let Some(mut url) = joined else {
            return Err(invalid(format!("`{}` is no usable identifier of a schema", shown())));
        };
        url.set_fragment(None);
        match self.resources.entry(url.to_string()) {
            Entry::Occupied(entry) if !std::ptr::eq(*entry.get(), value) => {
                return Err(invalid(format!("two subschemas have the identifier `{}`", shown())));
            }
            entry => drop(entry.or_insert(value)),
        }
        self.bases.push(url);
        Ok(self.bases.len() - 1)
    }

    /// A dynamic reference names one place only where one subschema has that anchor.
    pub(super) fn dynamic(&self, name: &str) -> Result<(), SchemaError> {
        let several = self.dynamic.get(name).is_some_and(Option::is_none);
        // One of a resource that another includes is found from there, too.
        let elsewhere = name.is_empty() && self.resources.len() > 2;
        if several || elsewhere {
            return Err(invalid(
                "a dynamic reference can name more than one subschema, which is not supported",
            ));
        }
        Ok(())
    }

    /// What a reference from an object names.
    pub(super) fn resolve(&self, from: &Value, reference: &str) -> Result<Target<'s>, SchemaError> {
        let shown = || reference.chars().take(120).collect::<String>();
        let nothing = || invalid(format!("`$ref` to `{}` names nothing in it", shown()));
        let base = self.base_of.get(&address(from)).copied().unwrap_or(0);
        let mut url = self.bases.get(base).and_then(|base| base.join(reference).ok()).ok_or_else(nothing)?;
        let fragment = url.fragment().unwrap_or_default().to_owned();
        url.set_fragment(None);
        let Some(resource) = self.resources.get(url.as_str()) else {
            return match dialect(url.as_str()).filter(|_| fragment.is_empty()) {
                Some(draft) => Ok(Target::Meta(draft)),
                None if url.as_str().starts_with(BASE) => Err(nothing()),
                None => Err(invalid(format!("`$ref` to `{}` lies outside it and is never fetched", shown()))),
            };
        };
        let fragment =
            percent_encoding::percent_decode_str(&fragment).decode_utf8().map_err(|_| nothing())?;
        if fragment.is_empty() || fragment.starts_with('/') {
            return resource.pointer(&fragment).map(Target::Schema).ok_or_else(nothing);
        }
        let places = self.bases.iter().enumerate().filter(|(_, base)| **base == url).map(|(place, _)| place);
        let found = places.filter_map(|base| self.anchors.get(&(base, &*fragment))).next();
        found.map(|schema| Target::Schema(schema)).ok_or_else(nothing)
    }
}

pub(super) enum Target<'s> {
    Schema(&'s Value),
    Meta(Draft),
}
