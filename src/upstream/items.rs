//! One item of a list is held against the protocol's types, so that a bad one takes no other's away from strict clients.

use crate::redaction::display_text;
use serde_json::{Map, Value};

/// The longest name of an item that is told, in characters.
const LONGEST_NAME: usize = 80;

/// What a value must be.
enum Type {
    Text,
    /// A date and time with its offset, in the form of RFC 3339.
    Moment,
    Flag,
    /// A number without a fraction that every client can hold.
    Whole,
    /// A number from 0 to 1.
    Share,
    /// One of these words.
    Word(&'static [&'static str]),
    /// An object of anything.
    Object,
    /// An object whose known members have these types.
    Members(&'static [Member]),
    List(&'static Type),
}

/// A member that the protocol knows.
pub(super) struct Member {
    name: &'static str,
    of: Type,
    is_required: bool,
}

const fn may(name: &'static str, of: Type) -> Member {
    Member { name, of, is_required: false }
}

const fn must(name: &'static str) -> Member {
    Member { name, of: Type::Text, is_required: true }
}

const ICONS: Type = Type::List(&Type::Members(&[
    must("src"),
    may("mimeType", Type::Text),
    may("sizes", Type::List(&Type::Text)),
    may("theme", Type::Word(&["light", "dark"])),
]));

const HINTS: Type = Type::Members(&[
    may("title", Type::Text),
    may("readOnlyHint", Type::Flag),
    may("destructiveHint", Type::Flag),
    may("idempotentHint", Type::Flag),
    may("openWorldHint", Type::Flag),
]);

const ANNOTATIONS: Type = Type::Members(&[
    may("audience", Type::List(&Type::Word(&["user", "assistant"]))),
    may("priority", Type::Share),
    may("lastModified", Type::Moment),
]);

/// The schemas of a tool are the catalog's matter.
pub(super) const TOOL: &[Member] = &[
    must("name"),
    may("title", Type::Text),
    may("description", Type::Text),
    may("annotations", HINTS),
    may("icons", ICONS),
    may("_meta", Type::Object),
    may(
        "execution",
        Type::Members(&[may("taskSupport", Type::Word(&["forbidden", "optional", "required"]))]),
    ),
];

pub(super) const PROMPT: &[Member] = &[
    must("name"),
    may("title", Type::Text),
    may("description", Type::Text),
    may(
        "arguments",
        Type::List(&Type::Members(&[
            must("name"),
            may("title", Type::Text),
            may("description", Type::Text),
            may("required", Type::Flag),
        ])),
    ),
    may("icons", ICONS),
    may("_meta", Type::Object),
];

pub(super) const RESOURCE: &[Member] = &[
    must("uri"),
    must("name"),
    may("title", Type::Text),
    may("description", Type::Text),
    may("mimeType", Type::Text),
    may("size", Type::Whole),
    may("annotations", ANNOTATIONS),
    may("icons", ICONS),
    may("_meta", Type::Object),
];

pub(super) const TEMPLATE: &[Member] = &[
    must("uriTemplate"),
    must("name"),
    may("title", Type::Text),
    may("description", Type::Text),
    may("mimeType", Type::Text),
    may("annotations", ANNOTATIONS),
    may("icons", ICONS),
    may("_meta", Type::Object),
];

/// The members of one kind of item.
pub(super) type Members = &'static [Member];

/// What of one list was left out, with the first of each for an example.
#[derive(Default)]
pub(super) struct LeftOut {
    items: usize,
    first_item: String,
    members: usize,
    first_member: String,
    cut: Option<usize>,
}

impl LeftOut {
    /// Another item is left out; `why` goes on from "it".
    pub(super) fn item(&mut self, name: Option<&str>, why: &str) {
        self.items += 1;
        if self.items == 1 {
            self.first_item = match name {
                Some(name) => format!("`{}`: it {why}", display_text(name, LONGEST_NAME)),
                None => format!("one that {why}"),
            };
        }
    }

    /// The list is cut after so many items.
    pub(super) fn cut(&mut self, items: usize) {
        self.cut = Some(items);
    }

    fn member(&mut self, item: &str, member: &str) {
        self.members += 1;
        if self.members == 1 {
            self.first_member = format!("`{member}` of `{}`", display_text(item, LONGEST_NAME));
        }
    }

    /// One sentence for each kind of loss.
    pub(super) fn sentences(&self, method: &str) -> Vec<String> {
        let Self { items, first_item, members, first_member, cut } = self;
        let mut told = Vec::new();
        if *items > 0 {
            told.push(format!("`{method}`: items left out: {items}, the first is {first_item}"));
        }
        if *members > 0 {
            told.push(format!(
                "`{method}`: members of items left out, because they have a wrong type: {members}, the first is {first_member}"
            ));
        }
        if let Some(items) = cut {
            told.push(format!("`{method}` does not end, or is too large: it is cut after {items} items"));
        }
        told
    }
}

/// Makes an item what the protocol says, or says what is wrong with it. What names it is in `key`.
///
/// An optional member of a wrong type is left out and told. One that is null says nothing and is left out without a word.
pub(super) fn mend(
    item: &mut Value,
    key: &'static str,
    known: Members,
    told: &mut LeftOut,
) -> Result<(), String> {
    let Value::Object(map) = item else { return Err("is not an object".to_owned()) };
    let own = match map.get(key) {
        Some(Value::String(own)) if !own.is_empty() => own.clone(),
        Some(_) | None => return Err(format!("has no text as its `{key}`")),
    };
    if key != "name"
        && !map.get("name").is_some_and(Value::is_string)
        && map.insert("name".to_owned(), Value::String(own.clone())).is_some_and(|name| !name.is_null())
    {
        told.member(&own, "name");
    }
    if members(map, known, &mut |member| told.member(&own, member)) {
        Ok(())
    } else {
        Err("lacks a member that it must have".to_owned())
    }
}

/// Whether nothing required is missing, once what is optional and wrong is left out.
fn members(map: &mut Map<String, Value>, known: Members, told: &mut dyn FnMut(&str)) -> bool {
    for Member { name, of, is_required } in known {
        let is_good = match map.get_mut(*name) {
            Some(value) => fits(value, of, name, told),
            None if *is_required => return false,
            None => continue,
        };
        if !is_good {
            if *is_required {
                return false;
            }
            if map.shift_remove(*name).is_some_and(|value| !value.is_null()) {
                told(name);
            }
        }
    }
    true
}

fn fits(value: &mut Value, of: &Type, name: &str, told: &mut dyn FnMut(&str)) -> bool {
    /// The largest whole number that every client's numbers hold exactly.
    const MOST: f64 = 9_007_199_254_740_991.0;
    match (of, value) {
        (Type::Text, Value::String(_)) | (Type::Flag, Value::Bool(_)) | (Type::Object, Value::Object(_)) => {
            true
        }
        (Type::Whole, Value::Number(number)) => {
            number.as_f64().is_some_and(|number| number.abs() <= MOST && number.fract() == 0.0)
        }
        (Type::Share, Value::Number(number)) => {
            number.as_f64().is_some_and(|number| (0.0..=1.0).contains(&number))
        }
        (Type::Moment, Value::String(text)) => is_moment(text),
        (Type::Word(words), Value::String(text)) => words.contains(&text.as_str()),
        (Type::Members(known), Value::Object(map)) => members(map, known, told),
        (Type::List(of), Value::Array(list)) => {
            list.retain_mut(|value| {
                let is_good = fits(value, of, name, told);
                if !is_good {
                    told(name);
                }
                is_good
            });
            true
        }
        _ => false,
    }
}

fn is_moment(text: &str) -> bool {
    let bytes = text.as_bytes();
    let has_offset = text.ends_with('Z') || bytes.iter().rev().nth(2) == Some(&b':');
    bytes.get(10) == Some(&b'T') && has_offset && text.parse::<jiff::Timestamp>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(key: &'static str, known: Members, mut item: Value, expected: Option<Value>, lost: usize) {
        let mut told = LeftOut::default();
        let whole = mend(&mut item, key, known, &mut told);
        match expected {
            Some(expected) => assert_eq!((whole, item), (Ok(()), expected)),
            None => assert!(whole.is_err(), "{item}"),
        }
        assert_eq!(told.members, lost, "{}", told.first_member);
    }

    #[test]
    fn a_member_of_a_wrong_type_is_left_out_of_its_item() {
        check(
            "name",
            TOOL,
            json!({
                "name": "grind", "title": ["x"], "description": true, "_meta": "m", "x-own": [1, null],
                "annotations": {"title": "T", "readOnlyHint": "yes", "openWorldHint": false, "own": 3},
                "icons": [{"src": "https://i"}, {"src": 4}, "i", {"src": "data:,", "theme": "blue", "sizes": [1, "any"]}],
                "execution": {"taskSupport": "maybe"}
            }),
            Some(json!({
                "name": "grind", "x-own": [1, null],
                "annotations": {"title": "T", "openWorldHint": false, "own": 3},
                "icons": [{"src": "https://i"}, {"src": "data:,", "sizes": ["any"]}],
                "execution": {}
            })),
            9,
        );
        check(
            "name",
            PROMPT,
            json!({"name": "p", "arguments": [{"name": "a", "required": 1}, {"description": "d"}, 5]}),
            Some(json!({"name": "p", "arguments": [{"name": "a"}]})),
            3,
        );
        check(
            "name",
            PROMPT,
            json!({"name": "p", "arguments": {"a": 1}, "title": null}),
            Some(json!({"name": "p"})),
            1,
        );
        check(
            "uri",
            RESOURCE,
            json!({"uri": "x://1", "name": "n", "size": 1.5, "mimeType": 1,
                "annotations": {"audience": ["user", "dog"], "priority": 1.5, "lastModified": "2024-02-29"}}),
            Some(json!({"uri": "x://1", "name": "n", "annotations": {"audience": ["user"]}})),
            5,
        );
    }

    #[test]
    fn a_right_item_stays_as_it_was_written() {
        for (key, known, item) in [
            (
                "name",
                TOOL,
                json!({"inputSchema": 5, "name": "t", "annotations": {"destructiveHint": true}, "_meta": {"a": null}}),
            ),
            (
                "uri",
                RESOURCE,
                json!({"uri": "x:", "name": "", "size": 120, "annotations": {"priority": 0.25, "lastModified": "2024-02-29T10:11:12+01:00"}}),
            ),
            (
                "uriTemplate",
                TEMPLATE,
                json!({"name": "n", "uriTemplate": "x:{a}", "size": "none of its own"}),
            ),
        ] {
            let before = item.to_string();
            check(key, known, item.clone(), Some(item.clone()), 0);
            assert_eq!(item.to_string(), before);
        }
    }

    #[test]
    fn what_names_an_item_must_be_there_and_a_uri_is_a_name() {
        for item in [json!(null), json!("t"), json!({}), json!({"name": 3}), json!({"name": ""})] {
            check("name", TOOL, item, None, 0);
        }
        check("uri", RESOURCE, json!({"name": "n", "uri": null}), None, 0);
        check("uri", RESOURCE, json!({"uri": "x://2"}), Some(json!({"uri": "x://2", "name": "x://2"})), 0);
        let unnamed = json!({"uriTemplate": "x://{y}", "name": 8});
        let named = json!({"uriTemplate": "x://{y}", "name": "x://{y}"});
        check("uriTemplate", TEMPLATE, unnamed, Some(named), 1);
    }
}
