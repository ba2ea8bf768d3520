//! Blocks that show a file, or a part of one.

use super::{page::Block, root};
use serde_json::Value;
use tollgate::policy::condition::Condition;

/// Policy files have no single name: their kinds, and those of the files with one.
const KINDS: &[&str] = &["servers", "bundle", "authority", "gate", "rulebook", "budgets", "data", "prices"];

fn conditions(node: &Value, found: &mut Vec<String>) {
    match node {
        Value::Object(map) => {
            for (key, value) in map {
                if let (true, Some(text)) = (key == "condition", value.as_str()) {
                    found.push(text.to_owned());
                }
                conditions(value, found);
            }
        }
        Value::Array(all) => all.iter().for_each(|one| conditions(one, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn document(block: &Block) -> Result<Value, String> {
    match block.language.as_str() {
        "toml" => toml::from_str(&block.text).map_err(|error| error.to_string()),
        "yaml" => serde_saphyr::from_str(&block.text).map_err(|error| error.to_string()),
        _ => serde_json::from_str(&block.text).map_err(|error| error.to_string()),
    }
}

/// What is wrong with a block.
pub(crate) fn fault(block: &Block) -> Option<String> {
    match block.language.as_str() {
        "" => return Some("say what the block is: sh, console, text, toml, yaml, json …".to_owned()),
        "toml" | "yaml" | "json" => {}
        _ => return None,
    }
    let document = match document(block) {
        Ok(document) => document,
        Err(said) => return Some(said),
    };
    let kind = block.words.split(' ').next().unwrap_or_default();
    if block.language == "json" || kind == "tests" || kind == "other:" {
        return None;
    }
    if !KINDS.contains(&kind) {
        return Some(format!(
            "`{}`: say whose schema it fits: one of {}, tests, or other: WHAT",
            block.words,
            KINDS.join(", ")
        ));
    }
    let schema = std::fs::read_to_string(root().join(format!("schemas/{kind}.json"))).unwrap();
    let mut schema: Value = serde_json::from_str(&schema).unwrap();
    // A part of a file need not have all that the file must.
    if block.words.ends_with("part") {
        schema.as_object_mut().unwrap().remove("required");
    }
    let validator = jsonschema::options().offline().build(&schema).unwrap();
    let mut wrong: Vec<String> = validator
        .iter_errors(&document)
        .map(|error| format!("{error} at {}", error.instance_path()))
        .collect();
    let mut found = Vec::new();
    conditions(&document, &mut found);
    wrong.extend(
        found
            .iter()
            .filter_map(|text| Condition::compile(text).err().map(|error| format!("`{text}`: {error}"))),
    );
    (!wrong.is_empty()).then(|| wrong.join("; "))
}
