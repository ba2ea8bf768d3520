//! Replicas on PostgreSQL: what only they have (SPEC 14; I4, I9, I10, R57).

use crate::store::{
    database::{Database, Server, copy_of, is_there, server},
    *,
};
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tollgate::{
    audit::LogKeys,
    config::VaultConfig,
    cost::BudgetWindow,
    journal::{SEGMENT_HEAD, list},
    model::{ApprovalStatus, EventType, Outcome},
    store::{
        Admission, AdmitRequest, AskLimits, EventQuery, Kept, KeptKind, Register, RegisterChange, Store,
        StoreError, embedded::EmbeddedStore, postgres,
    },
};

pub(crate) async fn call(store: &dyn Store, now: i64, cap: u64) -> Admission {
    let budgets = vec![calls("cap", BudgetWindow::Ever, cap)];
    let request = AdmitRequest { budgets, ..request("planner-01", later(start(), now)) };
    let admission = store.admit(request.clone()).await.unwrap();
    if admission == Admission::Granted {
        store.settle(settlement(&request, Some(7), Some(3))).await.unwrap();
    }
    admission
}

/// Waits until something holds; it is asked again whenever it does not.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let limit = tokio::time::Instant::now() + Duration::from_secs(60);
    while !holds().await {
        assert!(tokio::time::Instant::now() < limit, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

pub(crate) fn frames_of(data_dir: &Path) -> Vec<(i64, Vec<u8>)> {
    let segments = list(&copy_of(data_dir).with_extension("journal")).unwrap();
    segments.into_iter().map(|(first, path)| (first, std::fs::read(path).unwrap())).collect()
}

/// Grants that nobody heard of are taken back and cost nothing; the chain is whole in each copy.
async fn what_was_granted_counts(stores: &[Arc<EmbeddedStore>; 2], granted: u64) {
    let counted = || async {
        let usage = stores[1].budget_usage(later(start(), 100)).await.unwrap();
        usage.iter().map(|usage| usage.calls).sum::<u64>()
    };
    until("what nobody heard of is taken back", || async { counted().await == granted }).await;
    verified(&*stores[0]).await;
    verified(&*stores[1]).await;
}

pub(crate) async fn verified(store: &dyn Store) -> u64 {
    let report = store.verify().await.unwrap();
    assert_eq!(report.bad, None);
    report.records
}

/// Two replicas and many callers: the budget holds to the last call, both have the same record byte for byte over several
/// segments, and so has one that comes later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_share_one_budget_and_one_record() {
    if !is_there() {
        return;
    }
    let (dir, database) = (tempfile::tempdir().unwrap(), server().database());
    let folders: Vec<_> = ["a", "b", "c"].map(|name| dir.path().join(name)).into();
    let stores = [database.try_open(&folders[0]).unwrap(), database.try_open(&folders[1]).unwrap()];
    for store in &stores {
        store.seal_after(40).await.unwrap();
    }
    let tasks = (0..32).map(|n| {
        let store = stores[n % 2].clone();
        tokio::spawn(async move {
            let mut granted = 0;
            for at in 0..8 {
                granted += i32::from(call(&*store, at, 200).await == Admission::Granted);
            }
            granted
        })
    });
    let granted: i32 = futures::future::join_all(tasks).await.into_iter().map(Result::unwrap).sum();
    assert_eq!(granted, 200);
    let late = database.try_open(&folders[2]).unwrap();
    assert!(call(&*late, 9, 200).await != Admission::Granted);
    let all = verified(&*late).await;
    assert_eq!((verified(&*stores[0]).await, verified(&*stores[1]).await), (all, all));
    for store in stores.iter().chain([&late]) {
        store.close().await;
    }
    let (first, second, third) = (frames_of(&folders[0]), frames_of(&folders[1]), frames_of(&folders[2]));
    assert!(first.len() > 3, "{} segments", first.len());
    // A process that ends says so in the journal: the last to end has all of it.
    for copy in [&first, &second] {
        for ((seq, here), (other, there)) in copy.iter().zip(&third) {
            assert_eq!(seq, other);
            assert!(there.starts_with(here), "segment {seq} differs");
        }
    }
}

/// A copy that is damaged or gone is made anew; what was kept, approved and set is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_is_damaged_or_gone_is_made_anew() {
    if !is_there() {
        return;
    }
    let (dir, database) = (tempfile::tempdir().unwrap(), server().database());
    let folder = dir.path().join("a");
    let store = database.try_open(&folder).unwrap();
    for at in 0..20 {
        call(&*store, at, 100).await;
    }
    let body = "{}".to_owned();
    let name = tollgate::evidence::content_hash(&body);
    let kept = Kept { kind: KeptKind::Tool, name: name.clone(), hash: name.clone(), body };
    store.keep(kept.clone()).await.unwrap();
    let asked = pending("digest", start());
    store.ask(asked.clone(), Vec::new(), AskLimits::NONE).await.unwrap();
    let entry = RegisterChange::set(Register::Freeze, "k", serde_json::json!({"n": 1}));
    assert!(store.set(vec![entry], Vec::new()).await.unwrap());
    let secret = store.secret("key", [1; 32]).await.unwrap();
    store.close().await;
    let segment = list(&copy_of(&folder).with_extension("journal")).unwrap().remove(0).1;
    edit(&segment, |bytes| bytes[usize::try_from(SEGMENT_HEAD).unwrap() + 200] ^= 1);
    for gone in [false, true] {
        if gone {
            std::fs::remove_dir_all(folder.join("replica")).unwrap();
        }
        let store = database.try_open(&folder).unwrap();
        verified(&*store).await;
        assert_eq!(store.kept(KeptKind::Tool, name.clone()).await.unwrap(), Some(kept.clone()));
        assert_eq!(store.approval(asked.id.clone()).await.unwrap().unwrap().status, ApprovalStatus::Pending);
        assert_eq!(store.register(Register::Freeze).await.unwrap().len(), 1);
        assert_eq!(store.budget_usage(start()).await.unwrap()[0].calls, 20);
        assert_eq!(store.secret("key", [2; 32]).await.unwrap(), secret);
        store.close().await;
    }
}

/// While the database is away calls are refused with a sentence that names it; it is well by itself after that, and what
/// ended meanwhile is settled once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_goes_away_comes_back_by_itself() {
    if !is_there() {
        return;
    }
    for how in ["INT", "QUIT"] {
        let mut own = Server::start();
        let (dir, database) = (tempfile::tempdir().unwrap(), own.database());
        let stores = [database.replica(dir.path()), database.replica(dir.path())];
        for store in &stores {
            assert_eq!(call(&**store, 1, 100).await, Admission::Granted);
        }
        let open = AdmitRequest {
            budgets: vec![calls("cap", BudgetWindow::Ever, 100)],
            ..request("planner-01", later(start(), 2))
        };
        assert_eq!(stores[0].admit(open.clone()).await.unwrap(), Admission::Granted);
        own.stop(how);
        for store in &stores {
            let refused = store.admit(request("planner-01", later(start(), 3))).await.unwrap_err();
            assert!(refused.to_string().contains("PostgreSQL at "), "{refused}");
            assert!(store.ping().await.is_err());
            assert!(store.events(EventQuery::default()).await.is_err());
        }
        drop(stores[0].settle(settlement(&open, Some(5), Some(2))));
        assert!(stores[0].unsettled() > 0);
        own.run(&[]);
        for store in &stores {
            until("it answers again", || async { store.ping().await.is_ok() }).await;
            assert_eq!(call(&**store, 4, 100).await, Admission::Granted);
        }
        until("what ended meanwhile is settled", || async { stores[0].unsettled() == 0 }).await;
        let settled = EventQuery {
            call_id: open.event.call_id.clone(),
            event_type: Some(EventType::AgentSideEffect),
            ..EventQuery::default()
        };
        assert_eq!(stores[1].events(settled).await.unwrap().len(), 1);
        assert_eq!(stores[1].budget_usage(later(start(), 5)).await.unwrap()[0].calls, 5);
        verified(&*stores[1]).await;
    }
}

/// Connections that are cut in the middle of whatever is done cost calls, and nothing else: what was granted is counted, and
/// what was refused is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_are_cut_lose_and_double_nothing() {
    if !is_there() {
        return;
    }
    let (dir, database) = (tempfile::tempdir().unwrap(), server().database());
    let stores = [database.replica(dir.path()), database.replica(dir.path())];
    let tasks: Vec<_> = (0..16)
        .map(|n| {
            let store = stores[n % 2].clone();
            tokio::spawn(async move {
                let mut granted = 0;
                for at in 0..60 {
                    let budgets = vec![calls("cap", BudgetWindow::Ever, 10_000)];
                    let request = AdmitRequest { budgets, ..request("planner-01", later(start(), at)) };
                    match store.admit(request.clone()).await {
                        Ok(Admission::Granted) => {
                            granted += 1;
                            store.settle(settlement(&request, Some(1), Some(1))).await.ok();
                        }
                        Ok(other) => panic!("{other:?}"),
                        Err(StoreError::Failed(_) | StoreError::Locked) => {}
                        Err(other) => panic!("{other}"),
                    }
                }
                granted
            })
        })
        .collect();
    let cut = format!(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = '{}'",
        database.name
    );
    let mut cuts = 0;
    while !tasks.iter().all(tokio::task::JoinHandle::is_finished) {
        server().sql("postgres", &cut);
        cuts += 1;
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    let granted: u64 = futures::future::join_all(tasks).await.into_iter().map(Result::unwrap).sum();
    assert!(cuts > 3 && granted > 0, "{cuts} {granted}");
    for store in &stores {
        until("it answers again", || async { store.ping().await.is_ok() }).await;
        until("all is settled", || async { store.unsettled() == 0 }).await;
    }
    what_was_granted_counts(&stores, granted).await;
}

/// A database that is read-only refuses, and says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_read_only_refuses() {
    if !is_there() {
        return;
    }
    let (dir, database) = (tempfile::tempdir().unwrap(), server().database());
    let store = database.replica(dir.path());
    assert_eq!(call(&*store, 1, 100).await, Admission::Granted);
    let set = |value: &str| {
        let name = &database.name;
        server()
            .sql("postgres", &format!("ALTER DATABASE {name} SET default_transaction_read_only = {value}"));
        server().sql(
            "postgres",
            &format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"),
        );
    };
    set("on");
    let refused = store.admit(request("planner-01", later(start(), 2))).await.unwrap_err().to_string();
    assert!(refused.contains("PostgreSQL at "), "{refused}");
    assert!(store.ping().await.is_err());
    set("off");
    until("it answers again", || async { store.ping().await.is_ok() }).await;
    assert_eq!(call(&*store, 3, 100).await, Admission::Granted);
}

/// A database that went back behind what a replica has read, as after a failover to a standby that had not all of it, is not
/// gone on with.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_lost_records_is_not_gone_on_with() {
    if !is_there() {
        return;
    }
    let (dir, database) = (tempfile::tempdir().unwrap(), server().database());
    let (one, other) = (dir.path().join("a"), dir.path().join("b"));
    let store = database.try_open(&one).unwrap();
    assert_eq!(call(&*store, 1, 100).await, Admission::Granted);
    let saved = server().sql(&database.name, "SELECT segment, at, seq, hash, frame FROM tollgate.head");
    assert_eq!(call(&*store, 2, 100).await, Admission::Granted);
    let saved: Vec<&str> = saved.split('|').collect();
    let back = format!(
        "DELETE FROM tollgate.frames WHERE at >= {at};
         UPDATE tollgate.head SET segment = {}, at = {at}, seq = {}, hash = '{}', frame = '{}'",
        saved[0],
        saved[2],
        saved[3],
        saved[4],
        at = saved[1],
    );
    server().sql(&database.name, &back);
    let told = |error: StoreError| {
        let told = error.to_string();
        assert!(told.contains("does not go on from record") && told.contains("docs/replicas.md"), "{told}");
    };
    told(store.admit(request("planner-01", later(start(), 3))).await.unwrap_err());
    // Another one goes on, and the first knows better still.
    let fresh = database.try_open(&other).unwrap();
    assert_eq!(call(&*fresh, 4, 100).await, Admission::Granted);
    assert_eq!(call(&*fresh, 5, 100).await, Admission::Granted);
    assert!(store.admit(request("planner-01", later(start(), 6))).await.is_err());
    store.close().await;
    assert!(database.try_open(&one).is_err());
    verified(&*fresh).await;
    // What it knew is read as a store of one machine.
    let kept = dir.path().join("kept");
    copy(&one.join("replica"), &kept);
    let kept = open(&kept);
    assert_eq!(kept.budget_usage(later(start(), 7)).await.unwrap()[0].calls, 2);
}

/// What somebody changed in the database alone is found.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_that_was_changed_in_the_database_is_found() {
    if !is_there() {
        return;
    }
    let (dir, database) = (tempfile::tempdir().unwrap(), server().database());
    let store = database.replica(dir.path());
    for at in 0..5 {
        call(&*store, at, 100).await;
    }
    verified(&*store).await;
    let change = "UPDATE tollgate.frames SET body = set_byte(body, 150, get_byte(body, 150) # 1)
        WHERE at = (SELECT max(at) FROM tollgate.frames)";
    server().sql(&database.name, change);
    let bad = store.verify().await.unwrap().bad.unwrap();
    assert!(bad.problem.contains("differ"), "{}", bad.problem);
    // And nobody copies it.
    assert!(database.try_open(&dir.path().join("new")).is_err());
}

/// Segments that retention removes go from the database and from every copy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_retention_removes_goes_everywhere() {
    if !is_there() {
        return;
    }
    let (dir, database) = (tempfile::tempdir().unwrap(), server().database());
    let folders = ["a", "b"].map(|name| dir.path().join(name));
    let stores = folders.each_ref().map(|folder| database.try_open(folder).unwrap());
    stores[0].seal_after(50).await.unwrap();
    crate::retention::calls_on(&stores[0], 0).await;
    crate::retention::calls_on(&stores[0], 40).await;
    let first = |folder: &Path| frames_of(folder)[0].0;
    let removed = stores[0]
        .retire(later(start(), 20 * crate::retention::DAY), later(start(), 41 * crate::retention::DAY));
    assert!(removed.await.unwrap() > 0);
    let kept = first(&folders[0]);
    assert!(kept > 1);
    let tables = "SELECT count(*) FROM pg_class WHERE relname LIKE 'frames\\_0%' AND relkind = 'r'";
    let segments = "SELECT count(*), min(first) FROM tollgate.segments";
    until("they are gone there", || async {
        server().sql(&database.name, segments).ends_with(&format!("|{kept}"))
    })
    .await;
    let told = server().sql(&database.name, segments);
    let (count, _) = told.split_once('|').unwrap();
    assert_eq!(server().sql(&database.name, tables), count);
    // The other one follows with its next group.
    call(&*stores[1], 41 * crate::retention::DAY, 100_000).await;
    assert_eq!(first(&folders[1]), kept);
    let late = database.replica(dir.path());
    assert_eq!(verified(&*late).await, verified(&*stores[1]).await);
    verified(&*stores[0]).await;
}

/// The calls of a replica that is killed are settled as unknown by another, once; those of one that lives are not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_replica_leaves_nothing_open() {
    if !is_there() {
        return;
    }
    let (dir, database) = (tempfile::tempdir().unwrap(), server().database());
    std::fs::write(dir.path().join("url"), &database.url).unwrap();
    let mut peer = Peer::spawn("replicas::a_replica_to_be_killed", dir.path());
    assert_eq!(peer.says().as_deref(), Some("granted"));
    let stores = [database.replica(dir.path()), database.replica(dir.path())];
    let open = request("planner-01", start());
    assert_eq!(stores[0].admit(open.clone()).await.unwrap(), Admission::Granted);
    assert_eq!(stores[1].settle_dead_owners(later(start(), 1)).await.unwrap(), 0);
    peer.kill();
    let unknown = || async {
        for store in &stores {
            store.settle_dead_owners(later(start(), 2)).await.unwrap();
        }
        let query = EventQuery { event_type: Some(EventType::AgentSideEffect), ..EventQuery::default() };
        let found = stores[1].events(query).await.unwrap();
        found.iter().filter(|event| event.draft.outcome == Some(Outcome::Unknown)).count()
    };
    until("its call is settled", || async { unknown().await > 0 }).await;
    assert_eq!(unknown().await, 1);
    stores[0].settle(settlement(&open, None, None)).await.unwrap();
}

/// Plays the child of the test above.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_to_be_killed() {
    let Some(dir) = peer_dir() else { return };
    let url = std::fs::read_to_string(dir.join("url")).unwrap();
    let store = Database { url, name: String::new() }.replica(&dir);
    assert_eq!(store.admit(request("planner-01", start())).await.unwrap(), Admission::Granted);
    say("granted");
    wait_for_parent();
}

/// One replica at a time has a duty; another takes it on when that one ends or is cut off.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_duty_is_one_replicas_at_a_time() {
    if !is_there() {
        return;
    }
    let (dir, database) = (tempfile::tempdir().unwrap(), server().database());
    let stores = [database.replica(dir.path()), database.replica(dir.path())];
    let held = stores[0].duty("alerts").await.unwrap().unwrap();
    assert!(held.is_held());
    for store in &stores {
        assert!(store.duty("alerts").await.unwrap().is_none());
    }
    let other = stores[1].duty("delivery-one").await.unwrap();
    assert!(other.is_some());
    drop(held);
    let taken = |store: Arc<EmbeddedStore>| async move { store.duty("alerts").await.ok().flatten() };
    until("it is given back", || async {
        let Some(duty) = taken(stores[1].clone()).await else { return false };
        std::mem::forget(duty);
        true
    })
    .await;
    assert!(stores[0].duty("alerts").await.unwrap().is_none());
    stores[1].close().await;
    until("it ends with its process", || async { taken(stores[0].clone()).await.is_some() }).await;
    let cut =
        format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}'", database.name);
    let held = loop {
        if let Some(duty) = taken(stores[0].clone()).await {
            break duty;
        }
    };
    server().sql("postgres", &cut);
    until("it is over where the connection is", || async { !held.is_held() }).await;
}

/// A change on one replica wakes those who wait on another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_wakes_other_replicas() {
    if !is_there() {
        return;
    }
    let (dir, database) = (tempfile::tempdir().unwrap(), server().database());
    let stores = [database.replica(dir.path()), database.replica(dir.path())];
    let mut told = stores[1].control_changes();
    told.mark_unchanged();
    let mut event = tollgate::model::EventDraft::system(EventType::AdminAction, start());
    event.policy_id = Some(tollgate::evidence::ACTIVATION.into());
    assert!(stores[0].order(vec![event], 0).await.unwrap());
    tokio::time::timeout(Duration::from_secs(20), told.changed()).await.unwrap().unwrap();
}

/// The record of one machine goes to the database whole, once, and goes on there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_is_taken_to_the_database_and_goes_on_there() {
    if !is_there() {
        return;
    }
    let (dir, database) = (tempfile::tempdir().unwrap(), server().database());
    let old = open(dir.path());
    old.seal_after(30).await.unwrap();
    for at in 0..40 {
        call(&*old, at, 1_000).await;
    }
    let asked = pending("digest", start());
    old.ask(asked.clone(), Vec::new(), AskLimits::NONE).await.unwrap();
    let secret = old.secret("key", [1; 32]).await.unwrap();
    let open_call = request("planner-01", later(start(), 50));
    assert_eq!(old.admit(open_call.clone()).await.unwrap(), Admission::Granted);
    let url = || database.url.clone().into();
    let vault = VaultConfig::default();
    let take_of = |dir: &Path| {
        let to = (&url(), &vault, vec![("further", b"value".to_vec())]);
        postgres::migrate(&crate::store::database(dir), dir, to, Box::new(|_, _| {}))
    };
    let take = || take_of(dir.path());
    assert!(take().unwrap_err().to_string().contains("stop it first"));
    old.close().await;
    let [unanswered, another] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let mut copy = std::process::Command::new("cp");
    copy.arg("-a").arg(dir.path().join(".")).arg(unanswered.path());
    assert!(copy.status().unwrap().success());
    let taken = take().unwrap();
    // Where the answer was lost, the same again finds it done; another record finds no room.
    assert_eq!(take_of(unanswered.path()).unwrap(), taken);
    assert!(try_open(unanswered.path()).is_err());
    open(another.path()).close().await;
    assert!(take_of(another.path()).unwrap_err().to_string().contains("there is a record already"));
    assert!(taken.records > 80, "{taken:?}");
    assert!(take().is_err(), "twice");
    let refused = try_open(dir.path()).map(drop).unwrap_err().to_string();
    assert!(refused.contains("was taken to PostgreSQL at"), "{refused}");
    let store = database.replica(dir.path());
    assert_eq!(verified(&*store).await, taken.records);
    assert_eq!(store.secret("key", [2; 32]).await.unwrap(), secret);
    assert_eq!(store.shared_value("further").await.unwrap().as_deref(), Some(&b"value"[..]));
    assert_eq!(store.approval(asked.id).await.unwrap().unwrap().status, ApprovalStatus::Pending);
    assert_eq!(store.budget_usage(later(start(), 51)).await.unwrap()[0].calls, 40);
    store.settle(settlement(&open_call, None, None)).await.unwrap();
    assert_eq!(call(&*store, 60, 1_000).await, Admission::Granted);
    verified(&*store).await;
}

/// The keys of checkpoints are one for all replicas, of those that come first at once too; with `vault_key` nobody reads them who
/// reads the database alone, and who has another one signs nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_of_checkpoints_are_one_for_all_and_encrypted() {
    if !is_there() {
        return;
    }
    let settings = |key: &[&str]| {
        let mut keys = key.iter().map(|key| key.to_string().into());
        VaultConfig { key: keys.next(), key_before: keys.next(), ..VaultConfig::default() }
    };
    let (dir, database) = (tempfile::tempdir().unwrap(), server().database());
    let stores = [database.replica(dir.path()), database.replica(dir.path())];
    let (store, folder) = (&*stores[0], Path::new("nowhere"));
    let plain = settings(&[]);
    assert!(LogKeys::known_of(store, (folder, &plain)).await.unwrap().is_none());
    let made = |n: usize| LogKeys::of(&*stores[n], (folder, &plain), [u8::try_from(n).unwrap(); 32]);
    let (one, other) = tokio::join!(made(0), made(1));
    let first = one.unwrap().verifiers();
    assert_eq!(first, other.unwrap().verifiers());
    let readable = || {
        let value = "SELECT encode(value, 'escape') FROM tollgate.keys WHERE name = 'checkpoint.keys'";
        server().sql(&database.name, value).contains("PRIVATE")
    };
    assert!(readable());
    // Whoever signs next puts them as the settings have it.
    let wrapped = settings(&["a"]);
    LogKeys::of(store, (folder, &wrapped), [9; 32]).await.unwrap();
    assert!(!readable());
    for other in [&plain, &settings(&["b"])] {
        let refused = LogKeys::of(store, (folder, other), [9; 32]).await.unwrap_err().to_string();
        assert!(refused.contains("vault_key"), "{refused}");
        assert!(LogKeys::rotate_of(store, (folder, other), [9; 32]).await.is_err());
    }
    let rotate =
        |n: usize| LogKeys::rotate_of(&*stores[n], (folder, &wrapped), [100 + u8::try_from(n).unwrap(); 32]);
    let (one, other) = tokio::join!(rotate(0), rotate(1));
    let (one, other) = (one.unwrap().0.verifiers(), other.unwrap().0.verifiers());
    let (short, long) = if one.len() < other.len() { (one, other) } else { (other, one) };
    assert_eq!((short.len(), &long[1..], &long[2..]), (2, &short[..], &first[..]));
    let after = settings(&["b", "a"]);
    assert_eq!(LogKeys::of(store, (folder, &after), [9; 32]).await.unwrap().verifiers(), long);
    assert_eq!(LogKeys::of(store, (folder, &settings(&["b"])), [9; 32]).await.unwrap().verifiers(), long);
}

/// Whatever the server is told to lose is not used: `fsync` off is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_forgets_is_refused() {
    if !is_there() {
        return;
    }
    let mut own = Server::start();
    let (dir, database) = (tempfile::tempdir().unwrap(), own.database());
    own.stop("INT");
    own.run(&["fsync=off"]);
    let refused = database.try_open(&dir.path().join("a")).map(drop).unwrap_err().to_string();
    assert!(refused.contains("`fsync` is off"), "{refused}");
}

/// The server is killed under load and its standby takes over: replicas find it by themselves, every call that was granted is
/// counted there, and none is counted that was refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_loses_and_doubles_nothing() {
    if !is_there() {
        return;
    }
    let mut primary = Server::start();
    let standby = primary.standby();
    let database = primary.or(&standby, &primary.database());
    let dir = tempfile::tempdir().unwrap();
    let stores = [database.replica(dir.path()), database.replica(dir.path())];
    let (over, granted) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let tasks: Vec<_> = (0..12)
        .map(|n| {
            let (store, over, granted) = (stores[n % 2].clone(), over.clone(), granted.clone());
            tokio::spawn(async move {
                while !over.load(Ordering::SeqCst) {
                    let budgets = vec![calls("cap", BudgetWindow::Ever, 1_000_000)];
                    let request = AdmitRequest { budgets, ..request("planner-01", later(start(), 1)) };
                    if matches!(store.admit(request.clone()).await, Ok(Admission::Granted)) {
                        granted.fetch_add(1, Ordering::SeqCst);
                        drop(store.settle(settlement(&request, Some(1), Some(1))));
                    }
                }
            })
        })
        .collect();
    let more_than = |known: u64| {
        let granted = granted.clone();
        move || {
            let granted = granted.clone();
            async move { granted.load(Ordering::SeqCst) > known }
        }
    };
    until("calls are made", more_than(100)).await;
    primary.stop("QUIT");
    standby.sql("postgres", "SELECT pg_promote()");
    let before = granted.load(Ordering::SeqCst);
    until("calls are made on the standby", more_than(before + 100)).await;
    over.store(true, Ordering::SeqCst);
    for task in tasks {
        task.await.unwrap();
    }
    for store in &stores {
        until("all is settled", || async { store.unsettled() == 0 }).await;
    }
    let granted = granted.load(Ordering::SeqCst);
    what_was_granted_counts(&stores, granted).await;
}

/// Whoever holds the end for too long holds nobody up for ever: others refuse, and go on when it is over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_that_is_held_for_long_refuses_calls() {
    if !is_there() {
        return;
    }
    let (dir, database) = (tempfile::tempdir().unwrap(), server().database());
    let store = database.replica(dir.path());
    assert_eq!(call(&*store, 1, 100).await, Admission::Granted);
    let name = database.name.clone();
    let held = std::thread::spawn(move || {
        server().sql(&name, "BEGIN; SELECT 1 FROM tollgate.head FOR UPDATE; SELECT pg_sleep(7); COMMIT");
    });
    let sleeps = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = '{}' AND wait_event = 'PgSleep'",
        database.name
    );
    until("it is held", || async { server().sql("postgres", &sleeps) == "1" }).await;
    let refused = store.admit(request("planner-01", later(start(), 2))).await.unwrap_err();
    assert!(refused.to_string().contains("another replica holds what this one needs"), "{refused}");
    held.join().unwrap();
    until("it answers again", || async { store.ping().await.is_ok() }).await;
    assert_eq!(call(&*store, 3, 100).await, Admission::Granted);
    assert_eq!(store.budget_usage(later(start(), 4)).await.unwrap()[0].calls, 2);
}
