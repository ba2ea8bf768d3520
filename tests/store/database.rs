//! A PostgreSQL server for the tests of one binary, as Debian packages it. It ends with the process, however that ends.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::{
    io::{BufRead as _, BufReader, Lines},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};
use tollgate::{
    model::OwnerId,
    store::{StoreError, embedded::EmbeddedStore, postgres},
};

/// Runs the server until standard input ends. Root is nobody for PostgreSQL.
const RUN: &str = r#"
dir=$1; bin=$2; shift 2
if [ "$(id -u)" = 0 ]; then chown postgres "$dir"; as="setpriv --reuid=postgres --regid=postgres --clear-groups"; fi
[ -d "$dir/data" ] || $as "$bin/initdb" -D "$dir/data" -A trust -U tollgate -E UTF8 --locale=C >"$dir/initdb.log" 2>&1 || exit 1
$as "$bin/postgres" -D "$dir/data" -k "$dir" -c max_connections=400 "$@" 2>&1 &
server=$!
read -r how
kill -"${how:-INT}" $server
wait $server
# The process has ended without a word: nobody else does it.
[ -n "$how" ] || rm -rf "$dir"
"#;

/// Copies a server that runs, to be its standby.
const COPY: &str = r#"
dir=$1; bin=$2; from=$3
if [ "$(id -u)" = 0 ]; then chown postgres "$dir"; as="setpriv --reuid=postgres --regid=postgres --clear-groups"; fi
exec $as "$bin/pg_basebackup" -h "$from" -U tollgate -D "$dir/data" -R -c fast
"#;

/// A server that runs.
pub(crate) struct Server {
    dir: PathBuf,
    /// Where it listens beside its socket; 0: nowhere.
    port: u16,
    run: Option<(Child, ChildStdin)>,
    /// Removed with it.
    _folder: Option<tempfile::TempDir>,
}

/// Unique in all test processes.
fn unique() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::SeqCst))
}

/// Where Debian keeps the programs.
fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let newest =
        versions.flatten().map(|entry| entry.path().join("bin")).filter(|bin| bin.join("initdb").exists());
    newest.max()
}

/// Whether there is PostgreSQL here. It is missing nowhere where tests count.
pub(crate) fn is_there() -> bool {
    let there = programs().is_some();
    assert!(
        there || std::env::var("CI").as_deref() != Ok("true"),
        "PostgreSQL is missing: apt-get install postgresql"
    );
    there
}

impl Server {
    pub(crate) fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("tollgate-pg").tempdir_in("/tmp").unwrap();
        let mut server = Self { dir: folder.path().to_owned(), port: 0, run: None, _folder: Some(folder) };
        // The account of the server goes through it.
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            std::fs::set_permissions(&server.dir, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        server.run(&[]);
        server
    }

    /// Runs it, with further settings.
    pub(crate) fn run(&mut self, settings: &[&str]) {
        assert!(self.run.is_none());
        let mut child = Command::new("sh");
        child.args(["-c", RUN, "postgres"]).arg(&self.dir).arg(programs().unwrap());
        let listen = if self.port == 0 { String::new() } else { "127.0.0.1".to_owned() };
        child.args(["-c", &format!("listen_addresses={listen}")]);
        if self.port > 0 {
            child.args(["-p", &self.port.to_string()]);
        }
        for setting in settings {
            child.args(["-c", setting]);
        }
        let mut child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = lines.by_ref().map_while(Result::ok).any(|line| line.contains("ready to accept "));
        assert!(ready, "{:?}", std::fs::read_to_string(self.dir.join("initdb.log")));
        // What it says later is nobody's affair, and must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        let input = child.stdin.take().unwrap();
        self.run = Some((child, input));
    }

    /// Has it listen on an address beside its socket.
    pub(crate) fn listen(&mut self) {
        self.stop("INT");
        self.port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        self.run(&[]);
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Has it show a certificate, from now on.
    pub(crate) fn encrypt(&self, certificate: &str, key: &str) {
        use std::io::Write as _;
        let data = self.dir.join("data");
        for (name, text) in [("server.crt", certificate), ("server.key", key)] {
            // Its folder is its own account's, and so the file has to be.
            let mut options = std::fs::OpenOptions::new();
            options.write(true).create_new(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            let mut file = options.open(data.join(name)).unwrap();
            file.write_all(text.as_bytes()).unwrap();
            #[cfg(unix)]
            {
                let owner = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(&data).unwrap());
                std::os::unix::fs::fchown(&file, Some(owner), None).unwrap();
            }
        }
        self.sql("postgres", "ALTER SYSTEM SET ssl = on");
        self.sql("postgres", "SELECT pg_reload_conf()");
        while self.sql("postgres", "SHOW ssl") != "on" {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    /// Ends it: `INT` in order, `QUIT` at once and without a word.
    pub(crate) fn stop(&mut self, how: &str) {
        use std::io::Write as _;
        let Some((mut child, mut input)) = self.run.take() else { return };
        writeln!(input, "{how}").unwrap();
        drop(input);
        child.wait().unwrap();
    }

    /// Runs SQL in one of its databases.
    pub(crate) fn sql(&self, database: &str, sql: &str) -> String {
        let ran = Command::new(programs().unwrap().join("psql"))
            .args([
                "-X",
                "-A",
                "-t",
                "-q",
                "-v",
                "ON_ERROR_STOP=1",
                "-U",
                "tollgate",
                "-d",
                database,
                "-c",
                sql,
            ])
            .args(if self.port > 0 { vec!["-p".to_owned(), self.port.to_string()] } else { Vec::new() })
            .arg("-h")
            .arg(&self.dir)
            .output()
            .unwrap();
        assert!(ran.status.success(), "{sql}: {}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8(ran.stdout).unwrap().trim().to_owned()
    }

    /// A person's session in one of its databases, which stays.
    pub(crate) fn person(&self, database: &str) -> Person {
        let mut psql = Command::new(programs().unwrap().join("psql"));
        psql.args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-U", "tollgate", "-d", database]);
        if self.port > 0 {
            psql.args(["-p", &self.port.to_string()]);
        }
        let mut psql =
            psql.arg("-h").arg(&self.dir).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, lines) =
            (psql.stdin.take().unwrap(), BufReader::new(psql.stdout.take().unwrap()).lines());
        Person { psql, input: Some(input), lines }
    }

    /// SQL by which a database's record goes back to where it is now.
    pub(crate) fn back_to_now(&self, database: &Database) -> String {
        let end = self.sql(&database.name, "SELECT segment, at, seq, hash, frame FROM tollgate.head");
        let [segment, at, seq, hash, frame] =
            <[&str; 5]>::try_from(end.split('|').collect::<Vec<_>>()).unwrap();
        format!(
            "DELETE FROM tollgate.frames WHERE segment > {segment} OR (segment = {segment} AND at >= {at});
             DELETE FROM tollgate.segments WHERE first > {segment};
             UPDATE tollgate.head SET segment = {segment}, at = {at}, seq = {seq}, hash = '{hash}', frame = '{frame}'"
        )
    }

    /// A standby that follows it, and without which it confirms nothing from then on.
    pub(crate) fn standby(&self) -> Self {
        let folder = tempfile::Builder::new().prefix("tollgate-pg").tempdir_in("/tmp").unwrap();
        let mut standby = Self { dir: folder.path().to_owned(), port: 0, run: None, _folder: Some(folder) };
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            std::fs::set_permissions(&standby.dir, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        let copied = Command::new("sh")
            .args(["-c", COPY, "copy"])
            .arg(&standby.dir)
            .arg(programs().unwrap())
            .arg(&self.dir)
            .output()
            .unwrap();
        assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
        standby.run(&[]);
        self.sql("postgres", "ALTER SYSTEM SET synchronous_standby_names = '*'");
        self.sql("postgres", "SELECT pg_reload_conf()");
        let in_step = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
        while self.sql("postgres", in_step) != "1" {
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        standby
    }

    /// The same database, on whichever of two servers takes writes.
    pub(crate) fn or(&self, other: &Self, database: &Database) -> Database {
        let hosts = format!("{},{}", self.dir.display(), other.dir.display());
        let url = format!("postgres:///{}?user=tollgate&host={hosts}", database.name);
        Database { url, name: database.name.clone() }
    }

    /// A new database, by its URL.
    pub(crate) fn database(&self) -> Database {
        let name = format!("t{}", unique().replace('-', "_"));
        self.sql("postgres", &format!("CREATE DATABASE {name}"));
        self.named(name)
    }

    fn named(&self, name: String) -> Database {
        let mut url = format!("postgres:///{name}?user=tollgate&host={}", self.dir.display());
        if self.port > 0 {
            url = format!("{url}&port={}", self.port);
        }
        Database { url, name }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop("QUIT");
    }
}

/// Somebody who asks the database beside its replicas.
pub(crate) struct Person {
    psql: Child,
    input: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Person {
    /// Runs SQL, and waits for it.
    pub(crate) fn run(&mut self, sql: &str) {
        use std::io::Write as _;
        writeln!(self.input.as_mut().unwrap(), "{sql};\n\\echo done").unwrap();
        let done = self.lines.by_ref().map_while(Result::ok).any(|line| line == "done");
        assert!(done, "{sql}");
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        self.input = None;
        self.psql.wait().ok();
    }
}

/// The server of this binary.
pub(crate) fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(Server::start)
}

/// One of its databases.
#[derive(Clone, Debug)]
pub(crate) struct Database {
    pub(crate) url: String,
    pub(crate) name: String,
}

impl Database {
    /// One more replica on it, with a folder of its own below `dir`.
    pub(crate) fn replica(&self, dir: &Path) -> Arc<EmbeddedStore> {
        self.try_open(&dir.join(format!("replica-{}", unique()))).unwrap()
    }

    /// One more process in a folder.
    pub(crate) fn try_open(&self, data_dir: &Path) -> Result<Arc<EmbeddedStore>, StoreError> {
        let owner = OwnerId::from(format!("owner-{}", unique()));
        std::fs::create_dir_all(data_dir).unwrap();
        let clock = Arc::new(tollgate::clock::System::default());
        postgres::open(&self.url.clone().into(), &copy_of(data_dir), data_dir, &owner, clock)
    }
}

/// Where a replica keeps its copy.
pub(crate) fn copy_of(data_dir: &Path) -> PathBuf {
    data_dir.join("replica").join("tollgate.db")
}
