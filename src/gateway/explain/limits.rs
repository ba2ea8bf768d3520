//! Budgets and limits per minute as they stand: whether a call that policies let through has room. They are read, not counted.

use super::{
    answer::{self, Explanation, LimitView, LoopView},
    decided::Ground,
    render::unit,
};
use crate::{
    admission::{identical, window},
    cost::{BudgetAction, BudgetWindow},
    decision::ApprovalRequirement,
    gateway::{admit::budget_approval, decided::Decided},
    model::{Decision, EventDecision, MicroUsd, PersonId, PolicyId},
    policy::{LoopKind, LoopRule, LoopRules, Violation},
    store::BudgetUsage,
};
use serde_json::{Value, json};

/// Adds the limits that count the call, and what the first one that is full says of it.
pub(super) fn add(
    told: &mut Explanation,
    ground: Ground<'_>,
    decided: &Decided,
    operator: Option<&PersonId>,
) {
    let verdict = &decided.verdict;
    told.limits = limits(ground, decided);
    let looping = loops(told, ground, decided);
    if verdict.decision > Decision::AllowWithConstraints {
        return;
    }
    // Strictest first, as admission looks at them: deny, a loop, throttle, ask.
    let first = |above: EventDecision| told.limits.iter().find(|limit| limit.full && limit.above == above);
    let (decision, policy_id, reason) = match (
        first(EventDecision::Deny),
        looping,
        first(EventDecision::Throttle),
        first(EventDecision::PendingApproval),
    ) {
        (Some(limit), _, _, _) | (None, None, Some(limit), _) | (None, None, None, Some(limit)) => {
            (limit.above, limit.policy_id.clone(), sentence(limit))
        }
        (None, Some(reason), _, _) => (EventDecision::Throttle, PolicyId::from("loop"), reason),
        (None, None, None, None) => return,
    };
    if decision == EventDecision::PendingApproval {
        let asks = ApprovalRequirement {
            policy_id: policy_id.clone(),
            rule_id: None,
            rule: budget_approval(),
            reason: reason.as_str().into(),
        };
        told.ask(std::iter::once(answer::approval(&ground.in_force.policies, operator, &asks)));
    }
    if let Value::Array(steps) = &mut told.steps {
        steps.push(json!({
            "policy_id": policy_id, "rule_id": null, "decision": decision, "reason": reason, "limit": true,
        }));
    }
    (told.decision, told.policy_id, told.rule_id, told.reason) = (decision, policy_id, None, reason);
}

/// Adds the rules about loops, and says what the first one says that is full. Without a store only identical calls are known,
/// as this process has seen them, or as the question states them.
fn loops(told: &mut Explanation, ground: Ground<'_>, decided: &Decided) -> Option<String> {
    let (limits, prepared) = (&decided.verdict.limits, &decided.prepared);
    let LoopRules { errors, alternating, similar, fan_out } = limits.loops;
    let repeats = u32::try_from(prepared.facts.call.repeats).unwrap_or(u32::MAX);
    if let Some(seen) = ground.loops {
        let mut full = None;
        for one in seen {
            let seen = match one.check.kind {
                LoopKind::Identical => one.seen.max(repeats),
                _ => one.seen,
            };
            let LoopRule { count, window_s } = one.check.rule;
            let of = if one.check.of_workflow { "workflow" } else { "agent" };
            let is_full = seen >= count;
            told.loops.push(LoopView {
                kind: one.check.kind.as_str(),
                of,
                window_s,
                seen: Some(seen),
                max: count,
                full: is_full,
            });
            if is_full && full.is_none() {
                full = Some(one.check.sentence(&prepared.facts.agent.id, &prepared.shown, seen));
            }
        }
        return full;
    }
    let rule = |kind: LoopKind, of, rule: LoopRule, seen: Option<u32>| LoopView {
        kind: kind.as_str(),
        of,
        window_s: rule.window_s,
        seen,
        max: rule.count,
        full: seen.is_some_and(|seen| seen >= rule.count),
    };
    let same = limits.max_repeats.map(|count| LoopRule { count, window_s: 60 });
    told.loops.extend(same.map(|same| rule(LoopKind::Identical, "agent", same, Some(repeats))));
    let unseen = [
        (LoopKind::Errors, "agent", errors),
        (LoopKind::Alternating, "agent", alternating),
        (LoopKind::Similar, "agent", similar),
        (LoopKind::FanOut, "agent", fan_out),
        (LoopKind::FanOut, "workflow", fan_out.filter(|_| prepared.workflow.is_some())),
    ];
    told.loops
        .extend(unseen.into_iter().filter_map(|(kind, of, stated)| Some(rule(kind, of, stated?, None))));
    limits.max_repeats.filter(|most| repeats >= *most).map(|most| identical(repeats, most))
}

fn sentence(limit: &LimitView) -> String {
    let LimitView { policy_id, key, window, .. } = limit;
    let used = |used: Option<String>, most: Option<String>, what: &str| {
        let most = most?;
        Some(format!("{} of {most} {}", used?, unit(&most, what)))
    };
    let parts: Vec<String> = [
        used(limit.used_calls.map(|n| n.to_string()), limit.max_calls.map(|n| n.to_string()), "call"),
        used(limit.used_tokens.map(|n| n.to_string()), limit.max_tokens.map(|n| n.to_string()), "token"),
        used(limit.used_cost_usd.map(|n| n.to_string()), limit.max_cost_usd.map(|n| n.to_string()), "USD"),
    ]
    .into_iter()
    .flatten()
    .collect();
    format!("`{policy_id}` has no room for the call: `{key}` has used {} ({window})", parts.join(", "))
}

/// What a strict budget needs room for, and what others do, in tokens and money: as admission asks for it.
fn needs(ground: Ground<'_>, decided: &Decided) -> [(u64, MicroUsd); 2] {
    let prepared = &decided.prepared;
    let policies = &ground.in_force.policies;
    let agent = policies.authority.agents.get(&prepared.facts.agent.id);
    let model = agent.and_then(|agent| agent.model.as_deref());
    let (arguments, most) = (prepared.estimate.argument_tokens, prepared.most_result_tokens);
    let elastic = policies.prices.elastic(model, arguments, most, prepared.tool_price);
    let cost = &prepared.facts.cost;
    [(elastic.least_tokens, elastic.least_cost), (cost.tokens, cost.estimate)]
}

fn limits(ground: Ground<'_>, decided: &Decided) -> Vec<LimitView> {
    let verdict = &decided.verdict;
    let prepared = &decided.prepared;
    let agent = prepared.facts.agent.id.as_str();
    let rates = verdict.limits.rates.iter().map(|rate| LimitView {
        policy_id: rate.policy_id.clone(),
        key: agent.to_owned(),
        window: "minute",
        used_calls: None,
        used_tokens: None,
        used_cost_usd: None,
        max_calls: rate.max_calls,
        max_tokens: None,
        max_cost_usd: rate.max_cost,
        above: match rate.on_violation {
            Violation::Throttle => EventDecision::Throttle,
            Violation::Deny => EventDecision::Deny,
        },
        full: false,
    });
    let budgets = verdict.limits.budgets.iter().map(|budget| LimitView {
        policy_id: budget.id.clone(),
        // What a resource is counted under may hold a secret.
        key: match *budget.key == **prepared.target.full() {
            true => prepared.shown.to_string(),
            false => budget.key.to_string(),
        },
        window: window::word(budget.window),
        used_calls: None,
        used_tokens: None,
        used_cost_usd: None,
        max_calls: budget.max_calls,
        max_tokens: budget.max_tokens,
        max_cost_usd: budget.max_cost,
        above: match budget.on_exceed {
            BudgetAction::Throttle => EventDecision::Throttle,
            BudgetAction::Deny => EventDecision::Deny,
            BudgetAction::RequireApproval => EventDecision::PendingApproval,
        },
        full: false,
    });
    let mut all: Vec<LimitView> = rates.chain(budgets).collect();
    let Some((now, usage)) = ground.usage else { return all };
    let [least, whole] = needs(ground, decided);
    let minutes = verdict.limits.rates.iter().map(|_| ((BudgetWindow::Minute, None), whole));
    let windows = verdict.limits.budgets.iter().map(|budget| {
        let need = if budget.strict { least } else { whole };
        ((budget.window, budget.zone.as_ref()), need)
    });
    for (limit, (window, (tokens, cost))) in all.iter_mut().zip(minutes.chain(windows)) {
        let standing = BudgetUsage::of(usage, (&limit.policy_id, &limit.key), window, now);
        let (calls, used_tokens, used_cost) =
            standing.map_or((0, 0, MicroUsd::ZERO), |at| (at.calls, at.tokens, at.cost_usd));
        limit.used_calls = Some(calls);
        limit.used_tokens = Some(used_tokens);
        limit.used_cost_usd = Some(used_cost);
        limit.full = limit.max_calls.is_some_and(|most| calls.saturating_add(1) > most)
            || limit.max_tokens.is_some_and(|most| used_tokens.saturating_add(tokens) > most)
            || limit.max_cost_usd.is_some_and(|most| used_cost.plus(cost) > most);
    }
    all
}
