//! Secrets that stay where they are kept: `${file:PATH}` and `${cmd:PROGRAM …}` in servers.toml.

use crate::harness::*;
use serde_json::json;
use std::{os::unix::fs::PermissionsExt as _, path::Path};

fn put(dir: &Path, name: &str, text: &str, mode: u32) {
    // Renamed into its place, for a reader sees all or nothing of it.
    let (new, path) = (dir.join(format!("{name}.new")), dir.join(name));
    std::fs::write(&new, text).unwrap();
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(mode)).unwrap();
    std::fs::rename(new, path).unwrap();
}

const HEADERS: &str =
    "headers = { Authorization = \"Bearer ${cmd:./vault read 'the crm'}\", X-Tenant = \"${file:tenant}\" }";
const VAULT: &str = "#!/bin/sh\n[ \"$1 $2\" = 'read the crm' ] || exit 9\n[ -z \"$TOLLGATE_LOG\" ] || exit 8\necho x >> ran; echo tok3n-$(wc -l < ran | tr -d ' ')\n";

/// The upstream gets what file and command say; SIGHUP has both read again; nothing of it is told.
#[tokio::test]
async fn secrets_are_read_by_reference_and_again_on_sighup() {
    let files = Files::of(Setup { up: HEADERS.to_owned(), ..Setup::default() }).await;
    put(&files.dir, "vault", VAULT, 0o700);
    put(&files.dir, "tenant", "t3nant-a\n", 0o600);
    let process = files.serve().await;
    let client = files.client(&process, "ada");
    let sent = async || {
        // While one connection takes another's place a call may find the upstream down.
        drop(client.call("up__read", json!({"path": "/a"})).await);
        let seen = files.up.calls().pop().unwrap();
        let header = |name: &str| seen.headers[name].to_str().unwrap().to_owned();
        (header("authorization"), header("x-tenant"))
    };
    assert_eq!(sent().await, ("Bearer tok3n-1".to_owned(), "t3nant-a".to_owned()));

    put(&files.dir, "tenant", "t3nant-b\n", 0o600);
    // Another reload reads files, and runs nothing that has gone well.
    let bundle = files.dir.join("policies/bundle.yaml");
    let text = std::fs::read_to_string(&bundle).unwrap();
    put(&files.dir.join("policies"), "bundle.yaml", &text.replace("version: \"1\"", "version: \"2\""), 0o600);
    process
        .until_event(|event| event["event_type"] == "policy_activated" && event["detail"]["version"] != "1")
        .await;
    soon(async {
        while sent().await != ("Bearer tok3n-1".to_owned(), "t3nant-b".to_owned()) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    process.signal(rustix::process::Signal::HUP);
    soon(async {
        while sent().await.0 != "Bearer tok3n-2" {
            tokio::task::yield_now().await;
        }
    })
    .await;

    let log = format!("{}\n{}", process.log.text(), process.events.text());
    for secret in ["tok3n-", "t3nant-"] {
        assert!(!log.contains(secret), "{log}");
    }
    for command in [&["check"][..], &["servers", "inspect", "up"], &["doctor"]] {
        let (_child, said) = files.command(command);
        said.until_end().await;
        assert!(!said.text().contains("tok3n-") && !said.text().contains("t3nant-"), "{}", said.text());
    }
}

/// What cannot be had disables the upstream that needs it, alone, and says why; elsewhere it is an error. Who can read a file
/// that holds a secret is told.
#[tokio::test]
async fn a_secret_that_cannot_be_had_disables_its_upstream_alone() {
    let more = "[upstreams.sealed]\nurl = \"https://sealed.example/mcp\"\nheaders = { A = \"${cmd:./sealed}\" }\n\
                [upstreams.lost]\ncommand = [\"cat\"]\nenv = { TOKEN = \"${file:nowhere}\" }\n\
                [upstreams.off]\nenabled = false\ncommand = [\"cat\"]\nenv = { TOKEN = \"${cmd:./never}\" }\n";
    let up = "headers = { X-Tenant = \"${file:tenant}\" }";
    let files = Files::of(Setup { up: up.to_owned(), servers: more.to_owned(), ..Setup::default() }).await;
    put(&files.dir, "tenant", "t3nant-a\n", 0o644);
    put(&files.dir, "sealed", "#!/bin/sh\necho s3cret; echo the vault is sealed >&2; exit 2\n", 0o700);
    put(&files.dir, "never", "#!/bin/sh\ntouch ran\n", 0o700);
    let check = async || {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_tollgate"));
        command.arg("--config").arg(files.dir.join("servers.toml")).arg("check");
        let ended = soon(command.output()).await.unwrap();
        (ended.status.success(), String::from_utf8([ended.stdout, ended.stderr].concat()).unwrap())
    };
    let (good, text) = check().await;
    assert!(good, "{text}");
    for part in [
        "`${cmd:./sealed}`: `./sealed` ended with exit code 2: the vault is sealed: upstream `sealed` is disabled",
        "cannot be read: it is not there: upstream `lost` is disabled",
        "has mode 0644: every user of this machine can get at the secret in it",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert!(!text.contains("s3cret") && !text.contains("t3nant"), "{text}");
    assert!(!files.dir.join("ran").exists(), "nothing of an upstream that is off is run");

    let process = files.serve().await;
    files.client(&process, "ada").call("up__read", json!({"path": "/a"})).await.ok();
    let (status, listed) = api(&files.http, &process.admin, "dan", "upstreams", None).await;
    assert_eq!(status, 200);
    let state = |name: &str| {
        listed["upstreams"].as_array().unwrap().iter().find(|up| up["name"] == name).unwrap().clone()
    };
    assert_eq!(state("sealed")["state"], "disabled");
    assert!(state("sealed")["reason"].as_str().unwrap().contains("the vault is sealed"), "{listed:#}");
    drop(process);

    // Of the gateway itself it is an error, with its place.
    let path = files.dir.join("servers.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let wrong =
        format!("{text}\n[webhook]\nurl = \"https://hook.example/x\"\nsecret = \"${{file:nowhere}}\"\n");
    std::fs::write(&path, wrong).unwrap();
    let (good, told) = check().await;
    let line = text.lines().count() + 4;
    assert!(
        !good && told.contains("nowhere` cannot be read") && told.contains(&format!(":{line}:")),
        "{told}"
    );
}
