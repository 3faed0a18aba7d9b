//! The certificate authorities of downloads: those of the system, else those of Mozilla that are
//! built in (an image may have none), and always those that the user adds.
use std::path::Path;

use registry::TrustStore;

use super::HttpError;

/// Where Linux distributions keep their certificate authorities.
const BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

pub(super) fn config(trust: &TrustStore) -> Result<rustls::ClientConfig, HttpError> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    let mut roots = rustls::RootCertStore::empty();
    let mut add = |path: &Path, needed: bool| -> Result<usize, HttpError> {
        let pem = match std::fs::read(path) {
            Ok(pem) => pem,
            Err(_) if !needed => return Ok(0),
            Err(e) => return Err(HttpError::Setup(format!("cannot read {}: {e}", path.display()))),
        };
        let certificates: Vec<CertificateDer<'_>> =
            CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok).collect();
        if needed && certificates.is_empty() {
            return Err(HttpError::Setup(format!("{} holds no PEM certificate", path.display())));
        }
        Ok(roots.add_parsable_certificates(certificates).0)
    };
    for extra in &trust.extra {
        add(extra, true)?;
    }
    let mut system = 0;
    if let Some(file) = &trust.system_file {
        system += add(file, true)?;
    }
    for dir in &trust.system_dirs {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            system += add(&entry.path(), false)?;
        }
    }
    if trust.system_file.is_none() && trust.system_dirs.is_empty() {
        for bundle in BUNDLES {
            if system == 0 {
                system += add(Path::new(bundle), false)?;
            }
        }
    }
    if system == 0 {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    Ok(rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| HttpError::Setup(e.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth())
}
