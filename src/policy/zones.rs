//! Time zones by name, for conditions that ask what time it is somewhere. The rules of a zone are data that is given when a
//! bundle is compiled, that counts for its snapshot and that is kept with it: a machine with newer rules decides a recorded
//! call as it was decided.

use super::near::did_you_mean;
use jiff::tz::TimeZone;
use std::{cell::RefCell, collections::BTreeMap, fmt, sync::Arc};

/// The data of each zone, by its name: TZif (RFC 9636).
pub type ZoneData = BTreeMap<Arc<str>, Arc<[u8]>>;

/// Where the data of zones comes from.
pub trait ZoneSource: fmt::Debug + Send + Sync {
    /// The data of a zone of that name.
    fn data(&self, name: &str) -> Option<Arc<[u8]>>;
    /// The names that it has, for messages.
    fn names(&self) -> Vec<String>;
}

impl ZoneSource for ZoneData {
    fn data(&self, name: &str) -> Option<Arc<[u8]>> {
        self.get(name).cloned()
    }

    fn names(&self) -> Vec<String> {
        self.keys().map(|name| name.to_string()).collect()
    }
}

/// A source of zones; by default one that has none.
#[derive(Clone, Debug)]
pub struct Zones(Arc<dyn ZoneSource>);

impl Zones {
    /// The zones of this source.
    pub fn of(source: impl ZoneSource + 'static) -> Self {
        Self(Arc::new(source))
    }
}

impl Default for Zones {
    fn default() -> Self {
        Self::of(ZoneData::new())
    }
}

/// The zones of one compilation: those that were named are read once, and kept.
#[derive(Debug, Default)]
pub(super) struct ZoneTable {
    source: Zones,
    used: RefCell<BTreeMap<Arc<str>, Used>>,
}

#[derive(Debug)]
struct Used {
    zone: TimeZone,
    data: Arc<[u8]>,
}

/// Why there is no such zone, with what would have been right.
pub(super) struct NoZone {
    pub(super) message: String,
    pub(super) expected: &'static str,
}

impl ZoneTable {
    pub(super) fn new(source: &Zones) -> Self {
        Self { source: source.clone(), used: RefCell::default() }
    }

    /// The zone of that name.
    pub(super) fn get(&self, name: &str) -> Result<TimeZone, NoZone> {
        if let Some(used) = self.used.borrow().get(name) {
            return Ok(used.zone.clone());
        }
        let Some(data) =
            Some(name).filter(|name| is_zone_name(name)).and_then(|name| self.source.0.data(name))
        else {
            return Err(self.unknown(name));
        };
        let zone = TimeZone::tzif(name, &data).map_err(|_| NoZone {
            message: "the data of this time zone cannot be read".to_owned(),
            expected: "the package `tzdata` of this machine, whole, or an offset like `+02:00`",
        })?;
        self.used.borrow_mut().insert(Arc::from(name), Used { zone: zone.clone(), data });
        Ok(zone)
    }

    fn unknown(&self, name: &str) -> NoZone {
        let names = self.source.0.names();
        if names.is_empty() {
            return NoZone {
                message: "there is no time zone data here".to_owned(),
                expected: "the package `tzdata` of this machine, or an offset like `+02:00`",
            };
        }
        // `Berlin` alone is how people say it.
        let city =
            |known: &&String| known.rsplit('/').next().is_some_and(|city| city.eq_ignore_ascii_case(name));
        let near = match names.iter().find(city) {
            Some(known) => format!("; did you mean `{known}`?"),
            None => did_you_mean(name, names.iter().map(String::as_str)),
        };
        NoZone {
            message: format!("there is no such time zone{near}"),
            expected: "`UTC`, an offset like `+02:00`, or a zone of the tz database like `Europe/Berlin`",
        }
    }

    /// The data of every zone that was named.
    pub(super) fn used(&self) -> ZoneData {
        self.used.borrow().iter().map(|(name, used)| (name.clone(), used.data.clone())).collect()
    }
}

/// Whether a text has the form of a zone's name: what a source looks for is never another file.
pub fn is_zone_name(text: &str) -> bool {
    text.len() <= 64
        && text.split('/').all(|part| {
            part.starts_with(|c: char| c.is_ascii_uppercase())
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+-".contains(&b))
        })
}
