//! `tollgate completions` and `tollgate man`: made of what can be typed, so that they say what `--help` says.

use super::{
    args::{Cli, CompletionsArgs, ManArgs},
    failure::CliError,
    screen::Screen,
};
use clap::{Command, CommandFactory as _};
use clap_mangen::Man;
use std::{fs, path::Path};

/// Prints completions for a shell.
pub(super) fn completions(args: &CompletionsArgs) -> Result<(), CliError> {
    let mut made = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "tollgate", &mut made);
    Screen::new().raw(&String::from_utf8_lossy(&made))
}

/// Writes a page for `tollgate` and one for each of its commands.
pub(super) fn man(args: &ManArgs) -> Result<(), CliError> {
    let cannot =
        |source| CliError::Io { what: format!("cannot write into `{}`", args.folder.display()), source };
    fs::create_dir_all(&args.folder).map_err(cannot)?;
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let count = page(&command, "tollgate", &args.folder).map_err(cannot)?;
    Screen::new().line(&format!("{count} pages in {}", args.folder.display()))
}

/// The page of a command and those of the commands below it: `tollgate-audit-show.1`.
fn page(command: &Command, name: &str, folder: &Path) -> std::io::Result<usize> {
    let mut made = Vec::new();
    // clap keeps names for as long as the process runs; there are few.
    let title: &'static str = name.to_owned().leak();
    Man::new(command.clone().name(title))
        .section("1")
        .source(concat!("tollgate ", env!("CARGO_PKG_VERSION")))
        .render(&mut made)?;
    fs::write(folder.join(format!("{name}.1")), made)?;
    let mut count = 1;
    for below in command.get_subcommands().filter(|below| !below.is_hide_set() && below.get_name() != "help")
    {
        count += page(below, &format!("{name}-{}", below.get_name()), folder)?;
    }
    Ok(count)
}
