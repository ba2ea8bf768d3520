//! What only the vault of one machine has: its file of keys. The rest is in `tests/store/vault.rs`, for both engines.

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

/// One process's vault on this folder.
fn vault(folder: &Path) -> EmbeddedVault {
    EmbeddedVault::beside(&folder.join("tollgate.db"))
}

async fn get(vault: &EmbeddedVault, token: &Tokenized, scope: &str) -> Result<Vec<String>, StoreError> {
    let found = vault.get(vec![token.placeholder.clone()], vec![scope.into()], at(10)).await?;
    Ok(found.into_iter().map(|token| token.value.to_string()).collect())
}

/// With `vault_key` keys that lay there in clear lie there encrypted, from the next write on.
#[tokio::test]
async fn keys_in_clear_are_encrypted_once_there_is_a_vault_key() {
    let folder = tempfile::tempdir().unwrap();
    let mine = token("agent:ada", "grace@navy.example", 1);
    let one = vault(folder.path());
    one.put(vec![mine.clone()], at(0), [7; 32]).await.unwrap();
    let file = || std::fs::read_to_string(folder.path().join("tollgate.vault-keys")).unwrap();
    assert!(file().contains("\"key\"") && !file().contains("sealed"));
    let key = SecretString::from("a-very-long-first-passphrase-of-the-admin".to_owned());
    one.configure(VaultConfig { key: Some(key), ..VaultConfig::default() });
    assert_eq!(get(&one, &mine, "agent:ada").await.unwrap().len(), 1);
    one.put(vec![token("agent:ada", "x", 2)], at(1), [7; 32]).await.unwrap();
    assert!(file().contains("sealed") && !file().contains("\"key\""), "{}", file());
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

/// A vault of before knows no credentials that end by themselves, and learns of them.
#[tokio::test]
async fn a_vault_of_before_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let file = Connection::open(folder.path().join("tollgate.vault")).unwrap();
    let before = "CREATE TABLE credentials(
        name TEXT PRIMARY KEY, version INTEGER NOT NULL, key INTEGER NOT NULL, sealed BLOB NOT NULL) WITHOUT ROWID;";
    file.execute_batch(&format!("{SCHEMA} {before}")).unwrap();
    let one = vault(folder.path());
    let put = async |name: &str, until: Option<Timestamp>| {
        let new = NewCredential { expected: Some(0), value: "v".to_owned().into(), until };
        one.put_credential(name.to_owned(), new, at(0), [7; 32]).await.unwrap()
    };
    assert!(put("stays", None).await.is_some() && put("passes", Some(at(5))).await.is_some());
    one.retire(at(6)).await.unwrap();
    assert!(one.credential("stays".to_owned()).await.unwrap().is_some());
    assert!(one.credential("passes".to_owned()).await.unwrap().is_none());
}
