//! TLS to PostgreSQL: real handshakes with a server whose certificate a CA of our own has signed.

use crate::store::{
    database::{Server, is_there},
    *,
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use std::path::Path;
use tollgate::store::{Admission, Store as _};

/// A CA, and a certificate of it for `localhost` with its key, in PEM.
fn certificates() -> (String, String, String) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let ca = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.subject_alt_names.push(SanType::DnsName("localhost".try_into().unwrap()));
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap().pem();
    (ca, certificate, key.serialize_pem())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_database_is_known_by_its_certificate() {
    if !is_there() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let (ca, certificate, key) = certificates();
    let (ca, other) = (write("ca.pem", &ca), write("other.pem", &certificates().0));
    let mut server = Server::start();
    server.listen();
    let database = server.database();
    let with = |host: &str, query: &str| {
        let url = format!("postgres://tollgate@{host}:{}/{}?{query}", server.port(), database.name);
        let database = crate::store::database::Database { url, name: database.name.clone() };
        database.try_open(&dir.path().join(unique())).map_err(|error| error.to_string())
    };
    let rooted = |mode: &str, roots: &Path| format!("sslmode={mode}&sslrootcert={}", roots.display());
    // It has no certificate yet, and is not spoken to in the clear.
    let refused = with("localhost", &rooted("verify-full", &ca)).unwrap_err();
    assert!(refused.contains("TLS"), "{refused}");
    server.encrypt(&certificate, &key);
    for mode in ["require", "verify-full"] {
        let store = with("localhost", &rooted(mode, &ca)).unwrap();
        assert_eq!(store.admit(request("planner-01", start())).await.unwrap(), Admission::Granted);
        let clear = format!(
            "SELECT count(*) FILTER (WHERE NOT ssl), count(*) FILTER (WHERE ssl) > 0 FROM pg_stat_ssl
             JOIN pg_stat_activity USING (pid) WHERE datname = '{}'",
            database.name
        );
        assert_eq!(server.sql("postgres", &clear), "0|t", "{mode}");
        store.close().await;
    }
    // Another CA, another name.
    let refused = with("localhost", &rooted("require", &other)).unwrap_err();
    assert!(refused.contains("certificate"), "{refused}");
    let refused = with("127.0.0.1", &rooted("verify-full", &ca)).unwrap_err();
    assert!(refused.contains("certificate"), "{refused}");
}
