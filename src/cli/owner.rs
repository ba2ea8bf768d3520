//! Whose files a record is: what root typed would be root's, and the gateway, which runs as a user of its own, could not write it
//! any more. So root goes on as that user, but where files of root's are changed.

use super::{
    args::{AgentsCommand, Command, PeopleCommand, ServersCommand},
    environment::Environment,
    failure::CliError,
};
use crate::config;
use std::{
    fs,
    os::unix::{fs::MetadataExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process,
};

/// Whether a command opens the record, or what else lies in the data folder, to write there.
fn works_in_the_data_folder(command: &Command) -> bool {
    match command {
        // These change files of people, or look at the machine.
        Command::Init(_)
        | Command::Doctor(_)
        | Command::Health(_)
        | Command::Connect(_)
        | Command::ClientConfig(_)
        | Command::Agents(AgentsCommand::Add { .. } | AgentsCommand::Rotate { .. })
        | Command::People(PeopleCommand::Add { .. } | PeopleCommand::Rotate { .. })
        | Command::Servers(
            ServersCommand::Add { .. }
            | ServersCommand::Enable { .. }
            | ServersCommand::Disable { .. }
            | ServersCommand::Remove { .. },
        )
        // And these touch neither.
        | Command::Schema(_)
        | Command::Completions(_)
        | Command::Man(_)
        | Command::DemoUpstream
        | Command::ContainChild { .. }
        | Command::SuperviseChild { .. } => false,
        _ => true,
    }
}

/// As root, starts the command again as the user to whom the data folder belongs. Where that is nobody else, nothing happens.
pub(super) fn go_on_as(path: &Path, command: &Command) -> Result<(), CliError> {
    if !rustix::process::geteuid().is_root() || !works_in_the_data_folder(command) {
        return Ok(());
    }
    let environment = Environment::as_far_as_read(path);
    let Some((_, folder)) = config::store_place(path, &|name| environment.get(name)) else { return Ok(()) };
    let Ok(owner) = fs::metadata(&folder) else { return Ok(()) };
    if owner.uid() == 0 {
        return Ok(());
    }
    let mut arguments = std::env::args_os();
    let mut again = process::Command::new(this_program()?);
    if let Some(name) = arguments.next() {
        again.arg0(name);
    }
    again.args(arguments).uid(owner.uid()).gid(owner.gid());
    if let Some((name, home)) = known(owner.uid()) {
        again.env("HOME", home).env("USER", name);
    }
    let source = again.exec();
    let what = format!(
        "`{}` belongs to user {}, and this command cannot go on as that user",
        folder.display(),
        owner.uid()
    );
    Err(CliError::Io { what, source })
}

/// This program; on Linux also where the other user may not look into its folder.
fn this_program() -> Result<PathBuf, CliError> {
    let own = PathBuf::from("/proc/self/exe");
    if own.exists() {
        return Ok(own);
    }
    let what = "where this program lies cannot be told".to_owned();
    std::env::current_exe().map_err(|source| CliError::Io { what, source })
}

/// A user's name and home folder.
fn known(uid: u32) -> Option<(String, String)> {
    let users = fs::read_to_string("/etc/passwd").ok()?;
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, id) = (fields.next()?, fields.nth(1)?);
        (id.parse() == Ok(uid)).then_some(())?;
        Some((name.to_owned(), fields.nth(2)?.to_owned()))
    })
}
