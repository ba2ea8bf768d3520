//! What charts draw is what the record says, over however many segments and whatever became of the files beside them.

use crate::store::*;
use std::{path::Path, sync::Arc};
use tollgate::{
    journal::rollup_path,
    model::EventDecision,
    series::{
        Answer, Asked, By, Catalog, DrawnSeries, Figuring, MatrixAsk, Measure, Rollup, Seen, SeriesAsk, Step,
        Values, minute_of,
    },
    store::{EventQuery, Store, embedded::EmbeddedStore},
};

const HOUR: i64 = 3_600_000;

/// Calls of two days: some are refused, the others end after a while that differs.
async fn traffic(stores: &[Arc<EmbeddedStore>], calls: i64) {
    for n in 0..calls {
        let store = &stores[usize::try_from(n).unwrap() % stores.len()];
        let at = later(start(), n * 48 * HOUR / calls);
        let mut request = request(&format!("agent-{}", n % 4), at);
        request.event.workflow_id = Some(format!("run-{}", n % 7).as_str().into());
        request.event.tool = Some(format!("files__tool_{}", n % 3).into());
        if n % 5 == 0 {
            request.event.decision = Some(EventDecision::Deny);
            store.record(vec![request.event]).await.unwrap();
            continue;
        }
        store.admit(request.clone()).await.unwrap();
        let mut settled = settlement(&request, Some(7), Some(1_000 + n));
        settled.event.timestamp = later(at, 100);
        settled.event.duration_ms = Some(u64::try_from(n).unwrap() * 13 % 900);
        settled.event.cost_usd = settled.cost;
        settled.event.outcome = Some(settled.outcome);
        store.settle(settled).await.unwrap();
    }
}

fn questions() -> Vec<Asked> {
    let times = (start(), later(start(), 48 * HOUR));
    let series = |measure, by, step| {
        Asked::Series(SeriesAsk::new((measure, by), times, Step::parse(step), Some(3)).unwrap())
    };
    let narrow = (later(start(), 7 * HOUR), later(start(), 9 * HOUR));
    let mut all = vec![
        series(Measure::Calls, By::Decision, "1h"),
        series(Measure::SpendUsd, By::Agent, "5m"),
        series(Measure::Latency, By::Upstream, "1d"),
        series(Measure::Tokens, By::Tool, "10m"),
        series(Measure::Errors, By::Workflow, "6h"),
        Asked::Series(SeriesAsk::new((Measure::Denies, By::Agent), narrow, Step::parse("1m"), None).unwrap()),
    ];
    for hours in [3, 48, 2_000] {
        let first = minute_of(start()) + 17;
        all.push(Asked::Matrix(MatrixAsk { first, end: first + hours * 60, catalog: Catalog::default() }));
    }
    all
}

/// The same from the events, one by one.
async fn from_events(store: &EmbeddedStore, asked: &Asked) -> Answer {
    let mut rollup = Rollup::default();
    for event in store.events(EventQuery::default()).await.unwrap() {
        if let Some(seen) = Seen::read(&event.draft.body()) {
            rollup.add(&seen);
        }
    }
    let spans = asked.spans();
    let mut work = Figuring::new(asked.clone());
    loop {
        for span in &spans {
            rollup.rows(*span, &mut |row| work.take(row));
        }
        if !work.again() {
            return work.finish();
        }
    }
}

/// Every question is answered as the events say; what is missing is made by asking.
async fn right(store: &EmbeddedStore, why: &str) {
    for asked in questions() {
        let expect = from_events(store, &asked).await;
        let mut found = store.figures(asked.clone()).await.unwrap();
        for _ in 0..20 {
            if found.missing == 0 {
                break;
            }
            found = store.figures(asked.clone()).await.unwrap();
        }
        assert_eq!((found.missing, found.answer), (0, expect), "{why}: {asked:?}");
    }
}

fn rollups(dir: &Path) -> Vec<std::path::PathBuf> {
    segments(dir).iter().map(|segment| rollup_path(segment)).filter(|path| path.exists()).collect()
}

fn total(series: &DrawnSeries) -> i64 {
    let of = |values: &Values| match values {
        Values::Numbers(all) => all.iter().sum::<i64>(),
        Values::Durations(_) => 0,
    };
    series.groups.iter().map(|group| of(&group.values)).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn charts_say_what_the_record_says() {
    let dir = tempfile::tempdir().unwrap();
    let stores = [open(dir.path()), open(dir.path())];
    stores[0].seal_after(40).await.unwrap();
    stores[1].seal_after(40).await.unwrap();
    traffic(&stores, 200).await;
    assert!(segments(dir.path()).len() > 6);
    for store in &stores {
        right(store, "who was there").await;
    }
    let Asked::Series(all) = &questions()[0] else { panic!("a series comes first") };
    let Answer::Series(drawn) = stores[0].figures(Asked::Series(all.clone())).await.unwrap().answer else {
        panic!("a series was asked for")
    };
    assert_eq!(total(&drawn), 200);
    let next = open(dir.path());
    right(&next, "who opens it").await;
    assert!(next.verify().await.unwrap().bad.is_none());
    next.close().await;
    type Change<'c> = &'c dyn Fn(&Path);
    let changes: [(&str, Change<'_>); 4] = [
        ("deleted", &|path| std::fs::remove_file(path).unwrap()),
        ("emptied", &|path| std::fs::write(path, "").unwrap()),
        ("cut", &|path| edit(path, |bytes| bytes.truncate(bytes.len() / 2))),
        ("another's bytes", &|path| std::fs::write(path, "no rollup at all".repeat(200)).unwrap()),
    ];
    for (why, change) in changes {
        let files = rollups(dir.path());
        assert!(files.len() > 5, "{why}");
        files.iter().for_each(|path| change(path));
        let next = open(dir.path());
        right(&next, why).await;
        next.close().await;
    }
    // One wrong byte, wherever it is: what cannot be read is made again, also under a process that knows the file.
    let file = rollups(dir.path())[1].clone();
    let length = std::fs::read(&file).unwrap().len();
    for at in (0..length).step_by(701) {
        edit(&file, |bytes| bytes[at] ^= 0x10);
        right(&stores[0], &format!("byte {at}, known")).await;
        let next = open(dir.path());
        right(&next, &format!("byte {at}")).await;
        next.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edited_rollup_is_named_and_goes_with_its_segment() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.seal_after(20).await.unwrap();
    traffic(std::slice::from_ref(&store), 60).await;
    right(&store, "at first").await;
    let file = rollups(dir.path())[1].clone();
    let whole = std::fs::read(&file).unwrap();
    // A file that is whole, of another segment's records: only its segment tells.
    let other = std::fs::read(&rollups(dir.path())[2]).unwrap();
    let mut forged = other.clone();
    forged[8..40].copy_from_slice(&whole[8..40]);
    std::fs::write(&file, &forged).unwrap();
    let report = store.verify().await.unwrap();
    let problem = report.bad.expect("an edit is named").problem;
    assert!(
        problem.contains("rollup") && problem.contains("is not what its segment's records make"),
        "{problem}"
    );
    std::fs::write(&file, &whole).unwrap();
    assert!(store.verify().await.unwrap().bad.is_none());
    // One of an earlier version says nothing of anybody, and is made again.
    for file in rollups(dir.path()) {
        edit(&file, |bytes| bytes[7] = b'2');
    }
    assert!(store.verify().await.unwrap().bad.is_none());
    let next = open(dir.path());
    right(&next, "of an earlier version").await;
    next.close().await;
    assert!(rollups(dir.path()).iter().all(|file| std::fs::read(file).unwrap()[7] != b'2'));
    let now = later(start(), 500 * 24 * HOUR);
    assert!(store.retire(later(start(), 30 * HOUR), now).await.unwrap() > 0);
    for segment in std::fs::read_dir(journal(dir.path())).unwrap().flatten() {
        let path = segment.path();
        if path.extension().is_some_and(|extension| extension == "rollup") {
            assert!(path.with_extension("segment").exists(), "{} is left behind", path.display());
        }
    }
    right(&store, "after retention").await;
}
