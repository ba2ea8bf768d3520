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
            let millis = u64::try_from(Timestamp::now().as_millisecond()).unwrap_or_default();
            let mut text = [0u8; uuid::fmt::Hyphenated::LENGTH];
            uuid::Builder::from_unix_timestamp_millis(millis, &few())
                .into_uuid()
                .hyphenated()
                .encode_lower(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        }
        fn trace_id(&self) -> super::TraceId {
            super::TraceId::from_bytes(few())
        }
    }

    /// Random bytes for ids, which are no secrets: the system is asked for many at a time.
    fn few<const N: usize>() -> [u8; N] {
        const MANY: usize = 1024;
        thread_local! {
            static LEFT: std::cell::RefCell<Vec<u8>> = const { std::cell::RefCell::new(Vec::new()) };
        }
        LEFT.with_borrow_mut(|left| {
            if left.len() < N {
                left.resize(MANY.max(N), 0);
                if getrandom::fill(left).is_err() {
                    std::process::abort();
                }
            }
            let mut bytes = [0u8; N];
            let rest = left.len() - N;
            for (to, from) in bytes.iter_mut().zip(left.drain(rest..)) {
                *to = from;
            }
            bytes
        })
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
