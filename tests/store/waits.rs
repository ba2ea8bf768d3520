//! What replicas do while others use the database, or parts of it do not answer (SPEC 14; R57).

use crate::{
    replicas::{call, until, verified},
    store::{
        database::{Database, Server, is_there, server},
        *,
    },
};
use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    sync::{
        Arc, Mutex as Lock, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};
use tollgate::{
    audit::LogKeys,
    config::VaultConfig,
    store::{Admission, Kept, KeptKind, Store as _, postgres},
};

const TABLES: &str = "SELECT count(*) FROM pg_class WHERE relname LIKE 'frames\\_0%' AND relkind = 'r'";
const SEGMENTS: &str = "SELECT count(*) FROM tollgate.segments";

/// Somebody reads the table of frames for long, as a dump does: segments are sealed and removed all the same, and the tables of
/// those that are removed go when it is over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_reads_the_frames_for_long_stops_nobody() {
    if !is_there() {
        return;
    }
    let (dir, database) = (tempfile::tempdir().unwrap(), server().database());
    let store = database.replica(dir.path());
    store.seal_after(50).await.unwrap();
    let mut dump = server().person(&database.name);
    dump.run("BEGIN; LOCK TABLE tollgate.frames IN ACCESS SHARE MODE");
    crate::retention::calls_on(&store, 0).await;
    crate::retention::calls_on(&store, 40).await;
    let count = |sql: &str| server().sql(&database.name, sql).parse::<u64>().unwrap();
    let sealed = count(SEGMENTS);
    assert!(sealed > 3, "{sealed}");
    let day = crate::retention::DAY;
    let removed = store.retire(later(start(), 20 * day), later(start(), 41 * day)).await.unwrap();
    assert!(removed > 0);
    assert_eq!(call(&*store, 41 * day, 100_000).await, Admission::Granted);
    assert!(count(SEGMENTS) < sealed);
    assert!(count(TABLES) > count(SEGMENTS), "they are read still");
    drop(dump);
    until("their tables are gone", || async { count(TABLES) == count(SEGMENTS) }).await;
    assert_eq!(verified(&*database.replica(dir.path())).await, verified(&*store).await);
}

/// A server that listens on an address.
fn listening() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        let mut server = Server::start();
        server.listen();
        server
    })
}

/// One of its databases, and the same by other ports, which are tried in their order.
fn by_ports(ports: &[u16]) -> (Database, Database) {
    let database = listening().database();
    let hosts: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    let url = format!("postgres://tollgate@{}/{}?sslmode=disable", hosts.join(","), database.name);
    (Database { url, name: database.name.clone() }, database)
}

/// A host that takes connections and says nothing.
fn mute() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// A way to the server, on which connections can be left hanging.
struct Way {
    port: u16,
    connections: Arc<AtomicUsize>,
    hangs: Arc<Lock<Hangs>>,
}

/// Whether a connection, by its number from 1 on, says nothing more once the server said so many things on it.
type Hangs = Box<dyn Fn(usize, usize) -> bool + Send>;

impl Way {
    fn to_the_server(hangs: impl Fn(usize, usize) -> bool + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (connections, hangs) =
            (Arc::new(AtomicUsize::new(0)), Arc::new(Lock::new(Box::new(hangs) as Hangs)));
        let (count, asked) = (connections.clone(), hangs.clone());
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let number = count.fetch_add(1, Ordering::SeqCst) + 1;
                let server = TcpStream::connect(("127.0.0.1", listening().port())).unwrap();
                let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                std::thread::spawn(move || pass((from, to), |_| false));
                let asked = asked.clone();
                std::thread::spawn(move || {
                    pass((server, client), |said| asked.lock().unwrap()(number, said))
                });
            }
        });
        Self { port, connections, hangs }
    }

    fn hang(&self, hangs: impl Fn(usize, usize) -> bool + Send + 'static) {
        *self.hangs.lock().unwrap() = Box::new(hangs);
    }
}

/// Passes on what one says to another, until it hangs: it stays open then.
fn pass((mut from, mut to): (TcpStream, TcpStream), hangs: impl Fn(usize) -> bool) {
    let (mut bytes, mut said) = ([0; 16 << 10], 0);
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        if hangs(said) {
            continue;
        }
        said += 1;
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    to.shutdown(std::net::Shutdown::Both).ok();
}

/// Hosts before the one that serves take connections and say nothing: replicas find it all the same, each time they connect.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hosts_that_hang_are_passed_over() {
    if !is_there() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (mute(), mute());
    for hanging in [&[first.1][..], &[first.1, second.1]] {
        let (database, _) = by_ports(&[hanging, &[listening().port()]].concat());
        let store = database.replica(dir.path());
        assert_eq!(call(&*store, 1, 100).await, Admission::Granted);
        store.close().await;
    }
}

/// The host that replicas use hangs: they go on at the next one, and nobody takes one for dead that lives.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_begins_to_hang_is_left() {
    if !is_there() {
        return;
    }
    let (dir, way) = (tempfile::tempdir().unwrap(), Way::to_the_server(|_, _| false));
    let (database, direct) = by_ports(&[way.port, listening().port()]);
    let (store, other) = (database.replica(dir.path()), direct.replica(dir.path()));
    let open = request("planner-01", start());
    assert_eq!(store.admit(open.clone()).await.unwrap(), Admission::Granted);
    way.hang(|_, _| true);
    let refused = store.admit(request("planner-01", start())).await.unwrap_err().to_string();
    assert!(refused.contains("does not answer in time"), "{refused}");
    let granted = || async { store.admit(request("planner-01", start())).await.is_ok() };
    until("calls are made at the next host", granted).await;
    until("duties are taken there", || async { store.duty("alerts").await.is_ok_and(|duty| duty.is_some()) })
        .await;
    assert_eq!(other.settle_dead_owners(later(start(), 1)).await.unwrap(), 0);
    store.settle(settlement(&open, None, None)).await.unwrap();
    assert_eq!(verified(&*other).await, verified(&*store).await);
}

/// A connection hangs as it is set up, of the one that says that a process lives too: it is made again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_hangs_as_it_is_made_is_made_again() {
    if !is_there() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for said in 1..6 {
        // The first makes the tables.
        let way = Way::to_the_server(move |number, already| number == 2 && already >= said);
        let (database, _) = by_ports(&[way.port]);
        let store = database.replica(dir.path());
        assert_eq!(call(&*store, 1, 100).await, Admission::Granted);
        assert!(way.connections.load(Ordering::SeqCst) > 2);
        store.close().await;
    }
}

/// A line that carries little: a replica that was away has its copy follow all the same, a part at a time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_line_is_enough_to_follow() {
    if !is_there() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    // At most 16 KiB at once.
    let way = Way::to_the_server(|_, _| {
        std::thread::sleep(std::time::Duration::from_millis(25));
        false
    });
    let (database, direct) = by_ports(&[way.port]);
    let (folder, other) = (dir.path().join("a"), direct.replica(dir.path()));
    database.try_open(&folder).unwrap().close().await;
    for n in 0..64_u8 {
        let mut bytes = [0; 100_000];
        aws_lc_rs::rand::fill(&mut bytes).unwrap();
        let body = format!("{n}{}", hex::encode(bytes));
        let name = tollgate::evidence::content_hash(&body);
        other.keep(Kept { kind: KeptKind::Tool, name: name.clone(), hash: name, body }).await.unwrap();
    }
    let bytes = "SELECT sum(length(body)) FROM tollgate.frames";
    assert!(listening().sql(&database.name, bytes).parse::<u64>().unwrap() > 6_000_000);
    let store = database.try_open(&folder).unwrap();
    assert_eq!(call(&*store, 1, 100).await, Admission::Granted);
}

/// A server whose commits wait for a standby that is not there, once `standby` says so.
struct Alone(Server);

impl Alone {
    fn start() -> Self {
        Self(Server::start())
    }

    fn standby(&self, wanted: bool) {
        let names = if wanted { "'*'" } else { "''" };
        self.0.sql("postgres", &format!("ALTER SYSTEM SET synchronous_standby_names = {names}"));
        self.0.sql("postgres", "SELECT pg_reload_conf()");
        let told = if wanted { "*" } else { "" };
        while self.0.sql("postgres", "SHOW synchronous_standby_names") != told {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    /// Waits until a commit waits.
    async fn waits(&self) {
        let waiting = "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
        until("a commit waits", || async { self.0.sql("postgres", waiting) == "t" }).await;
    }

    /// Has those that wait wait no more: they are committed with a warning.
    fn cut(&self) {
        self.0.sql(
            "postgres",
            "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'",
        );
    }
}

/// A migration that no standby has fails, as often as it is run, until one has it or none is waited for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_is_confirmed_by_a_standby_also_when_it_is_run_again() {
    if !is_there() {
        return;
    }
    let (own, dir) = (Alone::start(), tempfile::tempdir().unwrap());
    let database = own.0.database();
    // Makes the tables.
    assert_eq!(postgres::value(&database.url.clone().into(), "none").unwrap(), None);
    let old = open(dir.path());
    assert_eq!(call(&*old, 1, 100).await, Admission::Granted);
    old.close().await;
    own.standby(true);
    let take = || {
        let (url, dir) = (database.url.clone(), dir.path().to_owned());
        tokio::task::spawn_blocking(move || {
            let to = (&url.into(), &VaultConfig::default(), Vec::new());
            postgres::migrate(&crate::store::database(&dir), &dir, to, Box::new(|_, _| {}))
        })
    };
    for _ in 0..2 {
        let taken = take();
        own.waits().await;
        own.cut();
        let told = taken.await.unwrap().unwrap_err().to_string();
        assert!(told.contains("a standby was not waited for"), "{told}");
    }
    own.standby(false);
    take().await.unwrap().unwrap();
}

/// Keys of checkpoints that were put in place are told as put in place: where a standby is waited for longer than an answer is, and
/// where the server warns that it was not waited for and has it later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_a_standby_has_late_are_told_as_replaced() {
    if !is_there() {
        return;
    }
    let (own, dir) = (Alone::start(), tempfile::tempdir().unwrap());
    let database = own.0.database();
    let store = database.replica(dir.path());
    let (folder, settings) = (Path::new("nowhere"), VaultConfig::default());
    LogKeys::of(&*store, (folder, &settings), [1; 32]).await.unwrap();
    let looks = "SELECT count(*) > 0 FROM pg_stat_activity WHERE query LIKE '%LOCK TABLE tollgate.keys%'
        AND pid <> pg_backend_pid()";
    for (fresh, warned) in [(2, false), (3, true)] {
        own.standby(true);
        let rotate = {
            let store = store.clone();
            let settings = settings.clone();
            async move { LogKeys::rotate_of(&*store, (folder, &settings), [fresh; 32]).await }
        };
        let rotated = tokio::spawn(rotate);
        let commits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND query NOT LIKE '%replicas%'";
        until("it waits", || async { own.0.sql("postgres", commits) != "0" }).await;
        if warned {
            own.cut();
            own.waits().await;
        } else {
            until("it is looked for", || async {
                rotated.is_finished() || own.0.sql("postgres", looks) == "t"
            })
            .await;
        }
        own.standby(false);
        let (keys, _) = rotated.await.unwrap().unwrap();
        let there = LogKeys::of(&*store, (folder, &settings), [9; 32]).await.unwrap();
        assert_eq!(there.verifiers(), keys.verifiers());
    }
}
