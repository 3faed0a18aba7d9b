//! What the client mends by itself: retries, resumed transfers, expired tokens, failed mirrors.
use crate::fault::{Act, FaultServer, Request, error, plain, with};
use crate::support::*;
use oci::{Descriptor, Digest, media_type};
use registry::{
    Client, ClientOptions, Credential, CredentialSources, Credentials, Mirror, Progress, ProxyVariables, Pushed,
};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

const MANIFEST: &[u8] = br#"{"schemaVersion":2,"config":{},"layers":[]}"#;

fn manifest() -> Act {
    with(200, &[("Content-Type", media_type::OCI_MANIFEST)], MANIFEST)
}

/// A server that knows how many requests, the probe aside, came before.
fn counting(act: impl Fn(u32, &Request) -> Act + Send + Sync + 'static) -> FaultServer {
    let count = AtomicU32::new(0);
    FaultServer::start(move |request| {
        if request.is_probe() { plain(200, "{}") } else { act(count.fetch_add(1, Ordering::SeqCst), request) }
    })
}

fn login(host: &str, credential: Credential) -> Client {
    let sources = CredentialSources { explicit: vec![(host.to_owned(), credential)], ..CredentialSources::default() };
    Client::new(ClientOptions { credentials: Credentials::new(sources), ..options() }).unwrap()
}

#[test]
fn passing_failures_are_tried_again() {
    let server = counting(|n, _| match n {
        0 => plain(503, ""),
        1 => with(429, &[("Retry-After", "0")], b""),
        2 => Act::Raw(Vec::new()),
        _ => manifest(),
    });
    let fetched = client().manifest(&name_of(&server.host, "a/b:v1")).unwrap();
    assert_eq!((fetched.bytes.as_slice(), fetched.descriptor.digest), (MANIFEST, Digest::sha256(MANIFEST)));
    assert_eq!(server.log().len(), 4);
}

#[test]
fn the_digest_is_computed_where_the_registry_does_not_say() {
    let server = counting(|_, _| manifest());
    let descriptor = client().resolve(&name_of(&server.host, "a/b:v1")).unwrap();
    assert_eq!(descriptor, Descriptor::of(media_type::OCI_MANIFEST, MANIFEST));
    assert_eq!(server.log(), ["HEAD /v2/a/b/manifests/v1", "GET /v2/a/b/manifests/v1"]);
    let digest = Digest::sha256(MANIFEST).to_string();
    let server = counting(move |_, _| {
        with(200, &[("Content-Type", media_type::OCI_MANIFEST), ("Docker-Content-Digest", &digest)], MANIFEST)
    });
    assert_eq!(client().resolve(&name_of(&server.host, "a/b:v1")).unwrap(), descriptor);
    assert_eq!(server.log().len(), 1);
}

#[test]
fn a_broken_download_goes_on_where_it_stopped() {
    let content = noise(1 << 20, 7);
    let whole = content.clone();
    let server = counting(move |n, request| {
        let from: usize = request
            .header("range")
            .and_then(|r| r.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok())
            .unwrap_or(0);
        let rest = &whole[from..];
        let head = if from == 0 {
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", rest.len())
        } else {
            let range = format!("bytes {from}-{}/{}", whole.len() - 1, whole.len());
            format!("HTTP/1.1 206 P\r\nContent-Range: {range}\r\nContent-Length: {}\r\n\r\n", rest.len())
        };
        // Each connection but the sixth breaks after 200000 bytes.
        let end = if n < 5 { rest.len().min(200_000) } else { rest.len() };
        Act::Raw([head.as_bytes(), &rest[..end]].concat())
    });
    let descriptor = Descriptor::of(media_type::OCI_LAYER, &content);
    let pulled = client().blob_bytes(&name_of(&server.host, "a"), &descriptor, 2 << 20).unwrap();
    assert!(pulled == content);
    let ranges: Vec<Option<String>> =
        server.requests().iter().filter(|r| !r.is_probe()).map(|r| r.header("range").map(str::to_owned)).collect();
    assert_eq!(ranges[..3], [None, Some("bytes=200000-".to_owned()), Some("bytes=400000-".to_owned())]);
}

#[test]
fn a_registry_without_ranges_sends_all_again() {
    let content = noise(300_000, 8);
    let whole = content.clone();
    let server = counting(move |n, _| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", whole.len());
        let end = if n < 2 { 100_000 * (n as usize + 1) } else { whole.len() };
        Act::Raw([head.as_bytes(), &whole[..end]].concat())
    });
    let descriptor = Descriptor::of(media_type::OCI_LAYER, &content);
    assert!(client().blob_bytes(&name_of(&server.host, "a"), &descriptor, 1 << 20).unwrap() == content);
}

#[test]
fn credentials_do_not_follow_a_redirect_to_another_host() {
    let elsewhere = counting(|_, _| plain(200, "the content"));
    let target = format!("http://{}/storage/blob?sig=1", elsewhere.host);
    let server = counting(move |_, request| {
        if request.header("authorization").is_some() {
            with(307, &[("Location", &target)], b"")
        } else {
            with(401, &[("WWW-Authenticate", "Basic realm=\"x\"")], b"")
        }
    });
    let client = login(&server.host, Credential::basic("u", "p"));
    let descriptor = Descriptor::of(media_type::OCI_LAYER, b"the content");
    assert_eq!(client.blob_bytes(&name_of(&server.host, "a"), &descriptor, 100).unwrap(), b"the content");
    let seen = elsewhere.requests();
    assert_eq!((seen.len(), seen[0].header("authorization")), (1, None));
}

/// A registry with a token server: tokens are numbered and work as long as `valid` says.
fn token_server(valid: impl Fn(&str, &Request) -> bool + Send + Sync + 'static) -> FaultServer {
    let issued = AtomicU32::new(0);
    FaultServer::start_with(move |host| {
        let challenge = format!("Bearer realm=\"http://{host}/token\",service=\"test\"");
        move |request: &Request| {
            if request.path.starts_with("/token") {
                let n = issued.fetch_add(1, Ordering::SeqCst) + 1;
                return plain(200, &format!(r#"{{"token":"t{n}","expires_in":300}}"#));
            }
            match request.header("authorization").and_then(|a| a.strip_prefix("Bearer ")) {
                Some(token) if valid(token, request) => match request.method.as_str() {
                    "POST" => with(202, &[("Location", "/v2/a/b/blobs/uploads/1")], b""),
                    "PUT" => plain(201, ""),
                    "HEAD" if request.path.contains("blobs") => plain(404, ""),
                    _ => manifest(),
                },
                _ => with(401, &[("WWW-Authenticate", &challenge)], b""),
            }
        }
    })
}

#[test]
fn tokens_are_fetched_once_and_again_when_refused() {
    let refused = Arc::new(Mutex::new(String::new()));
    let old = refused.clone();
    let server = token_server(move |token, _| *old.lock().unwrap() != token);
    let client = login(&server.host, Credential::basic("u", "p"));
    let name = name_of(&server.host, "a/b:v1");
    for _ in 0..3 {
        client.manifest(&name).unwrap();
    }
    let tokens = || server.requests().iter().filter(|r| r.path.starts_with("/token")).cloned().collect::<Vec<_>>();
    assert_eq!(tokens().len(), 1);
    assert_eq!(tokens()[0].path, "/token?service=test&scope=repository%3Aa%2Fb%3Apull&account=u");
    assert_eq!(tokens()[0].header("authorization"), Some("Basic dTpw"));
    *refused.lock().unwrap() = "t1".to_owned();
    client.manifest(&name).unwrap();
    assert_eq!(tokens().len(), 2);
    // A mount reads from another repository: its token must say so.
    let blob = Descriptor::of(media_type::OCI_LAYER, b"x");
    client.push_blob(&name, &blob, &source(b"x"), &[name_of(&server.host, "c/d")], Progress::none()).unwrap();
    let scopes: Vec<String> = tokens().iter().skip(2).map(|r| r.path.clone()).collect();
    assert_eq!(
        scopes,
        [
            "/token?service=test&scope=repository%3Aa%2Fb%3Apull%2Cpush&account=u",
            "/token?service=test&scope=repository%3Aa%2Fb%3Apull%2Cpush&scope=repository%3Ac%2Fd%3Apull&account=u"
        ]
    );
}

#[test]
fn many_threads_share_one_token() {
    let server = token_server(|_, _| true);
    let client = login(&server.host, Credential::basic("u", "p"));
    let name = name_of(&server.host, "a/b:v1");
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| client.manifest(&name).unwrap());
        }
    });
    let tokens = server.log().iter().filter(|l| l.contains("/token")).count();
    assert_eq!(tokens, 1);
}

#[test]
fn a_refresh_token_is_exchanged_by_post() {
    let server = token_server(|_, _| true);
    let client = login(&server.host, Credential::IdentityToken("refresh me".into()));
    client.manifest(&name_of(&server.host, "a/b:v1")).unwrap();
    let request = server.requests().into_iter().find(|r| r.path.starts_with("/token")).unwrap();
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/token"));
    assert_eq!(
        String::from_utf8(request.body).unwrap(),
        "grant_type=refresh_token&client_id=cooperage&refresh_token=refresh+me&service=test&scope=repository%3Aa%2Fb%3Apull"
    );
    let server = token_server(|token, _| token == "given");
    let client = login(&server.host, Credential::RegistryToken("given".into()));
    client.manifest(&name_of(&server.host, "a/b:v1")).unwrap();
    assert!(!server.log().iter().any(|l| l.contains("/token")));
}

#[test]
fn a_token_that_expires_during_an_upload() {
    let server = token_server(|token, request| request.method != "PUT" || token == "t2");
    let client = login(&server.host, Credential::basic("u", "p"));
    let content = noise(1 << 20, 9);
    let blob = Descriptor::of(media_type::OCI_LAYER, &content);
    let name = name_of(&server.host, "a/b");
    let pushed = client.push_blob(&name, &blob, &source(&content), &[], Progress::none()).unwrap();
    assert_eq!(pushed, Pushed::Uploaded);
    let last = server.requests().into_iter().rfind(|r| r.method == "PUT").unwrap();
    assert!(last.body == content);
}

#[test]
fn a_broken_upload_goes_on_where_the_registry_says() {
    let content = noise(500_000, 10);
    let received = Arc::new(Mutex::new(Vec::new()));
    let stored = received.clone();
    let server = counting(move |_, request| {
        let mut stored = stored.lock().unwrap();
        let range = format!("0-{}", stored.len().saturating_sub(1));
        match request.method.as_str() {
            "HEAD" => plain(404, ""),
            "POST" => with(202, &[("Location", "/v2/a/blobs/uploads/1?state=0")], b""),
            "PUT" if request.body.is_empty() => plain(201, ""),
            // The whole of it in one request: a part is kept, then the connection breaks.
            "PUT" => {
                stored.extend_from_slice(&request.body[..123_456]);
                Act::Raw(Vec::new())
            }
            "GET" => with(204, &[("Location", "/v2/a/blobs/uploads/1?state=1"), ("Range", &range)], b""),
            _ => {
                stored.extend_from_slice(&request.body);
                with(202, &[("Location", "/v2/a/blobs/uploads/1?state=2")], b"")
            }
        }
    });
    let blob = Descriptor::of(media_type::OCI_LAYER, &content);
    client().push_blob(&name_of(&server.host, "a"), &blob, &source(&content), &[], Progress::none()).unwrap();
    assert!(*received.lock().unwrap() == content);
    let digest = blob.digest.as_str().replace(':', "%3A");
    assert_eq!(
        server.log()[1..],
        [
            "POST /v2/a/blobs/uploads/".to_owned(),
            format!("PUT /v2/a/blobs/uploads/1?state=0&digest={digest}"),
            "GET /v2/a/blobs/uploads/1?state=0".to_owned(),
            "PATCH /v2/a/blobs/uploads/1?state=1".to_owned(),
            format!("PUT /v2/a/blobs/uploads/1?state=2&digest={digest}"),
        ]
    );
}

#[test]
fn a_limit_on_requests_leads_to_chunks() {
    let received = Arc::new(Mutex::new(Vec::new()));
    let stored = received.clone();
    let server = counting(move |_, request| match request.method.as_str() {
        _ if request.body.len() > (5 << 20) => plain(413, "too large"),
        "HEAD" => plain(404, ""),
        "POST" => {
            stored.lock().unwrap().clear();
            with(202, &[("Location", "/v2/a/blobs/uploads/1")], b"")
        }
        "PATCH" => {
            stored.lock().unwrap().extend_from_slice(&request.body);
            with(202, &[("Location", "/v2/a/blobs/uploads/1")], b"")
        }
        _ => plain(201, ""),
    });
    let content = noise(10 << 20, 11);
    let blob = Descriptor::of(media_type::OCI_LAYER, &content);
    client().push_blob(&name_of(&server.host, "a"), &blob, &source(&content), &[], Progress::none()).unwrap();
    assert!(*received.lock().unwrap() == content);
}

#[test]
fn a_lost_answer_is_no_second_upload() {
    let done = AtomicU32::new(0);
    let server = counting(move |_, request| match request.method.as_str() {
        "HEAD" if done.load(Ordering::SeqCst) > 0 => plain(200, ""),
        "HEAD" => plain(404, ""),
        "POST" => with(202, &[("Location", "/v2/a/blobs/uploads/1")], b""),
        "PUT" => {
            done.fetch_add(1, Ordering::SeqCst);
            Act::Raw(Vec::new())
        }
        _ => plain(404, ""),
    });
    let blob = Descriptor::of(media_type::OCI_LAYER, b"content");
    client().push_blob(&name_of(&server.host, "a"), &blob, &source(b"content"), &[], Progress::none()).unwrap();
    assert_eq!(server.log().iter().filter(|l| l.starts_with("PUT")).count(), 1);
}

#[test]
fn a_mount_that_is_refused_is_an_upload() {
    let server = counting(|_, request| match (request.method.as_str(), request.path.contains("mount=")) {
        ("HEAD", _) => plain(404, ""),
        ("POST", true) if request.path.contains("from=first") => error(403, "DENIED", "no"),
        ("POST", true) => with(202, &[("Location", "/v2/a/blobs/uploads/from-mount")], b""),
        ("PUT", _) => plain(201, ""),
        _ => plain(500, ""),
    });
    let blob = Descriptor::of(media_type::OCI_LAYER, b"content");
    let from = ["first", "second"].map(|n| name_of(&server.host, n));
    let pushed = client().push_blob(&name_of(&server.host, "a"), &blob, &source(b"content"), &from, Progress::none());
    assert_eq!(pushed.unwrap(), Pushed::Uploaded);
    assert!(server.log().last().unwrap().starts_with("PUT /v2/a/blobs/uploads/from-mount"));
}

#[test]
fn mirrors_come_first_and_the_registry_last() {
    let origin = counting(|_, _| manifest());
    let broken = counting(|_, _| plain(500, ""));
    let good = counting(|_, request| if request.path.contains("blobs") { plain(404, "") } else { manifest() });
    let blob = Descriptor::of(media_type::OCI_LAYER, MANIFEST);
    let mirrors = vec![Mirror {
        registry: origin.host.clone(),
        mirrors: vec![broken.host.clone(), format!("http://{}/cache", good.host)],
    }];
    let client = Client::new(ClientOptions { mirrors, ..options() }).unwrap();
    let name = name_of(&origin.host, "a/b:v1");
    client.manifest(&name).unwrap();
    let ns = origin.host.replace(':', "%3A");
    assert_eq!(good.log(), [format!("GET /v2/cache/a/b/manifests/v1?ns={ns}")]);
    assert!(origin.log().is_empty());
    assert_eq!(client.blob_bytes(&name, &blob, 100).unwrap(), MANIFEST);
    assert_eq!(origin.log(), [format!("GET /v2/a/b/blobs/{}", blob.digest)]);
}

#[test]
fn requests_go_through_the_proxy() {
    let proxy = FaultServer::start(|request| match request.method.as_str() {
        "CONNECT" => plain(502, ""),
        _ if request.path.contains("/manifests/") => manifest(),
        _ => plain(200, ""),
    });
    let proxied = ClientOptions {
        proxy: ProxyVariables::from_lookup(|name| {
            matches!(name, "HTTP_PROXY" | "https_proxy").then(|| format!("http://u:p@{}", proxy.host))
        }),
        insecure: vec!["registry.test:5000".into()],
        ..options()
    };
    let client = Client::new(proxied).unwrap();
    client.manifest(&"registry.test:5000/a:1".parse().unwrap()).unwrap();
    assert_eq!(
        proxy.log(),
        [
            "CONNECT registry.test:5000",
            "GET http://registry.test:5000/v2/",
            "GET http://registry.test:5000/v2/a/manifests/1"
        ]
    );
    assert!(proxy.requests().iter().all(|r| r.header("proxy-authorization") == Some("Basic dTpw")));
    // Without leave to use plain HTTP, the proxy's refusal is the end.
    let error = client.manifest(&"registry.example/a:1".parse().unwrap()).unwrap_err();
    assert_eq!(error.notes(), [format!("the connection goes through the proxy http://{}/", proxy.host)]);
    // Loopback is never proxied.
    let direct = counting(|_, _| manifest());
    client.manifest(&name_of(&direct.host, "a:1")).unwrap();
    assert_eq!(direct.log().len(), 1);
}

#[test]
fn a_registry_that_believes_to_be_elsewhere() {
    let elsewhere = counting(|_, _| plain(201, ""));
    let place = format!("http://{}/upload/1?key=1", elsewhere.host);
    let server = counting(move |_, request| match (request.method.as_str(), request.header("authorization")) {
        (_, None) => with(401, &[("WWW-Authenticate", "Basic realm=x")], b""),
        ("HEAD", _) => plain(404, ""),
        _ => with(202, &[("Location", &place)], b""),
    });
    let client = login(&server.host, Credential::basic("u", "p"));
    let blob = Descriptor::of(media_type::OCI_LAYER, b"content");
    client.push_blob(&name_of(&server.host, "a"), &blob, &source(b"content"), &[], Progress::none()).unwrap();
    let seen = elsewhere.requests();
    assert_eq!((seen[0].body.as_slice(), seen[0].header("authorization")), (&b"content"[..], None));
}
