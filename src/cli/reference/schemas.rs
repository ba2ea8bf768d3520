//! Tables of keys from JSON Schema.

use super::{super::args::SchemaOf, cell};
use serde_json::{Map, Value};
use std::{collections::BTreeMap, fmt::Write as _};

/// How keys are written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Toml,
    Yaml,
}

/// What several keys are made of, by the names of schemas: a type with a word of its own, not a table.
const PLAIN: &[(&str, &str)] = &[
    ("text", "text"),
    ("texts", "list of texts"),
    ("duration", "duration"),
    ("size", "size"),
    ("usd", "USD"),
    ("condition", "[condition](policy-language.md#conditions)"),
    ("share", "share, like `10%`"),
];

fn words(all: &Value) -> Vec<String> {
    let text = |word: &Value| word.as_str().map_or_else(|| word.to_string(), str::to_owned);
    all.as_array().into_iter().flatten().map(|word| format!("`{}`", text(word))).collect()
}

/// Editors show a description as it stands, so it names a page by its path; here that is a link.
fn description(node: &Value) -> String {
    let written = node["description"].as_str().unwrap_or_default();
    let mut said = String::new();
    for (index, part) in written.split("docs/").enumerate() {
        if index == 0 {
            said.push_str(part);
            continue;
        }
        let end = part.find(|c: char| !(c.is_ascii_lowercase() || "-.#".contains(c))).unwrap_or(part.len());
        let page = part.split_at(end).0.trim_end_matches('.');
        write!(said, "[docs/{page}](../{page}){}", part.split_at(page.len()).1).unwrap();
    }
    said
}

/// A page, which shows what two files share once.
pub(super) struct Page {
    form: Form,
    shown: BTreeMap<String, Value>,
}

/// One file of it.
struct File<'s> {
    schema: &'s Value,
    form: Form,
    /// Tables that are still to come: their heading and node.
    tables: Vec<(String, &'s Value)>,
    /// Names of shared parts, in the order in which they were met.
    parts: Vec<String>,
}

impl<'s> File<'s> {
    fn part(&mut self, reference: &str) -> String {
        let name = reference.rsplit('/').next().unwrap_or_default();
        if let Some((_, word)) = PLAIN.iter().find(|(plain, _)| *plain == name) {
            return (*word).to_owned();
        }
        let node = &self.schema["$defs"][name];
        if node.get("oneOf").is_some() {
            return self.type_of(node, name);
        }
        if !self.parts.iter().any(|known| known == name) {
            self.parts.push(name.to_owned());
        }
        format!("[{name}](#{name})")
    }

    /// The type for people; what has keys of its own becomes a table behind this one, under `path`.
    fn type_of(&mut self, node: &'s Value, path: &str) -> String {
        if let Some(reference) = node["$ref"].as_str() {
            return self.part(reference);
        }
        if let Some(all) = node.get("enum") {
            return words(all).join(", ");
        }
        if let Some(constant) = node.get("const") {
            return format!("`{constant}`");
        }
        if let Some(choices) = node["oneOf"].as_array() {
            let choices: Vec<String> = choices.iter().map(|choice| self.type_of(choice, path)).collect();
            return choices.join(", or ");
        }
        let kinds: Vec<&str> = match &node["type"] {
            Value::String(kind) => vec![kind],
            Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        let mut said: Vec<String> = Vec::new();
        for kind in kinds.into_iter().filter(|kind| *kind != "null") {
            said.push(match kind {
                "object" => self.map(node, path),
                "array" => {
                    let item = self.type_of(&node["items"], &format!("{path}[]"));
                    match node["items"].get("enum").is_some() {
                        true => format!("list of {item}"),
                        false if item.is_empty() || item == "text" || item == "text or number" => {
                            "list of texts".to_owned()
                        }
                        false if item == "table" => "list of tables".to_owned(),
                        false => format!("list of {item}"),
                    }
                }
                "boolean" => "`true`, `false`".to_owned(),
                "integer" => match node["minimum"].as_i64() {
                    Some(least) => format!("whole number from {least}"),
                    None => "whole number".to_owned(),
                },
                "string" => "text".to_owned(),
                other => other.to_owned(),
            });
        }
        said.join(" or ")
    }

    fn map(&mut self, node: &'s Value, path: &str) -> String {
        if node["properties"].is_object() {
            self.tables.push((path.to_owned(), node));
            return "table".to_owned();
        }
        match &node["additionalProperties"] {
            of @ Value::Object(_) => {
                let of = self.type_of(of, &format!("{path}.NAME"));
                format!("{of} for each name")
            }
            _ => "table".to_owned(),
        }
    }

    /// Rows of a table of keys. Small tables inside stand in it, with dotted keys.
    fn rows(
        &mut self,
        page: &mut String,
        keys: &'s Map<String, Value>,
        needed: &Value,
        prefix: &str,
        path: &str,
    ) {
        for (key, node) in keys {
            let name = format!("{prefix}{key}");
            let below = format!("{path}{key}");
            let inside = node["properties"].as_object().filter(|_| !prefix.is_empty() || !path.is_empty());
            let kind = if inside.is_some() { "table".to_owned() } else { self.type_of(node, &below) };
            let default = match node.get("default") {
                Some(Value::String(text)) => format!("`{text}`"),
                Some(value) => format!("`{value}`"),
                None if needed.as_array().is_some_and(|all| all.iter().any(|one| one == key)) => {
                    "required".to_owned()
                }
                None => String::new(),
            };
            writeln!(
                page,
                "| `{name}` | {} | {} | {} |",
                cell(&kind),
                cell(&default),
                cell(&description(node))
            )
            .unwrap();
            if let Some(inside) = inside {
                self.rows(page, inside, &node["required"], &format!("{name}."), &format!("{below}."));
            }
        }
    }

    fn table(&mut self, page: &mut String, node: &'s Value, path: &str) {
        let keys = node["properties"].as_object().unwrap();
        page.push_str("| key | type | default | meaning |\n|---|---|---|---|\n");
        let path = if path.is_empty() { String::new() } else { format!("{path}.") };
        self.rows(page, keys, &node["required"], "", &path);
        page.push('\n');
    }

    fn heading(&self, path: &str) -> String {
        match self.form {
            Form::Toml => format!("`[{path}]`"),
            Form::Yaml => format!("`{path}`"),
        }
    }
}

impl Page {
    pub(super) fn new(form: Form) -> Self {
        Self { form, shown: BTreeMap::new() }
    }

    /// All tables of a file.
    pub(super) fn file(&mut self, page: &mut String, of: SchemaOf, title: &str) {
        let schema: Value = serde_json::from_str(of.text()).unwrap();
        writeln!(page, "## {title}\n\n{}\n", description(&schema)).unwrap();
        let mut file = File { schema: &schema, form: self.form, tables: Vec::new(), parts: Vec::new() };
        match self.form {
            // Every key of servers.toml is a table.
            Form::Toml => {
                for (key, node) in schema["properties"].as_object().unwrap() {
                    file.type_of(node, key);
                    self.tables(page, &mut file);
                }
            }
            Form::Yaml => {
                file.table(page, &schema, "");
                self.tables(page, &mut file);
            }
        }
        let mut next = 0;
        while let Some(name) = file.parts.get(next).cloned() {
            next += 1;
            let node = &schema["$defs"][name.as_str()];
            if self.shown.get(&name) == Some(node) {
                continue;
            }
            assert!(
                self.shown.insert(name.clone(), node.clone()).is_none(),
                "two parts `{name}` of one page differ"
            );
            writeln!(page, "### {name}\n").unwrap();
            if !description(node).is_empty() {
                writeln!(page, "{}.\n", description(node).trim_end_matches('.')).unwrap();
            }
            file.table(page, node, &name);
            self.tables(page, &mut file);
        }
    }

    fn tables(&mut self, page: &mut String, file: &mut File<'_>) {
        while !file.tables.is_empty() {
            let (path, node) = file.tables.remove(0);
            writeln!(page, "### {}\n", file.heading(&path)).unwrap();
            let parent = path.strip_suffix(".NAME").and_then(|parent| file.schema["properties"].get(parent));
            let said = description(node);
            let said = if said.is_empty() { parent.map(description).unwrap_or_default() } else { said };
            if !said.is_empty() {
                writeln!(page, "{said}\n").unwrap();
            }
            file.table(page, node, &path);
        }
    }
}

/// The fields of an event, and what each kind of event has in any case.
pub(super) fn events(page: &mut String) {
    let schema: Value = serde_json::from_str(SchemaOf::Event.text()).unwrap();
    writeln!(page, "{}\n\n| field | type | meaning |\n|---|---|---|", description(&schema)).unwrap();
    for (name, node) in schema["properties"].as_object().unwrap() {
        let kinds = match &node["type"] {
            Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or "),
            other => other.as_str().unwrap_or_default().to_owned(),
        };
        let one_of =
            node.get("enum").map(|all| format!(" One of {}.", words(all).join(", "))).unwrap_or_default();
        let said = description(node);
        let said = if said.is_empty() { String::new() } else { format!("{}.", said.trim_end_matches('.')) };
        writeln!(page, "| `{name}` | {kinds} | {} |", cell(&format!("{said}{one_of}"))).unwrap();
        for (inner, node) in node["properties"].as_object().into_iter().flatten() {
            writeln!(page, "| `{name}.{inner}` | | {} |", cell(&description(node))).unwrap();
        }
    }
    page.push_str("\n## What a kind of event has in any case\n\n| event | not null |\n|---|---|\n");
    for rule in schema["allOf"].as_array().unwrap() {
        let kind = &rule["if"]["properties"]["event_type"];
        let kinds = match kind.get("enum") {
            Some(all) => words(all).join(", "),
            None => format!("`{}`", kind["const"].as_str().unwrap_or_default()),
        };
        let has = rule["then"]["properties"].as_object();
        let has: Vec<String> = has.into_iter().flatten().map(|(name, _)| format!("`{name}`")).collect();
        if !kinds.is_empty() && kinds != "``" && !has.is_empty() {
            writeln!(page, "| {kinds} | {} |", has.join(", ")).unwrap();
        }
    }
}
