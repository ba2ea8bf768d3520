//! What others do to the store: a change of an approval, which wakes callers who wait for one, an order about what is in
//! force, a change of a register, and its files replaced or removed.

use super::Shared;
use crate::journal::{Place, Reader, touch};
use std::{
    path::{Path, PathBuf},
    sync::{Arc, Weak},
    time::{Duration, SystemTime},
};
use tokio::sync::watch as signal;

/// How soon a change in another process is seen where somebody waits for an answer.
const PERIOD: Duration = Duration::from_millis(50);

/// How soon an order of another process is seen: what is in force is followed within a second.
const ORDER_PERIOD: Duration = Duration::from_millis(250);

/// How long the record is looked at once an order or a register was told of: it is committed by then, or never.
const LOOKS: Duration = Duration::from_secs(15);

/// Touched before an order is committed. To look at it costs one system call, whatever else is recorded.
const ORDERS: &str = "orders";

/// Touched before a change of a register that wakes is committed.
const REGISTERS: &str = "registers";

/// Tells other processes that a change of a register is about to be committed.
pub(super) fn tell_of_registers(journal: &Path) -> std::io::Result<()> {
    touch(&journal.join(REGISTERS))
}

/// Tells other processes that an order is about to be committed.
pub(super) fn tell_of_order(journal: &Path) -> std::io::Result<()> {
    touch(&journal.join(ORDERS))
}

/// A file that others touch, and how long what it tells of is looked for.
struct Told {
    file: PathBuf,
    touched: Option<SystemTime>,
    left: Duration,
}

impl Told {
    fn of(file: PathBuf) -> Self {
        Self { file, touched: None, left: Duration::ZERO }
    }

    /// Whether what it tells of may be there by now. `period`: the time since the last look.
    fn looks(&mut self, period: Duration) -> bool {
        let newest = std::fs::metadata(&self.file).and_then(|metadata| metadata.modified()).ok();
        if newest != self.touched {
            (self.touched, self.left) = (newest, LOOKS);
        }
        let looks = !self.left.is_zero();
        self.left = self.left.saturating_sub(period);
        looks
    }
}

/// The thread's whole life: it looks only while somebody waits.
pub(super) fn run(journal: &Arc<Reader>, shared: &Weak<Shared>) {
    let mut seen: Option<Seen> = None;
    let mut orders_told = Told::of(journal.dir().join(ORDERS));
    let mut registers_told = Told::of(journal.dir().join(REGISTERS));
    let mut registers_seen = None;
    loop {
        let waits = |changes: &signal::Sender<u64>| changes.receiver_count() > 0;
        let (answers, orders, registers) = match shared.upgrade() {
            Some(shared) if !shared.is_closed() => {
                (waits(&shared.approvals), waits(&shared.control), waits(&shared.registers))
            }
            Some(_) | None => return,
        };
        if answers {
            // A read that fails says nothing; the next one may.
            if journal.refresh().is_ok() {
                let now = Seen { segment: journal.end().segment, projected: journal.projected() };
                // The first look cannot know what was missed before it.
                if seen != Some(now)
                    && let Some(shared) = shared.upgrade()
                {
                    shared.approvals.send_modify(|count| *count += 1);
                }
                seen = Some(now);
            }
        } else {
            seen = None;
        }
        let period = if answers { PERIOD } else { ORDER_PERIOD };
        if orders
            && orders_told.looks(period)
            && let Some(shared) = shared.upgrade()
        {
            shared.control.send_modify(|count| *count += 1);
        }
        if registers && registers_told.looks(period) && journal.refresh().is_ok() {
            let now = Some(journal.registers_at());
            if registers_seen != now
                && let Some(shared) = shared.upgrade()
            {
                shared.registers.send_modify(|count| *count += 1);
            }
            registers_seen = now;
        }
        match answers || orders || registers {
            true => std::thread::park_timeout(period),
            false => std::thread::park(),
        }
    }
}

/// The last frame that changed an approval, of the segment that is appended to.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Seen {
    segment: i64,
    projected: Option<Place>,
}

/// The files that this process has open. Its descriptors last: it would go on writing to files that nobody finds any more.
#[derive(Debug)]
pub(super) struct Files(Vec<(PathBuf, Option<Identity>)>);

/// By what a file is known, whatever its name: device and inode.
type Identity = (u64, u64);

#[cfg(unix)]
fn identity(path: &Path) -> Option<Identity> {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
fn identity(_: &Path) -> Option<Identity> {
    None
}

impl Files {
    /// After the store was opened and written to: all of its files are there. Without its lock others take this process for
    /// dead.
    pub(super) fn of(database: &Path, journal_lock: &Path, lock: &Path) -> Self {
        let beside = |end: &str| {
            let mut name = database.as_os_str().to_owned();
            name.push(end);
            PathBuf::from(name)
        };
        let journal = journal_lock.to_owned();
        let files = [database.to_owned(), beside("-wal"), beside("-shm"), journal, lock.to_owned()];
        let known = files.into_iter().map(|path| {
            let identity = identity(&path);
            (path, identity)
        });
        Self(known.collect())
    }

    /// Whether they are still found under their names; the error says which is not.
    pub(super) fn check(&self) -> Result<(), String> {
        for (path, opened) in &self.0 {
            if identity(path) != *opened {
                return Err(format!(
                    "`{}` was removed or replaced while Tollgate had it open: restart Tollgate",
                    path.display()
                ));
            }
        }
        Ok(())
    }
}
