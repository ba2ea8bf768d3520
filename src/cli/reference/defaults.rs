//! Defaults that schemas state are those that the readers take: a file in which one is written out says the same as without it.

use crate::{
    cli::args::SchemaOf,
    config::{self, Config, Listings},
    policy::SourceFile,
};
use serde_json::{Value, json};
use std::{collections::BTreeSet, path::Path};

/// A place in a document, and in its schema.
#[derive(Clone)]
struct Place {
    document: String,
    schema: String,
}

impl Place {
    fn below(&self, document: &str, schema: &str) -> Self {
        let document = document.replace('~', "~0").replace('/', "~1");
        Self {
            document: format!("{}/{document}", self.document),
            schema: format!("{}/{schema}", self.schema),
        }
    }
}

struct Schema(Value);

impl Schema {
    fn of(of: SchemaOf) -> Self {
        Self(serde_json::from_str(of.text()).unwrap())
    }

    fn resolved<'s>(&'s self, node: &'s Value, place: Place) -> (&'s Value, Place) {
        match node["$ref"].as_str() {
            Some(name) => (
                self.0.pointer(name.trim_start_matches('#')).unwrap(),
                Place { schema: name.trim_start_matches('#').to_owned(), ..place },
            ),
            None => (node, place),
        }
    }

    /// Every default of a key that the document could have where it is.
    fn defaults(&self, node: &Value, document: &Value, place: Place, found: &mut Vec<(Place, Value)>) {
        let (node, place) = self.resolved(node, place);
        for choice in node["oneOf"].as_array().into_iter().flatten() {
            self.defaults(choice, document, place.clone(), found);
        }
        for (index, item) in document.as_array().into_iter().flatten().enumerate() {
            self.defaults(&node["items"], item, place.below(&index.to_string(), "items"), found);
        }
        let Some(keys) = document.as_object() else { return };
        for (key, child) in node["properties"].as_object().into_iter().flatten() {
            let below = place.below(key, &format!("properties/{key}"));
            match (child.get("default"), keys.get(key)) {
                (Some(default), None) => found.push((below, default.clone())),
                (_, Some(value)) => self.defaults(child, value, below, found),
                (None, None) => {}
            }
        }
        for (key, value) in keys.iter().filter(|_| node["additionalProperties"].is_object()) {
            self.defaults(
                &node["additionalProperties"],
                value,
                place.below(key, "additionalProperties"),
                found,
            );
        }
    }

    /// All places of the schema with a default.
    fn stated(&self) -> BTreeSet<String> {
        fn walk(node: &Value, at: &str, found: &mut BTreeSet<String>) {
            if let Some(map) = node.as_object() {
                if map.contains_key("default") && at.contains("properties/") {
                    found.insert(at.to_owned());
                }
                map.iter().for_each(|(key, value)| walk(value, &format!("{at}/{key}"), found));
            }
            for (index, item) in node.as_array().into_iter().flatten().enumerate() {
                walk(item, &format!("{at}/{index}"), found);
            }
        }
        let mut found = BTreeSet::new();
        walk(&self.0, "", &mut found);
        found.retain(|at| !at.ends_with("/default") && !at.ends_with("/properties"));
        found
    }
}

/// Numbers of JSON keep their digits here, which TOML does not know.
fn as_toml(value: &Value) -> toml::Value {
    match value {
        Value::Object(map) => {
            toml::Value::Table(map.iter().map(|(key, value)| (key.clone(), as_toml(value))).collect())
        }
        Value::Array(all) => toml::Value::Array(all.iter().map(as_toml).collect()),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => toml::Value::Integer(whole),
            None => toml::Value::Float(number.as_f64().unwrap()),
        },
        Value::Bool(bool) => toml::Value::Boolean(*bool),
        Value::String(text) => toml::Value::String(text.clone()),
        Value::Null => panic!("TOML has no null"),
    }
}

/// What its reader makes of a document, or that it has something to say against it.
fn read(of: SchemaOf, document: &Value, config: &Config, folder: &Path) -> Result<String, String> {
    if of == SchemaOf::Servers {
        let path = folder.join("servers.toml");
        std::fs::write(&path, toml::to_string(&as_toml(document)).unwrap()).unwrap();
        return config::load(&path, &|_| None)
            .map(|loaded| format!("{:?}", loaded.config))
            .map_err(|p| p.to_string());
    }
    let mut files: Vec<SourceFile> = [
        ("bundle.yaml", json!({"version": 1})),
        ("authority.yaml", json!({"people": {"p": {"roles": ["approver"]}}})),
    ]
    .into_iter()
    .map(|(name, text)| SourceFile { name: name.to_owned(), text: text.to_string() })
    .collect();
    let name = match of {
        SchemaOf::Bundle => "bundle.yaml",
        SchemaOf::Authority => "authority.yaml",
        SchemaOf::Budgets => "budgets.yaml",
        SchemaOf::Data => "data.yaml",
        SchemaOf::Prices => "prices.yaml",
        _ => "a.yaml",
    };
    files.retain(|file| file.name != name);
    files.push(SourceFile { name: name.to_owned(), text: document.to_string() });
    let (set, problems) = config::compile_bundle(config, &files, &Listings::default());
    if problems.has_errors() {
        return Err(problems.to_string());
    }
    let set = set.unwrap();
    Ok(format!(
        "{:?}",
        (
            &set.bundle,
            &set.authority,
            &set.policies,
            &set.budgets,
            &set.data,
            &set.prices,
            set.max_repeats,
            &set.loops,
            &set.oversight
        )
    ))
}

/// Documents with every table that has defaults, as short as they can be.
fn documents() -> Vec<(SchemaOf, Value)> {
    let oidc = json!({"issuer": "https://i", "client_id": "c", "client_secret": "s"});
    let jwt = json!({"issuer": "https://i", "audience": "a", "jwks_url": "https://i/k"});
    let secret = "a-secret-that-is-long-enough-for-all";
    let rule = |decision: &str, key: &str, value: Value| {
        let mut rule = json!({"decision": decision});
        rule[key] = value;
        rule
    };
    vec![
        (
            SchemaOf::Servers,
            json!({
                "gateway": {"rejected_asks": {}, "labels": {}},
                "admin": {"oidc": oidc}, "store": {}, "audit": {}, "auth": {"jwt": jwt},
                "webhook": {"url": "https://h", "secret": secret}, "webhooks": {"w": {"url": "https://h", "secret": secret}},
                "delivery": {"d": {"file": "f"}},
                "checks": {"c": {"url": "https://c", "secret": secret}},
                "upstreams": {
                    "a": {"command": ["sh"], "retry": {}, "breaker": {}, "apps": {}, "contain": {},
                        "tools": {"t": {}, "f": {"cost": {"base_usd": 1, "per": [{"argument": "/n", "usd": 1}]}}}},
                    "b": {"url": "https://b/mcp", "oauth": {"grant": "authorization_code", "client_id": "c", "client_secret": "s"}},
                },
            }),
        ),
        (
            SchemaOf::Bundle,
            json!({
                "version": 1, "loop": {"errors": {"count": 5}},
                "alerts": {"deny_rate": {}, "cost_spike": {}, "upstream_down": {}, "loop": {}, "incidents": {}},
            }),
        ),
        (
            SchemaOf::Authority,
            json!({
                "capabilities": {"c": {"tools": ["x"]}, "r": {"resources": ["x://y"]}}, "agents": {"a": {}}, "people": {"p": {}, "q": {"roles": ["approver"]}}, "workflows": {"w": {}},
            }),
        ),
        (
            SchemaOf::Gate,
            json!({"name": "g", "rules": [
                rule("REQUIRE_APPROVAL", "grants", json!({})),
                rule("THROTTLE", "reason", json!("r")),
                rule("ALLOW_WITH_CONSTRAINTS", "constraints", json!({"timeout": "1s"})),
            ]}),
        ),
        (
            SchemaOf::Rulebook,
            json!({"version": 1, "policies": [
                {"id": "p", "conditions": {"requires_approval": true}, "actions": {}, "grants": {}},
                {"id": "q", "conditions": {"max_calls_per_minute": 1}, "actions": {}},
            ]}),
        ),
        (
            SchemaOf::Budgets,
            json!({"budgets": [{"id": "b", "scope": "agent", "window": "day", "max_calls": 1, "max_cost_usd": 1}]}),
        ),
        (
            SchemaOf::Data,
            json!({
                "detectors": {"email": {}}, "fields": {"pin": {}},
                "rules": [{"detectors": ["email"], "results": "tokenize"}],
            }),
        ),
        (
            SchemaOf::Prices,
            json!({
                "models": {"m": {"input_usd_per_mtok": 1, "output_usd_per_mtok": 1}},
                "tools": {"t": {"base_usd": 1, "per": [{"argument": "/n", "usd": 1}]}},
            }),
        ),
    ]
}

#[test]
fn defaults_in_schemas_are_those_of_the_readers() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("policies")).unwrap();
    std::fs::write(folder.path().join("policies/bundle.yaml"), "version: 1\n").unwrap();
    std::fs::write(folder.path().join("policies/authority.yaml"), "{}\n").unwrap();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("servers.toml");
    let config = config::load(&shipped, &|_| None).unwrap().config;
    let mut wrong = Vec::new();
    for (of, document) in documents() {
        let schema = Schema::of(of);
        let mut found = Vec::new();
        let root = Place { document: String::new(), schema: String::new() };
        schema.defaults(&schema.0, &document, root, &mut found);
        let without = read(of, &document, &config, folder.path()).unwrap_or_else(|p| panic!("{of:?}: {p}"));
        let mut open = schema.stated();
        for (place, default) in found {
            let (table, key) = place.document.rsplit_once('/').unwrap();
            let mut written = document.clone();
            written.pointer_mut(table).unwrap()[key] = default.clone();
            // Where a key cannot stand its reader says so; it must be taken in one place at least.
            let Ok(with) = read(of, &written, &config, folder.path()) else { continue };
            open.remove(&place.schema);
            if with != without {
                wrong.push(format!(
                    "{of:?}: `{}` = {default} is not what its reader takes without it",
                    place.document
                ));
            }
        }
        wrong.extend(open.into_iter().map(|place| format!("{of:?}: no document of this test has {place}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
