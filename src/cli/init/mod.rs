//! `tollgate init`: a first servers.toml and policies/, with the servers that this machine's MCP clients have already. All
//! of it is written, or nothing.

mod read;
mod variables;
mod write;

use super::{args::InitArgs, failure::CliError, keys, screen::Screen};
use crate::{clock::System, config};
use read::Input;
pub(super) use read::{Folders, Found, Server, client_servers, usual_places};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};
use variables::Variables;
use write::Upstream;

/// What stands in where no server is found.
const BUILT_IN: [&str; 2] = ["tollgate", "demo-upstream"];

/// The person that is made.
const PERSON: &str = "admin";

/// Reads, writes, and says what to do next.
pub(super) fn init(servers_toml: &Path, args: &InitArgs) -> Result<(), CliError> {
    let folder = servers_toml.parent().map(Path::to_owned).unwrap_or_default();
    let policies = folder.join("policies");
    if !args.force && !args.dry_run {
        for existing in [servers_toml, policies.as_path()] {
            if existing.exists() {
                return Err(CliError::Told(format!(
                    "`{}` is there already and is not overwritten: --force moves it aside, --config FILE names another place",
                    existing.display()
                )));
            }
        }
    }
    let Gathered { upstreams, skipped, inputs } = gather(args)?;
    let system = System::default();
    let (agent_key, person_key) = (keys::fresh(&system), keys::fresh(&system));
    // What is built in goes nowhere.
    let goes_out =
        |server: &Server| matches!(server, Server::Command { command, .. } if *command != BUILT_IN);
    let started = upstreams.iter().any(|upstream| goes_out(&upstream.server));
    let is_set = |name: &str| started && std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let passed = write::network(is_set);
    let (servers, variables) = write::servers("staging", &upstreams, &inputs, &passed);
    let bundle = write::policies(&upstreams, (&args.agent, &agent_key.digest), (PERSON, &person_key.digest));
    if !args.dry_run {
        put(servers_toml, &policies, &servers, &bundle, args.force)?;
    }
    let made = Made {
        servers_toml,
        upstreams: &upstreams,
        skipped: &skipped,
        variables: &variables,
        passed: &passed,
        agent: (&args.agent, &agent_key.key),
        person_key: &person_key.key,
    };
    match (args.json, args.dry_run) {
        (true, dry_run) => Screen::new().json(&made.json(!dry_run)),
        (false, true) => made.shown_only(&servers, &bundle),
        (false, false) => made.told(&policies),
    }
}

/// What `init` made, and what a person or a program is told of it.
struct Made<'m> {
    servers_toml: &'m Path,
    upstreams: &'m [Upstream],
    skipped: &'m Skipped,
    variables: &'m Variables,
    /// Variables of the network that are passed on.
    passed: &'m [&'m str],
    /// Its name and its key.
    agent: (&'m str, &'m str),
    person_key: &'m str,
}

impl Made<'_> {
    fn json(&self, written: bool) -> Value {
        let mut told = write::told(self.upstreams, self.variables, self.passed);
        if let Some(told) = told.as_object_mut() {
            let skipped = self.skipped.iter();
            let skipped: Vec<_> =
                skipped.map(|(name, file, why)| json!({"name": name, "file": file, "reason": why})).collect();
            let (agent, key) = self.agent;
            told.insert("skipped".to_owned(), skipped.into());
            told.insert("servers_toml".to_owned(), self.servers_toml.display().to_string().into());
            told.insert("written".to_owned(), written.into());
            told.insert("agent".to_owned(), json!({"name": agent, "key": key}));
            told.insert("person".to_owned(), json!({"name": PERSON, "key": self.person_key}));
        }
        told
    }

    /// The files as they would be.
    fn shown_only(&self, servers: &str, bundle: &[(&'static str, String)]) -> Result<(), CliError> {
        let mut screen = Screen::new();
        screen.raw(servers)?;
        for (name, text) in bundle {
            screen.raw(&format!("\n# policies/{name}\n{text}"))?;
        }
        screen.line("")?;
        left_out(&mut screen, self.skipped)?;
        screen.line("Nothing was written: leave out --dry-run to write it.")
    }

    /// What was written, the keys, and what to do next.
    fn told(&self, policies: &Path) -> Result<(), CliError> {
        let (agent, key) = self.agent;
        let mut screen = Screen::new();
        screen.line(&format!("wrote {} and {}", self.servers_toml.display(), policies.display()))?;
        for upstream in self.upstreams {
            screen.field(&upstream.name, &upstream.from)?;
        }
        left_out(&mut screen, self.skipped)?;
        screen.line("")?;
        screen.field("agent key", &format!("{key}   (of `{agent}`)"))?;
        screen.field("person's key", &format!("{}   (of `{PERSON}`, for TOLLGATE_KEY)", self.person_key))?;
        screen.line("These are shown once: the files hold only their SHA-256.")?;
        if !self.passed.is_empty() {
            screen.line(&format!(
                "\nPassed on to the servers, as they are set where Tollgate runs: {}",
                self.passed.join(", ")
            ))?;
        }
        screen.line(
            "\nNobody is asked about tools that their server marks as only reading; a person is asked about every other.\n\
             A server whose marks you do not believe: trust_annotations = false in its table of servers.toml.",
        )?;
        if !self.variables.needed.is_empty() {
            screen.line("\nSet these where Tollgate runs:")?;
            for (name, what) in &self.variables.needed {
                screen.field(name, what)?;
            }
            if self.variables.stand_for_values() {
                screen.line(
                    "Values that looked like secrets were not copied: the list says where each stood.",
                )?;
            }
        }
        screen.line(&format!(
            "\nNext: tollgate check, tollgate serve, tollgate client-config claude --agent {agent}"
        ))
    }
}

fn left_out(screen: &mut Screen, skipped: &Skipped) -> Result<(), CliError> {
    skipped.iter().try_for_each(|(name, file, why)| screen.field(name, &format!("left out ({file}): {why}")))
}

/// The folder of whoever is typing.
pub(super) fn home() -> Option<PathBuf> {
    std::env::var_os("HOME").or_else(|| std::env::var_os("USERPROFILE")).map(PathBuf::from)
}

type Skipped = Vec<(String, String, String)>;

/// What is imported, and what is not and why.
#[derive(Default)]
struct Gathered {
    upstreams: Vec<Upstream>,
    skipped: Skipped,
    inputs: BTreeMap<String, Input>,
}

/// Reads the clients' files. One that cannot be used costs itself only, unless it was asked for by name. Without any
/// server the demo stands in.
fn gather(args: &InitArgs) -> Result<Gathered, CliError> {
    let here = std::env::current_dir()
        .map_err(|source| CliError::Io { what: "cannot tell the working folder".to_owned(), source })?;
    let home = home();
    let folders = Folders { here: &here, home: home.as_deref() };
    let files =
        if args.from.is_empty() { read::usual_places(&here, home.as_deref()) } else { args.from.clone() };
    let mut gathered = Gathered::default();
    // Claude Code keeps elsewhere which servers of a project's own file it does not start.
    let mut off = Vec::new();
    let mut all = Vec::new();
    for file in files {
        match read::file(&file, folders) {
            Ok(read) => {
                if read.found.is_empty() && read.off_in_project.is_empty() {
                    gathered.skip(&file.display().to_string(), &file, "it names no server".to_owned());
                }
                gathered.inputs.extend(read.inputs);
                off.extend(read.off_in_project);
                all.extend(read.found);
            }
            Err(why) if args.from.is_empty() => gathered.skip(&file.display().to_string(), &file, why),
            Err(why) => return Err(CliError::Told(why)),
        }
    }
    for mut found in all {
        found.enabled &= found.file != here.join(".mcp.json") || !off.contains(&found.name);
        gathered.add(found);
    }
    if gathered.upstreams.is_empty() {
        gathered.upstreams.push(Upstream {
            name: "demo".to_owned(),
            from: "no server was found: a small one that is built in, to try".to_owned(),
            server: Server::Command {
                command: BUILT_IN.map(str::to_owned).to_vec(),
                env: Default::default(),
                cwd: None,
                env_file: None,
            },
            enabled: true,
        });
    }
    Ok(gathered)
}

impl Gathered {
    fn skip(&mut self, name: &str, file: &Path, why: String) {
        self.skipped.push((one_line(name, 300), file.display().to_string(), why));
    }

    /// The same server of several clients is one, which is on where any of them has it on.
    fn add(&mut self, Found { name, file, server, enabled }: Found) {
        let server = match server {
            Ok(server) => server,
            Err(why) => return self.skip(&one_line(&name, 80), &file, why),
        };
        let from = format!("`{}` of {}", one_line(&name, 80), file.display());
        if let Some(known) = self.upstreams.iter_mut().find(|known| known.server == server) {
            match (known.enabled, enabled) {
                (false, true) => known.from = format!("{from} (on there), off as {}", known.from),
                (true, false) => known.from.push_str(&format!("; off as {from}")),
                (true, true) | (false, false) => known.from.push_str(&format!("; also {from}")),
            }
            known.enabled |= enabled;
            return;
        }
        let taken: Vec<String> = self.upstreams.iter().map(|known| known.name.clone()).collect();
        self.upstreams.push(Upstream { name: write::name(&name, &taken), from, server, enabled });
    }
}

fn one_line(name: &str, most: usize) -> String {
    name.chars().map(|c| if c.is_control() { ' ' } else { c }).take(most).collect()
}

/// Writes everything beside its place, reads it as the gateway would, and only then moves it there.
fn put(
    servers_toml: &Path,
    policies: &Path,
    servers: &str,
    bundle: &[(&'static str, String)],
    force: bool,
) -> Result<(), CliError> {
    let failed = |what: &Path| {
        let what = format!("cannot write `{}`", what.display());
        move |source| CliError::Io { what, source }
    };
    let folder = servers_toml.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(failed(folder))?;
    let staging =
        tempfile::Builder::new().prefix(".tollgate-init-").tempdir_in(folder).map_err(failed(folder))?;
    let (new_servers, new_policies) = (staging.path().join("servers.toml"), staging.path().join("policies"));
    private(&new_servers, servers).map_err(failed(&new_servers))?;
    let new_tests = new_policies.join("tests");
    fs::create_dir_all(&new_tests).map_err(failed(&new_tests))?;
    for (name, text) in bundle {
        let path = new_policies.join(name);
        private(&path, text).map_err(failed(&path))?;
    }
    // What stands for a secret is set only where Tollgate runs.
    config::load(&new_servers, &|name| Some(std::env::var(name).unwrap_or_else(|_| "unset".to_owned())))
        .map_err(|problems| {
            CliError::Told(format!("what would be written is not right, and was not written:\n{problems}"))
        })?;
    if force {
        for old in [servers_toml, policies] {
            if old.exists() {
                fs::rename(old, aside(old)).map_err(failed(old))?;
            }
        }
    }
    sync_folder(&new_tests).map_err(failed(&new_tests))?;
    sync_folder(&new_policies).map_err(failed(&new_policies))?;
    fs::rename(&new_policies, policies).map_err(failed(policies))?;
    if let Err(source) = fs::rename(&new_servers, servers_toml) {
        // All or nothing.
        fs::remove_dir_all(policies).ok();
        return Err(failed(servers_toml)(source));
    }
    sync_folder(folder).map_err(failed(folder))
}

/// A name beside it that is free.
fn aside(path: &Path) -> PathBuf {
    let named = |number: u32| {
        let mut name = path.file_name().unwrap_or_default().to_os_string();
        name.push(format!(".old-{number}"));
        path.with_file_name(name)
    };
    (1..).map(named).find(|path| !path.exists()).unwrap_or_else(|| named(0))
}

/// A file that only its owner reads.
fn private(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    let mut file = options.open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// What was moved into a folder is there after a power loss too.
fn sync_folder(path: &Path) -> std::io::Result<()> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    fs::File::open(path)?.sync_all()
}
