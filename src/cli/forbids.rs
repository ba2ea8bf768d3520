//! What keeps a client from starting Tollgate though it stands in its file: lists of the client's other files that say which servers
//! may be started, and switches for all of them.

use super::{
    args::ClientKind,
    clients::{NAME, is_same_place},
    edit::document::{strict, toml_value},
    init::{Folders, text_of},
};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// Where a client looks.
pub(super) struct Look<'l> {
    pub(super) client: ClientKind,
    pub(super) folders: Folders<'l>,
    /// The file in which Tollgate stands.
    pub(super) file: &'l Path,
    /// How it is called there.
    pub(super) name: &'l str,
    /// What stands there, where that is known.
    pub(super) entry: Option<&'l Value>,
    /// The gateway's own address.
    pub(super) endpoint: Option<&'l str>,
    /// Where the files of the whole machine lie: `/`.
    pub(super) system: &'l Path,
    /// The environment.
    pub(super) var: &'l dyn Fn(&str) -> Option<PathBuf>,
}

impl Look<'_> {
    /// Each in a sentence that names the file; what that file itself says is left out, for `connect` puts it right.
    pub(super) fn forbids(&self) -> Vec<String> {
        match self.client {
            ClientKind::Claude => self.of_claude(),
            ClientKind::Gemini => self.of_gemini(),
            ClientKind::Codex => self.of_codex(),
            ClientKind::Vscode => self.of_vscode(),
            ClientKind::Zed => self.of_zed(),
            ClientKind::ClaudeDesktop | ClientKind::Cursor | ClientKind::Windsurf | ClientKind::Cline => {
                Vec::new()
            }
        }
    }

    fn home(&self, below: &str) -> Option<PathBuf> {
        self.folders.home.map(|home| home.join(below))
    }

    fn below_system(&self, linux: &str, macos: &str) -> PathBuf {
        self.system.join(if cfg!(target_os = "macos") { macos } else { linux })
    }

    /// Whether Tollgate stands in a file of the project itself.
    fn is_projects(&self) -> bool {
        self.client.project_file().is_some_and(|name| self.folders.here.join(name) == self.file)
            && self.folders.home != Some(self.folders.here)
    }

    fn of_claude(&self) -> Vec<String> {
        let mut told = Vec::new();
        let managed = |name: &str| {
            let (linux, macos) = ("etc/claude-code", "Library/Application Support/ClaudeCode");
            self.below_system(linux, macos).join(name)
        };
        let only = managed("managed-mcp.json");
        if let Some(root) = json(&only)
            && root.get("mcpServers").and_then(|servers| servers.get(self.name)).is_none()
        {
            told.push(format!(
                "{}: only its servers are loaded, and `{}` is none of them",
                only.display(),
                self.name
            ));
        }
        let own = (self.var)("CLAUDE_CONFIG_DIR").or_else(|| self.home(".claude"));
        let here = |name: &str| Some(self.folders.here.join(name));
        let settings = [
            Some(managed("managed-settings.json")),
            own.map(|own| own.join("settings.json")),
            here(".claude/settings.json"),
            here(".claude/settings.local.json"),
        ];
        for file in settings.into_iter().flatten() {
            let Some(root) = json(&file) else { continue };
            let shown = file.display();
            if let Some(allowed) = root.get("allowedMcpServers").and_then(Value::as_array)
                && !self.is_allowed(allowed)
            {
                told.push(format!("{shown}: `allowedMcpServers` does not have it"));
            }
            if let Some(denied) = root.get("deniedMcpServers").and_then(Value::as_array)
                && denied.iter().any(|one| self.is_meant(one))
            {
                told.push(format!("{shown}: `deniedMcpServers` has it"));
            }
            if self.is_projects() && names(&root, "disabledMcpjsonServers").contains(&self.name) {
                told.push(format!("{shown}: `disabledMcpjsonServers` has it"));
            }
        }
        let files = (self.var)("CLAUDE_CONFIG_DIR").map(|own| own.join(".claude.json"));
        for file in files.into_iter().chain(self.home(".claude.json")) {
            let Some(root) = json(&file) else { continue };
            let here = self.folders.here.to_string_lossy();
            let Some(Value::Object(project)) = root.get("projects").and_then(|all| all.get(&*here)) else {
                continue;
            };
            let lists = ["disabledMcpServers", "disabledMcpjsonServers"];
            let counts = |list: &&str| match *list {
                "disabledMcpServers" => file != self.file,
                _ => self.is_projects(),
            };
            for list in lists.into_iter().filter(counts) {
                if names(project, list).contains(&self.name) {
                    told.push(format!("{}: `{list}` of {here} has it", file.display()));
                }
            }
        }
        told
    }

    /// As Claude Code reads its list: where any entry names a command, a command must be among them, and so for addresses.
    fn is_allowed(&self, allowed: &[Value]) -> bool {
        let is_url = self.entry.and_then(|entry| entry.get("url")).is_some();
        let kind = if is_url { "serverUrl" } else { "serverCommand" };
        let named = |one: &&Value| one.get("serverName").is_some_and(|name| name == self.name);
        match (self.entry, allowed.iter().any(|one| one.get(kind).is_some())) {
            (Some(_), true) => allowed.iter().any(|one| one.get(kind).is_some() && self.is_meant(one)),
            (Some(_), false) => allowed.iter().any(|one| named(&one)),
            (None, _) => allowed.iter().any(|one| self.is_meant(one)),
        }
    }

    /// Whether an entry of such a list is about Tollgate.
    fn is_meant(&self, one: &Value) -> bool {
        let words = |value: &Value| -> Vec<String> {
            value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        if one.get("serverName").is_some_and(|name| name == self.name) {
            return true;
        }
        if let Some(command) = one.get("serverCommand").map(words) {
            return match self.entry {
                Some(entry) => {
                    let program = entry.get("command").and_then(Value::as_str).map(str::to_owned);
                    let args = entry.get("args").map(words).unwrap_or_default();
                    !command.is_empty() && program.into_iter().chain(args).eq(command)
                }
                None => command
                    .first()
                    .is_some_and(|first| Path::new(first).file_stem().is_some_and(|stem| stem == NAME)),
            };
        }
        let pattern = one.get("serverUrl").and_then(Value::as_str);
        let url = match self.entry {
            Some(entry) => entry.get("url").and_then(Value::as_str),
            None => self.endpoint,
        };
        match (pattern, url) {
            (Some(pattern), Some(url)) => is_same_place(url, pattern) || matches(pattern, url),
            (_, _) => false,
        }
    }

    fn of_gemini(&self) -> Vec<String> {
        let named = (self.var)("GEMINI_CLI_SYSTEM_SETTINGS_PATH");
        let usual = self.below_system("etc/gemini-cli", "Library/Application Support/GeminiCli");
        let system = named.unwrap_or_else(|| usual.join("settings.json"));
        // The first that has a list is the one that counts.
        let files = [
            Some(system),
            Some(self.folders.here.join(".gemini/settings.json")),
            self.home(".gemini/settings.json"),
        ];
        let read: Vec<(PathBuf, Map<String, Value>)> =
            files.into_iter().flatten().filter_map(|file| json(&file).map(|root| (file, root))).collect();
        let mut told = Vec::new();
        for (list, wanted) in [("allowed", true), ("excluded", false)] {
            let first =
                read.iter().find_map(|(file, root)| Some((file, root.get("mcp")?.get(list)?.as_array()?)));
            if let Some((file, names)) = first.filter(|(file, _)| file.as_path() != self.file)
                && names.iter().any(|name| name == self.name) != wanted
            {
                let has = if wanted { "does not have it" } else { "has it" };
                told.push(format!("{}: `mcp.{list}` {has}", file.display()));
            }
        }
        if let Some(file) = self.home(".gemini/mcp-server-enablement.json")
            && let Some(root) = json(&file)
            && root.get(&self.name.to_lowercase()).and_then(|one| one.get("enabled"))
                == Some(&Value::Bool(false))
        {
            told.push(format!(
                "{}: it is switched off there (`gemini mcp enable {}`)",
                file.display(),
                self.name
            ));
        }
        told
    }

    fn of_codex(&self) -> Vec<String> {
        let mut told = Vec::new();
        let file = self.system.join("etc/codex/requirements.toml");
        if let Some(Value::Object(servers)) = toml(&file).and_then(|mut root| root.remove("mcp_servers"))
            && !servers.contains_key(self.name)
        {
            told.push(format!("{}: `mcp_servers` does not have it", file.display()));
        }
        let own = (self.var)("CODEX_HOME").or_else(|| self.home(".codex"));
        let files = [Some(self.folders.here.join(".codex")), own];
        for file in files.into_iter().flatten().map(|folder| folder.join("config.toml")) {
            let root = toml(&file).filter(|_| file != self.file);
            let entry = root.as_ref().and_then(|root| root.get("mcp_servers")?.get(self.name));
            if entry.and_then(|entry| entry.get("enabled")) == Some(&Value::Bool(false)) {
                told.push(format!("{}: `{}` has `enabled = false` there", file.display(), self.name));
            }
        }
        told
    }

    fn of_vscode(&self) -> Vec<String> {
        let beside = self.file.parent().map(|folder| folder.join("settings.json"));
        let mut files: Vec<PathBuf> = beside.into_iter().collect();
        if self.is_projects()
            && let Some(home) = self.folders.home
        {
            let user = self.client.user_files(home, self.var);
            files.extend(user.iter().filter_map(|file| Some(file.parent()?.join("settings.json"))));
        }
        let switched_off = |file: &PathBuf| {
            let root = json(file)?;
            let said = [("chat.mcp.access", Value::from("none")), ("chat.mcp.enabled", Value::Bool(false))];
            let (name, value) = said.into_iter().find(|(name, value)| root.get(*name) == Some(value))?;
            Some(format!("{}: `{name}` is {value}, so that no server is started", file.display()))
        };
        files.iter().filter_map(switched_off).collect()
    }

    fn of_zed(&self) -> Vec<String> {
        let off = json(self.file).is_some_and(|root| root.get("disable_ai") == Some(&Value::Bool(true)));
        let told = || format!("{}: `disable_ai` is true, so that no server is started", self.file.display());
        off.then(told).into_iter().collect()
    }
}

/// Whether an address is one of those that a pattern with `*` in it names.
fn matches(pattern: &str, url: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == url };
    let Some(mut left) = url.strip_prefix(start) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let end = parts.pop().unwrap_or_default();
    for part in parts {
        let Some((_, after)) = left.split_once(part) else { return false };
        left = after;
    }
    left.ends_with(end)
}

fn names<'v>(root: &'v Map<String, Value>, list: &str) -> Vec<&'v str> {
    root.get(list).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
}

/// What a file of settings says; nothing where there is none that can be read.
fn json(file: &Path) -> Option<Map<String, Value>> {
    let text = text_of(file).ok()?;
    match jsonc_parser::parse_to_serde_value::<Value>(&text, &strict()) {
        Ok(Value::Object(root)) => Some(root),
        Ok(_) | Err(_) => None,
    }
}

fn toml(file: &Path) -> Option<Map<String, Value>> {
    toml_value(&text_of(file).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    type Files<'f> = [(&'f str, String)];

    /// What is told on a machine with these files, where the entry is known and where it is not.
    fn check(client: ClientKind, own: &str, files: &Files<'_>, expect: &[&str]) {
        let machine = tempfile::tempdir().unwrap();
        let at = |name: &str| machine.path().join(name);
        let (here, home) = (at("project"), at("home"));
        for (name, text) in files {
            std::fs::create_dir_all(at(name).parent().unwrap()).unwrap();
            std::fs::write(at(name), text.replace("HERE", here.to_str().unwrap())).unwrap();
        }
        let entry = json!({"command": "/opt/tollgate", "args": ["stdio"]});
        for entry in [Some(&entry), None] {
            let told = Look {
                client,
                folders: Folders { here: &here, home: Some(&home) },
                file: &at(own),
                name: NAME,
                entry,
                endpoint: Some("http://127.0.0.1:8787/mcp"),
                system: machine.path(),
                var: &|_| None,
            }
            .forbids();
            assert_eq!(told.len(), expect.len(), "{client:?} {files:?}: {told:?}");
            for (told, part) in told.iter().zip(expect) {
                assert!(told.contains(part), "{client:?}: {told}");
            }
        }
    }

    #[test]
    fn what_keeps_claude_code_from_starting_it_is_named_with_its_file() {
        let (claude, managed) = (ClientKind::Claude, "etc/claude-code/managed-settings.json");
        let (project, user) = ("project/.mcp.json", "home/.claude.json");
        check(claude, user, &[], &[]);
        for (allowed, expect) in [
            (json!([]), &["`allowedMcpServers` does not have it"][..]),
            (json!([{"serverName": "tollgate"}]), &[]),
            (json!([{"serverCommand": ["/opt/tollgate", "stdio"]}]), &[]),
            (json!([{"serverCommand": ["/opt/other"]}]), &["does not have it"]),
        ] {
            check(claude, user, &[(managed, json!({"allowedMcpServers": allowed}).to_string())], expect);
        }
        let denied =
            json!({"deniedMcpServers": [{"serverName": "x"}, {"serverName": "tollgate"}]}).to_string();
        check(
            claude,
            user,
            &[("home/.claude/settings.json", denied)],
            &["home/.claude/settings.json: `deniedMcpServers` has it"],
        );
        let off = json!({"disabledMcpjsonServers": ["tollgate"]}).to_string();
        let local = "project/.claude/settings.local.json";
        check(claude, project, &[(local, off.clone())], &["`disabledMcpjsonServers` has it"]);
        check(claude, user, &[(local, off)], &[]);
        let known = json!({"projects": {"HERE": {"disabledMcpjsonServers": ["tollgate"]}}}).to_string();
        check(claude, project, &[(user, known)], &["`disabledMcpjsonServers` of"]);
        let only = ("etc/claude-code/managed-mcp.json", "{\"mcpServers\": {\"a\": {}}}".to_owned());
        check(claude, user, &[only], &["is none of them"]);
    }

    #[test]
    fn what_keeps_another_client_from_starting_it_is_named_with_its_file() {
        let (gemini, own) = (ClientKind::Gemini, "home/.gemini/settings.json");
        let list = |list: &str, names: Value| json!({"mcp": {list: names}}).to_string();
        let system = "etc/gemini-cli/settings.json";
        check(gemini, own, &[(system, list("allowed", json!(["a"])))], &["`mcp.allowed` does not have it"]);
        check(
            gemini,
            own,
            &[(system, list("allowed", json!(["tollgate"]))), (own, list("allowed", json!([])))],
            &[],
        );
        check(
            gemini,
            own,
            &[("project/.gemini/settings.json", list("excluded", json!(["tollgate"])))],
            &["`mcp.excluded` has it"],
        );
        // Its own list is put right.
        check(gemini, own, &[(own, list("allowed", json!(["a"])))], &[]);
        let off = json!({"tollgate": {"enabled": false}}).to_string();
        check(gemini, own, &[("home/.gemini/mcp-server-enablement.json", off)], &["gemini mcp enable"]);

        let (codex, own) = (ClientKind::Codex, "home/.codex/config.toml");
        let pinned = ("etc/codex/requirements.toml", "[mcp_servers.a.identity]\ncommand = 'a'\n".to_owned());
        check(codex, own, &[pinned], &["`mcp_servers` does not have it"]);
        let off = ("project/.codex/config.toml", "[mcp_servers.tollgate]\nenabled = false\n".to_owned());
        check(codex, own, &[off], &["`enabled = false`"]);

        let settings = ("home/.config/Code/User/settings.json", "{\"chat.mcp.access\": \"none\"}".to_owned());
        check(
            ClientKind::Vscode,
            "home/.config/Code/User/mcp.json",
            std::slice::from_ref(&settings),
            &["`chat.mcp.access` is"],
        );
        if !cfg!(target_os = "macos") {
            check(ClientKind::Vscode, "project/.vscode/mcp.json", &[settings], &["`chat.mcp.access` is"]);
        }
        let zed = "home/.config/zed/settings.json";
        check(ClientKind::Zed, zed, &[(zed, "{\"disable_ai\": true}".to_owned())], &["`disable_ai` is true"]);
    }

    #[test]
    fn addresses_match_patterns() {
        for (pattern, expect) in [
            ("https://g.example/mcp", true),
            ("https://g.example/*", true),
            ("https://*.example/mcp", true),
            ("https://*/*/x", false),
            ("http://*", false),
        ] {
            assert_eq!(matches(pattern, "https://g.example/mcp"), expect, "{pattern}");
        }
    }
}
