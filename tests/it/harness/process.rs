//! The real binary, which can be killed.

use super::{Client, Scripted, Setup, bundle, soon};
use parking_lot::Mutex;
use serde_json::Value;
use std::{path::PathBuf, process::Stdio, sync::Arc};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    sync::watch,
};
use tollgate::{clock::IdSource as _, clock::System, config, store::Store, store::embedded::EmbeddedStore};

/// servers.toml and a bundle on disk, over one scripted upstream of this process.
pub(crate) struct Files {
    pub(crate) dir: PathBuf,
    pub(crate) up: Scripted,
    pub(crate) http: reqwest::Client,
    _folder: tempfile::TempDir,
}

impl Files {
    pub(crate) async fn of(setup: Setup) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let up = Scripted::start().await;
        let dir = folder.path().to_owned();
        bundle::write(&dir, &setup, &[("up", up.url())]);
        let servers = std::fs::read_to_string(dir.join("servers.toml")).unwrap();
        let servers =
            servers.replace("127.0.0.1:8787", "127.0.0.1:0").replace("127.0.0.1:8788", "127.0.0.1:0");
        std::fs::write(dir.join("servers.toml"), servers).unwrap();
        Self { dir, up, http: super::http_client(), _folder: folder }
    }

    pub(crate) fn client(&self, process: &Process, agent: &str) -> Client {
        Client::modern(&self.http, &process.mcp, agent, serde_json::json!({}))
    }

    /// The same store, opened by this process.
    pub(crate) fn store(&self) -> Arc<dyn Store> {
        let loaded = config::load(&self.dir.join("servers.toml"), &|_| None).unwrap();
        let settings = &loaded.config;
        let (path, data) = (&settings.store.path, &settings.gateway.data_dir);
        EmbeddedStore::open(
            path,
            data,
            settings.store.durability,
            System::default().owner_id(),
            Arc::new(System::default()),
        )
        .unwrap()
    }

    /// Another command on the same files; dropped, it is killed.
    pub(crate) fn command(&self, arguments: &[&str]) -> (Child, Lines) {
        self.command_of(None, arguments)
    }

    /// The same with a person's key.
    pub(crate) fn command_of(&self, person: Option<&str>, arguments: &[&str]) -> (Child, Lines) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tollgate"))
            .envs(person.map(|person| ("TOLLGATE_KEY", format!("key-{person}"))))
            .arg("--config")
            .arg(self.dir.join("servers.toml"))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = Lines::read(child.stdout.take().unwrap());
        (child, lines)
    }

    /// `tollgate serve`, with its events on standard output.
    pub(crate) async fn serve(&self) -> Process {
        self.try_serve().await.unwrap_or_else(|log| panic!("the process ended:\n{log}"))
    }

    /// The same; what it said where it ended before it listened.
    pub(crate) async fn try_serve(&self) -> Result<Process, String> {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tollgate"))
            .arg("serve")
            // What upstreams write to standard error is told too.
            .env("TOLLGATE_LOG", "info,tollgate::upstream::stdio=debug")
            .arg("--config")
            .arg(self.dir.join("servers.toml"))
            .args(["--events", "stdout"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let log = Lines::read(child.stderr.take().unwrap());
        let events = Lines::read(child.stdout.take().unwrap());
        let Some(line) = log.until_or_end(|line| line.starts_with("tollgate: MCP at ")).await else {
            return Err(log.text());
        };
        let url = |after: &str| {
            let rest = line.split_once(after).unwrap().1;
            rest.split([',', ' ']).next().unwrap().to_owned()
        };
        let (mcp, admin) = (url("MCP at "), url("admin at "));
        Ok(Process { child, mcp, admin, log, events })
    }
}

/// A running gateway; dropped, it is killed.
pub(crate) struct Process {
    child: Child,
    pub(crate) mcp: String,
    pub(crate) admin: String,
    pub(crate) log: Lines,
    pub(crate) events: Lines,
}

impl Process {
    /// Its number.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// kill -9.
    pub(crate) async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = i32::try_from(self.child.id().unwrap()).unwrap();
        rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), signal).unwrap();
    }

    /// Waits until it has ended by itself: whether all went well.
    pub(crate) async fn ended(&mut self) -> bool {
        soon(self.child.wait()).await.unwrap().success()
    }

    /// Waits for an event on its standard output.
    pub(crate) async fn until_event(&self, what: impl Fn(&Value) -> bool) -> Value {
        let line = self.events.until(|line| serde_json::from_str(line).is_ok_and(|event| what(&event))).await;
        serde_json::from_str(&line).unwrap()
    }
}

/// The lines of a stream as they come.
pub(crate) struct Lines {
    all: Arc<Mutex<Vec<String>>>,
    count: watch::Receiver<usize>,
}

impl Lines {
    fn read(stream: impl tokio::io::AsyncRead + Send + Unpin + 'static) -> Self {
        let all = Arc::new(Mutex::new(Vec::new()));
        let (tell, count) = watch::channel(0);
        let lines = all.clone();
        tokio::spawn(async move {
            let mut stream = BufReader::new(stream).lines();
            while let Ok(Some(line)) = stream.next_line().await {
                lines.lock().push(line);
                tell.send_modify(|count| *count += 1);
            }
        });
        Self { all, count }
    }

    pub(crate) fn text(&self) -> String {
        self.all.lock().join("\n")
    }

    /// Waits until the stream has ended.
    pub(crate) async fn until_end(&self) {
        assert!(self.until_or_end(|_| false).await.is_none());
    }

    pub(crate) async fn until(&self, what: impl Fn(&str) -> bool) -> String {
        let found = self.until_or_end(what).await;
        found.unwrap_or_else(|| panic!("the process ended:\n{}", self.text()))
    }

    /// The same; `None` where the stream ends without it.
    async fn until_or_end(&self, what: impl Fn(&str) -> bool) -> Option<String> {
        let mut count = self.count.clone();
        soon(async {
            loop {
                count.borrow_and_update();
                if let Some(line) = self.all.lock().iter().find(|line| what(line)) {
                    return Some(line.clone());
                }
                if count.changed().await.is_err() {
                    return None;
                }
            }
        })
        .await
    }
}
