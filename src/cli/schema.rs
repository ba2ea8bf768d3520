//! `tollgate schema …`: the JSON Schema of what others read or write.

use super::{args::SchemaArgs, failure::CliError, screen::Screen};

/// Prints one.
pub(super) fn schema(args: &SchemaArgs) -> Result<(), CliError> {
    Screen::new().raw(args.of.text())
}

#[cfg(test)]
mod tests {
    use super::super::args::SchemaOf;
    use crate::{
        config::{self, Config, Listings},
        model::Problems,
        policy::SourceFile,
    };
    use serde_json::{Map, Value, json};
    use std::{
        collections::BTreeSet,
        path::{Path, PathBuf},
    };

    /// A key that nobody knows.
    const UNKNOWN: &str = "zz_unknown";

    const FILES: [(SchemaOf, &str); 7] = [
        (SchemaOf::Bundle, "bundle.yaml"),
        (SchemaOf::Authority, "authority.yaml"),
        (SchemaOf::Gate, "a-gate.yaml"),
        (SchemaOf::Rulebook, "a-rulebook.yaml"),
        (SchemaOf::Budgets, "budgets.yaml"),
        (SchemaOf::Data, "data.yaml"),
        (SchemaOf::Prices, "prices.yaml"),
    ];

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
    }

    fn schema(of: SchemaOf) -> Value {
        serde_json::from_str(of.text()).unwrap()
    }

    fn config() -> Config {
        config::load(&root().join("servers.toml"), &|_| None).unwrap().config
    }

    /// What the reader of a file says of a document.
    fn read(of: SchemaOf, document: &Value, config: &Config) -> Problems {
        if of == SchemaOf::Servers {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("servers.toml");
            std::fs::write(&path, toml::to_string(document).unwrap()).unwrap();
            return config::load(&path, &|_| None).map_or_else(|problems| problems, |loaded| loaded.lints);
        }
        let (_, name) = FILES.iter().find(|(known, _)| *known == of).unwrap();
        let file = |name: &str, text: String| SourceFile { name: name.to_owned(), text };
        let mut files = vec![
            file("bundle.yaml", "version: 1".to_owned()),
            file("authority.yaml", "agents: {}".to_owned()),
        ];
        files.retain(|file| file.name != *name);
        files.push(file(name, document.to_string()));
        config::compile_bundle(config, &files, &Listings::default()).1
    }

    /// A map of a schema whose keys are known, with a document that has an unknown key there.
    struct Probe {
        keys: BTreeSet<String>,
        document: Value,
    }

    struct Probing<'s> {
        schema: &'s Value,
        seen: BTreeSet<String>,
        found: Vec<Probe>,
    }

    /// What has to stand beside a key for its reader to come to it.
    fn beside(key: &str) -> Option<(&'static str, Value)> {
        match key {
            "oauth" | "transport" | "headers" => Some(("url", json!("https://h/mcp"))),
            "escalate" | "grants" => Some(("decision", json!("REQUIRE_APPROVAL"))),
            "constraints" => Some(("decision", json!("ALLOW_WITH_CONSTRAINTS"))),
            "remediation" => Some(("decision", json!("REMEDIATE"))),
            _ => None,
        }
    }

    impl<'s> Probing<'s> {
        fn resolved(&self, node: &'s Value) -> &'s Value {
            match node.get("$ref").and_then(Value::as_str) {
                Some(name) => self.schema.pointer(name.trim_start_matches('#')).unwrap(),
                None => node,
            }
        }

        /// The least that fits.
        fn least(&self, node: &'s Value) -> Value {
            let node = self.resolved(node);
            if let Some(words) = node.get("enum").and_then(Value::as_array) {
                return words[0].clone();
            }
            if let Some(other) = node.get("oneOf").and_then(|all| all.get(0)) {
                return self.least(other);
            }
            let kind = node.get("type").map(|kind| kind.get(0).unwrap_or(kind)).and_then(Value::as_str);
            match kind {
                Some("object") => {
                    let mut map = Map::new();
                    for key in node.get("required").and_then(Value::as_array).into_iter().flatten() {
                        let key = key.as_str().unwrap();
                        map.insert(key.to_owned(), self.least(&node["properties"][key]));
                    }
                    Value::Object(map)
                }
                Some("array") if node.get("minItems").is_some() => json!([self.least(&node["items"])]),
                Some("array") => json!([]),
                Some("integer" | "number") => node.get("minimum").cloned().unwrap_or(json!(1)),
                Some("boolean") => json!(true),
                _ => json!("x"),
            }
        }

        fn walk(&mut self, node: &'s Value, wrap: &dyn Fn(Value) -> Value) {
            if let Some(name) = node.get("$ref").and_then(Value::as_str)
                && !self.seen.insert(name.to_owned())
            {
                return;
            }
            let node = self.resolved(node);
            for other in node.get("oneOf").and_then(Value::as_array).into_iter().flatten() {
                self.walk(other, wrap);
            }
            if let Some(items) = node.get("items") {
                self.walk(items, &|value| wrap(json!([value])));
            }
            match node.get("additionalProperties") {
                Some(Value::Bool(false)) => {
                    let Some(properties) = node["properties"].as_object() else { return };
                    let with = |key: &str, value: Value| {
                        let mut map = self.least(node);
                        if let Some((beside, value)) =
                            beside(key).filter(|(beside, _)| properties.contains_key(*beside))
                        {
                            map[beside] = value;
                        }
                        map[key] = value;
                        map
                    };
                    let keys = properties.keys().cloned().collect();
                    self.found.push(Probe { keys, document: wrap(with(UNKNOWN, json!(1))) });
                    let built: Vec<(&String, &'s Value)> = properties.iter().collect();
                    for (key, child) in built {
                        let least = self.least(node);
                        let also = beside(key).filter(|(beside, _)| properties.contains_key(*beside));
                        self.walk(child, &|value| {
                            let mut map = least.clone();
                            if let Some((beside, value)) = &also {
                                map[*beside] = value.clone();
                            }
                            map[key.as_str()] = value;
                            wrap(map)
                        });
                    }
                }
                Some(item) if item.is_object() => self.walk(item, &|value| wrap(json!({"x": value}))),
                Some(_) | None => {}
            }
        }
    }

    /// Each map of each schema has the keys that its reader knows, and an unknown one is refused by both.
    #[test]
    fn a_schema_has_the_keys_that_the_reader_knows() {
        let config = config();
        let mut wrong = Vec::new();
        for of in FILES.iter().map(|(of, _)| *of).chain([SchemaOf::Servers]) {
            let schema = schema(of);
            let validator = jsonschema::options().offline().build(&schema).unwrap();
            let mut probing = Probing { schema: &schema, seen: BTreeSet::new(), found: Vec::new() };
            probing.walk(&schema, &|value| value);
            assert!(!probing.found.is_empty());
            for Probe { keys, document } in probing.found {
                assert!(!validator.is_valid(&document), "{of:?} takes {document}");
                let problems = read(of, &document, &config);
                let unknown = problems
                    .0
                    .iter()
                    .find(|problem| problem.message.starts_with(&format!("unknown key `{UNKNOWN}`")));
                let Some(unknown) = unknown else {
                    wrong.push(format!(
                        "{of:?}: the reader says nothing of `{UNKNOWN}` in {document}:\n{problems}"
                    ));
                    continue;
                };
                let known: BTreeSet<String> =
                    unknown.expected.trim_start_matches("one of ").split(", ").map(str::to_owned).collect();
                if known != keys {
                    let lacks: Vec<_> = known.difference(&keys).collect();
                    let more: Vec<_> = keys.difference(&known).collect();
                    wrong.push(format!(
                        "schemas/{of:?}.json at {document}: it lacks {lacks:?}, and has {more:?} that the reader does not know"
                    ));
                }
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    /// What is shipped, and the examples of the reference documents.
    #[test]
    fn every_shipped_file_fits_its_schema() {
        let mut count = 0;
        let mut check = |of: SchemaOf, path: &Path| {
            let text = std::fs::read_to_string(path).unwrap();
            let document: Value = match path.extension().and_then(|e| e.to_str()) {
                Some("toml") => toml::from_str(&text).unwrap(),
                _ => serde_saphyr::from_str(&text).unwrap(),
            };
            let schema = schema(of);
            let validator = jsonschema::options().offline().build(&schema).unwrap();
            let errors: Vec<String> = validator
                .iter_errors(&document)
                .map(|error| format!("{} at {}", error, error.instance_path()))
                .collect();
            assert!(errors.is_empty(), "{}: {errors:#?}", path.display());
            count += 1;
        };
        check(SchemaOf::Servers, &root().join("servers.toml"));
        for name in ["aegis-rulebook.yaml", "prod-safety-gate.yaml"] {
            let of = if name.contains("rulebook") { SchemaOf::Rulebook } else { SchemaOf::Gate };
            check(of, &root().join("tests/fixtures").join(name));
        }
        for entry in std::fs::read_dir(root().join("policies")).unwrap() {
            let path = entry.unwrap().path();
            let Some(name) =
                path.file_name().and_then(|name| name.to_str()).filter(|name| name.ends_with(".yaml"))
            else {
                continue;
            };
            let of = FILES.iter().find(|(_, known)| *known == name).map(|(of, _)| *of);
            let text = std::fs::read_to_string(&path).unwrap();
            let is_gate = text.lines().any(|line| line.starts_with("rules:"));
            check(of.unwrap_or(if is_gate { SchemaOf::Gate } else { SchemaOf::Rulebook }), &path);
        }
        assert!(count > 12, "{count}");
    }
}
