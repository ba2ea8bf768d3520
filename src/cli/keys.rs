//! Fresh API keys: shown once, kept nowhere; the bundle holds their SHA-256. authority.yaml is the admin's own file, with
//! comments in it: an entry comes into it, and all else stays as it stands.

use super::{
    args::{KeyArgs, agent_name},
    edit::{
        changes::Changes,
        file::{Opened, retried},
        yaml,
    },
    environment::Environment,
    failure::CliError,
    known,
    screen::Screen,
    setup::{Setup, refused},
};
use crate::{clock::IdSource, identity::key_digest, policy::ApiKey};
use base64::Engine as _;
use serde_json::{Value, json};
use std::path::PathBuf;
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

/// A key as authority.yaml has it.
fn entry(key: &ApiKey) -> Value {
    let digest = format!("sha256:{}", hex::encode(key.digest));
    if key.expires.is_none() && key.name.is_none() {
        return json!(digest);
    }
    let mut entry = json!({"sha256": digest});
    if let (Some(expires), Some(entry)) = (key.expires, entry.as_object_mut()) {
        entry.insert("expires".to_owned(), json!(expires));
    }
    if let (Some(name), Some(entry)) = (&key.name, entry.as_object_mut()) {
        entry.insert("name".to_owned(), json!(name));
    }
    entry
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

    /// Makes a key for somebody new, and an entry of authority.yaml. `members` are the entry's lines but the keys.
    pub(super) fn add(
        self,
        setup: &Setup,
        name: &str,
        taken: bool,
        members: &str,
        args: &KeyArgs,
    ) -> Result<(), CliError> {
        let (word, map) = self.words();
        valid_name(word, name)?;
        let there = || {
            CliError::Told(format!(
                "there is the {word} `{name}` already: `tollgate {map} rotate {name}` makes another key"
            ))
        };
        if taken {
            return Err(there());
        }
        let fresh = fresh(&*setup.system);
        let members = format!("{members}keys: [\"{}\"]\n", fresh.digest);
        let lines: String = members.lines().map(|line| format!("    {line}\n")).collect();
        let change = Change {
            file: file(setup),
            yaml: format!("  {name}:\n{lines}"),
            place: format!("Paste this under `{map}:` in {} and complete it", file(setup).display()),
            edit: &|text| match yaml::names(text, map).iter().any(|known| known == name) {
                true => Err(there()),
                false => Ok(yaml::with_entry(text, map, name, &members)),
            },
        };
        made(setup, (word, name), &fresh, &change, args)
    }

    /// Makes another key for somebody who has these. The old ones stay, unless they are to end.
    pub(super) fn rotate(
        self,
        setup: &Setup,
        name: &str,
        keys: &[ApiKey],
        end_old: bool,
        args: &KeyArgs,
    ) -> Result<(), CliError> {
        let (word, map) = self.words();
        let fresh = fresh(&*setup.system);
        let kept = || keys.iter().filter(|_| !end_old);
        let entries: Vec<Value> = kept().map(entry).chain([json!(fresh.digest)]).collect();
        let change = Change {
            file: file(setup),
            yaml: format!("    keys: {}\n", Value::Array(entries)),
            place: format!("Let this be the `keys` of `{name}` in {}", file(setup).display()),
            // Those that stand in the file at that moment.
            edit: &|text| {
                let place = (map, name, "keys");
                let old = if end_old { Some(Vec::new()) } else { yaml::items(text, place) };
                Ok(old.and_then(|old| {
                    let keys: Vec<Value> = old.into_iter().chain([json!(fresh.digest)]).collect();
                    yaml::with_items(text, place, &keys)
                }))
            },
        };
        made(setup, (word, name), &fresh, &change, args)?;
        if kept().next().is_some() && !args.json.json {
            Screen::new().line(&format!(
                "The old key still opens: hand over the new one, then take the old digest out of `keys` (`tollgate {map} rotate \
                 {name} --end-old` ends old keys at once)."
            ))?;
        }
        Ok(())
    }
}

/// What becomes of authority.yaml.
struct Change<'c> {
    file: PathBuf,
    /// The lines that say it.
    yaml: String,
    /// Where they belong, for whoever pastes them.
    place: String,
    /// None where it would be a guess.
    edit: &'c dyn Fn(&str) -> Result<Option<String>, CliError>,
}

impl Change<'_> {
    /// Writes it, where what comes of it can be used.
    fn write(&self, setup: &Setup) -> Result<(), CliError> {
        let environment = environment(setup)?;
        retried(|| {
            let opened = Opened::read(&self.file)?;
            let new = (self.edit)(opened.text())?.ok_or_else(|| {
                CliError::Told(format!(
                    "`{}` is written in a way that cannot be edited without doubt, and was left as it is: `--print` makes a key and \
                     prints what to paste",
                    self.file.display()
                ))
            })?;
            let mut changes = Changes::default();
            changes.push(opened, new);
            changes.tried(setup, &environment, &known::remembered).map_err(|wrong| {
                CliError::Told(format!("{wrong}\n(--print makes a key and prints what to paste)"))
            })?;
            changes.write()
        })
    }
}

/// What `${NAME}` in servers.toml stands for.
pub(super) fn environment(setup: &Setup) -> Result<Environment, CliError> {
    Environment::of(&setup.path).map_err(|problems| refused(&setup.path, problems))
}

/// Since when what stands in the folder counts.
pub(super) fn in_force(setup: &Setup) -> String {
    match &setup.standing.held {
        Some(held) => format!(
            "Snapshot {} is held in force, whatever the folder says: `tollgate policy activate {}` brings it in.",
            held.snapshot,
            setup.loaded.config.gateway.policies.display()
        ),
        None => "A running gateway takes it over at once; approvals that wait are cancelled by that, and their calls ask again.".to_owned(),
    }
}

fn file(setup: &Setup) -> PathBuf {
    setup.loaded.config.gateway.policies.join("authority.yaml")
}

fn valid_name(word: &str, name: &str) -> Result<(), CliError> {
    agent_name(name).map(drop).map_err(|expected| {
        let shown: String = name.chars().take(80).collect();
        CliError::Told(format!("`{shown}` is not a name for a new {word}: {expected}"))
    })
}

/// Writes the change, and shows the key: once, and only when what it opens with stands in the file.
fn made(
    setup: &Setup,
    (word, name): (&str, &str),
    fresh: &FreshKey,
    change: &Change<'_>,
    args: &KeyArgs,
) -> Result<(), CliError> {
    let shown = change.file.display();
    if !args.print {
        change.write(setup)?;
    }
    let (written, in_force) = (!args.print, in_force(setup));
    let then = match written {
        true => format!("Written to {shown}. {in_force}"),
        false => format!("{}. {in_force}", change.place),
    };
    let mut screen = Screen::new();
    if args.json.json {
        let key: &str = &fresh.key;
        return screen.json(&json!({
            word: name, "key": key, "digest": fresh.digest, "file": shown.to_string(), "written": written, "yaml": change.yaml,
            "next": then,
        }));
    }
    screen.field("key", &fresh.key)?;
    screen.field("", &format!("(shown this once: hand it to the {word}, keep it nowhere else)"))?;
    screen.field("digest", &fresh.digest)?;
    screen.line("")?;
    screen.line(&then)?;
    screen.line("")?;
    screen.raw(&change.yaml)
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
