use super::{rules::*, *};
use crate::{
    model::{AgentId, MicroUsd},
    policy::{Approver, Authority, Person, Role},
    store::{ApprovalAnswer, ApprovalBinding, ApprovalRecord, Requirement},
};
use jiff::Timestamp;
use std::collections::BTreeMap;

fn at(minute: u32) -> Timestamp {
    format!("2026-01-01T00:{minute:02}:00Z").parse().unwrap()
}

fn authority() -> Authority {
    let person = |name: &str, groups: &[&str], roles: &[Role]| {
        let id = PersonId::from(name);
        let groups = groups.iter().map(|g| (*g).into()).collect();
        (id.clone(), Person { id, keys: vec![], groups, roles: roles.to_vec(), capabilities: None })
    };
    Authority {
        people: BTreeMap::from([
            person("alice", &["platform"], &[Role::Approver]),
            person("bob", &["security"], &[Role::Approver, Role::Auditor]),
            person("carol", &["security"], &[Role::Approver]),
            person("root", &["security"], &[Role::Admin]),
            person("olga", &[], &[Role::Approver]),
        ]),
        ..Authority::default()
    }
}

fn requirement(approvers: Vec<Approver>) -> Requirement {
    Requirement {
        policy_id: "p".into(),
        rule_id: None,
        reason: "r".into(),
        approvers,
        quorum: 1,
        evidence_required: false,
        separate: false,
        channels: ChannelKind::ALL.to_vec(),
        escalation: None,
        grants: None,
    }
}

fn group(name: &str) -> Approver {
    Approver::Group(name.into())
}

fn record(requirements: Vec<Requirement>) -> ApprovalRecord {
    ApprovalRecord {
        id: "a".into(),
        version: 0,
        status: ApprovalStatus::Pending,
        binding: ApprovalBinding {
            agent: AgentId::from("agent"),
            user: None,
            workflow: None,
            tool: "t".into(),
            fingerprint: "f".into(),
            digest: "d".into(),
            call: "c".into(),
            snapshot: "s".into(),
        },
        call_id: "c".into(),
        trace_id: crate::model::TraceId::from_bytes([1; 16]),
        workflow_id: None,
        capability_id: None,
        upstream: "u".into(),
        action: "u:t".into(),
        arguments: serde_json::json!({}),
        redacted: false,
        context: Default::default(),
        policy_id: "p".into(),
        rule_id: None,
        reason: "r".into(),
        cost_estimate_usd: MicroUsd::ZERO,
        operator: Some("olga".into()),
        attended: true,
        requirements,
        created_at: at(0),
        expires_at: at(15),
        answers: vec![],
        shape: None,
        covered_by: None,
    }
}

fn answer(person: &str, approve: bool) -> ApprovalAnswer {
    ApprovalAnswer {
        person: person.into(),
        approve,
        at: at(1),
        channel: ChannelKind::Api,
        comment: None,
        evidence: None,
        snapshot: "s".into(),
        grant: None,
        grant_id: None,
    }
}

fn outcome(record: &ApprovalRecord, answer: &ApprovalAnswer) -> Result<ApprovalStatus, String> {
    apply(&authority(), record, answer, answer.at).map_err(|error| match error {
        DecideError::NotFound => "not found".into(),
        DecideError::NotApprover(_) => "not approver".into(),
        DecideError::AlreadyDecided(status) => format!("already {status}"),
        DecideError::SnapshotMismatch => "snapshot mismatch".into(),
        DecideError::AlreadyAnswered(_) => "already answered".into(),
        DecideError::EvidenceMissing => "evidence".into(),
        DecideError::GrantRefused(why) => why,
        DecideError::Store(error) => error.to_string(),
    })
}

/// R29: only who is named decides; `admin` alone does not; an operator only where named.
#[test]
fn only_named_approvers_decide() {
    let check = |approvers: Vec<Approver>, person: &str, expect: Result<ApprovalStatus, &str>| {
        let record = record(vec![requirement(approvers.clone())]);
        let got = outcome(&record, &answer(person, true));
        assert_eq!(got, expect.map_err(str::to_owned), "{approvers:?} {person}");
    };
    let (approved, refused) = (Ok(ApprovalStatus::Approved), Err("not approver"));
    check(vec![group("security")], "bob", approved);
    check(vec![group("security")], "alice", refused);
    check(vec![group("security")], "root", refused);
    check(vec![group("security")], "olga", refused);
    check(vec![group("security")], "nobody", refused);
    check(vec![Approver::Person("alice".into())], "alice", approved);
    check(vec![Approver::Operator], "olga", approved);
    check(vec![Approver::Operator], "alice", refused);
    check(vec![], "alice", approved);
    check(vec![], "olga", refused);
    check(vec![], "root", refused);
}

#[test]
fn separation_keeps_the_operator_out_even_where_named() {
    let mut needed = requirement(vec![Approver::Person("olga".into()), Approver::Operator]);
    needed.separate = true;
    assert_eq!(outcome(&record(vec![needed]), &answer("olga", true)), Err("not approver".into()));
}

/// R30.
#[test]
fn evidence_is_needed_for_yes_and_not_for_no() {
    let mut needed = requirement(vec![group("security")]);
    needed.evidence_required = true;
    let record = record(vec![needed]);
    assert_eq!(outcome(&record, &answer("bob", true)), Err("evidence".into()));
    let blank = ApprovalAnswer { evidence: Some("  \n".into()), ..answer("bob", true) };
    assert_eq!(outcome(&record, &blank), Err("evidence".into()));
    let shown = ApprovalAnswer { evidence: Some("CHG-1".into()), ..answer("bob", true) };
    assert_eq!(outcome(&record, &shown), Ok(ApprovalStatus::Approved));
    assert_eq!(outcome(&record, &answer("bob", false)), Ok(ApprovalStatus::Rejected));
}

#[test]
fn a_quorum_counts_people_and_every_rule_keeps_its_own() {
    let mut two = requirement(vec![group("security")]);
    two.quorum = 2;
    let mut record = record(vec![two, requirement(vec![group("platform")])]);
    let mut say = |person: &str| {
        let given = answer(person, true);
        let got = outcome(&record, &given);
        if let Ok(status) = got {
            record.answers.push(given);
            record.status = status;
        }
        got
    };
    assert_eq!(say("bob"), Ok(ApprovalStatus::Pending));
    assert_eq!(say("bob"), Err("already answered".into()));
    assert_eq!(say("carol"), Ok(ApprovalStatus::Pending));
    assert_eq!(say("alice"), Ok(ApprovalStatus::Approved));
    assert_eq!(say("carol"), Err("already approved".into()));
}

#[test]
fn one_no_rejects_and_time_ends_it() {
    let record = record(vec![requirement(vec![group("security")])]);
    assert_eq!(outcome(&record, &answer("carol", false)), Ok(ApprovalStatus::Rejected));
    let late = ApprovalAnswer { at: at(15), ..answer("bob", true) };
    assert_eq!(outcome(&record, &late), Err("already expired".into()));
}

#[test]
fn channels_and_escalation_are_kept() {
    let mut needed = requirement(vec![group("platform")]);
    needed.channels = vec![ChannelKind::Mcp];
    needed.escalation = Some((at(10), vec![group("security")]));
    let record = record(vec![needed]);
    let inline = ApprovalAnswer { channel: ChannelKind::Elicitation, ..answer("alice", true) };
    assert_eq!(outcome(&record, &inline), Err("not approver".into()));
    assert_eq!(outcome(&record, &answer("bob", true)), Err("not approver".into()));
    let later = ApprovalAnswer { at: at(10), ..answer("bob", true) };
    assert_eq!(outcome(&record, &later), Ok(ApprovalStatus::Approved));
}

/// `channels` says how sure a rule wants to be of the person: what takes a key or a sign-in is worth the same, and the
/// agent's own client counts only where it is listed.
#[test]
fn channels_that_prove_the_person_are_worth_the_same() {
    let person = authority().people.remove(&PersonId::from("bob")).unwrap();
    for listed in ChannelKind::ALL {
        for used in ChannelKind::ALL {
            let mut needed = requirement(vec![group("security")]);
            needed.channels = vec![*listed];
            let taken = eligible(&record(vec![]), &needed, &person, *used, at(1)).is_ok();
            let expect = listed == used || (listed.proves_the_person() && used.proves_the_person());
            assert_eq!(taken, expect, "{listed:?} {used:?}");
        }
    }
    let mut both = requirement(vec![group("security")]);
    both.channels = vec![ChannelKind::Elicitation, ChannelKind::Link];
    for used in ChannelKind::ALL {
        assert_eq!(eligible(&record(vec![]), &both, &person, *used, at(1)), Ok(()), "{used:?}");
    }
}

/// An answer to what was asked for under other policies never counts, and an outsider is not told why.
#[test]
fn an_ask_of_other_policies_is_dead() {
    let mut record = record(vec![requirement(vec![group("security")])]);
    record.binding.snapshot = "before".into();
    for approve in [true, false] {
        assert_eq!(outcome(&record, &answer("bob", approve)), Err("snapshot mismatch".into()));
    }
    assert_eq!(outcome(&record, &answer("alice", true)), Err("not approver".into()));
    record.status = ApprovalStatus::Cancelled;
    record.binding.snapshot = "s".into();
    assert_eq!(outcome(&record, &answer("bob", true)), Err("snapshot mismatch".into()));
}
