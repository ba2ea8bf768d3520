//! Cutting results to their limits: at the end of an item, of an element of a JSON list, of a line or of a word, and never
//! without saying how much is missing.

use super::{boundary::prefix, copies::Copies};
use crate::{
    catalog::naming::{reserved_key, strip_reserved},
    model::RpcError,
};
use serde_json::{Map, Value, json};

pub(crate) use crate::decision::edited as apply;

/// What one result needs to be told of its cuts, however many are made.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cut {
    /// The tool declares its structured content: a result without it can only be an error.
    declared: bool,
    /// The cut made an error of a call that succeeded, which has to be said.
    is_made_error: bool,
    /// Bytes that all cuts so far left out.
    dropped: u64,
    /// The list whose last item is the note about them.
    noted: Option<&'static str>,
}

impl Cut {
    /// Of a result whose structured content is declared, or not.
    pub(crate) fn of(declared: bool) -> Self {
        Self { declared, ..Self::default() }
    }

    fn note(&self, dropped: u64) -> Value {
        let more = if self.is_made_error { MADE } else { LESS };
        json!({"type": "text", "text": format!("[cut by policy: {dropped} bytes left out{more}]")})
    }

    /// Takes the note of an earlier cut away, since this one writes its own.
    fn take_note(&mut self, result: &mut Value) {
        if let Some(Value::Array(items)) = self.noted.take().and_then(|member| result.get_mut(member)) {
            items.pop();
        }
    }

    fn put_note(&mut self, result: &mut Value) {
        let Some(map) = result.as_object_mut() else { return };
        if map.contains_key("contents") || map.contains_key("completion") {
            // These have no place for a text of ours.
            let meta = map.entry("_meta").or_insert_with(|| json!({}));
            if let Some(meta) = meta.as_object_mut() {
                meta.insert("tollgate/cut".to_owned(), json!({"bytes_left_out": self.dropped}));
            }
            return;
        }
        let (member, note) = match map.contains_key("messages") {
            true => ("messages", json!({"role": "user", "content": self.note(self.dropped)})),
            false => ("content", self.note(self.dropped)),
        };
        if let Value::Array(items) = map.entry(member).or_insert_with(|| json!([])) {
            items.push(note);
            self.noted = Some(member);
        }
    }
}

/// The lists of a result.
const LISTS: [&str; 3] = ["content", "contents", "messages"];
/// Members that are not left out for being beside the point.
const KEPT: [&str; 7] =
    ["content", "contents", "messages", "completion", "structuredContent", "isError", "resultType"];
/// What the note about a cut may take beyond the limit, where the limit is too small for it.
const NOTE: u64 = 180;
/// What a plain text's item takes beside its text.
const PLAIN: u64 = 64;
/// What a result takes beside its structured content and its text.
const FRAME: u64 = 120;
/// Said of what an agent can have in part.
const LESS: &str = "; to get the rest, read less at a time";
/// Said where a cut makes an error of a call that succeeded.
const MADE: &str = "; the call was made and succeeded: do not repeat it";

/// Cuts a result so that it is at most `max_bytes` long as it is written in JSON, and says so. Text is cut where a part of it
/// ends; structured content and embedded data that do not fit are dropped whole, since half of them would be wrong.
pub(crate) fn cut_result(result: &mut Value, max_bytes: u64, cut: &mut Cut) -> bool {
    if size(result) <= max_bytes {
        return false;
    }
    cut.take_note(result);
    let whole = weight_of_result(result);
    if let Some(map) = result.as_object_mut() {
        drop_members(map, max_bytes, cut);
        let mut lists = Vec::new();
        for member in LISTS {
            if let Some(Value::Array(items)) = map.get_mut(member) {
                lists.push((member, std::mem::take(items)));
            }
        }
        // The note's number is at most this one.
        let note = size(&cut.note(cut.dropped.saturating_add(whole))).saturating_add(1);
        let mut budget = max_bytes.saturating_sub(size(&*map)).saturating_sub(note);
        keep_alike(map, &mut lists, &mut budget, cut);
        for (member, items) in lists {
            let kept: Vec<Value> =
                items.into_iter().filter_map(|item| fitted(item, &mut budget, &mut cut.dropped)).collect();
            map.insert(member.to_owned(), Value::Array(kept));
        }
    }
    let rest = weight_of_result(result);
    if cut.dropped > 0 || cut.is_made_error {
        cut.put_note(result);
    }
    // What stands elsewhere (another member, thousands of empty items) cannot be cut in part.
    if size(result) > max_bytes.saturating_add(NOTE) {
        cut.dropped = cut.dropped.saturating_add(rest);
        *result = bare(result);
        cut.put_note(result);
    }
    true
}

fn size(value: &(impl serde::Serialize + ?Sized)) -> u64 {
    serde_json::to_vec(value).map_or(u64::MAX, |bytes| bytes.len() as u64)
}

/// What is told of an item that is left out: its text, or all of it where it is no plain text.
fn weight(item: &Value) -> u64 {
    let all = size(item);
    match item.get("text").or_else(|| item.pointer("/content/text")) {
        Some(Value::String(text)) if !text.is_empty() && all.saturating_sub(size(text)) <= PLAIN => {
            text.len() as u64
        }
        Some(_) | None => all,
    }
}

fn weight_of_result(result: &Value) -> u64 {
    let Some(map) = result.as_object() else { return size(result) };
    map.iter().fold(0, |sum, (name, value)| {
        sum.saturating_add(match (name.as_str(), value) {
            ("isError" | "resultType", _) => 0,
            (name, Value::Array(items)) if LISTS.contains(&name) => {
                items.iter().map(weight).fold(0, u64::saturating_add)
            }
            (_, value) => size(value),
        })
    })
}

/// Leaves out structured content that has no room, and what else takes the room of the content.
fn drop_members(map: &mut Map<String, Value>, max_bytes: u64, cut: &mut Cut) {
    if let Some(needs) = map.get("structuredContent").map(size) {
        let room = if cut.declared { max_bytes.saturating_sub(FRAME) } else { max_bytes / 2 };
        if needs > room {
            map.shift_remove("structuredContent");
            cut.dropped = cut.dropped.saturating_add(needs);
            if cut.declared && map.get("isError") != Some(&Value::Bool(true)) {
                map.insert("isError".into(), Value::Bool(true));
                cut.is_made_error = true;
            }
        }
    }
    map.retain(|name, value| {
        let needs = if KEPT.contains(&name.as_str()) { 0 } else { size(value) };
        let stays = needs <= max_bytes / 4;
        if !stays {
            cut.dropped = cut.dropped.saturating_add(needs);
        }
        stays
    });
}

/// Texts that copy structured content say what it says, or are not there. Where they have no room beside it, one of both is left
/// out whole: the copies where the content is declared, else the content, since every client reads texts.
fn keep_alike(
    map: &mut Map<String, Value>,
    lists: &mut [(&str, Vec<Value>)],
    budget: &mut u64,
    cut: &mut Cut,
) {
    let Some((_, items)) = lists.iter_mut().find(|(member, _)| *member == "content") else { return };
    let needs = items.iter().fold(0, |sum: u64, item| sum.saturating_add(size(item).saturating_add(1)));
    if needs <= *budget {
        return;
    }
    let Some(structured) = map.get("structuredContent") else { return };
    let copies = Copies::among(structured, items);
    if copies.is_empty() {
        return;
    }
    if cut.declared {
        let mut at = 0;
        items.retain(|item| {
            let is_copy = copies.has(at);
            at += 1;
            if is_copy {
                cut.dropped = cut.dropped.saturating_add(weight(item));
            }
            !is_copy
        });
    } else {
        let freed = size(structured);
        map.shift_remove("structuredContent");
        cut.dropped = cut.dropped.saturating_add(freed);
        *budget = budget.saturating_add(freed);
    }
}

/// As much of an item as there is room for.
fn fitted(mut item: Value, budget: &mut u64, dropped: &mut u64) -> Option<Value> {
    let needs = size(&item).saturating_add(1);
    if needs <= *budget {
        *budget -= needs;
        return Some(item);
    }
    let slot = if item.get("text").is_some() { "/text" } else { "/content/text" };
    let kept = match item.pointer(slot) {
        Some(Value::String(text)) => {
            let frame = needs.saturating_sub(size(text)).saturating_add(2);
            prefix(text, budget.saturating_sub(frame))
        }
        Some(_) | None => None,
    };
    match (item.pointer_mut(slot), kept) {
        (Some(Value::String(text)), Some(kept)) => {
            let shown = kept.end + kept.close.len();
            *dropped = dropped.saturating_add(text.len().saturating_sub(shown) as u64);
            text.truncate(kept.end);
            text.push_str(kept.close);
            *budget = budget.saturating_sub(size(&item).saturating_add(1));
            Some(item)
        }
        (_, _) => {
            *dropped = dropped.saturating_add(weight(&item));
            None
        }
    }
}

/// A result of the same kind without anything the upstream wrote.
fn bare(result: &Value) -> Value {
    let mut rest = if let Some(Value::Array(_)) = result.get("contents") {
        json!({"contents": []})
    } else if result.get("completion").is_some() {
        json!({"completion": {"values": []}})
    } else if let Some(Value::Array(_)) = result.get("messages") {
        json!({"messages": []})
    } else {
        json!({"content": []})
    };
    if let (Some(Value::Bool(failed)), Some(map)) = (result.get("isError"), rest.as_object_mut()) {
        map.insert("isError".into(), Value::Bool(*failed));
    }
    rest
}

/// Takes `tollgate/*` out of an upstream's error, where it would look like a refusal of Tollgate's own.
pub(crate) fn strip_reserved_error(error: &mut RpcError) {
    if let Some(data) = &mut error.data {
        if let Value::Object(map) = data {
            map.retain(|key, _| !reserved_key(key));
        }
        strip_reserved(data);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_cut_and_say_so() {
        let mut result = json!({"content": [{"type": "text", "text": "é".repeat(1000)}], "structuredContent": {"x": "y".repeat(900)}});
        assert!(cut_result(&mut result, 500, &mut Cut::of(false)));
        assert!(serde_json::to_vec(&result).unwrap().len() < 700);
        assert!(result.get("structuredContent").is_none());
        assert!(result["content"][1]["text"].as_str().unwrap().starts_with("[cut by policy"));
        let mut small = json!({"content": []});
        assert!(!cut_result(&mut small, 500, &mut Cut::of(true)));
    }
    /// A cut that takes away what is declared says at each size that the call was made, and an error stays what it was.
    #[test]
    fn a_cut_never_contradicts_what_is_declared() {
        let rows: Vec<String> = (0..50).map(|n| format!("row {n}")).collect();
        let whole = json!({"content": [{"type": "text", "text": "t".repeat(900)}], "structuredContent": {"rows": rows}});
        for sizes in [vec![400], vec![400, 200], vec![400, 200, 90], vec![1]] {
            let (mut result, mut cut) = (whole.clone(), Cut::of(true));
            for size in &sizes {
                assert!(cut_result(&mut result, *size, &mut cut));
            }
            assert!(result.get("structuredContent").is_none() && result["isError"] == true, "{result}");
            let told = result["content"].as_array().unwrap().last().unwrap()["text"].as_str().unwrap();
            assert!(told.starts_with("[cut by policy") && told.contains("do not repeat it"), "{told}");
            assert!(result.to_string().len() as u64 <= sizes.last().unwrap() + 250, "{result}");
        }
        // What is declared goes before the text.
        let mut result = whole.clone();
        assert!(cut_result(&mut result, 900, &mut Cut::of(true)));
        assert_eq!(result["structuredContent"], whole["structuredContent"]);
        assert!(result.get("isError").is_none() && result.to_string().len() < 1_050, "{result}");
        let mut failed = whole;
        failed["isError"] = json!(true);
        assert!(cut_result(&mut failed, 300, &mut Cut::of(true)));
        assert!(
            failed.get("structuredContent").is_none() && !failed.to_string().contains("succeeded"),
            "{failed}"
        );
    }

    /// A text that copies structured content says the same, or one of both is not there, at every size.
    #[test]
    fn a_copy_and_what_it_copies_agree() {
        let rows: Vec<Value> = (0..40).map(|n| json!({"n": n, "says": "a \"b\""})).collect();
        let structured = json!({"rows": rows});
        for text in [structured.to_string(), serde_json::to_string_pretty(&structured).unwrap()] {
            let whole = json!({
                "content": [{"type": "text", "text": text}, {"type": "text", "text": "and more ".repeat(40)}],
                "structuredContent": structured,
            });
            for declared in [false, true] {
                let mut both = 0;
                for most in (100..size(&whole)).step_by(37).chain([size(&whole)]) {
                    let (mut result, mut cut) = (whole.clone(), Cut::of(declared));
                    assert_eq!(cut_result(&mut result, most, &mut cut), size(&whole) > most);
                    assert!(size(&result) <= most + NOTE + 70, "{most}: {result}");
                    let Some(kept) = result.get("structuredContent") else {
                        assert!(!declared || result["isError"] == true, "{most}: {result}");
                        continue;
                    };
                    assert_eq!(*kept, structured);
                    let begins = |item: &&Value| item["text"].as_str().unwrap().trim_start().starts_with('{');
                    for copy in result["content"].as_array().unwrap().iter().filter(begins) {
                        assert_eq!(copy["text"], text.as_str(), "{most}: {result}");
                        both += 1;
                    }
                }
                assert!(both > 0);
            }
        }
    }

    /// What is left and what is told to be left out are the whole, however many cuts are made, and the room is used.
    #[test]
    fn a_cut_keeps_what_fits_and_tells_the_truth() {
        let told = |note: &str| -> usize {
            note.trim_start_matches("[cut by policy: ").split(' ').next().unwrap().parse().unwrap()
        };
        let rows: Vec<Value> =
            (0..90).map(|n| json!({"city": "Łódź", "n": n, "says": "a \"b\" \\ c"})).collect();
        for (text, widest) in
            [(json!(rows).to_string(), 80), ("\u{1}\n\"".repeat(900), 12), ("plain ".repeat(700), 6)]
        {
            for sizes in [vec![1_500], vec![1_500, 1_100, 640], vec![2_000, 333]] {
                let mut result =
                    json!({"content": [{"type": "text", "text": text}, {"type": "text", "text": "end"}]});
                let mut cut = Cut::of(false);
                for size in &sizes {
                    assert!(cut_result(&mut result, *size, &mut cut));
                }
                let (size, most) = (size(&result), *sizes.last().unwrap());
                assert!(size <= most && size + widest + 8 >= most, "{size} of {most}: {result}");
                let items = result["content"].as_array().unwrap();
                let (kept, note) =
                    (items[0]["text"].as_str().unwrap(), items[items.len() - 1]["text"].as_str().unwrap());
                // A list that is cut is closed.
                let open = if text.starts_with('[') { kept.strip_suffix(']').unwrap() } else { kept };
                assert!(text.starts_with(open) && items.len() == 2, "{result}");
                assert_eq!(kept.len() + told(note), text.len() + 3, "{note}");
                if text.starts_with('[') {
                    let whole: Vec<Value> = serde_json::from_str(kept).unwrap();
                    assert_eq!(whole[..], rows[..whole.len()]);
                }
            }
        }
        let mut asked = json!({"messages": [{"role": "user", "content": {"type": "text", "text": "\"x\" ".repeat(300)}}]});
        assert!(cut_result(&mut asked, 400, &mut Cut::default()));
        let kept = asked["messages"][0]["content"]["text"].as_str().unwrap().len();
        assert_eq!(kept + told(asked["messages"][1]["content"]["text"].as_str().unwrap()), 1_200, "{asked}");
        let mut heavy =
            json!({"content": [{"type": "text", "text": "kept"}], "_meta": {"trace": "t".repeat(5_000)}});
        assert!(cut_result(&mut heavy, 600, &mut Cut::default()));
        assert!(heavy["content"][0]["text"] == "kept" && heavy.get("_meta").is_none(), "{heavy}");
    }
}
