//! A gateway that answers as the test says, over a store in memory.

use super::super::AdminPort;
use crate::{
    approval::{Approvals, Freezes},
    catalog::{Catalog, CatalogBuilder},
    clock::Clock as _,
    clock::{Fake, System},
    config::{
        AdminConfig, AuthConfig, BreakerConfig, CatalogMode, Config, Durability, GatewayConfig, Isolation,
        RetryConfig, StoreConfig, UpstreamConfig, UpstreamTransport,
    },
    gateway::{
        CheckedFiles, ExplainError, Explanation, InForce, Origin, Question, Readiness, Resolver,
        ResolverParts,
    },
    identity::{AuthError, Doorkeeper, Presented, Principal, SignIn, key_digest},
    journal::index::Members,
    model::*,
    policy::{
        Agent, ApiKey, Approver, Authority, BundleInfo, ChannelKind, GrantLimits, Person, PolicySet, Role,
    },
    store::{self, *},
    upstream::{Cause, Health, Listing, UpstreamDeps, UpstreamSet, UpstreamState},
};
use futures::{FutureExt as _, future::BoxFuture};
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::{net::IpAddr, sync::Arc};

const KEYS: [(&str, &[Role], &[&str]); 7] = [
    ("alice", &[Role::Approver], &["platform-lead"]),
    ("bob", &[Role::Approver], &["security-team"]),
    ("carol", &[Role::Auditor], &[]),
    ("dave", &[Role::Admin], &["platform-lead"]),
    ("erin", &[], &[]),
    ("frank", &[Role::AuditorFull], &[]),
    ("vera", &[Role::Viewer], &[]),
];

pub(super) fn authority() -> Authority {
    let mut authority = Authority::default();
    for (name, roles, groups) in KEYS {
        let person = Person {
            id: name.into(),
            keys: vec![ApiKey::new(key_digest(format!("key-of-{name}").as_bytes()))],
            groups: groups.iter().map(|g| Arc::from(*g)).collect(),
            roles: roles.to_vec(),
            capabilities: None,
        };
        authority.people.insert(person.id.clone(), person);
    }
    let agent = Agent {
        id: "planner-01".into(),
        agent_type: "planner".into(),
        role: "planner".into(),
        tenant: "acme".into(),
        owner: "data-team".into(),
        operator: Some("alice".into()),
        attended: false,
        workflow: None,
        workflows: Vec::new(),
        model: None,
        autonomy: Autonomy::Supervised,
        max_catalog_tokens: None,
        capabilities: Vec::new(),
        keys: vec![ApiKey::new(key_digest(b"key-of-planner"))],
        certificates: Vec::new(),
    };
    authority.agents.insert(agent.id.clone(), agent);
    authority
}

fn files() -> CheckedFiles {
    let policies = PolicySet {
        snapshot: "s1".into(),
        parts: Default::default(),
        environment: "staging".into(),
        bundle: BundleInfo {
            version: "1".into(),
            owner: None,
            default_decision: Decision::Deny,
            default_approvers: None,
            required: Vec::new(),
            max_catalog_tokens: None,
        },
        authority: authority(),
        prices: Default::default(),
        budgets: Vec::new(),
        data: Default::default(),
        policies: Vec::new(),
        max_repeats: 20,
        loops: crate::policy::LoopRules::default(),
        oversight: crate::policy::Oversight {
            sample: crate::model::Share::parse("100%"),
            ..crate::policy::Oversight::default()
        },
        zones: Default::default(),
        files: [].into(),
        index: Default::default(),
    };
    let crm = UpstreamConfig {
        name: "crm".into(),
        transport: UpstreamTransport::Stdio {
            command: vec!["crm".to_owned()],
            env: Default::default(),
            cwd: "/".into(),
        },
        prefix: "crm".to_owned(),
        isolation: Isolation::Shared,
        timeout: std::time::Duration::from_secs(30),
        max_concurrency: 1,
        max_result_bytes: 1 << 20,
        retry: RetryConfig { attempts: 1, backoff: std::time::Duration::ZERO },
        breaker: BreakerConfig { failures: 5, cooldown: std::time::Duration::ZERO },
        labels: vec!["external".into()],
        asks: crate::config::Asks::ALL,
        contain: None,
        apps: None,
        trust_annotations: false,
        trust_cost: false,
        pins: Default::default(),
        output_schema: crate::config::OutputCheck::Lint,
        tools: Default::default(),
    };
    let config = Config {
        path: "/srv/servers.toml".into(),
        gateway: GatewayConfig {
            listen: "127.0.0.1:8787".parse().unwrap(),
            environment: "staging".into(),
            policies: "/srv/policies".into(),
            data_dir: "/srv/.tollgate".into(),
            separator: "__".to_owned(),
            approval_wait: std::time::Duration::from_secs(60),
            max_pending_approvals: 50,
            rejection_stands: std::time::Duration::from_secs(300),
            rejected_asks: Default::default(),
            labels: Default::default(),
            volatile_meta: Vec::new(),
            public_url: None,
            allowed_hosts: vec!["gate.example".to_owned()],
            allowed_origins: vec!["https://desk.example".to_owned()],
            max_body: 4 << 20,
            max_sessions: 1000,
            drain: std::time::Duration::from_secs(20),
            instructions: None,
            catalog: CatalogMode::Full,
            unchecked_arguments: crate::config::Unchecked::Refuse,
            formats: crate::config::Formats::Annotate,
            tls: None,
            behind_tls_proxy: false,
            trusted_proxies: Vec::new(),
            forwarded_by: Default::default(),
        },
        admin: AdminConfig {
            listen: "127.0.0.1:8788".parse().unwrap(),
            public_url: None,
            metrics_key: None,
            oidc: None,
        },
        otel: Default::default(),
        store: StoreConfig {
            path: "/srv/.tollgate/tollgate.db".into(),
            postgres: None,
            durability: Durability::Commit,
            retention: None,
            vault: crate::config::VaultConfig::default(),
        },
        audit: crate::config::AuditConfig::default(),
        deliveries: Vec::new(),
        auth: AuthConfig { anonymous_agent: Some("planner-01".into()), jwt: None },
        webhooks: Vec::new(),
        verify: Vec::new(),
        checks: std::collections::BTreeMap::new(),
        upstreams: [("crm".into(), crm)].into(),
        disabled: [(
            "attic".into(),
            crate::config::DisabledUpstream {
                name: "attic".into(),
                reason: "`enabled = false` in servers.toml".to_owned(),
                switched_off: true,
                contained: false,
                prefix: "attic".to_owned(),
                labels: Vec::new(),
                tools: std::collections::BTreeMap::new(),
            },
        )]
        .into(),
    };
    CheckedFiles { config, policies, origin: Origin::default() }
}

/// Over no upstream: the port has states of its own.
fn in_force(files: CheckedFiles) -> InForce {
    let system = Arc::new(System::default());
    let deps = UpstreamDeps::new(system.clone(), system, Arc::new(str::to_owned)).unwrap();
    let CheckedFiles { config, policies, .. } = files;
    InForce::new(Arc::new(config), Arc::new(policies), Arc::default(), UpstreamSet::start([], deps))
}

/// What stands in registers, with versions.
type Registers = std::collections::BTreeMap<(store::Register, String), (u64, serde_json::Value)>;

#[derive(Debug)]
pub(super) struct Memory {
    pub(super) approvals: Mutex<Vec<ApprovalRecord>>,
    pub(super) grants: Mutex<Vec<StandingGrant>>,
    pub(super) events: Mutex<Vec<Event>>,
    registers: Mutex<Registers>,
    pub(super) broken: std::sync::atomic::AtomicBool,
    pub(super) committed: tokio::sync::broadcast::Sender<Arc<Event>>,
    pub(super) changes: tokio::sync::watch::Sender<u64>,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            approvals: Mutex::default(),
            grants: Mutex::default(),
            events: Mutex::default(),
            registers: Mutex::default(),
            broken: Default::default(),
            committed: tokio::sync::broadcast::Sender::new(8),
            changes: tokio::sync::watch::Sender::new(0),
        }
    }
}

impl Memory {
    fn answer<T: Send + 'static>(&self, value: T) -> store::StoreFuture<'_, T> {
        let broken = self.broken.load(std::sync::atomic::Ordering::SeqCst);
        async move { if broken { Err(StoreError::Failed("/srv/secret-place".to_owned())) } else { Ok(value) } }
            .boxed()
    }

    pub(super) fn append(&self, events: Vec<EventDraft>) {
        let mut all = self.events.lock();
        for draft in events {
            let seq = i64::try_from(all.len()).unwrap() + 1;
            let (prev_hash, hash) = (format!("{:064x}", seq - 1), format!("{seq:064x}"));
            all.push(Event { seq, prev_hash, hash, draft });
        }
    }
}

impl Store for Memory {
    fn admit(&self, _: AdmitRequest) -> store::StoreFuture<'_, Admission> {
        unreachable!("the admin listener admits nothing")
    }
    fn settle(&self, _: Settlement) -> store::StoreFuture<'_, ()> {
        unreachable!("the admin listener settles nothing")
    }
    fn record(&self, events: Vec<EventDraft>) -> store::StoreFuture<'_, ()> {
        self.append(events);
        self.answer(())
    }
    fn order(&self, events: Vec<EventDraft>, after: i64) -> store::StoreFuture<'_, bool> {
        let fresh = !self.events.lock().iter().any(|e| e.seq > after && crate::evidence::is_order(&e.draft));
        if fresh {
            self.append(events);
        }
        self.answer(fresh)
    }
    fn ask(&self, _: ApprovalRecord, _: Vec<EventDraft>, _: AskLimits) -> store::StoreFuture<'_, Asked> {
        unreachable!("the admin listener asks nothing")
    }
    fn unsettled(&self) -> usize {
        0
    }
    fn approval(&self, id: ApprovalId) -> store::StoreFuture<'_, Option<ApprovalRecord>> {
        let found = self.approvals.lock().iter().find(|r| r.id == id).cloned();
        self.answer(found)
    }
    fn approval_for(
        &self,
        _: ApprovalBinding,
        _: Vec<Requirement>,
        _: Timestamp,
    ) -> store::StoreFuture<'_, Option<ApprovalRecord>> {
        unreachable!("the admin listener looks approvals up by id")
    }
    fn approvals(&self, filter: ApprovalFilter) -> store::StoreFuture<'_, Vec<ApprovalRecord>> {
        let fits = |r: &&ApprovalRecord| {
            (filter.status.is_empty() || filter.status.contains(&r.status))
                && filter.agent.as_ref().is_none_or(|a| a.matches(&r.binding.agent))
        };
        let found = self.approvals.lock().iter().filter(fits).cloned().collect();
        self.answer(found)
    }
    fn approval_heads(&self, limit: usize) -> store::StoreFuture<'_, Vec<ApprovalHead>> {
        let head =
            |r: &ApprovalRecord| ApprovalHead { id: r.id.clone(), version: r.version, status: r.status };
        let found = self.approvals.lock().iter().rev().take(limit).map(head).collect();
        self.answer(found)
    }
    fn update_approval(
        &self,
        update: ApprovalUpdate,
        events: Vec<EventDraft>,
    ) -> store::StoreFuture<'_, bool> {
        let mut approvals = self.approvals.lock();
        let record = approvals.iter_mut().find(|r| r.id == update.id && r.version == update.expected_version);
        let done = record.is_some_and(|record| {
            record.status = update.status;
            record.answers = update.answers;
            record.covered_by = update.covered_by;
            record.version += 1;
            true
        });
        if done {
            self.append(events);
        }
        self.answer(done)
    }
    fn make_grant(
        &self,
        update: ApprovalUpdate,
        grant: StandingGrant,
        events: Vec<EventDraft>,
        made: EventDraft,
        most: usize,
    ) -> store::StoreFuture<'_, GrantMade> {
        if self.grants.lock().iter().filter(|grant| grant.ended.is_none()).count() >= most {
            return self.answer(GrantMade::TooMany(most));
        }
        self.grants.lock().push(grant);
        self.append(vec![made]);
        self.update_approval(update, events).map(|done| done.map(|_| GrantMade::Made)).boxed()
    }
    fn grant(&self, id: GrantId) -> store::StoreFuture<'_, Option<StandingGrant>> {
        let found = self.grants.lock().iter().find(|grant| grant.id == id).cloned();
        self.answer(found)
    }
    fn grants(&self, filter: GrantFilter) -> store::StoreFuture<'_, Vec<StandingGrant>> {
        let fits = |grant: &&StandingGrant| !filter.live || grant.ended.is_none();
        let found = self.grants.lock().iter().rev().filter(fits).cloned().collect();
        self.answer(found)
    }
    fn end_grant(&self, id: GrantId, end: GrantEnd) -> store::StoreFuture<'_, Option<StandingGrant>> {
        let mut grants = self.grants.lock();
        let found = grants.iter_mut().find(|grant| grant.id == id && grant.ended.is_none());
        let ended = found.map(|grant| {
            *grant = grant.ended_by(end);
            grant.clone()
        });
        self.answer(ended)
    }
    fn approval_changes(&self) -> tokio::sync::watch::Receiver<u64> {
        self.changes.subscribe()
    }
    fn control_changes(&self) -> tokio::sync::watch::Receiver<u64> {
        self.changes.subscribe()
    }
    fn set(
        &self,
        changes: Vec<store::RegisterChange>,
        events: Vec<EventDraft>,
    ) -> store::StoreFuture<'_, bool> {
        let mut held = self.registers.lock();
        let version = |held: &Registers, change: &store::RegisterChange| {
            held.get(&(change.register, change.key.clone())).map_or(0, |(version, _)| *version)
        };
        let fits = changes
            .iter()
            .all(|change| change.expected.is_none_or(|expected| expected == version(&held, change)));
        if fits {
            for change in changes {
                let next = held.values().map(|(version, _)| *version).max().unwrap_or(0) + 1;
                let key = (change.register, change.key);
                match change.value {
                    Some(value) => held.insert(key, (next, value)),
                    None => held.remove(&key),
                };
            }
            self.append(events);
        }
        self.answer(fits)
    }
    fn register(&self, register: store::Register) -> store::StoreFuture<'_, Vec<store::RegisterEntry>> {
        let held = self.registers.lock();
        let of = held.iter().filter(|((of, _), _)| *of == register);
        let entry =
            |((_, key), (version, value)): (&(_, String), &(u64, serde_json::Value))| store::RegisterEntry {
                key: key.as_str().into(),
                version: *version,
                value: Arc::new(value.clone()),
            };
        let entries = of.map(entry).collect();
        self.answer(entries)
    }
    fn register_entry(
        &self,
        register: store::Register,
        key: String,
    ) -> store::StoreFuture<'_, Option<store::RegisterEntry>> {
        let found = self.registers.lock().get(&(register, key.clone())).map(|(version, value)| {
            store::RegisterEntry {
                key: key.as_str().into(),
                version: *version,
                value: Arc::new(value.clone()),
            }
        });
        self.answer(found)
    }
    fn register_changes(&self) -> tokio::sync::watch::Receiver<u64> {
        self.changes.subscribe()
    }
    fn events(&self, query: EventQuery) -> store::StoreFuture<'_, Vec<Event>> {
        let wanted = query.wanted();
        let fits = |e: &&Event| {
            wanted.fit(&Members::read(&e.draft.body()).unwrap())
                && query.after_seq.is_none_or(|s| e.seq > s)
                && query.until_seq.is_none_or(|s| e.seq <= s)
        };
        let mut found: Vec<Event> = self.events.lock().iter().filter(fits).cloned().collect();
        if query.newest_first {
            found.reverse();
        }
        found.truncate(query.limit);
        self.answer(found)
    }
    fn event_lines(&self, _: EventQuery) -> store::StoreFuture<'_, Vec<EventLine>> {
        unreachable!("the admin listener exports nothing")
    }
    fn committed(&self) -> tokio::sync::broadcast::Receiver<Arc<Event>> {
        self.committed.subscribe()
    }
    fn budget_usage(&self, _: Timestamp) -> store::StoreFuture<'_, Vec<BudgetUsage>> {
        self.answer(Vec::new())
    }
    fn reset_budget(&self, reset: store::BudgetReset) -> store::StoreFuture<'_, Vec<store::ResetCounter>> {
        let counter = store::ResetCounter {
            key: reset.key.unwrap_or_else(|| "*".to_owned()),
            before: store::Counted { calls: 3, ..store::Counted::default() },
            after: store::Counted::default(),
        };
        self.answer(vec![counter])
    }
    fn learned_sizes(&self) -> store::StoreFuture<'_, Arc<crate::cost::LearnedSizes>> {
        self.answer(Arc::default())
    }
    fn settle_dead_owners(&self, _: Timestamp) -> store::StoreFuture<'_, u64> {
        self.answer(0)
    }
    fn secret(&self, _: &'static str, fresh: [u8; 32]) -> store::StoreFuture<'_, [u8; 32]> {
        self.answer(fresh)
    }
    fn keep(&self, _: store::Kept) -> store::StoreFuture<'_, ()> {
        self.answer(())
    }
    fn kept(&self, _: store::KeptKind, _: String) -> store::StoreFuture<'_, Option<store::Kept>> {
        self.answer(None)
    }
    fn verify(&self) -> store::StoreFuture<'_, ChainReport> {
        self.answer(ChainReport { records: 0, head: String::new(), bad: None })
    }
    fn tree(&self, size: Option<u64>, _: store::TreePath) -> store::StoreFuture<'_, store::TreeAnswer> {
        let size = size.unwrap_or_default();
        self.answer(store::TreeAnswer { size, records: size, root: [0; 32], path: Vec::new() })
    }
    fn retire(&self, _: Timestamp, _: Timestamp) -> store::StoreFuture<'_, u64> {
        self.answer(0)
    }
    fn ping(&self) -> store::StoreFuture<'_, ()> {
        self.answer(())
    }
    fn close(&self) -> BoxFuture<'_, ()> {
        async {}.boxed()
    }
}

pub(in crate::front::admin) struct Scripted {
    pub(super) clock: Arc<Fake>,
    door: Doorkeeper,
    in_force: Mutex<Arc<InForce>>,
    approvals: Approvals,
    freezes: Freezes,
    pub(super) memory: Arc<Memory>,
    store: Arc<dyn Store>,
    sign_in: SignIn,
    seal: crate::front::state::SealedState,
    pub(super) ready: bool,
    pub(super) stopped: tokio_util::sync::CancellationToken,
}

impl Scripted {
    /// On loopback, with a key for scrapers or behind a proxy.
    pub(super) fn listen_on_loopback(&self, metrics_key: Option<&str>, behind_tls_proxy: bool) {
        let mut next = files();
        next.config.gateway.behind_tls_proxy = behind_tls_proxy;
        next.config.gateway.allowed_hosts = vec!["gate.example".to_owned()];
        next.config.admin.metrics_key = metrics_key.map(Into::into);
        *self.in_force.lock() = Arc::new(in_force(next));
    }

    /// As if the listener could be reached from other machines.
    pub(super) fn listen_beyond_loopback(&self, metrics_key: Option<&str>) {
        let mut next = files();
        let listen = "0.0.0.0:8788".parse().unwrap();
        next.config.admin =
            AdminConfig { listen, public_url: None, metrics_key: metrics_key.map(Into::into), oidc: None };
        *self.in_force.lock() = Arc::new(in_force(next));
    }

    /// With sign-in by OpenID Connect.
    pub(super) fn with_oidc(&self, rules: Arc<crate::config::OidcConfig>) {
        let mut next = files();
        next.config.admin.oidc = Some(rules);
        *self.in_force.lock() = Arc::new(in_force(next));
    }

    /// As a reload would.
    pub(super) fn change(&self, change: impl FnOnce(&mut Authority)) {
        let mut next = files();
        change(&mut next.policies.authority);
        next.config.admin.oidc.clone_from(&self.in_force.lock().config.admin.oidc);
        *self.in_force.lock() = Arc::new(in_force(next));
    }
}

impl AdminPort for Scripted {
    fn authenticate(&self, peer: IpAddr, authorization: &[u8]) -> Result<Principal, AuthError> {
        let in_force = self.in_force();
        let config = &in_force.config;
        self.door.authenticate(
            &in_force.keyring,
            &in_force.policies.authority,
            &config.auth,
            peer,
            &Presented::header(Some(authorization)),
        )
    }
    fn in_force(&self) -> Arc<InForce> {
        Arc::clone(&self.in_force.lock())
    }
    fn sign_in(&self) -> &SignIn {
        &self.sign_in
    }
    fn seal(&self) -> &dyn crate::gateway::StateSeal {
        &self.seal
    }
    fn readiness(&self) -> Readiness {
        Readiness {
            draining: false,
            ready: self.ready,
            details: vec!["upstream `crm` is down".to_owned()],
            rejected_reload: Some("bundle.yaml:3:1".to_owned()),
        }
    }
    fn now(&self) -> Timestamp {
        self.clock.now()
    }
    fn approvals(&self) -> &Approvals {
        &self.approvals
    }
    fn freezes(&self) -> &Freezes {
        &self.freezes
    }
    fn replay_dead_letter(
        &self,
        _: PersonId,
        _: crate::model::CallId,
    ) -> BoxFuture<'_, Result<serde_json::Value, crate::audit::DeadLetterError>> {
        async { Err(crate::audit::DeadLetterError::NotFound) }.boxed()
    }
    fn look_at_freezes(&self) -> BoxFuture<'_, ()> {
        async {}.boxed()
    }
    fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }
    fn explain(
        &self,
        question: Question,
        _snapshot: Option<SnapshotId>,
    ) -> BoxFuture<'_, Result<Explanation, ExplainError>> {
        let in_force = self.in_force();
        let parts = ResolverParts {
            clock: Arc::new(System::default()),
            ids: Arc::new(System::default()),
            learned: Arc::default(),
            call_key: None,
        };
        let (config, files) = (Config::clone(&in_force.config), files());
        let resolver = Resolver::new(config, files.policies, Catalog::default(), parts).unwrap();
        Box::pin(std::future::ready(resolver.explain(&question, true)))
    }
    fn metrics(&self, form: crate::telemetry::Exposition) -> BoxFuture<'_, String> {
        std::future::ready(format!("measured 1\n# {form:?}\n")).boxed()
    }
    fn catalog_costs(&self) -> Vec<crate::gateway::CatalogCost> {
        Vec::new()
    }
    fn stopped(&self) -> tokio_util::sync::CancellationToken {
        self.stopped.clone()
    }
    fn standing(&self) -> Arc<crate::activation::Standing> {
        Arc::default()
    }
    fn folder(&self) -> Option<(crate::activation::FolderState, Arc<crate::activation::Held>)> {
        None
    }
    fn order(
        &self,
        person: PersonId,
        wish: crate::gateway::Wish,
        reason: String,
    ) -> crate::front::admin::Ordering<'_, crate::activation::Outcome> {
        let told = format!("{person} {wish:?} {reason}");
        async move { Ok(crate::activation::Outcome::Nothing { snapshot: "s1".into(), why: told }) }.boxed()
    }
    fn start_rollout(
        &self,
        _: PersonId,
        _: String,
        _: (Vec<crate::evidence::Stage>, crate::evidence::Bounds),
        _: String,
    ) -> crate::front::admin::Ordering<'_, crate::evidence::Rollout> {
        async { Err(crate::activation::OrderError::RolloutRuns) }.boxed()
    }
    fn order_rollout(
        &self,
        _: PersonId,
        _: crate::gateway::RolloutWish,
        _: String,
    ) -> crate::front::admin::Ordering<'_, crate::evidence::Rollout> {
        async { Err(crate::activation::OrderError::NoRollout) }.boxed()
    }
    fn catalog_of<'a>(&'a self, _: &'a Holder) -> BoxFuture<'a, Arc<Catalog>> {
        Box::pin(std::future::ready(self.catalog()))
    }
    fn catalog(&self) -> Arc<Catalog> {
        let mut state = (*self.upstreams().remove(0)).clone();
        state.listing = Arc::new(Listing { tools: vec![json!({"name": "find"})], ..Listing::default() });
        state.health = Health::Up;
        Arc::new(CatalogBuilder::default().build(&self.in_force().config, &[Arc::new(state)]))
    }
    fn upstreams(&self) -> Vec<Arc<UpstreamState>> {
        vec![Arc::new(UpstreamState {
            name: "crm".into(),
            health: Health::Down {
                cause: Cause { reason: "refused".to_owned(), said: "it said last: `bye`".to_owned() },
                attempts: 2,
            },
            listing: Arc::new(Listing::default()),
            missing: Arc::default(),
            era: None,
            capabilities: Value::Null,
            server_info: Value::Null,
            instructions: None,
            containment: None,
            generation: 1,
        })]
    }
    fn pin_changes(&self, _of: Option<UpstreamName>) -> Vec<crate::catalog::PinChange> {
        Vec::new()
    }
    fn pin_findings(&self, _of: Option<UpstreamName>) -> Vec<crate::catalog::FoundItem> {
        Vec::new()
    }
    fn accept_pins(
        &self,
        _person: PersonId,
        upstream: UpstreamName,
        _named: (Option<String>, Option<crate::pinning::ItemKind>),
        _fingerprint: Option<String>,
    ) -> crate::front::admin::Accepting<'_, Vec<crate::catalog::Accepted>> {
        let told = format!("nothing of server `{upstream}` waits to be accepted");
        Box::pin(std::future::ready(Err(crate::catalog::AcceptError::Nothing(told))))
    }
    fn pin_all(
        &self,
        _person: PersonId,
        _of: Option<UpstreamName>,
    ) -> crate::front::admin::Accepting<'_, crate::front::admin::PinCounts> {
        Box::pin(std::future::ready(Ok(crate::front::admin::PinCounts::new())))
    }
}

pub(in crate::front::admin) fn scripted() -> Arc<Scripted> {
    let clock = Fake::at("2026-11-20T08:00:00Z".parse().unwrap());
    let memory = Arc::new(Memory::default());
    let store: Arc<dyn Store> = memory.clone();
    Arc::new(Scripted {
        door: Doorkeeper::new(clock.clone()),
        in_force: Mutex::new(Arc::new(in_force(files()))),
        approvals: Approvals::new(Arc::clone(&store), clock.clone()),
        freezes: Freezes::new(Arc::clone(&store), clock.clone()),
        sign_in: SignIn::new(clock.clone()),
        seal: crate::front::state::SealedState::new(&[7; 32]).unwrap(),
        clock,
        memory,
        store,
        ready: true,
        stopped: tokio_util::sync::CancellationToken::new(),
    })
}

pub(super) fn record(id: &str, evidence_required: bool) -> ApprovalRecord {
    ApprovalRecord {
        id: id.into(),
        version: 1,
        status: ApprovalStatus::Pending,
        binding: ApprovalBinding {
            agent: "planner-01".into(),
            user: None,
            workflow: None,
            tool: "files__write_file".to_owned(),
            fingerprint: "f".into(),
            digest: "d".into(),
            call: "c".into(),
            snapshot: "s1".into(),
        },
        call_id: "c1".into(),
        trace_id: TraceId::parse("0af7651916cd43dd8448eb211c80319c").unwrap(),
        workflow_id: None,
        capability_id: None,
        upstream: "files".into(),
        action: "files:write".to_owned(),
        arguments: json!({"path": "/srv/docs/a", "content": "[secret: 12 characters]"}),
        redacted: true,
        context: Default::default(),
        policy_id: "prod-safety-gate".into(),
        rule_id: Some("production".into()),
        reason: "production needs a person".to_owned(),
        cost_estimate_usd: MicroUsd(1250),
        operator: Some("alice".into()),
        attended: false,
        requirements: vec![Requirement {
            policy_id: "prod-safety-gate".into(),
            rule_id: Some("production".into()),
            reason: "production needs a person".to_owned(),
            approvers: vec![Approver::Group("security-team".into())],
            quorum: 1,
            evidence_required,
            separate: false,
            channels: ChannelKind::ALL.to_vec(),
            escalation: None,
            grants: None,
        }],
        created_at: "2026-11-20T08:00:00Z".parse().unwrap(),
        expires_at: "2026-11-20T08:15:00Z".parse().unwrap(),
        answers: Vec::new(),
        shape: None,
        covered_by: None,
    }
}

/// An approval of which a standing grant can be made: for at most eight hours and 50 calls.
pub(super) fn grantable(id: &str) -> ApprovalRecord {
    let mut record = record(id, false);
    let limits = GrantLimits { max_duration: std::time::Duration::from_secs(8 * 3600), max_uses: 50 };
    record.requirements[0].grants = Some(limits);
    record.arguments = json!({"path": "/scratch/a", "mode": "append"});
    record.redacted = false;
    record.context.complete = true;
    let digests =
        [("mode", "m"), ("path", "p")].map(|(name, digest)| (name.to_owned(), Digest::from(digest)));
    record.shape =
        Some(CallShape { arguments: digests.into(), extras: Digest::from("e"), masked: Default::default() });
    record
}
