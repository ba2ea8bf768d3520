//! The time zones of this machine, for conditions that name one.

use crate::policy::{ZoneSource, is_zone_name};
use std::{fs::File, io::Read as _, path::PathBuf, sync::Arc};

/// Where systems keep them.
const FOLDERS: &[&str] =
    &["/usr/share/zoneinfo", "/usr/lib/zoneinfo", "/usr/share/lib/zoneinfo", "/etc/zoneinfo"];

/// No zone has more.
const MOST_BYTES: u64 = 64 << 10;

/// The tz database of the system, or the folder that `TZDIR` names.
#[derive(Debug)]
pub(super) struct SystemZones;

impl ZoneSource for SystemZones {
    fn data(&self, name: &str) -> Option<Arc<[u8]>> {
        let own = std::env::var_os("TZDIR").map(PathBuf::from);
        let folders = own.into_iter().chain(FOLDERS.iter().map(PathBuf::from));
        folders.filter(|_| is_zone_name(name)).find_map(|folder| {
            let mut data = Vec::new();
            File::open(folder.join(name)).ok()?.take(MOST_BYTES).read_to_end(&mut data).ok()?;
            data.starts_with(b"TZif").then(|| data.into())
        })
    }

    fn names(&self) -> Vec<String> {
        let known = jiff::tz::db().available().map(|name| name.to_string());
        known.filter(|name| is_zone_name(name)).collect()
    }
}
