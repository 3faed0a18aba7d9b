//! Whom a TLS connection trusts.
//!
//! The system's certificates are read here rather than by a platform verifier, because a container
//! image often has none: then Mozilla's roots, which are built in, stand in. They are read with the first
//! handshake: parsing a hundred and fifty certificates takes longer than a build that has nothing to do, and
//! a registry on loopback needs none. The provider of the cryptography (ring) is passed to each
//! configuration, so nothing depends on a global default.
use crate::{ClientCertificate, Error, ErrorKind, TrustStore};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

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

/// The certificates that are trusted, read when they are needed.
#[derive(Debug)]
pub(crate) struct Roots {
    trust: TrustStore,
    verifier: OnceLock<Result<Arc<WebPkiServerVerifier>, String>>,
}

/// The trusted roots. What the user named is looked at now, so that a mistake is told before anything is done.
pub(crate) fn roots(trust: &TrustStore) -> Result<Arc<Roots>, Error> {
    if let Some(file) = &trust.system_file {
        std::fs::File::open(file)
            .map_err(|e| option_error(format!("SSL_CERT_FILE: cannot read {}: {e}", file.display())))?;
    }
    add_extra(trust, &mut RootCertStore::empty())?;
    Ok(Arc::new(Roots { trust: trust.clone(), verifier: OnceLock::new() }))
}

/// A configuration that trusts these certificates, for HTTP/1.1: of other clients than this crate's.
///
/// # Errors
/// Where a certificate file that the user named cannot be read.
pub fn tls_config(trust: &TrustStore) -> Result<ClientConfig, Error> {
    config(roots(trust)?, true, false, None)
}

/// The certificates of `--registry-ca`.
fn add_extra(trust: &TrustStore, store: &mut RootCertStore) -> Result<(), Error> {
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
    Ok(())
}

/// Reads all of them.
fn read(trust: &TrustStore) -> Result<RootCertStore, Error> {
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
    add_extra(trust, &mut store)?;
    Ok(store)
}

/// A configuration: with `verify` off, any certificate does.
pub(crate) fn config(
    roots: Arc<Roots>,
    verify: bool,
    http2: bool,
    own: Option<&ClientCertificate>,
) -> Result<ClientConfig, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|e| option_error(e.to_string()))?;
    let verifier: Arc<dyn ServerCertVerifier> =
        if verify { Arc::new(Trusted { roots, provider }) } else { Arc::new(Anyone(provider)) };
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
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

/// Accepts what the roots vouch for, as WebPKI has it.
#[derive(Debug)]
struct Trusted {
    roots: Arc<Roots>,
    provider: Arc<CryptoProvider>,
}

impl Trusted {
    fn verifier(&self) -> Result<&WebPkiServerVerifier, rustls::Error> {
        let made = self.roots.verifier.get_or_init(|| {
            let store = read(&self.roots.trust).map_err(|e| e.to_string())?;
            WebPkiServerVerifier::builder_with_provider(Arc::new(store), self.provider.clone())
                .build()
                .map_err(|e| e.to_string())
        });
        made.as_deref().map_err(|why| rustls::Error::General(why.clone()))
    }
}

impl ServerCertVerifier for Trusted {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.verifier()?.verify_server_cert(certificate, intermediates, name, ocsp, now)
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
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
