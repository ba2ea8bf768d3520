//! `${file:PATH}` and `${cmd:PROGRAM …}` in servers.toml: a secret that stays where it is kept. A file is read at each load.
//! A command runs without a shell, once; what it said is kept in memory until [`forget_references`]. What either holds is in no
//! message.

use super::file::resolve;
use crate::redaction::DataRules;
use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process_group};
use secrecy::SecretString;
use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read},
    os::unix::{
        fs::MetadataExt as _,
        process::{CommandExt as _, ExitStatusExt as _},
    },
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, LazyLock, mpsc},
    time::Duration,
};

/// The most that a secret may take.
const MOST_BYTES: u64 = 64 * 1024;
/// What of a command's own message is told.
const MOST_SAID: u64 = 4 * 1024;
const LONGEST_SAID: usize = 200;
/// How long a command may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long its message may take after it has ended.
const MESSAGE_PATIENCE: Duration = Duration::from_secs(5);
/// Words of one command.
const MOST_WORDS: usize = 64;

/// How a reference to a secret is written.
pub(super) const FORMS: &str = "${file:PATH} or ${cmd:PROGRAM …}";

/// What stands in `${…}` where it is no variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reference<'r> {
    File(&'r str),
    Command(&'r str),
}

impl<'r> Reference<'r> {
    /// What is written, where it is one.
    pub(super) fn read(inside: &'r str) -> Option<Self> {
        let file = inside.strip_prefix("file:").map(|path| Self::File(path.trim()));
        file.or_else(|| inside.strip_prefix("cmd:").map(|line| Self::Command(line.trim())))
    }

    /// What is wrong with it as it is written.
    pub(super) fn fault(self) -> Option<&'static str> {
        match self {
            Self::File("") => Some("names no file"),
            Self::File(_) => None,
            Self::Command(line) => match shlex::split(line) {
                None => Some("has a quote without an end"),
                Some(words) if words.is_empty() => Some("names no program"),
                Some(words) if words.len() > MOST_WORDS => Some("has more than 64 words"),
                Some(_) => None,
            },
        }
    }

    /// What it stands for, or why nobody knows; and what is to be said of where it is kept.
    pub(super) fn value(self, config: &Path) -> Result<(SecretString, Option<String>), String> {
        match self {
            Self::File(path) => read_file(&resolve(config, path)),
            Self::Command(line) => said(config, line).map(|value| (value, None)),
        }
    }
}

/// A secret, or why there is none.
type Said = Result<SecretString, String>;

/// What one command has said, once it has run: whoever asks meanwhile waits for that.
type Once = Arc<Mutex<Option<Said>>>;

/// What commands of this process have said, by the folder they ran in and how they are written.
static COMMANDS: LazyLock<Mutex<HashMap<(PathBuf, String), Once>>> = LazyLock::new(Mutex::default);

/// Has the commands that servers.toml names run again at the next load: all of them, or those that failed.
pub fn forget_references(all: bool) {
    let mut commands = COMMANDS.lock();
    match all {
        true => commands.clear(),
        // One that runs at this moment has not failed.
        false => {
            commands.retain(|_, said| said.try_lock().is_none_or(|said| !matches!(&*said, Some(Err(_)))))
        }
    }
}

fn said(config: &Path, line: &str) -> Said {
    let folder = config.parent().unwrap_or(Path::new("")).to_owned();
    let slot = Arc::clone(COMMANDS.lock().entry((folder, line.to_owned())).or_default());
    let mut slot = slot.lock();
    slot.get_or_insert_with(|| run(config, line, PATIENCE)).clone()
}

fn read_file(path: &Path) -> Result<(SecretString, Option<String>), String> {
    let shown = path.display();
    let failed = |error: io::Error| format!("`{shown}` cannot be read: {}", super::io_reason(&error));
    // A pipe or a device could have no end.
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(format!("`{shown}` is not a file"));
    }
    let file = File::open(path).map_err(failed)?;
    let meta = file.metadata().map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    let value = secret(bytes).map_err(|why| format!("`{shown}` {why}"))?;
    let own = rustix::process::geteuid().as_raw();
    let open = match meta.mode() & 0o7777 {
        mode if mode & 0o006 != 0 => Some(format!(
            "`{shown}` has mode {mode:04o}: every user of this machine can get at the secret in it"
        )),
        mode if mode & 0o020 != 0 => {
            Some(format!("`{shown}` has mode {mode:04o}: others can put another secret into it"))
        }
        _ if ![own, 0].contains(&meta.uid()) && own != 0 => {
            Some(format!("`{shown}` belongs to user {}, who can put another secret into it", meta.uid()))
        }
        _ => None,
    };
    Ok((value, open))
}

/// What was read, without the line's end behind it.
fn secret(bytes: Vec<u8>) -> Said {
    if bytes.len() as u64 > MOST_BYTES {
        return Err(format!("holds more than {MOST_BYTES} bytes"));
    }
    let mut text = String::from_utf8(bytes).map_err(|_| "holds what is no UTF-8".to_owned())?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    match text.as_str() {
        "" => Err("is empty".to_owned()),
        held if held.contains('\0') => Err("holds a null character".to_owned()),
        _ => Ok(text.into()),
    }
}

fn run(config: &Path, line: &str, patience: Duration) -> Said {
    let mut words = shlex::split(line).unwrap_or_default().into_iter();
    let program = words.next().unwrap_or_default();
    let failed = |why: &str| format!("`{program}` {why}");
    let folder = config.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // A bare name is looked for in PATH, as a shell does.
    let path = match program.contains('/') {
        true => resolve(config, &program),
        false => PathBuf::from(&program),
    };
    let mut command = Command::new(path);
    command.args(words).current_dir(folder).process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // Tollgate's own, such as a person's key, are no business of another program.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"TOLLGATE_"))
    {
        command.env_remove(name);
    }
    let child = command
        .spawn()
        .map_err(|error| failed(&format!("cannot be started: {}", super::io_reason(&error))))?;
    let Ended { secret: out, message, status } = wait(child, patience).map_err(|why| failed(&why))?;
    // One that wrote too much found nobody who read on: how it ended comes of that.
    if !status.success() && out.len() as u64 <= MOST_BYTES {
        return Err(failed(&format!("ended with {}{}", ending(status), told(&message))));
    }
    secret(out).map_err(|why| failed(&format!("was run, and what it wrote {why}")))
}

/// A command that has ended.
struct Ended {
    secret: Vec<u8>,
    message: Vec<u8>,
    status: ExitStatus,
}

/// Waits until a command has written its output and ended, and no longer than it may take.
fn wait(mut child: Child, patience: Duration) -> Result<Ended, String> {
    let (Some(out), Some(mut err)) = (child.stdout.take(), child.stderr.take()) else {
        return Err("has no output".to_owned());
    };
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let (tell, messages) = mpsc::channel();
    std::thread::spawn(move || {
        let mut message = Vec::new();
        (&mut err).take(MOST_SAID).read_to_end(&mut message).ok();
        tell.send(message).ok();
        // The rest is read, or a command that says much would hang.
        io::copy(&mut err, &mut io::sink()).ok();
    });
    let (done, ended) = mpsc::channel();
    std::thread::spawn(move || {
        let mut secret = Vec::new();
        let read = out.take(MOST_BYTES + 1).read_to_end(&mut secret);
        // What is left of a longer output finds nobody who reads it.
        let status = child.wait();
        done.send(read.and(status).map(|status| (secret, status))).ok();
    });
    match ended.recv_timeout(patience) {
        Ok(Ok((secret, status))) => {
            let message = messages.recv_timeout(MESSAGE_PATIENCE).unwrap_or_default();
            Ok(Ended { secret, message, status })
        }
        Ok(Err(_)) => Err("wrote what cannot be read".to_owned()),
        Err(_) => {
            if let Some(group) = group {
                kill_process_group(group, Signal::KILL).ok();
            }
            Err(format!("took longer than {patience:?} and was ended"))
        }
    }
}

fn ending(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "no exit code".to_owned(),
    }
}

/// The first line of a command's own message, masked.
fn told(message: &[u8]) -> String {
    let text = String::from_utf8_lossy(message);
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let masked = DataRules::built_in().redact_text(line.trim()).into_owned();
    let shown = crate::redaction::display_text(&masked, LONGEST_SAID);
    if shown.is_empty() { String::new() } else { format!(": {shown}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret as _;
    use std::os::unix::fs::PermissionsExt as _;

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn config(&self) -> PathBuf {
            self.0.path().join("servers.toml")
        }

        fn put(&self, name: &str, text: impl AsRef<[u8]>, mode: u32) {
            let path = self.0.path().join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        }

        /// What is read, and what is said about the file; or why nothing is.
        fn file(&self, path: &str) -> Result<(String, Option<String>), String> {
            let read = Reference::File(path).value(&self.config());
            read.map(|(secret, doubt)| (secret.expose_secret().to_owned(), doubt))
        }

        fn run(&self, line: &str) -> Result<String, String> {
            self.run_within(line, PATIENCE)
        }

        fn run_within(&self, line: &str, patience: Duration) -> Result<String, String> {
            run(&self.config(), line, patience).map(|secret| secret.expose_secret().to_owned())
        }
    }

    #[test]
    fn a_reference_is_known_by_its_beginning() {
        let check = |inside: &str, expect: Option<Reference<'_>>, fault: Option<&str>| {
            let read = Reference::read(inside);
            assert_eq!(read, expect, "{inside}");
            assert_eq!(read.and_then(Reference::fault), fault, "{inside}");
        };
        check("file: a/b ", Some(Reference::File("a/b")), None);
        check("cmd:pass show x", Some(Reference::Command("pass show x")), None);
        check("file:", Some(Reference::File("")), Some("names no file"));
        check("cmd: ", Some(Reference::Command("")), Some("names no program"));
        check("cmd:a 'b", Some(Reference::Command("a 'b")), Some("has a quote without an end"));
        check("files", None, None);
        check("FILE:-x", None, None);
    }

    #[test]
    fn a_file_is_read_without_the_end_of_its_line() {
        let folder = Folder::new();
        let check = |text: &str, expect: &str| {
            folder.put("token", text, 0o600);
            assert_eq!(folder.file("token"), Ok((expect.to_owned(), None)), "{text:?}");
        };
        check("s3cret", "s3cret");
        check("s3cret\n", "s3cret");
        check("s3cret\r\n", "s3cret");
        check("s3cret\n\n", "s3cret\n");
        check(" s3cret ", " s3cret ");
        let whole = folder.0.path().join("token").display().to_string();
        assert_eq!(folder.file(&whole).unwrap().0, " s3cret ");
        std::os::unix::fs::symlink("token", folder.0.path().join("link")).unwrap();
        assert_eq!(folder.file("link").unwrap().0, " s3cret ");
    }

    #[test]
    fn a_file_that_holds_no_secret_says_why_and_not_what() {
        let folder = Folder::new();
        let check = |text: &[u8], expect: &str| {
            folder.put("token", text, 0o600);
            let why = folder.file("token").unwrap_err();
            assert!(why.ends_with(expect) && !why.contains("s3cret"), "{why}");
        };
        check(b"", "is empty");
        check(b"\n", "is empty");
        check(b"s3cret\0", "holds a null character");
        check(b"s3cret\xff", "holds what is no UTF-8");
        check(&[b'x'; MOST_BYTES as usize + 1], "holds more than 65536 bytes");
        assert!(folder.file("nothing").unwrap_err().ends_with("cannot be read: it is not there"));
        assert!(folder.file(".").unwrap_err().ends_with("is not a file"));
        assert!(folder.file("/dev/zero").unwrap_err().ends_with("is not a file"));
    }

    #[test]
    fn a_file_that_others_can_get_at_is_told() {
        let folder = Folder::new();
        let check = |mode: u32, expect: Option<&str>| {
            folder.put("token", "s3cret", mode);
            let (_, doubt) = folder.file("token").unwrap();
            assert_eq!(doubt.is_some(), expect.is_some(), "{mode:o}: {doubt:?}");
            assert!(expect.is_none_or(|text| doubt.unwrap().contains(text)), "{mode:o}");
        };
        check(0o600, None);
        check(0o400, None);
        // A group of its own is a way to hand secrets to a service.
        check(0o640, None);
        check(0o644, Some("mode 0644: every user"));
        check(0o602, Some("every user"));
        check(0o660, Some("can put another secret"));
    }

    #[test]
    fn a_command_runs_without_a_shell() {
        let folder = Folder::new();
        folder.put("say", "#!/bin/sh\nprintf '%s|' \"$#\" \"$@\" \"${PWD##*/}\"\n", 0o700);
        let here = folder.0.path().canonicalize().unwrap().file_name().unwrap().to_str().unwrap().to_owned();
        assert_eq!(
            folder.run("./say 'a b' $HOME ; c\\ d \"e'f\"").unwrap(),
            format!("5|a b|$HOME|;|c d|e'f|{here}|")
        );
        assert_eq!(folder.run("printf 's3cret\\n'"), Ok("s3cret".to_owned()));
        assert_eq!(folder.run("echo s3cret"), Ok("s3cret".to_owned()));
    }

    #[test]
    fn a_command_that_fails_says_why_and_not_what_it_wrote() {
        let folder = Folder::new();
        let check = |line: &str, expect: &str| {
            let why = folder.run(line).unwrap_err();
            assert!(why.contains(expect) && !why.contains("s3cret"), "{why}");
        };
        check("no-such-program-here", "`no-such-program-here` cannot be started: it is not there");
        check("sh -c 'echo s3cret; exit 3'", "`sh` ended with exit code 3");
        check("sh -c 'echo sealed: ask an admin >&2; exit 1'", "exit code 1: sealed: ask an admin");
        check("sh -c 'kill -9 $$'", "`sh` ended with signal 9");
        check("true", "what it wrote is empty");
        check("sh -c 'head -c 70000 /dev/zero'", "holds more than 65536 bytes");
        // What it says itself may hold a secret too.
        let key = format!("ghp_{}", "k1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8");
        let why = folder.run(&format!("sh -c 'echo wrong token {key} >&2; exit 1'")).unwrap_err();
        assert!(why.contains("wrong token") && !why.contains(&key), "{why}");
        // Much of it is no reason to hang.
        check("sh -c 'head -c 1000000 /dev/zero >&2; exit 4'", "exit code 4");
    }

    #[test]
    fn a_command_that_does_not_end_is_ended() {
        let folder = Folder::new();
        for line in ["sleep 1000", "sh -c 'sleep 1000 & echo x'", "sh -c 'exec 1>&- 2>&-; sleep 1000'"] {
            let why = folder.run_within(line, Duration::from_millis(200)).unwrap_err();
            assert!(why.ends_with("took longer than 200ms and was ended"), "{why}");
        }
    }

    #[test]
    fn a_command_runs_once_until_it_is_forgotten() {
        let folder = Folder::new();
        folder.put("count", "#!/bin/sh\necho x >> ran; [ -e fail ] && exit 1; wc -l < ran\n", 0o700);
        let said =
            || said(&folder.config(), "./count").map(|secret| secret.expose_secret().trim().to_owned());
        assert_eq!((said().as_deref(), said().as_deref()), (Ok("1"), Ok("1")));
        forget_references(false);
        assert_eq!(said().as_deref(), Ok("1"));
        forget_references(true);
        folder.put("fail", "", 0o600);
        assert!(said().is_err() && said().is_err());
        std::fs::remove_file(folder.0.path().join("fail")).unwrap();
        // One that failed runs again at any reload.
        forget_references(false);
        assert_eq!((said().as_deref(), said().as_deref()), (Ok("3"), Ok("3")));
    }
}
