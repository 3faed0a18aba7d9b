//! OCI distribution: client, credentials, and a small registry server.
//!
//! The public API blocks and may be called from many threads at once; a [`Client`] is cheap to
//! clone. Inside, one small runtime drives all connections, so that nothing here minds whether the
//! caller lives in an async runtime of its own.
//!
//! Three rules hold everywhere. What a registry sends is not trusted: manifests, tokens and error
//! bodies are capped, digests and sizes are checked, redirects lead nowhere but to HTTP(S).
//! Blobs are streamed: memory does not grow with their size. No credential appears in an error
//! or in `Debug` output.
//!
//! Sources: OCI distribution-spec 1.1, the token specification of `distribution/distribution`,
//! RFC 9110 and 9111, `containers-auth.json(5)`, and docker's `config.json`.
#![forbid(unsafe_code)]
mod auth;
mod block;
mod challenge;
mod client;
pub mod credentials;
mod dns;
mod endpoint;
mod error;
mod failure;
mod options;
mod plain;
mod proxy;
mod retry;
pub mod serve;
mod session;
mod tls;
mod transport;

pub use client::{BlobReader, Client, Fetched, Progress, Pushed};
pub use credentials::{Credential, CredentialSources, Credentials, Held, Secret};
pub use error::{Error, ErrorKind, RegistryMessage};
pub use options::{ClientCertificate, ClientOptions, Mirror, ProxyVariables, RetryPolicy, Timeouts, TrustStore};
pub use plain::http_client;
pub use tls::tls_config;
