//! What the clients' files bring, as upstreams: the same server of several clients is one, each has a name that servers.toml
//! can have, and what is left out is named.

use super::{
    read::{self, Client, Folders, Found, Input, NotTaken, Place, Project, Server, Switches},
    words::{one_line, table_name},
};
use crate::cli::{args::InitArgs, clients::is_same_place, failure::CliError};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

/// What stands in where no server is found.
const BUILT_IN: [&str; 2] = ["tollgate", "demo-upstream"];

/// Where a gateway listens that was not told otherwise.
const USUAL_ENDPOINT: &str = "http://127.0.0.1:8787/mcp";

/// One upstream to be written.
pub(super) struct Upstream {
    pub(super) name: String,
    /// Where it was found, for a comment.
    pub(super) from: String,
    pub(super) server: Server,
    pub(super) enabled: bool,
    /// The folder that its client starts it in.
    pub(super) project: Option<PathBuf>,
    pub(super) switches: Switches,
    pub(super) client: Client,
    /// A person said that it may be started: in a file of their own, by naming the file, or to its client. What a project brings
    /// along says whoever wrote the project.
    pub(super) agreed: bool,
    /// What a person should know of how it was taken over.
    pub(super) notes: Vec<String>,
}

impl Upstream {
    /// What is built in goes nowhere.
    pub(super) fn is_built_in(&self) -> bool {
        matches!(&self.server, Server::Command { command, .. } if *command == BUILT_IN)
    }

    #[cfg(test)]
    pub(super) fn of(name: &str, server: Server) -> Self {
        Self {
            name: name.to_owned(),
            from: "a test".to_owned(),
            server,
            enabled: true,
            project: None,
            switches: Switches::default(),
            client: Client::Other,
            agreed: true,
            notes: Vec::new(),
        }
    }
}

/// A file or an entry that is not imported: its name, its file, and why.
pub(super) type Skipped = Vec<(String, String, String)>;

/// What is imported, and what is not and why.
#[derive(Default)]
pub(super) struct Gathered {
    pub(super) upstreams: Vec<Upstream>,
    pub(super) skipped: Skipped,
    pub(super) inputs: BTreeMap<String, Input>,
    /// Names that no upstream may have any more.
    taken: Vec<String>,
}

/// What is there already, where servers are added.
pub(super) struct Known<'k> {
    /// Names and prefixes of upstreams.
    pub(super) names: Vec<String>,
    /// The upstream that a server of a project, or of none, is already, by its name.
    pub(super) same: &'k dyn Fn(&Server, Option<&Path>) -> Option<String>,
    /// Addresses of this gateway.
    pub(super) endpoints: Vec<String>,
}

impl Default for Known<'_> {
    fn default() -> Self {
        Self { names: Vec::new(), same: &|_, _| None, endpoints: Vec::new() }
    }
}

/// The folders of whoever runs this.
pub(in crate::cli) fn home() -> Option<PathBuf> {
    std::env::var_os("HOME").or_else(|| std::env::var_os("USERPROFILE")).map(PathBuf::from)
}

/// Reads the clients' files. One that cannot be used costs itself only; where files are named and none can be used, that is an
/// error.
pub(super) fn gather(args: &InitArgs, known: &Known<'_>) -> Result<Gathered, CliError> {
    let here = std::env::current_dir()
        .map_err(|source| CliError::Io { what: "cannot tell the working folder".to_owned(), source })?;
    let home = home();
    let folders = Folders { here: &here, home: home.as_deref() };
    let mut gathered = Gathered { taken: known.names.clone(), ..Gathered::default() };
    let mut all = Vec::new();
    let mut projects: BTreeMap<PathBuf, Project> = BTreeMap::new();
    if args.from.is_empty() {
        for place in read::usual_places(folders) {
            gathered.take(&place.path, read::place(&place, folders), place.aside, &mut all, &mut projects);
        }
        gathered.of_projects(folders, &projects, &mut all);
        for Place { path, .. } in read::parents_places(folders) {
            let why =
                "Claude Code loads it here, too, and it is not imported: `--from FILE` does so".to_owned();
            gathered.skip(&path.display().to_string(), &path, why);
        }
    }
    let mut wrong = Vec::new();
    for path in &args.from {
        let read = read::file(path, folders);
        wrong.extend(read.as_ref().err().cloned());
        gathered.take(path, read, false, &mut all, &mut projects);
    }
    if !wrong.is_empty() && wrong.len() == args.from.len() {
        return Err(CliError::Told(wrong.join("\n")));
    }
    for mut found in all {
        let project = found.project.as_ref().filter(|project| found.file == project.join(".mcp.json"));
        let project = project.and_then(|project| projects.get(project));
        found.enabled &= !project.is_some_and(|project| project.off.contains(&found.name));
        let agreed = !args.from.is_empty()
            || !is_projects_own(&found, home.as_deref())
            || project.is_some_and(|project| project.on.contains(&found.name));
        gathered.add(found, agreed, known);
    }
    Ok(gathered)
}

/// It stands in a file of the project itself, which came with it.
fn is_projects_own(found: &Found, home: Option<&Path>) -> bool {
    let project = found.project.as_deref().filter(|project| Some(*project) != home);
    project.is_some_and(|project| found.file.starts_with(project))
}

impl Gathered {
    /// Takes over what a file brings.
    fn take(
        &mut self,
        path: &Path,
        read: Result<read::Read, String>,
        aside: bool,
        all: &mut Vec<Found>,
        projects: &mut BTreeMap<PathBuf, Project>,
    ) {
        match read {
            Ok(read) => {
                if read.found.is_empty() && !aside && !self.says_of_projects(&read) {
                    self.skip(&path.display().to_string(), path, "it names no server".to_owned());
                }
                self.inputs.extend(read.inputs);
                projects.extend(read.projects);
                all.extend(read.found);
            }
            Err(why) => self.skip(&path.display().to_string(), path, why),
        }
    }

    /// It switches servers of projects on and off.
    fn says_of_projects(&self, read: &read::Read) -> bool {
        read.projects.values().any(|project| !project.on.is_empty() || !project.off.is_empty())
    }

    /// The .mcp.json of Claude Code's other projects: of their servers those that a person has agreed to there.
    fn of_projects(
        &mut self,
        folders: Folders<'_>,
        projects: &BTreeMap<PathBuf, Project>,
        all: &mut Vec<Found>,
    ) {
        for (folder, project) in projects {
            let path = folder.join(".mcp.json");
            if project.on.is_empty() || folder == folders.here || !path.is_file() {
                continue;
            }
            let place =
                Place { client: Client::ClaudeCode, path, project: Some(folder.clone()), aside: true };
            match read::place(&place, folders) {
                Ok(read) => all.extend(read.found.into_iter().filter(|one| project.on.contains(&one.name))),
                Err(why) => self.skip(&place.path.display().to_string(), &place.path, why),
            }
        }
    }

    fn skip(&mut self, name: &str, file: &Path, why: String) {
        self.skipped.push((one_line(name, 300), file.display().to_string(), why));
    }

    /// The same server of several clients is one, which is on where any of them has it on.
    fn add(&mut self, found: Found, agreed: bool, known: &Known<'_>) {
        let Found { name, file, client, project, server, enabled, switches, .. } = found;
        let shown = one_line(&name, 80);
        let server = match server {
            Ok(server) if leads_to(&server, &known.endpoints) => {
                return self.skip(&shown, &file, NotTaken::Tollgate.to_string());
            }
            Ok(server) => server,
            Err(why) => return self.skip(&shown, &file, why.to_string()),
        };
        let from = format!("`{shown}` of {}", file.display());
        if let Some(there) = (known.same)(&server, project.as_deref()) {
            return self.skip(&shown, &file, format!("it is there already, as `{there}`"));
        }
        let place = started_in(&server, project.as_deref());
        let same = self.upstreams.iter_mut().find_map(|other| {
            let there = started_in(&other.server, other.project.as_deref());
            if place.is_some_and(|place| there.is_some_and(|there| there != place)) {
                return None;
            }
            let merged = merged(&other.server, &server)?;
            // What comes with a project adds nothing to a server that a person agreed to: with more it is another one.
            let own = match (other.agreed, agreed) {
                (true, false) => Some(&other.server),
                (false, true) => Some(&server),
                (true, true) | (false, false) => None,
            };
            own.is_none_or(|own| *own == merged).then_some((other, merged))
        });
        if let Some((other, merged)) = same {
            return join(other, merged, &from, Joining { server, enabled, agreed, switches, project });
        }
        let own = self.own_name(&name, client, project.as_deref());
        let mut notes = switches.lost.clone();
        if own != name {
            notes.push(match table_name(&name) == own {
                true => {
                    format!("`{shown}` of {} cannot be a table's name: it is called so here", file.display())
                }
                false => format!(
                    "`{shown}` of {} is another server of that name: it is called so here",
                    file.display()
                ),
            });
        }
        self.taken.push(own.clone());
        let new = Upstream { name: own, from, server, enabled, project, switches, client, agreed, notes };
        self.upstreams.push(new);
    }

    /// A name that is valid and free. Of two that are called alike, the later one says how it differs: its client, its
    /// project, or a number.
    fn own_name(&self, wanted: &str, client: Client, project: Option<&Path>) -> String {
        let name = table_name(wanted);
        let is_free = |name: &String| !self.taken.iter().any(|other| other.eq_ignore_ascii_case(name));
        let rival = self.upstreams.iter().find(|other| other.name.eq_ignore_ascii_case(&name));
        let of_client = (rival.is_none_or(|rival| rival.client != client))
            .then(|| table_name(&format!("{name}-{}", client.slug())));
        let of_project = project.and_then(Path::file_name).map(|folder| {
            let folder = folder.to_string_lossy();
            table_name(&format!("{name}-{folder}"))
        });
        let numbered = (2..).map(|number| format!("{name}-{number}"));
        let mut all = std::iter::once(name.clone()).chain(of_client).chain(of_project).chain(numbered);
        all.find(is_free).unwrap_or(name)
    }

    /// The demo stands in where there is no server.
    pub(super) fn or_demo(&mut self) {
        if self.upstreams.is_empty() {
            self.upstreams.push(Upstream {
                name: "demo".to_owned(),
                from: "no server was found: a small one that is built in, to try".to_owned(),
                server: Server::Command {
                    command: BUILT_IN.map(str::to_owned).to_vec(),
                    env: BTreeMap::new(),
                    cwd: None,
                    env_file: None,
                },
                enabled: true,
                project: None,
                switches: Switches::default(),
                client: Client::Other,
                agreed: true,
                notes: Vec::new(),
            });
        }
    }
}

/// The folder in which a client starts a server, where that can be told: what the same command does differs with it.
pub(super) fn started_in<'s>(server: &'s Server, project: Option<&'s Path>) -> Option<&'s Path> {
    match server {
        Server::Command { cwd, .. } => cwd.as_deref().map(Path::new).or(project),
        Server::Url { .. } => None,
    }
}

/// An entry of a client that is a server which is known already.
struct Joining {
    server: Server,
    enabled: bool,
    agreed: bool,
    switches: Switches,
    project: Option<PathBuf>,
}

/// Makes one of both. On or off is as the person has it, where one of both is a project's.
fn join(other: &mut Upstream, merged: Server, from: &str, new: Joining) {
    let Joining { server, enabled, agreed, switches, project } = new;
    let on = match (other.agreed, agreed) {
        (true, false) => other.enabled,
        (false, true) => enabled,
        (true, true) | (false, false) => other.enabled || enabled,
    };
    match (other.enabled, enabled) {
        (false, true) if on => other.from = format!("{from} (on there), off as {}", other.from),
        (true, false) if on => other.from.push_str(&format!("; off as {from}")),
        (_, _) => other.from.push_str(&format!("; also {from}")),
    }
    if other.agreed != agreed {
        if agreed {
            (other.agreed, other.enabled) = (true, on);
            (other.server, other.switches, other.project) = (merged, switches, project);
        }
        return;
    }
    // One that is started takes nothing over from one that is not: what that needs may be missing here.
    let merged = match (other.enabled, enabled) {
        (true, false) => other.server.clone(),
        (false, true) => server.clone(),
        (true, true) | (false, false) => merged,
    };
    let both = other.enabled == enabled;
    other.server = if both { passing(merged, &other.server, &server) } else { merged };
    if both {
        other.notes.extend(other.switches.narrow(switches, from));
    } else if enabled {
        (other.switches, other.project) = (switches, project);
    }
    other.enabled = on;
}

/// The two as one, where they are the same server: reached alike, and with the same variables as far as both name them.
fn merged(one: &Server, other: &Server) -> Option<Server> {
    match (one, other) {
        (
            Server::Command { command, env, cwd, env_file },
            Server::Command { command: c, env: e, cwd: w, env_file: f },
        ) if same_words(command, c) && cwd == w && env_file == f => {
            let env = both(env, e)?;
            Some(Server::Command { command: command.clone(), env, cwd: cwd.clone(), env_file: f.clone() })
        }
        (Server::Url { url, headers, sse }, Server::Url { url: u, headers: h, sse: s })
            if same_url(url, u) =>
        {
            let headers = both(headers, h)?;
            // Whichever of the two says nothing leaves it to be found out.
            Some(Server::Url { url: url.clone(), headers, sse: *sse && *s })
        }
        _ => None,
    }
}

fn same_words(one: &[String], other: &[String]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(a, b)| ours(a) == ours(b))
}

fn same_url(one: &str, other: &str) -> bool {
    let plain = |url: &str| ours(url).trim_end_matches('/').to_owned();
    plain(one) == plain(other)
}

/// A reference as all clients could write it.
fn ours(text: &str) -> String {
    text.replace("${env:", "${")
}

/// The larger of two tables, where it has all of the other.
fn both(
    one: &BTreeMap<String, String>,
    other: &BTreeMap<String, String>,
) -> Option<BTreeMap<String, String>> {
    let has_all = |large: &BTreeMap<String, String>, small: &BTreeMap<String, String>| {
        small.iter().all(|(name, value)| large.get(name).is_some_and(|own| ours(own) == ours(value)))
    };
    match (has_all(one, other), has_all(other, one)) {
        (true, _) => Some(one.clone()),
        (false, true) => Some(other.clone()),
        (false, false) => None,
    }
}

/// The larger of two that are one, where it is needed by none that only one of them passes a variable on: it is passed on where it is
/// set.
fn passing(merged: Server, one: &Server, other: &Server) -> Server {
    let Server::Command { command, env, cwd, env_file } = merged else { return merged };
    let has = |server: &Server, name: &String| match server {
        Server::Command { env, .. } => env.contains_key(name),
        Server::Url { .. } => false,
    };
    let value = |(name, value): (String, String)| {
        let needed = has(one, &name) && has(other, &name);
        let passed = !needed && ours(&value) == format!("${{{name}}}");
        let value = if passed { format!("${{{name}:-}}") } else { value };
        (name, value)
    };
    Server::Command { command, env: env.into_iter().map(value).collect(), cwd, env_file }
}

/// Whether a server is a gateway: by its address, or a program that is given that address.
fn leads_to(server: &Server, endpoints: &[String]) -> bool {
    let words: BTreeSet<&str> = match server {
        Server::Command { command, .. } => command.iter().map(String::as_str).collect(),
        Server::Url { url, .. } => [url.as_str()].into(),
    };
    // Where a gateway is set up already, it says where it is.
    let usual = Some(USUAL_ENDPOINT).filter(|_| endpoints.is_empty());
    let mut own = endpoints.iter().map(String::as_str).chain(usual);
    own.any(|own| words.iter().any(|word| is_same_place(own, word)))
}
