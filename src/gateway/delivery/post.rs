//! Records are posted as lines of JSON, several at a time, signed as Standard Webhooks has it.

use super::Line;
use crate::{
    config::SecretUrl,
    gateway::{Gateway, notify::signed},
    outbound::Outbound,
};
use http::HeaderValue;
use secrecy::SecretString;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

/// An HTTP service.
pub(super) struct PostSink {
    url: SecretUrl,
    secret: SecretString,
    outbound: Outbound,
}

impl PostSink {
    pub(super) fn new(url: SecretUrl, secret: SecretString) -> Self {
        Self { url, secret, outbound: Outbound::default() }
    }

    /// Whatever is no 2xx is tried again: a record is not left out because a service does not like it today.
    pub(super) async fn send(&self, gateway: &Gateway, name: &str, lines: &[Line]) -> Result<(), String> {
        let body: String = lines.iter().flat_map(|line| [line.text.as_str(), "\n"]).collect();
        let last = lines.last().map_or(0, |line| line.event.seq);
        // The same for the same records, so that a receiver can tell a repeat.
        let id = format!("msg_{name}_{last}_{}", lines.len());
        let request = signed(self.url.as_str(), &self.secret, &*gateway.0.clock, &id, &body);
        let mut request = request.ok_or("its URL cannot be requested")?;
        let lines = HeaderValue::from_static("application/x-ndjson");
        request.headers_mut().insert(http::header::CONTENT_TYPE, lines);
        let reply = self.outbound.hand_in(request, PATIENCE).await.map_err(|error| error.to_string())?;
        if reply.status.is_success() { Ok(()) } else { Err(format!("HTTP status {}", reply.status)) }
    }
}
