//! Who looks at clients' certificates: the authorities that vouch for them stay, and the lists of what they have revoked are read
//! again.

use arc_swap::ArcSwap;
use jiff::Timestamp;
use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::CryptoProvider,
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime, pem::PemObject as _};
use std::{
    fs::Metadata,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};
use x509_parser::prelude::{CertificateRevocationList, FromDer as _};

/// The largest file of lists.
const MOST_BYTES: u64 = 64 * 1024 * 1024;

/// Lists of revoked certificates, as they were last read.
struct Lists {
    lists: Vec<CertificateRevocationListDer<'static>>,
    /// When the first of them ends.
    until: Option<Timestamp>,
    /// The file that they were read from, as it was then.
    seen: Option<(SystemTime, u64)>,
}

/// Looks at clients' certificates.
#[derive(Debug)]
pub(super) struct Clients {
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
    authority: PathBuf,
    crl: Option<PathBuf>,
    hints: Vec<DistinguishedName>,
    held: ArcSwap<Held>,
}

#[derive(Debug)]
struct Held {
    verifier: Arc<dyn ClientCertVerifier>,
    until: Option<Timestamp>,
    seen: Option<(SystemTime, u64)>,
}

impl Clients {
    /// By these authorities, read from a file, and the lists of another one.
    pub(super) fn new(
        roots: RootCertStore,
        authority: &Path,
        crl: Option<&Path>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, String> {
        let roots = Arc::new(roots);
        let held = held((&roots, authority), crl, &provider)?;
        let hints = held.verifier.root_hint_subjects().to_vec();
        let (authority, crl) = (authority.to_owned(), crl.map(Path::to_owned));
        Ok(Self { roots, provider, authority, crl, hints, held: ArcSwap::from_pointee(held) })
    }

    /// Whether there are lists that can be read again.
    pub(super) fn has_lists(&self) -> bool {
        self.crl.is_some()
    }

    /// When the lists end, and what is said from then on.
    pub(super) fn ended(&self, now: Timestamp) -> Option<String> {
        let until = self.held.load().until.filter(|until| *until <= now)?;
        let shown = self.crl.as_ref().map(|crl| crl.display().to_string()).unwrap_or_default();
        Some(format!(
            "the list of revoked certificates `{shown}` ended at {}: no client's certificate is taken until a newer one is there",
            until.strftime("%Y-%m-%dT%H:%M:%SZ")
        ))
    }

    /// Reads the lists again where their file is another one, or in any case. Whether it did; where they cannot be used, those
    /// of before count.
    pub(super) fn read_again(&self, in_any_case: bool) -> Result<bool, String> {
        let Some(crl) = &self.crl else { return Ok(false) };
        if !in_any_case && seen(crl) == self.held.load().seen {
            return Ok(false);
        }
        let held = held((&self.roots, &self.authority), Some(crl), &self.provider)?;
        self.held.store(Arc::new(held));
        Ok(true)
    }
}

fn held(
    (roots, authority): (&Arc<RootCertStore>, &Path),
    crl: Option<&Path>,
    provider: &Arc<CryptoProvider>,
) -> Result<Held, String> {
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(provider));
    let builder = builder.allow_unauthenticated();
    let unusable =
        |path: &Path, error: &dyn std::fmt::Display| format!("`{}` cannot be used: {error}", path.display());
    let Some(crl) = crl else {
        let verifier = builder.build().map_err(|error| unusable(authority, &error))?;
        return Ok(Held { verifier, until: None, seen: None });
    };
    let Lists { lists, until, seen } = lists(crl)?;
    // Of a certificate of which no list says anything nobody knows whether it counts.
    let builder = builder.with_crls(lists).enforce_revocation_expiration();
    let verifier = builder.build().map_err(|error| unusable(crl, &error))?;
    Ok(Held { verifier, until, seen })
}

/// When a file was changed last, and how large it is.
fn seen(path: &Path) -> Option<(SystemTime, u64)> {
    let of = |meta: Metadata| Some((meta.modified().ok()?, meta.len()));
    std::fs::metadata(path).ok().and_then(of)
}

fn lists(path: &Path) -> Result<Lists, String> {
    let shown = path.display();
    let seen = seen(path);
    if seen.is_some_and(|(_, length)| length > MOST_BYTES) {
        return Err(format!("the list of revoked certificates `{shown}` has more than {MOST_BYTES} bytes"));
    }
    let lists = CertificateRevocationListDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| format!("cannot read the list of revoked certificates `{shown}`: {error}"))?;
    if lists.is_empty() {
        return Err(format!("`{shown}` holds no list of revoked certificates in PEM"));
    }
    let mut until: Option<Timestamp> = None;
    for list in &lists {
        let (_, read) = CertificateRevocationList::from_der(list)
            .map_err(|_| format!("`{shown}` holds a list of revoked certificates that cannot be read"))?;
        let next = read.next_update().and_then(|next| Timestamp::from_second(next.timestamp()).ok());
        let next = next.ok_or_else(|| format!("a list in `{shown}` does not say when the next one comes"))?;
        until = Some(until.map_or(next, |until| until.min(next)));
    }
    Ok(Lists { lists, until, seen })
}

impl ClientCertVerifier for Clients {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.held.load().verifier.verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.held.load().verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.held.load().verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.held.load().verifier.supported_verify_schemes()
    }
}
