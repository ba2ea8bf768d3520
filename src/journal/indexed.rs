//! The indexes of sealed segments in their files: found, held against their segments, rebuilt.

use super::{
    Damage, JournalError,
    chain::{self, Hash},
    files,
    index::{Builder, IndexError, Members, SegmentIndex},
    rollup_file::{self, RollupFile},
    segment::{self, Segment, Step},
};
use crate::series::{Rollup, Seen};
use std::path::Path;

fn of_index(path: &Path, error: &IndexError) -> JournalError {
    JournalError::Failed { path: path.to_owned(), problem: error.to_string() }
}

impl From<IndexError> for JournalError {
    fn from(error: IndexError) -> Self {
        of_index(Path::new("index"), &error)
    }
}

/// Who is told of damage in a segment of which an index is made.
pub(super) type Noting<'n> = &'n dyn Fn(Damage);

pub(super) fn open_index(segment: &Segment, note: Noting<'_>) -> Result<SegmentIndex, JournalError> {
    let path = segment::index_path(&segment.path);
    let end = sealed_end(segment)?;
    match SegmentIndex::open(&path) {
        Ok(index) if *index.segment() == end => return Ok(index),
        Ok(_) => {
            tracing::warn!(path = %path.display(), "journal.index_differs: it is rebuilt from its segment")
        }
        Err(error) if path.exists() => {
            tracing::warn!(path = %path.display(), %error, "journal.index_unreadable: it is rebuilt from its segment");
        }
        Err(_) => {}
    }
    write_index(segment, &path, note)
}

/// Makes the index. That of a segment that is damaged is not kept: whoever makes it knows what it lacks.
pub(super) fn write_index(
    segment: &Segment,
    path: &Path,
    note: Noting<'_>,
) -> Result<SegmentIndex, JournalError> {
    let Built { bytes, rollup, damage } = build(segment)?;
    let of = |error: &_| of_index(path, error);
    if damage.is_empty() {
        files::replace(path, &bytes).map_err(|error| JournalError::of(path, &error))?;
        let beside = segment::rollup_path(&segment.path);
        if !beside.exists() {
            let bytes = rollup_file::write(&rollup, &sealed_end(segment)?);
            files::replace(&beside, &bytes).map_err(|error| JournalError::of(&beside, &error))?;
        }
        let opened = SegmentIndex::open(path).map_err(|error| of(&error));
        go_with(segment, &[path, &beside])?;
        return opened;
    }
    damage.into_iter().for_each(note);
    let passing = files::beside(path);
    files::write_new(&passing, &bytes).map_err(|error| JournalError::of(&passing, &error))?;
    let opened = SegmentIndex::open(&passing).map_err(|error| of(&error));
    std::fs::remove_file(&passing).map_err(|error| JournalError::of(&passing, &error))?;
    opened
}

/// Makes the index of a sealed segment where it has none, and its rollup.
pub fn make_index(path: &Path) -> Result<(), JournalError> {
    let segment = Segment::open(path, false)?;
    open_index(&segment, &|damage| tracing::error!(%damage, "journal.damaged"))?;
    match known_rollup(&segment)? {
        Some(_) => Ok(()),
        None => make_rollup(&segment).map(drop),
    }
}

/// The rollup of a sealed segment, where there is one that fits it.
pub(super) fn known_rollup(segment: &Segment) -> Result<Option<RollupFile>, JournalError> {
    let path = segment::rollup_path(&segment.path);
    match RollupFile::open(&path) {
        Ok(rollup) if *rollup.segment() == sealed_end(segment)? => Ok(Some(rollup)),
        Ok(_) => {
            tracing::warn!(path = %path.display(), "journal.rollup_differs: it is rebuilt from its segment");
            Ok(None)
        }
        Err(error) => {
            if path.exists() {
                tracing::warn!(path = %path.display(), %error, "journal.rollup_unreadable: it is rebuilt from its segment");
            }
            Ok(None)
        }
    }
}

/// Makes the rollup of a sealed segment. Of one that is damaged what can be read is counted, until it is asked for anew:
/// verification names the damage, and it may be put right meanwhile.
pub(super) fn make_rollup(segment: &Segment) -> Result<RollupFile, JournalError> {
    let path = segment::rollup_path(&segment.path);
    let Built { rollup, damage, .. } = build(segment)?;
    let of = if damage.is_empty() { sealed_end(segment)? } else { rollup_file::OF_DAMAGED };
    let bytes = rollup_file::write(&rollup, &of);
    files::replace(&path, &bytes).map_err(|error| JournalError::of(&path, &error))?;
    let opened = RollupFile::open(&path).map_err(|error| of_index(&path, &error));
    go_with(segment, &[&path])?;
    opened
}

/// Takes away what was made of a segment that retention has removed meanwhile. The segment goes first there, and what was made of it
/// after that: whoever still finds the segment here has written before.
fn go_with(segment: &Segment, made: &[&Path]) -> Result<(), JournalError> {
    if segment.path.exists() {
        return Ok(());
    }
    for path in made {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(JournalError::of(path, &error));
            }
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// What names a sealed segment's content: its last 32 bytes are the hash of its last frame.
fn sealed_end(segment: &Segment) -> Result<Hash, JournalError> {
    let mut last = [0; 32];
    let at = segment.length()?.saturating_sub(32);
    let read = files::read_at(&segment.file, &mut last, at)
        .map_err(|error| JournalError::of(&segment.path, &error))?;
    match read {
        32 => Ok(last),
        _ => Err(JournalError::damaged(&segment.path, at, 0, "it is shorter than a hash".to_owned())),
    }
}

/// The bytes of a sealed segment's index, made from the segment alone.
pub fn build_index(segment: &Segment) -> Result<Vec<u8>, JournalError> {
    build(segment).map(|built| built.bytes)
}

/// What is made of a segment.
struct Built {
    /// The index.
    bytes: Vec<u8>,
    /// What charts draw of it.
    rollup: Rollup,
    /// What is damaged in it.
    damage: Vec<Damage>,
}

fn build(segment: &Segment) -> Result<Built, JournalError> {
    let first = segment.first_seq();
    let (mut builder, mut rollup) = (Builder::new(), Rollup::default());
    let mut next = first;
    let mut damage: Vec<Damage> = segment.head_damage().into_iter().collect();
    let mut scan = segment.scan_all()?;
    loop {
        match scan.step()? {
            Step::Frame { offset, before, frame } => {
                let wrong = frame.check_apart(&frame.prev()).err();
                let is_whole = wrong.is_none();
                damage.extend(wrong.map(|problem| Damage {
                    path: segment.path.clone(),
                    offset,
                    after: frame.good_until(&before),
                    problem,
                }));
                for record in frame.records() {
                    while next < record.seq && next - first < i64::from(u32::MAX) {
                        builder.add(0, None);
                        next += 1;
                    }
                    let body = std::str::from_utf8(record.body).ok();
                    let fits =
                        |body: &&str| is_whole || chain::link(&record.prev, record.seq, body) == record.hash;
                    let body = body.filter(fits);
                    if let Some(seen) = body.and_then(Seen::read) {
                        rollup.add(&seen);
                    }
                    let members = body.and_then(|body| Members::read(body).ok());
                    let at = u32::try_from(offset + record.offset as u64).unwrap_or(0);
                    builder.add(at, members.as_ref());
                    next += 1;
                }
            }
            Step::End => break,
            // Verification names it; the rest is found.
            step @ (Step::Torn { .. } | Step::Damaged { .. }) => {
                let (offset, problem) = match step {
                    Step::Damaged { offset, problem } => (offset, problem),
                    _ => (scan.offset(), "a frame ends early".to_owned()),
                };
                damage.push(Damage { path: segment.path.clone(), offset, after: scan.head().seq, problem });
                if scan.resume()?.is_none() {
                    break;
                }
            }
        }
    }
    Ok(Built { bytes: builder.finish(&sealed_end(segment)?), rollup, damage })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::System,
        config::Durability,
        model::{EventDraft, EventType},
        store::{Store as _, embedded::EmbeddedStore},
    };

    /// What is made of a segment that was opened before it was removed does not outlast it.
    #[tokio::test]
    async fn nothing_is_left_of_a_segment_that_goes_meanwhile() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path();
        let store = EmbeddedStore::open(
            &base.join("tollgate.db"),
            base,
            Durability::Commit,
            "one".into(),
            std::sync::Arc::new(System::default()),
        )
        .unwrap();
        store.seal_after(20).await.unwrap();
        for _ in 0..50 {
            store
                .record(vec![EventDraft::system(EventType::Note, jiff::Timestamp::UNIX_EPOCH)])
                .await
                .unwrap();
        }
        store.close().await;
        let journal = base.join("tollgate.journal");
        let (_, path) = segment::list(&journal).unwrap().remove(0);
        let segment = Segment::open(&path, false).unwrap();
        make_rollup(&segment).unwrap();
        write_index(&segment, &segment::index_path(&path), &|_| {}).unwrap();
        assert!(segment::index_path(&path).exists() && segment::rollup_path(&path).exists());
        for file in [path.clone(), segment::index_path(&path), segment::rollup_path(&path)] {
            std::fs::remove_file(file).unwrap();
        }
        make_rollup(&segment).ok();
        write_index(&segment, &segment::index_path(&path), &|_| {}).ok();
        let left: Vec<_> =
            std::fs::read_dir(&journal).unwrap().flatten().map(|entry| entry.file_name()).collect();
        let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
        assert!(left.iter().all(|name| !name.to_string_lossy().starts_with(&stem)), "{left:?}");
    }
}
