//! Fresh API keys: shown once, kept nowhere; the bundle holds their SHA-256. authority.yaml is the admin's own file, with
//! comments in it: nothing here writes to it.

use super::{args::agent_name, failure::CliError, screen::Screen, setup::Setup};
use crate::{clock::IdSource, identity::key_digest};
use base64::Engine as _;
use serde_json::json;
use zeroize::Zeroizing;

/// A key that nobody has seen yet.
pub(super) struct FreshKey {
    /// What the agent sends.
    pub(super) key: Zeroizing<String>,
    /// What authority.yaml holds.
    pub(super) digest: String,
}

/// 256 random bits, with a prefix by which scanners can know a leaked one.
pub(super) fn fresh(ids: &dyn IdSource) -> FreshKey {
    let bytes = Zeroizing::new(ids.random());
    let key =
        Zeroizing::new(format!("tg_{}", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(*bytes)));
    let digest = format!("sha256:{}", hex::encode(key_digest(key.as_bytes())));
    FreshKey { key, digest }
}

/// Whose key it is.
#[derive(Clone, Copy)]
pub(super) enum Holder {
    Agent,
    Person,
}

impl Holder {
    /// Its word in messages and in JSON; the map of authority.yaml that holds it; its command.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Agent => ("agent", "agents"),
            Self::Person => ("person", "people"),
        }
    }

    /// Prints a key for somebody new, and the entry that authority.yaml gets. `members` are the entry's lines but the keys.
    pub(super) fn add(
        self,
        setup: &Setup,
        name: &str,
        taken: bool,
        members: &str,
        json: bool,
    ) -> Result<(), CliError> {
        let (word, map) = self.words();
        valid_name(word, name)?;
        if taken {
            return Err(CliError::Told(format!(
                "there is the {word} `{name}` already: `tollgate {map} rotate {name}` makes another key"
            )));
        }
        let fresh = fresh(&*setup.system);
        let yaml = format!("  {name}:\n{members}    keys: [\"{}\"]\n", fresh.digest);
        let then = format!(
            "Paste this under `{map}:` in {} and complete it; a running gateway takes it over at once:",
            file(setup)
        );
        print(word, name, &fresh, &then, &yaml, json)
    }

    /// Prints another key for somebody who has these, and the line that authority.yaml gets.
    pub(super) fn rotate(
        self,
        setup: &Setup,
        name: &str,
        keys: &[[u8; 32]],
        json: bool,
    ) -> Result<(), CliError> {
        let fresh = fresh(&*setup.system);
        let then = format!(
            "Add this digest to the `keys` of `{name}` in {} (it has {} now). Hand over the new key, then remove the old \
             digest: that ends what still uses the old key.",
            file(setup),
            keys.len()
        );
        let mut digests: Vec<String> = keys.iter().map(|k| format!("sha256:{}", hex::encode(k))).collect();
        digests.push(fresh.digest.clone());
        let yaml = format!("    keys: {}\n", serde_json::to_string(&digests).unwrap_or_default());
        print(self.words().0, name, &fresh, &then, &yaml, json)
    }
}

fn file(setup: &Setup) -> String {
    setup.loaded.config.gateway.policies.join("authority.yaml").display().to_string()
}

fn valid_name(word: &str, name: &str) -> Result<(), CliError> {
    agent_name(name).map(drop).map_err(|expected| {
        let shown: String = name.chars().take(80).collect();
        CliError::Told(format!("`{shown}` is not a name for a new {word}: {expected}"))
    })
}

fn print(
    word: &str,
    name: &str,
    fresh: &FreshKey,
    then: &str,
    yaml: &str,
    json: bool,
) -> Result<(), CliError> {
    let mut screen = Screen::new();
    if json {
        let key: &str = &fresh.key;
        return screen
            .json(&json!({word: name, "key": key, "digest": fresh.digest, "yaml": yaml, "next": then}));
    }
    screen.field("key", &fresh.key)?;
    screen.field("", &format!("(shown this once: hand it to the {word}, keep it nowhere else)"))?;
    screen.field("digest", &fresh.digest)?;
    screen.line("")?;
    screen.line(then)?;
    screen.line("")?;
    screen.raw(yaml)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::System;

    #[test]
    fn names_need_no_quoting() {
        let check = |name: &str, ok: bool| assert_eq!(valid_name("agent", name).is_ok(), ok, "{name}");
        check("planner-01", true);
        check("a.b_c", true);
        check("", false);
        check("1st", false);
        check("-x", false);
        check("a b", false);
        check("a:\n  b", false);
        check(&"a".repeat(65), false);
    }

    #[test]
    fn keys_differ_and_their_digest_is_of_what_is_sent() {
        let (one, two) = (fresh(&System::default()), fresh(&System::default()));
        assert_ne!(*one.key, *two.key);
        assert_eq!(one.key.len(), 3 + 43);
        assert_eq!(one.digest, format!("sha256:{}", hex::encode(key_digest(one.key.as_bytes()))));
    }
}
