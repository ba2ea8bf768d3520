//! Whether a copy is what the database has, byte for byte.

use super::link::{Link, Session};
use crate::{
    journal::{Frame, SEGMENT_HEAD},
    store::{StoreError, embedded::Differs},
};
use futures::{StreamExt as _, pin_mut};
use std::{
    fs::File,
    io::{BufReader, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    time::Duration,
};
use tokio_postgres::types::ToSql;

/// How long all of it may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(12 * 3_600);

const FRAMES: &str = "SELECT at, body FROM tollgate.frames WHERE segment = $1 ORDER BY at";

/// The first frame of each segment that differs. What the database has beyond the copy is newer.
pub(super) async fn compare(link: &Link, segments: &[(i64, PathBuf)]) -> Result<Vec<Differs>, StoreError> {
    let session = link.connect(None).await?;
    let mut found = Vec::new();
    for (at, (segment, path)) in segments.iter().enumerate() {
        let is_last = at + 1 == segments.len();
        let Some((offset, after)) = differs(link, &session, (*segment, path), is_last).await? else {
            continue;
        };
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let problem = format!(
            "the database at {} and this machine's copy (`{name}`) differ from here on",
            link.place()
        );
        found.push(Differs { segment: *segment, offset, after, problem });
    }
    Ok(found)
}

/// Where the first frame of a segment is that differs, and the last record before it.
async fn differs(
    link: &Link,
    session: &Session,
    (segment, path): (i64, &Path),
    is_last: bool,
) -> Result<Option<(u64, i64)>, StoreError> {
    let failed = |error: tokio_postgres::Error| link.problem().of(&error);
    let mut copy = Copy::open(path)?;
    let rows = session.client.query_raw(FRAMES, [&segment as &(dyn ToSql + Sync)]).await.map_err(failed)?;
    pin_mut!(rows);
    let (mut next, mut after) = (SEGMENT_HEAD, segment - 1);
    while let Some(row) = rows.next().await {
        let row = row.map_err(failed)?;
        let (offset, body): (i64, &[u8]) = (row.get(0), row.get(1));
        match copy.read(body.len())? {
            Some(here) if here == body && u64::try_from(offset) == Ok(next) => {}
            // What came since it was opened.
            None if is_last => return Ok(None),
            Some(_) | None => return Ok(Some((next, after))),
        }
        next += body.len() as u64;
        if let Some(frame) = Frame::of(body) {
            after = frame.head.first_seq - 1 + i64::from(frame.head.records);
        }
    }
    Ok(copy.has_more().then_some((next, after)))
}

/// The frames of a segment's file, as far as they were there when it was opened.
struct Copy {
    file: BufReader<File>,
    left: u64,
    path: PathBuf,
}

impl Copy {
    fn open(path: &Path) -> Result<Self, StoreError> {
        let opened = File::open(path).and_then(|mut file| {
            file.seek(SeekFrom::Start(SEGMENT_HEAD))?;
            let left = file.metadata()?.len().saturating_sub(SEGMENT_HEAD);
            Ok((BufReader::new(file), left))
        });
        match opened {
            Ok((file, left)) => Ok(Self { file, left, path: path.to_owned() }),
            Err(error) => Err(StoreError::Failed(format!("`{}`: {error}", path.display()))),
        }
    }

    /// The next bytes; `None` where there are not so many.
    fn read(&mut self, length: usize) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(left) = self.left.checked_sub(length as u64) else {
            self.left = 0;
            return Ok(None);
        };
        self.left = left;
        let mut bytes = vec![0; length];
        match self.file.read_exact(&mut bytes) {
            Ok(()) => Ok(Some(bytes)),
            Err(error) => Err(StoreError::Failed(format!("`{}`: {error}", self.path.display()))),
        }
    }

    fn has_more(&self) -> bool {
        self.left > 0
    }
}
