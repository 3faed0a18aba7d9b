//! What users read when a registry fails: each text says what, where, why, and what to do next.
use crate::fault::{Act, FaultServer, Request, error, plain, with};
use crate::support::*;
use insta::assert_snapshot;
use oci::{Descriptor, Digest, media_type};
use registry::{
    Client, ClientOptions, Credential, CredentialSources, Credentials, Error, ErrorKind, Mirror, Progress, Timeouts,
};
use std::io::Read;
use std::time::Duration;

/// An error as a user would see it, with the address replaced.
fn show(host: &str, error: &Error) -> String {
    let mut text = format!("{:?}: {error}", error.kind());
    for note in error.notes() {
        text.push_str(&format!("\n  note: {note}"));
    }
    if let Some(hint) = error.hint() {
        text.push_str(&format!("\n  hint: {hint}"));
    }
    let whole = format!("{text}{error:?}");
    for secret in ["s3cret", "dTpzM2NyZXQ", "Signature"] {
        assert!(!whole.contains(secret), "{whole}");
    }
    text.replace(host, "HOST")
}

fn with_password(host: &str) -> Client {
    let sources = CredentialSources {
        explicit: vec![(host.to_owned(), Credential::basic("u", "s3cret"))],
        ..CredentialSources::default()
    };
    Client::new(ClientOptions { credentials: Credentials::new(sources), ..options() }).unwrap()
}

/// A server that answers everything but the probe in one way.
fn always(act: impl Fn(&Request) -> Act + Send + Sync + 'static) -> FaultServer {
    FaultServer::start(move |request| if request.is_probe() { plain(200, "{}") } else { act(request) })
}

fn manifest_error(act: impl Fn(&Request) -> Act + Send + Sync + 'static) -> String {
    let server = always(act);
    show(&server.host, &client().manifest(&name_of(&server.host, "a/b:v1")).unwrap_err())
}

fn blob_error(descriptor: &Descriptor, act: impl Fn(&Request) -> Act + Send + Sync + 'static) -> String {
    let server = always(act);
    let options = ClientOptions {
        timeouts: Timeouts {
            idle: Duration::from_millis(100),
            response: Duration::from_millis(200),
            ..Timeouts::default()
        },
        ..options()
    };
    let error =
        Client::new(options).unwrap().blob_bytes(&name_of(&server.host, "a/b"), descriptor, 1 << 20).unwrap_err();
    show(&server.host, &error)
}

#[test]
fn rights() {
    let basic = [("WWW-Authenticate", "Basic realm=\"x\""), ("Content-Type", "application/json")];
    let body = br#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#;
    assert_snapshot!(manifest_error(move |_| with(401, &basic, body)), @"
    Unauthorized: cannot pull the manifest of HOST/a/b:v1: the registry answered 401 Unauthorized: UNAUTHORIZED: authentication required
      note: no credential for HOST was found
      hint: log in with `cooperage login HOST`
    ");
    let server = always(move |_| with(401, &basic, body));
    let error_with_password = with_password(&server.host).manifest(&name_of(&server.host, "a/b:v1")).unwrap_err();
    assert_snapshot!(show(&server.host, &error_with_password), @r#"
    Unauthorized: cannot pull the manifest of HOST/a/b:v1: the registry answered 401 Unauthorized: UNAUTHORIZED: authentication required
      note: the credential was of user "u", from the command line
      hint: if that credential is old, log in again with `cooperage login HOST`
    "#);
    assert_snapshot!(manifest_error(|_| error(403, "DENIED", "requested access to the resource is denied")), @"
    Forbidden: cannot pull the manifest of HOST/a/b:v1: the registry answered 403 Forbidden: DENIED: requested access to the resource is denied
      note: no credential for HOST was found
      hint: log in with `cooperage login HOST`
    ");
    let server = always(|_| error(403, "DENIED", "installation not allowed to Write organization package"));
    let error = with_password(&server.host).check_push_access(&name_of(&server.host, "a/b")).unwrap_err();
    assert_snapshot!(show(&server.host, &error), @r#"
    Forbidden: cannot push to HOST/a/b: the registry answered 403 Forbidden: DENIED: installation not allowed to Write organization package
      note: the credential was of user "u", from the command line
      hint: ask for the right to this repository, or check its name
    "#);
}

#[test]
fn missing() {
    let tags = |request: &Request| {
        if request.path.contains("tags") {
            plain(200, r#"{"name":"a/b","tags":["latest","v1.2","v1.10","2"]}"#)
        } else {
            error(404, "MANIFEST_UNKNOWN", "manifest unknown")
        }
    };
    assert_snapshot!(manifest_error(tags), @"
    NotFound: cannot pull the manifest of HOST/a/b:v1: the registry answered 404 Not Found: MANIFEST_UNKNOWN: manifest unknown
      hint: the repository has these tags: v1.2, v1.10, latest, 2
    ");
    assert_snapshot!(manifest_error(|_| error(404, "NAME_UNKNOWN", "repository name not known to registry")), @"
    NotFound: cannot pull the manifest of HOST/a/b:v1: the registry answered 404 Not Found: NAME_UNKNOWN: repository name not known to registry
      hint: check the name and the tag; if the repository is private, log in with `cooperage login HOST`
    ");
    assert_snapshot!(manifest_error(|_| with(404, &[("Content-Type", "text/html")], b"<html>not here</html>")), @"
    NotFound: cannot pull the manifest of HOST/a/b:v1: the registry answered 404 Not Found
      hint: check the name and the tag; if the repository is private, log in with `cooperage login HOST`
    ");
    let blob = Descriptor::of(media_type::OCI_LAYER, b"x");
    assert_snapshot!(blob_error(&blob, |_| error(404, "BLOB_UNKNOWN", "blob unknown to registry")), @"
    NotFound: cannot pull blob sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881 of HOST/a/b: the registry answered 404 Not Found: BLOB_UNKNOWN: blob unknown to registry
      hint: the registry lost the blob, or the image was pushed incompletely: push it again
    ");
    let server = FaultServer::start(|_| plain(404, "page not found"));
    assert_snapshot!(show(&server.host, &client().ping(&server.host).unwrap_err()), @"
    NotFound: cannot reach the registry HOST: HOST answers, but it is no registry (404 for /v2/)
      hint: check the registry's address and port
    ");
}

#[test]
fn overload() {
    let limited = |seconds: &'static str| {
        move |_: &Request| {
            let headers = [("Retry-After", seconds), ("Content-Type", "application/json")];
            with(
                429,
                &headers,
                br#"{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your pull rate limit."}]}"#,
            )
        }
    };
    assert_snapshot!(manifest_error(limited("0")), @"
    RateLimited: cannot pull the manifest of HOST/a/b:v1: the registry answered 429 Too Many Requests: TOOMANYREQUESTS: You have reached your pull rate limit.
      note: tried 4 times
      hint: logging in with `cooperage login HOST` often raises the limit; a mirror avoids it (--registry-mirror)
    ");
    assert_snapshot!(manifest_error(limited("3600")), @"
    RateLimited: cannot pull the manifest of HOST/a/b:v1: the registry answered 429 Too Many Requests: TOOMANYREQUESTS: You have reached your pull rate limit.
      note: the registry asks to wait 3600 s before the next attempt
      hint: logging in with `cooperage login HOST` often raises the limit; a mirror avoids it (--registry-mirror)
    ");
    assert_snapshot!(manifest_error(|_| plain(500, "")), @"
    Unavailable: cannot pull the manifest of HOST/a/b:v1: the registry answered 500 Internal Server Error
      note: tried 4 times
      hint: the trouble is on the server's side: try again later
    ");
    assert_snapshot!(manifest_error(|_| with(503, &[("Content-Type", "text/plain")], b"upstream connect error\x1b[31m")), @"
    Unavailable: cannot pull the manifest of HOST/a/b:v1: the registry answered 503 Service Unavailable: upstream connect error [31m
      note: tried 4 times
      hint: the trouble is on the server's side: try again later
    ");
    assert_snapshot!(manifest_error(|_| error(501, "UNSUPPORTED", "not here")), @"
    Unsupported: cannot pull the manifest of HOST/a/b:v1: the registry answered 501 Not Implemented: UNSUPPORTED: not here
      hint: this registry does not offer that
    ");
}

#[test]
fn false_content() {
    let good = br#"{"schemaVersion":2,"config":{},"layers":[]}"#;
    let told = Digest::sha256(b"something else").to_string();
    let answer = move |_: &Request| {
        with(200, &[("Content-Type", media_type::OCI_MANIFEST), ("Docker-Content-Digest", &told)], good)
    };
    assert_snapshot!(manifest_error(answer), @"
    Digest: cannot pull the manifest of HOST/a/b:v1: the registry sent a manifest with digest sha256:4108250765b19c4d5000be73d2bdd612bbb17a989972bcfd1adbf5085a9af46b instead of sha256:f41f3fa625ff120ddca7ef456bf66371ecea23c129f4e4c32367101edb516cf8
      hint: a proxy or mirror may change what passes through it; try again without it
    ");
    assert_snapshot!(
        manifest_error(|_| with(200, &[("Content-Type", "text/html; charset=utf-8")], b"<html>Please log in to the hotel's network</html>")),
        @"
    Protocol: cannot pull the manifest of HOST/a/b:v1: the registry's answer (text/html) is no manifest
      hint: check that the address is that of a registry and not of a web page or a proxy
    "
    );
    assert_snapshot!(manifest_error(|_| plain(200, r#"{"schemaVersion":1,"fsLayers":[]}"#)), @"
    Unsupported: cannot pull the manifest of HOST/a/b:v1: the image has a manifest of Docker's schema 1, withdrawn in 2017
      hint: push the image again with a current tool
    ");
    assert_snapshot!(manifest_error(|_| with(200, &[], &vec![b' '; 5 << 20])), @"
    TooLarge: cannot pull the manifest of HOST/a/b:v1: the answer is larger than the 4194304 bytes that are accepted here
      hint: this is not what a registry holds for an image: check the reference
    ");
    assert_snapshot!(manifest_error(|_| plain(204, "")), @"
    Protocol: cannot pull the manifest of HOST/a/b:v1: the registry answered 204 No Content
      hint: check that the address is that of a registry; if it is, tell its administrator about this answer
    ");
    let blob = Descriptor::of(media_type::OCI_LAYER, b"the content");
    assert_snapshot!(blob_error(&blob, |_| plain(200, "the Content")), @"
    Digest: cannot pull blob sha256:6e569e05cb6f8608572c79d63b365dc31617bf84d7393d2cb9d2f1ffe0edf95b of HOST/a/b: its content has digest sha256:2001ae91a3bb57b09eb503a6b87529c4be4d6f9769c2415af6ec6ab1f518b8f8
      hint: the registry, a mirror or a proxy on the way holds damaged content
    ");
    assert_snapshot!(blob_error(&blob, |_| plain(200, "the content and more")), @"
    Digest: cannot pull blob sha256:6e569e05cb6f8608572c79d63b365dc31617bf84d7393d2cb9d2f1ffe0edf95b of HOST/a/b: the registry offers 20 bytes, the descriptor says 11
      hint: the content was damaged in the registry or on its way: try again, and if that does not help, push it anew
    ");
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\nthe content plus\r\n0\r\n\r\n";
    assert_snapshot!(blob_error(&blob, |_| Act::Raw(chunked.to_vec())), @"
    Digest: cannot pull blob sha256:6e569e05cb6f8608572c79d63b365dc31617bf84d7393d2cb9d2f1ffe0edf95b of HOST/a/b: the registry sends more than the 11 bytes of the descriptor
      hint: the content was damaged in the registry or on its way: try again, and if that does not help, push it anew
    ");
    assert_snapshot!(blob_error(&blob, |_| with(200, &[("Content-Encoding", "gzip")], b"the content")), @r#"
    Protocol: cannot pull blob sha256:6e569e05cb6f8608572c79d63b365dc31617bf84d7393d2cb9d2f1ffe0edf95b of HOST/a/b: the registry encodes the blob as "gzip", which was not asked for
      hint: check that the address is that of a registry; if it is, tell its administrator about this answer
    "#);
    assert_snapshot!(
        blob_error(&Descriptor::new(media_type::OCI_LAYER, Digest::sha256(b"x"), 2 << 20), |_| plain(200, "")),
        @"
    TooLarge: cannot pull blob sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881 of HOST/a/b: it has 2097152 bytes, 1048576 are accepted here
      hint: this is not what a registry holds for an image: check the reference
    "
    );
}

#[test]
fn broken_connections() {
    let blob = Descriptor::of(media_type::OCI_LAYER, b"the content");
    let truncated = b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nthe";
    assert_snapshot!(blob_error(&blob, |_| Act::Raw(truncated.to_vec())), @"
    Interrupted: cannot pull blob sha256:6e569e05cb6f8608572c79d63b365dc31617bf84d7393d2cb9d2f1ffe0edf95b of HOST/a/b: the connection broke
      note: tried 4 times
      note: 3 of 11 bytes had arrived
      hint: check the network and any proxy on the way, then try again
    ");
    assert_snapshot!(blob_error(&blob, |_| Act::Stall(truncated.to_vec())), @"
    Timeout: cannot pull blob sha256:6e569e05cb6f8608572c79d63b365dc31617bf84d7393d2cb9d2f1ffe0edf95b of HOST/a/b: the registry sent nothing for 0.1 s
      note: tried 4 times
      note: 3 of 11 bytes had arrived
      hint: check the network and any proxy on the way, then try again
    ");
    assert_snapshot!(blob_error(&blob, |_| Act::Stall(Vec::new())), @"
    Timeout: cannot pull blob sha256:6e569e05cb6f8608572c79d63b365dc31617bf84d7393d2cb9d2f1ffe0edf95b of HOST/a/b: HOST gave no answer within 0.2 s
      note: tried 4 times
      hint: check the network and any proxy on the way, then try again
    ");
    assert_snapshot!(blob_error(&blob, |_| Act::Raw(Vec::new())), @"
    Interrupted: cannot pull blob sha256:6e569e05cb6f8608572c79d63b365dc31617bf84d7393d2cb9d2f1ffe0edf95b of HOST/a/b: the connection was closed in the middle of an answer
      note: tried 4 times
      hint: check the network and any proxy on the way, then try again
    ");
    assert_snapshot!(blob_error(&blob, |_| Act::Raw(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec())), @"
    Protocol: cannot pull blob sha256:6e569e05cb6f8608572c79d63b365dc31617bf84d7393d2cb9d2f1ffe0edf95b of HOST/a/b: HOST does not answer in HTTP (invalid HTTP version parsed)
      hint: check that the address is that of a registry; if it is, tell its administrator about this answer
    ");
    assert_snapshot!(show(CLOSED, &client().manifest(&name_of(CLOSED, "a:1")).unwrap_err()), @"
    Connect: cannot pull the manifest of HOST/a:1: cannot connect to HOST: the connection was refused
      hint: check that the registry runs and that the port is right
    ");
    let nowhere = client().manifest(&"registry.invalid/a:1".parse().unwrap()).unwrap_err();
    assert_eq!(nowhere.kind(), ErrorKind::Dns, "{nowhere}");
    assert!(nowhere.to_string().starts_with(
        "cannot pull the manifest of registry.invalid/a:1: cannot find the address of registry.invalid: "
    ));
}

#[test]
fn redirects() {
    let server = FaultServer::start(|request| {
        if request.is_probe() { plain(200, "") } else { with(307, &[("Location", &request.path)], b"") }
    });
    let error = client().manifest(&name_of(&server.host, "a:1")).unwrap_err();
    assert_snapshot!(show(&server.host, &error), @"
    Redirect: cannot pull the manifest of HOST/a:1: more than 10 redirects, the last one to http://HOST/v2/a/manifests/1
      hint: the registry, or a proxy in front of it, is set up wrongly: tell its administrator
    ");
    assert_eq!(server.log().len(), 11);
    assert_snapshot!(manifest_error(|_| with(302, &[("Location", "file:///etc/passwd")], b"")), @"
    Redirect: cannot pull the manifest of HOST/a/b:v1: the registry leads to a file: URL, which is not followed
      hint: the registry, or a proxy in front of it, is set up wrongly: tell its administrator
    ");
    assert_snapshot!(manifest_error(|_| with(302, &[("Location", "http://")], b"")), @"
    Redirect: cannot pull the manifest of HOST/a/b:v1: the registry redirects to something that is no URL
      hint: the registry, or a proxy in front of it, is set up wrongly: tell its administrator
    ");
    let blob = Descriptor::of(media_type::OCI_LAYER, b"x");
    let gone = format!("http://{CLOSED}/blob?X-Amz-Signature=abc");
    let text = blob_error(&blob, {
        let gone = gone.clone();
        move |_| with(307, &[("Location", &gone)], b"")
    });
    assert_snapshot!(text.replace(gone.split(['/', '?']).nth(2).unwrap(), "OTHER"), @"
    Connect: cannot pull blob sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881 of HOST/a/b: cannot connect to OTHER: the connection was refused
      hint: check that the registry runs and that the port is right
    ");
}

#[test]
fn token_servers() {
    let ask = |realm: &'static str, token: fn(&Request) -> Act| {
        let server = FaultServer::start_with(move |host| {
            let realm = realm.replace("HOST", host);
            move |request: &Request| {
                if request.path.starts_with("/token") {
                    token(request)
                } else {
                    let challenge = format!("Bearer realm=\"{realm}\",service=\"test\",scope=\"repository:a/b:pull\"");
                    with(401, &[("WWW-Authenticate", &challenge)], b"")
                }
            }
        });
        let error = with_password(&server.host).manifest(&name_of(&server.host, "a/b:v1")).unwrap_err();
        show(&server.host, &error)
    };
    assert_snapshot!(ask("http://HOST/token", |_| plain(200, "{}")), @"
    Protocol: cannot get a token for HOST from http://HOST/token: the token server's answer holds no token
      hint: check that the address is that of a registry; if it is, tell its administrator about this answer
    ");
    assert_snapshot!(ask("http://HOST/token", |_| plain(200, "<html>")), @"
    Protocol: cannot get a token for HOST from http://HOST/token: the token server's answer is not the JSON of a token
      hint: check that the address is that of a registry; if it is, tell its administrator about this answer
    ");
    assert_snapshot!(ask("http://HOST/token", |_| plain(401, r#"{"details":"incorrect username or password"}"#)), @r#"
    Unauthorized: cannot get a token for HOST from http://HOST/token: the token server answered 401 Unauthorized: incorrect username or password
      note: the credential was of user "u", from the command line
      hint: if that credential is old, log in again with `cooperage login HOST`
    "#);
    assert_snapshot!(ask("http://HOST/token", |_| plain(500, "")), @"
    Unavailable: cannot get a token for HOST from http://HOST/token: the token server answered 500 Internal Server Error
      note: tried 4 times
      hint: the trouble is on the server's side: try again later
    ");
    assert_snapshot!(ask("http://HOST/token", |_| plain(200, r#"{"token":"t"}"#)), @r#"
    Unauthorized: cannot pull the manifest of HOST/a/b:v1: the registry answered 401 Unauthorized
      note: the credential was of user "u", from the command line
      hint: if that credential is old, log in again with `cooperage login HOST`
    "#);
    assert_snapshot!(ask("http://HOST/token", |_| plain(200, "{\"token\":\"a\\nb\"}")), @"
    Protocol: cannot pull the manifest of HOST/a/b:v1: a token or credential holds characters that no header can
      hint: check that the address is that of a registry; if it is, tell its administrator about this answer
    ");
    assert_snapshot!(ask("http://auth.example/token", |_| plain(200, "{}")), @"
    Protocol: cannot pull the manifest of HOST/a/b:v1: HOST wants its credentials sent over plain HTTP to http://auth.example/token, which is not done
      hint: check that the address is that of a registry; if it is, tell its administrator about this answer
    ");
    assert_snapshot!(ask("file:///token", |_| plain(200, "{}")), @"
    Protocol: cannot pull the manifest of HOST/a/b:v1: HOST names a token server that is no HTTP(S) URL
      hint: check that the address is that of a registry; if it is, tell its administrator about this answer
    ");
}

#[test]
fn pushes() {
    let push_error = |content: &'static [u8], act: fn(&Request) -> Act| {
        let server = always(act);
        let name = name_of(&server.host, "a/b");
        let descriptor = Descriptor::of(media_type::OCI_LAYER, b"the content");
        let error = client().push_blob(&name, &descriptor, &source(content), &[], Progress::none()).unwrap_err();
        show(&server.host, &error)
    };
    fn accepting(request: &Request, put: Act) -> Act {
        match request.method.as_str() {
            "HEAD" => plain(404, ""),
            "POST" => with(202, &[("Location", "/v2/a/b/blobs/uploads/1")], b""),
            "PUT" => put,
            _ => plain(404, ""),
        }
    }
    let content = b"the content";
    assert_snapshot!(push_error(content, |r| accepting(r, error(400, "DIGEST_INVALID", "provided digest did not match"))), @"
    Digest: cannot push blob sha256:6e569e05cb6f8608572c79d63b365dc31617bf84d7393d2cb9d2f1ffe0edf95b to HOST/a/b: the registry found another digest: DIGEST_INVALID: provided digest did not match
      hint: the local copy of the blob is damaged, or changed during the upload
    ");
    assert_snapshot!(push_error(content, |r| accepting(r, plain(413, ""))), @"
    Refused: cannot push blob sha256:6e569e05cb6f8608572c79d63b365dc31617bf84d7393d2cb9d2f1ffe0edf95b to HOST/a/b: the registry answered 413 Payload Too Large
      hint: a proxy in front of the registry limits the size of a request; raise that limit
    ");
    assert_snapshot!(push_error(content, |r| accepting(r, plain(502, ""))), @"
    Unavailable: cannot push blob sha256:6e569e05cb6f8608572c79d63b365dc31617bf84d7393d2cb9d2f1ffe0edf95b to HOST/a/b: the registry answered 502 Bad Gateway
      note: tried 4 times
      hint: the trouble is on the server's side: try again later
    ");
    assert_snapshot!(push_error(content, |r| accepting(r, with(307, &[("Location", "/x")], b""))), @"
    Redirect: cannot push blob sha256:6e569e05cb6f8608572c79d63b365dc31617bf84d7393d2cb9d2f1ffe0edf95b to HOST/a/b: the registry redirects an upload, which cannot be followed
      hint: use the registry's final address
    ");
    assert_snapshot!(push_error(b"the", |r| accepting(r, plain(201, ""))), @"
    Source: cannot push blob sha256:6e569e05cb6f8608572c79d63b365dc31617bf84d7393d2cb9d2f1ffe0edf95b to HOST/a/b: the content ends after 3 bytes, 8 bytes too early
      hint: the local copy changed or is damaged: build again
    ");
    assert_snapshot!(push_error(b"the content and more", |r| accepting(r, plain(201, ""))), @"
    Source: cannot push blob sha256:6e569e05cb6f8608572c79d63b365dc31617bf84d7393d2cb9d2f1ffe0edf95b to HOST/a/b: the content is longer than the 11 bytes it should have
      hint: the local copy changed or is damaged: build again
    ");
    assert_snapshot!(push_error(content, |r| if r.method == "HEAD" { plain(404, "") } else { plain(202, "") }), @"
    Protocol: cannot push blob sha256:6e569e05cb6f8608572c79d63b365dc31617bf84d7393d2cb9d2f1ffe0edf95b to HOST/a/b: the registry does not say where to upload to
      hint: check that the address is that of a registry; if it is, tell its administrator about this answer
    ");
    assert_snapshot!(push_error(content, |r| if r.method == "HEAD" { plain(404, "") } else { with(202, &[("Location", "file:///x")], b"") }), @"
    Protocol: cannot push blob sha256:6e569e05cb6f8608572c79d63b365dc31617bf84d7393d2cb9d2f1ffe0edf95b to HOST/a/b: the registry names a place that cannot be used (file: URL at HOST)
      hint: check that the address is that of a registry; if it is, tell its administrator about this answer
    ");
    assert_snapshot!(push_error(content, |r| if r.method == "HEAD" { plain(404, "") } else { error(404, "NAME_UNKNOWN", "The repository with name 'a/b' does not exist") }), @"
    NotFound: cannot push blob sha256:6e569e05cb6f8608572c79d63b365dc31617bf84d7393d2cb9d2f1ffe0edf95b to HOST/a/b: the registry answered 404 Not Found: NAME_UNKNOWN: The repository with name 'a/b' does not exist
      hint: check the repository's name; some registries want it created before a push
    ");
    assert_snapshot!(push_error(content, |r| if r.method == "HEAD" { plain(404, "") } else { plain(200, "") }), @"
    Protocol: cannot push blob sha256:6e569e05cb6f8608572c79d63b365dc31617bf84d7393d2cb9d2f1ffe0edf95b to HOST/a/b: the registry answered 200 OK to the start of an upload, instead of 202
      hint: check that the address is that of a registry; if it is, tell its administrator about this answer
    ");
    let server = always(|_| error(404, "MANIFEST_BLOB_UNKNOWN", "blob unknown to registry"));
    let name = name_of(&server.host, "a/b:1");
    let refused = client().push_manifest(&name, media_type::OCI_MANIFEST, b"{}").unwrap_err();
    assert_snapshot!(show(&server.host, &refused), @"
    NotFound: cannot push the manifest of HOST/a/b:1: the registry answered 404 Not Found: MANIFEST_BLOB_UNKNOWN: blob unknown to registry
      hint: a blob that the manifest names is not in the repository: push the blobs first
    ");
    let server = always(|_| plain(405, ""));
    assert_snapshot!(show(&server.host, &client().delete_manifest(&name_of(&server.host, "a/b:1")).unwrap_err()), @"
    Unsupported: cannot delete HOST/a/b:1: the registry answered 405 Method Not Allowed
      hint: this registry does not delete; its administrator may allow it
    ");
}

#[test]
fn lists_that_never_end() {
    let server = always(|request| with(200, &[("Link", &format!("<{}>; rel=next", request.path))], b"{\"tags\":[]}"));
    assert_snapshot!(show(&server.host, &client().tags(&name_of(&server.host, "a")).unwrap_err()), @"
    Protocol: cannot list the tags of HOST/a: the next page of the list is in a place that makes no sense
      hint: check that the address is that of a registry; if it is, tell its administrator about this answer
    ");
    let server = always(|_| with(200, &[("Link", "<http://elsewhere.example/v2/>; rel=next")], b"{\"tags\":[]}"));
    assert_snapshot!(show(&server.host, &client().tags(&name_of(&server.host, "a")).unwrap_err()), @"
    Protocol: cannot list the tags of HOST/a: the next page of the list is in a place that makes no sense
      hint: check that the address is that of a registry; if it is, tell its administrator about this answer
    ");
}

#[test]
fn mirrors_that_fail() {
    let server = always(|_| error(404, "MANIFEST_UNKNOWN", "manifest unknown"));
    let plain_http = always(|_| plain(200, ""));
    let mirror = |registry: &str, mirrors: &[String]| {
        let mirrors = vec![Mirror { registry: registry.to_owned(), mirrors: mirrors.to_vec() }];
        Client::new(ClientOptions { mirrors, ..options() }).unwrap()
    };
    let client = mirror(&server.host, &[format!("http://{CLOSED}/cache"), format!("https://{}", plain_http.host)]);
    let error = client.manifest(&name_of(&server.host, "a/b:v1")).unwrap_err();
    let text = show(&server.host, &error).replace(CLOSED, "CLOSED").replace(&plain_http.host, "PLAIN");
    assert_snapshot!(text, @"
    NotFound: cannot pull the manifest of HOST/a/b:v1: the registry answered 404 Not Found: MANIFEST_UNKNOWN: manifest unknown
      note: mirror CLOSED: cannot connect to CLOSED: the connection was refused
      note: mirror PLAIN: PLAIN closed the connection during the TLS handshake
      hint: check the name and the tag; if the repository is private, log in with `cooperage login HOST`
    ");
}

#[test]
fn cancelling() {
    let server = always(|_| Act::Stall(b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nthe".to_vec()));
    let client = client();
    let blob = Descriptor::of(media_type::OCI_LAYER, b"the content");
    let mut reader = client.blob(&name_of(&server.host, "a"), &blob, Progress::none()).unwrap();
    let mut begin = [0; 3];
    reader.read_exact(&mut begin).unwrap();
    let other = client.clone();
    let canceller = std::thread::spawn(move || other.cancel());
    let error = reader.read(&mut begin).unwrap_err();
    canceller.join().unwrap();
    assert_eq!(Error::from_io(&error).unwrap().kind(), ErrorKind::Cancelled);
    assert_eq!(client.tags(&name_of(&server.host, "a")).unwrap_err().kind(), ErrorKind::Cancelled);
}
