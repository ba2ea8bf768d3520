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
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// A client's file, and the maps of servers in it.
pub(super) struct Target {
    pub(super) client: ClientKind,
    pub(super) path: PathBuf,
    /// It is a project's, which others may get.
    pub(super) project: bool,
    /// Where Tollgate stands.
    pub(super) own: Vec<String>,
    /// Where else servers stand that this file's client would start here.
    pub(super) also: Vec<Vec<String>>,
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
                also: Vec::new(),
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
        // Claude Code keeps servers of single projects there, too.
        let also = match client {
            ClientKind::Claude => {
                let here = folders.here.to_string_lossy().into_owned();
                vec![vec!["projects".to_owned(), here, client.member().to_owned()]]
            }
            _ => Vec::new(),
        };
        Ok(Self { client, path, project: false, own: vec![client.member().to_owned()], also })
    }

    /// All maps of servers in it.
    pub(super) fn maps(&self) -> impl Iterator<Item = &Vec<String>> {
        std::iter::once(&self.own).chain(&self.also)
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
        for map in target.maps() {
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
                    Some(Standing::Round(why)) => round.push((name.clone(), why)),
                }
            }
        }
        document = document.set(&target.own, NAME, entry).map_err(|why| target.wrong(&why))?;
        let inputs = root.get("inputs").and_then(Value::as_array);
        let has = |input: &Value| {
            inputs.is_some_and(|inputs| inputs.iter().any(|one| one.get("id") == input.get("id")))
        };
        if let Some(input) = input.filter(|input| !has(input)) {
            document = document.push("inputs", input).map_err(|why| target.wrong(&why))?;
        }
        let text = document.text();
        target.holds(&text, &root, entry, &removed)?;
        Ok(Self { opened, text, removed, round })
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

    /// What is to be written is read once more: it says what was meant, and all else as before.
    fn holds(
        &self,
        text: &str,
        before: &Map<String, Value>,
        entry: &Value,
        removed: &[Removed],
    ) -> Result<(), CliError> {
        let mut now = self.value(text)?;
        let mut before = before.clone();
        let is_entry = servers(&now, &self.own).and_then(|servers| servers.get(NAME)) == Some(entry);
        for root in [&mut now, &mut before] {
            for map in self.maps() {
                let gone: Vec<&str> =
                    removed.iter().filter(|one| one.map == *map).map(|one| one.name.as_str()).collect();
                strip(root, map, &gone);
            }
            root.remove("inputs");
            prune(root, &self.own);
        }
        match is_entry && now == before {
            true => Ok(()),
            false => Err(self.wrong("it is written in a way that cannot be edited without doubt; `tollgate client-config` prints what to paste")),
        }
    }
}

fn strip(root: &mut Map<String, Value>, map: &[String], removed: &[&str]) {
    let Some((first, rest)) = map.split_first() else {
        root.retain(|name, _| name != NAME && !removed.contains(&name.as_str()));
        return;
    };
    if let Some(Value::Object(inner)) = root.get_mut(first) {
        strip(inner, rest, removed);
    }
}

/// A map of servers that is empty is one that is not there.
pub(super) fn prune(root: &mut Map<String, Value>, map: &[String]) {
    if let [only] = map
        && root.get(only).and_then(Value::as_object).is_some_and(Map::is_empty)
    {
        root.remove(only);
    }
}
