//! What replicas do while others use the database, or parts of it do not answer (SPEC 14; R57).

use crate::{
    replicas::{call, until, verified},
    store::{
        database::{is_there, server},
        *,
    },
};
use tollgate::store::{Admission, Store as _};

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
