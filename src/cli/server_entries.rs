//! `tollgate servers add | enable | disable | remove`: the tables of servers.toml, with its comments and all else as it stands.

use super::{
    args::{EntryArgs, JsonFlag},
    edit::{
        document::{Document, Format},
        file::{Opened, difference},
        yaml,
    },
    failure::CliError,
    screen::Screen,
    setup::{Setup, load},
};
use crate::policy::Authority;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// Where the tables of servers stand.
fn upstreams() -> Vec<String> {
    vec!["upstreams".to_owned()]
}

fn table_of(name: &str) -> Vec<String> {
    vec!["upstreams".to_owned(), name.to_owned()]
}

/// `servers add NAME`
pub(super) fn add(setup: &Setup, name: &str, args: &EntryArgs) -> Result<(), CliError> {
    if is_known(setup, name) {
        return Err(CliError::Told(format!("there is the server `{name}` already in servers.toml")));
    }
    let authority = &setup.loaded.policies.authority;
    for agent in &args.grant {
        if !authority.agents.contains_key(agent.as_str()) {
            return Err(CliError::Unknown {
                kind: "agent",
                name: agent.chars().take(80).collect(),
                hint: "`tollgate agents list` shows them all".to_owned(),
            });
        }
    }
    let entry = entry(args)?;
    let file = changed(setup, |document| document.set(&upstreams(), name, &entry))?;
    // Who may use it is written before it is there to be used.
    let granted = match args.grant.is_empty() {
        true => None,
        false => Some(granted(setup, authority, name, &args.grant)?),
    };
    file.write()?;
    if let Some((opened, new)) = &granted {
        opened.replace(new)?;
    }
    let next = match args.grant.is_empty() {
        true => format!(
            "No agent may use it yet: give one a capability of it in authority.yaml (`tools: [\"{name}__*\"]`), or let `--grant \
             AGENT` do so."
        ),
        false => format!("{} may use all of it, as far as policies let them.", args.grant.join(", ")),
    };
    file.tell("added", name, &next, args.json.json)
}

/// `servers enable NAME` and `servers disable NAME`
pub(super) fn switch(setup: &Setup, name: &str, on: bool, json: &JsonFlag) -> Result<(), CliError> {
    known(setup, name)?;
    let file = changed(setup, |document| document.set(&table_of(name), "enabled", &Value::Bool(on)))?;
    file.write()?;
    let next = match on {
        true => "A running gateway starts it at once; `tollgate servers list` says how it stands.",
        false => "A running gateway stops it at once. What policies say of it stays.",
    };
    file.tell(if on { "enabled" } else { "disabled" }, name, next, json.json)
}

/// `servers remove NAME`
pub(super) fn remove(setup: &Setup, name: &str, json: &JsonFlag) -> Result<(), CliError> {
    known(setup, name)?;
    let file = changed(setup, |document| document.without(&upstreams(), name))?;
    file.write()?;
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
fn entry(args: &EntryArgs) -> Result<Value, CliError> {
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
    Ok(Value::Object(entry))
}

/// authority.yaml with a capability for all of a server, and with it in the hands of these agents.
fn granted(
    setup: &Setup,
    authority: &Authority,
    name: &str,
    agents: &[String],
) -> Result<(Opened, String), CliError> {
    let opened = Opened::read(&setup.loaded.config.gateway.policies.join("authority.yaml"))?;
    let capability = format!("{name}.all");
    let edit = || {
        let mut text = opened.text().to_owned();
        if !authority.capabilities.contains_key(capability.as_str()) {
            let members = format!("tools: [\"{name}__*\"]\nprompts: [\"{name}__*\"]\n");
            text = yaml::with_entry(&text, "capabilities", &capability, &members)?;
        }
        for agent in agents {
            let of_agent = &authority.agents.get(agent.as_str())?.capabilities;
            let mut capabilities: Vec<String> = of_agent.iter().map(|id| id.to_string()).collect();
            if !capabilities.contains(&capability) {
                capabilities.push(capability.clone());
            }
            text = yaml::with_list(&text, ("agents", agent, "capabilities"), &capabilities)?;
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

/// servers.toml as it would be, read as the gateway reads it.
struct Changed {
    opened: Opened,
    text: String,
}

fn changed(
    setup: &Setup,
    edit: impl FnOnce(&Document) -> Result<Document, String>,
) -> Result<Changed, CliError> {
    let opened = Opened::read(&setup.path)?;
    let wrong = |why: String| CliError::Told(format!("`{}` was left as it is: {why}", setup.path.display()));
    let document = Document::parse(opened.text(), Format::Toml).map_err(wrong)?;
    let text = edit(&document).map_err(wrong)?.text();
    trial(&setup.path, &text)?;
    Ok(Changed { opened, text })
}

/// What would be wrong is not written.
fn trial(path: &Path, text: &str) -> Result<(), CliError> {
    let folder = path.parent().map(Path::to_owned).unwrap_or_default();
    let failed = |source| CliError::Io { what: format!("cannot write in `{}`", folder.display()), source };
    let file = tempfile::Builder::new()
        .prefix(".tollgate-trial-")
        .suffix(".toml")
        .tempfile_in(&folder)
        .map_err(failed)?;
    std::fs::write(file.path(), text).map_err(failed)?;
    match load(file.path()) {
        Ok(_) => Ok(()),
        Err(wrong) => {
            let told =
                wrong.to_string().replace(&file.path().display().to_string(), &path.display().to_string());
            Err(CliError::Told(format!("this would be wrong, and nothing was written:\n{told}")))
        }
    }
}

impl Changed {
    fn write(&self) -> Result<(), CliError> {
        match self.opened.text() == self.text {
            true => Ok(()),
            false => self.opened.replace(&self.text),
        }
    }

    fn tell(&self, what: &str, name: &str, next: &str, json: bool) -> Result<(), CliError> {
        let mut screen = Screen::new();
        let file: PathBuf = self.opened.path().to_owned();
        let changed = self.opened.text() != self.text;
        if json {
            return screen.json(&json!({
                "server": name, "done": what, "changed": changed, "file": file.display().to_string(), "next": next,
            }));
        }
        if !changed {
            return screen.line(&format!("`{name}` is {what} already: {} was left as it is", file.display()));
        }
        screen.raw(&difference(&file.display().to_string(), self.opened.text(), &self.text))?;
        screen.line(&format!("\n{what} `{name}` in {}. {next}", file.display()))
    }
}
