//! TLS to this machine's own listener, whose certificate is for another name: to whoever is there, where nothing is said that a stranger
//! may not hear, or to who holds the very certificate that servers.toml names.

use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use rustls::{
    ClientConfig, DigitallySignedStruct, OtherError, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::sync::Arc;

/// Which certificates are taken.
#[derive(Debug)]
pub(super) enum Takes {
    Any,
    This(CertificateDer<'static>),
}

/// Goes by certificates alone, whose key the other side must have.
#[derive(Debug)]
struct Nameless(Takes, Arc<CryptoProvider>);

/// Why one is not taken.
#[derive(Debug, thiserror::Error)]
#[error(
    "it shows another certificate than servers.toml names: where the file is newer than what is shown, SIGHUP has `serve` read it again"
)]
struct AnotherCertificate;

impl ServerCertVerifier for Nameless {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match &self.0 {
            Takes::This(own) if own != shown => {
                Err(rustls::Error::Other(OtherError(Arc::new(AnotherCertificate))))
            }
            Takes::This(_) | Takes::Any => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signed, &self.1.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signed, &self.1.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.1.signature_verification_algorithms.supported_schemes()
    }
}

/// A connector that takes these certificates.
pub(super) fn connector<C>(tcp: C, takes: Takes) -> Result<HttpsConnector<C>, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("no TLS: {error}"))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Nameless(takes, provider)))
        .with_no_client_auth();
    Ok(HttpsConnectorBuilder::new().with_tls_config(config).https_only().enable_http1().wrap_connector(tcp))
}
