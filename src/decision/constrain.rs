//! Constraints of several policies hold together: the tighter limit, every edit, every redaction.
//! Edits of one place that cannot hold together deny, so that the order of policies decides nothing.

use crate::{
    model::{PolicyId, pointer::Pointer},
    policy::{ArgumentEdit, Constraints},
};
use serde_json::Number;
use std::cmp::Ordering;

/// Two policies want what cannot both be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Conflict {
    /// The policy that came second.
    pub(super) policy_id: PolicyId,
    pub(super) reason: String,
}

/// The intersection of all, and the first conflict.
pub(super) fn intersect(all: &[(PolicyId, &Constraints)]) -> (Constraints, Option<Conflict>) {
    let mut merged = Constraints::default();
    let mut conflict = None;
    let mut clamps: Vec<(&PolicyId, Clamp)> = Vec::new();
    let mut edits: Vec<(&PolicyId, &ArgumentEdit)> = Vec::new();
    for (policy_id, constraints) in all {
        merged.timeout = tighter(merged.timeout, constraints.timeout);
        merged.max_cost = tighter(merged.max_cost, constraints.max_cost);
        merged.max_result_tokens = tighter(merged.max_result_tokens, constraints.max_result_tokens);
        merged.max_result_bytes = tighter(merged.max_result_bytes, constraints.max_result_bytes);
        merged.read_only |= constraints.read_only;
        for pointer in &constraints.redact {
            if !merged.redact.contains(pointer) {
                merged.redact.push(pointer.clone());
            }
        }
        for edit in &constraints.arguments {
            let clash = edits.iter().find(|(other, before)| *other != policy_id && clashes(before, edit));
            if let Some((other, _)) = clash {
                conflict.get_or_insert_with(|| told(policy_id, other, place(edit)));
            }
            edits.push((policy_id, edit));
            match edit {
                ArgumentEdit::Clamp { at, min, max } => {
                    let wanted = Clamp { at: at.clone(), min: min.clone(), max: max.clone() };
                    match clamps.iter_mut().find(|(_, clamp)| clamp.at == *at) {
                        Some((first, clamp)) => {
                            clamp.narrow(wanted);
                            if clamp.empty() {
                                conflict.get_or_insert_with(|| told(policy_id, first, at));
                            }
                        }
                        None => clamps.push((policy_id, wanted)),
                    }
                }
                ArgumentEdit::Set(..) | ArgumentEdit::Remove(_) => {
                    if !merged.arguments.contains(edit) {
                        merged.arguments.push(edit.clone());
                    }
                }
            }
        }
    }
    // Clamps come last: they hold whatever else was set.
    merged.arguments.extend(clamps.into_iter().map(|(_, clamp)| clamp.into_edit()));
    (merged, conflict)
}

fn told(policy_id: &PolicyId, other: &PolicyId, at: &Pointer) -> Conflict {
    let reason = format!("policies {other} and {policy_id} want argument `{at}` changed in two ways");
    Conflict { policy_id: policy_id.clone(), reason }
}

fn tighter<T: Ord>(a: Option<T>, b: Option<T>) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

fn place(edit: &ArgumentEdit) -> &Pointer {
    match edit {
        ArgumentEdit::Set(at, _) | ArgumentEdit::Remove(at) | ArgumentEdit::Clamp { at, .. } => at,
    }
}

/// The tokens of what an edit disturbs: removing an element moves its neighbours.
fn touched(edit: &ArgumentEdit) -> &[String] {
    let tokens = place(edit).tokens();
    match (edit, tokens.split_last()) {
        (ArgumentEdit::Remove(_), Some((last, parent))) if last.bytes().all(|b| b.is_ascii_digit()) => parent,
        _ => tokens,
    }
}

fn clashes(a: &ArgumentEdit, b: &ArgumentEdit) -> bool {
    let (a_tokens, b_tokens) = (touched(a), touched(b));
    if !a_tokens.starts_with(b_tokens) && !b_tokens.starts_with(a_tokens) {
        return false;
    }
    let same_place = place(a) == place(b);
    match (a, b) {
        // Taking one element twice takes two.
        (ArgumentEdit::Remove(at), ArgumentEdit::Remove(_)) if same_place => touched(a) != at.tokens(),
        (ArgumentEdit::Set(_, a), ArgumentEdit::Set(_, b)) if same_place => a != b,
        // Whether two clamps can both hold is found when they are narrowed.
        (ArgumentEdit::Clamp { .. }, ArgumentEdit::Clamp { .. }) if same_place => false,
        (ArgumentEdit::Set(_, value), ArgumentEdit::Clamp { min, max, .. })
        | (ArgumentEdit::Clamp { min, max, .. }, ArgumentEdit::Set(_, value))
            if same_place =>
        {
            !value.as_number().is_some_and(|number| {
                min.as_ref().is_none_or(|min| order(min, number) != Ordering::Greater)
                    && max.as_ref().is_none_or(|max| order(max, number) != Ordering::Less)
            })
        }
        _ => true,
    }
}

struct Clamp {
    at: Pointer,
    min: Option<Number>,
    max: Option<Number>,
}

impl Clamp {
    fn narrow(&mut self, other: Self) {
        let pick = |a: Option<Number>, b: Option<Number>, wanted: Ordering| match (a, b) {
            (Some(a), Some(b)) => Some(if order(&a, &b) == wanted { a } else { b }),
            (a, b) => a.or(b),
        };
        self.min = pick(self.min.take(), other.min, Ordering::Greater);
        self.max = pick(self.max.take(), other.max, Ordering::Less);
    }

    fn empty(&self) -> bool {
        matches!((&self.min, &self.max), (Some(min), Some(max)) if order(min, max) == Ordering::Greater)
    }

    fn into_edit(self) -> ArgumentEdit {
        ArgumentEdit::Clamp { at: self.at, min: self.min, max: self.max }
    }
}

/// Exact between whole numbers, that of doubles otherwise.
fn order(a: &Number, b: &Number) -> Ordering {
    match (a.as_i128(), b.as_i128()) {
        (Some(a), Some(b)) => a.cmp(&b),
        _ => a.as_f64().unwrap_or(f64::NAN).total_cmp(&b.as_f64().unwrap_or(f64::NAN)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn edit(kind: &str, at: &str, value: serde_json::Value) -> ArgumentEdit {
        let at = Pointer::parse(at).unwrap();
        let number = |key: &str| value.get(key).and_then(|v| v.as_number()).cloned();
        match kind {
            "set" => ArgumentEdit::Set(at, value),
            "remove" => ArgumentEdit::Remove(at),
            _ => ArgumentEdit::Clamp { at, min: number("min"), max: number("max") },
        }
    }

    fn with(edits: Vec<ArgumentEdit>) -> Constraints {
        Constraints { arguments: edits, ..Constraints::default() }
    }

    #[test]
    fn the_tighter_limit_holds() {
        let a = Constraints {
            timeout: Some(std::time::Duration::from_secs(5)),
            max_result_bytes: Some(100),
            redact: vec![Pointer::parse("/a").unwrap()],
            ..Constraints::default()
        };
        let b = Constraints {
            timeout: Some(std::time::Duration::from_secs(3)),
            max_result_tokens: Some(7),
            read_only: true,
            redact: vec![Pointer::parse("/a").unwrap(), Pointer::parse("/b").unwrap()],
            ..Constraints::default()
        };
        let (merged, conflict) = intersect(&[("a".into(), &a), ("b".into(), &b)]);
        assert_eq!(conflict, None);
        assert_eq!(merged.timeout, Some(std::time::Duration::from_secs(3)));
        assert_eq!(
            (merged.max_result_bytes, merged.max_result_tokens, merged.read_only),
            (Some(100), Some(7), true)
        );
        assert_eq!(merged.redact.len(), 2);
    }

    #[test]
    fn edits_that_cannot_hold_together_are_found_in_either_order() {
        let check = |a: ArgumentEdit, b: ArgumentEdit, expect: bool| {
            let (first, second) = (with(vec![a.clone()]), with(vec![b.clone()]));
            let there = intersect(&[("a".into(), &first), ("b".into(), &second)]).1;
            let back = intersect(&[("b".into(), &second), ("a".into(), &first)]).1;
            assert_eq!((there.is_some(), back.is_some()), (expect, expect), "{a:?} {b:?}");
        };
        let set = |at: &str, value| edit("set", at, value);
        let remove = |at: &str| edit("remove", at, json!(null));
        let clamp = |at: &str, value| edit("clamp", at, value);
        check(set("/a", json!(1)), set("/a", json!(1)), false);
        check(set("/a", json!(1)), set("/a", json!(2)), true);
        check(set("/a", json!(1)), set("/b", json!(2)), false);
        check(set("/a", json!({"b": 1})), set("/a/b", json!(2)), true);
        check(set("/a", json!(1)), remove("/a"), true);
        check(remove("/a"), remove("/a"), false);
        check(remove("/list/0"), remove("/list/0"), true);
        check(remove("/list/0"), set("/list/1", json!(1)), true);
        check(remove("/list/0"), set("/other/1", json!(1)), false);
        check(clamp("/n", json!({"max": 10})), clamp("/n", json!({"min": 5})), false);
        check(clamp("/n", json!({"max": 10})), clamp("/n", json!({"min": 11})), true);
        check(clamp("/n", json!({"max": 10})), set("/n", json!(7)), false);
        check(clamp("/n", json!({"max": 10})), set("/n", json!(70)), true);
        check(clamp("/n", json!({"max": 10})), set("/n", json!("7")), true);
        check(clamp("/n", json!({"max": 10})), remove("/n"), true);
    }

    #[test]
    fn clamps_narrow_and_come_last() {
        let a = with(vec![edit("clamp", "/n", json!({"min": 1, "max": 10})), edit("set", "/m", json!(1))]);
        let b = with(vec![edit("clamp", "/n", json!({"min": 3, "max": 20})), edit("set", "/m", json!(1))]);
        let (merged, conflict) = intersect(&[("a".into(), &a), ("b".into(), &b)]);
        assert_eq!(conflict, None);
        assert_eq!(
            merged.arguments,
            [edit("set", "/m", json!(1)), edit("clamp", "/n", json!({"min": 3, "max": 10}))]
        );
    }
}
