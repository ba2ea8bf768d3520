//! Changing arguments as a constraint or a remediation says, and cutting results to their limits.

use crate::{
    catalog::naming::{reserved_key, strip_reserved},
    model::{RpcError, pointer::Pointer},
    policy::ArgumentEdit,
};
use serde_json::{Number, Value, json};
use std::cmp::Ordering;

/// Applies the edits in order. An edit that cannot be made is an error: a limit that is not enforced is none (I2).
pub(crate) fn apply(arguments: &Value, edits: &[ArgumentEdit]) -> Result<Option<Value>, String> {
    if edits.is_empty() {
        return Ok(None);
    }
    let mut changed = arguments.clone();
    for edit in edits {
        match edit {
            ArgumentEdit::Set(at, value) => {
                if !at.set(&mut changed, value.clone()) {
                    return Err(format!("`{at}` cannot be set in these arguments"));
                }
            }
            ArgumentEdit::Remove(at) => {
                at.remove(&mut changed);
            }
            ArgumentEdit::Clamp { at, min, max } => clamp(&mut changed, at, min.as_ref(), max.as_ref())?,
        }
    }
    Ok((changed != *arguments).then_some(changed))
}

fn clamp(target: &mut Value, at: &Pointer, min: Option<&Number>, max: Option<&Number>) -> Result<(), String> {
    let Some(value) = at.get_mut(target) else {
        // An absent argument takes the upper limit where there is one: the upstream's default may be higher.
        if let Some(limit) = max.or(min)
            && !at.set(target, Value::Number(limit.clone()))
        {
            return Err(format!("`{at}` cannot be limited in these arguments"));
        }
        return Ok(());
    };
    let Value::Number(number) = value else {
        return Err(format!("`{at}` is not a number and cannot be limited"));
    };
    let bound = match (min, max) {
        (_, Some(max)) if compare(number, max) == Some(Ordering::Greater) => Some(max),
        (Some(min), _) if compare(number, min) == Some(Ordering::Less) => Some(min),
        (_, _) => None,
    };
    if let Some(bound) = bound {
        *value = Value::Number(bound.clone());
    }
    Ok(())
}

/// Compares exactly where both are integers, else as doubles; what is no number at all is not less, so it is refused
/// by the caller's schema.
fn compare(a: &Number, b: &Number) -> Option<Ordering> {
    if let (Ok(a), Ok(b)) = (a.to_string().parse::<i128>(), b.to_string().parse::<i128>()) {
        return Some(a.cmp(&b));
    }
    a.to_string().parse::<f64>().ok()?.partial_cmp(&b.to_string().parse::<f64>().ok()?)
}

/// What one result needs to be told of its cuts, however many are made.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cut {
    /// The tool declares its structured content: a result without it can only be an error.
    declared: bool,
    /// The cut made an error of a call that succeeded, which has to be said.
    is_made_error: bool,
}

impl Cut {
    /// Of a result whose structured content is declared, or not.
    pub(crate) fn of(declared: bool) -> Self {
        Self { declared, is_made_error: false }
    }
}

/// Cuts a result so that its text is at most `max_bytes` long, and says so. Text is cut at characters; structured
/// content and embedded data that do not fit are dropped whole, since half of them would be wrong.
pub(crate) fn cut_result(result: &mut Value, max_bytes: u64, cut: &mut Cut) -> bool {
    let size = |value: &Value| serde_json::to_vec(value).map_or(u64::MAX, |bytes| bytes.len() as u64);
    if size(result) <= max_bytes {
        return false;
    }
    let mut budget = max_bytes;
    if let Some(structured) = result.get("structuredContent") {
        let needs = size(structured);
        let room = if cut.declared { budget.saturating_sub(FRAME) } else { budget / 2 };
        if needs > room
            && let Some(map) = result.as_object_mut()
        {
            map.shift_remove("structuredContent");
            if cut.declared && map.get("isError") != Some(&Value::Bool(true)) {
                map.insert("isError".into(), Value::Bool(true));
                cut.is_made_error = true;
            }
        } else {
            budget = budget.saturating_sub(needs);
        }
    }
    let made = if cut.is_made_error { MADE } else { "" };
    let mut dropped = 0u64;
    for member in ["content", "contents", "messages"] {
        let Some(Value::Array(items)) = result.get_mut(member) else { continue };
        let mut kept = Vec::new();
        for mut item in std::mem::take(items) {
            let needs = size(&item);
            if needs <= budget {
                budget -= needs;
                kept.push(item);
                continue;
            }
            match item.get_mut("text") {
                Some(Value::String(text)) if budget > 80 => {
                    let mut keep = usize::try_from(budget - 64).unwrap_or(usize::MAX).min(text.len());
                    while !text.is_char_boundary(keep) {
                        keep -= 1;
                    }
                    dropped += (text.len() - keep) as u64;
                    text.truncate(keep);
                    budget = 0;
                    kept.push(item);
                }
                Some(_) | None => dropped += needs,
            }
        }
        if (dropped > 0 || !made.is_empty()) && member == "content" {
            kept.push(
                json!({"type": "text", "text": format!("[cut by policy: {dropped} bytes left out{made}]")}),
            );
        }
        *items = kept;
    }
    // What stands elsewhere (another member, `_meta`, thousands of empty items) cannot be cut in part.
    let have = size(result);
    if have > max_bytes.saturating_add(NOTE) {
        *result = left_out(result, have, made);
    }
    true
}

/// What the note about a cut may take beyond the limit.
const NOTE: u64 = 150;
/// What a result takes beside its structured content and its text.
const FRAME: u64 = 120;
/// Said where a cut makes an error of a call that succeeded.
const MADE: &str = "; the call was made and succeeded: do not repeat it";

/// A result of the same kind without anything the upstream wrote.
fn left_out(result: &Value, bytes: u64, made: &str) -> Value {
    let note = format!("[cut by policy: {bytes} bytes left out{made}]");
    let mut rest = if let Some(Value::Array(_)) = result.get("contents") {
        json!({"contents": []})
    } else if result.get("completion").is_some() {
        json!({"completion": {"values": []}})
    } else if let Some(Value::Array(_)) = result.get("messages") {
        json!({"messages": [{"role": "user", "content": {"type": "text", "text": note}}]})
    } else {
        json!({"content": [{"type": "text", "text": note}]})
    };
    if let (Some(Value::Bool(failed)), Some(map)) = (result.get("isError"), rest.as_object_mut()) {
        map.insert("isError".into(), Value::Bool(*failed));
    }
    rest
}

/// Takes `tollgate/*` out of an upstream's error, where it would look like a refusal of Tollgate's own (I8).
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

    fn at(text: &str) -> Pointer {
        Pointer::parse(text).unwrap()
    }

    #[test]
    fn edits_are_made_or_refused() {
        let n = |text: &str| Some(text.parse::<Number>().unwrap());
        let check = |edit: ArgumentEdit, input: Value, expect: Result<Option<Value>, ()>| {
            assert_eq!(apply(&input, &[edit]).map_err(|_| ()), expect);
        };
        check(ArgumentEdit::Set(at("/a"), json!(1)), json!({}), Ok(Some(json!({"a": 1}))));
        check(ArgumentEdit::Set(at("/a"), json!(1)), json!({"a": 1}), Ok(None));
        check(ArgumentEdit::Set(at("/a/b"), json!(1)), json!({"a": 1}), Err(()));
        check(ArgumentEdit::Remove(at("/a")), json!({"a": 1, "b": 2}), Ok(Some(json!({"b": 2}))));
        check(ArgumentEdit::Remove(at("/a")), json!({}), Ok(None));
        let limit = |min: Option<Number>, max: Option<Number>| ArgumentEdit::Clamp { at: at("/n"), min, max };
        check(limit(None, n("10")), json!({"n": 11}), Ok(Some(json!({"n": 10}))));
        check(limit(n("1"), n("10")), json!({"n": 0}), Ok(Some(json!({"n": 1}))));
        check(limit(None, n("10")), json!({"n": 9.5}), Ok(None));
        check(limit(None, n("10")), json!({}), Ok(Some(json!({"n": 10}))));
        check(limit(None, n("10")), json!({"n": "9"}), Err(()));
        check(
            limit(None, n("9007199254740992")),
            json!({"n": 9007199254740993u64}),
            Ok(Some(json!({"n": 9007199254740992u64}))),
        );
    }

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
}
