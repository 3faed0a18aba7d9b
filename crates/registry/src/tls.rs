//! Whom a TLS connection trusts.
//!
//! The system's certificates are read here rather than by a platform verifier, because a container
//! image often has none: then Mozilla's roots, which are built in, stand in. The provider of the
//! cryptography (ring) is passed to each configuration, so nothing depends on a global default.
use crate::{ClientCertificate, Error, ErrorKind, TrustStore};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where distributions keep all certificates in one file.
const BUNDLES: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
/// Where they keep them one by one.
const DIRECTORIES: [&str; 3] = ["/etc/ssl/certs", "/etc/pki/tls/certs", "/system/etc/security/cacerts"];

fn option_error(why: String) -> Error {
    Error::new(ErrorKind::Options, why)
}

/// The certificates in a PEM file; other PEM blocks are skipped.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = std::fs::read(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    CertificateDer::pem_slice_iter(&text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| format!("{} is no PEM file: {e}", path.display()))
}

/// Reads the trusted roots once.
pub(crate) fn roots(trust: &TrustStore) -> Result<Arc<RootCertStore>, Error> {
    let mut store = RootCertStore::empty();
    let given = trust.system_file.is_some() || !trust.system_dirs.is_empty();
    let files: Vec<PathBuf> = match (&trust.system_file, given) {
        (Some(file), _) => vec![file.clone()],
        (None, true) => Vec::new(),
        (None, false) => BUNDLES.iter().map(PathBuf::from).filter(|p| p.exists()).take(1).collect(),
    };
    for file in &files {
        match certificates(file) {
            Ok(found) => {
                // Old roots in a system's bundle may be malformed; one bad apple spoils nothing.
                store.add_parsable_certificates(found);
            }
            Err(why) if given => return Err(option_error(format!("SSL_CERT_FILE: {why}"))),
            Err(_) => {}
        }
    }
    let directories: Vec<PathBuf> = if given {
        trust.system_dirs.clone()
    } else if store.is_empty() {
        DIRECTORIES.iter().map(PathBuf::from).collect()
    } else {
        Vec::new()
    };
    for directory in directories {
        let Ok(entries) = std::fs::read_dir(&directory) else { continue };
        for entry in entries.flatten() {
            if let Ok(found) = certificates(&entry.path()) {
                store.add_parsable_certificates(found);
            }
        }
    }
    if store.is_empty() && !given {
        store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    for file in &trust.extra {
        let found = certificates(file).map_err(|why| option_error(format!("registry CA: {why}")))?;
        if found.is_empty() {
            return Err(option_error(format!("registry CA: {} holds no certificate", file.display())).or_hint(|| {
                Some("give a PEM file with a BEGIN CERTIFICATE block: the CA's certificate, not a key".to_owned())
            }));
        }
        for certificate in found {
            store
                .add(certificate)
                .map_err(|e| option_error(format!("registry CA: a certificate in {}: {e}", file.display())))?;
        }
    }
    Ok(Arc::new(store))
}

/// A configuration: with `verify` off, any certificate does.
pub(crate) fn config(
    roots: Arc<RootCertStore>,
    verify: bool,
    http2: bool,
    own: Option<&ClientCertificate>,
) -> Result<ClientConfig, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|e| option_error(e.to_string()))?;
    let builder = if verify {
        builder.with_root_certificates(roots)
    } else {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Anyone(provider)))
    };
    let mut config = match own {
        None => builder.with_no_client_auth(),
        Some(own) => {
            let chain = certificates(&own.certificate).map_err(option_error)?;
            let key = PrivateKeyDer::from_pem_file(&own.key)
                .map_err(|e| option_error(format!("client key {}: {e}", own.key.display())))?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|e| option_error(format!("client certificate {}: {e}", own.certificate.display())))?
        }
    };
    config.alpn_protocols = if http2 { vec![b"h2".to_vec(), b"http/1.1".to_vec()] } else { vec![b"http/1.1".to_vec()] };
    Ok(config)
}

/// Accepts any certificate, for registries that the user calls insecure. Signatures are still checked:
/// the peer must have the key of what it shows.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
