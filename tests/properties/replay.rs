//! Deciding again: whatever a bundle says of a call, its record says enough to decide it once more (I11).

use crate::world::{World, facts, set, world};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::Arc;
use tollgate::{
    decision::{Facts, Verdict, decide, stricter},
    evidence::{self, EVALUATOR, Evaluated, steps},
    model::{Actor, EventDecision, EventDraft, EventType, MicroUsd},
    policy::{Agent, PolicySet, ToolFacts},
    replay::{Finding, Why, replay},
};

const TOOL: &str = "the-resolved-tool";

/// The bundle of a world, with the agent in its authority map, as a checked one has it.
fn bundle(world: &World, facts: &Facts) -> PolicySet {
    let mut set = set(world);
    let agent = Agent {
        id: facts.agent.id.clone(),
        agent_type: facts.agent.agent_type.clone(),
        role: facts.agent.role.clone(),
        tenant: facts.agent.tenant.clone(),
        owner: facts.agent.owner.clone(),
        operator: None,
        attended: facts.agent.attended,
        workflow: None,
        workflows: Vec::new(),
        model: None,
        autonomy: facts.agent.autonomy,
        max_catalog_tokens: None,
        capabilities: facts.capabilities.clone(),
        keys: Vec::new(),
        certificates: Vec::new(),
    };
    set.authority.agents.insert(agent.id.clone(), agent);
    set
}

fn evaluated<'e>(facts: &'e Facts, recorded: &'e Arc<Value>) -> Evaluated<'e> {
    let (name, action) = (&*facts.tool.name, &*facts.tool.action);
    Evaluated {
        facts,
        recorded,
        names: (name, name),
        actions: (action, action),
        tool: Some(TOOL),
        priced: (0, MicroUsd::ZERO),
    }
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// The record of a decision, as the gateway makes it; through its text, as a store gives it back.
fn recorded(verdict: &Verdict, rounds: &[(&Facts, Arc<Value>)]) -> EventDraft {
    let ((last, arguments), before) = rounds.split_last().unwrap();
    let earlier: Vec<Box<str>> = before
        .iter()
        .enumerate()
        .map(|(index, (facts, recorded))| evaluated(facts, recorded).earlier(index == 0))
        .collect();
    let mut event = EventDraft::system(EventType::AgentDecision, last.now);
    event.actor = Actor { kind: "agent".into(), role: None };
    event.agent_id = Some(last.agent.id.clone());
    event.tool = Some(last.tool.name.clone());
    event.action = Some(last.tool.action.clone());
    event.upstream = Some(last.tool.upstream.clone());
    event.cost_estimate_usd = Some(last.cost.estimate);
    event.sensitivity_level = last.data.level;
    event.labels = Some(last.data.labels.clone());
    event.evaluator = Some(EVALUATOR.into());
    event.decision = Some(verdict.decision.event_word());
    event.facts = Some(parsed(&evaluated(last, arguments).text(&earlier)));
    let original = before.first().map(|(_, recorded)| recorded);
    event.detail = Some(json!({
        "arguments": arguments,
        "original_arguments": original,
        "verdict": parsed(&evidence::verdict(verdict, "", "")),
        "steps": steps(&verdict.trace),
    }));
    EventDraft::from_body(&event.body()).unwrap()
}

fn again(event: &EventDraft, set: &PolicySet, tool: &ToolFacts) -> Finding {
    replay(event, set, &|hash| (hash == TOOL).then(|| tool.clone()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn a_decision_is_the_same_under_its_own_bundle(world in world()) {
        let facts = facts(&world.call);
        let set = bundle(&world, &facts);
        let event = recorded(&decide(&set, &facts), &[(&facts, facts.args.clone())]);
        prop_assert_eq!(again(&event, &set, &facts.tool), Finding::Same);
    }

    #[test]
    fn a_masked_value_never_makes_it_differ(world in world(), text in any::<bool>()) {
        let mut facts = facts(&world.call);
        if text && facts.args.get("n").is_some() {
            facts.args = Arc::new(json!({"n": "a secret"}));
        }
        let set = bundle(&world, &facts);
        let masked = match facts.args.get("n") {
            Some(_) => json!({"n": "[redacted:secret:8]"}),
            None => json!({}),
        };
        let event = recorded(&decide(&set, &facts), &[(&facts, Arc::new(masked))]);
        let finding = again(&event, &set, &facts.tool);
        prop_assert!(matches!(finding, Finding::Same | Finding::Unjudgeable(Why::Masked)), "{:?}", finding);
    }

    #[test]
    fn a_changed_call_is_the_same_with_all_its_evaluations(world in world(), n in 0..5i64, more in any::<bool>()) {
        let first = facts(&world.call);
        let set = bundle(&world, &first);
        let second = Facts { args: Arc::new(json!({"n": n})), remediated: true, ..first.clone() };
        let mut third = second.clone();
        third.cost.estimate.0 += 1;
        let mut verdict = stricter(decide(&set, &first), decide(&set, &second), &second);
        let mut rounds = vec![(&first, first.args.clone()), (&second, second.args.clone())];
        if more {
            verdict = stricter(verdict, decide(&set, &third), &third);
            rounds.push((&third, third.args.clone()));
        }
        let event = recorded(&verdict, &rounds);
        prop_assert_eq!(again(&event, &set, &first.tool), Finding::Same);
    }

    /// What was decided otherwise is found, whatever it was.
    #[test]
    fn another_verdict_differs(world in world()) {
        let facts = facts(&world.call);
        let set = bundle(&world, &facts);
        let verdict = decide(&set, &facts);
        let mut event = recorded(&verdict, &[(&facts, facts.args.clone())]);
        let other = if verdict.decision.event_word() == EventDecision::Deny { "allow" } else { "deny" };
        event.detail.as_mut().unwrap()["verdict"]["decision"] = json!(other);
        event.decision = EventDecision::parse(other);
        prop_assert!(matches!(again(&event, &set, &facts.tool), Finding::Differs(_)));
    }
}
