//! MCP clients of this machine that reach servers without the gateway: what goes round it is neither decided nor recorded.

use super::Findings;
use crate::cli::clients::is_same_place;
use crate::cli::init::{Folders, Server, client_servers, usual_places};
use std::path::{Path, PathBuf};

const AREA: &str = "clients";

/// Files of further clients below a person's home folder.
const MORE: &[&str] = &[
    ".codex/config.toml",
    ".gemini/settings.json",
    ".config/zed/settings.json",
    ".codeium/windsurf/mcp_config.json",
    ".config/Code/User/globalStorage/saoudrizwan.claude-dev/settings/cline_mcp_settings.json",
    "Library/Application Support/Code/User/globalStorage/saoudrizwan.claude-dev/settings/cline_mcp_settings.json",
];

pub(super) fn look(endpoint: Option<&str>, findings: &mut Findings) {
    let here = std::env::current_dir().unwrap_or_default();
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
    let mut places = usual_places(&here, home.as_deref());
    places.extend(
        home.iter().flat_map(|home| MORE.iter().map(|name| home.join(name))).filter(|file| file.is_file()),
    );
    if places.is_empty() {
        findings.ok(AREA, "files of MCP clients", "none is found here");
    }
    for place in places {
        one(&place, Folders { here: &here, home: home.as_deref() }, endpoint, findings);
    }
}

fn one(place: &Path, folders: Folders<'_>, endpoint: Option<&str>, findings: &mut Findings) {
    let what = place.display().to_string();
    let found = match client_servers(place, folders) {
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
    let round: Vec<String> = found
        .into_iter()
        .filter(|one| one.enabled)
        .filter_map(|one| match one.server {
            Ok(Server::Url { url, .. }) if endpoint.is_some_and(|own| is_same_place(own, &url)) => None,
            Ok(_) => Some(one.name),
            // Tollgate itself, or what no client could start either.
            Err(_) => None,
        })
        .map(|name| name.chars().take(60).collect::<String>().escape_debug().to_string())
        .collect();
    if round.is_empty() {
        findings.ok(AREA, what, "it goes through the gateway, or names no server");
    } else {
        findings.wrong(
            AREA,
            what,
            format!("servers that it reaches without the gateway: {}", round.join(", ")),
            "put them into servers.toml (`tollgate init --from FILE` shows how), and Tollgate in their place \
             (`tollgate connect CLIENT --agent NAME`)",
        );
    }
}
