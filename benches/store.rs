//! What one call costs the store: pairs of admission and settlement per second, by concurrent callers.

#![allow(clippy::panic, reason = "a benchmark: what fails ends it")]

mod calls;

use divan::{Bencher, counter::ItemsCount};
use std::{path::Path, sync::Arc};
use tollgate::{
    clock::System,
    config::Durability,
    model::OwnerId,
    store::{Admission, AdmitRequest, Store as _, embedded::EmbeddedStore},
};

fn main() {
    divan::main();
}

/// Pairs in one measured round.
const PAIRS: u64 = 4_096;

async fn pair(store: &EmbeddedStore, request: AdmitRequest) {
    let event = request.event.clone();
    assert_eq!(store.admit(request).await.ok(), Some(Admission::Granted));
    assert!(store.settle(calls::settlement(event)).await.is_ok());
}

fn open(dir: &Path, durability: Durability) -> Arc<EmbeddedStore> {
    match EmbeddedStore::open(
        &dir.join("bench.db"),
        dir,
        durability,
        OwnerId::from("bench"),
        Arc::new(System::default()),
    ) {
        Ok(store) => store,
        Err(error) => panic!("{error}"),
    }
}

fn pairs(bencher: Bencher<'_, '_>, callers: u64, durability: Durability) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap_or_else(|error| panic!("{error}"));
    let dir = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
    let store = open(dir.path(), durability);
    let clock = Arc::new(System::default());
    bencher.counter(ItemsCount::new(PAIRS)).bench_local(|| {
        runtime.block_on(async {
            let tasks: Vec<_> = (0..callers)
                .map(|_| {
                    let (store, clock) = (store.clone(), clock.clone());
                    tokio::spawn(async move {
                        for _ in 0..PAIRS / callers {
                            pair(&store, calls::request(&clock)).await;
                        }
                    })
                })
                .collect();
            for task in tasks {
                assert!(task.await.is_ok());
            }
        });
    });
    runtime.block_on(store.close());
}

#[divan::bench(args = [1, 16, 64, 256], sample_count = 12)]
fn commit(bencher: Bencher<'_, '_>, callers: u64) {
    pairs(bencher, callers, Durability::Commit);
}

#[divan::bench(args = [1, 64], sample_count = 8)]
fn fsync(bencher: Bencher<'_, '_>, callers: u64) {
    pairs(bencher, callers, Durability::Fsync);
}
