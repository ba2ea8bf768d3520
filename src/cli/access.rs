//! Who may run which command with a key: whoever may use the route that does the same on the admin listener, by the table of its
//! routes. A command that has no route says its roles here. Without a key, whoever is on the machine is the local admin.

use super::{
    args::{
        AgentsCommand, AlertsCommand, ApprovalsCommand, AuditCommand, BudgetCommand, Command,
        DeadLettersCommand, DutiesCommand, FreezeCommand, GrantsCommand, HoldCommand, IncidentsCommand,
        LabelsCommand, PeopleCommand, PolicyCommand, ReportCommand, RolloutCommand, SampleCommand,
        ServersCommand,
    },
    failure::CliError,
    setup::Setup,
};
use crate::{
    front::admin::{ADMIN, RECORDS, VALUES, roles_of},
    policy::Role,
};
use std::path::Path;

/// Who may run a command with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Whoever can read the files: it reads no record.
    Anybody,
    /// Whoever may use this route.
    Route(&'static str, &'static str),
    /// The same; who that is, is for what is in force by the record to say, whatever the files say.
    Order(&'static str, &'static str),
    /// There is no such route: people with one of these roles.
    Only(&'static [Role]),
}

use Access::{Anybody, Only, Order, Route};

/// Holds the key that was given against what is wanted.
pub(super) fn admit(path: &Path, command: &Command) -> Result<(), CliError> {
    let access = of(command);
    if std::env::var_os("TOLLGATE_KEY").is_none() || access == Anybody {
        return Ok(());
    }
    let setup = match access {
        Order(..) => Setup::load_recorded(path)?,
        Anybody | Route(..) | Only(_) => Setup::load(path)?,
    };
    let allowed = access.roles().unwrap_or_default();
    if setup.roles().iter().any(|role| allowed.contains(role)) {
        return Ok(());
    }
    let person = setup.person()?.to_string();
    Err(CliError::NotEntitled { person, needs: allowed })
}

impl Access {
    /// The roles that it takes; none: everybody's.
    fn roles(self) -> Option<&'static [Role]> {
        match self {
            Anybody => None,
            // A route that is not there lets nobody in.
            Route(method, path) | Order(method, path) => Some(roles_of(method, path).unwrap_or_default()),
            Only(roles) => Some(roles),
        }
    }
}

/// What a command takes.
fn of(command: &Command) -> Access {
    match command {
        Command::Serve(_)
        | Command::Stdio(_)
        | Command::Check(_)
        | Command::Doctor(_)
        | Command::Health(_)
        | Command::Schema(_)
        | Command::Completions(_)
        | Command::Man(_)
        | Command::DemoUpstream
        | Command::ContainChild { .. }
        | Command::SuperviseChild { .. } => Anybody,
        // What it changes is servers.toml and the bundle; a first one has nobody yet.
        Command::Init(args) if args.add => Only(ADMIN),
        Command::Init(_) => Anybody,
        Command::Approvals(command) => match command {
            ApprovalsCommand::List { .. } => Route("get", "/api/v1/approvals"),
            ApprovalsCommand::Show { .. } => Route("get", "/api/v1/approvals/{id}"),
            ApprovalsCommand::Watch { .. } => Route("get", "/api/v1/stream"),
            ApprovalsCommand::Approve(_) | ApprovalsCommand::Reject(_) => {
                Route("post", "/api/v1/approvals/{id}/decision")
            }
        },
        Command::Labels(LabelsCommand::List { .. }) => Route("get", "/api/v1/labels"),
        Command::Labels(LabelsCommand::Clear { .. }) => Route("post", "/api/v1/labels/clear"),
        Command::Grants(command) => match command {
            GrantsCommand::List { .. } => Route("get", "/api/v1/grants"),
            GrantsCommand::Show { .. } => Route("get", "/api/v1/grants/{id}"),
            GrantsCommand::Revoke { .. } => Route("delete", "/api/v1/grants/{id}"),
        },
        Command::DeadLetters(command) => match command {
            DeadLettersCommand::List { .. } => Route("get", "/api/v1/deadletters"),
            DeadLettersCommand::Show { .. } => Route("get", "/api/v1/deadletters/{id}"),
            DeadLettersCommand::Replay { .. } | DeadLettersCommand::Dismiss { .. } => {
                Route("post", "/api/v1/deadletters/{id}")
            }
        },
        Command::Freeze(args) => match args.command {
            Some(FreezeCommand::List { .. }) => Route("get", "/api/v1/freeze"),
            None => Route("post", "/api/v1/freeze"),
        },
        Command::Unfreeze(_) => Route("delete", "/api/v1/freeze/{id}"),
        Command::Audit(command) => of_audit(command),
        // It says what the files say, and no secret of them.
        Command::Webhooks(_) => Only(ADMIN),
        Command::Alerts(AlertsCommand::List { .. }) => Route("get", "/api/v1/alerts"),
        Command::Alerts(AlertsCommand::Ack(_) | AlertsCommand::False(_)) => {
            Route("post", "/api/v1/alerts/{id}")
        }
        Command::Incidents(command) => match command {
            IncidentsCommand::List { .. } => Route("get", "/api/v1/incidents"),
            IncidentsCommand::Show { .. } => Route("get", "/api/v1/incidents/{id}"),
            IncidentsCommand::Close { .. } => Route("post", "/api/v1/incidents/{id}"),
        },
        Command::Duties(DutiesCommand::List { .. }) => Route("get", "/api/v1/duties"),
        Command::Duties(DutiesCommand::Done { .. }) => Route("post", "/api/v1/duties/{name}"),
        Command::Policy(command) => of_policy(command),
        Command::Report(command) => of_report(command),
        Command::Agents(command) => match command {
            AgentsCommand::List(_) | AgentsCommand::Show { .. } => Route("get", "/api/v1/agents"),
            AgentsCommand::Add { .. } | AgentsCommand::Rotate { .. } => Only(ADMIN),
        },
        Command::People(command) => match command {
            PeopleCommand::List(_) | PeopleCommand::Show { .. } => Route("get", "/api/v1/people"),
            PeopleCommand::Add { .. } | PeopleCommand::Rotate { .. } => Only(ADMIN),
        },
        Command::Servers(command) => of_servers(command),
        Command::Store(_) => Only(ADMIN),
        Command::Budget(BudgetCommand::Status(_)) => Route("get", "/api/v1/budgets"),
        Command::Budget(BudgetCommand::Reset { .. }) => Route("post", "/api/v1/budgets/{id}/reset"),
        // Of a client's own file alone.
        Command::Connect(args) if args.undo => Anybody,
        // They tell whether there is such an agent.
        Command::Connect(_) | Command::ClientConfig(_) => Route("get", "/api/v1/agents"),
    }
}

fn of_servers(command: &ServersCommand) -> Access {
    match command {
        ServersCommand::List { .. } => Route("get", "/api/v1/upstreams"),
        ServersCommand::Inspect { .. } => Route("get", "/api/v1/tools"),
        ServersCommand::Diff { .. } => Route("get", "/api/v1/pins"),
        ServersCommand::Login { .. } => Route("post", "/api/v1/connections/{upstream}"),
        ServersCommand::Logout { .. } => Route("delete", "/api/v1/connections/{upstream}"),
        ServersCommand::Accept { .. } => Order("post", "/api/v1/pins/accept"),
        ServersCommand::Pin { .. } => Order("post", "/api/v1/pins/pin"),
        // What these change is servers.toml.
        ServersCommand::Add { .. }
        | ServersCommand::Enable { .. }
        | ServersCommand::Disable { .. }
        | ServersCommand::Remove { .. } => Only(ADMIN),
    }
}

fn of_report(command: &ReportCommand) -> Access {
    match command {
        ReportCommand::Advice(_) => Route("get", "/api/v1/report/advice"),
        ReportCommand::Scorecard(_) => Route("get", "/api/v1/report/scorecard"),
        ReportCommand::Drift(_) => Route("get", "/api/v1/report/drift"),
        ReportCommand::Maturity(_) => Route("get", "/api/v1/report/maturity"),
        ReportCommand::Spend(_) => Route("get", "/api/v1/report/spend"),
        ReportCommand::Digest(_) => Route("get", "/api/v1/report/digest"),
        // It is the same in every place, and reads nothing of this one.
        ReportCommand::Compliance(_) => Anybody,
    }
}

fn of_audit(command: &AuditCommand) -> Access {
    match command {
        AuditCommand::Query { .. } | AuditCommand::Export { .. } => Route("get", "/api/v1/events"),
        AuditCommand::Tail { .. } => Route("get", "/api/v1/stream"),
        AuditCommand::Show { as_test: false, .. } => Route("get", "/api/v1/traces/{trace_id}"),
        // A test holds the values of arguments; so, by the record's hash, does a proof.
        AuditCommand::Show { as_test: true, .. } | AuditCommand::Prove(_) => Only(VALUES),
        // Of an export and of a proof, which whoever has them has.
        AuditCommand::Verify(args) if args.file.is_some() || args.proof.is_some() => Anybody,
        AuditCommand::Verify(_) => Route("get", "/api/v1/audit/verify"),
        AuditCommand::Checkpoint(args) if args.rotate => Only(ADMIN),
        // What it prints is what the record is held against.
        AuditCommand::Checkpoint(_) => Route("get", "/api/v1/audit/verify"),
        AuditCommand::Note(_) => Only(RECORDS),
        AuditCommand::Hold(HoldCommand::List { .. }) => Route("get", "/api/v1/holds"),
        AuditCommand::Hold(HoldCommand::Add(_)) => Route("post", "/api/v1/holds"),
        AuditCommand::Hold(HoldCommand::Release { .. }) => Route("delete", "/api/v1/holds/{id}"),
        AuditCommand::Sample(SampleCommand::List { .. }) => Route("get", "/api/v1/samples"),
        AuditCommand::Sample(SampleCommand::Review { .. }) => Route("post", "/api/v1/samples/{call_id}"),
    }
}

fn of_policy(command: &PolicyCommand) -> Access {
    match command {
        // Of the folder's files alone.
        PolicyCommand::Test(_) | PolicyCommand::Manifest(_) => Anybody,
        // An explanation of a recorded call shows what its conditions looked at.
        PolicyCommand::Explain(args) if args.trace.is_some() => Only(VALUES),
        PolicyCommand::Explain(_) => Route("post", "/api/v1/explain"),
        PolicyCommand::Replay(_) => Only(RECORDS),
        // Two bundles differ by what they decide of recorded calls.
        PolicyCommand::Simulate(_) | PolicyCommand::Diff(_) => Route("post", "/api/v1/simulate"),
        PolicyCommand::History(_) => Route("get", "/api/v1/policies/history"),
        PolicyCommand::Show(_) => Route("get", "/api/v1/policies/{snapshot}"),
        PolicyCommand::Activate(_) => Order("post", "/api/v1/policies/activate"),
        PolicyCommand::Rollback(_) => Order("post", "/api/v1/policies/rollback"),
        PolicyCommand::Rollout(RolloutCommand::Status(_)) => Route("get", "/api/v1/policies/rollout"),
        PolicyCommand::Rollout(RolloutCommand::Start(_)) => Order("post", "/api/v1/policies/rollout/start"),
        PolicyCommand::Rollout(RolloutCommand::Advance(_)) => {
            Order("post", "/api/v1/policies/rollout/advance")
        }
        PolicyCommand::Rollout(RolloutCommand::Abort(_)) => Order("post", "/api/v1/policies/rollout/abort"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::Cli;
    use clap::{CommandFactory as _, Parser as _};
    use std::fmt::Write as _;

    /// A line for each command, and for each use of one that takes other roles.
    const LINES: &[&str] = &[
        "serve",
        "stdio --agent a",
        "init",
        "init --add",
        "check",
        "doctor",
        "health",
        "approvals list",
        "approvals show ID",
        "approvals watch",
        "approvals approve ID",
        "approvals reject ID",
        "grants list",
        "grants show ID",
        "grants revoke ID",
        "freeze --all --reason x",
        "freeze list",
        "unfreeze --all",
        "deadletters list",
        "deadletters show ID",
        "deadletters replay ID",
        "deadletters dismiss ID --reason x",
        "alerts list",
        "alerts ack ID",
        "alerts false ID",
        "incidents list",
        "incidents show ID",
        "incidents close ID --note x",
        "duties list",
        "duties done NAME --note x",
        "labels list",
        "labels clear --agent a --reason x",
        "audit query",
        "audit show 0af7651916cd43dd8448eb211c80319c",
        "audit show 0af7651916cd43dd8448eb211c80319c --as-test",
        "audit verify",
        "audit verify --file F",
        "audit checkpoint",
        "audit checkpoint --rotate",
        "audit prove ID",
        "audit note 0af7651916cd43dd8448eb211c80319c x",
        "audit hold add --agent a --reason x",
        "audit hold list",
        "audit hold release ID --reason x",
        "audit sample list",
        "audit sample review ID --finding ok",
        "audit export",
        "audit tail",
        "policy replay",
        "policy history",
        "policy show SNAPSHOT",
        "policy activate SNAPSHOT --reason x",
        "policy rollback --reason x",
        "policy rollout start SNAPSHOT --reason x",
        "policy rollout status",
        "policy rollout advance --reason x",
        "policy rollout abort --reason x",
        "policy manifest",
        "policy test",
        "policy explain --agent a --tool t",
        "policy explain --trace 0af7651916cd43dd8448eb211c80319c",
        "policy simulate --bundle D",
        "policy diff A B",
        "report advice",
        "report scorecard",
        "report drift",
        "report maturity",
        "report spend",
        "report digest",
        "report compliance",
        "schema event",
        "store import",
        "store accept --reason x",
        "store migrate --to x",
        "store rotate-key",
        "agents list",
        "agents show NAME",
        "agents add NAME",
        "agents rotate NAME",
        "people list",
        "people show NAME",
        "people add NAME",
        "people rotate NAME",
        "servers list",
        "servers inspect NAME",
        "servers diff",
        "servers login NAME",
        "servers logout NAME",
        "servers accept NAME",
        "servers pin",
        "servers add NAME --url https://a.example/mcp",
        "servers enable NAME",
        "servers disable NAME",
        "servers remove NAME",
        "budget status",
        "budget reset ID --reason x",
        "webhooks list",
        "webhooks test",
        "connect claude --agent a",
        "connect claude --undo",
        "client-config claude --agent a",
        "completions bash",
        "man D",
        "demo-upstream",
    ];

    fn leaves(command: &clap::Command, path: &str, out: &mut Vec<String>) {
        for one in command.get_subcommands().filter(|one| !one.is_hide_set() && one.get_name() != "help") {
            let path = format!("{path}{} ", one.get_name());
            if one.get_subcommands().next().is_none() || !one.is_subcommand_required_set() {
                out.push(path.clone());
            }
            leaves(one, &path, out);
        }
    }

    /// R61: a command that is not in the snapshot, or lets in somebody else, fails here. What has a route has its roles.
    #[test]
    fn the_matrix_of_commands_and_roles() {
        let mut all = Vec::new();
        leaves(&Cli::command(), "", &mut all);
        for leaf in &all {
            assert!(LINES.iter().any(|line| format!("{line} ").starts_with(leaf)), "`{leaf}` has no line");
        }
        let mut out = String::new();
        for line in LINES {
            let parsed = Cli::try_parse_from(["tollgate"].into_iter().chain(line.split(' ')));
            let access = of(&parsed.unwrap_or_else(|error| panic!("{line}: {error}")).command);
            let like = match access {
                Anybody => "-".to_owned(),
                Route(method, path) | Order(method, path) => {
                    assert!(roles_of(method, path).is_some(), "{line}: there is no {method} {path}");
                    format!("{method} {path}")
                }
                Only(_) => "no route".to_owned(),
            };
            let roles = access.roles().map_or("everybody".to_owned(), |roles| {
                roles.iter().map(|role| role.as_str()).collect::<Vec<_>>().join(" ")
            });
            writeln!(out, "{line:<68} {like:<44} {roles}").unwrap();
        }
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/admin"));
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.bind(|| insta::assert_snapshot!("commands", out));
    }
}
