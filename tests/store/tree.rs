//! The Merkle tree over the embedded store's records (R89): after a restart, without what is kept of it, with records removed by
//! retention, and edited.

use crate::{
    retention::{DAY, calls_on},
    store::*,
};
use tollgate::{
    model::Event,
    proof::{Hash, is_consistent, is_included, leaf_hash},
    store::{EventQuery, Store as _, TreeAnswer, TreePath, embedded::EmbeddedStore},
};

async fn leaves(store: &EmbeddedStore) -> Vec<(u64, Hash)> {
    let events = store.events(EventQuery::default()).await.unwrap();
    let leaf = |event: &Event| {
        let mut hash = [0; 32];
        hex::decode_to_slice(&event.hash, &mut hash).unwrap();
        (u64::try_from(event.seq - 1).unwrap(), leaf_hash(&hash))
    };
    events.iter().map(leaf).collect()
}

/// Every record that is there is shown to be in the tree, and every older tree to be its beginning.
async fn holds(store: &EmbeddedStore, known: &[TreeAnswer]) -> TreeAnswer {
    let now = store.tree(None, TreePath::None).await.unwrap();
    assert_eq!(now.size, now.records);
    let leaves = leaves(store).await;
    assert_eq!(leaves.last().unwrap().0 + 1, now.size);
    for (index, leaf) in leaves.iter().step_by(37) {
        let answer = store.tree(None, TreePath::Inclusion(*index)).await.unwrap();
        assert!(is_included(leaf, *index, answer.size, &answer.path, &answer.root), "{index}");
    }
    for old in known {
        let answer = store.tree(None, TreePath::Consistency(old.size)).await.unwrap();
        let (before, after) = ((old.size, &old.root), (answer.size, &answer.root));
        assert!(is_consistent(before, after, &answer.path), "{} in {}", old.size, answer.size);
    }
    now
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_shown_to_be_in_the_tree_and_older_trees_to_be_its_beginning() {
    let dir = tempfile::tempdir().unwrap();
    let kept = dir.path().join("tollgate.journal/tree");
    let store = open(dir.path());
    store.seal_after(150).await.unwrap();
    let mut known = vec![store.tree(None, TreePath::None).await.unwrap()];
    for _ in 0..3 {
        calls_on(&store, 0).await;
        known.push(holds(&store, &known).await);
    }
    calls_on(&store, 300).await;
    let now = holds(&store, &known).await;
    let more = store.tree(Some(now.size + 1), TreePath::None).await.unwrap_err().to_string();
    assert!(more.contains(&format!("there are {}", now.size)), "{more}");
    assert!(store.tree(None, TreePath::Inclusion(now.size)).await.is_err());
    store.close().await;

    // Made of the segments alone.
    std::fs::remove_file(&kept).unwrap();
    let store = open(dir.path());
    known.push(holds(&store, &known).await);
    // Segments go, and their records with them; what is left stands where it stood.
    let now = later(start(), 300 * DAY + 60_000);
    let gone = store.retire(later(start(), 100 * DAY), now).await.unwrap();
    assert!(gone > 300, "{gone}");
    // Of a tree that ends among records that are gone nothing can be shown any more; of those that are larger all.
    known.retain(|old| old.size >= gone);
    assert!(!known.is_empty());
    known.push(holds(&store, &known).await);
    let first = store.tree(None, TreePath::Inclusion(0)).await.unwrap_err().to_string();
    assert!(first.contains("retention"), "{first}");
    assert_eq!(store.verify().await.unwrap().bad, None);
    store.close().await;
    std::fs::remove_file(&kept).unwrap();
    let store = open(dir.path());
    calls_on(&store, 301).await;
    calls_on(&store, 302).await;
    calls_on(&store, 303).await;
    holds(&store, &known).await;
    assert_eq!(store.verify().await.unwrap().bad, None);
    store.close().await;

    // What somebody wrote into it is named.
    let mut bytes = std::fs::read(&kept).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&kept, bytes).unwrap();
    let bad = EmbeddedStore::verify_at_rest(&database(dir.path())).unwrap().unwrap().bad.unwrap();
    assert!(bad.problem.contains("tree` is not what the records make"), "{bad:?}");
}
