//! Requests to cache services: tried again where that helps, errors without what a URL's query hides.
use super::unusable;
use crate::error::{BuildError, Result};
use reqwest::StatusCode;
use reqwest::blocking::{RequestBuilder, Response};
use std::time::Duration;

/// How often a request is tried.
const ATTEMPTS: u32 = 4;

/// Sends a request; `make` is called again for each attempt. The answer may be any status that another attempt does not
/// mend.
///
/// # Errors
/// Where there is no answer, or none but "later".
pub(super) fn send(what: &str, make: &dyn Fn() -> Result<RequestBuilder>) -> Result<Response> {
    let mut pause = Duration::from_millis(200);
    for attempt in 1.. {
        let last = attempt == ATTEMPTS;
        match make()?.send() {
            Ok(answer) if !last && is_passing(answer.status()) => {
                let asked = answer.headers().get("retry-after").and_then(|v| v.to_str().ok()?.parse().ok());
                std::thread::sleep(asked.map_or(pause, |seconds: u64| Duration::from_secs(seconds.min(30))));
            }
            Ok(answer) => return Ok(answer),
            Err(error) if last || error.is_builder() || error.is_redirect() => return Err(failed(what, &error)),
            Err(_) => std::thread::sleep(pause),
        }
        pause *= 2;
    }
    unreachable!("the loop ends with the last attempt")
}

fn is_passing(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT)
}

/// The innermost cause: the outer ones repeat the URL, whose query may be a credential.
fn failed(what: &str, error: &reqwest::Error) -> BuildError {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    if error.is_timeout() {
        return unusable(format!("cannot {what}: no answer in time"));
    }
    unusable(format!("cannot {what}: {cause}"))
}

/// The error of an answer that is no success: its status and what the server says.
pub(super) fn refused(what: &str, answer: Response) -> BuildError {
    let status = answer.status();
    let mut text = Vec::new();
    let _ = std::io::Read::read_to_end(&mut std::io::Read::take(answer, 4096), &mut text);
    let text = String::from_utf8_lossy(&text);
    let said = message(&text).map_or(String::new(), |said| format!(": {said}"));
    let error = unusable(format!("cannot {what}: the server answered {status}{said}"));
    match status.as_u16() {
        401 | 403 => error.hint("check the credentials, and what they allow"),
        _ => error,
    }
}

/// What an error body says, in S3's XML or in JSON.
fn message(text: &str) -> Option<String> {
    if let Ok(json) = serde_json::from_str::<serde_json::Value>(text) {
        let said = json.get("msg").or_else(|| json.get("message"))?.as_str()?;
        return Some(said.to_owned());
    }
    let tag = |name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        rest.split_once("</").map(|(inside, _)| inside.to_owned())
    };
    match (tag("Code"), tag("Message")) {
        (Some(code), Some(message)) => Some(format!("{code}: {message}")),
        (code, message) => code.or(message),
    }
}

/// Reads a small body whole.
pub(super) fn body(what: &str, answer: Response, limit: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut std::io::Read::take(answer, limit + 1), &mut bytes)
        .map_err(|e| unusable(format!("cannot {what}: the connection broke ({e})")))?;
    if bytes.len() as u64 > limit {
        return Err(unusable(format!("cannot {what}: it is larger than {limit} bytes")));
    }
    Ok(bytes)
}
