//! Files, who may read and change them, and the room on their disk.

use super::Findings;
use crate::config::Config;
use std::{
    fs::{self, Metadata},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

/// Less room than this stops the gateway soon, and less than that is worth a look.
const LEAST_ROOM: u64 = 256 << 20;
const LITTLE_ROOM: u64 = 2 << 30;
/// So many files of one folder are looked at.
const MOST_FILES: usize = 10_000;

/// Where the data folder has its checkpoints.
const CHECKPOINTS: &str = "checkpoints";

const AREA: &str = "files";

/// The file that everything begins with.
pub(super) fn own(path: &Path, findings: &mut Findings) {
    let what = path.display().to_string();
    match fs::metadata(path) {
        Err(error) => findings.wrong(
            AREA,
            what,
            format!("it cannot be read: {error}"),
            "`tollgate init` makes a first one; --config FILE names another place",
        ),
        Ok(meta) => changed_by_owner(&what, &meta, findings),
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    for env in listed(folder).filter(|file| file.to_string_lossy().ends_with(".env")) {
        if let Ok(meta) = fs::metadata(&env) {
            secret(&env.display().to_string(), &meta, "0600", findings);
        }
    }
}

/// What servers.toml names.
pub(super) fn of_config(config: &Config, findings: &mut Findings) {
    let policies = &config.gateway.policies;
    if let Ok(meta) = fs::metadata(policies) {
        changed_by_owner(&policies.display().to_string(), &meta, findings);
    }
    for file in
        listed(policies).filter(|file| file.extension().is_some_and(|end| end == "yaml" || end == "yml"))
    {
        if let Ok(meta) = fs::metadata(&file)
            && meta.permissions().mode() & 0o022 != 0
        {
            changed_by_owner(&file.display().to_string(), &meta, findings);
        }
    }
    if let Some(tls) = &config.gateway.tls
        && let Ok(meta) = fs::metadata(&tls.key)
    {
        secret(&tls.key.display().to_string(), &meta, "0600", findings);
    }
    let data = &config.gateway.data_dir;
    match fs::metadata(data) {
        Err(_) => findings.ok(
            AREA,
            data.display().to_string(),
            "not there yet: `tollgate serve` makes it, mode 0700",
        ),
        Ok(meta) => {
            secret(&data.display().to_string(), &meta, "0700", findings);
            inside(data, findings);
        }
    }
}

/// What lies in the data folder: whatever others could read of it. Checkpoints are nobody's secret, and are made so.
fn inside(data: &Path, findings: &mut Findings) {
    let mut folders = vec![data.to_owned()];
    let (mut seen, mut open) = (0_usize, Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in listed(&folder) {
            seen += 1;
            let Ok(meta) = fs::symlink_metadata(&entry) else { continue };
            if folder == data && entry.ends_with(CHECKPOINTS) {
                continue;
            }
            if meta.is_dir() {
                folders.push(entry.clone());
            }
            if !meta.is_symlink() && meta.permissions().mode() & 0o077 != 0 {
                open.push(entry);
            }
            if seen >= MOST_FILES {
                folders.clear();
                break;
            }
        }
    }
    let what = format!("what lies in {}", data.display());
    match open.as_slice() {
        [] => findings.ok(AREA, what, format!("{seen} files and folders, none open to other users")),
        [first, rest @ ..] => {
            let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
            findings.advice(
                AREA,
                what,
                format!(
                    "others on this machine could read `{}`{more}, were the folder not closed",
                    first.display()
                ),
                &format!("`chmod -R go= {}`", data.display()),
            );
        }
    }
}

fn listed(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).take(MOST_FILES)
}

/// What nobody but its owner may change.
fn changed_by_owner(what: &str, meta: &Metadata, findings: &mut Findings) {
    let mode = meta.permissions().mode();
    match mode & 0o022 {
        0 => findings.ok(AREA, what, format!("mode {:04o}", mode & 0o7777)),
        _ => findings.wrong(
            AREA,
            what,
            format!("mode {:04o}: other users can change it, and with it what is decided", mode & 0o7777),
            &format!("`chmod go-w {what}`"),
        ),
    }
}

/// What nobody but its owner may read.
fn secret(what: &str, meta: &Metadata, wanted: &str, findings: &mut Findings) {
    let mode = meta.permissions().mode();
    let own = rustix::process::geteuid().as_raw();
    if mode & 0o077 != 0 {
        findings.wrong(
            AREA,
            what,
            format!("mode {:04o}: other users of this machine can get at what it holds", mode & 0o7777),
            &format!("`chmod {wanted} {what}`"),
        );
    } else if meta.uid() != own && own != 0 {
        findings.wrong(
            AREA,
            what,
            format!("it belongs to user {}, and this is user {own}", meta.uid()),
            "run this command, and the gateway, as the user that the files belong to",
        );
    } else {
        findings.ok(AREA, what, format!("mode {:04o}", mode & 0o7777));
    }
}

/// The room where the record grows.
pub(super) fn disk(data: &Path, findings: &mut Findings) {
    let place = data.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("/"));
    let what = format!("the disk of {}", data.display());
    let Ok(room) = rustix::fs::statvfs(place) else {
        findings.advice("disk", what, "its room cannot be found out", "look at it with `df`");
        return;
    };
    let free = room.f_bavail.saturating_mul(room.f_frsize);
    let all = room.f_blocks.saturating_mul(room.f_frsize).max(1);
    let words = format!("{} MiB free, {} % of it", free >> 20, free.saturating_mul(100) / all);
    if room.f_files > 0 && room.f_favail == 0 {
        findings.wrong("disk", what, "it takes no more files", "remove files that are not needed");
    } else if free < LEAST_ROOM {
        findings.wrong("disk", what, words, "make room: where nothing can be recorded, every call is denied");
    } else if free < LITTLE_ROOM {
        findings.advice("disk", what, words, "make room, or shorten [store] retention");
    } else {
        findings.ok("disk", what, words);
    }
}
