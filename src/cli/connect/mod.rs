//! `tollgate connect`: Tollgate into a client's own file, and what it governs out of it. The file is shown, tried, kept and written
//! in this order; `--undo` goes back.

mod check;
mod elsewhere;
mod governed;
mod managed;
mod target;
mod undo;

use super::{
    args::{ClientKind, ConnectArgs, ScopeWord},
    client_config::{known_agent, started},
    clients::{KEY_VARIABLE, KeyReference, NAME, Reach, is_same_place},
    edit::{document::toml_value, file::Readers, shown::difference},
    failure::CliError,
    forbids::Look,
    init::{Folders, home},
    screen::Screen,
    setup::Setup,
};
use crate::config::CatalogMode;
use clap::ValueEnum as _;
use elsewhere::{Elsewhere, elsewhere};
use governed::Behind;
use serde_json::{Map, Value, json};
use std::{
    collections::BTreeSet,
    io::{IsTerminal as _, Write as _},
    path::{Path, PathBuf},
};
use target::{ListEdit, Plan, Removed, Target};
use undo::{Kept, Undo};

/// Does what is asked for.
pub(super) async fn connect(path: &Path, args: &ConnectArgs) -> Result<(), CliError> {
    if args.undo {
        return undo(args);
    }
    let setup = Setup::load(path)?;
    let agent = args.agent.as_deref().ok_or_else(|| {
        CliError::Told(
            "say which agent the client is: --agent NAME (`tollgate agents list` shows them)".to_owned(),
        )
    })?;
    known_agent(&setup, agent)?;
    let behind = Behind::of(&servers_toml(&setup)?);
    let endpoint = setup.loaded.config.gateway.endpoint();
    let (program, stdio) = started(&setup, agent)?;
    let http = args.http || (args.managed.is_some() && !args.stdio);
    let reach = match http {
        true => Reach::Http { url: &endpoint },
        false => Reach::Stdio { program: &program, args: &stdio },
    };
    if let Some(folder) = &args.managed {
        return managed::write(args, folder, &reach, &behind, &|| agreed(args.yes));
    }
    let (here, home) = (here()?, home());
    let folders = Folders { here: &here, home: home.as_deref() };
    let target = Target::find(args.client, args.scope, folders, &variable)?;
    let key = key_for(&target, &reach)?;
    let entry = args.client.entry(&reach, &key);
    let input = args.client.input(&reach);
    let is_endpoint = |url: &str| is_same_place(&endpoint, url);
    let plan = Plan::make(&target, folders, (&entry, input.as_ref()), &behind, &is_endpoint)?;
    let mut done = Done {
        target: &target,
        plan: &plan,
        entry: &entry,
        agent,
        silent: disabled(&setup, &plan),
        elsewhere: elsewhere(&target, folders, &behind, &is_endpoint),
        forbids: forbids(&target, folders, &entry, &endpoint),
        tools: None,
        copy: None,
        written: false,
    };
    if args.dry_run {
        return done.tell(args.json.json);
    }
    if !args.json.json {
        done.show()?;
        if plan.changes() && !agreed(args.yes)? {
            return Err(CliError::Told("nothing was written".to_owned()));
        }
    }
    if !args.no_check {
        let folder = if target.project { here.as_path() } else { home.as_deref().unwrap_or(&here) };
        let tools = check::tools(args.client, &entry, folder).await.map_err(|why| {
            CliError::Told(format!(
                "nothing was written, for {}'s next start would not work: {why}\n(--no-check writes all the same)",
                args.client.title()
            ))
        })?;
        done.silent = silent(&setup, &plan, &tools);
        done.tools = Some(tools);
    }
    if plan.changes() {
        // A file with a key in it is its owner's.
        let readers = if key.is_empty() { Readers::AsBefore } else { Readers::Owner };
        let copy = plan.opened.replace_and_keep(readers, &plan.text)?;
        Kept::of(&plan, &entry).write(&copy)?;
        done.copy = Some(copy);
        done.written = true;
    }
    done.tell(args.json.json)
}

/// What keeps the client from starting Tollgate.
fn forbids(target: &Target, folders: Folders<'_>, entry: &Value, endpoint: &str) -> Vec<String> {
    let (client, file, name, system) = (target.client, target.path.as_path(), NAME, Path::new("/"));
    let (entry, endpoint) = (Some(entry), Some(endpoint));
    Look { client, folders, file, name, entry, endpoint, system, var: &variable }.forbids()
}

/// Of what is taken out, what does not start behind the gateway, and why.
fn disabled(setup: &Setup, plan: &Plan) -> Vec<(String, String)> {
    let disabled = &setup.loaded.config.disabled;
    let missing = plan.removed.iter().filter_map(|Removed { upstream, .. }| {
        let off = disabled.get(upstream.as_str())?;
        Some((upstream.clone(), format!("it is not started: {}", off.reason)))
    });
    missing.collect()
}

/// And what has no tool among those that the agent sees.
fn silent(setup: &Setup, plan: &Plan, tools: &[String]) -> Vec<(String, String)> {
    let mut told = disabled(setup, plan);
    let config = &setup.loaded.config;
    // A catalog that is searched lists none by its name.
    let named = config.gateway.catalog == CatalogMode::Full;
    for Removed { upstream, .. } in plan.removed.iter().filter(|_| named) {
        let Some(one) = config.upstreams.get(upstream.as_str()).filter(|one| !one.prefix.is_empty()) else {
            continue;
        };
        let begins = format!("{}{}", one.prefix, config.gateway.separator);
        if !tools.iter().any(|tool| tool.starts_with(&begins)) {
            let why = "none of its tools is listed: `tollgate servers list` says how it stands";
            told.push((upstream.clone(), why.to_owned()));
        }
    }
    told
}

fn here() -> Result<PathBuf, CliError> {
    std::env::current_dir()
        .map_err(|source| CliError::Io { what: "cannot tell the working folder".to_owned(), source })
}

fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// servers.toml as it is written: references in it are no values yet.
fn servers_toml(setup: &Setup) -> Result<Map<String, Value>, CliError> {
    let text = std::fs::read_to_string(&setup.path)
        .map_err(|source| CliError::Io { what: format!("cannot read `{}`", setup.path.display()), source })?;
    toml_value(&text).map_err(CliError::Told)
}

/// The key for a client that takes no reference, which stands in a person's own file alone.
fn key_for(target: &Target, reach: &Reach<'_>) -> Result<String, CliError> {
    let title = target.client.title();
    match (reach, target.client.key()) {
        (Reach::Stdio { .. }, _) | (Reach::Http { .. }, KeyReference::Variable(_) | KeyReference::Asked) => Ok(String::new()),
        (Reach::Http { .. }, KeyReference::NoHttp) => Err(CliError::Told(format!(
            "{title} starts its servers itself, and takes addresses only from an account: leave out --http"
        ))),
        (Reach::Http { .. }, KeyReference::Written) if target.project => Err(CliError::Told(format!(
            "{title} takes no reference to a variable, and a key does not belong into a project's file, which others get: leave \
             out --http, or say --scope user"
        ))),
        (Reach::Http { .. }, KeyReference::Written) => std::env::var(KEY_VARIABLE).map_err(|_| {
            CliError::Told(format!(
                "{title} takes no reference to a variable, so the agent's key stands in its file: set {KEY_VARIABLE} to it here, or \
                 leave out --http"
            ))
        }),
    }
}

/// Whoever sits at a terminal is asked.
fn agreed(yes: bool) -> Result<bool, CliError> {
    if yes || !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        return Ok(true);
    }
    write!(std::io::stdout(), "Write this? [y/N] ")?;
    std::io::stdout().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

/// What was done, and what is told of it.
struct Done<'d> {
    target: &'d Target,
    plan: &'d Plan,
    entry: &'d Value,
    agent: &'d str,
    /// What went out and is not there behind the gateway now, and why.
    silent: Vec<(String, String)>,
    /// What the client starts from other files of its.
    elsewhere: Vec<Elsewhere>,
    /// What keeps it from starting Tollgate.
    forbids: Vec<String>,
    tools: Option<Vec<String>>,
    copy: Option<PathBuf>,
    written: bool,
}

impl Done<'_> {
    fn difference(&self) -> String {
        let name = self.target.path.display().to_string();
        difference(&name, self.plan.opened.text(), &self.plan.text)
    }

    fn show(&self) -> Result<(), CliError> {
        let mut screen = Screen::new();
        screen.line(&self.difference())?;
        for Removed { name, upstream, .. } in &self.plan.removed {
            screen.field(name, &format!("goes out: it is `{upstream}` behind Tollgate"))?;
        }
        for (name, why) in &self.plan.round {
            screen.field(name, &format!("STAYS, AND GOES ROUND THE GATEWAY: {why}"))?;
        }
        for ListEdit { map, list, comes_in } in &self.plan.lists {
            let list = format!("{}.{list}", map.join("."));
            let told = if *comes_in {
                "comes into the list of what is started"
            } else {
                "comes off the list of what is not started"
            };
            screen.field(NAME, &format!("{told} (`{list}`)"))?;
        }
        for one in &self.elsewhere {
            screen.field(&one.name, &one.told())?;
        }
        for why in &self.forbids {
            screen.field(
                "FORBIDDEN",
                &format!("{} does not start Tollgate: {why}", self.target.client.title()),
            )?;
        }
        Ok(())
    }

    fn client_key_is_written(&self) -> bool {
        self.entry.get("command").is_none() && self.target.client.key() == KeyReference::Written
    }

    fn next(&self) -> Vec<String> {
        let client = self.target.client;
        let mut next = vec![format!("start {} again", client.title())];
        next.extend(client.then(self.target.project).map(str::to_owned));
        if self.entry.get("command").is_none() && client.key() == KeyReference::Variable(key_text(client)) {
            next.push(format!(
                "set {KEY_VARIABLE} to the key of `{}` where {} runs",
                self.agent,
                client.title()
            ));
        }
        if !self.forbids.is_empty() {
            next.push(format!(
                "until that is put right, {} does not start Tollgate: {}",
                client.title(),
                self.forbids.join("; ")
            ));
        }
        let governed = || self.elsewhere.iter().filter(|one| one.stands.is_ok());
        for scope in ["project", "user"] {
            if governed().any(|one| one.scope == Some(scope)) {
                next.push(format!(
                    "`tollgate connect {} --agent {} --scope {scope}` takes what is governed out of the {scope}'s file, too",
                    client.to_possible_value().map(|word| word.get_name().to_owned()).unwrap_or_default(),
                    self.agent
                ));
            }
        }
        let others: BTreeSet<String> =
            governed().filter(|one| one.scope.is_none()).map(|one| one.file.display().to_string()).collect();
        next.extend(others.into_iter().map(|file| format!("take what is governed out of {file} yourself")));
        if !self.plan.round.is_empty() || self.elsewhere.iter().any(|one| one.stands.is_err()) {
            next.push("put what goes round the gateway into servers.toml (`tollgate init --add`), then connect once more".to_owned());
        }
        next
    }

    fn tell(&self, json: bool) -> Result<(), CliError> {
        let plan = self.plan;
        let mut screen = Screen::new();
        if json {
            return screen.json(&json!({
                "client": self.target.client.title(),
                "file": self.target.path.display().to_string(),
                "scope": if self.target.project { "project" } else { "user" },
                "agent": self.agent,
                "written": self.written,
                "changes": plan.changes(),
                "mode": plan.opened.mode().map(|mode| format!("{mode:04o}")),
                "backup": self.copy.as_ref().map(|copy| copy.display().to_string()),
                "removed": plan.removed.iter().map(|one| json!({"name": one.name, "upstream": one.upstream})).collect::<Vec<_>>(),
                "round": pairs(&plan.round, "reason"),
                "silent": pairs(&self.silent, "reason"),
                "lists": plan.lists,
                "elsewhere": self.elsewhere.iter().map(Elsewhere::json).collect::<Vec<_>>(),
                "forbids": self.forbids,
                "tools": self.tools,
                "diff": self.difference(),
                "next": self.next(),
            }));
        }
        let file = self.target.path.display();
        match (&self.copy, plan.changes()) {
            (Some(copy), _) => {
                screen.line(&format!("\nwrote {file}"))?;
                let was =
                    if plan.opened.is_there() { "it as it was" } else { "there was no file: it is empty" };
                screen.field("backup", &format!("{} ({was}; --undo goes back)", copy.display()))?;
            }
            (None, false) => screen.line(&format!("{file} has Tollgate already, as it should be"))?,
            (None, true) => {
                self.show()?;
                return screen.line("\nNothing was written: leave out --dry-run to write it.");
            }
        }
        if self.client_key_is_written() {
            let mode = plan.opened.mode().unwrap_or_default();
            screen.field("key", &format!("the agent's key stands in {file} itself (mode {mode:04o})"))?;
        }
        if let Some(tools) = &self.tools {
            screen.field(
                "tried",
                &match self.forbids.is_empty() {
                    true => format!("the client's start works: `{}` sees {} tools", self.agent, tools.len()),
                    false => format!(
                        "what stands there works, and sees {} tools, but its client does not start it",
                        tools.len()
                    ),
                },
            )?;
        }
        for (upstream, why) in &self.silent {
            let told = format!("`{upstream}` went out of the client's file, and behind Tollgate {why}");
            screen.field("missing", &told)?;
        }
        for next in self.next() {
            screen.field("next", &next)?;
        }
        Ok(())
    }
}

fn pairs(pairs: &[(String, String)], second: &str) -> Vec<Value> {
    pairs.iter().map(|(name, other)| json!({"name": name, second: other})).collect()
}

fn key_text(client: ClientKind) -> &'static str {
    match client.key() {
        KeyReference::Variable(text) => text,
        KeyReference::Asked | KeyReference::Written | KeyReference::NoHttp => "",
    }
}

/// `--undo`
fn undo(args: &ConnectArgs) -> Result<(), CliError> {
    if let Some(folder) = &args.managed {
        return managed::undo(args, folder, &|| agreed(args.yes));
    }
    let (here, home) = (here()?, home());
    let folders = Folders { here: &here, home: home.as_deref() };
    let mut target = Target::find(args.client, args.scope, folders, &variable)?;
    // The project's file may be there for other reasons than `connect`.
    if args.scope.is_none()
        && target.project
        && super::edit::file::Copies::of(&target.path).newest().is_none()
    {
        let own = Target::find(args.client, Some(ScopeWord::User), folders, &variable)?;
        if super::edit::file::Copies::of(&own.path).newest().is_some() {
            target = own;
        }
    }
    let undo = Undo::of(&target)?;
    let difference = undo.difference();
    let mut screen = Screen::new();
    if !args.json.json {
        screen.line(&difference)?;
    }
    let write = !args.dry_run && (args.json.json || agreed(args.yes)?);
    if write {
        undo.write()?;
    }
    let file = target.path.display();
    if args.json.json {
        return screen.json(&json!({
            "client": args.client.title(),
            "file": file.to_string(),
            "written": write,
            "changed_since": undo.changed_since,
            "removed_file": undo.text.is_none(),
            "diff": difference,
        }));
    }
    screen.line(&match (write, &undo.text, undo.changed_since) {
        (false, _, _) => "\nNothing was written.".to_owned(),
        (true, None, _) => format!("\nremoved {file}: there was none before"),
        (true, Some(_), false) => format!("\n{file} is as it was, byte by byte"),
        (true, Some(_), true) => format!(
            "\nTollgate is out of {file}, and what it governed is back. It was changed since by somebody else: that stayed."
        ),
    })
}
