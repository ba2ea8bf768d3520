//! `init --add`: takes over what is new in the clients' files. servers.toml and the bundle are added to; what stands in them stays
//! as it is, comments and all.

use super::{
    ask, bundle, confirm,
    gather::{self, Gathered, Known, Upstream},
    keeps,
    keychain::Keychain,
    look::Looked,
    passed,
    read::Server,
    set_here,
    start::{self, Starts},
    told,
    variables::Variables,
    write,
};
use crate::{
    cli::{
        args::{FIRST_AGENT, InitArgs},
        edit::{
            changes::Changes,
            file::{Opened, Readers},
            yaml,
        },
        environment::Environment,
        failure::CliError,
        setup::Setup,
    },
    config::{self, Listings, Loaded},
    model::UpstreamName,
};
use secrecy::SecretString;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// Adds what is new.
pub(super) async fn add(servers_toml: &Path, args: &InitArgs) -> Result<(), CliError> {
    let setup = Setup::load_folder(servers_toml)?;
    // What is written is made of what they say now, and refused where they say something else then.
    let opened = Opened::read(servers_toml)?;
    let authority = Opened::read(&setup.loaded.config.gateway.policies.join("authority.yaml"))?;
    let file = config::variables_file(servers_toml);
    let variables_file = Opened::read(&file)?;
    let kept = config::variables_beside(servers_toml).map_err(CliError::Told)?;
    let Gathered { mut upstreams, skipped, inputs, .. } = new_ones(&setup, &opened, &kept, args)?;
    let asks = !args.yes && !args.dry_run && !args.json && ask::is_terminal();
    if asks {
        told::found(&upstreams, &skipped)?;
        super::agree(&mut upstreams).await?;
    } else if args.yes {
        told::agreed(&mut upstreams);
    }
    told::left_off(&mut upstreams);
    // A name that servers.toml has means what it means there.
    let mut taken = set_here();
    taken.extend(write::named_in(opened.text()).into_iter().map(|name| (name, None)));
    taken.extend(Keychain::names_in(servers_toml, opened.text()).into_iter().map(|name| (name, None)));
    taken.extend(kept.iter().map(|(name, value)| (name.clone(), Some(value.clone()))));
    let passed = passed(&upstreams);
    let folder = servers_toml.parent().map(Path::to_owned).unwrap_or_default();
    let mut variables = Variables::with(&inputs).beside(taken);
    let tables = write::tables(&upstreams, &passed, &folder, &mut variables);
    if asks {
        super::answered(&mut variables).await?;
    }
    let kept_in = keeps(args, &variables, asks, servers_toml).await?;
    let mut values = kept.clone();
    values.extend(variables.known().into_iter().map(|(name, value)| (name.to_owned(), value.clone())));
    let mut draft = Draft {
        setup: &setup,
        upstreams: &upstreams,
        tables,
        opened: &opened,
        authority: &authority,
        environment: Environment::with(values),
    };
    let (looked, starts) = draft.looked(args, asks).await?;
    // What was started was given the values themselves.
    let known = variables.known();
    draft.tables = draft.tables.into_iter().map(|table| kept_in.referred(table, &known)).collect();
    let in_keychain = if args.dry_run { None } else { kept_in.put(&known)? };
    let servers = draft.servers(&looked, &starts.issuers);
    let agent = draft.agent(&args.agent)?;
    let mut changes = draft.bundle(&looked, agent.as_deref())?;
    let loaded = draft.tried(&mut changes, servers, &starts.listings)?;
    if kept_in.file().is_some() && !args.dry_run {
        let text = write::more_variables(variables_file.text(), &kept, &variables.known());
        changes.first(variables_file, text, Readers::NotOthers);
    }
    if !args.dry_run && !upstreams.is_empty() {
        changes.write()?;
        if let Some(put) = in_keychain {
            put.stays();
        }
        starts.remember(&loaded.config);
    }
    let added = told::Added {
        upstreams: &upstreams,
        looked: &looked,
        skipped: &skipped,
        variables: &variables,
        kept_in: &kept_in,
        starts: &starts,
        agent: agent.as_deref(),
        changes: changes.iter().filter(|(path, ..)| *path != file).collect(),
        setup: &setup,
        written: !args.dry_run,
    };
    added.tell(args.json)?;
    match asks {
        true => super::sign_in(servers_toml, &starts).await,
        false => Ok(()),
    }
}

/// The servers of the clients' files that servers.toml does not have.
fn new_ones(
    setup: &Setup,
    opened: &Opened,
    kept: &BTreeMap<String, SecretString>,
    args: &InitArgs,
) -> Result<Gathered, CliError> {
    let config = &setup.loaded.config;
    let there = there(opened.text(), &Environment::with(kept.clone()));
    let file = std::path::absolute(&setup.path)
        .map_err(|source| CliError::Io { what: "cannot tell the working folder".to_owned(), source })?;
    let folder = file.parent().unwrap_or(&file);
    let same = |server: &Server, project: Option<&Path>| {
        let place = gather::started_in(server, project);
        let is_there =
            |one: &&There| place.is_none_or(|place| one.is_started_in(folder, place)) && is_same(one, server);
        there.iter().find(is_there).map(|one| one.name.clone())
    };
    let on = config.upstreams.iter().flat_map(|(name, one)| [name.to_string(), one.prefix.clone()]);
    let off = config.disabled.iter().flat_map(|(name, one)| [name.to_string(), one.prefix.clone()]);
    let endpoints = vec![config.gateway.endpoint()];
    gather::gather(args, &Known { names: on.chain(off).collect(), same: &same, endpoints })
}

/// What servers.toml will have, and the bundle with it.
struct Draft<'d> {
    setup: &'d Setup,
    upstreams: &'d [Upstream],
    tables: Vec<String>,
    opened: &'d Opened,
    authority: &'d Opened,
    environment: Environment,
}

impl Draft<'_> {
    /// Starts the new servers where that is agreed to.
    async fn looked(&self, args: &InitArgs, asks: bool) -> Result<(Vec<Option<Looked>>, Starts), CliError> {
        let nothing: Vec<Option<Looked>> = self.upstreams.iter().map(|_| None).collect();
        let wanted = !self.upstreams.is_empty() && !args.no_start && !args.dry_run;
        if !wanted || !(args.yes || (asks && super::may_start(self.upstreams).await?)) {
            return Ok((nothing, Starts::default()));
        }
        let mut trial = Changes::default();
        let mut loaded =
            self.tried(&mut trial, self.servers(&nothing, &BTreeSet::new()), &Listings::default())?;
        let starts = start::look(&mut loaded, self.upstreams, args.wait).await?;
        let mut looked = starts.looked(self.upstreams);
        confirm(self.upstreams, &mut looked, asks).await?;
        Ok((looked, starts))
    }

    /// servers.toml with the new tables at its end.
    fn servers(&self, looked: &[Option<Looked>], issuers: &BTreeSet<UpstreamName>) -> String {
        let mut text = self.opened.text().to_owned();
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        for ((upstream, table), looked) in self.upstreams.iter().zip(&self.tables).zip(looked) {
            text.push_str(table);
            let signs_in = issuers.contains(upstream.name.as_str());
            text.push_str(&write::tools(upstream, looked.as_ref(), signs_in));
        }
        if self.opened.text().contains("\r\n") {
            text.replace("\r\n", "\n").replace('\n', "\r\n")
        } else {
            text
        }
    }

    /// Who gets them: the agent that is named, or the only one where none is. Nobody where it cannot be told.
    fn agent(&self, named: &str) -> Result<Option<String>, CliError> {
        let agents = &self.setup.loaded.policies.authority.agents;
        if agents.contains_key(named) {
            return Ok(Some(named.to_owned()));
        }
        if named != FIRST_AGENT {
            return Err(CliError::Unknown {
                kind: "agent",
                name: named.to_owned(),
                hint: "`tollgate agents list` shows them all".to_owned(),
            });
        }
        Ok(agents.keys().next().filter(|_| agents.len() == 1).map(ToString::to_string))
    }

    /// The bundle's files that change: who may use the new servers, and the tools that stay off.
    fn bundle(&self, looked: &[Option<Looked>], agent: Option<&str>) -> Result<Changes, CliError> {
        let config = &self.setup.loaded.config;
        let (policies, separator) = (&config.gateway.policies, &*config.gateway.separator);
        let authority = self.authority;
        let there = yaml::names(authority.text(), "capabilities");
        let edit = || {
            let mut text = authority.text().to_owned();
            let mut new = Vec::new();
            for (upstream, looked) in self.upstreams.iter().zip(looked) {
                let capability = bundle::capability_of(&upstream.name);
                // One of that name stays as it is, and with whom it is.
                if there.contains(&capability) {
                    continue;
                }
                let members = bundle::granted(upstream, looked.as_ref(), separator, "");
                text = yaml::with_entry(&text, "capabilities", &capability, &members)?;
                new.push(capability);
            }
            let Some(agent) = agent else { return Some(text) };
            let place = ("agents", agent, "capabilities");
            let all: Vec<String> = yaml::list(&text, place)?.into_iter().chain(new).collect();
            yaml::with_list(&text, place, &all)
        };
        let text = edit().ok_or_else(|| {
            CliError::Told(format!(
                "`{}` is written in a way that cannot be edited without doubt, and nothing was changed: `tollgate servers add` adds one \
                 server without it",
                authority.path().display()
            ))
        })?;
        let mut changes = Changes::default();
        changes.push(authority.clone(), text);
        for (upstream, looked) in self.upstreams.iter().zip(looked) {
            let off = bundle::left_out(upstream, looked.as_ref(), separator);
            let free = |name: &String| !policies.join(format!("{name}.yaml")).exists();
            let named = format!("switched-off-{}", upstream.name);
            let numbered = (2..).map(|number| format!("{named}-{number}"));
            let name = std::iter::once(named.clone()).chain(numbered).find(free).unwrap_or(named.clone());
            if let Some(text) = bundle::off_gate(&name, &off) {
                changes.push(Opened::read(&policies.join(format!("{name}.yaml")))?, text);
            }
        }
        Ok(changes)
    }

    /// What would be written with this servers.toml, read as the gateway reads it.
    fn tried(&self, changes: &mut Changes, servers: String, listings: &Listings) -> Result<Loaded, CliError> {
        changes.push(self.opened.clone(), servers);
        changes.tried(self.setup, &self.environment, &|_| listings.clone())
    }
}

/// A server of servers.toml, with what is known of variables in it.
struct There {
    name: String,
    /// Its command, or its address.
    words: Vec<String>,
    /// Its environment, or its headers.
    values: BTreeMap<String, String>,
    /// The folder that it is started in, where that is not the one of servers.toml.
    cwd: Option<String>,
}

impl There {
    /// Whether it is started in a folder; its own may have a value in it that is not known.
    fn is_started_in(&self, folder: &Path, place: &Path) -> bool {
        let real = |path: &Path| fs::canonicalize(folder.join(path)).unwrap_or_else(|_| folder.join(path));
        let own = self.cwd.as_deref().unwrap_or(".");
        real(Path::new(own)) == real(place) || (own.contains('*') && could_be(own, &place.to_string_lossy()))
    }
}

/// The servers of servers.toml.
fn there(text: &str, environment: &Environment) -> Vec<There> {
    let Ok(root) = text.parse::<toml::Table>() else { return Vec::new() };
    let upstreams = root.get("upstreams").and_then(toml::Value::as_table);
    let words = |one: &toml::Value| -> Vec<String> {
        let words: Vec<&str> = match (one.get("command").and_then(toml::Value::as_array), one.get("url")) {
            (Some(words), _) => words.iter().filter_map(toml::Value::as_str).collect(),
            (None, Some(url)) => url.as_str().into_iter().collect(),
            (None, None) => Vec::new(),
        };
        words.into_iter().map(|word| filled(word, environment)).collect()
    };
    let values = |one: &toml::Value| -> BTreeMap<String, String> {
        let tables = ["env", "headers"].into_iter().filter_map(|key| one.get(key)?.as_table());
        let pair = |(name, value): (&String, &toml::Value)| {
            Some((name.clone(), filled(value.as_str()?, environment)))
        };
        tables.flatten().filter_map(pair).collect()
    };
    let one = |(name, one): (&String, &toml::Value)| There {
        name: name.clone(),
        words: words(one),
        values: values(one),
        cwd: one.get("cwd").and_then(toml::Value::as_str).map(|cwd| filled(cwd, environment)),
    };
    upstreams.into_iter().flatten().map(one).collect()
}

/// A text with the values of its references; what is not known stays as a `*`.
fn filled(text: &str, environment: &Environment) -> String {
    let (mut out, mut rest) = (String::new(), text);
    while let Some((before, inner)) = rest.split_once("${") {
        let (reference, after) = inner.split_once('}').unwrap_or((inner, ""));
        let (name, default) =
            reference.split_once(":-").map_or((reference, None), |(name, default)| (name, Some(default)));
        let name = name.strip_prefix("env:").unwrap_or(name);
        out.push_str(before);
        match environment.get(name).or(default.map(str::to_owned)) {
            Some(value) => out.push_str(&value),
            None => out.push('*'),
        }
        rest = after;
    }
    out + rest
}

/// Whether a server is this one: reached alike, and with the same values as far as both have them and they are known.
fn is_same(there: &There, server: &Server) -> bool {
    let nothing = Environment::default();
    let fits = |known: &str, word: &str| {
        let word = filled(word, &nothing);
        let (known, word) = (known.trim_end_matches('/'), word.trim_end_matches('/'));
        could_be(known, word) || could_be(word, known)
    };
    let (words, values) = match server {
        Server::Command { command, env, .. } => (command.as_slice(), env),
        Server::Url { url, headers, .. } => (std::slice::from_ref(url), headers),
    };
    let alike = there.words.len() == words.len()
        && there.words.iter().zip(words).all(|(known, word)| fits(known, word));
    let mut both = values.iter().filter_map(|(name, value)| Some((there.values.get(name)?, value)));
    alike && both.all(|(known, value)| fits(known, value))
}

/// Whether a text with a `*` for each value that is not known could be this one.
fn could_be(text: &str, other: &str) -> bool {
    let Some((start, rest)) = text.split_once('*') else { return text == other };
    // One value that is not known, or several: what stands around them is alike.
    let end = rest.rsplit('*').next().unwrap_or_default();
    other.len() >= start.len() + end.len() && other.starts_with(start) && other.ends_with(end)
}
