//! Our own credentials, which an upstream may repeat in whatever it says: agents, records, logs and pages never see them.

use super::{
    deps::Redact,
    wire::{self, Message},
};
use crate::{
    model::RpcError,
    redaction::{DataRules, Place},
};
use serde_json::{Map, Value, json};
use std::{borrow::Cow, sync::Arc};

/// A shorter one is no secret, and would be found in every text.
const SHORTEST: usize = 8;
/// What stands in its place.
const COVER: &str = "[our credential]";

/// Credentials that are sent to one upstream.
#[derive(Clone, Default)]
pub(super) struct OwnSecrets(Vec<String>);

impl std::fmt::Debug for OwnSecrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("OwnSecrets").field(&self.0.len()).finish()
    }
}

impl OwnSecrets {
    /// Those of named values (headers, variables) that are secrets by their name or by their form.
    pub(super) fn among<'v>(values: impl Iterator<Item = (Cow<'v, str>, Cow<'v, str>)>) -> Self {
        let rules = DataRules::default();
        let is_secret = |name: &str, value: &str| {
            rules.inspect_arguments(&json!({ name: value }), &Place::NOWHERE).redacted
        };
        let mut own = Self::default();
        values.filter(|(name, value)| is_secret(name, value)).for_each(|(_, value)| own.add(&value));
        own
    }

    /// Adds one, and what stands in it after a scheme (`Bearer …`).
    pub(super) fn add(&mut self, value: &str) {
        let credentials = value.split_once(' ').map_or("", |(_, credentials)| credentials.trim());
        for part in [value, credentials] {
            if part.len() >= SHORTEST && !self.0.iter().any(|known| known == part) {
                self.0.push(part.to_owned());
            }
        }
        // The whole before its part.
        self.0.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    }

    /// Reads what an upstream said, without them.
    pub(super) fn read(&self, bytes: &[u8], max_result: u64) -> Vec<Message> {
        let mut messages = wire::parse(bytes, max_result);
        self.cover(bytes, &mut messages);
        messages
    }

    /// Texts without them, and then redacted.
    pub(super) fn redacting(&self, redact: Redact) -> Redact {
        let own = self.clone();
        Arc::new(move |text: &str| redact(&own.covered(text)))
    }

    /// Covers them in messages that were read from these bytes.
    fn cover(&self, bytes: &[u8], messages: &mut [Message]) {
        if self.0.is_empty() {
            return;
        }
        // Written as it is it stands in the bytes; written with escapes there is a backslash.
        let written = std::str::from_utf8(bytes).map_or(true, |text| {
            text.contains('\\') || self.0.iter().any(|secret| text.contains(secret.as_str()))
        });
        if !written {
            return;
        }
        for message in messages {
            match message {
                Message::Response { outcome: Ok(value), .. }
                | Message::Request { params: value, .. }
                | Message::Notification { params: value, .. } => self.value(value),
                Message::Response { outcome: Err(RpcError { message, data, .. }), .. } => {
                    self.text(message);
                    data.iter_mut().for_each(|data| self.value(data));
                }
                Message::Unreadable { .. } => {}
            }
        }
    }

    fn text(&self, text: &mut String) {
        if let Cow::Owned(covered) = self.covered(text) {
            *text = covered;
        }
    }

    fn covered<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut covered = Cow::Borrowed(text);
        for secret in &self.0 {
            if covered.contains(secret.as_str()) {
                covered = Cow::Owned(covered.replace(secret.as_str(), COVER));
            }
        }
        covered
    }

    /// Messages are of bounded depth.
    fn value(&self, value: &mut Value) {
        match value {
            Value::String(text) => self.text(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.value(item)),
            Value::Object(map) => {
                if map.keys().any(|key| matches!(self.covered(key), Cow::Owned(_))) {
                    let members = std::mem::take(map);
                    *map = members
                        .into_iter()
                        .map(|(key, value)| (self.covered(&key).into_owned(), value))
                        .collect::<Map<_, _>>();
                }
                map.values_mut().for_each(|value| self.value(value));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R5: whatever an upstream repeats of what was sent to it, however it is written, is covered; what is no secret stays.
    #[test]
    fn what_an_upstream_repeats_of_our_credentials_is_covered() {
        let own = OwnSecrets::among(
            [
                ("Authorization", "Bearer t0ken-Quill-5521"),
                ("X-Api-Key", "vault \"9\" nine"),
                ("Accept", "application/json"),
                ("X-Password", "short"),
            ]
            .map(|(name, value): (&str, &str)| (name.into(), value.into()))
            .into_iter(),
        );
        let read = |text: &str| format!("{:?}", own.read(text.as_bytes(), 1 << 20));
        for text in [
            r#"{"id":1,"error":{"code":-32602,"message":"bad t0ken-Quill-5521","data":{"Bearer t0ken-Quill-5521":["t0ken-Quill-5521"]}}}"#,
            r#"{"id":1,"result":{"content":[{"type":"text","text":"t0k\u0065n-Quill-5521"}],"structuredContent":{"k":{"t0ken-Quill-5521":1}}}}"#,
            r#"{"method":"notifications/message","params":{"data":"vault \"9\" nine"}}"#,
            r#"{"id":"q","method":"elicitation/create","params":{"message":"is it t0ken-Quill-5521?"}}"#,
        ] {
            let shown = read(text);
            assert!(!shown.contains("Quill") && !shown.contains("nine"), "{shown}");
            assert!(shown.contains(COVER), "{shown}");
        }
        let kept = read(r#"{"id":1,"result":{"mimeType":"application/json","text":"short"}}"#);
        assert!(kept.contains("application/json") && kept.contains("short"), "{kept}");
    }
}
