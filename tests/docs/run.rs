//! One page's commands, in one shell, in a folder of their own.

use super::{
    binary,
    page::{Block, Page, Part, Value as Named},
    root,
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicU32, Ordering},
        mpsc::{self, RecvTimeoutError, Sender},
    },
    time::Duration,
};

const BINARY: &str = env!("CARGO_BIN_EXE_tollgate");
/// What the pages say.
const PORTS: [&str; 2] = ["8787", "8788"];
/// Programs that a machine with a Rust toolchain need not have.
const PROGRAMS: &[&str] = &["curl", "jq", "npx", "ssh-keygen", ".venv/bin/python"];
/// How long a page may take.
const PATIENCE: Duration = Duration::from_secs(180);
const END: &str = "-- end of the block: ";

/// A shell that ends with all it started.
struct Shell {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    folder: PathBuf,
    /// Those that stand for the ports of the pages.
    ports: [String; 2],
    names: BTreeSet<String>,
    /// Gone with the shell; then nobody watches it any more.
    _watched: Sender<()>,
}

impl Drop for Shell {
    fn drop(&mut self) {
        let group = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process_group(group, rustix::process::Signal::KILL).ok();
        self.child.wait().ok();
    }
}

/// Two ports that nobody has now, below those that the system gives away by itself.
fn free_ports() -> [String; 2] {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    [(); 2].map(|()| {
        loop {
            let port = 12_000 + (std::process::id() * 64 + NEXT.fetch_add(1, Ordering::Relaxed)) % 20_000;
            let named = port.to_string();
            if !PORTS.iter().any(|said| named.contains(said))
                && TcpListener::bind(format!("127.0.0.1:{port}")).is_ok()
            {
                return named;
            }
        }
    })
}

/// Whole words `name` become `$name`.
fn with_value(text: &str, name: &str) -> String {
    let mut made = String::new();
    let mut rest = text;
    let part_of_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '$' | '-');
    while let Some((before, after)) = rest.split_once(name) {
        made.push_str(before);
        let alone =
            !before.ends_with(part_of_word) && !after.starts_with(|c: char| part_of_word(c) || c == '=');
        made.push_str(&if alone { format!("${name}") } else { name.to_owned() });
        rest = after;
    }
    made.push_str(rest);
    made
}

impl Shell {
    fn start(folder: &Path, home: &Path) -> Self {
        let mut command = Command::new("bash");
        let path = std::env::var("PATH").unwrap_or_default();
        let bin = Path::new(BINARY).parent().unwrap();
        command
            .current_dir(folder)
            .env("PATH", format!("{}:{path}", bin.display()))
            .env("HOME", home)
            .env("TZ", "UTC")
            .env_remove("TOLLGATE_KEY")
            .env_remove("TOLLGATE_CONFIG")
            .env_remove("XDG_CONFIG_HOME")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .process_group(0);
        let mut child = command.spawn().expect("bash");
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let group = rustix::process::Pid::from_child(&child);
        let (watched, ended) = mpsc::channel::<()>();
        std::thread::spawn(move || {
            // A command that does not end is a mistake of its page.
            if ended.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                rustix::process::kill_process_group(group, rustix::process::Signal::KILL).ok();
            }
        });
        let mut shell = Self {
            _watched: watched,
            child,
            input,
            output,
            folder: folder.to_owned(),
            ports: free_ports(),
            names: BTreeSet::new(),
        };
        shell.take("exec 2>&1; KEY=demo-carol-key").unwrap();
        shell
    }

    /// What a page says, as it is run here.
    fn here(&self, text: &str) -> String {
        let mut text = text
            .replace("cargo run --release -- ", "tollgate ")
            .replace("TOLLGATE_KEY=…", "TOLLGATE_KEY=$KEY");
        for (said, here) in PORTS.iter().zip(&self.ports) {
            text = text.replace(said, here);
        }
        self.names.iter().fold(text, |text, name| with_value(&text, name))
    }

    /// Runs it: what it printed, or that it failed.
    fn take(&mut self, text: &str) -> Result<String, String> {
        // In the same shell, so that folders and variables last; what it reads is not what comes next.
        let sent = format!("{{ {}\n}} </dev/null\nprintf '\\n{END}%d\\n' $?\n", text.trim_end());
        self.input.write_all(sent.as_bytes()).unwrap();
        let mut said = String::new();
        loop {
            let mut line = String::new();
            if self.output.read_line(&mut line).unwrap() == 0 {
                return Err(format!("{said}(the shell ended)"));
            }
            if let Some(code) = line.strip_prefix(END) {
                said.truncate(said.len().saturating_sub(1));
                for (page, here) in PORTS.iter().zip(&self.ports) {
                    said = said.replace(here.as_str(), page);
                }
                self.own_ports();
                return if code.trim() == "0" { Ok(said) } else { Err(said) };
            }
            said.push_str(&line);
        }
    }

    /// Files that a command has made listen where nobody else does.
    fn own_ports(&self) {
        let mut folders = vec![self.folder.clone()];
        folders.extend(entries(&self.folder).into_iter().filter(|path| path.is_dir()));
        for path in folders.iter().map(|folder| folder.join("servers.toml")) {
            let Ok(text) = std::fs::read_to_string(&path) else { continue };
            let [mcp, admin] = &self.ports;
            let changed = text.replace(PORTS[0], mcp).replace(PORTS[1], admin);
            if changed != text {
                std::fs::write(path, changed).unwrap();
            }
        }
    }

    /// Starts a gateway and waits until it is ready.
    fn serve(&mut self, text: &str) -> Result<(), String> {
        let text = text.trim_end();
        let (before, last) = text.rsplit_once('\n').unwrap_or(("", text));
        let last = last.split(" #").next().unwrap_or_default().trim().trim_end_matches('&').trim();
        self.take(&format!("{before}\n{last} >gateway.log 2>&1 &"))?;
        let address = format!("127.0.0.1:{}", self.ports[1]);
        let ready = || {
            let there = std::net::TcpStream::connect(&address).is_ok();
            (there && binary::http(&address, "GET", "/readyz", "", "").status == 200).then_some(())
        };
        let log = |shell: &mut Self| shell.take("cat gateway.log").unwrap_or_default();
        binary::eventually(ready).ok_or_else(|| format!("no gateway answers:\n{}", log(self)))
    }

    /// Until it succeeds: only the outside can be asked here.
    fn until(&mut self, text: &str) -> Result<(), String> {
        let text = self.here(text);
        let mut said = String::new();
        let done = binary::eventually(|| self.take(&text).map_err(|now| said = now).ok());
        done.map(drop).ok_or(said)
    }

    fn set(&mut self, named: &Named) -> Result<(), String> {
        let said = self.take(&self.here(&format!("tollgate {}", named.arguments)))?;
        let read: Value = serde_json::from_str(said.trim()).map_err(|error| format!("{error}: {said}"))?;
        let value = read.pointer(&named.pointer).ok_or_else(|| format!("no {} in {said}", named.pointer))?;
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        self.take(&format!("{}='{}'", named.name, value.replace('\'', "'\\''")))?;
        self.names.insert(named.name.clone());
        Ok(())
    }

    fn block(&mut self, block: &Block) -> Result<(), String> {
        let fails = block.words == "fails";
        let expect = |done: Result<String, String>| match (done, fails) {
            (Ok(said), false) | (Err(said), true) => Ok(said),
            (Ok(said), true) => Err(format!("it does not fail:\n{said}")),
            (Err(said), false) => Err(said),
        };
        if block.words == "background" {
            return self.serve(&self.here(&block.text));
        }
        if block.language == "sh" {
            // The first that fails fails the block.
            let text = self.here(&block.text);
            return expect(
                self.take(&format!("trap 'failed=1' ERR; failed=0\n{text}\ntrap - ERR; [ $failed = 0 ]")),
            )
            .map(|_| ());
        }
        for part in block.text.split("\n$ ") {
            let (command, shown) = part.trim_start_matches("$ ").split_once('\n').unwrap_or((part, ""));
            let said = expect(self.take(&self.here(command)))?;
            is_shown(shown, &said)
                .map_err(|line| format!("`{command}` does not print `{line}` but:\n{said}"))?;
        }
        Ok(())
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// Whether the output is what is shown; the first line that is not.
fn is_shown(shown: &str, said: &str) -> Result<(), String> {
    let mut said = said.trim().lines();
    let mut skipping = false;
    for line in shown.trim().lines() {
        if line.trim() == "…" {
            skipping = true;
            continue;
        }
        let found = match skipping {
            true => said.any(|one| fits(line, one)),
            false => said.next().is_some_and(|one| fits(line, one)),
        };
        if !found {
            return Err(line.to_owned());
        }
        skipping = false;
    }
    match said.next() {
        Some(more) if !skipping => Err(format!("(and no more), then: {more}")),
        _ => Ok(()),
    }
}

/// `…` is anything; how many spaces there are does not count.
fn fits(shown: &str, said: &str) -> bool {
    let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (shown, said) = (plain(shown), plain(said));
    let parts: Vec<&str> = shown.split('…').collect();
    let Some(mut rest) = said.strip_prefix(parts[0]) else { return false };
    for (index, part) in parts.iter().enumerate().skip(1) {
        let at = if index + 1 == parts.len() { rest.len().checked_sub(part.len()) } else { rest.find(part) };
        let Some(after) = at.and_then(|at| rest.get(at..)).and_then(|rest| rest.strip_prefix(part)) else {
            return false;
        };
        rest = after;
    }
    rest.is_empty()
}

fn is_there(program: &str, folder: &Path) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    folder.join(program).exists() || std::env::split_paths(&path).any(|one| one.join(program).exists())
}

/// The shipped folder as a page finds it, and the SDK where CI has put it.
fn prepare(folder: &Path, ports: &[String; 2]) {
    let copied = binary::shipped();
    for name in ["servers.toml", "policies"] {
        std::fs::rename(copied.path().join(name), folder.join(name)).unwrap();
    }
    let servers = std::fs::read_to_string(folder.join("servers.toml")).unwrap();
    let [mcp, admin] = ports;
    let servers = servers.replacen("127.0.0.1:0", &format!("127.0.0.1:{mcp}"), 1);
    std::fs::write(
        folder.join("servers.toml"),
        servers.replacen("127.0.0.1:0", &format!("127.0.0.1:{admin}"), 1),
    )
    .unwrap();
    std::fs::create_dir(folder.join("examples")).unwrap();
    let agent = std::fs::read_to_string(root().join("examples/agent.py")).unwrap();
    std::fs::write(folder.join("examples/agent.py"), agent.replace(PORTS[0], mcp)).unwrap();
    let venv = Path::new(BINARY).ancestors().nth(2).unwrap().join("sdk-venv");
    if venv.join("bin/python").exists() {
        std::os::unix::fs::symlink(venv, folder.join(".venv")).unwrap();
    }
}

/// Runs a page. Where a program is missing the rest of it is skipped, by name; in CI that is an error.
pub(crate) fn page(page: &Page) -> Result<(), String> {
    let place = tempfile::tempdir().unwrap();
    let [folder, home] = ["work", "home"].map(|name| place.path().join(name));
    std::fs::create_dir(&folder).unwrap();
    std::fs::create_dir(&home).unwrap();
    let mut shell = Shell::start(&folder, &home);
    if !page.parts.iter().any(|part| matches!(part, Part::Empty)) {
        prepare(&folder, &shell.ports);
    }
    for part in &page.parts {
        let (done, place) = match part {
            Part::Block(block) if block.is_command() && block.excuse().is_none() => {
                if let Some(missing) =
                    PROGRAMS.iter().find(|one| block.text.contains(**one) && !is_there(one, &folder))
                {
                    let said = format!("{}: the rest is not run: `{missing}` is missing", block.place);
                    assert!(std::env::var("CI").as_deref() != Ok("true"), "{said}");
                    writeln!(std::io::stderr(), "{said}").ok();
                    return Ok(());
                }
                (shell.block(block), block.place.clone())
            }
            Part::Run(text) => (shell.take(&shell.here(text)).map(|_| ()), format!("{}: {text}", page.name)),
            Part::Set(named) => (shell.set(named), format!("{}: {}", page.name, named.name)),
            Part::Call { key, tool, arguments } => {
                let arguments: Value =
                    serde_json::from_str(arguments).unwrap_or_else(|e| panic!("{arguments}: {e}"));
                let address = format!("127.0.0.1:{}", shell.ports[0]);
                binary::call_at(&address, key, tool, &arguments, &json!({}));
                continue;
            }
            Part::Until(text) => (shell.until(text), format!("{}: until {text}", page.name)),
            Part::Serve => (shell.serve("tollgate serve"), page.name.clone()),
            Part::Block(_) | Part::Empty => continue,
        };
        done.map_err(|said| format!("{place}:\n{said}"))?;
    }
    Ok(())
}

/// What `tollgate PATH --help` says; each is asked once.
fn help(path: &[&str]) -> binary::Said {
    static KNOWN: Mutex<BTreeMap<String, (i32, String, String)>> = Mutex::new(BTreeMap::new());
    let mut known = KNOWN.lock().unwrap();
    let (code, out, err) = known
        .entry(path.join(" "))
        .or_insert_with(|| {
            let said = binary::tollgate(root(), &[path, &["--help"]].concat());
            (said.code, said.out, said.err)
        })
        .clone();
    binary::Said { code, out, err }
}

/// What of the `tollgate` commands of a text there is not: a command, a flag.
pub(crate) fn unknown(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let joined = text.replace("\\\n", " ").replace(['[', ']', '…'], " ");
    // What follows `-n tollgate` is kubectl's.
    let lines = joined.lines().filter(|line| !line.starts_with("kubectl"));
    for command in lines.flat_map(|line| line.split("tollgate ").skip(1)) {
        let command = command.split([';', '|', '>', '&', '#', ')']).next().unwrap_or_default();
        let words: Vec<&str> = command.split_whitespace().take_while(|word| *word != "--").collect();
        let mut path: Vec<&str> = Vec::new();
        let mut said = help(&path);
        while said.out.contains("\nCommands:\n") {
            let Some(word) =
                words.get(path.len()).filter(|word| word.starts_with(|c: char| c.is_ascii_lowercase()))
            else {
                break;
            };
            path.push(word);
            said = help(&path);
        }
        if said.code != 0 {
            wrong.push(format!("`tollgate {}`: {}", path.join(" "), said.err.trim()));
            continue;
        }
        for flag in words.iter().filter(|word| word.starts_with("--")) {
            let flag = flag.split('=').next().unwrap_or_default().trim_end_matches(',');
            if !said.out.contains(flag) {
                wrong.push(format!("`tollgate {}` has no `{flag}`", path.join(" ")));
            }
        }
    }
    wrong
}
