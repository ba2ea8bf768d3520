//! Edits of JSON (with comments, as editors write it) and TOML that keep everything but what is meant.

use jsonc_parser::{
    ParseOptions,
    cst::{CstInputValue, CstObject, CstRootNode},
};
use serde_json::{Map, Value};
use toml_edit::{DocumentMut, Item, Table, TableLike};

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Format {
    /// JSON; comments and commas before a closing bracket may stand in it.
    Json,
    /// TOML.
    Toml,
}

/// A text that is edited. What it is made of is not for other threads.
pub(in crate::cli) struct Document {
    tree: Tree,
    /// What stands before it, for editors of Windows.
    mark: &'static str,
    /// How its lines end.
    windows: bool,
}

enum Tree {
    Json(CstRootNode),
    Toml(Box<DocumentMut>),
}

const MARK: &str = "\u{feff}";

impl Document {
    /// Reads a text; an empty one holds nothing yet. The error says what is wrong, with line and column.
    pub(in crate::cli) fn parse(text: &str, format: Format) -> Result<Self, String> {
        let (mark, text) = match text.strip_prefix(MARK) {
            Some(rest) => (MARK, rest),
            None => ("", text),
        };
        let windows = text.contains("\r\n");
        let text = text.replace("\r\n", "\n");
        let tree = match format {
            Format::Json => {
                let text = if text.trim().is_empty() { "{}\n" } else { &text };
                let root = CstRootNode::parse(text, &strict()).map_err(|error| error.to_string())?;
                root.object_value().ok_or("it holds no object")?;
                Tree::Json(root)
            }
            Format::Toml => Tree::Toml(Box::new(text.parse().map_err(|error: toml_edit::TomlError| {
                error.to_string().lines().next().unwrap_or_default().to_owned()
            })?)),
        };
        Ok(Self { tree, mark, windows })
    }

    /// What it says by now.
    pub(in crate::cli) fn text(&self) -> String {
        let text = match &self.tree {
            Tree::Json(root) => root.to_string(),
            Tree::Toml(root) => root.to_string(),
        };
        let text = if self.windows { text.replace('\n', "\r\n") } else { text };
        format!("{}{text}", self.mark)
    }

    /// Puts a member into the map that stands there, and makes the map where there is none. One that has the name gets the value.
    pub(in crate::cli) fn set(mut self, map: &[String], name: &str, value: &Value) -> Result<Self, String> {
        match &mut self.tree {
            Tree::Json(root) => {
                let value = input(value);
                let at = made(root, map)?;
                match at.get(name) {
                    Some(property) => property.set_value(value),
                    None => drop(at.append(name, value)),
                }
            }
            Tree::Toml(root) => {
                let at = table(root.as_table_mut(), map)?;
                let mut new = item(value)?;
                let old = at.get(name).and_then(Item::as_value).map(|old| old.decor().clone());
                // A comment behind a value is about the member.
                if let (Some(decor), Some(value)) = (old, new.as_value_mut()) {
                    *value.decor_mut() = decor;
                }
                drop(at.insert(name, new));
            }
        }
        Ok(self)
    }

    /// Takes a member out of the map that stands there.
    pub(in crate::cli) fn without(mut self, map: &[String], name: &str) -> Result<Self, String> {
        match &mut self.tree {
            Tree::Json(root) => {
                if let Some(property) = there(root, map).and_then(|at| at.get(name)) {
                    property.remove();
                }
            }
            Tree::Toml(root) => {
                let mut at: Option<&mut dyn TableLike> = Some(root.as_table_mut());
                for step in map {
                    at = at.and_then(|at| at.get_mut(step)).and_then(Item::as_table_like_mut);
                }
                drop(at.and_then(|at| at.remove(name)));
            }
        }
        Ok(self)
    }

    /// Puts one more item at the end of the list in the map that stands there, and makes the list where there is none.
    pub(in crate::cli) fn push(self, map: &[String], list: &str, value: &Value) -> Result<Self, String> {
        match &self.tree {
            Tree::Json(root) => {
                let list = made(root, map)?.array_value_or_create(list).ok_or_else(|| no_map(list))?;
                drop(list.append(input(value)));
            }
            Tree::Toml(_) => return Err("lists of TOML are not edited here".to_owned()),
        }
        Ok(self)
    }

    /// Takes those items out of the list that are this value.
    pub(in crate::cli) fn without_item(
        self,
        map: &[String],
        list: &str,
        value: &Value,
    ) -> Result<Self, String> {
        if let Tree::Json(root) = &self.tree
            && let Some(list) = there(root, map).and_then(|at| at.array_value(list))
        {
            for element in list.elements() {
                if crate::model::json::parse(element.to_string().as_bytes()).ok().as_ref() == Some(value) {
                    element.remove();
                }
            }
        }
        Ok(self)
    }
}

/// A map of JSON, made where there is none.
fn made(root: &CstRootNode, map: &[String]) -> Result<CstObject, String> {
    let mut at = root.object_value().ok_or("it holds no object")?;
    for step in map {
        at = at.object_value_or_create(step).ok_or_else(|| no_map(step))?;
    }
    Ok(at)
}

/// One that is there.
fn there(root: &CstRootNode, map: &[String]) -> Option<CstObject> {
    let mut at = root.object_value()?;
    for step in map {
        at = at.object_value(step)?;
    }
    Some(at)
}

/// What editors take, and no more.
pub(in crate::cli) fn strict() -> ParseOptions {
    ParseOptions {
        allow_comments: true,
        allow_trailing_commas: true,
        allow_loose_object_property_names: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    }
}

fn no_map(step: &str) -> String {
    format!("`{step}` stands in it and is of another kind than expected")
}

fn input(value: &Value) -> CstInputValue {
    match value {
        Value::Null => CstInputValue::Null,
        Value::Bool(flag) => CstInputValue::Bool(*flag),
        Value::Number(number) => CstInputValue::Number(number.to_string()),
        Value::String(text) => CstInputValue::String(text.clone()),
        Value::Array(items) => CstInputValue::Array(items.iter().map(input).collect()),
        Value::Object(members) => {
            CstInputValue::Object(members.iter().map(|(name, value)| (name.clone(), input(value))).collect())
        }
    }
}

fn table<'t>(root: &'t mut Table, map: &[String]) -> Result<&'t mut dyn TableLike, String> {
    let mut at: &mut dyn TableLike = root;
    for step in map {
        let made = || {
            let mut table = Table::new();
            // `[map.name]` says all: no line of its own.
            table.set_implicit(true);
            Item::Table(table)
        };
        at = at.entry(step).or_insert_with(made).as_table_like_mut().ok_or_else(|| no_map(step))?;
    }
    Ok(at)
}

/// A member of a map becomes a table of its own; what stands inside, a value.
fn item(value: &Value) -> Result<Item, String> {
    let Value::Object(members) = value else { return Ok(Item::Value(plain(value)?)) };
    let mut table = Table::new();
    for (name, value) in members {
        table.insert(name, Item::Value(plain(value)?));
    }
    Ok(Item::Table(table))
}

fn plain(value: &Value) -> Result<toml_edit::Value, String> {
    Ok(match value {
        Value::Null => return Err("TOML has no null".to_owned()),
        Value::Bool(flag) => (*flag).into(),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => whole.into(),
            (None, Some(float)) => float.into(),
            (None, None) => return Err(format!("{number} is too large for TOML")),
        },
        Value::String(text) => text.as_str().into(),
        Value::Array(items) => {
            let items: Result<toml_edit::Array, String> = items.iter().map(plain).collect();
            toml_edit::Value::Array(items?)
        }
        Value::Object(members) => {
            let mut table = toml_edit::InlineTable::new();
            for (name, value) in members {
                table.insert(name, plain(value)?);
            }
            toml_edit::Value::InlineTable(table)
        }
    })
}

/// A text of TOML as a value, for whoever compares.
pub(in crate::cli) fn toml_value(text: &str) -> Result<Map<String, Value>, String> {
    let text = text.strip_prefix(MARK).unwrap_or(text);
    let table: toml::Table = toml::from_str(text).map_err(|error| error.message().to_owned())?;
    match serde_json::to_value(table) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) | Err(_) => Err("it holds what JSON cannot say".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn path(steps: &[&str]) -> Vec<String> {
        steps.iter().map(|step| (*step).to_owned()).collect()
    }

    #[test]
    fn json_keeps_comments_order_and_layout() {
        let text = "{\n\t// theme\n\t\"theme\": \"x\", /* y */\n\t\"servers\": {\n\t\t\"b\": {\"command\": \"b\"}, // last\n\t\t\"a\": {},\n\t},\n}\n";
        let edited = Document::parse(text, Format::Json).unwrap();
        let edited = edited.set(&path(&["servers"]), "new", &json!({"command": "c", "args": ["d"]})).unwrap();
        let edited = edited.without(&path(&["servers"]), "b").unwrap();
        assert_eq!(
            edited.text(),
            "{\n\t// theme\n\t\"theme\": \"x\", /* y */\n\t\"servers\": {\n\t\t\"a\": {},\n\t\t\"new\": {\n\t\t\t\"command\": \"c\",\n\t\t\t\"args\": [\"d\"],\n\t\t},\n\t},\n}\n"
        );
    }

    #[test]
    fn json_that_is_not_there_yet_is_made() {
        let check = |text: &str, expect: &str| {
            let edited = Document::parse(text, Format::Json).unwrap();
            let edited = edited.set(&path(&["a b", "c"]), "d", &json!(1)).unwrap();
            assert_eq!(edited.text(), expect, "{text:?}");
        };
        check("", "{\n  \"a b\": {\n    \"c\": {\n      \"d\": 1\n    }\n  }\n}\n");
        check(
            "\u{feff}{\r\n  \"x\": 1\r\n}",
            "\u{feff}{\r\n  \"x\": 1,\r\n  \"a b\": {\r\n    \"c\": {\r\n      \"d\": 1\r\n    }\r\n  }\r\n}",
        );
        for wrong in ["[]", "{a: 1}", "{'a': 1}", "{\"a\": 1 \"b\": 2}"] {
            assert!(Document::parse(wrong, Format::Json).is_err(), "{wrong}");
        }
        let of_another_kind = Document::parse("{\"a\": []}", Format::Json).unwrap();
        assert!(of_another_kind.set(&path(&["a"]), "b", &json!(1)).is_err());
    }

    #[test]
    fn lists_grow_and_shrink() {
        let text = "{\n  \"inputs\": [\n    {\"id\": \"a\"} // mine\n  ]\n}\n";
        let one = json!({"id": "new"});
        let grown = Document::parse(text, Format::Json).unwrap().push(&[], "inputs", &one).unwrap();
        assert!(grown.text().contains("// mine") && grown.text().contains("\"new\""), "{}", grown.text());
        let shrunk = grown.without_item(&[], "inputs", &one).unwrap();
        assert!(
            shrunk.text().contains("{\"id\": \"a\"}") && !shrunk.text().contains("new"),
            "{}",
            shrunk.text()
        );
    }

    #[test]
    fn toml_keeps_comments_order_and_layout() {
        let text = "# mine\nmodel = 'x'   # the best\n\n[mcp_servers.b]   # b\ncommand = 'b'\n\n[mcp_servers.a]\nurl = 'https://a.example/mcp'\n\n[tui]\nx = 1\n";
        let edited = Document::parse(text, Format::Toml).unwrap();
        let edited = edited.without(&path(&["mcp_servers"]), "b").unwrap();
        let edited =
            edited.set(&path(&["mcp_servers"]), "new", &json!({"command": "c", "args": ["d"]})).unwrap();
        let new = edited.text();
        assert!(new.starts_with("# mine\nmodel = 'x'   # the best\n"), "{new}");
        assert!(new.contains("[mcp_servers.new]\ncommand = \"c\"\nargs = [\"d\"]\n"), "{new}");
        assert!(
            new.contains("[mcp_servers.a]\nurl = 'https://a.example/mcp'\n")
                && new.contains("[tui]\nx = 1\n"),
            "{new}"
        );
        assert!(!new.contains("mcp_servers.b"), "{new}");
        let inline = Document::parse("mcp_servers = { a = { command = 'a' } }\n", Format::Toml).unwrap();
        let inline = inline.set(&path(&["mcp_servers"]), "new", &json!({"command": "c"})).unwrap();
        assert_eq!(
            toml_value(&inline.text()).unwrap()["mcp_servers"]["new"]["command"],
            "c",
            "{}",
            inline.text()
        );
        let empty = Document::parse("", Format::Toml).unwrap();
        let made = empty.set(&path(&["mcp_servers"]), "new", &json!({"url": "u"})).unwrap();
        assert_eq!(made.text(), "[mcp_servers.new]\nurl = \"u\"\n");
    }
}
