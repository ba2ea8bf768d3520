//! Time, ids and randomness enter here and nowhere else, so that a test can hold them still.

use crate::model::{ApprovalId, CallId, OwnerId, TraceId};
use jiff::Timestamp;
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

/// What time it is.
pub trait Clock: Send + Sync + fmt::Debug + 'static {
    /// Wall-clock time.
    fn now(&self) -> Timestamp;
    /// A point on a clock that never goes back, from an arbitrary zero.
    fn monotonic(&self) -> Duration;
}

/// New ids and secrets.
pub trait IdSource: Send + Sync + fmt::Debug + 'static {
    /// Random bytes fit for keys.
    fn random(&self) -> [u8; 32];
    /// A UUID v7, as text.
    fn uuid(&self) -> String;

    /// A new call's id.
    fn call_id(&self) -> CallId {
        CallId::from(self.uuid())
    }
    /// A new approval's id.
    fn approval_id(&self) -> ApprovalId {
        ApprovalId::from(self.uuid())
    }
    /// This process's id in the store.
    fn owner_id(&self) -> OwnerId {
        OwnerId::from(self.uuid())
    }
    /// A new trace.
    fn trace_id(&self) -> TraceId {
        let mut bytes = [0u8; 16];
        for (to, from) in bytes.iter_mut().zip(self.random()) {
            *to = from;
        }
        TraceId::from_bytes(bytes)
    }
}

/// The machine's own clock and randomness.
#[derive(Debug)]
pub struct System {
    start: std::time::Instant,
}

#[expect(clippy::disallowed_methods, reason = "this is the one place where time and randomness come in")]
mod system {
    use super::{Clock, Duration, IdSource, System, Timestamp};

    impl Default for System {
        fn default() -> Self {
            Self { start: std::time::Instant::now() }
        }
    }

    impl Clock for System {
        fn now(&self) -> Timestamp {
            Timestamp::now()
        }
        fn monotonic(&self) -> Duration {
            self.start.elapsed()
        }
    }

    impl IdSource for System {
        fn random(&self) -> [u8; 32] {
            let mut bytes = [0u8; 32];
            // Without randomness no key and no id is safe: stopping is the only closed failure.
            if getrandom::fill(&mut bytes).is_err() {
                std::process::abort();
            }
            bytes
        }
        fn uuid(&self) -> String {
            uuid::Uuid::now_v7().to_string()
        }
    }
}

/// A clock that moves when told, and ids that count up: for tests.
#[derive(Debug)]
pub struct Fake {
    micros: AtomicI64,
    next: AtomicU64,
}

impl Fake {
    /// Starts at the given time.
    pub fn at(start: Timestamp) -> Arc<Self> {
        Arc::new(Self { micros: AtomicI64::new(start.as_microsecond()), next: AtomicU64::new(1) })
    }

    /// Moves time forward.
    pub fn advance(&self, by: Duration) {
        self.micros.fetch_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX), Ordering::SeqCst);
    }
}

impl Clock for Fake {
    fn now(&self) -> Timestamp {
        Timestamp::from_microsecond(self.micros.load(Ordering::SeqCst)).unwrap_or(Timestamp::MAX)
    }
    fn monotonic(&self) -> Duration {
        Duration::from_micros(u64::try_from(self.micros.load(Ordering::SeqCst)).unwrap_or(0))
    }
}

impl IdSource for Fake {
    fn random(&self) -> [u8; 32] {
        let mut bytes = [7u8; 32];
        let count = self.next.fetch_add(1, Ordering::SeqCst).to_be_bytes();
        for (to, from) in bytes.iter_mut().zip(count) {
            *to = from;
        }
        bytes
    }
    fn uuid(&self) -> String {
        format!("00000000-0000-7000-8000-{:012x}", self.next.fetch_add(1, Ordering::SeqCst))
    }
}
