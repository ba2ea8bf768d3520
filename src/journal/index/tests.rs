use super::{
    layout::{CUT, ENTRIES, ENTRY, Header, SUM, sum},
    names::{Entries, Where, blocks},
    wanted::BLOCK,
    *,
};
use crate::model::{Actor, EventDecision, EventDraft, EventType, Glob, PersonId, TraceId};
use jiff::Timestamp;
use proptest::prelude::*;
use roaring::RoaringBitmap;
use serde_json::{Value, json};
use std::{fs, ops::Range, path::Path};

const SEGMENT: [u8; 32] = [7; 32];

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_790_000_000 + second).unwrap()
}

fn draft(kind: EventType, second: i64) -> EventDraft {
    EventDraft::system(kind, at(second))
}

fn trace(number: u32) -> TraceId {
    TraceId::from_bytes(u128::from(number + 1).to_be_bytes())
}

/// An index of these bodies in both forms; one that is no event has no members.
struct Both {
    bodies: Vec<String>,
    sealed: SegmentIndex,
    tail: TailIndex,
    _folder: tempfile::TempDir,
}

fn build(bodies: &[String]) -> Builder {
    let mut builder = Builder::new();
    for (number, body) in (0u32..).zip(bodies) {
        builder.add(offset(number), Members::read(body).ok().as_ref());
    }
    builder
}

fn offset(number: u32) -> u32 {
    number * 1000 + 13
}

fn both(bodies: Vec<String>) -> Both {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index");
    fs::write(&path, build(&bodies).finish(&SEGMENT)).unwrap();
    let mut tail = TailIndex::default();
    bodies.iter().for_each(|body| tail.add(Members::read(body).ok().as_ref()));
    let sealed = SegmentIndex::open(&path).unwrap();
    Both { bodies, sealed, tail, _folder: folder }
}

fn members(bodies: &[String]) -> Vec<Option<Members<'_>>> {
    bodies.iter().map(|body| Members::read(body).ok()).collect()
}

/// The records that fit.
fn scan(records: &[Option<Members<'_>>], wanted: &Wanted) -> Vec<u32> {
    let fits = |members: &Option<Members<'_>>| members.as_ref().is_some_and(|members| wanted.fit(members));
    (0u32..).zip(records).filter(|(_, members)| fits(members)).map(|(number, _)| number).collect()
}

impl Both {
    /// What a query finds, as both forms and a look at every record agree.
    fn find(&self, wanted: &Wanted) -> Vec<u32> {
        let records = members(&self.bodies);
        let found = self.find_in(&records, wanted);
        assert_eq!(found, scan(&records, wanted), "{wanted:?}");
        found
    }

    /// What both forms find, once hits are held against the records.
    fn find_in(&self, records: &[Option<Members<'_>>], wanted: &Wanted) -> Vec<u32> {
        let held = |found: Option<RoaringBitmap>| -> Vec<u32> {
            let found = found.unwrap_or_else(|| (0..records.len() as u32).collect());
            let fits =
                |number: &u32| records[*number as usize].as_ref().is_some_and(|members| wanted.fit(members));
            found.iter().filter(fits).collect()
        };
        let sealed = held(self.sealed.find(wanted).unwrap());
        assert_eq!(sealed, held(self.tail.find(wanted)), "{wanted:?}");
        sealed
    }
}

fn exact(field: Field, text: &str) -> Wanted {
    Wanted { terms: vec![(field, Pattern::Exact(text.to_owned()))], ..Wanted::default() }
}

fn glob(field: Field, text: &str) -> Wanted {
    Wanted { terms: vec![(field, Pattern::Glob(Glob::parse(text).unwrap()))], ..Wanted::default() }
}

#[test]
fn members_are_those_of_the_body() {
    let mut event = draft(EventType::ApprovalDecided, 5);
    event.trace_id = Some(trace(1));
    event.workflow_id = Some("w".into());
    event.agent_id = Some("a\"quoted\"".into());
    event.policy_id = Some("p".into());
    event.decision = Some(EventDecision::Approved);
    event.tool = Some("files__write".into());
    event.call_id = Some("c".into());
    event.approval_id = Some("ap".into());
    event.user = Some("bob".into());
    event.detail = Some(json!({"person": "alice", "evidence": {"person": "mallory"}}));
    let body = event.body();
    let members = Members::read(&body).unwrap();
    assert_eq!((members.event_type(), members.at()), ("approval_decided", at(5)));
    let trace = trace(1).to_string();
    let check = |field, expect: &str| assert_eq!(members.value(field).as_deref(), Some(expect), "{field:?}");
    check(Field::EventType, "approval_decided");
    check(Field::Trace, &trace);
    check(Field::Workflow, "w");
    check(Field::Agent, "a\"quoted\"");
    check(Field::Policy, "p");
    check(Field::Decision, "approved");
    check(Field::Tool, "files__write");
    check(Field::Call, "c");
    check(Field::Approval, "ap");
    check(Field::Person, "alice");
    check(Field::User, "bob");
    for field in IDS.into_iter().chain(NAMES) {
        let none = draft(EventType::Alert, 0).body();
        let members = Members::read(&none).unwrap();
        assert_eq!(members.value(field).is_some(), field == Field::EventType, "{field:?}");
    }
}

#[test]
fn a_person_is_who_acted() {
    let check = |kind, detail: Value, expect: Option<&str>| {
        let mut event = draft(kind, 0);
        event.actor = Actor { kind: "person".into(), role: Some("approver".into()) };
        event.detail = Some(detail.clone());
        let body = event.body();
        assert_eq!(Members::read(&body).unwrap().value(Field::Person).as_deref(), expect, "{detail}");
    };
    check(EventType::ApprovalDecided, json!({"person": "alice"}), Some("alice"));
    check(EventType::PolicyActivated, json!({"by": "uid 1000"}), Some("uid 1000"));
    check(EventType::AdminAction, json!({"by": "alice", "person": "bob"}), Some("bob"));
    check(EventType::Alert, json!({"note": {"person": "bob"}}), None);
    check(EventType::AdminAction, json!({"person": 7}), None);
    check(EventType::AdminAction, json!(["person"]), None);
    check(EventType::AdminAction, json!(0.1), None);
    // What an agent sends is no person's doing.
    check(EventType::AgentDecision, json!({"person": "alice"}), None);
}

#[test]
fn what_is_no_event_is_an_error() {
    for body in ["", "{}", "[]", "{\"event_type\":\"alert\"}", "{\"event_type\":1,\"timestamp\":\"x\"}"] {
        assert!(Members::read(body).unwrap_err().starts_with("its body is not an event"), "{body}");
    }
    let good = draft(EventType::Alert, 0).body();
    assert!(Members::read(&good.replace("\"trace_id\":null", "\"trace_id\":\"00\"")).is_err());
}

#[test]
fn a_text_with_a_star_is_a_glob() {
    assert_eq!(Pattern::parse("files__read"), Ok(Pattern::Exact("files__read".to_owned())));
    assert_eq!(Pattern::parse("files__*"), Ok(Pattern::Glob(Glob::parse("files__*").unwrap())));
    assert!(Pattern::parse("files__***").is_err());
    // Of a URI without a query every query is meant.
    let target = |text: &str| Pattern::parse_target(text).unwrap();
    assert_eq!(target("files__read"), Pattern::from("files__read"));
    assert_eq!(target("https://h/a?q"), Pattern::from("https://h/a?q"));
    assert!(target("https://h/a").matches_target("https://h/a?q"));
    assert!(!target("https://h/a").matches_target("https://h/ab"));
    assert!(Pattern::parse_target("files__***").is_err());
}

#[test]
fn names_are_found_exactly_and_by_glob() {
    let long = |end: &str| format!("{}{end}", "é".repeat(CUT));
    let tools = [
        "files__read",
        "files__read_all",
        "files__write",
        "git__log",
        "https://h/a/b",
        &long("1"),
        &long("2"),
    ];
    let mut bodies: Vec<String> = (0i64..)
        .zip(tools)
        .map(|(second, tool)| {
            let mut event = draft(EventType::AgentDecision, second);
            event.tool = Some(tool.into());
            event.body()
        })
        .collect();
    bodies.push("no event".to_owned());
    bodies.push(draft(EventType::Alert, 9).body());
    let asked = ["https://h/c/d?pin=4711&to=/x", "https://h/c/d#4711"];
    bodies.extend((10i64..).zip(asked).map(|(second, uri)| {
        let mut event = draft(EventType::AgentDecision, second);
        event.tool = Some(uri.into());
        event.body()
    }));
    let index = both(bodies);
    let check = |wanted: Wanted, expect: &[u32]| assert_eq!(index.find(&wanted), expect, "{wanted:?}");
    check(exact(Field::Tool, "files__read"), &[0]);
    check(exact(Field::Tool, "files__rea"), &[]);
    check(exact(Field::Tool, ""), &[]);
    check(exact(Field::Tool, &long("2")), &[6]);
    check(exact(Field::Tool, &long("3")), &[]);
    check(glob(Field::Tool, "files__*"), &[0, 1, 2]);
    check(glob(Field::Tool, "*__read*"), &[0, 1]);
    check(glob(Field::Tool, "https://h/*"), &[]);
    check(glob(Field::Tool, "https://h/**"), &[4, 9, 10]);
    check(glob(Field::Tool, "**2"), &[6]);
    check(glob(Field::Tool, "é*1"), &[5]);
    check(glob(Field::Tool, "*"), &[0, 1, 2, 3, 4, 5, 6, 9, 10]);
    // What was asked at a URI is no part of what a glob matches, unless the glob names it.
    check(glob(Field::Tool, "**4711**"), &[]);
    check(glob(Field::Tool, "**=**"), &[]);
    check(glob(Field::Tool, "https://h/c/*"), &[9, 10]);
    check(glob(Field::Tool, "https://h/c/d"), &[9, 10]);
    check(glob(Field::Tool, "https://h/c/d?pin=4*1**"), &[9]);
    check(glob(Field::Tool, "https://h/c/d#4**"), &[10]);
    check(exact(Field::Tool, "https://h/c/d"), &[]);
    check(glob(Field::Tool, "files__read"), &[0]);
    check(glob(Field::EventType, "agent_*"), &[0, 1, 2, 3, 4, 5, 6, 9, 10]);
    check(exact(Field::EventType, "alert"), &[8]);
    check(exact(Field::Person, "alice"), &[]);
    check(Wanted::default(), &[0, 1, 2, 3, 4, 5, 6, 8, 9, 10]);
    // A name is told from another before the record is read.
    let found = index.sealed.find(&glob(Field::Tool, "files__*")).unwrap().unwrap();
    assert_eq!(found.iter().collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(index.sealed.find(&Wanted::default()).unwrap(), None);
    assert_eq!(index.tail.find(&Wanted::default()), None);
}

#[test]
fn ids_are_found_in_every_page_and_across_pages() {
    // One trace fills more than two pages between many others.
    let many = ENTRIES * 5;
    let body = |number: u32| {
        let mut event = draft(EventType::AgentDecision, 0);
        event.trace_id = Some(if number.is_multiple_of(2) { trace(0) } else { trace(number) });
        event.call_id = Some(format!("call-{}", number / 3).into());
        event.body()
    };
    let index = both((0..many).map(body).collect());
    let found = |wanted: &Wanted| index.sealed.find(wanted).unwrap().unwrap().iter().collect::<Vec<_>>();
    let even: Vec<u32> = (0..many).filter(|number| number.is_multiple_of(2)).collect();
    assert_eq!(found(&exact(Field::Trace, &trace(0).to_string())), even);
    for number in (1..many).step_by(2) {
        assert_eq!(found(&exact(Field::Trace, &trace(number).to_string())), [number]);
        let call = number / 3;
        let expect: Vec<u32> = (call * 3..(call * 3 + 3).min(many)).collect();
        assert_eq!(found(&exact(Field::Call, &format!("call-{call}"))), expect);
    }
    assert!(found(&exact(Field::Call, "call-x")).is_empty());
    let dashes = "00000000-0000-0000-0000-000000000002";
    assert_eq!(index.find(&exact(Field::Trace, dashes)), [1], "both forms of a trace id");
    assert!(index.find(&exact(Field::Trace, "none")).is_empty());
    assert_eq!(index.sealed.find(&glob(Field::Call, "call-1*")).unwrap(), None, "ids have no globs");
    assert_eq!(index.find(&glob(Field::Call, "call-1")), [3, 4, 5], "the record decides");
    let both = Wanted {
        terms: vec![
            (Field::EventType, Pattern::Exact("agent_decision".to_owned())),
            (Field::Trace, Pattern::Exact(trace(7).to_string())),
        ],
        ..Wanted::default()
    };
    assert_eq!(found(&both), [7]);
}

#[test]
fn times_narrow_to_blocks_though_clocks_step_back() {
    let block = i64::from(BLOCK);
    // In the second block the clock is a day behind in one record.
    let second = |number: i64| if number == block + 1 { number - 86_400 } else { number };
    let records = block * 3 + 10;
    let index = both((0..records).map(|n| draft(EventType::Alert, second(n)).body()).collect());
    let check = |since: Option<i64>, until: Option<i64>, expect: std::ops::Range<i64>| {
        let wanted = Wanted { terms: Vec::new(), since: since.map(at), until: until.map(at) };
        let mut expect: Vec<u32> = expect.filter(|n| *n != block + 1).map(|number| number as u32).collect();
        if since.is_none() && until.is_some_and(|until| until > second(block + 1)) {
            expect.push(block as u32 + 1);
            expect.sort_unstable();
        }
        assert_eq!(index.find(&wanted), expect, "{wanted:?}");
    };
    check(None, Some(10), 0..10);
    check(Some(10), None, 10..records);
    check(Some(70), Some(71), 70..71);
    check(Some(records), None, 0..0);
    check(None, Some(-90_000), 0..0);
    check(Some(5), Some(records + 5), 5..records);
    check(Some(9), Some(9), 0..0);
    let early = Wanted { until: Some(at(-80_000)), ..Wanted::default() };
    let found = index.sealed.find(&early).unwrap().unwrap();
    assert_eq!((found.min(), found.max()), (Some(BLOCK), Some(2 * BLOCK - 1)), "one block");
    let none = Wanted { since: Some(at(records)), ..Wanted::default() };
    assert_eq!(index.sealed.find(&none).unwrap().unwrap().len(), 0, "no block is read");
    let all = Wanted { since: Some(at(-100_000)), ..Wanted::default() };
    assert_eq!(index.sealed.find(&all).unwrap(), None);
}

#[test]
fn places_and_the_segment_are_kept() {
    let mut bodies: Vec<String> = (0..2500).map(|n| draft(EventType::Alert, n).body()).collect();
    bodies[1500] = "damaged".to_owned();
    let index = both(bodies);
    assert_eq!((index.sealed.segment(), index.sealed.records()), (&SEGMENT, 2500));
    assert_eq!(index.tail.records(), 2500);
    for number in [0, 1, 255, 256, 1500, 2303, 2304, 2499] {
        assert_eq!(index.sealed.offset(number).unwrap(), offset(number));
    }
    for number in [2500, 3000, u32::MAX] {
        assert!(matches!(index.sealed.offset(number), Err(IndexError::Damaged { .. })));
    }
    let nothing = both(Vec::new());
    assert!(nothing.find(&exact(Field::Agent, "a")).is_empty());
    assert!(nothing.find(&exact(Field::Call, "a")).is_empty());
    assert!(nothing.sealed.offset(0).is_err());
}

/// More names than one block holds.
#[test]
fn names_in_many_blocks_are_found() {
    let uri =
        |number: u32| format!("file:///srv/{}/{}-{number}", number % 10, "x".repeat((number % 40) as usize));
    let body = |number: u32| {
        let mut event = draft(EventType::AgentDecision, 0);
        event.tool = Some(uri(number % 3000).as_str().into());
        event.body()
    };
    let index = both((0..4000).map(body).collect());
    (0..3000).step_by(7).for_each(|number| {
        let found = index.sealed.find(&exact(Field::Tool, &uri(number))).unwrap().unwrap();
        assert_eq!(
            found.iter().collect::<Vec<_>>(),
            [number, number + 3000][..if number < 1000 { 2 } else { 1 }]
        );
    });
    for text in ["file:///srv/3/**", "**-77", "a*", "z*", "file:///srv/*/x-1*", "file:///srv/9/*-2999", "*"] {
        index.find(&glob(Field::Tool, text));
    }
}

/// An index is verified by making it again, so that what is written changes with its version and in no other way.
#[test]
fn the_bytes_are_those_of_this_version() {
    let index = || build(&sample()).finish(&SEGMENT);
    assert_eq!(index(), index());
    assert_eq!(
        hex::encode(sum(0, &index())),
        "a60f8f92aad483f1",
        "the format has changed: it needs another magic number"
    );
}

/// Records in which every part of an index has something.
fn sample() -> Vec<String> {
    (0..12u32)
        .map(|number| {
            let kinds = [EventType::AgentDecision, EventType::ApprovalDecided, EventType::AgentSideEffect];
            let mut event = draft(kinds[number as usize % 3], i64::from(number));
            event.trace_id = Some(trace(number / 3));
            event.call_id = Some(format!("call-{}", number / 2).into());
            event.tool =
                Some(["files__read", "files__write", "git__log", "files__stat"][number as usize % 4].into());
            event.agent_id = Some("planner".into());
            if number % 3 == 1 {
                event.approval_id = Some("approval".into());
                event.user = Some(PersonId::from("bob"));
                event.detail = Some(json!({"person": "alice"}));
            }
            event.body()
        })
        .collect()
}

fn queries() -> Vec<Wanted> {
    vec![
        exact(Field::Trace, &trace(2).to_string()),
        exact(Field::Call, "call-3"),
        exact(Field::Approval, "approval"),
        exact(Field::Agent, "planner"),
        exact(Field::User, "bob"),
        exact(Field::Person, "alice"),
        exact(Field::Workflow, "none"),
        exact(Field::Policy, "none"),
        exact(Field::Decision, "allow"),
        exact(Field::EventType, "agent_decision"),
        glob(Field::Tool, "files__*"),
        glob(Field::Tool, "**"),
        glob(Field::EventType, "*"),
        Wanted { since: Some(at(3)), until: Some(at(9)), ..Wanted::default() },
    ]
}

/// Asks everything of an index: errors are fine; a panic is not, and a right record that is left out is not where `held`.
fn ask(path: &Path, bytes: &[u8], records: &[Option<Members<'_>>], held: bool) -> (u32, u32) {
    fs::write(path, bytes).unwrap();
    let (mut answers, mut errors) = (0, 0);
    let Ok(index) = SegmentIndex::open(path) else { return (0, 1) };
    for wanted in queries() {
        match index.find(&wanted) {
            Ok(found) => {
                answers += 1;
                let right = scan(records, &wanted);
                let all = right.iter().all(|n| found.as_ref().is_none_or(|found| found.contains(*n)));
                assert!(!held || all, "{wanted:?} finds {found:?} and not {right:?}");
            }
            Err(_) => errors += 1,
        }
    }
    for number in 0..records.len() as u32 {
        match index.offset(number) {
            Ok(found) => assert!(!held || found == offset(number)),
            Err(_) => errors += 1,
        }
    }
    (answers, errors)
}

#[test]
fn a_damaged_file_is_an_error_and_never_a_wrong_answer() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index");
    let bodies = sample();
    let good = build(&bodies).finish(&SEGMENT);
    let records = members(&bodies);
    assert_eq!(ask(&path, &good, &records, true).1, 0);
    for at in 0..good.len() {
        for change in [0x01, 0x80] {
            let mut bytes = good.clone();
            bytes[at] ^= change;
            let (_, errors) = ask(&path, &bytes, &records, true);
            assert!(errors > 0, "byte {at} is read by no query of this test, or is not checked");
        }
        let cut = ask(&path, &good[..at], &records, true);
        assert_eq!(cut.0, 0, "a file of {at} bytes is opened");
    }
    let mut longer = good.clone();
    longer.push(0);
    assert_eq!(ask(&path, &longer, &records, true).0, 0);
    let missing = SegmentIndex::open(&folder.path().join("none")).unwrap_err();
    assert!(matches!(missing, IndexError::Unreadable { .. }), "{missing}");
    assert!(missing.to_string().contains("none` cannot be read"), "{missing}");
}

/// Where the pieces of the sample's index are, without their sums. Each of its parts has one page.
fn pieces(bytes: &[u8]) -> Vec<Range<usize>> {
    let header = Header::read(&bytes[..Header::LENGTH]).unwrap();
    let mut found = Vec::new();
    let mut piece = |position: u64, length: usize| {
        let piece = position as usize..position as usize + length;
        assert_eq!(sum(position, &bytes[piece.clone()]), bytes[piece.end..piece.end + SUM]);
        found.push(piece.clone());
        &bytes[piece]
    };
    piece(0, Header::LENGTH);
    piece(header.offsets_at, header.records as usize * 4);
    piece(header.times_at, 16);
    for ids in header.ids.into_iter().filter(|ids| ids.count > 0) {
        piece(ids.position, ids.count as usize * ENTRY);
    }
    for list in header.names.into_iter().filter(|list| list.count > 0) {
        let lengths = piece(list.position, list.count as usize * 4);
        for (position, length) in blocks(list, lengths).unwrap() {
            let mut entries = Entries::of(piece(position, length));
            while let Some(place) = entries.next().unwrap() {
                if let Where::Set { position, length } = place {
                    piece(position, length as usize);
                }
            }
        }
    }
    assert_eq!(found.iter().map(|piece| piece.len() + SUM).sum::<usize>(), bytes.len());
    found
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Somebody who writes the file can write right checksums: then answers can be wrong, and nothing else.
    #[test]
    fn a_hostile_file_does_no_harm(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), prop::sample::select(vec![0u8, 1, 2, 0x7f, 0x80, 0xff])), 1..6),
        header in any::<bool>(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("index");
        let bodies = sample();
        let mut bytes = build(&bodies).finish(&SEGMENT);
        let pieces = pieces(&bytes);
        for (piece, at, byte) in changes {
            let piece = if header { 0..Header::LENGTH } else { piece.get(&pieces).clone() };
            if piece.is_empty() {
                continue;
            }
            bytes[piece.start + at.index(piece.len())] = byte;
            let own = sum(piece.start as u64, &bytes[piece.clone()]);
            bytes[piece.end..piece.end + SUM].copy_from_slice(&own);
        }
        ask(&path, &bytes, &members(&bodies), false);
    }
}

fn texts() -> impl Strategy<Value = String> {
    let words =
        ["a", "b", "ab", "files__read", "files__write", "git__log", "x/y", "https://h/a/b", "é", "\"\\\n"];
    prop_oneof![
        8 => prop::sample::select(words.to_vec()).prop_map(str::to_owned),
        2 => prop::collection::vec(prop::sample::select(words.to_vec()), 1..3).prop_map(|words| words.concat()),
        1 => (CUT - 2..CUT + 3).prop_map(|length| "n".repeat(length)),
    ]
}

fn patterns() -> impl Strategy<Value = Pattern> {
    let pieces = ["a", "files__", "*", "**", "read", "/", "b", "https://", "é", "n", "?", "#"];
    let globs = prop::collection::vec(prop::sample::select(pieces.to_vec()), 1..5)
        .prop_filter_map("no glob", |pieces| Glob::parse(&pieces.concat()).ok());
    prop_oneof![texts().prop_map(Pattern::Exact), globs.prop_map(Pattern::Glob)]
}

fn events() -> impl Strategy<Value = String> {
    let text = || prop::option::of(texts());
    let kinds = prop::sample::select(EventType::ALL.to_vec());
    let ids = (prop::option::of(0u32..6), text(), text());
    let names = (text(), text(), text(), text(), text(), text());
    (kinds, -200i64..200, ids, names, prop::bool::weighted(0.03)).prop_map(
        |(kind, second, (trace_number, call, approval), names, damaged)| {
            let (workflow, agent, policy, tool, person, user) = names;
            let mut event = draft(kind, second);
            event.trace_id = trace_number.map(trace);
            event.call_id = call.map(Into::into);
            event.approval_id = approval.map(Into::into);
            event.workflow_id = workflow.map(Into::into);
            event.agent_id = agent.map(Into::into);
            event.policy_id = policy.map(Into::into);
            event.tool = tool.map(Into::into);
            event.user = user.map(Into::into);
            event.decision = (second % 2 == 0).then_some(EventDecision::Deny);
            event.detail = person.map(|person| json!({"person": person}));
            if damaged { "{".to_owned() } else { event.body() }
        },
    )
}

fn wishes() -> impl Strategy<Value = Wanted> {
    let field = prop::sample::select(IDS.into_iter().chain(NAMES).collect::<Vec<_>>());
    let trace = (0u32..8).prop_map(|number| (Field::Trace, Pattern::Exact(trace(number).to_string())));
    let kind = prop::sample::select(EventType::ALL.to_vec())
        .prop_map(|kind| (Field::EventType, Pattern::Exact(kind.as_str().to_owned())));
    let term = prop_oneof![6 => (field, patterns()), 1 => trace, 1 => kind];
    let time = || prop::option::weighted(0.3, (-210i64..210).prop_map(at));
    (prop::collection::vec(term, 0..3), time(), time()).prop_map(|(terms, since, until)| Wanted {
        terms,
        since,
        until,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// Whatever is asked of whatever records: both forms find what a look at every record finds.
    #[test]
    fn an_index_finds_what_a_scan_finds(
        bodies in prop::collection::vec(events(), 0..300),
        wishes in prop::collection::vec(wishes(), 1..30),
    ) {
        let index = both(bodies);
        let records = members(&index.bodies);
        for wanted in wishes {
            prop_assert_eq!(index.find_in(&records, &wanted), scan(&records, &wanted), "{:?}", wanted);
        }
    }
}
