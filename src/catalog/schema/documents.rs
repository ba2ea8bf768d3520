//! What a schema's references name: its parts by pointer, identifier and anchor, and the dialects' own schemas. Nothing is
//! ever fetched.

use jsonschema::Draft;
use serde_json::{Map, Value};
use std::collections::{HashMap, hash_map::Entry};
use url::Url;

/// Where a schema without `$id` lies.
const BASE: &str = "https://schema.invalid/";
/// Keywords whose value is one subschema, or a list of them.
const SUBSCHEMAS: [&str; 17] = [
    "items",
    "additionalItems",
    "prefixItems",
    "contains",
    "additionalProperties",
    "propertyNames",
    "unevaluatedProperties",
    "unevaluatedItems",
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "if",
    "then",
    "else",
    "contentSchema",
    "extends",
];
/// Keywords whose value has subschemas under names. What stands elsewhere is data.
const NAMED_SUBSCHEMAS: [&str; 6] =
    ["properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "dependencies"];

/// The dialect that a schema names, where it is a known one.
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
    /// The base and the dialect of each object, by its address.
    of: HashMap<usize, (usize, Draft)>,
    /// `None` for an identifier that several have.
    resources: HashMap<String, Option<&'s Value>>,
    anchors: HashMap<(usize, &'s str), &'s Value>,
    /// Dynamic anchors; `None` for a name that more than one has.
    dynamic: HashMap<&'s str, Option<&'s Value>>,
    root: Draft,
}

impl<'s> Documents<'s> {
    /// Everything that the schema names in itself. A dialect counts for the subschema that names it and what is below.
    pub(super) fn of(schema: &'s Value) -> Self {
        let mut documents = Self {
            resources: HashMap::from([(BASE.to_owned(), Some(schema))]),
            bases: Url::parse(BASE).into_iter().collect(),
            of: HashMap::new(),
            anchors: HashMap::new(),
            dynamic: HashMap::new(),
            root: Draft::Draft202012,
        };
        let mut open = vec![(schema, 0, Draft::Draft202012)];
        while let Some((value, base, draft)) = open.pop() {
            match value {
                Value::Array(items) => open.extend(items.iter().map(|item| (item, base, draft))),
                Value::Object(map) => {
                    let (base, draft) = documents.note(value, map, base, draft, std::ptr::eq(value, schema));
                    for (keyword, below) in map {
                        if SUBSCHEMAS.contains(&keyword.as_str()) {
                            open.push((below, base, draft));
                        } else if NAMED_SUBSCHEMAS.contains(&keyword.as_str()) {
                            let named = below.as_object().into_iter().flatten();
                            open.extend(named.map(|(_, below)| (below, base, draft)));
                        }
                    }
                }
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
            }
        }
        documents.root = documents.draft(schema);
        documents
    }

    /// What a subschema says of itself.
    fn note(
        &mut self,
        value: &'s Value,
        map: &'s Map<String, Value>,
        mut base: usize,
        draft: Draft,
        is_root: bool,
    ) -> (usize, Draft) {
        let text = |key: &str| map.get(key).and_then(Value::as_str);
        let draft = text("$schema").and_then(dialect).unwrap_or(draft);
        let id_keyword = if draft == Draft::Draft4 { "id" } else { "$id" };
        // The older dialects ignore everything beside `$ref`; the whole is meant by its identifier all the same.
        let ignored = draft <= Draft::Draft7 && map.contains_key("$ref") && !is_root;
        match text(id_keyword).filter(|_| !ignored) {
            Some(id) if draft <= Draft::Draft7 && id.starts_with('#') => {
                self.anchors.insert((base, id.trim_start_matches('#')), value);
            }
            Some(id) => base = self.resource(base, id, value).unwrap_or(base),
            None => {}
        }
        for keyword in ["$anchor", "$dynamicAnchor"] {
            if let Some(name) = text(keyword) {
                self.anchors.insert((base, name), value);
            }
        }
        let recursive = map.get("$recursiveAnchor") == Some(&Value::Bool(true));
        for name in text("$dynamicAnchor").into_iter().chain(recursive.then_some("")) {
            match self.dynamic.entry(name) {
                Entry::Vacant(entry) => drop(entry.insert(Some(value))),
                Entry::Occupied(mut entry) => drop(entry.insert(None)),
            }
        }
        self.of.insert(address(value), (base, draft));
        (base, draft)
    }

    /// An identifier that cannot be read names nothing.
    fn resource(&mut self, base: usize, id: &str, value: &'s Value) -> Option<usize> {
        let mut url = self.bases.get(base)?.join(id).ok()?;
        url.set_fragment(None);
        match self.resources.entry(url.to_string()) {
            Entry::Vacant(entry) => drop(entry.insert(Some(value))),
            Entry::Occupied(mut entry) => {
                // Copies of one subschema are one.
                if entry.get().is_none_or(|first| first != value) {
                    entry.insert(None);
                }
            }
        }
        self.bases.push(url);
        Some(self.bases.len() - 1)
    }

    /// The dialect of a subschema.
    pub(super) fn draft(&self, of: &Value) -> Draft {
        self.of.get(&address(of)).map_or(self.root, |(_, draft)| *draft)
    }

    /// A dynamic reference names one place only where one subschema has that anchor.
    pub(super) fn dynamic(&self, name: &str) -> Result<(), String> {
        let several = self.dynamic.get(name).is_some_and(Option::is_none);
        // One of a resource that another includes is found from there, too.
        let elsewhere = name.is_empty() && self.resources.len() > 2;
        match several || elsewhere {
            true => Err("a dynamic reference can name more than one subschema".to_owned()),
            false => Ok(()),
        }
    }

    /// What a reference from an object names.
    pub(super) fn resolve(&self, from: &Value, reference: &str) -> Result<Target<'s>, String> {
        let shown = || reference.chars().take(120).collect::<String>();
        let nothing = || format!("`{}` names nothing in the schema", shown());
        let base = self.of.get(&address(from)).map_or(0, |(base, _)| *base);
        let mut url = self.bases.get(base).and_then(|base| base.join(reference).ok()).ok_or_else(nothing)?;
        let fragment = url.fragment().unwrap_or_default().to_owned();
        url.set_fragment(None);
        let resource = match self.resources.get(url.as_str()) {
            Some(Some(resource)) => resource,
            Some(None) => return Err(format!("`{}` is the identifier of several subschemas", shown())),
            None => {
                return match dialect(url.as_str()).filter(|_| fragment.is_empty()) {
                    Some(draft) => Ok(Target::Meta(draft)),
                    None if url.as_str().starts_with(BASE) => Err(nothing()),
                    None => Err(format!("`{}` lies outside the schema and is never fetched", shown())),
                };
            }
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

/// What a reference names.
pub(super) enum Target<'s> {
    Schema(&'s Value),
    Meta(Draft),
}
