//! Properties of deciding that hold for every bundle and every call, and not only for the
//! examples that somebody thought of.

#![expect(clippy::unwrap_used, reason = "a test file")]

#[path = "properties/conditions.rs"]
mod conditions;
#[path = "properties/reference.rs"]
mod reference;
#[path = "properties/replay.rs"]
mod replay;
#[path = "properties/world.rs"]
mod world;

use proptest::prelude::*;
use reference::reference;
use std::collections::BTreeSet;
use tollgate::{
    decision::{Verdict, explain, selected},
    model::Decision,
    policy::PolicyBody,
};
use world::{World, decided, facts, made, set, world};

fn dispatched(decision: Decision) -> bool {
    matches!(decision, Decision::Allow | Decision::AllowWithConstraints)
}

/// What of a verdict does not depend on the order of policies.
fn unordered(verdict: &Verdict) -> impl PartialEq + std::fmt::Debug + use<> {
    let mut steps: Vec<(String, Decision, bool)> = verdict
        .trace
        .steps
        .iter()
        // Which of two policies is told to contradict the other is a matter of order.
        .filter(|step| !step.reason.contains("changed in two ways"))
        .map(|step| (step.policy_id.to_string(), step.decision, step.shadow))
        .collect();
    steps.sort();
    let approvals: BTreeSet<String> = verdict.approvals.iter().map(|a| a.policy_id.to_string()).collect();
    let rates: BTreeSet<String> = verdict.limits.rates.iter().map(|r| r.policy_id.to_string()).collect();
    let mut constraints = verdict.constraints.clone();
    constraints.arguments.sort_by_key(|edit| format!("{edit:?}"));
    let constraints = format!("{constraints:?}");
    (
        verdict.decision,
        verdict.retry_after,
        verdict.remediation.is_some(),
        steps,
        approvals,
        rates,
        constraints,
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn a_naive_reference_agrees(world in world()) {
        prop_assert_eq!(decided(&world).decision, reference(&world));
    }

    /// R13.
    #[test]
    fn the_order_of_policies_does_not_matter((world, shuffled) in world().prop_flat_map(|world| {
        let shuffled = Just(world.policies.clone()).prop_shuffle();
        (Just(world), shuffled)
    })) {
        let other = World { policies: shuffled, ..world.clone() };
        prop_assert_eq!(unordered(&decided(&world)), unordered(&decided(&other)));
    }

    /// Where a policy, or authority, stopped the call or had it asked, no added policy without
    /// ALLOW weakens that. Where only the default did (nobody had spoken), an added policy lets
    /// the call through only by an ALLOW_WITH_CONSTRAINTS of its own, which is an allowing word.
    #[test]
    fn adding_a_rule_other_than_allow_never_lets_through(
        world in world(),
        mut added in made(false),
        place in any::<prop::sample::Index>(),
    ) {
        added.name = "added".into();
        let before = decided(&world);
        let mut more = world.clone();
        more.policies.insert(place.index(world.policies.len() + 1), added);
        let after = decided(&more);
        if &*before.policy_id != "default" {
            prop_assert!(after.decision >= before.decision, "{:?} then {:?}", before, after);
        } else if !dispatched(before.decision) && dispatched(after.decision) {
            prop_assert_eq!(after.decision, Decision::AllowWithConstraints);
            prop_assert_eq!(&*after.policy_id, "added");
        }
    }

    #[test]
    fn a_call_that_is_asked_or_safer_never_loses_a_requirement(world in world()) {
        let verdict = decided(&world);
        if verdict.decision == Decision::RequireApproval {
            let asking = verdict.trace.steps.iter().filter(|s| !s.shadow && s.decision == Decision::RequireApproval);
            let asking: Vec<_> = asking.map(|s| s.policy_id.clone()).collect();
            let kept: Vec<_> = verdict.approvals.iter().map(|a| a.policy_id.clone()).collect();
            prop_assert_eq!(asking, kept);
        }
    }

    #[test]
    fn the_index_finds_what_a_full_scan_finds(world in world()) {
        let set = set(&world);
        let facts = facts(&world.call);
        let selected = selected(&facts, None);
        let matching = |position: &usize| {
            let on = &set.policies[*position].on;
            on.is_empty() || on.iter().any(|entry| entry.matches(&selected))
        };
        let applies = |position: &usize| match &set.policies[*position].body {
            PolicyBody::Gate(_) => true,
            PolicyBody::Rulebook(book) => {
                book.agent_types.as_ref().is_none_or(|types| types.contains(&facts.agent.agent_type))
            }
        };
        let wanted = |position: &usize| matching(position) && applies(position);
        let found: Vec<usize> = set.index.candidates(&selected).into_iter().filter(wanted).collect();
        let scanned: Vec<usize> = (0..set.policies.len()).filter(wanted).collect();
        prop_assert_eq!(found, scanned);
    }

    /// Explaining renders what was decided, and every step of it.
    #[test]
    fn explaining_leaves_nothing_out(world in world()) {
        let verdict = decided(&world);
        let text = explain(&verdict);
        prop_assert!(text.starts_with(verdict.decision.as_str()));
        for step in &verdict.trace.steps {
            prop_assert!(text.contains(&*step.reason));
        }
    }
}
