//! The certificate of the listeners as a running gateway and its commands have it: read again, never half, and known by itself.

use super::health::{free_port, with_admin};
use crate::binary::{Serving, eventually, https, tollgate, tollgate_with_key};
use rcgen::{CertifiedKey, KeyPair};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use serde_json::Value;
use std::{net::TcpStream, path::Path, sync::Arc};

fn made() -> CertifiedKey<KeyPair> {
    rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap()
}

fn put(folder: &Path, cert: &CertifiedKey<KeyPair>, key: &CertifiedKey<KeyPair>) {
    std::fs::write(folder.join("cert.pem"), cert.cert.pem()).unwrap();
    std::fs::write(folder.join("key.pem"), key.signing_key.serialize_pem()).unwrap();
}

const TLS: &str = "tls = { cert = \"cert.pem\", key = \"key.pem\" }";

/// Whether a handshake shows this certificate, with its key.
fn shows(address: &str, made: &CertifiedKey<KeyPair>) -> bool {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(made.cert.pem().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.unwrap().with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let mut session = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    while session.is_handshaking() {
        if session.complete_io(&mut stream).is_err() {
            return false;
        }
    }
    true
}

/// One that ends is told as a key that ends is, before clients find out.
#[test]
fn a_certificate_that_ends_is_told() {
    let folder = with_admin("127.0.0.1:0", TLS);
    let folder = folder.path();
    let key = KeyPair::generate().unwrap();
    let until = |year: i32| {
        let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, 1, 31);
        std::fs::write(folder.join("cert.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        std::fs::write(folder.join("key.pem"), key.serialize_pem()).unwrap();
        let checked = tollgate(folder, &["check"]);
        assert_eq!(checked.code, 0, "{}", checked.err);
        format!("{}{}", checked.out, checked.err)
    };
    let told = until(2021);
    assert!(told.contains("the certificate of `[gateway] tls` has ended at 2021-01-31T00:00:00Z"), "{told}");
    assert!(tollgate(folder, &["doctor"]).out.contains("has ended at 2021-01-31"));
    let told = until(2090);
    assert!(!told.contains("the certificate of"), "{told}");
}

/// Both listeners show a renewed certificate without a restart. A pair that does not go together refuses the reload, of all else too.
#[test]
fn a_certificate_is_read_again_and_a_wrong_pair_changes_nothing() {
    let folder = with_admin("127.0.0.1:0", TLS);
    let folder = folder.path();
    let [first, second, third] = [made(), made(), made()];
    put(folder, &first, &first);
    let serving = Serving::start(folder, &[]);
    let both = |made: &CertifiedKey<KeyPair>| shows(&serving.mcp, made) && shows(&serving.admin, made);
    assert!(both(&first) && !both(&second));
    put(folder, &second, &second);
    serving.hang_up();
    eventually(|| both(&second).then_some(())).expect("the second certificate");
    assert!(!shows(&serving.mcp, &first));

    put(folder, &third, &second);
    let policies = folder.join("policies/bundle.yaml");
    let bundle = std::fs::read_to_string(&policies).unwrap();
    std::fs::write(&policies, format!("{bundle}\n# another one\n")).unwrap();
    let pem = folder.join("second.pem");
    std::fs::write(&pem, second.cert.pem()).unwrap();
    let key = "Authorization: Bearer demo-bob-key\r\n";
    let readyz = || https(&pem, &serving.admin, "GET", "/readyz", key, "").json();
    let before = readyz()["policy_snapshot"].clone();
    serving.hang_up();
    let wrong = "do not go together";
    eventually(|| readyz()["rejected_reload"].as_str().filter(|why| why.contains(wrong)).map(drop))
        .expect("the reload is refused");
    assert!(both(&second) && !both(&third));
    assert_eq!(readyz()["policy_snapshot"], before, "nothing else was taken either");
    let checked = tollgate(folder, &["check"]);
    assert!(checked.code == 1 && checked.err.contains(wrong), "{checked:?}");

    put(folder, &third, &third);
    serving.hang_up();
    eventually(|| both(&third).then_some(())).expect("the third certificate");
}

/// What an admin's key is shown to is the gateway of these files: found where it takes any address, and known by its certificate,
/// whatever name that is for.
#[test]
fn a_command_finds_the_gateway_and_shows_its_key_to_nobody_else() {
    let port = free_port();
    let folder = with_admin(&format!("0.0.0.0:{port}"), TLS);
    let folder = folder.path();
    let [own, other] = [made(), made()];
    put(folder, &own, &own);
    // Published keys are for loopback alone.
    let mut admin = String::new();
    for (kind, name) in [
        ("agents", "demo-agent"),
        ("agents", "demo-scout"),
        ("agents", "demo-keeper"),
        ("people", "alice"),
        ("people", "bob"),
        ("people", "carol"),
    ] {
        let said = tollgate(folder, &[kind, "rotate", name, "--end-old", "--json"]);
        let told: Value = serde_json::from_str(&said.out).unwrap();
        admin = told["key"].as_str().unwrap().to_owned();
    }
    let _serving = Serving::start(folder, &[]);
    let replay = || tollgate_with_key(folder, &admin, &["deadletters", "replay", "no-such-call"]);
    let said = replay();
    assert!(said.code == 1 && said.err.contains("not made: "), "{}", said.err);
    assert!(said.err.contains("there is no dead letter of this call"), "{}", said.err);
    // Somebody else's certificate, or a file that the gateway has not read yet.
    put(folder, &other, &other);
    let said = replay();
    assert_eq!(said.code, 1);
    for part in
        [&format!("https://127.0.0.1:{port}"), "another certificate than servers.toml names", "SIGHUP"]
    {
        assert!(said.err.contains(part), "{part}: {}", said.err);
    }
}
