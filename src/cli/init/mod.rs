//! `tollgate init`: a first servers.toml and policies/, with the servers that this machine's MCP clients have already. All
//! of it is written, or nothing.

mod add;
mod apart;
mod ask;
mod bundle;
mod files;
mod first_call;
mod gather;
mod keychain;
mod look;
mod read;
mod start;
mod told;
mod variables;
mod words;
mod write;

use super::{
    accounts,
    args::{InitArgs, SecretsPlace},
    environment::Environment,
    failure::CliError,
    keys::{self, FreshKey},
    known,
    setup::Setup,
    wiring,
};
use crate::{clock::System, config, model::UpstreamName, redaction::visible};
pub(super) use apart::{Apart, secrets_apart};
pub(super) use bundle::capability_of;
use files::Staged;
use first_call::FirstCall;
pub(super) use gather::home;
use gather::{Gathered, Known, Upstream};
use keychain::Keychain;
use look::{Looked, Wanted};
pub(super) use read::{
    Folders, Found, NotTaken, Place, Server, agreed_places, client_servers, parents_places, text_of,
    usual_places,
};
use secrecy::SecretString;
use start::Starts;
use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write as _,
    path::{Path, PathBuf},
};
use tokio::signal::unix::{Signal, SignalKind, signal};
use told::Outcome;
use variables::Variables;

/// Reads, asks, looks, writes, and says what to do next. An interrupt before it writes leaves nothing behind; after that it ends
/// the first call alone, and all is told.
pub(super) async fn init(servers_toml: &Path, args: &InitArgs) -> Result<(), CliError> {
    let mut interrupt = Interrupt(signal(SignalKind::interrupt())?);
    match args.add {
        // Once it has written, it waits for a sign-in at most.
        true => interrupt.ends(add::add(servers_toml, args)).await?,
        false => run(servers_toml, args, &mut interrupt).await,
    }
}

/// Ctrl-C, from the start on.
struct Interrupt(Signal);

impl Interrupt {
    /// Does this, as long as there is none.
    async fn ends<T>(&mut self, work: impl Future<Output = T>) -> Result<T, CliError> {
        tokio::select! {
            biased;
            _ = self.0.recv() => Err(CliError::Told("stopped".to_owned())),
            done = work => Ok(done),
        }
    }
}

async fn run(servers_toml: &Path, args: &InitArgs, interrupt: &mut Interrupt) -> Result<(), CliError> {
    let folder = servers_toml.parent().map(Path::to_owned).unwrap_or_default();
    let policies = folder.join("policies");
    let variables_file = config::variables_file(servers_toml);
    if !args.force && !args.dry_run {
        not_there([servers_toml, &policies, &variables_file])?;
    }
    let mut gathered = gather::gather(args, &Known::default())?;
    gathered.or_demo();
    let Gathered { mut upstreams, skipped, inputs, .. } = gathered;
    let asks = !args.yes && !args.dry_run && !args.json && ask::is_terminal();
    if asks {
        told::found(&upstreams, &skipped)?;
        interrupt.ends(agree(&mut upstreams)).await??;
    } else if args.yes {
        told::agreed(&mut upstreams);
    }
    told::left_off(&mut upstreams);
    let people = interrupt.ends(people(args, asks)).await??;
    let passed = passed(&upstreams);
    let mut variables = Variables::with(&inputs).beside(set_here());
    let tables = write::tables(&upstreams, &passed, &folder, &mut variables);
    if asks {
        interrupt.ends(answered(&mut variables)).await??;
    }
    let kept_in = interrupt.ends(keeps(args, &variables, asks, servers_toml)).await??;

    let system = System::default();
    let agent_key = keys::fresh(&system);
    let keys: Vec<FreshKey> = people.iter().map(|_| keys::fresh(&system)).collect();
    let names = || people.iter().map(String::as_str);
    let draft = Draft {
        upstreams: &upstreams,
        tables,
        agent: (&args.agent, &agent_key.digest),
        people: names().zip(keys.iter().map(|key| key.digest.as_str())).collect(),
    };
    let outcome = Outcome {
        servers_toml,
        policies: &policies,
        upstreams: &upstreams,
        skipped: &skipped,
        variables: &variables,
        passed: &passed,
        kept_in: &kept_in,
        agent: (&args.agent, &agent_key.key),
        people: names().zip(keys.iter().map(|key| key.key.as_str())).collect(),
        starts: Starts::default(),
        first_call: None,
    };
    if !args.dry_run {
        return written(&draft, outcome, (args, asks), interrupt).await;
    }
    match args.json {
        true => {
            outcome.json_begins(false)?;
            outcome.json_ends()
        }
        false => {
            let nothing: Vec<Option<Looked>> = upstreams.iter().map(|_| None).collect();
            let (servers, bundle) = draft.files(&nothing, &BTreeSet::new());
            let servers = kept_in.referred(servers, &variables.known());
            outcome.shown_only(&servers, &bundle)
        }
    }
}

/// What is there already is not overwritten.
fn not_there(files: [&Path; 3]) -> Result<(), CliError> {
    match files.into_iter().find(|file| file.exists()) {
        None => Ok(()),
        Some(existing) => Err(CliError::Told(format!(
            "`{}` is there already and is not overwritten: --add takes over what is new, --force moves it aside, --config \
             FOLDER/servers.toml names another folder, with policies/ of its own",
            existing.display()
        ))),
    }
}

/// The files as they are to be, but for what is known of tools.
struct Draft<'d> {
    upstreams: &'d [Upstream],
    /// Of each its table in servers.toml.
    tables: Vec<String>,
    /// Its name, and its key's digest.
    agent: (&'d str, &'d str),
    people: Vec<(&'d str, &'d str)>,
}

impl Draft<'_> {
    /// servers.toml, and the files of the bundle.
    fn files(
        &self,
        looked: &[Option<Looked>],
        issuers: &BTreeSet<UpstreamName>,
    ) -> (String, Vec<(&'static str, String)>) {
        let known = self.upstreams.iter().zip(looked);
        let tools = known
            .map(|(one, looked)| write::tools(one, looked.as_ref(), issuers.contains(one.name.as_str())));
        let tools: Vec<String> = tools.collect();
        let bundle = bundle::policies(self.upstreams, looked, self.agent, &self.people);
        (write::servers("staging", &self.tables, &tools), bundle)
    }
}

/// Starts the servers where that is agreed to, writes the files, and makes a first call.
async fn written(
    draft: &Draft<'_>,
    mut outcome: Outcome<'_>,
    (args, asks): (&InitArgs, bool),
    interrupt: &mut Interrupt,
) -> Result<(), CliError> {
    let (upstreams, servers_toml) = (draft.upstreams, outcome.servers_toml);
    let known = outcome.variables.known();
    let environment =
        Environment::with(known.iter().map(|(name, value)| ((*name).to_owned(), (*value).clone())).collect());
    let looks = looks(draft, servers_toml, &environment, (args, asks));
    let (starts, looked) = interrupt.ends(looks).await??;
    let started = starts.is_some();
    outcome.starts = starts.unwrap_or_default();
    let (servers, bundle) = draft.files(&looked, &outcome.starts.issuers);
    let servers = outcome.kept_in.referred(servers, &known);
    let in_keychain = outcome.kept_in.put(&known)?;
    let staged = Staged::write(servers_toml, &servers, &bundle)?;
    let listings = outcome.starts.listings.clone();
    let loaded = staged.load(&environment, &|_| listings.clone())?;
    let values = if outcome.kept_in.file().is_some() { known } else { BTreeMap::new() };
    staged.put(outcome.policies, &values, args.force)?;
    if let Some(put) = in_keychain {
        put.stays();
    }
    // The keys are shown nowhere else: nothing comes between them and whoever is to have them.
    match args.json {
        true => outcome.json_begins(true)?,
        false => outcome.told(&looked, started)?,
    }
    outcome.starts.remember(&loaded.config);
    if started {
        let call = first_call(servers_toml, &args.agent, upstreams, &looked);
        let called = interrupt.ends(call).await;
        outcome.first_call = Some(called.unwrap_or_else(|stopped| Err(stopped.to_string())));
    }
    if asks {
        // What it comes to costs nothing of what was written.
        let signed_in = interrupt.ends(sign_in(servers_toml, &outcome.starts)).await;
        let failed = signed_in.and_then(|done| done).err();
        failed.map_or(Ok(()), |error| writeln!(std::io::stderr(), "{error}"))?;
    }
    match args.json {
        true => outcome.json_ends(),
        false => outcome.next(),
    }
}

/// What the servers list, where they may be started.
async fn looks(
    draft: &Draft<'_>,
    servers_toml: &Path,
    environment: &Environment,
    (args, asks): (&InitArgs, bool),
) -> Result<(Option<Starts>, Vec<Option<Looked>>), CliError> {
    let upstreams = draft.upstreams;
    let nothing: Vec<Option<Looked>> = upstreams.iter().map(|_| None).collect();
    if args.no_start || !(args.yes || (asks && may_start(upstreams).await?)) {
        return Ok((None, nothing));
    }
    let (servers, bundle) = draft.files(&nothing, &BTreeSet::new());
    let staged = Staged::write(servers_toml, &servers, &bundle)?;
    let mut loaded = staged.load(environment, &|_| config::Listings::default())?;
    let starts = start::look(&mut loaded, upstreams, args.wait).await?;
    let mut looked = starts.looked(upstreams);
    confirm(upstreams, &mut looked, asks).await?;
    Ok((Some(starts), looked))
}

/// Offers to sign in where servers want that and say where.
async fn sign_in(servers_toml: &Path, starts: &Starts) -> Result<(), CliError> {
    for name in &starts.issuers {
        let how = format!("tollgate servers login {name}");
        if !ask::agrees(&format!("`{name}` wants somebody to sign in. Do it now, in a browser?")).await? {
            writeln!(std::io::stderr(), "later: {how}")?;
            continue;
        }
        let setup = Setup::load_folder(servers_toml)?;
        if let Err(error) = accounts::login(&setup, name, None, false).await {
            writeln!(std::io::stderr(), "{error}\n`{how}` begins again")?;
        }
    }
    Ok(())
}

/// The people of the bundle: who is named, and a second one where a person at the terminal names one.
async fn people(args: &InitArgs, asks: bool) -> Result<Vec<String>, CliError> {
    let mut people: Vec<String> = Vec::new();
    for name in &args.person {
        if !people.contains(name) {
            people.push(name.clone());
        }
    }
    if asks && people.len() == 1 {
        let question = "A second person, who agrees to what destroys something (a name; Enter: nobody)?";
        loop {
            let name = ask::line(question).await?;
            let is_answer = ["y", "yes", "n", "no"].iter().any(|word| name.eq_ignore_ascii_case(word));
            match super::args::agent_name(&name) {
                _ if name.is_empty() => break,
                Ok(_) if is_answer => writeln!(std::io::stderr(), "a name, or Enter for nobody")?,
                Ok(name) if !people.contains(&name) => {
                    people.push(name);
                    break;
                }
                Ok(name) => writeln!(std::io::stderr(), "`{name}` is the first person already")?,
                Err(expected) => writeln!(std::io::stderr(), "{expected}")?,
            }
        }
    }
    Ok(people)
}

/// Variables of the network that are set here, for servers that go out.
fn passed(upstreams: &[Upstream]) -> Vec<&'static str> {
    let started =
        |upstream: &Upstream| matches!(upstream.server, Server::Command { .. }) && !upstream.is_built_in();
    let started = upstreams.iter().any(started);
    write::network(|name| started && std::env::var_os(name).is_some_and(|value| !value.is_empty()))
}

/// What names mean here already: a variable of this environment comes before a line of the file.
fn set_here() -> BTreeMap<String, Option<SecretString>> {
    let read = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok().map(SecretString::from)))
    };
    std::env::vars_os().filter_map(read).collect()
}

/// Asks for what clients would ask for.
async fn answered(variables: &mut Variables) -> Result<(), CliError> {
    for (name, input) in variables.questions() {
        let mut what = if input.what.is_empty() { name.clone() } else { format!("{name} ({})", input.what) };
        if !input.options.is_empty() {
            what.push_str(&format!(", one of {}", input.options.join(", ")));
        }
        let question = format!("{what}; Enter: later?");
        let value = if input.secret { ask::hidden(&question).await? } else { ask::line(&question).await? };
        if !value.is_empty() {
            variables.answer(&name, SecretString::from(value));
        }
    }
    Ok(())
}

/// Where values that look like secrets are kept.
#[derive(Debug)]
enum Secrets {
    /// In this file.
    EnvFile(PathBuf),
    Keychain(Keychain),
    Nowhere,
}

impl Secrets {
    fn file(&self) -> Option<&Path> {
        match self {
            Self::EnvFile(file) => Some(file),
            Self::Keychain(_) | Self::Nowhere => None,
        }
    }

    fn keychain(&self) -> Option<&Keychain> {
        match self {
            Self::Keychain(keychain) => Some(keychain),
            Self::EnvFile(_) | Self::Nowhere => None,
        }
    }

    fn are_kept(&self) -> bool {
        !matches!(self, Self::Nowhere)
    }

    /// A text of servers.toml that asks the keychain for these variables, where they lie there.
    fn referred(&self, text: String, values: &BTreeMap<&str, &SecretString>) -> String {
        self.keychain().map_or(text.clone(), |keychain| keychain.referred(&text, values))
    }

    /// Puts them into the keychain, where they are to lie there: all of them, or none.
    fn put(&self, values: &BTreeMap<&str, &SecretString>) -> Result<Option<keychain::Put<'_>>, CliError> {
        self.keychain().map(|keychain| keychain.put(values)).transpose()
    }
}

/// Where values that look like secrets are to be kept: as it is said, or as a person at the terminal chooses.
async fn keeps(
    args: &InitArgs,
    variables: &Variables,
    asks: bool,
    servers_toml: &Path,
) -> Result<Secrets, CliError> {
    if variables.known().is_empty() {
        return Ok(Secrets::Nowhere);
    }
    let file = config::variables_file(servers_toml);
    let mut place = args.secrets;
    let what = match variables.known().len() {
        1 => "One value looks like a secret. Enter: it goes".to_owned(),
        count => format!("{count} values look like secrets. Enter: they go"),
    };
    let question = format!(
        "{what} into {} (mode 0600); `keychain`: into that of the system; `none`: you set the variables yourself:",
        file.display()
    );
    while asks && place.is_none() {
        place = match ask::line(&question).await?.as_str() {
            "" => Some(SecretsPlace::EnvFile),
            "keychain" => Some(SecretsPlace::Keychain),
            "none" => Some(SecretsPlace::None),
            _ => None,
        };
    }
    Ok(match place {
        None | Some(SecretsPlace::EnvFile) => Secrets::EnvFile(file),
        Some(SecretsPlace::Keychain) => Secrets::Keychain(Keychain::find(servers_toml)?),
        Some(SecretsPlace::None) => Secrets::Nowhere,
    })
}

/// Whoever sees what a server of the project's own file runs may agree to its start, as they would in its client.
async fn agree(upstreams: &mut [Upstream]) -> Result<(), CliError> {
    for one in upstreams.iter_mut().filter(|one| one.enabled && !one.agreed) {
        let question = format!(
            "`{}` comes with this project, and {}. May it be started?",
            one.name,
            told::reached(&one.server)
        );
        one.agreed = ask::consents(&visible(&question)).await?;
    }
    Ok(())
}

async fn may_start(upstreams: &[Upstream]) -> Result<bool, CliError> {
    let question = match upstreams.iter().filter(|one| one.enabled).count() {
        1 => "Start this server once, to look at its tools?".to_owned(),
        count => format!("Start {count} servers once, to look at their tools?"),
    };
    ask::agrees(&question).await
}

/// A person agrees to what tools are taken for; without one, a server's own marks count.
async fn confirm(upstreams: &[Upstream], looked: &mut [Option<Looked>], asks: bool) -> Result<(), CliError> {
    if !asks {
        looked.iter_mut().flatten().for_each(Looked::marked_only);
        return Ok(());
    }
    if looked.iter().flatten().all(|one| one.tools.is_empty()) {
        return Ok(());
    }
    told::proposals(upstreams, looked)?;
    let question = "Enter takes this over; `marks`: only what the servers themselves mark as reading; `all`: each tool is asked about; \
                    or names of tools that are to be asked about (one server's: `SERVER__TOOL`):";
    loop {
        let answer = ask::line(question).await?;
        match Wanted::read(&answer, upstreams, looked) {
            Ok(wanted) => {
                wanted.apply(looked);
                return Ok(());
            }
            Err(unknown) => writeln!(std::io::stderr(), "{}", visible(&unknown))?,
        }
    }
}

/// A first call, where something can be called; the reason where it failed.
async fn first_call(
    servers_toml: &Path,
    agent: &str,
    upstreams: &[Upstream],
    looked: &[Option<Looked>],
) -> Result<Option<FirstCall>, String> {
    let reads = upstreams.iter().zip(looked).flat_map(|(upstream, looked)| {
        let reads = looked.iter().flat_map(|looked| looked.tools.iter().filter(|tool| tool.read_only));
        reads.map(|tool| format!("{}__{}", upstream.name, tool.tool))
    });
    first_call::make(servers_toml, agent, &reads.collect()).await
}
