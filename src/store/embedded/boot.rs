//! Whether the machine was restarted since a store was last opened: then the newest that was written may not have been on
//! the disk, and what is missing was not cut off by anybody.

use std::{fs, io, path::Path};

/// The file of the journal's folder that says in which run of the machine the store was opened last.
const FILE: &str = "boot";

/// The present run of the machine; `None` where the system does not say.
fn present() -> Option<String> {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let id = id.trim().to_owned();
    (!id.is_empty()).then_some(id)
}

/// Whether the store was opened last in another run of the machine. What cannot be told is taken for no.
pub(super) fn is_another(dir: &Path) -> bool {
    match (present(), fs::read_to_string(dir.join(FILE))) {
        (Some(present), Ok(known)) => known.trim() != present,
        (Some(_) | None, Ok(_) | Err(_)) => false,
    }
}

/// Notes the present run, once the store is open.
pub(super) fn note(dir: &Path) {
    let Some(present) = present() else { return };
    let path = dir.join(FILE);
    if fs::read_to_string(&path).is_ok_and(|known| known == present) {
        return;
    }
    let written = write(&path, &present);
    if let Err(error) = written {
        tracing::warn!(path = %path.display(), %error, "store.boot_not_noted");
    }
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    use io::Write as _;
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)?.write_all(text.as_bytes())
}
