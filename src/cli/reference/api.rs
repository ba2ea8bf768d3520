//! The admin API, from its OpenAPI document.

use super::{cell, head};
use serde_json::Value;
use std::fmt::Write as _;

const DOCUMENT: &str = include_str!("../../front/admin/openapi.json");

struct Document(Value);

impl Document {
    fn resolved<'s>(&'s self, node: &'s Value) -> &'s Value {
        match node["$ref"].as_str() {
            Some(name) => self.0.pointer(name.trim_start_matches('#')).unwrap(),
            None => node,
        }
    }

    fn kind(&self, node: &Value) -> String {
        if let Some(words) = node["enum"].as_array() {
            return words
                .iter()
                .map(|word| format!("`{}`", word.as_str().unwrap_or("null")))
                .collect::<Vec<_>>()
                .join(", ");
        }
        if let Some(name) = node["$ref"].as_str() {
            return self
                .kind(self.resolved(node))
                .replace("object", name.rsplit('/').next().unwrap_or_default());
        }
        if let Some(choices) = node["oneOf"].as_array().or_else(|| node["anyOf"].as_array()) {
            return choices.iter().map(|choice| self.kind(choice)).collect::<Vec<_>>().join(" or ");
        }
        match &node["type"] {
            Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or "),
            Value::String(kind) if kind == "array" => format!("list of {}", self.kind(&node["items"])),
            kind => kind.as_str().unwrap_or("any value").to_owned(),
        }
    }

    fn rows(&self, page: &mut String, place: &str, name: &str, node: &Value, said: &str, needed: bool) {
        let default =
            node["default"].as_str().map(str::to_owned).or_else(|| node.get("default").map(Value::to_string));
        let default = default.map(|default| format!(" Default: `{default}`.")).unwrap_or_default();
        let said = if said.is_empty() { String::new() } else { format!("{}.", said.trim_end_matches('.')) };
        let needed = if needed { "; required" } else { "" };
        writeln!(
            page,
            "| `{name}` | {place}{needed} | {} | {} |",
            cell(&self.kind(node)),
            cell(&format!("{said}{default}"))
        )
        .unwrap();
    }

    fn operation(&self, page: &mut String, path: &str, method: &str, of: &Value, shared: &Value) {
        writeln!(page, "### {} {path}\n", method.to_uppercase()).unwrap();
        let say = |text: &Value| {
            text.as_str().map(|text| format!("{}.", text.trim_end_matches('.'))).unwrap_or_default()
        };
        writeln!(page, "{}\n", format!("{} {}", say(&of["summary"]), say(&of["description"])).trim())
            .unwrap();
        let roles: Vec<String> = of["x-roles"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(|role| format!("`{role}`"))
            .collect();
        let open =
            of["security"].as_array().is_some_and(|all| all.iter().all(|one| one == &serde_json::json!({})));
        match open {
            true => page.push_str(
                "No key is needed.

",
            ),
            false => writeln!(
                page,
                "Roles: {}.
",
                roles.join(", ")
            )
            .unwrap(),
        }
        let mut table = String::new();
        for parameter in
            shared.as_array().into_iter().flatten().chain(of["parameters"].as_array().into_iter().flatten())
        {
            let parameter = self.resolved(parameter);
            let text = |key: &str| parameter[key].as_str().unwrap_or_default().to_owned();
            self.rows(
                &mut table,
                &text("in"),
                &text("name"),
                &parameter["schema"],
                &text("description"),
                parameter["required"] == true,
            );
        }
        let body = of["requestBody"]["content"].as_object().and_then(|content| content.values().next());
        if let Some(body) = body {
            let body = self.resolved(&body["schema"]);
            for (name, node) in body["properties"].as_object().into_iter().flatten() {
                let needed = body["required"].as_array().is_some_and(|all| all.iter().any(|one| one == name));
                self.rows(
                    &mut table,
                    "body",
                    name,
                    node,
                    node["description"].as_str().unwrap_or_default(),
                    needed,
                );
            }
        }
        if !table.is_empty() {
            writeln!(page, "| parameter | where | type | meaning |\n|---|---|---|---|\n{table}").unwrap();
        }
        let mut answers = Vec::new();
        for (status, answer) in of["responses"].as_object().unwrap() {
            let said = self.resolved(answer)["description"].as_str().unwrap_or_default();
            if matches!(status.as_str(), "401" | "403" | "429") {
                continue;
            }
            answers.push(format!("{status}: {}", said.trim_end_matches('.')));
        }
        writeln!(page, "Answers: {}.\n", answers.join("; ")).unwrap();
    }
}

pub(super) fn page() -> String {
    let document = Document(serde_json::from_str(DOCUMENT).unwrap());
    let mut page =
        head("The admin API", "the OpenAPI document, which a gateway serves at `/api/v1/openapi.json`");
    page.push_str(
        "How to use it: [The API](../api.md). Answers and their schemas stand in the document itself.\n\n",
    );
    writeln!(page, "{}\n", document.0["info"]["description"].as_str().unwrap()).unwrap();
    page.push_str("Beside what is named below an answer may be 401 (no or wrong key), 403 (not the role) or 429 (too many failed attempts).\n\n");
    let mut group = String::new();
    for (path, methods) in document.0["paths"].as_object().unwrap() {
        let name = match path.strip_prefix("/api/v1/") {
            Some(path) => path.split('/').next().unwrap_or_default(),
            None => "Health and metrics",
        };
        if name != group {
            name.clone_into(&mut group);
            writeln!(page, "## {name}\n").unwrap();
        }
        for (method, of) in methods.as_object().unwrap().iter().filter(|(method, _)| *method != "parameters")
        {
            document.operation(&mut page, path, method, of, &methods["parameters"]);
        }
    }
    page
}
