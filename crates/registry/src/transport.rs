//! One HTTP exchange: connection, redirects, timeouts, and what its failures mean.
//!
//! Redirects are followed here and not by the HTTP library, because three rules matter:
//! `Authorization` goes to no other host, nothing but HTTP(S) is followed, and HTTPS is not left for
//! HTTP unless the target may be spoken to in the clear.
use crate::block::Driver;
use crate::dns::Resolver;
use crate::error::{ERROR_BODY_LIMIT, bare_url, parse_error_body, seconds};
use crate::failure::{chain, classify};
use crate::proxy::{Network, Proxies, ip_of, is_loopback};
use crate::{ClientOptions, Error, ErrorKind, Timeouts, tls};
use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, LOCATION};
use reqwest::{Body, Method, Response, StatusCode, Url};
use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::mpsc;

const MAX_REDIRECTS: usize = 10;

/// A request that can be sent again.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) follow: bool,
    pub(crate) response_timeout: Option<Duration>,
}

impl Call {
    pub(crate) fn new(method: Method, url: Url) -> Self {
        Self { method, url, headers: HeaderMap::new(), body: Bytes::new(), follow: true, response_timeout: None }
    }
    pub(crate) fn header(mut self, name: reqwest::header::HeaderName, value: &str) -> Self {
        // Values are media types, digests, ranges and numbers; what is no header value is left out.
        if let Ok(value) = value.parse() {
            self.headers.insert(name, value);
        }
        self
    }
    pub(crate) fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// Where it came from, redirects included.
    pub(crate) url: Url,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The error that this answer is.
    pub(crate) fn error(&self) -> Error {
        let kind = self.header(CONTENT_TYPE.as_str()).unwrap_or("");
        Error::from_status(self.status, parse_error_body(&self.body, kind))
    }
}

/// An answer whose body has not been read.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) response: Response,
    pub(crate) url: Url,
}

impl Opened {
    /// Reads the body, up to `limit` bytes; an error body is cut where it is too long.
    pub(crate) async fn read(self, limit: usize, idle: Duration) -> Result<Answer, Error> {
        let Self { mut response, url } = self;
        let status = response.status();
        let headers = std::mem::take(response.headers_mut());
        let cut = !status.is_success();
        let limit = if cut { ERROR_BODY_LIMIT } else { limit };
        let mut body = Vec::new();
        loop {
            let chunk = match next_chunk(&mut response, idle).await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break,
                Err(_) if cut => break,
                Err(error) => return Err(error),
            };
            if body.len() + chunk.len() > limit {
                if cut {
                    break;
                }
                return Err(Error::new(
                    ErrorKind::TooLarge,
                    format!("the answer is larger than the {limit} bytes that are accepted here"),
                ));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status, headers, url, body })
    }
}

/// The next part of a body, in time.
pub(crate) async fn next_chunk(response: &mut Response, idle: Duration) -> Result<Option<Bytes>, Error> {
    match tokio::time::timeout(idle, response.chunk()).await {
        Ok(Ok(chunk)) => Ok(chunk),
        Ok(Err(error)) => Err(classify(&error, None)),
        Err(_) => Err(Error::new(ErrorKind::Timeout, format!("the registry sent nothing for {}", seconds(idle)))),
    }
}

/// A request body that a blocked thread feeds, a piece at a time.
pub(crate) struct FedBody {
    pub(crate) pieces: mpsc::Receiver<Result<Bytes, io::Error>>,
    pub(crate) left: Option<u64>,
}

impl http_body::Body for FedBody {
    type Data = Bytes;
    type Error = io::Error;
    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, io::Error>>> {
        if self.left == Some(0) {
            return Poll::Ready(None);
        }
        self.pieces.poll_recv(context).map(|piece| match piece {
            Some(Ok(bytes)) => {
                if let Some(left) = &mut self.left {
                    *left = left.saturating_sub(bytes.len() as u64);
                }
                Some(Ok(http_body::Frame::data(bytes)))
            }
            Some(Err(error)) => Some(Err(error)),
            // The feeder went away early: the request must not look complete.
            None if self.left.is_some() => Some(Err(io::Error::other("the upload was given up"))),
            None => None,
        })
    }
    fn size_hint(&self) -> http_body::SizeHint {
        self.left.map_or_else(http_body::SizeHint::default, http_body::SizeHint::with_exact)
    }
}

/// How a host may be spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trust {
    /// HTTPS with a verified certificate.
    Verified,
    /// The same, or plain HTTP: it is this machine.
    Loopback,
    /// Anything, since the user says so.
    Insecure,
}

/// The HTTP clients and the rules of one [`crate::Client`].
pub(crate) struct Transport {
    pub(crate) driver: Driver,
    pub(crate) timeouts: Timeouts,
    roots: Arc<tls::Roots>,
    options: Arc<ClientOptions>,
    proxies: Proxies,
    resolver: Resolver,
    /// By kind: verified, insecure, or the registry whose client certificate is shown.
    clients: Mutex<HashMap<String, reqwest::Client>>,
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Transport")
    }
}

impl Transport {
    pub(crate) fn new(options: Arc<ClientOptions>) -> Result<Arc<Self>, Error> {
        let transport = Self {
            driver: Driver::new()
                .map_err(|e| Error::new(ErrorKind::Options, format!("cannot start the network threads: {e}")))?,
            timeouts: options.timeouts.clone(),
            roots: tls::roots(&options.trust)?,
            proxies: Proxies::new(&options.proxy)?,
            resolver: Resolver::default(),
            clients: Mutex::default(),
            options,
        };
        for own in &transport.options.client_certificates {
            transport.client(&own.registry, Trust::Verified)?;
        }
        Ok(Arc::new(transport))
    }

    /// What the options say about `host` or `host:port`.
    pub(crate) fn trust(&self, authority: &str) -> Trust {
        let host = host_of(authority);
        let ip = ip_of(host);
        let insecure = self.options.insecure.iter().any(|entry| {
            entry.eq_ignore_ascii_case(authority)
                || entry.eq_ignore_ascii_case(host)
                || ip.is_some_and(|ip| Network::parse(entry).is_some_and(|n| n.contains(ip)))
        });
        if insecure {
            Trust::Insecure
        } else if is_loopback(host) {
            Trust::Loopback
        } else {
            Trust::Verified
        }
    }

    fn client(&self, authority: &str, trust: Trust) -> Result<reqwest::Client, Error> {
        let own = self.options.client_certificates.iter().find(|c| {
            c.registry.eq_ignore_ascii_case(authority) || c.registry.eq_ignore_ascii_case(host_of(authority))
        });
        let verify = trust != Trust::Insecure;
        let key = format!("{verify} {}", own.map_or("", |c| c.registry.as_str()));
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&key) {
            return Ok(client.clone());
        }
        let config = tls::config(self.roots.clone(), verify, self.options.http2, own)?;
        let proxies = self.proxies.clone();
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(config)
            .dns_resolver(self.resolver.clone())
            .no_proxy()
            .proxy(reqwest::Proxy::custom(move |url| proxies.for_url(url).cloned()))
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .connect_timeout(self.timeouts.connect)
            .pool_idle_timeout(Duration::from_secs(60))
            // What a slow reader leaves in memory is bounded by these, per stream and per connection.
            .http2_initial_stream_window_size(2 << 20)
            .http2_initial_connection_window_size(8 << 20)
            .user_agent(self.options.user_agent.clone());
        if !self.options.http2 {
            builder = builder.http1_only();
        }
        let client = builder
            .build()
            .map_err(|e| Error::new(ErrorKind::Options, format!("cannot make an HTTP client: {}", chain(&e))))?;
        clients.insert(key, client.clone());
        Ok(client)
    }

    /// Sends a request, follows redirects, and leaves the body unread.
    pub(crate) async fn open(&self, call: Call) -> Result<Opened, Error> {
        let Call { mut method, mut url, mut headers, mut body, follow, response_timeout } = call;
        let mut hops = 0;
        loop {
            let response =
                self.execute(method.clone(), &url, headers.clone(), Body::from(body.clone()), response_timeout).await?;
            let status = response.status();
            let next = match response.headers().get(LOCATION) {
                Some(location) if follow && is_redirect(status) => location,
                _ => return Ok(Opened { response, url }),
            };
            hops += 1;
            if hops > MAX_REDIRECTS {
                return Err(Error::new(
                    ErrorKind::Redirect,
                    format!("more than {MAX_REDIRECTS} redirects, the last one to {}", bare_url(&url)),
                ));
            }
            let target = next.to_str().ok().and_then(|l| url.join(l).ok());
            let Some(target) = target else {
                return Err(Error::new(ErrorKind::Redirect, "the registry redirects to something that is no URL"));
            };
            self.check_redirect(&url, &target)?;
            if !same_origin(&url, &target) {
                headers.remove(AUTHORIZATION);
            }
            if status == StatusCode::SEE_OTHER && method != Method::HEAD {
                method = Method::GET;
                body = Bytes::new();
            }
            url = target;
        }
    }

    /// Sends a request and reads a small answer.
    pub(crate) async fn exchange(&self, call: Call, limit: usize) -> Result<Answer, Error> {
        self.open(call).await?.read(limit, self.timeouts.idle).await
    }

    /// Sends a request whose body a blocked thread feeds. Redirects are not followed: the body is gone.
    pub(crate) async fn upload(
        &self,
        method: Method,
        url: Url,
        mut headers: HeaderMap,
        body: FedBody,
    ) -> Result<Answer, Error> {
        if let Some(length) = body.left {
            headers.insert(CONTENT_LENGTH, length.into());
        }
        // The feeding thread watches that the body makes progress and waits for the answer.
        let response =
            self.execute(method, &url, headers, Body::wrap(body), Some(Duration::from_secs(7 * 24 * 3600))).await?;
        Opened { response, url }.read(ERROR_BODY_LIMIT, self.timeouts.idle).await
    }

    async fn execute(
        &self,
        method: Method,
        url: &Url,
        headers: HeaderMap,
        body: Body,
        limit: Option<Duration>,
    ) -> Result<Response, Error> {
        let authority = authority(url);
        let client = self.client(&authority, self.trust(&authority))?;
        let request = client.request(method, url.clone()).headers(headers).body(body).send();
        let limit = limit.unwrap_or(self.timeouts.response);
        match tokio::time::timeout(limit, request).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(self.explain(&error, url)),
            Err(_) => {
                Err(Error::new(ErrorKind::Timeout, format!("{authority} gave no answer within {}", seconds(limit))))
            }
        }
    }

    fn explain(&self, error: &reqwest::Error, url: &Url) -> Error {
        let found = classify(error, Some(url));
        match self.proxies.for_url(url) {
            Some(proxy) if matches!(found.kind(), ErrorKind::Connect | ErrorKind::Dns | ErrorKind::Timeout) => {
                found.note(format!("the connection goes through the proxy {}", bare_url(proxy)))
            }
            _ => found,
        }
    }

    /// Whether content and requests may move on from one place to another.
    pub(crate) fn check_redirect(&self, from: &Url, to: &Url) -> Result<(), Error> {
        let refuse = |why: &str| Err(Error::new(ErrorKind::Redirect, why.to_owned()));
        if !matches!(to.scheme(), "http" | "https") {
            return refuse(&format!("the registry leads to a {}: URL, which is not followed", to.scheme()));
        }
        if to.host_str().is_none() {
            return refuse("the registry leads to a URL without a host");
        }
        if from.scheme() == "https" && to.scheme() == "http" && self.trust(&authority(to)) == Trust::Verified {
            return refuse(&format!("the registry leads from HTTPS to plain HTTP ({})", bare_url(to)));
        }
        Ok(())
    }
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// `host[:port]` of a URL, the port only where it is not the scheme's.
pub(crate) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or("");
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// The host of `host[:port]`.
pub(crate) fn host_of(authority: &str) -> &str {
    if authority.starts_with('[') {
        return authority.split_inclusive(']').next().unwrap_or(authority);
    }
    authority.rsplit_once(':').map_or(authority, |(host, _)| host)
}

/// Whether credentials for the one may be shown to the other: the same host and port, over the same
/// scheme or a better one.
pub(crate) fn same_origin(from: &Url, to: &Url) -> bool {
    if from.host_str() != to.host_str() {
        return false;
    }
    let same = from.scheme() == to.scheme() && from.port_or_known_default() == to.port_or_known_default();
    let upgraded = (from.scheme(), to.scheme()) == ("http", "https") && from.port().is_none() && to.port().is_none();
    same || upgraded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transport(insecure: &[&str]) -> Arc<Transport> {
        Transport::new(Arc::new(ClientOptions {
            insecure: insecure.iter().map(|&s| s.to_owned()).collect(),
            ..ClientOptions::default()
        }))
        .unwrap()
    }

    #[test]
    fn who_may_be_spoken_to_in_the_clear() {
        let transport = transport(&["reg.lan", "other.lan:5000", "10.0.0.0/8"]);
        for (authority, trust) in [
            ("ghcr.io", Trust::Verified),
            ("127.0.0.1:5000", Trust::Loopback),
            ("localhost", Trust::Loopback),
            ("[::1]:5000", Trust::Loopback),
            ("reg.lan:8080", Trust::Insecure),
            ("other.lan:5000", Trust::Insecure),
            ("other.lan:5001", Trust::Verified),
            ("10.9.9.9:5000", Trust::Insecure),
            ("11.9.9.9:5000", Trust::Verified),
            ("127.0.0.1.evil.example", Trust::Verified),
        ] {
            assert_eq!(transport.trust(authority), trust, "{authority}");
        }
    }

    #[test]
    fn where_redirects_may_lead() {
        let transport = transport(&["reg.lan"]);
        let check = |from: &str, to: &str| transport.check_redirect(&from.parse().unwrap(), &to.parse().unwrap());
        assert!(check("https://a/", "https://b/").is_ok());
        assert!(check("http://a/", "http://b/").is_ok());
        assert!(check("https://a/", "http://reg.lan/").is_ok());
        assert!(check("https://a/", "http://b/").is_err());
        assert!(check("https://a/", "file:///etc/passwd").is_err());
        assert!(check("https://a/", "ftp://b/").is_err());
    }

    #[test]
    fn credentials_stay_with_their_host() {
        let same = |a: &str, b: &str| same_origin(&a.parse().unwrap(), &b.parse().unwrap());
        assert!(same("https://a/x", "https://a:443/y"));
        assert!(same("http://a/x", "https://a/y"));
        assert!(!same("https://a/x", "http://a/y"));
        assert!(!same("https://a/x", "https://a:444/y"));
        assert!(!same("https://a/x", "https://b.a/y"));
    }
}
