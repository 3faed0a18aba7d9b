//! Files behind HTTP(S): what `ADD https://…`, remote Dockerfiles and remote archives need.
//!
//! A body is streamed to a temporary file while it is hashed, so memory does not grow with it. The
//! time of the file is `Last-Modified`, or the epoch where the server says nothing: the moment of
//! the download never reaches an image. Credentials go to the host of the URL alone.
mod post;

pub use post::PostError;

use std::io::{Read, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

use oci::{Digest, Digester};
use registry::{ProxyVariables, TrustStore};
use reqwest::StatusCode;
use reqwest::blocking::{Client, Response};
use reqwest::header;

use super::git::percent_decode;
use super::{Cancelled, redact};

/// What can go wrong with a download.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// The text is no HTTP(S) URL.
    #[error("invalid URL {url}: {why}")]
    Url {
        /// The text, without credentials.
        url: String,
        /// What is wrong.
        why: String,
    },
    /// The client could not be made.
    #[error("cannot set up HTTPS: {0}")]
    Setup(String),
    /// No answer, or the connection broke.
    #[error("cannot download {url}: {why}")]
    Transport {
        /// What was to be downloaded.
        url: String,
        /// The innermost causes.
        why: String,
    },
    /// The server refused.
    #[error("cannot download {url}: the server answered {status}")]
    Status {
        /// What was to be downloaded.
        url: String,
        /// The status with its reason: `404 Not Found`.
        status: String,
        /// The number.
        code: u16,
    },
    /// The content is not what the checksum says.
    #[error("{url}: the content has digest {actual}, but the checksum asks for {expected}")]
    Checksum {
        /// What was downloaded.
        url: String,
        /// What was asked for.
        expected: Digest,
        /// What came.
        actual: Digest,
    },
    /// Less came than was announced.
    #[error("{url}: the connection ended after {got} of {expected} bytes")]
    Truncated {
        /// What was downloaded.
        url: String,
        /// Bytes that came.
        got: u64,
        /// Bytes announced.
        expected: u64,
    },
    /// The temporary file could not be written.
    #[error("cannot write {path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
    /// The build was cancelled.
    #[error("cancelled")]
    Cancelled,
}

impl HttpError {
    /// What the user can do, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Status { code: 401 | 403, url, .. } => {
                let host = reqwest::Url::parse(url).ok()?.host_str()?.to_owned();
                Some(format!("where it needs a token: --secret id=HTTP_AUTH_TOKEN_{host},env=VARIABLE"))
            }
            Self::Status { code: 404 | 410, .. } => Some("check the URL; the file may have moved".into()),
            Self::Checksum { actual, .. } => {
                Some(format!("where this content is the right one, write {actual}; where not, do not use it"))
            }
            Self::Transport { why, .. } if why.contains("certificate") => {
                Some("where a company's proxy signs certificates, trust its CA: --registry-ca FILE".into())
            }
            Self::Transport { .. } => Some("check the host's name, the network, and the proxy variables".into()),
            _ => None,
        }
    }
}

/// A client for downloads; cheap to clone.
#[derive(Debug, Clone)]
pub struct HttpClient(Client);

/// One download.
pub struct Request<'a> {
    /// `http(s)://…`
    pub url: &'a str,
    /// What the content must hash to.
    pub checksum: Option<&'a Digest>,
    /// The value of `Authorization`, from the secrets `HTTP_AUTH_HEADER_HOST` and `HTTP_AUTH_TOKEN_HOST`.
    pub authorization: Option<&'a str>,
    /// The `ETag` of an earlier download: the answer may then be [`Answer::NotModified`].
    pub etag: Option<&'a str>,
    /// Where the temporary file is made.
    pub temp_dir: &'a Path,
    /// Told about bytes so far and in all.
    pub progress: &'a (dyn Fn(u64, Option<u64>) + Sync),
    /// Whether to stop.
    pub cancelled: Cancelled<'a>,
}

impl std::fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request")
            .field("url", &redact(self.url))
            .field("checksum", &self.checksum)
            .finish_non_exhaustive()
    }
}

/// What came back.
#[derive(Debug)]
pub enum Answer {
    /// The file.
    File(Download),
    /// The content is that of the given `ETag`.
    NotModified,
}

/// A downloaded file.
#[derive(Debug)]
pub struct Download {
    /// The content; removed when this is dropped.
    pub file: tempfile::NamedTempFile,
    /// Its size.
    pub size: u64,
    /// The SHA-256 of the content.
    pub digest: Digest,
    /// `Last-Modified`.
    pub last_modified: Option<SystemTime>,
    /// `ETag`, a weak one without its `W/`.
    pub etag: Option<String>,
    /// The name that the server gives, else the URL's (BuildKit's rules).
    pub file_name: String,
}

/// How often a download is tried.
const ATTEMPTS: u32 = 4;

impl HttpClient {
    /// A client with the certificate authorities and proxies of the registry client.
    ///
    /// # Errors
    /// [`HttpError::Setup`] where a certificate file cannot be read or a proxy's URL is invalid.
    pub fn new(trust: &TrustStore, proxy: &ProxyVariables, user_agent: &str) -> Result<Self, HttpError> {
        // Idempotent: whoever comes first installs it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = Client::builder()
            .user_agent(user_agent)
            .connect_timeout(Duration::from_secs(20))
            .timeout(Duration::from_secs(60))
            .redirect(reqwest::redirect::Policy::limited(10))
            .no_proxy()
            .tls_backend_preconfigured(registry::tls_config(trust).map_err(|e| HttpError::Setup(e.to_string()))?);
        let no_proxy = proxy.no_proxy.as_deref().and_then(reqwest::NoProxy::from_string);
        let mut add = |url: &Option<String>, make: fn(&str) -> reqwest::Result<reqwest::Proxy>| {
            let Some(url) = url else { return Ok(()) };
            let url = if url.contains("://") { url.clone() } else { format!("http://{url}") };
            let proxy = make(&url).map_err(|e| HttpError::Setup(format!("proxy {}: {e}", redact(&url))))?;
            let taken = std::mem::take(&mut builder);
            builder = taken.proxy(proxy.no_proxy(no_proxy.clone()));
            Ok::<(), HttpError>(())
        };
        add(&proxy.https, |url| reqwest::Proxy::https(url))?;
        add(&proxy.http, |url| reqwest::Proxy::http(url))?;
        add(&proxy.all, |url| reqwest::Proxy::all(url))?;
        builder.build().map(Self).map_err(|e| HttpError::Setup(chain(&e)))
    }

    /// The client below, with the same certificates and proxies.
    pub(crate) fn client(&self) -> &Client {
        &self.0
    }

    /// Sends a JSON document, three times at most. The URL, which may be a secret, is in no error.
    ///
    /// # Errors
    /// Why it did not arrive, in words.
    pub fn post_json(&self, url: &str, body: &serde_json::Value) -> Result<(), String> {
        let mut last = String::new();
        for attempt in 0..3u32 {
            if attempt > 0 {
                std::thread::sleep(Duration::from_millis(300) * 3u32.pow(attempt - 1));
            }
            match self.0.post(url).timeout(Duration::from_secs(15)).json(body).send() {
                Ok(answer) if answer.status().is_success() => return Ok(()),
                Ok(answer) if answer.status().is_server_error() || answer.status() == 429 => {
                    last = format!("the server says {}", answer.status());
                }
                Ok(answer) => return Err(format!("the server says {}", answer.status())),
                Err(error) => last = chain(&error.without_url()),
            }
        }
        Err(last)
    }

    /// Downloads a file.
    ///
    /// Broken connections and 5xx, 408 and 429 answers are tried again, with pauses.
    ///
    /// # Errors
    /// [`HttpError`]; no temporary file is left then.
    pub fn download(&self, request: &Request<'_>) -> Result<Answer, HttpError> {
        let mut pause = Duration::from_millis(300);
        for attempt in 1.. {
            match self.attempt(request) {
                Err(error) if attempt < ATTEMPTS && is_transient(&error) => {
                    let until = std::time::Instant::now() + pause;
                    while std::time::Instant::now() < until {
                        if (request.cancelled)() {
                            return Err(HttpError::Cancelled);
                        }
                        std::thread::sleep(Duration::from_millis(20));
                    }
                    pause *= 3;
                }
                other => return other,
            }
        }
        Err(HttpError::Cancelled)
    }

    /// One try, on a thread of its own: a server that stands still does not keep a cancelled build.
    fn attempt(&self, request: &Request<'_>) -> Result<Answer, HttpError> {
        if (request.cancelled)() {
            return Err(HttpError::Cancelled);
        }
        let shown = redact(request.url);
        let url =
            reqwest::Url::parse(request.url).map_err(|e| HttpError::Url { url: shown.clone(), why: e.to_string() })?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(HttpError::Url { url: shown, why: format!("{}: is not http: or https:", url.scheme()) });
        }
        let mut get = self.0.get(url).header(header::ACCEPT, "*/*");
        if let Some(value) = request.authorization {
            let mut value = header::HeaderValue::from_str(value.trim())
                .map_err(|_| HttpError::Url { url: shown.clone(), why: "the secret is no valid header".into() })?;
            value.set_sensitive(true);
            get = get.header(header::AUTHORIZATION, value);
        }
        if let Some(etag) = request.etag {
            get = get.header(header::IF_NONE_MATCH, etag);
        }
        let job = Job {
            get,
            url: request.url.to_owned(),
            shown: shown.clone(),
            checksum: request.checksum.cloned(),
            conditional: request.etag.is_some(),
            temp_dir: request.temp_dir.to_owned(),
        };
        let (sender, receiver) = std::sync::mpsc::sync_channel(4);
        let spawned = std::thread::Builder::new().name("download".into()).spawn(move || {
            let answer = job.run(&|current, total| sender.send(Step::Progress(current, total)).is_ok());
            let _ = sender.send(Step::Done(answer));
        });
        spawned.map_err(|source| HttpError::Io { path: "a thread".into(), source })?;
        loop {
            use std::sync::mpsc::RecvTimeoutError::{Disconnected, Timeout};
            match receiver.recv_timeout(Duration::from_millis(20)) {
                Ok(Step::Progress(current, total)) => (request.progress)(current, total),
                Ok(Step::Done(answer)) => return answer,
                Err(Timeout) => {}
                Err(Disconnected) => {
                    return Err(HttpError::Transport { url: shown, why: "the download ended unexpectedly".into() });
                }
            }
            if (request.cancelled)() {
                return Err(HttpError::Cancelled);
            }
        }
    }
}

/// What the thread of a download reports.
enum Step {
    Progress(u64, Option<u64>),
    Done(Result<Answer, HttpError>),
}

/// A download, with all that it needs.
struct Job {
    get: reqwest::blocking::RequestBuilder,
    url: String,
    shown: String,
    checksum: Option<Digest>,
    conditional: bool,
    temp_dir: std::path::PathBuf,
}

impl Job {
    /// Ends early where `progress` says that nobody waits any more.
    fn run(self, progress: &dyn Fn(u64, Option<u64>) -> bool) -> Result<Answer, HttpError> {
        let Self { get, url, shown, checksum, conditional, temp_dir } = self;
        let response = get.send().map_err(|e| HttpError::Transport { url: shown.clone(), why: chain(&e) })?;
        let status = response.status();
        if status == StatusCode::NOT_MODIFIED && conditional {
            return Ok(Answer::NotModified);
        }
        if !status.is_success() {
            return Err(HttpError::Status { url: shown, status: status.to_string(), code: status.as_u16() });
        }
        save(response, &url, &shown, checksum.as_ref(), &temp_dir, progress).map(Answer::File)
    }
}

fn save(
    mut response: Response,
    url: &str,
    shown: &str,
    checksum: Option<&Digest>,
    temp_dir: &Path,
    progress: &dyn Fn(u64, Option<u64>) -> bool,
) -> Result<Download, HttpError> {
    let text = |name: header::HeaderName| response.headers().get(name).and_then(|value| value.to_str().ok());
    let last_modified = text(header::LAST_MODIFIED).and_then(|text| httpdate::parse_http_date(text).ok());
    let etag = text(header::ETAG).map(|tag| tag.strip_prefix("W/").unwrap_or(tag).to_owned());
    let file_name = file_name(url, text(header::CONTENT_DISPOSITION));
    let total = text(header::CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
    let io = |source| HttpError::Io { path: temp_dir.display().to_string(), source };
    let mut file = tempfile::Builder::new().prefix("http-").tempfile_in(temp_dir).map_err(io)?;
    let (mut digester, mut size, mut buffer) = (Digester::new(), 0u64, vec![0; 128 << 10]);
    loop {
        let count = match response.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(e) => match total {
                Some(expected) if size < expected => {
                    return Err(HttpError::Truncated { url: shown.to_owned(), got: size, expected });
                }
                _ => return Err(HttpError::Transport { url: shown.to_owned(), why: chain(&e) }),
            },
        };
        digester.update(&buffer[..count]);
        file.write_all(&buffer[..count]).map_err(io)?;
        size += count as u64;
        if !progress(size, total) {
            return Err(HttpError::Cancelled);
        }
    }
    if let Some(expected) = total
        && size != expected
    {
        return Err(HttpError::Truncated { url: shown.to_owned(), got: size, expected });
    }
    let digest = digester.finish();
    if let Some(expected) = checksum {
        let actual = if expected.algorithm() == digest.algorithm() {
            digest.clone()
        } else {
            rehash(file.path(), expected).map_err(io)?
        };
        if actual != *expected {
            return Err(HttpError::Checksum { url: shown.to_owned(), expected: expected.clone(), actual });
        }
    }
    Ok(Download { file, size, digest, last_modified, etag, file_name })
}

fn rehash(path: &Path, like: &Digest) -> std::io::Result<Digest> {
    let (mut file, mut digester, mut buffer) = (std::fs::File::open(path)?, Digester::like(like), vec![0; 128 << 10]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(digester.finish()),
            count => digester.update(&buffer[..count]),
        }
    }
}

fn is_transient(error: &HttpError) -> bool {
    match error {
        HttpError::Transport { .. } | HttpError::Truncated { .. } => true,
        HttpError::Status { code, .. } => *code >= 500 || *code == 429 || *code == 408,
        _ => false,
    }
}

/// The value of `Authorization` that a build's secrets hold for the URL's host:
/// `HTTP_AUTH_HEADER_HOST`, else `HTTP_AUTH_TOKEN_HOST` as a bearer token.
pub fn authorization(url: &str, lookup: impl Fn(&str) -> Option<String>) -> Option<String> {
    let url = reqwest::Url::parse(url).ok()?;
    let host = url.host_str()?;
    let header = lookup(&format!("HTTP_AUTH_HEADER_{host}"));
    header
        .or_else(|| lookup(&format!("HTTP_AUTH_TOKEN_{host}")).map(|token| format!("Bearer {}", token.trim())))
        .map(|value| value.trim().to_owned())
}

/// The name of a downloaded file: `filename` of `Content-Disposition`, else the last part of the
/// URL's path, else `download`. Never a path.
#[must_use]
pub fn file_name(url: &str, content_disposition: Option<&str>) -> String {
    content_disposition
        .and_then(disposition_file_name)
        .or_else(|| url_file_name(url))
        .filter(|name| is_plain(name))
        .unwrap_or_else(|| "download".into())
}

/// The last part of the URL's path, decoded: what `ADD URL DIRECTORY/` calls the file.
/// `None` where the path ends in a slash.
#[must_use]
pub fn url_file_name(url: &str) -> Option<String> {
    let path = url.split(['?', '#']).next()?.split_once("://")?.1.split_once('/')?.1;
    let name = percent_decode(path.trim_end_matches('/').rsplit('/').next()?);
    is_plain(&name).then_some(name)
}

fn is_plain(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains('/') && !name.chars().any(char::is_control)
}

/// `filename*=UTF-8''…` or `filename="…"`, RFC 6266.
fn disposition_file_name(value: &str) -> Option<String> {
    let mut plain = None;
    for parameter in split_parameters(value).into_iter().skip(1) {
        let (key, value) = parameter.split_once('=')?;
        let value = value.trim();
        match key.trim().to_ascii_lowercase().as_str() {
            "filename*" => {
                let (charset, rest) = value.split_once('\'')?;
                if charset.eq_ignore_ascii_case("utf-8") {
                    return last_part(&percent_decode(rest.split_once('\'')?.1));
                }
            }
            "filename" => {
                let unquoted = match value.strip_prefix('"').and_then(|v| v.strip_suffix('"')) {
                    Some(inner) => inner.replace("\\\"", "\"").replace("\\\\", "\\"),
                    None => value.to_owned(),
                };
                plain = last_part(&unquoted);
            }
            _ => {}
        }
    }
    plain
}

fn last_part(name: &str) -> Option<String> {
    name.rsplit('/').next().filter(|name| !name.is_empty()).map(str::to_owned)
}

/// Splits at semicolons that are not in quotes.
fn split_parameters(value: &str) -> Vec<&str> {
    let (mut parts, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, c) in value.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ';' if !quoted => {
                parts.push(&value[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&value[start..]);
    parts
}

/// The causes below an error, outermost first, without repetition and without reqwest's own words,
/// which hold the URL with its credentials.
fn chain(error: &dyn std::error::Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut next = error.source();
    if next.is_none() {
        return redact(&error.to_string());
    }
    while let Some(error) = next {
        let mut text = redact(&error.to_string());
        if let Some(at) = text.rfind(" (os error ") {
            text.truncate(at);
        }
        if !text.starts_with("client error (") && !parts.iter().any(|part| part.contains(&text)) {
            parts.push(text);
        }
        next = error.source();
    }
    parts.join(": ")
}

#[cfg(test)]
mod tests;
