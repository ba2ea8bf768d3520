//! Rates: what an upstream may make Tollgate read, write to its log and do, per second.

use parking_lot::Mutex;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;

/// So many units at once, and so many more with each second.
#[derive(Debug)]
pub(super) struct Allowance {
    burst: u64,
    per_second: u64,
    /// When all that was taken is made up for.
    settled: Mutex<Option<Instant>>,
}

impl Allowance {
    pub(super) const fn new(burst: u64, per_second: u64) -> Self {
        Self { burst, per_second, settled: Mutex::new(None) }
    }

    fn time_for(&self, units: u64) -> Duration {
        let nanos = u128::from(units).saturating_mul(1_000_000_000) / u128::from(self.per_second.max(1));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// When all is made up for, after so many units more.
    fn after(&self, settled: Option<Instant>, now: Instant, units: u64) -> Option<Instant> {
        settled.unwrap_or(now).max(now).checked_add(self.time_for(units))
    }

    /// Takes the units, where they are there.
    pub(super) fn take(&self, now: Instant, units: u64) -> bool {
        let mut settled = self.settled.lock();
        let after = self.after(*settled, now, units);
        let fits =
            after.is_some_and(|after| after.saturating_duration_since(now) <= self.time_for(self.burst));
        if fits {
            *settled = after;
        }
        fits
    }

    /// Gives all back.
    fn restore(&self) {
        *self.settled.lock() = None;
    }

    /// Takes the units in any case: how long to wait before anything more is taken.
    pub(super) fn charge(&self, now: Instant, units: u64) -> Duration {
        let mut settled = self.settled.lock();
        *settled = self.after(*settled, now, units).or(*settled);
        let debt = settled.map_or(Duration::ZERO, |settled| settled.saturating_duration_since(now));
        debt.saturating_sub(self.time_for(self.burst))
    }
}

/// Which lines go to the log. What is left out is counted, and told with the next line.
#[derive(Debug)]
pub(super) struct LogLimit {
    bytes: Allowance,
    left_out: AtomicU64,
}

/// What a line costs beside its own bytes.
const LINE: u64 = 100;

impl LogLimit {
    const fn new() -> Self {
        Self { bytes: Allowance::new(64 << 10, 4 << 10), left_out: AtomicU64::new(0) }
    }

    /// Whether a line of so many bytes may be written, and how many lines before it were not.
    pub(super) fn admits(&self, bytes: usize) -> Option<u64> {
        self.admits_at(Instant::now(), bytes)
    }

    fn admits_at(&self, now: Instant, bytes: usize) -> Option<u64> {
        let cost = u64::try_from(bytes).unwrap_or(u64::MAX).saturating_add(LINE);
        if self.bytes.take(now, cost) {
            return Some(self.left_out());
        }
        self.left_out.fetch_add(1, Ordering::Relaxed);
        None
    }

    /// How many lines were left out since that was last asked.
    pub(super) fn left_out(&self) -> u64 {
        self.left_out.swap(0, Ordering::Relaxed)
    }
}

/// The rates of one upstream, over all its connections.
#[derive(Debug)]
pub(super) struct Limits {
    /// Lines that its process writes to standard error.
    pub(super) stderr: LogLimit,
    /// Lines about what it does otherwise.
    pub(super) log: LogLimit,
    noise: Allowance,
    lists: Allowance,
    /// When its lists were last read.
    listed: Mutex<Option<Instant>>,
    /// The first line since it was last started that is no message: why not, and the line, masked.
    no_message: Mutex<Option<(String, String)>>,
}

/// What one read of the lists takes of its allowance: five at once, and then one in less than two seconds.
const ONE_LIST: u64 = 5;
/// What it takes where the upstream has been quiet for [`QUIET`] since the last one: who changes a list now and then is not
/// made to wait for it.
const ONE_LIST_NOW_AND_THEN: u64 = 1;
const QUIET: Duration = Duration::from_millis(500);
/// What a message costs beside its bytes.
const MESSAGE: u64 = 1024;

impl Limits {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            stderr: LogLimit::new(),
            log: LogLimit::new(),
            noise: Allowance::new(32 << 20, 8 << 20),
            lists: Allowance::new(5 * ONE_LIST, 3),
            listed: Mutex::new(None),
            no_message: Mutex::new(None),
        })
    }

    /// It wrote a line that is no message.
    pub(super) fn wrote_no_message(&self, reason: &str, line: impl FnOnce() -> String) {
        self.no_message.lock().get_or_insert_with(|| (reason.to_owned(), line()));
    }

    /// It is started again.
    pub(super) fn starts(&self) {
        *self.no_message.lock() = None;
    }

    /// Why the first line that is no message is none, and the line.
    pub(super) fn no_message(&self) -> Option<(String, String)> {
        self.no_message.lock().clone()
    }

    /// The lists have changed: how long to wait before they are read.
    pub(super) fn before_list(&self, now: Instant) -> Duration {
        let listed = *self.listed.lock();
        let was_quiet = listed.is_some_and(|listed| now.saturating_duration_since(listed) >= QUIET);
        self.lists.charge(now, if was_quiet { ONE_LIST_NOW_AND_THEN } else { ONE_LIST })
    }

    /// The lists were read.
    pub(super) fn was_listed(&self, now: Instant) {
        *self.listed.lock() = Some(now);
    }
}

/// The rates of one connection: everything that is no answer to a waiting request.
#[derive(Debug)]
pub(super) struct Noise {
    upstream: Arc<Limits>,
    own: Allowance,
    junk: Allowance,
    /// Sessions and streams that are opened again.
    renewals: Allowance,
}

impl Noise {
    pub(super) fn new(upstream: Arc<Limits>) -> Self {
        Self {
            upstream,
            own: Allowance::new(4 << 20, 1 << 20),
            junk: Allowance::new(8 << 20, 64 << 10),
            renewals: Allowance::new(10, 1),
        }
    }

    /// So many bytes came that answer nothing. Waits, and lets the upstream wait, where they come too fast.
    pub(super) async fn heard(&self, bytes: usize) {
        let (now, cost) = (Instant::now(), u64::try_from(bytes).unwrap_or(u64::MAX).saturating_add(MESSAGE));
        let wait = self.own.charge(now, cost).max(self.upstream.noise.charge(now, cost));
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }

    /// So many bytes came that are no message. Whether that is still to be borne.
    pub(super) fn bears(&self, bytes: usize) -> bool {
        let cost = u64::try_from(bytes).unwrap_or(u64::MAX).saturating_add(MESSAGE);
        self.junk.take(Instant::now(), cost)
    }

    /// A request was answered: what else came is forgiven.
    pub(super) fn answered(&self) {
        self.junk.restore();
    }

    /// Whether a session or stream may be opened again now.
    pub(super) fn may_renew(&self) -> bool {
        self.renewals.take(Instant::now(), 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Changes without end are read at their pace; changes now and then are read at once, for ever.
    #[test]
    fn changes_of_lists_are_read_at_their_pace() {
        let begun = Instant::now();
        let pauses = |every: u64, count: u64| -> Vec<Duration> {
            let limits = Limits::new();
            limits.was_listed(begun);
            let times = (1..=count).map(|n| begun + Duration::from_millis(n * every));
            times
                .map(|now| {
                    let pause = limits.before_list(now);
                    limits.was_listed(now + pause);
                    pause
                })
                .collect()
        };
        let at_once = pauses(1, 7);
        assert!(at_once[..5].iter().all(Duration::is_zero), "{at_once:?}");
        assert!(at_once[6] > Duration::from_secs(3), "{at_once:?}");
        assert!(pauses(500, 1000).iter().all(Duration::is_zero));
        assert!(pauses(400, 100).iter().any(|pause| !pause.is_zero()));
    }

    #[test]
    fn an_allowance_is_spent_and_comes_back() {
        let allowance = Allowance::new(10, 2);
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        assert!(allowance.take(at(0), 6) && allowance.take(at(0), 4) && !allowance.take(at(0), 1));
        assert!(allowance.take(at(1), 2) && !allowance.take(at(1), 1));
        assert!(allowance.take(at(1_000), 10) && !allowance.take(at(1_000), 1), "never more than the burst");
        assert_eq!(allowance.charge(at(1_000), 4), Duration::from_secs(2));
        assert_eq!(allowance.charge(at(1_002), 0), Duration::ZERO);
    }

    #[test]
    fn the_log_takes_a_bounded_number_of_bytes_and_tells_what_it_left_out() {
        let limit = LogLimit::new();
        let (mut lines, mut bytes, mut left_out) = (0, 0, 0);
        let start = Instant::now();
        for second in 0..100 {
            let now = start + Duration::from_secs(second);
            for line in 0..1_000 {
                let length = usize::try_from((second * line) % 4_096).unwrap();
                if let Some(before) = limit.admits_at(now, length) {
                    (lines, bytes, left_out) = (lines + 1, bytes + length, left_out + before);
                }
            }
        }
        assert!(bytes <= (64 << 10) + 100 * (4 << 10), "{bytes}");
        assert_eq!(lines + left_out + limit.left_out(), 100_000);
        assert!(lines > 100 && left_out > 0, "{lines} {left_out}");
    }
}
