//! Values cut to a size that a person can look at and a store can hold, telling what is missing.

use serde_json::{Map, Value};

/// Strings are cut to so many bytes where something has to go, so that one of them leaves room for its neighbours.
const LONG: usize = 4096;
/// The least that is worth showing of a string, list or object.
const SHORT: usize = 64;

/// About how many bytes a value takes as JSON.
fn size(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) => 5,
        Value::Number(number) => number.as_str().len(),
        Value::String(text) => text.len() + 2,
        Value::Array(items) => 2 + items.iter().map(|item| size(item) + 1).sum::<usize>(),
        Value::Object(members) => 2 + members.iter().map(member_size).sum::<usize>(),
    }
}

fn member_size((name, value): (&String, &Value)) -> usize {
    name.len() + 4 + size(value)
}

/// The value itself where it takes at most about `most` bytes as JSON; else as much of every part as there is room for,
/// with a note wherever something is missing.
pub fn cut_value(value: &Value, most: usize) -> Value {
    if size(value) <= most { value.clone() } else { shorten(value, most) }
}

fn shorten(value: &Value, room: usize) -> Value {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        Value::String(text) => Value::String(shorten_text(text, room)),
        Value::Array(items) => {
            let (sizes, kept) = fitting(items.iter().map(|item| size(item) + 1), room);
            let mut out: Vec<Value> =
                items.iter().zip(&sizes).take(kept).map(|(item, room)| part(item, *room)).collect();
            if items.len() > kept {
                out.push(Value::String(missing(items.len() - kept, "item")));
            }
            Value::Array(out)
        }
        Value::Object(members) => {
            let (sizes, kept) = fitting(members.iter().map(member_size), room);
            let mut out: Map<String, Value> = members
                .iter()
                .zip(&sizes)
                .take(kept)
                .map(|((name, value), room)| {
                    let room = room.saturating_sub(name.len() + 4);
                    (shorten_text(name, LONG), part(value, room))
                })
                .collect();
            if members.len() > kept {
                out.insert(missing(members.len() - kept, "member"), Value::Null);
            }
            Value::Object(out)
        }
    }
}

fn part(value: &Value, room: usize) -> Value {
    if size(value) <= room { value.clone() } else { shorten(value, room) }
}

/// What each of several parts may take of the room, and how many there is room for: small parts whole, and what they
/// leave is shared by the larger ones.
fn fitting(sizes: impl Iterator<Item = usize>, room: usize) -> (Vec<usize>, usize) {
    let mut sizes: Vec<usize> = sizes.take(room / SHORT + 1).collect();
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.sort_by_key(|at| sizes.get(*at).copied());
    let (mut left, mut parts) = (room, sizes.len());
    for at in order {
        let share = left / parts.max(1);
        parts -= 1;
        if let Some(size) = sizes.get_mut(at) {
            *size = (*size).min(share.max(SHORT));
            left = left.saturating_sub(*size);
        }
    }
    let kept = sizes.len();
    (sizes, kept)
}

fn shorten_text(text: &str, room: usize) -> String {
    let room = room.clamp(SHORT, LONG);
    if text.len() <= room {
        return text.to_owned();
    }
    let (head, tail) = text.split_at(text.floor_char_boundary(room));
    format!("{head}{}", missing(tail.chars().count(), "character"))
}

fn missing(count: usize, what: &str) -> String {
    match count {
        1 => format!("… (cut: 1 more {what})"),
        _ => format!("… (cut: {count} more {what}s)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn small_things_stay_whole_beside_large_ones() {
        let long = "ä".repeat(10_000);
        let value =
            json!({"path": "/etc/passwd", "content": long, "n": [1, 2.50, null], "more": {"a": long}});
        assert_eq!(cut_value(&value, 100_000), value);
        let cut = cut_value(&value, 3_000);
        assert_eq!(cut["path"], "/etc/passwd");
        assert_eq!(cut["n"], value["n"]);
        for text in [&cut["content"], &cut["more"]["a"]] {
            let text = text.as_str().unwrap();
            let (shown, note) = text.split_once("… (cut: ").unwrap();
            let shown = shown.chars().count();
            assert_eq!(note, format!("{} more characters)", 10_000 - shown));
            assert!(shown > 500, "{shown}");
        }
    }

    #[test]
    fn what_is_missing_is_told() {
        let list = json!((0..1000).collect::<Vec<_>>());
        let cut = cut_value(&list, 1_000);
        assert_eq!(cut[16], "… (cut: 984 more items)");
        let members: Map<String, Value> = (0..1000).map(|n| (format!("m{n}"), json!(n))).collect();
        let cut = cut_value(&Value::Object(members), 1_000);
        assert_eq!(cut["m15"], 15);
        assert_eq!(cut["… (cut: 984 more members)"], Value::Null);
        let name = json!({"n".repeat(5000): 1});
        let cut = cut_value(&name, 1_000);
        assert!(cut.as_object().unwrap().keys().next().unwrap().ends_with("(cut: 904 more characters)"));
        assert_eq!(
            cut_value(&json!("x".repeat(100)), 99),
            format!("{}… (cut: 1 more character)", "x".repeat(99))
        );
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i64>().prop_map(Value::from),
            ".{0,300}".prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 200, 20, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..20).prop_map(Value::from),
                proptest::collection::btree_map(".{0,80}", inner, 0..20)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        /// It is never much larger than it may be, and nothing that fits is touched.
        #[test]
        fn a_cut_value_fits(value in values(), most in 256usize..5_000) {
            let cut = cut_value(&value, most);
            if size(&value) <= most {
                prop_assert_eq!(cut, value);
            } else {
                // Each part that is shown may exceed its share by a note.
                prop_assert!(size(&cut) < 8 * most + 4096, "{} for {most}", size(&cut));
            }
        }
    }
}
