//! What a person accepted hides nothing that is changed later (R57, R58, I9).

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test file")]

use crate::store::*;
use std::path::Path;
use tollgate::{
    evidence,
    journal::{Draft, Frame, Head, SEGMENT_HEAD, Segment, Step, index_path, rollup_path},
    store::{BadRecord, Store as _, TreePath, embedded::EmbeddedStore},
};

/// A record's body with one bit changed.
fn flip(dir: &Path, seq: i64) {
    let (path, frame) = frame_of(dir, seq);
    let body = frame.records.iter().find(|(at, _)| *at == seq).unwrap().1.clone();
    edit(&path, |bytes| bytes[body.start + 5] ^= 1);
}

/// Another record in the place of one, and every hash behind it in its segment made again.
fn rewrite(dir: &Path, seq: i64) {
    let (path, _) = frame_of(dir, seq);
    let segment = Segment::open(&path, false).unwrap();
    let mut bytes = std::fs::read(&path).unwrap()[..usize::try_from(SEGMENT_HEAD).unwrap()].to_vec();
    let mut end: Head = segment.head.before;
    let mut scan = segment.scan(SEGMENT_HEAD, end).unwrap();
    while let Step::Frame { frame, .. } = scan.step().unwrap() {
        let frame: Frame<'_> = frame;
        let mut draft = Draft::default();
        draft.begin(&end);
        draft.flag(frame.head.flags);
        draft.saw(frame.head.at);
        for record in frame.records() {
            let text = std::str::from_utf8(record.body).unwrap();
            let text = if record.seq == seq { text.replace("agent-", "agent+") } else { text.to_owned() };
            draft.record(|out| out.extend_from_slice(text.as_bytes()));
        }
        draft.notes().extend_from_slice(frame.notes());
        let (written, head) = draft.finish().unwrap();
        bytes.extend_from_slice(written);
        end = head;
    }
    std::fs::write(&path, bytes).unwrap();
    for made in [index_path(&path), rollup_path(&path)] {
        std::fs::remove_file(made).ok();
    }
}

fn accept(dir: &Path) -> Option<String> {
    EmbeddedStore::accept_damage(&database(dir), dir, &|problem, places| {
        let reason = tollgate::redaction::DataRules::built_in().said("no backup", 100);
        evidence::damage_accepted(later(start(), 5_000), Some("carol"), &reason, problem, places)
    })
    .unwrap()
}

fn bad(dir: &Path) -> BadRecord {
    EmbeddedStore::verify_at_rest(&database(dir)).unwrap().unwrap().bad.unwrap()
}

type Damaging<'d> = &'d dyn Fn(&Path);

/// Whatever is changed after an acceptance is told, and before what was accepted: in the segment that was damaged, in one that
/// was whole, with every hash behind it in its segment made again, and in what is kept of the tree.
#[tokio::test]
async fn damage_that_was_accepted_hides_no_later_change() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.seal_after(300).await.unwrap();
    let written = async |store: &EmbeddedStore, from: i64, to: i64| {
        for n in from..to {
            store.record(vec![decision(&format!("agent-{n:04}"), later(start(), n))]).await.unwrap();
        }
    };
    written(&store, 0, 1_100).await;
    store.tree(None, TreePath::None).await.unwrap();
    store.close().await;
    assert_eq!(segments(dir.path()).len(), 4);
    flip(dir.path(), 120);
    assert!(accept(dir.path()).unwrap().contains("behind record 119"));
    let store = open(dir.path());
    written(&store, 1_100, 1_110).await;
    store.close().await;
    let known = bad(dir.path());
    assert_eq!(known.seq, 120, "{known:?}");

    let cases: [(&str, Damaging<'_>, &str); 6] = [
        ("another record of the damaged segment", &|dir| flip(dir, 200), "behind record 199"),
        ("one before it", &|dir| flip(dir, 90), "behind record 89"),
        ("a record of a whole segment", &|dir| flip(dir, 700), "behind record 699"),
        ("a whole segment made again", &|dir| rewrite(dir, 450), "does not follow"),
        (
            "the last segment of before made again",
            &|dir| rewrite(dir, 1_000),
            "as it did when a person accepted",
        ),
        (
            "the tree",
            &|dir| edit(&journal(dir).join("tree"), |bytes| bytes[8 + 2 * 32] ^= 1),
            "tree` is not what the records make",
        ),
    ];
    for (why, change, told) in cases {
        let twin = tempfile::tempdir().unwrap();
        copy(dir.path(), twin.path());
        assert_eq!(bad(twin.path()).seq, known.seq, "{why}");
        change(twin.path());
        let found = bad(twin.path());
        assert_ne!(found.seq, known.seq, "{why}: {found:?}");
        assert!(found.problem.contains(told), "{why}: {found:?}");
        if !why.contains("tree") && !why.contains("made again") {
            // Accepted too, it is told no more than the first.
            assert!(accept(twin.path()).is_some(), "{why}");
            assert!([known.seq, found.seq].contains(&bad(twin.path()).seq), "{why}");
            assert_eq!(accept(twin.path()), None, "{why}");
        }
    }
}
