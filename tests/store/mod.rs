//! What the store's tests share: requests with sensible contents, and child processes.

#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test file")]

pub(crate) mod database;

use jiff::Timestamp;
use std::{
    io::{BufRead as _, BufReader, Lines},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tollgate::{
    clock::{Clock, System},
    config::Durability,
    cost::{BudgetAction, BudgetWindow},
    decision::{BudgetLimit, RateLimit},
    journal::{SEGMENT_HEAD, Segment, Step, list},
    model::{
        AgentId, ApprovalId, ApprovalStatus, CallId, Digest, EventDecision, EventDraft, EventType,
        Fingerprint, MicroUsd, Outcome, OwnerId, PolicyId, SnapshotId, TraceId, UpstreamName, WorkflowId,
    },
    policy::Violation,
    store::{
        AdmitRequest, ApprovalBinding, ApprovalRecord, CallShape, GrantAnswer, LoopWatch, Requirement,
        Settlement, StandingGrant, Store, Unrecorded, embedded::EmbeddedStore,
    },
};

static NEXT: AtomicU64 = AtomicU64::new(1);

/// Unique in all test processes.
pub(crate) fn unique() -> String {
    format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::SeqCst))
}

/// Opens one more "process" on the folder's database.
pub(crate) fn open(dir: &Path) -> Arc<EmbeddedStore> {
    try_open(dir).unwrap()
}

/// The machine's.
pub(crate) fn clock() -> Arc<dyn Clock> {
    Arc::new(System::default())
}

pub(crate) fn database(dir: &Path) -> PathBuf {
    dir.join("tollgate.db")
}

/// Where the folder's journal is.
pub(crate) fn journal(dir: &Path) -> PathBuf {
    dir.join("tollgate.journal")
}

/// The segments of the folder's journal, oldest first.
pub(crate) fn segments(dir: &Path) -> Vec<PathBuf> {
    list(&journal(dir)).unwrap().into_iter().map(|(_, path)| path).collect()
}

/// A frame as it stands in its segment.
pub(crate) struct At {
    pub(crate) offset: usize,
    pub(crate) length: usize,
    /// Its records: `seq`, and where the body stands in the segment.
    pub(crate) records: Vec<(i64, std::ops::Range<usize>)>,
}

/// The frames of a segment that is whole.
pub(crate) fn frames(segment: &Path) -> Vec<At> {
    let segment = Segment::open(segment, false).unwrap();
    let mut scan = segment.scan(SEGMENT_HEAD, segment.head.before).unwrap();
    let mut frames = Vec::new();
    while let Step::Frame { offset, frame, .. } = scan.step().unwrap() {
        let offset = usize::try_from(offset).unwrap();
        let body = |record: &tollgate::journal::Record<'_>| {
            let from = offset + record.offset + 4;
            (record.seq, from..from + record.body.len())
        };
        let records = frame.records().map(|record| body(&record)).collect();
        frames.push(At { offset, length: frame.head.length, records });
    }
    frames
}

/// The segment and the frame of a record.
pub(crate) fn frame_of(dir: &Path, seq: i64) -> (PathBuf, At) {
    segments(dir)
        .into_iter()
        .flat_map(|path| frames(&path).into_iter().map(move |frame| (path.clone(), frame)))
        .find(|(_, frame)| frame.records.iter().any(|(own, _)| *own == seq))
        .unwrap()
}

/// Changes the bytes of a file, as an editor does: a process that has it open sees that.
pub(crate) fn edit(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap();
    change(&mut bytes);
    std::fs::write(path, bytes).unwrap();
}

/// Opens a store that may not be fit for it.
pub(crate) fn try_open(dir: &Path) -> Result<Arc<EmbeddedStore>, tollgate::store::StoreError> {
    let owner = OwnerId::from(format!("owner-{}", unique()));
    EmbeddedStore::open(&database(dir), dir, Durability::Commit, owner, clock())
}

/// The same store in a folder of its own.
pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

pub(crate) fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(crate) fn start() -> Timestamp {
    time("2026-05-11T12:34:56Z")
}

pub(crate) fn later(now: Timestamp, millis: i64) -> Timestamp {
    now + jiff::SignedDuration::from_millis(millis)
}

/// A decision event as the gateway drafts it.
pub(crate) fn decision(agent: &str, now: Timestamp) -> EventDraft {
    let mut event = EventDraft::system(EventType::AgentDecision, now);
    event.trace_id = TraceId::parse("0af7651916cd43dd8448eb211c80319c");
    event.workflow_id = Some(WorkflowId::from("wf-123"));
    event.agent_id = Some(AgentId::from(agent));
    event.action = Some("files:write".into());
    event.policy_id = Some(PolicyId::from("gate"));
    event.decision = Some(EventDecision::Allow);
    event.cost_estimate_usd = Some(MicroUsd(1_250_000));
    event.actor.kind = "agent".into();
    event.actor.role = Some("planner".into());
    event.call_id = Some(CallId::from(unique()));
    event.tool = Some("files__write_file".into());
    event.upstream = Some(UpstreamName::from("files"));
    event.reason = Some("let through".into());
    event.policy_snapshot = Some(SnapshotId::from("snapshot"));
    event.detail = Some(serde_json::json!({"arguments": {"path": "/srv/docs/a", "n": 1.50}}));
    event
}

/// An admission without any limit.
pub(crate) fn request(agent: &str, now: Timestamp) -> AdmitRequest {
    AdmitRequest {
        now,
        start: None,
        event: decision(agent, now),
        rates: Vec::new(),
        budgets: Vec::new(),
        max_repeats: None,
        loops: LoopWatch::default(),
        digest: Digest::from(unique()),
        tokens: 0,
        cost: MicroUsd(0),
        elastic: None,
        approval: None,
        subject: None,
        unrecorded: Unrecorded::None,
        read: Vec::new(),
        grant: None,
    }
}

pub(crate) fn budget(id: &str, window: BudgetWindow) -> BudgetLimit {
    BudgetLimit {
        id: PolicyId::from(id),
        key: Arc::from("key"),
        window,
        zone: None,
        max_calls: None,
        max_tokens: None,
        max_cost: None,
        on_exceed: BudgetAction::Throttle,
        alert_at: std::sync::Arc::default(),
        strict: false,
    }
}

pub(crate) fn calls(id: &str, window: BudgetWindow, max: u64) -> BudgetLimit {
    BudgetLimit { max_calls: Some(max), ..budget(id, window) }
}

pub(crate) fn rate(id: &str, max: u64, on_violation: Violation) -> RateLimit {
    RateLimit { policy_id: PolicyId::from(id), max_calls: Some(max), max_cost: None, on_violation }
}

/// The settlement of an admitted call.
pub(crate) fn settlement(request: &AdmitRequest, tokens: Option<u64>, cost: Option<i64>) -> Settlement {
    let mut event = request.event.clone();
    event.event_type = EventType::AgentSideEffect;
    event.outcome = Some(Outcome::Succeeded);
    event.duration_ms = Some(12);
    Settlement {
        call_id: event.call_id.clone().unwrap(),
        event,
        tokens,
        cost: cost.map(MicroUsd),
        outcome: Outcome::Succeeded,
        learned: None,
    }
}

pub(crate) fn binding(digest: &str) -> ApprovalBinding {
    ApprovalBinding {
        agent: AgentId::from("planner-01"),
        user: None,
        workflow: None,
        tool: "files__write_file".to_owned(),
        fingerprint: Fingerprint::from("f"),
        digest: Digest::from(digest),
        call: Digest::from(digest),
        snapshot: SnapshotId::from("snapshot"),
    }
}

/// A pending approval that expires after 15 minutes.
pub(crate) fn pending(digest: &str, now: Timestamp) -> ApprovalRecord {
    ApprovalRecord {
        id: ApprovalId::from(unique()),
        version: 1,
        status: ApprovalStatus::Pending,
        binding: binding(digest),
        call_id: CallId::from(unique()),
        trace_id: TraceId::parse("0af7651916cd43dd8448eb211c80319c").unwrap(),
        workflow_id: None,
        capability_id: None,
        upstream: UpstreamName::from("files"),
        action: "files:write".to_owned(),
        arguments: serde_json::json!({"path": "/srv/docs/a"}),
        redacted: false,
        context: Default::default(),
        policy_id: PolicyId::from("gate"),
        rule_id: None,
        reason: "a person decides".to_owned(),
        cost_estimate_usd: MicroUsd(5),
        operator: None,
        attended: false,
        requirements: vec![Requirement {
            policy_id: PolicyId::from("gate"),
            rule_id: None,
            reason: "a person decides".to_owned(),
            approvers: Vec::new(),
            quorum: 1,
            evidence_required: false,
            separate: false,
            channels: Vec::new(),
            escalation: None,
            grants: None,
        }],
        created_at: now,
        expires_at: later(now, 15 * 60_000),
        answers: Vec::new(),
        shape: None,
        covered_by: None,
    }
}

/// The standing grant that an approval is answered with, for an hour.
pub(crate) fn granted(record: &ApprovalRecord, uses: u64, now: Timestamp) -> StandingGrant {
    let shape = CallShape {
        arguments: [("path".to_owned(), Digest::from("p"))].into(),
        extras: Digest::from("e"),
        masked: Default::default(),
    };
    let record = ApprovalRecord { shape: Some(shape), ..record.clone() };
    let answer =
        GrantAnswer { duration: std::time::Duration::from_secs(3600), uses, arguments: Default::default() };
    record.granted(&answer, vec!["alice".into()], now).unwrap()
}

/// What tells of a grant that is made.
pub(crate) fn grant_made(grant: &StandingGrant) -> EventDraft {
    let made = EventDraft::system(EventType::GrantMade, grant.terms.made_at);
    EventDraft { agent_id: Some(grant.terms.agent.clone()), ..made }
}

/// Everything that the chain holds, oldest first.
pub(crate) async fn all_events(store: &dyn Store) -> Vec<tollgate::model::Event> {
    store.events(tollgate::store::EventQuery::default()).await.unwrap()
}

/// This test binary again, running only the named test, which plays the child.
pub(crate) struct Peer {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

pub(crate) const PEER_DIR: &str = "TOLLGATE_TEST_PEER_DIR";

impl Peer {
    pub(crate) fn spawn(test: &str, dir: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([test, "--exact", "--nocapture", "--test-threads=1"])
            .env(PEER_DIR, dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// The next line that the child says to us; `None` when it has ended.
    pub(crate) fn says(&mut self) -> Option<String> {
        for line in self.lines.by_ref() {
            if let Some(said) = line.unwrap().split("peer: ").nth(1) {
                return Some(said.to_owned());
            }
        }
        None
    }

    /// Lets a child go on that waits in [`wait_for_parent`].
    pub(crate) fn go(&mut self) {
        use std::io::Write as _;
        self.child.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn wait(mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().unwrap().success());
    }
}

/// In a child: its folder. Elsewhere the test that plays the child has nothing to do.
pub(crate) fn peer_dir() -> Option<PathBuf> {
    std::env::var_os(PEER_DIR).map(PathBuf::from)
}

pub(crate) fn say(text: &str) {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    writeln!(out, "peer: {text}").unwrap();
    out.flush().unwrap();
}

/// Waits until the parent closes our input or kills us.
pub(crate) fn wait_for_parent() {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
}
