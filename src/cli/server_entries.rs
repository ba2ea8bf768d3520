//! `tollgate servers add | enable | disable | remove`: the tables of servers.toml, with its comments and all else as it stands.

use super::{
    args::{EntryArgs, JsonFlag},
    edit::{
        changes::Changes,
        document::{Document, Format, toml_value},
        file::{Opened, Readers, retried},
        shown::difference,
        yaml,
    },
    environment::Environment,
    failure::CliError,
    init::{Apart, capability_of, secrets_apart},
    keys::{environment, in_force},
    known,
    screen::Screen,
    setup::Setup,
};
use crate::config::Loaded;
use serde_json::{Map, Value, json};
use std::path::Path;

/// Where the tables of servers stand.
fn upstreams() -> Vec<String> {
    vec!["upstreams".to_owned()]
}

fn table_of(name: &str) -> Vec<String> {
    vec!["upstreams".to_owned(), name.to_owned()]
}

/// `servers add NAME`
pub(super) fn add(setup: &Setup, name: &str, args: &EntryArgs) -> Result<(), CliError> {
    let there = || CliError::Told(format!("there is the server `{name}` already in servers.toml"));
    if is_known(setup, name) {
        return Err(there());
    }
    for agent in &args.grant {
        if !setup.loaded.policies.authority.agents.contains_key(agent.as_str()) {
            return Err(CliError::Unknown {
                kind: "agent",
                name: agent.chars().take(80).collect(),
                hint: "`tollgate agents list` shows them all".to_owned(),
            });
        }
    }
    let entry = entry(args)?;
    let done = retried(|| {
        let mut changes = Changes::default();
        let mut apart = secrets_apart(&setup.path, name, &entry)?;
        if let Some((opened, text)) = apart.file.take() {
            changes.first(opened, text, Readers::NotOthers);
        }
        // Who may use it is written before it is there to be used.
        if !args.grant.is_empty() {
            let (opened, new) = granted(setup, name, &args.grant)?;
            changes.push(opened, new);
        }
        let made = Edit::make(setup, changes, &apart.environment, |text, document| {
            match named(text).contains(&name.to_owned()) {
                true => Err(there()),
                false => document.set(&upstreams(), name, &apart.entry).map_err(|why| left(setup, &why)),
            }
        });
        made.map(|made| Edit { apart: Some(apart), ..made })
    })?;
    let next = match (args.grant.is_empty(), &setup.standing.held) {
        (true, _) => format!(
            "No agent may use it yet: give one a capability of it in authority.yaml (`tools: [\"{}\"]`), or let `--grant AGENT` \
             do so.",
            all_of(setup, name)
        ),
        (false, None) => format!("{} may use all of it, as far as policies let them.", args.grant.join(", ")),
        (false, Some(_)) => {
            format!("{} may use it once that is in force. {}", args.grant.join(", "), in_force(setup))
        }
    };
    done.tell("added", name, &next, args.json.json)
}

/// `servers enable NAME` and `servers disable NAME`
pub(super) fn switch(setup: &Setup, name: &str, on: bool, json: &JsonFlag) -> Result<(), CliError> {
    known(setup, name)?;
    let file = edited(setup, &|document| document.set(&table_of(name), "enabled", &Value::Bool(on)))?;
    let next = match on {
        true => "A running gateway starts it at once; `tollgate servers list` says how it stands.",
        false => "A running gateway stops it at once. What policies say of it stays.",
    };
    file.tell(if on { "enabled" } else { "disabled" }, name, next, json.json)
}

/// `servers remove NAME`
pub(super) fn remove(setup: &Setup, name: &str, json: &JsonFlag) -> Result<(), CliError> {
    known(setup, name)?;
    let file = edited(setup, &|document| document.without(&upstreams(), name))?;
    let next =
        "A running gateway stops it at once. `tollgate check` says what in policies/ names nothing any more.";
    file.tell("removed", name, next, json.json)
}

fn is_known(setup: &Setup, name: &str) -> bool {
    let config = &setup.loaded.config;
    config.upstreams.keys().chain(config.disabled.keys()).any(|known| known.as_str() == name)
}

fn known(setup: &Setup, name: &str) -> Result<(), CliError> {
    match is_known(setup, name) {
        true => Ok(()),
        false => Err(CliError::Unknown {
            kind: "server",
            name: name.chars().take(80).collect(),
            hint: "`tollgate servers list` shows those of servers.toml".to_owned(),
        }),
    }
}

/// The table of a new server.
fn entry(args: &EntryArgs) -> Result<Map<String, Value>, CliError> {
    let mut entry = Map::new();
    match (&args.url, args.command.as_slice()) {
        (Some(url), []) => drop(entry.insert("url".to_owned(), json!(url))),
        (None, [_, ..]) => drop(entry.insert("command".to_owned(), json!(args.command))),
        (Some(_), [_, ..]) | (None, []) => {
            return Err(CliError::Told(
                "say what it is: `--url URL`, or its command behind `--` (tollgate servers add files -- npx -y \
                 @modelcontextprotocol/server-filesystem /srv/docs)"
                    .to_owned(),
            ));
        }
    }
    if let Some(cwd) = &args.cwd {
        entry.insert("cwd".to_owned(), json!(cwd));
    }
    for (member, pairs, mark) in [("env", &args.env, '='), ("headers", &args.header, ':')] {
        let mut read = Map::new();
        for pair in pairs {
            let (name, value) = pair.split_once(mark).ok_or_else(|| {
                CliError::Told(format!(
                    "`{member}` takes NAME{mark}VALUE; a secret is named: NAME{mark}${{VARIABLE}}"
                ))
            })?;
            read.insert(name.trim().to_owned(), json!(value.trim()));
        }
        if !read.is_empty() {
            entry.insert(member.to_owned(), Value::Object(read));
        }
    }
    if args.trust_annotations {
        entry.insert("trust_annotations".to_owned(), json!(true));
    }
    Ok(entry)
}

/// All that a server lists, by the names that agents see.
fn all_of(setup: &Setup, name: &str) -> String {
    format!("{name}{}**", setup.loaded.config.gateway.separator)
}

/// authority.yaml with a capability for all of a server, and with it in the hands of these agents.
fn granted(setup: &Setup, name: &str, agents: &[String]) -> Result<(Opened, String), CliError> {
    let opened = Opened::read(&setup.loaded.config.gateway.policies.join("authority.yaml"))?;
    let capability = capability_of(name);
    let all = json!([all_of(setup, name)]);
    let meant = json!({"tools": all, "prompts": all});
    let there = yaml::entry(opened.text(), "capabilities", &capability);
    // Whatever else one of that name says was not meant for these agents.
    if there.as_ref().is_some_and(|there| *there != meant) {
        return Err(CliError::Told(format!(
            "`{}` has the capability `{capability}` already, and it says something else than all of `{name}`: nothing was changed. \
             Leave out --grant, and give the agents what they are to have in that file",
            opened.path().display()
        )));
    }
    let edit = || {
        let mut text = opened.text().to_owned();
        if there.is_none() {
            let members = format!("tools: {all}\nprompts: {all}\n");
            text = yaml::with_entry(&text, "capabilities", &capability, &members)?;
        }
        for agent in agents {
            let place = ("agents", agent.as_str(), "capabilities");
            let mut capabilities = yaml::list(&text, place)?;
            if !capabilities.contains(&capability) {
                capabilities.push(capability.clone());
            }
            text = yaml::with_list(&text, place, &capabilities)?;
        }
        Some(text)
    };
    match edit() {
        Some(text) => Ok((opened, text)),
        None => Err(CliError::Told(format!(
            "`{}` is written in a way that cannot be edited without doubt, and nothing was changed: leave out --grant, and write the \
             capability yourself",
            opened.path().display()
        ))),
    }
}

/// The names of the servers in a servers.toml.
fn named(text: &str) -> Vec<String> {
    let root = toml_value(text).unwrap_or_default();
    let upstreams = root.get("upstreams").and_then(Value::as_object);
    upstreams.map(|upstreams| upstreams.keys().cloned().collect()).unwrap_or_default()
}

fn left(setup: &Setup, why: &str) -> CliError {
    CliError::Told(format!("`{}` was left as it is: {why}", setup.path.display()))
}

/// An edit of servers.toml alone.
fn edited(setup: &Setup, edit: &dyn Fn(Document) -> Result<Document, String>) -> Result<Edit, CliError> {
    retried(|| {
        Edit::make(setup, Changes::default(), &environment(setup)?, |_, document| {
            edit(document).map_err(|why| left(setup, &why))
        })
    })
}

/// What was written.
struct Edit {
    changes: Changes,
    /// What servers.toml comes to.
    loaded: Loaded,
    /// Values that went into the file of variables.
    apart: Option<Apart>,
}

impl Edit {
    /// Changes servers.toml, and writes it with what else changes, where what comes of it can be used.
    fn make(
        setup: &Setup,
        mut changes: Changes,
        environment: &Environment,
        edit: impl FnOnce(&str, Document) -> Result<Document, CliError>,
    ) -> Result<Self, CliError> {
        let opened = Opened::read(&setup.path)?;
        let document = Document::parse(opened.text(), Format::Toml).map_err(|why| left(setup, &why))?;
        let text = edit(opened.text(), document)?.text();
        changes.push(opened, text);
        let loaded = changes.tried(setup, environment, &known::remembered)?;
        changes.write()?;
        Ok(Self { changes, loaded, apart: None })
    }

    fn tell(&self, what: &str, name: &str, next: &str, json: bool) -> Result<(), CliError> {
        let mut screen = Screen::new();
        let Some((file, before, after)) = self.changes.iter().last() else { return Ok(()) };
        let file = file.display();
        let changed = before != after;
        // Why it is not started, where nobody has switched it off.
        let disabled = self.loaded.config.disabled.iter().find(|(other, _)| other.as_str() == name);
        let off = disabled.filter(|(_, off)| !off.switched_off).map(|(_, off)| off.reason.clone());
        let apart = self.apart.as_ref().filter(|apart| !apart.names.is_empty());
        if json {
            return screen.json(&json!({
                "server": name, "done": what, "changed": changed, "file": file.to_string(), "next": next,
                "not_started": off,
                "env_file": apart.map(|apart| apart.path.display().to_string()),
                "kept": apart.into_iter().flat_map(|apart| &apart.names).map(|(name, _)| name).collect::<Vec<_>>(),
            }));
        }
        if !changed {
            return screen.line(&format!("`{name}` is {what} already: {file} was left as it is"));
        }
        let is_shown = |path: &Path| apart.is_none_or(|apart| apart.path != path);
        for (path, before, after) in self.changes.iter().filter(|(_, before, after)| before != after) {
            if is_shown(path) {
                screen.line(difference(&path.display().to_string(), before, after).trim_end())?;
            }
        }
        screen.line(&format!("\n{what} `{name}` in {file}. {next}"))?;
        if let Some(apart) = apart {
            let mode = Opened::read(&apart.path)?.mode().unwrap_or_default();
            let path = apart.path.display();
            screen.line(&format!(
                "What looks like a secret went into {path} (mode {mode:04o}), and servers.toml names it:"
            ))?;
            for (variable, what) in &apart.names {
                screen.field(variable, what)?;
            }
        }
        match off {
            Some(reason) => screen.line(&format!("It is not started yet: {reason}")),
            None => Ok(()),
        }
    }
}
