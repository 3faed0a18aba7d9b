//! How a [`crate::Client`] behaves. Everything comes in here: the crate reads no environment
//! variable, no home directory and no current directory.
use crate::Credentials;
use crate::credentials::Secret;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// The options of a client. [`Default`] talks to any registry anonymously, without mirrors and proxies.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// Where credentials come from.
    pub credentials: Credentials,
    /// Registries (`host`, `host:port`, or an IP network as `10.0.0.0/8`) that may be spoken to over
    /// TLS that nobody verified, or over plain HTTP. Loopback hosts may always use plain HTTP.
    pub insecure: Vec<String>,
    /// The certificate authorities that are trusted.
    pub trust: TrustStore,
    /// Certificates that this client shows to a registry (mutual TLS).
    pub client_certificates: Vec<ClientCertificate>,
    /// Where to look first when something is pulled.
    pub mirrors: Vec<Mirror>,
    /// The proxies.
    pub proxy: ProxyVariables,
    /// The `User-Agent` header.
    pub user_agent: String,
    /// When a failed request is tried again.
    pub retry: RetryPolicy,
    /// How long to wait for what.
    pub timeouts: Timeouts,
    /// How many blobs may be on their way at once, for downloads and for uploads each.
    pub concurrency: usize,
    /// Upload blobs in chunks of this size (PATCH requests) instead of one streamed PUT. Some
    /// proxies in front of a registry limit the size of one request.
    pub upload_chunk: Option<u64>,
    /// Whether HTTP/2 may be spoken. HTTP/1.1 is faster with some registries.
    pub http2: bool,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            credentials: Credentials::anonymous(),
            insecure: Vec::new(),
            trust: TrustStore::default(),
            client_certificates: Vec::new(),
            mirrors: Vec::new(),
            proxy: ProxyVariables::default(),
            user_agent: concat!("cooperage/", env!("CARGO_PKG_VERSION")).to_owned(),
            retry: RetryPolicy::default(),
            timeouts: Timeouts::default(),
            concurrency: 8,
            upload_chunk: None,
            http2: true,
        }
    }
}

/// The certificate authorities that are trusted: `system_file` and `system_dir`, or the places where
/// Linux distributions keep theirs, or, where there is none (an image without certificates), the
/// roots of Mozilla that are built in; and always `extra`.
#[derive(Debug, Clone, Default)]
pub struct TrustStore {
    /// `SSL_CERT_FILE`: a PEM bundle that replaces the system's.
    pub system_file: Option<PathBuf>,
    /// `SSL_CERT_DIR`: directories of PEM files that replace the system's.
    pub system_dirs: Vec<PathBuf>,
    /// PEM files that are trusted beside those (`--registry-ca`).
    pub extra: Vec<PathBuf>,
}

/// A certificate that this client shows to one registry.
#[derive(Debug, Clone)]
pub struct ClientCertificate {
    /// `host` or `host:port`.
    pub registry: String,
    /// A PEM file: the certificate and its chain.
    pub certificate: PathBuf,
    /// A PEM file: the private key.
    pub key: PathBuf,
}

/// Mirrors of a registry, tried in this order before the registry itself, for pulls only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// The registry, as `docker.io`.
    pub registry: String,
    /// `host[:port][/prefix]`, with `https://` or `http://` in front where the scheme matters.
    pub mirrors: Vec<String>,
}

/// The proxy variables, with the meaning that curl and Go give them. Loopback is never proxied.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ProxyVariables {
    /// `HTTP_PROXY`.
    pub http: Option<String>,
    /// `HTTPS_PROXY`.
    pub https: Option<String>,
    /// `ALL_PROXY`.
    pub all: Option<String>,
    /// `NO_PROXY`.
    pub no_proxy: Option<String>,
}

impl ProxyVariables {
    /// Reads the variables through `lookup`: lower case first, then upper case.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Self {
        let get = |name: &str| {
            lookup(name).filter(|v| !v.is_empty()).or_else(|| lookup(&name.to_uppercase()).filter(|v| !v.is_empty()))
        };
        Self { http: get("http_proxy"), https: get("https_proxy"), all: get("all_proxy"), no_proxy: get("no_proxy") }
    }
}

impl fmt::Debug for ProxyVariables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A proxy's URL may hold a password.
        let secret = |v: &Option<String>| v.as_deref().map(|v| Secret::new(v.to_owned()));
        f.debug_struct("ProxyVariables")
            .field("http", &secret(&self.http))
            .field("https", &secret(&self.https))
            .field("all", &secret(&self.all))
            .field("no_proxy", &self.no_proxy)
            .finish()
    }
}

/// When a failed request is tried again: after 429, 5xx, broken connections and timeouts.
#[derive(Debug, Clone)]
pub struct RetryPolicy {
    /// How often in all, the first time included.
    pub attempts: u32,
    /// The pause after the first failure; it doubles each time, and a random part of it is waited.
    pub base: Duration,
    /// The longest pause of its own choice.
    pub longest: Duration,
    /// The longest `Retry-After` that is obeyed; a longer one is an error at once.
    pub longest_asked: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 6,
            base: Duration::from_millis(400),
            longest: Duration::from_secs(20),
            longest_asked: Duration::from_secs(120),
        }
    }
}

/// How long to wait for what.
#[derive(Debug, Clone)]
pub struct Timeouts {
    /// For the connection, with its TLS handshake.
    pub connect: Duration,
    /// For the answer's head, once the request is sent. Some registries move a blob into place
    /// before they answer, so uploads wait five times as long.
    pub response: Duration,
    /// For the next bytes of a body, in both directions.
    pub idle: Duration,
    /// For a credential helper.
    pub helper: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(20),
            response: Duration::from_secs(60),
            idle: Duration::from_secs(60),
            helper: Duration::from_secs(30),
        }
    }
}
