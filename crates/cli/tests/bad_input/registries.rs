//! Registries that misbehave, and what a build says then. The server is a few lines on loopback.
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::time::Duration;

use crate::Case;

/// Status line, headers, body of an answer to a path.
type Answer = (&'static str, String, Vec<u8>);

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Builds `FROM` an image of a registry that answers like this.
fn build(answer: fn(&str, &str) -> Answer) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let here = address.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let here = here.clone();
            std::thread::spawn(move || drop(serve(stream, &here, answer)));
        }
    });
    let text = format!("FROM {address}/app:1\nCOPY a /a\n");
    let shown = Case::dockerfile(&text).build("-o out .");
    shown.replace(&address, "127.0.0.1:PORT")
}

fn serve(mut stream: std::net::TcpStream, here: &str, answer: fn(&str, &str) -> Answer) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let mut first = String::new();
        if reader.read_line(&mut first)? == 0 {
            return Ok(());
        }
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 || line == "\r\n" {
                break;
            }
        }
        let mut words = first.split_whitespace();
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (status, headers, body) = answer(path, here);
        let length = if headers.to_lowercase().contains("content-length") {
            String::new()
        } else {
            format!("Content-Length: {}\r\n", body.len())
        };
        write!(stream, "HTTP/1.1 {status}\r\n{length}{headers}\r\n")?;
        if method != "HEAD" {
            stream.write_all(&body)?;
        }
        if headers.contains("Connection: close") {
            return Ok(());
        }
    }
}

fn manifest() -> Vec<u8> {
    let digest = "sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{digest}","size":3}},"layers":[]}}"#
    )
    .into_bytes()
}

fn image(path: &str, config: Answer) -> Answer {
    if path.contains("/manifests/") {
        ("200 OK", format!("Content-Type: {MANIFEST}\r\n"), manifest())
    } else if path.contains("/blobs/") {
        config
    } else {
        ("200 OK", String::new(), Vec::new())
    }
}

#[test]
fn an_image_that_does_not_exist() {
    let text = build(|_, _| {
        (
            "404 Not Found",
            String::new(),
            br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"unknown tag"}]}"#.to_vec(),
        )
    });
    insta::assert_snapshot!(text, @r#"
    exit 1
    error: 127.0.0.1:PORT/app:1: cannot resolve 127.0.0.1:PORT/app:1: the registry answered 404 Not Found: MANIFEST_UNKNOWN: unknown tag
     --> Dockerfile:1:6
      |
    1 | FROM 127.0.0.1:PORT/app:1
      |      ^^^^^^^^^^^^^^^^^^^^^
      |
      = help: check the name and the tag; if the repository is private, log in with `cooperage login 127.0.0.1:PORT`
    "#);
}

#[test]
fn a_registry_that_wants_credentials() {
    let text = build(|_, _| ("401 Unauthorized", "WWW-Authenticate: Basic realm=\"r\"\r\n".into(), Vec::new()));
    insta::assert_snapshot!(text, @r#"
    exit 1
    error: 127.0.0.1:PORT/app:1: cannot resolve 127.0.0.1:PORT/app:1: the registry answered 401 Unauthorized
     --> Dockerfile:1:6
      |
    1 | FROM 127.0.0.1:PORT/app:1
      |      ^^^^^^^^^^^^^^^^^^^^^
      |
      = help: log in with `cooperage login 127.0.0.1:PORT`
    "#);
}

#[test]
fn a_registry_that_forbids() {
    let text = build(|_, _| {
        ("403 Forbidden", String::new(), br#"{"errors":[{"code":"DENIED","message":"not for you"}]}"#.to_vec())
    });
    insta::assert_snapshot!(text, @r#"
    exit 1
    error: 127.0.0.1:PORT/app:1: cannot resolve 127.0.0.1:PORT/app:1: the registry answered 403 Forbidden: DENIED: not for you
     --> Dockerfile:1:6
      |
    1 | FROM 127.0.0.1:PORT/app:1
      |      ^^^^^^^^^^^^^^^^^^^^^
      |
      = help: log in with `cooperage login 127.0.0.1:PORT`
    "#);
}

#[test]
fn a_registry_that_has_enough() {
    let text = build(|_, _| ("429 Too Many Requests", "Retry-After: 3600\r\n".into(), Vec::new()));
    insta::assert_snapshot!(text, @r#"
    exit 1
    error: 127.0.0.1:PORT/app:1: cannot resolve 127.0.0.1:PORT/app:1: the registry answered 429 Too Many Requests
     --> Dockerfile:1:6
      |
    1 | FROM 127.0.0.1:PORT/app:1
      |      ^^^^^^^^^^^^^^^^^^^^^
      |
      = help: logging in with `cooperage login 127.0.0.1:PORT` often raises the limit; a mirror avoids it (--registry-mirror)
    "#);
}

#[test]
fn a_registry_that_fails() {
    let text = build(|_, _| ("500 Internal Server Error", "Retry-After: 0\r\n".into(), Vec::new()));
    insta::assert_snapshot!(text, @r#"
    exit 1
    error: 127.0.0.1:PORT/app:1: cannot resolve 127.0.0.1:PORT/app:1: the registry answered 500 Internal Server Error
     --> Dockerfile:1:6
      |
    1 | FROM 127.0.0.1:PORT/app:1
      |      ^^^^^^^^^^^^^^^^^^^^^
      |
      = help: the trouble is on the server's side: try again later
    "#);
}

#[test]
fn a_redirect_loop() {
    let text = build(|path, here| ("307 Temporary Redirect", format!("Location: http://{here}{path}\r\n"), Vec::new()));
    insta::assert_snapshot!(text, @r#"
    exit 1
    error: 127.0.0.1:PORT/app:1: cannot resolve 127.0.0.1:PORT/app:1: more than 10 redirects, the last one to http://127.0.0.1:PORT/v2/app/manifests/1
     --> Dockerfile:1:6
      |
    1 | FROM 127.0.0.1:PORT/app:1
      |      ^^^^^^^^^^^^^^^^^^^^^
      |
      = help: the registry, or a proxy in front of it, is set up wrongly: tell its administrator
    "#);
}

#[test]
fn a_page_instead_of_a_manifest() {
    let text = build(|_, _| ("200 OK", "Content-Type: text/html\r\n".into(), b"<html>Sign in</html>".to_vec()));
    insta::assert_snapshot!(text, @r#"
    exit 1
    error: 127.0.0.1:PORT/app:1: cannot resolve 127.0.0.1:PORT/app:1: the registry's answer (text/html) is no manifest
     --> Dockerfile:1:6
      |
    1 | FROM 127.0.0.1:PORT/app:1
      |      ^^^^^^^^^^^^^^^^^^^^^
      |
      = help: check that the address is that of a registry and not of a web page or a proxy
    "#);
}

#[test]
fn a_blob_with_another_content() {
    let text = build(|path, _| image(path, ("200 OK", String::new(), b"bar".to_vec())));
    insta::assert_snapshot!(text, @r#"
    exit 1
    error: 127.0.0.1:PORT/app:1: cannot pull blob sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae of 127.0.0.1:PORT/app: its content has digest sha256:fcde2b2edba56bf408601fb721fe9b5c338d10ee429ea04fae5511b68fbf8fb9
     --> Dockerfile:1:6
      |
    1 | FROM 127.0.0.1:PORT/app:1
      |      ^^^^^^^^^^^^^^^^^^^^^
      |
      = help: the registry, a mirror or a proxy on the way holds damaged content
    "#);
}

#[test]
fn a_blob_that_is_missing() {
    let text = build(|path, _| image(path, ("404 Not Found", String::new(), Vec::new())));
    insta::assert_snapshot!(text, @r#"
    exit 1
    error: 127.0.0.1:PORT/app:1: cannot pull blob sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae of 127.0.0.1:PORT/app: the registry answered 404 Not Found
     --> Dockerfile:1:6
      |
    1 | FROM 127.0.0.1:PORT/app:1
      |      ^^^^^^^^^^^^^^^^^^^^^
      |
      = help: the registry lost the blob, or the image was pushed incompletely: push it again
    "#);
}

#[test]
fn a_configuration_that_is_no_json() {
    let text = build(|path, _| image(path, ("200 OK", String::new(), b"foo".to_vec())));
    insta::assert_snapshot!(text, @r#"
    exit 1
    error: 127.0.0.1:PORT/app:1: 127.0.0.1:PORT/app:1@sha256:d6aea9d92efe2a78cb2e626a02cfddd6f0cf074e1ac56fc2ad7ce4b275fb2d1e: failed to parse image config: expected ident at line 1 column 2
     --> Dockerfile:1:6
      |
    1 | FROM 127.0.0.1:PORT/app:1
      |      ^^^^^^^^^^^^^^^^^^^^^
    "#);
}

#[test]
fn something_that_speaks_no_http() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
            let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n");
        }
    });
    let text = Case::dockerfile(&format!("FROM {address}/app:1\n")).build(".").replace(&address, "127.0.0.1:PORT");
    insta::assert_snapshot!(text, @r#"
    exit 1
    error: 127.0.0.1:PORT/app:1: cannot resolve 127.0.0.1:PORT/app:1: 127.0.0.1:PORT does not answer in HTTP (invalid HTTP version parsed)
     --> Dockerfile:1:6
      |
    1 | FROM 127.0.0.1:PORT/app:1
      |      ^^^^^^^^^^^^^^^^^^^^^
      |
      = help: check that the address is that of a registry; if it is, tell its administrator about this answer
    "#);
}

#[test]
fn a_push_that_is_forbidden() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let here = address.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let here = here.clone();
            let answer = |path: &str, _: &str| -> Answer {
                if path == "/v2/" {
                    ("200 OK", String::new(), Vec::new())
                } else {
                    ("403 Forbidden", String::new(), Vec::new())
                }
            };
            std::thread::spawn(move || drop(serve(stream, &here, answer)));
        }
    });
    let text = Case::new().build(&format!("--push -t {address}/me/app .")).replace(&address, "127.0.0.1:PORT");
    // The layer holds the time of its file.
    let text = masked(&text);
    insta::assert_snapshot!(text, @r#"
    exit 1
    error: cannot push blob sha256:… to 127.0.0.1:PORT/me/app: the registry answered 403 Forbidden
      hint: log in with `cooperage login 127.0.0.1:PORT`
    "#);
}

/// The text with every digest cut short.
fn masked(text: &str) -> String {
    let mut parts = text.split("sha256:");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push_str("sha256:…");
        out.push_str(part.trim_start_matches(|c: char| c.is_ascii_hexdigit()));
    }
    out
}
