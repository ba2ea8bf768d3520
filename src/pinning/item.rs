//! What is pinned of an item: the members that say to a model or to a policy what it is.

use crate::model::{Fingerprint, UpstreamName, json};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use std::fmt;

/// What kind of item an upstream lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ItemKind {
    /// Of `tools/list`.
    Tool,
    /// Of `prompts/list`.
    Prompt,
    /// Of `resources/list`. What there is to read comes and goes with the data: a new one is no newcomer, a changed one is held.
    Resource,
    /// Of `resources/templates/list`.
    Template,
    /// What the server says of itself when a client connects. Agents never get it.
    Instructions,
    /// Of `skills/list`.
    Skill,
    /// A file of a skill, as it was read: one whose digest its skill lists is named with that, and only scanned in effect.
    SkillFile,
}

impl ItemKind {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::Tool,
        Self::Prompt,
        Self::Resource,
        Self::Template,
        Self::Instructions,
        Self::Skill,
        Self::SkillFile,
    ];

    /// Its word in files, records and listings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tool => "tool",
            Self::Prompt => "prompt",
            Self::Resource => "resource",
            Self::Template => "template",
            Self::Instructions => "instructions",
            Self::Skill => "skill",
            Self::SkillFile => "skill_file",
        }
    }

    /// Reads a word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

    /// Whether a list has it; else it is known once it was read, and none is new or gone.
    pub fn is_listed(self) -> bool {
        match self {
            Self::Tool
            | Self::Prompt
            | Self::Resource
            | Self::Template
            | Self::Instructions
            | Self::Skill => true,
            Self::SkillFile => false,
        }
    }

    /// The member that names an item; none where there is one of the kind.
    fn member(self) -> Option<&'static str> {
        match self {
            Self::Tool | Self::Prompt => Some("name"),
            Self::Resource | Self::Skill | Self::SkillFile => Some("uri"),
            Self::Template => Some("uriTemplate"),
            Self::Instructions => None,
        }
    }

    /// The members that are pinned.
    fn members(self) -> &'static [&'static str] {
        match self {
            Self::Tool => &["title", "description", "inputSchema", "outputSchema", "annotations"],
            Self::Prompt => &["title", "description", "arguments"],
            Self::Resource => &["name", "title", "description", "mimeType"],
            Self::Template => &["name", "title", "description", "mimeType"],
            Self::Instructions => &["instructions"],
            Self::Skill => &["frontmatter", "resources"],
            Self::SkillFile => &["digest", "text"],
        }
    }
}

impl fmt::Display for ItemKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The upstream's own name of an item; of instructions the word itself.
pub fn own_name(kind: ItemKind, item: &Value) -> Option<&str> {
    match kind.member() {
        Some(member) => item.get(member).and_then(Value::as_str).filter(|name| !name.is_empty()),
        None => Some("instructions"),
    }
}

/// SHA-256 over upstream, name and what is pinned of the item.
pub fn fingerprint(kind: ItemKind, upstream: &UpstreamName, item: &Value) -> Fingerprint {
    let pick = |name: &str| item.get(name).cloned().unwrap_or(Value::Null);
    let mut material = Map::new();
    material.insert("upstream".to_owned(), json!(upstream));
    if kind != ItemKind::Tool {
        material.insert("kind".to_owned(), json!(kind));
    }
    material.extend(kind.member().map(|member| (member.to_owned(), pick(member))));
    for member in kind.members() {
        // A tool without a title has the fingerprint that it had before titles were part of it.
        let value = pick(member);
        if *member != "title" || !value.is_null() {
            material.insert((*member).to_owned(), value);
        }
    }
    let mut bytes = Vec::new();
    json::canonical(&Value::Object(material), &mut bytes);
    Fingerprint::from(hex::encode(Sha256::digest(&bytes)))
}

/// The longest text of a form, in characters.
const LONGEST_TEXT: usize = 8_000;
/// The largest form, in bytes; of a larger one schemas, arguments and annotations are left out.
const LARGEST_FORM: usize = 24 << 10;

/// What is pinned of an item, as it is kept to be compared with what comes later: bounded.
pub fn form(kind: ItemKind, item: &Value) -> Value {
    let mut form = Map::new();
    for member in kind.members() {
        if let Some(value) = item.get(member).filter(|value| !value.is_null()) {
            let mut value = value.clone();
            bound(&mut value);
            form.insert((*member).to_owned(), value);
        }
    }
    for large in [
        "outputSchema",
        "inputSchema",
        "arguments",
        "annotations",
        "resources",
        "frontmatter",
        "description",
        "text",
    ] {
        if json!(form).to_string().len() <= LARGEST_FORM {
            break;
        }
        if let Some(slot) = form.get_mut(large) {
            let bytes = slot.to_string().len();
            *slot = json!(format!("… (not kept: {bytes} bytes)"));
        }
    }
    Value::Object(form)
}

/// Cuts what is longer than a reader looks at.
fn bound(value: &mut Value) {
    match value {
        Value::String(text) => {
            let cut = text.char_indices().nth(LONGEST_TEXT).map(|(end, _)| end);
            if let Some(end) = cut {
                let more = text.get(end..).unwrap_or_default().chars().count();
                text.truncate(end);
                text.push_str(&format!("… (cut: {more} more characters)"));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(bound),
        Value::Object(map) => map.values_mut().for_each(bound),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_of_what_a_model_reads() {
        let of = |item: Value| fingerprint(ItemKind::Tool, &"up".into(), &item);
        let base = json!({"name": "t", "description": "d", "inputSchema": {"type": "object", "title": "x"}});
        let with = |member: &str, value: Value| {
            let mut item = base.clone();
            item[member] = value;
            of(item)
        };
        for (member, value) in [
            ("name", json!("t2")),
            ("title", json!("T")),
            ("description", json!("d ")),
            ("inputSchema", json!({"type": "object", "title": "x\u{e0041}"})),
            ("outputSchema", json!({"type": "object"})),
            ("annotations", json!({"readOnlyHint": true})),
        ] {
            assert_ne!(with(member, value), of(base.clone()), "{member}");
        }
        assert_ne!(fingerprint(ItemKind::Tool, &"other".into(), &base), of(base.clone()));
        // What is neither shown to a model nor read by a policy, and the order of members, are no part of it.
        assert_eq!(with("_meta", json!({"n": 1})), of(base.clone()));
        assert_eq!(with("icons", json!([])), of(base.clone()));
        let turned =
            json!({"inputSchema": {"title": "x", "type": "object"}, "description": "d", "name": "t"});
        assert_eq!(of(turned), of(base));
    }

    #[test]
    fn every_kind_has_a_name_and_a_fingerprint_of_its_own() {
        let item = json!({
            "name": "n", "uri": "u:1", "uriTemplate": "u:{a}", "instructions": "say", "description": "d",
        });
        let mut seen = std::collections::BTreeSet::new();
        for kind in ItemKind::ALL {
            assert_eq!(ItemKind::parse(kind.as_str()), Some(kind));
            assert!(own_name(kind, &item).is_some(), "{kind}");
            assert!(seen.insert(fingerprint(kind, &"up".into(), &item).to_string()), "{kind}");
        }
        assert_eq!(own_name(ItemKind::Tool, &json!({"name": ""})), None);
        // Of instructions only what they say counts.
        let other = json!({"instructions": "say", "description": "other"});
        let of = |item: &Value| fingerprint(ItemKind::Instructions, &"up".into(), item);
        assert_eq!(of(&item), of(&other));
    }

    /// What is kept of an item is bounded, whatever it holds.
    #[test]
    fn a_form_is_bounded() {
        let long = "x".repeat(1 << 20);
        let wide: Map<String, Value> =
            (0..5_000).map(|n| (format!("p{n}"), json!({"type": "string"}))).collect();
        let item = json!({
            "name": "t", "description": long, "inputSchema": {"properties": wide}, "annotations": {"a": long},
            "outputSchema": {"description": long},
        });
        let kept = form(ItemKind::Tool, &item);
        assert!(kept.to_string().len() <= LARGEST_FORM, "{}", kept.to_string().len());
        assert!(kept["description"].as_str().unwrap().ends_with("more characters)"));
        assert!(kept["inputSchema"].as_str().unwrap().starts_with("… (not kept"));
        let small =
            json!({"name": "t", "description": "d", "inputSchema": {"type": "object"}, "_meta": {"a": 1}});
        assert_eq!(
            form(ItemKind::Tool, &small),
            json!({"description": "d", "inputSchema": {"type": "object"}})
        );
    }
}
