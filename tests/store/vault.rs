//! The vault on both engines: what is kept encrypted, for whom, until when, and that processes and replicas agree on it (I5).

use crate::store::{
    database::{Database, Server, is_there, server},
    *,
};
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use std::{
    collections::BTreeSet,
    ops::Deref,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tollgate::{
    config::VaultConfig,
    redaction::Tokenized,
    store::{
        NewCredential, Store, StoreError, Vault,
        embedded::EmbeddedStore,
        postgres::{self, Migrated},
    },
};

const KEY: &str = "a-very-long-first-passphrase-of-the-admin";
const LATER_KEY: &str = "the-second-passphrase-is-just-as-long-as-it";

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn token(scope: &str, value: &str, number: u32) -> Tokenized {
    Tokenized {
        placeholder: format!("[token:email:{number:032x}]").into(),
        scope: scope.into(),
        rule: "mails".into(),
        detector: "email".into(),
        value: value.to_owned().into(),
        is_json: false,
    }
}

fn settings(key: Option<&str>, before: Option<&str>) -> VaultConfig {
    let secret = |text: Option<&str>| text.map(|text| SecretString::from(text.to_owned()));
    VaultConfig { key: secret(key), key_before: secret(before), ..VaultConfig::default() }
}

/// Where a vault lies.
enum Place {
    Machine(tempfile::TempDir),
    Database(tempfile::TempDir, Database),
}

/// One process's vault, with the store that it goes with.
struct Process {
    vault: Arc<dyn Vault>,
    _store: Arc<EmbeddedStore>,
}

impl Deref for Process {
    type Target = dyn Vault;

    fn deref(&self) -> &Self::Target {
        &*self.vault
    }
}

impl Process {
    fn of(store: Arc<EmbeddedStore>) -> Self {
        let vault = store.vault().unwrap();
        vault.configure(settings(Some(KEY), None));
        Self { vault, _store: store }
    }
}

impl Place {
    fn machine() -> Self {
        Self::Machine(tempfile::tempdir().unwrap())
    }

    fn database() -> Self {
        Self::Database(tempfile::tempdir().unwrap(), server().database())
    }

    /// One more process, as replicas are on machines of their own.
    fn process(&self) -> Process {
        Process::of(match self {
            Self::Machine(dir) => open(dir.path()),
            Self::Database(dir, database) => database.replica(dir.path()),
        })
    }

    fn file(&self) -> Option<PathBuf> {
        match self {
            Self::Machine(dir) => Some(dir.path().join("tollgate.vault")),
            Self::Database(..) => None,
        }
    }

    /// What a statement says, of the tables VALUES, CREDENTIALS and RING.
    fn sql(&self, sql: &str) -> String {
        let of = |names: [&str; 3]| {
            let sql = sql.replace("VALUES", names[0]).replace("CREDENTIALS", names[1]);
            sql.replace("RING", names[2])
        };
        match self {
            Self::Machine(dir) => {
                let file = rusqlite::Connection::open(dir.path().join("tollgate.vault")).unwrap();
                let sql = of(["kept", "credentials", "ring"]);
                let mut statement = file.prepare(&sql).unwrap();
                let mut rows = statement.query([]).unwrap();
                match rows.next().unwrap() {
                    Some(row) => match row.get_ref(0).unwrap() {
                        rusqlite::types::ValueRef::Integer(number) => number.to_string(),
                        other => other.as_str().unwrap_or_default().to_owned(),
                    },
                    None => String::new(),
                }
            }
            Self::Database(_, database) => {
                let sql = of(["tollgate.vault_values", "tollgate.vault_credentials", "tollgate.vault_ring"]);
                server().sql(&database.name, &sql)
            }
        }
    }

    fn count(&self, sql: &str) -> i64 {
        self.sql(sql).parse().unwrap()
    }

    /// The text of the keys.
    fn keys(&self) -> String {
        match self.file() {
            Some(file) => std::fs::read_to_string(file.with_extension("vault-keys")).unwrap(),
            None => self.sql("SELECT keys FROM RING"),
        }
    }

    /// No value stands there in clear; where it is files, each is for its owner alone.
    #[track_caller]
    fn holds_no(&self, value: &str) {
        let Self::Machine(dir) = self else {
            let rows = |table: &str| {
                let sql = format!(
                    "SELECT count(*) FROM {table} t WHERE position(convert_to('{value}', 'UTF8') in sealed) > 0
                     OR position('{value}' in t::text) > 0"
                );
                self.count(&sql)
            };
            assert_eq!((rows("VALUES"), rows("CREDENTIALS")), (0, 0));
            return;
        };
        let mut files = 0;
        for entry in std::fs::read_dir(dir.path()).unwrap() {
            let path = entry.unwrap().path();
            if !path.file_name().unwrap().to_string_lossy().starts_with("tollgate.vault") {
                continue;
            }
            let bytes = std::fs::read(&path).unwrap();
            assert!(!bytes.windows(value.len()).any(|part| part == value.as_bytes()), "{}", path.display());
            #[cfg(unix)]
            {
                use std::os::unix::fs::PermissionsExt as _;
                let mode = std::fs::metadata(&path).unwrap().permissions().mode();
                assert_eq!(mode & 0o077, 0, "{}", path.display());
            }
            files += 1;
        }
        assert!(files >= 2, "{files}");
    }

    /// Nothing was made for a look.
    fn is_empty(&self) -> bool {
        match self.file() {
            Some(file) => !file.exists(),
            None => self.count("SELECT count(*) FROM RING") == 0,
        }
    }
}

fn values(found: Vec<Tokenized>) -> Vec<String> {
    found.into_iter().map(|token| token.value.to_string()).collect()
}

async fn get(vault: &dyn Vault, token: &Tokenized, scope: &str) -> Result<Vec<String>, StoreError> {
    vault.get(vec![token.placeholder.clone()], vec![scope.into()], at(10)).await.map(values)
}

async fn put_credential(
    vault: &dyn Vault,
    name: &str,
    expected: Option<u64>,
    (value, second): (&str, i64),
) -> Option<u64> {
    let new = NewCredential { expected, value: SecretString::from(value.to_owned()), until: None };
    vault.put_credential(name.to_owned(), new, at(second), [7; 32]).await.unwrap()
}

async fn credential(vault: &dyn Vault, name: &str) -> Option<(u64, String)> {
    let found = vault.credential(name.to_owned()).await.unwrap();
    found.map(|(version, value)| (version, value.expose_secret().to_owned()))
}

/// On one machine, then on PostgreSQL.
async fn on_both(check: impl AsyncFn(&Place)) {
    println!("on one machine");
    check(&Place::machine()).await;
    if is_there() {
        println!("on PostgreSQL");
        check(&Place::database()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_is_for_its_scope_and_no_other() {
    on_both(checks::a_value_is_for_its_scope_and_no_other).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_was_moved_does_not_open() {
    on_both(checks::a_row_that_was_moved_does_not_open).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rotated_keys_leave_every_value_readable_and_the_old_key_worthless() {
    on_both(checks::rotated_keys_leave_every_value_readable_and_the_old_key_worthless).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_key_of_the_keys_changes_and_another_one_reads_nothing() {
    on_both(checks::the_key_of_the_keys_changes_and_another_one_reads_nothing).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_uses_goes_and_one_scope_costs_no_other() {
    on_both(checks::what_nobody_uses_goes_and_one_scope_costs_no_other).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_at_a_value_keeps_it() {
    on_both(checks::a_look_at_a_value_keeps_it).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credential_is_kept_under_its_name_until_it_is_removed() {
    on_both(checks::a_credential_is_kept_under_its_name_until_it_is_removed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_who_replace_a_credential_one_is_first() {
    on_both(checks::of_two_who_replace_a_credential_one_is_first).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ends_by_itself_goes() {
    on_both(checks::what_ends_by_itself_goes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_first_makes_the_key() {
    on_both(checks::whoever_is_first_makes_the_key).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_put_and_rotate_at_once() {
    on_both(checks::processes_put_and_rotate_at_once).await;
}

mod checks {
    use super::*;

    pub(super) async fn a_value_is_for_its_scope_and_no_other(place: &Place) {
        let (one, other) = (place.process(), place.process());
        let mine = token("agent:ada", "grace@navy.example", 1);
        assert!(get(&*one, &mine, "agent:ada").await.unwrap().is_empty());
        assert!(place.is_empty(), "nothing is made by a look");
        assert_eq!(one.retire(at(0)).await.unwrap(), 0);
        assert_eq!(one.rotate(at(0), [1; 32]).await.unwrap(), None);
        assert!(place.is_empty(), "nor where there is nothing to retire or rotate");
        one.put(vec![mine.clone(), mine.clone()], at(0), [7; 32]).await.unwrap();
        // Another process, with other random bytes at hand, uses the same key.
        other.put(vec![token("tenant:acme", "x@y.example", 2)], at(1), [8; 32]).await.unwrap();
        for vault in [&one, &other] {
            assert_eq!(get(&**vault, &mine, "agent:ada").await.unwrap(), ["grace@navy.example"]);
            assert!(get(&**vault, &mine, "agent:eve").await.unwrap().is_empty());
            assert!(get(&**vault, &token("agent:ada", "", 3), "agent:ada").await.unwrap().is_empty());
            assert_eq!(get(&**vault, &token("", "", 2), "tenant:acme").await.unwrap(), ["x@y.example"]);
        }
        let both = vec!["[token:email:00000000000000000000000000000002]".into(), mine.placeholder.clone()];
        let scopes = vec!["agent:ada".into(), "tenant:acme".into()];
        let found = one.get(both, scopes, at(10)).await.unwrap();
        assert_eq!(values(found), ["x@y.example", "grace@navy.example"], "in the order that was asked for");
        place.holds_no("grace@navy.example");
        assert!(!format!("{:?}", one.vault).contains("grace"));
    }

    /// Somebody who edits it hands no value to another agent, rule or placeholder.
    pub(super) async fn a_row_that_was_moved_does_not_open(place: &Place) {
        let one = place.process();
        let mine = token("agent:ada", "grace@navy.example", 1);
        let json = if place.file().is_some() { "json = 1" } else { "json = true" };
        let other = if place.file().is_some() { "sealed = zeroblob(60)" } else { "sealed = '\\x0000000000'" };
        for edit in ["scope = 'agent:eve'", "rule = 'other'", "detector = 'card'", json, other] {
            one.put(vec![mine.clone()], at(0), [7; 32]).await.unwrap();
            place.sql(&format!("UPDATE VALUES SET {edit}"));
            let scope = if edit.starts_with("scope") { "agent:eve" } else { "agent:ada" };
            assert!(get(&*one, &mine, scope).await.is_err(), "{edit}");
            place.sql("DELETE FROM VALUES");
        }
    }

    pub(super) async fn rotated_keys_leave_every_value_readable_and_the_old_key_worthless(place: &Place) {
        let (one, other) = (place.process(), place.process());
        let first = token("agent:ada", "grace@navy.example", 1);
        one.put(vec![first.clone()], at(0), [7; 32]).await.unwrap();
        put_credential(&*one, "connection crm gateway", None, ("s3cret", 0)).await.unwrap();
        assert_eq!(get(&*other, &first, "agent:ada").await.unwrap().len(), 1);
        let before = place.keys();
        let rotated = other.rotate(at(5), [9; 32]).await.unwrap().unwrap();
        assert_eq!((rotated.values, rotated.key, rotated.is_wrapped), (2, 2, true));
        let written = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        let after = written(&place.keys());
        assert_ne!(written(&before)["keys"][0]["sealed"], after["keys"][0]["sealed"]);
        assert_eq!((after["keys"].as_array().unwrap().len(), &after["keys"][0]["id"]), (1, &2.into()));
        // The process that knows the old keys reads, and writes under the new one.
        assert_eq!(get(&*one, &first, "agent:ada").await.unwrap(), ["grace@navy.example"]);
        assert_eq!(credential(&*one, "connection crm gateway").await.unwrap().1, "s3cret");
        let second = token("agent:ada", "later@navy.example", 2);
        one.put(vec![second.clone()], at(6), [3; 32]).await.unwrap();
        assert_eq!(get(&*place.process(), &second, "agent:ada").await.unwrap(), ["later@navy.example"]);
        // Whoever has the old keys and the new values reads nothing.
        match place.file() {
            Some(file) => std::fs::write(file.with_extension("vault-keys"), before).unwrap(),
            None => drop(place.sql(&format!("UPDATE RING SET keys = '{before}'"))),
        }
        assert!(get(&*place.process(), &first, "agent:ada").await.is_err());
    }

    pub(super) async fn the_key_of_the_keys_changes_and_another_one_reads_nothing(place: &Place) {
        let mine = token("agent:ada", "grace@navy.example", 1);
        let one = place.process();
        one.put(vec![mine.clone()], at(0), [7; 32]).await.unwrap();
        let keys = place.keys();
        assert!(keys.contains("sealed") && !keys.contains("\"key\""), "{keys}");
        let wrong = [settings(None, None), settings(Some(LATER_KEY), None), settings(None, Some(LATER_KEY))];
        for wrong in wrong {
            let stranger = place.process();
            let has_one = wrong.key.is_some();
            stranger.configure(wrong);
            let error = get(&*stranger, &mine, "agent:ada").await.unwrap_err().to_string();
            assert_eq!(
                error.contains("encrypted with another `vault_key`: name that one"),
                has_one,
                "{error}"
            );
            assert!(error.contains("vault_key"), "{error}");
            assert!(stranger.put(vec![token("agent:ada", "y", 3)], at(2), [7; 32]).await.is_err());
        }
        assert_eq!(place.keys(), keys);
        // One that has both encrypts the keys anew with its first word, and the one that has the old one alone goes on with what it
        // knows.
        let moved = place.process();
        moved.configure(settings(Some(LATER_KEY), Some(KEY)));
        assert_eq!(get(&*moved, &mine, "agent:ada").await.unwrap().len(), 1);
        moved.put(vec![token("agent:ada", "z", 4)], at(2), [7; 32]).await.unwrap();
        assert_ne!(place.keys(), keys);
        assert_eq!(get(&*one, &mine, "agent:ada").await.unwrap().len(), 1);
        assert!(moved.rotate(at(3), [9; 32]).await.unwrap().unwrap().is_wrapped);
        let later = place.process();
        later.configure(settings(Some(LATER_KEY), None));
        assert_eq!(get(&*later, &mine, "agent:ada").await.unwrap(), ["grace@navy.example"]);
        assert!(get(&*one, &mine, "agent:ada").await.unwrap_err().to_string().contains("vault_key"));
    }

    pub(super) async fn what_nobody_uses_goes_and_one_scope_costs_no_other(place: &Place) {
        let one = place.process();
        one.configure(VaultConfig { retention: Duration::from_secs(100), ..settings(Some(KEY), None) });
        let (old, kept) = (token("agent:eve", "old", 1), token("agent:eve", "kept", 2));
        one.put(vec![old.clone(), kept.clone()], at(-95), [7; 32]).await.unwrap();
        one.put(vec![kept.clone()], at(0), [7; 32]).await.unwrap();
        assert_eq!(one.retire(at(10)).await.unwrap(), 1);
        assert!(get(&*one, &old, "agent:eve").await.unwrap().is_empty());
        assert_eq!(get(&*one, &kept, "agent:eve").await.unwrap(), ["kept"]);
        // Another agent's flood: its own oldest go.
        let flood: Vec<Tokenized> = (0..10_050).map(|n| token("agent:ada", "v", 100 + n)).collect();
        for (second, part) in flood.chunks(2_000).enumerate() {
            one.put(part.to_vec(), at(second as i64), [7; 32]).await.unwrap();
        }
        let count =
            |scope: &str| place.count(&format!("SELECT count(*) FROM VALUES WHERE scope = '{scope}'"));
        assert_eq!((count("agent:ada"), count("agent:eve")), (10_000, 1));
        // Of those that were used at the same time any.
        assert!(get(&*one, &flood[1_999], "agent:ada").await.unwrap().is_empty());
        assert_eq!(get(&*one, flood.last().unwrap(), "agent:ada").await.unwrap(), ["v"]);
        // The same by bytes.
        let large = "x".repeat(64 << 10);
        let flood: Vec<Tokenized> = (0..1_100).map(|n| token("agent:bot", &large, 50_000 + n)).collect();
        one.put(flood, at(9), [7; 32]).await.unwrap();
        let bytes = place.count("SELECT sum(bytes) FROM VALUES WHERE scope = 'agent:bot'");
        assert!(bytes <= 64 << 20 && bytes > 32 << 20, "{bytes}");
    }

    /// When it was used is known to the hour.
    pub(super) async fn a_look_at_a_value_keeps_it(place: &Place) {
        let (one, other) = (place.process(), place.process());
        let mine = token("agent:ada", "grace@navy.example", 1);
        one.put(vec![mine.clone()], at(-7_000), [7; 32]).await.unwrap();
        let used = || place.count("SELECT used FROM VALUES");
        let look = async |second: i64| {
            let (names, scopes) = (vec![mine.placeholder.clone()], vec!["agent:ada".into()]);
            other.get(names, scopes, at(second)).await.unwrap().len()
        };
        assert_eq!((look(-5_000).await, used()), (1, at(-7_000).as_second()));
        assert_eq!((look(0).await, used()), (1, at(0).as_second()));
        other.configure(VaultConfig { retention: Duration::from_secs(50), ..settings(Some(KEY), None) });
        assert_eq!(look(51).await, 0, "it is too old, though nobody has removed it yet");
    }

    /// A credential is replaced where it is the one that was expected, outlives a rotation, and is gone when it is removed.
    pub(super) async fn a_credential_is_kept_under_its_name_until_it_is_removed(place: &Place) {
        let (one, other) = (place.process(), place.process());
        let (alice, bob) = ("connection crm person:alice", "connection crm person:bob");
        assert_eq!(credential(&*one, alice).await, None);
        assert!(!one.remove_credential(alice.to_owned(), None).await.unwrap());
        assert!(place.is_empty(), "nothing is made by a look");
        let first = put_credential(&*one, alice, Some(0), ("first-s3cret", 0)).await.unwrap();
        assert_eq!(put_credential(&*other, alice, Some(0), ("late-s3cret", 1)).await, None, "there is one");
        // A clock that goes back makes no version twice.
        let second = put_credential(&*other, alice, Some(first), ("second-s3cret", -60)).await.unwrap();
        assert!(second > first);
        assert_eq!(put_credential(&*one, alice, Some(first), ("stale-s3cret", 2)).await, None);
        put_credential(&*one, bob, None, ("bobs-s3cret", 2)).await.unwrap();
        assert_eq!(credential(&*one, alice).await, Some((second, "second-s3cret".to_owned())));
        place.holds_no("s3cret");
        assert_eq!(one.rotate(at(3), [9; 32]).await.unwrap().unwrap().values, 2);
        assert_eq!(credential(&*other, alice).await, Some((second, "second-s3cret".to_owned())));
        // Under another name, or in place of a newer one, it is nothing.
        place.sql(&format!(
            "UPDATE CREDENTIALS SET sealed = (SELECT sealed FROM CREDENTIALS WHERE name = '{bob}')"
        ));
        let unreadable = one.credential(alice.to_owned()).await.map(drop);
        assert!(matches!(unreadable, Err(StoreError::Damaged(_))), "{unreadable:?}");
        // Another one than is meant is not removed.
        assert!(!other.remove_credential(alice.to_owned(), Some(first)).await.unwrap());
        assert!(one.remove_credential(alice.to_owned(), Some(second)).await.unwrap());
        assert!(!other.remove_credential(alice.to_owned(), None).await.unwrap());
        assert_eq!(credential(&*one, alice).await, None);
        assert_eq!(credential(&*one, bob).await.unwrap().1, "bobs-s3cret");
    }

    /// This is what keeps two that renew one token from breaking each other.
    pub(super) async fn of_two_who_replace_a_credential_one_is_first(place: &Place) {
        let processes = [Arc::new(place.process()), Arc::new(place.process())];
        let mut version = put_credential(&**processes[0], "c", Some(0), ("0", 0)).await.unwrap();
        let mut all = BTreeSet::from([version]);
        for round in 1..=10_i64 {
            let racing = (0..4).map(|n| {
                let process = processes[n % 2].clone();
                // Clocks differ from machine to machine.
                let second = if n % 2 == 0 { round } else { -round };
                tokio::spawn(async move {
                    put_credential(&**process, "c", Some(version), (&format!("{round} {n}"), second)).await
                })
            });
            let racing: Vec<_> = racing.collect();
            let mut won = Vec::new();
            for (n, one) in racing.into_iter().enumerate() {
                won.extend(one.await.unwrap().map(|version| (n, version)));
            }
            assert_eq!(won.len(), 1, "{won:?}");
            let (n, made) = won[0];
            assert!(all.insert(made) && made > version, "{made} {all:?}");
            assert_eq!(credential(&**processes[1], "c").await, Some((made, format!("{round} {n}"))));
            version = made;
        }
        // Of two who take one, one has it.
        let taking = [0, 1].map(|n: usize| {
            let process = processes[n].clone();
            tokio::spawn(async move { process.remove_credential("c".to_owned(), Some(version)).await })
        });
        let mut taken = 0;
        for one in taking {
            taken += usize::from(one.await.unwrap().unwrap());
        }
        assert_eq!(taken, 1);
    }

    pub(super) async fn what_ends_by_itself_goes(place: &Place) {
        let one = place.process();
        let put = async |name: &str, until: Option<i64>, second: i64| {
            let new = NewCredential { expected: None, value: "v".to_owned().into(), until: until.map(at) };
            one.put_credential(name.to_owned(), new, at(second), [7; 32]).await.unwrap().unwrap()
        };
        put("stays", None, 0).await;
        put("a", Some(100), 0).await;
        put("b", Some(200), 0).await;
        assert_eq!(one.rotate(at(50), [9; 32]).await.unwrap().unwrap().values, 3);
        put("c", Some(300), 100).await;
        assert_eq!(credential(&*one, "a").await, None, "the next one that is kept makes it go");
        assert!(credential(&*one, "b").await.is_some());
        assert_eq!(one.retire(at(250)).await.unwrap(), 0, "it is no value");
        assert_eq!(credential(&*one, "b").await, None);
        // What is put in its place stays.
        put("c", None, 260).await;
        one.retire(at(400)).await.unwrap();
        assert!(credential(&*one, "c").await.is_some() && credential(&*one, "stays").await.is_some());
    }

    pub(super) async fn whoever_is_first_makes_the_key(place: &Place) {
        let processes: Vec<_> = (0..4).map(|_| Arc::new(place.process())).collect();
        let putting: Vec<_> = (0..8_u8)
            .map(|n| {
                let process = processes[usize::from(n) % 4].clone();
                tokio::spawn(async move {
                    let token = token("agent:ada", &format!("value {n}"), u32::from(n));
                    process.put(vec![token], at(0), [n; 32]).await
                })
            })
            .collect();
        for one in putting {
            one.await.unwrap().unwrap();
        }
        for n in 0..8 {
            let found = get(&**processes[0], &token("", "", n), "agent:ada").await.unwrap();
            assert_eq!(found, [format!("value {n}")]);
        }
        assert_eq!(place.count("SELECT count(*) FROM RING"), 1);
    }

    /// Whatever is put while keys are rotated can be read afterwards, by all, and nothing but the newest key is left.
    pub(super) async fn processes_put_and_rotate_at_once(place: &Place) {
        let processes = [Arc::new(place.process()), Arc::new(place.process()), Arc::new(place.process())];
        processes[0].put(vec![token("agent:ada", "value 0", 0)], at(0), [7; 32]).await.unwrap();
        let putting = [1_u32, 2].map(|half| {
            let process = processes[half as usize].clone();
            tokio::spawn(async move {
                for n in 0..60 {
                    let number = half * 1_000 + n;
                    let token = token("agent:ada", &format!("value {number}"), number);
                    process.put(vec![token.clone()], at(1), [8; 32]).await.unwrap();
                    assert_eq!(get(&**process, &token, "agent:ada").await.unwrap(), [token.value.as_str()]);
                    put_credential(&**process, &format!("c{half}"), None, (&format!("{n}"), 1))
                        .await
                        .unwrap();
                    assert_eq!(credential(&**process, &format!("c{half}")).await.unwrap().1, format!("{n}"));
                }
            })
        });
        let mut newest = 0;
        for round in 0..6_u8 {
            newest = processes[0].rotate(at(2), [round + 10; 32]).await.unwrap().unwrap().key;
        }
        for one in putting {
            one.await.unwrap();
        }
        for process in &processes {
            for number in [0].into_iter().chain(1_000..1_060).chain(2_000..2_060) {
                let found = get(&***process, &token("", "", number), "agent:ada").await.unwrap();
                assert_eq!(found, [format!("value {number}")]);
            }
        }
        assert_eq!(newest, 7);
        assert_eq!(place.count("SELECT count(*) FROM VALUES WHERE key <> 7"), 0);
        assert_eq!(place.count("SELECT count(*) FROM CREDENTIALS WHERE key <> 7"), 0);
    }
}

/// In a database keys lie beside what they encrypt: without a key of the machines nothing is kept, nothing is made, and it is said.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_keeps_nothing_without_a_vault_key() {
    if !is_there() {
        return;
    }
    let place = Place::database();
    let one = place.process();
    one.configure(VaultConfig::default());
    let put = one.put(vec![token("agent:ada", "v", 1)], at(0), [7; 32]).await.unwrap_err().to_string();
    assert!(put.contains("`[store] vault_key` is not set"), "{put}");
    let new = NewCredential { expected: None, value: "v".to_owned().into(), until: None };
    assert!(one.put_credential("c".to_owned(), new, at(0), [7; 32]).await.is_err());
    assert!(place.is_empty());
}

/// Two rotations at once, and one that comes to nothing in the middle, cost no value.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_in_the_database_that_is_broken_off_costs_nothing() {
    if !is_there() {
        return;
    }
    let place = Place::database();
    let (one, other) = (Arc::new(place.process()), Arc::new(place.process()));
    let all: Vec<Tokenized> = (0..500).map(|n| token("agent:ada", &format!("value {n}"), n)).collect();
    one.put(all.clone(), at(0), [7; 32]).await.unwrap();
    place.sql(
        "CREATE FUNCTION tollgate.no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'a drill'; END $$;
         CREATE TRIGGER no BEFORE UPDATE OF sealed ON VALUES FOR EACH ROW
         WHEN (OLD.placeholder = '[token:email:0000000000000000000000000000012c]') EXECUTE FUNCTION tollgate.no()",
    );
    let broken = one.rotate(at(1), [8; 32]).await.unwrap_err().to_string();
    assert!(broken.contains("PostgreSQL at") && broken.contains("a drill"), "{broken}");
    assert_eq!(place.sql("SELECT count(DISTINCT key) FROM VALUES"), "2");
    let readable = async |vault: &dyn Vault| {
        let names = all.iter().map(|token| token.placeholder.clone()).collect();
        vault.get(names, vec!["agent:ada".into()], at(10)).await.unwrap().len()
    };
    assert_eq!((readable(&**one).await, readable(&**other).await), (500, 500));
    place.sql("DROP TRIGGER no ON VALUES");
    let rotating = [one.clone(), other.clone()].map(|process| {
        tokio::spawn(async move { process.rotate(at(2), [9; 32]).await.unwrap().unwrap().key })
    });
    let mut keys = Vec::new();
    for rotated in rotating {
        keys.push(rotated.await.unwrap());
    }
    keys.sort_unstable();
    assert_eq!(keys, [3, 4]);
    assert_eq!((readable(&**one).await, readable(&**other).await), (500, 500));
    assert_eq!(place.sql("SELECT string_agg(DISTINCT key::text, ',') FROM VALUES"), "4");
    let written: serde_json::Value = serde_json::from_str(&place.keys()).unwrap();
    assert_eq!(written["keys"].as_array().unwrap().len(), 1);
}

/// While the database is away it is said which; when it is back, everything goes on by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vault_whose_database_is_away_says_so_and_goes_on_afterwards() {
    if !is_there() {
        return;
    }
    let mut own = Server::start();
    let (dir, database) = (tempfile::tempdir().unwrap(), own.database());
    let one = Process::of(database.replica(dir.path()));
    let mine = token("agent:ada", "grace@navy.example", 1);
    one.put(vec![mine.clone()], at(0), [7; 32]).await.unwrap();
    let version = put_credential(&*one, "c", None, ("s3cret", 0)).await.unwrap();
    assert_eq!(get(&*one, &mine, "agent:ada").await.unwrap().len(), 1);
    own.stop("INT");
    let new = NewCredential { expected: Some(version), value: "t".to_owned().into(), until: None };
    let told = [
        get(&*one, &mine, "agent:ada").await.map(drop),
        one.put(vec![mine.clone()], at(1), [7; 32]).await,
        one.credential("c".to_owned()).await.map(drop),
        one.put_credential("c".to_owned(), new, at(1), [7; 32]).await.map(drop),
        one.remove_credential("c".to_owned(), None).await.map(drop),
        one.retire(at(1)).await.map(drop),
    ];
    for told in told {
        let told = told.unwrap_err().to_string();
        assert!(told.contains("PostgreSQL at ") && told.contains(&database.name), "{told}");
        assert!(!told.contains("grace") && !told.contains(KEY), "{told}");
    }
    own.run(&[]);
    assert_eq!(get(&*one, &mine, "agent:ada").await.unwrap(), ["grace@navy.example"]);
    one.put(vec![token("agent:ada", "x", 2)], at(2), [7; 32]).await.unwrap();
    assert!(put_credential(&*one, "c", Some(version), ("next", 2)).await.is_some());
    // Connections that the server ends are made anew, without an error where nothing was under way.
    own.sql(&database.name, "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()");
    assert_eq!(credential(&*one, "c").await.unwrap().1, "next");
    one.put(vec![token("agent:ada", "y", 3)], at(3), [7; 32]).await.unwrap();
}

/// A database of before has no vault: the first start makes it, also where two come at once; one of a newer Tollgate is left alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_database_gets_a_vault_and_a_newer_one_is_refused() {
    if !is_there() {
        return;
    }
    let (dir, database) = (tempfile::tempdir().unwrap(), server().database());
    database.replica(dir.path()).close().await;
    let sql = |text: &str| server().sql(&database.name, text);
    assert_eq!(sql("SELECT version FROM tollgate.version"), "3");
    sql("DROP TABLE tollgate.vault_ring, tollgate.vault_values, tollgate.vault_credentials;
         ALTER TABLE tollgate.replicas DROP COLUMN snapshot; UPDATE tollgate.version SET version = 1");
    let folders: Vec<PathBuf> = (0..4).map(|n| dir.path().join(format!("at-once-{n}"))).collect();
    let stores: Vec<_> = std::thread::scope(|scope| {
        let starts: Vec<_> =
            folders.iter().map(|folder| scope.spawn(|| database.try_open(folder).unwrap())).collect();
        starts.into_iter().map(|start| start.join().unwrap()).collect()
    });
    assert_eq!(sql("SELECT version FROM tollgate.version"), "3");
    let mine = token("agent:ada", "grace@navy.example", 1);
    let processes: Vec<Process> = stores.into_iter().map(Process::of).collect();
    processes[0].put(vec![mine.clone()], at(0), [7; 32]).await.unwrap();
    assert_eq!(get(&*processes[3], &mine, "agent:ada").await.unwrap().len(), 1);
    sql("UPDATE tollgate.version SET version = 4");
    let refused = database.try_open(&dir.path().join("newer")).map(drop).unwrap_err().to_string();
    assert!(refused.contains("its tables are of version 4, and this Tollgate knows 3"), "{refused}");
}

fn migrate(dir: &Path, database: &Database, settings: &VaultConfig) -> Result<Migrated, StoreError> {
    let url = database.url.clone().into();
    postgres::migrate(&crate::store::database(dir), dir, (&url, settings, Vec::new()), Box::new(|_, _| {}))
}

/// A vault goes along with its record, whole or not at all, and never without a key that encrypts its keys.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vault_is_taken_to_the_database_with_its_record() {
    if !is_there() {
        return;
    }
    let (dir, database) = (tempfile::tempdir().unwrap(), server().database());
    let old = Process::of(open(dir.path()));
    // Its keys lie there in clear until now.
    old.configure(VaultConfig::default());
    let all: Vec<Tokenized> = (0..450).map(|n| token("agent:ada", &format!("value {n}"), n)).collect();
    old.put(all.clone(), at(0), [7; 32]).await.unwrap();
    old.rotate(at(1), [8; 32]).await.unwrap();
    let version = put_credential(&*old, "connection crm gateway", None, ("s3cret", 0)).await.unwrap();
    let passing = NewCredential { expected: None, value: "p".to_owned().into(), until: Some(at(600)) };
    old.put_credential("sign-in x".to_owned(), passing, at(0), [7; 32]).await.unwrap();
    old._store.close().await;
    drop(old);
    let place = Place::Database(dir, database);
    let Place::Database(dir, database) = &place else { return };
    let refused = migrate(dir.path(), database, &VaultConfig::default()).unwrap_err().to_string();
    let told = "keeps 450 values of `tokenize` and 1 credentials, and `[store]` has no `vault_key`";
    assert!(refused.contains(told) && refused.contains("openssl rand"), "{refused}");
    // What cannot be read is said, and nothing of all is there.
    let file = rusqlite::Connection::open(dir.path().join("tollgate.vault")).unwrap();
    let edit = |rule: &str| {
        file.execute("UPDATE kept SET rule = ?1 WHERE placeholder = ?2", [rule, &*all[433].placeholder])
            .unwrap();
    };
    edit("other");
    let damaged = migrate(dir.path(), database, &settings(Some(KEY), None)).unwrap_err().to_string();
    assert!(damaged.contains("`tollgate store rotate-key` removes what nobody can read"), "{damaged}");
    let there = "SELECT (SELECT count(*) FROM RING) + (SELECT count(*) FROM VALUES) + (SELECT count(*) FROM tollgate.head)
        + (SELECT count(*) FROM tollgate.frames) + (SELECT count(*) FROM tollgate.keys)";
    assert_eq!(place.sql(there), "0");
    edit("mails");
    let taken = migrate(dir.path(), database, &settings(Some(KEY), None)).unwrap();
    assert_eq!(taken.vault, (450, 1));
    let keys = place.keys();
    assert!(keys.contains("sealed") && !keys.contains("\"key\""), "{keys}");
    let replica = place.process();
    let names = all.iter().map(|token| token.placeholder.clone()).collect();
    let found = replica.get(names, vec!["agent:ada".into()], at(10)).await.unwrap();
    assert_eq!(values(found), values(all));
    assert_eq!(credential(&*replica, "connection crm gateway").await, Some((version, "s3cret".to_owned())));
    assert_eq!(credential(&*replica, "sign-in x").await, None, "nobody comes back to it");
    // No version comes twice, here as there.
    let next = put_credential(&*replica, "connection crm gateway", Some(version), ("next", -99)).await;
    assert!(next.unwrap() > version);
    assert_eq!(replica.rotate(at(9), [5; 32]).await.unwrap().unwrap().key, 3);
    let stranger = place.process();
    stranger.configure(settings(Some(LATER_KEY), None));
    assert!(credential_error(&*stranger).await.contains("encrypted with another `vault_key`"));
}

async fn credential_error(vault: &dyn Vault) -> String {
    vault.credential("connection crm gateway".to_owned()).await.map(drop).unwrap_err().to_string()
}

/// What all scopes have too much of together is removed a part at a time: what is done stays done where a later part has to wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn room_for_all_is_made_a_part_at_a_time() {
    if !is_there() {
        return;
    }
    let (dir, database) = (tempfile::tempdir().unwrap(), server().database());
    let process = Process::of(database.replica(dir.path()));
    process.put(vec![token("one", "a@example.com", 1)], at(0), [7; 32]).await.unwrap();
    // 2.5 GiB in the book, of which one may stay.
    let many = format!(
        "INSERT INTO tollgate.vault_values(placeholder, scope, rule, detector, json, key, sealed, bytes, used)
         SELECT 'p' || n, 'many', 'mails', 'email', false, 1, '\\x00', 1 << 20, {} + n FROM generate_series(1, 2560) n",
        at(0).as_second()
    );
    server().sql(&database.name, &many);
    let count =
        || server().sql(&database.name, "SELECT count(*) FROM tollgate.vault_values WHERE scope = 'many'");
    let mut person = server().person(&database.name);
    person.run("BEGIN; SELECT FROM tollgate.vault_values WHERE placeholder = 'p1500' FOR UPDATE");
    process.retire(at(1)).await.unwrap_err();
    assert_eq!(count(), "1560");
    drop(person);
    process.retire(at(1)).await.unwrap();
    assert_eq!(count(), "560");
}
