//! Agents that come with a certificate: real handshakes, and every way in which a certificate can be somebody else's.

use crate::harness::*;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer as Authority,
    KeyIdMethod, KeyPair, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};
use serde_json::{Value, json};
use std::{path::Path, sync::Arc, time::Duration};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tollgate::{
    clock::{Clock as _, Fake, System},
    config::TlsConfig,
    front::{
        http::{Endpoint, HttpOptions, serve},
        tls::server_config,
    },
};

/// Who vouches for certificates.
struct Ca {
    pem: String,
    issuer: Authority<'static, KeyPair>,
}

/// A certificate with its key, in PEM.
struct Holder {
    certificate: String,
    key: String,
}

impl Ca {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Authority::new(params, key) }
    }

    fn issue(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Holder {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        for name in names {
            params.subject_alt_names.push(match name.contains("://") {
                true => SanType::URI((*name).try_into().unwrap()),
                false => match name.parse() {
                    Ok(address) => SanType::IpAddress(address),
                    Err(_) => SanType::DnsName((*name).try_into().unwrap()),
                },
            });
        }
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Holder { certificate, key: key.serialize_pem() }
    }

    /// One of this number.
    fn numbered(&self, name: &str, number: u64) -> Holder {
        self.issue(&[name], |params| params.serial_number = Some(SerialNumber::from(number)))
    }

    /// The list of what it has revoked, until the end of a year.
    fn revoked(&self, numbers: &[u64], year: i32) -> String {
        let revoked = |number: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*number),
            revocation_time: date_time_ymd(2020, 1, 2),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(year, 12, 31),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: numbers.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).unwrap().pem().unwrap()
    }
}

const ADA: &str = "spiffe://acme.example/agent/ada";
const EVE: &str = "spiffe://acme.example/agent/eve";

/// A gateway that speaks TLS, and asks clients for certificates.
struct Secured {
    world: World,
    ca: Ca,
    server: Ca,
    clock: Arc<Fake>,
    url: String,
    _stop: tokio_util::sync::DropGuard,
}

impl Secured {
    async fn start() -> Self {
        // Handshakes go by the real time, and what comes after by the gateway's clock.
        let clock = Fake::at(System::default().now());
        let authority = authority()
            .lines()
            .map(|line| match line.trim_start().split(':').next() {
                Some("ada") => line.replace("attended:", &format!("certificates: [\"{ADA}\"], attended:")),
                Some("eve") => line.replace("attended:", &format!("certificates: [\"{EVE}\"], attended:")),
                _ => line.to_owned(),
            })
            .collect::<Vec<_>>()
            .join("\n");
        let files = format!("=== authority.yaml\n{authority}\n");
        let world = World::start(Setup { files, clock: Some(clock.clone()), ..Setup::default() }).await;
        let (ca, server) = (Ca::new("clients"), Ca::new("servers"));
        let own = server.issue(&["localhost", "127.0.0.1"], |_| {});
        let put = |name: &str, text: &str| {
            let path = world.dir.join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let tls = TlsConfig {
            cert: put("cert.pem", &own.certificate),
            key: put("key.pem", &own.key),
            client_ca: Some(put("client-ca.pem", &ca.pem)),
            crl: None,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let in_force = world.gate.gateway.in_force();
        let ids = Arc::new(System::default());
        let mut options = HttpOptions::new(&in_force.config.gateway, clock.clone(), ids, stop.clone());
        options.listen = address;
        let endpoint = Endpoint::new(world.gate.gateway.clone(), options);
        let tls = server_config(&tls).unwrap();
        tokio::spawn(serve(listener, Some(tls), endpoint, stop.clone()));
        let url = format!("https://localhost:{}/mcp", address.port());
        Self { world, ca, server, clock, url, _stop: stop.drop_guard() }
    }

    fn http(&self, holder: Option<&Holder>) -> reqwest::Client {
        http_client();
        let root = reqwest::Certificate::from_pem(self.server.pem.as_bytes()).unwrap();
        let mut builder = reqwest::Client::builder().no_proxy().tls_certs_only([root]);
        if let Some(Holder { certificate, key }) = holder {
            let pem = format!("{certificate}{key}");
            builder = builder.identity(reqwest::Identity::from_pem(pem.as_bytes()).unwrap());
        }
        builder.build().unwrap()
    }

    /// Asks with a certificate and a key, as far as there are any: the status, and who it was as the record has it.
    async fn call(&self, http: &reqwest::Client, key: Option<&str>) -> Result<(u16, Option<String>), String> {
        let client = Client::modern(http, &self.url, "nobody", json!({}));
        let body = client.body("tools/call", json!({"name": "up__read", "arguments": {"path": "/a"}}));
        let mut request = client.post(&body).build().unwrap();
        request.headers_mut().remove("authorization");
        if let Some(key) = key {
            request.headers_mut().insert("authorization", format!("Bearer {key}").parse().unwrap());
        }
        let before = self.world.up.count();
        let reply = soon(http.execute(request)).await.map_err(|error| format!("{error:?}"))?;
        let status = reply.status().as_u16();
        let _: Value = reply.json().await.unwrap();
        assert_eq!(self.world.up.count() - before, usize::from(status == 200));
        let agent = match status {
            200 => self.world.last_decision().await.draft.agent_id.map(|id| id.to_string()),
            _ => None,
        };
        Ok((status, agent))
    }

    async fn with(&self, holder: &Holder, key: Option<&str>) -> Result<(u16, Option<String>), String> {
        self.call(&self.http(Some(holder)), key).await
    }
}

fn is(agent: &str) -> Result<(u16, Option<String>), String> {
    Ok((200, Some(agent.to_owned())))
}

const REFUSED: Result<(u16, Option<String>), String> = Ok((401, None));

#[tokio::test]
async fn a_certificate_names_its_agent_by_uri_alone() {
    let secured = Secured::start().await;
    let ca = &secured.ca;
    assert_eq!(secured.with(&ca.issue(&[ADA], |_| {}), None).await, is("ada"));
    assert_eq!(secured.with(&ca.issue(&[EVE], |_| {}), None).await, is("eve"));
    assert_eq!(secured.with(&ca.issue(&["https://other.example/x", ADA], |_| {}), None).await, is("ada"));
    // Neither the common name, nor a DNS name, nor a URI that is nearly it.
    let named = |params: &mut CertificateParams| params.distinguished_name.push(DnType::CommonName, ADA);
    assert_eq!(secured.with(&ca.issue(&[], named), None).await, REFUSED);
    let common = |params: &mut CertificateParams| params.distinguished_name.push(DnType::CommonName, "ada");
    assert_eq!(secured.with(&ca.issue(&["ada"], common), None).await, REFUSED);
    for near in [
        "spiffe://acme.example/agent/ada/",
        "spiffe://acme.example/agent/Ada",
        "spiffe://ACME.example/agent/ada",
        "spiffe://evil.example/agent/ada",
    ] {
        assert_eq!(secured.with(&ca.issue(&[near], |_| {}), None).await, REFUSED, "{near}");
    }
    // A certificate that names two is nobody's.
    assert_eq!(secured.with(&ca.issue(&[ADA, EVE], |_| {}), None).await, REFUSED);
    // Without one, a key opens as ever, and nothing else does.
    assert_eq!(secured.call(&secured.http(None), Some("key-ada")).await, is("ada"));
    assert_eq!(secured.call(&secured.http(None), None).await, REFUSED);
}

/// A key and a certificate must be of one agent, and a right certificate does not make up for a wrong key.
#[tokio::test]
async fn a_certificate_and_a_key_are_of_one_agent() {
    let secured = Secured::start().await;
    let (ada, nobody) = (secured.ca.issue(&[ADA], |_| {}), secured.ca.issue(&["urn://x"], |_| {}));
    assert_eq!(secured.with(&ada, Some("key-ada")).await, is("ada"));
    assert_eq!(secured.with(&ada, Some("key-eve")).await, REFUSED);
    assert_eq!(secured.with(&ada, Some("key-alice")).await, REFUSED);
    assert_eq!(secured.with(&ada, Some("wrong")).await, REFUSED);
    assert_eq!(secured.with(&nobody, Some("key-eve")).await, is("eve"));
}

/// What somebody else vouches for, and what is over or not yet, ends the handshake.
#[tokio::test]
async fn a_handshake_takes_what_the_right_authority_vouches_for() {
    let secured = Secured::start().await;
    let other = Ca::new("clients");
    let refused = async |holder: &Holder| {
        // Nobody gets as far as an answer.
        secured.with(holder, Some("key-ada")).await.unwrap_err();
    };
    refused(&other.issue(&[ADA], |_| {})).await;
    refused(&secured.server.issue(&[ADA], |_| {})).await;
    let over = |params: &mut CertificateParams| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    };
    refused(&secured.ca.issue(&[ADA], over)).await;
    let to_come = |params: &mut CertificateParams| {
        params.not_before = rcgen::date_time_ymd(2090, 1, 1);
        params.not_after = rcgen::date_time_ymd(2091, 1, 1);
    };
    refused(&secured.ca.issue(&[ADA], to_come)).await;
    // One for servers is none for clients.
    let server = |params: &mut CertificateParams| {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    };
    refused(&secured.ca.issue(&[ADA], server)).await;
    // Who is vouched for vouches for nobody.
    let leaf = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["leaf".to_owned()]).unwrap();
    let vouched = params.signed_by(&leaf, &secured.ca.issuer).unwrap().pem();
    let mut below = Ca { pem: String::new(), issuer: Authority::new(params, leaf) }.issue(&[ADA], |_| {});
    below.certificate.push_str(&vouched);
    refused(&below).await;
    // A certificate that vouches for itself in the name of the authority.
    let mut forged = CertificateParams::new(Vec::new()).unwrap();
    forged.distinguished_name.push(DnType::CommonName, "clients");
    forged.subject_alt_names.push(SanType::URI(ADA.try_into().unwrap()));
    let key = KeyPair::generate().unwrap();
    let certificate = forged.self_signed(&key).unwrap().pem();
    refused(&Holder { certificate, key: key.serialize_pem() }).await;
}

/// A connection outlives neither its certificate nor what authority.yaml says of it.
#[tokio::test]
async fn a_certificate_that_ends_ends_its_connection_with_it() {
    let secured = Secured::start().await;
    let year = |params: &mut CertificateParams| params.not_after = rcgen::date_time_ymd(2099, 1, 1);
    let http = secured.http(Some(&secured.ca.issue(&[ADA], year)));
    assert_eq!(secured.call(&http, None).await, is("ada"));
    let files = std::fs::read_to_string(secured.world.dir.join("policies/authority.yaml")).unwrap();
    secured
        .world
        .reload(&format!("=== authority.yaml\n{}\n", files.replace(ADA, "spiffe://acme.example/agent/new")))
        .await;
    assert_eq!(secured.call(&http, None).await, REFUSED);
    secured.world.reload(&format!("=== authority.yaml\n{files}\n")).await;
    assert_eq!(secured.call(&http, None).await, is("ada"));
    secured.clock.advance(Duration::from_secs(80 * 365 * 86_400));
    assert_eq!(secured.call(&http, None).await, REFUSED);
    assert_eq!(
        secured.call(&http, Some("key-ada")).await,
        REFUSED,
        "a certificate that is over is a wrong credential"
    );
}

/// The same with the real binary: `tls = { cert, key, client_ca }`.
#[tokio::test]
async fn the_binary_asks_for_certificates_as_servers_toml_says() {
    let (ca, server) = (Ca::new("clients"), Ca::new("servers"));
    let own = server.issue(&["localhost", "127.0.0.1"], |_| {});
    let authority = authority().replace("  ada:    {", &format!("  ada:    {{ certificates: [\"{ADA}\"],"));
    let gateway = "tls = { cert = \"cert.pem\", key = \"key.pem\", client_ca = \"ca.pem\" }".to_owned();
    let setup = Setup { files: format!("=== authority.yaml\n{authority}\n"), gateway, ..Setup::default() };
    let files = Files::of(setup).await;
    let put = |name: &str, text: &str| std::fs::write(Path::new(&files.dir).join(name), text).unwrap();
    put("cert.pem", &own.certificate);
    put("key.pem", &own.key);
    put("ca.pem", &ca.pem);
    let process = files.serve().await;
    let holder = ca.issue(&[ADA], |_| {});
    http_client();
    let root = reqwest::Certificate::from_pem(server.pem.as_bytes()).unwrap();
    let identity =
        reqwest::Identity::from_pem(format!("{}{}", holder.certificate, holder.key).as_bytes()).unwrap();
    let http =
        reqwest::Client::builder().no_proxy().tls_certs_only([root]).identity(identity).build().unwrap();
    let url = process.mcp.clone();
    let client = Client::modern(&http, &url, "nobody", json!({}));
    let body = client.body("tools/list", json!({}));
    let mut request = client.post(&body).build().unwrap();
    request.headers_mut().remove("authorization");
    let reply: Value = soon(http.execute(request)).await.unwrap().json().await.unwrap();
    assert!(!reply["result"]["tools"].as_array().unwrap().is_empty(), "{reply:#}");

    // Files that are none are told with their place.
    put("ca.pem", "nothing");
    let (mut child, _said) = files.command(&["check"]);
    assert!(!soon(child.wait()).await.unwrap().success());
}

/// R98: `tls = { …, crl }` with the real binary. What the authority has revoked ends the handshake; a list that comes later ends
/// connections that live, one that cannot be used changes nothing, and one that has ended lets nobody in by a certificate.
#[tokio::test]
async fn the_binary_holds_certificates_against_lists_of_what_is_revoked() {
    let (ca, server, other) = (Ca::new("clients"), Ca::new("servers"), Ca::new("others"));
    let own = server.issue(&["localhost", "127.0.0.1"], |_| {});
    let authority = authority().replace("  ada:    {", &format!("  ada:    {{ certificates: [\"{ADA}\"],"));
    let gateway =
        "tls = { cert = \"cert.pem\", key = \"key.pem\", client_ca = \"ca.pem\", crl = \"crl.pem\" }"
            .to_owned();
    let setup = Setup { files: format!("=== authority.yaml\n{authority}\n"), gateway, ..Setup::default() };
    let files = Files::of(setup).await;
    let put = |name: &str, text: &str| {
        // In one step, as whoever renews a list should.
        let (new, path) = (Path::new(&files.dir).join("new"), Path::new(&files.dir).join(name));
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, path).unwrap();
    };
    put("cert.pem", &own.certificate);
    put("key.pem", &own.key);
    put("ca.pem", &ca.pem);
    put("crl.pem", &ca.revoked(&[7], 2090));
    let process = files.serve().await;
    http_client();
    let root = reqwest::Certificate::from_pem(server.pem.as_bytes()).unwrap();
    let of = |holder: Option<&Holder>| {
        let builder = reqwest::Client::builder().no_proxy().tls_certs_only([root.clone()]);
        let identity = holder.map(|Holder { certificate, key }| format!("{certificate}{key}"));
        let identity = identity.map(|pem| reqwest::Identity::from_pem(pem.as_bytes()).unwrap());
        identity.into_iter().fold(builder, reqwest::ClientBuilder::identity).build().unwrap()
    };
    // The status; none where the handshake ends.
    let call = async |http: &reqwest::Client, key: Option<&str>| {
        let client = Client::modern(http, &process.mcp, "nobody", json!({}));
        let mut request = client.post(&client.body("tools/list", json!({}))).build().unwrap();
        request.headers_mut().remove("authorization");
        if let Some(key) = key {
            request.headers_mut().insert("authorization", format!("Bearer {key}").parse().unwrap());
        }
        soon(http.execute(request)).await.ok().map(|reply| reply.status().as_u16())
    };
    let (seven, eight) = (ca.numbered(ADA, 7), ca.numbered(ADA, 8));
    let live = of(Some(&eight));
    assert_eq!(call(&of(Some(&seven)), None).await, None);
    assert_eq!(call(&live, None).await, Some(200));

    // Both listeners have their own.
    let logged = async |word: &str, times: usize| {
        let seen = std::cell::Cell::new(0);
        let counts = |line: &str| {
            seen.set(seen.get() + usize::from(line.contains(word)));
            seen.get() == 2 * times
        };
        process.log.until(counts).await;
    };

    // Files that hold no list.
    let mut times = 0;
    for text in ["nothing".to_owned(), ca.revoked(&[8], 2090).replace("X509 CRL", "CERTIFICATE")] {
        put("crl.pem", &text);
        process.signal(rustix::process::Signal::HUP);
        times += 1;
        logged("crl.not_read", times).await;
        assert_eq!(call(&of(Some(&eight)), None).await, Some(200));
        let (mut child, _said) = files.command(&["check"]);
        assert!(!soon(child.wait()).await.unwrap().success());
    }

    put("crl.pem", &ca.revoked(&[7, 8], 2090));
    process.signal(rustix::process::Signal::HUP);
    logged("crl.read", 1).await;
    assert_eq!(call(&of(Some(&eight)), None).await, None);
    // What it was found to be some seconds ago counts for so long.
    while call(&live, None).await == Some(200) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(call(&live, None).await, Some(401));

    // A list of somebody else says nothing of it, and one that has ended says nothing at all.
    let nine = ca.numbered(ADA, 9);
    for (text, said, times) in
        [(other.revoked(&[7], 2090), "crl.read", 2), (ca.revoked(&[7], 2021), "crl.ended", 1)]
    {
        put("crl.pem", &text);
        process.signal(rustix::process::Signal::HUP);
        logged(said, times).await;
        assert_eq!(call(&of(Some(&nine)), None).await, None, "{said}");
        // Whoever comes with a key is not concerned.
        assert_eq!(call(&of(None), Some("key-eve")).await, Some(200));
    }
    let (mut child, _said) = files.command(&["check"]);
    assert!(!soon(child.wait()).await.unwrap().success());

    put("crl.pem", &ca.revoked(&[7], 2090));
    process.signal(rustix::process::Signal::HUP);
    logged("crl.read", 4).await;
    assert_eq!(call(&of(Some(&nine)), None).await, Some(200));
}
