//! What is known of keys beside the bundle: when each was last used, kept in the data directory and shared by replicas, and which of
//! them expire.

use super::{
    exposure::place,
    screen,
    wiring::{self, Loaded},
};
use crate::{
    config::Config,
    front::tls,
    gateway::Gateway,
    identity::Used,
    journal::open_private,
    model::{Place, Problem, Severity},
    policy::{ApiKey, Authority},
    store::{Store, StoreError},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, HashSet},
    fs::File,
    io::{self, Read as _, Write as _},
    path::Path,
    sync::Arc,
    time::Duration,
};

const FILE: &str = "key-use.json";
const LOCK: &str = "key-use.lock";
/// Under which name replicas keep it for each other, and how often others that write it at once are let first.
const SHARED: &str = "key-use";
const TRIES: usize = 20;
/// The largest file that is read.
const MOST_BYTES: u64 = 16 << 20;
/// How often what is new is written.
const EVERY: Duration = Duration::from_secs(60);
/// How long before its end a key is told of.
const SOON: jiff::SignedDuration = jiff::SignedDuration::from_hours(14 * 24);

/// When keys were last used, by the hex of their digests.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct LastUse(BTreeMap<String, Timestamp>);

impl LastUse {
    /// As far as a data directory tells, and the database that replicas share; a file that is missing or not ours tells nothing.
    pub(super) fn read(config: &Config) -> Self {
        let mut known = read(&config.gateway.data_dir);
        match wiring::shared_value(&config.store, SHARED) {
            Ok(there) => {
                known.add(&LastUse::parse(there.as_deref()));
            }
            Err(error) => screen::note(&format!(
                "when keys were last used on other replicas cannot be read, and what follows is of this one: {error}"
            )),
        }
        known
    }

    fn parse(bytes: Option<&[u8]>) -> Self {
        bytes.and_then(|bytes| serde_json::from_slice(bytes).ok()).unwrap_or_default()
    }

    /// Takes over what is newer; whether anything is.
    fn add(&mut self, other: &Self) -> bool {
        let mut is_newer = false;
        for (key, at) in &other.0 {
            if self.0.get(key).is_none_or(|last| last < at) {
                self.0.insert(key.clone(), *at);
                is_newer = true;
            }
        }
        is_newer
    }

    /// Forgets keys that nobody has any more.
    fn keep_only(&mut self, known: &HashSet<String>) {
        self.0.retain(|key, _| known.contains(key));
    }

    /// Of one key.
    pub(super) fn of(&self, key: &ApiKey) -> Option<Timestamp> {
        self.0.get(&hex::encode(key.digest)).copied()
    }

    /// The newest of several.
    pub(super) fn newest(&self, keys: &[ApiKey]) -> Option<Timestamp> {
        keys.iter().filter_map(|key| self.of(key)).max()
    }

    /// Keys as the command line shows them.
    pub(super) fn form(&self, keys: &[ApiKey], now: Timestamp) -> Value {
        let one = |key: &ApiKey| {
            json!({
                "key": key.label(),
                "name": key.name,
                "expires": key.expires,
                "expired": key.is_over(now),
                "last_used": self.of(key),
            })
        };
        keys.iter().map(one).collect()
    }

    /// The same in words, one each.
    pub(super) fn lines(&self, keys: &[ApiKey], now: Timestamp) -> Vec<String> {
        let one = |key: &ApiKey| {
            let end = match key.expires {
                Some(end) if key.is_over(now) => format!("expired {end}"),
                Some(end) => format!("until {end}"),
                None => "no end".to_owned(),
            };
            let used = self.of(key).map_or_else(|| "never used".to_owned(), |at| format!("last used {at}"));
            format!("{}: {end}, {used}", key.label())
        };
        keys.iter().map(one).collect()
    }
}

fn read(folder: &Path) -> LastUse {
    let mut bytes = Vec::new();
    match File::open(folder.join(FILE)).and_then(|file| file.take(MOST_BYTES).read_to_end(&mut bytes)) {
        Ok(_) => serde_json::from_slice(&bytes).unwrap_or_default(),
        Err(_) => LastUse::default(),
    }
}

/// The keys that somebody has.
fn keys(authority: &Authority) -> HashSet<String> {
    let agents = authority.agents.values().flat_map(|agent| &agent.keys);
    let keys = agents.chain(authority.people.values().flat_map(|person| &person.keys));
    keys.map(|key| hex::encode(key.digest)).collect()
}

/// Adds what this machine knows to what replicas keep for each other.
async fn share(store: &dyn Store, here: &LastUse, authority: &Authority) -> Result<(), StoreError> {
    for _ in 0..TRIES {
        let there = store.shared_value(SHARED).await?;
        let mut all = LastUse::parse(there.as_deref());
        if !all.add(here) {
            return Ok(());
        }
        all.keep_only(&keys(authority));
        let all = serde_json::to_vec(&all).map_err(|error| StoreError::Failed(error.to_string()))?;
        if store.replace_shared_value(SHARED, there, all).await? {
            return Ok(());
        }
    }
    Ok(())
}

/// Adds what was used to what stands in the file; keys that nobody has any more go. Other processes write it too.
fn write(folder: &Path, authority: &Authority, used: &[Used]) -> io::Result<()> {
    let lock = open_private(&folder.join(LOCK))?;
    lock.lock()?;
    let mut kept = read(folder);
    kept.add(&LastUse(used.iter().map(|Used { digest, at }| (hex::encode(digest), *at)).collect()));
    kept.keep_only(&keys(authority));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(&serde_json::to_vec(&kept).map_err(io::Error::other)?)?;
    file.persist(folder.join(FILE))?;
    Ok(())
}

/// Notes that a key was used on the command line, at most once a minute. Whoever may not write there does their work all the same.
pub(super) fn was_used(loaded: &Loaded, used: Used) {
    let folder = &loaded.config.gateway.data_dir;
    let known = read(folder).0.get(&hex::encode(used.digest)).is_some_and(|last| *last >= used.at);
    // Where there is no folder yet, this makes none.
    if known || !folder.is_dir() {
        return;
    }
    if let Err(error) = write(folder, &loaded.policies.authority, &[used]) {
        tracing::debug!(%error, "when a key was last used could not be kept");
    }
}

/// Writes what was used, for ever.
pub(super) async fn follow(gateway: Arc<Gateway>) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut shared = LastUse::default();
    loop {
        ticks.tick().await;
        note_beyond(&gateway, &mut shared).await;
    }
}

/// Writes what was used since this was last done.
pub(super) async fn note(gateway: &Arc<Gateway>) {
    note_beyond(gateway, &mut LastUse::default()).await;
}

/// The same, where replicas know `shared` already.
async fn note_beyond(gateway: &Arc<Gateway>, shared: &mut LastUse) {
    let (used, in_force) = (gateway.key_use().take(), gateway.in_force());
    let files = in_force.clone();
    let written = tokio::task::spawn_blocking(move || {
        let folder = &files.config.gateway.data_dir;
        if !used.is_empty() {
            write(folder, &files.policies.authority, &used)?;
        }
        // Commands on this machine have written there, too.
        Ok::<_, io::Error>(read(folder))
    });
    let known = match written.await {
        Ok(Ok(known)) => known,
        Ok(Err(error)) => return tracing::warn!(%error, "when keys were last used could not be kept"),
        Err(error) => return tracing::error!(%error, "when keys were last used could not be kept"),
    };
    if !gateway.store().is_shared() || known == *shared {
        return;
    }
    match share(&**gateway.store(), &known, &in_force.policies.authority).await {
        Ok(()) => *shared = known,
        Err(error) => tracing::debug!(%error, "when keys were last used could not be shared"),
    }
}

/// Keys that have expired, and those that soon will; and the certificate that the listeners show.
pub(super) fn doubts(loaded: &Loaded, now: Timestamp) -> Vec<Problem> {
    let authority = &loaded.policies.authority;
    let agents = authority.agents.values().map(|agent| ("agent", "agents", agent.id.as_str(), &agent.keys));
    let people = authority.people.values().map(|one| ("person", "people", one.id.as_str(), &one.keys));
    let file = loaded.config.gateway.policies.join("authority.yaml");
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    let mut found = Vec::new();
    for (kind, command, name, keys) in agents.chain(people) {
        for key in keys {
            let Some(end) = key.expires else { continue };
            let label = key.label();
            let message = if key.is_over(now) {
                format!("key `{label}` of {kind} `{name}` has expired at {end}: it opens nothing")
            } else if end.duration_since(now) < SOON {
                format!("key `{label}` of {kind} `{name}` expires at {end}")
            } else {
                continue;
            };
            let (line, column) = place(&text, &hex::encode(key.digest));
            found.push(Problem {
                place: Place { file: file.display().to_string(), line, column },
                severity: Severity::Lint,
                message,
                expected: format!("another key (`tollgate {command} rotate {name}`), and this one removed"),
                strict: false,
            });
        }
    }
    found.extend(certificate(&loaded.config, now));
    found
}

/// What is to be said of the certificate of `[gateway] tls`. One that cannot be read is an error of the files.
fn certificate(config: &Config, now: Timestamp) -> Option<Problem> {
    let tls = config.gateway.tls.as_ref()?;
    let end = tls::ends(tls).ok()?;
    let message = if end <= now {
        format!("the certificate of `[gateway] tls` has ended at {end}: no client takes it")
    } else if end.duration_since(now) < SOON {
        format!("the certificate of `[gateway] tls` ends at {end}")
    } else {
        return None;
    };
    Some(Problem {
        place: Place { file: tls.cert.display().to_string(), line: 0, column: 0 },
        severity: Severity::Lint,
        message,
        expected: "another one in its place; `tollgate serve` reads it at SIGHUP".to_owned(),
        strict: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Person;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// What several processes note is merged, the newest counts, and keys that nobody has leave the file.
    #[test]
    fn what_several_processes_note_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let mut authority = Authority::default();
        let person = Person {
            id: "alice".into(),
            keys: vec![ApiKey::new([1; 32]), ApiKey::new([2; 32])],
            groups: vec![],
            roles: vec![],
            capabilities: None,
        };
        authority.people.insert(person.id.clone(), person);
        let used = |digest: u8, second: i64| Used { digest: [digest; 32], at: at(second) };
        let times = || [1, 2, 3].map(|digest| read(folder.path()).of(&ApiKey::new([digest; 32])));
        std::fs::write(folder.path().join(FILE), "no JSON").unwrap();
        write(folder.path(), &authority, &[used(1, 60), used(3, 60)]).unwrap();
        assert_eq!(times(), [Some(at(60)), None, None]);
        write(folder.path(), &authority, &[used(1, 30), used(2, 120)]).unwrap();
        assert_eq!(times(), [Some(at(60)), Some(at(120)), None]);
        authority.people.get_mut("alice").unwrap().keys.remove(0);
        write(folder.path(), &authority, &[]).unwrap();
        assert_eq!(times(), [None, Some(at(120)), None]);
        let whole = std::fs::read_to_string(folder.path().join(FILE)).unwrap();
        assert!(!whole.contains(&"01".repeat(32)), "{whole}");
    }
}
