//! The gateway under test, with every control on: key, scope, schema, redaction, cost, policies, rates, a budget
//! and the audit chain.

use crate::{Fallible, load::Target};
use sha2::{Digest, Sha256};
use std::{
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const KEY: &str = "bench-agent-key";
/// The agent beside the measured one.
const NEIGHBOUR_KEY: &str = "bench-neighbour-key";

const BUNDLE: &str = "version: \"1\"\nowner: bench\ndefault_decision: DENY\n";

const POLICIES: &str = r#"version: "1"
policies:
  - id: rates
    description: Far above what is measured
    conditions:
      agent_types: [bench]
      max_calls_per_minute: 1000000000
      max_cost_per_minute_usd: 1000000.00
    actions:
      on_violation: throttle
"#;

const BUDGETS: &str = r"budgets:
  - id: bench-day
    scope: agent
    window: day
    max_calls: 1000000000
    max_cost_usd: 1000000.00
    on_exceed: deny
";

const GATES: [(&str, &str); 4] = [
    (
        "reads.yaml",
        r#"name: reads
description: The call that is measured
on:
  - label: read
rules:
  - id: long
    condition: "size(args.text) > 150"
    decision: DENY
  - id: read
    condition: "agent.role == 'reader' && args.count < 10 && env == 'bench'"
    decision: ALLOW
"#,
    ),
    (
        "limits.yaml",
        r#"name: limits
description: Limits that hold every call
on:
  - upstream: bench
rules:
  - id: limits
    condition: "cost.estimate_usd < 1.0"
    decision: ALLOW_WITH_CONSTRAINTS
    constraints: { max_cost: 10.00, timeout: 30s }
"#,
    ),
    (
        "flows.yaml",
        r#"name: flows
description: Matches, and lets it be
on:
  - tool: "bench__*"
rules:
  - id: restricted
    condition: "data.level == 'restricted' && tool.open_world && !args.text.startsWith('note')"
    decision: DENY
"#,
    ),
    (
        "writes.yaml",
        r#"name: writes
description: Concerns other tools
on:
  - label: write
rules:
  - id: ask
    decision: REQUIRE_APPROVAL
"#,
    ),
];

/// The store of one machine.
pub(crate) const EMBEDDED: &str = "sqlite:data/tollgate.db";

/// A running gateway; it ends with this value.
pub(crate) struct Gateway {
    pub(crate) target: Target,
    child: Child,
    _folder: tempfile::TempDir,
}

impl Gateway {
    /// Starts one whose store is at `store`.
    pub(crate) async fn start(binary: &Path, upstream: u16, store: &str) -> Fallible<Self> {
        let folder = tempfile::tempdir()?;
        let (listen, admin) = (free_port()?, free_port()?);
        write_configuration(folder.path(), (listen, admin, upstream), store)?;
        // Not beside servers.toml, where a file that grows wakes whoever waits for changes of the configuration.
        let logs = folder.path().join("logs");
        std::fs::create_dir(&logs)?;
        let log = std::fs::File::create(logs.join("gateway.log"))?;
        let child = Command::new(binary)
            .args(["serve", "--config"])
            .arg(folder.path().join("servers.toml"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let mut gateway = Self { target: Target::through(listen, KEY), child, _folder: folder };
        for _ in 0..300 {
            if gateway.child.try_wait()?.is_some() {
                break;
            }
            if ready(admin).await {
                return Ok(gateway);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let log =
            std::fs::read_to_string(gateway._folder.path().join("logs/gateway.log")).unwrap_or_default();
        Err(format!("the gateway did not become ready:\n{log}").into())
    }

    /// The tool of this name, as the agent beside the measured one calls it.
    pub(crate) fn neighbour(&self, tool: &str) -> Target {
        self.target.with(format!("bench__{tool}"), NEIGHBOUR_KEY)
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Resident memory in bytes.
    pub(crate) fn rss(&self) -> Fallible<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
        let kib: u64 = line.trim().trim_end_matches(" kB").trim().parse()?;
        Ok(kib * 1024)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // Nothing is left to do where it has ended already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn free_port() -> Fallible<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn write_configuration(
    folder: &Path,
    (listen, admin, upstream): (u16, u16, u16),
    store: &str,
) -> Fallible<()> {
    let servers = format!(
        r#"[gateway]
listen = "127.0.0.1:{listen}"
environment = "bench"
policies = "policies"
data_dir = "data"
max_sessions = 5000

[admin]
listen = "127.0.0.1:{admin}"

[store]
url = "{store}"

[upstreams.bench]
url = "http://127.0.0.1:{upstream}/mcp"
max_concurrency = 256

[upstreams.bench.tools.echo]
labels = ["read"]
read_only = true
cost_usd = 0.0001
"#
    );
    let authority = format!(
        r#"capabilities:
  bench.read:
    tools: ["bench__echo"]
    condition: "args.count >= 0"
  bench.any:
    tools: ["bench__*"]
agents:
  bench:
    type: bench
    role: reader
    tenant: bench
    owner: bench
    workflow: wf-bench
    model: gpt-4o
    capabilities: [bench.read]
    keys: ["sha256:{}"]
  neighbour:
    type: bench
    role: reader
    tenant: bench
    owner: bench
    workflow: wf-bench
    model: gpt-4o
    capabilities: [bench.any]
    keys: ["sha256:{}"]
workflows:
  wf-bench: {{ owner: bench }}
"#,
        hex::encode(Sha256::digest(KEY)),
        hex::encode(Sha256::digest(NEIGHBOUR_KEY)),
    );
    let policies = folder.join("policies");
    std::fs::create_dir(&policies)?;
    std::fs::write(folder.join("servers.toml"), servers)?;
    std::fs::write(policies.join("bundle.yaml"), BUNDLE)?;
    std::fs::write(policies.join("authority.yaml"), authority)?;
    std::fs::write(policies.join("budgets.yaml"), BUDGETS)?;
    std::fs::write(policies.join("rates.yaml"), POLICIES)?;
    for (name, text) in GATES {
        std::fs::write(policies.join(name), text)?;
    }
    Ok(())
}

/// Whether `/readyz` answers 200.
async fn ready(admin: u16) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(("127.0.0.1", admin)).await?;
        let request = format!("GET /readyz HTTP/1.1\r\nHost: 127.0.0.1:{admin}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    ask.await.is_ok_and(|answer| answer.starts_with(b"HTTP/1.1 200"))
}
