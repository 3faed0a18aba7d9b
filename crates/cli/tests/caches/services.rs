//! Services that hold caches: a stand-in for GitHub's, which nobody can have at home, and a real S3 server.
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// The token that the stand-in takes.
pub(crate) const TOKEN: &str = "a-runtime-token";

#[derive(Default)]
struct State {
    /// Key, content once it came, whether it was finished: in the order of creation.
    entries: Vec<(String, Option<Vec<u8>>, bool)>,
    seen: Vec<String>,
}

/// The cache service of GitHub Actions, version 2, and the blob store behind it: as much as is documented by its
/// clients (`actions/toolkit`, `tonistiigi/go-actions-cache`).
pub(crate) struct Actions {
    pub(crate) url: String,
    state: Arc<Mutex<State>>,
}

impl Actions {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let state: Arc<Mutex<State>> = Arc::default();
        let (shared, base) = (Arc::clone(&state), url.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (shared, base) = (Arc::clone(&shared), base.clone());
                std::thread::spawn(move || while answer(&stream, &shared, &base).is_some() {});
            }
        });
        Self { url, state }
    }

    /// Method and path of all requests so far.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.state.lock().unwrap().seen.clone()
    }

    /// Keys of all finished entries.
    pub(crate) fn keys(&self) -> Vec<String> {
        let state = self.state.lock().unwrap();
        state.entries.iter().filter(|entry| entry.2).map(|entry| entry.0.clone()).collect()
    }

    /// Cuts the content of all layers short.
    pub(crate) fn spoil(&self) {
        for (key, content, _) in &mut self.state.lock().unwrap().entries {
            if key.contains("-blob-") {
                content.as_mut().unwrap().pop();
            }
        }
    }
}

fn answer(mut stream: &TcpStream, state: &Mutex<State>, base: &str) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first).ok().filter(|count| *count > 0)?;
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        match line.trim().split_once(':') {
            Some((name, value)) => drop(headers.insert(name.to_lowercase(), value.trim().to_owned())),
            None => break,
        }
    }
    let length = headers.get("content-length").map_or(0, |v| v.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let mut words = first.split(' ');
    let (method, path) = (words.next()?, words.next()?.to_owned());
    let mut state = state.lock().unwrap();
    state.seen.push(format!("{method} {path}"));
    let (status, body) = respond(&mut state, method, &path, &headers, body, base);
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body)).ok()
}

fn respond(
    state: &mut State,
    method: &str,
    path: &str,
    headers: &BTreeMap<String, String>,
    body: Vec<u8>,
    base: &str,
) -> (&'static str, Vec<u8>) {
    let say = |value: Value| ("200 OK", value.to_string().into_bytes());
    let refuse = |status, code: &str| (status, json!({ "code": code, "msg": "no" }).to_string().into_bytes());
    // The blob store: the address is the credential.
    if let Some(number) = path.strip_prefix("/blob/").and_then(|rest| rest.strip_suffix("?sig=secret")) {
        let number: usize = number.parse().unwrap();
        if method == "PUT" {
            assert_eq!(headers.get("x-ms-blob-type").map(String::as_str), Some("BlockBlob"));
            assert!(!headers.contains_key("authorization"), "the token is none of the blob store's business");
            state.entries[number].1 = Some(body);
            return ("201 Created", Vec::new());
        }
        return ("200 OK", state.entries[number].1.clone().unwrap());
    }
    if headers.get("authorization").map(String::as_str) != Some(&format!("Bearer {TOKEN}")) {
        return refuse("401 Unauthorized", "unauthenticated");
    }
    let call = path.strip_prefix("/twirp/github.actions.results.api.v1.CacheService/").unwrap();
    let message: Value = serde_json::from_slice(&body).unwrap();
    let key = message["key"].as_str().unwrap();
    assert_eq!(message["version"].as_str().unwrap().len(), 64);
    let address = |number: usize| format!("{base}blob/{number}?sig=secret");
    match call {
        "CreateCacheEntry" => {
            if state.entries.iter().any(|entry| entry.0 == key) {
                return refuse("409 Conflict", "already_exists");
            }
            state.entries.push((key.to_owned(), None, false));
            say(json!({ "ok": true, "signed_upload_url": address(state.entries.len() - 1) }))
        }
        "FinalizeCacheEntryUpload" => {
            let entry = state.entries.iter_mut().find(|entry| entry.0 == key).unwrap();
            let size = entry.1.as_ref().unwrap().len().to_string();
            entry.2 = message["size_bytes"] == size.as_str();
            say(json!({ "ok": entry.2, "entry_id": "1" }))
        }
        "GetCacheEntryDownloadURL" => {
            let all: Vec<_> = state.entries.iter().enumerate().filter(|(_, entry)| entry.2).collect();
            let prefixes = message["restore_keys"].as_array().unwrap();
            let prefixes = || prefixes.iter().map(|p| p.as_str().unwrap());
            let exact = all.iter().find(|(_, entry)| entry.0 == key);
            let newest = || all.iter().rev().find(|(_, entry)| prefixes().any(|prefix| entry.0.starts_with(prefix)));
            match exact.or_else(newest) {
                Some((number, entry)) => {
                    say(json!({ "ok": true, "signed_download_url": address(*number), "matched_key": entry.0 }))
                }
                None => say(json!({ "ok": false })),
            }
        }
        _ => refuse("404 Not Found", "bad_route"),
    }
}

/// An S3 server that others use to test theirs (moto, of PyPI), with one bucket.
pub(crate) struct S3 {
    child: Child,
    pub(crate) url: String,
    directory: tempfile::TempDir,
}

impl Drop for S3 {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl S3 {
    /// `packages` is where moto lies.
    pub(crate) fn start(packages: &Path) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let port = testkit::free_port().unwrap();
        let log = fs::File::create(directory.path().join("log")).unwrap();
        let child = Command::new("python3")
            .env("PYTHONPATH", packages)
            .args(["-m", "moto.server", "--host", "127.0.0.1", "--port", &port.to_string()])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let this = Self { child, url: format!("http://127.0.0.1:{port}"), directory };
        let end = Instant::now() + Duration::from_secs(60);
        while !this.request("PUT", "/bucket").starts_with("HTTP/1.1 200") {
            assert!(Instant::now() < end, "moto_server does not start");
            std::thread::sleep(Duration::from_millis(50));
        }
        this
    }

    /// The answer to a request without a body: nobody checks who asks.
    pub(crate) fn request(&self, method: &str, path: &str) -> String {
        let host = self.url.trim_start_matches("http://");
        let Ok(mut stream) = TcpStream::connect(host) else { return String::new() };
        let auth = "AWS4-HMAC-SHA256 Credential=id/20260101/us-east-1/s3/aws4_request,SignedHeaders=host,Signature=0";
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: {auth}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        let mut answer = Vec::new();
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.read_to_end(&mut answer));
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Requests so far, as the server logged them.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap()
    }
}
