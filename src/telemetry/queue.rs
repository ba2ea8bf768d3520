//! What waits for a collector: bounded, and nobody waits for it. What does not fit, or is not taken, is counted.

use super::{Label, Metrics};
use opentelemetry_sdk::error::OTelSdkResult;
use parking_lot::Mutex;
use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

/// How often it is said that a collector takes nothing.
const SAY_AGAIN: Duration = Duration::from_secs(60);

/// How much waits, and how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) most: usize,
    pub(super) batch: usize,
    pub(super) delay: Duration,
}

/// Items on their way.
pub(super) struct Queue<T> {
    signal: &'static str,
    terms: Terms,
    waiting: Mutex<VecDeque<T>>,
    wake: Notify,
    metrics: Arc<Metrics>,
    trouble: Arc<Trouble>,
}

impl<T> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.signal)
    }
}

impl<T> Queue<T> {
    pub(super) fn new(
        signal: &'static str,
        terms: Terms,
        metrics: &Arc<Metrics>,
        trouble: &Arc<Trouble>,
    ) -> Self {
        let (metrics, trouble) = (metrics.clone(), trouble.clone());
        Self { signal, terms, waiting: Mutex::default(), wake: Notify::new(), metrics, trouble }
    }

    /// Puts items at the end, as many as there is room for.
    pub(super) fn put(&self, items: impl Iterator<Item = T>) {
        let mut waiting = self.waiting.lock();
        let mut left_out = 0;
        for item in items {
            match waiting.len() < self.terms.most {
                true => waiting.push_back(item),
                false => left_out += 1,
            }
        }
        let is_due = waiting.len() >= self.terms.batch;
        drop(waiting);
        if left_out > 0 {
            self.drop_some(left_out);
        }
        if is_due {
            self.wake.notify_one();
        }
    }

    fn drop_some(&self, items: u64) {
        self.metrics.dropped.add([Label::Word(self.signal)], items);
    }

    fn take(&self) -> Vec<T> {
        let mut waiting = self.waiting.lock();
        let some = waiting.len().min(self.terms.batch);
        waiting.drain(..some).collect()
    }

    /// Sends batches until it is told to stop; then what is left, and no longer than that takes.
    pub(super) async fn run<F>(&self, stop: CancellationToken, send: impl Fn(Vec<T>) -> F)
    where
        F: Future<Output = OTelSdkResult>,
    {
        loop {
            let stopped = tokio::select! {
                () = stop.cancelled() => true,
                () = self.wake.notified() => false,
                () = tokio::time::sleep(self.terms.delay) => false,
            };
            loop {
                let batch = self.take();
                if batch.is_empty() {
                    break;
                }
                let count = u64::try_from(batch.len()).unwrap_or(u64::MAX);
                if let Err(error) = send(batch).await {
                    self.drop_some(count);
                    self.trouble.say(self.signal, &error.to_string());
                }
                // What does not fill a batch waits for more.
                if !stopped && self.waiting.lock().len() < self.terms.batch {
                    break;
                }
            }
            if stopped {
                return;
            }
        }
    }
}

/// Says that a collector takes nothing, now and then.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    said: Mutex<Option<Instant>>,
    left_out: AtomicU64,
}

impl Trouble {
    pub(super) fn say(&self, signal: &'static str, why: &str) {
        let now = Instant::now();
        let mut said = self.said.lock();
        if said.is_some_and(|said| now.saturating_duration_since(said) < SAY_AGAIN) {
            self.left_out.fetch_add(1, Ordering::Relaxed);
            return;
        }
        *said = Some(now);
        drop(said);
        let more = self.left_out.swap(0, Ordering::Relaxed);
        let why = crate::redaction::display_text(why, 300);
        tracing::warn!(
            signal,
            why,
            more,
            "otlp.not_taken: the collector takes nothing; what it misses is counted, and calls go on"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(most: usize, batch: usize) -> (Queue<u32>, Arc<Metrics>) {
        let metrics = Arc::<Metrics>::default();
        let terms = Terms { most, batch, delay: Duration::from_secs(3_600) };
        (Queue::new("spans", terms, &metrics, &Arc::default()), metrics)
    }

    fn dropped(metrics: &Metrics) -> String {
        let told =
            metrics.told().into_iter().find(|told| told.about.name == "tollgate.otlp.dropped").unwrap();
        format!("{:?}", told.cells)
    }

    /// A collector that is away costs no more than the queue, and what it misses is counted.
    #[tokio::test]
    async fn what_is_not_taken_is_counted() {
        let (queue, metrics) = queue(10, 4);
        queue.put(0..25);
        assert_eq!(dropped(&metrics), r#"[([("signal", "spans")], Number(15.0))]"#);
        let stop = CancellationToken::new();
        stop.cancel();
        let away = |_: Vec<u32>| async {
            Err(opentelemetry_sdk::error::OTelSdkError::InternalFailure("away".into()))
        };
        queue.run(stop, away).await;
        assert_eq!(dropped(&metrics), r#"[([("signal", "spans")], Number(25.0))]"#);
        assert!(queue.waiting.lock().is_empty());
    }

    /// The end sends all that waits, in batches and in order.
    #[tokio::test]
    async fn the_end_sends_what_waits() {
        let (queue, metrics) = queue(100, 4);
        queue.put(0..10);
        let sent = Mutex::new(Vec::new());
        let stop = CancellationToken::new();
        stop.cancel();
        let send = |batch: Vec<u32>| {
            sent.lock().push(batch);
            std::future::ready(Ok(()))
        };
        queue.run(stop, send).await;
        assert_eq!(sent.into_inner(), [vec![0, 1, 2, 3], vec![4, 5, 6, 7], vec![8, 9]]);
        assert_eq!(dropped(&metrics), "[]");
    }
}
