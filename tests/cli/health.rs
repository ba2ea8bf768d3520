//! `tollgate health` beside gateways that are there, are not, and are something else.

use crate::binary::{Said, Serving, eventually, https, shipped, tollgate};
use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    path::Path,
    process::{Command, Stdio},
};

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The shipped example with the admin listener at this address, and more in `[gateway]`.
pub(crate) fn with_admin(listen: &str, gateway: &str) -> tempfile::TempDir {
    let folder = shipped();
    let path = folder.path().join("servers.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let text =
        text.replacen("[admin]\nlisten = \"127.0.0.1:0\"", &format!("[admin]\nlisten = \"{listen}\""), 1);
    let text = text.replacen("[gateway]\n", &format!("[gateway]\n{gateway}\n"), 1);
    assert!(text.contains(listen) && text.contains(gateway));
    std::fs::write(path, text).unwrap();
    folder
}

/// As a container's health check runs it: no folder of its own, and no flag.
fn health(folder: &Path) -> Said {
    let output = Command::new(env!("CARGO_BIN_EXE_tollgate"))
        .arg("health")
        .current_dir("/")
        .env_remove("TOLLGATE_KEY")
        .env("TOLLGATE_CONFIG", folder.join("servers.toml"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    Said {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

#[test]
fn a_gateway_is_healthy_once_it_is_ready() {
    let folder = with_admin(&format!("127.0.0.1:{}", free_port()), "");
    let said = health(folder.path());
    assert_eq!((said.code, &*said.out), (1, ""), "{}", said.err);
    assert!(said.err.contains("nothing answers at http://127.0.0.1:"), "{}", said.err);
    let serving = Serving::start(folder.path(), &[]);
    serving.admin_until("/readyz", |answer| answer.status == 200);
    let said = health(folder.path());
    assert_eq!((said.code, &*said.out), (0, "ready\n"), "{}", said.err);
    // A file that says something else, and a command that is not needed to find the listener.
    let path = folder.path().join("servers.toml");
    let ran = folder.path().join("ran");
    let text = std::fs::read_to_string(&path).unwrap();
    let secret =
        format!("\n[webhook]\nurl = \"https://a.example/\"\nsecret = \"${{cmd:touch {}}}\"\n", ran.display());
    std::fs::write(&path, text + &secret).unwrap();
    assert_eq!(health(folder.path()).code, 0);
    assert!(!ran.exists(), "a health check runs no command of servers.toml");
}

/// Its certificate is for the name that people use, and nobody asks for that here.
#[test]
fn a_gateway_with_tls_on_every_address_is_asked_on_loopback() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let port = free_port();
    let folder = with_admin(&format!("0.0.0.0:{port}"), "tls = { cert = \"cert.pem\", key = \"key.pem\" }");
    std::fs::write(folder.path().join("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(folder.path().join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    // Published keys are for loopback alone.
    for (kind, name) in [
        ("agents", "demo-agent"),
        ("agents", "demo-scout"),
        ("agents", "demo-keeper"),
        ("people", "alice"),
        ("people", "bob"),
        ("people", "carol"),
    ] {
        let said = tollgate(folder.path(), &[kind, "rotate", name, "--end-old"]);
        assert_eq!(said.code, 0, "{}", said.err);
    }
    let _serving = Serving::start(folder.path(), &[]);
    let local = format!("127.0.0.1:{port}");
    let ready = || https(&folder.path().join("cert.pem"), &local, "GET", "/readyz", "", "").status == 200;
    eventually(|| ready().then_some(())).unwrap();
    let said = health(folder.path());
    assert_eq!((said.code, &*said.out), (0, "ready\n"), "{}", said.err);
}

#[test]
fn another_program_on_the_port_is_no_healthy_gateway() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = with_admin(&other.local_addr().unwrap().to_string(), "");
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = other.accept().unwrap();
        let mut request = [0; 512];
        let read = stream.read(&mut request).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello").unwrap();
        String::from_utf8_lossy(&request[..read]).into_owned()
    });
    let said = health(folder.path());
    assert_eq!(said.code, 1);
    assert!(said.err.contains("no Tollgate (HTTP 200)"), "{}", said.err);
    assert!(answering.join().unwrap().starts_with("GET /readyz HTTP/1.1\r\n"));
}

#[test]
fn a_file_that_is_not_there_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let said = health(folder.path());
    assert_eq!(said.code, 1);
    for part in ["servers.toml` is not there", "tollgate init", "TOLLGATE_CONFIG"] {
        assert!(said.err.contains(part), "{part}: {}", said.err);
    }
    std::fs::write(folder.path().join("servers.toml"), "[gateway\n").unwrap();
    let said = health(folder.path());
    assert!(said.err.contains("does not say where the admin listener is"), "{}", said.err);
}
