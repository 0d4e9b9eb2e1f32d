//! By which certificates a Hearth at an https:// endpoint is known.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};

/// Those in the file, else those that the machine trusts.
pub fn config(ca: Option<&Path>) -> Result<TlsConfig, String> {
    let known = match ca {
        Some(path) => {
            let text = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
            let found: Vec<_> = CertificateDer::pem_slice_iter(&text).filter_map(Result::ok).collect();
            if found.is_empty() {
                return Err(format!(
                    "{} holds no certificate: expected PEM, -----BEGIN CERTIFICATE-----",
                    path.display()
                ));
            }
            found
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            if found.certs.is_empty() {
                let why = found.errors.first().map_or_else(String::new, |error| format!(" ({error})"));
                return Err(format!("this machine trusts no certificates{why}: say --ca-file, or HEARTH_CA_FILE"));
            }
            found.certs
        }
    };
    let known: Vec<_> = known.iter().map(|one| Certificate::from_der(one).to_owned()).collect();
    Ok(TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .root_certs(RootCerts::Specific(Arc::new(known)))
        .unversioned_rustls_crypto_provider(Arc::new(ring::default_provider()))
        .build())
}
