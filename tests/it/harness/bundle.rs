//! The files of a world: a bundle that allows, with people and agents of every kind.

use super::Setup;
use sha2::{Digest as _, Sha256};
use std::path::Path;

/// The digest of a key as authority.yaml holds it.
pub(crate) fn digest(key: &str) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(key)))
}

/// Alerts look at whole days: what a test does within a minute is no news that another record tells.
const BUNDLE: &str = "version: \"1\"\nowner: tests\ndefault_decision: ALLOW\ndefault_approvers: [leads]\nalerts: { window: 1d }\n";

/// Everybody's key is `key-NAME`.
const AUTHORITY: &str = r#"
capabilities:
  all: { tools: ["up__*"], resources: ["file:///**"], prompts: ["*"] }
  reading: { tools: ["up__read", "crm__*"], resources: ["file:///open/**"], prompts: ["up__short"] }
agents:
  ada:    { type: assistant, role: writer, tenant: acme, owner: tests, operator: alice, attended: true, workflow: wf-1, workflows: [wf-1, wf-2], model: gpt-4o, capabilities: [all], keys: ["{ada}"] }
  eve:    { type: assistant, role: writer, tenant: acme, owner: tests, operator: alice, attended: true, workflow: wf-1, model: gpt-4o, capabilities: [all], keys: ["{eve}"] }
  bot:    { type: job, role: batch, tenant: acme, owner: tests, operator: alice, workflow: wf-2, model: gpt-4o, capabilities: [all], keys: ["{bot}"] }
  scout:  { type: planner, role: reader, tenant: acme, owner: tests, workflow: wf-1, autonomy: suggest_only, capabilities: [all], keys: ["{scout}"] }
  narrow: { type: assistant, role: reader, tenant: acme, owner: tests, workflow: wf-1, capabilities: [reading], keys: ["{narrow}"] }
people:
  alice: { keys: ["{alice}"], groups: [leads], roles: [approver] }
  bob:   { keys: ["{bob}"], groups: [security], roles: [approver, auditor] }
  carol: { keys: ["{carol}"], groups: [leads], roles: [approver] }
  dan:   { keys: ["{dan}"], groups: [leads], roles: [admin] }
workflows:
  wf-1: { owner: tests, approval_sla: 15m }
  wf-2: { owner: tests }
"#;

const PEOPLE: [&str; 9] = ["ada", "eve", "bot", "scout", "narrow", "alice", "bob", "carol", "dan"];

fn with_keys(text: &str) -> String {
    PEOPLE.iter().fold(text.to_owned(), |text, name| {
        text.replace(&format!("{{{name}}}"), &digest(&format!("key-{name}")))
    })
}

/// The default authority map, to be changed.
pub(crate) fn authority() -> String {
    with_keys(AUTHORITY)
}

/// Name and text of each file in `=== name` form.
fn files_of(text: &str) -> Vec<(String, String)> {
    text.split("=== ")
        .skip(1)
        .map(|part| {
            let (name, body) = part.split_once('\n').expect("a name and a text");
            (name.trim().to_owned(), with_keys(body))
        })
        .collect()
}

/// Writes the bundle anew.
pub(crate) fn rewrite(dir: &Path, files: &str) {
    let policies = dir.join("policies");
    if policies.exists() {
        std::fs::remove_dir_all(&policies).unwrap();
    }
    std::fs::create_dir(&policies).unwrap();
    std::fs::write(policies.join("bundle.yaml"), BUNDLE).unwrap();
    std::fs::write(policies.join("authority.yaml"), authority()).unwrap();
    for (name, text) in files_of(files) {
        std::fs::write(policies.join(name), text).unwrap();
    }
}

/// Writes servers.toml and the bundle.
pub(super) fn write(dir: &Path, setup: &Setup, urls: &[(&str, String)]) {
    rewrite(dir, &setup.files);
    let servers = format!(
        r#"
[gateway]
listen = "127.0.0.1:8787"
environment = "staging"
policies = "policies"
data_dir = "data"
{gateway}
[admin]
listen = "127.0.0.1:8788"
[store]
url = "sqlite:data/tollgate.db"
[upstreams.up]
url = "{{up}}"
labels = ["internal"]
retry = {{ attempts = 2, backoff = "1ms" }}
{up}
[upstreams.up.tools.read]
labels = ["read"]
read_only = true
[upstreams.up.tools.write]
action = "files:write"
labels = ["write"]
sensitive = ["/content"]
[upstreams.up.tools.delete]
labels = ["destructive"]
destructive = true
[upstreams.up.tools.pay]
labels = ["costly"]
cost_usd = 0.25
{servers}
"#,
        gateway = setup.gateway,
        up = setup.up,
        servers = setup.servers,
    );
    let servers = urls.iter().fold(servers, |text, (name, url)| text.replace(&format!("{{{name}}}"), url));
    std::fs::write(dir.join("servers.toml"), servers).unwrap();
}
