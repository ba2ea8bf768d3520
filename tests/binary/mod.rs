//! The real binary in a folder of its own.
#![allow(dead_code, reason = "each test uses its part")]

pub(crate) mod record;

use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use serde_json::{Value, json};
use std::{
    io::{BufRead as _, BufReader, Read as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, mpsc},
    time::Duration,
};

/// What a command said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

fn command(folder: &Path) -> Command {
    command_under(&[], folder)
}

/// The binary as an argument of another program, where one is given.
fn command_under(wrapper: &[String], folder: &Path) -> Command {
    let tollgate = env!("CARGO_BIN_EXE_tollgate");
    let mut command = match wrapper {
        [] => Command::new(tollgate),
        [program, arguments @ ..] => {
            let mut command = Command::new(program);
            command.args(arguments).arg(tollgate);
            command
        }
    };
    command.current_dir(folder).env_remove("TOLLGATE_KEY").env_remove("TOLLGATE_LOG").stdin(Stdio::null());
    command
}

/// Runs to the end below another program, with a person's key.
pub(crate) fn under(wrapper: &[String], folder: &Path, key: &str, arguments: &[&str]) -> Said {
    let mut command = command_under(wrapper, folder);
    command.env("TOLLGATE_KEY", key);
    run(command, arguments)
}

fn run(mut command: Command, arguments: &[&str]) -> Said {
    let output = command.args(arguments).output().unwrap();
    Said {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Runs to the end, without a key.
pub(crate) fn tollgate(folder: &Path, arguments: &[&str]) -> Said {
    run(command(folder), arguments)
}

/// Runs to the end, with a person's key.
pub(crate) fn tollgate_with_key(folder: &Path, key: &str, arguments: &[&str]) -> Said {
    let mut command = command(folder);
    command.env("TOLLGATE_KEY", key);
    run(command, arguments)
}

/// Runs to the end, on a machine of this time zone.
pub(crate) fn tollgate_in_zone(folder: &Path, zone: &str, arguments: &[&str]) -> Said {
    let mut command = command(folder);
    command.env("TZ", zone);
    run(command, arguments)
}

fn copy(from: &Path, to: &Path) {
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

/// The shipped servers.toml and bundle, on ports that are free, with short waits.
pub(crate) fn shipped() -> tempfile::TempDir {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(root.join("servers.toml")).unwrap();
    let text = text
        .replace("127.0.0.1:8787", "127.0.0.1:0")
        .replace("127.0.0.1:8788", "127.0.0.1:0")
        .replace("approval_wait = \"10s\"", "approval_wait = \"1s\"");
    assert_eq!(text.matches("127.0.0.1:0").count(), 2, "the shipped file has its two listeners");
    std::fs::write(folder.path().join("servers.toml"), text).unwrap();
    copy(&root.join("policies"), &folder.path().join("policies"));
    folder
}

/// A running gateway, killed when the test ends.
pub(crate) struct Serving {
    child: Child,
    folder: PathBuf,
    log: std::thread::JoinHandle<String>,
    pub(crate) mcp: String,
    pub(crate) admin: String,
}

/// An answer over HTTP.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {}", self.text))
    }

    fn header(&self, name: &str) -> Option<&str> {
        let line =
            self.head.lines().find(|line| line.to_ascii_lowercase().starts_with(&format!("{name}:")))?;
        line.split_once(':').map(|(_, value)| value.trim())
    }
}

impl Serving {
    /// Starts, and waits for the one line that tells the addresses.
    pub(crate) fn start(folder: &Path, arguments: &[&str]) -> Self {
        Self::start_under(&[], folder, arguments)
    }

    /// The same below another program.
    pub(crate) fn start_under(wrapper: &[String], folder: &Path, arguments: &[&str]) -> Self {
        let mut child = command_under(wrapper, folder)
            .arg("serve")
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let (mut said, mut line) = (String::new(), String::new());
        while !line.contains("MCP at http") {
            line.clear();
            assert!(log.read_line(&mut line).unwrap() > 0, "it ended before it listened: {:?}", child.wait());
            said.push_str(&line);
        }
        let between =
            |from: &str, to: &str| line.split(from).nth(1).unwrap().split(to).next().unwrap().to_owned();
        let scheme = if line.contains("MCP at https://") { "https" } else { "http" };
        let mcp = between(&format!("MCP at {scheme}://"), "/mcp");
        let admin = between(&format!("admin at {scheme}://"), ",");
        let log = std::thread::spawn(move || {
            log.read_to_string(&mut said).ok();
            said
        });
        Self { child, folder: folder.to_owned(), log, mcp, admin }
    }

    /// The admin listener.
    pub(crate) fn admin(&self, key: Option<&str>, method: &str, path: &str, body: &str) -> Answer {
        let key = key.map(|key| format!("Authorization: Bearer {key}\r\n")).unwrap_or_default();
        http(&self.admin, method, path, &key, body)
    }

    /// Asks the admin listener until the answer is as it will be; only the outside can be asked here.
    pub(crate) fn admin_until(&self, path: &str, expect: impl Fn(&Answer) -> bool) -> Answer {
        self.admin_until_as("demo-bob-key", path, expect)
    }

    /// The same with another key.
    pub(crate) fn admin_until_as(&self, key: &str, path: &str, expect: impl Fn(&Answer) -> bool) -> Answer {
        let look = || Some(self.admin(Some(key), "GET", path, "")).filter(|answer| expect(answer));
        eventually(look).unwrap_or_else(|| panic!("`{path}` never answered as expected"))
    }

    /// A call of a tool by an agent in a session of its own: the result.
    pub(crate) fn call(&self, key: &str, tool: &str, arguments: &Value) -> Value {
        self.call_with(key, tool, arguments, &json!({}))
    }

    /// The same with this `_meta`.
    pub(crate) fn call_with(&self, key: &str, tool: &str, arguments: &Value, meta: &Value) -> Value {
        call_at(&self.mcp, key, tool, arguments, meta)
    }

    /// Has it read its files again.
    pub(crate) fn hang_up(&self) {
        let process = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(process, rustix::process::Signal::HUP).unwrap();
    }

    /// Ends it as a service manager does, and gives its exit code, standard output and log. What it has recorded is held against
    /// the schema of records.
    pub(crate) fn end(mut self) -> (i32, String, String) {
        let process = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(process, rustix::process::Signal::TERM).unwrap();
        let mut out = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        let code = self.child.wait().unwrap().code().unwrap_or(-1);
        let log = std::mem::replace(&mut self.log, std::thread::spawn(String::new));
        let exported = tollgate(&self.folder, &["audit", "export"]);
        exported.out.lines().for_each(record::hold);
        (code, out, log.join().unwrap())
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Looks again and again at what another process does without a word, until something is found; none: it took too long. What can be
/// awaited is awaited in another way.
pub(crate) fn eventually<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    for _ in 0..3_000 {
        if let Some(found) = look() {
            return Some(found);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    None
}

/// A pipe with a name, by which a script says that it has come so far: what is written to it is received.
pub(crate) fn pipe(path: PathBuf) -> mpsc::Receiver<()> {
    let done = Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(done.success());
    let (said, heard) = mpsc::channel();
    // A reader that is there from the beginning: nobody who writes waits.
    let mut reader = std::fs::File::options().read(true).write(true).open(path).unwrap();
    std::thread::spawn(move || while reader.read_exact(&mut [0]).is_ok() && said.send(()).is_ok() {});
    heard
}

/// A call of a tool at this address, in a session of its own: the result.
pub(crate) fn call_at(mcp: &str, key: &str, tool: &str, arguments: &Value, meta: &Value) -> Value {
    let post = |session: &str, body: Value| {
        let headers = format!(
            "Authorization: Bearer {key}\r\nAccept: application/json, text/event-stream\r\nContent-Type: application/json\r\n{session}"
        );
        http(mcp, "POST", "/mcp", &headers, &body.to_string())
    };
    let opened = post(
        "",
        json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
            "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"},
        }}),
    );
    assert_eq!(opened.status, 200, "{}", opened.text);
    let session =
        opened.header("mcp-session-id").map(|id| format!("Mcp-Session-Id: {id}\r\n")).unwrap_or_default();
    let session = format!("{session}MCP-Protocol-Version: 2025-11-25\r\n");
    post(&session, json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
    let params = json!({"name": tool, "arguments": arguments, "_meta": meta});
    let answer = post(&session, json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": params}));
    // One message, plain or as the last event of a stream.
    let message = answer.text.lines().filter_map(|line| line.strip_prefix("data: ")).next_back();
    let message: Value =
        serde_json::from_str(message.unwrap_or(&answer.text)).unwrap_or_else(|_| panic!("{answer:?}"));
    message["result"].clone()
}

/// One request on a connection of its own.
pub(crate) fn http(address: &str, method: &str, path: &str, headers: &str, body: &str) -> Answer {
    exchange(TcpStream::connect(address).unwrap(), address, method, path, headers, body)
}

/// The same over TLS, trusting this certificate alone.
pub(crate) fn https(
    cert: &Path,
    address: &str,
    method: &str,
    path: &str,
    headers: &str,
    body: &str,
) -> Answer {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(cert).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.unwrap().with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let session = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let stream = rustls::StreamOwned::new(session, TcpStream::connect(address).unwrap());
    exchange(stream, address, method, path, headers, body)
}

fn exchange(
    mut stream: impl std::io::Read + std::io::Write,
    address: &str,
    method: &str,
    path: &str,
    headers: &str,
    body: &str,
) -> Answer {
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    )
    .unwrap();
    let mut raw = Vec::new();
    stream.read_to_end(&mut raw).unwrap();
    let raw = String::from_utf8(raw).unwrap();
    let (head, body) = raw.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let text = if chunked { unchunk(body) } else { body.to_owned() };
    Answer { status, head: head.to_owned(), text }
}

fn unchunk(mut body: &str) -> String {
    let mut text = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        if size == 0 {
            break;
        }
        let (chunk, after) = rest.split_at(size);
        text.push_str(chunk);
        body = after.trim_start_matches("\r\n");
    }
    text
}
