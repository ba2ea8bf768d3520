//! Local servers that are contained (R95), and try to get out: the kernel refuses each attempt, and servers as people use
//! them run all the same.
//!
//! What a kernel lacks is named. Where `CI` is set it must lack nothing: those machines run Linux 6.12 or newer as root, with
//! Landlock, namespaces and control groups. Elsewhere a test whose limit cannot stand says so and ends.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test"
)]

use futures::future::BoxFuture;
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};
use tollgate::{
    clock::System,
    config,
    model::{RetryPlan, RpcError, TraceId, UpstreamName},
    upstream::{
        CallRelay, CallerKey, Era, Health, Timing, Upstream, UpstreamDeps, UpstreamError, UpstreamRequest,
        UpstreamSet, UpstreamState,
    },
};

const BUNDLE: &[(&str, &str)] =
    &[("bundle.yaml", "version: 1\nowner: o\n"), ("authority.yaml", "capabilities: {}\nagents: {}\n")];

fn repository(path: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path).display().to_string()
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(120), future).await.expect("it did not happen")
}

/// A folder with servers.toml, a bundle, a home with a key in it, and something to read and to write.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        for made in ["policies", "home/.ssh", "docs", "out", ".tollgate"] {
            std::fs::create_dir_all(at(made)).unwrap();
        }
        for (file, text) in BUNDLE {
            std::fs::write(at("policies").join(file), text).unwrap();
        }
        for (file, text) in [
            ("home/.ssh/id_ed25519", "a private key"),
            ("docs/read.md", "what may be read"),
            ("elsewhere", "of nobody's concern"),
            (".tollgate/tollgate.db", "the store"),
        ] {
            std::fs::write(at(file), text).unwrap();
        }
        Self { folder }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join(path)
    }

    fn shown(&self, path: &str) -> String {
        self.at(path).display().to_string()
    }

    fn load(&self, upstreams: &str) -> Result<config::Loaded, String> {
        let path = self.at("servers.toml");
        std::fs::write(&path, upstreams).unwrap();
        let home = self.shown("home");
        let env = move |name: &str| (name == "HOME").then(|| home.clone());
        config::load(&path, &env).map_err(|problems| problems.to_string())
    }

    /// Starts what a servers.toml has, as the gateway does.
    async fn start(&self, upstreams: &str) -> UpstreamSet {
        let config = self.load(upstreams).unwrap().config;
        let set = UpstreamSet::start(config.upstreams.into_values(), deps());
        soon(set.settled()).await;
        set
    }

    /// One contained server that attacks.
    async fn attacker(&self, command: &[&str], contain: &str) -> (UpstreamSet, Arc<dyn Upstream>) {
        let command = serde_json::to_string(command).unwrap();
        let text = format!(
            "[upstreams.a]\ncommand = {command}\nenv = {{ HOME = \"{}\" }}\ncontain = {contain}\n",
            self.shown("home")
        );
        let set = self.start(&text).await;
        let upstream = set.get(&UpstreamName::from("a")).unwrap();
        let state = state(&upstream);
        assert_eq!(state.health, Health::Up, "{state:?}");
        (set, upstream)
    }
}

fn deps() -> UpstreamDeps {
    let system = Arc::new(System::default());
    let mut deps = UpstreamDeps::new(system.clone(), system, Arc::new(str::to_owned)).unwrap();
    deps.supervisor = vec![env!("CARGO_BIN_EXE_tollgate").into(), "supervise-child".into()];
    deps.own_binary = env!("CARGO_BIN_EXE_tollgate").into();
    deps.timing = Timing { restart_first: Duration::from_millis(10), ..Timing::default() };
    deps
}

fn state(upstream: &Arc<dyn Upstream>) -> Arc<UpstreamState> {
    upstream.state().borrow().clone()
}

/// Whether everything that was asked for stands; what does not is told, and is a failure where the kernel is known.
fn stands(upstream: &Arc<dyn Upstream>) -> bool {
    let state = state(upstream);
    let stands = state.containment.as_ref().expect("it is contained");
    if stands.missing.is_empty() {
        return true;
    }
    assert!(std::env::var_os("CI").is_none(), "this kernel should give: {:?}", stands.missing);
    eprintln!("not tried: this kernel does not give {:?}", stands.missing);
    false
}

struct Mute;

impl CallRelay for Mute {
    fn notify(&self, _: &str, _: Value) {}
    fn ask(&self, _: String, _: Value) -> BoxFuture<'static, Result<Value, RpcError>> {
        Box::pin(async { Err(RpcError::new(-1, "nobody")) })
    }
}

async fn call(upstream: &Arc<dyn Upstream>, tool: &str, arguments: Value) -> Result<Value, UpstreamError> {
    let Value::Object(params) = json!({"name": tool, "arguments": arguments}) else { unreachable!() };
    let request = UpstreamRequest {
        method: "tools/call",
        params: params.into(),
        client_capabilities: json!({}),
        wants_progress: false,
        log_level: None,
        trace_id: TraceId::from_bytes([7; 16]),
        below: Default::default(),
        timeout: Duration::from_secs(60),
        retry: RetryPlan::Never,
        param_headers: Vec::new(),
        caller: CallerKey { agent: "a".into(), user: None, session: "s".into() },
        era: Era::Legacy,
    };
    soon(upstream.call(request, Arc::new(Mute))).await
}

/// What an attack came to: what it got, or how it was refused.
async fn tried(upstream: &Arc<dyn Upstream>, tool: &str, arguments: Value) -> Result<String, String> {
    let result = call(upstream, tool, arguments).await.unwrap();
    let told: Value = serde_json::from_str(result["content"][0]["text"].as_str().unwrap()).unwrap();
    match (told["got"].as_str(), told["refused"].as_str()) {
        (Some(got), None) => Ok(got.to_owned()),
        (None, Some(refused)) => Err(refused.to_owned()),
        _ => panic!("{told}"),
    }
}

const PYTHON: &[&str] = &["/usr/bin/python3"];

async fn refused(upstream: &Arc<dyn Upstream>, tool: &str, arguments: Value) {
    let told = tried(upstream, tool, arguments.clone()).await;
    let words = ["ermission denied", "EACCES", "not permitted", "EPERM"];
    assert!(
        told.as_ref().is_err_and(|why| words.iter().any(|word| why.contains(word))),
        "{tool} {arguments}: {told:?}"
    );
}

async fn allowed(upstream: &Arc<dyn Upstream>, tool: &str, arguments: Value) -> String {
    tried(upstream, tool, arguments.clone()).await.unwrap_or_else(|why| panic!("{tool} {arguments}: {why}"))
}

/// R95: files. Only what the table names, and what it takes to start.
#[tokio::test]
async fn a_contained_server_reaches_the_files_of_its_table_and_no_others() {
    let place = Place::new();
    let script = [repository("tests/contain/attack.py"), repository("tests/contain/attack.mjs")];
    for command in [[PYTHON[0], &script[0]], ["node", &script[1]]] {
        let contain = r#"{ network = false, read = ["docs"], write = ["out"] }"#;
        let (set, up) = place.attacker(&command, contain).await;
        if !stands(&up) {
            return;
        }
        let path = |path: &str| json!({"path": place.shown(path)});
        assert_eq!(allowed(&up, "read", path("docs/read.md")).await, "what may be read");
        allowed(&up, "write", path("out/new")).await;
        allowed(&up, "list", path("out")).await;
        allowed(&up, "read", json!({"path": "/proc/self/status"})).await;
        for file in [
            "home/.ssh/id_ed25519",
            "elsewhere",
            "servers.toml",
            "policies/authority.yaml",
            ".tollgate/tollgate.db",
        ] {
            refused(&up, "read", path(file)).await;
            refused(&up, "write", path(file)).await;
        }
        for folder in [".", "home", "home/.ssh", ".tollgate", "policies"] {
            refused(&up, "list", path(folder)).await;
        }
        refused(&up, "write", path("docs/read.md")).await;
        refused(&up, "write", path("docs/new")).await;
        refused(&up, "list", json!({"path": "/"})).await;
        refused(&up, "read", json!({"path": "/etc/shadow"})).await;
        refused(&up, "read", json!({"path": format!("/proc/{}/environ", std::process::id())})).await;
        // What it starts is held to the same.
        assert!(tried(&up, "run", json!({"command": ["/bin/cat", place.shown("elsewhere")]})).await.is_err());
        assert!(
            allowed(&up, "run", json!({"command": ["/bin/cat", place.shown("docs/read.md")]}))
                .await
                .contains("may be read")
        );
        assert_eq!(std::fs::read_to_string(place.at("elsewhere")).unwrap(), "of nobody's concern");
        soon(set.shutdown(Duration::ZERO)).await;
    }
    let (_set, up) = place.attacker(&[PYTHON[0], &script[0]], r#"{ read = ["docs"] }"#).await;
    refused(&up, "truncate", json!({"path": place.shown("elsewhere")})).await;
    refused(&up, "truncate", json!({"path": place.shown("docs/read.md")})).await;
    assert_eq!(std::fs::read_to_string(place.at("docs/read.md")).unwrap(), "what may be read");
}

/// R95: no network: neither TCP nor UDP, nor a socket with a name, nor one without a path.
#[tokio::test]
async fn a_contained_server_reaches_no_socket() {
    use std::os::linux::net::SocketAddrExt as _;
    let place = Place::new();
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let named = std::os::unix::net::UnixListener::bind(place.at("out/named")).unwrap();
    let name = format!("tollgate-test-{}", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    let _abstract = std::os::unix::net::UnixListener::bind_addr(&address).unwrap();
    let (tcp_port, udp_port) = (tcp.local_addr().unwrap().port(), udp.local_addr().unwrap().port());
    let script = repository("tests/contain/attack.py");
    let (set, up) = place.attacker(&[PYTHON[0], &script], r#"{ write = ["out"] }"#).await;
    if !stands(&up) {
        return;
    }
    refused(&up, "tcp", json!({"port": tcp_port})).await;
    refused(&up, "udp", json!({"port": udp_port})).await;
    refused(&up, "named", json!({"path": place.shown("out/named")})).await;
    refused(&up, "abstract", json!({"name": name})).await;
    // Between its own processes it may talk.
    allowed(&up, "pair", json!({})).await;
    soon(set.shutdown(Duration::ZERO)).await;

    let node = repository("tests/contain/attack.mjs");
    let (set, up) = place.attacker(&["node", &node], r#"{ network = false }"#).await;
    refused(&up, "tcp", json!({"port": tcp_port})).await;
    refused(&up, "udp", json!({"port": udp_port})).await;
    refused(&up, "named", json!({"path": place.shown("out/named")})).await;
    soon(set.shutdown(Duration::ZERO)).await;

    // What is granted works: the network, and a named socket that `write` names.
    let (set, up) = place.attacker(&[PYTHON[0], &script], r#"{ network = true }"#).await;
    assert_eq!(allowed(&up, "tcp", json!({"port": tcp_port})).await, "connected");
    assert_eq!(allowed(&up, "udp", json!({"port": udp_port})).await, "sent");
    refused(&up, "named", json!({"path": place.shown("out/named")})).await;
    refused(&up, "abstract", json!({"name": name})).await;
    soon(set.shutdown(Duration::ZERO)).await;
    let (_set, up) = place.attacker(&[PYTHON[0], &script], r#"{ write = ["out/named"] }"#).await;
    assert_eq!(allowed(&up, "named", json!({"path": place.shown("out/named")})).await, "connected");
    // Nobody listens in a network namespace of its own.
    assert!(tried(&up, "abstract", json!({"name": name})).await.is_err());
    refused(&up, "tcp", json!({"port": tcp_port})).await;
    drop(named);
}

/// R95: neither more processes than it may have, nor signals to others.
#[tokio::test]
async fn a_contained_server_starts_no_more_than_it_may() {
    let place = Place::new();
    let script = repository("tests/contain/attack.py");
    let (_set, up) = place.attacker(&[PYTHON[0], &script], "{ processes = 12 }").await;
    if !stands(&up) {
        return;
    }
    let told = tried(&up, "fork", json!({"most": 200})).await.unwrap_err();
    let made: usize = told.split("after ").nth(1).unwrap().split(':').next().unwrap().parse().unwrap();
    assert!((5..12).contains(&made), "{told}");
    assert!(tried(&up, "fork", json!({"most": 3})).await.is_ok(), "what ended makes room");
    refused(&up, "signal", json!({"pid": std::process::id()})).await;
    refused(&up, "signal", json!({"pid": 1})).await;
}

/// R95: one that takes more memory than it may is ended, is told, and comes back; others go on.
#[tokio::test]
async fn a_contained_server_takes_no_more_memory_than_it_may() {
    let place = Place::new();
    let script = repository("tests/contain/attack.py");
    let (_set, up) = place.attacker(&[PYTHON[0], &script], r#"{ memory = "96MiB" }"#).await;
    if !stands(&up) {
        return;
    }
    assert_eq!(allowed(&up, "eat", json!({"mib": 16})).await, "16 MiB");
    let before = state(&up).generation;
    match call(&up, "eat", json!({"mib": 1024})).await {
        // Where each process is limited by itself, the allocation fails.
        Ok(result) => assert!(result.to_string().contains("MemoryError"), "{result}"),
        Err(error) => {
            assert!(matches!(error, UpstreamError::Lost(_)), "{error:?}");
            let mut states = up.state();
            soon(states.wait_for(|s| s.health == Health::Up && s.generation > before)).await.unwrap();
        }
    }
    assert_eq!(allowed(&up, "eat", json!({"mib": 1})).await, "1 MiB");
}

/// R95: time on the processor.
#[tokio::test]
async fn a_contained_server_computes_no_longer_than_it_may() {
    let place = Place::new();
    let script = repository("tests/contain/attack.py");
    let (_set, up) = place.attacker(&[PYTHON[0], &script], r#"{ cpu = "2s" }"#).await;
    if !stands(&up) {
        return;
    }
    let error = call(&up, "spin", json!({})).await.unwrap_err();
    assert!(matches!(&error, UpstreamError::Lost(why) if why.contains("ended")), "{error:?}");
}

/// R95: what a contained server leaves behind ends with it, wherever it went.
#[tokio::test]
async fn nothing_of_a_contained_server_outlives_it() {
    let place = Place::new();
    let script = repository("tests/contain/attack.py");
    let marker = place.shown("docs/read.md");
    let (set, up) =
        place.attacker(&[PYTHON[0], &script, &marker], r#"{ read = ["docs"], processes = 40 }"#).await;
    for _ in 0..5 {
        allowed(&up, "daemon", json!({})).await;
    }
    let mine = || {
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        entries
            .filter(|entry| {
                let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
                String::from_utf8_lossy(&line).contains(&marker)
            })
            .count()
    };
    assert!(mine() >= 6, "{}", mine());
    soon(set.shutdown(Duration::ZERO)).await;
    assert_eq!(mine(), 0);
    for file in ["/proc/self/mounts"] {
        let mounts = std::fs::read_to_string(file).unwrap();
        let groups =
            mounts.lines().filter(|line| line.contains("cgroup")).filter_map(|line| line.split(' ').nth(1));
        for group in groups {
            let pid = group_pids(group);
            assert!(pid.iter().all(|pid| Path::new(&format!("/proc/{pid}")).exists()), "{group}: {pid:?}");
        }
    }
}

/// The processes that groups of contained servers right below a mount are named by.
fn group_pids(mount: &str) -> Vec<String> {
    let entries = std::fs::read_dir(mount).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter_map(|name| name.strip_prefix("tollgate-contained-").map(str::to_owned)).collect()
}

/// R95: servers as people use them run contained: of both official SDKs, and the demo's.
#[tokio::test]
async fn servers_of_the_official_sdks_run_contained() {
    let place = Place::new();
    let modules = repository("tests/sdk/node_modules/@modelcontextprotocol");
    let venv = format!(
        "{}/sdk-venv/bin",
        std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| repository("target"))
    );
    let servers = format!(
        r#"
[upstreams.demo]
command = ["tollgate", "demo-upstream"]
contain = {{ network = false, memory = "512MiB", processes = 64 }}
[upstreams.everything]
command = ["node", "{modules}/server-everything/dist/index.js", "stdio"]
contain = {{ network = false, memory = "1GiB", processes = 64, cpu = 2 }}
[upstreams.files]
command = ["node", "{modules}/server-filesystem/dist/index.js", "{docs}"]
contain = {{ read = ["docs"] }}
[upstreams.time]
command = ["{venv}/mcp-server-time"]
contain = {{ memory = "512MiB", processes = 32, cpu = "600s" }}
"#,
        docs = place.shown("docs"),
    );
    let set = place.start(&servers).await;
    let upstream = |name: &str| set.get(&UpstreamName::from(name)).unwrap();
    for (name, tool, arguments, expect) in [
        ("demo", "notes_list", json!({}), "path"),
        ("everything", "echo", json!({"message": "hello"}), "hello"),
        ("files", "read_text_file", json!({"path": place.shown("docs/read.md")}), "what may be read"),
        ("time", "get_current_time", json!({"timezone": "UTC"}), "UTC"),
    ] {
        let upstream = upstream(name);
        let state = state(&upstream);
        assert_eq!(state.health, Health::Up, "{name}: {state:?}");
        if !stands(&upstream) {
            return;
        }
        let result = call(&upstream, tool, arguments).await.unwrap();
        assert!(result.to_string().contains(expect), "{name}: {result}");
    }
    soon(set.shutdown(Duration::ZERO)).await;
}

/// R95: what the kernel cannot give is an error that stops this upstream alone, and a lint where best effort is enough.
#[tokio::test]
async fn what_the_kernel_does_not_give_is_told() {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        assert!(std::env::var_os("CI").is_none(), "CI runs as root");
        eprintln!("not tried: only root can hide its control groups");
        return;
    }
    let place = Place::new();
    let servers = |best_effort: bool| {
        format!(
            r#"
[upstreams.demo]
command = ["tollgate", "demo-upstream"]
contain = {{ processes = 64, best_effort = {best_effort} }}
[upstreams.other]
command = ["tollgate", "demo-upstream"]
contain = {{ network = false }}
"#
        )
    };
    // Without control groups nothing counts the processes of root.
    let hidden = |arguments: &str| {
        let binary = env!("CARGO_BIN_EXE_tollgate");
        let script = format!("mount -t tmpfs none /sys/fs/cgroup && exec {binary} {arguments}");
        let output = Command::new("unshare")
            .args(["-m", "sh", "-c", &script])
            .current_dir(place.at(""))
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    place.load(&servers(false)).unwrap();
    let (code, out, err) = hidden("check");
    assert_eq!(code, Some(1), "{out}{err}");
    assert!(
        err.contains("servers.toml:4:11") && err.contains("`demo` cannot be contained here: processes 64"),
        "{err}"
    );
    assert!(!err.contains("`other` cannot"), "{err}");
    let (_, out, err) = hidden("servers list --json");
    let told: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{err}"));
    let server =
        |name: &str| told["servers"].as_array().unwrap().iter().find(|s| s["name"] == name).unwrap().clone();
    assert_eq!(server("demo")["state"], "down", "{told}");
    assert!(server("demo")["reason"].as_str().unwrap().contains("processes 64"), "{told}");
    assert_eq!((&server("other")["state"], &server("other")["contained"]), (&json!("up"), &json!(true)));
    assert_eq!(server("other")["containment"]["missing"], json!([]));

    place.load(&servers(true)).unwrap();
    let (code, out, err) = hidden("check");
    assert_eq!(code, Some(0), "{out}{err}");
    let told = format!("{out}{err}");
    assert!(
        told.contains("lint") && told.contains("`demo` is contained in part only: processes 64"),
        "{told}"
    );
    let (_, out, err) = hidden("servers list --json");
    let told: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{err}"));
    let demo = told["servers"].as_array().unwrap().iter().find(|s| s["name"] == "demo").unwrap();
    assert_eq!(demo["state"], "up", "{told}");
    assert!(demo["containment"]["missing"][0].as_str().unwrap().starts_with("processes 64"), "{told}");
}

/// R95: no table opens what is Tollgate's own.
#[tokio::test]
async fn a_table_cannot_grant_what_is_tollgates_own() {
    let place = Place::new();
    for (read, own) in [
        (".", "servers.toml"),
        ("policies", "policies"),
        (".tollgate/x", ".tollgate"),
        ("~/..", "servers.toml"),
    ] {
        let text = format!(
            "[upstreams.a]\ncommand = [\"tollgate\", \"demo-upstream\"]\ncontain = {{ read = [\"{read}\"] }}\n"
        );
        let told = place.load(&text).unwrap_err();
        assert!(told.contains("Tollgate's own") && told.contains(own), "{read}: {told}");
    }
}

/// R95: what a table says, with paths from servers.toml's folder and the home folder, and lints for what is probably not meant.
#[test]
fn a_table_is_read_as_it_is_written() {
    use config::CpuLimit;
    let place = Place::new();
    let load = |contain: &str| {
        let command = "command = [\"tollgate\", \"demo-upstream\"]";
        let loaded = place.load(&format!("[upstreams.a]\n{command}\ncontain = {contain}\n")).unwrap();
        let told: Vec<String> = loaded.lints.0.iter().map(ToString::to_string).collect();
        ((*loaded.config.upstreams["a"].contain.clone().unwrap()).clone(), told.join("\n"))
    };
    let (all, told) = load(
        r#"{ network = true, read = ["docs", "~/notes", "/usr"], write = ["./out"], memory = "1GiB", processes = 64, cpu = 1.5, best_effort = true }"#,
    );
    assert!(all.network && all.best_effort);
    assert_eq!(all.read, [place.at("docs"), place.at("home/notes"), "/usr".into()]);
    assert_eq!(all.write, [place.at("./out")]);
    assert_eq!((all.memory, all.processes, all.cpu), (Some(1 << 30), Some(64), Some(CpuLimit::Cores(1500))));
    assert!(told.contains("`~/notes`, which is not there"), "{told}");
    let (none, _) = load("{}");
    assert!(!none.network && none.read.is_empty() && none.write.is_empty() && !none.best_effort);
    assert_eq!((none.memory, none.processes, none.cpu), (None, None, None));
    assert_eq!(load(r#"{ cpu = "10m" }"#).0.cpu, Some(CpuLimit::Time(Duration::from_secs(600))));
    assert_eq!(load("{ cpu = 2 }").0.cpu, Some(CpuLimit::Cores(2000)));
    let (_, told) = load(r#"{ read = ["~"] }"#);
    assert!(told.contains("and with it") && told.contains(".ssh"), "{told}");
    assert!(
        none.own.contains(&place.at("servers.toml")) && none.own.contains(&place.at("policies")),
        "{:?}",
        none.own
    );
}
