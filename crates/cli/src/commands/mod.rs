//! One file per command: its flags, and what it does.
pub(crate) mod build;
pub(crate) mod cache;
pub(crate) mod call;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod doctor;
pub(crate) mod executor;
pub(crate) mod explain;
pub(crate) mod factory;
pub(crate) mod history;
pub(crate) mod image;
pub(crate) mod key;
pub(crate) mod login;
pub(crate) mod logout;
pub(crate) mod man;
pub(crate) mod registry;
pub(crate) mod remote;
pub(crate) mod sbom;
pub(crate) mod scan;
pub(crate) mod sign;
pub(crate) mod verify;
pub(crate) mod version;

use crate::config::Settings;
use crate::env::Env;
use crate::error::{CliError, Result};

/// How registries are reached, from settings and environment.
pub(crate) fn client_options(settings: &Settings, env: &Env) -> ::registry::ClientOptions {
    let sources = ::registry::CredentialSources::from_lookup(|name| env.vars.get(name).map(Into::into));
    ::registry::ClientOptions {
        credentials: ::registry::Credentials::new(sources),
        insecure: settings.insecure_registries.value.clone(),
        trust: ::registry::TrustStore {
            system_file: env.get("SSL_CERT_FILE").map(Into::into),
            system_dirs: env
                .get("SSL_CERT_DIR")
                .map(|dirs| dirs.split(':').map(Into::into).collect())
                .unwrap_or_default(),
            extra: settings.registry_ca.value.clone(),
        },
        mirrors: settings
            .mirrors
            .value
            .iter()
            .map(|(registry, mirrors)| ::registry::Mirror { registry: registry.clone(), mirrors: mirrors.clone() })
            .collect(),
        proxy: ::registry::ProxyVariables::from_lookup(|name| env.vars.get(name).cloned()),
        ..::registry::ClientOptions::default()
    }
}

/// A client for registries.
pub(crate) fn client(settings: &Settings, env: &Env) -> Result<::registry::Client> {
    ::registry::Client::new(client_options(settings, env))
        .map_err(|error| CliError::usage("registries cannot be reached with these settings").caused_by(&error))
}
