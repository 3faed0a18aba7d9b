//! `type=s3`: objects of a bucket.
//!
//! ```text
//! PREFIX MANIFESTS-PREFIX NAME             the document
//! PREFIX BLOBS-PREFIX     sha256:HEX       layers
//! ```
//!
//! An object appears whole, so a document never names a blob that is not there. Requests are signed with version 4 of
//! Amazon's scheme; the digest of a blob is the hash that is signed, so a body that was changed on its way is refused.
use super::http::{body, refused, send};
use super::{CacheStore, DOCUMENT_LIMIT, Open, unusable};
use crate::cache::document::Document;
use crate::error::{BuildError, Kind, Result};
use crate::request::S3Cache;
use ::registry::Progress;
use jiff::Timestamp;
use oci::{Descriptor, Digest, Reference};
use reqwest::blocking::{Body, Client, RequestBuilder, Response};
use reqwest::{Method, StatusCode};
use ring::hmac;
use std::fmt::Write as _;
use std::io::Read;
use std::time::{Duration, SystemTime};

/// The largest object that one request can bring.
const LARGEST: u64 = 5 << 30;

/// How long one object may take.
const PATIENCE: Duration = Duration::from_secs(3600);

pub(super) struct S3Store {
    client: Client,
    options: S3Cache,
}

/// A request before it is signed.
struct Call<'c> {
    method: Method,
    /// The object's name.
    key: &'c str,
    /// The SHA-256 of the body, in hexadecimal digits.
    hash: &'c str,
    /// Further headers, in lower case.
    headers: Vec<(&'c str, String)>,
}

impl S3Store {
    pub(super) fn new(client: &Client, options: &S3Cache) -> Self {
        Self { client: client.clone(), options: options.clone() }
    }

    fn blob_key(&self, digest: &Digest) -> String {
        format!("{}{}{digest}", self.options.prefix, self.options.blobs_prefix)
    }

    fn manifest_key(&self, name: &str) -> String {
        format!("{}{}{name}", self.options.prefix, self.options.manifests_prefix)
    }

    /// Host and path of an object, and the scheme.
    fn place(&self, key: &str) -> (String, String, String) {
        let S3Cache { bucket, region, endpoint, path_style, .. } = &self.options;
        let endpoint = endpoint.clone().unwrap_or_else(|| format!("https://s3.{region}.amazonaws.com"));
        let (scheme, rest) = endpoint.split_once("://").unwrap_or(("https", &endpoint));
        let (host, base) = rest.trim_end_matches('/').split_once('/').unwrap_or((rest.trim_end_matches('/'), ""));
        let base = if base.is_empty() { String::new() } else { format!("/{base}") };
        let (host, path) = match path_style {
            true => (host.to_owned(), format!("{base}/{bucket}/{key}")),
            false => (format!("{bucket}.{host}"), format!("{base}/{key}")),
        };
        (scheme.to_owned(), host, encoded(&path))
    }

    /// The request, signed for now.
    fn request(&self, call: &Call<'_>, now: Timestamp) -> RequestBuilder {
        let (scheme, host, path) = self.place(call.key);
        let mut headers = call.headers.clone();
        headers.push(("host", host.clone()));
        headers.push(("x-amz-content-sha256", call.hash.to_owned()));
        headers.push(("x-amz-date", now.strftime("%Y%m%dT%H%M%SZ").to_string()));
        if let Some(token) = &self.options.session_token {
            headers.push(("x-amz-security-token", token.clone()));
        }
        headers.sort();
        let authorization = authorization(&self.options, call, &path, &headers, now);
        let mut request =
            self.client.request(call.method.clone(), format!("{scheme}://{host}{path}")).timeout(PATIENCE);
        for (name, value) in headers.into_iter().filter(|(name, _)| *name != "host") {
            request = request.header(name, value);
        }
        request.header("authorization", authorization)
    }

    fn send(&self, what: &str, call: &Call<'_>) -> Result<Response> {
        send(what, &|| Ok(self.request(call, Timestamp::now())))
    }

    /// When an object was written last; `None` where there is none.
    fn written(&self, key: &str) -> Result<Option<SystemTime>> {
        let what = format!("look for {key} in the bucket {}", self.options.bucket);
        let call = Call { method: Method::HEAD, key, hash: &empty(), headers: Vec::new() };
        let answer = self.send(&what, &call)?;
        match answer.status() {
            StatusCode::OK => {
                let time = answer.headers().get("last-modified").and_then(|v| v.to_str().ok());
                Ok(Some(time.and_then(|text| httpdate::parse_http_date(text).ok()).unwrap_or_else(SystemTime::now)))
            }
            StatusCode::NOT_FOUND => Ok(None),
            _ => Err(refused(&what, answer)),
        }
    }

    /// Makes an object young again: copies it to itself.
    fn touch(&self, key: &str) -> Result<()> {
        let what = format!("refresh {key} in the bucket {}", self.options.bucket);
        let headers = vec![
            ("x-amz-copy-source", encoded(&format!("/{}/{key}", self.options.bucket))),
            ("x-amz-metadata-directive", "REPLACE".to_owned()),
        ];
        let answer = self.send(&what, &Call { method: Method::PUT, key, hash: &empty(), headers })?;
        if answer.status().is_success() { Ok(()) } else { Err(refused(&what, answer)) }
    }

    fn put_object(&self, key: &str, hash: &str, size: u64, open: Open<'_>) -> Result<()> {
        let what = format!("write {key} to the bucket {}", self.options.bucket);
        let call = Call { method: Method::PUT, key, hash, headers: Vec::new() };
        let answer = send(&what, &|| {
            let content = open().map_err(|e| BuildError::new(Kind::Io, format!("cannot read a layer: {e}")))?;
            Ok(self.request(&call, Timestamp::now()).body(Body::sized(content, size)))
        })?;
        if answer.status().is_success() { Ok(()) } else { Err(refused(&what, answer)) }
    }
}

impl CacheStore for S3Store {
    fn name(&self) -> String {
        let S3Cache { bucket, names, .. } = &self.options;
        format!("bucket {bucket} ({})", self.manifest_key(names.first().map_or("", String::as_str)))
    }

    fn load(&self) -> Result<Vec<Document>> {
        for name in &self.options.names {
            let key = self.manifest_key(name);
            let what = format!("read {key} from the bucket {}", self.options.bucket);
            let answer =
                self.send(&what, &Call { method: Method::GET, key: &key, hash: &empty(), headers: Vec::new() })?;
            match answer.status() {
                StatusCode::OK => {
                    let bytes = body(&what, answer, DOCUMENT_LIMIT)?;
                    return Document::parse(&bytes).map(|document| vec![document]).map_err(unusable);
                }
                StatusCode::NOT_FOUND => {}
                _ => return Err(refused(&what, answer)),
            }
        }
        Ok(Vec::new())
    }

    fn open(&self, blob: &Descriptor, _: Progress) -> Result<Box<dyn Read + Send>> {
        let key = self.blob_key(&blob.digest);
        let what = format!("read {key} from the bucket {}", self.options.bucket);
        let answer = self.send(&what, &Call { method: Method::GET, key: &key, hash: &empty(), headers: Vec::new() })?;
        match answer.status() {
            StatusCode::OK => Ok(Box::new(oci::VerifyReader::new(answer, blob.digest.clone(), Some(blob.size)))),
            _ => Err(refused(&what, answer)),
        }
    }

    fn ages(&self) -> bool {
        true
    }

    fn width(&self) -> usize {
        self.options.parallelism
    }

    fn put(&self, blob: &Descriptor, open: Open<'_>, _: &[Reference], _: Progress) -> Result<()> {
        let key = self.blob_key(&blob.digest);
        if let Some(written) = self.written(&key)? {
            let age = SystemTime::now().duration_since(written).unwrap_or_default();
            return if age > self.options.touch_refresh { self.touch(&key) } else { Ok(()) };
        }
        if blob.size > LARGEST {
            return Err(unusable(format!("layer {} has {} bytes; S3 takes {LARGEST}", blob.digest, blob.size))
                .hint("use type=registry for layers of this size"));
        }
        self.put_object(&key, blob.digest.hex(), blob.size, open)
    }

    fn commit(&self, document: &Document, _: bool) -> Result<()> {
        let bytes = document.to_bytes();
        let hash = Digest::sha256(&bytes);
        for name in &self.options.names {
            let open =
                || -> std::io::Result<Box<dyn Read + Send>> { Ok(Box::new(std::io::Cursor::new(bytes.clone()))) };
            self.put_object(&self.manifest_key(name), hash.hex(), bytes.len() as u64, &open)?;
        }
        Ok(())
    }
}

/// The hash of no body.
fn empty() -> String {
    Digest::sha256(b"").hex().to_owned()
}

/// A path as S3 signs it: every byte but letters, digits, `-._~` and `/` as `%XX`.
fn encoded(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => out.push(char::from(byte)),
            _ => drop(write!(out, "%{byte:02X}")),
        }
    }
    out
}

/// The `Authorization` header: AWS signature version 4. `headers` are sorted.
fn authorization(options: &S3Cache, call: &Call<'_>, path: &str, headers: &[(&str, String)], now: Timestamp) -> String {
    let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
    let names = names.join(";");
    let mut canonical = format!("{}\n{path}\n\n", call.method);
    for (name, value) in headers {
        let _ = writeln!(canonical, "{name}:{}", value.trim());
    }
    let _ = write!(canonical, "\n{names}\n{}", call.hash);
    let (day, region) = (now.strftime("%Y%m%d").to_string(), &options.region);
    let scope = format!("{day}/{region}/s3/aws4_request");
    let text = format!(
        "AWS4-HMAC-SHA256\n{}\n{scope}\n{}",
        now.strftime("%Y%m%dT%H%M%SZ"),
        Digest::sha256(canonical.as_bytes()).hex()
    );
    let mac = |key: &[u8], text: &str| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
    };
    let mut key = format!("AWS4{}", options.secret_key).into_bytes();
    for part in [day.as_str(), region, "s3", "aws4_request"] {
        key = mac(&key, part);
    }
    let signature = mac(&key, &text).iter().fold(String::new(), |all, byte| format!("{all}{byte:02x}"));
    format!("AWS4-HMAC-SHA256 Credential={}/{scope},SignedHeaders={names},Signature={signature}", options.access_key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> S3Cache {
        S3Cache {
            bucket: "examplebucket".to_owned(),
            region: "us-east-1".to_owned(),
            endpoint: None,
            path_style: false,
            prefix: String::new(),
            blobs_prefix: String::new(),
            manifests_prefix: String::new(),
            names: Vec::new(),
            access_key: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            secret_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned(),
            session_token: None,
            parallelism: 1,
            touch_refresh: Duration::ZERO,
        }
    }

    /// The examples of Amazon's documentation ("Signature calculations for the Authorization header").
    #[test]
    fn signatures_are_amazons() {
        let now: Timestamp = "2013-05-24T00:00:00Z".parse().unwrap();
        let common = |hash: &str| {
            vec![
                ("host", "examplebucket.s3.amazonaws.com".to_owned()),
                ("x-amz-content-sha256", hash.to_owned()),
                ("x-amz-date", "20130524T000000Z".to_owned()),
            ]
        };
        let hash = empty();
        let mut headers = common(&hash);
        headers.push(("range", "bytes=0-9".to_owned()));
        headers.sort();
        let call = Call { method: Method::GET, key: "", hash: &hash, headers: Vec::new() };
        let signed = authorization(&options(), &call, "/test.txt", &headers, now);
        assert!(signed.ends_with("=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"), "{signed}");

        let hash = Digest::sha256(b"Welcome to Amazon S3.").hex().to_owned();
        let mut headers = common(&hash);
        headers.push(("date", "Fri, 24 May 2013 00:00:00 GMT".to_owned()));
        headers.push(("x-amz-storage-class", "REDUCED_REDUNDANCY".to_owned()));
        headers.sort();
        let call = Call { method: Method::PUT, key: "", hash: &hash, headers: Vec::new() };
        let signed = authorization(&options(), &call, &encoded("/test$file.text"), &headers, now);
        assert!(signed.ends_with("=98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"), "{signed}");
    }

    #[test]
    fn buckets_stand_in_hosts_or_paths() {
        let place = |options: S3Cache| {
            let (scheme, host, path) = S3Store { client: Client::new(), options }.place("blobs/sha256:ab");
            format!("{scheme}://{host}{path}")
        };
        let _ = rustls::crypto::ring::default_provider().install_default();
        assert_eq!(place(options()), "https://examplebucket.s3.us-east-1.amazonaws.com/blobs/sha256%3Aab");
        let with = |endpoint: &str| S3Cache { endpoint: Some(endpoint.into()), path_style: true, ..options() };
        assert_eq!(place(with("http://h:9000/")), "http://h:9000/examplebucket/blobs/sha256%3Aab");
        assert_eq!(place(with("https://h/base")), "https://h/base/examplebucket/blobs/sha256%3Aab");
    }
}
