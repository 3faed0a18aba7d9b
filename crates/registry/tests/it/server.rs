//! Our server by raw HTTP: what the specification says about statuses and headers, and what it refuses.
use crate::support::*;
use oci::{Descriptor, Digest, Manifest, media_type};
use registry::serve::{DirectoryStore, ServeOptions, serve};
use std::io::{Read, Write};
use std::net::TcpStream;

/// An answer by raw HTTP.
struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .skip(1)
            .find_map(|line| line.split_once(':').filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.trim()))
    }
    fn code(&self) -> String {
        let value: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        value["errors"][0]["code"].as_str().unwrap().to_owned()
    }
}

fn http(host: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(host).unwrap();
    let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
    if !headers.iter().any(|(n, _)| *n == "Content-Length") {
        request.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{request}\r\n").as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head, body: answer[end + 4..].to_vec() }
}

fn begin(host: &str, name: &str) -> String {
    let answer = http(host, "POST", &format!("/v2/{name}/blobs/uploads/"), &[], b"");
    assert_eq!((answer.status, answer.header("range")), (202, Some("0-0")));
    answer.header("location").unwrap().to_owned()
}

#[test]
fn chunked_upload_step_by_step() {
    let registry = OwnRegistry::start(ServeOptions::default());
    let host = &registry.host;
    let place = begin(host, "a/b");
    let answer = http(host, "PATCH", &place, &[("Content-Range", "0-4")], b"hello");
    assert_eq!((answer.status, answer.header("range")), (202, Some("0-4")));
    let wrong = http(host, "PATCH", &place, &[("Content-Range", "0-4")], b"again");
    assert_eq!((wrong.status, wrong.header("range"), wrong.code().as_str()), (416, Some("0-4"), "BLOB_UPLOAD_INVALID"));
    let short = http(host, "PATCH", &place, &[("Content-Range", "5-9")], b"abc");
    assert_eq!((short.status, short.code().as_str()), (400, "SIZE_INVALID"));
    let status = http(host, "GET", &place, &[], b"");
    assert_eq!((status.status, status.header("range")), (204, Some("0-4")));
    let digest = Digest::sha256(b"hello world");
    let end = http(host, "PUT", &format!("{place}?digest={digest}"), &[("Content-Range", "5-10")], b" world");
    assert_eq!((end.status, end.header("docker-content-digest")), (201, Some(digest.as_str())));
    assert_eq!(http(host, "GET", end.header("location").unwrap(), &[], b"").body, b"hello world");
    assert_eq!(http(host, "GET", &place, &[], b"").code(), "BLOB_UPLOAD_UNKNOWN");
    let pool = registry.directory.path().join("blobs/sha256").join(digest.hex());
    assert_eq!(std::fs::read(pool).unwrap(), b"hello world");
    assert_eq!(std::fs::read_dir(registry.directory.path().join("repositories/a/b/_uploads")).unwrap().count(), 0);
}

#[test]
fn uploads_in_one_request_wrong_digests_and_cancelling() {
    let registry = OwnRegistry::start(ServeOptions { max_blob: Some(100), ..ServeOptions::default() });
    let host = &registry.host;
    let digest = Digest::sha256(b"x");
    let one = http(host, "POST", &format!("/v2/a/blobs/uploads/?digest={digest}"), &[], b"x");
    assert_eq!(one.status, 201);
    let place = begin(host, "a");
    let wrong = http(host, "PUT", &format!("{place}?digest={digest}"), &[], b"y");
    assert_eq!((wrong.status, wrong.code().as_str()), (400, "DIGEST_INVALID"));
    let place = begin(host, "a");
    assert_eq!(http(host, "PUT", &place, &[], b"y").code(), "DIGEST_INVALID");
    assert_eq!(http(host, "PUT", &format!("{place}?digest=sha256:zz"), &[], b"y").code(), "DIGEST_INVALID");
    assert_eq!(http(host, "DELETE", &place, &[], b"").status, 204);
    assert_eq!(http(host, "DELETE", &place, &[], b"").status, 404);
    let place = begin(host, "a");
    let large = http(host, "PATCH", &place, &[], &[0; 101]);
    assert_eq!((large.status, large.code().as_str()), (413, "SIZE_INVALID"));
    let place = begin(host, "a");
    let sha512 = concat!(
        "sha512:",
        "a4abd4448c49562d828115d13a1fccea927f52b4d5459297f8b43e42da89238bc13626e43dcb38ddb082488927ec904fb42057443983e88585179d50551afe62"
    );
    assert_eq!(http(host, "PUT", &format!("{place}?digest={sha512}"), &[], b"x").status, 201);
    assert_eq!(http(host, "GET", &format!("/v2/a/blobs/{sha512}"), &[], b"").body, b"x");
}

#[test]
fn ranges_and_heads_of_blobs() {
    let registry = OwnRegistry::start(ServeOptions::default());
    let host = &registry.host;
    let digest = Digest::sha256(b"0123456789");
    http(host, "POST", &format!("/v2/a/blobs/uploads/?digest={digest}"), &[], b"0123456789");
    let path = format!("/v2/a/blobs/{digest}");
    let part = http(host, "GET", &path, &[("Range", "bytes=2-4")], b"");
    assert_eq!((part.status, part.header("content-range"), &part.body[..]), (206, Some("bytes 2-4/10"), &b"234"[..]));
    let rest = http(host, "GET", &path, &[("Range", "bytes=8-")], b"");
    assert_eq!((rest.status, &rest.body[..]), (206, &b"89"[..]));
    let beyond = http(host, "GET", &path, &[("Range", "bytes=10-")], b"");
    assert_eq!((beyond.status, beyond.header("content-range")), (416, Some("bytes */10")));
    let head = http(host, "HEAD", &path, &[], b"");
    assert_eq!((head.status, head.header("content-length"), head.body.len()), (200, Some("10"), 0));
    assert_eq!(http(host, "GET", &format!("/v2/other/blobs/{digest}"), &[], b"").code(), "BLOB_UNKNOWN");
    let mount = http(host, "POST", &format!("/v2/other/blobs/uploads/?mount={digest}&from=a"), &[], b"");
    assert_eq!(mount.status, 201);
    assert_eq!(http(host, "HEAD", &format!("/v2/other/blobs/{digest}"), &[], b"").status, 200);
    let declined = http(host, "POST", &format!("/v2/third/blobs/uploads/?mount={digest}&from=none"), &[], b"");
    assert_eq!(declined.status, 202);
}

#[test]
fn manifests_are_checked() {
    let registry = OwnRegistry::start(ServeOptions { max_manifest: 2000, ..ServeOptions::default() });
    let host = &registry.host;
    let client = client();
    let name = name_of(host, "m/app:1");
    let config = push(&client, &name, media_type::OCI_CONFIG, b"{}");
    let put = |reference: &str, kind: &str, body: &[u8]| {
        let answer = http(host, "PUT", &format!("/v2/m/app/manifests/{reference}"), &[("Content-Type", kind)], body);
        let code = if answer.status == 201 { String::new() } else { answer.code() };
        (answer.status, code)
    };
    let text = |status: u16, code: &str| (status, code.to_owned());
    let manifest = |layers| serde_json::to_vec(&Manifest::new(config.clone(), layers, true)).unwrap();
    let good = manifest(Vec::new());
    let kind = media_type::OCI_MANIFEST;
    assert_eq!(put("1", kind, &good), text(201, ""));
    assert_eq!(put("1", kind, b"nonsense"), text(400, "MANIFEST_INVALID"));
    assert_eq!(put("1", kind, b"[]"), text(400, "MANIFEST_INVALID"));
    assert_eq!(put("1", kind, br#"{"schemaVersion":2,"layers":[]}"#), text(400, "MANIFEST_INVALID"));
    assert_eq!(put("1", media_type::OCI_INDEX, &good), text(400, "MANIFEST_INVALID"));
    assert_eq!(put("1", kind, &vec![b' '; 2001]), text(413, "SIZE_INVALID"));
    assert_eq!(put(Digest::sha256(b"").as_str(), kind, &good), text(400, "DIGEST_INVALID"));
    assert_eq!(put("-bad", kind, &good), text(400, "TAG_INVALID"));
    let absent = manifest(vec![Descriptor::of(media_type::OCI_LAYER, b"absent")]);
    assert_eq!(put("1", kind, &absent), text(400, "MANIFEST_BLOB_UNKNOWN"));
    let mut lying = config.clone();
    lying.size = 7;
    assert_eq!(put("1", kind, &manifest(vec![lying])), text(400, "MANIFEST_INVALID"));
    let got = http(host, "GET", "/v2/m/app/manifests/1", &[], b"");
    assert_eq!((got.status, got.header("content-type"), &got.body), (200, Some(kind), &good));
    let head = http(host, "HEAD", "/v2/m/app/manifests/1", &[], b"");
    assert_eq!(head.header("content-length").unwrap(), good.len().to_string());
    assert_eq!(http(host, "GET", "/v2/m/app/manifests/2", &[], b"").code(), "MANIFEST_UNKNOWN");
    assert_eq!(http(host, "GET", "/v2/none/manifests/2", &[], b"").code(), "NAME_UNKNOWN");
}

#[test]
fn pages_of_tags() {
    let registry = OwnRegistry::start(ServeOptions::default());
    let client = client();
    let name = name_of(&registry.host, "p:t0");
    push_image(&client, &name, b"x");
    let image = client.manifest(&name).unwrap();
    for tag in ["t1", "t2", "t3", "t4"] {
        client.push_manifest(&name.with_tag(tag), &image.media_type, &image.bytes).unwrap();
    }
    let page = http(&registry.host, "GET", "/v2/p/tags/list?n=2", &[], b"");
    assert_eq!(page.body, br#"{"name":"p","tags":["t0","t1"]}"#);
    assert_eq!(page.header("link"), Some("</v2/p/tags/list?n=2&last=t1>; rel=\"next\""));
    let last = http(&registry.host, "GET", "/v2/p/tags/list?n=2&last=t3", &[], b"");
    assert_eq!((&last.body[..], last.header("link")), (&br#"{"name":"p","tags":["t4"]}"#[..], None));
    assert_eq!(http(&registry.host, "GET", "/v2/p/tags/list?n=0", &[], b"").body, br#"{"name":"p","tags":[]}"#);
    assert_eq!(http(&registry.host, "GET", "/v2/p/tags/list?n=x", &[], b"").status, 400);
    assert_eq!(http(&registry.host, "GET", "/v2/q/tags/list", &[], b"").code(), "NAME_UNKNOWN");
}

#[test]
fn who_may_do_what() {
    let options = ServeOptions { basic_auth: Some(("u".into(), "p".into())), ..ServeOptions::default() };
    let registry = OwnRegistry::start(options);
    let host = &registry.host;
    let refused = http(host, "GET", "/v2/", &[], b"");
    assert_eq!((refused.status, refused.code().as_str()), (401, "UNAUTHORIZED"));
    assert!(refused.header("www-authenticate").unwrap().starts_with("Basic realm="));
    // u:p and u:q
    assert_eq!(http(host, "GET", "/v2/", &[("Authorization", "Basic dTpw")], b"").status, 200);
    assert_eq!(http(host, "GET", "/v2/", &[("Authorization", "Basic dTpx")], b"").status, 401);

    let registry = OwnRegistry::start(ServeOptions { read_only: true, ..ServeOptions::default() });
    assert_eq!(http(&registry.host, "POST", "/v2/a/blobs/uploads/", &[], b"").code(), "DENIED");
    let registry = OwnRegistry::start(ServeOptions { allow_delete: false, ..ServeOptions::default() });
    let path = format!("/v2/a/blobs/{}", Digest::sha256(b""));
    assert_eq!(http(&registry.host, "DELETE", &path, &[], b"").code(), "UNSUPPORTED");
    assert_eq!(http(&registry.host, "BREW", "/v2/", &[], b"").status, 405);
    for outside in ["/etc/passwd", "/v2/../../etc/passwd", "/v2/a/blobs/uploads/..%2f..%2fx", "/v2/%2e%2e/tags/list"] {
        let status = http(&registry.host, "GET", outside, &[], b"").status;
        assert!((400..500).contains(&status), "{outside}: {status}");
    }
}

#[test]
fn an_upload_outlives_the_server() {
    let directory = tempfile::tempdir().unwrap();
    let start = || {
        let store = DirectoryStore::open(directory.path()).unwrap();
        serve(store, "127.0.0.1:0".parse().unwrap(), ServeOptions::default()).unwrap()
    };
    let first = start();
    let place = begin(&first.addr().to_string(), "a");
    http(&first.addr().to_string(), "PATCH", &place, &[], b"hello ");
    first.stop();
    let second = start();
    let host = second.addr().to_string();
    assert_eq!(http(&host, "GET", &place, &[], b"").header("range"), Some("0-5"));
    let digest = Digest::sha256(b"hello world");
    let end = http(&host, "PUT", &format!("{place}?digest={digest}"), &[], b"world");
    assert_eq!(end.status, 201);
}

#[test]
fn a_broken_upload_keeps_what_arrived() {
    let registry = OwnRegistry::start(ServeOptions::default());
    let place = begin(&registry.host, "a");
    let mut stream = TcpStream::connect(&registry.host).unwrap();
    let head = format!("PATCH {place} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nfirst");
    stream.write_all(head.as_bytes()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut rest = Vec::new();
    // The server may just close.
    let _ = stream.read_to_end(&mut rest);
    assert_eq!(http(&registry.host, "GET", &place, &[], b"").header("range"), Some("0-4"));
}
