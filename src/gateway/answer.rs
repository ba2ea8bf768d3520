//! What an upstream answered, before the agent sees it: redacted, cut, rid of what its era does not know, and marked
//! where policy changed the call.

use super::{
    InForce, blocks, copies::Copies, decided::Decided, declared::hold, edits, edits::Cut, measures::Measures,
    result_rules::ResultRules, shape, target::Target,
};
use crate::{
    catalog::ToolSchema,
    cost::{Encoding, Tokenizer},
    model::{MicroUsd, RpcError, TraceId, pointer::Pointer},
    policy::Constraints,
    redaction::{Entry, Outbound},
    upstream::Era,
};
use serde_json::{Value, json};
use std::sync::Arc;

impl Measures {
    /// Redacts and cuts a result as data.yaml and the constraints say. It stays what its tool declares.
    pub(crate) fn limit_result(
        &self,
        rules: &mut ResultRules,
        result: &mut Value,
        constraints: &Constraints,
        (target, declared, era): (&Target, Option<&Arc<ToolSchema>>, Era),
        reserved: Option<Reserved>,
    ) -> Limited {
        let place = target.place();
        let claims = target.claims(result);
        let asks = result.get("resultType").and_then(Value::as_str) == Some("input_required");
        // Our own seal: it looks like a secret, and is none.
        let sealed = result.as_object_mut().filter(|_| asks).and_then(|map| map.shift_remove("requestState"));
        let declared = shape::declared_to(era, declared);
        let mut original = rules.conceal(result);
        let (outbound, entry) =
            rules.inspect(result, (&place, &claims), &constraints.redact, declared.is_some());
        match outbound {
            Outbound::Unchanged => {}
            Outbound::Changed(changed) => {
                let before = std::mem::replace(result, changed);
                original.get_or_insert(before);
            }
            Outbound::Blocked(reason) => {
                *result = in_place(result, target, withheld(&reason));
                return Limited::uncut(entry);
            }
        }
        if let (Some(original), Some(schema)) = (original, declared) {
            let copies = Copies::of(result);
            hold(schema, &original, result);
            copies.renew(result);
        }
        if asks {
            // A question is no result: it has nothing that would have to be cut, and where there is a limit no `_meta`.
            let limited = constraints.max_result_bytes.is_some()
                || token_limits(constraints, reserved).next().is_some();
            if let Some(map) = result.as_object_mut() {
                map.retain(|name, _| match name.as_str() {
                    "resultType" | "inputRequests" => true,
                    "_meta" => !limited,
                    _ => false,
                });
                map.extend(sealed.map(|sealed| ("requestState".to_owned(), sealed)));
            }
            return Limited::uncut(entry);
        }
        blocks::put_right(result, target.uri());
        shape::show_structured(era, declared, result);
        let mut is_cut = false;
        let mut cut = Cut::of(declared.is_some());
        if let Some(bytes) = constraints.max_result_bytes {
            is_cut |= edits::cut_result(result, bytes, &mut cut);
        }
        if let Some(limit) = stated(constraints) {
            is_cut |= self.cut_to_tokens(result, limit, &mut cut).is_some();
        }
        let whole = reserved.and_then(|reserved| self.cut_to_tokens(result, reserved, &mut cut));
        Limited { cut: is_cut || whole.is_some(), whole, entry }
    }

    /// Says how many tokens it had, where it was cut. A token is at least a byte: a result of so many bytes is within the limit
    /// for certain; a longer one is counted.
    fn cut_to_tokens(
        &self,
        result: &mut Value,
        Reserved { tokenizer, tokens }: Reserved,
        cut: &mut Cut,
    ) -> Option<u64> {
        let count = |value: &Value| {
            let text = serde_json::to_string(value).unwrap_or_default();
            (self.tokens.count_for(tokenizer, &text), text.len() as u64)
        };
        let (whole, bytes) = count(result);
        if whole <= tokens {
            return None;
        }
        // Each try begins with the whole, so that what is left is as much as fits.
        let (mut least, mut most) = (0, bytes);
        let mut aim = proportion(bytes, tokens, whole);
        let mut best = None;
        for _ in 0..TRIES {
            aim = aim.min(most.saturating_sub(1));
            if aim <= least {
                break;
            }
            let (mut tried, mut told) = (result.clone(), *cut);
            edits::cut_result(&mut tried, aim, &mut told);
            let (have, _) = count(&tried);
            if have > tokens {
                most = aim;
                aim = proportion(aim, tokens, have).max(least.saturating_add(most.saturating_sub(least) / 2));
            } else {
                best = Some((tried, told));
                if have >= tokens.saturating_sub(tokens / 16) {
                    break;
                }
                least = aim;
                aim = proportion(aim, tokens, have);
            }
        }
        if let Some((fits, told)) = best {
            (*result, *cut) = (fits, told);
            return Some(whole);
        }
        let bytes = tokens.saturating_mul(1000) / u64::from(tokenizer.multiplier_milli.max(1000));
        edits::cut_result(result, bytes, cut).then_some(whole)
    }
}

/// How often a cut is tried for what fits best.
const TRIES: usize = 8;

fn proportion(bytes: u64, tokens: u64, have: u64) -> u64 {
    u64::try_from(u128::from(bytes) * u128::from(tokens) / u128::from(have.max(1))).unwrap_or(u64::MAX)
}

/// So many tokens, as this tokenizer counts them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reserved {
    pub(crate) tokenizer: Tokenizer,
    pub(crate) tokens: u64,
}

/// A constraint counts as the public encoding does, a reservation as it was made: for the agent's model.
fn token_limits(constraints: &Constraints, reserved: Option<Reserved>) -> impl Iterator<Item = Reserved> {
    stated(constraints).into_iter().chain(reserved)
}

/// What a constraint lets through.
fn stated(constraints: &Constraints) -> Option<Reserved> {
    let tokenizer = Tokenizer { encoding: Encoding::O200kBase, multiplier_milli: 1000 };
    constraints.max_result_tokens.map(|tokens| Reserved { tokenizer, tokens })
}

/// What is said in a result's place, in the form that clients read of its kind.
fn in_place(result: &Value, target: &Target, text: String) -> Value {
    let block = json!({"type": "text", "text": text});
    if result.get("contents").is_some() {
        return json!({"contents": [{"uri": target.uri().unwrap_or_default(), "mimeType": "text/plain", "text": text}]});
    }
    if result.get("messages").is_some() {
        return json!({"messages": [{"role": "user", "content": block}]});
    }
    if result.get("completion").is_some() {
        return json!({"completion": {"values": []}});
    }
    json!({"content": [block], "isError": true})
}

fn withheld(reason: &str) -> String {
    format!("The result was withheld by the data policy: {reason}.")
}

impl Measures {
    /// Redacts and cuts an upstream's error as if it were a result: it is as much text of the upstream's.
    pub(crate) fn limit_error(
        &self,
        rules: &mut ResultRules,
        error: &mut RpcError,
        constraints: &Constraints,
        target: &Target,
        reserved: Option<Reserved>,
    ) -> Limited {
        let entry = redact_error(rules, error, target, &constraints.redact);
        if constraints.max_result_bytes.is_none() && token_limits(constraints, reserved).next().is_none() {
            return Limited::uncut(entry);
        }
        let whole = |error: &RpcError| json!([error.message, error.data]);
        let text = serde_json::to_string(&whole(error)).unwrap_or_default();
        let fits = |text: &str| {
            constraints.max_result_bytes.is_none_or(|most| text.len() as u64 <= most)
                && token_limits(constraints, reserved)
                    .all(|limit| self.tokens.count_for(limit.tokenizer, text) <= limit.tokens)
        };
        if fits(&text) {
            return Limited::uncut(entry);
        }
        error.data = None;
        let mut cut = Cut::default();
        let mut carrier = json!({"content": [{"type": "text", "text": error.message}]});
        if let Some(bytes) = constraints.max_result_bytes {
            edits::cut_result(&mut carrier, bytes, &mut cut);
        }
        for limit in token_limits(constraints, reserved) {
            self.cut_to_tokens(&mut carrier, limit, &mut cut);
        }
        let parts = carrier.pointer("/content").and_then(Value::as_array).into_iter().flatten();
        let kept: Vec<&str> = parts.filter_map(|part| part.get("text")).filter_map(Value::as_str).collect();
        error.message = kept.join(" ");
        Limited { cut: true, whole: None, entry }
    }
}

/// What became of something that an upstream sent.
pub(crate) struct Limited {
    /// A part of it was cut off.
    pub(crate) cut: bool,
    /// How many tokens it had, where it was cut at what was reserved.
    pub(crate) whole: Option<u64>,
    /// What it was labelled with as it came in.
    pub(crate) entry: Entry,
}

impl Limited {
    pub(crate) fn uncut(entry: Entry) -> Self {
        Self { cut: false, whole: None, entry }
    }
}

/// An upstream's error under the same data rules as its results.
fn redact_error(rules: &mut ResultRules, error: &mut RpcError, target: &Target, redact: &[Pointer]) -> Entry {
    let told = json!({"message": error.message, "data": error.data});
    let claims = error.data.as_ref().map(|data| target.claims(data)).unwrap_or_default();
    let (changed, entry) = rules.limit(told, (&target.place(), &claims), redact);
    let changed = changed.unwrap_or_else(|why| json!({"message": withheld(&why)}));
    error.message = changed.get("message").and_then(Value::as_str).unwrap_or_default().to_owned();
    error.data = changed.get("data").filter(|data| !data.is_null()).cloned();
    entry
}

/// Members that only results of 2026-07-28 have; an earlier client does not know them.
pub(crate) fn strip_modern(result: &mut Value) {
    let Some(map) = result.as_object_mut() else { return };
    for member in ["resultType", "ttlMs", "cacheScope"] {
        map.shift_remove(member);
    }
    if let Some(Value::Object(meta)) = map.get_mut("_meta") {
        meta.shift_remove("io.modelcontextprotocol/serverInfo");
        if meta.is_empty() {
            map.shift_remove("_meta");
        }
    }
}

/// What an agent is told whose call was changed: by whom, why, and what was called in place of it.
pub(crate) fn change_notice(decided: &Decided, trace_id: TraceId, in_force: &InForce) -> Value {
    let (policy, rule, reason) = decided.attribution();
    let mut told = json!({
        "decision": if decided.applied.is_some() { "remediate" } else { "allow_with_constraints" },
        "policy_id": policy,
        "rule_id": rule,
        "reason": format!("policy changed the call before it was made: {reason}"),
        "trace_id": trace_id,
        "policy_snapshot": in_force.policies.snapshot,
        "dispatched": {
            "tool": decided.prepared.target.full(),
            "arguments": decided.prepared.recorded,
        },
    });
    if let (Some(applied), Some(map)) = (&decided.applied, told.as_object_mut()) {
        let remediation = json!({
            "mode": "apply",
            "tool": decided.prepared.target.full(),
            "arguments": decided.prepared.recorded,
            "reason": applied.remediation.reason,
        });
        map.shift_remove("dispatched");
        map.insert("remediation".into(), remediation);
    }
    told
}

/// Tells the agent that its call was changed, where that is not plain from the result.
pub(crate) fn attach_change(result: &mut Value, told: Value) {
    let Some(map) = result.as_object_mut() else { return };
    let meta = map.entry("_meta").or_insert_with(|| json!({}));
    if let Some(meta) = meta.as_object_mut() {
        meta.insert("tollgate/decision".into(), told);
    }
}

/// The most that one call is taken to have cost: a billion USD, so that no sum of such amounts wraps round.
const MOST_REPORTED: MicroUsd = MicroUsd(1_000_000_000_000_000);

/// `_meta.cost_usd` of a result, never below zero; what an upstream states more exactly than it is counted is rounded up,
/// and what is beyond all counting is the most there is.
pub(crate) fn reported_cost(result: &Value) -> Option<MicroUsd> {
    let text = result.get("_meta")?.get("cost_usd")?.as_number()?.to_string();
    let cost = MicroUsd::parse_up(&text).unwrap_or_else(|_| match text.parse::<f64>() {
        Ok(amount) if amount <= 0.0 => MicroUsd::ZERO,
        Ok(amount) if amount < 1e9 => {
            MicroUsd::parse_up(&format!("{amount:.6}")).map_or(MOST_REPORTED, |cost| cost.plus(MicroUsd(1)))
        }
        Ok(_) | Err(_) => MOST_REPORTED,
    });
    Some(cost.clamp(MicroUsd::ZERO, MOST_REPORTED))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reported_cost_saturates() {
        let check = |cost: &str, expect: Option<i64>| {
            let result = serde_json::from_str(&format!(r#"{{"_meta":{{"cost_usd":{cost}}}}}"#)).unwrap();
            assert_eq!(reported_cost(&result).map(|cost| cost.0), expect, "{cost}");
        };
        check("0.25", Some(250_000));
        check("-3", Some(0));
        check("-7e300", Some(0));
        check("0.00000000000000000000000000000000000000000000001", Some(1));
        check("1.00000000000000000000000000000000000000000000001", Some(1_000_001));
        for much in
            ["8e18", "3e399", "9223372036854775807", "9223372036854", "123456789012345678901234567890"]
        {
            check(much, Some(MOST_REPORTED.0));
        }
        check("\"1\"", None);
    }
}
