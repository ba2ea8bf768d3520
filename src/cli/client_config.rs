//! `tollgate client-config`: what to paste into an MCP client, so that nobody has to know nine file formats by heart.

use super::{
    args::{ClientConfigArgs, ClientKind},
    clients::{KEY_VARIABLE, KeyReference, NAME, Reach},
    edit::document::{Document, Format},
    failure::CliError,
    screen::Screen,
    setup::Setup,
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
    let args = ["--config", &setup.path.display().to_string(), "stdio", "--agent", agent].map(str::to_owned);
    Ok((program.display().to_string(), args.into()))
}

/// A file with nothing but the entry.
fn snippet(client: ClientKind, reach: &Reach<'_>) -> Result<String, CliError> {
    let start = if client.format() == Format::Json { "{\n}\n" } else { "" };
    let made = Document::parse(start, client.format()).and_then(|empty| {
        let written =
            empty.set(&[client.member().to_owned()], NAME, &client.entry(reach, "THE_AGENTS_KEY"))?;
        match client.input(reach) {
            Some(input) => written.push("inputs", &input),
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
