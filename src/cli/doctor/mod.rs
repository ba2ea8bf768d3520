//! `tollgate doctor`: what of this machine does not fit, and what to do about it. It looks, and changes nothing.

mod clients;
mod files;
mod upstreams;

use super::{
    args::DoctorArgs, demo_upstream::PUBLISHED_KEY_DIGESTS, exposure, failure::CliError, health::Listener,
    key_book, screen::Screen, setup::Setup,
};
use crate::{
    config::Config,
    policy::{ApiKey, Authority, Role},
    store::{EventQuery, KnownDamage},
};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;
use std::{
    net::{SocketAddr, TcpListener},
    path::Path,
    time::Duration,
};

/// How long a probe on this machine may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// How far the newest record may be ahead of the clock: what another process wrote in this moment.
const AHEAD: i64 = 2;

/// How something stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Ok,
    /// It works, and could be better.
    Advice,
    /// Somebody has to do something.
    Wrong,
}

/// One thing that was looked at.
#[derive(Clone, Debug, Serialize)]
struct Finding {
    /// What it is of: files, keys, ports, clock, disk, upstreams, clients.
    area: &'static str,
    /// What was looked at.
    what: String,
    state: State,
    /// What was found.
    found: String,
    /// What to do; none where there is nothing to do.
    advice: Option<String>,
}

/// What was found so far.
#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn ok(&mut self, area: &'static str, what: impl Into<String>, found: impl Into<String>) {
        let (what, found) = (what.into(), found.into());
        self.0.push(Finding { area, what, state: State::Ok, found, advice: None });
    }

    fn advice(
        &mut self,
        area: &'static str,
        what: impl Into<String>,
        found: impl Into<String>,
        advice: &str,
    ) {
        let (what, found, advice) = (what.into(), found.into(), Some(advice.to_owned()));
        self.0.push(Finding { area, what, state: State::Advice, found, advice });
    }

    fn wrong(&mut self, area: &'static str, what: impl Into<String>, found: impl Into<String>, advice: &str) {
        let (what, found, advice) = (what.into(), found.into(), Some(advice.to_owned()));
        self.0.push(Finding { area, what, state: State::Wrong, found, advice });
    }

    fn wrongs(&self) -> usize {
        self.0.iter().filter(|finding| finding.state == State::Wrong).count()
    }
}

/// Looks at everything; exit code 1 if something is wrong.
pub(super) async fn doctor(path: &Path, args: &DoctorArgs) -> Result<(), CliError> {
    let mut findings = Findings::default();
    files::own(path, &mut findings);
    let setup = match Setup::load_folder(path) {
        Ok(setup) => Some(setup),
        Err(wrong) => {
            let first = wrong.to_string();
            let first = first.lines().next().unwrap_or_default().to_owned();
            findings.wrong(
                "files",
                "servers.toml and policies/",
                first,
                "`tollgate check` names everything that is wrong in them",
            );
            None
        }
    };
    if let Some(setup) = &setup {
        let config = &setup.loaded.config;
        files::of_config(config, &mut findings);
        keys(setup, &mut findings);
        ports(config, &mut findings).await;
        clock(setup, &mut findings).await;
        files::disk(&config.gateway.data_dir, &mut findings);
        upstreams::look(config, &mut findings).await;
    }
    let endpoint = setup.as_ref().map(|setup| setup.loaded.config.gateway.endpoint());
    clients::look(endpoint.as_deref(), &mut findings);
    show(&findings, args.json.json)?;
    match findings.wrongs() {
        0 => Ok(()),
        1 => Err(CliError::Told("one thing is wrong".to_owned())),
        more => Err(CliError::Told(format!("{more} things are wrong"))),
    }
}

fn show(findings: &Findings, json: bool) -> Result<(), CliError> {
    let mut screen = Screen::new();
    if json {
        return screen.json(&json!({"ok": findings.wrongs() == 0, "checks": findings.0}));
    }
    let mut area = "";
    for finding in &findings.0 {
        if finding.area != area {
            area = finding.area;
            screen.line(area)?;
        }
        let mark = match finding.state {
            State::Ok => "ok    ",
            State::Advice => "advice",
            State::Wrong => "WRONG ",
        };
        screen.line(&format!("  {mark} {}: {}", finding.what, finding.found))?;
        if let Some(advice) = &finding.advice {
            screen.line(&format!("         → {advice}"))?;
        }
    }
    Ok(())
}

/// Whose keys there are, and which of them anybody can read.
fn keys(setup: &Setup, findings: &mut Findings) {
    let area = "keys";
    let authority = &setup.loaded.policies.authority;
    for problem in exposure::check(&setup.loaded).0 {
        findings.wrong(area, "keys and listeners", problem.message, &problem.expected);
    }
    let now = setup.now();
    for doubt in key_book::doubts(&setup.loaded, now) {
        findings.advice(area, "keys that end", doubt.message, &doubt.expected);
    }
    let published = published(authority);
    if published.is_empty() {
        findings.ok(area, "published keys", "none of the shipped example's keys is in use");
    } else {
        findings.advice(
            area,
            "published keys",
            format!("keys of the shipped example, which anybody can read: {}", published.join(", ")),
            "`tollgate agents rotate NAME --end-old` and `tollgate people rotate NAME --end-old` before anything but a demo runs here",
        );
    }
    let many = |keys: &[ApiKey]| keys.iter().filter(|key| !key.is_over(now)).count() > 1;
    let agents =
        authority.agents.values().filter(|agent| many(&agent.keys)).map(|agent| agent.id.to_string());
    let people = authority.people.values().filter(|one| many(&one.keys)).map(|one| one.id.to_string());
    let several: Vec<String> = agents.chain(people).collect();
    if !several.is_empty() {
        findings.advice(
            area,
            "keys in rotation",
            format!("more than one key: {}", several.join(", ")),
            "take the old one out of authority.yaml once the new one is in use everywhere",
        );
    }
    let both: Vec<&str> = authority
        .people
        .values()
        .filter(|one| [Role::Admin, Role::Approver].iter().all(|role| one.roles.contains(role)))
        .map(|one| one.id.as_str())
        .collect();
    if !both.is_empty() {
        findings.advice(
            area,
            "separation of duties",
            format!("who makes the policies also decides by them: {}", both.join(", ")),
            "give `admin` and `approver` to different people where more than one person works here",
        );
    }
    if let Some(agent) = &setup.loaded.config.auth.anonymous_agent {
        findings.advice(
            area,
            "callers without a key",
            format!("whoever reaches the listener acts as `{agent}`"),
            "leave out [auth] anonymous_agent where other people use this machine",
        );
    }
}

fn published(authority: &Authority) -> Vec<String> {
    let agents = authority.agents.values().map(|agent| (agent.id.to_string(), &agent.keys));
    let people = authority.people.values().map(|one| (one.id.to_string(), &one.keys));
    let is_published = |keys: &[ApiKey]| {
        keys.iter().any(|key| PUBLISHED_KEY_DIGESTS.contains(&hex::encode(key.digest).as_str()))
    };
    agents.chain(people).filter(|(_, keys)| is_published(keys)).map(|(name, _)| name).collect()
}

/// Whether the listeners could stand, or do.
async fn ports(config: &Config, findings: &mut Findings) {
    let area = "ports";
    let (gateway, admin) = (config.gateway.listen, config.admin.listen);
    let taken = |address: SocketAddr| address.port() != 0 && TcpListener::bind(address).is_err();
    let (mcp_taken, admin_taken) = (taken(gateway), taken(admin));
    let running = admin_taken && is_tollgate(config).await;
    for (name, address, taken) in
        [("[gateway] listen", gateway, mcp_taken), ("[admin] listen", admin, admin_taken)]
    {
        let what = format!("{name} = {address}");
        match (taken, running) {
            (false, true) => findings.wrong(
                area,
                what,
                "free, though a gateway answers on the admin listener",
                "the gateway that runs has other addresses than servers.toml: start it again",
            ),
            (false, false) => findings.ok(area, what, "free: no gateway runs here"),
            (true, true) => findings.ok(area, what, "a running gateway has it"),
            (true, false) => findings.wrong(
                area,
                what,
                "another program has it, or this user may not listen there",
                &format!("stop that program, or give {name} another port"),
            ),
        }
    }
}

async fn is_tollgate(config: &Config) -> bool {
    let reply = Listener::from(config).get("/healthz", PATIENCE).await;
    reply.is_ok_and(|reply| reply.status.is_success() && &*reply.body == br#"{"status":"ok"}"#)
}

/// Whether the clock is where the record left it: a record is ordered by its chain, but expiries, windows and budgets go by the
/// clock.
async fn clock(setup: &Setup, findings: &mut Findings) {
    let area = "clock";
    let now = setup.now();
    if now.as_second() < BUILT {
        findings.wrong(
            area,
            "this machine's clock",
            format!("it says {now}, before this program was made"),
            "set it (`timedatectl set-ntp true`): expiries, rates and budgets go by it",
        );
        return;
    }
    let record = match record(setup).await {
        Ok(record) => record,
        Err(error) => {
            let remedy = match setup.loaded.config.store.postgres {
                Some(_) => {
                    "let the database of `[store] url` be there; what its answers mean stands in docs/replicas.md"
                }
                None => DAMAGED,
            };
            findings.wrong("files", "the store", format!("it cannot be read: {error}"), remedy);
            return;
        }
    };
    for damage in record.damage.iter().take(MOST_DAMAGE) {
        match record.goes_on {
            true => findings.advice("files", "the record", damage.problem.clone(), DAMAGED),
            false => findings.wrong(
                "files",
                "the record",
                format!("it is damaged, and no gateway starts on it: {}", damage.problem),
                "put the journal back from a backup, or have an admin say that it goes on without that: `tollgate store accept --reason TEXT` (docs/store.md)",
            ),
        }
    }
    match record.newest {
        Some(newest) if newest.as_second() > now.as_second() + AHEAD => findings.wrong(
            area,
            "this machine's clock",
            format!("it says {now}, and the newest record is of {newest}: it went back"),
            "set it (`timedatectl set-ntp true`): until then approvals and budgets last longer than they should",
        ),
        Some(newest) => findings.ok(area, "this machine's clock", format!("{now}, after the newest record ({newest})")),
        None => findings.ok(area, "this machine's clock", format!("{now}; nothing is recorded yet")),
    }
}

const DAMAGED: &str = "`tollgate audit verify` says what of it is damaged";

/// Places of damage that are named.
const MOST_DAMAGE: usize = 5;

/// The clock of a machine that was never set says 1970.
const BUILT: i64 = 1_790_000_000;

/// What a look at the record tells.
#[derive(Default)]
struct Record {
    newest: Option<Timestamp>,
    damage: Vec<KnownDamage>,
    /// It takes records, so that its damage is behind it.
    goes_on: bool,
}

async fn record(setup: &Setup) -> Result<Record, CliError> {
    if !super::wiring::store_exists(&setup.loaded.config.store).unwrap_or(false) {
        return Ok(Record::default());
    }
    let store = setup.record()?;
    let query = EventQuery { newest_first: true, limit: 1, ..EventQuery::default() };
    let found = store.events(query).await;
    let (damage, goes_on) = (store.damage(), store.ping().await.is_ok());
    store.close().await;
    Ok(Record { newest: found?.first().map(|event| event.draft.timestamp), damage, goes_on })
}
