//! `tollgate client-config`: what to paste into an MCP client, so that nobody has to know nine file formats by heart.

use super::{
    args::{ClientConfigArgs, ClientKind},
    clients::{KEY_VARIABLE, KeyReference, NAME, Reach},
    edit::document::{Document, Format},
    failure::CliError,
    screen::Screen,
    setup::Setup,
};
use std::{
    ffi::OsStr,
    path::{Component, Path, PathBuf},
};

/// Prints both variants.
pub(super) fn client_config(setup: &Setup, args: &ClientConfigArgs) -> Result<(), CliError> {
    known_agent(setup, &args.agent)?;
    let (program, stdio) = started(setup, &args.agent)?;
    let url = setup.loaded.config.gateway.endpoint();
    let client = args.client;
    let mut screen = Screen::new();
    let place = match client.project_file() {
        Some(file) => format!("{file} of a project, or the user's file"),
        None => "the user's file".to_owned(),
    };
    screen.line(&format!("# stdio: {place} ({}); `tollgate connect` writes it", client.title()))?;
    screen.raw(&snippet(client, &Reach::Stdio { program: &program, args: &stdio })?)?;
    if client.key() == KeyReference::NoHttp {
        return screen.line(&format!(
            "\n# {} starts its servers itself: there is no variant over HTTP.",
            client.title()
        ));
    }
    screen.line(&format!("\n# HTTP: {place}; `tollgate serve` is running"))?;
    screen.raw(&snippet(client, &Reach::Http { url: &url })?)?;
    screen.line(&match client.key() {
        KeyReference::Written => {
            format!("\n# {} takes no reference to a variable: write the agent's key into the user's file only.", client.title())
        }
        KeyReference::Asked => "\n# It asks for the agent's key once, and keeps it.".to_owned(),
        KeyReference::Variable(_) | KeyReference::NoHttp => {
            format!("\n# Over HTTP the client sends the agent's key: set {KEY_VARIABLE} to it where the client runs.")
        }
    })
}

/// Refuses an agent that there is not.
pub(super) fn known_agent(setup: &Setup, agent: &str) -> Result<(), CliError> {
    match setup.loaded.policies.authority.agents.contains_key(agent) {
        true => Ok(()),
        false => Err(CliError::Unknown {
            kind: "agent",
            name: agent.chars().take(80).collect(),
            hint: format!("`tollgate agents list` shows them, `tollgate agents add {agent}` makes it"),
        }),
    }
}

/// This program, and the arguments with which it serves an agent over its standard streams.
pub(super) fn started(setup: &Setup, agent: &str) -> Result<(String, Vec<String>), CliError> {
    let program = std::env::current_exe()
        .map_err(|source| CliError::Io { what: "cannot tell where this program lies".to_owned(), source })?;
    let called = std::env::args_os().next().map(PathBuf::from).unwrap_or_default();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let program = as_called(&called, &path, &program).unwrap_or(program);
    let args = ["--config", &plain(&setup.path).display().to_string(), "stdio", "--agent", agent];
    Ok((program.display().to_string(), args.map(str::to_owned).into()))
}

/// The program by the path that it was called by, or found by on PATH, if that is it: behind a link lies a version that the next
/// upgrade removes.
fn as_called(called: &Path, path: &OsStr, program: &Path) -> Option<PathBuf> {
    let is_it = |found: &PathBuf| {
        found.is_absolute() && std::fs::canonicalize(found).is_ok_and(|real| real == program)
    };
    match called.components().count() {
        1 => std::env::split_paths(path).map(|folder| folder.join(called)).find(is_it),
        _ => Some(called.to_owned()).filter(is_it),
    }
}

/// A path without `..`, which leads elsewhere once a folder of it has moved.
fn plain(path: &Path) -> PathBuf {
    let real = || Some(std::fs::canonicalize(path.parent()?).ok()?.join(path.file_name()?));
    match path.components().any(|part| part == Component::ParentDir) {
        true => real().unwrap_or_else(|| path.to_owned()),
        false => path.to_owned(),
    }
}

/// A file with nothing but the entry.
fn snippet(client: ClientKind, reach: &Reach<'_>) -> Result<String, CliError> {
    let start = if client.format() == Format::Json { "{\n}\n" } else { "" };
    let made = Document::parse(start, client.format()).and_then(|empty| {
        let written =
            empty.set(&[client.member().to_owned()], NAME, &client.entry(reach, "THE_AGENTS_KEY"))?;
        match client.input(reach) {
            Some(input) => written.push(&[], "inputs", &input),
            None => Ok(written),
        }
    });
    made.map(|made| made.text()).map_err(CliError::Told)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum as _;
    use serde_json::json;

    #[test]
    fn a_program_is_named_as_it_was_found() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().canonicalize().unwrap();
        let at = |name: &str| folder.join(name);
        for name in ["bin", "1.2.3", "other"] {
            std::fs::create_dir(at(name)).unwrap();
        }
        std::fs::write(at("1.2.3/tollgate"), "").unwrap();
        std::fs::write(at("other/tollgate"), "").unwrap();
        std::os::unix::fs::symlink("../1.2.3/tollgate", at("bin/tollgate")).unwrap();
        let path = std::env::join_paths([at("other"), at("bin")]).unwrap();
        let check = |called: &str, expect: Option<&str>| {
            let found = as_called(Path::new(called), &path, &at("1.2.3/tollgate"));
            assert_eq!(found, expect.map(at), "{called}");
        };
        check("tollgate", Some("bin/tollgate"));
        check(at("bin/tollgate").to_str().unwrap(), Some("bin/tollgate"));
        check(at("other/tollgate").to_str().unwrap(), None);
        check("bin/tollgate", None);
        check("nothing", None);
        assert_eq!(plain(&at("bin/../other/servers.toml")), at("other/servers.toml"));
        assert_eq!(plain(&at("none/../servers.toml")), at("none/../servers.toml"));
    }

    #[test]
    fn every_snippet_parses_in_its_clients_form() {
        let args = ["--config".to_owned(), "/srv/tg \"x\"/servers.toml".to_owned()];
        let url = "http://127.0.0.1:8787/mcp";
        for client in ClientKind::value_variants() {
            let read = |reach: &Reach<'_>| {
                let text = snippet(*client, reach).unwrap();
                let value = match client.format() {
                    Format::Json => serde_json::from_str(&text).unwrap(),
                    Format::Toml => json!(toml::from_str::<toml::Table>(&text).unwrap()),
                };
                value[client.member()][NAME].clone()
            };
            assert_eq!(
                read(&Reach::Stdio { program: "/opt/tollgate", args: &args })["args"][1],
                args[1].as_str()
            );
            let http = read(&Reach::Http { url });
            assert!(["url", "httpUrl", "serverUrl"].iter().any(|name| http[*name] == url), "{http}");
        }
    }
}
