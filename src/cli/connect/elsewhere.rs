//! Other files of the same client: what it starts from them goes round the gateway, whatever stands in the one that is written.

use super::{
    governed::{Behind, Standing},
    target::Target,
};
use crate::cli::{
    args::ScopeWord,
    init::{Folders, client_servers, parents_places, usual_places},
};
use serde_json::{Value, json};
use std::{fs, path::PathBuf};

/// A server that the client starts here from another file of its.
pub(super) struct Elsewhere {
    pub(super) name: String,
    pub(super) file: PathBuf,
    /// What it is behind the gateway, or why it is not there.
    pub(super) stands: Result<String, String>,
    /// What `--scope` that file is; none that `connect` writes.
    pub(super) scope: Option<&'static str>,
}

impl Elsewhere {
    pub(super) fn told(&self) -> String {
        let file = self.file.display();
        match &self.stands {
            Ok(upstream) => {
                format!(
                    "IS STILL STARTED FROM {file}, AND GOES ROUND THE GATEWAY: it is `{upstream}` behind Tollgate"
                )
            }
            Err(why) => format!("IS STARTED FROM {file}, AND GOES ROUND THE GATEWAY: {why}"),
        }
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "name": self.name, "file": self.file.display().to_string(),
            "upstream": self.stands.as_ref().ok(), "reason": self.stands.as_ref().err(),
        })
    }
}

/// Those of the working folder.
pub(super) fn elsewhere(
    target: &Target,
    folders: Folders<'_>,
    behind: &Behind,
    is_endpoint: &dyn Fn(&str) -> bool,
) -> Vec<Elsewhere> {
    let real = |path: &PathBuf| fs::canonicalize(path).unwrap_or_else(|_| path.clone());
    let file_of = |scope: ScopeWord| {
        Target::find(target.client, Some(scope), folders, &super::variable).ok().map(|one| real(&one.path))
    };
    let (project, user) = (file_of(ScopeWord::Project), file_of(ScopeWord::User));
    let own = real(&target.path);
    let mut told = Vec::new();
    let places = usual_places(folders).into_iter().chain(parents_places(folders));
    for place in places.filter(|place| place.client.kind() == Some(target.client)) {
        let lies = real(&place.path);
        if lies == own {
            continue;
        }
        let scope = match &lies {
            file if Some(file) == project.as_ref() => Some("project"),
            file if Some(file) == user.as_ref() => Some("user"),
            _ => None,
        };
        let file = place.path;
        let found = match client_servers(&file, folders) {
            Ok(found) => found,
            Err(_) if place.aside => continue,
            Err(why) => {
                let stands =
                    Err(format!("it cannot be read, so whether it is governed cannot be told ({why})"));
                told.push(Elsewhere { name: "what it names".to_owned(), file, stands, scope });
                continue;
            }
        };
        let of_here = |project: &PathBuf| project == folders.here;
        for one in found.into_iter().filter(|one| one.enabled && one.listed_for.as_ref().is_none_or(of_here))
        {
            let stands = match behind.standing(&one, is_endpoint) {
                Standing::Governed(upstream) => Ok(upstream),
                Standing::Round(why) => Err(why),
                Standing::Own | Standing::Off => continue,
            };
            told.push(Elsewhere { name: one.name, file: file.clone(), stands, scope });
        }
    }
    told
}
