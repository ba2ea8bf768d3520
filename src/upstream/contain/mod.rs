//! A local server that is kept within what its table grants: the process that the supervisor starts restricts itself,
//! and then becomes the server. No part of the server runs before that.
//!
//! What each limit stands on: files, Landlock; network, a filter of system calls and, where one can be made, a network
//! namespace and Landlock's TCP rules; memory, processes and cores, a control group, else resource limits.

#[cfg(target_os = "linux")]
mod cgroup;
#[cfg(target_os = "linux")]
mod enter;
#[cfg(target_os = "linux")]
mod grants;
#[cfg(target_os = "linux")]
mod kernel;

use super::environment::environment;
use crate::config::{ContainConfig, UpstreamConfig, UpstreamTransport};
use serde::{Deserialize, Serialize};
use std::{ffi::OsString, path::Path, process::ExitCode, process::Stdio, time::Duration};
use tokio::process::Command;

/// The hidden subcommand of `tollgate` that runs [`main`].
pub const SUBCOMMAND: &str = "contain-child";

/// Its first argument where it only says what would stand.
const TRY: &str = "--try";
/// Its first argument where it goes on to become the server.
const START: &str = "--start";
/// How long a trial may take: it starts one process, which reads a few files.
const PATIENCE: Duration = Duration::from_secs(10);

/// What keeps a contained server within its limits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Containment {
    /// Each limit that stands, and by what.
    pub by: Vec<String>,
    /// What was asked for and is not there, and what would give it.
    pub missing: Vec<String>,
}

impl Containment {
    /// Why a server is not started; none where it may be.
    pub fn refusal(&self, config: &ContainConfig) -> Option<String> {
        (!self.missing.is_empty() && !config.best_effort).then(|| {
            format!(
                "it cannot be contained here: {}; `best_effort = true` in `contain` starts it all the same",
                self.missing.join("; ")
            )
        })
    }

    /// One line for people.
    pub fn sentence(&self) -> String {
        let by = if self.by.is_empty() { "by nothing".to_owned() } else { self.by.join(", ") };
        match self.missing.as_slice() {
            [] => by,
            missing => format!("{by}; missing: {}", missing.join("; ")),
        }
    }
}

/// Program and arguments as they are started: the program `tollgate` means this binary.
pub(super) fn program(own_binary: &Path, command: &[String]) -> Result<Vec<OsString>, String> {
    let (program, arguments) = command.split_first().ok_or("the command is empty")?;
    let program: OsString = if program == "tollgate" { own_binary.into() } else { program.into() };
    Ok(std::iter::once(program).chain(arguments.iter().map(OsString::from)).collect())
}

/// The command that becomes `command` within the limits.
pub(super) fn wrapped(
    own_binary: &Path,
    config: &ContainConfig,
    command: &[OsString],
) -> Result<Vec<OsString>, String> {
    wrap(own_binary, START, config, command)
}

fn wrap(
    own_binary: &Path,
    mode: &str,
    config: &ContainConfig,
    command: &[OsString],
) -> Result<Vec<OsString>, String> {
    let limits = serde_json::to_string(config)
        .map_err(|_| "a path of `contain` is not UTF-8, which cannot be passed on".to_owned())?;
    let leading = [own_binary.into(), SUBCOMMAND.into(), mode.into(), limits.into()];
    Ok(leading.into_iter().chain(command.iter().cloned()).collect())
}

/// What would stand for an upstream, tried by a process that takes the limits on and ends; none where it is not
/// contained. The server itself is not started.
pub async fn tried(upstream: &UpstreamConfig, own_binary: &Path) -> Option<Result<Containment, String>> {
    let config = upstream.contain.as_ref()?;
    let UpstreamTransport::Stdio { command, env, cwd } = &upstream.transport else { return None };
    let wrapped = program(own_binary, command).and_then(|command| wrap(own_binary, TRY, config, &command));
    Some(match wrapped {
        Ok(wrapped) => trial(&wrapped, environment(env), cwd).await,
        Err(why) => Err(why),
    })
}

async fn trial(
    wrapped: &[OsString],
    env: Vec<(OsString, OsString)>,
    cwd: &Path,
) -> Result<Containment, String> {
    let (program, arguments) = wrapped.split_first().ok_or("the command is empty")?;
    let child = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(env)
        .current_dir(cwd)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    let child = child.map_err(|error| match cwd.is_dir() {
        true => format!("it cannot be contained: {error}"),
        false => format!("the process cannot be started: its folder `{}` is not there", cwd.display()),
    })?;
    let pid = child.id();
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await;
    if let Some(pid) = pid {
        tokio::task::spawn_blocking(move || clear(pid)).await.ok();
    }
    let output = match output {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => return Err(format!("it cannot be contained: {error}")),
        Err(_) => return Err("it cannot be contained: the trial did not end".to_owned()),
    };
    serde_json::from_slice(&output.stdout).map_err(|_| {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.trim().strip_prefix("tollgate: ").unwrap_or(said.trim());
        format!("it cannot be contained: {}", if said.is_empty() { "the trial said nothing" } else { said })
    })
}

/// Ends and removes what was made for a contained process beside it.
pub(super) fn clear(pid: u32) {
    #[cfg(target_os = "linux")]
    cgroup::clear(pid);
    #[cfg(not(target_os = "linux"))]
    let _: u32 = pid;
}

/// What the kernel ended a contained process for, where it was that.
pub(super) fn ended_for(pid: u32) -> Option<&'static str> {
    #[cfg(target_os = "linux")]
    return cgroup::out_of_memory(pid).then_some("it used more memory than `contain` gives it");
    #[cfg(not(target_os = "linux"))]
    {
        let _: u32 = pid;
        None
    }
}

/// Takes the limits on and becomes the server, or tells what stands.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    match start(args) {
        Ok(code) => code,
        Err(why) => {
            eprintln!("tollgate: {why}");
            ExitCode::from(125)
        }
    }
}

fn start(args: impl IntoIterator<Item = OsString>) -> Result<ExitCode, String> {
    let mut args = args.into_iter();
    let usage = || format!("`{SUBCOMMAND}` is started by Tollgate itself");
    let mode = args.next().ok_or_else(usage)?;
    let limits = args.next().and_then(|limits| limits.into_string().ok()).ok_or_else(usage)?;
    let config: ContainConfig = serde_json::from_str(&limits).map_err(|_| usage())?;
    let command: Vec<OsString> = args.collect();
    let stands = restrict(&config, &command)?;
    if mode.to_str() == Some(TRY) {
        let told = serde_json::to_string(&stands).map_err(|error| error.to_string())?;
        println!("{told}");
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(refusal) = stands.refusal(&config) {
        return Err(refusal);
    }
    become_server(&command)
}

#[cfg(target_os = "linux")]
fn restrict(config: &ContainConfig, command: &[OsString]) -> Result<Containment, String> {
    enter::restrict(config, command)
}

#[cfg(not(target_os = "linux"))]
fn restrict(_: &ContainConfig, _: &[OsString]) -> Result<Containment, String> {
    Ok(Containment {
        by: Vec::new(),
        missing: vec!["all of it: servers are contained on Linux only".to_owned()],
    })
}

fn become_server(command: &[OsString]) -> Result<ExitCode, String> {
    use std::os::unix::process::CommandExt as _;
    let (program, arguments) = command.split_first().ok_or("the command is empty")?;
    let error = std::process::Command::new(program).args(arguments).exec();
    let shown = program.to_string_lossy();
    Err(match error.kind() {
        std::io::ErrorKind::PermissionDenied => format!(
            "`{shown}` cannot be started within `contain`: it, or the program that runs it, lies outside of what `read` names"
        ),
        _ => format!("`{shown}` cannot be started: {error}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_refuses_a_start_unless_best_effort_is_enough() {
        let stands = Containment { by: vec!["files (x)".into()], missing: vec!["network (y)".into()] };
        let strict = ContainConfig::default();
        let told = stands.refusal(&strict).unwrap();
        assert!(told.contains("network (y)") && told.contains("best_effort = true"), "{told}");
        assert_eq!(stands.refusal(&ContainConfig { best_effort: true, ..strict.clone() }), None);
        assert_eq!(Containment::default().refusal(&strict), None);
        assert_eq!(stands.sentence(), "files (x); missing: network (y)");
    }
}
