//! `init --add`: takes over what is new in the clients' files. servers.toml and the bundle are added to; what stands in them stays
//! as it is, comments and all.

use super::{
    ask, bundle, confirm, files,
    gather::{self, Gathered, Known, Upstream},
    keeps,
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
        edit::{file::Opened, yaml},
        environment::Environment,
        failure::CliError,
        setup::Setup,
    },
    config::{self, Bundle, Listings, Loaded},
    policy::{Authority, SourceFile},
};
use secrecy::SecretString;
use std::{collections::BTreeMap, ffi::OsStr, fs, path::Path};

/// What is to be written: each file as it is, and as it will be.
type Changes = Vec<(Opened, String)>;

/// Adds what is new.
pub(super) async fn add(servers_toml: &Path, args: &InitArgs) -> Result<(), CliError> {
    let setup = Setup::load_folder(servers_toml)?;
    let opened = Opened::read(servers_toml)?;
    let kept = config::variables_beside(servers_toml).map_err(CliError::Told)?;
    let Gathered { upstreams, skipped, inputs, .. } = new_ones(&setup, &opened, &kept, args)?;
    let asks = !args.yes && !args.dry_run && !args.json && ask::is_terminal();
    if asks {
        told::found(&upstreams, &skipped)?;
    }
    // A name that servers.toml has means what it means there.
    let mut taken = set_here();
    taken.extend(named_in(opened.text()).into_iter().map(|name| (name, None)));
    taken.extend(kept.iter().map(|(name, value)| (name.clone(), Some(value.clone()))));
    let passed = passed(&upstreams);
    let folder = servers_toml.parent().map(Path::to_owned).unwrap_or_default();
    let mut variables = Variables::with(&inputs).beside(taken);
    let tables = write::tables(&upstreams, &passed, &folder, &mut variables);
    if asks {
        super::answered(&mut variables).await?;
    }
    let file = config::variables_file(servers_toml);
    let keeps = keeps(args, &variables, asks, &file).await?;
    let mut values = kept.clone();
    values.extend(variables.known().into_iter().map(|(name, value)| (name.to_owned(), value.clone())));
    let draft = Draft {
        setup: &setup,
        upstreams: &upstreams,
        tables,
        opened: &opened,
        environment: Environment::with(values),
    };
    let (looked, starts) = draft.looked(args, asks).await?;
    let servers = draft.servers(&looked);
    let agent = draft.agent(&args.agent)?;
    let mut changes = draft.bundle(&looked, agent.as_deref())?;
    let loaded = draft.load(&servers, &changes, &starts.listings)?;
    if keeps && !args.dry_run {
        files::made_private(&file)?;
        let variables_file = Opened::read(&file)?;
        let text = write::more_variables(variables_file.text(), &kept, &variables.known());
        changes.insert(0, (variables_file, text));
    }
    changes.push((Opened::read(servers_toml)?, servers));
    if !args.dry_run && !upstreams.is_empty() {
        all_or_nothing(&changes)?;
        starts.remember(&loaded.config);
    }
    let added = told::Added {
        upstreams: &upstreams,
        looked: &looked,
        skipped: &skipped,
        variables: &variables,
        kept_in: keeps.then_some(file.as_path()),
        starts: &starts,
        agent: agent.as_deref(),
        changes: changes
            .iter()
            .filter(|(opened, _)| opened.path() != file)
            .map(|(opened, new)| (opened.path(), opened.text(), new.as_str()))
            .collect(),
        written: !args.dry_run,
    };
    added.tell(args.json)
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
    let same = |server: &Server| there.iter().find(|one| is_same(one, server)).map(|one| one.name.clone());
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
        let mut loaded = self.load(&self.servers(&nothing), &Vec::new(), &Listings::default())?;
        let is_new = |name: &str| self.upstreams.iter().any(|one| one.name == name);
        loaded.config.upstreams.retain(|name, _| is_new(name.as_str()));
        let starts = start::look(&loaded, self.upstreams, args.wait).await?;
        let mut looked = starts.looked(self.upstreams);
        confirm(self.upstreams, &mut looked, asks).await?;
        Ok((looked, starts))
    }

    /// servers.toml with the new tables at its end.
    fn servers(&self, looked: &[Option<Looked>]) -> String {
        let mut text = self.opened.text().to_owned();
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        for ((upstream, table), looked) in self.upstreams.iter().zip(&self.tables).zip(looked) {
            text.push_str(table);
            text.push_str(&write::tools(upstream, looked.as_ref()));
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
        let Authority { agents, capabilities: there, .. } = &self.setup.loaded.policies.authority;
        let authority = Opened::read(&policies.join("authority.yaml"))?;
        let edit = || {
            let mut text = authority.text().to_owned();
            let granted = agent.and_then(|agent| agents.get(agent));
            let mut capabilities: Vec<String> =
                granted.iter().flat_map(|agent| agent.capabilities.iter().map(ToString::to_string)).collect();
            for (upstream, looked) in self.upstreams.iter().zip(looked) {
                let capability = bundle::capability_of(&upstream.name);
                // One of that name stays as it is, and with whom it is.
                if there.contains_key(capability.as_str()) {
                    continue;
                }
                let members = bundle::granted(upstream, looked.as_ref(), separator, "");
                text = yaml::with_entry(&text, "capabilities", &capability, &members)?;
                capabilities.push(capability);
            }
            match agent {
                Some(agent) => yaml::with_list(&text, ("agents", agent, "capabilities"), &capabilities),
                None => Some(text),
            }
        };
        let text = edit().ok_or_else(|| {
            CliError::Told(format!(
                "`{}` is written in a way that cannot be edited without doubt, and nothing was changed: `tollgate servers add` adds one \
                 server without it",
                authority.path().display()
            ))
        })?;
        let mut changes = vec![(authority, text)];
        for (upstream, looked) in self.upstreams.iter().zip(looked) {
            let off = bundle::left_out(upstream, looked.as_ref(), separator);
            let free = |name: &String| !policies.join(format!("{name}.yaml")).exists();
            let named = format!("switched-off-{}", upstream.name);
            let numbered = (2..).map(|number| format!("{named}-{number}"));
            let name = std::iter::once(named.clone()).chain(numbered).find(free).unwrap_or(named.clone());
            if let Some(text) = bundle::off_gate(&name, &off) {
                changes.push((Opened::read(&policies.join(format!("{name}.yaml")))?, text));
            }
        }
        Ok(changes)
    }

    /// What would be written, read as the gateway reads it.
    fn load(&self, servers: &str, changes: &Changes, listings: &Listings) -> Result<Loaded, CliError> {
        let path = &self.setup.path;
        let folder = path.parent().unwrap_or(Path::new("."));
        let failed =
            |source| CliError::Io { what: format!("cannot write in `{}`", folder.display()), source };
        let staged = tempfile::Builder::new().prefix(".tollgate-init-").suffix(".toml").tempfile_in(folder);
        let staged = staged.map_err(failed)?;
        fs::write(staged.path(), servers).map_err(failed)?;
        let files = self.bundle_files(changes);
        let bundle = Bundle::Files { name: "policies", files: &files };
        config::load_bundle(staged.path(), &|name| self.environment.get(name), &|_| listings.clone(), bundle)
            .map_err(|problems| {
                let shown = problems
                    .to_string()
                    .replace(&staged.path().display().to_string(), &path.display().to_string());
                CliError::Told(format!("this would be wrong, and nothing was written:\n{shown}"))
            })
    }

    /// The bundle as it would be.
    fn bundle_files(&self, changes: &Changes) -> Vec<SourceFile> {
        let mut files: BTreeMap<&str, &str> = BTreeMap::new();
        for file in self.setup.loaded.policies.files.iter() {
            files.insert(&file.name, &file.text);
        }
        for (opened, text) in changes {
            let name = opened.path().file_name().and_then(OsStr::to_str);
            files.insert(name.unwrap_or_default(), text);
        }
        let file = |(name, text): (&str, &str)| SourceFile { name: name.to_owned(), text: text.to_owned() };
        files.into_iter().map(file).collect()
    }
}

/// Writes all of them; where one cannot be written, those before it are as they were.
fn all_or_nothing(changes: &Changes) -> Result<(), CliError> {
    for (place, (opened, new)) in changes.iter().enumerate() {
        let Err(error) = opened.replace(new) else { continue };
        for (before, _) in changes.iter().take(place) {
            let now = Opened::read(before.path())?;
            // An empty one was made for its rights alone.
            match before.is_there() && !before.text().is_empty() {
                true => now.replace(before.text())?,
                false => now.remove()?,
            }
        }
        return Err(error);
    }
    Ok(())
}

/// A server of servers.toml, with what is known of variables in it.
struct There {
    name: String,
    /// Its command, or its address.
    words: Vec<String>,
    /// Its environment, or its headers.
    values: BTreeMap<String, String>,
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

/// Names of variables in a servers.toml.
fn named_in(text: &str) -> Vec<String> {
    let inner = text.split("${").skip(1);
    let name = |inner: &str| inner.split(['}', ':']).next().unwrap_or_default().to_owned();
    inner.map(name).collect()
}
