//! Which resources of one upstream somebody watches, and what the upstream has been asked to tell.

use super::types::UpstreamError;
use futures::future::join_all;
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::sync::watch;

/// The watched resources of one upstream.
pub(super) struct Watching {
    resources: Mutex<BTreeMap<String, Arc<Resource>>>,
    /// Their URIs, for connections that tell of all in one stream.
    uris: watch::Sender<BTreeSet<String>>,
}

/// One of them. It stays while somebody watches it or the upstream is being told.
#[derive(Default)]
struct Resource {
    watchers: AtomicUsize,
    /// Held while the upstream is asked, so that it hears in order of what is so.
    subscribed: tokio::sync::Mutex<Subscribed>,
}

/// Whether the upstream has taken the subscription.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Subscribed {
    #[default]
    No,
    /// It was asked, and its answer did not come or nobody waited for it.
    Perhaps,
    Yes,
}

impl Subscribed {
    /// What the answer to a subscription says.
    fn by(outcome: &Result<(), UpstreamError>) -> Self {
        match outcome {
            Ok(()) => Self::Yes,
            Err(UpstreamError::Refused(refusal)) if refusal.is_failure() => Self::Perhaps,
            Err(UpstreamError::Rpc(_) | UpstreamError::NotSent(_) | UpstreamError::Refused(_)) => Self::No,
            Err(
                UpstreamError::Lost(_)
                | UpstreamError::TimedOut(_)
                | UpstreamError::TooLarge(_)
                | UpstreamError::Malformed(_),
            ) => Self::Perhaps,
        }
    }
}

impl Watching {
    pub(super) fn new() -> Self {
        Self { resources: Mutex::default(), uris: watch::Sender::new(BTreeSet::new()) }
    }

    /// The URIs, as they change.
    pub(super) fn uris(&self) -> watch::Receiver<BTreeSet<String>> {
        self.uris.subscribe()
    }

    /// One watcher more, or less. `tell` asks the upstream; a refusal is for the watcher on whose account it was asked.
    pub(super) async fn change<F>(
        &self,
        uri: &str,
        on: bool,
        tell: impl Fn(String, bool) -> F,
    ) -> Result<(), UpstreamError>
    where
        F: Future<Output = Result<(), UpstreamError>>,
    {
        let resource = self.count(uri, on);
        let mut subscribed = resource.subscribed.lock().await;
        let wanted = resource.watchers.load(Ordering::Acquire) > 0;
        let outcome = match (wanted, *subscribed) {
            (true, Subscribed::No | Subscribed::Perhaps) if on => {
                *subscribed = Subscribed::Perhaps;
                let outcome = tell(uri.to_owned(), true).await;
                *subscribed = Subscribed::by(&outcome);
                outcome
            }
            (false, Subscribed::Yes | Subscribed::Perhaps) => {
                *subscribed = Subscribed::No;
                tell(uri.to_owned(), false).await
            }
            (true, _) | (false, Subscribed::No) => Ok(()),
        };
        drop(subscribed);
        drop(resource);
        // What nobody watches and nobody is busy with goes, this one and what was left before.
        self.resources.lock().retain(|_, resource| {
            Arc::strong_count(resource) > 1
                || resource.watchers.load(Ordering::Acquire) > 0
                || resource.subscribed.try_lock().is_ok_and(|subscribed| *subscribed != Subscribed::No)
        });
        outcome
    }

    fn count(&self, uri: &str, on: bool) -> Arc<Resource> {
        let mut resources = self.resources.lock();
        let resource = resources.entry(uri.to_owned()).or_default().clone();
        let before = resource.watchers.load(Ordering::Acquire);
        let after = if on { before + 1 } else { before.saturating_sub(1) };
        resource.watchers.store(after, Ordering::Release);
        self.uris
            .send_if_modified(|uris| if after > 0 { uris.insert(uri.to_owned()) } else { uris.remove(uri) });
        resource
    }

    /// Tells an upstream that knows of nothing yet. What it no longer has it cannot tell of.
    pub(super) async fn again<F>(&self, tell: impl Fn(String, bool) -> F)
    where
        F: Future<Output = Result<(), UpstreamError>>,
    {
        let all: Vec<(String, Arc<Resource>)> =
            self.resources.lock().iter().map(|(uri, resource)| (uri.clone(), resource.clone())).collect();
        let tell = &tell;
        let asked = all.into_iter().map(|(uri, resource)| async move {
            let mut subscribed = resource.subscribed.lock().await;
            let wanted = resource.watchers.load(Ordering::Acquire) > 0;
            *subscribed = if wanted { Subscribed::by(&tell(uri, true).await) } else { Subscribed::No };
        });
        join_all(asked).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::HttpRefusal;
    use tokio::sync::{Notify, Semaphore};

    /// What the upstream was asked, in order.
    #[derive(Default)]
    struct Asked(Mutex<Vec<(String, bool)>>);

    impl Asked {
        fn note(&self, uri: String, on: bool) {
            self.0.lock().push((uri, on));
        }
        fn take(&self) -> Vec<(String, bool)> {
            std::mem::take(&mut self.0.lock())
        }
    }

    #[tokio::test]
    async fn the_first_subscribes_and_the_last_unsubscribes() {
        let (watching, asked) = (Watching::new(), Asked::default());
        let tell = async |uri: String, on: bool| {
            asked.note(uri, on);
            Ok(())
        };
        for on in [true, true, false] {
            watching.change("a", on, tell).await.unwrap();
        }
        assert_eq!(asked.take(), [("a".to_owned(), true)]);
        watching.again(tell).await;
        assert_eq!(asked.take(), [("a".to_owned(), true)], "a new connection knows of nothing");
        watching.change("a", false, tell).await.unwrap();
        assert_eq!(asked.take(), [("a".to_owned(), false)]);
        assert!(watching.uris().borrow().is_empty() && watching.resources.lock().is_empty());
        watching.again(tell).await;
        assert!(asked.take().is_empty());
    }

    /// One that is refused says so to each who asks, and nobody is told that they watch what they do not.
    #[tokio::test]
    async fn a_refusal_is_everybodys() {
        let watching = Watching::new();
        let refuse = async |_: String, _: bool| Err(UpstreamError::Refused(HttpRefusal::bare(404)));
        assert!(watching.change("a", true, refuse).await.is_err());
        assert!(watching.change("a", true, refuse).await.is_err());
        // Nothing was subscribed, so there is nothing to end.
        let never = async |_: String, _: bool| -> Result<(), UpstreamError> { panic!("nothing to tell") };
        watching.change("a", false, never).await.unwrap();
        watching.change("a", false, never).await.unwrap();
        assert!(watching.resources.lock().is_empty());
    }

    /// One that was asked for and not waited for is ended all the same, and the next asks again.
    #[tokio::test]
    async fn what_was_not_waited_for_is_asked_again_and_ended() {
        let (watching, asked) = (Watching::new(), Asked::default());
        let never = async |uri: String, on: bool| {
            asked.note(uri, on);
            std::future::pending::<Result<(), UpstreamError>>().await
        };
        let tell = async |uri: String, on: bool| {
            asked.note(uri, on);
            Ok(())
        };
        let told = |asked: &Asked| asked.take().into_iter().map(|(_, on)| on).collect::<Vec<_>>();
        for _ in 0..2 {
            let mut dropped = Box::pin(watching.change("a", true, never));
            assert!(futures::poll!(&mut dropped).is_pending());
        }
        assert_eq!(told(&asked), [true, true]);
        watching.change("a", false, tell).await.unwrap();
        assert!(told(&asked).is_empty(), "somebody else still watches");
        watching.change("a", true, tell).await.unwrap();
        assert_eq!(told(&asked), [true]);
        watching.change("a", false, tell).await.unwrap();
        watching.change("a", false, tell).await.unwrap();
        assert_eq!(told(&asked), [false]);
        assert!(watching.resources.lock().is_empty());
    }

    /// The last leaves while the next comes: what is watched at the end is what the upstream was told last.
    #[tokio::test]
    async fn leaving_and_coming_do_not_cross() {
        let (watching, asked) = (Watching::new(), Asked::default());
        let (begun, slow) = (Notify::new(), Semaphore::new(0));
        let quick = async |uri: String, on: bool| {
            asked.note(uri, on);
            Ok(())
        };
        let slowly = async |uri: String, on: bool| {
            begun.notify_one();
            slow.acquire().await.unwrap().forget();
            asked.note(uri, on);
            Ok(())
        };
        watching.change("a", true, quick).await.unwrap();
        let leaving = watching.change("a", false, slowly);
        let coming = async {
            begun.notified().await;
            let coming = watching.change("a", true, quick);
            slow.add_permits(1);
            coming.await
        };
        let (left, came) = tokio::join!(leaving, coming);
        left.unwrap();
        came.unwrap();
        let told: Vec<bool> = asked.take().into_iter().map(|(_, on)| on).collect();
        assert_eq!(told, [true, false, true]);
        assert_eq!(watching.uris().borrow().len(), 1);
    }
}
