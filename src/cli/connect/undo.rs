//! `tollgate connect CLIENT --undo`: the file as it was before. Where somebody has changed it since, what they changed stays.

use super::target::{Target, prune, servers};
use crate::cli::{
    clients::NAME,
    edit::{
        document::Document,
        file::{Copies, Opened},
        shown::difference,
    },
    failure::CliError,
};
use serde_json::{Map, Value};
use std::path::PathBuf;

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
        let kept = Opened::read(&copy)?;
        let (was, is) = (target.value(kept.text())?, target.value(opened.text())?);
        let back = restored(target, opened.text(), &was, &is)?;
        let left = target.value(&back.text())?;
        let same = told(target, &left) == told(target, &was);
        let text = match (same, kept.text().is_empty()) {
            (true, true) => None,
            (true, false) => Some(kept.text().to_owned()),
            (false, _) => Some(back.text()),
        };
        Ok(Self { opened, text, copy, changed_since: !same })
    }

    pub(super) fn difference(&self) -> String {
        let name = self.opened.path().display().to_string();
        difference(&name, self.opened.text(), self.text.as_deref().unwrap_or_default())
    }

    /// Puts it back; the copy has done its duty.
    pub(super) fn write(&self) -> Result<(), CliError> {
        match &self.text {
            Some(text) => self.opened.replace(text)?,
            None => self.opened.remove()?,
        }
        std::fs::remove_file(&self.copy).map_err(|source| CliError::Io {
            what: format!("cannot remove `{}`", self.copy.display()),
            source,
        })
    }
}

/// The file with Tollgate out and with the servers back that were taken out.
fn restored(
    target: &Target,
    text: &str,
    was: &Map<String, Value>,
    is: &Map<String, Value>,
) -> Result<Document, CliError> {
    let wrong = |why: String| target.wrong(&why);
    let mut document = target.document(text)?;
    for map in target.maps() {
        let (before, now) = (servers(was, map), servers(is, map));
        let (old, new) =
            (before.and_then(|servers| servers.get(NAME)), now.and_then(|servers| servers.get(NAME)));
        if *map == target.own {
            match (old, new) {
                (_, Some(other)) if !is_own(other) => {
                    return Err(target.wrong(&format!(
                        "`{NAME}` in it is not what `connect` wrote: take it out yourself, or put the copy back by hand"
                    )));
                }
                (Some(old), _) => document = document.set(map, NAME, old).map_err(wrong)?,
                (None, _) => document = document.without(map, NAME).map_err(wrong)?,
            }
        }
        for (name, server) in before.into_iter().flatten().filter(|(name, _)| *name != NAME) {
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
        document = document.without_item("inputs", input).map_err(wrong)?;
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

fn is_own(entry: &Value) -> bool {
    let program = entry.get("command").and_then(Value::as_str);
    let starts = program.is_some_and(|program| {
        std::path::Path::new(program).file_stem().is_some_and(|stem| stem == "tollgate")
    });
    starts || ["url", "httpUrl", "serverUrl"].iter().any(|name| entry.get(*name).is_some())
}
