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

use proptest::{
    prelude::*,
    strategy::ValueTree as _,
    test_runner::{RngAlgorithm, TestRng, TestRunner},
};
use reference::{Told, reference};
use std::collections::BTreeSet;
use tollgate::{
    decision::{RuleCame, Verdict, decide, selected, tree},
    model::Decision,
    policy::{
        PolicyBody,
        condition::{Examined, Hidden, Surroundings},
    },
};
use world::{Dice, World, decided, facts, made, random_call, set, world};

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

    /// With what is smallest where it does not.
    #[test]
    fn a_naive_reference_agrees(world in world()) {
        prop_assert_eq!(Told::of(&decided(&world)), reference(&world, &world.call));
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

    /// R71: the tree tells of every policy whether it concerns the call, and of those that do what each of their rules came to;
    /// what applied is what had the outcome.
    #[test]
    fn explaining_leaves_nothing_out(world in world()) {
        let (set, facts) = (set(&world), facts(&world.call));
        let verdict = decided(&world);
        let hidden = Hidden::of(&facts.args, &[]);
        let on = Examined {
            facts: &facts, shown: &facts, hidden: &hidden, is_recorded: false, around: Surroundings { environment: &set.environment, capability: verdict.capability.as_ref() },
        };
        let told = tree(&set, &on, &verdict);
        prop_assert_eq!(told.policies.len(), set.policies.len());
        let lets_through = told.capabilities.iter().find(|one| one.result == RuleCame::Applies);
        prop_assert_eq!(lets_through.map(|one| &one.capability), verdict.capability.as_ref());
        for (policy, told) in set.policies.iter().zip(&told.policies) {
            let step = verdict.trace.steps.iter().find(|step| step.policy_id == policy.id);
            prop_assert_eq!(told.decision, step.map(|step| step.decision.event_word()));
            prop_assert_eq!(told.concerns, told.why_not.is_none());
            prop_assert!(told.concerns || step.is_none());
            let PolicyBody::Gate(rules) = &policy.body else { continue };
            if !told.concerns {
                continue;
            }
            prop_assert_eq!(told.rules.len(), rules.len());
            let applied = told.rules.iter().find(|rule| matches!(rule.result, RuleCame::Applies | RuleCame::Error));
            prop_assert_eq!(
                applied.and_then(|rule| rule.rule_id.as_ref()),
                step.and_then(|step| step.rule_id.as_ref())
            );
        }
    }
}

/// The reference and the core agree on a million pairs of bundle and call, or as many as `TOLLGATE_REFERENCE_PAIRS` says:
/// decision, policy, rule, capability, approvals, limits and waits (R13, R14). Each bundle is compiled once for many calls.
#[test]
fn a_naive_reference_agrees_on_a_million() {
    const CALLS: u64 = 500;
    let wanted = std::env::var("TOLLGATE_REFERENCE_PAIRS").ok().and_then(|count| count.parse::<u64>().ok());
    let bundles = wanted.unwrap_or(1_000_000).div_ceil(CALLS);
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get() as u64).min(4);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || {
                // The same bundles in every run, and others in each thread.
                let seed = [u8::try_from(thread).unwrap(); 32];
                let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
                let mut runner = TestRunner::new_with_rng(Default::default(), rng);
                let strategy = world();
                for number in (0..bundles).filter(|number| number % threads == thread) {
                    let mut world = strategy.new_tree(&mut runner).unwrap().current();
                    let set = set(&world);
                    let mut dice = Dice(number);
                    for _ in 0..CALLS {
                        let call = random_call(&mut dice);
                        let got = Told::of(&decide(&set, &facts(&call)));
                        let expected = reference(&world, &call);
                        if got != expected {
                            world.call = call;
                            panic!("{got:#?}\nnot {expected:#?}\nof {world:#?}");
                        }
                    }
                }
            });
        }
    });
}

/// Every word of the language decides something among the generated calls, so that agreeing on them says something.
#[test]
fn the_generated_calls_reach_every_outcome() {
    let mut runner = TestRunner::deterministic();
    let mut seen = BTreeSet::new();
    for number in 0..400 {
        let world = world().new_tree(&mut runner).unwrap().current();
        let mut dice = Dice(number);
        for _ in 0..20 {
            let told = reference(&world, &random_call(&mut dice));
            seen.insert(told.decision());
        }
    }
    assert_eq!(seen, Decision::ALL.iter().copied().collect());
}
