//! The resources that one legacy conversation, or one `subscriptions/listen`, is told about.

use crate::gateway::ResourceNews;
use futures::stream::StreamExt as _;
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use tokio::{sync::Notify, task::AbortHandle};

/// Resources watched at a time.
const MOST: usize = 256;
/// URIs that wait for a client that does not listen; what is beyond is not told.
const MOST_DUE: usize = 1024;

/// The watches. Dropping them ends them.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    open: Mutex<BTreeMap<String, AbortHandle>>,
    due: Arc<Due>,
}

#[derive(Debug, Default)]
struct Due {
    /// Each once, however often it changed.
    uris: Mutex<BTreeSet<String>>,
    told: Notify,
}

impl Watches {
    /// Whether another would be too many.
    pub(crate) fn is_full(&self) -> bool {
        self.open.lock().len() >= MOST
    }

    /// Watches a resource; an older watch of the same ends.
    pub(crate) fn add(&self, uri: String, mut news: ResourceNews) {
        let due = Arc::clone(&self.due);
        let task = tokio::spawn(async move {
            while let Some(uri) = news.next().await {
                let mut uris = due.uris.lock();
                if uris.len() < MOST_DUE {
                    uris.insert(uri);
                    due.told.notify_one();
                }
            }
        });
        if let Some(older) = self.open.lock().insert(uri, task.abort_handle()) {
            older.abort();
        }
    }

    /// Ends one.
    pub(crate) fn remove(&self, uri: &str) {
        if let Some(task) = self.open.lock().remove(uri) {
            task.abort();
        }
    }

    /// Ends all.
    pub(crate) fn clear(&self) {
        for task in std::mem::take(&mut *self.open.lock()).into_values() {
            task.abort();
        }
        self.due.uris.lock().clear();
    }

    /// Waits for what has changed. Dropping it loses nothing.
    pub(crate) async fn next(&self) -> Vec<String> {
        loop {
            let told = self.due.told.notified();
            let uris = std::mem::take(&mut *self.due.uris.lock());
            if !uris.is_empty() {
                return uris.into_iter().collect();
            }
            told.await;
        }
    }
}

impl Drop for Watches {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::stream;

    #[tokio::test]
    async fn news_are_told_once_and_not_after_the_end() {
        let watches = Watches::default();
        let (tell, told) = tokio::sync::mpsc::unbounded_channel::<String>();
        let news = stream::unfold(told, |mut told| async move { Some((told.recv().await?, told)) });
        watches.add("a".to_owned(), Box::pin(news));
        for uri in ["a", "a/b"] {
            tell.send(uri.to_owned()).unwrap();
        }
        let mut seen = Vec::new();
        while seen.len() < 2 {
            seen.extend(watches.next().await);
        }
        assert_eq!(seen, ["a", "a/b"]);
        watches.remove("a");
        tell.closed().await;
        assert!(watches.open.lock().is_empty());
    }
}
