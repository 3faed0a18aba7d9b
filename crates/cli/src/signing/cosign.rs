//! Signing without a key: the program `cosign` asks an identity provider, where it is installed.
use std::path::PathBuf;
use std::process::{Command, Stdio};

use oci::{Digest, Reference};

use crate::env::Env;
use crate::error::{CliError, Result};

/// The program.
fn cosign(env: &Env) -> Result<PathBuf> {
    let path = env.get("PATH").unwrap_or("/usr/local/bin:/usr/bin:/bin");
    std::env::split_paths(path).map(|dir| dir.join("cosign")).find(|file| file.is_file()).ok_or_else(|| {
        CliError::usage("signing without a key needs the program cosign, and it is not installed")
            .hint("install it (https://docs.sigstore.dev), or use a key: cooperage key generate")
    })
}

/// `cosign sign IMAGE@DIGEST`, speaking to the user itself.
pub(crate) fn sign(name: &Reference, digest: &Digest, yes: bool, env: &Env) -> Result<()> {
    let mut command = Command::new(cosign(env)?);
    command.arg("sign").arg(super::bare(name, digest).to_string());
    if yes || !env.stdin_terminal {
        command.arg("--yes");
    }
    let status = command.status().map_err(|e| CliError::io("run", "cosign".as_ref(), &e))?;
    if status.success() { Ok(()) } else { Err(CliError::failed(format!("cosign sign ended with {status}"))) }
}

/// `cosign verify`; its last words are the reason of a refusal.
pub(crate) fn verify(name: &Reference, digest: &Digest, subject: &str, issuer: &str, env: &Env) -> Result<String> {
    let output = Command::new(cosign(env)?)
        .args(["verify", "--certificate-identity", subject, "--certificate-oidc-issuer", issuer])
        .arg(super::bare(name, digest).to_string())
        .stdin(Stdio::null())
        .output()
        .map_err(|e| CliError::io("run", "cosign".as_ref(), &e))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it gave no reason");
    Err(CliError::failed(format!("{} is not accepted by cosign: {}", name.familiar(), last.trim())))
}
