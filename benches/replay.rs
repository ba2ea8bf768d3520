//! What deciding recorded calls again costs: `policy replay` and `policy simulate` over a store that the real path has written.
//!
//! `cargo bench --bench replay -- --decisions 100000` (that many by default). Each call is decided by the core, recorded by
//! `evidence`, admitted and settled. The yardstick, in the same run, is reading the same records without judging them.

#![expect(clippy::disallowed_methods, reason = "measuring needs the machine's own clock")]
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark: what fails ends it"
)]

use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::{path::Path, sync::Arc, time::Instant};
use tollgate::{
    audit::{Compare, Pace, Stop, replay_recorded, simulate_recorded},
    clock::System,
    config::Durability,
    decision::{CallFacts, CostFacts, DataFacts, Facts, WorkflowFacts, decide},
    evidence::{
        CallSubject, Evaluated, Explained, Judged, ResolvedTool, Ruling, Settled, TargetSubject, limits,
        settled_detail, verdict,
    },
    model::{
        AgentId, CallId, CallKind, Decision, Digest, EventType, MicroUsd, Outcome, OwnerId, Sensitivity,
        SharePlace, ToolTraits, TraceId,
    },
    policy::{AgentFacts, CompileInput, KnownNames, PolicySet, SourceFile, ToolFacts, compile},
    store::{
        Admission, AdmitRequest, EventQuery, Kept, KeptKind, Settlement, Store, Unrecorded,
        embedded::EmbeddedStore,
    },
};

const AGENTS: u64 = 20;
const TOOLS: u64 = 50;

/// A bundle of common size: every call is looked at by several policies, one of them reads arguments.
fn files(limit: u64) -> Vec<SourceFile> {
    let file = |name: &str, text: String| SourceFile { name: name.to_owned(), text };
    let agents: String = (0..AGENTS)
        .map(|n| format!("  agent-{n}: {{ type: job, role: writer, owner: o, workflow: wf-{}, capabilities: [all] }}\n", n % 5))
        .collect();
    let workflows: String = (0..5).map(|n| format!("  wf-{n}: {{ owner: o }}\n")).collect();
    let gates: String = (0..12)
        .map(|n| {
            format!(
                "  - id: by-tool-{n}\n    description: d\n    owner: o\n    on: [{{ tool: \"files__tool_{n}*\" }}]\n    conditions: {{ max_cost_usd: 5, max_calls_per_minute: 1000000 }}\n"
            )
        })
        .collect();
    vec![
        file("bundle.yaml", "version: '1'\nowner: o\ndefault_decision: ALLOW\n".to_owned()),
        file(
            "authority.yaml",
            format!(
                "capabilities:\n  all: {{ tools: [\"files__*\"] }}\nworkflows:\n{workflows}agents:\n{agents}"
            ),
        ),
        file(
            "paths.yaml",
            format!(
                "name: paths\nowner: o\ndescription: d\non: [{{ upstream: files }}]\nrules:\n  - {{ id: outside, condition: \"!within(args.path, '/srv/docs')\", decision: DENY }}\n  - {{ id: large, condition: \"size(args.content) > {limit}\", decision: REQUIRE_APPROVAL }}\n  - {{ id: costly, condition: \"cost.estimate_usd > 10.0 && env == 'production'\", decision: DENY }}\n"
            ),
        ),
        file("rates.yaml", format!("version: '1'\npolicies:\n{gates}")),
        file(
            "budgets.yaml",
            "budgets:\n  - { id: day, scope: agent, window: day, max_calls: 100000000, on_exceed: deny }\n"
                .to_owned(),
        ),
    ]
}

fn compiled(files: &[SourceFile]) -> PolicySet {
    let input = CompileInput {
        environment: "staging".into(),
        servers_digest_material: Vec::new(),
        known: KnownNames::default(),
    };
    let (set, problems) = compile(files, &input);
    set.unwrap_or_else(|| panic!("{problems:?}"))
}

fn tools() -> Vec<(ToolFacts, Arc<ResolvedTool>)> {
    (0..TOOLS)
        .map(|n| {
            let facts = ToolFacts {
                name: format!("files__tool_{n}").into(),
                upstream: "files".into(),
                action: format!("files:tool_{n}").into(),
                labels: ["internal".into()].into(),
                traits: ToolTraits::UNTRUSTED,
                fingerprint: "f".into(),
                pinned: false,
                unaccepted: false,
            };
            let resolved = Arc::new(ResolvedTool::of(&facts));
            (facts, resolved)
        })
        .collect()
}

/// One call: decided, recorded, admitted and settled as the gateway does it.
async fn call(store: &EmbeddedStore, set: &PolicySet, tools: &[(ToolFacts, Arc<ResolvedTool>)], n: u64) {
    let (tool, resolved) = &tools[usize::try_from(n % TOOLS).unwrap()];
    let agent = set.authority.agents.get(&AgentId::from(format!("agent-{}", n % AGENTS))).unwrap();
    let workflow = set.authority.workflows.get(agent.workflow.as_ref().unwrap()).unwrap();
    let now = Timestamp::from_millisecond(1_767_225_600_000 + i64::try_from(n).unwrap() * 20).unwrap();
    let text = "hello world, this is what an agent writes into a file. ".repeat(4);
    let outside = n.is_multiple_of(40);
    let root = if outside { "/etc" } else { "/srv/docs" };
    let args: Arc<Value> = Arc::new(json!({"path": format!("{root}/{n}.txt"), "content": text, "mode": 420}));
    let facts = Facts {
        agent: AgentFacts::of(agent),
        user: None,
        workflow: Some(WorkflowFacts { id: workflow.id.clone(), owner: workflow.owner.clone() }),
        tool: tool.clone(),
        args: args.clone(),
        call: CallFacts { kind: CallKind::Tool, repeats: 0, size: 300 },
        cost: CostFacts { estimate: MicroUsd(1_250), tokens: 120 },
        data: DataFacts {
            level: Sensitivity::Internal,
            labels: vec!["internal".into()],
            findings: Vec::new(),
        },
        session_labels: Vec::new(),
        now,
        capabilities: agent.capabilities.clone(),
        missing_metadata: Vec::new(),
        workflow_refused: None,
        user_groups: Vec::new(),
        resource: Arc::default(),
        prompt: Arc::default(),
        remediated: false,
        checks: Vec::new(),
        share: SharePlace::default(),
    };
    let decided = decide(set, &facts);
    let evaluated = Evaluated {
        facts: &facts,
        recorded: &args,
        names: (&tool.name, &tool.name),
        actions: (&tool.action, &tool.action),
        tool: Some(&resolved.hash),
        priced: (0, MicroUsd::ZERO),
    };
    let judged = Judged {
        facts: evaluated.text(&[]),
        verdict: verdict(&decided, &tool.name, &tool.name),
        tools: vec![resolved.clone()],
        compared: None,
    };
    let call_id = CallId::from(format!("01900000-0000-7000-8000-{n:012x}"));
    let (action, environment) = (tool.action.clone(), set.environment.clone());
    let subject = CallSubject {
        replay_of: None,
        actors: Vec::new(),
        trace_id: TraceId::from_bytes((u128::from(n) << 64 | 1).to_be_bytes()),
        call_id: &call_id,
        agent: &agent.id,
        role: Some(&agent.role),
        tenant: None,
        operator: None,
        user: None,
        environment: &environment,
        workflow: Some(&workflow.id),
        snapshot: &set.snapshot,
        tool: tool.name.clone(),
        target: Some(TargetSubject {
            action: &action,
            cost: facts.cost.estimate,
            level: facts.data.level,
            redacted: false,
            upstream: &tool.upstream,
            capability: decided.capability.as_ref(),
            labels: &facts.data.labels,
        }),
    };
    let explained = Explained {
        arguments: Some(&args),
        judged: Some(&judged),
        trace: Some(&decided.trace),
        ..Explained::default()
    };
    let ruling = Ruling {
        decision: decided.decision.event_word(),
        policy_id: &decided.policy_id,
        rule_id: decided.rule_id.as_ref(),
        reason: decided.reason.clone(),
        approval_id: None,
    };
    let start = subject.start(now);
    let event = subject.explained(now, &ruling, &explained);
    if decided.decision > Decision::AllowWithConstraints {
        store.record(vec![start, event]).await.unwrap();
        return;
    }
    let mut effect =
        subject.side_effect(now, &decided.policy_id, decided.rule_id.as_ref(), decided.capability.as_ref());
    let request = AdmitRequest {
        now,
        start: Some(start),
        event,
        rates: decided.limits.rates.clone(),
        budgets: decided.limits.budgets.clone(),
        max_repeats: decided.limits.max_repeats,
        loops: tollgate::admission::LoopWatch::default(),
        digest: Digest::from(format!("{n:064x}")),
        tokens: 120,
        cost: facts.cost.estimate,
        elastic: None,
        approval: None,
        grant: None,
        subject: None,
        unrecorded: Unrecorded::None,
        read: Vec::new(),
    };
    assert_eq!(store.admit(request).await.unwrap(), Admission::Granted);
    let settled = Settled {
        outcome: Outcome::Succeeded,
        duration_ms: 3,
        cost: Some(facts.cost.estimate),
        reason: None,
        result_digest: None,
        limits: limits(&decided.constraints, std::time::Duration::from_secs(30), false),
        detail: settled_detail(100, 20, false, ""),
    };
    settled.complete(&mut effect, now);
    let settlement = Settlement {
        call_id,
        event: effect,
        tokens: Some(120),
        cost: Some(facts.cost.estimate),
        outcome: Outcome::Succeeded,
        learned: None,
    };
    store.settle(settlement).await.unwrap();
}

fn open(dir: &Path) -> Arc<EmbeddedStore> {
    let owner = OwnerId::from(format!("bench-{}", std::process::id()));
    EmbeddedStore::open(&dir.join("bench.db"), dir, Durability::Commit, owner, Arc::new(System::default()))
        .unwrap()
}

async fn fill(store: &EmbeddedStore, set: &PolicySet, decisions: u64) {
    let bundle = json!({"environment": set.environment, "servers": {}, "files": *set.files}).to_string();
    let keep = |kind, name: String, body: String| Kept {
        kind,
        name,
        hash: tollgate::evidence::content_hash(&body),
        body,
    };
    store.keep(keep(KeptKind::Bundle, set.snapshot.to_string(), bundle)).await.unwrap();
    let tools = tools();
    for (_, tool) in &tools {
        store.keep(keep(KeptKind::Tool, tool.hash.to_string(), tool.body.to_string())).await.unwrap();
    }
    let calls = stream::iter(0..decisions).map(|n| call(store, set, &tools, n));
    calls.buffer_unordered(256).for_each(|()| async {}).await;
}

/// Reads every decision, page by page, and judges none.
async fn read(store: &dyn Store) -> u64 {
    let mut query = EventQuery {
        event_type: Some(EventType::AgentDecision),
        limit: 1_000,
        most_bytes: 8 << 20,
        ..EventQuery::default()
    };
    let mut seen = 0;
    loop {
        let events = store.events(query.clone()).await.unwrap();
        let Some(last) = events.last() else { return seen };
        query.after_seq = Some(last.seq);
        seen += events.len() as u64;
    }
}

fn main() {
    // `cargo test --benches` and lists of benchmarks run nothing.
    if std::env::args().any(|argument| argument == "--list" || argument == "--test") {
        return;
    }
    let mut arguments = std::env::args().skip_while(|argument| argument != "--decisions").skip(1);
    let decisions: u64 = arguments.next().and_then(|n| n.parse().ok()).unwrap_or(100_000);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let set = compiled(&files(1_000));
    let store = open(dir);
    let started = Instant::now();
    runtime.block_on(async {
        fill(&store, &set, decisions).await;
        store.close().await;
    });
    drop(store);
    println!("{decisions} decisions, each with start and side effect, made in {:.1?}", started.elapsed());

    let store = open(dir);
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let rate = |took: std::time::Duration| decisions as f64 / took.as_secs_f64();
    // The first look makes what indexes are missing.
    runtime.block_on(read(&*store));
    let started = Instant::now();
    assert_eq!(runtime.block_on(read(&*store)), decisions);
    let reading = started.elapsed();
    println!("read on one thread, without judging: {reading:.2?}, {:.0} decisions a second", rate(reading));
    let started = Instant::now();
    let report = runtime.block_on(replay_recorded(&*store, EventQuery::default(), &mut |_| {})).unwrap();
    assert_eq!((report.judged, report.same), (decisions, decisions), "{report:?}");
    let took = started.elapsed();
    let ratio = |took: std::time::Duration| took.as_secs_f64() / reading.as_secs_f64();
    println!(
        "replay, {threads} threads: {took:.2?}, {:.0} decisions a second ({:.2} of reading)",
        rate(took),
        ratio(took)
    );
    for (what, limit) in [("the same bundle", 1_000), ("a bundle that asks about every call", 10)] {
        let now = Arc::new(compiled(&files(limit)));
        let compare = Compare::Recorded(now);
        let (stop, mut progress) = (Stop::default(), |_| {});
        let started = Instant::now();
        let everything = EventQuery::default();
        let work = simulate_recorded(&*store, everything, compare, Pace::Whole, &stop, &mut progress);
        let report = runtime.block_on(work).unwrap().report;
        let took = started.elapsed();
        assert_eq!(report.judged, decisions, "{:?}", report.unjudgeable_because);
        println!(
            "simulate {what}: {took:.2?}, {:.0} decisions a second ({:.2} of reading), {} calls change",
            rate(took),
            ratio(took),
            report.changed
        );
    }
    runtime.block_on(store.close());
}
