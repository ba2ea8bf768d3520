//! The certificate of both listeners.

use crate::config::TlsConfig;
use rustls::{ServerConfig, crypto::aws_lc_rs};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use std::sync::Arc;

/// Reads the PEM files and makes what a listener needs: TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1.
pub fn server_config(tls: &TlsConfig) -> Result<ServerConfig, String> {
    let (cert, key) = (tls.cert.display(), tls.key.display());
    let chain = CertificateDer::pem_file_iter(&tls.cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| format!("cannot read the certificate chain `{cert}`: {error}"))?;
    if chain.is_empty() {
        return Err(format!("`{cert}` holds no PEM certificate"));
    }
    let secret = PrivateKeyDer::from_pem_file(&tls.key)
        .map_err(|error| format!("cannot read the private key `{key}`: {error}"))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("cannot set up TLS: {error}"))?
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .map_err(|error| format!("`{cert}` and `{key}` do not go together: {error}"))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
