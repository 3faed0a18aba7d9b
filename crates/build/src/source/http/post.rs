//! Sending a small document, such as traces to a collector.
use super::{HttpClient, chain};
use crate::source::redact;
use std::time::Duration;

/// Why a document was not taken.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    /// No answer, or the connection broke; where, and why.
    #[error("cannot send to {0}: {1}")]
    Transport(String, String),
    /// The server refused; who, and the status with its reason.
    #[error("{0} answered {1}")]
    Status(String, String),
}

impl HttpClient {
    /// Posts `body` and waits for the answer, at most `timeout`. Nothing is tried again.
    ///
    /// # Errors
    /// [`PostError`]; its text holds no credentials of the URL.
    pub fn post(
        &self,
        url: &str,
        headers: &[(String, String)],
        body: Vec<u8>,
        timeout: Duration,
    ) -> Result<(), PostError> {
        let fail = |e: reqwest::Error| PostError::Transport(redact(url), chain(&e.without_url()));
        let mut request = self.0.post(url).timeout(timeout).body(body);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let status = request.send().map_err(fail)?.status();
        if status.is_success() { Ok(()) } else { Err(PostError::Status(redact(url), status.to_string())) }
    }
}
