//! What a person or a program is told of what `init` found and made.

use super::{
    Secrets,
    first_call::FirstCall,
    gather::{Skipped, Upstream},
    keychain::Keychain,
    look::Looked,
    read::Server,
    start::Starts,
    variables::Variables,
};
use crate::{
    cli::{
        edit::{
            file::Opened,
            shown::{MASK, difference},
        },
        failure::CliError,
        keys::in_force,
        screen::Screen,
        setup::Setup,
    },
    config::{is_secret, secret_in_argument},
    model::{UpstreamName, without_query},
    redaction::{DataRules, visible},
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, io::Write as _, path::Path};

/// What came of it.
pub(super) struct Outcome<'m> {
    pub(super) servers_toml: &'m Path,
    pub(super) policies: &'m Path,
    pub(super) upstreams: &'m [Upstream],
    pub(super) skipped: &'m Skipped,
    pub(super) variables: &'m Variables,
    /// Variables of the network that are passed on.
    pub(super) passed: &'m [&'m str],
    /// The file that values which look like secrets are kept in.
    pub(super) kept_in: &'m Secrets,
    /// Its name and its key.
    pub(super) agent: (&'m str, &'m str),
    /// The same of people, the operator first.
    pub(super) people: Vec<(&'m str, &'m str)>,
    pub(super) starts: Starts,
    /// None: none was made. An error says why it failed; `Ok(None)`: there is nothing to call.
    pub(super) first_call: Option<Result<Option<FirstCall>, String>>,
}

/// What was found, before anything is asked.
pub(super) fn found(upstreams: &[Upstream], skipped: &Skipped) -> Result<(), CliError> {
    let mut out = std::io::stderr();
    writeln!(out, "found:")?;
    for upstream in upstreams {
        let off = if upstream.enabled { "" } else { " (off)" };
        writeln!(out, "  {}{off}: {}", upstream.name, visible(&upstream.from))?;
        writeln!(out, "    {}", visible(&reached(&upstream.server)))?;
    }
    for (name, told) in skipped.iter().map(left_out) {
        writeln!(out, "  {}: {}", visible(&name), visible(&told))?;
    }
    Ok(())
}

/// `--yes` agrees to what would be asked, the start of a project's own servers too; what that starts is told.
pub(super) fn agreed(upstreams: &mut [Upstream]) {
    for one in upstreams.iter_mut().filter(|one| one.enabled && !one.agreed) {
        one.agreed = true;
        one.notes.push(format!(
            "a file of the project itself names it, and `--yes` agrees to its start. It {}",
            reached(&one.server)
        ));
    }
}

/// A file or an entry that is left out, with its file once; a place in it (`:3:7`) stays with the file.
fn left_out((name, file, why): &(String, String, String)) -> (String, String) {
    let (place, why) = match why.strip_prefix(file.as_str()).and_then(|rest| rest.split_once(": ")) {
        Some((place, why)) => (place, why),
        None => ("", why.as_str()),
    };
    match name == file {
        true => (format!("{name}{place}"), format!("left out: {why}")),
        false => (name.clone(), format!("left out ({file}{place}): {why}")),
    }
}

/// A gateway starts at once what comes into servers.toml: what nobody has agreed to comes switched off.
pub(super) fn left_off(upstreams: &mut [Upstream]) {
    for one in upstreams.iter_mut().filter(|one| one.enabled && !one.agreed) {
        one.enabled = false;
        one.notes.push(format!(
            "a file of the project itself names it, and nobody has agreed to its start: it is off until `tollgate servers enable {}`. It {}",
            one.name,
            reached(&one.server)
        ));
    }
}

/// What is run or reached, and what goes with it, without secrets.
pub(super) fn reached(server: &Server) -> String {
    let rules = DataRules::built_in();
    match server {
        Server::Command { command, env, .. } => {
            let before = std::iter::once(None).chain(command.iter().map(|word| Some(word.as_str())));
            let told = before.zip(command).map(|(before, word)| {
                let from = before.and_then(|before| secret_in_argument(&rules, Some(before), word));
                let kept = from.and_then(|from| word.get(..from));
                kept.map_or_else(|| word.clone(), |kept| format!("{kept}{MASK}"))
            });
            let told: Vec<String> = told
                .map(|word| if word.is_empty() || word.contains(' ') { format!("{word:?}") } else { word })
                .collect();
            format!("runs {}{}", told.join(" "), with(" with ", env, &rules))
        }
        Server::Url { url, headers, .. } => {
            format!("is at {}{}", without_query(url), with(" with the headers ", headers, &rules))
        }
    }
}

/// Variables of the environment, or headers, that a server gets: what it runs may hang on them.
fn with(word: &str, members: &BTreeMap<String, String>, rules: &DataRules) -> String {
    if members.is_empty() {
        return String::new();
    }
    let told = members.iter().map(|(name, value)| match is_secret(rules, name, value) {
        true => format!("{name}={MASK}"),
        false => format!("{name}={value:?}"),
    });
    format!("{word}{}", told.collect::<Vec<_>>().join(", "))
}

/// What each tool would be taken for.
pub(super) fn proposals(upstreams: &[Upstream], looked: &[Option<Looked>]) -> Result<(), CliError> {
    let of = upstreams.iter().zip(looked).filter_map(|(upstream, looked)| Some((upstream, looked.as_ref()?)));
    let rows: Vec<Vec<String>> =
        of.flat_map(|(upstream, looked)| looked.tools.iter().map(|tool| tool.row(&upstream.name))).collect();
    Screen::new().table(&["server", "tool", "taken as", "labels", "because"], &rows, "they list no tools")
}

/// What `--add` came to.
pub(super) struct Added<'m> {
    pub(super) upstreams: &'m [Upstream],
    pub(super) looked: &'m [Option<Looked>],
    pub(super) skipped: &'m Skipped,
    pub(super) variables: &'m Variables,
    pub(super) kept_in: &'m Secrets,
    pub(super) starts: &'m Starts,
    /// Who may use them; none: nobody yet.
    pub(super) agent: Option<&'m str>,
    /// Each file, as it was and as it is; that of variables is not among them.
    pub(super) changes: Vec<(&'m Path, &'m str, &'m str)>,
    pub(super) setup: &'m Setup,
    pub(super) written: bool,
}

impl Added<'_> {
    pub(super) fn tell(&self, json: bool) -> Result<(), CliError> {
        let mut screen = Screen::new();
        let missing = missing(self.variables, self.kept_in);
        if json {
            return screen.json(&json!({
                "upstreams": upstreams_json(self.upstreams, self.starts),
                "skipped": skipped_json(self.skipped),
                "missing": missing.into_iter().map(|(name, _)| name).collect::<Vec<_>>(),
                "env_file": self.kept_in.file().map(|file| file.display().to_string()),
                "keychain": self.kept_in.keychain().map(Keychain::told),
                "agent": self.agent,
                "written": self.written && !self.upstreams.is_empty(),
            }));
        }
        for (name, told) in self.skipped.iter().map(left_out) {
            screen.field(&name, &told)?;
        }
        if self.upstreams.is_empty() {
            return screen.line("There is nothing new, and nothing was written.");
        }
        for (path, before, after) in self.changes.iter().filter(|(_, before, after)| before != after) {
            screen.line(difference(&path.display().to_string(), before, after).trim_end())?;
        }
        if !self.written {
            return screen
                .line("Nothing was written, and no server was started: leave out --dry-run to write it.");
        }
        screen.line("")?;
        for (upstream, looked) in self.upstreams.iter().zip(self.looked) {
            one(&mut screen, upstream, looked.as_ref(), self.starts)?;
        }
        if let Some(keychain) = self.kept_in.keychain() {
            screen.line(&format!("Values that looked like secrets lie in {}.", keychain.told()))?;
        }
        if let Some(file) = self.kept_in.file() {
            let mode = Opened::read(file)?.mode().unwrap_or_default();
            let file = file.display();
            screen.line(&format!("Values that looked like secrets lie in {file} (mode {mode:04o})."))?;
        }
        needed(&mut screen, &missing)?;
        self.starts.sign_in.iter().try_for_each(|name| wants_sign_in(&mut screen, self.starts, name))?;
        screen.line(&match self.agent {
            Some(agent) => format!("`{agent}` may use them, as far as policies let it."),
            None => "No agent may use them yet: give one their capabilities in authority.yaml.".to_owned(),
        })?;
        screen.line(&format!("{} `tollgate check` looks at the files.", in_force(self.setup)))
    }
}

/// Variables that have no value yet.
fn missing<'v>(variables: &'v Variables, kept_in: &Secrets) -> Vec<(&'v str, &'v str)> {
    let known = variables.known();
    let open = |name: &str| {
        let is_kept = kept_in.are_kept() && known.contains_key(name);
        !is_kept && std::env::var_os(name).is_none()
    };
    let needed = variables.needed.iter().map(|(name, what)| (name.as_str(), what.as_str()));
    needed.filter(|(name, _)| open(name)).collect()
}

/// A server that wants somebody to sign in, and how they do.
fn wants_sign_in(screen: &mut Screen, starts: &Starts, name: &UpstreamName) -> Result<(), CliError> {
    screen.line(&match starts.issuers.contains(name) {
        true => format!("\n`{name}` wants somebody to sign in: tollgate servers login {name}"),
        false => format!("\n`{name}` wants a credential, and does not say where somebody signs in for it."),
    })
}

fn needed(screen: &mut Screen, missing: &[(&str, &str)]) -> Result<(), CliError> {
    if missing.is_empty() {
        return Ok(());
    }
    screen.line("\nA server stays off until what it needs is set, where Tollgate runs or in servers.env:")?;
    missing.iter().try_for_each(|(name, what)| screen.field(name, what))
}

/// One server that was written.
fn one(
    screen: &mut Screen,
    upstream: &Upstream,
    looked: Option<&Looked>,
    starts: &Starts,
) -> Result<(), CliError> {
    let off = match (upstream.enabled, upstream.agreed) {
        (true, _) => "",
        (false, true) => "off, as in its client; ",
        (false, false) => "off; ",
    };
    let tools = looked.map(|looked| {
        let reads = looked.tools.iter().filter(|tool| tool.read_only).count();
        format!("; {} tools, nobody is asked about {reads} of them", looked.tools.len())
    });
    screen.field(&upstream.name, &format!("{off}{}{}", upstream.from, tools.unwrap_or_default()))?;
    for note in &upstream.notes {
        screen.field("", note)?;
    }
    let Some(reason) = starts.silent.get(upstream.name.as_str()) else { return Ok(()) };
    screen.field("", &format!("not looked at: {reason}"))
}

fn skipped_json(skipped: &Skipped) -> Vec<Value> {
    let skipped = skipped.iter();
    skipped.map(|(name, file, why)| json!({"name": name, "file": file, "reason": why})).collect()
}

fn upstreams_json(upstreams: &[Upstream], starts: &Starts) -> Vec<Value> {
    let form = |one: &Upstream| {
        let silent = starts.silent.get(one.name.as_str());
        json!({"name": one.name, "from": one.from, "enabled": one.enabled, "notes": one.notes, "not_started": silent})
    };
    upstreams.iter().map(form).collect()
}

impl Outcome<'_> {
    /// All but what the first call comes to: whatever ends that, the keys are told.
    pub(super) fn json_begins(&self, written: bool) -> Result<(), CliError> {
        let holder = |(name, key): &(&str, &str)| json!({"name": name, "key": key});
        let missing: Vec<&str> =
            missing(self.variables, self.kept_in).into_iter().map(|(name, _)| name).collect();
        let told = json!({
            "passed": self.passed,
            "upstreams": upstreams_json(self.upstreams, &self.starts),
            "variables": self.variables.needed,
            "missing": missing,
            "env_file": self.kept_in.file().map(|file| file.display().to_string()),
            "keychain": self.kept_in.keychain().map(Keychain::told),
            "skipped": skipped_json(self.skipped),
            "servers_toml": self.servers_toml.display().to_string(),
            "written": written,
            "agent": holder(&self.agent),
            "person": self.people.first().map(holder),
            "people": self.people.iter().map(holder).collect::<Vec<_>>(),
            "sign_in": self.starts.sign_in,
        });
        Screen::new().json_open(&told)
    }

    /// The end of the same document.
    pub(super) fn json_ends(&self) -> Result<(), CliError> {
        let first_call = match &self.first_call {
            None | Some(Ok(None)) => Value::Null,
            Some(Ok(Some(call))) => json!({
                "called": call.what, "decision": call.decision, "reason": call.reason, "trace_id": call.trace_id,
            }),
            Some(Err(why)) => json!({ "failed": why }),
        };
        Screen::new().json_closed("first_call", &first_call)
    }

    /// The files as they would be.
    pub(super) fn shown_only(&self, servers: &str, bundle: &super::files::Bundled) -> Result<(), CliError> {
        let mut screen = Screen::new();
        screen.raw(servers)?;
        for (name, text) in bundle {
            screen.raw(&format!("\n# policies/{name}\n{text}"))?;
        }
        screen.line("")?;
        self.left_out(&mut screen)?;
        screen.line("Nothing was written, and no server was started: leave out --dry-run to write it.")
    }

    fn left_out(&self, screen: &mut Screen) -> Result<(), CliError> {
        let mut skipped = self.skipped.iter().map(left_out);
        skipped.try_for_each(|(name, told)| screen.field(&name, &told))
    }

    /// What was written, and the keys.
    pub(super) fn told(&self, looked: &[Option<Looked>], started: bool) -> Result<(), CliError> {
        let mut screen = Screen::new();
        let kept = self.kept_in.file().map(|file| format!(" and {}", file.display())).unwrap_or_default();
        screen.line(&format!("wrote {}, {}{kept}", self.servers_toml.display(), self.policies.display()))?;
        for (upstream, looked) in self.upstreams.iter().zip(looked) {
            one(&mut screen, upstream, looked.as_ref(), &self.starts)?;
        }
        self.left_out(&mut screen)?;
        screen.line("")?;
        self.keys(&mut screen)?;
        self.needs(&mut screen)?;
        screen.line(match started {
            true => {
                "\nNobody is asked about tools that only read, as servers.toml says of each; a person is asked about every other.\n\
                 Where a server was not looked at, its own word on that is believed (`trust_annotations`)."
            }
            false => {
                "\nNo server was started (--yes does so), so each server's own word on which tools only read is believed: nobody is\n\
                 asked about those, a person is asked about every other. Whose word you do not believe: trust_annotations = false\n\
                 in its table of servers.toml."
            }
        })
    }

    /// What came of the first call, and what to do next.
    pub(super) fn next(&self) -> Result<(), CliError> {
        let mut screen = Screen::new();
        self.called(&mut screen)?;
        let agent = self.agent.0;
        screen.line("\nNext:")?;
        for (command, what) in [
            ("tollgate check".to_owned(), "are the files right?"),
            ("tollgate serve".to_owned(), "MCP for agents, and the page at http://127.0.0.1:8788"),
            (format!("tollgate connect claude --agent {agent}"), "puts Tollgate into your client's file"),
        ] {
            screen.line(&format!("  {command:<44} {what}"))?;
        }
        Ok(())
    }

    fn keys(&self, screen: &mut Screen) -> Result<(), CliError> {
        let (agent, key) = self.agent;
        screen.field("agent key", &format!("{key}   (of `{agent}`)"))?;
        for (person, key) in &self.people {
            screen.field("person's key", &format!("{key}   (of `{person}`, for TOLLGATE_KEY)"))?;
        }
        screen.line(
            "The agent's goes into its client. A person decides with theirs what waits for one: on the page, which asks for it, or with\n\
             `TOLLGATE_KEY=tg_… tollgate approvals watch`.\n\
             These are shown once: the files hold only their SHA-256. `agents rotate` and `people rotate` make new ones.",
        )
    }

    /// What a person still has to do for the servers.
    fn needs(&self, screen: &mut Screen) -> Result<(), CliError> {
        if let Some(keychain) = self.kept_in.keychain() {
            screen.line(&format!(
                "\nValues that looked like secrets lie in {}. `serve` and `stdio` ask it by themselves, once at their start: it has to \
                 be unlocked then.",
                keychain.told()
            ))?;
        }
        if let Some(file) = self.kept_in.file() {
            screen.line(&format!(
                "\nValues that looked like secrets lie in {}, for you alone (mode 0600). `serve` and `stdio` read it by themselves.",
                file.display()
            ))?;
        }
        if !self.passed.is_empty() {
            screen.line(&format!(
                "\nPassed on to the servers, as they are set where Tollgate runs: {}",
                self.passed.join(", ")
            ))?;
        }
        let missing = missing(self.variables, self.kept_in);
        needed(screen, &missing)?;
        if !missing.is_empty() && !self.kept_in.are_kept() && self.variables.stand_for_values() {
            screen
                .line("Values that looked like secrets were not copied: the list says where each stood.")?;
        }
        self.starts.sign_in.iter().try_for_each(|name| wants_sign_in(screen, &self.starts, name))?;
        Ok(())
    }

    fn called(&self, screen: &mut Screen) -> Result<(), CliError> {
        match &self.first_call {
            None => Ok(()),
            Some(Ok(None)) => screen
                .line("\nNo first call was made: no tool that only reads can be called without arguments."),
            Some(Err(why)) => screen.line(&format!("\nThe first call failed: {why}")),
            Some(Ok(Some(call))) => {
                let FirstCall { what, decision, reason, trace_id } = call;
                let reason = reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
                screen.line(&format!(
                    "\nA first call was made, as `{}` would: {what}: {decision}{reason}. Its record: tollgate audit show {trace_id}",
                    self.agent.0
                ))
            }
        }
    }
}
