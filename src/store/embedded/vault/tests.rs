use super::*;
use secrecy::SecretString;

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

fn values(found: Vec<Tokenized>) -> Vec<String> {
    found.into_iter().map(|token| token.value.to_string()).collect()
}

/// One process's vault on this folder.
fn vault(folder: &Path) -> EmbeddedVault {
    EmbeddedVault::beside(&folder.join("tollgate.db"))
}

async fn get(vault: &EmbeddedVault, token: &Tokenized, scope: &str) -> Result<Vec<String>, StoreError> {
    vault.get(vec![token.placeholder.clone()], vec![scope.into()], at(10)).await.map(values)
}

/// No file of the vault holds a value in clear, and each is for its owner alone.
#[track_caller]
fn holds_no(folder: &Path, value: &str) {
    let mut files = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        assert!(!bytes.windows(value.len()).any(|part| part == value.as_bytes()), "{}", path.display());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(
                std::fs::metadata(&path).unwrap().permissions().mode() & 0o077,
                0,
                "{}",
                path.display()
            );
        }
        files += 1;
    }
    assert!(files >= 2, "{files}");
}

#[tokio::test]
async fn a_value_is_for_its_scope_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (vault(folder.path()), vault(folder.path()));
    let mine = token("agent:ada", "grace@navy.example", 1);
    // Nothing is made by a look.
    assert!(get(&one, &mine, "agent:ada").await.unwrap().is_empty());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    one.put(vec![mine.clone(), mine.clone()], at(0), [7; 32]).await.unwrap();
    // Another process, with other random bytes at hand, uses the same key.
    other.put(vec![token("tenant:acme", "x@y.example", 2)], at(1), [8; 32]).await.unwrap();
    for vault in [&one, &other] {
        assert_eq!(get(vault, &mine, "agent:ada").await.unwrap(), ["grace@navy.example"]);
        assert!(get(vault, &mine, "agent:eve").await.unwrap().is_empty());
        assert!(get(vault, &token("agent:ada", "", 3), "agent:ada").await.unwrap().is_empty());
        assert_eq!(get(vault, &token("", "", 2), "tenant:acme").await.unwrap(), ["x@y.example"]);
    }
    holds_no(folder.path(), "grace@navy.example");
    assert!(!format!("{one:?}").contains("grace"));
}

/// Somebody who edits the file hands no value to another agent, rule or placeholder.
#[tokio::test]
async fn a_row_that_was_moved_does_not_open() {
    for edit in
        ["scope = 'agent:eve'", "rule = 'other'", "detector = 'card'", "json = 1", "sealed = zeroblob(60)"]
    {
        let folder = tempfile::tempdir().unwrap();
        let one = vault(folder.path());
        let mine = token("agent:ada", "grace@navy.example", 1);
        one.put(vec![mine.clone()], at(0), [7; 32]).await.unwrap();
        let file = Connection::open(folder.path().join("tollgate.vault")).unwrap();
        file.execute(&format!("UPDATE kept SET {edit}"), []).unwrap();
        let scope = if edit.starts_with("scope") { "agent:eve" } else { "agent:ada" };
        assert!(get(&one, &mine, scope).await.is_err(), "{edit}");
    }
}

#[tokio::test]
async fn rotated_keys_leave_every_value_readable_and_the_old_key_worthless() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (vault(folder.path()), vault(folder.path()));
    assert_eq!(one.rotate(at(0), [1; 32]).await.unwrap(), None);
    let first = token("agent:ada", "grace@navy.example", 1);
    one.put(vec![first.clone()], at(0), [7; 32]).await.unwrap();
    assert_eq!(get(&other, &first, "agent:ada").await.unwrap().len(), 1);
    let keys = folder.path().join("tollgate.vault-keys");
    let before = std::fs::read_to_string(&keys).unwrap();
    let rotated = other.rotate(at(5), [9; 32]).await.unwrap().unwrap();
    assert_eq!((rotated.values, rotated.key, rotated.is_wrapped), (1, 2, false));
    let after = std::fs::read_to_string(&keys).unwrap();
    let key_of =
        |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap()["keys"][0]["key"].clone();
    assert_ne!(key_of(&before), key_of(&after));
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&after).unwrap()["keys"].as_array().unwrap().len(),
        1
    );
    // The process that knows the old keys reads, and writes under the new one.
    assert_eq!(get(&one, &first, "agent:ada").await.unwrap(), ["grace@navy.example"]);
    let second = token("agent:ada", "later@navy.example", 2);
    one.put(vec![second.clone()], at(6), [3; 32]).await.unwrap();
    assert_eq!(get(&vault(folder.path()), &second, "agent:ada").await.unwrap(), ["later@navy.example"]);
    // Whoever has the old keys and the new file reads nothing.
    std::fs::write(&keys, before).unwrap();
    assert!(get(&vault(folder.path()), &first, "agent:ada").await.is_err());
}

/// With `vault_key` the keys lie there encrypted, from the moment it is set, and move with it.
#[tokio::test]
async fn keys_are_wrapped_and_the_wrapping_key_changes() {
    let folder = tempfile::tempdir().unwrap();
    let mine = token("agent:ada", "grace@navy.example", 1);
    let (a, b) = ("a-very-long-first-passphrase-of-the-admin", "the-second-passphrase-is-just-as-long-as-it");
    let one = vault(folder.path());
    one.put(vec![mine.clone()], at(0), [7; 32]).await.unwrap();
    let file = || std::fs::read_to_string(folder.path().join("tollgate.vault-keys")).unwrap();
    assert!(file().contains("\"key\"") && !file().contains("sealed"));
    one.configure(settings(Some(a), None));
    assert_eq!(get(&one, &mine, "agent:ada").await.unwrap().len(), 1);
    one.put(vec![token("agent:ada", "x", 2)], at(1), [7; 32]).await.unwrap();
    assert!(file().contains("sealed") && !file().contains("\"key\""), "{}", file());
    for wrong in [settings(None, None), settings(Some(b), None), settings(None, Some(b))] {
        let stranger = vault(folder.path());
        stranger.configure(wrong);
        let error = get(&stranger, &mine, "agent:ada").await.unwrap_err().to_string();
        assert!(error.contains("vault_key"), "{error}");
        assert!(stranger.put(vec![token("agent:ada", "y", 3)], at(2), [7; 32]).await.is_err());
    }
    let moved = vault(folder.path());
    moved.configure(settings(Some(b), Some(a)));
    assert!(moved.rotate(at(3), [9; 32]).await.unwrap().unwrap().is_wrapped);
    let later = vault(folder.path());
    later.configure(settings(Some(b), None));
    assert_eq!(get(&later, &mine, "agent:ada").await.unwrap(), ["grace@navy.example"]);
}

/// A process that dies as it rotates leaves everything readable.
#[tokio::test]
async fn a_rotation_that_was_broken_off_costs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mine = token("agent:ada", "grace@navy.example", 1);
    let one = vault(folder.path());
    one.put(vec![mine.clone()], at(0), [7; 32]).await.unwrap();
    // The file with both keys was written, and no value yet.
    let file = folder.path().join("tollgate.vault-keys");
    let mut ring = keys::read(&file, &VaultConfig::default()).unwrap().unwrap();
    ring.add([8; 32], at(1)).unwrap();
    keys::write(&mut ring, &file, &VaultConfig::default()).unwrap();
    let two = vault(folder.path());
    two.put(vec![token("agent:ada", "x", 2)], at(2), [9; 32]).await.unwrap();
    assert_eq!(get(&two, &mine, "agent:ada").await.unwrap().len(), 1);
    assert_eq!(two.rotate(at(3), [5; 32]).await.unwrap().unwrap().values, 2);
    assert_eq!(get(&one, &mine, "agent:ada").await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_nobody_uses_goes_and_one_scope_costs_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let one = vault(folder.path());
    one.configure(VaultConfig { retention: Duration::from_secs(100), ..VaultConfig::default() });
    let (old, kept) = (token("agent:eve", "old", 1), token("agent:eve", "kept", 2));
    one.put(vec![old.clone(), kept.clone()], at(-95), [7; 32]).await.unwrap();
    one.put(vec![kept.clone()], at(0), [7; 32]).await.unwrap();
    assert_eq!(one.retire(at(10)).await.unwrap(), 1);
    assert!(get(&one, &old, "agent:eve").await.unwrap().is_empty());
    assert_eq!(get(&one, &kept, "agent:eve").await.unwrap(), ["kept"]);
    // Another agent's flood: its own oldest go.
    let flood: Vec<Tokenized> = (0..10_050).map(|n| token("agent:ada", "v", 100 + n)).collect();
    for (at_second, part) in flood.chunks(2_000).enumerate() {
        one.put(part.to_vec(), at(at_second as i64), [7; 32]).await.unwrap();
    }
    let file = Connection::open(folder.path().join("tollgate.vault")).unwrap();
    let count = |scope: &str| -> i64 {
        file.query_row("SELECT count(*) FROM kept WHERE scope = ?1", [scope], |row| row.get(0)).unwrap()
    };
    assert_eq!((count("agent:ada"), count("agent:eve")), (MOST_VALUES, 1));
    // Of those that were used at the same time any.
    assert!(get(&one, &flood[1_999], "agent:ada").await.unwrap().is_empty());
    assert_eq!(get(&one, flood.last().unwrap(), "agent:ada").await.unwrap(), ["v"]);
    // The same by bytes.
    let large = "x".repeat(64 << 10);
    let flood: Vec<Tokenized> = (0..1_100).map(|n| token("agent:bot", &large, 50_000 + n)).collect();
    one.put(flood, at(9), [7; 32]).await.unwrap();
    let bytes: i64 = file
        .query_row("SELECT sum(bytes) FROM kept WHERE scope = 'agent:bot'", [], |row| row.get(0))
        .unwrap();
    assert!(bytes <= MOST_BYTES && bytes > MOST_BYTES / 2, "{bytes}");
}

/// A credential is replaced where it is the one that was expected, outlives a rotation, and is gone when it is removed.
#[tokio::test]
async fn a_credential_is_kept_under_its_name_until_it_is_removed() {
    use secrecy::ExposeSecret as _;
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (vault(folder.path()), vault(folder.path()));
    let (alice, bob) = ("connection crm person:alice", "connection crm person:bob");
    let put = async |vault: &EmbeddedVault, name: &str, expected: Option<u64>, value: &str, second: i64| {
        let value = SecretString::from(value.to_owned());
        vault.put_credential(name.to_owned(), (expected, value), at(second), [7; 32]).await.unwrap()
    };
    let get = async |vault: &EmbeddedVault, name: &str| {
        let found = vault.credential(name.to_owned()).await.unwrap();
        found.map(|(version, value)| (version, value.expose_secret().to_owned()))
    };
    assert_eq!(get(&one, alice).await, None);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is made by a look");
    let first = put(&one, alice, Some(0), "first-s3cret", 0).await.unwrap();
    assert_eq!(put(&other, alice, Some(0), "late-s3cret", 1).await, None, "there is one");
    // A clock that goes back makes no version twice.
    let second = put(&other, alice, Some(first), "second-s3cret", -60).await.unwrap();
    assert!(second > first);
    assert_eq!(put(&one, alice, Some(first), "stale-s3cret", 2).await, None);
    put(&one, bob, None, "bobs-s3cret", 2).await.unwrap();
    assert_eq!(get(&one, alice).await, Some((second, "second-s3cret".to_owned())));
    holds_no(folder.path(), "s3cret");
    assert_eq!(one.rotate(at(3), [9; 32]).await.unwrap().unwrap().values, 2);
    assert_eq!(get(&other, alice).await, Some((second, "second-s3cret".to_owned())));
    // Under another name, or in place of a newer one, it is nothing.
    let file = rusqlite::Connection::open(folder.path().join("tollgate.vault")).unwrap();
    file.execute("UPDATE credentials SET sealed = (SELECT sealed FROM credentials WHERE name = ?1)", [bob])
        .unwrap();
    let unreadable = one.credential(alice.to_owned()).await.map(drop);
    assert!(matches!(unreadable, Err(StoreError::Damaged(_))), "{unreadable:?}");
    // Another one than is meant is not removed.
    assert!(!other.remove_credential(alice.to_owned(), Some(first)).await.unwrap());
    assert!(one.remove_credential(alice.to_owned(), Some(second)).await.unwrap());
    assert!(!other.remove_credential(alice.to_owned(), None).await.unwrap());
    assert_eq!((get(&one, alice).await, get(&one, bob).await.unwrap().1.as_str()), (None, "bobs-s3cret"));
}
