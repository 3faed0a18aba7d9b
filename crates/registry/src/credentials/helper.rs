//! Credential helpers: programs `docker-credential-NAME` that speak JSON over their standard streams.
//!
//! A helper may hang (a locked keychain, a metadata service that is not there), so it has a time limit
//! after which it is killed. Its secrets are never part of an error.
use super::secret::Credential;
use super::{CredentialSources, file};
use serde_json::Value;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

const OUTPUT_LIMIT: u64 = 1 << 20;

/// A helper program that was found.
#[derive(Debug)]
pub(super) struct Helper {
    name: String,
    program: PathBuf,
    limit: Duration,
}

impl Helper {
    /// Looks for `docker-credential-NAME` in the given `PATH`.
    pub(super) fn find(sources: &CredentialSources, name: &str) -> Result<Self, String> {
        let fine = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        if !fine {
            return Err(format!("{name:?} is no name of a credential helper"));
        }
        let file = format!("docker-credential-{name}");
        let program = sources
            .path
            .as_ref()
            .and_then(|path| std::env::split_paths(path).map(|d| d.join(&file)).find(|p| p.is_file()))
            .ok_or_else(|| format!("the credential helper {file} is not in PATH"))?;
        let limit = sources.helper_timeout.unwrap_or(Duration::from_secs(30));
        Ok(Self { name: name.to_owned(), program, limit })
    }

    /// Asks for a server's credential; `None` where the helper has none.
    pub(super) fn get(&self, server: &str) -> Result<Option<Credential>, String> {
        let (status, output, words) = self.run("get", server.as_bytes())?;
        if !status.success() {
            let said = format!("{} {words}", String::from_utf8_lossy(&output));
            let none = ["credentials not found", "no credentials", "not found in native keychain"];
            if none.iter().any(|text| said.contains(text)) {
                return Ok(None);
            }
            return Err(self.failure("get", status, &said));
        }
        let answer: Value =
            serde_json::from_slice(&output).map_err(|_| format!("docker-credential-{} gave no JSON", self.name))?;
        let text = |key: &str| answer.get(key).and_then(Value::as_str).unwrap_or("");
        let (username, secret) = (text("Username"), text("Secret"));
        Ok(if secret.is_empty() && username.is_empty() { None } else { Some(file::named(username, secret)) })
    }

    /// Stores a credential.
    pub(super) fn store(&self, server: &str, credential: &Credential) -> Result<(), String> {
        let (username, secret) = match credential {
            Credential::Basic { username, password } => (username.as_str(), password.expose()),
            Credential::IdentityToken(token) => ("<token>", token.expose()),
            Credential::RegistryToken(_) => return Err("a credential helper cannot store a registry token".to_owned()),
        };
        let input = serde_json::json!({ "ServerURL": server, "Username": username, "Secret": secret });
        let (status, output, words) = self.run("store", input.to_string().as_bytes())?;
        if status.success() {
            return Ok(());
        }
        // A helper that quotes what it was given must not make it public.
        let said = format!("{} {words}", String::from_utf8_lossy(&output)).replace(secret, "…");
        Err(self.failure("store", status, &said))
    }

    /// Removes a server's credential; that there was none is no error.
    pub(super) fn erase(&self, server: &str) -> Result<(), String> {
        let (status, output, words) = self.run("erase", server.as_bytes())?;
        let said = format!("{} {words}", String::from_utf8_lossy(&output));
        if status.success() || said.contains("not found") {
            return Ok(());
        }
        Err(self.failure("erase", status, &said))
    }

    fn failure(&self, verb: &str, status: ExitStatus, said: &str) -> String {
        format!("docker-credential-{} {verb} failed ({status}): {}", self.name, crate::error::clean(said.trim(), 200))
    }

    fn run(&self, verb: &str, input: &[u8]) -> Result<(ExitStatus, Vec<u8>, String), String> {
        let describe = |e: &dyn std::fmt::Display| format!("cannot run {}: {e}", self.program.display());
        let mut command = Command::new(&self.program);
        command.arg(verb).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let deadline = Instant::now() + self.limit;
        let mut child = loop {
            match command.spawn() {
                Ok(child) => break child,
                // Somebody is writing the program: it is being installed.
                Err(e) if e.kind() == std::io::ErrorKind::ExecutableFileBusy && Instant::now() < deadline => {
                    thread::sleep(Duration::from_millis(2));
                }
                Err(e) => return Err(describe(&e)),
            }
        };
        // Threads: a helper may write before it reads, or leave a pipe open in a child of its own.
        if let Some(mut stdin) = child.stdin.take() {
            let input = input.to_vec();
            thread::spawn(move || {
                // A helper that does not read its input says why by its exit status.
                let _ = stdin.write_all(&input);
            });
        }
        let output = drain(child.stdout.take());
        let words = drain(child.stderr.take());
        let result = self.collect(&mut child, deadline, &output, &words);
        if result.is_err() {
            // It may have ended in the meantime; then there is nothing to kill.
            let _ = child.kill();
            let _ = child.wait();
        }
        result
    }

    fn collect(
        &self,
        child: &mut Child,
        deadline: Instant,
        output: &mpsc::Receiver<Vec<u8>>,
        words: &mpsc::Receiver<Vec<u8>>,
    ) -> Result<(ExitStatus, Vec<u8>, String), String> {
        let late = || format!("docker-credential-{} did not answer within {} s", self.name, self.limit.as_secs_f32());
        let rest = || deadline.saturating_duration_since(Instant::now());
        let out = output.recv_timeout(rest()).map_err(|_| late())?;
        let err = words.recv_timeout(rest()).map_err(|_| late())?;
        loop {
            match child.try_wait() {
                Ok(Some(status)) => return Ok((status, out, String::from_utf8_lossy(&err).into_owned())),
                Ok(None) if rest().is_zero() => return Err(late()),
                Ok(None) => thread::sleep(Duration::from_millis(1)),
                Err(e) => return Err(format!("docker-credential-{}: {e}", self.name)),
            }
        }
    }
}

fn drain(stream: Option<impl Read + Send + 'static>) -> mpsc::Receiver<Vec<u8>> {
    let (done, result) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(stream) = stream {
            // What was read before an error counts.
            let _ = stream.take(OUTPUT_LIMIT).read_to_end(&mut bytes);
        }
        let _ = done.send(bytes);
    });
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn helper(script: &str) -> (tempfile::TempDir, CredentialSources) {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("docker-credential-test");
        std::fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        let sources = CredentialSources {
            path: Some(directory.path().as_os_str().to_owned()),
            helper_timeout: Some(Duration::from_secs(10)),
            ..CredentialSources::default()
        };
        (directory, sources)
    }

    #[test]
    fn gets_users_and_tokens() {
        let (_keep, sources) =
            helper(r#"read server; printf '{"ServerURL":"%s","Username":"u","Secret":"for %s"}' "$server" "$server""#);
        let found = Helper::find(&sources, "test").unwrap().get("r.io").unwrap();
        assert_eq!(found, Some(Credential::basic("u", "for r.io")));
        let (_keep, sources) = helper(r#"printf '{"Username":"<token>","Secret":"t"}'"#);
        let found = Helper::find(&sources, "test").unwrap().get("r.io").unwrap();
        assert_eq!(found, Some(Credential::IdentityToken("t".into())));
    }

    #[test]
    fn nothing_found_is_no_failure() {
        let (_keep, sources) = helper("echo credentials not found in native keychain; exit 1");
        assert_eq!(Helper::find(&sources, "test").unwrap().get("r.io").unwrap(), None);
    }

    #[test]
    fn failures_say_who() {
        let (_keep, sources) = helper("echo the vault is locked >&2; exit 3");
        let error = Helper::find(&sources, "test").unwrap().get("r.io").unwrap_err();
        assert_eq!(error, "docker-credential-test get failed (exit status: 3): the vault is locked");
        let error = Helper::find(&sources, "absent").unwrap_err();
        assert_eq!(error, "the credential helper docker-credential-absent is not in PATH");
        assert!(Helper::find(&sources, "../../bin/sh").is_err());
        let (_keep, sources) = helper("cat; exit 1");
        let error =
            Helper::find(&sources, "test").unwrap().store("r.io", &Credential::basic("u", "hidden!")).unwrap_err();
        assert!(!error.contains("hidden!"), "{error}");
    }

    #[test]
    fn a_helper_that_hangs_is_killed() {
        let (_keep, mut sources) = helper("exec sleep 1000");
        sources.helper_timeout = Some(Duration::from_millis(50));
        let error = Helper::find(&sources, "test").unwrap().get("r.io").unwrap_err();
        assert_eq!(error, "docker-credential-test did not answer within 0.05 s");
    }
}
