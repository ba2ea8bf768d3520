//! Every metric that there is, by name. `docs/observability.md` has the same table for people.

use super::meter::{About, Counters, Histograms, Kind, Label, Labels, Reading, Told};
use crate::model::TraceId;
use opentelemetry::metrics::Meter;
use parking_lot::Mutex;
use std::time::Duration;

/// The convention's fourteen buckets of an MCP operation or session, in microseconds.
const MCP: &[u64] = &[
    10_000,
    20_000,
    50_000,
    100_000,
    200_000,
    500_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    120_000_000,
    300_000_000,
];
/// A whole call, from a refusal to a person who was asked.
const CALL: &[u64] = &[
    500,
    1_000,
    2_000,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    300_000_000,
];
/// What is ours of a call, and a commit of the store.
const OWN: &[u64] = &[
    50, 100, 200, 300, 500, 750, 1_000, 1_500, 2_000, 3_000, 5_000, 10_000, 20_000, 50_000, 100_000,
    1_000_000, 10_000_000,
];
/// How far an estimate is off, in millionths of what a result took.
const SHARE: &[u64] =
    &[50_000, 100_000, 150_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000, 10_000_000];
/// One estimate cannot make the sum of all others meaningless.
const MOST_OFF: u64 = 1_000;
/// A person.
const PERSON: &[u64] = &[
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    120_000_000,
    300_000_000,
    600_000_000,
    900_000_000,
    1_800_000_000,
    3_600_000_000,
    14_400_000_000,
    86_400_000_000,
];

/// Cells of a family by tool, and of one by agent; a catalog that is larger is counted as `other`.
const MOST_TOOLS: usize = 4_000;
const MOST_AGENTS: usize = 1_000;
const MOST: usize = 2_000;

/// What a connection runs over, in the convention's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// HTTP.
    #[default]
    Tcp,
    /// stdio.
    Pipe,
}

impl Transport {
    /// `network.transport`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Pipe => "pipe",
        }
    }
}

/// An MCP request that was answered, on one of the two sides.
#[derive(Clone, Debug)]
pub struct Operation {
    /// `mcp.method.name`
    pub method: &'static str,
    /// `gen_ai.tool.name`: of a tool that there is.
    pub tool: Label,
    /// `gen_ai.prompt.name`: of a prompt that there is.
    pub prompt: Label,
    /// `error.type`, where it failed.
    pub error: Label,
    /// The error's code, where there is one.
    pub has_code: bool,
    /// `network.transport`
    pub transport: Transport,
}

impl Operation {
    /// A method that names nothing.
    pub fn of(method: &'static str, transport: Transport) -> Self {
        let none = Label::NONE;
        Self { method, tool: none.clone(), prompt: none.clone(), error: none, has_code: false, transport }
    }

    /// With how it failed: the code of its JSON-RPC error, or `tool_error`.
    #[must_use]
    pub fn failed(mut self, code: Option<i64>) -> Self {
        (self.error, self.has_code) = match code {
            // Codes are an upstream's to choose: those of the protocol and of HTTP have a name, the others share one.
            Some(code @ (-32_768..=-32_000 | 400..=599)) => (Label::Name(code.to_string().into()), true),
            Some(_) => (Label::Word("_OTHER"), false),
            None => (Label::Word("tool_error"), false),
        };
        self
    }

    fn labels(&self) -> [Label; 6] {
        let code = if self.has_code { self.error.clone() } else { Label::NONE };
        [
            Label::Word(self.method),
            self.tool.clone(),
            self.prompt.clone(),
            self.error.clone(),
            code,
            Label::Word(self.transport.as_str()),
        ]
    }
}

/// The keys of [`Operation::labels`].
const OPERATION: [&str; 6] = [
    "mcp.method.name",
    "gen_ai.tool.name",
    "gen_ai.prompt.name",
    "error.type",
    "rpc.response.status_code",
    "network.transport",
];

const fn duration(name: &'static str, exposed: &'static str, help: &'static str) -> About {
    About { name, exposed, help, unit: "s", exposed_unit: "seconds", kind: Kind::Histogram }
}

const fn counter(name: &'static str, exposed: &'static str, unit: &'static str, help: &'static str) -> About {
    About { name, exposed, help, unit, exposed_unit: "", kind: Kind::Counter }
}

/// What is counted as it happens.
#[derive(Debug)]
pub struct Metrics {
    /// Decisions: kind, upstream, decision.
    pub calls: Counters<3>,
    /// From a call's first byte to its reply: kind, upstream, decision.
    pub call_duration: Histograms<3>,
    /// The part of it that was neither an upstream's nor a person's: kind.
    pub overhead: Histograms<1>,
    /// From an ask to its end: outcome.
    pub approval_wait: Histograms<1>,
    /// In millionths of a dollar: agent.
    pub cost: Counters<1>,
    /// Tokens of arguments and results: agent.
    pub tokens: Counters<1>,
    /// Credentials that opened nothing: reason.
    pub auth_failures: Counters<1>,
    /// From a call's admission being asked for to its commit.
    pub store_admit: Histograms<0>,
    estimate_error: Histograms<0>,
    /// What webhooks were told: webhook, result.
    pub webhook_messages: Counters<2>,
    /// What a collector did not take: signal.
    pub dropped: Counters<1>,
    server_operation: Histograms<6>,
    client_operation: Histograms<7>,
    /// Sessions of clients here: transport, version.
    pub server_session: Histograms<2>,
    /// Sessions of ours at upstreams: transport, upstream, version, how they failed.
    pub client_session: Histograms<4>,
}

impl Default for Metrics {
    // Long: one entry for each metric, with its words
    fn default() -> Self {
        let mcp = |name, exposed, help| duration(name, exposed, help);
        Self {
            calls: Counters::new(
                counter("tollgate.calls", "tollgate_calls", "{call}", "Decisions on calls"),
                ["kind", "upstream", "decision"],
                1,
                MOST,
            ),
            call_duration: Histograms::new(
                duration(
                    "tollgate.call.duration",
                    "tollgate_call_duration_seconds",
                    "From a call's arrival to its reply",
                ),
                ["kind", "upstream", "decision"],
                CALL,
                MOST,
            ),
            overhead: Histograms::new(
                duration(
                    "tollgate.overhead",
                    "tollgate_overhead_seconds",
                    "What Tollgate itself took of a call: neither the upstream's time nor a person's",
                ),
                ["kind"],
                OWN,
                MOST,
            ),
            approval_wait: Histograms::new(
                duration(
                    "tollgate.approval.wait",
                    "tollgate_approval_wait_seconds",
                    "From an approval being asked for to its end",
                ),
                ["outcome"],
                PERSON,
                MOST,
            ),
            cost: Counters::new(
                About {
                    exposed_unit: "usd",
                    ..counter("tollgate.cost", "tollgate_cost_usd", "usd", "What settled calls cost, in USD")
                },
                ["agent"],
                1_000_000,
                MOST_AGENTS,
            ),
            tokens: Counters::new(
                counter(
                    "tollgate.tokens",
                    "tollgate_tokens",
                    "{token}",
                    "Tokens of arguments and results of settled calls",
                ),
                ["agent"],
                1,
                MOST_AGENTS,
            ),
            auth_failures: Counters::new(
                counter(
                    "tollgate.auth.failures",
                    "tollgate_auth_failures",
                    "{request}",
                    "Requests whose credential opened nothing",
                ),
                ["reason"],
                1,
                MOST,
            ),
            store_admit: Histograms::new(
                duration(
                    "tollgate.store.admit",
                    "tollgate_store_admit_seconds",
                    "From a call's admission being asked for to its commit",
                ),
                [],
                OWN,
                1,
            ),
            estimate_error: Histograms::new(
                About {
                    name: "tollgate.estimate.error",
                    exposed: "tollgate_estimate_error_ratio",
                    help: "Estimated against real tokens of results: the difference as a share of what they took",
                    unit: "1",
                    exposed_unit: "ratio",
                    kind: Kind::Histogram,
                },
                [],
                SHARE,
                1,
            ),
            webhook_messages: Counters::new(
                counter(
                    "tollgate.webhook.messages",
                    "tollgate_webhook_messages",
                    "{message}",
                    "Messages to webhooks: sent, failed (and tried again), refused or dropped",
                ),
                ["webhook", "result"],
                1,
                MOST,
            ),
            dropped: Counters::new(
                counter(
                    "tollgate.otlp.dropped",
                    "tollgate_otlp_dropped",
                    "{item}",
                    "Spans and log lines that no collector took",
                ),
                ["signal"],
                1,
                MOST,
            ),
            server_operation: Histograms::new(
                mcp(
                    "mcp.server.operation.duration",
                    "mcp_server_operation_duration_seconds",
                    "The duration of an MCP request as its receiver sees it",
                ),
                OPERATION,
                MCP,
                MOST_TOOLS,
            ),
            client_operation: Histograms::new(
                mcp(
                    "mcp.client.operation.duration",
                    "mcp_client_operation_duration_seconds",
                    "The duration of an MCP request as its sender sees it",
                ),
                [
                    "mcp.method.name",
                    "gen_ai.tool.name",
                    "gen_ai.prompt.name",
                    "error.type",
                    "rpc.response.status_code",
                    "network.transport",
                    "tollgate.upstream",
                ],
                MCP,
                MOST_TOOLS,
            ),
            server_session: Histograms::new(
                mcp(
                    "mcp.server.session.duration",
                    "mcp_server_session_duration_seconds",
                    "The duration of an MCP session as its server sees it",
                ),
                ["network.transport", "mcp.protocol.version"],
                MCP,
                MOST,
            ),
            client_session: Histograms::new(
                mcp(
                    "mcp.client.session.duration",
                    "mcp_client_session_duration_seconds",
                    "The duration of an MCP session as its client sees it",
                ),
                ["network.transport", "tollgate.upstream", "mcp.protocol.version", "error.type"],
                MCP,
                MOST,
            ),
        }
    }
}

impl Metrics {
    /// A client's request was answered.
    pub fn served(&self, operation: &Operation, took: Duration, trace: Option<TraceId>) {
        self.server_operation.observe(operation.labels(), took, trace);
    }

    /// An upstream answered a request of ours, or did not.
    pub fn asked(&self, operation: &Operation, upstream: Label, took: Duration, trace: Option<TraceId>) {
        let [method, tool, prompt, error, code, transport] = operation.labels();
        self.client_operation.observe([method, tool, prompt, error, code, transport, upstream], took, trace);
    }

    /// What a result was expected to take and what it took, in tokens.
    pub fn estimated(&self, expected: u64, took: u64, trace: Option<TraceId>) {
        let off = u128::from(expected.abs_diff(took)) * 1_000 / u128::from(took.max(1));
        let off = u64::try_from(off).unwrap_or(u64::MAX).min(MOST_OFF * 1_000);
        // A share of one is taken in like a second: both are the whole of their unit.
        self.estimate_error.observe([], Duration::from_millis(off), trace);
    }

    /// Has what falls into buckets go to a collector too.
    pub(super) fn export_to(&self, meter: &Meter) {
        self.call_duration.export_to(meter);
        self.overhead.export_to(meter);
        self.approval_wait.export_to(meter);
        self.store_admit.export_to(meter);
        self.estimate_error.export_to(meter);
        self.server_operation.export_to(meter);
        self.client_operation.export_to(meter);
        self.server_session.export_to(meter);
        self.client_session.export_to(meter);
    }

    /// All of it as it stands.
    pub fn told(&self) -> Vec<Told> {
        let Self {
            calls,
            call_duration,
            overhead,
            approval_wait,
            cost,
            tokens,
            auth_failures,
            store_admit,
            estimate_error,
            webhook_messages,
            dropped,
            server_operation,
            client_operation,
            server_session,
            client_session,
        } = self;
        vec![
            calls.told(),
            call_duration.told(),
            overhead.told(),
            approval_wait.told(),
            cost.told(),
            tokens.told(),
            auth_failures.told(),
            store_admit.told(),
            estimate_error.told(),
            webhook_messages.told(),
            dropped.told(),
            server_operation.told(),
            client_operation.told(),
            server_session.told(),
            client_session.told(),
        ]
    }
}

/// What can be looked at, at any moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gauge {
    /// Approvals that wait for a person.
    ApprovalsPending,
    /// Whether an upstream is up.
    UpstreamUp,
    /// Whether the store takes writes.
    StoreUp,
    /// Records on the chain.
    StoreRecords,
    /// Settlements that are not committed yet.
    StoreUnsettled,
    /// What was found damaged.
    StoreDamaged,
    /// Freezes in force.
    Freezes,
    /// Dead letters that nobody has handled.
    DeadLetters,
    /// Items of upstreams that wait for a person.
    Quarantined,
    /// Alerts that nobody has said anything about, by kind.
    AlertsOpen,
    /// Which version runs.
    Build,
}

impl Gauge {
    /// Each of them.
    pub const ALL: [Self; 11] = [
        Self::ApprovalsPending,
        Self::UpstreamUp,
        Self::StoreUp,
        Self::StoreRecords,
        Self::StoreUnsettled,
        Self::StoreDamaged,
        Self::Freezes,
        Self::DeadLetters,
        Self::Quarantined,
        Self::AlertsOpen,
        Self::Build,
    ];

    pub(super) fn about(self) -> About {
        let (name, exposed, unit, help) = match self {
            Self::ApprovalsPending => (
                "tollgate.approvals.pending",
                "tollgate_approvals_pending",
                "{approval}",
                "Approvals that wait for a person",
            ),
            Self::UpstreamUp => (
                "tollgate.upstream.up",
                "tollgate_upstream_up",
                "1",
                "1 where an upstream is connected and listed",
            ),
            Self::StoreUp => {
                ("tollgate.store.up", "tollgate_store_up", "1", "1 where the store takes writes")
            }
            Self::StoreRecords => (
                "tollgate.store.records",
                "tollgate_store_records",
                "{record}",
                "The number of the newest record",
            ),
            Self::StoreUnsettled => (
                "tollgate.store.unsettled",
                "tollgate_store_unsettled",
                "{call}",
                "Settlements that are not committed yet",
            ),
            Self::StoreDamaged => (
                "tollgate.store.damaged",
                "tollgate_store_damaged",
                "{record}",
                "What this process has found that is not as it was written",
            ),
            Self::Freezes => ("tollgate.freezes", "tollgate_freezes", "{freeze}", "Freezes in force"),
            Self::DeadLetters => (
                "tollgate.dead_letters.open",
                "tollgate_dead_letters_open",
                "{call}",
                "Dead letters that nobody has handled",
            ),
            Self::Quarantined => (
                "tollgate.tools.quarantined",
                "tollgate_tools_quarantined",
                "{tool}",
                "Tools and other items that wait for a person to accept them",
            ),
            Self::AlertsOpen => (
                "tollgate.alerts.open",
                "tollgate_alerts_open",
                "{alert}",
                "Alerts that nobody has said anything about",
            ),
            Self::Build => (
                "tollgate.build.info",
                "tollgate_build_info",
                "1",
                "Always 1; its label is the version that runs",
            ),
        };
        About { name, exposed, help, unit, exposed_unit: "", kind: Kind::Gauge }
    }
}

/// What a gauge was found to stand at.
pub type Standing = (Gauge, Labels, f64);

/// The gauges as they were last looked at.
#[derive(Debug, Default)]
pub struct Gauges(Mutex<Vec<Standing>>);

impl Gauges {
    /// Puts what was found in the place of what was found before.
    pub fn put(&self, found: Vec<Standing>) {
        *self.0.lock() = found;
    }

    /// As they stand.
    pub fn told(&self) -> Vec<Told> {
        let found = self.0.lock();
        let of = |gauge: Gauge| {
            let cells = found.iter().filter(|(one, _, _)| *one == gauge);
            let cells = cells.map(|(_, labels, value)| (labels.clone(), Reading::Number(*value))).collect();
            Told { about: gauge.about(), cells }
        };
        Gauge::ALL.into_iter().map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn estimates_are_held_against_what_results_took() {
        let metrics = Metrics::default();
        for (expected, took) in [(100, 100), (90, 100), (100, 50), (0, 0), (u64::MAX, 1)] {
            metrics.estimated(expected, took, None);
        }
        let told = metrics.estimate_error.told();
        let Some((_, Reading::Buckets { bounds, counts, sum, .. })) = told.cells.first() else {
            panic!("{told:?}")
        };
        assert_eq!(bounds.join(" "), "0.05 0.1 0.15 0.25 0.5 1.0 2.5 5.0 10.0");
        assert_eq!(counts, &[2, 1, 0, 0, 0, 1, 0, 0, 0, 1]);
        assert!((sum - 1_001.1).abs() < 1e-9, "{sum}");
    }
}
