//! The command line: the composition root. It reads arguments and files, puts the rooms together, and turns what
//! comes of it into text, JSON and an exit code.

mod access;
mod accounts;
mod agents;
mod alerts;
mod approvals;
mod args;
mod as_test;
mod audit;
mod budget;
mod check;
mod client_config;
mod clients;
mod compliance;
mod connect;
mod contained;
mod dead_letters;
pub mod demo_upstream;
mod doctor;
mod edit;
mod environment;
mod exposure;
mod failure;
mod figures;
mod folder;
mod follow;
mod forbids;
mod freezes;
mod grants;
mod health;
mod holds;
mod init;
mod inspection;
mod key_book;
mod keys;
mod known;
mod labels;
mod log;
mod manual;
mod names;
mod note;
mod origin;
mod owner;
mod people;
mod pins;
mod policy;
mod proof;
#[cfg(test)]
mod reference;
mod reload;
mod report;
mod revoked;
mod running;
mod schema;
mod screen;
mod serve;
mod server_entries;
mod servers;
mod setup;
mod spend;
mod store;
mod stores;
mod webhooks;
mod wiring;

use crate::clock::{Clock as _, System};
use args::{
    AgentsCommand, AuditCommand, Cli, Command, LogFormat, PeopleCommand, ReportCommand, ServersCommand,
};
use clap::Parser as _;
use failure::CliError;
use setup::{Setup, record, record_of_calls};
use std::{future::Future, io::Write as _, process::ExitCode};

/// Runs the command that the process was started with.
pub fn run() -> ExitCode {
    args::take_zone(std::env::args());
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // Help and version are no errors: clap knows which stream and which code (2 for usage).
        Err(told) => {
            match asks_for_json() && told.use_stderr() {
                true => say_json(&told.to_string()),
                false => drop(told.print()),
            }
            return ExitCode::from(u8::try_from(told.exit_code()).unwrap_or(2));
        }
    };
    let format = match &cli.command {
        Command::Serve(args) => args.run.log_format,
        Command::Stdio(args) => args.run.log_format,
        _ => LogFormat::Text,
    };
    let done = dispatch(cli);
    log::flush();
    match done {
        Ok(code) => code,
        Err(error) if error.reader_gone() => ExitCode::SUCCESS,
        Err(error) => {
            // Problems of files begin with their place, as editors read it.
            let from = if matches!(error, CliError::Files { .. }) { "" } else { "tollgate: " };
            match format {
                LogFormat::Text => drop(writeln!(std::io::stderr(), "{from}{error}")),
                LogFormat::Json => say_json(&error.to_string()),
            }
            ExitCode::FAILURE
        }
    }
}

/// Whether arguments that could not be read ask for a log of JSON lines.
fn asks_for_json() -> bool {
    let given: Vec<_> = std::env::args_os().skip(1).collect();
    let runs = given.iter().any(|one| one == "serve" || one == "stdio");
    let joined = given.iter().any(|one| one == "--log-format=json");
    runs && (joined
        || given.windows(2).any(|two| matches!(two, [a, b] if a == "--log-format" && b == "json")))
}

/// Says why the process ends in a line like those of its log.
fn say_json(message: &str) {
    let line = serde_json::json!({
        "timestamp": System::default().now(),
        "level": "ERROR",
        "message": message.trim_end(),
        "target": "tollgate::cli",
    });
    writeln!(std::io::stderr(), "{line}").ok();
}

fn dispatch(cli: Cli) -> Result<ExitCode, CliError> {
    let path = std::path::absolute(&cli.config)
        .map_err(|source| CliError::Io { what: "cannot resolve --config".to_owned(), source })?;
    owner::go_on_as(&path, &cli.command)?;
    access::admit(&path, &cli.command)?;
    let done = match cli.command {
        Command::Serve(args) => block(serve::serve(path, args)),
        Command::Stdio(args) => block(serve::stdio(path, args)),
        Command::Init(args) => block(init::init(&path, &args)),
        Command::Check(args) => block(check::check(&path, &args)),
        Command::Doctor(args) => block(doctor::doctor(&path, &args)),
        Command::Health(args) => block(health::health(&path, &args)),
        Command::Approvals(command) => block(approvals::approvals(Setup::load(&path)?, command)),
        Command::Labels(command) => block(labels::labels(Setup::load(&path)?, command)),
        Command::Grants(command) => block(grants::grants(Setup::load(&path)?, command)),
        Command::DeadLetters(command) => block(dead_letters::run(Setup::load(&path)?, command)),
        Command::Freeze(args) => block(freezes::freeze(Setup::load(&path)?, args)),
        Command::Unfreeze(args) => block(freezes::unfreeze(Setup::load(&path)?, args)),
        Command::Audit(AuditCommand::Verify(args)) if args.file.is_some() => audit::verify_file(&args),
        Command::Audit(AuditCommand::Verify(args)) if args.proof.is_some() => proof::verify_proof(&args),
        Command::Audit(AuditCommand::Verify(args)) => block(audit::verify(path, args)),
        Command::Audit(AuditCommand::Checkpoint(args)) => block(proof::checkpoint(Setup::load(&path)?, args)),
        Command::Audit(AuditCommand::Note(args)) => block(note::note(Setup::load(&path)?, args)),
        Command::Audit(AuditCommand::Hold(command)) => block(holds::holds(Setup::load(&path)?, command)),
        Command::Audit(AuditCommand::Prove(args)) => block(proof::prove(Setup::load(&path)?, args)),
        Command::Audit(AuditCommand::Sample(command)) => block(alerts::samples(Setup::load(&path)?, command)),
        Command::Audit(command) => block(audit::audit(record_of_calls(&path)?, command)),
        Command::Alerts(command) => block(alerts::alerts(Setup::load(&path)?, command)),
        Command::Webhooks(command) => block(webhooks::webhooks(Setup::load(&path)?, command)),
        Command::Incidents(command) => block(alerts::incidents(Setup::load(&path)?, command)),
        Command::Duties(command) => block(alerts::duties(Setup::load(&path)?, command)),
        Command::Policy(command) => block(policy::policy(path, command)),
        Command::Report(ReportCommand::Compliance(args)) => compliance::compliance(&args),
        Command::Report(command) => {
            let (store, system) = record(&path)?;
            block(report::report(&path, store, system, command))
        }
        Command::Agents(command @ (AgentsCommand::Add { .. } | AgentsCommand::Rotate { .. })) => {
            agents::agents(Setup::load_folder(&path)?, command)
        }
        Command::Agents(command) => agents::agents(Setup::load(&path)?, command),
        // What these change is the folder's, whatever is in force; a new key is for whoever may change the files.
        Command::People(command @ (PeopleCommand::Add { .. } | PeopleCommand::Rotate { .. })) => {
            people::people(Setup::load_folder(&path)?, command)
        }
        Command::People(command) => people::people(Setup::load(&path)?, command),
        // Who may accept what is listed is for what is in force to say.
        Command::Servers(command @ (ServersCommand::Accept { .. } | ServersCommand::Pin { .. })) => {
            block(servers::servers(Setup::load_recorded(&path)?, command))
        }
        // What these change is the folder's, whatever is in force.
        Command::Servers(
            command @ (ServersCommand::Add { .. }
            | ServersCommand::Enable { .. }
            | ServersCommand::Disable { .. }
            | ServersCommand::Remove { .. }),
        ) => block(servers::servers(Setup::load_folder(&path)?, command)),
        Command::Servers(command) => block(servers::servers(Setup::load(&path)?, command)),
        Command::Store(command) => block(store::store(Setup::load(&path)?, command)),
        Command::Budget(command) => block(budget::budget(Setup::load(&path)?, command)),
        Command::Connect(args) => block(connect::connect(&path, &args)),
        Command::ClientConfig(args) => client_config::client_config(&Setup::load(&path)?, &args),
        Command::Schema(args) => schema::schema(&args),
        Command::Completions(args) => manual::completions(&args),
        Command::Man(args) => manual::man(&args),
        Command::DemoUpstream => block(wiring::demo_upstream()),
        Command::ContainChild { args } => return Ok(crate::upstream::contain::main(args)),
        Command::SuperviseChild { args } => return Ok(wiring::supervise_child(args)),
    };
    done.map(|()| ExitCode::SUCCESS)
}

fn block(work: impl Future<Output = Result<(), CliError>>) -> Result<(), CliError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|source| CliError::Io { what: "cannot start the async runtime".to_owned(), source })?;
    let done = runtime.block_on(work);
    // A thread may still wait for standard input, or merge a long list: it must not hold up the end.
    runtime.shutdown_background();
    done
}
