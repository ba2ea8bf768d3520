//! The digest that identifies a call: HMAC-SHA-256 under a store key over the RFC 8785 form.

use super::prepared::Extras;
use crate::model::{Digest, json};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;

/// The name of the store's secret that is the key of digests.
pub const CALL_KEY: &str = "call-digest";

/// The key that keeps digests from being guessed; the same in every process on one store.
#[derive(Clone)]
pub(crate) struct DigestKey(Hmac<Sha256>);

impl DigestKey {
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        // HMAC pads a short key with zeros to its block (RFC 2104), so this is the 32-byte key.
        let mut block = [0u8; 64];
        for (to, from) in block.iter_mut().zip(key) {
            *to = *from;
        }
        Self(Hmac::new(&block.into()))
    }

    /// Over kind, name and arguments, and, where they are given, over what goes upstream beside them.
    pub(crate) fn digest(
        &self,
        kind: &str,
        name: &str,
        arguments: &Value,
        extras: Option<&Extras>,
    ) -> Digest {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend_from_slice(kind.as_bytes());
        bytes.push(0);
        bytes.extend_from_slice(name.as_bytes());
        bytes.push(0);
        json::canonical(arguments, &mut bytes);
        // No JSON text holds this byte: what follows cannot pass for a part of the arguments.
        for part in extras.into_iter().flat_map(|extras| [&extras.params, &extras.meta]) {
            bytes.push(0);
            json::canonical(&Value::Object(part.clone()), &mut bytes);
        }
        self.of(&[&bytes])
    }

    /// Over one argument of a call, by its name.
    pub(crate) fn of_argument(&self, tool: &str, name: &str, value: &Value) -> Digest {
        let mut bytes = Vec::with_capacity(64);
        json::canonical(value, &mut bytes);
        // Of what stands before the value none can hold this byte but the name, which is the last.
        let length = u64::try_from(name.len()).unwrap_or(u64::MAX).to_le_bytes();
        self.of(&[b"argument\0", tool.as_bytes(), &[0], &length, name.as_bytes(), &bytes])
    }

    /// Over what goes upstream beside the arguments.
    pub(crate) fn of_extras(&self, tool: &str, extras: &Extras) -> Digest {
        self.digest("extras", tool, &Value::Null, Some(extras))
    }

    /// Over what the agent got: the JSON text of a result, or of an error. Keyed like the others, so that what is easily
    /// guessed is not confirmed by it.
    pub(crate) fn of_result(&self, kind: &'static str, text: &str) -> Digest {
        self.of(&[kind.as_bytes(), &[0], text.as_bytes()])
    }

    fn of(&self, parts: &[&[u8]]) -> Digest {
        let mut mac = self.0.clone();
        for part in parts {
            mac.update(part);
        }
        let mut text = [0u8; 64];
        // 32 bytes always make 64 digits, and digits are text.
        hex::encode_to_slice(mac.finalize().into_bytes(), &mut text).unwrap_or_default();
        Digest::from(std::str::from_utf8(&text).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_sees_meaning_and_not_spelling() {
        let key = DigestKey::new(&[1; 32]);
        let digest = |text: &str| key.digest("tool", "t", &json::parse(text.as_bytes()).unwrap(), None);
        assert_eq!(digest(r#"{"a":1,"b":2.50}"#), digest(r#"{"b":2.5,"a":1.0}"#));
        assert_ne!(digest(r#"{"a":9007199254740993}"#), digest(r#"{"a":9007199254740992}"#));
        assert_ne!(digest("{}"), DigestKey::new(&[2; 32]).digest("tool", "t", &serde_json::json!({}), None));
        assert_ne!(digest("{}"), key.digest("prompt", "t", &serde_json::json!({}), None));
        assert_ne!(digest("{}"), key.digest("tool", "u", &serde_json::json!({}), None));
    }

    #[test]
    fn what_stands_beside_the_arguments_is_part_of_it() {
        let key = DigestKey::new(&[1; 32]);
        let map = |value: Value| value.as_object().cloned().unwrap();
        let digest = |meta: Value, params: Value| {
            let extras = Extras { meta: map(meta), params: map(params) };
            key.digest("tool", "t", &serde_json::json!({}), Some(&extras))
        };
        let (none, one) = (serde_json::json!({}), serde_json::json!({"a": 1}));
        let all = [
            key.digest("tool", "t", &none, None),
            key.digest("tool", "t", &one, None),
            digest(one.clone(), none.clone()),
            digest(none.clone(), one.clone()),
            digest(one.clone(), one.clone()),
            digest(serde_json::json!({"a": 2}), none.clone()),
            digest(serde_json::json!({"a": "1"}), none.clone()),
        ];
        let distinct: std::collections::BTreeSet<&str> = all.iter().map(|digest| digest.as_str()).collect();
        assert_eq!(distinct.len(), all.len());
        assert_eq!(digest(serde_json::json!({"a": 1.0}), none), digest(one, serde_json::json!({})));
    }
}
