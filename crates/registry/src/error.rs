//! What can go wrong with a registry, said so that a user knows what to do next.
//!
//! `Display` is one line: what was done, with which registry or repository, and why it failed (with
//! the HTTP status and the registry's own words). [`Error::hint`] says what to do next. URLs lose
//! their query and user part before they get here: a presigned URL is a credential.
use reqwest::StatusCode;
use serde::Deserialize;
use std::fmt;
use std::io;

/// What kind of failure it is: enough to decide what to do, without reading the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The registry wants credentials, or does not accept those that were given (401).
    Unauthorized,
    /// The credentials do not allow it (403, or `DENIED`).
    Forbidden,
    /// There is no such manifest, blob, tag or repository (404).
    NotFound,
    /// Too many requests (429), still after the retries.
    RateLimited,
    /// The registry fails (5xx), still after the retries.
    Unavailable,
    /// The registry refused what was sent (400, 409, 413, 416 and the like).
    Refused,
    /// The registry cannot do this (405, `UNSUPPORTED`).
    Unsupported,
    /// The server's certificate is not trusted, expired or made for another name.
    Certificate,
    /// One side speaks TLS and the other does not.
    NotTls,
    /// The host's name cannot be resolved.
    Dns,
    /// The host cannot be reached.
    Connect,
    /// No answer in time.
    Timeout,
    /// The connection broke.
    Interrupted,
    /// The content is not what its digest or size says.
    Digest,
    /// The answer is larger than this client accepts.
    TooLarge,
    /// A redirect that is not followed: a loop, or another scheme than HTTP(S).
    Redirect,
    /// An answer that breaks the protocol.
    Protocol,
    /// Credentials or their helper could not be read.
    Credentials,
    /// What should be sent could not be read.
    Source,
    /// An option makes no sense: a bad CA file, proxy or mirror.
    Options,
    /// [`crate::Client::cancel`] was called.
    Cancelled,
}

/// One entry of a registry's error body.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RegistryMessage {
    /// `MANIFEST_UNKNOWN` and the like; empty where the registry gave none.
    #[serde(default)]
    pub code: String,
    /// The registry's words.
    #[serde(default)]
    pub message: String,
}

impl fmt::Display for RegistryMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code.as_str(), self.message.as_str()) {
            ("", message) => f.write_str(message),
            (code, "") => f.write_str(code),
            (code, message) => write!(f, "{code}: {message}"),
        }
    }
}

/// A failed operation on a registry.
#[derive(Debug, Clone)]
pub struct Error(Box<Inner>);

#[derive(Debug, Clone)]
struct Inner {
    kind: ErrorKind,
    what: String,
    why: String,
    status: Option<u16>,
    speaker: &'static str,
    messages: Vec<RegistryMessage>,
    hint: Option<String>,
    notes: Vec<String>,
}

impl Error {
    /// A failure with its reason; [`Error::doing`] adds what was tried.
    pub(crate) fn new(kind: ErrorKind, why: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            what: String::new(),
            why: why.into(),
            status: None,
            speaker: "the registry",
            messages: Vec::new(),
            hint: None,
            notes: Vec::new(),
        }))
    }

    /// What an HTTP answer that is no success means.
    pub(crate) fn from_status(status: StatusCode, messages: Vec<RegistryMessage>) -> Self {
        let denied = messages.iter().any(|m| m.code == "DENIED");
        let unsupported = messages.iter().any(|m| m.code == "UNSUPPORTED");
        let kind = match status.as_u16() {
            401 => ErrorKind::Unauthorized,
            403 => ErrorKind::Forbidden,
            _ if denied => ErrorKind::Forbidden,
            404 => ErrorKind::NotFound,
            408 => ErrorKind::Timeout,
            405 => ErrorKind::Unsupported,
            429 => ErrorKind::RateLimited,
            _ if unsupported => ErrorKind::Unsupported,
            500..=599 => ErrorKind::Unavailable,
            400..=499 => ErrorKind::Refused,
            300..=399 => ErrorKind::Redirect,
            _ => ErrorKind::Protocol,
        };
        let mut error = Self::new(kind, String::new());
        error.0.status = Some(status.as_u16());
        error.0.messages = messages;
        error
    }

    /// Says that another server than the registry gave this answer.
    #[must_use]
    pub(crate) fn by(mut self, speaker: &'static str) -> Self {
        self.0.speaker = speaker;
        self
    }

    /// What was being done, as `pull manifest of host/name:tag`: it reads well after "cannot". The
    /// innermost description stays.
    #[must_use]
    pub(crate) fn doing(mut self, what: impl FnOnce() -> String) -> Self {
        if self.0.what.is_empty() {
            self.0.what = what();
        }
        self
    }

    /// Sets what the user can do next, where nothing better is known yet.
    #[must_use]
    pub(crate) fn or_hint(mut self, hint: impl FnOnce() -> Option<String>) -> Self {
        if self.0.hint.is_none() {
            self.0.hint = hint();
        }
        self
    }

    /// Sets what the user can do next, whatever was said before.
    #[must_use]
    pub(crate) fn instead_hint(mut self, hint: &str) -> Self {
        self.0.hint = Some(hint.to_owned());
        self
    }

    /// Adds a fact that helps to understand: a failed mirror, a failed credential helper.
    #[must_use]
    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        let note = note.into();
        if !self.0.notes.contains(&note) {
            self.0.notes.push(note);
        }
        self
    }

    /// What kind of failure it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The HTTP status that the registry answered with, where it answered.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.0.status
    }

    /// The registry's own error entries.
    #[must_use]
    pub fn messages(&self) -> &[RegistryMessage] {
        &self.0.messages
    }

    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref().or_else(|| usual_hint(self.0.kind))
    }

    /// More facts: mirrors that failed before, a credential helper that failed.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.0.notes
    }

    /// Whether the same request may work a little later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(
            self.0.kind,
            ErrorKind::RateLimited | ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::Interrupted
        ) && self.0.status != Some(501)
    }

    /// The registry error inside an I/O error of a [`crate::BlobReader`].
    #[must_use]
    pub fn from_io(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match error.kind() {
            ErrorKind::NotFound => io::ErrorKind::NotFound,
            ErrorKind::Unauthorized | ErrorKind::Forbidden => io::ErrorKind::PermissionDenied,
            ErrorKind::Timeout => io::ErrorKind::TimedOut,
            ErrorKind::Digest | ErrorKind::Protocol | ErrorKind::TooLarge => io::ErrorKind::InvalidData,
            ErrorKind::Interrupted => io::ErrorKind::ConnectionReset,
            ErrorKind::Connect => io::ErrorKind::ConnectionRefused,
            _ => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

impl std::error::Error for Error {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.0.what.is_empty() {
            write!(f, "cannot {}: ", self.0.what)?;
        }
        let mut separator = "";
        if !self.0.why.is_empty() {
            f.write_str(&self.0.why)?;
            separator = ": ";
        }
        if let Some(status) = self.0.status {
            let reason = StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason()).unwrap_or("");
            write!(f, "{separator}{} answered {status} {reason}", self.0.speaker)?;
            let mut separator = ": ";
            for message in &self.0.messages {
                write!(f, "{separator}{message}")?;
                separator = "; ";
            }
        }
        Ok(())
    }
}

/// What helps where nothing better is known.
fn usual_hint(kind: ErrorKind) -> Option<&'static str> {
    Some(match kind {
        ErrorKind::Unavailable => "the trouble is on the server's side: try again later",
        ErrorKind::Timeout | ErrorKind::Interrupted => "check the network and any proxy on the way, then try again",
        ErrorKind::TooLarge => "this is not what a registry holds for an image: check the reference",
        ErrorKind::Protocol => {
            "check that the address is that of a registry; if it is, tell its administrator about this answer"
        }
        ErrorKind::Redirect => "the registry, or a proxy in front of it, is set up wrongly: tell its administrator",
        ErrorKind::Unsupported => "this registry does not offer that",
        ErrorKind::Digest => {
            "the content was damaged in the registry or on its way: try again, and if that does not help, push it anew"
        }
        ErrorKind::Source => "the local copy changed or is damaged: build again",
        _ => return None,
    })
}

/// The largest error body that is read.
pub(crate) const ERROR_BODY_LIMIT: usize = 64 * 1024;

/// The entries of an error body: the specification's `errors`, the `details`/`error` of token
/// servers, `message`, or a short plain text. Control characters go, long texts are cut.
pub(crate) fn parse_error_body(body: &[u8], content_type: &str) -> Vec<RegistryMessage> {
    if let Ok(value) = serde_json::from_slice::<serde_json::Value>(body) {
        let text = |v: &serde_json::Value, key: &str| clean(v.get(key).and_then(|t| t.as_str()).unwrap_or(""), 400);
        if let Some(list) = value.get("errors").and_then(|e| e.as_array()) {
            return list
                .iter()
                .take(4)
                .map(|entry| RegistryMessage {
                    code: clean(entry.get("code").and_then(|c| c.as_str()).unwrap_or(""), 64),
                    message: text(entry, "message"),
                })
                .filter(|m| !(m.code.is_empty() && m.message.is_empty()))
                .collect();
        }
        for key in ["error_description", "details", "message", "error"] {
            let message = text(&value, key);
            if !message.is_empty() {
                return vec![RegistryMessage { code: String::new(), message }];
            }
        }
        return Vec::new();
    }
    if content_type.starts_with("text/plain")
        && let Ok(text) = std::str::from_utf8(body)
        && !text.trim().is_empty()
    {
        return vec![RegistryMessage { code: String::new(), message: clean(text.trim(), 200) }];
    }
    Vec::new()
}

/// A text from outside as one line of printable characters, cut at `limit` characters.
pub(crate) fn clean(text: &str, limit: usize) -> String {
    let mut out: String = text.chars().take(limit).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(limit).is_some() {
        out.push('…');
    }
    out
}

/// A duration for people: `60 s`, `0.2 s`.
pub(crate) fn seconds(duration: std::time::Duration) -> String {
    format!("{} s", (duration.as_secs_f64() * 10.0).round() / 10.0)
}

/// A URL for people: no user, no query, no fragment.
pub(crate) fn bare_url(url: &reqwest::Url) -> String {
    let mut bare = url.clone();
    bare.set_query(None);
    bare.set_fragment(None);
    // These fail for URLs that can have no user part, which is what is wanted.
    let _ = bare.set_username("");
    let _ = bare.set_password(None);
    clean(bare.as_str(), 300)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_error_bodies_of_every_dialect() {
        let show = |body: &str, kind: &str| {
            parse_error_body(body.as_bytes(), kind).iter().map(ToString::to_string).collect::<Vec<_>>().join("|")
        };
        assert_eq!(
            show(r#"{"errors":[{"code":"DENIED","message":"no"},{"code":"X"}]}"#, "application/json"),
            "DENIED: no|X"
        );
        assert_eq!(show(r#"{"details":"incorrect username or password"}"#, ""), "incorrect username or password");
        assert_eq!(show("404 page not found\n", "text/plain; charset=utf-8"), "404 page not found");
        assert_eq!(show("<html>hello</html>", "text/html"), "");
        assert_eq!(show("{\"message\":\"a\\u001b[31mred\"}", ""), "a [31mred");
        assert_eq!(show("[1,2]", ""), "");
    }

    #[test]
    fn urls_lose_what_is_secret() {
        let url = "https://user:pass@host/path?X-Amz-Signature=abc#f".parse().unwrap();
        assert_eq!(bare_url(&url), "https://host/path");
    }
}
