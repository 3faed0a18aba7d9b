//! Credentials for registries: docker's `config.json`, podman's `auth.json`, credential helpers.
//!
//! Order, first match wins: what the caller gives explicitly; `REGISTRY_AUTH_FILE`, which excludes the
//! other files, as podman has it; else `DOCKER_AUTH_CONFIG`, `DOCKER_CONFIG/config.json`,
//! `$XDG_RUNTIME_DIR/containers/auth.json`, `$XDG_CONFIG_HOME/containers/auth.json`,
//! `~/.docker/config.json`, `~/.dockercfg`, and the extra files (Kubernetes' `.dockerconfigjson`); last
//! `GITHUB_TOKEN` for ghcr.io. In each file the most specific key wins: `host/a/b`, `host/a`, `host`;
//! a helper named in `credHelpers` comes before `credsStore`, and that before `auths`.
mod file;
mod helper;
mod login;
mod secret;
mod sources;

pub use login::{Erased, Stored, erase, store};
pub use secret::{Credential, Secret};
pub use sources::{CredentialError, CredentialSources, Credentials, Found, Held, registry_name};
