//! The certificate of both listeners, and the certificates of clients.

use super::revoked::Clients;
use crate::{config::TlsConfig, identity::ClientCertificate};
use arc_swap::ArcSwap;
use jiff::Timestamp;
use rustls::{
    RootCertStore, ServerConfig,
    crypto::aws_lc_rs,
    server::{
        ClientHello, ResolvesServerCert,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject as _};
use sha2::{Digest as _, Sha256};
use std::{fmt, path::Path, sync::Arc, time::Duration};
use tokio_rustls::TlsAcceptor;
use webpki::EndEntityCert;
use x509_parser::parse_x509_certificate;

/// Names of one certificate that are looked at.
const MOST_URIS: usize = 32;

/// A certificate chain with its key.
#[derive(Clone)]
pub struct Pair(Arc<CertifiedKey>);

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pair")
    }
}

/// What handshakes show, which a newer pair takes the place of.
#[derive(Debug)]
struct Shown(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

/// What a listener needs to speak TLS.
#[derive(Clone)]
pub struct Tls {
    config: Arc<ServerConfig>,
    shown: Arc<Shown>,
    /// Who looks at clients' certificates, where they may bring one.
    clients: Option<Arc<Clients>>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("clients", &self.clients.is_some()).finish_non_exhaustive()
    }
}

/// Reads the PEM files of a chain and its key, which must go together.
pub fn read_pair(tls: &TlsConfig) -> Result<Pair, String> {
    let (cert, key) = (tls.cert.display(), tls.key.display());
    let chain = certificates(&tls.cert, "certificate chain")?;
    let secret = PrivateKeyDer::from_pem_file(&tls.key)
        .map_err(|error| format!("cannot read the private key `{key}`: {error}"))?;
    CertifiedKey::from_der(chain, secret, &aws_lc_rs::default_provider())
        .map(|pair| Pair(Arc::new(pair)))
        .map_err(|error| format!("`{cert}` and `{key}` do not go together: {error}"))
}

/// The certificate that a listener with these files shows.
pub fn own_certificate(tls: &TlsConfig) -> Result<CertificateDer<'static>, String> {
    certificates(&tls.cert, "certificate chain")?
        .into_iter()
        .next()
        .ok_or_else(|| "no certificate".to_owned())
}

/// When the certificate that a listener shows ends.
pub fn ends(tls: &TlsConfig) -> Result<Timestamp, String> {
    let shown = own_certificate(tls)?;
    let unread = |why: String| format!("cannot read the certificate `{}`: {why}", tls.cert.display());
    let (_, parsed) = parse_x509_certificate(&shown).map_err(|error| unread(error.to_string()))?;
    Timestamp::from_second(parsed.validity().not_after.timestamp()).map_err(|error| unread(error.to_string()))
}

/// Reads the PEM files and makes what a listener needs: TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1. With `client_ca`, a client may bring
/// a certificate; one that nobody there vouches for ends the handshake.
pub fn server_config(tls: &TlsConfig) -> Result<Tls, String> {
    let Pair(pair) = read_pair(tls)?;
    let shown = Arc::new(Shown(ArcSwap::new(pair)));
    let provider = Arc::new(aws_lc_rs::default_provider());
    let clients = match &tls.client_ca {
        None => None,
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for root in certificates(path, "certificates of who vouches for clients")? {
                roots.add(root).map_err(|error| format!("`{}` cannot be used: {error}", path.display()))?;
            }
            let clients = Clients::new(roots, path, tls.crl.as_deref(), provider.clone())?;
            Some(Arc::new(clients))
        }
    };
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("cannot set up TLS: {error}"))?;
    let config = match &clients {
        None => config.with_no_client_auth(),
        Some(clients) => config.with_client_cert_verifier(Arc::<Clients>::clone(clients)),
    };
    let mut config = config.with_cert_resolver(Arc::<Shown>::clone(&shown));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Tls { config: Arc::new(config), shown, clients })
}

fn certificates(path: &Path, what: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let shown = path.display();
    let read = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| format!("cannot read the {what} `{shown}`: {error}"))?;
    if read.is_empty() {
        return Err(format!("`{shown}` holds no PEM certificate"));
    }
    Ok(read)
}

impl Tls {
    /// For a listener's handshakes.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.config))
    }

    /// Shows this one from the next handshake on; connections that live stay.
    pub fn show(&self, pair: Pair) {
        self.shown.0.store(pair.0);
    }

    /// Whether lists say which certificates are revoked.
    pub fn has_lists(&self) -> bool {
        self.clients.as_ref().is_some_and(|clients| clients.has_lists())
    }

    /// Reads these lists again, where their file is another one or in any case; whether it did. Connections that live are held
    /// against them, too.
    pub fn read_lists_again(&self, in_any_case: bool) -> Result<bool, String> {
        self.clients.as_ref().map_or(Ok(false), |clients| clients.read_again(in_any_case))
    }

    /// What is to be said where a list has ended.
    pub fn ended(&self, now: Timestamp) -> Option<String> {
        self.clients.as_ref().and_then(|clients| clients.ended(now))
    }

    /// The certificate that a handshake has verified; what it says is looked at again as long as its connection lives.
    pub(super) fn certificate(
        &self,
        chain: Option<&[CertificateDer<'static>]>,
    ) -> Option<Arc<ClientCertificate>> {
        let clients = self.clients.clone()?;
        let (first, rest) = chain?.split_first()?;
        let parsed = EndEntityCert::try_from(first).ok()?;
        let uris = parsed.valid_uri_names().take(MOST_URIS).map(Arc::from).collect();
        let thumbprint = Sha256::digest(first).into();
        let (first, rest) = (first.clone(), rest.to_vec());
        let check = move |now: Timestamp| {
            let since = Duration::from_secs(u64::try_from(now.as_second()).unwrap_or_default());
            let verified: Result<ClientCertVerified, _> =
                clients.verify_client_cert(&first, &rest, UnixTime::since_unix_epoch(since));
            verified.is_ok()
        };
        Some(Arc::new(ClientCertificate::new(uris, thumbprint, check)))
    }
}
