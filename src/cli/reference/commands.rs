//! The command line, from clap's definitions.

use super::{super::args::Cli, cell, head};
use clap::{Arg, Command, CommandFactory as _};
use std::fmt::Write as _;

pub(super) fn page() -> String {
    let mut page = head("The command line", "what `tollgate --help` and `tollgate COMMAND --help` say");
    page.push_str("What holds for all commands: [The command line](../command-line.md). `tollgate man DIR` writes the same as manual pages.\n\n");
    let mut command =
        Cli::command().disable_help_subcommand(true).disable_help_flag(true).disable_version_flag(true);
    command.build();
    page.push_str("| command | what it does |\n|---|---|\n");
    overview(&mut page, &command, "tollgate");
    page.push_str("\nEvery command takes these:\n\n");
    table(&mut page, command.get_arguments().filter(|arg| arg.is_global_set()));
    for below in visible(&command) {
        section(&mut page, below, &format!("tollgate {}", below.get_name()));
    }
    page
}

fn visible(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|below| !below.is_hide_set() && below.get_name() != "help")
}

fn overview(page: &mut String, command: &Command, name: &str) {
    for below in visible(command) {
        let name = format!("{name} {}", below.get_name());
        if !below.is_subcommand_required_set() {
            let anchor = name.replace(' ', "-");
            let about = below.get_about().map(ToString::to_string).unwrap_or_default();
            writeln!(page, "| [`{name}`](#{anchor}) | {} |", cell(&about)).unwrap();
        }
        overview(page, below, &name);
    }
}

fn section(page: &mut String, command: &Command, name: &str) {
    writeln!(page, "## {name}\n").unwrap();
    let about = command.get_long_about().or_else(|| command.get_about()).map(ToString::to_string);
    writeln!(page, "{}\n", about.unwrap_or_default().replace('<', "\\<")).unwrap();
    if !command.is_subcommand_required_set() {
        let usage = command.clone().bin_name(name).render_usage().to_string();
        writeln!(page, "```text\n{}\n```\n", usage.trim_start_matches("Usage:").trim()).unwrap();
        table(page, command.get_arguments().filter(|arg| !arg.is_global_set()));
    }
    if let Some(after) = command.get_after_long_help().or_else(|| command.get_after_help()) {
        let after = after.to_string();
        let examples = after.strip_prefix("Examples:\n");
        writeln!(
            page,
            "{}```text\n{}\n```\n",
            if examples.is_some() { "Examples:\n\n" } else { "" },
            unindented(examples.unwrap_or(&after))
        )
        .unwrap();
    }
    for below in visible(command) {
        section(page, below, &format!("{name} {}", below.get_name()));
    }
}

fn unindented(text: &str) -> String {
    let lines: Vec<&str> =
        text.trim_end().lines().map(|line| line.strip_prefix("  ").unwrap_or(line)).collect();
    lines.join("\n")
}

fn table<'a>(page: &mut String, all: impl Iterator<Item = &'a Arg>) {
    let shown: Vec<&Arg> = all.filter(|arg| !arg.is_hide_set()).collect();
    if shown.is_empty() {
        return;
    }
    page.push_str("| argument | meaning |\n|---|---|\n");
    for arg in shown {
        let value = arg.get_value_names().filter(|_| arg.get_action().takes_values());
        let value = value.into_iter().flatten().map(|name| name.to_string()).collect::<Vec<_>>().join(" ");
        let flag = match (arg.get_long(), arg.get_short()) {
            (Some(long), _) => format!("--{long} {value}"),
            (None, Some(short)) => format!("-{short} {value}"),
            (None, None) => value,
        };
        let said =
            arg.get_long_help().or_else(|| arg.get_help()).map(ToString::to_string).unwrap_or_default();
        let mut said = vec![format!("{}.", said.trim_end_matches('.'))];
        let words: Vec<String> = match arg.get_action().takes_values() {
            true => arg
                .get_possible_values()
                .iter()
                .filter(|word| !word.is_hide_set())
                .map(|word| format!("`{}`", word.get_name()))
                .collect(),
            false => Vec::new(),
        };
        if !words.is_empty() {
            said.push(format!("One of {}.", words.join(", ")));
        }
        let defaults: Vec<String> =
            arg.get_default_values().iter().map(|value| format!("`{}`", value.to_string_lossy())).collect();
        if !defaults.is_empty() && arg.get_action().takes_values() {
            said.push(format!("Default: {}.", defaults.join(", ")));
        }
        if arg.is_required_set() {
            said.push("Required.".to_owned());
        }
        writeln!(page, "| `{}` | {} |", cell(flag.trim()), cell(&said.join(" ")).replace('<', "\\<"))
            .unwrap();
    }
    page.push('\n');
}
