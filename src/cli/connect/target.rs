//! The file that is written, and what becomes of it.

use super::governed::{Behind, Standing};
use crate::cli::{
    args::{ClientKind, ScopeWord},
    clients::NAME,
    edit::{
        document::{Document, Format, toml_value},
        file::Opened,
    },
    failure::CliError,
    init::{Folders, Found, client_servers},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// Where Claude Code keeps what it knows of each project.
const PROJECTS: &str = "projects";

/// A client's file, and the maps of servers in it.
pub(super) struct Target {
    pub(super) client: ClientKind,
    pub(super) path: PathBuf,
    /// It is a project's, which others may get.
    pub(super) project: bool,
    /// Where Tollgate stands.
    pub(super) own: Vec<String>,
    /// Servers of single projects stand in it, too.
    pub(super) of_projects: bool,
    /// The working folder.
    pub(super) here: PathBuf,
}

/// A list of names in a client's file by which it starts a server, or does not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ListEdit {
    /// The map that it stands in.
    pub(super) map: Vec<String>,
    /// Its name there.
    pub(super) list: String,
    /// Tollgate's name comes in, or goes out.
    pub(super) comes_in: bool,
}

impl Target {
    /// The project's file where one is there, else the person's; or the one that is asked for.
    pub(super) fn find(
        client: ClientKind,
        scope: Option<ScopeWord>,
        folders: Folders<'_>,
        var: &dyn Fn(&str) -> Option<PathBuf>,
    ) -> Result<Self, CliError> {
        let project = client.project_file().map(|name| folders.here.join(name));
        let project = match (scope, project) {
            (Some(ScopeWord::Project), None) => {
                return Err(CliError::Told(format!(
                    "{} knows no file of a project: leave out --scope",
                    client.title()
                )));
            }
            (Some(ScopeWord::Project), file) => file,
            (Some(ScopeWord::User), _) => None,
            // A person's own settings of Codex and others are called as a project's are.
            (None, file) => file.filter(|file| file.is_file() && folders.home != Some(folders.here)),
        };
        if let Some(path) = project {
            return Ok(Self {
                client,
                path,
                project: true,
                own: vec![client.member().to_owned()],
                of_projects: false,
                here: folders.here.to_owned(),
            });
        }
        let home = folders.home.ok_or_else(|| {
            CliError::Told(
                "HOME is not set, so where your client keeps its settings cannot be told".to_owned(),
            )
        })?;
        let places = client.user_files(home, var);
        let there = places.iter().find(|place| place.is_file());
        let installed = || places.iter().find(|place| place.parent().is_some_and(Path::is_dir));
        let path = there.or_else(installed).or(places.first()).cloned().unwrap_or_default();
        Ok(Self {
            client,
            path,
            project: false,
            own: vec![client.member().to_owned()],
            // Claude Code keeps servers of single projects there, too.
            of_projects: client == ClientKind::Claude,
            here: folders.here.to_owned(),
        })
    }

    /// All maps of servers in what the file says, or said.
    pub(super) fn maps(&self, roots: &[&Map<String, Value>]) -> Vec<Vec<String>> {
        let mut maps = vec![self.own.clone()];
        let projects = roots.iter().filter_map(|root| root.get(PROJECTS)?.as_object());
        for (project, of_it) in projects.flatten().filter(|_| self.of_projects) {
            let map = vec![PROJECTS.to_owned(), project.clone(), self.client.member().to_owned()];
            if of_it.get(self.client.member()).is_some_and(Value::is_object) && !maps.contains(&map) {
                maps.push(map);
            }
        }
        maps
    }

    /// What its lists of names keep from being started: Tollgate comes into those of what is started, and out of those of what is not.
    /// So in each project in which it takes the place of what goes out.
    fn lists(&self, root: &Map<String, Value>, removed: &[Removed]) -> Vec<ListEdit> {
        let here = vec![PROJECTS.to_owned(), self.here.to_string_lossy().into_owned()];
        let known = match self.client {
            ClientKind::Gemini => {
                vec![(vec!["mcp".to_owned()], "allowed", true), (vec!["mcp".to_owned()], "excluded", false)]
            }
            ClientKind::Claude if self.of_projects => {
                let of_projects = removed.iter().filter_map(|one| match one.map.as_slice() {
                    [first, project, _] if first == PROJECTS => Some(vec![first.clone(), project.clone()]),
                    _ => None,
                });
                let all: BTreeSet<Vec<String>> = of_projects.chain([here]).collect();
                all.into_iter().map(|project| (project, "disabledMcpServers", false)).collect()
            }
            _ => Vec::new(),
        };
        let edit = |(map, list, comes_in): (Vec<String>, &str, bool)| {
            let names = servers(root, &map)?.get(list)?.as_array()?;
            let stands = names.iter().any(|name| name == NAME);
            (stands != comes_in).then(|| ListEdit { map, list: list.to_owned(), comes_in })
        };
        known.into_iter().filter_map(edit).collect()
    }

    /// What the file says, as a value.
    pub(super) fn value(&self, text: &str) -> Result<Map<String, Value>, CliError> {
        let wrong = |why: String| CliError::Told(format!("`{}`: {why}", self.path.display()));
        match self.client.format() {
            Format::Toml => toml_value(text).map_err(wrong),
            Format::Json if text.trim_start_matches('\u{feff}').trim().is_empty() => Ok(Map::new()),
            Format::Json => json_value(text).map_err(wrong),
        }
    }

    /// It, to be edited.
    pub(super) fn document(&self, text: &str) -> Result<Document, CliError> {
        Document::parse(text, self.client.format()).map_err(|why| self.wrong(&why))
    }

    pub(super) fn wrong(&self, why: &str) -> CliError {
        CliError::Told(format!("`{}` was left as it is: {why}", self.path.display()))
    }
}

fn json_value(text: &str) -> Result<Map<String, Value>, String> {
    let text = text.trim_start_matches('\u{feff}');
    match jsonc_parser::parse_to_serde_value::<Value>(text, &crate::cli::edit::document::strict()) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) => Err("it holds no object".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// The members of a map of servers.
pub(super) fn servers<'v>(root: &'v Map<String, Value>, map: &[String]) -> Option<&'v Map<String, Value>> {
    let mut at = root;
    for step in map {
        at = at.get(step)?.as_object()?;
    }
    Some(at)
}

/// A server that is taken out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Removed {
    /// The map that it stood in.
    pub(super) map: Vec<String>,
    pub(super) name: String,
    /// What it is called behind the gateway.
    pub(super) upstream: String,
}

/// What is to become of a client's file.
pub(super) struct Plan {
    pub(super) opened: Opened,
    pub(super) text: String,
    /// Servers that are taken out.
    pub(super) removed: Vec<Removed>,
    /// Servers that stay and go round the gateway, and why.
    pub(super) round: Vec<(String, String)>,
    /// Lists of names that would keep Tollgate from being started.
    pub(super) lists: Vec<ListEdit>,
}

impl Plan {
    /// Tollgate comes in, what it governs goes out, and all else stays.
    pub(super) fn make(
        target: &Target,
        folders: Folders<'_>,
        (entry, input): (&Value, Option<&Value>),
        behind: &Behind,
        is_endpoint: &dyn Fn(&str) -> bool,
    ) -> Result<Self, CliError> {
        let opened = Opened::read(&target.path)?;
        let root = target.value(opened.text())?;
        let found = match opened.text().trim().is_empty() {
            true => Vec::new(),
            false => found_in(target, folders)?,
        };
        let mut document = target.document(opened.text())?;
        let (mut removed, mut round) = (Vec::new(), Vec::new());
        for map in &target.maps(&[&root]) {
            for name in servers(&root, map).into_iter().flat_map(Map::keys) {
                let named = found.iter().filter(|one| one.name == *name && target.is_of(one, map));
                let mut stand = named.map(|one| behind.standing(one, is_endpoint));
                match stand.next().map(|first| stand.find(|other| *other != first).unwrap_or(first)) {
                    Some(Standing::Own) | Some(Standing::Off) | None => {}
                    Some(_) if name == NAME && *map == target.own && is_old(&root, map, entry) => {}
                    Some(_) if name == NAME && *map == target.own => {
                        return Err(target.wrong(&format!(
                            "`{NAME}` in it is another server: give that another name, or take it out"
                        )));
                    }
                    Some(Standing::Governed(upstream)) => {
                        document = document.without(map, name).map_err(|why| target.wrong(&why))?;
                        removed.push(Removed { map: map.clone(), name: name.clone(), upstream });
                    }
                    Some(Standing::Round(why)) => round.push((target.shown(name, map), why)),
                }
            }
        }
        let lists = target.lists(&root, &removed);
        for ListEdit { map, list, comes_in } in &lists {
            let name = Value::from(NAME);
            document = match comes_in {
                true => document.push(map, list, &name),
                false => document.without_item(map, list, &name),
            }
            .map_err(|why| target.wrong(&why))?;
        }
        document = document.set(&target.own, NAME, entry).map_err(|why| target.wrong(&why))?;
        let inputs = root.get("inputs").and_then(Value::as_array);
        let has = |input: &Value| {
            inputs.is_some_and(|inputs| inputs.iter().any(|one| one.get("id") == input.get("id")))
        };
        let input = input.filter(|input| !has(input));
        if let Some(input) = input {
            document = document.push(&[], "inputs", input).map_err(|why| target.wrong(&why))?;
        }
        let text = document.text();
        let meant = meant(&root, (&target.own, entry), input, &removed, &lists);
        match target.value(&text)? == meant {
            true => Ok(Self { opened, text, removed, round, lists }),
            // What is to be written is read once more: it says what was meant, and all else as before.
            false => Err(target.wrong(
                "it is written in a way that cannot be edited without doubt; `tollgate client-config` prints what to paste",
            )),
        }
    }

    pub(super) fn changes(&self) -> bool {
        !self.opened.is_there() || self.opened.text() != self.text
    }
}

/// What the file names, and the other files of its client that would be read here, too.
fn found_in(target: &Target, folders: Folders<'_>) -> Result<Vec<Found>, CliError> {
    client_servers(&target.path, folders).map_err(|why| CliError::Told(format!("nothing was written: {why}")))
}

/// Whether Tollgate's entry is one of before, with the same key for another address.
fn is_old(root: &Map<String, Value>, map: &[String], entry: &Value) -> bool {
    let old = servers(root, map).and_then(|servers| servers.get(NAME)).and_then(|old| old.get("headers"));
    old.is_some() && old == entry.get("headers")
}

impl Target {
    /// Whether a server that was read stands in this map.
    fn is_of(&self, found: &Found, map: &[String]) -> bool {
        let listed_for = match map {
            [first, project, _] if *map != *self.own && first == "projects" => Some(Path::new(project)),
            _ => None,
        };
        found.listed_for.as_deref() == listed_for
    }

    /// A server as people are told of it: with its project, where that is another than this.
    fn shown(&self, name: &str, map: &[String]) -> String {
        match map {
            [_, project, _] if Path::new(project) != self.here => format!("{name} (of {project})"),
            _ => name.to_owned(),
        }
    }
}

/// What the file is to say.
fn meant(
    root: &Map<String, Value>,
    (own, entry): (&[String], &Value),
    input: Option<&Value>,
    removed: &[Removed],
    lists: &[ListEdit],
) -> Map<String, Value> {
    let mut meant = root.clone();
    for Removed { map, name, .. } in removed {
        if let Some(servers) = map_at(&mut meant, map) {
            servers.remove(name);
        }
    }
    if let Some(servers) = map_at(&mut meant, own) {
        servers.insert(NAME.to_owned(), entry.clone());
    }
    if let Some(Value::Array(inputs)) = input.map(|_| meant.entry("inputs").or_insert_with(|| json!([]))) {
        inputs.extend(input.cloned());
    }
    for ListEdit { map, list, comes_in } in lists {
        let names = map_at(&mut meant, map).and_then(|map| map.get_mut(list)).and_then(Value::as_array_mut);
        match (names, comes_in) {
            (Some(names), true) => names.push(NAME.into()),
            (Some(names), false) => names.retain(|name| name != NAME),
            (None, _) => {}
        }
    }
    meant
}

/// The map that stands there, made where there is none.
fn map_at<'v>(root: &'v mut Map<String, Value>, map: &[String]) -> Option<&'v mut Map<String, Value>> {
    let mut at = root;
    for step in map {
        at = at.entry(step).or_insert_with(|| json!({})).as_object_mut()?;
    }
    Some(at)
}

/// A map of servers that is empty is one that is not there.
pub(super) fn prune(root: &mut Map<String, Value>, map: &[String]) {
    if let [only] = map
        && root.get(only).and_then(Value::as_object).is_some_and(Map::is_empty)
    {
        root.remove(only);
    }
}
