//! Signing without a key: the program `cosign` asks an identity provider, where it is installed.
//!
//! Predicates go to it with the URI of their type: under one of its short names cosign 2 reads a predicate into its own
//! structure and drops what it does not know.
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use attest::statement::Statement;
use oci::{Digest, Reference};

use crate::config::Settings;
use crate::env::Env;
use crate::error::{CliError, Result};

/// What is given as a key where an identity is to sign.
pub(crate) const KEYLESS: &str = "keyless";

/// The program, with what it has to know of registries.
#[derive(Debug, Clone)]
pub(crate) struct Cosign {
    program: PathBuf,
    insecure: Vec<String>,
    ca: Option<PathBuf>,
    /// Whether a person can answer its questions.
    asks: bool,
}

/// Who signed: the subject of a certificate and who vouches for it. A `*` in the subject is any text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Identity<'a> {
    pub(crate) subject: &'a str,
    pub(crate) issuer: &'a str,
}

impl Identity<'_> {
    fn flags(self) -> [String; 4] {
        let (flag, subject) = match self.subject.contains('*') {
            false => ("--certificate-identity", self.subject.to_owned()),
            true => {
                let parts: Vec<String> = self.subject.split('*').map(quoted).collect();
                ("--certificate-identity-regexp", format!("^{}$", parts.join(".*")))
            }
        };
        [flag.to_owned(), subject, "--certificate-oidc-issuer".to_owned(), self.issuer.to_owned()]
    }
}

/// A text as a regular expression that means it and nothing else.
fn quoted(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if r"\.+*?()|[]{}^$".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

impl Cosign {
    /// Finds the program.
    pub(crate) fn find(settings: &Settings, env: &Env) -> Result<Self> {
        let path = env.get("PATH").unwrap_or("/usr/local/bin:/usr/bin:/bin");
        let program = std::env::split_paths(path).map(|dir| dir.join("cosign")).find(|file| file.is_file());
        let program = program.ok_or_else(|| {
            CliError::usage("signing and verifying without a key needs the program cosign, and it is not installed")
                .hint("install it (https://docs.sigstore.dev), or use a key: cooperage key generate")
        })?;
        let insecure = settings.insecure_registries.value.clone();
        Ok(Self { program, insecure, ca: settings.registry_ca.value.first().cloned(), asks: env.stdin_terminal })
    }

    /// Registries that speak plain HTTP.
    pub(crate) fn with_insecure(mut self, more: impl IntoIterator<Item = String>) -> Self {
        self.insecure.extend(more);
        self
    }

    /// Nobody is asked: using this is consent.
    pub(crate) fn unasked(mut self) -> Self {
        self.asks = false;
        self
    }

    fn command(&self, verb: &str, name: &Reference) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(verb);
        if self.insecure.iter().any(|registry| registry == name.registry()) {
            command.args(["--allow-http-registry", "--allow-insecure-registry"]);
        }
        if let Some(ca) = &self.ca {
            command.args([OsStr::new("--registry-cacert"), ca.as_os_str()]);
        }
        command
    }

    /// `cosign sign IMAGE@DIGEST`, speaking to the user itself.
    pub(crate) fn sign(&self, name: &Reference, digest: &Digest, annotations: &BTreeMap<String, String>) -> Result<()> {
        let mut command = self.command("sign", name);
        if !self.asks {
            command.arg("--yes");
        }
        for (key, value) in annotations {
            command.arg(format!("--annotations={key}={value}"));
        }
        let status = command.arg(super::bare(name, digest).to_string()).status().map_err(unrunnable)?;
        if status.success() { Ok(()) } else { Err(CliError::failed(format!("cosign sign ended with {status}"))) }
    }

    /// `cosign attest IMAGE@DIGEST`. The predicate takes standard input, so nobody can be asked: using this is consent.
    pub(crate) fn attest(&self, name: &Reference, digest: &Digest, statement: &Statement) -> Result<()> {
        let predicate = serde_json::to_vec(&statement.predicate).unwrap_or_default();
        let mut child = self
            .command("attest", name)
            .args(["--yes", "--predicate", "-", "--type", &statement.predicate_type])
            .arg(super::bare(name, digest).to_string())
            .stdin(Stdio::piped())
            .spawn()
            .map_err(unrunnable)?;
        // A program that ends early does not read all: how it ended says more than the broken pipe.
        let written = child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(&predicate));
        let status = child.wait().map_err(unrunnable)?;
        match (status.success(), written) {
            (true, Ok(())) => Ok(()),
            (true, Err(error)) => Err(CliError::failed("cosign attest did not read the predicate").caused_by(&error)),
            (false, _) => Err(CliError::failed(format!("cosign attest ended with {status}"))),
        }
    }

    /// `cosign verify`: what it printed; its last words are the reason of a refusal.
    pub(crate) fn verify(&self, name: &Reference, digest: &Digest, identity: Identity<'_>) -> Result<String> {
        let mut command = self.command("verify", name);
        accepted(command.args(identity.flags()), name, digest)
    }

    /// `cosign verify-attestation` for a type of predicate.
    pub(crate) fn verify_attestation(
        &self,
        name: &Reference,
        digest: &Digest,
        identity: Identity<'_>,
        predicate_type: &str,
    ) -> Result<String> {
        let mut command = self.command("verify-attestation", name);
        accepted(command.args(["--type", predicate_type]).args(identity.flags()), name, digest)
            .map_err(|error| CliError { message: format!("{} (attestation {predicate_type})", error.message), ..error })
    }
}

fn unrunnable(error: std::io::Error) -> CliError {
    CliError::io("run", "cosign".as_ref(), &error)
}

fn accepted(command: &mut Command, name: &Reference, digest: &Digest) -> Result<String> {
    let output =
        command.arg(super::bare(name, digest).to_string()).stdin(Stdio::null()).output().map_err(unrunnable)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it gave no reason");
    Err(CliError::failed(format!("{} is not accepted by cosign: {}", name.familiar(), last.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_with_stars_are_regular_expressions() {
        let flags = |subject| Identity { subject, issuer: "https://i" }.flags()[..2].join(" ");
        assert_eq!(flags("me@example.com"), "--certificate-identity me@example.com");
        assert_eq!(
            flags("https://github.com/a/b/.github/workflows/x.yml@refs/tags/*"),
            r"--certificate-identity-regexp ^https://github\.com/a/b/\.github/workflows/x\.yml@refs/tags/.*$"
        );
    }
}
