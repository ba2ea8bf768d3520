//! MCP clients of this machine that reach servers without the gateway: what goes round it is neither decided nor recorded.

use super::Findings;
use crate::cli::clients::is_same_place;
use crate::cli::init::{Folders, NotTaken, Place, Server, client_servers, home, usual_places};

const AREA: &str = "clients";

pub(super) fn look(endpoint: Option<&str>, findings: &mut Findings) {
    let here = std::env::current_dir().unwrap_or_default();
    let home = home().filter(|home| !home.as_os_str().is_empty());
    let folders = Folders { here: &here, home: home.as_deref() };
    let places = usual_places(folders);
    if places.is_empty() {
        findings.ok(AREA, "files of MCP clients", "none is found here");
    }
    for place in places {
        one(&place, folders, endpoint, findings);
    }
}

fn one(place: &Place, folders: Folders<'_>, endpoint: Option<&str>, findings: &mut Findings) {
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
    let (mut round, mut unread) = (Vec::new(), Vec::new());
    for one in found.into_iter().filter(|one| one.enabled) {
        let name = one.name.chars().take(60).collect::<String>().escape_debug().to_string();
        match one.server {
            Ok(Server::Url { url, .. }) if endpoint.is_some_and(|own| is_same_place(own, &url)) => {}
            Err(NotTaken::Tollgate) => {}
            Ok(_) => round.push(name),
            Err(NotTaken::Because(why)) => unread.push(format!("{name} ({why})")),
        }
    }
    if round.is_empty() && unread.is_empty() {
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
