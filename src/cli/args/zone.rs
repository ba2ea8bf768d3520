//! `--tz`: whose days and times those are that name no zone.

use jiff::tz::TimeZone;
use std::sync::OnceLock;

static GIVEN: OnceLock<TimeZone> = OnceLock::new();

/// Takes the zone from the command line before anything else of it is read: times may stand before it. What is no zone is told
/// when it is read.
pub(crate) fn take_zone(arguments: impl Iterator<Item = String>) {
    let mut arguments = arguments.skip(1);
    while let Some(argument) = arguments.next() {
        let named = match argument.strip_prefix("--tz") {
            Some("") => arguments.next(),
            Some(rest) => rest.strip_prefix('=').map(str::to_owned),
            None => continue,
        };
        if let Some(zone) = named.and_then(|name| TimeZone::get(&name).ok()) {
            GIVEN.set(zone).ok();
        }
    }
}

/// The zone that was given, or this machine's.
pub(super) fn zone() -> TimeZone {
    GIVEN.get().cloned().unwrap_or_else(TimeZone::system)
}

/// Reads the name of one.
pub(super) fn named_zone(text: &str) -> Result<String, String> {
    let known = TimeZone::get(text).map(|_| text.to_owned());
    known.map_err(|_| "expected a time zone like Europe/Berlin, or UTC".to_owned())
}
