//! Secrets in the keychain of the system, for whoever wants them there: its own program keeps them and gives them back, which is
//! what `${cmd:…}` in servers.toml asks. No secret stands on a command line.

use crate::{cli::failure::CliError, redaction::display_text};
use rustix::process::{Pid, Signal, kill_process};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use std::{
    collections::BTreeMap,
    io::{self, Write as _},
    path::Path,
    process::{Command, Output, Stdio},
    sync::mpsc,
    time::Duration,
};
use zeroize::Zeroizing;

/// What of a program's message is told.
const LONGEST_SAID: usize = 200;
/// How long one may take: a person may have to unlock it.
const PATIENCE: Duration = Duration::from_secs(120);
/// How entries are called where a person looks at their keychain.
const LABEL: &str = "Tollgate";

/// A program that keeps secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Program {
    /// Of libsecret: GNOME Keyring, KWallet and others behind the Secret Service.
    SecretTool,
    /// Of macOS.
    Security,
}

impl Program {
    const fn name(self) -> &'static str {
        match self {
            Self::SecretTool => "secret-tool",
            Self::Security => "security",
        }
    }

    /// How an entry is asked for.
    fn lookup(self, service: &str, name: &str) -> Vec<String> {
        let words: &[&str] = match self {
            Self::SecretTool => &["lookup", "service", service, "variable", name],
            Self::Security => &["find-generic-password", "-s", service, "-a", name, "-w"],
        };
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    /// How one is kept: the words, and what goes to standard input.
    fn store(self, service: &str, name: &str, value: &SecretString) -> (Vec<String>, Zeroizing<String>) {
        match self {
            Self::SecretTool => {
                let label = format!("--label={LABEL} {name}");
                let words = ["store", label.as_str(), "service", service, "variable", name];
                let words = words.iter().map(|word| (*word).to_owned()).collect();
                (words, Zeroizing::new(value.expose_secret().to_owned()))
            }
            // It takes a secret from a command line or a terminal alone; of commands that it reads, nobody sees any. As
            // hexadecimal digits there is nothing to quote.
            Self::Security => {
                let hex = Zeroizing::new(hex::encode(value.expose_secret()));
                let line = format!("add-generic-password -U -s {service} -a {name} -l {LABEL} -X {}\n", *hex);
                (vec!["-i".to_owned()], Zeroizing::new(line))
            }
        }
    }

    fn removal(self, service: &str, name: &str) -> Vec<String> {
        let words: &[&str] = match self {
            Self::SecretTool => &["clear", "service", service, "variable", name],
            Self::Security => &["delete-generic-password", "-s", service, "-a", name],
        };
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    fn run(self, words: &[String], given: &str) -> io::Result<Output> {
        let mut child = Command::new(self.name())
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            match stdin.write_all(given.as_bytes()) {
                // It says itself why it reads nothing.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
                other => other?,
            }
        }
        // A person may have to unlock it meanwhile.
        let id = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let (ended, has_ended) = mpsc::channel();
        std::thread::spawn(move || ended.send(child.wait_with_output()).ok());
        match has_ended.recv_timeout(PATIENCE) {
            Ok(output) => output,
            Err(_) => {
                if let Some(id) = id {
                    kill_process(id, Signal::KILL).ok();
                }
                Err(io::ErrorKind::TimedOut.into())
            }
        }
    }
}

/// The keychain of this system, and under which service the secrets of one servers.toml lie there.
#[derive(Debug)]
pub(super) struct Keychain {
    program: Program,
    service: String,
}

/// What was there before, by name: it is there again where this is dropped before everything is in its place.
pub(super) struct Put<'k> {
    keychain: &'k Keychain,
    before: Vec<(String, Option<SecretString>)>,
}

impl Put<'_> {
    /// Everything is in its place.
    pub(super) fn stays(mut self) {
        self.before.clear();
    }
}

impl Drop for Put<'_> {
    fn drop(&mut self) {
        let Keychain { program, service } = self.keychain;
        for (name, before) in self.before.drain(..) {
            let undone = match before {
                Some(value) => {
                    let (words, given) = program.store(service, &name, &value);
                    program.run(&words, &given)
                }
                None => program.run(&program.removal(service, &name), ""),
            };
            drop(undone);
        }
    }
}

impl Keychain {
    /// The one of this system, for the secrets of a servers.toml.
    pub(super) fn find(servers_toml: &Path) -> Result<Self, CliError> {
        let service = service_of(servers_toml);
        let order = match cfg!(target_os = "macos") {
            true => [Program::Security, Program::SecretTool],
            false => [Program::SecretTool, Program::Security],
        };
        for program in order {
            // Nothing of it lies there; what it says of that does not matter.
            match program.run(&program.lookup(&service, "TOLLGATE"), "") {
                Ok(_) => return Ok(Self { program, service }),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed(program, &format!("does not answer: {}", error.kind()))),
            }
        }
        Err(CliError::Told(
            "there is no keychain here that Tollgate can use, and nothing was written: `secret-tool` (package libsecret-tools) keeps \
             secrets on Linux, `security` on macOS. `--secrets env-file` keeps them in servers.env, mode 0600"
                .to_owned(),
        ))
    }

    /// How a person finds its entries.
    pub(super) fn told(&self) -> String {
        format!("the keychain of this system (`{}`, service `{}`)", self.program.name(), self.service)
    }

    /// What stands in servers.toml for a variable.
    fn reference(&self, name: &str) -> String {
        let words = self.program.lookup(&self.service, name).join(" ");
        format!("${{cmd:{} {words}}}", self.program.name())
    }

    /// A servers.toml in which references to the keychain stand for these variables.
    pub(super) fn referred(&self, text: &str, values: &BTreeMap<&str, &SecretString>) -> String {
        values.keys().fold(text.to_owned(), |text, name| {
            let (variable, reference) = (format!("${{{name}}}"), self.reference(name));
            let mut parts = text.split(variable.as_str()).peekable();
            let mut out = String::new();
            while let Some(part) = parts.next() {
                out.push_str(part);
                if parts.peek().is_some() {
                    // `$${NAME}` is a text, and no variable.
                    out.push_str(if part.ends_with('$') { &variable } else { &reference });
                }
            }
            out
        })
    }

    /// Variables that mean something in a keychain already, by what a servers.toml says.
    pub(super) fn names_in(servers_toml: &Path, text: &str) -> Vec<String> {
        let service = service_of(servers_toml);
        let is_name = |name: &&str| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        let asked = |program: Program| {
            let words = program.lookup(&service, "\n").join(" ");
            let (before, after) = words.split_once('\n').unwrap_or((&words, ""));
            let rests = text.split(before).skip(1);
            let names = rests.filter_map(|rest| rest.split_once('}')?.0.strip_suffix(after));
            names.filter(is_name).map(str::to_owned).collect::<Vec<_>>()
        };
        [Program::SecretTool, Program::Security].into_iter().flat_map(asked).collect()
    }

    /// Keeps all of them, and looks whether they come back as they were; or none.
    pub(super) fn put(&self, values: &BTreeMap<&str, &SecretString>) -> Result<Put<'_>, CliError> {
        let Self { program, service } = self;
        let mut put = Put { keychain: self, before: Vec::new() };
        for (name, value) in values {
            put.before.push(((*name).to_owned(), self.value(name)));
            let (words, given) = program.store(service, name, value);
            let done = program.run(&words, &given);
            let done =
                done.map_err(|error| failed(*program, &format!("does not answer: {}", error.kind())))?;
            let kept = self.value(name);
            if kept.is_none_or(|kept| kept.expose_secret() != value.expose_secret()) {
                let said = display_text(&String::from_utf8_lossy(&done.stderr), LONGEST_SAID);
                let said = match said.trim() {
                    "" => "it does not come back from it as it is".to_owned(),
                    said => format!("it says: {said}"),
                };
                return Err(failed(*program, &format!("does not keep `{name}`: {said}")));
            }
        }
        Ok(put)
    }

    fn value(&self, name: &str) -> Option<SecretString> {
        let Output { status, stdout, .. } =
            self.program.run(&self.program.lookup(&self.service, name), "").ok()?;
        let text = String::from_utf8(stdout).ok().filter(|text| status.success() && !text.is_empty())?;
        Some(text.strip_suffix('\n').map_or(text.clone(), str::to_owned).into())
    }
}

/// Under which service the secrets of a servers.toml lie.
fn service_of(servers_toml: &Path) -> String {
    let folder = servers_toml.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let folder = std::fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    let place = folder.join(servers_toml.file_name().unwrap_or_default());
    let digest = Sha256::digest(place.as_os_str().as_encoded_bytes());
    format!("tollgate-{}", hex::encode(digest).chars().take(12).collect::<String>())
}

fn failed(program: Program, why: &str) -> CliError {
    CliError::Told(format!(
        "`{}` {why}. Nothing was written. `--secrets env-file` keeps secrets in servers.env, mode 0600",
        program.name()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keychain(program: Program) -> Keychain {
        Keychain { program, service: service_of(Path::new("/nowhere/servers.toml")) }
    }

    #[test]
    fn references_stand_for_variables_and_for_no_text() {
        let secret = SecretString::from("s3cret");
        let values = BTreeMap::from([("TOKEN", &secret)]);
        let check = |program, expect: &str| {
            let keychain = keychain(program);
            let text = "a = \"Bearer ${TOKEN}\" # $${TOKEN} ${TOKEN_2}";
            let text = keychain.referred(text, &values);
            assert_eq!(text, format!("a = \"Bearer {expect}\" # $${{TOKEN}} ${{TOKEN_2}}"));
            assert_eq!(Keychain::names_in(Path::new("/nowhere/servers.toml"), &text), ["TOKEN"]);
            assert!(Keychain::names_in(Path::new("/elsewhere/servers.toml"), &text).is_empty());
        };
        let service = service_of(Path::new("/nowhere/servers.toml"));
        check(Program::SecretTool, &format!("${{cmd:secret-tool lookup service {service} variable TOKEN}}"));
        check(
            Program::Security,
            &format!("${{cmd:security find-generic-password -s {service} -a TOKEN -w}}"),
        );
    }

    #[test]
    fn no_secret_stands_on_a_command_line() {
        let secret = SecretString::from("s3cret");
        for program in [Program::SecretTool, Program::Security] {
            let (words, given) = program.store("tollgate-ab", "TOKEN", &secret);
            assert!(words.iter().all(|word| !word.contains("s3cret") && !word.contains("733363726574")));
            assert!(given.contains("s3cret") || given.ends_with("-X 733363726574\n"), "{program:?}");
        }
    }
}
