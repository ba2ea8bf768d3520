//! `[store] retention` in a running gateway: what is older goes, and what is left verifies (R58).

use crate::harness::*;
use jiff::Timestamp;
use std::sync::Arc;
use tollgate::{
    clock::{IdSource as _, System},
    config::Durability,
    journal::list,
    model::{EventDraft, EventType},
    store::{EventQuery, Store as _, embedded::EmbeddedStore},
};

/// Segments of which all is older than `retention` are gone once a gateway has started, a record says which, and the command that
/// verifies finds the rest whole: beside the running gateway, and as it lies there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_segments_go_and_the_rest_verifies() {
    let files = Files::of(Setup::default()).await;
    let (path, data) = (files.dir.join("data/tollgate.db"), files.dir.join("data"));
    std::fs::create_dir_all(&data).unwrap();
    let system = Arc::new(System::default());
    let store = EmbeddedStore::open(&path, &data, Durability::Commit, system.owner_id(), system).unwrap();
    store.seal_after(50).await.unwrap();
    for n in 0..500 {
        let at = Timestamp::from_second(1_600_000_000 + n).unwrap();
        store.record(vec![EventDraft::system(EventType::Note, at)]).await.unwrap();
    }
    store.close().await;
    drop(store);
    let journal = files.dir.join("data/tollgate.journal");
    let before = list(&journal).unwrap().len();
    assert!(before >= 9, "{before}");
    let mut process = files.serve().await;
    let retired = process.until_event(|event| event["action"] == "records_retired").await;
    let gone = retired["detail"]["segments"].as_array().unwrap().len();
    let verifies = async || {
        let (mut child, lines) = files.command(&["audit", "verify"]);
        let whole = soon(child.wait()).await.unwrap().success();
        lines.until_end().await;
        assert!(whole && lines.text().contains("the chain is whole"), "{}", lines.text());
    };
    verifies().await;
    process.signal(rustix::process::Signal::TERM);
    assert!(process.ended().await);
    verifies().await;
    let left = list(&journal).unwrap().len();
    assert!(gone >= 8 && left <= before + 1 - gone, "{gone} of {before} went, {left} are left");
    let store = files.store();
    let oldest = store.events(EventQuery { limit: 1, ..EventQuery::default() }).await.unwrap();
    assert!(oldest[0].seq > 400, "{}", oldest[0].seq);
}
