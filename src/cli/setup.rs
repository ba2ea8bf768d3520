//! What every command that reads or decides starts from: the files, who is typing, and the store.

use super::{
    exposure,
    failure::CliError,
    key_book, known,
    screen::note,
    wiring::{self, Loaded},
};
use crate::{
    activation::{Recorded, Standing},
    approval::sees_values,
    clock::{Clock as _, System},
    config::{Config, Listings, StoreConfig},
    evidence::event_without_values,
    front::tls::{Pair, read_pair},
    identity::{AuthError, person_by_key},
    model::{Event, PersonId, Place, Problem, Problems, Severity},
    oversight::reviewer,
    policy::{PolicySet, Role},
    store::{ApprovalRecord, Pattern, Store, StoreError, postgres},
};
use std::{
    io::Write as _,
    path::{Path, PathBuf},
    sync::{Arc, Once},
};

/// The files, and who is typing.
pub(super) struct Setup {
    /// The servers.toml.
    pub(super) path: PathBuf,
    /// What it and the bundle say.
    pub(super) loaded: Loaded,
    /// What is ordered to be in force.
    pub(super) standing: Standing,
    /// This machine's clock and randomness.
    pub(super) system: Arc<System>,
    person: Option<PersonId>,
}

impl Setup {
    /// Reads what is in force and holds `TOLLGATE_KEY` against it: a wrong one is never taken for none.
    pub(super) fn load(path: &Path) -> Result<Self, CliError> {
        // Whatever serves looks once more, and refuses; of a record that is damaged the folder must do.
        let standing = match wiring::standing(path) {
            Ok(standing) => standing,
            Err(error) => {
                // What is wrong with a record is said by whatever reads it.
                let why = match error {
                    CliError::Store(StoreError::Damaged(_)) => "it is damaged".to_owned(),
                    other => other.to_string(),
                };
                // A command may read the files more than once.
                static SAID: Once = Once::new();
                SAID.call_once(|| {
                    note(&format!(
                        "which bundle is in force cannot be read from the record ({why}): for this command the policies folder \
                         says who may do what"
                    ));
                });
                Standing::default()
            }
        };
        match load_standing(path, &standing) {
            Ok(loaded) => Self::of(path, loaded, standing),
            Err(wrong) if standing.held.is_some() => {
                note("the bundle that is held in force cannot be used with servers.toml as it is now:");
                Err(wrong)
            }
            Err(wrong) => Err(wrong),
        }
    }

    /// The same with what is in force by the record, whatever the files say: who may change it is for it to say, and a folder
    /// that is wrong at this moment keeps nobody from going back. Where it cannot be used any more nothing is served, and the
    /// folder says who may put that right.
    pub(super) fn load_recorded(path: &Path) -> Result<Self, CliError> {
        let Some(Recorded { snapshot, files }) = wiring::recorded(path)? else { return Self::load(path) };
        match wiring::load_kept(path, &known::remembered, &snapshot, &files) {
            Ok(loaded) => Self::of(path, loaded, wiring::standing(path)?),
            Err(problems) => {
                note(&format!(
                    "snapshot {snapshot}, which is in force, cannot be used with servers.toml and this program as they are now, \
                     so the folder says who may do this: {}",
                    problems.errors()
                ));
                Self::load_folder(path)
            }
        }
    }

    /// The same with what the folder says, whatever is in force.
    pub(super) fn load_folder(path: &Path) -> Result<Self, CliError> {
        Self::of(path, load(path)?, wiring::standing(path).unwrap_or_default())
    }

    fn of(path: &Path, loaded: Loaded, standing: Standing) -> Result<Self, CliError> {
        let system = Arc::new(System::default());
        let person = match std::env::var("TOLLGATE_KEY") {
            Err(std::env::VarError::NotPresent) => None,
            Err(std::env::VarError::NotUnicode(_)) => return Err(CliError::UnreadableKey),
            Ok(key) if key.trim().is_empty() => return Err(CliError::UnreadableKey),
            Ok(key) => {
                let person = person_by_key(&loaded.policies.authority, key.as_bytes(), system.now());
                let (person, used) = person.map_err(|error| match error {
                    AuthError::Expired => CliError::ExpiredKey,
                    _ => CliError::WrongKey,
                })?;
                key_book::was_used(&loaded, used);
                if person.roles.is_empty() {
                    return Err(CliError::NotEntitled { person: person.id.to_string(), needs: &Role::ALL });
                }
                Some(person.id.clone())
            }
        };
        Ok(Self { path: path.to_owned(), loaded, standing, system, person })
    }

    /// The person whose key was given; without one nobody can decide.
    pub(super) fn person(&self) -> Result<&PersonId, CliError> {
        self.person.as_ref().ok_or(CliError::KeyNeeded)
    }

    /// The person whose key was given; none: the local admin.
    pub(super) fn person_given(&self) -> Option<&PersonId> {
        self.person.as_ref()
    }

    /// The bundle that is tried beside the one in force.
    pub(super) fn candidate(&self) -> Option<PolicySet> {
        let trial = self.standing.trial.as_ref()?;
        let (path, snapshot) = (&self.path, &trial.rollout.candidate);
        let loaded = wiring::load_kept(path, &known::remembered, snapshot, &trial.files).ok()?;
        Some(loaded.policies)
    }

    /// What the person whose key was given may do.
    pub(super) fn roles(&self) -> &[Role] {
        let person = self.person.as_ref().and_then(|id| self.loaded.policies.authority.people.get(id));
        person.map(|person| person.roles.as_slice()).unwrap_or_default()
    }

    /// Whether whoever is typing reads records at all: the local admin does.
    pub(super) fn reads_records(&self) -> bool {
        self.person.is_none() || self.roles().iter().any(|role| role.reads_records())
    }

    /// With which values they read them: the local admin with all.
    pub(super) fn sight(&self) -> Sight {
        match self.person.is_none() || self.roles().iter().any(|role| role.sees_values()) {
            true => Sight::Whole,
            false => Sight::WithoutValues,
        }
    }

    /// An approval as whoever is typing may see it.
    pub(super) fn shown(&self, record: ApprovalRecord) -> ApprovalRecord {
        let Some(id) = &self.person else { return record };
        let person = self.loaded.policies.authority.people.get(id);
        match person.is_some_and(|person| sees_values(&record, person, &person.roles)) {
            true => record,
            false => record.without_values(),
        }
    }

    /// The person whose key was given, for what takes the key of an admin; the local admin does not do.
    pub(super) fn admin_person(&self) -> Result<PersonId, CliError> {
        self.person.clone().ok_or(CliError::AdminNeeded)
    }

    /// The person whose key was given, and the role by which they may look at calls afterwards.
    pub(super) fn reviewer(&self) -> Result<(PersonId, Role), CliError> {
        let id = self.person()?;
        match reviewer(self.roles()) {
            Some(role) => Ok((id.clone(), role)),
            None => Err(CliError::NotEntitled {
                person: id.to_string(),
                needs: &[Role::Auditor, Role::AuditorFull, Role::Admin],
            }),
        }
    }

    /// Opens the store that `serve` and `stdio` made. A missing one is not made here: an empty answer from a store
    /// at the wrong place would look like a clean record.
    pub(super) fn store(&self) -> Result<Arc<dyn Store>, CliError> {
        self.existing()?;
        wiring::open_store(&self.loaded.config, &self.system)
    }

    /// The same for the record alone, which can be read where it is damaged, too.
    pub(super) fn record(&self) -> Result<Arc<dyn Store>, CliError> {
        self.existing()?;
        wiring::open_record(&self.loaded.config, &self.system)
    }

    fn existing(&self) -> Result<(), CliError> {
        let store = &self.loaded.config.store;
        let path = &store.path;
        match wiring::store_exists(store) {
            Ok(true) => Ok(()),
            Ok(false) => Err(CliError::NoStore(path.clone())),
            Err(source) => Err(CliError::Io { what: format!("cannot read `{}`", path.display()), source }),
        }
    }

    /// What time it is.
    pub(super) fn now(&self) -> jiff::Timestamp {
        self.system.now()
    }
}

/// With which values records of calls are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sight {
    /// With all that are recorded.
    Whole,
    /// With masks in the places of arguments' values.
    WithoutValues,
}

impl Sight {
    /// An event as it may be seen.
    pub(super) fn event(self, event: Event) -> Event {
        match self {
            Self::Whole => event,
            Self::WithoutValues => event_without_values(event),
        }
    }

    /// Refuses a `--tool` with which what was asked at a URI could be tried.
    pub(super) fn allows(self, tool: Option<&Pattern>) -> Result<(), CliError> {
        match self == Self::WithoutValues && tool.is_some_and(Pattern::names_query) {
            true => Err(CliError::Told(
                "`--tool` may not name the query of a URI: it is an argument, and its values are withheld from your role"
                    .to_owned(),
            )),
            false => Ok(()),
        }
    }
}

/// The record, this machine's clock, and what whoever is typing may see of calls.
pub(super) type Reading = (Arc<dyn Store>, Arc<System>, Sight);

/// The record with what whoever is typing may see of calls.
pub(super) fn record_of_calls(path: &Path) -> Result<Reading, CliError> {
    match opened(path)? {
        Opened::Files(setup) => {
            let sight = setup.sight();
            Ok((setup.record()?, setup.system, sight))
        }
        Opened::Record(store, system) => Ok((store, system, Sight::Whole)),
    }
}

/// The record alone, with this machine's clock. It can be read even where a file is wrong that the gateway needs, or a
/// variable is not set here: that is when it is looked at. Whoever gives a key is held against the bundle all the same.
pub(super) fn record(path: &Path) -> Result<(Arc<dyn Store>, Arc<System>), CliError> {
    match opened(path)? {
        Opened::Files(setup) => Ok((setup.record()?, setup.system)),
        Opened::Record(store, system) => Ok((store, system)),
    }
}

/// The files, or the record alone where they are wrong and nobody gave a key.
enum Opened {
    Files(Box<Setup>),
    Record(Arc<dyn Store>, Arc<System>),
}

fn opened(path: &Path) -> Result<Opened, CliError> {
    let wrong = match Setup::load(path) {
        Ok(setup) => return Ok(Opened::Files(Box::new(setup))),
        Err(wrong @ CliError::Files { .. }) if std::env::var_os("TOLLGATE_KEY").is_none() => wrong,
        Err(other) => return Err(other),
    };
    let system = Arc::new(System::default());
    let Some(store) = wiring::store_of(path, &system) else { return Err(wrong) };
    tell_wrong_files();
    Ok(Opened::Record(store?, system))
}

fn tell_wrong_files() {
    writeln!(
        std::io::stderr(),
        "tollgate: the files have errors (`tollgate check` lists them); the record is read all the same"
    )
    .ok();
}

/// Where the record lies, for whoever may read it as in [`record`]; `None` where that is not said.
pub(super) fn record_place(path: &Path) -> Result<Option<StoreConfig>, CliError> {
    match Setup::load(path) {
        Ok(setup) => Ok(Some(setup.loaded.config.store)),
        Err(wrong @ CliError::Files { .. }) if std::env::var_os("TOLLGATE_KEY").is_none() => {
            let Some((store, _)) = wiring::store_place(path) else { return Err(wrong) };
            tell_wrong_files();
            Ok(Some(store))
        }
        Err(other) => Err(other),
    }
}

/// Reads servers.toml and the bundle.
pub(super) fn load(path: &Path) -> Result<Loaded, CliError> {
    wiring::load(path).map_err(|problems| refused(path, problems))
}

/// The same, with what upstreams are known to list.
pub(super) fn load_knowing(path: &Path, listings: &dyn Fn(&Config) -> Listings) -> Result<Loaded, CliError> {
    wiring::load_knowing(path, listings).map_err(|problems| refused(path, problems))
}

/// Reads servers.toml, and the bundle that is held in force or, where none is, that of the folder.
pub(super) fn load_standing(path: &Path, standing: &Standing) -> Result<Loaded, CliError> {
    load_standing_knowing(path, standing, &known::remembered)
}

/// The same, with what upstreams are known to list.
pub(super) fn load_standing_knowing(
    path: &Path,
    standing: &Standing,
    listings: &dyn Fn(&Config) -> Listings,
) -> Result<Loaded, CliError> {
    let loaded = match &standing.held {
        Some(held) => wiring::load_kept(path, listings, &held.snapshot, &held.files),
        None => wiring::load_knowing(path, listings),
    };
    loaded.map_err(|problems| refused(path, problems))
}

/// What is in force, for whatever serves: what cannot be known or used ends it.
pub(super) fn load_to_run(path: &Path) -> Result<(Loaded, Standing), CliError> {
    let standing = wiring::standing(path)?;
    match load_standing(path, &standing) {
        Err(wrong) => {
            if let Some(held) = &standing.held {
                note(&format!(
                    "snapshot {} is held in force, by order of {} (\"{}\"), and cannot be used as servers.toml and this program \
                     are now. The folder is not taken in its place. Put servers.toml right, or say with an admin's key what is to \
                     be in force: `tollgate policy activate FOLDER --reason TEXT`",
                    held.snapshot, held.by, held.reason
                ));
            }
            Err(wrong)
        }
        Ok(loaded) => Ok((loaded, standing)),
    }
}

/// The same for a listener, which not everybody may be let in by.
pub(super) fn load_to_serve(path: &Path) -> Result<(Loaded, Standing), CliError> {
    let (loaded, standing) = load_to_run(path)?;
    exposed(path, &loaded)?;
    Ok((loaded, standing))
}

/// Refuses what may not be served beyond this machine.
pub(super) fn exposed(path: &Path, loaded: &Loaded) -> Result<(), CliError> {
    let problems = exposure::check(loaded);
    if problems.has_errors() { Err(refused(path, problems)) } else { Ok(()) }
}

/// Refuses a certificate and key that listeners could not use.
pub(super) fn certified(path: &Path, loaded: &Loaded, now: jiff::Timestamp) -> Result<(), CliError> {
    let Some(tls) = &loaded.config.gateway.tls else { return Ok(()) };
    wiring::check_tls(tls, now).map_err(|message| of_tls(path, message))
}

/// The certificate and key as they are now.
pub(super) fn pair(path: &Path, loaded: &Loaded) -> Result<Option<Pair>, CliError> {
    let tls = loaded.config.gateway.tls.as_ref();
    tls.map(read_pair).transpose().map_err(|message| of_tls(path, message))
}

/// Refuses the URL of a database that no start could use.
pub(super) fn store_named(path: &Path, loaded: &Loaded) -> Result<(), CliError> {
    let Some(url) = &loaded.config.store.postgres else { return Ok(()) };
    let expected = "postgres://USER:PASSWORD@HOST/DATABASE";
    postgres::check_url(url).map_err(|message| wrong_at(path, "[store]", message, expected))
}

fn of_tls(path: &Path, message: String) -> CliError {
    let expected =
        "PEM files of a certificate chain and its private key, and with `crl` lists that have not ended";
    wrong_at(path, "tls", message, expected)
}

/// An error where a word first stands.
fn wrong_at(path: &Path, word: &str, message: String, expected: &str) -> CliError {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let (line, column) = exposure::place(&text, word);
    let place = Place { file: path.display().to_string(), line, column };
    let expected = expected.to_owned();
    let problem = Problem { place, severity: Severity::Error, message, expected, strict: false };
    refused(path, Problems(vec![problem]))
}

pub(super) fn refused(path: &Path, problems: Problems) -> CliError {
    // What else there is to say of them is `check`'s to say.
    CliError::Files { path: path.to_owned(), rendered: wiring::render_errors(&problems), problems }
}
