//! MCP clients of this machine that reach servers without the gateway: what goes round it is neither decided nor recorded.

use super::Findings;
use crate::cli::{
    args::ClientKind,
    clients::is_same_place,
    forbids::Look,
    init::{
        Folders, NotTaken, Place, Server, agreed_places, client_servers, home, parents_places, usual_places,
    },
};
use std::path::{Path, PathBuf};

const AREA: &str = "clients";

pub(super) fn look(endpoint: Option<&str>, findings: &mut Findings) {
    let here = std::env::current_dir().unwrap_or_default();
    let home = home().filter(|home| !home.as_os_str().is_empty());
    let folders = Folders { here: &here, home: home.as_deref() };
    let mut places = usual_places(folders);
    places.extend(parents_places(folders));
    if places.is_empty() {
        findings.ok(AREA, "files of MCP clients", "none is found here");
    }
    for place in places {
        one(&place, None, folders, endpoint, findings);
        if place.client.kind() == Some(ClientKind::Claude) {
            for (place, agreed) in agreed_places(&place.path, folders) {
                one(&place, agreed.as_deref(), folders, endpoint, findings);
            }
        }
    }
}

/// One file; `agreed`: those of its servers alone that its client starts.
fn one(
    place: &Place,
    agreed: Option<&[String]>,
    folders: Folders<'_>,
    endpoint: Option<&str>,
    findings: &mut Findings,
) {
    let what = place.path.display().to_string();
    let found = match client_servers(&place.path, folders) {
        // Settings of much else.
        Ok(found) if found.is_empty() && place.aside => return,
        Ok(found) => found,
        Err(why) => {
            findings.advice(
                AREA,
                what,
                format!("it cannot be read: {why}"),
                "look at it yourself: does it name MCP servers?",
            );
            return;
        }
    };
    let (mut round, mut unread, mut off) = (Vec::new(), Vec::new(), Vec::new());
    for one in found.into_iter().filter(|one| agreed.is_none_or(|agreed| agreed.contains(&one.name))) {
        let mut shown = one.name.chars().take(60).collect::<String>().escape_debug().to_string();
        if let Some(project) = one.listed_for.filter(|project| project != folders.here) {
            shown.push_str(&format!(" (of {})", project.display()));
        }
        let is_own = match &one.server {
            Ok(Server::Url { url, .. }) => endpoint.is_some_and(|own| is_same_place(own, url)),
            Ok(Server::Command { .. }) => false,
            Err(NotTaken::Tollgate) => true,
            Err(NotTaken::Because(_)) => false,
        };
        match one.server {
            _ if is_own && !one.enabled => off.push(format!("{shown} is switched off in this file")),
            _ if is_own => off.extend(forbids(place, &one.name, folders, endpoint)),
            _ if !one.enabled => {}
            Ok(_) | Err(NotTaken::Tollgate) => round.push(shown),
            Err(NotTaken::Because(why)) => unread.push(format!("{shown} ({why})")),
        }
    }
    if !off.is_empty() {
        findings.advice(
            AREA,
            what.clone(),
            format!("Tollgate stands in it, and its client does not start it: {}", off.join("; ")),
            "put that right there, or connect once more (`tollgate connect CLIENT --agent NAME`)",
        );
    }
    if round.is_empty() && unread.is_empty() && off.is_empty() {
        findings.ok(AREA, what.clone(), "it goes through the gateway, or names no server");
    }
    if !round.is_empty() {
        findings.wrong(
            AREA,
            what.clone(),
            format!("servers that it reaches without the gateway: {}", round.join(", ")),
            "put them into servers.toml (`tollgate init --add` takes them over), and Tollgate in their place \
             (`tollgate connect CLIENT --agent NAME`)",
        );
    }
    if !unread.is_empty() {
        findings.advice(
            AREA,
            what,
            format!(
                "servers of which it cannot be told whether they go through the gateway: {}",
                unread.join(", ")
            ),
            "look at them yourself: what their client starts goes round the gateway",
        );
    }
}

/// What keeps the client of a file from starting Tollgate.
fn forbids(place: &Place, name: &str, folders: Folders<'_>, endpoint: Option<&str>) -> Vec<String> {
    let Some(client) = place.client.kind() else { return Vec::new() };
    let var = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let (file, system) = (place.path.as_path(), Path::new("/"));
    Look { client, folders, file, name, entry: None, endpoint, system, var: &var }.forbids()
}
