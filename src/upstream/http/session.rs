//! A legacy session over Streamable HTTP, and how a server says that it does not know one.

use crate::upstream::dialect::Dialect;
use http::{HeaderMap, HeaderValue};
use parking_lot::Mutex;
use std::time::Duration;
use tokio::time::Instant;

/// What every request of a session carries.
pub(super) struct Session {
    pub(super) dialect: Dialect,
    pub(super) id: Option<HeaderValue>,
    pub(super) headers: HeaderMap,
    /// When it was last known to stand.
    heard: Mutex<Instant>,
}

impl Session {
    pub(super) fn new(dialect: Dialect, id: Option<HeaderValue>, headers: HeaderMap) -> Self {
        Self { dialect, id, headers, heard: Mutex::new(Instant::now()) }
    }

    /// It stands.
    pub(super) fn was_heard(&self) {
        *self.heard.lock() = Instant::now();
    }

    /// Whether it may have ended since something was heard on it.
    pub(super) fn is_doubtful(&self, silence: Duration) -> bool {
        self.id.is_some() && self.heard.lock().elapsed() >= silence
    }
}

/// Whether a server of the legacy era that answers 400 means that it does not know the session: the words of the official
/// SDKs and of their examples, and no others, for an error's words may be about anything.
pub(super) fn is_session_unknown(message: &str) -> bool {
    let message = message.trim().trim_end_matches('.').to_ascii_lowercase();
    let words = message.strip_prefix("bad request:").unwrap_or(&message).trim_start();
    matches!(
        words,
        "no valid session id provided"
            | "no valid session id"
            | "invalid session id"
            | "invalid or missing session id"
            | "missing or invalid session id"
            | "session not found"
            | "unknown session"
            | "session expired"
            | "session terminated"
            | "session has been terminated"
            | "server not initialized"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_words_mean_an_unknown_session() {
        for words in
            ["Bad Request: No valid session ID provided", "Session not found", "Server not initialized."]
        {
            assert!(is_session_unknown(words), "{words}");
        }
        for words in ["", "the payment session not found", "session", "cannot save the session of the user"] {
            assert!(!is_session_unknown(words), "{words}");
        }
    }
}
