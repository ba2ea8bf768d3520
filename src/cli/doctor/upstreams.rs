//! Upstream servers: whether they could be started or reached. None is started; `tollgate check --smoke` does that.

use super::{Findings, PATIENCE};
use crate::config::{Config, UpstreamTransport};
use secrecy::ExposeSecret as _;
use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

const AREA: &str = "upstreams";

pub(super) async fn look(config: &Config, findings: &mut Findings) {
    for (name, upstream) in &config.upstreams {
        let what = name.to_string();
        match &upstream.transport {
            UpstreamTransport::Stdio { command, env, cwd } => {
                let Some(program) = command.first() else { continue };
                let path = env.get("PATH").map(|path| path.expose_secret().to_owned());
                let path = path.or_else(|| std::env::var("PATH").ok()).unwrap_or_default();
                if !cwd.is_dir() {
                    findings.wrong(
                        AREA,
                        what,
                        format!("its folder `{}` is not there", cwd.display()),
                        "make it, or give the server another `cwd`",
                    );
                } else if program == "tollgate" {
                    findings.ok(AREA, what, "this program itself");
                } else if let Some(found) = program_at(program, cwd, &path) {
                    findings.ok(AREA, what, format!("starts `{}`", found.display()));
                } else {
                    findings.wrong(
                        AREA,
                        what,
                        format!("its program `{program}` is not found, or cannot be run"),
                        "install it, or write its whole path in `command`",
                    );
                }
            }
            UpstreamTransport::Http { url, .. } => {
                let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
                let port = url.port_or_known_default().unwrap_or(443);
                let connecting = tokio::net::TcpStream::connect((host.as_str(), port));
                match tokio::time::timeout(PATIENCE, connecting).await {
                    Ok(Ok(_)) => findings.ok(AREA, what, format!("{host}:{port} answers")),
                    Ok(Err(error)) => findings.wrong(
                        AREA,
                        what,
                        format!("{host}:{port} cannot be reached: {error}"),
                        "start it, or put its `url` right; a proxy or firewall may stand between",
                    ),
                    Err(_) => findings.wrong(
                        AREA,
                        what,
                        format!("{host}:{port} did not answer within {} s", PATIENCE.as_secs()),
                        "a firewall may stand between, or its `url` is wrong",
                    ),
                }
            }
        }
    }
    for (name, disabled) in &config.disabled {
        // What somebody switched off is as they want it.
        match disabled.switched_off {
            true => findings.ok(AREA, name.to_string(), format!("not started: {}", disabled.reason)),
            false => findings.wrong(
                AREA,
                name.to_string(),
                format!("not started: {}", disabled.reason),
                "set what is missing where the gateway runs, or `enabled = false`",
            ),
        }
    }
    if config.upstreams.is_empty() && config.disabled.is_empty() {
        findings.advice(
            AREA,
            "servers.toml",
            "it has no server",
            "`tollgate init` imports those of your MCP client",
        );
    }
}

/// Where a program lies, as the operating system would find it.
fn program_at(program: &str, cwd: &Path, path: &str) -> Option<PathBuf> {
    let runs = |file: &PathBuf| {
        file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    if program.contains('/') {
        return Some(cwd.join(program)).filter(runs);
    }
    std::env::split_paths(path).map(|folder| cwd.join(folder).join(program)).find(runs)
}
