//! `tollgate connect CLIENT --undo`: the file as it was before. Where somebody has changed it since, what they changed stays.

use super::target::{ListEdit, Plan, Target, prune, servers};
use crate::cli::{
    clients::{NAME, carries_own_key},
    edit::{
        document::Document,
        file::{Copies, Opened, Readers},
        shown::difference,
    },
    failure::CliError,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// What `connect` did, kept beside the copy: a person may have taken out what it left.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    /// The SHA-256 of what was written.
    written: String,
    /// How Tollgate is reached: a program or an address.
    reached: String,
    /// The servers that were taken out: the map, and the name.
    removed: Vec<(Vec<String>, String)>,
    /// The lists of names that Tollgate came into, or out of.
    #[serde(default)]
    lists: Vec<ListEdit>,
    /// Whether there was a file; an older version left that to the copy, which is empty where there was none.
    #[serde(default)]
    there: Option<bool>,
}

impl Kept {
    pub(super) fn of(plan: &Plan, entry: &Value) -> Self {
        Self {
            written: digest(&plan.text),
            reached: reached(entry).unwrap_or_default().to_owned(),
            removed: plan.removed.iter().map(|one| (one.map.clone(), one.name.clone())).collect(),
            lists: plan.lists.clone(),
            there: Some(plan.opened.is_there()),
        }
    }

    /// Of a file that is written as a whole.
    pub(super) fn of_text(text: &str, there: bool) -> Self {
        Self { written: digest(text), there: Some(there), ..Self::default() }
    }

    /// Whether a text is what was written.
    pub(super) fn is_of(&self, text: &str) -> bool {
        self.written == digest(text)
    }

    /// Whether there was a file; `before` is what the copy holds.
    pub(super) fn was_there(&self, before: &str) -> bool {
        self.there.unwrap_or(!before.is_empty())
    }

    /// A copy has done its duty.
    pub(super) fn forget(copy: &Path) -> Result<(), CliError> {
        let what = || format!("cannot remove `{}`", copy.display());
        fs::remove_file(copy).map_err(|source| CliError::Io { what: what(), source })?;
        // There is none beside one that an older version made.
        fs::remove_file(beside(copy)).ok();
        Ok(())
    }

    /// Puts it beside a copy.
    pub(super) fn write(&self, copy: &Path) -> Result<(), CliError> {
        let text = serde_json::to_string_pretty(self).map_err(std::io::Error::other)?;
        Opened::read(&beside(copy))?.replace_for(Readers::Owner, &format!("{text}\n"))
    }

    /// That of a copy; none of an older version's.
    pub(super) fn read(copy: &Path) -> Result<Option<Self>, CliError> {
        let opened = Opened::read(&beside(copy))?;
        Ok(serde_json::from_str(opened.text()).ok())
    }
}

fn beside(copy: &Path) -> PathBuf {
    let mut name = copy.as_os_str().to_owned();
    name.push(".json");
    name.into()
}

fn digest(text: &str) -> String {
    hex::encode(Sha256::digest(text))
}

fn reached(entry: &Value) -> Option<&str> {
    ["command", "url", "httpUrl", "serverUrl"].iter().find_map(|name| entry.get(*name)?.as_str())
}

/// What an undo does.
pub(super) struct Undo {
    pub(super) opened: Opened,
    /// What the file will hold; none: there was no file.
    pub(super) text: Option<String>,
    /// The copy that it goes back to.
    pub(super) copy: PathBuf,
    /// The file was changed since, beside what `connect` did.
    pub(super) changed_since: bool,
}

impl Undo {
    pub(super) fn of(target: &Target) -> Result<Self, CliError> {
        let Some(copy) = Copies::of(&target.path).newest() else {
            return Err(CliError::Told(format!(
                "there is nothing to undo: no copy lies beside `{}` (`tollgate connect` keeps one as .before-tollgate-N)",
                target.path.display()
            )));
        };
        let opened = Opened::read(&target.path)?;
        let (before, kept) = (Opened::read(&copy)?, Kept::read(&copy)?);
        let is = target.value(opened.text()).map_err(|wrong| {
            CliError::Told(format!(
                "{wrong}\nNothing was changed. The file as it was before `connect` is `{}`: put it back by hand, or put the file right \
                 first",
                copy.display()
            ))
        })?;
        let was = target.value(before.text())?;
        let untouched = kept.as_ref().is_some_and(|kept| kept.is_of(opened.text()));
        let back = restored(target, opened.text(), (&was, &is), kept.as_ref())?;
        let same = untouched || told(target, &target.value(&back.text())?) == told(target, &was);
        let there = match &kept {
            Some(kept) => kept.was_there(before.text()),
            None => !before.text().is_empty(),
        };
        let text = match (same, !there) {
            (true, true) => None,
            // Without a word on what was written, what it says must do.
            (true, false) if untouched || kept.is_none() => Some(before.text().to_owned()),
            (_, _) => Some(back.text()),
        };
        let changed_since = text.as_deref().is_some_and(|text| text != before.text());
        Ok(Self { opened, text, copy, changed_since })
    }

    pub(super) fn difference(&self) -> String {
        let name = self.opened.path().display().to_string();
        difference(&name, self.opened.text(), self.text.as_deref().unwrap_or_default())
    }

    /// Puts it back, with the rights of before; the copy has done its duty.
    pub(super) fn write(&self) -> Result<(), CliError> {
        let failed = |path: &Path| {
            let what = format!("cannot change `{}`", path.display());
            move |source| CliError::Io { what, source }
        };
        match &self.text {
            Some(text) => {
                self.opened.replace(text)?;
                if !self.changed_since {
                    let before = fs::metadata(&self.copy).map_err(failed(&self.copy))?.permissions();
                    fs::set_permissions(self.opened.path(), before).map_err(failed(self.opened.path()))?;
                }
            }
            None => self.opened.remove()?,
        }
        Kept::forget(&self.copy)
    }
}

/// The file with Tollgate out and with the servers back that were taken out.
fn restored(
    target: &Target,
    text: &str,
    (was, is): (&Map<String, Value>, &Map<String, Value>),
    kept: Option<&Kept>,
) -> Result<Document, CliError> {
    let wrong = |why: String| target.wrong(&why);
    let mut document = target.document(text)?;
    for map in &target.maps(&[was, is]) {
        let (before, now) = (servers(was, map), servers(is, map));
        let (old, new) =
            (before.and_then(|servers| servers.get(NAME)), now.and_then(|servers| servers.get(NAME)));
        if *map == target.own {
            match (old, new) {
                (_, Some(other)) if !is_own(other, kept) => {
                    return Err(target.wrong(&format!(
                        "`{NAME}` in it is not what `connect` wrote: take it out yourself, or put the copy back by hand"
                    )));
                }
                (Some(old), _) => document = document.set(map, NAME, old).map_err(wrong)?,
                (None, _) => document = document.without(map, NAME).map_err(wrong)?,
            }
        }
        let is_taken = |name: &String| {
            kept.is_none_or(|kept| kept.removed.iter().any(|(of, gone)| of == map && gone == name))
        };
        let taken = before.into_iter().flatten().filter(|(name, _)| *name != NAME && is_taken(name));
        for (name, server) in taken {
            if now.is_none_or(|now| !now.contains_key(name)) {
                document = document.set(map, name, server).map_err(wrong)?;
            }
        }
    }
    let inputs =
        |root: &Map<String, Value>| root.get("inputs").and_then(Value::as_array).cloned().unwrap_or_default();
    let before = inputs(was);
    let own = |input: &&Value| input.get("id").and_then(Value::as_str) == Some("tollgate-agent-key");
    for input in inputs(is).iter().filter(own).filter(|input| !before.contains(input)) {
        document = document.without_item(&[], "inputs", input).map_err(wrong)?;
    }
    for ListEdit { map, list, comes_in } in kept.into_iter().flat_map(|kept| &kept.lists) {
        let name = Value::from(NAME);
        let stands =
            servers(is, map).and_then(|map| map.get(list)?.as_array()).map(|all| all.contains(&name));
        document = match (stands, comes_in) {
            (Some(true), true) => document.without_item(map, list, &name).map_err(wrong)?,
            (Some(false), false) => document.push(map, list, &name).map_err(wrong)?,
            // Somebody else has done so.
            (_, _) => document,
        };
    }
    Ok(document)
}

/// What it says, without what is empty.
fn told(target: &Target, root: &Map<String, Value>) -> Map<String, Value> {
    let mut root = root.clone();
    prune(&mut root, &target.own);
    if root.get("inputs").and_then(Value::as_array).is_some_and(Vec::is_empty) {
        root.remove("inputs");
    }
    root
}

fn is_own(entry: &Value, kept: Option<&Kept>) -> bool {
    let reached = reached(entry);
    let starts = entry
        .get("command")
        .and_then(Value::as_str)
        .is_some_and(|program| Path::new(program).file_stem().is_some_and(|stem| stem == "tollgate"));
    let header = entry.pointer("/headers/Authorization").and_then(Value::as_str);
    starts
        || header.is_some_and(carries_own_key)
        || match kept {
            Some(kept) => reached == Some(kept.reached.as_str()),
            None => reached.is_some() && entry.get("command").is_none(),
        }
}
