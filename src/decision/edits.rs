//! Changing arguments as a constraint or a remediation says.

use crate::{model::pointer::Pointer, policy::ArgumentEdit};
use serde_json::{Number, Value};
use std::cmp::Ordering;

/// The arguments after these edits, in order; `None` where they change nothing. An edit that cannot be made is an error: a
/// limit that is not enforced is none.
pub fn edited(arguments: &Value, edits: &[ArgumentEdit]) -> Result<Option<Value>, String> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn at(text: &str) -> Pointer {
        Pointer::parse(text).unwrap()
    }

    #[test]
    fn edits_are_made_or_refused() {
        let n = |text: &str| Some(text.parse::<Number>().unwrap());
        let check = |edit: ArgumentEdit, input: Value, expect: Result<Option<Value>, ()>| {
            assert_eq!(edited(&input, &[edit]).map_err(|_| ()), expect);
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
}
