//! Reads and writes at offsets, and files that are there whole or not at all.

use std::{
    collections::hash_map::RandomState,
    fs::{self, File},
    hash::BuildHasher as _,
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Reads until the buffer is full or the file ends, and says how much.
pub(super) fn read_at(file: &File, mut buffer: &mut [u8], mut offset: u64) -> io::Result<usize> {
    let wanted = buffer.len();
    while !buffer.is_empty() {
        match read_some(file, buffer, offset) {
            Ok(0) => break,
            Ok(read) => {
                buffer = buffer.get_mut(read..).unwrap_or_default();
                offset += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(wanted - buffer.len())
}

#[cfg(unix)]
fn read_some(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buffer, offset)
}

#[cfg(windows)]
fn read_some(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buffer, offset)
}

/// Writes all of it.
#[cfg(unix)]
pub(super) fn write_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
}

/// Writes all of it.
#[cfg(windows)]
pub(super) fn write_at(file: &File, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = std::os::windows::fs::FileExt::seek_write(file, bytes, offset)?;
        bytes = bytes.get(written..).unwrap_or_default();
        offset += written as u64;
    }
    Ok(())
}

/// Asks for room behind what is written, so that a full disk is seen before something is begun. Where the file system
/// cannot say, there is room until a write fails.
#[cfg(target_os = "linux")]
pub(super) fn ask_for_room(file: &File, offset: u64, bytes: u64) -> io::Result<()> {
    use rustix::{
        fs::{FallocateFlags, fallocate},
        io::Errno,
    };
    match fallocate(file, FallocateFlags::KEEP_SIZE, offset, bytes) {
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Other systems see a full disk at the write.
#[cfg(not(target_os = "linux"))]
pub(super) fn ask_for_room(_: &File, _: u64, _: u64) -> io::Result<()> {
    Ok(())
}

/// How the extension of a file begins that is being written.
const BEING_WRITTEN: &str = "new-";

/// Files that are being written are left behind by processes that died: those that are older than this are removed.
const LEFT_BEHIND: Duration = Duration::from_secs(600);

/// A name beside a file that nobody else uses, of this boot or another.
pub(super) fn beside(path: &Path) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    // Keyed anew in each process, so that one with the same number in another container has other names.
    let random = RandomState::new().hash_one((std::process::id(), number));
    path.with_extension(format!("{BEING_WRITTEN}{random:016x}-{number}"))
}

/// Removes what processes that died have left of files they were writing in a folder.
pub(super) fn sweep(dir: &Path) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let being_written =
            path.extension().is_some_and(|extension| extension.to_string_lossy().starts_with(BEING_WRITTEN));
        let modified = || fs::metadata(&path).and_then(|metadata| metadata.modified());
        if !being_written || !modified().is_ok_and(|at| at.elapsed().is_ok_and(|age| age > LEFT_BEHIND)) {
            continue;
        }
        match fs::remove_file(&path) {
            Ok(()) => tracing::info!(path = %path.display(), "journal.unfinished_file_removed"),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "journal.unfinished_file_not_removed")
            }
        }
    }
}

/// Whether a file that is open has no name any more.
#[cfg(unix)]
pub(super) fn is_nameless(file: &File) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    Ok(file.metadata()?.nlink() == 0)
}

/// Other systems do not remove a file that is open.
#[cfg(not(unix))]
pub(super) fn is_nameless(_: &File) -> io::Result<bool> {
    Ok(false)
}

/// Bytes of what was cut off that are kept, and how many such files there are at most.
const KEPT_BYTES: u64 = 1 << 20;
const KEPT_FILES: usize = 16;

/// Keeps what is about to be cut off a file, as far as there is room for it: the beginning of it, in a file of its own.
pub(super) fn keep_cut(
    file: &File,
    offset: u64,
    bytes: u64,
    folder: &Path,
    name: &str,
) -> io::Result<PathBuf> {
    fs::create_dir_all(folder)?;
    let mut known: Vec<PathBuf> = fs::read_dir(folder)?.flatten().map(|entry| entry.path()).collect();
    // Their names say which is the oldest.
    known.sort();
    let too_many = (known.len() + 1).saturating_sub(KEPT_FILES);
    for old in known.into_iter().take(too_many) {
        fs::remove_file(old)?;
    }
    let mut kept = vec![0; usize::try_from(bytes.min(KEPT_BYTES)).unwrap_or_default()];
    let read = read_at(file, &mut kept, offset)?;
    kept.truncate(read);
    let path = folder.join(name);
    let mut target = private().create(true).truncate(true).open(&path)?;
    target.write_all(&kept)?;
    Ok(path)
}

fn private() -> fs::OpenOptions {
    let mut options = File::options();
    options.read(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Opens a file for this user alone, making it where it is missing.
pub fn open_private(path: &Path) -> io::Result<File> {
    private().create(true).truncate(false).open(path)
}

/// Makes an empty file for this user alone, or has the one that is there look changed.
pub fn touch(path: &Path) -> io::Result<()> {
    private().create(true).truncate(true).open(path).map(drop)
}

/// Makes a file with this content, on the disk, unless there is one of its name: that one stays.
pub(super) fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    let temporary = beside(path);
    let mut file = private().create_new(true).open(&temporary)?;
    let written = file.write_all(content).and_then(|()| file.sync_all()).and_then(|()| {
        match fs::hard_link(&temporary, path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            linked => linked,
        }
    });
    fs::remove_file(&temporary)?;
    written?;
    sync_folder(path)
}

/// Whether a file that is open is still found under its name. What cannot be told is taken for yes.
#[cfg(unix)]
pub(super) fn is_named(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    match (file.metadata(), fs::metadata(path)) {
        (Ok(open), Ok(named)) => (open.dev(), open.ino()) == (named.dev(), named.ino()),
        (_, Err(error)) => error.kind() != io::ErrorKind::NotFound,
        (Err(_), Ok(_)) => true,
    }
}

/// Whether a file that is open is still found under its name. What cannot be told is taken for yes.
#[cfg(not(unix))]
pub(super) fn is_named(_: &File, path: &Path) -> bool {
    path.exists()
}

/// The key of this name in a folder, the same for all who ask: made of `fresh` where there is none.
pub fn key(folder: &Path, name: &str, fresh: &[u8; 32]) -> io::Result<[u8; 32]> {
    let path = folder.join(format!("{name}.key"));
    write_new(&path, fresh)?;
    let mut key = [0; 32];
    let read = read_at(&File::open(&path)?, &mut key, 0)?;
    match read {
        32 => Ok(key),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "it is shorter than a key")),
    }
}

/// Puts a file in place of another, whole or not at all, and on the disk.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = beside(path);
    let mut file = private().create_new(true).open(&temporary)?;
    let written = file.write_all(content).and_then(|()| file.sync_all());
    if let Err(error) = written.and_then(|()| fs::rename(&temporary, path)) {
        fs::remove_file(&temporary).ok();
        return Err(error);
    }
    sync_folder(path)
}

/// Has a file's name on the disk.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) if folder.as_os_str().is_empty() => File::open(".")?.sync_all(),
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

/// Has on the disk what others wrote to a file that is open for reading.
#[cfg(unix)]
pub(super) fn flush_read(file: &File, _: &Path) -> io::Result<()> {
    file.sync_data()
}

/// Has on the disk what others wrote to a file. Other systems flush only what is open for writing.
#[cfg(not(unix))]
pub(super) fn flush_read(_: &File, path: &Path) -> io::Result<()> {
    File::options().write(true).open(path)?.sync_data()
}
