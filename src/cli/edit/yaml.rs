//! Edits of authority.yaml that keep its comments and layout. What comes out is read again and held against what was meant: where
//! it says anything else, nothing is written.

use crate::cli::args::agent_name;
use serde_json::{Map, Value, json};
use std::str::FromStr as _;
use yaml_edit::{Mapping, Sequence, YamlFile};

/// The names in a map that stands at the top.
pub(in crate::cli) fn names(text: &str, map: &str) -> Vec<String> {
    let root = read(text).unwrap_or_default();
    root.get(map).and_then(Value::as_object).map(|map| map.keys().cloned().collect()).unwrap_or_default()
}

/// An entry of such a map, as JSON has it.
pub(in crate::cli) fn entry(text: &str, map: &str, name: &str) -> Option<Value> {
    read(text)?.get(map)?.get(name).cloned()
}

/// A list of texts in an entry of a map; empty where there is none. None where it holds anything else.
pub(in crate::cli) fn list(text: &str, place: (&str, &str, &str)) -> Option<Vec<String>> {
    items(text, place)?.into_iter().map(|item| item.as_str().map(str::to_owned)).collect()
}

/// A list of anything in an entry of a map; empty where there is none.
pub(in crate::cli) fn items(text: &str, (map, name, list): (&str, &str, &str)) -> Option<Vec<Value>> {
    match entry(text, map, name)?.get(list) {
        None | Some(Value::Null) => Some(Vec::new()),
        Some(items) => items.as_array().cloned(),
    }
}

/// The text with one more entry in the map that stands at the top under this name. `members` are the lines of the entry, without
/// indentation.
pub(in crate::cli) fn with_entry(text: &str, map: &str, name: &str, members: &str) -> Option<String> {
    let mut meant = read(text)?;
    let entries = meant.as_object_mut()?.entry(map).or_insert_with(|| Value::Object(Map::new()));
    if entries.is_null() {
        *entries = Value::Object(Map::new());
    }
    let entries = entries.as_object_mut()?;
    // What is there is somebody else's.
    if entries.contains_key(name) {
        return None;
    }
    entries.insert(name.to_owned(), read(members)?);
    edited(text, &meant, |root| {
        match root.get_mapping(map) {
            // Comments have no place between braces.
            Some(entries) if entries.is_flow_style() => entries.set(name, block(&uncommented(members))?),
            Some(entries) => entries.set(name, block(members)?),
            None => root.set(map, block(&format!("{name}:\n{}", indented(members)))?),
        }
        Some(())
    })
}

/// The text with these as a list of texts (`capabilities`) in an entry of a map: what is there already stays as it stands.
pub(in crate::cli) fn with_list(text: &str, place: (&str, &str, &str), items: &[String]) -> Option<String> {
    with_items(text, place, &items.iter().map(|item| json!(item)).collect::<Vec<_>>())
}

/// The same for a list of anything (`keys`): what comes in are texts.
pub(in crate::cli) fn with_items(
    text: &str,
    (map, name, list): (&str, &str, &str),
    items: &[Value],
) -> Option<String> {
    let before = self::items(text, (map, name, list))?;
    let mut meant = read(text)?;
    let entry = meant.get_mut(map)?.get_mut(name)?.as_object_mut()?;
    entry.insert(list.to_owned(), json!(items));
    let keeps = |item: &Value| items.contains(item);
    // What stands above an item that goes is about that item.
    let loose = if before.iter().all(keeps) { Vec::new() } else { comments_of_items(text) };
    edited_but(text, &meant, &loose, |root| {
        let entry = root.get_mapping(map)?.get_mapping(name)?;
        let sequence = match entry.get_sequence(list) {
            Some(sequence) if before.iter().any(keeps) => sequence,
            // Nothing of it stays.
            Some(_) | None => {
                entry.set(list, flow(list, items)?);
                return Some(());
            }
        };
        for place in (0..before.len()).rev() {
            if !before.get(place).is_some_and(keeps) {
                sequence.remove(place)?;
            }
        }
        for item in items.iter().filter(|item| !before.contains(item)) {
            let item = item.as_str()?;
            match agent_name(item) {
                Ok(plain) => sequence.push(plain),
                Err(_) => sequence.push(yaml_edit::ScalarValue::double_quoted(item)),
            }
        }
        Some(())
    })
}

/// The edit, where the text then says what is meant and nothing else.
fn edited(text: &str, meant: &Value, edit: impl FnOnce(&Mapping) -> Option<()>) -> Option<String> {
    edited_but(text, meant, &[], edit)
}

/// The same, where these comments may go.
fn edited_but(
    text: &str,
    meant: &Value,
    loose: &[String],
    edit: impl FnOnce(&Mapping) -> Option<()>,
) -> Option<String> {
    let windows = text.contains("\r\n");
    let plain = if windows { text.replace("\r\n", "\n") } else { text.to_owned() };
    let file = YamlFile::from_str(&plain).ok()?;
    if file.to_string() != plain {
        return None;
    }
    edit(&file.document()?.as_mapping()?)?;
    let mut new = file.to_string();
    if !new.ends_with('\n') {
        new.push('\n');
    }
    let stays = |comment: &&str| !loose.iter().any(|loose| loose == comment);
    let kept = comments(&plain)
        .filter(stays)
        .eq(comments(&new).filter(|comment| plain.contains(comment)).filter(stays));
    let new = if windows { new.replace('\n', "\r\n") } else { new };
    (kept && read(&new)? == *meant).then_some(new)
}

/// Lines that are comments as a whole.
fn comments(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| line.starts_with('#'))
}

/// Those of them that stand above an item of a list.
fn comments_of_items(text: &str) -> Vec<String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let (mut found, mut above) = (Vec::new(), Vec::new());
    for line in lines {
        match line.starts_with('#') {
            true => above.push(line.to_owned()),
            false if line.starts_with('-') => found.append(&mut above),
            false => above.clear(),
        }
    }
    found
}

fn read(text: &str) -> Option<Value> {
    serde_saphyr::from_str(text).ok()
}

fn block(text: &str) -> Option<Mapping> {
    YamlFile::from_str(text).ok()?.document()?.as_mapping()
}

fn flow(list: &str, items: &[Value]) -> Option<Sequence> {
    let text = format!("{list}: {}\n", serde_json::to_string(items).ok()?);
    block(&text)?.get_sequence(list)
}

fn indented(members: &str) -> String {
    members.lines().map(|line| format!("  {line}\n")).collect()
}

fn uncommented(members: &str) -> String {
    let line =
        |line: &str| format!("{}\n", line.split_once(" #").map_or(line, |(member, _)| member).trim_end());
    members.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMBERS: &str = "groups: [leads]\nroles: []        # approver, admin\nkeys: [\"sha256:aa\"]\n";

    #[test]
    fn an_entry_comes_in_and_all_else_stays() {
        let check = |text: &str, expect: &str| {
            assert_eq!(with_entry(text, "people", "erin", MEMBERS).as_deref(), Some(expect), "{text}");
        };
        let entry = "  erin:\n    groups: [leads]\n    roles: []        # approver, admin\n    keys: [\"sha256:aa\"]\n";
        check(
            "# Who.\npeople:\n  # the boss\n  alice: { keys: [] }   # one\n\n# flows\nworkflows:\n  w: {}\n",
            &format!(
                "# Who.\npeople:\n  # the boss\n  alice: {{ keys: [] }}   # one\n{entry}\n# flows\nworkflows:\n  w: {{}}\n"
            ),
        );
        check("agents:\n  a:\n    keys: []", &format!("agents:\n  a:\n    keys: []\npeople:\n{entry}"));
        check("people:\n\n# end\nx: 1\n", &format!("people:\n{entry}\n# end\nx: 1\n"));
        let windows = "people:\r\n  a:\r\n    keys: []\r\n";
        check(windows, &format!("{windows}{}", entry.replace('\n', "\r\n")));
    }

    #[test]
    fn an_entry_between_braces_is_one_too() {
        for text in ["people: {}\nx: 1\n", "people: { a: {keys: []} }\nx: 1   # one\n"] {
            let new = with_entry(text, "people", "erin", MEMBERS).unwrap();
            assert_eq!(read(&new).unwrap()["people"]["erin"], read(MEMBERS).unwrap(), "{new}");
            assert!(new.contains("\nx: 1"), "{new}");
        }
    }

    #[test]
    fn keys_come_and_go_where_they_stand() {
        let text = "people:\n  a:\n    roles: [x]      # he\n  c:\n    keys:\n    - \"one\"   # old\n    - two\n\n  d: {keys: [ 'one' ]}\n";
        let check = |name: &str, keys: &[&str], expect: &str| {
            let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
            let new =
                with_list(text, ("people", name, "keys"), &keys).unwrap_or_else(|| panic!("{name} {keys:?}"));
            assert!(new.contains(expect), "{new}");
        };
        let new = "sha256:k";
        check("a", &[new], "    roles: [x]      # he\n    keys: [\"sha256:k\"]\n");
        check("c", &["one", "two", new], "    - \"one\"   # old\n    - two\n    - \"sha256:k\"\n");
        check("d", &["one", new], "  d: {keys: [ 'one', \"sha256:k\" ]}\n");
        check("d", &[new], "\"sha256:k\"");
        check("c", &["two", new], "    - two\n    - \"sha256:k\"\n");
        check("c", &["one", "two", "plain"], "    - two\n    - plain\n");
    }

    /// A key with an end or a name is a map, in any layout, beside plain ones.
    #[test]
    fn keys_with_ends_and_names_stay_as_they_stand() {
        let text = "people:\n  a:\n    keys:   # his\n      # the old one\n      - sha256: one      # laptop\n        expires: 2027-01-01\n        name: laptop\n      - \"two\"\n    roles: [x]\n  \
                    b: { keys: [{ sha256: one, name: x }, two] }   # she\n  \
                    c:\n    keys:\n    - { sha256: one, expires: 2027-01-01, name: ci }   # ci\n    roles: []\n  \
                    d:\n    keys: [ { sha256: one, name: 'a b' } ] # d\n# end\n";
        let kept = ["# his", "# the old one", "# laptop", "# she", "# ci", "# d", "# end"];
        for name in ["a", "b", "c", "d"] {
            let place = ("people", name, "keys");
            let old = items(text, place).unwrap();
            assert!(old[0].is_object(), "{old:?}");
            let grown: Vec<Value> = old.iter().cloned().chain([json!("sha256:new")]).collect();
            let new = with_items(text, place, &grown).unwrap_or_else(|| panic!("{name}"));
            assert_eq!(items(&new, place).unwrap(), grown, "{new}");
            kept.iter().for_each(|comment| assert!(new.contains(comment), "{name} {comment}: {new}"));
            let ended =
                with_items(text, place, &[json!("sha256:new")]).unwrap_or_else(|| panic!("{name} ended"));
            assert_eq!(items(&ended, place).unwrap(), [json!("sha256:new")], "{ended}");
            let last =
                with_items(text, place, &grown[old.len() - 1..]).unwrap_or_else(|| panic!("{name} last"));
            assert_eq!(items(&last, place).unwrap(), grown[old.len() - 1..], "{last}");
        }
    }

    /// Where an edit would say something else, there is none.
    #[test]
    fn what_is_not_sure_is_refused() {
        let keys = ["k".to_owned()];
        for text in [
            "people: [a]\n",
            "people:\n  a: x\n",
            "people:\n  a: *b\n",
            "[]\n",
            ": :\n",
            "people:\n  b: {}\n",
        ] {
            assert_eq!(with_list(text, ("people", "a", "keys"), &keys), None, "{text}");
        }
        assert_eq!(with_entry("people: [a]\n", "people", "erin", MEMBERS), None);
        assert_eq!(with_entry("people:\n  erin: {}\n", "people", "erin", MEMBERS), None, "somebody else's");
        assert_eq!(with_entry("- a\n", "people", "erin", MEMBERS), None);
    }
}
