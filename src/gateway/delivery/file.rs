//! Records are appended to a file, which is put aside once it is large.

use super::Line;
use std::{
    fs::{self, File},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

/// A file that grows.
pub(super) struct FileSink {
    path: PathBuf,
    max_bytes: u64,
    keep: u64,
    open: Option<File>,
}

impl FileSink {
    pub(super) fn new(path: PathBuf, max_bytes: u64, keep: u64) -> Self {
        Self { path, max_bytes, keep, open: None }
    }

    /// All of it is on the disk when this returns.
    pub(super) fn send(&mut self, lines: &[Line]) -> Result<(), String> {
        self.append(lines).map_err(|error| {
            self.open = None;
            format!("`{}`: {error}", self.path.display())
        })
    }

    fn append(&mut self, lines: &[Line]) -> io::Result<()> {
        let named = self.open.take().filter(|file| is_named(file, &self.path));
        let mut file = match named {
            Some(file) => file,
            None => open(&self.path)?,
        };
        let mut holds = file.metadata()?.len();
        let mut text = String::with_capacity(lines.iter().map(|line| line.text.len() + 1).sum());
        for line in lines {
            let more = line.text.len() as u64 + 1;
            // A line that is larger than a file may be has one of its own.
            if holds > 0 && holds.saturating_add(more) > self.max_bytes {
                write(&mut file, &mut text)?;
                put_aside(&self.path, self.keep)?;
                file = open(&self.path)?;
                holds = 0;
            }
            text.push_str(&line.text);
            text.push('\n');
            holds = holds.saturating_add(more);
        }
        write(&mut file, &mut text)?;
        self.open = Some(file);
        Ok(())
    }
}

/// Writes what was gathered: it is on the disk then.
fn write(file: &mut File, text: &mut String) -> io::Result<()> {
    file.write_all(text.as_bytes())?;
    text.clear();
    file.sync_data()
}

/// Opens it at its end, behind the last whole line: whoever was killed in the middle of one sends it again.
fn open(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.read(true).append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    let mut end = file.metadata()?.len();
    let mut byte = [0];
    while end > 0 {
        file.seek(SeekFrom::Start(end - 1))?;
        file.read_exact(&mut byte)?;
        if byte == *b"\n" {
            break;
        }
        end -= 1;
    }
    file.set_len(end)?;
    Ok(file)
}

#[cfg(unix)]
fn is_named(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    match (file.metadata(), fs::metadata(path)) {
        (Ok(open), Ok(named)) => (open.dev(), open.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

#[cfg(not(unix))]
fn is_named(_: &File, path: &Path) -> bool {
    path.exists()
}

/// `events.jsonl` becomes `events.jsonl.1`, that `.2`, and so on; what is beyond `keep` goes.
fn put_aside(path: &Path, keep: u64) -> io::Result<()> {
    let numbered = |number: u64| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    };
    for number in (1..=keep).rev() {
        let from = if number == 1 { path.to_owned() } else { numbered(number - 1) };
        match fs::rename(from, numbered(number)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Event, EventDraft, EventType};

    fn line(text: &str) -> Line {
        let draft = EventDraft::system(EventType::Alert, jiff::Timestamp::UNIX_EPOCH);
        Line {
            event: Event { seq: 1, prev_hash: String::new(), hash: String::new(), draft },
            text: text.to_owned(),
        }
    }

    #[test]
    fn a_torn_line_goes_and_large_files_are_put_aside() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("events.jsonl");
        fs::write(&path, "{\"seq\":1}\n{\"se").expect("written");
        let mut sink = FileSink::new(path.clone(), 30, 2);
        sink.send(&[line("{\"seq\":2}"), line("{\"seq\":3}")]).expect("sent");
        assert_eq!(fs::read_to_string(&path).expect("there"), "{\"seq\":1}\n{\"seq\":2}\n{\"seq\":3}\n");
        for seq in 4..=12 {
            sink.send(&[line(&format!("{{\"seq\":{seq:02}}}"))]).expect("sent");
        }
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap_or_default();
        assert_eq!(read("events.jsonl.2"), "{\"seq\":08}\n{\"seq\":09}\n");
        assert_eq!(read("events.jsonl.1"), "{\"seq\":10}\n{\"seq\":11}\n");
        assert_eq!(read("events.jsonl"), "{\"seq\":12}\n");
        assert!(!dir.path().join("events.jsonl.3").exists());
        // Another program has moved it away: it is made again.
        fs::rename(&path, dir.path().join("elsewhere")).expect("moved");
        sink.send(&[line("{\"seq\":13}")]).expect("sent");
        assert_eq!(read("events.jsonl"), "{\"seq\":13}\n");
    }

    /// However many lines come at once, no file passes its bound, and none of them is missing; one line that is larger has a file
    /// of its own.
    #[test]
    fn no_file_passes_its_bound() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("events.jsonl");
        let mut sink = FileSink::new(path, 100, 1_000);
        let sent: Vec<Line> = (0..200).map(|seq| line(&format!("{{\"seq\":{seq:03}}}"))).collect();
        sink.send(&sent).expect("sent");
        sink.send(&[line(&"x".repeat(300)), line("last")]).expect("sent");
        let mut files: Vec<String> = fs::read_dir(dir.path())
            .expect("listed")
            .map(|file| fs::read_to_string(file.expect("a file").path()).expect("read"))
            .collect();
        files.sort();
        let large = files.iter().filter(|text| text.len() > 100).collect::<Vec<_>>();
        assert_eq!(large, [&format!("{}\n", "x".repeat(300))]);
        let seqs = files.iter().flat_map(|text| text.lines()).filter(|line| line.starts_with('{'));
        assert_eq!(seqs.count(), 200);
    }
}
