//! Durations in records and on pages, as people write them: `1h 30m`.

use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};
use std::{borrow::Cow, time::Duration};

/// As text.
pub fn serialize<S: Serializer>(span: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_duration(*span))
}

/// From text.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = Cow::<'de, str>::deserialize(deserializer)?;
    humantime::parse_duration(&text).map_err(D::Error::custom)
}
